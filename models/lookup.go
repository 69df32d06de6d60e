package models

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// lookupMax bounds what is offered for a reference.
const lookupMax = 12

// Lookup finds the records that a field of an object may refer to, by the beginning of a name or an e-mail, or by an id. What
// Salesforce would refuse is left out: deleted records, converted leads, users that are not active, groups that are no queue.
func (db *DB) Lookup(ctx context.Context, object, column, q string) ([]RecordLine, error) {
	d, err := db.Described(ctx, object)
	if err != nil {
		return nil, err
	}
	f, ok := d.Field(column)
	if !ok || f.Type != "reference" {
		return nil, ErrNotFound
	}
	return db.lookup(ctx, f, q)
}

func (db *DB) lookup(ctx context.Context, f RecordField, q string) ([]RecordLine, error) {
	q = strings.TrimSpace(q)
	if q == "" {
		return nil, nil
	}
	if id, ok := strings.CutPrefix(q, "local:"); ok && localID.MatchString(id) {
		q = id
	}
	var found []RecordLine
	for _, name := range f.ReferenceTo {
		d, err := db.Described(ctx, name)
		if err != nil {
			return nil, err
		}
		if !d.Known() {
			continue
		}
		lines, err := db.searchIn(ctx, d, q, slices.Contains(searched, name) || d.text("name"), d.referable())
		if err != nil {
			return nil, err
		}
		found = append(found, lines...)
	}
	return found[:min(len(found), lookupMax)], nil
}

// referable is the condition that a row of the table t meets which others may be made to refer to.
func (d Described) referable() string {
	conditions := []string{"true"}
	for column, is := range map[string]string{"isdeleted": "t.isdeleted IS NOT TRUE", "isconverted": "t.isconverted IS NOT TRUE", "isactive": "t.isactive IS NOT FALSE"} {
		// A campaign that is not active takes members all the same.
		if f, ok := d.Field(column); ok && f.ColumnType == "boolean" && (column != "isactive" || d.Object == "User") {
			conditions = append(conditions, is)
		}
	}
	if d.Object == "Group" && d.text("type") {
		conditions = append(conditions, "t.type = 'Queue'")
	}
	return strings.Join(conditions, " AND ")
}

// resolve takes what somebody typed into a reference for an id: one as it is, a name or an e-mail for the record that is called so, where
// there is one alone.
func (db *DB) resolve(ctx context.Context, f RecordField, text string) (string, error) {
	if text == "" || reference.MatchString(text) {
		return text, nil
	}
	lines, err := db.lookup(ctx, f, text)
	if err != nil {
		return "", err
	}
	lines = slices.DeleteFunc(lines, func(l RecordLine) bool { return !strings.EqualFold(l.Name, text) && !strings.EqualFold(l.Email, text) })
	switch len(lines) {
	case 0:
		return "", refuse(CodeInvalid, "record.reference_none", "field", f.Label, "value", text)
	case 1:
		return lines[0].Reference(), nil
	}
	list := make([]string, len(lines))
	for i, l := range lines {
		list[i] = l.Object + " " + l.Reference()
	}
	return "", refuse(CodeInvalid, "record.reference_several", "field", f.Label, "value", text, "records", strings.Join(list, ", "))
}

// Reference is how a reference column points to the record.
func (l RecordLine) Reference() string {
	if l.SFID != "" {
		return l.SFID
	}
	return "local:" + strconv.FormatInt(l.ID, 10)
}
