// Package otherorg is a second org to talk to in tests, written from Salesforce's documentation alone and sharing no code with the
// simulated one, so that what both leave open is not mistaken for how Salesforce is. It imports nothing of ours.
//
// Its habits differ where Salesforce's do: an older API version, no replication calls, no header with the API budget, no Organization, no
// identity service, short pages, numbers as 5.0 and 1.5E7, header-only and empty pages at the end of Bulk results, next pages named by a
// whole address, replies compressed or not. As New makes it, it takes neither composite requests nor collections nor Bulk ingest jobs.
package otherorg

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Org is the org, at its address, until the test ends.
type Org struct {
	URL string

	t      testing.TB
	server *httptest.Server

	mu      sync.Mutex
	objects map[string]*object
	tokens  map[string]bool
	jobs    map[string]*job
	cursors map[string]cursor
	serial  int
	calls   map[string]int // by method and path, ids left out
	strange []string       // requests that no documented client would make

	pageRows   int  // records of a REST page
	bulkRows   int  // records of a Bulk page
	compresses bool // the next reply

	writes   bool // it takes many records a call, and Bulk ingest jobs
	ingests  map[string]*ingest
	troubles []*Trouble
	ghosts   []func()
	clock    time.Time // what the request at hand is stamped with
}

// Config says how an org differs from the one that New makes.
type Config struct {
	Writes  bool           // it takes composite requests, collections and Bulk ingest jobs, and a lead has a key
	Records map[string]int // how many records each object has from the start; nil: as many as New's
}

type object struct {
	name, label, plural, prefix string
	fields                      []Field
	rows                        []map[string]any // by field name; nil is null
	last                        int              // number of an id
	byID                        map[string]map[string]any
	erased                      map[string]bool // that were removed for good
	concealed                   map[string]bool // records that this user does not see
	changed                     time.Time       // of its metadata
	noBulk                      bool
	hidden                      bool // this user does not see it
}

// at gives the record of an id of 15 or 18 characters; nil if there is none.
func (d *object) at(id string) map[string]any {
	if len(id) == 15 {
		id = checked(id)
	}
	return d.byID[id]
}

func (d *object) keep(row map[string]any) {
	d.rows = append(d.rows, row)
	d.byID[row["Id"].(string)] = row
}

// Field is a field of an object, with what describe says beside the defaults.
type Field struct {
	Name, Kind string
	Length     int
	refs       []string
	readOnly   bool
	required   bool // when a record is made
	key        bool // an external id
}

type job struct {
	state  int
	object string
	query  string
	rows   []map[string]any
	fields []string
	bare   bool // its page without records is empty
}

type cursor struct {
	fields []string
	rows   []map[string]any
	object string
	total  int
}

// Number is a number as REST and as Bulk write it.
type Number struct{ REST, Bulk string }

const version = "64.0"

// What the org takes as its app.
const (
	ClientID     = "3MVG9other.client"
	ClientSecret = "0A1B2C3D4E5F60718293A4B5C6D7E8F9"
)

// ID makes an id of 18 characters, with its checksum.
func ID(prefix string, n int) string { return checked(fmt.Sprintf("%sWs%010d", prefix, n)) }

// checked gives an id of 15 characters its checksum.
func checked(id string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
	for group := range 3 {
		bits := 0
		for i := range 5 {
			if c := id[group*5+i]; c >= 'A' && c <= 'Z' {
				bits |= 1 << i
			}
		}
		id += string(alphabet[bits])
	}
	return id
}

func system(more ...Field) []Field {
	// Id does not come first here, and the order is nobody's.
	return append(more,
		Field{Name: "CreatedDate", Kind: "datetime", readOnly: true}, Field{Name: "Id", Kind: "id", Length: 18, readOnly: true},
		Field{Name: "CreatedById", Kind: "reference", Length: 18, refs: []string{"User"}, readOnly: true}, Field{Name: "LastModifiedDate", Kind: "datetime", readOnly: true},
		Field{Name: "LastModifiedById", Kind: "reference", Length: 18, refs: []string{"User"}, readOnly: true}, Field{Name: "SystemModstamp", Kind: "datetime", readOnly: true})
}

func text(name string, length int) Field {
	return Field{Name: name, Kind: "string", Length: length}
}

func refTo(name string, to ...string) Field {
	return Field{Name: name, Kind: "reference", Length: 18, refs: to}
}

var gone = Field{Name: "IsDeleted", Kind: "boolean", readOnly: true}

// New makes an org that is written to record by record.
func New(t testing.TB) *Org { return With(t, Config{}) }

