package salesforce

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// checkBody compares a request's JSON without regard to the order of members.
func checkBody(t *testing.T, r *http.Request, want string) {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	got, wanted := jsontext.Value(body), jsontext.Value(want)
	if err != nil || got.Canonicalize() != nil || wanted.Canonicalize() != nil || string(got) != string(wanted) {
		t.Errorf("%s %s: got %s, %v\nwant %s", r.Method, r.URL, got, err, wanted)
	}
}

func TestCollections(t *testing.T) {
	o := newOrg(t)
	number, err := Number("12345678901234567890.10")
	if err != nil {
		t.Fatal(err)
	}
	account, err := By("Ext__c", "A-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "1x", "NaN", `"1"`, "true", "1 2"} {
		if v, err := Number(bad); err == nil {
			t.Errorf("Number(%q) = %v, want an error", bad, v)
		}
	}
	o.handle("POST "+rest+"/composite/sobjects", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, part := range []string{`"allOrNone":false`, `"attributes":{"type":"Lead"}`, `"LastName":"Doe \"x\""`, `"Amount":12345678901234567890.10`, `"Old":null`, `"Cleared":null`, `"On":true`, `"Account":{"Ext__c":"A-1"}`} {
			if !strings.Contains(string(body), part) {
				t.Errorf("%s is not in %s", part, body)
			}
		}
		if r.Header.Get("Sforce-Auto-Assign") != "FALSE" || r.Header.Get("Sforce-Duplicate-Rule-Header") != "allowSave=false; includeRecordDetails=false" {
			t.Errorf("headers %v", r.Header)
		}
		answer(w, 200, `[{"id":"003RO0000035WQgYAM","success":true,"errors":[]},
			{"success":false,"errors":[{"statusCode":"REQUIRED_FIELD_MISSING","message":"Required fields are missing: [Company]","fields":["Company"]}]},
			{"success":false,"errors":[{"statusCode":"DUPLICATES_DETECTED","message":"Use one of these records?","duplicateResut":{"matchResults":[{"matchRecords":[{"record":{"Id":"003RO0000035WQg"}}]}]}}]},
			{"success":false,"errors":[{"statusCode":"UNABLE_TO_LOCK_ROW","message":"unable to obtain exclusive access","fields":[]}]}]`)
	})
	lead := Record{Object: "Lead", Fields: map[string]Value{"LastName": Text(`Doe "x"`), "Amount": number, "Old": Null, "Cleared": Text(""), "On": Bool(true), "Account": account}}
	got, err := o.client.CreateRecords(t.Context(), []Record{lead, lead, lead, lead}, Sending{})
	if err != nil || len(got) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].ID != "003RO0000035WQgYAM" || !got[0].Success || !got[0].Created || got[0].Err() != nil {
		t.Errorf("%+v", got[0])
	}
	if err := got[1].Err(); !HasCode(err, "REQUIRED_FIELD_MISSING") || classOf(err) != "set the record aside" || !slices.Equal(got[1].Errors[0].Fields, []string{"Company"}) {
		t.Errorf("%v", err)
	}
	if !HasCode(got[2].Err(), CodeDuplicatesDetected) || !slices.Equal(got[2].Errors[0].Duplicates, []sobject.ID{"003RO0000035WQgYAM"}) {
		t.Errorf("%+v", got[2])
	}
	if !IsTransient(got[3].Err()) {
		t.Errorf("%v, want it transient", got[3].Err())
	}

	o.handle("PATCH "+rest+"/composite/sobjects", func(w http.ResponseWriter, r *http.Request) {
		checkBody(t, r, `{"allOrNone":true,"records":[{"attributes":{"type":"Lead"},"id":"003RO0000035WQgYAM","Status":"Open"}]}`)
		answer(w, 200, `[{"id":"003RO0000035WQgYAM","success":true,"errors":[]}]`)
	})
	if got, err = o.client.UpdateRecords(t.Context(), []Record{{Object: "Lead", ID: "003RO0000035WQgYAM", Fields: map[string]Value{"Status": Text("Open")}}}, Sending{AllOrNone: true, AutoAssign: true}); err != nil || !got[0].Success || got[0].Created {
		t.Errorf("%+v, %v", got, err)
	}
	o.handle("PATCH "+rest+"/composite/sobjects/Lead/Ext__c", func(w http.ResponseWriter, r *http.Request) {
		checkBody(t, r, `{"allOrNone":false,"records":[{"attributes":{"type":"Lead"},"Ext__c":"A-1"}]}`)
		answer(w, 200, `[{"id":"003RO0000035WQgYAM","success":true,"errors":[],"created":true}]`)
	})
	if got, err = o.client.UpsertRecords(t.Context(), "Lead", "Ext__c", []Record{{Object: "Lead", Fields: map[string]Value{"Ext__c": Text("A-1")}}}, Sending{}); err != nil || !got[0].Created {
		t.Errorf("%+v, %v", got, err)
	}
	o.handle("DELETE "+rest+"/composite/sobjects", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "ids=a00D0000008pQR5IAM,003RO0000035WQgYAM&allOrNone=false" {
			t.Errorf("asked %s", r.URL)
		}
		answer(w, 200, `[{"id":"a00D0000008pQR5IAM","success":true,"errors":[]},{"id":"003RO0000035WQgYAM","success":false,"errors":[{"statusCode":"ENTITY_IS_DELETED","message":"entity is deleted","fields":[]}]}]`)
	})
	if got, err = o.client.DeleteRecords(t.Context(), "Lead", []sobject.ID{"a00D0000008pQR5IAM", "003RO0000035WQgYAM"}, Sending{}); err != nil || !got[0].Success || !HasCode(got[1].Err(), CodeEntityIsDeleted) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCollectionsRefuseWhatCannotGo(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	o.handle("PATCH "+rest+"/composite/sobjects", sequence(&calls, say(200, `[]`)))
	if _, err := o.client.UpdateRecords(t.Context(), make([]Record, CollectionMax+1), Sending{}); err == nil {
		t.Error("201 records were sent")
	}
	if got, err := o.client.UpdateRecords(t.Context(), nil, Sending{}); err != nil || got != nil {
		t.Errorf("nothing to send: %v, %v", got, err)
	}
	if _, err := o.client.UpdateRecords(t.Context(), []Record{{Object: "Lead", Fields: map[string]Value{"A": Text("x\xff")}}}, Sending{}); err == nil || !strings.Contains(err.Error(), "field A") {
		t.Errorf("a text that is no UTF-8: %v", err)
	}
	if calls.Load() != 0 {
		t.Errorf("%d requests went out", calls.Load())
	}
	if _, err := o.client.UpdateRecords(t.Context(), []Record{{Object: "Lead"}}, Sending{}); !HasCode(err, CodeMalformedReply) {
		t.Errorf("fewer results than records: %v", err)
	}
}

