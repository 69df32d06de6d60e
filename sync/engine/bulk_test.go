package engine_test

import (
	"testing"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// failed waits until an object's newest run has failed.
func (w *world) failed(object string) models.Run {
	w.t.Helper()
	var r models.Run
	w.until(object+" failed", func() bool {
		runs, err := w.models.Runs(w.t.Context(), models.RunFilter{Object: object, Limit: 1})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(runs) == 0 {
			return false
		}
		r = runs[0]
		return r.State == models.RunFailed
	})
	return r
}

// An org that loses every bulk job as soon as it has it is not asked for new ones for ever: the run fails, says so, and the next
// cycle tries again.
func TestLostBulkJobsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.only("Lead")
	mend := w.org.Fault(simorg.Fault{Method: "GET", Path: `jobs/query/[^/]+$`, Status: 404, Code: "NOT_FOUND", Message: "The requested resource does not exist"})
	w.work()
	w.failed("Lead")
	if n := scalar[int](w, `SELECT count(*) FROM mirror.loads`); n != 3 {
		t.Errorf("%d jobs were made, want 3", n)
	}
	mend()
	w.cycle()
	w.equalObject("Lead")
}

// An object that Bulk turns out not to read only when its job has begun is read by REST.
func TestAJobThatFailsAsUnsupportedIsReadByREST(t *testing.T) {
	t.Parallel()
	w := newWorld(t, small)
	w.only("Task")
	w.org.Fault(simorg.Fault{Object: "Task", Path: "jobs/query", FailJob: true, Message: "API_ERROR : Implementation restriction: Task requires View All Data to be queried in bulk"})
	w.work()
	w.cycle()
	w.equalObject("Task")
	if n := scalar[int](w, `SELECT count(*) FROM mirror.loads WHERE state = 'abandoned'`); n != 1 {
		t.Errorf("%d loads were given up, want the one that failed", n)
	}
}
