package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
)

const (
	// lostJobsMax is how many bulk jobs of one run may get lost before it fails, and lostJobWait is between two of them.
	lostJobsMax = 3
	lostJobWait = 2 * time.Second
)

// coveredAsk is how far back /updated is asked when only its latestDateCovered is wanted; the call takes no less than a minute.
const coveredAsk = 3 * time.Minute

// readAll reads every record, deleted and archived ones too: the first sync and a resync. Few come at once by REST, many by Bulk.
func (p *piece) readAll(ctx context.Context, mark mirror.Watermark) (outcome, error) {
	kind := mirror.LoadFirst
	if p.run.Kind == models.RunResync {
		kind = mirror.LoadResync
	}
	// The watermark is the org's time from before the read: what changes while it runs is read again by the changes after it.
	now, err := p.serverTime(ctx)
	if err != nil {
		return outcome{}, err
	}
	if !refusesCovered(mark, now) {
		if err := p.askCovered(ctx, now); err != nil {
			return outcome{}, err
		}
	}
	if kind == mirror.LoadResync {
		// A person who said no to deletions is asked again: all is read again.
		if err := p.Mirror.ReconsiderDeletions(ctx, p.run.Object); err != nil {
			return outcome{}, err
		}
	}
	r := reading{kind: kind, fields: p.table.Fields(), where: p.where(""), now: now}
	r.scoped, r.all = p.filter != "", p.filter != ""
	return p.readQuery(ctx, mark, r)
}

// reading is one query of an object's records, and what becomes of them.
type reading struct {
	kind   mirror.LoadKind
	fields []string  // API names, Id first
	where  string    // the condition, the object's filter included; empty: all records
	now    time.Time // the org's time from before
	more   extra

	// Where the object has a filter: which records the reading may have lost to it; all: every one that is here.
	scoped     bool
	candidates []string
	all        bool
}

// soql selects the reading's fields.
func (r reading) soql(object string) string {
	return "SELECT " + strings.Join(r.fields, ",") + " FROM " + object + r.condition()
}

func (r reading) condition() string {
	if r.where == "" {
		return ""
	}
	return " WHERE " + r.where
}

// askCovered asks how far reading is complete: the start of the oldest transaction still open in the org. It has to be asked
// before the read that relies on it, or a transaction that commits between the two is missed, and it is kept with that read.
func (p *piece) askCovered(ctx context.Context, now time.Time) error {
	if !p.table.Schema().Replicateable {
		return nil
	}
	updated, err := p.client.Updated(ctx, p.run.Object, now.Add(-coveredAsk), now)
	if err != nil {
		if salesforce.IsTransient(err) || salesforce.IsHalting(err) {
			return err
		}
		// Some objects say that they are replicateable and refuse the call; the look-back stands in for the answer.
		p.Log.Warn("the org does not say how far reading is complete; it is asked again in a day", "object", p.run.Object, "error", err)
		return p.Mirror.CoveredRefused(ctx, p.run.Object, now)
	}
	p.covered = mirror.Covered{Through: updated.LatestDateCovered, AskedAt: now}
	return nil
}

// asksCovered tells whether the org is asked how far reading is complete: in turn, and until it answered once; but not where it
// refused lately.
func (p *piece) asksCovered(mark mirror.Watermark, now time.Time) bool {
	return (p.args.AskCovered || mark.CoveredAskedAt.IsZero()) && !refusesCovered(mark, now)
}

func refusesCovered(mark mirror.Watermark, now time.Time) bool {
	return !mark.CoveredRefusedAt.IsZero() && now.Sub(mark.CoveredRefusedAt) < refusedAgain
}

// readQuery reads what the condition selects. The first page of a REST query says how much that is: if it is little, the
// pages are applied as they come and committed with the watermark in one transaction; if it is much, a Bulk job reads it, or REST
// in pieces where Bulk does not.
func (p *piece) readQuery(ctx context.Context, mark mirror.Watermark, r reading) (outcome, error) {
	soql := r.soql(p.run.Object)
	if p.client.QueryURLLen(soql) > salesforce.MaxURL {
		// Too many fields for one URL. Asking only how many records there are is short, and mostly the answer is none.
		n, err := p.client.CountAll(ctx, "SELECT COUNT() FROM "+p.run.Object+r.condition())
		if err != nil {
			return outcome{}, err
		}
		if n > 0 {
			return p.startLoad(ctx, r, int64(n))
		}
		return p.applyPages(ctx, mark, r, "")
	}
	return p.applyPages(ctx, mark, r, soql)
}

// extra is a further part of a read that commits with it; it gives how many records it marked as deleted.
type extra func(context.Context, *mirror.ChangeBatch) (int64, error)

