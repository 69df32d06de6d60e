-- +goose Up

-- Comparisons with the org. The row is the cursor: any worker goes on from it.
CREATE TABLE mirror.checks (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object        text NOT NULL REFERENCES mirror.objects (object),
    run_id        bigint NOT NULL UNIQUE,
    fields        text[] NOT NULL,           -- what is compared, Id first
    job_id        text NOT NULL DEFAULT '',  -- of a Bulk read; empty: by REST
    locator       text NOT NULL DEFAULT '',  -- of the next page
    page          integer NOT NULL DEFAULT 0,
    state         text NOT NULL DEFAULT 'reading' CHECK (state IN ('reading', 'comparing', 'verifying', 'done')),
    after_sfid    text COLLATE "C" NOT NULL DEFAULT '', -- ids up to here were compared
    round         integer NOT NULL DEFAULT 0,           -- of looking again at what differed
    round_at      timestamptz,                          -- when that round had read the org; what is read after it is a catch-up
    expected      bigint NOT NULL DEFAULT 0,
    read          bigint NOT NULL DEFAULT 0,
    here          bigint NOT NULL DEFAULT 0,
    there         bigint NOT NULL DEFAULT 0,
    ranges        integer NOT NULL DEFAULT 0,
    ranges_differ integer NOT NULL DEFAULT 0,
    suspects      bigint NOT NULL DEFAULT 0, -- records that differed at first sight
    refreshed     bigint NOT NULL DEFAULT 0, -- of them, those of which only formulas differed: read again
    explained     bigint NOT NULL DEFAULT 0, -- unsent edits, records out of the filter, purged ones that are marked as deleted
    moving        bigint NOT NULL DEFAULT 0, -- changed again in Salesforce each time they were looked at
    differing     bigint NOT NULL DEFAULT 0, -- records that differ
    started_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz
);
CREATE INDEX checks_object ON mirror.checks (object, id DESC);

-- What a check saw in the org: an id and a digest of each record. It is scratch, and lost in a crash; the check then begins anew.
CREATE UNLOGGED TABLE mirror.check_seen (
    check_id bigint NOT NULL,
    sfid     text COLLATE "C" NOT NULL,
    digest   bigint NOT NULL
);
CREATE INDEX check_seen_sfid ON mirror.check_seen (check_id, sfid);

CREATE TABLE mirror.check_suspects (
    check_id bigint NOT NULL REFERENCES mirror.checks (id) ON DELETE CASCADE,
    sfid     text COLLATE "C" NOT NULL,
    round    integer NOT NULL DEFAULT 0, -- the last that looked at it
    digest   bigint,                     -- of the org's record in that round; null: the org had none
    PRIMARY KEY (check_id, sfid)
);

-- What differs from the org although the mirror had caught up, by record and field; field is empty where the whole record is missing or extra.
CREATE TABLE mirror.differences (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object    text NOT NULL,
    sfid      text COLLATE "C" NOT NULL,
    field     text NOT NULL DEFAULT '',
    kind      text NOT NULL CHECK (kind IN ('missing', 'extra', 'differs')),
    here      text,
    there     text,
    check_id  bigint NOT NULL,
    found_at  timestamptz NOT NULL DEFAULT now(),
    mended_at timestamptz
);
CREATE UNIQUE INDEX differences_open ON mirror.differences (object, sfid, field) WHERE mended_at IS NULL;
CREATE INDEX differences_mended ON mirror.differences (mended_at) WHERE mended_at IS NOT NULL;

CREATE VIEW mirror.open_differences AS
    SELECT id, object, sfid, field, kind, here, there, found_at FROM mirror.differences WHERE mended_at IS NULL;
CREATE VIEW mirror.last_checks AS
    SELECT DISTINCT ON (c.object) c.object, c.id, c.run_id, c.ended_at AS checked_at, c.here, c.there, c.ranges, c.ranges_differ, c.suspects, c.refreshed, c.explained, c.moving,
        (SELECT count(DISTINCT d.sfid) FROM mirror.differences d WHERE d.object = c.object AND d.mended_at IS NULL) AS differing
    FROM mirror.checks c WHERE c.state = 'done' ORDER BY c.object, c.id DESC;

-- Which fields are formulas or taken from other records, and so change without their record's stamp (sobject.Field.Derived).
CREATE VIEW mirror.formulas AS
    SELECT o.object, f.field FROM mirror.objects o JOIN mirror.fields f ON f.object = o.object AND f.gone_at IS NULL AND f.left_out_at IS NULL
    WHERE EXISTS (SELECT FROM jsonb_array_elements(CASE jsonb_typeof(o.describe->'fields') WHEN 'array' THEN o.describe->'fields' ELSE '[]' END) d
        WHERE d->>'name' = f.field AND ((d->>'calculated')::boolean OR NOT (d->>'createable')::boolean AND NOT (d->>'updateable')::boolean AND NOT (d->>'autoNumber')::boolean
            AND f.field NOT IN ('Id', 'IsDeleted', 'CreatedDate', 'CreatedById', 'LastModifiedDate', 'LastModifiedById', 'SystemModstamp', 'MasterRecordId',
                'IsConverted', 'ConvertedDate', 'ConvertedAccountId', 'ConvertedContactId', 'ConvertedOpportunityId')));

-- +goose Down
SELECT 1;
