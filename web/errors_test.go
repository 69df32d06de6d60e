package web_test

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/tandem-sync/tandem/models"
)

// refused makes local changes of the lead that Salesforce refused, one for each code and message, and gives their refusals.
func (s *site) refused(refusals ...[2]string) []int64 {
	s.t.Helper()
	var ids []int64
	for i, r := range refusals {
		sfid := "00Q00000000" + strconv.Itoa(1000+i) + "AAA"
		s.engine(`INSERT INTO salesforce.lead (sfid, name, firstname, lastname, status, company) VALUES ($1, $2, 'Refused', $3, 'Open', 'Now here')`, sfid, "Refused "+strconv.Itoa(i), strconv.Itoa(i))
		row := ask[int64](s, `SELECT id FROM salesforce.lead WHERE sfid = $1`, sfid)
		s.exec(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application, state) VALUES ('Lead', $1, $2, 'update', '{"company": "Was there"}', '{"company": "Now here"}', 'marketing', 'mailer', 'refused')`, row, sfid)
		ids = append(ids, ask[int64](s, `INSERT INTO mirror.refusals (object, direction, record, row_id, sfid, code, message, details)
			VALUES ('Lead', 'out', 'local:' || $1::bigint, $1, $2, $3, $4, '{"base": {"company": "Was there"}, "changed": {"company": "Now here"}, "candidates": ["00Q000000000001AAA"]}') RETURNING id`, row, sfid, r[0], r[1]))
	}
	return ids
}

const (
	rule      = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
	duplicate = "DUPLICATE_VALUE"
)

// What is set aside is grouped by its cause: records of one rule stand together although each message names its own record, two
// rules apart although their code is the same. Each says what it means, what to do, what was to change, and where the record is.
func TestErrorsByCause(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	s.refused([2]string{rule, "Country is required when Status is Qualified."}, [2]string{rule, "Country is required when Status is Qualified."}, [2]string{rule, "Score must be over 10."},
		[2]string{duplicate, "duplicate value found: Key__c duplicates value on record with id: 00Q5g00000A1bCd"}, [2]string{duplicate, "duplicate value found: Key__c duplicates value on record with id: 00Q5g00000B2xYz"},
		[2]string{"NEVER_HEARD_OF", "Something that nobody <foresaw>."})
	s.exec(`INSERT INTO mirror.refusals (object, record, sfid, direction, field, code, message, value) VALUES ('Lead', $1, $1, 'in', 'Score__c', 'NOT_A_NUMBER', 'Score__c is "many", which is not a number.', '{"Score__c": "many"}')`, leadID)
	p := s.signedIn(models.RoleOperator)
	_, body, _ := p.get("/errors")
	for want, n := range map[string]int{`data-testid="cause-Lead-` + rule + `"`: 2, `data-testid="cause-Lead-` + duplicate + `"`: 1, `data-testid="cause-Lead-NEVER_HEARD_OF"`: 1, `data-testid="cause-Lead-NOT_A_NUMBER"`: 1} {
		if got := strings.Count(body, want); got != n {
			t.Errorf("%s is there %d times, want %d", want, got, n)
		}
	}
	has(t, "the page", body, "A validation rule in Salesforce refuses the change", "relax the rule", "Country is required when Status is Qualified.", "Refused 0", "Company:", "Was there", "Now here",
		"https://acme.my.salesforce.com/00Q000000001000AAA", "Something that nobody &lt;foresaw&gt;.", "many", "Correct the value in Salesforce", `data-testid="retry-all"`, `data-testid="resync-Lead"`, "/records/Lead/00Q000000000001AAA")
	if _, body, _ := p.get("/errors", "Accept-Language", "fr"); !strings.Contains(body, "Une règle de validation de Salesforce refuse la modification") {
		t.Error("the advice is not told in French")
	}
	// Another row waits for one of them: both say so.
	child := ask[int64](s, `SELECT max(row_id) FROM mirror.outbox`)
	s.exec(`INSERT INTO mirror.outbox (object, row_id, operation, changed, made_by) SELECT 'Lead', id, 'update', '{}', 'x' FROM salesforce.lead WHERE sfid = $1`, leadID)
	s.exec(`INSERT INTO mirror.links (object, row_id, column_name, parent_object, parent_id) SELECT 'Lead', id, 'company', 'Lead', $2 FROM salesforce.lead WHERE sfid = $1`, leadID, child)
	_, body, _ = p.get("/errors")
	has(t, "the page", body, "1 other change waits for this one")
	_, body, _ = p.get("/records/Lead/" + leadID)
	has(t, "the record that waits", body, "waits for a record that Salesforce refused", `href="/records/Lead/`+strconv.FormatInt(child, 10)+`"`)
	for query, want := range map[string]int{"?code=" + duplicate: 1, "?direction=in": 1, "?object=Contact": 0, "?from=2020-01-01&to=2020-01-02": 0, "?from=nonsense": 5} {
		_, body, _ := p.get("/errors" + query)
		if got := strings.Count(body, `data-testid="cause-`); got != want {
			t.Errorf("/errors%s shows %d causes, want %d", query, got, want)
		}
	}
	status, text, _ := p.get("/errors.csv?code=" + rule)
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if status != http.StatusOK || err != nil || len(lines) != 4 || !strings.Contains(text, "company: Was there → Now here") {
		t.Errorf("the CSV of a code answered %d with %d lines (%v): %s", status, len(lines), err, text)
	}
	// Counts: in the side, on the object, on the overview.
	has(t, "the side", body, `data-testid="count-errors">7<`)
	if _, body, _ := p.get("/objects/Lead"); !strings.Contains(body, "3 validation rule") {
		t.Error("the object does not say why its records are set aside")
	}
	if _, body, _ := p.get("/"); !strings.Contains(body, "6 refused") {
		t.Error("the overview does not count what Salesforce refused")
	}
	viewer := s.signedIn(models.RoleViewer)
	_, body, _ = viewer.get("/errors")
	hasNot(t, "a viewer's page", body, "retry-", "drop-", `type="checkbox"`)
}