// applyPages applies the pages of a REST query and commits them with the watermark, all or nothing (Invariant 1). An empty
// query reads nothing. A first page that announces more than BulkAbove records, or does not say how many follow it, turns the read
// into a load.
func (p *piece) applyPages(ctx context.Context, mark mirror.Watermark, r reading, soql string) (outcome, error) {
	var batch *mirror.ChangeBatch
	begin := func() (err error) {
		if r.kind.Partial() {
			batch, err = p.Mirror.Partial(ctx, p.run.Object, r.kind, r.fields)
			return err
		}
		if batch, err = p.Mirror.Changes(ctx, p.run.Object); err != nil {
			return err
		}
		if err := batch.ByFilter(ctx, p.filter); err != nil {
			return err
		}
		// The look-back makes up for transactions that commit late.
		batch.ReadAt(r.now.Add(-p.LookBack))
		if r.kind != mirror.LoadChanges {
			batch.Whole(r.fields)
		}
		if r.scoped {
			return batch.Scope(ctx, p.run.ID, r.candidates, r.all)
		}
		return nil
	}
	defer func() {
		if batch != nil {
			batch.Rollback()
		}
	}()
	var sum mirror.Result
	if soql != "" {
		for page, err := range p.client.QueryRows(ctx, r.fields, soql, true) {
			if err != nil {
				return outcome{}, err
			}
			if batch == nil {
				if page.TotalSize > p.BulkAbove {
					return p.startLoad(ctx, r, int64(page.TotalSize))
				}
				if err := begin(); err != nil {
					return outcome{}, err
				}
			}
			if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseReading, Expected: int64(max(page.TotalSize, 0)), Read: sum.Read}); err != nil {
				return outcome{}, err
			}
			done, err := batch.Apply(ctx, page.Rows)
			if err != nil {
				return outcome{}, err
			}
			if p.many(page) {
				// The org tells only behind the records how many there are, or not at all.
				batch.Rollback()
				return p.startLoad(ctx, r, int64(max(page.TotalSize, 0)))
			}
			sum = sum.Plus(done)
		}
	}
	if batch == nil {
		if err := begin(); err != nil {
			return outcome{}, err
		}
	}
	if r.more != nil {
		n, err := r.more(ctx, batch)
		if err != nil {
			return outcome{}, err
		}
		sum.Deleted += n
	}
	if err := batch.Covered(ctx, p.covered); err != nil {
		return outcome{}, err
	}
	if err := batch.Commit(ctx, mark.At, r.now); err != nil {
		return outcome{}, err
	}
	return p.finish(ctx, batch.Result(sum))
}

func (p *piece) startLoad(ctx context.Context, r reading, expected int64) (outcome, error) {
	// Each load that was given up has cost the org a job. An org that loses every one of them is not asked for ever.
	lost, err := p.Mirror.AbandonedLoads(ctx, p.run.ID)
	if err != nil {
		return outcome{}, err
	}
	if lost >= lostJobsMax {
		return outcome{}, objectError("Salesforce lost the bulk job of this run %d times, or its result; the next cycle tries again", lost)
	}
	soql := r.soql(p.run.Object)
	// The job is made before the load is noted, for only the org's answer tells whether there is one; a job whose
	// note is lost with this process costs the org nothing but one job of its daily thousands.
	job, err := p.job(ctx, soql)
	if err != nil {
		return outcome{}, err
	}
	load, err := p.Mirror.StartLoad(ctx, mirror.Load{
		Object: p.run.Object, RunID: p.run.ID, Kind: r.kind, JobID: job, SOQL: soql, Fields: r.fields, Watermark: r.now, Covered: p.covered, Expected: expected,
		Filter: p.filter, Scoped: r.scoped, Candidates: r.candidates, CandidatesAll: r.all,
	})
	if err != nil {
		return outcome{}, err
	}
	p.Log.Info("read of many records started", "object", p.run.Object, "run", p.run.ID, "kind", r.kind, "records", expected, "job", job)
	if err := p.progress(ctx, models.RunProgress{Phase: models.PhasePreparing, Expected: load.Expected}); err != nil {
		return outcome{}, err
	}
	return p.continueLoad(ctx, load)
}

