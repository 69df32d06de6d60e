package templates

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/tandem-sync/tandem/models"
)

// ErrorsQuery is the filter of what is set aside as the address has it.
type ErrorsQuery struct {
	Object, Direction, Code, Cause, From, To string
	Before                                   int64
}

func (q ErrorsQuery) values() url.Values {
	v := url.Values{}
	for _, p := range q.pairs() {
		v.Set(p[0], p[1])
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
	}
	return v
}

// pairs are the filter's names and values, for hidden fields of a form.
func (q ErrorsQuery) pairs() [][2]string {
	var list [][2]string
	for _, p := range [][2]string{{"object", q.Object}, {"direction", q.Direction}, {"code", q.Code}, {"cause", q.Cause}, {"from", q.From}, {"to", q.To}} {
		if p[1] != "" {
			list = append(list, p)
		}
	}
	return list
}

// URL is the address of what fits the filter; path is the page, its CSV or what a button posts to.
func (q ErrorsQuery) URL(path string) string {
	if v := q.values(); len(v) > 0 {
		return path + "?" + v.Encode()
	}
	return path
}

// of narrows the filter to one cause.
func (q ErrorsQuery) of(cause string) ErrorsQuery {
	q.Cause, q.Before = cause, 0
	return q
}

// narrowed tells whether the filter leaves anything out.
func (q ErrorsQuery) narrowed() bool { return len(q.pairs()) > 0 }

// causeTitle is what a cause is called: what its code means, or else Salesforce's own words.
func causeTitle(p Page, c models.Cause) string {
	if means, _ := p.L.Advice(c.Code, c.Message); means != "" {
		return strings.TrimSuffix(means, ".")
	}
	return p.L.Kept(c.Message)
}

// outOf counts the local changes that Salesforce refused among the causes.
func outOf(causes []models.Cause) int64 {
	var n int64
	for _, c := range causes {
		if c.Direction == models.RefusedOut {
			n += c.Count
		}
	}
	return n
}

func allOf(causes []models.Cause) int64 {
	var n int64
	for _, c := range causes {
		n += c.Count
	}
	return n
}

// cut bounds a value that is shown in a row; the whole of it stands in the CSV and on the record's page.
func cut(s string) string {
	if r := []rune(s); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return s
}

// valueOr is a value for people, with a word for none.
func valueOr(p Page, v *string) string {
	if v == nil || *v == "" {
		return p.L.T("value.empty")
	}
	return cut(*v)
}

// changesShown bounds the fields of one refused change that a row shows.
const changesShown = 6

func id64(n int64) string { return strconv.FormatInt(n, 10) }

// recordKey is how a record's page is found: by Salesforce's id, or the local one before there is such.
func recordKey(id int64, sfid string) string {
	if id != 0 {
		return id64(id)
	}
	return sfid
}

// recordTitle is what a record is called where it has no name.
func recordTitle(name string, id int64, sfid string) string {
	switch {
	case name != "":
		return name
	case sfid != "":
		return sfid
	case id != 0:
		return "local:" + id64(id)
	}
	return "—"
}

func joinList(list []string) string { return strings.Join(list, ", ") }

// causeShort names a cause in a few words, for a list of counts.
func causeShort(p Page, code string) string {
	if key := "cause." + code; p.L.Has(key) {
		return p.L.T(key)
	}
	return code
}

// arrivedOrTo heads what a refusal was about: a change that was to be sent, or what came.
func arrivedOrTo(p Page, c models.Cause) string {
	if c.Direction == models.RefusedOut {
		return p.L.T("errors.to_change")
	}
	return p.L.T("errors.arrived")
}
