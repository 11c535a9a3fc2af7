/*
 * record.c
 *	  Reads a JSON document into records with typed values: see record.h.
 *
 * Memory: what is read stays in the context of the caller of record_read().
 * The parser's tokens go to a context of their own, which a record of a list
 * empties when it has been read; outside the lists each token is freed when it
 * is done with.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/uuid.h"
#include "dataset/keep.h"
#include "dataset/record.h"
#include "dataset/record_value.h"

#define FIRST_ROOM			1024
#define MAX_ROWS			1000000	/* each takes up to 330 bytes */

typedef enum Place
{
	PLACE_OUTSIDE,
	PLACE_DOCUMENT,
	PLACE_LIST,
	PLACE_ELEMENT
} Place;

/* what to do with the bytes of the value being read, once it is whole */
typedef enum Keep
{
	KEEP_NOTHING,
	KEEP_EXTRA,
	KEEP_VALUE
} Keep;

typedef struct RecordReader
{
	/* what every value needs */
	Place		place;
	Keep		keep;
	int			skip_depth;		/* > 0: in a value that is not looked into */
	int			member;			/* being read */
	RecordState *state;			/* of the record being read */
	Spread	   *spread;			/* being read */

	RecordState *list;			/* the one being in */
	int			rows;			/* of all lists */
	bool		in_body;
	int			outer_group[JSON_MAX_DEPTH + 2];	/* around that of a level */
	Secrets		secrets;		/* in the value being read */

	ValueMemory memory;
	MemoryContext work;			/* tokens outside the lists */
	MemoryContext element_work; /* tokens of one element */
	const Document *document;
	Content    *content;
	StringInfoData outer_extra; /* of the document */
	StringInfoData inner_extra; /* of its body */
} RecordReader;

/* ----- lists ----- */

static void
state_init(RecordState *state, const Record *record, const char *list,
		   int room)
{
	state->record = record;
	state->list = list;
	state->room = room;
	state->context = CurrentMemoryContext;
	initStringInfo(&state->extras);
	state->note = palloc0(record->nmembers * sizeof(*state->note));
	for (int i = 0; i < RECORD_MAX_MEMBERS; i++)
		state->order[i] = i < record->nmembers ? i : -1;
}

RecordRow *
record_add_row(RecordState *list)
{
	Size		size = ROW_SIZE(list->record);

	if (list->rows == NULL)
		list->rows = MemoryContextAllocHuge(list->context, list->room * size);
	else if (list->count == list->room)
	{
		list->room *= 2;
		list->rows = repalloc_huge(list->rows, list->room * size);
	}
	list->row = (RecordRow *) (list->rows + list->count++ * size);
	memset(list->row, 0, size);
	list->row->extra = -1;
	return list->row;
}

/* ----- setting up ----- */

static Content *
make_content(const Record *record)
{
	Content    *content = palloc0(sizeof(Content));

	state_init(&content->document, record, NULL, 1);
	(void) record_add_row(&content->document);
	for (int i = 0; i < RECORD_MAX_LISTS && record->lists[i]; i++)
		state_init(&content->lists[content->nlists++], record->lists[i], "",
				   FIRST_ROOM);
	for (int i = 0; i < record->nmembers; i++)
	{
		const Member *member = &record->members[i];

		if (member->kind == KIND_LIST)
			content->lists[member->target].list = member->name;
	}
	content->texts.count = 1;
	for (int i = 0; i < RECORD_MAX_CODES && record->codes[i]; i++)
		content->texts.text[content->texts.count++] = record->codes[i];
	return content;
}

