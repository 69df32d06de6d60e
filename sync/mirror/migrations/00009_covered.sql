-- +goose Up

-- What the org said of its open transactions before the job was made. It counts once the load's records are in.
ALTER TABLE mirror.loads
    ADD COLUMN covered_through  timestamptz,
    ADD COLUMN covered_asked_at timestamptz;
CREATE INDEX loads_run ON mirror.loads (run_id);
CREATE INDEX loads_ended ON mirror.loads (ended_at);

-- +goose Down
SELECT 1;
