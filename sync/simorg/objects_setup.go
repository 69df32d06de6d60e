package simorg

import (
	"strconv"
	"strings"
)

// The tables that an administrator fills. Most are short and written out here.

const queueCount = 4

func fixed(cells ...any) gen {
	values := make([]value, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case string:
			values[i] = textOf(c)
		case bool:
			values[i] = boolOf(c)
		case int:
			values[i] = intOf(int64(c))
		case value:
			values[i] = c
		}
	}
	return func(_ *view, f *field, i uint32) value {
		if int(i) < len(values) {
			return values[i]
		}
		return f.fill
	}
}

func same(s string) gen {
	return func(*view, *field, uint32) value { return textOf(s) }
}

// The users that come with every org.
var firstUsers = []struct{ first, last, username, alias string }{
	{"Integration", "User", "integration@tandem-sim.example", "integ"},
	{"Ada", "Administrator", "admin@tandem-sim.example", "ada"},
	{"Priya", "Sales", "priya@tandem-sim.example", "priya"},
	{"Jürgen", "Verkäufer", "juergen@tandem-sim.example", "jurgen"},
}

// usernameNumber finds the untouched user of a name.
func usernameNumber(_ *view, s string) (uint32, bool) {
	for k, u := range firstUsers {
		if strings.EqualFold(u.username, s) {
			return uint32(k), true
		}
	}
	digits, ok := strings.CutSuffix(strings.TrimPrefix(lower(s), "user"), "@tandem-sim.example")
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil
}

// unique makes a field one that rows can be found by; number finds the untouched row of a value.
func unique(f *field, number func(v *view, s string) (uint32, bool)) *field {
	f.Unique, f.IDLookup, f.invert = true, true, number
	return f
}

// userObject is User (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_user.htm).
func userObject() *object {
	known := func(pick func(k int) string, other gen) gen {
		return func(v *view, f *field, i uint32) value {
			if int(i) < len(firstUsers) {
				return textOf(pick(int(i)))
			}
			return other(v, f, i)
		}
	}
	o := &object{
		name: "User", label: "User", plural: "Users", prefix: "005", createable: true, updateable: true, noDelete: true,
		size: func(s *sizes) int { return s.users }, rules: userRules,
	}
	return define(o, fields(
		unique(str("Username", 80), usernameNumber).req().with(known(func(k int) string { return firstUsers[k].username }, func(v *view, _ *field, i uint32) value {
			return textOf(v.cat("user", v.itoa(int64(i)), "@tandem-sim.example"))
		})),
		str("LastName", 80).req().part("Name").with(known(func(k int) string { return firstUsers[k].last }, lastNames)),
		str("FirstName", 40).part("Name").with(known(func(k int) string { return firstUsers[k].first }, firstNames(98))),
		str("Name", 121).label("Full Name").notNull().derived(personName),
		str("CompanyName", 80).with(same("Tandem Simulated Org")), str("Division", 80), str("Department", 80).with(oneOf(70, departments)), str("Title", 80).with(oneOf(80, titles)),
		addressFields("", "Address"),
		email("Email", 128).req().with(known(func(k int) string { return firstUsers[k].username }, emails(100))),
		phone("Phone").with(phones(70)), phone("Fax"), phone("MobilePhone").label("Mobile").with(phones(40)),
		str("Alias", 8).req().with(known(func(k int) string { return firstUsers[k].alias }, func(v *view, _ *field, i uint32) value { return textOf(v.cat("u", v.itoa(int64(i)))) })),
		str("CommunityNickname", 40).label("Nickname").req().with(func(v *view, _ *field, i uint32) value { return textOf(v.cat("nick", v.itoa(int64(i)))) }),
		flag("IsActive").label("Active").def(true).with(func(v *view, _ *field, i uint32) value { return boolOf(!v.userInactive(i)) }),
		pick("TimeZoneSidKey", "Europe/Paris", "America/Los_Angeles", "GMT", "Asia/Tokyo").label("Time Zone").req().with(same("GMT")), ref("UserRoleId", "UserRole", "UserRole").label("Role ID").with(func(v *view, f *field, i uint32) value {
			if i == 0 {
				return value{}
			}
			return value{k: text, s: v.id("00E", uint32(v.h(f.salt, i)%3))}
		}),
		pick("LocaleSidKey", "en_US", "fr_FR", "de_DE", "ja_JP").label("Locale").req().with(same("en_US")), pick("EmailEncodingKey", "UTF-8", "ISO-8859-1").label("Email Encoding").req().with(same("UTF-8")),
		ref("ProfileId", "Profile", "Profile").req().with(func(v *view, _ *field, i uint32) value {
			return value{k: text, s: v.id("00e", min(i, 2))}
		}),
		pick("UserType", "Standard", "PowerPartner", "CsnOnly", "Guest").ro().with(same("Standard")), pick("LanguageLocaleKey", "en_US", "fr", "de", "ja").label("Language").req().with(same("en_US")),
		str("EmployeeNumber", 20).coded(60, "E"), ref("ManagerId", "Manager", "User").with(func(v *view, _ *field, i uint32) value {
			if i < 2 {
				return value{}
			}
			return value{k: text, s: v.id("005", 1)}
		}),
		when("LastLoginDate").label("Last Login").ro().with(stamps(80, -60*86400, -quietBefore)), flag("ReceivesInfoEmails").label("Info Emails").def(true), flag("UserPermissionsMarketingUser").label("Marketing User").with(func(v *view, f *field, i uint32) value {
			return boolOf(int(i) < len(firstUsers) || chance(v.h(f.salt, i), 60))
		}),
		str("FederationIdentifier", 512).label("SAML Federation ID"), area("AboutMe", 1000).with(texts(10)),
	)...)
}

