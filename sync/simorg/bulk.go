package simorg

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// The states of a bulk job. A query job starts as UploadComplete and an ingest job as Open; BulkDelay after that, or after
// UploadComplete was said, it is JobComplete or Failed. Aborted is said by the client.
const (
	jobOpen       = "Open"
	jobUploaded   = "UploadComplete"
	jobInProgress = "InProgress"
	jobComplete   = "JobComplete"
	jobFailed     = "Failed"
	jobAborted    = "Aborted"
)

// jobLife is how long a job that has ended is kept.
const jobLife = 7 * 24 * time.Hour

// job is a Bulk 2.0 job, of either kind.
type job struct {
	number              uint64
	ingest              bool
	operation, object   string
	user, version       string
	delimiter           byte
	delimiterName       string
	crlf                bool
	made, started, done time.Time
	state               string
	message             string
	soql                string
	bound               *bound
	result              *result
	upload              *upload
	assign              bool // the job names an assignment rule
}

func (j *job) id() string { return string(appendID(nil, "750", j.number)) }

func (j *job) ended() bool {
	return j.state == jobComplete || j.state == jobFailed || j.state == jobAborted
}

type jobs struct {
	mu   sync.Mutex
	last uint64
	all  map[uint64]*job
}

func (s *jobs) init() { s.all = map[uint64]*job{} }

func (s *jobs) objectOf(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := idNumber(id); ok && s.all[n] != nil {
		return s.all[n].object
	}
	return ""
}

// made counts the jobs of the last 24 hours.
func (s *jobs) made(o *Org, ingest bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.all {
		if j.ingest == ingest && o.age(j.made) < 24*time.Hour {
			n++
		}
	}
	return n
}

// find gives a job of the user and moves it on to the state that it has by now.
func (c *call) job(id string, ingest bool) (*job, error) {
	s := &c.o.jobs
	n, ok := idNumber(id)
	if !ok || !strings.HasPrefix(id, "750") {
		return nil, errNoResource
	}
	s.mu.Lock()
	j := s.all[n]
	s.mu.Unlock()
	if j == nil || j.ingest != ingest || j.user != c.session.user {
		return nil, errNoResource
	}
	if j.ended() && c.o.age(j.done) > jobLife {
		return nil, errNoResource
	}
	c.o.advance(j)
	return j, nil
}

// advance lets time do its work on a job.
func (o *Org) advance(j *job) {
	o.jobs.mu.Lock()
	defer o.jobs.mu.Unlock()
	if j.ended() || j.state == jobOpen {
		return
	}
	if j.state == jobUploaded {
		j.state = jobInProgress
	}
	if o.age(j.started) < o.config.BulkDelay {
		return
	}
	j.done = o.now()
	hit, broken := o.faults.jobFault(j.object)
	if j.ingest {
		most := -1
		if broken {
			most = hit.JobRows
		}
		o.ingest(j, most)
	} else {
		j.state = jobComplete
	}
	if broken {
		j.state, j.message = jobFailed, hit.Message
	}
}

func (c *call) jobJSON(j *job) map[string]any {
	c.o.jobs.mu.Lock()
	defer c.o.jobs.mu.Unlock()
	version, _ := strconv.ParseFloat(j.version, 64)
	ending := "LF"
	if j.crlf {
		ending = "CRLF"
	}
	updated := j.started
	if !j.done.IsZero() {
		updated = j.done
	}
	m := map[string]any{
		"id": j.id(), "operation": j.operation, "object": j.object, "createdById": j.user, "createdDate": string(appendStamp(nil, j.made.UnixMilli(), "+0000")), "systemModstamp": string(appendStamp(nil, updated.UnixMilli(), "+0000")),
		"state": j.state, "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": json.Number(strconv.FormatFloat(version, 'f', 1, 64)), "lineEnding": ending, "columnDelimiter": j.delimiterName,
	}
	if j.message != "" {
		m["errorMessage"] = j.message
	}
	return m
}

func (c *call) pollJSON(j *job) map[string]any {
	m := c.jobJSON(j)
	c.o.jobs.mu.Lock()
	defer c.o.jobs.mu.Unlock()
	m["retries"], m["totalProcessingTime"] = 0, max(0, j.done.Sub(j.started).Milliseconds())
	m["jobType"] = "V2Query"
	processed := 0
	if j.ingest {
		m["jobType"] = "V2Ingest"
		m["apiActiveProcessingTime"], m["apexProcessingTime"] = m["totalProcessingTime"], 0
		m["numberRecordsFailed"] = 0
		if j.upload != nil {
			processed = len(j.upload.succeeded) + len(j.upload.failed)
			m["numberRecordsFailed"] = len(j.upload.failed)
		}
		if j.state == jobOpen {
			m["contentUrl"] = strings.TrimPrefix(c.url("jobs/ingest", j.id(), "batches"), "/")
		}
	} else {
		m["isPkChunkingSupported"] = true
		if j.state == jobComplete {
			processed = j.result.total
		}
	}
	m["numberRecordsProcessed"] = processed
	return m
}

