package simorg

import (
	"strconv"
	"strings"
)

// The tree of a SOQL statement (https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select.htm).

// term is something with a value: a field by its path, or a function of one.
type term struct {
	at    int
	path  string // Account.Owner.Name
	fn    string // upper case: COUNT, MAX, CALENDAR_YEAR, TOLABEL …; empty for a plain field
	arg   *term  // nil for COUNT()
	alias string
}

// selected is one item of a SELECT list.
type selected struct {
	at     int
	term   *term
	sub    *soql
	typeof *typeof
	fields string // FIELDS(this), upper case
}

// typeof is TYPEOF What WHEN Account THEN Name ELSE Id END.
type typeof struct {
	at           int
	relationship string
	when         []typeofCase
	other        []*term
}

type typeofCase struct {
	object string
	terms  []*term
}

type literalKind uint8

const (
	litNull literalKind = iota
	litText
	litNumber
	litBool
	litDate     // 2026-11-20
	litStamp    // 2026-11-20T10:00:00Z
	litDateWord // TODAY, LAST_N_DAYS:3
	litTime     // 18:30:00.000Z
)

type literal struct {
	kind literalKind
	text string
	at   int
}

// condition is a node of WHERE or HAVING: and, or, not with kids; else a comparison.
type condition struct {
	at    int
	op    string // "AND", "OR", "NOT", or = != < <= > >= LIKE IN NOTIN INCLUDES EXCLUDES
	kids  []*condition
	left  *term
	right []literal
	sub   *soql
}

type ordering struct {
	term      *term
	desc      bool
	nullsLast bool
}

type soql struct {
	src     string
	items   []selected
	count   bool // SELECT COUNT() FROM
	from    string
	fromAt  int
	alias   string
	where   *condition
	groupBy []*term
	having  *condition
	orderBy []ordering
	limit   int // -1: none
	offset  int
}

type parser struct {
	src    string
	tokens []token
	k      int
	depth  int
}

// Statements and nesting beyond these are refused: Salesforce allows 100,000 characters, and no person nests so deep.
const (
	soqlMax  = 100_000
	depthMax = 50
)

func parseSOQL(src string) (*soql, *soqlError) {
	if len(src) > soqlMax {
		return nil, malformed(-1, "SOQL statements cannot be longer than 100000 characters.")
	}
	tokens, err := lex(src)
	if err != nil {
		return nil, err
	}
	p := &parser{src: src, tokens: tokens}
	q, err := p.query(false)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokEnd {
		return nil, unexpected(t)
	}
	return q, nil
}

func unexpected(t token) *soqlError {
	if t.kind == tokEnd {
		return malformed(t.at, "unexpected token: '<EOF>'")
	}
	return malformed(t.at, "unexpected token: '%s'", t.text)
}

func (p *parser) peek() token { return p.tokens[p.k] }

func (p *parser) next() token {
	t := p.tokens[p.k]
	if t.kind != tokEnd {
		p.k++
	}
	return t
}

func (p *parser) take(words ...string) bool {
	for k, w := range words {
		if p.k+k >= len(p.tokens) || !p.tokens[p.k+k].is(w) {
			return false
		}
	}
	p.k += len(words)
	return true
}

func (p *parser) want(s string) *soqlError {
	if !p.take(s) {
		return unexpected(p.peek())
	}
	return nil
}

func (p *parser) word() (token, *soqlError) {
	t := p.next()
	if t.kind != tokWord {
		return t, unexpected(t)
	}
	return t, nil
}

func (p *parser) deeper() *soqlError {
	if p.depth++; p.depth > depthMax {
		return malformed(p.peek().at, "the statement is nested too deeply")
	}
	return nil
}

// words that end a FROM item, so that they are no alias.
var clauses = map[string]bool{
	"WHERE": true, "WITH": true, "GROUP": true, "HAVING": true, "ORDER": true, "LIMIT": true, "OFFSET": true, "FOR": true, "USING": true, "ALL": true, "UPDATE": true, "FROM": true,
}

