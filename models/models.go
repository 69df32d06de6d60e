// Package models is the control plane: the connection, the objects that sync, cycles and runs, people, and asking for work.
// It writes the schema admin and nothing else, reads the mirror only through its views, and never speaks to Salesforce.
package models

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the control plane over one database.
type DB struct {
	gorm *gorm.DB
	keys *Keyring
	// Now is the clock of what people read: when a run started, when a link ends. What is read from Salesforce goes by the org's clock.
	Now func() time.Time
}

// Open gives the control plane over the pool. The schema must be up to date: see Migrate.
func Open(pool *pgxpool.Pool, keys *Keyring) (*DB, error) {
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: stdlib.OpenDBFromPool(pool)}), &gorm.Config{
		SkipDefaultTransaction: true,
		TranslateError:         true,
		// Parameters are kept out of whatever the logger prints: some of them are secret (Invariant 7).
		Logger: logger.New(quietLog{}, logger.Config{LogLevel: logger.Silent, ParameterizedQueries: true}),
	})
	if err != nil {
		return nil, fmt.Errorf("open the control plane: %w", err)
	}
	return &DB{gorm: g, keys: keys, Now: func() time.Time { return time.Now().UTC() }}, nil
}

type quietLog struct{}

func (quietLog) Printf(string, ...any) {}

// Migrate brings the schema admin up to date, under a lock that concurrent starts share.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	if err := ensureSchema(ctx, db, "admin"); err != nil {
		return err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	store, err := database.NewStore(database.DialectPostgres, "admin.schema_version")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider("", db, files, goose.WithStore(store), goose.WithSessionLocker(locker), goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the schema admin: %w", err)
	}
	return nil
}

// CheckServer refuses a database that Tandem cannot work on, with what to do, before anything is written to it.
func CheckServer(ctx context.Context, pool *pgxpool.Pool) error {
	var version int
	var shown, encoding string
	err := pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding')`).Scan(&version, &shown, &encoding)
	switch {
	case err != nil:
		// The driver tells of each address on a line of its own.
		return fmt.Errorf("reach the database: %s", strings.Join(strings.Fields(err.Error()), " "))
	case version < serverOldest*10_000:
		return fmt.Errorf("the database is PostgreSQL %s, and Tandem needs %d or newer: name another in TANDEM_DATABASE_URL", shown, serverOldest)
	case encoding != "UTF8":
		return fmt.Errorf("the database keeps its text as %s, which cannot hold all that Salesforce does: name one made with ENCODING 'UTF8' in TANDEM_DATABASE_URL", encoding)
	}
	return nil
}

// serverOldest is the oldest major version of PostgreSQL that Tandem is tested on.
const serverOldest = 15

// ensureSchema makes a schema where there is none. Two starts may both find none: the loser's error means that it is there.
func ensureSchema(ctx context.Context, db *sql.DB, name string) error {
	var there bool
	if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, name).Scan(&there); err != nil {
		return fmt.Errorf("look for the schema %s: %w", name, err)
	}
	if there {
		return nil
	}
	if _, err := db.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+name); err != nil {
		if scanErr := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, name).Scan(&there); scanErr != nil || !there {
			return fmt.Errorf("make the schema %s: %w", name, err)
		}
	}
	return nil
}

// ErrNotFound is the answer where there is no such row.
var ErrNotFound = errors.New("not found")

// ErrorCode says what kind of refusal an Error is, and so which HTTP status and exit code it becomes.
type ErrorCode string

// The kinds of refusal.
const (
	CodeInvalid     ErrorCode = "invalid"     // what was typed cannot be used
	CodeConflict    ErrorCode = "conflict"    // it does not fit what is there
	CodeNotFound    ErrorCode = "not_found"   // there is no such thing
	CodeForbidden   ErrorCode = "forbidden"   // this person may not
	CodeRefused     ErrorCode = "refused"     // Salesforce refused
	CodeUnavailable ErrorCode = "unavailable" // something needed cannot be reached now
)

// Error is a refusal that a person reads. Message is a key of the catalogue of sentences, Params what its sentence names.
type Error struct {
	Code    ErrorCode
	Message string
	Params  map[string]string
	Err     error
}

func (e *Error) Error() string {
	s := e.Message
	for k, v := range e.Params {
		s += " " + k + "=" + v
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func refuse(code ErrorCode, message string, params ...string) *Error {
	e := &Error{Code: code, Message: message, Params: map[string]string{}}
	for i := 0; i+1 < len(params); i += 2 {
		e.Params[params[i]] = params[i+1]
	}
	return e
}

// LogValue keeps an error's parameters apart in the log.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Error()) }

// tx runs do in one transaction.
func (db *DB) tx(ctx context.Context, do func(tx *gorm.DB) error) error {
	return db.gorm.WithContext(ctx).Transaction(do)
}

func found(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return ErrNotFound
	}
	return err
}

// wake tells the workers that someone asked for something.
func wake(tx *gorm.DB) error { return tx.Exec(`SELECT pg_notify('tandem_wake', '')`).Error }
