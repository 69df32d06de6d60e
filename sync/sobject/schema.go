// Package sobject holds the words that Salesforce's client, the mirror and the engine share: what an object and its
// fields are, an id, a record's cells, a watermark. It does no input or output and knows neither Salesforce nor PostgreSQL.
package sobject

import (
	"slices"
	"strings"
)

// Schema is what an org's describe says of one object to the user that asked: fields that this user cannot see are not in it.
type Schema struct {
	Name               string              `json:"name"`
	Label              string              `json:"label"`
	LabelPlural        string              `json:"labelPlural"`
	KeyPrefix          string              `json:"keyPrefix"`
	Custom             bool                `json:"custom"`
	Queryable          bool                `json:"queryable"`
	Retrieveable       bool                `json:"retrieveable"`
	Replicateable      bool                `json:"replicateable"`
	Createable         bool                `json:"createable"`
	Updateable         bool                `json:"updateable"`
	Deletable          bool                `json:"deletable"`
	Undeletable        bool                `json:"undeletable"`
	Mergeable          bool                `json:"mergeable"`
	Fields             []Field             `json:"fields"`
	LeftOut            []Field             `json:"leftOut,omitempty"` // what the user can see and the admin left out; never in an org's answer
	ChildRelationships []ChildRelationship `json:"childRelationships,omitempty"`
}

// Field is one field of an object, as describe gives it. Length counts characters; Precision and Scale count decimal digits.
type Field struct {
	Name               string          `json:"name"`
	Label              string          `json:"label"`
	Type               string          `json:"type"`
	SoapType           string          `json:"soapType"`
	Length             int             `json:"length"`
	Precision          int             `json:"precision"`
	Scale              int             `json:"scale"`
	Digits             int             `json:"digits"`
	Nillable           bool            `json:"nillable"`
	Createable         bool            `json:"createable"`
	Updateable         bool            `json:"updateable"`
	Calculated         bool            `json:"calculated"`
	AutoNumber         bool            `json:"autoNumber"`
	DefaultedOnCreate  bool            `json:"defaultedOnCreate"`
	Unique             bool            `json:"unique"`
	ExternalID         bool            `json:"externalId"`
	IDLookup           bool            `json:"idLookup"`
	CaseSensitive      bool            `json:"caseSensitive"`
	Custom             bool            `json:"custom"`
	NameField          bool            `json:"nameField"`
	Filterable         bool            `json:"filterable"`
	Sortable           bool            `json:"sortable"`
	Encrypted          bool            `json:"encrypted"`
	RestrictedPicklist bool            `json:"restrictedPicklist"`
	DeprecatedHidden   bool            `json:"deprecatedAndHidden"`
	ReferenceTo        []string        `json:"referenceTo,omitempty"`
	RelationshipName   string          `json:"relationshipName,omitempty"`
	CompoundFieldName  string          `json:"compoundFieldName,omitempty"`
	PicklistValues     []PicklistValue `json:"picklistValues,omitempty"`
}

// PicklistValue is one choice of a picklist.
type PicklistValue struct {
	Active       bool   `json:"active"`
	DefaultValue bool   `json:"defaultValue"`
	Label        string `json:"label"`
	Value        string `json:"value"`
}

// ChildRelationship names an object whose field points to this one.
type ChildRelationship struct {
	ChildSObject     string `json:"childSObject"`
	Field            string `json:"field"`
	CascadeDelete    bool   `json:"cascadeDelete"`
	RelationshipName string `json:"relationshipName"`
}

// Field finds a field by its API name, in any case.
func (s Schema) Field(name string) (Field, bool) {
	for _, f := range s.Fields {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return Field{}, false
}

// Without gives the schema with the named fields left out, in any case, and all others taken in.
func (s Schema) Without(names []string) Schema {
	out := make(map[string]bool, len(names))
	for _, name := range names {
		out[strings.ToLower(name)] = true
	}
	all := append(s.Fields[:len(s.Fields):len(s.Fields)], s.LeftOut...)
	s.Fields, s.LeftOut = nil, nil
	for _, f := range all {
		if out[strings.ToLower(f.Name)] {
			s.LeftOut = append(s.LeftOut, f)
		} else {
			s.Fields = append(s.Fields, f)
		}
	}
	return s
}

// Synced gives the fields that have a column: all that the user can see, less the compound ones (their parts are there),
// binary ones and those that describe marks as hidden. Id comes first.
func (s Schema) Synced() []Field {
	fields := make([]Field, 0, len(s.Fields))
	for _, f := range s.Fields {
		if f.Type == "id" && f.Name == "Id" {
			fields = append([]Field{f}, fields...)
			continue
		}
		if f.Synced() {
			fields = append(fields, f)
		}
	}
	return fields
}

// Synced tells whether the field has a column in the mirror.
func (f Field) Synced() bool {
	switch f.Type {
	case "address", "location", "base64", "complexvalue":
		return false
	}
	return !f.DeprecatedHidden
}

// stamped are the fields that Salesforce fills by itself and whose every change moves their record's stamp.
var stamped = []string{
	"Id", "IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp", "MasterRecordId",
	"IsConverted", "ConvertedDate", "ConvertedAccountId", "ConvertedContactId", "ConvertedOpportunityId",
}

// Derived tells whether the field's value may change without its record's stamp: a formula, a sum over children, or one that
// Salesforce takes from other records and nobody may write, such as a campaign member's e-mail or a lead's last activity.
func (f Field) Derived() bool {
	return f.Calculated || !f.Createable && !f.Updateable && !f.AutoNumber && !slices.Contains(stamped, f.Name)
}

// Column is the field's column name in the mirror: the API name in lower case, but sfid for Id, because id is the local key.
func (f Field) Column() string {
	if f.Type == "id" && f.Name == "Id" {
		return "sfid"
	}
	return strings.ToLower(f.Name)
}

// Table is the object's table name in the mirror's salesforce schema: the API name in lower case.
func (s Schema) Table() string { return strings.ToLower(s.Name) }
