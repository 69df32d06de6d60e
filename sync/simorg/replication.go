package simorg

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// How far back the calls look, and how many ids they give.
const (
	updatedDays  = 30
	deletedDays  = 15
	idsMax       = 600_000
	minuteMillis = 60_000
)

// window reads start and end. Seconds are ignored.
func (c *call) window(daysBack int) (x *object, from, to int64, err error) {
	q := c.r.URL.Query()
	read := func(name string) (int64, bool) {
		// A client that forgot to escape + sends a space.
		ms, ok := parseStamp(strings.ReplaceAll(q.Get(name), " ", "+"))
		return ms - ms%minuteMillis, ok
	}
	start, ok1 := read("start")
	end, ok2 := read("end")
	x = c.find(c.path[1])
	bad := func(text string) error { return fail(http.StatusBadRequest, "INVALID_REPLICATION_DATE", text) }
	switch {
	case x == nil:
		return nil, 0, 0, errNoResource
	case x.noReplicate:
		return nil, 0, 0, fail(http.StatusBadRequest, "UNSUPPORTED_API_OPERATION", "entity type "+x.name+" does not support replication")
	case !ok1 || !ok2:
		return nil, 0, 0, fail(http.StatusBadRequest, "INVALID_FIELD", "start and end must be dates of the form yyyy-MM-ddTHH:mm:ss+HH:mm")
	case end-start < minuteMillis:
		return nil, 0, 0, bad("startDate before endDate and the duration must be greater than one minute")
	case c.o.now().UnixMilli()-start > int64(daysBack)*86_400_000:
		return nil, 0, 0, bad("startDate before org replication enabled date or too far in the past")
	}
	return x, start, end, nil
}

// covered is latestDateCovered: the end asked for, or now, or the start of the oldest transaction that is still open.
func (o *Org) covered(end int64) int64 {
	c := min(end, o.now().UnixMilli())
	for tx := range o.open {
		c = min(c, tx.start.UnixMilli())
	}
	return c - c%minuteMillis
}

// updated is GET /sobjects/X/updated (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_getupdated.htm).
func (c *call) updated(string) error {
	return c.reply(c.updatedJSON)
}

// reply sends what make gives; make holds the org's lock, which a slow reader must not.
func (c *call) reply(make func() ([]byte, error)) error {
	if c.r.Method != http.MethodGet {
		return notAllowed(c.r.Method, "HEAD,GET")
	}
	body, err := make()
	if err != nil {
		return err
	}
	c.send(http.StatusOK, body)
	return nil
}

func (c *call) updatedJSON() ([]byte, error) {
	o := c.o
	o.mu.RLock()
	defer o.mu.RUnlock()
	x, from, to, err := c.window(updatedDays)
	if err != nil {
		return nil, err
	}
	out := []byte(`{"ids":[`)
	n := 0
	c.stamped(x, from, to, func(v *view, r row, _ int64) {
		if v.deleted(r) {
			return
		}
		if n > 0 {
			out = append(out, ',')
		}
		n++
		out = append(out, '"')
		out = appendID(out, x.prefix, firstNumber+uint64(r.i))
		out = append(out, '"')
	})
	if n > idsMax {
		return nil, fail(http.StatusBadRequest, "EXCEEDED_ID_LIMIT", "the window holds more than 600000 ids")
	}
	out = append(out, `],"latestDateCovered":"`...)
	out = appendStamp(out, o.covered(to), "+0000")
	return append(out, `"}`...), nil
}

// stamped gives the rows whose SystemModstamp lies in the window; bounds are inclusive.
func (c *call) stamped(x *object, from, to int64, fn func(v *view, r row, ms int64)) {
	v := c.view()
	v.each(c.o.tables[x.name], from > c.o.lastUntouched(), func(r row) bool {
		v.reset()
		if ms := v.get(r, x.fStamp).n; ms >= from && ms <= to && v.seesRow(r) {
			fn(v, r, ms)
		}
		return true
	})
}

// deleted is GET /sobjects/X/deleted (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_getdeleted.htm).
func (c *call) deleted(string) error {
	return c.reply(c.deletedJSON)
}

