-- +goose Up

-- People and how they come in.
CREATE TABLE admin.users (
    id              uuid PRIMARY KEY,
    email           text NOT NULL,
    role            text NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
    password_hash   text NOT NULL DEFAULT '', -- empty: nobody signs in by password until a link was redeemed
    language        text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL,
    last_sign_in_at timestamptz
);
CREATE UNIQUE INDEX users_email ON admin.users (lower(email));

-- One-time links: only the hash of what is in the link is kept.
CREATE TABLE admin.links (
    token_hash bytea PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('set-up', 'password')),
    user_id    uuid REFERENCES admin.users (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

CREATE TABLE admin.sessions (
    token  text PRIMARY KEY,
    data   bytea NOT NULL,
    expiry timestamptz NOT NULL
);
CREATE INDEX sessions_expiry ON admin.sessions (expiry);

-- The stored login to the org. Invariant 7: a secret column takes nothing but what the program sealed.
CREATE TABLE admin.connections (
    id                uuid PRIMARY KEY,
    single            boolean NOT NULL DEFAULT true UNIQUE CHECK (single), -- the tables belong to one org
    login_url         text NOT NULL,
    auth              text NOT NULL CHECK (auth IN ('web-server', 'client-credentials', 'jwt')),
    client_id         text NOT NULL,
    client_secret     bytea CHECK (get_byte(client_secret, 0) = 1 AND length(client_secret) >= 29),
    username          text NOT NULL DEFAULT '',
    private_key       bytea CHECK (get_byte(private_key, 0) = 1 AND length(private_key) >= 29),
    refresh_token     bytea CHECK (get_byte(refresh_token, 0) = 1 AND length(refresh_token) >= 29),
    access_token      bytea CHECK (get_byte(access_token, 0) = 1 AND length(access_token) >= 29),
    issued_at         timestamptz,
    instance_url      text NOT NULL DEFAULT '',
    identity_url      text NOT NULL DEFAULT '',
    org_id            text NOT NULL DEFAULT '',
    org_name          text NOT NULL DEFAULT '',
    sandbox           boolean NOT NULL DEFAULT false,
    user_id           text NOT NULL DEFAULT '',
    user_name         text NOT NULL DEFAULT '',
    user_display_name text NOT NULL DEFAULT '',
    api_version       text NOT NULL DEFAULT '',
    state             text NOT NULL CHECK (state IN ('connected', 'refused')),
    error_code        text NOT NULL DEFAULT '',
    error             text NOT NULL DEFAULT '',
    state_at          timestamptz NOT NULL,
    report            jsonb NOT NULL DEFAULT '{}',
    saved_by          text NOT NULL DEFAULT '',
    updated_at        timestamptz NOT NULL
);

-- A web server flow under way: what the admin typed, until Salesforce sends the browser back.
CREATE TABLE admin.authorizations (
    state_hash    bytea PRIMARY KEY,
    id            uuid NOT NULL UNIQUE,
    login_url     text NOT NULL,
    client_id     text NOT NULL,
    client_secret bytea CHECK (get_byte(client_secret, 0) = 1 AND length(client_secret) >= 29),
    verifier      bytea NOT NULL CHECK (get_byte(verifier, 0) = 1 AND length(verifier) >= 29),
    user_id       uuid NOT NULL,
    expires_at    timestamptz NOT NULL
);

CREATE TABLE admin.objects (
    name            text PRIMARY KEY,
    label           text NOT NULL,
    label_plural    text NOT NULL,
    direction       text NOT NULL CHECK (direction IN ('two-way', 'from-salesforce')),
    position        integer NOT NULL,
    custom          boolean NOT NULL DEFAULT false,
    enabled         boolean NOT NULL,
    paused          boolean NOT NULL DEFAULT false,
    hidden          boolean NOT NULL DEFAULT false,
    error_code      text NOT NULL DEFAULT '',
    error           text NOT NULL DEFAULT '',
    error_at        timestamptz,
    last_synced_at  timestamptz,
    first_synced_at timestamptz
);

CREATE TABLE admin.cycles (
    number        bigint PRIMARY KEY,
    objects_total integer NOT NULL,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    next_at       timestamptz
);
CREATE UNIQUE INDEX cycles_open ON admin.cycles ((true)) WHERE ended_at IS NULL;

CREATE TABLE admin.runs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cycle        bigint REFERENCES admin.cycles (number) ON DELETE SET NULL,
    object       text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('first-sync', 'changes', 'resync', 'check', 'send')),
    state        text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'interrupted')),
    phase        text NOT NULL DEFAULT '' CHECK (phase IN ('', 'describing', 'preparing', 'reading', 'finishing')),
    requested_by text NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL,
    started_at   timestamptz,
    ended_at     timestamptz,
    heartbeat_at timestamptz,
    resumes_at   timestamptz,
    expected     bigint NOT NULL DEFAULT 0,
    read         bigint NOT NULL DEFAULT 0,
    new          bigint NOT NULL DEFAULT 0,
    changed      bigint NOT NULL DEFAULT 0,
    deleted      bigint NOT NULL DEFAULT 0,
    unchanged    bigint NOT NULL DEFAULT 0,
    sent         bigint NOT NULL DEFAULT 0,
    refused      bigint NOT NULL DEFAULT 0,
    api_calls    bigint NOT NULL DEFAULT 0,
    error_code   text NOT NULL DEFAULT '',
    error        text NOT NULL DEFAULT '',
    CHECK ((ended_at IS NULL) = (state IN ('queued', 'running', 'interrupted')))
);
-- A double click gives the same run: at most one asked-for full read, and one of the cycle's, is under way for an object.
CREATE UNIQUE INDEX runs_active ON admin.runs (object, (kind = 'resync')) WHERE ended_at IS NULL;
CREATE INDEX runs_by_object ON admin.runs (object, id DESC);
CREATE INDEX runs_by_cycle ON admin.runs (cycle);
CREATE INDEX runs_by_end ON admin.runs (ended_at);

CREATE TABLE admin.workers (
    id         text PRIMARY KEY,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);

-- One row: what holds for the whole installation.
CREATE TABLE admin.state (
    single     boolean PRIMARY KEY DEFAULT true CHECK (single),
    paused     boolean NOT NULL DEFAULT false,
    sync_asked boolean NOT NULL DEFAULT false,
    api_used   integer NOT NULL DEFAULT 0,
    api_limit  integer NOT NULL DEFAULT 0,
    api_at     timestamptz
);
INSERT INTO admin.state DEFAULT VALUES;

CREATE TABLE admin.audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL,
    actor   text NOT NULL,
    action  text NOT NULL,
    subject text NOT NULL DEFAULT '',
    detail  jsonb NOT NULL DEFAULT '{}'
);

-- Pages learn of changes by name of table; the row is the truth.
-- +goose StatementBegin
CREATE FUNCTION admin.tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tandem_changed', TG_TABLE_NAME);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admin.connections FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admin.objects FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admin.cycles FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admin.runs FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();
CREATE TRIGGER tell AFTER UPDATE ON admin.state FOR EACH STATEMENT EXECUTE FUNCTION admin.tell();

-- +goose Down
DROP SCHEMA admin CASCADE;
