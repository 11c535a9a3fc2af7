/*
 * record_check.c
 *	  Looking at records as a whole: what is odd about them, and what a document
 *	  is that is not the expected one.  See record_check.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/fault.h"
#include "base/json.h"
#include "dataset/record.h"
#include "dataset/record_check.h"
#include "dataset/record_value.h"

/*
 * If only one coordinate can be used, the other one is noted as missing,
 * unless it was given and has a note already.  0/0, in the Gulf of Guinea, is
 * what receivers without a fix report.
 */
void
record_check_position(RecordState *state, int latitude)
{
	const uint64 both = MEMBER_BIT(latitude) | MEMBER_BIT(latitude + 1);
	RecordRow  *row = state->row;

	if ((row->given & both) == both)
	{
		if (row->value[latitude].number != 0 ||
			row->value[latitude + 1].number != 0)
			return;
		record_note(state, latitude, NOTE_NULL_ISLAND);
	}
	else
	{
		for (int i = latitude; i <= latitude + 1; i++)
		{
			if (((row->given | state->bad) & MEMBER_BIT(i)) == 0)
				record_note(state, i, NOTE_MISSING);
		}
	}
	row->given &= ~both;
}

void
record_check_end(RecordState *document, int start, int end)
{
	const RecordRow *row = document->row;

	if (row_has(row, start) && row_has(row, end) &&
		row->value[end].at < row->value[start].at)
		record_note(document, end, NOTE_BEFORE_START);
}

/* ----- what a document is that is not the expected one ----- */

typedef struct Outside
{
	char	   *status;			/* that of an error reply */
	bool		is_raw;
	bool		is_processed;
	bool		is_crash;
} Outside;

static void
outside_enter(JsonWalk *walk, bool is_array)
{
	Outside    *outside = walk->state;
	const char *name = json_name(walk, 1);

	if (walk->depth != 2)
		return;
	outside->is_raw |= strcmp(name, "Track") == 0 || strcmp(name, "result") == 0;
	outside->is_processed |= strcmp(name, "Result") == 0;
}

static void
outside_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	Outside    *outside = walk->state;
	const char *name = json_name(walk, 1);

	if (walk->depth != 1)
	{
		pfree(text);
		return;
	}
	outside->is_crash |= strcmp(name, "AccidentTrigger") == 0;
	if (type == JSON_TOKEN_NUMBER && strcmp(name, "Status") == 0)
		outside->status = text;
}

static bool
set_refusal(const Record *record, const Outside *outside, const char *missing,
			Fault *fault)
{
	const char *found = outside->is_raw ? "raw track" :
		outside->is_processed ? "processed track" :
		outside->is_crash ? "crash header" : NULL;

	if (outside->status)
		return fault_set(fault, REASON_DATASET_MISMATCH,
						 "platform answered with status %s instead of the %s", outside->status,
						 record->what);
	if (found && strcmp(found, record->what_kind) != 0)
		return fault_set(fault, REASON_DATASET_MISMATCH, "dataset is a %s, not a %s", found,
						 record->what_kind);
	return fault_set(fault, REASON_DATASET_MISMATCH, "dataset has no %s", missing);
}

bool
record_refuse(const Record *record, const Document *document,
			  const char *missing, Fault *fault)
{
	static const JsonVisitor look = {outside_enter, NULL, outside_scalar, NULL};
	Outside		outside = {0};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov record refusal",
											   ALLOCSET_DEFAULT_SIZES);

	/* it has been read before, so this cannot fail */
	MemoryContextSwitchTo(work);
	(void) json_walk(document->text, document->len, JSON_LIMITS(document->len), &look,
					 &outside, fault);
	MemoryContextSwitchTo(caller);
	(void) set_refusal(record, &outside, missing, fault);
	MemoryContextDelete(work);
	return false;
}
