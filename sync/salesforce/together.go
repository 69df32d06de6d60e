package salesforce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
	if len(questions) > 1 && !c.noComposite.Load() {
		err := c.queryComposite(ctx, questions, open, each)
		api, answered := errors.AsType[*APIError](err)
		if err != nil && (IsTransient(err) || IsHalting(err) || ctx.Err() != nil || !answered || api.Op == opQuery) {
			return err // what is wrong with one query is no refusal of composite requests
		}
		if err != nil {
			c.noComposite.Store(true)
			c.cfg.Log.Warn("the org refuses composite requests; queries go one by one", "error", err)
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
	tree, err := columnTree(columns)
	if err != nil {
		return false, err
	}
	var answer struct {
		Done    bool           `json:"done"`
		Records jsontext.Value `json:"records"`
	}
	malformedReply := func(err error) error {
		return &APIError{Op: opQuery, Code: CodeMalformedReply, Message: malformed(err)}
	}
	if err := json.Unmarshal(body, &answer, jsonIn); err != nil {
		return false, malformedReply(err)
	}
	if !answer.Done || len(answer.Records) == 0 {
		return answer.Done, nil
	}
	records := newRecordReader(tree, len(columns))
	records.dec = jsontext.NewDecoder(bytes.NewReader(answer.Records), jsonIn)
	if err := expect(records.dec, '['); err != nil {
		return false, malformedReply(err)
	}
	for records.dec.PeekKind() != ']' {
		cells, err := records.next()
		if err != nil {
			return false, malformedReply(err)
		}
		if err := each(cells); err != nil {
			return false, err
		}
	}
	return true, nil
}
