package simorg_test

import (
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/tandem-sync/tandem/sync/simorg"
)

func (c *client) fieldsOf(name string) string {
	c.t.Helper()
	var fields []string
	for _, f := range c.want(200, "GET", "/sobjects/"+name+"/describe", nil).(object)["fields"].([]any) {
		if f := f.(object); f["type"] != "address" && f["type"] != "location" {
			fields = append(fields, f["name"].(string))
		}
	}
	return strings.Join(fields, ", ")
}

// wide makes an org of leads with 60 fields and a finished bulk job over all of them; it gives the job's path.
func wide(t testing.TB, leads int) (*client, string) {
	c := start(t, simorg.Config{Seed: 1, Leads: leads, Contacts: 1000, Accounts: 100, Tasks: 100, Events: 100, WideLeads: 60})
	fields := c.fieldsOf("Lead")
	if n := strings.Count(fields, ",") + 1; n != 60 {
		t.Errorf("Lead has %d fields, want 60", n)
	}
	j := c.want(200, "POST", "/jobs/query", object{"operation": "queryAll", "query": "SELECT " + fields + " FROM Lead"}).(object)
	path := "/jobs/query/" + j["id"].(string)
	c.until(path)
	return c, path
}

// BenchmarkBulkPage measures a page of 50,000 leads with 60 fields as CSV over HTTP, without gzip.
func BenchmarkBulkPage(b *testing.B) { benchmarkPage(b, "identity") }

// BenchmarkBulkPageGzip is the same with gzip; the bytes are those on the wire.
func BenchmarkBulkPageGzip(b *testing.B) { benchmarkPage(b, "gzip") }

func benchmarkPage(b *testing.B, encoding string) {
	c, path := wide(b, 50_000)
	r, err := http.NewRequest("GET", c.url+"/services/data/v68.0"+path+"/results?maxRecords=50000", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept-Encoding", encoding)
	for b.Loop() {
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

// BenchmarkQueryYoung measures an incremental query over a million leads of which a few were touched.
func BenchmarkQueryYoung(b *testing.B) {
	c := start(b, simorg.Config{Seed: 1, Leads: 1_000_000, Contacts: 100, DailyAPILimit: 1 << 30})
	for k := range 20 {
		if _, err := c.org.Create("Lead", object{"LastName": "Young", "Company": "C", "NumberOfEmployees": k}); err != nil {
			b.Fatal(err)
		}
	}
	q := "/query?q=" + url.QueryEscape("SELECT Id, Name, SystemModstamp FROM Lead WHERE SystemModstamp >= 2026-10-02T00:00:00Z ORDER BY SystemModstamp, Id")
	for b.Loop() {
		c.want(200, "GET", q, nil)
	}
}

// An org of a million leads, and a page of 200,000 of them, need little memory.
func TestAMillionLeadsNeedLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("serves 130 MB")
	}
	c, path := wide(t, 1_000_000)
	r, err := http.NewRequest("GET", c.url+"/services/data/v68.0"+path+"/results?maxRecords=200000", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept-Encoding", "identity")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	most, total := uint64(0), int64(0)
	for {
		n, err := io.CopyN(io.Discard, res.Body, 8<<20)
		total += n
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d MB, at most %d MB of heap", total>>20, most>>20)
	if most > 100<<20 {
		t.Errorf("the heap grew to %d MB, want at most 100", most>>20)
	}
}
