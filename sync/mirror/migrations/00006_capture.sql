-- +goose Up

-- What people may write, as the last describe and the admin's choices have it; the triggers are made from it, and refusals take their words from it.
ALTER TABLE mirror.fields
    ADD COLUMN label        text    NOT NULL DEFAULT '',
    ADD COLUMN can_insert   boolean NOT NULL DEFAULT false,
    ADD COLUMN can_update   boolean NOT NULL DEFAULT false,
    ADD COLUMN why_not      text    NOT NULL DEFAULT '',
    ADD COLUMN reference_to text[]  NOT NULL DEFAULT '{}';

-- Each captured edit writes one row here, in the transaction of whoever made it: what it costs is theirs to bear. The constraints on
-- operation and state go, for PostgreSQL reads them anew for each statement, which was a fifth of an edit's cost; the writers are three.
ALTER TABLE mirror.outbox
    ALTER COLUMN sfid TYPE text COLLATE "C",
    DROP CONSTRAINT outbox_operation_check,
    DROP CONSTRAINT outbox_state_check;
CREATE INDEX outbox_new ON mirror.outbox (object, seq) WHERE state = 'waiting' AND sfid IS NULL;
CREATE INDEX outbox_refused ON mirror.outbox (object, row_id) WHERE state = 'refused';
CREATE INDEX outbox_deleted ON mirror.outbox (sfid) WHERE operation = 'delete';
CREATE INDEX settled_deleted ON mirror.settled (sfid) WHERE operation = 'delete';

ALTER TABLE mirror.conflicts ADD COLUMN column_name text NOT NULL DEFAULT '';
-- A field of a row waits for a person at most once.
CREATE UNIQUE INDEX conflicts_asked ON mirror.conflicts (object, row_id, column_name) WHERE winner = '' AND closed_at IS NULL;

-- Rows that point to another which Salesforce does not know yet: their column holds local:<parent_id>. When the parent is
-- accepted, they are found here and get its sfid.
CREATE TABLE mirror.links (
    object        text   NOT NULL,
    row_id        bigint NOT NULL,
    column_name   text   NOT NULL,
    parent_object text   NOT NULL,
    parent_id     bigint NOT NULL,
    PRIMARY KEY (object, row_id, column_name)
);
CREATE INDEX links_parent ON mirror.links (parent_object, parent_id);

-- What Salesforce held when it was last read, of columns that were not overwritten because an edit of them waits here: what a
-- dropped edit goes back to. Of a row that was deleted here, the whole record.
CREATE TABLE mirror.held (
    object text   NOT NULL,
    row_id bigint NOT NULL,
    cells  jsonb  NOT NULL,
    stamp  timestamptz,
    PRIMARY KEY (object, row_id)
);

-- The guard of tables that come from Salesforce only, and of TRUNCATE on all. The arguments are the object's direction and its label in lower case.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION mirror.refuse_local() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_ARGV[0] = 'two-way' THEN
        RAISE EXCEPTION '%.% cannot be truncated: TRUNCATE removes rows without a trace, and nobody could tell Salesforce', TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege', HINT = 'DELETE the rows instead; each deletion is recorded.';
    END IF;
    RAISE EXCEPTION '%.% comes from Salesforce only: change the % in Salesforce and it arrives here with the next cycle',
        TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[1]
        USING ERRCODE = 'insufficient_privilege', HINT = 'Keep what is yours in a table of your own that refers to this one by sfid.';
END $$;
-- +goose StatementEnd

-- Refuses an edit of columns that cannot be sent, naming each with the reason. The triggers find such edits, so this runs only
-- when there is something to refuse. before is null for an insert.
-- +goose StatementBegin
CREATE FUNCTION mirror.refuse_columns(of_object text, of_table text, label text, createable boolean, before jsonb, after jsonb) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known text := 'salesforce.' || of_table;
    list  text;
