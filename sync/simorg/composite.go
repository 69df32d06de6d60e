package simorg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// saved is the result of one row of a collection.
type saved struct {
	id      string
	created *bool // of upserts
	errs    []*rowError
}

func appendSaved(b []byte, s saved) []byte {
	b = append(b, '{')
	if s.id != "" && (len(s.errs) == 0) {
		b = append(b, `"id":"`...)
		b = append(b, s.id...)
		b = append(b, `",`...)
	}
	b = fmt.Appendf(b, `"success":%t,"errors":[`, len(s.errs) == 0)
	for k, e := range s.errs {
		if k > 0 {
			b = append(b, ',')
		}
		b = appendError(b, e, "statusCode")
	}
	b = append(b, ']')
	if s.created != nil {
		b = fmt.Appendf(b, `,"created":%t`, *s.created)
	}
	return append(b, '}')
}

const rolledBack = "Record rolled back because not all records were valid and the request was using AllOrNone header"

// A collection holds 200 records in at most 10 runs of one type; POST reads up to 2000.
const (
	collectionMax = 200
	runsMax       = 10
	retrieveMax   = 2000
)

type collectionRequest struct {
	AllOrNone bool             `json:"allOrNone"`
	Records   []map[string]any `json:"records"`
	IDs       []string         `json:"ids"`
	Fields    []string         `json:"fields"`
}

// collection is /composite/sobjects, with an object for reading and with an external id for upsert
// (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections.htm).
func (c *call) collection(object, key string) error {
	var q collectionRequest
	switch c.r.Method {
	case http.MethodPost, http.MethodPatch, http.MethodPut:
		if p := c.read(&q); p != nil {
			return p
		}
	}
	tooMany := func(n, most int) error {
		if n > most {
			return fail(http.StatusBadRequest, "EXCEEDED_ID_LIMIT", fmt.Sprintf("record limit reached. cannot submit more than %d records in this call", most))
		}
		return nil
	}
	switch {
	case object != "" && key == "" && (c.r.Method == http.MethodGet || c.r.Method == http.MethodPost):
		if c.r.Method == http.MethodGet {
			q.IDs, q.Fields = strings.Split(c.r.URL.Query().Get("ids"), ","), strings.Split(c.r.URL.Query().Get("fields"), ",")
		}
		if err := tooMany(len(q.IDs), retrieveMax); err != nil {
			return err
		}
		return c.retrieve(object, q.IDs, q.Fields)
	case object == "" && c.r.Method == http.MethodDelete:
		ids := strings.Split(c.r.URL.Query().Get("ids"), ",")
		if err := tooMany(len(ids), collectionMax); err != nil {
			return err
		}
		return c.deleteMany(ids, strings.EqualFold(c.r.URL.Query().Get("allOrNone"), "true"))
	case object != "" && key == "" || c.r.Method != http.MethodPost && c.r.Method != http.MethodPatch || key != "" && c.r.Method != http.MethodPatch:
		return notAllowed(c.r.Method, "GET,POST,PATCH,DELETE")
	}
	if err := tooMany(len(q.Records), collectionMax); err != nil {
		return err
	}
	if len(q.Records) == 0 {
		return fail(http.StatusBadRequest, "INVALID_INPUT", "records is empty")
	}
	runs, last := 0, ""
	for _, r := range q.Records {
		t := typeOf(r)
		if t == "" {
			t = object
		}
		if t == "" {
			return fail(http.StatusBadRequest, "INVALID_INPUT", "every record needs attributes with a type")
		}
		if !strings.EqualFold(t, last) {
			runs++
		}
		last = t
	}
	if runs > runsMax {
		return fail(http.StatusBadRequest, "INVALID_INPUT", "Can't create or update records in more than 10 chunks of types at one time")
	}
	return c.saveMany(q, object, key)
}

func typeOf(record map[string]any) string {
	a, _ := record["attributes"].(map[string]any)
	t, _ := a["type"].(string)
	return t
}

func (c *call) sendSaved(rows []saved) error {
	b := []byte{'['}
	for k, s := range rows {
		if k > 0 {
			b = append(b, ',')
		}
		b = appendSaved(b, s)
	}
	c.send(http.StatusOK, append(b, ']'))
	return nil
}

