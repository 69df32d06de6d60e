package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

var little = simorg.Config{Leads: 300, Contacts: 150, Accounts: 60, Opportunities: 40, Campaigns: 10, CampaignMembers: 120, Tasks: 150, Events: 60, Users: 8}

// clock is an org's clock that a test can set forward: the replication calls look at whole minutes.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// ended waits for a run's end and gives it.
func (w *world) ended(id int64) models.Run {
	w.t.Helper()
	var r models.Run
	w.until(fmt.Sprintf("run %d ended", id), func() bool {
		var err error
		r, err = w.models.Run(w.t.Context(), id)
		w.must(err)
		return !r.Active()
	})
	if r.State != models.RunSucceeded {
		w.t.Fatalf("%s of %s: %s %s %s", r.Kind, r.Object, r.State, r.ErrorCode, r.Error)
	}
	return r
}

// request asks for a run beside the cycle and waits for its end.
func (w *world) request(object string, kind models.RunKind) models.Run {
	w.t.Helper()
	r, err := w.models.RequestRun(w.t.Context(), object, kind, "test")
	w.must(err)
	return w.ended(r.ID)
}

// question waits until a person is asked about an object's deletions.
func (w *world) question(object string, deletions int64) models.Approval {
	w.t.Helper()
	var a models.Approval
	w.until(fmt.Sprintf("a person is asked about %d deletions of %s", deletions, object), func() bool {
		open, err := w.models.OpenApprovals(w.t.Context())
		w.must(err)
		for _, o := range open {
			if o.Kind == models.ApproveDeletions && o.Object == object && o.Counts["deletions"] == deletions {
				a = o
				return true
			}
		}
		return false
	})
	return a
}

// lastSweep waits until no sweep of the object is under way, and gives the last.
func (w *world) lastSweep(object string) models.Run {
	w.t.Helper()
	var r models.Run
	w.until("the sweep of "+object+" ended", func() bool {
		runs, err := w.models.Runs(w.t.Context(), models.RunFilter{Object: object, Kind: models.RunSweep, Limit: 1})
		w.must(err)
		if len(runs) == 0 || runs[0].Active() {
			return false
		}
		r = runs[0]
		return true
	})
	if r.State != models.RunSucceeded {
		w.t.Fatalf("the sweep of %s: %s %s %s", object, r.State, r.ErrorCode, r.Error)
	}
	return r
}

// counted checks that what the pages say of an object is what its table holds.
func (w *world) counted(object string) {
	w.t.Helper()
	table := pgx.Identifier{"salesforce", strings.ToLower(object)}.Sanitize()
	have := scalar[string](w, `SELECT records || ' ' || deleted FROM mirror.objects WHERE object = $1`, object)
	if want := scalar[string](w, `SELECT count(*) FILTER (WHERE NOT isdeleted) || ' ' || count(*) FILTER (WHERE isdeleted) FROM `+table); have != want {
		w.t.Errorf("%s: the account says %s, the table %s", object, have, want)
	}
}

func (w *world) marked(object, id string) bool {
	w.t.Helper()
	return scalar[bool](w, `SELECT isdeleted FROM `+pgx.Identifier{"salesforce", strings.ToLower(object)}.Sanitize()+` WHERE sfid = $1`, id)
}

// Undeleted, the mark goes; deleted again, it comes again; purged before it was seen, the record is known by the org's list. The
// counts are right at every step.
func TestUndeletes(t *testing.T) {
	t.Parallel()
	c := little
	var org clock
	c.Now = org.now
	w := newWorld(t, c)
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	a, purged, log := leads[0], leads[1], leads[2]
	for i, step := range []func() error{
		func() error { return w.org.Delete("Lead", a) },
		func() error { return w.org.Undelete(a) },
		func() error { return w.org.Delete("Lead", a) },
	} {
		w.must(step())
		w.cycle()
		if got, want := w.marked("Lead", a), i != 1; got != want {
			t.Errorf("step %d: marked is %v", i, got)
		}
		w.counted("Lead")
	}
	// Deleted and undeleted within one second, between two reads: the org's list still has the deletion.
	w.must(w.org.Delete("Lead", log))
	w.must(w.org.Undelete(log))
	w.must(w.org.Purge("Lead", purged))
	org.forward(3 * time.Minute)
	for i := 0; i < 12 && !w.marked("Lead", purged); i++ { // one of these objects a cycle
		w.cycle()
	}
	if !w.marked("Lead", purged) {
		t.Error("a record that was purged before it was seen is not marked after as many cycles as there are turns")
	}
	if w.marked("Lead", log) {
		t.Error("a record that was undeleted is marked, by a list that is older")
	}
	w.counted("Lead")
	if r := scalar[int64](w, `SELECT coalesce(sum(deleted), 0) FROM admin.runs WHERE object = 'Lead' AND kind = 'changes'`); r != 3 {
		t.Errorf("the runs say %d deleted, want 3", r)
	}
}

