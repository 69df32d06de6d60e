package simorg_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tandem-sync/tandem/sync/simorg"
)

var noRedirect = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// authorize walks through the page of the web server flow and gives what it sent back.
func (c *client) authorize(extra url.Values) url.Values {
	c.t.Helper()
	q := url.Values{"response_type": {"code"}, "client_id": {simorg.DefaultClientID}, "redirect_uri": {"https://app.example/cb"}, "scope": {"api refresh_token"}, "state": {"s t"}}
	for k, v := range extra {
		q[k] = v
	}
	res, err := noRedirect.Get(c.url + "/services/oauth2/authorize?" + q.Encode())
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusFound {
		return url.Values{"page": {string(b)}}
	}
	u, err := url.Parse(res.Header.Get("Location"))
	if err != nil || u.Host != "app.example" {
		c.t.Fatalf("redirected to %v, %v", u, err)
	}
	return u.Query()
}

func TestWebServerFlow(t *testing.T) {
	t.Parallel()
	for _, rotation := range []bool{false, true} {
		c := start(t, simorg.Config{Seed: 2, Leads: 10, RefreshRotation: rotation})
		if page := c.authorize(nil).Get("page"); !strings.Contains(page, "Allow") || !strings.Contains(page, "admin@tandem-sim.example") || !strings.Contains(page, "Simulated Salesforce") {
			t.Errorf("the page is %s", page)
		}
		if back := c.authorize(url.Values{"approve": {"deny"}}); back.Get("error") != "access_denied" || back.Get("state") != "s t" {
			t.Errorf("denied gave %v", back)
		}
		verifier := strings.Repeat("v", 50)
		sum := sha256.Sum256([]byte(verifier))
		challenge := url.Values{"approve": {"allow"}, "user": {"admin@tandem-sim.example"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}
		exchange := func(code string, extra url.Values) (int, map[string]any) {
			v := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "client_id": {simorg.DefaultClientID}, "client_secret": {simorg.DefaultClientSecret}, "redirect_uri": {"https://app.example/cb"}, "code_verifier": {verifier}}
			for k, x := range extra {
				v[k] = x
			}
			return c.form("/services/oauth2/token", v)
		}
		code := c.authorize(challenge).Get("code")
		if _, m := exchange(code, url.Values{"code_verifier": {"wrong"}}); m["error"] != "invalid_request" {
			t.Errorf("a wrong verifier gave %v", m)
		}
		if _, m := exchange(c.authorize(challenge).Get("code"), url.Values{"code_verifier": nil}); m["error_description"] != "invalid code verifier" {
			t.Errorf("no verifier gave %v", m)
		}
		if _, m := exchange(c.authorize(challenge).Get("code"), url.Values{"redirect_uri": {"https://other.example"}}); m["error"] != "redirect_uri_mismatch" {
			t.Errorf("another redirect gave %v", m)
		}
		code = c.authorize(challenge).Get("code")
		status, m := exchange(code, nil)
		if status != 200 || m["instance_url"] != c.url || !strings.HasPrefix(m["access_token"].(string), "00D") || m["refresh_token"] == nil {
			t.Fatalf("the exchange gave %d %v", status, m)
		}
		if _, again := exchange(code, nil); again["error_description"] != "expired authorization code" {
			t.Errorf("a used code gave %v", again)
		}
		c.token = m["access_token"].(string)
		res, b := c.do("GET", "/services/oauth2/userinfo", nil)
		var info object
		if err := json.Unmarshal(b, &info); err != nil || res.StatusCode != 200 || info["preferred_username"] != "admin@tandem-sim.example" || info["organization_id"] == nil {
			t.Errorf("userinfo gave %d %s", res.StatusCode, b)
		}
		if id := c.want(200, "GET", "/"+strings.TrimPrefix(m["id"].(string), c.url), nil).(object); id["username"] != "admin@tandem-sim.example" || id["display_name"] != "Ada Administrator" {
			t.Errorf("the identity URL gave %v", id)
		}
		refresh := func(token string) (int, map[string]any) {
			return c.form("/services/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {simorg.DefaultClientID}, "client_secret": {simorg.DefaultClientSecret}})
		}
		old := m["refresh_token"].(string)
		c.org.ExpireSessions()
		c.wantError(401, "INVALID_SESSION_ID", "GET", "/limits", nil)
		_, m = refresh(old)
		c.token = m["access_token"].(string)
		c.want(200, "GET", "/limits", nil)
		if (m["refresh_token"] != nil) != rotation {
			t.Errorf("with rotation %v a refresh gave %v", rotation, m)
		}
		status, m2 := refresh(old)
		if rotation && (status != 400 || m2["error"] != "invalid_grant" || m2["error_description"] != "expired access/refresh token") || !rotation && status != 200 {
			t.Errorf("with rotation %v the old token gave %d %v", rotation, status, m2)
		}
		if rotation {
			old = m["refresh_token"].(string)
		}
		r, err := http.PostForm(c.url+"/services/oauth2/revoke", url.Values{"token": {old}})
		if err != nil || r.StatusCode != 200 {
			t.Errorf("revoking gave %v %v", r, err)
		}
		c.wantError(401, "INVALID_SESSION_ID", "GET", "/limits", nil)
		if status, _ := refresh(old); status != 400 {
			t.Errorf("a revoked token gave %d", status)
		}
	}
}

func TestTokenErrors(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := start(t, simorg.Config{Seed: 2, Leads: 10, Users: 40, Now: func() time.Time { return now }})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c.org.RegisterKey(&key.PublicKey)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	assertion := func(k *rsa.PrivateKey, change jwt.MapClaims) url.Values {
		claims := jwt.MapClaims{"iss": simorg.DefaultClientID, "sub": "priya@tandem-sim.example", "aud": "https://login.salesforce.com", "exp": now.Add(3 * time.Minute).Unix()}
		for n, v := range change {
			claims[n] = v
		}
		s, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(k)
		if err != nil {
			t.Fatal(err)
		}
		return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {s}}
	}
	inactive := c.query("SELECT Username FROM User WHERE IsActive = false LIMIT 1")[0]["Username"].(string)
	credentials := func(id, secret string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	}
	for _, x := range []struct {
		form        url.Values
		code, about string
	}{
		{assertion(key, nil), "", ""},
		{assertion(key, jwt.MapClaims{"aud": c.url}), "", ""},
		{assertion(stranger, nil), "invalid_grant", "invalid assertion"},
		{assertion(key, jwt.MapClaims{"iss": "x"}), "invalid_client_id", "client identifier invalid"},
		{assertion(key, jwt.MapClaims{"aud": "https://x.example"}), "invalid_grant", "audience is invalid"},
		{assertion(key, jwt.MapClaims{"sub": "nobody@x.example"}), "invalid_grant", "user hasn't approved this consumer"},
		{assertion(key, jwt.MapClaims{"sub": inactive}), "invalid_grant", "inactive user"},
		{assertion(key, jwt.MapClaims{"exp": now.Add(-time.Hour).Unix()}), "invalid_grant", "expired authorization code"},
		{credentials(simorg.DefaultClientID, simorg.DefaultClientSecret), "", ""},
		{credentials("x", simorg.DefaultClientSecret), "invalid_client_id", "client identifier invalid"},
		{credentials(simorg.DefaultClientID, "x"), "invalid_client", "invalid client credentials"},
		{url.Values{"grant_type": {"magic"}}, "unsupported_grant_type", "grant type not supported"},
		{url.Values{"grant_type": {"password"}, "client_id": {simorg.DefaultClientID}, "client_secret": {simorg.DefaultClientSecret}, "username": {"priya@tandem-sim.example"}, "password": {"x"}}, "invalid_grant", "authentication failure"},
		{url.Values{"grant_type": {"authorization_code"}, "client_id": {simorg.DefaultClientID}, "code": {"x"}}, "invalid_grant", "invalid authorization code"},
		{url.Values{"grant_type": {"refresh_token"}, "client_id": {simorg.DefaultClientID}, "refresh_token": {"x"}}, "invalid_grant", "expired access/refresh token"},
		{url.Values{}, "invalid_request", "missing required parameter: grant_type"},
	} {
		status, m := c.form("/services/oauth2/token", x.form)
		if x.code == "" && (status != 200 || m["access_token"] == nil) || x.code != "" && (status != 400 || m["error"] != x.code || m["error_description"] != x.about) {
			t.Errorf("%v gave %d %v, want %q %q", x.form, status, m, x.code, x.about)
		}
	}
	// What an administrator's policies refuse.
	for _, x := range [][2]string{
		{"invalid_grant", "ip restricted"},
		{"invalid_grant", "ip restricted or invalid login hours"},
		{"invalid_grant", "user does not have API access enabled"},
		{"invalid_grant", "inactive organization"},
		{"invalid_app_access", "user is not admin approved to access this app"},
		{"invalid_grant", "user hasn't approved this consumer"},
		{"invalid_grant", "Audience validation failed"},
	} {
		ok(t, c.org.RefuseSignIn("priya@tandem-sim.example", x[0], x[1]))
		if status, m := c.form("/services/oauth2/token", assertion(key, nil)); status != 400 || m["error"] != x[0] || m["error_description"] != x[1] {
			t.Errorf("a refused sign-in gave %d %v, want %v", status, m, x)
		}
		c.login()
	}
	ok(t, c.org.RefuseSignIn("priya@tandem-sim.example", "", ""))
	if status, _ := c.form("/services/oauth2/token", assertion(key, nil)); status != 200 {
		t.Errorf("a sign-in that is refused no more gave %d", status)
	}
	remove := c.org.Fault(simorg.Fault{Path: "/services/oauth2/token", Status: 400, Code: "invalid_client_id", Message: "client identifier invalid", Count: 1})
	if status, m := c.form("/services/oauth2/token", credentials(simorg.DefaultClientID, simorg.DefaultClientSecret)); status != 400 || m["error"] != "invalid_client_id" {
		t.Errorf("a fault of the token endpoint gave %d %v", status, m)
	}
	remove()
	req, err := http.NewRequest("POST", c.url+"/services/oauth2/token", strings.NewReader(credentials(simorg.DefaultClientID, simorg.DefaultClientSecret).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Host = "login.salesforce.com"
	if res, err := http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	} else {
		var m object
		_ = json.NewDecoder(res.Body).Decode(&m)
		_ = res.Body.Close()
		if m["error_description"] != "request not supported on this domain" {
			t.Errorf("client credentials at the login host gave %v", m)
		}
	}
	// Who is deactivated is out at once.
	priya := c.as("priya@tandem-sim.example")
	priya.want(200, "GET", "/limits", nil)
	ok(t, c.org.Update("User", c.query("SELECT Id FROM User WHERE Username = 'PRIYA@tandem-sim.example'")[0]["Id"].(string), object{"IsActive": false}))
	priya.wantError(401, "INVALID_SESSION_ID", "GET", "/limits", nil)
	if err := c.org.RunAs(""); err != nil {
		t.Fatal(err)
	}
	if _, m := c.form("/services/oauth2/token", credentials(simorg.DefaultClientID, simorg.DefaultClientSecret)); m["error_description"] != "no client credentials user enabled" {
		t.Errorf("without a user to run as: %v", m)
	}
	now = now.Add(3 * time.Hour)
	c.wantError(401, "INVALID_SESSION_ID", "GET", "/limits", nil)
	c.token = ""
	c.wantError(401, "INVALID_SESSION_ID", "GET", "/limits", nil)
	c.wantError(401, "INVALID_AUTH_HEADER", "GET", "/limits", nil, "Authorization", "Basic eDp5")
}

// What real clients send, and strangers' requests that are wrong in known ways.
func TestTolerance(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 2, Leads: 300})
	versions := c.want(200, "GET", "/services/data/", nil).([]any)
	if first, last := versions[0].(object), versions[len(versions)-1].(object); first["version"] != "58.0" || last["version"] != "68.0" || last["label"] != "Winter '27" || first["label"] != "Summer '23" || last["url"] != "/services/data/v68.0" {
		t.Errorf("the versions are %v", versions)
	}
	c.want(200, "GET", "//services/data/v68.0//sobjects/Lead/describe/", nil)
	c.want(200, "GET", "/services/data/v50.0/sobjects/", nil)
	c.wantError(404, "NOT_FOUND", "GET", "/services/data/v69.0/sobjects", nil)
	c.wantError(410, "UNSUPPORTED_API_VERSION", "GET", "/services/data/v30.0/sobjects", nil)
	c.wantError(404, "NOT_FOUND", "GET", "/nonsense", nil)
	m := c.want(200, "GET", "/services/data/v59.0/query/?q="+url.QueryEscape("SELECT Id FROM Lead"), nil, "Sforce-Query-Options", "batchSize=200").(object)
	if next, _ := m["nextRecordsUrl"].(string); !strings.HasPrefix(next, "/services/data/v59.0/query/01g") {
		t.Errorf("the next page of a query by v59.0 is %q", next)
	}
	// Salesforce's own command line client asks for the columns apart.
	m = c.want(200, "GET", "/query/?columns=true&q="+url.QueryEscape("SELECT Id, Owner.Name, (SELECT Subject FROM Tasks) FROM Lead"), nil).(object)
	names := ""
	for _, col := range m["columnMetadata"].([]any) {
		col := col.(object)
		names += fmt.Sprintf("%v %d %v, ", col["columnName"], len(col["joinColumns"].([]any)), col["aggregate"])
	}
	if names != "Id 0 false, Owner 1 false, Tasks 1 true, " || m["entityName"] != "Lead" || m["idSelected"] != true {
		t.Errorf("the columns are %s of %v", names, m)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(`{"LastName":"Zip","Company":"Z"}`))
	_ = z.Close()
	c.want(201, "POST", "/sobjects/Lead", zipped.String(), "Content-Encoding", "gzip")
	c.wantError(400, "JSON_PARSER_ERROR", "POST", "/sobjects/Lead", "{")
	c.wantError(415, "UNSUPPORTED_MEDIA_TYPE", "POST", "/sobjects/Lead", `{"LastName":"x","Company":"y"}`, "Content-Type", "application/x-www-form-urlencoded")
	if r := c.query("SELECT Name FROM Organization"); len(r) != 1 {
		t.Errorf("the organizations are %v", r)
	}
	res, _ := c.do("GET", "/limits", nil)
	if _, err := http.ParseTime(res.Header.Get("Date")); err != nil {
		t.Error(err)
	}
	g := c.want(200, "GET", "/sobjects", nil).(object)
	prefixes := map[string]bool{}
	for _, s := range g["sobjects"].([]any) {
		p := s.(object)["keyPrefix"].(string)
		if prefixes[p] {
			t.Errorf("two objects have the prefix %s", p)
		}
		prefixes[p] = true
	}
}

