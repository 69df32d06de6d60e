package models_test

import (
	"testing"

	"github.com/tandem-sync/tandem/models"
)

// Which new rows become records: all, none, or those that meet the condition; one that is not understood lets nothing through.
func TestWhichRowsAreCreated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		operator, have, want string
		creates              bool
	}{
		{"equals", "Working", "working", true},
		{"equals", "Open", "Working", false},
		{"equals", "", "Working", false},
		{"not-equals", "Open", "Working", true},
		{"not-equals", "", "Working", true},
		{"not-equals", "working", "Working", false},
		{"contains", "Head of Marketing", "marketing", true},
		{"contains", "", "x", false},
		{"starts-with", "Acme Ltd", "acme", true},
		{"starts-with", "The Acme", "acme", false},
		{"greater", "10", "9", true},
		{"greater", "9", "10", false},
		{"greater", "", "-1", false},
		{"greater", "2026-11-25", "2026-11-24", true},
		{"less", "9", "10", true},
		{"less", "10", "9", false},
		{"less", "", "1", false},
		{"filled", "x", "", true},
		{"filled", "", "", false},
		{"empty", "", "", true},
		{"empty", "x", "", false},
		{"sounds-like", "x", "x", false},
		{"", "x", "x", false},
	} {
		o := models.Object{CreatePolicy: models.CreateCondition, CreateField: "F", CreateOperator: c.operator, CreateValue: c.want}
		got := o.Creates(func(field string) string {
			if field != "F" {
				t.Errorf("asked for the field %s", field)
			}
			return c.have
		})
		if got != c.creates {
			t.Errorf("%q %s %q creates: %t, want %t", c.have, c.operator, c.want, got, c.creates)
		}
	}
	for policy, want := range map[models.CreatePolicy]bool{models.CreateAll: true, models.CreateNone: false} {
		if got := (models.Object{CreatePolicy: policy}).Creates(func(string) string { return "" }); got != want {
			t.Errorf("the policy %s creates: %t", policy, got)
		}
	}
}
