package salesforce

import (
	"fmt"
	"time"
)

// ParseTime reads the three ways in which Salesforce writes a point in time: 2026-11-20T17:38:59.000+0000 (REST),
// 2026-11-20T17:38:59.000Z (Bulk) and 2026-11-20T17:38:59+00:00 (what it takes in queries). The fraction may be absent.
func ParseTime(cell []byte) (time.Time, error) {
	s := string(cell)
	// The layouts take a fraction where none is named.
	for _, layout := range []string{"2006-01-02T15:04:05Z0700", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time as Salesforce writes it", s)
}

// stamp is a time inside a JSON reply; null and "" are the zero time.
type stamp struct{ at time.Time }

// UnmarshalText reads what ParseTime reads.
func (s *stamp) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	t, err := ParseTime(b)
	s.at = t
	return err
}
