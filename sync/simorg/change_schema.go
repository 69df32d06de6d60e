package simorg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ObjectSpec says what a custom object is that an administrator makes in a running org. It has the fields that every custom object has
// (Id, OwnerId, Name, the system fields), and these.
type ObjectSpec struct {
	Name   string      `json:"name"` // ends in __c
	Label  string      `json:"label,omitempty"`
	Plural string      `json:"plural,omitempty"`
	Fields []FieldSpec `json:"fields,omitempty"`
}

// AddObject makes a custom object; it has no rows. All users see it.
func (o *Org) AddObject(s ObjectSpec) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !strings.HasSuffix(s.Name, "__c") || o.byName[lower(s.Name)] != nil {
		return fmt.Errorf("simorg: %q is no name for a new custom object: it must end in __c and be free", s.Name)
	}
	if s.Label == "" {
		s.Label = labelOf(s.Name)
	}
	if s.Plural == "" {
		s.Plural = s.Label + "s"
	}
	prefix := ""
	for n := 0; n < 62 && prefix == ""; n++ {
		if p := "a1" + string(base62[n]); o.prefixes[p] == nil {
			prefix = p
		}
	}
	if prefix == "" {
		return errors.New("simorg: there is no key prefix left for another custom object")
	}
	x := define(&object{
		name: s.Name, label: s.Label, plural: s.Plural, prefix: prefix, custom: true, createable: true, updateable: true, deletable: true, undeletable: true, size: func(*sizes) int { return 0 },
	}, ref("OwnerId", "Owner", "Group", "User").notNull(), str("Name", 80).label(s.Label+" Name"))
	for _, f := range s.Fields {
		if err := o.addField(x, f); err != nil {
			return err
		}
	}
	x.changed = laterSecond(o.nowSecond(), o.objects[0].changed)
	t := newTable(x, 0)
	o.objects = append(slices.Clip(o.objects), x)
	o.byName[lower(x.name)], o.tables[x.name], o.prefixes[prefix] = x, t, t
	o.link()
	o.metadataChanged(x)
	return nil
}

// AddField gives an object one more field. Rows that are there have it empty, or false where it is a boolean: their stamps do not move.
func (o *Org) AddField(object string, f FieldSpec) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.byName[lower(object)]
	if x == nil {
		return fmt.Errorf("simorg: there is no object %s", object)
	}
	if err := o.addField(x, f); err != nil {
		return err
	}
	o.link()
	o.metadataChanged(x)
	return nil
}

func (o *Org) addField(x *object, s FieldSpec) error {
	if s.Name == "" || s.Type == "" {
		return fmt.Errorf("simorg: a field of %s needs a name and a type", x.name)
	}
	if x.byName[lower(s.Name)] != nil {
		return fmt.Errorf("simorg: %s has a field %s already", x.name, s.Name)
	}
	f := &field{FieldSpec: s}
	if s.ExternalID {
		f.IDLookup = true
	}
	if s.PathFormula != "" {
		b := &binder{v: o.view()}
		c, err := b.path(x, &term{path: s.PathFormula}, "")
		if err != nil {
			return fmt.Errorf("simorg: the formula of %s.%s: %s", x.name, s.Name, err.message)
		}
		f.Formula = s.PathFormula
		f.derived(func(v *view, r row) value { return v.value(r, c) })
	}
	x.add(f)
	return nil
}

// RemoveField deletes a field and its data.
func (o *Org) RemoveField(object, name string) {
	o.setField(object, name, func(f *field) {
		f.removed = true
		// The name is free again; the place in the rows stays, because old versions have it.
		delete(f.owner.byName, lower(name))
		o.link()
	})
}

// RetypeField gives a custom field another type, length or set of choices, as an administrator does who converts it. Values that the
// new type can hold stay, others are lost. No stamp moves.
func (o *Org) RetypeField(object, name string, s FieldSpec) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, err := o.customField(object, name)
	if err != nil {
		return err
	}
	if s.Type == "" || f.derive != nil {
		return fmt.Errorf("simorg: %s.%s cannot be converted: a formula has no data, and the new type must be said", object, name)
	}
	x := f.owner
	s.Name = f.Name
	if s.Label == "" {
		s.Label = f.Label
	}
	n := &field{FieldSpec: s, was: f, hidden: f.hidden}
	n.IDLookup = n.IDLookup || n.ExternalID
	f.removed = true
	x.add(n)
	// It stands where the old one stood: the order of describe does not change.
	fields := slices.Clone(x.fields)
	fields = slices.Delete(fields, len(fields)-1, len(fields))
	fields = slices.Insert(fields, slices.Index(fields, f), n)
	x.fields = fields
	if n.Unique {
		t, v := o.tables[x.name], o.view()
		v.each(t, false, func(r row) bool {
			v.reset()
			if c := v.get(r, n); c.k == text {
				t.index.add(n, c.clone(), r.i)
			}
			return true
		})
	}
	o.link()
	o.metadataChanged(x)
	return nil
}

// RenameField changes the API name of a custom field. Its data stays, no stamp moves.
func (o *Org) RenameField(object, name, to string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, err := o.customField(object, name)
	if err != nil {
		return err
	}
	x := f.owner
	if !strings.HasSuffix(to, "__c") || x.byName[lower(to)] != nil && x.byName[lower(to)] != f {
		return fmt.Errorf("simorg: %q is no new name for %s.%s: it must end in __c and be free", to, object, name)
	}
	delete(x.byName, lower(f.Name))
	if f.RelationshipName != "" {
		f.RelationshipName = strings.TrimSuffix(to, "__c") + "__r"
	}
	f.Name = to
	x.byName[lower(to)] = f
	o.metadataChanged(x)
	return nil
}

// customField finds a custom field; standard ones cannot be changed. The org's lock is held.
func (o *Org) customField(object, name string) (*field, error) {
	x := o.byName[lower(object)]
	if x == nil {
		return nil, fmt.Errorf("simorg: there is no object %s", object)
	}
	f := x.byName[lower(name)]
	if f == nil || !f.custom {
		return nil, fmt.Errorf("simorg: there is no custom field %s.%s", object, name)
	}
	return f, nil
}

// retyped converts a value to what the field is now; what it cannot hold is lost.
func retyped(f *field, v value) value {
	if v.isNull() {
		return f.fill
	}
	raw := v.plainValue()
	switch f.Type {
	case "boolean", "int", "double", "currency", "percent", "date", "datetime", "time":
	default:
		s := cutRunes(fmt.Sprint(raw), max(f.Length, 1))
		if (f.Type == "picklist" || f.Type == "multipicklist") && f.Restricted && !slices.Contains(f.Picklist, s) || f.Type == "email" && !validEmail(s) || f.Type == "reference" {
			return f.fill
		}
		return textOf(s)
	}
	c, bad := convert(f, raw)
	if bad != nil {
		return f.fill
	}
	return c
}
