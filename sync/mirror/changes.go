package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// ChangeBatch is one increment of an object: pages, deletions, and the watermark that vouches for them, in one transaction
// (Invariant 1). Until Commit nothing of it is seen; Rollback after Commit does nothing.
//
// It holds a connection until Commit or Rollback, one of which must be called. It is for one goroutine.
type ChangeBatch struct {
	db   *DB
	w    *writer
	fill []string // the fields that are filled with this increment
	all  bool     // the increment is all records by a filter, or by none any more

	whole bool // the increment is all records, whatever the readings of changes brought meanwhile

	died, listed int64 // deletions that the records told, and the list
	held         int64 // of them, if they are too many at once
}

// DeletedID is a record that the org says is deleted, and when.
type DeletedID struct {
	ID sobject.ID
	At time.Time
}

var errBatchOver = errors.New("the batch is over: it was committed or rolled back")

// Changes begins an increment. It holds the object's lock, so that of two workers one waits for the other.
func (db *DB) Changes(ctx context.Context, object string) (*ChangeBatch, error) {
	w, err := db.begin(ctx, object, true)
	if err != nil {
		return nil, err
	}
	if err := w.lock(ctx, ""); err != nil {
		w.rollback()
		return nil, err
	}
	return &ChangeBatch{db: db, w: w}, nil
}

// ByID begins an increment of records that were asked for by their ids, and so without the object's filter: that they come does not
// say that they meet it.
func (db *DB) ByID(ctx context.Context, object string) (*ChangeBatch, error) {
	b, err := db.Changes(ctx, object)
	if err == nil {
		b.w.byID = true
	}
	return b, err
}

// Partial begins an increment that brings some fields only, as a partial load does: Commit vouches for nothing and moves no
// watermark. If it brings the fields of all records because they are new here, they are filled with it.
func (db *DB) Partial(ctx context.Context, object string, kind LoadKind, fields []string) (*ChangeBatch, error) {
	b, err := db.Changes(ctx, object)
	if err != nil {
		return nil, err
	}
	b.w.partial = true
	if kind == LoadFill {
		b.fill = fields
	}
	return b, nil
}

// ByFilter says by which filter the increment is read. It is ErrStale if the object has another one by now: what the reading brings, and
// what it does not, would tell of the old one. The batch holds the object's records, so that the filter stays until its end.
func (b *ChangeBatch) ByFilter(ctx context.Context, filter string) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	return b.w.checkFilter(ctx, filter)
}

// Scope says that the increment is read by the object's filter: those of the candidates (all that are here, if all) that its
// pages do not bring no longer meet it. It comes before the first page. key tells this read from others: the run.
func (b *ChangeBatch) Scope(ctx context.Context, key int64, candidates []string, all bool) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	b.w.scope = -key
	return keepCandidates(ctx, b.w.tx, b.w.table, b.w.scope, candidates, all)
}

// Whole says that the increment is all records: fields that were to be filled are filled with it, and without a filter
// nothing is out of its scope any more.
func (b *ChangeBatch) Whole(fields []string) { b.fill, b.all, b.whole = fields, true, true }

// Apply streams a page of changed records into the object's table; what is there already is not written again.
func (b *ChangeBatch) Apply(ctx context.Context, rows sobject.Rows) (Result, error) {
	if b.w.tx == nil {
		return Result{}, errBatchOver
	}
	r, err := b.w.copyStaged(ctx, rows, source{})
	if err != nil {
		return Result{}, fmt.Errorf("apply changes of %s: %w", b.w.table.Object(), err)
	}
	b.died += r.Deleted
	return r, nil
}

