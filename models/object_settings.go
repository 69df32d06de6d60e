package models

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"
)

// CreateOperators are the comparisons that a condition for creating records may make. They compare texts as the form shows
// them, and numbers as numbers.
var CreateOperators = []string{"equals", "not-equals", "contains", "starts-with", "greater", "less", "filled", "empty"}

// Creates tells whether a new row becomes a record in Salesforce by the admin's choice; value gives the text of one of its
// fields, empty where it is null.
func (o Object) Creates(value func(field string) string) bool {
	switch o.CreatePolicy {
	case CreateNone:
		return false
	case CreateCondition:
		return meets(value(o.CreateField), o.CreateOperator, o.CreateValue)
	}
	return true
}

func meets(have, operator, want string) bool {
	switch operator {
	case "equals":
		return strings.EqualFold(have, want)
	case "not-equals":
		return !strings.EqualFold(have, want)
	case "contains":
		return strings.Contains(strings.ToLower(have), strings.ToLower(want))
	case "starts-with":
		return strings.HasPrefix(strings.ToLower(have), strings.ToLower(want))
	case "greater", "less":
		if have == "" {
			return false
		}
		a, errA := strconv.ParseFloat(have, 64)
		b, errB := strconv.ParseFloat(want, 64)
		if errA != nil || errB != nil {
			// Dates and moments compare as texts.
			return operator == "greater" && have > want || operator == "less" && have < want
		}
		return operator == "greater" && a > b || operator == "less" && a < b
	case "filled":
		return have != ""
	case "empty":
		return have == ""
	}
	// A condition that is not understood creates nothing: a CRM is not flooded by accident.
	return false
}

// ObjectSettings are what the admin chooses for an object on its settings page.
type ObjectSettings struct {
	CreatePolicy   CreatePolicy
	CreateField    string
	CreateOperator string
	CreateValue    string
	CreateDefaults map[string]string
	DeleteAllowed  bool
	Recreate       bool
	OnDeleted      OnDeleted
	Policy         ConflictPolicy
	ExternalID     string
	MatchEmail     bool
	FormulaHours   int
}

// SettingsOf gives an object's settings.
func SettingsOf(o Object) ObjectSettings {
	return ObjectSettings{o.CreatePolicy, o.CreateField, o.CreateOperator, o.CreateValue, o.CreateDefaults, o.DeleteAllowed, o.Recreate, o.OnDeleted, o.Policy, o.ExternalID, o.MatchEmail, o.FormulaHours}
}

const formulaHoursMax = 24 * 31

// SaveObjectSettings keeps what the admin chose for an object. Of one that comes from Salesforce only, only what applies is kept.
func (db *DB) SaveObjectSettings(ctx context.Context, name string, s ObjectSettings, actor string) error {
	d, err := db.Described(ctx, name)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		var o Object
		if err := found(tx.First(&o, "name = ?", name).Error); err != nil {
			return err
		}
		was := SettingsOf(o)
		if err := s.check(o, d); err != nil {
			return err
		}
		set := map[string]any{"on_deleted": s.OnDeleted, "formula_hours": s.FormulaHours}
		if o.Direction == TwoWay {
			if s.CreatePolicy != CreateCondition {
				s.CreateField, s.CreateOperator, s.CreateValue = "", "", ""
			}
			for k, v := range map[string]any{
				"create_policy": s.CreatePolicy, "create_field": s.CreateField, "create_operator": s.CreateOperator, "create_value": s.CreateValue,
				"delete_allowed": s.DeleteAllowed, "recreate": s.Recreate, "policy": s.Policy, "external_id": s.ExternalID, "match_email": s.MatchEmail,
			} {
				set[k] = v
			}
			// A map would bypass the serializer of this one.
			o.CreateDefaults = s.CreateDefaults
			if err := tx.Model(&o).Select("create_defaults").Updates(&o).Error; err != nil {
				return err
			}
		}
		if err := tx.Model(&Object{}).Where("name = ?", name).Updates(set).Error; err != nil {
			return err
		}
		if err := db.audit(tx, actor, "object.settings", name, s.differences(was)); err != nil {
			return err
		}
		return wake(tx)
	})
}

func (s *ObjectSettings) check(o Object, d Described) error {
	if !slices.Contains([]OnDeleted{MarkDeleted, RemoveDeleted}, s.OnDeleted) {
		return refuse(CodeInvalid, "object_settings.invalid", "value", string(s.OnDeleted))
	}
	if s.FormulaHours < 0 || s.FormulaHours > formulaHoursMax {
		return refuse(CodeInvalid, "object_settings.formula_range", "max", strconv.Itoa(formulaHoursMax))
	}
	if o.Direction != TwoWay {
		return nil
	}
	if !slices.Contains([]CreatePolicy{CreateAll, CreateCondition, CreateNone}, s.CreatePolicy) {
		return refuse(CodeInvalid, "object_settings.invalid", "value", string(s.CreatePolicy))
	}
	if !slices.Contains([]ConflictPolicy{PolicySalesforce, PolicyLocal, PolicyNewest, PolicyAsk}, s.Policy) {
		return refuse(CodeInvalid, "object_settings.invalid", "value", string(s.Policy))
	}
	if s.CreatePolicy == CreateCondition {
		if s.CreateField == "" {
			return refuse(CodeInvalid, "object_settings.field_missing")
		}
		f, ok := d.Field(s.CreateField)
		if !ok {
			return refuse(CodeInvalid, "object_settings.field_unknown", "field", s.CreateField)
		}
		s.CreateField = f.Name
		if !slices.Contains(CreateOperators, s.CreateOperator) {
			return refuse(CodeInvalid, "object_settings.operator_missing")
		}
		if s.CreateOperator == "filled" || s.CreateOperator == "empty" {
			s.CreateValue = ""
		} else if s.CreateValue == "" {
			return refuse(CodeInvalid, "object_settings.value_missing")
		}
	}
	if s.ExternalID != "" && !slices.ContainsFunc(d.ExternalIDs(), func(f RecordField) bool { return f.Name == s.ExternalID }) {
		return refuse(CodeInvalid, "object_settings.field_unknown", "field", s.ExternalID)
	}
	defaults := map[string]string{}
	for name, value := range s.CreateDefaults {
		if value == "" {
			continue
		}
		f, ok := d.Field(name)
		if !ok || !f.Createable {
			return refuse(CodeInvalid, "object_settings.field_unknown", "field", name)
		}
		if err := f.check(value); err != nil {
			return err
		}
		defaults[f.Name] = value
	}
	s.CreateDefaults = defaults
	return nil
}

// differences tells what changed, for the audit log.
func (s ObjectSettings) differences(was ObjectSettings) map[string]string {
	said := func(s ObjectSettings) map[string]string {
		m := map[string]string{
			"create": strings.TrimSpace(string(s.CreatePolicy) + " " + strings.Join([]string{s.CreateField, s.CreateOperator, s.CreateValue}, " ")), "delete": strconv.FormatBool(s.DeleteAllowed),
			"recreate": strconv.FormatBool(s.Recreate), "on_deleted": string(s.OnDeleted), "policy": string(s.Policy), "external_id": s.ExternalID,
			"match_email": strconv.FormatBool(s.MatchEmail), "formula_hours": strconv.Itoa(s.FormulaHours),
		}
		for k, v := range s.CreateDefaults {
			m["default "+k] = v
		}
		return m
	}
	before, after := said(was), said(s)
	changed := map[string]string{}
	for k, v := range after {
		if before[k] != v {
			changed[k] = v
		}
	}
	for k := range before {
		if _, still := after[k]; !still {
			changed[k] = ""
		}
	}
	return changed
}
