package locale

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var param = regexp.MustCompile(`\{[a-z_]+\}`)

// Both languages have the same sentences, with the same values in them.
func TestLanguagesHaveTheSameSentences(t *testing.T) {
	t.Parallel()
	for key, sentence := range en.sentences {
		other, ok := fr.sentences[key]
		if !ok {
			t.Errorf("%s has no French sentence", key)
			continue
		}
		values := func(s string) []string {
			found := param.FindAllString(s, -1)
			slices.Sort(found)
			return slices.Compact(found)
		}
		if a, b := values(sentence), values(other); !slices.Equal(a, b) {
			t.Errorf("%s names %v in English and %v in French", key, a, b)
		}
		if strings.Contains(sentence, " | ") != strings.Contains(other, " | ") {
			t.Errorf("%s has forms for one and more in one language only", key)
		}
	}
	for key := range fr.sentences {
		if _, ok := en.sentences[key]; !ok {
			t.Errorf("%s has no English sentence", key)
		}
	}
}

// Each key that the program names has a sentence, and each sentence is named: directly, or by the beginning of its key.
func TestKeysAndSentencesFit(t *testing.T) {
	t.Parallel()
	root := "../.."
	key := regexp.MustCompile(`^[a-z_]+\.([A-Za-z_-]+\.?)*$`)
	named := map[string]bool{}
	var prefixes []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "sync" && filepath.Dir(path) == root || d.Name() == "tools" || d.Name() == "static" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			if d.Name() == "sync" {
				return walkEngine(path, named, key)
			}
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		return collect(path, named, key)
	})
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string]bool{}
	for k := range en.sentences {
		groups[strings.SplitN(k, ".", 2)[0]] = true
	}
	for k := range named {
		switch {
		case strings.HasSuffix(k, "."):
			prefixes = append(prefixes, k)
		case strings.HasSuffix(k, ".templ"): // templ notes where its output comes from
		case groups[strings.SplitN(k, ".", 2)[0]] && !en.Has(k) && !notKeys[k] && !en.Has("audit."+k):
			t.Errorf("%s is named and has no sentence", k)
		}
	}
	for k := range en.sentences {
		if !named[k] && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(k, p) }) && !indirect(k) {
			t.Errorf("%s is a sentence that nothing names", k)
		}
	}
}

// notKeys look like keys and are names of other things: actions in the audit log, files.
var notKeys = map[string]bool{
	"user.invite": true, "user.remove": true, "user.reset_password": true, "user.first_admin": true, "user.password": true,
	"connection.save": true, "object.enable": true, "object.disable": true, "sync.pause": true, "sync.resume": true, "sync.now": true,
	"field.save": true, "connection.hold": true, "connection.disconnect": true, "connection.drop": true, "objects.look": true, "object.filter": true,
	"run.cancel": true, "icon.svg": true, "tandem.css": true, "secret.key": true, "simorg.journal": true, "user.role": true,
}

// indirect are the keys whose last part comes from a value: hold's verb, an error's code.
func indirect(k string) bool {
	return strings.HasPrefix(k, "advice.") || strings.HasPrefix(k, "audit.") || slices.Contains([]string{"pause.usage", "pause.object", "pause.all", "resume.usage", "resume.object", "resume.all"}, k)
}

func walkEngine(sync string, named map[string]bool, key *regexp.Regexp) error {
	files, err := filepath.Glob(filepath.Join(sync, "engine", "*.go"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			if err := collect(f, named, key); err != nil {
				return err
			}
		}
	}
	return fs.SkipDir
}

func collect(path string, named map[string]bool, key *regexp.Regexp) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && key.MatchString(s) {
				named[s] = true
			}
		case *ast.Field:
			if n.Tag != nil {
				for _, m := range regexp.MustCompile(`does:"([^"]+)"`).FindAllStringSubmatch(n.Tag.Value, -1) {
					named[m[1]] = true
				}
			}
		}
		return true
	})
	return nil
}

// No page holds a sentence of its own: what stands between the tags of a template is marks, and names of things.
func TestTemplatesHoldNoSentences(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../*_templ.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	written := regexp.MustCompile(`WriteString\(templ_7745c5c3_Buffer, \d+, ("(?:[^"\\]|\\.)*")\)`)
	tag := regexp.MustCompile(`<[^>]*>?|^[^<]*>`)
	word := regexp.MustCompile(`[A-Za-zÀ-ÿ]{2,}`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		matches := written.FindAllStringSubmatch(string(text), -1)
		if len(matches) == 0 {
			t.Fatalf("%s: found nothing that it writes; has templ's output changed?", f)
		}
		for _, m := range matches {
			s, err := strconv.Unquote(m[1])
			if err != nil {
				t.Fatal(err)
			}
			// Inside a tag that was begun before: attributes, not text.
			if !strings.Contains(s, ">") && (strings.Contains(s, "=\"") || s == " checked" || s == " disabled" || s == " selected" || s == " aria-current") {
				continue
			}
			plain := tag.ReplaceAllString(s, " ")
			if w := word.FindString(plain); w != "" && !strings.HasPrefix(strings.TrimSpace(s), "\"") && w != "API" {
				t.Errorf("%s writes %q itself (in %q): it belongs into the catalogue", f, w, s)
			}
		}
	}
}

func TestNumbersAndTimesByLanguage(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC)
	for _, c := range []struct{ got, want string }{
		{en.Number(1234567), "1,234,567"},
		{fr.Number(1234567), "1\u202f234\u202f567"},
		{en.Number(-999), "-999"},
		{en.Number(0), "0"},
		{en.N("time.days", 1), "1 day"},
		{en.N("time.days", 0), "0 days"},
		{fr.N("time.days", 0), "0 jour"},
		{fr.N("time.days", 2), "2 jours"},
		{en.Ago(now.Add(-75*time.Second), now), "1\u00a0min\u00a015\u00a0s ago"},
		{fr.Ago(now.Add(-2*time.Hour), now), "il y a 2\u00a0h"},
		{fr.Ago(now.Add(90*time.Minute), now), "dans 1\u00a0h\u00a030\u00a0min"},
		{en.Ago(now, now), "now"},
		{en.Time(now), "2026-11-20 17:00:00 UTC"},
		{fr.Time(now), "20/11/2026 17:00:00 UTC"},
		{en.Clock(3725 * time.Second), "1:02:05"},
		{en.T("no.such.key"), "no.such.key"},
		{For("fr-CH, en;q=0.8").Lang, "fr"},
		{For("fr_FR.UTF-8").Lang, "fr"},
		{For("de, en;q=0.5").Lang, "en"},
		{For("").Lang, "en"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// Each thing that people do is told in a sentence: whatever the models note in the audit log has one.
func TestEveryActionIsToldInASentence(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../models/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"audit", "auditAlone", "actOnRefused", "setObjects", "setPaused"}, name.Sel.Name) {
				return true
			}
			for _, arg := range call.Args {
				lit, ok := arg.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					continue
				}
				action, err := strconv.Unquote(lit.Value)
				if err != nil || !regexp.MustCompile(`^[a-z]+\.[a-z_]+$`).MatchString(action) {
					continue
				}
				found++
				if !en.Has("audit." + action) {
					t.Errorf("%s: %s has no sentence", path, action)
				}
			}
			return true
		})
	}
	if found < 20 {
		t.Errorf("found only %d actions; has the way of noting them changed?", found)
	}
}
