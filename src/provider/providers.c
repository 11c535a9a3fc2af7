/*
 * providers.c
 *	  The providers there are: a line and a row for each.
 *
 * No lower file knows their names: whoever creates a source finds its provider
 * here.
 */
#include "postgres.h"

#include "provider/call.h"
#include "provider/providers.h"
#include "provider/source.h"

/* each is all that is visible of its file */
extern const Service eventgrid_service;
extern const Service servicebus_service;
extern const Service sqs_service;
extern const Service storagequeue_service;

static const Provider *const providers[] = {
	&eventgrid_service.provider,
	&servicebus_service.provider,
	&sqs_service.provider,
	&storagequeue_service.provider,
};

const Provider *
providers_find(const char *type)
{
	for (int i = 0; type && i < (int) lengthof(providers); i++)
	{
		if (strcmp(type, providers[i]->type) == 0)
			return providers[i];
	}
	return NULL;
}
