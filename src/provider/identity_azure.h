/*
 * identity_azure.h
 *	  Bearer tokens of Entra ID for the Azure sources.
 */
#ifndef DAMOOV_IDENTITY_AZURE_H
#define DAMOOV_IDENTITY_AZURE_H

#include "provider/identity.h"

/* The ways to get them. */
extern const IdentityWay identity_azure_ways[];

#endif							/* DAMOOV_IDENTITY_AZURE_H */
