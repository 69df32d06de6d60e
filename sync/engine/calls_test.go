package engine_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

var tiny = simorg.Config{Leads: 60, Contacts: 30, Accounts: 10, Opportunities: 10, Campaigns: 2, CampaignMembers: 10, Tasks: 20, Events: 10, Users: 5}

// Every call that the org counts is in the day's account, whichever process made it; and the share is half of what was left.
func TestEveryCallIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	w.org.UseCalls(20_000)
	w.work()
	w.work()
	w.cycle()
	w.cycle()
	var b models.Budget
	w.until("the account holds every call", func() bool {
		var err error
		if b, err = w.models.Budget(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.Used == w.org.Calls().Total
	})
	if b.OrgLimit != 100_000 || b.Calls < 39_900 || b.Calls > 40_000 || b.PerHour != b.Used {
		t.Errorf("the account is %+v, want half of the 80,000 that were left", b)
	}
	if s, err := w.models.Status(t.Context()); err != nil || s.API.Budget != b.Calls || s.API.Limit != 100_000 || s.API.Used < 20_000 {
		t.Errorf("the status says %+v, %v", s.API, err)
	}
}

// In the reserve a resync waits and says so, and changes go on; once the admin raises the share the resync goes on by itself.
func TestTheReserveIsForChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	w.config.BudgetWait = 600 * time.Millisecond
	w.work()
	w.cycle()
	ctx := t.Context()
	if _, err := w.pool.Exec(ctx, `UPDATE admin.state SET budget_calls = 1000, budget_used = 850`); err != nil {
		t.Fatal(err)
	}
	resync, err := w.models.RequestResync(ctx, "Account", "test")
	if err != nil {
		t.Fatal(err)
	}
	w.until("the resync waits for the budget", func() bool {
		r, err := w.models.Run(ctx, resync.ID)
		return err == nil && r.ErrorCode == "TANDEM_BUDGET" && r.ResumesAt != nil
	})
	lead := w.ids("Lead")[0]
	if err := w.org.Update("Lead", lead, map[string]any{"City": "In reserve"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if got := scalar[string](w, `SELECT city FROM salesforce.lead WHERE sfid = $1`, lead); got != "In reserve" {
		t.Errorf("the change did not arrive: %q", got)
	}
	if r, err := w.models.Run(ctx, resync.ID); err != nil || !r.Active() || r.APICalls != 0 {
		t.Errorf("the resync went on in the reserve: %+v, %v", r, err)
	}
	if s, err := w.models.Status(ctx); err != nil || s.Cycle.NextAt == nil || s.Cycle.NextAt.Before(s.Now) {
		t.Errorf("no next cycle is due: %+v, %v", s.Cycle, err)
	}
	half := 50
	if err := w.models.SetSyncSettings(ctx, models.SyncSettings{BudgetPercent: &half, CheckHour: 2, BrakePercent: 10, SendAtOnce: true}, "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the resync went on", func() bool {
		r, err := w.models.Run(ctx, resync.ID)
		return err == nil && r.State == models.RunSucceeded && r.APICalls > 0
	})
}

// The org refuses more calls: everything waits, says why, and asks no more than once in a while; it goes on by itself.
func TestTheOrgRefusesMoreCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	w.config.BudgetWait = 1500 * time.Millisecond
	w.work()
	w.cycle()
	ctx := t.Context()
	w.org.UseCalls(1_000_000)
	number, err := w.models.RequestSync(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	w.until("the refusal is told", func() bool {
		s, err := w.models.Status(ctx)
		return err == nil && s.API.Tandem.RefusedUntil != nil && s.API.Tandem.Refused != "" && s.Connection.State == models.StateConnected
	})
	asked := w.org.Calls().Total
	time.Sleep(time.Second) // there is no signal for what does not happen
	if more := w.org.Calls().Total - asked; more > 12 {
		t.Errorf("%d more calls while the org refuses them", more)
	}
	w.org.UseCalls(0)
	w.until("the cycle ended", func() bool {
		c, err := w.models.Cycle(ctx, number)
		return err == nil && c.EndedAt != nil
	})
	w.until("the refusal is over", func() bool {
		s, err := w.models.Status(ctx)
		return err == nil && s.API.Tandem.RefusedUntil == nil
	})
	w.cycle()
}

// An org that tells its budget neither with its replies nor when asked: nothing is held back, and it is not asked again and again.
func TestAnOrgWithoutABudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	inner := w.server.Config.Handler
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(withoutHeader{rw, "Sforce-Limit-Info"}, r)
	})
	w.org.Fault(simorg.Fault{Path: "/limits", Status: 403, Code: "API_DISABLED", Message: "no"})
	w.work()
	w.cycle()
	w.cycle()
	w.cycle()
	b, err := w.models.Budget(t.Context())
	if err != nil || b.Known() || b.Used == 0 || b.InReserve() {
		t.Errorf("the account is %+v, %v", b, err)
	}
	if n := w.org.Calls().Kinds["limits"]; n > 2 {
		t.Errorf("/limits was asked %d times", n)
	}
	w.equal()
}

