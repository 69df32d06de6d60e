package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models/localpg"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// csvRows is the least that reads the benchmark's own CSV, in which every cell is quoted. The client's splitter is measured elsewhere.
type csvRows struct {
	r       io.Reader
	columns []string
	buf     []byte
	at, end int
	eof     bool
	left    int // records until the page ends; below zero: no end
	cells   [][]byte
	scratch []byte
}

func (c *csvRows) Columns() []string { return c.columns }

func (c *csvRows) Next() ([][]byte, error) {
	if c.left == 0 {
		return nil, io.EOF
	}
	c.left--
	for {
		if cells, used, ok := c.split(c.buf[c.at:c.end]); ok {
			c.at += used
			return cells, nil
		}
		if c.eof {
			return nil, io.EOF
		}
		copy(c.buf, c.buf[c.at:c.end])
		c.end -= c.at
		c.at = 0
		if c.end == len(c.buf) {
			c.buf = append(c.buf, make([]byte, max(len(c.buf), 128<<10))...)
		}
		n, err := c.r.Read(c.buf[c.end:])
		c.end += n
		if errors.Is(err, io.EOF) {
			c.eof = true
		} else if err != nil {
			return nil, err
		}
	}
}

func (c *csvRows) split(b []byte) ([][]byte, int, bool) {
	c.cells, c.scratch = c.cells[:0], c.scratch[:0]
	i := 0
	for {
		if i >= len(b) {
			return nil, 0, false
		}
		i++ // the opening quote
		start, doubled := i, false
		for {
			n := bytes.IndexByte(b[i:], '"')
			if n < 0 || i+n+1 >= len(b) {
				return nil, 0, false
			}
			if i += n + 1; b[i] != '"' {
				break
			}
			doubled = true
			i++
		}
		cell := b[start : i-1]
		if doubled {
			from := len(c.scratch)
			for len(cell) > 0 {
				n := bytes.IndexByte(cell, '"')
				if n < 0 {
					c.scratch = append(c.scratch, cell...)
					break
				}
				c.scratch = append(c.scratch, cell[:n+1]...)
				cell = cell[n+2:]
			}
			cell = c.scratch[from:len(c.scratch):len(c.scratch)]
		}
		if len(cell) == 0 {
			cell = nil
		}
		c.cells = append(c.cells, cell)
		switch b[i] {
		case ',':
			i++
		case '\n':
			return c.cells, i + 1, true
		}
	}
}

// lead60 is an object of sixty fields in the mixture that a real Lead has.
func lead60() sobject.Schema {
	fields := []string{
		"LastName:string", "FirstName:string", "Company:string", "Email:email", "Phone:phone", "Street:textarea", "City:string", "State:string", "PostalCode:string", "Country:string",
		"Status:picklist", "LeadSource:picklist", "Industry:picklist", "Rating:picklist", "AnnualRevenue:currency", "NumberOfEmployees:int", "OwnerId:reference", "Description:textarea", "Website:url", "IsConverted:boolean",
		"ConvertedDate:date", "HasOptedOutOfEmail:boolean", "DoNotCall:boolean", "IsDeleted:boolean", "CreatedDate:datetime", "CreatedById:reference", "LastModifiedDate:datetime", "LastModifiedById:reference", "SystemModstamp:datetime", "LastActivityDate:date",
	}
	for i := len(fields); i < 59; i++ {
		fields = append(fields, fmt.Sprintf("Extra%d__c:%s", i, []string{"string", "double", "picklist", "boolean", "datetime", "string", "reference"}[i%7]))
	}
	return schema("Lead", fields...)
}

