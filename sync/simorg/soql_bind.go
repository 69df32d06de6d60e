package simorg

import (
	"fmt"
	"slices"
	"strings"
)

// column is a term bound to the schema: which references to follow, and what to read at the end.
type column struct {
	at    int
	name  string // as Salesforce writes it: Account.Owner.Name
	steps []*field
	f     *field // nil at the end of a polymorphic reference: there stands only what every target has
	poly  string
	kind  string // describe type of what comes out
	fn    func(value) value
}

// What can be read through a polymorphic reference without TYPEOF: the fields of the pseudo-object Name.
var nameFields = map[string]string{
	"id": "id", "name": "string", "type": "picklist", "firstname": "string", "lastname": "string", "title": "string", "email": "email", "phone": "phone", "username": "string", "alias": "string",
	"isactive": "boolean", "profileid": "reference", "userroleid": "reference", "lastvieweddate": "datetime", "lastreferenceddate": "datetime",
}

var nameFieldCase = map[string]string{
	"id": "Id", "name": "Name", "type": "Type", "firstname": "FirstName", "lastname": "LastName", "title": "Title", "email": "Email", "phone": "Phone", "username": "Username", "alias": "Alias",
	"isactive": "IsActive", "profileid": "ProfileId", "userroleid": "UserRoleId", "lastvieweddate": "LastViewedDate", "lastreferenceddate": "LastReferencedDate",
}

// value reads a column of a row.
func (v *view) value(r row, c *column) value {
	x := value{}
	for _, s := range c.steps {
		id := v.get(r, s)
		if id.isNull() {
			return value{}
		}
		var ok bool
		if r, ok = v.seen(id.s); !ok {
			return value{}
		}
	}
	switch {
	case c.f != nil:
		x = v.get(r, c.f)
	case c.poly == "type":
		x = value{k: text, s: r.t.object.name}
	case c.poly == "name":
		if f := r.t.object.fName; f != nil {
			x = v.get(r, f)
		}
	default:
		if f := r.t.object.byName[c.poly]; f != nil {
			x = v.get(r, f)
		}
	}
	if c.fn != nil && !x.isNull() {
		return c.fn(x)
	}
	return x
}

// binder binds one statement. The org's lock is held while it does.
type binder struct {
	v     *view
	src   string
	all   bool // queryAll
	bulk  bool
	semis int
}

const askDescribe = " If you are attempting to use a custom %s, be sure to append the '%s' after the %s name. Please reference your WSDL or the describe call for the appropriate names."

func noColumn(at int, name, entity string) *soqlError {
	return &soqlError{"INVALID_FIELD", fmt.Sprintf("No such column '%s' on entity '%s'."+askDescribe, name, entity, "field", "__c", "custom field"), at}
}

func (b *binder) path(x *object, t *term, alias string) (*column, *soqlError) {
	parts := strings.Split(t.path, ".")
	if len(parts) > 1 && (strings.EqualFold(parts[0], alias) && alias != "" || strings.EqualFold(parts[0], x.name) && b.v.access.relationship(x, parts[0]) == nil) {
		parts = parts[1:]
	}
	c := &column{at: t.at}
	var names []string
	for k, part := range parts[:len(parts)-1] {
		f := b.v.access.relationship(x, part)
		if f == nil {
			return nil, &soqlError{"INVALID_FIELD", fmt.Sprintf("Didn't understand relationship '%s' in field path."+askDescribe, part, "relationship", "__r", "custom relationship"), t.at}
		}
		if len(c.steps) == 5 {
			return nil, malformed(t.at, "SOQL allows at most 5 levels of relationships from child to parent")
		}
		c.steps = append(c.steps, f)
		names = append(names, f.RelationshipName)
		if len(f.ReferenceTo) > 1 {
			last := lower(parts[len(parts)-1])
			kind, ok := nameFields[last]
			if !ok || k != len(parts)-2 {
				return nil, noColumn(t.at, parts[k+1], "Name")
			}
			c.poly, c.kind = last, kind
			c.name = strings.Join(append(names, nameFieldCase[last]), ".")
			return c, nil
		}
		parent := b.v.access.object(b.v.org, f.ReferenceTo[0])
		if parent == nil {
			return nil, &soqlError{"INVALID_FIELD", fmt.Sprintf("Didn't understand relationship '%s' in field path."+askDescribe, part, "relationship", "__r", "custom relationship"), t.at}
		}
		x = parent
	}
	last := parts[len(parts)-1]
	if c.f = b.v.access.field(x, last); c.f == nil {
		return nil, noColumn(t.at, last, x.name)
	}
	c.kind = c.f.Type
	c.name = strings.Join(append(names, c.f.Name), ".")
	return c, nil
}

