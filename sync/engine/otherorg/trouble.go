package otherorg

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"
)

// Trouble is something that goes wrong in the org or on the way to it: with requests, with the saving of single records, or with a job.
type Trouble struct {
	Where       string // of requests: what is hit, a part of "METHOD /path"
	Skip, Times int    // let so many pass, hit so many; Times 0 is for ever

	// What happens to a request.
	Wait      time.Duration // it takes so long
	Late      time.Duration // it commits so much later than it began, under the stamp of its beginning
	NoSession bool          // every session has ended when it comes
	CutBefore bool          // the connection is cut, and nothing was done
	CutAfter  bool          // it was done, and the connection is cut before a reply
	Ghost     bool          // the connection is cut at once, and it is done when Haunt is called
	Status    int           // the reply, instead of doing anything: Code and Message as an error of the API, or Page as it is
	Code      string
	Message   string
	Page      string
	CutAt     int  // so many bytes of the reply come
	Quietly   bool // and then it ends as if it were whole

	// Row hits the saving of a record instead: refused with Code and Message. ID and Field narrow it.
	Row       bool
	Object    string
	ID, Field string

	// Breaks hits an ingest job: it fails with Message after so many rows.
	Breaks bool
	Rows   int

	seen, hits int
}

// Break lets something go wrong.
func (o *Org) Break(trouble Trouble) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.troubles = append(o.troubles, &trouble)
}

// Mend ends all trouble.
func (o *Org) Mend() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.troubles = nil
}

// Haunt does what was asked for by requests whose connection was cut long ago.
func (o *Org) Haunt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clock = time.Now().UTC().Truncate(time.Second)
	for _, ghost := range o.ghosts {
		ghost()
	}
	o.ghosts = nil
}

// due counts what could be hit, and tells whether it is.
func (t *Trouble) due() bool {
	t.seen++
	if t.seen <= t.Skip || t.Times > 0 && t.hits >= t.Times {
		return false
	}
	t.hits++
	return true
}

func (o *Org) met(is func(*Trouble) bool) (Trouble, bool) {
	for _, t := range o.troubles {
		if is(t) && t.due() {
			return *t, true
		}
	}
	return Trouble{}, false
}

// rowTrouble tells whether the saving of a record is hit. fields are what is set; nil for a deletion.
func (o *Org) rowTrouble(d *object, id string, fields map[string]any) *refusal {
	t, hit := o.met(func(t *Trouble) bool {
		if !t.Row || t.Object != "" && t.Object != d.name || t.ID != "" && t.ID != id {
			return false
		}
		_, set := fields[t.Field]
		return t.Field == "" || set
	})
	if !hit {
		return nil
	}
	no := &refusal{code: t.Code, message: t.Message}
	if t.Field != "" {
		no.fields = []string{t.Field}
	}
	return no
}

func (o *Org) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, _ = io.ReadAll(z)
		}
	}
	began := time.Now()
	o.mu.Lock()
	t, hit := o.met(func(t *Trouble) bool {
		return !t.Row && !t.Breaks && strings.Contains(r.Method+" "+r.URL.Path, t.Where)
	})
	o.mu.Unlock()
	if hit {
		time.Sleep(t.Wait + t.Late)
		switch {
		case t.NoSession:
			o.EndSessions()
		case t.CutBefore:
			panic(http.ErrAbortHandler)
		case t.Ghost:
			later := r.Clone(context.WithoutCancel(r.Context()))
			o.mu.Lock()
			o.ghosts = append(o.ghosts, func() { o.answer(httptest.NewRecorder(), later, body) })
			o.mu.Unlock()
			panic(http.ErrAbortHandler)
		case t.Status != 0 && t.Code != "":
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(t.Status)
			_ = json.NewEncoder(w).Encode([]map[string]string{{"errorCode": t.Code, "message": t.Message}})
			return
		case t.Status != 0:
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(t.Status)
			_, _ = io.WriteString(w, t.Page)
			return
		}
	}
	answer := httptest.NewRecorder()
	o.mu.Lock()
	if o.clock = time.Now(); t.Late > 0 {
		o.clock = began
	}
	o.clock = o.clock.UTC().Truncate(time.Second)
	o.answer(answer, r, body)
	o.mu.Unlock()
	if t.CutAfter {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	sent := answer.Body.Bytes()
	if t.CutAt > 0 && len(sent) > t.CutAt {
		_, _ = w.Write(slices.Clone(sent[:t.CutAt]))
		if t.Quietly {
			return
		}
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(sent)
}
