package mirror

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// brakeFloor is how many records may always be deleted at once: so few a person can look through one by one, and of a small
// object, say a dozen campaigns, the share alone would ask about every second deletion.
const brakeFloor = 10

// Brake stops deletions that are too many at once to be believed without asking.
type Brake struct {
	Percent int // of an object's live records
}

// Stops tells whether so many deletions of an object with so many live records wait for a person's yes.
func (b Brake) Stops(deletions, records int64) bool {
	return deletions > brakeFloor && deletions*100 > records*int64(b.Percent)
}

// Rules are what the admin chose for an object's deleted records. They are kept beside the records, so that whatever writes these,
// for whatever purpose, is under the same brake.
type Rules struct {
	Remove bool // the row of a deleted record goes, instead of being marked
	Brake  Brake
	Filter string // narrows what is read
}

// SetRules keeps an object's rules; they hold from the next transaction on. A new filter waits for whoever writes the object's records:
// from then on nothing that was read by another one is taken for a reading by this one, see ChangeBatch.ByFilter and StartLoad.
func (db *DB) SetRules(ctx context.Context, object string, r Rules) error {
	var other bool
	err := db.pool.QueryRow(ctx, `WITH s AS (UPDATE mirror.objects SET remove_deleted = $2, brake_percent = $3 WHERE object = $1 AND (remove_deleted, brake_percent) IS DISTINCT FROM ($2, $3))
		SELECT coalesce((SELECT row_filter <> $4 FROM mirror.objects WHERE object = $1), false)`, object, r.Remove, r.Brake.Percent, r.Filter).Scan(&other)
	if err == nil && other {
		err = db.setFilter(ctx, object, r.Filter)
	}
	if err != nil {
		return fmt.Errorf("keep the rules of %s: %w", object, err)
	}
	return nil
}

// holdBack takes the deletions out of a staged page before it is written: which records died is noted, and whether they may is
// decided when the read that brings them ends and their number is known. All else that the page says of them is written. It
// gives how many it noted, and how many rows of records that never lived here it dropped.
func (w *writer) holdBack(ctx context.Context, e *encoder, load int64) (died, dropped int64, err error) {
	object, table := w.table.Object(), w.table.name()
	fail := func(err error) (int64, int64, error) {
		return 0, 0, fmt.Errorf("look for deletions of %s: %w", object, err)
	}
	var known, vanished, remove bool
	err = w.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM mirror.deletions WHERE object = $1), EXISTS (SELECT FROM mirror.vanished WHERE object = $1),
		(SELECT remove_deleted FROM mirror.objects WHERE object = $1)`, object).Scan(&known, &vanished, &remove)
	if err != nil {
		return fail(err)
	}
	if vanished {
		// Alive or deleted, the org gives it again.
		if _, err := w.tx.Exec(ctx, `DELETE FROM mirror.vanished v USING `+w.stage+` s WHERE v.object = $1 AND s.sfid = v.sfid`, object); err != nil {
			return fail(err)
		}
	}
	if known {
		if err := w.forgetRevived(ctx, e); err != nil {
			return fail(err)
		}
	}
	if e.goneAt < 0 {
		return 0, 0, nil
	}
	if !w.readAt.IsZero() && e.stampAt >= 0 && e.gone < e.read {
		// A record that lives there was undeleted, even if its stamp is older than the one that its deletion left here: what is here
		// is from before this read. Its stamp gives way, so that the record is taken.
		_, err := w.tx.Exec(ctx, fmt.Sprintf(`UPDATE %s t SET systemmodstamp = s.systemmodstamp FROM %s s WHERE t.sfid = s.sfid AND t.isdeleted AND NOT s.isdeleted
			AND t.systemmodstamp > s.systemmodstamp AND t.systemmodstamp < $1`, table, w.stage), w.readAt)
		if err != nil {
			return fail(err)
		}
	}
	if e.gone == 0 {
		return 0, 0, nil
	}
	newer, later := "", ""
	if e.stampAt >= 0 {
		newer = " AND (t.systemmodstamp IS NULL OR s.systemmodstamp >= t.systemmodstamp)"
		later = fmt.Sprintf(" AND NOT EXISTS (SELECT FROM %s n WHERE n.sfid = s.sfid AND NOT n.isdeleted AND n.systemmodstamp > s.systemmodstamp)", w.stage)
	}
	stamp := "NULL::timestamptz"
	if e.stampAt >= 0 {
		stamp = "max(s.systemmodstamp)"
	}
	err = w.tx.QueryRow(ctx, fmt.Sprintf(`WITH dying AS MATERIALIZED (
			SELECT s.sfid, %s AS at FROM %s s JOIN %s t ON t.sfid = s.sfid WHERE s.isdeleted AND t.isdeleted IS DISTINCT FROM true%s%s GROUP BY 1
		), noted AS (
			INSERT INTO mirror.deletions AS d (object, sfid, state, source, at, load_id) SELECT $1, sfid, 'new', 'record', at, nullif($2::bigint, 0) FROM dying
			ON CONFLICT (object, sfid) DO UPDATE SET state = 'new', source = 'record', at = excluded.at, load_id = excluded.load_id WHERE d.state IN ('candidate', 'proven')
			RETURNING 1
		), alive AS (
			UPDATE %[2]s s SET isdeleted = false FROM dying d WHERE s.sfid = d.sfid AND s.isdeleted
		)
		SELECT count(*) FROM noted`, stamp, w.stage, table, newer, later), object, load).Scan(&died)
	if err != nil {
		return fail(err)
	}
	if remove {
		tag, err := w.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s s WHERE s.isdeleted AND NOT EXISTS (SELECT FROM %s t WHERE t.sfid = s.sfid)`, w.stage, table))
		if err != nil {
			return fail(err)
		}
		dropped = tag.RowsAffected()
	}
	return died, dropped, nil
}

