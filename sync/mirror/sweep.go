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

// SweepState says where a sweep is.
type SweepState string

// The states of a sweep, in their order.
const (
	SweepReading   SweepState = "reading"   // the org's ids come in
	SweepComparing SweepState = "comparing" // with those that are here
	SweepProving   SweepState = "proving"   // what is here and not there is asked for by its id
	SweepSettling  SweepState = "settling"
)

// Sweep is a comparison of all ids under way: the cursor that lets any worker go on with it.
type Sweep struct {
	RunID     int64
	Object    string
	State     SweepState
	JobID     string // of the bulk read; empty: read by REST
	Expected  int64
	Locator   string // of the page to read next; by REST the id behind which it begins
	Page      int
	Read      int64
	OrgTime   time.Time // from before the read
	StartedAt time.Time
}

// sweepTable is where a sweep's ids are. It is a table of its own, so that it goes in a moment and leaves nothing to clean up.
func sweepTable(run int64) string {
	return pgx.Identifier{"mirror", fmt.Sprintf("swept_%d", run)}.Sanitize()
}

// Sweep gives a run's sweep; false if it has none yet.
func (db *DB) Sweep(ctx context.Context, run int64) (Sweep, bool, error) {
	s := Sweep{RunID: run}
	err := db.pool.QueryRow(ctx, `SELECT object, state, job_id, expected, locator, page, read, org_time, started_at FROM mirror.sweeps WHERE run_id = $1`, run).
		Scan(&s.Object, &s.State, &s.JobID, &s.Expected, &s.Locator, &s.Page, &s.Read, &s.OrgTime, &s.StartedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("look for the sweep of run %d: %w", run, err)
	}
	s.OrgTime = s.OrgTime.UTC()
	return s, true, nil
}

// StartSweep begins to compare an object's ids. A sweep of it that an earlier run left is dropped.
func (db *DB) StartSweep(ctx context.Context, s Sweep) error {
	t, _, err := db.Table(ctx, s.Object)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if err := dropSweeps(ctx, tx, `object = $1`, s.Object); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf(`INSERT INTO mirror.sweeps (run_id, object, job_id, expected, up_to, org_time) SELECT $1, $2, $3, $4, coalesce(max(id), 0), $5 FROM %s`, t.name()),
			s.RunID, s.Object, s.JobID, s.Expected, s.OrgTime)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE %s (sfid text COLLATE "C" NOT NULL, gone boolean NOT NULL)`, sweepTable(s.RunID)))
		return err
	})
	if err != nil {
		return fmt.Errorf("start a sweep of %s: %w", s.Object, err)
	}
	return nil
}

// DropSweep forgets a run's sweep and its ids.
func (db *DB) DropSweep(ctx context.Context, run int64) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error { return dropSweeps(ctx, tx, `run_id = $1`, run) })
	if err != nil {
		return fmt.Errorf("drop the sweep of run %d: %w", run, err)
	}
	return nil
}

func dropSweeps(ctx context.Context, tx pgx.Tx, which string, args ...any) error {
	rows, err := tx.Query(ctx, `DELETE FROM mirror.sweeps WHERE `+which+` RETURNING run_id, object`, args...)
	if err != nil {
		return err
	}
	type gone struct {
		run    int64
		object string
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g gone, err error) { return g, row.Scan(&g.run, &g.object) })
	if err != nil {
		return err
	}
	for _, g := range all {
		if _, err := tx.Exec(ctx, `DROP TABLE IF EXISTS `+sweepTable(g.run)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM mirror.deletions WHERE object = $1 AND state IN ('candidate', 'proven')`, g.object); err != nil {
			return err
		}
	}
	return nil
}

// AddSwept takes in ids of a sweep, page after page as pages gives them, and moves its cursor with them, all or nothing (Invariant 1):
// pages tells where the page after these begins, or that there is none. ErrPageDone if somebody else was faster.
func (db *DB) AddSwept(ctx context.Context, s Sweep, pages func(add func(sobject.Rows) error) (next string, last bool, err error)) (Sweep, error) {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		// The fence: who moves the cursor first holds its row until the ids are in.
		tag, err := tx.Exec(ctx, `UPDATE mirror.sweeps SET page = page + 1 WHERE run_id = $1 AND page = $2 AND state = 'reading'`, s.RunID, s.Page)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return ErrPageDone
		}
		var read int64
		add := func(rows sobject.Rows) error {
			ids, err := newSweptIDs(rows)
			if err != nil {
				return err
			}
			_, err = tx.CopyFrom(ctx, pgx.Identifier{"mirror", fmt.Sprintf("swept_%d", s.RunID)}, []string{"sfid", "gone"}, ids)
			read += ids.read
			if ids.err != nil {
				return ids.err // comes before what PostgreSQL says of a stream that ended early
			}
			return err
		}
		next, last, err := pages(add)
		if err != nil {
			return err
		}
		s.Page, s.Locator, s.State, s.Read = s.Page+1, next, SweepReading, s.Read+read
		if last {
			s.State = SweepComparing
		}
		_, err = tx.Exec(ctx, `UPDATE mirror.sweeps SET read = $2, locator = $3, state = $4 WHERE run_id = $1`, s.RunID, s.Read, s.Locator, string(s.State))
		return err
	})
	if err != nil {
		return s, fmt.Errorf("take in the ids of %s: %w", s.Object, err)
	}
	return s, nil
}

