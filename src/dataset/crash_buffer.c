/*
 * crash_buffer.c
 *	  Crash buffers: bytes to samples.
 *
 * No buffer has been published, so nothing here relies on a name or a form.
 * The document is taken as a tree, and what looks like samples is looked for:
 * an array of objects, or arrays of numbers side by side.  Names count without
 * case and punctuation, and together with the name of what they stand in, so
 * that ACC_X, accelerationX, {"Acc":{"X":1}} and {"Acc":[1,2,3]} are the same.
 * What has been understood is taken out of the tree; the rest is "extra".
 * What the names are is in crash_names.c.
 */
#include "postgres.h"

#include <math.h>

#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "base/timestamp.h"
#include "base/uuid.h"
#include "dataset/crash_buffer.h"
#include "dataset/json_tree.h"
#include "dataset/record_value.h"

#define MAX_NODES			1000000
#define MIN_EPOCH_S			1e8 /* a start is since 1970, or it is none */
#define MIN_EPOCH_MS		1e11

#define ACCELERATION_FIELDS	(1 << SAMPLE_ACCELERATION_X | \
							 1 << SAMPLE_ACCELERATION_Y | \
							 1 << SAMPLE_ACCELERATION_Z)
#define GYROSCOPE_FIELDS	(1 << SAMPLE_GYROSCOPE_X | \
							 1 << SAMPLE_GYROSCOPE_Y | \
							 1 << SAMPLE_GYROSCOPE_Z)

static const char *const field_name[SAMPLE_FIELDS] = {
	[SAMPLE_TIME] = "time",
	[SAMPLE_ACCELERATION_X] = "acceleration_x",
	[SAMPLE_ACCELERATION_Y] = "acceleration_y",
	[SAMPLE_ACCELERATION_Z] = "acceleration_z",
	[SAMPLE_GYROSCOPE_X] = "gyroscope_x",
	[SAMPLE_GYROSCOPE_Y] = "gyroscope_y",
	[SAMPLE_GYROSCOPE_Z] = "gyroscope_z",
	[SAMPLE_SPEED] = "speed"
};

static const Member field_range[SAMPLE_FIELDS] = {
	[SAMPLE_TIME] = {"", NULL, NUMBER(-1e19, 1e19)},
	[SAMPLE_ACCELERATION_X] = {"", NULL, NUMBER(-10000, 10000)},
	[SAMPLE_ACCELERATION_Y] = {"", NULL, NUMBER(-10000, 10000)},
	[SAMPLE_ACCELERATION_Z] = {"", NULL, NUMBER(-10000, 10000)},
	[SAMPLE_GYROSCOPE_X] = {"", NULL, NUMBER(-10000, 10000)},
	[SAMPLE_GYROSCOPE_Y] = {"", NULL, NUMBER(-10000, 10000)},
	[SAMPLE_GYROSCOPE_Z] = {"", NULL, NUMBER(-10000, 10000)},
	[SAMPLE_SPEED] = {"", NULL, NUMBER(0, 600)}
};

typedef struct BufferReader
{
	CrashBuffer *buffer;
	JsonTree	tree;
	const pg_uuid_t *expected;
	JsonNode   *series;			/* the chosen one, NULL for none */
	int			fields;			/* bits of those it has */
	int			length;
	bool		is_columns;		/* arrays of numbers side by side */
	bool		has_id;
	bool		dates;			/* times are texts */
	int			others;			/* series of sensor values */
	uint32		note[SAMPLE_FIELDS][NOTES];
} BufferReader;

void
crash_buffer_note(CrashBuffer *buffer, const char *name, const char *text,
				  int count)
{
	char	   *note = count > 0 ? psprintf("%s: %s (%d)", name, text, count) :
		psprintf("%s: %s", name, text);

	buffer->notes = lappend(buffer->notes, note);
}

/* ----- looking for the samples ----- */

static inline bool
is_container(const JsonNode *node)
{
	return json_is_object(node) || json_is_array(node);
}

/* The fields that a sample has. */
static int
fields_of_sample(const JsonNode *node)
{
	SampleField field;
	int			fields = 0;

	if (is_container(node))
	{
		if (json_is_array(node) && node->count > CRASH_MAX_AXES)
			return 0;
		for (const JsonNode *item = node->first; item; item = item->next)
			fields |= fields_of_sample(item);
		return fields;
	}
	field = crash_classify(node);
	return field < SAMPLE_FIELDS ? 1 << field : 0;
}

/* Is it a whole series of one field? */
static bool
is_column(const JsonNode *node)
{
	return json_is_array(node) && node->count > CRASH_MAX_AXES &&
		!is_container(node->first) && crash_classify(node) < SAMPLE_FIELDS;
}

