package salesforce

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// basePath lies before every path of the test org, so that an address built from anything but the instance URL fails.
const basePath = "/some/base"

// org is a hand-made org: sessions and versions work, everything else is up to the test.
type org struct {
	*httptest.Server
	mux     *http.ServeMux
	grants  atomic.Int64 // answered by the token endpoint
	live    atomic.Value // the access token that is accepted; "" accepts any
	client  *Client
	slept   []time.Duration
	sleptMu sync.Mutex
	log     strings.Builder
}

const testSecret = "the-client-secret"

func newOrg(t *testing.T, change ...func(*Config)) *org {
	t.Helper()
	o := &org{mux: http.NewServeMux()}
	o.live.Store("")
	o.Server = httptest.NewServer(http.StripPrefix(basePath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if live := o.live.Load().(string); live != "" && !strings.HasPrefix(r.URL.Path, tokenPath) && r.URL.Path != "/services/data" && r.Header.Get("Authorization") != "Bearer "+live {
			refuse(w, 401, "INVALID_SESSION_ID", "Session expired or invalid")
			return
		}
		o.mux.ServeHTTP(w, r)
	})))
	t.Cleanup(o.Close)
	o.mux.HandleFunc("POST "+tokenPath, func(w http.ResponseWriter, _ *http.Request) {
		n := o.grants.Add(1)
		token := fmt.Sprintf("00D!secret-access-%d", n)
		if o.live.Load() != "" {
			o.live.Store(token)
		}
		answer(w, 200, fmt.Sprintf(`{"access_token":%q,"instance_url":%q,"id":"https://login.salesforce.com/id/00Dx0000000BV7zEAG/005x00000012Q9PAAU","token_type":"Bearer","issued_at":"1278448832702"}`, token, o.URL+basePath))
	})
	o.mux.HandleFunc("GET /services/data", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the list of versions was asked for with a session")
		}
		answer(w, 200, `[{"label":"Summer '26","version":"65.0"},{"version":"66.0"},{"version":"67.0"}]`)
	})
	cfg := Config{
		Credentials: Credentials{LoginURL: o.URL + basePath, Auth: AuthClientCredentials, ClientID: "app", ClientSecret: testSecret},
		ClientName:  "Tandem/1.0", AllowLocal: true, HTTP: &http.Client{Transport: Transport()},
		Log: slog.New(slog.NewTextHandler(&o.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	c.sleep = func(ctx context.Context, d time.Duration) error {
		o.sleptMu.Lock()
		defer o.sleptMu.Unlock()
		o.slept = append(o.slept, d)
		return ctx.Err()
	}
	o.client = c
	return o
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, fmt.Sprintf(`[{"message":%q,"errorCode":%q}]`, message, code))
}

func (o *org) handle(pattern string, h http.HandlerFunc) { o.mux.HandleFunc(pattern, h) }

const rest = "/services/data/v66.0"

// sequence answers a request like the first handler, the next like the second, and all others like the last.
func sequence(calls *atomic.Int64, handlers ...http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := int(calls.Add(1))
		handlers[min(n, len(handlers))-1](w, r)
	}
}

func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answer(w, status, body) }
}

