"""Reads what trips are exported as, with code of its own: GeoJSON by the rules of
RFC 7946, EWKB, encoded polylines and vector tiles.

    map_formats.py geojson     a document on each line of the input
    map_formats.py trips       on each line, a trip as test/t/080_exports.pl writes it
    map_formats.py tile        on each line, a vector tile in hexadecimal: its layers, with
                               the number of features and the attributes of the first
    map_formats.py self-test   documents with faults, each of which has to be found

Each fault is a line of the output.
"""

import json
import math
import struct
import sys

DEPTH = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
# what an object of another type must not have (7.1)
OWN = {"coordinates", "geometries", "geometry", "properties", "features"}


class Fault(Exception):
    pass


def need(condition, fault):
    if not condition:
        raise Fault(fault)


def members(pairs):
    names = [name for name, value in pairs]
    need(len(names) == len(set(names)), "a member occurs twice")
    return dict(pairs)


def no_constant(name):
    raise Fault(name + " is not JSON")


def parse(text):
    try:
        return json.loads(text, object_pairs_hook=members, parse_constant=no_constant)
    except ValueError as error:
        raise Fault("not JSON: %s" % error)


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_position(position):
    need(isinstance(position, list) and 2 <= len(position) <= 3 and all(map(is_number, position)), "no position: %r" % (position,))
    need(-180 <= position[0] <= 180 and -90 <= position[1] <= 90, "out of range: %r" % (position,))


def check_coordinates(kind, coordinates, depth):
    if depth == 0:
        return check_position(coordinates)
    need(isinstance(coordinates, list), "coordinates are no array")
    for part in coordinates:
        check_coordinates(kind, part, depth - 1)
    if depth == 1 and kind != "MultiPoint":
        if kind.endswith("LineString"):
            need(len(coordinates) >= 2, "a line of less than two positions")
        else:
            need(len(coordinates) >= 4 and coordinates[0] == coordinates[-1], "a ring that is not closed")
        for a, b in zip(coordinates, coordinates[1:]):
            need(abs(a[0] - b[0]) <= 180, "not cut at the antimeridian: %r %r" % (a, b))
    return None


def check_bbox(box):
    need(isinstance(box, list) and len(box) in (4, 6) and all(map(is_number, box)), "bbox is no box")
    half = len(box) // 2
    need(box[1] <= box[half + 1], "bbox from north to south")
    check_position(box[:2])
    check_position(box[half:half + 2])


def check_object(value, allowed):
    need(isinstance(value, dict), "no object")
    kind = value.get("type")
    need(kind in allowed, "type %r is not one of %s" % (kind, sorted(allowed)))
    need("crs" not in value, "crs is not used any more")
    if "bbox" in value:
        check_bbox(value["bbox"])
    return kind


def check_geometry(value):
    kind = check_object(value, set(DEPTH) | {"GeometryCollection"})
    if kind == "GeometryCollection":
        need(not (OWN - {"geometries"}) & set(value), "a member of another type")
        need(isinstance(value.get("geometries"), list), "no geometries")
        for part in value["geometries"]:
            check_geometry(part)
    else:
        need(not (OWN - {"coordinates"}) & set(value), "a member of another type")
        need("coordinates" in value, "no coordinates")
        check_coordinates(kind, value["coordinates"], DEPTH[kind])


def check_feature(value):
    check_object(value, {"Feature"})
    need(not (OWN - {"geometry", "properties"}) & set(value), "a member of another type")
    need("geometry" in value and "properties" in value, "geometry or properties are missing")
    need(value["properties"] is None or isinstance(value["properties"], dict), "properties are no object")
    need("id" not in value or isinstance(value["id"], str) or is_number(value["id"]), "id is neither a text nor a number")
    if value["geometry"] is not None:
        check_geometry(value["geometry"])


def check_geojson(text):
    value = parse(text)
    kind = check_object(value, set(DEPTH) | {"GeometryCollection", "Feature", "FeatureCollection"})
    if kind == "Feature":
        check_feature(value)
    elif kind == "FeatureCollection":
        need(not (OWN - {"features"}) & set(value), "a member of another type")
        need(isinstance(value.get("features"), list), "no features")
        ids = [feature["id"] for feature in value["features"] if isinstance(feature, dict) and "id" in feature]
        need(len(ids) == len(set(ids)), "an id occurs twice")
        for feature in value["features"]:
            check_feature(feature)
    else:
        check_geometry(value)
    return value