// The loser of a merge points to the survivor, through chains to the last; what pointed to it here points to the survivor as soon as the
// merge is seen, also what the org does not send again.
func TestMerges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	leads := w.ids("Lead")
	a, b, c := leads[0], leads[1], leads[2]
	campaigns := w.ids("Campaign")
	member, err := w.org.Create("CampaignMember", map[string]any{"CampaignId": campaigns[0], "LeadId": a, "Status": "Sent"})
	w.must(err)
	task, err := w.org.Create("Task", map[string]any{"WhoId": a, "Subject": "Call", "Status": "Not Started", "Priority": "Normal"})
	w.must(err)
	w.must(w.org.Update("Lead", b, map[string]any{"Title": nil}))
	w.work()
	w.cycle()
	ctx := t.Context()
	// What somebody wrote here and Salesforce has not got yet.
	_, err = w.pool.Exec(ctx, `UPDATE salesforce.lead SET title = 'Unsent', company = 'Unsent Ltd' WHERE sfid = $1`, a)
	w.must(err)
	company := scalar[string](w, `SELECT company FROM salesforce.lead WHERE sfid = $1`, b)
	w.must(w.org.Merge("Lead", b, a))
	// The children do not come.
	w.must(w.models.PauseObject(ctx, "CampaignMember", "test"))
	w.must(w.models.PauseObject(ctx, "Task", "test"))
	w.cycle()
	points := func() string {
		return scalar[string](w, `SELECT (SELECT leadid FROM salesforce.campaignmember WHERE sfid = $1) || ' ' || (SELECT whoid FROM salesforce.task WHERE sfid = $2)`, member, task)
	}
	if got := points(); got != b+" "+b {
		t.Errorf("what pointed to the loser points to %s, want %s", got, b)
	}
	if got := scalar[string](w, `SELECT masterrecordid || ' ' || isdeleted FROM salesforce.lead WHERE sfid = $1`, a); got != b+" true" {
		t.Errorf("the loser is %s", got)
	}
	if got := scalar[string](w, `SELECT title || ', ' || company FROM salesforce.lead WHERE sfid = $1`, b); got != "Unsent, "+company {
		t.Errorf("the survivor is %s, want it to have what it had not, and no other", got)
	}
	if got := scalar[string](w, `SELECT local || ', ' || remote || ', ' || winner FROM mirror.open_conflicts WHERE sfid = $1 AND field = 'Company'`, b); got != "Unsent Ltd, "+company+", salesforce" {
		t.Errorf("the conflict is %s", got)
	}
	w.must(w.org.Merge("Lead", c, b))
	w.cycle()
	if got := points(); got != c+" "+c {
		t.Errorf("after the second merge it points to %s, want %s", got, c)
	}
	if got := scalar[string](w, `SELECT string_agg(concat_ws(' ', kind, to_object, to_sfid), ', ' ORDER BY sfid = $2) FROM mirror.lineage WHERE object = 'Lead' AND sfid IN ($1, $2)`, a, b); got != "merged Lead "+c+", merged Lead "+c {
		t.Errorf("the lineage is %s", got)
	}
	w.must(w.models.ResumeObject(ctx, "CampaignMember", "test"))
	w.must(w.models.ResumeObject(ctx, "Task", "test"))
	w.cycle()
	for _, object := range []string{"CampaignMember", "Task"} {
		w.equalObject(object)
	}
	for _, object := range []string{"Lead", "CampaignMember", "Task"} {
		w.counted(object)
	}
	// Undeleted, a loser is a record of its own.
	w.must(w.org.Undelete(a))
	w.cycle()
	if n := scalar[int](w, `SELECT count(*) FROM mirror.lineage WHERE sfid = $1`, a); n != 0 || w.marked("Lead", a) {
		t.Error("an undeleted loser is still one")
	}
}

// Where the survivor's id is hidden, a merge is a deletion.
func TestMergeWithoutMasterRecordID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	w.org.HideField("Lead", "MasterRecordId")
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	w.must(w.org.Merge("Lead", leads[1], leads[0]))
	w.cycle()
	if !w.marked("Lead", leads[0]) || scalar[int](w, `SELECT count(*) FROM mirror.lineage WHERE sfid = $1`, leads[0]) != 0 {
		t.Error("the loser is not an ordinary deleted record")
	}
	w.counted("Lead")
}

