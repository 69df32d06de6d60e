package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

const memberObject = "CampaignMember"

// checkStatuses sets members aside whose status their campaign does not have, with the list of those it has: Salesforce puts the campaign's
// default in its place without a word.
func (s *sender) checkStatuses(ctx context.Context, claim mirror.Claim, out []*sending, done []mirror.Settlement, found map[sobject.ID]*remote) ([]*sending, []mirror.Settlement, error) {
	if s.run.Object != memberObject || len(out) == 0 {
		return out, done, nil
	}
	campaignOf := func(snd *sending) string {
		if v := snd.fields["CampaignId"]; v != nil {
			return *v
		}
		if r := found[sobject.ID(snd.change.SFID)]; r != nil && r.values["CampaignId"] != nil {
			return *r.values["CampaignId"]
		}
		return ""
	}
	wanted := map[string]bool{}
	for _, snd := range out {
		if snd.fields["Status"] != nil {
			wanted[campaignOf(snd)] = true
		}
	}
	delete(wanted, "")
	if len(wanted) == 0 {
		return out, done, nil
	}
	known, err := s.Mirror.MemberStatuses(ctx, slices.Sorted(maps.Keys(wanted)))
	if err != nil {
		return nil, nil, err
	}
	has := func(campaign, status string) bool {
		return slices.ContainsFunc(known[campaign], func(s string) bool { return strings.EqualFold(s, status) })
	}
	// What is here may be a few minutes old: what it does not know, Salesforce is asked for.
	unsure := map[string]bool{}
	for _, snd := range out {
		if v := snd.fields["Status"]; v != nil && campaignOf(snd) != "" && !has(campaignOf(snd), *v) {
			unsure[campaignOf(snd)] = true
		}
	}
	for batch := range slices.Chunk(slices.Sorted(maps.Keys(unsure)), 400) {
		if err := s.askStatuses(ctx, batch, known); err != nil {
			return nil, nil, err
		}
	}
	var left []*sending
	for _, snd := range out {
		v, campaign := snd.fields["Status"], campaignOf(snd)
		if v == nil || campaign == "" || len(known[campaign]) == 0 || has(campaign, *v) {
			left = append(left, snd)
			continue
		}
		done = append(done, s.refuse(claim, snd.change, codeMemberStatus,
			fmt.Sprintf("The campaign has no status %q for its members. It has: %s.", *v, strings.Join(known[campaign], ", ")), "Status", map[string]any{"allowed": known[campaign]}))
	}
	return left, done, nil
}

// askStatuses asks Salesforce for the statuses of campaigns. A user who may not see them learns nothing, and Salesforce decides.
func (s *sender) askStatuses(ctx context.Context, campaigns []string, known map[string][]string) error {
	quoted := make([]string, len(campaigns))
	for i, c := range campaigns {
		quoted[i] = literal(c)
		delete(known, c)
	}
	for page, err := range s.client.QueryRows(ctx, []string{"CampaignId", "Label"}, "SELECT CampaignId,Label FROM CampaignMemberStatus WHERE CampaignId IN ("+strings.Join(quoted, ",")+")", false) {
		if err != nil {
			if isAPI(err) && !salesforce.IsTransient(err) && !salesforce.IsHalting(err) {
				return nil
			}
			return err
		}
		if err := eachRow(page.Rows, func(cells [][]byte) error {
			known[string(cells[0])] = append(known[string(cells[0])], string(cells[1]))
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// joinMembers takes new members that Salesforce refuses because they are members already for those: also the reply that was lost is
// found again so.
func (s *sender) joinMembers(ctx context.Context, claim mirror.Claim, batch []*sending, done []mirror.Settlement) ([]mirror.Settlement, error) {
	if s.run.Object != memberObject || claim.Operation != mirror.Insert {
		return done, nil
	}
	doubled := map[int64]*sending{}
	var campaigns, people []string
	for _, d := range done {
		if d.Outcome != mirror.Refused || d.Code != "DUPLICATE_VALUE" {
			continue
		}
		i := slices.IndexFunc(batch, func(snd *sending) bool { return snd.change.RowID == d.RowID })
		if campaign, person := memberOf(batch[i].fields); campaign != "" && person != "" && batch[i].done.Outcome != mirror.Linked {
			doubled[d.RowID] = batch[i]
			campaigns, people = append(campaigns, literal(campaign)), append(people, literal(person))
		}
	}
	if len(doubled) == 0 {
		return done, nil
	}
	members := map[[2]string]sobject.ID{}
	soql := fmt.Sprintf("SELECT Id,CampaignId,LeadId,ContactId FROM CampaignMember WHERE CampaignId IN (%s) AND (LeadId IN (%[2]s) OR ContactId IN (%[2]s))",
		strings.Join(slices.Compact(slices.Sorted(slices.Values(campaigns))), ","), strings.Join(slices.Compact(slices.Sorted(slices.Values(people))), ","))
	for page, err := range s.client.QueryRows(ctx, []string{"Id", "CampaignId", "LeadId", "ContactId"}, soql, false) {
		if err == nil {
			err = eachRow(page.Rows, func(cells [][]byte) error {
				id, err := sobject.ParseID(string(cells[0]))
				for _, person := range cells[2:] {
					members[[2]string{string(cells[1]), string(person)}] = id
				}
				return err
			})
		}
		if err != nil {
			return nil, err
		}
	}
	linked := map[*sending]sobject.ID{}
	for row, snd := range doubled {
		campaign, person := memberOf(snd.fields)
		if id, ok := members[[2]string{campaign, person}]; ok {
			linked[snd] = id
			done = slices.DeleteFunc(done, func(d mirror.Settlement) bool { return d.RowID == row })
		}
	}
	out, more, err := s.link(ctx, claim, linked)
	if err != nil {
		return nil, err
	}
	if _, err := s.byCollections(ctx, claim, out); err != nil {
		return nil, err
	}
	return append(done, more...), nil
}

func memberOf(fields map[string]*string) (campaign, person string) {
	text := func(name string) string {
		if v := fields[name]; v != nil {
			return *v
		}
		return ""
	}
	return text("CampaignId"), text("LeadId") + text("ContactId")
}
