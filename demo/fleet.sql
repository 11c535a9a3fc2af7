-- Puts a fleet that test/cloud/fleet.py has written into the tables, without a
-- queue: the files of the directory :dir, in an order that gives the same ids
-- each time.
SELECT count(*) AS notifications FROM damoov_ingest((
    SELECT jsonb_agg(line::jsonb ORDER BY n)
    FROM regexp_split_to_table(trim(pg_read_file(:'dir' || '/notifications.ndjson'), E'\n'), E'\n') WITH ORDINALITY AS l (line, n)));
SELECT count(damoov.store_dataset(f.kind, f.id, pg_read_file(f.path))) AS datasets
FROM (
    SELECT substring(name, '^[a-z_]+') AS kind, substring(name, '[-](.*)[.]json$')::uuid AS id, :'dir' || '/datasets/' || name AS path
    FROM pg_ls_dir(:'dir' || '/datasets') AS name
    -- the remains of a removed track are a document of which nothing is stored
    WHERE name !~ '^removed'
    ORDER BY name COLLATE "C"
    OFFSET 0
) AS f;
