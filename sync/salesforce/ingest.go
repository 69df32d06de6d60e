package salesforce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-json-experiment/json"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// IngestOperation is what an ingest job does with its rows.
type IngestOperation string

// The operations of ingest jobs.
const (
	IngestInsert IngestOperation = "insert"
	IngestUpdate IngestOperation = "update"
	IngestUpsert IngestOperation = "upsert"
	IngestDelete IngestOperation = "delete"
)

const (
	// IngestMax is how many bytes of CSV one job takes: Salesforce's bound is 150 MB after base64, which is 100 MB before.
	IngestMax = 100 << 20
	// IngestNull is the cell that clears a field; an empty cell leaves it as it is.
	IngestNull = "#N/A"
)

// ErrIngestTooLarge is the answer to an upload above IngestMax. Nothing of it was taken.
var ErrIngestTooLarge = errors.New("the data are larger than one job takes, 100 MB")

// IngestSafe tells whether a text can go by an ingest job and arrive as it is. A carriage return cannot: where it stands beside line
// breaks of another kind, Salesforce takes the data for broken. Nor can the very text that clears a field. Both go by collections.
func IngestSafe(text string) bool { return text != IngestNull && !strings.Contains(text, "\r") }

// CreateIngestJob asks for a job that writes many records of one object. externalID is the field that an upsert goes by. The
// job does nothing until it was given its data and closed; one whose reply was lost is never closed, and harms nobody.
// IsBulkUnsupported tells the errors after which collections may still write.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/create_job.htm
func (c *Client) CreateIngestJob(ctx context.Context, object string, operation IngestOperation, externalID string) (Job, error) {
	path, err := c.rest(ctx)
	if err != nil {
		return Job{}, err
	}
	payload, err := json.Marshal(struct {
		Object          string          `json:"object"`
		Operation       IngestOperation `json:"operation"`
		ExternalID      string          `json:"externalIdFieldName,omitempty"`
		ContentType     string          `json:"contentType"`
		ColumnDelimiter string          `json:"columnDelimiter"`
		LineEnding      string          `json:"lineEnding"`
	}{object, operation, externalID, "CSV", "COMMA", "LF"})
	if err != nil {
		return Job{}, err
	}
	// An assignment rule runs in a job only if the job names one; the header says the same as on every other write.
	return c.job(ctx, request{op: opIngest + ": create job", method: http.MethodPost, path: path + "/jobs/ingest", body: payload, header: Sending{}.header()})
}

// IngestRows writes the rows of a job; each row has as many cells as there are columns.
type IngestRows struct {
	w     io.Writer
	width int
	size  int
	line  []byte
}

// Add writes one row. A cell is a text, or IngestNull to clear the field, or empty to leave it as it is.
func (r *IngestRows) Add(cells ...string) error {
	if len(cells) != r.width {
		return fmt.Errorf("%s: a row has %d cells and the header %d", opIngest, len(cells), r.width)
	}
	line := r.line[:0]
	for i, cell := range cells {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, '"')
		for {
			quote := strings.IndexByte(cell, '"')
			if quote < 0 {
				break
			}
			line = append(append(line, cell[:quote+1]...), '"')
			cell = cell[quote+1:]
		}
		line = append(append(line, cell...), '"')
	}
	line = append(line, '\n')
	r.line = line
	if r.size += len(line); r.size > IngestMax {
		return ErrIngestTooLarge
	}
	_, err := r.w.Write(line)
	return err
}

// UploadIngest gives a job its data, which stream as they are written. A job takes them once: after an error make another job.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/upload_job_data.htm
func (c *Client) UploadIngest(ctx context.Context, id string, columns []string, rows func(*IngestRows) error) error {
	path, err := c.ingestPath(ctx, id)
	if err != nil {
		return err
	}
	// What is wrong with the rows themselves; the request tells only that its body ended early.
	var wrong atomic.Pointer[error]
	r := request{
		op: opIngest + ": upload", method: http.MethodPut, path: path + "/batches", media: mediaCSV, within: queryWithin,
		stream: func(w io.Writer) error {
			out := &IngestRows{w: w, width: len(columns)}
			err := out.Add(columns...)
			if err == nil {
				err = rows(out)
			}
			if err != nil && !errors.Is(err, io.ErrClosedPipe) {
				wrong.Store(&err)
			}
			return err
		},
	}
	err = c.do(ctx, r, func(rep *reply) error { return rep.Close() })
	if err != nil && wrong.Load() != nil {
		return fmt.Errorf("%s: %w", r.op, *wrong.Load())
	}
	return err
}

// CloseIngest says that a job has all its data; from then on Salesforce works on it.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/close_job.htm
func (c *Client) CloseIngest(ctx context.Context, id string) (Job, error) {
	return c.setIngest(ctx, "close job", id, JobUploadComplete)
}

// AbortIngest gives a job up. What it has saved stays saved.
func (c *Client) AbortIngest(ctx context.Context, id string) error {
	_, err := c.setIngest(ctx, "abort job", id, JobAborted)
	return err
}

