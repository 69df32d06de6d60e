package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/engine/otherorg"
	"github.com/tandem-sync/tandem/sync/simorg"
)

var sendSmall = simorg.Config{Leads: 60, Contacts: 40, Accounts: 10, Opportunities: 5, Campaigns: 4, CampaignMembers: 20, Tasks: 5, Events: 5, Users: 8}

// sendWorld is a world that was read once and may send. Sending at once is off: the test says when a cycle comes.
func sendWorld(t *testing.T, c simorg.Config, change ...func(*world)) *world {
	t.Helper()
	return sendingWorld(newWorld(t, c), change...)
}

// sendingWorld lets a new world read once, and send.
func sendingWorld(w *world, change ...func(*world)) *world {
	w.t.Helper()
	w.config.LockWait, w.config.LostWait = 2*time.Millisecond, 10*time.Millisecond
	w.exec(`UPDATE admin.state SET send_at_once = false`)
	w.onlyPeople()
	w.approve(true)
	for _, f := range change {
		f(w)
	}
	w.work()
	w.cycle()
	return w
}

// onlyPeople leaves only those objects on that sending is about, for quick cycles.
func (w *world) onlyPeople() {
	w.exec(`UPDATE admin.objects SET enabled = false WHERE name NOT IN ('Lead', 'Contact', 'Campaign', 'CampaignMember', 'CampaignMemberStatus')`)
}

