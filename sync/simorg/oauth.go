package simorg

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// session is a live access token.
type session struct {
	token, user, scope string
	refresh            string // the refresh token that it came with
	used               time.Time
}

type grant struct {
	user, scope string
}

type code struct {
	grant
	redirect, challenge string
	made                time.Time
}

type auth struct {
	mu        sync.Mutex
	sessions  map[string]*session
	refreshes map[string]grant
	codes     map[string]code
	keys      []*rsa.PublicKey
	runAs     string // of the client credentials flow; empty: not enabled
	redirects []string
	refused   map[string]oauthError // by user: what signing in gives
	logins    map[string][]int64    // by user: when, of the last hour
}

// loginsMax is how often a user may sign in within an hour.
const loginsMax = 3600

// codeLife is how long an authorization code can be exchanged.
const codeLife = 15 * time.Minute

func (a *auth) init(o *Org) {
	a.sessions, a.refreshes, a.codes = map[string]*session{}, map[string]grant{}, map[string]code{}
	a.refused, a.logins = map[string]oauthError{}, map[string][]int64{}
	a.runAs = o.integrationID()
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return strings.NewReplacer("-", ".", "_", "x").Replace(base64.RawURLEncoding.EncodeToString(b))
}

// RegisterKey lets tokens signed by this RSA key through in the JWT bearer flow, as uploading a certificate does.
func (o *Org) RegisterKey(key *rsa.PublicKey) {
	o.auth.mu.Lock()
	defer o.auth.mu.Unlock()
	o.auth.keys = append(o.auth.keys, key)
}

// RegisterKeyPEM is RegisterKey for a certificate or a public key in PEM. It fails when there is no RSA key in it.
func (o *Org) RegisterKeyPEM(text []byte) error {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			if k, ok := c.PublicKey.(*rsa.PublicKey); ok {
				o.RegisterKey(k)
				return nil
			}
		}
		if k, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if k, ok := k.(*rsa.PublicKey); ok {
				o.RegisterKey(k)
				return nil
			}
		}
	}
	return errors.New("simorg: there is neither a certificate nor an RSA public key in this PEM")
}

// AllowRedirects says which redirect URIs the app has; with none, all are taken.
func (o *Org) AllowRedirects(uris ...string) {
	o.auth.mu.Lock()
	defer o.auth.mu.Unlock()
	o.auth.redirects = uris
}

// RunAs sets whom the client credentials flow signs in, by user name; empty switches the flow off. It fails when there is no such user.
func (o *Org) RunAs(username string) error {
	id := ""
	if username != "" {
		o.mu.RLock()
		u, ok := o.user(username)
		o.mu.RUnlock()
		if !ok {
			return fmt.Errorf("simorg: there is no user %s", username)
		}
		id = u.id()
	}
	o.auth.mu.Lock()
	defer o.auth.mu.Unlock()
	o.auth.runAs = id
	return nil
}

// RefuseSignIn lets every token request that would sign a user in fail with these words, as login hours, IP ranges and policies do:
// ("invalid_grant", "ip restricted"), ("invalid_app_access", "user is not admin approved to access this app"). An empty code ends it.
// It fails when there is no such user.
func (o *Org) RefuseSignIn(username, code, description string) error {
	o.mu.RLock()
	u, ok := o.user(username)
	o.mu.RUnlock()
	if !ok {
		return fmt.Errorf("simorg: there is no user %s", username)
	}
	o.auth.mu.Lock()
	defer o.auth.mu.Unlock()
	delete(o.auth.refused, u.id())
	if code != "" {
		o.auth.refused[u.id()] = *oauthFail(code, description)
	}
	return nil
}

// ExpireSessions ends all access tokens; refresh tokens go on.
func (o *Org) ExpireSessions() {
	o.auth.mu.Lock()
	defer o.auth.mu.Unlock()
	o.auth.sessions = map[string]*session{}
}