// sweptIDs streams a page of ids to COPY: whatever its size, it needs the memory of one.
type sweptIDs struct {
	rows         sobject.Rows
	idAt, goneAt int
	read         int64
	id           string
	gone         bool
	err          error
}

func newSweptIDs(rows sobject.Rows) (*sweptIDs, error) {
	s := &sweptIDs{rows: rows, idAt: -1, goneAt: -1}
	for i, name := range rows.Columns() {
		switch {
		case strings.EqualFold(name, "Id"):
			s.idAt = i
		case strings.EqualFold(name, "IsDeleted"):
			s.goneAt = i
		}
	}
	if s.idAt < 0 && len(rows.Columns()) > 0 {
		return nil, fmt.Errorf("%w: it has no Id", ErrPage)
	}
	return s, nil
}

// Next takes the next id.
func (s *sweptIDs) Next() bool {
	cells, err := s.rows.Next()
	if errors.Is(err, io.EOF) {
		return false
	}
	if err != nil {
		s.err = err
		return false
	}
	s.read++
	id, err := sobject.ParseID(string(cells[s.idAt]))
	if err != nil {
		s.err = fmt.Errorf("%w: %w", ErrPage, err)
		return false
	}
	s.id, s.gone = string(id), s.goneAt >= 0 && string(cells[s.goneAt]) == "true"
	return true
}

// Values gives it.
func (s *sweptIDs) Values() ([]any, error) { return []any{s.id, s.gone}, nil }

// Err gives what ended the page, if it was not its end.
func (s *sweptIDs) Err() error { return s.err }

// CompareSwept makes candidates of the records that live here and are not among the ids that the org has, or are deleted there.
// It gives how many there are.
func (db *DB) CompareSwept(ctx context.Context, s Sweep) (int64, error) {
	t, _, err := db.Table(ctx, s.Object)
	if err != nil {
		return 0, err
	}
	live := ""
	if t.HasIsDeleted() {
		live = " AND t.isdeleted IS DISTINCT FROM true"
	}
	var candidates int64
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, fmt.Sprintf(`INSERT INTO mirror.deletions (object, sfid, state, source) SELECT $1, t.sfid, 'candidate', 'sweep' FROM %s t
			WHERE t.sfid IS NOT NULL AND t.id <= (SELECT up_to FROM mirror.sweeps WHERE run_id = $2)%s AND NOT EXISTS (SELECT FROM %s o WHERE o.sfid = t.sfid AND NOT o.gone)
			ON CONFLICT DO NOTHING`, t.name(), live, sweepTable(s.RunID)), s.Object, s.RunID)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE mirror.sweeps SET state = 'proving' WHERE run_id = $1`, s.RunID); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT count(*) FROM mirror.deletions WHERE object = $1 AND state = 'candidate'`, s.Object).Scan(&candidates)
	})
	if err != nil {
		return 0, fmt.Errorf("compare the ids of %s: %w", s.Object, err)
	}
	return candidates, nil
}

