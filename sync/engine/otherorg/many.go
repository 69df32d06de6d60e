package otherorg

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
)

// together answers composite requests and collections.
func (o *Org) together(w http.ResponseWriter, r *http.Request, part []string, body []byte) {
	strange := func(status int, code, message string) {
		o.strange = append(o.strange, r.Method+" "+r.URL.Path+": "+message)
		o.refuse(w, r, status, code, message)
	}
	if len(part) == 0 {
		o.composite(w, r, body)
		return
	}
	if part[0] != "sobjects" {
		// Neither batches nor trees nor graphs are here.
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	if r.Method == "DELETE" && len(part) == 1 {
		ids := strings.Split(r.URL.Query().Get("ids"), ",")
		if len(ids) > 200 {
			strange(400, "LIMIT_EXCEEDED", "more than 200 ids")
			return
		}
		results := make([]json.RawMessage, len(ids))
		for i, id := range ids {
			d := o.byPrefix(id)
			if d == nil || len(id) != 15 && len(id) != 18 {
				results[i] = outcome(i, "", &refusal{code: "MALFORMED_ID", message: "malformed id " + id}, nil)
				continue
			}
			results[i] = outcome(i, id, o.remove(d, id), nil)
		}
		o.json(w, r, results)
		return
	}
	var ask struct {
		AllOrNone bool
		Records   []json.RawMessage
		IDs       []string
		Fields    []string
	}
	if r.Method == "GET" && len(part) == 2 {
		ask.IDs, ask.Fields = strings.Split(r.URL.Query().Get("ids"), ","), strings.Split(r.URL.Query().Get("fields"), ",")
	} else if err := json.Unmarshal(body, &ask); err != nil {
		strange(400, "JSON_PARSER_ERROR", err.Error())
		return
	}
	switch {
	case len(ask.Records) > 200 || len(ask.IDs) > 2000:
		strange(400, "EXCEEDED_ID_LIMIT", "record limit reached")
	case len(part) == 2 && (r.Method == "GET" || r.Method == "POST"):
		o.retrieve(w, r, part[1], ask.IDs, ask.Fields)
	case len(part) == 1 && r.Method == "POST", len(part) == 1 && r.Method == "PATCH", len(part) == 3 && r.Method == "PATCH":
		o.saveAll(w, r, part[1:], ask.Records)
	default:
		strange(405, "METHOD_NOT_ALLOWED", "HTTP Method '"+r.Method+"' not allowed.")
	}
}

func (o *Org) byPrefix(id string) *object {
	for _, d := range o.objects {
		if strings.HasPrefix(id, d.prefix) {
			return d
		}
	}
	return nil
}

// saveAll creates, changes or upserts records; of an upsert, to names the object and the key.
func (o *Org) saveAll(w http.ResponseWriter, r *http.Request, to []string, records []json.RawMessage) {
	type one struct {
		d   *object
		id  string
		set map[string]any
	}
	all := make([]one, len(records))
	seen := map[string]bool{}
	for i, raw := range records {
		set, err := fieldsOf(raw)
		attributes, _ := set["attributes"].(map[string]any)
		kind, _ := attributes["type"].(string)
		d := o.objects[kind]
		if err != nil || d == nil || d.hidden {
			o.refuse(w, r, 400, "INVALID_TYPE", fmt.Sprintf("sObject type '%s' is not supported.", kind))
			return
		}
		delete(set, "attributes")
		all[i] = one{d: d, set: set}
		for name := range set {
			if strings.EqualFold(name, "id") {
				all[i].id, _ = set[name].(string)
				delete(set, name)
			} else if _, known := d.field(name); !known {
				// One record with such a field spoils the whole request.
				o.refuse(w, r, 400, "INVALID_FIELD", "No such column '"+name+"' on sobject of type "+d.name)
				return
			}
		}
		if r.Method == "POST" && all[i].id != "" || len(to) == 2 && (all[i].id != "" || kind != to[0]) {
			o.strange = append(o.strange, r.Method+" "+r.URL.Path+" with ids of records, or of another object")
		}
	}
	results := make([]json.RawMessage, len(all))
	for i, it := range all {
		var no *refusal
		var made *bool
		switch {
		case len(to) == 2:
			f, known := it.d.field(to[1])
			key, _ := it.set[f.Name].(string)
			if !known || !f.key || key == "" {
				no = &refusal{code: "MISSING_ARGUMENT", message: to[1] + " not specified"}
				break
			}
			row := it.d.byKey(f, key)
			made = new(bool)
			*made = row == nil
			if row, no = o.save(it.d, row, it.set, r.Header); no == nil {
				it.id = row["Id"].(string)
			}
		case r.Method == "POST":
			row, refused := o.save(it.d, nil, it.set, r.Header)
			if no = refused; no == nil {
				it.id = row["Id"].(string)
			}
		case seen[it.id]:
			no = &refusal{code: "DUPLICATE_VALUE", message: "duplicate id specified"}
		default:
			seen[it.id] = true
			row := it.d.at(it.id)
			if row == nil {
				no = &refusal{code: "INVALID_CROSS_REFERENCE_KEY", message: "invalid cross reference id"}
				if it.d.erased[it.id] {
					no = &refusal{code: "ENTITY_IS_DELETED", message: "entity is deleted"}
				}
				break
			}
			_, no = o.save(it.d, row, it.set, r.Header)
		}
		results[i] = outcome(i, it.id, no, made)
	}
	o.json(w, r, results)
}

// outcome writes what became of the record in place i. What is not known is left out, null or empty, in turn.
func outcome(i int, id string, no *refusal, made *bool) json.RawMessage {
	if no == nil {
		answer := map[string]any{"id": id, "success": true, "errors": []any{}}
		if made != nil {
			answer["created"] = *made
		}
		b, _ := json.Marshal(answer)
		return b
	}
	e := map[string]any{"statusCode": no.code, "message": no.message}
	switch {
	case len(no.fields) > 0:
		e["fields"] = no.fields
	case i%2 == 0:
		e["fields"] = []string{}
	}
	if no.double != "" {
		e["duplicateResult"] = map[string]any{"allowSave": true, "duplicateRule": "Same_Address", "matchResults": []any{map[string]any{
			"size": 1, "success": true, "matchRecords": []any{map[string]any{"record": map[string]any{"Id": no.double, "attributes": map[string]any{"type": "Lead"}}}},
		}}}
	}
	answer := map[string]any{"errors": []any{e}, "success": false}
	switch i % 3 {
	case 0:
		answer["id"] = nil
	case 1:
		if id != "" {
			answer["id"] = id
		}
	}
	b, _ := json.Marshal(answer)
	return b
}

// retrieve reads records by their ids, and null in the place of one that cannot be read.
func (o *Org) retrieve(w http.ResponseWriter, r *http.Request, name string, ids, names []string) {
	d := o.objects[name]
	if d == nil || d.hidden {
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	fields := make([]string, len(names))
	for i, name := range names {
		f, known := d.field(name)
		if !known {
			o.refuse(w, r, 400, "INVALID_FIELD", "No such column '"+name+"' on entity '"+d.name+"'.")
			return
		}
		fields[i] = f.Name
	}
	slices.Sort(fields) // in the reply's own order
	records := make([]json.RawMessage, len(ids))
	for i, id := range ids {
		row := d.at(id)
		if row == nil || row["IsDeleted"] == true || d.concealed[row["Id"].(string)] {
			records[i] = json.RawMessage("null")
			continue
		}
		records[i] = row4REST(d, fields, row)
	}
	o.json(w, r, records)
}

// composite answers several requests of one call, one after the other.
func (o *Org) composite(w http.ResponseWriter, r *http.Request, body []byte) {
	var ask struct {
		AllOrNone        bool
		CompositeRequest []struct {
			Method, URL, ReferenceID string
			HTTPHeaders              map[string]string
			Body                     json.RawMessage
		}
	}
	if r.Method != "POST" || json.Unmarshal(body, &ask) != nil || ask.AllOrNone {
		o.strange = append(o.strange, r.Method+" "+r.URL.Path)
		o.refuse(w, r, 400, "JSON_PARSER_ERROR", "Unexpected request")
		return
	}
	many := 0
	for _, sub := range ask.CompositeRequest {
		if strings.Contains(sub.URL, "/query") || strings.Contains(sub.URL, "/composite/sobjects") {
			many++
		}
	}
	if len(ask.CompositeRequest) > 25 || many > 5 {
		o.strange = append(o.strange, fmt.Sprintf("a composite request of %d parts, %d of them queries and collections", len(ask.CompositeRequest), many))
		o.refuse(w, r, 400, "LIMIT_EXCEEDED", "too many subrequests")
		return
	}
	parts := []any{}
	for _, sub := range ask.CompositeRequest {
		at, err := url.Parse(sub.URL)
		if err != nil || !strings.HasPrefix(sub.URL, "/services/data/v"+version+"/") {
			o.strange = append(o.strange, "a part of a composite request for "+sub.URL)
			o.refuse(w, r, 400, "INVALID_INPUT", "the address of a part is none")
			return
		}
		// A part is a request of its own that costs no call.
		inner := &http.Request{Method: sub.Method, URL: at, Header: http.Header{"Authorization": r.Header["Authorization"]}}
		for name, value := range sub.HTTPHeaders {
			inner.Header.Set(name, value)
		}
		answer := httptest.NewRecorder()
		calls := o.calls
		o.calls = map[string]int{}
		o.answer(answer, inner, sub.Body)
		o.calls = calls
		var said json.RawMessage
		if said = answer.Body.Bytes(); len(said) == 0 {
			said = json.RawMessage("null")
		}
		parts = append(parts, map[string]any{"referenceId": sub.ReferenceID, "httpStatusCode": answer.Code, "httpHeaders": map[string]string{}, "body": said})
	}
	o.json(w, r, map[string]any{"compositeResponse": parts})
}
