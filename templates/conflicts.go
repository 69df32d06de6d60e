package templates

import (
	"net/url"
	"strconv"

	"github.com/tandem-sync/tandem/models"
)

// ConflictsQuery is the filter of the conflicts as the address has it.
type ConflictsQuery struct {
	Object string
	Closed bool
	Before int64
	Asked  bool // the one before which the page ended waits for a person
}

// URL is the address of the conflicts that fit; path is the page or its CSV.
func (q ConflictsQuery) URL(path string) string {
	v := url.Values{}
	if q.Object != "" {
		v.Set("object", q.Object)
	}
	if q.Closed {
		v.Set("state", "closed")
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
		if q.Asked {
			v.Set("asked", "1")
		}
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// conflictWon says who won, and why where that is known.
func conflictWon(p Page, c models.Conflict) string {
	reason := p.L.Kept(c.Reason)
	if c.Winner == "" {
		if reason == "" {
			return p.L.T("conflicts.asks")
		}
		return p.L.T("conflicts.asks") + " " + reason
	}
	if reason == "" {
		return p.L.T("conflicts.won." + c.Winner)
	}
	return p.L.T("conflicts.won_why", "won", p.L.T("conflicts.won."+c.Winner), "why", reason)
}

// conflictEnd says how a conflict ended.
func conflictEnd(p Page, c models.Conflict) string {
	if c.Outcome == "" {
		return p.L.T("conflicts.outcome.seen")
	}
	return p.L.T("conflicts.outcome." + c.Outcome)
}

// openConflicts counts the conflicts that nobody has put away.
func openConflicts(p Page) int64 {
	var n int64
	for _, o := range p.Status.Objects {
		n += o.Conflicts
	}
	return n
}

// otherSide is what overturning would choose.
func otherSide(c models.Conflict) string {
	if c.Winner == models.SideLocal {
		return models.SideSalesforce
	}
	return models.SideLocal
}

// madeBy names who edited a field here.
func madeBy(p Page, c models.Conflict) string { return whoWith(p, c.MadeBy, c.Application) }
