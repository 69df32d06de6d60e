package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// Whatever the network and the org do wrong in passing, the first sync ends, and both sides are equal.
func TestFirstSyncThroughFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	results := `jobs/query/[^/]+/results`
	for _, f := range []simorg.Fault{
		{Path: results, After: 1, Count: 2, Status: 503, Body: "<html>Server too busy</html>", ContentType: "text/html"},
		{Path: results, After: 4, Count: 2, TruncateBody: 20_000},
		{Path: results, After: 7, Count: 1, TruncateBody: 15_000, CleanEnd: true},
		{Path: results, After: 9, Count: 1, DropBefore: true},
		{Path: results, After: 11, Count: 1, ExpireSession: true},
		{Path: "query", Method: "GET", After: 3, Count: 2, Status: 500, Code: "UNKNOWN_EXCEPTION", Message: "An unexpected error occurred."},
		{Path: "queryAll", After: 5, Count: 1, DropAfter: true},
		{Path: "composite", Count: 1, Status: 420, Body: "", ContentType: "text/html"},
		{Path: "queryAll", After: 9, Count: 1, Status: 403, Code: "REQUEST_LIMIT_EXCEEDED", Message: "ConcurrentPerOrgLongTxn Limit exceeded."},
	} {
		w.org.Fault(f)
	}
	w.org.Fault(simorg.Fault{ShortPages: 150})
	w.work()
	w.cycle()
	w.org.ClearFaults()
	w.equal()
}

