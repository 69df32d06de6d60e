package web_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// fields makes a describe's fields: name, type and what holds of it.
func describe(name string, fields ...sobject.Field) sobject.Schema {
	s := sobject.Schema{Name: name, Label: name, LabelPlural: name + "s", Queryable: true, Createable: true, Updateable: true, Deletable: true}
	s.Fields = append([]sobject.Field{{Name: "Id", Type: "id", Label: name + " ID"}}, fields...)
	s.Fields = append(s.Fields, []sobject.Field{
		{Name: "IsDeleted", Type: "boolean", Label: "Deleted"},
		{Name: "CreatedDate", Type: "datetime", Label: "Created Date"},
		{Name: "CreatedById", Type: "reference", Label: "Created By", ReferenceTo: []string{"User"}},
		{Name: "SystemModstamp", Type: "datetime", Label: "System Modstamp"},
	}...)
	return s
}

func writable(name, typ, label string, more ...func(*sobject.Field)) sobject.Field {
	f := sobject.Field{Name: name, Type: typ, Label: label, Nillable: true, Createable: true, Updateable: true}
	if typ == "string" {
		f.Length = 80
	}
	for _, m := range more {
		m(&f)
	}
	return f
}

const (
	leadID    = "00Q000000000001AAA"
	secondID  = "00Q000000000002AAA"
	contactID = "003000000000001AAA"
	userID    = "005000000000001AAA"
)

// mirrored makes the tables of people and a few rows in them, as the engine would.
func (s *site) mirrored() {
	s.t.Helper()
	ctx := s.t.Context()
	m := mirror.New(s.pool)
	person := func(name string, more ...sobject.Field) sobject.Schema {
		fields := []sobject.Field{
			{Name: "Name", Type: "string", Label: "Full Name", NameField: true, Length: 121},
			writable("FirstName", "string", "First Name"),
			writable("LastName", "string", "Last Name", func(f *sobject.Field) { f.Nillable = false }), writable("Email", "email", "Email"),
			writable("Score__c", "double", "Score", func(f *sobject.Field) { f.Custom = true }), writable("Born__c", "date", "Born"), writable("Seen__c", "datetime", "Seen"),
			writable("Wants__c", "multipicklist", "Wants", func(f *sobject.Field) {
				f.PicklistValues = []sobject.PicklistValue{{Active: true, Label: "News", Value: "News"}, {Active: true, Label: "Offers", Value: "Offers"}}
			}),
			writable("HasOptedOut", "boolean", "Opted out"),
			{Name: "Secret__c", Type: "string", Label: "Not to write", Length: 20},
			writable("Key__c", "string", "Key", func(f *sobject.Field) { f.ExternalID = true; f.Unique = true }),
			writable("OwnerId", "reference", "Owner ID", func(f *sobject.Field) { f.ReferenceTo = []string{"Group", "User"} }),
		}
		return describe(name, append(fields, more...)...)
	}
	for _, d := range []struct {
		schema sobject.Schema
		way    mirror.Direction
	}{
		{describe("User", sobject.Field{Name: "Name", Type: "string", Label: "Full Name", NameField: true}, sobject.Field{Name: "Email", Type: "email", Label: "Email"}, sobject.Field{Name: "IsActive", Type: "boolean", Label: "Active"}), mirror.FromSalesforce},
		{describe("Group", sobject.Field{Name: "Name", Type: "string", Label: "Name", NameField: true}, sobject.Field{Name: "Type", Type: "picklist", Label: "Type"}), mirror.FromSalesforce},
		{person("Lead", writable("Company", "string", "Company"), writable("Status", "picklist", "Lead Status", func(f *sobject.Field) {
			f.RestrictedPicklist = true
			f.PicklistValues = []sobject.PicklistValue{{Active: true, Label: "Open", Value: "Open"}, {Active: true, Label: "Working", Value: "Working"}, {Label: "Old", Value: "Old"}}
		})), mirror.TwoWay},
		{person("Contact"), mirror.TwoWay},
	} {
		if _, _, err := m.Ensure(ctx, d.schema, d.way, time.Time{}); err != nil {
			s.t.Fatal(err)
		}
	}
	s.engine(`INSERT INTO salesforce."user" (sfid, name, email, isactive) VALUES ($1, 'Sam Sales', 'sam@acme.example', true), ('005000000000002AAA', 'Sam Gone', 'gone@acme.example', false)`, userID)
	s.engine(`INSERT INTO salesforce.lead (sfid, name, firstname, lastname, email, company, status, isdeleted, createddate, createdbyid, systemmodstamp) VALUES
		($1, 'Amélie Dubois', 'Amélie', 'Dubois', 'Amelie@acme.example', 'Acme', 'Working', false, '2026-11-20T10:00:00Z', $3, '2026-11-20T10:00:00Z'),
		($2, 'Kenji Tanaka', 'Kenji', 'Tanaka', 'kenji@acme.example', 'Beta', 'Open', true, '2026-11-20T10:00:00Z', $3, '2026-11-20T10:00:00Z')`, leadID, secondID, userID)
	s.engine(`INSERT INTO salesforce.contact (sfid, name, lastname, email) VALUES ($1, 'Zoë O’Neill', 'O’Neill', 'zoe@acme.example')`, contactID)
}

