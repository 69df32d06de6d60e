package templates

import (
	"slices"

	"github.com/tandem-sync/tandem/models"
)

// withBacklog lists the objects of which something is not in Salesforce yet.
func withBacklog(s models.Status) []models.ObjectStatus {
	return slices.DeleteFunc(slices.Clone(s.Objects), func(o models.ObjectStatus) bool { return o.ToSend == 0 && o.SetOut == 0 })
}

func mostOf(b models.Backlog) int64 { return slices.Max(b.Hours[:]) }

// backlogBars are the little chart of what was not in Salesforce at the end of each hour.
func backlogBars(b models.Backlog) []bar {
	const height = 20
	most := max(mostOf(b), 1)
	var bars []bar
	for i, n := range b.Hours {
		if n > 0 {
			h := max(1, int(n*height/most))
			bars = append(bars, bar{itoa(i * 5), itoa(height - h), itoa(h)})
		}
	}
	return bars
}

func oldestTitle(p Page, o models.ObjectStatus) string {
	if o.OldestToSend == nil {
		return ""
	}
	return p.L.T("backlog.oldest_is", "ago", p.L.Ago(*o.OldestToSend, p.Status.Now))
}