def flattened(geometry):
    """The positions of a line, without those of its cuts."""
    if geometry is None:
        return []
    if geometry["type"] == "Point":
        return [geometry["coordinates"]]
    if geometry["type"] == "LineString":
        return geometry["coordinates"]
    need(geometry["type"] == "MultiLineString" and len(geometry["coordinates"]) > 1, "a line as a " + geometry["type"])
    parts = geometry["coordinates"]
    for before, after in zip(parts, parts[1:]):
        need(abs(before[-1][0]) == 180 and after[0] == [-before[-1][0], before[-1][1]], "a cut that does not meet")
    return [position for i, part in enumerate(parts) for position in part[i > 0:len(part) - (i < len(parts) - 1)]]


def same_shape(geometry, values):
    if geometry is None:
        return values == []
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Point":
        return len(values) == 1
    if geometry["type"] == "LineString":
        return len(values) == len(coordinates)
    return [len(part) for part in values] == [len(part) for part in coordinates]


def read_ewkb(hexadecimal):
    """(longitude, latitude, measure) of each vertex of a LineString M with SRID."""
    data = bytes.fromhex(hexadecimal)
    order, kind, srid, count = struct.unpack_from("<BIII", data)
    need(order == 1 and kind == 0x60000002 and srid == 4326, "EWKB begins with %s" % data[:9].hex())
    need(len(data) == 13 + 24 * count, "%d bytes for %d vertices" % (len(data), count))
    return [struct.unpack_from("<ddd", data, 13 + 24 * i) for i in range(count)]


def read_polyline(text, digits):
    """(longitude, latitude) of each vertex, as the description of the format decodes it."""
    numbers, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 63
        need(0 <= bits < 64, "no digit: %r" % character)
        value |= (bits & 31) << shift
        shift += 5
        if bits < 32:
            numbers.append(-(value >> 1) - 1 if value & 1 else value >> 1)
            value, shift = 0, 0
    need(shift == 0 and len(numbers) % 2 == 0, "the polyline ends within a number")
    latitude = longitude = 0
    places = []
    for north, east in zip(numbers[::2], numbers[1::2]):
        latitude += north
        longitude += east
        places.append((longitude / 10 ** digits, latitude / 10 ** digits))
    return places


def need_places(found, wanted, most, what):
    need(len(found) == len(wanted), "%s has %d vertices of %d" % (what, len(found), len(wanted)))
    for a, b in zip(found, wanted):
        need(abs(a[0] - b[0]) <= most and abs(a[1] - b[1]) <= most, "%s is at %r and not at %r" % (what, a, b))


def check_trip(text):
    trip = parse(text)
    # longitude, latitude and seconds of the points that have a place
    points = trip["points"] or []
    line = check_geojson(json.dumps(trip["line"]))
    need_places(flattened(line["geometry"]), points, 5.1e-8, "GeoJSON")
    for values in line["properties"]["coordinateProperties"].values():
        need(same_shape(line["geometry"], values), "not one value for each position")
    many = check_geojson(json.dumps(trip["points_geojson"]))
    need_places([feature["geometry"]["coordinates"] for feature in many["features"]], points, 5.1e-8, "the collection of points")
    check_geojson(json.dumps(trip["events"]))

    vertices = read_ewkb(trip["ewkb"])
    need_places(vertices[:len(points)], points, 0, "EWKB")
    need(len(vertices) == (2 if len(points) == 1 else len(points)), "EWKB has %d vertices of %d" % (len(vertices), len(points)))
    for before, after in zip(vertices, vertices[1:]):
        need(before[2] < after[2], "measures do not grow: %r %r" % (before, after))
    latest = -math.inf
    for vertex, point in zip(vertices, points):
        if point[2] is not None and point[2] > latest:
            need(abs(vertex[2] - point[2]) < 1e-6, "%r has a time of its own: %r" % (vertex, point[2]))
            latest = point[2]

    for digits in (5, 6):
        need_places(read_polyline(trip["polyline_%d" % digits], digits), points, 0.50001 / 10 ** digits, "the polyline")


