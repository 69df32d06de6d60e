package simorg

import (
	"cmp"
	"math/big"
	"slices"
	"strings"
)

// span is rows whose numbers follow each other.
type span struct{ first, n uint32 }

// result is the rows that a statement matched, as they stood then: numbers, and the version of each that was touched. Rows that
// nobody had touched are computed again when they are read, even if somebody touches them meanwhile.
type result struct {
	table    *table
	spans    []span
	list     []uint32 // instead of spans, where there is an order
	versions map[uint32]*version
	total    int
}

func (s *result) add(r row) {
	if r.v != nil {
		if s.versions == nil {
			s.versions = map[uint32]*version{}
		}
		s.versions[r.i] = r.v
	}
	s.total++
	if k := len(s.spans) - 1; k >= 0 && s.spans[k].first+s.spans[k].n == r.i {
		s.spans[k].n++
		return
	}
	s.spans = append(s.spans, span{r.i, 1})
}

// each calls fn for the rows from the from-th to before the to-th, until fn says no.
func (s *result) each(_ *view, from, to int, fn func(r row) bool) {
	if s.list != nil {
		for _, i := range s.list[from:to] {
			if !fn(row{s.table, i, s.versions[i]}) {
				return
			}
		}
		return
	}
	at := 0
	for _, p := range s.spans {
		n := int(p.n)
		if at+n <= from {
			at += n
			continue
		}
		for k := max(from-at, 0); k < n; k++ {
			if at+k >= to {
				return
			}
			i := p.first + uint32(k)
			var v *version
			if s.versions != nil {
				v = s.versions[i]
			}
			if !fn(row{s.table, i, v}) {
				return
			}
		}
		at += n
	}
}

// scan calls fn for every row that the statement matches, in the order of ids.
func (v *view) scan(b *bound, fn func(r row) bool) {
	t := v.org.tables[b.object.name]
	see := func(r row) bool {
		v.reset()
		if !b.all && (v.deleted(r) || v.archived(r)) {
			return true
		}
		if b.match != nil && !b.match(v, r) {
			return true
		}
		if !v.seesRow(r) {
			return true
		}
		return fn(r)
	}
	if b.plan.narrowed {
		for _, r := range b.plan.rows {
			if !see(r) {
				return
			}
		}
		return
	}
	v.each(t, b.plan.touchedOnly, see)
}

// run matches, sorts and limits. The org's lock is held.
func (v *view) run(b *bound) *result {
	s := &result{table: v.org.tables[b.object.name]}
	limit := b.q.limit
	order := b.order
	if len(order) > 0 && order[0].column.f != nil && order[0].column.f.Type == "id" && len(order[0].column.steps) == 0 && !order[0].desc {
		order = nil // the order of ids is the order of numbers
	}
	if len(order) > 0 {
		v.sorted(b, order, s)
		return s
	}
	skip := b.q.offset
	if limit == 0 {
		return s
	}
	v.scan(b, func(r row) bool {
		if skip > 0 {
			skip--
			return true
		}
		s.add(r)
		return limit < 0 || s.total < limit
	})
	return s
}

type sortRow struct {
	keys []value
	r    row
}

func (v *view) sorted(b *bound, order []boundOrder, s *result) {
	compares := make([]func(a, b value) int, len(order))
	for k, o := range order {
		compares[k] = sortComparer(o.column)
	}
	less := func(a, z sortRow) int {
		for k, o := range order {
			if c := compareNulls(a.keys[k], z.keys[k], o, compares[k]); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.r.i, z.r.i)
	}
	var rows []sortRow
	keep := -1
	if b.q.limit >= 0 {
		keep = b.q.limit + b.q.offset
	}
	v.scan(b, func(r row) bool {
		keys := make([]value, len(order))
		for k, o := range order {
			keys[k] = v.value(r, o.column).clone()
		}
		rows = append(rows, sortRow{keys, r})
		if keep >= 0 && len(rows) > 2*keep+4096 {
			// Only the first so many are wanted: the rest need not be held.
			slices.SortFunc(rows, less)
			rows = rows[:keep]
		}
		return true
	})
	slices.SortFunc(rows, less)
	if keep >= 0 && len(rows) > keep {
		rows = rows[:keep]
	}
	rows = rows[min(b.q.offset, len(rows)):]
	s.list = make([]uint32, 0, len(rows))
	for _, r := range rows {
		s.list = append(s.list, r.r.i)
		if r.r.v != nil {
			if s.versions == nil {
				s.versions = map[uint32]*version{}
			}
			s.versions[r.r.i] = r.r.v
		}
	}
	s.total = len(s.list)
}

