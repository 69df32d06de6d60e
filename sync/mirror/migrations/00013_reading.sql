-- +goose Up

-- The object's record filter as whoever reads by it must know it, and by which filter a load reads: what was begun by another one is
-- not taken for a reading by this.
ALTER TABLE mirror.objects ADD COLUMN row_filter text NOT NULL DEFAULT '';
ALTER TABLE mirror.loads ADD COLUMN row_filter text NOT NULL DEFAULT '';

-- Which fields change without their record's stamp: told by sobject.Field.Derived when a describe is taken in, and by nothing else.
-- What was taken in before has it from the view that said the same once more.
ALTER TABLE mirror.fields ADD COLUMN derived boolean NOT NULL DEFAULT false;
UPDATE mirror.fields f SET derived = true FROM mirror.formulas d WHERE d.object = f.object AND d.field = f.field;
CREATE OR REPLACE VIEW mirror.formulas AS
    SELECT object, field FROM mirror.fields WHERE derived AND gone_at IS NULL AND left_out_at IS NULL;

-- Records that count as deleted because the org no longer gives them, by whatever way they are asked for: it purged them, or hides them
-- from this user by sharing, and no call tells the two apart. One that the org gives again leaves.
CREATE TABLE mirror.vanished (
    object text NOT NULL,
    sfid   text COLLATE "C" NOT NULL,
    since  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (object, sfid)
);
CREATE VIEW mirror.vanished_status AS
    SELECT object, count(*) AS records, max(since) AS latest FROM mirror.vanished GROUP BY object;

-- Ranges of ids that hold more suspects than a check looks at one by one. Mending reads them whole.
CREATE TABLE mirror.check_ranges (
    check_id   bigint NOT NULL REFERENCES mirror.checks (id) ON DELETE CASCADE,
    object     text NOT NULL,
    after_sfid text COLLATE "C" NOT NULL,
    upto_sfid  text COLLATE "C" NOT NULL, -- empty: to the end
    suspects   bigint NOT NULL,           -- of them, those that nobody looked at
    PRIMARY KEY (check_id, after_sfid)
);
CREATE INDEX check_ranges_object ON mirror.check_ranges (object);
CREATE OR REPLACE VIEW mirror.last_checks AS
    SELECT DISTINCT ON (c.object) c.object, c.id, c.run_id, c.ended_at AS checked_at, c.here, c.there, c.ranges, c.ranges_differ, c.suspects, c.refreshed, c.explained, c.moving,
        (SELECT count(DISTINCT d.sfid) FROM mirror.differences d WHERE d.object = c.object AND d.mended_at IS NULL) AS differing,
        (SELECT coalesce(sum(r.suspects), 0)::bigint FROM mirror.check_ranges r WHERE r.check_id = c.id) AS unlooked
    FROM mirror.checks c WHERE c.state = 'done' ORDER BY c.object, c.id DESC;

-- +goose Down
SELECT 1;
