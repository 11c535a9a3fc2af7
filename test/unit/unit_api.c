/*
 * unit_api.c
 *	  SQL functions over door/api.c, for tests only.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "door/api.h"
#include "unit.h"

PG_FUNCTION_INFO_V1(unit_api_credential);

/*
 * What a request for a URL carries when these hosts are allowed, separated by
 * blanks: "token", "key" of a source, "nothing", or why there is none.
 */
Datum
unit_api_credential(PG_FUNCTION_ARGS)
{
	char	   *hosts = unit_text(fcinfo, 0);
	Api			api = {
		.base_url = unit_text(fcinfo, 1), .crash_url = unit_text(fcinfo, 1),
		.s3_endpoint = unit_text(fcinfo, 2)
	};
	ApiTarget	target;
	Fault		fault = {0};
	char	   *state = NULL;
	const char *found = "key";

	for (char *host = strtok_r(hosts, " ", &state); host; host = strtok_r(NULL, " ", &state))
		api.hosts = lappend(api.hosts, host);
	if (!api_check_url(&api, unit_text(fcinfo, 3), &target, &fault))
		found = fault.message;
	else if (target.storage == STORAGE_NONE)
		found = "token";
	else if (target.storage == STORAGE_OTHER)
		found = "nothing";
	PG_RETURN_TEXT_P(cstring_to_text(found));
}
