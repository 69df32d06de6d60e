package salesforce

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/sobject"
)

const leadDescribe = `{"name":"Lead","label":"Lead","labelPlural":"Leads","keyPrefix":"00Q","custom":false,"queryable":true,"replicateable":true,"createable":true,"updateable":true,"fields":[
 {"name":"Id","type":"id","soapType":"tns:ID","length":18,"nillable":false,"referenceTo":[],"relationshipName":null,"picklistValues":[]},
 {"name":"OwnerId","type":"reference","length":18,"namePointing":true,"referenceTo":["Group","User"],"relationshipName":"Owner","defaultValue":null,"newAttribute":{"x":[1]}},
 {"name":"Status","type":"picklist","picklistValues":[{"active":true,"defaultValue":false,"label":null,"validFor":null,"value":"Open"}]}],
 "childRelationships":[{"cascadeDelete":true,"childSObject":"Task","field":"WhoId","relationshipName":"Tasks","junctionIdListNames":[]}],"keyless":null}`

func TestObjectsAndDescribe(t *testing.T) {
	o := newOrg(t)
	o.handle("GET "+rest+"/sobjects", say(200, `{"encoding":"UTF-8","maxBatchSize":200,"sobjects":[{"name":"Lead","label":"Lead","keyPrefix":"00Q","queryable":true,"urls":{"x":"y"}},{"name":"X__c","keyPrefix":null,"custom":true}]}`))
	objects, err := o.client.Objects(t.Context())
	if err != nil || len(objects) != 2 || objects[0].KeyPrefix != "00Q" || !objects[0].Queryable || !objects[1].Custom {
		t.Errorf("Objects = %+v, %v", objects, err)
	}
	modified := time.Date(2026, 11, 20, 17, 38, 59, 0, time.UTC)
	o.handle("GET "+rest+"/sobjects/Lead/describe", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
		answer(w, 200, leadDescribe)
	})
	d, err := o.client.Describe(t.Context(), "Lead")
	if err != nil || d.Object != "Lead" || d.Schema.Name != "Lead" || len(d.Schema.Fields) != 3 || !slices.Equal(d.Schema.Fields[1].ReferenceTo, []string{"Group", "User"}) || !d.LastModified.Equal(modified) || d.Schema.ChildRelationships[0].Field != "WhoId" {
		t.Errorf("Describe = %+v, %v", d, err)
	}
	o.handle("GET "+rest+"/sobjects/Gone__c/describe", say(404, `[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]`))
	if _, err := o.client.Describe(t.Context(), "Gone__c"); !HasCode(err, CodeNotFound) {
		t.Errorf("Describe of what is not there: %v", err)
	}
}

