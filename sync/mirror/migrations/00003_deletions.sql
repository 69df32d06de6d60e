-- +goose Up

-- What the admin chose for an object, as far as whoever writes its records must know it, whatever brought them.
ALTER TABLE mirror.objects
    ADD COLUMN remove_deleted boolean NOT NULL DEFAULT false, -- the row of a deleted record goes, instead of being marked
    ADD COLUMN brake_percent  integer NOT NULL DEFAULT 10;    -- more deletions at once than this share of the live records wait for a person

-- Deletions on their way: found, and not yet carried out here. One that is carried out leaves.
CREATE TABLE mirror.deletions (
    object   text NOT NULL,
    sfid     text COLLATE "C" NOT NULL,
    state    text NOT NULL CHECK (state IN (
        'new',       -- proven; carried out with the end of the read that found it, unless the brake stops it
        'candidate', -- here and not among the ids that the org has; to be proven
        'proven',    -- by asking for it by its id; settled once the sweep's others are proven too
        'held',      -- proven, and waits for a person's yes
        'declined')),-- proven, and a person said no: left alone until more join it, or a resync
    source   text NOT NULL CHECK (source IN ('record', 'list', 'sweep')), -- the record itself says so, the org's list of deletions, a sweep of ids
    at       timestamptz, -- when the org deleted it, as far as it says
    load_id  bigint,      -- of the bulk read that found it
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (object, sfid)
);
CREATE INDEX deletions_state ON mirror.deletions (object, state);

-- Which of the org's replication calls an object refuses, so that it is not asked in vain in every cycle, and when its ids were
-- compared last.
ALTER TABLE mirror.watermarks
    ADD COLUMN covered_refused_at timestamptz,
    ADD COLUMN deleted_refused_at timestamptz,
    ADD COLUMN deleted_floor      timestamptz, -- the list of deletions holds nothing from before; what was lost is found by a sweep
    ADD COLUMN swept_at           timestamptz, -- when all ids were compared last; from the first read on
    ADD COLUMN sweep_wanted_at    timestamptz; -- since when a sweep is wanted; null: none is
UPDATE mirror.watermarks SET swept_at = now() WHERE watermark IS NOT NULL;

-- A sweep under way: the cursor that commits with the ids. The ids are in a table of its own, which goes with it.
CREATE TABLE mirror.sweeps (
    run_id     bigint PRIMARY KEY,
    object     text NOT NULL,
    state      text NOT NULL DEFAULT 'reading' CHECK (state IN ('reading', 'comparing', 'proving', 'settling')),
    job_id     text NOT NULL DEFAULT '', -- of the bulk read; empty: read by REST
    expected   bigint NOT NULL DEFAULT 0,
    locator    text NOT NULL DEFAULT '',
    page       integer NOT NULL DEFAULT 0,
    read       bigint NOT NULL DEFAULT 0,
    up_to      bigint NOT NULL,          -- rows made here later are none of its business
    org_time   timestamptz NOT NULL,     -- the org's from before the read
    started_at timestamptz NOT NULL DEFAULT now()
);

-- The direct survivor, beside the last one of the chain in to_sfid.
ALTER TABLE mirror.lineage ADD COLUMN via text COLLATE "C";

-- +goose Down
SELECT 1;
