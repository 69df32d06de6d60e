-- +goose Up

-- What capture costs an edit is mostly what writing its row of the outbox costs, and of that each index takes its part. Two remain beside
-- the key: by row, and one for the few that are no updates of a record. What belongs to a claim, the claim says itself.
ALTER TABLE mirror.claims ADD COLUMN seqs bigint[] NOT NULL DEFAULT '{}';
UPDATE mirror.claims c SET seqs = ARRAY(SELECT o.seq FROM mirror.outbox o WHERE o.claim = c.id);
DROP INDEX mirror.outbox_new, mirror.outbox_refused, mirror.outbox_deleted, mirror.outbox_claim;
CREATE INDEX outbox_rare ON mirror.outbox (object, sfid, seq) WHERE operation <> 'update' OR sfid IS NULL;

-- The trigger function of each two-way table, in both forms: most objects have no record that left its filter, and their edits need not look for one.
ALTER TABLE mirror.objects
    ADD COLUMN capture_mark     text    NOT NULL DEFAULT '',   -- a digest of what the trigger was made from
    ADD COLUMN capture_watching text    NOT NULL DEFAULT '',   -- the SQL of the form that looks
    ADD COLUMN capture_watches  boolean NOT NULL DEFAULT true; -- it has that form now; triggers of earlier versions always look

-- From the transaction on that marks an object's first record, its edits are looked at. The object's row keeps this apart from a describe
-- that makes the trigger anew at the same time.
-- +goose StatementBegin
CREATE FUNCTION mirror.watch_scope() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o record;
BEGIN
    FOR o IN UPDATE mirror.objects SET capture_watches = true
        WHERE object IN (SELECT object FROM marked) AND NOT capture_watches AND capture_watching <> '' RETURNING capture_watching
    LOOP
        EXECUTE o.capture_watching;
    END LOOP;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER watch_scope AFTER INSERT ON mirror.out_of_scope REFERENCING NEW TABLE AS marked FOR EACH STATEMENT EXECUTE FUNCTION mirror.watch_scope();
REVOKE ALL ON FUNCTION mirror.watch_scope() FROM PUBLIC;

-- +goose Down
SELECT 1;
