package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

var small = simorg.Config{Leads: 1100, Contacts: 600, Accounts: 120, Opportunities: 100, Campaigns: 20, CampaignMembers: 450, Tasks: 700, Events: 120, Users: 20}

// The first cycle copies everything that the user sees, by REST and by Bulk, and the second changes nothing.
func TestFirstSyncCopiesTheOrg(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	for _, r := range w.cycle() {
		if r.Kind != models.RunFirstSync || r.Refused != 0 {
			t.Errorf("%s: %s with %d refused, want a first sync with none", r.Object, r.Kind, r.Refused)
		}
		if rows := scalar[int64](w, `SELECT count(*) FROM salesforce.`+pgx.Identifier{strings.ToLower(r.Object)}.Sanitize()); r.Read != rows || r.New != rows {
			t.Errorf("%s: the run says %d read and %d new, the table has %d", r.Object, r.Read, r.New, rows)
		}
	}
	w.equal()
	converted := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE isconverted AND convertedcontactid IS NOT NULL`)
	if followed := scalar[int](w, `SELECT count(*) FROM mirror.lineage WHERE object = 'Lead' AND kind = 'converted'`); converted == 0 || followed != converted {
		t.Errorf("%d of %d converted leads lead to their contacts", followed, converted)
	}
	before := w.org.Calls().Total
	for _, r := range w.cycle() {
		if r.Kind != models.RunChanges || r.New+r.Changed+r.Deleted != 0 {
			t.Errorf("%s: %s with %d new, %d changed, %d deleted, want changes with none", r.Object, r.Kind, r.New, r.Changed, r.Deleted)
		}
	}
	w.cycle()
	between := w.org.Calls().Total
	w.cycle()
	// What an idle cycle may cost: a call an object, and five.
	if calls, most := w.org.Calls().Total-between, len(models.StandardObjects)+5; calls > most {
		t.Errorf("a cycle without changes cost %d calls, want at most %d (the second cycles cost %d)", calls, most, between-before)
	}
}

// An edit, a new record and a deletion in the org are here after the next cycle; so is one that committed late, with a stamp
// from before the watermark.
func TestChangesArriveAtTheNextCycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()

	leads := w.ids("Lead")
	late := w.org.Begin()
	if err := late.Update("Lead", leads[3], map[string]any{"Title": "Committed late"}); err != nil {
		t.Fatal(err)
	}
	if err := w.org.Update("Lead", leads[1], map[string]any{"Title": "Édité, \"quoted\"\r\nand broken"}); err != nil {
		t.Fatal(err)
	}
	if err := w.org.Delete("Lead", leads[2]); err != nil {
		t.Fatal(err)
	}
	created, err := w.org.Create("Contact", map[string]any{"LastName": "Okafor", "FirstName": "Ngozi"})
	if err != nil {
		t.Fatal(err)
	}
	// Stamps have whole seconds: the watermark must get past the late one's.
	time.Sleep(2100 * time.Millisecond)
	w.cycle()
	if got := scalar[string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, leads[1]); !strings.HasPrefix(got, "Édité") {
		t.Errorf("the edited lead's title is %q", got)
	}
	if !scalar[bool](w, `SELECT isdeleted FROM salesforce.lead WHERE sfid = $1`, leads[2]) {
		t.Error("the deleted lead is not marked")
	}
	if scalar[int](w, `SELECT count(*) FROM salesforce.contact WHERE sfid = $1`, created) != 1 {
		t.Error("the new contact is not there")
	}
	if got := scalar[*string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, leads[3]); got != nil && *got == "Committed late" {
		t.Error("an uncommitted edit is already there: the simulated org shows what it should not")
	}
	if err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if got := scalar[*string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, leads[3]); got == nil || *got != "Committed late" {
		t.Errorf("the late lead's title is %v", got)
	}
	w.equal()
}

// A transaction that stays open far longer than the look-back is not missed either: the org says how far reading is complete.
func TestAVeryLateCommitIsNotMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.config.LookBack = time.Second
	leads := w.ids("Lead")
	late := w.org.Begin()
	if err := late.Update("Lead", leads[3], map[string]any{"Title": "Committed very late"}); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.cycle()
	for range 3 {
		time.Sleep(1100 * time.Millisecond)
		w.cycle()
	}
	if err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if got := scalar[*string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, leads[3]); got == nil || *got != "Committed very late" {
		t.Errorf("the late lead's title is %v", got)
	}
}

// Many changes at once come by Bulk, and like few.
func TestManyChangesComeByBulk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	for _, id := range leads[:1000] {
		if err := w.org.Update("Lead", id, map[string]any{"Title": "Changed with a thousand others"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range w.cycle() {
		if r.Object == "Lead" && (r.Changed != 1000 || r.New != 0) {
			t.Errorf("Lead: %d changed, %d new, want 1000 and none", r.Changed, r.New)
		}
	}
	w.equalObject("Lead")
}

// A resync reads everything again beside the cycle, finds what was spoilt here, and writes nothing else. Asked twice, it is one run.
func TestResyncMendsTheMirror(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	stop := w.work()
	w.cycle()
	stop()
	ctx := t.Context()
	tx, err := w.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`SELECT set_config('tandem.engine', 'on', true)`, `UPDATE salesforce.lead SET title = 'spoilt' WHERE id % 100 = 0`, `DELETE FROM salesforce.lead WHERE id % 100 = 1`} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	first, err := w.models.RequestResync(ctx, "Lead", "test")
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.models.RequestResync(ctx, "Lead", "test")
	if err != nil || second.ID != first.ID {
		t.Errorf("a second request gave run %d, %v, want run %d", second.ID, err, first.ID)
	}
	w.work()
	w.until("the resync ended", func() bool {
		r, err := w.models.Run(ctx, first.ID)
		if err != nil {
			t.Fatal(err)
		}
		return !r.Active()
	})
	r, err := w.models.Run(ctx, first.ID)
	if err != nil || r.State != models.RunSucceeded {
		t.Fatalf("the resync ended as %s %s %s, %v", r.State, r.ErrorCode, r.Error, err)
	}
	if r.Changed == 0 || r.New == 0 || r.Changed+r.New > 100 {
		t.Errorf("the resync wrote %d changed and %d new, want those that were spoilt", r.Changed, r.New)
	}
	w.equalObject("Lead")
}