// settle runs one save after the other in one transaction. With allOrNone, one refusal undoes all.
func (c *call) settle(n int, allOrNone bool, save func(tx *Tx, k int) saved) error {
	rows := make([]saved, n)
	failed := false
	err := c.do(func(tx *Tx) error {
		for k := range rows {
			_ = tx.attempt(func() *rowError {
				rows[k] = save(tx, k)
				if len(rows[k].errs) > 0 {
					return rows[k].errs[0]
				}
				return nil
			})
			failed = failed || len(rows[k].errs) > 0
		}
		if failed && allOrNone {
			return errNoResource
		}
		return nil
	})
	if failed && allOrNone {
		for k := range rows {
			if len(rows[k].errs) == 0 {
				rows[k] = saved{errs: []*rowError{refuse("ALL_OR_NONE_OPERATION_ROLLED_BACK", rolledBack)}}
			}
		}
	} else if err != nil {
		return err
	}
	return c.sendSaved(rows)
}

func (c *call) saveMany(q collectionRequest, object, key string) error {
	seen := map[string]bool{}
	return c.settle(len(q.Records), q.AllOrNone, func(tx *Tx, k int) saved {
		record := q.Records[k]
		t := typeOf(record)
		if t == "" {
			t = object
		}
		x := c.find(t)
		refused := func(e *rowError) saved { return saved{errs: e.all()} }
		if x == nil {
			return refused(refuse("INVALID_TYPE", "sObject type '"+t+"' is not supported."))
		}
		if key != "" {
			return tx.upsertOne(x, key, record, seen)
		}
		if c.r.Method == http.MethodPost {
			if !c.access.createable(x) {
				return refused(refuse("INSUFFICIENT_ACCESS_OR_READONLY", "entity type "+x.name+" does not support create"))
			}
			cells, err := tx.assignments(x, record, nil)
			if err != nil {
				return refused(err)
			}
			id, err := tx.create(x, cells)
			if err != nil {
				return refused(err)
			}
			return saved{id: id}
		}
		id := ""
		for n, v := range record {
			if strings.EqualFold(n, "id") {
				id, _ = v.(string)
			}
		}
		r, err := tx.writable(x, id)
		if err != nil {
			return refused(err)
		}
		if seen[r.id()] {
			return refused(refuse("DUPLICATE_VALUE", "duplicate id specified: "+r.id()))
		}
		seen[r.id()] = true
		cells, err := tx.assignments(x, record, []string{"id"})
		if err != nil {
			return refused(err)
		}
		if err := tx.update(r, cells); err != nil {
			return refused(err)
		}
		return saved{id: r.id()}
	})
}

// writable finds a row that is to be changed.
func (tx *Tx) writable(x *object, id string) (row, *rowError) {
	switch {
	case id == "":
		return row{}, refuse("MISSING_ARGUMENT", "Id not specified in an update call")
	case !isID(id) || id[:3] != x.prefix:
		return row{}, refuse("MALFORMED_ID", x.label+" ID: id value of incorrect type: "+id, "Id")
	case !tx.access.updateable(x):
		return row{}, refuse("INSUFFICIENT_ACCESS_OR_READONLY", "entity type "+x.name+" does not support update")
	}
	v := tx.view()
	r, ok := v.seen(id)
	if !ok {
		return row{}, refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
	}
	if v.deleted(r) {
		return row{}, refuse("ENTITY_IS_DELETED", "entity is deleted")
	}
	return r, nil
}

func (tx *Tx) upsertOne(x *object, key string, record map[string]any, seen map[string]bool) saved {
	refused := func(e *rowError) saved { return saved{errs: e.all()} }
	k := tx.access.field(x, key)
	if k == nil || !k.ExternalID {
		return refused(refuse("INVALID_FIELD", "Field name provided, "+key+" is not an External ID for "+x.name))
	}
	var raw any
	for n, v := range record {
		if strings.EqualFold(n, key) {
			raw = v
		}
	}
	s := strings.TrimSpace(fmt.Sprint(raw))
	if raw == nil || s == "" {
		return refused(refuse("MISSING_ARGUMENT", key+" not specified"))
	}
	if seen[fold(k, s)] {
		return refused(refuse("DUPLICATE_VALUE", "Duplicate external id specified: "+s, k.Name))
	}
	seen[fold(k, s)] = true
	cells, err := tx.assignments(x, record, []string{key, "id"})
	if err != nil {
		return refused(err)
	}
	rows := tx.view().byKey(k, s)
	created := len(rows) == 0
	switch {
	case len(rows) > 1:
		return refused(refuse("DUPLICATE_EXTERNAL_ID", fmt.Sprintf("%s: more than one record found for external id field: [%s, %s]", k.Name, rows[0].id(), rows[1].id())))
	case created:
		if cells[k], err = convert(k, raw); err != nil {
			return refused(err)
		}
		id, err := tx.create(x, cells)
		if err != nil {
			return refused(err)
		}
		return saved{id: id, created: &created}
	}
	if err := tx.update(rows[0], cells); err != nil {
		return refused(err)
	}
	return saved{id: rows[0].id(), created: &created}
}

