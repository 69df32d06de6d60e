package command

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Settings is what the environment says. The takes tag is what a wrong value is answered with.
type Settings struct {
	DatabaseURL   string        `env:"TANDEM_DATABASE_URL" does:"setting.database_url"`
	DataDir       string        `env:"TANDEM_DATA_DIR" does:"setting.data_dir"`
	Listen        string        `env:"TANDEM_LISTEN" envDefault:"127.0.0.1:8080" does:"setting.listen" takes:"host:port, such as 127.0.0.1:8080"`
	PublicURL     string        `env:"TANDEM_PUBLIC_URL" does:"setting.public_url" takes:"an address such as https://tandem.example.com"`
	SecretKeyFile string        `env:"TANDEM_SECRET_KEY_FILE" does:"setting.secret_key_file"`
	AdminEmail    string        `env:"TANDEM_ADMIN_EMAIL" does:"setting.admin_email"`
	AdminPassword string        `env:"TANDEM_ADMIN_PASSWORD" does:"setting.admin_password"`
	Rest          time.Duration `env:"TANDEM_REST" envDefault:"5m" does:"setting.rest" takes:"a duration such as 30s or 5m"`
	AllowLocalOrg bool          `env:"TANDEM_ALLOW_LOCAL_ORG" envDefault:"false" does:"setting.allow_local_org" takes:"true or false"`
	Workers       int           `env:"TANDEM_WORKERS" envDefault:"4" does:"setting.workers" takes:"a whole number from 1 to 64"`
	PageRows      int           `env:"TANDEM_PAGE_ROWS" envDefault:"50000" does:"setting.page_rows" takes:"a whole number from 100 to 250000"`
	LogLevel      slog.Level    `env:"TANDEM_LOG_LEVEL" envDefault:"info" does:"setting.log_level" takes:"debug, info, warn or error"`
	LogFormat     string        `env:"TANDEM_LOG_FORMAT" envDefault:"text" does:"setting.log_format" takes:"text or json"`
}

// ReadSettings reads the environment once. A wrong value is one line that names the setting, the value and what it takes.
func ReadSettings() (Settings, error) {
	var s Settings
	if err := env.Parse(&s); err != nil {
		var aggregate env.AggregateError
		if errors.As(err, &aggregate) && len(aggregate.Errors) > 0 {
			err = aggregate.Errors[0]
		}
		var parse env.ParseError
		if errors.As(err, &parse) {
			return s, wrongSetting(parse.Name)
		}
		return s, err
	}
	switch {
	case s.Rest < 0 || s.Rest > 24*time.Hour:
		return s, wrongSetting("Rest")
	case s.Workers < 1 || s.Workers > 64:
		return s, wrongSetting("Workers")
	case s.PageRows < 100 || s.PageRows > 250_000:
		return s, wrongSetting("PageRows")
	case s.LogFormat != "text" && s.LogFormat != "json":
		return s, wrongSetting("LogFormat")
	case !isAddress(s.Listen):
		return s, wrongSetting("Listen")
	case s.PublicURL != "" && !isWebAddress(s.PublicURL):
		return s, wrongSetting("PublicURL")
	case s.AdminEmail != "" && s.AdminPassword == "":
		return s, errors.New("TANDEM_ADMIN_EMAIL is set and TANDEM_ADMIN_PASSWORD is not: set both, or neither for a one-time set-up link")
	case s.AdminEmail == "" && s.AdminPassword != "":
		return s, errors.New("TANDEM_ADMIN_PASSWORD is set and TANDEM_ADMIN_EMAIL is not: set both, or neither for a one-time set-up link")
	}
	if s.DataDir == "" {
		s.DataDir = defaultDataDir()
	}
	if s.SecretKeyFile == "" {
		s.SecretKeyFile = filepath.Join(s.DataDir, "secret.key")
	}
	return s, nil
}

// isAddress tells whether a server can listen there, as far as the text goes.
func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == port
}

func isWebAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

func wrongSetting(field string) error {
	f, ok := reflect.TypeFor[Settings]().FieldByName(field)
	if !ok {
		return fmt.Errorf("a setting is wrong: %s", field)
	}
	name := f.Tag.Get("env")
	return fmt.Errorf("%s is %q, but takes %s", name, os.Getenv(name), f.Tag.Get("takes"))
}

// defaultDataDir is below /var/lib for root, whose home the database's user may not enter, and below the user's own data folder else.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/tandem"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tandem")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	return filepath.Join(home, ".local", "share", "tandem")
}

type settingLine struct{ name, value, does string }

func settingsTable() []settingLine {
	t := reflect.TypeFor[Settings]()
	lines := make([]settingLine, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		value := f.Tag.Get("envDefault")
		if f.Name == "DataDir" {
			value = defaultDataDir()
		}
		if value == "" {
			value = "—"
		}
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		lines = append(lines, settingLine{name, value, f.Tag.Get("does")})
	}
	return lines
}

// Log makes the program's logger. Settings are never logged: two of them are secret.
func (s Settings) Log() *slog.Logger {
	o := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// URL is where people reach the web application.
func (s Settings) URL() string {
	if s.PublicURL != "" {
		return strings.TrimRight(s.PublicURL, "/")
	}
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return "http://" + s.Listen
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// restGiven tells whether somebody chose the rest, so that the demo does not choose another.
func (Settings) restGiven() bool { return os.Getenv("TANDEM_REST") != "" }
