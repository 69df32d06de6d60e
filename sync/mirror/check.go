package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// rangeIDs is how many ids of either side one range of a check holds at most: what one statement streams. It holds no more than a check
	// looks at one by one.
	rangeIDs = 10_000
	// diffShown is how many characters of a value a difference keeps.
	diffShown = 2_000
)

// CheckState says where a check is in its life.
type CheckState string

// The states of a check.
const (
	CheckReading   CheckState = "reading"   // the org's records are read, and a digest of each kept
	CheckComparing CheckState = "comparing" // the table is compared with the digests, range of ids by range
	CheckVerifying CheckState = "verifying" // what differed is looked at again on both sides
	CheckDone      CheckState = "done"
)

// Check is one comparison of an object's table with the org, and how far it has come.
type Check struct {
	ID      int64
	Object  string
	RunID   int64
	Fields  []string // API names of what is compared, Id first
	JobID   string   // of the Bulk job that reads the org's records; empty: REST does
	Locator string   // of the job's next page
	Page    int
	State   CheckState
	After   string // ids up to here were compared
	Round   int
	RoundAt time.Time

	Unlooked                                int64 // suspects beyond those that are looked at one by one: see CheckRange
	Expected, Read, Here, There, Suspects   int64
	Ranges, RangesDiffer                    int
	Refreshed, Explained, Moving, Differing int64
	StartedAt                               time.Time
}

// NotCompared are fields that every record has of its own for whoever looks at it: they change by looking, without the record's stamp.
var NotCompared = []string{"LastViewedDate", "LastReferencedDate"}

// Compared are the API names of the fields that a check of the table compares, Id first.
func (t *Table) Compared() []string {
	return slices.DeleteFunc(t.Fields(), func(name string) bool { return slices.Contains(NotCompared, name) })
}

const checkSelect = `SELECT id, object, run_id, fields, job_id, locator, page, state, after_sfid, round, coalesce(round_at, '-infinity'::timestamptz) = '-infinity'::timestamptz, coalesce(round_at, now()),
	expected, read, here, there, suspects, ranges, ranges_differ, refreshed, explained, moving, differing, started_at,
	(SELECT coalesce(sum(r.suspects), 0)::bigint FROM mirror.check_ranges r WHERE r.check_id = checks.id) FROM mirror.checks `

// CheckOf gives the check that a run makes; false if it has not begun.
func (db *DB) CheckOf(ctx context.Context, runID int64) (Check, bool, error) {
	var c Check
	var never bool
	err := db.pool.QueryRow(ctx, checkSelect+`WHERE run_id = $1`, runID).Scan(&c.ID, &c.Object, &c.RunID, &c.Fields, &c.JobID, &c.Locator, &c.Page, &c.State, &c.After, &c.Round, &never, &c.RoundAt,
		&c.Expected, &c.Read, &c.Here, &c.There, &c.Suspects, &c.Ranges, &c.RangesDiffer, &c.Refreshed, &c.Explained, &c.Moving, &c.Differing, &c.StartedAt, &c.Unlooked)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("look for the check of run %d: %w", runID, err)
	}
	if never {
		c.RoundAt = time.Time{}
	}
	return c, true, nil
}

// StartCheck notes a check whose reading has begun. One that the run has already is the answer instead.
func (db *DB) StartCheck(ctx context.Context, c Check) (Check, error) {
	// What a check left that ended without a result is of no use to this one.
	_, err := db.pool.Exec(ctx, `WITH old AS (DELETE FROM mirror.checks WHERE object = $1 AND state <> 'done' AND run_id <> $2 RETURNING id) DELETE FROM mirror.check_seen WHERE check_id IN (SELECT id FROM old)`, c.Object, c.RunID)
	if err == nil {
		_, err = db.pool.Exec(ctx, `INSERT INTO mirror.checks (object, run_id, fields, job_id, expected) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (run_id) DO NOTHING`, c.Object, c.RunID, c.Fields, c.JobID, c.Expected)
	}
	if err != nil {
		return c, fmt.Errorf("start a check of %s: %w", c.Object, err)
	}
	c, _, err = db.CheckOf(ctx, c.RunID)
	return c, err
}