func (w *world) approve(yes bool) {
	w.t.Helper()
	a, err := w.models.AskApproval(w.t.Context(), models.ApproveFirstSend, "", map[string]int64{})
	if err == nil {
		_, err = w.models.AnswerApproval(w.t.Context(), a.ID, yes, "test")
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// exec is what another application does.
func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.pool.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) insert(sql string, args ...any) int64 {
	w.t.Helper()
	return scalar[int64](w, sql+` RETURNING id`, args...)
}

// there gives a field of a record in the org.
func (w *world) there(object, id, field string) string {
	w.t.Helper()
	var f map[string]any
	if w.other != nil {
		f = w.other.Get(object, id)
	} else {
		f, _ = w.org.Get(object, id)
	}
	if f == nil {
		return "(no record)"
	}
	if f[field] == nil {
		return ""
	}
	return fmt.Sprint(f[field])
}

// edit is what somebody in Salesforce does.
func (w *world) edit(object, id string, fields map[string]any) error {
	if w.other != nil {
		w.other.Write(object, id, fields)
		return nil
	}
	return w.org.Update(object, id, fields)
}

// count gives how many live records the org has of an object.
func (w *world) count(object string) int {
	if w.other != nil {
		return w.other.Alive(object)
	}
	return w.org.Count(object)
}

// storm lets something go wrong in the org, whichever it is.
func (w *world) storm(f simorg.Fault) {
	if w.other == nil {
		w.org.Fault(f)
		return
	}
	w.other.Break(otherorg.Trouble{
		Where: f.Path, Skip: f.After, Times: f.Count, Wait: f.Delay, Late: f.CommitDelay, NoSession: f.ExpireSession, CutBefore: f.DropBefore, CutAfter: f.DropAfter,
		Status: f.Status, Code: f.Code, Message: f.Message, Page: f.Body, CutAt: f.TruncateBody, Quietly: f.CleanEnd,
		Row: f.Row, Object: f.Object, ID: f.ID, Field: f.Field, Breaks: f.FailJob, Rows: f.JobRows,
	})
}

func (w *world) calm() {
	if w.other != nil {
		w.other.Mend()
	} else {
		w.org.ClearFaults()
	}
}

func (w *world) sfid(object string, row int64) string {
	w.t.Helper()
	return scalar[string](w, `SELECT coalesce(sfid, '') FROM salesforce.`+object+` WHERE id = $1`, row)
}

// refusal gives the code and message of the open refusal of a row that was to be sent.
func (w *world) refusal(object string, row int64) (code, message string) {
	w.t.Helper()
	err := w.pool.QueryRow(w.t.Context(), `SELECT code, message FROM mirror.refused WHERE direction = 'out' AND object = $1 AND row_id = $2`, object, row).Scan(&code, &message)
	if err != nil {
		return "", err.Error()
	}
	return code, message
}

func (w *world) backlog() int { return scalar[int](w, `SELECT count(*) FROM mirror.outbox`) }

// sends gives the runs of a cycle that sent.
func sends(runs []models.Run) (sent, refused, conflicts, calls int64) {
	for _, r := range runs {
		if r.Kind == models.RunSend {
			sent, refused, conflicts, calls = sent+r.Sent, refused+r.Refused, conflicts+r.Conflicts, calls+r.APICalls
		}
	}
	return sent, refused, conflicts, calls
}

// What is edited, made and deleted here is in Salesforce after the same cycle, and the cycle after it changes nothing.
func TestEditsAreSent(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) { w.exec(`UPDATE admin.objects SET delete_allowed = true WHERE name = 'Contact'`) })
	leads, contacts := w.ids("Lead"), w.ids("Contact")
	w.exec(`UPDATE salesforce.lead SET title = $2, annualrevenue = 1234, donotcall = true, firstname = NULL WHERE sfid = $1`, leads[0], "Zoë \"the\"\r\nfirst")
	w.exec(`UPDATE salesforce.lead SET title = 'Many' WHERE sfid = ANY($1)`, leads[1:20])
	row := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Nakamura', 'Aoi KK', 'nakamura@aoi.example')`)
	w.exec(`DELETE FROM salesforce.contact WHERE sfid = $1`, contacts[0])
	w.exec(`DELETE FROM salesforce.lead WHERE sfid = $1`, leads[30])

	sent, refused, conflicts, _ := sends(w.cycle())
	if sent != 22 || refused != 0 || conflicts != 0 || w.backlog() != 0 {
		t.Errorf("%d sent, %d refused, %d conflicts, %d left, want 22 sent and nothing else", sent, refused, conflicts, w.backlog())
	}
	for field, want := range map[string]string{"Title": "Zoë \"the\"\r\nfirst", "DoNotCall": "true", "FirstName": "", "AnnualRevenue": "1234"} {
		if got := w.there("Lead", leads[0], field); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s is %q in Salesforce, want %q", field, got, want)
		}
	}
	id := w.sfid("lead", row)
	if id == "" || w.there("Lead", id, "Company") != "Aoi KK" {
		t.Errorf("the new lead is %q with the company %q in Salesforce", id, w.there("Lead", id, "Company"))
	}
	if _, alive := w.org.Get("Contact", contacts[0]); alive && w.there("Contact", contacts[0], "IsDeleted") != "true" {
		t.Error("the contact that was deleted here is alive in Salesforce")
	}
	// Leads may not be deleted from here: the row is back, and the history says why.
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE sfid = $1 AND NOT isdeleted`, leads[30]); got != 1 {
		t.Errorf("the deleted row is there %d times, want it back", got)
	}
	if reason := scalar[string](w, `SELECT reason FROM mirror.settled WHERE outcome = 'restored' AND object = 'Lead' ORDER BY seq DESC LIMIT 1`); !strings.Contains(reason, "does not delete it in Salesforce") {
		t.Errorf("the reason is %q", reason)
	}
	for _, r := range w.cycle() {
		// The new one brings what Salesforce gave it, and a name of which a part changed; what else was changed is known with its stamps.
		if r.Object == "Lead" && (r.New != 0 || r.Changed > 2) {
			t.Errorf("%d new and %d changed came back of what was sent", r.New, r.Changed)
		}
	}
	w.equalObject("Lead")
	if sent, _, _, _ := sends(w.cycle()); sent != 0 {
		t.Errorf("%d were sent though nothing was edited", sent)
	}
}

// Both sides edit one record: other fields both survive, the same field ends as the policy says, whatever was read first; what a person is asked
// about holds nothing else up.
func TestBothSidesEdit(t *testing.T) {
	t.Parallel()
	for _, policy := range []models.ConflictPolicy{models.PolicySalesforce, models.PolicyLocal, models.PolicyNewest, models.PolicyAsk} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := sendWorld(t, sendSmall, func(w *world) { w.exec(`UPDATE admin.objects SET policy = $1 WHERE name = 'Lead'`, policy) })
			leads := w.ids("Lead")
			hereFirst, thereFirst, readBefore, readBetween, otherLast := leads[5], leads[6], leads[7], leads[8], leads[9]
			here := func(id string) {
				w.exec(`UPDATE salesforce.lead SET title = 'From here', phone = '+1 555 0100' WHERE sfid = $1`, id)
			}
			there := func(id string) {
				if err := w.org.Update("Lead", id, map[string]any{"Title": "From there", "City": "Lyon"}); err != nil {
					t.Fatal(err)
				}
			}
			there(readBefore)
			w.cycle()
			w.approve(false) // nothing is sent for a while, and everything read
			here(readBetween)
			w.cycle()
			here(hereFirst)
			here(otherLast)
			there(thereFirst)
			time.Sleep(1100 * time.Millisecond) // stamps have whole seconds
			there(hereFirst)
			there(otherLast)
			there(readBetween)
			here(thereFirst)
			here(readBefore)
			// That another field of the record is edited later makes no difference to the title.
			w.exec(`UPDATE salesforce.lead SET website = 'example.org' WHERE sfid = $1`, otherLast)
			w.exec(`UPDATE mirror.outbox SET made_at = made_at + interval '1 minute' WHERE sfid = $1 AND changed ? 'website'`, otherLast)
			titleAt := scalar[time.Time](w, `SELECT made_at FROM mirror.outbox WHERE sfid = $1 AND changed ? 'title'`, otherLast)
			w.cycle()
			if got := scalar[string](w, `SELECT title || '/' || city FROM salesforce.lead WHERE sfid = $1`, readBetween); got != "From here/Lyon" {
				t.Errorf("after reading the row holds %s, want the unsent title and the read city", got)
			}
			w.approve(true)
			w.cycle()
			// The cycle's run may find that one outside the cycle was faster.
			if conflicts := scalar[int](w, `SELECT coalesce(sum(conflicts), 0) FROM admin.runs WHERE kind = 'send'`); conflicts != 4 {
				t.Errorf("%d conflicts, want 4: what was read before the edit met nothing", conflicts)
			}
			byPolicy := map[models.ConflictPolicy]string{models.PolicySalesforce: "From there", models.PolicyLocal: "From here", models.PolicyAsk: "From there", models.PolicyNewest: "From there"}[policy]
			want := map[string]string{hereFirst: byPolicy, thereFirst: byPolicy, readBetween: byPolicy, otherLast: byPolicy, readBefore: "From here"}
			if policy == models.PolicyNewest {
				want[thereFirst] = "From here"
			}
			for id, title := range want {
				if got := w.there("Lead", id, "Title"); got != title {
					t.Errorf("the title of %s is %q in Salesforce, want %q", id, got, title)
				}
				if phone, city := w.there("Lead", id, "Phone"), w.there("Lead", id, "City"); phone != "+1 555 0100" || city != "Lyon" {
					t.Errorf("phone %q and city %q in Salesforce: an edit that met no other is lost", phone, city)
				}
			}
			w.cycle()
			if at := scalar[time.Time](w, `SELECT made_at FROM mirror.conflicts WHERE sfid = $1 AND field = 'Title'`, otherLast); !at.Equal(titleAt) {
				t.Errorf("the conflict tells that the title was edited at %s, want %s", at, titleAt)
			}
			for id, title := range want {
				kept := scalar[string](w, `SELECT coalesce((SELECT concat_ws('|', local, remote, winner) FROM mirror.open_conflicts WHERE sfid = $1 AND field = 'Title'), '')`, id)
				got := scalar[string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, id)
				switch {
				case id == readBefore:
					if kept != "" {
						t.Errorf("a conflict is kept: %s", kept)
					}
				case policy == models.PolicyAsk:
					if kept != "From here|From there|" || got != "From here" {
						t.Errorf("%q is kept and the title here is %q, want the question open and the local value kept", kept, got)
					}
				case got != title || !strings.HasPrefix(kept, "From here|From there|") || strings.HasSuffix(kept, "|"):
					t.Errorf("the title is %q here and %q is kept, want %q and the three values with the winner", got, kept, title)
				}
			}
			if policy != models.PolicyAsk {
				w.equalObject("Lead")
			}
		})
	}
}

// The rules of single fields: who wins, an empty value, the first value.
func TestFieldRules(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) {
		w.exec(`INSERT INTO admin.fields (object, field, policy, blank_overwrites, keep_first) VALUES ('Lead', 'Title', 'local', true, false), ('Lead', 'Phone', '', false, false), ('Lead', 'LeadSource', '', true, true)`)
	})
	id := w.ids("Lead")[3]
	if err := w.org.Update("Lead", id, map[string]any{"Phone": "1", "LeadSource": "Web", "Title": "Old"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.exec(`UPDATE salesforce.lead SET title = 'From here', phone = NULL, leadsource = 'Other', city = 'Here' WHERE sfid = $1`, id)
	if err := w.org.Update("Lead", id, map[string]any{"Title": "From there", "City": "There"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.cycle()
	for field, want := range map[string]string{"Title": "From here", "Phone": "1", "LeadSource": "Web", "City": "There"} {
		if got := w.there("Lead", id, field); got != want {
			t.Errorf("%s is %q in Salesforce, want %q", field, got, want)
		}
	}
	w.equalObject("Lead")
}

// What becomes a record, with what, and what is said of a row that does not.
func TestCreates(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) {
		w.exec(`UPDATE admin.objects SET create_defaults = '{"Company": "[none]", "LastName": "[unknown]"}' WHERE name = 'Lead'`)
		w.exec(`UPDATE admin.objects SET create_policy = 'condition', create_field = 'Type', create_operator = 'equals', create_value = 'Webinar' WHERE name = 'Campaign'`)
	})
	queue := ""
	if err := w.org.Each("Group", false, func(f map[string]any) error {
		if f["Type"] == "Queue" {
			queue = f["Id"].(string)
		}
		return nil
	}); err != nil || queue == "" {
		t.Fatalf("the org has no queue: %v", err)
	}
	defaulted := w.insert(`INSERT INTO salesforce.lead (email) VALUES ('only@address.example')`)
	queued := w.insert(`INSERT INTO salesforce.contact (lastname, ownerid) VALUES ('Queued', $1)`, queue)
	queuedLead := w.insert(`INSERT INTO salesforce.lead (lastname, company, ownerid) VALUES ('Queued', 'Q', $1)`, queue)
	wanted := w.insert(`INSERT INTO salesforce.campaign (name, type) VALUES ('Wanted', 'Webinar')`)
	unwanted := w.insert(`INSERT INTO salesforce.campaign (name, type) VALUES ('Unwanted', 'Email')`)
	nameless := w.insert(`INSERT INTO salesforce.contact (firstname) VALUES ('Nameless')`)
	tooLong := w.insert(`INSERT INTO salesforce.contact (lastname, title) VALUES ('Long', $1)`, strings.Repeat("x", 200))
	fine := w.insert(`INSERT INTO salesforce.contact (lastname) VALUES ('Fine')`)
	_, refused, _, _ := sends(w.cycle())
	if refused != 3 {
		t.Errorf("%d refused, want 3", refused)
	}
	if id := w.sfid("lead", defaulted); w.there("Lead", id, "Company") != "[none]" || w.there("Lead", id, "LastName") != "[unknown]" {
		t.Errorf("the defaults are %q and %q", w.there("Lead", id, "Company"), w.there("Lead", id, "LastName"))
	}
	if got := scalar[string](w, `SELECT company FROM salesforce.lead WHERE id = $1`, defaulted); got != "[none]" {
		t.Errorf("the default is %q here", got)
	}
	if code, message := w.refusal("Contact", queued); code != "QUEUE_CANNOT_OWN" || !strings.Contains(message, "queue") {
		t.Errorf("%s: %s", code, message)
	}
	if code, message := w.refusal("Contact", nameless); code != "REQUIRED_FIELD_MISSING" || !strings.Contains(message, "[LastName]") {
		t.Errorf("%s: %s", code, message)
	}
	if code, _ := w.refusal("Contact", tooLong); code != "STRING_TOO_LONG" {
		t.Errorf("%s", code)
	}
	for what, id := range map[string]string{"the lead of a queue": w.sfid("lead", queuedLead), "the campaign that meets the condition": w.sfid("campaign", wanted), "the contact beside bad ones": w.sfid("contact", fine)} {
		if id == "" {
			t.Errorf("%s was not created", what)
		}
	}
	if w.sfid("campaign", unwanted) != "" || w.backlog() == 0 {
		t.Error("a campaign that does not meet the condition was created")
	}
	// What the row was refused for is mended by an edit of it, and then it goes.
	w.exec(`UPDATE salesforce.contact SET lastname = 'Named' WHERE id = $1`, nameless)
	w.exec(`UPDATE salesforce.campaign SET type = 'Webinar' WHERE id = $1`, unwanted)
	w.cycle()
	if id := w.sfid("contact", nameless); w.there("Contact", id, "LastName") != "Named" || w.there("Contact", id, "FirstName") != "Nameless" {
		t.Errorf("the mended contact is %q", id)
	}
	if id := w.sfid("campaign", unwanted); w.there("Campaign", id, "Name") != "Unwanted" {
		t.Errorf("the campaign that meets the condition now is %q", id)
	}
	if code, message := w.refusal("Contact", nameless); code != "" {
		t.Errorf("still refused: %s %s", code, message)
	}
}

// Before a person is created, Salesforce is searched: one match is linked, several are told, one of the other object too.
func TestPeopleAreNotDoubled(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) { w.exec(`UPDATE admin.objects SET create_policy = 'none' WHERE name = 'Lead'`) })
	unwanted := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Later', 'A', 'later@x.example')`)
	w.cycle()
	w.exec(`UPDATE admin.objects SET create_policy = 'all' WHERE name = 'Lead'`)
	create := func(object string, fields map[string]any) string {
		id, err := w.org.Create(object, fields)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	one := create("Lead", map[string]any{"LastName": "One", "Company": "A", "Email": "one@x.example", "Title": "Boss"})
	create("Lead", map[string]any{"LastName": "Two", "Company": "A", "Email": "two@x.example"})
	create("Lead", map[string]any{"LastName": "Two", "Company": "B", "Email": "two@x.example"})
	contact := create("Contact", map[string]any{"LastName": "Three", "Email": "three@x.example"})
	w.exec(`UPDATE salesforce.lead SET title = 'Wanted now' WHERE id = $1`, unwanted)
	w.cycle() // known here too
	sameAsLater := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Later', 'B', 'later@x.example')`)
	late := create("Lead", map[string]any{"LastName": "Late", "Company": "A", "Email": "late@x.example"})

	linked := w.insert(`INSERT INTO salesforce.lead (lastname, company, email, phone) VALUES ('One', 'A', 'ONE@x.example', '+33 1')`)
	several := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Two', 'A', 'two@x.example')`)
	other := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Three', 'A', 'three@x.example')`)
	unknown := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Late', 'C', 'late@x.example')`)
	twice := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Twice', 'A', 'o''twice@x.example')`)
	again := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Twice', 'A', 'o''twice@x.example')`)
	before := w.org.Count("Lead")
	w.cycle()
	if n := w.org.Count("Lead") - before; n != 1 {
		t.Errorf("%d leads were created, want one", n)
	}
	if got := w.sfid("lead", linked); got != one {
		t.Errorf("the row is %q, want it to be the lead %s that is there", got, one)
	}
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE sfid = $1`, one); got != 1 {
		t.Errorf("the lead is there %d times", got)
	}
	if w.there("Lead", one, "Phone") != "+33 1" || w.there("Lead", one, "Title") != "Boss" || scalar[string](w, `SELECT title FROM salesforce.lead WHERE id = $1`, linked) != "Boss" {
		t.Error("of a linked row, what is empty there is not filled, or what is there did not come")
	}
	if got := w.sfid("lead", unknown); got != late {
		t.Errorf("the row is %q, want the lead %s that came since the last read", got, late)
	}
	if code, _ := w.refusal("Lead", several); code != "MATCH_SEVERAL" {
		t.Errorf("several matches gave %q", code)
	}
	if n := scalar[int](w, `SELECT jsonb_array_length(details->'candidates') FROM mirror.refused WHERE row_id = $1 AND object = 'Lead'`, several); n != 2 {
		t.Errorf("%d candidates, want 2", n)
	}
	if code, message := w.refusal("Lead", other); code != "MATCH_OTHER_OBJECT" || !strings.Contains(message, contact) {
		t.Errorf("a match of a contact gave %q %q", code, message)
	}
	if w.sfid("lead", twice) == "" {
		t.Error("the first of two rows of one person was not created")
	}
	if code, message := w.refusal("Lead", sameAsLater); code != "MATCH_LOCAL_ROW" || w.sfid("lead", unwanted) == "" {
		t.Errorf("a row of a person who became a record by a later edit of another row gave %q %q", code, message)
	}
	if code, message := w.refusal("Lead", again); code != "MATCH_LOCAL_ROW" {
		t.Errorf("the second of two rows of one person gave %q %q", code, message)
	}
	w.cycle()
}

// Members are created with their people and campaigns, in one cycle; a status that the campaign does not have is refused with those it has.
func TestMembersAreCreatedWithTheirPeople(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall)
	campaign := w.insert(`INSERT INTO salesforce.campaign (name, isactive) VALUES ('Autumn', true)`)
	lead := w.insert(`INSERT INTO salesforce.lead (lastname, company) VALUES ('Member', 'M')`)
	contact := w.insert(`INSERT INTO salesforce.contact (lastname) VALUES ('Member')`)
	join := `INSERT INTO salesforce.campaignmember (campaignid, leadid, contactid, status) VALUES ($1, $2, $3, $4)`
	local := func(id int64) string { return fmt.Sprintf("local:%d", id) }
	first := w.insert(join, local(campaign), local(lead), nil, "Responded")
	second := w.insert(join, local(campaign), nil, local(contact), nil)
	known := w.ids("Campaign")[0]
	bad := w.insert(join, known, local(lead), nil, "Dancing")
	w.cycle()
	for _, row := range []int64{first, second} {
		id := w.sfid("campaignmember", row)
		if w.there("CampaignMember", id, "CampaignId") != w.sfid("campaign", campaign) {
			t.Errorf("the member %q is of the campaign %q", id, w.there("CampaignMember", id, "CampaignId"))
		}
	}
	if got := w.there("CampaignMember", w.sfid("campaignmember", first), "Status"); got != "Responded" {
		t.Errorf("the status is %q", got)
	}
	code, message := w.refusal("CampaignMember", bad)
	if code != "MEMBER_STATUS_UNKNOWN" || !strings.Contains(message, "Sent, Responded") {
		t.Errorf("%s: %s", code, message)
	}
	if n := scalar[int](w, `SELECT jsonb_array_length(details->'allowed') FROM mirror.refused WHERE object = 'CampaignMember' AND row_id = $1`, bad); n < 2 {
		t.Errorf("%d statuses are named", n)
	}
	// A member that is there already is taken for the row's.
	id, err := w.org.Create("CampaignMember", map[string]any{"CampaignId": known, "ContactId": w.sfid("contact", contact), "Status": "Sent"})
	if err != nil {
		t.Fatal(err)
	}
	double := w.insert(join, known, nil, w.sfid("contact", contact), nil)
	w.cycle()
	if got := w.sfid("campaignmember", double); got != id {
		c, m := w.refusal("CampaignMember", double)
		t.Errorf("the row is %q (%s %s), want the member %s that is there", got, c, m, id)
	}
	w.cycle()
}

// A create whose reply is lost exists once, by an external id and without one.
func TestALostReplyDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, external := range []string{"", "Marketing_Id__c"} {
		t.Run("by "+external, func(t *testing.T) {
			t.Parallel()
			w := sendWorld(t, sendSmall, func(w *world) {
				w.exec(`UPDATE admin.objects SET external_id = $1, match_email = false WHERE name = 'Lead'`, external)
			})
			before := w.org.Count("Lead")
			method := "POST"
			if external != "" {
				method = "PATCH"
			}
			w.org.Fault(simorg.Fault{Method: method, Path: `composite/sobjects`, DropAfter: true, Count: 1})
			w.org.Fault(simorg.Fault{Method: "POST", Path: `composite$`, DropAfter: true, Count: 1})
			for i := range 30 {
				// Ten of them are alike in everything.
				w.exec(`INSERT INTO salesforce.lead (lastname, company, annualrevenue) VALUES ($1, 'Lost & found', 1.50)`, fmt.Sprint("Lost ", max(i, 20)))
			}
			w.exec(`UPDATE salesforce.lead SET title = 'Once' WHERE sfid = $1`, w.ids("Lead")[0])
			w.cycle()
			if n := w.org.Count("Lead") - before; n != 30 || w.backlog() != 0 {
				t.Errorf("%d leads were created and %d changes are left, want 30 and none", n, w.backlog())
			}
			if n := scalar[int](w, `SELECT count(DISTINCT sfid) FROM salesforce.lead WHERE company = 'Lost & found'`); n != 30 {
				t.Errorf("%d rows have a record of their own, want 30", n)
			}
			w.cycle()
			w.equalObject("Lead")
		})
	}
}

// An object with more fields than fit one address is sent like any other, also where a record must be read for it.
func TestAWideObjectIsSent(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) {
		w.exec(`UPDATE admin.objects SET external_id = 'Marketing_Id__c' WHERE name = 'Lead'`)
		for i := range 420 {
			w.must(w.org.AddField("Lead", simorg.FieldSpec{Name: fmt.Sprintf("Field_With_A_Rather_Long_Api_Name_%03d__c", i), Type: "string", Length: 20}))
		}
	})
	leads := w.ids("Lead")
	key := "wide-1"
	w.must(w.org.Update("Lead", leads[1], map[string]any{"Marketing_Id__c": key}))
	w.must(w.org.Delete("Lead", leads[2]))
	w.exec(`INSERT INTO salesforce.lead (lastname, company, marketing_id__c) VALUES ('Known there', 'W', $1), ('New', 'W', 'wide-2')`, key)
	w.exec(`UPDATE salesforce.lead SET title = 'Gone there' WHERE sfid = $1`, leads[2])
	if _, err := w.models.RequestSends(t.Context(), []string{"Lead"}, "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the new lead is there", func() bool {
		return scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE company = 'W' AND lastname = 'New' AND sfid IS NOT NULL`) == 1
	})
	w.cycle()
	w.equalObject("Lead")
}

