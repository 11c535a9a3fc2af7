/*
 * json_tree.h
 *	  A JSON text as a tree, for documents whose form is not known.
 */
#ifndef DAMOOV_JSON_TREE_H
#define DAMOOV_JSON_TREE_H

#include "base/json.h"
#include "dataset/keep.h"

typedef struct JsonNode
{
	struct JsonNode *parent;
	struct JsonNode *first;		/* of what is in it */
	struct JsonNode *last;
	struct JsonNode *next;
	const char *name;			/* of a member, else NULL */
	char	   *text;			/* of a scalar */
	const char *start;			/* its bytes as they stand */
	Size		len;
	JsonTokenType type;			/* an object or array has its opening token */
	int			count;			/* of what is in it */
	bool		used;			/* the reader has taken its value */
	bool		touched;		/* or that of something in it */
} JsonNode;

typedef struct JsonTree
{
	JsonNode   *root;			/* NULL: more than max_nodes */
	Secrets		secrets;		/* members that must not be kept */
} JsonTree;

/* Reads a text into the current context; faults are those of json_walk(). */
extern bool json_tree_read(const char *text, Size len, Size max_len,
						   int max_nodes, JsonTree *tree, Fault *fault);

static inline bool
json_is_object(const JsonNode *node)
{
	return node->type == JSON_TOKEN_OBJECT_START;
}

static inline bool
json_is_array(const JsonNode *node)
{
	return node->type == JSON_TOKEN_ARRAY_START;
}

extern void json_use(JsonNode *node);

/*
 * Appends what has not been used, secrets left out.  What nothing was taken
 * from is appended as it stands; in an array, null marks the places of what
 * was used.  False, and nothing appended, when there is nothing left.
 */
extern bool json_append_rest(StringInfo text, const JsonNode *node,
							 const Secrets *secrets);

#endif							/* DAMOOV_JSON_TREE_H */
