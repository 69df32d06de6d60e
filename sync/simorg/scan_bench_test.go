package simorg_test

import (
	"net/url"
	"testing"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// BenchmarkScanMillion measures statements that must look at every one of a million computed leads.
func BenchmarkScanMillion(b *testing.B) {
	c := start(b, simorg.Config{Seed: 1, Leads: 1_000_000, Contacts: 100, DailyAPILimit: 1 << 30})
	for name, soql := range map[string]string{
		"stamp":  "SELECT Id FROM Lead WHERE SystemModstamp >= 2026-09-30T00:00:00Z AND SystemModstamp < 2026-09-30T06:00:00Z ORDER BY SystemModstamp, Id",
		"count":  "SELECT COUNT() FROM Lead",
		"day":    "SELECT DAY_ONLY(CreatedDate), COUNT(Id) FROM Lead WHERE CreatedDate > 2026-01-01T00:00:00Z GROUP BY DAY_ONLY(CreatedDate)",
		"name":   "SELECT Id FROM Lead WHERE Email = 'nobody@example.com'",
		"sorted": "SELECT Id FROM Lead ORDER BY SystemModstamp DESC LIMIT 10",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c.want(200, "GET", "/query?q="+url.QueryEscape(soql), nil)
			}
		})
	}
}
