package engine_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// A field that is hidden while edits of it wait: they cannot be sent, and do not vanish in silence. Each is a conflict with its value, and
// the row shows what was last seen of Salesforce, never null.
func TestAFieldIsHiddenWhileEditsOfItWait(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall)
	ids := w.ids("Lead")
	was := scalar[string](w, `SELECT coalesce(city, '') FROM salesforce.lead WHERE sfid = $1`, ids[2])
	w.exec(`UPDATE salesforce.lead SET title = 'Kept', city = 'Hidden' WHERE sfid = $1`, ids[2])
	w.exec(`UPDATE salesforce.lead SET city = 'Alone' WHERE sfid = $1`, ids[3])
	row := w.insert(`INSERT INTO salesforce.lead (lastname, company, city) VALUES ('Nakamura', 'Aoi KK', 'New')`)
	w.org.HideField("Lead", "City")
	sent, refused, conflicts, _ := sends(w.cycle())
	if sent != 2 || refused != 0 || conflicts != 3 || w.backlog() != 0 {
		t.Errorf("%d sent, %d refused, %d conflicts, %d left, want 2 sent and a conflict for each hidden value", sent, refused, conflicts, w.backlog())
	}
	if w.there("Lead", ids[2], "Title") != "Kept" || w.sfid("lead", row) == "" {
		t.Error("what could be sent was not")
	}
	for id, local := range map[string]string{ids[2]: "Hidden", ids[3]: "Alone", w.sfid("lead", row): "New"} {
		got := scalar[string](w, `SELECT coalesce(max(local), '') FROM mirror.open_conflicts WHERE object = 'Lead' AND field = 'City' AND sfid = $1 AND winner = 'salesforce'`, id)
		if got != local {
			t.Errorf("the conflict of %s keeps %q, want %q", id, got, local)
		}
	}
	if got := scalar[string](w, `SELECT coalesce(city, '') FROM salesforce.lead WHERE sfid = $1`, ids[2]); got != was || was == "" {
		t.Errorf("the hidden column holds %q, want %q, which was last seen", got, was)
	}
}

// An edit of a record that was deleted there, of a field that was hidden meanwhile: what was last seen of the field stays.
func TestAHiddenFieldOfADeletedRecordStays(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall)
	id := w.ids("Lead")[2]
	w.exec(`UPDATE salesforce.lead SET city = 'Hidden' WHERE sfid = $1`, id)
	w.org.HideField("Lead", "City")
	if err := w.org.Delete("Lead", id); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if got := scalar[string](w, `SELECT coalesce(city, '') FROM salesforce.lead WHERE sfid = $1`, id); got == "" || w.backlog() != 0 {
		t.Errorf("the hidden column holds %q, and %d edits wait", got, w.backlog())
	}
}

// A value that the database takes and JSON cannot say is set aside, and so is a row that would need a default which its field does not take any
// more. Both hold up nothing else.
func TestANumberThatIsNoneIsSetAside(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) {
		w.exec(`UPDATE admin.objects SET create_defaults = '{"AnnualRevenue": "lots", "Company": "[none]"}' WHERE name = 'Lead'`)
	})
	ids := w.ids("Lead")
	w.exec(`UPDATE salesforce.lead SET annualrevenue = 'NaN' WHERE sfid = $1`, ids[2])
	w.exec(`UPDATE salesforce.lead SET title = 'Sent' WHERE sfid = $1`, ids[3])
	row := w.insert(`INSERT INTO salesforce.lead (lastname, company, annualrevenue) VALUES ('Nakamura', 'Aoi KK', 'Infinity')`)
	needs := w.insert(`INSERT INTO salesforce.lead (lastname) VALUES ('Needs it')`)
	brings := w.insert(`INSERT INTO salesforce.lead (lastname, annualrevenue) VALUES ('Brings one', 7)`)
	sent, refused, _, _ := sends(w.cycle())
	if sent != 2 || refused != 3 || w.there("Lead", ids[3], "Title") != "Sent" || w.there("Lead", w.sfid("lead", brings), "Company") != "[none]" {
		t.Errorf("%d sent, %d refused, want 2 and 3", sent, refused)
	}
	if code, message := w.refusal("Lead", row); code == "" {
		t.Error(message)
	}
	if code, message := w.refusal("Lead", needs); code != "DEFAULT_DOES_NOT_FIT" || !strings.Contains(message, "AnnualRevenue in this object's settings is \"lots\"") {
		t.Errorf("%s: %s", code, message)
	}
	w.exec(`UPDATE admin.objects SET create_defaults = '{"AnnualRevenue": "5"}' WHERE name = 'Lead'`)
	w.exec(`UPDATE salesforce.lead SET company = 'Acme' WHERE id = $1`, needs)
	w.cycle()
	if got := w.there("Lead", w.sfid("lead", needs), "AnnualRevenue"); got != "5" {
		t.Errorf("with a default that fits, the lead has %q", got)
	}
}

