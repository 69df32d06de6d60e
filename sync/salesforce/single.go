package salesforce

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// isMissing tells that the org does not have a resource at all, as opposed to a record.
func isMissing(err error) bool {
	api, ok := errors.AsType[*APIError](err)
	if !ok || api.html {
		return false
	}
	return api.Status == http.StatusMethodNotAllowed || api.Status == http.StatusNotFound && api.Code == CodeNotFound
}

// oneByOne writes records by a call each, for an org that takes no collections. What Salesforce says of one record is its result; an error
// that concerns them all ends the call, and those before it may be written.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_basic_info_post.htm
func (c *Client) oneByOne(ctx context.Context, op, method, below string, records []Record, how Sending) ([]CollectionResult, error) {
	if how.AllOrNone {
		return nil, fmt.Errorf("%s: this org takes no collections, and single calls cannot be undone together", op)
	}
	path, err := c.rest(ctx)
	if err != nil {
		return nil, err
	}
	results := make([]CollectionResult, len(records))
	for i, record := range records {
		r := request{op: op, method: method, header: how.header(), again: method == http.MethodDelete}
		fields := record.Fields
		switch {
		case below != "": // an upsert: object and external id, whose value goes into the address
			key := below[strings.LastIndexByte(below, '/')+1:]
			value := ""
			fields = make(map[string]Value, len(record.Fields))
			for name, v := range record.Fields {
				if !strings.EqualFold(name, key) {
					fields[name] = v
				} else if err := json.Unmarshal(v.raw, &value); err != nil {
					value = string(v.raw)
				}
			}
			r.path = path + "/sobjects" + below + "/" + url.PathEscape(value)
		case record.ID != "":
			if method == http.MethodPatch && !record.Unmodified.IsZero() {
				r.header.Set("If-Unmodified-Since", record.Unmodified.UTC().Format(http.TimeFormat))
			}
			r.path = path + "/sobjects/" + url.PathEscape(record.Object) + "/" + url.PathEscape(string(record.ID))
		default:
			r.path = path + "/sobjects/" + url.PathEscape(record.Object)
		}
		if method != http.MethodDelete {
			if r.body, err = json.Marshal(fields); err != nil {
				return nil, fmt.Errorf("%s: %w", op, err)
			}
		}
		results[i], err = c.single(ctx, r, record.ID)
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

// single writes one record.
func (c *Client) single(ctx context.Context, r request, id sobject.ID) (CollectionResult, error) {
	var answer struct {
		ID      string `json:"id"`
		Created bool   `json:"created"`
	}
	created := false
	err := c.do(ctx, r, func(rep *reply) error {
		created = rep.status == http.StatusCreated
		if rep.status == http.StatusNoContent {
			return rep.Close()
		}
		return c.into(r.op, &answer)(rep)
	})
	api, ok := errors.AsType[*APIError](err)
	if ok && api.Status == http.StatusPreconditionFailed {
		return CollectionResult{ID: id, Errors: []RecordError{{Code: CodePrecondition, Message: "the record was changed since it was read"}}}, nil
	}
	if ok && !api.html && !IsHalting(err) && api.Status >= 400 && api.Status < 500 && api.Status != http.StatusMethodNotAllowed {
		return CollectionResult{ID: id, Errors: []RecordError{{Code: api.Code, Message: api.Message, Fields: api.Fields}}}, nil
	}
	if err != nil {
		return CollectionResult{}, err
	}
	result := CollectionResult{ID: id, Success: true, Created: created}
	if answer.ID != "" {
		if result.ID, err = sobject.ParseID(answer.ID); err != nil {
			return result, &APIError{Op: r.op, Code: CodeMalformedReply, Message: err.Error()}
		}
	}
	return result, nil
}
