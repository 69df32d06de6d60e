package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func (w *world) claim(object string, op Operation) Claim {
	w.t.Helper()
	c, err := w.db.ClaimChanges(w.ctx, 7, object, op, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// one claims an object's only change of the operation.
func (w *world) one(object string, op Operation) (Change, Settlement) {
	w.t.Helper()
	c := w.claim(object, op)
	if len(c.Changes) != 1 {
		w.t.Fatalf("%d changes of %s to %s, want one: %+v", len(c.Changes), object, op, c.Changes)
	}
	return c.Changes[0], settling1(c, 0)
}

func settling1(c Claim, i int) Settlement {
	return Settlement{Claim: c.ID, Object: c.Object, RowID: c.Changes[i].RowID, Seqs: c.Changes[i].Seqs, RunID: 7, Outcome: Accepted}
}

func (w *world) settle(s ...Settlement) {
	w.t.Helper()
	n, err := w.db.Settle(w.ctx, s)
	if err != nil {
		w.t.Fatal(err)
	}
	equal(w.t, "settled", n, len(s))
	// Invariant 5.
	before := w.all()
	if n, err = w.db.Settle(w.ctx, s); err != nil || n != 0 {
		w.t.Errorf("settling twice: %d, %v", n, err)
	}
	equal(w.t, "after settling twice", w.all(), before)
}

// all is everything that sending keeps, for comparison.
func (w *world) all() string {
	w.t.Helper()
	var b strings.Builder
	for _, table := range []string{"mirror.outbox", "mirror.settled", "mirror.claims", "mirror.conflicts", "mirror.refusals", "mirror.held", "mirror.links", "salesforce.lead", "salesforce.campaignmember"} {
		fmt.Fprintf(&b, "%s: %s\n", table, ask[string](w, fmt.Sprintf("SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY t::text), '[]')::text FROM %s t", table)))
	}
	return b.String()
}

func str(s string) *string { return &s }

// values writes a map of values for comparison.
func values(m map[string]*string) string {
	b, _ := json.Marshal(m)
	return string(b)
}

func (w *world) states(object string) string {
	w.t.Helper()
	return ask[string](w, `SELECT coalesce(string_agg(operation || ' ' || row_id || ' ' || state, ', ' ORDER BY seq), '') FROM mirror.outbox WHERE object = $1`, object)
}

func (w *world) history(object string) string {
	w.t.Helper()
	return ask[string](w, `SELECT coalesce(string_agg(operation || ' ' || row_id || ' ' || outcome, ', ' ORDER BY seq), '') FROM mirror.settled WHERE object = $1`, object)
}

func TestLifeOfAnUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	w.exec("UPDATE salesforce.lead SET company = 'A', score__c = 2")
	w.exec("UPDATE salesforce.lead SET company = 'B'")
	equal(t, "backlog", ask[int](w, "SELECT waiting FROM mirror.backlog WHERE object = 'Lead'"), 2)
	claim := w.claim("Lead", Update)
	c := claim.Changes[0]
	equal(t, "base", values(c.Base), `{"Company":"Acme","Score__c":"1"}`)
	equal(t, "local", values(c.Local), `{"Company":"B","Score__c":"2"}`)
	equal(t, "sfid", c.SFID, leadID(1))
	if c.By == "" || c.FirstAt.IsZero() || !c.LastAt.After(c.FirstAt) || len(c.Seqs) != 2 {
		t.Errorf("%+v", c)
	}
	// An edit meanwhile waits for the next claim.
	w.exec("UPDATE salesforce.lead SET company = 'C'")
	if again := w.claim("Lead", Update); again.ID != "" {
		t.Errorf("claimed beside: %+v", again)
	}
	if err := w.db.NoteClaim(w.ctx, claim.ID, "750J", "uploaded"); err != nil {
		t.Fatal(err)
	}
	open, err := w.db.OpenClaims(w.ctx, "Lead")
	if err != nil || len(open) != 1 || open[0].JobID != "750J" || open[0].Step != "uploaded" || open[0].Operation != Update {
		t.Fatalf("%+v, %v", open, err)
	}
	again, err := w.db.ReclaimChanges(w.ctx, claim.ID, 8)
	if err != nil || len(again.Changes) != 1 || values(again.Changes[0].Local) != values(c.Local) || again.RunID != 8 {
		t.Fatalf("%+v, %v", again, err)
	}
	s := settling1(claim, 0)
	s.Values = map[string]*string{"Company": str("B"), "Score__c": str("2.5"), "LastName": str("Renamed")}
	s.Stamp = mark.Add(2 * time.Hour)
	w.settle(s)
	equal(t, "row", ask[string](w, "SELECT format('%s %s %s %s', company, score__c, lastname, systemmodstamp AT TIME ZONE 'UTC') FROM salesforce.lead"), "C 2.5 Renamed 2026-11-20 13:00:00")
	equal(t, "outbox", w.states("Lead"), "update 1 waiting")
	equal(t, "history", w.history("Lead"), "update 1 accepted, update 1 accepted")
	if open, _ := w.db.OpenClaims(w.ctx, ""); len(open) != 0 {
		t.Errorf("the claim is still open: %+v", open)
	}
	if _, err := w.db.ReclaimChanges(w.ctx, claim.ID, 9); !errors.Is(err, ErrNoClaim) {
		t.Errorf("got %v, want ErrNoClaim", err)
	}
	c, s = w.one("Lead", Update)
	equal(t, "base of the edit meanwhile", values(c.Base), `{"Company":"B"}`)
	s.Outcome, s.RetryAt = Retry, time.Now().Add(time.Hour)
	w.settle(s)
	if again := w.claim("Lead", Update); again.ID != "" {
		t.Errorf("claimed before its time: %+v", again)
	}
	w.exec("UPDATE mirror.outbox SET retry_at = now()")
	c, s = w.one("Lead", Update)
	equal(t, "attempts", c.Attempts, 1)
	s.Outcome = Released
	w.settle(s)
	c, _ = w.one("Lead", Update)
	equal(t, "attempts", c.Attempts, 1)
}

func TestCreateWithChildren(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.exec("INSERT INTO salesforce.lead (lastname, company) VALUES ('Ada', 'Engines')")
	w.exec("INSERT INTO salesforce.campaign (name) VALUES ('Spring')")
	w.exec("INSERT INTO salesforce.campaign (name, parentid) VALUES ('Child', 'local:1')")
	w.exec("INSERT INTO salesforce.campaignmember (campaignid, leadid, status) VALUES ('local:1', 'local:1', 'Sent')")
	if c := w.claim("CampaignMember", Insert); c.ID != "" {
		t.Errorf("a member was claimed before its people: %+v", c)
	}
	c := w.claim("Campaign", Insert)
	if len(c.Changes) != 1 || values(c.Changes[0].Local) != `{"Name":"Spring"}` || c.Changes[0].SFID != "" {
		t.Fatalf("%+v", c)
	}
	s := settling1(c, 0)
	s.SFID, s.Stamp, s.Values = id("701", 1), mark, map[string]*string{"Name": str("Spring")}
	w.settle(s)
	equal(t, "parent", ask[string](w, "SELECT sfid FROM salesforce.campaign WHERE id = 1"), id("701", 1))
	ch, _ := w.one("Campaign", Insert)
	equal(t, "child", values(ch.Local), `{"Name":"Child","ParentId":"`+id("701", 1)+`"}`)
	equal(t, "child's row", ask[string](w, "SELECT parentid FROM salesforce.campaign WHERE id = 2"), id("701", 1))
	if c := w.claim("CampaignMember", Insert); c.ID != "" {
		t.Errorf("a member was claimed before its person: %+v", c)
	}
	equal(t, "records before", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 0)
	_, s = w.one("Lead", Insert)
	w.exec("UPDATE salesforce.lead SET company = 'Later' WHERE id = 1")
	s.SFID = leadID(1)
	w.settle(s)
	equal(t, "records after", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 1)
	ch, _ = w.one("CampaignMember", Insert)
	equal(t, "member", values(ch.Local), `{"CampaignId":"`+id("701", 1)+`","LeadId":"`+leadID(1)+`","Status":"Sent"}`)
	equal(t, "links", ask[int](w, "SELECT count(*) FROM mirror.links"), 0)
	ch, _ = w.one("Lead", Update)
	equal(t, "the edit meanwhile", values(ch.Base)+values(ch.Local)+ch.SFID, `{"Company":"Engines"}{"Company":"Later"}`+leadID(1))
	// From now on local:1 is the lead's sfid at once.
	w.exec("INSERT INTO salesforce.campaignmember (campaignid, leadid) VALUES ('" + id("701", 1)[:15] + "', 'local:1')")
	equal(t, "at once", ask[string](w, "SELECT campaignid || leadid FROM salesforce.campaignmember WHERE id = 2"), id("701", 1)+leadID(1))
	equal(t, "in the outbox", ask[string](w, "SELECT (changed->>'campaignid') || (changed->>'leadid') FROM mirror.outbox WHERE object = 'CampaignMember' AND row_id = 2"), id("701", 1)+leadID(1))
}

// A record that was made by us and read before its acceptance was settled ends as one row: the one that people know.
func TestAcceptedAfterItWasRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.exec("INSERT INTO salesforce.lead (lastname, company) VALUES ('Ada', 'Engines')")
	w.exec("CREATE TABLE public.mine (lead bigint REFERENCES salesforce.lead (id))")
	c := w.claim("Lead", Insert)
	// The worker dies here, after Salesforce accepted; the next cycle reads the record, and people use that row.
	w.change("Lead", time.Time{}, mark, rows(leadColumns, []string{leadID(1), "Ada", "Engines Ltd", "3", "false", stampAt(5)}))
	equal(t, "rows before", ask[int](w, "SELECT count(*) FROM salesforce.lead"), 2)
	w.exec("UPDATE salesforce.lead SET email = 'ada@x.org' WHERE sfid = $1", leadID(1))
	w.exec("INSERT INTO public.mine SELECT id FROM salesforce.lead WHERE sfid = $1", leadID(1))
	w.exec("INSERT INTO salesforce.campaignmember (leadid) VALUES ('local:1')")
	w.exec("UPDATE salesforce.lead SET lastname = 'Lovelace' WHERE id = 1")
	s := settling1(c, 0)
	s.SFID = leadID(1)
	w.settle(s)
	equal(t, "rows", ask[string](w, "SELECT string_agg(format('%s %s %s %s %s %s', id, sfid, lastname, company, score__c, email), ';') FROM salesforce.lead"),
		"1 "+leadID(1)+" Lovelace Engines Ltd 3 ada@x.org")
	equal(t, "my table", ask[int](w, "SELECT lead FROM public.mine"), 1)
	equal(t, "member", ask[string](w, "SELECT leadid FROM salesforce.campaignmember"), leadID(1))
	equal(t, "counters", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 1)
	ch, _ := w.one("Lead", Update)
	equal(t, "both edits", values(ch.Local), `{"Email":"ada@x.org","LastName":"Lovelace"}`)
	// A read that comes again finds the one row.
	w.change("Lead", mark, mark, rows(leadColumns, []string{leadID(1), "Ada", "Engines Ltd", "3", "false", stampAt(6)}))
	equal(t, "rows", ask[int](w, "SELECT count(*) FROM salesforce.lead"), 1)
}

