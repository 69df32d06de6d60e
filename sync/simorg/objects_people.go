package simorg

// addressFields are the parts of an address and the compound that is put together from them. base is the compound's name.
func addressFields(lead, base string) []*field {
	return []*field{
		area(lead+"Street", 255).part(base).with(address(0)),
		str(lead+"City", 40).part(base).with(address(1)),
		str(lead+"State", 80).label(labelOf(lead + "State/Province")).part(base).with(address(2)),
		str(lead+"PostalCode", 20).label(labelOf(lead + "Zip/PostalCode")).part(base).with(address(3)),
		str(lead+"Country", 80).part(base).with(address(4)),
		number(lead+"Latitude", 18, 15).part(base).with(coordinates(20, 90)),
		number(lead+"Longitude", 18, 15).part(base).with(coordinates(20, 180)),
		pick(lead+"GeocodeAccuracy", "Address", "NearAddress", "Block", "Street", "ExtendedZip", "Zip", "Neighborhood", "City", "County", "State", "Unknown").restricted().part(base).picked(5),
		typed(base, "address"),
	}
}

func fields(groups ...any) (all []*field) {
	for _, g := range groups {
		switch g := g.(type) {
		case *field:
			all = append(all, g)
		case []*field:
			all = append(all, g...)
		}
	}
	return all
}

func personParts() []*field {
	return []*field{
		str("LastName", 80).req().part("Name").with(lastNames),
		str("FirstName", 40).part("Name").with(firstNames(92)),
		pick("Salutation", salutations...).part("Name").picked(40),
		str("Name", 121).label("Full Name").notNull().derived(personName),
	}
}

func seen() []*field {
	return []*field{
		when("LastViewedDate").ro().with(stamps(5, -30*86400, -quietBefore)),
		when("LastReferencedDate").ro().with(stamps(5, -30*86400, -quietBefore)),
	}
}

// leadObject is Lead (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_lead.htm).
func leadObject(wide int) *object {
	o := &object{
		name: "Lead", label: "Lead", plural: "Leads", prefix: "00Q", createable: true, updateable: true, deletable: true, undeletable: true, mergeable: true,
		size: func(s *sizes) int { return s.leads }, deleted: (*view).leadDeleted, rules: leadRules,
	}
	own := fields(personParts(),
		str("Title", 128).with(oneOf(70, titles)), str("Company", 255).req().with(companies(100)),
		addressFields("", "Address"),
		phone("Phone").with(phones(60)), phone("MobilePhone").with(phones(30)), phone("Fax").with(phones(5)), email("Email", 80).with(emails(85)),
		link("Website", 255).with(urls(30)), link("PhotoUrl", 255).ro().with(func(v *view, _ *field, i uint32) value {
			return textOf(v.cat("/services/images/photo/", v.id("00Q", i)))
		}),
		area("Description", 32000).with(texts(35)), pick("LeadSource", leadSources...).picked(75),
		pick("Status", "Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted").notNull().def("Open - Not Contacted").with(func(v *view, f *field, i uint32) value {
			if _, ok := v.leadConversion(i); ok {
				return value{k: text, s: "Closed - Converted"}
			}
			switch h := v.h(f.salt, i) % 10; {
			case h < 5:
				return value{k: text, s: "Open - Not Contacted"}
			case h < 8:
				return value{k: text, s: "Working - Contacted"}
			}
			return value{k: text, s: "Closed - Not Converted"}
		}),
		pick("Industry", industries...).picked(50), pick("Rating", ratings...).picked(30),
		money("AnnualRevenue", 18, 0).with(decs(40, 0, 900_000_000)), count("NumberOfEmployees", 8).label("Employees").with(ints(40, 1, 99_999_999)),
		ref("OwnerId", "Owner", "Group", "User").notNull().with(owner(true)),
		flag("HasOptedOutOfEmail").label("Email Opt Out").with(yes(6)), flag("DoNotCall").with(yes(4)), flag("IsConverted").label("Converted").createOnly().with(func(v *view, _ *field, i uint32) value {
			_, ok := v.leadConversion(i)
			return boolOf(ok)
		}),
		day("ConvertedDate").ro().with(func(v *view, f *field, i uint32) value {
			if _, ok := v.leadConversion(i); ok {
				return dateOf(floorDiv(v.modifiedAt(f.owner, i), 86400))
			}
			return value{}
		}),
		ref("ConvertedAccountId", "ConvertedAccount", "Account").ro().with(points("001", func(v *view, i uint32) (uint32, bool) {
			c, ok := v.leadConversion(i)
			return c.account, ok
		})),
		ref("ConvertedContactId", "ConvertedContact", "Contact").ro().with(points("003", func(v *view, i uint32) (uint32, bool) {
			c, ok := v.leadConversion(i)
			return c.contact, ok
		})),
		ref("ConvertedOpportunityId", "ConvertedOpportunity", "Opportunity").ro().with(points("006", func(v *view, i uint32) (uint32, bool) {
			c, _ := v.leadConversion(i)
			return c.opportunity, c.hasOpportunity
		})),
		flag("IsUnreadByOwner").label("Unread By Owner").def(true).with(yes(20)), day("LastActivityDate").label("Last Activity").ro().with(days(30, -300, -1)), seen(),
		str("Jigsaw", 20).label("Data.com Key"), str("EmailBouncedReason", 255).with(oneOf(2, bounces)), when("EmailBouncedDate").with(stamps(2, -90*86400, -86400)),
		ref("IndividualId", "Individual", "Individual").label("Individual ID"),
		str("External_Key__c", 64).external().coded(80, "L-"),
		number("Lead_Score__c", 6, 2).with(decs(60, -10, 1000)),
		&field{FieldSpec: FieldSpec{Name: "Score_Band__c", Type: "string", Length: 1300, Formula: `IF(Lead_Score__c > 500, "High", IF(Lead_Score__c > 100, "Middle", "Low"))`}, derive: scoreBand},
		multi("Product_Interests__c", "Alpha", "Beta", "Gamma, with comma", "Delta \"quoted\"", "Épsilon").picked(30),
		pick("Region__c", "AMER", "EMEA", "APAC", "LATAM").restricted().picked(50),
		day("Trial_Ends__c").with(days(15, -100, 400)), when("Last_Contacted__c").with(stamps(20, -300*86400, -86400)), flag("GDPR_Consent__c").with(yes(40)),
		marketingID(),
	)
	o = define(o, own...)
	o.byName["masterrecordid"].gen = points("00Q", (*view).leadMaster)
	for k := 1; synced(o) < wide; k++ {
		o.add(wideField(k))
	}
	return o
}

