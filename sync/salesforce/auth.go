package salesforce

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

// Auth is the way a connection signs in.
type Auth string

// The ways to sign in. All are OAuth 2.0 flows of Salesforce's.
const (
	AuthWebServer         Auth = "web-server"         // a person allows it in the browser; a refresh token lasts on
	AuthClientCredentials Auth = "client-credentials" // the app's id and secret, on the org's own My Domain host
	AuthJWT               Auth = "jwt"                // an assertion signed with the app's private key
)

// Credentials is what an admin enters. Its String and log value show no secret.
type Credentials struct {
	LoginURL      string
	Auth          Auth
	ClientID      string
	ClientSecret  string `json:"-"`
	Username      string // of the JWT flow
	PrivateKeyPEM []byte `json:"-"`
	RedirectURL   string // of the web server flow
}

// String names the org's address and the way in.
func (c Credentials) String() string { return fmt.Sprintf("%s by %s", c.LoginURL, c.Auth) }

// GoString is String.
func (c Credentials) GoString() string { return c.String() }

// LogValue is String.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// check tells which part is missing, and reads the key.
func (c Credentials) check() (*rsa.PrivateKey, error) {
	if c.ClientID == "" {
		return nil, errors.New("the consumer key (client id) is missing")
	}
	switch c.Auth {
	case AuthWebServer:
		return nil, nil
	case AuthClientCredentials:
		if c.ClientSecret == "" {
			return nil, errors.New("the consumer secret (client secret) is missing")
		}
		return nil, nil
	case AuthJWT:
		if c.Username == "" {
			return nil, errors.New("the user name is missing")
		}
		key, err := jwt.ParseRSAPrivateKeyFromPEM(c.PrivateKeyPEM)
		if err != nil {
			// The parser's own words may quote the key.
			return nil, errors.New("the private key cannot be read: an RSA key in PEM form, without a passphrase, is needed")
		}
		return key, nil
	}
	return nil, fmt.Errorf("%q is not a way to sign in: it is %s, %s or %s", c.Auth, AuthWebServer, AuthClientCredentials, AuthJWT)
}

// Token is a session of one user with one org, as the token endpoint gave it. Salesforce says nothing of its end: it is
// used until it is refused. All parts are opaque. Its String and log value show no secret.
type Token struct {
	AccessToken  string `json:"-"`
	RefreshToken string `json:"-"` // only of the web server flow
	InstanceURL  string // where the org lives now; every token says it anew
	IdentityURL  string
	IssuedAt     time.Time
}

// String names the org's address.
func (t Token) String() string {
	if t.AccessToken == "" {
		return "no session"
	}
	return "session at " + t.InstanceURL
}

// GoString is String.
func (t Token) GoString() string { return t.String() }

// LogValue is String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// TokenStore keeps the one session that all processes share.
type TokenStore interface {
	// Token gives the session; the zero Token if there is none.
	Token(ctx context.Context) (Token, error)
	// Renew replaces the session whose access token is stale, under a lock that all processes share. If the stored access
	// token differs from stale, another process was faster: the stored session is returned and renew is not called.
	// Otherwise it calls renew with the stored session, and makes the result durable before it returns it, for a refresh
	// token that rotated is the only one that still works.
	Renew(ctx context.Context, stale string, renew func(context.Context, Token) (Token, error)) (Token, error)
}

// MemoryTokens keeps a session in memory only, as the connection test does.
func MemoryTokens() TokenStore { return &memoryTokens{lock: make(chan struct{}, 1)} }

type memoryTokens struct {
	lock  chan struct{} // held while renewing
	mu    sync.Mutex
	token Token
}

func (m *memoryTokens) Token(context.Context) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.token, nil
}

