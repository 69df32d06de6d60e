package simorg_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// What Salesforce refuses to save is refused with its code and its words, and leaves nothing behind.
func TestValidation(t *testing.T) {
	t.Parallel()
	c := small(t)
	account := c.make("Account", object{"Name": "Acme"})
	contact := c.make("Contact", object{"LastName": "Doe"})
	campaign := c.make("Campaign", object{"Name": "Spring"})
	c.make("CampaignMember", object{"CampaignId": campaign, "ContactId": contact})
	c.make("Lead", object{"LastName": "x", "Company": "y", "External_Key__c": "taken"})
	queue := c.query("SELECT Id FROM Group WHERE Type = 'Queue' LIMIT 1")[0]["Id"]
	group := c.query("SELECT Id FROM Group WHERE Type = 'Regular' LIMIT 1")[0]["Id"]
	for _, x := range []struct {
		object        string
		fields        object
		code, message string
	}{
		{"Lead", object{}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName, Company]"},
		{"Lead", object{"LastName": "", "Company": "x"}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"},
		{"Lead", object{"LastName": "x", "Company": "y", "Foo": 1}, "INVALID_FIELD", "No such column 'Foo' on sobject of type Lead"},
		{"Lead", object{"LastName": "x", "Company": "y", "FirstName": strings.Repeat("é", 41)}, "STRING_TOO_LONG", "First Name: data value too large: " + strings.Repeat("é", 41) + " (max length=40)"},
		{"Lead", object{"LastName": "x", "Company": "y", "Email": "nope"}, "INVALID_EMAIL_ADDRESS", "Email: invalid email address: nope"},
		{"Lead", object{"LastName": "x", "Company": "y", "Region__c": "Mars"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Region: bad value for restricted picklist field: Mars"},
		{"Lead", object{"LastName": "x", "Company": "y", "NumberOfEmployees": 1_000_000_000}, "NUMBER_OUTSIDE_VALID_RANGE", "Employees: value outside of valid range on numeric field: 1000000000"},
		{"Lead", object{"LastName": "x", "Company": "y", "NumberOfEmployees": "many"}, "JSON_PARSER_ERROR", "Cannot deserialize instance of int from VALUE_STRING value many"},
		{"Lead", object{"LastName": "x", "Company": "y", "Trial_Ends__c": "soon"}, "JSON_PARSER_ERROR", "Cannot deserialize instance of date from VALUE_STRING value soon"},
		{"Lead", object{"LastName": "x", "Company": "y", "OwnerId": account}, "MALFORMED_ID", "id value of incorrect type: " + account},
		{"Lead", object{"LastName": "x", "Company": "y", "OwnerId": group}, "INVALID_CROSS_REFERENCE_KEY", ""},
		{"Lead", object{"LastName": "x", "Company": "y", "CreatedDate": "2026-01-01T00:00:00Z", "Name": "z"}, "INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: Name, CreatedDate."},
		{"Lead", object{"LastName": "x", "Company": "y", "External_Key__c": "TAKEN"}, "DUPLICATE_VALUE", "duplicate value found: External_Key__c duplicates value on record with id: 00Q"},
		{"Contact", object{"LastName": "x", "OwnerId": queue}, "MALFORMED_ID", "Owner ID: id value of incorrect type: "},
		{"Contact", object{"LastName": "x", "AccountId": account[:14] + "z" + account[15:]}, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"},
		{"CampaignMember", object{"CampaignId": campaign, "ContactId": contact}, "DUPLICATE_VALUE", "Already a campaign member."},
		{"CampaignMember", object{"CampaignId": campaign}, "REQUIRED_FIELD_MISSING", ""},
		{"CampaignMember", object{"CampaignId": campaign, "LeadId": c.make("Lead", object{"LastName": "l", "Company": "c"}), "Status": "Nope"}, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Status: bad value"},
		{"Event", object{"Subject": "x"}, "REQUIRED_FIELD_MISSING", ""},
	} {
		before := c.org.Count(x.object)
		if m := c.wantError(400, x.code, "POST", "/sobjects/"+x.object, x.fields); !strings.HasPrefix(m, x.message) && !strings.Contains(m, x.message) {
			t.Errorf("creating %s %v gave %q, want %q", x.object, x.fields, m, x.message)
		}
		if n := c.org.Count(x.object); n != before {
			t.Errorf("a refused %s is there", x.object)
		}
	}
	c.wantError(405, "METHOD_NOT_ALLOWED", "DELETE", "/sobjects/User/"+c.query("SELECT Id FROM User LIMIT 1")[0]["Id"].(string), nil)
	c.wantError(404, "NOT_FOUND", "GET", "/sobjects/Lead/00Q000000000000AAA", nil)
	c.wantError(404, "NOT_FOUND", "POST", "/sobjects/Nope", object{})
}

// A record's life: defaults, stamps, changes, references by external id, deletion with what hangs from it, undeletion.
func TestRecordLife(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 500e6, time.UTC)
	c := start(t, simorg.Config{Seed: 2, Leads: -1, Contacts: -1, Accounts: -1, Opportunities: -1, Campaigns: -1, CampaignMembers: -1, Tasks: -1, Events: -1, Now: func() time.Time { return now }})
	account := c.make("Account", object{"Name": "Acme", "External_Key__c": "A-9999"})
	res, b := c.do("POST", "/sobjects/Contact", object{"LastName": "Doe", "Account": object{"External_Key__c": "A-9999"}, "Email": ""})
	if res.StatusCode != 201 || !strings.Contains(string(b), `"success":true,"errors":[]}`) {
		t.Fatalf("creating gave %d %s", res.StatusCode, b)
	}
	path := strings.TrimPrefix(res.Header.Get("Location"), "/services/data/v68.0")
	id := path[strings.LastIndexByte(path, '/')+1:]
	r := c.want(200, "GET", path, nil).(object)
	if r["AccountId"] != account || r["CreatedDate"] != "2026-11-23T10:00:00.000+0000" || r["Email"] != nil || r["Name"] != "Doe" || r["IsDeleted"] != false || r["OwnerId"] != r["CreatedById"] {
		t.Errorf("the new contact is %v", r)
	}
	now = now.Add(time.Hour)
	c.want(204, "PATCH", path, object{"Title": "Line\r\nbreak", "FirstName": "J"})
	c.want(204, "POST", path+"?_HttpMethod=PATCH", object{"Title": nil})
	r = c.want(200, "GET", path+"?fields=Name,Title,CreatedDate,LastModifiedDate,SystemModstamp", nil).(object)
	if r["Name"] != "J Doe" || r["Title"] != nil || r["CreatedDate"] == r["LastModifiedDate"] || r["SystemModstamp"] != "2026-11-23T11:00:00.000+0000" || r["OwnerId"] != nil {
		t.Errorf("the changed contact is %v", r)
	}
	opp := c.make("Opportunity", object{"Name": "Deal", "AccountId": account, "StageName": "Closed Won", "CloseDate": "2026-12-01", "Amount": "100.10", "ContactId": id})
	if o, _ := c.org.Get("Opportunity", opp); fmt.Sprintf("%v %v %v %v", o["ExpectedRevenue"], o["IsWon"], o["ForecastCategory"], o["FiscalQuarter"]) != "100.1 true Closed 4" {
		t.Errorf("the opportunity is %v", o)
	}
	if n := c.count("SELECT COUNT() FROM OpportunityContactRole WHERE IsPrimary = true"); n != 1 {
		t.Errorf("%d contact roles, want the one that ContactId made", n)
	}
	task := c.make("Task", object{"WhoId": id, "Status": "Completed", "Subject": "Call"})
	if k, _ := c.org.Get("Task", task); k["AccountId"] != account || k["IsClosed"] != true || k["CompletedDateTime"] == nil {
		t.Errorf("the task is %v", k)
	}
	// A child account only loses its parent.
	child := c.make("Account", object{"Name": "Child", "ParentId": account})
	now = now.Add(time.Hour)
	c.want(204, "DELETE", "/sobjects/Account/"+account, nil)
	for name, id := range map[string]string{"Account": account, "Contact": id, "Opportunity": opp, "Task": task} {
		if f, _ := c.org.Get(name, id); f["IsDeleted"] != true || f["SystemModstamp"] != "2026-11-23T12:00:00.000+0000" {
			t.Errorf("after the account's deletion %s is %v %v", name, f["IsDeleted"], f["SystemModstamp"])
		}
	}
	if f, _ := c.org.Get("Account", child); f["ParentId"] != nil || f["IsDeleted"] != false {
		t.Errorf("the child account is %v", f)
	}
	c.wantError(404, "ENTITY_IS_DELETED", "GET", path, nil)
	c.wantError(404, "ENTITY_IS_DELETED", "PATCH", path, object{"Title": "x"})
	if n := c.count("SELECT COUNT() FROM Contact"); n != 0 {
		t.Errorf("a query shows %d deleted contacts", n)
	}
	if rows := c.queryAll("SELECT Id FROM Contact WHERE IsDeleted = true"); len(rows) != 1 {
		t.Errorf("queryAll shows %d deleted contacts, want 1", len(rows))
	}
	window := "?start=" + url.QueryEscape("2026-11-23T09:00:30+00:00") + "&end=" + url.QueryEscape("2026-11-23T13:00:00+00:00")
	gone := c.want(200, "GET", "/sobjects/Contact/deleted/"+window, nil).(object)
	if list := gone["deletedRecords"].([]any); len(list) != 1 || list[0].(object)["deletedDate"] != "2026-11-23T12:00:00.000+0000" {
		t.Errorf("deleted gave %v", gone)
	}
	if up := c.want(200, "GET", "/sobjects/Contact/updated/"+window, nil).(object); len(up["ids"].([]any)) != 0 || up["latestDateCovered"] != "2026-11-23T12:00:00.000+0000" {
		t.Errorf("updated gave %v", up)
	}
	if err := c.org.Undelete(account); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"Account": account, "Contact": id, "Opportunity": opp, "Task": task} {
		if f, _ := c.org.Get(name, id); f["IsDeleted"] != false {
			t.Errorf("%s did not come back", name)
		}
	}
	if err := c.org.Delete("Contact", id); err != nil {
		t.Fatal(err)
	}
	if n, err := c.org.EmptyRecycleBin("Contact", false); n != 1 || err != nil {
		t.Errorf("emptying the recycle bin took %d, %v", n, err)
	}
	if rows := c.queryAll("SELECT Id FROM Contact"); len(rows) != 0 {
		t.Errorf("queryAll shows %d purged contacts", len(rows))
	}
	if gone := c.want(200, "GET", "/sobjects/Contact/deleted/"+window, nil).(object); len(gone["deletedRecords"].([]any)) != 1 {
		t.Errorf("after the purge deleted gave %v", gone)
	}
	if _, err := c.org.EmptyRecycleBin("Contact", true); err != nil {
		t.Fatal(err)
	}
	c.wantError(400, "INVALID_REPLICATION_DATE", "GET", "/sobjects/Contact/deleted/"+window, nil)
	c.wantError(400, "INVALID_REPLICATION_DATE", "GET", "/sobjects/Contact/updated/?start=2026-11-23T10:00:00Z&end=2026-11-23T10:00:59Z", nil)
	c.wantError(400, "INVALID_REPLICATION_DATE", "GET", "/sobjects/Contact/updated/?start=2026-09-23T10:00:00Z&end=2026-11-23T10:00:59Z", nil)
}

// A transaction's rows are stamped at their save, seen at its commit, and held back from latestDateCovered until then.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 30, 0, time.UTC)
	c := start(t, simorg.Config{Seed: 2, Leads: 50, Now: func() time.Time { return now }})
	id := c.query("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 1")[0]["Id"].(string)
	window := "/sobjects/Lead/updated/?start=2026-11-23T09:00:00Z&end=2026-11-23T11:00:00Z"
	tx := c.org.Begin()
	if err := tx.Update("Lead", id, object{"Title": "late"}); err != nil {
		t.Fatal(err)
	}
	made, err := tx.Create("Lead", object{"LastName": "New", "Company": "C", "External_Key__c": "late-1"})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(20 * time.Minute)
	if f, _ := c.org.Get("Lead", id); f["Title"] == "late" {
		t.Error("an uncommitted change is seen")
	}
	if _, ok := c.org.Get("Lead", made); ok {
		t.Error("an uncommitted row is seen")
	}
	if up := c.want(200, "GET", window, nil).(object); up["latestDateCovered"] != "2026-11-23T10:00:00.000+0000" || len(up["ids"].([]any)) != 0 {
		t.Errorf("while the transaction is open updated gave %v", up)
	}
	c.wantError(400, "UNABLE_TO_LOCK_ROW", "PATCH", "/sobjects/Lead/"+id, object{"Title": "x"})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); !errors.Is(err, simorg.ErrDone) {
		t.Errorf("a second commit gave %v", err)
	}
	f, _ := c.org.Get("Lead", id)
	if f["Title"] != "late" || f["SystemModstamp"] != "2026-11-23T10:00:30.000+0000" {
		t.Errorf("after the commit the lead is %v %v", f["Title"], f["SystemModstamp"])
	}
	if up := c.want(200, "GET", window, nil).(object); up["latestDateCovered"] != "2026-11-23T10:20:00.000+0000" || len(up["ids"].([]any)) != 2 {
		t.Errorf("after the commit updated gave %v", up)
	}
	tx = c.org.Begin()
	before := c.org.Count("Lead")
	if err := tx.Delete("Lead", made); err != nil {
		t.Fatal(err)
	}
	tx.Rollback()
	if n := c.org.Count("Lead"); n != before {
		t.Errorf("after a rollback there are %d leads, want %d", n, before)
	}
	c.want(204, "PATCH", "/sobjects/Lead/"+made, object{"Title": "free again"})
}

// Upsert by external id creates, updates, and says which it did.
func TestUpsert(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 2, Leads: 100})
	made := c.want(201, "PATCH", "/sobjects/Lead/External_Key__c/a%2Fb", object{"LastName": "L", "Company": "C"}).(object)
	if made["created"] != true {
		t.Errorf("the first upsert gave %v", made)
	}
	again := c.want(200, "PATCH", "/sobjects/Lead/External_Key__c/a%2Fb", object{"LastName": "M"}).(object)
	if again["created"] != false || again["id"] != made["id"] {
		t.Errorf("the second upsert gave %v", again)
	}
	// A computed row is found by its key as well.
	row := c.query("SELECT Id, External_Key__c FROM Lead WHERE External_Key__c != null AND IsConverted = false LIMIT 1")[0]
	if got := c.want(200, "PATCH", "/sobjects/Lead/External_Key__c/"+row["External_Key__c"].(string), object{"Title": "T"}).(object); got["id"] != row["Id"] {
		t.Errorf("the upsert of a computed row gave %v", got)
	}
	if got := c.want(200, "GET", "/sobjects/Lead/External_Key__c/"+row["External_Key__c"].(string), nil).(object); got["Title"] != "T" {
		t.Errorf("reading by the key gave %v", got["Title"])
	}
	c.wantError(400, "INVALID_FIELD", "PATCH", "/sobjects/Lead/External_Key__c/x", object{"Id": made["id"], "LastName": "M"})
	c.wantError(404, "NOT_FOUND", "PATCH", "/sobjects/Lead/External_Key__c/absent?updateOnly=true", object{"LastName": "M"})
	c.wantError(404, "NOT_FOUND", "PATCH", "/sobjects/Lead/Rating/x", object{"LastName": "M"})
	c.make("Contact", object{"LastName": "One", "Email": "same@example.com"})
	c.make("Contact", object{"LastName": "Two", "Email": "same@example.com"})
	if list := c.want(300, "GET", "/sobjects/Contact/Email/same@example.com", nil).([]any); len(list) != 2 {
		t.Errorf("an ambiguous key gave %v", list)
	}
}

