package salesforce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// What begins the words for what is being done, in every error of the Bulk API.
const (
	opBulk   = "bulk query"
	opIngest = "bulk ingest"

	opCreateJob = ": create job" // ends it
)

// JobState is where a Bulk job is.
type JobState string

// The states of a job. Salesforce moves a job on; aborting one, and closing one that takes data, is the caller's.
const (
	JobOpen           JobState = "Open"           // takes data; of ingest jobs
	JobUploadComplete JobState = "UploadComplete" // queued
	JobInProgress     JobState = "InProgress"
	JobComplete       JobState = "JobComplete" // results can be read, for 7 days
	JobFailed         JobState = "Failed"
	JobAborted        JobState = "Aborted"
)

// Ended tells whether the job's state is its last.
func (s JobState) Ended() bool { return s == JobComplete || s == JobFailed || s == JobAborted }

// Job is a job of Bulk API 2.0.
type Job struct {
	ID               string
	Operation        string // query, queryAll, insert, update, upsert, delete
	Object           string
	State            JobState
	CreatedAt        time.Time
	RecordsProcessed int64
	RecordsFailed    int64 // of those processed; ingest jobs only
	Retries          int
	Took             time.Duration
	ErrorMessage     string
}

// Err gives an error for a job that ended without an answer, nil for any other.
func (j Job) Err() error {
	if j.State != JobFailed && j.State != JobAborted {
		return nil
	}
	op := opBulk
	if j.Operation != "" && !strings.HasPrefix(j.Operation, "query") {
		op = opIngest
	}
	e := &APIError{Op: op + " of " + j.Object, Code: CodeJobFailed, Message: j.ErrorMessage}
	// Jobs write "Code : message".
	if code, message, ok := strings.Cut(j.ErrorMessage, " : "); ok && code != "" && !strings.Contains(code, " ") {
		e.Code, e.Message = code, message
	}
	if e.Message == "" {
		e.Message = "the job " + j.ID + " ended as " + string(j.State)
	}
	return e
}

type jobAnswer struct {
	ID               string   `json:"id"`
	Operation        string   `json:"operation"`
	Object           string   `json:"object"`
	State            JobState `json:"state"`
	CreatedDate      stamp    `json:"createdDate"`
	RecordsProcessed int64    `json:"numberRecordsProcessed"`
	RecordsFailed    int64    `json:"numberRecordsFailed"`
	Retries          int      `json:"retries"`
	Took             int64    `json:"totalProcessingTime"` // milliseconds
	ErrorMessage     string   `json:"errorMessage"`
}

func (a jobAnswer) job() Job {
	return Job{
		ID: a.ID, Operation: a.Operation, Object: a.Object, State: a.State, CreatedAt: a.CreatedDate.at,
		RecordsProcessed: a.RecordsProcessed, RecordsFailed: a.RecordsFailed, Retries: a.Retries, Took: time.Duration(a.Took) * time.Millisecond, ErrorMessage: a.ErrorMessage,
	}
}

// CreateQueryJob asks Bulk API 2.0 to run a query; all reads deleted and archived records too. Leave out ORDER BY, which
// makes the org read in one piece. The call is not repeated unless Salesforce surely did not take it: a reply that got
// lost leaves a job behind that nobody reads and that ends by itself, and the caller sees a transient error.
// IsBulkUnsupported tells the errors after which REST may still answer.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_create_job.htm
func (c *Client) CreateQueryJob(ctx context.Context, soql string, all bool) (Job, error) {
	path, err := c.rest(ctx)
	if err != nil {
		return Job{}, err
	}
	ask := struct {
		Operation       string `json:"operation"`
		Query           string `json:"query"`
		ContentType     string `json:"contentType"`
		ColumnDelimiter string `json:"columnDelimiter"`
		LineEnding      string `json:"lineEnding"`
	}{"query", soql, "CSV", "COMMA", "LF"}
	if all {
		ask.Operation = "queryAll"
	}
	payload, err := json.Marshal(ask)
	if err != nil {
		return Job{}, fmt.Errorf("%s: the query is no text: %w", opBulk, err)
	}
	return c.job(ctx, request{op: opBulk + opCreateJob, method: http.MethodPost, path: path + "/jobs/query", body: payload})
}

// QueryJob asks where a job is. A job that ended more than 7 days ago is a NOT_FOUND.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_get_one_job.htm
func (c *Client) QueryJob(ctx context.Context, id string) (Job, error) {
	path, err := c.jobPath(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return c.job(ctx, request{op: opBulk + ": read job", method: http.MethodGet, path: path, again: true})
}

// AbortQueryJob stops a job. One that has ended already is an error of Salesforce's.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_abort_job.htm
func (c *Client) AbortQueryJob(ctx context.Context, id string) error {
	path, err := c.jobPath(ctx, id)
	if err != nil {
		return err
	}
	_, err = c.job(ctx, request{op: opBulk + ": abort job", method: http.MethodPatch, path: path, body: []byte(`{"state":"Aborted"}`), again: true})
	return err
}

// DeleteQueryJob removes a job that has ended, with its results. One that is gone already is no error.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_delete_job.htm
func (c *Client) DeleteQueryJob(ctx context.Context, id string) error {
	path, err := c.jobPath(ctx, id)
	if err != nil {
		return err
	}
	err = c.do(ctx, request{op: opBulk + ": delete job", method: http.MethodDelete, path: path, again: true}, func(rep *reply) error { return rep.Close() })
	if api, ok := errors.AsType[*APIError](err); ok && api.Status == http.StatusNotFound && !api.html {
		return nil
	}
	return err
}

func (c *Client) jobPath(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", fmt.Errorf("%s: the job has no id", opBulk)
	}
	path, err := c.rest(ctx)
	return path + "/jobs/query/" + url.PathEscape(id), err
}

