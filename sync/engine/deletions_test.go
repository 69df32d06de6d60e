package engine

import (
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/mirror"
)

func TestDeletedFrom(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		mark mirror.Watermark
		from time.Duration // before now
		lost bool
	}{
		"from where it was read to, with an overlap": {mirror.Watermark{DeletedThrough: now.Add(-time.Hour), At: now}, 3 * time.Hour, false},
		"the first time, from the watermark":         {mirror.Watermark{At: now.Add(-time.Minute)}, 2*time.Hour + time.Minute, false},
		"not below the floor":                        {mirror.Watermark{DeletedThrough: now.Add(-time.Hour), DeletedFloor: now.Add(-90 * time.Minute)}, 90 * time.Minute, false},
		"as far back as Salesforce answers":          {mirror.Watermark{DeletedThrough: now.Add(-13 * day)}, 13*day + 2*time.Hour, false},
		"no further, and some may be lost":           {mirror.Watermark{DeletedThrough: now.Add(-20 * day)}, 14 * day, true},
	} {
		from, lost := deletedFrom(c.mark, now)
		if want := now.Add(-c.from); !from.Equal(want) || lost != c.lost {
			t.Errorf("%s: from %s, lost %v, want %s, %v", name, from, lost, want, c.lost)
		}
	}
}

func TestSweepDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		mark  mirror.Watermark
		tells bool
		due   bool
	}{
		"nothing was read yet":             {mirror.Watermark{SweepWanted: true}, true, false},
		"swept lately":                     {mirror.Watermark{Known: true, SweptAt: ago(6 * 24 * time.Hour)}, true, false},
		"a week ago":                       {mirror.Watermark{Known: true, SweptAt: ago(7 * 24 * time.Hour)}, true, true},
		"deletions were lost":              {mirror.Watermark{Known: true, SweptAt: now, SweepWanted: true}, true, true},
		"nothing else tells, a day ago":    {mirror.Watermark{Known: true, SweptAt: ago(24 * time.Hour)}, false, true},
		"nothing else tells, an hour ago":  {mirror.Watermark{Known: true, SweptAt: ago(time.Hour)}, false, false},
		"never swept, and none was wanted": {mirror.Watermark{Known: true}, true, false},
	} {
		if got := sweepDue(c.mark, c.tells, now); got != c.due {
			t.Errorf("%s: due is %v", name, got)
		}
	}
}
