package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// LoadKind says what a bulk read is for.
type LoadKind string

// The kinds of bulk read.
const (
	LoadFirst   LoadKind = "first"   // all records, for the first time
	LoadResync  LoadKind = "resync"  // all records again
	LoadChanges LoadKind = "changes" // many changes at once

	LoadFill     LoadKind = "fill"     // some fields of all records, because they are new here
	LoadFormulas LoadKind = "formulas" // the formula fields of all records again
)

// Partial tells whether a load of this kind brings some fields only: it changes records that are here and adds none, and neither
// vouches for anything nor moves the watermark.
func (k LoadKind) Partial() bool { return k == LoadFill || k == LoadFormulas }

// LoadState says where a bulk read is in its life.
type LoadState string

// The states of a bulk read.
const (
	LoadOpen      LoadState = "open"      // pages are read
	LoadDone      LoadState = "done"      // all pages are in, and the watermark moved with that
	LoadAbandoned LoadState = "abandoned" // given up; what its pages brought stays, the watermark did not move
)

// Load is a read of many records under way: the cursor that lets any worker go on with it.
type Load struct {
	ID        int64
	Object    string
	RunID     int64
	Kind      LoadKind
	JobID     string // of the Bulk job; empty: REST reads it, see ByREST
	SOQL      string
	Fields    []string
	Watermark time.Time // the org's time from before the job was made; the object's watermark once all pages are in
	Covered   Covered   // what the org said before the job was made; kept once all pages are in
	Expected  int64     // records that the job holds, as Salesforce says
	State     LoadState
	StartedAt time.Time
	Direct    bool
	Filter    string // the object's filter by which it reads
	Scoped    bool   // reads by the object's filter: what it was given as candidates and does not bring no longer meets it

	// Candidates are the records that a load by a filter may have lost, known when it starts; CandidatesAll means all that are here.
	Candidates    []string
	CandidatesAll bool

	Read, New, Changed, Deleted, Unchanged, Refused int64 // of the pages that committed
}

// ByREST tells that no Bulk job reads the load: its pages come by REST, and each one's locator is the id behind which it begins.
func (l Load) ByREST() bool { return l.JobID == "" }

// Condition is what the load's query selects records by; empty: it reads all.
func (l Load) Condition() string {
	_, rest, _ := strings.Cut(l.SOQL, " FROM "+l.Object)
	return strings.TrimPrefix(rest, " WHERE ")
}

// Result is what the load's pages did so far.
func (l Load) Result() Result {
	return Result{l.Read, l.New, l.Changed, l.Deleted, l.Unchanged, l.Refused}
}

// Page is one page of a load.
type Page struct {
	Seq     int
	Locator string // empty on the first
	Done    bool
	Staged  bool // apply it through staging even if the load goes direct
}

const loadSelect = `SELECT l.id, l.object, l.run_id, l.kind, l.job_id, l.soql, l.fields, l.watermark, l.expected, l.state, l.started_at, l.direct, l.scoped, l.row_filter,
	coalesce(sum(p.read), 0)::bigint, coalesce(sum(p.new), 0)::bigint, coalesce(sum(p.changed), 0)::bigint, coalesce(sum(p.deleted), 0)::bigint,
	coalesce(sum(p.unchanged), 0)::bigint, coalesce(sum(p.refused), 0)::bigint, coalesce(bool_or(p.last), false), coalesce(bool_and(p.done_at IS NOT NULL), false)
	FROM mirror.loads l LEFT JOIN mirror.load_pages p ON p.load_id = l.id `

func scanLoad(row pgx.Row) (l Load, lastKnown, allDone bool, err error) {
	err = row.Scan(&l.ID, &l.Object, &l.RunID, &l.Kind, &l.JobID, &l.SOQL, &l.Fields, &l.Watermark, &l.Expected, &l.State, &l.StartedAt, &l.Direct, &l.Scoped, &l.Filter,
		&l.Read, &l.New, &l.Changed, &l.Deleted, &l.Unchanged, &l.Refused, &lastKnown, &allDone)
	l.Watermark = l.Watermark.UTC()
	return l, lastKnown, allDone, err
}

// Beside tells whether a load of this kind goes on beside those of the cycle. An object has at most one load of either sort open.
func (k LoadKind) Beside() bool { return k != LoadFirst && k != LoadChanges }

