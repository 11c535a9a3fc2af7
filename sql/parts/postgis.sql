-- ---------------------------------------------------------------------
-- With PostGIS, where it is there: views with its types, and vector tiles
-- ---------------------------------------------------------------------

-- What names its types and functions is a text until then.  What is made of it
-- is no member of the extension, or this could not be restored without PostGIS.
CREATE FUNCTION damoov.gis_schema() RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    schema text;
BEGIN
    SELECT quote_ident(n.nspname) INTO schema FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'postgis';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this requires the extension "postgis"'
            USING ERRCODE = 'feature_not_supported', HINT = 'CREATE EXTENSION postgis; what needs no PostGIS is damoov_trip_geojson() and the like.';
    END IF;
    RETURN schema;
END
$$;
COMMENT ON FUNCTION damoov.gis_schema() IS 'the schema of PostGIS, as SQL names it; errors: 0A000 there is no PostGIS';

-- gis. stands for the schema of PostGIS.  An index serves a condition on the column
-- of a view that has the same expression.
CREATE FUNCTION damoov.gis_objects() RETURNS TABLE (kind text, name text, statement text)
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH expression (name, text) AS (VALUES
        ('bounds', 'gis.ST_MakeEnvelope(t.min_longitude, t.min_latitude, t.max_longitude, t.max_latitude, 4326)::gis.geometry(Polygon, 4326)'),
        ('event', 'gis.ST_SetSRID(gis.ST_MakePoint(e.longitude, e.latitude), 4326)::gis.geometry(Point, 4326)'),
        ('crash start', 'gis.ST_SetSRID(gis.ST_MakePoint(c.start_longitude, c.start_latitude), 4326)::gis.geometry(Point, 4326)'),
        ('crash end', 'gis.ST_SetSRID(gis.ST_MakePoint(c.end_longitude, c.end_latitude), 4326)::gis.geometry(Point, 4326)')
    ), object (kind, name, text) AS (VALUES
        ('INDEX', 'trips_gis_idx', 'ON damoov.trips USING gist ((<bounds>))'),
        ('INDEX', 'crashes_gis_idx', 'ON damoov.crashes USING gist ((<crash start>))'),
        ('INDEX', 'crashes_gis_geography_idx', 'ON damoov.crashes USING gist ((<crash start>::gis.geography(Point, 4326)))'),
        -- OFFSET 0: the line is made once for a row, and not for one that needs none
        ('VIEW', 'trips', 'WITH (security_invoker) AS SELECT t.trip_id, t.user_id, t.started_at, t.ended_at, t.distance_km, t.duration_min, t.origin, t.score,'
            ' <bounds> AS bounds, l.line, l.line::gis.geography(LineStringM, 4326) AS line_geography,'
            ' gis.ST_Force2D(gis.ST_StartPoint(l.line))::gis.geometry(Point, 4326) AS start_point,'
            ' gis.ST_Force2D(gis.ST_StartPoint(l.line))::gis.geography(Point, 4326) AS start_geography,'
            ' gis.ST_Force2D(gis.ST_EndPoint(l.line))::gis.geometry(Point, 4326) AS end_point,'
            ' gis.ST_Force2D(gis.ST_EndPoint(l.line))::gis.geography(Point, 4326) AS end_geography'
            ' FROM damoov.trips AS t'
            ' CROSS JOIN LATERAL (SELECT gis.ST_GeomFromEWKB(@extschema@.damoov_trip_wkb(t.trip_id))::gis.geometry(LineStringM, 4326) AS line OFFSET 0) AS l'),
        ('VIEW', 'trip_events', 'WITH (security_invoker) AS SELECT e.trip_id, e.seq, t.user_id, e.kind, e.started_at, e.ended_at, e.length_m, e.peak_ms2,'
            ' e.max_speed_kmh, e.max_excess_kmh, <bounds> AS trip_bounds, <event> AS place, <event>::gis.geography(Point, 4326) AS place_geography'
            ' FROM damoov.trips AS t JOIN damoov.trip_events AS e USING (trip_id)'),
        ('VIEW', 'crashes', 'WITH (security_invoker) AS SELECT c.crash_id, c.user_id, c.started_at, c.filtered_at, c.passed_filters, <crash start> AS start_point,'
            ' <crash start>::gis.geography(Point, 4326) AS start_geography, <crash end> AS end_point, <crash end>::gis.geography(Point, 4326) AS end_geography'
            ' FROM damoov.crashes AS c'),
        ('VIEW', 'places', 'WITH (security_invoker) AS SELECT p.place_id, p.name, coalesce(gis.ST_SetSRID(gis.ST_GeomFromGeoJSON(p.area::text), 4326),'
            ' gis.ST_Buffer(gis.ST_SetSRID(gis.ST_MakePoint(p.longitude, p.latitude), 4326)::gis.geography, p.radius_m)::gis.geometry)'
            '::gis.geometry(Geometry, 4326) AS shape FROM damoov.places AS p')
    )
    SELECT o.kind, o.name, regexp_replace(
        CASE o.kind WHEN 'INDEX' THEN 'CREATE INDEX IF NOT EXISTS ' || o.name ELSE 'CREATE OR REPLACE VIEW damoov_gis.' || o.name END || ' '
            || CASE o.kind WHEN 'INDEX' THEN regexp_replace(x.text, E'\\m[tc]\\.', '', 'g') ELSE x.text END,
        E'\\mgis\\.', damoov.gis_schema() || '.', 'g')
    FROM object AS o
    CROSS JOIN LATERAL (
        SELECT replace(replace(replace(replace(o.text, '<bounds>', b.text), '<event>', e.text), '<crash start>', s.text), '<crash end>', d.text) AS text
        FROM expression AS b, expression AS e, expression AS s, expression AS d
        WHERE b.name = 'bounds' AND e.name = 'event' AND s.name = 'crash start' AND d.name = 'crash end'
    ) AS x
