package simorg_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// The bytes of a result page are those that Salesforce sends: every value quoted, null empty, line ends and delimiter of the job.
func TestBulkCSV(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	c := start(t, simorg.Config{
		Seed: 2, Leads: -1, Contacts: -1, Accounts: -1, Opportunities: -1, Campaigns: -1, CampaignMembers: -1, Tasks: -1, Events: -1,
		Now: func() time.Time { now = now.Add(time.Millisecond); return now },
	})
	c.make("Lead", object{"LastName": `O"Hara`, "Company": "line\r\nend, \"q\"\nx", "AnnualRevenue": 12345678, "NumberOfEmployees": 5, "Lead_Score__c": "0.5", "Trial_Ends__c": "2026-11-20"})
	for _, x := range []struct {
		job  object
		want string
	}{
		{object{}, "\"LastName\",\"Company\",\"AnnualRevenue\",\"NumberOfEmployees\",\"Lead_Score__c\",\"Trial_Ends__c\",\"DoNotCall\",\"CreatedDate\",\"Owner.Alias\",\"Email\"\n\"O\"\"Hara\",\"line\r\nend, \"\"q\"\"\nx\",\"1.2345678E7\",\"5\",\"0.5\",\"2026-11-20\",\"false\",\"2026-11-23T10:00:00.000Z\",\"ada\",\"\"\n"},
		{object{"columnDelimiter": "PIPE", "lineEnding": "CRLF"}, "\"LastName\"|\"Company\"|\"AnnualRevenue\"|\"NumberOfEmployees\"|\"Lead_Score__c\"|\"Trial_Ends__c\"|\"DoNotCall\"|\"CreatedDate\"|\"Owner.Alias\"|\"Email\"\r\n\"O\"\"Hara\"|\"line\r\nend, \"\"q\"\"\nx\"|\"1.2345678E7\"|\"5\"|\"0.5\"|\"2026-11-20\"|\"false\"|\"2026-11-23T10:00:00.000Z\"|\"ada\"|\"\"\r\n"},
	} {
		x.job["operation"], x.job["query"] = "query", "SELECT LastName, Company, AnnualRevenue, NumberOfEmployees, Lead_Score__c, Trial_Ends__c, DoNotCall, CreatedDate, Owner.Alias, Email FROM Lead"
		j := c.want(200, "POST", "/jobs/query", x.job).(object)
		if j["state"] != "UploadComplete" || fmt.Sprint(j["apiVersion"]) != "68.0" || j["object"] != "Lead" {
			t.Errorf("the new job is %v", j)
		}
		path := "/jobs/query/" + j["id"].(string)
		c.until(path)
		res, b := c.do("GET", path+"/results", nil, "Accept", "text/csv", "Accept-Encoding", "gzip")
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%v is no gzip: %v", res.Header, err)
		}
		if b, err = io.ReadAll(z); err != nil || string(b) != x.want {
			t.Errorf("the page is\n%q %v, want\n%q", b, err, x.want)
		}
		if res.Header.Get("Sforce-Locator") != "null" || res.Header.Get("Sforce-NumberOfRecords") != "1" {
			t.Errorf("the page's headers are %v", res.Header)
		}
	}
}

// Pages, parallel pages and their locators give every row once; a job is a snapshot of its making.
func TestBulkPages(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 2, Leads: 3000, Contacts: 100})
	total := len(c.queryAll("SELECT Id FROM Lead"))
	for _, size := range []int{1, 999, 1000, 100_000} {
		if size == 1 {
			rows, pages := c.bulk("query", "SELECT Id FROM Lead LIMIT 3", size)
			if len(rows) != 4 || pages != 3 {
				t.Errorf("pages of one: %d rows in %d pages", len(rows)-1, pages)
			}
			continue
		}
		rows, pages := c.bulk("queryAll", "SELECT Id, Name FROM Lead", size)
		if want := (total + size - 1) / size; len(rows)-1 != total || pages != want {
			t.Errorf("pages of %d: %d rows in %d pages, want %d in %d", size, len(rows)-1, pages, total, want)
		}
	}
	if rows, pages := c.bulk("query", "SELECT Id FROM Lead WHERE Name = 'nobody at all'", 10); len(rows) != 1 || pages != 1 {
		t.Errorf("no rows came as %v in %d pages, want a header alone", rows, pages)
	}
	j := c.want(200, "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Id, Title FROM Lead WHERE IsConverted = false ORDER BY Name DESC, Id LIMIT 700"}).(object)
	path := "/jobs/query/" + j["id"].(string)
	c.until(path)
	_, before := c.do("GET", path+"/results", nil)
	touched := c.query("SELECT Id FROM Lead WHERE IsConverted = false ORDER BY Name DESC, Id LIMIT 1")[0]["Id"].(string)
	if err := c.org.Update("Lead", touched, object{"Title": "after the job"}); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(before, []byte("after the job")) || bytes.Count(before, []byte("\n\"00Q")) != 700 {
		t.Errorf("the first reading has %d rows", bytes.Count(before, []byte("\n\"00Q")))
	}
	rp := c.want(200, "GET", path+"/resultPages", nil).(object)
	if pages := rp["resultPages"].([]any); len(pages) != 1 || rp["done"] != true {
		t.Errorf("resultPages gave %v", rp)
	} else if res, _ := c.do("GET", pages[0].(object)["resultUrl"].(string), nil); res.StatusCode != 200 || res.Header.Get("Sforce-NumberOfRecords") != "700" {
		t.Errorf("the result page gave %d %v", res.StatusCode, res.Header)
	}
}

