/*-------------------------------------------------------------------------
 *
 * damage.c
 *		SQL functions that damage documents and give them to the extension's
 *		doors, for tests only.
 *
 * This module holds the extension's own object files and is loaded in its
 * place, see test/t/022_damage.pl.  A case is a seed and a number: with the
 * same document they always do the same damage, so that each case can be done
 * again by itself.
 *
 * A damaged document ends where readable memory ends.  Whoever reads a byte
 * too far is stopped by the hardware.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "compat.h"
#include "dataset/dataset.h"
#include "door/ingest.h"

#define MAX_DAMAGED		(256 * 1024)
#define MAX_BATCH		10		/* a queue delivers no more at once */
#define MAX_DAMAGES		4

SQL_FUNCTION(damage_document);
SQL_FUNCTION(damage_read);
SQL_FUNCTION(damage_prefixes);
SQL_FUNCTION(damage_store);
SQL_FUNCTION(damage_ingest);
SQL_FUNCTION(damage_sanitizer);
SQL_FUNCTION(damage_nothing);

extern Datum damoov_store_dataset(PG_FUNCTION_ARGS);

#ifdef __SANITIZE_ADDRESS__
extern PGDLLEXPORT const char *__asan_default_options(void);
extern PGDLLEXPORT const char *__ubsan_default_options(void);

/*
 * The sanitizers come with this library, later than they would like to.  The
 * server has made its title of the environment, so that they cannot be told
 * there.
 */
const char *
__asan_default_options(void)
{
	return "verify_asan_link_order=0:abort_on_error=1:detect_leaks=0:"
		"detect_stack_use_after_return=0";
}

const char *
__ubsan_default_options(void)
{
	return "abort_on_error=1:print_stacktrace=1";
}
#endif

/* ----- damage ----- */

typedef struct Random
{
	uint64		state;
} Random;

typedef struct Document
{
	char	   *bytes;			/* room for MAX_DAMAGED */
	Size		len;
} Document;

