package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tandem-sync/tandem"

// arrows are what each folder may import of ours; a folder stands for what is below it unless that has a line of its own.
// It is read with the parser and not asked of the go command, whose answers the test cache would hide.
var arrows = map[string][]string{
	"":                      {"handlers/command", "models", "models/localpg", "sync/engine", "sync/mirror", "sync/salesforce", "sync/simorg", "sync/sobject", "web"},
	"web":                   {"handlers", "models", "static", "templates", "templates/locale"},
	"handlers":              {"models", "static", "templates", "templates/locale"},
	"handlers/command":      {"models", "templates/locale"},
	"templates":             {"models", "templates/locale"},
	"templates/locale":      {"models"},
	"static":                {},
	"models":                {},
	"models/localpg":        {},
	"models/localpg/pgtest": {"models/localpg"},
	"sync/sobject":          {},
	"sync/salesforce":       {"sync/sobject"},
	"sync/mirror":           {"sync/sobject"},
	"sync/engine":           {"models", "sync/mirror", "sync/salesforce", "sync/sobject"},
	"sync/engine/otherorg":  {},
	"sync/simorg":           {},
	"tools/bench":           {"models/localpg", "sync/mirror", "sync/salesforce", "sync/simorg", "sync/sobject"},
}

// top are the names that may stand at the root.
var top = []string{
	"web", "handlers", "models", "sync", "static", "templates", "tools", "main.go", "main_test.go", "arch_test.go", "go.mod", "go.sum",
	"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile", ".ci", ".git", ".gitignore", ".golangci.yml", "bin", "node_modules",
}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	for _, wrong := range checkTree(t, ".") {
		t.Error(wrong)
	}
}

// checkTree gives every way in which a tree is not the house of ARCHITECTURE.md.
func checkTree(t *testing.T, root string) []string {
	t.Helper()
	var wrong []string
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(top, e.Name()) {
			wrong = append(wrong, fmt.Sprintf("%s stands at the root, where only the house's own names do", e.Name()))
		}
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		if file.Name.Name == "sync" {
			wrong = append(wrong, rel+" is of a package sync: that word stays the standard library's")
		}
		dir := filepath.ToSlash(filepath.Dir(rel))
		allowed, known := allowedFor(dir)
		if !known {
			wrong = append(wrong, rel+" stands in a folder that the house does not have")
			return nil
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			ours, is := strings.CutPrefix(path, module+"/")
			if is && ours != dir && !slices.Contains(allowed, ours) {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which no arrow allows", rel, ours))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return wrong
}

func allowedFor(dir string) ([]string, bool) {
	if dir == "." {
		dir = ""
	}
	allowed, ok := arrows[dir]
	return allowed, ok
}

// The check itself notices a broken arrow, a package sync, a stray folder and a stray file.
func TestArchitectureNoticesWhatIsWrong(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for path, text := range map[string]string{
		"handlers/bad.go":        "package handlers\n\nimport _ \"" + module + "/sync/engine\"\n",
		"sync/simorg/bad.go":     "package simorg\n\nimport _ \"" + module + "/sync/sobject\"\n",
		"sync/bad.go":            "package sync\n",
		"utils/bad.go":           "package utils\n",
		"sync/mirror/good.go":    "package mirror\n\nimport _ \"" + module + "/sync/sobject\"\n",
		"sync/mirror/ok_test.go": "package mirror\n\nimport _ \"" + module + "/models\"\n",
		"notes.txt":              "stray\n",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(checkTree(t, root), "\n")
	for _, want := range []string{
		"handlers/bad.go imports sync/engine", "sync/simorg/bad.go imports sync/sobject", "sync/bad.go is of a package sync", "utils stands at the root", "notes.txt stands at the root",
		"utils/bad.go stands in a folder",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the check does not notice: %s\nit says:\n%s", want, got)
		}
	}
	for _, not := range []string{"good.go", "ok_test.go"} {
		if strings.Contains(got, not) {
			t.Errorf("the check complains of %s:\n%s", not, got)
		}
	}
}
