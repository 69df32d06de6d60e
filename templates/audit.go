package templates

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates/locale"
)

// AuditQuery is the filter of the audit log as the address has it.
type AuditQuery struct {
	Actor, From, To string
	Before          int64
}

// URL is the audit log's address with this filter; path is the page or its CSV.
func (q AuditQuery) URL(path string) string {
	v := url.Values{}
	for name, value := range map[string]string{"actor": q.Actor, "from": q.From, "to": q.To} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// AuditSentence says what somebody did; an action that the catalogue does not know is told by its name.
func AuditSentence(l *locale.Locale, a models.AuditEntry) string {
	key := "audit." + a.Action
	if !l.Has(key) {
		return strings.TrimSpace(a.Action + " " + a.Subject)
	}
	params := []string{"subject", a.Subject}
	for _, name := range slices.Sorted(maps.Keys(a.Detail)) {
		value := a.Detail[name]
		// Values that are words of ours are told in the reader's language.
		for _, prefix := range []string{"audit.word.", "role.", "run.kind."} {
			if l.Has(prefix + value) {
				value = l.T(prefix + value)
				break
			}
		}
		params = append(params, name, value)
	}
	return strings.TrimSpace(strings.ReplaceAll(l.T(key, params...), "()", ""))
}

// auditDetail lists what the sentence does not name: what was changed to what.
func auditDetail(l *locale.Locale, a models.AuditEntry) string {
	sentence := l.T("audit." + a.Action)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(a.Detail)) {
		if strings.Contains(sentence, "{"+name+"}") {
			continue
		}
		value := a.Detail[name]
		if value == "" {
			value = l.T("value.empty")
		}
		parts = append(parts, name+": "+value)
	}
	return strings.Join(parts, ", ")
}
