package simorg

// stage is a step of the sales process: what an opportunity's probability, forecast and closedness follow from.
type stage struct {
	name        string
	probability int
	forecast    string
	category    string
	closed, won bool
}

var stages = []stage{
	{"Prospecting", 10, "Pipeline", "Pipeline", false, false},
	{"Qualification", 10, "Pipeline", "Pipeline", false, false},
	{"Needs Analysis", 20, "Pipeline", "Pipeline", false, false},
	{"Value Proposition", 50, "BestCase", "Best Case", false, false},
	{"Proposal/Price Quote", 75, "Forecast", "Commit", false, false},
	{"Negotiation/Review", 90, "Forecast", "Commit", false, false},
	{"Closed Won", 100, "Closed", "Closed", true, true},
	{"Closed Lost", 0, "Omitted", "Omitted", true, false},
}

func stageNamed(name string) stage {
	for _, s := range stages {
		if s.name == name {
			return s
		}
	}
	return stage{name: name, forecast: "Pipeline", category: "Pipeline"}
}

func stageNames() (names []string) {
	for _, s := range stages {
		names = append(names, s.name)
	}
	return names
}

func (v *view) oppStage(i uint32) stage { return stages[below(v.h(saltStage, i), len(stages))] }

func (v *view) oppAmount(i uint32) (value, bool) {
	h := v.h(saltStage+1, i)
	if !chance(h, 88) {
		return value{}, false
	}
	return decOf(int64(h>>16%250_000_00)+100, 2), true
}

func (v *view) oppCampaign(i uint32) (uint32, bool) {
	h := v.h(saltStage+2, i)
	if !chance(h, 30) {
		return 0, false
	}
	return v.liveCampaign(h)
}

func ofStage(pick func(s stage) value) func(v *view, r row) value {
	return func(v *view, r row) value { return pick(stageNamed(v.get(r, r.t.object.byName["stagename"]).s)) }
}

