package simorg

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ValidationRule refuses to save a row for which its condition holds, as an administrator's validation rule does.
type ValidationRule struct {
	Object string `json:"object"`
	Name   string `json:"name,omitempty"`
	// Condition is what must not be, in the words of SOQL's WHERE: "Email = null AND Status = 'Working - Contacted'". It may look
	// through references: "Account.Rating = 'Cold'".
	Condition string `json:"condition"`
	Message   string `json:"message"`
	// Field is where the message is shown; empty: on top of the page.
	Field string `json:"field,omitempty"`
}

// validation is a rule at work.
type validation struct {
	ValidationRule
	object *object
	holds  predicate
}

// AddValidationRule makes a rule active until remove is called: no row is saved while its condition holds, by whatever way. It fails
// when the condition is no good SOQL.
func (o *Org) AddValidationRule(r ValidationRule) (remove func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.byName[lower(r.Object)]
	if x == nil {
		return nil, fmt.Errorf("simorg: there is no object %s", r.Object)
	}
	if r.Message == "" {
		return nil, errors.New("simorg: a validation rule needs a message")
	}
	if r.Field != "" {
		f := x.byName[lower(r.Field)]
		if f == nil {
			return nil, fmt.Errorf("simorg: there is no field %s.%s", r.Object, r.Field)
		}
		r.Field = f.Name
	}
	holds, err := o.condition(x, r.Condition)
	if err != nil {
		return nil, err
	}
	c := &validation{r, x, holds}
	o.checks = append(o.checks, c)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.checks = slices.DeleteFunc(o.checks, func(v *validation) bool { return v == c })
	}, nil
}

// condition compiles a WHERE clause; the org's lock is held.
func (o *Org) condition(x *object, where string) (predicate, error) {
	src := "SELECT Id FROM " + x.name + " WHERE " + where
	q, bad := parseSOQL(src)
	if bad == nil && q.where == nil {
		return nil, errors.New("simorg: the condition is empty")
	}
	if bad != nil {
		return nil, fmt.Errorf("simorg: the condition %q: %s", where, bad.explain(src))
	}
	b := &binder{v: o.view(), src: src}
	p, bad := b.where(x, q.where, q.alias)
	if bad != nil {
		return nil, fmt.Errorf("simorg: the condition %q: %s", where, bad.explain(src))
	}
	return p, nil
}

// validate holds a draft against the validation rules of its object; all that fire are told together.
func (tx *Tx) validate(d *draft) *rowError {
	var first *rowError
	for _, c := range tx.org.checks {
		if c.object != d.t.object || !c.holds(tx.view(), d.row()) {
			continue
		}
		e := refuse("FIELD_CUSTOM_VALIDATION_EXCEPTION", c.Message)
		e.fields = []string{}
		if c.Field != "" {
			e.fields = []string{c.Field}
		}
		if first == nil {
			first = e
		} else {
			first.more = append(first.more, e)
		}
	}
	return first
}

// said gives the text of a refusal in Bulk's failed results: CODE:message:fields --, one after the other.
func (e *rowError) said() string {
	var b strings.Builder
	for _, e := range e.all() {
		fields := strings.Join(e.fields, ", ")
		if fields != "" {
			fields += " "
		}
		fmt.Fprintf(&b, "%s:%s:%s--", e.code, e.message, fields)
	}
	return b.String()
}
