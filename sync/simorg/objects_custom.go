package simorg

// subscriptionObject is a custom object that hangs from Contact, with a field of each type that a custom object can have.
func subscriptionObject() *object {
	o := &object{
		name: "Subscription__c", label: "Subscription", plural: "Subscriptions", prefix: "a00", custom: true, createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.subscriptions },
	}
	contact := func(v *view, i uint32) (uint32, bool) { return v.liveContact(v.h(saltSubscription, i)) }
	place := func(limit int64) gen { return coordinates(50, limit) }
	o = define(o,
		ref("OwnerId", "Owner", "Group", "User").notNull().with(owner(true)),
		&field{FieldSpec: FieldSpec{Name: "Name", Label: "Subscription Number", Type: "string", Length: 80, AutoNumber: true, NotNull: true, IDLookup: true}, gen: func(v *view, _ *field, i uint32) value { return textOf(subscriptionNumber(v, i)) }},
		ref("Contact__c", "Contact__r", "Contact").child("Subscriptions__r").with(points("003", contact)),
		str("External_Id__c", 40).external().coded(90, "SUB/"), pick("Plan__c", "Free", "Team", "Enterprise").restricted().picked(90), multi("Modules__c", "Mail", "Web", "CRM", "A;B-less").picked(60),
		number("Seats__c", 18, 0).with(decs(80, 0, 99_000_000)), money("Price__c", 16, 2).with(decs(90, 0, 999_999)), percent("Discount__c", 5, 2).with(decs(60, 0, 100)),
		number("Ratio__c", 18, 8).with(decs(60, -1, 1)), number("Big_Number__c", 18, 0).with(decs(40, -900_000_000_000_000, 900_000_000_000_000)),
		day("Starts__c").with(days(90, -2000, 300)), when("Renews_At__c").with(stamps(70, -100*86400, 300*86400)),
		typed("Daily_Report_At__c", "time").with(func(v *view, f *field, i uint32) value {
			h := v.h(f.salt, i)
			if !chance(h, 50) {
				return value{}
			}
			return value{k: clock, n: int64(h >> 8 % 86_400_000)}
		}),
		flag("Active__c").def(true).with(yes(80)), area("Summary__c", 255).with(texts(50)), area("Notes__c", 32768).with(texts(40)),
		&field{FieldSpec: FieldSpec{Name: "Terms__c", Type: "textarea", Length: 32768, HTML: true}, gen: oneOf(20, []string{"<p>Standard terms &amp; conditions</p>", "<ul><li>one</li><li>\"two\"</li></ul>"})},
		email("Billing_Email__c", 80).with(emails(70)), phone("Support_Phone__c").with(phones(40)), link("Portal__c", 255).with(urls(60)),
		number("Site__Latitude__s", 18, 15).part("Site__c").with(place(90)), number("Site__Longitude__s", 18, 15).part("Site__c").with(place(180)), typed("Site__c", "location"),
		&field{FieldSpec: FieldSpec{Name: "License_Key__c", Type: "encryptedstring", Length: 100}, gen: oneOf(40, []string{"********1234", "********ABCD"})},
		&field{FieldSpec: FieldSpec{Name: "Contact_Email__c", Type: "string", Length: 1300, Formula: "Contact__r.Email"}, derive: func(v *view, r row) value {
			if c, ok := v.find(v.get(r, r.t.object.byName["contact__c"]).s); ok {
				return v.get(c, c.t.object.byName["email"])
			}
			return value{}
		}},
		&field{FieldSpec: FieldSpec{Name: "Yearly__c", Type: "currency", Precision: 18, Scale: 2, Formula: "Price__c * 12"}, derive: func(v *view, r row) value {
			p := v.get(r, r.t.object.byName["price__c"])
			if p.isNull() {
				return value{}
			}
			return decOf(p.n*12, int(p.scale))
		}},
	)
	return o
}

func subscriptionNumber(v *view, i uint32) string {
	b := v.room(24)
	b = append(b, "SUB-"...)
	b = append(b, '0')
	b = append4(b, int(i/10000%10000))
	b = append4(b, int(i%10000))
	return v.keep(b)
}

// interestObject is a custom object that hangs from Lead.
func interestObject() *object {
	o := &object{
		name: "Product_Interest__c", label: "Product Interest", plural: "Product Interests", prefix: "a01", custom: true, createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.interests },
	}
	return define(o,
		ref("OwnerId", "Owner", "Group", "User").notNull().with(owner(true)), str("Name", 80).label("Product Interest Name").with(func(v *view, _ *field, i uint32) value { return textOf(v.cat("Interest ", v.itoa(int64(i)))) }),
		ref("Lead__c", "Lead__r", "Lead").child("Product_Interests__r").with(points("00Q", func(v *view, i uint32) (uint32, bool) { return v.liveLead(v.h(saltInterest, i)) })),
		pick("Product__c", "Alpha", "Beta", "Gamma").picked(95), number("Score__c", 5, 2).with(decs(80, 0, 100)), day("First_Seen__c").with(days(90, -600, -1)),
	)
}

// objects makes the whole schema, parents before children.
func objects(wideLeads int) []*object {
	return []*object{
		organizationObject(), profileObject(), userRoleObject(), userObject(), groupObject(), recordTypeObject(), leadStatusObject(), opportunityStageObject(), taskStatusObject(),
		accountObject(), contactObject(), leadObject(wideLeads), opportunityObject(), contactRoleObject(), campaignObject(), memberStatusObject(), memberObject(),
		taskObject(), eventObject(), subscriptionObject(), interestObject(),
	}
}
