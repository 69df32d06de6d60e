package simorg_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// small makes an org with nothing but set-up rows and what the test creates.
func small(t testing.TB) *client {
	return start(t, simorg.Config{Seed: 2, Leads: -1, Contacts: -1, Accounts: -1, Opportunities: -1, Campaigns: -1, CampaignMembers: -1, Tasks: -1, Events: -1})
}

func (c *client) make(name string, fields object) string {
	c.t.Helper()
	id, err := c.org.Create(name, fields)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// Each condition picks the leads that it should.
func TestWhere(t *testing.T) {
	t.Parallel()
	c := small(t)
	for _, f := range []object{
		{"LastName": "Alpha", "Company": "Acme", "NumberOfEmployees": 5, "AnnualRevenue": "1000000", "Product_Interests__c": "Alpha;Beta", "Trial_Ends__c": "2026-01-15", "Last_Contacted__c": "2026-01-15T10:00:00Z", "GDPR_Consent__c": true, "External_Key__c": "k1"},
		{"LastName": "beta", "Company": "100% wool_y", "NumberOfEmployees": 50, "Product_Interests__c": "Beta", "Trial_Ends__c": "2026-02-15", "Rating": "Hot", "External_Key__c": "k2"},
		{"LastName": "Gamma", "Company": "O'Reilly \\ Sons", "Rating": "Cold", "Last_Contacted__c": "2026-03-01T00:00:00Z", "External_Key__c": "k3"},
		{"LastName": "Ünïcode", "Company": "Ωmega\nnext line", "NumberOfEmployees": -1, "Rating": "Warm", "External_Key__c": "k4"},
	} {
		c.make("Lead", f)
	}
	for _, x := range []struct{ where, want string }{
		{"Name = 'alpha'", "k1"},
		{"LastName != 'ALPHA'", "k2 k3 k4"},
		{"NumberOfEmployees > 5", "k2"},
		{"NumberOfEmployees >= 5.0", "k1 k2"},
		{"NumberOfEmployees < 6", "k1 k4"},
		{"NumberOfEmployees = null", "k3"},
		{"NumberOfEmployees != 5", "k2 k3 k4"},
		{"AnnualRevenue = 1e6", "k1"},
		{"LastName LIKE '%A%'", "k1 k2 k3"},
		{"LastName LIKE '_eta'", "k2"},
		{"LastName LIKE 'ü%'", "k4"},
		{`Company LIKE '100\%%'`, "k2"},
		{`Company LIKE '%l\_y'`, "k2"},
		{`Company = '100% wool_y'`, "k2"},
		{`Company = 'O\'Reilly \\ Sons'`, "k3"},
		{`Company = '\u03a9mega\nnext line'`, "k4"},
		{"Product_Interests__c INCLUDES ('Alpha;Beta')", "k1"},
		{"Product_Interests__c INCLUDES ('Beta')", "k1 k2"},
		{"Product_Interests__c EXCLUDES ('Alpha')", "k2 k3 k4"},
		{"Trial_Ends__c = 2026-01-15", "k1"},
		{"Trial_Ends__c > 2026-01-15", "k2"},
		{"Last_Contacted__c >= 2026-01-15T11:00:00+01:00", "k1 k3"},
		{"Last_Contacted__c < 2026-01-15T10:00:00.001Z", "k1"},
		{"CreatedDate = TODAY", "k1 k2 k3 k4"},
		{"CreatedDate = LAST_N_DAYS:1", "k1 k2 k3 k4"},
		{"CreatedDate < TODAY", ""},
		{"CreatedDate > LAST_MONTH AND CreatedDate = THIS_YEAR", "k1 k2 k3 k4"},
		{"GDPR_Consent__c = true", "k1"},
		{"GDPR_Consent__c = false AND Rating = 'hot'", "k2"},
		{"GDPR_Consent__c = null", "k2 k3 k4"},
		{"Rating IN ('Hot','cold')", "k2 k3"},
		{"Rating NOT IN ('Hot','cold')", "k1 k4"},
		{"NOT Rating = 'Hot' AND NOT (Rating = 'Cold')", "k1 k4"},
		{"(Rating = 'Hot' OR Rating = 'Cold') AND (NOT(Name LIKE 'g%'))", "k2"},
		{"Owner.Name = 'Ada Administrator'", "k1 k2 k3 k4"},
		{"Owner.Type = 'Queue'", ""},
		{"CreatedBy.Profile.Name LIKE 'System%'", "k1 k2 k3 k4"},
		{"OwnerId IN (SELECT Id FROM User WHERE Alias = 'ada')", "k1 k2 k3 k4"},
		{"OwnerId NOT IN (SELECT Id FROM User WHERE Alias = 'ada')", ""},
		{"CALENDAR_YEAR(Trial_Ends__c) = 2026 AND CALENDAR_MONTH(Trial_Ends__c) = 2", "k2"},
		{"External_Key__c IN ('k1','K3','k9')", "k1 k3"},
		{"Lead.Name = 'Alpha'", "k1"},
	} {
		var keys []string
		for _, r := range c.query("SELECT External_Key__c FROM Lead WHERE " + x.where) {
			keys = append(keys, r["External_Key__c"].(string))
		}
		slices.Sort(keys)
		if got := strings.Join(keys, " "); got != x.want {
			t.Errorf("WHERE %s gave %q, want %q", x.where, got, x.want)
		}
		if n := c.count("SELECT COUNT() FROM Lead WHERE " + x.where); n != len(keys) {
			t.Errorf("COUNT() WHERE %s gave %d, want %d", x.where, n, len(keys))
		}
	}
}

// Rows without a value come first in both directions, and last where that is asked and the field is no lookup.
func TestOrder(t *testing.T) {
	t.Parallel()
	c := small(t)
	for k, f := range []object{{"NumberOfEmployees": 3, "Rating": "Cold"}, {"Rating": "Hot"}, {"NumberOfEmployees": 1}, {"NumberOfEmployees": 2, "Rating": "Warm"}} {
		f["LastName"], f["Company"], f["External_Key__c"] = fmt.Sprint("n", k), "c", fmt.Sprint(k)
		c.make("Lead", f)
	}
	for _, x := range []struct{ order, want string }{
		{"NumberOfEmployees", "1230"},
		{"NumberOfEmployees DESC", "1032"},
		{"NumberOfEmployees DESC NULLS LAST", "0321"},
		{"NumberOfEmployees NULLS LAST", "2301"},
		{"Rating, Id", "2130"}, // picklists sort as they were set up: Hot, Warm, Cold
		{"Id DESC", "3210"},
		{"Name DESC LIMIT 2", "32"},
		{"Id LIMIT 2 OFFSET 1", "12"},
		{"Name LIMIT 2 OFFSET 3", "3"},
	} {
		got := ""
		for _, r := range c.query("SELECT External_Key__c FROM Lead ORDER BY " + x.order) {
			got += r["External_Key__c"].(string)
		}
		if got != x.want {
			t.Errorf("ORDER BY %s gave %s, want %s", x.order, got, x.want)
		}
	}
}

// What Salesforce refuses is refused with its code and its words.
func TestQueryErrors(t *testing.T) {
	t.Parallel()
	c := small(t)
	for _, x := range []struct{ soql, code, message string }{
		{"SELECT Foo FROM Lead", "INVALID_FIELD", "\nSELECT Foo FROM Lead\n       ^\nERROR at Row:1:Column:8\nNo such column 'Foo' on entity 'Lead'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."},
		{"SELECT Id FORM Lead", "MALFORMED_QUERY", "\nSELECT Id FORM Lead\n               ^\nERROR at Row:1:Column:16\nunexpected token: 'Lead'"},
		{"SELECT Id FROM Foo", "INVALID_TYPE", "sObject type 'Foo' is not supported."},
		{"SELECT Id, Owner.Foo FROM Lead", "INVALID_FIELD", "No such column 'Foo' on entity 'Name'"},
		{"SELECT Foo.Name FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Foo' in field path."},
		{"SELECT Id, Id FROM Lead", "INVALID_FIELD", "duplicate field selected: Id"},
		{"SELECT Id FROM Lead WHERE Description = 'x'", "INVALID_FIELD", "can not be filtered in a query call"},
		{"SELECT Id FROM Lead ORDER BY Description", "MALFORMED_QUERY", "can not be sorted"},
		{"SELECT Id FROM Lead WHERE NumberOfEmployees = '5'", "INVALID_FIELD", "must be of type int and should not be enclosed in quotes"},
		{"SELECT Id FROM Lead WHERE Name = 5", "INVALID_FIELD", "must be of type string and should be enclosed in quotes"},
		{"SELECT Id FROM Lead WHERE CreatedDate > '2026-01-01T00:00:00Z'", "INVALID_FIELD", "must be of type dateTime and should not be enclosed in quotes"},
		{"SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01", "INVALID_FIELD", "must be of type dateTime"},
		{"SELECT Id FROM Lead WHERE Id = 'nonsense'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: nonsense"},
		{"SELECT Id FROM Lead WHERE Name = 'open", "MALFORMED_QUERY", "expecting '''"},
		{`SELECT Id FROM Lead WHERE Name = 'a\z'`, "MALFORMED_QUERY", `Illegal character sequence '\z'`},
		{"SELECT Id FROM Lead WHERE Name = 'a' OR Name = 'b' AND Name = 'c'", "MALFORMED_QUERY", "unexpected token: 'AND'"},
		{"SELECT Id FROM Lead OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"},
		{"SELECT FIELDS(ALL) FROM Lead", "MALFORMED_QUERY", "The SOQL FIELDS function must have a LIMIT of at most 200"},
		{"SELECT Name, COUNT(Id) FROM Lead", "MALFORMED_QUERY", "Field must be grouped or aggregated"},
		{"SELECT Id FROM Lead ALL ROWS", "MALFORMED_QUERY", "ALL ROWS not allowed in this context"},
		{"SELECT Id FROM Lead WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"},
		{"", "MALFORMED_QUERY", ""},
		{"SELECT Id, (SELECT Id FROM Nopes) FROM Account", "INVALID_TYPE", "Didn't understand relationship 'Nopes' in FROM part of query call."},
		{"SELECT Id FROM Lead WHERE Id IN (SELECT LeadId FROM CampaignMember) AND Id IN (SELECT LeadId FROM CampaignMember) AND Id IN (SELECT LeadId FROM CampaignMember)", "EXCEEDED_MAX_SEMIJOIN_SUBSELECTS", ""},
	} {
		if m := c.wantError(400, x.code, "GET", "/query?q="+url.QueryEscape(x.soql), nil); !strings.Contains(m, x.message) {
			t.Errorf("%s gave %q, want %q", x.soql, m, x.message)
		}
	}
	c.org.HideField("Lead", "Rating")
	c.wantError(400, "INVALID_FIELD", "GET", "/query?q="+url.QueryEscape("SELECT Rating FROM Lead"), nil)
	c.org.HideObject("Contact")
	c.wantError(400, "INVALID_TYPE", "GET", "/query?q="+url.QueryEscape("SELECT Id FROM Contact"), nil)
	c.wantError(404, "NOT_FOUND", "GET", "/sobjects/Contact/describe", nil)
}

// The shapes of REST rows: parents, children, compound fields, polymorphic ones, aggregates.
func TestRowShapes(t *testing.T) {
	t.Parallel()
	c := small(t)
	a := c.make("Account", object{"Name": "Acme", "BillingCity": "Paris", "BillingCountry": "France"})
	k := c.make("Contact", object{"LastName": "Doe", "AccountId": a})
	c.make("Contact", object{"LastName": "Roe", "AccountId": a})
	c.make("Contact", object{"LastName": "Loner"})
	c.make("Task", object{"Subject": "Call", "WhoId": k, "WhatId": a})
	c.make("Subscription__c", object{"Contact__c": k, "Site__Latitude__s": 48.5, "Site__Longitude__s": "2.25", "Price__c": 1.5, "Daily_Report_At__c": "18:30:00.000Z"})
	rows := c.query("SELECT Name, BillingAddress, Parent.Name, (SELECT LastName, Account.Name FROM Contacts ORDER BY LastName DESC), (SELECT Id FROM Opportunities) FROM Account")
	r := rows[0]
	if got := r["attributes"].(object)["url"]; got != "/services/data/v68.0/sobjects/Account/"+a {
		t.Errorf("the row's url is %v", got)
	}
	if b := r["BillingAddress"].(object); b["city"] != "Paris" || b["street"] != nil || b["country"] != "France" {
		t.Errorf("BillingAddress is %v", b)
	}
	if v, ok := r["Parent"]; v != nil || !ok {
		t.Errorf("a parent that is not there is %v", v)
	}
	if v, ok := r["Opportunities"]; v != nil || !ok {
		t.Errorf("no children are %v, want null", v)
	}
	kids := r["Contacts"].(object)
	if kids["totalSize"].(fmt.Stringer).String() != "2" || kids["records"].([]any)[0].(object)["LastName"] != "Roe" {
		t.Errorf("the children are %v", kids)
	}
	task := c.query("SELECT Who.Name, Who.Type, What.Name, TYPEOF What WHEN Account THEN BillingCity ELSE Name END, Account.Name FROM Task")[0]
	if who := task["Who"].(object); who["Name"] != "Doe" || who["Type"] != "Contact" || who["attributes"].(object)["type"] != "Name" {
		t.Errorf("Who is %v", who)
	}
	sub := c.query("SELECT Name, Site__c, Contact__r.Account.Name, Contact_Email__c, Yearly__c, Daily_Report_At__c FROM Subscription__c")[0]
	if s := sub["Site__c"].(object); fmt.Sprint(s["latitude"]) != "48.5" || fmt.Sprint(sub["Yearly__c"]) != "18.0" || sub["Daily_Report_At__c"] != "18:30:00.000Z" {
		t.Errorf("the subscription is %v", sub)
	}
	counts := c.query("SELECT AccountId, COUNT(Id) n, MAX(LastName), COUNT_DISTINCT(LastName) FROM Contact GROUP BY AccountId HAVING COUNT(Id) > 1 ORDER BY COUNT(Id) DESC")
	if len(counts) != 1 || fmt.Sprint(counts[0]["n"]) != "2" || counts[0]["expr0"] != "Roe" || fmt.Sprint(counts[0]["expr1"]) != "2" {
		t.Errorf("the groups are %v", counts)
	}
	if all := c.query("SELECT COUNT(Id), MIN(CreatedDate) FROM Contact"); fmt.Sprint(all[0]["expr0"]) != "3" {
		t.Errorf("the aggregate is %v", all)
	}
	if std := c.query("SELECT FIELDS(STANDARD) FROM Account")[0]; std["Name"] != "Acme" || std["Tier__c"] != nil {
		t.Errorf("FIELDS(STANDARD) gave %v", std)
	}
}

// Pages follow each other through locators, of the size that was asked for, and a locator dies.
func TestQueryPages(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 3, Leads: 4500})
	n := c.count("SELECT COUNT() FROM Lead")
	for _, batch := range []string{"", "200", "777"} {
		path, rows, pages := "/query?q="+url.QueryEscape("SELECT Id FROM Lead"), 0, 0
		seen := map[string]bool{}
		for path != "" {
			m := c.want(200, "GET", path, nil, "Sforce-Query-Options", "batchSize="+batch).(object)
			for _, r := range m["records"].([]any) {
				seen[r.(object)["Id"].(string)] = true
				rows++
			}
			pages++
			path, _ = m["nextRecordsUrl"].(string)
			if m["done"] != (path == "") || number(t, m["totalSize"]) != n {
				t.Fatalf("done is %v, totalSize %v and the next page %q", m["done"], m["totalSize"], path)
			}
			if path != "" && (!strings.HasPrefix(path, "/services/data/v68.0/query/01g") || !strings.HasSuffix(path, fmt.Sprintf("-%d", rows))) {
				t.Fatalf("the next page is %s after %d rows", path, rows)
			}
		}
		if rows != n || len(seen) != n {
			t.Errorf("batch size %q: %d rows, %d of them different, want %d", batch, rows, len(seen), n)
		}
	}
	remove := c.org.Fault(simorg.Fault{ShortPages: 3})
	m := c.want(200, "GET", "/query?q="+url.QueryEscape("SELECT Id FROM Lead"), nil).(object)
	if len(m["records"].([]any)) != 3 {
		t.Errorf("a short page has %d rows", len(m["records"].([]any)))
	}
	remove()
	c.org.DropCursors()
	c.wantError(400, "INVALID_QUERY_LOCATOR", "GET", m["nextRecordsUrl"].(string), nil)
}
