package simorg

// The custom objects: one that hangs from Contact and one from Lead, each with a field of every type that a custom object can have,
// and one that is two links away from a person.

// everyType gives a field of each type. The names differ by what the object is about; prices, places and times do not matter to it.
func everyType(code string) []*field {
	place := func(limit int64) gen { return coordinates(50, limit) }
	return []*field{
		str("External_Id__c", 40).external().coded(90, code+"/"), pick("Plan__c", "Free", "Team", "Enterprise").restricted().picked(90), multi("Modules__c", "Mail", "Web", "CRM", "A;B-less").picked(60),
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
		{FieldSpec: FieldSpec{Name: "Terms__c", Type: "textarea", Length: 32768, HTML: true}, gen: oneOf(20, []string{"<p>Standard terms &amp; conditions</p>", "<ul><li>one</li><li>\"two\"</li></ul>"})},
		email("Billing_Email__c", 80).with(emails(70)), phone("Support_Phone__c").with(phones(40)), link("Portal__c", 255).with(urls(60)),
		number("Site__Latitude__s", 18, 15).part("Site__c").with(place(90)), number("Site__Longitude__s", 18, 15).part("Site__c").with(place(180)), typed("Site__c", "location"),
		{FieldSpec: FieldSpec{Name: "License_Key__c", Type: "encryptedstring", Length: 100}, gen: oneOf(40, []string{"********1234", "********ABCD"})},
		{FieldSpec: FieldSpec{Name: "Voucher__c", Type: "string", Length: 20, Unique: true, CaseSensitive: true}},
		ref("Advisor__c", "Advisor__r", "User").with(func(v *view, f *field, i uint32) value {
			if !chance(v.h(f.salt, i)>>8, 30) {
				return value{}
			}
			return v.someUser(f, i)
		}),
		(&field{FieldSpec: FieldSpec{Name: "Yearly__c", Type: "currency", Precision: 18, Scale: 2, Formula: "Price__c * 12"}}).derived(func(v *view, r row) value {
			p := v.get(r, r.t.object.byName["price__c"])
			if p.isNull() {
				return value{}
			}
			return decOf(p.n*12, int(p.scale))
		}),
		(&field{FieldSpec: FieldSpec{Name: "Days_To_Renewal__c", Type: "double", Precision: 18, Scale: 0, Formula: "DATEVALUE(Renews_At__c) - TODAY()"}}).derived(func(v *view, r row) value {
			at := v.get(r, r.t.object.byName["renews_at__c"])
			if at.isNull() {
				return value{}
			}
			return decOf(floorDiv(at.n, 86_400_000)-dayOf(v.org.now()), 0)
		}),
	}
}

// subscriptionObject hangs from Contact. It counts and sums up its licenses.
func subscriptionObject() *object {
	o := &object{
		name: "Subscription__c", numbered: "SUB-", label: "Subscription", plural: "Subscriptions", prefix: "a00", custom: true, createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.subscriptions },
	}
	contact := func(v *view, i uint32) (uint32, bool) { return v.liveContact(v.h(saltSubscription, i)) }
	rolledUp := func(f *field, sum func(v *view, licenses []row) value) *field {
		f.rollup = true
		return f.derived(func(v *view, r row) value {
			x := v.org.byName["license__c"]
			live := v.having(x.byName["subscription__c"], r.id())
			n := 0
			for _, l := range live {
				if !v.deleted(l) {
					live[n] = l
					n++
				}
			}
			return sum(v, live[:n])
		})
	}
	return define(o, fields(
		ref("OwnerId", "Owner", "Group", "User").notNull().with(owner(true)),
		&field{FieldSpec: FieldSpec{Name: "Name", Label: "Subscription Number", Type: "string", Length: 80, AutoNumber: true, NotNull: true, IDLookup: true}, gen: func(v *view, _ *field, i uint32) value { return textOf(autoNumber(v, "SUB-", i)) }},
		ref("Contact__c", "Contact__r", "Contact").child("Subscriptions__r").with(points("003", contact)), everyType("SUB"), across("Contact_Email__c", "contact__c", "email", "Contact__r.Email"),
		rolledUp(number("License_Count__c", 18, 0), func(_ *view, licenses []row) value { return decOf(int64(len(licenses)), 0) }),
		rolledUp(money("License_Total__c", 18, 2), func(v *view, licenses []row) value {
			total := int64(0)
			for _, l := range licenses {
				if p := v.get(l, l.t.object.byName["unit_price__c"]); !p.isNull() {
					total += p.n * pow10[2-p.scale]
				}
			}
			return decOf(total, 2)
		}),
	)...)
}

