package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tandem-sync/tandem/models"
)

// described gives the site a Lead as after its first cycle: fields in each of their states.
func (s *site) described() {
	s.t.Helper()
	ctx := s.t.Context()
	for _, sql := range []string{
		`INSERT INTO mirror.objects (object, table_name, direction, describe, described_at, records, deleted) VALUES ('Lead', 'salesforce.lead', 'two-way', '{"leftOut": [{"name": "Never__c", "label": "Never read", "type": "string"}]}', now(), 1200, 34)`,
		`INSERT INTO mirror.fields (object, field, column_name, column_type, field_type, added_at, gone_at, left_out_at, filled_at, about) VALUES
			('Lead', 'Id', 'sfid', 'text', 'id', now(), NULL, NULL, now(), '{"label": "Lead ID"}'),
			('Lead', 'Title', 'title', 'text', 'string', now(), NULL, NULL, now(), '{"label": "Title", "updateable": true, "createable": true}'),
			('Lead', 'Old__c', 'old__c', 'text', 'string', now(), now() - interval '3 days', NULL, now(), '{"label": "Old <b>thing</b>", "updateable": true}'),
			('Lead', 'New__c', 'new__c', 'numeric', 'double', now(), NULL, NULL, NULL, '{"label": "New", "updateable": true}'),
			('Lead', 'Score__c', 'score__c', 'numeric', 'double', now(), NULL, NULL, now(), '{"label": "Score", "calculated": true}')`,
		`INSERT INTO mirror.out_of_scope (object, sfid) VALUES ('Lead', '00Q000000000001AAA'), ('Lead', '00Q000000000002AAA')`,
	} {
		if _, err := s.pool.Exec(ctx, sql); err != nil {
			s.t.Fatal(err)
		}
	}
}

// The Fields tab shows how each field stands, in both languages and to each role; the admin's choices are kept, what cannot be
// chosen is refused, and a search narrows what is saved.
func TestFields(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	admin, viewer := s.signedIn(models.RoleAdmin), s.signedIn(models.RoleViewer)
	if status, body, _ := admin.get("/objects/Lead/fields"); status != http.StatusOK || !strings.Contains(body, `data-testid="fields-none"`) {
		t.Errorf("before the first cycle it answered %d", status)
	}
	s.described()
	if err := s.models.SaveFieldChoice(t.Context(), models.FieldChoice{Object: "Lead", Field: "Never__c", Excluded: true, BlankOverwrites: true}, "test"); err != nil {
		t.Fatal(err)
	}
	for lang, words := range map[string][]string{
		"en": {"no longer visible, 3 days ago", "waiting to be filled", "Worked out by Salesforce", "left out, ", "2 records here no longer meet it", "Old &lt;b&gt;thing&lt;/b&gt;", `<code class="block">score__c</code>`},
		"fr": {"n’est plus visible", "à remplir", "Calculé par Salesforce", "2 fiches présentes ici"},
	} {
		status, body, _ := admin.get("/objects/Lead/fields", "Accept-Language", lang)
		if status != http.StatusOK {
			t.Fatalf("answered %d: %.300s", status, body)
		}
		for _, want := range words {
			if !strings.Contains(body, want) {
				t.Errorf("in %s it lacks %q", lang, want)
			}
		}
	}
	if _, body, _ := viewer.get("/objects/Lead/fields"); strings.Contains(body, "save-fields") || strings.Contains(body, "filter-form") || !strings.Contains(body, `data-testid="field-Title"`) {
		t.Error("a viewer is not shown the fields alone")
	}
	for _, path := range []string{"/objects/Lead/fields", "/objects/Lead/filter", "/objects", "/connection/user/accept"} {
		if status, _, _ := viewer.post(path, nil); status != http.StatusForbidden {
			t.Errorf("a viewer's POST %s answered %d", path, status)
		}
	}
	if _, body, _ := admin.get("/objects/Lead/fields?q=scor"); !strings.Contains(body, `data-testid="field-Score__c"`) || strings.Contains(body, `data-testid="field-Title"`) {
		t.Error("the search does not narrow")
	}

	form := url.Values{
		"field": {"Id", "Title", "Score__c", "Nonsense__c"}, "sync-Score__c": {"true"}, // Title is unticked
		"send-Title": {"true"}, "direction-Title": {"from-salesforce"}, "policy-Title": {"ask"}, "first-Title": {"true"},
	}
	if status, _, to := admin.post("/objects/Lead/fields", form); status != http.StatusSeeOther || to != "/objects/Lead/fields" {
		t.Fatalf("saving answered %d to %q", status, to)
	}
	choices, err := s.models.FieldChoices(t.Context(), "Lead")
	want := models.FieldChoice{Object: "Lead", Field: "Title", Excluded: true, Direction: models.FromSalesforce, Policy: models.PolicyAsk, KeepFirst: true}
	if err != nil || len(choices) != 2 || choices["Title"] != want {
		t.Errorf("the choices are %+v, %v", choices, err)
	}
	if _, body, _ := admin.get("/objects/Lead/fields"); !strings.Contains(body, "left out from the next cycle on") {
		t.Error("the page does not tell of the choice")
	}
	form.Set("policy-Title", "loudest")
	if status, body, _ := admin.post("/objects/Lead/fields", form); status != http.StatusUnprocessableEntity || !strings.Contains(body, `data-testid="fields-error"`) {
		t.Errorf("nonsense answered %d", status)
	}
	if status, _, _ := admin.get("/objects/Nonsense/fields"); status != http.StatusNotFound {
		t.Errorf("an object that is not there answered %d", status)
	}
}