// DropCheck forgets a check that cannot go on, with all that it saw.
func (db *DB) DropCheck(ctx context.Context, id int64) error {
	_, err := db.pool.Exec(ctx, `WITH s AS (DELETE FROM mirror.check_seen WHERE check_id = $1) DELETE FROM mirror.checks WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("drop check %d: %w", id, err)
	}
	return nil
}

// SetCheckExpected keeps how many records the finished job holds.
func (db *DB) SetCheckExpected(ctx context.Context, id, n int64) error {
	_, err := db.pool.Exec(ctx, `UPDATE mirror.checks SET expected = $2 WHERE id = $1`, id, n)
	if err != nil {
		return fmt.Errorf("keep what check %d reads: %w", id, err)
	}
	return nil
}

// CheckBatch takes pages of the org's records into a check; they count once it is committed, with the cursor (Invariant 1).
type CheckBatch struct {
	db    *DB
	tx    pgx.Tx
	check Check
	table *Table
	read  int64
}

// CheckBatch begins to take pages. Rollback or Commit ends it.
func (db *DB) CheckBatch(ctx context.Context, c Check) (*CheckBatch, error) {
	t, _, err := db.Table(ctx, c.Object)
	if err != nil {
		return nil, err
	}
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin a page of a check: %w", err)
	}
	return &CheckBatch{db: db, tx: tx, check: c, table: t}, nil
}

// Rollback forgets what was not committed.
func (b *CheckBatch) Rollback() { _ = b.tx.Rollback(context.Background()) }

// Take reads a page to its end, and keeps the id and the digest of each record.
func (b *CheckBatch) Take(ctx context.Context, rows sobject.Rows) error {
	d, err := newDigester(b.table, b.check.Fields, rows.Columns())
	if err != nil {
		return err
	}
	src := &seenRows{ctx: ctx, check: b.check.ID, digest: d, rows: rows}
	if _, err := b.tx.CopyFrom(ctx, pgx.Identifier{"mirror", "check_seen"}, []string{"check_id", "sfid", "digest"}, src); err != nil {
		if src.err != nil {
			err = src.err
		}
		return fmt.Errorf("take a page of %s to check: %w", b.check.Object, err)
	}
	b.read += src.read
	return nil
}

// Commit moves the check's cursor behind the pages taken; last tells that none follow. ErrStale if another worker took them meanwhile.
func (b *CheckBatch) Commit(ctx context.Context, next string, last bool) (Check, error) {
	defer b.Rollback()
	state := CheckReading
	if last {
		state = CheckComparing
	}
	tag, err := b.tx.Exec(ctx, `UPDATE mirror.checks SET page = page + 1, locator = $3, state = $4, read = read + $5 WHERE id = $1 AND page = $2 AND state = 'reading'`,
		b.check.ID, b.check.Page, next, string(state), b.read)
	if err == nil && tag.RowsAffected() == 0 {
		return b.check, ErrStale
	}
	if err == nil {
		err = b.tx.Commit(ctx)
	}
	if err != nil {
		return b.check, fmt.Errorf("keep a page of check %d: %w", b.check.ID, err)
	}
	c := b.check
	c.Page, c.Locator, c.State, c.Read = c.Page+1, next, state, c.Read+b.read
	return c, nil
}

// seenRows hands a page's ids and digests to COPY, one record at a time.
type seenRows struct {
	ctx    context.Context
	check  int64
	digest *digester
	rows   sobject.Rows
	read   int64
	id     string
	sum    int64
	err    error
}

func (s *seenRows) Next() bool {
	if s.err = s.ctx.Err(); s.err != nil {
		return false
	}
	cells, err := s.rows.Next()
	if err == io.EOF {
		return false
	}
	if err == nil && len(cells) != len(s.digest.order) {
		err = fmt.Errorf("%w: a record has %d cells, the page has %d columns", ErrPage, len(cells), len(s.digest.order))
	}
	var id sobject.ID
	if err == nil {
		id, err = sobject.ParseID(string(cells[s.digest.idAt]))
	}
	if err != nil {
		s.err = err
		return false
	}
	s.read++
	s.id, s.sum = string(id), s.digest.org(cells)
	return true
}

func (s *seenRows) Values() ([]any, error) { return []any{s.check, s.id, s.sum}, nil }
func (s *seenRows) Err() error             { return s.err }

// digester makes a record's digest of its values in one plain form each, whichever side they come from.
type digester struct {
	columns []column // in the check's order, without the Id
	order   []int    // of each cell of a page: which of columns it is, -1 for the Id
	idAt    int
	at      []int // of each column: which cell it is
	plain   []byte
	cell    []byte
}

func newDigester(t *Table, fields, cells []string) (*digester, error) {
	byName := make(map[string]column, len(t.columns))
	for _, c := range t.columns {
		byName[strings.ToLower(c.field)] = c
	}
	d := &digester{idAt: -1}
	for _, f := range fields {
		c, ok := byName[strings.ToLower(f)]
		if !ok {
			return nil, fmt.Errorf("%w: the table of %s has no column for %s", ErrPage, t.Object(), f)
		}
		if c.name != "sfid" {
			d.columns = append(d.columns, c)
		}
	}
	d.at = make([]int, len(d.columns))
	for i := range d.at {
		d.at[i] = -1
	}
	for i, name := range cells {
		n := slices.IndexFunc(d.columns, func(c column) bool { return strings.EqualFold(c.field, name) })
		d.order = append(d.order, n)
		if n >= 0 {
			d.at[n] = i
		} else if strings.EqualFold(name, "Id") {
			d.idAt = i
		}
	}
	if len(cells) > 0 && (d.idAt < 0 || slices.Contains(d.at, -1)) {
		return nil, fmt.Errorf("%w: it lacks a field that is compared", ErrPage)
	}
	return d, nil
}

// org digests a record of a page.
func (d *digester) org(cells [][]byte) int64 {
	d.plain = d.plain[:0]
	for i, c := range d.columns {
		d.add(c.kind, cells[d.at[i]])
	}
	return d.sum()
}

// here digests a row of the table; values are PostgreSQL's text, in the order of columns.
func (d *digester) here(values [][]byte) int64 {
	d.plain = d.plain[:0]
	for i, c := range d.columns {
		d.add(c.kind, values[i])
	}
	return d.sum()
}

func (d *digester) add(k kind, cell []byte) {
	d.cell = appendPlain(d.cell[:0], k, cell)
	d.plain = binary.AppendUvarint(d.plain, uint64(len(d.cell)))
	d.plain = append(d.plain, d.cell...)
}

func (d *digester) sum() int64 {
	sum := sha256.Sum256(d.plain)
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // the digest is the hash's bits, whatever their sign
}

// appendPlain writes a value in one form, whether Salesforce or PostgreSQL wrote it: numbers in digits without exponent and
// needless zeros, times in microseconds, all else as it is. It reads PostgreSQL's own output, so that what was written wrongly
// does not look right for having been written by this program. A cell that its column cannot hold stays as it is.
func appendPlain(dst []byte, k kind, cell []byte) []byte {
	if len(cell) == 0 {
		return dst
	}
	switch k {
	case kindInt4, kindInt8, kindNumeric:
		var buf [64]byte
		if d, f := parseDecimal(cell, buf[:]); f == fit && d.point < 400 && d.point > -400 {
			return append(dst, d.String()...)
		}
	case kindBool:
		switch string(cell) {
		case "t":
			return append(dst, "true"...)
		case "f":
			return append(dst, "false"...)
		}
	case kindTimestamptz:
		at := cell
		// PostgreSQL: 2026-11-20 17:38:59.5+00, in a session that is in UTC.
		if len(cell) > 11 && len(cell) < 40 && cell[10] == ' ' && bytes.HasSuffix(cell, []byte("+00")) {
			var buf [40]byte
			at = append(buf[:0], cell[:len(cell)-3]...)
			at[10] = 'T'
			at = append(at, 'Z')
		}
		if micros, f := parseTimestamp(at); f == fit {
			return binary.BigEndian.AppendUint64(append(dst, '@'), uint64(micros))
		}
	case kindTime:
		if micros, rest, f := parseClock(cell, flawTime); f == fit && (len(rest) == 0 || string(rest) == "Z") {
			return binary.BigEndian.AppendUint64(append(dst, '@'), uint64(micros))
		}
	case kindID:
		if id, err := sobject.ParseID(string(cell)); err == nil {
			return append(dst, id...)
		}
	}
	return append(dst, cell...)
}

// inUTC begins a transaction that only reads, in which times are written in UTC and in ISO's way.
func (db *DB) inUTC(ctx context.Context) (pgx.Tx, error) {
	tx, err := db.pool.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	if _, err := tx.Conn().PgConn().Exec(ctx, `SET LOCAL timezone TO 'UTC'; SET LOCAL datestyle TO 'ISO'; SET LOCAL intervalstyle TO 'postgres'; SET LOCAL jit TO off`).ReadAll(); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	return tx, nil
}

// asText makes PostgreSQL send every value as text.
var asText = pgx.QueryResultFormats{pgx.TextFormatCode}

// CompareRange compares the next range of ids: how many records each side has in it, and one digest over them. Of a range that
// differs it keeps the records at fault as suspects, as long as these are at most so many in all; of those beyond it keeps the range and
// their number. ErrNoLoad if what was read from the org got lost in a crash.
func (db *DB) CompareRange(ctx context.Context, c Check, most int) (Check, error) {
	t, _, err := db.Table(ctx, c.Object)
	if err != nil {
		return c, err
	}
	d, err := newDigester(t, c.Fields, nil)
	if err != nil {
		return c, err
	}
	tx, err := db.inUTC(ctx)
	if err != nil {
		return c, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if c.After == "" {
		var seen int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM mirror.check_seen WHERE check_id = $1`, c.ID).Scan(&seen); err != nil {
			return c, fmt.Errorf("count what check %d saw: %w", c.ID, err)
		}
		if seen != c.Read {
			return c, ErrNoLoad
		}
	}
	to := ""
	err = tx.QueryRow(ctx, fmt.Sprintf(`SELECT coalesce(least((SELECT sfid FROM %s WHERE sfid > $1 ORDER BY sfid OFFSET %[2]d LIMIT 1),
		(SELECT sfid FROM mirror.check_seen WHERE check_id = $2 AND sfid > $1 ORDER BY sfid OFFSET %[2]d LIMIT 1)), '')`, t.name(), min(rangeIDs, most)-1), c.After, c.ID).Scan(&to)
	if err != nil {
		return c, fmt.Errorf("find the next ids of %s: %w", c.Object, err)
	}
	suspects, r, err := compareRange(ctx, tx, t, d, c, to)
	if err != nil {
		return c, fmt.Errorf("compare %s with the org: %w", c.Object, err)
	}
	next := c
	next.Here, next.There, next.Ranges, next.Suspects = c.Here+r.here, c.There+r.there, c.Ranges+1, c.Suspects+int64(len(suspects))
	if r.here != r.there || r.hereSum != r.thereSum {
		next.RangesDiffer++
	}
	next.After = to
	if to == "" {
		next.State = CheckVerifying
	}
	if room := max(int64(most)-c.Suspects, 0); int64(len(suspects)) > room {
		slices.Sort(suspects)
		_, err := tx.Exec(ctx, `INSERT INTO mirror.check_ranges (check_id, object, after_sfid, upto_sfid, suspects) VALUES ($1, $2, $3, $4, $5)`, c.ID, c.Object, c.After, to, int64(len(suspects))-room)
		if err != nil {
			return c, fmt.Errorf("keep a range of %s that differs: %w", c.Object, err)
		}
		suspects = suspects[:room]
	}
	if len(suspects) > 0 {
		if _, err := tx.Exec(ctx, `INSERT INTO mirror.check_suspects (check_id, sfid) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING`, c.ID, suspects); err != nil {
			return c, fmt.Errorf("keep what differs of %s: %w", c.Object, err)
		}
	}
	tag, err := tx.Exec(ctx, `UPDATE mirror.checks SET after_sfid = $3, state = $4, here = $5, there = $6, ranges = $7, ranges_differ = $8, suspects = $9 WHERE id = $1 AND after_sfid = $2 AND state = 'comparing'`,
		c.ID, c.After, next.After, string(next.State), next.Here, next.There, next.Ranges, next.RangesDiffer, next.Suspects)
	if err == nil && tag.RowsAffected() == 0 {
		return c, ErrStale
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return c, fmt.Errorf("keep how far check %d has come: %w", c.ID, err)
	}
	return next, nil
}