static RecordReader *
make_reader(const Record *record, const Document *document)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "damoov record tokens",
											   ALLOCSET_DEFAULT_SIZES);
	RecordReader *reader = MemoryContextAllocZero(work, sizeof(RecordReader));

	reader->document = document;
	reader->content = make_content(record);
	reader->memory.context = caller;
	reader->memory.texts = &reader->content->texts;
	reader->memory.secrets = &reader->secrets;
	reader->work = work;
	reader->element_work = AllocSetContextCreate(work, "damoov element tokens",
												 ALLOCSET_DEFAULT_SIZES);
	keep_hide(&reader->secrets, document->device_token);
	MemoryContextSwitchTo(work);
	initStringInfo(&reader->outer_extra);
	initStringInfo(&reader->inner_extra);
	MemoryContextSwitchTo(caller);
	return reader;
}

/* ----- extra members ----- */

/* "PointStart.Latitude"; envelopes and bodies are no part of the name. */
static char *
path_name(const Record *record, int group, const char *name)
{
	const Member *outer = &record->members[group];

	if (group == GROUP_NONE || outer->kind == KIND_ENVELOPE ||
		outer->kind == KIND_BODY)
		return unconstify(char *, name);
	return psprintf("%s.%s",
					path_name(record, outer->group, outer->name), name);
}

/* The member being read has no column. */
static void
keep_extra(RecordReader *reader, const char *name, const char *start, Size len)
{
	RecordState *state = reader->state;
	StringInfo	object = reader->place == PLACE_ELEMENT ? &state->extras :
		reader->in_body ? &reader->inner_extra : &reader->outer_extra;

	/* names with a path may make it longer than the document */
	if (object->len + len > MaxAllocSize / 2)
	{
		state->extra_note++;
		return;
	}
	if (reader->place == PLACE_ELEMENT)
	{
		appendStringInfoChar(object, state->row->extra < 0 ? '{' : ',');
		if (state->row->extra < 0)
			state->row->extra = object->len - 1;
	}
	else if (object->len > 0)
		appendStringInfoChar(object, ',');
	keep_append_member(object,
					   path_name(state->record, state->group, name),
					   start, len, &reader->secrets);
}

/* ----- members ----- */

static int
find_member(const Record *record, int group, const char *name)
{
	for (int i = 0; i < record->nmembers; i++)
	{
		const Member *member = &record->members[i];

		if (member->name[0] == name[0] && member->group == group &&
			strcmp(member->name, name) == 0)
			return i;
	}
	return -1;
}

/*
 * Finds a member: first the one at the same position of the previous record,
 * since most records are alike.
 */
static inline int
guess_member(RecordState *state, JsonWalk *walk, int level)
{
	const Member *members = state->record->members;
	int			position = state->position++;
	int			found;

	if (position >= RECORD_MAX_MEMBERS)
		return find_member(state->record, state->group, json_name(walk, level));
	found = state->order[position];
	if (unlikely(found < 0 || members[found].group != state->group ||
				 !json_is_named(walk, level, members[found].name)))
	{
		found = find_member(state->record, state->group, json_name(walk, level));
		state->order[position] = found;
	}
	return found;
}

/* Forgets the elements of an earlier array of that name. */
static void
forget_list(RecordState *list)
{
	list->count = 0;
	resetStringInfo(&list->extras);
	memset(list->note, 0, list->record->nmembers * sizeof(*list->note));
	list->element_note = 0;
	list->extra_note = 0;
}

static void
forget_member(RecordReader *reader, int number)
{
	RecordState *state = reader->state;
	const Member *member = &state->record->members[number];
	uint64		forgotten = MEMBER_BIT(number);

	if (member->kind == KIND_LIST)
		forget_list(&reader->content->lists[member->target]);
	else if (member->kind == KIND_LOCAL_TIME)
		forgotten |= MEMBER_BIT(number + 1);
	else if (member->kind == KIND_GROUP || member->kind == KIND_CLOSED_GROUP)
	{
		for (int i = 0; i < state->record->nmembers; i++)
		{
			if (state->record->members[i].group == number)
				forget_member(reader, i);
		}
	}
	state->row->given &= ~forgotten;
	state->seen &= ~forgotten;
	state->bad &= ~forgotten;
}