// A deletion that is not allowed brings the row back, with its id, its unsent edits, and what Salesforce changed meanwhile.
func TestRestore(t *testing.T) {
	t.Parallel()
	for _, reread := range []bool{false, true} {
		w := newWorld(t)
		w.twoWay()
		w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0), lead(2, "Bolt", 0)))
		w.exec("UPDATE salesforce.lead SET company = 'Mine' WHERE id = 1")
		w.exec("DELETE FROM salesforce.lead WHERE id = 1")
		// Reads do not bring it back by themselves.
		r := w.change("Lead", mark, mark, rows(leadColumns, []string{leadID(1), "Renamed", "Theirs", "5", "false", stampAt(5)}))
		equal(t, "read", r, Result{Read: 1, Unchanged: 1})
		equal(t, "rows", ask[int](w, "SELECT count(*) FROM salesforce.lead"), 1)
		ch, s := w.one("Lead", Delete)
		equal(t, "base", *ch.Base["LastName"], "Lead 1")
		if reread {
			// As if the deletion had not been known to the read.
			w.asEngine("INSERT INTO salesforce.lead (sfid, lastname, company) VALUES ($1, 'Renamed', 'Theirs')", leadID(1))
			w.exec("UPDATE mirror.objects SET records = records + 1 WHERE object = 'Lead'")
		}
		s.Outcome, s.Reason = Restored, "Deletions are not sent."
		s.Values = map[string]*string{"Email": str("e@x.org"), "Company": str("Theirs")}
		w.settle(s)
		equal(t, "row", ask[string](w, "SELECT format('%s %s %s %s %s %s', id, sfid, lastname, company, email, isdeleted) FROM salesforce.lead WHERE sfid = $1", leadID(1)), "1 "+leadID(1)+" Renamed Mine e@x.org f")
		equal(t, "counters", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 2)
		equal(t, "history", w.history("Lead"), "delete 1 restored")
		ch, _ = w.one("Lead", Update)
		equal(t, "the edit before it", values(ch.Base)+values(ch.Local), `{"Company":"Acme"}{"Company":"Mine"}`)
	}
}

func TestDeletionAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	w.exec("DELETE FROM salesforce.lead")
	_, s := w.one("Lead", Delete)
	w.settle(s)
	equal(t, "counters", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 0)
	// The org still tells of it, as deleted; that is no news.
	gone := lead(1, "Acme", 9)
	gone[4] = "true"
	w.change("Lead", mark, mark, rows(leadColumns, gone))
	equal(t, "rows", ask[int](w, "SELECT count(*) FROM salesforce.lead"), 0)
	// Undeleted there, it is back here.
	w.change("Lead", mark, mark, rows(leadColumns, lead(1, "Acme", 10)))
	equal(t, "rows", ask[int](w, "SELECT count(*) FROM salesforce.lead WHERE NOT isdeleted"), 1)
	equal(t, "counters", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 1)
}

// What is refused waits for a person, or for an edit of the row, and nothing waits behind it.
func TestRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0), lead(2, "Bolt", 0)))
	refuse := func(op Operation) {
		t.Helper()
		_, s := w.one("Lead", op)
		s.Outcome, s.Code, s.Message, s.Field = Refused, "INVALID_EMAIL_ADDRESS", "Email: invalid email address: nope", "Email"
		s.Details = map[string]any{"allowed": []string{"a", "b"}}
		w.settle(s)
	}
	w.exec("UPDATE salesforce.lead SET email = 'nope' WHERE id = 1")
	refuse(Update)
	equal(t, "refused", ask[string](w, `SELECT format('%s %s %s %s %s %s %s %s', row_id, sfid, direction, field, column_name, code, message, details) FROM mirror.refused`),
		`1 `+leadID(1)+` out Email email INVALID_EMAIL_ADDRESS Email: invalid email address: nope {"base": {"Email": null}, "allowed": ["a", "b"], "changed": {"Email": "nope"}, "operation": "update"}`)
	equal(t, "outbox", w.states("Lead"), "update 1 refused")
	equal(t, "backlog", ask[int](w, "SELECT count(*) FROM mirror.backlog"), 0)
	if c := w.claim("Lead", Update); c.ID != "" {
		t.Errorf("a refused change was claimed: %+v", c)
	}
	id := ask[int64](w, "SELECT id FROM mirror.refused")
	equal(t, "retried", ask[int](w, "SELECT mirror.retry_refused(ARRAY[$1::bigint, 999], 'ann')", id), 1)
	equal(t, "retried twice", ask[int](w, "SELECT mirror.retry_refused(ARRAY[$1::bigint], 'ann')", id), 0)
	refuse(Update)
	equal(t, "still one, seen twice", ask[string](w, "SELECT format('%s %s', count(*), max(seen)) FROM mirror.refused"), "1 2")
	// An edit of the row asks again for all of it.
	w.exec("UPDATE salesforce.lead SET company = 'New' WHERE id = 1")
	ch, s := w.one("Lead", Update)
	equal(t, "both", values(ch.Local), `{"Company":"New","Email":"nope"}`)
	w.settle(s)
	equal(t, "open", ask[int](w, "SELECT count(*) FROM mirror.refused"), 0)

	// Dropped, the columns go back to what Salesforce holds, but for what was edited again.
	w.exec("UPDATE salesforce.lead SET email = 'bad', company = 'Mine', score__c = 77 WHERE id = 2")
	refuse(Update)
	w.change("Lead", mark, mark, rows(leadColumns, []string{leadID(2), "Lead 2", "Theirs", "2", "false", stampAt(5)}))
	equal(t, "kept", ask[string](w, "SELECT format('%s %s %s', company, score__c, systemmodstamp AT TIME ZONE 'UTC') FROM salesforce.lead WHERE id = 2"), "Mine 77 2026-11-20 12:00:05")
	w.exec("UPDATE salesforce.lead SET score__c = 78 WHERE id = 2")
	id = ask[int64](w, "SELECT id FROM mirror.refused")
	equal(t, "dropped", ask[int](w, "SELECT mirror.drop_refused(ARRAY[$1::bigint], 'ann', 'not wanted')", id), 1)
	equal(t, "dropped twice", ask[int](w, "SELECT mirror.drop_refused(ARRAY[$1::bigint], 'ann', 'not wanted')", id), 0)
	equal(t, "row", ask[string](w, "SELECT format('%s %s %s', email, company, score__c) FROM salesforce.lead WHERE id = 2"), " Theirs 78")
	equal(t, "history", ask[string](w, "SELECT format('%s %s %s', outcome, by, reason) FROM mirror.settled WHERE row_id = 2"), "dropped ann not wanted")
	equal(t, "outbox", w.states("Lead"), "update 2 waiting")
	ch, s = w.one("Lead", Update)
	equal(t, "what is left", values(ch.Local), `{"Score__c":"78"}`)
	w.settle(s)

	// A deletion that Salesforce refuses and a person drops brings the row back as Salesforce has it now.
	w.exec("UPDATE salesforce.lead SET company = 'Mine' WHERE id = 2")
	w.exec("DELETE FROM salesforce.lead WHERE id = 2")
	refuse(Delete)
	w.change("Lead", mark, mark, rows(leadColumns, []string{leadID(2), "Renamed", "Theirs too", "9", "false", stampAt(8)}))
	equal(t, "rows", ask[int](w, "SELECT count(*) FROM salesforce.lead WHERE id = 2"), 0)
	w.exec("SELECT mirror.drop_refused(ARRAY(SELECT id FROM mirror.refused), 'ann', '')")
	equal(t, "back", ask[string](w, "SELECT format('%s %s %s %s', id, lastname, company, score__c) FROM salesforce.lead WHERE sfid = $1", leadID(2)), "2 Renamed Theirs too 9")
	equal(t, "held", ask[int](w, "SELECT count(*) FROM mirror.held"), 0)
	equal(t, "outbox", w.states("Lead"), "")
}

