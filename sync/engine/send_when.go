package engine

import (
	"context"
	"errors"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
)

// cycleSends tells whether a cycle whose reading has ended still sends, and begins with it if it has not.
func (e *Engine) cycleSends(ctx context.Context, cycle models.Cycle) (bool, error) {
	if cycle.Sending {
		left, err := e.Models.SendsLeft(ctx, cycle.Number)
		return left > 0, err
	}
	if err := e.tellDoubles(ctx); err != nil {
		return false, err
	}
	e.edited.Store(false)
	objects, err := e.toSend(ctx)
	if err != nil {
		return false, err
	}
	n, err := e.Models.BeginSending(ctx, cycle.Number, objects)
	if err != nil || n == 0 {
		return false, err
	}
	e.Log.Info("what was changed here is sent", "cycle", cycle.Number, "objects", objects)
	return true, nil
}

// atOnceEvery is how long after one sending the next may follow without a cycle.
const atOnceEvery = 2 * time.Second

// sendAtOnce sends what was changed here since the last cycle, where that is wanted and nothing else is under way.
func (e *Engine) sendAtOnce(ctx context.Context) error {
	if !e.edited.Load() {
		return nil
	}
	if on, err := e.Models.SendAtOnce(ctx); err != nil || !on {
		e.edited.Store(err != nil)
		return err
	}
	// A stream of edits must not become a stream of calls; near the end of the day's share, the cycle is soon enough.
	ended, err := e.Models.LastSendEnded(ctx)
	if err != nil || e.Models.Now().Sub(ended) < atOnceEvery {
		return err
	}
	if b, err := e.Models.Budget(ctx); err != nil || b.InReserve() {
		return err
	}
	cycle, err := e.Models.CurrentCycle(ctx)
	if errors.Is(err, models.ErrNotFound) || err == nil && cycle.EndedAt == nil {
		return nil // the cycle sends it
	}
	if err != nil {
		return err
	}
	// Whoever looks next after this moment is told anew of what comes after it.
	e.edited.Store(false)
	objects, err := e.toSend(ctx)
	if err != nil {
		e.edited.Store(true)
		return err
	}
	n, err := e.Models.RequestSends(ctx, objects, "")
	if err != nil {
		e.edited.Store(true)
		return err
	}
	if n < len(objects) {
		// A run that is about to end may not see it any more.
		e.edited.Store(true)
	}
	return nil
}

// toSend lists the objects of which something waits to be sent, parents first. Before a person has said yes to the first sending, it
// keeps the numbers of that question right, and lists none.
func (e *Engine) toSend(ctx context.Context) ([]string, error) {
	if err := e.Mirror.RedirectUnsent(ctx); err != nil {
		return nil, err
	}
	backlogs, err := e.Mirror.Backlogs(ctx)
	if err != nil {
		return nil, err
	}
	if len(backlogs) == 0 {
		return nil, nil
	}
	by := map[string]mirror.Backlog{}
	for _, b := range backlogs {
		by[b.Object] = b
	}
	objects, err := e.Models.SendableObjects(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	counts := map[string]int64{}
	for _, o := range objects {
		b := by[o.Name]
		waits := false
		if b.Deletes > 0 {
			if waits, err = e.deletionsWait(ctx, o); err != nil {
				return nil, err
			}
		}
		if b.Inserts+b.Updates+b.Undone > 0 || b.Deletes > 0 && !waits {
			names = append(names, o.Name)
		}
		// What the admin has ruled out does not reach Salesforce, and is not in the question.
		if b.Inserts > 0 && o.CreatePolicy != models.CreateNone {
			counts[o.Name+".create"] = b.Inserts
		}
		if b.Updates > 0 {
			counts[o.Name+".update"] = b.Updates
		}
		if b.Deletes > 0 && o.DeleteAllowed {
			counts[o.Name+".delete"] = b.Deletes
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	allowed, err := e.Models.SendingAllowed(ctx, counts)
	if err != nil || !allowed {
		return nil, err
	}
	return names, nil
}

// deletionsWait tells whether the deletions of an object that are to be sent are more at once than the brake lets through and
// nobody has said yes to them. It asks, and keeps the numbers of the question right. A yes is for what was deleted before it, and
// for no more than its numbers said; so is a no.
func (e *Engine) deletionsWait(ctx context.Context, o models.Object) (bool, error) {
	if !o.DeleteAllowed {
		return false, nil // they delete nothing in Salesforce, and bring the rows back
	}
	w, err := e.Mirror.WaitingDeletions(ctx, o.Name)
	if err != nil {
		return false, err
	}
	percent, err := e.Models.BrakePercent(ctx)
	if err != nil || !(mirror.Brake{Percent: percent}).Stops(w.Deletions, w.Records) {
		return false, err
	}
	last, err := e.Models.LastApproval(ctx, models.ApproveSentDeletions, o.Name)
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return false, err
	}
	if err == nil && last.AnsweredAt != nil && !w.Newest.After(*last.AnsweredAt) && w.Deletions <= last.Counts["deletions"] {
		return !*last.Answer, nil
	}
	_, err = e.Models.AskApproval(ctx, models.ApproveSentDeletions, o.Name, map[string]int64{"deletions": w.Deletions, "records": w.Records})
	return true, err
}