func (p *parser) query(inner bool) (*soql, *soqlError) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	q := &soql{src: p.src, limit: -1}
	if err := p.want("SELECT"); err != nil {
		return nil, err
	}
	for {
		item, err := p.item(q, inner)
		if err != nil {
			return nil, err
		}
		q.items = append(q.items, item)
		if !p.take(",") {
			break
		}
	}
	if len(q.items) == 1 && q.items[0].term != nil && q.items[0].term.fn == "COUNT" && q.items[0].term.arg == nil {
		q.count = true
	}
	if err := p.want("FROM"); err != nil {
		return nil, err
	}
	from, err := p.word()
	if err != nil {
		return nil, err
	}
	q.from, q.fromAt = from.text, from.at
	p.take("AS")
	if t := p.peek(); t.kind == tokWord && !clauses[strings.ToUpper(t.text)] {
		q.alias = p.next().text
	}
	if p.take("USING") {
		if err := p.want("SCOPE"); err != nil {
			return nil, err
		}
		if _, err := p.word(); err != nil {
			return nil, err
		}
	}
	if p.take("WHERE") {
		if q.where, err = p.conditions(); err != nil {
			return nil, err
		}
	}
	for p.take("WITH") {
		// WITH SECURITY_ENFORCED and USER_MODE change nothing here: field-level security always holds.
		if _, err := p.word(); err != nil {
			return nil, err
		}
	}
	if p.take("GROUP", "BY") {
		for {
			t, err := p.term()
			if err != nil {
				return nil, err
			}
			q.groupBy = append(q.groupBy, t)
			if !p.take(",") {
				break
			}
		}
	}
	if p.take("HAVING") {
		if q.having, err = p.conditions(); err != nil {
			return nil, err
		}
	}
	if p.take("ORDER", "BY") {
		for {
			t, err := p.term()
			if err != nil {
				return nil, err
			}
			o := ordering{term: t}
			if !p.take("ASC") {
				o.desc = p.take("DESC")
			}
			if p.take("NULLS") {
				if o.nullsLast = p.take("LAST"); !o.nullsLast {
					if err := p.want("FIRST"); err != nil {
						return nil, err
					}
				}
			}
			q.orderBy = append(q.orderBy, o)
			if !p.take(",") {
				break
			}
		}
	}
	if p.take("LIMIT") {
		if q.limit, err = p.count(); err != nil {
			return nil, err
		}
	}
	if p.take("OFFSET") {
		if q.offset, err = p.count(); err != nil {
			return nil, err
		}
	}
	if at := p.peek().at; p.take("FOR") {
		for {
			w, err := p.word()
			if err != nil {
				return nil, err
			}
			if w.is("UPDATE") {
				return nil, malformed(at, "unexpected token: 'FOR UPDATE'")
			}
			if !p.take(",") {
				break
			}
		}
	}
	if at := p.peek().at; p.take("ALL", "ROWS") {
		return nil, malformed(at, "ALL ROWS not allowed in this context")
	}
	return q, nil
}

func (p *parser) count() (int, *soqlError) {
	t := p.next()
	n, err := strconv.Atoi(t.text)
	if t.kind != tokNumber || err != nil || n < 0 {
		return 0, unexpected(t)
	}
	return n, nil
}

func (p *parser) item(q *soql, inner bool) (selected, *soqlError) {
	t := p.peek()
	if p.take("(") {
		if inner {
			return selected{}, unexpected(t)
		}
		sub, err := p.query(true)
		if err != nil {
			return selected{}, err
		}
		return selected{at: t.at, sub: sub}, p.want(")")
	}
	if t.is("TYPEOF") && p.tokens[min(p.k+2, len(p.tokens)-1)].is("WHEN") {
		ty, err := p.typeof()
		return selected{at: t.at, typeof: ty}, err
	}
	if p.take("FIELDS", "(") {
		w, err := p.word()
		if err != nil {
			return selected{}, err
		}
		switch kind := strings.ToUpper(w.text); kind {
		case "ALL", "CUSTOM", "STANDARD":
			return selected{at: t.at, fields: kind}, p.want(")")
		}
		return selected{}, unexpected(w)
	}
	x, err := p.term()
	if err != nil {
		return selected{}, err
	}
	if t := p.peek(); t.kind == tokWord && !t.is("FROM") {
		x.alias = p.next().text
	}
	return selected{at: x.at, term: x}, nil
}

func (p *parser) typeof() (*typeof, *soqlError) {
	ty := &typeof{at: p.next().at}
	w, err := p.word()
	if err != nil {
		return nil, err
	}
	ty.relationship = w.text
	list := func() (terms []*term, err *soqlError) {
		for {
			t, err := p.term()
			if err != nil {
				return nil, err
			}
			terms = append(terms, t)
			if !p.take(",") {
				return terms, nil
			}
		}
	}
	for p.take("WHEN") {
		o, err := p.word()
		if err != nil {
			return nil, err
		}
		if err := p.want("THEN"); err != nil {
			return nil, err
		}
		terms, err := list()
		if err != nil {
			return nil, err
		}
		ty.when = append(ty.when, typeofCase{o.text, terms})
	}
	if p.take("ELSE") {
		if ty.other, err = list(); err != nil {
			return nil, err
		}
	}
	return ty, p.want("END")
}

