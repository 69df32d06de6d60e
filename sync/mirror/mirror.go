// Package mirror is the data plane: it makes tables from what Salesforce describes, streams records into them by binary COPY,
// and keeps beside them how far reading has come. It writes the schemas salesforce and mirror and nothing else, and knows
// nothing of the network: records come to it as cells.
package mirror

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"

	"github.com/tandem-sync/tandem/sync/sobject"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the mirror in one database. It is safe for any number of goroutines and processes.
type DB struct {
	pool       *pgxpool.Pool
	tables     sync.Map // object -> *Table; whoever writes by one checks in the same transaction that it is still right
	searchable sync.Map // objects whose search indexes this process has looked after
}

// New gives the mirror over the pool, which must not lead through a pooler in transaction mode: sessions keep staging tables.
// The schema must be up to date: see Migrate.
func New(pool *pgxpool.Pool) *DB { return &DB{pool: pool} }

// Direction says which way an object's changes flow.
type Direction string

// The directions.
const (
	TwoWay         Direction = "two-way"
	FromSalesforce Direction = "from-salesforce"
)

var (
	// ErrNoTable is the answer for an object that was never described here.
	ErrNoTable = errors.New("the object has no table yet")
	// ErrNoLoad is the answer for a load or page that does not exist.
	ErrNoLoad = errors.New("there is no such load")
	// ErrPageDone is the answer for a page that committed already.
	ErrPageDone = errors.New("the page is done already")
	// ErrRetryStaged is the answer for a page that the fast lane could not take because a record in it is there already; the
	// caller fetches the page again and applies it with Staged set.
	ErrRetryStaged = errors.New("the page holds a record that is there already; it must be applied through staging")
	// ErrPage is the answer for a page that cannot be of the object: a column that it never had, records of unequal length, or
	// more bad cells than a page can have by accident.
	ErrPage = errors.New("the page does not fit the table")
	// ErrRetype is the answer for a describe that gives a field another type than its values here have. The table stays as it was.
	ErrRetype = errors.New("the values here do not fit the field's new type")
	// ErrUnfit is the answer for a describe that this table cannot be made to fit as things stand here, such as a column that
	// somebody's view shows and that would get another type. The table stays as it was.
	ErrUnfit = errors.New("PostgreSQL does not let the table be changed")
	// ErrStale is the answer to a commit whose watermark somebody else moved meanwhile. What they committed stands.
	ErrStale = errors.New("the watermark was moved by another worker meanwhile")
)

// Result counts what a batch did. Read is the sum of all others.
type Result struct {
	Read, New, Changed, Deleted, Unchanged, Refused int64
}

// Plus adds two results.
func (r Result) Plus(o Result) Result {
	return Result{r.Read + o.Read, r.New + o.New, r.Changed + o.Changed, r.Deleted + o.Deleted, r.Unchanged + o.Unchanged, r.Refused + o.Refused}
}

// Watermark is how far reading of an object has come; all times but the AskedAts' purpose are the org's.
type Watermark struct {
	Known          bool      // false: nothing was read yet
	At             time.Time // everything that the org had committed before is here
	CoveredAt      time.Time // the start of the oldest transaction open before the read that set the watermark; zero if the org never told
	CoveredAskedAt time.Time
	DeletedThrough time.Time // how far the org's log of deletions was read; zero if it never was
	DeletedAskedAt time.Time

	CoveredRefusedAt time.Time // when the org last refused to say how far reading is complete; zero if it did not, or answered since
	DeletedRefusedAt time.Time // the same of its list of deletions
	DeletedFloor     time.Time // the list of deletions holds nothing from before; zero if it never lost any
	SweptAt          time.Time // when all ids were compared last, by our clock; the first read counts as one
	SweepWanted      bool      // deletions may have been missed
}