// forgetRevived forgets the deletion of records that the staged page brings alive, from after it.
func (w *writer) forgetRevived(ctx context.Context, e *encoder) error {
	condition := ""
	if e.goneAt < 0 && w.table.HasIsDeleted() {
		return nil // a page of some fields does not say who lives
	}
	if e.goneAt >= 0 {
		condition += " AND NOT coalesce(s.isdeleted, false)"
	}
	if e.stampAt >= 0 {
		// The list of deletions cuts its times to seconds.
		condition += " AND (d.at IS NULL OR date_trunc('second', s.systemmodstamp) >= date_trunc('second', d.at))"
	}
	_, err := w.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM mirror.deletions d USING %s s WHERE d.object = $1 AND s.sfid = d.sfid%s`, w.stage, condition), w.table.Object())
	return err
}

// heldChanged is a condition on a written record t: its deletion was noted, so that it counts as deleted and not as changed.
const heldChanged = `EXISTS (SELECT FROM mirror.deletions d WHERE d.object = %s AND d.sfid = t.sfid AND d.state = 'new')`

// settleDeletions carries out the deletions that were noted for this read, or holds all of them for a person's yes if they are
// too many at once. What a person was asked about already counts with them: deletions that come in small portions are still as many.
// Bulk reads that are under way settle their own when they end. The caller holds the object's records.
func (w *writer) settleDeletions(ctx context.Context, load int64) (carriedOut, held int64, err error) {
	object := w.table.Object()
	const mine = `d.object = $1 AND d.state = 'new' AND (d.load_id IS NULL OR d.load_id = $2 OR NOT EXISTS (SELECT FROM mirror.loads l WHERE l.id = d.load_id AND l.state = 'open'))`
	var found, waiting, records, marked int64
	var percent int
	var remove bool
	err = w.tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM mirror.deletions d WHERE `+mine+`), (SELECT count(*) FROM mirror.deletions WHERE object = $1 AND state = 'held'),
		records, deleted, brake_percent, remove_deleted FROM mirror.objects WHERE object = $1`, object, load).Scan(&found, &waiting, &records, &marked, &percent, &remove)
	if err != nil {
		return 0, 0, fmt.Errorf("count the deletions of %s: %w", object, err)
	}
	if remove && marked > 0 && w.table.HasIsDeleted() {
		// The admin chose anew, or a first read brought them. What waits to be sent of such a record keeps its row (Invariant 3).
		free, err := w.heldByNobody(ctx)
		if err != nil {
			return 0, 0, err
		}
		tag, err := w.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s t WHERE t.isdeleted AND %s AND %s`, w.table.name(), nothingUnsent("$1"), free), object)
		if err == nil {
			err = w.keepAccount(ctx, 0, -tag.RowsAffected())
		}
		if err != nil {
			return 0, 0, fmt.Errorf("remove deleted records of %s: %w", object, err)
		}
	}
	if found == 0 {
		return 0, 0, nil
	}
	if (Brake{percent}).Stops(found+waiting, records) {
		// Those that a person said no to are asked about again with them: their number has grown.
		_, err := w.tx.Exec(ctx, `UPDATE mirror.deletions d SET state = 'held', load_id = NULL, found_at = clock_timestamp() WHERE `+mine+` OR d.object = $1 AND d.state = 'declined'`, object, load)
		if err != nil {
			return 0, 0, fmt.Errorf("hold the deletions of %s: %w", object, err)
		}
		return 0, found, nil
	}
	carriedOut, err = w.carryOut(ctx, mine, object, load)
	return carriedOut, 0, err
}

// nothingUnsent is a condition on a record t of the object given: no local change of it waits.
func nothingUnsent(object string) string {
	return `NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = ` + object + ` AND o.row_id = t.id)`
}

// heldByNobody is a condition on a record t that may be removed: no table of people's own refers to it in a way that forbids that. What one
// such row forbids must not hold up all reading of the object.
func (w *writer) heldByNobody(ctx context.Context) (string, error) {
	rows, err := w.tx.Query(ctx, `SELECT CASE WHEN has_table_privilege(c.conrelid, 'SELECT')
			THEN format('NOT EXISTS (SELECT FROM %s x WHERE x.%I = t.%I)', c.conrelid::regclass, a.attname, k.attname) ELSE 'false' END
		FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] JOIN pg_attribute k ON k.attrelid = c.confrelid AND k.attnum = c.confkey[1]
		WHERE c.contype = 'f' AND c.confrelid = $1::regclass AND cardinality(c.conkey) = 1 AND c.confdeltype IN ('a', 'r') ORDER BY c.oid`, w.table.name())
	if err != nil {
		return "", fmt.Errorf("look for tables that refer to %s: %w", w.table.Object(), err)
	}
	conditions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("look for tables that refer to %s: %w", w.table.Object(), err)
	}
	return strings.Join(append([]string{"true"}, conditions...), " AND "), nil
}

// carryOut marks or removes the records of the deletions d that meet the condition, whose first parameter is the object, and
// forgets those deletions. It gives how many records lived until then.
func (w *writer) carryOut(ctx context.Context, which string, args ...any) (int64, error) {
	object, table := w.table.Object(), w.table.name()
	var remove bool
	if err := w.tx.QueryRow(ctx, `SELECT remove_deleted FROM mirror.objects WHERE object = $1`, object).Scan(&remove); err != nil {
		return 0, fmt.Errorf("read the rules of %s: %w", object, err)
	}
	var live, gone int64
	write := func(sql string, toGone int64) error {
		tag, err := w.tx.Exec(ctx, sql, args...)
		if err != nil {
			return fmt.Errorf("delete records of %s: %w", object, err)
		}
		live += tag.RowsAffected()
		gone += toGone * tag.RowsAffected()
		return nil
	}
	free, err := w.heldByNobody(ctx)
	if err != nil {
		return 0, err
	}
	if w.table.HasIsDeleted() {
		if remove {
			err := write(fmt.Sprintf(`DELETE FROM %s t USING mirror.deletions d WHERE t.sfid = d.sfid AND t.isdeleted IS DISTINCT FROM true AND %s AND %s AND (%s)`, table, nothingUnsent("d.object"), free, which), 0)
			if err != nil {
				return 0, err
			}
		}
		if err := write(fmt.Sprintf(`UPDATE %s t SET isdeleted = true FROM mirror.deletions d WHERE t.sfid = d.sfid AND t.isdeleted IS DISTINCT FROM true AND (%s)`, table, which), 1); err != nil {
			return 0, err
		}
	} else if err := write(fmt.Sprintf(`DELETE FROM %s t USING mirror.deletions d WHERE t.sfid = d.sfid AND %s AND (%s)`, table, free, which), 0); err != nil {
		return 0, err
	}
	// Nothing is left to mend in a record that is gone.
	_, err = w.tx.Exec(ctx, `UPDATE mirror.refusals r SET resolved_at = now() FROM mirror.deletions d
		WHERE r.object = d.object AND r.direction = 'in' AND r.resolved_at IS NULL AND r.sfid = d.sfid AND (`+which+`)`, args...)
	if err == nil {
		// What only a sweep found is gone or hidden: nothing tells which. It is said of the rows that stay.
		_, err = w.tx.Exec(ctx, fmt.Sprintf(`INSERT INTO mirror.vanished (object, sfid) SELECT d.object, d.sfid FROM mirror.deletions d JOIN %s t ON t.sfid = d.sfid
			WHERE d.source = 'sweep' AND (%s) ON CONFLICT DO NOTHING`, table, which), args...)
	}
	if err == nil {
		_, err = w.tx.Exec(ctx, `DELETE FROM mirror.deletions d WHERE `+which, args...)
	}
	if err != nil {
		return 0, fmt.Errorf("keep the account of deletions of %s: %w", object, err)
	}
	return live, w.keepAccount(ctx, -live, gone)
}

// HeldDeletions tells how many deletions of an object wait for a person's yes, and how many live records it has.
func (db *DB) HeldDeletions(ctx context.Context, object string) (held, records int64, err error) {
	err = db.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM mirror.deletions WHERE object = $1 AND state = 'held'), coalesce((SELECT records FROM mirror.objects WHERE object = $1), 0)`, object).
		Scan(&held, &records)
	if err != nil {
		return 0, 0, fmt.Errorf("count the deletions of %s that are held: %w", object, err)
	}
	return held, records, nil
}