BEGIN
    IF before -> 'id' <> after -> 'id' THEN
        RAISE EXCEPTION '%.id cannot be changed: it is how Tandem knows row %', known, before -> 'id' USING ERRCODE = 'insufficient_privilege', HINT = 'Leave the column out.';
    ELSIF before IS NULL AND NOT createable THEN
        RAISE EXCEPTION '% takes no new rows: Salesforce does not let the connected user create a %', known, label
            USING ERRCODE = 'insufficient_privilege', HINT = 'Ask a Salesforce admin for the right to create it, or create it in Salesforce.';
    ELSIF before ->> 'sfid' IS DISTINCT FROM after ->> 'sfid' THEN
        RAISE EXCEPTION '%.sfid cannot be set here: Salesforce gives it when it accepts the %', known, label
            USING ERRCODE = 'insufficient_privilege', HINT = 'Leave the column out.';
    END IF;
    SELECT string_agg(f.column_name || ' (' || CASE
            WHEN f.gone_at IS NOT NULL THEN 'Salesforce no longer shows it to the connected user'
            WHEN f.left_out_at IS NOT NULL THEN 'an admin has left it out'
            WHEN f.why_not <> '' THEN f.why_not
            WHEN before IS NULL AND f.can_update THEN 'Salesforce lets it be set only once the record is there'
            WHEN before IS NOT NULL AND f.can_insert THEN 'Salesforce lets it be set only when the record is made'
            ELSE 'Salesforce does not let the connected user write it' END || ')', ', ' ORDER BY f.column_name)
        INTO list
        FROM mirror.fields f
        WHERE f.object = of_object AND f.column_name <> 'sfid'
            AND NOT CASE WHEN before IS NULL THEN f.can_insert ELSE f.can_update END
            AND CASE WHEN before IS NOT NULL THEN before -> f.column_name IS DISTINCT FROM after -> f.column_name
                WHEN f.column_name = 'isdeleted' THEN after -> f.column_name = 'true'
                ELSE after ->> f.column_name IS NOT NULL END;
    IF list IS NOT NULL THEN
        RAISE EXCEPTION '% cannot be written here in %', known, list
            USING ERRCODE = 'insufficient_privilege', HINT = 'Leave the column out, or change it in Salesforce; it arrives here with the next cycle.';
    END IF;
END $$;
-- +goose StatementEnd