// A converted lead stays, with its contact, and counts as one person, whatever it was converted into.
func TestConversions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	leads, contacts := w.ids("Lead"), w.ids("Contact")
	account := scalarOf(w, "Contact", contacts[0], "AccountId")
	w.work()
	w.cycle()
	people := scalar[int](w, `SELECT count(*) FROM salesforce.person`)
	_, err := w.pool.Exec(t.Context(), `UPDATE salesforce.lead SET title = 'Unsent', company = 'Unsent Ltd' WHERE sfid = $1`, leads[0])
	w.must(err)
	var all []simorg.Converted
	for i, into := range [][2]string{{"", ""}, {account, ""}, {account, contacts[0]}} {
		c, err := w.org.ConvertLeadInto(leads[i], "", into[0], into[1])
		w.must(err)
		all = append(all, c)
	}
	w.cycle()
	for i, c := range all {
		row := scalar[string](w, `SELECT concat_ws(' ', isconverted, isdeleted, convertedcontactid, convertedaccountid) FROM salesforce.lead WHERE sfid = $1`, c.LeadID)
		if want := fmt.Sprintf("true false %s %s", c.ContactID, c.AccountID); row != want && row != strings.NewReplacer("true", "t", "false", "f").Replace(want) {
			t.Errorf("lead %d is %s, want %s", i, row, want)
		}
		if got := scalar[string](w, `SELECT concat_ws(' ', kind, to_object, to_sfid) FROM mirror.lineage WHERE object = 'Lead' AND sfid = $1`, c.LeadID); got != "converted Contact "+c.ContactID {
			t.Errorf("the lineage of lead %d is %s", i, got)
		}
		if got := scalar[string](w, `SELECT string_agg(sfdc_type, ' ') FROM salesforce.person WHERE sfdc_id IN ($1, $2)`, c.LeadID, c.ContactID); got != "Contact" {
			t.Errorf("person %d is %s", i, got)
		}
	}
	if got := scalar[string](w, `SELECT title FROM salesforce.contact WHERE sfid = $1`, all[0].ContactID); got != "Unsent" {
		t.Errorf("the contact's title is %s, want what waited for the lead", got)
	}
	if got := scalar[string](w, `SELECT local || ', ' || winner FROM mirror.open_conflicts WHERE sfid = $1 AND field = 'Company'`, all[0].LeadID); got != "Unsent Ltd, salesforce" {
		t.Errorf("the conflict is %s", got)
	}
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.person`); got != people-1 {
		t.Errorf("there are %d people, want one less than %d: one lead became a contact that there was", got, people)
	}
	w.equalObject("Lead")
	w.counted("Lead")
	w.counted("Contact")
}

func scalarOf(w *world, object, id, field string) string {
	w.t.Helper()
	fields, ok := w.org.Get(object, id)
	if !ok {
		w.t.Fatalf("there is no %s %s", object, id)
	}
	s, _ := fields[field].(string)
	return s
}

// Archived activities are not deleted ones, to the changes, to a resync, and to a sweep, by REST and by Bulk.
func TestArchivedActivitiesLive(t *testing.T) {
	t.Parallel()
	c := little
	var org clock
	c.Now = org.now
	w := newWorld(t, c)
	w.config.BulkAbove = 100
	w.work()
	w.cycle()
	live := scalar[int](w, `SELECT count(*) FROM salesforce.task WHERE NOT isdeleted`)
	already := scalar[int](w, `SELECT count(*) FROM salesforce.task WHERE isarchived`)
	org.forward(370 * 24 * time.Hour)
	n, err := w.org.Archive()
	w.must(err)
	if n == 0 {
		t.Fatal("nothing was archived: this checks nothing")
	}
	w.cycle()
	w.request("Task", models.RunResync)
	w.lastSweep("Task")
	w.request("Event", models.RunSweep)
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.task WHERE NOT isdeleted`); got != live {
		t.Errorf("%d tasks live, want %d", got, live)
	}
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.task WHERE isarchived`); got <= already {
		t.Errorf("%d tasks are archived, want more than %d", got, already)
	}
	w.equalObject("Task")
	w.equalObject("Event")
}

// What was purged and that no list of deletions tells is found by comparing ids, by REST and by Bulk; it is found by itself when the
// org says that its list has lost some. Records that were never here, or came meanwhile, do not matter.
func TestSweepFindsWhatWasPurged(t *testing.T) {
	t.Parallel()
	for _, bulk := range []bool{false, true} {
		t.Run(fmt.Sprintf("bulk=%v", bulk), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, little)
			if bulk {
				w.config.BulkAbove, w.config.PageRows = 100, 70
			}
			w.work()
			w.cycle()
			leads := w.ids("Lead")
			for _, id := range leads[:7] {
				w.must(w.org.Purge("Lead", id))
			}
			w.must(w.org.TrimDeleteLog("Lead", time.Now().Add(time.Hour)))
			w.cycle()
			if w.marked("Lead", leads[0]) {
				t.Fatal("a purged record is marked before anything told of it: this checks nothing")
			}
			before := w.org.Calls().Total
			r := w.request("Lead", models.RunSweep)
			if r.Deleted != 7 || r.Read != int64(w.org.Count("Lead"))+countDeleted(w, "Lead")+7 {
				t.Errorf("the sweep read %d and found %d deleted, want 7", r.Read, r.Deleted)
			}
			for _, id := range leads[:7] {
				if !w.marked("Lead", id) {
					t.Errorf("%s is not marked", id)
				}
			}
			w.counted("Lead")
			if calls := w.org.Calls().Total - before; calls > 15 {
				t.Errorf("the sweep cost %d calls", calls)
			}
			if r = w.request("Lead", models.RunSweep); r.Deleted != 0 {
				t.Errorf("a second sweep found %d deleted", r.Deleted)
			}
			if n := scalar[int](w, `SELECT count(*) FROM pg_tables WHERE tablename LIKE 'swept%'`); n != 0 {
				t.Errorf("%d tables of sweeps are left", n)
			}
		})
	}
}

// countDeleted counts the records that the org has in its recycle bin.
func countDeleted(w *world, object string) int64 {
	w.t.Helper()
	var n int64
	w.must(w.org.Each(object, true, func(f map[string]any) error {
		if f["IsDeleted"] == true {
			n++
		}
		return nil
	}))
	return n
}

// An org that says that its list of deletions lost some, or does not answer for that time, has its ids compared, without being asked,
// once; so has one whose last comparison is a week old.
func TestSweepComesByItself(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world, org *clock) error{
		"earliest date": func(w *world, org *clock) error { return w.org.TrimDeleteLog("Lead", org.now()) },
		"no answer": func(w *world, _ *clock) error {
			_, err := w.org.EmptyRecycleBin("Lead", true)
			return err
		},
		"a week": func(w *world, _ *clock) error {
			if err := w.org.TrimDeleteLog("Lead", time.Now().Add(-time.Hour)); err != nil {
				return err
			}
			_, err := w.pool.Exec(w.t.Context(), `UPDATE mirror.watermarks SET swept_at = now() - interval '7 days' WHERE object = 'Lead'`)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := little
			var org clock
			c.Now = org.now
			w := newWorld(t, c)
			w.only("Lead")
			w.work()
			w.cycle()
			org.forward(10 * time.Minute)
			w.cycle()
			leads := w.ids("Lead")
			w.must(w.org.Purge("Lead", leads[0]))
			org.forward(3 * time.Minute)
			w.must(lose(w, &org))
			org.forward(3 * time.Minute)
			w.cycle()
			r := w.lastSweep("Lead")
			if !w.marked("Lead", leads[0]) {
				t.Error("what was purged is not marked")
			}
			w.counted("Lead")
			for range 3 {
				org.forward(10 * time.Minute)
				w.cycle()
			}
			if last := w.lastSweep("Lead"); last.ID != r.ID {
				t.Errorf("the ids are compared again: %s", last.RequestedBy)
			}
		})
	}
}

// A record whose id did not come is asked for by its id, and one that no longer meets the row filter is not missed: both live.
func TestSweepAsksBeforeItDeletes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	w.config.BulkAbove, w.config.PageRows = 100, 70
	w.only("Lead")
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	// The org gives an incomplete result that looks complete.
	ctx := t.Context()
	run, err := w.models.RequestRun(ctx, "Lead", models.RunSweep, "test")
	w.must(err)
	remove := w.org.Fault(simorg.Fault{Path: `jobs/query/[^/]+/results`, Delay: 300 * time.Millisecond})
	w.until("ids come in", func() bool { return scalar[int](w, `SELECT coalesce(max(page), 0) FROM mirror.sweeps`) > 0 })
	_, err = w.pool.Exec(ctx, fmt.Sprintf(`DELETE FROM mirror.swept_%d WHERE sfid = ANY($1)`, run.ID), leads)
	w.must(err)
	remove()
	r := w.ended(run.ID)
	if r.Deleted != 0 {
		t.Errorf("%d records were deleted because an id did not come", r.Deleted)
	}
	_, err = w.pool.Exec(ctx, `UPDATE admin.objects SET row_filter = $1 WHERE name = 'Lead'`, "Id = '"+leads[0]+"'")
	w.must(err)
	resync, err := w.models.RequestResync(ctx, "Lead", "test")
	w.must(err)
	if r := w.ended(resync.ID); r.Read != 1 || r.Deleted != 0 {
		t.Errorf("by the filter %d records were read and %d deleted, want one and none", r.Read, r.Deleted)
	}
	if r := w.lastSweep("Lead"); r.Deleted != 0 || r.Read < int64(len(leads)) {
		t.Errorf("the sweep after it read %d ids and deleted %d records, want all and none", r.Read, r.Deleted)
	}
	w.equalObject("Lead")
	w.counted("Lead")
}

// A resync goes on beside the cycle, whose changes arrive meanwhile, both by Bulk; what it did not see is settled after it.
func TestResyncBesideTheCycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	w.config.BulkAbove, w.config.PageRows = 50, 40
	w.only("Lead")
	w.work()
	w.cycle()
	ctx := t.Context()
	leads := w.ids("Lead")
	w.must(w.org.Purge("Lead", leads[0]))
	w.must(w.org.TrimDeleteLog("Lead", time.Now().Add(time.Hour)))
	remove := w.org.Fault(simorg.Fault{Path: `jobs/query/[^/]+/results`, Delay: 400 * time.Millisecond})
	resync, err := w.models.RequestResync(ctx, "Lead", "test")
	w.must(err)
	w.until("the resync reads", func() bool {
		return scalar[int](w, `SELECT count(*) FROM mirror.load_pages p JOIN mirror.loads l ON l.id = p.load_id WHERE l.kind = 'resync' AND p.done_at IS NOT NULL`) > 0
	})
	for _, id := range leads[1:100] {
		w.must(w.org.Update("Lead", id, map[string]any{"Title": "Changed meanwhile"}))
	}
	w.must(w.org.Delete("Lead", leads[100]))
	w.cycle()
	r, err := w.models.Run(ctx, resync.ID)
	w.must(err)
	if !r.Active() {
		t.Error("the resync was over before the cycle: this checks nothing")
	}
	if n := scalar[int](w, `SELECT count(DISTINCT kind) FROM mirror.loads WHERE kind IN ('resync', 'changes')`); n != 2 {
		t.Errorf("%d kinds of bulk reads, want the cycle's beside the resync's", n)
	}
	if n := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE title = 'Changed meanwhile'`); n != 99 || !w.marked("Lead", leads[100]) {
		t.Errorf("%d changes arrived beside the resync, want 99 and a deletion", n)
	}
	remove()
	w.ended(resync.ID)
	w.lastSweep("Lead")
	if !w.marked("Lead", leads[0]) {
		t.Error("what the resync did not see is not marked")
	}
	w.counted("Lead")
	w.cycle()
	w.counted("Lead")
}

