/*
 * json_tree.c
 *	  A JSON text as a tree: see json_tree.h.
 */
#include "postgres.h"

#include "dataset/json_tree.h"

typedef struct Builder
{
	JsonTree   *tree;
	JsonNode   *open[JSON_MAX_DEPTH + 2];	/* what is being read, by level */
	int			room;
} Builder;

static void tree_enter(JsonWalk *walk, bool is_array);
static void tree_scalar(JsonWalk *walk, char *text, JsonTokenType type);
static void tree_value(JsonWalk *walk, const char *start, Size len);

static const JsonVisitor builder_visitor = {
	tree_enter, NULL, tree_scalar, tree_value
};

bool
json_tree_read(const char *text, Size len, Size max_len, int max_nodes,
			   JsonTree *tree, Fault *fault)
{
	Builder		builder = {.tree = tree, .room = max_nodes};

	memset(tree, 0, sizeof(JsonTree));
	if (!json_walk(text, len, max_len, &builder_visitor, &builder, fault))
		return false;
	if (builder.room < 0)
		tree->root = NULL;
	else
	{
		tree->root->start = text;
		tree->root->len = len;
	}
	return true;
}

static JsonNode *
add_node(Builder *builder, JsonNode *parent, JsonTokenType type)
{
	JsonNode   *node;

	if (--builder->room < 0)
		return NULL;
	node = palloc0(sizeof(JsonNode));
	node->type = type;
	node->parent = parent;
	if (parent == NULL)
		builder->tree->root = node;
	else if (parent->last)
		parent->last = parent->last->next = node;
	else
		parent->first = parent->last = node;
	if (parent)
		parent->count++;
	return node;
}

static void
tree_enter(JsonWalk *walk, bool is_array)
{
	Builder    *builder = walk->state;
	JsonNode   *node = add_node(builder, builder->open[walk->depth - 1],
								is_array ? JSON_TOKEN_ARRAY_START :
								JSON_TOKEN_OBJECT_START);

	if (node)
		node->name = walk->level[walk->depth - 1].name;
	builder->open[walk->depth] = node;
}

static void
tree_scalar(JsonWalk *walk, char *text, JsonTokenType type)
{
	Builder    *builder = walk->state;
	JsonNode   *node = add_node(builder, builder->open[walk->depth], type);

	if (node == NULL)
	{
		pfree(text);
		return;
	}
	node->name = walk->level[walk->depth].name;
	node->text = text;
}

static void
tree_value(JsonWalk *walk, const char *start, Size len)
{
	Builder    *builder = walk->state;
	const char *name = walk->level[walk->depth].name;

	if (name && keep_is_secret(name))
		keep_add_secret(&builder->tree->secrets, start, len);
	if (builder->room >= 0)
	{
		JsonNode   *node = builder->open[walk->depth]->last;

		node->start = start;
		node->len = len;
	}
}

void
json_use(JsonNode *node)
{
	node->used = true;
	for (; node && !node->touched; node = node->parent)
		node->touched = true;
}

static bool
append_rest_of_array(StringInfo text, const JsonNode *node,
					 const Secrets *secrets)
{
	int			before = text->len;
	bool		any = false;

	appendStringInfoChar(text, '[');
	for (const JsonNode *item = node->first; item; item = item->next)
	{
		if (item != node->first)
			appendStringInfoChar(text, ',');
		if (json_append_rest(text, item, secrets))
			any = true;
		else
			appendStringInfoString(text, "null");
	}
	appendStringInfoChar(text, ']');
	if (any)
		return true;
	text->len = before;
	text->data[before] = '\0';
	return false;
}

static bool
append_rest_of_object(StringInfo text, const JsonNode *node,
					  const Secrets *secrets)
{
	Secrets		none = *secrets;
	int			before = text->len;
	bool		any = false;

	none.count = 0;				/* of the spans */
	for (const JsonNode *member = node->first; member; member = member->next)
	{
		int			start = text->len;

		if (keep_is_secret(member->name))
			continue;
		appendStringInfoChar(text, any ? ',' : '{');
		keep_append_member(text, member->name, "", 0, &none);
		if (json_append_rest(text, member, secrets))
			any = true;
		else
		{
			text->len = start;
			text->data[start] = '\0';
		}
	}
	if (any)
		appendStringInfoChar(text, '}');
	else
		text->len = before;
	return any;
}

bool
json_append_rest(StringInfo text, const JsonNode *node, const Secrets *secrets)
{
	if (node->used)
		return false;
	if (!node->touched)
	{
		keep_append(text, node->start, node->len, secrets);
		return true;
	}
	if (json_is_array(node))
		return append_rest_of_array(text, node, secrets);
	return append_rest_of_object(text, node, secrets);
}
