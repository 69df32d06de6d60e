// Package salesforce is the client of Salesforce's HTTP APIs: typed requests, typed errors, streams. It signs in and keeps
// the session alive, asks again where asking again helps, and hands records on as they arrive, cell by cell.
//
// It knows no table and decides nothing about a record. It must never show a secret: not in an error, a log line or a String.
package salesforce

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"
)

// The bounds of one request. A caller's context ends it earlier.
const (
	attemptMax     = 5                 // tries of one request
	retryWithin    = 60 * time.Second  // no further try begins later than this after the first
	answerWithin   = 60 * time.Second  // until the header of a reply
	queryWithin    = 150 * time.Second // the same for queries, which Salesforce itself cuts after two minutes
	idleMax        = 60 * time.Second  // silence in the middle of a body
	renewWithin    = 45 * time.Second  // one renewal of the session, all its tries
	elsewhereEvery = time.Minute       // between two logins that only ask where the org lives: the logins of an hour are counted
	renewMax       = 2                 // renewals inside one try of a request: one that another process made, one of our own
	longestDelay   = 15 * time.Second
	mediaJSON      = "application/json"
	mediaCSV       = "text/csv"
	contentJSON    = "application/json; charset=UTF-8"
	headerLimit    = "Sforce-Limit-Info"
	headerModified = "If-Modified-Since"
)

// jsonIn is how replies are read: bytes that are no UTF-8 pass through, so that whoever stores them sees and refuses them.
var jsonIn = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

// Config is what a client needs.
type Config struct {
	Credentials
	Tokens     TokenStore // where the session is kept; nil: in this client's memory
	Version    string     // the API version to use if the org offers it; PinnedVersion if empty
	ClientName string     // told with each call (Sforce-Call-Options), and found again in the org's logs and change events
	HTTP       *http.Client
	Log        *slog.Logger
	OnUsage    func(Usage) // called with what each reply says of the org's API budget, from any goroutine; must be quick
	AllowLocal bool        // also accept loopback addresses, over http, as org
	Now        func() time.Time
	FirstDelay time.Duration // before what failed in passing is asked again; it doubles each time; 500 ms
}

// Client asks one org on behalf of one user. It is safe for any number of goroutines.
type Client struct {
	cfg   Config
	http  *http.Client
	key   *rsa.PrivateKey // of the JWT bearer flow
	sleep func(context.Context, time.Duration) error
	idle  time.Duration

	calls   atomic.Int64
	usage   atomic.Pointer[Usage]
	clock   atomic.Pointer[reading]
	flights singleflight.Group
	asked   atomic.Int64 // when the token endpoint was last asked where the org lives, nanoseconds

	mu      sync.Mutex
	token   Token
	version string

	// What the org has refused once: composite requests, collections of records, and collections, or queries, in composite requests.
	noComposite, noCollections, noTogether, noQueries atomic.Bool
}

// New makes a client. It refuses login addresses that are not Salesforce's (CheckLoginURL), credentials that lack a part,
// and a private key that cannot be read. It sends nothing.
func New(cfg Config) (*Client, error) {
	login, err := CheckLoginURL(cfg.LoginURL, cfg.AllowLocal)
	if err != nil {
		return nil, err
	}
	cfg.LoginURL = login
	if cfg.Version == "" {
		cfg.Version = PinnedVersion
	}
	if _, err := parseVersion(cfg.Version); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.FirstDelay == 0 {
		cfg.FirstDelay = 500 * time.Millisecond
	}
	if cfg.Tokens == nil {
		cfg.Tokens = MemoryTokens()
	}
	c := &Client{cfg: cfg, sleep: sleep, idle: idleMax}
	if c.key, err = cfg.check(); err != nil {
		return nil, err
	}
	hc := http.Client{Transport: sharedTransport()}
	if cfg.HTTP != nil {
		hc = *cfg.HTTP
	}
	hc.Timeout = 0 // it would cut long streams; each part of a request has its own bound
	// A redirect would carry the session or a secret to a host that nobody chose; it is told as an error instead.
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &hc
	return c, nil
}

// Transport gives a fresh transport with the settings that this client is made for, for a caller that wraps it.
// Compression is left to the client, which decodes it in a stream.
func Transport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          32,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true,
		// Without pings a dead HTTP/2 connection would swallow every further try too.
		HTTP2:          &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 10 * time.Second},
		ReadBufferSize: 64 << 10,
	}
}

var sharedTransport = sync.OnceValue(Transport)

