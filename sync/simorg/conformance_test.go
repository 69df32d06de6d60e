package simorg_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tandem-sync/tandem/sync/simorg"
)

// A client that was written for the real Salesforce works with the simulated one. It needs node, and jsforce in node_modules of the
// conformance folder or of JSFORCE_DIR.
func TestConformance(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	script, err := filepath.Abs("conformance/jsforce.mjs")
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("JSFORCE_DIR")
	if dir == "" {
		dir = filepath.Dir(script)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "jsforce")); err != nil {
		t.Skip("jsforce is not installed: run npm ci in sync/simorg/conformance")
	}
	if dir != filepath.Dir(script) {
		// An import is looked up from where the script lies.
		b, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		script = filepath.Join(dir, "jsforce.mjs")
		if err := os.WriteFile(script, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := start(t, simorg.Config{Seed: 5, Leads: 5000, Contacts: 500})
	out, err := exec.Command(node, script, c.url).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