// Locked rows are tried again, bad ones set aside, and neither spoils the others.
func TestLocksAndBadRows(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall)
	leads := w.ids("Lead")
	w.org.Fault(simorg.Fault{Row: true, Object: "Lead", ID: leads[3], Code: "UNABLE_TO_LOCK_ROW", Message: "unable to obtain exclusive access to this record", Count: 2})
	w.org.Fault(simorg.Fault{Row: true, Object: "Lead", ID: leads[4], Code: "FIELD_CUSTOM_VALIDATION_EXCEPTION", Message: "A title needs a reason", Fields: []string{"Title"}, Count: 1})
	w.org.Fault(simorg.Fault{Row: true, Object: "Lead", ID: leads[5], Code: "UNABLE_TO_LOCK_ROW", Message: "unable to obtain exclusive access to this record", Count: 8})
	w.exec(`UPDATE salesforce.lead SET title = 'New' WHERE sfid = ANY($1)`, leads[:10])
	sent, refused, _, _ := sends(w.cycle())
	if sent != 8 || refused != 1 {
		t.Errorf("%d sent and %d refused, want 8 and 1", sent, refused)
	}
	row := scalar[int64](w, `SELECT id FROM salesforce.lead WHERE sfid = $1`, leads[4])
	if code, message := w.refusal("Lead", row); code != "FIELD_CUSTOM_VALIDATION_EXCEPTION" || message != "A title needs a reason" {
		t.Errorf("%s: %s", code, message)
	}
	// The row that stayed locked waits, and goes by itself; the refused one when somebody asks.
	w.exec(`UPDATE mirror.outbox SET retry_at = now() WHERE state = 'waiting'`)
	w.exec(`SELECT mirror.retry_refused(ARRAY(SELECT id FROM mirror.refused WHERE direction = 'out'), 'test')`)
	w.cycle()
	w.exec(`UPDATE mirror.outbox SET retry_at = now() WHERE state = 'waiting'`)
	w.cycle()
	for _, id := range leads[:10] {
		if got := w.there("Lead", id, "Title"); got != "New" {
			t.Errorf("%s has the title %q", id, got)
		}
	}
	if w.backlog() != 0 {
		t.Errorf("%d changes are left", w.backlog())
	}
	w.cycle()
	w.equalObject("Lead")
}