// A create that is dropped leaves the row here; an edit sends all of it. What waited for it is set aside until then.
func TestDroppedCreate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.exec("INSERT INTO salesforce.lead (lastname, company) VALUES ('Ada', 'Engines')")
	w.exec("INSERT INTO salesforce.campaignmember (leadid, status) VALUES ('local:1', 'Sent')")
	_, s := w.one("Lead", Insert)
	s.Outcome, s.Reason = Dropped, "New leads are not sent."
	w.settle(s)
	equal(t, "row", ask[string](w, "SELECT lastname FROM salesforce.lead"), "Ada")
	equal(t, "member", ask[string](w, "SELECT format('%s %s %s', code, field, row_id) FROM mirror.refused WHERE object = 'CampaignMember'"), "PARENT_NOT_SENT LeadId 1")
	w.exec("UPDATE salesforce.lead SET email = 'ada@x.org'")
	ch, s := w.one("Lead", Insert)
	equal(t, "all of it", values(ch.Local), `{"Company":"Engines","Email":"ada@x.org","LastName":"Ada"}`)
	s.SFID = leadID(1)
	w.settle(s)
	equal(t, "refused", ask[int](w, "SELECT count(*) FROM mirror.refused"), 0)
	ch, _ = w.one("CampaignMember", Insert)
	equal(t, "member", values(ch.Local), `{"LeadId":"`+leadID(1)+`","Status":"Sent"}`)
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	clash := func(winner string, outcome Outcome) {
		t.Helper()
		ch, s := w.one("Lead", Update)
		s.Outcome = outcome
		s.Conflicts = []Conflict{{Field: "Company", Base: ch.Base["Company"], Local: ch.Local["Company"], Remote: str("Theirs"), Winner: winner, Reason: "policy"}}
		w.settle(s)
	}
	company := func() string { return ask[string](w, "SELECT company FROM salesforce.lead") }
	overturn := func(choose string) bool {
		t.Helper()
		return ask[bool](w, "SELECT mirror.overturn_conflict((SELECT max(id) FROM mirror.conflicts), $1, 'ann')", choose)
	}
	// Salesforce wins: its value is in the row.
	w.exec("UPDATE salesforce.lead SET company = 'Mine'")
	clash(WinnerSalesforce, Conflicted)
	equal(t, "row", company(), "Theirs")
	equal(t, "open", ask[string](w, "SELECT format('%s %s %s %s %s %s', row_id, field, base, local, remote, winner) FROM mirror.open_conflicts"), "1 Company Acme Mine Theirs salesforce")
	equal(t, "the same side again", overturn("salesforce"), false)
	equal(t, "overturned", overturn("local"), true)
	equal(t, "overturned twice", overturn("local"), false)
	equal(t, "row", company(), "Mine")
	ch, s := w.one("Lead", Update)
	equal(t, "an edit like any other", values(ch.Base)+values(ch.Local)+ch.By+ch.SFID, `{"Company":"Theirs"}{"Company":"Mine"}ann`+leadID(1))
	w.settle(s)
	// The local value wins: it was sent. Overturned, Salesforce's goes back there.
	w.exec("UPDATE salesforce.lead SET company = 'Again'")
	clash(WinnerLocal, Accepted)
	equal(t, "row", company(), "Again")
	equal(t, "overturned", overturn("salesforce"), true)
	ch, s = w.one("Lead", Update)
	equal(t, "an edit", values(ch.Base)+values(ch.Local), `{"Company":"Again"}{"Company":"Theirs"}`)
	w.settle(s)

	// A person is asked: the field waits, with its local value, and nothing else of the record does.
	w.exec("UPDATE salesforce.lead SET company = 'Ask', email = 'a@x.org'")
	clash("", Accepted)
	equal(t, "outbox", w.states("Lead"), "")
	equal(t, "seen is no answer", ask[int](w, "SELECT mirror.see_conflicts(ARRAY(SELECT id FROM mirror.open_conflicts), 'ann')"), 0)
	w.change("Lead", mark, mark, rows(leadColumns, []string{leadID(1), "Read", "Newer", "4", "false", stampAt(6)}))
	equal(t, "row", ask[string](w, "SELECT format('%s %s %s', company, lastname, email) FROM salesforce.lead"), "Ask Read a@x.org")
	// Asked twice it is one question.
	w.exec("UPDATE salesforce.lead SET company = 'Ask again'")
	clash("", Conflicted)
	equal(t, "one question", ask[string](w, "SELECT format('%s %s', count(*), max(local)) FROM mirror.open_conflicts WHERE winner = ''"), "1 Ask again")
	equal(t, "answered", overturn("salesforce"), true)
	equal(t, "what was read since", company(), "Newer")
	equal(t, "outbox", w.states("Lead"), "")
	w.exec("UPDATE salesforce.lead SET company = 'Third'")
	clash("", Conflicted)
	equal(t, "answered", ask[bool](w, "SELECT mirror.overturn_conflict(id, 'local', 'ann') FROM mirror.open_conflicts WHERE winner = ''"), true)
	ch, s = w.one("Lead", Update)
	equal(t, "an edit", values(ch.Base)+values(ch.Local), `{"Company":"Theirs"}{"Company":"Third"}`)
	w.settle(s)
	equal(t, "outcomes", ask[string](w, "SELECT string_agg(outcome, ' ' ORDER BY id) FROM mirror.conflicts"), "overturned overturned salesforce local")

	// In a refused change the other fields keep waiting, the decided one does not.
	w.exec("UPDATE salesforce.lead SET company = 'Clash', email = 'nope'")
	clash(WinnerSalesforce, Refused)
	equal(t, "what is still to be sent", ask[string](w, "SELECT changed::text FROM mirror.outbox"), `{"email": "nope"}`)
	equal(t, "row", ask[string](w, "SELECT company || ' ' || email FROM salesforce.lead"), "Theirs nope")
	equal(t, "seen", ask[int](w, "SELECT mirror.see_conflicts(ARRAY(SELECT id FROM mirror.open_conflicts), 'ann')"), 1)
	equal(t, "open", ask[int](w, "SELECT count(*) FROM mirror.open_conflicts"), 0)
	// A row that is gone has nothing to overturn.
	w.exec("UPDATE mirror.conflicts SET closed_at = NULL WHERE id = (SELECT max(id) FROM mirror.conflicts)")
	w.exec("DELETE FROM salesforce.lead")
	equal(t, "gone", overturn("local"), false)
	if _, err := w.pool.Exec(w.ctx, "SELECT mirror.overturn_conflict(1, 'both', 'ann')"); err == nil {
		t.Error("a side that does not exist was taken")
	}
}

