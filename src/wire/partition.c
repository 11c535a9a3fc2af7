/*
 * partition.c
 *	  The parts of clouds: see partition.h.
 */
#include "postgres.h"

#include "wire/partition.h"

static const struct
{
	const char *name;
	const char *regions;		/* what all names of its regions begin with */
	const char *domain;
}			aws[] = {
	{"aws-cn", "cn-", "amazonaws.com.cn"},
	{"aws-us-gov", "us-gov-", "amazonaws.com"},
	{"aws-eusc", "eusc-", "amazonaws.eu"},
	{"aws-iso", "us-iso-", "c2s.ic.gov"},
	{"aws-iso-b", "us-isob-", "sc2s.sgov.gov"},
	{"aws-iso-e", "eu-isoe-", "cloud.adc-e.uk"},
	{"aws-iso-f", "us-isof-", "csp.hci.ic.gov"},
	{"aws", "", "amazonaws.com"}	/* all other regions */
};

static const struct
{
	const char *storage;
	const char *service_bus;
	const char *event_grid;
	const char *login;
}			azure[] = {
	{"core.windows.net", "servicebus.windows.net", "eventgrid.azure.net", "login.microsoftonline.com"},
	{"core.usgovcloudapi.net", "servicebus.usgovcloudapi.net", "eventgrid.azure.us", "login.microsoftonline.us"},
	{"core.chinacloudapi.cn", "servicebus.chinacloudapi.cn", "eventgrid.azure.cn", "login.partner.microsoftonline.cn"},
	/* of the first: accounts with a zone in their name */
	{"storage.azure.net", NULL, NULL, "login.microsoftonline.com"}
};

/* The labels in front of a domain, NULL when the host does not end in it. */
static char *
labels_before(const char *host, const char *domain)
{
	Size		len = strlen(host);
	Size		domain_len = strlen(domain);

	if (len < domain_len + 2 || strcmp(host + len - domain_len, domain) != 0 ||
		host[len - domain_len - 1] != '.')
		return NULL;
	return pnstrdup(host, len - domain_len - 1);
}

static int
find_aws(const char *region)
{
	int			i = 0;

	while (strncmp(region, aws[i].regions, strlen(aws[i].regions)) != 0)
		i++;
	return i;
}

const char *
aws_domain(const char *region)
{
	return aws[find_aws(region)].domain;
}

bool
aws_has_region(const char *partition, const char *region)
{
	return strcmp(aws[find_aws(region)].name, partition) == 0;
}

char *
aws_labels(const char *host)
{
	char	   *labels = NULL;

	for (int i = 0; i < (int) lengthof(aws) && labels == NULL; i++)
		labels = labels_before(host, aws[i].domain);
	return labels;
}

char *
azure_account(const char *host)
{
	for (int i = 0; i < (int) lengthof(azure); i++)
	{
		char	   *labels = labels_before(host, azure[i].storage);
		char	   *service = labels ? strchr(labels, '.') : NULL;

		/* Data Lake calls the same objects files; a zone may stand in between */
		if (service && (labels_before(labels, "blob") || labels_before(labels, "dfs")))
		{
			*service = '\0';
			return labels;
		}
	}
	return NULL;
}

static bool
is_below(const char *host, const char *domain)
{
	return domain && labels_before(host, domain) != NULL;
}

/* The first one for hosts of nobody's, such as names of one's own. */
static int
find_azure(const char *host)
{
	for (int i = 0; i < (int) lengthof(azure); i++)
	{
		if (is_below(host, azure[i].storage) || is_below(host, azure[i].service_bus) ||
			is_below(host, azure[i].event_grid))
			return i;
	}
	return 0;
}

const char *
azure_login(const char *host)
{
	return azure[find_azure(host)].login;
}

const char *
azure_audience(const char *audience, const char *host)
{
	int			i = find_azure(host);

	if (azure[i].event_grid && strcmp(audience, "https://eventgrid.azure.net") == 0)
		return psprintf("https://%s", azure[i].event_grid);
	return audience;
}

const char *
azure_event_grid(const char *origin)
{
	for (int i = 0; i < (int) lengthof(azure); i++)
	{
		if (azure[i].event_grid && pg_strcasecmp(origin, azure[i].event_grid) == 0)
			return azure[i].event_grid;
	}
	return NULL;
}
