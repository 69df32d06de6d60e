package simorg_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// client speaks to an org over HTTP, as strangers do.
type client struct {
	t     testing.TB
	org   *simorg.Org
	url   string
	token string
}

func start(t testing.TB, c simorg.Config) *client {
	t.Helper()
	if c.BulkDelay == 0 {
		c.BulkDelay = time.Millisecond
	}
	org, err := simorg.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(org.Handler())
	t.Cleanup(func() {
		s.Close()
		if err := org.Close(); err != nil {
			t.Error(err)
		}
	})
	cl := &client{t: t, org: org, url: s.URL}
	cl.login()
	return cl
}

func (c *client) login() {
	c.t.Helper()
	status, body := c.form("/services/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {simorg.DefaultClientID}, "client_secret": {simorg.DefaultClientSecret}})
	if status != 200 {
		c.t.Fatalf("signing in gave %d %v", status, body)
	}
	c.token = body["access_token"].(string)
}

func (c *client) form(path string, v url.Values) (int, map[string]any) {
	c.t.Helper()
	r, err := http.PostForm(c.url+path, v)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	m := map[string]any{}
	d := json.NewDecoder(r.Body)
	d.UseNumber()
	_ = d.Decode(&m)
	return r.StatusCode, m
}

// do sends a request below /services/data/v68.0 and gives the reply as it came.
func (c *client) do(method, path string, body any, headers ...string) (*http.Response, []byte) {
	c.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		in = bytes.NewReader(j)
	}
	if !strings.HasPrefix(path, "/services") && !strings.HasPrefix(path, "//") {
		path = "/services/data/v68.0" + path
	}
	r, err := http.NewRequest(method, c.url+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	for k := 0; k < len(headers); k += 2 {
		r.Header.Set(headers[k], headers[k+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, b
}

// want sends a request, demands a status, and decodes the reply.
func (c *client) want(status int, method, path string, body any, headers ...string) any {
	c.t.Helper()
	res, b := c.do(method, path, body, headers...)
	if res.StatusCode != status {
		c.t.Fatalf("%s %s gave %d %s, want %d", method, path, res.StatusCode, b, status)
	}
	if len(b) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		c.t.Fatalf("%s %s gave %s: %v", method, path, b, err)
	}
	return v
}

func (c *client) wantError(status int, code, method, path string, body any, headers ...string) string {
	c.t.Helper()
	list, ok := c.want(status, method, path, body, headers...).([]any)
	if !ok || len(list) == 0 {
		c.t.Fatalf("%s %s gave no error array", method, path)
	}
	e := list[0].(map[string]any)
	if e["errorCode"] != code {
		c.t.Errorf("%s %s gave %v, want %s", method, path, e, code)
	}
	return e["message"].(string)
}

type object = map[string]any

// query runs a statement and reads all its pages.
func (c *client) query(soql string) (rows []object) {
	c.t.Helper()
	return c.queryOf("/query?q=", soql)
}

func (c *client) queryAll(soql string) (rows []object) {
	c.t.Helper()
	return c.queryOf("/queryAll?q=", soql)
}

func (c *client) queryOf(path, soql string) (rows []object) {
	c.t.Helper()
	path += url.QueryEscape(soql)
	for {
		m := c.want(200, "GET", path, nil).(object)
		for _, r := range m["records"].([]any) {
			rows = append(rows, r.(object))
		}
		if m["done"] == true {
			return rows
		}
		path = m["nextRecordsUrl"].(string)
	}
}

func (c *client) count(soql string) int {
	c.t.Helper()
	m := c.want(200, "GET", "/query?q="+url.QueryEscape(soql), nil).(object)
	return number(c.t, m["totalSize"])
}

func number(t testing.TB, v any) int {
	t.Helper()
	n, ok := v.(json.Number)
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	i, err := n.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return int(i)
}

// bulk runs a bulk query to its end and gives all rows, header first. pages is how many pages there were.
func (c *client) bulk(operation, soql string, maxRecords int) (rows [][]string, pages int) {
	c.t.Helper()
	j := c.want(200, "POST", "/jobs/query", object{"operation": operation, "query": soql}).(object)
	path := "/jobs/query/" + j["id"].(string)
	c.until(path)
	locator := ""
	total := 0
	for {
		p := fmt.Sprintf("%s/results?maxRecords=%d", path, maxRecords)
		if locator != "" {
			p += "&locator=" + locator
		}
		res, b := c.do("GET", p, nil)
		if res.StatusCode != 200 {
			c.t.Fatalf("results gave %d %s", res.StatusCode, b)
		}
		page, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
		if err != nil {
			c.t.Fatal(err)
		}
		if n := res.Header.Get("Sforce-NumberOfRecords"); fmt.Sprint(len(page)-1) != n {
			c.t.Errorf("a page of %d rows says it has %s", len(page)-1, n)
		}
		if pages == 0 {
			rows = append(rows, page[0])
		}
		rows = append(rows, page[1:]...)
		total += len(page) - 1
		pages++
		if locator = res.Header.Get("Sforce-Locator"); locator == "null" {
			break
		}
	}
	if n := number(c.t, c.want(200, "GET", path, nil).(object)["numberRecordsProcessed"]); n != total {
		c.t.Errorf("the job counted %d rows and its pages had %d", n, total)
	}
	return rows, pages
}

func (c *client) until(path string) object {
	c.t.Helper()
	for range 1000 {
		m := c.want(200, "GET", path, nil).(object)
		switch m["state"] {
		case "JobComplete", "Failed", "Aborted":
			return m
		}
		time.Sleep(2 * time.Millisecond)
	}
	c.t.Fatal("the job does not end")
	return nil
}

var objects = []string{"User", "Group", "Account", "Lead", "Contact", "Opportunity", "OpportunityContactRole", "Campaign", "CampaignMemberStatus", "CampaignMember", "Task", "Event", "OpportunityHistory", "Case", "Subscription__c", "Product_Interest__c", "License__c", "Organization", "Profile", "UserRole", "LeadStatus", "RecordType", "OpportunityStage", "TaskStatus"}

// Whatever a row holds, Each, REST and Bulk say the same of it.
func TestEveryWayOfReadingGivesTheSame(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 4, Leads: 400, Contacts: 300, Accounts: 60, Tasks: 200, Events: 100})
	for _, name := range objects {
		d := c.want(200, "GET", "/sobjects/"+name+"/describe", nil).(object)
		var fields []string
		types := map[string]string{}
		for _, f := range d["fields"].([]any) {
			f := f.(object)
			types[f["name"].(string)] = f["type"].(string)
			if f["type"] != "address" && f["type"] != "location" {
				fields = append(fields, f["name"].(string))
			}
		}
		soql := "SELECT " + strings.Join(fields, ", ") + " FROM " + name
		truth := map[string]object{}
		n, live := 0, 0
		if err := c.org.Each(name, true, func(f map[string]any) error {
			truth[f["Id"].(string)] = f
			n++
			if f["IsDeleted"] != true {
				live++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n == 0 || c.org.Count(name) != live {
			t.Errorf("%s: %d rows, %d live, Count says %d", name, n, live, c.org.Count(name))
		}
		rows := c.queryAll(soql)
		if len(rows) != n {
			t.Errorf("%s: queryAll gave %d rows, want %d", name, len(rows), n)
		}
		for _, r := range rows {
			want := truth[r["Id"].(string)]
			for _, f := range fields {
				if got := r[f]; plain(got) != plain(want[f]) {
					t.Fatalf("%s %s.%s: REST gave %v, Each %v", name, r["Id"], f, got, want[f])
				}
			}
		}
		switch name {
		case "Organization", "LeadStatus", "OpportunityStage", "TaskStatus":
			c.wantError(400, "INVALIDENTITY", "POST", "/jobs/query", object{"operation": "queryAll", "query": soql})
			continue
		}
		table, _ := c.bulk("queryAll", soql, 77)
		if len(table)-1 != n {
			t.Errorf("%s: bulk gave %d rows, want %d", name, len(table)-1, n)
		}
		for _, r := range table[1:] {
			want := truth[r[0]]
			for k, f := range fields {
				w := want[f]
				if types[f] == "datetime" && w != nil {
					w = strings.Replace(w.(string), "+0000", "Z", 1)
				}
				// encoding/csv turns CRLF within a value into LF.
				if s, ok := w.(string); ok {
					w = strings.ReplaceAll(s, "\r\n", "\n")
				}
				if plain(w) != plain(r[k]) && !(w == nil && r[k] == "") {
					t.Fatalf("%s %s.%s: bulk gave %q, Each %v", name, r[0], f, r[k], want[f])
				}
			}
		}
	}
}

// plain compares numbers by value and everything else by its text.
func plain(v any) string {
	s := fmt.Sprint(v)
	if n, err := json.Number(s).Float64(); err == nil && s != "" {
		return fmt.Sprint(n)
	}
	return s
}

// What points somewhere points to a row that is there, and what hangs from a deleted row is deleted.
func TestReferencesHold(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 9, Leads: 2000, Contacts: 1000})
	deleted := map[string]bool{}
	for _, name := range objects {
		_ = c.org.Each(name, true, func(f map[string]any) error {
			deleted[f["Id"].(string)] = f["IsDeleted"] == true
			return nil
		})
	}
	cascades := map[string]bool{"Contact.AccountId": true, "Opportunity.AccountId": true, "CampaignMember.CampaignId": true, "CampaignMember.LeadId": true, "CampaignMember.ContactId": true, "OpportunityContactRole.OpportunityId": true, "OpportunityContactRole.ContactId": true, "Task.WhoId": true, "Task.WhatId": true, "Event.WhoId": true, "CampaignMemberStatus.CampaignId": true}
	pairs := map[string]bool{}
	for _, name := range objects {
		_ = c.org.Each(name, true, func(f map[string]any) error {
			for k, v := range f {
				id, ok := v.(string)
				if !ok || len(id) != 18 || !strings.HasSuffix(k, "Id") && !strings.HasSuffix(k, "__c") || strings.ContainsAny(id, " .@-") {
					continue
				}
				gone, there := deleted[id]
				if strings.HasSuffix(k, "Id") && k != "FederationId" && !there {
					t.Fatalf("%s %s.%s points to %s, which is not there", name, f["Id"], k, id)
				}
				if gone && cascades[name+"."+k] && f["IsDeleted"] != true {
					t.Fatalf("%s %s is live and its %s %s is deleted", name, f["Id"], k, id)
				}
				if gone && k == "MasterRecordId" {
					t.Fatalf("%s %s was merged into %s, which is deleted", name, f["Id"], id)
				}
			}
			if name == "CampaignMember" {
				key := fmt.Sprint(f["CampaignId"], f["LeadId"], f["ContactId"])
				if pairs[key] {
					t.Fatalf("%s is twice in a campaign", f["Id"])
				}
				pairs[key] = true
			}
			return nil
		})
	}
}

// The made-up rows keep the org's own rules: lengths, digits, choices, and what must be there.
func TestComputedRowsAreValid(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 8, Leads: 6000, Contacts: 3000, WideLeads: 70})
	for _, name := range objects {
		type field struct {
			name, kind               string
			length, precision, scale int
			nillable                 bool
			choices                  map[string]bool
		}
		var fields []field
		for _, f := range c.want(200, "GET", "/sobjects/"+name+"/describe", nil).(object)["fields"].([]any) {
			f := f.(object)
			x := field{name: f["name"].(string), kind: f["type"].(string), length: number(t, f["length"]), precision: number(t, f["precision"]), scale: number(t, f["scale"]), nillable: f["nillable"] == true}
			if f["restrictedPicklist"] == true {
				x.choices = map[string]bool{}
				for _, p := range f["picklistValues"].([]any) {
					x.choices[p.(object)["value"].(string)] = true
				}
			}
			fields = append(fields, x)
		}
		filled := map[string]int{}
		n := 0
		_ = c.org.Each(name, true, func(row map[string]any) error {
			n++
			for _, f := range fields {
				v := row[f.name]
				if v == nil {
					if !f.nillable && f.kind != "address" {
						t.Fatalf("%s.%s of %s is null", name, f.name, row["Id"])
					}
					continue
				}
				filled[f.name]++
				switch s := fmt.Sprint(v); {
				case f.length > 0 && len(utf16.Encode([]rune(s))) > f.length:
					t.Fatalf("%s.%s of %s has %d characters, want at most %d: %q", name, f.name, row["Id"], len([]rune(s)), f.length, s)
				case s == "":
					t.Fatalf("%s.%s of %s is empty text and not null", name, f.name, row["Id"])
				case f.precision > 0:
					whole, fraction, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
					if len(fraction) > f.scale || len(whole) > f.precision-f.scale && whole != "0" {
						t.Fatalf("%s.%s of %s is %s, which has more than %d,%d digits", name, f.name, row["Id"], s, f.precision, f.scale)
					}
				case f.choices != nil && !f.choices[s]:
					t.Fatalf("%s.%s of %s is %q, which is no choice", name, f.name, row["Id"], s)
				}
			}
			return nil
		})
		t.Logf("%s: %d rows", name, n)
	}
}