func (m *memoryTokens) Renew(ctx context.Context, stale string, renew func(context.Context, Token) (Token, error)) (Token, error) {
	select {
	case m.lock <- struct{}{}:
		defer func() { <-m.lock }()
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	stored, _ := m.Token(ctx)
	if stored.AccessToken != stale {
		return stored, nil
	}
	fresh, err := renew(ctx, stored)
	if err != nil {
		return Token{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.token = fresh
	return fresh, nil
}

// salesforceHosts are the domains under which orgs and their login pages live.
// https://help.salesforce.com/s/articleView?id=sf.domain_name_url_formats.htm
var salesforceHosts = []string{"salesforce.com", "salesforce.mil", "crmforce.mil", "sfcrmproducts.cn", "cloudforce.com"}

// CheckLoginURL gives the normal form of a login address: scheme and host, in lower case. People paste what their browser
// shows, so a missing scheme is put right, a path is dropped, and the addresses of Lightning pages and of Setup are turned
// into the API's address of the same org. It refuses what is not https on one of Salesforce's hosts; with allowLocal a
// loopback address is accepted too, over http or https and with a base path, for simulated orgs.
func CheckLoginURL(raw string, allowLocal bool) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return "", errors.New("the login address is missing")
	}
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
		if u, err := url.Parse(raw); err == nil && isLoopback(u.Hostname()) {
			raw = "http://" + strings.TrimPrefix(raw, "https://")
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return "", errors.New("the login address is not a web address like https://login.salesforce.com")
	}
	if u.User != nil {
		return "", errors.New("the login address must not hold a user name or a password")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	scheme := strings.ToLower(u.Scheme)
	if isLoopback(host) {
		if !allowLocal {
			return "", fmt.Errorf("%s is this machine, not Salesforce; simulated orgs are accepted only where local orgs are allowed", host)
		}
		if scheme != "http" && scheme != "https" {
			return "", fmt.Errorf("the login address begins with %s://, not with http:// or https://", scheme)
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if port := u.Port(); port != "" {
			host += ":" + port
		}
		return scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/"), nil
	}
	if scheme != "https" {
		return "", fmt.Errorf("the login address begins with %s://, but Salesforce takes https:// only", scheme)
	}
	if port := u.Port(); port != "" && port != "443" {
		return "", fmt.Errorf("the login address names the port %s, but Salesforce has none but 443", port)
	}
	for _, pages := range []string{".lightning.force.com", ".my.salesforce-setup.com"} {
		if org, ok := strings.CutSuffix(host, pages); ok {
			host = org + ".my.salesforce.com"
		}
	}
	if !slices.ContainsFunc(salesforceHosts, func(domain string) bool { return strings.HasSuffix(host, "."+domain) }) {
		return "", fmt.Errorf("%s is not one of Salesforce's hosts, like login.salesforce.com, test.salesforce.com or yourcompany.my.salesforce.com", host)
	}
	return "https://" + host, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

const tokenPath = "/services/oauth2/token"

// AuthorizeURL is where the admin's browser goes to allow the connection: the first step of the web server flow, with
// PKCE. Salesforce sends it back to Credentials.RedirectURL with state and a code that lives 15 minutes, for Exchange.
// https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_web_server_flow.htm
func AuthorizeURL(c Credentials, state, verifier string) (string, error) {
	login, err := CheckLoginURL(c.LoginURL, true)
	if err != nil {
		return "", err
	}
	switch {
	case c.ClientID == "":
		return "", errors.New("the consumer key (client id) is missing")
	case c.RedirectURL == "":
		return "", errors.New("the callback address is missing")
	case state == "" || verifier == "":
		return "", errors.New("the state and the code verifier of the sign-in are missing")
	}
	return login + "/services/oauth2/authorize?" + url.Values{
		"response_type":         {"code"},
		"client_id":             {c.ClientID},
		"redirect_uri":          {c.RedirectURL},
		"scope":                 {"api refresh_token"},
		"state":                 {state},
		"code_challenge":        {oauth2.S256ChallengeFromVerifier(verifier)},
		"code_challenge_method": {"S256"},
	}.Encode(), nil
}

// Exchange turns the code of the web server flow into a session. The code works once, so a lost reply means to begin anew.
// https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_web_server_flow.htm
func Exchange(ctx context.Context, cfg Config, code, verifier string) (Token, error) {
	cfg.Auth = AuthWebServer
	c, err := New(cfg)
	if err != nil {
		return Token{}, err
	}
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"client_id":     {c.cfg.ClientID},
		"redirect_uri":  {c.cfg.RedirectURL},
		"code_verifier": {verifier},
	}
	if c.cfg.ClientSecret != "" {
		form.Set("client_secret", c.cfg.ClientSecret)
	}
	return c.requestToken(ctx, "sign in", form, Token{}, false)
}

// session gives the session to use: the one this client knows, else the stored one, else a new one.
func (c *Client) session(ctx context.Context) (Token, error) {
	if t := c.cached(); t.AccessToken != "" {
		return t, nil
	}
	stored, err := c.cfg.Tokens.Token(ctx)
	if err != nil {
		return Token{}, fmt.Errorf("read the stored session: %w", err)
	}
	if stored.AccessToken != "" {
		c.keep(stored)
		return stored, nil
	}
	t, _, err := c.renew(ctx, "")
	return t, err
}

func (c *Client) cached() Token {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

func (c *Client) keep(t Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = t
}

// renewal is what one flight brings home. own tells that this process asked Salesforce for it.
type renewal struct {
	token Token
	own   bool
}

// renew replaces the session stale. However many requests find it stale at once, one renewal is made in this process, and
// by the store's lock one in all. It goes on when its first caller gives up: a rotated refresh token must reach the store.
func (c *Client) renew(ctx context.Context, stale string) (Token, bool, error) {
	flight := c.flights.DoChan("renew "+stale, func() (any, error) {
		if t := c.cached(); t.AccessToken != "" && t.AccessToken != stale {
			return renewal{token: t}, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewWithin)
		defer cancel()
		var own bool
		t, err := c.cfg.Tokens.Renew(ctx, stale, func(ctx context.Context, stored Token) (Token, error) {
			own = true
			return c.grant(ctx, stored)
		})
		if err != nil {
			return nil, fmt.Errorf("renew the session: %w", err)
		}
		c.keep(t)
		c.cfg.Log.Debug("session renewed", "by_this_process", own, "org", t.InstanceURL)
		return renewal{token: t, own: own}, nil
	})
	select {
	case <-ctx.Done():
		return Token{}, false, fmt.Errorf("renew the session: %w", context.Cause(ctx))
	case done := <-flight:
		if done.Err != nil {
			return Token{}, false, done.Err
		}
		r := done.Val.(renewal)
		return r.token, r.own, nil
	}
}

// grant asks for a new session in the way that the credentials name.
func (c *Client) grant(ctx context.Context, stored Token) (Token, error) {
	switch c.cfg.Auth {
	case AuthClientCredentials:
		return c.requestToken(ctx, "sign in", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {c.cfg.ClientID}, "client_secret": {c.cfg.ClientSecret},
		}, stored, true)
	case AuthJWT:
		return c.assert(ctx, stored)
	}
	if stored.RefreshToken == "" {
		return Token{}, &APIError{
			Op: "renew the session", Code: "invalid_grant", oauth: true, Status: http.StatusBadRequest,
			Message: "there is no refresh token: the connection has to be allowed in the browser again",
		}
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {stored.RefreshToken}, "client_id": {c.cfg.ClientID}}
	if c.cfg.ClientSecret != "" {
		form.Set("client_secret", c.cfg.ClientSecret)
	}
	// A reply that got lost may have rotated the token. Asking again is then refused, and so is everything else.
	return c.requestToken(ctx, "renew the session", form, stored, true)
}

// assert signs in by JWT bearer. Which audience an org takes depends on its kind, so the likely one is tried first and the
// others only when Salesforce says that the audience is at fault.
// https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm
func (c *Client) assert(ctx context.Context, stored Token) (Token, error) {
	var first error
	for _, audience := range audiences(c.cfg.LoginURL) {
		// Salesforce takes an assertion of at most three minutes by its own clock.
		now, ok := c.ServerTime()
		if !ok {
			now = c.cfg.Now()
		}
		// Map claims keep aud a string; the library's own claims would write a list, which Salesforce refuses.
		assertion, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": c.cfg.ClientID, "sub": c.cfg.Username, "aud": audience, "exp": now.Add(3 * time.Minute).Unix(),
		}).SignedString(c.key)
		if err != nil {
			return Token{}, errors.New("sign in: the assertion cannot be signed with the private key")
		}
		t, err := c.requestToken(ctx, "sign in", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion},
		}, stored, true)
		if err == nil {
			return t, nil
		}
		if first == nil {
			first = err
		}
		api, ok := errors.AsType[*APIError](err)
		if !ok || !strings.Contains(strings.ToLower(api.Message), "audience") {
			return Token{}, err
		}
	}
	return Token{}, first
}