// RevokeRefreshTokens ends all refresh tokens and what came from them.
func (o *Org) RevokeRefreshTokens() {
	o.auth.mu.Lock()
	defer o.auth.mu.Unlock()
	o.auth.refreshes, o.auth.sessions = map[string]grant{}, map[string]*session{}
	o.journalTokens()
}

// session finds the live session of a request.
func (a *auth) session(o *Org, r *http.Request) *session {
	h := r.Header.Get("Authorization")
	scheme, token, ok := strings.Cut(h, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "OAuth") {
		return nil
	}
	return a.find(o, strings.TrimSpace(token))
}

// find gives the session of an access token and marks it as used; one that nobody used for long has ended.
func (a *auth) find(o *Org, token string) *session {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.sessions[token]
	if s == nil {
		return nil
	}
	now := o.now()
	if now.Sub(s.used) > o.config.SessionTimeout {
		delete(a.sessions, token)
		return nil
	}
	s.used = now
	return s
}

// user finds a user by name; the org's lock is held.
func (o *Org) user(username string) (row, bool) {
	for _, r := range o.view().having(o.byName["user"].byName["username"], username) {
		return r, true
	}
	return row{}, false
}

func (o *Org) active(user string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	v := o.view()
	r, ok := v.find(user)
	return ok && v.named(r, "IsActive").isTrue()
}

// oauthError is a refusal of the token endpoint.
type oauthError struct {
	status            int
	code, description string
}

func oauthFail(code, description string) *oauthError {
	return &oauthError{http.StatusBadRequest, code, description}
}

