package simorg_test

import (
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// as signs the client in as another user.
func (c *client) as(username string) *client {
	c.t.Helper()
	if err := c.org.RunAs(username); err != nil {
		c.t.Fatal(err)
	}
	other := *c
	other.login()
	return &other
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fieldNames(c *client, object string) (names []string) {
	c.t.Helper()
	for _, f := range c.want(200, "GET", "/sobjects/"+object+"/describe", nil).(map[string]any)["fields"].([]any) {
		names = append(names, f.(map[string]any)["name"].(string))
	}
	return names
}

// Two users see the same rows, and each only what the administrator lets them see of them, by every API.
func TestUsersSeeWhatTheyMay(t *testing.T) {
	t.Parallel()
	admin := start(t, simorg.Config{Seed: 31, Leads: 60, Contacts: 30})
	priya := admin.as("priya@tandem-sim.example")
	id := must[string](t)(admin.org.Create("Lead", object{"LastName": "Seen", "Company": "C", "Rating": "Hot", "Title": "T"}))
	before := time.Now().UTC().Add(time.Second).Format(http.TimeFormat)
	res, _ := priya.do("GET", "/sobjects/Lead/describe", nil, "If-Modified-Since", before)
	if res.StatusCode != http.StatusNotModified {
		t.Errorf("an unchanged describe gave %d", res.StatusCode)
	}
	ok(t, admin.org.SetUserSees("priya@tandem-sim.example", "Lead", "Rating", simorg.SeesNothing))
	ok(t, admin.org.SetUserSees("priya@tandem-sim.example", "Lead", "Title", simorg.SeesReadOnly))
	ok(t, admin.org.SetUserSees("priya@tandem-sim.example", "Campaign", "", simorg.SeesNothing))
	ok(t, admin.org.SetUserSees("priya@tandem-sim.example", "Contact", "", simorg.SeesReadOnly))

	if names := fieldNames(priya, "Lead"); slices.Contains(names, "Rating") || !slices.Contains(names, "Title") {
		t.Errorf("priya's describe has the fields %v", names)
	}
	if names := fieldNames(admin, "Lead"); !slices.Contains(names, "Rating") {
		t.Errorf("the administrator's describe has the fields %v", names)
	}
	for _, f := range priya.want(200, "GET", "/sobjects/Lead/describe", nil).(object)["fields"].([]any) {
		if f := f.(object); f["name"] == "Title" && (f["updateable"] != false || f["createable"] != false) {
			t.Errorf("a field that can only be read is described as %v", f)
		}
	}
	d := priya.want(200, "GET", "/sobjects/Contact/describe", nil).(object)
	if d["updateable"] != false || d["createable"] != false || d["deletable"] != false {
		t.Errorf("an object that can only be read is described as createable %v, updateable %v, deletable %v", d["createable"], d["updateable"], d["deletable"])
	}
	priya.wantError(400, "INVALID_FIELD", "GET", "/query?q="+url.QueryEscape("SELECT Rating FROM Lead"), nil)
	priya.wantError(400, "INVALID_FIELD", "GET", "/query?q="+url.QueryEscape("SELECT Id FROM Lead WHERE Rating = 'Hot'"), nil)
	priya.wantError(400, "INVALID_FIELD", "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Rating FROM Lead"})
	priya.wantError(400, "INVALID_TYPE", "GET", "/query?q="+url.QueryEscape("SELECT Id FROM Campaign"), nil)
	priya.wantError(400, "INVALID_FIELD", "GET", "/query?q="+url.QueryEscape("SELECT Id, Campaign.Name FROM CampaignMember"), nil)
	priya.wantError(404, "NOT_FOUND", "GET", "/sobjects/Campaign/describe", nil)
	for _, x := range priya.want(200, "GET", "/sobjects", nil).(object)["sobjects"].([]any) {
		if x.(object)["name"] == "Campaign" {
			t.Error("a hidden object is listed")
		}
	}
	if m := priya.want(200, "GET", "/sobjects/Lead/"+id, nil).(object); m["Title"] != "T" {
		t.Errorf("priya reads %v", m)
	} else if _, there := m["Rating"]; there {
		t.Error("a hidden field is in the row")
	}
	priya.wantError(400, "INVALID_FIELD", "PATCH", "/sobjects/Lead/"+id, object{"Rating": "Cold"})
	priya.wantError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", "PATCH", "/sobjects/Lead/"+id, object{"Title": "X"})
	priya.wantError(403, "INSUFFICIENT_ACCESS_OR_READONLY", "POST", "/sobjects/Contact", object{"LastName": "X"})
	j := priya.want(200, "POST", "/jobs/ingest", object{"object": "Lead", "operation": "update"}).(object)["id"].(string)
	priya.want(201, "PUT", "/jobs/ingest/"+j+"/batches", "Id,Rating\n"+id+",Cold\n")
	priya.want(200, "PATCH", "/jobs/ingest/"+j, object{"state": "UploadComplete"})
	if m := priya.until("/jobs/ingest/" + j); m["state"] != "Failed" || !strings.Contains(m["errorMessage"].(string), "Field name not found : Rating") {
		t.Errorf("a bulk update of a hidden field gave %v", m)
	}
	priya.want(204, "PATCH", "/sobjects/Lead/"+id, object{"Phone": "1"})
	if f, _ := admin.org.Get("Lead", id); f["Rating"] != "Hot" || f["Phone"] != "1" {
		t.Errorf("the lead is %v", f)
	}
	res, _ = priya.do("GET", "/sobjects/Lead/describe", nil, "If-Modified-Since", before)
	if res.StatusCode != http.StatusOK {
		t.Errorf("a describe with a field less gave %d", res.StatusCode)
	}
	ok(t, admin.org.SetUserSees("priya@tandem-sim.example", "Lead", "Rating", simorg.SeesAll))
	priya.want(204, "PATCH", "/sobjects/Lead/"+id, object{"Rating": "Cold"})
	if err := admin.org.SetUserSees("nobody@example", "Lead", "", simorg.SeesAll); err == nil {
		t.Error("rights of an unknown user were taken")
	}
}

// What a user may not see, the org's own work for that user still does.
func TestConversionIsTheOrgsWork(t *testing.T) {
	t.Parallel()
	admin := start(t, simorg.Config{Seed: 32, Leads: 20, Contacts: 10})
	priya := admin.as("priya@tandem-sim.example")
	ok(t, admin.org.SetUserSees("priya@tandem-sim.example", "Contact", "Email", simorg.SeesNothing))
	id := must[string](t)(admin.org.Create("Lead", object{"LastName": "Converted", "Company": "C", "Email": "x@example.com"}))
	convert := `<convertLead><leadConverts><convertedStatus>Closed - Converted</convertedStatus><doNotCreateOpportunity>true</doNotCreateOpportunity><leadId>` + id + `</leadId></leadConverts></convertLead>`
	if b := priya.soap(convert); !strings.Contains(b, "<success>true</success>") {
		t.Fatalf("the conversion gave %s", b)
	}
	lead, _ := admin.org.Get("Lead", id)
	if f, _ := admin.org.Get("Contact", lead["ConvertedContactId"].(string)); f["Email"] != "x@example.com" {
		t.Errorf("the contact is %v", f)
	}
}

// A field can become another one while the org runs; no stamp moves.
func TestFieldsChange(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 33, Leads: 40, Contacts: 20})
	touched := must[string](t)(c.org.Create("Lead", object{"LastName": "A", "Company": "C", "Lead_Score__c": 12.5, "Region__c": "EMEA"}))
	stamp, _ := c.org.Get("Lead", touched)
	var untouched string
	_ = c.org.Each("Lead", false, func(f map[string]any) error {
		if f["Lead_Score__c"] != nil && f["Id"] != touched && untouched == "" {
			untouched = f["Id"].(string)
		}
		return nil
	})
	was, _ := c.org.Get("Lead", untouched)
	ok(t, c.org.RetypeField("Lead", "Lead_Score__c", simorg.FieldSpec{Type: "string", Length: 20}))
	ok(t, c.org.RenameField("Lead", "Region__c", "Area__c"))
	if f, _ := c.org.Get("Lead", touched); f["Lead_Score__c"] != "12.5" || f["Area__c"] != "EMEA" || f["SystemModstamp"] != stamp["SystemModstamp"] {
		t.Errorf("the lead became %v", f)
	}
	if f, _ := c.org.Get("Lead", untouched); f["Lead_Score__c"] != strings.TrimSpace(was["Lead_Score__c"].(interface{ String() string }).String()) || f["SystemModstamp"] != was["SystemModstamp"] {
		t.Errorf("the untouched lead became %v of %v", f["Lead_Score__c"], was["Lead_Score__c"])
	}
	if names := fieldNames(c, "Lead"); slices.Contains(names, "Region__c") || !slices.Contains(names, "Area__c") {
		t.Errorf("describe has %v", names)
	}
	c.wantError(400, "INVALID_FIELD", "GET", "/query?q="+url.QueryEscape("SELECT Region__c FROM Lead"), nil)
	if rows := c.query("SELECT Id FROM Lead WHERE Area__c = 'EMEA' AND Lead_Score__c = '12.5'"); len(rows) != 1 {
		t.Errorf("%d leads are found by the changed fields", len(rows))
	}
	// And back: what is a number stays, what is not is lost.
	ok(t, c.org.Update("Lead", untouched, map[string]any{"Lead_Score__c": "no number"}))
	ok(t, c.org.RetypeField("Lead", "Lead_Score__c", simorg.FieldSpec{Type: "double", Precision: 6, Scale: 2}))
	if f, _ := c.org.Get("Lead", untouched); f["Lead_Score__c"] != nil {
		t.Errorf("text became the number %v", f["Lead_Score__c"])
	}
	if f, _ := c.org.Get("Lead", touched); f["Lead_Score__c"].(interface{ String() string }).String() != "12.5" {
		t.Errorf("12.5 became %v", f["Lead_Score__c"])
	}
	if c.org.RetypeField("Lead", "LastName", simorg.FieldSpec{Type: "double"}) == nil || c.org.RenameField("Lead", "Area__c", "GDPR_Consent__c") == nil || c.org.RenameField("Lead", "LastName", "X__c") == nil {
		t.Error("a standard field was changed, or a name taken twice")
	}
	// A formula is computed at each read and moves no stamp.
	ok(t, c.org.AddField("Contact", simorg.FieldSpec{Name: "Account_Phone__c", Type: "string", Length: 1300, PathFormula: "Account.Phone"}))
	account := must[string](t)(c.org.Create("Account", object{"Name": "A", "Phone": "1"}))
	contact := must[string](t)(c.org.Create("Contact", object{"LastName": "A", "AccountId": account}))
	first, _ := c.org.Get("Contact", contact)
	ok(t, c.org.Update("Account", account, map[string]any{"Phone": "2"}))
	if f, _ := c.org.Get("Contact", contact); first["Account_Phone__c"] != "1" || f["Account_Phone__c"] != "2" || f["SystemModstamp"] != first["SystemModstamp"] {
		t.Errorf("the formula went from %v to %v", first["Account_Phone__c"], f["Account_Phone__c"])
	}
	c.wantError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", "PATCH", "/sobjects/Contact/"+contact, object{"Account_Phone__c": "3"})
}