func html(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html><body>We are down for maintenance</body></html>")
	}
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// cutBody promises more than it sends.
func cutBody(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"totalSize":`)
}

func TestRequestsCarryWhatSalesforceWants(t *testing.T) {
	var used []Usage
	o := newOrg(t, func(c *Config) { c.OnUsage = func(u Usage) { used = append(used, u) } })
	if _, ok := o.client.ServerTime(); ok {
		t.Error("the org's clock is known before any reply")
	}
	if _, ok := o.client.Usage(); ok {
		t.Error("the org's usage is known before any reply")
	}
	o.handle("GET "+rest+"/query", func(w http.ResponseWriter, r *http.Request) {
		for name, want := range map[string]string{
			"Authorization": "Bearer 00D!secret-access-1", "Sforce-Call-Options": "client=Tandem/1.0", "Accept-Encoding": "gzip", "Accept": "application/json",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("header %s: got %q, want %q", name, got, want)
			}
		}
		if got, want := r.URL.Query().Get("q"), "SELECT COUNT() FROM Lead WHERE Name = 'A&B+C%' AND X > 1"; got != want {
			t.Errorf("the org got %q, want %q", got, want)
		}
		w.Header().Set("Sforce-Limit-Info", "api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)")
		w.Header().Set("Date", "Fri, 20 Nov 2026 17:38:59 GMT")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, ` {"totalSize":42,"done":true,"records":[]}`)
		_ = z.Close()
	})
	n, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead WHERE Name = 'A&B+C%' AND X > 1")
	if err != nil || n != 42 {
		t.Fatalf("Count = %d, %v, want 42", n, err)
	}
	want := Usage{Used: 25, Limit: 5000, AppUsed: 17, AppLimit: 250}
	if u, ok := o.client.Usage(); !ok || u != want {
		t.Errorf("Usage = %v, %v, want %v", u, ok, want)
	}
	if len(used) != 1 || used[0] != want {
		t.Errorf("OnUsage was told %v, want once %v", used, want)
	}
	at, ok := o.client.ServerTime()
	if d := at.Sub(time.Date(2026, 11, 20, 17, 38, 59, 0, time.UTC)); !ok || d < 0 || d > 10*time.Second {
		t.Errorf("ServerTime = %v, %v, want the reply's Date", at, ok)
	}
	if got := o.client.Calls(); got != 1 {
		t.Errorf("Calls = %d, want 1: sign-in and versions do not count", got)
	}
}

func TestServerTimeMovesOnWithTheLocalClock(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := newOrg(t, func(c *Config) { c.Now = func() time.Time { return now } })
	o.handle("GET "+rest+"/query", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", "Fri, 20 Nov 2026 17:00:00 GMT")
		answer(w, 200, `{"totalSize":1}`)
	})
	if _, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(90 * time.Second)
	if at, _ := o.client.ServerTime(); !at.Equal(time.Date(2026, 11, 20, 17, 1, 30, 0, time.UTC)) {
		t.Errorf("ServerTime = %v, want 90 s after the reply's Date", at)
	}
}

// Each of these passes: the client asks again, within bounds, and the caller never knows.
func TestRequestsAreRepeatedWhereThatHelps(t *testing.T) {
	ok := say(200, `{"totalSize":7}`)
	for name, bad := range map[string]http.HandlerFunc{
		"406":              say(406, ""),
		"420":              html(420),
		"429":              say(429, `[{"errorCode":"TOO_MANY_REQUESTS","message":"slow down"}]`),
		"500":              say(500, `[{"errorCode":"UNKNOWN_EXCEPTION","message":"An unexpected error occurred."}]`),
		"502":              html(502),
		"503":              say(503, `[{"errorCode":"SERVER_UNAVAILABLE","message":"Server too busy"}]`),
		"503 HTML":         html(503),
		"504":              say(504, ""),
		"404 HTML":         html(404),
		"200 HTML":         html(200),
		"200 empty":        say(200, ""),
		"200 text":         say(200, "OK"),
		"hangs up":         hangUp,
		"cut body":         cutBody,
		"answer + error":   say(200, `{"totalSize":7}[{"errorCode":"UNKNOWN_EXCEPTION"}]`),
		"too many at once": say(403, `[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"ConcurrentPerOrgLongTxn Limit exceeded."}]`),
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrg(t)
			var calls atomic.Int64
			o.handle("GET "+rest+"/query", sequence(&calls, bad, bad, ok))
			if n, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err != nil || n != 7 {
				t.Fatalf("Count = %d, %v, want 7", n, err)
			}
			// The transport itself repeats a read once, without a pause, when a connection that it kept turns out to be closed.
			own := 0
			if name == "hangs up" {
				own = 1
			}
			if calls.Load() != 3 || len(o.slept) != 2-own || o.slept[0] <= 0 || o.slept[1-own] > longestDelay {
				t.Errorf("%d calls, pauses %v, want 3 calls and 2 pauses", calls.Load(), o.slept)
			}

			o = newOrg(t)
			calls.Store(0)
			o.handle("GET "+rest+"/query", sequence(&calls, bad))
			_, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead")
			if !IsTransient(err) || IsHalting(err) || calls.Load() != int64(attemptMax+own) {
				t.Errorf("for ever: %v, transient %v, %d calls, want a transient error after %d", err, IsTransient(err), calls.Load(), attemptMax)
			}
		})
	}
}

// What would not pass at once is told at once.
func TestRequestsAreNotRepeatedInVain(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"MALFORMED_QUERY": say(400, `[{"errorCode":"MALFORMED_QUERY","message":"x"}]`),
		"QUERY_TIMEOUT":   say(400, `[{"errorCode":"QUERY_TIMEOUT","message":"x"}]`),
		"NOT_FOUND":       say(404, `[{"errorCode":"NOT_FOUND","message":"x"}]`),
		"TotalRequests":   say(403, `[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}]`),
		"414":             html(414),
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrg(t)
			var calls atomic.Int64
			o.handle("GET "+rest+"/query", sequence(&calls, bad))
			if _, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err == nil || calls.Load() != 1 {
				t.Errorf("%v after %d calls, want an error after 1", err, calls.Load())
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	o.handle("GET "+rest+"/query", sequence(&calls, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "20")
		answer(w, 503, "")
	}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		answer(w, 503, "")
	}))
	_, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead")
	if calls.Load() != 2 || len(o.slept) != 1 || o.slept[0] != 20*time.Second {
		t.Errorf("%d calls, pauses %v, want one pause of 20 s and none of an hour", calls.Load(), o.slept)
	}
	if !IsTransient(err) || RetryAfter(err) != time.Hour {
		t.Errorf("%v, RetryAfter %v, want a transient error that tells 1 h", err, RetryAfter(err))
	}
	h := http.Header{"Retry-After": {"Fri, 20 Nov 2026 17:01:00 GMT"}, "Date": {"Fri, 20 Nov 2026 17:00:00 GMT"}}
	if d := parseRetryAfter(h, time.Now()); d != time.Minute {
		t.Errorf("Retry-After as a date: %v, want 1m", d)
	}
}

func TestContextEndsARequest(t *testing.T) {
	o := newOrg(t)
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int64
	o.handle("GET "+rest+"/query", sequence(&calls, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	_, err := o.client.Count(ctx, "SELECT COUNT() FROM Lead")
	if !errors.Is(err, context.Canceled) || IsTransient(err) || IsHalting(err) || calls.Load() != 1 {
		t.Errorf("%v after %d calls, want the context's own error after 1", err, calls.Load())
	}
}

func TestARequestWithoutAnAnswerIsGivenUp(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	o.handle("GET "+rest+"/slow", sequence(&calls, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	err := o.client.do(t.Context(), request{op: "test", method: "GET", path: rest + "/slow", within: 30 * time.Millisecond, again: true}, func(*reply) error { return nil })
	if !IsTransient(err) || !errors.Is(err, errSilent) || calls.Load() != attemptMax {
		t.Errorf("%v after %d calls, want a transient error after %d", err, calls.Load(), attemptMax)
	}
}

func TestASilentBodyIsCut(t *testing.T) {
	o := newOrg(t)
	o.client.idle = 30 * time.Millisecond
	o.handle("GET "+rest+"/query", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"totalSize":2,"records":[{"Id":"1"},`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for page, err := range o.client.QueryRows(t.Context(), []string{"Id"}, "SELECT Id FROM Lead", false) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := page.Rows.Next(); err != nil {
			t.Fatal(err)
		}
		_, err := page.Rows.Next()
		if !IsTransient(err) || !errors.Is(err, errIdle) {
			t.Errorf("%v, want a transient error that tells the silence", err)
		}
		break
	}
}

