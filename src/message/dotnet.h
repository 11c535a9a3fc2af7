/*
 * dotnet.h
 *	  Strings in .NET binary XML, as older Service Bus senders wrap them.
 */
#ifndef DAMOOV_DOTNET_H
#define DAMOOV_DOTNET_H

#include "base/fault.h"

/*
 * Is it an XML element with a name space, in the binary format?  No JSON text
 * and no base64 begins so.
 */
extern bool dotnet_is_element(const char *body, Size len);

/*
 * The string, or the bytes, that DataContractSerializer put into the body.
 * False with the fault filled when the element holds anything else, such as
 * the members of an object, or does not end where the body does.
 */
extern bool dotnet_read(const char *body, Size len, char **text, Size *text_len,
						Fault *fault);

#endif							/* DAMOOV_DOTNET_H */
