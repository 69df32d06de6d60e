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
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// CollectionMax is how many records one call creates, updates, upserts or deletes.
	CollectionMax = 200
	// RetrieveMax is how many records one call of Retrieve reads.
	RetrieveMax = 2000
)

// Value is what a field is set to, as JSON. The zero Value is Null.
type Value struct{ raw jsontext.Value }

// Null clears a field.
var Null Value

// Text sets a text, a picklist, a date or a time, or a reference by its id. The empty text clears the field.
func Text(s string) Value {
	if s == "" {
		return Null
	}
	raw, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		// Bytes that are no UTF-8 would be replaced by another character: refused where the value is sent.
		return Value{raw: jsontext.Value("!")}
	}
	return Value{raw: raw}
}

// Bool sets a checkbox.
func Bool(b bool) Value { return Value{raw: jsontext.Value(strconv.FormatBool(b))} }

// Number sets a number, digit by digit as it is written: it never becomes a float.
func Number(text string) (Value, error) {
	raw := jsontext.Value(text)
	if !raw.IsValid() || raw.Kind() != '0' {
		return Null, fmt.Errorf("%q is not a number", text)
	}
	return Value{raw: raw}, nil
}

// By sets a relationship ("Account") to the record whose external id field has a value.
func By(externalID, value string) (Value, error) {
	raw, err := json.Marshal(map[string]string{externalID: value})
	return Value{raw: raw}, err
}

// MarshalJSONTo writes the value.
func (v Value) MarshalJSONTo(enc *jsontext.Encoder) error {
	if v.raw == nil {
		return enc.WriteToken(jsontext.Null)
	}
	if !v.raw.IsValid() {
		return errors.New("the text is not UTF-8")
	}
	return enc.WriteValue(v.raw)
}

// Record is a record on its way to Salesforce. Only the fields in it are touched.
type Record struct {
	Object string
	ID     sobject.ID // of an update
	Fields map[string]Value
	// Unmodified is when the record was last changed as far as the caller knows. Where records are updated by a call each, one that was changed
	// later is refused with CodePrecondition; collections have no such condition.
	Unmodified time.Time
}

