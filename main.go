// Tandem keeps Salesforce and a marketing database in step. This file reads the settings once, builds the parts, and starts
// and stops them; what they do is theirs.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/tandem-sync/tandem/handlers/command"
	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/models/localpg"
	"github.com/tandem-sync/tandem/sync/engine"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/simorg"
	"github.com/tandem-sync/tandem/web"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	settings, err := command.ReadSettings()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	m := &parts{log: settings.Log()}
	slog.SetDefault(m.log)
	program := command.Program{
		Settings: settings, In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Open: m.open, Reach: m.reach, TestConnection: m.testConnection, CompareUser: m.compareUser, CheckLoginURL: engine.CheckLoginURL, Serve: m.serve,
		SimOrg: m.simOrg, SimOrgClientID: simorg.DefaultClientID, SimOrgClientSecret: simorg.DefaultClientSecret,
	}
	return program.Run(ctx, args)
}

// parts builds what the commands ask for.
type parts struct {
	log *slog.Logger
	db  *models.DB // nil before a database was opened
}

// open reaches the database, the named one or the private one, and brings its schema up to date.
func (m *parts) open(ctx context.Context, s command.Settings) (*models.DB, func(), error) {
	db, _, closeDB, err := m.openPool(ctx, s)
	return db, closeDB, err
}

func (m *parts) openPool(ctx context.Context, s command.Settings) (*models.DB, *pgxpool.Pool, func(), error) {
	if err := os.MkdirAll(filepath.Dir(s.SecretKeyFile), 0o755); err != nil { //nolint:gosec // the private PostgreSQL's user passes through it
		return nil, nil, nil, err
	}
	pool, closeAll, err := m.reach(ctx, s, "tandem")
	if err != nil {
		return nil, nil, nil, err
	}
	if err := models.CheckServer(ctx, pool); err != nil {
		closeAll()
		return nil, nil, nil, err
	}
	for _, migrate := range []func(context.Context, *pgxpool.Pool) error{models.Migrate, mirror.Migrate, engine.Migrate} {
		if err := migrate(ctx, pool); err != nil {
			closeAll()
			return nil, nil, nil, fmt.Errorf("bring the database up to date: %w", err)
		}
	}
	keys, err := models.LoadKey(s.SecretKeyFile)
	if err != nil {
		closeAll()
		return nil, nil, nil, err
	}
	db, err := models.Open(pool, keys)
	if err != nil {
		closeAll()
		return nil, nil, nil, err
	}
	m.db = db
	return db, pool, closeAll, nil
}

// reach gives connections to the database, the named one or the private one, as an application of that name.
func (m *parts) reach(ctx context.Context, s command.Settings, application string) (*pgxpool.Pool, func(), error) {
	url, letGo := s.DatabaseURL, func() {}
	if url == "" {
		server, err := localpg.Start(ctx, localpg.Config{DataDir: filepath.Join(s.DataDir, "postgresql"), Log: m.log})
		if err != nil {
			return nil, nil, err
		}
		url, letGo = server.URL(), func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if err := server.Stop(ctx); err != nil {
				m.log.Error("the private PostgreSQL did not stop", "error", err)
			}
		}
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		letGo()
		return nil, nil, fmt.Errorf("TANDEM_DATABASE_URL cannot be read: it takes postgres://user:password@host:port/database")
	}
	// Each piece holds a connection for its rows and one for its account; the loops, River and the pages need some beside.
	config.MaxConns = max(config.MaxConns, int32(2*s.Workers+16)) //nolint:gosec // at most 140
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = application
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		letGo()
		return nil, nil, err
	}
	return pool, func() { pool.Close(); letGo() }, nil
}

func (m *parts) testConnection(ctx context.Context, s command.Settings, c models.Connection) (models.Connection, error) {
	return m.tester(s).Test(ctx, c)
}

func (m *parts) compareUser(ctx context.Context, s command.Settings, c models.Connection, objects []models.Object, synced map[string][]string) (models.UserChange, error) {
	return m.tester(s).Compare(ctx, c, objects, synced)
}

