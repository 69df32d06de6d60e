package mirror

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
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

// Recapture makes an object's triggers anew where an admin's choice changed what may be written, or this version of the program writes
// them in other words, without a new describe. It costs one look where nothing changed. ErrNoTable if the object was never described.
func (db *DB) Recapture(ctx context.Context, object string, direction Direction, fixed ...string) error {
	same, err := db.capturedAlready(ctx, object, direction, fixed)
	if err != nil {
		return fmt.Errorf("look at what may be written of %s: %w", object, err)
	}
	if same {
		return nil
	}
	t, modified, err := loadTable(ctx, db.pool, object)
	if err != nil {
		return err
	}
	_, _, err = db.Ensure(ctx, t.schema, direction, modified, fixed...)
	return err
}

// capturedAlready tells whether an object's triggers are as they are to be.
func (db *DB) capturedAlready(ctx context.Context, object string, direction Direction, fixed []string) (same bool, err error) {
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		var describe []byte
		err := tx.QueryRow(ctx, `SELECT describe FROM mirror.objects WHERE object = $1 AND direction = $2`, object, string(direction)).Scan(&describe)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		e := ensuring{tx: tx}
		if err := json.Unmarshal(describe, &e.schema); err != nil {
			return fmt.Errorf("read the stored describe: %w", err)
		}
		known, err := loadAccess(ctx, tx, object)
		if err != nil {
			return err
		}
		lower := lowered(fixed)
		for _, f := range e.schema.Synced() {
			if known[columnName(f)] != accessOf(e.schema, f, direction, lower) {
				return nil
			}
		}
		if direction == TwoWay {
			e.table = short(e.schema.Table())
			c, err := e.captureNow(ctx)
			same = c.made && c.watches == c.scoped
			return err
		}
		same = true
		return nil
	})
	return same, err
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
// insert row by row, and would see rows that ON CONFLICT then does not insert. It has no condition: PostgreSQL reads a condition anew for each
// statement, which cost an edit of one row more than all of its comparisons. That the engine's writes are not captured (Invariant 4) is the
// first thing that the function looks at.
const captureTrigger = "tandem_capture"

// capturing is what an object's trigger is to be, and what it is.
type capturing struct {
	plain, watching string // the function's SQL: without and with a look at records that left the object's filter
	mark            string // a digest of both, and of the trigger
	made            bool   // the trigger is there and made of the same SQL
	watches         bool   // which of both it is
	scoped          bool   // some record of the object has left its filter
}

// captureNow compares an object's trigger with what it is to be. It follows storeAccess, from whose rows it is made.
func (e *ensuring) captureNow(ctx context.Context) (c capturing, err error) {
	columns, err := e.captured(ctx)
	if err != nil {
		return c, err
	}
	c.plain, c.watching = e.captureSQL(columns, false), e.captureSQL(columns, true)
	sum := md5.Sum([]byte(c.plain + c.watching + e.triggerSQL()))
	c.mark = hex.EncodeToString(sum[:])
	err = e.tx.QueryRow(ctx, `SELECT o.capture_mark = $3 AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass($2) AND tgname = $4 AND tgqual IS NULL AND tgfoid = to_regproc($5)),
			o.capture_watches, EXISTS (SELECT FROM mirror.out_of_scope s WHERE s.object = o.object)
		FROM mirror.objects o WHERE o.object = $1`,
		e.schema.Name, relation(e.table), c.mark, captureTrigger, e.captureFunction()).Scan(&c.made, &c.watches, &c.scoped)
	if err != nil {
		return c, fmt.Errorf("look at the trigger of salesforce.%s: %w", e.table, err)
	}
	return c, nil
}

// capture makes or renews the triggers that write people's edits to the outbox, in the transaction that makes them (Invariant 3), and
// those that refuse what cannot be sent. It follows store, which keeps the object's row: whoever marks records that left the filter waits for it.
func (e *ensuring) capture(ctx context.Context, direction Direction) error {
	if direction != TwoWay {
		if _, err := e.tx.Exec(ctx, fmt.Sprintf("DROP TRIGGER IF EXISTS %s ON %s; DROP FUNCTION IF EXISTS %s(); UPDATE mirror.objects SET capture_mark = '', capture_watching = '' WHERE object = %s AND capture_mark <> ''",
			captureTrigger, relation(e.table), e.captureFunction(), literal(e.schema.Name)), pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("take the trigger off salesforce.%s: %w", e.table, err)
		}
		return nil
	}
	c, err := e.captureNow(ctx)
	if err != nil {
		return err
	}
	if c.made && c.watches == c.scoped {
		return nil
	}
	statements := []string{c.plain}
	if c.scoped {
		statements = []string{c.watching}
	}
	// Making a trigger takes a lock that holds up writers; it is made only when it differs.
	if !c.made {
		statements = append(statements, "REVOKE ALL ON FUNCTION "+e.captureFunction()+"() FROM PUBLIC", e.triggerSQL())
		if e.types["isdeleted"] == "boolean" {
			// A row that people insert is not deleted; views and conditions need not think of null.
			statements = append(statements, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN isdeleted SET DEFAULT false", relation(e.table)))
		}
	}
	for _, sql := range statements {
		if _, err := e.tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make the trigger of salesforce.%s: %w", e.table, err)
		}
	}
	_, err = e.tx.Exec(ctx, `UPDATE mirror.objects SET capture_mark = $2, capture_watching = $3, capture_watches = $4 WHERE object = $1`, e.schema.Name, c.mark, c.watching, c.scoped)
	if err != nil {
		return fmt.Errorf("note the trigger of salesforce.%s: %w", e.table, err)
	}
	return nil
}

