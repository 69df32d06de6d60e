package mirror

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// encodeAhead is how many bytes of records are encoded before they are handed on.
	encodeAhead = 64 << 10
	// refusedMax bounds the records of one page that may be set aside: more than that is no bad cell but a wrong table.
	refusedMax = 10_000
)

var copyHeader = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// encoder turns records into the stream that binary COPY reads, one at a time, so that a page of any size needs the memory of
// one buffer. A record with a cell that its column cannot hold is left out and kept with the reason (Invariant 6).
type encoder struct {
	rows    sobject.Rows
	cells   []int // for each column, which cell of a row it is
	columns []column
	sfid    int // the cell that holds the id
	deleted int // the cell that holds IsDeleted, or -1
	order   []string

	buf        []byte
	off        int
	ended      bool
	read, sent int64
	sentGone   int64 // of those sent, how many are deleted
	refused    []refusal
	err        error
}

type refusal struct {
	sfid, field, message string
	value                []byte // the record's cells as JSON
}

func newEncoder(t *Table, rows sobject.Rows) (*encoder, error) {
	e := &encoder{rows: rows, columns: t.columns, deleted: -1, sfid: -1, order: rows.Columns(), buf: append(make([]byte, 0, 2*encodeAhead), copyHeader...)}
	for _, c := range t.columns {
		at := slices.IndexFunc(e.order, func(name string) bool { return strings.EqualFold(name, c.field) })
		if at < 0 {
			return nil, fmt.Errorf("the page of %s has no column %s: its columns are %s", t.Object(), c.field, strings.Join(e.order, ", "))
		}
		switch c.name {
		case "sfid":
			e.sfid = at
		case "isdeleted":
			e.deleted = at
		}
		e.cells = append(e.cells, at)
	}
	if len(e.order) != len(t.columns) {
		return nil, fmt.Errorf("the page of %s has %d columns, its table takes %d", t.Object(), len(e.order), len(t.columns))
	}
	if e.sfid < 0 {
		return nil, fmt.Errorf("the page of %s has no Id", t.Object())
	}
	return e, nil
}

// Read gives the encoded stream.
func (e *encoder) Read(p []byte) (int, error) {
	if e.off == len(e.buf) {
		e.buf, e.off = e.buf[:0], 0
	}
	for !e.ended && e.err == nil && len(e.buf)-e.off < encodeAhead {
		e.next()
	}
	if e.err != nil {
		return 0, e.err
	}
	n := copy(p, e.buf[e.off:])
	e.off += n
	if n == 0 && e.ended {
		return 0, io.EOF
	}
	return n, nil
}

func (e *encoder) next() {
	row, err := e.rows.Next()
	if errors.Is(err, io.EOF) {
		e.buf = append(e.buf, 0xff, 0xff)
		e.ended = true
		return
	}
	if err != nil {
		e.err = err
		return
	}
	e.read++
	start := len(e.buf)
	e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(len(e.columns))) //nolint:gosec // PostgreSQL has at most 1,600
	for i, c := range e.columns {
		cell := row[e.cells[i]]
		if len(cell) == 0 {
			cell = nil
		}
		if cell == nil && c.name == "sfid" {
			e.refuse(start, row, c.field, "it has no id")
			return
		}
		var reason string
		if e.buf, reason = encode(e.buf, c.kind, cell); reason != "" {
			e.refuse(start, row, c.field, reason)
			return
		}
	}
	e.sent++
	if e.deleted >= 0 && string(row[e.deleted]) == "true" {
		e.sentGone++
	}
}

func (e *encoder) refuse(start int, row [][]byte, field, reason string) {
	e.buf = e.buf[:start]
	if len(e.refused) == refusedMax {
		e.err = fmt.Errorf("more than %d records of one page cannot be stored, the last because of %s: %s", refusedMax, field, reason)
		return
	}
	values := make(map[string]*string, len(row))
	for i, cell := range row {
		if cell != nil {
			// jsonb takes no NUL: it is written as the escape that stands for it.
			text := strings.ReplaceAll(strings.ToValidUTF8(string(cell), "\uFFFD"), "\x00", `\u0000`)
			values[e.order[i]] = &text
		}
	}
	value, err := json.Marshal(values)
	if err != nil {
		e.err = err
		return
	}
	e.refused = append(e.refused, refusal{string(row[e.sfid]), field, reason, value})
}

