package simorg

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Fault is something that the org does wrong on purpose. It hits requests, or with Row the saving of rows.
type Fault struct {
	// What it hits: every condition that is not empty must hold.
	Method string `json:"method,omitempty"`
	// Path is a part of the request's path and query, or a regular expression when it starts with ^ or holds any of *+?()[]|$.
	Path string `json:"path,omitempty"`
	// Object is the object of the path, of the query, or of the bulk job that is asked for; of rows, their object.
	Object string `json:"object,omitempty"`
	// Row makes the fault hit each save of a row (create, update, delete; by any API) instead of requests. ID narrows it to one row,
	// Field to saves that set this field, and Value to those that set it to this text: a validation rule.
	Row bool `json:"row,omitempty"`
	// Operation narrows Row to create, update or delete.
	Operation string `json:"operation,omitempty"`
	ID        string `json:"id,omitempty"`
	Field     string `json:"field,omitempty"`
	Value     string `json:"value,omitempty"`
	After     int    `json:"after,omitempty"` // let so many pass first
	Count     int    `json:"count,omitempty"` // hit so many, then no more; 0: for ever

	// What it does.
	Delay time.Duration `json:"delay,omitempty"` // before anything else
	// CommitDelay keeps what the request saved uncommitted for so long, under the stamps of its save; the reply comes after it.
	CommitDelay   time.Duration `json:"commitDelay,omitempty"`
	ExpireSession bool          `json:"expireSession,omitempty"` // all sessions end before the request is looked at
	DropBefore    bool          `json:"dropBefore,omitempty"`    // the connection is closed and nothing was done
	DropAfter     bool          `json:"dropAfter,omitempty"`     // it was done, but the connection is closed without a reply
	Status        int           `json:"status,omitempty"`        // nothing is done; this is the reply
	Body          string        `json:"body,omitempty"`
	ContentType   string        `json:"contentType,omitempty"`
	// Code and Message, instead of Body, are sent in the shape of the API that was asked: an error array, OAuth's error, a SOAP fault.
	Code    string   `json:"code,omitempty"`
	Message string   `json:"message,omitempty"`
	Fields  []string `json:"fields,omitempty"`
	// TruncateBody lets so many bytes of the reply's body through, then closes the connection; with CleanEnd the body just ends.
	TruncateBody int  `json:"truncateBody,omitempty"`
	CleanEnd     bool `json:"cleanEnd,omitempty"`
	// ShortPages gives query pages of at most so many rows; it hits no request but changes all pages while it is there.
	ShortPages int `json:"shortPages,omitempty"`
	// FailJob lets a bulk job end as Failed with Message. Of an ingest job, JobRows rows are saved first; the rest stays unprocessed.
	FailJob bool `json:"failJob,omitempty"`
	JobRows int  `json:"jobRows,omitempty"`

	pattern *regexp.Regexp
	seen    int
	hits    int
	id      int
}

type faults struct {
	mu   sync.Mutex
	last int
	list []*Fault
}

// Fault makes the org do something wrong until remove is called. A Path that is no good regular expression never matches.
func (o *Org) Fault(f Fault) (remove func()) {
	id := o.faults.add(f)
	return func() { o.faults.remove(id) }
}

// ClearFaults takes all faults away.
func (o *Org) ClearFaults() {
	o.faults.mu.Lock()
	defer o.faults.mu.Unlock()
	o.faults.list = nil
}

func (s *faults) add(f Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(f.Path, "^") || strings.ContainsAny(f.Path, "*+()[]|$") {
		f.pattern, _ = regexp.Compile(f.Path)
	}
	s.last++
	f.id = s.last
	s.list = append(s.list, &f)
	return f.id
}

func (s *faults) remove(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(f *Fault) bool { return f.id == id })
}

// due counts a match and tells whether it is this one's turn.
func (f *Fault) due() bool {
	f.seen++
	if f.seen <= f.After || f.Count > 0 && f.hits >= f.Count {
		return false
	}
	f.hits++
	return true
}

func (s *faults) shortPage() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		if f.ShortPages > 0 {
			return f.ShortPages
		}
	}
	return 0
}

func (f *Fault) matches(o *Org, r *http.Request, segments []string) bool {
	if f.Row || f.ShortPages > 0 || f.FailJob || f.Method != "" && !strings.EqualFold(f.Method, r.Method) {
		return false
	}
	target := r.URL.RequestURI()
	if f.pattern != nil {
		if !f.pattern.MatchString(target) && !f.pattern.MatchString(r.URL.Path) {
			return false
		}
	} else if f.Path != "" && !strings.Contains(target, f.Path) && !strings.Contains(r.URL.Path, f.Path) {
		return false
	}
	return f.Object == "" || strings.EqualFold(f.Object, objectOf(o, r, segments))
}

var fromObject = regexp.MustCompile(`(?i)\bfrom\s+(\w+)`)

// objectInBody finds the object in what is sent: the type of a collection's first record, the object or query of a bulk job.
func objectInBody(r *http.Request) string {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return ""
		}
		if b, err = io.ReadAll(io.LimitReader(z, bodyMax)); err != nil {
			return ""
		}
	}
	var q struct {
		Object, Query string
		Records       []map[string]any
	}
	if json.Unmarshal(b, &q) != nil {
		return ""
	}
	if m := fromObject.FindStringSubmatch(q.Query); m != nil {
		return m[1]
	}
	if len(q.Records) > 0 {
		return typeOf(q.Records[0])
	}
	return q.Object
}

