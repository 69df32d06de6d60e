package templates

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/models"
)

// twoWay lists the objects that are switched on and flow both ways.
func twoWay(s models.Status) []models.ObjectStatus {
	return slices.DeleteFunc(slices.Clone(s.Objects), func(o models.ObjectStatus) bool { return o.Direction != models.TwoWay })
}

// URLRecordsFor is a search's address.
func URLRecordsFor(q, object string) string {
	v := url.Values{}
	if q != "" {
		v.Set("q", q)
	}
	if object != "" {
		v.Set("object", object)
	}
	if len(v) == 0 {
		return URLRecords
	}
	return URLRecords + "?" + v.Encode()
}

// fieldGroup are a record's fields that are shown together.
type fieldGroup struct {
	key    string
	fields []models.RecordField
}

// systemColumns are kept by Salesforce itself.
var systemColumns = []string{
	"sfid", "isdeleted", "createddate", "createdbyid", "lastmodifieddate", "lastmodifiedbyid", "systemmodstamp", "lastactivitydate", "lastvieweddate", "lastreferenceddate",
	"masterrecordid", "isconverted", "converteddate", "convertedcontactid", "convertedaccountid", "convertedopportunityid", "isarchived", "photourl", "jigsawcontactid", "individualid",
}

// groupFields parts the fields that hold something by what they are; empty tells of the rest.
func groupFields(r models.Record) (groups []fieldGroup, empty []models.RecordField) {
	byKey := map[string][]models.RecordField{}
	for _, f := range r.Described.Fields {
		v := r.Values[f.Column]
		switch {
		case v == nil || *v == "":
			empty = append(empty, f)
			continue
		case f.Gone:
			byKey["gone"] = append(byKey["gone"], f)
		case slices.Contains(systemColumns, f.Column):
			byKey["system"] = append(byKey["system"], f)
		case f.Custom:
			byKey["custom"] = append(byKey["custom"], f)
		case f.Type == "reference":
			byKey["links"] = append(byKey["links"], f)
		default:
			byKey["details"] = append(byKey["details"], f)
		}
	}
	for _, key := range []string{"details", "links", "custom", "gone", "system"} {
		if len(byKey[key]) > 0 {
			groups = append(groups, fieldGroup{key, byKey[key]})
		}
	}
	return groups, empty
}

// shown is a field's value as people read it.
func shown(p Page, f models.RecordField, v *string) string {
	if v == nil {
		return p.L.T("value.empty")
	}
	switch f.ColumnType {
	case "boolean":
		return p.L.T("value." + *v)
	case "timestamp with time zone":
		if t, err := time.Parse("2006-01-02T15:04:05.999999", *v); err == nil {
			return p.L.Time(t)
		}
	}
	if f.Type == "multipicklist" {
		return strings.Join(strings.Split(*v, ";"), ", ")
	}
	return *v
}

// storyMark is how an event of a record's story looks: what flows in is green, what flows out orange.
func storyMark(e models.StoryEvent) (tone, mark string) {
	switch e.Kind {
	case models.StoryCreated, models.StoryModified:
		return "pea", "→"
	case models.StoryEdited:
		return "carrot", "✎"
	case models.StorySettled:
		return "carrot", "⇄"
	case models.StoryRefused:
		return "red", "▲"
	case models.StoryConflict:
		return "amber", "●"
	}
	return "grey", "●"
}

// storyTitle says what happened.
func storyTitle(p Page, e models.StoryEvent) string {
	l := p.L
	switch e.Kind {
	case models.StoryCreated, models.StoryModified:
		return l.T("story."+string(e.Kind), "who", e.Who)
	case models.StoryEdited:
		return l.T("story.edited."+e.Operation, "who", e.Who, "application", applicationOf(p, e.Application))
	case models.StorySettled:
		return l.T("story.settled."+e.Outcome, "who", e.Who)
	case models.StoryRefused, models.StoryMended:
		return l.T("story." + string(e.Kind) + "." + e.Direction)
	case models.StoryConflict:
		return l.T("story.conflict", "field", e.Conflict.Label)
	case models.StoryConflictOK:
		return l.T("story.conflict-closed", "field", e.Conflict.Label, "how", conflictEnd(p, e.Conflict), "who", e.Who)
	}
	return l.T("story."+string(e.Kind), "object", e.Other.Object)
}