// Collections report row by row; with allOrNone one refusal undoes all.
func TestCollections(t *testing.T) {
	t.Parallel()
	c := small(t)
	lead := func(extra object) object {
		f := object{"attributes": object{"type": "Lead"}, "LastName": "A", "Company": "B"}
		for k, v := range extra {
			f[k] = v
		}
		return f
	}
	records := []object{lead(nil), {"attributes": object{"type": "Lead"}, "LastName": "A"}, lead(object{"Email": "bad"})}
	list := c.want(200, "POST", "/composite/sobjects", object{"allOrNone": false, "records": records}).([]any)
	if list[0].(object)["success"] != true || list[1].(object)["errors"].([]any)[0].(object)["statusCode"] != "REQUIRED_FIELD_MISSING" || list[2].(object)["success"] != false {
		t.Errorf("the collection gave %v", list)
	}
	before := c.org.Count("Lead")
	list = c.want(200, "POST", "/composite/sobjects", object{"allOrNone": true, "records": records}).([]any)
	if e := list[0].(object)["errors"].([]any)[0].(object)["statusCode"]; e != "ALL_OR_NONE_OPERATION_ROLLED_BACK" || c.org.Count("Lead") != before {
		t.Errorf("allOrNone gave %v and %d leads, want %d", list, c.org.Count("Lead"), before)
	}
	id := c.query("SELECT Id FROM Lead")[0]["Id"].(string)
	list = c.want(200, "PATCH", "/composite/sobjects", object{"records": []object{{"attributes": object{"type": "Lead"}, "id": id, "Title": "T"}, {"attributes": object{"type": "Lead"}, "Id": id, "Title": "U"}, {"attributes": object{"type": "Lead"}, "Id": "003" + id[3:15]}}}).([]any)
	if list[0].(object)["success"] != true || list[1].(object)["errors"].([]any)[0].(object)["statusCode"] != "DUPLICATE_VALUE" || list[2].(object)["errors"].([]any)[0].(object)["statusCode"] != "MALFORMED_ID" {
		t.Errorf("the update gave %v", list)
	}
	list = c.want(200, "PATCH", "/composite/sobjects/Lead/External_Key__c", object{"records": []object{lead(object{"External_Key__c": "e1"}), lead(object{"External_Key__c": "E1"})}}).([]any)
	if list[0].(object)["created"] != true || list[1].(object)["success"] != false {
		t.Errorf("the upsert gave %v", list)
	}
	got := c.want(200, "POST", "/composite/sobjects/Lead", object{"ids": []string{id, "00Q000000000000AAA"}, "fields": []string{"Title"}}).([]any)
	if got[0].(object)["Title"] != "T" || got[1] != nil {
		t.Errorf("retrieving gave %v", got)
	}
	list = c.want(200, "DELETE", "/composite/sobjects?allOrNone=false&ids="+id+",00Q000000000000AAA", nil).([]any)
	if list[0].(object)["success"] != true || list[1].(object)["success"] != false {
		t.Errorf("deleting gave %v", list)
	}
	c.wantError(400, "EXCEEDED_ID_LIMIT", "POST", "/composite/sobjects", object{"records": make([]object, 201)})
}

