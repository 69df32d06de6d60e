package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// atStep lets something happen in the org each time when sending comes to a step.
func atStep(w *world, do func(step string)) {
	var mu sync.Mutex
	w.config.AtStep = func(step string) {
		mu.Lock()
		defer mu.Unlock()
		do(step)
	}
}

// What somebody in Salesforce changes between the reading of a record and its writing is never overwritten in silence: found out before, the
// policy decides; found out after, it is a conflict with the three values that a person can overturn.
func TestAnEditThereWhileSending(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step   string
		bulk   bool
		winner string // of the conflict
	}{
		{step: "read", winner: "local"},
		{step: "uploaded", bulk: true, winner: "salesforce"},
		{step: "job closed", bulk: true, winner: "local"},
	} {
		t.Run(fmt.Sprintf("%s, bulk=%v", c.step, c.bulk), func(t *testing.T) {
			t.Parallel()
			small := sendSmall
			small.BulkDelay = 1200 * time.Millisecond // what happens until then is before the job
			var leads []string
			met := false
			w := sendWorld(t, small, func(w *world) {
				if c.bulk {
					bySmallBulk(w)
				}
				atStep(w, func(step string) {
					if step != c.step || met {
						return
					}
					met = true
					for id, fields := range map[string]map[string]any{
						leads[0]: {"Title": "From there"},
						leads[1]: {"City": "From there"},
						leads[2]: {"Title": "From here", "City": "From there"}, // the same on both sides
						leads[3]: {"Phone": nil},
					} {
						if err := w.org.Update("Lead", id, fields); err != nil {
							t.Error(err)
						}
					}
				})
			})
			leads = w.ids("Lead")
			w.exec(`UPDATE salesforce.lead SET title = 'From here', phone = '+1' WHERE sfid = ANY($1)`, leads[:30])
			was := scalar[string](w, `SELECT coalesce(base->>'phone', '') FROM mirror.outbox WHERE sfid = $1`, leads[3])
			sent, refused, conflicts, calls := sends(w.cycle())
			want := 1
			if was != "" {
				want++
			}
			if !met || refused != 0 || int(conflicts) != want || w.backlog() != 0 || c.bulk && calls > 20 {
				t.Errorf("%d sent, %d refused, %d conflicts, %d left by %d calls, want %d conflicts and nothing left", sent, refused, conflicts, w.backlog(), calls, want)
			}
			title := "From here"
			if c.winner == "salesforce" {
				title = "From there"
			}
			if got := w.there("Lead", leads[0], "Title"); got != title {
				t.Errorf("the title that both changed is %q in Salesforce, want %q", got, title)
			}
			if got := scalar[string](w, `SELECT concat_ws('|', local, remote, winner) FROM mirror.open_conflicts WHERE sfid = $1 AND field = 'Title'`, leads[0]); got != "From here|From there|"+c.winner {
				t.Errorf("kept is %q", got)
			}
			for _, id := range leads[1:3] {
				if title, city := w.there("Lead", id, "Title"), w.there("Lead", id, "City"); title != "From here" || city != "From there" {
					t.Errorf("%s has the title %q and the city %q: an edit that met no other is lost", id, title, city)
				}
			}
			if c.winner == "local" {
				if !scalar[bool](w, `SELECT mirror.overturn_conflict(id, 'salesforce', 'test') FROM mirror.open_conflicts WHERE field = 'Title'`) {
					t.Error("the conflict cannot be overturned")
				}
				w.cycle()
				if got := w.there("Lead", leads[0], "Title"); got != "From there" {
					t.Errorf("overturned, the title is %q", got)
				}
			}
			w.cycle()
			w.equalObject("Lead")
		})
	}
}

// While a job is at work, half of its rows done: what is changed there of a record that it has come over already stands, and arrives here; what is changed of
// one that it comes over later is a conflict.
func TestAnEditThereInTheMiddleOfAJob(t *testing.T) {
	t.Parallel()
	var done, later string
	polls := 0
	w := sendingWorld(newOtherWorld(t, otherSmall), bySmallBulk, func(w *world) {
		atStep(w, func(step string) {
			if step != "job polled" {
				return
			}
			if polls++; polls == 2 {
				for _, id := range w.ids("Lead")[:40] {
					if title := w.there("Lead", id, "Title"); title == "From here" && done == "" {
						done = id
					} else if title != "From here" && later == "" {
						later = id
					}
				}
				w.other.Write("Lead", done, map[string]any{"Title": "Afterwards"})
				w.other.Write("Lead", later, map[string]any{"Title": "Before"})
			}
		})
	})
	leads := w.ids("Lead")[:40]
	w.exec(`UPDATE salesforce.lead SET title = 'From here' WHERE sfid = ANY($1)`, leads)
	w.cycle()
	if done == "" || later == "" {
		t.Fatalf("the job was never half done: this checks nothing (%d polls)", polls)
	}
	if got := w.there("Lead", done, "Title"); got != "Afterwards" {
		t.Errorf("the title that was changed after it was sent is %q", got)
	}
	if got := scalar[string](w, `SELECT string_agg(concat_ws('|', sfid, local, remote, winner), ' ') FROM mirror.open_conflicts`); got != later+"|From here|Before|local" {
		t.Errorf("kept is %q, want the one that was overwritten, %s", got, later)
	}
	w.cycle()
	w.equalObject("Lead")
	if s := w.other.Strange(); len(s) > 0 {
		t.Errorf("requests that the documentation does not know: %v", s)
	}
}

// A record that another transaction holds is read again before it is tried again: that transaction has changed it.
func TestALockedRecordIsReadAgain(t *testing.T) {
	t.Parallel()
	var id string
	done := false
	w := sendWorld(t, sendSmall, func(w *world) {
		atStep(w, func(step string) {
			if step == "written" && !done {
				done = true
				_ = w.org.Update("Lead", id, map[string]any{"Title": "By whoever held it"})
			}
		})
	})
	leads := w.ids("Lead")
	id = leads[4]
	w.exec(`UPDATE salesforce.lead SET title = 'From here' WHERE sfid = ANY($1)`, leads[:10])
	w.org.Fault(simorg.Fault{Row: true, Object: "Lead", ID: id, Field: "Title", Value: "From here", Code: "UNABLE_TO_LOCK_ROW", Message: "unable to obtain exclusive access to this record", Count: 1})
	w.cycle()
	if got := w.there("Lead", id, "Title"); got != "By whoever held it" {
		t.Errorf("the title is %q", got)
	}
	if got := scalar[string](w, `SELECT winner || '|' || remote FROM mirror.open_conflicts WHERE sfid = $1`, id); got != "salesforce|By whoever held it" {
		t.Errorf("kept is %q", got)
	}
	if n := len(slices.DeleteFunc(slices.Clone(leads[:10]), func(id string) bool { return !strings.HasPrefix(w.there("Lead", id, "Title"), "From here") })); n != 9 {
		t.Errorf("%d of the others have the title", n)
	}
}
