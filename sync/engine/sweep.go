package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// sweepEvery is how often all ids of an object are compared. What is deleted in the ordinary way is seen without it.
	sweepEvery = 7 * 24 * time.Hour
	// sweepOften is the same for objects of which nothing else tells what is deleted.
	sweepOften = 24 * time.Hour
	// sweepAgain is when a sweep that failed or was canceled is made again.
	sweepAgain = 6 * time.Hour
	// sweepSpan is how long one piece of a sweep goes on taking pages before it makes room for others.
	sweepSpan = 40 * time.Second
	// returnedAtOnce bounds the undeleted records that one query reads again whole.
	returnedAtOnce = 100
	// missingMost is how many records that a sweep finds in the org alone it reads by their ids; more come by reading all again, at most
	// once in missingAgain.
	missingMost, missingAgain = 10_000, 24 * time.Hour

	actorSweep  = "Tandem, to find what was purged"
	actorSettle = "Tandem, for deletions that wait for a yes"
	actorShared = "Tandem, for records that the user sees only now"
)

// sweepDue tells whether an object's ids are to be compared: somebody found that deletions may have been missed, or the time has come.
func sweepDue(mark mirror.Watermark, tellsDeletions bool, now time.Time) bool {
	every := sweepEvery
	if !tellsDeletions {
		every = sweepOften
	}
	return mark.Known && (mark.SweepWanted || !mark.SweptAt.IsZero() && now.Sub(mark.SweptAt) >= every)
}

// askSweep asks for what the object's deletions need beside the cycle: a sweep of its ids, or a person's yes. It is asked at the end
// of each read, so that nothing is lost with a process that died in between.
func (p *piece) askSweep(ctx context.Context) error {
	mark, err := p.Mirror.Watermark(ctx, p.run.Object)
	if err != nil {
		return err
	}
	tells := p.table.HasIsDeleted() || p.run.Object == "User" || p.table.Schema().Replicateable && mark.DeletedRefusedAt.IsZero()
	if sweepDue(mark, tells, time.Now()) {
		last, err := p.Models.Runs(ctx, models.RunFilter{Object: p.run.Object, Kind: models.RunSweep, Limit: 1})
		if err != nil {
			return err
		}
		if len(last) > 0 && last[0].Active() && last[0].Phase == models.PhaseWaiting && !mark.SweepWanted {
			// It waits for an answer, perhaps for weeks, and is the answer to the request: that one is wanted tells it to compare first.
			if err := p.Mirror.WantSweep(ctx, p.run.Object); err != nil {
				return err
			}
		}
		// One that failed would fail in every cycle.
		if len(last) == 0 || last[0].Active() || last[0].State == models.RunSucceeded || time.Since(*last[0].EndedAt) >= sweepAgain {
			_, err := p.Models.RequestRun(ctx, p.run.Object, models.RunSweep, actorSweep)
			return err
		}
	}
	held, _, err := p.Mirror.HeldDeletions(ctx, p.run.Object)
	if err != nil || held == 0 {
		return err
	}
	_, err = p.Models.RequestRun(ctx, p.run.Object, models.RunSweep, actorSettle)
	return err
}

// sweep compares the ids that the org has with those that are here, to find what was purged, and has a person decide of deletions
// that are too many at once. It runs beside the cycle, whose reads go on meanwhile.
//
// Invariant 8: that an id did not come makes its record a candidate and no more. Each is asked for by its id, without any filter,
// before it counts as deleted; a record that left the row filter answers, and lives.
func (p *piece) sweep(ctx context.Context) (outcome, error) {
	s, under, err := p.Mirror.Sweep(ctx, p.run.ID)
	if err != nil {
		return outcome{}, err
	}
	if !under {
		mark, err := p.Mirror.Watermark(ctx, p.run.Object)
		if err != nil {
			return outcome{}, err
		}
		if !mark.Known || !mark.SweepWanted && (p.run.RequestedBy == actorSettle || p.note("swept") > 0) {
			return p.settle(ctx)
		}
		return p.startSweep(ctx)
	}
	switch s.State {
	case mirror.SweepReading:
		return p.readIDs(ctx, s)
	case mirror.SweepComparing:
		if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseComparing, Read: s.Read}); err != nil {
			return outcome{}, err
		}
		candidates, err := p.Mirror.CompareSwept(ctx, s)
		if err == nil && candidates > 0 {
			p.Log.Info("records are here whose ids the org no longer gives; each is asked for", "object", p.run.Object, "run", p.run.ID, "candidates", candidates)
		}
		return outcome{}, err
	default:
		return p.prove(ctx, s)
	}
}