func grantFail(description string) *oauthError { return oauthFail("invalid_grant", description) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

func (e *oauthError) write(w http.ResponseWriter) {
	writeJSON(w, e.status, map[string]string{"error": e.code, "error_description": e.description})
}

// serveAuth answers /services/oauth2/…, /id/… and the discovery document
// (https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_endpoints.htm).
func (o *Org) serveAuth(w http.ResponseWriter, r *http.Request, path []string) {
	o.calls.note("oauth")
	name := lower(strings.Join(path, "/"))
	switch {
	case name == "services/oauth2/authorize":
		o.authorize(w, r)
	case name == "services/oauth2/token":
		o.token(w, r)
	case name == "services/oauth2/revoke":
		o.revoke(w, r)
	case name == "services/oauth2/introspect":
		o.introspect(w, r)
	case name == "services/oauth2/userinfo":
		o.identity(w, r, "", true)
	case len(path) == 3 && path[0] == "id":
		o.identity(w, r, path[2], false)
	case name == ".well-known/openid-configuration":
		b := base(r)
		writeJSON(w, http.StatusOK, map[string]any{
			"issuer": b, "authorization_endpoint": b + "/services/oauth2/authorize", "token_endpoint": b + "/services/oauth2/token", "revocation_endpoint": b + "/services/oauth2/revoke", "userinfo_endpoint": b + "/services/oauth2/userinfo",
			"introspection_endpoint": b + "/services/oauth2/introspect", "scopes_supported": []string{"id", "api", "web", "full", "refresh_token", "openid"}, "response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		})
	default:
		http.NotFound(w, r)
	}
}

// token is POST /services/oauth2/token, all its grant types.
func (o *Org) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		(&oauthError{http.StatusBadRequest, "invalid_request", "must use HTTP POST"}).write(w)
		return
	}
	if err := r.ParseForm(); err != nil {
		oauthFail("invalid_request", "the form is malformed").write(w)
		return
	}
	var reply map[string]string
	var bad *oauthError
	switch kind := r.Form.Get("grant_type"); kind {
	case "client_credentials":
		reply, bad = o.byClientCredentials(r)
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		reply, bad = o.byJWT(r)
	case "authorization_code":
		reply, bad = o.byCode(r)
	case "refresh_token":
		reply, bad = o.byRefresh(r)
	case "password":
		// Orgs block it unless an administrator allows it, and say no more than this.
		if bad = o.client(r, true); bad == nil {
			bad = grantFail("authentication failure")
		}
	case "":
		bad = oauthFail("invalid_request", "missing required parameter: grant_type")
	default:
		bad = oauthFail("unsupported_grant_type", "grant type not supported")
	}
	if bad != nil {
		bad.write(w)
		return
	}
	writeJSON(w, http.StatusOK, reply)
}

// client checks the app's id and secret, from the form or from HTTP Basic. The secret may be left out where it is not needed.
func (o *Org) client(r *http.Request, needed bool) *oauthError {
	id, secret := r.Form.Get("client_id"), r.Form.Get("client_secret")
	if u, p, ok := r.BasicAuth(); ok {
		id, secret = u, p
	}
	switch {
	case id == "":
		return oauthFail("invalid_request", "missing required parameter: client_id")
	case id != o.config.ClientID:
		return oauthFail("invalid_client_id", "client identifier invalid")
	case secret == "" && !needed:
		return nil
	case subtle.ConstantTimeCompare([]byte(secret), []byte(o.config.ClientSecret)) != 1:
		return oauthFail("invalid_client", "invalid client credentials")
	}
	return nil
}

func (o *Org) byClientCredentials(r *http.Request) (map[string]string, *oauthError) {
	if host := strings.Split(r.Host, ".")[0]; host == "login" || host == "test" {
		return nil, grantFail("request not supported on this domain")
	}
	if err := o.client(r, true); err != nil {
		return nil, err
	}
	o.auth.mu.Lock()
	user := o.auth.runAs
	o.auth.mu.Unlock()
	if user == "" {
		return nil, grantFail("no client credentials user enabled")
	}
	return o.grant(r, grant{user, "api"}, "")
}

// byJWT takes a signed assertion (https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm).
func (o *Org) byJWT(r *http.Request) (map[string]string, *oauthError) {
	o.auth.mu.Lock()
	keys := slices.Clone(o.auth.keys)
	o.auth.mu.Unlock()
	claims := jwt.MapClaims{}
	var err error = errors.New("no key")
	for _, k := range keys {
		claims = jwt.MapClaims{}
		p := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
		if _, err = p.ParseWithClaims(r.Form.Get("assertion"), claims, func(*jwt.Token) (any, error) { return k, nil }); err == nil {
			break
		}
	}
	if err != nil {
		return nil, grantFail("invalid assertion")
	}
	if claims["iss"] != o.config.ClientID {
		return nil, oauthFail("invalid_client_id", "client identifier invalid")
	}
	expires, _ := claims["exp"].(float64)
	// Three minutes ahead at most, and three minutes of tolerance for clocks that differ.
	if ahead := time.Unix(int64(expires), 0).Sub(o.now()); ahead < -3*time.Minute || ahead > 6*time.Minute {
		return nil, grantFail("expired authorization code")
	}
	audience, _ := claims["aud"].(string)
	if list, ok := claims["aud"].([]any); ok && len(list) == 1 {
		audience, _ = list[0].(string)
	}
	switch strings.TrimSuffix(audience, "/") {
	case "https://login.salesforce.com", "https://test.salesforce.com", base(r), base(r) + "/services/oauth2/token":
	default:
		return nil, grantFail("audience is invalid")
	}
	subject, _ := claims["sub"].(string)
	o.mu.RLock()
	u, ok := o.user(subject)
	o.mu.RUnlock()
	if !ok {
		return nil, grantFail("user hasn't approved this consumer")
	}
	return o.grant(r, grant{u.id(), "api"}, "")
}

func (o *Org) byCode(r *http.Request) (map[string]string, *oauthError) {
	if err := o.client(r, false); err != nil {
		return nil, err
	}
	o.auth.mu.Lock()
	k := r.Form.Get("code")
	c, ok := o.auth.codes[k]
	delete(o.auth.codes, k)
	o.auth.mu.Unlock()
	switch {
	case !ok && strings.HasPrefix(k, "aPrx"):
		return nil, grantFail("expired authorization code")
	case !ok:
		return nil, grantFail("invalid authorization code")
	case o.age(c.made) > codeLife:
		return nil, grantFail("expired authorization code")
	case r.Form.Get("redirect_uri") != c.redirect:
		return nil, oauthFail("redirect_uri_mismatch", "redirect_uri must match configuration")
	}
	if c.challenge != "" {
		verifier := r.Form.Get("code_verifier")
		if verifier == "" {
			return nil, grantFail("invalid code verifier")
		}
		sum := sha256.Sum256([]byte(verifier))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != strings.TrimRight(c.challenge, "=") {
			return nil, oauthFail("invalid_request", "invalid code verifier")
		}
	}
	refresh := ""
	if strings.Contains(c.scope, "refresh_token") || strings.Contains(c.scope, "offline_access") {
		refresh = "5Aep861" + random(48)
		o.auth.mu.Lock()
		o.auth.refreshes[refresh] = c.grant
		o.journalTokens()
		o.auth.mu.Unlock()
	}
	reply, bad := o.grant(r, c.grant, refresh)
	if bad == nil && refresh != "" {
		reply["refresh_token"] = refresh
	}
	return reply, bad
}

func (o *Org) byRefresh(r *http.Request) (map[string]string, *oauthError) {
	if err := o.client(r, false); err != nil {
		return nil, err
	}
	o.auth.mu.Lock()
	old := r.Form.Get("refresh_token")
	g, ok := o.auth.refreshes[old]
	refresh := old
	if ok && o.config.RefreshRotation {
		delete(o.auth.refreshes, old)
		refresh = "5Aep861" + random(48)
		o.auth.refreshes[refresh] = g
		o.journalTokens()
	}
	o.auth.mu.Unlock()
	if !ok {
		return nil, grantFail("expired access/refresh token")
	}
	reply, bad := o.grant(r, g, refresh)
	if bad == nil && refresh != old {
		reply["refresh_token"] = refresh
	}
	return reply, bad
}

// grant starts a session and gives the reply of the token endpoint.
func (o *Org) grant(r *http.Request, g grant, refresh string) (map[string]string, *oauthError) {
	if !o.active(g.user) {
		return nil, grantFail("inactive user")
	}
	now := o.now()
	o.auth.mu.Lock()
	refused, is := o.auth.refused[g.user]
	recent := slices.DeleteFunc(o.auth.logins[g.user], func(at int64) bool { return at <= now.Add(-time.Hour).Unix() })
	o.auth.logins[g.user] = append(recent, now.Unix())
	o.auth.mu.Unlock()
	if is {
		return nil, &refused
	}
	if len(recent) >= loginsMax {
		return nil, grantFail("login rate exceeded")
	}
	token := o.id()[:15] + "!AQ" + random(72)
	if o.config.JWTTokens {
		part := func(v any) string { b, _ := json.Marshal(v); return base64.RawURLEncoding.EncodeToString(b) }
		// Nobody is meant to look into it; the signature is none.
		token = part(map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(map[string]any{"sub": "uid:" + g.user, "iss": base(r), "iat": now.Unix()}) + "." + strings.NewReplacer(".", "-").Replace(random(192))
	}
	s := &session{token: token, user: g.user, scope: g.scope, refresh: refresh, used: now}
	o.auth.mu.Lock()
	o.auth.sessions[s.token] = s
	o.auth.mu.Unlock()
	id := base(r) + "/id/" + o.id() + "/" + g.user
	issued := fmt.Sprint(now.UnixMilli())
	mac := hmac.New(sha256.New, []byte(o.config.ClientSecret))
	mac.Write([]byte(id + issued))
	return map[string]string{
		"access_token": s.token, "signature": base64.StdEncoding.EncodeToString(mac.Sum(nil)), "scope": g.scope, "instance_url": base(r), "id": id, "token_type": "Bearer", "issued_at": issued, "api_instance_url": base(r),
	}, nil
}

// revoke is POST /services/oauth2/revoke. A refresh token takes its access tokens with it.
func (o *Org) revoke(w http.ResponseWriter, r *http.Request) {
	token := r.FormValue("token")
	o.auth.mu.Lock()
	defer o.auth.mu.Unlock()
	if _, ok := o.auth.refreshes[token]; ok {
		delete(o.auth.refreshes, token)
		for t, s := range o.auth.sessions {
			if s.refresh == token {
				delete(o.auth.sessions, t)
			}
		}
		o.journalTokens()
		return
	}
	if _, ok := o.auth.sessions[token]; ok {
		delete(o.auth.sessions, token)
		return
	}
	oauthFail("invalid_token", "the token is invalid or expired").write(w)
}

func (o *Org) introspect(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	if err := o.client(r, true); err != nil {
		err.write(w)
		return
	}
	s := o.auth.find(o, r.Form.Get("token"))
	if s == nil {
		writeJSON(w, http.StatusOK, map[string]any{"active": false})
		return
	}
	o.mu.RLock()
	v := o.view()
	u, _ := v.find(s.user)
	username := v.named(u, "Username").clone().s
	o.mu.RUnlock()
	writeJSON(w, http.StatusOK, map[string]any{
		"active": true, "scope": s.scope, "client_id": o.config.ClientID, "username": username, "sub": base(r) + "/id/" + o.id() + "/" + s.user, "token_type": "access_token",
		"iat": s.used.Unix(), "nbf": s.used.Unix(), "exp": s.used.Add(o.config.SessionTimeout).Unix(),
	})
}

// identity is GET /services/oauth2/userinfo, and the identity URL of a token reply.
func (o *Org) identity(w http.ResponseWriter, r *http.Request, id string, openID bool) {
	s := o.auth.session(o, r)
	if s == nil {
		if t := r.URL.Query().Get("oauth_token"); t != "" {
			s = o.auth.find(o, t)
		}
	}
	if s == nil || id != "" && to18(id) != s.user {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("Bad_OAuth_Token"))
		return
	}
	o.mu.RLock()
	v := o.view()
	u, _ := v.find(s.user)
	get := func(name string) any { return v.named(u, name).plainValue() }
	b := base(r)
	rest := b + "/services/data/v{version}/"
	m := map[string]any{
		"user_id": s.user, "organization_id": o.id(), "nickname": get("CommunityNickname"), "email": get("Email"), "email_verified": true, "active": get("IsActive"), "user_type": "STANDARD", "language": get("LanguageLocaleKey"), "locale": get("LocaleSidKey"),
		"utcOffset": 0, "photos": map[string]string{"picture": b + "/profilephoto/005/F", "thumbnail": b + "/profilephoto/005/T"}, "timezone": get("TimeZoneSidKey"),
		"urls": map[string]string{
			"enterprise": b + "/services/Soap/c/{version}/" + o.id()[:15], "metadata": b + "/services/Soap/m/{version}/" + o.id()[:15], "partner": b + "/services/Soap/u/{version}/" + o.id()[:15], "rest": rest, "sobjects": rest + "sobjects/", "search": rest + "search/",
			"query": rest + "query/", "recent": rest + "recent/", "tooling_rest": rest + "tooling/", "profile": b + "/" + s.user, "custom_domain": b,
		},
	}
	if openID {
		m["sub"], m["preferred_username"], m["name"], m["given_name"], m["family_name"], m["zoneinfo"] = b+"/id/"+o.id()+"/"+s.user, get("Username"), get("Name"), get("FirstName"), get("LastName"), get("TimeZoneSidKey")
		m["profile"], m["picture"], m["updated_at"] = b+"/"+s.user, b+"/profilephoto/005/F", get("LastModifiedDate")
	} else {
		m["id"], m["asserted_user"], m["username"], m["display_name"], m["first_name"], m["last_name"] = b+"/id/"+o.id()+"/"+s.user, true, get("Username"), get("Name"), get("FirstName"), get("LastName")
		m["status"], m["addr_street"], m["is_app_installed"], m["mobile_phone"], m["last_modified_date"] = map[string]any{"created_date": nil, "body": nil}, get("Street"), true, get("MobilePhone"), get("LastModifiedDate")
	}
	o.mu.RUnlock()
	writeJSON(w, http.StatusOK, m)
}

// authorize is the page of the web server flow (https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_web_server_flow.htm).
// approve=allow or approve=deny answers without a person, as user=… or the first user.
func (o *Org) authorize(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	refusePage := func(e *oauthError) {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(e.status)
		_ = pages.ExecuteTemplate(w, "error", map[string]string{"Title": "OAuth Error", "Text": "error=" + e.code + "&error_description=" + e.description})
	}
	redirect := r.Form.Get("redirect_uri")
	o.auth.mu.Lock()
	allowed := len(o.auth.redirects) == 0 || slices.Contains(o.auth.redirects, redirect)
	o.auth.mu.Unlock()
	target, err := url.Parse(redirect)
	switch {
	case r.Form.Get("client_id") != o.config.ClientID:
		refusePage(oauthFail("invalid_client_id", "client identifier invalid"))
		return
	case err != nil || !target.IsAbs() || target.Host == "" || target.Scheme != "https" && target.Scheme != "http" || !allowed:
		refusePage(oauthFail("redirect_uri_mismatch", "redirect_uri must match configuration"))
		return
	case r.Form.Get("response_type") != "code":
		refusePage(oauthFail("unsupported_response_type", "response type not supported"))
		return
	}
	back := func(values url.Values) {
		if state := r.Form.Get("state"); state != "" {
			values.Set("state", state)
		}
		q := target.Query()
		for k, v := range values {
			q[k] = v
		}
		target.RawQuery = q.Encode()
		http.Redirect(w, r, target.String(), http.StatusFound)
	}
	if m := r.Form.Get("code_challenge_method"); m != "" && m != "S256" {
		back(url.Values{"error": {"invalid_request"}, "error_description": {"invalid code challenge method"}})
		return
	}
	answer, username := r.Form.Get("approve"), r.Form.Get("user")
	if username == "" {
		username = r.Form.Get("login_hint")
	}
	if username == "" && (answer == "allow" || r.Form.Get("prompt") == "none") {
		username = firstUsers[0].username
	}
	if r.Form.Get("prompt") == "none" && answer == "" {
		answer = "allow"
	}
	switch answer {
	case "deny":
		back(url.Values{"error": {"access_denied"}, "error_description": {"end-user denied authorization"}})
		return
	case "allow":
		o.mu.RLock()
		u, ok := o.user(username)
		o.mu.RUnlock()
		if !ok {
			refusePage(oauthFail("invalid_grant", "there is no user "+username))
			return
		}
		scope := r.Form.Get("scope")
		if scope == "" {
			scope = "api refresh_token id"
		}
		k := "aPrx" + random(36)
		o.auth.mu.Lock()
		o.auth.codes[k] = code{grant{u.id(), scope}, redirect, r.Form.Get("code_challenge"), o.now()}
		o.auth.mu.Unlock()
		back(url.Values{"code": {k}})
		return
	}
	type choice struct {
		Username, Name string
		Chosen         bool
	}
	var users []choice
	o.mu.RLock()
	v := o.view()
	v.each(o.tables["User"], false, func(u row) bool {
		if v.named(u, "IsActive").isTrue() {
			users = append(users, choice{v.named(u, "Username").clone().s, v.named(u, "Name").clone().s, strings.EqualFold(v.named(u, "Username").s, username)})
		}
		return len(users) < 20
	})
	o.mu.RUnlock()
	hidden := map[string]string{}
	for _, k := range []string{"response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method"} {
		hidden[k] = r.Form.Get(k)
	}
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = pages.ExecuteTemplate(w, "authorize", map[string]any{"Users": users, "Hidden": hidden, "Scope": r.Form.Get("scope")})
}
