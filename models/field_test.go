package models_test

import (
	"errors"
	"testing"

	"github.com/tandem-sync/tandem/models"
)

// A field without a choice has the defaults; a choice is kept as it was made; what records are told apart by cannot be left out.
func TestFieldChoices(t *testing.T) {
	t.Parallel()
	db, _, _ := open(t)
	ctx := t.Context()
	if err := db.EnableStandardObjects(ctx, []string{"Lead"}); err != nil {
		t.Fatal(err)
	}
	choices, err := db.FieldChoices(ctx, "Lead")
	if err != nil {
		t.Fatal(err)
	}
	if c := choices.Of("Title"); !c.BlankOverwrites || c.Excluded || c.KeepFirst || c.Direction != "" || c.Policy != "" {
		t.Errorf("without a choice Title has %+v", c)
	}
	want := models.FieldChoice{Object: "Lead", Field: "Title", Direction: models.FromSalesforce, Policy: models.PolicyAsk, KeepFirst: true}
	left := models.FieldChoice{Object: "Lead", Field: "Website", Excluded: true, BlankOverwrites: true}
	if err := db.SaveFieldChoices(ctx, "Lead", []models.FieldChoice{want, left}, "test"); err != nil {
		t.Fatal(err)
	}
	if choices, err = db.FieldChoices(ctx, "Lead"); err != nil {
		t.Fatal(err)
	}
	if got := choices.Of("Title"); got != want {
		t.Errorf("Title has %+v, want %+v", got, want)
	}
	if got := choices.Excluded(); len(got) != 1 || got[0] != "Website" {
		t.Errorf("left out are %q", got)
	}
	for name, c := range map[string]models.FieldChoice{
		"field.kept":              {Object: "Lead", Field: "SystemModstamp", Excluded: true},
		"field.direction_invalid": {Object: "Lead", Field: "Title", Direction: models.TwoWay},
		"field.policy_invalid":    {Object: "Lead", Field: "Title", Policy: "loudest"},
		"field.unnamed":           {Object: "Lead"},
		"object.unknown":          {Object: "Nonsense", Field: "Title"},
	} {
		var refused *models.Error
		if err := db.SaveFieldChoice(ctx, c, "test"); !errors.As(err, &refused) || refused.Message != name {
			t.Errorf("%+v was answered with %v, want %s", c, err, name)
		}
	}
	entries, err := db.Audit(ctx, 10)
	if err != nil || len(entries) != 2 || entries[0].Action != "field.save" {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
}
