-- ---------------------------------------------------------------------
-- What listeners are told
-- ---------------------------------------------------------------------

-- Few enough ids for the channel's 8000 bytes
CREATE FUNCTION damoov.notify(channel text, kind text, ids bigint[]) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_notify(channel, json_build_object('kind', kind, 'count', cardinality(ids), 'ids', ids[1:300])::text);
END;
COMMENT ON FUNCTION damoov.notify(text, text, bigint[]) IS 'tells listeners: kind, count and surrogate ids';

CREATE FUNCTION damoov.notify_count(channel text, kind text, count bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_notify(channel, json_build_object('kind', kind, 'count', count)::text);
END;
COMMENT ON FUNCTION damoov.notify_count(text, text, bigint) IS 'tells listeners: kind and count';

CREATE FUNCTION damoov.alert(kind text, count bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT damoov.notify_count('damoov_alert', kind, count);
END;
COMMENT ON FUNCTION damoov.alert(text, bigint) IS 'tells listeners of trouble: kind and count';

CREATE FUNCTION damoov.alert_quarantine() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM damoov.alert('quarantine', count(*))
    FROM arrived
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION damoov.alert_quarantine() IS 'trigger: tells listeners of new rows in the quarantine';

CREATE TRIGGER quarantine_alert
    AFTER INSERT ON damoov.quarantine
    REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT
    EXECUTE FUNCTION damoov.alert_quarantine();
COMMENT ON TRIGGER quarantine_alert ON damoov.quarantine IS 'NOTIFY damoov_alert; a repeated delivery is no new row';