// What Bulk does not take is refused with the words that make clients fall back to REST.
func TestBulkRefusals(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 2, Leads: 50, BulkDelay: time.Hour})
	for _, x := range []struct{ soql, code, message string }{
		{"SELECT COUNT() FROM Lead", "API_ERROR", ""},
		{"SELECT COUNT(Id) FROM Lead GROUP BY Status", "API_ERROR", ""},
		{"SELECT Address FROM Lead", "API_ERROR", "Selecting compound data not supported in Bulk Query"},
		{"SELECT Id FROM Lead OFFSET 5", "API_ERROR", ""},
		{"SELECT FIELDS(STANDARD) FROM Lead", "MALFORMED_QUERY", ""},
		{"SELECT Id, (SELECT Id FROM Contacts) FROM Account", "MALFORMED_QUERY", ""},
		{"SELECT MasterLabel FROM TaskStatus", "INVALIDENTITY", "Entity 'TaskStatus' is not supported by the Bulk API."},
		{"SELECT Nope FROM Lead", "INVALID_FIELD", "No such column 'Nope'"},
	} {
		if m := c.wantError(400, x.code, "POST", "/jobs/query", object{"operation": "query", "query": x.soql}); !strings.Contains(m, x.message) {
			t.Errorf("%s gave %q, want %q", x.soql, m, x.message)
		}
	}
	j := c.want(200, "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Id FROM Lead"}).(object)
	path := "/jobs/query/" + j["id"].(string)
	if s := c.want(200, "GET", path, nil).(object)["state"]; s != "InProgress" {
		t.Errorf("a job at work is %v", s)
	}
	c.wantError(400, "INVALIDJOBSTATE", "GET", path+"/results", nil)
	c.wantError(400, "INVALIDJOBSTATE", "DELETE", path, nil)
	c.wantError(409, "API_ERROR", "GET", "/services/data/v67.0"+path+"/results", nil)
	if s := c.want(200, "PATCH", path, object{"state": "Aborted"}).(object)["state"]; s != "Aborted" {
		t.Errorf("an aborted job is %v", s)
	}
	if list := c.want(200, "GET", "/jobs/query", nil).(object)["records"].([]any); len(list) != 1 {
		t.Errorf("the list has %d jobs", len(list))
	}
	c.want(204, "DELETE", path, nil)
	c.wantError(404, "NOT_FOUND", "GET", path, nil)
}

// A job that has ended is kept for seven days, and its result can be read as long.
func TestJobsAreKeptForSevenDays(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	c := start(t, simorg.Config{Seed: 2, Leads: 5, SessionTimeout: 1000 * time.Hour, BulkDelay: time.Nanosecond, Now: func() time.Time { return now }})
	j := c.want(200, "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Id FROM Lead"}).(object)
	path := "/jobs/query/" + j["id"].(string)
	now = now.Add(time.Minute)
	c.until(path)
	now = now.Add(7*24*time.Hour - 2*time.Minute)
	if res, b := c.do("GET", path+"/results", nil); res.StatusCode != 200 {
		t.Errorf("within the week the result gave %d %s", res.StatusCode, b)
	}
	now = now.Add(time.Hour)
	c.wantError(404, "NOT_FOUND", "GET", path, nil)
	c.wantError(404, "NOT_FOUND", "GET", path+"/results", nil)
}

