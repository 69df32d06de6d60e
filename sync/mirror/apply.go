package mirror

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// writer is one transaction that writes an object's records: a page of a load, or an increment.
type writer struct {
	conn  *pgxpool.Conn
	tx    pgx.Tx
	table *Table
	stage string // the session's staging table, quoted; "" for a writer that only copies directly
	used  bool   // the staging table holds rows of this transaction

	byID    bool  // its pages were asked for by ids, not by the object's filter
	partial bool  // its pages bring some fields only, of records that are here
	scope   int64 // whose candidates of mirror.load_scope its pages take away; 0: none
	// readAt is a time of the org's from before the records were read; zero if it is not known.
	readAt time.Time
}

// begin opens a transaction as the engine. It holds the table's lock, so that the columns stay what they are until the end; should
// they have changed since they were looked at, it looks again.
func (db *DB) begin(ctx context.Context, object string, staging bool) (*writer, error) {
	for range 20 {
		w, err := db.tryBegin(ctx, object, staging)
		if w != nil || err != nil {
			return w, err
		}
		db.tables.Delete(object)
	}
	return nil, fmt.Errorf("the table of %s is changed again and again", object)
}

// tryBegin gives neither a writer nor an error when the table was described anew meanwhile.
func (db *DB) tryBegin(ctx context.Context, object string, staging bool) (_ *writer, err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach the database: %w", err)
	}
	w := &writer{conn: conn}
	kept := false
	defer func() {
		if !kept {
			w.rollback()
		}
	}()
	if known, ok := db.tables.Load(object); ok {
		w.table = known.(*Table)
	} else {
		if w.table, _, err = loadTable(ctx, conn, object); err != nil {
			return nil, err
		}
		db.tables.Store(object, w.table)
	}
	if staging {
		if w.stage, err = ensureStage(ctx, conn.Conn(), w.table); err != nil {
			return nil, err
		}
	}
	if w.tx, err = conn.Begin(ctx); err != nil {
		return nil, fmt.Errorf("begin to write %s: %w", object, err)
	}
	// Invariant 4: the engine's own writes are neither refused nor captured. The setting ends with the transaction.
	var b pgx.Batch
	b.Queue(`SELECT set_config('tandem.engine', 'on', true)`)
	b.Queue("LOCK TABLE " + w.table.name() + " IN ROW EXCLUSIVE MODE")
	same := false
	b.Queue(`SELECT described_at = $2 FROM mirror.objects WHERE object = $1`, object, w.table.described).QueryRow(func(row pgx.Row) error { return row.Scan(&same) })
	if err := w.tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, fmt.Errorf("begin to write %s: %w", object, err)
	}
	if !same {
		return nil, nil
	}
	kept = true
	return w, nil
}

// rollback ends the transaction without effect if it is still open, and gives the connection back. It may be called at any time.
func (w *writer) rollback() {
	if w.conn == nil {
		return
	}
	if w.tx != nil {
		// What ended the work may be its context; the connection must be clean all the same.
		_ = w.tx.Rollback(context.Background())
	}
	w.conn.Release()
	w.conn, w.tx = nil, nil
}

// lock takes the object's records for this transaction.
func (w *writer) lock(ctx context.Context, suffix string) error {
	if _, err := w.tx.Exec(ctx, `SELECT pg_advisory_xact_lock`+suffix+`($1, hashtext($2))`, lockRows, w.table.Object()); err != nil {
		return fmt.Errorf("take turns in changing %s: %w", w.table.Object(), err)
	}
	return nil
}

// ensureStage makes the session's staging table for an object, once for each shape of its columns: made anew for each page, it
// would fill the system's catalogs. Its rows vanish at the end of each transaction.
func ensureStage(ctx context.Context, conn *pgx.Conn, t *Table) (string, error) {
	name := short("tandem_" + t.schema.Table())
	stage := pgx.Identifier{"pg_temp", name}.Sanitize()
	columns := make([]string, len(t.columns))
	h := fnv.New64a()
	for i, c := range t.columns {
		columns[i] = quote(c.name)
		fmt.Fprintf(h, "%s %s,", c.name, c.pgType)
	}
	shape := h.Sum64()
	session := conn.PgConn().CustomData()
	if session[name] == shape {
		return stage, nil
	}
	// A page takes some 40 MB. Once the session has used a temporary table the setting is refused, which does no harm.
	_, _ = conn.Exec(ctx, `SET temp_buffers = '32MB'`)
	sql := fmt.Sprintf(`DROP TABLE IF EXISTS %s; CREATE TEMPORARY TABLE %s ON COMMIT DELETE ROWS AS SELECT %s FROM %s WITH NO DATA`,
		stage, quote(name), strings.Join(columns, ", "), t.name())
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return "", fmt.Errorf("make the staging table of %s: %w", t.Object(), err)
	}
	session[name] = shape
	return stage, nil
}