// Another process can drive the org, and a person can edit it in a browser.
func TestControlAndPages(t *testing.T) {
	t.Parallel()
	c := start(t, simorg.Config{Seed: 2, Leads: 100})
	control := func(verb string, body any) object {
		t.Helper()
		b, _ := json.Marshal(body)
		r, err := http.Post(c.url+"/simorg/control/"+verb, "application/json", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		var m object
		_ = json.NewDecoder(r.Body).Decode(&m)
		if r.StatusCode != 200 {
			m["status"] = r.StatusCode
		}
		return m
	}
	tx := control("begin", object{})["tx"]
	id := control("create", object{"object": "Lead", "fields": object{"LastName": "Tx", "Company": "C"}, "tx": tx})["id"]
	if m := control("get", object{"object": "Lead", "id": id}); m["code"] != "NOT_FOUND" {
		t.Errorf("before the commit there is %v", m)
	}
	control("commit", object{"tx": tx})
	if m := control("get", object{"object": "Lead", "id": id}); m["Name"] != "Tx" {
		t.Errorf("after the commit there is %v", m)
	}
	if m := control("create", object{"object": "Lead", "fields": object{}}); m["code"] != "REQUIRED_FIELD_MISSING" {
		t.Errorf("a refused row gave %v", m)
	}
	if m := control("nonsense", object{}); fmt.Sprint(m["status"]) != "400" {
		t.Errorf("an unknown verb gave %v", m)
	}
	f := control("fault", object{"fault": object{"path": "/limits", "status": 500, "code": "UNKNOWN_EXCEPTION", "message": "x"}})
	c.wantError(500, "UNKNOWN_EXCEPTION", "GET", "/limits", nil)
	control("remove-fault", object{"faultId": f["faultId"]})
	c.want(200, "GET", "/limits", nil)

	page := func(path string) string {
		t.Helper()
		res, b := c.do("GET", "//"+path, nil)
		if res.StatusCode != 200 {
			t.Fatalf("%s gave %d %s", path, res.StatusCode, b)
		}
		return string(b)
	}
	if p := page("?q=tx"); !strings.Contains(p, "Simulated Salesforce") || !strings.Contains(p, "/record/Lead/"+id.(string)) {
		t.Errorf("the search page is %s", p)
	}
	// By e-mail address, by id whatever tab is open, and among all that there is.
	contact := control("create", object{"object": "Contact", "fields": object{"LastName": "Paged", "Email": "tx@paged.example"}})["id"].(string)
	for _, q := range []string{"?q=tx", "?q=paged.example", "?q=" + contact, "?object=Contact&q=Paged"} {
		if p := page(q); !strings.Contains(p, "/record/Contact/"+contact) {
			t.Errorf("%s does not find the contact: %s", q, p)
		}
	}
	if p := page("?object=Lead&q=tx"); strings.Contains(p, "/record/Contact/"+contact) || !strings.Contains(p, "/record/Lead/"+id.(string)) {
		t.Errorf("a search among leads is %s", p)
	}
	if res, _ := c.do("GET", "//record/Lead/"+contact, nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("a contact among the leads gave %d", res.StatusCode)
	}
	if p := page("record/Lead/" + id.(string)); !strings.Contains(p, `name="Company" value="C"`) {
		t.Errorf("the record's page is %s", p)
	}
	r, err := noRedirect.PostForm(c.url+"/record/Lead/"+id.(string), url.Values{"LastName": {"Edited"}, "Company": {"C"}, "Status": {"Working - Contacted"}, "Description": {"a\r\nb"}})
	if err != nil || r.StatusCode != http.StatusSeeOther {
		t.Fatalf("saving gave %v %v", r, err)
	}
	if f, _ := c.org.Get("Lead", id.(string)); f["LastName"] != "Edited" || f["Description"] != "a\nb" {
		t.Errorf("the saved lead is %v", f)
	}
	r, err = noRedirect.PostForm(c.url+"/record/Campaign/new", url.Values{"Name": {"From the page"}, "IsActive": {"true"}})
	if err != nil || r.StatusCode != http.StatusSeeOther || len(c.query("SELECT Id FROM Campaign WHERE Name = 'From the page' AND IsActive = true")) != 1 {
		t.Errorf("a new campaign gave %v %v", r, err)
	}
	r, err = noRedirect.PostForm(c.url+"/record/Lead/"+id.(string), url.Values{"LastName": {""}, "Company": {"C"}})
	if err != nil || r.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a refused save gave %v %v", r, err)
	}
	press := func(button string) object {
		t.Helper()
		r, err := noRedirect.PostForm(c.url+"/record/Lead/"+id.(string), url.Values{button: {"1"}})
		if err != nil || r.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s gave %v %v", button, r, err)
		}
		f, _ := c.org.Get("Lead", id.(string))
		return f
	}
	if f := press("delete"); f["IsDeleted"] != true || !strings.Contains(page("record/Lead/"+id.(string)), "recycle bin") {
		t.Errorf("the deleted lead is %v", f)
	}
	if f := press("undelete"); f["IsDeleted"] != false {
		t.Errorf("the undeleted lead is %v", f)
	}
	if f := press("convert"); f["IsConverted"] != true || !strings.Contains(page("record/Lead/"+id.(string)), "/record/Contact/"+f["ConvertedContactId"].(string)) {
		t.Errorf("the converted lead is %v", f)
	}
	q, _ := http.NewRequest("POST", c.url+"/simorg/control/expire-sessions", nil)
	q.Header.Set("Sec-Fetch-Site", "cross-site")
	if r, err := http.DefaultClient.Do(q); err != nil || r.StatusCode != http.StatusForbidden {
		t.Errorf("a control request of another site gave %v %v", r, err)
	}
}
