/*
 * api.h
 *	  Where datasets are fetched from, and where never.
 */
#ifndef DAMOOV_API_H
#define DAMOOV_API_H

#include "fault.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

typedef struct Api
{
	char	   *base_url;		/* scheme and host, no slash at the end */
	List	   *hosts;			/* char *: "name" or "*.suffix" */
} Api;

/*
 * The api server a source's downloads use: the one it names, else the only one
 * there is, else the vendor's defaults.  "source" may be anything that is no
 * server (such as 'sql').  Needs a transaction; palloc'd.
 */
extern bool api_load(const char *source, Api **api, Fault *fault);

/* Address of a processed track. */
extern char *api_track_url(const Api *api, const pg_uuid_t *track);

/*
 * May a dataset be fetched from this URL?  *private_allowed tells whether the
 * host was named exactly by the operator, so that it may resolve to an address
 * that is not public.
 */
extern bool api_check_url(const Api *api, const char *url,
						  bool *private_allowed, Fault *fault);

#endif							/* DAMOOV_API_H */
