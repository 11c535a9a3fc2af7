/*
 * address.c
 *	  Which network addresses are public: see address.h.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "wire/address.h"

static bool
ipv4_is_public(uint32 address)
{
	/* network, prefix length: RFC 6890 and its updates */
	static const struct
	{
		uint32		network;
		int			bits;
	}			closed[] = {
		{0x00000000, 8}, {0x0A000000, 8}, {0x64400000, 10}, {0x7F000000, 8},
		{0xA9FE0000, 16}, {0xAC100000, 12}, {0xC0000000, 24}, {0xC0000200, 24},
		{0xC0A80000, 16}, {0xC6120000, 15}, {0xC6336400, 24}, {0xCB007100, 24},
		{0xE0000000, 3},
	};

	for (int i = 0; i < (int) lengthof(closed); i++)
	{
		if ((address ^ closed[i].network) >> (32 - closed[i].bits) == 0)
			return false;
	}
	return true;
}

static bool
ipv6_is_public(const struct in6_addr *address)
{
	static const unsigned char nat64[12] = {0x00, 0x64, 0xFF, 0x9B};
	const unsigned char *a = address->s6_addr;

	/* how a network without IPv4 names an address of it, RFC 6052 */
	if (memcmp(a, nat64, sizeof(nat64)) == 0)
		return ipv4_is_public((uint32) a[12] << 24 | a[13] << 16 | a[14] << 8 | a[15]);
	/* else only 2000::/3 is global; of it, 6to4 and Teredo hide an IPv4 one */
	if ((a[0] & 0xE0) != 0x20)
		return false;
	if (a[0] == 0x20 && a[1] == 0x02)
		return false;
	if (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0 && a[3] == 0)
		return false;
	if (a[0] == 0x20 && a[1] == 0x01 && a[2] == 0x0D && a[3] == 0xB8)
		return false;
	return true;
}

bool
address_is_public(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ipv4_is_public(ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr));
	if (address->sa_family == AF_INET6)
		return ipv6_is_public(&((const struct sockaddr_in6 *) address)->sin6_addr);
	return false;
}
