package simorg

import (
	"fmt"
	"slices"
	"strings"
)

type predicate func(v *view, r row) bool

// where compiles a condition to a func of a row.
func (b *binder) where(x *object, c *condition, alias string) (predicate, *soqlError) {
	switch c.op {
	case "AND", "OR":
		kids := make([]predicate, len(c.kids))
		for k, kid := range c.kids {
			p, err := b.where(x, kid, alias)
			if err != nil {
				return nil, err
			}
			kids[k] = p
		}
		if c.op == "AND" {
			return func(v *view, r row) bool {
				for _, p := range kids {
					if !p(v, r) {
						return false
					}
				}
				return true
			}, nil
		}
		return func(v *view, r row) bool {
			for _, p := range kids {
				if p(v, r) {
					return true
				}
			}
			return false
		}, nil
	case "NOT":
		p, err := b.where(x, c.kids[0], alias)
		if err != nil {
			return nil, err
		}
		return func(v *view, r row) bool { return !p(v, r) }, nil
	}
	if aggregates[c.left.fn] {
		return nil, malformed(c.at, "Aggregate functions are not allowed in WHERE: use HAVING")
	}
	col, err := b.term(x, c.left, alias)
	if err != nil {
		return nil, err
	}
	if col.f != nil && col.fn == nil && !filterable(col.f) {
		return nil, &soqlError{"INVALID_FIELD", fmt.Sprintf("field '%s' can not be filtered in a query call", col.f.Name), c.at}
	}
	test, err := b.test(col, c)
	if err != nil {
		return nil, err
	}
	if len(col.steps) == 0 && col.fn == nil && col.f != nil {
		f := col.f
		return func(v *view, r row) bool { return test(v.get(r, f)) }, nil
	}
	return func(v *view, r row) bool { return test(v.value(r, col)) }, nil
}

// having compiles a condition to a func of a grouped row's cells.
func (b *binder) having(c *condition, cell func(t *term) (at int, kind string, err *soqlError)) (func(cells []value) bool, *soqlError) {
	switch c.op {
	case "AND", "OR", "NOT":
		var kids []func([]value) bool
		for _, kid := range c.kids {
			p, err := b.having(kid, cell)
			if err != nil {
				return nil, err
			}
			kids = append(kids, p)
		}
		switch c.op {
		case "NOT":
			return func(cells []value) bool { return !kids[0](cells) }, nil
		case "AND":
			return func(cells []value) bool {
				return !slices.ContainsFunc(kids, func(p func([]value) bool) bool { return !p(cells) })
			}, nil
		}
		return func(cells []value) bool {
			return slices.ContainsFunc(kids, func(p func([]value) bool) bool { return p(cells) })
		}, nil
	}
	at, kind, err := cell(c.left)
	if err != nil {
		return nil, err
	}
	test, err := b.test(&column{at: c.at, name: c.left.path, kind: kind}, c)
	if err != nil {
		return nil, err
	}
	return func(cells []value) bool { return test(cells[at]) }, nil
}

