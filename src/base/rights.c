/*
 * rights.c
 *	  What the owner of a foreign server may have done for it: see rights.h.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "base/rights.h"

bool
rights_use_host(Oid role)
{
	return has_privs_of_role(role, ROLE_PG_READ_SERVER_FILES);
}

bool
rights_serve(Oid owner, Oid other)
{
	return owner == other || superuser_arg(owner);
}

bool
rights_are_engine(void)
{
	Oid			engine = get_role_oid(RIGHTS_ENGINE_ROLE, true);

	return OidIsValid(engine) && has_privs_of_role(GetUserId(), engine);
}
