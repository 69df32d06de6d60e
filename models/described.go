package models

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Described is an object as the last describe told it, and its table here.
type Described struct {
	Object    string
	Direction Direction
	Fields    []RecordField // in the describe's order; those that are gone last
	table     string
	at        map[string]int // by API name and by column, in lower case
}

// RecordField is one field of an object and its column.
type RecordField struct {
	Name       string `json:"name"`
	Label      string `json:"label"`
	Type       string `json:"type"`
	Length     int    `json:"length"`
	Precision  int    `json:"precision"`
	Scale      int    `json:"scale"`
	Digits     int    `json:"digits"`
	Nillable   bool   `json:"nillable"`
	Createable bool   `json:"createable"`
	Updateable bool   `json:"updateable"`
	Calculated bool   `json:"calculated"`
	AutoNumber bool   `json:"autoNumber"`
	Defaulted  bool   `json:"defaultedOnCreate"`
	Unique     bool   `json:"unique"`
	ExternalID bool   `json:"externalId"`
	IDLookup   bool   `json:"idLookup"`
	Custom     bool   `json:"custom"`
	NameField  bool   `json:"nameField"`
	Restricted bool   `json:"restrictedPicklist"`

	ReferenceTo []string `json:"referenceTo"`
	Choices     []Choice `json:"picklistValues"`

	Column     string `json:"-"`
	ColumnType string `json:"-"`
	Gone       bool   `json:"-"` // no longer visible to the sync user; its data stay
	Inward     bool   `json:"-"` // the admin chose that it comes from Salesforce only
}

// Choice is one value of a picklist.
type Choice struct {
	Active bool   `json:"active"`
	Label  string `json:"label"`
	Value  string `json:"value"`
}

// Required tells whether Salesforce takes no new record without it.
func (f RecordField) Required() bool {
	return f.Createable && !f.Nillable && !f.Defaulted && f.Type != "boolean"
}

// Described gives what is known of an object; its Fields are empty if it has no table here.
func (db *DB) Described(ctx context.Context, object string) (Described, error) {
	d := Described{Object: object, at: map[string]int{}}
	var known struct {
		TableName string
		Direction Direction
	}
	g := db.gorm.WithContext(ctx)
	if err := g.Raw(`SELECT table_name, direction FROM mirror.described WHERE object = ?`, object).Scan(&known).Error; err != nil {
		return d, err
	}
	d.Direction, d.table = known.Direction, strings.TrimPrefix(known.TableName, "salesforce.")
	var rows []struct {
		Field, ColumnName, ColumnType, FieldType, Described string
		Gone, Inward                                        bool
	}
	err := g.Raw(`SELECT f.field, f.column_name, f.column_type, f.field_type, f.gone, f.described::text AS described, coalesce(c.direction = 'from-salesforce' OR c.excluded, false) AS inward
		FROM mirror.described_fields f LEFT JOIN admin.fields c ON c.object = f.object AND c.field = f.field
		WHERE f.object = ? ORDER BY f.gone, f.position, f.field`, object).Scan(&rows).Error
	if err != nil {
		return d, err
	}
	for _, r := range rows {
		var f RecordField
		if err := json.Unmarshal([]byte(r.Described), &f); err != nil {
			return d, err
		}
		f.Name, f.Column, f.ColumnType, f.Gone, f.Inward = r.Field, r.ColumnName, r.ColumnType, r.Gone, r.Inward
		if f.Type == "" {
			f.Type = r.FieldType
		}
		if f.Label == "" {
			f.Label = r.Field
		}
		d.at[strings.ToLower(f.Name)], d.at[f.Column] = len(d.Fields), len(d.Fields)
		d.Fields = append(d.Fields, f)
	}
	return d, nil
}

// Known tells whether the object has a table here.
func (d Described) Known() bool { return len(d.Fields) > 0 }

