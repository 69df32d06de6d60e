package salesforce

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestIngest(t *testing.T) {
	o := newOrg(t)
	const id = "7505f00000Abcde"
	o.handle("POST "+rest+"/jobs/ingest", func(w http.ResponseWriter, r *http.Request) {
		checkBody(t, r, `{"object":"Lead","operation":"upsert","externalIdFieldName":"Ext__c","contentType":"CSV","columnDelimiter":"COMMA","lineEnding":"LF"}`)
		if r.Header.Get("Sforce-Auto-Assign") != "FALSE" || r.Header.Get("Sforce-Call-Options") == "" {
			t.Errorf("headers %v", r.Header)
		}
		answer(w, 200, `{"id":"`+id+`","operation":"upsert","object":"Lead","state":"Open","apiVersion":66.0,"contentUrl":"services/data/v66.0/jobs/ingest/`+id+`/batches"}`)
	})
	job, err := o.client.CreateIngestJob(t.Context(), "Lead", IngestUpsert, "Ext__c")
	if err != nil || job.ID != id || job.State != JobOpen || job.State.Ended() {
		t.Fatalf("%+v, %v", job, err)
	}
	var sent string
	o.handle("PUT "+rest+"/jobs/ingest/"+id+"/batches", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		sent = string(b)
		if r.Header.Get("Content-Type") != "text/csv" {
			t.Errorf("content type %q", r.Header.Get("Content-Type"))
		}
		w.WriteHeader(201)
	})
	err = o.client.UploadIngest(t.Context(), id, []string{"Ext__c", "LastName"}, func(r *IngestRows) error {
		if err := r.Add("A-1", "Doe \"x\",\n é "); err != nil {
			return err
		}
		return r.Add("", IngestNull)
	})
	if want := "\"Ext__c\",\"LastName\"\n\"A-1\",\"Doe \"\"x\"\",\n é \"\n\"\",\"#N/A\"\n"; err != nil || sent != want {
		t.Errorf("sent %q, %v\nwant %q", sent, err, want)
	}
	o.handle("PATCH "+rest+"/jobs/ingest/"+id, func(w http.ResponseWriter, r *http.Request) {
		checkBody(t, r, `{"state":"UploadComplete"}`)
		answer(w, 200, `{"id":"`+id+`","state":"UploadComplete"}`)
	})
	if job, err = o.client.CloseIngest(t.Context(), id); err != nil || job.State != JobUploadComplete {
		t.Errorf("%+v, %v", job, err)
	}
	o.handle("GET "+rest+"/jobs/ingest/"+id, say(200, `{"id":"`+id+`","operation":"upsert","object":"Lead","state":"Failed","numberRecordsProcessed":3,"numberRecordsFailed":1,"errorMessage":"InvalidBatch : Field name not found : Foo"}`))
	job, err = o.client.IngestJob(t.Context(), id)
	if err != nil || job.RecordsProcessed != 3 || job.RecordsFailed != 1 || !HasCode(job.Err(), "InvalidBatch") || !strings.HasPrefix(job.Err().Error(), "bulk ingest of Lead") {
		t.Errorf("%+v, %v, %v", job, err, job.Err())
	}
	o.handle("GET "+rest+"/jobs/ingest/"+id+"/successfulResults", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv; charset=UTF-8")
		_, _ = io.WriteString(w, "\"sf__Id\",\"sf__Created\",\"Ext__c\",\"LastName\"\n\"a00D0000008pQR5IAM\",\"true\",\"A-1\",\"Doe \"\"x\"\",\n é \"\n\"003RO0000035WQgYAM\",\"false\",\"A-2\",\"\"\n")
	})
	var got []string
	for r, err := range o.client.Succeeded(t.Context(), id) {
		if err != nil || !r.Success || r.Err() != nil {
			t.Fatalf("%+v, %v", r, err)
		}
		got = append(got, string(r.ID)+" "+r.Cell("ext__C")+" "+r.Cell("LastName")+r.Cell("nothing"))
		if r.Created != (r.ID == "a00D0000008pQR5IAM") {
			t.Errorf("%s: created %t", r.ID, r.Created)
		}
	}
	if want := []string{"a00D0000008pQR5IAM A-1 Doe \"x\",\n é ", "003RO0000035WQgYAM A-2 "}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	o.handle("GET "+rest+"/jobs/ingest/"+id+"/failedResults", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		_, _ = io.WriteString(w, "\"sf__Id\",\"sf__Error\",\"Ext__c\"\n\"\",\"REQUIRED_FIELD_MISSING:Required fields are missing: [Company]:Company --\",\"A-2\"\n\"\",\"UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 200 records: 001xxx,001yyy:--\",\"A-3\"\n")
	})
	var codes []string
	for r, err := range o.client.Failed(t.Context(), id) {
		if err != nil || r.Success {
			t.Fatalf("%+v, %v", r, err)
		}
		codes = append(codes, r.Errors[0].Code+"|"+r.Errors[0].Message+"|"+strings.Join(r.Errors[0].Fields, ",")+"|"+r.Cell("Ext__c"))
		if IsTransient(r.Err()) != (r.Cell("Ext__c") == "A-3") {
			t.Errorf("%v", r.Err())
		}
	}
	if want := []string{"REQUIRED_FIELD_MISSING|Required fields are missing: [Company]|Company|A-2", "UNABLE_TO_LOCK_ROW|unable to obtain exclusive access to this record or 200 records: 001xxx,001yyy||A-3"}; !slices.Equal(codes, want) {
		t.Errorf("got %q, want %q", codes, want)
	}
	// A file without a line, as for a job without such rows.
	o.handle("GET "+rest+"/jobs/ingest/"+id+"/unprocessedrecords", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
	})
	for r, err := range o.client.Unprocessed(t.Context(), id) {
		t.Errorf("%+v, %v", r, err)
	}
}