// objectOf tells which object a request is about.
func objectOf(o *Org, r *http.Request, segments []string) string {
	if q := r.URL.Query().Get("q"); q != "" {
		if m := fromObject.FindAllStringSubmatch(q, -1); m != nil {
			return m[0][1]
		}
	}
	last := lower(segments[max(len(segments)-1, 0)])
	if len(segments) > 3 && (last == "sobjects" && lower(segments[3]) == "composite" || lower(segments[3]) == "jobs" && (last == "ingest" || last == "query")) {
		return objectInBody(r)
	}
	for k, s := range segments {
		switch {
		case strings.EqualFold(s, "sobjects") && k+1 < len(segments):
			return segments[k+1]
		case (strings.EqualFold(s, "query") || strings.EqualFold(s, "ingest")) && k > 0 && strings.EqualFold(segments[k-1], "jobs") && k+1 < len(segments):
			return o.jobs.objectOf(segments[k+1])
		}
	}
	return ""
}

// apply lets the first fault that is due hit the request. A nil writer means that the reply has been given. done runs at the end.
func (s *faults) apply(o *Org, w http.ResponseWriter, r *http.Request, segments []string) (http.ResponseWriter, *http.Request, func()) {
	nothing := func() {}
	s.mu.Lock()
	var hit *Fault
	for _, f := range s.list {
		if f.matches(o, r, segments) && f.due() {
			h := *f
			hit = &h
			break
		}
	}
	s.mu.Unlock()
	if hit == nil {
		return w, r, nothing
	}
	if hit.Delay > 0 {
		select {
		case <-time.After(hit.Delay):
		case <-r.Context().Done():
		}
	}
	if hit.ExpireSession {
		o.ExpireSessions()
	}
	if hit.CommitDelay > 0 {
		r = r.WithContext(context.WithValue(r.Context(), commitDelay{}, hit.CommitDelay))
	}
	switch {
	case hit.DropBefore:
		panic(http.ErrAbortHandler)
	case hit.DropAfter:
		return &recorder{header: http.Header{}}, r, func() { panic(http.ErrAbortHandler) }
	case hit.Status != 0:
		body, kind := []byte(hit.Body), hit.ContentType
		if hit.Code != "" {
			body, kind = hit.inShape(segments)
		}
		if kind == "" {
			kind = "text/html; charset=UTF-8"
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(hit.Status)
		_, _ = w.Write(body)
		return nil, nil, nothing
	case hit.TruncateBody > 0:
		return &truncated{ResponseWriter: w, left: hit.TruncateBody, clean: hit.CleanEnd}, r, nothing
	}
	return w, r, nothing
}

// inShape writes Code and Message as the API under this path writes errors.
func (f *Fault) inShape(segments []string) (body []byte, kind string) {
	api := ""
	if len(segments) > 1 {
		api = lower(segments[1])
	}
	switch api {
	case "oauth2":
		body, _ = json.Marshal(map[string]string{"error": f.Code, "error_description": f.Message})
		return body, "application/json;charset=UTF-8"
	case "soap":
		return soapFault(f.Code, f.Message), "text/xml;charset=UTF-8"
	}
	return fail(f.Status, f.Code, f.Message, f.Fields...).json(), "application/json;charset=UTF-8"
}

// commitDelay is the key under which a request's context has the delay of its commit.
type commitDelay struct{}

// truncated lets the beginning of a body through.
type truncated struct {
	http.ResponseWriter
	left  int
	clean bool
}

func (t *truncated) WriteHeader(status int) {
	// The length would betray what is missing.
	t.Header().Del("Content-Length")
	t.ResponseWriter.WriteHeader(status)
}

func (t *truncated) Write(b []byte) (int, error) {
	t.Header().Del("Content-Length")
	if len(b) <= t.left {
		t.left -= len(b)
		return t.ResponseWriter.Write(b)
	}
	_, _ = t.ResponseWriter.Write(b[:t.left])
	t.left = 0
	if t.clean {
		return len(b), nil
	}
	if f, ok := t.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

func (t *truncated) Flush() {
	if f, ok := t.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// saveFault tells whether a fault hits the saving of a row.
func (tx *Tx) saveFault(operation string, x *object, id string, given assignments) *rowError {
	s := &tx.org.faults
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		if !f.Row || f.Operation != "" && f.Operation != operation || f.Object != "" && !strings.EqualFold(f.Object, x.name) || f.ID != "" && to18(f.ID) != id || !f.wants(x, given) {
			continue
		}
		if f.due() {
			return refuse(f.Code, f.Message, f.Fields...)
		}
	}
	return nil
}

// wants tells whether a save sets the field that the fault waits for.
func (f *Fault) wants(x *object, given assignments) bool {
	if f.Field == "" {
		return true
	}
	c, ok := given[x.byName[lower(f.Field)]]
	return ok && (f.Value == "" || fmt.Sprint(c.plainValue()) == f.Value)
}

// jobFault tells whether a bulk job of the object is to fail.
func (s *faults) jobFault(object string) (hit Fault, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		if f.FailJob && (f.Object == "" || strings.EqualFold(f.Object, object)) && f.due() {
			return *f, true
		}
	}
	return Fault{}, false
}