// composite answers each describe as the test says, in one call.
func composite(t *testing.T, calls *atomic.Int64, part func(object, since string) (status int, headers, body string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var ask struct {
			AllOrNone        bool
			CompositeRequest []struct {
				Method, URL, ReferenceID string
				HTTPHeaders              map[string]string `json:"httpHeaders"`
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.AllOrNone || len(ask.CompositeRequest) > 25 {
			t.Errorf("%+v, %v", ask, err)
		}
		parts := make([]string, 0, len(ask.CompositeRequest))
		for _, c := range ask.CompositeRequest {
			object, ok := strings.CutPrefix(c.URL, rest+"/sobjects/")
			object, ok2 := strings.CutSuffix(object, "/describe")
			if !ok || !ok2 || c.Method != "GET" {
				t.Errorf("part %+v", c)
			}
			status, headers, body := part(object, c.HTTPHeaders["If-Modified-Since"])
			parts = append(parts, fmt.Sprintf(`{"body":%s,"httpHeaders":%s,"httpStatusCode":%d,"referenceId":%q}`, body, headers, status, c.ReferenceID))
		}
		answer(w, 200, `{"compositeResponse":[`+strings.Join(parts, ",")+`]}`)
	}
}

func TestDescribeManyAsksOnceForTwentyFive(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	o.handle("POST "+rest+"/composite", composite(t, &calls, func(object, since string) (int, string, string) {
		switch {
		case object == "Object01":
			return 404, `{}`, `[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]`
		case object == "Object02":
			return 403, `{}`, `[{"errorCode":"INSUFFICIENT_ACCESS","message":"no"}]`
		case object == "Object03":
			return 500, `{}`, `[{"errorCode":"UNKNOWN_EXCEPTION","message":"no"}]`
		case since == "Fri, 20 Nov 2026 17:38:59 GMT":
			return 304, `{}`, `null`
		case since != "":
			t.Errorf("If-Modified-Since: %q", since)
		}
		return 200, `{"last-modified":"Fri, 20 Nov 2026 18:00:00 GMT"}`, strings.Replace(leadDescribe, `"name":"Lead"`, fmt.Sprintf(`"name":%q`, object), 1)
	}))
	asks := make([]DescribeRequest, 30)
	since := time.Date(2026, 11, 20, 17, 38, 59, 0, time.UTC)
	for i := range asks {
		asks[i].Object = fmt.Sprintf("Object%02d", i)
		if i >= 10 {
			asks[i].IfModifiedSince = since
		}
	}
	got, err := o.client.DescribeMany(t.Context(), asks)
	if err != nil || len(got) != 30 || calls.Load() != 2 || o.client.Calls() != 2 {
		t.Fatalf("%d answers, %v, %d calls, want 30 by 2 calls", len(got), err, calls.Load())
	}
	for i, d := range got {
		switch {
		case d.Object != asks[i].Object:
			t.Errorf("%d is %s, want %s", i, d.Object, asks[i].Object)
		case i == 1 && (!HasCode(d.Err, CodeNotFound) || IsTransient(d.Err)),
			i == 2 && (d.Err == nil || IsHalting(d.Err)),
			i == 3 && !IsTransient(d.Err):
			t.Errorf("%d: %v", i, d.Err)
		case i >= 10 && (!d.NotModified || d.Err != nil || !d.LastModified.Equal(since)):
			t.Errorf("%d: %+v, want it not modified", i, d)
		case i > 3 && i < 10 && (d.Err != nil || d.NotModified || d.Schema.Name != d.Object || d.LastModified.Hour() != 18):
			t.Errorf("%d: %+v", i, d)
		}
	}
}

func TestDescribeManyDoesWithoutComposite(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	o.handle("POST "+rest+"/composite", sequence(&calls, say(404, `[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]`)))
	o.handle("GET "+rest+"/sobjects/{object}/describe", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.PathValue("object") == "Gone":
			refuse(w, 404, "NOT_FOUND", "no")
		case r.Header.Get("If-Modified-Since") != "":
			w.WriteHeader(304)
		default:
			answer(w, 200, leadDescribe)
		}
	})
	asks := []DescribeRequest{{Object: "Lead"}, {Object: "Gone"}, {Object: "Lead", IfModifiedSince: time.Unix(1e9, 0)}}
	for range 2 {
		got, err := o.client.DescribeMany(t.Context(), asks)
		if err != nil || len(got) != 3 || got[0].Schema.Name != "Lead" || !HasCode(got[1].Err, CodeNotFound) || !got[2].NotModified {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("composite was tried %d times, want once", calls.Load())
	}
	// Trouble that passes, or that concerns the whole connection, is no refusal of composite requests.
	for _, bad := range []http.HandlerFunc{html(503), say(403, `[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}]`)} {
		o := newOrg(t)
		o.handle("POST "+rest+"/composite", bad)
		if _, err := o.client.DescribeMany(t.Context(), asks); err == nil || o.client.noComposite.Load() {
			t.Errorf("%v, composite given up: %v", err, o.client.noComposite.Load())
		}
	}
	if got, err := o.client.DescribeMany(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("nothing asked: %v, %v", got, err)
	}
}

func TestQueryFollowsLocatorsAsGiven(t *testing.T) {
	o := newOrg(t)
	o.handle("GET "+rest+"/queryAll", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query().Get("q"); q != "SELECT Id, Owner.Name FROM Lead" {
			t.Errorf("asked %q", q)
		}
		answer(w, 200, `{"totalSize":5,"done":false,"nextRecordsUrl":"/services/data/v66.0/query/01gRO0000016PIAYA2-2","records":[{"Id":"1","Owner":{"Name":"A"}},{"Id":"2","Owner":null}]}`)
	})
	o.handle("GET "+rest+"/query/01gRO0000016PIAYA2-2", say(200, `{"records":[{"Id":"3","Owner":{"Name":"C"}}],"totalSize":5,"done":false,"nextRecordsUrl":"/services/data/v66.0/queryAll/01gRO0000016PIAYA2-3?x=1"}`))
	o.handle("GET "+rest+"/queryAll/01gRO0000016PIAYA2-3", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "x=1" {
			t.Errorf("the locator came back as %s", r.URL)
		}
		answer(w, 200, `{"totalSize":5,"done":true,"records":[{"Id":"4","Owner":{"Name":"D"}},{"Id":"5","Owner":{"Name":"E"}}]}`)
	})
	var got []string
	var totals []int
	pages := 0
	for page, err := range o.client.Query(t.Context(), "SELECT Id, Owner.Name FROM Lead", true) {
		if err != nil {
			t.Fatal(err)
		}
		pages++
		totals = append(totals, page.TotalSize)
		if !slices.Equal(page.Rows.Columns(), []string{"Id", "Owner.Name"}) {
			t.Errorf("columns %q", page.Rows.Columns())
		}
		for {
			cells, err := page.Rows.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(cells[0])+string(cells[1]))
		}
		if page.TotalSize != 5 || page.Done != (pages == 3) {
			t.Errorf("page %d ends with %d records in all, done %v", pages, page.TotalSize, page.Done)
		}
	}
	if !slices.Equal(got, []string{"1A", "2", "3C", "4D", "5E"}) || !slices.Equal(totals, []int{5, -1, 5}) {
		t.Errorf("got %q by totals %v", got, totals)
	}
	// What the consumer leaves unread is skipped; stopping early ends it.
	pages = 0
	for _, err := range o.client.Query(t.Context(), "SELECT Id, Owner.Name FROM Lead", true) {
		if err != nil {
			t.Fatal(err)
		}
		pages++
	}
	if pages != 3 {
		t.Errorf("%d pages without reading, want 3", pages)
	}
	for range o.client.Query(t.Context(), "SELECT Id, Owner.Name FROM Lead", true) {
		break
	}
}

