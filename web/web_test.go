package web_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/models/localpg/pgtest"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/web"
)

// site is the real router over a real database. Salesforce is played by the funcs that main would lend.
type site struct {
	t      *testing.T
	models *models.DB
	pool   *pgxpool.Pool
	server *httptest.Server
	routes chi.Routes
	refuse error  // what the connection test answers
	user   string // the id of the user that the connection test finds; empty: it does not say
}

const secret = "the-consumer-secret"

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	if err := models.Migrate(ctx, pool); err != nil {
		return err
	}
	return mirror.Migrate(ctx, pool)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, pool: pgtest.Pool(t, migrate)}
	keys, err := models.LoadKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	if s.models, err = models.Open(s.pool, keys); err != nil {
		t.Fatal(err)
	}
	app, err := web.New(web.Config{
		Models: s.models, Pool: s.pool, PublicURL: "http://tandem.test",
		TestConnection: func(_ context.Context, c models.Connection) (models.Connection, error) {
			c.OrgID, c.OrgName, c.UserName, c.UserID = "00D1", "Acme", "sync@acme.example", s.user
			if s.user != "" {
				c.UserName = s.user + "@acme.example"
			}
			c.Report.Visible = []string{"Lead", "Contact", "Account"}
			c.Report.Add("check.signed_in", models.CheckOK, "name", "Sync", "user", c.UserName)
			return c, s.refuse
		},
		AuthorizeURL: func(c models.Connection, redirect, state, _ string) (string, error) {
			return c.LoginURL + "/authorize?" + url.Values{"redirect_uri": {redirect}, "state": {state}}.Encode(), nil
		},
		Exchange: func(_ context.Context, c models.Connection, _, code, verifier string) (models.Connection, error) {
			if code != "good" || verifier == "" {
				return c, &models.Error{Code: models.CodeRefused, Message: "connection.refused", Params: map[string]string{"code": "invalid_grant", "message": "expired authorization code"}}
			}
			c.OrgID, c.OrgName, c.UserName = "00D1", "Acme", "sync@acme.example"
			return c, nil
		},
		CompareUser: func(_ context.Context, _ models.Connection, objects []models.Object, synced map[string][]string) (models.UserChange, error) {
			if len(objects) == 0 || len(synced["Lead"]) == 0 {
				return models.UserChange{}, errors.New("nothing to compare with")
			}
			return models.UserChange{ObjectsLess: []string{"Campaign"}, FieldsLess: map[string][]string{"Lead": {"Title"}}, FieldsMore: map[string][]string{"Contact": {"Salary__c"}}}, nil
		},
		CountFilter: func(_ context.Context, object, filter string) (int, int, error) {
			if strings.Contains(filter, "Nonsense__c") {
				return 0, 0, &models.Error{Code: models.CodeRefused, Message: "connection.refused", Params: map[string]string{"code": "INVALID_FIELD", "message": "No such column 'Nonsense__c' on entity '" + object + "'"}}
			}
			return 12, 3456, nil
		},
		CheckLoginURL: func(raw string) (string, error) {
			if !strings.HasPrefix(raw, "https://") || !strings.Contains(raw, "salesforce.com") {
				return "", errors.New("that is not an address of Salesforce's")
			}
			return raw, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewServer(app.Handler())
	s.routes, _ = app.Handler().(chi.Routes)
	t.Cleanup(s.server.Close)
	return s
}

// person is a browser of somebody.
type person struct {
	*site
	client *http.Client
}

func (s *site) visitor() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &person{s, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signedIn gives the browser of somebody with the role.
func (s *site) signedIn(role models.Role) *person {
	s.t.Helper()
	email := string(role) + "@example.com"
	if _, err := s.models.AddUser(s.t.Context(), email, role, "long enough"); err != nil {
		s.t.Fatal(err)
	}
	p := s.visitor()
	if status, _, to := p.post("/sign-in", url.Values{"email": {email}, "password": {"long enough"}}); status != http.StatusSeeOther || to != "/" {
		s.t.Fatalf("sign-in answered %d to %q", status, to)
	}
	return p
}

func (p *person) do(r *http.Request) (status int, body, location string) {
	p.t.Helper()
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header.Get("Location")
}

func (p *person) get(path string, header ...string) (int, string, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.server.URL+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return p.do(r)
}

func (p *person) post(path string, form url.Values, header ...string) (int, string, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return p.do(r)
}

func (s *site) connect() {
	s.t.Helper()
	ctx := s.t.Context()
	c := models.Connection{LoginURL: "https://acme.my.salesforce.com", Auth: models.AuthClientCredentials, ClientID: "key", ClientSecret: models.NewSecret(secret), OrgID: "00D1", OrgName: "Acme", UserName: "sync@acme.example", InstanceURL: "https://acme.my.salesforce.com"}
	if err := s.models.SaveConnection(ctx, c, "test"); err != nil {
		s.t.Fatal(err)
	}
	var visible []string
	for _, o := range models.StandardObjects {
		visible = append(visible, o.Name)
	}
	if err := s.models.EnableStandardObjects(ctx, visible); err != nil {
		s.t.Fatal(err)
	}
	if err := s.models.WorkerSeen(ctx, "w"); err != nil {
		s.t.Fatal(err)
	}
}

var pages = []string{"/", "/objects", "/objects/Lead", "/history", "/history?object=Lead&kind=changes&from=2026-01-01", "/errors", "/connection", "/settings"}

// Who is not signed in sees the sign-in and nothing else; what machines ask for is open.
func TestWhoIsNotSignedIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.visitor()
	for _, path := range append(pages, "/live", "/runs/1", "/history.csv") {
		if status, _, to := p.get(path); status != http.StatusSeeOther || to != "/sign-in" {
			t.Errorf("%s answered %d to %q", path, status, to)
		}
	}
	for path, want := range map[string]string{"/healthz": "alive", "/readyz": "ready", "/metrics": "go_goroutines", "/sign-in": `data-testid="nobody-yet"`} {
		if status, body, _ := p.get(path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s answered %d: %.200s", path, status, body)
		}
	}
	for _, path := range []string{"/sync", "/pause", "/objects/Lead/resync", "/connection", "/settings/people"} {
		if status, _, to := p.post(path, nil); status != http.StatusSeeOther || to != "/sign-in" {
			t.Errorf("POST %s answered %d to %q", path, status, to)
		}
	}
	if status, body, _ := p.post("/sign-in", url.Values{"email": {"x@example.com"}, "password": {"wrong password"}}); status != http.StatusForbidden || !strings.Contains(body, "wrong") {
		t.Errorf("a wrong password answered %d", status)
	}
}

// Every page says something sensible before connecting, while all is well, and when things failed; in both languages, and
// never a secret.
func TestEveryPageInEveryState(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.signedIn(models.RoleAdmin)
	look := func(state string, paths []string, wants map[string]string) {
		t.Helper()
		for _, path := range paths {
			for _, lang := range []string{"en", "fr"} {
				status, body, _ := p.get(path, "Accept-Language", lang)
				if status != http.StatusOK || !strings.Contains(body, `<html lang="`+lang+`"`) || !strings.Contains(body, "</html>") {
					t.Errorf("%s, %s in %s answered %d: %.300s", state, path, lang, status, body)
				}
				if strings.Contains(body, secret) {
					t.Errorf("%s, %s shows the secret", state, path)
				}
				if want := wants[path]; want != "" && !strings.Contains(body, want) {
					t.Errorf("%s, %s in %s lacks %s", state, path, lang, want)
				}
			}
		}
	}
	empty := []string{"/", "/objects", "/history", "/errors", "/connection", "/settings"}
	look("before connecting", empty, map[string]string{"/": `data-testid="not-connected"`, "/errors": `data-testid="errors-empty"`, "/connection": `data-testid="connection-form"`})

	s.connect()
	look("connected", pages, map[string]string{"/": `data-testid="sync-now"`, "/connection": `data-testid="connected-as"`, "/objects/Lead": `data-testid="resync-Lead"`})

	ctx := t.Context()
	_, runs, err := s.models.OpenCycle(ctx, []string{"Lead", "Contact", "Account"})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		s.models.StartRun(ctx, runs[0].ID),
		s.models.ProgressRun(ctx, runs[0].ID, models.RunProgress{Phase: models.PhaseReading, Expected: 1200, Read: 300}),
		s.models.FinishRun(ctx, runs[1].ID, models.RunOutcome{State: models.RunFailed, ErrorCode: "INVALID_TYPE", Error: "sObject type 'Contact' is not <supported>."}),
		s.models.StartRun(ctx, runs[2].ID),
		s.models.NoteRunWaits(ctx, runs[2].ID, "SERVER_UNAVAILABLE", "Server too busy", time.Minute),
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(ctx, `INSERT INTO mirror.objects (object, table_name, direction, describe, described_at) VALUES ('Lead', 'salesforce.lead', 'two-way', '{}', now())`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(ctx, `INSERT INTO mirror.refusals (object, record, sfid, direction, field, code, message, value) VALUES ('Lead', '00Q000000000001AAA', '00Q000000000001AAA', 'in', 'Score__c', 'VALUE_DOES_NOT_FIT', 'The value cannot be stored', '{"Score__c": "<script>alert(1)</script>"}')`); err != nil {
		t.Fatal(err)
	}
	look("things failed", append(pages, "/runs/1", "/runs/2", "/objects/Contact", "/objects/Account"), map[string]string{
		"/": "sObject type &#39;Contact&#39; is not &lt;supported&gt;.", "/objects/Contact": `data-testid="object-error"`, "/runs/2": `data-testid="run-error"`, "/errors": "&lt;script&gt;alert(1)",
	})

	if err := s.models.RefuseConnection(ctx, "invalid_grant", "inactive user"); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, path := range pages {
		all[path] = `data-testid="banner-refused"`
	}
	look("refused", pages, all)
	if err := s.models.ConnectionWorks(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.models.WorkerGone(ctx, "w"); err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		all[path] = `data-testid="banner-no-worker"`
	}
	look("no worker", pages, all)
	// What stands still looks neither green nor busy, and what a page exchanges while it is live is not read out each time.
	for _, path := range pages {
		_, body, _ := p.get(path)
		for _, no := range []string{`class="chip green" data-testid="object-state-`, `class="chip blue"`, `role="alert"`} {
			if strings.Contains(body, no) {
				t.Errorf("without a worker %s has %s", path, no)
			}
		}
	}

	for _, path := range []string{"/objects/Nonsense", "/runs/999", "/runs/x", "/nowhere"} {
		status, body, _ := p.get(path)
		if status != http.StatusNotFound || !strings.Contains(body, `data-testid="problem"`) {
			t.Errorf("%s answered %d", path, status)
		}
		// An address that is none belongs to nobody's session; what a page refuses keeps its navigation.
		if nav := strings.Contains(body, `href="/errors"`); nav != (path != "/nowhere") {
			t.Errorf("%s has the navigation: %t", path, nav)
		}
	}
	if status, body, _ := p.get("/history.csv"); status != http.StatusOK || len(strings.Split(strings.TrimSpace(body), "\n")) != 4 {
		t.Errorf("the CSV answered %d: %s", status, body)
	}
}

// Viewers look, operators steer, admins decide; the server checks, whatever the page showed.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	viewer, operator, admin := s.signedIn(models.RoleViewer), s.signedIn(models.RoleOperator), s.signedIn(models.RoleAdmin)
	steer := []string{"/sync", "/pause", "/resume", "/objects/Lead/resync", "/objects/Lead/pause", "/objects/Lead/resume"}
	decide := []string{"/objects/Event/disable", "/objects/Event/enable", "/settings/people", "/connection"}
	for _, path := range append(steer, decide...) {
		if status, _, _ := viewer.post(path, nil); status != http.StatusForbidden {
			t.Errorf("a viewer's POST %s answered %d", path, status)
		}
	}
	for _, path := range decide {
		if status, _, _ := operator.post(path, nil); status != http.StatusForbidden {
			t.Errorf("an operator's POST %s answered %d", path, status)
		}
	}
	for _, path := range steer {
		if status, _, _ := operator.post(path, nil); status != http.StatusSeeOther {
			t.Errorf("an operator's POST %s answered %d", path, status)
		}
	}
	for _, path := range decide[:2] {
		if status, _, _ := admin.post(path, nil); status != http.StatusSeeOther {
			t.Errorf("an admin's POST %s answered %d", path, status)
		}
	}
	for _, hidden := range []string{"sync-now", "resync-Lead"} {
		if _, body, _ := viewer.get("/"); strings.Contains(body, `data-testid="`+hidden+`"`) {
			t.Errorf("a viewer is shown %s", hidden)
		}
	}
	if _, body, _ := operator.get("/settings"); strings.Contains(body, "invite-form") {
		t.Error("an operator is shown the invitation")
	}
}

// Each address of the table is open to whom it should be and to nobody below: an address that nobody thought of is an admin's.
func TestEachAddressHasItsRole(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	everybody := strings.Fields(`GET/ GET/objects GET/objects/{name} GET/objects/{name}/fields GET/history GET/history.csv GET/runs/{id} GET/errors GET/errors.csv GET/conflicts GET/conflicts.csv
		GET/approvals GET/records GET/records/{name}/{id} GET/connection GET/settings POST/settings/language`)
	operators := strings.Fields(`POST/sync POST/pause POST/resume POST/objects/{name}/resync POST/objects/{name}/check POST/objects/{name}/mend POST/objects/{name}/pause POST/objects/{name}/resume POST/runs/{id}/cancel
		POST/notices/seen POST/errors/retry POST/errors/drop POST/conflicts/seen POST/conflicts/{id} GET/records/{name}/new POST/records/{name}/new GET/records/{name}/lookup/{column} GET/records/{name}/{id}/edit POST/records/{name}/{id}/edit`)
	open := strings.Fields(`GET/healthz GET/readyz GET/live GET/sign-in POST/sign-in POST/sign-out GET/set-up/{token} POST/set-up/{token} GET/reset-password/{token} POST/reset-password/{token}`)
	viewer, operator := s.signedIn(models.RoleViewer), s.signedIn(models.RoleOperator)
	fill := strings.NewReplacer("{name}", "Lead", "{id}", "1", "{column}", "ownerid", "{verb}", "drop")
	admins := 0
	err := chi.Walk(s.routes, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		key := method + route
		if slices.Contains(open, key) || strings.HasSuffix(route, "*") || strings.HasPrefix(route, "/metrics") {
			return nil
		}
		asks := func(p *person) int {
			if method == http.MethodGet {
				status, _, _ := p.get(fill.Replace(route))
				return status
			}
			status, _, _ := p.post(fill.Replace(route), url.Values{})
			return status
		}
		viewerMay, operatorMay := slices.Contains(everybody, key), slices.Contains(everybody, key) || slices.Contains(operators, key)
		if !operatorMay {
			admins++
		}
		if got := asks(viewer); (got != http.StatusForbidden) != viewerMay {
			t.Errorf("%s answers a viewer with %d", key, got)
		}
		if got := asks(operator); (got != http.StatusForbidden) != operatorMay {
			t.Errorf("%s answers an operator with %d", key, got)
		}
		return nil
	})
	if err != nil || admins < 15 {
		t.Errorf("found %d addresses for admins alone, %v", admins, err)
	}
}

// Who disconnects leaves no secret behind; the tables, and the org that they belong to, stay; nothing that is still under way connects
// again, and connecting again goes on.
func TestDisconnect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	ctx := t.Context()
	p := s.signedIn(models.RoleAdmin)
	if _, body, _ := p.get("/connection"); !strings.Contains(body, `data-testid="disconnect-yes"`) {
		t.Error("the page has no way to disconnect")
	}
	if status, _, to := p.post("/connection/disconnect", nil); status != http.StatusSeeOther || to != "/connection" {
		t.Fatalf("disconnecting answered %d to %s", status, to)
	}
	if err := errors.Join(s.models.RefuseConnection(ctx, "x", "from a run that was under way"), s.models.ConnectionWorks(ctx)); err != nil {
		t.Fatal(err)
	}
	c, err := s.models.Connection(ctx)
	if err != nil || c.State != models.StateNotConnected || !c.ClientSecret.Empty() || !c.PrivateKey.Empty() || !c.RefreshToken.Empty() || !c.AccessToken.Empty() || c.OrgID != "00D1" {
		t.Errorf("kept: %s of %s, %v", c.State, c.OrgID, err)
	}
	for _, lang := range []string{"en", "fr"} {
		_, body, _ := p.get("/", "Accept-Language", lang)
		has(t, "the overview in "+lang, body, `data-testid="not-connected"`, `data-testid="object-row-Lead"`)
		hasNot(t, "the overview in "+lang, body, `data-testid="sync-now"`, `data-testid="resync-Lead"`)
		_, body, _ = p.get("/connection", "Accept-Language", lang)
		has(t, "the connection page in "+lang, body, `data-testid="disconnected"`)
		hasNot(t, "the connection page in "+lang, body, `data-testid="disconnect"`, `data-testid="connected-as"`)
	}
	if status, _, _ := p.post("/connection/disconnect", nil); status != http.StatusConflict {
		t.Errorf("disconnecting twice answered %d", status)
	}
	form := url.Values{"auth": {"client-credentials"}, "login_url": {"acme.my.salesforce.com"}, "client_id": {"key"}}
	if status, _, _ := p.post("/connection", form); status != http.StatusUnprocessableEntity {
		t.Errorf("connecting without a secret answered %d", status)
	}
	form.Set("client_secret", secret)
	if status, _, _ := p.post("/connection", form); status != http.StatusSeeOther {
		t.Errorf("connecting again answered %d", status)
	}
	if c, err := s.models.Connection(ctx); err != nil || c.State != models.StateConnected {
		t.Errorf("after connecting again it is %s, %v", c.State, err)
	}
}

