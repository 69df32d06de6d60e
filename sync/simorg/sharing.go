package simorg

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

// sharing is which rows of a private object one user sees besides the user's own. It never changes once it is made.
type sharing struct{ shared map[uint32]bool }

// SetPrivate makes an object's rows private to a user, as an organization-wide default does: the user sees those that the user owns, and
// those that are shared with the user, by every API. No row's SystemModstamp moves by it. The administrator sees everything.
func (o *Org) SetPrivate(username, objectName string, private bool) error {
	return o.share(username, objectName, func(x *object, n *access) error {
		if private {
			n.rows[x] = &sharing{}
		} else {
			delete(n.rows, x)
		}
		return nil
	})
}

// Share shares one row of a private object with a user, or takes that back. The row's SystemModstamp does not move.
func (o *Org) Share(username, objectName, id string, shared bool) error {
	return o.share(username, objectName, func(x *object, n *access) error {
		old := n.rows[x]
		if old == nil {
			return fmt.Errorf("simorg: %s is not private to %s", objectName, username)
		}
		r, ok := o.view().find(id)
		if !ok || r.t.object != x {
			return refuse("NOT_FOUND", "there is no "+objectName+" "+id)
		}
		s := &sharing{map[uint32]bool{}}
		maps.Copy(s.shared, old.shared)
		if shared {
			s.shared[r.i] = true
		} else {
			delete(s.shared, r.i)
		}
		n.rows[x] = s
		return nil
	})
}

func (o *Org) share(username, objectName string, change func(x *object, n *access) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	u, ok := o.user(username)
	if !ok {
		return fmt.Errorf("simorg: there is no user %s", username)
	}
	x := o.byName[lower(objectName)]
	if x == nil {
		return fmt.Errorf("simorg: there is no object %s", objectName)
	}
	n := o.accessOf(u.id()).clone(u.id())
	if err := change(x, n); err != nil {
		return err
	}
	o.setAccess(n)
	return nil
}

// seesRow tells whether the user who asks sees a row: the org itself, and whoever is bound by nothing, sees all.
func (v *view) seesRow(r row) bool {
	if v.access == nil || v.access.rows[r.t.object] == nil {
		return true
	}
	if v.access.rows[r.t.object].shared[r.i] {
		return true
	}
	owner := r.t.object.byName["ownerid"]
	return owner != nil && strings.EqualFold(v.get(r, owner).s, v.access.user)
}

// seen is find for the user who asks: a row that is not shared with the user is as if it were not there.
func (v *view) seen(id string) (row, bool) {
	r, ok := v.find(id)
	return r, ok && v.seesRow(r)
}

const (
	// binLife is how long a deleted row stays in the recycle bin; binEvery is how often it is looked for older ones.
	binLife, binEvery = 15 * 24 * time.Hour, time.Hour
)

// binJob purges what has been in the recycle bin for too long by the org's clock, as the platform does by itself: such rows are nowhere
// any more, and no list of deletions reaches back to them. Untouched rows that were made up as deleted ones stay, for they are made up
// as of a fixed day: else an org would lose them the moment that it starts.
func (o *Org) binJob() {
	now := o.now()
	if last := o.binRun.Load(); last != 0 && now.UnixMilli()-last < binEvery.Milliseconds() {
		return
	}
	o.binRun.Store(now.UnixMilli())
	o.mu.Lock()
	defer o.mu.Unlock()
	before := now.Add(-binLife).UnixMilli()
	err := o.do(o.adminID(), func(tx *Tx) error {
		v := o.view()
		for _, x := range o.objects {
			if x.fIsDeleted == nil {
				continue
			}
			t := o.tables[x.name]
			var old []row
			v.each(t, true, func(r row) bool {
				v.reset()
				if v.deleted(r) && v.deletedAt(r) < before {
					old = append(old, r)
				}
				return true
			})
			for _, r := range old {
				if refused := tx.store(t, r.i, &version{cells: v.cells(r), gone: true}); refused != nil && refused.code != "UNABLE_TO_LOCK_ROW" {
					return refused
				}
			}
		}
		return nil
	})
	if err != nil {
		o.log.Warn("the recycle bin could not be emptied of what is too old", "error", err)
	}
}
