package simorg

import "time"

// What the org does by itself when rows are saved: defaults, derived cells, roll-ups, duplicates.

// Fields of a person that campaign members show.
var (
	copiedOfLead    = []string{"firstname", "lastname", "salutation", "title", "company", "street", "city", "state", "postalcode", "country", "email", "phone", "fax", "mobilephone", "donotcall", "hasoptedoutofemail", "leadsource", "ownerid"}
	copiedOfContact = []string{"firstname", "lastname", "salutation", "title", "accountid", "mailingstreet", "mailingcity", "mailingstate", "mailingpostalcode", "mailingcountry", "email", "phone", "fax", "mobilephone", "donotcall", "hasoptedoutofemail", "leadsource", "ownerid"}
)

var leadRules = rules{
	check: func(tx *Tx, d *draft) *rowError {
		if !d.create && tx.view().named(d.old, "IsConverted").isTrue() && len(d.changed) > 0 {
			return refuse("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
		}
		if d.create && d.cell("isconverted").isTrue() {
			d.set("converteddate", dateOf(dayOf(tx.org.now())))
		}
		return nil
	},
	after: func(tx *Tx, d *draft) {
		if !d.create && d.touches(copiedOfLead) {
			tx.touchMembers("leadid", d.row().id())
		}
	},
}

var contactRules = rules{
	after: func(tx *Tx, d *draft) {
		if !d.create && d.touches(copiedOfContact) {
			tx.touchMembers("contactid", d.row().id())
		}
	},
}

var accountRules = rules{
	after: func(tx *Tx, d *draft) {
		if d.create || !d.has("name") {
			return
		}
		for _, c := range tx.view().having(tx.field("Contact", "accountid"), d.row().id()) {
			tx.touchMembers("contactid", c.id())
		}
	},
}

var userRules = rules{}

func (tx *Tx) field(object, name string) *field { return tx.org.byName[lower(object)].byName[name] }

// touchMembers moves the stamp of the campaign members of a person, whose shown cells have changed with the person's.
func (tx *Tx) touchMembers(by, person string) {
	v := tx.view()
	for _, m := range v.having(tx.field("CampaignMember", by), person) {
		if !v.deleted(m) {
			tx.touch(m, nil)
		}
	}
}

// count moves roll-up cells of a campaign.
func (tx *Tx) countIn(campaign value, by map[string]int64) {
	if campaign.isNull() {
		return
	}
	v := tx.view()
	r, ok := v.find(campaign.s)
	if !ok || v.deleted(r) {
		return
	}
	tx.touch(r, func(_ *view, cells []value) {
		for name, n := range by {
			f := r.t.object.byName[name]
			c := cells[f.pos]
			if f.Type == "currency" {
				c = decOf(c.n*pow10[2]/pow10[c.scale]+n, 2)
			} else {
				c = intOf(c.n + n)
			}
			cells[f.pos] = c
		}
	})
}

var opportunityRules = rules{
	check: func(_ *Tx, d *draft) *rowError {
		if _, given := d.given[d.t.object.byName["probability"]]; d.has("stagename") && !given {
			d.set("probability", decOf(int64(stageNamed(d.cell("stagename").s).probability), 0))
		}
		return nil
	},
	after: func(tx *Tx, d *draft) {
		keepHistory(tx, d)
		if !d.create && d.touches([]string{"campaignid", "amount", "stagename"}) {
			tx.countOpportunity(d.old, -1)
		}
		if d.create || d.touches([]string{"campaignid", "amount", "stagename"}) {
			tx.countOpportunity(d.row(), 1)
		}
		if contact := d.cell("contactid"); d.create && !contact.isNull() {
			x := tx.org.byName["opportunitycontactrole"]
			_, _ = tx.create(x, assignments{x.byName["opportunityid"]: textOf(d.row().id()), x.byName["contactid"]: contact, x.byName["isprimary"]: boolOf(true)})
		}
	},
	deleted:   func(tx *Tx, r row) { tx.countOpportunity(r, -1) },
	undeleted: func(tx *Tx, r row) { tx.countOpportunity(r, 1) },
}

func (tx *Tx) countOpportunity(r row, sign int64) {
	v := tx.view()
	campaign := v.named(r, "CampaignId")
	if campaign.isNull() {
		return
	}
	amount := v.named(r, "Amount")
	cents := amount.n * pow10[2] / pow10[amount.scale]
	by := map[string]int64{"numberofopportunities": sign, "amountallopportunities": sign * cents}
	if v.named(r, "IsWon").isTrue() {
		by["numberofwonopportunities"], by["amountwonopportunities"] = sign, sign*cents
	}
	tx.countIn(campaign.clone(), by)
}

var campaignRules = rules{
	after: func(tx *Tx, d *draft) {
		if !d.create {
			return
		}
		x := tx.org.byName["campaignmemberstatus"]
		for k, label := range []string{"Sent", "Responded"} {
			_, _ = tx.create(x, assignments{
				x.byName["campaignid"]: textOf(d.row().id()), x.byName["label"]: textOf(label), x.byName["sortorder"]: intOf(int64(k + 1)),
				x.byName["isdefault"]: boolOf(k == 0), x.byName["hasresponded"]: boolOf(k == 1),
			})
		}
	},
}

var memberRules = rules{
	check: func(tx *Tx, d *draft) *rowError {
		v := tx.view()
		lead, contact, campaign := d.cell("leadid"), d.cell("contactid"), d.cell("campaignid")
		if d.create {
			if lead.isNull() && contact.isNull() {
				return refuse("REQUIRED_FIELD_MISSING", "Required fields are missing: [LeadId or ContactId]", "LeadId", "ContactId")
			}
			if !lead.isNull() && !contact.isNull() {
				return refuse("FIELD_INTEGRITY_EXCEPTION", "A campaign member is a lead or a contact, not both", "LeadId", "ContactId")
			}
			by, person := "leadid", lead
			if lead.isNull() {
				by, person = "contactid", contact
			}
			for _, other := range v.having(d.t.object.byName[by], person.s) {
				if v.named(other, "CampaignId").s == campaign.s && !v.deleted(other) {
					return refuse("DUPLICATE_VALUE", "Already a campaign member.")
				}
			}
		}
		statuses := v.having(tx.field("CampaignMemberStatus", "campaignid"), campaign.s)
		var status *row
		for _, s := range statuses {
			if v.deleted(s) {
				continue
			}
			if d.cell("status").isNull() && v.named(s, "IsDefault").isTrue() {
				d.set("status", v.named(s, "Label").clone())
			}
			if v.named(s, "Label").s == d.cell("status").s {
				status = &s
				break
			}
		}
		if status == nil {
			return refuse("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Status: bad value for restricted picklist field: "+d.cell("status").s, "Status")
		}
		responded := v.named(*status, "HasResponded").isTrue()
		d.set("hasresponded", boolOf(responded))
		if responded && d.cell("firstrespondeddate").isNull() {
			d.set("firstrespondeddate", dateOf(dayOf(tx.org.now())))
		}
		return nil
	},
	after: func(tx *Tx, d *draft) {
		if d.create {
			tx.countMember(d.row(), 1)
		} else if d.has("hasresponded") {
			n := int64(-1)
			if d.cell("hasresponded").isTrue() {
				n = 1
			}
			tx.countIn(d.cell("campaignid"), map[string]int64{"numberofresponses": n})
		}
	},
	deleted:   func(tx *Tx, r row) { tx.countMember(r, -1) },
	undeleted: func(tx *Tx, r row) { tx.countMember(r, 1) },
}

func (tx *Tx) countMember(r row, sign int64) {
	v := tx.view()
	by := map[string]int64{}
	if lead := v.named(r, "LeadId"); !lead.isNull() {
		by["numberofleads"] = sign
		if l, ok := v.find(lead.s); ok && v.named(l, "IsConverted").isTrue() {
			by["numberofconvertedleads"] = sign
		}
	} else {
		by["numberofcontacts"] = sign
	}
	if v.named(r, "HasResponded").isTrue() {
		by["numberofresponses"] = sign
	}
	tx.countIn(v.named(r, "CampaignId").clone(), by)
}

// activityCheck keeps what tasks and events have in common: a lead's activity is about nothing else, and the account follows from
// what the activity is about, else from the person.
func activityCheck(tx *Tx, d *draft) *rowError {
	v := tx.view()
	who, what := d.cell("whoid"), d.cell("whatid")
	if !what.isNull() && !who.isNull() && who.s[:3] == "00Q" {
		return refuse("FIELD_INTEGRITY_EXCEPTION", "Related To ID: Only a contact's activity can be related to another record", "WhatId")
	}
	if d.create || d.has("whoid") || d.has("whatid") {
		account := value{}
		if r, ok := v.find(what.s); ok {
			switch r.t.object.name {
			case "Account":
				account = textOf(r.id())
			case "Opportunity":
				account = v.named(r, "AccountId")
			}
		}
		if account.isNull() {
			if r, ok := v.find(who.s); ok && r.t.object.name == "Contact" {
				account = v.named(r, "AccountId")
			}
		}
		d.set("accountid", account.clone())
	}
	return nil
}

// activityMoves lets the person's LastActivityDate follow, without a stamp.
func activityMoves(tx *Tx, d *draft) {
	day := d.cell("activitydate")
	if !tx.org.config.LastActivity || day.isNull() {
		return
	}
	v := tx.view()
	r, ok := v.find(d.cell("whoid").s)
	if !ok || v.deleted(r) {
		return
	}
	f := r.t.object.byName["lastactivitydate"]
	if was := v.get(r, f); !was.isNull() && was.n >= day.n {
		return
	}
	cells := v.cells(r)
	cells[f.pos] = day
	// A person that another transaction holds keeps its date: the save of the activity does not fail for it.
	_ = tx.store(r.t, r.i, &version{cells: cells})
}

var activityRules = rules{after: activityMoves, check: func(tx *Tx, d *draft) *rowError {
	if err := activityCheck(tx, d); err != nil {
		return err
	}
	switch closed := d.cell("status").s == "Completed"; {
	case closed && d.cell("completeddatetime").isNull():
		d.set("completeddatetime", stampOf(tx.org.nowSecond()))
	case !closed:
		d.set("completeddatetime", value{})
	}
	return nil
}}

var eventRules = rules{after: activityMoves, check: func(tx *Tx, d *draft) *rowError {
	if err := activityCheck(tx, d); err != nil {
		return err
	}
	const minute = int64(time.Minute / time.Millisecond)
	_, startGiven := d.given[d.t.object.byName["startdatetime"]]
	start := d.cell("activitydatetime")
	if s := d.cell("startdatetime"); startGiven || start.isNull() {
		start = s
	}
	length, end := d.cell("durationinminutes"), d.cell("enddatetime")
	if length.isNull() && end.isNull() || start.isNull() && d.cell("activitydate").isNull() {
		return refuse("REQUIRED_FIELD_MISSING", "Required fields are missing: [DurationInMinutes, ActivityDateTime]", "DurationInMinutes", "ActivityDateTime")
	}
	if start.isNull() {
		start = value{k: stamp, n: d.cell("activitydate").n * 86_400_000}
	}
	switch {
	case d.has("enddatetime") && !end.isNull():
		if end.n < start.n {
			return refuse("FIELD_INTEGRITY_EXCEPTION", "Event duration can not be negative", "EndDateTime")
		}
		length = intOf((end.n - start.n) / minute)
	case !length.isNull():
		end = value{k: stamp, n: start.n + length.n*minute}
	}
	d.set("startdatetime", start)
	d.set("activitydatetime", start)
	d.set("activitydate", dateOf(floorDiv(start.n, 86_400_000)))
	d.set("durationinminutes", length)
	d.set("enddatetime", end)
	return nil
}}