// A composite's sub-requests are really dispatched, see each other's results, and with allOrNone stand or fall together.
func TestComposite(t *testing.T) {
	t.Parallel()
	c := small(t)
	sub := func(method, url, ref string, body any) object {
		return object{"method": method, "url": "/services/data/v68.0" + url, "referenceId": ref, "body": body}
	}
	replies := func(v any) (list []object) {
		for _, r := range v.(object)["compositeResponse"].([]any) {
			list = append(list, r.(object))
		}
		return list
	}
	list := replies(c.want(200, "POST", "/composite", object{"allOrNone": true, "compositeRequest": []object{
		sub("POST", "/sobjects/Account", "acc", object{"Name": "Acme"}), sub("POST", "/sobjects/Contact", "con", object{"LastName": "Doe", "AccountId": "@{acc.id}"}),
		sub("GET", "/query?q=SELECT+Account.Name+FROM+Contact+WHERE+Id='@{con.id}'", "q", nil), sub("GET", "/sobjects/Lead/describe", "d", nil),
	}}))
	for k, want := range []int{201, 201, 200, 200} {
		if number(t, list[k]["httpStatusCode"]) != want {
			t.Fatalf("sub-request %d gave %v", k, list[k])
		}
	}
	if n := list[2]["body"].(object)["records"].([]any)[0].(object)["Account"].(object)["Name"]; n != "Acme" {
		t.Errorf("the query within the composite found %v", n)
	}
	before := c.org.Count("Account")
	list = replies(c.want(200, "POST", "/composite", object{"allOrNone": true, "compositeRequest": []object{sub("POST", "/sobjects/Account", "a", object{"Name": "Lost"}), sub("POST", "/sobjects/Contact", "b", object{})}}))
	if list[0]["body"].([]any)[0].(object)["errorCode"] != "PROCESSING_HALTED" || list[1]["body"].([]any)[0].(object)["errorCode"] != "REQUIRED_FIELD_MISSING" || c.org.Count("Account") != before {
		t.Errorf("a failed composite gave %v and left %d accounts, want %d", list, c.org.Count("Account"), before)
	}
	calls := c.org.Calls().Total
	m := c.want(200, "POST", "/composite/batch", object{"batchRequests": []object{{"method": "GET", "url": "v68.0/sobjects/Lead/describe"}, {"method": "GET", "url": "/services/data/v68.0/sobjects/Nope/describe"}}}).(object)
	if r := m["results"].([]any); m["hasErrors"] != true || number(t, r[0].(object)["statusCode"]) != 200 || number(t, r[1].(object)["statusCode"]) != 404 {
		t.Errorf("the batch gave %v", m)
	}
	if n := c.org.Calls().Total - calls; n != 2 {
		t.Errorf("a batch of two counted as %d calls", n)
	}
	tree := c.want(201, "POST", "/composite/tree/Account", object{"records": []object{{
		"attributes": object{"type": "Account", "referenceId": "r1"}, "Name": "Tree",
		"Contacts": object{"records": []object{{"attributes": object{"type": "Contact", "referenceId": "r2"}, "LastName": "Leaf"}}},
	}}}).(object)
	if len(tree["results"].([]any)) != 2 || c.count("SELECT COUNT() FROM Contact WHERE Account.Name = 'Tree'") != 1 {
		t.Errorf("the tree gave %v", tree)
	}
}

