package salesforce

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestCheckLoginURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://login.salesforce.com":                                 "https://login.salesforce.com",
		" HTTPS://Test.Salesforce.com/ ":                               "https://test.salesforce.com",
		"acme.my.salesforce.com":                                       "https://acme.my.salesforce.com",
		"https://acme--uat.sandbox.my.salesforce.com/home/home.jsp?x":  "https://acme--uat.sandbox.my.salesforce.com",
		"https://acme.my.salesforce.com:443":                           "https://acme.my.salesforce.com",
		"https://acme.my.salesforce.com.":                              "https://acme.my.salesforce.com",
		"https://acme.lightning.force.com/lightning/page/home":         "https://acme.my.salesforce.com",
		"https://acme--uat.sandbox.lightning.force.com":                "https://acme--uat.sandbox.my.salesforce.com",
		"https://acme.my.salesforce-setup.com/lightning/setup":         "https://acme.my.salesforce.com",
		"https://gov.my.salesforce.mil":                                "https://gov.my.salesforce.mil",
		"https://acme.my.sfcrmproducts.cn":                             "https://acme.my.sfcrmproducts.cn",
		"https://x-dev-ed.develop.my.salesforce.com/services/oauth2/a": "https://x-dev-ed.develop.my.salesforce.com",
	} {
		if got, err := CheckLoginURL(in, false); got != want || err != nil {
			t.Errorf("CheckLoginURL(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "  ", "http://login.salesforce.com", "https://example.com", "https://salesforce.com.evil.example", "https://evilsalesforce.com",
		"https://salesforce.com@evil.example", "https://u:p@login.salesforce.com", "https://login.salesforce.com:8443", "ftp://login.salesforce.com",
		"https://", "https://%zz", "http://127.0.0.1:8081", "https://localhost", "http://[::1]:80", "mailto:a@b.c", "https://.salesforce.com.x",
	} {
		if got, err := CheckLoginURL(in, false); err == nil {
			t.Errorf("CheckLoginURL(%q) = %q, want it refused", in, got)
		}
	}
	for in, want := range map[string]string{
		"http://127.0.0.1:8081/":      "http://127.0.0.1:8081",
		"127.0.0.1:8081/base/":        "http://127.0.0.1:8081/base",
		"localhost:8081":              "http://localhost:8081",
		"http://[::1]:8081/x":         "http://[::1]:8081/x",
		"https://localhost":           "https://localhost",
		"https://test.salesforce.com": "https://test.salesforce.com",
	} {
		if got, err := CheckLoginURL(in, true); got != want || err != nil {
			t.Errorf("CheckLoginURL(%q, local) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"http://10.0.0.1", "http://example.com", "ftp://127.0.0.1", "http://169.254.169.254/"} {
		if got, err := CheckLoginURL(in, true); err == nil {
			t.Errorf("CheckLoginURL(%q, local) = %q, want it refused", in, got)
		}
	}
}

func TestNewRefusesIncompleteCredentials(t *testing.T) {
	for _, c := range []Credentials{
		{Auth: AuthWebServer},
		{Auth: AuthClientCredentials, ClientID: "a"},
		{Auth: AuthJWT, ClientID: "a"},
		{Auth: AuthJWT, ClientID: "a", Username: "u", PrivateKeyPEM: []byte("no key")},
		{Auth: "password", ClientID: "a"},
		{Auth: AuthWebServer, ClientID: "a", LoginURL: "https://example.com"},
	} {
		if c.LoginURL == "" {
			c.LoginURL = "https://login.salesforce.com"
		}
		if _, err := New(Config{Credentials: c}); err == nil {
			t.Errorf("New took %+v", c)
		}
	}
}

func TestAuthorizeURLAsksWithPKCE(t *testing.T) {
	c := Credentials{LoginURL: "https://login.salesforce.com", ClientID: "app", RedirectURL: "https://tandem.example.com/cb?x=1"}
	got, err := AuthorizeURL(c, "the state", "the-verifier")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(got)
	if err != nil || u.Host != "login.salesforce.com" || u.Path != "/services/oauth2/authorize" {
		t.Fatalf("%s, %v", got, err)
	}
	sum := sha256.Sum256([]byte("the-verifier"))
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "app", "redirect_uri": c.RedirectURL, "state": "the state", "scope": "api refresh_token",
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
	} {
		if u.Query().Get(name) != want {
			t.Errorf("%s = %q, want %q", name, u.Query().Get(name), want)
		}
	}
	for _, c := range []Credentials{{}, {LoginURL: "https://login.salesforce.com"}, {LoginURL: "https://login.salesforce.com", ClientID: "a"}, {LoginURL: "https://x.example", ClientID: "a", RedirectURL: "https://y"}} {
		if got, err := AuthorizeURL(c, "s", "v"); err == nil {
			t.Errorf("AuthorizeURL(%+v) = %s, want an error", c, got)
		}
	}
}

// tokenServer answers the token endpoint alone.
func tokenServer(t *testing.T, h func(form url.Values) (int, string)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.URL.Path != basePath+tokenPath || r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("%s %s, %s", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		status, body := h(r.PostForm)
		answer(w, status, strings.ReplaceAll(body, "$URL", "http://"+r.Host+basePath))
	}))
	t.Cleanup(srv.Close)
	return srv.URL + basePath
}

