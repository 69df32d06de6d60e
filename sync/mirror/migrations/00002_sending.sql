-- +goose Up

-- Local changes on their way to Salesforce. A row is made by the transaction that made the change (Invariant 3) and leaves
-- when it is settled: accepted, resolved as a conflict, or dropped by a person; what became of it is in mirror.settled.
ALTER TABLE mirror.outbox
    DROP COLUMN settled_at CASCADE,
    ADD COLUMN application text        NOT NULL DEFAULT '', -- application_name of whoever made it
    ADD COLUMN state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'refused')),
    ADD COLUMN claim       uuid,       -- the batch that took it; its facts are in mirror.claims
    ADD COLUMN attempts    integer     NOT NULL DEFAULT 0,
    ADD COLUMN retry_at    timestamptz; -- not before; null: at once
CREATE INDEX outbox_row ON mirror.outbox (object, row_id);
CREATE INDEX outbox_claim ON mirror.outbox (claim) WHERE claim IS NOT NULL;

-- What a batch that was taken for sending is about, for the worker that goes on after another died.
CREATE TABLE mirror.claims (
    id         uuid PRIMARY KEY,
    object     text NOT NULL,
    run_id     bigint NOT NULL,
    operation  text NOT NULL CHECK (operation IN ('insert', 'update', 'delete')),
    job_id     text NOT NULL DEFAULT '', -- a Bulk ingest job, once it was made
    step       text NOT NULL DEFAULT '',
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE mirror.settled (
    seq         bigint PRIMARY KEY, -- as in the outbox
    object      text NOT NULL,
    row_id      bigint NOT NULL,
    sfid        text COLLATE "C",
    operation   text NOT NULL,
    base        jsonb NOT NULL,
    changed     jsonb NOT NULL,
    made_by     text NOT NULL,
    application text NOT NULL,
    made_at     timestamptz NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('accepted', 'already', 'conflict', 'dropped', 'superseded', 'restored', 'linked')),
    run_id      bigint,
    by          text NOT NULL DEFAULT '', -- who dropped it
    reason      text NOT NULL DEFAULT '',
    settled_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX settled_row ON mirror.settled (object, row_id);

-- Both sides changed one field since they last agreed. winner is salesforce or local, or empty while a person is asked.
ALTER TABLE mirror.conflicts
    ADD COLUMN row_id  bigint,
    ADD COLUMN run_id  bigint,
    ADD COLUMN made_by text NOT NULL DEFAULT '',
    ADD COLUMN made_at timestamptz,
    ADD COLUMN closed_by text NOT NULL DEFAULT '',
    ADD COLUMN outcome text NOT NULL DEFAULT '' CHECK (outcome IN ('', 'seen', 'overturned', 'salesforce', 'local', 'gone'));
CREATE INDEX conflicts_row ON mirror.conflicts (object, row_id);

ALTER TABLE mirror.refusals
    ADD COLUMN row_id  bigint,
    ADD COLUMN run_id  bigint,
    ADD COLUMN details jsonb NOT NULL DEFAULT '{}'; -- what was to change, and what else helps: candidates of a match, allowed values

-- Records that became others: the loser of a merge, a converted lead. Kept also when the org forgets it.
CREATE TABLE mirror.lineage (
    object    text NOT NULL,
    sfid      text COLLATE "C" NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('merged', 'converted')),
    to_object text NOT NULL,
    to_sfid   text COLLATE "C" NOT NULL,
    found_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (object, sfid)
);

CREATE VIEW mirror.backlog AS
    SELECT object, count(*) AS waiting, min(made_at) AS oldest FROM mirror.outbox WHERE state <> 'refused' GROUP BY object;
DROP VIEW mirror.open_conflicts CASCADE;
CREATE VIEW mirror.open_conflicts AS
    SELECT id, object, row_id, sfid, field, base, local, remote, winner, reason, made_by, made_at, found_at FROM mirror.conflicts WHERE closed_at IS NULL;
DROP VIEW mirror.refused CASCADE;
CREATE VIEW mirror.refused AS
    SELECT id, object, row_id, sfid, direction, field, column_name, code, message, value, details, load_id, page, locator, seen, first_seen_at, last_seen_at
    FROM mirror.refusals WHERE resolved_at IS NULL;

-- What the pages tell of each object.
DROP VIEW IF EXISTS mirror.object_status;
CREATE VIEW mirror.object_status AS
    SELECT o.object, o.table_name, o.records, o.deleted, w.watermark,
        coalesce(r.refused, 0) AS refused, coalesce(b.waiting, 0) AS to_send, b.oldest AS oldest_to_send, coalesce(c.conflicts, 0) AS conflicts,
        l.kind AS load_kind, l.expected AS load_expected, coalesce(p.read, 0) AS load_read, l.started_at AS load_started_at
    FROM mirror.objects o
    LEFT JOIN mirror.watermarks w ON w.object = o.object
    LEFT JOIN (SELECT object, count(*) AS refused FROM mirror.refused GROUP BY object) r ON r.object = o.object
    LEFT JOIN mirror.backlog b ON b.object = o.object
    LEFT JOIN (SELECT object, count(*) AS conflicts FROM mirror.open_conflicts GROUP BY object) c ON c.object = o.object
    LEFT JOIN LATERAL (SELECT * FROM mirror.loads WHERE object = o.object AND state = 'open' ORDER BY id DESC LIMIT 1) l ON true
    LEFT JOIN (SELECT load_id, sum(read)::bigint AS read FROM mirror.load_pages GROUP BY load_id) p ON p.load_id = l.id;

-- A load of the cycle and one beside it may be open at once.
ALTER TABLE mirror.loads DROP CONSTRAINT loads_kind_check;
ALTER TABLE mirror.loads ADD CONSTRAINT loads_kind_check CHECK (kind IN ('first', 'resync', 'changes', 'fill', 'formulas'));
ALTER TABLE mirror.loads ADD COLUMN beside boolean GENERATED ALWAYS AS (kind NOT IN ('first', 'changes')) STORED;
DROP INDEX mirror.loads_open;
CREATE UNIQUE INDEX loads_open ON mirror.loads (object, beside) WHERE state = 'open';

-- +goose Down
SELECT 1;