// Returned lists records that are marked as deleted here and live in the org, after the id given, at most so many. They were
// undeleted in a way that no read of changes shows.
func (db *DB) Returned(ctx context.Context, s Sweep, after sobject.ID, most int) ([]sobject.ID, error) {
	t, _, err := db.Table(ctx, s.Object)
	if err != nil || !t.HasIsDeleted() {
		return nil, err
	}
	rows, err := db.pool.Query(ctx, fmt.Sprintf(`SELECT t.sfid FROM %s t JOIN %s o ON o.sfid = t.sfid WHERE t.isdeleted AND NOT o.gone AND t.sfid > $1 ORDER BY t.sfid LIMIT $2`,
		t.name(), sweepTable(s.RunID)), string(after), most)
	if err != nil {
		return nil, fmt.Errorf("look for undeleted records of %s: %w", s.Object, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[sobject.ID])
}

// missing is a condition on an id o that a sweep saw: it lives in the org and is not here, and nothing says that it should not be. Whoever
// deleted it here wants it gone, and what was set aside is told of elsewhere.
const missing = `NOT o.gone AND NOT EXISTS (SELECT FROM %s t WHERE t.sfid = o.sfid)
	AND NOT EXISTS (SELECT FROM mirror.outbox x WHERE x.object = $1 AND x.operation = 'delete' AND x.sfid = o.sfid)
	AND NOT EXISTS (SELECT FROM mirror.refusals r WHERE r.object = $1 AND r.direction = 'in' AND r.sfid = o.sfid AND r.resolved_at IS NULL)`

// CountMissing counts the ids that the org gave a sweep and that are not here: the user sees them since a share that no stamp tells of, or
// they are of records that the object's filter leaves out, or just made.
func (db *DB) CountMissing(ctx context.Context, s Sweep) (n int64, err error) {
	t, _, err := db.Table(ctx, s.Object)
	if err == nil {
		err = db.pool.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM %s o WHERE `+missing, sweepTable(s.RunID), t.name()), s.Object).Scan(&n)
	}
	if err != nil {
		return 0, fmt.Errorf("count the ids of %s that are not here: %w", s.Object, err)
	}
	return n, nil
}

// Missing lists them, in order, after the id given, at most so many; of the ids among, if there are any, only these.
func (db *DB) Missing(ctx context.Context, s Sweep, among []string, after sobject.ID, most int) ([]sobject.ID, error) {
	t, _, err := db.Table(ctx, s.Object)
	if err != nil {
		return nil, err
	}
	rows, err := db.pool.Query(ctx, fmt.Sprintf(`SELECT DISTINCT o.sfid FROM %s o WHERE `+missing+` AND o.sfid > $2 AND ($3::text[] IS NULL OR o.sfid = ANY($3)) ORDER BY 1 LIMIT $4`, sweepTable(s.RunID), t.name()),
		s.Object, string(after), among, most)
	if err != nil {
		return nil, fmt.Errorf("list the ids of %s that are not here: %w", s.Object, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[sobject.ID])
}

// Candidates lists records whose deletion is to be proven, at most so many.
func (db *DB) Candidates(ctx context.Context, object string, most int) ([]sobject.ID, error) {
	rows, err := db.pool.Query(ctx, `SELECT sfid FROM mirror.deletions WHERE object = $1 AND state = 'candidate' ORDER BY sfid LIMIT $2`, object, most)
	if err != nil {
		return nil, fmt.Errorf("list the candidates for deletion of %s: %w", object, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[sobject.ID])
}

// Prove keeps what asking for candidates by their ids gave: those that the org gave alive are none (Invariant 8), all others of
// those asked for are deleted.
func (db *DB) Prove(ctx context.Context, object string, asked, alive []sobject.ID) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM mirror.deletions WHERE object = $1 AND state = 'candidate' AND sfid = ANY($2)`, object, idTexts(alive)); err != nil {
			return err
		}
		// Nothing is settled before all are proven: the brake counts them together.
		_, err := tx.Exec(ctx, `UPDATE mirror.deletions SET state = 'proven' WHERE object = $1 AND state = 'candidate' AND sfid = ANY($2)`, object, idTexts(asked))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep the proof of deletions of %s: %w", object, err)
	}
	return nil
}

func idTexts(ids []sobject.ID) []string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = string(id)
	}
	return texts
}

// SettleSweep carries out what a sweep proved, or holds it if it is too much at once, and ends the sweep: the object is compared
// as of its begin, and what made a sweep wanted before is met.
func (db *DB) SettleSweep(ctx context.Context, s Sweep) (carriedOut, held int64, err error) {
	w, err := db.begin(ctx, s.Object, false)
	if err != nil {
		return 0, 0, err
	}
	defer w.rollback()
	if err := w.lock(ctx, ""); err != nil {
		return 0, 0, err
	}
	_, err = w.tx.Exec(ctx, `UPDATE mirror.deletions SET state = 'new' WHERE object = $1 AND state = 'proven'`, s.Object)
	if err == nil {
		carriedOut, held, err = w.settleDeletions(ctx, 0)
	}
	if err == nil {
		_, err = w.tx.Exec(ctx, `UPDATE mirror.watermarks SET swept_at = s.started_at, sweep_wanted_at = CASE WHEN sweep_wanted_at > s.started_at THEN sweep_wanted_at END
			FROM mirror.sweeps s WHERE watermarks.object = $1 AND s.run_id = $2`, s.Object, s.RunID)
	}
	if err == nil {
		err = dropSweeps(ctx, w.tx, `run_id = $1`, s.RunID)
	}
	if err == nil {
		err = w.tx.Commit(ctx)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("settle the sweep of %s: %w", s.Object, err)
	}
	return carriedOut, held, nil
}

// WantSweep keeps that deletions of an object may have been missed.
func (db *DB) WantSweep(ctx context.Context, object string) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO mirror.watermarks (object, sweep_wanted_at) VALUES ($1, now())
		ON CONFLICT (object) DO UPDATE SET sweep_wanted_at = coalesce(watermarks.sweep_wanted_at, now())`, object)
	if err != nil {
		return fmt.Errorf("keep that a sweep of %s is wanted: %w", object, err)
	}
	return nil
}