var delimiters = map[string]byte{"COMMA": ',', "TAB": '\t', "SEMICOLON": ';', "PIPE": '|', "CARET": '^', "BACKQUOTE": '`'}

type jobRequest struct {
	Operation       string          `json:"operation"`
	Query           string          `json:"query"`
	Object          string          `json:"object"`
	ContentType     string          `json:"contentType"`
	ColumnDelimiter string          `json:"columnDelimiter"`
	LineEnding      string          `json:"lineEnding"`
	ExternalID      string          `json:"externalIdFieldName"`
	State           string          `json:"state"`
	Rule            json.RawMessage `json:"assignmentRuleId"`
}

// newJob reads what both kinds of job have in common.
func (c *call) newJob(q jobRequest) (*job, error) {
	invalid := func(text string) error { return fail(http.StatusBadRequest, "INVALIDJOB", text) }
	if q.ContentType != "" && q.ContentType != "CSV" {
		return nil, invalid("contentType must be CSV")
	}
	if q.ColumnDelimiter == "" {
		q.ColumnDelimiter = "COMMA"
	}
	d, ok := delimiters[q.ColumnDelimiter]
	if !ok {
		return nil, invalid("ColumnDelimiter " + q.ColumnDelimiter + " is not supported")
	}
	if q.LineEnding != "" && q.LineEnding != "LF" && q.LineEnding != "CRLF" {
		return nil, invalid("LineEnding " + q.LineEnding + " is not supported")
	}
	now := c.o.now()
	return &job{operation: q.Operation, user: c.session.user, version: c.version, delimiter: d, delimiterName: q.ColumnDelimiter, crlf: q.LineEnding == "CRLF", made: now, started: now}, nil
}

func (s *jobs) add(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	j.number = firstNumber + s.last
	s.all[j.number] = j
}

// jobs answers /jobs/query and /jobs/ingest
// (https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/bulk_api_2_0.htm).
func (c *call) jobs(path []string) error {
	kind := lower(path[0])
	ingest := kind == "ingest"
	if !ingest && kind != "query" {
		return errNoResource
	}
	if len(path) == 1 {
		switch c.r.Method {
		case http.MethodPost:
			if ingest {
				return c.createIngest()
			}
			return c.createBulkQuery()
		case http.MethodGet:
			return c.listJobs(ingest)
		}
		return notAllowed(c.r.Method, "GET,POST")
	}
	j, err := c.job(path[1], ingest)
	if err != nil {
		return err
	}
	if j.version != c.version && len(path) > 2 {
		return fail(http.StatusConflict, "API_ERROR", "the job was created with API version "+j.version+" and cannot be used with "+c.version)
	}
	if len(path) == 2 {
		switch c.r.Method {
		case http.MethodGet:
			return c.sendJSON(http.StatusOK, c.pollJSON(j))
		case http.MethodPatch:
			return c.patchJob(j)
		case http.MethodDelete:
			return c.deleteJob(j)
		}
		return notAllowed(c.r.Method, "GET,PATCH,DELETE")
	}
	if len(path) != 3 {
		return errNoResource
	}
	switch what := lower(path[2]); {
	case ingest && what == "batches" && c.r.Method == http.MethodPut:
		return c.uploadBatch(j)
	case ingest && c.r.Method == http.MethodGet:
		return c.ingestResults(j, what)
	case !ingest && what == "results" && c.r.Method == http.MethodGet:
		return c.bulkResults(j)
	case !ingest && what == "resultpages" && c.r.Method == http.MethodGet:
		return c.resultPages(j)
	}
	return errNoResource
}

