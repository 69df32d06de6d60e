package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
)

// pullArgs asks for the next piece of one run. A run is a chain of such pieces: each does what is bounded, then snoozes.
type pullArgs struct {
	Run        int64  `json:"run" river:"unique"`
	Object     string `json:"object"`
	AskCovered bool   `json:"ask_covered,omitempty"` // also ask /updated how far reading is complete
	AskDeleted bool   `json:"ask_deleted,omitempty"` // also ask /deleted what is gone
}

func (pullArgs) Kind() string                 { return "pull" }
func (pullArgs) InsertOpts() river.InsertOpts { return once() }

type pullWorker struct {
	river.WorkerDefaults[pullArgs]
	engine *Engine
}

// piece is one bounded bit of a run: what it works with and what it has cost so far.
type piece struct {
	*Engine
	run    models.Run
	client *salesforce.Client
	table  *mirror.Table
	calls  *atomic.Int64
	args   pullArgs
	// covered is what the org said of its open transactions in this piece; it is kept with the read that it was asked for.
	covered mirror.Covered
	// restOnly keeps this piece from Bulk, which has refused the object.
	restOnly bool
	// tries is how often this page was put off: a piece by REST that the org or the network cannot finish becomes smaller each time.
	tries  int64
	filter string   // the object's record filter; empty: all records are read
	asked  []string // the fields of the load that the org refused; nil: the table's
}

// outcome says how a run goes on after a piece: over, or after a while.
type outcome struct {
	over  bool
	after time.Duration
}

var errRunOver = errors.New("the run is over")

// Work does the next piece of a run.
func (w *pullWorker) Work(ctx context.Context, job *river.Job[pullArgs]) error {
	e := w.engine
	run, wait, err := e.mayWork(ctx, job.Args.Run)
	switch {
	case errors.Is(err, errRunOver):
		return e.dropCanceled(ctx, run)
	case err != nil:
		return err
	case wait > 0:
		return river.JobSnooze(wait)
	}
	ctx, calls := counted(ctx)
	p := &piece{Engine: e, run: run, calls: calls, args: job.Args}
	o, err := p.work(ctx)
	e.account(ctx, run, calls.Load(), err)
	if err != nil {
		return e.afterPiece(ctx, err, job.JobRow, run)
	}
	if o.over {
		e.nudge()
		return nil
	}
	return river.JobSnooze(o.after)
}

// account notes what a piece cost, also when it failed.
func (e *Engine) account(ctx context.Context, run models.Run, calls int64, outcome error) {
	if calls == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err := e.Models.AddCalls(ctx, run.ID, calls); err != nil {
		e.Log.Warn("a run's API calls could not be noted", "run", run.ID, "error", err)
	}
	e.settleCalls(ctx)
	if salesforce.HaltReason(outcome) != salesforce.HaltBudget {
		if err := e.Models.CallsWork(ctx); err != nil {
			e.Log.Warn("that the org answers again could not be noted", "error", err)
		}
	}
}

// mayWork tells whether a run may go on now: errRunOver if it ended or was canceled, a wait if something holds it up.
func (e *Engine) mayWork(ctx context.Context, id int64) (models.Run, time.Duration, error) {
	run, err := e.Models.Run(ctx, id)
	if errors.Is(err, models.ErrNotFound) {
		return run, 0, errRunOver
	}
	if err != nil {
		return run, 0, err
	}
	if !run.Active() {
		return run, 0, errRunOver
	}
	connection, err := e.Models.Connection(ctx)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return run, 0, err
	}
	if connection.State != models.StateConnected {
		return run, 10 * e.Pace, nil
	}
	held, err := e.Models.RunHeld(ctx, run)
	if err != nil {
		return run, 0, err
	}
	if held {
		return run, 2 * time.Second, nil
	}
	if wait, err := e.holdForBudget(ctx, run); err != nil || wait > 0 {
		return run, wait, err
	}
	if run.StartedAt == nil || run.State != models.RunRunning {
		if err := e.Models.StartRun(ctx, id); err != nil {
			return run, 0, err
		}
	}
	return run, 0, nil
}

