package command

import (
	"slices"
	"testing"
)

// Names stand at the left and numbers at the right, whatever letters they have, and no line ends in blanks.
func TestAligned(t *testing.T) {
	t.Parallel()
	got := aligned([][]string{{"Objet", "Enregistrements", ""}, {"Lead", "12 000", ""}, {"Événement", "7", "refusé"}}, 1, 2)
	want := []string{
		"Objet      Enregistrements",
		"Lead                12 000",
		"Événement                7  refusé",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}