/* The member of this level begins; NULL when it is unknown. */
static inline const Member *
begin_member(JsonWalk *walk, RecordReader *reader, int level)
{
	RecordState *state = reader->state;
	const Member *members = state->record->members;
	int			found = guess_member(state, walk, level);

	if (found < 0)
	{
		if (keep_is_secret(&reader->secrets, json_name(walk, level)) ||
			members[state->group].kind == KIND_CLOSED_GROUP)
			reader->keep = KEEP_NOTHING;
		else
			reader->keep = KEEP_EXTRA;
		return NULL;
	}
	reader->keep = KEEP_NOTHING;
	if (unlikely(members[found].kind == KIND_ALIAS))
		found = members[found].target;
	reader->member = found;
	/* a repeated envelope is noticed in enter_group() */
	if (unlikely(members[found].kind >= KIND_ENVELOPE &&
				 members[found].kind <= KIND_BODY))
		return &members[found];
	if (unlikely(state->seen & MEMBER_BIT(found)))
	{
		record_note(state, found, NOTE_REPEATED);
		forget_member(reader, found);
	}
	state->seen |= MEMBER_BIT(found);
	return &members[found];
}

/* The member being read goes to a jsonb column. */
static void
keep_value(RecordReader *reader, const char *start, Size len)
{
	MemoryContext old;
	StringInfoData text;

	if (len > RECORD_MAX_EXTRA)
	{
		record_note(reader->state, reader->member, NOTE_TOO_LONG);
		return;
	}
	old = MemoryContextSwitchTo(reader->memory.context);
	initStringInfo(&text);
	keep_append(&text, start, len, &reader->secrets);
	MemoryContextSwitchTo(old);
	row_set(reader->state->row, reader->member, (RecordValue) {.text = text.data});
}

static void
check_token(JsonWalk *walk, RecordReader *reader, const char *text,
			JsonTokenType type)
{
	pg_uuid_t	token;

	if (type != JSON_TOKEN_STRING || !uuid_parse(text, &token))
		record_note(reader->state, reader->member, NOTE_NOT_UUID);
	else if (reader->document->expected &&
			 !uuid_equal(&token, reader->document->expected))
		fault_set(&walk->stop, REASON_DATASET_MISMATCH, "dataset is that of another %s",
				  reader->content->document.record->what);
}

static inline void
judge_member(RecordReader *reader, const Member *member, const char *text,
			 JsonTokenType type)
{
	RecordState *state = reader->state;
	JudgedValue judged;
	Note		note = value_judge(member, text, type, &reader->memory,
								   &judged);

	if (unlikely(note != NOTE_NONE))
		record_note(state, reader->member, note);
	if (likely(judged.given))
	{
		row_set(state->row, reader->member, judged.value);
		if (member->kind == KIND_LOCAL_TIME && judged.has_offset)
		{
			judged.value.whole = judged.offset_min;
			row_set(state->row, reader->member + 1, judged.value);
		}
	}
	else if (note != NOTE_NONE)
		state->bad |= MEMBER_BIT(reader->member);
}

static void
member_scalar(JsonWalk *walk, RecordReader *reader, const char *text,
			  JsonTokenType type)
{
	const Member *member = begin_member(walk, reader, walk->depth);

	if (member == NULL || type == JSON_TOKEN_NULL)
		return;
	if (member->kind < KIND_ANY)
		judge_member(reader, member, text, type);
	else if (member->kind == KIND_ANY)
		reader->keep = KEEP_VALUE;
	else if (member->kind == KIND_EXTRA || member->kind == KIND_ENVELOPE ||
			 member->kind == KIND_BODY)
		reader->keep = KEEP_EXTRA;
	else if (member->kind == KIND_TOKEN)
		check_token(walk, reader, text, type);
	else
		judge_member(reader, member, text, type);
}

/* ----- spreads ----- */