static int
fields_of_columns(const JsonNode *node, int *length)
{
	int			fields = 0;

	if (is_column(node))
	{
		*length = Max(*length, node->count);
		return 1 << crash_classify(node);
	}
	if (json_is_object(node))
	{
		for (const JsonNode *item = node->first; item; item = item->next)
			fields |= fields_of_columns(item, length);
	}
	return fields;
}

static int
rank(int fields)
{
	return pg_popcount32(fields & ACCELERATION_FIELDS) * 10 +
		pg_popcount32(fields & GYROSCOPE_FIELDS) * 2 +
		pg_popcount32(fields & (1 << SAMPLE_TIME | 1 << SAMPLE_SPEED));
}

static void
propose(BufferReader *reader, JsonNode *node, int fields, int length,
		bool is_columns)
{
	if ((fields & (ACCELERATION_FIELDS | GYROSCOPE_FIELDS)) == 0)
		return;
	if (reader->series && (rank(fields) < rank(reader->fields) ||
						   (rank(fields) == rank(reader->fields) &&
							length <= reader->length)))
		return;
	reader->series = node;
	reader->fields = fields;
	reader->length = length;
	reader->is_columns = is_columns;
}

/* The fields of an array of samples: those of the first few. */
static int
fields_of_array(const JsonNode *node)
{
	int			fields = 0;
	int			looked_at = 0;

	for (const JsonNode *item = node->first; item && looked_at < 3;
		 item = item->next)
	{
		if (json_is_object(item))
		{
			fields |= fields_of_sample(item);
			looked_at++;
		}
	}
	return fields;
}

static void
find_series(BufferReader *reader, JsonNode *node)
{
	if (json_is_object(node))
	{
		int			length = 0;
		int			fields = fields_of_columns(node, &length);

		propose(reader, node, fields, length, true);
	}
	else if (json_is_array(node))
		propose(reader, node, fields_of_array(node), node->count, false);
	for (JsonNode *item = node->first; item; item = item->next)
	{
		if (is_container(item))
			find_series(reader, item);
	}
}

/* ----- taking values ----- */

static double *
column_of(CrashBuffer *buffer, SampleField field)
{
	if (buffer->value[field] == NULL)
	{
		buffer->value[field] = palloc(buffer->count * sizeof(double));
		for (int i = 0; i < buffer->count; i++)
			buffer->value[field][i] = NAN;
	}
	return buffer->value[field];
}