// An object that is paused while its run is under way holds up its own run and no other object's cycles.
func TestAPausedObjectHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.onlyPeople()
	stop := w.work()
	w.cycle()
	stop()
	ctx := t.Context()
	w.exec(`UPDATE admin.objects SET paused = false`)
	open, _, err := w.models.OpenCycle(ctx, []string{"Contact", "Lead"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.models.PauseObject(ctx, "Contact", "test"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.until("the cycle ended without the paused object", func() bool {
		c, err := w.models.Cycle(ctx, open.Number)
		return err == nil && c.EndedAt != nil
	})
	w.cycle()
	if err := w.models.ResumeObject(ctx, "Contact", "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the paused object's run ended", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Contact' AND ended_at IS NULL`) == 0
	})
	w.cycle()
}

// The reserve is for changes: a first sync that waits for the next day's share holds up no other object.
func TestAFirstSyncThatWaitsForTheShareHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.onlyPeople()
	w.exec(`UPDATE admin.objects SET enabled = false WHERE name = 'Contact'`)
	w.work()
	w.cycle()
	ctx := t.Context()
	id := w.ids("Lead")[1]
	if err := w.org.Update("Lead", id, map[string]any{"Title": "Fresh"}); err != nil {
		t.Fatal(err)
	}
	w.exec(`UPDATE admin.state SET budget_day = (now() AT TIME ZONE 'UTC')::date, budget_calls = 100000, budget_used = 90000`)
	w.exec(`UPDATE admin.objects SET enabled = true WHERE name = 'Contact'`)
	if _, err := w.models.RequestSync(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the change arrived", func() bool {
		return scalar[string](w, `SELECT coalesce(title, '') FROM salesforce.lead WHERE sfid = $1`, id) == "Fresh"
	})
	w.until("the cycle ended", func() bool {
		c, err := w.models.CurrentCycle(ctx)
		return err == nil && c.EndedAt != nil
	})
	if n := scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Contact' AND kind = $1 AND ended_at IS NULL`, models.RunFirstSync); n != 1 {
		t.Errorf("%d first syncs of contacts wait, want 1", n)
	}
}

