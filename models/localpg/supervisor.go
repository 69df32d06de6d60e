package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	supervisorEnv        = "TANDEM_LOCALPG_SUPERVISE"
	supervisorBinEnv     = "TANDEM_LOCALPG_BIN"
	supervisorSettingEnv = "TANDEM_LOCALPG_SET_"
	// orphanPatience is how long a server of a killed supervisor may take to be gone.
	orphanPatience = 15 * time.Second
)

// A process of this program that was started as the supervisor never gets to main.
func init() {
	if dir := os.Getenv(supervisorEnv); dir != "" {
		os.Exit(superviseMain(dir, os.Getenv(supervisorBinEnv)))
	}
}

// superviseMain runs the server until its last user is gone.
func superviseMain(dir, bin string) int {
	// The kernel's promise to end the server with us holds for the thread that started it.
	runtime.LockOSThread()
	// A terminal's interrupt is for the program, not for the database below it; what counts is who still uses it.
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	tell := os.NewFile(3, "tell")
	say := func(text string) { _, _ = fmt.Fprintln(tell, strings.ReplaceAll(text, "\n", " ")); _ = tell.Close() }

	held, err := os.OpenFile(filepath.Join(dir, "supervisor.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		say(err.Error())
		return 1
	}
	defer held.Close()
	ctx := context.Background()
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	err = waitLock(bounded, held)
	cancel()
	if err != nil {
		say("another supervisor runs: " + err.Error())
		return 1
	}
	if err := initCluster(dir, bin); err != nil {
		say(err.Error())
		return 1
	}
	server, err := startServer(ctx, dir, bin, orphanPatience)
	if err != nil {
		say(err.Error())
		return 1
	}
	say("ready")

	alone := make(chan struct{})
	users, err := os.OpenFile(filepath.Join(dir, "users.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		_ = server.stop()
		return 1
	}
	defer users.Close()
	go func() {
		for syscall.Flock(int(users.Fd()), syscall.LOCK_EX) != nil {
			time.Sleep(time.Second)
		}
		close(alone)
	}()
	for {
		select {
		case <-alone:
			_ = server.stop()
			return 0
		case <-terminated:
			_ = server.stop()
			return 0
		case <-server.ended:
			// It crashed or was killed while somebody uses it.
			for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
				if server, err = startServer(ctx, dir, bin, orphanPatience); err == nil {
					break
				}
				select {
				case <-alone:
					return 1
				case <-terminated:
					return 1
				case <-time.After(pause):
				}
			}
		}
	}
}

func waitLock(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// asServer makes a command run as the server's user, and end with this process.
func asServer(cmd *exec.Cmd) error {
	who, err := serverUser()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setpgid: true}
	endWithParent(cmd.SysProcAttr)
	cmd.Dir = "/"
	// The server must not inherit what the program's environment says about databases.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "PG") || strings.HasPrefix(e, "TANDEM_") })
	return nil
}

// initCluster makes the data folder, beside its place first, so that one that was interrupted is never taken for a whole one.
func initCluster(dir, bin string) error {
	data := filepath.Join(dir, "pg")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return nil
	}
	fresh := filepath.Join(dir, "pg.new")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", fresh, "--username", superuser, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums") //nolint:noctx // bounded by its parent's patience
	if err := asServer(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb in %s failed: %w: %s", fresh, err, lastLines(out))
	}
	return os.Rename(fresh, data)
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " ")
}

// settings are the server's, safe for accepted data: nothing that a crash could lose is traded for speed.
func settings(dir string) []string {
	set := map[string]string{
		"listen_addresses":           "",
		"unix_socket_directories":    socketDir(dir),
		"unix_socket_permissions":    "0700",
		"max_connections":            "200",
		"shared_buffers":             "256MB",
		"maintenance_work_mem":       "256MB",
		"work_mem":                   "32MB",
		"temp_buffers":               "32MB",
		"max_wal_size":               "4GB",
		"checkpoint_timeout":         "15min",
		"wal_compression":            "on",
		"jit":                        "off",
		"timezone":                   "UTC",
		"log_timezone":               "UTC",
		"log_line_prefix":            "%m [%p] ",
		"cluster_name":               "tandem",
		"autovacuum_naptime":         "20s",
		"dynamic_shared_memory_type": "posix",
	}
	for _, e := range os.Environ() {
		if rest, ok := strings.CutPrefix(e, supervisorSettingEnv); ok {
			if name, value, ok := strings.Cut(rest, "="); ok {
				set[name] = value
			}
		}
	}
	var args []string
	for name, value := range set {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

type server struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startServer starts the server and waits until it answers. One that a killed supervisor left is given time to be gone.
func startServer(ctx context.Context, dir, bin string, patience time.Duration) (*server, error) {
	who, err := serverUser()
	if err != nil {
		return nil, err
	}
	sockets := socketDir(dir)
	if err := os.MkdirAll(sockets, 0o700); err != nil {
		return nil, err
	}
	if who != nil {
		if err := os.Chown(sockets, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "pg")
	deadline := time.Now().Add(patience)
	for {
		dropForeignPid(data)
		s, err := tryServer(ctx, dir, data, bin)
		if err == nil || time.Now().After(deadline) {
			return s, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func tryServer(ctx context.Context, dir, data, bin string) (*server, error) {
	logPath := filepath.Join(dir, "server.log")
	if info, err := os.Stat(logPath); err == nil && info.Size() > 10<<20 {
		_ = os.Rename(logPath, logPath+".1")
	}
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "postgres"), append([]string{"-D", data}, settings(dir)...)...) //nolint:noctx // it runs until its last user is gone
	if err := asServer(cmd); err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	s := &server{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	answers := make(chan error, 1)
	go func() {
		conn, err := connect(ctx, dir, "postgres")
		if err == nil {
			_ = conn.Close(ctx)
		}
		answers <- err
	}()
	select {
	case err := <-answers:
		if err != nil {
			_ = s.stop()
			return nil, fmt.Errorf("the private PostgreSQL does not answer; its log is %s: %w", logPath, err)
		}
		return s, nil
	case <-s.ended:
		text, _ := os.ReadFile(logPath)
		return nil, fmt.Errorf("the private PostgreSQL ended at once; its log is %s: %s", logPath, lastLines(text))
	}
}

// stop ends the server as its own shutdown does: sessions are cut, everything committed is written.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(60 * time.Second):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		<-s.ended
	}
	return nil
}

// dropForeignPid removes the pid file that a crash left, but only if its number belongs to a living process that is no
// PostgreSQL: the server would take that one for itself. A dead number it sorts out alone; a living server keeps its file.
func dropForeignPid(data string) {
	path := filepath.Join(data, "postmaster.pid")
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 {
		return
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return
	}
	// The name stands in parentheses, the state after them. An exiting process shows an empty command line first, so the name decides.
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open || end+2 >= len(stat) {
		return
	}
	name, state := string(stat[open+1:end]), stat[end+2]
	if state != 'Z' && state != 'X' && !strings.HasPrefix(name, "postgres") && !strings.HasPrefix(name, "postmaster") {
		_ = os.Remove(path)
	}
}