func (c *Client) setIngest(ctx context.Context, what, id string, state JobState) (Job, error) {
	path, err := c.ingestPath(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return c.job(ctx, request{op: opIngest + ": " + what, method: http.MethodPatch, path: path, body: []byte(`{"state":"` + string(state) + `"}`)})
}

// IngestJob asks where a job is. A job that ended more than 7 days ago is a NOT_FOUND.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_info.htm
func (c *Client) IngestJob(ctx context.Context, id string) (Job, error) {
	path, err := c.ingestPath(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return c.job(ctx, request{op: opIngest + ": read job", method: http.MethodGet, path: path, again: true})
}

func (c *Client) ingestPath(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", fmt.Errorf("%s: the job has no id", opIngest)
	}
	path, err := c.rest(ctx)
	return path + "/jobs/ingest/" + url.PathEscape(id), err
}

// IngestResult is what became of one row of a job, with the cells that were uploaded.
type IngestResult struct {
	CollectionResult
	columns []string
	cells   [][]byte
}

// Cell gives what was uploaded in a column, by which the caller knows the row again: results come in any order.
func (r IngestResult) Cell(column string) string {
	if i := slices.IndexFunc(r.columns, func(c string) bool { return strings.EqualFold(c, column) }); i >= 0 && i < len(r.cells) {
		return string(r.cells[i])
	}
	return ""
}

// Succeeded streams the rows of a job that were saved.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_successful_results.htm
func (c *Client) Succeeded(ctx context.Context, id string) iter.Seq2[IngestResult, error] {
	return c.ingestResults(ctx, id, "successfulResults")
}

// Failed streams the rows of a job that Salesforce refused, each with the reason.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_failed_results.htm
func (c *Client) Failed(ctx context.Context, id string) iter.Seq2[IngestResult, error] {
	return c.ingestResults(ctx, id, "failedResults")
}

// Unprocessed streams the rows that a job which broke down never came to. They were not saved.
// https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/get_job_unprocessed_results.htm
func (c *Client) Unprocessed(ctx context.Context, id string) iter.Seq2[IngestResult, error] {
	return c.ingestResults(ctx, id, "unprocessedrecords")
}

// ingestResults reads one of a job's result files. The cells of a result are valid until the next one.
func (c *Client) ingestResults(ctx context.Context, id, file string) iter.Seq2[IngestResult, error] {
	return func(yield func(IngestResult, error) bool) {
		path, err := c.ingestPath(ctx, id)
		if err != nil {
			yield(IngestResult{}, err)
			return
		}
		op := opIngest + ": read " + file
		r := request{op: op, method: http.MethodGet, path: path + "/" + file, accept: mediaCSV, again: true, within: queryWithin}
		var rep *reply
		var rows *resultRows
		err = c.do(ctx, r, func(got *reply) error {
			rows = &resultRows{op: op, rep: got, csv: newSplitter(got), expected: -1}
			if err := rows.header(); err != nil {
				_ = got.Close()
				return err
			}
			rep = got
			return nil
		})
		if err != nil {
			yield(IngestResult{}, err)
			return
		}
		defer rep.Close()
		for {
			cells, err := rows.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(IngestResult{}, err)
				return
			}
			result, err := c.ingestResult(op, rows.columns, cells)
			if !yield(result, err) || err != nil {
				return
			}
		}
	}
}

func (c *Client) ingestResult(op string, columns []string, cells [][]byte) (IngestResult, error) {
	r := IngestResult{columns: columns, cells: cells}
	for i, column := range columns {
		switch strings.ToLower(column) {
		case "sf__id":
			if len(cells[i]) == 0 {
				continue
			}
			var err error
			if r.ID, err = sobject.ParseID(string(cells[i])); err != nil {
				return r, &APIError{Op: op, Code: CodeMalformedReply, Message: err.Error()}
			}
		case "sf__created":
			r.Success, r.Created = true, bytes.EqualFold(cells[i], []byte("true"))
		case "sf__error":
			r.Errors = []RecordError{parseIngestError(c.scrub(string(cells[i])))}
		}
	}
	return r, nil
}

// parseIngestError reads "CODE:message:field, field --". The message may hold colons, and the fields may be missing.
func parseIngestError(s string) RecordError {
	s = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "--"))
	code, rest, ok := strings.Cut(s, ":")
	if !ok || code == "" || strings.ContainsAny(code, " \t") {
		return RecordError{Code: CodeJobFailed, Message: s}
	}
	e := RecordError{Code: code, Message: rest}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		e.Message = rest[:i]
		for field := range strings.SplitSeq(rest[i+1:], ",") {
			field = strings.TrimSpace(field)
			if field == "" {
				continue
			}
			if strings.ContainsAny(field, " \t") {
				// No list of fields: the last part belongs to the message.
				return RecordError{Code: code, Message: strings.TrimSpace(rest)}
			}
			e.Fields = append(e.Fields, field)
		}
	}
	return e
}