type rangeSums struct {
	here, there       int64
	hereSum, thereSum int64
}

// compareRange streams a range's rows beside what was seen in the org, and gives the ids that differ: twice rangeIDs at most.
func compareRange(ctx context.Context, tx pgx.Tx, t *Table, d *digester, c Check, to string) (suspects []string, r rangeSums, err error) {
	columns := make([]string, len(d.columns))
	for i, col := range d.columns {
		columns[i] = ", t." + quote(col.name)
	}
	within := "sfid > $2 AND ($3 = '' OR sfid <= $3)"
	var scoped bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM mirror.out_of_scope WHERE object = $1)`, t.Object()).Scan(&scoped); err != nil {
		return nil, r, err
	}
	here := within
	if scoped {
		// What left the object's filter is kept here and no longer read.
		here += " AND sfid NOT IN (SELECT sfid FROM mirror.out_of_scope WHERE object = " + literal(t.Object()) + ")"
	}
	gone := "false"
	if t.HasIsDeleted() {
		gone = "coalesce(t.isdeleted, false)"
	}
	// The org may give a record twice, as it was and as it is; the two then have two digests, and the record is looked at again.
	sql := fmt.Sprintf(`SELECT t.sfid, s.sfid, s.digest, s.one, %s%s FROM (SELECT * FROM %s WHERE %s) t
		FULL JOIN (SELECT sfid, min(digest) AS digest, min(digest) = max(digest) AS one FROM mirror.check_seen WHERE check_id = $1 AND %s GROUP BY sfid) s ON s.sfid = t.sfid`,
		gone, strings.Join(columns, ""), t.name(), here, within)
	rows, err := tx.Query(ctx, sql, asText, c.ID, c.After, to)
	if err != nil {
		return nil, r, err
	}
	defer rows.Close()
	for rows.Next() {
		v := rows.RawValues()
		mine, there := v[0], v[1]
		var digest, sum int64
		if there != nil {
			if digest, err = parseInt(v[2]); err != nil {
				return nil, r, err
			}
			r.there++
			r.thereSum ^= digest
		}
		if mine != nil {
			sum = d.here(v[5:])
			r.here++
			r.hereSum ^= sum
		}
		switch {
		case mine != nil && there != nil && digest == sum && string(v[3]) == "t":
			continue
		case there == nil && string(v[4]) == "t":
			// Deleted here already, and no longer in the org's recycle bin.
			r.here--
			r.hereSum ^= sum
			continue
		}
		id := mine
		if id == nil {
			id = there
		}
		suspects = append(suspects, string(id))
	}
	return suspects, r, rows.Err()
}

func parseInt(b []byte) (int64, error) {
	n, f := parseInteger(b)
	if f != fit {
		return 0, fmt.Errorf("%q is not a number", b)
	}
	return n, nil
}

// LocalRecord is a record as it is here, for looking at it beside the org's.
type LocalRecord struct {
	Values   []string // PostgreSQL's text of each compared field in its order, "" for null
	Deleted  bool     // marked as deleted
	Pending  []string // columns with edits that Salesforce has not accepted yet, or that a person is asked about
	OutScope bool     // it left the object's filter and is no longer read
	Held     bool     // it is deleted in the org, and its deletion here waits for a person's yes, or got a no
}

// LocalRecords gives records as they are here, which ids have a deletion that waits to be sent, and of which one was sent: their rows
// went with it, and reading does not bring them back as deleted.
func (db *DB) LocalRecords(ctx context.Context, t *Table, fields, ids []string) (records map[string]LocalRecord, deleting, deleted map[string]bool, err error) {
	d, err := newDigester(t, fields, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	tx, err := db.inUTC(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	columns := make([]string, len(d.columns))
	for i, col := range d.columns {
		columns[i] = ", t." + quote(col.name)
	}
	gone := "false"
	if t.HasIsDeleted() {
		gone = "coalesce(t.isdeleted, false)"
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT t.sfid, %s, EXISTS (SELECT FROM mirror.out_of_scope x WHERE x.object = $1 AND x.sfid = t.sfid),
			EXISTS (SELECT FROM mirror.deletions x WHERE x.object = $1 AND x.sfid = t.sfid AND x.state IN ('held', 'declined')), coalesce((SELECT string_agg(p.name, ',') FROM (
				SELECT jsonb_object_keys(o.changed) AS name FROM mirror.outbox o WHERE o.object = $1 AND o.row_id = t.id
				UNION SELECT lower(c.field) FROM mirror.conflicts c WHERE c.object = $1 AND c.row_id = t.id AND c.winner = '' AND c.closed_at IS NULL) p), '')%s
		FROM %s t WHERE t.sfid = ANY($2)`, gone, strings.Join(columns, ""), t.name()), asText, t.Object(), ids)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read records of %s: %w", t.Object(), err)
	}
	records = map[string]LocalRecord{}
	for rows.Next() {
		v := rows.RawValues()
		r := LocalRecord{Deleted: string(v[1]) == "t", OutScope: string(v[2]) == "t", Held: string(v[3]) == "t", Values: make([]string, len(d.columns))}
		if len(v[4]) > 0 {
			r.Pending = strings.Split(string(v[4]), ",")
		}
		for i := range r.Values {
			r.Values[i] = string(v[5+i])
		}
		records[string(v[0])] = r
	}
	if err := rows.Err(); err != nil {
		return nil, nil, nil, fmt.Errorf("read records of %s: %w", t.Object(), err)
	}
	deleting, deleted = map[string]bool{}, map[string]bool{}
	for set, sql := range map[*map[string]bool]string{
		&deleting: `SELECT sfid FROM mirror.outbox WHERE object = $1 AND operation = 'delete' AND sfid = ANY($2)`,
		&deleted:  `SELECT sfid FROM mirror.settled WHERE object = $1 AND operation = 'delete' AND outcome IN ('accepted', 'already') AND sfid = ANY($2)`,
	} {
		list, err := tx.Query(ctx, sql, t.Object(), ids)
		if err == nil {
			var id string
			_, err = pgx.ForEachRow(list, []any{&id}, func() error { (*set)[id] = true; return nil })
		}
		if err != nil {
			return nil, nil, nil, fmt.Errorf("look for deletions of %s: %w", t.Object(), err)
		}
	}
	return records, deleting, deleted, nil
}