func (c *call) deleteMany(ids []string, allOrNone bool) error {
	return c.settle(len(ids), allOrNone, func(tx *Tx, k int) saved {
		id := strings.TrimSpace(ids[k])
		refused := func(e *rowError) saved { return saved{errs: e.all()} }
		if !isID(id) {
			return refused(refuse("MALFORMED_ID", "malformed id "+id))
		}
		r, ok := tx.view().seen(id)
		if !ok {
			return refused(refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))
		}
		if err := tx.delete([]row{r}); err != nil {
			return refused(err)
		}
		return saved{id: r.id()}
	})
}

// retrieve reads rows by id; null stands in the place of one that cannot be read.
func (c *call) retrieve(object string, ids, names []string) error {
	body, err := c.retrieved(object, ids, names)
	if err != nil {
		return err
	}
	c.send(http.StatusOK, body)
	return nil
}

func (c *call) retrieved(object string, ids, names []string) ([]byte, error) {
	c.o.mu.RLock()
	defer c.o.mu.RUnlock()
	x := c.find(object)
	if x == nil {
		return nil, errNoResource
	}
	fields := []*field{x.fID}
	for _, n := range names {
		f := c.access.field(x, strings.TrimSpace(n))
		if f == nil {
			return nil, fail(http.StatusBadRequest, "INVALID_FIELD", fmt.Sprintf("No such column '%s' on sobject of type %s", n, x.name))
		}
		if !slices.Contains(fields, f) {
			fields = append(fields, f)
		}
	}
	nodes := plainNodes(fields)
	v := c.view()
	b := []byte{'['}
	for k, id := range ids {
		if k > 0 {
			b = append(b, ',')
		}
		v.reset()
		r, ok := v.seen(strings.TrimSpace(id))
		if !ok || r.t.object != x || v.deleted(r) {
			b = append(b, "null"...)
			continue
		}
		b = v.appendRow(b, r, nodes, c.version, x.name)
	}
	return append(b, ']'), nil
}

type subRequest struct {
	Method      string            `json:"method"`
	URL         string            `json:"url"`
	Body        json.RawMessage   `json:"body"`
	RichInput   json.RawMessage   `json:"richInput"`
	ReferenceID string            `json:"referenceId"`
	Headers     map[string]string `json:"httpHeaders"`
}

// A composite and a batch hold 25 sub-requests; of a composite's, five may be queries or collections.
const (
	subMax   = 25
	heavyMax = 5
)

var reference = regexp.MustCompile(`@\{([A-Za-z][A-Za-z0-9_]*)((?:\.[A-Za-z0-9_]+|\[\d+\])*)\}`)

// resolve puts the results of earlier sub-requests where @{ref.id} stands.
func resolve(s string, done map[string]any) (string, *problem) {
	var bad *problem
	out := reference.ReplaceAllStringFunc(s, func(m string) string {
		parts := reference.FindStringSubmatch(m)
		v, ok := done[parts[1]]
		for _, step := range strings.FieldsFunc(parts[2], func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
			switch x := v.(type) {
			case map[string]any:
				v, ok = x[step]
			case []any:
				n := 0
				if _, err := fmt.Sscan(step, &n); err != nil || n >= len(x) {
					ok = false
				} else {
					v = x[n]
				}
			default:
				ok = false
			}
		}
		if !ok {
			bad = fail(http.StatusBadRequest, "PROCESSING_HALTED", "Invalid reference specified. No value for "+strings.Trim(m, "@{}")+" found")
			return m
		}
		b, _ := json.Marshal(v)
		return strings.Trim(string(b), `"`)
	})
	return out, bad
}

