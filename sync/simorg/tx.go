package simorg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

type rowKey struct {
	t *table
	i uint32
}

// rowError is why a row was not saved. In REST it is an element of the error array; in collections its code is called statusCode.
type rowError struct {
	code, message string
	fields        []string
	status        int         // of a single-row request; 0 means 400
	more          []*rowError // of the same row: several validation rules can fire at once
	extra         string      // raw JSON of a further key and value, for DUPLICATES_DETECTED
}

func (e *rowError) Error() string { return e.code + ": " + e.message }

// all gives the refusal and those that came with it.
func (e *rowError) all() []*rowError { return append([]*rowError{e}, e.more...) }

func refuse(code, message string, fields ...string) *rowError {
	return &rowError{code: code, message: message, fields: fields}
}

// Tx is a transaction. Its rows are stamped when they are saved and seen by others when it commits: between the two lies the window
// in which a reader's watermark passes them by. A row that another open transaction has saved cannot be saved.
type Tx struct {
	org     *Org
	start   time.Time
	user    string  // the id of who saves
	access  *access // what that user may; nil for the org itself
	pending map[rowKey]*version
	order   []rowKey
	index   index
	locked  []rowKey
	undone  []undo // what store replaced, so that one refused row of many leaves nothing
	done    bool

	// assign is the assignment rule that runs on saved leads; nil where none does.
	assign func(given assignments) assignments
	// allowDuplicates lets rows pass that a duplicate rule only warns of.
	allowDuplicates bool
}

// ErrDone is what a transaction's methods give after Commit or Rollback.
var ErrDone = errors.New("simorg: the transaction has ended")

func (o *Org) newTx(user string) *Tx {
	return &Tx{org: o, start: o.now(), user: user, pending: map[rowKey]*version{}, index: index{}}
}

// Begin starts a transaction that stays open until Commit or Rollback. While it is open, latestDateCovered of /updated and /deleted
// does not pass its start. It saves as the administrator.
func (o *Org) Begin() *Tx {
	o.mu.Lock()
	defer o.mu.Unlock()
	tx := o.newTx(o.adminID())
	o.open[tx] = true
	return tx
}

// adminID is the person who works in the org when no program does.
func (o *Org) adminID() string { return row{t: o.tables["User"], i: 1}.id() }

func (o *Org) integrationID() string { return row{t: o.tables["User"], i: 0}.id() }

// do runs fn in a transaction of its own and commits, or leaves nothing when fn fails. The lock is held.
func (o *Org) do(user string, fn func(tx *Tx) error) error {
	tx := o.newTx(user)
	if err := fn(tx); err != nil {
		tx.undo()
		return err
	}
	return tx.commit()
}

// Create makes a row and gives its id. The fields' values are what JSON decodes to, or Go numbers. A refusal is an error that starts
// with Salesforce's code.
func (o *Org) Create(object string, fields map[string]any) (id string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	err = o.do(o.adminID(), func(tx *Tx) (err error) { id, err = tx.createNamed(object, fields); return err })
	return id, err
}

// Update changes a row.
func (o *Org) Update(object, id string, fields map[string]any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.do(o.adminID(), func(tx *Tx) error { return tx.updateNamed(object, id, fields) })
}

// Delete puts a row and what hangs from it into the recycle bin.
func (o *Org) Delete(object, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.do(o.adminID(), func(tx *Tx) error { return tx.deleteNamed(object, id) })
}

// Create is Org.Create within the transaction.
func (tx *Tx) Create(object string, fields map[string]any) (id string, err error) {
	tx.org.mu.Lock()
	defer tx.org.mu.Unlock()
	if tx.done {
		return "", ErrDone
	}
	return tx.createNamed(object, fields)
}

// Update is Org.Update within the transaction.
func (tx *Tx) Update(object, id string, fields map[string]any) error {
	tx.org.mu.Lock()
	defer tx.org.mu.Unlock()
	if tx.done {
		return ErrDone
	}
	return tx.updateNamed(object, id, fields)
}

// Delete is Org.Delete within the transaction.
func (tx *Tx) Delete(object, id string) error {
	tx.org.mu.Lock()
	defer tx.org.mu.Unlock()
	if tx.done {
		return ErrDone
	}
	return tx.deleteNamed(object, id)
}

// Commit lets everybody see what the transaction saved, under the stamps of then.
func (tx *Tx) Commit() error {
	tx.org.mu.Lock()
	defer tx.org.mu.Unlock()
	if tx.done {
		return ErrDone
	}
	return tx.commit()
}

// Rollback undoes the transaction.
func (tx *Tx) Rollback() {
	tx.org.mu.Lock()
	defer tx.org.mu.Unlock()
	tx.undo()
}

func (tx *Tx) view() *view {
	v := tx.org.view()
	v.tx, v.access = tx, tx.access
	return v
}

// asSystem runs what the org does by itself, which the user's rights do not bind.
func (tx *Tx) asSystem(fn func()) {
	was := tx.access
	tx.access = nil
	fn()
	tx.access = was
}

func (tx *Tx) undo() {
	if tx.done {
		return
	}
	tx.done = true
	delete(tx.org.open, tx)
	tx.unlock()
}