// test compiles a comparison to a func of the left side's value.
func (b *binder) test(col *column, c *condition) (func(value) bool, *soqlError) {
	if c.sub != nil {
		return b.semiJoin(col, c)
	}
	switch c.op {
	case "LIKE":
		return like(col, c)
	case "IN", "NOTIN":
		return b.in(col, c)
	case "INCLUDES", "EXCLUDES":
		return includes(col, c)
	}
	l := c.right[0]
	if l.kind == litNull || l.kind == litText && l.text == "" && isTextual(col.kind) {
		switch {
		case col.kind == "boolean" && c.op == "=":
			return func(v value) bool { return !v.isTrue() }, nil
		case col.kind == "boolean" && c.op == "!=":
			return value.isTrue, nil
		case c.op == "=":
			return value.isNull, nil
		case c.op == "!=":
			return func(v value) bool { return !v.isNull() }, nil
		}
		return nil, malformed(l.at, "null can only be compared by = and !=")
	}
	if l.kind == litDateWord {
		return dateTest(col, c.op, l, b.v.org.now().Unix()/86400)
	}
	want, err := literalFor(col, l)
	if err != nil {
		return nil, err
	}
	// Rows without a value differ from every value, and are neither above nor below one.
	compare := comparer(col)
	switch c.op {
	case "=":
		return func(v value) bool { return !v.isNull() && compare(v, want) == 0 }, nil
	case "!=":
		return func(v value) bool { return v.isNull() || compare(v, want) != 0 }, nil
	case "<":
		return func(v value) bool { return !v.isNull() && compare(v, want) < 0 }, nil
	case "<=":
		return func(v value) bool { return !v.isNull() && compare(v, want) <= 0 }, nil
	case ">":
		return func(v value) bool { return !v.isNull() && compare(v, want) > 0 }, nil
	case ">=":
		return func(v value) bool { return !v.isNull() && compare(v, want) >= 0 }, nil
	}
	return nil, malformed(c.at, "unexpected operator %s", c.op)
}

func isTextual(kind string) bool {
	switch kind {
	case "string", "textarea", "picklist", "multipicklist", "combobox", "email", "phone", "url", "encryptedstring":
		return true
	}
	return false
}

// mustBe is what Salesforce says of a literal of the wrong kind.
func mustBe(col *column, l literal, kind string) *soqlError {
	quotes := "should not be enclosed in quotes"
	if isTextual(kind) || kind == "reference" || kind == "id" {
		kind, quotes = "string", "should be enclosed in quotes"
	}
	return &soqlError{"INVALID_FIELD", fmt.Sprintf("value of filter criterion for field '%s' must be of type %s and %s", col.name, kind, quotes), col.at}
}

// literalFor turns a literal into a value that compares with the column.
func literalFor(col *column, l literal) (value, *soqlError) {
	switch col.kind {
	case "id", "reference":
		if l.kind != litText {
			return value{}, mustBe(col, l, col.kind)
		}
		if l.text == "" {
			return value{}, nil
		}
		if !isID(l.text) {
			return value{}, &soqlError{"INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: " + l.text, col.at}
		}
		return value{k: text, s: to18(l.text)}, nil
	case "boolean":
		if l.kind != litBool {
			return value{}, mustBe(col, l, "boolean")
		}
		return boolOf(l.text == "true"), nil
	case "int", "double", "currency", "percent":
		if l.kind != litNumber {
			return value{}, mustBe(col, l, col.kind)
		}
		v, _ := parseNumber(l.text, false)
		return v, nil
	case "date":
		if l.kind != litDate {
			return value{}, mustBe(col, l, "date")
		}
		d, _ := parseDay(l.text)
		return dateOf(d), nil
	case "datetime":
		if l.kind != litStamp {
			return value{}, mustBe(col, l, "dateTime")
		}
		ms, _ := parseStamp(l.text)
		return value{k: stamp, n: ms}, nil
	case "time":
		if l.kind != litTime {
			return value{}, mustBe(col, l, "time")
		}
		ms, _ := parseClock(l.text)
		return value{k: clock, n: ms}, nil
	}
	if l.kind != litText {
		return value{}, mustBe(col, l, col.kind)
	}
	return textOf(unlike(l.text)), nil
}

// comparer orders two values of a column, as WHERE and ORDER BY do.
func comparer(col *column) func(a, b value) int {
	switch col.kind {
	case "id", "reference":
		return func(a, b value) int { return strings.Compare(a.s[:15], b.s[:15]) }
	case "int", "double", "currency", "percent":
		return compareNumbers
	case "boolean", "date", "datetime", "time":
		return func(a, b value) int {
			switch {
			case a.n < b.n:
				return -1
			case a.n > b.n:
				return 1
			}
			return 0
		}
	}
	if col.f != nil && col.f.CaseSensitive {
		return func(a, b value) int { return strings.Compare(a.s, b.s) }
	}
	return func(a, b value) int {
		if a.s == b.s || strings.EqualFold(a.s, b.s) {
			return 0
		}
		return strings.Compare(strings.ToUpper(a.s), strings.ToUpper(b.s))
	}
}