// audiences gives those that an org at login may take, the likely one first.
func audiences(login string) []string {
	const production, sandbox = "https://login.salesforce.com", "https://test.salesforce.com"
	list := []string{production, login, sandbox}
	switch u, err := url.Parse(login); {
	case err != nil || isLoopback(u.Hostname()):
		list = []string{login, production, sandbox}
	case login == sandbox, strings.Contains(u.Hostname(), ".sandbox.my."), strings.Contains(u.Hostname(), ".scratch.my."):
		list = []string{sandbox, login, production}
	}
	out := list[:0:0]
	for _, a := range list {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// requestToken asks the token endpoint. What the reply leaves out (a refresh token that did not rotate) is taken from before.
func (c *Client) requestToken(ctx context.Context, op string, form url.Values, before Token, again bool) (Token, error) {
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		InstanceURL  string `json:"instance_url"`
		ID           string `json:"id"`
		IssuedAt     string `json:"issued_at"`
	}
	r := request{
		op: op, method: http.MethodPost, base: c.cfg.LoginURL, path: tokenPath, body: []byte(form.Encode()),
		media: "application/x-www-form-urlencoded", accept: mediaJSON, again: again, within: 20 * time.Second,
	}
	if err := c.do(ctx, r, c.into(op, &answer)); err != nil {
		return Token{}, err
	}
	if answer.AccessToken == "" {
		return Token{}, &APIError{Op: op, Method: r.method, URL: c.cfg.LoginURL + tokenPath, Code: CodeMalformedReply, Message: "the reply holds no access token", oauth: true}
	}
	t := Token{AccessToken: answer.AccessToken, RefreshToken: answer.RefreshToken, InstanceURL: answer.InstanceURL, IdentityURL: answer.ID, IssuedAt: c.cfg.Now()}
	if t.RefreshToken == "" {
		t.RefreshToken = before.RefreshToken
	}
	if t.InstanceURL == "" {
		t.InstanceURL = before.InstanceURL
	}
	if t.IdentityURL == "" {
		t.IdentityURL = before.IdentityURL
	}
	if ms, err := strconv.ParseInt(answer.IssuedAt, 10, 64); err == nil {
		t.IssuedAt = time.UnixMilli(ms).UTC()
	}
	if err := c.checkInstance(&t); err != nil {
		return Token{}, fmt.Errorf("%s: %w", op, err)
	}
	return t, nil
}

// checkInstance makes sure that the session travels encrypted, or not beyond this machine.
func (c *Client) checkInstance(t *Token) error {
	u, err := url.Parse(t.InstanceURL)
	local := err == nil && isLoopback(u.Hostname())
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || local && !c.cfg.AllowLocal || !local && u.Scheme != "https" {
		return &APIError{
			Op: "sign in", Code: CodeMalformedReply, oauth: true,
			Message: "the org's address in the token reply is not one that the session may be sent to",
		}
	}
	t.InstanceURL = strings.TrimRight(t.InstanceURL, "/")
	return nil
}