// CloseIdle closes the connections that are open and unused.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// String names the org and the way in, and no secret.
func (c *Client) String() string { return "salesforce.Client(" + c.cfg.Credentials.String() + ")" }

// GoString is String.
func (c *Client) GoString() string { return c.String() }

// Calls gives how many requests this client has sent that count against the org's API budget, tries included. Requests
// to the OAuth services and the list of versions do not count.
func (c *Client) Calls() int64 { return c.calls.Load() }

// Usage is what the org says of its API budget over the last 24 hours, in calls. The App figures are those of this
// connected app, where the org gives it a share of its own; else both are zero.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm
type Usage struct{ Used, Limit, AppUsed, AppLimit int }

// Usage gives the budget as the latest reply told it; false before the first.
func (c *Client) Usage() (Usage, bool) {
	if u := c.usage.Load(); u != nil {
		return *u, true
	}
	return Usage{}, false
}

// parseUsage reads "api-usage=25/5000; per-app-api-usage=17/250(appName=sample)".
func parseUsage(v string) (Usage, bool) {
	var u Usage
	ok := false
	for part := range strings.SplitSeq(v, ";") {
		name, count, _ := strings.Cut(strings.TrimSpace(part), "=")
		used, limit, _ := strings.Cut(count, "/")
		limit, _, _ = strings.Cut(limit, "(")
		n, err := strconv.Atoi(strings.TrimSpace(used))
		of, err2 := strconv.Atoi(strings.TrimSpace(limit))
		if err != nil || err2 != nil {
			continue
		}
		switch name {
		case "api-usage":
			u.Used, u.Limit, ok = n, of, true
		case "per-app-api-usage":
			u.AppUsed, u.AppLimit = n, of
		}
	}
	return u, ok
}

// reading is one look at the org's clock.
type reading struct{ server, local time.Time }

// ServerTime gives the org's clock: the Date of the latest reply, moved on by the time since. It is never ahead of the org,
// and behind it by at most a second and the way of the reply; one reading may lie before the one before by as much. False
// before the first reply.
func (c *Client) ServerTime() (time.Time, bool) {
	r := c.clock.Load()
	if r == nil {
		return time.Time{}, false
	}
	return r.server.Add(max(0, c.cfg.Now().Sub(r.local))), true
}

// note keeps what every reply tells beside its answer.
func (c *Client) note(res *http.Response) {
	// A page from an edge or a proxy carries the clock of that machine.
	if res.StatusCode < 500 && !isHTML(res.Header) {
		if at, err := http.ParseTime(res.Header.Get("Date")); err == nil {
			c.clock.Store(&reading{server: at.UTC(), local: c.cfg.Now()})
		}
	}
	if u, ok := parseUsage(res.Header.Get(headerLimit)); ok {
		c.usage.Store(&u)
		if c.cfg.OnUsage != nil {
			c.cfg.OnUsage(u)
		}
	}
}

// request is one call of the API, before it is bound to a session.
type request struct {
	op     string // what it is for, in errors: "describe Lead"
	method string
	path   string // below the instance URL, escaped
	query  string // escaped
	header http.Header
	body   []byte
	stream func(io.Writer) error // writes the body, once for each try, in place of body
	media  string                // of the body; JSON if empty
	accept string                // what the answer must be: mediaJSON, mediaCSV, or "" for nothing in particular
	within time.Duration
	// again allows another try though an earlier one may have reached Salesforce: the call only reads, or doing it twice is
	// doing it once.
	again bool
	// base takes the place of the instance URL, and no session is sent.
	base string
}

func (r *request) anonymous() bool { return r.base != "" }

// counts tells whether Salesforce counts the call.
func (r *request) counts() bool {
	return !r.anonymous() && !strings.HasPrefix(r.path, "/services/oauth2/")
}

// reply is a successful answer. Whoever gets it closes it.
type reply struct {
	status int
	header http.Header
	*body
}