// Two rows that turn out to be one record become one row; where a table of people's own forbids that, the row is set aside with the database's
// reason, and holds up nothing else.
func TestRowsThatCannotBecomeOneHoldUpNothingElse(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) { w.exec(`UPDATE admin.objects SET match_email = true WHERE name = 'Lead'`) })
	ids := w.ids("Lead")
	if err := w.org.Update("Lead", ids[2], map[string]any{"Email": "one@person.example"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.exec(`CREATE TABLE public.score (lead_id bigint PRIMARY KEY REFERENCES salesforce.lead (id))`)
	row := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('One', 'Person', 'one@person.example')`)
	fine := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Other', 'Person', 'other@person.example')`)
	w.exec(`INSERT INTO public.score SELECT id FROM salesforce.lead WHERE id = $1 OR sfid = $2`, row, ids[2])
	w.exec(`UPDATE salesforce.lead SET title = 'Sent' WHERE sfid = $1`, ids[3])
	w.cycle()
	if code, message := w.refusal("Lead", row); code != "ROWS_CANNOT_JOIN" || w.there("Lead", ids[3], "Title") != "Sent" || w.sfid("lead", fine) == "" {
		t.Errorf("the row is refused with %q (%s), the other edit is %q, the other row %q", code, message, w.there("Lead", ids[3], "Title"), w.sfid("lead", fine))
	}
	w.exec(`DELETE FROM public.score WHERE lead_id = $1`, row)
	w.exec(`SELECT mirror.retry_refused(ARRAY(SELECT id FROM mirror.refused WHERE row_id = $1), 'ann')`, row)
	w.cycle()
	if w.sfid("lead", row) != ids[2] || w.backlog() != 0 {
		t.Errorf("the row is %q, want %q; %d edits wait", w.sfid("lead", row), ids[2], w.backlog())
	}
}

// A worker dies after a deleted record's row gave up its record and before its edit was put back: the row is created again all the same.
func TestADeathBetweenRenewingAndSettling(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.config.LockWait, w.config.LostWait = 2*time.Millisecond, 10*time.Millisecond
	w.exec(`UPDATE admin.state SET send_at_once = false`)
	w.onlyPeople()
	w.approve(true)
	w.exec(`UPDATE admin.objects SET recreate = true WHERE name = 'Contact'`)
	stop := w.work()
	w.cycle()
	stop()
	id := w.ids("Contact")[1]
	row := scalar[int64](w, `SELECT id FROM salesforce.contact WHERE sfid = $1`, id)
	w.exec(`UPDATE salesforce.contact SET title = 'Reborn' WHERE id = $1`, row)
	if err := w.org.Delete("Contact", id); err != nil {
		t.Fatal(err)
	}
	if c, err := w.mirror.ClaimChanges(t.Context(), 1, "Contact", mirror.Update, 10); err != nil || len(c.Changes) != 1 {
		t.Fatalf("claimed %+v, %v", c, err)
	}
	if err := w.mirror.Renew(t.Context(), "Contact", row, id); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.cycle()
	if again := w.sfid("contact", row); again == "" || again == id || w.there("Contact", again, "Title") != "Reborn" || w.backlog() != 0 {
		t.Errorf("the contact is %q with the title %q; %d edits wait", again, w.there("Contact", again, "Title"), w.backlog())
	}
}

