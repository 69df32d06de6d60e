package engine_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// asEngine writes past Tandem, as nobody should: with the engine's own setting, so that nothing is captured.
func (w *world) asEngine(sql string, args ...any) {
	w.t.Helper()
	tx, err := w.pool.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(w.t.Context()) }()
	if _, err = tx.Exec(w.t.Context(), `SELECT set_config('tandem.engine', 'on', true)`); err == nil {
		_, err = tx.Exec(w.t.Context(), sql, args...)
	}
	if err == nil {
		err = tx.Commit(w.t.Context())
	}
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// runsOut waits for a run's end.
func (w *world) runsOut(r models.Run, err error) models.Run {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.until(fmt.Sprintf("run %d of %s ended", r.ID, r.Object), func() bool {
		if r, err = w.models.Run(w.t.Context(), r.ID); err != nil {
			w.t.Fatal(err)
		}
		return !r.Active()
	})
	return r
}

// check compares an object with the org and gives what was found.
func (w *world) check(object string) (models.CheckStatus, []models.Difference) {
	w.t.Helper()
	r := w.runsOut(w.models.RequestCheck(w.t.Context(), object, "test"))
	if r.State != models.RunSucceeded {
		w.t.Fatalf("the check of %s %s: %s", object, r.State, r.Error)
	}
	c, err := w.models.LastCheck(w.t.Context(), object)
	if err != nil || c.RunID != r.ID {
		w.t.Fatalf("the check of %s left %+v, %v", object, c, err)
	}
	d, err := w.models.Differences(w.t.Context(), object, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, d
}

func told(d models.Difference) string {
	text := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	return fmt.Sprintf("%s %s %s: %s / %s", d.Kind, d.SFID, d.Field, text(d.Here), text(d.There))
}

// A check finds what somebody changed past Tandem, record by record and field by field, and nothing else; what it found is mended on
// request, and what the org does not have is not deleted for that.
func TestCheckFindsAndMends(t *testing.T) {
	t.Parallel()
	for _, bulk := range []bool{false, true} {
		t.Run(fmt.Sprintf("bulk %v", bulk), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, simorg.Config{Leads: 450, Contacts: 30, Accounts: 10, Opportunities: 10, Campaigns: 2, CampaignMembers: 10, Tasks: 20, Events: 10, Users: 5})
			w.config.PageRows = 100
			if !bulk {
				w.config.BulkAbove = 2000
			}
			w.work()
			w.cycle()
			leads := w.ids("Lead")
			// A deletion and an archive are not differences; they are here as they are there.
			if err := w.org.Delete("Lead", leads[9]); err != nil {
				t.Fatal(err)
			}
			w.cycle()
			records := scalar[int64](w, `SELECT count(*) FROM salesforce.lead`)
			c, d := w.check("Lead")
			if len(d) != 0 || !c.Same() || c.Here != records || c.There != records || c.RangesDiffer != 0 || c.Suspects != 0 {
				t.Fatalf("equal sides: %+v, %v", c, d)
			}

			w.asEngine(`UPDATE salesforce.lead SET city = 'Elsewhere', numberofemployees = 17, systemmodstamp = systemmodstamp + interval '1 day' WHERE sfid = $1`, leads[1])
			w.asEngine(`DELETE FROM salesforce.lead WHERE sfid = $1`, leads[2])
			w.asEngine(`INSERT INTO salesforce.lead (sfid, lastname) VALUES ('00QZZ0000000001AAA', 'Ghost')`)
			w.asEngine(`UPDATE salesforce.lead SET isdeleted = true WHERE sfid = $1`, leads[3])
			c, d = w.check("Lead")
			var got []string
			for _, x := range d {
				if x.Field != "SystemModstamp" && x.Field != "NumberOfEmployees" {
					got = append(got, told(x))
				}
			}
			org, _ := w.org.Get("Lead", leads[1])
			want := []string{
				fmt.Sprintf("differs %s City: Elsewhere / %v", leads[1], org["City"]),
				fmt.Sprintf("missing %s : null / null", leads[2]),
				fmt.Sprintf("differs %s IsDeleted: t / false", leads[3]),
				"extra 00QZZ0000000001AAA : null / null",
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || len(d) != 6 || c.Differing != 4 || c.Same() || c.RangesDiffer == 0 {
				t.Errorf("found %d: %v\nwant %v\n%+v", len(d), got, want, c)
			}

			if r := w.runsOut(w.models.RequestMend(t.Context(), "Lead", "test")); r.State != models.RunSucceeded || r.Changed != 3 || r.Refused != 1 {
				t.Errorf("mending: %s, %d mended, %d left: %s", r.State, r.Changed, r.Refused, r.Error)
			}
			if d, err := w.models.Differences(t.Context(), "Lead", 10); err != nil || len(d) != 1 || d[0].Kind != "extra" {
				t.Errorf("after mending %v differ, %v", d, err)
			}
			if n := scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Lead' AND kind = 'sweep'`); n != 1 {
				t.Errorf("%d sweeps were asked for, want one for the record that the org does not have", n)
			}
			w.asEngine(`DELETE FROM salesforce.lead WHERE sfid = '00QZZ0000000001AAA'`)
			w.equalObject("Lead")
			if c, d := w.check("Lead"); !c.Same() || len(d) != 0 {
				t.Errorf("mended, %+v %v", c, d)
			}
			if n := scalar[int](w, `SELECT (SELECT count(*) FROM mirror.check_seen) + (SELECT count(*) FROM mirror.check_suspects)`); n != 0 {
				t.Errorf("%d rows of scratch are left", n)
			}
		})
	}
}

