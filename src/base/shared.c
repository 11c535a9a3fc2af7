/*
 * shared.c
 *	  Memory that all processes of the server share: see shared.h.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/shared.h"

#define MAX_PIECES 4

typedef struct Piece
{
	const char *name;
	Size		size;
	void	  **place;
} Piece;

static Piece pieces[MAX_PIECES];
static int	npieces = 0;
static LWLock *lock = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	for (int i = 0; i < npieces; i++)
		RequestAddinShmemSpace(MAXALIGN(pieces[i].size));
	RequestNamedLWLockTranche("damoov", 1);
}

static void
attach_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < npieces; i++)
	{
		*pieces[i].place = ShmemInitStruct(pieces[i].name, pieces[i].size, &found);
		if (!found)
			memset(*pieces[i].place, 0, pieces[i].size);
	}
	lock = &GetNamedLWLockTranche("damoov")->lock;
	LWLockRelease(AddinShmemInitLock);
}

void
shared_request(const char *name, Size size, void **place)
{
	Assert(npieces < MAX_PIECES);
	pieces[npieces++] = (Piece) {name, size, place};
	if (npieces > 1)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}

void
shared_text(char *to, const char *from, int size)
{
	int			len = pg_mbcliplen(from, strlen(from), size - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

void
shared_lock(LWLockMode mode)
{
	if (lock)
		LWLockAcquire(lock, mode);
}

void
shared_unlock(void)
{
	if (lock)
		LWLockRelease(lock);
}