// A custom object that is made in a running org is there for every API.
func TestAddObject(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 34, Leads: 20, Contacts: 10})
	ok(t, c.org.AddObject(simorg.ObjectSpec{Name: "Visit__c", Fields: []simorg.FieldSpec{
		{Name: "Contact__c", Type: "reference", Length: 18, ReferenceTo: []string{"Contact"}, RelationshipName: "Contact__r", ChildRelationship: "Visits__r", OnDelete: "cascade"},
		{Name: "Key__c", Type: "string", Length: 20, ExternalID: true, Unique: true},
	}}))
	contact := must[string](t)(c.org.Create("Contact", object{"LastName": "Visited"}))
	id := must[string](t)(c.org.Create("Visit__c", object{"Name": "V", "Contact__c": contact, "Key__c": "k1"}))
	if !strings.HasPrefix(id, "a1") {
		t.Errorf("its id is %s", id)
	}
	if rows := c.query("SELECT Id, Contact__r.LastName FROM Visit__c"); len(rows) != 1 || rows[0]["Contact__r"].(object)["LastName"] != "Visited" {
		t.Errorf("the query gave %v", rows)
	}
	if rows := c.query("SELECT Id, (SELECT Name FROM Visits__r) FROM Contact WHERE Id = '" + contact + "'"); len(rows) != 1 || rows[0]["Visits__r"] == nil {
		t.Errorf("the subquery gave %v", rows)
	}
	c.want(200, "PATCH", "/sobjects/Visit__c/Key__c/k1", object{"Name": "V2"})
	if rows, _ := c.bulk("query", "SELECT Name FROM Visit__c", 10); len(rows) != 2 || rows[1][0] != "V2" {
		t.Errorf("bulk gave %v", rows)
	}
	ok(t, c.org.Delete("Contact", contact))
	if c.org.Count("Visit__c") != 0 {
		t.Error("the visit outlived its contact")
	}
	if c.org.AddObject(simorg.ObjectSpec{Name: "Visit__c"}) == nil || c.org.AddObject(simorg.ObjectSpec{Name: "Visit"}) == nil {
		t.Error("a name that is taken, or is none of a custom object, was accepted")
	}
}