// note gives a number of the run's cursor.
func (p *piece) note(name string) int64 {
	n, _ := p.run.Cursor[name].(float64)
	return int64(n)
}

// setNote changes numbers of the run's cursor, and texts, which are pairs of name and value.
func (p *piece) setNote(ctx context.Context, notes map[string]int64, texts ...string) error {
	cursor := map[string]any{}
	for name, v := range p.run.Cursor {
		cursor[name] = v
	}
	for name, v := range notes {
		cursor[name] = float64(v)
	}
	for i := 0; i+1 < len(texts); i += 2 {
		cursor[texts[i]] = texts[i+1]
	}
	p.run.Cursor = cursor
	return p.Models.SetCursor(ctx, p.run.ID, cursor)
}

// startSweep asks the org for all ids: few come at once by REST, many by Bulk.
func (p *piece) startSweep(ctx context.Context) (outcome, error) {
	now, err := p.serverTime(ctx)
	if err != nil {
		return outcome{}, err
	}
	s := mirror.Sweep{RunID: p.run.ID, Object: p.run.Object, OrgTime: now, StartedAt: time.Now()}
	columns := p.idColumns()
	soql := "SELECT " + strings.Join(columns, ",") + " FROM " + p.run.Object
	if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseReading}); err != nil {
		return outcome{}, err
	}
	// The run may have compared before, while it waited for an answer.
	if err := p.setNote(ctx, nil, "missing", ""); err != nil {
		return outcome{}, err
	}
	// The first page tells how many there are.
	if err := p.Mirror.StartSweep(ctx, s); err != nil {
		return outcome{}, err
	}
	_, err = p.Mirror.AddSwept(ctx, s, func(add func(sobject.Rows) error) (string, bool, error) {
		for page, err := range p.client.QueryRows(ctx, columns, soql, true) {
			if err != nil {
				return "", false, err
			}
			if page.TotalSize <= p.BulkAbove {
				if err := add(page.Rows); err != nil {
					return "", false, err
				}
			}
			if p.many(page) {
				s.Expected = int64(max(page.TotalSize, 0))
				return "", false, errMany
			}
		}
		return "", true, nil
	})
	if errors.Is(err, mirror.ErrPageDone) {
		err = nil
	}
	if !errors.Is(err, errMany) {
		return outcome{}, err
	}
	if s.JobID, err = p.job(ctx, soql); err != nil {
		return outcome{}, err
	}
	p.Log.Info("sweep started", "object", p.run.Object, "run", p.run.ID, "records", s.Expected, "job", s.JobID)
	return outcome{after: 100 * time.Millisecond}, p.Mirror.StartSweep(ctx, s)
}

// errMany ends a read by REST of more ids than one transaction should hold.
var errMany = errors.New("so many ids come by Bulk, or in pieces")

