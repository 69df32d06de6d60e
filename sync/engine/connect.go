package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/salesforce"
)

// clientName is told to Salesforce with each call. It ends up in the origin of change events, and in the org's logs.
const clientName = "Tandem/1.0"

// errNotConnected is what work meets when there is no connection to work with.
var errNotConnected = errors.New("no Salesforce connection is stored")

// clientCache holds the API client of the stored connection, and makes a new one when the connection was saved anew.
type clientCache struct {
	mu     sync.Mutex
	key    string
	client *salesforce.Client

	// limits is what /limits said, for an org whose replies do not tell it; limitsNext is when that may be asked again.
	limits     atomic.Pointer[models.Usage]
	limitsNext atomic.Int64
}

// client gives the API client of the stored connection; errNotConnected if there is none.
func (e *Engine) client(ctx context.Context) (*salesforce.Client, error) {
	c, err := e.Models.Connection(ctx)
	if errors.Is(err, models.ErrNotFound) {
		return nil, errNotConnected
	}
	if err != nil {
		return nil, err
	}
	e.clients.mu.Lock()
	defer e.clients.mu.Unlock()
	key := c.ID.String() + c.UpdatedAt.UTC().Format(time.RFC3339Nano)
	if e.clients.client != nil && e.clients.key == key {
		return e.clients.client, nil
	}
	client, err := salesforce.New(salesforce.Config{
		Credentials: credentials(c, ""),
		Tokens:      sharedTokens{e.Models},
		ClientName:  clientName,
		HTTP:        &http.Client{Transport: &countingTransport{salesforce.Transport(), &e.spent}},
		Log:         e.Log,
		AllowLocal:  e.AllowLocalOrg,
		FirstDelay:  e.Pace / 2,
	})
	if err != nil {
		return nil, err
	}
	e.clients.key, e.clients.client = key, client
	return client, nil
}

// settleCalls counts what this process called since the last time into the day's share, and passes on what the org said last
// of its budget. Each piece of work ends with it; what cannot be noted now is noted with the next.
func (e *Engine) settleCalls(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	calls := e.spent.Swap(0)
	e.clients.mu.Lock()
	client := e.clients.client
	e.clients.mu.Unlock()
	var usage models.Usage
	if client != nil {
		if u, ok := client.Usage(); ok {
			usage = models.Usage{Used: u.Used, Limit: u.Limit}
		} else if u := e.clients.limits.Load(); u != nil {
			usage = *u
		}
	}
	if err := e.Models.NoteCalls(ctx, calls, usage); err != nil {
		e.spent.Add(calls)
		e.Log.Warn("API calls could not be noted", "calls", calls, "error", err)
	}
}

func credentials(c models.Connection, redirectURL string) salesforce.Credentials {
	return salesforce.Credentials{
		LoginURL: c.LoginURL, Auth: salesforce.Auth(c.Auth), ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(),
		Username: c.Username, PrivateKeyPEM: []byte(c.PrivateKey.Reveal()), RedirectURL: redirectURL,
	}
}

// sharedTokens keeps the session in the connection's row, so that all processes use one and only one of them renews it.
type sharedTokens struct{ models *models.DB }

func (t sharedTokens) Token(ctx context.Context) (salesforce.Token, error) {
	s, err := t.models.Session(ctx)
	return salesforce.Token(s), err
}

func (t sharedTokens) Renew(ctx context.Context, stale string, renew func(context.Context, salesforce.Token) (salesforce.Token, error)) (salesforce.Token, error) {
	s, err := t.models.RenewSession(ctx, stale, func(ctx context.Context, s models.Session) (models.Session, error) {
		token, err := renew(ctx, salesforce.Token(s))
		return models.Session(token), err
	})
	return salesforce.Token(s), err
}

// countingTransport counts the calls that one run causes, by the counter that its context carries, and all of the process.
type countingTransport struct {
	next  http.RoundTripper
	spent *atomic.Int64
}

type countKey struct{}

