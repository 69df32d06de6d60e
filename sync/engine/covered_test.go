package engine_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// only switches off every object but one.
func (w *world) only(object string) {
	w.t.Helper()
	var others []string
	for _, o := range models.StandardObjects {
		if o.Name != object {
			others = append(others, o.Name)
		}
	}
	if err := w.models.DisableObjects(w.t.Context(), others, "test"); err != nil {
		w.t.Fatal(err)
	}
}

// What the org says of its open transactions counts once the read that asked has committed. Here the read fails after it asked,
// and the transaction that was open at the read before has ended meanwhile: its record has an old stamp, and must not be missed.
func TestAVeryLateCommitIsNotMissedWhenTheReadFails(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	config := small
	config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w := newWorld(t, config)
	w.config.LookBack = time.Second
	w.only("Lead")
	leads := w.ids("Lead")
	late := w.org.Begin()
	if err := late.Update("Lead", leads[3], map[string]any{"Title": "Committed very late"}); err != nil {
		t.Fatal(err)
	}
	w.work()
	ahead.Add(int64(20 * time.Minute))
	w.cycle()
	if err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	ahead.Add(int64(20 * time.Minute))
	w.org.Fault(simorg.Fault{Path: "queryAll", Count: 1, Status: 400, Code: "QUERY_TIMEOUT", Message: "Your query request was running for too long."})
	w.cycle()
	if got := scalar[*string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, leads[3]); got == nil || *got != "Committed very late" {
		t.Errorf("the late lead's title is %v", got)
	}
}
