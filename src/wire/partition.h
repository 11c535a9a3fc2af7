/*
 * partition.h
 *	  The parts that Amazon's and Microsoft's clouds consist of.
 *
 * They have nothing in common but the software: other names, other keys, other
 * accounts.  What differs by part is asked here and written nowhere else.
 */
#ifndef DAMOOV_PARTITION_H
#define DAMOOV_PARTITION_H

/* "amazonaws.com" for "eu-west-1", "amazonaws.eu" for "eusc-de-east-1". */
extern const char *aws_domain(const char *region);

/* Does a region lie in the part that an ARN calls "aws-cn", ...? */
extern bool aws_has_region(const char *partition, const char *region);

/* The labels of a host in front of any of these domains; NULL: it has none. */
extern char *aws_labels(const char *host);

/*
 * The name of an account out of the host of its blobs or files, NULL when the
 * host is none of Azure.
 */
extern char *azure_account(const char *host);

/* Where Entra ID gives tokens for the services of a host. */
extern const char *azure_login(const char *host);

/*
 * What a token for a host is for, when it is "audience" in the public part:
 * Event Grid has another name in each, storage and Service Bus have one for all.
 */
extern const char *azure_audience(const char *audience, const char *host);

/* The origin that Event Grid names when it pushes, if it is one, else NULL. */
extern const char *azure_event_grid(const char *origin);

#endif							/* DAMOOV_PARTITION_H */
