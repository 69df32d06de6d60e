// Package localpg runs the private PostgreSQL that Tandem uses when no database is named. It never downloads, never listens on
// a network, and never touches a data directory that it cannot run.
//
// The server belongs to a supervisor, a small process of this same program, not to whoever started it first: every user of
// the server holds a shared lock for as long as it lives, and the supervisor stops the server when the last lock is gone,
// however its holder ended. A command that ends, or is killed, therefore neither takes the server from others nor leaves it behind.
package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	database     = "tandem"
	superuser    = "tandem"
	startWithin  = 60 * time.Second
	watchEvery   = 2 * time.Second
	socketMax    = 107 // bytes that a unix socket's path may have
	socketSuffix = "/.s.PGSQL.5432"
)

// Config says where the server lives.
type Config struct {
	DataDir  string            // the server's own folder; it is made
	BinDir   string            // PostgreSQL's programs; empty: they are looked for
	Settings map[string]string // server settings beside our own
	Log      *slog.Logger
}

// Server is a running private PostgreSQL that this process uses.
type Server struct {
	config  Config
	bin     string
	adopted bool
	users   *os.File
	stop    context.CancelFunc
	watched sync.WaitGroup
}

// Start gives the private server, started or found running. It fails with one clear message where there are no PostgreSQL
// programs, where the data belong to another major version (they are left untouched), or where the server's user cannot reach the folder.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return nil, err
	}
	c.DataDir = dir
	s := &Server{config: c}
	if s.bin, err = findPrograms(c.BinDir, dir); err != nil {
		return nil, err
	}
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	// Held until Stop, or until this process is gone. A supervisor that is just stopping the server is waited for.
	if s.users, err = lockFile(ctx, filepath.Join(dir, "users.lock"), syscall.LOCK_SH); err != nil {
		return nil, fmt.Errorf("use the private PostgreSQL in %s: %w", dir, err)
	}
	if err := s.supervise(ctx); err != nil {
		_ = s.users.Close()
		return nil, err
	}
	if err := s.ensureDatabase(ctx); err != nil {
		_ = s.users.Close()
		return nil, err
	}
	watch, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.watched.Go(func() { s.watch(watch) })
	return s, nil
}

// Adopted tells whether the server was running already.
func (s *Server) Adopted() bool { return s.adopted }

// BinDir is where PostgreSQL's programs are.
func (s *Server) BinDir() string { return s.bin }

// Bin gives the path of one of PostgreSQL's programs; its bare name if it is not beside the others.
func (s *Server) Bin(name string) string {
	path := filepath.Join(s.bin, name)
	if _, err := os.Stat(path); err != nil {
		return name
	}
	return path
}

// URL is where the database is, for pgx and psql.
func (s *Server) URL() string { return databaseURL(s.config.DataDir, database) }

func databaseURL(dir, name string) string {
	q := url.Values{"host": {socketDir(dir)}, "user": {superuser}, "sslmode": {"disable"}}
	return "postgres:///" + name + "?" + q.Encode()
}

// Stop lets go of the server. If nobody else uses it, it is stopped, and Stop waits for that.
func (s *Server) Stop(ctx context.Context) error {
	s.stop()
	s.watched.Wait()
	if err := s.users.Close(); err != nil {
		return err
	}
	// Whether others still use it shows in whether the lock can be had; the supervisor has it, too, while it stops the server.
	for {
		f, err := os.OpenFile(filepath.Join(s.config.DataDir, "supervisor.lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		free := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
		_ = f.Close()
		if free {
			return nil
		}
		u, err := os.OpenFile(filepath.Join(s.config.DataDir, "users.lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		// A shared lock that can be had means that the supervisor is not stopping: somebody else is there, or it is about to.
		inUse := syscall.Flock(int(u.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil && syscall.Flock(int(u.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil
		_ = u.Close()
		if inUse {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the private PostgreSQL in %s is still stopping: %w", s.config.DataDir, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// watch brings the supervisor back should somebody kill it.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f, err := os.OpenFile(filepath.Join(s.config.DataDir, "supervisor.lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			continue
		}
		dead := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
		_ = f.Close()
		if !dead || ctx.Err() != nil {
			continue
		}
		s.config.Log.Warn("the private PostgreSQL lost its supervisor; it is started again", "dir", s.config.DataDir)
		bounded, cancel := context.WithTimeout(ctx, startWithin)
		if err := s.supervise(bounded); err != nil && ctx.Err() == nil {
			s.config.Log.Error("the private PostgreSQL could not be started again", "error", err)
		}
		cancel()
	}
}

// supervise makes sure that a supervisor runs, and waits until its server answers.
func (s *Server) supervise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	dir := s.config.DataDir
	turn, err := lockFile(ctx, filepath.Join(dir, "start.lock"), syscall.LOCK_EX)
	if err != nil {
		return fmt.Errorf("start the private PostgreSQL in %s: %w", dir, err)
	}
	defer turn.Close()
	probe, err := os.OpenFile(filepath.Join(dir, "supervisor.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	running := syscall.Flock(int(probe.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
	_ = probe.Close()
	if running {
		s.adopted = true
		return nil
	}
	return s.spawn(ctx)
}

// spawn starts the supervisor and hears from it that the server answers, or why it does not.
func (s *Server) spawn(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	said, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	cmd := exec.Command(self) //nolint:noctx // it outlives this process on purpose
	cmd.Env = append(os.Environ(), supervisorEnv+"="+s.config.DataDir, supervisorBinEnv+"="+s.bin)
	for name, value := range s.config.Settings {
		cmd.Env = append(cmd.Env, supervisorSettingEnv+name+"="+value)
	}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = tell.Close()
	if err != nil {
		return fmt.Errorf("start the private PostgreSQL's supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(said).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		switch {
		case text == "ready":
			return nil
		case text == "":
			return fmt.Errorf("the private PostgreSQL did not start; its log is %s", filepath.Join(s.config.DataDir, "server.log"))
		}
		return errors.New(text)
	case <-ctx.Done():
		return fmt.Errorf("the private PostgreSQL in %s did not answer in time; its log is %s: %w", s.config.DataDir, filepath.Join(s.config.DataDir, "server.log"), ctx.Err())
	}
}

// ensureDatabase waits until the server answers and makes our database where there is none.
func (s *Server) ensureDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	conn, err := connect(ctx, s.config.DataDir, "postgres")
	if err != nil {
		return fmt.Errorf("reach the private PostgreSQL in %s: %w", s.config.DataDir, err)
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&there); err != nil || there {
		return err
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+database); err != nil {
		// Of two that both find none, one fails; then it is there.
		if scanErr := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&there); scanErr != nil || !there {
			return fmt.Errorf("make the database: %w", err)
		}
	}
	return nil
}

// connect tries until the server answers or ctx ends.
func connect(ctx context.Context, dir, name string) (*pgx.Conn, error) {
	for {
		conn, err := pgx.Connect(ctx, databaseURL(dir, name))
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lockFile takes a lock on a file, waiting for it until ctx ends. Closing the file, or the end of the process, gives it back.
func lockFile(ctx context.Context, path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for the lock %s: %w", path, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
