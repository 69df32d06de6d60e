package mirror

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models/localpg/pgtest"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// world is one test's database.
type world struct {
	t    testing.TB
	ctx  context.Context
	pool *pgxpool.Pool
	db   *DB
}

func newWorld(t testing.TB) *world {
	t.Helper()
	pool := pgtest.Pool(t, Migrate)
	return &world{t, t.Context(), pool, New(pool)}
}

// ask gives one value from the database.
func ask[T any](w *world, sql string, args ...any) T {
	w.t.Helper()
	var v T
	if err := w.pool.QueryRow(w.ctx, sql, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.ctx, sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) ensure(s sobject.Schema) (*Table, SchemaChange) {
	w.t.Helper()
	t, change, err := w.db.Ensure(w.ctx, s, FromSalesforce, time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	if err != nil {
		w.t.Fatal(err)
	}
	return t, change
}

// schema makes a describe: "Name:type" for each field beside Id.
func schema(object string, fields ...string) sobject.Schema {
	s := sobject.Schema{Name: object, Label: object, LabelPlural: object + "s", Queryable: true, Replicateable: true}
	s.Fields = append(s.Fields, sobject.Field{Name: "Id", Type: "id"})
	for _, f := range fields {
		name, typ, _ := strings.Cut(f, ":")
		s.Fields = append(s.Fields, sobject.Field{Name: name, Label: name, Type: typ})
	}
	return s
}

// account is the object that most tests use.
func account() sobject.Schema {
	return schema("Account", "Name:string", "NumberOfEmployees:int", "IsDeleted:boolean", "SystemModstamp:datetime")
}

// page is a page of records in memory. null stands for an empty cell.
type page struct {
	columns []string
	rows    [][]string
	at      int
	fail    error               // what Next gives at the end instead of io.EOF
	before  func(row int) error // called before each record
	cells   [][]byte
}

const null = "\x01null"

func rows(columns string, records ...[]string) *page {
	return &page{columns: strings.Fields(columns), rows: records}
}

func (p *page) Columns() []string { return p.columns }

func (p *page) Next() ([][]byte, error) {
	if p.before != nil {
		if err := p.before(p.at); err != nil {
			return nil, err
		}
	}
	if p.at == len(p.rows) {
		if p.fail != nil {
			return nil, p.fail
		}
		return nil, io.EOF
	}
	p.cells = p.cells[:0]
	for _, s := range p.rows[p.at] {
		if s == null {
			p.cells = append(p.cells, nil)
		} else {
			p.cells = append(p.cells, []byte(s))
		}
	}
	p.at++
	return p.cells, nil
}

// id gives the n-th Salesforce id of a key prefix.
func id(prefix string, n int) string {
	v, err := sobject.ParseID(fmt.Sprintf("%s%012d", prefix, n))
	if err != nil {
		panic(err)
	}
	return string(v)
}

const accountColumns = "Id Name NumberOfEmployees IsDeleted SystemModstamp"

func stampAt(seconds int) string {
	return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second).Format("2006-01-02T15:04:05.000Z")
}

// acc is one account's record.
func acc(n int, name string, stamp int) []string {
	return []string{id("001", n), name, strconv.Itoa(n), "false", stampAt(stamp)}
}

func accs(n, stamp int) [][]string {
	all := make([][]string, n)
	for i := range all {
		all[i] = acc(i+1, fmt.Sprintf("Account %d", i+1), stamp)
	}
	return all
}

var mark = time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC)

// change applies pages as one increment and commits it.
func (w *world) change(object string, from, to time.Time, pages ...*page) Result {
	w.t.Helper()
	b, err := w.db.Changes(w.ctx, object)
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Rollback()
	var sum Result
	for _, p := range pages {
		r, err := b.Apply(w.ctx, p)
		if err != nil {
			w.t.Fatal(err)
		}
		sum = sum.Plus(r)
	}
	if err := b.Commit(w.ctx, from, to); err != nil {
		w.t.Fatal(err)
	}
	return sum
}

// load starts a load with its first page planned.
func (w *world) load(object string, kind LoadKind) Load {
	w.t.Helper()
	l, err := w.db.StartLoad(w.ctx, Load{Object: object, RunID: 1, Kind: kind, JobID: "750xx", SOQL: "SELECT", Fields: []string{"Id"}, Watermark: mark})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.db.PlanPage(w.ctx, l.ID, 1, ""); err != nil {
		w.t.Fatal(err)
	}
	return l
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// sumUp checks that a result adds up, and that the counters of the object are what the table holds.
func (w *world) sumUp(object string, r Result) {
	w.t.Helper()
	if r.Read != r.New+r.Changed+r.Deleted+r.Unchanged+r.Refused {
		w.t.Errorf("the result does not add up: %+v", r)
	}
	type counts struct{ live, deleted int64 }
	var have, want counts
	if err := w.pool.QueryRow(w.ctx, `SELECT records, deleted FROM mirror.object_status WHERE object = $1`, object).Scan(&have.live, &have.deleted); err != nil {
		w.t.Fatal(err)
	}
	if err := w.pool.QueryRow(w.ctx, `SELECT count(*) FILTER (WHERE NOT isdeleted), count(*) FILTER (WHERE isdeleted) FROM salesforce.`+strings.ToLower(object)).Scan(&want.live, &want.deleted); err != nil {
		w.t.Fatal(err)
	}
	equal(w.t, "counters of "+object, have, want)
}

func sobjectID(n int) sobject.ID { return sobject.ID(id("001", n)) }
