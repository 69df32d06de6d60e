package simorg

import (
	"slices"
	"strings"
)

// version is a row as one save left it. It never changes afterwards: whoever holds one holds a snapshot.
type version struct {
	cells []value
	gone  bool // hard-deleted: the row is nowhere any more
}

// row is a row in one version; v is nil where nobody touched the row and its cells are computed.
type row struct {
	t *table
	i uint32
	v *version
}

// cellKey finds rows by the value of a reference or of a unique field.
type cellKey struct {
	field *field
	text  string
}

// index may name rows whose cell has changed since: whoever asks compares.
type index map[cellKey][]uint32

func (x index) add(f *field, v value, i uint32) {
	k := cellKey{f, v.s}
	if f.Type != "reference" {
		k.text = fold(f, v.s)
	}
	x[k] = append(x[k], i)
}

func fold(f *field, s string) string {
	if f.CaseSensitive {
		return s
	}
	return strings.ToLower(s)
}

// table holds what is known of an object's rows: how many are computed, and the versions of those that were touched.
// Rows are numbered; the numbers from base up are rows that were created since.
type table struct {
	object  *object
	base    uint32
	touched map[uint32]*version
	order   []uint32 // the keys of touched in order, made when asked for
	created []*version
	next    uint32 // the number of the next created row; a transaction that is undone leaves a gap
	index   index
	kids    map[*field]map[string]*kidIndex // by reference and target object, for untouched rows
	live    int
	counted bool
}

func newTable(o *object, n int) *table {
	return &table{object: o, base: uint32(n), next: uint32(n), touched: map[uint32]*version{}, index: index{}, kids: map[*field]map[string]*kidIndex{}}
}

// touchedOrder gives the numbers of touched rows below base, ascending.
func (t *table) touchedOrder() []uint32 {
	if len(t.order) != len(t.touched) {
		t.order = make([]uint32, 0, len(t.touched))
		for i := range t.touched {
			t.order = append(t.order, i)
		}
		slices.Sort(t.order)
	}
	return t.order
}

// put stores a committed version.
func (t *table) put(i uint32, n *version) {
	if i < t.base {
		if _, ok := t.touched[i]; !ok {
			t.order = nil
		}
		t.touched[i] = n
		return
	}
	for uint32(len(t.created)) <= i-t.base {
		t.created = append(t.created, nil)
	}
	t.created[i-t.base] = n
}

// committed gives the version that everybody sees; ok is false when there is no such row.
func (t *table) committed(i uint32) (n *version, ok bool) {
	if i < t.base {
		n = t.touched[i]
		return n, n == nil || !n.gone
	}
	if k := i - t.base; k < uint32(len(t.created)) && t.created[k] != nil {
		return t.created[k], !t.created[k].gone
	}
	return nil, false
}

// at gives a row as the view sees it: the transaction's own version first.
func (v *view) at(t *table, i uint32) (row, bool) {
	if v.tx != nil {
		if p, ok := v.tx.pending[rowKey{t, i}]; ok {
			return row{t, i, p}, !p.gone
		}
	}
	n, ok := t.committed(i)
	return row{t, i, n}, ok
}

// find gives the row of an id, 15 or 18 characters long, deleted ones too.
func (v *view) find(id string) (row, bool) {
	if len(id) < 15 {
		return row{}, false
	}
	t := v.org.prefixes[id[:3]]
	n, ok := idNumber(id)
	if t == nil || !ok || n < firstNumber || n-firstNumber >= 1<<32 {
		return row{}, false
	}
	return v.at(t, uint32(n-firstNumber))
}

// get reads one cell. Text may live in the view's arena: see view.
func (v *view) get(r row, f *field) value {
	if f.derive != nil {
		return f.derive(v, r)
	}
	if f.isID {
		return value{k: text, s: v.id(r.t.object.prefix, r.i)}
	}
	if r.v != nil {
		if f.pos < len(r.v.cells) {
			return r.v.cells[f.pos]
		}
	} else if f.gen != nil {
		return f.gen(v, f, r.i)
	}
	if f.was != nil {
		return retyped(f, v.get(r, f.was))
	}
	return f.fill
}

func (v *view) named(r row, name string) value {
	if f := r.t.object.byName[strings.ToLower(name)]; f != nil {
		return v.get(r, f)
	}
	return value{}
}

func (v *view) deleted(r row) bool {
	f := r.t.object.fIsDeleted
	return f != nil && v.get(r, f).isTrue()
}

func (v *view) archived(r row) bool {
	f := r.t.object.fArchived
	return f != nil && v.get(r, f).isTrue()
}

func (r row) id() string {
	return string(appendID(nil, r.t.object.prefix, firstNumber+uint64(r.i)))
}

