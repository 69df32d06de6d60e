package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models/localpg/pgtest"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// The tests of this file run the program as people do: built, as processes of its own, over HTTP and rows.

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tandem-bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tandem")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", &buildError{string(out), err}
	}
	return path, nil
})

type buildError struct {
	out string
	err error
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + e.out }

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// installation is one database with a program's settings.
type installation struct {
	t    *testing.T
	pool *pgxpool.Pool
	env  []string
}

func install(t *testing.T, env ...string) *installation {
	t.Helper()
	pool := pgtest.Pool(t, nil)
	dir := t.TempDir()
	env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=en_US.UTF-8", "TANDEM_DATABASE_URL=" + pool.Config().ConnString(),
		"TANDEM_DATA_DIR=" + dir, "TANDEM_LISTEN=127.0.0.1:0", "TANDEM_ALLOW_LOCAL_ORG=true", "TANDEM_REST=1s",
	}, env...)
	return &installation{t, pool, env}
}

func (i *installation) command(args ...string) *exec.Cmd {
	i.t.Helper()
	path, err := binary()
	if err != nil {
		i.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = i.env
	return cmd
}

// run runs a command to its end and gives what it printed.
func (i *installation) run(args ...string) string {
	i.t.Helper()
	out, err := i.command(args...).CombinedOutput()
	if err != nil {
		i.t.Fatalf("tandem %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// start starts a command that goes on; lines is what it prints.
func (i *installation) start(args ...string) (cmd *exec.Cmd, lines <-chan string) {
	i.t.Helper()
	cmd = i.command(args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		i.t.Fatal(err)
	}
	log := &tail{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if i.t.Failed() {
			i.t.Logf("log of tandem %s:\n%s", strings.Join(args, " "), log.String())
		}
	})
	said := make(chan string, 100)
	go func() {
		defer close(said)
		s := bufio.NewScanner(out)
		for s.Scan() {
			said <- s.Text()
		}
	}()
	return cmd, said
}

// tail keeps the end of a log.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if len(l.buf) > 64<<10 {
		l.buf = l.buf[len(l.buf)-32<<10:]
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf)
}

// connect stores the simulated org's credentials with the command line.
func (i *installation) connect(url string) {
	i.t.Helper()
	secret := filepath.Join(i.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(simorg.DefaultClientSecret+"\n"), 0o600); err != nil {
		i.t.Fatal(err)
	}
	i.run("connect", "--login-url", url, "--auth", "client-credentials", "--client-id", simorg.DefaultClientID, "--client-secret-file", secret)
}

// until waits for something that rows will show.
func (i *installation) until(what, sql string, args ...any) {
	i.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		var is bool
		err := i.pool.QueryRow(context.Background(), sql, args...).Scan(&is)
		if err == nil && is {
			return
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("waited in vain until %s (%v)", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type status struct {
	Cycle struct {
		Number int64
		State  string
	}
	Objects []struct {
		Name, Direction, State string
		Records                int64
		Error                  string
	}
	Connection struct{ State, Org, User string }
}

func (i *installation) status() status {
	i.t.Helper()
	cmd := i.command("status", "--json")
	out, err := cmd.Output()
	if err != nil {
		i.t.Fatalf("tandem status --json: %v", err)
	}
	var s status
	if err := json.Unmarshal(out, &s); err != nil {
		i.t.Fatalf("tandem status --json printed %q: %v", out, err)
	}
	return s
}

func startOrg(t *testing.T, c simorg.Config) (*simorg.Org, string) {
	t.Helper()
	org, err := simorg.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(org.Handler())
	t.Cleanup(func() { server.Close(); org.Close() })
	return org, server.URL
}

// Killed without warning in the middle of a first sync, again and again, the program goes on from the last page that
// committed, loses no record and doubles none; and within ten seconds of SIGTERM it is gone.
func TestKilledInTheMiddleOfAFirstSync(t *testing.T) {
	t.Parallel()
	org, url := startOrg(t, simorg.Config{Seed: 11, Leads: 200_000, Contacts: 3_000, Tasks: 3_000, Events: 1_000})
	i := install(t, "TANDEM_PAGE_ROWS=5000")
	i.connect(url)
	for kill := 1; kill <= 3; kill++ {
		worker, _ := i.start("worker")
		i.until("some pages more committed", `SELECT count(*) >= $1 FROM mirror.load_pages p JOIN mirror.loads l ON l.id = p.load_id WHERE l.object = 'Lead' AND p.done_at IS NOT NULL`, kill*5)
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait()
	}
	if s := i.status(); s.Connection.State != "connected" {
		t.Errorf("the connection is %q after the kills", s.Connection.State)
	}
	worker, _ := i.start("worker")
	i.until("a whole cycle ended", `SELECT EXISTS (SELECT FROM admin.cycles WHERE ended_at IS NOT NULL)`)
	var rows, ids int
	if err := i.pool.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT sfid) FROM salesforce.lead`).Scan(&rows, &ids); err != nil {
		t.Fatal(err)
	}
	want := 0
	if err := org.Each("Lead", true, func(map[string]any) error { want++; return nil }); err != nil {
		t.Fatal(err)
	}
	if rows != want || ids != want {
		t.Errorf("the mirror has %d leads with %d ids, the org has %d", rows, ids, want)
	}
	asked := time.Now()
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("after SIGTERM the worker ended with %v", err)
	}
	if took := time.Since(asked); took > 10*time.Second {
		t.Errorf("after SIGTERM the worker took %s", took)
	}
}

// The command line alone connects, follows and steers.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	org, url := startOrg(t, simorg.Config{Seed: 3, Leads: 300, Contacts: 200, Tasks: 300, Events: 100})
	i := install(t, "TANDEM_REST=1h")
	if s := i.status(); s.Connection.State != "not-connected" || s.Cycle.State != "stopped" {
		t.Errorf("before connecting: connection %q, cycle %q", s.Connection.State, s.Cycle.State)
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("no such secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := i.command("connect", "--login-url", url, "--auth", "client-credentials", "--client-id", simorg.DefaultClientID, "--client-secret-file", wrong).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "invalid client credentials") || strings.Contains(string(out), "no such secret") {
		t.Errorf("a wrong secret: %v %s, want Salesforce's words and never the secret", err, out)
	}
	i.connect(url)
	i.start("worker")
	i.run("sync", "--wait")
	s := i.status()
	if s.Connection.State != "connected" || len(s.Objects) != 12 {
		t.Errorf("after the first cycle: %+v", s)
	}
	for _, o := range s.Objects {
		if o.State != "in-sync" || int(o.Records) != org.Count(o.Name) {
			t.Errorf("%s: %s with %d records (%s), want in-sync with %d", o.Name, o.State, o.Records, o.Error, org.Count(o.Name))
		}
	}
	i.run("pause")
	if s := i.status(); s.Cycle.State != "paused" {
		t.Errorf("after pause the cycle is %q", s.Cycle.State)
	}
	i.run("resume")
	i.run("resync", "Contact", "--wait")
	i.run("objects", "disable", "Event")
	if out := i.run("objects", "list"); !strings.Contains(out, "Event") {
		t.Errorf("objects list: %s", out)
	}
	if out := i.run("user", "add", "pat@example.com", "--role", "viewer"); !strings.Contains(out, "/reset-password/") {
		t.Errorf("user add printed %q, want a link", out)
	}
	if out, err := i.command("resync", "Nonsense").CombinedOutput(); err == nil {
		t.Errorf("resync of an object that is not there: %s, want it to fail", out)
	}
}

// A wrong setting stops the start with one line that names it, its value and what it takes.
func TestAWrongSettingIsOneLine(t *testing.T) {
	t.Parallel()
	i := install(t, "TANDEM_REST=five minutes")
	out, err := i.command("status").CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err == nil || strings.Contains(text, "\n") || !strings.Contains(text, "TANDEM_REST") || !strings.Contains(text, "five minutes") || !strings.Contains(text, "5m") {
		t.Errorf("got %v and %q", err, text)
	}
}

var _ io.Writer = (*tail)(nil)