// An object whose records do not say that they are deleted loses the row of a deleted one: by the org's list, and where that is
// refused by a sweep. What is refused is not asked again in every cycle.
func TestGroupsGo(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused=%v", refused), func(t *testing.T) {
			t.Parallel()
			c := little
			var org clock
			c.Now = org.now
			w := newWorld(t, c)
			w.only("Group")
			if refused {
				for _, call := range []string{"deleted", "updated"} {
					w.org.Fault(simorg.Fault{Path: "/" + call + "/", Status: 400, Code: "UNSUPPORTED_API_OPERATION", Message: "no " + call})
				}
			}
			w.work()
			w.cycle()
			w.cycle()
			group := w.ids("Group")[0]
			w.must(w.org.Purge("Group", group))
			org.forward(3 * time.Minute)
			w.cycle()
			there := func() bool {
				return scalar[int](w, `SELECT count(*) FROM salesforce."group" WHERE sfid = $1`, group) == 1
			}
			if refused {
				if !there() {
					t.Fatal("the row went without proof")
				}
				for range 2 {
					for _, r := range w.cycle() {
						if r.APICalls != 1 {
							t.Errorf("a cycle without changes cost %d calls, want the query alone", r.APICalls)
						}
					}
				}
				_, err := w.pool.Exec(t.Context(), `UPDATE mirror.watermarks SET swept_at = now() - interval '1 day' WHERE object = 'Group'`)
				w.must(err)
				w.cycle()
				w.lastSweep("Group")
				org.forward(25 * time.Hour)
				for _, r := range w.cycle() {
					if r.APICalls != 3 {
						t.Errorf("a day later a cycle cost %d calls, want what was refused asked again", r.APICalls)
					}
				}
			}
			if there() {
				t.Error("the row of a deleted group is still there")
			}
			if got, want := scalar[int](w, `SELECT records::int FROM mirror.objects WHERE object = 'Group'`), scalar[int](w, `SELECT count(*) FROM salesforce."group"`); got != want {
				t.Errorf("the account says %d, the table %d", got, want)
			}
		})
	}
}

