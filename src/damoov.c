/*
 * damoov.c
 *	  Entry of the library: module magic and _PG_init, nothing of substance.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/users_code.h"
#include "base/wakeup.h"
#include "compat.h"
#include "door/certificate.h"
#include "guc.h"
#include "process/launcher.h"

PG_MODULE_MAGIC_EXT(.name = "damoov", .version = "1.0");

SQL_FUNCTION(damoov_home);

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	guc_define();
	users_code_init();
	/* merely loaded, or pg_upgrade is at work: no process is started */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	wakeup_init();
	certificate_init();
	launcher_register();
}

Datum
damoov_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(UINT64_FORMAT "/%u",
											  GetSystemIdentifier(),
											  MyDatabaseId)));
}
