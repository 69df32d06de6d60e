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

// reasons are the sentences in which decisions are kept, and the keys by which they are told in each language. What is kept in
// other words, as Salesforce's own, is told as it is.
var reasons = map[string]string{
	"The edit was taken back here before it was sent.":                                                   "reason.undone",
	"An empty value does not overwrite a filled one: that is set for this field.":                        "reason.blank",
	"The field keeps its first value: that is set for it.":                                               "reason.keep_first",
	"The field is not sent to Salesforce: that is set for it, or Salesforce does not let it be written.": "reason.not_sent",
	"That is set for this field, or for its whole object.":                                               "reason.policy",
	"The later edit wins: that is set for this field, or for its whole object.":                          "reason.newer",
	"The later edit wins, and Salesforce does not say when it changed the record.":                       "reason.unknown",
	"The record was merged into another in Salesforce, which has a value of its own.":                    "reason.merged",
	"The record was merged into another in Salesforce, where this field is no longer visible.":           "reason.merged_hidden",
	"The record became another in Salesforce, of which an edit waits already.":                           "reason.became_edited",
	"The lead was converted in Salesforce, and a contact has no such field.":                             "reason.converted_missing",
	"The lead was converted in Salesforce, and the contact's field of that name has another type.":       "reason.converted_type",
	"The lead was converted in Salesforce, and the contact's field of that name cannot be written.":      "reason.converted_readonly",
}

func reasonText(p Page, kept string) string {
	if key, ok := reasons[kept]; ok {
		return p.L.T(key)
	}
	return kept
}

// conflictWon says who won, and why where that is known.
func conflictWon(p Page, c models.Conflict) string {
	reason := reasonText(p, c.Reason)
	if c.Winner == "" {
		if reason == "" {
			return p.L.T("conflicts.asks")
		}
		return p.L.T("conflicts.asks") + " " + reason
	}
	if reason == "" {
		return p.L.T("conflicts.won." + c.Winner)
	}
	return p.L.T("conflicts.won."+c.Winner) + ": " + reason
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
