/*
 * names.c
 *	  A name server for tests, to be preloaded: the name TEST_NAME is this
 *	  machine, at the port TEST_PORT.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

typedef int (*Resolve) (const char *, const char *, const struct addrinfo *, struct addrinfo **);

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
			struct addrinfo **result)
{
	Resolve		resolve = (Resolve) dlsym(RTLD_NEXT, "getaddrinfo");
	const char *known = getenv("TEST_NAME");

	if (name && known && strcmp(name, known) == 0)
		return resolve("127.0.0.1", getenv("TEST_PORT"), hints, result);
	return resolve(name, service, hints, result);
}
