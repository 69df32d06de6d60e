package engine_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// A large object that Bulk refuses, in words that nobody knows or only once the job has begun, is read by REST in pieces that commit one
// by one: a worker that dies in between loses none of them, progress is shown, and other objects go on. Changes, a check and a sweep are read likewise.
func TestALargeObjectThatBulkRefusesIsReadInPieces(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simorg.Fault{
		"refused at once": {Object: "Lead", Method: "POST", Path: "jobs/query", Status: 400, Code: "NOT_THIS_ONE", Message: "Lead is not for you in bulk"},
		"job fails":       {Object: "Lead", Path: "jobs/query", FailJob: true, Message: "NotThisOne : Lead is not for you in bulk"},
		"total unknown":   {Method: "POST", Path: "jobs/query", Status: 400, Code: "LIMIT_EXCEEDED", Message: "Max jobs of this type reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, simorg.Config{Leads: 450, Contacts: 30, Accounts: 10, Opportunities: 10, Campaigns: 2, CampaignMembers: 10, Tasks: 20, Events: 10, Users: 5})
			w.config.BulkAbove, w.config.PageRows = 40, 50
			w.exec(`UPDATE admin.objects SET enabled = false WHERE name NOT IN ('Lead', 'Contact')`)
			w.org.Fault(fault)
			if name == "refused at once" {
				// One piece is not to be had whole, once.
				w.org.Fault(simorg.Fault{Object: "Lead", Path: `LIMIT\+50$`, After: 1, Count: 1, Status: 400, Code: "INVALID_QUERY_LOCATOR", Message: "invalid query locator"})
			}
			var pieces, wholes, smaller atomic.Int32
			inner := w.server.Config.Handler
			w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				q := r.URL.Query().Get("q")
				if strings.Contains(q, " FROM Lead") && strings.Contains(q, "Id > '") {
					pieces.Add(1)
					if strings.HasSuffix(q, " LIMIT 25") {
						smaller.Add(1)
					}
					time.Sleep(20 * time.Millisecond)
				} else if strings.HasSuffix(q, " FROM Lead") {
					wholes.Add(1)
				}
				if name == "total unknown" {
					r.Header.Del("Accept-Encoding")
					rw = &noTotal{ResponseWriter: rw}
				}
				inner.ServeHTTP(rw, r)
			})
			if name == "total unknown" {
				w.org.Fault(simorg.Fault{ShortPages: 30})
			}
			stop := w.work()
			if _, err := w.models.RequestSync(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			w.until("some pieces are in", func() bool {
				return scalar[int](w, `SELECT count(*) FROM mirror.load_pages p JOIN mirror.loads l ON l.id = p.load_id WHERE p.done_at IS NOT NULL AND l.object = 'Lead' AND l.state = 'open'`) >= 3
			})
			w.until("progress is shown", func() bool {
				r := w.latest("Lead", models.RunFirstSync)
				return r.Read >= 100 && r.Phase == models.PhaseReading && (r.Expected >= 450 || name == "total unknown")
			})
			stop()
			before := scalar[int](w, `SELECT count(*) FROM mirror.load_pages WHERE done_at IS NOT NULL`)
			if before > 9 {
				t.Fatalf("%d pieces were in when the worker was stopped: this checks nothing", before)
			}
			w.work()
			w.cycle()
			w.equalObject("Lead")
			w.equalObject("Contact")
			if n := scalar[int](w, `SELECT count(*) FROM mirror.loads WHERE object = 'Lead' AND job_id = ''`); n != 1 {
				t.Errorf("%d loads by REST were begun, want the one that goes on", n)
			}
			// The stopped piece is asked for once more; what is in is not.
			if n := pieces.Load(); n > 13 {
				t.Errorf("%d pieces were asked for, for 450 records in pieces of 50", n)
			}
			if name == "refused at once" {
				if n := smaller.Load(); n != 1 {
					t.Errorf("a piece that was not to be had whole was asked for %d times in half its size, want once", n)
				}
				return // the others show the rest
			}
			// A good part changes.
			leads := w.ids("Lead")
			for _, id := range leads[:60] {
				w.must(w.org.Update("Lead", id, map[string]any{"Title": "Changed"}))
			}
			w.must(w.org.Purge("Lead", leads[100]))
			w.cycle()
			if n := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE title = 'Changed'`); n != 60 {
				t.Errorf("%d of 60 changes arrived", n)
			}
			asked := wholes.Load()
			if c, d := w.check("Lead"); c.Here < 400 || len(d) > 1 {
				t.Errorf("the check says %+v %v", c, d)
			}
			r := w.request("Lead", models.RunSweep)
			if !w.marked("Lead", leads[100]) || r.Read < 449 {
				t.Errorf("the sweep read %d and did not find what was purged", r.Read)
			}
			if n := pieces.Load(); n < 26 || wholes.Load() > asked+3 {
				t.Errorf("the check and the sweep asked for %d pieces and %d times for all at once", n, wholes.Load()-asked)
			}
		})
	}
}

// noTotal takes the number of records out of an org's answers.
type noTotal struct {
	http.ResponseWriter
}

func (n *noTotal) WriteHeader(status int) {
	n.Header().Del("Content-Length")
	n.ResponseWriter.WriteHeader(status)
}

func (n *noTotal) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte(`{"totalSize":`)) && bytes.Contains(p, []byte(`"records":[{`)) {
		_, rest, _ := bytes.Cut(p, []byte(","))
		_, err := n.ResponseWriter.Write(append([]byte("{"), rest...))
		return len(p), err
	}
	return n.ResponseWriter.Write(p)
}

// latest gives an object's newest run of a kind, over or not.
func (w *world) latest(object string, kind models.RunKind) models.Run {
	w.t.Helper()
	runs, err := w.models.Runs(w.t.Context(), models.RunFilter{Object: object, Kind: kind, Limit: 1})
	if err != nil || len(runs) == 0 {
		w.t.Fatalf("the newest %s of %s: %v", kind, object, err)
	}
	return runs[0]
}