func dateTest(col *column, op string, l literal, today int64) (func(value) bool, *soqlError) {
	unit := int64(1)
	switch col.kind {
	case "date":
	case "datetime":
		unit = 86_400_000
	default:
		return nil, mustBe(col, l, col.kind)
	}
	from, to, _ := dateWord(l.text, today)
	from, to = from*unit, to*unit
	var test func(n int64) bool
	switch op {
	case "=":
		test = func(n int64) bool { return n >= from && n < to }
	case "!=":
		return func(v value) bool { return v.isNull() || v.n < from || v.n >= to }, nil
	case "<":
		test = func(n int64) bool { return n < from }
	case "<=":
		test = func(n int64) bool { return n < to }
	case ">":
		test = func(n int64) bool { return n >= to }
	default:
		test = func(n int64) bool { return n >= from }
	}
	return func(v value) bool { return !v.isNull() && test(v.n) }, nil
}

func (b *binder) in(col *column, c *condition) (func(value) bool, *soqlError) {
	hasNull := false
	var wants []value
	set := map[string]bool{}
	for _, l := range c.right {
		if l.kind == litNull || l.kind == litText && l.text == "" {
			hasNull = true
			continue
		}
		if l.kind == litDateWord {
			return nil, malformed(l.at, "unexpected token: '%s'", l.text)
		}
		w, err := literalFor(col, l)
		if err != nil {
			return nil, err
		}
		if w.k == text {
			set[setKey(col, w.s)] = true
		} else {
			wants = append(wants, w)
		}
	}
	compare := comparer(col)
	within := func(v value) bool {
		if v.isNull() {
			return hasNull
		}
		if v.k == text {
			return set[setKey(col, v.s)]
		}
		for _, w := range wants {
			if compare(v, w) == 0 {
				return true
			}
		}
		return false
	}
	if c.op == "IN" {
		return within, nil
	}
	return func(v value) bool { return !within(v) }, nil
}

func setKey(col *column, s string) string {
	if col.kind == "id" || col.kind == "reference" || col.f != nil && col.f.CaseSensitive {
		return s
	}
	return strings.ToLower(s)
}

// semiJoin runs the inner statement now: its rows are what is committed when the outer one starts.
func (b *binder) semiJoin(col *column, c *condition) (func(value) bool, *soqlError) {
	if b.semis++; b.semis > 2 {
		return nil, &soqlError{"EXCEEDED_MAX_SEMIJOIN_SUBSELECTS", "at most 2 semi join sub-selects are allowed", c.at}
	}
	if col.kind != "id" && col.kind != "reference" {
		return nil, malformed(c.at, "Semi join sub-selects are only allowed on ID and reference fields")
	}
	inner, err := b.bind(c.sub, nil)
	if err != nil {
		return nil, err
	}
	if len(inner.columns) != 1 || inner.grouped || inner.columns[0].kind != "id" && inner.columns[0].kind != "reference" {
		return nil, malformed(c.at, "The inner select of a semi join must select one ID or reference field")
	}
	set := map[string]bool{}
	result := b.v.run(inner)
	result.each(b.v, 0, result.total, func(r row) bool {
		b.v.reset()
		if id := b.v.value(r, inner.columns[0]); !id.isNull() {
			set[strings.Clone(id.s)] = true
		}
		return true
	})
	if c.op == "IN" {
		return func(v value) bool { return !v.isNull() && set[v.s] }, nil
	}
	return func(v value) bool { return v.isNull() || !set[v.s] }, nil
}