// readMargin is how long a transaction of the org's is taken to stay open.
const readMargin = 15 * time.Minute

// OpenLoad gives the bulk read that an object has under way, of the cycle or beside it; false if it has none.
func (db *DB) OpenLoad(ctx context.Context, object string, beside bool) (Load, bool, error) {
	l, _, _, err := scanLoad(db.pool.QueryRow(ctx, loadSelect+`WHERE l.object = $1 AND l.beside = $2 AND l.state = 'open' GROUP BY l.id`, object, beside))
	if errors.Is(err, pgx.ErrNoRows) {
		return Load{}, false, nil
	}
	if err != nil {
		return Load{}, false, fmt.Errorf("look for a load of %s: %w", object, err)
	}
	return l, true, nil
}

// DoneLoad gives the load that a run completed; false if it completed none. A run whose piece died between the load's end and
// its own finds by it what it did.
func (db *DB) DoneLoad(ctx context.Context, runID int64) (Load, bool, error) {
	l, _, _, err := scanLoad(db.pool.QueryRow(ctx, loadSelect+`WHERE l.run_id = $1 AND l.state = 'done' GROUP BY l.id ORDER BY l.id DESC LIMIT 1`, runID))
	if errors.Is(err, pgx.ErrNoRows) {
		return Load{}, false, nil
	}
	if err != nil {
		return Load{}, false, fmt.Errorf("look for the load that run %d completed: %w", runID, err)
	}
	return l, true, nil
}

