/*
 * providers.c
 *	  The providers there are: a line and a row for each.
 *
 * Nothing below knows their names: who makes a source looks here for its
 * provider.
 */
#include "postgres.h"

#include "provider/providers.h"

/* each is all that is visible of its file */
extern const Provider eventgrid_provider;
extern const Provider servicebus_provider;
extern const Provider sqs_provider;
extern const Provider storagequeue_provider;

static const Provider *const providers[] = {
	&sqs_provider,
	&servicebus_provider,
	&storagequeue_provider,
	&eventgrid_provider,
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
