// Package pgtest gives each test a database of its own, on one private PostgreSQL that the tests of all packages share.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models/localpg"
)

var number atomic.Int64

// server is the URL of the shared server. It is used until the process ends; the last process to end stops it.
var server = sync.OnceValues(func() (string, error) {
	if u := os.Getenv("TANDEM_TEST_DATABASE_URL"); u != "" {
		return u, nil
	}
	root := os.TempDir()
	if os.Geteuid() == 0 {
		root = "/var/tmp" // the server's own user must be able to enter
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	major, err := localpg.Major()
	if err != nil {
		return "", err
	}
	s, err := localpg.Start(ctx, localpg.Config{
		// Whoever tests with another PostgreSQL, by PG_BIN or after an upgrade, has other data.
		DataDir: filepath.Join(root, fmt.Sprintf("tandem-test-%d-%s", os.Geteuid(), major)),
		// Test databases are thrown away: what a crash of the machine would lose is of no worth.
		Settings: map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "400", "shared_buffers": "128MB"},
	})
	if err != nil {
		return "", err
	}
	return s.URL(), dropOrphans(ctx, s.URL())
})

// dropOrphans drops the databases of test processes that are gone.
func dropOrphans(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT datname FROM pg_database WHERE datname LIKE 'test\_%'`)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		parts := strings.Split(name, "_")
		pid, err := strconv.Atoi(parts[1])
		if err != nil || syscall.Kill(pid, 0) == nil || parts[len(parts)-1] == "kept" {
			continue
		}
		// Another process may do the same at this moment.
		_, _ = conn.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
	}
	return nil
}

var (
	templatesLock sync.Mutex
	templates     = map[string]string{}
)

// Pool gives the test a fresh database that migrate has brought up to date, and drops it at the end. migrate runs once a
// process; the databases are copies of its result. With KEEPDB=1 the database stays and its psql line is printed. Without
// PostgreSQL the test fails: it is never skipped.
func Pool(t testing.TB, migrate func(context.Context, *pgxpool.Pool) error) *pgxpool.Pool {
	t.Helper()
	base, err := server()
	if err != nil {
		t.Fatalf("tests need PostgreSQL: %v", err)
	}
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, base)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	template, err := template(ctx, admin, base, migrate)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), number.Add(1))
	keep := os.Getenv("KEEPDB") != ""
	if keep {
		name += "_kept"
	}
	if _, err := admin.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE `+template); err != nil {
		t.Fatal(err)
	}
	pool, err := open(ctx, base, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pool.Close()
		if keep {
			t.Logf("kept: psql '%s'", withDatabase(base, name))
			return
		}
		conn, err := pgx.Connect(ctx, base)
		if err != nil {
			return
		}
		defer conn.Close(ctx)
		_, _ = conn.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
	})
	return pool
}

func template(ctx context.Context, admin *pgx.Conn, base string, migrate func(context.Context, *pgxpool.Pool) error) (string, error) {
	if migrate == nil {
		return "template0", nil
	}
	templatesLock.Lock()
	defer templatesLock.Unlock()
	key := runtime.FuncForPC(reflect.ValueOf(migrate).Pointer()).Name()
	if name, ok := templates[key]; ok {
		return name, nil
	}
	name := fmt.Sprintf("test_%d_template%d", os.Getpid(), len(templates))
	if _, err := admin.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE template0`); err != nil {
		return "", err
	}
	pool, err := open(ctx, base, name)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	if err := migrate(ctx, pool); err != nil {
		return "", err
	}
	templates[key] = name
	return name, nil
}

func open(ctx context.Context, base, name string) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(withDatabase(base, name))
	if err != nil {
		return nil, err
	}
	c.MaxConns = 24
	return pgxpool.NewWithConfig(ctx, c)
}

func withDatabase(base, name string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.Path = "/" + name
	return u.String()
}