/* Steele, Lea and Flood's SplitMix64 */
static uint64
next_random(Random *random)
{
	uint64		mixed = (random->state += UINT64CONST(0x9E3779B97F4A7C15));

	mixed = (mixed ^ (mixed >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	mixed = (mixed ^ (mixed >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return mixed ^ (mixed >> 31);
}

/* From 0 to less than a limit; 0 when that is 0. */
static Size
below(Random *random, Size limit)
{
	return limit == 0 ? 0 : next_random(random) % limit;
}

/* Where a member or an element ends, so that what is left may be JSON. */
static Size
next_comma(const Document *document, Size at)
{
	while (at < document->len && document->bytes[at] != ',')
		at++;
	return at;
}

/* A part of the document: of any size, but more often a small one. */
static Size
choose_span(Random *random, const Document *document, Size *len)
{
	Size		start = below(random, document->len + 1);
	Size		end = start + below(random, (document->len - start) >> below(random, 12)) + 1;

	end = Min(end, document->len);
	if (below(random, 2) == 0)
	{
		start = next_comma(document, start);
		end = next_comma(document, Max(start, end));
	}
	*len = end - start;
	return start;
}

static void
flip_bits(Random *random, Document *document)
{
	int			flips = 1 << below(random, 3);

	if (document->len == 0)
		return;
	while (flips-- > 0)
		document->bytes[below(random, document->len)] ^= 1 << below(random, 8);
}

static void
cut(Random *random, Document *document)
{
	document->len = below(random, document->len + 1);
}

static void
delete_span(Random *random, Document *document)
{
	Size		len;
	char	   *start = document->bytes + choose_span(random, document, &len);

	memmove(start, start + len, document->bytes + document->len - start - len);
	document->len -= len;
}

/* The copy follows the original, or stands anywhere. */
static void
duplicate_span(Random *random, Document *document)
{
	Size		len;
	Size		start = choose_span(random, document, &len);
	Size		to = start + len;
	char	   *copy;

	if (document->len + len > MAX_DAMAGED)
		return;
	if (below(random, 4) == 0)
		to = next_comma(document, below(random, document->len + 1));
	copy = palloc(len + 1);
	memcpy(copy, document->bytes + start, len);
	memmove(document->bytes + to + len, document->bytes + to, document->len - to);
	memcpy(document->bytes + to, copy, len);
	document->len += len;
	pfree(copy);
}

/* The characters that mean something to a reader. */
static void
overwrite(Random *random, Document *document)
{
	static const char meaning[] = "{}[]\",:\\-.0eE9 ntu\0";

	if (document->len > 0)
		document->bytes[below(random, document->len)] =
			meaning[below(random, sizeof(meaning))];
}

static void
damage(Document *document, uint64 seed, uint64 number)
{
	static void (*const damages[]) (Random *, Document *) = {
		flip_bits, cut, delete_span, duplicate_span, overwrite
	};
	Random		random = {seed};
	int			count;

	random.state = next_random(&random) ^ number;
	count = 1 + below(&random, 1 + below(&random, MAX_DAMAGES));
	while (count-- > 0)
		damages[below(&random, lengthof(damages))] (&random, document);
}

/* ----- a copy that ends where memory ends ----- */

typedef struct Place
{
	char	   *memory;
	Size		len;
} Place;

static Place
make_place(void)
{
	Size		page = sysconf(_SC_PAGESIZE);
	Place		place = {NULL, TYPEALIGN(page, MAX_DAMAGED + VARHDRSZ)};

	place.memory = mmap(NULL, place.len + page, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (place.memory == MAP_FAILED ||
		mprotect(place.memory + place.len, page, PROT_NONE) != 0)
		elog(ERROR, "could not map memory: %m");
	return place;
}

/* There is one place for each document of a batch. */
static char *
put_at_end(int number, const Document *document)
{
	static Place places[MAX_BATCH];
	Place	   *place = &places[number];
	char	   *start;

	if (place->memory == NULL)
		*place = make_place();
	start = place->memory + place->len - document->len;
#ifdef __SANITIZE_ADDRESS__
	/* what stands before it must not be read, either */
	__asan_unpoison_memory_region(place->memory, place->len);
	memcpy(start, document->bytes, document->len);
	__asan_poison_memory_region(place->memory, start - place->memory);
#else
	memcpy(start, document->bytes, document->len);
#endif
	return start;
}

/*
 * As a datum, which is aligned: up to three bytes stand between its end and the
 * memory that must not be read, and only the sanitizer guards them.
 */
static text *
datum_at_end(const Document *document)
{
	Size		len = VARHDRSZ + document->len;
	Document	whole = {palloc0(INTALIGN(len)), INTALIGN(len)};
	char	   *start;

	SET_VARSIZE(whole.bytes, len);
	memcpy(VARDATA(whole.bytes), document->bytes, document->len);
	start = put_at_end(0, &whole);
	pfree(whole.bytes);
#ifdef __SANITIZE_ADDRESS__
	__asan_poison_memory_region(start + len, whole.len - len);
#endif
	return (text *) start;
}

/* ----- cases ----- */

static char where[128];			/* for the log of a server that crashed */

static void
tell_case(int signal_number)
{
	if (write(STDERR_FILENO, where, strlen(where)) < 0)
		_exit(2);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void
watch_crashes(void)
{
	/* the sanitizer reports before it aborts */
	signal(SIGABRT, tell_case);
#ifndef __SANITIZE_ADDRESS__
	signal(SIGSEGV, tell_case);
	signal(SIGBUS, tell_case);
#endif
}

/* Does the damage of a case; the result stays until the next one. */
static const Document *
damaged(const char *sort, const bytea *original, uint64 seed, uint64 number)
{
	static Document document;

	if (document.bytes == NULL)
	{
		document.bytes = MemoryContextAlloc(TopMemoryContext, MAX_DAMAGED);
		watch_crashes();
	}
	document.len = VARSIZE_ANY_EXHDR(original);
	if (document.len > MAX_DAMAGED)
		elog(ERROR, "document is too large");
	memcpy(document.bytes, VARDATA_ANY(original), document.len);
	damage(&document, seed, number);
	snprintf(where, sizeof(where),
			 "damage: crashed at case %s:" UINT64_FORMAT " of seed " UINT64_FORMAT "\n",
			 sort, number, seed);
	return &document;
}

static bytea *
as_bytea(const char *bytes, Size len)
{
	return (bytea *) cstring_to_text_with_len(bytes, len);
}

Datum
damage_document(PG_FUNCTION_ARGS)
{
	const Document *document = damaged("document", PG_GETARG_BYTEA_PP(0),
									   PG_GETARG_INT64(1), PG_GETARG_INT64(2));

	PG_RETURN_BYTEA_P(as_bytea(document->bytes, document->len));
}

/* ----- datasets ----- */

static DatasetKey
dataset_key(const text *kind, const pg_uuid_t *object_id)
{
	DatasetKey	key = {dataset_kind(text_to_cstring(kind)), *object_id, 0};

	return key;
}

/* Reads a damaged dataset as a download does. */
static bool
read_damaged(const DatasetKey *key, const Document *document, Fault *fault)
{
	Dataset		dataset = {
		.key = *key, .document = datum_at_end(document)
	};
	bool		done = dataset_read(&dataset, fault);

	if (done != (fault->sqlstate == 0) || done != (dataset.content != NULL))
		elog(ERROR, "the reader does not say whether it could read: %s", where);
	if (!done && (fault->reason == REASON_NONE || fault->message == NULL))
		elog(ERROR, "the reader does not say why it could not read: %s", where);
	return done;
}

static void
put_number(ReturnSetInfo *result, int64 number)
{
	Datum		value = Int64GetDatum(number);
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
}

/* Reads cases by the step; returns the numbers of those that could be read. */
Datum
damage_read(PG_FUNCTION_ARGS)
{
	DatasetKey	key = dataset_key(PG_GETARG_TEXT_PP(0), PG_GETARG_UUID_P(1));
	bytea	   *original = PG_GETARG_BYTEA_PP(2);
	int64		seed = PG_GETARG_INT64(3);
	int64		last = PG_GETARG_INT64(5);
	int64		step = PG_GETARG_INT64(6);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "damage",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	caller = MemoryContextSwitchTo(work);
	for (int64 number = PG_GETARG_INT64(4); number <= last; number += step)
	{
		Fault		fault = {0};

		CHECK_FOR_INTERRUPTS();
		if (read_damaged(&key, damaged("dataset", original, seed, number), &fault))
			put_number(result, number);
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(caller);
	return (Datum) 0;
}

static bool
read_message(const Document *document)
{
	ListCell   *cell;

	foreach(cell, ingest_read(NIL, put_at_end(0, document), document->len, NOTIFICATION_RAW))
	{
		if (((IngestEntry *) lfirst(cell))->fault.sqlstate != 0)
			return false;
	}
	return true;
}

/*
 * Reads the first byte of a document, the first two, and so on to the whole;
 * returns the lengths that could be read.  The kind may also be "message".
 */
Datum
damage_prefixes(PG_FUNCTION_ARGS)
{
	bool		is_message = strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), "message") == 0;
	DatasetKey	key = {0};
	bytea	   *original = PG_GETARG_BYTEA_PP(2);
	Document	document = {VARDATA_ANY(original), 0};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "damage",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller;

	if (!is_message)
		key = dataset_key(PG_GETARG_TEXT_PP(0), PG_GETARG_UUID_P(1));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	watch_crashes();
	caller = MemoryContextSwitchTo(work);
	for (; document.len <= VARSIZE_ANY_EXHDR(original); document.len++)
	{
		Fault		fault = {0};

		CHECK_FOR_INTERRUPTS();
		snprintf(where, sizeof(where), "damage: crashed at byte %zu of a %s\n",
				 document.len, text_to_cstring(PG_GETARG_TEXT_PP(0)));
		if (is_message ? read_message(&document) : read_damaged(&key, &document, &fault))
			put_number(result, document.len);
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(caller);
	return (Datum) 0;
}

/* The door of documents that are at hand; the reader has seen this one. */
static TransactionId
store(const DatasetKey *key, const Document *document)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TransactionId writer;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	(void) DirectFunctionCall3(damoov_store_dataset,
							   CStringGetTextDatum(dataset_kind_name(key->kind)),
							   UUIDPGetDatum(&key->object_id),
							   PointerGetDatum(as_bytea(document->bytes, document->len)));
	writer = GetCurrentTransactionId();
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return writer;
}

/*
 * Reads a case and stores it.  Returns the (sub)transaction that wrote the
 * rows, or null when the reader refused.
 */
Datum
damage_store(PG_FUNCTION_ARGS)
{
	DatasetKey	key = dataset_key(PG_GETARG_TEXT_PP(0), PG_GETARG_UUID_P(1));
	const Document *document = damaged("dataset", PG_GETARG_BYTEA_PP(2),
									   PG_GETARG_INT64(3), PG_GETARG_INT64(4));
	Fault		fault = {0};

	if (!read_damaged(&key, document, &fault))
		PG_RETURN_NULL();
	PG_RETURN_TRANSACTIONID(store(&key, document));
}

/* ----- notifications ----- */

static void
put_entry(ReturnSetInfo *result, const IngestEntry *entry)
{
	Datum		values[] = {
		CStringGetTextDatum(ingest_outcome_name(entry->outcome)),
		Int64GetDatum(entry->event_id),
		PointerGetDatum(as_bytea(entry->body, entry->body_len))
	};
	bool		nulls[] = {false, entry->event_id == 0, false};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * Ingests cases as the worker does, those of one call as one batch: the n-th
 * of the documents gets the damage of the n-th number from the first on.
 * Returns what became of each.
 */
Datum
damage_ingest(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		seed = PG_GETARG_INT64(2);
	int64		first = PG_GETARG_INT64(3);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *entries = NIL;
	Datum	   *originals;
	ListCell   *cell;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), BYTEAOID, -1, false,
					  TYPALIGN_INT, &originals, NULL, &count);
	if (count > MAX_BATCH)
		elog(ERROR, "no queue delivers so many at once");
	for (int i = 0; i < count; i++)
	{
		const Document *document = damaged("message", DatumGetByteaPP(originals[i]),
										   seed, first + i);

		entries = ingest_read(entries, put_at_end(i, document), document->len, NOTIFICATION_RAW);
	}
	ingest_store(entries, source, INGEST_DECIDE);
	foreach(cell, entries)
		put_entry(result, lfirst(cell));
	return (Datum) 0;
}

/* ----- is anybody looking? ----- */

/* The sanitizers that this was compiled with; they are there when it loads. */
Datum
damage_sanitizer(PG_FUNCTION_ARGS)
{
#ifdef __SANITIZE_ADDRESS__
	PG_RETURN_TEXT_P(cstring_to_text("address"));
#else
	PG_RETURN_NULL();
#endif
}

/*
 * Does something wrong on purpose, to see that it is noticed: reads behind a
 * document, in front of it, or behind a variable.
 */
Datum
damage_nothing(PG_FUNCTION_ARGS)
{
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Document	document = {what, strlen(what)};
	const char *text = put_at_end(0, &document);
	volatile int sum = 0;
	char		local[lengthof("variable")] = "";

	watch_crashes();
	strcpy(where, "damage: crashed on purpose\n");
	if (strcmp(what, "behind") == 0)
		sum = text[document.len];
	else if (strcmp(what, "before") == 0)
		sum = text[-8];			/* it looks at eight bytes at once */
	else if (strcmp(what, "variable") == 0)
		sum = local[document.len + 1];	/* one too far */
	PG_RETURN_INT32(sum);
}