// A page of many records of one cause goes on.
func TestErrorsOfOneCauseArePaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	s.exec(`INSERT INTO mirror.refusals (object, direction, record, code, message) SELECT 'Lead', 'out', 'local:' || i, 'UNABLE_TO_LOCK_ROW', 'unable to obtain exclusive access to this record or 1 records: 0015g00000A' || i FROM generate_series(1000, 1249) i`)
	p := s.signedIn(models.RoleViewer)
	_, body, _ := p.get("/errors")
	if n := strings.Count(body, `data-testid="refused-row-`); n != 5 {
		t.Errorf("the page of all shows %d records of the cause, want 5", n)
	}
	seen := 0
	for path := link(body, `data-testid="all-of-UNABLE_TO_LOCK_ROW"`); path != ""; path = link(body, ">Older<") {
		_, body, _ = p.get(path)
		seen += strings.Count(body, `data-testid="refused-row-`)
	}
	if seen != 250 {
		t.Errorf("the pages of the cause show %d records, want 250", seen)
	}
}

// link gives the address of the link that has a mark in or behind its tag.
func link(body, mark string) string {
	at := strings.Index(body, mark)
	if at < 0 {
		return ""
	}
	from := strings.LastIndex(body[:at], `<a href="`)
	if from < 0 {
		return ""
	}
	rest := body[from+len(`<a href="`):]
	return strings.ReplaceAll(rest[:strings.IndexByte(rest, '"')], "&amp;", "&")
}