// What a button did is told once, on the person's next page, and not to the script that refreshes the page before.
func TestFlash(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	p := s.signedIn(models.RoleOperator)
	if status, _, _ := p.post("/pause", nil); status != http.StatusSeeOther {
		t.Fatalf("answered %d", status)
	}
	if _, body, _ := p.get("/", "HX-Request", "true"); strings.Contains(body, `data-testid="flash"`) {
		t.Error("the script was told")
	}
	if _, body, _ := p.get("/"); !strings.Contains(body, `data-testid="flash"`) {
		t.Error("the person was not told")
	}
	if _, body, _ := p.get("/"); strings.Contains(body, `data-testid="flash"`) {
		t.Error("the person was told twice")
	}
}

// A request that began before a sign-out and ends after it does not bring the session back.
func TestSignOutIsFinal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.signedIn(models.RoleViewer)
	own, err := url.Parse(s.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	stolen := s.visitor()
	stolen.client.Jar.SetCookies(own, p.client.Jar.Cookies(own))
	var before int
	sessions := `SELECT count(*) FROM admin.sessions`
	if err := s.pool.QueryRow(t.Context(), sessions).Scan(&before); err != nil || before != 1 {
		t.Fatal(before, err)
	}
	// The slow request waits for a row that a transaction holds.
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE admin.cycles IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	slow := make(chan struct{})
	go func() {
		defer close(slow)
		r, _ := http.NewRequest(http.MethodGet, s.server.URL+"/", nil)
		if resp, err := stolen.client.Do(r); err == nil {
			_ = resp.Body.Close()
		}
	}()
	for waiting := 0; waiting == 0; {
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND NOT l.granted`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if status, _, _ := p.post("/sign-out", nil); status != http.StatusSeeOther {
		t.Fatalf("answered %d", status)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-slow
	if status, _, to := stolen.get("/"); status != http.StatusSeeOther || to != "/sign-in" {
		t.Errorf("after the sign-out the session still works: %d", status)
	}
}

// Who chooses a new password is rid of whoever had the old one.
func TestANewPasswordEndsTheOldSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	stolen := s.signedIn(models.RoleViewer)
	token, err := s.models.ResetPassword(t.Context(), "viewer@example.com", "test")
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _ := stolen.get("/"); status != http.StatusOK {
		t.Errorf("before the link is used the session answers %d", status)
	}
	owner := s.visitor()
	if status, _, to := owner.post("/reset-password/"+token, url.Values{"password": {"another long one"}}); status != http.StatusSeeOther || to != "/" {
		t.Fatalf("the reset answered %d to %q", status, to)
	}
	if status, _, _ := owner.get("/"); status != http.StatusOK {
		t.Errorf("after the reset its own session answers %d", status)
	}
	if status, _, to := stolen.get("/"); status != http.StatusSeeOther || to != "/sign-in" {
		t.Errorf("after the reset the old session answers %d to %q, want the sign-in", status, to)
	}
}

// A form that another site sends with this person's cookies is refused.
func TestCrossSiteForms(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	p := s.signedIn(models.RoleAdmin)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "", "Origin", "https://evil.example"}} {
		if status, _, _ := p.post("/pause", nil, header...); status != http.StatusForbidden {
			t.Errorf("a form with %v answered %d", header, status)
		}
	}
	if paused, err := s.models.Paused(t.Context()); err != nil || paused {
		t.Errorf("paused: %v, %v", paused, err)
	}
	resp, err := p.client.Get(s.server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") {
		t.Errorf("the content policy is %q", csp)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(body), "style=") || strings.Contains(string(body), "<style") || strings.Contains(string(body), "onclick") {
		t.Error("the page has styles or scripts of its own, which the content policy forbids")
	}
}

// The connection page tells what is missing, what Salesforce refuses, and never what was typed as a secret; a stored secret
// is used only for the address that it was stored for.
func TestConnectionPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.signedIn(models.RoleAdmin)
	form := func(pairs ...string) url.Values {
		v := url.Values{"auth": {"client-credentials"}, "login_url": {"acme.my.salesforce.com"}, "client_id": {"key"}, "client_secret": {secret}}
		for i := 0; i+1 < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, wrong := range []url.Values{form("client_id", ""), form("client_secret", ""), form("login_url", ""), form("login_url", "http://evil.example"), form("auth", "password"), form("auth", "jwt")} {
		status, body, _ := p.post("/connection", wrong)
		if status != http.StatusUnprocessableEntity || !strings.Contains(body, `data-testid="connection-error"`) || strings.Contains(body, secret) {
			t.Errorf("%v answered %d", wrong, status)
		}
	}
	s.refuse = &models.Error{Code: models.CodeRefused, Message: "connection.refused", Params: map[string]string{"code": "invalid_client", "message": "invalid client credentials"}}
	if status, body, _ := p.post("/connection", form()); status != http.StatusUnprocessableEntity || !strings.Contains(body, "invalid client credentials") || strings.Contains(body, secret) {
		t.Errorf("a refusal answered %d", status)
	}
	s.refuse = nil
	if status, _, to := p.post("/connection", form()); status != http.StatusSeeOther || to != "/connection" {
		t.Errorf("saving answered %d to %q", status, to)
	}
	if _, body, _ := p.get("/connection"); strings.Contains(body, secret) || !strings.Contains(body, "sync@acme.example") {
		t.Error("the page shows the secret, or not who is connected")
	}
	if status, _, _ := p.post("/connection", form("client_secret", "")); status != http.StatusSeeOther {
		t.Errorf("keeping the stored secret answered %d", status)
	}
	if status, _, _ := p.post("/connection", form("client_secret", "", "login_url", "other.my.salesforce.com")); status != http.StatusUnprocessableEntity {
		t.Errorf("the stored secret for another address answered %d", status)
	}
}

// The choice of environment completes an address that was left empty or typed short, and contradicts one of the other kind.
func TestProductionOrSandbox(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.signedIn(models.RoleAdmin)
	for _, c := range []struct{ auth, environment, typed, goes string }{
		{"web-server", "production", "", "login.salesforce.com"},
		{"web-server", "sandbox", "", "test.salesforce.com"},
		{"web-server", "production", "acme", "acme.my.salesforce.com"},
		{"web-server", "sandbox", "acme--uat", "acme--uat.sandbox.my.salesforce.com"},
		{"web-server", "sandbox", "acme--uat.sandbox.my.salesforce.com", "acme--uat.sandbox.my.salesforce.com"},
		{"web-server", "", "test.salesforce.com", "test.salesforce.com"},
		{"web-server", "production", "acme--uat.sandbox.my.salesforce.com", ""},
		{"web-server", "sandbox", "https://acme.my.salesforce.com", ""},
		{"web-server", "sandbox", "login.salesforce.com", ""},
		{"client-credentials", "production", "", ""},
	} {
		status, body, to := p.post("/connection", url.Values{"auth": {c.auth}, "environment": {c.environment}, "login_url": {c.typed}, "client_id": {"key"}, "client_secret": {secret}})
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		if c.goes == "" && (status != http.StatusUnprocessableEntity || !strings.Contains(body, `data-testid="connection-error"`)) || c.goes != "" && (status != http.StatusSeeOther || u.Host != c.goes) {
			t.Errorf("%s, %s, %q: %d to %q, want %q", c.auth, c.environment, c.typed, status, to, c.goes)
		}
	}
}

// The web server flow comes back once, with the state that it went with.
func TestWebServerFlow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.signedIn(models.RoleAdmin)
	begin := func() string {
		t.Helper()
		status, _, to := p.post("/connection", url.Values{"auth": {"web-server"}, "login_url": {"https://acme.my.salesforce.com"}, "client_id": {"key"}, "client_secret": {secret}})
		u, err := url.Parse(to)
		if status != http.StatusSeeOther || err != nil || u.Host != "acme.my.salesforce.com" || u.Query().Get("redirect_uri") != "http://tandem.test/connection/callback" {
			t.Fatalf("it goes to %q (%d)", to, status)
		}
		return u.Query().Get("state")
	}
	if status, _, _ := p.get("/connection/callback?code=good&state=forged"); status != http.StatusForbidden {
		t.Errorf("a forged state answered %d", status)
	}
	if status, body, _ := p.get("/connection/callback?error=access_denied&error_description=end-user+denied&state=" + begin()); status != http.StatusUnprocessableEntity || !strings.Contains(body, "end-user denied") {
		t.Errorf("a refusal answered %d", status)
	}
	state := begin()
	if status, _, to := p.get("/connection/callback?code=good&state=" + state); status != http.StatusSeeOther || to != "/connection" {
		t.Errorf("the return answered %d to %q", status, to)
	}
	if status, _, _ := p.get("/connection/callback?code=good&state=" + state); status != http.StatusForbidden {
		t.Errorf("the return again answered %d", status)
	}
	if c, err := s.models.Connection(t.Context()); err != nil || c.Auth != models.AuthWebServer || c.OrgName != "Acme" {
		t.Errorf("stored: %v %v", c.Auth, err)
	}
}

// A change of a row, by any process, reaches an open page.
func TestLiveNews(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	app, err := web.New(web.Config{Models: s.models, Pool: s.pool, PublicURL: "http://tandem.test"})
	if err != nil {
		t.Fatal(err)
	}
	l := httptest.NewUnstartedServer(nil).Listener
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Serve(ctx, l) }()
	p := s.signedIn(models.RoleViewer)
	served, err := url.Parse("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	own, err := url.Parse(s.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.client.Jar.SetCookies(served, p.client.Jar.Cookies(own))
	open, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	r, err := http.NewRequestWithContext(open, http.MethodGet, served.String()+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream answered %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Scan() // retry
	go func() {
		// Until it is heard: the listener may need a moment to be there.
		for open.Err() == nil {
			_, _ = s.pool.Exec(open, `UPDATE admin.state SET api_used = api_used + 1`)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	heard := false
	for !heard && lines.Scan() {
		heard = lines.Text() == "event: changed"
	}
	if !heard {
		t.Errorf("nothing was heard: %v", lines.Err())
	}
	stop()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the server ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server does not stop while a page is open")
	}
}

// The admin sets the share of calls, the hour of the check and the brake; what is no such number is said, and nothing is kept of it.
func TestSyncSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	p := s.signedIn(models.RoleAdmin)
	good := url.Values{"budget_percent": {"30"}, "check_hour": {"-1"}, "brake_percent": {"25"}}
	if status, _, to := p.post("/settings/sync", good); status != http.StatusSeeOther || to != "/settings" {
		t.Fatalf("saving answered %d to %s", status, to)
	}
	have, err := s.models.SyncSettings(t.Context())
	if err != nil || have.BudgetPercent == nil || *have.BudgetPercent != 30 || have.CheckHour != -1 || have.BrakePercent != 25 || have.SendAtOnce {
		t.Errorf("%+v was kept, %v", have, err)
	}
	if _, body, _ := p.get("/settings"); !strings.Contains(body, `value="30"`) || !strings.Contains(body, `<option value="-1" selected>`) || !strings.Contains(body, `value="25"`) {
		t.Error("the page does not show what was kept")
	}
	for name, value := range map[string]string{"budget_percent": "0", "check_hour": "24", "brake_percent": "x"} {
		bad := url.Values{"budget_percent": {"30"}, "check_hour": {"3"}, "brake_percent": {"25"}}
		bad.Set(name, value)
		if status, body, _ := p.post("/settings/sync", bad); status != http.StatusUnprocessableEntity || !strings.Contains(body, `data-testid="settings-error"`) {
			t.Errorf("%s=%s answered %d", name, value, status)
		}
	}
	if again, err := s.models.SyncSettings(t.Context()); err != nil || again.CheckHour != -1 {
		t.Errorf("something of a refused form was kept: %+v, %v", again, err)
	}
	if status, _, _ := s.signedIn(models.RoleOperator).post("/settings/sync", good); status != http.StatusForbidden {
		t.Errorf("an operator's settings answered %d", status)
	}
}

// The card of API calls tells Tandem's share, its forecast, and, on every page, that the org takes no more.
func TestBudgetOnPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	p := s.signedIn(models.RoleViewer)
	ctx := t.Context()
	day := time.Date(2026, 11, 25, 6, 0, 0, 0, time.UTC)
	s.models.Now = func() time.Time { return day }
	if err := s.models.WorkerSeen(ctx, "w"); err != nil {
		t.Fatal(err)
	}
	sees := func(path string, wants ...string) {
		t.Helper()
		_, body, _ := p.get(path)
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
	}
	if err := s.models.NoteCalls(ctx, 5, models.Usage{}); err != nil {
		t.Fatal(err)
	}
	sees("/", "This org does not tell its limit")
	if err := s.models.NoteCalls(ctx, 95, models.Usage{Used: 2_100, Limit: 10_000}); err != nil {
		t.Fatal(err)
	}
	sees("/", "of 3,997", "The org: 2,100 of 10,000", "At this pace they last until midnight UTC.")
	if err := s.models.NoteCalls(ctx, 1_000, models.Usage{Used: 3_100, Limit: 10_000}); err != nil {
		t.Fatal(err)
	}
	sees("/", "1,100 <small>of 3,997", "they are used up at 08:38 UTC")
	if err := s.models.NoteCalls(ctx, 2_200, models.Usage{Used: 5_300, Limit: 10_000}); err != nil {
		t.Fatal(err)
	}
	sees("/", "The reserve, for changes only")
	if err := s.models.RefuseCalls(ctx, "TotalRequests Limit exceeded.", day.Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, path := range pages {
		sees(path, `data-testid="banner-budget"`, "TotalRequests Limit exceeded.")
	}
	// A new day, a new share.
	day = day.Add(24 * time.Hour)
	if err := s.models.CallsWork(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.models.NoteCalls(ctx, 10, models.Usage{Used: 410, Limit: 10_000}); err != nil {
		t.Fatal(err)
	}
	if b, err := s.models.Budget(ctx); err != nil || b.Used != 10 || b.Calls != 4_800 || b.RefusedUntil != nil {
		t.Errorf("the next day's account is %+v, %v", b, err)
	}
}

// Prometheus is told Tandem's own figures, from the rows.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	ctx := t.Context()
	_, runs, err := s.models.OpenCycle(ctx, []string{"Lead", "Contact"})
	err = errors.Join(err, s.models.WorkerSeen(ctx, "w"), s.models.NoteCalls(ctx, 7, models.Usage{Used: 100, Limit: 1000}),
		s.models.FinishRun(ctx, runs[0].ID, models.RunOutcome{State: models.RunSucceeded}))
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO mirror.objects (object, table_name, direction, describe, described_at, records) VALUES ('Lead', 'salesforce.lead', 'two-way', '{}', now(), 42)`,
		`INSERT INTO mirror.watermarks (object, watermark) VALUES ('Lead', now() - interval '90 seconds')`,
		`INSERT INTO mirror.checks (object, run_id, fields, state, ended_at) VALUES ('Lead', 1, '{Id}', 'done', now())`,
		`INSERT INTO mirror.differences (object, sfid, kind, check_id) VALUES ('Lead', '00Q1', 'extra', 1)`,
	} {
		if _, err := s.pool.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	_, body, _ := s.visitor().get("/metrics")
	for _, want := range []string{
		"tandem_up 1", "tandem_connected 1", "tandem_workers ", "tandem_cycle_number 1", `tandem_cycle_state{state="syncing"} 1`, `tandem_cycle_state{state="paused"} 0`,
		`tandem_object_records{object="Lead"} 42`, `tandem_object_behind_seconds{object="Lead"} 9`, `tandem_object_to_send{object="Lead"} 0`,
		`tandem_object_refused{object="Lead"} 0`, `tandem_object_conflicts{object="Lead"} 0`, `tandem_object_differing{object="Lead"} 1`, `tandem_object_checked_timestamp_seconds{object="Lead"} 1`,
		"tandem_api_calls_today 7", "tandem_api_budget_today 453", "tandem_api_org_calls_24h 100", "tandem_api_org_limit_24h 1000", `tandem_runs_24h{kind="first-sync",result="succeeded"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// The object's page tells whether it is the same as Salesforce, lists what differs, and lets an operator check and mend.
func TestCheckOnTheObjectsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	ctx := t.Context()
	p, viewer := s.signedIn(models.RoleOperator), s.signedIn(models.RoleViewer)
	exec := func(sql string) {
		t.Helper()
		if _, err := s.pool.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(who *person, wants ...string) {
		t.Helper()
		for _, lang := range []string{"en", "fr"} {
			status, body, _ := who.get("/objects/Lead", "Accept-Language", lang)
			if status != http.StatusOK {
				t.Fatalf("the page answered %d: %s", status, body)
			}
			for _, want := range wants {
				if yes := !strings.HasPrefix(want, "!"); strings.Contains(body, strings.TrimPrefix(want, "!")) != yes {
					t.Errorf("in %s: want %s", lang, want)
				}
			}
		}
	}
	sees(p, `data-testid="check-Lead"`, `data-testid="check-result"`, `!data-testid="check-chip"`)
	sees(viewer, `!data-testid="check-Lead"`)
	exec(`INSERT INTO mirror.objects (object, table_name, direction, describe, described_at) VALUES ('Lead', 'salesforce.lead', 'two-way', '{}', now())`)
	exec(`INSERT INTO mirror.checks (object, run_id, fields, state, ended_at, here, there, ranges) VALUES ('Lead', 1, '{Id}', 'done', now(), 42, 42, 1)`)
	sees(p, `class="chip green" data-testid="check-chip"`, `!data-testid="mend-Lead"`)
	exec(`UPDATE mirror.checks SET moving = 1`)
	sees(p, `class="chip amber" data-testid="check-chip"`, `!data-testid="mend-Lead"`)
	exec(`UPDATE mirror.checks SET moving = 0`)
	exec(`INSERT INTO mirror.differences (object, sfid, field, kind, here, there, check_id) VALUES ('Lead', '00Q000000000001AAA', 'City', 'differs', '<b>Here</b>', NULL, 1), ('Lead', '00Q000000000002AAA', '', 'missing', NULL, NULL, 1)`)
	sees(p, `class="chip red" data-testid="check-chip"`, `data-testid="mend-Lead"`, `data-testid="difference-00Q000000000001AAA"`, "&lt;b&gt;Here&lt;/b&gt;", `data-testid="difference-00Q000000000002AAA"`)
	exec(`INSERT INTO mirror.check_ranges (check_id, object, after_sfid, upto_sfid, suspects) SELECT id, 'Lead', '', '', 7 FROM mirror.checks`)
	if _, body, _ := p.get("/objects/Lead"); !strings.Contains(body, "At least 2 records differ") || !strings.Contains(body, "7 more differed at first sight") || strings.Contains(body, "In sync") {
		t.Error("the page does not tell how many differ at least")
	}
	exec(`DELETE FROM mirror.check_ranges`)
	if status, _, to := p.post("/objects/Lead/check", nil); status != http.StatusSeeOther || to == "" {
		t.Errorf("asking for a check answered %d", status)
	}
	sees(p, `data-testid="check-running"`, `!data-testid="check-Lead"`, `!data-testid="mend-Lead"`)
	if status, body, _ := p.post("/objects/Lead/mend", nil); status != http.StatusConflict || !strings.Contains(body, "under way") {
		t.Errorf("mending beside a check answered %d", status)
	}
	for _, path := range []string{"/objects/Lead/check", "/objects/Lead/mend"} {
		if status, _, _ := viewer.post(path, nil); status != http.StatusForbidden {
			t.Errorf("a viewer's %s answered %d", path, status)
		}
	}
	runs, err := s.models.ActiveRuns(ctx)
	if err != nil || len(runs) != 1 || runs[0].Kind != models.RunCheck {
		t.Fatalf("%+v, %v", runs, err)
	}
	if err := s.models.FinishRun(ctx, runs[0].ID, models.RunOutcome{State: models.RunFailed, Error: "Too much <differs>"}); err != nil {
		t.Fatal(err)
	}
	sees(p, `data-testid="check-failed"`, "Too much &lt;differs&gt;", `data-testid="mend-Lead"`)
	if o, err := s.models.Object(ctx, "Lead"); err != nil || o.Error != "" {
		t.Errorf("a check that failed made the object fail: %q, %v", o.Error, err)
	}
}

// The nightly check: once after its hour, for what was synced before; what was missed while nothing ran is made up for.
func TestChecksDue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	ctx := t.Context()
	now := time.Date(2026, 11, 25, 1, 0, 0, 0, time.UTC)
	s.models.Now = func() time.Time { return now }
	if _, err := s.pool.Exec(ctx, `UPDATE admin.objects SET first_synced_at = '2026-11-24 12:00Z' WHERE name IN ('Lead', 'Contact', 'Account'); UPDATE admin.objects SET paused = true WHERE name = 'Account'`); err != nil {
		t.Fatal(err)
	}
	asked := func(when string, want int) {
		t.Helper()
		for range 2 {
			if err := s.models.RequestChecksDue(ctx); err != nil {
				t.Fatal(err)
			}
		}
		runs, err := s.models.Runs(ctx, models.RunFilter{Kind: models.RunCheck})
		if err != nil || len(runs) != want {
			t.Errorf("%s: %d checks were asked for, %v, want %d", when, len(runs), err, want)
		}
		for _, r := range runs {
			if r.Active() {
				if err := s.models.FinishRun(ctx, r.ID, models.RunOutcome{State: models.RunSucceeded}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	asked("before the hour", 0)
	now = now.Add(90 * time.Minute)
	asked("after the hour", 2)
	now = now.Add(20 * time.Hour)
	asked("the same day", 2)
	now = now.Add(40 * time.Hour)
	asked("two days later", 4)
	if err := s.models.SetSyncSettings(ctx, models.SyncSettings{CheckHour: -1, BrakePercent: 10}, "test"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(48 * time.Hour)
	asked("switched off", 4)
}