// With makes an org with the habits of a Config.
func With(t testing.TB, c Config) *Org {
	t.Helper()
	o := &Org{
		t: t, objects: map[string]*object{}, tokens: map[string]bool{}, jobs: map[string]*job{}, cursors: map[string]cursor{}, calls: map[string]int{},
		ingests: map[string]*ingest{}, writes: c.Writes, pageRows: 317, bulkRows: 900,
	}
	for _, d := range []object{
		{name: "Lead", label: "Prospect", plural: "Prospects", prefix: "00Q", fields: system(gone, text("LastName", 80), text("FirstName", 40), Field{Name: "Name", Kind: "string", Length: 121, readOnly: true},
			text("Company", 255), Field{Name: "Email", Kind: "email", Length: 80}, Field{Name: "Description", Kind: "textarea", Length: 32000}, Field{Name: "Status", Kind: "picklist", Length: 255},
			Field{Name: "AnnualRevenue", Kind: "currency"}, Field{Name: "NumberOfEmployees", Kind: "int"}, refTo("OwnerId", "Group", "User"), Field{Name: "IsConverted", Kind: "boolean", readOnly: true},
			Field{Name: "Address", Kind: "address", readOnly: true}, Field{Name: "Score__c", Kind: "double"}, Field{Name: "Callback__c", Kind: "time"}, Field{Name: "Interests__c", Kind: "multipicklist", Length: 4099},
			Field{Name: "Born__c", Kind: "date"}, Field{Name: "Brochure__c", Kind: "base64"}, Field{Name: "MasterRecordId", Kind: "reference", Length: 18, refs: []string{"Lead"}, readOnly: true},
			Field{Name: "ConvertedContactId", Kind: "reference", Length: 18, refs: []string{"Contact"}, readOnly: true}, Field{Name: "ConvertedAccountId", Kind: "reference", Length: 18, refs: []string{"Account"}, readOnly: true})},
		{name: "Contact", label: "Contact", plural: "Contacts", prefix: "003", fields: system(gone, text("LastName", 80), text("FirstName", 40), Field{Name: "Name", Kind: "string", Length: 121, readOnly: true},
			refTo("AccountId", "Account"), Field{Name: "Email", Kind: "email", Length: 80}, refTo("OwnerId", "User"))},
		{name: "Account", label: "Account", plural: "Accounts", prefix: "001", fields: system(gone, text("Name", 255), refTo("OwnerId", "User"), Field{Name: "AnnualRevenue", Kind: "currency"})},
		{name: "User", label: "User", plural: "Users", prefix: "005", fields: system(text("Username", 80), text("LastName", 80), text("FirstName", 40), text("Name", 121), Field{Name: "Email", Kind: "email", Length: 128}, Field{Name: "IsActive", Kind: "boolean"})},
		{name: "Group", label: "Group", plural: "Groups", prefix: "00G", fields: system(text("Name", 40), Field{Name: "Type", Kind: "picklist", Length: 40})},
		{name: "Opportunity", label: "Opportunity", plural: "Opportunities", prefix: "006", fields: system(gone, text("Name", 120), refTo("AccountId", "Account"), Field{Name: "Amount", Kind: "currency"}, Field{Name: "CloseDate", Kind: "date"}, refTo("OwnerId", "User"))},
		{name: "OpportunityContactRole", label: "Opportunity Contact Role", plural: "Opportunity Contact Roles", prefix: "00K", fields: system(gone, refTo("OpportunityId", "Opportunity"), refTo("ContactId", "Contact"), text("Role", 40))},
		{name: "Campaign", label: "Campaign", plural: "Campaigns", prefix: "701", fields: system(gone, text("Name", 80), Field{Name: "IsActive", Kind: "boolean"}, Field{Name: "StartDate", Kind: "date"})},
		{name: "CampaignMember", label: "Campaign Member", plural: "Campaign Members", prefix: "00v", fields: system(gone, refTo("CampaignId", "Campaign"), refTo("LeadId", "Lead"), refTo("ContactId", "Contact"), text("Status", 40))},
		{name: "CampaignMemberStatus", label: "Campaign Member Status", plural: "Campaign Member Statuses", prefix: "01Y", fields: system(gone, refTo("CampaignId", "Campaign"), text("Label", 765), Field{Name: "SortOrder", Kind: "int"})},
		{name: "Task", label: "Task", plural: "Tasks", prefix: "00T", noBulk: true, fields: system(gone, refTo("WhoId", "Contact", "Lead"), text("Subject", 255), Field{Name: "ActivityDate", Kind: "date"}, refTo("OwnerId", "User", "Group"), Field{Name: "IsArchived", Kind: "boolean", readOnly: true})},
		{name: "Event", label: "Event", plural: "Events", prefix: "00U", fields: system(gone, refTo("WhoId", "Contact", "Lead"), text("Subject", 255), Field{Name: "StartDateTime", Kind: "datetime"}, refTo("OwnerId", "User"))},
	} {
		d.changed = time.Now().Add(-240 * time.Hour).Truncate(time.Second)
		d.byID, d.erased, d.concealed = map[string]map[string]any{}, map[string]bool{}, map[string]bool{}
		if d.name == "Lead" && c.Writes {
			d.fields = append(d.fields, text("City", 40), Field{Name: "Partner_Key__c", Kind: "string", Length: 40, key: true}, text("Title", 128), Field{Name: "Phone", Kind: "phone", Length: 40})
		}
		for i, f := range d.fields {
			d.fields[i].required = c.Writes && (f.Name == "LastName" || f.Name == "Company" || d.name != "Lead" && f.Name == "Name" && !f.readOnly)
		}
		o.objects[d.name] = &d
	}
	old := time.Now().UTC().Add(-2000 * time.Hour)
	// Some records of each object: enough leads and tasks that they come as much, and the page that ends with the last full one.
	fill := map[string]int{"Lead": 2700, "Contact": 2700, "Account": 120, "User": 7, "Group": 3, "Opportunity": 90, "OpportunityContactRole": 80, "Campaign": 5, "CampaignMember": 300, "CampaignMemberStatus": 10, "Task": 2345, "Event": 0}
	if c.Records != nil {
		fill = c.Records
	}
	for name, n := range fill {
		for i := range n {
			o.add(name, old.Add(time.Duration(i)*time.Minute))
		}
	}
	o.server = httptest.NewServer(http.HandlerFunc(o.serve))
	o.URL = o.server.URL
	t.Cleanup(o.server.Close)
	return o
}

