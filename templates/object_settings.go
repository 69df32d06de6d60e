package templates

import (
	"slices"

	"github.com/tandem-sync/tandem/models"
)

// usualDefaults are the fields without which Salesforce takes no new person.
var usualDefaults = map[string][]string{"Lead": {"LastName", "Company"}, "Contact": {"LastName"}, "Campaign": {"Name"}, "CampaignMember": {"Status"}}

// defaultFields are the fields whose defaults the form shows: those that Salesforce needs, and those that have one.
func defaultFields(p ObjectSettingsProps) []models.RecordField {
	var list []models.RecordField
	for _, f := range p.Described.Writable(true) {
		_, has := p.Settings.CreateDefaults[f.Name]
		if has || f.Required() && f.Type != "reference" || slices.Contains(usualDefaults[p.Object.Name], f.Name) {
			list = append(list, f)
		}
	}
	return list
}
