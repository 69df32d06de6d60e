package mirror

import "testing"

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typ, in, want string }{
		{"double", "7.50", "7.5"},
		{"double", "-0.00", "0"},
		{"double", "1.5E7", "15000000"},
		{"double", "1e-3", "0.001"},
		{"currency", "0.10", "0.1"},
		{"currency", "123456789012345678.123456789012345678", "123456789012345678.123456789012345678"},
		{"percent", "-12.30e1", "-123"},
		{"int", "5.0", "5"},
		{"int", "007", "7"},
		{"long", "-9223372036854775808", "-9223372036854775808"},
		{"boolean", "true", "true"},
		{"boolean", "f", "false"},
		{"date", "2026-02-28", "2026-02-28"},
		{"datetime", "2026-11-20T17:38:59.000+0000", "2026-11-20T17:38:59.000Z"},
		{"datetime", "2026-11-20T23:08:59.1239+05:30", "2026-11-20T17:38:59.123Z"},
		{"datetime", "2026-11-20T17:38:59Z", "2026-11-20T17:38:59.000Z"},
		{"datetime", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"},
		{"datetime", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999Z"},
		{"datetime", "1890-01-01T00:19:32.5+00:19:32", "1890-01-01T00:00:00.500Z"},
		{"time", "18:30:00.5Z", "18:30:00.500Z"},
		{"time", "18:30:00", "18:30:00.000Z"},
		{"reference", "003RO0000035WQg", "003RO0000035WQgYAM"},
		{"reference", "local:17", "local:17"},
		{"string", "  kept \r\n exactly ü😀 ", "  kept \r\n exactly ü😀 "},
		{"picklist", "", ""},
		{"double", "", ""},
	} {
		got, err := Canonical(c.typ, []byte(c.in))
		if err != nil || got != c.want {
			t.Errorf("%s %q: %q, %v, want %q", c.typ, c.in, got, err, c.want)
		}
	}
	for _, c := range [][2]string{{"double", "NaN"}, {"int", "many"}, {"datetime", "infinity"}, {"datetime", "now"}, {"date", "infinity"}, {"time", "noon"}, {"boolean", "on"}} {
		got, err := Canonical(c[0], []byte(c[1]))
		if err == nil || got != c[1] {
			t.Errorf("%s %q: %q, %v, want it as it is and an error", c[0], c[1], got, err)
		}
	}
}
