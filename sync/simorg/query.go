package simorg

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A page holds 2000 rows unless Sforce-Query-Options asks for another size from 200 up.
const pageDefault, pageMin = 2000, 200

// cursor is a query whose pages are still being read.
type cursor struct {
	id     uint64
	user   string
	bound  *bound
	result *result
	page   int
	used   time.Time
}

// Salesforce keeps results for two days, and of one user only the last ten that are open.
const (
	cursorLife = 48 * time.Hour
	cursorMax  = 10
)

type cursors struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]*cursor
}

func (c *cursors) init() { c.open = map[uint64]*cursor{} }

func (c *cursors) add(k *cursor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	k.id = c.last
	c.open[k.id] = k
	var oldest *cursor
	n := 0
	for _, other := range c.open {
		if other.user != k.user {
			continue
		}
		if n++; oldest == nil || other.id < oldest.id {
			oldest = other
		}
	}
	if n > cursorMax {
		delete(c.open, oldest.id)
	}
}

func (c *cursors) find(id uint64, user string, now time.Time) *cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.open[id]
	if k == nil || k.user != user {
		return nil
	}
	if now.Sub(k.used) > cursorLife {
		delete(c.open, id)
		return nil
	}
	k.used = now
	return k
}

// DropCursors makes every open query locator invalid, as time would.
func (o *Org) DropCursors() {
	o.cursors.mu.Lock()
	defer o.cursors.mu.Unlock()
	o.cursors.open = map[uint64]*cursor{}
}

func soqlProblem(e *soqlError, src string) *problem {
	return fail(http.StatusBadRequest, e.code, e.explain(src))
}

// query is GET /query and /queryAll (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_query.htm).
// The rows of all pages are as they were when the query ran; what is read through a relationship is as it is when its page is read.
func (c *call) query(all bool) error {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return notAllowed(c.r.Method, "HEAD,GET")
	}
	src := c.r.URL.Query().Get("q")
	if strings.TrimSpace(src) == "" {
		return fail(http.StatusBadRequest, "MALFORMED_QUERY", "A query string has to be specified")
	}
	q, perr := parseSOQL(src)
	if perr != nil {
		return soqlProblem(perr, src)
	}
	page := pageDefault
	for _, option := range strings.Split(c.r.Header.Get("Sforce-Query-Options"), ",") {
		if n, err := strconv.Atoi(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(option)), "batchsize=")); err == nil {
			page = min(max(n, pageMin), pageDefault)
		}
	}
	o := c.o
	o.mu.RLock()
	v := c.view()
	b := &binder{v: v, src: src, all: all}
	bound, perr := b.bind(q, nil)
	if perr != nil {
		o.mu.RUnlock()
		return soqlProblem(perr, src)
	}
	if strings.EqualFold(c.r.URL.Query().Get("columns"), "true") {
		m := bound.metadata()
		o.mu.RUnlock()
		return c.sendJSON(http.StatusOK, m)
	}
	switch {
	case q.count:
		n := 0
		v.scan(bound, func(row) bool { n++; return q.limit < 0 || n < q.limit })
		if q.limit == 0 {
			n = 0
		}
		o.mu.RUnlock()
		c.send(http.StatusOK, fmt.Appendf(nil, `{"totalSize":%d,"done":true,"records":[]}`, n))
		return nil
	case bound.grouped:
		rows := v.group(bound)
		o.mu.RUnlock()
		if len(rows) > pageDefault {
			return fail(http.StatusBadRequest, "EXCEEDED_ID_LIMIT", "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch")
		}
		c.send(http.StatusOK, groupedJSON(bound, rows))
		return nil
	}
	k := &cursor{user: c.session.user, bound: bound, result: v.run(bound), page: page, used: o.now()}
	o.mu.RUnlock()
	c.page(k, 0)
	return nil
}