// engine writes as the engine does, which is not captured.
func (s *site) engine(sql string, args ...any) {
	s.t.Helper()
	ctx := s.t.Context()
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, `SELECT set_config('tandem.engine', 'on', true)`); err != nil {
		s.t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	if err := tx.Commit(ctx); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](s *site, sql string, args ...any) T {
	s.t.Helper()
	var v T
	if err := s.pool.QueryRow(s.t.Context(), sql, args...).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func has(t *testing.T, what, body string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %q", what, want)
		}
	}
}

func hasNot(t *testing.T, what, body string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if strings.Contains(body, want) {
			t.Errorf("%s has %q", what, want)
		}
	}
}

// Records are found by both ids, by the beginning of an e-mail, a name and a last name, whatever the case; what is not in
// Salesforce yet by any part of its name.
func TestFindingRecords(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	p := s.signedIn(models.RoleViewer)
	local := strconv.FormatInt(ask[int64](s, `SELECT id FROM salesforce.contact WHERE sfid = $1`, contactID), 10)
	for _, c := range []struct{ q, want, not string }{
		{leadID, "Amélie Dubois", "Kenji"},
		{leadID[:15], "Amélie Dubois", "Kenji"},
		{"amelie@ACME", "Amélie Dubois", "Kenji"},
		{"AMÉLIE", "Amélie Dubois", "Kenji"},
		{"dub", "Amélie Dubois", "Kenji"},
		{"tanaka", "Kenji Tanaka", "Amélie"},
		{local, "Zoë O’Neill", "nothing"},
		{"local:" + local, "Zoë O’Neill", "nothing"},
		{userID, "Sam Sales", "Kenji"},
		{"%", `data-testid="records-none"`, "Amélie"},
		{"_", `data-testid="records-none"`, "Amélie"},
		{"nobody", `data-testid="records-none"`, "Amélie"},
	} {
		status, body, _ := p.get("/records?q=" + url.QueryEscape(c.q))
		if status != http.StatusOK || !strings.Contains(body, c.want) || strings.Contains(body, c.not) {
			t.Errorf("a search for %q answered %d, with %s: %t, with %s: %t", c.q, status, c.want, strings.Contains(body, c.want), c.not, strings.Contains(body, c.not))
		}
	}
	if _, body, _ := p.get("/records?q=acme.example&object=Contact"); strings.Contains(body, "Amélie") {
		t.Error("a search in contacts finds a lead")
	}
	s.engine(`INSERT INTO salesforce.lead (firstname, lastname) VALUES ('Ada', 'Lovelace')`)
	s.exec(`INSERT INTO mirror.outbox (object, row_id, operation, changed) SELECT 'Lead', id, 'insert', '{"lastname": "Lovelace"}' FROM salesforce.lead WHERE lastname = 'Lovelace'`)
	for _, q := range []string{"lovelace", "ada", "love"} {
		if _, body, _ := p.get("/records?q=" + q); !strings.Contains(body, "Ada Lovelace") {
			t.Errorf("a row that is not in Salesforce yet is not found by %q", q)
		}
	}
	for state, word := range map[string]string{"waiting": "On its way", "refused": "Set aside"} {
		s.exec(`UPDATE mirror.outbox SET state = $1 WHERE object = 'Lead'`, state)
		_, body, _ := p.get("/records?q=lovelace")
		if strings.Count(body, `data-testid="record-state"`) != 1 || !strings.Contains(body, word) {
			t.Errorf("of a row whose changes are %s, the search does not say %q alone", state, word)
		}
	}
}

