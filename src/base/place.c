/*
 * place.c
 *	  Which database this is, and where it lies: see place.h.
 *
 * The system identifier and the database's OID tell a restored dump from its
 * original, but a copy of the data directory has them, too.  What is not copied
 * along is the file PG_VERSION itself: its inode, the time it was created, and
 * the file system that it is in.  initdb writes it, and nobody replaces it
 * afterwards, pg_rewind neither.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/place.h"
#include "compat.h"
#include "guc.h"

#define DATA_FILE "PG_VERSION"	/* the current directory is the data directory */

SQL_FUNCTION(damoov_home);
SQL_FUNCTION(damoov_place);
SQL_FUNCTION(damoov_was_standby);

/* a copy of the postmaster's in each process */
static bool was_standby = false;

void
place_init(void)
{
	was_standby = access(STANDBY_SIGNAL_FILE, F_OK) == 0;
}

/*
 * The file system's own number, which btrfs and ZFS give to each snapshot.
 * Others, such as XFS, show the number of the device there, which may be
 * another one after the next start of the machine: 0 stands for that.
 */
static unsigned long
file_system(dev_t device)
{
	struct statvfs vfs;

	if (statvfs(DATA_FILE, &vfs) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not look at the file system of \"%s\": %m", DATA_FILE)));
	return vfs.f_fsid == (unsigned long) device ? 0 : vfs.f_fsid;
}

/* Nanoseconds; 0 where that is not known.  An inode that is free is used again. */
static int64
time_of_creation(void)
{
#ifdef STATX_BTIME
	struct statx more;

	if (statx(AT_FDCWD, DATA_FILE, 0, STATX_BTIME, &more) == 0 && (more.stx_mask & STATX_BTIME))
		return more.stx_btime.tv_sec * INT64CONST(1000000000) + more.stx_btime.tv_nsec;
#endif
	return 0;
}

Datum
damoov_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(UINT64_FORMAT "/%u",
											  GetSystemIdentifier(),
											  MyDatabaseId)));
}

Datum
damoov_place(PG_FUNCTION_ARGS)
{
	struct stat file;

	if (damoov_identity && damoov_identity[0])
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("identity %s", damoov_identity)));
	if (stat(DATA_FILE, &file) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", DATA_FILE)));
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("file %lx/%lu/" INT64_FORMAT,
											  file_system(file.st_dev),
											  (unsigned long) file.st_ino,
											  time_of_creation())));
}

Datum
damoov_was_standby(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(was_standby);
}
