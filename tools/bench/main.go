// Bench measures the first sync of Tandem against psql \copy of the same CSV into the same table, in one run, in turns, so
// that what else the machine does meets both alike. It reports medians and their ratio, the program's peak memory, and whether
// both tables hold the same. Only the ratios travel; absolute figures belong to the machine.
//
// Before that it measures what the capture of edits costs a row: see capture.go.
//
// The org is the simulated one, making its records on the same cores, uncompressed; psql reads a file. That is in psql's favour.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/models/localpg"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/simorg"
)

func main() {
	rows := flag.Int("rows", 200_000, "leads")
	fields := flag.Int("fields", 60, "synced fields of a lead")
	rounds := flag.Int("rounds", 3, "rounds; each loads once with psql and once with Tandem")
	binary := flag.String("tandem", "bin/tandem", "the program to measure")
	least := flag.Float64("least", 1.2, "the ratio of rows per second to psql's below which the run fails")
	most := flag.Int64("most-mib", 128, "the peak memory in MiB above which the run fails")
	only := flag.String("only", "", "measure one thing: load, or capture")
	verbose := flag.Bool("v", false, "also tell where the time of each round went")
	flag.Parse()
	if err := run(context.Background(), *binary, *rows, *fields, *rounds, *least, *most, *verbose, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errMissed = errors.New("the goal is missed")

// bench is one run's setting: a private PostgreSQL, an org, and the file that psql reads.
type bench struct {
	binary, dir string
	pg          *localpg.Server
	orgURL      string
	csv         string
	columns     []string
	rows        int
	verbose     bool
}

func run(ctx context.Context, binary string, rows, fields, rounds int, least float64, mostMiB int64, verbose bool, only string) error {
	dir, err := os.MkdirTemp(benchRoot(), "tandem-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user passes through it
		return err
	}
	b := &bench{binary: binary, dir: dir, rows: rows, verbose: verbose, csv: filepath.Join(dir, "lead.csv")}
	if b.pg, err = localpg.Start(ctx, localpg.Config{DataDir: filepath.Join(dir, "pg")}); err != nil {
		return err
	}
	defer func() { _ = b.pg.Stop(context.WithoutCancel(ctx)) }()
	// A goal that capture misses is told at the end: the load is measured all the same.
	var missed error
	if only != "load" {
		if missed = b.capture(ctx, max(rounds, 3)); missed != nil && !errors.Is(missed, errMissed) {
			return missed
		}
	}
	if only == "capture" {
		return missed
	}
	stopOrg, err := b.startOrg(ctx, fields)
	if err != nil {
		return err
	}
	defer stopOrg()
	if err := b.download(ctx); err != nil {
		return fmt.Errorf("fetch the org's leads as CSV: %w", err)
	}
	info, err := os.Stat(b.csv)
	if err != nil {
		return err
	}
	fmt.Printf("%d leads, %d columns, %d MB of CSV, %d rounds\n", rows, len(b.columns), info.Size()/1_000_000, rounds)

	var psql, tandem []float64
	var peak int64
	for round := 1; round <= rounds; round++ {
		name := "bench" + strconv.Itoa(round)
		took, hwm, err := b.tandem(ctx, name)
		if err != nil {
			return fmt.Errorf("round %d, tandem: %w", round, err)
		}
		other, err := b.psql(ctx, name)
		if err != nil {
			return fmt.Errorf("round %d, psql: %w", round, err)
		}
		tandem, psql, peak = append(tandem, took.Seconds()), append(psql, other.Seconds()), max(peak, hwm)
		fmt.Printf("round %d: tandem %.2f s (%.0f rows/s, peak %d MiB), psql \\copy %.2f s (%.0f rows/s), ratio %.2f\n",
			round, took.Seconds(), float64(rows)/took.Seconds(), hwm, other.Seconds(), float64(rows)/other.Seconds(), other.Seconds()/took.Seconds())
		if err := b.same(ctx, name); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if err := b.admin(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	ratio := median(psql) / median(tandem)
	fmt.Printf("median: tandem %.2f s, psql \\copy %.2f s, ratio %.2f (at least %.2f wanted), peak memory %d MiB (at most %d wanted), contents equal\n",
		median(tandem), median(psql), ratio, least, peak, mostMiB)
	if ratio < least || peak > mostMiB {
		return errMissed
	}
	return missed
}

// benchRoot is a folder that PostgreSQL's own user can enter when this runs as root.
func benchRoot() string {
	if os.Geteuid() == 0 {
		return "/var/tmp"
	}
	return os.TempDir()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func (b *bench) startOrg(ctx context.Context, fields int) (func(), error) {
	cmd := exec.CommandContext(ctx, b.binary, "simorg", "--listen", "127.0.0.1:0", "--plain", "--leads", strconv.Itoa(b.rows), "--wide-leads", strconv.Itoa(fields),
		"--contacts", "100", "--tasks", "100", "--events", "100")
	cmd.Env = append(os.Environ(), "LANG=en", "TANDEM_LOG_LEVEL=error")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	if err != nil {
		stop()
		return nil, fmt.Errorf("the simulated org said nothing: %w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	for _, word := range strings.Fields(string(buf[:n])) {
		if strings.HasPrefix(word, "http://") {
			b.orgURL = word
			return stop, nil
		}
	}
	stop()
	return nil, fmt.Errorf("the simulated org did not say where it is: %q", buf[:n])
}

// download fetches all leads through the Bulk API, as the file that psql reads.
func (b *bench) download(ctx context.Context) error {
	client, err := salesforce.New(salesforce.Config{
		Credentials: salesforce.Credentials{LoginURL: b.orgURL, Auth: "client-credentials", ClientID: simorg.DefaultClientID, ClientSecret: simorg.DefaultClientSecret},
		Tokens:      salesforce.MemoryTokens(), AllowLocal: true,
	})
	if err != nil {
		return err
	}
	d, err := client.Describe(ctx, "Lead")
	if err != nil {
		return err
	}
	var names []string
	for _, f := range d.Schema.Synced() {
		names = append(names, f.Name)
		b.columns = append(b.columns, f.Column())
	}
	job, err := client.CreateQueryJob(ctx, "SELECT "+strings.Join(names, ",")+" FROM Lead", true)
	if err != nil {
		return err
	}
	for job.State != salesforce.JobComplete {
		time.Sleep(100 * time.Millisecond)
		if job, err = client.QueryJob(ctx, job.ID); err != nil {
			return err
		}
	}
	token, version, err := b.session(ctx, client)
	if err != nil {
		return err
	}
	f, err := os.Create(b.csv)
	if err != nil {
		return err
	}
	defer f.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.orgURL+"/services/data/v"+version+"/jobs/query/"+job.ID+"/results?maxRecords="+strconv.Itoa(b.rows*2), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Sforce-Locator") != "null" {
		return fmt.Errorf("%s, locator %q", resp.Status, resp.Header.Get("Sforce-Locator"))
	}
	n, err := strconv.Atoi(resp.Header.Get("Sforce-NumberOfRecords"))
	if err != nil {
		return err
	}
	b.rows = n
	_, err = io.Copy(f, resp.Body)
	return err
}

// session signs in anew, for the one request that keeps the raw bytes.
func (b *bench) session(ctx context.Context, client *salesforce.Client) (token, version string, err error) {
	if version, err = client.APIVersion(ctx); err != nil {
		return "", "", err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {simorg.DefaultClientID}, "client_secret": {simorg.DefaultClientSecret}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.orgURL+"/services/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", "", err
	}
	_, after, ok := strings.Cut(string(body), `"access_token":"`)
	if !ok {
		return "", "", errors.New("no access token")
	}
	token, _, _ = strings.Cut(after, `"`)
	return token, version, nil
}

func (b *bench) admin(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, b.pg.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

func (b *bench) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(b.pg.URL())
	if err != nil {
		return nil, err
	}
	c.Database = database
	return pgx.ConnectConfig(ctx, c)
}

// tandem makes a database, connects it, and times the program's own first sync of Lead, from the run's start to its end.
func (b *bench) tandem(ctx context.Context, database string) (time.Duration, int64, error) {
	if err := b.admin(ctx, "CREATE DATABASE "+database); err != nil {
		return 0, 0, err
	}
	u, err := url.Parse(b.pg.URL())
	if err != nil {
		return 0, 0, err
	}
	u.Path = "/" + database
	env := append(os.Environ(), "LANG=en", "TANDEM_DATABASE_URL="+u.String(), "TANDEM_DATA_DIR="+b.dir, "TANDEM_ALLOW_LOCAL_ORG=true", "TANDEM_LOG_LEVEL=warn")
	secret := filepath.Join(b.dir, "secret")
	if err := os.WriteFile(secret, []byte(simorg.DefaultClientSecret), 0o600); err != nil {
		return 0, 0, err
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, b.binary, args...)
		cmd.Env, cmd.Stderr = env, os.Stderr
		return cmd
	}
	if err := command("connect", "--login-url", b.orgURL, "--client-id", simorg.DefaultClientID, "--client-secret-file", secret).Run(); err != nil {
		return 0, 0, fmt.Errorf("connect: %w", err)
	}
	others := []string{"objects", "disable", "User", "Group", "Account", "Contact", "Opportunity", "OpportunityContactRole", "Campaign", "CampaignMember", "CampaignMemberStatus", "Task", "Event"}
	if err := command(others...).Run(); err != nil {
		return 0, 0, fmt.Errorf("leave the other objects out: %w", err)
	}
	if err := b.admin(ctx, "CHECKPOINT"); err != nil {
		return 0, 0, err
	}
	worker := command("worker")
	if err := worker.Start(); err != nil {
		return 0, 0, err
	}
	defer func() { _ = worker.Process.Kill(); _ = worker.Wait() }()
	conn, err := b.connect(ctx, database)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(ctx)
	for deadline := time.Now().Add(20 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var state, message string
		var seconds float64
		err := conn.QueryRow(ctx, `SELECT state, coalesce(error, ''), coalesce(extract(epoch FROM ended_at - started_at), 0)::float8 FROM admin.runs WHERE object = 'Lead' ORDER BY id LIMIT 1`).Scan(&state, &message, &seconds)
		switch {
		case errors.Is(err, pgx.ErrNoRows), err == nil && (state == "queued" || state == "running"):
		case err != nil:
			return 0, 0, err
		case state != "succeeded":
			return 0, 0, fmt.Errorf("the run ended as %s: %s", state, message)
		default:
			if b.verbose {
				if err := timeline(ctx, conn); err != nil {
					return 0, 0, err
				}
			}
			hwm, err := peakMiB(worker.Process.Pid)
			return time.Duration(seconds * float64(time.Second)), hwm, err
		}
	}
	return 0, 0, errors.New("the run did not end")
}

// timeline tells where a run's time went, in milliseconds from its start, by the rows that it left.
func timeline(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `WITH r AS (SELECT * FROM admin.runs WHERE object = 'Lead' ORDER BY id LIMIT 1), l AS (SELECT * FROM mirror.loads ORDER BY id LIMIT 1), e (at, what) AS (
			SELECT requested_at, 'asked for' FROM r UNION ALL SELECT started_at, 'load noted' FROM l UNION ALL SELECT ended_at, 'load ended' FROM l UNION ALL SELECT ended_at, 'run ended' FROM r
			UNION ALL SELECT p.planned_at, 'page ' || p.seq || ' planned' FROM mirror.load_pages p UNION ALL SELECT p.done_at, 'page ' || p.seq || ' begun' FROM mirror.load_pages p)
		SELECT (extract(epoch FROM e.at - r.started_at) * 1000)::int, e.what FROM e, r ORDER BY e.at`)
	if err != nil {
		return err
	}
	var at int
	var what string
	_, err = pgx.ForEachRow(rows, []any{&at, &what}, func() error { fmt.Printf("  %6d ms  %s\n", at, what); return nil })
	return err
}

// peakMiB is the most memory that the process has had at once.
func peakMiB(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	line, _, _ := strings.Cut(after, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return (kib + 1023) / 1024, err
}

// psql times \copy of the file into an empty table like Tandem's own, keys and indexes of its first moment included.
func (b *bench) psql(ctx context.Context, database string) (time.Duration, error) {
	conn, err := b.connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		`CREATE SCHEMA psql`,
		`CREATE TABLE psql.lead (LIKE salesforce.lead INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING STORAGE)`,
		`ALTER TABLE psql.lead ADD PRIMARY KEY (id), ADD UNIQUE (sfid)`,
		`ALTER TABLE psql.lead SET (fillfactor = 90)`,
		`CHECKPOINT`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return 0, err
		}
	}
	quoted := make([]string, len(b.columns))
	for i, c := range b.columns {
		quoted[i] = pgx.Identifier{c}.Sanitize()
	}
	list := strings.Join(quoted, ",")
	copyCommand := fmt.Sprintf(`\copy psql.lead (%s) FROM '%s' WITH (FORMAT csv, HEADER true, FORCE_NULL (%s))`, list, b.csv, list)
	u, err := url.Parse(b.pg.URL())
	if err != nil {
		return 0, err
	}
	u.Path = "/" + database
	cmd := exec.CommandContext(ctx, b.pg.Bin("psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", u.String(), "--command", copyCommand)
	cmd.Stderr = os.Stderr
	started := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, err
	}
	return time.Since(started), nil
}

// same proves that both tables hold the same records, field for field, before their times count.
func (b *bench) same(ctx context.Context, database string) error {
	conn, err := b.connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var n int
	if err := conn.QueryRow(ctx, `SELECT count(*) FROM salesforce.lead a JOIN psql.lead b USING (sfid) WHERE to_jsonb(a) - 'id' = to_jsonb(b) - 'id'`).Scan(&n); err != nil {
		return err
	}
	if n != b.rows {
		return fmt.Errorf("only %d of %d records are equal in both tables", n, b.rows)
	}
	return nil
}
