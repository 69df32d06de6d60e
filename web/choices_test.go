package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tandem-sync/tandem/models"
)

// What waits for a yes stands on every page, in numbers; only an admin answers, once; a no can be asked again.
func TestApprovals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	ctx := t.Context()
	a, err := s.models.AskApproval(ctx, models.ApproveFirstSend, "", map[string]int64{"Lead.create": 1234, "Lead.update": 5, "Contact.delete": 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.models.AskApproval(ctx, models.ApproveDeletions, "Contact", map[string]int64{"deletions": 900, "records": 1000}); err != nil {
		t.Fatal(err)
	}
	admin, operator := s.signedIn(models.RoleAdmin), s.signedIn(models.RoleOperator)
	for _, path := range append(pages, "/approvals", "/conflicts", "/records") {
		_, body, _ := admin.get(path)
		has(t, path, body, `data-testid="banner-approval-first-send"`, "1,234 records would be created, 5 changed and 2 deleted", `data-testid="banner-approval-deletions"`, "900 of 1,000")
	}
	_, body, _ := admin.get("/approvals")
	has(t, "the page", body, `data-testid="approval-Lead"`, `data-testid="sure-yes-first-send"`, `data-testid="sure-no-deletions"`)
	if _, body, _ := operator.get("/approvals"); strings.Contains(body, "sure-yes") {
		t.Error("an operator is shown the answer")
	}
	answer := "/approvals/" + strconv.FormatInt(a.ID, 10)
	if status, _, _ := operator.post(answer, url.Values{"answer": {"yes"}}); status != http.StatusForbidden {
		t.Errorf("an operator's answer answered %d", status)
	}
	if status, _, _ := admin.post(answer, url.Values{"answer": {"perhaps"}}); status != http.StatusUnprocessableEntity {
		t.Errorf("an answer that is none answered %d", status)
	}
	if status, _, _ := admin.post(answer, url.Values{"answer": {"no"}}); status != http.StatusSeeOther {
		t.Errorf("a no answered %d", status)
	}
	if status, body, _ := admin.post(answer, url.Values{"answer": {"yes"}}); status != http.StatusConflict || !strings.Contains(body, "admin@example.com answered this already") {
		t.Errorf("answering twice answered %d", status)
	}
	last := func() models.Approval {
		a, err := s.models.LastApproval(ctx, models.ApproveFirstSend, "")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := last(); a.Answer == nil || *a.Answer {
		t.Errorf("the answer is %v", a.Answer)
	}
	if _, body, _ := admin.get("/"); !strings.Contains(body, "sending-denied") && !strings.Contains(body, "banner-approval-deletions") {
		t.Error("the overview does not say that nothing is sent")
	}
	if status, _, _ := admin.post("/approvals/again", nil); status != http.StatusSeeOther || last().Answer != nil {
		t.Errorf("asking again answered %d", status)
	}
	if status, _, _ := admin.post("/approvals/again", nil); status != http.StatusConflict {
		t.Errorf("asking what is asked answered %d", status)
	}
}

// An object's settings keep what the admin chose, and refuse what cannot be; of what comes from Salesforce only, only what applies.
func TestObjectSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	admin := s.signedIn(models.RoleAdmin)
	status, body, _ := admin.get("/objects/Lead/settings")
	if status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	has(t, "the page", body, `data-testid="create-condition"`, `<option value="Key__c"`, `data-testid="default-LastName"`, `data-testid="default-Company"`, `data-testid="match-email"`, `data-testid="policy-ask"`, `data-testid="delete-allowed"`, `aria-current`)
	_, body, _ = admin.get("/objects/Account/settings")
	has(t, "the page of an object from Salesforce", body, `data-testid="on-deleted-remove"`, `data-testid="formula-hours"`)
	hasNot(t, "the page of an object from Salesforce", body, "create_policy", `name="policy"`, "delete_allowed")

	form := func(pairs ...string) url.Values {
		v := url.Values{
			"create_policy": {"condition"}, "create_field": {"Status"}, "create_operator": {"equals"}, "create_value": {"Working"}, "on_deleted": {"remove"}, "policy": {"ask"}, "external_id": {"Key__c"},
			"match_email": {"true"}, "delete_allowed": {"true"}, "formula_hours": {"6"}, "default-Company": {"Unknown"}, "default_field": {"FirstName"}, "default_value": {"Somebody"},
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, wrong := range []url.Values{
		form("create_policy", "some"), form("create_field", "Nonsense"), form("create_operator", "like"), form("create_value", ""), form("on_deleted", "burn"), form("policy", "coin"),
		form("external_id", "Company"), form("formula_hours", "-1"), form("formula_hours", "x"), form("default-Company", strings.Repeat("x", 81)), form("default-Secret__c", "x"),
	} {
		if status, body, _ := admin.post("/objects/Lead/settings", wrong); status != http.StatusUnprocessableEntity || !strings.Contains(body, `data-testid="object-settings-error"`) {
			t.Errorf("%v answered %d", wrong, status)
		}
	}
	if _, body, _ := admin.post("/objects/Lead/settings", form("create_field", "")); !strings.Contains(body, "Choose the field that the condition looks at.") {
		t.Error("a condition without a field is not told what it lacks")
	}
	if status, _, to := admin.post("/objects/Lead/settings", form()); status != http.StatusSeeOther || to != "/objects/Lead/settings" {
		t.Fatalf("saving answered %d to %q", status, to)
	}
	o, err := s.models.Object(t.Context(), "Lead")
	if err != nil {
		t.Fatal(err)
	}
	if o.CreatePolicy != models.CreateCondition || o.CreateField != "Status" || o.OnDeleted != models.RemoveDeleted || o.Policy != models.PolicyAsk || o.ExternalID != "Key__c" || !o.DeleteAllowed || !o.MatchEmail || o.Recreate || o.FormulaHours != 6 ||
		len(o.CreateDefaults) != 2 || o.CreateDefaults["Company"] != "Unknown" || o.CreateDefaults["FirstName"] != "Somebody" {
		t.Errorf("kept: %+v", o)
	}
	if _, body, _ := admin.get("/objects/Lead/settings"); !strings.Contains(body, `value="Unknown"`) || !strings.Contains(body, `data-testid="default-FirstName"`) {
		t.Error("the page does not show what was kept")
	}
	operator := s.signedIn(models.RoleOperator)
	if status, _, _ := operator.post("/objects/Lead/settings", form()); status != http.StatusForbidden {
		t.Errorf("an operator's settings answered %d", status)
	}
	if _, body, _ := operator.get("/objects/Lead"); strings.Contains(body, `data-testid="tab-settings"`) {
		t.Error("an operator is shown the settings")
	}
	if status, _, _ := admin.get("/objects/Nonsense/settings"); status != http.StatusNotFound {
		t.Errorf("settings of nothing answered %d", status)
	}

	// What people did is told in sentences, in both languages, and can be narrowed.
	_, body, _ = admin.get("/settings/audit")
	has(t, "the audit log", body, "changed the settings of Lead", "admin@example.com", "external id: Key__c", "new rows here: Only rows that meet this condition: Status is Working", "deleted in Salesforce: is removed here", "default of Company: Unknown", "deletions here are sent: yes")
	hasNot(t, "the audit log", body, "<code>object.settings</code>")
	// Whatever was chosen is told by the names that its page has for it, never by the program's.
	for path, v := range map[string]url.Values{
		"/settings/sync":       {"budget_percent": {"30"}, "check_hour": {"3"}, "brake_percent": {"25"}, "send_at_once": {"true"}},
		"/objects/Lead/fields": {"field": {"Company"}, "send-Company": {"true"}, "direction-Company": {"from-salesforce"}, "policy-Company": {"newest"}, "first-Company": {"true"}},
		"/objects/Lead/filter": {"do": {"save"}, "filter": {"City = 'Paris'"}},
		"/settings/people":     {"email": {"new@example.com"}, "role": {"operator"}},
	} {
		if status, body, _ := admin.post(path, v); status != http.StatusSeeOther && status != http.StatusOK {
			t.Fatalf("%s answered %d: %.300s", path, status, body)
		}
	}
	for lang, wants := range map[string][]string{
		"en": {"nightly check: 03:00 UTC", "left out: yes", "direction: From Salesforce", "who wins: the newest", "condition: City = &#39;Paris&#39;", "invited new@example.com as Operator"},
		"fr": {"a changé les réglages de Lead", "vérification nocturne : 03:00 UTC", "écarté : oui", "sens : Depuis Salesforce", "qui l’emporte : le plus récent", "a invité new@example.com comme Opérateur"},
	} {
		_, body, _ := admin.get("/settings/audit", "Accept-Language", lang)
		has(t, "the audit log in "+lang, body, wants...)
		for _, entry := range strings.Split(body, `<tr data-testid="audit-`)[1:] {
			words := regexp.MustCompile(`<[^>]*>|^[^>]*>|\S*@\S*`).ReplaceAllString(entry[:strings.Index(entry, "</tr>")], " ")
			if raw := regexp.MustCompile(`\b[a-z]+_[a-z_]+\b|\btrue\b|\bfalse\b`).FindString(words); raw != "" {
				t.Errorf("in %s the audit log has %s: %s", lang, raw, strings.Join(strings.Fields(words), " "))
			}
		}
	}
	for _, query := range []string{"?actor=somebody@else.example", "?to=2020-01-01"} {
		if _, body, _ := admin.get("/settings/audit" + query); !strings.Contains(body, `data-testid="audit-empty"`) {
			t.Errorf("the audit log with %s is not empty", query)
		}
	}
	if status, text, _ := admin.get("/settings/audit.csv"); status != http.StatusOK || !strings.Contains(text, "object.settings") {
		t.Errorf("the CSV answered %d: %s", status, text)
	}
	if status, _, _ := operator.get("/settings/audit"); status != http.StatusForbidden {
		t.Errorf("an operator's look at the audit log answered %d", status)
	}
}

// The backlog tells how much waits, its oldest, and where it goes; the overview what went to Salesforce today.
func TestBacklog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	p := s.signedIn(models.RoleViewer)
	s.exec(`INSERT INTO mirror.outbox (object, row_id, operation, changed, made_at) SELECT 'Lead', i, 'update', '{}', now() - interval '2 hours' FROM generate_series(1, 3) i`)
	s.exec(`INSERT INTO mirror.outbox (object, row_id, operation, changed) SELECT 'Lead', i, 'update', '{}' FROM generate_series(4, 7) i`)
	s.exec(`INSERT INTO mirror.settled (seq, object, row_id, operation, base, changed, made_by, application, made_at, outcome) SELECT 1000 + i, 'Lead', i, 'update', '{}', '{}', '', '', now() - interval '3 hours', 'accepted' FROM generate_series(1, 2) i`)
	status, err := s.models.Status(t.Context())
	if err == nil {
		err = s.models.TellBacklogs(t.Context(), &status)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range status.Objects {
		if o.Name != "Lead" {
			continue
		}
		h := o.Backlog.Hours
		if o.ToSend != 7 || h[23] != 7 || h[22] != 5 || h[21] != 5 || h[20] != 2 || h[19] != 0 || o.Backlog.Trend() != models.TrendGrowing || o.Backlog.Entered != 4 || o.Backlog.Gone != 2 {
			t.Errorf("the backlog is %d, by hour %v, %s", o.ToSend, h, o.Backlog.Trend())
		}
	}
	_, body, _ := p.get("/")
	has(t, "the overview", body, `data-testid="backlog-Lead"`, "growing: 4 came, 2 went", "7 waiting", `data-testid="to-send-Lead"`)
	_, body, _ = p.get("/objects/Lead")
	has(t, "the object's page", body, `data-testid="waiting-to-send"`, "oldest 2", "growing")
}

// What waits to be sent can be looked at: which records, since when, by whom, and what each waits for. The numbers lead there.
func TestWhatWaitsToBeSent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	p := s.signedIn(models.RoleViewer)
	if _, body, _ := p.get("/records?state=waiting"); !strings.Contains(body, `data-testid="waiting-none"`) {
		t.Error("with nothing to send the page says something else")
	}
	lead := ask[int64](s, `SELECT id FROM salesforce.lead WHERE sfid = $1`, leadID)
	second := ask[int64](s, `SELECT id FROM salesforce.lead WHERE sfid = $1`, secondID)
	contact := ask[int64](s, `SELECT id FROM salesforce.contact WHERE sfid = $1`, contactID)
	for _, o := range []struct {
		object string
		row    int64
		more   string
	}{{"Lead", lead, "state = 'waiting', made_at = now() - interval '3 hours'"}, {"Lead", lead, "state = 'waiting', made_by = 'marketing', application = 'newsletter'"}, {"Lead", second, "state = 'refused'"}, {"Contact", contact, "retry_at = now() + interval '5 minutes'"}} {
		seq := ask[int64](s, `INSERT INTO mirror.outbox (object, row_id, operation, changed) VALUES ($1, $2, 'update', '{}') RETURNING seq`, o.object, o.row)
		s.exec(`UPDATE mirror.outbox SET `+o.more+` WHERE seq = $1`, seq)
	}
	row := func(body string, object string, id int64) string {
		t.Helper()
		_, after, found := strings.Cut(body, `<tr data-testid="waiting-`+object+"-"+strconv.FormatInt(id, 10)+`"`)
		if !found {
			return ""
		}
		return after[:strings.Index(after, "</tr>")]
	}
	_, body, _ := p.get("/records?state=waiting")
	has(t, "the lead that waits", row(body, "Lead", lead), "Amélie Dubois", "3\u00a0h ago", ">2<", "marketing with newsletter", "its turn")
	has(t, "what Salesforce could not take", row(body, "Contact", contact), "tried again in")
	if row(body, "Lead", second) != "" || strings.Index(body, "Amélie") > strings.Index(body, "Zoë") {
		t.Error("what is refused is there, or what has waited longest does not stand first")
	}
	if _, body, _ := p.get("/records?state=waiting&object=Contact"); row(body, "Lead", lead) != "" || row(body, "Contact", contact) == "" {
		t.Error("the list of an object has others")
	}
	for path, link := range map[string]string{"/": "/records?state=waiting", "/objects/Lead": "/records?object=Lead&amp;state=waiting", "/records": "/records?state=waiting"} {
		if _, body, _ := p.get(path); !strings.Contains(body, `href="`+link+`"`) {
			t.Errorf("%s does not lead to what waits", path)
		}
	}
	// A row that refers to one which Salesforce refused says so, and leads to it.
	s.exec(`INSERT INTO mirror.links (object, row_id, column_name, parent_object, parent_id) VALUES ('Lead', $1, 'ownerid', 'Lead', $2)`, lead, second)
	_, body, _ = p.get("/records?state=waiting")
	has(t, "the lead that waits for another", row(body, "Lead", lead), "a record that Salesforce refused:", "Kenji Tanaka", "/records/Lead/"+strconv.FormatInt(second, 10))
	s.exec(`INSERT INTO admin.approvals (kind, counts, asked_at) VALUES ('first-send', '{"Lead.update": 1}', now())`)
	if _, body, _ := p.get("/records?state=waiting", "Accept-Language", "fr"); !strings.Contains(row(body, "Contact", contact), "un oui au premier envoi") {
		t.Error("what waits for a yes does not say so")
	}
}