// Difference is one field of a record that is not the same on both sides; Field is empty where a side lacks the record.
type Difference struct {
	SFID, Field, Kind string
	Here, There       *string
}

// The kinds of difference.
const (
	DiffMissing = "missing" // the org has it, and it is not here
	DiffExtra   = "extra"   // it is here, and the org does not have it
	DiffDiffers = "differs" // a field has two values
)

// Verdict is what a look at one record on both sides found.
type Verdict struct {
	Differences  []Difference
	Explained    bool  // the sides differ, for a reason that is no fault
	OnlyFormulas bool  // only derived fields differ, which change without the record's stamp
	Digest       int64 // of the org's record
}

// Judge compares one record on both sides. here and there are nil where a side lacks it; there has the cells of fields, in their order.
// deleting tells that its deletion waits to be sent, removes that a record deleted in the org has no row here.
func (t *Table) Judge(fields []string, id string, here *LocalRecord, there [][]byte, deleting, removes bool) (Verdict, error) {
	d, err := newDigester(t, fields, fields)
	if err != nil {
		return Verdict{}, err
	}
	var v Verdict
	cells := make([][]byte, len(d.columns))
	deletedThere := false
	if there != nil {
		v.Digest = d.org(there)
		for i, c := range d.columns {
			cells[i] = there[d.at[i]]
			if c.name == "isdeleted" {
				deletedThere = string(cells[i]) == "true"
			}
		}
	}
	switch {
	case here == nil && there == nil:
		return v, nil
	case here == nil:
		v.Explained = deleting || deletedThere && removes
		if !v.Explained {
			v.Differences = []Difference{{SFID: id, Kind: DiffMissing}}
		}
		return v, nil
	case there == nil:
		// What is marked as deleted may be gone from the org's recycle bin.
		v.Explained = here.Deleted || here.OutScope || here.Held
		if !v.Explained {
			v.Differences = []Difference{{SFID: id, Kind: DiffExtra}}
		}
		return v, nil
	}
	v.OnlyFormulas = true
	var a, b []byte
	for i, c := range d.columns {
		a, b = appendPlain(a[:0], c.kind, []byte(here.Values[i])), appendPlain(b[:0], c.kind, cells[i])
		if bytes.Equal(a, b) {
			continue
		}
		if here.OutScope || here.Held && deletedThere || slices.Contains(here.Pending, c.name) {
			v.Explained = true
			continue
		}
		f, _ := t.schema.Field(c.field)
		v.OnlyFormulas = v.OnlyFormulas && f.Derived()
		v.Differences = append(v.Differences, Difference{SFID: id, Field: c.field, Kind: DiffDiffers, Here: kept([]byte(here.Values[i])), There: kept(cells[i])})
	}
	v.OnlyFormulas = v.OnlyFormulas && len(v.Differences) > 0
	return v, nil
}