// do sends r until it is answered, as often as that may help, and hands the answer to read, which closes it. An error of
// read's is treated like one of the request's: a body that was cut is asked for again.
func (c *Client) do(ctx context.Context, r request, read func(*reply) error) error {
	if r.within == 0 {
		r.within = answerWithin
	}
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.Multiplier, delays.MaxInterval = c.cfg.FirstDelay, 2, longestDelay
	began := c.cfg.Now()
	for attempt := 1; ; attempt++ {
		err := c.try(ctx, r, read)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if attempt == attemptMax || !retryable(err) || !r.again && !refusedUnread(err) {
			return err
		}
		delay := max(RetryAfter(err), delays.NextBackOff())
		next := c.cfg.Now().Add(delay)
		if next.Sub(began) > retryWithin {
			return err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < delay {
			return err
		}
		c.cfg.Log.Debug("Salesforce is asked again", "op", r.op, "attempt", attempt, "in", delay, "error", err)
		if c.sleep(ctx, delay) != nil {
			return err
		}
	}
}

// try sends r once under a live session: one that Salesforce no longer knows is renewed once.
func (c *Client) try(ctx context.Context, r request, read func(*reply) error) error {
	var token Token
	if !r.anonymous() {
		var err error
		if token, err = c.session(ctx); err != nil {
			return err
		}
	}
	for renewals := 0; ; renewals++ {
		rep, err := c.send(ctx, r, token)
		if err == nil {
			return read(rep)
		}
		if next, moved := c.elsewhere(ctx, r, token, err); moved && renewals < renewMax {
			token, renewals = next, renewMax
			continue
		}
		if r.anonymous() || renewals >= renewMax || !sessionGone(err) {
			return err
		}
		next, own, renewErr := c.renew(ctx, token.AccessToken)
		if renewErr != nil {
			return renewErr
		}
		if own {
			renewals = renewMax
		}
		token = next
	}
}

// sessionGone tells a refusal that a new session cures. The exceptions are those of which Salesforce's own clients know
// that they would renew for ever.
func sessionGone(err error) bool {
	api, ok := errors.AsType[*APIError](err)
	if !ok || api.oauth || api.html {
		return false
	}
	switch {
	case api.moved, api.Code == CodeInvalidSession:
	case api.Status != http.StatusUnauthorized, api.Code == "INVALID_AUTH_HEADER":
		return false
	}
	return !strings.Contains(api.Message, "This session is not valid for use with the REST API") &&
		!strings.Contains(api.Message, "Connected app is not attached to Agent")
}

// elsewhere finds out whether the org has moved to another host, which only the token endpoint tells: the former one gives
// a page that there is nothing here, or no connection, for ever. An edge that is lost for a moment gives the same, so a
// login that fails or names the same address leaves the refusal as it was.
func (c *Client) elsewhere(ctx context.Context, r request, token Token, err error) (Token, bool) {
	if r.anonymous() || !unserved(err) {
		return Token{}, false
	}
	next := c.cached()
	if now, last := c.cfg.Now().UnixNano(), c.asked.Load(); next.InstanceURL == token.InstanceURL &&
		(last == 0 || now-last >= int64(elsewhereEvery)) && c.asked.CompareAndSwap(last, now) {
		var renewErr error
		if next, _, renewErr = c.renew(ctx, token.AccessToken); renewErr != nil {
			return Token{}, false
		}
	}
	return next, next.InstanceURL != "" && next.InstanceURL != token.InstanceURL
}

// unserved tells an answer of a host where no org is.
func unserved(err error) bool {
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.html && !api.oauth && (api.Status == http.StatusNotFound || api.Status == statusEdge)
	}
	network, ok := errors.AsType[*NetworkError](err)
	return ok && network.unsent
}

