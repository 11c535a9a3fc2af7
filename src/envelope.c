/*
 * envelope.c
 *	  What a transport wraps around a notification: see envelope.h.
 */
#include "postgres.h"

#include "envelope.h"
#include "json.h"
#include "sign.h"
#include "uuid.h"

/*
 * Bodies can be larger than the notification in them: JSON inside JSON.  Their
 * numbers may be printed by jsonb; those of a notification are judged later.
 */
static const JsonLimits envelope_limits = {8 * 1024 * 1024, JSON_MAX_PLAIN_NUMBER};

/* The outermost members that tell what a body is. */
typedef struct Outline
{
	bool		is_object;
	bool		is_array;
	const char *type;			/* "Type", when a string */
	const char *message_id;
	const char *topic_arn;
	const char *timestamp;
	const char *message;		/* "Message", unescaped */
	bool		has_message;	/* of any type */
	bool		has_event;
	bool		repeated;		/* a member of the envelope stands twice */
	List	   *elements;		/* of an array: EnvelopePart * */
} Outline;

static List *open_value(const char *text, Size len, bool in_array, Fault *fault);

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
put_string(Outline *outline, const char **member, const char *text)
{
	outline->repeated |= *member != NULL;
	*member = text;
}

static void
on_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	Outline    *outline = walk->state;
	const char *name;

	if (walk->depth != 1 || type != JSON_TOKEN_STRING)
		return;
	name = json_name(walk, 1);
	if (strcmp(name, "Type") == 0)
		put_string(outline, &outline->type, text);
	else if (strcmp(name, "MessageId") == 0)
		put_string(outline, &outline->message_id, text);
	else if (strcmp(name, "TopicArn") == 0)
		put_string(outline, &outline->topic_arn, text);
	else if (strcmp(name, "Timestamp") == 0)
		outline->timestamp = text;
	else if (strcmp(name, "Message") == 0)
		put_string(outline, &outline->message, text);
}

static void
on_value(JsonWalk *walk, const char *start, Size len)
{
	Outline    *outline = walk->state;

	if (walk->depth != 1)
		return;
	if (outline->is_array)
	{
		EnvelopePart *part = palloc0(sizeof(EnvelopePart));

		part->text = start;
		part->len = len;
		outline->elements = lappend(outline->elements, part);
	}
	else if (strcmp(json_name(walk, 1), "Event") == 0)
		outline->has_event = true;
	else if (strcmp(json_name(walk, 1), "Message") == 0)
		outline->has_message = true;
}

static List *
one_part(const char *text, Size len)
{
	EnvelopePart *part = palloc0(sizeof(EnvelopePart));

	part->text = text;
	part->len = len;
	return list_make1(part);
}

static List *
one_fault(const char *text, Size len, const Fault *fault)
{
	List	   *parts = one_part(text, len);

	((EnvelopePart *) linitial(parts))->fault = *fault;
	return parts;
}

/* A message of SNS itself: it has no object and no person. */
static List *
control_part(const Outline *outline, const char *text, Size len)
{
	List	   *parts = one_part(text, len);
	EnvelopePart *part = linitial(parts);

	part->control = outline->type;
	part->control_time = outline->timestamp ? outline->timestamp : "";
	if (outline->message_id == NULL ||
		!uuid_parse(outline->message_id, &part->control_id))
	{
		/* no id: the bytes stand for themselves */
		char		digest[SIGN_SHA256_HEX_SIZE];

		sign_sha256_hex(text, len, digest);
		digest[2 * UUID_LEN] = '\0';
		(void) uuid_parse(digest, &part->control_id);
	}
	return parts;
}

static bool
is_sns(const Outline *outline)
{
	return outline->is_object && !outline->has_event && outline->type != NULL &&
		outline->message_id != NULL && outline->topic_arn != NULL;
}

/* The notification inside an SNS envelope, which must be one JSON object. */
static List *
open_sns(const Outline *outline, const char *text, Size len)
{
	static const JsonVisitor outline_visitor = {
		.enter = on_enter, .scalar = on_scalar, .value = on_value
	};
	Outline    *inner = palloc0(sizeof(Outline));
	Fault		fault = {0};

	if (outline->repeated)
		fault_set(&fault, ERRCODE_INVALID_PARAMETER_VALUE, "envelope",
				  "SNS envelope has a member twice");
	else if (outline->message == NULL)
		fault_set(&fault, ERRCODE_INVALID_PARAMETER_VALUE, "envelope",
				  outline->has_message
				  ? "\"Message\" of the SNS envelope is not a string"
				  : "SNS envelope has no \"Message\"");
	else if (!json_walk_limited(outline->message, strlen(outline->message),
						envelope_limits, &outline_visitor, inner, &fault))
	{
		/* what is wrong inside an envelope is a fault of the envelope */
		if (strcmp(fault.reason, "bad_json") == 0)
			fault_set(&fault, ERRCODE_INVALID_PARAMETER_VALUE, "envelope",
					  "\"Message\" of the SNS envelope is not JSON");
	}
	else if (is_sns(inner))
		fault_set(&fault, ERRCODE_INVALID_PARAMETER_VALUE, "envelope",
				  "SNS envelope holds another SNS envelope");

	if (fault.sqlstate != 0)
		return one_fault(text, len, &fault);
	if (inner->is_array)
		return inner->elements;
	return one_part(outline->message, strlen(outline->message));
}

static List *
open_array(Outline *outline, Fault *fault)
{
	List	   *parts = NIL;
	ListCell   *cell;

	foreach(cell, outline->elements)
	{
		EnvelopePart *element = lfirst(cell);
		Fault		element_fault = {0};
		List	   *opened = open_value(element->text, element->len, true,
										&element_fault);

		if (element_fault.sqlstate != 0)
			opened = one_fault(element->text, element->len, &element_fault);
		parts = list_concat(parts, opened);
	}
	return parts;
}

static List *
open_value(const char *text, Size len, bool in_array, Fault *fault)
{
	static const JsonVisitor visitor = {
		.enter = on_enter, .scalar = on_scalar, .value = on_value
	};
	Outline    *outline = palloc0(sizeof(Outline));

	if (!json_walk_limited(text, len, envelope_limits, &visitor, outline, fault))
		return NIL;
	if (outline->is_array && !in_array)
		return open_array(outline, fault);
	if (!outline->is_object)
	{
		fault_set(fault, ERRCODE_INVALID_PARAMETER_VALUE, "bad_type",
				  "notification is not a JSON object");
		return NIL;
	}
	if (is_sns(outline))
	{
		if (strcmp(outline->type, "Notification") == 0)
			return open_sns(outline, text, len);
		return control_part(outline, text, len);
	}
	return one_part(text, len);
}

List *
envelope_open(const char *body, Size len, Fault *fault)
{
	static const char byte_order_mark[] = "\xEF\xBB\xBF";

	if (len >= 3 && memcmp(body, byte_order_mark, 3) == 0)
	{
		body += 3;
		len -= 3;
	}
	return open_value(body, len, false, fault);
}