// dropCanceled lets go of the load that a canceled run was making, so that the next run starts afresh.
func (e *Engine) dropCanceled(ctx context.Context, run models.Run) error {
	if run.State != models.RunCanceled {
		return nil
	}
	if run.Kind == models.RunCheck {
		c, begun, err := e.Mirror.CheckOf(ctx, run.ID)
		if err != nil || !begun || c.State == mirror.CheckDone {
			return err
		}
		return e.Mirror.DropCheck(ctx, c.ID)
	}
	if run.Kind == models.RunSweep {
		return e.Mirror.DropSweep(ctx, run.ID)
	}
	load, open, err := e.Mirror.OpenLoad(ctx, run.Object, beside(run))
	if err != nil || !open || load.RunID != run.ID {
		return err
	}
	return e.Mirror.AbandonLoad(ctx, load.ID, "canceled")
}

// kinds are the runs that do something else than read all or what changed: each does one bounded piece and says how it goes on.
var kinds = map[models.RunKind]func(*piece, context.Context) (outcome, error){
	models.RunSend:     (*piece).send,
	models.RunFill:     (*piece).fill,
	models.RunSweep:    (*piece).sweep,
	models.RunCheck:    (*piece).check,
	models.RunFormulas: (*piece).formulas,
}

// besideLoads are the loads that runs beside the cycle make.
var besideLoads = map[models.RunKind]mirror.LoadKind{
	models.RunResync: mirror.LoadResync, models.RunFill: mirror.LoadFill, models.RunFormulas: mirror.LoadFormulas,
}

// beside tells whether a run's loads go on beside those of the cycle.
func beside(r models.Run) bool { return r.Kind != models.RunFirstSync && r.Kind != models.RunChanges }

func (p *piece) work(ctx context.Context) (outcome, error) {
	var err error
	if p.client, err = p.Engine.client(ctx); err != nil {
		return outcome{}, err
	}
	p.table, _, err = p.Mirror.Table(ctx, p.run.Object)
	if errors.Is(err, mirror.ErrNoTable) {
		if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseDescribing}); err != nil {
			return outcome{}, err
		}
		if err := p.describeOne(ctx, p.client, p.run.Object); err != nil {
			return outcome{}, err
		}
		p.table, _, err = p.Mirror.Table(ctx, p.run.Object)
	}
	if err != nil {
		return outcome{}, err
	}
	object, err := p.Models.Object(ctx, p.run.Object)
	if err != nil {
		return outcome{}, err
	}
	p.filter = object.RowFilter
	if err := p.setRules(ctx, object); err != nil {
		return outcome{}, err
	}
	o, err := p.step(ctx)
	if errors.Is(err, errNotByBulk) {
		p.restOnly = true
		o, err = p.step(ctx)
	}
	switch {
	case isFieldGone(err):
		return p.stepAgain(ctx, err)
	case err != nil:
		return o, p.blameFilter(ctx, err)
	}
	return o, nil
}

// step does the next piece of the run: goes on with its load, or begins to read.
func (p *piece) step(ctx context.Context) (outcome, error) {
	if do, ok := kinds[p.run.Kind]; ok {
		return do(p, ctx)
	}
	if o, resumed, err := p.resume(ctx); resumed || err != nil {
		return o, err
	}
	mark, err := p.Mirror.Watermark(ctx, p.run.Object)
	if err != nil {
		return outcome{}, err
	}
	return p.read(ctx, mark)
}

// resume goes on with the load that the run's object has under way, or ends the run if its load is done: the piece of the load's
// last page ended it, and is about to end the run, or died before it could.
func (p *piece) resume(ctx context.Context) (o outcome, resumed bool, err error) {
	load, open, err := p.Mirror.OpenLoad(ctx, p.run.Object, beside(p.run))
	if err != nil {
		return outcome{}, false, err
	}
	if open && beside(p.run) && load.RunID != p.run.ID {
		// What an earlier run began may be by a filter or of fields that are no longer wanted; this run was asked for since.
		if err := p.Mirror.AbandonLoad(ctx, load.ID, "another run reads the object"); err != nil {
			return outcome{}, false, err
		}
		open = false
	}
	if open {
		o, err = p.continueLoad(ctx, load)
		return o, true, err
	}
	done, ok, err := p.Mirror.DoneLoad(ctx, p.run.ID)
	if err != nil || !ok || beside(p.run) && done.Kind != besideLoads[p.run.Kind] {
		return outcome{}, false, err
	}
	o, err = p.finish(ctx, done.Result())
	return o, true, err
}

