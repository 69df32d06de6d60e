package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// connectOther stores the other org's credentials with the command line.
func (i *installation) connectOther(o *otherOrg) string {
	i.t.Helper()
	secret := filepath.Join(i.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(otherSecret), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return i.run("connect", "--login-url", o.server.URL, "--auth", "client-credentials", "--client-id", otherClient, "--client-secret-file", secret)
}

// equal compares an object's table with the org, row for row and field for field.
func (o *otherOrg) equal(i *installation, object string) {
	o.t.Helper()
	rows, err := i.pool.Query(o.t.Context(), `SELECT to_jsonb(t)::text FROM `+pgx.Identifier{"salesforce", strings.ToLower(object)}.Sanitize()+` t`)
	if err != nil {
		o.t.Errorf("%s: %v", object, err)
		return
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		o.t.Fatal(err)
	}
	have := map[string]map[string]any{}
	for _, text := range texts {
		row := map[string]any{}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&row); err != nil {
			o.t.Fatal(err)
		}
		have[fmt.Sprint(row["sfid"])] = row
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.objects[object]
	if len(have) != len(d.rows) {
		o.t.Errorf("%s: %d rows here, %d in the org", object, len(have), len(d.rows))
	}
	wrong := 0
	for _, want := range d.rows {
		got := have[want["Id"].(string)]
		if got == nil {
			o.t.Errorf("%s %s is not here", object, want["Id"])
			return
		}
		for _, f := range d.fields {
			if f.kind == "address" || f.kind == "base64" {
				if _, there := got[strings.ToLower(f.name)]; there {
					o.t.Fatalf("%s.%s has a column", object, f.name)
				}
				continue
			}
			column := strings.ToLower(f.name)
			if column == "id" {
				continue
			}
			if a, b := oneForm(want[f.name]), oneForm(f.back(got[column])); a != b {
				if wrong++; wrong < 4 {
					o.t.Errorf("%s %s: %s is %q in the org and %q here", object, want["Id"], f.name, a, b)
				}
			}
		}
	}
}

// back reads what PostgreSQL wrote as JSON.
func (f otherField) back(v any) any {
	s, isText := v.(string)
	switch {
	case !isText:
		return v
	case f.kind == "datetime":
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return s
		}
		return at
	case f.kind == "time":
		return s + ".000Z"
	}
	return v
}

func oneForm(v any) string {
	rational := func(s string) string {
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			return "no number: " + s
		}
		return r.RatString()
	}
	switch v := v.(type) {
	case nil:
		return "null"
	case number:
		return rational(v.rest)
	case json.Number:
		return rational(v.String())
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

// An org that nobody here simulates, with other habits than the simulated one: by the command line alone it is connected,
// copied, and followed through an edit, a new record, a deletion, an undeletion, a new field and a hidden one.
func TestAnOrgThatIsNotOurs(t *testing.T) {
	t.Parallel()
	o := newOtherOrg(t)
	i := install(t, "TANDEM_REST=1h")
	said := i.connectOther(o)
	if !strings.Contains(said, otherID("00D", 1)) {
		t.Errorf("connect said %q, want the org by its id, for its name is hidden", said)
	}
	i.start("worker")
	i.run("sync", "--wait")
	inSync := func(when string) {
		t.Helper()
		s := i.status()
		if s.Connection.State != "connected" || len(s.Objects) != 12 {
			t.Errorf("%s: connection %q with %d objects", when, s.Connection.State, len(s.Objects))
		}
		for _, ob := range s.Objects {
			if ob.State != "in-sync" || int(ob.Records) != o.alive(ob.Name) {
				t.Errorf("%s: %s is %s with %d records (%s), want in-sync with %d", when, ob.Name, ob.State, ob.Records, ob.Error, o.alive(ob.Name))
			}
			o.equal(i, ob.Name)
		}
	}
	inSync("after the first sync")

	lead := o.objects["Lead"].rows[4]["Id"].(string)
	deleted := o.objects["Lead"].rows[40]["Id"].(string) // the 41st is deleted from the start
	dies := o.objects["Contact"].rows[8]["Id"].(string)
	o.write("Lead", lead, map[string]any{"FirstName": "Søren", "AnnualRevenue": number{"2.5E7", "2.5E7"}, "NumberOfEmployees": number{"6.0", "6.0"}, "Description": nil})
	o.write("Lead", deleted, map[string]any{"IsDeleted": false})
	o.write("Contact", dies, map[string]any{"IsDeleted": true})
	o.create("Account")
	o.create("Event")
	i.run("sync", "--wait")
	inSync("after changes")

	o.alter("Lead", func(f []otherField) []otherField {
		return slices.Insert(f, 3, otherField{name: "Tier__c", kind: "picklist", length: 255})
	})
	for n, r := range o.objects["Lead"].rows { // filled without a stamp, as a default of a new field is
		r["Tier__c"] = []any{"gold", nil, "tin"}[n%3]
	}
	o.alter("Contact", func(f []otherField) []otherField {
		return slices.DeleteFunc(f, func(f otherField) bool { return f.name == "Email" })
	})
	i.run("sync", "--wait")
	i.until("the new field is filled", `SELECT count(*) FILTER (WHERE tier__c = 'gold') = 900 FROM salesforce.lead`)
	i.until("the fill ended", `SELECT NOT EXISTS (SELECT FROM admin.runs WHERE ended_at IS NULL)`)
	var kept int
	if err := i.pool.QueryRow(t.Context(), `SELECT count(email) FROM salesforce.contact`).Scan(&kept); err != nil || kept != 2700 {
		t.Errorf("of the hidden field %d values are kept (%v), want all 2700", kept, err)
	}
	inSync("after the fields changed")

	// The session ends in the middle of everything.
	o.mu.Lock()
	clear(o.tokens)
	o.mu.Unlock()
	i.run("sync", "--wait")
	inSync("after the session ended")

	if len(o.strange) > 0 {
		t.Errorf("requests that the documentation does not have: %q", o.strange)
	}
}
