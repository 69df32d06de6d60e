package simorg

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// object is GET and POST /sobjects/X (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_basic_info.htm).
func (c *call) object(name string) error {
	c.o.mu.RLock()
	x := c.find(name)
	var summary map[string]any
	if x != nil {
		summary = c.summary(x)
	}
	c.o.mu.RUnlock()
	if x == nil {
		return errNoResource
	}
	switch c.r.Method {
	case http.MethodGet:
		return c.sendJSON(http.StatusOK, map[string]any{"objectDescribe": summary, "recentItems": []any{}})
	case http.MethodPost:
		return c.createRow(x)
	}
	return notAllowed(c.r.Method, "HEAD,GET,POST")
}

// lacks refuses a write: of an object that nobody writes, or that this user may not write.
func (c *call) lacks(others bool, allowed string) error {
	if others {
		return fail(http.StatusForbidden, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
	}
	return notAllowed(c.r.Method, allowed)
}

func (c *call) createRow(x *object) error {
	var body map[string]any
	if p := c.read(&body); p != nil {
		return p
	}
	if !c.access.createable(x) {
		return c.lacks(x.createable, "HEAD,GET")
	}
	var id string
	err := c.do(func(tx *Tx) error {
		cells, err := tx.assignments(x, body, nil)
		if err != nil {
			return err
		}
		if id, err = tx.create(x, cells); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.url("sobjects", x.name, id))
	c.send(http.StatusCreated, fmt.Appendf(nil, `{"id":%q,"success":true,"errors":[]}`, id))
	return nil
}

// assignments converts a request's fields; attributes and the named ones are no fields.
func (tx *Tx) assignments(x *object, body map[string]any, except []string) (assignments, *rowError) {
	cells := assignments{}
	names := make([]string, 0, len(body))
	for n := range body {
		if lower(n) != "attributes" && !slices.ContainsFunc(except, func(e string) bool { return strings.EqualFold(e, n) }) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if err := tx.setField(x, cells, n, body[n]); err != nil {
			return nil, err
		}
	}
	return cells, nil
}

func noKey(s string) *problem {
	return fail(http.StatusNotFound, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: "+s)
}

// rowAt finds the row of a path /sobjects/X/id.
func (v *view) rowAt(x *object, id string) (row, *problem) {
	if !isID(id) {
		return row{}, noKey(id)
	}
	if id[:3] != x.prefix {
		return row{}, fail(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
	}
	r, ok := v.seen(id)
	if !ok {
		return row{}, noKey(id)
	}
	if v.deleted(r) {
		return row{}, &problem{status: http.StatusNotFound, list: []*rowError{{code: "ENTITY_IS_DELETED", message: "entity is deleted", fields: []string{}}}}
	}
	return r, nil
}

// record is /sobjects/X/id (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_retrieve.htm).
func (c *call) record(name, id string) error {
	o := c.o
	o.mu.RLock()
	x := c.find(name)
	o.mu.RUnlock()
	if x == nil {
		return errNoResource
	}
	if lower(id) == "id" && c.r.Method == http.MethodPost {
		return c.createRow(x)
	}
	o.mu.RLock()
	v := c.view()
	r, p := v.rowAt(x, id)
	var stamp int64
	if p == nil && x.fModifiedDate != nil {
		stamp = v.get(r, x.fModifiedDate).n
	}
	o.mu.RUnlock()
	if p != nil {
		return p
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		if err := c.conditional(r, stamp); err != nil {
			return err
		}
		return c.readRow(r, stamp)
	case http.MethodPatch:
		var body map[string]any
		if p := c.read(&body); p != nil {
			return p
		}
		if err := c.updateRow(r, body, nil); err != nil {
			return err
		}
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodDelete:
		if !c.access.deletable(x) {
			return c.lacks(x.deletable, "HEAD,GET,PATCH,POST")
		}
		err := c.do(func(tx *Tx) error {
			if err := tx.delete([]row{r.now(tx)}); err != nil {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return notAllowed(c.r.Method, "HEAD,GET,PATCH,DELETE")
}

// now gives the row's version of this moment.
func (r row) now(tx *Tx) row {
	if n, ok := tx.view().at(r.t, r.i); ok {
		return n
	}
	return r
}

func (c *call) updateRow(r row, body map[string]any, except []string) error {
	x := r.t.object
	if !c.access.updateable(x) {
		return c.lacks(x.updateable, "HEAD,GET")
	}
	return c.do(func(tx *Tx) error {
		// The conditions are looked at under the same lock as the row is saved: nobody comes between.
		if r = r.now(tx); x.fModifiedDate != nil {
			if err := c.conditional(r, tx.view().get(r, x.fModifiedDate).n); err != nil {
				return err
			}
		}
		cells, err := tx.assignments(x, body, except)
		if err != nil {
			return err
		}
		if err := tx.update(r, cells); err != nil {
			return err
		}
		return nil
	})
}

// conditional answers the request's conditions: dates are compared with LastModifiedDate, by seconds; ETags are those of Account rows
// (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_rest_conditional_requests.htm). DELETE knows none.
func (c *call) conditional(r row, ms int64) error {
	h := c.r.Header
	modified := ms / 1000
	read := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	unmet := func(unchanged bool) error {
		if unchanged && read {
			return &problem{status: http.StatusNotModified, bare: true}
		}
		return &problem{status: http.StatusPreconditionFailed, bare: true}
	}
	for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
		s := h.Get(name)
		if s == "" {
			continue
		}
		t, err := http.ParseTime(s)
		if err != nil {
			return fail(http.StatusBadRequest, "INVALID_HEADER", "the date of "+name+" is malformed")
		}
		changed := modified > t.Unix()
		if name == "If-Modified-Since" && !changed {
			return unmet(true)
		}
		if name == "If-Unmodified-Since" && changed {
			return unmet(false)
		}
	}
	if r.t.object.name != "Account" {
		return nil
	}
	tag := etag(r, ms)
	holds := func(list string) bool {
		for _, s := range strings.Split(list, ",") {
			if s = strings.TrimPrefix(strings.TrimSpace(s), "W/"); s == tag || s == "*" || strings.Replace(s, `-gzip"`, `"`, 1) == tag {
				return true
			}
		}
		return false
	}
	if s := h.Get("If-Match"); s != "" && !holds(s) {
		return unmet(false)
	}
	if s := h.Get("If-None-Match"); s != "" && holds(s) {
		return unmet(true)
	}
	return nil
}

// readRow sends one row: all visible fields, or those of ?fields=.
func (c *call) readRow(r row, modified int64) error {
	x := r.t.object
	body, err := c.rowJSON(r)
	if err != nil {
		return err
	}
	if modified > 0 {
		c.w.Header().Set("Last-Modified", time.UnixMilli(modified).UTC().Format(http.TimeFormat))
		if x.name == "Account" {
			c.w.Header().Set("ETag", etag(r, modified))
		}
	}
	c.send(http.StatusOK, body)
	return nil
}

func (c *call) rowJSON(r row) ([]byte, error) {
	x := r.t.object
	c.o.mu.RLock()
	defer c.o.mu.RUnlock()
	var fields []*field
	if list := c.r.URL.Query().Get("fields"); list != "" {
		for _, n := range strings.Split(list, ",") {
			f := c.access.field(x, strings.TrimSpace(n))
			if f == nil {
				return nil, fail(http.StatusBadRequest, "INVALID_FIELD", fmt.Sprintf("No such column '%s' on sobject of type %s", n, x.name))
			}
			if !slices.Contains(fields, f) {
				fields = append(fields, f)
			}
		}
	} else {
		for _, f := range x.fields {
			if c.access.sees(f) {
				fields = append(fields, f)
			}
		}
	}
	return c.view().appendRow(nil, r, plainNodes(fields), c.version, x.name), nil
}

func plainNodes(fields []*field) []*node {
	nodes := make([]*node, len(fields))
	for k, f := range fields {
		nodes[k] = &node{name: f.Name, column: &column{f: f, kind: f.Type}}
	}
	return nodes
}

// recordByKey is /sobjects/X/field/value: read, upsert and delete by an external id
// (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_upsert.htm).
func (c *call) recordByKey(name, key, value string) error {
	o := c.o
	o.mu.RLock()
	x := c.find(name)
	var k *field
	var rows []row
	if x != nil {
		if k = c.access.field(x, key); k != nil && k.IDLookup {
			rows = c.view().byKey(k, value)
		}
	}
	o.mu.RUnlock()
	if x == nil {
		return errNoResource
	}
	if k == nil || !k.IDLookup {
		return noKey(key)
	}
	if len(rows) > 1 {
		var urls []string
		for _, r := range rows {
			urls = append(urls, c.url("sobjects", x.name, r.id()))
		}
		return c.sendJSON(http.StatusMultipleChoices, urls)
	}
	switch c.r.Method {
	case http.MethodPatch:
		return c.upsertRow(x, k, value, rows)
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		if len(rows) == 0 {
			return fail(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
		}
		return c.record(name, rows[0].id())
	}
	return notAllowed(c.r.Method, "HEAD,GET,PATCH,DELETE")
}

func (c *call) upsertRow(x *object, k *field, key string, rows []row) error {
	var body map[string]any
	if p := c.read(&body); p != nil {
		return p
	}
	for n := range body {
		if strings.EqualFold(n, "Id") || strings.EqualFold(n, k.Name) {
			return fail(http.StatusBadRequest, "INVALID_FIELD", "The "+n+" field should not be specified in the sobject data.")
		}
	}
	if len(rows) == 1 {
		if err := c.updateRow(rows[0], body, nil); err != nil {
			return err
		}
		if c.oldVersion(46) {
			c.w.WriteHeader(http.StatusNoContent)
			return nil
		}
		c.send(http.StatusOK, fmt.Appendf(nil, `{"id":%q,"success":true,"errors":[],"created":false}`, rows[0].id()))
		return nil
	}
	if c.r.URL.Query().Get("updateOnly") == "true" || k.Type == "id" {
		return fail(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
	}
	if !c.access.createable(x) {
		return c.lacks(x.createable, "HEAD,GET")
	}
	var id string
	err := c.do(func(tx *Tx) error {
		cells, err := tx.assignments(x, body, nil)
		if err != nil {
			return err
		}
		if cells[k], err = convert(k, key); err != nil {
			return err
		}
		if id, err = tx.create(x, cells); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.url("sobjects", x.name, id))
	c.send(http.StatusCreated, fmt.Appendf(nil, `{"id":%q,"success":true,"errors":[],"created":true}`, id))
	return nil
}

// oldVersion tells whether the request's API version is before this one.
func (c *call) oldVersion(than int) bool {
	n := 0
	_, _ = fmt.Sscanf(c.version, "%d", &n)
	return n < than
}
