/*
 * guc.h
 *	  Every setting of the extension.
 */
#ifndef DAMOOV_GUC_H
#define DAMOOV_GUC_H

extern char *damoov_databases;
extern char *damoov_role;
extern char *damoov_identity;
extern char *damoov_secrets_dir;
extern char *damoov_ca_file;
extern int	damoov_workers_per_database;
extern int	damoov_max_downloads;
extern int	damoov_max_document_size;	/* kB */
extern bool damoov_allow_http_loopback;
extern bool damoov_allow_host_identity;
extern int	damoov_partition_ids;
extern int	damoov_backfill_rate;

/* how long things are kept, minutes; -1: for ever */
extern int	damoov_keep_events;
extern int	damoov_keep_heartbeats;
extern int	damoov_keep_trips;
extern int	damoov_keep_crashes;
extern int	damoov_keep_quarantine;
extern int	damoov_keep_receipts;
extern int	damoov_keep_documents;

/* the most that damoov.workers_per_database may be */
#define GUC_MAX_WORKERS 32

/* what is stored of the points of a trip */
typedef enum StorePoints
{
	STORE_ROWS,
	STORE_DOCUMENT				/* the dataset, which they are read from */
} StorePoints;

extern int	damoov_store_points;

/* Finds one of them by its name in the setting; false when there is none. */
extern bool guc_store_points(const char *name, StorePoints *value);

extern void guc_define(void);

/* The names in damoov.databases, as palloc'd strings. */
extern struct List *guc_database_list(void);

#endif							/* DAMOOV_GUC_H */
