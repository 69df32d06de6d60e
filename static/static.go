// Package static has the files that the pages load: style, script, fonts, icon. They are part of the program.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed *.css *.js *.svg font vendor
var files embed.FS

// Prefix is where the files are served.
const Prefix = "/static/"

var hashes = func() map[string]string {
	m := map[string]string{}
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		h := sha256.Sum256(text)
		m[path] = hex.EncodeToString(h[:6])
		return nil
	})
	if err != nil {
		panic(err) // the files are compiled in
	}
	return m
}()

// URL is a file's address. It changes with the content, so that browsers may keep the file for ever.
func URL(name string) string { return Prefix + name + "?" + hashes[name] }

// Handler serves the files.
func Handler() http.Handler {
	server := http.StripPrefix(Prefix, http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, Prefix)
		hash, ok := hashes[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.URL.RawQuery == hash {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "public, max-age=300")
		}
		server.ServeHTTP(w, r)
	})
}