// add makes a record with something in each field. The caller holds the lock, or is alone.
func (o *Org) add(name string, at time.Time) string {
	d := o.objects[name]
	d.last++
	n := d.last
	id := ID(d.prefix, n)
	at = at.Truncate(time.Second)
	r := map[string]any{"Id": id}
	for _, f := range d.fields {
		switch f.Name {
		case "Id":
			continue
		case "CreatedDate", "LastModifiedDate", "SystemModstamp":
			r[f.Name] = at
			continue
		case "IsDeleted":
			r[f.Name] = n%41 == 0
			continue
		case "IsConverted", "IsArchived":
			r[f.Name] = false
			continue
		case "MasterRecordId", "ConvertedContactId", "ConvertedAccountId":
			continue
		case "Description":
			r[f.Name] = []any{nil, "zwei\r\nZeilen, \"zitiert\" und ein Komma", "tab\tund 𝄞 €", " Rand ", "#N/A", "NULL"}[n%6]
			continue
		}
		switch f.Kind {
		case "boolean":
			r[f.Name] = n%2 == 0
		case "int":
			r[f.Name] = []any{Number{"5", "5.0"}, Number{"0", "0.0"}, nil, Number{"-12", "-12"}}[n%4]
		case "double", "currency":
			r[f.Name] = []any{Number{"1.5E7", "1.5E7"}, Number{"0.1", "0.10"}, nil, Number{"12345678901234.56", "1.234567890123456E13"}, Number{"-7.0", "-7.0"}}[n%5]
		case "date":
			r[f.Name] = fmt.Sprintf("20%02d-%02d-28", n%30, n%12+1)
		case "datetime":
			r[f.Name] = at
		case "time":
			r[f.Name] = fmt.Sprintf("%02d:30:00.000Z", n%24)
		case "multipicklist":
			r[f.Name] = []any{"one;two", nil, "three"}[n%3]
		case "email":
			r[f.Name] = fmt.Sprintf("person.%d@example.org", n)
		case "reference":
			to := o.objects[f.refs[len(f.refs)-1]]
			r[f.Name] = ID(to.prefix, n%7+1)
		case "address", "base64":
		default:
			r[f.Name] = fmt.Sprintf("%s %d", f.Name, n)
		}
	}
	d.keep(r)
	return id
}

// Write changes a record as somebody in the org would.
func (o *Org) Write(object, id string, set map[string]any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.objects[object].at(id)
	if r == nil {
		o.t.Errorf("the org has no %s %s", object, id)
		return
	}
	for k, v := range set {
		r[k] = v
	}
	now := time.Now().UTC().Truncate(time.Second)
	r["LastModifiedDate"], r["SystemModstamp"], r["LastModifiedById"] = now, now, ID("005", 2)
}

// WriteLate changes a record in a transaction that began at a time and commits now: the stamp is the time's.
func (o *Org) WriteLate(object, id string, began time.Time, set map[string]any) {
	o.Write(object, id, set)
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.objects[object].at(id)
	began = began.UTC().Truncate(time.Second)
	r["LastModifiedDate"], r["SystemModstamp"] = began, began
}

// WriteAll changes every record of an object that is not deleted, as a mass update does, and gives how many.
func (o *Org) WriteAll(object string, set map[string]any) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, n := time.Now().UTC().Truncate(time.Second), 0
	for _, r := range o.objects[object].rows {
		if r["IsDeleted"] == true {
			continue
		}
		for k, v := range set {
			r[k] = v
		}
		r["LastModifiedDate"], r["SystemModstamp"] = now, now
		n++
	}
	return n
}

// Hide takes an object out of the user's sight, and Show brings it back.
func (o *Org) Hide(object string) { o.see(object, true) }

// Show brings a hidden object back.
func (o *Org) Show(object string) { o.see(object, false) }

func (o *Org) see(object string, hidden bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.objects[object].hidden = hidden
}

// Create makes a record.
func (o *Org) Create(object string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := o.add(object, time.Now().UTC())
	r := o.objects[object].rows
	if _, has := r[len(r)-1]["IsDeleted"]; has {
		r[len(r)-1]["IsDeleted"] = false
	}
	return id
}