// answerAtOnce is how many held deletions one transaction carries out.
const answerAtOnce = 20_000

// AnswerDeletions does what a person decided of the deletions that were held when they did: carried out a portion at a time, or
// left alone and remembered. more tells that a portion is left.
func (db *DB) AnswerDeletions(ctx context.Context, object string, yes bool, answeredAt time.Time) (carriedOut int64, more bool, err error) {
	if !yes {
		_, err := db.pool.Exec(ctx, `UPDATE mirror.deletions SET state = 'declined' WHERE object = $1 AND state = 'held' AND found_at <= $2`, object, answeredAt)
		if err != nil {
			return 0, false, fmt.Errorf("leave the deletions of %s alone: %w", object, err)
		}
		return 0, false, nil
	}
	w, err := db.begin(ctx, object, false)
	if err != nil {
		return 0, false, err
	}
	defer w.rollback()
	if err := w.lock(ctx, ""); err != nil {
		return 0, false, err
	}
	var last *string
	err = w.tx.QueryRow(ctx, `SELECT max(sfid) FROM (SELECT sfid FROM mirror.deletions WHERE object = $1 AND state = 'held' AND found_at <= $2 ORDER BY sfid LIMIT $3) p`,
		object, answeredAt, answerAtOnce).Scan(&last)
	if err != nil {
		return 0, false, fmt.Errorf("look for the deletions of %s that are held: %w", object, err)
	}
	if last == nil {
		return 0, false, nil
	}
	carriedOut, err = w.carryOut(ctx, `d.object = $1 AND d.state = 'held' AND d.found_at <= $2 AND d.sfid <= $3`, object, answeredAt, *last)
	if err != nil {
		return 0, false, err
	}
	if err := w.tx.Commit(ctx); err != nil {
		return 0, false, fmt.Errorf("commit deletions of %s: %w", object, err)
	}
	return carriedOut, true, nil
}

// ReconsiderDeletions forgets that a person said no: a resync asks again.
func (db *DB) ReconsiderDeletions(ctx context.Context, object string) error {
	_, err := db.pool.Exec(ctx, `UPDATE mirror.deletions SET state = 'new', load_id = NULL WHERE object = $1 AND state = 'declined'`, object)
	if err != nil {
		return fmt.Errorf("reconsider the deletions of %s: %w", object, err)
	}
	return nil
}