func groupedJSON(bound *bound, rows [][]value) []byte {
	out := fmt.Appendf(nil, `{"totalSize":%d,"done":true,"records":[`, len(rows))
	for n, cells := range rows {
		if n > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"attributes":{"type":"AggregateResult"}`...)
		for k := range bound.shown {
			out = append(out, ',')
			out = appendJSONText(out, bound.cells[k].name)
			out = append(out, ':')
			out = cells[k].appendJSON(out)
		}
		out = append(out, '}')
	}
	return append(out, `]}`...)
}

// queryMore is GET /query/01g…-2000.
func (c *call) queryMore(locator string) error {
	invalid := fail(http.StatusBadRequest, "INVALID_QUERY_LOCATOR", "invalid query locator")
	id, from, ok := strings.Cut(locator, "-")
	at, err := strconv.Atoi(from)
	number, isID := idNumber(id)
	if !ok || err != nil || !isID || !strings.HasPrefix(id, "01g") {
		return invalid
	}
	k := c.o.cursors.find(number, c.session.user, c.o.now())
	if k == nil || at < 0 || at > k.result.total {
		return invalid
	}
	c.page(k, at)
	return nil
}

// page sends one page of a query. The lock is taken for a part of the rows at a time, so that writers need not wait for readers.
func (c *call) page(k *cursor, from int) {
	to := min(from+k.page, k.result.total)
	if short := c.o.faults.shortPage(); short > 0 {
		to = min(to, from+short)
	}
	done := to == k.result.total
	if !done && k.id == 0 {
		c.o.cursors.add(k)
	}
	out := make([]byte, 0, 256+(to-from)*512)
	out = fmt.Appendf(out, `{"totalSize":%d,"done":%t,`, k.result.total, done)
	if !done {
		out = append(out, `"nextRecordsUrl":"`...)
		out = append(out, c.url("query", string(appendID(nil, "01g", k.id)))...)
		out = fmt.Appendf(out, "-%d\",", to)
	}
	out = append(out, `"records":[`...)
	v := c.view()
	const stride = 250
	first := true
	for at := from; at < to; at += stride {
		c.o.mu.RLock()
		k.result.each(v, at, min(at+stride, to), func(r row) bool {
			v.reset()
			if !first {
				out = append(out, ',')
			}
			first = false
			out = v.appendRow(out, r, k.bound.out, c.version, r.t.object.name)
			return true
		})
		c.o.mu.RUnlock()
	}
	c.send(http.StatusOK, append(out, `]}`...))
}

// appendRow writes a row with its attributes.
func (v *view) appendRow(b []byte, r row, nodes []*node, version, kind string) []byte {
	b = append(b, `{"attributes":{"type":"`...)
	b = append(b, kind...)
	b = append(b, `","url":"/services/data/v`...)
	b = append(b, version...)
	b = append(b, `/sobjects/`...)
	b = append(b, r.t.object.name...)
	b = append(b, '/')
	b = appendID(b, r.t.object.prefix, firstNumber+uint64(r.i))
	b = append(b, `"}`...)
	for _, n := range nodes {
		b = append(b, ',', '"')
		b = append(b, n.name...)
		b = append(b, '"', ':')
		b = v.appendNode(b, r, n, version)
	}
	return append(b, '}')
}

func (v *view) appendNode(b []byte, r row, n *node, version string) []byte {
	switch {
	case n.parent != nil:
		id := v.get(r, n.parent)
		parent, ok := v.seen(id.s)
		if id.isNull() || !ok {
			return append(b, "null"...)
		}
		kids, kind := n.kids, parent.t.object.name
		if n.cases != nil {
			if kids, ok = n.cases[kind]; !ok {
				kids = n.cases[""]
			}
		} else if len(n.parent.ReferenceTo) > 1 {
			// Through a polymorphic reference stands the pseudo-object Name.
			kind = "Name"
		}
		return v.appendRow(b, parent, kids, version, kind)
	case n.children != nil:
		return v.appendChildren(b, r, n, version)
	case n.column.f != nil && n.column.f.isCompound():
		return v.appendCompound(b, r, n.column.f)
	}
	return v.value(r, n.column).appendJSON(b)
}

func (v *view) appendChildren(b []byte, r row, n *node, version string) []byte {
	inner := *n.children
	inner.plan = plan{narrowed: true, rows: v.having(n.link, r.id())}
	// The parent's cells are still being written: the children's text must not take their place.
	w := v.org.view()
	w.tx, w.access = v.tx, v.access
	s := w.run(&inner)
	if s.total == 0 {
		return append(b, "null"...)
	}
	b = fmt.Appendf(b, `{"totalSize":%d,"done":true,"records":[`, s.total)
	first := true
	s.each(w, 0, s.total, func(kid row) bool {
		w.reset()
		if !first {
			b = append(b, ',')
		}
		first = false
		b = w.appendRow(b, kid, inner.out, version, kid.t.object.name)
		return true
	})
	return append(b, `]}`...)
}

// appendCompound writes an address or a location from its parts; null where all are null.
func (v *view) appendCompound(b []byte, r row, f *field) []byte {
	start := len(b)
	b = append(b, '{')
	any, first := false, true
	for _, part := range r.t.object.fields {
		if part.Compound != f.Name || part == f || !v.access.sees(part) {
			continue
		}
		key := strings.TrimSuffix(strings.TrimSuffix(part.Name, "__s"), "__c")
		if f.Type == "location" {
			key = key[strings.LastIndex(key, "__")+2:]
		} else {
			key = strings.TrimPrefix(key, strings.TrimSuffix(f.Name, "Address"))
		}
		x := v.get(r, part)
		any = any || !x.isNull()
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, '"')
		b = append(b, strings.ToLower(key[:1])+key[1:]...)
		b = append(b, '"', ':')
		b = x.appendJSON(b)
	}
	if !any {
		return append(b[:start], "null"...)
	}
	return append(b, '}')
}