func (c *call) patchJob(j *job) error {
	var q jobRequest
	if p := c.read(&q); p != nil {
		return p
	}
	s := &c.o.jobs
	s.mu.Lock()
	switch {
	case q.State == jobAborted && !j.ended():
		j.state, j.done = jobAborted, c.o.now()
	case q.State == jobUploaded && j.state == jobOpen && j.upload != nil:
		j.state, j.started = jobUploaded, c.o.now()
		// The work is done even if nobody asks how it goes.
		time.AfterFunc(c.o.config.BulkDelay, func() { c.o.advance(j) })
	case q.State == jobUploaded && j.state == jobOpen:
		s.mu.Unlock()
		return fail(http.StatusBadRequest, "INVALIDJOBSTATE", "no data has been uploaded to the job")
	default:
		s.mu.Unlock()
		return fail(http.StatusBadRequest, "INVALIDJOBSTATE", "the state of the job cannot be changed from "+j.state+" to "+q.State)
	}
	s.mu.Unlock()
	return c.sendJSON(http.StatusOK, c.jobJSON(j))
}

func (c *call) deleteJob(j *job) error {
	s := &c.o.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	if !j.ended() && !(j.ingest && j.state == jobUploaded) {
		return fail(http.StatusBadRequest, "INVALIDJOBSTATE", "a job that is "+j.state+" cannot be deleted")
	}
	delete(s.all, j.number)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// listJobs gives the user's jobs, newest first, 1000 a page.
func (c *call) listJobs(ingest bool) error {
	s := &c.o.jobs
	s.mu.Lock()
	var list []*job
	for _, j := range s.all {
		if j.ingest == ingest && j.user == c.session.user {
			list = append(list, j)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b *job) int { return int(int64(b.number) - int64(a.number)) })
	from, _ := strconv.Atoi(c.r.URL.Query().Get("queryLocator"))
	from = min(max(from, 0), len(list))
	to := min(from+1000, len(list))
	records := []map[string]any{}
	for _, j := range list[from:to] {
		c.o.advance(j)
		m := c.jobJSON(j)
		m["jobType"] = "V2Query"
		if ingest {
			m["jobType"] = "V2Ingest"
		}
		records = append(records, m)
	}
	var next any
	if to < len(list) {
		kind := "query"
		if ingest {
			kind = "ingest"
		}
		next = c.url("jobs", kind) + "?queryLocator=" + strconv.Itoa(to)
	}
	return c.sendJSON(http.StatusOK, map[string]any{"done": next == nil, "records": records, "nextRecordsUrl": next})
}

// createBulkQuery is POST /jobs/query. The rows of the result are those that matched at this moment, as they stood; only what is read
// through relationships and formulas is of the moment when its page is read. Real jobs are no snapshot either.
func (c *call) createBulkQuery() error {
	var q jobRequest
	if p := c.read(&q); p != nil {
		return p
	}
	if q.Operation != "query" && q.Operation != "queryAll" {
		return fail(http.StatusBadRequest, "INVALIDJOB", "operation must be query or queryAll")
	}
	j, err := c.newJob(q)
	if err != nil {
		return err
	}
	statement, perr := parseSOQL(q.Query)
	if perr != nil {
		return soqlProblem(perr, q.Query)
	}
	refused := func(text string) error { return fail(http.StatusBadRequest, "API_ERROR", text) }
	if statement.count {
		return refused("Aggregate Relationships not supported in Bulk Query")
	}
	if statement.offset > 0 {
		return refused("OFFSET is not supported in Bulk Query")
	}
	o := c.o
	o.mu.RLock()
	b := &binder{v: c.view(), src: q.Query, all: q.Operation == "queryAll", bulk: true}
	if j.bound, perr = b.bind(statement, nil); perr == nil {
		if x := j.bound.object; x.noBulk {
			o.mu.RUnlock()
			return fail(http.StatusBadRequest, "INVALIDENTITY", "Entity '"+x.name+"' is not supported by the Bulk API.")
		}
		j.result = b.v.run(j.bound)
		j.object = j.bound.object.name
	}
	o.mu.RUnlock()
	if perr != nil {
		if perr.code == "FEATURENOTENABLED" {
			return refused(perr.message)
		}
		return soqlProblem(perr, q.Query)
	}
	j.soql, j.state = q.Query, jobUploaded
	o.jobs.add(j)
	return c.sendJSON(http.StatusOK, c.jobJSON(j))
}

// A page of results has so many rows unless maxRecords says less.
const bulkPage = 250_000

// locator makes what is opaque to clients: the number of the first row, and how many rows the page has where maxRecords does not
// say, in base 64.
func locator(at, rows int) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d+%d", at, rows))
}

func (j *job) locate(s string) (at, rows int, ok bool) {
	if s == "" {
		return 0, bulkPage, true
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return 0, 0, false
	}
	if n, err := fmt.Sscanf(string(b), "%d+%d", &at, &rows); n != 2 || err != nil {
		return 0, 0, false
	}
	return at, rows, at >= 0 && at <= j.result.total && rows > 0
}

