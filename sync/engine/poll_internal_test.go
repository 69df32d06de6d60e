package engine

import (
	"testing"
	"time"
)

// A Bulk job is looked at as often as the calls for its rows allow: with what it costs to read, upload, close, and read back, no more than one for
// 100 rows, as long as it takes no longer than such jobs do.
func TestPollsKeepToTheCost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rows int
		took time.Duration
	}{{2_100, 20 * time.Second}, {2_200, time.Minute}, {5_000, 3 * time.Minute}, {10_000, 10 * time.Minute}} {
		const ready = 3 * time.Second         // after which it is read and uploaded
		calls := 6 + 2*((c.rows+1999)/2000)   // to make, upload, look, close, and both results; to read before and after
		for at := ready; at < ready+c.took; { // the last look finds it done
			at += pollAfter(at, c.rows)
			calls += 2
		}
		if calls > (c.rows+99)/100 {
			t.Errorf("a job of %d rows that takes %s costs %d calls, want at most %d", c.rows, c.took, calls, (c.rows+99)/100)
		}
	}
}
