/*
 * identity_aws.h
 *	  Temporary keys of AWS for SQS.
 */
#ifndef DAMOOV_IDENTITY_AWS_H
#define DAMOOV_IDENTITY_AWS_H

#include "provider/identity.h"

/* The ways to get them. */
extern const IdentityWay identity_aws_ways[];

#endif							/* DAMOOV_IDENTITY_AWS_H */