// Validation rules refuse by whatever way a row comes, all that fire at once, until they are taken away.
func TestValidationRules(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 35, Leads: 20, Contacts: 10})
	remove := must[func()](t)(c.org.AddValidationRule(simorg.ValidationRule{Object: "Contact", Condition: "Account.Rating = 'Cold' AND Email = null", Message: "A cold account's contact needs an e-mail", Field: "Email"}))
	must[func()](t)(c.org.AddValidationRule(simorg.ValidationRule{Object: "Contact", Condition: "LastName LIKE 'x%'", Message: "No x"}))
	account := must[string](t)(c.org.Create("Account", object{"Name": "Cold", "Rating": "Cold"}))
	list := c.want(400, "POST", "/sobjects/Contact", object{"LastName": "xy", "AccountId": account}).([]any)
	if len(list) != 2 || list[0].(object)["errorCode"] != "FIELD_CUSTOM_VALIDATION_EXCEPTION" || list[0].(object)["message"] != "A cold account's contact needs an e-mail" || list[0].(object)["fields"].([]any)[0] != "Email" || list[1].(object)["message"] != "No x" {
		t.Errorf("the refusals are %v", list)
	}
	rows := c.want(200, "POST", "/composite/sobjects", object{"records": []any{object{"attributes": object{"type": "Contact"}, "LastName": "xy", "AccountId": account}}}).([]any)
	if errs := rows[0].(object)["errors"].([]any); len(errs) != 2 || errs[1].(object)["statusCode"] != "FIELD_CUSTOM_VALIDATION_EXCEPTION" {
		t.Errorf("the collection gave %v", rows)
	}
	remove()
	c.want(201, "POST", "/sobjects/Contact", object{"LastName": "y", "AccountId": account})
	if _, err := c.org.AddValidationRule(simorg.ValidationRule{Object: "Contact", Condition: "Nope = 1", Message: "m"}); err == nil {
		t.Error("a rule on no field was accepted")
	}
}