/* Which item a member of a spread is; what is none goes to extra. */
static SpreadItem
begin_spread_item(RecordReader *reader, const char *name)
{
	SpreadItem	item = 0;

	while (item < SPREAD_ITEMS && strcmp(spread_name[item], name) != 0)
		item++;
	reader->keep = item == SPREAD_ITEMS && !keep_is_secret(&reader->secrets, name) ? KEEP_EXTRA : KEEP_NOTHING;
	return item;
}

/* If an item occurs twice, the last one counts, as for all members. */
static void
spread_scalar(RecordReader *reader, const char *name, const char *text,
			  JsonTokenType type)
{
	RecordState *state = reader->state;
	SpreadItem	item = begin_spread_item(reader, name);
	Member		member = state->record->members[state->group];
	JudgedValue judged;
	Note		note;

	if (item == SPREAD_ITEMS)
		return;
	reader->spread->given[item] = false;
	if (type == JSON_TOKEN_NULL)
		return;
	member.kind = KIND_NUMBER;
	note = value_judge(&member, text, type, &reader->memory, &judged);
	if (note != NOTE_NONE)
		record_note(state, state->group, note);
	reader->spread->given[item] = judged.given;
	reader->spread->item[item] = judged.value.number;
}

/* ----- walking ----- */

/* Does not look into the object or array that has just been opened. */
static void
skip(JsonWalk *walk, RecordReader *reader)
{
	reader->skip_depth = walk->depth;
	reader->secrets.count = 0;
}

static void
enter_group(JsonWalk *walk, RecordReader *reader, const Member *member)
{
	RecordState *state = reader->state;

	if (member->kind == KIND_ENVELOPE || member->kind == KIND_BODY)
	{
		/* of two it is not known which is right */
		if (state->seen & MEMBER_BIT(reader->member))
			fault_set(&walk->stop, REASON_DATASET_MISMATCH, "dataset has more than one %s",
					  member->column);
		state->seen |= MEMBER_BIT(reader->member);
		reader->in_body |= member->kind == KIND_BODY;
	}
	else if (member->kind == KIND_SPREAD || member->kind == KIND_SPREAD4)
	{
		reader->spread = MemoryContextAllocZero(reader->memory.context, sizeof(Spread));
		row_set(state->row, reader->member, (RecordValue) {.spread = reader->spread});
	}
	reader->outer_group[walk->depth] = state->group;
	state->group = reader->member;
}

static void
leave_group(JsonWalk *walk, RecordReader *reader)
{
	RecordState *state = reader->state;

	if (state->record->members[state->group].kind == KIND_BODY)
		reader->in_body = false;
	reader->spread = NULL;
	state->group = reader->outer_group[walk->depth];
}

static void
enter_member(JsonWalk *walk, RecordReader *reader, bool is_array)
{
	const Member *member = begin_member(walk, reader, walk->depth - 1);
	Note		note = member ? value_judge_container(member, is_array) :
		NOTE_NONE;

	if (note != NOTE_NONE)
	{
		record_note(reader->state, reader->member, note);
		reader->state->bad |= MEMBER_BIT(reader->member);
	}
	else if (member != NULL)
	{
		switch (member->kind)
		{
			case KIND_LIST:
				reader->list = &reader->content->lists[member->target];
				reader->place = PLACE_LIST;
				return;
			case KIND_GROUP:
			case KIND_CLOSED_GROUP:
			case KIND_SPREAD:
			case KIND_SPREAD4:
				enter_group(walk, reader, member);
				return;
			case KIND_ENVELOPE:
			case KIND_BODY:
				if (!is_array)
				{
					enter_group(walk, reader, member);
					return;
				}
				reader->keep = KEEP_EXTRA;
				break;
			case KIND_EXTRA:
				reader->keep = KEEP_EXTRA;
				break;
			case KIND_OBJECT:
			case KIND_ANY:
				reader->keep = KEEP_VALUE;
				break;
			default:
				break;
		}
	}
	skip(walk, reader);
}

