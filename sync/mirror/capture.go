package mirror

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// access says what people may do with a column here, and why not where the describe alone does not say it.
type access struct {
	insert, update bool
	why            string
}

// accessOf decides whether people may write a field's column: only if what they write can be sent. fixed are the fields, in
// lower case, that an admin lets come from Salesforce only, or not at all.
func accessOf(s sobject.Schema, f sobject.Field, direction Direction, fixed []string) access {
	switch {
	case direction != TwoWay:
		return access{}
	case f.Column() == "sfid":
		return access{}
	case slices.Contains(fixed, strings.ToLower(f.Name)):
		return access{why: "an admin lets it come from Salesforce only"}
	case f.Calculated:
		return access{why: "Salesforce calculates it"}
	case f.AutoNumber:
		return access{why: "Salesforce numbers it"}
	}
	return access{insert: f.Createable && s.Createable, update: f.Updateable && s.Updateable}
}

// captured is a column as the triggers see it.
type captured struct {
	name           string
	text, refers   bool
	insert, update bool
}

// isset is the column's value of a row variable, null where Salesforce would see nothing.
func (c captured) isset(row string) string {
	v := row + "." + quote(c.name)
	if c.text {
		return "nullif(" + v + ", '')"
	}
	return v
}

// Recapture makes an object's triggers anew where an admin's choice changed what may be written, without a new describe. It costs one
// look where nothing changed. ErrNoTable if the object was never described.
func (db *DB) Recapture(ctx context.Context, object string, direction Direction, fixed ...string) error {
	var describe []byte
	var known map[string]access
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(ctx, `SELECT describe FROM mirror.objects WHERE object = $1 AND direction = $2`, object, string(direction)).Scan(&describe); err != nil {
			return err
		}
		known, err = loadAccess(ctx, tx, object)
		return err
	})
	if err != nil && err != pgx.ErrNoRows { //nolint:errorlint // pgx gives it as it is
		return fmt.Errorf("look at what may be written of %s: %w", object, err)
	}
	if err == nil {
		var s sobject.Schema
		if err := json.Unmarshal(describe, &s); err != nil {
			return fmt.Errorf("read the stored describe of %s: %w", object, err)
		}
		lower := lowered(fixed)
		same := true
		for _, f := range s.Synced() {
			same = same && known[columnName(f)] == accessOf(s, f, direction, lower)
		}
		if same {
			return nil
		}
	}
	t, modified, err := loadTable(ctx, db.pool, object)
	if err != nil {
		return err
	}
	_, _, err = db.Ensure(ctx, t.schema, direction, modified, fixed...)
	return err
}

func lowered(names []string) []string {
	l := make([]string, len(names))
	for i, n := range names {
		l[i] = strings.ToLower(n)
	}
	return l
}

func loadAccess(ctx context.Context, q querier, object string) (map[string]access, error) {
	rows, err := q.Query(ctx, `SELECT column_name, can_insert, can_update, why_not FROM mirror.fields WHERE object = $1 AND gone_at IS NULL AND left_out_at IS NULL`, object)
	if err != nil {
		return nil, err
	}
	known := map[string]access{}
	var name string
	var a access
	_, err = pgx.ForEachRow(rows, []any{&name, &a.insert, &a.update, &a.why}, func() error { known[name] = a; return nil })
	return known, err
}

// storeAccess notes what people may write. Fields that are gone or left out they may not: what they wrote could not be sent.
func (e *ensuring) storeAccess(ctx context.Context, direction Direction, fixed []string) error {
	type row struct {
		Field     string   `json:"field"`
		Label     string   `json:"label"`
		CanInsert bool     `json:"can_insert"`
		CanUpdate bool     `json:"can_update"`
		WhyNot    string   `json:"why_not"`
		RefersTo  []string `json:"reference_to"`
	}
	rows := []row{}
	for _, f := range e.schema.Synced() {
		a := accessOf(e.schema, f, direction, fixed)
		to := []string{}
		if f.Type == "reference" {
			to = append(to, f.ReferenceTo...)
		}
		rows = append(rows, row{f.Name, f.Label, a.insert, a.update, a.why, to})
	}
	_, err := e.tx.Exec(ctx, `UPDATE mirror.fields f SET label = coalesce(r.label, f.label), can_insert = coalesce(r.can_insert, false), can_update = coalesce(r.can_update, false),
			why_not = coalesce(r.why_not, ''), reference_to = coalesce(r.reference_to, f.reference_to)
		FROM mirror.fields k LEFT JOIN jsonb_to_recordset($2::jsonb) r(field text, label text, can_insert boolean, can_update boolean, why_not text, reference_to text[]) ON r.field = k.field
		WHERE k.object = $1 AND f.object = k.object AND f.field = k.field AND (f.label, f.can_insert, f.can_update, f.why_not, f.reference_to)
			IS DISTINCT FROM (coalesce(r.label, f.label), coalesce(r.can_insert, false), coalesce(r.can_update, false), coalesce(r.why_not, ''), coalesce(r.reference_to, f.reference_to))`,
		e.schema.Name, rows)
	if err != nil {
		return fmt.Errorf("note what may be written of %s: %w", e.schema.Name, err)
	}
	return nil
}