// term binds a field, or a function that is no aggregate.
func (b *binder) term(x *object, t *term, alias string) (*column, *soqlError) {
	if t.fn == "" {
		return b.path(x, t, alias)
	}
	if t.arg == nil {
		return nil, malformed(t.at, "unexpected token: '%s'", t.fn)
	}
	c, err := b.term(x, t.arg, alias)
	if err != nil {
		return nil, err
	}
	if fn := dateFunctions[t.fn]; fn != nil {
		if c.kind != "date" && c.kind != "datetime" {
			return nil, malformed(t.at, "%s can only be used with date or datetime fields", t.fn)
		}
		c.fn = func(v value) value {
			if v.k == date {
				return fn(v.n, 0)
			}
			d := floorDiv(v.n, 86_400_000)
			return fn(d, v.n-d*86_400_000)
		}
		c.kind = "int"
		if t.fn == "DAY_ONLY" {
			c.kind = "date"
		}
		return c, nil
	}
	switch t.fn {
	case "TOLABEL", "CONVERTTIMEZONE", "CONVERTCURRENCY":
		// Labels are the values, the user's time zone is GMT, and there is one currency.
		return c, nil
	case "FORMAT":
		inner := c.fn
		c.fn = func(v value) value {
			if inner != nil {
				v = inner(v)
			}
			if s, ok := v.plainValue().(fmt.Stringer); ok {
				return textOf(s.String())
			}
			return textOf(fmt.Sprint(v.plainValue()))
		}
		c.kind = "string"
		return c, nil
	}
	return nil, malformed(t.at, "unexpected token: '%s'", t.fn)
}

// node is one key of a row in JSON: a column, a parent's row with its own keys, the children of a relationship, or a TYPEOF.
type node struct {
	name     string
	column   *column
	parent   *field
	kids     []*node
	children *bound
	link     *field
	cases    map[string][]*node // by object name; "" for ELSE
}

type boundOrder struct {
	column *column
	cell   int // of an aggregate's result
	desc   bool
	last   bool
}

// aggregate is one column of a grouped result.
type aggregate struct {
	name   string
	fn     string // empty: a grouped column
	column *column
	kind   string
}

// bound is a statement bound to the schema and ready to run.
type bound struct {
	q       *soql
	object  *object
	out     []*node
	columns []*column // in the order of SELECT, of plain fields; what Bulk writes
	match   predicate // nil: every row
	plan    plan
	order   []boundOrder
	grouped bool
	groups  []*column
	cells   []aggregate
	shown   int // how many of cells are selected; the rest serve HAVING and ORDER BY
	having  func(cells []value) bool
	all     bool
}

var aggregates = map[string]bool{"COUNT": true, "COUNT_DISTINCT": true, "SUM": true, "AVG": true, "MIN": true, "MAX": true}