func counted(ctx context.Context) (context.Context, *atomic.Int64) {
	n := new(atomic.Int64)
	return context.WithValue(ctx, countKey{}, n), n
}

func (t *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if counts(r.URL.Path) {
		t.spent.Add(1)
		if n, ok := r.Context().Value(countKey{}).(*atomic.Int64); ok {
			n.Add(1)
		}
	}
	return t.next.RoundTrip(r)
}

// counts tells whether the org counts a call against its budget: it does not count signing in and the list of versions.
func counts(path string) bool {
	return !strings.HasPrefix(path, "/services/oauth2/") && strings.TrimSuffix(path, "/") != "/services/data"
}

// AuthorizeURL is where the admin's browser is sent to allow the connection (web server flow).
func AuthorizeURL(c models.Connection, redirectURL, state, verifier string) (string, error) {
	return salesforce.AuthorizeURL(credentials(c, redirectURL), state, verifier)
}

// CheckLoginURL gives the normal form of a login address, or says why it may not be used.
func CheckLoginURL(raw string, allowLocal bool) (string, error) {
	return salesforce.CheckLoginURL(raw, allowLocal)
}

// Tester tests credentials for the connection page and the command line, before anything is stored.
type Tester struct {
	AllowLocalOrg bool
	Log           *slog.Logger
	Count         func(ctx context.Context, calls int64) error // takes what a test cost into the day's account; nil: nobody counts
}

// Exchange ends the web server flow: it turns the code into tokens and tests them.
func (t Tester) Exchange(ctx context.Context, c models.Connection, redirectURL, code, verifier string) (models.Connection, error) {
	token, err := salesforce.Exchange(ctx, salesforce.Config{Credentials: credentials(c, redirectURL), AllowLocal: t.AllowLocalOrg, Log: t.Log}, code, verifier)
	if err != nil {
		return c, refused(err)
	}
	c.AccessToken, c.RefreshToken = models.NewSecret(token.AccessToken), models.NewSecret(token.RefreshToken)
	c.InstanceURL, c.IdentityURL = token.InstanceURL, token.IdentityURL
	return t.Test(ctx, c)
}

// Test signs in with c's credentials, asks who that is and what it can see, and gives c back with the org, the user, the
// session and the report filled in. An error is Salesforce's refusal, in its own words.
func (t Tester) Test(ctx context.Context, c models.Connection) (models.Connection, error) {
	started := time.Now()
	tokens := salesforce.MemoryTokens()
	if c.Auth == models.AuthWebServer {
		// The refresh token may rotate at the first use, so a test of a stored one is only made by the engine, under the row's lock.
		if c.RefreshToken.Empty() && c.AccessToken.Empty() {
			return c, &models.Error{Code: models.CodeInvalid, Message: "connection.sign_in_first"}
		}
		if _, err := tokens.Renew(ctx, "", func(context.Context, salesforce.Token) (salesforce.Token, error) {
			return salesforce.Token{AccessToken: c.AccessToken.Reveal(), RefreshToken: c.RefreshToken.Reveal(), InstanceURL: c.InstanceURL, IdentityURL: c.IdentityURL, IssuedAt: started}, nil
		}); err != nil {
			return c, err
		}
	}
	client, err := salesforce.New(salesforce.Config{Credentials: credentials(c, ""), Tokens: tokens, ClientName: clientName, AllowLocal: t.AllowLocalOrg, Log: t.Log})
	if err != nil {
		// Nobody was asked yet: what was typed cannot be used, as a key that is none.
		return c, &models.Error{Code: models.CodeInvalid, Message: "connection.unusable", Params: map[string]string{"message": err.Error()}, Err: err}
	}
	defer t.account(ctx, client)
	report := models.ConnectionReport{At: started}
	version, err := client.APIVersion(ctx)
	if err != nil {
		return c, refused(err)
	}
	who, err := client.UserInfo(ctx)
	if err != nil {
		return c, refused(err)
	}
	c.APIVersion = version
	c.OrgID, c.UserID, c.UserName, c.UserDisplayName = string(who.OrganizationID), string(who.UserID), who.PreferredUsername, who.Name
	report.Add("check.signed_in", models.CheckOK, "name", who.Name, "user", who.PreferredUsername)
	if version != salesforce.PinnedVersion {
		report.Add("check.version", models.CheckLook, "pinned", salesforce.PinnedVersion, "used", version)
	}
	objects, err := client.Objects(ctx)
	if err != nil {
		return c, refused(err)
	}
	if org, err := client.Organization(ctx); err == nil {
		c.OrgName, c.Sandbox = org.Name, org.IsSandbox
	} else if salesforce.IsHalting(err) || ctx.Err() != nil {
		return c, refused(err)
	} else {
		report.Add("check.organization_hidden", models.CheckLook)
	}
	if u, ok := client.Usage(); ok {
		report.Add("check.api_on", models.CheckOK, "limit", strconv.Itoa(u.Limit), "used", strconv.Itoa(u.Used))
	}
	t.reportObjects(&report, objects)
	custom, err := findCustom(ctx, client, objects)
	switch {
	case err == nil:
		report.CustomKnown, report.Custom = true, custom
		if len(custom) > 0 {
			report.Add("check.custom", models.CheckOK, "n", strconv.Itoa(len(custom)))
		}
	case salesforce.IsHalting(err) || ctx.Err() != nil:
		return c, refused(err)
	default:
		report.Add("check.custom_unknown", models.CheckLook)
	}
	token, err := tokens.Token(ctx)
	if err != nil {
		return c, err
	}
	c.AccessToken, c.InstanceURL, c.IdentityURL = models.NewSecret(token.AccessToken), token.InstanceURL, token.IdentityURL
	if token.RefreshToken != "" {
		c.RefreshToken = models.NewSecret(token.RefreshToken)
	}
	report.TookMS = time.Since(started).Milliseconds()
	c.Report = report
	return c, nil
}