func TestQueryTellsWhatWentWrong(t *testing.T) {
	page := func(next string) string {
		return fmt.Sprintf(`{"totalSize":2,"done":false,"nextRecordsUrl":%q,"records":[{"Id":"1"}]}`, next)
	}
	for name, c := range map[string]struct {
		first, second http.HandlerFunc
		check         func(error) bool
		rows          int
	}{
		"the locator is gone": {say(200, page(rest+"/query/01g-1")), say(400, `[{"errorCode":"INVALID_QUERY_LOCATOR","message":"invalid query locator"}]`), func(err error) bool { return IsLocatorGone(err) && !IsTransient(err) }, 1},
		"cut in the middle":   {say(200, page(rest+"/query/01g-1")), cutBody, IsTransient, 1},
		"a field is gone":     {say(400, `[{"errorCode":"INVALID_FIELD","message":"No such column"}]`), nil, func(err error) bool { return HasCode(err, CodeInvalidField) }, 0},
		"no next page":        {say(200, page("")), nil, func(err error) bool { return HasCode(err, CodeMalformedReply) }, 1},
		"another host":        {say(200, page("https://evil.example/x")), nil, func(err error) bool { return HasCode(err, CodeMalformedReply) }, 1},
		"goes in a circle":    {say(200, page(rest+"/query")), nil, func(err error) bool { return HasCode(err, CodeMalformedReply) }, 1},
	} {
		o := newOrg(t)
		o.handle("GET "+rest+"/query", c.first)
		if c.second != nil {
			o.handle("GET "+rest+"/query/01g-1", c.second)
		}
		rows, errs := 0, 0
		var last error
		for page, err := range o.client.QueryRows(t.Context(), []string{"Id"}, "SELECT Id FROM Lead", false) {
			if err != nil {
				last = err
				errs++
				continue
			}
			for {
				if _, err := page.Rows.Next(); err != nil {
					break
				}
				rows++
			}
		}
		if errs != 1 || !c.check(last) || rows != c.rows {
			t.Errorf("%s: %d rows, %d errors, the last %v", name, rows, errs, last)
		}
	}
	o := newOrg(t)
	long := "SELECT Id FROM Lead WHERE Id IN ('" + strings.Repeat("00Q5f00002JUX1JAAX','", 800) + "')"
	for _, err := range o.client.Query(t.Context(), long, false) {
		if !HasCode(err, CodeURITooLong) || o.client.QueryURLLen(long) <= MaxURL {
			t.Errorf("a query of %d bytes: %v", o.client.QueryURLLen(long), err)
		}
	}
	if o.client.QueryURLLen("SELECT Id FROM Lead") > 200 {
		t.Errorf("QueryURLLen of a short query = %d", o.client.QueryURLLen("SELECT Id FROM Lead"))
	}
}

