-- +goose Up

ALTER TABLE admin.objects
    ADD COLUMN hidden_at   timestamptz, -- since when the credentials cannot see it
    ADD COLUMN offered_at  timestamptz, -- since when a custom object is offered
    ADD COLUMN disabled_at timestamptz; -- since when it is switched off, if it was on

-- News that come from elsewhere are told once: origin names them.
ALTER TABLE admin.notices ADD COLUMN origin text UNIQUE;

ALTER TABLE admin.state
    ADD COLUMN describe_all timestamptz,                    -- asked since: the next cycle describes every object, changed or not, for another user may see others
    ADD COLUMN look_asked   boolean NOT NULL DEFAULT false, -- somebody wants the custom objects looked for again
    ADD COLUMN looked_at    timestamptz;                    -- when they were looked for last

CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admin.fields FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();

-- A sign-in by another user of the same org, that waits for a yes. Invariant 7 is kept as for the connection itself.
CREATE TABLE admin.pending_connections (LIKE admin.connections INCLUDING ALL);
ALTER TABLE admin.pending_connections
    ADD COLUMN change jsonb NOT NULL DEFAULT '{}'; -- what that user sees less or more

-- +goose Down
SELECT 1;