func TestRetrieve(t *testing.T) {
	o := newOrg(t)
	o.handle("POST "+rest+"/composite/sobjects/Lead", func(w http.ResponseWriter, r *http.Request) {
		checkBody(t, r, `{"ids":["00Q5f00002JUX1JAAX","003RO0000035WQgYAM"],"fields":["Id","Name"]}`)
		answer(w, 200, `[null,{"attributes":{"type":"Lead"},"Name":"Pat","Id":"1"},{"Id":"2","Name":null}]`)
	})
	var got []string
	read := func(cells [][]byte) error {
		got = append(got, string(cells[0])+":"+string(cells[1]))
		return nil
	}
	ids := []sobject.ID{"00Q5f00002JUX1JAAX", "003RO0000035WQgYAM"}
	if err := o.client.Retrieve(t.Context(), "Lead", ids, []string{"Id", "Name"}, read); err != nil || !slices.Equal(got, []string{"1:Pat", "2:"}) {
		t.Errorf("%q, %v", got, err)
	}
	stop := errors.New("stop")
	if err := o.client.Retrieve(t.Context(), "Lead", ids, []string{"Id", "Name"}, func([][]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want the caller's own error", err)
	}
	if err := o.client.Retrieve(t.Context(), "Lead", make([]sobject.ID, RetrieveMax+1), []string{"Id"}, read); err == nil {
		t.Error("2001 records were asked for")
	}
	o.handle("POST "+rest+"/composite/sobjects/Task", cutBody)
	if err := o.client.Retrieve(t.Context(), "Task", ids, []string{"Id"}, read); err == nil {
		t.Error("a cut reply was taken")
	}
}

// A result that names another record than the one in its place is no result of this one.
func TestCollectionResultsOutOfPlace(t *testing.T) {
	o := newOrg(t)
	o.handle("PATCH "+rest+"/composite/sobjects", say(200, `[{"id":"a00D0000008pQR5IAM","success":true,"errors":[]},{"id":"003RO0000035WQgYAM","success":true,"errors":[]}]`))
	records := []Record{{Object: "Lead", ID: "003RO0000035WQgYAM"}, {Object: "Lead", ID: "a00D0000008pQR5IAM"}}
	if got, err := o.client.UpdateRecords(t.Context(), records, Sending{}); !HasCode(err, CodeMalformedReply) || IsHalting(err) {
		t.Errorf("%+v, %v", got, err)
	}
	slices.Reverse(records)
	records[0].ID = "a00D0000008pQR5"
	if got, err := o.client.UpdateRecords(t.Context(), records, Sending{}); err != nil || !got[1].Success {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestQueryTogether(t *testing.T) {
	o := newOrg(t)
	questions := []Question{{[]string{"Id", "Email"}, "SELECT Id, Email FROM Lead WHERE Email IN ('a&b@x.com')"}, {[]string{"Id"}, "SELECT Id FROM Contact"}, {[]string{"Id"}, "SELECT Id FROM Campaign"}}
	calls := 0
	o.handle("POST "+rest+"/composite", func(w http.ResponseWriter, r *http.Request) {
		calls++
		checkBody(t, r, `{"allOrNone":false,"compositeRequest":[{"method":"GET","url":"`+rest+`/query?q=SELECT+Id,+Email+FROM+Lead+WHERE+Email+IN+('a%26b%40x.com')","referenceId":"q0"},
			{"method":"GET","url":"`+rest+`/query?q=SELECT+Id+FROM+Contact","referenceId":"q1"},{"method":"GET","url":"`+rest+`/query?q=SELECT+Id+FROM+Campaign","referenceId":"q2"}]}`)
		answer(w, 200, `{"compositeResponse":[{"body":{"totalSize":1,"done":true,"records":[{"attributes":{"type":"Lead"},"Id":"a00D0000008pQR5IAM","Email":"a&b@x.com"}]},"httpHeaders":{},"httpStatusCode":200,"referenceId":"q0"},
			{"body":{"totalSize":2,"done":false,"nextRecordsUrl":"/x","records":[{"Id":"1"}]},"httpHeaders":{},"httpStatusCode":200,"referenceId":"q1"},
			{"body":{"totalSize":0,"done":true,"records":[]},"httpHeaders":{},"httpStatusCode":200,"referenceId":"q2"}]}`)
	})
	alone := 0
	o.handle("GET "+rest+"/query", func(w http.ResponseWriter, r *http.Request) {
		alone++
		if strings.Contains(r.URL.Query().Get("q"), "Contact") {
			answer(w, 200, `{"totalSize":2,"done":true,"records":[{"Id":"1"},{"Id":"2"}]}`)
			return
		}
		answer(w, 200, `{"totalSize":1,"done":true,"records":[{"Id":"3"}]}`)
	})
	var got []string
	ask := func() error {
		got = nil
		return o.client.QueryTogether(t.Context(), questions, func(i int, cells [][]byte) error {
			got = append(got, strings.Repeat("*", i)+string(cells[0]))
			return nil
		})
	}
	// An answer that is not whole is asked for anew, alone.
	if err := ask(); err != nil || !slices.Equal(got, []string{"a00D0000008pQR5IAM", "*1", "*2"}) || calls != 1 || alone != 1 {
		t.Errorf("%v, %v after %d and %d calls", got, err, calls, alone)
	}
	o2 := newOrg(t)
	o2.handle("POST "+rest+"/composite", say(200, `{"compositeResponse":[{"body":[{"message":"No such column","errorCode":"INVALID_FIELD"}],"httpHeaders":{},"httpStatusCode":400,"referenceId":"q0"}]}`))
	if err := o2.client.QueryTogether(t.Context(), questions, nil); !HasCode(err, CodeInvalidField) {
		t.Errorf("a query that is refused: %v", err)
	}
	// An org without composite requests.
	o3 := newOrg(t)
	o3.handle("POST "+rest+"/composite", say(404, `[{"message":"The requested resource does not exist","errorCode":"NOT_FOUND"}]`))
	o3.handle("GET "+rest+"/query", say(200, `{"totalSize":1,"done":true,"records":[{"Id":"3"}]}`))
	o.client = o3.client
	if err := ask(); err != nil || !slices.Equal(got, []string{"3", "*3", "**3"}) {
		t.Errorf("%v, %v", got, err)
	}
	// One that refuses them in other words is not asked in vain again.
	o4 := newOrg(t)
	tries := 0
	o4.handle("POST "+rest+"/composite", func(w http.ResponseWriter, _ *http.Request) {
		tries++
		refuse(w, 400, "INVALID_INPUT", "what is this")
	})
	o4.handle("GET "+rest+"/query", say(200, `{"totalSize":1,"done":true,"records":[{"Id":"3"}]}`))
	o.client = o4.client
	for range 2 {
		if err := ask(); err != nil || !slices.Equal(got, []string{"3", "*3", "**3"}) {
			t.Errorf("%v, %v", got, err)
		}
	}
	if tries != 1 {
		t.Errorf("it was asked %d times for what it refuses, want once", tries)
	}
}

// An org without collections gets its records one by one.
func TestAnOrgWithoutCollections(t *testing.T) {
	o := newOrg(t)
	missing := say(404, `[{"message":"The requested resource does not exist","errorCode":"NOT_FOUND"}]`)
	var tries atomic.Int64
	o.handle("POST "+rest+"/composite/sobjects", func(w http.ResponseWriter, r *http.Request) { tries.Add(1); missing(w, r) })
	n := 0
	o.handle("POST "+rest+"/sobjects/Lead", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Sforce-Auto-Assign") != "FALSE" {
			t.Errorf("headers %v", r.Header)
		}
		if n++; n == 2 {
			answer(w, 400, `[{"message":"Required fields are missing: [Company]","errorCode":"REQUIRED_FIELD_MISSING","fields":["Company"]}]`)
			return
		}
		answer(w, 201, `{"id":"003RO0000035WQgYAM","success":true,"errors":[]}`)
	})
	lead := Record{Object: "Lead", Fields: map[string]Value{"LastName": Text("Doe")}}
	got, err := o.client.CreateRecords(t.Context(), []Record{lead, lead, lead}, Sending{})
	if err != nil || len(got) != 3 || !got[0].Created || got[0].ID != "003RO0000035WQgYAM" || !HasCode(got[1].Err(), "REQUIRED_FIELD_MISSING") || !got[2].Success {
		t.Errorf("%+v, %v", got, err)
	}
	o.handle("PATCH "+rest+"/sobjects/Lead/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "a00D0000008pQR5IAM" {
			answer(w, 404, `[{"message":"entity is deleted","errorCode":"ENTITY_IS_DELETED","fields":[]}]`)
			return
		}
		checkBody(t, r, `{"LastName":"Doe"}`)
		w.WriteHeader(204)
	})
	got, err = o.client.UpdateRecords(t.Context(), []Record{{Object: "Lead", ID: "003RO0000035WQgYAM", Fields: lead.Fields}, {Object: "Lead", ID: "a00D0000008pQR5IAM"}}, Sending{})
	if err != nil || !got[0].Success || got[0].ID != "003RO0000035WQgYAM" || !HasCode(got[1].Err(), CodeEntityIsDeleted) {
		t.Errorf("%+v, %v", got, err)
	}
	o.handle("PATCH "+rest+"/sobjects/Lead/Ext__c/{key}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("key") != "A/1" {
			t.Errorf("asked %s", r.URL)
		}
		checkBody(t, r, `{"LastName":"Doe"}`)
		answer(w, 201, `{"id":"003RO0000035WQgYAM","success":true,"errors":[],"created":true}`)
	})
	got, err = o.client.UpsertRecords(t.Context(), "Lead", "Ext__c", []Record{{Object: "Lead", Fields: map[string]Value{"Ext__c": Text("A/1"), "LastName": Text("Doe")}}}, Sending{})
	if err != nil || !got[0].Created {
		t.Errorf("%+v, %v", got, err)
	}
	o.handle("DELETE "+rest+"/sobjects/Lead/003RO0000035WQgYAM", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	if got, err = o.client.DeleteRecords(t.Context(), "Lead", []sobject.ID{"003RO0000035WQgYAM"}, Sending{}); err != nil || !got[0].Success {
		t.Errorf("%+v, %v", got, err)
	}
	if tries.Load() != 1 {
		t.Errorf("the org was asked for collections %d times, want once", tries.Load())
	}
}

