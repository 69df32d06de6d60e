package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/models/localpg/pgtest"
	"github.com/tandem-sync/tandem/sync/engine"
	"github.com/tandem-sync/tandem/sync/engine/otherorg"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// world is a simulated org, a database and what works between them.
type world struct {
	t      *testing.T
	org    *simorg.Org
	other  *otherorg.Org // in place of it
	server *httptest.Server
	pool   *pgxpool.Pool
	models *models.DB
	mirror *mirror.DB
	config engine.Config
}

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	for _, m := range []func(context.Context, *pgxpool.Pool) error{models.Migrate, mirror.Migrate, engine.Migrate} {
		if err := m(ctx, pool); err != nil {
			return err
		}
	}
	return nil
}

// newWorld makes a connected world in which nothing works yet.
func newWorld(t *testing.T, c simorg.Config) *world {
	t.Helper()
	c.Seed = 7
	if c.BulkDelay == 0 {
		c.BulkDelay = 10 * time.Millisecond
	}
	org, err := simorg.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(org.Handler())
	t.Cleanup(func() { server.Close(); org.Close() })
	w := &world{t: t, org: org, server: server}
	w.open()
	w.connect(simorg.DefaultClientSecret)
	return w
}

// newOtherWorld is newWorld with an org that shares no code with the simulated one.
func newOtherWorld(t *testing.T, c otherorg.Config) *world {
	t.Helper()
	w := &world{t: t, other: otherorg.With(t, c)}
	w.open()
	w.connectTo(models.Connection{LoginURL: w.other.URL, ClientID: otherorg.ClientID, ClientSecret: models.NewSecret(otherorg.ClientSecret)})
	return w
}

