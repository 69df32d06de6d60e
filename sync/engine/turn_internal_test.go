package engine

import (
	"slices"
	"strings"
	"testing"
)

func TestInTurn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names string
		n     int
		turns string
	}{
		{"", 2, "||"},
		{"A", 2, "A|A|A"},
		{"B A", 2, "B A|B A|B A"},
		{"C A B", 2, "C A|B C|A B"},
		{"E D C B A", 2, "C D|E A|B C"},
	} {
		var turns []string
		for cycle := int64(1); cycle <= 3; cycle++ {
			turns = append(turns, strings.Join(inTurn(strings.Fields(c.names), cycle, c.n), " "))
		}
		if got := strings.Join(turns, "|"); got != c.turns {
			t.Errorf("%q by %d: %q, want %q", c.names, c.n, got, c.turns)
		}
	}
	// Nobody is left out: twelve by two are through in six turns, wherever they begin.
	names := strings.Fields("a b c d e f g h i j k l")
	var seen []string
	for cycle := int64(1000); cycle < 1006; cycle++ {
		seen = append(seen, inTurn(names, cycle, 2)...)
	}
	if slices.Sort(seen); !slices.Equal(seen, names) {
		t.Errorf("six turns gave %q", seen)
	}
}