$$;
COMMENT ON FUNCTION damoov.gis_objects() IS 'indexes and views that damoov_enable_postgis() makes, with the statement for each; errors: 0A000 there is no PostGIS';

CREATE FUNCTION damoov_enable_postgis() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    item record;
BEGIN
    PERFORM damoov.gis_schema();
    -- who owns a schema can put there what readers would take for ours
    IF EXISTS (
        SELECT FROM pg_namespace AS n, pg_class AS c
        WHERE n.nspname = 'damoov_gis' AND c.oid = 'damoov.trips'::regclass AND NOT pg_has_role(n.nspowner, c.relowner, 'USAGE'))
    THEN
        RAISE EXCEPTION 'schema "damoov_gis" exists and belongs to another role' USING ERRCODE = 'duplicate_schema', HINT = 'Rename it, or drop it.';
    END IF;
    CREATE SCHEMA IF NOT EXISTS damoov_gis;
    COMMENT ON SCHEMA damoov_gis IS 'trips, trip events and crashes with the types of PostGIS, made by damoov_enable_postgis()';
    FOR item IN SELECT * FROM damoov.gis_objects() LOOP
        EXECUTE item.statement;
        EXECUTE format('COMMENT ON %s %s.%I IS %L', item.kind, CASE item.kind WHEN 'INDEX' THEN 'damoov' ELSE 'damoov_gis' END, item.name, 'made by damoov_enable_postgis()');
    END LOOP;
    FOR item IN
        SELECT c.relname, a.attname, coalesce(m.text, col_description(t.oid, o.attnum)) AS text
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
        -- the comments of the tables hold for what the views take from them
        LEFT JOIN pg_class AS t ON t.relnamespace = 'damoov'::regnamespace AND t.relname = c.relname
        LEFT JOIN pg_attribute AS o ON o.attrelid = t.oid AND o.attname = a.attname
        LEFT JOIN (VALUES
            ('bounds', 'bounding box of the trip; a condition on it finds trips by an index'),
            ('trip_bounds', 'bounding box of the trip; a condition on it finds trips by an index'),
            ('line', 'the line of the trip as damoov_trip_wkb() gives it; M is seconds since 1970'),
            ('line_geography', 'the line, measured in metres'),
            ('place', 'where it began'),
            ('place_geography', 'where it began, measured in metres'),
            ('start_point', 'where it began'),
            ('start_geography', 'where it began, measured in metres'),
            ('end_point', 'where it ended'),
            ('end_geography', 'where it ended, measured in metres'),
            ('shape', 'the area, or a polygon of 32 vertices for a circle'),
            ('user_id', 'person')
        ) AS m (name, text) ON m.name = a.attname
        WHERE c.relnamespace = 'damoov_gis'::regnamespace AND c.relname IN ('trips', 'trip_events', 'crashes', 'places')
    LOOP
        EXECUTE format('COMMENT ON COLUMN damoov_gis.%I.%I IS %L', item.relname, item.attname, item.text);
    END LOOP;
    -- a view shows what its reader may read of the table behind it
    FOR item IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE c.oid = 'damoov.trips'::regclass AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA damoov_gis TO %s', item.role);
        EXECUTE format('GRANT SELECT ON damoov_gis.trips, damoov_gis.trip_events, damoov_gis.crashes, damoov_gis.places TO %s', item.role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION damoov_enable_postgis() IS 'makes the views of the schema damoov_gis, which have types of PostGIS, and indexes for them; may be called again, and has to be after a restore and when a further role may read trips; errors: 0A000 there is no PostGIS, 42501 the caller does not own the tables, 42P06 a schema damoov_gis of another role';

CREATE FUNCTION damoov_disable_postgis() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $$
BEGIN
    DROP VIEW IF EXISTS damoov_gis.trips, damoov_gis.trip_events, damoov_gis.crashes, damoov_gis.places;
    DROP INDEX IF EXISTS damoov.trips_gis_idx, damoov.crashes_gis_idx, damoov.crashes_gis_geography_idx;
    DROP SCHEMA IF EXISTS damoov_gis;
END
$$;
COMMENT ON FUNCTION damoov_disable_postgis() IS 'removes what damoov_enable_postgis() has made; errors: 2BP01 other objects depend on it, or are in its schema, 42501 the caller does not own it';

-- Trips are found by the index that is always there, and by a formula for the
-- corners.  The projection of tiles ends at 85 degrees.
CREATE FUNCTION damoov_tile(z integer, x integer, y integer, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS bytea
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most_trips CONSTANT integer := 500;
    buffer CONSTANT double precision := 1.0 / 64;    -- of the width of a tile: 64 of 4,096 units
    events_from CONSTANT integer := 12;
    tiles double precision;
    area box;
    found_ids bigint[];
    tile bytea;
    gis CONSTANT text := damoov.gis_schema() || '.';
BEGIN
    IF (z BETWEEN 0 AND 24 AND x BETWEEN 0 AND (1 << z) - 1 AND y BETWEEN 0 AND (1 << z) - 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'there is no tile %/%/%', z, x, y
            USING ERRCODE = 'invalid_parameter_value', HINT = 'The zoom level is from 0 to 24, and x and y are from 0 to 2 to the power of it, less one.';
    END IF;
    tiles := 1 << z;
    area := box(point(360 * (x - buffer) / tiles - 180, degrees(atan(sinh(pi() * (1 - 2 * (y - buffer) / tiles))))),
        point(360 * (x + 1 + buffer) / tiles - 180, degrees(atan(sinh(pi() * (1 - 2 * (y + 1 + buffer) / tiles))))));
    EXECUTE 'SELECT array_agg(n.trip_id) FROM (SELECT t.trip_id FROM damoov.trips AS t'
        ' WHERE box(point(t.min_longitude, t.min_latitude), point(t.max_longitude, t.max_latitude)) && $1'
        || CASE WHEN since IS NOT NULL THEN ' AND t.started_at >= $2' ELSE '' END
        || CASE WHEN until IS NOT NULL THEN ' AND t.started_at < $3' ELSE '' END
        || format(' ORDER BY t.started_at DESC NULLS LAST, t.trip_id DESC LIMIT %s) AS n', most_trips)
    INTO found_ids USING area, since, until;
    EXECUTE replace($sql$
        SELECT gis.ST_AsMVT(m, 'trips', 4096, 'geom', 'trip_id')
        FROM (
            SELECT t.trip_id, t.user_id, t.started_at, t.distance_km, t.origin, t.score, gis.ST_AsMVTGeom(
                gis.ST_Transform(gis.ST_SetSRID(gis.ST_GeomFromGeoJSON(g.geometry::text), 4326), 3857), gis.ST_TileEnvelope($2, $3, $4), 4096, 64, true) AS geom
            FROM damoov.trips AS t
            CROSS JOIN LATERAL (
                SELECT array_agg(v.longitude ORDER BY v.n) AS longitudes, array_agg(greatest(least(v.latitude, 85.06), -85.06) ORDER BY v.n) AS latitudes
                FROM damoov.thinned_vertices(t.trip_id, CASE WHEN $2 < $5 THEN 100 ELSE 2000 END) AS v
            ) AS l
            CROSS JOIN LATERAL damoov.line_geometry(l.longitudes, l.latitudes, NULL, NULL) AS g
            WHERE t.trip_id = ANY ($1)
        ) AS m
        WHERE m.geom IS NOT NULL$sql$, 'gis.', gis)
    INTO tile USING found_ids, z, x, y, events_from;
    IF z >= events_from THEN
        EXECUTE replace($sql$
            SELECT $1 || gis.ST_AsMVT(m, 'events', 4096, 'geom')
            FROM (
                SELECT e.trip_id, e.seq, e.kind, e.started_at, e.max_speed_kmh, e.max_excess_kmh, gis.ST_AsMVTGeom(
                    gis.ST_Transform(gis.ST_SetSRID(gis.ST_MakePoint(e.longitude, e.latitude), 4326), 3857), gis.ST_TileEnvelope($3, $4, $5), 4096, 64, true) AS geom
                FROM damoov.trip_events AS e
                WHERE e.trip_id = ANY ($2) AND abs(e.latitude) < 85.06 AND e.longitude BETWEEN -180 AND 180
            ) AS m
            WHERE m.geom IS NOT NULL$sql$, 'gis.', gis)
        INTO tile USING tile, found_ids, z, x, y;
    END IF;
    RETURN tile;
END
$$;
COMMENT ON FUNCTION damoov_tile(integer, integer, integer, timestamptz, timestamptz) IS 'a vector tile (MVT) with the layer "trips", of the latest 500 that meet it and began in a time, and from zoom level 12 the layer "events" of these; needs PostGIS; errors: 0A000 there is no PostGIS, 22023 no such tile, XX001 damaged document';