def fields(data):
    """(number, value) of the fields of a message of Protocol Buffers."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    found = []
    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            value = data[at:at + size]
            at += size
        found.append((key >> 3, value))
    need(at == len(data), "the tile ends within a field")
    return found


def packed(data):
    numbers, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    return numbers


def tile_places(commands):
    """The positions of a geometry, in units of the tile."""
    x = y = at = 0
    places = []
    while at < len(commands):
        command, count = commands[at] & 7, commands[at] >> 3
        at += 1
        for _ in range(count if command in (1, 2) else 0):
            x += (commands[at] >> 1) ^ -(commands[at] & 1)
            y += (commands[at + 1] >> 1) ^ -(commands[at + 1] & 1)
            at += 2
            places.append((x, y))
    return places


def read_tile(text):
    layers = []
    for number, layer in fields(bytes.fromhex(text)):
        need(number == 3, "a field %d in a tile" % number)
        parts = fields(layer)
        name = [value.decode() for number, value in parts if number == 1][0]
        keys = [value.decode() for number, value in parts if number == 3]
        features = [fields(value) for number, value in parts if number == 2]
        need([value for number, value in parts if number == 15] == [2], "not version 2")
        need([value for number, value in parts if number == 5] == [4096], "not 4,096 units")
        for feature in features:
            for number, value in feature:
                if number == 4:
                    places = tile_places(packed(value))
                    need(places and all(-64 <= c <= 4096 + 64 for place in places for c in place), "out of the tile: %r" % places)
        tags = packed(dict(features[0])[2])[::2] if features else []
        layers.append("%s %d %s" % (name, len(features), ",".join(sorted(keys[tag] for tag in tags))))
    print("; ".join(layers) or "nothing")


FAULTY = [
    '[]', '{}', '{"type": "Circle"}', '{"type": "Point"}', '{"type": "point", "coordinates": [1, 2]}',
    '{"type": "Point", "coordinates": [1, 2]', '{"type": "Point", "type": "Point", "coordinates": [1, 2]}',
    '{"type": "Point", "coordinates": [1, NaN]}', '{"type": "Point", "coordinates": [1, "2"]}', '{"type": "Point", "coordinates": [1]}',
    '{"type": "Point", "coordinates": [1, true]}', '{"type": "Point", "coordinates": [1, null]}', '{"type": "Point", "coordinates": []}',
    '{"type": "Point", "coordinates": [181, 2]}', '{"type": "Point", "coordinates": [52, 97]}', '{"type": "Point", "coordinates": [[1, 2]]}',
    '{"type": "Point", "coordinates": [1, 2], "properties": {}}', '{"type": "Point", "coordinates": [1, 2], "crs": null}',
    '{"type": "LineString", "coordinates": [[1, 2]]}', '{"type": "LineString", "coordinates": [1, 2]}',
    '{"type": "LineString", "coordinates": [[179, 0], [-179, 0]]}', '{"type": "MultiLineString", "coordinates": [[[1, 2], [1, 3]], [[1, 2]]]}',
    '{"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [1, 0]]]}', '{"type": "Feature", "properties": {}}',
    '{"type": "Feature", "geometry": null}', '{"type": "Feature", "geometry": {"type": "Feature"}, "properties": null}',
    '{"type": "Feature", "geometry": null, "properties": []}', '{"type": "Feature", "geometry": null, "properties": null, "id": null}',
    '{"type": "Feature", "geometry": null, "properties": null, "features": []}', '{"type": "FeatureCollection"}',
    '{"type": "FeatureCollection", "features": null}', '{"type": "FeatureCollection", "features": [null]}',
    '{"type": "FeatureCollection", "features": [], "properties": {}}',
    '{"type": "FeatureCollection", "features": [{"type": "Point", "coordinates": [1, 2]}]}',
    '{"type": "FeatureCollection", "features": [], "bbox": [1, 2, 3]}', '{"type": "FeatureCollection", "features": [], "bbox": [1, 3, 3, 2]}',
]
RIGHT = [
    '{"type": "Feature", "geometry": null, "properties": null, "id": 7}', '{"type": "FeatureCollection", "features": [], "number": 1}',
    '{"type": "Point", "coordinates": [-180, 90, 12.5]}', '{"type": "MultiLineString", "coordinates": [[[179, 0], [180, 0]], [[-180, 0], [-179, 0]]]}',
]


def self_test():
    for text in FAULTY:
        try:
            check_geojson(text)
            print("no fault is found in", text)
        except Fault:
            pass
    for text in RIGHT:
        check_geojson(text)
    if read_polyline("_p~iF~ps|U_ulLnnqC_mqNvxq`@", 5) != [(-120.2, 38.5), (-120.95, 40.7), (-126.453, 43.252)]:
        print("the example of the format is read as something else")


def main():
    if sys.argv[1] == "self-test":
        return self_test()
    check = {"geojson": check_geojson, "trips": check_trip, "tile": read_tile}[sys.argv[1]]
    number = 0
    for number, line in enumerate(sys.stdin, 1):
        try:
            check(line)
        except Fault as fault:
            print("line %d: %s" % (number, fault))
    print(number, "read")
    return None


main()
