package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// Whichever way access is lost, it is told in Salesforce's own words, stays told as long as it lasts, and is mended by itself once
// access is back; what changed meanwhile arrives.
func TestLosingAccessMendsItself(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string
		lose, mend func(w *world)
	}{
		{
			"the user was deactivated", "no client credentials user enabled",
			func(w *world) {
				if err := w.org.RunAs(""); err != nil {
					w.t.Fatal(err)
				}
				w.org.ExpireSessions()
			},
			func(w *world) {
				if err := w.org.RunAs("integration@tandem-sim.example"); err != nil {
					w.t.Fatal(err)
				}
			},
		},
		{
			// Who the session belongs to is still answered: that must not pass for access.
			"the user may no longer use the API", "API is not enabled",
			func(w *world) {
				w.org.Fault(simorg.Fault{Path: `^.*/services/data/v.*$`, Status: 403, Code: "API_CURRENTLY_DISABLED", Message: "API is not enabled for this Organization or Partner"})
			},
			func(w *world) { w.org.ClearFaults() },
		},
		{
			"the address is not allowed", "ip restricted",
			func(w *world) {
				w.org.Fault(simorg.Fault{Path: "/services/oauth2/token", Status: 400, Body: `{"error":"invalid_grant","error_description":"ip restricted or invalid login hours"}`, ContentType: "application/json"})
				w.org.ExpireSessions()
			},
			func(w *world) { w.org.ClearFaults() },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tiny)
			w.config.ProbeEvery = 200 * time.Millisecond
			w.work()
			w.cycle()
			ctx := t.Context()
			lead := w.ids("Lead")[0]
			c.lose(w)
			if err := w.org.Update("Lead", lead, map[string]any{"City": "Meanwhile"}); err != nil {
				t.Fatal(err)
			}
			number, err := w.models.RequestSync(ctx, "test")
			if err != nil {
				t.Fatal(err)
			}
			refused := func() bool {
				s, err := w.models.Status(ctx)
				return err == nil && s.Connection.State == models.StateRefused && s.Cycle.State == models.CycleStopped && strings.Contains(s.Connection.Error, c.says)
			}
			w.until("the refusal is told", refused)
			// It is probed several times meanwhile, and never taken for mended.
			for range 40 {
				time.Sleep(25 * time.Millisecond)
				if !refused() {
					s, err := w.models.Status(ctx)
					t.Fatalf("while access was lost the status was %+v, %v", s.Connection, err)
				}
			}
			c.mend(w)
			w.until("the cycle went on by itself", func() bool {
				cycle, err := w.models.Cycle(ctx, number)
				return err == nil && cycle.EndedAt != nil
			})
			if city := scalar[string](w, `SELECT city FROM salesforce.lead WHERE sfid = $1`, lead); city != "Meanwhile" {
				t.Errorf("what changed meanwhile did not arrive: %q", city)
			}
			if s, err := w.models.Status(ctx); err != nil || s.Connection.State != models.StateConnected || s.Connection.Error != "" {
				t.Errorf("mended, the status is %+v, %v", s.Connection, err)
			}
		})
	}
}

// A refresh token that Salesforce no longer takes is told; only signing in again mends that, and then all goes on.
func TestADeadRefreshTokenIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	w.config.ProbeEvery = 200 * time.Millisecond
	ctx := t.Context()
	c, err := w.models.Connection(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Auth, c.AccessToken, c.RefreshToken = models.AuthWebServer, models.NewSecret("00Dx!gone"), models.NewSecret("5Aep-expired")
	if err := w.models.SaveConnection(ctx, c, "test"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.until("the refusal is told", func() bool {
		s, err := w.models.Status(ctx)
		return err == nil && s.Connection.State == models.StateRefused && s.Connection.ErrorCode == "invalid_grant" && s.Connection.Error != ""
	})
	w.connect(simorg.DefaultClientSecret)
	w.cycle()
	w.equalObject("Lead")
}