// More deletions at once than the brake lets through wait for a person, on every way on which they come: by changes of records, by
// REST and by Bulk, by the org's list, by a sweep, and by a resync. Other objects and the object's own changes go on. No leaves them
// alone, and is not asked again in the next cycle; yes carries them out.
func TestBrake(t *testing.T) {
	t.Parallel()
	type way struct {
		bulk  int
		purge bool
		read  func(w *world, org *clock)
	}
	cycle := func(w *world, _ *clock) { w.cycle() }
	for name, c := range map[string]way{
		"changes by REST": {400, false, cycle},
		"changes by Bulk": {20, false, cycle},
		"list": {400, true, func(w *world, org *clock) {
			org.forward(3 * time.Minute)
			w.cycle()
		}},
		"sweep": {400, true, func(w *world, org *clock) {
			w.must(w.org.TrimDeleteLog("Lead", org.now().Add(-time.Hour)))
			_, err := w.models.RequestRun(w.t.Context(), "Lead", models.RunSweep, "test")
			w.must(err)
		}},
		"resync": {100, true, func(w *world, _ *clock) {
			r, err := w.models.RequestResync(w.t.Context(), "Lead", "test")
			w.must(err)
			w.ended(r.ID)
		}},
	} {
		for _, yes := range []bool{true, false} {
			if !yes && name != "changes by REST" && name != "resync" {
				continue // what follows upon an answer is one for all ways
			}
			t.Run(fmt.Sprintf("%s, yes=%v", name, yes), func(t *testing.T) {
				t.Parallel()
				conf := little
				var org clock
				conf.Now = org.now
				w := newWorld(t, conf)
				w.config.BulkAbove, w.config.PageRows, w.config.AnswerPoll = c.bulk, 100, 100*time.Millisecond
				w.only("Lead")
				w.work()
				w.cycle()
				ctx := t.Context()
				leads := w.ids("Lead")
				live := scalar[int64](w, `SELECT records FROM mirror.objects WHERE object = 'Lead'`)
				const n = 50
				for _, id := range leads[:n] {
					if c.purge {
						w.must(w.org.Purge("Lead", id))
					} else {
						w.must(w.org.Delete("Lead", id))
					}
				}
				c.read(w, &org)
				a := w.question("Lead", n)
				if a.Counts["records"] != live {
					t.Errorf("the question says %v, want %d of %d records", a.Counts, n, live)
				}
				marked := func() int64 {
					return scalar[int64](w, `SELECT count(*) FROM salesforce.lead WHERE isdeleted AND sfid = ANY($1)`, leads[:n])
				}
				if got := marked(); got != 0 {
					t.Errorf("%d records are marked before anybody said yes", got)
				}
				w.until("the run waits", func() bool {
					return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Lead' AND phase = 'waiting' AND ended_at IS NULL`) == 1
				})
				// The object's own changes go on.
				w.must(w.org.Update("Lead", leads[n], map[string]any{"Title": "Meanwhile"}))
				w.cycle()
				if got := scalar[*string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, leads[n]); got == nil || *got != "Meanwhile" {
					t.Error("a change does not arrive while a person is asked")
				}
				w.counted("Lead")
				_, err := w.models.AnswerApproval(ctx, a.ID, yes, "admin")
				w.must(err)
				r := w.lastSweep("Lead")
				want := int64(0)
				if yes {
					want = n
				}
				if got := marked(); got != want || r.Deleted != want {
					t.Errorf("%d records are marked and the run says %d, want %d", got, r.Deleted, want)
				}
				w.counted("Lead")
				w.cycle()
				w.cycle()
				if open, err := w.models.OpenApprovals(ctx); err != nil || len(open) != 0 {
					t.Errorf("asked again: %v, %v", open, err)
				}
				if got := marked(); got != want {
					t.Errorf("two cycles later %d records are marked, want %d", got, want)
				}
				if !yes && name == "resync" {
					r, err := w.models.RequestResync(ctx, "Lead", "test")
					w.must(err)
					w.ended(r.ID)
					w.question("Lead", n)
				}
			})
		}
	}
}

