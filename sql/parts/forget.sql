-- ---------------------------------------------------------------------
-- Forgetting a person
-- ---------------------------------------------------------------------

-- The one search for a token in a text: what is kept must not name who was
-- forgotten, in no spelling and wherever it stands.
CREATE FUNCTION damoov.spelled_uuids(body bytea) RETURNS SETOF uuid
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damoov_spelled_uuids';
COMMENT ON FUNCTION damoov.spelled_uuids(bytea) IS 'every UUID that could be read in these bytes, from whatever digit on: with hyphens or without, in both cases, in two-byte characters, escaped as in JSON (\u0030) or in URLs (%30), also both';

CREATE FUNCTION damoov.names_forgotten(body bytea) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM damoov.forgotten) AND EXISTS (
        SELECT
        FROM damoov.spelled_uuids(body) AS s (id)
        JOIN damoov.forgotten AS f ON f.token_digest = damoov.token_digest(s.id));
END
$$;
COMMENT ON FUNCTION damoov.names_forgotten(bytea) IS 'whether these bytes contain the device token of a forgotten person, in any spelling';

-- Looked up in the catalog, so that a new table cannot be left out
CREATE VIEW damoov.person_tables WITH (security_invoker) AS
WITH relation AS (
    SELECT c.oid, c.relname::text AS table_name, EXISTS (
        SELECT
        FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attname = 'user_id' AND NOT a.attisdropped) AS has_user_id
    FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = 'damoov'::pg_catalog.regnamespace
        AND c.relkind IN ('r', 'p') AND NOT c.relispartition
)
SELECT
    r.table_name,
    NULL::text AS part_of,
    NULL::text AS key,
    -- foreign keys to it, and what it takes along by triggers (8: on DELETE)
    (SELECT count(*) FROM pg_catalog.pg_constraint AS f WHERE f.contype = 'f' AND f.confrelid = r.oid)
        + (SELECT count(*) FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = r.oid AND NOT g.tgisinternal AND g.tgtype & 8 <> 0)
        AS dependents
FROM relation AS r
WHERE r.has_user_id
UNION ALL
SELECT r.table_name, w.table_name, a.attname, 0
FROM relation AS w
JOIN pg_catalog.pg_constraint AS k ON k.conrelid = w.oid AND k.contype = 'p' AND cardinality(k.conkey) = 1
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = w.oid AND a.attnum = k.conkey[1] AND a.attname <> 'user_id'
JOIN relation AS r ON NOT r.has_user_id
JOIN pg_catalog.pg_attribute AS o ON o.attrelid = r.oid AND o.attname = a.attname AND NOT o.attisdropped
WHERE w.has_user_id;
COMMENT ON VIEW damoov.person_tables IS 'every table of schema damoov that holds rows of a person: by a column user_id, or as part of a table that has one, by that one''s primary key';
COMMENT ON COLUMN damoov.person_tables.table_name IS 'table';
COMMENT ON COLUMN damoov.person_tables.part_of IS 'table that has user_id, where this one has none';
COMMENT ON COLUMN damoov.person_tables.key IS 'primary key of that table, by which the rows are found';
COMMENT ON COLUMN damoov.person_tables.dependents IS 'foreign keys to it, and triggers on DELETE';

CREATE FUNCTION damoov.erase_person(device_token uuid)
    RETURNS TABLE (table_name text, row_count bigint)
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    person bigint;
    relation record;
    owners bigint[];
BEGIN
    PERFORM damoov.lock_people(true);
    INSERT INTO damoov.forgotten (token_digest)
    VALUES (damoov.token_digest(erase_person.device_token))
    ON CONFLICT DO NOTHING;
    SELECT u.user_id INTO person FROM damoov.users AS u WHERE u.device_token = erase_person.device_token;

    DELETE FROM damoov.quarantine AS q
    WHERE erase_person.device_token IN (SELECT damoov.spelled_uuids(q.body))
        OR q.object_id IN (
            SELECT e.object_id FROM damoov.events AS e WHERE e.user_id = person
            UNION ALL
            SELECT d.object_id FROM damoov.downloads AS d WHERE d.user_id = person);
    GET DIAGNOSTICS row_count = ROW_COUNT;
    table_name := 'quarantine';
    IF row_count > 0 THEN
        RETURN NEXT;
    END IF;

    -- keys of a bucket may name a person that no column does
    DELETE FROM damoov.events AS e
    WHERE e.outcome = 'control'
        AND erase_person.device_token IN (SELECT damoov.spelled_uuids(convert_to(e.payload::text, 'UTF8')));
    GET DIAGNOSTICS row_count = ROW_COUNT;
    table_name := 'events';
    IF row_count > 0 THEN
        RETURN NEXT;
    END IF;
    DELETE FROM damoov.downloads AS d
    WHERE d.kind = 'object'
        AND erase_person.device_token IN (SELECT damoov.spelled_uuids(convert_to(d.url, 'UTF8')));
    GET DIAGNOSTICS row_count = ROW_COUNT;
    table_name := 'downloads';
    IF row_count > 0 THEN
        RETURN NEXT;
    END IF;

    -- parts before what they belong to, and what others depend on last
    FOR relation IN
        SELECT t.table_name, t.part_of, t.key
        FROM damoov.person_tables AS t
        WHERE person IS NOT NULL
        ORDER BY t.part_of IS NULL, t.dependents, t.table_name COLLATE "C"
    LOOP
        IF relation.part_of IS NULL THEN
            EXECUTE format('DELETE FROM damoov.%I WHERE user_id = $1', relation.table_name) USING person;
        ELSE
            EXECUTE format('SELECT array_agg(w.%I) FROM damoov.%I AS w WHERE w.user_id = $1', relation.key, relation.part_of)
            INTO owners USING person;
            CONTINUE WHEN owners IS NULL;
            EXECUTE format('DELETE FROM damoov.%I AS p WHERE p.%I = ANY ($1)', relation.table_name, relation.key) USING owners;
        END IF;
        GET DIAGNOSTICS row_count = ROW_COUNT;
        table_name := relation.table_name;
        IF row_count > 0 THEN
            RETURN NEXT;
        END IF;
        -- whose they were, no key is to tell
        IF row_count > 0 AND table_name = 'trips' THEN
            PERFORM damoov.notify_count('damoov_trip', 'erased', row_count);
        ELSIF row_count > 0 AND table_name = 'crashes' THEN
            PERFORM damoov.notify_count('damoov_crash', 'erased', row_count);
        ELSIF row_count > 0 AND table_name = 'users' THEN
            PERFORM damoov.alert('erased', row_count);
        END IF;
    END LOOP;
    PERFORM damoov.leave_person(person);
END
$$;
COMMENT ON FUNCTION damoov.erase_person(uuid) IS 'does the work of damoov_forget()';

CREATE FUNCTION damoov_forget(device_token text)
    RETURNS TABLE (table_name text, row_count bigint)
    LANGUAGE C VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'damoov_forget';
COMMENT ON FUNCTION damoov_forget(text) IS 'erases a person from every table, quarantined bodies that name them included, and drops what still arrives about them; returns what was erased; errors: 22023 bad token';

CREATE FUNCTION damoov_forget(device_token uuid)
    RETURNS TABLE (table_name text, row_count bigint)
    LANGUAGE C VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'damoov_forget_uuid';
COMMENT ON FUNCTION damoov_forget(uuid) IS 'the same for a token of the type uuid';
