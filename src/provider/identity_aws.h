/*
 * identity_aws.h
 *	  The ways to temporary keys of AWS.
 */
#ifndef DAMOOV_IDENTITY_AWS_H
#define DAMOOV_IDENTITY_AWS_H

#include "provider/identity.h"

extern const IdentityWay identity_aws_ways[];

#endif							/* DAMOOV_IDENTITY_AWS_H */
