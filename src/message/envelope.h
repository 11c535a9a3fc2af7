/*
 * envelope.h
 *	  What a transport wraps around a notification.
 */
#ifndef DAMOOV_ENVELOPE_H
#define DAMOOV_ENVELOPE_H

#include "nodes/pg_list.h"

#include "base/fault.h"
#include "message/part.h"

/*
 * Takes a body apart.  Content decides, not configuration.  It may be
 *
 * - a notification, an SNS envelope, an Event Grid event or a CloudEvent 1.0
 *	 around one or several, or an array of any of these;
 * - what S3 tells of a bucket, by itself or in an envelope;
 * - a JSON string, base64, or a string in .NET binary XML that holds such.
 *
 * One encoding and one envelope are opened, never a second inside it.  What a
 * transport says about itself (subscriptions) is a part of kind "control"; so is
 * each record of S3.
 *
 * Returns the parts (EnvelopePart *), each with its own fault if it has one;
 * NIL with the fault filled when the body as a whole is no JSON.  A UTF-8
 * byte order mark in front is skipped.
 */
extern List *envelope_open(const char *body, Size len, Fault *fault);

#endif							/* DAMOOV_ENVELOPE_H */