// An ingest job: upload, close, poll, and three files of results in another order than the upload's.
func TestIngest(t *testing.T) {
	t.Parallel()
	c := small(t)
	run := func(job object, data string) object {
		t.Helper()
		j := c.want(200, "POST", "/jobs/ingest", job).(object)
		if j["state"] != "Open" || j["contentUrl"] != "services/data/v68.0/jobs/ingest/"+j["id"].(string)+"/batches" {
			t.Errorf("the new job is %v", j)
		}
		path := "/jobs/ingest/" + j["id"].(string)
		if res, b := c.do("PUT", path+"/batches", data, "Content-Type", "text/csv"); res.StatusCode != 201 {
			t.Fatalf("the upload gave %d %s", res.StatusCode, b)
		}
		c.want(200, "PATCH", path, object{"state": "UploadComplete"})
		done := c.until(path)
		done["path"] = path
		return done
	}
	file := func(j object, name string) string {
		t.Helper()
		res, b := c.do("GET", j["path"].(string)+"/"+name, nil)
		if res.StatusCode != 200 {
			t.Fatalf("%s gave %d %s", name, res.StatusCode, b)
		}
		return string(b)
	}
	account := c.make("Account", object{"Name": "Acme", "External_Key__c": "A-9"})
	j := run(object{"object": "Contact", "operation": "upsert", "externalIdFieldName": "External_Key__c"}, "External_Key__c,LastName,Account.External_Key__c,Email\nc1,\"Do\"\"e\r\nx\",A-9,\nc2,,A-9,\nc3,Poe,A-8,\nc4,Moe,,bad\n")
	if j["state"] != "JobComplete" || fmt.Sprintf("%v %v", j["numberRecordsProcessed"], j["numberRecordsFailed"]) != "4 3" {
		t.Fatalf("the job is %v", j)
	}
	good := file(j, "successfulResults")
	if !strings.HasPrefix(good, "\"sf__Id\",\"sf__Created\",\"External_Key__c\",\"LastName\",\"Account.External_Key__c\",\"Email\"\n\"003") || !strings.Contains(good, "\"true\",\"c1\",\"Do\"\"e\r\nx\"") {
		t.Errorf("the successful results are %s", good)
	}
	bad := file(j, "failedresults")
	for _, want := range []string{"\"\",\"REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --\",\"c2\"", "INVALID_FIELD:Foreign key external ID: A-8 not found", "INVALID_EMAIL_ADDRESS:Email: invalid email address: bad:Email --"} {
		if !strings.Contains(bad, want) {
			t.Errorf("the failed results are %s, want %s in it", bad, want)
		}
	}
	if file(j, "unprocessedRecords") != "\"External_Key__c\",\"LastName\",\"Account.External_Key__c\",\"Email\"\n" {
		t.Errorf("the unprocessed records are %s", file(j, "unprocessedRecords"))
	}
	id := c.query("SELECT Id, AccountId FROM Contact WHERE External_Key__c = 'c1'")[0]
	if id["AccountId"] != account {
		t.Errorf("the contact's account is %v", id)
	}
	j = run(object{"object": "Contact", "operation": "update"}, "Id,Title,AccountId\n"+id["Id"].(string)+",Boss,#N/A\n003000000000000AAA,x,\n")
	if f, _ := c.org.Get("Contact", id["Id"].(string)); fmt.Sprint(j["numberRecordsFailed"]) != "1" || f["Title"] != "Boss" || f["AccountId"] != nil {
		t.Errorf("after the update job %v the contact is %v", j, f)
	}
	if j = run(object{"object": "Contact", "operation": "insert"}, "LastName,Foo\nx,y\n"); j["state"] != "Failed" || j["errorMessage"] != "InvalidBatch : Field name not found : Foo" {
		t.Errorf("an unknown column gave %v", j)
	}
	if j = run(object{"object": "Contact", "operation": "insert", "lineEnding": "LF"}, "LastName\r\nx\r\n"); j["state"] != "Failed" || j["errorMessage"] != "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF" {
		t.Errorf("a wrong line ending gave %v", j)
	}
	if j = run(object{"object": "Contact", "operation": "delete"}, "Id\n"+id["Id"].(string)+"\n"); fmt.Sprint(j["numberRecordsFailed"]) != "0" || c.org.Count("Contact") != 0 {
		t.Errorf("the delete job is %v", j)
	}
	var many strings.Builder
	many.WriteString("LastName,Company,External_Key__c\n")
	for k := range 25_000 {
		fmt.Fprintf(&many, "L%d,C,m%d\n", k, k)
	}
	if j = run(object{"object": "Lead", "operation": "insert"}, many.String()); fmt.Sprint(j["numberRecordsProcessed"]) != "25000" || fmt.Sprint(j["numberRecordsFailed"]) != "0" {
		t.Errorf("the large job is %v", j)
	}
	if strings.HasSuffix(strings.SplitN(file(j, "successfulResults"), "\n", 3)[1], `,"L0","C","m0"`) {
		t.Error("the results come in the order of the upload")
	}
	remove := c.org.Fault(simorg.Fault{FailJob: true, JobRows: 2, Message: "InternalServerError : broken"})
	j = run(object{"object": "Account", "operation": "insert"}, "Name\na\nb\nc\n")
	if j["state"] != "Failed" || fmt.Sprint(j["numberRecordsProcessed"]) != "2" || file(j, "unprocessedrecords") != "\"Name\"\n\"c\"\n" || c.org.Count("Account") != 3 {
		t.Errorf("a job that breaks off is %v", j)
	}
	remove()
	j = run(object{"object": "Lead", "operation": "insert"}, many.String()[:strings.Index(many.String(), "\nL5")+1])
	if fmt.Sprint(j["numberRecordsFailed"]) != "5" {
		t.Errorf("keys that are taken gave %v", j)
	}
	if n := c.count("SELECT COUNT() FROM Lead WHERE External_Key__c = 'M777'"); n != 1 {
		t.Errorf("%d leads have a key of the job", n)
	}
}