// newRequest binds r to a session.
func (c *Client) newRequest(ctx context.Context, r request, token Token) (*http.Request, error) {
	base := r.base
	if base == "" {
		if base = strings.TrimSuffix(token.InstanceURL, "/"); base == "" {
			base = c.cfg.LoginURL
		}
	}
	target := base + r.path
	if r.query != "" {
		target += "?" + r.query
	}
	var body io.Reader
	var end io.Closer
	switch {
	case r.stream != nil:
		pipe := piped(r.stream)
		body, end = pipe, pipe
	case r.body != nil:
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		if end != nil {
			_ = end.Close()
		}
		return nil, fmt.Errorf("%s: the address %s%s cannot be asked", r.op, base, r.path)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if body != nil {
		media := r.media
		if media == "" {
			media = contentJSON
		}
		req.Header.Set("Content-Type", media)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	req.Header.Set("Accept-Encoding", "gzip")
	if !r.anonymous() {
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		if c.cfg.ClientName != "" {
			req.Header.Set("Sforce-Call-Options", "client="+c.cfg.ClientName)
		}
	}
	if c.cfg.ClientName != "" {
		req.Header.Set("User-Agent", c.cfg.ClientName)
	}
	return req, nil
}

// piped gives what write writes as it is read. The transport closes it however the request ends, and that ends write too.
func piped(write func(io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(write(w)) }()
	return r
}

var errSilent = errors.New("no answer within the time it may take")

var errIdle = errors.New("the connection fell silent in the middle of the reply")

// send sends r once and checks the answer.
func (c *Client) send(parent context.Context, r request, token Token) (*reply, error) {
	ctx, cancel := context.WithCancelCause(parent)
	req, err := c.newRequest(ctx, r, token)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if r.counts() {
		c.calls.Add(1)
	}
	patience := time.AfterFunc(r.within, func() { cancel(errSilent) })
	res, err := c.http.Do(req) //nolint:bodyclose // whoever gets the reply closes it
	patience.Stop()
	where := sanitise(req.URL)
	if err != nil {
		err = c.cut(parent, ctx, r, where, err)
		cancel(nil)
		return nil, err
	}
	c.note(res)
	rep := &reply{status: res.StatusCode, header: res.Header, body: newBody(res, c.idle, cancel)}
	rep.fail = func(err error) error { return c.cut(parent, ctx, r, where, err) }
	if err := c.checkResponse(r, where, rep); err != nil {
		_ = rep.Close()
		return nil, err
	}
	return rep, nil
}

// cut tells what became of a request whose answer did not come, or not whole.
func (c *Client) cut(parent, ctx context.Context, r request, where string, err error) error {
	if parent.Err() != nil {
		return fmt.Errorf("%s: %w", r.op, context.Cause(parent))
	}
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) || errors.Is(cause, errIdle) {
		err = cause
	}
	// url.Error repeats the address with its query.
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	var unsent bool
	if op, ok := errors.AsType[*net.OpError](err); ok {
		unsent = op.Op == "dial"
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errCut
	}
	return &NetworkError{Op: r.op, Method: r.method, URL: where, Err: err, unsent: unsent}
}

var errCut = errors.New("the connection was cut before the reply was whole")

// checkResponse turns every answer but the one that r asked for into a typed error.
func (c *Client) checkResponse(r request, where string, rep *reply) error {
	api := &APIError{Op: r.op, Method: r.method, URL: where, Status: rep.status, oauth: strings.HasSuffix(r.path, tokenPath)}
	switch {
	case rep.status == http.StatusNotModified && r.header.Get(headerModified) != "":
		return nil
	case rep.status >= 200 && rep.status < 300:
		return c.checkMedia(r, api, rep)
	case rep.status == http.StatusMovedPermanently, rep.status == http.StatusFound, rep.status == http.StatusSeeOther,
		rep.status == http.StatusTemporaryRedirect, rep.status == http.StatusPermanentRedirect:
		api.moved = true
		api.Message = "the org answers with a redirect"
		if to, err := url.Parse(rep.header.Get("Location")); err == nil && to.Host != "" {
			api.Message += " to " + to.Scheme + "://" + to.Host
		}
		return api
	}
	api.RetryAfter = parseRetryAfter(rep.header, c.cfg.Now())
	body, err := io.ReadAll(io.LimitReader(rep, errorBodyMax))
	if err != nil && len(body) == 0 {
		body = nil // the status alone tells enough
	}
	api.parseErrorBody(rep.header.Get("Content-Type"), body)
	api.Message = c.scrub(api.Message)
	return api
}

// checkMedia finds out whether a success is one: edges and proxies answer 200 with pages for people.
func (c *Client) checkMedia(r request, api *APIError, rep *reply) error {
	if r.accept == "" || rep.status == http.StatusNoContent {
		return nil
	}
	notIt := isHTML(rep.header)
	if r.accept == mediaJSON && !notIt {
		first, err := rep.firstByte()
		switch {
		case err == io.EOF:
			api.Code, api.Message, api.html = CodeNotJSON, "the reply is empty", true
			return api
		case err != nil:
			return err
		}
		notIt = first != '{' && first != '['
	}
	if !notIt {
		return nil
	}
	start, err := io.ReadAll(io.LimitReader(rep, 1024))
	if err != nil && len(start) == 0 {
		return err
	}
	api.Code, api.html = CodeNotJSON, true
	api.Message = c.scrub("a page for people came instead of the answer: " + string(firstBytes(start)))
	return api
}

func isHTML(h http.Header) bool { return strings.Contains(h.Get("Content-Type"), "html") }

// scrub takes what this client keeps secret out of a text that came from outside.
func (c *Client) scrub(s string) string {
	c.mu.Lock()
	secrets := []string{c.cfg.ClientSecret, c.token.AccessToken, c.token.RefreshToken}
	c.mu.Unlock()
	for _, secret := range secrets {
		if len(secret) >= 6 {
			s = strings.ReplaceAll(s, secret, "[secret]")
		}
	}
	return s
}

// sanitise gives the part of an address that may be shown.
func sanitise(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// getJSON asks for path and decodes the answer into v.
func (c *Client) getJSON(ctx context.Context, op, path, query string, v any) error {
	return c.do(ctx, request{op: op, method: http.MethodGet, path: path, query: query, accept: mediaJSON, again: true}, c.into(op, v))
}

// into gives a reader for do that decodes a whole answer into v.
func (c *Client) into(op string, v any) func(*reply) error {
	return func(rep *reply) error {
		defer rep.Close()
		return rep.jsonError(op, json.UnmarshalRead(rep, v, jsonIn))
	}
}

// jsonError tells a cut reply from one that is no JSON, and that from one that says something else than expected.
func (rep *reply) jsonError(op string, err error) error {
	if err == nil {
		return nil
	}
	if rep.err != nil && rep.err != io.EOF {
		return rep.err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return rep.fail(err)
	}
	if _, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		// Salesforce appends an error to an answer it had begun. That passes like the error itself would.
		return &APIError{Op: op, Status: rep.status, Code: CodeNotJSON, Message: "the reply turns into something else midway", html: true}
	}
	return &APIError{Op: op, Status: rep.status, Code: CodeMalformedReply, Message: malformed(err)}
}

// malformed tells what was wrong with a reply, without the values in it.
func malformed(err error) string {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Sprintf("at %s: a JSON %v where %v is expected", semantic.JSONPointer, semantic.JSONKind, semantic.GoType)
	}
	return err.Error()
}

