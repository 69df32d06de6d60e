package templates

import (
	"maps"
	"slices"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates/locale"
)

// fieldPolicies are what one field can have instead of its object's policy.
var fieldPolicies = []models.ConflictPolicy{models.PolicySalesforce, models.PolicyLocal, models.PolicyNewest, models.PolicyAsk}

// fieldChip says how a field stands.
func fieldChip(p Page, f models.Field) chip {
	l, now := p.L, p.Status.Now
	switch {
	case f.GoneAt != nil:
		return chip{"amber", "●", l.T("fields.gone", "ago", l.Ago(*f.GoneAt, now))}
	case f.LeftOutAt != nil && f.Choice.Excluded:
		return chip{"grey", "○", l.T("fields.left_out", "ago", l.Ago(*f.LeftOutAt, now))}
	case f.LeftOutAt != nil:
		return chip{"grey", "●", l.T("fields.taken_in_next")}
	case f.Choice.Excluded:
		return chip{"grey", "○", l.T("fields.left_out_next")}
	case f.FilledAt == nil:
		return chip{"blue", "●", l.T("fields.filling")}
	}
	return chip{"green", "✓", l.T("fields.synced")}
}

// noticeText is a piece of news in words; the names that it lists are as Salesforce has them.
func noticeText(l *locale.Locale, n models.Notice) string {
	params := make([]string, 0, 2*len(n.Params))
	for _, name := range slices.Sorted(maps.Keys(n.Params)) {
		params = append(params, name, n.Params[name])
	}
	return l.T(n.Message, params...)
}

func sortedKeys(m map[string][]string) []string { return slices.Sorted(maps.Keys(m)) }

// choiceChip says whether an object syncs.
func choiceChip(l *locale.Locale, o models.Object) chip {
	switch {
	case !o.Enabled && o.DisabledAt != nil:
		return chip{"grey", "○", l.T("objects.off_kept")}
	case !o.Enabled:
		return chip{"grey", "○", l.T("objects.off")}
	case o.Hidden:
		return chip{"amber", "●", l.T("objects.hidden")}
	case o.Paused:
		return chip{"grey", "●", l.T("objects.paused")}
	}
	return chip{"plain", "✓", l.T("objects.on")}
}

// choiceSince is since when an object is not read; nil if it is, or never was.
func choiceSince(o models.Object) *time.Time {
	switch {
	case !o.Enabled:
		return o.DisabledAt
	case o.Hidden:
		return o.HiddenAt
	}
	return nil
}

// syncs tells whether an object has a page.
func syncs(s models.Status, name string) bool {
	return slices.ContainsFunc(s.Objects, func(o models.ObjectStatus) bool { return o.Name == name })
}