// bind checks a statement against the schema.
func (b *binder) bind(q *soql, x *object) (*bound, *soqlError) {
	if x == nil {
		if x = b.v.access.object(b.v.org, q.from); x == nil {
			return nil, &soqlError{"INVALID_TYPE", fmt.Sprintf("sObject type '%s' is not supported."+askDescribe, q.from, "object", "__c", "entity"), q.fromAt}
		}
	}
	out := &bound{q: q, object: x, all: b.all}
	if q.offset > 2000 {
		return nil, &soqlError{"NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000", -1}
	}
	out.grouped = len(q.groupBy) > 0
	for _, item := range q.items {
		if item.term != nil && aggregates[item.term.fn] && !q.count {
			out.grouped = true
		}
	}
	var err *soqlError
	switch {
	case q.count:
	case out.grouped:
		err = b.grouped(out)
	default:
		err = b.list(out)
	}
	if err != nil {
		return nil, err
	}
	if q.where != nil {
		if out.match, err = b.where(x, q.where, q.alias); err != nil {
			return nil, err
		}
		out.plan = b.planOf(x, q.where, q.alias)
	}
	if q.having != nil && !out.grouped {
		return nil, malformed(q.having.at, "HAVING needs GROUP BY")
	}
	if out.grouped {
		return out, nil
	}
	for _, o := range q.orderBy {
		c, err := b.term(x, o.term, q.alias)
		if err != nil {
			return nil, err
		}
		if c.f != nil && !sortable(c.f) {
			return nil, &soqlError{"MALFORMED_QUERY", fmt.Sprintf("field '%s' can not be sorted in a query call", c.f.Name), o.term.at}
		}
		out.order = append(out.order, boundOrder{column: c, desc: o.desc, last: o.nullsLast && c.kind != "reference"})
	}
	return out, nil
}

func sortable(f *field) bool {
	return !f.longText() && !f.isCompound() && f.Type != "multipicklist" && f.Type != "encryptedstring" && f.Type != "base64"
}

func filterable(f *field) bool {
	return !f.longText() && !f.isCompound() && f.Type != "encryptedstring" && f.Type != "base64"
}

// list binds a SELECT list of fields.
func (b *binder) list(out *bound) *soqlError {
	x, q := out.object, out.q
	seen := map[string]bool{}
	put := func(c *column, alias string) *soqlError {
		if seen[lower(c.name)] {
			return &soqlError{"INVALID_FIELD", "duplicate field selected: " + c.name, c.at}
		}
		seen[lower(c.name)] = true
		out.columns = append(out.columns, c)
		nest(&out.out, c, 0, alias)
		return nil
	}
	for _, item := range q.items {
		switch {
		case item.fields != "":
			if b.bulk {
				return malformed(item.at, "The SOQL FIELDS function is not supported in this API.")
			}
			if item.fields != "STANDARD" && (q.limit < 0 || q.limit > 200) {
				return malformed(item.at, "The SOQL FIELDS function must have a LIMIT of at most 200")
			}
			for _, f := range x.fields {
				if !b.v.access.sees(f) || item.fields == "STANDARD" && f.custom || item.fields == "CUSTOM" && !f.custom {
					continue
				}
				if seen[lower(f.Name)] {
					continue
				}
				if err := put(&column{at: item.at, name: f.Name, f: f, kind: f.Type}, ""); err != nil {
					return err
				}
			}
		case item.sub != nil:
			if b.bulk {
				return malformed(item.at, "Parent-to-child relationships are not supported in Bulk queries")
			}
			n, err := b.children(x, item)
			if err != nil {
				return err
			}
			out.out = append(out.out, n)
		case item.typeof != nil:
			if b.bulk {
				return malformed(item.at, "TYPEOF is not supported in Bulk queries")
			}
			n, err := b.typeof(x, item.typeof, q.alias)
			if err != nil {
				return err
			}
			out.out = append(out.out, n)
		default:
			c, err := b.term(x, item.term, q.alias)
			if err != nil {
				return err
			}
			if item.term.fn != "" {
				name := item.term.alias
				if name == "" && c.f != nil {
					name = c.f.Name
				}
				out.columns = append(out.columns, &column{at: c.at, name: name, steps: c.steps, f: c.f, poly: c.poly, kind: c.kind, fn: c.fn})
				out.out = append(out.out, &node{name: name, column: c})
				continue
			}
			if item.term.alias != "" {
				return malformed(item.at, "only aggregate expressions use field aliasing")
			}
			if err := put(c, ""); err != nil {
				return err
			}
		}
	}
	if b.bulk {
		for _, c := range out.columns {
			if c.f != nil && c.f.isCompound() {
				return &soqlError{"FEATURENOTENABLED", "Selecting compound data not supported in Bulk Query", -1}
			}
			if c.f != nil && c.f.Type == "base64" {
				return &soqlError{"FEATURENOTENABLED", "Binary fields are not supported in Bulk Query", -1}
			}
		}
	}
	return nil
}