// body streams a reply: it decodes gzip, gives up on a connection that falls silent, and gives typed errors.
type body struct {
	raw    io.ReadCloser
	src    *bufio.Reader
	idle   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	fail   func(error) error
	err    error // the first error, for ever
	gzip   bool
}

func newBody(res *http.Response, idle time.Duration, cancel context.CancelCauseFunc) *body {
	b := &body{raw: res.Body, idle: idle, cancel: cancel, gzip: strings.EqualFold(res.Header.Get("Content-Encoding"), "gzip")}
	b.timer = time.AfterFunc(idle, func() { cancel(errIdle) })
	b.timer.Stop()
	b.src = bufio.NewReaderSize(watched{b}, 32<<10)
	return b
}

// watched reads the connection under the watch of the idle timer, which runs only while somebody waits for bytes: a
// slow consumer is no silence of Salesforce's.
type watched struct{ *body }

func (w watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.idle)
	n, err := w.raw.Read(p)
	w.timer.Stop()
	return n, err
}

// ungzip begins decoding. It waits for the first bytes, so it is called when somebody reads.
func (b *body) ungzip() error {
	b.gzip = false
	if _, err := b.src.Peek(1); err == io.EOF {
		return nil // an empty body is empty in any encoding
	}
	r, err := newGzip(b.src)
	if err != nil {
		return err
	}
	b.src = bufio.NewReaderSize(r, 4<<10)
	return nil
}

// Read gives decoded bytes. Its errors are io.EOF, a NetworkError, or that of the caller's context.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.gzip {
		if err := b.ungzip(); err != nil {
			return 0, b.failed(err)
		}
	}
	n, err := b.src.Read(p)
	if err != nil {
		err = b.failed(err)
		if n > 0 && err != io.EOF {
			return n, nil // the error waits for the next Read
		}
	}
	return n, err
}

func (b *body) failed(err error) error {
	if err != io.EOF {
		err = b.fail(err)
	}
	b.err = err
	return err
}

// firstByte looks at the first byte that is not white space, without taking it.
func (b *body) firstByte() (byte, error) {
	if b.gzip {
		if err := b.ungzip(); err != nil {
			return 0, b.failed(err)
		}
	}
	for {
		p, err := b.src.Peek(1)
		if err == io.EOF {
			return 0, io.EOF
		}
		if err != nil {
			return 0, b.failed(err)
		}
		switch p[0] {
		case ' ', '\t', '\r', '\n':
			_, _ = b.src.Discard(1)
			continue
		}
		return p[0], nil
	}
}

// Close ends the request. What was not read is not waited for.
func (b *body) Close() error {
	b.timer.Stop()
	err := b.raw.Close()
	b.cancel(nil)
	return err
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