func TestExchange(t *testing.T) {
	var forms []url.Values
	login := tokenServer(t, func(form url.Values) (int, string) {
		forms = append(forms, form)
		if form.Get("code") != "the code" {
			return 400, `{"error":"invalid_grant","error_description":"expired authorization code"}`
		}
		return 200, `{"access_token":"00D!x","refresh_token":"5Aep","signature":"s","scope":"refresh_token api id","instance_url":"$URL/","id":"https://login.salesforce.com/id/00D/005","token_type":"Bearer","issued_at":"1278448832702","api_instance_url":"https://api.salesforce.com"}`
	})
	client := &http.Client{Transport: Transport()}
	defer client.CloseIdleConnections()
	cfg := Config{Credentials: Credentials{LoginURL: login, ClientID: "app", ClientSecret: "s", RedirectURL: "https://tandem/cb"}, AllowLocal: true, HTTP: client}
	got, err := Exchange(t.Context(), cfg, "the code", "the verifier")
	want := Token{AccessToken: "00D!x", RefreshToken: "5Aep", InstanceURL: login, IdentityURL: "https://login.salesforce.com/id/00D/005", IssuedAt: time.UnixMilli(1278448832702).UTC()}
	if err != nil || got != want {
		t.Errorf("Exchange = %v, %v", got, err)
	}
	if f := forms[0]; f.Get("grant_type") != "authorization_code" || f.Get("code_verifier") != "the verifier" || f.Get("client_id") != "app" || f.Get("client_secret") != "s" || f.Get("redirect_uri") != "https://tandem/cb" {
		t.Errorf("sent %v", f)
	}
	cfg.ClientSecret = "" // a public client
	_, err = Exchange(t.Context(), cfg, "another", "the verifier")
	if HaltReason(err) != HaltLogin || !HasCode(err, "invalid_grant") || len(forms) != 2 || forms[1].Has("client_secret") {
		t.Errorf("a spent code: %v after %d requests", err, len(forms))
	}
}

func TestATokenForAnUnsafeAddressIsRefused(t *testing.T) {
	for _, instance := range []string{"http://acme.my.salesforce.com", "", "ftp://x", "https://user@acme.my.salesforce.com", "//x"} {
		login := tokenServer(t, func(url.Values) (int, string) {
			return 200, fmt.Sprintf(`{"access_token":"00D!x","instance_url":%q}`, instance)
		})
		client := &http.Client{Transport: Transport()}
		c, err := New(Config{Credentials: Credentials{LoginURL: login, Auth: AuthClientCredentials, ClientID: "a", ClientSecret: "b"}, AllowLocal: true, HTTP: client})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.APIVersion(t.Context()); HaltReason(err) != HaltLogin {
			t.Errorf("instance_url %q: %v, want it refused", instance, err)
		}
		client.CloseIdleConnections()
	}
}

