package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/riverqueue/river"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
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
	// Somebody may have paused while the cycle was being opened.
	if paused, err := e.Models.Paused(ctx); err != nil {
		return err
	} else if paused {
		return river.JobSnooze(2 * time.Second)
	}
	// A first sync that waits for the next day's share waits alone: the reserve is for the changes of the others.
	var able []models.Run
	var wait time.Duration
	for _, r := range waiting {
		held, err := e.holdForBudget(ctx, r)
		if err != nil {
			return err
		}
		if held == 0 {
			able = append(able, r)
		} else if wait == 0 || held < wait {
			wait = held
		}
	}
	if len(able) == 0 {
		return river.JobSnooze(wait)
	}
	waiting = able
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
	asked, err := e.Models.DescribeAll(ctx)
	if err != nil {
		return err
	}
	conditional := job.Args.Cycle%describeFullEvery != 0 && asked.IsZero()
	names = append(names, hidden...)
	if client.DescribesOneByOne() && asked.IsZero() {
		conditional = false // the answer that nothing changed costs as much
		if names, err = e.describeTurn(ctx, job.Args.Cycle, names); err != nil {
			return err
		}
	}
	wrong, err := e.describe(ctx, client, names, conditional)
	if err != nil {
		return e.afterPiece(ctx, err, job.JobRow, waiting...)
	}
	for _, r := range waiting {
		if slices.Contains(names, r.Object) {
			continue
		}
		// Its turn to be described has not come; what the admin chose of its fields holds all the same.
		if err := e.choose(ctx, r.Object); errors.Is(err, errObject) {
			wrong[r.Object] = err
		} else if err != nil && !errors.Is(err, mirror.ErrNoTable) {
			return err
		}
	}
	e.askLimits(ctx, client)
	if !asked.IsZero() {
		if err := e.Models.DescribedAll(ctx, asked); err != nil {
			return err
		}
	}
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
	if err := e.queuePulls(ctx, waiting, asks); err != nil {
		return err
	}
	return e.requestFills(ctx, wrong)
}

const (
	// describeFullEvery is in which cycles all objects are described whether they changed or not.
	describeFullEvery = 12
	// coveredTurns and deletedTurns are how many objects a cycle asks the replication calls for, those asked longest ago
	// first: a cycle in which nothing changed must stay near one call an object. Objects whose list of deletions is asked in every
	// cycle count with deletedTurns, but one is asked in turn all the same.
	coveredTurns, deletedTurns = 1, 2
	// describeTurns is how many objects a cycle describes where each costs a call.
	describeTurns = 2
	// coveredAge is when an object with changes is asked out of turn, so that its reads do not reach back ever further.
	coveredAge = 15 * time.Minute
)

// describeTurn narrows what a cycle describes, where each describe costs a call: to what is not known yet, and of the rest to a few
// in turn. A field that went meanwhile is found out by the query that names it; somebody who asked for the cycle gets all.
func (e *Engine) describeTurn(ctx context.Context, number int64, names []string) ([]string, error) {
	cycle, err := e.Models.Cycle(ctx, number)
	if err != nil || cycle.Asked {
		return names, err
	}
	var turn, known []string
	for _, name := range names {
		_, _, err := e.Mirror.Table(ctx, name)
		switch {
		case errors.Is(err, mirror.ErrNoTable):
			turn = append(turn, name)
		case err != nil:
			return nil, err
		default:
			known = append(known, name)
		}
	}
	return append(turn, inTurn(known, number, describeTurns)...), nil
}

// inTurn gives n of the names, others each time, and all of them in as few times as that takes.
func inTurn(names []string, time int64, n int) []string {
	if len(names) <= n {
		return names
	}
	names = slices.Sorted(slices.Values(names))
	turn := make([]string, n)
	for i := range turn {
		turn[i] = names[(time*int64(n)+int64(i))%int64(len(names))]
	}
	return turn
}

// asks says which replication calls an object's read makes beside its query.
type asks struct{ covered, deleted bool }