// Watermark gives how far reading of an object has come.
func (db *DB) Watermark(ctx context.Context, object string) (Watermark, error) {
	var at, covered, coveredAsked, deleted, deletedAsked, coveredRefused, deletedRefused, floor, swept *time.Time
	var wanted bool
	err := db.pool.QueryRow(ctx, `SELECT watermark, covered_through, covered_asked_at, deleted_through, deleted_asked_at, covered_refused_at, deleted_refused_at, deleted_floor,
			swept_at, sweep_wanted_at IS NOT NULL FROM mirror.watermarks WHERE object = $1`, object).
		Scan(&at, &covered, &coveredAsked, &deleted, &deletedAsked, &coveredRefused, &deletedRefused, &floor, &swept, &wanted)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Watermark{}, fmt.Errorf("read the watermark of %s: %w", object, err)
	}
	value := func(t *time.Time) time.Time {
		if t == nil {
			return time.Time{}
		}
		return t.UTC()
	}
	return Watermark{
		Known: at != nil, At: value(at), CoveredAt: value(covered), CoveredAskedAt: value(coveredAsked), DeletedThrough: value(deleted), DeletedAskedAt: value(deletedAsked),
		CoveredRefusedAt: value(coveredRefused), DeletedRefusedAt: value(deletedRefused), DeletedFloor: value(floor), SweptAt: value(swept), SweepWanted: wanted,
	}, nil
}

// Covered is what the org said of its open transactions, and when it was asked: before the read that brings what had committed
// by then. It commits with that read and not before, for until then the records that a transaction brought since are not here.
type Covered struct {
	Through time.Time // the start of the oldest one
	AskedAt time.Time // zero: it was not asked, or did not say
}

// CoveredRefused keeps that the org refused to say how far reading is complete, so that it is not asked in vain in every cycle.
func (db *DB) CoveredRefused(ctx context.Context, object string, at time.Time) error {
	_, err := db.pool.Exec(ctx, `INSERT INTO mirror.watermarks (object, covered_refused_at) VALUES ($1, $2) ON CONFLICT (object) DO UPDATE SET covered_refused_at = excluded.covered_refused_at`, object, at)
	if err != nil {
		return fmt.Errorf("keep what the org refuses of %s: %w", object, err)
	}
	return nil
}

// Migrate brings the schemas mirror and salesforce up to date, under a lock that concurrent starts share.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS mirror`); err != nil {
		// Of two starts that both find no schema one fails; then it is there.
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "23505" && pgErr.Code != "42P06" {
			return fmt.Errorf("make the schema mirror: %w", err)
		}
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	store, err := database.NewStore(database.DialectPostgres, "mirror.schema_version")
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
		return fmt.Errorf("migrate the schema mirror: %w", err)
	}
	return nil
}

// Table is an object's table and how to write it, as of one describe.
type Table struct {
	schema    sobject.Schema
	columns   []column // Id first; those of fields that are gone too, for a page that was asked for earlier can still bring them
	described time.Time
}

// Object is the object's API name.
func (t *Table) Object() string { return t.schema.Name }

// Schema is the describe that the table was made from.
func (t *Table) Schema() sobject.Schema { return t.schema }

// Fields are the API names to select, Id first, in a stable order.
func (t *Table) Fields() []string {
	fields := t.schema.Synced()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

// HasIsDeleted tells whether the object's records say that they are deleted.
func (t *Table) HasIsDeleted() bool { return t.has("isdeleted") }

func (t *Table) has(name string) bool {
	for _, c := range t.columns {
		if c.name == name {
			return true
		}
	}
	return false
}

// name is the table's name in SQL.
func (t *Table) name() string { return relation(short(t.schema.Table())) }

// asEngine begins a transaction as the engine, whose writes are neither refused nor captured (Invariant 4). The setting ends with it.
func (db *DB) asEngine(ctx context.Context) (pgx.Tx, error) {
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	if _, err := tx.Exec(ctx, `SELECT set_config('tandem.engine', 'on', true)`); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	return tx, nil
}

// Advisory locks of a transaction: this number, and the hash of an object's name.
const (
	lockEnsure = 0x7464_6d01 // changes of tables; one at a time in the database, for the view of people hangs on several
	lockRows   = 0x7464_6d02 // an object's records: exclusive for staged writes, shared by pages that are copied directly
	lockOutbox = 0x7464_6d03 // an object's outbox: claiming, settling, and the functions of the pages; taken after lockRows
)

// Collided tells whether PostgreSQL broke a transaction off because it and another waited for each other. Nothing of it was kept; it is to be
// done again.
func Collided(err error) bool { return isState(err, "40P01", "40001") }

// isState tells whether PostgreSQL answered with one of the SQLSTATEs.
func isState(err error, states ...string) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	for _, s := range states {
		if pgErr.Code == s {
			return true
		}
	}
	return false
}
