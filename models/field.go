package models

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// FieldChoice is what the admin chose for one field. A field without one has the defaults: see FieldChoices.Of.
type FieldChoice struct {
	Object          string `gorm:"primaryKey"`
	Field           string `gorm:"primaryKey"`
	Excluded        bool   // left out: no longer read, its data stay
	Direction       Direction
	Policy          ConflictPolicy
	BlankOverwrites bool // an empty value may overwrite a filled one
	KeepFirst       bool // never overwritten once it is set
}

// TableName is where the choices are.
func (FieldChoice) TableName() string { return "admin.fields" }

// FieldChoices are the choices for one object's fields, by API name.
type FieldChoices map[string]FieldChoice

// Of gives the choice for a field: the admin's, or the defaults (read and sent as the object is, and by its policy; an empty
// value overwrites).
func (c FieldChoices) Of(field string) FieldChoice {
	if choice, ok := c[field]; ok {
		return choice
	}
	return FieldChoice{Field: field, BlankOverwrites: true}
}

// Excluded lists the fields that are left out, in order.
func (c FieldChoices) Excluded() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if c[name].Excluded {
			names = append(names, name)
		}
	}
	return names
}

// FromSalesforce lists the fields that the admin lets come from Salesforce only, in order.
func (c FieldChoices) FromSalesforce() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if c[name].Direction == FromSalesforce {
			names = append(names, name)
		}
	}
	return names
}

// FieldChoices gives the choices for an object's fields; a field that is not in it has the defaults.
func (db *DB) FieldChoices(ctx context.Context, object string) (FieldChoices, error) {
	var rows []FieldChoice
	if err := db.gorm.WithContext(ctx).Find(&rows, "object = ?", object).Error; err != nil {
		return nil, err
	}
	choices := make(FieldChoices, len(rows))
	for _, c := range rows {
		choices[c.Field] = c
	}
	return choices, nil
}

// keptFields cannot be left out: by them records are told apart, followed, and seen to be deleted, merged or converted.
var keptFields = []string{
	"Id", "IsDeleted", "SystemModstamp", "CreatedDate", "LastModifiedDate", "MasterRecordId", "IsArchived",
	"IsConverted", "ConvertedDate", "ConvertedContactId", "ConvertedAccountId", "ConvertedOpportunityId",
}

// MayLeaveOut tells whether a field of an object can be left out. What the object's own settings name cannot either.
func (o Object) MayLeaveOut(field string) bool {
	kept := func(name string) bool { return strings.EqualFold(name, field) }
	return !slices.ContainsFunc(keptFields, kept) && !kept(o.ExternalID) && !kept(o.CreateField)
}

// SaveFieldChoices keeps the admin's choices for some of an object's fields. They hold from the next cycle on: a field that is
// taken in again is filled for all records then.
func (db *DB) SaveFieldChoices(ctx context.Context, object string, choices []FieldChoice, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		var o Object
		err := tx.First(&o, "name = ?", object).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return refuse(CodeNotFound, "object.unknown", "name", object)
		}
		if err != nil {
			return err
		}
		before := FieldChoices{}
		var rows []FieldChoice
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Find(&rows, "object = ?", object).Error; err != nil {
			return err
		}
		for _, c := range rows {
			before[c.Field] = c
		}
		changed := 0
		for _, c := range choices {
			c.Object = object
			if err := checkChoice(o, c); err != nil {
				return err
			}
			was := before.Of(c.Field)
			was.Object = object
			if c == was {
				continue
			}
			changed++
			if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&c).Error; err != nil {
				return err
			}
			if err := db.audit(tx, actor, "field.save", object+"."+c.Field, c.differences(was)); err != nil {
				return err
			}
		}
		if changed == 0 {
			return nil
		}
		return wake(tx)
	})
}

// SaveFieldChoice is SaveFieldChoices for one field.
func (db *DB) SaveFieldChoice(ctx context.Context, c FieldChoice, actor string) error {
	return db.SaveFieldChoices(ctx, c.Object, []FieldChoice{c}, actor)
}

func checkChoice(o Object, c FieldChoice) error {
	switch {
	case c.Field == "":
		return refuse(CodeInvalid, "field.unnamed")
	case c.Direction != "" && c.Direction != FromSalesforce:
		return refuse(CodeInvalid, "field.direction_invalid", "value", string(c.Direction))
	case !slices.Contains([]ConflictPolicy{"", PolicySalesforce, PolicyLocal, PolicyNewest, PolicyAsk}, c.Policy):
		return refuse(CodeInvalid, "field.policy_invalid", "value", string(c.Policy))
	case c.Excluded && !o.MayLeaveOut(c.Field):
		return refuse(CodeInvalid, "field.kept", "field", c.Field)
	}
	return nil
}

// differences tells what changed, for the audit log.
func (c FieldChoice) differences(was FieldChoice) map[string]string {
	before, changed := was.words(), c.words()
	maps.DeleteFunc(changed, func(name, value string) bool { return before[name] == value })
	return changed
}

func (c FieldChoice) words() map[string]string {
	yes := map[bool]string{true: "yes", false: "no"}
	return map[string]string{
		"left_out": yes[c.Excluded], "direction": string(c.Direction), "policy": string(c.Policy),
		"blank_overwrites": yes[c.BlankOverwrites], "keep_first": yes[c.KeepFirst],
	}
}