// cells computes all stored cells of a row, free of the arena.
func (v *view) cells(r row) []value {
	fields := r.t.object.fields
	cells := make([]value, len(fields))
	for _, f := range fields {
		if f.derive == nil && f.Type != "id" {
			cells[f.pos] = v.get(r, f).clone()
		}
	}
	return cells
}

// each calls fn for every row that is in the table, in the order of ids, until fn says no. With touchedOnly, only for those that
// are not computed. Rows of the view's transaction come as it sees them, its new ones last.
func (v *view) each(t *table, touchedOnly bool, fn func(r row) bool) {
	see := func(i uint32) bool {
		if v.tx != nil {
			if r, ok := v.at(t, i); !ok || fn(r) {
				return true
			}
			return false
		}
		n, ok := t.committed(i)
		return !ok || fn(row{t, i, n})
	}
	switch {
	case touchedOnly:
		for _, i := range v.org.ordered(t) {
			if !see(i) {
				return
			}
		}
	case len(t.touched) == 0 && v.tx == nil:
		for i := range t.base {
			if !fn(row{t, i, nil}) {
				return
			}
		}
	default:
		// Walk the touched numbers along, so that an untouched row costs no look-up in the map.
		order, k := v.org.ordered(t), 0
		for i := range t.base {
			if k < len(order) && order[k] == i {
				k++
				if !see(i) {
					return
				}
				continue
			}
			if v.tx != nil {
				if !see(i) {
					return
				}
			} else if !fn(row{t, i, nil}) {
				return
			}
		}
	}
	for i := t.base; i < t.next; i++ {
		if !see(i) {
			return
		}
	}
}

// ordered guards the making of the order, which readers share.
func (o *Org) ordered(t *table) []uint32 {
	o.lazy.Lock()
	defer o.lazy.Unlock()
	return t.touchedOrder()
}

// kidIndex lists, for each untouched row of a parent object, the untouched rows whose reference points to it.
type kidIndex struct{ starts, kids []uint32 }

func (k *kidIndex) of(parent uint32) []uint32 {
	if int(parent)+1 >= len(k.starts) {
		return nil
	}
	return k.kids[k.starts[parent]:k.starts[parent+1]]
}

func (v *view) kidIndex(t *table, f *field, parent *table) *kidIndex {
	v.org.lazy.Lock()
	defer v.org.lazy.Unlock()
	byParent := t.kids[f]
	if byParent == nil {
		byParent = map[string]*kidIndex{}
		t.kids[f] = byParent
	}
	if k := byParent[parent.object.name]; k != nil {
		return k
	}
	w := v.org.view()
	target := make([]uint32, t.base)
	k := &kidIndex{starts: make([]uint32, parent.base+1)}
	for i := range t.base {
		w.reset()
		target[i] = ^uint32(0)
		if f.gen == nil {
			continue
		}
		c := f.gen(w, f, i)
		if c.k != text || c.s[:3] != parent.object.prefix {
			continue
		}
		if n, ok := idNumber(c.s); ok && n-firstNumber < uint64(parent.base) {
			target[i] = uint32(n - firstNumber)
			k.starts[target[i]+1]++
		}
	}
	for p := range parent.base {
		k.starts[p+1] += k.starts[p]
	}
	k.kids = make([]uint32, k.starts[parent.base])
	at := slices.Clone(k.starts)
	for i, p := range target {
		if p != ^uint32(0) {
			k.kids[at[p]] = uint32(i)
			at[p]++
		}
	}
	byParent[parent.object.name] = k
	return k
}

// having gives the rows whose cell of a reference or unique field is this text, deleted ones too, in the order of ids.
func (v *view) having(f *field, s string) []row {
	t := v.org.tables[f.owner.name]
	var candidates []uint32
	key := cellKey{f, s}
	if f.Type == "reference" {
		s = to18(s)
		key.text = s
		if p := v.org.prefixes[s[:min(3, len(s))]]; p != nil && t.base > 0 {
			if n, ok := idNumber(s); ok && n-firstNumber < uint64(p.base) {
				candidates = append(candidates, v.kidIndex(t, f, p).of(uint32(n-firstNumber))...)
			}
		}
	} else {
		key.text = fold(f, s)
		if f.invert != nil {
			if i, ok := f.invert(v, s); ok && i < t.base {
				candidates = append(candidates, i)
			}
		}
	}
	candidates = append(candidates, t.index[key]...)
	if v.tx != nil {
		candidates = append(candidates, v.tx.index[key]...)
	}
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	var rows []row
	for _, i := range candidates {
		r, ok := v.at(t, i)
		if !ok {
			continue
		}
		if c := v.get(r, f); c.k == text && (c.s == s || f.Type != "reference" && fold(f, c.s) == key.text) {
			rows = append(rows, r)
		}
	}
	return rows
}