// kept is a value as a difference keeps it: text that PostgreSQL holds, and not too much of it.
func kept(b []byte) *string {
	if len(b) == 0 {
		return nil
	}
	s := string(b)
	if r := []rune(s); len(r) > diffShown {
		s = string(r[:diffShown]) + "…"
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	return &s
}

// Suspect is a record that a check looks at again: Digest is the org's in the round before, nil before the first, or where the org had none.
type Suspect struct {
	SFID   string
	Round  int
	Digest *int64
}

// Suspects gives records of a check that a round has not looked at yet.
func (db *DB) Suspects(ctx context.Context, check int64, round, limit int) ([]Suspect, error) {
	rows, err := db.pool.Query(ctx, `SELECT sfid, round, digest FROM mirror.check_suspects WHERE check_id = $1 AND round < $2 ORDER BY sfid LIMIT $3`, check, round, limit)
	if err != nil {
		return nil, fmt.Errorf("list what check %d looks at: %w", check, err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Suspect, err error) { return s, row.Scan(&s.SFID, &s.Round, &s.Digest) })
}

// CheckNews is what one look at some suspects found.
type CheckNews struct {
	Cleared              []string  // the same on both sides, or explained
	Again                []Suspect // to be looked at again after a catch-up, with the org's digest as it is now
	Found                []Difference
	Explained, Refreshed int64
	Moving               int64
}

// NoteCheck keeps what a look at some suspects found: those that are settled are suspects no more.
func (db *DB) NoteCheck(ctx context.Context, c Check, n CheckNews) error {
	settled := slices.Clone(n.Cleared)
	differing := map[string]bool{}
	for _, d := range n.Found {
		if !differing[d.SFID] {
			differing[d.SFID] = true
			settled = append(settled, d.SFID)
		}
	}
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM mirror.check_suspects WHERE check_id = $1 AND sfid = ANY($2)`, c.ID, settled)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != int64(len(settled)) {
			return ErrStale
		}
		var ids []string
		var digests []*int64
		for _, s := range n.Again {
			ids, digests = append(ids, s.SFID), append(digests, s.Digest)
		}
		if _, err := tx.Exec(ctx, `UPDATE mirror.check_suspects s SET round = $2, digest = u.digest FROM unnest($3::text[], $4::bigint[]) u(sfid, digest) WHERE s.check_id = $1 AND s.sfid = u.sfid`, c.ID, c.Round, ids, digests); err != nil {
			return err
		}
		if err := storeDifferences(ctx, tx, c, n.Found); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE mirror.checks SET explained = explained + $2, refreshed = refreshed + $3, moving = moving + $4, differing = differing + $5 WHERE id = $1`,
			c.ID, n.Explained, n.Refreshed, n.Moving, len(differing))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep what check %d found: %w", c.ID, err)
	}
	return nil
}