// captureFunction is the name of the table's trigger function, quoted.
func (e *ensuring) captureFunction() string {
	return pgx.Identifier{"mirror", short("capture_" + e.table)}.Sanitize()
}

func (e *ensuring) triggerSQL() string {
	return fmt.Sprintf("CREATE OR REPLACE TRIGGER %s AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %s()", captureTrigger, relation(e.table), e.captureFunction())
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

// captureSQL is the trigger's function; watching makes it refuse edits of records that left the object's filter, which costs each edit a
// look and is done only once some have. It depends on nothing but its arguments and the object, so that a digest of it tells
// whether it must be made again.
//
// The function has its owner's rights and its caller's search_path, for setting one costs each call a twentieth of an edit. So nothing in it
// may be found by that path but operators of PostgreSQL's own on equal types of its own, which pg_catalog has exactly and which are searched for
// there first; functions, types and tables are named with their schema. Only a path that names pg_catalog itself, and so could put something
// before it, is replaced for as long as the call lasts.
func (e *ensuring) captureSQL(columns []captured, watching bool) string {
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
		line("c := c || pg_catalog.jsonb_build_object(%[1]s, v); PERFORM mirror.put(%[2]s, NEW.id, pg_catalog.jsonb_build_object(%[1]s, v));", literal(c.name), literal(e.table))
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
		return fmt.Sprintf("PERFORM mirror.refuse_columns(%s, %s, %s, %s, %s, pg_catalog.to_jsonb(NEW));", object, literal(e.table), literal(label), createable, before)
	}
	write := func(operation, row, base, changed string) {
		line("INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application)")
		line("VALUES (%s, %s.id, %s.sfid, '%s', %s, %s, session_user, pg_catalog.current_setting('application_name'));", object, row, row, operation, base, changed)
		// Once a transaction is enough; a savepoint that is rolled back forgets both.
		line("IF pg_catalog.current_setting('tandem.told', true) IS DISTINCT FROM %s THEN", object)
		line("PERFORM pg_catalog.pg_notify('tandem_outbox', %[1]s), pg_catalog.set_config('tandem.told', %[1]s, true);", object)
		line("END IF;")
	}
	// A record that no longer meets the object's filter has stopped syncing: what could not be sent must not be accepted.
	inScope := func() {
		if !watching {
			return
		}
		line("IF OLD.sfid IS NOT NULL AND EXISTS (SELECT FROM mirror.out_of_scope s WHERE s.object = %s AND s.sfid = OLD.sfid) THEN", object)
		line("PERFORM mirror.refuse_out_of_scope(%s, %s, OLD.sfid);", literal(e.table), literal(label))
		line("END IF;")
	}
	line("DECLARE b pg_catalog.jsonb := '{}'; c pg_catalog.jsonb := '{}'; v pg_catalog.text; path pg_catalog.text;")
	line("BEGIN")
	// One question for both: each costs. A path without this letter names no pg_catalog, in whatever case; what else has it is replaced in vain, which
	// does no harm.
	line("IF pg_catalog.current_setting('tandem.engine', true) OPERATOR(pg_catalog.=) 'on' OR pg_catalog.strpos(pg_catalog.current_setting('search_path'), '_') OPERATOR(pg_catalog.<>) 0 THEN")
	line("IF pg_catalog.current_setting('tandem.engine', true) OPERATOR(pg_catalog.=) 'on' THEN RETURN NULL; END IF;")
	line("path := pg_catalog.current_setting('search_path'); PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);")
	line("END IF;")
	line("IF TG_OP = 'UPDATE' THEN")
	line("IF %s THEN %s END IF;", differ(refuseUpdate), refuse("pg_catalog.to_jsonb(OLD)"))
	for chunk := range slices.Chunk(updated, captureChunk(len(updated))) {
		line("IF %s THEN", differ(chunk))
		for _, col := range chunk {
			name := literal(col.name)
			line("IF %s IS DISTINCT FROM %s THEN", col.isset("OLD"), col.isset("NEW"))
			build := "pg_catalog.jsonb_build_object(%s, %s)"
			if col.text {
				build = "pg_catalog.jsonb_object(ARRAY[%s], ARRAY[%s])" // the same, without asking for the types
			}
			line("b := b || "+build+"; c := c || "+build+";", name, col.isset("OLD"), name, col.isset("NEW"))
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
		line("c := c || pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(%s));", strings.Join(pairs, ", "))
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
	write("delete", "OLD", "pg_catalog.to_jsonb(OLD)", "c")
	line("END IF;")
	line("IF path IS NOT NULL THEN PERFORM pg_catalog.set_config('search_path', path, true); END IF;")
	line("RETURN NULL;")
	line("END")
	return "CREATE OR REPLACE FUNCTION " + e.captureFunction() + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS " + dollar(b.String())
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