// A create must not happen twice: only what Salesforce surely did not take is sent again.
func TestACreateIsRepeatedOnlyIfItWasSurelyNotTaken(t *testing.T) {
	ok := say(200, `{"id":"750R0000000zlh9IAA","state":"UploadComplete"}`)
	for name, c := range map[string]struct {
		bad   http.HandlerFunc
		calls int64
	}{
		"hangs up":  {hangUp, 1},
		"cut body":  {cutBody, 1},
		"500":       {say(500, `[{"errorCode":"UNKNOWN_EXCEPTION"}]`), 1},
		"502 HTML":  {html(502), 1},
		"503 HTML":  {html(503), 1},
		"429":       {say(429, ""), 2},
		"420":       {html(420), 2},
		"too busy":  {say(503, `[{"errorCode":"SERVER_UNAVAILABLE","message":"Server too busy"}]`), 2},
		"too many":  {say(403, `[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"ConcurrentPerOrgLongTxn Limit exceeded."}]`), 2},
		"daily 403": {say(403, `[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded."}]`), 1},
	} {
		o := newOrg(t)
		var calls atomic.Int64
		o.handle("POST "+rest+"/jobs/query", sequence(&calls, c.bad, ok))
		_, err := o.client.CreateQueryJob(t.Context(), "SELECT Id FROM Lead", false)
		if calls.Load() != c.calls || (err == nil) != (c.calls == 2) {
			t.Errorf("%s: %d calls, %v, want %d calls", name, calls.Load(), err, c.calls)
		}
	}
	// Nothing can have been sent over a connection that was never made.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := "http://" + listener.Addr().String()
	_ = listener.Close()
	o := newOrg(t)
	err = o.client.do(t.Context(), request{op: "test", method: "POST", base: nowhere, path: "/x", body: []byte("{}")}, func(*reply) error { return nil })
	if !IsTransient(err) || len(o.slept) != attemptMax-1 {
		t.Errorf("a refused connection: %v after %d pauses, want a transient error after %d", err, len(o.slept), attemptMax-1)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	o := newOrg(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a host that nobody chose got %s with %q", r.URL, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	o.handle("GET "+rest+"/query", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/x?token=1", http.StatusTemporaryRedirect)
	})
	_, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead")
	if HaltReason(err) != HaltLogin || o.grants.Load() != 2 {
		t.Errorf("%v, %d sign-ins, want it to halt after the org's address was asked anew", err, o.grants.Load())
	}
}