// groupObject is Group (https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_group.htm): queues and public groups.
func groupObject() *object {
	o := &object{name: "Group", label: "Group", plural: "Groups", prefix: "00G", noDelete: true, size: func(*sizes) int { return 6 }}
	return define(o,
		str("Name", 40).notNull().ro().with(fixed("Inbound leads", "Partner \"EMEA\", leads", "Événements", "Returns", "All sales", "Everyone")),
		str("DeveloperName", 80).label("API Name").notNull().ro().with(fixed("Inbound_leads", "Partner_EMEA_leads", "Evenements", "Returns", "All_sales", "Everyone")),
		ref("RelatedId", "Related", "User", "UserRole").ro(),
		pick("Type", "Queue", "Regular", "Role", "Organization").notNull().ro().with(fixed("Queue", "Queue", "Queue", "Queue", "Regular", "Organization")),
		email("Email", 80).ro().with(fixed("inbound@tandem-sim.example")), ref("OwnerId", "Owner", "Organization", "User").notNull().ro().with(func(v *view, _ *field, _ uint32) value { return value{k: text, s: v.id("005", 1)} }),
		flag("DoesSendEmailToMembers").label("Send Email to Members").ro(), flag("DoesIncludeBosses").ro().with(yes(50)), area("Description", 255).ro(),
	)
}

func organizationObject() *object {
	o := &object{name: "Organization", label: "Organization", plural: "Organizations", prefix: "00D", noDelete: true, noReplicate: true, noBulk: true, size: func(*sizes) int { return 1 }}
	return define(o, fields(
		str("Name", 80).ro().with(same("Tandem Simulated Org")), str("Division", 80).ro(), str("PrimaryContact", 80).ro().with(same("Ada Administrator")), phone("Phone").ro(),
		pick("DefaultLocaleSidKey", "en_US").label("Locale").ro().with(same("en_US")), pick("LanguageLocaleKey", "en_US").label("Language").ro().with(same("en_US")), pick("TimeZoneSidKey", "GMT").label("Time Zone").ro().with(same("GMT")),
		pick("OrganizationType", "Developer Edition", "Enterprise Edition").label("Edition").ro().with(same("Enterprise Edition")), str("NamespacePrefix", 15).ro(), str("InstanceName", 5).ro().with(same("SIM1")),
		flag("IsSandbox").label("Is Sandbox").ro(), flag("IsReadOnly").ro(), when("TrialExpirationDate").ro(), str("WebToCaseDefaultOrigin", 40).ro(),
	)...)
}

