/*
 * certificate.c
 *	  Keys of certificates that were fetched for pushes: see certificate.h.
 *
 * Anybody can push, and name another certificate each time.  So what is got is
 * kept where no such push can drive it out, and what cannot be got is counted.
 * The genuine certificates are few, and SNS changes them about once a year.
 */
#include "postgres.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "base/shared.h"
#include "door/certificate.h"

#define KEYS				8
#define FAILURES			16
#define KEY_SECONDS			SECS_PER_DAY
#define FAILURE_SECONDS		30
#define WINDOW_SECONDS		60
#define FETCHES				5	/* in a window, from one host */
#define LINES				1	/* in a window, for one reason */
#define MAX_KEY				1200	/* bytes: 8192 bits of RSA */
#define BUDGETS				256

/* What is known of one URL. */
typedef struct Known
{
	char		url[512];
	TimestampTz from;
	int			seconds;
	int			key_len;		/* 0: it could not be fetched */
	unsigned char key[MAX_KEY]; /* as DER */
	Reason		reason;
	char		problem[128];
} Known;

/* What was spent since a time. */
typedef struct Budget
{
	TimestampTz from;
	int			spent;
} Budget;

typedef struct Certificates
{
	Known		keys[KEYS];
	Known		failures[FAILURES];
	int			next_key;
	int			next_failure;
	/* by a hash of the name: who has the same one shares */
	Budget		fetches[BUDGETS];
	Budget		lines[BUDGETS];
} Certificates;

static Certificates *shared = NULL;
static Certificates own;

void
certificate_init(void)
{
	shared_request("damoov certificates", sizeof(Certificates), (void **) &shared);
}

static Certificates *
certificates(void)
{
	return shared ? shared : &own;
}

/* Not over, and not of a time to come: the clock may have been set back. */
static bool
is_current(TimestampTz from, int seconds)
{
	TimestampTz now = GetCurrentTimestamp();

	return from <= now && now - from < seconds * USECS_PER_SEC;
}

/* ----- budgets ----- */

static bool
spend(Budget *budgets, const char *name, int limit)
{
	Budget	   *budget = &budgets[hash_bytes((const unsigned char *) name, strlen(name)) % BUDGETS];
	bool		left;

	shared_lock(LW_EXCLUSIVE);
	if (!is_current(budget->from, WINDOW_SECONDS))
		*budget = (Budget) {.from = GetCurrentTimestamp()};
	left = budget->spent < limit;
	budget->spent += left;
	shared_unlock();
	return left;
}

bool
certificate_may_fetch(const char *host)
{
	return spend(certificates()->fetches, host, FETCHES);
}

bool
certificate_may_log(const char *reason)
{
	return spend(certificates()->lines, reason, LINES);
}

/* ----- what is known ----- */

static bool
find(const Known *list, int count, const char *url, Known *found)
{
	for (int i = 0; i < count; i++)
	{
		if (strcmp(list[i].url, url) == 0 && is_current(list[i].from, list[i].seconds))
		{
			memcpy(found, &list[i], sizeof(Known));
			return true;
		}
	}
	return false;
}

bool
certificate_find(const char *url, EVP_PKEY **key, Fault *fault)
{
	const Certificates *all = certificates();
	Known		known;
	const unsigned char *at = known.key;
	bool		found;

	*key = NULL;
	shared_lock(LW_SHARED);
	found = find(all->keys, KEYS, url, &known) || find(all->failures, FAILURES, url, &known);
	shared_unlock();
	if (!found)
		return false;
	if (known.key_len > 0)
	{
		*key = d2i_PUBKEY(NULL, &at, known.key_len);
		ERR_clear_error();
		return *key != NULL;
	}
	fault_set(fault, known.reason, "%s", known.problem);
	return true;
}

/* Takes the place of what is known of the URL, else of the oldest. */
static void
keep(Known *list, int count, int *next, const Known *known)
{
	int			i = 0;

	shared_lock(LW_EXCLUSIVE);
	while (i < count && strcmp(list[i].url, known->url) != 0)
		i++;
	if (i == count)
	{
		i = *next;
		*next = (i + 1) % count;
	}
	memcpy(&list[i], known, sizeof(Known));
	shared_unlock();
}

void
certificate_keep(const char *url, EVP_PKEY *key, int seconds)
{
	Certificates *all = certificates();
	Known		known = {.from = GetCurrentTimestamp(), .seconds = Min(seconds, KEY_SECONDS)};
	unsigned char *at = known.key;

	known.key_len = i2d_PUBKEY(key, NULL);
	if (known.key_len > 0 && known.key_len <= MAX_KEY && strlen(url) < sizeof(known.url))
	{
		strlcpy(known.url, url, sizeof(known.url));
		i2d_PUBKEY(key, &at);
		keep(all->keys, KEYS, &all->next_key, &known);
	}
	ERR_clear_error();
}

void
certificate_keep_failure(const char *url, const Fault *fault)
{
	Certificates *all = certificates();
	Known		known = {.from = GetCurrentTimestamp(), .seconds = FAILURE_SECONDS, .reason = fault->reason};

	if (strlen(url) >= sizeof(known.url))
		return;
	strlcpy(known.url, url, sizeof(known.url));
	strlcpy(known.problem, fault->message, sizeof(known.problem));
	keep(all->failures, FAILURES, &all->next_failure, &known);
}