func TestSelectColumns(t *testing.T) {
	for soql, want := range map[string][]string{
		"SELECT Id FROM Lead":                                       {"Id"},
		"select Id,Name , Owner.Name\nfrom Lead":                    {"Id", "Name", "Owner.Name"},
		"SELECT COUNT() FROM Lead":                                  nil,
		"SELECT COUNT(Id), MAX(SystemModstamp) last FROM Lead":      {"expr0", "last"},
		"SELECT Status, COUNT(Id) n FROM Lead GROUP BY Status":      {"Status", "n"},
		"SELECT From__c, Id FROM Lead WHERE Name = 'x, y FROM z'":   {"From__c", "Id"},
		"SELECT COUNT_DISTINCT(Email), SUM(Amount) FROM Lead":       {"expr0", "expr1"},
		"SELECT toLabel(Status) s, FORMAT(Amount) FROM Opportunity": {"s", "expr0"},
	} {
		got, err := selectColumns(soql)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", soql, got, err, want)
		}
	}
	for _, soql := range []string{"", "DELETE Lead", "SELECT Id", "SELECT Id, FROM Lead", "SELECT Id, (SELECT Id FROM Contacts) FROM Account", "SELECT FIELDS(STANDARD) FROM Lead", "SELECT TYPEOF What WHEN Account THEN Name END FROM Task"} {
		if got, err := selectColumns(soql); err == nil {
			t.Errorf("%s: %q, want an error", soql, got)
		}
	}
}

