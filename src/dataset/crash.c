/*
 * crash.c
 *	  Crashes: see crash.h.
 *
 * The tables of members know what a header looks like.  What a buffer looks
 * like is guessed, and that is done in SQL, by damoov.store_crash_buffer():
 * here its text is judged, and freed of what must not be kept.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/sql.h"
#include "dataset/crash.h"
#include "dataset/event_members.h"
#include "dataset/keep.h"
#include "dataset/record.h"
#include "dataset/record_check.h"
#include "dataset/record_store.h"
#include "dataset/record_value.h"

/* what the reader in SQL has to cope with; a jsonb holds 256 MB */
#define MAX_BUFFER_VALUES	1000000
#define MAX_BUFFER_BYTES	(200 * 1024 * 1024)

/* ----- headers ----- */

static const Member header_members[] = {
	[EVENT_ID] = {"Id", NULL, PLAIN(KIND_TOKEN)},
	EVENT_MEMBERS
};

/*
 * A header has no envelope to recognize it by.  It must have a member other
 * than its id, start and points: an empty object and an error reply have none
 * of them, and a buffer may have these as well.
 */
static bool
check_header(Content *content, const Document *document, Fault *fault)
{
	const uint64 shared = MEMBER_BIT(EVENT_ID) | MEMBER_BIT(EVENT_TIME_START) |
		MEMBER_BIT(EVENT_POINT_START) | MEMBER_BIT(EVENT_POINT_END);
	RecordState *header = &content->document;

	if ((header->seen & ~shared) == 0)
		return record_refuse(header->record, document,
							 "member of a crash header", fault);
	record_check_position(header, EVENT_START_LATITUDE);
	record_check_position(header, EVENT_END_LATITUDE);
	return true;
}

const Record crash_record = {
	RECORD_MEMBERS(header_members),
	.what = "crash",
	.what_kind = "crash header",
	.check = check_header
};

static RecordTable crashes_table = {
	.name = "crashes",
	.id = "crash_id",
	.stored_at = "header_stored_at",
	.keeps_person = true,
	.record = &crash_record
};

int64
crash_header_store(const void *content, const pg_uuid_t *crash_token, int64 user_id)
{
	const RecordColumn token = {"crash_token", UUIDOID, .value = UUIDPGetDatum(crash_token)};

	return record_store(&crashes_table, content, user_id, &token, 1);
}

/* ----- buffers ----- */

typedef struct CrashBuffer
{
	StringInfoData text;		/* the document without secrets */
	bool		is_readable;
} CrashBuffer;

typedef struct BufferReader
{
	Secrets		secrets;
	int64		values;
	Size		bytes;			/* of all values, those in others once more */
} BufferReader;

static void
look_at_value(JsonWalk *walk, const char *start, Size len)
{
	BufferReader *reader = walk->state;

	reader->values++;
	reader->bytes += len;
	if (keep_is_secret(&reader->secrets, json_name(walk, walk->depth)))
		keep_add_secret(&reader->secrets, start, len);
}

static CrashBuffer *
make_buffer(const Document *document, BufferReader *reader)
{
	CrashBuffer *buffer = palloc(sizeof(CrashBuffer));

	buffer->is_readable = reader->values <= MAX_BUFFER_VALUES &&
		reader->bytes <= MAX_BUFFER_BYTES;
	initStringInfo(&buffer->text);
	keep_hide(&reader->secrets, document->device_token);
	keep_append(&buffer->text, document->text, document->len, &reader->secrets);
	keep_hide_end(&reader->secrets);
	return buffer;
}

void *
crash_buffer_read(const Document *document, Fault *fault)
{
	static const JsonVisitor visitor = {.value = look_at_value};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov crash buffer",
											   ALLOCSET_DEFAULT_SIZES);
	BufferReader reader = {0};
	CrashBuffer *buffer = NULL;
	bool		done;

	MemoryContextSwitchTo(work);
	done = json_walk(document->text, document->len, JSON_LIMITS(document->max_len),
					 &visitor, &reader, fault);
	MemoryContextSwitchTo(caller);
	if (done)
		buffer = make_buffer(document, &reader);
	else
		fault->message = pstrdup(fault->message);
	MemoryContextDelete(work);
	return buffer;
}

int64
crash_buffer_store(const void *content, const pg_uuid_t *crash_token, int64 user_id)
{
	static SqlPlan plan = SQL_PLAN("SELECT damoov.store_crash_buffer($1, $2, $3, $4)",
								   UUIDOID, INT8OID, TEXTOID, BOOLOID);
	const CrashBuffer *buffer = content;
	Datum		arguments[] = {
		UUIDPGetDatum(crash_token),
		Int64GetDatum(user_id),
		PointerGetDatum(cstring_to_text_with_len(buffer->text.data, buffer->text.len)),
		BoolGetDatum(buffer->is_readable)
	};

	sql_run(&plan, arguments, NULL);
	return DatumGetInt64(sql_value(0, 1, NULL));
}