// Merge, conversion and archiving do what the platform does to the rows around.
func TestMergeConvertArchive(t *testing.T) {
	t.Parallel()
	c := small(t)
	lead := c.make("Lead", object{"LastName": "Doe", "FirstName": "Jo", "Company": "Acme", "Email": "jo@example.com"})
	loser := c.make("Lead", object{"LastName": "Doe", "Company": "Acme"})
	campaign := c.make("Campaign", object{"Name": "Spring"})
	member := c.make("CampaignMember", object{"CampaignId": campaign, "LeadId": loser, "Status": "Responded"})
	if f, _ := c.org.Get("Campaign", campaign); fmt.Sprintf("%v %v", f["NumberOfLeads"], f["NumberOfResponses"]) != "1 1" {
		t.Errorf("the campaign counts %v leads and %v responses", f["NumberOfLeads"], f["NumberOfResponses"])
	}
	task := c.make("Task", object{"WhoId": loser, "Subject": "Call"})
	if err := c.org.Merge("Lead", lead, loser); err != nil {
		t.Fatal(err)
	}
	if f, _ := c.org.Get("Lead", loser); f["IsDeleted"] != true || f["MasterRecordId"] != lead {
		t.Errorf("the loser is %v %v", f["IsDeleted"], f["MasterRecordId"])
	}
	if f, _ := c.org.Get("Task", task); f["WhoId"] != lead || f["IsDeleted"] != false {
		t.Errorf("the loser's task is %v", f)
	}
	envelope := `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:u="urn:partner.soap.sforce.com"><e:Header><u:SessionHeader><u:sessionId>%s</u:sessionId></u:SessionHeader></e:Header><e:Body>%s</e:Body></e:Envelope>`
	convert := `<u:convertLead><u:leadConverts><u:convertedStatus>Closed - Converted</u:convertedStatus><u:doNotCreateOpportunity>false</u:doNotCreateOpportunity><u:leadId>` + lead + `</u:leadId></u:leadConverts></u:convertLead>`
	if res, b := c.do("POST", "/services/Soap/u/68.0", fmt.Sprintf(envelope, "wrong", convert), "Content-Type", "text/xml", "SOAPAction", `""`); res.StatusCode != 500 || !strings.Contains(string(b), "sf:INVALID_SESSION_ID") {
		t.Errorf("SOAP without a session gave %d %s", res.StatusCode, b)
	}
	res, b := c.do("POST", "/services/Soap/u/68.0", fmt.Sprintf(envelope, c.token, convert), "Content-Type", "text/xml", "SOAPAction", `""`)
	if res.StatusCode != 200 || !strings.Contains(string(b), "<success>true</success>") {
		t.Fatalf("converting gave %d %s", res.StatusCode, b)
	}
	f, _ := c.org.Get("Lead", lead)
	contact, ok := c.org.Get("Contact", fmt.Sprint(f["ConvertedContactId"]))
	if f["IsConverted"] != true || !ok || contact["Email"] != "jo@example.com" || contact["AccountId"] != f["ConvertedAccountId"] || f["ConvertedOpportunityId"] == nil {
		t.Errorf("the lead is %v and its contact %v", f, contact)
	}
	if m, _ := c.org.Get("CampaignMember", member); m["ContactId"] != f["ConvertedContactId"] || m["LeadId"] != lead || m["Type"] != "Contact" {
		t.Errorf("the member is %v", m)
	}
	if k, _ := c.org.Get("Task", task); k["WhoId"] != f["ConvertedContactId"] {
		t.Errorf("the task is %v", k)
	}
	c.wantError(400, "CANNOT_UPDATE_CONVERTED_LEAD", "PATCH", "/sobjects/Lead/"+lead, object{"Title": "x"})
	old := c.make("Task", object{"Subject": "Old", "Status": "Completed", "ActivityDate": "2020-01-01"})
	if n, err := c.org.Archive(); n != 1 || err != nil {
		t.Errorf("archiving took %d, %v", n, err)
	}
	if n := c.count("SELECT COUNT() FROM Task WHERE Id = '" + old + "'"); n != 0 {
		t.Error("an archived task is in a plain query")
	}
	if rows := c.queryAll("SELECT IsArchived, IsDeleted FROM Task WHERE Id = '" + old + "'"); len(rows) != 1 || rows[0]["IsArchived"] != true || rows[0]["IsDeleted"] != false {
		t.Errorf("queryAll gave %v", rows)
	}
}

// What a campaign member shows of its person changes with the person, and the member's stamp with it.
func TestMembersFollowTheirPerson(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	c := start(t, simorg.Config{Seed: 2, Leads: 200, CampaignMembers: 300, Now: func() time.Time { return now }})
	m := c.query("SELECT Id, LeadId FROM CampaignMember WHERE LeadId != null AND Lead.IsConverted = false LIMIT 1")[0]
	if err := c.org.Update("Lead", m["LeadId"].(string), object{"Title": "Dr."}); err != nil {
		t.Fatal(err)
	}
	f, _ := c.org.Get("CampaignMember", m["Id"].(string))
	if f["Title"] != "Dr." || f["SystemModstamp"] != "2026-11-23T10:00:00.000+0000" || f["LastModifiedDate"] == f["SystemModstamp"] {
		t.Errorf("the member shows %v, stamps %v and %v", f["Title"], f["SystemModstamp"], f["LastModifiedDate"])
	}
}

