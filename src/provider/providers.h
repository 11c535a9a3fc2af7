/*
 * providers.h
 *	  The providers there are.
 */
#ifndef DAMOOV_PROVIDERS_H
#define DAMOOV_PROVIDERS_H

#include "provider/source.h"

/* The provider of servers of this TYPE (may be NULL), or NULL. */
extern const Provider *providers_find(const char *type);

#endif							/* DAMOOV_PROVIDERS_H */
