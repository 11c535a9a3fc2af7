"""What XML documents hold, as JSON: for each file named, its elements, attributes and texts; or why it is none."""

import json
import sys
import xml.etree.ElementTree as ElementTree


def local(name):
    return name.rpartition("}")[2]


def read(path):
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        return {"error": str(error)}
    return {
        "root": root.tag,
        "elements": [local(element.tag) for element in root.iter()],
        "attributes": sorted({local(name) for element in root.iter() for name in element.attrib}),
        "targets": sorted(value for element in root.iter() for name, value in element.attrib.items() if local(name) in ("href", "src")),
        "ids": [element.get("id") for element in root.iter() if element.get("id")],
        "labels": sorted({name for element in root.iter() for name in element.get("aria-labelledby", "").split()}),
        "texts": [text for element in root.iter() if local(element.tag) != "style" for text in (element.text, element.tail) if text and text.strip()],
    }


json.dump({path: read(path) for path in sys.argv[1:]}, sys.stdout)
