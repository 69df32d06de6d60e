package simorg

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// call is one request to the REST API, or one sub-request of a composite.
type call struct {
	o       *Org
	w       http.ResponseWriter
	r       *http.Request
	version string   // "68.0"
	path    []string // after /services/data/v68.0, unescaped
	session *session
	access  *access // of the session's user
	inner   bool    // part of a composite, which counts as one call
	tx      *Tx     // of the composite that this is part of; nil where each call is its own
}

// view sees what the call's transaction has saved.
func (c *call) view() *view {
	v := c.o.view()
	v.tx, v.access = c.tx, c.access
	return v
}

// do saves in a transaction of its own, or in the one of the composite. fn runs under the org's lock.
func (c *call) do(fn func(tx *Tx) error) error {
	if d, ok := c.r.Context().Value(commitDelay{}).(time.Duration); ok && c.tx == nil {
		return c.doLate(d, fn)
	}
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	if c.tx != nil {
		c.obey(c.tx)
		return fn(c.tx)
	}
	return c.o.do(c.session.user, func(tx *Tx) error {
		c.obey(tx)
		return fn(tx)
	})
}

// doLate is do with a transaction that stays open for a while, as a long trigger keeps it.
func (c *call) doLate(delay time.Duration, fn func(tx *Tx) error) error {
	tx := c.o.Begin()
	c.o.mu.Lock()
	tx.user = c.session.user
	c.obey(tx)
	err := fn(tx)
	c.o.mu.Unlock()
	if err != nil {
		tx.Rollback()
		return err
	}
	time.Sleep(delay)
	return tx.Commit()
}

// obey lets the request's headers rule what its saves set off: assignment rules run unless Sforce-Auto-Assign is FALSE, and duplicate
// rules that only warn are passed by allowSave (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers.htm).
func (c *call) obey(tx *Tx) {
	tx.assign, tx.access = nil, c.access
	if !strings.EqualFold(c.r.Header.Get("Sforce-Auto-Assign"), "FALSE") {
		tx.assign = c.o.assigner()
	}
	tx.allowDuplicates = strings.Contains(strings.ReplaceAll(lower(c.r.Header.Get("Sforce-Duplicate-Rule-Header")), " ", ""), "allowsave=true")
}

// problem is a refusal: an HTTP status and the elements of Salesforce's error array.
type problem struct {
	status int
	list   []*rowError
	bare   bool // no body at all
}

func (p *problem) Error() string {
	if len(p.list) == 0 {
		return strconv.Itoa(p.status)
	}
	return p.list[0].Error()
}

func fail(status int, code, message string, fields ...string) *problem {
	return &problem{status: status, list: []*rowError{refuse(code, message, fields...)}}
}

var (
	errNoResource = fail(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist")
	errSession    = fail(http.StatusUnauthorized, "INVALID_SESSION_ID", "Session expired or invalid")
)

func notAllowed(method, allowed string) *problem {
	return fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "HTTP Method '"+method+"' not allowed. Allowed are "+allowed)
}