// People at work and programs that read do not get in each other's way.
func TestLife(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 8, Leads: 300, Contacts: 200, BulkDelay: time.Nanosecond})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.org.Life(ctx, 200_000); close(done) }()
	for range 10 {
		c.bulk("queryAll", "SELECT Id, Name, Owner.Name, SystemModstamp FROM Lead", 100)
		c.query("SELECT Id, Name, (SELECT Id FROM Tasks) FROM Contact ORDER BY SystemModstamp DESC")
		c.want(200, "GET", "/sobjects/Lead/describe", nil)
	}
	stop()
	<-done
	changed := c.queryAll("SELECT Id FROM Lead WHERE SystemModstamp > 2026-10-02T00:00:00Z")
	if len(changed) == 0 {
		t.Error("nobody worked")
	}
	for _, name := range objects {
		live := 0
		_ = c.org.Each(name, true, func(f map[string]any) error {
			if f["IsDeleted"] != true {
				live++
			}
			return nil
		})
		if n := c.org.Count(name); n != live {
			t.Errorf("Count of %s says %d, there are %d", name, n, live)
		}
	}
	// The roll-ups of campaigns still count what is there.
	for _, r := range c.query("SELECT Id, NumberOfLeads, NumberOfContacts, NumberOfResponses, NumberOfOpportunities FROM Campaign") {
		id := r["Id"].(string)
		for field, soql := range map[string]string{
			"NumberOfLeads": "SELECT COUNT() FROM CampaignMember WHERE LeadId != null AND CampaignId = '", "NumberOfResponses": "SELECT COUNT() FROM CampaignMember WHERE HasResponded = true AND CampaignId = '",
			"NumberOfOpportunities": "SELECT COUNT() FROM Opportunity WHERE CampaignId = '",
		} {
			if got, want := number(t, r[field]), c.count(soql+id+"'"); got != want {
				t.Errorf("%s of %s is %d, want %d", field, id, got, want)
			}
		}
	}
}