// An org with a state file comes back as it was left.
func TestStateFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "org.journal")
	config := simorg.Config{Seed: 6, Leads: 300, Contacts: 100, StateFile: path}
	dump := func(o *simorg.Org) string {
		var b strings.Builder
		for _, name := range objects {
			_ = o.Each(name, true, func(f map[string]any) error { _, err := fmt.Fprintln(&b, f); return err })
			fmt.Fprintln(&b, name, o.Count(name))
		}
		return b.String()
	}
	o, err := simorg.New(config)
	if err != nil {
		t.Fatal(err)
	}
	for k := range 3000 {
		if _, err := o.Create("Lead", object{"Description": strings.Repeat("long ", 100), "LastName": fmt.Sprint("L", k), "Company": "C\r\n\"x\"", "AnnualRevenue": 12345678, "External_Key__c": fmt.Sprint("x", k), "Last_Contacted__c": "2026-01-01T00:00:00Z"}); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	_ = o.Each("Account", false, func(f map[string]any) error { ids = append(ids, f["Id"].(string)); return nil })
	if err := errors.Join(o.Delete("Account", ids[0]), o.Update("Account", ids[1], object{"Name": "Renamed"})); err != nil {
		t.Fatal(err)
	}
	want := dump(o)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	// A crash cut the last line short.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"o":"Lead","i":3,"c":{"Ti`)
	_ = f.Close()
	for range 2 {
		o, err = simorg.New(config)
		if err != nil {
			t.Fatal(err)
		}
		if dump(o) != want {
			t.Error("the org came back different")
		}
		if _, err := o.Create("Lead", object{"LastName": "L", "Company": "C", "External_Key__c": "x1"}); err == nil || !strings.Contains(err.Error(), "DUPLICATE_VALUE") {
			t.Errorf("a key that is taken gave %v", err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
	config.Leads = 301
	if _, err := simorg.New(config); err == nil || !strings.Contains(err.Error(), "other sizes") {
		t.Errorf("another org's state file gave %v", err)
	}
}

// Conditional headers compare with LastModifiedDate, and ETags are Account's.
func TestConditions(t *testing.T) {
	t.Parallel()
	c := small(t)
	id := c.make("Account", object{"Name": "Acme"})
	path := "/sobjects/Account/" + id
	res, _ := c.do("GET", path, nil)
	modified, tag := res.Header.Get("Last-Modified"), res.Header.Get("ETag")
	long := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	for _, x := range []struct {
		method, header, value string
		status                int
	}{
		{"GET", "If-Modified-Since", modified, 304}, {"GET", "If-Modified-Since", long, 200}, {"GET", "If-None-Match", tag, 304}, {"PATCH", "If-Unmodified-Since", long, 412}, {"PATCH", "If-Match", `"other"`, 412}, {"PATCH", "If-Match", tag, 204}, {"PATCH", "If-Unmodified-Since", "yesterday", 400},
	} {
		var body any
		if x.method == "PATCH" {
			body = object{"Site": "x"}
		}
		if res, b := c.do(x.method, path, body, x.header, x.value); res.StatusCode != x.status {
			t.Errorf("%s with %s: %s gave %d %s, want %d", x.method, x.header, x.value, res.StatusCode, b, x.status)
		}
	}
	res, _ = c.do("GET", "/sobjects/Lead/describe", nil)
	changed := res.Header.Get("Last-Modified")
	if res, _ := c.do("GET", "/sobjects/Lead/describe", nil, "If-Modified-Since", changed); res.StatusCode != 304 {
		t.Errorf("an unchanged describe gave %d", res.StatusCode)
	}
	if err := c.org.AddField("Lead", simorg.FieldSpec{Name: "New__c", Type: "string", Length: 20}); err != nil {
		t.Fatal(err)
	}
	if res, _ := c.do("GET", "/sobjects/Lead/describe", nil, "If-Modified-Since", changed); res.StatusCode != 200 {
		t.Errorf("a changed describe gave %d", res.StatusCode)
	}
	lead := c.make("Lead", object{"LastName": "L", "Company": "C", "New__c": "new"})
	if r := c.query("SELECT New__c FROM Lead WHERE New__c = 'new'"); len(r) != 1 {
		t.Errorf("the new field of %s is not found: %v", lead, r)
	}
}

// Duplicate rules, validation rules and assignment rules work unless the request's headers say otherwise.
func TestRules(t *testing.T) {
	t.Parallel()
	c := small(t)
	lead := object{"LastName": "Doe", "Company": "Acme", "Email": "jo@example.com"}
	first := c.make("Lead", lead)
	remove, err := c.org.AddDuplicateRule(simorg.DuplicateRule{Object: "Lead", Field: "Email"})
	if err != nil {
		t.Fatal(err)
	}
	list := c.want(400, "POST", "/sobjects/Lead", lead).([]any)
	if e := list[0].(object); e["errorCode"] != "DUPLICATES_DETECTED" || !strings.Contains(fmt.Sprint(e["duplicateResut"]), first) {
		t.Errorf("a duplicate gave %v", list)
	}
	queue := c.query("SELECT Id FROM Group WHERE Type = 'Queue' LIMIT 1")[0]["Id"]
	c.org.AssignLeads(queue.(string))
	owner := func(headers ...string) any {
		t.Helper()
		id := c.want(201, "POST", "/sobjects/Lead", lead, headers...).(object)["id"].(string)
		f, _ := c.org.Get("Lead", id)
		return f["OwnerId"]
	}
	if got := owner("Sforce-Duplicate-Rule-Header", "allowSave=true"); got != queue {
		t.Errorf("the assignment rule gave the lead to %v, want %v", got, queue)
	}
	remove()
	if got := owner("Sforce-Auto-Assign", "FALSE"); got == queue {
		t.Error("the assignment rule worked in spite of the header")
	}
	c.org.Fault(simorg.Fault{Row: true, Object: "Lead", Field: "Rating", Value: "Cold", Code: "FIELD_CUSTOM_VALIDATION_EXCEPTION", Message: "No cold leads, please"})
	c.wantError(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "PATCH", "/sobjects/Lead/"+first, object{"Rating": "Cold"})
	c.want(204, "PATCH", "/sobjects/Lead/"+first, object{"Rating": "Warm"})
}

// Graphs are composites of their own: one that fails undoes itself alone, and the limits of the request hold.
func TestGraphs(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 41, Leads: 20, Contacts: 10})
	node := func(id, method, path string, body any) object {
		return object{"referenceId": id, "method": method, "url": "/services/data/v68.0" + path, "body": body}
	}
	good := object{"graphId": "good", "compositeRequest": []any{
		node("a", "POST", "/sobjects/Account", object{"Name": "Of a graph"}), node("c", "POST", "/sobjects/Contact", object{"LastName": "Of a graph", "AccountId": "@{a.id}"}),
	}}
	bad := object{"graphId": "bad", "compositeRequest": []any{
		node("a", "POST", "/sobjects/Account", object{"Name": "Not of a graph"}), node("c", "POST", "/sobjects/Contact", object{"AccountId": "@{a.id}"}),
	}}
	m := c.want(200, "POST", "/composite/graph", object{"graphs": []any{good, bad}}).(object)["graphs"].([]any)
	if g := m[0].(object); g["graphId"] != "good" || g["isSuccessful"] != true || len(g["graphResponse"].(object)["compositeResponse"].([]any)) != 2 {
		t.Errorf("the good graph gave %v", g)
	}
	g := m[1].(object)
	list := g["graphResponse"].(object)["compositeResponse"].([]any)
	if g["isSuccessful"] != false || list[0].(object)["body"].([]any)[0].(object)["errorCode"] != "PROCESSING_HALTED" || list[1].(object)["body"].([]any)[0].(object)["errorCode"] != "REQUIRED_FIELD_MISSING" {
		t.Errorf("the bad graph gave %v", g)
	}
	if n := c.count("SELECT COUNT() FROM Account WHERE Name LIKE '%f a graph'"); n != 1 {
		t.Errorf("%d accounts were made by graphs, want 1", n)
	}
	if rows := c.query("SELECT Account.Name FROM Contact WHERE LastName = 'Of a graph'"); len(rows) != 1 || rows[0]["Account"].(object)["Name"] != "Of a graph" {
		t.Errorf("the contacts are %v", rows)
	}
	// After fourteen failures the rest is not tried.
	var graphs []any
	for k := range 16 {
		graphs = append(graphs, object{"graphId": fmt.Sprint(k), "compositeRequest": []any{node("c", "POST", "/sobjects/Contact", object{})}})
	}
	graphs = append(graphs, good)
	m = c.want(200, "POST", "/composite/graph", object{"graphs": graphs}).(object)["graphs"].([]any)
	if g := m[16].(object); g["isSuccessful"] != false || g["graphResponse"].(object)["compositeResponse"].([]any)[0].(object)["body"].([]any)[0].(object)["errorCode"] != "PROCESSING_HALTED" {
		t.Errorf("the graph after sixteen failures gave %v", g)
	}
	var kinds []any
	for k, x := range []string{"Account", "Contact", "Lead", "Opportunity", "Campaign", "CampaignMember", "Task", "Event"} {
		kinds = append(kinds, node(fmt.Sprint("p", k), "POST", "/sobjects/"+x, object{}), node(fmt.Sprint("u", k), "PATCH", "/sobjects/"+x+"/1", object{}))
	}
	c.wantError(400, "INVALID_INPUT", "POST", "/composite/graph", object{"graphs": []any{object{"graphId": "wide", "compositeRequest": kinds}}})
	var deep []any
	for k := range 16 {
		deep = append(deep, node(fmt.Sprint("d", k), "POST", "/sobjects/Account", object{"Name": fmt.Sprintf("@{d%d.id}", k-1)}))
	}
	deep[0] = node("d0", "POST", "/sobjects/Account", object{"Name": "x"})
	c.wantError(400, "INVALID_INPUT", "POST", "/composite/graph", object{"graphs": []any{object{"graphId": "deep", "compositeRequest": deep}}})
}

// The assignment rule takes every lead that a program saves, unless the request says no; a bulk job obeys it when it says so.
func TestAssignment(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 42, Leads: 20, Contacts: 10})
	queue := c.query("SELECT Id FROM Group WHERE Type = 'Queue'")[0]["Id"].(string)
	c.org.AssignLeads(queue)
	owner := func(id string) any { f, _ := c.org.Get("Lead", id); return f["OwnerId"] }
	made := c.want(201, "POST", "/sobjects/Lead", object{"LastName": "A", "Company": "C"}, "Sforce-Auto-Assign", "false").(object)["id"].(string)
	mine := owner(made)
	if mine == queue {
		t.Error("the rule ran although the request said no")
	}
	c.want(204, "PATCH", "/sobjects/Lead/"+made, object{"Title": "T"}, "Sforce-Auto-Assign", "FALSE")
	if owner(made) != mine {
		t.Error("an update that said no was reassigned")
	}
	c.want(204, "PATCH", "/sobjects/Lead/"+made, object{"Title": "U"})
	if owner(made) != queue {
		t.Errorf("an update without the header left the lead to %v", owner(made))
	}
	for rule, want := range map[string]any{"": mine, "01Q000000000001AAA": queue} {
		body := object{"object": "Lead", "operation": "insert"}
		if rule != "" {
			body["assignmentRuleId"] = rule
		}
		j := c.want(200, "POST", "/jobs/ingest", body).(object)["id"].(string)
		c.want(201, "PUT", "/jobs/ingest/"+j+"/batches", "LastName,Company\nBulk"+rule+",C\n")
		c.want(200, "PATCH", "/jobs/ingest/"+j, object{"state": "UploadComplete"})
		c.until("/jobs/ingest/" + j)
		if rows := c.query("SELECT OwnerId FROM Lead WHERE LastName = 'Bulk" + rule + "'"); len(rows) != 1 || rows[0]["OwnerId"] != want {
			t.Errorf("a bulk job with the rule %q gave %v, want %v", rule, rows, want)
		}
	}
	// People are not programs.
	id := must[string](t)(c.org.Create("Lead", object{"LastName": "P", "Company": "C"}))
	if owner(id) == queue {
		t.Error("the rule ran for a person")
	}
}

