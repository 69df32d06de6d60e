-- +goose Up

ALTER TABLE mirror.fields
    ADD COLUMN about       jsonb NOT NULL DEFAULT '{}',         -- what describe said of it last
    ADD COLUMN left_out_at timestamptz,                         -- the admin left it out; its data stay
    ADD COLUMN wanted_at   timestamptz NOT NULL DEFAULT now(),  -- since when its values are wanted of all records
    ADD COLUMN filled_at   timestamptz DEFAULT now();           -- when all records had them; null: still to be filled
ALTER TABLE mirror.fields ALTER COLUMN filled_at DROP DEFAULT;
UPDATE mirror.fields SET wanted_at = added_at;
CREATE INDEX fields_to_fill ON mirror.fields (object) WHERE filled_at IS NULL AND gone_at IS NULL AND left_out_at IS NULL;

-- What a describe changed that a person should hear of. It commits with the change and leaves once it was told.
CREATE TABLE mirror.news (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object text NOT NULL,
    kind   text NOT NULL,
    params jsonb NOT NULL DEFAULT '{}'
);

-- Records that no longer meet their object's filter: no longer read, never deleted for it.
CREATE TABLE mirror.out_of_scope (
    object text NOT NULL,
    sfid   text COLLATE "C" NOT NULL,
    since  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (object, sfid)
);
-- Which records a read by a filter may have lost: those of them that its pages do not bring no longer meet the filter.
ALTER TABLE mirror.loads ADD COLUMN scoped boolean NOT NULL DEFAULT false;
CREATE TABLE mirror.load_scope (
    load_id bigint NOT NULL, -- of a read that is no load: its run, negative
    sfid    text COLLATE "C" NOT NULL,
    PRIMARY KEY (load_id, sfid)
);

-- Refuses an edit of a record that stopped syncing.
-- +goose StatementBegin
CREATE FUNCTION mirror.refuse_out_of_scope(table_name text, label text, record text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'salesforce.%: the % % no longer meets the record filter of its object, so it does not sync and cannot be changed here', table_name, label, record
        USING ERRCODE = 'insufficient_privilege', HINT = 'Change it in Salesforce, or let an admin widen the filter.';
END $$;
-- +goose StatementEnd

-- What the pages tell of each field: also of one that was left out before it ever had a column.
CREATE VIEW mirror.field_status AS
    SELECT object, field, column_name, field_type, about, added_at, gone_at, left_out_at, filled_at FROM mirror.fields
    UNION ALL
    SELECT o.object, l.about->>'name', '', l.about->>'type', l.about, o.described_at, NULL, o.described_at, NULL
    FROM mirror.objects o, jsonb_array_elements(CASE jsonb_typeof(o.describe->'leftOut') WHEN 'array' THEN o.describe->'leftOut' ELSE '[]' END) AS l (about)
    WHERE NOT EXISTS (SELECT FROM mirror.fields f WHERE f.object = o.object AND f.field = l.about->>'name');
CREATE VIEW mirror.scope_status AS
    SELECT object, count(*) AS records, min(since) AS since FROM mirror.out_of_scope GROUP BY object;

-- +goose Down
SELECT 1;