// Unmarked gives those of the listed records that live here, so that their deletion is news. A record that was changed after its
// deletion was listed has been undeleted, and is not among them; nor are those that a person was asked about.
func (b *ChangeBatch) Unmarked(ctx context.Context, deleted []DeletedID) ([]DeletedID, error) {
	if b.w.tx == nil {
		return nil, errBatchOver
	}
	if len(deleted) == 0 {
		return nil, nil
	}
	t := b.w.table
	ids, times := make([]string, len(deleted)), make([]time.Time, len(deleted))
	for i, d := range deleted {
		ids[i], times[i] = string(d.ID), d.At
	}
	condition := ""
	if t.HasIsDeleted() {
		condition += " AND t.isdeleted IS DISTINCT FROM true"
	}
	if t.has("systemmodstamp") {
		// The list of deletions may cut its times to seconds.
		condition += " AND (t.systemmodstamp IS NULL OR date_trunc('second', t.systemmodstamp) <= d.at)"
	}
	rows, err := b.w.tx.Query(ctx, fmt.Sprintf(`SELECT t.sfid, d.at FROM %s t JOIN (SELECT id COLLATE "C" AS id, max(at) AS at FROM unnest($1::text[], $2::timestamptz[]) AS d(id, at) GROUP BY 1) d ON t.sfid = d.id
		WHERE NOT EXISTS (SELECT FROM mirror.deletions x WHERE x.object = $3 AND x.sfid = t.sfid AND x.state NOT IN ('candidate', 'proven'))%s ORDER BY t.sfid`, t.name(), condition), ids, times, t.Object())
	if err != nil {
		return nil, fmt.Errorf("look for deleted records of %s: %w", t.Object(), err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d DeletedID, err error) { return d, row.Scan(&d.ID, &d.At) })
}

// Tombstone notes that records are deleted, and gives how many of them lived here. The org's list is the proof (Invariant 8);
// the records are marked or removed with Commit, unless they are too many at once.
func (b *ChangeBatch) Tombstone(ctx context.Context, deleted []DeletedID) (int64, error) {
	fresh, err := b.Unmarked(ctx, deleted)
	if err != nil || len(deleted) == 0 {
		return 0, err
	}
	// Nothing is left to mend in a record that was set aside and is gone.
	set := make([]string, len(deleted))
	for i, d := range deleted {
		set[i] = string(d.ID)
	}
	_, err = b.w.tx.Exec(ctx, `UPDATE mirror.refusals SET resolved_at = now() WHERE object = $1 AND direction = 'in' AND resolved_at IS NULL AND sfid = ANY($2)`, b.w.table.Object(), set)
	if err != nil {
		return 0, fmt.Errorf("resolve what was set aside of %s: %w", b.w.table.Object(), err)
	}
	if len(fresh) == 0 {
		return 0, nil
	}
	ids, times := make([]string, len(fresh)), make([]time.Time, len(fresh))
	for i, d := range fresh {
		ids[i], times[i] = string(d.ID), d.At
	}
	_, err = b.w.tx.Exec(ctx, `INSERT INTO mirror.deletions AS d (object, sfid, state, source, at) SELECT $1, id, 'new', 'list', at FROM unnest($2::text[], $3::timestamptz[]) AS d(id, at)
		ON CONFLICT (object, sfid) DO UPDATE SET state = 'new', source = 'list', at = excluded.at WHERE d.state IN ('candidate', 'proven')`, b.w.table.Object(), ids, times)
	if err != nil {
		return 0, fmt.Errorf("note deleted records of %s: %w", b.w.table.Object(), err)
	}
	b.listed += int64(len(fresh))
	return int64(len(fresh)), nil
}

// ReadAt says when the pages that follow were read at the earliest, by the org's clock.
func (b *ChangeBatch) ReadAt(at time.Time) { b.w.readAt = at }

// Held tells, after Commit, how many deletions it held for a person's yes.
func (b *ChangeBatch) Held() int64 { return b.held }

// Result gives what the batch did, after Commit, from the sum of what its parts gave: records whose deletion is held live on.
func (b *ChangeBatch) Result(sum Result) Result {
	if b.held > 0 {
		sum.Deleted = max(sum.Deleted-b.died-b.listed, 0)
		sum.Unchanged += b.died
	}
	return sum
}

// DeletedThrough keeps how far the org's log of deletions was read, and when.
func (b *ChangeBatch) DeletedThrough(ctx context.Context, through, askedAt time.Time) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	_, err := b.w.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, deleted_through, deleted_asked_at) VALUES ($1, $2, $3)
		ON CONFLICT (object) DO UPDATE SET deleted_through = greatest(watermarks.deleted_through, excluded.deleted_through), deleted_asked_at = excluded.deleted_asked_at, deleted_refused_at = NULL`,
		b.w.table.Object(), nullTime(through), nullTime(askedAt))
	if err != nil {
		return fmt.Errorf("keep how far deletions of %s were read: %w", b.w.table.Object(), err)
	}
	return nil
}

// Covered keeps how far reading is complete once this batch commits.
func (b *ChangeBatch) Covered(ctx context.Context, c Covered) error {
	switch {
	case b.w.tx == nil:
		return errBatchOver
	case c.AskedAt.IsZero():
		return nil
	}
	_, err := b.w.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, covered_through, covered_asked_at) VALUES ($1, $2, $3)
		ON CONFLICT (object) DO UPDATE SET covered_through = excluded.covered_through, covered_asked_at = excluded.covered_asked_at, covered_refused_at = NULL`,
		b.w.table.Object(), nullTime(c.Through), c.AskedAt)
	if err != nil {
		return fmt.Errorf("keep how far %s is covered: %w", b.w.table.Object(), err)
	}
	return nil
}