// captureTrigger is the trigger of a two-way table beside the guard. It is of the AFTER kind: one before an insert would make COPY
// insert row by row, and would see rows that ON CONFLICT then does not insert. Its condition is short, for PostgreSQL reads it
// anew for each statement: a comparison of all columns in it cost 50 microseconds.
const captureTrigger = "tandem_capture"

// capture makes or renews the triggers that write people's edits to the outbox, in the transaction that makes them (Invariant 3), and
// those that refuse what cannot be sent. It follows storeAccess, from whose rows it is made.
func (e *ensuring) capture(ctx context.Context, direction Direction) error {
	function := pgx.Identifier{"mirror", short("capture_" + e.table)}.Sanitize()
	if direction != TwoWay {
		if _, err := e.tx.Exec(ctx, fmt.Sprintf("DROP TRIGGER IF EXISTS %s ON %s; DROP FUNCTION IF EXISTS %s()", captureTrigger, relation(e.table), function), pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("take the trigger off salesforce.%s: %w", e.table, err)
		}
		return nil
	}
	columns, err := e.captured(ctx)
	if err != nil {
		return err
	}
	statements := e.captureSQL(function, columns)
	sum := md5.Sum([]byte(strings.Join(statements, ";")))
	mark := hex.EncodeToString(sum[:])
	// Making a trigger takes a lock that holds up writers; it is made only when it differs.
	var have bool
	err = e.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::regclass AND tgname = $2 AND obj_description(oid, 'pg_trigger') = $3)`,
		relation(e.table), captureTrigger, mark).Scan(&have)
	if err != nil {
		return fmt.Errorf("look at the trigger of salesforce.%s: %w", e.table, err)
	}
	if have {
		return nil
	}
	if e.types["isdeleted"] == "boolean" {
		// A row that people insert is not deleted; views and conditions need not think of null.
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN isdeleted SET DEFAULT false", relation(e.table)))
	}
	statements = append(statements, fmt.Sprintf("COMMENT ON TRIGGER %s ON %s IS %s", captureTrigger, relation(e.table), literal(mark)))
	for _, sql := range statements {
		if _, err := e.tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make the trigger of salesforce.%s: %w", e.table, err)
		}
	}
	return nil
}

// captured lists the table's columns that are fields, also those that are gone. What people add to the table themselves is theirs.
func (e *ensuring) captured(ctx context.Context) ([]captured, error) {
	rows, err := e.tx.Query(ctx, `SELECT column_name, column_type = 'text', cardinality(reference_to) > 0, can_insert, can_update
		FROM mirror.fields WHERE object = $1 AND column_name <> 'sfid' ORDER BY column_name`, e.schema.Name)
	if err != nil {
		return nil, fmt.Errorf("read what may be written of %s: %w", e.schema.Name, err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (c captured, err error) {
		return c, r.Scan(&c.name, &c.text, &c.refers, &c.insert, &c.update)
	})
}

// captureChunk is how many of n columns are compared at once before they are compared one by one: most edits change few, so the
// square root of n takes the fewest comparisons.
func captureChunk(n int) int { return max(4, int(math.Sqrt(float64(n)))) }

// argumentsMax is how many columns one call takes with their names; a function in PostgreSQL has at most 100 arguments.
const argumentsMax = 48

// captureSQL is the function and the triggers. It depends on nothing but its arguments and the object, so that a digest of it tells
// whether they must be made again.
func (e *ensuring) captureSQL(function string, columns []captured) []string {
	object, label := literal(e.schema.Name), strings.ToLower(e.schema.Label)
	if label == "" {
		label = strings.ToLower(e.schema.Name)
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	// point lets a reference be looked at, and puts right what the row holds where it is not what was written.
	point := func(c captured) {
		line("IF NEW.%[1]s !~ '^[A-Za-z0-9]{18}$' THEN", quote(c.name))
		line("v := mirror.reference(%s, %s, NEW.id, %s, NEW.%s);", object, literal(e.table), literal(c.name), quote(c.name))
		line("IF v IS DISTINCT FROM NEW.%s THEN", quote(c.name))
		line("c := c || jsonb_build_object(%[1]s, v); PERFORM mirror.put(%[2]s, NEW.id, jsonb_build_object(%[1]s, v));", literal(c.name), literal(e.table))
		line("END IF; END IF;")
	}
	var inserted, updated, refers []captured
	for _, c := range columns {
		if c.insert {
			inserted = append(inserted, c)
		}
		if c.update {
			updated = append(updated, c)
		}
		if c.refers {
			refers = append(refers, c)
		}
	}
	createable := "true"
	refuseInsert := []string{"NEW.sfid IS NOT NULL"}
	refuseUpdate := []captured{{name: "sfid"}, {name: "id"}}
	for _, c := range columns {
		if !c.insert {
			if c.name == "isdeleted" {
				refuseInsert = append(refuseInsert, "NEW.isdeleted")
			} else {
				refuseInsert = append(refuseInsert, "NEW."+quote(c.name)+" IS NOT NULL")
			}
		}
		if !c.update {
			refuseUpdate = append(refuseUpdate, c)
		}
	}
	if !e.schema.Createable {
		createable, refuseInsert = "false", []string{"true"}
	}
	refuse := func(before string) string {
		return fmt.Sprintf("PERFORM mirror.refuse_columns(%s, %s, %s, %s, %s, to_jsonb(NEW));", object, literal(e.table), literal(label), createable, before)
	}
	write := func(operation, row, base, changed string) {
		line("INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application)")
		line("VALUES (%s, %s.id, %s.sfid, '%s', %s, %s, session_user, current_setting('application_name'));", object, row, row, operation, base, changed)
		// Once a transaction is enough; a savepoint that is rolled back forgets both.
		line("IF current_setting('tandem.told', true) IS DISTINCT FROM %s THEN", object)
		line("PERFORM pg_notify('tandem_outbox', %[1]s), set_config('tandem.told', %[1]s, true);", object)
		line("END IF;")
	}
	// A record that no longer meets the object's filter has stopped syncing: what could not be sent must not be accepted.
	inScope := func() {
		line("IF OLD.sfid IS NOT NULL AND EXISTS (SELECT FROM mirror.out_of_scope s WHERE s.object = %s AND s.sfid = OLD.sfid) THEN", object)
		line("PERFORM mirror.refuse_out_of_scope(%s, %s, OLD.sfid);", literal(e.table), literal(label))
		line("END IF;")
	}
	line("DECLARE b jsonb := '{}'; c jsonb := '{}'; v text;")
	line("BEGIN")
	line("IF TG_OP = 'UPDATE' THEN")
	line("IF %s THEN %s END IF;", differ(refuseUpdate), refuse("to_jsonb(OLD)"))
	for chunk := range slices.Chunk(updated, captureChunk(len(updated))) {
		line("IF %s THEN", differ(chunk))
		for _, col := range chunk {
			name := literal(col.name)
			line("IF %s IS DISTINCT FROM %s THEN", col.isset("OLD"), col.isset("NEW"))
			line("b := b || jsonb_build_object(%[1]s, %[2]s); c := c || jsonb_build_object(%[1]s, %[3]s);", name, col.isset("OLD"), col.isset("NEW"))
			if col.refers {
				line("IF OLD.%s LIKE 'local:%%' THEN DELETE FROM mirror.links WHERE object = %s AND row_id = NEW.id AND column_name = %s; END IF;", quote(col.name), object, name)
				point(col)
			}
			line("END IF;")
		}
		line("END IF;")
	}
	line("IF c <> '{}' THEN")
	inScope()
	write("update", "NEW", "b", "c")
	line("END IF;")
	line("ELSIF TG_OP = 'INSERT' THEN")
	line("IF %s THEN %s END IF;", strings.Join(refuseInsert, " OR "), refuse("NULL"))
	for chunk := range slices.Chunk(inserted, argumentsMax) {
		pairs := make([]string, len(chunk))
		for i, col := range chunk {
			pairs[i] = literal(col.name) + ", " + col.isset("NEW")
		}
		line("c := c || jsonb_strip_nulls(jsonb_build_object(%s));", strings.Join(pairs, ", "))
	}
	for _, col := range inserted {
		if col.refers {
			point(col)
		}
	}
	write("insert", "NEW", "b", "c")
	line("ELSE")
	inScope()
	if len(refers) > 0 {
		line("DELETE FROM mirror.links WHERE object = %s AND row_id = OLD.id;", object)
	}
	line("IF OLD.sfid IS NULL THEN PERFORM mirror.refuse_orphans(%s, %s, OLD.id); END IF;", object, literal(e.table))
	write("delete", "OLD", "to_jsonb(OLD)", "c")
	line("END IF;")
	line("RETURN NULL;")
	line("END")

	return []string{
		"CREATE OR REPLACE FUNCTION " + function + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS " + dollar(b.String()),
		"REVOKE ALL ON FUNCTION " + function + "() FROM PUBLIC",
		fmt.Sprintf("CREATE OR REPLACE TRIGGER %s AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW WHEN (current_setting('tandem.engine', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION %s()",
			captureTrigger, relation(e.table), function),
	}
}

// differ is the condition that one of the columns changed.
func differ(columns []captured) string {
	before, after := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		before[i], after[i] = "OLD."+quote(c.name), "NEW."+quote(c.name)
	}
	return "ROW(" + strings.Join(before, ", ") + ") IS DISTINCT FROM ROW(" + strings.Join(after, ", ") + ")"
}

// dollar quotes a function's body. Names and literals in it come from a describe, so the mark must not be in them.
func dollar(body string) string {
	mark := "$capture$"
	for i := 0; strings.Contains(body, mark); i++ {
		mark = fmt.Sprintf("$capture%d$", i)
	}
	return mark + "\n" + body + mark
}