func TestAnOrgThatMovedIsFoundAgain(t *testing.T) {
	for name, former := range map[string]http.Handler{"a page for people": html(http.StatusNotFound), "nobody there": nil} {
		t.Run(name, func(t *testing.T) {
			o := newOrg(t)
			old := httptest.NewServer(former)
			if former == nil {
				old.Close()
			} else {
				defer old.Close()
			}
			o.client.keep(Token{AccessToken: "00D!former", InstanceURL: old.URL})
			o.handle("GET "+rest+"/query", say(200, `{"totalSize":7,"done":true,"records":[]}`))
			o.client.version = "66.0"
			for range 2 {
				if n, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err != nil || n != 7 {
					t.Errorf("%d, %v, want the count from where the org lives now", n, err)
				}
			}
			if o.grants.Load() != 1 {
				t.Errorf("%d sign-ins, want 1", o.grants.Load())
			}
		})
	}
	t.Run("lost for a moment", func(t *testing.T) {
		o := newOrg(t)
		var calls atomic.Int64
		o.handle("GET "+rest+"/query", sequence(&calls, html(http.StatusNotFound)))
		for range 3 {
			if _, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err == nil {
				t.Error("a page for people was taken for a count")
			}
		}
		if o.grants.Load() > 2 {
			t.Errorf("%d sign-ins, want one more than the first: the address was the same", o.grants.Load())
		}
	})
}

