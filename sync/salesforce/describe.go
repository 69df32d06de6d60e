package salesforce

import (
	"context"
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

// compositeMax is how many sub-requests one composite call takes.
const compositeMax = 25

// ObjectSummary is what describe global says of an object that the user can see.
type ObjectSummary struct {
	Name             string `json:"name"`
	Label            string `json:"label"`
	LabelPlural      string `json:"labelPlural"`
	KeyPrefix        string `json:"keyPrefix"`
	Custom           bool   `json:"custom"`
	CustomSetting    bool   `json:"customSetting"`
	Queryable        bool   `json:"queryable"`
	Retrieveable     bool   `json:"retrieveable"`
	Replicateable    bool   `json:"replicateable"`
	Createable       bool   `json:"createable"`
	Updateable       bool   `json:"updateable"`
	Deletable        bool   `json:"deletable"`
	Undeletable      bool   `json:"undeletable"`
	Mergeable        bool   `json:"mergeable"`
	Searchable       bool   `json:"searchable"`
	Triggerable      bool   `json:"triggerable"`
	DeprecatedHidden bool   `json:"deprecatedAndHidden"`
}

// Objects lists every object that the user can see.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_describeGlobal.htm
func (c *Client) Objects(ctx context.Context) ([]ObjectSummary, error) {
	path, err := c.rest(ctx)
	if err != nil {
		return nil, err
	}
	var answer struct {
		SObjects []ObjectSummary `json:"sobjects"`
	}
	if err := c.getJSON(ctx, "list the objects", path+"/sobjects", "", &answer); err != nil {
		return nil, err
	}
	return answer.SObjects, nil
}

// DescribeRequest asks for the describe of one object, or only whether it changed since a time that an earlier one told.
type DescribeRequest struct {
	Object          string
	IfModifiedSince time.Time // zero: in any case
}

// Described is the answer for one object: its schema, or that it did not change, or why it cannot be described.
type Described struct {
	Object       string
	Schema       sobject.Schema
	NotModified  bool
	LastModified time.Time // to the second; zero if Salesforce did not tell
	Err          error     // of DescribeMany only
}

// Describe asks what an object is to this user. An object that the user cannot see is a NOT_FOUND.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm
func (c *Client) Describe(ctx context.Context, object string) (Described, error) {
	return c.describe(ctx, DescribeRequest{Object: object})
}

func (c *Client) describe(ctx context.Context, ask DescribeRequest) (Described, error) {
	path, err := c.rest(ctx)
	if err != nil {
		return Described{Object: ask.Object}, err
	}
	d := Described{Object: ask.Object}
	r := request{
		op: "describe " + ask.Object, method: http.MethodGet, path: describePath(path, ask.Object),
		accept: mediaJSON, again: true, header: http.Header{},
	}
	if !ask.IfModifiedSince.IsZero() {
		r.header.Set(headerModified, ask.IfModifiedSince.UTC().Format(http.TimeFormat))
	}
	err = c.do(ctx, r, func(rep *reply) error {
		if rep.status == http.StatusNotModified {
			d.NotModified, d.LastModified = true, ask.IfModifiedSince
			return rep.Close()
		}
		d.LastModified, _ = http.ParseTime(rep.header.Get("Last-Modified"))
		return c.into(r.op, &d.Schema)(rep)
	})
	return d, err
}

func describePath(rest, object string) string {
	return rest + "/sobjects/" + url.PathEscape(object) + "/describe"
}

// DescribeMany describes objects by one call for every 25 of them, each on the condition that it changed. The answers are
// in the order of the requests; what is wrong with one object is in its Err, and the error returned concerns all of them.
// An org that refuses composite requests is asked for each object alone, from then on.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm
func (c *Client) DescribeMany(ctx context.Context, asks []DescribeRequest) ([]Described, error) {
	out := make([]Described, 0, len(asks))
	for len(asks) > 0 {
		n := min(compositeMax, len(asks))
		batch, err := c.describeBatch(ctx, asks[:n])
		if err != nil {
			return nil, err
		}
		out, asks = append(out, batch...), asks[n:]
	}
	return out, nil
}

// DescribesOneByOne tells that the org has refused composite requests, so that each describe costs a call.
func (c *Client) DescribesOneByOne() bool { return c.noComposite.Load() }

func (c *Client) describeBatch(ctx context.Context, asks []DescribeRequest) ([]Described, error) {
	if len(asks) > 1 && !c.noComposite.Load() {
		out, err := c.describeComposite(ctx, asks)
		if err == nil || IsTransient(err) || IsHalting(err) || ctx.Err() != nil {
			return out, err
		}
		c.noComposite.Store(true)
		c.cfg.Log.Warn("the org refuses composite requests; objects are described one by one", "error", err)
	}
	out := make([]Described, len(asks))
	for i, ask := range asks {
		d, err := c.describe(ctx, ask)
		if err != nil && (IsTransient(err) || IsHalting(err) || ctx.Err() != nil) {
			return nil, err
		}
		d.Err = err
		out[i] = d
	}
	return out, nil
}

type compositeRequest struct {
	Method      string            `json:"method"`
	URL         string            `json:"url"`
	ReferenceID string            `json:"referenceId"`
	HTTPHeaders map[string]string `json:"httpHeaders,omitempty"`
}

type compositeReply struct {
	Body           jsontext.Value    `json:"body"`
	HTTPHeaders    map[string]string `json:"httpHeaders"`
	HTTPStatusCode int               `json:"httpStatusCode"`
	ReferenceID    string            `json:"referenceId"`
}

// describeComposite sends one call. The reply is read part by part: 25 describes together may weigh tens of megabytes.
func (c *Client) describeComposite(ctx context.Context, asks []DescribeRequest) ([]Described, error) {
	path, err := c.rest(ctx)
	if err != nil {
		return nil, err
	}
	var call struct {
		AllOrNone        bool               `json:"allOrNone"`
		CompositeRequest []compositeRequest `json:"compositeRequest"`
	}
	for i, ask := range asks {
		part := compositeRequest{Method: http.MethodGet, URL: describePath(path, ask.Object), ReferenceID: "d" + strconv.Itoa(i)}
		if !ask.IfModifiedSince.IsZero() {
			part.HTTPHeaders = map[string]string{headerModified: ask.IfModifiedSince.UTC().Format(http.TimeFormat)}
		}
		call.CompositeRequest = append(call.CompositeRequest, part)
	}
	payload, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	op := fmt.Sprintf("describe %d objects", len(asks))
	var out []Described
	// The parts only read, so that the call may be sent again although it is a POST.
	r := request{op: op, method: http.MethodPost, path: path + "/composite", body: payload, accept: mediaJSON, again: true, within: queryWithin}
	err = c.do(ctx, r, func(rep *reply) error {
		defer rep.Close()
		out = make([]Described, len(asks))
		for i, ask := range asks {
			out[i] = Described{Object: ask.Object, Err: &APIError{Op: "describe " + ask.Object, Code: CodeMalformedReply, Message: "the composite reply leaves this object out"}}
		}
		return rep.jsonError(op, eachElement(rep, "compositeResponse", func(dec *jsontext.Decoder) error {
			var part compositeReply
			if err := json.UnmarshalDecode(dec, &part, jsonIn); err != nil {
				return err
			}
			if i, err := strconv.Atoi(strings.TrimPrefix(part.ReferenceID, "d")); err == nil && i >= 0 && i < len(out) {
				out[i] = c.describedPart(asks[i], part)
			}
			return nil
		}))
	})
	return out, err
}

// describedPart reads one part of a composite reply.
func (c *Client) describedPart(ask DescribeRequest, part compositeReply) Described {
	d := Described{Object: ask.Object}
	for name, value := range part.HTTPHeaders {
		if strings.EqualFold(name, "Last-Modified") {
			d.LastModified, _ = http.ParseTime(value)
		}
	}
	op := "describe " + ask.Object
	switch {
	case part.HTTPStatusCode == http.StatusNotModified:
		d.NotModified = true
		if d.LastModified.IsZero() {
			d.LastModified = ask.IfModifiedSince
		}
	case part.HTTPStatusCode >= 200 && part.HTTPStatusCode < 300:
		if err := json.Unmarshal(part.Body, &d.Schema, jsonIn); err != nil {
			d.Err = &APIError{Op: op, Status: part.HTTPStatusCode, Code: CodeMalformedReply, Message: malformed(err)}
		}
	default:
		api := &APIError{Op: op, Method: http.MethodGet, Status: part.HTTPStatusCode}
		api.parseErrorBody(mediaJSON, part.Body)
		api.Message = c.scrub(api.Message)
		d.Err = api
	}
	return d
}

// eachElement walks over the array that an object holds under name, and skips everything else.
func eachElement(r io.Reader, name string, element func(*jsontext.Decoder) error) error {
	dec := jsontext.NewDecoder(r, jsonIn)
	if err := expect(dec, '{'); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		key, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if key.String() != name || dec.PeekKind() != '[' {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := expect(dec, '['); err != nil {
			return err
		}
		for dec.PeekKind() != ']' {
			if err := element(dec); err != nil {
				return err
			}
		}
		if err := expect(dec, ']'); err != nil {
			return err
		}
	}
	return atEnd(dec)
}

// errShape is a reply that is JSON, but not the object or list that belongs here.
type errShape struct{ want, got jsontext.Kind }

func (e errShape) Error() string { return fmt.Sprintf("a JSON %v where %v is expected", e.got, e.want) }

func expect(dec *jsontext.Decoder, kind jsontext.Kind) error {
	got := dec.PeekKind()
	if got == kind {
		_, err := dec.ReadToken()
		return err
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	return errShape{kind, got}
}

// atEnd takes the object's end and makes sure that nothing follows: Salesforce appends an error to an answer it had begun.
func atEnd(dec *jsontext.Decoder) error {
	if err := expect(dec, '}'); err != nil {
		return err
	}
	switch _, err := dec.ReadToken(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	}
	return &jsontext.SyntacticError{Err: errShape{0, '{'}}
}