-- Gives a Salesforce id of 15 characters its last three, which make it safe to compare without regard to case.
-- +goose StatementBegin
CREATE FUNCTION mirror.id18(id text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT id || (SELECT pg_catalog.string_agg(pg_catalog.substr('ABCDEFGHIJKLMNOPQRSTUVWXYZ012345', 1 + (
            SELECT pg_catalog.sum(CASE WHEN pg_catalog.substr(id, g * 5 + i + 1, 1) ~ '[A-Z]' THEN 1 << i ELSE 0 END)
            FROM pg_catalog.generate_series(0, 4) i)::integer, 1), '' ORDER BY g)
        FROM pg_catalog.generate_series(0, 2) g)
$$;
-- +goose StatementEnd

-- Writes one value of a row as the engine: what capture itself puts right is no edit (Invariant 4).
-- +goose StatementBegin
CREATE FUNCTION mirror.put(relation text, id bigint, cells jsonb) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was  text := current_setting('tandem.engine', true);
    list text;
    hit  boolean;
BEGIN
    SELECT string_agg(quote_ident(k), ', ') INTO list FROM jsonb_object_keys(cells) k;
    IF list IS NULL THEN
        RETURN true;
    END IF;
    PERFORM set_config('tandem.engine', 'on', true);
    EXECUTE format('UPDATE salesforce.%1$I SET (%2$s) = ROW(%3$s) FROM jsonb_populate_record(NULL::salesforce.%1$I, $1) v WHERE %1$I.id = $2',
        relation, list, (SELECT string_agg('v.' || quote_ident(k), ', ') FROM jsonb_object_keys(cells) k)) USING cells, id;
    GET DIAGNOSTICS hit = ROW_COUNT;
    PERFORM set_config('tandem.engine', coalesce(was, ''), true);
    RETURN hit;
END $$;
-- +goose StatementEnd

-- Looks at what a person put into a reference column and gives what it must hold: an id of 18 characters, the sfid of the row that
-- local:<id> names, or local:<id> as it is while that row has none. Anything else is refused.
-- +goose StatementBegin
CREATE FUNCTION mirror.reference(child text, child_table text, child_id bigint, child_column text, value text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known  text := 'salesforce.' || child_table || '.' || child_column;
    wanted bigint;
    target record;
    found_sfid text;
    found_object text;
    hits   integer := 0;
    looked text := '';
    n      integer;
BEGIN
    IF value ~ '^[A-Za-z0-9]{18}$' THEN
        RETURN value;
    ELSIF value ~ '^[A-Za-z0-9]{15}$' THEN
        RETURN mirror.id18(value);
    ELSIF value !~ '^local:[0-9]{1,18}$' THEN
        RAISE EXCEPTION '% cannot be "%": a reference is a Salesforce id of 15 or 18 letters and digits, or local:<id> for a row that has no sfid yet', known, left(value, 60)
            USING ERRCODE = 'invalid_text_representation';
    END IF;
    wanted := substr(value, 7)::bigint;
    FOR target IN
        SELECT o.object, substr(o.table_name, 12) AS name FROM mirror.fields f CROSS JOIN LATERAL unnest(f.reference_to) r JOIN mirror.objects o ON o.object = r
        WHERE f.object = child AND f.column_name = child_column ORDER BY 1
    LOOP
        looked := looked || CASE WHEN looked = '' THEN '' ELSE ' or ' END || 'salesforce.' || target.name;
        -- The lock makes whoever accepts, links or deletes that row wait until this transaction has ended, so that its link is seen.
        EXECUTE format('SELECT sfid FROM salesforce.%I WHERE id = $1 FOR KEY SHARE', target.name) INTO found_sfid USING wanted;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n > 0 THEN
            hits := hits + 1;
            found_object := target.object;
            IF found_sfid IS NOT NULL AND hits = 1 THEN
                value := found_sfid;
            END IF;
        END IF;
    END LOOP;
    IF hits = 0 THEN
        RAISE EXCEPTION '% cannot be local:%: there is no row % in %', known, wanted, wanted, coalesce(nullif(looked, ''), 'any table that it can refer to')
            USING ERRCODE = 'foreign_key_violation', HINT = 'Insert the row it refers to first, and use the id that it gets.';
    ELSIF hits > 1 THEN
        RAISE EXCEPTION '% cannot be local:%: more than one of % have a row %', known, wanted, looked, wanted
            USING ERRCODE = 'ambiguous_parameter', HINT = 'Use the sfid once the row has one.';
    END IF;
    IF value NOT LIKE 'local:%' THEN
        RETURN value;
    END IF;
    IF EXISTS (
        WITH RECURSIVE up(object, row_id) AS (
            SELECT found_object, wanted
            UNION SELECT l.parent_object, l.parent_id FROM up JOIN mirror.links l ON l.object = up.object AND l.row_id = up.row_id
        ) SELECT FROM up WHERE object = child AND row_id = child_id
    ) THEN
        RAISE EXCEPTION '% cannot be local:%: row % would wait for itself to be accepted by Salesforce', known, wanted, child_id
            USING ERRCODE = 'foreign_key_violation', HINT = 'Set the reference once one of the rows has its sfid.';
    END IF;
    INSERT INTO mirror.links (object, row_id, column_name, parent_object, parent_id) VALUES (child, child_id, child_column, found_object, wanted)
        ON CONFLICT (object, row_id, column_name) DO UPDATE SET parent_object = excluded.parent_object, parent_id = excluded.parent_id;
    RETURN value;
END $$;
-- +goose StatementEnd

-- Refuses the deletion of a row that others wait for.
-- +goose StatementBegin
CREATE FUNCTION mirror.refuse_orphans(parent text, parent_table text, parent_row bigint) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    l     record;
    alive boolean;
BEGIN
    FOR l IN SELECT k.*, substr(o.table_name, 12) AS name FROM mirror.links k JOIN mirror.objects o ON o.object = k.object WHERE k.parent_object = parent AND k.parent_id = parent_row LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM salesforce.%I WHERE id = $1 AND %I = $2)', l.name, l.column_name) INTO alive USING l.row_id, 'local:' || parent_row;
        IF alive THEN
            RAISE EXCEPTION 'salesforce.% row % cannot be deleted: salesforce.% row % refers to it in % and waits for it', parent_table, parent_row, l.name, l.row_id, l.column_name
                USING ERRCODE = 'foreign_key_violation', HINT = 'Delete or change that row first.';
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Ends the engine's upsert that met a row version which its snapshot had not seen: somebody edited the row meanwhile, so what was
-- decided about its columns no longer holds. The engine looks again.
-- +goose StatementBegin
CREATE FUNCTION mirror.raced() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row was edited while records were applied' USING ERRCODE = 'TD001';
END $$;
-- +goose StatementEnd

-- The functions that the pages call. Each takes the lock of the object's outbox first, as claiming and settling do.
-- +goose StatementBegin
CREATE FUNCTION mirror.take_turns(objects text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    o text;
BEGIN
    FOR o IN SELECT DISTINCT x COLLATE "C" FROM unnest(objects) x ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(1952738563, hashtext(o));
    END LOOP;
END $$;
-- +goose StatementEnd

-- Sets refused changes waiting again; gives of how many rows. The refusal stays until Salesforce has answered.
-- +goose StatementBegin
CREATE FUNCTION mirror.retry_refused(ids bigint[], actor text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    r record;
    n integer := 0;
BEGIN
    PERFORM mirror.take_turns(ARRAY(SELECT object FROM mirror.refusals WHERE id = ANY (ids)));
    FOR r IN SELECT * FROM mirror.refusals WHERE id = ANY (ids) AND direction = 'out' AND resolved_at IS NULL ORDER BY id LOOP
        UPDATE mirror.outbox SET state = 'waiting', retry_at = NULL WHERE object = r.object AND row_id = r.row_id AND state = 'refused';
        IF FOUND THEN
            n := n + 1;
            UPDATE mirror.refusals SET details = details || jsonb_build_object('retried_by', actor, 'retried_at', now()) WHERE id = r.id;
            PERFORM pg_notify('tandem_outbox', r.object);
        END IF;
    END LOOP;
    RETURN n;
END $$;
-- +goose StatementEnd

-- Puts a row that was deleted here back, with its id, as it was, with what Salesforce was seen to hold since. False if a row is in its place.
-- +goose StatementBegin
CREATE FUNCTION mirror.put_back(relation text, of_object text, of_row bigint, base jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    was text := current_setting('tandem.engine', true);
    hit boolean;
BEGIN
    -- What people had changed before they deleted it they see again.
    base := base || coalesce((SELECT h.cells - 'id'::text - ARRAY(SELECT jsonb_object_keys(o.changed) FROM mirror.outbox o WHERE o.object = of_object AND o.row_id = of_row AND o.operation = 'update')
        FROM mirror.held h WHERE h.object = of_object AND h.row_id = of_row), '{}');
    PERFORM set_config('tandem.engine', 'on', true);
    EXECUTE format('INSERT INTO salesforce.%1$I SELECT * FROM jsonb_populate_record(NULL::salesforce.%1$I, $1) ON CONFLICT DO NOTHING', relation) USING base;
    GET DIAGNOSTICS hit = ROW_COUNT;
    PERFORM set_config('tandem.engine', coalesce(was, ''), true);
    RETURN hit;
END $$;
-- +goose StatementEnd

-- Drops refused changes: they are not sent. The row's columns go back to what Salesforce held when it was last read, unless they were
-- edited again since; a row that was deleted comes back; one that was never in Salesforce stays, for it is people's. Gives of how many rows.
-- +goose StatementBegin
CREATE FUNCTION mirror.drop_refused(ids bigint[], actor text, reason text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    r       record;
    name    text;
    back    jsonb;
    deleted jsonb;
    n       integer := 0;
BEGIN
    PERFORM mirror.take_turns(ARRAY(SELECT object FROM mirror.refusals WHERE id = ANY (ids)));
    FOR r IN SELECT * FROM mirror.refusals WHERE id = ANY (ids) AND direction = 'out' AND resolved_at IS NULL ORDER BY id LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = r.object AND o.row_id = r.row_id AND o.state = 'refused');
        SELECT substr(table_name, 12) INTO name FROM mirror.objects WHERE object = r.object;
        -- Whoever edits the row at this moment ends first; what they did is then in the outbox.
        EXECUTE format('SELECT FROM salesforce.%I WHERE id = $1 FOR UPDATE', name) USING r.row_id;
        SELECT o.base INTO deleted FROM mirror.outbox o WHERE o.object = r.object AND o.row_id = r.row_id AND o.state = 'refused' AND o.operation = 'delete' ORDER BY seq DESC LIMIT 1;
        IF FOUND THEN
            PERFORM mirror.put_back(name, r.object, r.row_id, deleted);
        END IF;
        SELECT jsonb_object_agg(b.key, b.value) INTO back FROM (
            SELECT DISTINCT ON (e.key) e.key, e.value FROM mirror.outbox o CROSS JOIN LATERAL jsonb_each(o.base) e
            WHERE o.object = r.object AND o.row_id = r.row_id AND o.state = 'refused' AND o.operation = 'update' ORDER BY e.key, o.seq) b
        WHERE NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = r.object AND o.row_id = r.row_id AND o.state <> 'refused' AND o.changed ? b.key);
        IF back IS NOT NULL AND NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = r.object AND o.row_id = r.row_id AND o.operation = 'insert') THEN
            SELECT back || coalesce(jsonb_object_agg(e.key, e.value), '{}') INTO back
                FROM mirror.held h CROSS JOIN LATERAL jsonb_each(h.cells) e WHERE h.object = r.object AND h.row_id = r.row_id AND back ? e.key;
            PERFORM mirror.put(name, r.row_id, back);
        END IF;
        WITH gone AS (DELETE FROM mirror.outbox o WHERE o.object = r.object AND o.row_id = r.row_id AND o.state = 'refused' RETURNING *)
        INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome, run_id, by, reason)
            SELECT seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, 'dropped', r.run_id, actor, drop_refused.reason FROM gone;
        DELETE FROM mirror.held h WHERE h.object = r.object AND h.row_id = r.row_id AND NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = r.object AND o.row_id = r.row_id)
            AND NOT EXISTS (SELECT FROM mirror.conflicts c WHERE c.object = r.object AND c.row_id = r.row_id AND c.winner = '' AND c.closed_at IS NULL);
        UPDATE mirror.refusals SET resolved_at = now(), details = details || jsonb_build_object('dropped_by', actor, 'reason', drop_refused.reason) WHERE id = r.id;
        PERFORM mirror.refuse_children(r.object, r.row_id);
        n := n + 1;
    END LOOP;
    RETURN n;