func (m *parts) tester(s command.Settings) engine.Tester {
	return engine.Tester{AllowLocalOrg: s.AllowLocalOrg, Log: m.log, Count: func(ctx context.Context, calls int64) error {
		if m.db == nil {
			return nil
		}
		return m.db.NoteCalls(ctx, calls, models.Usage{})
	}}
}

// serve runs the web application, the worker, or both, until ctx ends or one of them fails.
func (m *parts) serve(ctx context.Context, s command.Settings, o command.ServeOptions) error {
	db, pool, closeDB, err := m.openPool(ctx, s)
	if err != nil {
		return err
	}
	if s.DatabaseURL == "" {
		m.log.Info("the tables are in a private PostgreSQL, for psql and others to reach", "url", pool.Config().ConnString())
	}
	defer closeDB()
	if s.AdminEmail != "" {
		if err := db.EnsureAdmin(ctx, s.AdminEmail, s.AdminPassword); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	if o.Worker {
		worker, err := engine.New(engine.Config{
			Pool: pool, Models: db, Mirror: mirror.New(pool), Log: m.log,
			AllowLocalOrg: s.AllowLocalOrg, Rest: s.Rest, Workers: s.Workers, PageRows: s.PageRows,
		})
		if err != nil {
			return err
		}
		group.Go(func() error { return worker.Run(ctx) })
	}
	if o.Web {
		tester := m.tester(s)
		listener, err := net.Listen("tcp", s.Listen)
		if err != nil {
			return fmt.Errorf("TANDEM_LISTEN is %q: %w", s.Listen, err)
		}
		// Port 0 means any: what people are told is the one that it became.
		s.Listen = listener.Addr().String()
		server, err := web.New(web.Config{
			Models: db, Pool: pool, PublicURL: s.URL(), Log: m.log, SimOrgURL: o.SimOrgURL, Rest: s.Rest.String(),
			CompareUser: tester.Compare, CountFilter: engine.Asker{Models: db, Tester: tester}.Count,
			TestConnection: tester.Test, Exchange: tester.Exchange, AuthorizeURL: engine.AuthorizeURL,
			CheckLoginURL: func(raw string) (string, error) { return engine.CheckLoginURL(raw, s.AllowLocalOrg) },
		})
		if err != nil {
			return err
		}
		url := s.URL()
		if token, made, err := db.SetupLink(ctx); err != nil {
			return err
		} else if made {
			url += "/set-up/" + token
		}
		group.Go(func() error { return server.Serve(ctx, listener) })
		o.Ready(url)
	}
	return group.Wait()
}

// sell makes the edits that somebody asks for in the simulated org, until ctx ends.
func (m *parts) sell(ctx context.Context, org *simorg.Org, edits <-chan command.SalesEdit) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-edits:
			if err := org.Update(e.Object, e.ID, e.Fields); err != nil {
				m.log.Debug("a simulated salesperson was refused", "error", err)
			}
		}
	}
}

// simOrg runs the simulated org on the listener.
func (m *parts) simOrg(ctx context.Context, l net.Listener, o command.SimOrgOptions) error {
	org, err := simorg.New(simorg.Config{
		Seed: o.Seed, Leads: o.Leads, WideLeads: o.WideLeads, Contacts: o.Contacts, Accounts: o.Accounts, Tasks: o.Tasks, Events: o.Events,
		StateFile: o.StateFile, Plain: o.Plain, Log: m.log,
	})
	if err != nil {
		return err
	}
	defer org.Close()
	if o.Rule != "" {
		// As an administrator of the org would: some of what is sent must be refused, or nobody would see how that looks.
		if _, err := org.AddValidationRule(simorg.ValidationRule{Object: "Lead", Name: "Hot_leads_have_a_phone", Condition: "Rating = 'Hot' AND Phone = null AND MobilePhone = null", Message: o.Rule, Field: "Phone"}); err != nil {
			return err
		}
	}
	server := &http.Server{Handler: org.Handler(), ReadHeaderTimeout: 10 * time.Second}
	if o.LifePerMinute > 0 {
		go org.Life(ctx, o.LifePerMinute)
	}
	go m.sell(ctx, org, o.Sales)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	soft, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := server.Shutdown(soft); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