// opportunityObject is Opportunity (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_opportunity.htm).
func opportunityObject() *object {
	o := &object{
		name: "Opportunity", label: "Opportunity", plural: "Opportunities", prefix: "006", createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.opportunities }, deleted: (*view).oppDeleted, rules: opportunityRules,
	}
	closeDate := func(v *view, r row) (int, int, bool) {
		d := v.get(r, r.t.object.byName["closedate"])
		y, m, _ := civil(d.n)
		return y, m, !d.isNull()
	}
	return define(o, fields(
		ref("AccountId", "Account", "Account").child("Opportunities").cascade().with(points("001", (*view).oppAccount)),
		flag("IsPrivate").label("Private").with(yes(1)), str("Name", 120).label("Opportunity Name").req().with(func(v *view, f *field, i uint32) value {
			h := v.h(f.salt, i)
			return textOf(v.cat(companyHeads[below(h, len(companyHeads))], " – ", v.itoa(int64(h>>8%900)), " units"))
		}),
		area("Description", 32000).with(texts(20)),
		pick("StageName", stageNames()...).label("Stage").req().with(func(v *view, _ *field, i uint32) value { return value{k: text, s: v.oppStage(i).name} }),
		money("Amount", 18, 2).with(func(v *view, _ *field, i uint32) value { a, _ := v.oppAmount(i); return a }),
		percent("Probability", 3, 0).label("Probability (%)").with(func(v *view, _ *field, i uint32) value { return decOf(int64(v.oppStage(i).probability), 0) }),
		money("ExpectedRevenue", 18, 2).label("Expected Amount").derived(func(v *view, r row) value {
			a, p := v.get(r, r.t.object.byName["amount"]), v.get(r, r.t.object.byName["probability"])
			if a.isNull() || p.isNull() {
				return value{}
			}
			return decOf(a.n*int64(p.float()), int(a.scale)+2).rounded(2)
		}),
		number("TotalOpportunityQuantity", 18, 2).label("Quantity").with(decs(25, 0, 20_000_000)), day("CloseDate").req().with(days(100, -700, 400)),
		pick("Type", "New Customer", "Existing Customer - Upgrade", "Existing Customer - Replacement").label("Opportunity Type").picked(60), str("NextStep", 255).with(oneOf(30, []string{"Send the contract", "Call \"Bob\", then legal", "Réunion lundi"})),
		pick("LeadSource", leadSources...).picked(60),
		flag("IsClosed").label("Closed").derived(ofStage(func(s stage) value { return boolOf(s.closed) })), flag("IsWon").label("Won").derived(ofStage(func(s stage) value { return boolOf(s.won) })),
		pick("ForecastCategory", "Omitted", "Pipeline", "BestCase", "Forecast", "Closed").derived(ofStage(func(s stage) value { return textOf(s.forecast) })),
		pick("ForecastCategoryName", "Omitted", "Pipeline", "Best Case", "Commit", "Closed").label("Forecast Category").derived(ofStage(func(s stage) value { return textOf(s.category) })),
		ref("CampaignId", "Campaign", "Campaign").child("Opportunities").with(points("701", (*view).oppCampaign)),
		flag("HasOpportunityLineItem").label("Has Line Item").ro(), ref("Pricebook2Id", "Pricebook2", "Pricebook2").label("Price Book ID").ro(), ref("OwnerId", "Owner", "User").notNull().with(owner(false)),
		count("FiscalQuarter", 9).derived(func(v *view, r row) value {
			_, m, ok := closeDate(v, r)
			if !ok {
				return value{}
			}
			return intOf(int64((m + 2) / 3))
		}),
		count("FiscalYear", 9).derived(func(v *view, r row) value {
			y, _, ok := closeDate(v, r)
			if !ok {
				return value{}
			}
			return intOf(int64(y))
		}),
		str("Fiscal", 6).label("Fiscal Period").derived(func(v *view, r row) value {
			y, m, ok := closeDate(v, r)
			if !ok {
				return value{}
			}
			return textOf(v.cat(v.itoa(int64(y)), " ", v.itoa(int64((m+2)/3))))
		}),
		ref("ContactId", "Contact", "Contact").createOnly(), day("LastActivityDate").label("Last Activity").ro().with(days(30, -300, -1)), flag("HasOpenActivity").ro().with(yes(20)), flag("HasOverdueTask").ro().with(yes(5)), seen(),
		str("External_Key__c", 64).external().coded(80, "O-"),
	)...)
}

// contactRoleObject is OpportunityContactRole.
func contactRoleObject() *object {
	o := &object{
		name: "OpportunityContactRole", label: "Opportunity Contact Role", plural: "Opportunity Contact Roles", prefix: "00K", createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.roles }, deleted: (*view).roleDeleted,
	}
	return define(o,
		ref("OpportunityId", "Opportunity", "Opportunity").req().createOnly().child("OpportunityContactRoles").cascade().with(func(v *view, _ *field, i uint32) value { return value{k: text, s: v.id("006", v.roleOpp(i))} }),
		ref("ContactId", "Contact", "Contact").req().child("OpportunityContactRoles").cascade().with(func(v *view, _ *field, i uint32) value { return value{k: text, s: v.id("003", v.roleContact(i))} }),
		pick("Role", "Business User", "Decision Maker", "Economic Buyer", "Economic Decision Maker", "Evaluator", "Executive Sponsor", "Influencer", "Technical Buyer", "Other").picked(80),
		flag("IsPrimary").label("Primary").with(func(v *view, _ *field, i uint32) value { return boolOf(i < v.roleOpps()) }),
	)
}

// rollup is what a campaign counts: its members and its opportunities, less the deleted ones.
type rollup struct {
	leads, converted, contacts, responses, opportunities, won, amountAll, amountWon int64
}