// One refused row of many leaves nothing behind, not even what hung from it.
func TestRefusedRowsLeaveNothing(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 36, Leads: 20, Contacts: 10})
	account := must[string](t)(c.org.Create("Account", object{"Name": "A"}))
	first := must[string](t)(c.org.Create("Contact", object{"LastName": "1", "AccountId": account}))
	second := must[string](t)(c.org.Create("Contact", object{"LastName": "2", "AccountId": account}))
	tx := c.org.Begin()
	ok(t, tx.Update("Contact", second, map[string]any{"Title": "held"}))
	rows := c.want(200, "DELETE", "/composite/sobjects?ids="+account, nil).([]any)
	if e := rows[0].(object)["errors"].([]any); len(e) != 1 || e[0].(object)["statusCode"] != "UNABLE_TO_LOCK_ROW" {
		t.Fatalf("deleting gave %v", rows)
	}
	if f, _ := c.org.Get("Contact", first); f["IsDeleted"] != false {
		t.Error("a child of an account that could not be deleted is gone")
	}
	ok(t, tx.Commit())
	ok(t, c.org.Update("Contact", first, map[string]any{"Title": "free"}))
	c.want(204, "DELETE", "/sobjects/Account/"+account, nil)
}

// What was taken away for good is in the delete log until that is trimmed; earliestDateAvailable tells.
func TestDeleteLog(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 2, 12, 0, 30, 0, time.UTC)
	clock := now
	c := start(t, simorg.Config{Seed: 37, Leads: 20, SessionTimeout: 24 * time.Hour, Now: func() time.Time { return clock }})
	first := must[string](t)(c.org.Create("Lead", object{"LastName": "1", "Company": "C"}))
	second := must[string](t)(c.org.Create("Lead", object{"LastName": "2", "Company": "C"}))
	ok(t, c.org.Delete("Lead", first))
	clock = now.Add(3 * time.Hour)
	ok(t, c.org.Purge("Lead", second))
	if rows := c.queryAll("SELECT Id FROM Lead WHERE Id = '" + second + "'"); len(rows) != 0 {
		t.Error("a purged lead is still there")
	}
	clock = now.Add(4 * time.Hour)
	path := "/sobjects/Lead/deleted/?start=" + url.QueryEscape(now.Add(-time.Hour).Format(time.RFC3339)) + "&end=" + url.QueryEscape(clock.Format(time.RFC3339))
	listed := func() (ids []string, earliest string) {
		m := c.want(200, "GET", path, nil).(object)
		for _, r := range m["deletedRecords"].([]any) {
			ids = append(ids, r.(object)["id"].(string))
		}
		return ids, m["earliestDateAvailable"].(string)
	}
	if ids, _ := listed(); len(ids) != 2 {
		t.Errorf("listed are %v", ids)
	}
	ok(t, c.org.TrimDeleteLog("Lead", now.Add(2*time.Hour)))
	if ids, earliest := listed(); len(ids) != 1 || ids[0] != second || earliest != "2026-11-02T14:00:00.000+0000" {
		t.Errorf("after the trimming, listed are %v from %s", ids, earliest)
	}
	if _, err := c.org.EmptyRecycleBin("Lead", true); err != nil {
		t.Fatal(err)
	}
	c.wantError(400, "INVALID_REPLICATION_DATE", "GET", path, nil)
}