// compareNulls puts rows without a value first, in both directions, unless NULLS LAST was said.
func compareNulls(a, b value, o boundOrder, compare func(a, b value) int) int {
	switch {
	case a.isNull() && b.isNull():
		return 0
	case a.isNull() != b.isNull():
		if a.isNull() != o.last {
			return -1
		}
		return 1
	}
	c := compare(a, b)
	if o.desc {
		return -c
	}
	return c
}

// sortComparer orders picklists as they were set up, everything else as WHERE compares it.
func sortComparer(c *column) func(a, b value) int {
	if c.f != nil && c.f.Type == "picklist" && c.fn == nil {
		choices := c.f.Picklist
		return func(a, b value) int {
			x, y := slices.Index(choices, a.s), slices.Index(choices, b.s)
			if x != y {
				return cmp.Compare(x, y)
			}
			return strings.Compare(a.s, b.s)
		}
	}
	return comparer(c)
}

// accumulator is one aggregate of one group.
type accumulator struct {
	n        int64
	sum      *big.Rat
	best     value
	distinct map[string]bool
}

// group runs a statement with aggregates and gives its rows.
func (v *view) group(b *bound) [][]value {
	type bucket struct {
		keys []value
		accs []accumulator
	}
	buckets := map[string]*bucket{}
	var order []*bucket
	var key []byte
	v.scan(b, func(r row) bool {
		key = key[:0]
		keys := make([]value, len(b.groups))
		for k, g := range b.groups {
			keys[k] = v.value(r, g)
			if keys[k].k == text && comparer(g)(keys[k], keys[k]) == 0 && isTextual(g.kind) {
				key = append(key, strings.ToUpper(keys[k].s)...)
			} else {
				key = keys[k].appendJSON(key)
			}
			key = append(key, 0)
		}
		g := buckets[string(key)]
		if g == nil {
			for k := range keys {
				keys[k] = keys[k].clone()
			}
			g = &bucket{keys, make([]accumulator, len(b.cells))}
			buckets[string(key)] = g
			order = append(order, g)
		}
		for k := range b.cells {
			g.accs[k].add(v, r, &b.cells[k])
		}
		return true
	})
	if len(b.groups) == 0 && len(order) == 0 {
		order = append(order, &bucket{nil, make([]accumulator, len(b.cells))})
	}
	var rows [][]value
	for _, g := range order {
		cells := make([]value, len(b.cells))
		for k := range b.cells {
			a := &b.cells[k]
			if a.fn == "" {
				cells[k] = g.keys[slices.Index(b.groups, a.column)]
				continue
			}
			cells[k] = g.accs[k].result(a)
		}
		if b.having == nil || b.having(cells) {
			rows = append(rows, cells)
		}
	}
	if len(b.order) > 0 {
		slices.SortStableFunc(rows, func(x, y []value) int {
			for _, o := range b.order {
				a := b.cells[o.cell]
				compare := comparer(&column{kind: a.kind})
				if a.fn == "" {
					compare = sortComparer(a.column)
				}
				if c := compareNulls(x[o.cell], y[o.cell], o, compare); c != 0 {
					return c
				}
			}
			return 0
		})
	}
	rows = rows[min(b.q.offset, len(rows)):]
	if b.q.limit >= 0 && len(rows) > b.q.limit {
		rows = rows[:b.q.limit]
	}
	return rows
}

func (a *accumulator) add(v *view, r row, g *aggregate) {
	if g.fn == "" {
		return
	}
	if g.column == nil {
		a.n++
		return
	}
	x := v.value(r, g.column)
	if x.isNull() {
		return
	}
	a.n++
	switch g.fn {
	case "COUNT_DISTINCT":
		if a.distinct == nil {
			a.distinct = map[string]bool{}
		}
		a.distinct[string(x.appendJSON(nil))] = true
	case "SUM", "AVG":
		if a.sum == nil {
			a.sum = new(big.Rat)
		}
		a.sum.Add(a.sum, x.rat())
	case "MIN", "MAX":
		c := 0
		if !a.best.isNull() {
			c = sortComparer(g.column)(x, a.best)
		}
		if a.best.isNull() || g.fn == "MIN" && c < 0 || g.fn == "MAX" && c > 0 {
			a.best = x.clone()
		}
	}
}

func (a *accumulator) result(g *aggregate) value {
	switch g.fn {
	case "COUNT":
		return intOf(a.n)
	case "COUNT_DISTINCT":
		return intOf(int64(len(a.distinct)))
	case "MIN", "MAX":
		return a.best
	}
	if a.sum == nil {
		return value{}
	}
	sum := a.sum
	if g.fn == "AVG" {
		sum = new(big.Rat).Quo(sum, new(big.Rat).SetInt64(a.n))
	}
	v, ok := parseNumber(sum.FloatString(8), false)
	if !ok {
		v, _ = parseNumber(sum.FloatString(0), false)
	}
	return v
}