// The search reads by indexes, however many records there are.
func TestSearchUsesIndexes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	s.engine(`INSERT INTO salesforce.lead (sfid, name, lastname, email, company) SELECT '00Q' || lpad(i::text, 12, '0') || 'XYZ', 'Given ' || i, 'Family ' || i, 'p' || i || '@example.com', 'C' FROM generate_series(100, 60000) i`)
	for _, c := range []string{"email", "name", "lastname"} {
		s.exec(`CREATE INDEX lead_` + c + `_search ON salesforce.lead (lower(` + c + `) text_pattern_ops)`)
	}
	s.exec(`ANALYZE salesforce.lead`)
	// A backend tells what it read when it ends.
	readOneByOne := func() int64 {
		t.Helper()
		s.pool.Reset()
		for others := 1; others > 0; {
			others = ask[int](s, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`)
		}
		return ask[int64](s, `SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_user_tables WHERE relname = 'lead'`)
	}
	before := readOneByOne()
	lines, err := s.models.SearchRecords(t.Context(), "p4242@example.com", "")
	if err != nil || len(lines) != 1 || lines[0].Name != "Given 4242" {
		t.Fatalf("found %v (%v)", lines, err)
	}
	for _, q := range []string{"family 5", "00Q000000004242XYZ", "4242", "given"} {
		if lines, err = s.models.SearchRecords(t.Context(), q, ""); err != nil || len(lines) == 0 || len(lines) > 20 {
			t.Errorf("by %q found %d (%v)", q, len(lines), err)
		}
	}
	if after := readOneByOne(); after != before {
		t.Errorf("the search read %d rows one after the other", after-before)
	}
}

// A record's page tells its values with the describe's labels, its links by name, and its whole story, newest first.
func TestRecordStory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	p := s.signedIn(models.RoleViewer)
	row := ask[int64](s, `SELECT id FROM salesforce.lead WHERE sfid = $1`, leadID)
	s.exec(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application, made_at) VALUES
		('Lead', $1, $2, 'update', '{"status": "Working"}', '{"status": "Open"}', 'marketing', 'mailer', now() - interval '1 minute')`, row, leadID)
	s.exec(`INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome, by, reason) VALUES
		(90001, 'Lead', $1, $2, 'update', '{"score__c": 1.50}', '{"score__c": 12345678901234567890.5}', 'marketing', 'mailer', now() - interval '2 hours', 'dropped', 'ada@example.com', 'typed twice')`, row, leadID)
	s.exec(`INSERT INTO mirror.refusals (object, direction, record, row_id, sfid, code, message) VALUES ('Lead', 'out', 'local:' || $1::bigint, $1, $2, 'FIELD_CUSTOM_VALIDATION_EXCEPTION', 'Country is <required>.')`, row, leadID)
	s.exec(`INSERT INTO mirror.conflicts (object, row_id, sfid, field, base, local, remote, winner, reason) VALUES ('Lead', $1, $2, 'Company', 'Acme', 'Acme Ltd', 'Acme Inc', 'salesforce', 'That is set for this field, or for its whole object.')`, row, leadID)
	s.exec(`INSERT INTO mirror.lineage (object, sfid, kind, to_object, to_sfid) VALUES ('Lead', $1, 'converted', 'Contact', $2)`, leadID, contactID)
	for _, key := range []string{leadID, leadID[:15], strconv.FormatInt(row, 10)} {
		status, body, _ := p.get("/records/Lead/" + key)
		if status != http.StatusOK {
			t.Fatalf("/records/Lead/%s answered %d", key, status)
		}
		has(t, "the record's page", body, "Amélie Dubois", "Lead Status", "Sam Sales", "https://acme.my.salesforce.com/"+leadID, "local", "12345678901234567890.5", "typed twice", "mailer",
			"Country is &lt;required&gt;.", "Acme Ltd", "Acme Inc", "Zoë O’Neill", `data-testid="story-edited"`, `data-testid="story-settled"`, `data-testid="story-refused"`, `data-testid="story-conflict"`, `data-testid="story-converted"`, `data-testid="story-created"`, `data-testid="record-waiting"`, `data-testid="record-refused"`)
		if strings.Index(body, `data-testid="story-refused"`) > strings.Index(body, `data-testid="story-created"`) {
			t.Error("the story is not told newest first")
		}
		hasNot(t, "a viewer's page", body, `data-testid="edit-record"`)
	}
	if _, body, _ := p.get("/records/Lead/"+leadID, "Accept-Language", "fr"); !strings.Contains(body, "C’est réglé ainsi pour ce champ, ou pour tout l’objet.") {
		t.Error("why a conflict fell as it did is not told in French")
	}
	// Of what the org no longer gives, nobody knows whether it is gone.
	for _, c := range []struct{ sql, en, fr, not string }{
		{`SELECT 1`, "Deleted in Salesforce", "Supprimée dans Salesforce", `data-testid="story-vanished"`},
		{`INSERT INTO mirror.vanished (object, sfid) VALUES ('Lead', '` + secondID + `')`, "Gone from Salesforce, or hidden", "Disparue de Salesforce, ou masquée", "Supprimée dans Salesforce"},
	} {
		s.exec(c.sql)
		_, en, _ := p.get("/records/Lead/" + secondID)
		_, fr, _ := p.get("/records/Lead/"+secondID, "Accept-Language", "fr")
		has(t, "the page of what is deleted", en, c.en)
		has(t, "the page of what is deleted, in French", fr, c.fr)
		hasNot(t, "the page of what is deleted, in French", fr, c.not)
	}
	if _, body, _ := p.get("/records/Lead/" + secondID); !strings.Contains(body, `data-testid="story-vanished"`) || !strings.Contains(body, "hidden by sharing") {
		t.Error("the story does not tell that it may be hidden")
	}
	for _, path := range []string{"/records/Lead/999999", "/records/Lead/00Q000000000009AAA", "/records/Nonsense/1", "/records/Lead/not-an-id"} {
		if status, _, _ := p.get(path); status != http.StatusNotFound {
			t.Errorf("%s answered %d", path, status)
		}
	}
}

// form fills a record's form as a browser sends it: what it showed, and what it holds now.
func form(was, now map[string]string) url.Values {
	v := url.Values{}
	for column, text := range was {
		v.Set("was-"+column, text)
		v.Set("f-"+column, text)
	}
	for column, text := range now {
		v.Set("f-"+column, text)
	}
	return v
}

// The record's form is made from the describe, and is an application like any other: it writes what was changed and nothing
// else, its edit is captured with who made it, and what somebody else changed meanwhile is not written over.
func TestEditingARecord(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	p := s.signedIn(models.RoleOperator)
	edit := "/records/Lead/" + leadID + "/edit"
	status, body, _ := p.get(edit)
	if status != http.StatusOK {
		t.Fatalf("the form answered %d", status)
	}
	has(t, "the form", body, `data-testid="field-LastName"`, `data-testid="field-Status"`, `value="Working" selected`, `type="email"`, `type="date"`, `type="datetime-local"`, `multiple`, `maxlength="80"`)
	hasNot(t, "the form", body, "field-Secret__c", "field-Id", "field-SystemModstamp", `<option value="Old"`)

	shown := map[string]string{"lastname": "Dubois", "status": "Working", "score__c": "", "company": "Acme", "email": "Amelie@acme.example"}
	for what, wrong := range map[string]map[string]string{
		"a number": {"score__c": "many"}, "a choice": {"status": "Nonsense"}, "a name": {"lastname": ""}, "an e-mail": {"email": "nobody"}, "a text": {"company": strings.Repeat("x", 81)},
	} {
		if status, body, _ := p.post(edit, form(shown, wrong)); status != http.StatusUnprocessableEntity || !strings.Contains(body, `data-testid="record-error"`) {
			t.Errorf("%s that cannot be answered %d", what, status)
		}
	}
	status, _, to := p.post(edit, form(shown, map[string]string{"score__c": "1234567890123.25", "status": "Open"}))
	if status != http.StatusSeeOther || !strings.HasPrefix(to, "/records/Lead/") {
		t.Fatalf("saving answered %d to %q", status, to)
	}
	if got := ask[string](s, `SELECT concat_ws(' ', score__c, status, company) FROM salesforce.lead WHERE sfid = $1`, leadID); got != "1234567890123.25 Open Acme" {
		t.Errorf("the record holds %s", got)
	}
	if got := ask[string](s, `SELECT application || ' ' || (changed ->> 'status') || ' ' || (base ->> 'status') || ' ' || (SELECT count(*) FROM jsonb_object_keys(changed)) FROM mirror.outbox WHERE object = 'Lead'`); got != "Tandem: operator@example.com Open Working 2" {
		t.Errorf("captured: %s", got)
	}
	// Somebody else was quicker.
	s.engine(`UPDATE salesforce.lead SET company = 'Acme Inc' WHERE sfid = $1`, leadID)
	if status, body, _ := p.post(edit, form(shown, map[string]string{"company": "Acme Ltd"})); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Acme Inc") || !strings.Contains(body, "Acme Ltd") {
		t.Errorf("an edit of what was changed meanwhile answered %d", status)
	}
	if got := ask[string](s, `SELECT company FROM salesforce.lead WHERE sfid = $1`, leadID); got != "Acme Inc" {
		t.Errorf("it was written over with %s", got)
	}

	status, body, _ = p.get("/records/Lead/new")
	if status != http.StatusOK || !strings.Contains(body, `data-testid="record-form"`) {
		t.Fatalf("the form of a new lead answered %d", status)
	}
	many := form(map[string]string{"lastname": "", "wants__c": ""}, map[string]string{"lastname": "Hopper"})
	many["f-wants__c"] = []string{"News", "Offers"}
	status, _, to = p.post("/records/Lead/new", many)
	if status != http.StatusSeeOther {
		t.Fatalf("a new lead answered %d", status)
	}
	if _, body, _ = p.get(to); !strings.Contains(body, "Hopper") || !strings.Contains(body, "News, Offers") {
		t.Error("the new lead's page does not show it")
	}
	if got := ask[string](s, `SELECT operation || ' ' || (changed ->> 'wants__c') FROM mirror.outbox WHERE changed ->> 'lastname' = 'Hopper'`); got != "insert News;Offers" {
		t.Errorf("captured: %s", got)
	}
	if status, _, _ := p.get("/records/User/" + userID + "/edit"); status != http.StatusConflict {
		t.Errorf("the form of what comes from Salesforce only answered %d", status)
	}
	viewer := s.signedIn(models.RoleViewer)
	for _, path := range []string{edit, "/records/Lead/new"} {
		if status, _, _ := viewer.post(path, form(nil, map[string]string{"lastname": "No"})); status != http.StatusForbidden {
			t.Errorf("a viewer's POST %s answered %d", path, status)
		}
	}
}

