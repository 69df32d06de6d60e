package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/salesforce"
)

const (
	// restMax is the longest rest between two cycles when the share of calls runs short: slower, never dead.
	restMax = time.Hour
	// limitsEvery spaces the questions for the org's limits where its replies do not tell them, limitsRefused those of an org
	// that does not answer: it would answer no sooner for being asked each cycle.
	limitsEvery, limitsRefused = 10 * time.Minute, 24 * time.Hour
	// codeBudget is the code of a run that waits for Tandem's own share, codeOrgBudget of one that waits for the org's.
	codeBudget, codeOrgBudget = models.CodeShareUsed, salesforce.CodeRequestLimitExceeded
)

// budgetVerdict is whether a run may call the org now: if not, for how long it waits at first, and why.
type budgetVerdict struct {
	wait          time.Duration
	code, message string
}

// judgeBudget decides by the day's account whether a run may call the org. The reserve is for what changed: everything that
// reads much stops before it, and looks now and then whether it may go on. Changes and what is sent never stop for Tandem's own share, only for the org's word; their
// cycles become slower instead.
func judgeBudget(b models.Budget, kind models.RunKind, now time.Time, look time.Duration) budgetVerdict {
	if b.RefusedUntil != nil && b.RefusedUntil.After(now) {
		return budgetVerdict{b.RefusedUntil.Sub(now), codeOrgBudget, b.Refused}
	}
	if !b.InReserve() || kind == models.RunChanges || kind == models.RunSend {
		return budgetVerdict{}
	}
	return budgetVerdict{
		max(min(b.Ends().Sub(now), look), 100*time.Millisecond), codeBudget,
		fmt.Sprintf("Tandem has used %d of its %d API calls of today. The rest is kept for changes; this goes on at midnight UTC, or when an admin raises the share.", b.Used, b.Calls),
	}
}

// restFor is how long to rest after a cycle: the usual time, or, once only the reserve is left, so long that what is left
// lasts until the day ends at the price of a cycle; at most restMax, for changes go on even when nothing is left.
func restFor(usual time.Duration, b models.Budget, cost int, now time.Time) time.Duration {
	if !b.InReserve() || usual >= restMax {
		return usual
	}
	cycles := b.Left() / max(cost, 1)
	if cycles == 0 {
		return restMax
	}
	return min(max(b.Ends().Sub(now)/time.Duration(cycles), usual), restMax)
}

func (e *Engine) rest(ctx context.Context) (time.Duration, error) {
	b, err := e.Models.Budget(ctx)
	if err != nil || !b.InReserve() {
		return e.Rest, err
	}
	cost, err := e.Models.CycleCost(ctx)
	return restFor(e.Rest, b, cost, e.Models.Now()), err
}

// holdForBudget gives how long a run waits for the budget, and notes on it why; zero if it may go on.
func (e *Engine) holdForBudget(ctx context.Context, run models.Run) (time.Duration, error) {
	b, err := e.Models.Budget(ctx)
	if err != nil {
		return 0, err
	}
	v := judgeBudget(b, run.Kind, e.Models.Now(), e.BudgetWait/3)
	if v.wait == 0 {
		return 0, nil
	}
	return v.wait, e.Models.NoteRunWaits(ctx, run.ID, v.code, v.message, v.wait)
}

// waitForBudget notes that the org refuses more calls: nothing asks it again before the time is over.
func (e *Engine) waitForBudget(ctx context.Context, cause error, runs []models.Run) error {
	_, message := errorWords(cause)
	d := max(e.BudgetWait, salesforce.RetryAfter(cause))
	if err := e.Models.RefuseCalls(ctx, message, e.Models.Now().Add(d)); err != nil {
		return err
	}
	return e.wait(ctx, cause, d, runs)
}

// askLimits asks for the org's budget where its replies do not tell it. Who may not ask is known to have no budget, and so no stop.
func (e *Engine) askLimits(ctx context.Context, client *salesforce.Client) {
	if _, told := client.Usage(); told {
		return
	}
	now := time.Now()
	if next := e.clients.limitsNext.Load(); next > now.UnixNano() {
		return
	}
	e.clients.limitsNext.Store(now.Add(limitsEvery).UnixNano())
	limits, err := client.Limits(ctx)
	daily, known := limits["DailyApiRequests"]
	switch {
	case salesforce.IsTransient(err):
	case err != nil, !known, daily.Max <= 0:
		e.clients.limitsNext.Store(now.Add(limitsRefused).UnixNano())
		e.Log.Info("the org does not tell its limit of API calls; Tandem holds nothing back for it", "error", err)
	default:
		e.clients.limits.Store(&models.Usage{Used: max(daily.Max-daily.Remaining, 0), Limit: daily.Max})
	}
}
