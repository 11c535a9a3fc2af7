/*
 * envelope.c
 *	  What a transport wraps around a notification: see envelope.h.
 *
 * Three layers, each opened once at most, in this order: how the bytes were
 * encoded (base64, a JSON string, .NET binary XML), an array, and an envelope
 * (SNS, Event Grid, CloudEvents), whose content may be an array again.  So the
 * depth is bounded by the code, whatever the body contains.
 */
#include "postgres.h"

#include "base/json.h"
#include "base/uuid.h"
#include "compat.h"
#include "message/dotnet.h"
#include "message/envelope.h"
#include "message/s3_event.h"

/* a body of the largest size holds fewer notifications than this */
#define MAX_PARTS	50000

/*
 * Bodies can be larger than the notification in them: JSON inside JSON.  Their
 * numbers may be printed by jsonb; those of a notification are judged later.
 */
static const JsonLimits envelope_limits = {8 * 1024 * 1024, JSON_MAX_PLAIN_NUMBER};

/* The outermost members that tell what an object is, and what it carries. */
typedef enum Member
{
	M_EVENT,
	M_SNS_TYPE,
	M_SNS_ID,
	M_SNS_TOPIC,
	M_SNS_TIME,
	M_SNS_MESSAGE,
	M_GRID_TYPE,
	M_GRID_TIME,
	M_CLOUD_VERSION,
	M_CLOUD_TYPE,
	M_CLOUD_TIME,
	M_CLOUD_BASE64,
	M_ID,
	M_DATA,
	M_S3_SERVICE,
	M_S3_TIME,
	M_S3_RECORDS,
	M_BRIDGE_SOURCE,
	M_BRIDGE_TYPE,
	MEMBER_COUNT
} Member;

static const char *const member_names[MEMBER_COUNT] = {
	[M_EVENT] = "Event",
	[M_SNS_TYPE] = "Type",
	[M_SNS_ID] = "MessageId",
	[M_SNS_TOPIC] = "TopicArn",
	[M_SNS_TIME] = "Timestamp",
	[M_SNS_MESSAGE] = "Message",
	[M_GRID_TYPE] = "eventType",
	[M_GRID_TIME] = "eventTime",
	[M_CLOUD_VERSION] = "specversion",
	[M_CLOUD_TYPE] = "type",
	[M_CLOUD_TIME] = "time",
	[M_CLOUD_BASE64] = "data_base64",
	[M_ID] = "id",
	[M_DATA] = "data",
	[M_S3_SERVICE] = "Service",
	[M_S3_TIME] = "Time",
	[M_S3_RECORDS] = "Records",
	[M_BRIDGE_SOURCE] = "source",
	[M_BRIDGE_TYPE] = "detail-type",
};

typedef struct Value
{
	const char *start;			/* as it stands; NULL: absent */
	Size		len;
	const char *string;			/* unescaped, when it is a string */
} Value;

typedef enum Kind
{
	KIND_BARE,					/* no envelope: the notification itself */
	KIND_SNS,
	KIND_EVENT_GRID,
	KIND_CLOUD_EVENT
} Kind;

/* Which members an envelope uses; none of them may stand there twice. */
typedef struct EnvelopeSpec
{
	const char *name;
	Member		type;
	Member		id;
	Member		time;
	Member		content;
} EnvelopeSpec;

static const EnvelopeSpec specs[] = {
	[KIND_SNS] = {"SNS envelope", M_SNS_TYPE, M_SNS_ID, M_SNS_TIME, M_SNS_MESSAGE},
	[KIND_EVENT_GRID] = {"Event Grid event", M_GRID_TYPE, M_ID, M_GRID_TIME, M_DATA},
	[KIND_CLOUD_EVENT] = {"CloudEvent", M_CLOUD_TYPE, M_ID, M_CLOUD_TIME, M_DATA},
};

/* The outermost members of a JSON text. */
typedef struct Outline
{
	bool		is_object;
	bool		is_array;
	Value		members[MEMBER_COUNT];
	bool		repeated[MEMBER_COUNT];
	List	   *elements;		/* of an array: EnvelopePart * */
	const char *string;			/* the scalar being read */
} Outline;

/* ----- reading ----- */

static void
on_enter(JsonWalk *walk, bool is_array)
{
	Outline    *outline = walk->state;

	if (walk->depth != 1)
		return;
	outline->is_array = is_array;
	outline->is_object = !is_array;
}

static void
on_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	Outline    *outline = walk->state;

	if (walk->depth <= 1 && type == JSON_TOKEN_STRING)
		outline->string = text;
}