// A reading of all records by an old filter, still under way when the filter changes, is not taken for the reading by the new one.
func TestAReadingByTheOldFilterIsNotTheNewOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.config.BulkAbove = 10
	w.exec(`UPDATE admin.objects SET enabled = false WHERE name <> 'Lead'`)
	all := w.ids("Lead")
	w.exec(`UPDATE admin.objects SET row_filter = $1 WHERE name = 'Lead'`, "Id < '"+all[len(all)/2]+"'")
	w.work()
	w.cycle()
	ctx := t.Context()
	mend := w.org.Fault(simorg.Fault{Method: "GET", Path: "/jobs/query/", Status: 503, Body: "later"})
	old, err := w.models.RequestResync(ctx, "Lead", "test")
	if err != nil {
		t.Fatal(err)
	}
	w.until("the reading by the old filter waits for its job", func() bool {
		r, err := w.models.Run(ctx, old.ID)
		return err == nil && r.ResumesAt != nil && scalar[int](w, `SELECT count(*) FROM mirror.loads WHERE run_id = $1 AND state = 'open'`, old.ID) == 1
	})
	if err := w.models.SaveRowFilter(ctx, "Lead", "", "test"); err != nil {
		t.Fatal(err)
	}
	mend()
	w.until("all was read again", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE kind = 'resync' AND state = 'succeeded'`) == 1
	})
	w.equalObject("Lead")
}

// A filter is saved while many changes are read by the old one: whichever reading ends last, what is here and what is marked is as by the
// new filter.
func TestAFilterSavedWhileChangesAreReadByTheOldOne(t *testing.T) {
	t.Parallel()
	var org clock
	c := sendSmall
	c.Now = org.now
	w := newWorld(t, c)
	w.config.BulkAbove, w.config.PageRows = 10, 10
	w.exec(`UPDATE admin.objects SET enabled = false WHERE name <> 'Lead'`)
	leads := w.ids("Lead")
	last := leads[len(leads)-8]
	w.exec(`UPDATE admin.objects SET row_filter = $1 WHERE name = 'Lead'`, "Id < '"+last+"'")
	w.work()
	w.cycle()
	// Of those that the old filter lets in, a good part changes, and of the others some.
	for _, id := range append(slices.Clone(leads[:15]), leads[len(leads)-2:]...) {
		w.must(w.org.Update("Lead", id, map[string]any{"Title": "Changed"}))
	}
	// Later readings of changes do not look back to these.
	org.forward(time.Hour)
	ctx := t.Context()
	released := make(chan struct{})
	var held atomic.Value
	inner := w.server.Config.Handler
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, job, ok := strings.Cut(r.URL.Path, "/jobs/query/"); ok && (held.CompareAndSwap(nil, job) || held.Load() == job) {
			<-released
		}
		inner.ServeHTTP(rw, r)
	})
	number, err := w.models.RequestSync(ctx, "test")
	w.must(err)
	w.until("the changes wait for their job", func() bool { return held.Load() != nil })
	w.must(w.models.SaveRowFilter(ctx, "Lead", "Id >= '"+last+"'", "test"))
	w.until("all was read by the new filter", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Lead' AND kind = 'resync' AND state = 'succeeded'`) == 1
	})
	close(released)
	w.until("the cycle ended", func() bool {
		c, err := w.models.Cycle(ctx, number)
		return err == nil && c.EndedAt != nil
	})
	w.cycle()
	if n := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE title = 'Changed' AND sfid >= $1 COLLATE "C"`, last); n != 2 {
		t.Errorf("%d of the two changes that the new filter lets in are here", n)
	}
	if wrong := scalar[int](w, `SELECT count(*) FROM salesforce.lead l FULL JOIN mirror.out_of_scope o ON o.object = 'Lead' AND o.sfid = l.sfid
		WHERE (o.sfid IS NULL) IS DISTINCT FROM (l.sfid >= $1 COLLATE "C")`, last); wrong != 0 {
		t.Errorf("%d of %d records are marked wrongly", wrong, len(leads))
	}
}

// Where deleted records are removed and a table of people's own holds on to one, that row is marked instead until it may go; the others go,
// and reading goes on.
func TestARowThatIsHeldOnToIsMarkedInsteadOfRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.onlyPeople()
	w.exec(`UPDATE admin.objects SET on_deleted = 'remove' WHERE name = 'Lead'`)
	w.work()
	w.cycle()
	ids := w.ids("Lead")
	w.exec(`CREATE TABLE public.score (lead_id bigint REFERENCES salesforce.lead (id))`)
	w.exec(`INSERT INTO public.score SELECT id FROM salesforce.lead WHERE sfid = $1`, ids[2])
	for _, id := range ids[2:4] {
		if err := w.org.Delete("Lead", id); err != nil {
			t.Fatal(err)
		}
	}
	w.cycle()
	const left = `SELECT coalesce(string_agg(sfid || ' ' || isdeleted, ', '), '') FROM salesforce.lead WHERE sfid = ANY($1)`
	if got := scalar[string](w, left, ids[2:4]); got != ids[2]+" true" {
		t.Errorf("left are %q, want the one that is held on to, marked", got)
	}
	w.exec(`DROP TABLE public.score`)
	w.cycle()
	if got := scalar[string](w, left, ids[2:4]); got != "" {
		t.Errorf("left are %q once nothing holds on to them", got)
	}
}

// A row that is edited and then deleted, before either was sent, is deleted: the edit was made here, and not in Salesforce.
func TestAnEditedRowIsDeleted(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) { w.exec(`UPDATE admin.objects SET delete_allowed = true WHERE name = 'Lead'`) })
	ids := w.ids("Lead")
	w.exec(`UPDATE salesforce.lead SET title = 'Edited once' WHERE sfid = ANY($1)`, ids[2:4])
	w.exec(`UPDATE salesforce.lead SET title = 'Edited twice' WHERE sfid = ANY($1)`, ids[2:4])
	w.exec(`DELETE FROM salesforce.lead WHERE sfid = ANY($1)`, ids[2:4])
	if err := w.org.Update("Lead", ids[3], map[string]any{"Title": "Edited there"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if _, alive := w.org.Get("Lead", ids[2]); alive && w.there("Lead", ids[2], "IsDeleted") != "true" || scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE sfid = $1`, ids[2]) != 0 {
		t.Error("the row that was edited and deleted here was not deleted")
	}
	if scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE sfid = $1`, ids[3]) != 1 {
		t.Error("the row that was edited there too is not back")
	}
	// A row that is deleted while its record is made is deleted there, too: what Salesforce filled in is nobody's edit. Where the deletion
	// is not allowed, the row is back as that record, and not beside it.
	made := func(lastname string) (id string, rows int) {
		w.org.Fault(simorg.Fault{Method: "POST", Path: `composite/sobjects$`, Delay: 700 * time.Millisecond, Count: 1})
		w.exec(`INSERT INTO salesforce.lead (lastname, company) VALUES ($1, 'Short-lived')`, lastname)
		_, err := w.models.RequestSync(t.Context(), "test")
		w.must(err)
		w.until("the create is under way", func() bool { return scalar[int](w, `SELECT count(*) FROM mirror.outbox WHERE state = 'claimed'`) == 1 })
		w.exec(`DELETE FROM salesforce.lead WHERE lastname = $1`, lastname)
		w.cycle()
		w.cycle()
		return scalar[string](w, `SELECT max(sfid) FROM mirror.settled WHERE object = 'Lead' AND changed ->> 'lastname' = $1`, lastname),
			scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE lastname = $1 AND NOT coalesce(isdeleted, false)`, lastname)
	}
	if id, rows := made("Allowed"); w.there("Lead", id, "IsDeleted") != "true" || rows != 0 {
		t.Errorf("%s was not deleted, or %d rows are left", id, rows)
	}
	w.exec(`UPDATE admin.objects SET delete_allowed = false WHERE name = 'Lead'`)
	if id, rows := made("Forbidden"); w.there("Lead", id, "IsDeleted") != "false" || rows != 1 || scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE sfid IS NULL`) != 0 {
		t.Errorf("%s: %d rows, want the one of the record", id, rows)
	}
	// A row that Salesforce did not take and that is deleted then leaves nothing that waits.
	w.exec(`INSERT INTO salesforce.campaign (type) VALUES ('Email')`)
	w.cycle()
	if n := scalar[int](w, `SELECT count(*) FROM mirror.outbox WHERE object = 'Campaign' AND state = 'refused'`); n != 1 {
		t.Fatalf("%d campaigns without a name were refused, want 1", n)
	}
	w.exec(`DELETE FROM salesforce.campaign WHERE sfid IS NULL`)
	w.cycle()
	if n := scalar[int](w, `SELECT (SELECT count(*) FROM mirror.outbox) + (SELECT count(*) FROM mirror.refused WHERE direction = 'out')`); n != 0 {
		t.Errorf("%d traces of the deleted row wait", n)
	}
}