// synced counts the fields that a copy of the object has a column for: not the compound ones.
func synced(o *object) (n int) {
	for _, f := range o.fields {
		if !f.isCompound() && f.Type != "base64" {
			n++
		}
	}
	return n
}

// wideField makes the k-th custom field of a wide Lead; types take turns.
func wideField(k int) *field {
	name := "Extra_" + string([]byte{byte('0' + k/100%10), byte('0' + k/10%10), byte('0' + k%10)}) + "__c"
	switch k % 6 {
	case 0:
		return number(name, 18, 4).with(decs(70, -1000, 10_000_000))
	case 1:
		return str(name, 100).with(oneOf(80, subjects))
	case 2:
		return day(name).with(days(60, -2000, 2000))
	case 3:
		return when(name).with(stamps(60, -300*86400, -86400))
	case 4:
		return flag(name).with(yes(50))
	}
	return pick(name, industries...).picked(80)
}

// marketingID is the external id that a marketing database writes: what it created can be found again by it, whatever reply was lost.
func marketingID() *field { return str("Marketing_Id__c", 64).external() }

// across makes a formula field that shows a field of another object. It is computed at each read: when the other row changes, this
// one's stamp stays where it is.
func across(name, by, shows, formula string) *field {
	return (&field{FieldSpec: FieldSpec{Name: name, Type: "string", Length: 1300, Formula: formula}}).derived(func(v *view, r row) value {
		if p, ok := v.find(v.get(r, r.t.object.byName[by]).s); ok {
			return v.get(p, p.t.object.byName[shows])
		}
		return value{}
	})
}

func scoreBand(v *view, r row) value {
	s := v.get(r, r.t.object.byName["lead_score__c"])
	switch {
	case s.isNull() || s.float() <= 100:
		return value{k: text, s: "Low"}
	case s.float() > 500:
		return value{k: text, s: "High"}
	}
	return value{k: text, s: "Middle"}
}