// One, those ticked, all of a cause or all are sent again; what is dropped says why, goes back to what it was, and is kept in
// the record's story. What is settled meanwhile is told.
func TestRetryAndDrop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	ids := s.refused([2]string{rule, "One."}, [2]string{rule, "One."}, [2]string{rule, "One."}, [2]string{duplicate, "Two."}, [2]string{duplicate, "Two."})
	p := s.signedIn(models.RoleOperator)
	text := func(id int64) string { return strconv.FormatInt(id, 10) }
	waiting := func() int { return ask[int](s, `SELECT count(*) FROM mirror.outbox WHERE state = 'waiting'`) }
	cause := ask[string](s, `SELECT cause FROM mirror.refused_by_cause WHERE id = $1`, ids[0])
	for _, step := range []struct {
		what string
		form url.Values
		want int
	}{
		{"one", url.Values{"what": {text(ids[0])}, "cause": {cause}}, 1},
		{"those ticked", url.Values{"what": {"chosen"}, "cause": {cause}, "id": {text(ids[1])}}, 2},
		{"all of a cause", url.Values{"what": {"all"}, "cause": {cause}}, 3},
	} {
		if status, _, _ := p.post("/errors/retry", step.form); status != http.StatusSeeOther || waiting() != step.want {
			t.Errorf("retrying %s answered %d, and %d wait, want %d", step.what, status, waiting(), step.want)
		}
	}
	if _, body, _ := p.get("/errors"); !strings.Contains(body, "Sent again") || !strings.Contains(body, "operator@example.com") {
		t.Error("the page does not say what was sent again, and by whom")
	}
	for what, form := range map[string]url.Values{"nothing": {"what": {"chosen"}}, "what is none": {"what": {"x"}}, "what is on its way already": {"what": {text(ids[0])}}} {
		if status, body, _ := p.post("/errors/retry", form); status != http.StatusUnprocessableEntity || !strings.Contains(body, `data-testid="errors-problem"`) {
			t.Errorf("retrying %s answered %d", what, status)
		}
	}
	if status, body, _ := p.post("/errors/drop", url.Values{"what": {text(ids[3])}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Say why") {
		t.Errorf("dropping without a reason answered %d", status)
	}
	row := ask[int64](s, `SELECT row_id FROM mirror.refusals WHERE id = $1`, ids[3])
	if status, _, _ := p.post("/errors/drop", url.Values{"what": {text(ids[3])}, "reason": {"typed <twice>"}}); status != http.StatusSeeOther {
		t.Errorf("dropping answered %d", status)
	}
	if got := ask[string](s, `SELECT company FROM salesforce.lead WHERE id = $1`, row); got != "Was there" {
		t.Errorf("after the drop the record holds %s", got)
	}
	if _, body, _ := p.get("/records/Lead/" + text(row)); !strings.Contains(body, "typed &lt;twice&gt;") || !strings.Contains(body, "operator@example.com dropped the edit") {
		t.Error("the record's story does not tell of the drop")
	}
	if status, _, _ := p.post("/errors/retry", url.Values{"what": {"all"}}); status != http.StatusSeeOther || waiting() != 4 {
		t.Errorf("retrying all answered %d, and %d wait", status, waiting())
	}
	viewer := s.signedIn(models.RoleViewer)
	for _, path := range []string{"/errors/retry", "/errors/drop", "/conflicts/seen", "/conflicts/1"} {
		if status, _, _ := viewer.post(path, url.Values{"what": {"all"}, "reason": {"x"}, "side": {"local"}}); status != http.StatusForbidden {
			t.Errorf("a viewer's POST %s answered %d", path, status)
		}
	}
	admin := s.signedIn(models.RoleAdmin)
	if _, body, _ := admin.get("/settings/audit?actor=operator@example.com"); !strings.Contains(body, "dropped 1 refused change (Lead): typed &lt;twice&gt;") {
		t.Error("the audit log does not tell of the drop")
	}
}