func TestUpdatedAndDeletedAskForWholeMinutes(t *testing.T) {
	o := newOrg(t)
	var asked url.Values
	o.handle("GET "+rest+"/sobjects/Lead/updated/", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "+") {
			t.Errorf("a bare + in %s is read as a space", r.URL.RawQuery)
		}
		asked = r.URL.Query()
		answer(w, 200, `{"ids":["003RO0000035WQgYAM","003RO0000035WQg"],"latestDateCovered":"2026-11-20T23:59:00.000+0000"}`)
	})
	paris := time.FixedZone("", 3600)
	got, err := o.client.Updated(t.Context(), "Lead", time.Date(2026, 11, 20, 1, 0, 59, 0, paris), time.Date(2026, 11, 21, 1, 0, 1, 5, paris))
	if err != nil || !slices.Equal(got.IDs, []sobject.ID{"003RO0000035WQgYAM", "003RO0000035WQgYAM"}) || !got.LatestDateCovered.Equal(time.Date(2026, 11, 20, 23, 59, 0, 0, time.UTC)) {
		t.Errorf("Updated = %+v, %v", got, err)
	}
	if asked.Get("start") != "2026-11-20T00:00:00+00:00" || asked.Get("end") != "2026-11-21T00:00:00+00:00" {
		t.Errorf("asked %v", asked)
	}
	o.handle("GET "+rest+"/sobjects/Lead/deleted/", say(200, `{"deletedRecords":[{"id":"003RO0000035WQgYAM","deletedDate":"2026-11-20T22:07:19.000+0000"}],"earliestDateAvailable":"2026-11-05T15:57:00.000+0000","latestDateCovered":"2026-11-20T23:59:00.000+0000"}`))
	gone, err := o.client.Deleted(t.Context(), "Lead", time.Now().Add(-time.Hour), time.Now())
	if err != nil || len(gone.Records) != 1 || gone.Records[0].ID != "003RO0000035WQgYAM" || gone.Records[0].DeletedAt.Second() != 19 || gone.EarliestDateAvailable.Day() != 5 || gone.LatestDateCovered.IsZero() {
		t.Errorf("Deleted = %+v, %v", gone, err)
	}
	at := time.Date(2026, 11, 20, 12, 35, 15, 0, time.UTC)
	if start, end := window(at, at.Add(30*time.Second), time.Minute); end.Sub(start) != time.Minute || end.Minute() != 35 {
		t.Errorf("a window of 30 s became %v to %v", start, end)
	}
	if start, end := window(at, at.Add(time.Minute), 2*time.Minute); end.Sub(start) != 2*time.Minute || end.Minute() != 36 {
		t.Errorf("a window of a minute became %v to %v", start, end)
	}
	o.handle("GET "+rest+"/sobjects/Task/updated/", say(400, `[{"errorCode":"INVALID_REPLICATION_DATE","message":"x"}]`))
	if _, err := o.client.Updated(t.Context(), "Task", at, at.Add(time.Hour)); !HasCode(err, CodeInvalidReplication) {
		t.Errorf("Updated of a window that cannot be answered: %v", err)
	}
}

func TestParseTime(t *testing.T) {
	want := time.Date(2026, 11, 20, 17, 38, 59, 120_000_000, time.UTC)
	for _, in := range []string{"2026-11-20T17:38:59.120+0000", "2026-11-20T17:38:59.12Z", "2026-11-20T18:38:59.120+01:00", "2026-11-20T18:38:59.120+0100"} {
		if got, err := ParseTime([]byte(in)); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("ParseTime(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "now", "2026-11-20", "2026-13-20T17:38:59Z", "2026-11-20T17:38:59"} {
		if got, err := ParseTime([]byte(in)); err == nil {
			t.Errorf("ParseTime(%q) = %v, want an error", in, got)
		}
	}
}

func TestQueryJobs(t *testing.T) {
	o := newOrg(t)
	const id = "750R0000000zlh9IAA"
	o.handle("POST "+rest+"/jobs/query", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if want := `{"operation":"queryAll","query":"SELECT Id FROM Lead WHERE Name = '<x>&é'","contentType":"CSV","columnDelimiter":"COMMA","lineEnding":"LF"}`; string(body) != want {
			t.Errorf("got %s\nwant %s", body, want)
		}
		answer(w, 200, `{"id":"`+id+`","operation":"queryAll","object":"Lead","createdDate":"2026-11-20T17:38:59.000+0000","state":"UploadComplete","apiVersion":66.0,"concurrencyMode":"Parallel"}`)
	})
	job, err := o.client.CreateQueryJob(t.Context(), "SELECT Id FROM Lead WHERE Name = '<x>&é'", true)
	if err != nil || job.ID != id || job.State != JobUploadComplete || job.Object != "Lead" || job.CreatedAt.Second() != 59 || job.State.Ended() || job.Err() != nil {
		t.Errorf("CreateQueryJob = %+v, %v", job, err)
	}
	var calls atomic.Int64
	o.handle("GET "+rest+"/jobs/query/"+id, sequence(&calls,
		say(200, `{"id":"`+id+`","state":"InProgress","apiVersion":66.0}`),
		say(200, `{"id":"`+id+`","state":"JobComplete","numberRecordsProcessed":1000000,"retries":2,"totalProcessingTime":1500,"jobType":"V2Query"}`),
		say(200, `{"id":"`+id+`","object":"Lead","state":"Failed","errorMessage":"InvalidBatch : Field name not found : Foo"}`)))
	job, _ = o.client.QueryJob(t.Context(), id)
	if job.State != JobInProgress {
		t.Errorf("QueryJob = %+v", job)
	}
	job, err = o.client.QueryJob(t.Context(), id)
	if err != nil || !job.State.Ended() || job.RecordsProcessed != 1_000_000 || job.Retries != 2 || job.Took != 1500*time.Millisecond {
		t.Errorf("QueryJob = %+v, %v", job, err)
	}
	job, _ = o.client.QueryJob(t.Context(), id)
	if err := job.Err(); !HasCode(err, "InvalidBatch") || !strings.Contains(err.Error(), "Field name not found : Foo") || IsTransient(err) {
		t.Errorf("Err = %v", err)
	}
	o.handle("PATCH "+rest+"/jobs/query/"+id, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) != `{"state":"Aborted"}` {
			t.Errorf("got %s", body)
		}
		answer(w, 200, `{"id":"`+id+`","state":"Aborted"}`)
	})
	if err := o.client.AbortQueryJob(t.Context(), id); err != nil {
		t.Error(err)
	}
	o.handle("DELETE "+rest+"/jobs/query/"+id, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	if err := o.client.DeleteQueryJob(t.Context(), id); err != nil {
		t.Error(err)
	}
	o.handle("DELETE "+rest+"/jobs/query/gone", say(404, `[{"errorCode":"NOT_FOUND","message":"x"}]`))
	if err := o.client.DeleteQueryJob(t.Context(), "gone"); err != nil {
		t.Errorf("a job that is gone: %v", err)
	}
	if _, err := o.client.QueryJob(t.Context(), ""); err == nil {
		t.Error("a job without an id was asked for")
	}
}