// readIDs takes in pages of the bulk job's result, or by REST the ids behind the last one.
func (p *piece) readIDs(ctx context.Context, s mirror.Sweep) (outcome, error) {
	again := func(reason string) (outcome, error) {
		p.Log.Warn("the sweep starts again", "object", p.run.Object, "run", p.run.ID, "reason", reason)
		return outcome{after: time.Second}, p.Mirror.DropSweep(ctx, s.RunID)
	}
	if s.JobID == "" {
		return p.readIDPieces(ctx, s)
	}
	job, err := p.client.QueryJob(ctx, s.JobID)
	switch {
	case isCode(err, salesforce.CodeNotFound):
		return again("the org no longer has the job")
	case err != nil:
		return outcome{}, err
	case jobRefused(job):
		p.Log.Info("Bulk does not read this object; REST does, piece by piece", "object", p.run.Object, "run", p.run.ID, "reason", job.ErrorMessage)
		s.JobID = ""
		return outcome{}, p.Mirror.StartSweep(ctx, s)
	case job.State != salesforce.JobComplete && job.State.Ended():
		if err := p.Mirror.DropSweep(ctx, s.RunID); err != nil {
			return outcome{}, err
		}
		return outcome{}, objectError("Salesforce ended the bulk job %s as %s: %s", s.JobID, job.State, job.ErrorMessage)
	case job.State != salesforce.JobComplete:
		return outcome{after: p.pollAfter(time.Since(s.StartedAt))}, p.progress(ctx, models.RunProgress{Phase: models.PhasePreparing, Expected: s.Expected})
	}
	for start := time.Now(); s.State == mirror.SweepReading; {
		if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseReading, Expected: job.RecordsProcessed, Read: s.Read, Unchanged: s.Read}); err != nil {
			return outcome{}, err
		}
		if time.Since(start) > sweepSpan {
			return outcome{}, nil
		}
		page, err := p.client.QueryResults(ctx, s.JobID, s.Locator, p.PageRows)
		if salesforce.IsLocatorGone(err) || isCode(err, salesforce.CodeNotFound) {
			return again("the org no longer has the job's result")
		}
		if err != nil {
			return outcome{}, err
		}
		s, err = p.Mirror.AddSwept(ctx, s, func(add func(sobject.Rows) error) (string, bool, error) {
			return page.Locator, page.Locator == "", add(page.Rows)
		})
		_ = page.Close()
		if errors.Is(err, mirror.ErrPageDone) {
			return outcome{after: time.Second}, nil // another worker, thought dead, goes on with it
		}
		if err != nil {
			return outcome{}, err
		}
	}
	if s.Read != job.RecordsProcessed {
		// Nothing is taken as complete that is not.
		if err := p.Mirror.DropSweep(ctx, s.RunID); err != nil {
			return outcome{}, err
		}
		return outcome{}, objectError("Salesforce's bulk job %s says %d records, but its pages held %d ids; nothing is compared with them", s.JobID, job.RecordsProcessed, s.Read)
	}
	if err := p.client.DeleteQueryJob(ctx, s.JobID); err != nil {
		p.Log.Debug("the finished bulk job stays in the org until Salesforce removes it", "job", s.JobID, "error", err)
	}
	return outcome{}, nil
}

func (p *piece) readIDPieces(ctx context.Context, s mirror.Sweep) (outcome, error) {
	for start := time.Now(); s.State == mirror.SweepReading && time.Since(start) < sweepSpan; {
		if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseReading, Expected: s.Expected, Read: s.Read, Unchanged: s.Read}); err != nil {
			return outcome{}, err
		}
		rows, err := p.behind(ctx, p.idColumns(), "", s.Locator)
		if err != nil {
			return outcome{}, err
		}
		s, err = p.Mirror.AddSwept(ctx, s, func(add func(sobject.Rows) error) (string, bool, error) {
			err := add(rows)
			next, more := rows.more()
			return next, !more, err
		})
		rows.close()
		if errors.Is(err, mirror.ErrPageDone) {
			return outcome{after: time.Second}, nil // another worker, thought dead, goes on with it
		}
		if err != nil {
			return outcome{}, err
		}
	}
	return outcome{}, nil
}

