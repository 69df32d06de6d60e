package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/tandem-sync/tandem/models"
)

// The demo's sign-in. It guards nothing but simulated people on a loopback address.
const (
	demoEmail    = "demo@tandem.example"
	demoPassword = "peas-and-carrots"
	demoRest     = 20 * time.Second
	demoLife     = 60
	// demoMarketing is how many edits a minute people make on this side.
	demoMarketing = 20
)

// demo runs a simulated org with people at work in it and Tandem beside it, connected. Both go on where they were at the next start.
func demo(p *Program, ctx context.Context, args []string) error {
	f := flags("demo")
	o := SimOrgOptions{LifePerMinute: demoLife}
	f.IntVar(&o.Leads, "leads", 12_000, say("simorg.leads"))
	f.IntVar(&o.Contacts, "contacts", 6_000, say("simorg.contacts"))
	f.IntVar(&o.Tasks, "tasks", 40_000, say("simorg.tasks"))
	f.IntVar(&o.Events, "events", 12_000, say("simorg.events"))
	f.IntVar(&o.LifePerMinute, "life", demoLife, say("simorg.life"))
	marketing := f.Int("marketing", demoMarketing, say("demo.marketing"))
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("command.no_arguments", "got", rest[0])
	}
	s := p.Settings
	s.AllowLocalOrg = true
	if s.DataDir == defaultDataDir() {
		s.DataDir = filepath.Join(s.DataDir, "demo")
		s.SecretKeyFile = filepath.Join(s.DataDir, "secret.key")
	}
	if !s.restGiven() {
		s.Rest = demoRest
	}
	if s.AdminEmail == "" {
		s.AdminEmail, s.AdminPassword = demoEmail, demoPassword
	}
	p.Settings = s

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	db, closeDB, err := p.Open(ctx, s)
	if err != nil {
		return err
	}
	defer closeDB()
	l, err := demoListener(ctx, db)
	if err != nil {
		return err
	}
	o.Rule = say("demo.rule")
	o.Seed, o.StateFile = 1, filepath.Join(s.DataDir, "simorg.journal")
	sales := make(chan SalesEdit)
	o.Sales = sales
	orgEnded := make(chan error, 1)
	go func() {
		err := p.SimOrg(ctx, l, o)
		if err != nil && ctx.Err() == nil {
			stop(err)
		}
		orgEnded <- err
	}()
	org := "http://" + l.Addr().String()
	c := models.Connection{LoginURL: org, Auth: models.AuthClientCredentials, ClientID: p.SimOrgClientID, ClientSecret: models.NewSecret(p.SimOrgClientSecret)}
	if err := p.connect(ctx, db, c, false); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	teamEnded := make(chan error, 1)
	go func() { teamEnded <- p.marketing(ctx, db, s, *marketing, sales) }()
	err = p.Serve(ctx, s, ServeOptions{Web: true, Worker: true, SimOrgURL: org, Ready: func(url string) {
		fmt.Fprintln(p.Out, say("demo.ready", "url", url, "email", s.AdminEmail, "password", s.AdminPassword, "org", org, "command", statusCommand(s)))
	}})
	stop(nil)
	return errors.Join(err, <-teamEnded, <-orgEnded)
}

// statusCommand is how somebody in another terminal looks at the demo, whose data are not where this program would look for them.
func statusCommand(s Settings) string {
	command := os.Args[0] + " status"
	if s.DatabaseURL == "" {
		command = "TANDEM_DATA_DIR=" + s.DataDir + " " + command
	}
	return command
}

// demoListener listens where the org listened the last time, if that is free, so that what the browser has open still works.
func demoListener(ctx context.Context, db *models.DB) (net.Listener, error) {
	var lc net.ListenConfig
	if c, err := db.Connection(ctx); err == nil {
		if l, err := lc.Listen(ctx, "tcp", hostOf(c.LoginURL)); err == nil {
			return l, nil
		}
	}
	if l, err := lc.Listen(ctx, "tcp", "127.0.0.1:8090"); err == nil {
		return l, nil
	}
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}