func writeLeads(path string, s sobject.Schema, n int) error {
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		return []string{"Amber", "Böhm", "Cedar Hill", "Délices", "Eastern", "Fjord & Sons", "Gamma", "東京", "Harbour", `"Inc."`}[random.IntN(10)]
	}
	var b bytes.Buffer
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	for i, f := range s.Fields {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f.Column())
	}
	b.WriteByte('\n')
	for row := range n {
		for i, f := range s.Fields {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('"')
			switch {
			case f.Type == "id":
				b.WriteString(id("00Q", row))
			case f.Name == "IsDeleted":
				b.WriteString("false")
			case f.Type != "boolean" && f.Name != "SystemModstamp" && i > 10 && random.IntN(3) == 0: // a third of the rest is empty
			case f.Type == "reference":
				b.WriteString(id("005", random.IntN(500)))
			case f.Type == "boolean":
				b.WriteString(strconv.FormatBool(random.IntN(2) == 0))
			case f.Type == "int":
				b.WriteString(strconv.Itoa(random.IntN(100_000)))
			case f.Type == "currency", f.Type == "double":
				fmt.Fprintf(&b, "%d.%02d", random.IntN(10_000_000), random.IntN(100))
			case f.Type == "date":
				b.WriteString("2026-11-20")
			case f.Type == "datetime":
				b.WriteString(stampAt(random.IntN(1_000_000)))
			case f.Type == "textarea":
				for range 6 {
					b.WriteString(strings.ReplaceAll(word(), `"`, `""`) + "\nand ")
				}
			default:
				b.WriteString(strings.ReplaceAll(word(), `"`, `""`) + " " + strconv.Itoa(random.IntN(100_000)))
			}
			b.WriteByte('"')
		}
		b.WriteByte('\n')
		if b.Len() > 1<<20 {
			if _, err := b.WriteTo(out); err != nil {
				return err
			}
		}
	}
	_, err = b.WriteTo(out)
	return err
}

