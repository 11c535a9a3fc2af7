/*
 * address.h
 *	  Which network addresses are public.
 */
#ifndef DAMOOV_ADDRESS_H
#define DAMOOV_ADDRESS_H

#include <sys/socket.h>

/*
 * False for everything that leads to the own machine, a private network or a
 * cloud's metadata service.  Allocates nothing and throws nothing: it is called
 * from inside libcurl.
 */
extern bool address_is_public(const struct sockaddr *address);

#endif							/* DAMOOV_ADDRESS_H */