// copyIn streams the encoder's records into a table. What went wrong with the records comes before what PostgreSQL says of a
// stream that ended early.
func (w *writer) copyIn(ctx context.Context, e *encoder, into string) (int64, error) {
	tag, err := w.tx.Conn().PgConn().CopyFrom(ctx, e, fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", into, e.names("")))
	if rowsErr := e.close(); rowsErr != nil {
		return 0, rowsErr
	}
	if err != nil && ctx.Err() != nil {
		// The driver may tell only of the connection that it closed because of it.
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return tag.RowsAffected(), err
}

// copyDirect streams a page straight into the table, which was empty when the load began. A record that is there already makes
// it ErrRetryStaged, as does another page that holds the same records in another order.
func (w *writer) copyDirect(ctx context.Context, rows sobject.Rows, from source) (Result, error) {
	e, err := newEncoder(ctx, w.table, rows)
	if err != nil {
		return Result{}, err
	}
	if err := w.lock(ctx, "_shared"); err != nil {
		return Result{}, err
	}
	e.kin = newKin(e)
	var n int64
	err = w.quietly(ctx, func() (err error) {
		n, err = w.copyIn(ctx, e, w.table.name())
		return err
	})
	if isState(err, "23505", "40P01") {
		return Result{}, ErrRetryStaged
	}
	if err != nil {
		return Result{}, err
	}
	// The system columns know which records came with this transaction.
	clean := "s.xmin = pg_current_xact_id()::xid AND " + e.notOlder()
	if err := e.settle(ctx, w, w.table.name()+" s", clean, from); err != nil {
		return Result{}, err
	}
	if err := e.kin.store(ctx, w, from.load); err != nil {
		return Result{}, err
	}
	return Result{Read: e.read, New: n, Refused: e.refused.count}, w.keepAccount(ctx, n-e.gone, e.gone)
}

// copyStaged streams a page into the session's temporary table and from there only what differs into the object's. The join
// comes before the upsert because ON CONFLICT locks, and so writes, every row that it meets, changed or not. A record
// that is older than the one that is there stays out; of a record that the page holds twice the newer counts.
func (w *writer) copyStaged(ctx context.Context, rows sobject.Rows, from source) (Result, error) {
	e, err := newEncoder(ctx, w.table, rows)
	if err != nil {
		return Result{}, err
	}
	if w.used {
		if _, err := w.tx.Exec(ctx, "TRUNCATE "+w.stage); err != nil {
			return Result{}, fmt.Errorf("empty the staging table: %w", err)
		}
	}
	w.used = true
	n, err := w.copyIn(ctx, e, w.stage)
	if err != nil {
		return Result{}, err
	}
	r := Result{Read: e.read, Refused: e.refused.count}
	if n > 0 {
		// One staged writer of an object at a time from here to its commit: the counts are exact, and two pages never wait for each other crosswise.
		if err := w.lock(ctx, ""); err != nil {
			return Result{}, err
		}
		died, dropped, err := w.holdBack(ctx, e, from.load)
		if err != nil {
			return Result{}, err
		}
		if w.partial {
			err = w.update(ctx, e, &r, n)
		} else {
			err = w.upsert(ctx, e, &r, n-dropped, died)
			r.Unchanged += dropped
		}
		if err != nil {
			return Result{}, err
		}
		if err := w.follow(ctx, e, w.stage); err != nil {
			return Result{}, err
		}
	}
	clean := e.notOlder()
	if w.partial {
		// What is known of a record now is these fields only: it mends no other field that was set aside.
		clean += " AND r.field = ANY(ARRAY[" + e.fieldList() + "]::text[])"
	} else if !w.byID {
		if err := w.seen(ctx, e, n); err != nil {
			return Result{}, err
		}
	}
	return r, e.settle(ctx, w, w.stage+" s", clean, from)
}

// settle resolves the refusals of records that came clean, then keeps the new ones: a record that is in the page in both ways
// stays set aside.
func (e *encoder) settle(ctx context.Context, w *writer, rows, clean string, from source) error {
	if err := resolveRefused(ctx, w.tx, w.table.Object(), rows, clean); err != nil {
		return err
	}
	return e.refused.store(ctx, w.tx, w.table.Object(), from)
}

// notOlder is the condition on a clean record s that resolves the refusal r.
func (e *encoder) notOlder() string {
	if e.stampAt < 0 {
		return "true"
	}
	return "(r.stamp IS NULL OR s.systemmodstamp IS NULL OR s.systemmodstamp >= r.stamp)"
}

// upsert writes those of the n staged records that are new or differ. Of them so many died, and count as deleted: see holdBack.
//
// People edit the same rows meanwhile, and nothing of theirs is overwritten in silence. What of a row waits to be sent is read by
// the same statement, so with the same snapshot, that decides what to write; should it then meet a row version that this snapshot did not
// see, it undoes itself (mirror.raced) and is run again. While nothing of the object waits, the plain statement runs, and finds
// that out by one look; else the one that spares what waits.
func (w *writer) upsert(ctx context.Context, e *encoder, r *Result, n, died int64) error {
	var sum upserted
	before := r.Refused
	err := w.byHalves(ctx, e, r, func(which string) error {
		u, err := w.upsertRows(ctx, e, died > 0, which)
		if err == nil {
			sum = sum.plus(u)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write records of %s: %w", w.table.Object(), err)
	}
	if sum.isNew > 0 {
		// Of the new ones, those that somebody deleted while this went on come back only if the deletion is not allowed.
		again, againGone, err := w.undouble(ctx, e.goneAt >= 0)
		if err != nil {
			return err
		}
		sum.isNew, sum.newGone = sum.isNew-again, sum.newGone-againGone
	}
	r.New, r.Deleted, r.Changed = sum.isNew, died, sum.changed-sum.heldBack
	r.Unchanged = n - r.New - r.Changed - died - (r.Refused - before)
	return w.keepAccount(ctx, sum.isNew-sum.newGone+sum.revived, sum.newGone-sum.revived)
}

// upserted counts what upsertRows wrote.
type upserted struct{ isNew, newGone, changed, heldBack, revived int64 }

func (u upserted) plus(o upserted) upserted {
	return upserted{u.isNew + o.isNew, u.newGone + o.newGone, u.changed + o.changed, u.heldBack + o.heldBack, u.revived + o.revived}
}

// byHalves writes the staged records, of which the condition given to write selects some. One that, with what its row holds already
// (columns of fields that were left out keep their data), would not fit one row of PostgreSQL is found by halving, and set aside with
// the reason; all others are written (Invariant 6).
func (w *writer) byHalves(ctx context.Context, e *encoder, r *Result, write func(which string) error) error {
	const tooWide = "54000"
	err := write("true")
	if !isState(err, tooWide) {
		return err
	}
	rows, err := w.tx.Query(ctx, `SELECT DISTINCT sfid FROM `+w.stage+` WHERE sfid IS NOT NULL ORDER BY 1`, pgx.QueryExecModeExec)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var halve func(ids []string) error
	halve = func(ids []string) error {
		err := write("sfid BETWEEN " + literal(ids[0]) + " AND " + literal(ids[len(ids)-1]))
		switch {
		case !isState(err, tooWide):
			return err
		case len(ids) == 1:
			r.Refused++
			cells := make([][]byte, len(e.columns))
			cells[e.idAt] = []byte(ids[0])
			return e.setAside(cells, -1, flawWide)
		}
		if err := halve(ids[:len(ids)/2]); err != nil {
			return err
		}
		return halve(ids[len(ids)/2:])
	}
	if len(ids) == 0 {
		return nil
	}
	return halve(ids)
}

// upsertRows writes those of the staged records that the condition selects and that are new or differ.
func (w *writer) upsertRows(ctx context.Context, e *encoder, died bool, which string) (u upserted, err error) {
	spare, locked := false, false
	run := func() error {
		return pgx.BeginFunc(ctx, w.tx, func(tx pgx.Tx) error {
			// Each staged record is looked up by the index of sfid, so that a page costs the same however large the table is; a hash
			// join would read the whole table for every page. The statement is planned each time, for a plan that is
			// kept from when the table was small would not do so.
			const byIndex = `SET LOCAL enable_hashjoin = %[1]s; SET LOCAL enable_mergejoin = %[1]s; SET LOCAL enable_seqscan = %[1]s; SET LOCAL jit = %[2]s`
			if _, err := tx.Conn().PgConn().Exec(ctx, fmt.Sprintf(byIndex, "off", "off")).ReadAll(); err != nil {
				return err
			}
			if locked {
				// Somebody edits these rows again and again: they are held while they are written.
				if _, err := tx.Exec(ctx, fmt.Sprintf(`SELECT FROM %s t JOIN %s s ON s.sfid = t.sfid ORDER BY t.sfid FOR NO KEY UPDATE OF t`, w.table.name(), w.stage), pgx.QueryExecModeExec); err != nil {
					return err
				}
			}
			var waits bool
			write := func() error {
				return tx.QueryRow(ctx, w.upsertSQL(e, died, spare, which), pgx.QueryExecModeExec, w.table.Object()).Scan(&u.isNew, &u.newGone, &u.changed, &u.heldBack, &u.revived, &waits)
			}
			if err := write(); err != nil {
				return err
			}
			if waits && !spare {
				spare = true
				if err := write(); err != nil {
					return err
				}
			}
			_, err := tx.Conn().PgConn().Exec(ctx, fmt.Sprintf(byIndex, "DEFAULT", "DEFAULT")).ReadAll()
			return err
		})
	}
	err = run()
	for try := 1; err != nil && try < raceTries; try++ {
		switch {
		case isState(err, "21000"):
			// The page holds a record twice. That is rare, so it costs nothing to find out this way.
			order := "ctid DESC"
			if e.stampAt >= 0 {
				order = "systemmodstamp DESC NULLS LAST, ctid DESC"
			}
			if _, err := w.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %[1]s s USING (
				SELECT ctid, row_number() OVER (PARTITION BY sfid ORDER BY %[2]s) AS n FROM %[1]s) d WHERE s.ctid = d.ctid AND d.n > 1`, w.stage, order), pgx.QueryExecModeExec); err != nil {
				return u, err
			}
		case isState(err, stateRaced, "40P01"):
			locked = try > 1
		default:
			return u, err
		}
		err = run()
	}
	return u, err
}

const (
	// waitingSQL tells whether something of the object $1 waits: edits, or fields of which a person is asked.
	waitingSQL = `EXISTS (SELECT FROM mirror.outbox o WHERE o.object = $1) OR EXISTS (SELECT FROM mirror.conflicts c WHERE c.object = $1 AND c.winner = '' AND c.closed_at IS NULL)`
	// waitingColumns gives the columns that wait of the row whose id is put in: what is read does not overwrite them.
	waitingColumns = `SELECT array_agg(k) AS waiting FROM (
		SELECT jsonb_object_keys(o.changed) AS k FROM mirror.outbox o WHERE o.object = $1 AND o.row_id = %[1]s
		UNION ALL SELECT c.column_name FROM mirror.conflicts c WHERE c.object = $1 AND c.row_id = %[1]s AND c.winner = '' AND c.closed_at IS NULL) w`
	// raceTries bounds how often a page's upsert is run. From the third on it holds the rows, so that nobody can come between.
	raceTries = 6
	// stateRaced is what mirror.raced raises.
	stateRaced = "TD001"
)

// undouble removes rows that the last upsert made of records whose deletion here waits to be sent.
func (w *writer) undouble(ctx context.Context, marks bool) (n, gone int64, err error) {
	is := "false"
	if marks {
		is = "coalesce(t.isdeleted, false)"
	}
	err = w.tx.QueryRow(ctx, fmt.Sprintf(`WITH again AS (DELETE FROM %s t USING mirror.outbox o WHERE o.object = $1 AND o.operation = 'delete' AND t.sfid = o.sfid RETURNING %s AS is)
		SELECT count(*), count(*) FILTER (WHERE "is") FROM again`, w.table.name(), is), pgx.QueryExecModeExec, w.table.Object()).Scan(&n, &gone)
	if err != nil {
		return 0, 0, fmt.Errorf("keep deleted rows of %s out: %w", w.table.Object(), err)
	}
	return n, gone, nil
}

// upsertSQL counts what it writes: new records, deleted ones among them, changed ones, and of those the ones whose deletion was
// held back and the ones that are deleted no longer; and tells whether something of the object waits to be sent. Without spare it
// writes only if nothing does.
func (w *writer) upsertSQL(e *encoder, heldBack, spare bool, which string) string {
	var set, mine, theirs, picked []string
	for i, c := range e.columns {
		name := quote(c.name)
		if i == e.idAt {
			picked = append(picked, "s."+name)
			continue
		}
		set = append(set, name+" = excluded."+name)
		mine = append(mine, "t."+name)
		if spare {
			picked = append(picked, fmt.Sprintf("CASE WHEN %s = ANY (p.waiting) THEN t.%s ELSE s.%[2]s END AS %[2]s", literal(c.name), name))
		}
		theirs = append(theirs, "s."+name)
	}
	from := fmt.Sprintf(`%s s LEFT JOIN %s t ON t.sfid = s.sfid`, w.stage, w.table.name())
	values := e.names("s.")
	guard, with := "NOT (SELECT "+waitingSQL+") AND ", ""
	if which != "true" {
		which = "s." + which + " AND "
	} else {
		which = ""
	}
	if spare {
		from += fmt.Sprintf(` LEFT JOIN LATERAL (%s) p ON true CROSS JOIN LATERAL (SELECT %s) v`, fmt.Sprintf(waitingColumns, "t.id"), strings.Join(picked, ", "))
		values = e.names("v.")
		for i := range theirs {
			theirs[i] = "v" + strings.TrimPrefix(theirs[i], "s")
		}
		guard = "NOT (t.sfid IS NULL AND (SELECT count(*) > 0 FROM mirror.outbox o WHERE o.sfid = s.sfid AND o.operation = 'delete' AND o.object = $1)) AND "
		with = w.holdSQL(e)
	}
	differs, conflict := "false", "NOTHING"
	if len(set) > 0 {
		differs = "ROW(" + strings.Join(mine, ", ") + ") IS DISTINCT FROM ROW(" + strings.Join(theirs, ", ") + ")"
		conflict = "UPDATE SET " + strings.Join(set, ", ") + " WHERE "
		if e.stampAt >= 0 {
			differs = "(t.systemmodstamp IS NULL OR s.systemmodstamp >= t.systemmodstamp) AND " + differs
			conflict += "(t.systemmodstamp IS NULL OR excluded.systemmodstamp >= t.systemmodstamp) AND "
		}
		// The row version that is to be replaced must be one that the statement's snapshot sees.
		conflict += fmt.Sprintf("coalesce((SELECT true FROM %s o WHERE o.ctid = t.ctid), mirror.raced())", w.table.name())
	}
	// xmax is zero in a row that was inserted and not in one that was updated; what the row was before, the statement's snapshot shows.
	is, was := "false", "false"
	if e.goneAt >= 0 {
		is = "coalesce(t.isdeleted, false)"
		was = fmt.Sprintf("CASE WHEN t.xmax <> 0 THEN coalesce((SELECT o.isdeleted FROM %s o WHERE o.sfid = t.sfid), false) END", w.table.name())
		// A record that people deleted here, and Salesforce at their wish, does not come back as a deleted one.
		guard += "NOT (t.sfid IS NULL AND coalesce(s.isdeleted, false) AND (SELECT count(*) > 0 FROM mirror.settled d WHERE d.sfid = s.sfid AND d.operation = 'delete' AND d.object = $1 AND d.outcome IN ('accepted', 'already'))) AND "
	}
	held := "false"
	if heldBack {
		held = fmt.Sprintf(heldChanged, literal(w.table.Object()))
	}
	return fmt.Sprintf(`WITH %[9]swritten AS (
			INSERT INTO %[1]s AS t (%[2]s)
			SELECT %[3]s FROM %[4]s WHERE %[13]s%[10]s(t.sfid IS NULL OR %[5]s)
			ON CONFLICT (sfid) DO %[6]s
			RETURNING t.xmax = 0 AS new, %[7]s AS is, %[8]s AS was, %[12]s AS held
		)
		SELECT count(*) FILTER (WHERE new), count(*) FILTER (WHERE new AND "is"), count(*) FILTER (WHERE NOT new),
			count(*) FILTER (WHERE NOT new AND held), count(*) FILTER (WHERE NOT new AND was AND NOT "is"), (SELECT %[11]s) FROM written`,
		w.table.name(), e.names(""), values, from, differs, conflict, is, was, with, guard, waitingSQL, held, which)
}

// holdSQL keeps what Salesforce holds of columns that are not overwritten: a dropped edit goes back to it. An older version of the
// record does not replace a newer one.
func (w *writer) holdSQL(e *encoder) string {
	stamp, newer, notOlder := "NULL::timestamptz", "true", "true"
	if e.stampAt >= 0 {
		stamp, newer = "s.systemmodstamp", "h.stamp IS NULL OR excluded.stamp >= h.stamp"
		notOlder = "(t.systemmodstamp IS NULL OR s.systemmodstamp >= t.systemmodstamp)"
	}
	return fmt.Sprintf(`held AS (
			INSERT INTO mirror.held AS h (object, row_id, cells, stamp)
			SELECT $1, r.row_id, CASE WHEN r.gone THEN to_jsonb(s) ELSE (SELECT jsonb_object_agg(j.key, j.value) FROM jsonb_each(to_jsonb(s)) j WHERE j.key = ANY (r.waiting)) END, %[3]s
			FROM %[1]s s CROSS JOIN LATERAL (
				SELECT o.row_id, true AS gone, NULL::text[] AS waiting FROM mirror.outbox o WHERE o.sfid = s.sfid AND o.operation = 'delete' AND o.object = $1
				UNION ALL
				SELECT t.id, false, w.waiting FROM %[2]s t CROSS JOIN LATERAL (%[6]s) w
				WHERE t.sfid = s.sfid AND w.waiting IS NOT NULL AND %[5]s
			) r
			WHERE r.gone OR to_jsonb(s) ?| r.waiting
			ON CONFLICT (object, row_id) DO UPDATE SET cells = h.cells || excluded.cells, stamp = coalesce(excluded.stamp, h.stamp) WHERE %[4]s
		), `, w.stage, w.table.name(), stamp, newer, notOlder, fmt.Sprintf(waitingColumns, "t.id"))
}

// keepAccount keeps how many live and deleted records the table holds.
func (w *writer) keepAccount(ctx context.Context, live, deleted int64) error {
	if live == 0 && deleted == 0 {
		return nil
	}
	_, err := w.tx.Exec(ctx, `UPDATE mirror.objects SET records = records + $2, deleted = deleted + $3 WHERE object = $1`, w.table.Object(), live, deleted)
	if err != nil {
		return fmt.Errorf("keep the count of %s: %w", w.table.Object(), err)
	}
	return nil
}

// Recount counts an object's records anew, for when somebody wrote past the engine.
func (db *DB) Recount(ctx context.Context, object string) error {
	w, err := db.begin(ctx, object, false)
	if err != nil {
		return err
	}
	defer w.rollback()
	// Writers under way are waited for, else their records would count twice or not at all.
	if err := w.lock(ctx, ""); err != nil {
		return err
	}
	gone := "false"
	if w.table.HasIsDeleted() {
		gone = "coalesce(isdeleted, false)"
	}
	_, err = w.tx.Exec(ctx, fmt.Sprintf(`UPDATE mirror.objects SET (records, deleted) =
		(SELECT count(*) FILTER (WHERE NOT %[1]s), count(*) FILTER (WHERE %[1]s) FROM %[2]s WHERE sfid IS NOT NULL) WHERE object = $1`, gone, w.table.name()), object)
	if err == nil {
		err = w.tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("count %s anew: %w", object, err)
	}
	return nil
}