// What hangs from a master counts in it and goes with it; the master's stamp moves when its sum does, and a formula's does not.
func TestRollUps(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	c := start(t, simorg.Config{Seed: 43, Leads: 20, Contacts: 10, SessionTimeout: 24 * time.Hour, Now: func() time.Time { return now }})
	contact := must[string](t)(c.org.Create("Contact", object{"LastName": "A", "Email": "a@example.com"}))
	id := must[string](t)(c.org.Create("Subscription__c", object{"Contact__c": contact, "Price__c": 10}))
	get := func() object { f, _ := c.org.Get("Subscription__c", id); return f }
	first := get()
	now = now.Add(time.Minute)
	license := must[string](t)(c.org.Create("License__c", object{"Subscription__c": id, "Unit_Price__c": 1.5}))
	must[string](t)(c.org.Create("License__c", object{"Subscription__c": id, "Unit_Price__c": 2.25}))
	if f := get(); fmt.Sprintf("%v %v", f["License_Count__c"], f["License_Total__c"]) != "2 3.75" || f["SystemModstamp"] == first["SystemModstamp"] {
		t.Errorf("the subscription sums up to %v and %v at %v", f["License_Count__c"], f["License_Total__c"], f["SystemModstamp"])
	}
	stamp := get()["SystemModstamp"]
	now = now.Add(time.Minute)
	ok(t, c.org.Update("Contact", contact, object{"Email": "b@example.com"}))
	if f := get(); f["Contact_Email__c"] != "b@example.com" || f["SystemModstamp"] != stamp {
		t.Errorf("the formula says %v at %v", f["Contact_Email__c"], f["SystemModstamp"])
	}
	ok(t, c.org.Delete("License__c", license))
	if f := get(); fmt.Sprintf("%v %v", f["License_Count__c"], f["License_Total__c"]) != "1 2.25" {
		t.Errorf("after a deletion it sums up to %v and %v", f["License_Count__c"], f["License_Total__c"])
	}
	ok(t, c.org.Undelete(license))
	if f := get(); fmt.Sprint(f["License_Count__c"]) != "2" {
		t.Errorf("after the undeletion it counts %v", f["License_Count__c"])
	}
	ok(t, c.org.Delete("Subscription__c", id))
	if f, _ := c.org.Get("License__c", license); f["IsDeleted"] != true {
		t.Error("the detail outlived its master")
	}
	ok(t, c.org.Undelete(id))
	if f := get(); fmt.Sprint(f["License_Count__c"]) != "2" {
		t.Errorf("with its master undeleted it counts %v", f["License_Count__c"])
	}
	for _, f := range c.want(200, "GET", "/sobjects/Subscription__c/describe", nil).(object)["fields"].([]any) {
		f := f.(object)
		if f["name"] == "License_Count__c" && (f["calculated"] != true || f["calculatedFormula"] != nil || f["updateable"] != false) {
			t.Errorf("the roll-up is described as %v", f)
		}
	}
	c.wantError(400, "REQUIRED_FIELD_MISSING", "POST", "/sobjects/License__c", object{})
	c.wantError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", "PATCH", "/sobjects/License__c/"+license, object{"Subscription__c": id})
}

