/*
 * crash.c
 *	  Crash headers: bytes to checked values, and those to a row.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "dataset/crash.h"
#include "dataset/event_members.h"
#include "dataset/record_store.h"

struct CrashHeader
{
	RecordRow  *row;			/* of header_record */
	char	   *extra;			/* NULL for none */
	char	  **notes;
	int			nnotes;
};

static const Member header_members[] = {
	[EVENT_ID] = {"Id", NULL, PLAIN(KIND_TOKEN)},
	EVENT_MEMBERS
};

static const Record header_record = {
	.members = header_members,
	.nmembers = lengthof(header_members),
	.size = ROW_SIZE(lengthof(header_members))
};

typedef enum HeaderColumn
{
	HEADER_COL_CRASH_TOKEN,
	HEADER_COL_USER_ID,
	HEADER_COL_NOTES,
	HEADER_COL_EXTRA,
	HEADER_COL_STORED_AT,
	HEADER_COLUMNS
} HeaderColumn;

static const BulkColumn header_columns[HEADER_COLUMNS] = {
	[HEADER_COL_CRASH_TOKEN] = {"crash_token", UUIDOID},
	[HEADER_COL_USER_ID] = {"user_id", INT8OID},
	[HEADER_COL_NOTES] = {"notes", TEXTARRAYOID},
	[HEADER_COL_EXTRA] = {"extra", JSONBOID},
	[HEADER_COL_STORED_AT] = {"header_stored_at", TIMESTAMPTZOID}
};

static RecordTable crashes_table = {
	.name = "crashes",
	.key = "crash_token",
	.id = "crash_id",
	.columns = header_columns,
	.ncolumns = lengthof(header_columns),
	.nkept = HEADER_COL_NOTES,	/* token and person */
	.record = &header_record
};

/*
 * A header has no envelope.  What has a type, a trigger or a speed is one; an
 * empty object or an error reply is not, nor is a buffer, which may have an id
 * and a start as well.
 */
static bool
is_header(const RecordState *document)
{
	const uint64 shared = MEMBER_BIT(EVENT_ID) | MEMBER_BIT(EVENT_TIME_START) |
		MEMBER_BIT(EVENT_POINT_START) | MEMBER_BIT(EVENT_POINT_END);

	return (document->seen & ~shared) != 0;
}

static CrashHeader *
make_header(RecordReader *reader)
{
	RecordState *document = record_document(reader);
	CrashHeader *header = palloc0(sizeof(CrashHeader));

	record_check_position(document, EVENT_START_LATITUDE);
	record_check_position(document, EVENT_END_LATITUDE);
	header->row = document->row;
	header->extra = record_extra(reader);
	header->notes = record_notes(reader, &header->nnotes);
	return header;
}

bool
crash_header_read(const char *text, Size len, Size max_len,
				  const pg_uuid_t *expected, const char *device_token,
				  CrashHeader **header, Fault *fault)
{
	RecordReader *reader = record_reader(&header_record, "crash",
										 "crash header", expected, device_token);
	bool		done = record_read(reader, text, len, max_len, fault);

	if (done && !is_header(record_document(reader)))
		done = record_refuse(reader, text, len, "member of a crash header",
							 fault);
	*header = done ? make_header(reader) : NULL;
	record_free(reader);
	return done;
}

int64
crash_header_store(const CrashHeader *header, const pg_uuid_t *crash_token,
				   int64 user_id)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov crash storing",
											   ALLOCSET_DEFAULT_SIZES);
	Datum		values[HEADER_COLUMNS];
	bool		isnull[HEADER_COLUMNS] = {0};
	int64		crash_id;

	MemoryContextSwitchTo(work);
	values[HEADER_COL_CRASH_TOKEN] = UUIDPGetDatum(crash_token);
	values[HEADER_COL_USER_ID] = Int64GetDatum(user_id);
	isnull[HEADER_COL_NOTES] =
		!record_notes_datum(header->notes, header->nnotes,
							&values[HEADER_COL_NOTES]);
	isnull[HEADER_COL_EXTRA] = header->extra == NULL ||
		!record_extra_datum(header->extra, 0, &values[HEADER_COL_EXTRA]);
	values[HEADER_COL_STORED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	crash_id = record_upsert(&crashes_table, values, isnull, header->row);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return crash_id;
}
