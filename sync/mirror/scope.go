package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A filter narrows what is read of an object, and Salesforce never says that a record left it: such a record merely stops being
// brought. So each read by a filter knows its candidates: of all records, those that are here; of changes, those that changed,
// filter or not. Its pages take away from them what they bring. What remains at its end no longer meets the filter: it is marked in
// mirror.out_of_scope, and never deleted (Invariant 8). A condition NOT (filter) would say the same with less, but what SOQL's NOT
// makes of empty values is nowhere written down.

// An object's filter may change while something reads by the old one. Whichever reading commits last of its records would else have
// the last word; so each says by which filter it reads, and is stale if that is not the object's when it begins to write.

func (db *DB) setFilter(ctx context.Context, object, filter string) error {
	w, err := db.begin(ctx, object, false)
	if err != nil {
		return err
	}
	defer w.rollback()
	if err := w.lock(ctx, ""); err != nil {
		return err
	}
	if _, err := w.tx.Exec(ctx, `UPDATE mirror.objects SET row_filter = $2 WHERE object = $1`, object, filter); err != nil {
		return err
	}
	return w.tx.Commit(ctx)
}

// checkFilter is ErrStale if the object's filter is not the given one. The caller holds the object's records.
func (w *writer) checkFilter(ctx context.Context, filter string) error {
	var same bool
	if err := w.tx.QueryRow(ctx, `SELECT row_filter = $2 FROM mirror.objects WHERE object = $1`, w.table.Object(), filter).Scan(&same); err != nil {
		return fmt.Errorf("look at the filter of %s: %w", w.table.Object(), err)
	}
	if !same {
		return fmt.Errorf("%w: the filter of %s is another one now", ErrStale, w.table.Object())
	}
	return nil
}

// AbandonOtherFilters gives up the loads of an object that read changes, or all again, by another filter than the given one. It waits for
// pages of theirs that are being written; none is written after it. A first sync goes on: all is read again after it.
func (db *DB) AbandonOtherFilters(ctx context.Context, object, filter string) error {
	rows, err := db.pool.Query(ctx, `SELECT id FROM mirror.loads WHERE object = $1 AND state = 'open' AND kind IN ('changes', 'resync') AND row_filter <> $2`, object, filter)
	if err != nil {
		return fmt.Errorf("look for loads of %s by another filter: %w", object, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look for loads of %s by another filter: %w", object, err)
	}
	for _, id := range ids {
		if err := db.AbandonLoad(ctx, id, "the object's filter is another one now"); err != nil {
			return err
		}
	}
	return nil
}

// keepCandidates notes what a read by a filter may have lost: those of the given records that are here, or all that are here.
func keepCandidates(ctx context.Context, tx pgx.Tx, t *Table, key int64, candidates []string, all bool) error {
	_, err := tx.Exec(ctx, `DELETE FROM mirror.load_scope WHERE load_id = $1`, key)
	if err == nil {
		_, err = tx.Exec(ctx, fmt.Sprintf(`INSERT INTO mirror.load_scope (load_id, sfid) SELECT $1, t.sfid FROM %s t WHERE t.sfid IS NOT NULL AND ($3 OR t.sfid = ANY($2)) ON CONFLICT DO NOTHING`, t.name()), key, candidates, all)
	}
	if err != nil {
		return fmt.Errorf("note what a read of %s by its filter may have lost: %w", t.Object(), err)
	}
	return nil
}

// seen notes that the page's records meet the object's filter, also those that were set aside for a cell.
func (w *writer) seen(ctx context.Context, e *encoder, staged int64) error {
	from := func(table, condition string) error {
		if staged > 0 {
			if _, err := w.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s c USING %s s WHERE %s AND c.sfid = s.sfid`, table, w.stage, condition), pgx.QueryExecModeExec); err != nil {
				return fmt.Errorf("note which records of %s meet its filter: %w", w.table.Object(), err)
			}
		}
		if len(e.refused.sfid) > 0 {
			if _, err := w.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s c WHERE %s AND c.sfid = ANY($1)`, table, condition), e.refused.sfid); err != nil {
				return fmt.Errorf("note which records of %s meet its filter: %w", w.table.Object(), err)
			}
		}
		return nil
	}
	if w.scope != 0 {
		if err := from("mirror.load_scope", fmt.Sprintf("c.load_id = %d", w.scope)); err != nil {
			return err
		}
	}
	var any bool
	if err := w.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM mirror.out_of_scope WHERE object = $1)`, w.table.Object()).Scan(&any); err != nil {
		return fmt.Errorf("look for records of %s that left its filter: %w", w.table.Object(), err)
	}
	if !any {
		return nil
	}
	return from("mirror.out_of_scope", "c.object = "+literal(w.table.Object()))
}

// settleScope marks what a read by a filter did not bring of its candidates. A read of all records without a filter ends every mark.
func settleScope(ctx context.Context, tx pgx.Tx, t *Table, key int64, scoped, all bool) error {
	var err error
	if scoped {
		_, err = tx.Exec(ctx, fmt.Sprintf(`WITH lost AS (DELETE FROM mirror.load_scope WHERE load_id = $1 RETURNING sfid)
			INSERT INTO mirror.out_of_scope (object, sfid) SELECT $2, l.sfid FROM lost l JOIN %s t ON t.sfid = l.sfid ON CONFLICT DO NOTHING`, t.name()), key, t.Object())
	} else if all {
		_, err = tx.Exec(ctx, `DELETE FROM mirror.out_of_scope WHERE object = $1`, t.Object())
	}
	if err != nil {
		return fmt.Errorf("mark the records of %s that no longer meet its filter: %w", t.Object(), err)
	}
	return nil
}

// OutOfScope counts the records of an object that no longer meet its filter.
func (db *DB) OutOfScope(ctx context.Context, object string) (int64, error) {
	var n int64
	if err := db.pool.QueryRow(ctx, `SELECT count(*) FROM mirror.out_of_scope WHERE object = $1`, object).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the records of %s that left its filter: %w", object, err)
	}
	return n, nil
}