// soap sends the body of a SOAP request and gives the reply.
func (c *client) soap(body string) string {
	c.t.Helper()
	envelope := `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:u="urn:partner.soap.sforce.com"><e:Header><u:SessionHeader><u:sessionId>` + c.token + `</u:sessionId></u:SessionHeader></e:Header><e:Body>` + body + `</e:Body></e:Envelope>`
	_, b := c.do("POST", "/services/Soap/u/68.0", envelope, "Content-Type", "text/xml")
	return string(b)
}

// Changes of the schema end with the process; the state file still opens, and what it has of the known fields is there.
func TestStateFileAfterSchemaChanges(t *testing.T) {
	t.Parallel()
	config := simorg.Config{Seed: 38, Leads: 30, StateFile: filepath.Join(t.TempDir(), "org.journal")}
	o := must[*simorg.Org](t)(simorg.New(config))
	ok(t, o.AddObject(simorg.ObjectSpec{Name: "Visit__c"}))
	must[string](t)(o.Create("Visit__c", object{"Name": "V"}))
	ok(t, o.RetypeField("Lead", "Lead_Score__c", simorg.FieldSpec{Type: "string", Length: 20}))
	id := must[string](t)(o.Create("Lead", object{"LastName": "L", "Company": "C", "Lead_Score__c": "no number"}))
	ok(t, o.Close())
	o = must[*simorg.Org](t)(simorg.New(config))
	if f, there := o.Get("Lead", id); !there || f["LastName"] != "L" || f["Lead_Score__c"] != nil {
		t.Errorf("the lead came back as %v", f)
	}
	ok(t, o.Close())
}