// Grow adds old records to an object.
func (o *Org) Grow(object string, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range n {
		o.add(object, time.Now().UTC().Add(-1000*time.Hour+time.Duration(i)*time.Second))
	}
}

// Alter changes an object's fields.
func (o *Org) Alter(object string, change func([]Field) []Field) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.objects[object]
	d.fields = change(slices.Clone(d.fields))
	d.changed = time.Now().Truncate(time.Second)
}

// Alive counts the records of an object that are not deleted.
func (o *Org) Alive(object string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, r := range o.objects[object].rows {
		if r["IsDeleted"] != true {
			n++
		}
	}
	return n
}

// Merge lets a record go into another. What points to it points to the other from then on, and its stamp does not say so.
func (o *Org) Merge(object, survivor, loser string) {
	o.Write(object, loser, map[string]any{"IsDeleted": true, "MasterRecordId": survivor})
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.objects {
		for _, f := range d.fields {
			if !slices.Contains(f.refs, object) || f.Name == "MasterRecordId" {
				continue
			}
			for _, r := range d.rows {
				if r[f.Name] == loser && r["IsDeleted"] != true {
					r[f.Name] = survivor
				}
			}
		}
	}
}

// Erase takes a record away for good: nothing tells of it any more.
func (o *Org) Erase(object, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.objects[object]
	d.rows = slices.DeleteFunc(slices.Clone(d.rows), func(r map[string]any) bool { return r["Id"] == id })
	delete(d.byID, id)
	d.erased[id] = true
}

// Conceal takes a record out of the user's sight, as a change of sharing does: it lives, and no answer tells of it.
func (o *Org) Conceal(object, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.objects[object].concealed[id] = true
}

// Reveal lets the user see a record again.
func (o *Org) Reveal(object, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.objects[object].concealed, id)
}

// Calls forgets the calls so far and gives them, by what was asked.
func (o *Org) Calls() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.calls
	o.calls = map[string]int{}
	return was
}

// Strange lists the requests that no documented client would make.
func (o *Org) Strange() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.strange)
}

// EndSessions ends every session, as a policy or an admin does.
func (o *Org) EndSessions() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.tokens)
}

// Fill sets a field of every record without its stamp moving, as the default of a new field does.
func (o *Org) Fill(object, field string, values ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n, r := range o.objects[object].rows {
		r[field] = values[n%len(values)]
	}
}

// Nth gives the id of an object's n-th record, counted from 1. Each 41st is deleted from the start.
func (o *Org) Nth(object string, n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.objects[object].rows[n-1]["Id"].(string)
}

// Get gives a copy of a record, deleted or not; nil if there is none.
func (o *Org) Get(object, id string) map[string]any {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.objects[object].at(id))
}

// Each gives every record of an object, deleted ones too, and its fields; of compound and binary fields nothing is told.
func (o *Org) Each(object string, do func(fields []Field, record map[string]any)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.objects[object]
	fields := slices.DeleteFunc(slices.Clone(d.fields), func(f Field) bool { return f.Kind == "address" || f.Kind == "base64" })
	for _, r := range d.rows {
		do(fields, r)
	}
}

// answer does what a request asks for. The caller holds the lock.
func (o *Org) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if path == "/services/oauth2/token" {
		o.token(w, body)
		return
	}
	if path == "/services/data" {
		o.reply(w, r, 200, "application/json;charset=UTF-8", []byte(`[{"label":"Winter '25","url":"/services/data/v62.0","version":"62.0"},{"label":"Spring '25","url":"/services/data/v63.0","version":"63.0"},{"label":"Summer '25","url":"/services/data/v64.0","version":"64.0"}]`))
		return
	}
	token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !isBearer || !o.tokens[token] {
		o.refuse(w, r, 401, "INVALID_SESSION_ID", "Session expired or invalid")
		return
	}
	rest, isREST := strings.CutPrefix(path, "/services/data/v"+version)
	if !isREST {
		// Neither the identity services nor any other version is here.
		o.calls["other "+path]++
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	if len(r.URL.RequestURI()) > 16_000 {
		o.strange = append(o.strange, r.Method+" "+path+" with an address of "+strconv.Itoa(len(r.URL.RequestURI())))
		o.refuse(w, r, 414, "URI_TOO_LONG", "URI Too Long")
		return
	}
	part := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	o.calls[r.Method+" "+part[0]+map[bool]string{true: "/" + part[len(part)-1]}[part[0] == "sobjects" && len(part) > 2]]++
	switch {
	case r.Method == "GET" && part[0] == "sobjects":
		o.sobjects(w, r, part[1:])
	case part[0] == "sobjects":
		o.write(w, r, part[1:], body)
	case r.Method == "GET" && (part[0] == "query" || part[0] == "queryAll"):
		o.query(w, r, part)
	case part[0] == "jobs" && len(part) > 1 && part[1] == "query":
		o.bulk(w, r, part[2:], body)
	case part[0] == "jobs" && len(part) > 1 && part[1] == "ingest" && o.writes:
		o.ingest(w, r, part[2:], body)
	case part[0] == "limits":
		o.refuse(w, r, 403, "FUNCTIONALITY_NOT_ENABLED_FOR_USER", "insufficient privileges: View Setup and Configuration is needed")
	case part[0] == "composite" && o.writes:
		o.together(w, r, part[1:], body)
	case part[0] == "composite", part[0] == "jobs":
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
	default:
		o.strange = append(o.strange, r.Method+" "+path)
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
	}
}