// A right to write that was taken away since the describe costs the field, not the record: it is refused with the reason, the rest goes, and once
// the right is back it goes too.
func TestAFieldThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall)
	id := w.ids("Lead")[2]
	was := w.there("Lead", id, "City")
	row := scalar[int64](w, `SELECT id FROM salesforce.lead WHERE sfid = $1`, id)
	refused := func(when, words string) {
		t.Helper()
		if title, city := w.there("Lead", id, "Title"), w.there("Lead", id, "City"); title != when || city != was {
			t.Errorf("%s: the title is %q and the city %q in Salesforce", when, title, city)
		}
		if code, message := w.refusal("Lead", row); code != "INVALID_FIELD_FOR_INSERT_UPDATE" || !strings.Contains(message, words) {
			t.Errorf("%s: %s: %s", when, code, message)
		}
		if got := scalar[string](w, `SELECT city || '|' || (SELECT details->'changed'->>'City' FROM mirror.refused WHERE row_id = $1 AND object = 'Lead') FROM salesforce.lead WHERE id = $1`, row); got != "Barred|Barred" {
			t.Errorf("%s: kept is %q", when, got)
		}
	}
	w.exec(`UPDATE salesforce.lead SET title = 'Between', city = 'Barred' WHERE sfid = $1`, id)
	w.org.Fault(simorg.Fault{Row: true, Object: "Lead", ID: id, Field: "City", Code: "INVALID_FIELD_FOR_INSERT_UPDATE", Message: "Unable to create/update fields: City.", Count: 1})
	// Of another, the refused value is dropped: the row holds again what Salesforce does.
	other := w.ids("Lead")[3]
	before := scalar[string](w, `SELECT coalesce(city, '') FROM salesforce.lead WHERE sfid = $1`, other)
	w.exec(`UPDATE salesforce.lead SET title = 'Kept', city = 'Dropped' WHERE sfid = $1`, other)
	w.org.Fault(simorg.Fault{Row: true, Object: "Lead", ID: other, Field: "City", Code: "INVALID_FIELD_FOR_INSERT_UPDATE", Message: "Unable to create/update fields: City.", Fields: []string{"City"}, Count: 1})
	sent, _, conflicts, _ := sends(w.cycle())
	if sent != 2 || conflicts != 0 {
		t.Errorf("%d sent, %d conflicts", sent, conflicts)
	}
	w.exec(`SELECT mirror.drop_refused(ARRAY(SELECT id FROM mirror.refused WHERE sfid = $1), 'test', 'no')`, other)
	if got := scalar[string](w, `SELECT title || '|' || coalesce(city, '') FROM salesforce.lead WHERE sfid = $1`, other); got != "Kept|"+before {
		t.Errorf("dropped, the row holds %q, want the title that was sent and the city %q", got, before)
	}
	refused("Between", "Unable to create/update fields: City.")

	// The describe says so too. An edit of another field asks for all of the row again.
	w.must(w.org.SetUserSees(w.connection().UserName, "Lead", "City", simorg.SeesReadOnly))
	w.exec(`UPDATE salesforce.lead SET title = 'Described' WHERE sfid = $1`, id)
	w.cycle()
	refused("Described", "no longer lets the connected user write City")
	if n := scalar[int](w, `SELECT count(*) FROM mirror.open_conflicts`); n != 0 {
		t.Errorf("%d conflicts are kept", n)
	}
	w.must(w.org.SetUserSees(w.connection().UserName, "Lead", "City", simorg.SeesAll))
	w.exec(`SELECT mirror.retry_refused(ARRAY(SELECT id FROM mirror.refused), 'test')`)
	w.cycle()
	if got := w.there("Lead", id, "City"); got != "Barred" || w.backlog() != 0 {
		t.Errorf("with the right back the city is %q, and %d wait", got, w.backlog())
	}
	w.cycle()
	w.equalObject("Lead")
}