static void
put_member(Outline *outline, const char *name, const char *start, Size len)
{
	for (int i = 0; i < MEMBER_COUNT; i++)
	{
		if (strcmp(name, member_names[i]) != 0)
			continue;
		outline->repeated[i] = outline->members[i].start != NULL;
		outline->members[i].start = start;
		outline->members[i].len = len;
		outline->members[i].string = *start == '"' ? outline->string : NULL;
	}
}

static bool
too_many(Fault *fault)
{
	return fault_set(fault, REASON_TOO_BIG, "message holds more than %d notifications",
					 MAX_PARTS);
}

static void
on_value(JsonWalk *walk, const char *start, Size len)
{
	Outline    *outline = walk->state;

	if (walk->depth != 1)
		return;
	if (!outline->is_array)
		put_member(outline, json_name(walk, 1), start, len);
	else if (list_length(outline->elements) < MAX_PARTS)
		outline->elements = lappend(outline->elements, part_make(start, len));
	else
		too_many(&walk->stop);
}

static bool
read_outline(const char *text, Size len, Outline *outline, Fault *fault)
{
	static const JsonVisitor visitor = {
		.enter = on_enter, .scalar = on_scalar, .value = on_value
	};

	memset(outline, 0, sizeof(Outline));
	return json_walk(text, len, envelope_limits, &visitor, outline, fault);
}

static bool
given(const Outline *outline, Member member)
{
	return outline->members[member].start != NULL;
}

static const char *
string_of(const Outline *outline, Member member)
{
	return outline->members[member].string;
}

/* ----- what it is ----- */

/*
 * The kind of an object, by its members and nothing else.  A notification has
 * "Event", whatever else it has.
 */
static bool
classify(const Outline *outline, Kind *kind, Fault *fault)
{
	const bool	fits[] = {
		[KIND_SNS] = string_of(outline, M_SNS_TYPE) && string_of(outline, M_SNS_ID) &&
		string_of(outline, M_SNS_TOPIC),
		[KIND_EVENT_GRID] = given(outline, M_GRID_TYPE),
		[KIND_CLOUD_EVENT] = given(outline, M_CLOUD_VERSION)
	};
	int			kinds = 0;

	*kind = KIND_BARE;
	if (!outline->is_object || given(outline, M_EVENT))
		return true;
	for (Kind i = KIND_BARE + 1; i < (Kind) lengthof(fits); i++)
	{
		if (fits[i])
			*kind = i;
		kinds += fits[i];
	}
	if (kinds > 1)
		return fault_set(fault, REASON_ENVELOPE,
						 "message has the members of more than one envelope");
	return true;
}

/* Checks what every message in an envelope has to fulfil, also the transport's own. */
static bool
check_members(Kind kind, const Outline *outline, Fault *fault)
{
	const EnvelopeSpec *spec = &specs[kind];
	const char *version = string_of(outline, M_CLOUD_VERSION);

	if (outline->repeated[spec->type] || outline->repeated[spec->id] ||
		outline->repeated[spec->time] || outline->repeated[spec->content] ||
		(kind == KIND_SNS && outline->repeated[M_SNS_TOPIC]) ||
		(kind == KIND_CLOUD_EVENT && (outline->repeated[M_CLOUD_VERSION] ||
									  outline->repeated[M_CLOUD_BASE64])))
		return fault_set(fault, REASON_ENVELOPE, "%s has a member twice", spec->name);
	if (given(outline, spec->type) && string_of(outline, spec->type) == NULL)
		return fault_set(fault, REASON_ENVELOPE, "\"%s\" of the %s is not a string",
						 member_names[spec->type], spec->name);
	if (kind == KIND_CLOUD_EVENT && (version == NULL || strcmp(version, "1.0") != 0))
		return fault_set(fault, REASON_ENVELOPE,
						 "\"specversion\" of the CloudEvent is not \"1.0\"");
	return true;
}

/* Is it a message of the transport itself, such as about a subscription? */
static bool
is_control(Kind kind, const Outline *outline)
{
	static const char service[] = "Microsoft.EventGrid.";
	const char *type = string_of(outline, specs[kind].type);

	if (kind == KIND_SNS)
		return strcmp(type, "Notification") != 0;
	return type != NULL && strncmp(type, service, strlen(service)) == 0;
}

/* ----- opening an envelope ----- */

static List *
one_fault(const char *text, Size len, const Fault *fault)
{
	EnvelopePart *part = part_make(text, len);

	part->fault = *fault;
	return list_make1(part);
}

