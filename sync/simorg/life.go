package simorg

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// Life lets simulated salespeople work until ctx ends, so many times a minute: they create, edit and move, and now and then they
// convert, merge, delete and undelete, as the administrator. What the org refuses them, they leave.
func (o *Org) Life(ctx context.Context, perMinute int) {
	if perMinute <= 0 {
		return
	}
	t := time.NewTicker(time.Minute / time.Duration(perMinute))
	defer t.Stop()
	r := rand.New(rand.NewPCG(uint64(o.config.Seed), uint64(o.now().UnixNano())))
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := o.work(r); err != nil {
				o.log.Debug("a simulated person was refused", "error", err)
			}
		}
	}
}

// some gives the id of a live row, drawn at random; ok is false when a few draws found none.
func (o *Org) some(r *rand.Rand, object string) (id string, ok bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	v := o.view()
	t := o.tables[object]
	for range 20 {
		if t.next == 0 {
			break
		}
		i := uint32(r.IntN(int(t.next)))
		// Half of the work is on what is new.
		if t.next > t.base && r.IntN(2) == 0 {
			i = t.base + uint32(r.IntN(int(t.next-t.base)))
		}
		if row, ok := v.at(t, i); ok && !v.deleted(row) && !v.archived(row) {
			return row.id(), true
		}
	}
	return "", false
}

// work is one thing that one person does.
func (o *Org) work(r *rand.Rand) error {
	choose := func(list []string) string { return list[r.IntN(len(list))] }
	c := &cultures[r.IntN(len(cultures))]
	k := r.IntN(len(c.first))
	update := func(object string, fields map[string]any) error {
		id, ok := o.some(r, object)
		if !ok {
			return nil
		}
		return o.Update(object, id, fields)
	}
	address := fmt.Sprintf("%s.%d@mail.example.%s", c.plainFirst[k], r.IntN(100_000), c.domain)
	switch n := r.IntN(100); {
	case n < 20:
		return update("Lead", map[string]any{"Title": choose(titles), "Rating": choose(ratings)})
	case n < 30:
		return update("Lead", map[string]any{"Status": choose([]string{"Open - Not Contacted", "Working - Contacted", "Closed - Not Converted"}), "Phone": fmt.Sprintf("+1 555 %04d", r.IntN(10_000))})
	case n < 42:
		return update("Contact", map[string]any{"Title": choose(titles), "Department": choose(departments), "Email": address})
	case n < 52:
		_, err := o.Create("Lead", map[string]any{"FirstName": c.first[k], "LastName": c.last[r.IntN(len(c.last))], "Company": choose(companyHeads), "Email": address, "LeadSource": choose(leadSources), "Description": choose(descriptions)})
		return err
	case n < 57:
		account, _ := o.some(r, "Account")
		_, err := o.Create("Contact", map[string]any{"FirstName": c.first[k], "LastName": c.last[r.IntN(len(c.last))], "AccountId": account, "Email": address})
		return err
	case n < 65:
		user, ok := o.some(r, "User")
		if !ok {
			return nil
		}
		return update(choose([]string{"Lead", "Contact", "Account"}), map[string]any{"OwnerId": user})
	case n < 75:
		s := stages[r.IntN(len(stages))]
		return update("Opportunity", map[string]any{"StageName": s.name, "Amount": fmt.Sprintf("%d.%02d", 100+r.IntN(500_000), r.IntN(100))})
	case n < 86:
		who, ok := o.some(r, choose([]string{"Lead", "Contact"}))
		if !ok {
			return nil
		}
		_, err := o.Create("Task", map[string]any{"WhoId": who, "Subject": choose(subjects), "Status": choose(taskStatuses), "Priority": "Normal", "ActivityDate": o.now().Format("2006-01-02")})
		return err
	case n < 94:
		campaign, ok := o.some(r, "Campaign")
		object := choose([]string{"Lead", "Contact"})
		person, ok2 := o.some(r, object)
		if !ok || !ok2 {
			return nil
		}
		_, err := o.Create("CampaignMember", map[string]any{"CampaignId": campaign, object + "Id": person, "Status": choose([]string{"Sent", "Responded"})})
		return err
	case n < 96:
		return update("Account", map[string]any{"Rating": choose(ratings), "Industry": choose(industries)})
	case n < 97:
		id, ok := o.some(r, "Lead")
		if !ok {
			return nil
		}
		q := Conversion{LeadID: id, NoOpportunity: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			// Into an account that is there already.
			q.AccountID, _ = o.some(r, "Account")
		}
		_, err := o.Convert(q)
		return err
	case n < 98:
		object := choose([]string{"Lead", "Contact", "Account"})
		master, ok := o.some(r, object)
		loser, ok2 := o.some(r, object)
		if !ok || !ok2 {
			return nil
		}
		return o.Merge(object, master, loser)
	case n < 99:
		id, ok := o.someDeleted(r, choose([]string{"Lead", "Contact", "Task", "CampaignMember"}))
		if !ok {
			return nil
		}
		return o.Undelete(id)
	default:
		object := choose([]string{"Lead", "Contact", "Task", "CampaignMember"})
		id, ok := o.some(r, object)
		if !ok {
			return nil
		}
		return o.Delete(object, id)
	}
}

// someDeleted gives the id of a row that somebody deleted since the org was made, and that was not merged into another one.
func (o *Org) someDeleted(r *rand.Rand, object string) (id string, ok bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	v := o.view()
	var ids []string
	v.each(o.tables[object], true, func(row row) bool {
		if v.deleted(row) && (row.t.object.fMaster == nil || v.get(row, row.t.object.fMaster).isNull()) {
			ids = append(ids, row.id())
		}
		return len(ids) < 1000
	})
	if len(ids) == 0 {
		return "", false
	}
	return ids[r.IntN(len(ids))], true
}