func TestBulkRefusalsAreTold(t *testing.T) {
	o := newOrg(t)
	o.handle("POST "+rest+"/jobs/query", say(400, `[{"errorCode":"INVALIDENTITY","message":"Entity 'TaskStatus' is not supported by the Bulk API."}]`))
	if _, err := o.client.CreateQueryJob(t.Context(), "SELECT Id FROM TaskStatus", false); !IsBulkUnsupported(err) {
		t.Errorf("%v, want it to be told as unsupported", err)
	}
}

func readRows(rows sobject.Rows) (got []string, err error) {
	for {
		cells, err := rows.Next()
		if err != nil {
			return got, err
		}
		got = append(got, strings.Join(func() (s []string) {
			for _, c := range cells {
				s = append(s, string(c))
			}
			return s
		}(), "|"))
	}
}

func TestQueryResults(t *testing.T) {
	csv := func(locator, count, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/csv; charset=UTF-8")
			if locator != "" {
				w.Header().Set("Sforce-Locator", locator)
			}
			if count != "" {
				w.Header().Set("Sforce-NumberOfRecords", count)
			}
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		h       http.HandlerFunc
		columns []string
		rows    []string
		locator string
		n       int
		class   string
	}{
		"a page":             {csv("MTAwMDA", "2", "\"Id\",\"Owner.Name\"\n\"1\",\"A\nB\"\n\"2\",\"\"\n"), []string{"Id", "Owner.Name"}, []string{"1|A\nB", "2|"}, "MTAwMDA", 2, "end"},
		"the last":           {csv("null", "1", "\"Id\"\n\"1\"\n"), []string{"Id"}, []string{"1"}, "", 1, "end"},
		"header only":        {csv("null", "0", "\"Id\"\n"), []string{"Id"}, nil, "", 0, "end"},
		"empty":              {csv("null", "0", ""), nil, nil, "", 0, "end"},
		"no headers":         {csv("", "", "\"Id\"\n\"1\"\n"), []string{"Id"}, []string{"1"}, "", -1, "end"},
		"too few":            {csv("null", "3", "\"Id\"\n\"1\"\n"), []string{"Id"}, []string{"1"}, "", 3, "transient"},
		"too many":           {csv("null", "0", "\"Id\"\n\"1\"\n"), []string{"Id"}, []string{"1"}, "", 0, "transient"},
		"ends in a quote":    {csv("null", "2", "\"Id\",\"N\"\n\"1\",\"x\"\n\"2\",\"y"), []string{"Id", "N"}, []string{"1|x"}, "", 2, "transient"},
		"ends in a record":   {csv("null", "2", "\"Id\",\"N\"\n\"1\",\"x\"\n\"2\""), []string{"Id", "N"}, []string{"1|x"}, "", 2, "transient"},
		"a record too short": {csv("null", "2", "\"Id\",\"N\"\n\"1\"\n\"2\",\"y\"\n"), []string{"Id", "N"}, nil, "", 2, "set the record aside"},
		"no CSV":             {csv("null", "1", "\"Id\"\n\"1\"x\n"), []string{"Id"}, nil, "", 1, "set the record aside"},
	} {
		o := newOrg(t)
		o.handle("GET "+rest+"/jobs/query/750/results", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept") != "text/csv" || r.URL.Query().Get("locator") != "abc+/=" || r.URL.Query().Get("maxRecords") != "50000" {
				t.Errorf("asked %s, %s", r.URL, r.Header.Get("Accept"))
			}
			c.h(w, r)
		})
		page, err := o.client.QueryResults(t.Context(), "750", "abc+/=", 50_000)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(page.Rows.Columns(), c.columns) || page.Locator != c.locator || page.NumberOfRecords != c.n {
			t.Errorf("%s: columns %q, locator %q, %d records", name, page.Rows.Columns(), page.Locator, page.NumberOfRecords)
		}
		rows, err := readRows(page.Rows)
		if !slices.Equal(rows, c.rows) {
			t.Errorf("%s: rows %q, want %q", name, rows, c.rows)
		}
		if got := classOf(err); (c.class == "end") != (err == io.EOF) || err != io.EOF && got != c.class {
			t.Errorf("%s: ends with %v (%s), want %s", name, err, got, c.class)
		}
		if _, again := page.Rows.Next(); !errors.Is(again, err) {
			t.Errorf("%s: asked again, it says %v after %v", name, again, err)
		}
		if err := page.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A page that is cut on its way, plain or compressed, is told by the record where it ends.
