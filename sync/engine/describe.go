package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
)

// describeArgs asks for the describes of one cycle: one call for all its objects, so that an idle cycle stays cheap.
type describeArgs struct {
	Cycle int64 `json:"cycle"`
}

func (describeArgs) Kind() string                 { return "describe" }
func (describeArgs) InsertOpts() river.InsertOpts { return once() }

type describeWorker struct {
	river.WorkerDefaults[describeArgs]
	engine *Engine
}

// Work brings the tables of a cycle's objects in line with what the org says of them now, then queues the cycle's runs.
func (w *describeWorker) Work(ctx context.Context, job *river.Job[describeArgs]) error {
	e := w.engine
	runs, err := e.Models.CycleRuns(ctx, job.Args.Cycle)
	if err != nil {
		return err
	}
	var waiting []models.Run
	var names []string
	for _, r := range runs {
		if r.Active() {
			waiting = append(waiting, r)
			names = append(names, r.Object)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	for _, r := range waiting {
		if wait, err := e.holdForBudget(ctx, r); err != nil {
			return err
		} else if wait > 0 {
			return river.JobSnooze(wait)
		}
	}
	client, err := e.client(ctx)
	if err != nil {
		return e.afterPiece(ctx, err, job.JobRow, waiting...)
	}
	defer e.settleCalls(ctx)
	// What could not be seen may be seen again; asking costs nothing beside the rest.
	hidden, err := e.Models.HiddenObjects(ctx)
	if err != nil {
		return err
	}
	// Salesforce says when an object's metadata changed, but not surely when what this user may see of it did: now and then
	// everything is described, changed or not.
	conditional := job.Args.Cycle%describeFullEvery != 0
	wrong, err := e.describe(ctx, client, append(names, hidden...), conditional)
	if err != nil {
		return e.afterPiece(ctx, err, job.JobRow, waiting...)
	}
	e.askLimits(ctx, client)
	var going []models.Run
	for _, r := range waiting {
		if cause := wrong[r.Object]; cause == nil {
			going = append(going, r)
		} else if err := e.fail(ctx, cause, []models.Run{r}); err != nil {
			return err
		}
	}
	waiting = going
	asks, err := e.turns(ctx, waiting)
	if err != nil {
		return err
	}
	return e.queuePulls(ctx, waiting, asks)
}

const (
	// describeFullEvery is in which cycles all objects are described whether they changed or not.
	describeFullEvery = 12
	// coveredTurns and deletedTurns are how many objects a cycle asks the replication calls for, those asked longest ago
	// first: a cycle in which nothing changed must stay near one call an object.
	coveredTurns, deletedTurns = 1, 2
	// coveredAge is when an object with changes is asked out of turn, so that its reads do not reach back ever further.
	coveredAge = 15 * time.Minute
)

// asks says which replication calls an object's read makes beside its query.
type asks struct{ covered, deleted bool }

// turns chooses the objects whose turn it is to ask how far reading is complete, and what is gone.
func (e *Engine) turns(ctx context.Context, runs []models.Run) (map[int64]asks, error) {
	type mark struct {
		run int64
		mirror.Watermark
		busy bool
	}
	marks := make([]mark, 0, len(runs))
	for _, r := range runs {
		w, err := e.Mirror.Watermark(ctx, r.Object)
		if err != nil {
			return nil, err
		}
		if !w.Known {
			continue
		}
		last, err := e.Models.Runs(ctx, models.RunFilter{Object: r.Object, Kind: models.RunChanges, State: models.RunSucceeded, Limit: 1})
		if err != nil {
			return nil, err
		}
		marks = append(marks, mark{r.ID, w, len(last) > 0 && last[0].Read > 0})
	}
	chosen := map[int64]asks{}
	slices.SortStableFunc(marks, func(a, b mark) int { return a.CoveredAskedAt.Compare(b.CoveredAskedAt) })
	for i, m := range marks {
		// Both times are the org's: the watermark is its clock at the read before this one.
		if i < coveredTurns || m.busy && m.At.Sub(m.CoveredAskedAt) > coveredAge {
			chosen[m.run] = asks{covered: true}
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return a.DeletedAskedAt.Compare(b.DeletedAskedAt) })
	for i, m := range marks {
		if i < deletedTurns {
			a := chosen[m.run]
			a.deleted = true
			chosen[m.run] = a
		}
	}
	return chosen, nil
}

// describe reads the describes of the objects that changed since the last time and alters their tables. What is wrong with
// one object is noted on it, or given back for its run to fail with, and does not hold up the others; the error returned
// concerns all of them.
func (e *Engine) describe(ctx context.Context, client *salesforce.Client, names []string, conditional bool) (wrong map[string]error, err error) {
	wrong = map[string]error{}
	before, clocked := client.ServerTime()
	requests := make([]salesforce.DescribeRequest, len(names))
	for i, name := range names {
		requests[i].Object = name
		_, since, err := e.Mirror.Table(ctx, name)
		switch {
		case err == nil && conditional:
			requests[i].IfModifiedSince = since
		case err == nil:
		case !errors.Is(err, mirror.ErrNoTable):
			return nil, err
		}
	}
	described, err := client.DescribeMany(ctx, requests)
	if err != nil {
		return nil, err
	}
	for _, d := range described {
		switch {
		case d.Err != nil && (salesforce.IsTransient(d.Err) || salesforce.IsHalting(d.Err)):
			return nil, d.Err
		case d.Err != nil:
			code, message := errorWords(d.Err)
			if err := e.Models.NoteObjectHidden(ctx, d.Object, code, message); err != nil {
				return nil, err
			}
		case d.NotModified:
			if err := e.Models.NoteObjectVisible(ctx, d.Object, "", ""); err != nil {
				return nil, err
			}
		default:
			if d.LastModified.IsZero() && clocked {
				// Inside a composite reply the header may be missing. The org's time from before the question serves as well.
				d.LastModified = before.Add(-time.Second).Truncate(time.Second)
			}
			if err := e.ensure(ctx, d); errors.Is(err, errObject) {
				wrong[d.Object] = err
			} else if err != nil {
				return nil, err
			}
		}
	}
	return wrong, nil
}

// ensure makes one object's table fit its describe.
func (e *Engine) ensure(ctx context.Context, d salesforce.Described) error {
	o, err := e.Models.Object(ctx, d.Object)
	if err != nil {
		return err
	}
	_, change, err := e.Mirror.Ensure(ctx, d.Schema, mirror.Direction(o.Direction), d.LastModified)
	if errors.Is(err, mirror.ErrRetype) {
		return objectError("%w", err)
	}
	if err != nil {
		return fmt.Errorf("make the table of %s fit its describe: %w", d.Object, err)
	}
	if change.Created || len(change.Added) > 0 || len(change.Gone) > 0 {
		e.Log.Info("table made to fit the org", "object", d.Object, "created", change.Created, "added", change.Added, "gone", change.Gone)
	}
	if news := append(change.Added, change.Returned...); len(news) > 0 {
		// The new columns are empty for every record that does not happen to change: all are read again to fill them.
		if _, err := e.Models.RequestResync(ctx, d.Object, "Tandem, for the new fields "+strings.Join(news, ", ")); err != nil {
			return err
		}
	}
	return e.Models.NoteObjectVisible(ctx, d.Object, d.Schema.Label, d.Schema.LabelPlural)
}

// describeOne describes an object anew, whatever is stored of it.
func (e *Engine) describeOne(ctx context.Context, client *salesforce.Client, object string) error {
	d, err := client.Describe(ctx, object)
	if err != nil {
		return err
	}
	return e.ensure(ctx, d)
}