// problemOf turns what a save gave into a reply.
func problemOf(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var e *rowError
	if errors.As(err, &e) {
		status := e.status
		if status == 0 {
			status = http.StatusBadRequest
		}
		return &problem{status: status, list: e.all()}
	}
	return fail(http.StatusInternalServerError, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 ("+err.Error()+")")
}

// appendError writes an element of an error array; key is errorCode in REST replies and statusCode within collections.
func appendError(b []byte, e *rowError, key string) []byte {
	b = append(b, '{')
	if e.extra != "" {
		b = append(b, e.extra...)
		b = append(b, ',')
	}
	b = append(b, `"message":`...)
	b = appendJSONText(b, e.message)
	b = append(b, `,"`+key+`":`...)
	b = appendJSONText(b, e.code)
	if e.fields != nil || key == "statusCode" {
		b = append(b, `,"fields":[`...)
		for k, f := range e.fields {
			if k > 0 {
				b = append(b, ',')
			}
			b = appendJSONText(b, f)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func (p *problem) json() []byte {
	b := []byte{'['}
	for k, e := range p.list {
		if k > 0 {
			b = append(b, ',')
		}
		b = appendError(b, e, "errorCode")
	}
	return append(b, ']')
}

// serve answers every request of the org.
func (o *Org) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", o.now().Format(http.TimeFormat))
	segments, err := segmentsOf(r.URL)
	if err != nil {
		http.Error(w, "bad path", http.StatusBadRequest)
		return
	}
	if len(segments) > 0 && segments[0] == "simorg" {
		// Control is never hit by faults: it is how they are taken away.
		o.serveControl(w, r, segments[1:])
		return
	}
	w, r, done := o.faults.apply(o, w, r, segments)
	defer done()
	if w == nil {
		return
	}
	head := func(names ...string) bool {
		if len(segments) < len(names) {
			return false
		}
		for k, n := range names {
			if !strings.EqualFold(segments[k], n) {
				return false
			}
		}
		return true
	}
	switch {
	case len(segments) == 0 || head("record"):
		o.servePages(w, r, segments)
	case head("services", "data"):
		o.serveData(w, r, segments[2:])
	case head("services", "oauth2"), head("id"), head(".well-known"):
		o.serveAuth(w, r, segments)
	case head("services", "soap", "u"):
		o.serveSOAP(w, r, segments[3:])
	default:
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<html><head><title>URL No Longer Exists</title></head><body>URL No Longer Exists</body></html>")
	}
}

// segmentsOf cuts a path. Empty parts are dropped, for clients send // in front and / behind.
func segmentsOf(u *url.URL) ([]string, error) {
	var segments []string
	for _, s := range strings.Split(u.EscapedPath(), "/") {
		if s == "" {
			continue
		}
		s, err := url.PathUnescape(s)
		if err != nil {
			return nil, err
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// base is the org's own address, as the client knows it.
func base(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// The API versions that are listed, and the oldest that still works.
const (
	versionFirst, versionLast = 58, 68
	versionOldest             = 31
)

func versionLabel(v int) string {
	// 58.0 is Summer '23; there are three releases a year.
	k := v - 58
	return fmt.Sprintf("%s '%02d", []string{"Summer", "Winter", "Spring"}[k%3], 23+(k+2)/3)
}

// headMax is how long the URI and the headers may be together, in bytes.
const headMax = 16_384

func headSize(r *http.Request) int {
	n := len(r.RequestURI)
	for k, values := range r.Header {
		for _, v := range values {
			n += len(k) + len(v) + 4
		}
	}
	return n
}

// serveData answers /services/data and what is under it (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_versions.htm).
func (o *Org) serveData(w http.ResponseWriter, r *http.Request, path []string) {
	c := &call{o: o, w: w, r: r}
	if size := headSize(r); size > headMax {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(http.StatusRequestURITooLong)
		_, _ = fmt.Fprintf(w, "<html><head><title>414 URI Too Long</title></head><body>The URI and the headers have %d bytes together, of %d.</body></html>", size, headMax)
		return
	}
	if len(path) == 0 {
		b := []byte{'['}
		for v := versionFirst; v <= versionLast; v++ {
			if v > versionFirst {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"label":%q,"url":"/services/data/v%d.0","version":"%d.0"}`, versionLabel(v), v, v)
		}
		c.send(http.StatusOK, append(b, ']'))
		return
	}
	number, ok := strings.CutSuffix(strings.TrimPrefix(lower(path[0]), "v"), ".0")
	v, err := strconv.Atoi(number)
	if !ok || err != nil || v > versionLast || v < 1 {
		c.refuse(errNoResource)
		return
	}
	if v < versionOldest {
		c.refuse(fail(http.StatusGone, "UNSUPPORTED_API_VERSION", "The requested API version is retired."))
		return
	}
	c.version, c.path = number+".0", path[1:]
	if c.session = o.auth.session(o, r); c.session == nil {
		w.Header().Set("WWW-Authenticate", "Token")
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if scheme != "" && !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "OAuth") {
			c.refuse(fail(http.StatusUnauthorized, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"))
			return
		}
		c.refuse(errSession)
		return
	}
	if !o.active(c.session.user) {
		// Deactivating a user ends the user's sessions.
		c.refuse(errSession)
		return
	}
	c.access = o.accessOf(c.session.user)
	o.binJob()
	used, within := o.calls.count(o, c.kind())
	info := fmt.Sprintf("api-usage=%d/%d", used, o.config.DailyAPILimit)
	if most := o.config.PerAppLimit; most > 0 {
		info += fmt.Sprintf("; per-app-api-usage=%d/%d(appName=tandem)", min(o.Calls().Total, most), most)
	}
	w.Header().Set("Sforce-Limit-Info", info)
	if !within {
		c.refuse(fail(http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."))
		return
	}
	defer o.inProgress.Add(-1)
	if n := o.inProgress.Add(1); o.config.MaxConcurrent > 0 && n > int64(o.config.MaxConcurrent) {
		c.refuse(fail(http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded."))
		return
	}
	if err := c.unzip(); err != nil {
		c.refuse(fail(http.StatusBadRequest, "UNKNOWN_EXCEPTION", "the request's body is no gzip"))
		return
	}
	if m := r.URL.Query().Get("_HttpMethod"); m != "" && r.Method == http.MethodPost {
		r.Method = strings.ToUpper(m)
	}
	c.dispatch()
}

func (c *call) unzip() error {
	if !strings.EqualFold(c.r.Header.Get("Content-Encoding"), "gzip") {
		return nil
	}
	z, err := gzip.NewReader(c.r.Body)
	if err != nil {
		return err
	}
	c.r.Body = io.NopCloser(z)
	return nil
}

// at compares the beginning of the path, in any case; names that are {} match everything.
func (c *call) at(names ...string) bool {
	if len(c.path) != len(names) {
		return false
	}
	for k, n := range names {
		if n != "{}" && !strings.EqualFold(c.path[k], n) {
			return false
		}
	}
	return true
}

// kind is what the call counts as.
func (c *call) kind() string {
	switch {
	case len(c.path) == 0:
		return "versions"
	case c.at("query"), c.at("queryall"):
		return "query"
	case c.at("query", "{}"), c.at("queryall", "{}"):
		return "queryMore"
	case c.at("limits"):
		return "limits"
	case c.at("sobjects"):
		return "describeGlobal"
	case c.at("sobjects", "{}", "describe"):
		return "describe"
	case c.at("sobjects", "{}", "updated"):
		return "updated"
	case c.at("sobjects", "{}", "deleted"):
		return "deleted"
	case lower(c.path[0]) == "sobjects":
		return "row"
	case len(c.path) > 1 && lower(c.path[0]) == "composite" && lower(c.path[1]) == "sobjects":
		return "collections"
	case lower(c.path[0]) == "composite":
		return "composite"
	case len(c.path) > 1 && lower(c.path[0]) == "jobs" && lower(c.path[1]) == "ingest":
		return "ingest"
	case lower(c.path[0]) == "jobs":
		return "bulk"
	}
	return "other"
}

// dispatch finds who answers the path.
func (c *call) dispatch() {
	var err error
	switch {
	case len(c.path) == 0:
		err = c.resources()
	case c.at("limits"):
		err = c.limits()
	case c.at("query"), c.at("queryall"):
		err = c.query(strings.EqualFold(c.path[0], "queryall"))
	case c.at("query", "{}"), c.at("queryall", "{}"):
		err = c.queryMore(c.path[1])
	case c.at("sobjects"):
		err = c.describeGlobal()
	case c.at("sobjects", "{}"):
		err = c.object(c.path[1])
	case c.at("sobjects", "{}", "describe"):
		err = c.describe(c.path[1])
	case c.at("sobjects", "{}", "updated"):
		err = c.updated(c.path[1])
	case c.at("sobjects", "{}", "deleted"):
		err = c.deleted(c.path[1])
	case c.at("sobjects", "{}", "{}"):
		err = c.record(c.path[1], c.path[2])
	case c.at("sobjects", "{}", "{}", "{}"):
		err = c.recordByKey(c.path[1], c.path[2], c.path[3])
	case c.at("composite"):
		err = c.composite()
	case c.at("composite", "batch"):
		err = c.batch()
	case c.at("composite", "graph"):
		err = c.graph()
	case c.at("composite", "sobjects"):
		err = c.collection("", "")
	case c.at("composite", "sobjects", "{}"):
		err = c.collection(c.path[2], "")
	case c.at("composite", "sobjects", "{}", "{}"):
		err = c.collection(c.path[2], c.path[3])
	case c.at("composite", "tree", "{}"):
		err = c.tree(c.path[2])
	case lower(c.path[0]) == "jobs" && len(c.path) > 1:
		err = c.jobs(c.path[1:])
	default:
		err = errNoResource
	}
	if err != nil {
		c.refuse(problemOf(err))
	}
}

func (c *call) refuse(p *problem) {
	if p.bare {
		c.w.WriteHeader(p.status)
		return
	}
	c.send(p.status, p.json())
}

// send writes a JSON reply, compressed where the client takes that and it pays.
func (c *call) send(status int, body []byte) {
	h := c.w.Header()
	if body == nil {
		c.w.WriteHeader(status)
		return
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json;charset=UTF-8")
	}
	if c.inner || len(body) < 1024 || c.o.config.Plain || !takesGzip(c.r) {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		c.w.WriteHeader(status)
		_, _ = c.w.Write(body)
		return
	}
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	c.w.WriteHeader(status)
	z := zippers.Get().(*gzip.Writer)
	z.Reset(c.w)
	_, _ = z.Write(body)
	_ = z.Close()
	zippers.Put(z)
}

func (c *call) sendJSON(status int, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	c.send(status, bytes.TrimRight(b.Bytes(), "\n"))
	return nil
}

func takesGzip(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Accept-Encoding")), "gzip")
}

// bodyMax is what Salesforce takes in one REST request, about.
const bodyMax = 50 << 20

// read decodes the request's JSON body, numbers unspoilt.
func (c *call) read(into any) *problem {
	if kind := c.r.Header.Get("Content-Type"); kind != "" && !strings.Contains(lower(kind), "json") {
		return fail(http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "Content-Type header specified in HTTP request is not supported: "+kind)
	}
	b, err := io.ReadAll(http.MaxBytesReader(nil, c.r.Body, bodyMax))
	if err != nil {
		return fail(http.StatusRequestEntityTooLarge, "REQUEST_ENTITY_TOO_LARGE", "the request is larger than 50 MB")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fail(http.StatusBadRequest, "JSON_PARSER_ERROR", "Unexpected character or end of input: "+err.Error())
	}
	return nil
}

// resources is GET /services/data/vN (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_discoveryresource.htm).
func (c *call) resources() error {
	m := map[string]string{}
	for _, name := range []string{"sobjects", "query", "queryAll", "limits", "composite"} {
		m[name] = c.url(name)
	}
	m["jobs"] = c.url("jobs")
	m["identity"] = base(c.r) + "/id/" + c.o.id() + "/" + c.session.user
	return c.sendJSON(http.StatusOK, m)
}

// find gives an object that the caller sees; the org's lock is held.
func (c *call) find(name string) *object { return c.access.object(c.o, name) }

func (c *call) url(parts ...string) string {
	return "/services/data/v" + c.version + "/" + strings.Join(parts, "/")
}

// id is the org's own id.
func (o *Org) id() string { return row{t: o.tables["Organization"]}.id() }

// limits is GET /limits (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_limits.htm).
func (c *call) limits() error {
	type limit struct {
		Max       int
		Remaining int
	}
	o := c.o
	used := o.calls.used(o)
	queries := o.jobs.made(o, false)
	ingests := o.jobs.made(o, true)
	daily := o.config.DailyAPILimit
	return c.sendJSON(http.StatusOK, map[string]limit{
		"DailyApiRequests": {daily, daily - used}, "DailyBulkApiBatches": {15000, 15000 - ingests}, "DailyBulkV2QueryJobs": {10000, 10000 - queries}, "DailyBulkV2QueryFileStorageMB": {976562, 976562},
		"DailyAsyncApexExecutions": {250000, 250000}, "DailyDeliveredPlatformEvents": {25000, 25000}, "DailyStreamingApiEvents": {1000000, 1000000}, "DataStorageMB": {10240, 9216}, "FileStorageMB": {10240, 10240},
		"HourlyPublishedPlatformEvents": {250000, 250000}, "SingleEmail": {5000, 5000}, "StreamingApiConcurrentClients": {2000, 2000}, "ConcurrentSyncReportRuns": {20, 20},
	})
}

// subCall runs a sub-request of a composite within this one and gives its reply.
func (c *call) subCall(method, target string, body json.RawMessage, headers map[string]string) (status int, header http.Header, reply json.RawMessage) {
	rec := &recorder{header: http.Header{}}
	u, err := url.Parse("/" + strings.TrimLeft(strings.ReplaceAll(target, " ", "+"), "/"))
	if err != nil {
		return http.StatusBadRequest, nil, fail(http.StatusBadRequest, "INVALID_INPUT", "the URL of the sub-request is malformed").json()
	}
	path, err := segmentsOf(u)
	if err != nil {
		return http.StatusBadRequest, nil, fail(http.StatusBadRequest, "INVALID_INPUT", "the URL of the sub-request is malformed").json()
	}
	if len(path) > 1 && lower(path[0]) == "services" && lower(path[1]) == "data" {
		path = path[2:]
	}
	if len(path) == 0 || !strings.HasPrefix(lower(path[0]), "v") {
		return http.StatusNotFound, nil, errNoResource.json()
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(c.r.Context()), strings.ToUpper(method), "http://"+c.r.Host+u.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return http.StatusBadRequest, nil, fail(http.StatusBadRequest, "INVALID_INPUT", "the method or URL of the sub-request is malformed").json()
	}
	for _, h := range []string{"Sforce-Call-Options", "Sforce-Auto-Assign", "Sforce-Duplicate-Rule-Header", "Sforce-Query-Options"} {
		if v := c.r.Header.Get(h); v != "" {
			r.Header.Set(h, v)
		}
	}
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	if v := lower(path[0][1:]); v != c.version && strings.Count(v, ".") != 1 {
		return http.StatusNotFound, nil, errNoResource.json()
	}
	inner := &call{o: c.o, w: rec, r: r, version: path[0][1:], path: path[1:], session: c.session, access: c.access, inner: true, tx: c.tx}
	if inner.at("composite") || inner.at("composite", "batch") || inner.at("composite", "graph") {
		return http.StatusBadRequest, nil, fail(http.StatusBadRequest, "INVALID_INPUT", "a composite cannot hold a composite").json()
	}
	inner.dispatch()
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	if rec.body.Len() == 0 {
		return rec.status, rec.header, nil
	}
	return rec.status, rec.header, rec.body.Bytes()
}

// recorder keeps a reply in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}