// prove asks for the candidates by their ids, a bounded number in one piece, and reads again what lives there and is marked here;
// then it settles what is proven.
func (p *piece) prove(ctx context.Context, s mirror.Sweep) (outcome, error) {
	for start := time.Now(); ; {
		ids, err := p.Mirror.Candidates(ctx, p.run.Object, idsAtOnce)
		if err != nil {
			return outcome{}, err
		}
		if len(ids) == 0 {
			break
		}
		if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseComparing, Read: s.Read}); err != nil {
			return outcome{}, err
		}
		alive, err := p.alive(ctx, ids)
		if err != nil {
			return outcome{}, err
		}
		living := make([]sobject.ID, 0, len(alive))
		for id := range alive {
			living = append(living, id)
		}
		if err := p.Mirror.Prove(ctx, p.run.Object, ids, living); err != nil {
			return outcome{}, err
		}
		if time.Since(start) > sweepSpan {
			return outcome{}, nil
		}
	}
	returned, err := p.readReturned(ctx, s)
	if err != nil {
		return outcome{}, err
	}
	if over, err := p.readMissing(ctx, s); err != nil || !over {
		return outcome{}, err
	}
	done, held, err := p.Mirror.SettleSweep(ctx, s)
	if err != nil {
		return outcome{}, err
	}
	p.Log.Info("sweep ended", "object", p.run.Object, "run", p.run.ID, "ids", s.Read, "deleted", done, "held", held, "undeleted", returned)
	if err := p.setNote(ctx, map[string]int64{"swept": 1, "read": s.Read, "deleted": p.note("deleted") + done, "changed": p.note("changed") + returned}); err != nil {
		return outcome{}, err
	}
	return p.settle(ctx)
}

// readReturned reads records again that are marked as deleted here and live in the org.
func (p *piece) readReturned(ctx context.Context, s mirror.Sweep) (int64, error) {
	var sum int64
	for after := sobject.ID(""); ; {
		ids, err := p.Mirror.Returned(ctx, s, after, returnedAtOnce)
		if err != nil || len(ids) == 0 {
			return sum, err
		}
		after = ids[len(ids)-1]
		n, err := p.readAgain(ctx, ids)
		if err != nil {
			return sum, err
		}
		sum += n.Changed
	}
}

// readMissing reads records that live in the org and are not here: no reading of changes brings what the user sees since a share, for
// that moves no stamp. With a filter only those that meet it are wanted, which the org is asked for in the order of ids. One piece takes a
// bounded time; false tells that more are left, from the cursor on.
func (p *piece) readMissing(ctx context.Context, s mirror.Sweep) (over bool, err error) {
	n, err := p.Mirror.CountMissing(ctx, s)
	if err != nil || n == 0 {
		return true, err
	}
	if p.filter == "" && n > missingMost {
		return true, p.askResync(ctx, n)
	}
	for start := time.Now(); time.Since(start) < sweepSpan; {
		after, _ := p.run.Cursor["missing"].(string)
		ids, next, more, err := p.missingBehind(ctx, s, after)
		if err != nil {
			return false, err
		}
		var fresh int64
		for some := range slices.Chunk(ids, returnedAtOnce) {
			r, err := p.readAgain(ctx, some)
			if err != nil {
				return false, err
			}
			fresh += r.New
		}
		if err := p.setNote(ctx, map[string]int64{"new": p.note("new") + fresh}, "missing", next); err != nil || !more {
			return err == nil, err
		}
	}
	return false, nil
}