// A field that is hidden between the describe and the query is found out and left; its column keeps the data (Invariant 9).
// Seen again, it is filled again.
func TestHiddenFieldKeepsItsData(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()
	titles := scalar[int](w, `SELECT count(title) FROM salesforce.lead`)
	w.org.HideField("Lead", "Title")
	lead := w.ids("Lead")[0]
	if err := w.org.Update("Lead", lead, map[string]any{"City": "Nowhere"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if got := scalar[string](w, `SELECT city FROM salesforce.lead WHERE sfid = $1`, lead); got != "Nowhere" {
		t.Errorf("the city is %q", got)
	}
	if got := scalar[int](w, `SELECT count(title) FROM salesforce.lead`); got != titles {
		t.Errorf("%d titles are left of %d", got, titles)
	}
	if !scalar[bool](w, `SELECT gone_at IS NOT NULL FROM mirror.fields WHERE object = 'Lead' AND field = 'Title'`) {
		t.Error("the field is not marked as gone")
	}
	w.org.ShowField("Lead", "Title")
	w.cycle()
	w.until("the field was filled again", func() bool {
		return scalar[bool](w, `SELECT EXISTS (SELECT FROM admin.runs WHERE object = 'Lead' AND kind = 'fill' AND state = 'succeeded')`)
	})
	w.equalObject("Lead")
}

// A new field becomes a column, and is filled for all records.
func TestNewFieldIsFilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()
	if err := w.org.AddField("Contact", simorg.FieldSpec{Name: "Shoe_Size__c", Type: "double", Precision: 4, Scale: 1}); err != nil {
		t.Fatal(err)
	}
	contact := w.ids("Contact")[0]
	if err := w.org.Update("Contact", contact, map[string]any{"Shoe_Size__c": 42.5}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.until("the field was filled", func() bool {
		return scalar[bool](w, `SELECT EXISTS (SELECT FROM admin.runs WHERE object = 'Contact' AND kind = 'fill' AND state = 'succeeded')`)
	})
	if got := scalar[string](w, `SELECT shoe_size__c::text FROM salesforce.contact WHERE sfid = $1`, contact); got != "42.5" {
		t.Errorf("the new field holds %q", got)
	}
	w.equalObject("Contact")
}

// An object that the credentials cannot see is told, holds up nothing, and comes by itself once it is seen.
func TestHiddenObjectMendsItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.org.HideObject("Event")
	w.work()
	number, err := w.models.RequestSync(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	w.until("the cycle ended", func() bool {
		c, err := w.models.Cycle(t.Context(), number)
		return err == nil && c.EndedAt != nil
	})
	o, err := w.models.Object(t.Context(), "Event")
	if err != nil || !o.Hidden || o.Error == "" {
		t.Errorf("Event: hidden %v, error %q, %v", o.Hidden, o.Error, err)
	}
	w.equalObject("Task")
	w.org.ShowObject("Event")
	w.cycle()
	w.cycle()
	w.equalObject("Event")
	if o, err := w.models.Object(t.Context(), "Event"); err != nil || o.Hidden || o.Error != "" {
		t.Errorf("Event is seen again: hidden %v, error %q, %v", o.Hidden, o.Error, err)
	}
}

// Credentials that Salesforce no longer takes stop everything, in its own words; nothing is lost meanwhile.
func TestRefusedCredentialsStopAndTell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()
	if err := w.org.RunAs(""); err != nil {
		t.Fatal(err)
	}
	w.org.ExpireSessions()
	lead := w.ids("Lead")[0]
	if err := w.org.Update("Lead", lead, map[string]any{"City": "Meanwhile"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.models.RequestSync(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the refusal was noted", func() bool {
		c, err := w.models.Connection(t.Context())
		return err == nil && c.State == models.StateRefused && strings.Contains(c.Error, "no client credentials user enabled")
	})
	if s, err := w.models.Status(t.Context()); err != nil || s.Cycle.State != models.CycleStopped || s.Connection.Error == "" {
		t.Errorf("the status is %s, %v", s.Cycle.State, err)
	}
	if err := w.org.RunAs("integration@tandem-sim.example"); err != nil {
		t.Fatal(err)
	}
	// As the admin would: test the connection again. (The engine's own probe comes every two minutes.)
	w.connect(simorg.DefaultClientSecret)
	w.cycle()
	if got := scalar[string](w, `SELECT city FROM salesforce.lead WHERE sfid = $1`, lead); got != "Meanwhile" {
		t.Errorf("what changed meanwhile is %q", got)
	}
}

// Paused, nothing is read; resumed, it goes on where it was.
func TestPauseHoldsEverythingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()
	ctx := t.Context()
	if err := w.models.Pause(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	calls := w.org.Calls().Total
	if _, err := w.models.RequestSync(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // there is no signal for what does not happen
	if now := w.org.Calls().Total; now != calls {
		t.Errorf("%d calls while paused", now-calls)
	}
	if err := w.models.Resume(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	w.cycle()

	// A cycle that was just being opened when somebody paused does not begin either.
	if err := w.models.Pause(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	calls = w.org.Calls().Total
	cycle, _, err := w.models.OpenCycle(ctx, []string{"Lead"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.pool.Exec(ctx, `INSERT INTO queue.river_job (kind, args, queue, max_attempts, state) VALUES ('describe', jsonb_build_object('cycle', $1::bigint), 'default', 5, 'available')`, cycle.Number); err != nil {
		t.Fatal(err)
	}
	w.until("the describe was put off", func() bool {
		return scalar[bool](w, `SELECT EXISTS (SELECT FROM queue.river_job WHERE kind = 'describe' AND (metadata ? 'snoozes' OR state = 'completed') AND (args->>'cycle')::bigint = $1)`, cycle.Number)
	})
	if now := w.org.Calls().Total; now != calls {
		t.Errorf("%d calls for a cycle that was opened while somebody paused", now-calls)
	}
	if err := w.models.Resume(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the cycle ended", func() bool {
		c, err := w.models.Cycle(ctx, cycle.Number)
		return err == nil && c.EndedAt != nil
	})
}

// Two workers on one database share the first sync; no record is lost or doubled.
func TestTwoWorkersShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.config.PageRows = 100
	w.work()
	w.work()
	w.cycle()
	w.equal()
	if n := scalar[int](w, `SELECT count(DISTINCT attempted_by[array_length(attempted_by, 1)]) FROM queue.river_job WHERE kind = 'page'`); n != 2 {
		t.Errorf("%d workers read pages, want both", n)
	}
}

// A worker that is stopped in the middle hands its work back: the next one goes on with the same load.
func TestStoppedInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.config.PageRows = 100
	w.org.Fault(simorg.Fault{Path: `jobs/query/[^/]+/results`, Delay: 100 * time.Millisecond})
	for range 3 {
		stop := w.work()
		before := scalar[int](w, `SELECT count(*) FROM mirror.load_pages WHERE done_at IS NOT NULL`)
		w.until("some pages committed", func() bool {
			return scalar[int](w, `SELECT count(*) FROM mirror.load_pages WHERE done_at IS NOT NULL`) > before+3
		})
		stop()
	}
	w.org.ClearFaults()
	w.work()
	w.until("the first cycle ended", func() bool {
		c, err := w.models.Cycle(context.Background(), 1)
		return err == nil && c.EndedAt != nil
	})
	w.equal()
	if n := scalar[int](w, `SELECT count(*) FROM mirror.loads WHERE state = 'abandoned'`); n != 0 {
		t.Errorf("%d loads were begun again", n)
	}
}

// People and their applications are told where to make a change; nothing that they write is taken and then lost.
// What could not be sent is refused at once: all writes of what comes from Salesforce only, and columns that it does not let be written.
func TestLocalWritesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()
	for _, table := range []string{"account", "lead"} {
		for _, sql := range []string{`UPDATE salesforce.$ SET name = 'x'`, `DELETE FROM salesforce.$`, `INSERT INTO salesforce.$ (name) VALUES ('x')`, `TRUNCATE salesforce.$`} {
			if table == "lead" && strings.HasPrefix(sql, "DELETE") {
				continue
			}
			_, err := w.pool.Exec(t.Context(), strings.ReplaceAll(sql, "$", table))
			if err == nil || !strings.Contains(err.Error(), "Salesforce") {
				t.Errorf("%s of %s: %v, want a sentence", sql, table, err)
			}
		}
	}
	w.equalObject("Account")
	w.equalObject("Lead")
}

// One row a person: leads that are not converted, and contacts, each with its owner.
func TestPersonView(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()
	want := scalar[int](w, `SELECT (SELECT count(*) FROM salesforce.lead WHERE NOT isconverted) + (SELECT count(*) FROM salesforce.contact)`)
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.person`); got != want {
		t.Errorf("the view has %d people, want %d", got, want)
	}
	if scalar[int](w, `SELECT count(*) FROM salesforce.person WHERE sfdc_type = 'Lead'`) == 0 || scalar[int](w, `SELECT count(*) FROM salesforce.person WHERE sfdc_type = 'Contact'`) == 0 {
		t.Error("one kind of person is missing")
	}
}

// A field whose values do not fit its new type stops its object, with the reason, and no other; nothing of it is touched.
func TestRetypedFieldStopsItsObjectAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	if err := w.org.AddField("Contact", simorg.FieldSpec{Name: "Mood__c", Type: "string", Length: 40}); err != nil {
		t.Fatal(err)
	}
	contact := w.ids("Contact")[0]
	if err := w.org.Update("Contact", contact, map[string]any{"Mood__c": "happy"}); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.cycle()
	w.org.RemoveField("Contact", "Mood__c")
	if err := w.org.AddField("Contact", simorg.FieldSpec{Name: "Mood__c", Type: "double", Precision: 4}); err != nil {
		t.Fatal(err)
	}
	number, err := w.models.RequestSync(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	w.until("the cycle ended", func() bool {
		c, err := w.models.Cycle(t.Context(), number)
		return err == nil && c.EndedAt != nil
	})
	runs, err := w.models.CycleRuns(t.Context(), number)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		switch {
		case r.Object != "Contact" && r.State != models.RunSucceeded:
			t.Errorf("%s: %s %s", r.Object, r.State, r.Error)
		case r.Object == "Contact" && (r.State != models.RunFailed || !strings.Contains(r.Error, "Mood__c") || !strings.Contains(r.Error, "happy")):
			t.Errorf("Contact: %s %q, want it failed with the field and a value", r.State, r.Error)
		}
	}
	if got := scalar[string](w, `SELECT mood__c FROM salesforce.contact WHERE sfid = $1`, contact); got != "happy" {
		t.Errorf("the value is %q", got)
	}
	// A check of it ends, and says why it is worth nothing: it would wait in vain for the mirror to catch up.
	if r := w.runsOut(w.models.RequestCheck(t.Context(), "Contact", "test")); r.State != models.RunFailed || !strings.Contains(r.Error, "happy") {
		t.Errorf("the check: %s %q, want it failed with the reason of the reading", r.State, r.Error)
	}
}