func storeDifferences(ctx context.Context, tx pgx.Tx, c Check, found []Difference) error {
	if len(found) == 0 {
		return nil
	}
	var ids, fields, kinds []string
	var here, there []*string
	for _, d := range found {
		ids, fields, kinds, here, there = append(ids, d.SFID), append(fields, d.Field), append(kinds, d.Kind), append(here, d.Here), append(there, d.There)
	}
	_, err := tx.Exec(ctx, `INSERT INTO mirror.differences (object, check_id, sfid, field, kind, here, there) SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
		ON CONFLICT (object, sfid, field) WHERE mended_at IS NULL DO UPDATE SET check_id = excluded.check_id, kind = excluded.kind, here = excluded.here, there = excluded.there`,
		c.Object, c.ID, ids, fields, kinds, here, there)
	return err
}

// NextRound begins another look at the suspects that are left, once the mirror has caught up with what the round before saw at.
func (db *DB) NextRound(ctx context.Context, c Check) error {
	_, err := db.pool.Exec(ctx, `UPDATE mirror.checks SET round = round + 1, round_at = NULL WHERE id = $1 AND round = $2`, c.ID, c.Round)
	if err != nil {
		return fmt.Errorf("go on with check %d: %w", c.ID, err)
	}
	return nil
}

// RoundOver notes when a round had looked at every suspect.
func (db *DB) RoundOver(ctx context.Context, c Check, at time.Time) error {
	_, err := db.pool.Exec(ctx, `UPDATE mirror.checks SET round_at = $3 WHERE id = $1 AND round = $2 AND round_at IS NULL`, c.ID, c.Round, at)
	if err != nil {
		return fmt.Errorf("go on with check %d: %w", c.ID, err)
	}
	return nil
}