// Conflicts show three values, who won and why; those that ask stand first with two answers; overturning makes an ordinary edit.
func TestConflicts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.mirrored()
	row := ask[int64](s, `SELECT id FROM salesforce.lead WHERE sfid = $1`, leadID)
	add := func(field, column, winner, local, remote string) int64 {
		return ask[int64](s, `INSERT INTO mirror.conflicts (object, row_id, sfid, field, column_name, base, local, remote, winner, reason, made_by, made_at) VALUES ('Lead', $1, $2, $3, $4, 'before', $5, $6, $7, 'That is set for this field, or for its whole object.', 'marketing', now() - interval '1 hour') RETURNING id`,
			row, leadID, field, column, local, remote, winner)
	}
	s.exec(`INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome)
		SELECT 700 + n, 'Lead', $1, $2, 'update', '{}', jsonb_build_object(c, 'x'), 'marketing', a, now() - interval '2 hours' + n * interval '1 minute', 'conflict' FROM (VALUES (1, 'company', 'old mailer'), (2, 'company', 'newsletter'), (3, 'title', 'importer')) v(n, c, a)`, row, leadID)
	asks := add("FirstName", "firstname", "", "Amelia", "Amélie")
	lost := add("Company", "company", "salesforce", "Acme Ltd", "Acme")
	other := add("LastName", "lastname", "salesforce", "Du Bois", "Dubois")
	p := s.signedIn(models.RoleOperator)
	_, body, _ := p.get("/conflicts")
	text := func(id int64) string { return strconv.FormatInt(id, 10) }
	has(t, "the page", body, "Amélie Dubois", "before", "Acme Ltd", "Acme", "That is set for this field, or for its whole object.", `data-testid="conflicts-undecided"`, `data-testid="keep-local-`+text(asks)+`"`, `data-testid="keep-salesforce-`+text(asks)+`"`,
		`data-testid="overturn-`+text(lost)+`"`, `data-testid="count-conflicts">3<`)
	if strings.Count(body, "marketing with newsletter") != 1 || strings.Contains(body, "mailer") || strings.Contains(body, "importer") {
		t.Error("the page does not say with which program the field was edited")
	}
	if strings.Index(body, `data-testid="conflict-`+text(asks)) > strings.Index(body, `data-testid="conflict-`+text(other)) {
		t.Error("what asks does not stand first")
	}
	if _, body, _ := p.get("/conflicts?object=Contact"); !strings.Contains(body, `data-testid="conflicts-empty"`) {
		t.Error("the filter by object leaves leads in")
	}
	if status, _, _ := p.post("/conflicts/"+text(lost), url.Values{"side": {"local"}}); status != http.StatusSeeOther {
		t.Errorf("overturning answered %d", status)
	}
	if got := ask[string](s, `SELECT (SELECT company FROM salesforce.lead WHERE id = $1) || ' ' || (SELECT changed ->> 'company' FROM mirror.outbox WHERE row_id = $1) || ' ' || (SELECT base ->> 'company' FROM mirror.outbox WHERE row_id = $1)`, row); got != "Acme Ltd Acme Ltd Acme" {
		t.Errorf("overturned: %s", got)
	}
	if status, body, _ := p.post("/conflicts/"+text(lost), url.Values{"side": {"local"}}); status != http.StatusConflict || !strings.Contains(body, `data-testid="conflicts-problem"`) {
		t.Errorf("overturning twice answered %d", status)
	}
	if status, _, _ := p.post("/conflicts/"+text(asks), url.Values{"side": {"nobody"}}); status != http.StatusConflict {
		t.Errorf("an answer that is none answered %d", status)
	}
	if status, _, _ := p.post("/conflicts/"+text(asks), url.Values{"side": {"salesforce"}}); status != http.StatusSeeOther {
		t.Errorf("answering answered %d", status)
	}
	if got := ask[string](s, `SELECT outcome || ' ' || closed_by FROM mirror.conflicts WHERE id = $1`, asks); got != "salesforce operator@example.com" {
		t.Errorf("answered: %s", got)
	}
	if status, _, _ := p.post("/conflicts/seen", url.Values{"what": {text(other)}}); status != http.StatusSeeOther {
		t.Errorf("marking as seen answered %d", status)
	}
	if _, body, _ := p.get("/conflicts"); !strings.Contains(body, `data-testid="conflicts-empty"`) {
		t.Error("settled conflicts are still there")
	}
	_, body, _ = p.get("/conflicts?state=closed")
	has(t, "the page of what is over", body, "Overturned", "Seen", "operator@example.com")
	if status, text, _ := p.get("/conflicts.csv?state=closed"); status != http.StatusOK || strings.Count(text, "\n") != 4 {
		t.Errorf("the CSV answered %d: %s", status, text)
	}
	if status, _, _ := p.post("/conflicts/seen", url.Values{"what": {"all"}}); status != http.StatusConflict {
		t.Errorf("marking nothing as seen answered %d", status)
	}
}

// Many conflicts are paged without losing any, those that ask first.
func TestConflictsArePaged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connect()
	s.exec(`INSERT INTO mirror.conflicts (object, row_id, sfid, field, winner, reason) SELECT 'Lead', i, '', 'F', CASE WHEN i % 2 = 0 THEN '' ELSE 'local' END, '' FROM generate_series(1, 230) i`)
	p := s.signedIn(models.RoleViewer)
	seen := map[string]bool{}
	for path := "/conflicts"; path != ""; {
		_, body, _ := p.get(path)
		for _, part := range strings.Split(body, `<tr data-testid="conflict-`)[1:] {
			seen[part[:strings.IndexByte(part, '"')]] = true
		}
		path = link(body, ">Older<")
	}
	if len(seen) != 230 {
		t.Errorf("the pages show %d conflicts, want 230", len(seen))
	}
}
