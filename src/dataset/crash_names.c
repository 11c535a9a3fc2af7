/*
 * crash_names.c
 *	  What the members of a crash buffer may be called.
 */
#include "postgres.h"

#include "dataset/crash_buffer.h"

#define MAX_NAME			64
#define FULL_NAME			(2 * MAX_NAME)

/* names in lower case, letters and digits only */
static const char *const acceleration_names[] = {
	"acc", "a", "accel", "acceleration", "accelerations", "accelerometer", NULL
};
static const char *const gyroscope_names[] = {
	"gyro", "g", "gyr", "gyroscope", "rotation", "rotationrate",
	"angularvelocity", NULL
};
static const char *const time_names[] = {
	"time", "timestamp", "t", "ts", "timems", "timestampms", "ticktimestamp",
	"tick", "sampletime", "date", "datetime", "pointdate", "offset",
	"offsetms", "timeoffset", "elapsed", "elapsedms", NULL
};
static const char *const speed_names[] = {
	"speed", "gpsspeed", "speedms", "gpsspeedms", "midspeed", "velocity", NULL
};
static const char *const index_names[] = {
	"index", "sampleindex", "number", "seq", "sequence", "i", NULL
};
/* what an array of samples may be called beside its sensor */
static const char *const series_suffixes[] = {
	"data", "samples", "values", "series", "readings", "buffer", NULL
};

static const char *const id_names[] = {
	"id", "uuid", "guid", "accidentid", "crashid", "eventid", NULL
};
static const char *const start_names[] = {
	"timestart", "starttime", "start", "startdate", "startedat",
	"starttimestamp", "timestampstart", "datestart", NULL
};
static const char *const frequency_names[] = {
	"frequency", "frequencyhz", "samplerate", "samplingrate",
	"samplefrequency", "samplingfrequency", "hz", NULL
};

static bool
is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
	{
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

/* Lower case, letters and digits only; longer ones mean nothing to us. */
static void
plain_name(const char *name, char *plain)
{
	int			length = 0;

	for (; name && *name && length < MAX_NAME - 1; name++)
	{
		if (isalnum((unsigned char) *name) && (unsigned char) *name < 128)
			plain[length++] = pg_ascii_tolower((unsigned char) *name);
	}
	plain[length] = '\0';
}

/* The name of the nearest thing around that has one, without suffixes. */
static void
outer_name(const JsonNode *node, char *plain)
{
	bool		found = true;

	do
		node = node->parent;
	while (node && node->name == NULL);
	plain_name(node ? node->name : NULL, plain);
	while (found)
	{
		Size		length = strlen(plain);

		found = false;
		for (int i = 0; series_suffixes[i] && !found; i++)
		{
			Size		suffix = strlen(series_suffixes[i]);

			found = length > suffix &&
				strcmp(plain + length - suffix, series_suffixes[i]) == 0;
			if (found)
				plain[length - suffix] = '\0';
		}
	}
}

/* The first three elements of a short array are x, y and z. */
static void
axis_name(const JsonNode *node, char *plain)
{
	plain[0] = 'x';
	plain[1] = '\0';
	for (const JsonNode *item = node->parent->first; item != node;
		 item = item->next)
		plain[0]++;
}

static int
find_axis(const char *name)
{
	return name[0] >= 'x' && name[0] <= 'z' && name[1] == '\0' ?
		name[0] - 'x' : -1;
}

static int
find_axis_after(const char *name, const char *const *sensors)
{
	for (; *sensors; sensors++)
	{
		Size		length = strlen(*sensors);

		if (strncmp(name, *sensors, length) == 0 &&
			find_axis(name + length) >= 0)
			return find_axis(name + length);
	}
	return -1;
}

static SampleField
find_field(const char *name)
{
	int			axis = find_axis_after(name, acceleration_names);

	if (axis >= 0)
		return SAMPLE_ACCELERATION_X + axis;
	axis = find_axis_after(name, gyroscope_names);
	if (axis >= 0)
		return SAMPLE_GYROSCOPE_X + axis;
	if (is_one_of(name, time_names))
		return SAMPLE_TIME;
	if (is_one_of(name, speed_names))
		return SAMPLE_SPEED;
	if (is_one_of(name, index_names))
		return SAMPLE_INDEX;
	return SAMPLE_NOTHING;
}

SampleField
crash_classify(const JsonNode *node)
{
	char		name[FULL_NAME];
	char		own[MAX_NAME];
	SampleField field;

	if (node->name)
		plain_name(node->name, own);
	else if (node->parent && json_is_array(node->parent) &&
			 node->parent->count <= CRASH_MAX_AXES)
		axis_name(node, own);
	else
		return SAMPLE_NOTHING;
	field = find_field(own);
	if (field != SAMPLE_NOTHING)
		return field;
	outer_name(node, name);
	snprintf(name + strlen(name), MAX_NAME, "%s", own);
	return find_field(name);
}

HeaderField
crash_classify_header(const JsonNode *node)
{
	char		name[MAX_NAME];

	plain_name(node->name, name);
	if (is_one_of(name, id_names))
		return HEADER_ID;
	if (is_one_of(name, start_names))
		return HEADER_START;
	if (is_one_of(name, frequency_names))
		return HEADER_FREQUENCY;
	return HEADER_NOTHING;
}
