/*
 * xml.h
 *	  The little XML in which services answer.
 */
#ifndef DAMOOV_XML_H
#define DAMOOV_XML_H

typedef struct XmlElement
{
	char	   *name;
	int			depth;			/* 0: the outermost */
	char	   *text;			/* unescaped, "" when empty; NULL: it holds elements */
} XmlElement;

/* The elements in their order, each in front of those that it holds. */
typedef struct XmlDocument
{
	int			count;
	XmlElement *elements;
} XmlDocument;

/*
 * Reads a text that is terminated by NUL; palloc'd.  NULL when it is not one
 * whole document in UTF-8, or has what no service writes: a document type,
 * comments, processing instructions, attributes of inner elements, text between
 * elements, more than a thousand elements or sixteen levels.
 */
extern XmlDocument *xml_read(const char *text, Size len);

/*
 * Text of the first element of this name; NULL when there is none, when it
 * holds elements, or when there is no document.
 */
extern char *xml_text(const XmlDocument *document, const char *name);

#endif							/* DAMOOV_XML_H */