func profileObject() *object {
	o := &object{name: "Profile", label: "Profile", plural: "Profiles", prefix: "00e", noDelete: true, size: func(*sizes) int { return 3 }}
	return define(o,
		str("Name", 255).notNull().ro().with(fixed("Minimum Access - API Only Integrations", "System Administrator", "Standard User")),
		pick("UserType", "Standard").ro().with(same("Standard")), area("Description", 255).ro(), flag("PermissionsApiEnabled").label("API Enabled").ro().with(fixed(true, true, true)), flag("PermissionsViewAllData").label("View All Data").ro().with(fixed(true, true, false)),
	)
}

func userRoleObject() *object {
	o := &object{name: "UserRole", label: "Role", plural: "Roles", prefix: "00E", noDelete: true, size: func(*sizes) int { return 3 }}
	return define(o,
		str("Name", 80).notNull().ro().with(fixed("CEO", "Sales", "Marketing")), str("DeveloperName", 80).ro().with(fixed("CEO", "Sales", "Marketing")),
		ref("ParentRoleId", "ParentRole", "UserRole").ro().with(func(v *view, _ *field, i uint32) value {
			if i == 0 {
				return value{}
			}
			return value{k: text, s: v.id("00E", 0)}
		}),
	)
}

// leadStatusObject is LeadStatus: which statuses a lead can have, and which mean that it is converted.
func leadStatusObject() *object {
	o := &object{name: "LeadStatus", label: "Lead Status Value", plural: "Lead Status Values", prefix: "01J", noDelete: true, noReplicate: true, noBulk: true, size: func(*sizes) int { return len(leadStatuses) }}
	return define(o,
		str("MasterLabel", 255).ro().with(fixed("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted")), str("ApiName", 255).ro().with(fixed("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted")),
		count("SortOrder", 9).ro().with(fixed(1, 2, 3, 4)), flag("IsDefault").label("Default").ro().with(fixed(true)), flag("IsConverted").label("Converted").ro().with(fixed(false, false, true, false)),
	)
}

func taskStatusObject() *object {
	o := &object{name: "TaskStatus", label: "Task Status Value", plural: "Task Status Values", prefix: "01T", noDelete: true, noReplicate: true, noBulk: true, size: func(*sizes) int { return len(taskStatuses) }}
	return define(o,
		str("MasterLabel", 255).ro().with(fixed("Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred")), str("ApiName", 255).ro().with(fixed("Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred")),
		count("SortOrder", 9).ro().with(fixed(1, 2, 3, 4, 5)), flag("IsDefault").label("Default").ro().with(fixed(true)), flag("IsClosed").label("Closed").ro().with(fixed(false, false, true, false, false)),
	)
}

func opportunityStageObject() *object {
	var label, kind []any
	var order, probability, closed, won []any
	for i, s := range stages {
		label, kind, order = append(label, s.name), append(kind, s.forecast), append(order, i+1)
		probability, closed, won = append(probability, decOf(int64(s.probability), 0)), append(closed, s.closed), append(won, s.won)
	}
	o := &object{name: "OpportunityStage", label: "Opportunity Stage", plural: "Opportunity Stages", prefix: "01I", noDelete: true, noReplicate: true, noBulk: true, size: func(*sizes) int { return len(stages) }}
	return define(o,
		str("MasterLabel", 255).ro().with(fixed(label...)), str("ApiName", 255).ro().with(fixed(label...)), flag("IsActive").label("Active").ro().with(yes(100)), count("SortOrder", 9).ro().with(fixed(order...)),
		flag("IsClosed").label("Closed").ro().with(fixed(closed...)), flag("IsWon").label("Won").ro().with(fixed(won...)), str("ForecastCategory", 40).ro().with(fixed(kind...)), percent("DefaultProbability", 3, 0).label("Probability (%)").ro().with(fixed(probability...)),
	)
}

func recordTypeObject() *object {
	o := &object{name: "RecordType", label: "Record Type", plural: "Record Types", prefix: "012", noDelete: true, size: func(*sizes) int { return 1 }}
	return define(o,
		str("Name", 80).ro().with(same("Standard member")), str("DeveloperName", 80).ro().with(same("Standard_member")), str("NamespacePrefix", 15).ro(), area("Description", 255).ro(), str("BusinessProcessId", 18).ro(),
		pick("SobjectType", "CampaignMember").ro().with(same("CampaignMember")), flag("IsActive").label("Active").ro().with(yes(100)),
	)
}