func applicationOf(p Page, name string) string {
	if name == "" {
		return p.L.T("story.no_application")
	}
	return name
}

// formValue is what a form's field shows: what was typed, or what is there.
func (p RecordFormProps) formValue(f models.RecordField) string {
	if v, ok := p.Typed[f.Column]; ok {
		return v
	}
	return p.was(f)
}

// was is what the form showed first.
func (p RecordFormProps) was(f models.RecordField) string {
	if v, ok := p.Was[f.Column]; ok {
		return v
	}
	if v := p.Record.Values[f.Column]; v != nil {
		return *v
	}
	if p.New && f.ColumnType == "boolean" {
		return "false"
	}
	return ""
}

// choicesOf are a picklist's choices to offer: the active ones, and what is there although it is none of them.
func choicesOf(f models.RecordField, now string) []models.Choice {
	list := make([]models.Choice, 0, len(f.Choices)+1)
	known := now == ""
	for _, c := range f.Choices {
		if c.Active {
			list = append(list, c)
			known = known || c.Value == now
		}
	}
	if !known {
		list = append(list, models.Choice{Label: now, Value: now})
	}
	return list
}

// chosenOf are the values of a multi-select picklist.
func chosenOf(value string) []string {
	if value == "" {
		return nil
	}
	return strings.Split(value, ";")
}

// formOrder puts what is needed first, then standard fields, then custom ones.
func formOrder(fields []models.RecordField) []models.RecordField {
	fields = slices.Clone(fields)
	rank := func(f models.RecordField) int {
		switch {
		case f.Required():
			return 0
		case slices.Contains([]string{"firstname", "lastname", "email", "phone", "title", "company", "status", "campaignid", "leadid", "contactid", "accountid", "name"}, f.Column):
			return 1
		case f.Custom:
			return 3
		}
		return 2
	}
	slices.SortStableFunc(fields, func(a, b models.RecordField) int { return rank(a) - rank(b) })
	return fields
}

func lengthOf(f models.RecordField) string {
	if f.Length > 0 && f.ColumnType == "text" {
		return itoa(f.Length)
	}
	return ""
}

// wide tells whether a field needs the form's whole width.
func wideField(f models.RecordField) bool {
	return f.Type == "textarea" || f.Length > 255 && f.Type != "multipicklist"
}

// lookedUp names a record that a reference may point to: with its object, and its e-mail where others may have the same name.
func lookedUp(p Page, line models.RecordLine) string {
	name := recordTitle(line.Name, line.ID, line.SFID)
	if line.Email != "" {
		name += " · " + line.Email
	}
	return name + " · " + oneOf(p.Status, line.Object)
}

// oneOf is what people call one record of an object.
func oneOf(s models.Status, name string) string {
	for _, o := range s.Objects {
		if o.Name == name {
			return o.Label
		}
	}
	return name
}

func objectNames(p Page, names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = oneOf(p.Status, n)
	}
	return joinList(list)
}

// waitsFor says what an edit waits for.
func waitsFor(p Page, w models.Waiting) string {
	l := p.L
	switch {
	case w.Sending:
		return l.T("story.state.claimed")
	case w.ParentRefused:
		return l.T("waiting.for_refused")
	case w.ParentID != 0:
		return l.T("waiting.for_parent")
	case p.Status.Connection.State != models.StateConnected:
		return l.T("waiting.for_connection")
	case p.Status.Denied != nil || slices.ContainsFunc(p.Status.Approvals, func(a models.Approval) bool { return a.Kind == models.ApproveFirstSend }):
		return l.T("waiting.for_yes")
	case p.Frozen():
		return l.T("waiting.for_resume")
	case w.RetryAt != nil && w.RetryAt.After(p.Status.Now):
		return l.T("waiting.for_retry", "in", l.Ago(*w.RetryAt, p.Status.Now))
	}
	return l.T("waiting.for_turn")
}

// whoWith names who edited: the database role, and the program where it told its name.
func whoWith(p Page, who, application string) string {
	if application == "" {
		return who
	}
	return p.L.T("conflicts.made_by", "who", who, "application", application)
}