// Faults hit what they should, as often as they should, and no more.
func TestFaults(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 2, Leads: 2000})
	q := "/query?q=SELECT+Id,Name+FROM+Lead"
	remove := c.org.Fault(simorg.Fault{Object: "Lead", Path: "/query", After: 1, Count: 1, Status: 503, Code: "SERVER_UNAVAILABLE", Message: "Server too busy"})
	c.want(200, "GET", q, nil)
	c.want(200, "GET", "/query?q=SELECT+Id+FROM+Account", nil)
	c.wantError(503, "SERVER_UNAVAILABLE", "GET", q, nil)
	c.want(200, "GET", q, nil)
	remove()
	remove = c.org.Fault(simorg.Fault{Path: "^/services/data/v[0-9.]+/limits", Status: 502, Body: "<html>bad gateway</html>"})
	if res, b := c.do("GET", "/limits", nil); res.StatusCode != 502 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Errorf("an HTML fault gave %d %s", res.StatusCode, b)
	}
	remove()
	raw := func(method, path, body string) ([]byte, error) {
		r, _ := http.NewRequest(method, c.url+"/services/data/v68.0"+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+c.token)
		r.Header.Set("Accept-Encoding", "identity")
		res, err := http.DefaultTransport.(*http.Transport).Clone().RoundTrip(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		return io.ReadAll(res.Body)
	}
	before := c.org.Count("Lead")
	remove = c.org.Fault(simorg.Fault{Method: "POST", DropBefore: true, Count: 1})
	if _, err := raw("POST", "/sobjects/Lead", `{"LastName":"x","Company":"y"}`); err == nil || c.org.Count("Lead") != before {
		t.Errorf("a connection cut before the effect gave %v and %d leads, want an error and %d", err, c.org.Count("Lead"), before)
	}
	remove()
	remove = c.org.Fault(simorg.Fault{Method: "POST", Path: "/sobjects", DropAfter: true})
	if _, err := raw("POST", "/sobjects/Lead", `{"LastName":"x","Company":"y"}`); err == nil || c.org.Count("Lead") != before+1 {
		t.Errorf("a connection cut after the effect gave %v and %d leads, want an error and %d", err, c.org.Count("Lead"), before+1)
	}
	remove()
	remove = c.org.Fault(simorg.Fault{Path: "/query", TruncateBody: 5000})
	if b, err := raw("GET", q, ""); err == nil || len(b) != 5000 {
		t.Errorf("a truncated reply gave %d bytes, %v", len(b), err)
	}
	remove()
	remove = c.org.Fault(simorg.Fault{Path: "/query", TruncateBody: 5000, CleanEnd: true})
	if b, err := raw("GET", q, ""); err != nil || len(b) != 5000 {
		t.Errorf("a reply that ends early gave %d bytes, %v", len(b), err)
	}
	remove()
	remove = c.org.Fault(simorg.Fault{Row: true, Object: "Lead", After: 1, Count: 1, Code: "UNABLE_TO_LOCK_ROW", Message: "unable to obtain exclusive access to this record or 1 records: 00Q"})
	lead := object{"attributes": object{"type": "Lead"}, "LastName": "A", "Company": "B"}
	list := c.want(200, "POST", "/composite/sobjects", object{"records": []object{lead, lead, lead}}).([]any)
	if list[0].(object)["success"] != true || list[1].(object)["errors"].([]any)[0].(object)["statusCode"] != "UNABLE_TO_LOCK_ROW" || list[2].(object)["success"] != true {
		t.Errorf("a fault of the second row gave %v", list)
	}
	remove()
	remove = c.org.Fault(simorg.Fault{FailJob: true, Object: "Lead", Message: "InternalServerError : broken"})
	j := c.want(200, "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Id FROM Lead"}).(object)
	if j = c.until("/jobs/query/" + j["id"].(string)); j["state"] != "Failed" || j["errorMessage"] != "InternalServerError : broken" {
		t.Errorf("a job that is to fail is %v", j)
	}
	remove()
	remove = c.org.Fault(simorg.Fault{Method: "PATCH", Count: 1, CommitDelay: 300 * time.Millisecond})
	id := c.query("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 1")[0]["Id"].(string)
	saved := make(chan error, 1)
	go func() {
		_, err := raw("PATCH", "/sobjects/Lead/"+id, `{"Title":"committed late"}`)
		saved <- err
	}()
	locked := false
	for range 100 {
		// The row is locked as soon as it is saved, and its change is not seen yet.
		if err := c.org.Update("Lead", id, object{"Rating": "Hot"}); err != nil && strings.Contains(err.Error(), "UNABLE_TO_LOCK_ROW") {
			f, _ := c.org.Get("Lead", id)
			locked = f["Title"] != "committed late"
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := <-saved; err != nil || !locked {
		t.Errorf("a late commit gave %v, and the row was held: %v", err, locked)
	}
	if f, _ := c.org.Get("Lead", id); f["Title"] != "committed late" {
		t.Errorf("after the late commit the title is %v", f["Title"])
	}
	remove()
	c.org.Fault(simorg.Fault{ExpireSession: true, Count: 1})
	c.wantError(401, "INVALID_SESSION_ID", "GET", q, nil)
	c.login()
	c.want(200, "GET", q, nil)
}

// The daily budget ends in 403, and every reply says how much of it is used.
func TestBudget(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	c := start(t, simorg.Config{Seed: 2, Leads: 10, DailyAPILimit: 5, Now: func() time.Time { return now }})
	for k := 1; k <= 5; k++ {
		res, _ := c.do("GET", "/limits", nil)
		if got, want := res.Header.Get("Sforce-Limit-Info"), fmt.Sprintf("api-usage=%d/5", k); got != want || res.StatusCode != 200 {
			t.Errorf("call %d: %d %q, want %q", k, res.StatusCode, got, want)
		}
	}
	if m := c.wantError(403, "REQUEST_LIMIT_EXCEEDED", "GET", "/limits", nil); m != "TotalRequests Limit exceeded." {
		t.Errorf("the message is %q", m)
	}
	now = now.Add(25 * time.Hour)
	c.login()
	c.want(200, "GET", "/limits", nil)
	c.org.UseCalls(1000)
	c.wantError(403, "REQUEST_LIMIT_EXCEEDED", "GET", "/limits", nil)
	if calls := c.org.Calls(); calls.Total != 8 || calls.Kinds["limits"] != 8 || calls.Kinds["oauth"] != 2 {
		t.Errorf("the counters are %v", calls)
	}
}

// Faults find their object in what is sent, and their rows by what is done to them.
func TestFaultsByObjectAndOperation(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 50, Leads: 30, Contacts: 20})
	records := func(kind string) object {
		return object{"records": []any{object{"attributes": object{"type": kind}, "LastName": "x", "Company": "y"}}}
	}
	remove := c.org.Fault(simorg.Fault{Method: "POST", Object: "Lead", Status: 503, Code: "SERVER_UNAVAILABLE", Message: "Server too busy"})
	c.wantError(503, "SERVER_UNAVAILABLE", "POST", "/composite/sobjects", records("Lead"))
	c.wantError(503, "SERVER_UNAVAILABLE", "POST", "/jobs/ingest", object{"object": "Lead", "operation": "insert"})
	c.wantError(503, "SERVER_UNAVAILABLE", "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Id FROM Lead"})
	c.want(200, "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Id FROM Contact"})
	c.want(200, "POST", "/jobs/ingest", object{"object": "Contact", "operation": "insert"})
	remove()
	c.org.Fault(simorg.Fault{Row: true, Object: "Lead", Operation: "update", Code: "UNABLE_TO_LOCK_ROW", Message: "unable to obtain exclusive access to this record or 1 records: 00Q"})
	id := c.want(201, "POST", "/sobjects/Lead", object{"LastName": "x", "Company": "y"}).(object)["id"].(string)
	c.wantError(400, "UNABLE_TO_LOCK_ROW", "PATCH", "/sobjects/Lead/"+id, object{"Title": "T"})
	c.want(204, "DELETE", "/sobjects/Lead/"+id, nil)
	c.org.Fault(simorg.Fault{Path: "/services/Soap", Status: 500, Code: "SERVER_UNAVAILABLE", Message: "Server too busy"})
	if b := c.soap("<getServerTimestamp/>"); !strings.Contains(b, "<faultcode>sf:SERVER_UNAVAILABLE</faultcode>") {
		t.Errorf("a SOAP fault is %s", b)
	}
}