// nest puts a column at its place: Owner.Name goes under the key Owner.
func nest(nodes *[]*node, c *column, depth int, alias string) {
	if depth == len(c.steps) {
		name := alias
		if name == "" {
			name = c.name[strings.LastIndexByte(c.name, '.')+1:]
		}
		*nodes = append(*nodes, &node{name: name, column: &column{f: c.f, poly: c.poly, kind: c.kind, fn: c.fn}})
		return
	}
	step := c.steps[depth]
	for _, n := range *nodes {
		if n.parent == step {
			nest(&n.kids, c, depth+1, alias)
			return
		}
	}
	n := &node{name: step.RelationshipName, parent: step}
	*nodes = append(*nodes, n)
	nest(&n.kids, c, depth+1, alias)
}

// children binds a subquery to the children of a relationship.
func (b *binder) children(x *object, item selected) (*node, *soqlError) {
	for _, link := range x.children {
		if !strings.EqualFold(link.field.ChildRelationship, item.sub.from) || link.field.ChildRelationship == "" || !b.v.access.seesObject(link.object) || !b.v.access.sees(link.field) {
			continue
		}
		inner, err := b.bind(item.sub, link.object)
		if err != nil {
			return nil, err
		}
		return &node{name: link.field.ChildRelationship, children: inner, link: link.field}, nil
	}
	return nil, &soqlError{"INVALID_TYPE", fmt.Sprintf("Didn't understand relationship '%s' in FROM part of query call."+askDescribe, item.sub.from, "relationship", "__r", "custom relationship"), item.sub.fromAt}
}

func (b *binder) typeof(x *object, ty *typeof, alias string) (*node, *soqlError) {
	f := b.v.access.relationship(x, ty.relationship)
	if f == nil || len(f.ReferenceTo) < 2 {
		return nil, &soqlError{"INVALID_FIELD", fmt.Sprintf("Didn't understand relationship '%s' in field path."+askDescribe, ty.relationship, "relationship", "__r", "custom relationship"), ty.at}
	}
	n := &node{name: f.RelationshipName, parent: f, cases: map[string][]*node{}}
	for _, w := range ty.when {
		o := b.v.access.object(b.v.org, w.object)
		if o == nil {
			return nil, &soqlError{"INVALID_TYPE", fmt.Sprintf("sObject type '%s' is not supported."+askDescribe, w.object, "object", "__c", "entity"), ty.at}
		}
		for _, t := range w.terms {
			c, err := b.term(o, t, alias)
			if err != nil {
				return nil, err
			}
			kids := n.cases[o.name]
			nest(&kids, c, 0, "")
			n.cases[o.name] = kids
		}
	}
	for _, t := range ty.other {
		kind, ok := nameFields[lower(t.path)]
		if !ok {
			return nil, noColumn(t.at, t.path, "Name")
		}
		n.cases[""] = append(n.cases[""], &node{name: nameFieldCase[lower(t.path)], column: &column{poly: lower(t.path), kind: kind}})
	}
	return n, nil
}