// stepAgain describes the object anew after the org refused a query because of a field: one that went since the last describe.
// What the org says now is the truth, and the piece is done again with it. Should it refuse again, the filter is asked after.
func (p *piece) stepAgain(ctx context.Context, cause error) (outcome, error) {
	p.Log.Info("a field went since the last describe", "object", p.run.Object, "error", cause)
	asked := p.asked
	if asked == nil {
		asked = p.table.Fields()
	}
	if err := p.describeOne(ctx, p.client, p.run.Object); err != nil {
		return outcome{}, err
	}
	var err error
	if p.table, _, err = p.Mirror.Table(ctx, p.run.Object); err != nil {
		return outcome{}, err
	}
	there := p.table.Fields()
	if !slices.ContainsFunc(asked, func(f string) bool { return !slices.Contains(there, f) }) {
		// The org still shows every field that was asked for: if it is not the filter, another try would end as this one.
		return outcome{}, p.blameFilter(ctx, cause)
	}
	o, err := p.step(ctx)
	if err != nil {
		return o, p.blameFilter(ctx, err)
	}
	return o, nil
}

// blameFilter finds out whether it is the object's filter that the org refuses, and says so; else it gives the error back.
func (p *piece) blameFilter(ctx context.Context, cause error) error {
	if p.filter == "" || !isAPI(cause) || salesforce.IsTransient(cause) || salesforce.IsHalting(cause) {
		return cause
	}
	_, err := p.client.Count(ctx, "SELECT COUNT() FROM "+p.run.Object+" WHERE ("+p.filter+")")
	var api *salesforce.APIError
	if !errors.As(err, &api) || salesforce.IsTransient(err) || salesforce.IsHalting(err) {
		return cause
	}
	return stopError{"FILTER_REFUSED", fmt.Sprintf("Salesforce refuses the record filter of %s, %q: %s", p.run.Object, p.filter, strings.TrimSpace(api.Message))}
}

// isFieldGone tells whether the org refused a query because of a field, in whichever of its spellings.
func isFieldGone(err error) bool {
	var api *salesforce.APIError
	if !errors.As(err, &api) {
		return false
	}
	code := strings.ToUpper(strings.ReplaceAll(api.Code, "_", ""))
	return code == "INVALIDFIELD" || strings.Contains(api.Message, "No such column") || strings.Contains(api.Message, "INVALID_FIELD")
}

// where joins a condition with the object's filter.
func (p *piece) where(condition string) string {
	switch {
	case p.filter == "":
		return condition
	case condition == "":
		return "(" + p.filter + ")"
	}
	return condition + " AND (" + p.filter + ")"
}

// read starts what the run is for: all records where none were read yet or a resync asks for it, else what changed.
func (p *piece) read(ctx context.Context, mark mirror.Watermark) (outcome, error) {
	if !mark.Known || p.run.Kind == models.RunResync {
		return p.readAll(ctx, mark)
	}
	return p.readChanges(ctx, mark)
}

// finish ends the run with what it did.
func (p *piece) finish(ctx context.Context, r mirror.Result) (outcome, error) {
	if p.table == nil {
		var err error
		if p.table, _, err = p.Mirror.Table(ctx, p.run.Object); err != nil {
			return outcome{}, err
		}
	}
	if p.run.Kind == models.RunResync {
		// All was read; what is here and was not read is for a sweep to settle, whether it left the filter or the org.
		if err := p.Mirror.WantSweep(ctx, p.run.Object); err != nil {
			return outcome{}, err
		}
	}
	if p.run.Kind == models.RunChanges || p.run.Kind == models.RunResync {
		if err := p.askSweep(ctx); err != nil {
			return outcome{}, err
		}
	}
	done := models.RunOutcome{
		State: models.RunSucceeded, Read: r.Read, New: r.New, Changed: r.Changed, Deleted: r.Deleted, Unchanged: r.Unchanged, Refused: r.Refused,
	}
	if err := p.Models.FinishRun(ctx, p.run.ID, done); err != nil {
		return outcome{}, err
	}
	p.Log.Info("run ended", "object", p.run.Object, "run", p.run.ID, "kind", p.run.Kind,
		"read", r.Read, "new", r.New, "changed", r.Changed, "deleted", r.Deleted, "unchanged", r.Unchanged, "refused", r.Refused)
	return outcome{over: true}, nil
}

func (p *piece) progress(ctx context.Context, r models.RunProgress) error {
	return p.Models.ProgressRun(ctx, p.run.ID, r)
}

// serverTime is the org's clock, never ours: records are stamped by it.
func (p *piece) serverTime(ctx context.Context) (time.Time, error) {
	if t, ok := p.client.ServerTime(); ok {
		return t.UTC(), nil
	}
	if _, err := p.client.Limits(ctx); err != nil && (salesforce.IsTransient(err) || salesforce.IsHalting(err)) {
		return time.Time{}, err
	}
	t, ok := p.client.ServerTime()
	if !ok {
		return time.Time{}, errors.New("the org's replies carry no Date header, without which changes cannot be followed safely")
	}
	return t.UTC(), nil
}

