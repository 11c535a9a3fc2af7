/*
 * object.c
 *	  The person of an object, and what an object of a bucket is: see object.h.
 *
 * What notifications have said of an object takes precedence; then the
 * document itself, then a known person in its address.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "base/fault.h"
#include "base/json.h"
#include "base/sql.h"
#include "base/uuid.h"
#include "door/object.h"
#include "door/person.h"

bool
object_find_person(Dataset *dataset)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT u.user_id, u.device_token "
		"FROM damoov.users AS u "
		"WHERE u.user_id = damoov.person_of_object($1, $2)",
		TEXTOID, UUIDOID);
	Datum		arguments[] = {
		CStringGetTextDatum(dataset_kind_name(dataset->key.kind)),
		UUIDPGetDatum(&dataset->key.object_id)
	};

	if (sql_run(&plan, arguments, NULL) == 0)
		return false;
	dataset->key.user_id = DatumGetInt64(sql_value(0, 1, NULL));
	uuid_format(DatumGetUUIDP(sql_value(0, 2, NULL)), dataset->device_token);
	return true;
}

/* A buffer of samples cannot be recognized by its content. */
static bool
is_announced_buffer(const pg_uuid_t *object_id)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT FROM damoov.events AS e "
		"WHERE e.object_id = $1 AND e.event = 'AccidentEventExtraReceived' LIMIT 1",
		UUIDOID);
	Datum		argument = UUIDPGetDatum(unconstify(pg_uuid_t *, object_id));

	return sql_run(&plan, &argument, NULL) > 0;
}

static bool
person_of_token(const pg_uuid_t *device_token, int64 *user_id)
{
	static SqlPlan plan = SQL_PLAN(
		"SELECT u.user_id FROM damoov.users AS u WHERE u.device_token = $1",
		UUIDOID);
	Datum		argument = UUIDPGetDatum(unconstify(pg_uuid_t *, device_token));

	if (sql_run(&plan, &argument, NULL) == 0)
		return false;
	*user_id = DatumGetInt64(sql_value(0, 1, NULL));
	return true;
}

/*
 * The ids in an address: the last one that is not a person's is the object's;
 * a person has to be known already, since anybody can put a UUID into a key.
 */
static DatasetIdentity
ids_of_address(const char *url, int64 *user_id)
{
	const char *end = strchrnul(url, '?');
	DatasetIdentity ids = {0};
	pg_uuid_t	id;
	int			length;

	for (; url < end; url += Max(1, length))
	{
		length = uuid_prefix(url, &id);
		if (length == 0)
			continue;
		if (!ids.has_person && person_of_token(&id, user_id))
		{
			ids.has_person = true;
			ids.device_token = id;
		}
		else
		{
			ids.has_object = true;
			ids.object_id = id;
		}
	}
	return ids;
}

List *
object_ids(List *ids, const Dataset *dataset, const char *url)
{
	DatasetIdentity *identity = palloc(sizeof(DatasetIdentity));
	Fault		ignored = {0};
	pg_uuid_t	id;
	int			length;

	if (dataset_identify(dataset, identity, &ignored))
	{
		if (identity->has_object)
			ids = lappend(ids, &identity->object_id);
		if (identity->has_person)
			ids = lappend(ids, &identity->device_token);
	}
	for (; *url; url += Max(1, length))
	{
		length = uuid_prefix(url, &id);
		if (length > 0)
			ids = lappend(ids, memcpy(palloc(sizeof(id)), &id, sizeof(id)));
	}
	return ids;
}

static bool
refuse(Fault *fault, Reason reason, const char *problem)
{
	return fault_set(fault, reason, "object of a bucket %s", problem);
}

/* Fills user_id and device_token: user_id is 0 of who is not a person yet. */
static bool
find_owner(Dataset *dataset, const DatasetIdentity *identity, const DatasetIdentity *address,
		   int64 user_id, Fault *fault)
{
	char		token[UUID_TEXT_SIZE];

	if (object_find_person(dataset))
	{
		if (identity->has_person &&
			strcmp(uuid_format(&identity->device_token, token), dataset->device_token) != 0)
			return refuse(fault, REASON_CROSS_USER, "names another person than its notifications");
		return true;
	}
	dataset->key.user_id = 0;
	if (identity->has_person)
	{
		uuid_format(&identity->device_token, dataset->device_token);
		return true;
	}
	if (!address->has_person)
		return refuse(fault, REASON_DATASET_UNKNOWN, "does not tell whose it is, and no notification has");
	dataset->key.user_id = user_id;
	uuid_format(&address->device_token, dataset->device_token);
	return true;
}

/* Fills the key, except the kind of a buffer, which is known by its events only. */
static bool
find_key(Dataset *dataset, const DatasetIdentity *identity, const char *url, Fault *fault)
{
	int64		user_id = 0;
	DatasetIdentity address = ids_of_address(url, &user_id);

	if (!identity->has_object && !address.has_object)
		return refuse(fault, REASON_DATASET_UNKNOWN, "has no id, neither in the document nor in its key");
	dataset->key.kind = DATASET_OBJECT;
	dataset->key.object_id = identity->has_object ? identity->object_id : address.object_id;
	return find_owner(dataset, identity, &address, user_id, fault);
}

bool
object_identify(Dataset *dataset, const char *url, bool *forgotten, Fault *fault)
{
	DatasetIdentity identity;

	dataset->content = NULL;
	*forgotten = false;
	if (!json_is_object(dataset_text(dataset)))
		return refuse(fault, REASON_NOT_JSON, "is not a JSON object");
	if (!dataset_identify(dataset, &identity, fault) ||
		!find_key(dataset, &identity, url, fault))
		return false;
	if (dataset->key.user_id == 0)
		*forgotten = person_is_forgotten(&identity.device_token);
	if (*forgotten)
		return true;
	if (identity.kind < 0 && is_announced_buffer(&dataset->key.object_id))
		identity.kind = DATASET_CRASH_BUFFER;
	if (identity.kind < 0)
		return refuse(fault, REASON_DATASET_UNKNOWN, "is no dataset of a kind that is known");
	dataset->key.kind = identity.kind;
	if (!dataset_read(dataset, fault))
		return false;
	/* a person who is not known is added only when the document has been read */
	if (dataset->key.user_id == 0)
		dataset->key.user_id = person_of_new_token(&identity.device_token);
	return true;
}
