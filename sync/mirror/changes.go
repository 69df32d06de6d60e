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
func (b *ChangeBatch) Whole(fields []string) { b.fill, b.all = fields, true }

// Apply streams a page of changed records into the object's table; what is there already is not written again.
func (b *ChangeBatch) Apply(ctx context.Context, rows sobject.Rows) (Result, error) {
	if b.w.tx == nil {
		return Result{}, errBatchOver
	}
	r, err := b.w.copyStaged(ctx, rows, source{})
	if err != nil {
		return Result{}, fmt.Errorf("apply changes of %s: %w", b.w.table.Object(), err)
	}
	return r, nil
}

// Tombstone marks records as deleted, and gives how many were not yet. The org's list is the proof (Invariant 8). A record
// that was changed after its deletion was listed has been undeleted, and stays. Where the object has no such mark, the row goes.
func (b *ChangeBatch) Tombstone(ctx context.Context, deleted []DeletedID) (int64, error) {
	if b.w.tx == nil {
		return 0, errBatchOver
	}
	if len(deleted) == 0 {
		return 0, nil
	}
	t := b.w.table
	ids, times := make([]string, len(deleted)), make([]time.Time, len(deleted))
	for i, d := range deleted {
		ids[i], times[i] = string(d.ID), d.At
	}
	guard := ""
	if t.has("systemmodstamp") {
		// The list of deletions may cut its times to seconds.
		guard = " AND (t.systemmodstamp IS NULL OR date_trunc('second', t.systemmodstamp) <= d.at)"
	}
	const list = `(SELECT id COLLATE "C" AS id, max(at) AS at FROM unnest($1::text[], $2::timestamptz[]) AS d(id, at) GROUP BY 1) d`
	sql := fmt.Sprintf(`DELETE FROM %s t USING %s WHERE t.sfid = d.id%s`, t.name(), list, guard)
	live, gone := int64(-1), int64(0)
	if t.HasIsDeleted() {
		sql = fmt.Sprintf(`UPDATE %s t SET isdeleted = true FROM %s WHERE t.sfid = d.id AND t.isdeleted IS DISTINCT FROM true%s`, t.name(), list, guard)
		gone = 1
	}
	tag, err := b.w.tx.Exec(ctx, sql, ids, times)
	if err == nil {
		// Nothing is left to mend in a record that is gone.
		_, err = b.w.tx.Exec(ctx, `UPDATE mirror.refusals SET resolved_at = now() WHERE object = $1 AND direction = 'in' AND resolved_at IS NULL AND sfid = ANY($2)`, t.Object(), ids)
	}
	if err != nil {
		return 0, fmt.Errorf("mark deleted records of %s: %w", t.Object(), err)
	}
	n := tag.RowsAffected()
	return n, b.w.keepAccount(ctx, live*n, gone*n)
}

// DeletedThrough keeps how far the org's log of deletions was read, and when.
func (b *ChangeBatch) DeletedThrough(ctx context.Context, through, askedAt time.Time) error {
	if b.w.tx == nil {
		return errBatchOver
	}
	_, err := b.w.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, deleted_through, deleted_asked_at) VALUES ($1, $2, $3)
		ON CONFLICT (object) DO UPDATE SET deleted_through = greatest(watermarks.deleted_through, excluded.deleted_through), deleted_asked_at = excluded.deleted_asked_at`,
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
		ON CONFLICT (object) DO UPDATE SET covered_through = excluded.covered_through, covered_asked_at = excluded.covered_asked_at`,
		b.w.table.Object(), nullTime(c.Through), c.AskedAt)
	if err != nil {
		return fmt.Errorf("keep how far %s is covered: %w", b.w.table.Object(), err)
	}
	return nil
}

// Commit moves the watermark from where the reader found it and commits everything with it; from is zero if nothing was read
// before. ErrStale if somebody moved it meanwhile. It never moves backward (Invariant 2): an older to leaves it where it is.
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
	if (known == nil) != (now == nil) || known != nil && !known.Equal(*now) {
		return ErrStale
	}
	_, err = b.w.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, watermark) VALUES ($1, $2)
		ON CONFLICT (object) DO UPDATE SET watermark = greatest(watermarks.watermark, excluded.watermark)`, object, to)
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
