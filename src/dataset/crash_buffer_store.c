/*
 * crash_buffer_store.c
 *	  Crash buffers: samples to one row of arrays.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "dataset/crash_buffer.h"
#include "dataset/record_store.h"

typedef enum BufferColumn
{
	BUFFER_COL_CRASH_ID,
	BUFFER_COL_USER_ID,
	BUFFER_COL_STARTED_AT,
	BUFFER_COL_FREQUENCY_HZ,
	BUFFER_COL_SAMPLE_COUNT,
	BUFFER_COL_NOTES,
	BUFFER_COL_EXTRA,
	BUFFER_COL_STORED_AT,
	BUFFER_COL_SAMPLES,
	BUFFER_COLUMNS = BUFFER_COL_SAMPLES + SAMPLE_FIELDS
} BufferColumn;

static const BulkColumn buffer_columns[BUFFER_COLUMNS] = {
	[BUFFER_COL_CRASH_ID] = {"crash_id", INT8OID},
	[BUFFER_COL_USER_ID] = {"user_id", INT8OID},
	[BUFFER_COL_STARTED_AT] = {"started_at", TIMESTAMPTZOID},
	[BUFFER_COL_FREQUENCY_HZ] = {"frequency_hz", FLOAT8OID},
	[BUFFER_COL_SAMPLE_COUNT] = {"sample_count", INT4OID},
	[BUFFER_COL_NOTES] = {"notes", TEXTARRAYOID},
	[BUFFER_COL_EXTRA] = {"extra", JSONBOID},
	[BUFFER_COL_STORED_AT] = {"stored_at", TIMESTAMPTZOID},
	[BUFFER_COL_SAMPLES + SAMPLE_TIME] = {"at_ms", FLOAT8ARRAYOID},
	[BUFFER_COL_SAMPLES + SAMPLE_ACCELERATION_X] = {"acceleration_x_ms2", FLOAT8ARRAYOID},
	[BUFFER_COL_SAMPLES + SAMPLE_ACCELERATION_Y] = {"acceleration_y_ms2", FLOAT8ARRAYOID},
	[BUFFER_COL_SAMPLES + SAMPLE_ACCELERATION_Z] = {"acceleration_z_ms2", FLOAT8ARRAYOID},
	[BUFFER_COL_SAMPLES + SAMPLE_GYROSCOPE_X] = {"gyroscope_x_rad_s", FLOAT8ARRAYOID},
	[BUFFER_COL_SAMPLES + SAMPLE_GYROSCOPE_Y] = {"gyroscope_y_rad_s", FLOAT8ARRAYOID},
	[BUFFER_COL_SAMPLES + SAMPLE_GYROSCOPE_Z] = {"gyroscope_z_rad_s", FLOAT8ARRAYOID},
	[BUFFER_COL_SAMPLES + SAMPLE_SPEED] = {"speed_ms", FLOAT8ARRAYOID}
};

static RecordTable buffers_table = {
	.name = "crash_buffers",
	.key = "crash_id",
	.id = "crash_id",
	.columns = buffer_columns,
	.ncolumns = lengthof(buffer_columns)
};

/* finds the crash or adds it; an update of the key to itself returns the id */
static SqlPlan find_crash = {
	.text = "INSERT INTO damoov.crashes AS c (crash_token, user_id) VALUES ($1, $2) "
	"ON CONFLICT (crash_token) DO UPDATE SET crash_token = c.crash_token "
	"RETURNING crash_id",
	.nargs = 2,
	.argtypes = {UUIDOID, INT8OID}
};

static int64
crash_of_token(const pg_uuid_t *crash_token, int64 user_id)
{
	Datum		arguments[] = {
		UUIDPGetDatum(crash_token), Int64GetDatum(user_id)
	};

	if (sql_run(&find_crash, arguments, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not store a row in table \"%s\"", "crashes"),
				 errdetail("A rule or trigger kept the row away.")));
	return DatumGetInt64(sql_value(0, 1, NULL));
}

static bool
samples_datum(const CrashBuffer *buffer, SampleField field, Datum *value)
{
	const double *sample = buffer->value[field];
	Datum	   *items;
	bool	   *isnull;

	if (sample == NULL || buffer->count == 0)
		return false;
	items = palloc(buffer->count * sizeof(Datum));
	isnull = palloc(buffer->count * sizeof(bool));
	for (int i = 0; i < buffer->count; i++)
	{
		items[i] = Float8GetDatum(sample[i]);
		isnull[i] = isnan(sample[i]);
	}
	*value = sql_array(items, isnull, buffer->count, FLOAT8OID);
	return true;
}

static bool
buffer_notes_datum(const CrashBuffer *buffer, Datum *value)
{
	int			count = 0;
	char	  **notes = palloc(Max(1, list_length(buffer->notes)) *
							   sizeof(char *));
	ListCell   *cell;

	foreach(cell, buffer->notes)
		notes[count++] = lfirst(cell);
	return record_notes_datum(notes, count, value);
}

int64
crash_buffer_store(const CrashBuffer *buffer, const pg_uuid_t *crash_token,
				   int64 user_id)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov crash storing",
											   ALLOCSET_DEFAULT_SIZES);
	Datum		values[BUFFER_COLUMNS];
	bool		isnull[BUFFER_COLUMNS] = {0};
	int64		crash_id;

	MemoryContextSwitchTo(work);
	crash_id = crash_of_token(crash_token, user_id);
	values[BUFFER_COL_CRASH_ID] = Int64GetDatum(crash_id);
	values[BUFFER_COL_USER_ID] = Int64GetDatum(user_id);
	values[BUFFER_COL_STARTED_AT] = TimestampTzGetDatum(buffer->started_at);
	isnull[BUFFER_COL_STARTED_AT] = !buffer->has_start;
	values[BUFFER_COL_FREQUENCY_HZ] = Float8GetDatum(buffer->frequency_hz);
	isnull[BUFFER_COL_FREQUENCY_HZ] = buffer->frequency_hz == 0;
	values[BUFFER_COL_SAMPLE_COUNT] = Int32GetDatum(buffer->count);
	isnull[BUFFER_COL_NOTES] = !buffer_notes_datum(buffer,
												   &values[BUFFER_COL_NOTES]);
	isnull[BUFFER_COL_EXTRA] = buffer->extra == NULL ||
		!record_extra_datum(buffer->extra, 0, &values[BUFFER_COL_EXTRA]);
	values[BUFFER_COL_STORED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	for (int field = 0; field < SAMPLE_FIELDS; field++)
		isnull[BUFFER_COL_SAMPLES + field] =
			!samples_datum(buffer, field, &values[BUFFER_COL_SAMPLES + field]);
	(void) record_upsert(&buffers_table, values, isnull, NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return crash_id;
}
