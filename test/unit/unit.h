/*
 * unit.h
 *	  SQL functions over single units of the extension, for tests only.
 *
 * The extension itself does not offer these functions.  This module compiles
 * the same source files; unit_NAME.c has the functions that test NAME.c, and
 * unit_NAME.pl what they must answer.
 */
#ifndef DAMOOV_UNIT_H
#define DAMOOV_UNIT_H

#include "fmgr.h"

#include "wire/sign.h"

/* The argument as a string, NULL for an SQL null. */
extern char *unit_text(FunctionCallInfo fcinfo, int n);

/* Bytes from hexadecimal, so that a body may contain NUL. */
extern char *unit_bytes(FunctionCallInfo fcinfo, int n, Size *len);

/* Headers from an array of names and values by turns; how many. */
extern int	unit_headers(FunctionCallInfo fcinfo, int n, const SignHeader **result);

/* A row of these values. */
extern Datum unit_record(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

#endif							/* DAMOOV_UNIT_H */
