package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// SchemaChange is what a describe changed here.
type SchemaChange struct {
	Created  bool
	Added    []string // fields that are columns now
	Gone     []string // fields that the user no longer sees; their columns and data stay
	Returned []string // fields that were gone and are seen again
	Retyped  []Retype
}

// Retype is a field whose type changed. Err is nil if every value fitted the new type.
type Retype struct {
	Field    string
	From, To string
	Err      error
}

// Ensure makes the object's table fit its describe: a new table, columns for new fields, other types where every value fits.
// Nothing that holds data is dropped. lastModified is when the org says that the describe changed; zero if it does not say.
// A field whose values do not fit its new type is an error that names it; the table stays as it was.
func (db *DB) Ensure(ctx context.Context, schema sobject.Schema, direction Direction, lastModified time.Time) (*Table, SchemaChange, error) {
	var change SchemaChange
	tx, err := db.asEngine(ctx)
	if err != nil {
		return nil, change, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	// Two workers may meet the same new field; and the view of people hangs on several tables.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('tandem.mirror.ensure')), set_config('lock_timeout', '20s', true)`); err != nil {
		return nil, change, fmt.Errorf("take turns in changing tables: %w", err)
	}
	if change, err = ensureTable(ctx, tx, schema, direction, lastModified); err != nil {
		return nil, change, fmt.Errorf("make the table of %s: %w", schema.Name, err)
	}
	if change.Created || len(change.Added)+len(change.Gone)+len(change.Returned)+len(change.Retyped) > 0 {
		if err := ensurePerson(ctx, tx); err != nil {
			return nil, change, fmt.Errorf("make the view salesforce.person: %w", err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, change, fmt.Errorf("make the table of %s: %w", schema.Name, err)
	}
	t, _, err := db.Table(ctx, schema.Name)
	return t, change, err
}

type storedField struct {
	column, columnType string
	gone               bool
}

func ensureTable(ctx context.Context, tx pgx.Tx, schema sobject.Schema, direction Direction, lastModified time.Time) (SchemaChange, error) {
	var change SchemaChange
	describe, err := json.Marshal(schema)
	if err != nil {
		return change, err
	}
	var modified *time.Time
	if !lastModified.IsZero() {
		modified = &lastModified
	}
	err = tx.QueryRow(ctx, `INSERT INTO mirror.objects (object, table_name, direction, describe, last_modified, described_at) VALUES ($1, $2, $3, $4, $5, now())
		ON CONFLICT (object) DO UPDATE SET direction = excluded.direction, describe = excluded.describe, last_modified = excluded.last_modified, described_at = now()
		RETURNING to_regclass($6) IS NULL`,
		schema.Name, "salesforce."+schema.Table(), string(direction), describe, modified, tableName(schema)).Scan(&change.Created)
	if err != nil {
		return change, err
	}
	if change.Created {
		if err := createTable(ctx, tx, schema, direction); err != nil {
			return change, err
		}
	}
	have, err := storedFields(ctx, tx, schema.Name)
	if err != nil {
		return change, err
	}
	fields := schema.Synced()
	seen := map[string]bool{}
	for _, f := range fields {
		seen[f.Name] = true
		old, known := have[f.Name]
		want := typeOf(f.Type)
		switch {
		case !known:
			if !change.Created {
				change.Added = append(change.Added, f.Name)
				if _, err := tx.Exec(ctx, `ALTER TABLE `+tableName(schema)+` ADD COLUMN IF NOT EXISTS `+columnSQL(f)); err != nil {
					return change, err
				}
			}
		case old.columnType != string(want):
			r := Retype{Field: f.Name, From: old.columnType, To: string(want)}
			if r.Err = retype(ctx, tx, schema, f, want); r.Err != nil {
				return change, fmt.Errorf("the field %s is a %s now and some of its values do not fit: %w", f.Name, f.Type, r.Err)
			}
			change.Retyped = append(change.Retyped, r)
		}
		if known && old.gone {
			change.Returned = append(change.Returned, f.Name)
		}
		_, err := tx.Exec(ctx, `INSERT INTO mirror.fields (object, field, column_name, column_type, field_type, added_at) VALUES ($1, $2, $3, $4, $5, now())
			ON CONFLICT (object, field) DO UPDATE SET column_type = excluded.column_type, field_type = excluded.field_type, gone_at = NULL`,
			schema.Name, f.Name, f.Column(), string(want), f.Type)
		if err != nil {
			return change, err
		}
	}
	for name, f := range have {
		if !seen[name] && !f.gone {
			// Invariant 9: what the user no longer sees is neither null nor deleted.
			change.Gone = append(change.Gone, name)
			if _, err := tx.Exec(ctx, `UPDATE mirror.fields SET gone_at = now() WHERE object = $1 AND field = $2`, schema.Name, name); err != nil {
				return change, err
			}
		}
	}
	slices.Sort(change.Gone)
	return change, nil
}

func tableName(schema sobject.Schema) string {
	return pgx.Identifier{"salesforce", schema.Table()}.Sanitize()
}

func columnSQL(f sobject.Field) string {
	s := quote(f.Column()) + " " + string(typeOf(f.Type))
	if f.Type == "id" || f.Type == "reference" {
		// Ids are compared byte by byte; their checksum makes case matter.
		s += ` COLLATE "C"`
	}
	return s
}

func createTable(ctx context.Context, tx pgx.Tx, schema sobject.Schema, direction Direction) error {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE %s (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", tableName(schema))
	for _, f := range schema.Synced() {
		b.WriteString(", " + columnSQL(f))
		if f.Column() == "sfid" {
			b.WriteString(" UNIQUE")
		}
	}
	// Room in each page lets an update stay on it, as long as no indexed column changes.
	b.WriteString(") WITH (fillfactor = 90)")
	guard := "mirror.refuse_local"
	if direction == TwoWay {
		guard = "mirror.refuse_until_sending"
	}
	comment := fmt.Sprintf("COMMENT ON TABLE %s IS %s", tableName(schema), literal("Salesforce "+schema.Name+", kept by Tandem"))
	for _, sql := range []string{
		b.String(),
		fmt.Sprintf("CREATE TRIGGER tandem_guard BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT WHEN (current_setting('tandem.engine', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION %s()", tableName(schema), guard),
		fmt.Sprintf("CREATE TRIGGER tandem_guard_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT WHEN (current_setting('tandem.engine', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION %s()", tableName(schema), guard),
		comment,
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// retype converts a column where every value fits. Text takes everything; the others go through their text.
func retype(ctx context.Context, tx pgx.Tx, schema sobject.Schema, f sobject.Field, to columnType) error {
	if _, err := tx.Exec(ctx, `DROP VIEW IF EXISTS salesforce.person`); err != nil {
		return err
	}
	c := quote(f.Column())
	_, err := tx.Exec(ctx, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::text::%s", tableName(schema), c, to, c, to))
	return err
}

func storedFields(ctx context.Context, q pgx.Tx, object string) (map[string]storedField, error) {
	rows, err := q.Query(ctx, `SELECT field, column_name, column_type, gone_at IS NOT NULL FROM mirror.fields WHERE object = $1`, object)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	have := map[string]storedField{}
	for rows.Next() {
		var name string
		var f storedField
		if err := rows.Scan(&name, &f.column, &f.columnType, &f.gone); err != nil {
			return nil, err
		}
		have[name] = f
	}
	return have, rows.Err()
}

// Table gives an object's table as of the last describe, and when the org said that this changed. ErrNoTable if there was none.
func (db *DB) Table(ctx context.Context, object string) (*Table, time.Time, error) {
	var describe []byte
	var modified *time.Time
	err := db.pool.QueryRow(ctx, `SELECT describe, last_modified FROM mirror.objects WHERE object = $1`, object).Scan(&describe, &modified)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, time.Time{}, ErrNoTable
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read what is known of %s: %w", object, err)
	}
	t := &Table{}
	if err := json.Unmarshal(describe, &t.schema); err != nil {
		return nil, time.Time{}, fmt.Errorf("read the stored describe of %s: %w", object, err)
	}
	for _, f := range t.schema.Synced() {
		t.columns = append(t.columns, column{f.Name, f.Column(), typeOf(f.Type)})
	}
	if modified == nil {
		return t, time.Time{}, nil
	}
	return t, modified.UTC(), nil
}

// linkColumns are the columns that people's queries go along from object to object. Their indexes are made after the first read.
var linkColumns = map[string][]string{
	"Contact":                {"accountid"},
	"Opportunity":            {"accountid"},
	"OpportunityContactRole": {"opportunityid", "contactid"},
	"CampaignMember":         {"campaignid", "leadid", "contactid"},
	"Task":                   {"whoid", "whatid"},
	"Event":                  {"whoid", "whatid"},
}

// afterFirst makes the indexes of a table that was read for the first time, and its statistics.
func (db *DB) afterFirst(ctx context.Context, t *Table) error {
	analyse := []string{"sfid"}
	for _, c := range linkColumns[t.Object()] {
		if !t.has(c) {
			continue
		}
		analyse = append(analyse, quote(c))
		index := quote(t.schema.Table() + "_" + c)
		if _, err := db.pool.Exec(ctx, fmt.Sprintf(`CREATE INDEX IF NOT EXISTS %s ON %s (%s)`, index, t.name(), quote(c))); err != nil {
			return fmt.Errorf("make the index of %s on %s: %w", t.Object(), c, err)
		}
	}
	// The table's size and its links are what a plan goes wrong without; autovacuum does the other columns within a minute.
	if _, err := db.pool.Exec(ctx, fmt.Sprintf(`ANALYZE %s (%s)`, t.name(), strings.Join(analyse, ", "))); err != nil {
		return fmt.Errorf("analyse the table of %s: %w", t.Object(), err)
	}
	return nil
}
