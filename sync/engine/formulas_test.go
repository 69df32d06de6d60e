package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
)

// Formula fields that changed without a stamp are read again when their hours are over, with the fewest calls, and nothing else is
// written; what a reading of changes may have brought since is left alone, and objects without formulas are not asked.
func TestFormulasAreReadAgain(t *testing.T) {
	t.Parallel()
	for _, bulk := range []bool{false, true} {
		t.Run(fmt.Sprintf("bulk %v", bulk), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tiny)
			if bulk {
				w.config.BulkAbove, w.config.PageRows = 20, 25
			}
			stop := w.work()
			w.cycle()
			ctx := t.Context()
			var old []string
			for _, id := range w.ids("Lead") {
				if scalar[bool](w, `SELECT systemmodstamp < now() - interval '1 day' FROM salesforce.lead WHERE sfid = $1`, id) {
					old = append(old, id)
				}
			}
			recent := w.ids("Lead")[0]
			if recent == old[0] || recent == old[1] {
				old = old[2:]
			}
			if err := w.org.Update("Lead", recent, map[string]any{"City": "Just now"}); err != nil {
				t.Fatal(err)
			}
			w.cycle()
			w.asEngine(`UPDATE salesforce.lead SET score_band__c = 'Stale' WHERE sfid = ANY($1)`, []string{old[0], old[1]})
			w.asEngine(`UPDATE salesforce.lead SET score_band__c = 'Newer' WHERE sfid = $1`, recent)
			w.asEngine(`UPDATE salesforce.lead SET title = 'Not a formula' WHERE sfid = $1`, old[0])

			before := w.org.Calls().Total
			r := w.runsOut(w.models.RequestRun(ctx, "Lead", models.RunFormulas, "test"))
			if r.State != models.RunSucceeded || r.Changed != 2 || r.New != 0 || r.Read == 0 || r.Read >= 60 {
				t.Errorf("%s: read %d, changed %d, new %d: %s", r.State, r.Read, r.Changed, r.New, r.Error)
			}
			if calls := w.org.Calls().Total - before; !bulk && calls > 1 || calls > 10 {
				t.Errorf("it cost %d calls", calls)
			}
			if n := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE score_band__c = 'Stale'`); n != 0 {
				t.Errorf("%d formulas are stale still", n)
			}
			if band := scalar[string](w, `SELECT score_band__c FROM salesforce.lead WHERE sfid = $1`, recent); band != "Newer" {
				t.Errorf("what a reading of changes may have brought was taken back: %q", band)
			}
			if title := scalar[string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, old[0]); title != "Not a formula" {
				t.Errorf("another field was written: %q", title)
			}

			// By the clock: after a day, and only where there are formulas.
			stop()
			now := time.Now().UTC()
			w.models.Now = func() time.Time { return now.Add(23 * time.Hour) }
			due := func() int {
				if err := w.models.RequestFormulasDue(ctx); err != nil {
					t.Fatal(err)
				}
				return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE kind = 'formulas' AND requested_by = 'Tandem'`)
			}
			if n := due(); n != 0 {
				t.Errorf("after 23 hours %d readings were asked for", n)
			}
			w.models.Now = func() time.Time { return now.Add(25 * time.Hour) }
			with := scalar[int](w, `SELECT count(DISTINCT object) FROM mirror.formulas WHERE object <> 'Lead'`)
			if n := due() + due() - due(); n != 1 {
				t.Errorf("at once %d readings were asked for, want one after another", n)
			}
			for i := range with + 3 {
				w.models.Now = func() time.Time { return now.Add(25*time.Hour + time.Duration(i+1)*11*time.Minute) }
				due()
			}
			if n := due(); n != with+1 || with+1 >= len(models.StandardObjects) {
				t.Errorf("after 25 hours %d readings were asked for, want one for each of the %d objects with formulas", n, with+1)
			}
		})
	}
}

// What Salesforce copies from other records may change without the copy's stamp. It is read again with the formulas, and a check
// reads it again rather than call it a difference.
func TestCopiesOfOtherRecordsAreReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tiny)
	w.work()
	w.cycle()
	spoil := func() {
		w.asEngine(`UPDATE salesforce.campaignmember SET email = 'left.behind@example.com' WHERE systemmodstamp < now() - interval '1 day' AND NOT isdeleted`)
		if n := scalar[int](w, `SELECT count(*) FROM salesforce.campaignmember WHERE email = 'left.behind@example.com'`); n == 0 {
			t.Fatal("there is no member old enough: this checks nothing")
		}
	}
	spoil()
	if r := w.runsOut(w.models.RequestRun(t.Context(), "CampaignMember", models.RunFormulas, "test")); r.State != models.RunSucceeded || r.Changed == 0 {
		t.Errorf("%s: changed %d: %s", r.State, r.Changed, r.Error)
	}
	w.equalObject("CampaignMember")
	spoil()
	if r := w.runsOut(w.models.RequestRun(t.Context(), "CampaignMember", models.RunCheck, "test")); r.State != models.RunSucceeded {
		t.Errorf("%s: %s", r.State, r.Error)
	}
	if n := scalar[int](w, `SELECT count(*) FROM mirror.open_differences`); n != 0 {
		t.Errorf("the check calls %d copies differences", n)
	}
	w.equalObject("CampaignMember")
}