// composite is POST /composite (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm).
// Its sub-requests are really dispatched. With allOrNone, what they saved is undone when one fails.
func (c *call) composite() error {
	if c.r.Method != http.MethodPost {
		return notAllowed(c.r.Method, "POST")
	}
	var q struct {
		AllOrNone bool         `json:"allOrNone"`
		Requests  []subRequest `json:"compositeRequest"`
	}
	if p := c.read(&q); p != nil {
		return p
	}
	if len(q.Requests) == 0 || len(q.Requests) > subMax {
		return fail(http.StatusBadRequest, "INVALID_INPUT", fmt.Sprintf("compositeRequest must hold 1 to %d requests", subMax))
	}
	heavy := 0
	names := map[string]bool{}
	for _, r := range q.Requests {
		if l := lower(r.URL); strings.Contains(l, "/query") || strings.Contains(l, "/composite/sobjects") {
			heavy++
		}
		if r.ReferenceID == "" || names[r.ReferenceID] {
			return fail(http.StatusBadRequest, "INVALID_INPUT", "every request needs a referenceId of its own")
		}
		names[r.ReferenceID] = true
	}
	if heavy > heavyMax {
		return fail(http.StatusBadRequest, "INVALID_INPUT", fmt.Sprintf("at most %d requests of a composite may be queries or collections", heavyMax))
	}
	replies, _, err := c.compose(q.Requests, q.AllOrNone)
	if err != nil {
		return err
	}
	return c.sendJSON(http.StatusOK, map[string]any{"compositeResponse": replies})
}

// subReply is what a composite says of one of its requests.
type subReply struct {
	Body        json.RawMessage   `json:"body"`
	Headers     map[string]string `json:"httpHeaders"`
	Status      int               `json:"httpStatusCode"`
	ReferenceID string            `json:"referenceId"`
}

// compose runs the requests of a composite one after the other. ok is false when one failed; with allOrNone, what the others saved is
// undone then.
func (c *call) compose(requests []subRequest, allOrNone bool) (replies []subReply, ok bool, err error) {
	done := map[string]any{}
	failed := -1
	if allOrNone {
		// One transaction for all: what a sub-request saved, later ones see, and others only at the end.
		c.o.mu.Lock()
		c.tx = c.o.newTx(c.session.user)
		c.o.mu.Unlock()
	}
	for k, r := range requests {
		out := subReply{Headers: map[string]string{}, ReferenceID: r.ReferenceID}
		if failed >= 0 && allOrNone {
			replies = append(replies, out)
			continue
		}
		target, bad := resolve(r.URL, done)
		body, bad2 := resolve(string(r.Body), done)
		if bad == nil {
			bad = bad2
		}
		if bad != nil {
			out.Status, out.Body = bad.status, bad.json()
		} else {
			var h http.Header
			out.Status, h, out.Body = c.subCall(r.Method, target, json.RawMessage(body), r.Headers)
			if l := h.Get("Location"); l != "" {
				out.Headers["Location"] = l
			}
		}
		if out.Status < 300 {
			var v any
			if json.Unmarshal(out.Body, &v) == nil {
				done[r.ReferenceID] = v
			}
		} else if failed < 0 {
			failed = k
		}
		replies = append(replies, out)
	}
	if c.tx != nil {
		c.o.mu.Lock()
		var err error
		if failed >= 0 {
			c.tx.undo()
		} else {
			err = c.tx.commit()
		}
		c.o.mu.Unlock()
		if err != nil {
			return nil, false, err
		}
	}
	if failed >= 0 && allOrNone {
		halted := fail(http.StatusBadRequest, "PROCESSING_HALTED", "The transaction was rolled back since another operation in the same transaction failed.")
		for k := range replies {
			if k != failed {
				replies[k].Status, replies[k].Body, replies[k].Headers = halted.status, halted.json(), map[string]string{}
			}
		}
	}
	return replies, failed < 0, nil
}