// A record that was deleted here is taken for deleted in Salesforce only on its word. One that the user no longer sees may be alive: the deletion
// is refused, and goes once it is seen again.
func TestDeletingWhatIsHidden(t *testing.T) {
	t.Parallel()
	w := sendingWorld(newOtherWorld(t, otherSmall), func(w *world) { w.exec(`UPDATE admin.objects SET delete_allowed = true WHERE name = 'Contact'`) })
	contacts := w.ids("Contact")
	hidden, erased, binned, late := contacts[1], contacts[2], contacts[3], contacts[4]
	rows := map[string]int64{}
	for _, id := range contacts[1:5] {
		rows[id] = scalar[int64](w, `SELECT id FROM salesforce.contact WHERE sfid = $1`, id)
	}
	w.exec(`DELETE FROM salesforce.contact WHERE sfid = ANY($1)`, contacts[1:5])
	w.other.Conceal("Contact", hidden)
	w.other.Conceal("Contact", late)
	w.other.Erase("Contact", erased)
	w.other.Write("Contact", binned, map[string]any{"IsDeleted": true})
	_, refused, _, _ := sends(w.cycle())
	if refused != 2 {
		t.Errorf("%d refused, want the two that are hidden", refused)
	}
	for _, id := range []string{hidden, late} {
		if code, message := w.refusal("Contact", rows[id]); code != "RECORD_NOT_VISIBLE" || !strings.Contains(message, "it is hidden, or was removed for good") {
			t.Errorf("of a hidden contact: %s: %s", code, message)
		}
	}
	for _, id := range []string{erased, binned} {
		if got := scalar[string](w, `SELECT outcome FROM mirror.settled WHERE sfid = $1`, id); got != "already" {
			t.Errorf("of a deleted contact it says %q", got)
		}
	}
	w.other.Reveal("Contact", late)
	w.exec(`SELECT mirror.retry_refused(ARRAY(SELECT id FROM mirror.refused WHERE sfid = $1), 'test')`, late)
	w.exec(`SELECT mirror.drop_refused(ARRAY(SELECT id FROM mirror.refused WHERE sfid = $1), 'test', 'Kept')`, hidden)
	w.cycle()
	if w.there("Contact", late, "IsDeleted") != "true" || w.backlog() != 0 {
		t.Errorf("seen again, the contact is not deleted; %d wait", w.backlog())
	}
	if n := scalar[int](w, `SELECT count(*) FROM salesforce.contact WHERE sfid = $1`, hidden); n != 1 {
		t.Errorf("the row of the dropped deletion is there %d times", n)
	}
}