// A quote out of place fails its row and no other.
func TestIngestMalformedRows(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 51, Leads: 30})
	j := c.want(200, "POST", "/jobs/ingest", object{"object": "Lead", "operation": "insert"}).(object)["id"].(string)
	c.want(201, "PUT", "/jobs/ingest/"+j+"/batches", "LastName,Company\n\"Good\",C\n\"Bad\" ,C\nAlso \"bad\",C\nGood too,\"C\nD\"\n")
	c.want(200, "PATCH", "/jobs/ingest/"+j, object{"state": "UploadComplete"})
	if m := c.until("/jobs/ingest/" + j); m["state"] != "JobComplete" || number(t, m["numberRecordsFailed"]) != 2 || number(t, m["numberRecordsProcessed"]) != 4 {
		t.Errorf("the job is %v", m)
	}
	if rows := c.query("SELECT LastName FROM Lead WHERE LastName LIKE '%Good%' ORDER BY Id"); len(rows) != 2 {
		t.Errorf("saved are %v", rows)
	}
}

// An org of another edition names the app's own quota, and sends no header line where there are no rows.
func TestOtherOrgsWays(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 52, Leads: 10, PerAppLimit: 250, EmptyBody: true, JWTTokens: true})
	if strings.Count(c.token, ".") != 2 {
		t.Errorf("the access token is %s", c.token)
	}
	res, _ := c.do("GET", "/limits", nil)
	if got := res.Header.Get("Sforce-Limit-Info"); got != "api-usage=1/100000; per-app-api-usage=1/250(appName=tandem)" {
		t.Errorf("Sforce-Limit-Info is %q", got)
	}
	j := c.want(200, "POST", "/jobs/query", object{"operation": "query", "query": "SELECT Id FROM Lead WHERE LastName = 'nobody has this'"}).(object)["id"].(string)
	c.until("/jobs/query/" + j)
	res, b := c.do("GET", "/jobs/query/"+j+"/results", nil)
	if len(b) != 0 || res.Header.Get("Sforce-NumberOfRecords") != "0" || res.Header.Get("Sforce-Locator") != "null" {
		t.Errorf("an empty result is %q with %v", b, res.Header)
	}
}

