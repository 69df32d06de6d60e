package simorg

import (
	"slices"
	"strings"
)

// Converted is what became of a lead.
type Converted struct {
	LeadID        string `json:"leadId"`
	AccountID     string `json:"accountId"`
	ContactID     string `json:"contactId"`
	OpportunityID string `json:"opportunityId,omitempty"`
}

// Conversion says what a lead is to become: new records, or the ones that are named. An empty status takes the converted one.
type Conversion struct {
	LeadID              string `json:"leadId"`
	Status              string `json:"status,omitempty"`
	AccountID           string `json:"accountId,omitempty"`
	ContactID           string `json:"contactId,omitempty"`
	OpportunityID       string `json:"opportunityId,omitempty"`
	OpportunityName     string `json:"opportunityName,omitempty"`
	OwnerID             string `json:"ownerId,omitempty"`
	NoOpportunity       bool   `json:"noOpportunity,omitempty"`
	OverwriteLeadSource bool   `json:"overwriteLeadSource,omitempty"`
}

// ConvertLead makes an account, a contact and an opportunity of a lead. An empty status takes the converted one.
func (o *Org) ConvertLead(id, status string) (Converted, error) {
	return o.Convert(Conversion{LeadID: id, Status: status})
}

// ConvertLeadInto is ConvertLead into an existing account and, with it, an existing contact; empty ones are made.
func (o *Org) ConvertLeadInto(id, status, account, contact string) (Converted, error) {
	return o.Convert(Conversion{LeadID: id, Status: status, AccountID: account, ContactID: contact})
}

// Convert makes a contact of a lead, or puts it into one that exists, with an account and, unless it is told not to, an opportunity.
func (o *Org) Convert(q Conversion) (c Converted, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if q.Status == "" {
		q.Status = "Closed - Converted"
	}
	err = o.do(o.adminID(), func(tx *Tx) error {
		var refused *rowError
		if c, refused = tx.convertLead(q); refused != nil {
			return refused
		}
		return nil
	})
	return c, err
}

