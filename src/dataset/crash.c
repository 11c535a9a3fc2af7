/*
 * crash.c
 *	  Crash headers: bytes to checked values, and those to a row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "base/fault.h"
#include "dataset/crash.h"
#include "dataset/event_members.h"
#include "dataset/record.h"
#include "dataset/record_store.h"
#include "dataset/record_value.h"

static const Member header_members[] = {
	[EVENT_ID] = {"Id", NULL, PLAIN(KIND_TOKEN)},
	EVENT_MEMBERS
};

/*
 * A header has no envelope.  What has a type, a trigger or a speed is one; an
 * empty object or an error reply is not, nor is a buffer, which may have an id
 * and a start as well.
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

static const Record header_record = {
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
	.record = &header_record
};

Content *
crash_header_read(const Document *document, Fault *fault)
{
	return record_read(&header_record, document, fault);
}

int64
crash_header_store(const Content *content, const pg_uuid_t *crash_token,
				   int64 user_id)
{
	const RecordColumn token = {"crash_token", UUIDOID, .value = UUIDPGetDatum(crash_token)};

	return record_store(&crashes_table, content, user_id, &token, 1);
}