// A record that was removed for good and is in no query any more is known as deleted by the org's list of deletions.
func TestDeletingWhatWasPurged(t *testing.T) {
	t.Parallel()
	c := sendSmall
	var org clock
	c.Now = org.now
	w := sendWorld(t, c, func(w *world) { w.exec(`UPDATE admin.objects SET delete_allowed = true WHERE name = 'Contact'`) })
	purged := w.ids("Contact")[0]
	w.exec(`DELETE FROM salesforce.contact WHERE sfid = $1`, purged)
	w.must(w.org.Purge("Contact", purged))
	org.forward(3 * time.Minute)
	w.cycle()
	if got := scalar[string](w, `SELECT coalesce(max(outcome), '') FROM mirror.settled WHERE sfid = $1`, purged); got != "already" || w.backlog() != 0 {
		t.Errorf("the deletion is %q, and %d wait", got, w.backlog())
	}
}

// What waits for a row that Salesforce refused causes no run, is told with the row it waits for, and goes once that one does.
func TestAChildOfARefusedRowWaits(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall)
	lead := w.insert(`INSERT INTO salesforce.lead (lastname) VALUES ('No company')`)
	campaign := w.ids("Campaign")[0]
	member := w.insert(`INSERT INTO salesforce.campaignmember (campaignid, leadid) VALUES ($1, $2)`, campaign, fmt.Sprintf("local:%d", lead))
	w.cycle()
	if code, message := w.refusal("Lead", lead); code != "REQUIRED_FIELD_MISSING" {
		t.Fatalf("%s: %s", code, message)
	}
	for _, r := range w.cycle() {
		if r.Kind == models.RunSend {
			t.Errorf("a run of %s was made, and nothing can be sent", r.Object)
		}
	}
	if got := scalar[string](w, `SELECT concat_ws(' ', object, row_id, parent_object, parent_id) FROM mirror.held_up`); got != fmt.Sprintf("CampaignMember %d Lead %d", member, lead) {
		t.Errorf("held up is %q", got)
	}
	w.exec(`UPDATE salesforce.lead SET company = 'Now' WHERE id = $1`, lead)
	w.cycle()
	if id := w.sfid("campaignmember", member); w.there("CampaignMember", id, "CampaignId") != campaign {
		t.Errorf("the member is %q", id)
	}
}

