/*
 * unit_address.c
 *	  SQL functions over wire/address.c, for tests only.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "fmgr.h"

#include "unit.h"
#include "wire/address.h"

PG_FUNCTION_INFO_V1(unit_address);

Datum
unit_address(PG_FUNCTION_ARGS)
{
	char	   *text = unit_text(fcinfo, 0);
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		PG_RETURN_BOOL(address_is_public((struct sockaddr *) &v4));
	if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		PG_RETURN_BOOL(address_is_public((struct sockaddr *) &v6));
	PG_RETURN_NULL();
}
