-- +goose Up

-- Which settled change made the record: its row had none before. It need not be the row's insert, which the admin may not have wanted then.
ALTER TABLE mirror.settled ADD COLUMN made boolean NOT NULL DEFAULT false;

-- Gives those of a row's cells that its columns take. An edit may wait while the type of a field changes, and what the field held before, which
-- it may have to go back to, need not fit the new one. Of what does not, Salesforce is asked again: the field is to be filled for all records.
-- +goose StatementBegin
CREATE FUNCTION mirror.fitting(relation text, of_object text, cells jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    k      text;
    ok     boolean;
    misfit text[] := '{}';
BEGIN
    FOR k IN SELECT f.column_name FROM mirror.fields f WHERE f.object = of_object AND cells ->> f.column_name IS NOT NULL LOOP
        BEGIN
            -- A date would be taken from a time, and the rest of it cut off in silence.
            EXECUTE format('SELECT pg_typeof(v.%1$I) <> ''date''::regtype OR length($1 ->> %1$L) = 10 FROM jsonb_populate_record(NULL::salesforce.%2$I, jsonb_build_object(%1$L, $1 -> %1$L)) v', k, relation)
                INTO ok USING cells;
        EXCEPTION WHEN data_exception THEN
            ok := false;
        END;
        IF NOT ok THEN
            misfit := misfit || k;
        END IF;
    END LOOP;
    IF misfit <> '{}' THEN
        UPDATE mirror.fields SET wanted_at = clock_timestamp(), filled_at = NULL WHERE object = of_object AND column_name = ANY (misfit) AND gone_at IS NULL AND left_out_at IS NULL;
    END IF;
    RETURN cells - misfit;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION mirror.put_back(relation text, of_object text, of_row bigint, base jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    was text := current_setting('tandem.engine', true);
    hit boolean;
BEGIN
    -- What people had changed before they deleted it they see again.
    base := base || coalesce((SELECT h.cells - 'id'::text - ARRAY(SELECT jsonb_object_keys(o.changed) FROM mirror.outbox o WHERE o.object = of_object AND o.row_id = of_row AND o.operation = 'update')
        FROM mirror.held h WHERE h.object = of_object AND h.row_id = of_row), '{}');
    base := mirror.fitting(relation, of_object, base);
    PERFORM set_config('tandem.engine', 'on', true);
    EXECUTE format('INSERT INTO salesforce.%1$I SELECT * FROM jsonb_populate_record(NULL::salesforce.%1$I, $1) ON CONFLICT DO NOTHING', relation) USING base;
    GET DIAGNOSTICS hit = ROW_COUNT;
    PERFORM set_config('tandem.engine', coalesce(was, ''), true);
    RETURN hit;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION mirror.drop_refused(ids bigint[], actor text, reason text) RETURNS integer LANGUAGE plpgsql AS $$
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
            PERFORM mirror.put(name, r.row_id, mirror.fitting(name, r.object, back));
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

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION mirror.overturn_conflict(conflict bigint, choose text, actor text) RETURNS boolean LANGUAGE plpgsql AS $$
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
            PERFORM mirror.put(name, c.row_id, mirror.fitting(name, c.object, CASE WHEN kept ? c.column_name THEN jsonb_build_object(c.column_name, kept -> c.column_name) ELSE jsonb_build_object(c.column_name, value) END));
        END IF;
        RETURN true;
    END IF;
    IF mirror.fitting(name, c.object, jsonb_build_object(c.column_name, value)) = '{}' THEN
        RAISE EXCEPTION 'The value "%" does not fit %.% any more: the type of the field was changed in Salesforce since.', left(value, 60), c.object, c.field
            USING ERRCODE = 'invalid_text_representation', HINT = 'Edit the record instead, or let the other value stand.';
    END IF;
    PERFORM mirror.put(name, c.row_id, jsonb_build_object(c.column_name, value));
    -- As capture writes them, the values have the column's type.
    EXECUTE format('SELECT jsonb_build_object(''base'', to_jsonb(b.%1$I), ''local'', to_jsonb(l.%1$I)) FROM jsonb_populate_record(NULL::salesforce.%2$I, $1) b, jsonb_populate_record(NULL::salesforce.%2$I, $2) l', c.column_name, name)
        INTO typed USING mirror.fitting(name, c.object, jsonb_build_object(c.column_name, base)), jsonb_build_object(c.column_name, value);
    IF typed ->> 'base' IS NULL AND base IS NOT NULL THEN
        typed := typed || jsonb_build_object('base', base); -- in Salesforce's words, which the sender compares with what it reads
    END IF;
    INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application)
        VALUES (c.object, c.row_id, c.sfid, 'update', jsonb_build_object(c.column_name, typed -> 'base'), jsonb_build_object(c.column_name, typed -> 'local'), actor, 'Tandem');
    PERFORM pg_notify('tandem_outbox', c.object);
    RETURN true;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION mirror.fitting(text, text, jsonb) FROM PUBLIC;

-- +goose Down
SELECT 1;