// afterPiece decides, after a piece failed, how its runs go on, by the class of the error: try again, stop and tell, or
// fail this object's run and leave the others alone.
func (e *Engine) afterPiece(ctx context.Context, cause error, job *rivertype.JobRow, runs ...models.Run) error {
	stopping := e.stopCtx != nil && e.stopCtx.Err() != nil
	timedOut := ctx.Err() != nil
	ctx = context.WithoutCancel(ctx)
	snoozes := snoozed(job)
	switch {
	case stopping && timedOut:
		return river.JobSnooze(0)
	case errors.Is(cause, errNotConnected):
		return river.JobSnooze(10 * e.Pace)
	case errors.Is(cause, mirror.ErrStale):
		// Another worker, thought dead, was faster. What it committed stands; the piece is done again from there.
		return river.JobSnooze(time.Second)
	case mirror.Collided(cause):
		// What a conversion or a merge leads to is written across objects, and people's programs write too. The other transaction went on.
		e.Log.Info("a piece of work and another transaction waited for each other; it is done again", "kind", job.Kind, "job", job.ID, "error", cause)
		return river.JobSnooze(100 * time.Millisecond)
	case salesforce.HaltReason(cause) == salesforce.HaltBudget:
		return e.waitForBudget(ctx, cause, runs)
	case salesforce.IsHalting(cause):
		if err := e.refuse(ctx, cause); err != nil {
			return err
		}
		return e.wait(ctx, cause, 10*e.Pace, runs)
	case salesforce.IsTransient(cause), salesforce.IsLocatorGone(cause):
		return e.wait(ctx, cause, e.backOff(snoozes), runs)
	case timedOut:
		return e.wait(ctx, fmt.Errorf("this piece of work took longer than %s and is tried again: %w", pieceTimeout, cause), e.backOff(snoozes), runs)
	case isAPI(cause) || errors.Is(cause, errObject):
		return e.fail(ctx, cause, runs)
	case job.Attempt >= job.MaxAttempts:
		if err := e.fail(ctx, cause, runs); err != nil {
			return err
		}
		return river.JobCancel(cause)
	default:
		return cause
	}
}

// errObject marks an error that concerns one object and that trying again does not mend.
var errObject = errors.New("")

func objectError(format string, args ...any) error {
	return fmt.Errorf("%w"+format, append([]any{errObject}, args...)...)
}

// stopError is an errObject with a code of ours, by which the pages tell what to do.
type stopError struct{ code, message string }

func (e stopError) Error() string        { return e.message }
func (e stopError) Is(target error) bool { return target == errObject }

// wait notes on the runs why they wait and until when, and snoozes the piece.
func (e *Engine) wait(ctx context.Context, cause error, d time.Duration, runs []models.Run) error {
	code, message := errorWords(cause)
	for _, r := range runs {
		if err := e.Models.NoteRunWaits(ctx, r.ID, code, message, d); err != nil {
			return err
		}
		e.Log.Warn("a run waits", "object", r.Object, "run", r.ID, "code", code, "error", message, "for", d)
	}
	return river.JobSnooze(d)
}

func (e *Engine) fail(ctx context.Context, cause error, runs []models.Run) error {
	code, message := errorWords(cause)
	for _, r := range runs {
		if err := e.Models.FinishRun(ctx, r.ID, models.RunOutcome{State: models.RunFailed, ErrorCode: code, Error: message, Keep: true}); err != nil {
			return err
		}
		e.Log.Error("a run failed", "object", r.Object, "run", r.ID, "code", code, "error", message)
	}
	e.nudge()
	return nil
}

// snoozed is how often a piece was put off, as River keeps it.
func snoozed(job *rivertype.JobRow) int64 {
	var metadata struct {
		Snoozes int64 `json:"snoozes"`
	}
	_ = json.Unmarshal(job.Metadata, &metadata)
	return metadata.Snoozes
}

// backOff doubles, from 2 s to 1 min, with the number of times that the piece was put off.
func (e *Engine) backOff(snoozes int64) time.Duration {
	return min(2*e.Pace<<min(snoozes, 5), time.Minute)
}

func isAPI(err error) bool {
	var api *salesforce.APIError
	return errors.As(err, &api)
}

func isCode(err error, code string) bool {
	var api *salesforce.APIError
	return errors.As(err, &api) && api.Code == code
}