// Invariant 7: no secret in errors, logs or anything printed, whatever the org answers.
func TestNoSecretIsShown(t *testing.T) {
	o := newOrg(t)
	o.handle("GET "+rest+"/query", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 500, `[{"errorCode":"ECHO","message":"you sent `+r.Header.Get("Authorization")+` and `+testSecret+`"}]`)
	})
	o.handle("GET "+rest+"/limits", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>"+r.Header.Get("Authorization"))
	})
	_, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead WHERE Email = 'someone@example.com'")
	_, err2 := o.client.Limits(t.Context())
	_, err3 := New(Config{Credentials: Credentials{LoginURL: "https://login.salesforce.com", Auth: AuthJWT, ClientID: "a", Username: "u", PrivateKeyPEM: []byte("-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END RSA PRIVATE KEY-----")}})
	_, err4 := CheckLoginURL("https://user:the-client-secret@login.salesforce.com", false)
	cred := o.client.cfg.Credentials
	token := o.client.cached()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "credentials", cred, "token", token, "client", o.client, "config", o.client.cfg)
	all := fmt.Sprintf("%v|%v|%v|%v|%v|%+v|%#v|%s|%v|%+v|%#v|%v|%+v|%#v|%v|%+v|%#v|%s", err, err2, err3, err4,
		cred, cred, cred, cred, token, token, token, o.client, o.client, o.client, o.client.cfg, o.client.cfg, o.client.cfg, log.String()) + o.log.String()
	for _, secret := range []string{"secret-access", testSecret, "c2VjcmV0", "secret-key", "someone@"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is shown in %s", secret, all)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "[secret]") {
		t.Errorf("%v, want the secrets struck out", err)
	}
}

func TestAPIVersionIsChosenFromWhatTheOrgOffers(t *testing.T) {
	for _, c := range []struct{ offered, pinned, want string }{
		{`[{"version":"65.0"},{"version":"66.0"},{"version":"68.0"}]`, "", "66.0"},
		{`[{"version":"60.0"},{"version":"65.0"},{"version":"68.0"}]`, "", "65.0"},
		{`[{"version":"31.0"},{"version":"67.0"},{"version":"68.0"}]`, "", "67.0"},
		{`[{"version":"57.0"},{"version":"99.0"}]`, "", "99.0"},
		{`[{"version":"59.0"},{"version":"66.0"}]`, "60.0", "59.0"},
		{`[{"version":"57.0"}]`, "", ""},
		{`[]`, "", ""},
	} {
		o := newOrg(t, func(cfg *Config) { cfg.Version = c.pinned })
		var calls atomic.Int64
		versions := http.NewServeMux()
		versions.HandleFunc("/services/data", sequence(&calls, say(200, c.offered)))
		versions.Handle("/", o.mux)
		o.Config.Handler = http.StripPrefix(basePath, versions)
		for range 2 {
			got, err := o.client.APIVersion(t.Context())
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("offered %s, pinned %q: %q, %v, want %q", c.offered, c.pinned, got, err, c.want)
			}
			if err != nil && HaltReason(err) != HaltAPIOff {
				t.Errorf("offered %s: %v, want it to halt", c.offered, err)
			}
		}
		if c.want != "" && calls.Load() != 1 {
			t.Errorf("the org was asked %d times, want once", calls.Load())
		}
	}
	if _, err := New(Config{Credentials: Credentials{LoginURL: "https://login.salesforce.com", Auth: AuthWebServer, ClientID: "a"}, Version: "66"}); err == nil {
		t.Error(`New took the version "66"`)
	}
}

