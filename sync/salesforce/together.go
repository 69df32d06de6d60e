package salesforce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// opQuery is what is being done in the error of one query.
const opQuery = "query"

// QueriesMax is how many queries one call of QueryTogether makes.
const QueriesMax = 5

// Question is one of the queries that go together. Columns are as for QueryRows.
type Question struct {
	Columns []string
	SOQL    string
}

// QueryTogether runs up to QueriesMax queries for little by one call, which reads no deleted records. each is called with the number of
// the question and the cells of one record, which are valid until it returns; it may see a record of a question again from its first
// one on, where the answer had to be asked for anew. An org that refuses composite requests is asked for each query alone.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm
func (c *Client) QueryTogether(ctx context.Context, questions []Question, each func(i int, cells [][]byte) error) error {
	if len(questions) > QueriesMax {
		return fmt.Errorf("query: %d queries together, and Salesforce takes %d", len(questions), QueriesMax)
	}
	open := map[int]bool{}
	for i := range questions {
		open[i] = true
	}
	var refused error
	if len(questions) > 1 && !c.noComposite.Load() && !c.noQueries.Load() {
		err := c.queryComposite(ctx, questions, open, each)
		api, answered := errors.AsType[*APIError](err)
		if err != nil && (IsTransient(err) || IsHalting(err) || ctx.Err() != nil || !answered || api.Op == opQuery) {
			return err // what is wrong with one query is no refusal of composite requests
		}
		if isMissing(err) {
			c.noComposite.Store(true)
			c.cfg.Log.Warn("the org refuses composite requests; queries go one by one", "error", err)
		} else if err != nil && api.Code != CodeMalformedReply {
			refused = err
		}
	}
	for i, q := range questions {
		if !open[i] {
			continue
		}
		for page, err := range c.QueryRows(ctx, q.Columns, q.SOQL, false) {
			for err == nil {
				var cells [][]byte
				if cells, err = page.Rows.Next(); err == nil {
					err = each(i, cells)
				}
			}
			if err != io.EOF {
				return err
			}
		}
	}
	if refused != nil && !c.noQueries.Swap(true) {
		// Alone they are answered: it is not asked for them together again.
		c.cfg.Log.Warn("the org refuses several queries by one call; they go one by one", "error", refused)
	}
	return nil
}

// queryComposite sends one call, and takes the questions that it answered whole out of open.
func (c *Client) queryComposite(ctx context.Context, questions []Question, open map[int]bool, each func(int, [][]byte) error) error {
	path, err := c.rest(ctx)
	if err != nil {
		return err
	}
	var call struct {
		AllOrNone        bool               `json:"allOrNone"`
		CompositeRequest []compositeRequest `json:"compositeRequest"`
	}
	for i, q := range questions {
		call.CompositeRequest = append(call.CompositeRequest, compositeRequest{Method: http.MethodGet, URL: path + "/query?q=" + escapeSOQL(q.SOQL), ReferenceID: "q" + strconv.Itoa(i)})
	}
	payload, err := json.Marshal(call)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("%d queries", len(questions))
	var parts []compositeReply
	r := request{op: op, method: http.MethodPost, path: path + "/composite", body: payload, accept: mediaJSON, again: true, within: queryWithin}
	err = c.do(ctx, r, func(rep *reply) error {
		defer rep.Close()
		parts = parts[:0]
		return rep.jsonError(op, eachElement(rep, "compositeResponse", func(dec *jsontext.Decoder) error {
			var part compositeReply
			if err := json.UnmarshalDecode(dec, &part, jsonIn); err != nil {
				return err
			}
			part.Body = bytes.Clone(part.Body)
			parts = append(parts, part)
			return nil
		}))
	})
	if err != nil {
		return err
	}
	for _, part := range parts {
		i, err := strconv.Atoi(strings.TrimPrefix(part.ReferenceID, "q"))
		if err != nil || i < 0 || i >= len(questions) {
			continue
		}
		if part.HTTPStatusCode < 200 || part.HTTPStatusCode > 299 {
			api := &APIError{Op: opQuery, Method: http.MethodGet, Status: part.HTTPStatusCode}
			api.parseErrorBody(mediaJSON, part.Body)
			api.Message = c.scrub(api.Message)
			if api.Status == http.StatusRequestURITooLong {
				continue // asked alone, it may fit
			}
			return api
		}
		whole, err := eachRecord(part.Body, questions[i].Columns, func(cells [][]byte) error { return each(i, cells) })
		if err != nil {
			return err
		}
		if whole {
			delete(open, i)
		}
	}
	return nil
}

// eachRecord gives the records of a query's answer, and tells whether it holds all of them.
func eachRecord(body []byte, columns []string, each func([][]byte) error) (whole bool, err error) {
	var answer struct {
		Done    bool           `json:"done"`
		Records jsontext.Value `json:"records"`
	}
	if err := json.Unmarshal(body, &answer, jsonIn); err != nil {
		return false, &APIError{Op: opQuery, Code: CodeMalformedReply, Message: malformed(err)}
	}
	if !answer.Done || len(answer.Records) == 0 {
		return answer.Done, nil
	}
	return true, eachOf(answer.Records, columns, each)
}