// More requests at once than the org takes are refused, and only those.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 54, Leads: 10, MaxConcurrent: 1})
	c.org.Fault(simorg.Fault{Method: "PATCH", Count: 1, CommitDelay: 500 * time.Millisecond})
	id := c.query("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 1")[0]["Id"].(string)
	done := make(chan int, 1)
	go func() {
		r, _ := http.NewRequest("PATCH", c.url+"/services/data/v68.0/sobjects/Lead/"+id, strings.NewReader(`{"Title":"slow"}`))
		r.Header.Set("Authorization", "Bearer "+c.token)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			done <- 0
			return
		}
		_ = res.Body.Close()
		done <- res.StatusCode
	}()
	for {
		select {
		case status := <-done:
			t.Fatalf("the slow request ended with %d before it was seen", status)
		default:
		}
		// Its row is held while it is in progress.
		if err := c.org.Update("Lead", id, object{"Rating": "Hot"}); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if m := c.wantError(403, "REQUEST_LIMIT_EXCEEDED", "GET", "/limits", nil); !strings.Contains(m, "ConcurrentPerOrgLongTxn") {
		t.Errorf("the message is %q", m)
	}
	if status := <-done; status != http.StatusNoContent {
		t.Errorf("the slow request gave %d", status)
	}
	c.want(200, "GET", "/limits", nil)
}