// FinishCheck ends a check. Differences that an earlier one found and this one did not are mended; what it saw is forgotten.
func (db *DB) FinishCheck(ctx context.Context, c Check) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		var b pgx.Batch
		b.Queue(`UPDATE mirror.differences SET mended_at = now() WHERE object = $1 AND mended_at IS NULL AND check_id <> $2`, c.Object, c.ID)
		b.Queue(`DELETE FROM mirror.check_ranges WHERE object = $1 AND check_id <> $2`, c.Object, c.ID)
		b.Queue(`UPDATE mirror.checks SET state = 'done', ended_at = now() WHERE id = $1`, c.ID)
		b.Queue(`DELETE FROM mirror.check_suspects WHERE check_id = $1`, c.ID)
		b.Queue(`DELETE FROM mirror.check_seen WHERE check_id = $1 OR check_id NOT IN (SELECT id FROM mirror.checks WHERE state <> 'done')`, c.ID)
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("end check %d: %w", c.ID, err)
	}
	return nil
}

// DifferingRecords gives the ids of an object's records that differ, behind the given one, and whether the org has them.
func (db *DB) DifferingRecords(ctx context.Context, object, after string, limit int) (ids []string, extra int, err error) {
	rows, err := db.pool.Query(ctx, `SELECT sfid, bool_or(kind = 'extra') FROM mirror.differences WHERE object = $1 AND mended_at IS NULL AND sfid > $2 GROUP BY sfid ORDER BY sfid LIMIT $3`, object, after, limit)
	if err == nil {
		var id string
		var isExtra bool
		_, err = pgx.ForEachRow(rows, []any{&id, &isExtra}, func() error {
			ids = append(ids, id)
			if isExtra {
				extra++
			}
			return nil
		})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list what differs of %s: %w", object, err)
	}
	return ids, extra, nil
}