// Field finds a field by its API name or its column.
func (d Described) Field(name string) (RecordField, bool) {
	i, ok := d.at[strings.ToLower(name)]
	if !ok {
		return RecordField{}, false
	}
	return d.Fields[i], true
}

// Label is what people call a field that is named by its API name or its column; the name itself if it is not known.
func (d Described) Label(name string) string {
	if f, ok := d.Field(name); ok {
		return f.Label
	}
	return name
}

func (d Described) place(name string) int {
	if i, ok := d.at[strings.ToLower(name)]; ok {
		return i
	}
	return len(d.Fields)
}

// Writable lists the fields that a row may be given here: a new one, or one that is known to Salesforce.
func (d Described) Writable(isNew bool) []RecordField {
	var list []RecordField
	for _, f := range d.Fields {
		if d.Direction != TwoWay || f.Gone || f.Inward || f.Calculated || f.AutoNumber || f.Column == "sfid" {
			continue
		}
		if isNew && f.Createable || !isNew && f.Updateable {
			list = append(list, f)
		}
	}
	return list
}

// ExternalIDs lists the fields by which a record can be found or made once.
func (d Described) ExternalIDs() []RecordField {
	return slices.DeleteFunc(slices.Clone(d.Fields), func(f RecordField) bool { return !f.ExternalID || f.Gone })
}

// relation is the object's table, quoted.
func (d Described) relation() string { return pgx.Identifier{"salesforce", d.table}.Sanitize() }

func (d Described) text(column string) bool {
	f, ok := d.Field(column)
	return ok && f.Column == column && f.ColumnType == "text"
}

// nameSQL writes what people call a record of the table t: its name, or for one that Salesforce has not named yet, its parts.
func (d Described) nameSQL() string {
	var parts []string
	for _, f := range d.Fields {
		if f.NameField && f.ColumnType == "text" && f.Type != "id" {
			parts = append(parts, "nullif(t."+pgx.Identifier{f.Column}.Sanitize()+", '')")
		}
	}
	if d.text("name") {
		parts = append(parts, "nullif(t.name, '')")
	}
	if d.text("firstname") && d.text("lastname") {
		parts = append(parts, "nullif(concat_ws(' ', t.firstname, t.lastname), '')")
	} else if d.text("lastname") {
		parts = append(parts, "t.lastname")
	}
	for _, c := range []string{"email", "company", "subject"} {
		if d.text(c) {
			parts = append(parts, "t."+c)
		}
	}
	return "coalesce(" + strings.Join(append(parts, "''"), ", ") + ")"
}

// recordName is one record as others speak of it.
type recordName struct {
	ID   int64
	SFID string `gorm:"column:sfid"`
	Name string
}

type recordNames []recordName

func (n recordNames) of(id int64, sfid string) recordName {
	for _, r := range n {
		if id != 0 && r.ID == id || id == 0 && sfid != "" && r.SFID == sfid {
			return r
		}
	}
	return recordName{}
}

// recordNames gives what people call the rows of these ids, local ones and Salesforce's.
func (db *DB) recordNames(ctx context.Context, d Described, ids []int64, sfids []string) (recordNames, error) {
	if !d.Known() || len(ids)+len(sfids) == 0 {
		return nil, nil
	}
	var names recordNames
	err := db.gorm.WithContext(ctx).Raw(`SELECT t.id, coalesce(t.sfid, '') AS sfid, `+d.nameSQL()+` AS name FROM `+d.relation()+` t WHERE t.id = ANY(?::bigint[])
		UNION ALL SELECT t.id, t.sfid, `+d.nameSQL()+` FROM `+d.relation()+` t WHERE t.sfid = ANY(?::text[])`, bigints(ids), texts(sfids)).Scan(&names).Error
	return names, err
}

// texts writes texts as an array for PostgreSQL.
func texts(list []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = `"` + quote.Replace(s) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// cells reads a JSON object with its numbers exact.
func cells(text string) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var m map[string]any
	return m, d.Decode(&m)
}