// columnList is the table's columns in SQL.
func (t *Table) columnList(prefix string) string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = prefix + quote(c.name)
	}
	return strings.Join(names, ", ")
}

// copyDirect streams a page straight into the table. A record that is there already makes it fail with a unique violation.
func copyDirect(ctx context.Context, tx pgx.Tx, t *Table, e *encoder) (Result, error) {
	if _, err := tx.Conn().PgConn().CopyFrom(ctx, e, fmt.Sprintf("COPY %s (%s) FROM STDIN BINARY", t.name(), t.columnList(""))); err != nil {
		return Result{}, copyError(e, err)
	}
	r := Result{Read: e.read, New: e.sent, Refused: int64(len(e.refused))}
	return r, keepAccount(ctx, tx, t, e.sent-e.sentGone, e.sentGone)
}

// copyError prefers what went wrong with the records over what PostgreSQL says of a stream that ended early.
func copyError(e *encoder, err error) error {
	if e.err != nil {
		return e.err
	}
	return err
}

// staging names the session's temporary table for one shape of the object.
func (t *Table) staging() string {
	h := fnv.New64a()
	for _, c := range t.columns {
		fmt.Fprintf(h, "%s %s,", c.name, c.kind)
	}
	return quote(fmt.Sprintf("tandem_%.40s_%x", t.schema.Table(), h.Sum64()))
}

