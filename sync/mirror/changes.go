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
type ChangeBatch struct {
	db    *DB
	tx    pgx.Tx
	table *Table
}

// DeletedID is a record that the org says is deleted, and when.
type DeletedID struct {
	ID sobject.ID
	At time.Time
}

// Changes begins an increment. It holds the object's lock, so that of two workers one waits for the other.
func (db *DB) Changes(ctx context.Context, object string) (*ChangeBatch, error) {
	t, _, err := db.Table(ctx, object)
	if err != nil {
		return nil, err
	}
	tx, err := db.asEngine(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('tandem.mirror.changes'), hashtext($1))`, object); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("take turns in changing %s: %w", object, err)
	}
	return &ChangeBatch{db: db, tx: tx, table: t}, nil
}

// Apply streams a page of changed records into the object's table; what is there already is not written again.
func (b *ChangeBatch) Apply(ctx context.Context, rows sobject.Rows) (Result, error) {
	e, err := newEncoder(b.table, rows)
	if err != nil {
		return Result{}, err
	}
	r, err := copyStaged(ctx, b.tx, b.table, e)
	if err != nil {
		return Result{}, fmt.Errorf("apply changes of %s: %w", b.table.Object(), err)
	}
	return r, setAside(ctx, b.tx, b.table.Object(), e.refused)
}

// Tombstone marks records as deleted, and gives how many were not yet. The org's list is the proof (Invariant 8). A record
// that was changed after its deletion was listed has been undeleted, and stays. Where the object has no such mark, the row goes.
func (b *ChangeBatch) Tombstone(ctx context.Context, deleted []DeletedID) (int64, error) {
	if len(deleted) == 0 {
		return 0, nil
	}
	ids, times := make([]string, len(deleted)), make([]time.Time, len(deleted))
	for i, d := range deleted {
		ids[i], times[i] = string(d.ID), d.At
	}
	guard := ""
	if b.table.has("systemmodstamp") {
		guard = " AND (t.systemmodstamp IS NULL OR t.systemmodstamp <= d.at)"
	}
	sql := fmt.Sprintf(`DELETE FROM %s t USING unnest($1::text[], $2::timestamptz[]) AS d(id, at) WHERE t.sfid = d.id%s`, b.table.name(), guard)
	live, gone := int64(-1), int64(0)
	if b.table.HasIsDeleted() {
		sql = fmt.Sprintf(`UPDATE %s t SET isdeleted = true FROM unnest($1::text[], $2::timestamptz[]) AS d(id, at) WHERE t.sfid = d.id AND t.isdeleted IS DISTINCT FROM true%s`, b.table.name(), guard)
		gone = 1
	}
	tag, err := b.tx.Exec(ctx, sql, ids, times)
	if err != nil {
		return 0, fmt.Errorf("mark deleted records of %s: %w", b.table.Object(), err)
	}
	n := tag.RowsAffected()
	return n, keepAccount(ctx, b.tx, b.table, live*n, gone*n)
}

// DeletedThrough keeps how far the org's log of deletions was read, and when.
func (b *ChangeBatch) DeletedThrough(ctx context.Context, through, askedAt time.Time) error {
	_, err := b.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, deleted_through, deleted_asked_at) VALUES ($1, $2, $3)
		ON CONFLICT (object) DO UPDATE SET deleted_through = greatest(watermarks.deleted_through, excluded.deleted_through), deleted_asked_at = excluded.deleted_asked_at`,
		b.table.Object(), through, askedAt)
	if err != nil {
		return fmt.Errorf("keep how far deletions of %s were read: %w", b.table.Object(), err)
	}
	return nil
}

// Commit moves the watermark from where the reader found it and commits everything with it; from is zero if nothing was read
// before. ErrStale if somebody moved it meanwhile. It never moves backward (Invariant 2): an older to leaves it where it is.
func (b *ChangeBatch) Commit(ctx context.Context, from, to time.Time) error {
	object := b.table.Object()
	var known *time.Time
	if !from.IsZero() {
		known = &from
	}
	var now *time.Time
	err := b.tx.QueryRow(ctx, `SELECT watermark FROM mirror.watermarks WHERE object = $1 FOR UPDATE`, object).Scan(&now)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the watermark of %s: %w", object, err)
	}
	if (known == nil) != (now == nil) || known != nil && !known.Equal(*now) {
		return ErrStale
	}
	_, err = b.tx.Exec(ctx, `INSERT INTO mirror.watermarks (object, watermark) VALUES ($1, $2)
		ON CONFLICT (object) DO UPDATE SET watermark = greatest(watermarks.watermark, excluded.watermark)`, object, to)
	if err != nil {
		return fmt.Errorf("move the watermark of %s: %w", object, err)
	}
	if err := b.tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit changes of %s: %w", object, err)
	}
	if known == nil {
		return b.db.afterFirst(ctx, b.table)
	}
	return nil
}

// Rollback forgets what was not committed.
func (b *ChangeBatch) Rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = b.tx.Rollback(ctx)
}
