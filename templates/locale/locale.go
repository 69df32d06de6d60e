// Package locale has every sentence that a person reads, in English and French, and writes numbers, dates and durations as
// each language does.
package locale

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/models"
)

//go:embed en.txt
var english string

//go:embed fr.txt
var french string

// Locale is one language.
type Locale struct {
	// Lang is the language's code, as HTML wants it.
	Lang      string
	sentences map[string]string
	group     string
	singular  func(n int64) bool
}

var (
	en = &Locale{"en", parse(english), ",", func(n int64) bool { return n == 1 }}
	fr = &Locale{"fr", parse(french), "\u202f", func(n int64) bool { return n == 0 || n == 1 }}
)

// Languages are the languages that there are, by their code.
var Languages = []string{"en", "fr"}

// parse reads lines of "key = sentence". A sentence's forms for one and for more are parted by " | ".
func parse(text string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		if key, sentence, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") {
			m[strings.TrimSpace(key)] = strings.ReplaceAll(strings.TrimSpace(sentence), `\n`, "\n")
		}
	}
	return m
}

// For gives the language that fits best: of a code such as "fr", a terminal's "fr_FR.UTF-8", or a browser's list
// "fr-CH, en;q=0.8". English where none fits.
func For(wanted string) *Locale {
	for _, w := range strings.Split(wanted, ",") {
		w = strings.ToLower(strings.TrimSpace(w))
		switch {
		case strings.HasPrefix(w, "fr"):
			return fr
		case strings.HasPrefix(w, "en"):
			return en
		}
	}
	return en
}

// Has tells whether there is a sentence of that key.
func (l *Locale) Has(key string) bool { return l.sentences[key] != "" }

// T gives a sentence; params are pairs of name and value. A key without a sentence gives itself, so that nothing is ever blank.
func (l *Locale) T(key string, params ...string) string {
	s, ok := l.sentences[key]
	if !ok {
		return key
	}
	return fill(s, params)
}

// N gives the form of a sentence that fits a number; {n} stands for it.
func (l *Locale) N(key string, n int64, params ...string) string {
	s, ok := l.sentences[key]
	if !ok {
		return key
	}
	one, more, two := strings.Cut(s, " | ")
	if two && !l.singular(n) {
		one = more
	}
	return fill(one, append([]string{"n", l.Number(n)}, params...))
}

func fill(s string, params []string) string {
	if len(params) < 2 {
		return s
	}
	pairs := make([]string, 0, len(params))
	for i := 0; i+1 < len(params); i += 2 {
		pairs = append(pairs, "{"+params[i]+"}", params[i+1])
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

// ObjectLabels gives what people call an object, one and many, in the reader's language. The org tells its labels in the language of its
// sync user; a standard object that nobody renamed has a name in each language, as in Salesforce itself.
func (l *Locale) ObjectLabels(name, label, plural string) (one, many string) {
	key := "object_label." + name
	if l == en || !l.Has(key) || !strings.EqualFold(label, en.N(key, 1)) {
		return label, plural
	}
	return l.N(key, 1), l.N(key, 2)
}

// Number writes a whole number.
func (l *Locale) Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteString(l.group)
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}

// Time writes a moment in UTC, to the second.
func (l *Locale) Time(t time.Time) string {
	if l.Lang == "fr" {
		return t.UTC().Format("02/01/2006 15:04:05") + " UTC"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// Ago writes how long ago a moment was, or how soon it will be.
func (l *Locale) Ago(t, now time.Time) string {
	d := now.Sub(t)
	if d < 0 {
		return l.T("time.in", "duration", l.Duration(-d))
	}
	if d < 2*time.Second {
		return l.T("time.now")
	}
	return l.T("time.ago", "duration", l.Duration(d))
}

// Duration writes a length of time in its two largest units at most.
func (l *Locale) Duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s == 0:
		return l.T("time.moment")
	case s < 60:
		return fmt.Sprintf("%d\u00a0s", s)
	case s < 3600:
		if s%60 == 0 || s >= 600 {
			return fmt.Sprintf("%d\u00a0min", s/60)
		}
		return fmt.Sprintf("%d\u00a0min\u00a0%d\u00a0s", s/60, s%60)
	case s < 86400:
		if s%3600/60 == 0 {
			return fmt.Sprintf("%d\u00a0h", s/3600)
		}
		return fmt.Sprintf("%d\u00a0h\u00a0%d\u00a0min", s/3600, s%3600/60)
	}
	return l.N("time.days", s/86400)
}

// Clock writes a length of time as minutes and seconds.
func (l *Locale) Clock(d time.Duration) string {
	s := int64(max(d, 0).Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s%3600/60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// Error writes a refusal.
func (l *Locale) Error(err error) string {
	var e *models.Error
	if !errors.As(err, &e) {
		return l.T("error.internal")
	}
	params := pairs(e.Params)
	for i := 1; i < len(params); i += 2 {
		params[i] = l.Kept(params[i])
	}
	return strings.TrimSpace(l.T(e.Message, params...))
}

// Check writes one line of a connection's check; a whole number in it is written as the language does.
func (l *Locale) Check(c models.Check) string {
	params := pairs(c.Params)
	for i := 1; i < len(params); i += 2 {
		if n, err := strconv.ParseInt(params[i], 10, 64); err == nil {
			params[i] = l.Number(n)
		}
	}
	return l.T(c.Key, params...)
}

func pairs(m map[string]string) []string {
	out := make([]string, 0, 2*len(m))
	for k, v := range m {
		out = append(out, k, v)
	}
	return out
}