// copyStaged streams a page into a temporary table and from there only what differs into the object's. The join comes before
// the upsert because ON CONFLICT locks, and so writes, every row that it meets, changed or not. A record that is older than
// the one that is there stays out; of a record that the page holds twice the newer counts.
func copyStaged(ctx context.Context, tx pgx.Tx, t *Table, e *encoder) (Result, error) {
	st := t.staging()
	if _, err := tx.Exec(ctx, fmt.Sprintf(`CREATE TEMPORARY TABLE IF NOT EXISTS %s ON COMMIT DELETE ROWS AS SELECT %s FROM %s WITH NO DATA`, st, t.columnList(""), t.name())); err != nil {
		return Result{}, fmt.Errorf("make the staging table of %s: %w", t.Object(), err)
	}
	if _, err := tx.Exec(ctx, `TRUNCATE `+st); err != nil {
		return Result{}, fmt.Errorf("empty the staging table of %s: %w", t.Object(), err)
	}
	if _, err := tx.Conn().PgConn().CopyFrom(ctx, e, fmt.Sprintf("COPY %s (%s) FROM STDIN BINARY", st, t.columnList(""))); err != nil {
		return Result{}, copyError(e, err)
	}
	r := Result{Read: e.read, Refused: int64(len(e.refused))}
	if e.sent == 0 {
		return r, nil
	}
	var distinct int64
	if err := tx.QueryRow(ctx, fmt.Sprintf(`SELECT count(DISTINCT sfid) FROM %s`, st)).Scan(&distinct); err != nil {
		return Result{}, err
	}
	newer := "s.ctid > o.ctid"
	if t.has("systemmodstamp") {
		newer = "(s.systemmodstamp, s.ctid) > (o.systemmodstamp, o.ctid)"
	}
	if distinct < e.sent {
		if _, err := tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s o USING %s s WHERE s.sfid = o.sfid AND %s`, st, st, newer)); err != nil {
			return Result{}, fmt.Errorf("drop the doubles of a page of %s: %w", t.Object(), err)
		}
	}
	if _, err := tx.Exec(ctx, fmt.Sprintf(`UPDATE mirror.refusals r SET resolved_at = now() FROM %s s WHERE r.object = $1 AND r.direction = 'in' AND r.resolved_at IS NULL AND r.sfid = s.sfid`, st), t.Object()); err != nil {
		return Result{}, fmt.Errorf("resolve what was set aside: %w", err)
	}
	var isNew, changed, newGone, died, revived int64
	if err := tx.QueryRow(ctx, t.upsertSQL(st)).Scan(&isNew, &changed, &newGone, &died, &revived); err != nil {
		return Result{}, fmt.Errorf("write a page of %s: %w", t.Object(), err)
	}
	r.New, r.Deleted, r.Changed = isNew, died, changed-died
	r.Unchanged = e.sent - isNew - changed
	return r, keepAccount(ctx, tx, t, isNew-newGone-died+revived, newGone+died-revived)
}

func (t *Table) upsertSQL(st string) string {
	var set, differs []string
	for _, c := range t.columns {
		if c.name != "sfid" {
			set = append(set, quote(c.name)+" = excluded."+quote(c.name))
			differs = append(differs, quote(c.name))
		}
	}
	row := func(prefix string) string { return "(" + prefix + strings.Join(differs, ", "+prefix) + ")" }
	fresh, guard := "true", ""
	if t.has("systemmodstamp") {
		fresh = "(t.systemmodstamp IS NULL OR s.systemmodstamp >= t.systemmodstamp)"
		guard = " WHERE x.systemmodstamp IS NULL OR excluded.systemmodstamp >= x.systemmodstamp"
	}
	was, is := "false", "false"
	if t.HasIsDeleted() {
		was, is = "coalesce(t.isdeleted, false)", "coalesce(s.isdeleted, false)"
	}
	return fmt.Sprintf(`WITH d AS MATERIALIZED (
			SELECT s.*, t.sfid IS NULL AS tandem_new, %[6]s AS tandem_was, %[7]s AS tandem_is
			FROM %[1]s s LEFT JOIN %[2]s t ON t.sfid = s.sfid
			WHERE t.sfid IS NULL OR %[4]s IS DISTINCT FROM %[5]s AND %[8]s
		), written AS (
			INSERT INTO %[2]s AS x (%[3]s) SELECT %[3]s FROM d ON CONFLICT (sfid) DO UPDATE SET %[9]s%[10]s
		)
		SELECT count(*) FILTER (WHERE tandem_new), count(*) FILTER (WHERE NOT tandem_new), count(*) FILTER (WHERE tandem_new AND tandem_is),
			count(*) FILTER (WHERE NOT tandem_new AND tandem_is AND NOT tandem_was), count(*) FILTER (WHERE NOT tandem_new AND tandem_was AND NOT tandem_is) FROM d`,
		st, t.name(), t.columnList(""), row("t."), row("s."), was, is, fresh, strings.Join(set, ", "), guard)
}

// keepAccount keeps how many live and deleted records the table holds.
func keepAccount(ctx context.Context, tx pgx.Tx, t *Table, live, deleted int64) error {
	if live == 0 && deleted == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE mirror.objects SET records = records + $2, deleted = deleted + $3 WHERE object = $1`, t.Object(), live, deleted)
	if err != nil {
		return fmt.Errorf("keep the count of %s: %w", t.Object(), err)
	}
	return nil
}

// setAside keeps the records that could not be stored, each with its reason.
func setAside(ctx context.Context, tx pgx.Tx, object string, refused []refusal) error {
	if len(refused) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, r := range refused {
		message := fmt.Sprintf("The value of %s cannot be stored: %s. The record is set aside; correct the value in Salesforce and it arrives with the next cycle.", r.field, r.reason())
		var sfid *string
		if r.sfid != "" {
			sfid = &r.sfid
		}
		batch.Queue(`INSERT INTO mirror.refusals (object, sfid, direction, field, code, message, value) VALUES ($1, $2, 'in', $3, 'VALUE_DOES_NOT_FIT', $4, $5)
			ON CONFLICT (object, direction, coalesce(sfid, ''), coalesce(field, '')) WHERE resolved_at IS NULL DO UPDATE SET message = excluded.message, value = excluded.value, last_seen_at = now()`,
			object, sfid, r.field, message, r.value)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("set %d records of %s aside: %w", len(refused), object, err)
	}
	return nil
}

func (r refusal) reason() string { return r.message }
