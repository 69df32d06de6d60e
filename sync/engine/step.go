package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/salesforce"
)

// pruneEvery is in which cycles the history that is too old is removed.
const pruneEvery = 50

// Step looks once at what the rows ask for and makes sure that it is under way: it hands on what dead workers left, closes a
// cycle whose runs have ended, opens the next when its time has come, and queues the pieces of every run that has none.
// Any number of workers may call it at any time; one at a time does it, and a second call changes nothing.
func (e *Engine) Step(ctx context.Context) error {
	conn, err := e.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, stepLock).Scan(&mine); err != nil {
		return fmt.Errorf("take turns: %w", err)
	}
	if !mine {
		return nil
	}
	defer func() {
		if _, err := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, stepLock); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	if err := e.rescue(ctx); err != nil {
		return err
	}

	connection, err := e.Models.Connection(ctx)
	switch {
	case errors.Is(err, models.ErrNotFound):
		return nil
	case err != nil:
		return err
	case connection.State == models.StateRefused:
		if time.Since(connection.StateAt) < e.ProbeEvery {
			return nil
		}
		return e.probe(ctx)
	case connection.State != models.StateConnected:
		return nil
	}
	if paused, err := e.Models.Paused(ctx); err != nil || paused {
		return err
	}
	if err := e.turnCycle(ctx); err != nil {
		return err
	}
	if err := e.sendAtOnce(ctx); err != nil {
		return err
	}
	if err := e.queueLook(ctx); err != nil {
		return err
	}
	if err := e.requestDue(ctx); err != nil {
		return err
	}
	return e.queueRuns(ctx)
}

// turnCycle lets the cycle whose reading has ended send, closes it when that is over too, and opens the next when the rest is.
func (e *Engine) turnCycle(ctx context.Context) error {
	cycle, err := e.Models.CurrentCycle(ctx)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return err
	}
	if err == nil && cycle.EndedAt == nil {
		if cycle.ObjectsDone < cycle.ObjectsTotal {
			return nil
		}
		if sending, err := e.cycleSends(ctx, cycle); err != nil || sending {
			return err
		}
		rest, err := e.rest(ctx)
		if err != nil {
			return err
		}
		// The rest is counted from the end, so that a long cycle is followed by a whole one.
		if err := e.Models.CloseCycle(ctx, cycle.Number, rest); err != nil {
			return err
		}
		e.Log.Info("cycle ended", "cycle", cycle.Number, "objects", cycle.ObjectsTotal, "rest", rest)
		if cycle.Number%pruneEvery == 0 {
			if _, err := e.Models.PruneHistory(ctx); err != nil {
				return err
			}
			if err := e.Mirror.PruneLoads(ctx); err != nil {
				return err
			}
			if err := e.Mirror.Prune(ctx); err != nil {
				return err
			}
		}
		if rest > 0 {
			return nil
		}
	}
	due, err := e.Models.CycleDue(ctx)
	if err != nil || !due {
		return err
	}
	objects, err := e.Models.ObjectsDue(ctx)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return nil
	}
	opened, _, err := e.Models.OpenCycle(ctx, objects)
	if err != nil {
		return err
	}
	e.Log.Info("cycle started", "cycle", opened.Number, "objects", len(objects))
	_, err = e.river.Insert(ctx, describeArgs{Cycle: opened.Number}, nil)
	return err
}

// queueRuns makes sure that each run that is not over has its piece in the queue: also those of runs asked for beside the
// cycle, and those whose piece got lost with whatever happened to the process that should have queued it.
func (e *Engine) queueRuns(ctx context.Context) error {
	runs, err := e.Models.ActiveRuns(ctx)
	if err != nil || len(runs) == 0 {
		return err
	}
	rows, err := e.Pool.Query(ctx, `SELECT kind, coalesce((args->>'run')::bigint, 0), coalesce((args->>'cycle')::bigint, 0)
		FROM `+schema+`.river_job WHERE kind IN ('pull', 'describe') AND state IN ('available', 'pending', 'running', 'scheduled', 'retryable')`)
	if err != nil {
		return fmt.Errorf("look into the queue: %w", err)
	}
	queued := map[int64]bool{}
	describing := map[int64]bool{}
	for rows.Next() {
		var kind string
		var run, cycle int64
		if err := rows.Scan(&kind, &run, &cycle); err != nil {
			rows.Close()
			return err
		}
		if kind == "describe" {
			describing[cycle] = true
		} else {
			queued[run] = true
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var missing []models.Run
	for _, r := range runs {
		// While the cycle's describe runs, its runs wait for it: it queues them itself.
		if !queued[r.ID] && (r.Cycle == nil || !describing[*r.Cycle]) {
			missing = append(missing, r)
		}
	}
	return e.queuePulls(ctx, missing, nil)
}

// queuePulls queues the runs' next pieces; asks may be nil.
func (e *Engine) queuePulls(ctx context.Context, runs []models.Run, asks map[int64]asks) error {
	if len(runs) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(runs))
	for i, r := range runs {
		params[i] = river.InsertManyParams{Args: pullArgs{Run: r.ID, Object: r.Object, AskCovered: asks[r.ID].covered, AskDeleted: asks[r.ID].deleted}}
	}
	if _, err := e.river.InsertMany(ctx, params); err != nil {
		return fmt.Errorf("queue %d runs: %w", len(runs), err)
	}
	return nil
}

// once makes a job the only one of its kind and arguments among those that are not over. River's own default would also
// count finished ones, so that a finished sync would block the next.
func once() river.InsertOpts {
	return river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateScheduled, rivertype.JobStateRetryable,
	}}}
}

// probe asks the refused connection once more. Who the session belongs to is told also where the API is off, so one call of
// the API itself is made beside; what that answers, if it is no such refusal, proves that the API is open.
func (e *Engine) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	defer e.settleCalls(ctx)
	client, err := e.client(ctx)
	if err == nil {
		if _, err = client.UserInfo(ctx); !salesforce.IsHalting(err) {
			_, err = client.Organization(ctx)
		}
	}
	switch {
	case salesforce.IsHalting(err):
		return e.refuse(ctx, err)
	case err == nil, isAPI(err) && !salesforce.IsTransient(err):
		e.Log.Info("Salesforce accepts the connection again")
		return e.Models.ConnectionWorks(ctx)
	default:
		return err
	}
}

// refuse notes on the connection that Salesforce refuses it, and why.
func (e *Engine) refuse(ctx context.Context, cause error) error {
	code, message := errorWords(cause)
	e.Log.Error("Salesforce refuses the connection; syncing stops until it is mended", "code", code, "message", message)
	return e.Models.RefuseConnection(context.WithoutCancel(ctx), code, message)
}

// errorWords gives an error's code and sentence: Salesforce's own where it answered.
func errorWords(err error) (code, message string) {
	var api *salesforce.APIError
	if errors.As(err, &api) && api.Message != "" {
		return api.Code, api.Message
	}
	var stop stopError
	if errors.As(err, &stop) {
		return stop.code, stop.message
	}
	return "", err.Error()
}