// What changes in the org while it is compared, before or during, is no difference: each is looked at again after a catch-up.
func TestCheckOfAnOrgAtWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simorg.Config{Leads: 450, Contacts: 30, Accounts: 10, Opportunities: 10, Campaigns: 2, CampaignMembers: 10, Tasks: 20, Events: 10, Users: 5})
	w.config.PageRows = 100
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	update := func(id, city string) {
		if err := w.org.Update("Lead", id, map[string]any{"City": city}); err != nil {
			t.Error(err)
		}
	}
	// The mirror is behind by these, and one committed late.
	for i := range 20 {
		update(leads[i], "Before")
	}
	w.asEngine(`UPDATE salesforce.lead SET city = 'Wrong' WHERE sfid = $1`, leads[400])
	stop := make(chan struct{})
	var people sync.WaitGroup
	people.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				update(leads[30+i%300], fmt.Sprint("During ", i))
				update(leads[25], fmt.Sprint("Always ", i))
			}
		}
	})
	c, d := w.check("Lead")
	close(stop)
	people.Wait()
	if c.Suspects < 20 || len(d) != 1 || d[0].SFID != leads[400] || d[0].Field != "City" {
		t.Errorf("%+v\n%v\nwant the one wrong city alone", c, d)
	}
}

// Edits that wait to be sent, deletions that wait, and records that are deleted here and purged there are explained; a formula that
// changed without a stamp is read again, and told apart from what differs.
func TestCheckKnowsWhatIsNoDifference(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	w.asEngine(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed) SELECT 'Lead', id, sfid, 'update', '{"city": null}', '{"city": "Mine"}' FROM salesforce.lead WHERE sfid = $1`, leads[0])
	w.asEngine(`UPDATE salesforce.lead SET city = 'Mine' WHERE sfid = $1`, leads[0])
	w.asEngine(`INSERT INTO mirror.conflicts (object, row_id, sfid, field, winner, reason) SELECT 'Lead', id, sfid, 'Title', '', 'both' FROM salesforce.lead WHERE sfid = $1`, leads[1])
	w.asEngine(`UPDATE salesforce.lead SET title = 'Asked' WHERE sfid = $1`, leads[1])
	w.asEngine(`INSERT INTO mirror.outbox (object, row_id, sfid, operation) SELECT 'Lead', id, sfid, 'delete' FROM salesforce.lead WHERE sfid = $1`, leads[2])
	w.asEngine(`DELETE FROM salesforce.lead WHERE sfid = $1`, leads[2])
	w.asEngine(`INSERT INTO salesforce.lead (sfid, lastname, isdeleted) VALUES ('00QZZ0000000001AAA', 'Purged', true)`)
	w.asEngine(`UPDATE salesforce.lead SET score_band__c = 'Stale' WHERE sfid = $1`, leads[3])
	// Beside the edit that waits, this row holds a value that nobody explains.
	w.asEngine(`UPDATE salesforce.lead SET street = 'Wrong' WHERE sfid = $1`, leads[0])
	// A row that was deleted here went with the deletion; Salesforce still has its record, in the recycle bin.
	w.asEngine(`INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome)
		SELECT 1000000, 'Lead', id, sfid, 'delete', '{}', '{}', 'x', 'x', now(), 'accepted' FROM salesforce.lead WHERE sfid = $1`, leads[4])
	w.asEngine(`DELETE FROM salesforce.lead WHERE sfid = $1`, leads[4])
	if err := w.org.Delete("Lead", leads[4]); err != nil {
		t.Fatal(err)
	}
	c, d := w.check("Lead")
	if len(d) != 1 || d[0].SFID != leads[0] || d[0].Field != "Street" || c.Explained != 3 || c.Refreshed != 1 {
		t.Errorf("%+v\n%v\nwant the street alone, three explained and one formula read again", c, d)
	}
	if band := scalar[string](w, `SELECT score_band__c FROM salesforce.lead WHERE sfid = $1`, leads[3]); band == "Stale" {
		t.Error("the formula was not read again")
	}
}

// Objects with and without stamps, with archived records, and with more fields than fit an address: all are the same.
func TestCheckOfEveryObject(t *testing.T) {
	t.Parallel()
	config := tiny
	config.WideLeads = 700
	w := newWorld(t, config)
	if _, err := w.org.Archive(); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.cycle()
	for _, o := range models.StandardObjects {
		if c, d := w.check(o.Name); !c.Same() || len(d) > 0 || c.Here == 0 || c.Here != c.There {
			t.Errorf("%s: %+v %v", o.Name, c, d)
		}
	}
	lead := w.ids("Lead")[5]
	w.asEngine(`UPDATE salesforce.lead SET company = 'Wrong' WHERE sfid = $1`, lead)
	if c, d := w.check("Lead"); c.Differing != 1 || len(d) != 1 || d[0].Field != "Company" {
		t.Errorf("a wide object: %+v %v", c, d)
	}
	if r := w.runsOut(w.models.RequestMend(t.Context(), "Lead", "test")); r.Changed != 1 {
		t.Errorf("mending a wide record: %+v", r)
	}
}

// More records differ than a check looks at one by one: it ends all the same, lists some, counts the rest, and what it did not look at
// is mended by ranges of ids. Until then the object is not in sync.
func TestCheckOfATableThatIsAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, simorg.Config{Leads: 450, Contacts: 3, Accounts: 3, Opportunities: 1, Campaigns: 1, CampaignMembers: 1, Tasks: 1, Events: 1, Users: 5})
	w.config.SuspectMax, w.config.PageRows, w.config.BulkAbove = 20, 20, 200
	w.only("Lead")
	w.work()
	w.cycle()
	leads := w.ids("Lead")
	w.asEngine(`UPDATE salesforce.lead SET city = 'Wrong', systemmodstamp = systemmodstamp + interval '1 day' WHERE sfid = ANY($1)`, leads[10:150])
	w.asEngine(`DELETE FROM salesforce.lead WHERE sfid = ANY($1)`, leads[200:230])
	w.asEngine(`INSERT INTO salesforce.lead (sfid, lastname) SELECT '00QZZ000000000' || n || 'AAA', 'Ghost' FROM generate_series(1, 5) n`)
	c, d := w.check("Lead")
	if c.Differing != 20 || c.Unlooked != 155 || c.Same() || len(d) == 0 {
		t.Errorf("the check says %+v and lists %d", c, len(d))
	}
	state := func() models.ObjectState {
		s, err := w.models.Status(t.Context())
		w.must(err)
		return s.Objects[0].State
	}
	if s := state(); s != models.ObjectAttention {
		t.Errorf("with differences found the object reads %s", s)
	}
	if r := w.runsOut(w.models.RequestMend(t.Context(), "Lead", "test")); r.State != models.RunSucceeded || r.Changed != 170 {
		t.Errorf("mending ended as %s with %d changed: %s", r.State, r.Changed, r.Error)
	}
	if r := w.lastSweep("Lead"); r.Deleted != 5 {
		t.Errorf("the sweep after it found %d that the org does not have, want 5", r.Deleted)
	}
	if c, d := w.check("Lead"); !c.Same() || len(d) > 0 {
		t.Errorf("mended, the check says %+v %v", c, d)
	}
	w.asEngine(`DELETE FROM salesforce.lead WHERE lastname = 'Ghost'`)
	w.equalObject("Lead")
	if s := state(); s != models.ObjectInSync {
		t.Errorf("mended, the object reads %s", s)
	}
}

// A record that changes in Salesforce each time it is looked at is not known to be the same.
func TestCheckOfARecordThatNeverRests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.only("Lead")
	w.work()
	w.cycle()
	lead := w.ids("Lead")[0]
	inner := w.server.Config.Handler
	var n atomic.Int64
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Query().Get("q"), "Id IN ('"+lead) {
			w.must(w.org.Update("Lead", lead, map[string]any{"City": fmt.Sprint("City ", n.Add(1))}))
		}
		inner.ServeHTTP(rw, r)
	})
	w.asEngine(`UPDATE salesforce.lead SET city = 'Wrong' WHERE sfid = $1`, lead)
	if c, d := w.check("Lead"); c.Moving != 1 || len(d) != 0 || c.Same() || c.Differs() {
		t.Errorf("the check says %+v %v, want one that moves and is not known to be the same", c, d)
	}
}