// missingBehind gives some of the ids behind the given one whose records are to be read, where the next ones begin, and whether there are any.
func (p *piece) missingBehind(ctx context.Context, s mirror.Sweep, after string) (ids []sobject.ID, next string, more bool, err error) {
	if p.filter == "" {
		if ids, err = p.Mirror.Missing(ctx, s, nil, sobject.ID(after), returnedAtOnce); err != nil || len(ids) == 0 {
			return nil, "", false, err
		}
		return ids, string(ids[len(ids)-1]), len(ids) == returnedAtOnce, nil
	}
	rows, err := p.behind(ctx, []string{"Id"}, p.where(""), after)
	if err != nil {
		return nil, "", false, err
	}
	defer rows.close()
	among := []string{}
	err = eachRow(rows, func(cells [][]byte) error {
		id, err := sobject.ParseID(string(cells[0]))
		among = append(among, string(id))
		return err
	})
	if err != nil {
		return nil, "", false, fmt.Errorf("read ids of %s by its filter: %w", p.run.Object, err)
	}
	next, more = rows.more()
	ids, err = p.Mirror.Missing(ctx, s, among, "", len(among))
	return ids, next, more, err
}

// askResync has all records of the object read again, which costs fewer calls than asking for very many by their ids.
func (p *piece) askResync(ctx context.Context, missing int64) error {
	last, err := p.Models.Runs(ctx, models.RunFilter{Object: p.run.Object, Kind: models.RunResync, Limit: 1})
	if err != nil {
		return err
	}
	if len(last) > 0 && (last[0].Active() || time.Since(*last[0].EndedAt) < missingAgain) {
		return nil
	}
	p.Log.Info("the org has many records that are not here; all are read again", "object", p.run.Object, "run", p.run.ID, "records", missing)
	_, err = p.Models.RequestRun(ctx, p.run.Object, models.RunResync, actorShared)
	return err
}

// readAgain reads records whole by their ids and applies them as they are now, whatever their stamp; it tells what that changed.
func (p *piece) readAgain(ctx context.Context, ids []sobject.ID) (mirror.Result, error) {
	mark, err := p.Mirror.Watermark(ctx, p.run.Object)
	if err != nil {
		return mirror.Result{}, err
	}
	now, err := p.serverTime(ctx)
	if err != nil {
		return mirror.Result{}, err
	}
	batch, err := p.Mirror.ByID(ctx, p.run.Object)
	if err != nil {
		return mirror.Result{}, err
	}
	defer batch.Rollback()
	// Which records are wanted that are not here was asked by this filter.
	if err := batch.ByFilter(ctx, p.filter); err != nil {
		return mirror.Result{}, err
	}
	batch.ReadAt(now)
	var sum mirror.Result
	apply := func(rows sobject.Rows) error {
		r, err := batch.Apply(ctx, rows)
		sum = sum.Plus(r)
		return err
	}
	r := reading{fields: p.table.Fields(), where: "Id IN (" + quoteIDs(ids) + ")"}
	if soql := r.soql(p.run.Object); p.client.QueryURLLen(soql) <= salesforce.MaxURL {
		for page, err := range p.client.QueryRows(ctx, r.fields, soql, true) {
			if err == nil {
				err = apply(page.Rows)
			}
			if err != nil {
				return sum, err
			}
		}
	} else {
		kept := &keptRows{columns: r.fields}
		if err := p.client.Retrieve(ctx, p.run.Object, ids, kept.columns, kept.keep); err != nil {
			return sum, err
		}
		if err := apply(kept); err != nil {
			return sum, err
		}
	}
	return sum, batch.Commit(ctx, mark.At, mark.At)
}

