// Package handlers has one file per screen. A handler is five moves: read the form, check it, call one thing, redirect, or
// render again with the error. It returns its error; web turns that into a page.
package handlers

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/a-h/templ"
	"github.com/alexedwards/scs/v2"
	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/static"
	"github.com/tandem-sync/tandem/templates"
	"github.com/tandem-sync/tandem/templates/locale"
)

// Handlers are the screens, over the control plane. What needs Salesforce is lent by main.
type Handlers struct {
	Models    *models.DB
	Sessions  *scs.SessionManager
	PublicURL string
	SimOrgURL string // the demo's simulated org; empty elsewhere
	Rest      string

	TestConnection func(ctx context.Context, c models.Connection) (models.Connection, error)
	AuthorizeURL   func(c models.Connection, redirectURL, state, verifier string) (string, error)
	Exchange       func(ctx context.Context, c models.Connection, redirectURL, code, verifier string) (models.Connection, error)
	CheckLoginURL  func(raw string) (string, error)
	// CompareUser tells what the user of a tested connection sees less or more than the present one.
	CompareUser func(ctx context.Context, c models.Connection, objects []models.Object, synced map[string][]string) (models.UserChange, error)
	// CountFilter has Salesforce count the records of an object: those that meet a filter, and all.
	CountFilter func(ctx context.Context, object, filter string) (meet, all int, err error)
}

const (
	sessionUser  = "user"
	sessionMark  = "mark" // of the password that it was begun with
	sessionFlash = "flash"
	cookieLang   = "language"
	yearSeconds  = 365 * 24 * 3600
)

// ErrForbidden is the answer to somebody who may not do what they ask.
var ErrForbidden = &models.Error{Code: models.CodeForbidden, Message: "error.forbidden"}

type userKey struct{}

// WithUser gives the request the person that its session belongs to, if it belongs to one.
func (h *Handlers) WithUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := uuid.Parse(h.Sessions.GetString(r.Context(), sessionUser))
		if err == nil {
			if u, err := h.Models.User(r.Context(), id); err == nil && u.PasswordMark() == h.Sessions.GetString(r.Context(), sessionMark) {
				r = r.WithContext(context.WithValue(r.Context(), userKey{}, &u))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// User gives the person who asks; nil if nobody is signed in.
func User(r *http.Request) *models.User {
	u, _ := r.Context().Value(userKey{}).(*models.User)
	return u
}

func actor(r *http.Request) string {
	if u := User(r); u != nil {
		return u.Email
	}
	return ""
}

// Locale gives the language of the request: the person's choice, the browser's cookie, the browser's list.
func Locale(r *http.Request) *locale.Locale {
	if u := User(r); u != nil && u.Language != "" {
		return locale.For(u.Language)
	}
	if c, err := r.Cookie(cookieLang); err == nil {
		return locale.For(c.Value)
	}
	return locale.For(r.Header.Get("Accept-Language"))
}

// page gives what every page of somebody signed in needs. key is the title's sentence.
func (h *Handlers) page(r *http.Request, key, section string) (templates.Page, error) {
	p := h.PublicPage(r, key)
	p.Path, p.Here = section, r.URL.RequestURI()
	// What was kept for the person's next page is not for the script that refreshes the one before.
	if r.Header.Get("HX-Request") == "" {
		p.Flash = h.flashText(r, p.L)
	}
	var err error
	p.Status, err = h.status(r)
	return p, err
}

// status gives what there is to tell now, with the objects' labels in the reader's language.
func (h *Handlers) status(r *http.Request) (models.Status, error) {
	s, err := h.Models.Status(r.Context())
	for i := range s.Objects {
		name(Locale(r), &s.Objects[i])
	}
	return s, err
}

// name gives an object its labels in the reader's language.
func name(l *locale.Locale, o *models.ObjectStatus) {
	o.Label, o.LabelPlural = l.ObjectLabels(o.Name, o.Label, o.LabelPlural)
}

// object gives what an object's pages tell, with its labels in the reader's language.
func (h *Handlers) object(r *http.Request) (models.ObjectDetail, error) {
	o, err := h.Models.ObjectDetail(r.Context(), chi.URLParam(r, "name"))
	name(Locale(r), &o.ObjectStatus)
	return o, err
}

// ProblemPage gives what the page of an error needs. Who is signed in keeps the navigation beside a refusal of ours; where something broke, or
// nobody is signed in, there is no more to be asked of the database.
func (h *Handlers) ProblemPage(r *http.Request, ours bool) templates.Page {
	p := h.PublicPage(r, "error.title")
	if p.User == nil || !ours {
		p.User = nil
		return p
	}
	var err error
	if p.Status, err = h.status(r); err != nil {
		p.User = nil
	}
	return p
}

// PublicPage gives what every page needs, also before somebody signed in.
func (h *Handlers) PublicPage(r *http.Request, key string) templates.Page {
	l := Locale(r)
	return templates.Page{L: l, Title: l.T(key), User: User(r), SimOrgURL: h.SimOrgURL, Asset: static.URL}
}

// flash keeps a sentence for the next page: its key and parameters, so that it is told in the language of that page.
func (h *Handlers) flash(r *http.Request, key string, params ...string) {
	h.Sessions.Put(r.Context(), sessionFlash, append([]string{key}, params...))
}

// flashCount keeps a sentence that counts for the next page.
func (h *Handlers) flashCount(r *http.Request, key string, n int64) {
	h.Sessions.Put(r.Context(), sessionFlash, []string{key, flashCounts, strconv.FormatInt(n, 10)})
}

// flashCounts marks a kept sentence whose form goes by a number; no parameter has that name.
const flashCounts = "#"

func (h *Handlers) flashText(r *http.Request, l *locale.Locale) string {
	kept, _ := h.Sessions.Pop(r.Context(), sessionFlash).([]string)
	if len(kept) == 0 {
		return ""
	}
	if len(kept) == 3 && kept[1] == flashCounts {
		if n, err := strconv.ParseInt(kept[2], 10, 64); err == nil {
			return l.N(kept[0], n)
		}
	}
	return l.T(kept[0], kept[1:]...)
}

func render(w http.ResponseWriter, r *http.Request, status int, c templ.Component) error {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return c.Render(r.Context(), w)
}

func redirect(w http.ResponseWriter, r *http.Request, to string) error {
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// back goes to the page that the button was on.
func back(w http.ResponseWriter, r *http.Request, otherwise string) error {
	if from := r.Header.Get("Referer"); from != "" {
		if u, err := r.URL.Parse(from); err == nil && u.Host == r.Host {
			return redirect(w, r, u.RequestURI())
		}
	}
	return redirect(w, r, otherwise)
}

// refusal gives the refusal that an error is, if it is one that a person can do something about on the same page.
func refusal(err error) (*models.Error, bool) {
	var e *models.Error
	if errors.As(err, &e) {
		return e, true
	}
	return nil, false
}