// What was edited of a record that is gone in Salesforce: not resurrected unless that is set; of the loser of a merge and of a converted lead it
// goes to what they became.
func TestEditsOfRecordsThatAreGone(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) { w.exec(`UPDATE admin.objects SET recreate = true WHERE name = 'Contact'`) })
	leads, contacts := w.ids("Lead"), w.ids("Contact")
	for _, id := range []string{leads[1], leads[2], leads[3], leads[4]} {
		if err := w.org.Update("Lead", id, map[string]any{"Title": nil, "Phone": "7"}); err != nil {
			t.Fatal(err)
		}
	}
	w.cycle()
	// Nothing of what happens there is read before it is sent: the cycle finds out by itself.
	w.exec(`UPDATE salesforce.lead SET title = 'Of the deleted' WHERE sfid = $1`, leads[1])
	w.exec(`UPDATE salesforce.lead SET title = 'Of the loser', phone = '8' WHERE sfid = $1`, leads[2])
	w.exec(`UPDATE salesforce.lead SET title = 'Of the converted' WHERE sfid = $1`, leads[4])
	w.exec(`UPDATE salesforce.contact SET title = 'Reborn' WHERE sfid = $1`, contacts[1])
	row := scalar[int64](w, `SELECT id FROM salesforce.contact WHERE sfid = $1`, contacts[1])
	if err := w.org.Delete("Lead", leads[1]); err != nil {
		t.Fatal(err)
	}
	if err := w.org.Delete("Contact", contacts[1]); err != nil {
		t.Fatal(err)
	}
	if err := w.org.Merge("Lead", leads[3], leads[2]); err != nil {
		t.Fatal(err)
	}
	converted, err := w.org.ConvertLead(leads[4], "")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.cycle()
	}
	if got := w.there("Lead", leads[3], "Title"); got != "Of the loser" {
		t.Errorf("the survivor's title is %q", got)
	}
	if got := w.there("Lead", leads[3], "Phone"); got != "7" {
		t.Errorf("the survivor's phone is %q, want its own", got)
	}
	if got := w.there("Contact", converted.ContactID, "Title"); got != "Of the converted" {
		t.Errorf("the contact's title is %q", got)
	}
	if reason := scalar[string](w, `SELECT coalesce(max(reason), '') FROM mirror.settled WHERE sfid = $1`, leads[1]); !strings.Contains(reason, "deleted in Salesforce") {
		t.Errorf("of the deleted lead's edit it says %q", reason)
	}
	if again := w.sfid("contact", row); again == "" || again == contacts[1] || w.there("Contact", again, "Title") != "Reborn" {
		t.Errorf("the contact that is to be created again is %q with the title %q", again, w.there("Contact", again, "Title"))
	}
	if w.backlog() != 0 {
		t.Errorf("%d changes are left", w.backlog())
	}
}

