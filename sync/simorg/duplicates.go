package simorg

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DuplicateRule finds rows that have the same text in a field. One that blocks refuses the save; one that does not only warns, and is
// passed by allowSave in the request's Sforce-Duplicate-Rule-Header.
type DuplicateRule struct {
	Object string `json:"object"`
	Field  string `json:"field"`
	Block  bool   `json:"block,omitempty"`
}

// AddDuplicateRule makes a duplicate rule active until remove is called. It fails when there is no such field.
func (o *Org) AddDuplicateRule(r DuplicateRule) (remove func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.byName[lower(r.Object)]
	if x == nil || x.byName[lower(r.Field)] == nil {
		return nil, fmt.Errorf("simorg: there is no field %s.%s", r.Object, r.Field)
	}
	o.doubles = append(o.doubles, &r)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.doubles = slices.DeleteFunc(o.doubles, func(d *DuplicateRule) bool { return d == &r })
	}, nil
}

// AssignLeads makes an assignment rule active that gives every lead that a program creates or updates to a user or queue, unless the
// request says Sforce-Auto-Assign: FALSE; a bulk job obeys it when it names an assignmentRuleId. An empty id switches it off.
func (o *Org) AssignLeads(ownerID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.assignTo = to18(ownerID)
}

// assigner gives what the assignment rule does with the fields of a lead; nil where there is no rule.
func (o *Org) assigner() func(given assignments) assignments {
	owner := o.assignTo
	if owner == "" {
		return nil
	}
	return func(given assignments) assignments {
		given = maps.Clone(given)
		given[o.byName["lead"].fOwner] = textOf(owner)
		return given
	}
}

// duplicate holds a draft against the duplicate rules of its object.
func (tx *Tx) duplicate(d *draft) *rowError {
	x := d.t.object
	for _, rule := range tx.org.doubles {
		if !strings.EqualFold(rule.Object, x.name) || tx.allowDuplicates && !rule.Block {
			continue
		}
		f := x.byName[lower(rule.Field)]
		if !d.changed[f] || d.cells[f.pos].isNull() {
			continue
		}
		var matches []row
		for _, r := range tx.view().byKey(f, d.cells[f.pos].s) {
			if r.i != d.i || d.create {
				matches = append(matches, r)
			}
		}
		if len(matches) > 0 {
			return duplicatesDetected(x, rule, matches)
		}
	}
	return nil
}

// duplicatesDetected is the refusal with its extra key, which Salesforce misspells.
func duplicatesDetected(x *object, rule *DuplicateRule, matches []row) *rowError {
	const message = "You're creating a duplicate record. We recommend you use an existing record instead."
	b := fmt.Appendf(nil, `"duplicateResut":{"allowSave":%t,"duplicateRule":"Standard_%s_Duplicate_Rule","duplicateRuleEntityType":"%s","errorMessage":"%s","matchResults":[{"entityType":"%s","errors":[],"matchEngine":"ExactMatchEngine","matchRecords":[`,
		!rule.Block, x.name, x.name, message, x.name)
	for k, r := range matches {
		if k > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"additionalInformation":[],"fieldDiffs":[],"matchConfidence":100.0,"record":{"attributes":{"type":"%s","url":"/services/data/v%d.0/sobjects/%s/%s"},"Id":"%s"}}`, x.name, versionLast, x.name, r.id(), r.id())
	}
	b = fmt.Appendf(b, `],"rule":"Standard_%s_Match_Rule_v1_1","size":%d,"success":true}]}`, x.name, len(matches))
	return &rowError{code: "DUPLICATES_DETECTED", message: message, extra: string(b)}
}