func includes(col *column, c *condition) (func(value) bool, *soqlError) {
	if col.kind != "multipicklist" {
		return nil, malformed(c.at, "%s can only be used with multi-select picklists", c.op)
	}
	var alternatives [][]string
	for _, l := range c.right {
		if l.kind != litText {
			return nil, mustBe(col, l, col.kind)
		}
		alternatives = append(alternatives, strings.Split(lower(unlike(l.text)), ";"))
	}
	within := func(v value) bool {
		has := strings.Split(lower(v.s), ";")
		for _, all := range alternatives {
			if !slices.ContainsFunc(all, func(s string) bool { return !slices.Contains(has, s) }) {
				return true
			}
		}
		return false
	}
	if c.op == "INCLUDES" {
		return func(v value) bool { return !v.isNull() && within(v) }, nil
	}
	return func(v value) bool { return v.isNull() || !within(v) }, nil
}

func like(col *column, c *condition) (func(value) bool, *soqlError) {
	l := c.right[0]
	if l.kind != litText || !isTextual(col.kind) {
		return nil, mustBe(col, l, "string")
	}
	var pattern []rune // 0 is _, -1 is %
	escaped := false
	for _, r := range lower(l.text) {
		switch {
		case escaped:
			pattern = append(pattern, r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == '_':
			pattern = append(pattern, 0)
		case r == '%':
			pattern = append(pattern, -1)
		default:
			pattern = append(pattern, r)
		}
	}
	return func(v value) bool { return !v.isNull() && matches(pattern, []rune(strings.ToLower(v.s))) }, nil
}

// matches walks both sides once, and goes back to the last % only: no pattern makes it slow.
func matches(pattern, s []rune) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == -1:
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == 0 || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == -1 {
		p++
	}
	return p == len(pattern)
}

// plan is what a statement's conditions allow to leave unread.
type plan struct {
	touchedOnly bool  // no untouched row can match: the stamps asked for are younger than all of them
	rows        []row // the only ones that can match
	narrowed    bool  // rows counts
}

// planOf looks at the conditions that must all hold.
func (b *binder) planOf(x *object, c *condition, alias string) (p plan) {
	conditions := []*condition{c}
	if c.op == "AND" {
		conditions = c.kids
	}
	for _, c := range conditions {
		if c.op == "AND" {
			q := b.planOf(x, c, alias)
			p.touchedOnly = p.touchedOnly || q.touchedOnly
			if !p.narrowed {
				p.rows, p.narrowed = q.rows, q.narrowed
			}
			continue
		}
		if c.left == nil || c.left.fn != "" || c.sub != nil {
			continue
		}
		col, err := b.path(x, c.left, alias)
		if err != nil || len(col.steps) > 0 || col.f == nil {
			continue
		}
		f := col.f
		switch {
		case (f == x.fStamp || f == x.fModifiedDate || f == x.fCreatedDate) && (c.op == ">=" || c.op == ">" || c.op == "=") && c.right[0].kind == litStamp:
			if ms, _ := parseStamp(c.right[0].text); ms > b.v.org.lastUntouched() {
				p.touchedOnly = true
			}
		case (c.op == "=" || c.op == "IN") && len(c.right) <= 4000 && (f.Type == "id" || f.Type == "reference" && f.derive == nil || f.Unique) && !p.narrowed:
			if slices.ContainsFunc(c.right, func(l literal) bool { return l.kind != litText || l.text == "" }) {
				continue
			}
			p.narrowed = true
			for _, l := range c.right {
				if f.Type != "id" {
					p.rows = append(p.rows, b.v.having(f, unlike(l.text))...)
				} else if r, ok := b.v.find(l.text); ok && r.t.object == x {
					p.rows = append(p.rows, r)
				}
			}
			slices.SortFunc(p.rows, func(a, b row) int { return int(int64(a.i) - int64(b.i)) })
			p.rows = slices.CompactFunc(p.rows, func(a, b row) bool { return a.i == b.i })
		}
	}
	return p
}