func TestQueryResultsThatAreCut(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	o.handle("GET "+rest+"/jobs/query/750/results", sequence(&calls, html(503), hangUp, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			t.Errorf("the first page was asked for with %q", r.URL.RawQuery)
		}
		w.Header().Set("Content-Type", "text/csv")
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Sforce-NumberOfRecords", "100")
		_, _ = io.WriteString(w, "\"Id\"\n\"1\"\n\"2\"\n")
	}))
	page, err := o.client.QueryResults(t.Context(), "750", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	rows, err := readRows(page.Rows)
	if len(rows) != 2 || !IsTransient(err) {
		t.Errorf("%q, %v, want 2 rows and a transient error", rows, err)
	}
	if _, ok := errors.AsType[*NetworkError](err); !ok {
		t.Errorf("%v is a %T, want a NetworkError", err, err)
	}
	if calls.Load() < 3 {
		t.Errorf("%d calls, want the bad starts repeated", calls.Load())
	}
}

// A compressed page that is cut carries no length of its own: the end of the stream tells.
func TestACompressedPageThatIsCut(t *testing.T) {
	o := newOrg(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(leadsCSV(500))
	_ = z.Close()
	o.handle("GET "+rest+"/jobs/query/750/results", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Sforce-Locator", "null")
		_, _ = w.Write(packed.Bytes()[:packed.Len()/2])
	})
	page, err := o.client.QueryResults(t.Context(), "750", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	if rows, err := readRows(page.Rows); !IsTransient(err) || len(rows) == 0 || len(rows) >= 500 {
		t.Errorf("%d rows, %v, want some and a transient error", len(rows), err)
	}
	// An empty body is empty in any encoding.
	o.handle("GET "+rest+"/jobs/query/751/results", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		w.Header().Set("Content-Encoding", "gzip")
	})
	empty, err := o.client.QueryResults(t.Context(), "751", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if rows, err := readRows(empty.Rows); err != io.EOF || len(rows) != 0 {
		t.Errorf("an empty page: %q, %v", rows, err)
	}
}
