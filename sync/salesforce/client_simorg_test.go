package salesforce_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/simorg"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// These tests hold the client against a simulated org that was written from the same documents by other hands.

type world struct {
	org    *simorg.Org
	srv    *httptest.Server
	client *salesforce.Client
	tokens salesforce.TokenStore
}

func simulate(t *testing.T, c simorg.Config) *world {
	t.Helper()
	if c.Leads == 0 {
		c.Leads, c.Contacts, c.Accounts = 3000, 200, 50
	}
	o, err := simorg.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{org: o, srv: httptest.NewServer(o.Handler())}
	t.Cleanup(func() {
		w.srv.Close()
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	w.tokens = salesforce.MemoryTokens()
	w.client = w.connect(t, salesforce.Credentials{Auth: salesforce.AuthClientCredentials, ClientSecret: simorg.DefaultClientSecret})
	return w
}

func (w *world) config(t *testing.T, cred salesforce.Credentials) salesforce.Config {
	t.Helper()
	cred.LoginURL, cred.ClientID = w.srv.URL, simorg.DefaultClientID
	hc := &http.Client{Transport: salesforce.Transport()}
	t.Cleanup(hc.CloseIdleConnections)
	return salesforce.Config{Credentials: cred, Tokens: w.tokens, ClientName: "Tandem/1.0", HTTP: hc, AllowLocal: true}
}

func (w *world) connect(t *testing.T, cred salesforce.Credentials) *salesforce.Client {
	t.Helper()
	c, err := salesforce.New(w.config(t, cred))
	if err != nil {
		t.Fatal(err)
	}
	return salesforce.WithoutPauses(c)
}

func drain(rows sobject.Rows) (map[string][]string, error) {
	out := map[string][]string{}
	for {
		cells, err := rows.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		texts := make([]string, len(cells))
		for i, c := range cells {
			texts[i] = string(c)
		}
		if _, twice := out[texts[0]]; twice {
			return out, fmt.Errorf("%s came twice", texts[0])
		}
		out[texts[0]] = texts
	}
}

func query(t *testing.T, c *salesforce.Client, columns []string, soql string, all bool) (map[string][]string, int) {
	t.Helper()
	out, pages := map[string][]string{}, 0
	for page, err := range c.QueryRows(t.Context(), columns, soql, all) {
		if err != nil {
			t.Fatal(err)
		}
		pages++
		rows, err := drain(page.Rows)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(out, rows)
	}
	return out, pages
}

func TestSimorgSignsInByEachFlow(t *testing.T) {
	w := simulate(t, simorg.Config{RefreshRotation: true})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w.org.RegisterKey(&key.PublicKey)
	who, err := w.client.UserInfo(t.Context())
	if err != nil || who.PreferredUsername == "" || len(who.OrganizationID) != 18 || len(who.UserID) != 18 {
		t.Fatalf("UserInfo = %+v, %v", who, err)
	}

	w.tokens = salesforce.MemoryTokens()
	byJWT := w.connect(t, salesforce.Credentials{
		Auth: salesforce.AuthJWT, Username: who.PreferredUsername,
		PrivateKeyPEM: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	})
	if got, err := byJWT.UserInfo(t.Context()); err != nil || got != who {
		t.Errorf("by JWT: %+v, %v, want %+v", got, err, who)
	}

	// Web server flow: the browser's part is played here.
	cred := salesforce.Credentials{LoginURL: w.srv.URL, Auth: salesforce.AuthWebServer, ClientID: simorg.DefaultClientID, ClientSecret: simorg.DefaultClientSecret, RedirectURL: "https://tandem.example.com/connection/callback"}
	verifier := oauth2.GenerateVerifier()
	page, err := salesforce.AuthorizeURL(cred, "the state", verifier)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: salesforce.Transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	res, err := browser.Get(page + "&approve=allow")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	back, err := url.Parse(res.Header.Get("Location"))
	if err != nil || back.Query().Get("state") != "the state" || back.Query().Get("code") == "" {
		t.Fatalf("sent back to %s, %v", back, err)
	}
	w.tokens = salesforce.MemoryTokens()
	cfg := w.config(t, cred)
	if _, err := salesforce.Exchange(t.Context(), cfg, back.Query().Get("code"), "another-verifier-that-is-long-enough-to-be-one"); !salesforce.IsHalting(err) {
		t.Errorf("a wrong verifier: %v", err)
	}
	res, err = browser.Get(page + "&approve=allow")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	back, _ = url.Parse(res.Header.Get("Location"))
	token, err := salesforce.Exchange(t.Context(), cfg, back.Query().Get("code"), verifier)
	if err != nil || token.RefreshToken == "" || token.InstanceURL != w.srv.URL || token.IssuedAt.IsZero() {
		t.Fatalf("Exchange = %v, %v", token, err)
	}
	if _, err := w.tokens.Renew(t.Context(), "", func(context.Context, salesforce.Token) (salesforce.Token, error) { return token, nil }); err != nil {
		t.Fatal(err)
	}
	byBrowser := w.connect(t, salesforce.Credentials{Auth: salesforce.AuthWebServer, ClientSecret: simorg.DefaultClientSecret})
	for range 3 { // the refresh token rotates each time
		if _, err := byBrowser.UserInfo(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := byBrowser.Objects(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.org.ExpireSessions()
	}
	if got, _ := w.tokens.Token(t.Context()); got.RefreshToken == token.RefreshToken || got.RefreshToken == "" {
		t.Error("the refresh token did not rotate into the store")
	}
	w.org.RevokeRefreshTokens()
	if _, err := byBrowser.Objects(t.Context()); salesforce.HaltReason(err) != salesforce.HaltLogin || !salesforce.HasCode(err, "invalid_grant") {
		t.Errorf("after revocation: %v, want it to halt", err)
	}

	// Refused in each way that an admin meets.
	if err := w.org.RunAs(""); err != nil {
		t.Fatal(err)
	}
	w.tokens = salesforce.MemoryTokens()
	nobody := w.connect(t, salesforce.Credentials{Auth: salesforce.AuthClientCredentials, ClientSecret: simorg.DefaultClientSecret})
	if _, err := nobody.UserInfo(t.Context()); salesforce.HaltReason(err) != salesforce.HaltLogin || !strings.Contains(err.Error(), "no client credentials user enabled") {
		t.Errorf("no Run As user: %v", err)
	}
	wrong := w.connect(t, salesforce.Credentials{Auth: salesforce.AuthClientCredentials, ClientSecret: "not the secret"})
	if _, err := wrong.UserInfo(t.Context()); salesforce.HaltReason(err) != salesforce.HaltLogin || strings.Contains(err.Error(), "not the secret") {
		t.Errorf("a wrong secret: %v", err)
	}
}

func TestSimorgDescribes(t *testing.T) {
	w := simulate(t, simorg.Config{})
	if v, err := w.client.APIVersion(t.Context()); err != nil || v != salesforce.PinnedVersion {
		t.Fatalf("APIVersion = %q, %v", v, err)
	}
	objects, err := w.client.Objects(t.Context())
	if err != nil || !slices.ContainsFunc(objects, func(o salesforce.ObjectSummary) bool {
		return o.Name == "Lead" && o.KeyPrefix == "00Q" && o.Queryable && o.Replicateable
	}) {
		t.Fatalf("Objects = %+v, %v", objects, err)
	}
	var asks []salesforce.DescribeRequest
	for _, o := range objects {
		asks = append(asks, salesforce.DescribeRequest{Object: o.Name})
	}
	before := w.client.Calls()
	all, err := w.client.DescribeMany(t.Context(), asks)
	if err != nil {
		t.Fatal(err)
	}
	if calls := w.client.Calls() - before; calls != int64(len(asks)+24)/25 {
		t.Errorf("%d objects took %d calls", len(asks), calls)
	}
	for i, d := range all {
		if d.Err != nil || d.NotModified || d.Schema.Name != asks[i].Object || len(d.Schema.Fields) == 0 {
			t.Errorf("%s: %v, %d fields, modified %v", d.Object, d.Err, len(d.Schema.Fields), d.LastModified)
		}
		one, err := w.client.Describe(t.Context(), d.Object)
		if d.LastModified.IsZero() { // a composite reply may leave it out
			d.LastModified = one.LastModified
		}
		if err != nil || len(one.Schema.Fields) != len(d.Schema.Fields) || one.LastModified.IsZero() || !one.LastModified.Equal(d.LastModified) {
			t.Errorf("%s: alone %d fields, modified %v, %v", d.Object, len(one.Schema.Fields), one.LastModified, err)
		}
		if f, ok := d.Schema.Field("Id"); !ok || f.Type != "id" || d.Schema.Synced()[0].Name != "Id" {
			t.Errorf("%s has no Id first", d.Object)
		}
		asks[i].IfModifiedSince = d.LastModified
	}
	w.org.HideField("Lead", "Email")
	w.org.HideObject("Contact")
	again, err := w.client.DescribeMany(t.Context(), asks)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range again {
		_, email := d.Schema.Field("Email")
		switch {
		case d.Object == "Contact":
			if !salesforce.HasCode(d.Err, salesforce.CodeNotFound) {
				t.Errorf("a hidden object: %v", d.Err)
			}
		case d.Object == "Lead":
			if d.NotModified || d.Err != nil || email {
				t.Errorf("a hidden field: %+v", d.Err)
			}
		case !d.NotModified || d.Err != nil:
			t.Errorf("%s: %v, not modified %v", d.Object, d.Err, d.NotModified)
		}
	}
	if org, err := w.client.Organization(t.Context()); err != nil || org.Name == "" || org.OrganizationType == "" {
		t.Errorf("Organization = %+v, %v", org, err)
	}
	if limits, err := w.client.Limits(t.Context()); err != nil || limits["DailyApiRequests"].Max == 0 {
		t.Errorf("Limits = %v, %v", limits, err)
	}
	if u, ok := w.client.Usage(); !ok || u.Used == 0 || u.Limit == 0 {
		t.Errorf("Usage = %v, %v", u, ok)
	}
}

// The same records come by REST in pages of any size and by Bulk in pages of any size, and they are the org's.
func TestSimorgReadsTheSameByRESTAndBulk(t *testing.T) {
	w := simulate(t, simorg.Config{})
	d, err := w.client.Describe(t.Context(), "Lead")
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, f := range d.Schema.Synced() {
		columns = append(columns, f.Name)
	}
	columns = append(columns, "Owner.Name")
	soql := "SELECT " + strings.Join(columns, ", ") + " FROM Lead"
	want, err := w.client.Count(t.Context(), "SELECT COUNT() FROM Lead")
	if err != nil || want != w.org.Count("Lead") {
		t.Fatalf("Count = %d, %v, want %d", want, err, w.org.Count("Lead"))
	}
	full, pages := query(t, w.client, columns, soql, false)
	if len(full) != want || pages < 2 {
		t.Errorf("%d records in %d pages, want %d in several", len(full), pages, want)
	}
	remove := w.org.Fault(simorg.Fault{ShortPages: 170})
	short, more := query(t, w.client, columns, soql, false)
	remove()
	if more <= pages || !maps.EqualFunc(full, short, slices.Equal[[]string]) {
		t.Errorf("%d records in %d short pages differ from %d in %d", len(short), more, len(full), pages)
	}

	job, err := w.client.CreateQueryJob(t.Context(), soql, false)
	if err != nil {
		t.Fatal(err)
	}
	for !job.State.Ended() {
		time.Sleep(10 * time.Millisecond)
		if job, err = w.client.QueryJob(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
	}
	if job.State != salesforce.JobComplete || job.Err() != nil || job.RecordsProcessed != int64(want) || job.Object != "Lead" {
		t.Fatalf("the job ended as %+v", job)
	}
	bulk, locator := map[string][]string{}, ""
	for range 100 {
		page, err := w.client.QueryResults(t.Context(), job.ID, locator, 700)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(page.Rows.Columns(), columns) {
			t.Fatalf("columns %q, want %q", page.Rows.Columns(), columns)
		}
		rows, err := drain(page.Rows)
		if err != nil || len(rows) != page.NumberOfRecords {
			t.Fatalf("%d records, %v, want %d", len(rows), err, page.NumberOfRecords)
		}
		_ = page.Close()
		maps.Copy(bulk, rows)
		if locator = page.Locator; locator == "" {
			break
		}
	}
	if len(bulk) != want {
		t.Fatalf("%d records by Bulk, want %d", len(bulk), want)
	}
	differ := 0
	for id, rest := range full {
		for i, cell := range rest {
			// The two APIs write points in time, and whole numbers, in ways of their own.
			if other := bulk[id][i]; other != cell && !sameTime(other, cell) && !sameNumber(other, cell) && differ < 5 {
				t.Errorf("%s of %s: %q by REST, %q by Bulk", columns[i], id, cell, other)
				differ++
			}
		}
	}
	if err := w.client.DeleteQueryJob(t.Context(), job.ID); err != nil {
		t.Error(err)
	}
	if _, err := w.client.QueryJob(t.Context(), job.ID); !salesforce.HasCode(err, salesforce.CodeNotFound) {
		t.Errorf("a deleted job: %v", err)
	}
	if err := w.client.DeleteQueryJob(t.Context(), job.ID); err != nil {
		t.Errorf("deleting it again: %v", err)
	}
}

func sameTime(a, b string) bool {
	x, err := salesforce.ParseTime([]byte(a))
	y, err2 := salesforce.ParseTime([]byte(b))
	return err == nil && err2 == nil && x.Equal(y)
}

func sameNumber(a, b string) bool {
	trim := func(s string) string { return strings.TrimSuffix(s, ".0") }
	return trim(a) == trim(b)
}

func TestSimorgBulkSpecialCases(t *testing.T) {
	w := simulate(t, simorg.Config{BulkDelay: time.Hour})
	job, err := w.client.CreateQueryJob(t.Context(), "SELECT Id FROM Lead", true)
	if err != nil || job.State.Ended() || job.Operation != "queryAll" {
		t.Fatalf("%+v, %v", job, err)
	}
	if err := w.client.AbortQueryJob(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if job, err = w.client.QueryJob(t.Context(), job.ID); err != nil || job.State != salesforce.JobAborted || job.Err() == nil {
		t.Errorf("an aborted job: %+v, %v", job, err)
	}
	for _, soql := range []string{"SELECT Id FROM TaskStatus", "SELECT Id, Address FROM Lead"} {
		if _, err := w.client.CreateQueryJob(t.Context(), soql, false); !salesforce.IsBulkUnsupported(err) {
			t.Errorf("%s: %v, want it told as unsupported", soql, err)
		}
	}
	if _, err := w.client.CreateQueryJob(t.Context(), "SELECT Nope FROM Lead", false); err == nil || salesforce.IsBulkUnsupported(err) || salesforce.IsTransient(err) {
		t.Errorf("an unknown field: %v", err)
	}
}

func TestSimorgFollowsChangesAndDeletions(t *testing.T) {
	w := simulate(t, simorg.Config{Leads: 20})
	id, err := w.org.Create("Lead", map[string]any{"LastName": "Doe", "Company": "Acme \"Q\"\r\n, Ltd", "Description": "a\nb\\c\té😀"})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := query(t, w.client, []string{"Id", "LastName", "Company", "Description", "SystemModstamp"}, "SELECT Id, LastName, Company, Description, SystemModstamp FROM Lead WHERE Id = '"+id+"'", false)
	if r := got[id]; len(r) != 5 || r[2] != "Acme \"Q\"\r\n, Ltd" || r[3] != "a\nb\\c\té😀" {
		t.Errorf("got %q", got)
	}
	now, ok := w.client.ServerTime()
	if !ok || time.Since(now).Abs() > time.Minute {
		t.Fatalf("ServerTime = %v, %v", now, ok)
	}
	updated, err := w.client.Updated(t.Context(), "Lead", now.Add(-time.Hour), now.Add(2*time.Minute))
	if err != nil || !slices.Contains(updated.IDs, sobject.ID(id)) || updated.LatestDateCovered.IsZero() {
		t.Errorf("Updated = %+v, %v, want %s in it", updated, err, id)
	}
	if err := w.org.Delete("Lead", id); err != nil {
		t.Fatal(err)
	}
	gone, err := w.client.Deleted(t.Context(), "Lead", now.Add(-time.Hour), now.Add(2*time.Minute))
	if err != nil || len(gone.Records) != 1 || gone.Records[0].ID != sobject.ID(id) || gone.Records[0].DeletedAt.IsZero() || gone.EarliestDateAvailable.IsZero() {
		t.Errorf("Deleted = %+v, %v", gone, err)
	}
	soql := "SELECT Id, IsDeleted FROM Lead WHERE Id = '" + id + "'"
	if live, _ := query(t, w.client, []string{"Id", "IsDeleted"}, soql, false); len(live) != 0 {
		t.Errorf("query gives the deleted record: %q", live)
	}
	if all, _ := query(t, w.client, []string{"Id", "IsDeleted"}, soql, true); len(all) != 1 || all[id][1] != "true" {
		t.Errorf("queryAll gives %q", all)
	}
	if n, err := w.client.CountAll(t.Context(), "SELECT COUNT() FROM Lead WHERE IsDeleted = true"); err != nil || n != 1 {
		t.Errorf("CountAll = %d, %v", n, err)
	}
	if _, err := w.client.Updated(t.Context(), "Lead", now.Add(-40*24*time.Hour), now); !salesforce.HasCode(err, salesforce.CodeInvalidReplication) {
		t.Errorf("a window that begins 40 days back: %v", err)
	}
	// While a transaction is open, what was covered reaches to its start only.
	tx := w.org.Begin()
	defer tx.Rollback()
	if err := func() error {
		_, err := tx.Create("Lead", map[string]any{"LastName": "Late", "Company": "X"})
		return err
	}(); err != nil {
		t.Fatal(err)
	}
	open, err := w.client.Updated(t.Context(), "Lead", now.Add(-time.Hour), now.Add(2*time.Minute))
	if err != nil || open.LatestDateCovered.After(now.Add(2*time.Second)) {
		t.Errorf("with an open transaction, covered to %v, %v, now is %v", open.LatestDateCovered, err, now)
	}
}

func TestSimorgErrorsAreTold(t *testing.T) {
	w := simulate(t, simorg.Config{})
	first := func(soql string) error {
		for page, err := range w.client.QueryRows(t.Context(), []string{"Id"}, soql, false) {
			if err != nil {
				return err
			}
			if _, err := drain(page.Rows); err != nil {
				return err
			}
		}
		return nil
	}
	for soql, code := range map[string]string{
		"SELECT Id, Nope FROM Lead": salesforce.CodeInvalidField,
		"SELECT Id FROM Nope":       salesforce.CodeInvalidType,
		"SELECT Id FORM Lead":       "MALFORMED_QUERY",
	} {
		if err := first(soql); !salesforce.HasCode(err, code) || salesforce.IsTransient(err) || salesforce.IsHalting(err) {
			t.Errorf("%s: %v, want %s", soql, err, code)
		}
	}
	pages := 0
	var last error
	for page, err := range w.client.QueryRows(t.Context(), []string{"Id"}, "SELECT Id FROM Lead", false) {
		if last = err; err != nil {
			break
		}
		pages++
		if _, err := drain(page.Rows); err != nil {
			t.Fatal(err)
		}
		w.org.DropCursors()
	}
	if pages != 1 || !salesforce.IsLocatorGone(last) {
		t.Errorf("%d pages, then %v, want the locator gone", pages, last)
	}
	// Passing trouble is not seen; lasting trouble is told.
	for name, f := range map[string]simorg.Fault{
		"session ends":     {Path: "/query", ExpireSession: true, Count: 1},
		"dropped before":   {Path: "/query", DropBefore: true, Count: 1},
		"dropped after":    {Path: "/query", DropAfter: true, Count: 1},
		"503 page":         {Path: "/query", Status: 503, ContentType: "text/html", Body: "<html>down", Count: 1},
		"500":              {Path: "/query", Status: 500, Code: "UNKNOWN_EXCEPTION", Message: "An unexpected error occurred.", Count: 1},
		"too many at once": {Path: "/query", Status: 403, Code: "REQUEST_LIMIT_EXCEEDED", Message: "ConcurrentPerOrgLongTxn Limit exceeded.", Count: 1},
		"cut early":        {Path: "/query", TruncateBody: 5, Count: 1},
	} {
		remove := w.org.Fault(f)
		if n, err := w.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err != nil || n == 0 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		remove()
	}
	for _, clean := range []bool{false, true} {
		remove := w.org.Fault(simorg.Fault{Path: "/query", TruncateBody: 5000, CleanEnd: clean})
		if err := first("SELECT Id, Name FROM Lead"); !salesforce.IsTransient(err) {
			t.Errorf("cut in the middle, clean end %v: %v, want it transient", clean, err)
		}
		remove()
	}
	w.org.UseCalls(1_000_000)
	_, err := w.client.Count(t.Context(), "SELECT COUNT() FROM Lead")
	if salesforce.HaltReason(err) != salesforce.HaltBudget {
		t.Errorf("the budget is used up: %v", err)
	}
}

func TestSimorgBulkResultsThatAreCut(t *testing.T) {
	w := simulate(t, simorg.Config{BulkDelay: time.Millisecond})
	job, err := w.client.CreateQueryJob(t.Context(), "SELECT Id, Name, Description FROM Lead", false)
	for err == nil && !job.State.Ended() {
		time.Sleep(5 * time.Millisecond)
		job, err = w.client.QueryJob(t.Context(), job.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, clean := range []bool{false, true} {
		for _, at := range []int{1, 40, 4096, 20_001} {
			remove := w.org.Fault(simorg.Fault{Path: "/results", TruncateBody: at, CleanEnd: clean, Count: 20})
			page, err := w.client.QueryResults(t.Context(), job.ID, "", 0)
			if err == nil {
				_, err = drain(page.Rows)
				_ = page.Close()
			}
			if !salesforce.IsTransient(err) {
				t.Errorf("cut at %d, clean end %v: %v, want it transient", at, clean, err)
			}
			remove()
		}
	}
}

func TestSimorgWritesByCollections(t *testing.T) {
	w := simulate(t, simorg.Config{Leads: 20})
	lead := func(last string) salesforce.Record {
		return salesforce.Record{Object: "Lead", Fields: map[string]salesforce.Value{"LastName": salesforce.Text(last), "Company": salesforce.Text("Acme"), "DoNotCall": salesforce.Bool(true)}}
	}
	bad := lead("No company")
	delete(bad.Fields, "Company")
	made, err := w.client.CreateRecords(t.Context(), []salesforce.Record{lead("One"), bad, lead("Two")}, salesforce.Sending{})
	if err != nil || len(made) != 3 || !made[0].Success || made[1].Success || !made[2].Success {
		t.Fatalf("%+v, %v", made, err)
	}
	if !salesforce.HasCode(made[1].Err(), "REQUIRED_FIELD_MISSING") {
		t.Errorf("%v", made[1].Err())
	}
	amount, err := salesforce.Number("12345")
	if err != nil {
		t.Fatal(err)
	}
	changed, err := w.client.UpdateRecords(t.Context(), []salesforce.Record{{Object: "Lead", ID: made[0].ID, Fields: map[string]salesforce.Value{"AnnualRevenue": amount, "Company": salesforce.Text("Müller")}}}, salesforce.Sending{})
	if err != nil || changed[0].Err() != nil {
		t.Fatalf("%+v, %v", changed, err)
	}
	var got []string
	ids := []sobject.ID{made[0].ID, made[2].ID, "00Q000000000000AAA"}
	if err := w.client.Retrieve(t.Context(), "Lead", ids, []string{"Id", "LastName", "Company", "AnnualRevenue", "DoNotCall"}, func(cells [][]byte) error {
		got = append(got, string(bytes.Join(cells[1:], []byte("|"))))
		return nil
	}); err != nil || len(got) != 2 || !strings.HasPrefix(got[0], "One|Müller|12345") || got[1] != "Two|Acme||true" {
		t.Errorf("%q, %v", got, err)
	}
	gone, err := w.client.DeleteRecords(t.Context(), "Lead", []sobject.ID{made[0].ID, made[0].ID, made[2].ID}, salesforce.Sending{})
	if err != nil || gone[0].Err() != nil || gone[2].Err() != nil {
		t.Errorf("%+v, %v", gone, err)
	}
	remove := w.org.Fault(simorg.Fault{Row: true, Object: "Lead", Code: "UNABLE_TO_LOCK_ROW", Message: "unable to obtain exclusive access to this record", Count: 1})
	defer remove()
	locked, err := w.client.CreateRecords(t.Context(), []salesforce.Record{lead("Locked"), lead("Free")}, salesforce.Sending{})
	if err != nil || !salesforce.IsTransient(locked[0].Err()) || locked[1].Err() != nil {
		t.Errorf("%+v, %v", locked, err)
	}
	// A create whose reply is lost is not sent twice.
	before := w.org.Count("Lead")
	lost := w.org.Fault(simorg.Fault{Method: "POST", Path: "/composite/sobjects", DropAfter: true, Count: 1})
	defer lost()
	var network *salesforce.NetworkError
	if _, err := w.client.CreateRecords(t.Context(), []salesforce.Record{lead("Once")}, salesforce.Sending{}); !errors.As(err, &network) || w.org.Count("Lead") != before+1 {
		t.Errorf("%v, %d more leads, want an error of the network and one lead", err, w.org.Count("Lead")-before)
	}
}

// Many records are written by an ingest job, and known again by a column of their own.
func TestSimorgWritesByIngest(t *testing.T) {
	w := simulate(t, simorg.Config{Leads: 20})
	key, err := w.org.Create("Lead", map[string]any{"LastName": "There already", "Company": "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	job, err := w.client.CreateIngestJob(t.Context(), "Lead", salesforce.IngestUpdate, "")
	if err != nil {
		t.Fatal(err)
	}
	err = w.client.UploadIngest(t.Context(), job.ID, []string{"Id", "Title", "Description"}, func(r *salesforce.IngestRows) error {
		if err := r.Add(key, "A, \"quoted\"\ntitle", salesforce.IngestNull); err != nil {
			return err
		}
		return r.Add("00Q000000000000AAA", "Nobody", "")
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.CloseIngest(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !job.State.Ended() && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if job, err = w.client.IngestJob(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
	}
	if job.State != salesforce.JobComplete || job.Err() != nil {
		t.Fatalf("%+v", job)
	}
	n := 0
	for r, err := range w.client.Succeeded(t.Context(), job.ID) {
		if n++; err != nil || string(r.ID) != key || r.Cell("Id") != key || r.Created {
			t.Errorf("%+v, %v", r, err)
		}
	}
	for r, err := range w.client.Failed(t.Context(), job.ID) {
		if n++; err != nil || r.Cell("Id") != "00Q000000000000AAA" || !salesforce.HasCode(r.Err(), "INVALID_CROSS_REFERENCE_KEY") {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if f, _ := w.org.Get("Lead", key); n != 2 || f["Title"] != "A, \"quoted\"\ntitle" {
		t.Errorf("%d results, and the record is %v", n, f)
	}
}