// Rows of a private object are there for their owner and for those whom they are shared with, by every API, and sharing moves no stamp.
func TestPrivateRows(t *testing.T) {
	t.Parallel()
	admin := start(t, simorg.Config{Seed: 31, Leads: 60, Contacts: 30})
	priya := admin.as("priya@tandem-sim.example")
	user := admin.query("SELECT Id FROM User WHERE Username = 'priya@tandem-sim.example'")[0]["Id"].(string)
	create := must[string](t)
	mine := create(admin.org.Create("Lead", object{"LastName": "Mine", "Company": "C", "OwnerId": user}))
	other := create(admin.org.Create("Lead", object{"LastName": "Other", "Company": "C"}))
	member := create(admin.org.Create("Task", object{"Subject": "About it", "WhoId": other}))
	stamp := admin.query("SELECT SystemModstamp FROM Lead WHERE Id = '" + other + "'")[0]["SystemModstamp"]
	if err := admin.org.Share("priya@tandem-sim.example", "Lead", other, true); err == nil {
		t.Error("a row of a public object was shared")
	}
	ok(t, admin.org.SetPrivate("priya@tandem-sim.example", "Lead", true))

	owned := len(admin.query("SELECT Id FROM Lead WHERE OwnerId = '" + user + "'"))
	window := "?start=" + url.QueryEscape(time.Now().UTC().Add(-time.Hour).Format(time.RFC3339)) + "&end=" + url.QueryEscape(time.Now().UTC().Add(2*time.Minute).Format(time.RFC3339))
	sees := func(id string, want bool) {
		t.Helper()
		if n := priya.count("SELECT COUNT() FROM Lead WHERE Id = '" + id + "'"); n != map[bool]int{true: 1}[want] {
			t.Errorf("a count sees %d of %s", n, id)
		}
		if rows := priya.queryAll("SELECT Id FROM Lead"); slices.ContainsFunc(rows, func(r object) bool { return r["Id"] == id }) != want {
			t.Errorf("queryAll sees %d, %s among them: %t", len(rows), id, !want)
		}
		if got := priya.want(200, "GET", "/composite/sobjects/Lead?fields=Id&ids="+id, nil).([]any)[0]; (got != nil) != want {
			t.Errorf("a retrieval gives %v", got)
		}
		if up := priya.want(200, "GET", "/sobjects/Lead/updated/"+window, nil).(object)["ids"].([]any); slices.Contains(up, any(id)) != want {
			t.Errorf("updated lists %s: %t", id, !want)
		}
		if !want {
			priya.wantError(404, "NOT_FOUND", "GET", "/sobjects/Lead/"+id, nil)
			priya.wantError(404, "NOT_FOUND", "PATCH", "/sobjects/Lead/"+id, object{"Title": "x"})
		}
	}
	if n := priya.count("SELECT COUNT() FROM Lead"); n != owned || owned == 0 {
		t.Errorf("%d leads are seen, %d are owned", n, owned)
	}
	sees(mine, true)
	sees(other, false)
	if who := priya.query("SELECT Who.Name FROM Task WHERE Id = '" + member + "'")[0]["Who"]; who != nil {
		t.Errorf("a hidden lead is seen through its task: %v", who)
	}
	ok(t, admin.org.Share("priya@tandem-sim.example", "Lead", other, true))
	sees(other, true)
	if now := admin.query("SELECT SystemModstamp FROM Lead WHERE Id = '" + other + "'")[0]["SystemModstamp"]; now != stamp {
		t.Errorf("sharing moved the stamp from %v to %v", stamp, now)
	}
	ok(t, admin.org.Share("priya@tandem-sim.example", "Lead", other, false))
	sees(other, false)
	ok(t, admin.org.SetPrivate("priya@tandem-sim.example", "Lead", false))
	sees(other, true)
}

// What is deleted leaves the recycle bin by itself after 15 days of the org's clock, not before, and not what was undeleted.
func TestTheRecycleBinEmptiesItself(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	c := start(t, simorg.Config{Seed: 2, Leads: 400, SessionTimeout: 1000 * time.Hour, Now: func() time.Time { return now }})
	made := c.queryAll("SELECT Id FROM Lead WHERE IsDeleted = true")
	live := c.query("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 2")
	gone, back := live[0]["Id"].(string), live[1]["Id"].(string)
	ok(t, c.org.Delete("Lead", gone))
	ok(t, c.org.Delete("Lead", back))
	ok(t, c.org.Undelete(back))
	now = now.Add(15*24*time.Hour - time.Minute)
	if n := len(c.queryAll("SELECT Id FROM Lead WHERE IsDeleted = true")); n != len(made)+1 {
		t.Errorf("before the time %d are in the recycle bin, want %d", n, len(made)+1)
	}
	now = now.Add(2 * time.Hour)
	if n := len(c.queryAll("SELECT Id FROM Lead WHERE IsDeleted = true")); n != len(made) || len(made) == 0 {
		t.Errorf("after the time %d are in the recycle bin, want the %d that it was made with", n, len(made))
	}
	if n := c.count("SELECT COUNT() FROM Lead WHERE Id = '" + back + "'"); n != 1 {
		t.Error("what was undeleted is gone")
	}
}
