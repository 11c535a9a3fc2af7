/*
 * options.h
 *	  Options of foreign servers and user mappings.
 *
 * A source is a foreign server of the wrapper "damoov"; its secrets stand in a
 * user mapping or in a file that the mapping names.
 */
#ifndef DAMOOV_OPTIONS_H
#define DAMOOV_OPTIONS_H

#include "foreign/foreign.h"
#include "nodes/pg_list.h"

#include "base/fault.h"

/* TYPE of the foreign servers that receive pushes and are never polled. */
#define WEBHOOK_TYPE	"webhook"

/* The source that is recorded of what came through none. */
#define OPTIONS_NO_SOURCE	"sql"

/* The types of servers that are sources. */
#define OPTIONS_SOURCES		"sqs servicebus eventgrid storagequeue " WEBHOOK_TYPE
#define API_TYPE			"api"

typedef struct ServerOptions
{
	Oid			server;
	Oid			owner;
	bool		may_use_host;	/* may have secrets of the machine used */
	char	   *name;
	char	   *type;			/* "sqs", "api", ...; "" when none was given */
	List	   *options;		/* DefElem, of the server */
	List	   *secrets;		/* DefElem, of the mapping or its secret_file */
} ServerOptions;

/* Fills the fault for options that cannot be used; false. */
#define options_fault(fault, ...) \
	fault_set(fault, REASON_CONFIGURATION, __VA_ARGS__)

/* Types of servers that take this option, separated by blanks; "": none does. */
extern const char *options_types(const char *name);

/* Is it a server of the wrapper, of this type, NULL: of any?  "server" may be NULL. */
extern bool options_is_server(const ForeignServer *server, const char *type);

/*
 * The server whose options apply to what is recorded under this name; NULL when
 * there is none.  Whoever passes no source has not chosen the server that somebody
 * has given that name: it counts only if it is a superuser's.
 */
extern ForeignServer *options_source(const char *name);

/* Names of all foreign servers of the wrapper, in order; needs a transaction. */
extern List *options_server_names(void);

/*
 * Reads a server and the secrets the current user may use with it: those of
 * his own mapping, else of the server's owner, else of PUBLIC.  False with the
 * fault filled when the server is not there, the user has no right to it, its
 * owner none to secrets of the machine that it uses, or the secret file cannot be
 * used.  palloc'd in the current context.
 */
extern bool options_load(const char *name, ServerOptions **options, Fault *fault);

/*
 * An option of a server, which everybody may read, as in pg_foreign_server; NULL
 * when it is not set, or there is no such server.  palloc'd.
 */
extern char *options_of_server(const char *name, const char *option);

/* Overwrites the secrets before their memory is given back. */
extern void options_wipe(ServerOptions *options);

/* Value of an option, or the default (NULL) when it is not set. */
extern const char *options_get(const ServerOptions *options, const char *name);
extern const char *options_secret(const ServerOptions *options, const char *name);

/*
 * A copy of a secret in the current context, overwritten when that goes; NULL
 * when it is not set.
 */
extern char *options_keep_secret(const ServerOptions *options, const char *name);

extern bool options_bool(const ServerOptions *options, const char *name);
extern int	options_int(const ServerOptions *options, const char *name, int default_value);

/* The same where the type has a narrower range than the validator; false with a fault. */
extern bool options_int_within(const ServerOptions *options, const char *name, int min, int max,
							   int default_value, int *value, Fault *fault);

#endif							/* DAMOOV_OPTIONS_H */