// A record filter is counted before it can be saved, Salesforce's refusal is shown, and what could break out of a query is
// refused here; saving it has all records read again.
func TestRecordFilter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.described()
	p := s.signedIn(models.RoleAdmin)
	filter := func() string {
		o, err := s.models.Object(t.Context(), "Lead")
		if err != nil {
			t.Fatal(err)
		}
		return o.RowFilter
	}
	post := func(do, text string) (int, string) {
		status, body, _ := p.post("/objects/Lead/filter", url.Values{"do": {do}, "filter": {text}})
		return status, body
	}
	if status, body := post("count", "Country = 'France'"); status != http.StatusOK || !strings.Contains(body, "Salesforce counts 12 of 3,456 records") || !strings.Contains(body, "filter-save") || filter() != "" {
		t.Errorf("counting answered %d, the filter is %q", status, filter())
	}
	for text, want := range map[string]string{"Nonsense__c = 1": "No such column &#39;Nonsense__c&#39;", "a = 1) OR (b = 2": "parenthesis", "a = 'x": "parenthesis"} {
		for _, do := range []string{"count", "save"} {
			if status, body := post(do, text); status != http.StatusUnprocessableEntity || !strings.Contains(body, want) || filter() != "" {
				t.Errorf("%s %q answered %d, the filter is %q", do, text, status, filter())
			}
		}
	}
	if status, _ := post("save", "where Country = 'France'"); status != http.StatusSeeOther || filter() != "Country = 'France'" {
		t.Errorf("saving answered %d, the filter is %q", status, filter())
	}
	runs, err := s.models.Runs(t.Context(), models.RunFilter{Object: "Lead", Kind: models.RunResync})
	if err != nil || len(runs) != 1 || !runs[0].Active() {
		t.Errorf("the resyncs are %+v, %v", runs, err)
	}
	if status, _ := post("remove", ""); status != http.StatusSeeOther || filter() != "" {
		t.Errorf("removing answered %d, the filter is %q", status, filter())
	}
	// The resync by the filter before is not the answer.
	if runs, err = s.models.Runs(t.Context(), models.RunFilter{Object: "Lead", Kind: models.RunResync}); err != nil || len(runs) != 2 || runs[1].State != models.RunCanceled || !runs[0].Active() {
		t.Errorf("the resyncs are %+v, %v", runs, err)
	}
}