// A sweep that waits for an answer holds up no sweep of other objects; of its own object it compares anew when that is due, and the
// question that is open gets the new number.
func TestASweepThatWaitsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	w.config.AnswerPoll = 100 * time.Millisecond
	w.exec(`UPDATE admin.objects SET enabled = false WHERE name NOT IN ('Lead', 'Contact')`)
	w.work()
	w.cycle()
	purge := func(object string, ids []string) {
		t.Helper()
		for _, id := range ids {
			w.must(w.org.Purge(object, id))
		}
		w.must(w.org.TrimDeleteLog(object, time.Now().Add(-time.Hour)))
	}
	leads, contacts := w.ids("Lead"), w.ids("Contact")
	purge("Lead", leads[:50])
	run, err := w.models.RequestRun(t.Context(), "Lead", models.RunSweep, "test")
	w.must(err)
	first := w.question("Lead", 50)
	purge("Contact", contacts[:3])
	if r := w.request("Contact", models.RunSweep); r.Deleted != 3 {
		t.Errorf("while leads wait for an answer the sweep of contacts found %d, want 3", r.Deleted)
	}
	purge("Lead", leads[50:70])
	w.exec(`UPDATE mirror.watermarks SET swept_at = now() - interval '8 days' WHERE object = 'Lead'`)
	w.cycle()
	second := w.question("Lead", 70)
	if n := scalar[int](w, `SELECT count(*) FROM admin.approvals WHERE kind = 'deletions'`); second.ID != first.ID || n != 1 {
		t.Errorf("%d questions were asked, want the one with its new number", n)
	}
	_, err = w.models.AnswerApproval(t.Context(), second.ID, true, "admin")
	w.must(err)
	if r := w.ended(run.ID); r.Deleted != 70 {
		t.Errorf("%d were deleted after the yes, want 70", r.Deleted)
	}
	// Where most come back before anybody answered, what is left would not have been stopped: it is done, and the question withdrawn.
	for _, id := range leads[70:120] {
		w.must(w.org.Delete("Lead", id))
	}
	w.cycle()
	w.question("Lead", 50)
	for _, id := range leads[75:120] {
		w.must(w.org.Undelete(id))
	}
	w.cycle()
	w.until("what is left is deleted and nothing is asked", func() bool {
		return scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE isdeleted AND sfid = ANY($1)`, leads[70:120]) == 5 &&
			scalar[int](w, `SELECT count(*) FROM admin.approvals WHERE answered_at IS NULL`) == 0
	})
}

// A transaction that the engine's waits for, and that waits for the engine's, breaks the engine's off; the piece is done again, and nothing failed.
func TestWhoCollidesTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.only("Lead")
	w.work()
	w.cycle()
	lead := w.ids("Lead")[0]
	converted, err := w.org.ConvertLeadInto(lead, "", "", "")
	w.must(err)
	tx, err := w.pool.Begin(t.Context())
	w.must(err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `INSERT INTO mirror.lineage (object, sfid, kind, to_object, to_sfid, via) VALUES ('Lead', $1, 'converted', 'Contact', 'x', 'x')`, lead)
	w.must(err)
	cycled := make(chan []models.Run, 1)
	go func() { cycled <- w.cycle() }()
	w.until("the engine waits for the other transaction", func() bool {
		return scalar[bool](w, `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database() AND a.query LIKE 'INSERT INTO mirror.lineage%')`)
	})
	_, err = tx.Exec(t.Context(), `SELECT FROM salesforce.lead WHERE sfid = $1 FOR UPDATE`, lead)
	w.must(err)
	w.must(tx.Rollback(t.Context()))
	for _, r := range <-cycled {
		if r.State != models.RunSucceeded {
			t.Errorf("the run of %s %s: %s", r.Object, r.State, r.Error)
		}
	}
	if got := scalar[string](w, `SELECT to_sfid FROM mirror.lineage WHERE object = 'Lead' AND sfid = $1`, lead); got != converted.ContactID {
		t.Errorf("the lead became %s, want %s", got, converted.ContactID)
	}
	if n := scalar[int](w, `SELECT count(*) FROM queue.river_job WHERE cardinality(errors) > 0`); n != 0 {
		t.Errorf("%d pieces of work failed", n)
	}
}

// Records that are hidden from the user by sharing cannot be told from purged ones: they count as deleted, and it is said of them that
// they may only be hidden. Shared again, or for the first time, they come although no stamp moved; with a filter only those that meet it.
func TestHiddenBySharingAndBack(t *testing.T) {
	t.Parallel()
	for name, filter := range map[string]string{"all": "", "filter": "Company != 'Left out'"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var org clock
			c := sendSmall
			c.Now = org.now
			w := newWorld(t, c)
			w.only("Lead")
			w.exec(`UPDATE admin.objects SET row_filter = $1 WHERE name = 'Lead'`, filter)
			connection, err := w.models.Connection(t.Context())
			w.must(err)
			user := connection.UserName
			w.must(w.org.SetPrivate(user, "Lead", true))
			share := func(shared bool, ids ...string) {
				t.Helper()
				for _, id := range ids {
					w.must(w.org.Share(user, "Lead", id, shared))
				}
			}
			var all []string
			w.must(w.org.Each("Lead", true, func(f map[string]any) error { all = append(all, f["Id"].(string)); return nil }))
			share(true, all...)
			create := func(company string) string {
				id, err := w.org.Create("Lead", map[string]any{"LastName": "Unseen", "Company": company})
				w.must(err)
				return id
			}
			unseen, leftOut := create("Let in"), create("Left out")
			w.work()
			w.cycle()
			leads := w.ids("Lead")
			hidden := leads[:3]
			share(false, hidden...)
			// Readings of changes no longer look back to any of these.
			org.forward(time.Hour)
			w.cycle()
			if r := w.request("Lead", models.RunSweep); r.Deleted != 3 {
				t.Errorf("the sweep found %d gone, want the three that are hidden", r.Deleted)
			}
			vanished := func() string {
				return scalar[string](w, `SELECT coalesce(string_agg(sfid, ',' ORDER BY sfid), '') FROM mirror.vanished WHERE object = 'Lead'`)
			}
			if got := vanished(); got != strings.Join(hidden, ",") {
				t.Errorf("gone or hidden are %q, want %q", got, hidden)
			}
			record, err := w.models.Record(t.Context(), "Lead", hidden[0])
			w.must(err)
			if !record.Deleted || record.VanishedAt == nil {
				t.Errorf("the record's page does not know that it is gone or hidden: deleted %t, %v", record.Deleted, record.VanishedAt)
			}
			w.counted("Lead")

			share(true, hidden[0], unseen, leftOut)
			w.cycle()
			r := w.request("Lead", models.RunSweep)
			wantNew := int64(2)
			if filter != "" {
				wantNew = 1
			}
			if r.Changed != 1 || r.New != wantNew {
				t.Errorf("the sweep brought %d back and %d anew, want one and %d", r.Changed, r.New, wantNew)
			}
			if w.marked("Lead", hidden[0]) || w.marked("Lead", unseen) || vanished() != strings.Join(hidden[1:], ",") {
				t.Errorf("what is shared is marked still; gone or hidden are %q", vanished())
			}
			if n := scalar[int64](w, `SELECT count(*) FROM salesforce.lead WHERE sfid = $1`, leftOut); n != wantNew-1 {
				t.Errorf("%d records are here that the filter leaves out", n)
			}
			w.counted("Lead")
			if r := w.request("Lead", models.RunSweep); r.New+r.Changed+r.Deleted != 0 {
				t.Errorf("a second sweep found %+v", r)
			}
		})
	}
}

// Where the admin chose so the rows of deleted records go; the runs count them as deleted, and the lineage is kept.
func TestDeletedRowsAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	w.only("Lead")
	_, err := w.pool.Exec(t.Context(), `UPDATE admin.objects SET on_deleted = 'remove' WHERE name = 'Lead'`)
	w.must(err)
	leads := w.ids("Lead")
	w.must(w.org.Delete("Lead", leads[9]))
	w.work()
	w.cycle()
	there := func(id string) bool {
		return scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE sfid = $1`, id) == 1
	}
	if there(leads[9]) {
		t.Error("a record that was deleted before the first read has a row")
	}
	w.must(w.org.Delete("Lead", leads[0]))
	w.must(w.org.Merge("Lead", leads[2], leads[1]))
	for _, r := range w.cycle() {
		if r.Deleted != 2 {
			t.Errorf("%s: %d deleted, want 2", r.Object, r.Deleted)
		}
	}
	if there(leads[0]) || there(leads[1]) {
		t.Error("the row of a deleted record is still there")
	}
	if got := scalar[string](w, `SELECT to_sfid FROM mirror.lineage WHERE sfid = $1`, leads[1]); got != leads[2] {
		t.Errorf("the lineage of the loser leads to %s", got)
	}
	w.counted("Lead")
	w.must(w.org.Undelete(leads[0]))
	for _, r := range w.cycle() {
		if r.New != 1 || r.Deleted != 0 {
			t.Errorf("%s: %d new, %d deleted, want the one that was undeleted", r.Object, r.New, r.Deleted)
		}
	}
	if !there(leads[0]) {
		t.Error("an undeleted record does not come back")
	}
	w.counted("Lead")
}