// continueLoad takes a load one step on: waits for Salesforce's job, queues its pages, and ends it when all are in.
func (p *piece) continueLoad(ctx context.Context, load mirror.Load) (outcome, error) {
	load, lastKnown, allDone, err := p.Mirror.LoadProgress(ctx, load.ID)
	if err != nil {
		return outcome{}, err
	}
	pages, err := p.Mirror.PagesToRead(ctx, load.ID)
	if err != nil {
		return outcome{}, err
	}
	if len(pages) == 0 && !lastKnown && load.ByREST() {
		if err := p.Mirror.PlanPage(ctx, load.ID, 1, ""); err != nil {
			return outcome{}, err
		}
		pages = []mirror.Page{{Seq: 1}}
	} else if len(pages) == 0 && !lastKnown {
		job, err := p.awaitJob(ctx, load)
		switch {
		case isCode(err, "NOT_FOUND"):
			p.Log.Warn("the org no longer has the bulk job; the read starts again", "object", p.run.Object, "job", load.JobID)
			return outcome{after: lostJobWait}, p.Mirror.AbandonLoad(ctx, load.ID, "the org no longer has the job")
		case err != nil:
			return outcome{}, err
		case job.State != salesforce.JobComplete && job.State.Ended():
			reason := fmt.Sprintf("Salesforce ended the bulk job %s as %s: %s", load.JobID, job.State, job.ErrorMessage)
			if err := p.Mirror.AbandonLoad(ctx, load.ID, reason); err != nil {
				return outcome{}, err
			}
			cause := job.Err()
			if isFieldGone(cause) {
				p.asked = load.Fields
				return outcome{}, cause
			}
			if jobRefused(job) {
				p.Log.Info("Bulk does not read this object; REST does, piece by piece", "object", p.run.Object, "reason", reason)
				return outcome{}, errNotByBulk
			}
			return outcome{}, objectError("%s", reason)
		case job.State != salesforce.JobComplete:
			if err := p.progress(ctx, loadProgress(models.PhasePreparing, load)); err != nil {
				return outcome{}, err
			}
			return outcome{after: p.pollAfter(time.Since(load.StartedAt))}, nil
		}
		if err := p.Mirror.SetLoadExpected(ctx, load.ID, job.RecordsProcessed); err != nil {
			return outcome{}, err
		}
		load.Expected = job.RecordsProcessed
		if err := p.Mirror.PlanPage(ctx, load.ID, 1, ""); err != nil {
			return outcome{}, err
		}
		pages = []mirror.Page{{Seq: 1}}
	}
	if !allDone || !lastKnown {
		if err := p.progress(ctx, loadProgress(models.PhaseReading, load)); err != nil {
			return outcome{}, err
		}
		for _, page := range pages {
			if err := p.queuePage(ctx, load, page.Seq); err != nil {
				return outcome{}, err
			}
		}
		return outcome{after: time.Second}, nil
	}
	return p.finishLoad(ctx, load)
}

// errNotByBulk is what a piece meets when Bulk turns out not to take the object only when the job has begun. The load is given
// up, and the piece is done again by REST.
var errNotByBulk = errors.New("Bulk does not read this object")

// finishLoad ends a load all of whose pages are in. The piece of the last page does it, or, if that one died, the run's own.
func (p *piece) finishLoad(ctx context.Context, load mirror.Load) (outcome, error) {
	if !load.ByREST() && load.Expected > 0 && load.Read != load.Expected { // zero: the job does not say
		reason := fmt.Sprintf("Salesforce's bulk job %s says %d records, but its pages held %d; nothing is taken as complete and the read starts again", load.JobID, load.Expected, load.Read)
		if err := p.Mirror.AbandonLoad(ctx, load.ID, reason); err != nil {
			return outcome{}, err
		}
		return outcome{}, objectError("%s", reason)
	}
	if err := p.progress(ctx, loadProgress(models.PhaseFinishing, load)); err != nil {
		return outcome{}, err
	}
	load, err := p.Mirror.FinishLoad(ctx, load.ID)
	if errors.Is(err, mirror.ErrNoLoad) {
		return outcome{after: time.Second}, nil // another piece was faster, and ends the run
	}
	if err != nil {
		return outcome{}, err
	}
	if load.ByREST() {
		// There is no job to tidy up.
	} else if err := p.client.DeleteQueryJob(ctx, load.JobID); err != nil {
		p.Log.Debug("the finished bulk job stays in the org until Salesforce removes it", "job", load.JobID, "error", err)
	}
	if beside(p.run) && load.Kind != besideLoads[p.run.Kind] {
		// This load was left by an earlier run; what was asked for comes now.
		return outcome{}, nil
	}
	o, err := p.finish(ctx, load.Result())
	p.Mirror.Tidy(ctx, load)
	return o, err
}

// awaitJob asks where Salesforce's job is. A young job is often done within the second: it is asked a few times before the
// piece is put off, each time after twice as long.
func (p *piece) awaitJob(ctx context.Context, load mirror.Load) (salesforce.Job, error) {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		job, err := p.client.QueryJob(ctx, load.JobID)
		if err != nil || job.State.Ended() || wait > 400*time.Millisecond || time.Since(load.StartedAt) > 5*time.Second {
			return job, err
		}
		pause(ctx, wait)
	}
}

func loadProgress(phase models.RunPhase, l mirror.Load) models.RunProgress {
	return models.RunProgress{
		Phase: phase, Expected: l.Expected, Read: l.Read, New: l.New, Changed: l.Changed, Deleted: l.Deleted, Unchanged: l.Unchanged, Refused: l.Refused,
	}
}

