package locale

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// What rows keep in words of ours (why a conflict fell as it did, why a record was set aside, why a run failed) is English, for whoever
// reads it with SQL. The catalogue's English sentences of the group kept are those words, and a test holds them to what the engine
// and the database write; so a kept sentence is found by its English form, with what it names, and told in the reader's language.

// keptForm is a sentence of the group kept, as rows hold it.
type keptForm struct {
	key     string
	words   int // how much of it is no name
	form    *regexp.Regexp
	names   []string
	begins  string
	literal bool
}

var keptForms = formsOf(en.sentences)

var nameInForm = regexp.MustCompile(`\{[a-z_]+\}`)

func formsOf(sentences map[string]string) []keptForm {
	var forms []keptForm
	for key := range maps.Keys(sentences) {
		if !strings.HasPrefix(key, "kept.") {
			continue
		}
		s := plain(sentences[key])
		f := keptForm{key: key, literal: true}
		var b strings.Builder
		b.WriteString(`(?s)^`)
		end := 0
		for _, at := range nameInForm.FindAllStringIndex(s, -1) {
			b.WriteString(regexp.QuoteMeta(s[end:at[0]]))
			f.words += at[0] - end
			if f.literal {
				f.begins, f.literal = s[:at[0]], false
			}
			b.WriteString(`(.*?)`)
			f.names, end = append(f.names, s[at[0]+1:at[1]-1]), at[1]
		}
		b.WriteString(regexp.QuoteMeta(s[end:]) + `$`)
		f.words += len(s) - end
		if f.literal {
			f.begins = s
		}
		f.form = regexp.MustCompile(b.String())
		forms = append(forms, f)
	}
	// The form that says most of its own goes first: others would take its words for a name.
	slices.SortFunc(forms, func(a, b keptForm) int { return cmp.Or(b.words-a.words, strings.Compare(a.key, b.key)) })
	return forms
}

// plain writes the catalogue's apostrophe as programs write it.
func plain(s string) string { return strings.ReplaceAll(s, "’", "'") }

// keptDeep bounds how deep sentences are looked for inside of what a sentence names.
const keptDeep = 3

// Kept tells what a row keeps in the reader's language: a sentence of ours, and those inside of it. What is in nobody's words but
// Salesforce's, or a person's, stays as it is.
func (l *Locale) Kept(text string) string {
	if l == en || text == "" {
		return text
	}
	told, _ := l.kept(text, 0)
	return told
}

var inParentheses = regexp.MustCompile(`\(([^()]+)\)`)

func (l *Locale) kept(text string, deep int) (told string, known bool) {
	if deep == keptDeep {
		return text, false
	}
	key, params := keptKey(text)
	if key != "" {
		for i := 1; i < len(params); i += 2 {
			params[i], _ = l.kept(params[i], deep+1)
		}
		return l.T(key, params...), true
	}
	if deep == 0 {
		return text, false
	}
	// A list of columns has the reason behind each.
	return inParentheses.ReplaceAllStringFunc(text, func(part string) string {
		if inner, ok := l.kept(part[1:len(part)-1], deep+1); ok {
			return "(" + inner + ")"
		}
		return part
	}), false
}

// keptKey finds which sentence of ours a text is, and what it names; empty if it is none.
func keptKey(text string) (key string, params []string) {
	s := plain(text)
	for _, f := range keptForms {
		if !strings.HasPrefix(s, f.begins) || f.literal && s != f.begins {
			continue
		}
		found := f.form.FindStringSubmatch(s)
		if found == nil {
			continue
		}
		for i, name := range f.names {
			params = append(params, name, found[i+1])
		}
		return f.key, params
	}
	return "", nil
}

// grants are what Salesforce says with invalid_grant, its word for many things, and the advice for each.
var grants = []struct{ says, advice string }{
	{"expired access/refresh token", "expired"},
	{"authorization code", "code"},
	{"code verifier", "code"},
	{"hasn't approved this consumer", "not_approved"},
	{"request not supported on this domain", "domain"},
	{"no client credentials user enabled", "run_as"},
	{"inactive user", "inactive"},
	{"inactive organization", "inactive"},
	{"does not have api access", "api"},
	{"ip restricted", "ip"},
	{"assertion", "assertion"},
	{"audience", "assertion"},
}

// Advice gives what an error code of Salesforce's or ours means and what to do; both empty where there is nothing to add to the message.
func (l *Locale) Advice(code, message string) (means, do string) {
	key := "advice." + code
	if code == "invalid_grant" {
		said := plain(strings.ToLower(message))
		for _, g := range grants {
			if strings.Contains(said, g.says) {
				key += "." + g.advice
				break
			}
		}
	}
	return l.sentences[key+".means"], l.sentences[key+".do"]
}