// contactObject is Contact (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_contact.htm).
func contactObject() *object {
	o := &object{
		name: "Contact", label: "Contact", plural: "Contacts", prefix: "003", createable: true, updateable: true, deletable: true, undeletable: true, mergeable: true,
		size: func(s *sizes) int { return s.contacts }, deleted: (*view).contactDeleted, rules: contactRules,
	}
	return define(o, fields(
		ref("AccountId", "Account", "Account").child("Contacts").cascade().with(points("001", (*view).contactAccount)), personParts(),
		addressFields("Other", "OtherAddress"), addressFields("Mailing", "MailingAddress"),
		phone("Phone").label("Business Phone").with(phones(60)), phone("Fax").label("Business Fax").with(phones(5)), phone("MobilePhone").with(phones(40)), phone("HomePhone").with(phones(10)),
		phone("OtherPhone").with(phones(3)), phone("AssistantPhone").label("Asst. Phone").with(phones(3)),
		ref("ReportsToId", "ReportsTo", "Contact").with(seldom(15, "003", (*view).liveContact)),
		email("Email", 80).with(emails(88)), str("Title", 128).with(oneOf(75, titles)), str("Department", 80).with(oneOf(50, departments)), str("AssistantName", 40).with(oneOf(3, []string{"Sam", "Zoë \"Z\""})),
		pick("LeadSource", leadSources...).picked(60), day("Birthdate").with(days(30, -30000, -7000)), area("Description", 32000).with(texts(30)),
		ref("OwnerId", "Owner", "User").notNull().with(owner(false)), flag("HasOptedOutOfEmail").label("Email Opt Out").with(yes(6)), flag("HasOptedOutOfFax").label("Fax Opt Out").with(yes(2)), flag("DoNotCall").with(yes(4)),
		day("LastActivityDate").label("Last Activity").ro().with(days(30, -300, -1)), when("LastCURequestDate").ro(), when("LastCUUpdateDate").ro(), seen(),
		str("EmailBouncedReason", 255).with(oneOf(2, bounces)), when("EmailBouncedDate").with(stamps(2, -90*86400, -86400)),
		flag("IsEmailBounced").derived(func(v *view, r row) value { return boolOf(!v.get(r, r.t.object.byName["emailbounceddate"]).isNull()) }),
		link("PhotoUrl", 255).ro().with(func(v *view, _ *field, i uint32) value {
			return textOf(v.cat("/services/images/photo/", v.id("003", i)))
		}),
		str("Jigsaw", 20).label("Data.com Key"), ref("IndividualId", "Individual", "Individual").label("Individual ID"),
		str("External_Key__c", 64).external().coded(80, "C-"), pick("Languages__c", "English", "French", "German", "Japanese").picked(40), percent("Engagement__c", 5, 2).with(decs(40, 0, 100)), marketingID(),
		across("Account_Tier__c", "accountid", "tier__c", "TEXT(Account.Tier__c)"),
	)...)
}

// accountObject is Account (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_account.htm).
func accountObject() *object {
	o := &object{
		name: "Account", label: "Account", plural: "Accounts", prefix: "001", createable: true, updateable: true, deletable: true, undeletable: true, mergeable: true,
		size: func(s *sizes) int { return s.accounts }, deleted: (*view).accountDeleted, rules: accountRules,
	}
	return define(o, fields(
		str("Name", 255).label("Account Name").req().with(func(v *view, f *field, i uint32) value {
			h := v.h(f.salt, i)
			return textOf(v.cat(companyHeads[below(h, len(companyHeads))], " ", companyTails[h>>8%uint64(len(companyTails))], " ", v.itoa(int64(i))))
		}),
		pick("Type", "Prospect", "Customer - Direct", "Customer - Channel", "Channel Partner / Reseller", "Installation Partner", "Technology Partner", "Other").picked(60),
		ref("ParentId", "Parent", "Account").child("ChildAccounts").with(seldom(8, "001", (*view).liveAccount)),
		addressFields("Billing", "BillingAddress"), addressFields("Shipping", "ShippingAddress"),
		phone("Phone").with(phones(70)), phone("Fax").with(phones(10)), str("AccountNumber", 40).coded(60, "ACC-"), link("Website", 255).with(urls(60)),
		link("PhotoUrl", 255).ro().with(func(v *view, _ *field, i uint32) value {
			return textOf(v.cat("/services/images/photo/", v.id("001", i)))
		}),
		str("Sic", 20).label("SIC Code").with(oneOf(15, []string{"7372", "0111", "5812"})), pick("Industry", industries...).picked(70), money("AnnualRevenue", 18, 0).with(decs(50, 0, 90_000_000_000)),
		count("NumberOfEmployees", 8).label("Employees").with(ints(60, 0, 500_000)), pick("Ownership", "Public", "Private", "Subsidiary", "Other").picked(30), str("TickerSymbol", 20).with(oneOf(10, []string{"ACME", "GLBX", "T&T"})),
		area("Description", 32000).with(texts(30)), pick("Rating", ratings...).picked(30), str("Site", 80).with(oneOf(10, []string{"Headquarters", "Werk 2, Süd"})),
		ref("OwnerId", "Owner", "User").notNull().with(owner(false)), seen(), day("LastActivityDate").label("Last Activity").ro().with(days(30, -300, -1)),
		str("Jigsaw", 20).label("Data.com Key"), pick("AccountSource", leadSources...).picked(40), str("SicDesc", 80).label("SIC Description"), flag("IsCustomerPortal").label("Customer Portal Account").ro(),
		str("External_Key__c", 64).external().coded(80, "A-"), pick("Tier__c", "Gold", "Silver", "Bronze").restricted().picked(50),
	)...)
}

var leadStatuses = []string{"Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted"}