// untouchedRollups counts for the untouched rows, all campaigns at once.
func untouchedRollups(v *view) []rollup {
	all := make([]rollup, v.n.campaigns)
	for i := range uint32(v.n.members) {
		if v.memberDeleted(i) {
			continue
		}
		r := &all[v.memberCampaign(i)]
		if p, isLead := v.memberPerson(i); isLead {
			r.leads++
			if _, ok := v.leadConversion(p); ok {
				r.converted++
			}
		} else {
			r.contacts++
		}
		if statusResponded(v.memberStatus(i)) {
			r.responses++
		}
	}
	for i := range uint32(v.n.opportunities) {
		c, ok := v.oppCampaign(i)
		if !ok || v.oppDeleted(i) {
			continue
		}
		r := &all[c]
		amount, _ := v.oppAmount(i)
		r.opportunities++
		r.amountAll += amount.n
		if v.oppStage(i).won {
			r.won++
			r.amountWon += amount.n
		}
	}
	return all
}

func rolled(pick func(r *rollup) value) gen {
	return func(v *view, _ *field, i uint32) value { return pick(&v.org.rollups(v)[i]) }
}

// campaignObject is Campaign (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_campaign.htm).
func campaignObject() *object {
	o := &object{
		name: "Campaign", label: "Campaign", plural: "Campaigns", prefix: "701", createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.campaigns }, deleted: (*view).campaignDeleted, rules: campaignRules,
	}
	return define(o, fields(
		str("Name", 80).label("Campaign Name").req().with(func(v *view, f *field, i uint32) value {
			return textOf(v.cat(oneText(v, f, i, []string{"Webinar", "Spring mailing, north", "Salon de l'auto", "\"Early bird\" offer", "展示会", "Newsletter 📬"}), " ", v.itoa(int64(i))))
		}),
		ref("ParentId", "Parent", "Campaign").label("Parent Campaign ID").child("ChildCampaigns").with(seldom(10, "701", func(v *view, h uint64) (uint32, bool) { return 0, v.n.campaigns > 0 })),
		pick("Type", "Conference", "Webinar", "Trade Show", "Public Relations", "Partners", "Referral Program", "Advertisement", "Banner Ads", "Direct Mail", "Email", "Telemarketing", "Other").picked(80),
		pick("Status", "Planned", "In Progress", "Completed", "Aborted").def("Planned").picked(95), day("StartDate").with(days(80, -500, 100)), day("EndDate").with(days(60, 100, 400)),
		money("ExpectedRevenue", 18, 0).with(decs(50, 0, 10_000_000)), money("BudgetedCost", 18, 0).with(decs(50, 0, 1_000_000)), money("ActualCost", 18, 0).with(decs(40, 0, 1_000_000)), percent("ExpectedResponse", 10, 2).label("Expected Response (%)").with(decs(50, 0, 100)),
		number("NumberSent", 18, 0).label("Num Sent").with(decs(60, 0, 50_000_000)), flag("IsActive").label("Active").with(yes(60)), area("Description", 32000).with(texts(50)),
		count("NumberOfLeads", 9).label("Leads in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return intOf(r.leads) })),
		count("NumberOfConvertedLeads", 9).label("Converted Leads in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return intOf(r.converted) })),
		count("NumberOfContacts", 9).label("Contacts in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return intOf(r.contacts) })),
		count("NumberOfResponses", 9).label("Responses in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return intOf(r.responses) })),
		count("NumberOfOpportunities", 9).label("Opportunities in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return intOf(r.opportunities) })),
		count("NumberOfWonOpportunities", 9).label("Won Opportunities in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return intOf(r.won) })),
		money("AmountAllOpportunities", 18, 2).label("Value Opportunities in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return decOf(r.amountAll, 2) })),
		money("AmountWonOpportunities", 18, 2).label("Value Won Opportunities in Campaign").notNull().ro().with(rolled(func(r *rollup) value { return decOf(r.amountWon, 2) })),
		ref("OwnerId", "Owner", "User").notNull().with(owner(false)), ref("CampaignMemberRecordTypeId", "CampaignMemberRecordType", "RecordType").label("Record Type ID"),
		day("LastActivityDate").label("Last Activity").ro().with(days(20, -300, -1)), seen(), str("External_Key__c", 64).external().coded(80, "K-"), marketingID(),
	)...)
}

func oneText(v *view, f *field, i uint32, from []string) string {
	return from[below(v.h(f.salt, i), len(from))]
}

// ofPerson reads a field of the lead or contact that a campaign member stands for; the contact counts where both are there.
func ofPerson(lead, contact string) func(v *view, r row) value {
	return func(v *view, r row) value {
		p, ok := v.memberOf(r)
		if !ok {
			return value{}
		}
		name := lead
		if p.t.object.name == "Contact" {
			name = contact
		}
		if name == "" {
			return value{}
		}
		return v.get(p, p.t.object.byName[name])
	}
}

func (v *view) memberOf(r row) (row, bool) {
	if id := v.get(r, r.t.object.byName["contactid"]); !id.isNull() {
		return v.find(id.s)
	}
	return v.find(v.get(r, r.t.object.byName["leadid"]).s)
}

// memberObject is CampaignMember (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_campaignmember.htm).
// What it says of the person is read through from the lead or contact; when that changes, the member's SystemModstamp moves.
func memberObject() *object {
	o := &object{
		name: "CampaignMember", label: "Campaign Member", plural: "Campaign Members", prefix: "00v", createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.members }, deleted: (*view).memberDeleted, rules: memberRules,
	}
	copied := func(f *field, lead, contact string) *field { return f.derived(ofPerson(lead, contact)) }
	person := func(isLead bool, prefix string) gen {
		return points(prefix, func(v *view, i uint32) (uint32, bool) {
			p, lead := v.memberPerson(i)
			return p, lead == isLead
		})
	}
	return define(o,
		ref("CampaignId", "Campaign", "Campaign").req().createOnly().child("CampaignMembers").cascade().with(points("701", func(v *view, i uint32) (uint32, bool) { return v.memberCampaign(i), true })),
		ref("LeadId", "Lead", "Lead").createOnly().child("CampaignMembers").cascade().with(person(true, "00Q")),
		ref("ContactId", "Contact", "Contact").createOnly().child("CampaignMembers").cascade().with(person(false, "003")),
		pick("Status", "Sent", "Responded", "Attended", "Registered", "Unsubscribed").with(func(v *view, _ *field, i uint32) value { return value{k: text, s: statusLabel(v.memberStatus(i))} }),
		flag("HasResponded").label("Responded").ro().with(func(v *view, _ *field, i uint32) value { return boolOf(statusResponded(v.memberStatus(i))) }),
		day("FirstRespondedDate").label("First Responded Date").ro().with(func(v *view, f *field, i uint32) value {
			if !statusResponded(v.memberStatus(i)) {
				return value{}
			}
			return dateOf(floorDiv(v.modifiedAt(f.owner, i), 86400))
		}),
		copied(pick("Salutation", salutations...), "salutation", "salutation"), copied(str("Name", 121), "name", "name"), copied(str("FirstName", 40), "firstname", "firstname"), copied(str("LastName", 80), "lastname", "lastname"),
		copied(str("Title", 128), "title", "title"), copied(area("Street", 255), "street", "mailingstreet"), copied(str("City", 40), "city", "mailingcity"), copied(str("State", 80), "state", "mailingstate"),
		copied(str("PostalCode", 20), "postalcode", "mailingpostalcode"), copied(str("Country", 80), "country", "mailingcountry"), copied(email("Email", 80), "email", "email"), copied(phone("Phone"), "phone", "phone"),
		copied(phone("Fax"), "fax", "fax"), copied(phone("MobilePhone"), "mobilephone", "mobilephone"), copied(flag("DoNotCall"), "donotcall", "donotcall"), copied(flag("HasOptedOutOfEmail").label("Email Opt Out"), "hasoptedoutofemail", "hasoptedoutofemail"),
		copied(pick("LeadSource", leadSources...), "leadsource", "leadsource"),
		str("CompanyOrAccount", 255).label("Company (Account)").derived(func(v *view, r row) value {
			p, ok := v.memberOf(r)
			if !ok {
				return value{}
			}
			if p.t.object.name == "Lead" {
				return v.get(p, p.t.object.byName["company"])
			}
			if a, ok := v.find(v.get(p, p.t.object.byName["accountid"]).s); ok {
				return v.get(a, a.t.object.fName)
			}
			return value{}
		}),
		pick("Type", "Lead", "Contact").derived(func(v *view, r row) value {
			if p, ok := v.memberOf(r); ok {
				return textOf(p.t.object.name)
			}
			return value{}
		}),
		ref("LeadOrContactId", "LeadOrContact", "Contact", "Lead").label("Related Record ID").derived(func(v *view, r row) value {
			if p, ok := v.memberOf(r); ok {
				return v.get(p, p.t.object.fID)
			}
			return value{}
		}),
		ref("LeadOrContactOwnerId", "LeadOrContactOwner", "Group", "User").label("Related Record Owner ID").derived(ofPerson("ownerid", "ownerid")),
		marketingID(),
	)
}

// memberStatusObject is CampaignMemberStatus: what members of a campaign can be.
func memberStatusObject() *object {
	o := &object{
		name: "CampaignMemberStatus", label: "Campaign Member Status", plural: "Campaign Member Statuses", prefix: "01Y", createable: true, updateable: true, deletable: true,
		size: func(s *sizes) int { return s.statuses }, deleted: func(v *view, i uint32) bool { return v.campaignDeleted(i / statusesEach) },
	}
	return define(o,
		ref("CampaignId", "Campaign", "Campaign").req().createOnly().child("CampaignMemberStatuses").cascade().with(points("701", func(_ *view, i uint32) (uint32, bool) { return i / statusesEach, true })),
		str("Label", 765).req().with(func(_ *view, _ *field, i uint32) value { return value{k: text, s: statusLabel(i)} }), count("SortOrder", 9).with(func(_ *view, _ *field, i uint32) value { return intOf(int64(i%statusesEach) + 1) }),
		flag("IsDefault").label("Default").with(func(_ *view, _ *field, i uint32) value { return boolOf(i%statusesEach == 0) }), flag("HasResponded").label("Responded").with(func(_ *view, _ *field, i uint32) value { return boolOf(statusResponded(i)) }),
	)
}

// historyObject is OpportunityHistory: one row for each step of an opportunity, written by the platform alone. It has no
// LastModifiedDate.
func historyObject() *object {
	o := &object{
		name: "OpportunityHistory", label: "Opportunity History", plural: "Opportunity Histories", prefix: "008", noAudit: true,
		size: func(s *sizes) int { return s.opportunities }, deleted: (*view).oppDeleted,
	}
	// The first row of an untouched opportunity says what the opportunity says.
	of := func(f *field, name string) *field {
		return f.ro().with(func(v *view, _ *field, i uint32) value {
			t := v.org.tables["Opportunity"]
			return v.get(row{t: t, i: i}, t.object.byName[name])
		})
	}
	return define(o,
		ref("OpportunityId", "Opportunity", "Opportunity").ro().notNull().child("OpportunityHistories").cascade().with(points("006", func(_ *view, i uint32) (uint32, bool) { return i, true })),
		of(ref("CreatedById", "CreatedBy", "User").notNull(), "createdbyid"), of(when("CreatedDate").notNull(), "lastmodifieddate"), of(pick("StageName", stageNames()...).label("Stage"), "stagename"), of(money("Amount", 18, 2), "amount"),
		of(money("ExpectedRevenue", 18, 2).label("Expected Amount"), "expectedrevenue"), of(day("CloseDate"), "closedate"), of(percent("Probability", 3, 0).label("Probability (%)"), "probability"), of(pick("ForecastCategory", "Omitted", "Pipeline", "BestCase", "Forecast", "Closed"), "forecastcategory"),
	)
}

// keepHistory writes a row of OpportunityHistory when an opportunity has moved.
func keepHistory(tx *Tx, d *draft) {
	if !d.create && !d.touches([]string{"stagename", "amount", "closedate", "probability"}) {
		return
	}
	x := tx.org.byName["opportunityhistory"]
	t := tx.org.tables[x.name]
	v := tx.view()
	cells := make([]value, len(x.fields))
	for _, f := range x.fields {
		cells[f.pos] = f.fill
	}
	for _, name := range []string{"stagename", "amount", "expectedrevenue", "closedate", "probability", "forecastcategory"} {
		cells[x.byName[name].pos] = v.get(d.row(), d.t.object.byName[name]).clone()
	}
	now := stampOf(tx.org.nowSecond())
	cells[x.byName["opportunityid"].pos], cells[x.fCreatedBy.pos] = textOf(d.row().id()), textOf(tx.user)
	cells[x.fCreatedDate.pos], cells[x.fStamp.pos] = now, now
	t.next++
	// A new row is nobody else's: it cannot be refused.
	_ = tx.store(t, t.next-1, &version{cells: cells})
}

// caseObject is Case (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_case.htm).
func caseObject() *object {
	o := &object{
		name: "Case", label: "Case", plural: "Cases", prefix: "500", createable: true, updateable: true, deletable: true, undeletable: true, mergeable: true,
		size: func(s *sizes) int { return s.cases }, deleted: func(v *view, i uint32) bool { return chance(v.h(saltCase, i), 1) },
	}
	contact := func(v *view, i uint32) (uint32, bool) { return v.liveContact(v.h(saltCase, i)) }
	statuses := []string{"New", "Working", "Escalated", "Closed"}
	return define(o,
		&field{FieldSpec: FieldSpec{Name: "CaseNumber", Label: "Case Number", Type: "string", Length: 30, AutoNumber: true, NotNull: true, IDLookup: true}, gen: func(v *view, _ *field, i uint32) value { return textOf(autoNumber(v, "", i)) }},
		ref("ContactId", "Contact", "Contact").child("Cases").with(points("003", contact)),
		ref("AccountId", "Account", "Account").child("Cases").with(func(v *view, _ *field, i uint32) value {
			if c, ok := contact(v, i); ok {
				if a, ok := v.contactAccount(c); ok {
					return value{k: text, s: v.id("001", a)}
				}
			}
			return value{}
		}),
		ref("ParentId", "Parent", "Case").child("Cases"), str("SuppliedName", 80).label("Name").with(oneOf(10, []string{"Web visitor"})), email("SuppliedEmail", 80).label("Email Address").with(emails(10)),
		pick("Type", "Mechanical", "Electrical", "Structural", "Other").label("Case Type").picked(50), pick("Status", statuses...).notNull().def("New").picked(100), pick("Reason", "Installation", "Performance", "Other").label("Case Reason").picked(40),
		pick("Origin", "Phone", "Email", "Web").label("Case Origin").picked(80), str("Subject", 255).with(oneOf(95, subjects)), pick("Priority", "High", "Medium", "Low").def("Medium").picked(100), area("Description", 32000).with(texts(50)),
		flag("IsClosed").label("Closed").derived(func(v *view, r row) value { return boolOf(v.get(r, r.t.object.byName["status"]).s == "Closed") }), when("ClosedDate").label("Date/Time Closed").ro(), flag("IsEscalated").label("Escalated").with(yes(5)),
		ref("OwnerId", "Owner", "Group", "User").notNull().with(owner(true)),
	)
}
