package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// Creates went out by an external id and their reply was lost, or their Bulk job is still open, and meanwhile the admin names another external id, none,
// or wants no new records, or the field is hidden: none of them is made twice, and none is lost.
func TestTheExternalIDChangesWhileCreatesAreOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.config.LockWait, w.config.LostWait = 2*time.Millisecond, 10*time.Millisecond
	w.exec(`UPDATE admin.state SET send_at_once = false`)
	w.onlyPeople()
	w.approve(true)
	stop := w.work()
	w.cycle()
	stop()
	set := func(column, value string) {
		w.exec(fmt.Sprintf(`UPDATE admin.objects SET %s = $1 WHERE name = 'Lead'`, column), value)
	}
	made := func(company string) (ids []string) {
		if err := w.org.Each("Lead", false, func(f map[string]any) error {
			if f["Company"] == company {
				ids = append(ids, f["Id"].(string))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	hidden := false
	for _, c := range []struct {
		name, step string
		bulk, cut  bool
		meanwhile  func(company string)
		uncertain  int
	}{
		{name: "another one", step: "matched 2", cut: true, meanwhile: func(string) { set("external_id", "Other_Id__c") }},
		{name: "no new records", step: "written 1", meanwhile: func(string) { set("create_policy", "none") }},
		{name: "a job and none", step: "job closed 1", bulk: true, meanwhile: func(string) { set("external_id", "") }},
		{name: "hidden", step: "written 1", meanwhile: func(string) { w.org.HideField("Lead", "Marketing_Id__c") }},
		{name: "hidden, and one was changed there", step: "written 1", uncertain: 1, meanwhile: func(company string) {
			w.org.HideField("Lead", "Marketing_Id__c")
			if err := w.org.Update("Lead", made(company)[3], map[string]any{"LastName": "By a trigger"}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		set("external_id", "Marketing_Id__c")
		set("create_policy", "all")
		if hidden {
			w.org.ShowField("Lead", "Marketing_Id__c")
			stop := w.work()
			w.cycle()
			stop()
		}
		hidden = strings.HasPrefix(c.name, "hidden")
		w.config.BulkSendAbove = 200
		if c.bulk {
			w.config.BulkSendAbove = 5
		}
		for i := range 6 {
			w.exec(`INSERT INTO salesforce.lead (lastname, company) VALUES ($1, $2)`, fmt.Sprint("Open ", min(i, 4)), c.name)
		}
		if c.cut {
			w.org.Fault(simorg.Fault{Method: "PATCH", Path: `composite/sobjects`, DropAfter: true, Count: 1})
		}
		if _, err := w.models.RequestSync(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		at := strings.LastIndexByte(c.step, ' ')
		died, bury := w.stopAt(c.step[:at], int(c.step[at+1]-'0'))
		select {
		case <-died:
		case <-time.After(60 * time.Second):
			t.Fatalf("%s: the worker never came to %s: this checks nothing", c.name, c.step)
		}
		bury()
		c.meanwhile(c.name)
		stop := w.work()
		w.until("all is sent", func() bool { return w.quiet() })
		w.cycle()
		stop()
		if n := len(made(c.name)); n != 6 {
			t.Errorf("%s: the org has %d of the 6 leads", c.name, n)
		}
		if n := scalar[int](w, `SELECT count(*) FROM mirror.refused WHERE code = 'CREATE_UNCERTAIN' AND jsonb_array_length(details->'candidates') = 1`); n != c.uncertain {
			t.Errorf("%s: %d are uncertain, want %d", c.name, n, c.uncertain)
		}
		if n := scalar[int](w, `SELECT count(DISTINCT sfid) FROM salesforce.lead WHERE company = $1`, c.name); n != 6 {
			t.Errorf("%s: %d rows have a record of their own, want 6", c.name, n)
		}
		if n := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE company = $1 AND sfid IS NULL`, c.name); n != c.uncertain {
			t.Errorf("%s: %d rows have no record, want %d", c.name, n, c.uncertain)
		}
	}
}