func (tx *Tx) commit() error {
	tx.done = true
	o := tx.org
	delete(o.open, tx)
	defer tx.unlock()
	v := o.view()
	for _, k := range tx.order {
		n := tx.pending[k]
		old, was := v.at(k.t, k.i)
		wasLive := was && !v.deleted(old)
		isLive := !n.gone && !v.deleted(row{k.t, k.i, n})
		if wasLive && !isLive {
			o.deletions = append(o.deletions, o.now().UnixMilli())
		}
		if wasLive != isLive {
			// The count of untouched rows may not have been made yet; the difference is kept all the same.
			if isLive {
				k.t.live++
			} else {
				k.t.live--
			}
		}
		for _, f := range k.t.object.fields {
			if f.pos >= len(n.cells) || n.cells[f.pos].k != text || f.Type != "reference" && !f.Unique {
				continue
			}
			if !was || !v.get(old, f).equal(n.cells[f.pos]) {
				k.t.index.add(f, n.cells[f.pos], k.i)
			}
		}
		if err := o.journal.save(v, k, old, was, n); err != nil {
			return fmt.Errorf("simorg: the state file: %w", err)
		}
		if n.gone && was {
			x := k.t.object
			o.gone[x.name] = append(o.gone[x.name], goneRow{k.i, n.cells[x.fStamp.pos].n})
		}
		k.t.put(k.i, n)
		v.reset()
	}
	return o.journal.flush()
}

// store puts a version into the transaction. It fails when another transaction has the row.
func (tx *Tx) store(t *table, i uint32, n *version) *rowError {
	k := rowKey{t, i}
	if err := tx.lock(k); err != nil {
		return err
	}
	if _, ok := tx.pending[k]; !ok {
		tx.order = append(tx.order, k)
	}
	for _, f := range t.object.fields {
		if f.pos < len(n.cells) && n.cells[f.pos].k == text && (f.Type == "reference" || f.Unique) {
			if old := tx.pending[k]; old == nil || f.pos >= len(old.cells) || !old.cells[f.pos].equal(n.cells[f.pos]) {
				tx.index.add(f, n.cells[f.pos], i)
			}
		}
	}
	tx.undone = append(tx.undone, undo{k, tx.pending[k]})
	tx.pending[k] = n
	return nil
}

// undo is a version that a store replaced; nil where the transaction had none.
type undo struct {
	key rowKey
	was *version
}

// attempt runs fn, and takes back what it saved when it refuses: of the rows of one request, the others go on.
func (tx *Tx) attempt(fn func() *rowError) *rowError {
	mark := len(tx.undone)
	bad := fn()
	if bad == nil {
		return nil
	}
	for k := len(tx.undone) - 1; k >= mark; k-- {
		u := tx.undone[k]
		if u.was != nil {
			tx.pending[u.key] = u.was
			continue
		}
		delete(tx.pending, u.key)
		tx.order = tx.order[:len(tx.order)-1]
	}
	tx.undone = tx.undone[:mark]
	return bad
}

func (tx *Tx) unlock() {
	for _, k := range tx.locked {
		delete(tx.org.locks, k)
	}
	tx.locked = nil
}

func (tx *Tx) lock(k rowKey) *rowError {
	switch other := tx.org.locks[k]; other {
	case nil:
		tx.org.locks[k] = tx
		tx.locked = append(tx.locked, k)
	case tx:
	default:
		return refuse("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records: "+row{t: k.t, i: k.i}.id())
	}
	return nil
}

func (tx *Tx) createNamed(name string, fields map[string]any) (string, error) {
	x := tx.org.byName[lower(name)]
	if x == nil {
		return "", refuse("INVALID_TYPE", "sObject type '"+name+"' is not supported.")
	}
	cells, err := tx.convertAll(x, fields)
	if err != nil {
		return "", err
	}
	id, refused := tx.create(x, cells)
	if refused != nil {
		return "", refused
	}
	return id, nil
}

func (tx *Tx) updateNamed(name, id string, fields map[string]any) error {
	r, ok := tx.view().find(id)
	if !ok || !strings.EqualFold(r.t.object.name, name) {
		return refuse("NOT_FOUND", "there is no "+name+" "+id)
	}
	cells, err := tx.convertAll(r.t.object, fields)
	if err != nil {
		return err
	}
	if err := tx.update(r, cells); err != nil {
		return err
	}
	return nil
}

func (tx *Tx) deleteNamed(name, id string) error {
	r, ok := tx.view().find(id)
	if !ok || !strings.EqualFold(r.t.object.name, name) {
		return refuse("NOT_FOUND", "there is no "+name+" "+id)
	}
	if err := tx.delete([]row{r}); err != nil {
		return err
	}
	return nil
}

// assignments are the cells that a save sets.
type assignments map[*field]value

// convertAll takes Go values by field name. Compared with a request of the API it also takes Go's own numbers and times.
func (tx *Tx) convertAll(x *object, fields map[string]any) (assignments, error) {
	cells := assignments{}
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := tx.setField(x, cells, n, fields[n]); err != nil {
			return nil, err
		}
	}
	return cells, nil
}