// withoutHeader takes a header out of the reply.
type withoutHeader struct {
	http.ResponseWriter
	name string
}

func (w withoutHeader) WriteHeader(status int) {
	w.Header().Del(w.name)
	w.ResponseWriter.WriteHeader(status)
}

func (w withoutHeader) Write(p []byte) (int, error) {
	w.Header().Del(w.name)
	return w.ResponseWriter.Write(p)
}

// What an idle cycle may cost, a call an object and five, holds with custom objects and record filters, while formulas of all objects are
// due, and where the org does not take the replication calls.
func TestWhatAnIdleCycleCosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	ctx := t.Context()
	w.must(w.models.EnableObjects(ctx, []string{"Subscription__c", "License__c", "Product_Interest__c"}, "test"))
	w.exec(`UPDATE admin.objects SET row_filter = 'CreatedDate > 2001-01-01T00:00:00Z' WHERE name IN ('Lead', 'Contact', 'Task', 'Subscription__c')`)
	w.work()
	w.cycle()
	w.cycle()
	most := len(models.StandardObjects) + 3 + 5
	costs := func(what string, cycles int) {
		t.Helper()
		for i := range cycles {
			before := w.org.Calls()
			w.cycle()
			// What was asked for beside the cycle belongs to it.
			w.until("nothing goes on", func() bool {
				return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE ended_at IS NULL`) == 0
			})
			after := w.org.Calls()
			if n := after.Total - before.Total; n > most {
				t.Errorf("%s: idle cycle %d cost %d calls, want at most %d: %v, then %v", what, i+1, n, most, before.Kinds, after.Kinds)
			}
		}
	}
	costs("filters and custom objects", 1)
	w.exec(`UPDATE admin.runs SET started_at = started_at - interval '3 days', requested_at = requested_at - interval '3 days' WHERE kind = 'first-sync'`)
	formulas := func() int {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE kind = 'formulas'`)
	}
	for range 2 {
		n := formulas()
		w.must(w.models.RequestFormulasDue(ctx))
		w.must(w.models.RequestFormulasDue(ctx))
		costs("formulas are due", 1)
		if formulas() != n+1 {
			t.Errorf("%d readings of formulas were made beside a cycle, want one", formulas()-n)
		}
	}
	for _, path := range []string{"/updated", "/deleted"} {
		w.org.Fault(simorg.Fault{Path: path, Status: 404, Code: "NOT_FOUND", Message: "The requested resource does not exist"})
	}
	costs("no replication calls", 3)
	if asked := w.org.Calls().Kinds["updated"] + w.org.Calls().Kinds["deleted"]; asked == 0 {
		t.Error("the replication calls were never asked: this checks nothing")
	}
}