func (c *Client) job(ctx context.Context, r request) (Job, error) {
	r.accept = mediaJSON
	var answer jobAnswer
	if err := c.do(ctx, r, c.into(r.op, &answer)); err != nil {
		return Job{}, err
	}
	if answer.ID == "" {
		return Job{}, &APIError{Op: r.op, Code: CodeMalformedReply, Message: "the reply holds no job id"}
	}
	return answer.job(), nil
}

// ResultPage is one page of a job's records, still on its way. Whoever gets it closes it.
type ResultPage struct {
	// Locator names the page after this one; empty on the last. It is known before a record is read, so that the next page
	// can be asked for early, and it can be used again as long as the job exists.
	Locator string
	// NumberOfRecords is what Salesforce says the page holds; -1 where it does not say.
	NumberOfRecords int
	// Rows streams the records. It gives io.EOF only after as many records as were announced; else a transient error.
	Rows sobject.Rows

	rep *reply
}

// Close ends the page; records that were not read are not waited for.
func (p *ResultPage) Close() error { return p.rep.Close() }

// QueryResults asks for a page of a finished job's records, from locator on ("" is the first page), of at most maxRecords
// records (0: as many as Salesforce likes). The records stream from the connection as they are read; Columns are the
// page's own header line. An empty page has no columns if Salesforce sends no header line either.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/query_get_job_results.htm
func (c *Client) QueryResults(ctx context.Context, jobID, locator string, maxRecords int) (*ResultPage, error) {
	path, err := c.jobPath(ctx, jobID)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if locator != "" {
		query.Set("locator", locator)
	}
	if maxRecords > 0 {
		query.Set("maxRecords", strconv.Itoa(maxRecords))
	}
	op := opBulk + ": read results"
	r := request{
		op: op, method: http.MethodGet, path: path + "/results", query: query.Encode(),
		accept: mediaCSV, again: true, within: queryWithin,
	}
	var page *ResultPage
	err = c.do(ctx, r, func(rep *reply) error {
		p := &ResultPage{NumberOfRecords: -1, rep: rep}
		if l := rep.header.Get("Sforce-Locator"); l != "null" { // the word, on the last page
			p.Locator = l
		}
		if n, err := strconv.Atoi(rep.header.Get("Sforce-NumberOfRecords")); err == nil {
			p.NumberOfRecords = n
		}
		rows := &resultRows{op: op, rep: rep, csv: newSplitter(rep), expected: p.NumberOfRecords}
		if err := rows.header(); err != nil {
			_ = rep.Close()
			return err
		}
		p.Rows = rows
		page = p
		return nil
	})
	return page, err
}

// resultRows reads the records of a CSV page and counts them.
type resultRows struct {
	op       string
	rep      *reply
	csv      *splitter
	columns  []string
	expected int
	read     int
	err      error
}

func (r *resultRows) header() error {
	cells, err := r.csv.next()
	if err == io.EOF {
		r.err = r.end()
		if r.err != io.EOF {
			return r.err
		}
		return nil
	}
	if err != nil {
		return r.failed(err)
	}
	r.columns = make([]string, len(cells))
	for i, cell := range cells {
		r.columns[i] = string(cell)
	}
	return nil
}

// Columns names the cells, as the page's header line does.
func (r *resultRows) Columns() []string { return r.columns }

// Next gives a record's cells; see sobject.Rows.
func (r *resultRows) Next() ([][]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	cells, err := r.csv.next()
	switch {
	case err == io.EOF:
		r.err = r.end()
		return nil, r.err
	case err != nil:
		r.err = r.failed(err)
		return nil, r.err
	case len(cells) != len(r.columns):
		r.err = r.failed(&csvError{record: r.csv.records, reason: fmt.Sprintf("it has %d cells and the header %d", len(cells), len(r.columns))})
		if r.csv.unfinished {
			r.err = r.rep.fail(io.ErrUnexpectedEOF) // the page ends in the middle of this record
		}
		return nil, r.err
	}
	r.read++
	return cells, nil
}

// end compares what came with what was announced.
func (r *resultRows) end() error {
	if r.expected < 0 || r.read == r.expected {
		return io.EOF
	}
	return &APIError{
		Op: r.op, Status: r.rep.status, Code: CodeRecordsMissing,
		Message: fmt.Sprintf("the page was announced with %d records and held %d", r.expected, r.read),
	}
}

func (r *resultRows) failed(err error) error {
	if r.rep.err != nil && r.rep.err != io.EOF {
		return r.rep.err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return r.rep.fail(err)
	}
	code := CodeMalformedReply
	if errors.Is(err, errRecordTooLarge) {
		code = CodeRecordTooLarge
	}
	return &APIError{Op: r.op, Status: r.rep.status, Code: code, Message: err.Error()}
}