// write creates, changes or deletes one record.
func (o *Org) write(w http.ResponseWriter, r *http.Request, part []string, body []byte) {
	d := o.objects[part[0]]
	set, err := fieldsOf(body)
	if d == nil || len(part) > 2 || r.Method != "DELETE" && err != nil {
		o.strange = append(o.strange, r.Method+" "+r.URL.Path)
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	var row map[string]any
	if len(part) == 2 {
		row = d.at(part[1])
		if row == nil || d.concealed[row["Id"].(string)] {
			o.refuse(w, r, 404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: "+part[1])
			return
		}
	}
	if since, err := http.ParseTime(r.Header.Get("If-Unmodified-Since")); err == nil && r.Method == "PATCH" && row != nil {
		if at, ok := row["LastModifiedDate"].(time.Time); ok && at.After(since) {
			w.WriteHeader(412)
			return
		}
	}
	status := 204
	var no *refusal
	switch {
	case r.Method == "POST" && len(part) == 1, r.Method == "PATCH" && len(part) == 2:
		if row, no = o.save(d, row, set, r.Header); len(part) == 1 {
			status = 201
		}
	case r.Method == "DELETE" && len(part) == 2:
		no = o.remove(d, part[1])
	default:
		o.refuse(w, r, 405, "METHOD_NOT_ALLOWED", "HTTP Method '"+r.Method+"' not allowed.")
		return
	}
	switch {
	case no != nil && no.code == "ENTITY_IS_DELETED":
		o.refuse(w, r, 404, no.code, no.message)
	case no != nil:
		o.refuse(w, r, 400, no.code, no.message)
	case status == 201:
		o.reply(w, r, 201, "application/json;charset=UTF-8", []byte(`{"id":"`+row["Id"].(string)+`","success":true,"errors":[]}`))
	default:
		w.WriteHeader(204)
	}
}

// reply answers every other time in gzip.
func (o *Org) reply(w http.ResponseWriter, r *http.Request, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	if o.compresses = !o.compresses; o.compresses && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && status == 200 {
		w.Header().Set("Content-Encoding", "gzip")
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body)
		_ = z.Close()
		body = b.Bytes()
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (o *Org) refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	b, _ := json.Marshal([]map[string]any{{"message": message, "errorCode": code}})
	o.reply(w, r, status, "application/json;charset=UTF-8", b)
}

func (o *Org) json(w http.ResponseWriter, r *http.Request, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		o.t.Error(err)
	}
	o.reply(w, r, 200, "application/json;charset=UTF-8", b)
}

func (o *Org) token(w http.ResponseWriter, body []byte) {
	form, _ := url.ParseQuery(string(body))
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	if form.Get("grant_type") != "client_credentials" || form.Get("client_id") != ClientID || form.Get("client_secret") != ClientSecret {
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"invalid client credentials"}`))
		return
	}
	o.serial++
	token := fmt.Sprintf("00DWs000000Other!%x", sha256.Sum256(fmt.Appendf(nil, "%d", o.serial)))
	o.tokens = map[string]bool{token: true}
	_ = json.NewEncoder(w).Encode(map[string]string{
		"access_token": token, "instance_url": o.server.URL, "token_type": "Bearer", "issued_at": strconv.FormatInt(time.Now().UnixMilli(), 10),
		"id": "https://login.salesforce.com/id/" + ID("00D", 1) + "/" + ID("005", 1), "signature": "x",
	})
}

func (o *Org) sobjects(w http.ResponseWriter, r *http.Request, part []string) {
	if len(part) == 0 {
		var list []any
		for _, d := range o.objects {
			if !d.hidden {
				list = append(list, d.summary())
			}
		}
		o.json(w, r, map[string]any{"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list})
		return
	}
	d := o.objects[part[0]]
	if d == nil || d.hidden {
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	switch {
	case len(part) == 2 && part[1] == "describe":
		if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil && !d.changed.After(since) {
			w.WriteHeader(304)
			return
		}
		w.Header().Set("Last-Modified", d.changed.UTC().Format(http.TimeFormat))
		full := d.summary()
		fields := []any{}
		for _, f := range d.fields {
			fields = append(fields, f.describe())
		}
		full["fields"], full["childRelationships"], full["recordTypeInfos"] = fields, []any{}, []any{}
		o.json(w, r, full)
	default:
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
	}
}

func (d *object) summary() map[string]any {
	return map[string]any{
		"name": d.name, "label": d.label, "labelPlural": d.plural, "keyPrefix": d.prefix, "custom": strings.HasSuffix(d.name, "__c"), "customSetting": false, "queryable": true,
		"retrieveable": true, "replicateable": true, "createable": true, "updateable": true, "deletable": d.name != "User", "undeletable": true, "mergeable": false,
		"searchable": true, "triggerable": true, "deprecatedAndHidden": false, "urls": map[string]string{"sobject": "/services/data/v64.0/sobjects/" + d.name},
	}
}

func (f Field) describe() map[string]any {
	soap := map[string]string{"boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double", "currency": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime", "time": "xsd:time", "id": "tns:ID", "reference": "tns:ID", "address": "urn:address", "base64": "xsd:base64Binary"}[f.Kind]
	if soap == "" {
		soap = "xsd:string"
	}
	m := map[string]any{
		"name": f.Name, "label": f.Name, "type": f.Kind, "soapType": soap, "length": f.Length, "byteLength": f.Length * 3, "precision": 0, "scale": 0, "digits": 0, "nillable": f.Name != "Id" && f.Kind != "boolean" && !f.required,
		"createable": !f.readOnly, "updateable": !f.readOnly, "calculated": false, "autoNumber": false, "defaultedOnCreate": f.Kind == "boolean", "unique": f.key, "externalId": f.key, "idLookup": f.Name == "Id" || f.key, "caseSensitive": false,
		"custom": strings.HasSuffix(f.Name, "__c"), "nameField": f.Name == "Name", "filterable": f.Kind != "textarea" && f.Kind != "base64", "sortable": f.Kind != "textarea", "encrypted": false, "restrictedPicklist": false,
		"deprecatedAndHidden": false, "referenceTo": append([]string{}, f.refs...), "relationshipName": nil, "compoundFieldName": nil, "picklistValues": []any{}, "inlineHelpText": nil, "mask": nil, "calculatedFormula": nil, "extraTypeInfo": nil,
	}
	if f.Kind == "double" || f.Kind == "currency" {
		m["precision"], m["scale"] = 18, 2
	}
	return m
}

func (d *object) field(name string) (Field, bool) {
	for _, f := range d.fields {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return Field{}, false
}

type soqlError struct{ code, message string }

// run answers the little SOQL that this org knows: SELECT fields FROM object [WHERE comparison AND ...] [ORDER BY ...] [LIMIT n].
func (o *Org) run(soql string, all bool) (d *object, fields []string, rows []map[string]any, bad *soqlError) {
	word := strings.Fields(soql)
	fail := func(code, format string, args ...any) (*object, []string, []map[string]any, *soqlError) {
		return nil, nil, nil, &soqlError{code, fmt.Sprintf(format, args...)}
	}
	from := slices.IndexFunc(word, func(s string) bool { return strings.EqualFold(s, "FROM") })
	if len(word) < 4 || !strings.EqualFold(word[0], "SELECT") || from < 0 || from+1 >= len(word) {
		return fail("MALFORMED_QUERY", "unexpected token: %s", soql)
	}
	d = o.objects[word[from+1]]
	if d == nil || d.hidden {
		return fail("INVALID_TYPE", "\n%s\n^\nERROR at Row:1:Column:1\nsObject type '%s' is not supported.", soql, word[from+1])
	}
	list := strings.Join(word[1:from], " ")
	if !strings.EqualFold(strings.ReplaceAll(list, " ", ""), "COUNT()") {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			f, ok := d.field(name)
			if !ok {
				return fail("INVALID_FIELD", "\n%s\n       ^\nERROR at Row:1:Column:8\nNo such column '%s' on entity '%s'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name.", soql, name, d.name)
			}
			fields = append(fields, f.Name)
		}
	}
	tail := strings.Join(word[from+2:], " ")
	limit := -1
	if before, n, ok := cutLast(tail, "LIMIT "); ok {
		limit, _ = strconv.Atoi(strings.TrimSpace(n))
		tail = before
	}
	tail, order, ordered := cutLast(tail, "ORDER BY ")
	where, _ := strings.CutPrefix(strings.TrimSpace(tail), "WHERE ")
	var tests []func(map[string]any) bool
	if where != "" {
		test, problem := d.condition(where)
		if problem != "" {
			return fail("MALFORMED_QUERY", "%s", problem)
		}
		tests = append(tests, test)
	}
	for _, r := range d.rows {
		if !all && r["IsDeleted"] == true || len(d.concealed) > 0 && d.concealed[r["Id"].(string)] {
			continue
		}
		if !slices.ContainsFunc(tests, func(test func(map[string]any) bool) bool { return !test(r) }) {
			rows = append(rows, r)
		}
	}
	if ordered {
		rows = slices.Clone(rows)
		by, descending := strings.CutSuffix(strings.TrimSpace(order), " DESC")
		f, known := d.field(by)
		if !known {
			return fail("INVALID_FIELD", "No such column '%s' on entity '%s'.", by, d.name)
		}
		slices.SortStableFunc(rows, func(a, b map[string]any) int {
			c := strings.Compare(plain(a[f.Name]), plain(b[f.Name]))
			if descending {
				c = -c
			}
			return c
		})
	}
	if limit >= 0 && len(rows) > limit {
		rows = rows[:limit]
	}
	return d, fields, rows, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(strings.ToUpper(s), sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// condition reads comparisons that are joined by AND, OR and parentheses.
func (d *object) condition(s string) (func(map[string]any) bool, string) {
	s = strings.TrimSpace(s)
	for _, word := range []string{" OR ", " AND "} {
		parts := outside(s, word)
		if len(parts) == 1 {
			continue
		}
		tests := make([]func(map[string]any) bool, len(parts))
		for i, part := range parts {
			var problem string
			if tests[i], problem = d.condition(part); problem != "" {
				return nil, problem
			}
		}
		return func(r map[string]any) bool {
			for _, test := range tests {
				if test(r) == (word == " OR ") {
					return word == " OR "
				}
			}
			return word == " AND "
		}, ""
	}
	if strings.HasPrefix(s, "(") && strings.HasSuffix(s, ")") {
		return d.condition(s[1 : len(s)-1])
	}
	return d.test(s)
}

// outside cuts a text at a word that stands outside of quotes and parentheses.
func outside(s, word string) (parts []string) {
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0 && strings.HasPrefix(s[i:], word):
			parts = append(parts, s[from:i])
			from = i + len(word)
			i = from - 1
		}
	}
	return append(parts, s[from:])
}

// plain writes a value for comparisons.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	}
	return fmt.Sprint(v)
}

var unquote = strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\n`, "\n", `\r`, "\r")

// test reads one comparison.
func (d *object) test(s string) (func(map[string]any) bool, string) {
	if name, list, ok := strings.Cut(s, " IN ("); ok {
		f, known := d.field(strings.TrimSpace(name))
		if !known {
			return nil, "no such column " + name
		}
		isID := f.Kind == "id" || f.Kind == "reference"
		wanted := map[string]bool{}
		for _, v := range outside(strings.TrimSuffix(strings.TrimSpace(list), ")"), ",") {
			v = unquote.Replace(strings.Trim(strings.TrimSpace(v), "'"))
			if isID && len(v) == 15 {
				v = checked(v)
			}
			if !isID {
				v = strings.ToLower(v)
			}
			wanted[v] = true
		}
		return func(r map[string]any) bool {
			v, _ := r[f.Name].(string)
			if !isID {
				v = strings.ToLower(v)
			}
			return v != "" && wanted[v]
		}, ""
	}
	for _, op := range []string{">=", "<=", "!=", "=", ">", "<"} {
		name, value, ok := strings.Cut(s, op)
		if !ok {
			continue
		}
		f, known := d.field(strings.TrimSpace(name))
		value = strings.TrimSpace(value)
		if !known {
			return nil, "no such column " + name
		}
		want := strings.Trim(value, "'")
		if f.Kind == "datetime" {
			at, err := time.Parse(time.RFC3339, want)
			if err != nil {
				return nil, "no datetime: " + value
			}
			want = at.UTC().Format(time.RFC3339)
		}
		return func(r map[string]any) bool {
			var have string
			switch v := r[f.Name].(type) {
			case time.Time:
				have = v.UTC().Format(time.RFC3339)
			case nil:
				have = "null"
			default:
				have = fmt.Sprint(v)
			}
			c := strings.Compare(have, want)
			return op == ">=" && c >= 0 || op == "<=" && c <= 0 || op == "!=" && c != 0 || op == "=" && c == 0 || op == ">" && c > 0 || op == "<" && c < 0
		}, ""
	}
	return nil, "unexpected: " + s
}

func (o *Org) query(w http.ResponseWriter, r *http.Request, part []string) {
	var c cursor
	if len(part) == 2 {
		var ok bool
		if c, ok = o.cursors[part[1]]; !ok {
			o.refuse(w, r, 400, "INVALID_QUERY_LOCATOR", "invalid query locator")
			return
		}
	} else {
		d, fields, rows, bad := o.run(r.URL.Query().Get("q"), part[0] == "queryAll")
		if bad != nil {
			o.refuse(w, r, 400, bad.code, bad.message)
			return
		}
		c = cursor{fields, rows, d.name, len(rows)}
		if fields == nil {
			o.json(w, r, map[string]any{"totalSize": len(rows), "done": true, "records": []any{}})
			return
		}
	}
	n := min(o.pageRows, len(c.rows))
	records := []json.RawMessage{}
	for _, row := range c.rows[:n] {
		records = append(records, row4REST(o.objects[c.object], c.fields, row))
	}
	answer := map[string]any{"totalSize": c.total, "done": n == len(c.rows), "records": records}
	if n < len(c.rows) {
		o.serial++
		name := fmt.Sprintf("01gWs%010d-%d", o.serial, c.total-len(c.rows)+n)
		c.rows = c.rows[n:]
		o.cursors[name] = c
		// Followed as given, whatever form it has: a path of /query or /queryAll, or the whole address.
		answer["nextRecordsUrl"] = []string{"/services/data/v64.0/query/" + name, "/services/data/v64.0/queryAll/" + name, o.server.URL + "/services/data/v64.0/query/" + name}[o.serial%3]
	}
	o.json(w, r, answer)
}

func row4REST(d *object, fields []string, row map[string]any) json.RawMessage {
	var b strings.Builder
	fmt.Fprintf(&b, `{"attributes":{"type":%q,"url":"/services/data/v64.0/sobjects/%s/%s"}`, d.name, d.name, row["Id"])
	for _, f := range fields {
		b.WriteString(`,"` + f + `":`)
		switch v := row[f].(type) {
		case nil:
			b.WriteString("null")
		case Number:
			b.WriteString(v.REST)
		case time.Time:
			b.WriteString(v.UTC().Format(`"2006-01-02T15:04:05.000+0000"`))
		default:
			text, _ := json.Marshal(v)
			b.Write(text)
		}
	}
	b.WriteString("}")
	return json.RawMessage(b.String())
}

func (o *Org) bulk(w http.ResponseWriter, r *http.Request, part []string, body []byte) {
	if len(part) == 0 {
		var ask struct{ Operation, Query, ContentType, ColumnDelimiter, LineEnding string }
		if r.Method != "POST" || json.Unmarshal(body, &ask) != nil || ask.ContentType != "" && ask.ContentType != "CSV" {
			o.refuse(w, r, 400, "INVALIDJOB", "what is this")
			return
		}
		d, fields, rows, bad := o.run(ask.Query, ask.Operation == "queryAll")
		switch {
		case bad != nil:
			o.refuse(w, r, 400, bad.code, bad.message)
			return
		case d.noBulk:
			o.refuse(w, r, 400, "INVALIDENTITY", "Entity '"+d.name+"' is not supported by the Bulk API.")
			return
		}
		for _, f := range fields {
			if f, _ := d.field(f); f.Kind == "address" || f.Kind == "base64" {
				o.refuse(w, r, 400, "INVALIDJOB", "Selecting compound data not supported in Bulk Query")
				return
			}
		}
		o.serial++
		id := ID("750", o.serial)
		o.jobs[id] = &job{object: d.name, query: ask.Query, rows: rows, fields: fields, bare: d.name == "Lead"}
		o.job(w, r, id)
		return
	}
	j := o.jobs[part[0]]
	if j == nil {
		o.refuse(w, r, 404, "NOT_FOUND", "The requested resource does not exist")
		return
	}
	switch {
	case len(part) == 1 && r.Method == "GET":
		j.state = min(j.state+1, 2)
		o.job(w, r, part[0])
	case len(part) == 1 && r.Method == "DELETE":
		delete(o.jobs, part[0])
		w.WriteHeader(204)
	case len(part) == 2 && part[1] == "results" && j.state == 2:
		o.results(w, r, j)
	default:
		o.refuse(w, r, 400, "INVALIDJOBSTATE", "the job is not there yet")
	}
}

func (o *Org) job(w http.ResponseWriter, r *http.Request, id string) {
	j := o.jobs[id]
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000+0000")
	answer := map[string]any{
		"id": id, "operation": "queryAll", "object": j.object, "createdById": ID("005", 1), "createdDate": at, "systemModstamp": at, "state": []string{"UploadComplete", "InProgress", "JobComplete"}[j.state],
		"concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": 64.0, "lineEnding": "LF", "columnDelimiter": "COMMA",
	}
	if j.state == 2 {
		answer["jobType"], answer["numberRecordsProcessed"], answer["retries"], answer["totalProcessingTime"] = "V2Query", len(j.rows), 0, 1234
	}
	o.json(w, r, answer)
}

// results gives pages of the org's own size, whatever was asked for. After the last full page comes one without records: with a
// header line, and of leads with nothing at all.
func (o *Org) results(w http.ResponseWriter, r *http.Request, j *job) {
	from := 0
	if l := r.URL.Query().Get("locator"); l != "" {
		if _, err := fmt.Sscanf(l, "Ws%d==", &from); err != nil || from > len(j.rows) {
			o.refuse(w, r, 400, "INVALID_LOCATOR", "no such locator")
			return
		}
	}
	n := min(o.bulkRows, len(j.rows)-from)
	var b bytes.Buffer
	line := func(cells []string) {
		for i, c := range cells {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"` + strings.ReplaceAll(c, `"`, `""`) + `"`)
		}
		b.WriteByte('\n')
	}
	if n > 0 || !j.bare {
		line(j.fields)
	}
	for _, row := range j.rows[from : from+n] {
		cells := make([]string, len(j.fields))
		for i, f := range j.fields {
			switch v := row[f].(type) {
			case nil:
			case Number:
				cells[i] = v.Bulk
			case time.Time:
				// With or without milliseconds: which of them Bulk writes is nowhere said.
				cells[i] = v.UTC().Format([]string{"2006-01-02T15:04:05.000Z", "2006-01-02T15:04:05Z"}[len(j.object)%2])
			default:
				cells[i] = fmt.Sprint(v)
			}
		}
		line(cells)
	}
	next := "null"
	if n == o.bulkRows {
		next = fmt.Sprintf("Ws%d==", from+n)
	}
	w.Header().Set("Sforce-Locator", next)
	w.Header().Set("Sforce-NumberOfRecords", strconv.Itoa(n))
	o.reply(w, r, 200, "text/csv; charset=UTF-8", b.Bytes())
}
