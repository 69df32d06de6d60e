package sobject

import "testing"

// The pairs are ids printed in Salesforce's own documentation.
func TestParseIDMakesEighteenCharacters(t *testing.T) {
	for in, want := range map[string]ID{
		"a00D0000008pQR5": "a00D0000008pQR5IAM",
		"003RO0000035WQg": "003RO0000035WQgYAM",
		"012000000000000": "012000000000000AAA",
		"0015f00002JUX1J": "0015f00002JUX1JAAX",
	} {
		got, err := ParseID(in)
		if err != nil || got != want {
			t.Errorf("ParseID(%q) = %q, %v, want %q", in, got, err, want)
		}
		folded, err := ParseID("003ro0000035wqgyam")
		if err != nil || folded != "003RO0000035WQgYAM" {
			t.Errorf("ParseID of a folded id = %q, %v, want its case restored", folded, err)
		}
	}
}

func TestParseIDRefusesWhatIsNoID(t *testing.T) {
	for _, in := range []string{"", "003", "003RO0000035WQ-", "003RO0000035WQgYA!", "003RO0000035WQgYA9", "0030000000000000000"} {
		if got, err := ParseID(in); err == nil {
			t.Errorf("ParseID(%q) = %q, want an error", in, got)
		}
	}
}