END $$;
-- +goose StatementEnd

-- Sets aside what waits for a row that is not going to be sent. Once it is sent after all, they wait again.
-- +goose StatementBegin
CREATE FUNCTION mirror.refuse_children(parent text, parent_row bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    l record;
BEGIN
    FOR l IN SELECT k.*, f.field FROM mirror.links k LEFT JOIN mirror.fields f ON f.object = k.object AND f.column_name = k.column_name
        WHERE k.parent_object = parent AND k.parent_id = parent_row
    LOOP
        UPDATE mirror.outbox SET state = 'refused', retry_at = NULL WHERE object = l.object AND row_id = l.row_id AND state = 'waiting';
        CONTINUE WHEN NOT FOUND;
        INSERT INTO mirror.refusals AS r (object, direction, record, row_id, field, column_name, code, message)
            VALUES (l.object, 'out', 'local:' || l.row_id, l.row_id, l.field, l.column_name, 'PARENT_NOT_SENT',
                format('%s refers to row %s of %s, which was dropped and is not in Salesforce. Send that row, or let %s refer to another.', coalesce(l.field, l.column_name), parent_row, parent, coalesce(l.field, l.column_name)))
            ON CONFLICT (object, direction, record) WHERE resolved_at IS NULL DO UPDATE SET code = excluded.code, message = excluded.message, field = excluded.field,
                column_name = excluded.column_name, last_seen_at = now(), seen = r.seen + 1;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Makes the losing value of a conflict the row's value, as an edit of the actor whose base is what won; of an undecided conflict, the
-- chosen one. False if there is nothing to overturn: it is closed, that side has won already, or the row is gone.
-- +goose StatementBegin
CREATE FUNCTION mirror.overturn_conflict(conflict bigint, choose text, actor text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    c     mirror.conflicts;
    name  text;
    value text;
    base  text;
    kept  jsonb;
    alive boolean;
    typed jsonb;
BEGIN
    IF choose NOT IN ('local', 'salesforce') THEN
        RAISE EXCEPTION 'a conflict is decided for local or salesforce, not for %', choose USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM mirror.take_turns(ARRAY(SELECT object FROM mirror.conflicts WHERE id = conflict));
    SELECT * INTO c FROM mirror.conflicts WHERE id = conflict AND closed_at IS NULL FOR UPDATE;
    IF NOT FOUND OR c.winner = choose THEN
        RETURN false;
    END IF;
    IF c.column_name = '' THEN
        SELECT f.column_name INTO c.column_name FROM mirror.fields f WHERE f.object = c.object AND lower(f.field) = lower(c.field);
    END IF;
    SELECT substr(o.table_name, 12) INTO name FROM mirror.objects o WHERE o.object = c.object;
    EXECUTE format('SELECT true FROM salesforce.%I WHERE id = $1 FOR UPDATE', name) INTO alive USING c.row_id;
    IF alive IS NULL THEN
        UPDATE mirror.conflicts SET closed_at = now(), closed_by = actor, outcome = 'gone' WHERE id = c.id;
        RETURN false;
    END IF;
    value := CASE choose WHEN 'local' THEN c.local ELSE c.remote END;
    base := CASE WHEN c.winner = 'local' THEN c.local ELSE c.remote END;
    UPDATE mirror.conflicts SET closed_at = now(), closed_by = actor, outcome = CASE WHEN c.winner = '' THEN choose ELSE 'overturned' END WHERE id = c.id;
    IF c.winner = '' AND choose = 'salesforce' THEN
        -- Nothing is to be sent. What was read since the question was put is newer than it.
        SELECT h.cells INTO kept FROM mirror.held h WHERE h.object = c.object AND h.row_id = c.row_id;
        IF NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = c.object AND o.row_id = c.row_id AND o.changed ? c.column_name) THEN
            PERFORM mirror.put(name, c.row_id, CASE WHEN kept ? c.column_name THEN jsonb_build_object(c.column_name, kept -> c.column_name) ELSE jsonb_build_object(c.column_name, value) END);
        END IF;
        RETURN true;
    END IF;
    PERFORM mirror.put(name, c.row_id, jsonb_build_object(c.column_name, value));
    -- As capture writes them, the values have the column's type.
    EXECUTE format('SELECT jsonb_build_object(''base'', to_jsonb(b.%1$I), ''local'', to_jsonb(l.%1$I)) FROM jsonb_populate_record(NULL::salesforce.%2$I, $1) b, jsonb_populate_record(NULL::salesforce.%2$I, $2) l', c.column_name, name)
        INTO typed USING jsonb_build_object(c.column_name, base), jsonb_build_object(c.column_name, value);
    INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application)
        VALUES (c.object, c.row_id, c.sfid, 'update', jsonb_build_object(c.column_name, typed -> 'base'), jsonb_build_object(c.column_name, typed -> 'local'), actor, 'Tandem');
    PERFORM pg_notify('tandem_outbox', c.object);
    RETURN true;
END $$;
-- +goose StatementEnd

-- Marks decided conflicts as seen; gives how many. One that waits for a person's decision is not answered by looking at it.
-- +goose StatementBegin
CREATE FUNCTION mirror.see_conflicts(ids bigint[], actor text) RETURNS integer LANGUAGE sql AS $$
    WITH seen AS (UPDATE mirror.conflicts SET closed_at = now(), closed_by = actor, outcome = 'seen' WHERE id = ANY (ids) AND winner <> '' AND closed_at IS NULL RETURNING id)
    SELECT count(*)::integer FROM seen
$$;
-- +goose StatementEnd

-- Trigger functions run with their owner's rights; nobody else attaches or calls them.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA mirror FROM PUBLIC;

-- +goose Down
SELECT 1;