func (c *call) deletedJSON() ([]byte, error) {
	o := c.o
	o.mu.Lock()
	o.trimJob()
	o.mu.Unlock()
	o.mu.RLock()
	defer o.mu.RUnlock()
	x, from, to, err := c.window(deletedDays)
	if err != nil {
		return nil, err
	}
	earliest := time.Unix(o.epoch-madeWithin, 0)
	if p, ok := o.purgedAt[x.name]; ok {
		if p.UnixMilli() > from {
			return nil, fail(http.StatusBadRequest, "INVALID_REPLICATION_DATE", "startDate is before the earliest date available: "+p.Format(time.RFC3339))
		}
		earliest = p
	}
	if t, ok := o.trimmedAt[x.name]; ok && t.After(earliest) {
		earliest = t
		from = max(from, t.UnixMilli())
	}
	out := []byte(`{"deletedRecords":[`)
	n := 0
	see := func(r row, ms int64) {
		if n > 0 {
			out = append(out, ',')
		}
		n++
		out = append(out, `{"deletedDate":"`...)
		out = appendStamp(out, ms, "+0000")
		out = append(out, `","id":"`...)
		out = appendID(out, x.prefix, firstNumber+uint64(r.i))
		out = append(out, `"}`...)
	}
	c.stamped(x, from, to, func(v *view, r row, ms int64) {
		if v.deleted(r) {
			see(r, ms)
		}
	})
	// Rows that left the recycle bin are still in the log.
	t := o.tables[x.name]
	for _, g := range o.gone[x.name] {
		n, _ := t.committed(g.i)
		if r := (row{t, g.i, n}); g.at >= from && g.at <= to && c.view().seesRow(r) {
			see(r, g.at)
		}
	}
	if n > idsMax {
		return nil, fail(http.StatusBadRequest, "EXCEEDED_ID_LIMIT", "the window holds more than 600000 ids")
	}
	out = append(out, `],"earliestDateAvailable":"`...)
	out = appendStamp(out, earliest.UnixMilli()/minuteMillis*minuteMillis, "+0000")
	out = append(out, `","latestDateCovered":"`...)
	out = appendStamp(out, o.covered(to), "+0000")
	return append(out, `"}`...), nil
}

// goneRow is a row that was hard-deleted, and when it had been deleted.
type goneRow struct {
	i  uint32
	at int64
}

// Purge takes one row away for good, out of the recycle bin or, like a hard deletion, directly: queryAll no longer shows it, while
// /deleted still lists it, unless the delete log is trimmed.
func (o *Org) Purge(object, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.do(o.adminID(), func(tx *Tx) error {
		v := tx.view()
		r, ok := v.find(id)
		if !ok || !strings.EqualFold(r.t.object.name, object) {
			return refuse("NOT_FOUND", "there is no "+object+" "+id)
		}
		if x := r.t.object; x.fIsDeleted == nil {
			// It has no recycle bin: an administrator's deletion in the set-up.
			cells := v.cells(r)
			cells[x.fStamp.pos] = stampOf(o.nowSecond())
			if refused := tx.store(r.t, r.i, &version{cells: cells, gone: true}); refused != nil {
				return refused
			}
			return nil
		}
		if !v.deleted(r) {
			if refused := tx.delete([]row{r}); refused != nil {
				return refused
			}
		}
		if refused := tx.purge(id); refused != nil {
			return refused
		}
		return nil
	})
}

// TrimDeleteLog lets /deleted forget what was deleted before a time, as Salesforce does where much is deleted: earliestDateAvailable
// moves there, and whoever asks for an earlier window is answered, without those rows.
func (o *Org) TrimDeleteLog(object string, before time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.byName[lower(object)]
	if x == nil {
		return refuse("INVALID_TYPE", "sObject type '"+object+"' is not supported.")
	}
	o.trim(x, before)
	return nil
}

// The delete log is trimmed every so often of what is older, when it has grown long.
const trimEvery = 2 * time.Hour

// trimJob does what the platform's job would have done by now. The org's lock is held for writing.
func (o *Org) trimJob() {
	now := o.now()
	if o.trimRun.IsZero() {
		o.trimRun = now
	}
	if now.Sub(o.trimRun) < trimEvery {
		return
	}
	o.trimRun = now
	most := o.config.DeleteLogRows
	if most == 0 {
		most = 5000 * o.n.users
	}
	if len(o.deletions) <= most {
		return
	}
	before := now.Add(-trimEvery)
	o.deletions = slices.DeleteFunc(o.deletions, func(at int64) bool { return at < before.UnixMilli() })
	for _, x := range o.objects {
		o.trim(x, before)
	}
}

func (o *Org) trim(x *object, before time.Time) {
	if before.After(o.trimmedAt[x.name]) {
		o.trimmedAt[x.name] = before
	}
	o.gone[x.name] = slices.DeleteFunc(o.gone[x.name], func(g goneRow) bool { return g.at < before.UnixMilli() })
}

// EmptyRecycleBin takes the deleted rows of an object away for good: queryAll no longer shows them, while /deleted still lists them.
// With purgeLog, the delete log is gone too, and /deleted refuses windows that begin before now. It gives how many rows went.
func (o *Org) EmptyRecycleBin(object string, purgeLog bool) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.byName[lower(object)]
	if x == nil {
		return 0, refuse("INVALID_TYPE", "sObject type '"+object+"' is not supported.")
	}
	n := 0
	err := o.do(o.adminID(), func(tx *Tx) error {
		v := o.view()
		t := o.tables[x.name]
		var rows []row
		v.each(t, false, func(r row) bool {
			v.reset()
			if v.deleted(r) {
				rows = append(rows, r)
			}
			return true
		})
		for _, r := range rows {
			if err := tx.store(t, r.i, &version{cells: v.cells(r), gone: true}); err != nil {
				return err
			}
		}
		n = len(rows)
		return nil
	})
	if purgeLog {
		o.purgedAt[x.name] = o.now()
		o.gone[x.name] = nil
	}
	return n, err
}
