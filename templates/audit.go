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
	sentence := l.T(key, params...)
	if n, err := strconv.ParseInt(a.Detail["n"], 10, 64); err == nil {
		sentence = l.N(key, n, params...)
	}
	// What was done to all has no subject.
	return strings.TrimSpace(strings.ReplaceAll(sentence, " ()", ""))
}

// auditDetail lists what the sentence does not name: what was changed to what.
func auditDetail(l *locale.Locale, a models.AuditEntry) string {
	sentence := l.T("audit." + a.Action)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(a.Detail)) {
		// A single refused change was kept by its number once, which says nothing to anybody.
		if strings.Contains(sentence, "{"+name+"}") || name == "n" || name == "refusal" {
			continue
		}
		parts = append(parts, l.T("value.named", "name", auditName(l, name), "value", auditValue(l, a.Action, name, a.Detail[name])))
	}
	return strings.Join(parts, ", ")
}

// auditName is what a detail is called; a name that the catalogue does not know is told as it is.
func auditName(l *locale.Locale, name string) string {
	if field, ok := strings.CutPrefix(name, "default "); ok {
		return l.T("audit_log.detail.default", "field", field)
	}
	if key := "audit_log.detail." + name; l.Has(key) {
		return l.T(key)
	}
	return name
}

// auditValue tells a value as the page on which it was chosen tells it.
func auditValue(l *locale.Locale, action, name, value string) string {
	switch name {
	case "direction":
		if value == "" {
			return l.T("direction.two-way")
		}
		return wordOr(l, "direction."+value, value)
	case "policy":
		if value == "" {
			return l.T("fields.policy_of_object")
		}
		if action == "field.save" {
			return wordOr(l, "fields.policy."+value, value)
		}
		return wordOr(l, "policy."+value, value)
	case "on_deleted":
		return wordOr(l, "object_settings.on_deleted."+value, value)
	case "create":
		words := strings.SplitN(value, " ", 4)
		told := wordOr(l, "object_settings.create."+words[0], words[0])
		if len(words) > 2 {
			told += ": " + words[1] + " " + wordOr(l, "operator."+words[2], words[2])
			if len(words) > 3 {
				told += " " + words[3]
			}
		}
		return told
	case "check_hour":
		if hour, err := strconv.Atoi(value); err == nil && hour >= 0 {
			return hourOf(hour)
		}
		return l.T("settings.check_never")
	case "brake_percent", "budget_percent":
		return value + " %"
	case "kind":
		return wordOr(l, "run.kind."+value, value)
	}
	switch value {
	case "":
		return l.T("value.empty")
	case "yes", "true":
		return l.T("value.true")
	case "no", "false":
		return l.T("value.false")
	}
	return value
}

// wordOr is a word of the catalogue; where it has none, what is there.
func wordOr(l *locale.Locale, key, otherwise string) string {
	if l.Has(key) {
		return l.T(key)
	}
	return otherwise
}