// batch is POST /composite/batch (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_batch.htm).
// Each sub-request counts as a call.
func (c *call) batch() error {
	if c.r.Method != http.MethodPost {
		return notAllowed(c.r.Method, "POST")
	}
	var q struct {
		Halt     bool         `json:"haltOnError"`
		Requests []subRequest `json:"batchRequests"`
	}
	if p := c.read(&q); p != nil {
		return p
	}
	if len(q.Requests) == 0 || len(q.Requests) > subMax {
		return fail(http.StatusBadRequest, "INVALID_INPUT", fmt.Sprintf("batchRequests must hold 1 to %d requests", subMax))
	}
	type reply struct {
		Status int             `json:"statusCode"`
		Result json.RawMessage `json:"result"`
	}
	replies := []reply{}
	failed := false
	for k, r := range q.Requests {
		if failed && q.Halt {
			replies = append(replies, reply{http.StatusPreconditionFailed, fail(0, "BATCH_PROCESSING_HALTED", "Batch processing halted per request").json()})
			continue
		}
		if k > 0 {
			c.o.calls.count(c.o, "composite")
		}
		status, _, body := c.subCall(r.Method, r.URL, r.RichInput, nil)
		if bytes.Equal(body, nil) {
			body = json.RawMessage("null")
		}
		failed = failed || status >= 400
		replies = append(replies, reply{status, body})
	}
	return c.sendJSON(http.StatusOK, map[string]any{"hasErrors": failed, "results": replies})
}

// tree is POST /composite/tree/X: records with their children, all or nothing
// (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobject_tree.htm).
func (c *call) tree(name string) error {
	if c.r.Method != http.MethodPost {
		return notAllowed(c.r.Method, "POST")
	}
	var q struct {
		Records []map[string]any `json:"records"`
	}
	if p := c.read(&q); p != nil {
		return p
	}
	type made struct{ Ref, ID string }
	var all []made
	type bad struct {
		ref string
		err *rowError
	}
	var refused *bad
	count := 0
	c.o.mu.RLock()
	root := c.find(name)
	c.o.mu.RUnlock()
	if root == nil {
		return errNoResource
	}
	err := c.do(func(tx *Tx) error {
		var grow func(x *object, records []map[string]any, link *field, parent string, depth int) *bad
		grow = func(x *object, records []map[string]any, link *field, parent string, depth int) *bad {
			for _, record := range records {
				attributes, _ := record["attributes"].(map[string]any)
				ref, _ := attributes["referenceId"].(string)
				if count++; count > collectionMax || depth > 5 {
					return &bad{ref, refuse("INVALID_INPUT", "a tree holds at most 200 records in 5 levels")}
				}
				own := map[string]any{}
				kids := map[*childLink][]map[string]any{}
				for n, v := range record {
					m, _ := v.(map[string]any)
					list, ok := m["records"].([]any)
					if !ok {
						own[n] = v
						continue
					}
					for k := range x.children {
						if l := &x.children[k]; strings.EqualFold(l.field.ChildRelationship, n) {
							for _, kid := range list {
								if m, ok := kid.(map[string]any); ok {
									kids[l] = append(kids[l], m)
								}
							}
						}
					}
				}
				cells, err := tx.assignments(x, own, nil)
				if err != nil {
					return &bad{ref, err}
				}
				if link != nil {
					cells[link] = textOf(parent)
				}
				id, err := tx.create(x, cells)
				if err != nil {
					return &bad{ref, err}
				}
				all = append(all, made{ref, id})
				for l, list := range kids {
					if b := grow(l.object, list, l.field, id, depth+1); b != nil {
						return b
					}
				}
			}
			return nil
		}
		if refused = grow(root, q.Records, nil, "", 1); refused != nil {
			return refused.err
		}
		return nil
	})
	if refused != nil {
		b := []byte(`{"hasErrors":true,"results":[{"referenceId":`)
		b = appendJSONText(b, refused.ref)
		b = append(b, `,"errors":[`...)
		for k, e := range refused.err.all() {
			if k > 0 {
				b = append(b, ',')
			}
			b = appendError(b, e, "statusCode")
		}
		c.send(http.StatusBadRequest, append(b, `]}]}`...))
		return nil
	}
	if err != nil {
		return err
	}
	results := []map[string]string{}
	for _, m := range all {
		results = append(results, map[string]string{"referenceId": m.Ref, "id": m.ID})
	}
	return c.sendJSON(http.StatusCreated, map[string]any{"hasErrors": false, "results": results})
}
