/*
 * damoov.c
 *	  Entry of the library: module magic and _PG_init, nothing of substance.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "base/place.h"
#include "base/progress.h"
#include "base/statistics.h"
#include "base/users_code.h"
#include "base/wakeup.h"
#include "compat.h"
#include "door/certificate.h"
#include "guc.h"
#include "process/launcher.h"

PG_MODULE_MAGIC_EXT(.name = "damoov", .version = "1.0");

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	guc_define();
	users_code_init();
	/* merely loaded, or pg_upgrade is at work: no process is started */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	place_init();
	wakeup_init();
	statistics_init();
	progress_init();
	certificate_init();
	launcher_register();
}