// CheckRange is a range of ids that holds more suspects than the last check looked at one by one.
type CheckRange struct {
	CheckID     int64
	After, UpTo string // UpTo is empty where the range goes on to the end
	Suspects    int64
}

// NextRange gives the first range of an object that is still to be mended; false if there is none. It is of the last check that ended.
func (db *DB) NextRange(ctx context.Context, object string) (r CheckRange, ok bool, err error) {
	err = db.pool.QueryRow(ctx, `SELECT r.check_id, r.after_sfid, r.upto_sfid, r.suspects FROM mirror.check_ranges r JOIN mirror.checks c ON c.id = r.check_id AND c.state = 'done'
		WHERE r.object = $1 ORDER BY r.after_sfid LIMIT 1`, object).Scan(&r.CheckID, &r.After, &r.UpTo, &r.Suspects)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("look for ranges of %s that differ: %w", object, err)
	}
	return r, true, nil
}

// RangeMended notes how far a range is mended: up to an id, or, without one, to its end.
func (db *DB) RangeMended(ctx context.Context, r CheckRange, upTo string) error {
	sql := `DELETE FROM mirror.check_ranges WHERE check_id = $1 AND after_sfid = $2`
	args := []any{r.CheckID, r.After}
	if upTo != "" {
		sql, args = `UPDATE mirror.check_ranges SET after_sfid = $3 WHERE check_id = $1 AND after_sfid = $2`, append(args, upTo)
	}
	if _, err := db.pool.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("note how far a range is mended: %w", err)
	}
	return nil
}

// Mended notes which records are the same on both sides now, and brings the differences of the others up to date.
func (db *DB) Mended(ctx context.Context, c Check, ids []string, still []Difference) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		var kept []string
		for _, d := range still {
			kept = append(kept, d.SFID+"/"+d.Field)
		}
		if _, err := tx.Exec(ctx, `UPDATE mirror.differences SET mended_at = now() WHERE object = $1 AND mended_at IS NULL AND sfid = ANY($2) AND sfid || '/' || field <> ALL($3)`, c.Object, ids, kept); err != nil {
			return err
		}
		return storeDifferences(ctx, tx, c, still)
	})
	if err != nil {
		return fmt.Errorf("note what is mended of %s: %w", c.Object, err)
	}
	return nil
}

// Force lets the next pages overwrite what is here even where it claims to be newer. It is for records that were read from the org
// under this batch's lock, so that nothing newer can be here.
func (b *ChangeBatch) Force(ctx context.Context, ids []string) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	if !b.w.table.has("systemmodstamp") {
		return nil
	}
	_, err := b.w.tx.Exec(ctx, fmt.Sprintf(`UPDATE %s SET systemmodstamp = NULL WHERE sfid = ANY($1)`, b.w.table.name()), ids)
	if err != nil {
		return fmt.Errorf("make way for records of %s: %w", b.w.table.Object(), err)
	}
	return nil
}