// TestLoadAgainstPsql loads the same CSV into the same table by psql \copy and by this package's lanes, in turns, and prints rows
// per second and their ratio to psql's. It runs when MIRROR_BENCH names the number of records: MIRROR_BENCH=200000 go test -run LoadAgainstPsql -v ./sync/mirror
func TestLoadAgainstPsql(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("MIRROR_BENCH"))
	if err != nil {
		t.Skip("MIRROR_BENCH names no number of records")
	}
	ctx := t.Context()
	dir, err := os.MkdirTemp("/var/tmp", "mirror-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := localpg.Start(ctx, localpg.Config{DataDir: filepath.Join(dir, "pg"), Settings: map[string]string{"max_wal_size": "4GB"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(context.Background()) })
	pool, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := Migrate(ctx, pool); err != nil {
		t.Fatal(err)
	}
	w := &world{t, ctx, pool, New(pool)}
	s := lead60()
	csv := filepath.Join(dir, "leads.csv")
	if err := writeLeads(csv, s, n); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(csv)
	if err != nil {
		t.Fatal(err)
	}
	var names, columns []string
	for _, f := range s.Fields {
		names, columns = append(names, f.Name), append(columns, f.Column())
	}
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() {
		w.exec("DROP SCHEMA IF EXISTS salesforce CASCADE")
		w.exec("CREATE SCHEMA salesforce")
		w.exec("TRUNCATE mirror.objects, mirror.fields, mirror.watermarks, mirror.loads, mirror.load_pages, mirror.refusals")
		w.ensure(s)
		w.exec("CHECKPOINT")
	}
	const pageRows = 50_000
	lane := func(kind LoadKind, staged bool) time.Duration {
		f, err := os.Open(csv)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		start := time.Now()
		l := w.load("Lead", kind)
		c := &csvRows{r: f, columns: names, buf: make([]byte, 256<<10)}
		header := make([]byte, 0, 4096)
		for one := make([]byte, 1); len(header) == 0 || header[len(header)-1] != '\n'; header = append(header, one[0]) {
			if _, err := f.Read(one); err != nil {
				t.Fatal(err)
			}
		}
		for seq := 1; (seq-1)*pageRows < n; seq++ {
			c.left = pageRows
			last := seq*pageRows >= n
			r, err := w.db.ApplyPage(ctx, l, Page{Seq: seq, Staged: staged}, c, strconv.Itoa(seq+1), last)
			if err != nil || r.Refused > 0 {
				t.Fatal(r, err)
			}
		}
		took := time.Since(start)
		if _, err := w.db.FinishLoad(ctx, l.ID); err != nil {
			t.Fatal(err)
		}
		return took
	}
	digest := func() string {
		return ask[string](w, "SELECT count(*) || ' ' || md5(string_agg(md5((l.*)::text), '' ORDER BY sfid)) FROM (SELECT "+strings.Join(columns, ",")+" FROM salesforce.lead) l")
	}
	wal := func() int64 {
		return ask[int64](w, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
	}
	times := map[string][]time.Duration{}
	var want string
	for round := range 3 {
		fresh()
		psql := exec.CommandContext(ctx, "psql", "-qX", server.URL(), "-c",
			fmt.Sprintf(`\copy salesforce.lead (%[1]s) FROM '%[2]s' WITH (FORMAT csv, HEADER, FORCE_NULL (%[1]s))`, strings.Join(columns, ","), csv))
		psql.Env = append(os.Environ(), "PGOPTIONS=-c tandem.engine=on", "PGHOST="+u.Query().Get("host"))
		start := time.Now()
		if out, err := psql.CombinedOutput(); err != nil {
			t.Fatalf("psql: %v: %s", err, out)
		}
		times["psql"] = append(times["psql"], time.Since(start))
		if round == 0 {
			want = digest()
		}
		fresh()
		times["direct"] = append(times["direct"], lane(LoadFirst, false))
		equal(t, "direct lane's table", digest(), want)
		fresh()
		times["staged"] = append(times["staged"], lane(LoadFirst, true))
		equal(t, "staged lane's table", digest(), want)
		before := wal()
		times["unchanged"] = append(times["unchanged"], lane(LoadResync, true))
		t.Logf("WAL of an unchanged resync: %d kB", (wal()-before)/1024)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d records of %d columns, %d MB; heap taken from the system at most %d MiB", n, len(columns), info.Size()>>20, m.HeapSys>>20)
	median := func(d []time.Duration) float64 { return slices.Sorted(slices.Values(d))[len(d)/2].Seconds() }
	for _, name := range []string{"psql", "direct", "staged", "unchanged"} {
		d := times[name]
		t.Logf("%-10s median %.2f s (%.2f-%.2f), %.0f rows/s, %.2f x psql", name, median(d), slices.Min(d).Seconds(), slices.Max(d).Seconds(), float64(n)/median(d), median(times["psql"])/median(d))
	}
}

// BenchmarkEncode measures the encoder alone, on the benchmark's leads.
func BenchmarkEncode(b *testing.B) {
	path := filepath.Join(b.TempDir(), "leads.csv")
	s := lead60()
	if err := writeLeads(path, s, 5000); err != nil {
		b.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	data = data[bytes.IndexByte(data, '\n')+1:]
	table := &Table{schema: s}
	var names []string
	for _, f := range s.Fields {
		k, _ := columnKind(columnType(f.Type))
		if f.Type == "id" {
			k = kindID
		}
		table.columns = append(table.columns, column{field: f.Name, name: f.Column(), kind: k})
		names = append(names, f.Name)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := newEncoder(context.Background(), table, &csvRows{r: bytes.NewReader(data), columns: names, buf: make([]byte, 256<<10), left: -1})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, e); err != nil || e.read != 5000 || e.refused.count != 0 {
			b.Fatal(err, e.read, e.refused)
		}
	}
}

// BenchmarkIncrement measures an increment from its begin to its commit, half of whose records differ, in a table of 20,000.
func BenchmarkIncrement(b *testing.B) {
	for _, n := range []int{1, 200, 2000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			w := newWorld(b)
			w.ensure(account())
			w.change("Account", time.Time{}, mark, rows(accountColumns, accs(20_000, 0)...))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				records := accs(n, 0)
				for j := range n / 2 {
					records[j][1] = strconv.Itoa(i)
				}
				w.change("Account", mark, mark, rows(accountColumns, records...))
			}
		})
	}
}