// A sweep that fails is not made again in every cycle, and what made it wanted is not forgotten.
func TestFailedSweepBacksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	w.only("Lead")
	w.work()
	w.cycle()
	ctx := t.Context()
	w.must(w.mirror.WantSweep(ctx, "Lead"))
	remove := w.org.Fault(simorg.Fault{Path: "SELECT.(Id,IsDeleted).FROM", Status: 400, Code: "MALFORMED_QUERY", Message: "no"})
	w.cycle()
	w.until("the sweep failed", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE kind = 'sweep' AND state = 'failed'`) == 1
	})
	w.cycle()
	w.cycle()
	if n := scalar[int](w, `SELECT count(*) FROM admin.runs WHERE kind = 'sweep'`); n != 1 {
		t.Errorf("%d sweeps within two cycles, want the one that failed", n)
	}
	remove()
	_, err := w.pool.Exec(ctx, `UPDATE admin.runs SET ended_at = ended_at - interval '6 hours' WHERE kind = 'sweep'`)
	w.must(err)
	w.cycle()
	if r := w.lastSweep("Lead"); r.Read == 0 {
		t.Error("the sweep that was wanted was not made")
	}
	m, err := w.mirror.Watermark(ctx, "Lead")
	if err != nil || m.SweepWanted {
		t.Errorf("after it one is still wanted: %v, %v", m.SweepWanted, err)
	}
}

// The org's list of deletions keeps records that were undeleted since; they are asked for by their ids and live.
func TestListOfDeletionsIsVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, little)
	w.only("Lead")
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	w.must(w.org.Purge("Lead", leads[1]))
	const stamp = "2006-01-02T15:04:05.000+0000"
	now := time.Now().UTC()
	listed := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"deletedDate":%q}`, id, now.Add(time.Minute).Format(stamp))
	}
	w.org.Fault(simorg.Fault{Path: "/Lead/deleted/", Status: 200, ContentType: "application/json", Body: fmt.Sprintf(
		`{"deletedRecords":[%s,%s],"earliestDateAvailable":%q,"latestDateCovered":%q}`, listed(leads[0]), listed(leads[1]), now.Add(-240*time.Hour).Format(stamp), now.Format(stamp))})
	w.cycle()
	if !w.marked("Lead", leads[1]) {
		t.Fatal("the list was not read: this checks nothing")
	}
	if w.marked("Lead", leads[0]) {
		t.Error("a record that lives is marked because a list has it")
	}
	w.counted("Lead")
}