// UpdateAndRead is UpdateRecords, and reads the records by the same call, where the org takes all together: right before it writes them, and
// after it, what it made of the values, and its stamps. before and after are called with the cells of those that came; none come where the org
// does not, or where an outcome has to be asked for anew.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm
func (c *Client) UpdateAndRead(ctx context.Context, object string, records []Record, columns []string, how Sending, before, after func(cells [][]byte) error) ([]CollectionResult, error) {
	if c.noComposite.Load() || c.noTogether.Load() || c.noCollections.Load() || len(records) == 0 || len(records) > CollectionMax {
		return c.UpdateRecords(ctx, records, how)
	}
	const op = "update records"
	path, err := c.rest(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]sobject.ID, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	headers := map[string]string{}
	for name, values := range how.header() {
		headers[name] = values[0]
	}
	if c.cfg.ClientName != "" {
		headers["Sforce-Call-Options"] = "client=" + c.cfg.ClientName
	}
	type part struct {
		Method      string            `json:"method"`
		URL         string            `json:"url"`
		ReferenceID string            `json:"referenceId"`
		HTTPHeaders map[string]string `json:"httpHeaders,omitempty"`
		Body        any               `json:"body"`
	}
	read := map[string]any{"ids": ids, "fields": columns}
	payload, err := json.Marshal(map[string]any{"allOrNone": false, "compositeRequest": []part{
		{http.MethodPost, path + "/composite/sobjects/" + url.PathEscape(object), "b", nil, read},
		{http.MethodPatch, path + "/composite/sobjects", "w", headers, map[string]any{"allOrNone": how.AllOrNone, "records": records}},
		{http.MethodPost, path + "/composite/sobjects/" + url.PathEscape(object), "r", nil, read},
	}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if bytes.Contains(payload, []byte("@{")) {
		// A text that looks like a reference to another part would be taken for one.
		return c.UpdateRecords(ctx, records, how)
	}
	parts := map[string]compositeReply{}
	r := request{op: op, method: http.MethodPost, path: path + "/composite", body: payload, accept: mediaJSON, within: queryWithin}
	err = c.do(ctx, r, func(rep *reply) error {
		defer rep.Close()
		return rep.jsonError(op, eachElement(rep, "compositeResponse", func(dec *jsontext.Decoder) error {
			var part compositeReply
			if err := json.UnmarshalDecode(dec, &part, jsonIn); err != nil {
				return err
			}
			part.Body = bytes.Clone(part.Body)
			parts[part.ReferenceID] = part
			return nil
		}))
	})
	if isMissing(err) {
		c.noComposite.Store(true)
		c.cfg.Log.Warn("the org refuses composite requests; records are written without being read back", "error", err)
	}
	if api, ok := errors.AsType[*APIError](err); ok && !IsTransient(err) && !IsHalting(err) && api.Code != CodeMalformedReply && ctx.Err() == nil {
		results, err := c.UpdateRecords(ctx, records, how)
		if err == nil && !c.noComposite.Load() && !c.noTogether.Swap(true) {
			// It takes the records, and not all together: it is not asked in vain again.
			c.cfg.Log.Warn("the org refuses to write and read records by one call; they are written without being read back", "error", api)
		}
		return results, err
	}
	if err != nil {
		return nil, err
	}
	written, ok := parts["w"]
	if !ok {
		return nil, &APIError{Op: op, Code: CodeMalformedReply, Message: "the composite reply leaves the records out"}
	}
	if written.HTTPStatusCode < 200 || written.HTTPStatusCode > 299 {
		api := &APIError{Op: op, Method: http.MethodPatch, Status: written.HTTPStatusCode}
		api.parseErrorBody(mediaJSON, written.Body)
		api.Message = c.scrub(api.Message)
		if isMissing(api) {
			c.noTogether.Store(true)
			return c.UpdateRecords(ctx, records, how)
		}
		return nil, api
	}
	var answer []collectionAnswer
	if err := json.Unmarshal(written.Body, &answer, jsonIn); err != nil {
		return nil, &APIError{Op: op, Code: CodeMalformedReply, Message: malformed(err)}
	}
	results, err := c.collectionResults(op, ids, answer)
	for _, of := range []struct {
		part string
		each func([][]byte) error
	}{{"b", before}, {"r", after}} {
		if part, ok := parts[of.part]; err == nil && ok && part.HTTPStatusCode == http.StatusOK {
			err = eachOf(part.Body, columns, of.each)
		}
	}
	return results, err
}

// eachOf gives the records of a list, and leaves out its empty places.
func eachOf(list jsontext.Value, columns []string, each func([][]byte) error) error {
	tree, err := columnTree(columns)
	if err != nil {
		return err
	}
	malformedReply := func(err error) error {
		return &APIError{Op: opQuery, Code: CodeMalformedReply, Message: malformed(err)}
	}
	records := newRecordReader(tree, len(columns))
	records.dec = jsontext.NewDecoder(bytes.NewReader(list), jsonIn)
	if err := expect(records.dec, '['); err != nil {
		return malformedReply(err)
	}
	for records.dec.PeekKind() != ']' {
		if records.dec.PeekKind() == 'n' {
			if err := records.dec.SkipValue(); err != nil {
				return malformedReply(err)
			}
			continue
		}
		cells, err := records.next()
		if err != nil {
			return malformedReply(err)
		}
		if err := each(cells); err != nil {
			return err
		}
	}
	return nil
}