// What breaks midway is an error, never a shorter answer.
func TestIngestThatBreaks(t *testing.T) {
	o := newOrg(t)
	o.handle("GET "+rest+"/jobs/ingest/7505f00000Abcde/successfulResults", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		w.Header().Set("Content-Length", "500")
		_, _ = io.WriteString(w, "\"sf__Id\",\"sf__Created\",\"Id\"\n\"a00D0000008pQR5IAM\",\"false\",\"a00D0000008pQR5IAM\"\n\"00Q5f")
	})
	rows, failed := 0, error(nil)
	for _, err := range o.client.Succeeded(t.Context(), "7505f00000Abcde") {
		if err != nil {
			failed = err
			continue
		}
		rows++
	}
	if rows != 1 || !IsTransient(failed) {
		t.Errorf("%d rows, then %v", rows, failed)
	}

	// Rows that cannot be written end the upload with what was wrong with them, and it is not tried again.
	var calls atomic.Int64
	o.handle("PUT "+rest+"/jobs/ingest/7505f00000Abcde/batches", func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if _, err := io.ReadAll(r.Body); err == nil {
			w.WriteHeader(201)
		}
	})
	wrong := errors.New("the row is wrong")
	if err := o.client.UploadIngest(t.Context(), "7505f00000Abcde", []string{"Id"}, func(*IngestRows) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
	err := o.client.UploadIngest(t.Context(), "7505f00000Abcde", []string{"Id"}, func(r *IngestRows) error {
		block := strings.Repeat("x", 1<<20)
		for range 101 {
			if err := r.Add(block); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, ErrIngestTooLarge) || calls.Load() != 2 {
		t.Errorf("got %v after %d calls", err, calls.Load())
	}
	if err := o.client.UploadIngest(t.Context(), "7505f00000Abcde", []string{"Id", "Name"}, func(r *IngestRows) error { return r.Add("only one") }); err == nil || IsTransient(err) {
		t.Errorf("a row that is too short: %v", err)
	}
	if _, err := o.client.IngestJob(t.Context(), ""); err == nil {
		t.Error("a job without an id was asked for")
	}
}

func TestParseIngestError(t *testing.T) {
	for s, want := range map[string]string{
		"STRING_TOO_LONG:First Name: data value too large: abc: def (max length=40):FirstName --": "STRING_TOO_LONG|First Name: data value too large: abc: def (max length=40)|FirstName",
		"FIELD_CUSTOM_VALIDATION_EXCEPTION:Say why: it is needed:--":                              "FIELD_CUSTOM_VALIDATION_EXCEPTION|Say why: it is needed|",
		"DUPLICATES_DETECTED:Use one of these records?:--":                                        "DUPLICATES_DETECTED|Use one of these records?|",
		"INVALID_FIELD:a:A__c, B__c --":                                                           "INVALID_FIELD|a|A__c,B__c",
		"something broke":                                                                         "JOB_FAILED|something broke|",
	} {
		e := parseIngestError(s)
		if got := e.Code + "|" + e.Message + "|" + strings.Join(e.Fields, ","); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}