// Which audience the org takes is found out, and only when the audience is what Salesforce complains of.
func TestJWTBearer(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for name, c := range map[string]struct {
		takes   string
		refusal string
		tried   int
		ok      bool
	}{
		"own address":       {"$login", "audience is invalid", 1, true},
		"production":        {"https://login.salesforce.com", "audience is invalid", 2, true},
		"sandbox":           {"https://test.salesforce.com", "Audience validation failed", 3, true},
		"none":              {"nothing", "audience is invalid", 3, false},
		"another complaint": {"nothing", "user hasn't approved this consumer", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			var tried []string
			var login string
			login = tokenServer(t, func(form url.Values) (int, string) {
				if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || form.Has("client_secret") {
					t.Errorf("sent %v", form)
				}
				claims := jwt.MapClaims{}
				if _, err := jwt.ParseWithClaims(form.Get("assertion"), claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }, jwt.WithValidMethods([]string{"RS256"})); err != nil {
					t.Error(err)
				}
				audience, isText := claims["aud"].(string)
				exp, _ := claims["exp"].(float64)
				if ahead := time.Until(time.Unix(int64(exp), 0)); !isText || claims["iss"] != "app" || claims["sub"] != "pat@example.com" || ahead > 3*time.Minute+time.Second || ahead < 2*time.Minute {
					t.Errorf("claims %v, %v ahead", claims, ahead)
				}
				tried = append(tried, audience)
				if audience != strings.ReplaceAll(c.takes, "$login", login) {
					return 400, fmt.Sprintf(`{"error":"invalid_grant","error_description":%q}`, c.refusal)
				}
				return 200, `{"access_token":"00D!x","instance_url":"$URL"}`
			})
			client := &http.Client{Transport: Transport()}
			defer client.CloseIdleConnections()
			cl, err := New(Config{Credentials: Credentials{LoginURL: login, Auth: AuthJWT, ClientID: "app", Username: "pat@example.com", PrivateKeyPEM: pemKey}, AllowLocal: true, HTTP: client})
			if err != nil {
				t.Fatal(err)
			}
			_, err = cl.session(t.Context())
			if (err == nil) != c.ok || len(tried) != c.tried {
				t.Errorf("tried %q, %v, want %d tries", tried, err, c.tried)
			}
			if !c.ok && HaltReason(err) != HaltLogin {
				t.Errorf("%v, want it to halt", err)
			}
		})
	}
	for login, want := range map[string]string{
		"https://login.salesforce.com":                "https://login.salesforce.com",
		"https://test.salesforce.com":                 "https://test.salesforce.com",
		"https://acme.my.salesforce.com":              "https://login.salesforce.com",
		"https://acme--uat.sandbox.my.salesforce.com": "https://test.salesforce.com",
		"https://x-dev-ed.develop.my.salesforce.com":  "https://login.salesforce.com",
		"http://127.0.0.1:1":                          "http://127.0.0.1:1",
	} {
		got := audiences(login)
		if got[0] != want || !slices.Contains(got, login) || !slices.Contains(got, "https://login.salesforce.com") {
			t.Errorf("audiences(%s) = %q, want %s first", login, got, want)
		}
	}
}

// However many requests meet an ended session at once, it is renewed once, and all of them succeed.
func TestTheSessionIsRenewedOnceForAll(t *testing.T) {
	o := newOrg(t)
	o.live.Store("00D!ended")
	o.handle("GET "+rest+"/query", say(200, `{"totalSize":7}`))
	o.client.keep(Token{AccessToken: "00D!before", InstanceURL: o.URL + basePath})
	tokens := o.client.cfg.Tokens.(*memoryTokens)
	tokens.token = o.client.cached()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if n, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err != nil || n != 7 {
				t.Errorf("Count = %d, %v, want 7", n, err)
			}
		})
	}
	wg.Wait()
	if o.grants.Load() != 1 {
		t.Errorf("%d sign-ins, want 1", o.grants.Load())
	}
}

// A first caller that gives up does not take the renewal with it: a refresh token that rotated must reach the store.
func TestARenewalOutlivesItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := newOrg(t)
	gate := make(chan struct{})
	granted := make(chan struct{})
	handler := o.Config.Handler
	o.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, tokenPath) {
			cancel()
			<-gate
			defer close(granted)
		}
		handler.ServeHTTP(w, r)
	})
	if _, err := o.client.Count(ctx, "SELECT COUNT() FROM Lead"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the caller's own end", err)
	}
	close(gate)
	<-granted
	token, _, err := o.client.renew(t.Context(), "")
	stored, _ := o.client.cfg.Tokens.Token(t.Context())
	if err != nil || token.AccessToken != "00D!secret-access-1" || stored != token {
		t.Errorf("%v, %v, stored %v, want the renewal's token", token, err, stored)
	}
}

// Two processes share a store. The refresh token rotates at each use and dies by it, so a second use would end the connection.
func TestRotatedRefreshTokensAreSharedAndNeverUsedTwice(t *testing.T) {
	var mu sync.Mutex
	refresh, access := 0, 0
	login := tokenServer(t, func(form url.Values) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != fmt.Sprint("5Aep-", refresh) {
			return 400, `{"error":"invalid_grant","error_description":"expired access/refresh token"}`
		}
		refresh++
		access++
		return 200, fmt.Sprintf(`{"access_token":"00D!%d","refresh_token":"5Aep-%d","instance_url":"$URL"}`, access, refresh)
	})
	tokens := MemoryTokens()
	tokens.(*memoryTokens).token = Token{AccessToken: "00D!0", RefreshToken: "5Aep-0", InstanceURL: login}
	http1 := &http.Client{Transport: Transport()}
	defer http1.CloseIdleConnections()
	var clients []*Client
	for range 2 {
		c, err := New(Config{Credentials: Credentials{LoginURL: login, Auth: AuthWebServer, ClientID: "app"}, Tokens: tokens, AllowLocal: true, HTTP: http1})
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	for round := range 20 {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				got, _, err := clients[i%2].renew(t.Context(), fmt.Sprint("00D!", round))
				if err != nil || got.AccessToken != fmt.Sprint("00D!", round+1) || got.RefreshToken != fmt.Sprint("5Aep-", round+1) {
					t.Errorf("round %d: %v, %v", round, got, err)
				}
			})
		}
		wg.Wait()
	}
}

