package simorg_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// What the Makefile says of clients that nobody here wrote: "jsforce" or "jsforce,cli" names those that must be there, so that a test that has
// nothing to run fails in CI. Without it they run where they are installed.
func required(client string) bool {
	return strings.Contains(","+os.Getenv("TANDEM_CONFORMANCE")+",", ","+client+",")
}

// absent skips a test whose client is not installed, or fails it where it has to be.
func absent(t *testing.T, client, text string) {
	t.Helper()
	if required(client) {
		t.Fatal(text)
	}
	t.Skip(text)
}

// A client that was written for the real Salesforce works with the simulated one. It needs node, and jsforce in node_modules of the
// conformance folder.
func TestConformance(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		absent(t, "jsforce", "node is not installed")
	}
	if _, err := os.Stat("conformance/node_modules/jsforce"); err != nil {
		absent(t, "jsforce", "jsforce is not installed: run npm ci in sync/simorg/conformance")
	}
	for name, config := range map[string]simorg.Config{
		"plain":    {Seed: 5, Leads: 5000, Contacts: 500},
		"rotating": {Seed: 6, Leads: 2500, Contacts: 100, RefreshRotation: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, config)
			out, err := exec.Command(node, "conformance/jsforce.mjs", c.url).CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Salesforce's own command line client works with the simulated org, over plain http on loopback. It is large: make conformance
// installs it into conformance/cli, with a Node that it runs on.
func TestConformanceCLI(t *testing.T) {
	t.Parallel()
	cli, err := filepath.Abs("conformance/cli/node_modules/@salesforce/cli/bin/run.js")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cli); err != nil {
		absent(t, "cli", "@salesforce/cli is not installed: run make conformance")
	}
	node := "node"
	if own, _ := filepath.Glob("conformance/cli/node_modules/node-linux-*/bin/node"); len(own) > 0 {
		if node, err = filepath.Abs(own[0]); err != nil {
			t.Fatal(err)
		}
	}
	c := start(t, simorg.Config{Seed: 7, Leads: 300, Contacts: 100})
	dir := t.TempDir()
	sf := func(args ...string) object {
		t.Helper()
		cmd := exec.Command(node, append(append([]string{cli}, args...), "--json")...)
		cmd.Dir = dir
		// A home of its own: whoever runs this may be signed in to an org in theirs.
		cmd.Env = append(os.Environ(), "HOME="+dir, "SF_ACCESS_TOKEN="+c.token, "SF_AUTOUPDATE_DISABLE=true", "SF_SKIP_NEW_VERSION_CHECK=true", "SF_DISABLE_TELEMETRY=true", "SF_DISABLE_LOG_FILE=true")
		out, err := cmd.Output()
		var m object
		if bad := json.Unmarshal(out, &m); bad != nil || err != nil {
			t.Fatalf("sf %s: %v %v\n%s", strings.Join(args, " "), err, bad, out)
		}
		if fmt.Sprint(m["status"]) != "0" {
			t.Fatalf("sf %s gave %s", strings.Join(args, " "), out)
		}
		result, _ := m["result"].(map[string]any)
		return result
	}
	if r := sf("org", "login", "access-token", "--instance-url", c.url, "--no-prompt", "--alias", "sim"); r["username"] != "integration@tandem-sim.example" {
		t.Errorf("the sign-in gave %v", r)
	}
	if r := sf("data", "query", "-o", "sim", "-q", "SELECT Id, Name, Owner.Name FROM Lead WHERE IsConverted = false"); int(r["totalSize"].(float64)) != c.count("SELECT COUNT() FROM Lead WHERE IsConverted = false") {
		t.Errorf("the query counts %v", r["totalSize"])
	}
	if r := sf("sobject", "describe", "-o", "sim", "-s", "Subscription__c"); r["name"] != "Subscription__c" || r["custom"] != true {
		t.Errorf("describe gave %v", r["name"])
	}
	file := filepath.Join(dir, "out.csv")
	sf("data", "export", "bulk", "-o", "sim", "-q", "SELECT Id, Email FROM Lead", "--output-file", file, "--result-format", "csv", "--wait", "2")
	b, err := os.ReadFile(file)
	if n := strings.Count(string(b), "\n") - 1; err != nil || n != c.org.Count("Lead") {
		t.Errorf("the export has %d rows of %d: %v", n, c.org.Count("Lead"), err)
	}
	in := filepath.Join(dir, "in.csv")
	if err := os.WriteFile(in, []byte("LastName,Company,Marketing_Id__c\nCli One,C,m-1\nCli Two,C,m-2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := sf("data", "import", "bulk", "-o", "sim", "-s", "Lead", "--file", in, "--line-ending", "LF", "--wait", "2"); fmt.Sprint(r["processedRecords"], r["failedRecords"]) != "2 0" {
		t.Errorf("the import gave %v", r)
	}
	if rows := c.query("SELECT LastName FROM Lead WHERE Marketing_Id__c = 'm-2'"); len(rows) != 1 || rows[0]["LastName"] != "Cli Two" {
		t.Errorf("imported is %v", rows)
	}
}
