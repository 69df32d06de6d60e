-- +goose Up

CREATE SCHEMA IF NOT EXISTS salesforce;

-- What is mirrored: the last describe of each object, and how many records its table holds, kept with each batch so that
-- nothing ever counts a large table to draw a page.
CREATE TABLE mirror.objects (
    object        text PRIMARY KEY,
    table_name    text NOT NULL UNIQUE,
    direction     text NOT NULL CHECK (direction IN ('two-way', 'from-salesforce')),
    describe      jsonb NOT NULL,
    last_modified timestamptz,
    described_at  timestamptz NOT NULL,
    records       bigint NOT NULL DEFAULT 0,
    deleted       bigint NOT NULL DEFAULT 0
);

CREATE TABLE mirror.fields (
    object      text NOT NULL REFERENCES mirror.objects (object),
    field       text NOT NULL,
    column_name text NOT NULL,
    column_type text NOT NULL,
    field_type  text NOT NULL,
    added_at    timestamptz NOT NULL,
    gone_at     timestamptz, -- no longer visible to the sync user; its data stay (Invariant 9)
    PRIMARY KEY (object, field)
);

-- How far reading is complete, by the org's clock.
CREATE TABLE mirror.watermarks (
    object           text PRIMARY KEY,
    watermark        timestamptz, -- everything that the org had committed before is here; null: nothing was read yet
    covered_through  timestamptz, -- the start of the oldest transaction that the org had open when it was asked
    covered_asked_at timestamptz,
    deleted_through  timestamptz, -- how far the org's log of deletions was read
    deleted_asked_at timestamptz,
    updated_at       timestamptz NOT NULL DEFAULT now()
);
-- Invariant 2: a watermark never moves backward, but to nothing by an asked-for resync.
-- +goose StatementBegin
CREATE FUNCTION mirror.forward_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.watermark < OLD.watermark THEN
        RAISE EXCEPTION 'the watermark of % would move backward, from % to %', NEW.object, OLD.watermark, NEW.watermark;
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER forward_only BEFORE UPDATE ON mirror.watermarks FOR EACH ROW EXECUTE FUNCTION mirror.forward_only();

-- Bulk reads and their pages: the cursor that commits with the records.
CREATE TABLE mirror.loads (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object     text NOT NULL REFERENCES mirror.objects (object),
    run_id     bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('first', 'resync', 'changes')),
    job_id     text NOT NULL,
    soql       text NOT NULL,
    fields     text[] NOT NULL,
    watermark  timestamptz NOT NULL,
    expected   bigint NOT NULL,
    direct     boolean NOT NULL, -- the table was empty when the load began, and takes its pages without staging
    state      text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'abandoned')),
    reason     text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz
);
CREATE UNIQUE INDEX loads_open ON mirror.loads (object) WHERE state = 'open';

CREATE TABLE mirror.load_pages (
    load_id    bigint NOT NULL REFERENCES mirror.loads (id) ON DELETE CASCADE,
    seq        integer NOT NULL,
    locator    text NOT NULL,
    planned_at timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    last       boolean NOT NULL DEFAULT false,
    read       bigint NOT NULL DEFAULT 0,
    new        bigint NOT NULL DEFAULT 0,
    changed    bigint NOT NULL DEFAULT 0,
    deleted    bigint NOT NULL DEFAULT 0,
    unchanged  bigint NOT NULL DEFAULT 0,
    refused    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (load_id, seq)
);

-- Records that were set aside, each with its reason (Invariant 6).
CREATE TABLE mirror.refusals (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object        text NOT NULL,
    direction     text NOT NULL CHECK (direction IN ('in', 'out')),
    record        text NOT NULL, -- the sfid, or what else tells the record from others; one has one open refusal
    sfid          text COLLATE "C",
    field         text,
    column_name   text,
    code          text NOT NULL,
    message       text NOT NULL,
    value         jsonb,
    stamp         timestamptz, -- the record's SystemModstamp: an older version that arrives clean does not resolve it
    load_id       bigint,
    page          integer,
    locator       text,
    seen          bigint NOT NULL DEFAULT 1,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    resolved_at   timestamptz
);
CREATE UNIQUE INDEX refusals_open ON mirror.refusals (object, direction, record) WHERE resolved_at IS NULL;

