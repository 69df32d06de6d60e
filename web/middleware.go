package web

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/tandem-sync/tandem/handlers"
	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

// screen turns a handler that returns its error into one that the router takes. This is the one place where errors become pages.
func (s *Server) screen(do func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := do(w, r); err != nil {
			s.problem(w, r, err)
		}
	}
}

var statuses = map[models.ErrorCode]int{
	models.CodeInvalid: http.StatusUnprocessableEntity, models.CodeConflict: http.StatusConflict, models.CodeNotFound: http.StatusNotFound,
	models.CodeForbidden: http.StatusForbidden, models.CodeRefused: http.StatusBadGateway, models.CodeUnavailable: http.StatusServiceUnavailable,
}

// problem shows an error as a page. What is no refusal of ours is logged, and told without its insides.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) {
	l := handlers.Locale(r)
	status, message, ours := http.StatusInternalServerError, l.T("error.internal"), true
	var e *models.Error
	switch {
	case errors.As(err, &e):
		status, message = statuses[e.Code], l.Error(e)
		if e.Message == "error.too_many" {
			status = http.StatusTooManyRequests
		}
	case errors.Is(err, models.ErrNotFound):
		status, message = http.StatusNotFound, l.T("error.not_found")
	case r.Context().Err() != nil:
		return // nobody waits for the answer any more
	default:
		ours = false
		s.config.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "request", middleware.GetReqID(r.Context()), "error", err)
	}
	p := s.screens.ProblemPage(r, ours)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := templates.Problem(p, message).Render(r.Context(), w); err != nil {
		s.config.Log.Warn("an error page could not be written", "error", err)
	}
}

// signedIn lets only people through; others go to the sign-in.
func (s *Server) signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handlers.User(r) == nil {
			http.Redirect(w, r, templates.URLSignIn, http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// may lets only people of a role through.
func (s *Server) may(role models.Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u := handlers.User(r); u == nil || !u.Role.May(role) {
				s.problem(w, r, handlers.ErrForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// readSession gives the request its session without writing it back: writing would buffer the answer, which a stream cannot have.
func (s *Server) readSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := ""
		if c, err := r.Cookie(s.sessions.Cookie.Name); err == nil {
			token = c.Value
		}
		ctx, err := s.sessions.Load(r.Context(), token)
		if err != nil {
			s.problem(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// headers are the same on every answer. The content policy allows nothing but our own files: no inline script, no inline style.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// log notes each request when it is answered. Queries are left out: links and codes that sign somebody in are in them, and
// in the last part of some paths.
func (s *Server) log(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		next.ServeHTTP(answer, r)
		s.config.Log.Debug("request", "method", r.Method, "path", loggedPath(r.URL.Path), "status", answer.Status(), "took", time.Since(began).Round(time.Millisecond), "request", middleware.GetReqID(r.Context()))
	})
}

func loggedPath(path string) string {
	for _, secret := range []string{"/set-up/", "/reset-password/"} {
		if len(path) > len(secret) && path[:len(secret)] == secret {
			return secret + "…"
		}
	}
	return path
}

// recover turns a panic into an error page.
func (s *Server) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // the server compares it so, too
				panic(v)
			}
			s.config.Log.Error("a request panicked", "path", loggedPath(r.URL.Path), "panic", fmt.Sprint(v), "trace", string(debug.Stack()))
			s.problem(w, r, fmt.Errorf("panic: %v", v))
		}()
		next.ServeHTTP(w, r)
	})
}
