/*
 * compat.h
 *	  The only place that knows server and library version numbers.
 *
 * Each difference is wrapped under its newest name, so that call sites read
 * as if only the newest release existed.
 */
#ifndef DAMOOV_COMPAT_H
#define DAMOOV_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "damoov supports PostgreSQL 15 to 18"
#endif

#include "common/base64.h"
#include "common/jsonapi.h"
#include "executor/executor.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
/* VARDATA() and the like, in postgres.h until 15 */
#include "varatt.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* PG_FUNCTION_INFO_V1 makes the function itself visible since 16 */
#define SQL_FUNCTION(name) \
	PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/* JSON callbacks return a result since 16 */
#if PG_VERSION_NUM >= 160000
typedef JsonParseErrorType JsonAction;
#define JSON_ACTION_DONE return JSON_SUCCESS
#else
typedef void JsonAction;
#define JSON_ACTION_DONE return
#endif

/* the caller may provide the lexer's memory since 17 */
static inline JsonLexContext *
compat_json_lexer(const char *text, Size len, int encoding, bool unescape)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, text, len, encoding, unescape);
#else
	return makeJsonLexContextCstringLen(unconstify(char *, text), (int) len,
										encoding, unescape);
#endif
}

static inline void
compat_json_lexer_free(JsonLexContext *lexer)
{
#if PG_VERSION_NUM >= 170000
	freeJsonLexContext(lexer);
#else
	if (lexer->strval)
	{
		pfree(lexer->strval->data);
		pfree(lexer->strval);
	}
	pfree(lexer);
#endif
}

/* one more argument since 16 */
static inline List *
compat_insert_index_tuples(ResultRelInfo *target, TupleTableSlot *slot,
						   EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(target, slot, estate, false, false, NULL,
								 NIL, false);
#else
	return ExecInsertIndexTuples(target, slot, estate, false, false, NULL,
								 NIL);
#endif
}

/* named wait events since 17 */
static inline uint32
compat_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

static inline WaitEventSet *
compat_wait_event_set(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

/* bytes are uint8 since 18; void fits both */
static inline int
compat_b64_encode(const void *bytes, int len, char *text, int size)
{
	return pg_b64_encode(bytes, len, text, size);
}

/* -1: the text is not base64 */
static inline int
compat_b64_decode(const char *text, int len, void *bytes, int size)
{
	return pg_b64_decode(text, len, bytes, size);
}

#if PG_VERSION_NUM < 160000
#define object_aclcheck(classid, objectid, roleid, mode) \
	pg_foreign_server_aclcheck(objectid, roleid, mode)
#endif

#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#define PG_MODULE_MAGIC_EXT(...) PG_MODULE_MAGIC
#endif

#endif							/* DAMOOV_COMPAT_H */