// A reference is chosen by what the record is called: the form offers what fits while somebody types, and without a script a name that is
// one record's alone is taken for it. What Salesforce would refuse is not offered.
func TestChoosingAReference(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	s.engine(`INSERT INTO salesforce."group" (sfid, name, type) VALUES ('00G000000000001AAA', 'Sam’s queue', 'Queue'), ('00G000000000002AAA', 'Sam’s friends', 'Regular')`)
	// Those who left are many, and stand before who is here.
	s.engine(`INSERT INTO salesforce."user" (sfid, name, email, isactive) SELECT '005' || lpad(i::text, 12, '0') || 'BBB', 'Sam Left ' || i, 'sam.left' || i || '@acme.example', false FROM generate_series(100, 160) i`)
	p := s.signedIn(models.RoleOperator)
	offers := func(q string) string {
		t.Helper()
		status, body, _ := p.get("/records/Lead/lookup/ownerid?f-ownerid=" + url.QueryEscape(q))
		if status != http.StatusOK {
			t.Fatalf("the lookup of %q answered %d", q, status)
		}
		return body
	}
	body := offers("sam")
	has(t, "the choices", body, `<option value="`+userID+`">Sam Sales · sam@acme.example · User</option>`, `<option value="00G000000000001AAA">Sam’s queue · Group</option>`)
	hasNot(t, "the choices", body, "Sam Gone", "friends")
	has(t, "the name of an id", offers(userID), "Now: Sam Sales")
	if _, body, _ := p.get("/records/Lead/lookup/ownerid?f-ownerid=sam", "Accept-Language", "fr"); !strings.Contains(body, "Sam Sales · sam@acme.example · Utilisateur<") {
		t.Errorf("in French it offers %s", body)
	}
	for path, want := range map[string]int{"/records/Lead/lookup/company?f-company=a": http.StatusNotFound, "/records/Nonsense/lookup/ownerid": http.StatusNotFound} {
		if status, _, _ := p.get(path); status != want {
			t.Errorf("%s answered %d", path, status)
		}
	}
	if status, _, _ := s.signedIn(models.RoleViewer).get("/records/Lead/lookup/ownerid?f-ownerid=sam"); status != http.StatusForbidden {
		t.Errorf("a viewer's lookup answered %d", status)
	}
	edit := "/records/Lead/" + leadID + "/edit"
	save := func(owner string) (int, string) {
		status, body, _ := p.post(edit, form(map[string]string{"ownerid": ""}, map[string]string{"ownerid": owner}))
		return status, body
	}
	if status, body := save("nobody at all"); status != http.StatusUnprocessableEntity || !strings.Contains(body, "no record is called “nobody at all”") {
		t.Errorf("a name that nobody has answered %d", status)
	}
	s.engine(`INSERT INTO salesforce."user" (sfid, name, email, isactive) VALUES ('005000000000003AAA', 'Sam Sales', 'sam2@acme.example', true)`)
	if status, body := save("sam sales"); status != http.StatusUnprocessableEntity || !strings.Contains(body, userID) || !strings.Contains(body, "005000000000003AAA") {
		t.Errorf("a name that two have answered %d", status)
	}
	// What the database refuses is told in the reader's language, with what to do.
	status, body, _ := p.post(edit, form(map[string]string{"ownerid": ""}, map[string]string{"ownerid": "local:99999"}), "Accept-Language", "fr")
	if status != http.StatusUnprocessableEntity || !strings.Contains(body, "il n’y a pas de ligne 99999 dans salesforce.group or salesforce.user. Insérez d’abord la ligne visée") {
		t.Errorf("a row that is not there answered %d", status)
	}
	if status, _ := save("SAM@acme.example"); status != http.StatusSeeOther {
		t.Errorf("an e-mail answered %d", status)
	}
	if got := ask[string](s, `SELECT ownerid FROM salesforce.lead WHERE sfid = $1`, leadID); got != userID {
		t.Errorf("the owner is %s, want %s", got, userID)
	}
	if _, body, _ := p.get(edit); !strings.Contains(body, "Now: Sam Sales") {
		t.Error("the form does not say who the owner is")
	}
}
