// Package web is what is true for every request: the server, the one table of addresses, who may go where, sessions, and how
// an error becomes a page.
package web

import (
	"context"
	"encoding/gob"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/handlers"
	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/static"
	"github.com/tandem-sync/tandem/templates"
)

// Config is what the web application needs. What speaks to Salesforce is lent by main.
type Config struct {
	Models    *models.DB
	Pool      *pgxpool.Pool
	PublicURL string // how browsers reach it; https makes cookies secure
	SimOrgURL string // the demo's simulated org; empty elsewhere
	Rest      string // the rest between two cycles, for the settings page
	Log       *slog.Logger

	TestConnection func(ctx context.Context, c models.Connection) (models.Connection, error)
	AuthorizeURL   func(c models.Connection, redirectURL, state, verifier string) (string, error)
	Exchange       func(ctx context.Context, c models.Connection, redirectURL, code, verifier string) (models.Connection, error)
	CheckLoginURL  func(raw string) (string, error)
	CompareUser    func(ctx context.Context, c models.Connection, objects []models.Object, synced map[string][]string) (models.UserChange, error)
	CountFilter    func(ctx context.Context, object, filter string) (meet, all int, err error)
}

// Server is the web application.
type Server struct {
	config   Config
	sessions *scs.SessionManager
	screens  *handlers.Handlers
	live     *live
	handler  http.Handler
}

const (
	sessionLife   = 3 * 24 * time.Hour
	formMax       = 1 << 20
	shutdownSoft  = 5 * time.Second
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
)

// New builds the web application; Serve runs it.
func New(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	gob.Register([]string{})
	s := &Server{config: c, sessions: scs.New()}
	s.sessions.Store = c.Models.Sessions()
	// No idle timeout: with one, every request writes its session back, and of two at once the later would undo what the
	// earlier did, up to a sign-out. A page that refreshes itself asks all the time.
	s.sessions.Lifetime = sessionLife
	s.sessions.Cookie.Name = "tandem"
	s.sessions.Cookie.HttpOnly = true
	// Lax, not strict: Salesforce sends the browser back here, and that visit must belong to the session.
	s.sessions.Cookie.SameSite = http.SameSiteLaxMode
	s.sessions.Cookie.Secure = strings.HasPrefix(c.PublicURL, "https://")
	s.sessions.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) { s.problem(w, r, err) }
	s.screens = &handlers.Handlers{
		Models: c.Models, Sessions: s.sessions, PublicURL: c.PublicURL, SimOrgURL: c.SimOrgURL, Rest: c.Rest,
		TestConnection: c.TestConnection, AuthorizeURL: c.AuthorizeURL, Exchange: c.Exchange, CheckLoginURL: c.CheckLoginURL,
		CompareUser: c.CompareUser, CountFilter: c.CountFilter,
	}
	s.live = newLive(c.Pool, c.Log)
	s.handler = s.routes()
	return s, nil
}

// Handler serves every request.
func (s *Server) Handler() http.Handler { return s.handler }

