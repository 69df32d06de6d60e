package otherorg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// refusal is why a record is not saved.
type refusal struct {
	code, message string
	fields        []string
	double        string // the record that it would double
}

// fieldsOf reads what a record is to be set to; numbers stay as they are written.
func fieldsOf(body []byte) (map[string]any, error) {
	var set map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	err := d.Decode(&set)
	return set, err
}

// save changes a record, or makes one where row is nil. What cannot be saved is refused and changes nothing.
func (o *Org) save(d *object, row, set map[string]any, how http.Header) (map[string]any, *refusal) {
	id := ""
	if row != nil {
		id = row["Id"].(string)
		if row["IsDeleted"] == true {
			return nil, &refusal{code: "ENTITY_IS_DELETED", message: "entity is deleted"}
		}
		if d.concealed[id] {
			return nil, &refusal{code: "INVALID_CROSS_REFERENCE_KEY", message: "invalid cross reference id"}
		}
	}
	// Rules come first here, and types last.
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if set[name] == "REFUSE ME" {
			return nil, &refusal{code: "FIELD_CUSTOM_VALIDATION_EXCEPTION", message: "No such person, please"}
		}
	}
	if no := o.rowTrouble(d, id, set); no != nil {
		return nil, no
	}
	if row == nil {
		var missing []string
		for _, f := range d.fields {
			if f.required && (set[f.Name] == nil || set[f.Name] == "") {
				missing = append(missing, f.Name)
			}
		}
		if len(missing) > 0 {
			return nil, &refusal{code: "REQUIRED_FIELD_MISSING", message: "Required fields are missing: [" + strings.Join(missing, ", ") + "]", fields: missing}
		}
	}
	values := map[string]any{}
	for name, v := range set {
		f, known := d.field(name)
		switch {
		case !known:
			return nil, &refusal{code: "INVALID_FIELD", message: "No such column '" + name + "' on sobject of type " + d.name}
		case f.readOnly:
			return nil, &refusal{code: "INVALID_FIELD_FOR_INSERT_UPDATE", message: "Unable to create/update fields: " + f.Name + ". Please check the security settings of this field and verify that it is read/write for your profile or permission set.", fields: []string{f.Name}}
		}
		value, no := f.take(v)
		if no != nil {
			return nil, no
		}
		values[f.Name] = value
	}
	if no := o.doubles(d, id, values, how); no != nil {
		return nil, no
	}
	if row == nil {
		d.last++
		row = map[string]any{"Id": ID(d.prefix, d.last), "CreatedDate": o.clock, "CreatedById": ID("005", 1), "IsDeleted": false}
		for _, f := range d.fields {
			if f.Kind == "boolean" {
				row[f.Name] = false
			}
		}
		if f, ok := d.field("OwnerId"); ok {
			row[f.Name] = ID("005", 1)
		}
		maps.Copy(row, values)
		if d.name == "CampaignMember" && row["Status"] == nil {
			row["Status"] = "Sent"
		}
		d.keep(row)
	} else {
		maps.Copy(row, values)
	}
	if f, ok := d.field("Name"); ok && f.readOnly {
		if row[f.Name] = row["LastName"]; row["FirstName"] != nil {
			row[f.Name] = fmt.Sprint(row["FirstName"], " ", row["LastName"])
		}
	}
	row["LastModifiedDate"], row["SystemModstamp"], row["LastModifiedById"] = o.clock, o.clock, ID("005", 1)
	return row, nil
}

// take turns what was sent, as JSON or as a cell of CSV, into a value of the field.
func (f Field) take(v any) (any, *refusal) {
	wrong := func(v any) (any, *refusal) {
		return nil, &refusal{code: "INVALID_TYPE_ON_FIELD_IN_RECORD", message: fmt.Sprintf("%s: value not of required type: %v", f.Name, v), fields: []string{f.Name}}
	}
	if v == nil || v == "" {
		if f.Kind == "boolean" {
			return false, nil
		}
		return nil, nil
	}
	switch f.Kind {
	case "boolean":
		b, err := strconv.ParseBool(fmt.Sprint(v))
		if err != nil {
			return wrong(v)
		}
		return b, nil
	case "int", "double", "currency":
		text := fmt.Sprint(v)
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return wrong(v)
		}
		return Number{text, text}, nil
	case "datetime":
		at, err := time.Parse(time.RFC3339, fmt.Sprint(v))
		if err != nil {
			return wrong(v)
		}
		return at.UTC().Truncate(time.Second), nil
	}
	text, isText := v.(string)
	if !isText {
		return wrong(v)
	}
	// Space at the ends of a text goes as it is saved.
	if text = strings.Trim(text, " "); text == "" {
		return nil, nil
	}
	if f.Length > 0 && len([]rune(text)) > f.Length {
		return nil, &refusal{code: "STRING_TOO_LONG", message: fmt.Sprintf("%s: data value too large: %.40s (max length=%d)", f.Name, text, f.Length), fields: []string{f.Name}}
	}
	if f.Kind == "email" {
		text = strings.ToLower(text)
	}
	return text, nil
}

// doubles refuses what must be there once, and by a rule that warns a new person whose address another has.
func (o *Org) doubles(d *object, id string, values map[string]any, how http.Header) *refusal {
	for _, f := range d.fields {
		if !f.key || values[f.Name] == nil {
			continue
		}
		if other := d.byKey(f, fmt.Sprint(values[f.Name])); other != nil && other["Id"] != id {
			return &refusal{code: "DUPLICATE_VALUE", message: "duplicate value found: " + f.Name + " duplicates value on record with id: " + other["Id"].(string)[:15], fields: []string{f.Name}}
		}
	}
	if id != "" || !o.writes {
		return nil
	}
	same := func(names ...string) map[string]any {
		for _, r := range d.rows {
			alike := r["IsDeleted"] != true && r["IsConverted"] != true
			for _, name := range names {
				alike = alike && r[name] == values[name]
			}
			if alike {
				return r
			}
		}
		return nil
	}
	switch {
	case d.name == "CampaignMember":
		if same("CampaignId", "LeadId", "ContactId") != nil {
			return &refusal{code: "DUPLICATE_VALUE", message: "Already a campaign member."}
		}
	case values["Email"] != nil && !strings.Contains(how.Get("Sforce-Duplicate-Rule-Header"), "allowSave=true"):
		if r := same("Email"); r != nil {
			return &refusal{code: "DUPLICATES_DETECTED", message: "Use one of these records?", double: r["Id"].(string)}
		}
	}
	return nil
}

// byKey finds the live record of an external id.
func (d *object) byKey(f Field, key string) map[string]any {
	for _, r := range d.rows {
		if have, ok := r[f.Name].(string); ok && strings.EqualFold(have, key) && r["IsDeleted"] != true {
			return r
		}
	}
	return nil
}

// remove deletes a record.
func (o *Org) remove(d *object, id string) *refusal {
	if len(id) == 15 {
		id = checked(id)
	}
	row := d.byID[id]
	switch {
	case d.erased[id]:
		return &refusal{code: "ENTITY_IS_DELETED", message: "entity is deleted"}
	case row == nil, d.concealed[id]:
		return &refusal{code: "INVALID_CROSS_REFERENCE_KEY", message: "invalid cross reference id"}
	case row["IsDeleted"] == true:
		return &refusal{code: "ENTITY_IS_DELETED", message: "entity is deleted"}
	}
	if no := o.rowTrouble(d, id, nil); no != nil {
		return no
	}
	row["IsDeleted"], row["LastModifiedDate"], row["SystemModstamp"], row["LastModifiedById"] = true, o.clock, o.clock, ID("005", 1)
	return nil
}