func (j *job) readable() error {
	if j.state != jobComplete {
		return fail(http.StatusBadRequest, "INVALIDJOBSTATE", "the results of a job that is "+j.state+" cannot be read")
	}
	return nil
}

// bulkResults is GET /jobs/query/750…/results (https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_get_job_results.htm).
// Rows are made as they are sent: a page of any size needs the same small memory.
func (c *call) bulkResults(j *job) error {
	if err := j.readable(); err != nil {
		return err
	}
	q := c.r.URL.Query()
	from, most, ok := j.locate(q.Get("locator"))
	if !ok {
		return fail(http.StatusBadRequest, "INVALID_QUERY_LOCATOR", "invalid query locator")
	}
	if s := q.Get("maxRecords"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fail(http.StatusBadRequest, "INVALID_FIELD", "maxRecords must be a positive number")
		}
		most = n
	}
	to := min(from+most, j.result.total)
	next := "null"
	if to < j.result.total {
		next = locator(to, most)
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/csv; charset=UTF-8")
	h.Set("Sforce-Locator", next)
	// Spelt as Salesforce does; Set would write it in Go's way.
	h["Sforce-NumberOfRecords"] = []string{strconv.Itoa(to - from)}
	var w io.Writer = c.w
	if !c.o.config.Plain && takesGzip(c.r) {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		z := zippers.Get().(*gzip.Writer)
		z.Reset(c.w)
		defer func() {
			_ = z.Close()
			zippers.Put(z)
		}()
		w = z
	}
	c.w.WriteHeader(http.StatusOK)
	if j.result.total == 0 && c.o.config.EmptyBody {
		return nil
	}
	c.writeCSV(w, j, from, to)
	return nil
}

func (c *call) writeCSV(w io.Writer, j *job, from, to int) {
	end := "\n"
	if j.crlf {
		end = "\r\n"
	}
	const flushAt = 64 << 10
	out := make([]byte, 0, flushAt+(16<<10))
	for k, col := range j.bound.columns {
		if k > 0 {
			out = append(out, j.delimiter)
		}
		out = append(out, '"')
		out = append(out, col.name...)
		out = append(out, '"')
	}
	out = append(out, end...)
	v := c.view()
	columns := j.bound.columns
	simple := make([]*field, len(columns))
	for k, col := range columns {
		if len(col.steps) == 0 && col.fn == nil {
			simple[k] = col.f
		}
	}
	const stride = 512
	for at := from; at < to; at += stride {
		// The lock is held while rows are made and never while they are sent: a slow reader holds up nobody.
		next := at
		for next < min(at+stride, to) {
			c.o.mu.RLock()
			j.result.each(v, next, min(at+stride, to), func(r row) bool {
				v.reset()
				b := out // a local slice: the captured one would be written back at every append
				for k, col := range columns {
					if k > 0 {
						b = append(b, j.delimiter)
					}
					if f := simple[k]; f != nil {
						b = v.get(r, f).appendCSV(b)
					} else {
						b = v.value(r, col).appendCSV(b)
					}
				}
				out = append(b, end...)
				next++
				return len(out) < flushAt
			})
			c.o.mu.RUnlock()
			if len(out) >= flushAt {
				if _, err := w.Write(out); err != nil {
					return
				}
				out = out[:0]
			}
		}
	}
	_, _ = w.Write(out)
}

// resultPages is GET /jobs/query/750…/resultPages: five locators at a time, which can be read side by side.
func (c *call) resultPages(j *job) error {
	if c.oldVersion(58) {
		return errNoResource
	}
	if err := j.readable(); err != nil {
		return err
	}
	at, _, ok := j.locate(c.r.URL.Query().Get("locator"))
	if !ok {
		return fail(http.StatusBadRequest, "INVALID_QUERY_LOCATOR", "invalid query locator")
	}
	// Pages for reading in parallel are smaller than the one that a single reader gets.
	const each = 50_000
	root := c.url("jobs/query", j.id())
	pages := []map[string]string{}
	for k := 0; k < 5 && (at < j.result.total || at == 0 && k == 0); k++ {
		pages = append(pages, map[string]string{"resultUrl": root + "/results?locator=" + locator(at, each)})
		at += each
	}
	m := map[string]any{"resultPages": pages, "done": at >= j.result.total}
	if at < j.result.total {
		m["nextRecordsUrl"] = root + "/resultPages?locator=" + locator(at, each)
	}
	return c.sendJSON(http.StatusOK, m)
}