// open makes the database and what an engine needs.
func (w *world) open() {
	t := w.t
	t.Helper()
	pool := pgtest.Pool(t, migrate)
	keys, err := models.LoadKey(filepath.Join(t.TempDir(), "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := models.Open(pool, keys)
	if err != nil {
		t.Fatal(err)
	}
	w.pool, w.models, w.mirror = pool, db, mirror.New(pool)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() || os.Getenv("TANDEM_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.config = engine.Config{
		Pool: pool, Models: db, Mirror: w.mirror, Log: log, AllowLocalOrg: true,
		// A long rest: the test says when the next cycle comes.
		Rest: time.Hour, Tick: 200 * time.Millisecond, Pace: 50 * time.Millisecond, PageRows: 500, BulkAbove: 400, StopWithin: 2 * time.Second,
	}
}

func (w *world) connect(secret string) {
	w.t.Helper()
	w.connectTo(models.Connection{LoginURL: w.server.URL, ClientID: simorg.DefaultClientID, ClientSecret: models.NewSecret(secret)})
}

func (w *world) connectTo(c models.Connection) {
	w.t.Helper()
	ctx := w.t.Context()
	c.Auth = models.AuthClientCredentials
	count := func(ctx context.Context, calls int64) error { return w.models.NoteCalls(ctx, calls, models.Usage{}) }
	c, err := engine.Tester{AllowLocalOrg: true, Log: w.config.Log, Count: count}.Test(ctx, c)
	if err != nil {
		w.t.Fatal(err)
	}
	c.State = models.StateConnected
	if err := w.models.SaveConnection(ctx, c, "test"); err != nil {
		w.t.Fatal(err)
	}
	if err := w.models.EnableStandardObjects(ctx, c.Report.Visible); err != nil {
		w.t.Fatal(err)
	}
}

// work starts a worker; the returned func stops it and waits.
func (w *world) work() (stop func()) {
	w.t.Helper()
	e, err := engine.New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the worker ended with %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// cycle asks for a cycle and waits until it has ended; it gives the runs.
func (w *world) cycle() []models.Run {
	w.t.Helper()
	number, err := w.models.RequestSync(w.t.Context(), "test")
	if err != nil {
		w.t.Fatal(err)
	}
	w.until(fmt.Sprintf("cycle %d ended", number), func() bool {
		c, err := w.models.Cycle(w.t.Context(), number)
		if errors.Is(err, models.ErrNotFound) {
			return false
		}
		if err != nil {
			w.t.Fatal(err)
		}
		return c.EndedAt != nil
	})
	runs, err := w.models.CycleRuns(w.t.Context(), number)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range runs {
		if r.State != models.RunSucceeded {
			w.t.Fatalf("run of %s: %s %s %s, want it to succeed", r.Object, r.State, r.ErrorCode, r.Error)
		}
	}
	return runs
}

// until waits for something that rows will show.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			w.dump()
			w.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(40 * time.Millisecond)
	}
}

func (w *world) dump() {
	rows, _ := w.pool.Query(context.Background(), `SELECT row_to_json(r)::text FROM admin.runs r ORDER BY id DESC LIMIT 15`)
	for rows.Next() {
		var s string
		_ = rows.Scan(&s)
		w.t.Log(s)
	}
	rows, _ = w.pool.Query(context.Background(), `SELECT kind || ' ' || state || ' ' || args::text || ' ' || coalesce(errors[array_length(errors,1)]::text, '') FROM queue.river_job ORDER BY id DESC LIMIT 15`)
	for rows.Next() {
		var s string
		_ = rows.Scan(&s)
		w.t.Log(s)
	}
}

// equal checks every standard object's table against the org, row for row and field for field, deleted and archived records too.
func (w *world) equal() {
	w.t.Helper()
	for _, o := range models.StandardObjects {
		w.equalObject(o.Name)
	}
}

// equalObject checks one object's table, but for records of which something else is told.
func (w *world) equalObject(object string, told ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	rows, err := w.pool.Query(ctx, `SELECT to_jsonb(t)::text FROM `+pgx.Identifier{"salesforce", strings.ToLower(object)}.Sanitize()+` t`)
	if err != nil {
		w.t.Fatalf("%s: %v", object, err)
	}
	have := map[string]map[string]any{}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			w.t.Fatal(err)
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		row := map[string]any{}
		if err := d.Decode(&row); err != nil {
			w.t.Fatal(err)
		}
		id, _ := row["sfid"].(string)
		if have[id] != nil {
			w.t.Errorf("%s %s is there twice", object, id)
		}
		have[id] = row
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	table, _, err := w.mirror.Table(ctx, object)
	if err != nil {
		w.t.Fatal(err)
	}
	n, wrong := 0, 0
	err = w.each(object, true, func(want map[string]any) error {
		n++
		id, _ := want["Id"].(string)
		if slices.Contains(told, id) {
			delete(have, id)
			return nil
		}
		got := have[id]
		if got == nil {
			if wrong++; wrong < 5 {
				w.t.Errorf("%s %s is in the org and not in the mirror", object, id)
			}
			return nil
		}
		delete(have, id)
		for _, f := range table.Schema().Synced() {
			a, b := plain(f.Type, want[f.Name]), plain(f.Type, got[f.Column()])
			if a != b {
				if wrong++; wrong < 5 {
					w.t.Errorf("%s %s: %s is %q in the org and %q in the mirror", object, id, f.Name, a, b)
				}
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if n == 0 {
		w.t.Errorf("the org has no %s: this checks nothing", object)
	}
	for id := range have {
		if wrong++; wrong < 5 {
			w.t.Errorf("%s %q is in the mirror and not in the org", object, id)
		}
	}
}

// each gives the org's records as JSON has them; deleted ones if they are wanted.
func (w *world) each(object string, deleted bool, do func(map[string]any) error) (err error) {
	if w.other == nil {
		return w.org.Each(object, deleted, do)
	}
	w.other.Each(object, func(_ []otherorg.Field, r map[string]any) {
		if err != nil || !deleted && r["IsDeleted"] == true {
			return
		}
		r = maps.Clone(r)
		for name, v := range r {
			switch v := v.(type) {
			case otherorg.Number:
				r[name] = json.Number(v.REST)
			case time.Time:
				r[name] = v.UTC().Format("2006-01-02T15:04:05.000-0700")
			}
		}
		err = do(r)
	})
	return err
}

// plain writes a value in one way, whichever side it comes from. It shares no code with what it checks.
func plain(kind string, v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(v)
	case json.Number:
		r, ok := new(big.Rat).SetString(v.String())
		if !ok {
			return "no number: " + v.String()
		}
		return r.RatString()
	case int:
		return fmt.Sprint(v)
	case float64:
		r, _ := new(big.Rat).SetString(fmt.Sprint(v))
		return r.RatString()
	case string:
		switch {
		case v == "":
			return "null"
		case kind == "datetime":
			for _, layout := range []string{"2006-01-02T15:04:05.000-0700", time.RFC3339Nano} {
				if t, err := time.Parse(layout, v); err == nil {
					return t.UTC().Format(time.RFC3339Nano)
				}
			}
			return "no time: " + v
		case kind == "time":
			v = strings.TrimSuffix(v, "Z")
			if strings.Contains(v, ".") {
				v = strings.TrimRight(strings.TrimRight(v, "0"), ".")
			}
			return v
		}
		return "'" + v + "'"
	default:
		return fmt.Sprintf("%T %v", v, v)
	}
}

// ids gives the ids of an object's live records that can be edited, in order.
func (w *world) ids(object string) []string {
	var ids []string
	if err := w.each(object, false, func(f map[string]any) error {
		// A converted lead cannot be edited.
		if f["IsConverted"] != true {
			ids = append(ids, f["Id"].(string))
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	sort.Strings(ids)
	return ids
}

// scalar asks the database for one value.
func scalar[T any](w *world, sql string, args ...any) T {
	w.t.Helper()
	var v T
	if err := w.pool.QueryRow(w.t.Context(), sql, args...).Scan(&v); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return v
}