// Objects: custom ones are offered by their path and switched on; one that is switched off keeps what it has, and says so.
func TestObjectsOnOffer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.described()
	ctx := t.Context()
	p := s.signedIn(models.RoleAdmin)
	if err := s.models.OfferObjects(ctx, []models.OfferedObject{{Name: "Line__c", Label: "Line", LabelPlural: "Lines", Path: "Line__c → Subscription__c → Account"}}); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := p.get("/objects"); !strings.Contains(body, "Line__c → Subscription__c → Account") || !strings.Contains(body, `data-testid="enable-Line__c"`) {
		t.Error("the custom object is not offered")
	}
	if status, _, _ := p.post("/objects/Line__c/enable", nil); status != http.StatusSeeOther {
		t.Errorf("switching on answered %d", status)
	}
	if due, err := s.models.ObjectsDue(ctx); err != nil || due[len(due)-1] != "Line__c" {
		t.Errorf("the next cycle reads %v, %v", due, err)
	}
	if status, _, _ := p.post("/objects/Lead/disable", nil); status != http.StatusSeeOther {
		t.Errorf("switching off answered %d", status)
	}
	_, body, _ := p.get("/objects")
	row := body[strings.Index(body, `data-testid="object-choice-Lead"`):]
	row = row[:strings.Index(row, "</tr>")]
	for _, want := range []string{"off, table kept", "<time", `data-testid="kept-Lead">1,200<`, "and 34 deleted in Salesforce", "2 no longer meet the filter"} {
		if !strings.Contains(row, want) {
			t.Errorf("the row of what is switched off lacks %q: %s", want, row)
		}
	}
	// One that the org no longer has is no longer offered; one that is on stays.
	if err := s.models.OfferObjects(ctx, []models.OfferedObject{{Name: "Visit__c", Label: "Visit", LabelPlural: "Visits", Path: "Visit__c → Lead"}}); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := p.get("/"); strings.Count(body, "New in Salesforce: Visits (Visit__c → Lead)") != 1 {
		t.Error("what is new is not told")
	}
	if _, body, _ := p.get("/objects"); !strings.Contains(body, "Line__c") || !strings.Contains(body, "Hangs from no lead") {
		t.Error("what is switched on vanished")
	}
	if status, _, _ := p.post("/objects", nil); status != http.StatusSeeOther {
		t.Errorf("looking again answered %d", status)
	}
	if _, body, _ := p.get("/objects"); !strings.Contains(body, `data-testid="looking"`) {
		t.Error("the page does not say that it is being looked")
	}
}

// News are shown until somebody puts them away: on the overview those of all, on an object's page its own.
func TestNotices(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	ctx := t.Context()
	for range 2 {
		if err := s.models.AddNoticeOnce(ctx, "news-1", "Lead", "notice.picklist", map[string]string{"field": "Rating", "values": "Lukewarm, <hot>", "n": "2"}); err != nil {
			t.Fatal(err)
		}
	}
	p := s.signedIn(models.RoleOperator)
	for _, path := range []string{"/", "/objects/Lead"} {
		if _, body, _ := p.get(path); strings.Count(body, "The picklist Rating has new values: Lukewarm, &lt;hot&gt;.") != 1 {
			t.Errorf("%s does not tell it once", path)
		}
	}
	if _, body, _ := p.get("/objects/Contact"); strings.Contains(body, `data-testid="notices"`) {
		t.Error("another object's page tells it")
	}
	if status, _, _ := p.post("/notices/seen", url.Values{"up_to": {"1"}, "object": {"Lead"}}); status != http.StatusSeeOther {
		t.Errorf("answered %d", status)
	}
	if _, body, _ := p.get("/"); strings.Contains(body, `data-testid="notices"`) {
		t.Error("what was seen is told again")
	}
}

// Signing in with another user of the same org shows what that user sees less or more, and waits for a yes.
func TestAnotherUserIsAskedAbout(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.user = "first"
	p := s.signedIn(models.RoleAdmin)
	form := url.Values{"auth": {"client-credentials"}, "login_url": {"https://acme.my.salesforce.com"}, "client_id": {"key"}, "client_secret": {secret}}
	if status, body, _ := p.post("/connection", form); status != http.StatusSeeOther {
		t.Fatalf("answered %d: %.300s", status, body)
	}
	s.described()
	stored := func() models.Connection {
		c, err := s.models.Connection(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	s.user = "second"
	ask := func() string {
		t.Helper()
		if status, _, to := p.post("/connection", form); status != http.StatusSeeOther || to != "/connection" {
			t.Fatalf("answered %d to %q", status, to)
		}
		_, body, _ := p.get("/connection")
		return body
	}
	body := ask()
	for _, want := range []string{`data-testid="pending-user"`, "second@acme.example", "Campaign", "Title", "Salary__c"} {
		if !strings.Contains(body, want) {
			t.Errorf("the question lacks %q", want)
		}
	}
	if strings.Contains(body, secret) || stored().UserID != "first" {
		t.Errorf("before a yes the user is %s", stored().UserID)
	}
	if status, _, _ := p.post("/connection/user/drop", nil); status != http.StatusSeeOther || stored().UserID != "first" {
		t.Errorf("a no left %s", stored().UserID)
	}
	if _, body, _ := p.get("/connection"); strings.Contains(body, `data-testid="pending-user"`) {
		t.Error("after a no it is asked again")
	}
	ask()
	if status, _, _ := p.post("/connection/user/accept", nil); status != http.StatusSeeOther || stored().UserID != "second" || stored().ClientSecret.Reveal() != secret {
		t.Errorf("a yes left %s", stored().UserID)
	}
	if o, err := s.models.Object(t.Context(), "Campaign"); err != nil || !o.Hidden {
		t.Errorf("what the new user does not see: hidden %v, %v", o.Hidden, err)
	}
}