static void
begin_element(JsonWalk *walk, RecordReader *reader)
{
	RecordState *list = reader->list;

	if (++reader->rows > MAX_ROWS)
	{
		fault_set(&walk->stop, REASON_TOO_BIG, "dataset has more than %d points and events",
				  MAX_ROWS);
		return;
	}
	record_add_row(list)->seq = walk->level[walk->depth - 1].index;
	list->seen = 0;
	list->bad = 0;
	list->group = GROUP_NONE;
	list->position = 0;
	reader->state = list;
	reader->place = PLACE_ELEMENT;
	MemoryContextSwitchTo(reader->element_work);
}

static void
finish_extra(RecordState *list)
{
	StringInfo	extras = &list->extras;
	RecordRow  *row = list->row;

	if (row->extra < 0)
		return;
	appendStringInfoChar(extras, '}');
	if (extras->len - row->extra > RECORD_MAX_EXTRA)
	{
		extras->len = row->extra;
		row->extra = -1;
		list->extra_note++;
	}
	else
		appendStringInfoChar(extras, '\0');
}

static void
end_element(RecordReader *reader)
{
	RecordState *list = reader->list;

	finish_extra(list);
	if (list->record->finish)
		list->record->finish(list);
	reader->state = &reader->content->document;
	reader->place = PLACE_LIST;
	/* the array of spans, if any, goes with the tokens */
	reader->secrets.span = NULL;
	reader->secrets.count = reader->secrets.room = 0;
	MemoryContextSwitchTo(reader->work);
	MemoryContextReset(reader->element_work);
}

static void
reader_enter(JsonWalk *walk, bool is_array)
{
	RecordReader *reader = walk->state;

	if (reader->skip_depth > 0)
		return;
	switch (reader->place)
	{
		case PLACE_OUTSIDE:
			reader->state = &reader->content->document;
			if (is_array)
				skip(walk, reader);
			else
				reader->place = PLACE_DOCUMENT;
			break;
		case PLACE_DOCUMENT:
		case PLACE_ELEMENT:
			if (reader->spread)
			{
				if (begin_spread_item(reader, json_name(walk, walk->depth - 1)) < SPREAD_ITEMS)
					record_note(reader->state, reader->state->group, NOTE_NOT_NUMBER);
				skip(walk, reader);
			}
			else
				enter_member(walk, reader, is_array);
			break;
		case PLACE_LIST:
			if (!is_array)
			{
				begin_element(walk, reader);
				break;
			}
			reader->list->element_note++;
			skip(walk, reader);
			break;
	}
}

static void
reader_leave(JsonWalk *walk)
{
	RecordReader *reader = walk->state;

	if (reader->skip_depth > 0)
	{
		if (walk->depth == reader->skip_depth)
			reader->skip_depth = 0;
		return;
	}
	reader->keep = KEEP_NOTHING;
	if (reader->place == PLACE_LIST)
		reader->place = PLACE_DOCUMENT;
	else if (reader->state->group != GROUP_NONE)
		leave_group(walk, reader);
	else if (reader->place == PLACE_ELEMENT)
		end_element(reader);
	else
		reader->place = PLACE_OUTSIDE;
}

static void
reader_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	RecordReader *reader = walk->state;

	if (reader->skip_depth == 0)
	{
		switch (reader->place)
		{
			case PLACE_OUTSIDE:
				break;
			case PLACE_LIST:
				reader->list->element_note++;
				break;
			case PLACE_DOCUMENT:
			case PLACE_ELEMENT:
				if (reader->spread)
					spread_scalar(reader, json_name(walk, walk->depth), text,
								  type);
				else
					member_scalar(walk, reader, text, type);
				if (reader->place == PLACE_ELEMENT)
					return;		/* freed with the element */
				break;
		}
	}
	pfree(text);
}