// routes is the table of addresses, by who may go there.
func (s *Server) routes() http.Handler {
	h, do := s.screens, s.screen
	r := chi.NewRouter()
	r.Use(middleware.RequestID, s.log, s.recover, headers)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) { s.problem(w, r, models.ErrNotFound) })

	// For machines.
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("alive\n")) })
	r.Get("/readyz", s.ready)
	r.Handle("/metrics", metrics(s.config.Models, s.config.Log))
	r.Handle(static.Prefix+"*", static.Handler())

	r.Group(func(r chi.Router) {
		// A form's answer must come from a page of ours. SameSite cookies and the browser's own word make tokens needless.
		guard := http.NewCrossOriginProtection()
		guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.problem(w, r, &models.Error{Code: models.CodeForbidden, Message: "error.cross_origin"})
		}))
		r.Use(guard.Handler, middleware.RequestSize(formMax))

		// Live news hold a connection open: they read the session, and never write it.
		r.With(s.readSession, h.WithUser, s.signedIn).Get(templates.URLLive, s.live.ServeHTTP)

		r.Group(func(r chi.Router) {
			r.Use(s.sessions.LoadAndSave, h.WithUser)

			// Who is not signed in.
			r.Get(templates.URLSignIn, do(h.ShowSignIn))
			r.With(s.limit(10)).Post(templates.URLSignIn, do(h.SignIn))
			r.Post(templates.URLSignOut, do(h.SignOut))
			r.Get("/set-up/{token}", do(h.ShowSetUp))
			r.With(s.limit(10)).Post("/set-up/{token}", do(h.SetUp))
			r.Get("/reset-password/{token}", do(h.ShowReset))
			r.With(s.limit(10)).Post("/reset-password/{token}", do(h.Reset))

			r.Group(func(r chi.Router) {
				r.Use(s.signedIn)

				// Everybody who is signed in looks.
				r.Get(templates.URLOverview, do(h.ShowOverview))
				r.Get(templates.URLObjects, do(h.ShowObjects))
				r.Get("/objects/{name}", do(h.ShowObject))
				r.Get("/objects/{name}/fields", do(h.ShowFields))
				r.Get(templates.URLHistory, do(h.ShowHistory))
				r.Get(templates.URLHistory+".csv", do(h.ExportHistory))
				r.Get("/runs/{id}", do(h.ShowRun))
				r.Get(templates.URLErrors, do(h.ShowErrors))
				r.Get(templates.URLErrorsCSV, do(h.ExportErrors))
				r.Get(templates.URLConflicts, do(h.ShowConflicts))
				r.Get(templates.URLConflictsCSV, do(h.ExportConflicts))
				r.Get(templates.URLApprovals, do(h.ShowApprovals))
				r.Get(templates.URLRecords, do(h.ShowRecords))
				r.Get(templates.URLRecords+"/{name}/{id}", do(h.ShowRecord))
				r.Get(templates.URLConnection, do(h.ShowConnection))
				r.Get(templates.URLSettings, do(h.ShowSettings))
				r.Post(templates.URLLanguage, do(h.SetLanguage))

				// Operators steer.
				r.Group(func(r chi.Router) {
					r.Use(s.may(models.RoleOperator))
					r.Post(templates.URLSync, do(h.RequestSync))
					r.Post(templates.URLPause, do(h.Pause))
					r.Post(templates.URLResume, do(h.Resume))
					r.With(s.limit(30)).Post("/objects/{name}/resync", do(h.RequestResync))
					r.With(s.limit(30)).Post("/objects/{name}/check", do(h.RequestCheck))
					r.With(s.limit(30)).Post("/objects/{name}/mend", do(h.RequestMend))
					r.Post("/objects/{name}/pause", do(h.PauseObject))
					r.Post("/objects/{name}/resume", do(h.ResumeObject))
					r.Post("/runs/{id}/cancel", do(h.CancelRun))
					r.Post(templates.URLNoticesSeen, do(h.SeeNotices))
					r.Post(templates.URLErrorsRetry, do(h.RetryRefused))
					r.Post(templates.URLErrorsDrop, do(h.DropRefused))
					r.Post(templates.URLConflictsSeen, do(h.SeeConflicts))
					r.Post(templates.URLConflicts+"/{id}", do(h.OverturnConflict))
					r.Get(templates.URLRecords+"/{name}/new", do(h.ShowNewRecord))
					r.Post(templates.URLRecords+"/{name}/new", do(h.SaveNewRecord))
					r.Get(templates.URLRecords+"/{name}/lookup/{column}", do(h.LookUp))
					r.Get(templates.URLRecords+"/{name}/{id}/edit", do(h.ShowEditRecord))
					r.Post(templates.URLRecords+"/{name}/{id}/edit", do(h.SaveRecord))
				})

				// Admins decide what syncs, with which credentials, and who is here.
				r.Group(func(r chi.Router) {
					r.Use(s.may(models.RoleAdmin))
					r.With(s.limit(10)).Post(templates.URLConnection, do(h.SaveConnection))
					r.Get(templates.URLCallback, do(h.FinishConnection))
					r.Post(templates.URLDisconnect, do(h.Disconnect))
					r.Post(templates.URLConnection+"/user/{verb}", do(h.AnswerUser))
					r.With(s.limit(10)).Post(templates.URLLook, do(h.LookForObjects))
					r.Post("/objects/{name}/fields", do(h.SaveFields))
					r.With(s.limit(30)).Post("/objects/{name}/filter", do(h.SaveFilter))
					r.Post(templates.URLApprovals+"/{id}", do(h.AnswerApproval))
					r.Post(templates.URLApprovalAgain, do(h.AskFirstSendAgain))
					r.Get("/objects/{name}/settings", do(h.ShowObjectSettings))
					r.Post("/objects/{name}/settings", do(h.SaveObjectSettings))
					r.Get(templates.URLAudit, do(h.ShowAudit))
					r.Get(templates.URLAuditCSV, do(h.ExportAudit))
					r.Post("/objects/{name}/enable", do(h.EnableObject))
					r.Post("/objects/{name}/disable", do(h.DisableObject))
					r.Post(templates.URLSyncSettings, do(h.SetSync))
					r.Post(templates.URLInvite, do(h.Invite))
					r.Post("/settings/people/{id}/role", do(h.SetRole))
					r.Post("/settings/people/{id}/reset", do(h.ResetPerson))
					r.Post("/settings/people/{id}/remove", do(h.RemovePerson))
				})
			})
		})
	})
	return r
}

// Serve answers on the listener until ctx ends, then lets requests under way end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	listening := make(chan struct{})
	go func() { defer close(listening); s.live.run(ctx) }()
	server := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		stop()
		<-listening
		return err
	case <-ctx.Done():
	}
	s.live.close()
	soft, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownSoft)
	defer cancel()
	if err := server.Shutdown(soft); err != nil {
		_ = server.Close()
	}
	<-listening
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ready answers whether the database can be reached and knows our tables.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if _, err := s.config.Models.Status(ctx); err != nil {
		s.config.Log.Warn("not ready", "error", err)
		http.Error(w, "the database cannot be reached, or its schema is not up to date", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}

// limit bounds how often one address may do something in a minute.
func (s *Server) limit(perMinute int) func(http.Handler) http.Handler {
	return httprate.LimitBy(perMinute, time.Minute, byAddress, httprate.WithLimitHandler(func(w http.ResponseWriter, r *http.Request) {
		s.problem(w, r, &models.Error{Code: models.CodeUnavailable, Message: "error.too_many"})
	}))
}

// byAddress tells who asks by the address that the connection comes from. What a header says of it anybody can write.
func byAddress(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return r.URL.Path + " " + host, nil
}