// pollAfter spaces the questions for a job's state: soon at first, every 15 s in the long run.
func (e *Engine) pollAfter(age time.Duration) time.Duration {
	return min(max(age/2, e.Pace), 15*time.Second)
}

func (p *piece) queuePage(ctx context.Context, load mirror.Load, seq int) error {
	_, err := p.river.Insert(ctx, pageArgs{Run: p.run.ID, Load: load.ID, Seq: seq, Object: load.Object}, nil)
	return err
}

// pageArgs asks for one page of a bulk result. The pages of one load may be read by several workers at once.
type pageArgs struct {
	Load   int64  `json:"load" river:"unique"`
	Seq    int    `json:"seq" river:"unique"`
	Run    int64  `json:"run"`
	Object string `json:"object"`
}

func (pageArgs) Kind() string { return "page" }
func (pageArgs) InsertOpts() river.InsertOpts {
	o := once()
	o.Queue = pageQueue
	return o
}

type pageWorker struct {
	river.WorkerDefaults[pageArgs]
	engine *Engine
}

// Work reads one page and applies it.
func (w *pageWorker) Work(ctx context.Context, job *river.Job[pageArgs]) error {
	e := w.engine
	run, wait, err := e.mayWork(ctx, job.Args.Run)
	switch {
	case errors.Is(err, errRunOver):
		return nil
	case err != nil:
		return err
	case wait > 0:
		return river.JobSnooze(wait)
	}
	ctx, calls := counted(ctx)
	p := &piece{Engine: e, run: run, calls: calls, tries: snoozed(job.JobRow)}
	err = p.page(ctx, job.Args)
	e.account(ctx, run, calls.Load(), err)
	if err != nil {
		return e.afterPiece(ctx, err, job.JobRow, run)
	}
	return nil
}

func (p *piece) page(ctx context.Context, args pageArgs) error {
	var err error
	if p.client, err = p.Engine.client(ctx); err != nil {
		return err
	}
	load, _, _, err := p.Mirror.LoadProgress(ctx, args.Load)
	if errors.Is(err, mirror.ErrNoLoad) || err == nil && load.State != mirror.LoadOpen {
		return nil
	}
	if err != nil {
		return err
	}
	page, err := p.Mirror.Page(ctx, args.Load, args.Seq)
	if err != nil || page.Done {
		return err
	}
	err = p.readPage(ctx, load, page)
	if errors.Is(err, mirror.ErrRetryStaged) {
		page.Staged = true
		err = p.readPage(ctx, load, page)
	}
	switch {
	case errors.Is(err, mirror.ErrPageDone):
		return nil
	case load.ByREST() && isFieldGone(err):
		// The pull piece begins anew, finds the query refused, and the object is described.
		return p.Mirror.AbandonLoad(ctx, load.ID, err.Error())
	case load.ByREST():
		if err != nil && isAPI(err) && !salesforce.IsTransient(err) && !salesforce.IsHalting(err) && !salesforce.IsLocatorGone(err) {
			// Asked again it would be refused again; the next run begins anew.
			return errors.Join(err, p.Mirror.AbandonLoad(ctx, load.ID, err.Error()))
		}
		if err != nil {
			return err
		}
	case salesforce.IsLocatorGone(err), isCode(err, "NOT_FOUND"):
		// The job or its result is gone; the pull piece finds that out and starts the read again.
		return p.Mirror.AbandonLoad(ctx, load.ID, "the org no longer has the job's result")
	case err != nil:
		return err
	}
	load, lastKnown, allDone, err := p.Mirror.LoadProgress(ctx, args.Load)
	if err != nil {
		return err
	}
	if lastKnown && allDone && load.State == mirror.LoadOpen {
		_, err := p.finishLoad(ctx, load)
		return err
	}
	return p.progress(ctx, loadProgress(models.PhaseReading, load))
}

// readPage streams one page from the org into the mirror. The reply's header names the page after it, which is planned
// and queued before this one's body is read: another piece, perhaps on another machine, reads it meanwhile.
func (p *piece) readPage(ctx context.Context, load mirror.Load, page mirror.Page) error {
	if load.ByREST() {
		return p.readRestPage(ctx, load, page)
	}
	result, err := p.client.QueryResults(ctx, load.JobID, page.Locator, p.PageRows)
	if err != nil {
		return err
	}
	defer result.Close()
	last := result.Locator == ""
	if !last {
		if err := p.Mirror.PlanPage(ctx, load.ID, page.Seq+1, result.Locator); err != nil {
			return err
		}
		if err := p.queuePage(ctx, load, page.Seq+1); err != nil {
			return err
		}
	}
	_, err = p.Mirror.ApplyPage(ctx, load, page, result.Rows, result.Locator, last)
	return err
}