// Numbers, dates and texts of a conflict come back with the column's type.
func TestOverturnKeepsTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	for _, c := range []struct{ field, column, local, remote, want string }{
		{"Score__c", "score__c", "7.5", "1", "7.5"},
		{"HasOptedOutOfEmail", "hasoptedoutofemail", "true", "false", "true"},
		{"Born__c", "born__c", "2026-02-03", "2026-02-04", "2026-02-03"},
		{"Called__c", "called__c", "2026-02-03T04:05:06.789Z", "2026-02-04T04:05:06.000Z", "2026-02-03T04:05:06.789+00:00"},
		{"Wakes__c", "wakes__c", "18:30:00.500Z", "18:30:00.000Z", "18:30:00.5"},
		{"Company", "company", "a\n\"b'\\😀", "", "a\n\"b'\\😀"},
	} {
		w.exec("UPDATE salesforce.lead SET email = coalesce(email, '') || 'x'")
		ch, s := w.one("Lead", Update)
		s.Conflicts = []Conflict{{Field: c.field, Local: str(c.local), Remote: str(c.remote), Winner: WinnerSalesforce}}
		if c.remote == "" {
			s.Conflicts[0].Remote = nil
		}
		w.settle(s)
		_ = ch
		equal(t, c.field, ask[bool](w, "SELECT mirror.overturn_conflict((SELECT max(id) FROM mirror.conflicts), 'local', 'ann')"), true)
		ch, s = w.one("Lead", Update)
		got, remote := ch.Local[c.field], ch.Base[c.field]
		if got == nil || *got != c.local || (remote == nil) != (c.remote == "") || remote != nil && *remote != c.remote {
			t.Errorf("%s: %s -> %s", c.field, values(ch.Base), values(ch.Local))
		}
		w.settle(s)
		equal(t, c.field, ask[string](w, "SELECT to_jsonb(l) ->> $1 FROM salesforce.lead l", c.column), strings.TrimSuffix(c.want, "Z"))
	}
}

