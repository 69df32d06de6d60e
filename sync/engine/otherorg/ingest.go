package otherorg

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ingest is a Bulk job that writes.
type ingest struct {
	object         *object
	operation, key string
	state, message string
	crlf           bool
	data           []byte
	header         []string
	rows           [][]string // that it has not come to
	looks          int        // how often it was looked at since it was closed
	failAfter      int        // rows; -1 for a job that does not break
	good, bad      [][]string // of the result files, with their first two cells
	how            http.Header
}

func (o *Org) ingest(w http.ResponseWriter, r *http.Request, part []string, body []byte) {
	if len(part) == 0 {
		o.makeIngest(w, r, body)
		return
	}
	id := part[0]
	j := o.ingests[id]
	if j == nil {
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	switch {
	case len(part) == 2 && part[1] == "batches" && r.Method == "PUT":
		if j.state != "Open" || j.data != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/csv") {
			o.strange = append(o.strange, "data for an ingest job that is "+j.state)
			o.refuse(w, r, 400, "INVALIDJOBSTATE", "the job takes its data once, as CSV, while it is open")
			return
		}
		j.data = body
		w.WriteHeader(201)
	case len(part) == 1 && r.Method == "PATCH":
		var ask struct{ State string }
		_ = json.Unmarshal(body, &ask)
		switch {
		case ask.State == "UploadComplete" && j.state == "Open" && j.data != nil:
			j.state = "UploadComplete"
			j.read()
		case ask.State == "Aborted" && j.state != "JobComplete" && j.state != "Failed":
			j.state = "Aborted"
		default:
			o.refuse(w, r, 400, "INVALIDJOBSTATE", "Invalid job state change from "+j.state+" to "+ask.State)
			return
		}
		o.ingestJob(w, r, id)
	case len(part) == 1 && r.Method == "GET":
		o.work(j)
		o.ingestJob(w, r, id)
	case len(part) == 1 && r.Method == "DELETE":
		delete(o.ingests, id)
		w.WriteHeader(204)
	case len(part) == 2 && r.Method == "GET" && (j.state == "JobComplete" || j.state == "Failed" || j.state == "Aborted"):
		o.ingestFile(w, r, j, strings.ToLower(part[1]))
	default:
		o.refuse(w, r, 400, "INVALIDJOBSTATE", "the job is "+j.state)
	}
}

func (o *Org) makeIngest(w http.ResponseWriter, r *http.Request, body []byte) {
	var ask struct{ Object, Operation, ExternalIDFieldName, ContentType, LineEnding, ColumnDelimiter string }
	if r.Method != "POST" || json.Unmarshal(body, &ask) != nil || ask.ContentType != "" && ask.ContentType != "CSV" || ask.ColumnDelimiter != "" && ask.ColumnDelimiter != "COMMA" {
		o.strange = append(o.strange, r.Method+" "+r.URL.Path)
		o.refuse(w, r, 400, "INVALIDJOB", "what is this")
		return
	}
	d := o.objects[ask.Object]
	if d == nil || d.hidden || d.noBulk {
		o.refuse(w, r, 400, "INVALIDENTITY", "Entity '"+ask.Object+"' is not supported by the Bulk API.")
		return
	}
	j := &ingest{object: d, operation: ask.Operation, key: "Id", state: "Open", crlf: ask.LineEnding == "CRLF", failAfter: -1, how: r.Header}
	switch ask.Operation {
	case "insert":
		j.key = ""
	case "update", "delete":
	case "upsert":
		f, known := d.field(ask.ExternalIDFieldName)
		if !known || !f.key {
			o.refuse(w, r, 400, "INVALIDJOB", "InvalidJob : External ID was blank for "+d.name+". An External ID must be specified for upsert.")
			return
		}
		j.key = f.Name
	default:
		o.refuse(w, r, 400, "INVALIDJOB", "operation "+ask.Operation+" is not supported")
		return
	}
	o.serial++
	id := ID("750", o.serial)
	o.ingests[id] = j
	o.ingestJob(w, r, id)
}

func (o *Org) ingestJob(w http.ResponseWriter, r *http.Request, id string) {
	j := o.ingests[id]
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000+0000")
	answer := map[string]any{
		"state": j.state, "id": id, "operation": j.operation, "object": j.object.name, "createdById": ID("005", 1), "createdDate": at, "systemModstamp": at, "concurrencyMode": "Parallel", "contentType": "CSV",
		"apiVersion": 64.0, "contentUrl": "services/data/v64.0/jobs/ingest/" + id + "/batches", "lineEnding": "LF", "columnDelimiter": "COMMA",
	}
	if j.state != "Open" {
		answer["jobType"], answer["numberRecordsProcessed"], answer["numberRecordsFailed"] = "V2Ingest", len(j.good)+len(j.bad), len(j.bad)
	}
	if j.message != "" {
		answer["errorMessage"] = j.message
	}
	o.json(w, r, answer)
}

