/*
 * unit_xml.c
 *	  SQL functions over wire/xml.c, for tests only.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "unit.h"
#include "wire/xml.h"

PG_FUNCTION_INFO_V1(unit_xml);
PG_FUNCTION_INFO_V1(unit_xml_text);

/* "0 List, 1 Id=[text]", or NULL when there is no document. */
Datum
unit_xml(PG_FUNCTION_ARGS)
{
	char	   *xml = unit_text(fcinfo, 0);
	XmlDocument *document = xml_read(xml, strlen(xml));
	StringInfoData told;

	if (document == NULL)
		PG_RETURN_NULL();
	initStringInfo(&told);
	for (int i = 0; i < document->count; i++)
	{
		const XmlElement *element = &document->elements[i];

		appendStringInfo(&told, "%s%d %s", i > 0 ? ", " : "", element->depth, element->name);
		if (element->text)
			appendStringInfo(&told, "=[%s]", element->text);
	}
	PG_RETURN_TEXT_P(cstring_to_text(told.data));
}

Datum
unit_xml_text(PG_FUNCTION_ARGS)
{
	char	   *xml = unit_text(fcinfo, 0);
	char	   *text = xml_text(xml_read(xml, strlen(xml)), unit_text(fcinfo, 1));

	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}