// reportObjects says which standard objects the user can read and write, and keeps the names it can read for the choice of objects.
func (t Tester) reportObjects(report *models.ConnectionReport, objects []salesforce.ObjectSummary) {
	var reads, writes, readOnly, hidden []string
	byName := make(map[string]salesforce.ObjectSummary, len(objects))
	for _, o := range objects {
		byName[o.Name] = o
		if o.Queryable {
			report.Visible = append(report.Visible, o.Name)
		}
	}
	slices.Sort(report.Visible)
	for _, o := range models.StandardObjects {
		switch s, ok := byName[o.Name]; {
		case !ok || !s.Queryable:
			hidden = append(hidden, o.Name)
		default:
			reads = append(reads, o.Name)
			if o.Direction != models.TwoWay {
				continue
			}
			if s.Createable && s.Updateable {
				writes = append(writes, o.Name)
			} else {
				readOnly = append(readOnly, o.Name)
			}
		}
	}
	list := func(names []string) string { return strings.Join(names, ", ") }
	if len(reads) > 0 {
		report.Add("check.reads", models.CheckOK, "objects", list(reads))
	} else {
		report.Add("check.reads_nothing", models.CheckFailed)
	}
	if len(writes) > 0 {
		report.Add("check.writes", models.CheckOK, "objects", list(writes))
	}
	if len(readOnly) > 0 {
		report.Add("check.read_only", models.CheckLook, "objects", list(readOnly))
	}
	if slices.Contains(readOnly, "Campaign") {
		report.Add("check.marketing_user", models.CheckLook)
	}
	if len(hidden) > 0 {
		report.Add("check.hidden_objects", models.CheckLook, "objects", list(hidden))
	}
}

// refused turns a client's error into one that the pages and the command line can tell: what Salesforce said, and its code.
func refused(err error) error {
	var api *salesforce.APIError
	if errors.As(err, &api) {
		return &models.Error{Code: models.CodeRefused, Message: "connection.refused", Params: map[string]string{"code": api.Code, "message": api.Message}, Err: err}
	}
	return &models.Error{Code: models.CodeUnavailable, Message: "connection.unreachable", Params: map[string]string{"message": err.Error()}, Err: err}
}
