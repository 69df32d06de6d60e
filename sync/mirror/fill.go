package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ToFill gives the fields of an object whose values are still to be read for all records, in order.
func (db *DB) ToFill(ctx context.Context, object string) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT field FROM mirror.fields WHERE object = $1 AND filled_at IS NULL AND gone_at IS NULL AND left_out_at IS NULL ORDER BY column_name`, object)
	if err != nil {
		return nil, fmt.Errorf("list what is to be filled of %s: %w", object, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// ObjectsToFill lists the objects that were read once and have fields to be filled.
func (db *DB) ObjectsToFill(ctx context.Context) ([]string, error) {
	rows, err := db.pool.Query(ctx, `SELECT DISTINCT f.object FROM mirror.fields f JOIN mirror.watermarks w ON w.object = f.object AND w.watermark IS NOT NULL
		WHERE f.filled_at IS NULL AND f.gone_at IS NULL AND f.left_out_at IS NULL ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("list what is to be filled: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// markFilled notes that fields were read for all records. One that was wanted anew since the read began stays to be filled;
// a zero time means that none can have been.
func markFilled(ctx context.Context, tx pgx.Tx, object string, fields []string, began time.Time) error {
	if len(fields) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE mirror.fields SET filled_at = now() WHERE object = $1 AND field = ANY($2) AND filled_at IS NULL AND gone_at IS NULL AND left_out_at IS NULL
		AND ($3::timestamptz IS NULL OR wanted_at <= $3)`, object, fields, nullTime(began))
	if err != nil {
		return fmt.Errorf("note what is filled of %s: %w", object, err)
	}
	return nil
}

// update writes those of the n staged records that are here and differ. It adds none, for a page of some fields is not a record,
// and leaves alone what is newer here. The record's own stamp stays: the rest of it is as old as it was.
func (w *writer) update(ctx context.Context, e *encoder, r *Result, _ int64) error {
	var changed int64
	err := w.byHalves(ctx, e, r, func(which string) error {
		n, err := w.updateRows(ctx, e, which)
		if err == nil {
			changed += n
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write fields of %s: %w", w.table.Object(), err)
	}
	r.Changed = changed
	r.Unchanged = r.Read - changed - r.Refused
	return nil
}

func (w *writer) updateRows(ctx context.Context, e *encoder, which string) (changed int64, err error) {
	var set, mine, theirs, names []string
	for i, c := range e.columns {
		if i != e.idAt && i != e.stampAt {
			name := quote(c.name)
			set = append(set, name+" = s."+name)
			mine, theirs = append(mine, "t."+name), append(theirs, "s."+name)
			names = append(names, c.name)
		}
	}
	if len(set) == 0 {
		return 0, nil
	}
	order, fresh := "", ""
	if e.stampAt >= 0 {
		order, fresh = ", systemmodstamp DESC NULLS LAST", " AND (t.systemmodstamp IS NULL OR s.systemmodstamp >= t.systemmodstamp)"
	}
	// A page may hold a record twice; the newer counts. What people wrote and what waits to be sent stays, as upsert has it.
	sql := func(spare bool) string {
		set, theirs := slices.Clone(set), slices.Clone(theirs)
		from, guard := fmt.Sprintf("(SELECT DISTINCT ON (sfid) * FROM %s WHERE %s ORDER BY sfid%s) s", w.stage, which, order), " AND NOT (SELECT "+waitingSQL+")"
		if spare {
			guard = ""
			for i := range theirs {
				name := strings.TrimPrefix(mine[i], "t.")
				theirs[i] = fmt.Sprintf("CASE WHEN %s = ANY (s.waiting) THEN t.%s ELSE s.%[2]s END", literal(names[i]), name)
				set[i] = name + " = " + theirs[i]
			}
			from = fmt.Sprintf("(SELECT s.*, p.waiting FROM %s JOIN %s k ON k.sfid = s.sfid LEFT JOIN LATERAL (%s) p ON true) s", from, w.table.name(), fmt.Sprintf(waitingColumns, "k.id"))
		}
		return fmt.Sprintf(`UPDATE %[1]s t SET %[2]s FROM %[3]s
			WHERE t.sfid = s.sfid%[4]s%[5]s AND ROW(%[6]s) IS DISTINCT FROM ROW(%[7]s) AND coalesce((SELECT true FROM %[1]s o WHERE o.ctid = t.ctid), mirror.raced())`,
			w.table.name(), strings.Join(set, ", "), from, guard, fresh, strings.Join(mine, ", "), strings.Join(theirs, ", "))
	}
	run := func() error {
		changed = 0
		return pgx.BeginFunc(ctx, w.tx, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, sql(false), pgx.QueryExecModeExec, w.table.Object())
			if err != nil {
				return err
			}
			changed = tag.RowsAffected()
			var waits bool
			if err := tx.QueryRow(ctx, "SELECT "+waitingSQL, pgx.QueryExecModeExec, w.table.Object()).Scan(&waits); err != nil || !waits {
				return err
			}
			tag, err = tx.Exec(ctx, sql(true), pgx.QueryExecModeExec, w.table.Object())
			changed += tag.RowsAffected()
			return err
		})
	}
	err = run()
	for try := 1; isState(err, stateRaced, "40P01") && try < raceTries; try++ {
		err = run()
	}
	return changed, err
}

// fieldList are the page's fields as SQL literals, less those by which records are told apart.
func (e *encoder) fieldList() string {
	var names []string
	for i, c := range e.columns {
		if i != e.idAt && i != e.stampAt {
			names = append(names, literal(c.field))
		}
	}
	return strings.Join(names, ", ")
}