/* A time written as a date, in milliseconds since 1970. */
static Note
judge_date(BufferReader *reader, const char *text, double *value)
{
	ParsedTime	time;

	switch (timestamp_parse(text, (int) strlen(text), &time))
	{
		case TIME_OK:
			break;
		case TIME_EMPTY:
			return NOTE_MISSING;
		case TIME_SYNTAX:
			return NOTE_NOT_TIME;
		case TIME_RANGE:
			return NOTE_RANGE;
		case TIME_ZONE:
			return NOTE_ZONE;
	}
	*value = (double) time.at / 1e3 +
		(double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1e3;
	reader->dates = true;
	return time.has_zone ? NOTE_NONE : NOTE_NO_ZONE;
}

/* Takes the value, unless the sample has one already or it is of no use. */
static void
take_value(BufferReader *reader, JsonNode *node, SampleField field, int seq)
{
	double	   *value = &column_of(reader->buffer, field)[seq];
	JudgedValue judged = {0};
	ValueMemory memory = {0};
	Note		note;

	if (node->type == JSON_TOKEN_NULL)
	{
		json_use(node);
		return;
	}
	if (!isnan(*value))
		return;
	if (field == SAMPLE_TIME && node->type == JSON_TOKEN_STRING)
	{
		note = judge_date(reader, node->text, value);
		judged.given = !isnan(*value);
	}
	else
	{
		note = value_judge(&field_range[field], node->text, node->type,
						   &memory, &judged);
		if (judged.given)
			*value = judged.value.number;
	}
	if (note != NOTE_NONE)
		reader->note[field][note]++;
	if (judged.given)
		json_use(node);
}

/* An index that is the position, counted from 0 or 1, tells nothing. */
static void
take_index(JsonNode *node, int seq)
{
	int64		index;

	if (node->type == JSON_TOKEN_NUMBER && json_int64(node->text, &index) &&
		(index == seq || index == (int64) seq + 1))
		json_use(node);
}

static void
take_sample(BufferReader *reader, JsonNode *node, int seq)
{
	SampleField field;

	if (is_container(node))
	{
		if (json_is_array(node) && node->count > CRASH_MAX_AXES)
			return;
		for (JsonNode *item = node->first; item; item = item->next)
			take_sample(reader, item, seq);
		/* nothing is left of what was empty */
		return;
	}
	field = crash_classify(node);
	if (field < SAMPLE_FIELDS)
		take_value(reader, node, field, seq);
	else if (field == SAMPLE_INDEX)
		take_index(node, seq);
}

static void
take_columns(BufferReader *reader, JsonNode *node)
{
	int			seq = 0;

	if (is_column(node))
	{
		SampleField field = crash_classify(node);

		/* a second column of the same field stays where it is */
		if (reader->buffer->value[field] != NULL)
			return;
		for (JsonNode *item = node->first; item; item = item->next)
			take_value(reader, item, field, seq++);
	}
	else if (json_is_object(node))
	{
		for (JsonNode *item = node->first; item; item = item->next)
			take_columns(reader, item);
	}
}

static void
take_array(BufferReader *reader, JsonNode *series)
{
	int			seq = 0;
	int			others = 0;

	for (JsonNode *item = series->first; item; item = item->next)
	{
		if (json_is_object(item))
			take_sample(reader, item, seq);
		else
			others++;
		seq++;
	}
	if (others > 0)
		crash_buffer_note(reader->buffer, "samples[]",
						  note_text[NOTE_NOT_OBJECT], others);
}

/* ----- a gyroscope with a series of its own ----- */

/* The times of a sample as they stand, NULL for none. */
static const JsonNode *
time_of(const JsonNode *sample)
{
	for (const JsonNode *item = sample->first; item; item = item->next)
	{
		if (!is_container(item) && crash_classify(item) == SAMPLE_TIME)
			return item;
	}
	return NULL;
}

static bool
same_clock(const JsonNode *series, const JsonNode *other)
{
	const JsonNode *a = series->first;
	const JsonNode *b = other->first;

	if (series->count != other->count)
		return false;
	for (; a && b; a = a->next, b = b->next)
	{
		const JsonNode *time_a = time_of(a);
		const JsonNode *time_b = time_of(b);

		if (time_a && time_b && strcmp(time_a->text, time_b->text) != 0)
			return false;
	}
	return true;
}

static void
take_gyroscope(BufferReader *reader, JsonNode *series)
{
	int			seq = 0;

	for (JsonNode *item = series->first; item; item = item->next, seq++)
	{
		JsonNode   *time = unconstify(JsonNode *, time_of(item));

		take_sample(reader, item, seq);
		if (time)
			json_use(time);		/* the same as in the other series */
	}
}

/* What other series of sensor values there are. */
static void
look_at_others(BufferReader *reader, JsonNode *node)
{
	for (JsonNode *item = node->first; item; item = item->next)
	{
		int			fields;

		if (item == reader->series || !is_container(item))
			continue;
		fields = json_is_array(item) ? fields_of_array(item) : 0;
		if ((fields & (ACCELERATION_FIELDS | GYROSCOPE_FIELDS)) == 0)
			look_at_others(reader, item);
		else if (!reader->is_columns && (fields & ACCELERATION_FIELDS) == 0 &&
				 (reader->fields & GYROSCOPE_FIELDS) == 0 &&
				 same_clock(reader->series, item))
		{
			take_gyroscope(reader, item);
			reader->fields |= fields;
		}
		else
			reader->others++;
	}
}

/* ----- around the samples ----- */

static void
take_id(BufferReader *reader, JsonNode *node)
{
	pg_uuid_t	uuid;

	if (node->type != JSON_TOKEN_STRING || !uuid_parse(node->text, &uuid))
	{
		crash_buffer_note(reader->buffer, "id", note_text[NOTE_NOT_UUID], 0);
		return;
	}
	reader->has_id = true;
	if (reader->expected == NULL || uuid_equal(&uuid, reader->expected))
		json_use(node);
	else
		crash_buffer_note(reader->buffer, "id",
						  "not that of the crash, kept in extra", 0);
}

static void
take_start(BufferReader *reader, JsonNode *node)
{
	CrashBuffer *buffer = reader->buffer;
	ParsedTime	time;
	double		number;

	if (node->type == JSON_TOKEN_NUMBER && json_double(node->text, &number))
		buffer->has_start = number >= MIN_EPOCH_S &&
			timestamp_from_epoch(number, number >= MIN_EPOCH_MS,
								 &buffer->started_at);
	else if (node->type == JSON_TOKEN_STRING &&
			 timestamp_parse(node->text, (int) strlen(node->text), &time) == TIME_OK)
	{
		buffer->has_start = true;
		buffer->started_at = time.at;
		if (!time.has_zone)
			crash_buffer_note(buffer, "start", note_text[NOTE_NO_ZONE], 0);
	}
	if (!buffer->has_start)
	{
		crash_buffer_note(buffer, "start", note_text[NOTE_NOT_TIME], 0);
		return;
	}
	json_use(node);
}

static void
take_frequency(BufferReader *reader, JsonNode *node)
{
	double		number;

	if (node->type != JSON_TOKEN_NUMBER ||
		!json_double(node->text, &number) || number <= 0 || number > 1e5)
	{
		crash_buffer_note(reader->buffer, "frequency", note_text[NOTE_RANGE],
						  0);
		return;
	}
	reader->buffer->frequency_hz = number;
	json_use(node);
}

static void
take_member(BufferReader *reader, JsonNode *node)
{
	switch (crash_classify_header(node))
	{
		case HEADER_ID:
			if (!reader->has_id)
				take_id(reader, node);
			break;
		case HEADER_START:
			if (!reader->buffer->has_start)
				take_start(reader, node);
			break;
		case HEADER_FREQUENCY:
			if (reader->buffer->frequency_hz == 0)
				take_frequency(reader, node);
			break;
		case HEADER_NOTHING:
			break;
	}
}

/* Members of the document and of objects in it, not of arrays. */
static void
take_members(BufferReader *reader, JsonNode *node)
{
	for (JsonNode *item = node->first; item; item = item->next)
	{
		if (json_is_object(item))
			take_members(reader, item);
		else if (!is_container(item) && item->type != JSON_TOKEN_NULL)
			take_member(reader, item);
	}
}

/* ----- the whole ----- */

static void
read_samples(BufferReader *reader)
{
	CrashBuffer *buffer = reader->buffer;

	find_series(reader, reader->tree.root);
	if (reader->series == NULL)
	{
		crash_buffer_note(buffer, "samples",
						  "none found, the document is kept in extra", 0);
		return;
	}
	buffer->count = reader->length;
	if (reader->is_columns)
		take_columns(reader, reader->series);
	else
		take_array(reader, reader->series);
	if (reader->is_columns || reader->series != reader->tree.root)
		look_at_others(reader, reader->tree.root);
	if (reader->others > 0)
		crash_buffer_note(buffer, "other series", "kept in extra",
						  reader->others);
	for (int field = 0; field < SAMPLE_FIELDS; field++)
	{
		for (Note note = NOTE_NONE + 1; note < NOTES; note++)
		{
			if (reader->note[field][note] > 0)
				crash_buffer_note(buffer, field_name[field], note_text[note],
								  (int) reader->note[field][note]);
		}
	}
}

static void
keep_rest(BufferReader *reader, const char *text, Size len)
{
	const Secrets *secrets = &reader->tree.secrets;
	StringInfoData rest;
	bool		any = true;

	initStringInfo(&rest);
	if (reader->tree.root)
		any = json_append_rest(&rest, reader->tree.root, secrets);
	else if (len <= RECORD_MAX_EXTRA)
		keep_append(&rest, text, len, secrets);
	if (!any)
		return;
	if (rest.len > 0 && rest.len <= RECORD_MAX_EXTRA)
		reader->buffer->extra = rest.data;
	else
		crash_buffer_note(reader->buffer, "extra", note_text[NOTE_TOO_LONG], 0);
}

static void
read_buffer(BufferReader *reader, const char *text, Size len)
{
	CrashBuffer *buffer = reader->buffer;
	JsonNode   *root = reader->tree.root;

	if (root == NULL)
		crash_buffer_note(buffer, "samples",
						  "too many values, the document is kept in extra", 0);
	else
	{
		if (json_is_object(root))
			take_members(reader, root);
		read_samples(reader);
	}
	if (buffer->count > 0)
		crash_buffer_set_times(buffer, reader->dates);
	keep_rest(reader, text, len);
}

bool
crash_buffer_read(const Document *document, CrashBuffer **buffer,
				  Fault *fault)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov crash buffer",
											   ALLOCSET_DEFAULT_SIZES);
	BufferReader reader = {0};
	bool		done;

	MemoryContextSwitchTo(work);
	done = json_tree_read(document->text, document->len, document->max_len,
						  MAX_NODES, &reader.tree, fault);
	keep_hide(&reader.tree.secrets, document->device_token);
	MemoryContextSwitchTo(caller);
	*buffer = NULL;
	if (done)
	{
		*buffer = palloc0(sizeof(CrashBuffer));
		reader.buffer = *buffer;
		reader.expected = document->expected;
		read_buffer(&reader, document->text, document->len);
	}
	else
	{
		fault->message = pstrdup(fault->message);
		if (fault->detail)
			fault->detail = pstrdup(fault->detail);
	}
	MemoryContextDelete(work);
	explicit_bzero(&reader, sizeof(reader));
	return done;
}
