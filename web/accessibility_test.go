package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/tandem-sync/tandem/models"
)

// axe gives the accessibility rules that npm has, or skips the test; where they must be there, as in CI, it fails instead.
func axe(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("accessibility/node_modules/axe-core/axe.min.js")
	if err == nil {
		return string(text)
	}
	const missing = "axe-core is not installed: make axe"
	if strings.Contains(","+os.Getenv("TANDEM_CONFORMANCE")+",", ",axe,") {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// tab opens one tab of a browser.
func tab(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("the browser tests need Chromium (on Debian: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-component-update", true))
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stopAllocator)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	// The first step starts the browser, which lives as long as that step's context.
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1320, 960)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// lived gives the site something to show on every page: records set aside on both ways, conflicts, a question, news, differences, runs.
func (s *site) lived() {
	s.t.Helper()
	ctx := s.t.Context()
	s.mirrored()
	s.refused([2]string{rule, "Country is required."}, [2]string{duplicate, "Key__c duplicates 00Q000000000001AAA"}, [2]string{"NEVER_HEARD_OF", "Something else."})
	s.exec(`INSERT INTO mirror.refusals (object, record, sfid, direction, field, code, message, value) VALUES ('Lead', $1, $1, 'in', 'Score__c', 'NOT_A_NUMBER', 'Score__c is "many", which is not a number.', '{"Score__c": "many"}')`, leadID)
	row := ask[int64](s, `SELECT id FROM salesforce.lead WHERE sfid = $1`, leadID)
	for i, state := range []struct{ winner, outcome string }{{"", ""}, {"salesforce", ""}, {"local", ""}, {"salesforce", "seen"}} {
		s.exec(`INSERT INTO mirror.conflicts (object, row_id, sfid, field, column_name, base, local, remote, winner, reason, made_by, made_at, closed_at, closed_by, outcome)
			VALUES ('Lead', $1, $2, 'Company', $3, 'Acme', 'Acme Ltd', NULL, $4, 'That is set for this field, or for its whole object.', 'marketing', now(), CASE WHEN $5 <> '' THEN now() END, 'ada@example.com', $5)`, row, leadID, "company"+strconv.Itoa(i), state.winner, state.outcome)
	}
	s.exec(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application) VALUES ('Lead', $1, $2, 'update', '{"status": "Working"}', '{"status": "Open"}', 'marketing', 'mailer')`, row, leadID)
	s.exec(`INSERT INTO mirror.lineage (object, sfid, kind, to_object, to_sfid) VALUES ('Lead', $1, 'converted', 'Contact', $2)`, leadID, contactID)
	s.exec(`INSERT INTO admin.approvals (kind, counts, asked_at) VALUES ('first-send', '{"Lead.create": 1234, "Contact.update": 5}', now())`)
	s.exec(`INSERT INTO admin.approvals (kind, object, counts, asked_at, answered_at, answer, answered_by) VALUES ('deletions', 'Lead', '{"deletions": 12, "records": 40}', now(), now(), false, 'ada@example.com')`)
	s.exec(`INSERT INTO mirror.checks (object, run_id, fields, state, ended_at, here, there, ranges) VALUES ('Lead', 1, '{Id}', 'done', now(), 42, 42, 1)`)
	s.exec(`INSERT INTO mirror.differences (object, sfid, field, kind, here, there, check_id) VALUES ('Lead', $1, 'City', 'differs', 'Here', NULL, 1), ('Lead', '00Q000000000009AAA', '', 'missing', NULL, NULL, 1)`, leadID)
	s.exec(`INSERT INTO mirror.out_of_scope (object, sfid) VALUES ('Lead', $1)`, secondID)
	cycle, runs, err := s.models.OpenCycle(ctx, []string{"Lead", "Contact", "Account"})
	err = errors.Join(err,
		s.models.AddNoticeOnce(ctx, "news-1", "Lead", "notice.picklist", map[string]string{"field": "Rating", "values": "Lukewarm", "n": "1"}),
		s.models.OfferObjects(ctx, []models.OfferedObject{{Name: "Visit__c", Label: "Visit", LabelPlural: "Visits", Path: "Visit__c → Lead"}}),
		s.models.StartRun(ctx, runs[0].ID), s.models.ProgressRun(ctx, runs[0].ID, models.RunProgress{Phase: models.PhaseReading, Expected: 1200, Read: 300}),
		s.models.FinishRun(ctx, runs[1].ID, models.RunOutcome{State: models.RunFailed, ErrorCode: "INVALID_TYPE", Error: "sObject type 'Contact' is not supported."}),
		s.models.StartRun(ctx, runs[2].ID), s.models.NoteRunWaits(ctx, runs[2].ID, "SERVER_UNAVAILABLE", "Server too busy", time.Minute),
		s.models.NoteCalls(ctx, 100, models.Usage{Used: 2_100, Limit: 10_000}),
	)
	if err != nil {
		s.t.Fatal(cycle, err)
	}
	s.exec(`INSERT INTO admin.runs (cycle, object, kind, state, requested_by, requested_at, started_at, ended_at, read, new, changed, sent) SELECT NULL, 'Lead', 'changes', 'succeeded', '', now(), now(), now(), 9, 3, 2, 1 FROM generate_series(1, 3)`)
}

// foreignTo gives what a page in each language must not say: the sentences of the other, and the catalogue's keys.
func foreignTo(t *testing.T) map[string][]string {
	t.Helper()
	catalogue := map[string]map[string]string{"en": {}, "fr": {}}
	for lang, sentences := range catalogue {
		text, err := os.ReadFile("../templates/locale/" + lang + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if key, sentence, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") {
				sentences[key] = sentence
			}
		}
	}
	foreign := map[string][]string{}
	for lang, other := range map[string]string{"en": "fr", "fr": "en"} {
		for key, sentence := range catalogue[other] {
			foreign[lang] = append(foreign[lang], key)
			own := catalogue[lang][key]
			// What both say alike, and what is too short to be told from a name, is nobody's.
			if len(sentence) > 10 && strings.Count(sentence, " ") > 0 && !strings.ContainsAny(sentence, "{|") && !strings.Contains(own, sentence) {
				foreign[lang] = append(foreign[lang], sentence)
			}
		}
	}
	return foreign
}

// Every page, with something on it and with every question opened, keeps the rules of axe (WCAG 2.2 A and AA, and good practice): in
// English, light and wide, and in French, dark and on a narrow screen. No page scrolls sideways.
func TestAccessibility(t *testing.T) {
	t.Parallel()
	rules, foreign := axe(t), foreignTo(t)
	s := newSite(t)
	browser := tab(t)
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		ctx, cancel := context.WithTimeout(browser, 45*time.Second)
		defer cancel()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	look := func(path, lang, theme string, width int64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(browser, 45*time.Second)
		defer cancel()
		do("open "+path, chromedp.Navigate(s.server.URL+path))
		script := rules + `; document.documentElement.dataset.theme = "` + theme + `"; document.querySelectorAll("details").forEach(d => { d.open = true });
			axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify({
				lang: document.documentElement.lang, text: document.body.innerText, wide: document.documentElement.scrollWidth - innerWidth,
				violations: r.violations.map(v => v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + " | " + n.failureSummary.replace(/\s+/g, " ").slice(0, 300)).join(" || ")) }))`
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, func(p *runtime.EvaluateParams) { p.AwaitPromise = new(true) }))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var found struct {
			Lang, Text string
			Wide       int
			Violations []string
		}
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			t.Fatal(err)
		}
		if found.Lang != lang {
			t.Errorf("%s is in %q, want %q", path, found.Lang, lang)
		}
		if found.Wide > 0 {
			t.Errorf("%s in %s scrolls sideways at %d px, by %d px", path, lang, width, found.Wide)
		}
		for _, sentence := range foreign[lang] {
			if strings.Contains(found.Text, sentence) {
				t.Errorf("%s in %s says %q", path, lang, sentence)
			}
		}
		for _, v := range found.Violations {
			t.Errorf("%s in %s, %s, at %d px: %s", path, lang, theme, width, v)
		}
	}
	do("sign in", chromedp.Navigate(s.server.URL+"/sign-in"))
	look("/sign-in", "en", "light", 1320)
	look("/sign-in", "en", "dark", 1320)
	look("/set-up/none", "en", "dark", 1320)
	look("/nowhere", "en", "light", 1320)
	u, err := s.models.AddUser(t.Context(), "ada@example.com", models.RoleAdmin, "long enough")
	if err != nil {
		t.Fatal(err)
	}
	do("sign in", chromedp.Navigate(s.server.URL+"/sign-in"), chromedp.SendKeys(chromedp.CSS(`[name="email"]`), "ada@example.com"), chromedp.SendKeys(chromedp.CSS(`[name="password"]`), "long enough"), chromedp.Click(chromedp.CSS(`[data-testid="sign-in"]`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="not-connected"]`)))
	for _, path := range []string{"/", "/objects", "/conflicts"} {
		look(path, "en", "light", 1320)
	}
	s.user = "first"
	s.connect()
	s.lived()
	paths := []string{
		"/", "/objects", "/objects/Lead", "/objects/Lead/fields", "/objects/Lead/settings", "/objects/Account", "/objects/Contact", "/history", "/runs/1", "/runs/2", "/errors", "/errors?code=" + rule, "/errors?object=Account",
		"/conflicts", "/conflicts?state=closed", "/approvals", "/records", "/records?q=acme", "/records?state=waiting", "/records?q=nobody", "/records/Lead/" + leadID, "/records/Lead/" + leadID + "/edit", "/records/Lead/new", "/connection", "/settings", "/settings/audit",
	}
	for _, path := range paths {
		look(path, "en", "light", 1320)
	}
	if err := errors.Join(s.models.SetLanguage(t.Context(), u.ID, "fr"), s.models.RefuseConnection(t.Context(), "invalid_grant", "inactive user")); err != nil {
		t.Fatal(err)
	}
	do("make it narrow", chromedp.EmulateViewport(360, 800))
	for _, path := range paths {
		// The same page with other records on it was looked at already.
		if !slices.Contains([]string{"/objects/Account", "/objects/Contact", "/runs/1", "/errors?object=Account", "/errors?code=" + rule, "/records?q=nobody", "/records/Lead/new"}, path) {
			look(path, "fr", "dark", 360)
		}
	}
}