func TestUpdateAndRead(t *testing.T) {
	const id = "003RO0000035WQgYAM"
	records := []Record{{Object: "Contact", ID: id, Fields: map[string]Value{"LastName": Text("Doe")}}}
	columns := []string{"Id", "SystemModstamp"}
	for name, c := range map[string]struct {
		composite, collection http.HandlerFunc
		text                  string
		read                  int
		code                  string
		plain                 int64
		tries                 int64 // of two updates, that ask for all together; 0: it does not matter
	}{
		"both": {composite: say(200, `{"compositeResponse":[{"body":[{"attributes":{"type":"Contact"},"Id":"`+id+`","SystemModstamp":"2026-11-19T17:38:59.000+0000"}],"httpStatusCode":200,"referenceId":"b"},
			{"body":[{"id":"`+id+`","success":true,"errors":[]}],"httpHeaders":{},"httpStatusCode":200,"referenceId":"w"},
			{"body":[{"attributes":{"type":"Contact"},"Id":"`+id+`","SystemModstamp":"2026-11-20T17:38:59.000+0000"},null],"httpHeaders":{},"httpStatusCode":200,"referenceId":"r"}]}`), read: 1},
		"written, and not read": {composite: say(200, `{"compositeResponse":[{"body":[{"id":"`+id+`","success":true,"errors":[]}],"httpHeaders":{},"httpStatusCode":200,"referenceId":"w"},
			{"body":[{"errorCode":"NOT_FOUND","message":"x"}],"httpHeaders":{},"httpStatusCode":404,"referenceId":"r"}]}`)},
		"refused in part":         {composite: say(200, `{"compositeResponse":[{"body":[{"errorCode":"INVALID_FIELD","message":"No such column"}],"httpHeaders":{},"httpStatusCode":400,"referenceId":"w"}]}`), code: "INVALID_FIELD"},
		"no collections in it":    {composite: say(200, `{"compositeResponse":[{"body":[{"errorCode":"NOT_FOUND","message":"x"}],"httpHeaders":{},"httpStatusCode":404,"referenceId":"w"}]}`), plain: 1},
		"no composite requests":   {composite: say(404, `[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]`), plain: 1},
		"a text like a reference": {composite: func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "X", "x") }, text: "see @{me.id}", plain: 1},
		"refused as a whole":      {composite: say(400, `[{"errorCode":"INVALID_INPUT","message":"what is this"}]`), plain: 1, tries: 1},
		"left out":                {composite: say(200, `{"compositeResponse":[]}`), code: CodeMalformedReply},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrg(t)
			var tries atomic.Int64
			o.handle("POST "+rest+"/composite", func(w http.ResponseWriter, r *http.Request) {
				tries.Add(1)
				body, _ := io.ReadAll(r.Body)
				if !strings.Contains(string(body), `"Sforce-Auto-Assign":"FALSE"`) {
					t.Errorf("the part lacks the header: %s", body)
				}
				c.composite(w, r)
			})
			var plain atomic.Int64
			o.handle("PATCH "+rest+"/composite/sobjects", func(w http.ResponseWriter, _ *http.Request) {
				plain.Add(1)
				answer(w, 200, `[{"id":"`+id+`","success":true,"errors":[]}]`)
			})
			if c.text != "" {
				records[0].Fields["LastName"] = Text(c.text)
				defer func() { records[0].Fields["LastName"] = Text("Doe") }()
			}
			read, before := 0, 0
			for range 2 {
				read, before = 0, 0
				plain.Store(0)
				got, err := o.client.UpdateAndRead(t.Context(), "Contact", records, columns, Sending{}, func(cells [][]byte) error {
					if !strings.HasPrefix(string(cells[1]), "2026-11-19") {
						t.Errorf("read before the write: %s", cells[1])
					}
					before++
					return nil
				}, func([][]byte) error { read++; return nil })
				if c.code != "" {
					if !HasCode(err, c.code) {
						t.Errorf("%+v, %v", got, err)
					}
					continue
				}
				if err != nil || len(got) != 1 || !got[0].Success {
					t.Errorf("%+v, %v", got, err)
				}
			}
			if c.tries != 0 && tries.Load() != c.tries {
				t.Errorf("the org was asked %d times for what it refuses, want %d", tries.Load(), c.tries)
			}
			if read != c.read || before != c.read || plain.Load() != c.plain {
				t.Errorf("%d read and %d plain calls, want %d and %d", read, plain.Load(), c.read, c.plain)
			}
		})
	}
}
