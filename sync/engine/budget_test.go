package engine

import (
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
)

// Who may call the org, by the day's account: the reserve is for what changed, and only the org's own word stops that.
func TestJudgeBudget(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	day := noon.Truncate(24 * time.Hour)
	past, soon := noon.Add(-time.Second), noon.Add(10*time.Minute)
	for _, c := range []struct {
		name string
		b    models.Budget
		kind models.RunKind
		wait time.Duration
		code string
	}{
		{"no limit known", models.Budget{Day: day, Used: 9000}, models.RunResync, 0, ""},
		{"below the reserve", models.Budget{Day: day, Calls: 100, Used: 79}, models.RunCheck, 0, ""},
		{"the reserve is not for resyncs", models.Budget{Day: day, Calls: 100, Used: 80}, models.RunResync, 5 * time.Minute, codeBudget},
		{"nor first syncs", models.Budget{Day: day, Calls: 100, Used: 80}, models.RunFirstSync, 5 * time.Minute, codeBudget},
		{"nor fills", models.Budget{Day: day, Calls: 100, Used: 99}, models.RunFill, 5 * time.Minute, codeBudget},
		{"nor checks, formulas, sweeps", models.Budget{Day: day, Calls: 100, Used: 200}, models.RunSweep, 5 * time.Minute, codeBudget},
		{"it is for changes", models.Budget{Day: day, Calls: 100, Used: 80}, models.RunChanges, 0, ""},
		{"and for what is sent", models.Budget{Day: day, Calls: 100, Used: 99}, models.RunSend, 0, ""},
		{"changes never stop for the share", models.Budget{Day: day, Calls: 100, Used: 500}, models.RunChanges, 0, ""},
		{"the org's word stops all", models.Budget{Day: day, Refused: "TotalRequests Limit exceeded.", RefusedUntil: &soon}, models.RunChanges, 10 * time.Minute, codeOrgBudget},
		{"until its time is over", models.Budget{Day: day, Calls: 100, Used: 1, Refused: "no", RefusedUntil: &past}, models.RunFirstSync, 0, ""},
		{"no longer than the day", models.Budget{Day: day.AddDate(0, 0, -1).Add(12*time.Hour + time.Minute), Calls: 100, Used: 80}, models.RunFill, time.Minute, codeBudget},
	} {
		v := judgeBudget(c.b, c.kind, noon, 5*time.Minute)
		if v.wait != c.wait || v.code != c.code || (v.wait > 0) != (v.message != "") {
			t.Errorf("%s: %s waits %s as %q (%s), want %s as %q", c.name, c.kind, v.wait, v.code, v.message, c.wait, c.code)
		}
	}
}

// Near the end of the share cycles come slower, so that it lasts; they never cease.
func TestRestFor(t *testing.T) {
	t.Parallel()
	const usual = 5 * time.Minute
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	b := func(used int) models.Budget {
		return models.Budget{Day: now.Truncate(24 * time.Hour), Calls: 10_000, Used: used}
	}
	for _, c := range []struct {
		name  string
		b     models.Budget
		cost  int
		usual time.Duration
		want  time.Duration
	}{
		{"unknown", models.Budget{Used: 5}, 15, usual, usual},
		{"plenty", b(7999), 15, usual, usual},
		{"the reserve lasts at the usual pace", b(8000), 10, usual, usual},
		{"half of the pace", b(8800), 17, usual, 12 * time.Hour / 70},
		{"hardly anything", b(9990), 17, usual, restMax},
		{"nothing", b(12_000), 17, usual, restMax},
		{"a longer rest stays", b(12_000), 17, 2 * time.Hour, 2 * time.Hour},
		{"a cycle that costs nothing", b(9_999), 0, usual, restMax},
	} {
		if got := restFor(c.usual, c.b, c.cost, now); got != c.want {
			t.Errorf("%s: rests %s, want %s", c.name, got, c.want)
		}
	}
}