func TestParseUsage(t *testing.T) {
	for in, want := range map[string]Usage{
		"api-usage=25/5000": {Used: 25, Limit: 5000},
		"api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)": {25, 5000, 17, 250},
		"per-app-api-usage=17/250(appName=x);api-usage=1/2":                         {1, 2, 17, 250},
	} {
		if got, ok := parseUsage(in); !ok || got != want {
			t.Errorf("parseUsage(%q) = %v, %v, want %v", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "x", "api-usage=", "api-usage=a/b", "per-app-api-usage=1/2"} {
		if got, ok := parseUsage(in); ok {
			t.Errorf("parseUsage(%q) = %v, want nothing", in, got)
		}
	}
}

func TestUserInfo(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	o.handle("GET /services/oauth2/userinfo", sequence(&calls,
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Bad_OAuth_Token", 403) },
		say(200, `{"sub":"https://login.salesforce.com/id/00Dx/005x","user_id":"005x00000012Q9P","organization_id":"00Dx0000000BV7z","preferred_username":"pat@example.com","name":"Pat","email":"p@example.com","active":true}`)))
	got, err := o.client.UserInfo(t.Context())
	want := UserInfo{OrganizationID: "00Dx0000000BV7zEAG", UserID: "005x00000012Q9PAAU", PreferredUsername: "pat@example.com", Name: "Pat", Email: "p@example.com"}
	if err != nil || got.UserID != want.UserID || got.Name != "Pat" || len(got.OrganizationID) != 18 || o.grants.Load() != 2 {
		t.Errorf("UserInfo = %+v, %v after %d sign-ins, want %+v after 2", got, err, o.grants.Load(), want)
	}
	if o.client.Calls() != 0 {
		t.Errorf("Calls = %d, want 0: the identity services do not count", o.client.Calls())
	}
}

// An app without the identity scope may still know who it is.
func TestUserInfoFallsBackToTheIdentityURL(t *testing.T) {
	o := newOrg(t)
	o.handle("GET /services/oauth2/userinfo", say(403, `[{"errorCode":"INSUFFICIENT_SCOPE","message":"no"}]`))
	o.handle("GET "+rest+"/query", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query().Get("q"); !strings.Contains(q, "WHERE Id = '005x00000012Q9PAAU'") {
			t.Errorf("asked %q", q)
		}
		answer(w, 200, `{"totalSize":1,"done":true,"records":[{"Email":"p@example.com","Name":"Pat","Username":"pat@example.com"}]}`)
	})
	got, err := o.client.UserInfo(t.Context())
	if err != nil || got.PreferredUsername != "pat@example.com" || got.Name != "Pat" || got.Email != "p@example.com" || got.UserID != "005x00000012Q9PAAU" || !strings.HasPrefix(string(got.OrganizationID), "00D") {
		t.Errorf("UserInfo = %+v, %v", got, err)
	}
}

func TestOrganizationAndLimits(t *testing.T) {
	o := newOrg(t)
	o.handle("GET "+rest+"/query", say(200, `{"totalSize":1,"done":true,"records":[{"attributes":{"type":"Organization"},"Id":"00Dx0000000BV7zEAG","Name":"Acme","IsSandbox":true,"OrganizationType":"Developer Edition","InstanceName":"EU12"}]}`))
	got, err := o.client.Organization(t.Context())
	if err != nil || got.Name != "Acme" || !got.IsSandbox || got.OrganizationType != "Developer Edition" || got.InstanceName != "EU12" {
		t.Errorf("Organization = %+v, %v", got, err)
	}
	o.handle("GET "+rest+"/limits", say(200, `{"DailyApiRequests":{"Max":100000,"Remaining":99957,"My App":{"Max":1,"Remaining":1}},"Odd":{"x":1},"DataStorageMB":{"Max":1073,"Remaining":-3}}`))
	limits, err := o.client.Limits(t.Context())
	if err != nil || limits["DailyApiRequests"] != (Limit{100000, 99957}) || limits["DataStorageMB"] != (Limit{1073, -3}) || len(limits) != 2 {
		t.Errorf("Limits = %v, %v", limits, err)
	}
}

func TestEscapeSOQLLosesNothing(t *testing.T) {
	for _, soql := range []string{"SELECT Id, Name FROM Lead WHERE (A = 'x+y & z=%é\n') AND B != null", "a;b#c?d/e\"\\"} {
		got, err := url.QueryUnescape(escapeSOQL(soql))
		if err != nil || got != soql {
			t.Errorf("%q came back as %q, %v", soql, got, err)
		}
	}
}
