-- +goose Up

-- What tells one cause of refusals from another, beside the object and the code: the field, or Salesforce's sentence without
-- what is the record's own in it (ids, numbers, the value at fault).
-- +goose StatementBegin
CREATE FUNCTION mirror.cause_of(direction text, code text, field text, message text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN direction = 'in' THEN coalesce(field, '')
        -- These name the record, or what depends on it, in words of their own.
        WHEN code IN ('DELETE_FAILED', 'DEPENDENCY_EXISTS', 'UNKNOWN_EXCEPTION', 'DUPLICATES_DETECTED') THEN coalesce(field, '')
        -- These begin with the field and end with the value: "Status: bad value for restricted picklist field: Foo".
        WHEN code IN ('INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST', 'STRING_TOO_LONG', 'INVALID_EMAIL_ADDRESS', 'NUMBER_OUTSIDE_VALID_RANGE')
            THEN left(split_part(message, ':', 1), 200)
        ELSE coalesce(field, '') || ' ' || left(regexp_replace(regexp_replace(split_part(message, E'\n', 1),
            '\m(?=[A-Za-z]*[0-9])[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?\M', '…', 'g'), '[0-9]+', '#', 'g'), 300)
    END
$$;
-- +goose StatementEnd

CREATE VIEW mirror.refused_by_cause AS
    SELECT id, object, row_id, sfid, direction, field, column_name, code, message, value, details, seen, first_seen_at, last_seen_at,
        md5(object || ' ' || direction || ' ' || code || ' ' || mirror.cause_of(direction, code, field, message)) AS cause
    FROM mirror.refused;

-- Each refusal of a record, also those that are over: a part of the record's story.
CREATE VIEW mirror.refused_ever AS
    SELECT id, object, row_id, sfid, direction, field, code, message, details, run_id, seen, first_seen_at, last_seen_at, resolved_at FROM mirror.refusals;
CREATE INDEX refusals_row ON mirror.refusals (object, row_id) WHERE row_id IS NOT NULL;
CREATE INDEX refusals_sfid ON mirror.refusals (object, sfid) WHERE sfid IS NOT NULL;
CREATE INDEX conflicts_sfid ON mirror.conflicts (object, sfid);
CREATE INDEX lineage_to ON mirror.lineage (to_object, to_sfid);

-- The mirrored objects and their fields as the last describe told them, for whoever shows or edits a record.
CREATE VIEW mirror.described AS SELECT object, table_name, direction, describe, described_at FROM mirror.objects;
CREATE VIEW mirror.described_fields AS
    SELECT f.object, f.field, f.column_name, f.column_type, f.field_type, f.gone_at IS NOT NULL AS gone, coalesce(d.described, '{}') AS described, coalesce(d.position, 100000) AS position
    FROM mirror.fields f
    LEFT JOIN (SELECT o.object, e.described, e.position FROM mirror.objects o, jsonb_array_elements(CASE jsonb_typeof(o.describe -> 'fields') WHEN 'array' THEN o.describe -> 'fields' ELSE '[]' END) WITH ORDINALITY e(described, position)) d
        ON d.object = f.object AND d.described ->> 'name' = f.field;

-- What came into the outbox and what left it settled, in each of the last 24 hours: how the backlog moves.
CREATE INDEX settled_at ON mirror.settled (settled_at) INCLUDE (object);
CREATE INDEX settled_made_at ON mirror.settled (made_at) INCLUDE (object);
CREATE VIEW mirror.backlog_hours AS
    SELECT object, hour, sum(entered)::bigint AS entered, sum(gone)::bigint AS gone FROM (
        SELECT object, floor(extract(epoch FROM now() - made_at) / 3600)::int AS hour, count(*) AS entered, 0 AS gone
            FROM mirror.outbox WHERE made_at > now() - interval '24 hours' GROUP BY 1, 2
        UNION ALL SELECT object, floor(extract(epoch FROM now() - made_at) / 3600)::int, count(*), 0
            FROM mirror.settled WHERE made_at > now() - interval '24 hours' GROUP BY 1, 2
        UNION ALL SELECT object, floor(extract(epoch FROM now() - settled_at) / 3600)::int, 0, count(*)
            FROM mirror.settled WHERE settled_at > now() - interval '24 hours' GROUP BY 1, 2) e
    GROUP BY object, hour;

-- +goose Down
SELECT 1;
