/*
 * crash_buffer_store.c
 *	  Crash buffers: samples to one row of arrays.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "dataset/crash_buffer.h"
#include "dataset/record_store.h"

static const Record no_members = {0};

static RecordTable buffers_table = {
	.name = "crash_buffers",
	.id = "crash_id",
	.stored_at = "stored_at",
	.record = &no_members
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

static RecordColumn
samples_column(const char *name, const CrashBuffer *buffer, SampleField field)
{
	RecordColumn column = {name, FLOAT8ARRAYOID, (Datum) 0, true};
	const double *sample = buffer->value[field];
	Datum	   *items;
	bool	   *isnull;

	if (sample == NULL || buffer->count == 0)
		return column;
	items = palloc(buffer->count * sizeof(Datum));
	isnull = palloc(buffer->count * sizeof(bool));
	for (int i = 0; i < buffer->count; i++)
	{
		items[i] = Float8GetDatum(sample[i]);
		isnull[i] = isnan(sample[i]);
	}
	column.value = sql_array(items, isnull, buffer->count, FLOAT8OID);
	column.isnull = false;
	return column;
}

int64
crash_buffer_store(const CrashBuffer *buffer, const pg_uuid_t *crash_token,
				   int64 user_id)
{
	int64		crash_id = crash_of_token(crash_token, user_id);
	Content		content = {.extra = buffer->extra};
	RecordColumn columns[] = {
		{"crash_id", INT8OID, .value = Int64GetDatum(crash_id)},
		{"started_at", TIMESTAMPTZOID, TimestampTzGetDatum(buffer->started_at), !buffer->has_start},
		{"frequency_hz", FLOAT8OID, Float8GetDatum(buffer->frequency_hz), buffer->frequency_hz == 0},
		{"sample_count", INT4OID, .value = Int32GetDatum(buffer->count)},
		samples_column("at_ms", buffer, SAMPLE_TIME),
		samples_column("acceleration_x_ms2", buffer, SAMPLE_ACCELERATION_X),
		samples_column("acceleration_y_ms2", buffer, SAMPLE_ACCELERATION_Y),
		samples_column("acceleration_z_ms2", buffer, SAMPLE_ACCELERATION_Z),
		samples_column("gyroscope_x_rad_s", buffer, SAMPLE_GYROSCOPE_X),
		samples_column("gyroscope_y_rad_s", buffer, SAMPLE_GYROSCOPE_Y),
		samples_column("gyroscope_z_rad_s", buffer, SAMPLE_GYROSCOPE_Z),
		samples_column("speed_ms", buffer, SAMPLE_SPEED)
	};
	ListCell   *cell;

	content.notes = palloc(Max(1, list_length(buffer->notes)) * sizeof(char *));
	foreach(cell, buffer->notes)
		content.notes[content.nnotes++] = lfirst(cell);
	(void) record_store(&buffers_table, &content, user_id, columns,
						lengthof(columns));
	return crash_id;
}