// Both custom objects that hang from a person have a field of each type.
func TestEveryType(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 44, Leads: 20, Contacts: 10})
	want := "boolean currency date datetime double email encryptedstring id location multipicklist percent phone picklist reference string textarea time url"
	for _, name := range []string{"Subscription__c", "Product_Interest__c"} {
		types := map[string]bool{}
		formulas := 0
		for _, f := range c.want(200, "GET", "/sobjects/"+name+"/describe", nil).(object)["fields"].([]any) {
			f := f.(object)
			types[f["type"].(string)] = true
			if f["calculatedFormula"] != nil {
				formulas++
			}
		}
		for _, kind := range strings.Fields(want) {
			if !types[kind] {
				t.Errorf("%s has no field of the type %s", name, kind)
			}
		}
		if formulas < 3 {
			t.Errorf("%s has %d formulas", name, formulas)
		}
	}
}

// A long delete log is trimmed by the platform's own job.
func TestDeleteLogTrimsItself(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	began := now
	c := start(t, simorg.Config{Seed: 45, Leads: 20, DeleteLogRows: 2, SessionTimeout: 48 * time.Hour, Now: func() time.Time { return now }})
	del := func() {
		t.Helper()
		ok(t, c.org.Delete("Lead", must[string](t)(c.org.Create("Lead", object{"LastName": "1", "Company": "C"}))))
	}
	listed := func() (int, any) {
		m := c.want(200, "GET", "/sobjects/Lead/deleted/?start="+url.QueryEscape(began.Add(-time.Hour).Format(time.RFC3339))+"&end="+url.QueryEscape(now.Add(time.Minute).Format(time.RFC3339)), nil).(object)
		return len(m["deletedRecords"].([]any)), m["earliestDateAvailable"]
	}
	del()
	del()
	listed()
	now = now.Add(3 * time.Hour)
	if n, _ := listed(); n != 2 {
		t.Errorf("a short log was trimmed: %d are left", n)
	}
	del()
	now = now.Add(150 * time.Minute)
	if n, earliest := listed(); n != 0 || earliest != "2026-11-02T15:30:00.000+0000" {
		t.Errorf("%d are left from %v", n, earliest)
	}
}

// A lead can become a contact in an account that is there, or go into a contact that is there; tasks and memberships follow.
func TestConvertInto(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 46, Leads: 20, Contacts: 10, Campaigns: 2})
	account := must[string](t)(c.org.Create("Account", object{"Name": "There"}))
	contact := must[string](t)(c.org.Create("Contact", object{"LastName": "There", "AccountId": account, "Phone": "kept"}))
	campaign := must[string](t)(c.org.Create("Campaign", object{"Name": "K"}))
	lead := must[string](t)(c.org.Create("Lead", object{"LastName": "L", "Company": "C", "Phone": "lost", "Email": "filled@example.com"}))
	task := must[string](t)(c.org.Create("Task", object{"WhoId": lead, "Subject": "S"}))
	done := must[string](t)(c.org.Create("Task", object{"WhoId": lead, "Subject": "S", "Status": "Completed"}))
	member := must[string](t)(c.org.Create("CampaignMember", object{"CampaignId": campaign, "LeadId": lead}))
	got, err := c.org.Convert(simorg.Conversion{LeadID: lead, AccountID: account, ContactID: contact, NoOpportunity: true})
	if err != nil || got.ContactID != contact || got.AccountID != account || got.OpportunityID != "" {
		t.Fatalf("the conversion gave %v, %v", got, err)
	}
	if f, _ := c.org.Get("Contact", contact); f["Phone"] != "kept" || f["Email"] != "filled@example.com" {
		t.Errorf("the contact became %v and %v", f["Phone"], f["Email"])
	}
	if f, _ := c.org.Get("Task", task); f["WhoId"] != contact {
		t.Errorf("the open task hangs from %v", f["WhoId"])
	}
	if f, _ := c.org.Get("Task", done); f["WhoId"] != lead {
		t.Errorf("the closed task hangs from %v", f["WhoId"])
	}
	if f, _ := c.org.Get("CampaignMember", member); f["ContactId"] != contact || f["LeadId"] != lead || f["Type"] != "Contact" {
		t.Errorf("the membership became %v", f)
	}
	c.wantError(400, "CANNOT_UPDATE_CONVERTED_LEAD", "PATCH", "/sobjects/Lead/"+lead, object{"Title": "T"})
}

// An opportunity's steps are kept by the platform.
func TestHistory(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 47, Leads: 20, Contacts: 10})
	id := must[string](t)(c.org.Create("Opportunity", object{"Name": "O", "StageName": "Prospecting", "CloseDate": "2026-12-24", "Amount": 100}))
	ok(t, c.org.Update("Opportunity", id, object{"NextStep": "no step"}))
	ok(t, c.org.Update("Opportunity", id, object{"StageName": "Closed Won"}))
	rows := c.query("SELECT StageName, Amount, Probability, CreatedById FROM OpportunityHistory WHERE OpportunityId = '" + id + "' ORDER BY Id")
	if len(rows) != 2 || rows[0]["StageName"] != "Prospecting" || rows[1]["StageName"] != "Closed Won" || fmt.Sprint(rows[1]["Probability"]) != "100.0" {
		t.Errorf("the history is %v", rows)
	}
	c.want(405, "POST", "/sobjects/OpportunityHistory", object{"OpportunityId": id})
	c.want(204, "DELETE", "/sobjects/Opportunity/"+id, nil)
	if n := c.count("SELECT COUNT() FROM OpportunityHistory WHERE OpportunityId = '" + id + "'"); n != 0 {
		t.Errorf("%d rows of history outlived their opportunity", n)
	}
	ok(t, c.org.Undelete(id))
	if n := c.count("SELECT COUNT() FROM OpportunityHistory WHERE OpportunityId = '" + id + "'"); n != 2 {
		t.Errorf("%d rows of history came back", n)
	}
	made := must[string](t)(c.org.Create("Case", object{"Subject": "S"}))
	if f, _ := c.org.Get("Case", made); f["Status"] != "New" || f["Priority"] != "Medium" || f["CaseNumber"] == nil {
		t.Errorf("the case is %v", f)
	}
}

