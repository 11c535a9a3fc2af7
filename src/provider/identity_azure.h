/*
 * identity_azure.h
 *	  The ways to bearer tokens of Entra ID.
 */
#ifndef DAMOOV_IDENTITY_AZURE_H
#define DAMOOV_IDENTITY_AZURE_H

#include "provider/identity.h"

extern const IdentityWay identity_azure_ways[];

#endif							/* DAMOOV_IDENTITY_AZURE_H */