func autoNumber(v *view, prefix string, i uint32) string {
	b := v.room(32)
	b = append(b, prefix...)
	b = append(b, '0')
	b = append4(b, int(i/10000%10000))
	b = append4(b, int(i%10000))
	return v.keep(b)
}

// interestObject hangs from Lead.
func interestObject() *object {
	o := &object{
		name: "Product_Interest__c", label: "Product Interest", plural: "Product Interests", prefix: "a01", custom: true, createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.interests },
	}
	return define(o, fields(
		ref("OwnerId", "Owner", "Group", "User").notNull().with(owner(true)), str("Name", 80).label("Product Interest Name").with(func(v *view, _ *field, i uint32) value { return textOf(v.cat("Interest ", v.itoa(int64(i)))) }),
		ref("Lead__c", "Lead__r", "Lead").child("Product_Interests__r").with(points("00Q", func(v *view, i uint32) (uint32, bool) { return v.liveLead(v.h(saltInterest, i)) })),
		pick("Product__c", "Alpha", "Beta", "Gamma").picked(95), number("Score__c", 5, 2).with(decs(80, 0, 100)), day("First_Seen__c").with(days(90, -600, -1)),
		everyType("INT"), across("Lead_Email__c", "lead__c", "email", "Lead__r.Email"),
	)...)
}

// licenseObject is the detail of Subscription__c: it has no owner of its own, goes where its master goes, and is two links away from
// a person.
func licenseObject() *object {
	o := &object{
		name: "License__c", numbered: "LIC-", label: "License", plural: "Licenses", prefix: "a02", custom: true, createable: true, updateable: true, deletable: true, undeletable: true,
		size: func(s *sizes) int { return s.licenses },
	}
	master := func(tx *Tx, r row) {
		v := tx.view()
		if p, ok := v.find(v.named(r, "Subscription__c").s); ok && !v.deleted(p) {
			tx.touch(p, nil)
		}
	}
	o.rules = rules{after: func(tx *Tx, d *draft) { master(tx, d.row()) }, deleted: master, undeleted: master}
	return define(o,
		&field{FieldSpec: FieldSpec{Name: "Name", Label: "License Number", Type: "string", Length: 80, AutoNumber: true, NotNull: true, IDLookup: true}, gen: func(v *view, _ *field, i uint32) value { return textOf(autoNumber(v, "LIC-", i)) }},
		ref("Subscription__c", "Subscription__r", "Subscription__c").req().createOnly().child("Licenses__r").cascade().with(points("a00", func(v *view, i uint32) (uint32, bool) { return i % uint32(max(v.n.subscriptions, 1)), true })),
		pick("Product__c", "Alpha", "Beta", "Gamma").picked(95), money("Unit_Price__c", 16, 2).with(decs(90, 0, 9_999)), day("Issued__c").with(days(90, -600, -1)), flag("Revoked__c").with(yes(5)),
		number("Weight__c", 9, 3).with(func(v *view, f *field, i uint32) value { return decOf(int64(v.h(saltLicense, i)%1_000_000), 3) }),
	)
}

// objects makes the whole schema, parents before children.
func objects(wideLeads int) []*object {
	return []*object{
		organizationObject(), profileObject(), userRoleObject(), userObject(), groupObject(), recordTypeObject(), leadStatusObject(), opportunityStageObject(), taskStatusObject(),
		accountObject(), contactObject(), leadObject(wideLeads), opportunityObject(), contactRoleObject(), campaignObject(), memberStatusObject(), memberObject(),
		historyObject(), caseObject(), taskObject(), eventObject(), subscriptionObject(), interestObject(), licenseObject(),
	}
}