static void
reader_value(JsonWalk *walk, const char *start, Size len)
{
	RecordReader *reader = walk->state;
	JsonLevel  *level = &walk->level[walk->depth];

	/* the most frequent case */
	if (reader->place == PLACE_ELEMENT && reader->skip_depth == 0 &&
		reader->keep == KEEP_NOTHING)
		return;
	if (reader->skip_depth > 0)
	{
		if (level->written.start && keep_is_secret(&reader->secrets, json_name(walk, walk->depth)))
			keep_add_secret(&reader->secrets, start, len);
	}
	else
	{
		if (reader->keep == KEEP_VALUE)
			keep_value(reader, start, len);
		else if (reader->keep == KEEP_EXTRA)
			keep_extra(reader, json_name(walk, walk->depth), start, len);
		reader->keep = KEEP_NOTHING;
	}
	if (level->name && (reader->place != PLACE_ELEMENT || reader->skip_depth > 0))
	{
		pfree(level->name);
		level->name = NULL;
	}
}

/* ----- notes ----- */

/* The document is a single record: its notes have no count. */
static char *
note_line(const RecordState *state, const char *name, Note note, uint32 count)
{
	if (state->list == NULL)
		return psprintf("%s: %s", name, note_text[note]);
	return psprintf("%s%s: %s (%u)", state->list, name, note_text[note],
					count);
}

static void
write_notes(const RecordState *state, List **notes)
{
	const Record *record = state->record;
	const char *dot = state->list ? "." : "";

	if (state->element_note > 0)
		*notes = lappend(*notes, note_line(state, "[]", NOTE_NOT_OBJECT, state->element_note));
	for (int i = 0; i < record->nmembers; i++)
	{
		const Member *member = &record->members[i];

		for (Note note = NOTE_NONE + 1; note < NOTES; note++)
		{
			char	   *name;

			if (state->note[i][note] == 0)
				continue;
			name = path_name(record, member->group, member->name);
			*notes = lappend(*notes, note_line(state, psprintf("%s%s", dot, name), note,
											   state->note[i][note]));
		}
	}
	if (state->extra_note > 0)
		*notes = lappend(*notes, note_line(state, psprintf("%sextra", dot), NOTE_TOO_LONG,
										   state->extra_note));
}

/* Writes the notes of all records. */
static void
write_all_notes(Content *content)
{
	write_notes(&content->document, &content->notes);
	for (int i = 0; i < content->nlists; i++)
		write_notes(&content->lists[i], &content->notes);
}

/* ----- the whole ----- */

static bool
read_document(RecordReader *reader, Fault *fault)
{
	static const JsonVisitor visitor = {
		reader_enter, reader_leave, reader_scalar, reader_value
	};
	const Document *document = reader->document;
	MemoryContext caller = MemoryContextSwitchTo(reader->work);
	bool		done = json_walk(document->text, document->len,
								 JSON_LIMITS(document->max_len), &visitor, reader, fault);

	MemoryContextSwitchTo(caller);
	if (!done)
	{
		/* the fault was allocated in the context of the tokens, which is deleted */
		fault->message = pstrdup(fault->message);
		if (fault->detail)
			fault->detail = pstrdup(fault->detail);
	}
	return done;
}

static void
set_extra(RecordReader *reader)
{
	Content    *content = reader->content;
	StringInfo	outer = &reader->outer_extra;
	StringInfo	inner = &reader->inner_extra;

	if ((Size) outer->len + inner->len > RECORD_MAX_EXTRA)
		content->document.extra_note++;
	/* jsonb takes the last of equal names: the body's own */
	else if (outer->len + inner->len > 0)
		content->extra = psprintf("{%s%s%s}", outer->data,
								  outer->len > 0 && inner->len > 0 ? "," : "",
								  inner->data);
}

Content *
record_read(const Record *record, const Document *document, Fault *fault)
{
	RecordReader *reader = make_reader(record, document);
	Content    *content = reader->content;

	if (!read_document(reader, fault) ||
		!record->check(content, document, fault))
		content = NULL;
	else
	{
		content->names_person = reader->secrets.named;
		set_extra(reader);
		write_all_notes(content);
	}
	keep_hide_end(&reader->secrets);
	MemoryContextDelete(reader->work);
	return content;
}