// Nothing is sent before a person has said yes to the numbers, and a no stays one.
func TestTheFirstSendingWaitsForAYes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sendSmall)
	w.exec(`UPDATE admin.state SET send_at_once = false`)
	w.onlyPeople()
	w.work()
	w.cycle()
	id := w.ids("Lead")[0]
	w.exec(`UPDATE salesforce.lead SET title = 'Waits' WHERE sfid = $1`, id)
	w.exec(`INSERT INTO salesforce.contact (lastname) VALUES ('Waits'), ('Waits too')`)
	w.cycle()
	open, err := w.models.OpenApprovals(t.Context())
	if err != nil || len(open) != 1 || open[0].Kind != models.ApproveFirstSend || open[0].Counts["Lead.update"] != 1 || open[0].Counts["Contact.create"] != 2 {
		t.Fatalf("asked %+v, %v", open, err)
	}
	w.exec(`UPDATE salesforce.lead SET title = 'Waits' WHERE sfid = $1`, w.ids("Lead")[1])
	w.cycle()
	if open, _ = w.models.OpenApprovals(t.Context()); len(open) != 1 || open[0].Counts["Lead.update"] != 2 || w.there("Lead", id, "Title") == "Waits" {
		t.Errorf("asked %+v, and the title is %q", open, w.there("Lead", id, "Title"))
	}
	if _, err := w.models.AnswerApproval(t.Context(), open[0].ID, false, "test"); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if open, _ = w.models.OpenApprovals(t.Context()); len(open) != 0 || w.backlog() != 4 {
		t.Errorf("asked again after a no: %+v; %d wait", open, w.backlog())
	}
	w.approve(true)
	w.cycle()
	if got := w.there("Lead", id, "Title"); got != "Waits" || w.backlog() != 0 {
		t.Errorf("after a yes the title is %q, and %d wait", got, w.backlog())
	}
}

// An edit is sent within seconds of its commit when nothing else runs.
func TestEditsAreSentAtOnce(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall)
	w.until("nothing runs", w.quiet)
	cycle, err := w.models.CurrentCycle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.exec(`UPDATE admin.state SET send_at_once = true`)
	id := w.ids("Lead")[0]
	for i := range 3 {
		title := fmt.Sprint("At once ", i)
		began := time.Now()
		w.exec(`UPDATE salesforce.lead SET title = $2 WHERE sfid = $1`, id, title)
		w.until("the edit is in Salesforce", func() bool { return w.there("Lead", id, "Title") == title })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
	}
	row := w.insert(`INSERT INTO salesforce.lead (lastname, company) VALUES ('At', 'Once')`)
	w.exec(`INSERT INTO salesforce.campaignmember (campaignid, leadid) VALUES ($1, $2)`, w.ids("Campaign")[0], fmt.Sprintf("local:%d", row))
	w.until("the member is in Salesforce", func() bool { return w.backlog() == 0 })
	if c, err := w.models.CurrentCycle(context.Background()); err != nil || c.Number != cycle.Number {
		t.Errorf("cycle %d, %v: it was a cycle that sent", c.Number, err)
	}
}

// More deletions at once than the brake lets through are sent only after a yes, and what else waits is not held up by them.
func TestDeletionsToSendAskFirst(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) { w.exec(`UPDATE admin.objects SET delete_allowed = true WHERE name = 'Contact'`) })
	contacts := w.ids("Contact")
	w.exec(`UPDATE admin.state SET brake_percent = 1`)
	w.exec(`DELETE FROM salesforce.contact WHERE sfid = ANY($1)`, contacts[:20])
	w.exec(`UPDATE salesforce.contact SET title = 'Not held up' WHERE sfid = $1`, contacts[30])
	alive := func() (n int) {
		for _, id := range contacts[:20] {
			if f, ok := w.org.Get("Contact", id); ok && f["IsDeleted"] != true {
				n++
			}
		}
		return n
	}
	w.cycle()
	if n := alive(); n != 20 {
		t.Errorf("%d of 20 are alive in Salesforce before anybody said yes", n)
	}
	if got := w.there("Contact", contacts[30], "Title"); got != "Not held up" {
		t.Errorf("an edit beside them is %q in Salesforce", got)
	}
	answer := func(yes bool) {
		t.Helper()
		a, err := w.models.LastApproval(t.Context(), models.ApproveSentDeletions, "Contact")
		if err == nil {
			if a.Counts["deletions"] != 20 {
				t.Errorf("the question says %v", a.Counts)
			}
			_, err = w.models.AnswerApproval(t.Context(), a.ID, yes, "test")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	answer(false)
	for _, r := range w.cycle() {
		if r.Kind == models.RunSend {
			t.Errorf("a run of %s was made though all that waits was refused a yes", r.Object)
		}
	}
	if n := alive(); n != 20 || w.backlog() != 20 {
		t.Errorf("after a no %d of 20 are alive in Salesforce, and %d wait", n, w.backlog())
	}
	// A question about fewer does not answer for these.
	w.exec(`UPDATE admin.approvals SET counts = '{"deletions": 1}' WHERE kind = 'sent-deletions'`)
	w.cycle()
	answer(true)
	w.cycle()
	if n := alive(); n != 0 || w.backlog() != 0 {
		t.Errorf("after a yes %d of 20 are alive in Salesforce, and %d wait", n, w.backlog())
	}
}