// asEngine writes as the engine does.
func (w *world) asEngine(sql string, args ...any) {
	w.t.Helper()
	tx, err := w.db.asEngine(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(w.ctx) }()
	if _, err := tx.Exec(w.ctx, sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	if err := tx.Commit(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// A field gets another type while edits of it are set aside, a row that had it is deleted, and a person is asked: what it held before need not
// fit any more, and is read again.
func TestRetypedWhileSomethingWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	with := func(typ string) {
		t.Helper()
		if _, change, err := w.db.Ensure(w.ctx, people("Lead", "LastName:string", "Size__c:"+typ, "When__c:date"), TwoWay, mark); err != nil || len(change.Retyped) > 1 {
			t.Fatal(change, err)
		}
		w.exec("UPDATE mirror.fields SET filled_at = now()")
	}
	with("string")
	columns := "Id LastName Size__c IsDeleted SystemModstamp"
	rec := func(n int, size string) []string {
		return []string{leadID(n), "Lead", size, "false", stampAt(0)}
	}
	w.change("Lead", time.Time{}, mark, rows(columns, rec(1, "many"), rec(2, "few"), rec(3, "some"), rec(4, "all"), rec(5, "none")))
	w.exec("UPDATE salesforce.lead SET size__c = '12' WHERE id IN (1, 4, 5)")
	w.exec("DELETE FROM salesforce.lead WHERE id IN (2, 3)")
	aside := w.claim("Lead", Update)
	for i := range aside.Changes {
		s := settling1(aside, i)
		switch s.RowID {
		case 1:
			s.Outcome, s.Code = Refused, "NO"
		default:
			s.Outcome, s.Conflicts = Conflicted, []Conflict{{Field: "Size__c", Base: str("all"), Local: str("12"), Remote: str("one")}}
		}
		w.settle(s)
	}
	gone := w.claim("Lead", Delete)
	refused, restored := settling1(gone, 0), settling1(gone, 1)
	refused.Outcome, refused.Code = Refused, "NO"
	w.settle(refused)
	with("double")

	toFill := func() bool {
		return ask[bool](w, "SELECT filled_at IS NULL FROM mirror.fields WHERE object = 'Lead' AND field = 'Size__c'")
	}
	row := func(n int) string {
		return ask[string](w, "SELECT lastname || ' ' || coalesce(size__c::text, '-') FROM salesforce.lead WHERE id = $1", n)
	}
	equal(t, "dropped", ask[int](w, "SELECT mirror.drop_refused(ARRAY(SELECT id FROM mirror.refused), 'ann', '')"), 2)
	equal(t, "the row stays as it is until it is read", row(1), "Lead 12")
	equal(t, "the deleted row is back", row(2), "Lead -")
	equal(t, "it is to be read", toFill(), true)
	w.exec("UPDATE mirror.fields SET filled_at = now()")
	restored.Outcome = Restored
	w.settle(restored)
	equal(t, "another one too", row(3), "Lead -")
	equal(t, "it is to be read", toFill(), true)
	// Of the two questions one is answered for each side.
	equal(t, "the value here", ask[bool](w, "SELECT mirror.overturn_conflict(id, 'local', 'ann') FROM mirror.open_conflicts WHERE row_id = 4"), true)
	equal(t, "it is sent", w.outbox("Lead"), `update 4 {"size__c": "one"} -> {"size__c": 12}`)
	equal(t, "the value there", ask[bool](w, "SELECT mirror.overturn_conflict(id, 'salesforce', 'ann') FROM mirror.open_conflicts WHERE row_id = 5"), true)
	equal(t, "it stays until it is read", row(5), "Lead 12")
	w.exec("INSERT INTO mirror.conflicts (object, sfid, field, column_name, base, local, remote, winner, reason, row_id) VALUES ('Lead', $1, 'Size__c', 'size__c', 'a', 'b', '5', 'salesforce', '', 5)", leadID(5))
	w.refused("SELECT mirror.overturn_conflict(id, 'local', 'ann') FROM mirror.open_conflicts WHERE row_id = 5", `The value "b" does not fit Lead.Size__c any more`)
	// A time is not cut to its date in silence.
	equal(t, "fitting", ask[string](w, `SELECT mirror.fitting('lead', 'Lead', '{"when__c": "2026-02-03T04:05:06+00:00", "lastname": "x", "size__c": null}')::text`), `{"size__c": null, "lastname": "x"}`)
}
