package localpg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Started with this set, the test binary is a program that uses the private server until its input ends.
const helperEnv = "TANDEM_LOCALPG_TEST_HELPER"

func TestMain(m *testing.M) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Start(context.Background(), Config{DataDir: dir})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("up adopted:", s.Adopted())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(context.Background()); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("down")
	os.Exit(0)
}

// folder is one that PostgreSQL's user can enter, also when the tests run as root.
func folder(t *testing.T) string {
	t.Helper()
	root := os.TempDir()
	if os.Geteuid() == 0 {
		root = "/var/tmp"
	}
	dir, err := os.MkdirTemp(root, "tandem-localpg-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Whatever a failed test left is given time to be gone.
		for range 100 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	return filepath.Join(dir, "data")
}

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// ask asks the server for one value, trying again while it comes back from a crash.
func ask(t *testing.T, s *Server, sql string) string {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		value, err := func() (v string, err error) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			conn, err := pgx.Connect(ctx, s.URL())
			if err != nil {
				return "", err
			}
			defer conn.Close(ctx)
			return v, conn.QueryRow(ctx, sql).Scan(&v)
		}()
		if err == nil {
			return value
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", sql, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func exec1(t *testing.T, s *Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "pg", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func waitGone(t *testing.T, what string, pid int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !gone(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s (%d) is still there", what, pid)
		}
	}
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

type helper struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

func startHelper(t *testing.T, dir string, as *syscall.Credential) *helper {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if as != nil {
		// The test binary lies where only root may enter.
		text, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		self = filepath.Join(filepath.Dir(dir), "helper")
		if err := os.WriteFile(self, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Dir = "/"
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &helper{cmd, in, bufio.NewReader(out)}
}

func (h *helper) line(t *testing.T) string {
	t.Helper()
	text, err := h.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the helper said nothing more: %v", err)
	}
	return strings.TrimSpace(text)
}

// What was written is there at the second start, and after the last user nothing runs.
func TestSecondStartFindsTheData(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	began := time.Now()
	s := start(t, dir)
	first := time.Since(began)
	exec1(t, s, `CREATE TABLE t AS SELECT 'kept' AS v`)
	if got := ask(t, s, `SHOW data_checksums`); got != "on" {
		t.Errorf("data checksums are %s", got)
	}
	if got := ask(t, s, `SHOW listen_addresses`); got != "" {
		t.Errorf("the server listens on %q", got)
	}
	pid := postmaster(t, dir)
	stop(t, s)
	if !gone(pid) {
		t.Error("the server still runs after its only user stopped")
	}
	began = time.Now()
	s = start(t, dir)
	t.Logf("first start %s, second %s", first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	defer stop(t, s)
	if got := ask(t, s, `SELECT v FROM t`); got != "kept" {
		t.Errorf("the second start found %q", got)
	}
}

// Two processes at once share one server; it outlives the one that started it, and ends with the last.
func TestTheLastUserStopsTheServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	h := startHelper(t, dir, nil)
	if got := h.line(t); got != "up adopted: false" {
		t.Fatalf("the first process: %s", got)
	}
	s := start(t, dir)
	if !s.Adopted() {
		t.Error("the second process did not adopt the server")
	}
	_ = h.in.Close()
	if got := h.line(t); got != "down" {
		t.Fatalf("the first process: %s", got)
	}
	if got := ask(t, s, `SELECT 'still here'`); got != "still here" {
		t.Error(got)
	}
	pid := postmaster(t, dir)
	stop(t, s)
	waitGone(t, "the server", pid)
}

// Many that start at the same moment end up with one server.
func TestManyStartAtOnce(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	var helpers []*helper
	for range 4 {
		helpers = append(helpers, startHelper(t, dir, nil))
	}
	for _, h := range helpers {
		if got := h.line(t); !strings.HasPrefix(got, "up") {
			t.Error(got)
		}
	}
	pid := postmaster(t, dir)
	for _, h := range helpers {
		_ = h.in.Close()
		if got := h.line(t); got != "down" {
			t.Error(got)
		}
	}
	waitGone(t, "the server", pid)
}

// kill -9 of the program leaves no server behind.
func TestKilledProgramLeavesNoServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	h := startHelper(t, dir, nil)
	h.line(t)
	pid := postmaster(t, dir)
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, "the server", pid)
	s := start(t, dir)
	defer stop(t, s)
	ask(t, s, `SELECT 'up again'`)
}

// kill -9 of the server, of its supervisor, of both: whoever uses it finds it again, with what was committed.
func TestKilledServerComesBack(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := start(t, dir)
	defer stop(t, s)
	exec1(t, s, `CREATE TABLE t AS SELECT 'committed' AS v`)
	for _, kill := range []string{"server", "supervisor", "both"} {
		pid := postmaster(t, dir)
		supervisor := parentOf(t, pid)
		if kill != "server" {
			if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if kill != "supervisor" {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		waitGone(t, "the killed server", pid)
		if got := ask(t, s, `SELECT v FROM t`); got != "committed" {
			t.Errorf("after kill -9 of the %s: %q", kill, got)
		}
	}
}

// A pid file whose number belongs to somebody else's living process does not keep the server from starting.
func TestStalePidFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	stop(t, start(t, dir))
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	stale := fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n\n  0 0\n", sleeper.Process.Pid, filepath.Join(dir, "pg"), socketDir(dir))
	if err := os.WriteFile(filepath.Join(dir, "pg", "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir)
	defer stop(t, s)
	ask(t, s, `SELECT 'up'`)
	if gone(sleeper.Process.Pid) {
		t.Error("the foreign process was ended")
	}
}

// A folder with a long name works: the socket goes elsewhere.
func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), strings.Repeat("long", 20), strings.Repeat("path", 10))
	s := start(t, dir)
	defer stop(t, s)
	ask(t, s, `SELECT 'up'`)
	if len(socketDir(dir))+len(socketSuffix) > socketMax {
		t.Errorf("the socket's folder is %s", socketDir(dir))
	}
}

// Data of another major version are refused in one sentence and left as they are.
func TestOtherMajorIsRefusedUntouched(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "pg"), 0o755); err != nil {
		t.Fatal(err)
	}
	version := filepath.Join(dir, "pg", "PG_VERSION")
	if err := os.WriteFile(version, []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "made by PostgreSQL 9") {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v, want it as it was", entries, err)
	}
}

// Without programs there is one clear message.
func TestNoPrograms(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Config{DataDir: folder(t), BinDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("got %v", err)
	}
}

// As root below a folder that only root may enter, the message says what to do.
func TestFolderThatTheServerCannotEnter(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("only root's server runs as another user; nothing to refuse here")
		return
	}
	dir := folder(t)
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "TANDEM_DATA_DIR") {
		t.Errorf("got %v", err)
	}
}

// A plain user runs the server as itself.
func TestAsAPlainUser(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	var as *syscall.Credential
	if os.Geteuid() == 0 {
		as = &syscall.Credential{Uid: 65534, Gid: 65534}
		if err := os.Chown(filepath.Dir(dir), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	h := startHelper(t, dir, as)
	if got := h.line(t); got != "up adopted: false" {
		t.Fatal(got)
	}
	pid := postmaster(t, dir)
	_ = h.in.Close()
	if got := h.line(t); got != "down" {
		t.Error(got)
	}
	waitGone(t, "the server", pid)
}