/* A message of the transport itself: it has no object and no person. */
static List *
control_part(Kind kind, const Outline *outline, const char *text, Size len)
{
	const EnvelopeSpec *spec = &specs[kind];
	EnvelopePart *part = part_make(text, len);
	const char *id = string_of(outline, spec->id);
	const char *time = string_of(outline, spec->time);

	part->control = string_of(outline, spec->type);
	if (time)
		part->control_time = time;
	/* without an id the bytes stand for themselves */
	if (id == NULL || !uuid_parse(id, &part->control_id))
		part_digest_id(text, len, &part->control_id);
	return list_make1(part);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * Decodes base64 with line breaks, as mail programs write it.  NULL when it is
 * something else.
 */
static char *
decode_base64(const char *text, Size len, Size *decoded_len)
{
	char	   *bare = palloc(len + 1);
	int			bare_len = 0;
	int			space;
	char	   *decoded;
	int			result;

	for (Size i = 0; i < len; i++)
	{
		if (!is_blank(text[i]))
			bare[bare_len++] = text[i];
	}
	space = pg_b64_dec_len(bare_len);
	decoded = palloc(space + 1);
	result = compat_b64_decode(bare, bare_len, decoded, space);
	pfree(bare);
	if (result < 0)
		return NULL;
	*decoded_len = result;
	return decoded;
}

/* What the envelope carries: one JSON text. */
static bool
read_content(Kind kind, const Outline *outline, EnvelopePart *content, Fault *fault)
{
	const EnvelopeSpec *spec = &specs[kind];
	const char *name = member_names[spec->content];
	const Value *value = &outline->members[spec->content];
	const char *base64 = string_of(outline, M_CLOUD_BASE64);

	if (kind == KIND_CLOUD_EVENT && given(outline, M_CLOUD_BASE64))
	{
		if (value->start && *value->start != 'n')
			return fault_set(fault, REASON_ENVELOPE,
							 "CloudEvent has both \"data\" and \"data_base64\"");
		if (base64)
			content->text = decode_base64(base64, strlen(base64), &content->len);
		if (content->text == NULL)
			return fault_set(fault, REASON_ENVELOPE,
							 "\"data_base64\" of the CloudEvent is not base64");
		json_skip_mark(&content->text, &content->len);
		content->decoded = true;
		return true;
	}
	if (value->string)
	{
		content->text = value->string;
		content->len = strlen(value->string);
		json_skip_mark(&content->text, &content->len);
		return true;
	}
	if (value->start == NULL)
		return fault_set(fault, REASON_ENVELOPE, "%s has no \"%s\"", spec->name, name);
	if (kind == KIND_SNS)
		return fault_set(fault, REASON_ENVELOPE, "\"%s\" of the %s is not a string", name,
						 spec->name);
	if (*value->start != '{' && *value->start != '[')
		return fault_set(fault, REASON_ENVELOPE,
						 "\"%s\" of the %s is neither an object nor a string", name,
						 spec->name);
	content->text = value->start;
	content->len = value->len;
	return true;
}

/*
 * What a store sends has no envelope of its own, or is the envelope itself; NIL:
 * it is something else.
 */
static List *
open_s3(Kind kind, const Outline *outline, const char *text, Size len)
{
	const Value *records = &outline->members[M_S3_RECORDS];
	S3Outline	s3 = {
		.service = string_of(outline, M_S3_SERVICE),
		.event = string_of(outline, M_EVENT),
		.time = string_of(outline, M_S3_TIME)
	};

	if (kind == KIND_EVENT_GRID || kind == KIND_CLOUD_EVENT)
		s3.grid_type = string_of(outline, specs[kind].type);
	else if (!given(outline, M_EVENT))
	{
		s3.source = string_of(outline, M_BRIDGE_SOURCE);
		s3.detail_type = string_of(outline, M_BRIDGE_TYPE);
	}

	if (records->start && *records->start == '[' && !given(outline, M_EVENT))
	{
		s3.records = records->start;
		s3.records_len = records->len;
	}
	return s3_event_parts(&s3, text, len);
}

static List *
mark_decoded(List *parts, bool decoded)
{
	ListCell   *cell;

	foreach(cell, parts)
		((EnvelopePart *) lfirst(cell))->decoded = decoded;
	return parts;
}

/* The notification in an envelope, which must hold no second one. */
static List *
open_envelope(Kind kind, const Outline *outline, const char *text, Size len)
{
	const EnvelopeSpec *spec = &specs[kind];
	EnvelopePart *content = part_make(NULL, 0);
	Outline		inner;
	Kind		inner_kind = KIND_BARE;
	List	   *parts;
	Fault		fault = {0};

	if (read_content(kind, outline, content, &fault) &&
		!read_outline(content->text, content->len, &inner, &fault))
	{
		/* what is wrong inside an envelope is a fault of the envelope */
		if (fault.reason == REASON_BAD_JSON)
			fault_set(&fault, REASON_ENVELOPE, "\"%s\" of the %s is not JSON",
					  content->decoded ? "data_base64" : member_names[spec->content],
					  spec->name);
	}
	if (fault.sqlstate == 0 && classify(&inner, &inner_kind, &fault) &&
		inner_kind != KIND_BARE)
		fault_set(&fault, REASON_ENVELOPE, "%s holds another %s", spec->name,
				  kind == inner_kind ? spec->name : "envelope");

	if (fault.sqlstate != 0)
	{
		if (!content->decoded)
			return one_fault(text, len, &fault);
		content->fault = fault;
	}
	else if (inner.is_array)
		return mark_decoded(inner.elements, content->decoded);
	else if ((parts = open_s3(KIND_BARE, &inner, content->text, content->len)) != NIL)
		return mark_decoded(parts, content->decoded);
	return list_make1(content);
}

static List *
open_object(const Outline *outline, const char *text, Size len)
{
	Kind		kind;
	List	   *parts;
	Fault		fault = {0};

	if (!classify(outline, &kind, &fault) ||
		(kind != KIND_BARE && !check_members(kind, outline, &fault)))
		return one_fault(text, len, &fault);
	parts = open_s3(kind, outline, text, len);
	if (parts != NIL)
		return parts;
	if (kind == KIND_BARE)
		return list_make1(part_make(text, len));
	if (is_control(kind, outline))
		return control_part(kind, outline, text, len);
	return open_envelope(kind, outline, text, len);
}

static bool
not_an_object(Fault *fault)
{
	return fault_set(fault, REASON_BAD_TYPE, "notification is not a JSON object");
}

static List *
open_element(const EnvelopePart *element)
{
	Outline		outline;
	Fault		fault = {0};

	if (read_outline(element->text, element->len, &outline, &fault) &&
		(outline.is_object || not_an_object(&fault)))
		return open_object(&outline, element->text, element->len);
	return one_fault(element->text, element->len, &fault);
}

static List *
open_array(const Outline *outline, Fault *fault)
{
	List	   *parts = NIL;
	ListCell   *cell;

	foreach(cell, outline->elements)
	{
		parts = list_concat(parts, open_element(lfirst(cell)));
		if (list_length(parts) > MAX_PARTS)
		{
			too_many(fault);
			return NIL;
		}
	}
	return parts;
}

/* ----- bytes to JSON ----- */

static bool
looks_like_json(const char *text, Size len)
{
	json_skip_mark(&text, &len);
	for (; len > 0 && is_blank(*text); len--)
		text++;
	return len > 0 && (*text == '{' || *text == '[');
}

/*
 * Decodes base64 and .NET binary XML.  True when the body was encoded: then
 * the text is palloc'd, or the fault says why it is damaged.
 */
static bool
decode(const char **text, Size *len, Fault *fault)
{
	char	   *decoded;
	Size		decoded_len;

	if (*len > envelope_limits.text || looks_like_json(*text, *len))
		return false;
	if (dotnet_is_element(*text, *len))
	{
		if (!dotnet_read(*text, *len, &decoded, &decoded_len, fault))
			return true;
	}
	else
	{
		decoded = decode_base64(*text, *len, &decoded_len);
		if (decoded == NULL || !looks_like_json(decoded, decoded_len))
			return false;
	}
	*text = decoded;
	*len = decoded_len;
	return true;
}

static List *
open_json(const char *text, Size len, bool quotes_allowed, Fault *fault)
{
	Outline		outline;

	json_skip_mark(&text, &len);
	if (!read_outline(text, len, &outline, fault))
		return NIL;
	if (outline.is_array)
		return open_array(&outline, fault);
	if (outline.is_object)
		return open_object(&outline, text, len);
	if (quotes_allowed && outline.string &&
		looks_like_json(outline.string, strlen(outline.string)))
		return open_json(outline.string, strlen(outline.string), false, fault);
	not_an_object(fault);
	return NIL;
}

List *
envelope_open(const char *body, Size len, Fault *fault)
{
	bool		decoded = decode(&body, &len, fault);
	List	   *parts;

	if (fault->sqlstate != 0)
		return NIL;
	parts = open_json(body, len, !decoded, fault);
	if (!decoded)
		return parts;
	if (fault->sqlstate != 0)
	{
		parts = one_fault(body, len, fault);
		memset(fault, 0, sizeof(Fault));
	}
	return mark_decoded(parts, true);
}