// settle has a person decide of the deletions that are held, waits for the answer, and does it. The run waits beside the cycle:
// the object's changes go on, and a sweep that is wanted meanwhile is made.
func (p *piece) settle(ctx context.Context) (outcome, error) {
	held, records, err := p.Mirror.HeldDeletions(ctx, p.run.Object)
	if err != nil {
		return outcome{}, err
	}
	if held == 0 {
		if _, err := p.Models.WithdrawApproval(ctx, models.ApproveDeletions, p.run.Object); err != nil {
			return outcome{}, err
		}
		read, deleted, changed, fresh := p.note("read"), p.note("deleted"), p.note("changed"), p.note("new")
		unchanged := max(read-changed-fresh, 0)
		return p.finish(ctx, mirror.Result{Read: changed + fresh + unchanged + deleted, New: fresh, Changed: changed, Deleted: deleted, Unchanged: unchanged})
	}
	asked := p.note("approval")
	last, err := p.Models.LastApproval(ctx, models.ApproveDeletions, p.run.Object)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return outcome{}, err
	}
	if asked == 0 || err != nil || last.ID != asked || last.AnsweredAt == nil {
		percent, err2 := p.Models.BrakePercent(ctx)
		if err2 != nil {
			return outcome{}, err2
		}
		if !(mirror.Brake{Percent: percent}).Stops(held, records) {
			// Most came back meanwhile, or the admin lifted the brake: what is left would not have been stopped. An answer that was given
			// at this moment is found by the next look.
			if withdrawn, err := p.Models.WithdrawApproval(ctx, models.ApproveDeletions, p.run.Object); err != nil || asked != 0 && !withdrawn {
				return outcome{}, err
			}
			_, err := p.answer(ctx, true, p.Models.Now())
			return outcome{}, err
		}
		counts := map[string]int64{"deletions": held, "records": records}
		if asked == 0 || err != nil || last.ID != asked || last.Counts["deletions"] != held {
			if last, err = p.Models.AskApproval(ctx, models.ApproveDeletions, p.run.Object, counts); err != nil {
				return outcome{}, err
			}
			p.Log.Warn("deletions wait for a person's yes", "object", p.run.Object, "run", p.run.ID, "deletions", held, "records", records)
			if err := p.setNote(ctx, map[string]int64{"approval": last.ID}); err != nil {
				return outcome{}, err
			}
		}
		return outcome{after: p.AnswerPoll}, p.progress(ctx, models.RunProgress{Phase: models.PhaseWaiting, Expected: held})
	}
	if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseFinishing}); err != nil {
		return outcome{}, err
	}
	if over, err := p.answer(ctx, *last.Answer, *last.AnsweredAt); err != nil || !over {
		return outcome{}, err
	}
	p.Log.Info("a person answered for deletions", "object", p.run.Object, "run", p.run.ID, "yes", *last.Answer, "by", last.AnsweredBy, "deleted", p.note("deleted"))
	// What joined after the answer is asked about anew.
	return outcome{}, p.setNote(ctx, map[string]int64{"approval": 0})
}

// answer does what was decided of the deletions that were held at a time; over tells that nothing of it is left for another piece.
func (p *piece) answer(ctx context.Context, yes bool, at time.Time) (over bool, err error) {
	for more, start := true, time.Now(); more; {
		var n int64
		n, more, err = p.Mirror.AnswerDeletions(ctx, p.run.Object, yes, at)
		if err != nil {
			return false, err
		}
		if n > 0 {
			if err := p.setNote(ctx, map[string]int64{"deleted": p.note("deleted") + n}); err != nil {
				return false, err
			}
		}
		if more && time.Since(start) > sweepSpan {
			return false, nil
		}
	}
	return true, nil
}

// eachRow calls fn with the cells of each row; they are valid until it returns.
func eachRow(rows sobject.Rows, fn func(cells [][]byte) error) error {
	for {
		cells, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(cells); err != nil {
			return err
		}
	}
}

// keptRows are a few records in memory.
type keptRows struct {
	columns []string
	rows    [][][]byte
}

func (k *keptRows) keep(cells [][]byte) error {
	row := make([][]byte, len(cells))
	for i, c := range cells {
		if c != nil {
			row[i] = append([]byte{}, c...)
		}
	}
	k.rows = append(k.rows, row)
	return nil
}

// Columns names the cells.
func (k *keptRows) Columns() []string { return k.columns }

// Next gives the next record.
func (k *keptRows) Next() ([][]byte, error) {
	if len(k.rows) == 0 {
		return nil, io.EOF
	}
	row := k.rows[0]
	k.rows = k.rows[1:]
	return row, nil
}