// grouped binds aggregates and GROUP BY.
func (b *binder) grouped(out *bound) *soqlError {
	if b.bulk {
		return &soqlError{"FEATURENOTENABLED", "Aggregate Relationships not supported in Bulk Query", -1}
	}
	x, q := out.object, out.q
	key := func(c *column, fn string) string { return fn + " " + lower(c.name) }
	places := map[string]int{}
	for _, t := range q.groupBy {
		c, err := b.term(x, t, q.alias)
		if err != nil {
			return err
		}
		if c.f != nil && !groupable(c.f) && c.fn == nil {
			return malformed(t.at, "field '%s' can not be grouped in a query call", c.f.Name)
		}
		out.groups = append(out.groups, c)
		places[key(c, t.fn)] = -len(out.groups)
	}
	expr := 0
	// cell gives the place of a term among the result's cells, and makes it where hidden ones are allowed.
	cell := func(t *term, hidden bool) (int, *soqlError) {
		if !aggregates[t.fn] {
			c, err := b.term(x, t, q.alias)
			if err != nil {
				return 0, err
			}
			at, ok := places[key(c, t.fn)]
			if !ok {
				return 0, malformed(t.at, "Field must be grouped or aggregated: %s", c.name)
			}
			if at >= 0 && hidden {
				return at, nil
			}
			g := -at - 1
			if at >= 0 {
				g = slices.IndexFunc(out.groups, func(o *column) bool { return o.name == c.name })
			}
			name := t.alias
			if name == "" && t.fn == "" {
				name = c.name[strings.LastIndexByte(c.name, '.')+1:]
			} else if name == "" {
				name = fmt.Sprintf("expr%d", expr)
				expr++
			}
			out.cells = append(out.cells, aggregate{name: name, column: out.groups[g], kind: c.kind})
			places[key(c, t.fn)] = len(out.cells) - 1
			return len(out.cells) - 1, nil
		}
		a := aggregate{name: t.alias, fn: t.fn, kind: "int"}
		k := t.fn
		if t.arg != nil {
			c, err := b.term(x, t.arg, q.alias)
			if err != nil {
				return 0, err
			}
			a.column = c
			k = key(c, t.fn)
			switch t.fn {
			case "SUM", "AVG":
				switch c.kind {
				case "int", "double", "currency", "percent":
				default:
					return malformedAt(t, "field %s does not support aggregate operator %s", c.name, t.fn)
				}
				a.kind = "double"
			case "MIN", "MAX":
				a.kind = c.kind
			}
		} else if !q.count && t.fn != "COUNT" {
			return malformedAt(t, "unexpected token: '%s'", t.fn)
		}
		if at, ok := places[k]; ok && hidden {
			return at, nil
		}
		if a.name == "" {
			a.name = fmt.Sprintf("expr%d", expr)
			if !hidden {
				expr++
			}
		}
		out.cells = append(out.cells, a)
		places[k] = len(out.cells) - 1
		return len(out.cells) - 1, nil
	}
	for _, item := range q.items {
		if item.term == nil {
			return malformed(item.at, "only fields and aggregates can be selected together with GROUP BY")
		}
		if _, err := cell(item.term, false); err != nil {
			return err
		}
	}
	out.shown = len(out.cells)
	if q.having != nil {
		having, err := b.having(q.having, func(t *term) (int, string, *soqlError) {
			at, err := cell(t, true)
			if err != nil {
				return 0, "", err
			}
			return at, out.cells[at].kind, nil
		})
		if err != nil {
			return err
		}
		out.having = having
	}
	for _, o := range q.orderBy {
		at, err := cell(o.term, true)
		if err != nil {
			return err
		}
		out.order = append(out.order, boundOrder{cell: at, desc: o.desc, last: o.nullsLast})
	}
	return nil
}

func malformedAt(t *term, format string, args ...any) (int, *soqlError) {
	return 0, malformed(t.at, format, args...)
}

func groupable(f *field) bool {
	switch f.Type {
	case "double", "currency", "percent", "datetime", "multipicklist", "address", "location", "encryptedstring", "base64", "time":
		return false
	}
	return !f.longText()
}