// A session that another process renewed meanwhile may have ended too: then it is our turn.
func TestAStoredSessionThatEndedTooIsRenewed(t *testing.T) {
	o := newOrg(t)
	o.live.Store("00D!nobody")
	o.handle("GET "+rest+"/query", say(200, `{"totalSize":7}`))
	o.client.keep(Token{AccessToken: "00D!first", InstanceURL: o.URL + basePath})
	o.client.cfg.Tokens.(*memoryTokens).token = Token{AccessToken: "00D!second", InstanceURL: o.URL + basePath}
	if n, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead"); err != nil || n != 7 || o.grants.Load() != 1 {
		t.Errorf("Count = %d, %v after %d sign-ins, want 7 after 1", n, err, o.grants.Load())
	}
}

func TestARefusalThatNoRenewalCures(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		grants int64
	}{
		"session":      {`[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]`, 2},
		"not for REST": {`[{"errorCode":"INVALID_SESSION_ID","message":"This session is not valid for use with the REST API"}]`, 1},
		"agent":        {`[{"errorCode":"INVALID_SESSION_ID","message":"Connected app is not attached to Agent"}]`, 1},
		"bad scheme":   {`[{"errorCode":"INVALID_AUTH_HEADER","message":"INVALID_HEADER_TYPE"}]`, 1},
	} {
		o := newOrg(t)
		o.handle("GET "+rest+"/query", say(401, c.body))
		_, err := o.client.Count(t.Context(), "SELECT COUNT() FROM Lead")
		if HaltReason(err) != HaltLogin || o.grants.Load() != c.grants || len(o.slept) != 0 {
			t.Errorf("%s: %v after %d sign-ins and %d pauses, want it to halt after %d", name, err, o.grants.Load(), len(o.slept), c.grants)
		}
	}
}

func TestRefreshThatIsRefusedHalts(t *testing.T) {
	var calls atomic.Int64
	login := tokenServer(t, func(url.Values) (int, string) {
		calls.Add(1)
		return 400, `{"error":"invalid_grant","error_description":"expired access/refresh token"}`
	})
	client := &http.Client{Transport: Transport()}
	defer client.CloseIdleConnections()
	c, err := New(Config{Credentials: Credentials{LoginURL: login, Auth: AuthWebServer, ClientID: "app"}, AllowLocal: true, HTTP: client})
	if err != nil {
		t.Fatal(err)
	}
	// Without a refresh token nothing is even asked.
	if _, err := c.APIVersion(t.Context()); HaltReason(err) != HaltLogin || calls.Load() != 0 {
		t.Errorf("no refresh token: %v after %d requests", err, calls.Load())
	}
	c.cfg.Tokens.(*memoryTokens).token = Token{RefreshToken: "5Aep"}
	if _, err := c.APIVersion(t.Context()); HaltReason(err) != HaltLogin || calls.Load() != 1 {
		t.Errorf("a refused refresh token: %v after %d requests, want it to halt after 1", err, calls.Load())
	}
}

// The token endpoint has bad minutes too.
func TestSigningInIsRepeatedWhereThatHelps(t *testing.T) {
	o := newOrg(t)
	var calls atomic.Int64
	handler := o.Config.Handler
	bad := sequence(&calls, html(503), say(400, `{"error":"unknown_error","error_description":"retry your request"}`), handler.ServeHTTP)
	o.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, tokenPath) {
			bad(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
	if v, err := o.client.APIVersion(t.Context()); err != nil || v != "66.0" || calls.Load() != 3 {
		t.Errorf("APIVersion = %q, %v after %d sign-ins", v, err, calls.Load())
	}
}

// The store is asked before anything else, and its failure is its own.
func TestAStoreThatFailsIsTold(t *testing.T) {
	broken := errors.New("the database is away")
	o := newOrg(t, func(c *Config) { c.Tokens = failingTokens{broken} })
	_, err := o.client.APIVersion(t.Context())
	if !errors.Is(err, broken) || IsTransient(err) || IsHalting(err) {
		t.Errorf("%v, want the store's own error", err)
	}
}

type failingTokens struct{ err error }

func (f failingTokens) Token(context.Context) (Token, error) { return Token{}, f.err }
func (f failingTokens) Renew(context.Context, string, func(context.Context, Token) (Token, error)) (Token, error) {
	return Token{}, f.err
}