// MarshalJSONTo writes the record as collections take it.
func (r Record) MarshalJSONTo(enc *jsontext.Encoder) error {
	tokens := []jsontext.Token{
		jsontext.BeginObject, jsontext.String("attributes"), jsontext.BeginObject, jsontext.String("type"), jsontext.String(r.Object), jsontext.EndObject,
	}
	if r.ID != "" {
		tokens = append(tokens, jsontext.String("id"), jsontext.String(string(r.ID)))
	}
	for _, token := range tokens {
		if err := enc.WriteToken(token); err != nil {
			return err
		}
	}
	for name, value := range r.Fields {
		if err := enc.WriteToken(jsontext.String(name)); err != nil {
			return err
		}
		if err := value.MarshalJSONTo(enc); err != nil {
			return fmt.Errorf("field %s: %w", name, err)
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

// Sending says how records are written. The zero value is what a sync wants: each record stands for itself, assignment
// rules stay quiet, and duplicate rules that only warn refuse the record.
type Sending struct {
	AllOrNone       bool // one failure undoes all
	AutoAssign      bool // let the org's assignment rules choose owners
	AllowDuplicates bool // save in spite of duplicate rules that warn; those that block still do
}

func (s Sending) header() http.Header {
	assign := "FALSE"
	if s.AutoAssign {
		assign = "TRUE"
	}
	// Assigned by hand: these are the spellings of Salesforce's documentation.
	return http.Header{
		"Sforce-Auto-Assign":           {assign},
		"Sforce-Duplicate-Rule-Header": {"allowSave=" + strconv.FormatBool(s.AllowDuplicates) + "; includeRecordDetails=false"},
	}
}

// CollectionResult is what became of one record, in the place of the record that was sent.
type CollectionResult struct {
	ID      sobject.ID
	Success bool
	Created bool // of an upsert; true for every record that a create made
	Errors  []RecordError
}

// RecordError is one reason why Salesforce refused a record.
type RecordError struct {
	Code       string
	Message    string
	Fields     []string
	Duplicates []sobject.ID // the records that it would double, where a duplicate rule says so
}

// Err gives the refusal as an error that IsTransient and IsHalting understand; nil for a record that was accepted.
func (r CollectionResult) Err() error {
	if r.Success {
		return nil
	}
	e := &APIError{Op: "send record", Status: http.StatusBadRequest}
	var messages []string
	for _, refusal := range r.Errors {
		if e.Code == "" {
			e.Code = refusal.Code
		}
		messages = append(messages, refusal.Message)
		e.Fields = append(e.Fields, refusal.Fields...)
	}
	e.Message = strings.Join(messages, "; ")
	return e
}

// CreateRecords creates up to CollectionMax records, of at most ten runs of one object each. A reply that gets lost is a
// transient error and the records may exist: look them up before creating them again.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_create.htm
func (c *Client) CreateRecords(ctx context.Context, records []Record, how Sending) ([]CollectionResult, error) {
	results, err := c.sendRecords(ctx, "create records", http.MethodPost, "", records, how)
	for i := range results {
		results[i].Created = results[i].Success
	}
	return results, err
}

// UpdateRecords updates up to CollectionMax records by their ids. After a lost reply it may be called again.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_update.htm
func (c *Client) UpdateRecords(ctx context.Context, records []Record, how Sending) ([]CollectionResult, error) {
	return c.sendRecords(ctx, "update records", http.MethodPatch, "", records, how)
}

// UpsertRecords creates or updates up to CollectionMax records of one object by an external id field, which each record
// holds among its fields. After a lost reply it may be called again.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_upsert.htm
func (c *Client) UpsertRecords(ctx context.Context, object, externalID string, records []Record, how Sending) ([]CollectionResult, error) {
	return c.sendRecords(ctx, "upsert records", http.MethodPatch, "/"+url.PathEscape(object)+"/"+url.PathEscape(externalID), records, how)
}

func (c *Client) sendRecords(ctx context.Context, op, method, below string, records []Record, how Sending) ([]CollectionResult, error) {
	if c.noCollections.Load() {
		return c.oneByOne(ctx, op, method, below, records, how)
	}
	payload, err := json.Marshal(struct {
		AllOrNone bool     `json:"allOrNone"`
		Records   []Record `json:"records"`
	}{how.AllOrNone, records})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	ids := make([]sobject.ID, len(records))
	for i, r := range records {
		ids[i] = r.ID
	}
	results, err := c.collection(ctx, request{op: op, method: method, path: below, body: payload, header: how.header()}, ids)
	if isMissing(err) {
		c.noCollections.Store(true)
		c.cfg.Log.Warn("the org takes no collections of records; records are written one by one", "error", err)
		return c.oneByOne(ctx, op, method, below, records, how)
	}
	return results, err
}

// DeleteRecords deletes up to CollectionMax records of one object. A record that is deleted already is refused with ENTITY_IS_DELETED.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_delete.htm
func (c *Client) DeleteRecords(ctx context.Context, object string, ids []sobject.ID, how Sending) ([]CollectionResult, error) {
	const op = "delete records"
	alone := func() ([]CollectionResult, error) {
		records := make([]Record, len(ids))
		for i, id := range ids {
			records[i] = Record{Object: object, ID: id}
		}
		return c.oneByOne(ctx, op, http.MethodDelete, "", records, how)
	}
	if c.noCollections.Load() {
		return alone()
	}
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = url.QueryEscape(string(id))
	}
	query := "ids=" + strings.Join(list, ",") + "&allOrNone=" + strconv.FormatBool(how.AllOrNone)
	results, err := c.collection(ctx, request{op: op, method: http.MethodDelete, query: query}, ids)
	if isMissing(err) {
		c.noCollections.Store(true)
		return alone()
	}
	return results, err
}

// collection sends records whose ids are known, or empty where Salesforce is to make them.
func (c *Client) collection(ctx context.Context, r request, ids []sobject.ID) ([]CollectionResult, error) {
	n := len(ids)
	if n == 0 {
		return nil, nil
	}
	if n > CollectionMax {
		return nil, fmt.Errorf("%s: %d records at once, and Salesforce takes %d", r.op, n, CollectionMax)
	}
	path, err := c.rest(ctx)
	if err != nil {
		return nil, err
	}
	r.path, r.accept, r.within = path+"/composite/sobjects"+r.path, mediaJSON, queryWithin
	var answer []collectionAnswer
	if err := c.do(ctx, r, c.into(r.op, &answer)); err != nil {
		return nil, err
	}
	return c.collectionResults(r.op, ids, answer)
}

type collectionDuplicates struct {
	MatchResults []struct {
		MatchRecords []struct {
			Record struct {
				ID string `json:"Id"`
			} `json:"record"`
		} `json:"matchRecords"`
	} `json:"matchResults"`
}

type collectionAnswer struct {
	ID      string `json:"id"`
	Success bool   `json:"success"`
	Created bool   `json:"created"`
	Errors  []struct {
		errorElement
		// Salesforce misspells the key, at least in part of its versions.
		DuplicateResut  collectionDuplicates `json:"duplicateResut"`
		DuplicateResult collectionDuplicates `json:"duplicateResult"`
	} `json:"errors"`
}

// collectionResults reads an answer, whose results stand in the places of the records.
func (c *Client) collectionResults(op string, ids []sobject.ID, answer []collectionAnswer) ([]CollectionResult, error) {
	if len(answer) != len(ids) {
		return nil, &APIError{Op: op, Code: CodeMalformedReply, Message: fmt.Sprintf("%d records were sent and %d results came", len(ids), len(answer))}
	}
	results := make([]CollectionResult, len(ids))
	for i, a := range answer {
		results[i] = CollectionResult{Success: a.Success, Created: a.Created}
		if a.ID != "" {
			var err error
			if results[i].ID, err = sobject.ParseID(a.ID); err != nil {
				return nil, &APIError{Op: op, Code: CodeMalformedReply, Message: err.Error()}
			}
		}
		for _, e := range a.Errors {
			refusal := RecordError{Code: e.StatusCode, Message: c.scrub(e.Message), Fields: e.Fields}
			if refusal.Code == "" {
				refusal.Code = e.ErrorCode
			}
			for _, match := range append(e.DuplicateResut.MatchResults, e.DuplicateResult.MatchResults...) {
				for _, m := range match.MatchRecords {
					if id, err := sobject.ParseID(m.Record.ID); err == nil {
						refusal.Duplicates = append(refusal.Duplicates, id)
					}
				}
			}
			results[i].Errors = append(results[i].Errors, refusal)
		}
	}
	return results, inPlace(op, ids, results)
}

// inPlace makes sure that each result stands where its record stood. Salesforce answers in order; should an answer name another record
// than the one in its place, taking it for this one's would note an outcome on the wrong record.
func inPlace(op string, ids []sobject.ID, results []CollectionResult) error {
	for i, id := range ids {
		if id == "" || results[i].ID == "" || results[i].ID == id {
			continue
		}
		if full, err := sobject.ParseID(string(id)); err == nil && results[i].ID == full {
			continue
		}
		return &APIError{Op: op, Code: CodeMalformedReply, Message: fmt.Sprintf("the result of record %s stands in the place of %s", results[i].ID, id)}
	}
	return nil
}

// Retrieve reads up to RetrieveMax records of one object by their ids, in one call, with cells like those of QueryRows.
// each is called with the cells of one record, which are valid until it returns; its error ends the call. Records that do not exist, or that the
// user cannot see, are left out: ask for Id to tell them. Salesforce gives no deleted ones.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_retrieve.htm
func (c *Client) Retrieve(ctx context.Context, object string, ids []sobject.ID, columns []string, each func(cells [][]byte) error) error {
	op := "retrieve " + object
	if len(ids) > RetrieveMax {
		return fmt.Errorf("%s: %d records at once, and Salesforce takes %d", op, len(ids), RetrieveMax)
	}
	if len(ids) == 0 {
		return nil
	}
	tree, err := columnTree(columns)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	path, err := c.rest(ctx)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(struct {
		IDs    []sobject.ID `json:"ids"`
		Fields []string     `json:"fields"`
	}{ids, columns})
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	r := request{
		op: op, method: http.MethodPost, path: path + "/composite/sobjects/" + url.PathEscape(object),
		body: payload, accept: mediaJSON, again: true, within: queryWithin,
	}
	var rep *reply
	if err := c.do(ctx, r, func(got *reply) error { rep = got; return nil }); err != nil {
		return err
	}
	defer rep.Close()
	records := newRecordReader(tree, len(columns))
	records.dec = jsontext.NewDecoder(rep, jsonIn)
	if err := expect(records.dec, '['); err != nil {
		return rep.jsonError(op, err)
	}
	for records.dec.PeekKind() != ']' {
		if records.dec.PeekKind() == 'n' {
			if err := records.dec.SkipValue(); err != nil {
				return rep.jsonError(op, err)
			}
			continue
		}
		cells, err := records.next()
		if err != nil {
			return rep.jsonError(op, err)
		}
		if err := each(cells); err != nil {
			return err
		}
	}
	if err := expect(records.dec, ']'); err != nil {
		return rep.jsonError(op, err)
	}
	if _, err := records.dec.ReadToken(); err != io.EOF {
		return rep.jsonError(op, err)
	}
	return nil
}