// turns chooses the objects whose turn it is to ask how far reading is complete, and what is gone.
func (e *Engine) turns(ctx context.Context, runs []models.Run) (map[int64]asks, error) {
	type mark struct {
		run int64
		mirror.Watermark
		busy  bool
		never bool // its list of deletions is no use in turn: there is none, or it is asked in every cycle
	}
	always := 0
	marks := make([]mark, 0, len(runs))
	for _, r := range runs {
		w, err := e.Mirror.Watermark(ctx, r.Object)
		if err != nil {
			return nil, err
		}
		if !w.Known {
			continue
		}
		table, _, err := e.Mirror.Table(ctx, r.Object)
		if err != nil {
			return nil, err
		}
		if !table.Schema().Replicateable {
			// It is never asked; it must not take the turns of others.
			continue
		}
		last, err := e.Models.Runs(ctx, models.RunFilter{Object: r.Object, Kind: models.RunChanges, State: models.RunSucceeded, Limit: 1})
		if err != nil {
			return nil, err
		}
		if listsAlways(table) && !refusesDeleted(w, w.At) {
			always++
		}
		marks = append(marks, mark{r.ID, w, len(last) > 0 && last[0].Read > 0, !table.HasIsDeleted()})
	}
	chosen := map[int64]asks{}
	slices.SortStableFunc(marks, func(a, b mark) int { return a.CoveredAskedAt.Compare(b.CoveredAskedAt) })
	asked := 0
	for _, m := range marks {
		// All times are the org's: the watermark is its clock at the read before this one.
		if refusesCovered(m.Watermark, m.At) {
			continue
		}
		if asked < coveredTurns || m.busy && m.At.Sub(m.CoveredAskedAt) > coveredAge {
			chosen[m.run] = asks{covered: true}
			asked++
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return a.DeletedAskedAt.Compare(b.DeletedAskedAt) })
	asked = 0
	for _, m := range marks {
		if asked < max(deletedTurns-always, 1) && !m.never && !refusesDeleted(m.Watermark, m.At) {
			a := chosen[m.run]
			a.deleted = true
			chosen[m.run] = a
			asked++
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
		case isOutOfSight(d.Err):
			wrong[d.Object] = d.Err
			if err := e.hide(ctx, d.Object, d.Err); err != nil {
				return nil, err
			}
		case d.Err != nil:
			// The answer makes no sense. The next cycle asks again; until then the object is as visible as it was.
			wrong[d.Object] = d.Err
		case d.NotModified:
			if err := e.Models.NoteObjectVisible(ctx, d.Object, "", ""); err != nil {
				return nil, err
			}
			if err := e.choose(ctx, d.Object); errors.Is(err, errObject) {
				wrong[d.Object] = err
			} else if err != nil {
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
	return wrong, e.tellNews(ctx)
}

// isOutOfSight tells whether an answer means that the user cannot see the object (any more).
func isOutOfSight(err error) bool {
	var api *salesforce.APIError
	return errors.As(err, &api) && (salesforce.HasCode(err, salesforce.CodeNotFound, salesforce.CodeInvalidType) || api.Status == http.StatusNotFound || api.Status == http.StatusForbidden)
}

// hide notes that the user cannot see an object. It is not read until it is seen again; its data stay.
func (e *Engine) hide(ctx context.Context, object string, cause error) error {
	code, message := errorWords(cause)
	return e.Models.NoteObjectHidden(ctx, object, code, message)
}

// ensure makes one object's table fit its describe, less the fields that the admin left out. What it changed that a person
// should hear of, and what is to be filled, commits with the table.
func (e *Engine) ensure(ctx context.Context, d salesforce.Described) error {
	choices, err := e.Models.FieldChoices(ctx, d.Object)
	if err != nil {
		return err
	}
	if err := e.fit(ctx, d.Object, d.Schema.Without(choices.Excluded()), d.LastModified, choices.FromSalesforce()); err != nil {
		return err
	}
	return e.Models.NoteObjectVisible(ctx, d.Object, d.Schema.Label, d.Schema.LabelPlural)
}

// choose makes an object's table fit the admin's choice of fields, where its describe did not change.
func (e *Engine) choose(ctx context.Context, object string) error {
	table, modified, err := e.Mirror.Table(ctx, object)
	if err != nil {
		return err
	}
	choices, err := e.Models.FieldChoices(ctx, object)
	if err != nil {
		return err
	}
	schema := table.Schema().Without(choices.Excluded())
	if sameFields(schema.LeftOut, table.Schema().LeftOut) {
		// What people may write here can be chosen too.
		o, err := e.Models.Object(ctx, object)
		if err != nil {
			return err
		}
		return e.Mirror.Recapture(ctx, object, mirror.Direction(o.Direction), choices.FromSalesforce()...)
	}
	return e.fit(ctx, object, schema, modified, choices.FromSalesforce())
}

func sameFields(a, b []sobject.Field) bool {
	names := func(fields []sobject.Field) []string {
		var s []string
		for _, f := range fields {
			s = append(s, f.Name)
		}
		slices.Sort(s)
		return s
	}
	return slices.Equal(names(a), names(b))
}

// fit makes an object's table fit a schema. Edits of the fixed fields, which come from Salesforce only, are refused.
func (e *Engine) fit(ctx context.Context, object string, schema sobject.Schema, modified time.Time, fixed []string) error {
	o, err := e.Models.Object(ctx, object)
	if err != nil {
		return err
	}
	_, change, err := e.Mirror.Ensure(ctx, schema, mirror.Direction(o.Direction), modified, fixed...)
	if errors.Is(err, mirror.ErrRetype) || errors.Is(err, mirror.ErrUnfit) {
		return objectError("%w", err)
	}
	if err != nil {
		return fmt.Errorf("make the table of %s fit its describe: %w", object, err)
	}
	if change.Created || len(change.Added) > 0 || len(change.Gone) > 0 {
		e.Log.Info("table made to fit the org", "object", object, "created", change.Created, "added", change.Added, "gone", change.Gone)
	}
	return nil
}

// tellNews passes on what describes changed. Each piece is told once, however often this is tried: its number is its name.
func (e *Engine) tellNews(ctx context.Context) error {
	news, err := e.Mirror.News(ctx)
	if err != nil {
		return err
	}
	for _, n := range news {
		if err := e.Models.AddNoticeOnce(ctx, fmt.Sprintf("news-%d", n.ID), n.Object, "notice."+string(n.Kind), n.Params); err != nil {
			return err
		}
		if err := e.Mirror.Told(ctx, n.ID); err != nil {
			return err
		}
	}
	return nil
}

// describeOne describes an object anew, whatever is stored of it.
func (e *Engine) describeOne(ctx context.Context, client *salesforce.Client, object string) error {
	d, err := client.Describe(ctx, object)
	if isOutOfSight(err) {
		if err := e.hide(ctx, object, err); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if err := e.ensure(ctx, d); err != nil {
		return err
	}
	return e.tellNews(ctx)
}