func (p *parser) term() (*term, *soqlError) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	w, err := p.word()
	if err != nil {
		return nil, err
	}
	if !p.take("(") {
		return &term{at: w.at, path: w.text}, nil
	}
	t := &term{at: w.at, fn: strings.ToUpper(w.text)}
	if p.take(")") {
		if t.fn != "COUNT" {
			return nil, unexpected(p.tokens[p.k-1])
		}
		return t, nil
	}
	if t.arg, err = p.term(); err != nil {
		return nil, err
	}
	return t, p.want(")")
}

func (p *parser) conditions() (*condition, *soqlError) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	left, err := p.unary()
	if err != nil {
		return nil, err
	}
	kids := []*condition{left}
	op := ""
	for {
		t := p.peek()
		if !t.is("AND") && !t.is("OR") {
			break
		}
		if w := strings.ToUpper(t.text); op == "" {
			op = w
		} else if op != w {
			// Salesforce wants parentheses where AND meets OR.
			return nil, unexpected(t)
		}
		p.next()
		right, err := p.unary()
		if err != nil {
			return nil, err
		}
		kids = append(kids, right)
	}
	if op == "" {
		return left, nil
	}
	return &condition{at: left.at, op: op, kids: kids}, nil
}

func (p *parser) unary() (*condition, *soqlError) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	t := p.peek()
	if p.take("NOT") {
		kid, err := p.unary()
		if err != nil {
			return nil, err
		}
		return &condition{at: t.at, op: "NOT", kids: []*condition{kid}}, nil
	}
	if p.take("(") {
		c, err := p.conditions()
		if err != nil {
			return nil, err
		}
		return c, p.want(")")
	}
	return p.comparison()
}

func (p *parser) comparison() (*condition, *soqlError) {
	left, err := p.term()
	if err != nil {
		return nil, err
	}
	c := &condition{at: left.at, left: left}
	op := p.next()
	switch {
	case op.is("="), op.is("<"), op.is("<="), op.is(">"), op.is(">="), op.is("!="):
		c.op = op.text
	case op.is("<>"):
		c.op = "!="
	case op.is("LIKE"):
		c.op = "LIKE"
	case op.is("IN"):
		c.op = "IN"
	case op.is("INCLUDES"), op.is("EXCLUDES"):
		c.op = strings.ToUpper(op.text)
	case op.is("NOT"):
		if err := p.want("IN"); err != nil {
			return nil, err
		}
		c.op = "NOTIN"
	default:
		return nil, unexpected(op)
	}
	switch c.op {
	case "IN", "NOTIN", "INCLUDES", "EXCLUDES":
		if err := p.want("("); err != nil {
			return nil, err
		}
		if p.peek().is("SELECT") && strings.HasSuffix(c.op, "IN") {
			if c.sub, err = p.query(true); err != nil {
				return nil, err
			}
			return c, p.want(")")
		}
		for {
			l, err := p.literal()
			if err != nil {
				return nil, err
			}
			c.right = append(c.right, l)
			if !p.take(",") {
				break
			}
		}
		return c, p.want(")")
	}
	l, err := p.literal()
	if err != nil {
		return nil, err
	}
	c.right = []literal{l}
	return c, nil
}

func (p *parser) literal() (literal, *soqlError) {
	t := p.next()
	switch t.kind {
	case tokText:
		return literal{litText, t.text, t.at}, nil
	case tokNumber:
		if _, ok := parseDay(t.text); ok {
			return literal{litDate, t.text, t.at}, nil
		}
		if strings.ContainsAny(t.text, "Tt") && strings.Contains(t.text, ":") {
			if _, ok := parseStamp(t.text); ok && (strings.HasSuffix(t.text, "Z") || strings.ContainsAny(t.text[10:], "+-")) {
				return literal{litStamp, t.text, t.at}, nil
			}
		}
		if _, ok := parseClock(t.text); ok && strings.Contains(t.text, ":") {
			return literal{litTime, t.text, t.at}, nil
		}
		if _, ok := parseNumber(t.text, false); ok {
			return literal{litNumber, t.text, t.at}, nil
		}
		return literal{}, malformed(t.at, "line %d:%d no viable alternative at character '%s'", strings.Count(p.src[:t.at], "\n")+1, t.at, t.text[:1])
	case tokWord:
		switch strings.ToUpper(t.text) {
		case "NULL":
			return literal{litNull, "", t.at}, nil
		case "TRUE", "FALSE":
			return literal{litBool, strings.ToLower(t.text), t.at}, nil
		}
		if _, _, ok := dateWord(strings.ToUpper(t.text), 0); ok {
			return literal{litDateWord, strings.ToUpper(t.text), t.at}, nil
		}
	}
	return literal{}, unexpected(t)
}
