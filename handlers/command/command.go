// Package command is the command line: one file per command, the same work for a person at a terminal that the handlers do
// for one in a browser, over models. What needs Salesforce, the worker or a server comes from main as a func.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates/locale"
)

// Program is one run of the binary: its settings, its streams, and the parts that main lends to the commands.
type Program struct {
	Settings Settings
	In       io.Reader
	Out, Err io.Writer

	// Open reaches the database, starting the private one if none is named, brings its schema up to date and gives the
	// control plane. The returned func lets go of everything.
	Open func(ctx context.Context, s Settings) (*models.DB, func(), error)
	// Reach gives connections to the same database as an application of people's own has, under its name.
	Reach func(ctx context.Context, s Settings, application string) (*pgxpool.Pool, func(), error)
	// TestConnection signs in to Salesforce with a connection's credentials and gives it back with what was learnt.
	TestConnection func(ctx context.Context, s Settings, c models.Connection) (models.Connection, error)
	// CompareUser tells what the user of a tested connection sees less or more than the present one.
	CompareUser func(ctx context.Context, s Settings, c models.Connection, objects []models.Object, synced map[string][]string) (models.UserChange, error)
	// CheckLoginURL gives the normal form of a login address, or says why it is not one that may be used.
	CheckLoginURL func(raw string, allowLocal bool) (string, error)
	// Serve runs the web application, the worker, or both, until ctx ends.
	Serve func(ctx context.Context, s Settings, o ServeOptions) error
	// SimOrg runs the simulated org on the listener until ctx ends.
	SimOrg func(ctx context.Context, l net.Listener, o SimOrgOptions) error
	// What the simulated org accepts as its app.
	SimOrgClientID, SimOrgClientSecret string
}

// ServeOptions says which halves of the program to run.
type ServeOptions struct {
	Web, Worker bool
	SimOrgURL   string           // the simulated org that the demo runs beside, linked from its pages; empty elsewhere
	Ready       func(url string) // called once the web application answers
}

// SalesEdit is what a salesperson changes in the simulated org, at the moment at which somebody here does.
type SalesEdit struct {
	Object, ID string
	Fields     map[string]any
}

// SimOrgOptions are the sizes and habits of the simulated org.
type SimOrgOptions struct {
	Seed                                                int64
	Leads, WideLeads, Contacts, Accounts, Tasks, Events int
	LifePerMinute                                       int
	StateFile                                           string
	Plain                                               bool             // never compress
	Rule                                                string           // what a validation rule of leads says; empty: there is none
	Sales                                               <-chan SalesEdit // edits that the demo asks for; nil elsewhere
}

type command struct {
	name, args, does string
	run              func(p *Program, ctx context.Context, args []string) error
}

// commands is the table of contents of the command line.
var commands = []command{
	{"serve", "", "command.serve", serve(true, true)},
	{"web", "", "command.web", serve(true, false)},
	{"worker", "", "command.worker", serve(false, true)},
	{"demo", "", "command.demo", demo},
	{"simorg", "[--listen ADDRESS] [--leads N] …", "command.simorg", simorg},
	{"migrate", "", "command.migrate", migrate},
	{"connect", "--login-url URL --auth client-credentials|jwt …", "command.connect", connect},
	{"objects", "[list|enable|disable NAME...]", "command.objects", objects},
	{"sync", "[--wait]", "command.sync", syncNow},
	{"resync", "NAME [--wait]", "command.resync", resync},
	{"pause", "[NAME]", "command.pause", pause},
	{"resume", "[NAME]", "command.resume", resume},
	{"approve", "[--yes]", "command.approve", approve},
	{"verify", "[NAME...]", "command.verify", verify},
	{"status", "[--json]", "command.status", status},
	{"user", "add EMAIL --role ROLE | reset-password EMAIL", "command.user", user},
}

// usageError is a mistake in how a command was called; it is told with the exit code 2.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(key string, params ...string) error { return usageError{say(key, params...)} }

// errNotDone is the outcome of a command that has already said what went wrong.
var errNotDone = errors.New("not done")

// Run does what the arguments ask and gives the exit code: 0 done, 1 not done (the reason is on Err), 2 called wrongly.
func (p *Program) Run(ctx context.Context, args []string) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if name == "help" || len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
		p.help()
		return 0
	}
	for _, c := range commands {
		if c.name != name {
			continue
		}
		err := c.run(p, ctx, args)
		var usage usageError
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errNotDone):
			return 1
		case errors.As(err, &usage):
			fmt.Fprintf(p.Err, "tandem %s: %s\n", name, usage.text)
			return 2
		case errors.Is(err, context.Canceled) && ctx.Err() != nil:
			fmt.Fprintln(p.Err, say("command.interrupted"))
			return 130
		default:
			fmt.Fprintf(p.Err, "tandem %s: %s\n", name, sentence(err))
			return 1
		}
	}
	fmt.Fprintln(p.Err, say("command.unknown", "name", name))
	return 2
}

func (p *Program) help() {
	fmt.Fprintln(p.Out, say("command.about"))
	fmt.Fprintln(p.Out)
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(w, "  tandem %s %s\t%s\n", c.name, c.args, say(c.does))
	}
	w.Flush()
	fmt.Fprintf(p.Out, "\n%s\n", say("command.settings"))
	w = tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	for _, s := range settingsTable() {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.name, s.value, say(s.does))
	}
	w.Flush()
}

// say gives a sentence of the catalogue in the terminal's language.
func say(key string, params ...string) string {
	return terminal().T(key, params...)
}

func terminal() *locale.Locale {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			return locale.For(v)
		}
	}
	return locale.For("en")
}

// sentence turns an error into what a person reads.
func sentence(err error) string {
	var e *models.Error
	if errors.As(err, &e) {
		return terminal().Error(err)
	}
	return err.Error()
}

// flags makes the flag set of a command. Its errors are told by Run, once.
func flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parse reads flags wherever they stand among the arguments, and gives the arguments that are no flags.
func parse(f *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, usageError{flagList(f)}
			}
			return nil, usageError{err.Error()}
		}
		args = f.Args()
		if len(args) == 0 {
			return rest, nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}

func flagList(f *flag.FlagSet) string {
	var b strings.Builder
	f.SetOutput(&b)
	f.PrintDefaults()
	f.SetOutput(io.Discard)
	return strings.TrimRight(b.String(), "\n")
}

// actor names the person at the terminal in the audit log.
func actor() string {
	if u := os.Getenv("SUDO_USER"); u != "" {
		return u + " (terminal)"
	}
	if u := os.Getenv("USER"); u != "" {
		return u + " (terminal)"
	}
	return "terminal"
}

// with opens the database for one command and closes it after.
func (p *Program) with(ctx context.Context, do func(*models.DB) error) error {
	db, closeDB, err := p.Open(ctx, p.Settings)
	if err != nil {
		return err
	}
	defer closeDB()
	return do(db)
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Host
}

func ignoreNotFound(err error) error {
	if errors.Is(err, models.ErrNotFound) {
		return nil
	}
	return err
}