// read takes a job's data apart.
func (j *ingest) read() {
	fail := func(message string) { j.state, j.message = "Failed", message }
	if bytes.ContainsRune(j.data, '\r') != j.crlf {
		fail("ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF")
		return
	}
	rows, err := csv.NewReader(bytes.NewReader(j.data)).ReadAll()
	if err != nil || len(rows) == 0 {
		fail(fmt.Sprintf("InvalidBatch : %v", err))
		return
	}
	j.header, j.rows = rows[0], rows[1:]
	for _, name := range j.header {
		if _, known := j.object.field(name); !known {
			fail("InvalidBatch : Field name not found : " + name)
			return
		}
	}
	if j.operation == "delete" && len(j.header) != 1 {
		fail("InvalidBatch : a delete takes the column Id alone")
	}
}

// work moves a job on: the first look finds it waiting, the second at work with the half of its rows done, the third at its end.
func (o *Org) work(j *ingest) {
	if j.state != "UploadComplete" && j.state != "InProgress" {
		return
	}
	j.looks++
	var n int
	switch j.looks {
	case 1:
		if t, hit := o.met(func(t *Trouble) bool { return t.Breaks && (t.Object == "" || t.Object == j.object.name) }); hit {
			j.failAfter, j.message = t.Rows, t.Message
		}
		return
	case 2:
		j.state, n = "InProgress", len(j.rows)/2
	default:
		j.state, n = "JobComplete", len(j.rows)
	}
	if j.failAfter >= 0 && len(j.good)+len(j.bad)+n > j.failAfter {
		j.state, n = "Failed", j.failAfter-len(j.good)-len(j.bad)
	}
	for _, cells := range j.rows[:n] {
		id, made, no := o.ingestRow(j, cells)
		if no != nil {
			j.bad = append(j.bad, append([]string{id, no.code + ":" + no.message + ":" + strings.Join(no.fields, ", ") + " --"}, cells...))
			continue
		}
		j.good = append(j.good, append([]string{id, fmt.Sprint(made)}, cells...))
	}
	if j.rows = j.rows[n:]; j.state != "Failed" {
		j.message = ""
	}
}

func (o *Org) ingestRow(j *ingest, cells []string) (id string, made bool, _ *refusal) {
	d := j.object
	set := map[string]any{}
	for i, name := range j.header {
		f, _ := d.field(name)
		switch {
		case f.Name == "Id":
			id = cells[i]
		case cells[i] == "":
		case cells[i] == "#N/A":
			set[f.Name] = nil
		default:
			set[f.Name] = cells[i]
		}
	}
	var row map[string]any
	switch j.operation {
	case "delete":
		return id, false, o.remove(d, id)
	case "upsert":
		f, _ := d.field(j.key)
		key, _ := set[f.Name].(string)
		if key == "" {
			return "", false, &refusal{code: "MISSING_ARGUMENT", message: f.Name + " not specified"}
		}
		if row = d.byKey(f, key); row != nil {
			delete(set, f.Name)
		}
	case "update":
		if row = d.at(id); row == nil {
			return id, false, &refusal{code: "INVALID_CROSS_REFERENCE_KEY", message: "invalid cross reference id"}
		}
	}
	made = row == nil
	row, no := o.save(d, row, set, j.how)
	if no != nil {
		return id, false, no
	}
	return row["Id"].(string), made, nil
}

// ingestFile gives a result file, last row first. Only cells that need it are quoted; a file without rows is empty, but for that of rows the job
// did not come to.
func (o *Org) ingestFile(w http.ResponseWriter, r *http.Request, j *ingest, name string) {
	var b bytes.Buffer
	out := csv.NewWriter(&b)
	list := func(rows [][]string, header ...string) {
		if len(rows) > 0 || len(header) == 0 {
			_ = out.Write(append(header, j.header...))
		}
		for i := range rows {
			_ = out.Write(rows[len(rows)-1-i])
		}
	}
	switch name {
	case "successfulresults":
		list(j.good, "sf__Id", "sf__Created")
	case "failedresults":
		list(j.bad, "sf__Id", "sf__Error")
	case "unprocessedrecords":
		list(j.rows)
	default:
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	out.Flush()
	o.reply(w, r, 200, "text/csv; charset=UTF-8", b.Bytes())
}
