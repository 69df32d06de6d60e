package simorg

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Sees is what a user may do with an object or a field, as profiles and permission sets say it.
type Sees int

const (
	// SeesAll is the default: what the schema allows, the user may.
	SeesAll Sees = iota
	// SeesReadOnly lets the user read and not write.
	SeesReadOnly
	// SeesNothing takes it out of the user's sight: out of describe, and no query and no save may name it.
	SeesNothing
)

var seesNames = []string{"all", "read", "nothing"}

// UnmarshalText reads "all", "read" or "nothing".
func (s *Sees) UnmarshalText(b []byte) error {
	k := slices.Index(seesNames, string(b))
	if k < 0 {
		return fmt.Errorf("simorg: a user sees one of %v, not %q", seesNames, b)
	}
	*s = Sees(k)
	return nil
}

// access is what one user may less than others. It never changes once it is made, and nil is everything.
type access struct {
	objects map[*object]Sees
	fields  map[*field]Sees
	changed map[*object]time.Time // when this user's describe changed last
	number  int                   // of the version, to tell cached describes apart

	user string               // whose it is
	rows map[*object]*sharing // which rows of private objects; an object that is not in it is public
}

// clone gives a copy that may be changed before it is set; of nil, one that sees everything.
func (a *access) clone(user string) *access {
	n := &access{objects: map[*object]Sees{}, fields: map[*field]Sees{}, changed: map[*object]time.Time{}, rows: map[*object]*sharing{}, user: user}
	if a != nil {
		maps.Copy(n.objects, a.objects)
		maps.Copy(n.fields, a.fields)
		maps.Copy(n.changed, a.changed)
		maps.Copy(n.rows, a.rows)
		n.number = a.number
	}
	return n
}

// setAccess lets an access hold from now on. The org's lock is held.
func (o *Org) setAccess(n *access) {
	all := map[string]*access{}
	if p := o.accesses.Load(); p != nil {
		all = maps.Clone(*p)
	}
	all[n.user] = n
	o.accesses.Store(&all)
}

// SetUserSees says what a user may do with a field, or with a whole object where field is empty. It holds for every call under a token
// of that user, from now on and whatever token; people who work in the org's own pages are not bound by it. It fails when there is no such user,
// object or field.
func (o *Org) SetUserSees(username, objectName, fieldName string, sees Sees) error {
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
	id := u.id()
	old := o.accessOf(id)
	n := old.clone(id)
	n.number++
	if fieldName == "" {
		n.objects[x] = sees
	} else {
		f := x.byName[lower(fieldName)]
		if f == nil {
			return fmt.Errorf("simorg: there is no field %s.%s", objectName, fieldName)
		}
		n.fields[f] = sees
	}
	// Other objects name this one among their children and in their references.
	for _, other := range o.objects {
		if other == x || fieldName == "" {
			n.changed[other] = laterSecond(o.nowSecond(), old.changedAt(other))
		}
	}
	o.setAccess(n)
	return nil
}

// laterSecond gives now, or the second after last where that is not later: describes have whole seconds.
func laterSecond(now, last time.Time) time.Time {
	if now.After(last) {
		return now
	}
	return last.Add(time.Second)
}

// accessOf gives what holds for a user at this moment.
func (o *Org) accessOf(user string) *access {
	if p := o.accesses.Load(); p != nil {
		return (*p)[user]
	}
	return nil
}

// changedAt is when what the user's describe says of the object changed last.
func (a *access) changedAt(x *object) time.Time {
	if a != nil && a.changed[x].After(x.changed) {
		return a.changed[x]
	}
	return x.changed
}

// key tells the user's describe from those of others.
func (a *access) key(version, user string) string {
	if a == nil {
		return version
	}
	return fmt.Sprint(version, user, a.number)
}

func (a *access) seesObject(x *object) bool {
	return x.visible() && (a == nil || a.objects[x] != SeesNothing)
}

func (a *access) sees(f *field) bool {
	return f.visible() && (a == nil || a.fields[f] != SeesNothing)
}

// object finds an object that the user sees by its API name, in any case; the org's lock is held.
func (a *access) object(o *Org, name string) *object {
	if x := o.byName[lower(name)]; x != nil && a.seesObject(x) {
		return x
	}
	return nil
}

func (a *access) field(x *object, name string) *field {
	if f := x.byName[lower(name)]; f != nil && a.sees(f) {
		return f
	}
	return nil
}

// relationship finds the reference that the user sees whose parent side has this name.
func (a *access) relationship(x *object, name string) *field {
	for _, f := range x.fields {
		if f.Type == "reference" && a.sees(f) && f.RelationshipName != "" && strings.EqualFold(f.RelationshipName, name) {
			return f
		}
	}
	return nil
}

func (a *access) writesObject(x *object) bool { return a == nil || a.objects[x] == SeesAll }

func (a *access) createable(x *object) bool { return x.createable && a.writesObject(x) }
func (a *access) updateable(x *object) bool { return x.updateable && a.writesObject(x) }
func (a *access) deletable(x *object) bool  { return x.deletable && a.writesObject(x) }

func (a *access) writes(f *field) bool {
	return a == nil || a.fields[f] == SeesAll && a.writesObject(f.owner)
}

func (a *access) creates(f *field) bool { return f.createable() && a.writes(f) }
func (a *access) updates(f *field) bool { return f.updateable() && a.writes(f) }
