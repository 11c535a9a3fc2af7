/*
 * text.h
 *	  Small checks of text from outside, independent of the locale.
 */
#ifndef DAMOOV_TEXT_H
#define DAMOOV_TEXT_H

#define TEXT_DIGITS		"0123456789"
#define TEXT_LOWER		"abcdefghijklmnopqrstuvwxyz"
#define TEXT_LETTERS	"ABCDEFGHIJKLMNOPQRSTUVWXYZ" TEXT_LOWER

/* Are these first bytes of a text, at least one, all among the characters? */
extern bool text_consists_of(const char *text, Size len, const char *characters);

/* Ends the text before the blanks at its end, returns it behind those at its start. */
extern char *text_trim(char *text);

/* The value of a hexadecimal digit in either case, -1 when it is none. */
extern int	text_hex_digit(char c);

#endif							/* DAMOOV_TEXT_H */