CREATE VIEW mirror.refused AS
    SELECT id, object, sfid, direction, field, column_name, code, message, value, load_id, page, locator, seen, first_seen_at, last_seen_at
    FROM mirror.refusals WHERE resolved_at IS NULL;

-- Local changes on their way to Salesforce, and conflicts. Empty until sending is built: until then no local change is accepted.
CREATE TABLE mirror.outbox (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object     text NOT NULL,
    row_id     bigint NOT NULL,
    sfid       text,
    operation  text NOT NULL CHECK (operation IN ('insert', 'update', 'delete')),
    base       jsonb NOT NULL DEFAULT '{}',
    changed    jsonb NOT NULL DEFAULT '{}',
    made_by    text NOT NULL DEFAULT '',
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz
);
CREATE TABLE mirror.conflicts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object      text NOT NULL,
    sfid        text NOT NULL,
    field       text NOT NULL,
    base        text,
    local       text,
    remote      text,
    winner      text NOT NULL,
    reason      text NOT NULL,
    found_at    timestamptz NOT NULL DEFAULT now(),
    closed_at   timestamptz
);
CREATE VIEW mirror.backlog AS
    SELECT object, count(*) AS waiting, min(made_at) AS oldest FROM mirror.outbox WHERE settled_at IS NULL GROUP BY object;
CREATE VIEW mirror.open_conflicts AS
    SELECT id, object, sfid, field, base, local, remote, winner, reason, found_at FROM mirror.conflicts WHERE closed_at IS NULL;

-- What the pages tell of each object.
CREATE VIEW mirror.object_status AS
    SELECT o.object, o.table_name, o.records, o.deleted, w.watermark,
        coalesce(r.refused, 0) AS refused, coalesce(b.waiting, 0) AS to_send, b.oldest AS oldest_to_send, coalesce(c.conflicts, 0) AS conflicts,
        l.kind AS load_kind, l.expected AS load_expected, coalesce(p.read, 0) AS load_read, l.started_at AS load_started_at
    FROM mirror.objects o
    LEFT JOIN mirror.watermarks w ON w.object = o.object
    LEFT JOIN (SELECT object, count(*) AS refused FROM mirror.refused GROUP BY object) r ON r.object = o.object
    LEFT JOIN mirror.backlog b ON b.object = o.object
    LEFT JOIN (SELECT object, count(*) AS conflicts FROM mirror.open_conflicts GROUP BY object) c ON c.object = o.object
    LEFT JOIN mirror.loads l ON l.object = o.object AND l.state = 'open'
    LEFT JOIN (SELECT load_id, sum(read)::bigint AS read FROM mirror.load_pages GROUP BY load_id) p ON p.load_id = l.id;

-- The guards of the mirrored tables. The engine's own writes say who they are for the length of a transaction; it is no
-- security boundary, it keeps honest people from losing an edit.
-- The arguments are the object's direction and its label in lower case.
-- +goose StatementBegin
CREATE FUNCTION mirror.refuse_local() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_ARGV[0] = 'two-way' THEN
        RAISE EXCEPTION '%.% cannot be changed here yet: this version of Tandem does not send local changes to Salesforce, so this % is refused rather than lost',
            TG_TABLE_SCHEMA, TG_TABLE_NAME, lower(TG_OP)
            USING ERRCODE = 'insufficient_privilege', HINT = format('Change the %s in Salesforce and it arrives here with the next cycle.', TG_ARGV[1]);
    END IF;
    RAISE EXCEPTION '%.% comes from Salesforce only: change the % in Salesforce and it arrives here with the next cycle',
        TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[1]
        USING ERRCODE = 'insufficient_privilege', HINT = 'Keep what is yours in a table of your own that refers to this one by sfid.';
END $$;
-- +goose StatementEnd

-- +goose Down
DROP SCHEMA mirror CASCADE;
DROP SCHEMA salesforce CASCADE;