// convertLead follows the rules of convertLead() (https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_convertlead.htm):
// existing records are filled only where they are empty, and their owner stays.
func (tx *Tx) convertLead(q Conversion) (c Converted, bad *rowError) {
	o := tx.org
	for _, name := range []string{"lead", "account", "contact", "opportunity"} {
		if x := o.byName[name]; !tx.access.updateable(x) && (name != "opportunity" || !q.NoOpportunity) {
			return c, refuse("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
		}
	}
	tx.asSystem(func() { c, bad = tx.convertAsSystem(q) })
	return c, bad
}

func (tx *Tx) convertAsSystem(q Conversion) (c Converted, bad *rowError) {
	v := tx.view()
	o := tx.org
	lead, ok := v.seen(q.LeadID)
	switch {
	case !ok || lead.t.object.name != "Lead":
		return c, refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
	case v.deleted(lead):
		return c, refuse("ENTITY_IS_DELETED", "entity is deleted")
	case v.named(lead, "IsConverted").isTrue():
		return c, refuse("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
	case q.Status != "Closed - Converted":
		return c, refuse("INVALID_STATUS", "invalid convertedStatus: "+q.Status)
	case q.ContactID != "" && q.AccountID == "":
		return c, refuse("REQUIRED_FIELD_MISSING", "accountId is required with contactId")
	case q.OpportunityName != "" && q.OpportunityID != "" || q.NoOpportunity && (q.OpportunityName != "" || q.OpportunityID != ""):
		return c, refuse("INVALID_FIELD", "opportunityName and opportunityId exclude each other and doNotCreateOpportunity")
	}
	get := func(name string) value { return v.named(lead, name).clone() }
	owner := get("OwnerId")
	if q.OwnerID != "" {
		owner = textOf(to18(q.OwnerID))
	}
	if strings.HasPrefix(owner.s, "00G") {
		return c, refuse("INVALID_CROSS_REFERENCE_KEY", "Lead owner is a queue: an ownerId is required")
	}
	if u, ok := v.find(owner.s); ok && !v.named(u, "IsActive").isTrue() {
		owner = textOf(tx.user)
	}
	// fill takes over what the lead has and the other record has not.
	fill := func(x *object, id string, pairs ...string) (string, *rowError) {
		given := assignments{}
		existing, isThere := v.find(id)
		if id != "" && (!isThere || existing.t.object != x || v.deleted(existing)) {
			return "", refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
		}
		for k := 0; k < len(pairs); k += 2 {
			f := x.byName[pairs[k]]
			s := get(pairs[k+1])
			overwrite := q.OverwriteLeadSource && pairs[k] == "leadsource"
			if s.isNull() || f.Length > 0 && units(s.s) > f.Length || id != "" && !v.get(existing, f).isNull() && !overwrite {
				continue
			}
			// What the lead has may break the other object's rules; then it stays behind.
			if tx.check(f, s) == nil {
				given[f] = s
			}
		}
		if id != "" {
			return existing.id(), tx.update(existing, given)
		}
		given[x.fOwner] = owner
		if x.name == "Contact" {
			given[x.byName["accountid"]] = textOf(c.AccountID)
		}
		return tx.create(x, given)
	}
	if c.AccountID, bad = fill(o.byName["account"], q.AccountID, "name", "company", "phone", "phone", "website", "website", "industry", "industry", "annualrevenue", "annualrevenue", "numberofemployees", "numberofemployees", "rating", "rating",
		"billingstreet", "street", "billingcity", "city", "billingstate", "state", "billingpostalcode", "postalcode", "billingcountry", "country"); bad != nil {
		return c, bad
	}
	if c.ContactID, bad = fill(o.byName["contact"], q.ContactID, "lastname", "lastname", "firstname", "firstname", "salutation", "salutation", "title", "title", "email", "email", "phone", "phone", "mobilephone", "mobilephone", "fax", "fax",
		"leadsource", "leadsource", "description", "description", "mailingstreet", "street", "mailingcity", "city", "mailingstate", "state", "mailingpostalcode", "postalcode", "mailingcountry", "country"); bad != nil {
		return c, bad
	}
	c.LeadID, c.OpportunityID = lead.id(), q.OpportunityID
	if !q.NoOpportunity && q.OpportunityID == "" {
		x := o.byName["opportunity"]
		name := q.OpportunityName
		if name == "" {
			name = get("Company").s
		}
		c.OpportunityID, bad = tx.create(x, assignments{
			x.byName["name"]: textOf(cutRunes(name, 80)), x.byName["accountid"]: textOf(c.AccountID), x.byName["stagename"]: textOf("Prospecting"), x.byName["closedate"]: dateOf(dayOf(o.now()) + 90),
			x.byName["ownerid"]: owner, x.byName["contactid"]: textOf(c.ContactID),
		})
		if bad != nil {
			return c, bad
		}
	}
	x := lead.t.object
	// Activities that are open, and memberships, go on with the contact.
	for _, object := range []string{"Task", "Event"} {
		f := tx.field(object, "whoid")
		for _, a := range v.having(f, c.LeadID) {
			if !v.deleted(a) && !v.named(a, "IsClosed").isTrue() {
				tx.touch(a, func(_ *view, cells []value) {
					cells[f.pos] = textOf(c.ContactID)
					cells[a.t.object.byName["accountid"].pos] = textOf(c.AccountID)
				})
			}
		}
	}
	members := tx.field("CampaignMember", "leadid")
	contact := tx.field("CampaignMember", "contactid")
	for _, m := range v.having(members, c.LeadID) {
		if !v.deleted(m) {
			tx.touch(m, func(_ *view, cells []value) { cells[contact.pos] = textOf(c.ContactID) })
			tx.countIn(v.named(m, "CampaignId").clone(), map[string]int64{"numberofconvertedleads": 1})
		}
	}
	now := stampOf(o.nowSecond())
	lead, _ = v.at(lead.t, lead.i)
	cells := v.cells(lead)
	for name, s := range map[string]value{
		"isconverted": boolOf(true), "status": textOf(q.Status), "converteddate": dateOf(dayOf(o.now())), "convertedaccountid": textOf(c.AccountID), "convertedcontactid": textOf(c.ContactID),
		"convertedopportunityid": textOf(c.OpportunityID), "isunreadbyowner": boolOf(false), "lastmodifieddate": now, "systemmodstamp": now, "lastmodifiedbyid": textOf(tx.user),
	} {
		cells[x.byName[name].pos] = s
	}
	return c, tx.store(lead.t, lead.i, &version{cells: cells})
}

// Merge puts up to two losers into a master: they are deleted with MasterRecordId set, and what hung from them hangs from the master.
func (o *Org) Merge(object, master string, losers ...string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.do(o.adminID(), func(tx *Tx) error {
		if _, refused := tx.merge(object, master, losers, nil); refused != nil {
			return refused
		}
		return nil
	})
}

// merge follows the rules of merge() (https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_merge.htm) and
// gives the ids of the rows that were moved to the master.
func (tx *Tx) merge(object, master string, losers []string, given assignments) (moved []string, bad *rowError) {
	v := tx.view()
	find := func(id string) (row, *rowError) {
		r, ok := v.seen(id)
		if !ok || !strings.EqualFold(r.t.object.name, object) {
			return r, refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
		}
		if v.deleted(r) {
			return r, refuse("ENTITY_IS_DELETED", "entity is deleted")
		}
		return r, nil
	}
	m, bad := find(master)
	if bad != nil {
		return nil, bad
	}
	if !tx.access.updateable(m.t.object) || !tx.access.deletable(m.t.object) {
		return nil, refuse("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
	}
	if !m.t.object.mergeable || len(losers) == 0 || len(losers) > 2 {
		return nil, refuse("INVALID_OPERATION", "one or two records of a lead, contact or account can be merged into another")
	}
	master = m.id()
	var rows []row
	for _, id := range losers {
		r, bad := find(id)
		if bad != nil {
			return nil, bad
		}
		if r.i == m.i {
			return nil, refuse("INVALID_OPERATION", "a record cannot be merged into itself")
		}
		rows = append(rows, r)
	}
	x := m.t.object
	for _, r := range rows {
		for _, l := range x.children {
			if l.field.derive != nil || l.field == x.fMaster {
				continue
			}
			for _, kid := range v.having(l.field, r.id()) {
				if v.deleted(kid) {
					continue
				}
				if l.object.name == "CampaignMember" && tx.memberTwice(kid, l.field, master) {
					if bad := tx.deleteOne(kid); bad != nil {
						return nil, bad
					}
					continue
				}
				tx.touch(kid, func(_ *view, cells []value) { cells[l.field.pos] = textOf(master) })
				moved = append(moved, kid.id())
			}
		}
		// The loser goes the way of every deleted row, but names the survivor.
		tx.touch(r, func(_ *view, cells []value) { cells[x.fMaster.pos] = textOf(master) })
		if bad := tx.deleteOne(r); bad != nil {
			return nil, bad
		}
	}
	m, _ = v.at(m.t, m.i)
	return moved, tx.update(m, given)
}

// memberTwice tells whether the master is in the member's campaign already.
func (tx *Tx) memberTwice(kid row, by *field, master string) bool {
	v := tx.view()
	campaign := v.named(kid, "CampaignId").clone()
	return slices.ContainsFunc(v.having(by, master), func(r row) bool { return !v.deleted(r) && v.named(r, "CampaignId").s == campaign.s })
}

// Undelete takes a row out of the recycle bin, with what was deleted together with it.
func (o *Org) Undelete(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.do(o.adminID(), func(tx *Tx) error {
		if refused := tx.undelete(id); refused != nil {
			return refused
		}
		return nil
	})
}

func (tx *Tx) undelete(id string) *rowError {
	v := tx.view()
	r, ok := v.seen(id)
	switch {
	case !ok:
		return refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
	case !r.t.object.undeletable:
		return refuse("INVALID_TYPE_FOR_OPERATION", "entity type "+r.t.object.name+" does not support undelete")
	case !tx.access.deletable(r.t.object):
		return refuse("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
	case !v.deleted(r):
		return refuse("UNDELETE_FAILED", "Entity is not in the recycle bin")
	}
	return tx.undeleteOne(r)
}

// deletedAt is when a deleted row was deleted: the deletion is what was saved of it last.
func (v *view) deletedAt(r row) int64 {
	if f := r.t.object.fModifiedDate; f != nil {
		return v.get(r, f).n
	}
	return v.get(r, r.t.object.fStamp).n
}

func (tx *Tx) undeleteOne(r row) *rowError {
	v := tx.view()
	x := r.t.object
	id := r.id()
	deletedAt := v.deletedAt(r)
	cells := v.cells(r)
	now := stampOf(tx.org.nowSecond())
	cells[x.fIsDeleted.pos], cells[x.fStamp.pos] = boolOf(false), now
	if x.fModifiedDate != nil {
		cells[x.fModifiedDate.pos] = now
	}
	if x.fMaster != nil {
		cells[x.fMaster.pos] = value{}
	}
	if err := tx.store(r.t, r.i, &version{cells: cells}); err != nil {
		return err
	}
	r, _ = v.at(r.t, r.i)
	if x.rules.undeleted != nil {
		x.rules.undeleted(tx, r)
	}
	for _, l := range x.children {
		if l.field.OnDelete != "cascade" || l.field.derive != nil {
			continue
		}
		for _, kid := range v.having(l.field, id) {
			// What was deleted on its own, at another time, stays deleted.
			if v.deleted(kid) && v.deletedAt(kid) == deletedAt {
				if err := tx.undeleteOne(kid); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Archive does what the nightly job does: closed tasks and past events older than a year get IsArchived. It gives how many.
func (o *Org) Archive() (n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := dayOf(o.now()) - archiveAfter
	err = o.do(o.adminID(), func(tx *Tx) error {
		v := o.view()
		for _, name := range []string{"Task", "Event"} {
			t := o.tables[name]
			var due []row
			v.each(t, false, func(r row) bool {
				v.reset()
				if d := v.named(r, "ActivityDate"); !d.isNull() && d.n < before && !v.archived(r) && !v.deleted(r) && (name == "Event" || v.named(r, "IsClosed").isTrue()) {
					due = append(due, r)
				}
				return true
			})
			for _, r := range due {
				tx.touch(r, func(_ *view, cells []value) { cells[t.object.fArchived.pos] = boolOf(true) })
			}
			n += len(due)
		}
		return nil
	})
	return n, err
}