// Leads, contacts, campaigns and members are refused in Salesforce's words.
func TestRefusalsOfWhatIsSent(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 48, Leads: 30, Contacts: 20, Campaigns: 3})
	queue := c.query("SELECT Id FROM Group WHERE Type = 'Queue'")[0]["Id"].(string)
	campaign := must[string](t)(c.org.Create("Campaign", object{"Name": "K"}))
	lead := must[string](t)(c.org.Create("Lead", object{"LastName": "L", "Company": "C", "Marketing_Id__c": "m-1"}))
	contact := must[string](t)(c.org.Create("Contact", object{"LastName": "L"}))
	must[string](t)(c.org.Create("CampaignMember", object{"CampaignId": campaign, "LeadId": lead}))
	inactive := c.query("SELECT Id FROM User WHERE IsActive = false LIMIT 1")
	for _, x := range []struct {
		object, code, message, fields string
		body                          object
	}{
		{"Lead", "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName, Company]", "LastName Company", object{"FirstName": "x"}},
		{"Contact", "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", "LastName", object{}},
		{"Campaign", "REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]", "Name", object{}},
		{"Lead", "STRING_TOO_LONG", "First Name: data value too large: " + strings.Repeat("x", 41) + " (max length=40)", "FirstName", object{"LastName": "x", "Company": "y", "FirstName": strings.Repeat("x", 41)}},
		{"Lead", "INVALID_EMAIL_ADDRESS", "Email: invalid email address: nobody", "Email", object{"LastName": "x", "Company": "y", "Email": "nobody"}},
		{"Lead", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Region: bad value for restricted picklist field: Moon", "Region__c", object{"LastName": "x", "Company": "y", "Region__c": "Moon"}},
		{"Lead", "DUPLICATE_VALUE", "duplicate value found: Marketing_Id__c duplicates value on record with id: " + lead[:15], "Marketing_Id__c", object{"LastName": "x", "Company": "y", "Marketing_Id__c": "M-1"}},
		{"Lead", "INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: Name. Please check the security settings of this field and verify that it is read/write for your profile or permission set.", "Name", object{"LastName": "x", "Company": "y", "Name": "z"}},
		{"Contact", "MALFORMED_ID", "Owner ID: id value of incorrect type: " + queue, "OwnerId", object{"LastName": "x", "OwnerId": queue}},
		{"Contact", "MALFORMED_ID", "Account ID: id value of incorrect type: " + contact, "AccountId", object{"LastName": "x", "AccountId": contact}},
		{"Contact", "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", "AccountId", object{"LastName": "x", "AccountId": "0015g0000099999"}},
		{"CampaignMember", "DUPLICATE_VALUE", "Already a campaign member.", "", object{"CampaignId": campaign, "LeadId": lead}},
		{"CampaignMember", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Status: bad value for restricted picklist field: Nope", "Status", object{"CampaignId": campaign, "ContactId": contact, "Status": "Nope"}},
		{"Contact", "JSON_PARSER_ERROR", "", "", object{"LastName": "x", "Birthdate": "tomorrow"}},
		{"Campaign", "NUMBER_OUTSIDE_VALID_RANGE", "", "BudgetedCost", object{"Name": "x", "BudgetedCost": 1e20}},
	} {
		list, _ := c.want(400, "POST", "/sobjects/"+x.object, x.body).([]any)
		e := list[0].(object)
		fields := ""
		if f, ok := e["fields"].([]any); ok {
			fields = strings.Trim(fmt.Sprint(f), "[]")
		}
		if e["errorCode"] != x.code || x.message != "" && e["message"] != x.message || fields != x.fields {
			t.Errorf("%s %v gave %v, want %s %q %q", x.object, x.body, e, x.code, x.message, x.fields)
		}
	}
	if len(inactive) > 0 {
		c.wantError(400, "INACTIVE_OWNER_OR_USER", "PATCH", "/sobjects/Lead/"+lead, object{"OwnerId": inactive[0]["Id"]})
	}
	c.want(204, "PATCH", "/sobjects/Lead/"+lead, object{"OwnerId": queue})
	// An external id that is not unique can find several.
	ok(t, c.org.AddField("Lead", simorg.FieldSpec{Name: "Loose__c", Type: "string", Length: 20, ExternalID: true}))
	for range 2 {
		must[string](t)(c.org.Create("Lead", object{"LastName": "x", "Company": "y", "Loose__c": "l"}))
	}
	if urls := c.want(300, "PATCH", "/sobjects/Lead/Loose__c/l", object{"Title": "T"}).([]any); len(urls) != 2 {
		t.Errorf("an ambiguous external id gave %v", urls)
	}
	rows := c.want(200, "PATCH", "/composite/sobjects/Lead/Loose__c", object{"records": []any{object{"attributes": object{"type": "Lead"}, "Loose__c": "l"}}}).([]any)
	if e := rows[0].(object)["errors"].([]any)[0].(object); e["statusCode"] != "DUPLICATE_EXTERNAL_ID" {
		t.Errorf("an ambiguous external id in a collection gave %v", e)
	}
}

// Many rows are read by one POST, and what cannot be read is null.
func TestRetrieveMany(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 49, Leads: 2100})
	var ids []string
	for _, r := range c.query("SELECT Id FROM Lead") {
		ids = append(ids, r["Id"].(string))
	}
	ids = append(ids[:1999:1999], "00Q5g0000099999")
	rows := c.want(200, "POST", "/composite/sobjects/Lead", object{"ids": ids, "fields": []string{"Id", "Email"}}).([]any)
	if len(rows) != 2000 || rows[0].(object)["Id"] != ids[0] || rows[1999] != nil {
		t.Errorf("%d rows came back, the last is %v", len(rows), rows[len(rows)-1])
	}
	c.want(400, "POST", "/composite/sobjects/Lead", object{"ids": append(ids, ids[0]), "fields": []string{"Id"}})
}

// An activity moves its person's LastActivityDate where the org is told so, and no stamp.
func TestLastActivity(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	c := start(t, simorg.Config{Seed: 53, Leads: 20, LastActivity: true, Now: func() time.Time { return now }})
	lead := must[string](t)(c.org.Create("Lead", object{"LastName": "L", "Company": "C"}))
	first, _ := c.org.Get("Lead", lead)
	now = now.Add(time.Minute)
	must[string](t)(c.org.Create("Task", object{"WhoId": lead, "Subject": "S", "ActivityDate": "2026-11-02"}))
	must[string](t)(c.org.Create("Task", object{"WhoId": lead, "Subject": "S", "ActivityDate": "2026-01-02"}))
	if f, _ := c.org.Get("Lead", lead); f["LastActivityDate"] != "2026-11-02" || f["SystemModstamp"] != first["SystemModstamp"] {
		t.Errorf("the lead's last activity is %v at %v", f["LastActivityDate"], f["SystemModstamp"])
	}
}