// LoadProgress tells how far a load has come: whether its last page is known, and whether all known pages are done. ErrNoLoad if there is none.
func (db *DB) LoadProgress(ctx context.Context, id int64) (l Load, lastKnown, allDone bool, err error) {
	l, lastKnown, allDone, err = scanLoad(db.pool.QueryRow(ctx, loadSelect+`WHERE l.id = $1 GROUP BY l.id`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return l, false, false, ErrNoLoad
	}
	if err != nil {
		return l, false, false, fmt.Errorf("look at load %d: %w", id, err)
	}
	return l, lastKnown, allDone, nil
}

// StartLoad notes a bulk read whose job the org has accepted. One that the object has under way already is the answer instead. ErrStale if
// the object has another filter by now.
func (db *DB) StartLoad(ctx context.Context, l Load) (Load, error) {
	t, _, err := db.Table(ctx, l.Object)
	if err != nil {
		return Load{}, err
	}
	w, err := db.begin(ctx, l.Object, false)
	if err != nil {
		return Load{}, err
	}
	defer w.rollback()
	tx := w.tx
	if !l.Kind.Partial() {
		if err := w.lock(ctx, ""); err != nil {
			return Load{}, err
		}
		if err := w.checkFilter(ctx, l.Filter); err != nil {
			return Load{}, err
		}
	}
	var id int64
	err = tx.QueryRow(ctx, fmt.Sprintf(`INSERT INTO mirror.loads (object, run_id, kind, job_id, soql, fields, watermark, expected, covered_through, covered_asked_at, scoped, row_filter, direct)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $3 = 'first' AND NOT EXISTS (SELECT FROM %s) AND NOT EXISTS (SELECT FROM mirror.outbox WHERE object = $1)) ON CONFLICT (object, beside) WHERE state = 'open' DO NOTHING RETURNING id`, t.name()),
		l.Object, l.RunID, string(l.Kind), l.JobID, l.SOQL, l.Fields, l.Watermark, l.Expected, nullTime(l.Covered.Through), nullTime(l.Covered.AskedAt), l.Scoped, l.Filter).Scan(&id)
	if err == nil && l.Scoped {
		err = keepCandidates(ctx, tx, t, id, l.Candidates, l.CandidatesAll)
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Load{}, fmt.Errorf("start a load of %s: %w", l.Object, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return Load{}, fmt.Errorf("start a load of %s: %w", l.Object, err)
	}
	w.rollback() // gives the connection back
	l, open, err := db.OpenLoad(ctx, l.Object, l.Kind.Beside())
	if err == nil && !open {
		err = ErrNoLoad
	}
	return l, err
}

// SetLoadExpected keeps how many records the finished job holds.
func (db *DB) SetLoadExpected(ctx context.Context, id, n int64) error {
	_, err := db.pool.Exec(ctx, `UPDATE mirror.loads SET expected = $2 WHERE id = $1 AND state = 'open'`, id, n)
	if err != nil {
		return fmt.Errorf("keep what load %d holds: %w", id, err)
	}
	return nil
}

// PlanPage notes a page that is known and not read yet. Planning it again changes nothing, unless the locator is another:
// then the page before was read again in another size, and this one begins elsewhere. A page that is done cannot.
func (db *DB) PlanPage(ctx context.Context, id int64, seq int, locator string) error {
	var done bool
	var have string
	err := db.pool.QueryRow(ctx, `INSERT INTO mirror.load_pages AS p (load_id, seq, locator) VALUES ($1, $2, $3)
		ON CONFLICT (load_id, seq) DO UPDATE SET locator = CASE WHEN p.done_at IS NULL THEN excluded.locator ELSE p.locator END
		RETURNING done_at IS NOT NULL, locator`, id, seq, locator).Scan(&done, &have)
	if err != nil {
		return fmt.Errorf("plan page %d of load %d: %w", seq, id, err)
	}
	if done && have != locator {
		return fmt.Errorf("page %d of load %d was read from %q and would now begin at %q: the pages do not join", seq, id, have, locator)
	}
	return nil
}

// PagesToRead lists the pages that are planned and not done.
func (db *DB) PagesToRead(ctx context.Context, id int64) ([]Page, error) {
	rows, err := db.pool.Query(ctx, `SELECT seq, locator FROM mirror.load_pages WHERE load_id = $1 AND done_at IS NULL ORDER BY seq`, id)
	if err != nil {
		return nil, fmt.Errorf("list the pages of load %d: %w", id, err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p Page, err error) {
		return p, r.Scan(&p.Seq, &p.Locator)
	})
}

// Page gives one planned page. ErrNoLoad if it was not planned.
func (db *DB) Page(ctx context.Context, id int64, seq int) (Page, error) {
	p := Page{Seq: seq}
	err := db.pool.QueryRow(ctx, `SELECT locator, done_at IS NOT NULL FROM mirror.load_pages WHERE load_id = $1 AND seq = $2`, id, seq).Scan(&p.Locator, &p.Done)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, ErrNoLoad
	}
	if err != nil {
		return p, fmt.Errorf("look at page %d of load %d: %w", seq, id, err)
	}
	return p, nil
}

// ApplyPage streams one page into the object's table. Invariant 1: its records, what was set aside of it, and the mark that it
// is done commit in one transaction, or not at all. Pages of one load may be applied by several workers at once; a page that
// somebody else committed meanwhile is ErrPageDone, and changes nothing. next names the page after this one, which is
// planned with it; last tells that there is none.
//
// There are two lanes. A page of a first read into an empty table is copied directly; should a record be there already, nothing
// is written and the answer is ErrRetryStaged: its rows are used up, so the caller fetches the page again and sets
// page.Staged. Everything else goes through staging.
func (db *DB) ApplyPage(ctx context.Context, l Load, page Page, rows sobject.Rows, next string, last bool) (Result, error) {
	return db.ApplyPageThen(ctx, l, page, rows, func() (string, bool) { return next, last })
}

// ApplyPageThen is ApplyPage where only the page's records, once they were read, tell what follows.
func (db *DB) ApplyPageThen(ctx context.Context, l Load, page Page, rows sobject.Rows, then func() (next string, last bool)) (Result, error) {
	direct := l.Direct && !page.Staged
	w, err := db.begin(ctx, l.Object, !direct)
	if err != nil {
		return Result{}, err
	}
	defer w.rollback()
	// The load is not given up while its page is written: see AbandonOtherFilters.
	if _, err := w.tx.Exec(ctx, `SELECT FROM mirror.loads WHERE id = $1 FOR SHARE`, l.ID); err != nil {
		return Result{}, fmt.Errorf("claim page %d of load %d: %w", page.Seq, l.ID, err)
	}
	// The fence: who marks the page first holds its row until the records are in; whoever comes after finds it done.
	tag, err := w.tx.Exec(ctx, `UPDATE mirror.load_pages p SET done_at = now() FROM mirror.loads l
		WHERE p.load_id = $1 AND p.seq = $2 AND p.done_at IS NULL AND l.id = p.load_id AND l.state = 'open'`, l.ID, page.Seq)
	if err != nil {
		return Result{}, fmt.Errorf("claim page %d of load %d: %w", page.Seq, l.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return Result{}, ErrPageDone
	}
	from := source{load: l.ID, page: page.Seq, locator: page.Locator}
	// The job reads what is committed when it runs. A transaction that was open then may bring an older stamp late: hence the margin.
	w.readAt = l.Watermark.Add(-readMargin)
	var r Result
	w.partial = l.Kind.Partial()
	if l.Scoped {
		w.scope = l.ID
	}
	switch {
	case len(rows.Columns()) == 0:
		err = nothing(rows)
	case direct:
		r, err = w.copyDirect(ctx, rows, from)
	default:
		r, err = w.copyStaged(ctx, rows, from)
	}
	if err != nil {
		return Result{}, fmt.Errorf("apply page %d of load %d of %s: %w", page.Seq, l.ID, l.Object, err)
	}
	next, last := then()
	_, err = w.tx.Exec(ctx, `UPDATE mirror.load_pages SET last = $9, read = $3, new = $4, changed = $5, deleted = $6, unchanged = $7, refused = $8 WHERE load_id = $1 AND seq = $2`,
		l.ID, page.Seq, r.Read, r.New, r.Changed, r.Deleted, r.Unchanged, r.Refused, last)
	if err == nil && !last && next != "" {
		// A page that was planned before may be under way: to meet its row would be to wait for it, while it waits for ours.
		_, err = w.tx.Exec(ctx, `INSERT INTO mirror.load_pages (load_id, seq, locator) SELECT $1, $2, $3
			WHERE NOT EXISTS (SELECT FROM mirror.load_pages WHERE load_id = $1 AND seq = $2) ON CONFLICT DO NOTHING`, l.ID, page.Seq+1, next)
	}
	if err != nil {
		return Result{}, fmt.Errorf("keep the account of page %d of load %d: %w", page.Seq, l.ID, err)
	}
	if err := w.tx.Commit(ctx); err != nil {
		return Result{}, fmt.Errorf("commit page %d of load %d: %w", page.Seq, l.ID, err)
	}
	return r, nil
}

// nothing reads a page that has no columns: an org may answer with no header line where no record is left.
func nothing(rows sobject.Rows) error {
	_, err := rows.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: it has records and no columns", ErrPage)
}

// FinishLoad ends a load all of whose pages are in and moves the object's watermark with it, in one transaction (Invariants 1
// and 2). A load of all records that did not bring a record that was set aside before it resolves that. The indexes of a first
// read's links are made before, and the statistics after, by Tidy. ErrNoLoad if the load is not open.
func (db *DB) FinishLoad(ctx context.Context, id int64) (Load, error) {
	l, lastKnown, allDone, err := db.LoadProgress(ctx, id)
	if err != nil {
		return Load{}, err
	}
	if l.State != LoadOpen {
		return Load{}, fmt.Errorf("load %d is %s: %w", id, l.State, ErrNoLoad)
	}
	if !lastKnown || !allDone {
		return Load{}, fmt.Errorf("load %d of %s is not complete", id, l.Object)
	}
	t, _, err := db.Table(ctx, l.Object)
	if err != nil {
		return Load{}, err
	}
	if err := db.ensureIndexes(ctx, t); err != nil {
		return Load{}, err
	}
	if err := db.endLoad(ctx, t, &l); err != nil {
		return Load{}, fmt.Errorf("finish load %d: %w", id, err)
	}
	l.State = LoadDone
	return l, nil
}

// Tidy gives the planner its statistics of what a load that is done has written, when nobody waits for it any more. It is a comfort:
// where it does not take place, autovacuum does the same later.
func (db *DB) Tidy(ctx context.Context, l Load) {
	if l.New+l.Changed+l.Deleted == 0 {
		return
	}
	if t, _, err := db.Table(ctx, l.Object); err == nil {
		db.tidy(ctx, t, l.Kind == LoadFirst)
	}
}

// AbandonedLoads tells how many loads of a run were given up.
func (db *DB) AbandonedLoads(ctx context.Context, runID int64) (n int, err error) {
	err = db.pool.QueryRow(ctx, `SELECT count(*) FROM mirror.loads WHERE run_id = $1 AND state = 'abandoned'`, runID).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the loads that run %d gave up: %w", runID, err)
	}
	return n, nil
}

// loadsKept is how long ended loads are kept. Nothing but the curious asks for one whose run is over.
const loadsKept = 30 * 24 * time.Hour

// PruneLoads removes the account of loads that ended long ago, a bounded number at once.
func (db *DB) PruneLoads(ctx context.Context) error {
	_, err := db.pool.Exec(ctx, `DELETE FROM mirror.loads WHERE id IN (SELECT id FROM mirror.loads WHERE ended_at < $1 ORDER BY ended_at LIMIT 1000)`, time.Now().Add(-loadsKept))
	if err != nil {
		return fmt.Errorf("remove old loads: %w", err)
	}
	return nil
}

// endLoad is the transaction of FinishLoad.
func (db *DB) endLoad(ctx context.Context, t *Table, l *Load) error {
	w, err := db.begin(ctx, l.Object, false)
	if err != nil {
		return err
	}
	defer w.rollback()
	if err := w.lock(ctx, ""); err != nil {
		return err
	}
	tag, err := w.tx.Exec(ctx, `UPDATE mirror.loads SET state = 'done', ended_at = now() WHERE id = $1 AND state = 'open'`, l.ID)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrNoLoad
	}
	if l.Direct {
		// What was copied directly was looked at by nobody on its way.
		if err := w.followLoad(ctx, l.ID); err != nil {
			return err
		}
	}
	_, held, err := w.settleDeletions(ctx, l.ID)
	if err != nil {
		return err
	}
	if held > 0 {
		// They live on until a person says yes.
		held = min(held, l.Deleted)
		l.Deleted, l.Unchanged = l.Deleted-held, l.Unchanged+held
		_, err := w.tx.Exec(ctx, `UPDATE mirror.load_pages SET deleted = deleted - $2, unchanged = unchanged + $2 WHERE load_id = $1 AND last`, l.ID, held)
		if err != nil {
			return err
		}
	}
	if err := w.redirect(ctx); err != nil {
		return err
	}
	if l.Kind != LoadChanges && l.Kind != LoadFormulas {
		if err := markFilled(ctx, w.tx, l.Object, l.Fields, l.StartedAt); err != nil {
			return err
		}
	}
	if l.Kind.Partial() {
		return w.tx.Commit(ctx)
	}
	_, err = w.tx.Exec(ctx, `INSERT INTO mirror.watermarks AS w (object, watermark, covered_through, covered_asked_at, swept_at) SELECT object, watermark, covered_through, covered_asked_at, now() FROM mirror.loads WHERE id = $1
		ON CONFLICT (object) DO UPDATE SET watermark = greatest(w.watermark, excluded.watermark), swept_at = coalesce(w.swept_at, excluded.swept_at),
			covered_through = CASE WHEN excluded.covered_asked_at > coalesce(w.covered_asked_at, '-infinity') THEN excluded.covered_through ELSE w.covered_through END,
			covered_asked_at = greatest(w.covered_asked_at, excluded.covered_asked_at)`, l.ID)
	if err != nil {
		return err
	}
	if err := settleScope(ctx, w.tx, t, l.ID, l.Scoped, l.Kind != LoadChanges); err != nil {
		return err
	}
	if l.Kind != LoadChanges {
		_, err = w.tx.Exec(ctx, `UPDATE mirror.refusals SET resolved_at = now() WHERE object = $1 AND direction = 'in' AND resolved_at IS NULL AND last_seen_at < $2`, l.Object, l.StartedAt)
		if err != nil {
			return err
		}
	}
	return w.tx.Commit(ctx)
}

// AbandonLoad gives a load up. What its pages brought stays; the watermark does not move.
func (db *DB) AbandonLoad(ctx context.Context, id int64, reason string) error {
	_, err := db.pool.Exec(ctx, `WITH given_up AS (UPDATE mirror.loads SET state = 'abandoned', ended_at = now(), reason = $2 WHERE id = $1 AND state = 'open' RETURNING id)
		DELETE FROM mirror.load_scope WHERE load_id IN (SELECT id FROM given_up)`, id, reason)
	if err != nil {
		return fmt.Errorf("abandon load %d: %w", id, err)
	}
	return nil
}
