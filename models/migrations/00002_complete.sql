-- +goose Up

-- The admin's choices for an object, beside whether it syncs.
ALTER TABLE admin.objects
    ADD COLUMN path            text    NOT NULL DEFAULT '',           -- how a custom object hangs from a person, as "Contact__c → Contact"; empty for standard ones
    ADD COLUMN row_filter      text    NOT NULL DEFAULT '',           -- a condition in SOQL's words that narrows what is read
    ADD COLUMN on_deleted      text    NOT NULL DEFAULT 'mark' CHECK (on_deleted IN ('mark', 'remove')),
    ADD COLUMN formula_hours   integer NOT NULL DEFAULT 24 CHECK (formula_hours >= 0), -- between two readings of formula fields; 0: never
    ADD COLUMN create_policy   text    NOT NULL DEFAULT 'all' CHECK (create_policy IN ('all', 'condition', 'none')),
    ADD COLUMN create_field    text    NOT NULL DEFAULT '',
    ADD COLUMN create_operator text    NOT NULL DEFAULT '',
    ADD COLUMN create_value    text    NOT NULL DEFAULT '',
    ADD COLUMN create_defaults jsonb   NOT NULL DEFAULT '{}',         -- field to text: what fills an empty field at the first sending
    ADD COLUMN delete_allowed  boolean NOT NULL DEFAULT false,        -- a local deletion deletes in Salesforce too
    ADD COLUMN recreate        boolean NOT NULL DEFAULT false,        -- a local edit of a record that Salesforce deleted creates it again
    ADD COLUMN policy          text    NOT NULL DEFAULT 'salesforce' CHECK (policy IN ('salesforce', 'local', 'newest', 'ask')),
    ADD COLUMN external_id     text    NOT NULL DEFAULT '',           -- the field by which a create happens once; empty: none
    ADD COLUMN match_email     boolean NOT NULL DEFAULT true,         -- before a create, people are looked for by e-mail
    ADD COLUMN visible         boolean NOT NULL DEFAULT true;         -- offered for choice; false once the org no longer has it

-- The admin's choices for one field; a field without a row has the defaults.
CREATE TABLE admin.fields (
    object           text    NOT NULL REFERENCES admin.objects (name) ON DELETE CASCADE,
    field            text    NOT NULL,
    excluded         boolean NOT NULL DEFAULT false, -- left out: no longer read, its data stay
    direction        text    NOT NULL DEFAULT '' CHECK (direction IN ('', 'from-salesforce')), -- empty: as the object
    policy           text    NOT NULL DEFAULT '' CHECK (policy IN ('', 'salesforce', 'local', 'newest', 'ask')), -- empty: as the object
    blank_overwrites boolean NOT NULL DEFAULT true,  -- an empty value may overwrite a filled one
    keep_first       boolean NOT NULL DEFAULT false, -- never overwritten once it is set
    PRIMARY KEY (object, field)
);

-- What waits for a person's yes, in numbers.
CREATE TABLE admin.approvals (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('first-send', 'deletions', 'sent-deletions', 'connection')),
    object      text NOT NULL DEFAULT '',
    counts      jsonb NOT NULL DEFAULT '{}',
    asked_at    timestamptz NOT NULL,
    answered_at timestamptz,
    answer      boolean,
    answered_by text NOT NULL DEFAULT '',
    CHECK ((answered_at IS NULL) = (answer IS NULL))
);
CREATE UNIQUE INDEX approvals_open ON admin.approvals (kind, object) WHERE answered_at IS NULL;

-- News that a person should see once: a new picklist value, a field that came or went.
CREATE TABLE admin.notices (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL,
    object  text NOT NULL DEFAULT '',
    message text NOT NULL, -- a key of the catalogue of sentences
    params  jsonb NOT NULL DEFAULT '{}',
    seen_at timestamptz,
    seen_by text NOT NULL DEFAULT ''
);
CREATE INDEX notices_open ON admin.notices (id DESC) WHERE seen_at IS NULL;

-- Runs of more kinds. What may be under way side by side for an object: one run of the cycle, and one of each other kind.
ALTER TABLE admin.runs DROP CONSTRAINT runs_kind_check;
ALTER TABLE admin.runs ADD CONSTRAINT runs_kind_check CHECK (kind IN ('first-sync', 'changes', 'resync', 'check', 'send', 'fill', 'formulas', 'sweep'));
ALTER TABLE admin.runs DROP CONSTRAINT runs_phase_check;
ALTER TABLE admin.runs ADD CONSTRAINT runs_phase_check CHECK (phase IN ('', 'describing', 'preparing', 'reading', 'finishing', 'comparing', 'sending', 'waiting'));
ALTER TABLE admin.runs
    ADD COLUMN lane      text GENERATED ALWAYS AS (CASE WHEN kind IN ('first-sync', 'changes') THEN 'cycle' ELSE kind END) STORED,
    ADD COLUMN conflicts bigint NOT NULL DEFAULT 0,
    ADD COLUMN cursor    jsonb  NOT NULL DEFAULT '{}'; -- where the run's next piece goes on, where no other row tells
DROP INDEX admin.runs_active;
CREATE UNIQUE INDEX runs_active ON admin.runs (object, lane) WHERE ended_at IS NULL;

ALTER TABLE admin.cycles ADD COLUMN sending boolean NOT NULL DEFAULT false; -- reading is over, what waits to be sent is under way

ALTER TABLE admin.state
    ADD COLUMN send_at_once      boolean NOT NULL DEFAULT true,
    ADD COLUMN brake_percent     integer NOT NULL DEFAULT 10 CHECK (brake_percent BETWEEN 0 AND 100), -- more deletions at once than this share ask a person
    ADD COLUMN check_hour        integer NOT NULL DEFAULT 2 CHECK (check_hour BETWEEN -1 AND 23),     -- of the nightly check, UTC; -1: none
    ADD COLUMN budget_percent    integer CHECK (budget_percent BETWEEN 1 AND 100),                   -- of the org's daily calls; null: half of what is left at the start of the day
    ADD COLUMN budget_day        date,
    ADD COLUMN budget_calls      integer NOT NULL DEFAULT 0, -- Tandem's share of this day
    ADD COLUMN budget_used       integer NOT NULL DEFAULT 0; -- what Tandem used of it

CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admin.approvals FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admin.notices FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();

-- +goose Down
SELECT 1;
