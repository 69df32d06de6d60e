package simorg

import (
	"maps"
	"sync"
	"time"
)

// Calls are what clients have asked of the org since it was made.
type Calls struct {
	Total int            // API calls that count against the daily limit
	Kinds map[string]int // by kind: query, queryMore, describe, describeGlobal, updated, deleted, row, collections, composite, bulk, ingest, limits, versions, soap, other, and oauth, which is not in Total
}

// counters also keep the rolling 24 hours, by minute.
type counters struct {
	mu      sync.Mutex
	total   int
	kinds   map[string]int
	minutes map[int64]int
	extra   int // calls of other programs that a test made up
}

func (c *counters) init(*Org) { c.kinds, c.minutes = map[string]int{}, map[int64]int{} }

// count counts one call, and tells how many there were in 24 hours and whether the limit allows it.
func (c *counters) count(o *Org, kind string) (used int, within bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total++
	c.kinds[kind]++
	now := o.now().Unix() / 60
	c.minutes[now]++
	used = c.sum(now)
	return min(used, o.config.DailyAPILimit), used <= o.config.DailyAPILimit
}

// note counts what is no API call.
func (c *counters) note(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds[kind]++
}

func (c *counters) sum(now int64) (used int) {
	for m, n := range c.minutes {
		if m <= now-24*60 {
			delete(c.minutes, m)
			continue
		}
		used += n
	}
	return used + c.extra
}

func (c *counters) used(o *Org) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return min(c.sum(o.now().Unix()/60), o.config.DailyAPILimit)
}

// Calls gives the counters.
func (o *Org) Calls() Calls {
	o.calls.mu.Lock()
	defer o.calls.mu.Unlock()
	return Calls{o.calls.total, maps.Clone(o.calls.kinds)}
}

// UseCalls makes the org believe that other programs have made so many calls today; 0 takes that back.
func (o *Org) UseCalls(n int) {
	o.calls.mu.Lock()
	defer o.calls.mu.Unlock()
	o.calls.extra = n
}

// age tells whether something from then is older than life.
func (o *Org) age(then time.Time) time.Duration { return o.now().Sub(then) }