// DeletedRefused keeps that the org does not give its list of deletions, so that it is not asked in vain in every cycle.
func (b *ChangeBatch) DeletedRefused(ctx context.Context, at time.Time) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	_, err := b.w.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, deleted_refused_at) VALUES ($1, $2) ON CONFLICT (object) DO UPDATE SET deleted_refused_at = excluded.deleted_refused_at`,
		b.w.table.Object(), at)
	if err != nil {
		return fmt.Errorf("keep what the org refuses of %s: %w", b.w.table.Object(), err)
	}
	return nil
}

// DeletionsLost keeps that the org's list of deletions holds nothing from before a time: what was lost is for a sweep to find.
func (b *ChangeBatch) DeletionsLost(ctx context.Context, before time.Time) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	_, err := b.w.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, deleted_floor, sweep_wanted_at) VALUES ($1, $2, now())
		ON CONFLICT (object) DO UPDATE SET deleted_floor = greatest(watermarks.deleted_floor, excluded.deleted_floor), sweep_wanted_at = coalesce(watermarks.sweep_wanted_at, now())`,
		b.w.table.Object(), before)
	if err != nil {
		return fmt.Errorf("keep that deletions of %s were lost: %w", b.w.table.Object(), err)
	}
	return nil
}

// Commit moves the watermark from where the reader found it and commits everything with it; from is zero if nothing was read
// before. ErrStale if somebody moved it meanwhile: but a reading of all records beside the cycle, whose records and watermark hold
// whatever changes came in between, for each record here that is newer stays. It never moves backward (Invariant 2): an older to leaves it where it is.
func (b *ChangeBatch) Commit(ctx context.Context, from, to time.Time) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	defer b.w.rollback()
	object, t := b.w.table.Object(), b.w.table
	if err := markFilled(ctx, b.w.tx, object, b.fill, time.Time{}); err != nil {
		return err
	}
	if b.w.partial {
		if err := b.w.tx.Commit(ctx); err != nil {
			return fmt.Errorf("commit fields of %s: %w", object, err)
		}
		return nil
	}
	if err := settleScope(ctx, b.w.tx, t, b.w.scope, b.w.scope != 0, b.all); err != nil {
		return err
	}
	from = from.Truncate(time.Microsecond) // as the database keeps it
	var known *time.Time
	if !from.IsZero() {
		known = &from
	}
	var now *time.Time
	err := b.w.tx.QueryRow(ctx, `SELECT watermark FROM mirror.watermarks WHERE object = $1 FOR UPDATE`, object).Scan(&now)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the watermark of %s: %w", object, err)
	}
	if (known == nil) != (now == nil) || known != nil && !known.Equal(*now) && !(b.whole && now.After(*known)) {
		return ErrStale
	}
	if _, b.held, err = b.w.settleDeletions(ctx, 0); err != nil {
		return err
	}
	if err := b.w.redirect(ctx); err != nil {
		return err
	}
	_, err = b.w.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, watermark, swept_at) VALUES ($1, $2, now())
		ON CONFLICT (object) DO UPDATE SET watermark = greatest(watermarks.watermark, excluded.watermark), swept_at = coalesce(watermarks.swept_at, now())`, object, to)
	if err != nil {
		return fmt.Errorf("move the watermark of %s: %w", object, err)
	}
	if err := b.w.tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit changes of %s: %w", object, err)
	}
	b.w.rollback()
	if known == nil {
		// The records are in and vouched for; what is missing here is made good by the next load.
		if err := b.db.ensureIndexes(ctx, t); err == nil {
			b.db.tidy(ctx, t, true)
		}
	} else {
		b.db.ensureSearch(ctx, t)
	}
	return nil
}

// Rollback forgets what was not committed.
func (b *ChangeBatch) Rollback() {
	b.w.rollback()
}
