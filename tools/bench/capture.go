package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// What capture may cost a row, beside the same statement on a table without triggers, in microseconds.
const (
	capturedMost   = 20.0
	suppressedMost = 5.0
)

// captureColumns and captureRows are the table that the goals were set for: as wide as a plain org's leads. Each round of the load makes
// captureTurns of them: many short turns meet what else the machine does more alike than few long ones.
const (
	captureColumns = 38
	captureRows    = 10_000
	captureTurns   = 5
)

// capture measures what the capture of edits costs: updates of two columns in each row of a table with Tandem's triggers, as people
// and as the engine, beside the same on a table of the same shape without any. They take turns, each in a transaction that
// is rolled back; what is told is the median of the differences within a round, in time that PostgreSQL had a core for it: what else the
// machine does would else be most of what is measured.
func (b *bench) capture(ctx context.Context, rounds int) error {
	rounds *= captureTurns
	const database = "capture"
	if err := b.admin(ctx, "CREATE DATABASE "+database); err != nil {
		return err
	}
	c, err := pgxpool.ParseConfig(b.pg.URL())
	if err != nil {
		return err
	}
	c.ConnConfig.Database = database
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := mirror.Migrate(ctx, pool); err != nil {
		return err
	}
	schema := sobject.Schema{Name: "Lead", Label: "Lead", Createable: true, Updateable: true, Deletable: true, Fields: []sobject.Field{{Name: "Id", Type: "id"}}}
	types := []string{"string", "string", "picklist", "double", "boolean", "datetime", "email", "int"}
	for i := range captureColumns - 2 {
		// A third of the columns is not written by people, as in an org.
		f := sobject.Field{Name: fmt.Sprintf("C%02d__c", i), Type: types[i%len(types)], Createable: i%3 != 2, Updateable: i%3 != 2}
		schema.Fields = append(schema.Fields, f)
	}
	if _, _, err := mirror.New(pool).Ensure(ctx, schema, mirror.TwoWay, time.Time{}); err != nil {
		return err
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	for _, sql := range []string{
		`CREATE TABLE public.bare (LIKE salesforce.lead INCLUDING ALL) WITH (fillfactor = 90)`, // as Tandem's tables are
		fmt.Sprintf(`INSERT INTO public.bare (sfid, c00__c, c01__c, c02__c, c03__c, c04__c, c06__c, c08__c, c09__c, c10__c)
			SELECT '00Q' || lpad(n::text, 12, '0') || 'AAA', 'First ' || n, 'Last ' || n, 'Open', n / 100.0, n %% 2 = 0, 'person' || n || '@example.org', 'Company ' || n, repeat('x', 40), 'Web' FROM generate_series(1, %d) n`, captureRows),
		`SELECT set_config('tandem.engine', 'on', false)`, // as the engine, whose writes are not captured
		`INSERT INTO salesforce.lead SELECT * FROM public.bare`,
		`SELECT set_config('tandem.engine', 'off', false)`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	type way struct{ name, table, engine string }
	ways := []way{{"no trigger", "public.bare", "off"}, {"captured", "salesforce.lead", "off"}, {"suppressed", "salesforce.lead", "on"}}
	const set = `SET c00__c = c00__c || '!', c03__c = coalesce(c03__c, 0) + 1`
	shapes := []struct{ name, sql string }{
		{"one statement", `UPDATE %s ` + set},
		{"row by row", `DO $$ BEGIN FOR n IN 1..%d LOOP UPDATE %s ` + set + ` WHERE id = n; END LOOP; END $$`},
	}
	fmt.Printf("capture: %d rows of %d columns, 2 changed, %d rounds\n", captureRows, captureColumns, rounds)
	missed := false
	for _, shape := range shapes {
		took := map[string][]float64{}
		for range rounds {
			for _, w := range ways {
				sql := fmt.Sprintf(shape.sql, w.table)
				if shape.name == "row by row" {
					sql = fmt.Sprintf(shape.sql, captureRows, w.table)
				}
				seconds, err := once(ctx, conn.Conn(), w.engine, sql)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, shape.name, err)
				}
				took[w.name] = append(took[w.name], seconds)
				// What was rolled back is in nobody's way the next time, in the table and in the outbox alike.
				for _, table := range []string{w.table, "mirror.outbox"} {
					if _, err := conn.Exec(ctx, "VACUUM "+table); err != nil {
						return err
					}
				}
			}
		}
		extra := func(name string) float64 {
			var d []float64
			for i, s := range took[name] {
				d = append(d, (s-took["no trigger"][i])*1e6/captureRows)
			}
			return median(d)
		}
		captured, suppressed := extra("captured"), extra("suppressed")
		fmt.Printf("  %-13s no trigger %.1f us a row; captured +%.1f us (at most %.0f wanted), suppressed +%.1f us (at most %.0f wanted)\n",
			shape.name+":", median(took["no trigger"])*1e6/captureRows, captured, capturedMost, suppressed, suppressedMost)
		missed = missed || captured > capturedMost || suppressed > suppressedMost
	}
	if missed {
		return fmt.Errorf("what capture costs: %w", errMissed)
	}
	return nil
}

// once times one statement in a transaction that leaves nothing.
func once(ctx context.Context, conn *pgx.Conn, engine, sql string) (float64, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `SELECT set_config('tandem.engine', $1, true)`, engine); err != nil {
		return 0, err
	}
	pid := conn.PgConn().PID()
	started, err := onCore(pid)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return 0, err
	}
	ended, err := onCore(pid)
	return (ended - started).Seconds(), err
}

// onCore is how long a process has had a core in its life.
func onCore(pid uint32) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	return time.Duration(ns), err
}
