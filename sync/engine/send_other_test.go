package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/engine/otherorg"
)

// An org that takes neither composite requests nor collections is written to record by record, with the same outcome: what was edited, made
// and deleted here is there, a person whom it has is not doubled, and what it refuses is set aside.
func TestSendingToAnOrgWithoutCollections(t *testing.T) {
	t.Parallel()
	met := false
	w := sendingWorld(newOtherWorld(t, otherorg.Config{}), func(w *world) {
		w.exec(`UPDATE admin.objects SET delete_allowed = true WHERE name = 'Contact'`)
		// One is changed there after it was read and before it is written.
		atStep(w, func(step string) {
			if step == "read" && !met {
				met = true
				w.other.Write("Lead", w.other.Nth("Lead", 6), map[string]any{"Company": "Changed in between"})
			}
		})
	})
	o := w.other

	there := func(object, id, field string) any { return o.Get(object, id)[field] }
	edited, both, deleted, known := o.Nth("Lead", 3), o.Nth("Lead", 4), o.Nth("Contact", 3), o.Nth("Lead", 5)
	between := o.Nth("Lead", 6)
	o.Write("Lead", both, map[string]any{"Company": "Changed there"})
	before := o.Alive("Lead")
	w.exec(`UPDATE salesforce.lead SET company = 'Changed here', description = E'two\r\nlines', annualrevenue = 12.5, firstname = NULL WHERE sfid = ANY($1)`, []string{edited, both, between})
	w.exec(`DELETE FROM salesforce.contact WHERE sfid = $1`, deleted)
	made := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Made', 'Here', 'made@here.example')`)
	linked := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('LastName 5', 'Company 5', 'person.5@example.org')`)
	refused := w.insert(`INSERT INTO salesforce.lead (lastname) VALUES ('REFUSE ME')`)
	w.exec(`DELETE FROM salesforce.contact WHERE email = 'person.5@example.org'`)
	w.cycle()
	if got := there("Lead", edited, "Company"); got != "Changed here" || there("Lead", edited, "Description") != "two\r\nlines" || there("Lead", edited, "FirstName") != nil {
		t.Errorf("the edited lead has %v, %v and %v", got, there("Lead", edited, "Description"), there("Lead", edited, "FirstName"))
	}
	for id, want := range map[string]string{both: "Changed there", between: "Changed in between"} {
		if got := there("Lead", id, "Company"); got != want || there("Lead", id, "Description") != "two\r\nlines" {
			t.Errorf("the lead that both sides changed has %v and %v, want %q kept", got, there("Lead", id, "Description"), want)
		}
	}
	if there("Contact", deleted, "IsDeleted") != true {
		t.Error("the contact that was deleted here is alive there")
	}
	if id := w.sfid("lead", made); there("Lead", id, "LastName") != "Made" {
		t.Errorf("the new lead is %q", id)
	}
	if code, message := w.refusal("Lead", refused); code != "FIELD_CUSTOM_VALIDATION_EXCEPTION" {
		t.Errorf("%s: %s", code, message)
	}
	if id := w.sfid("lead", linked); id != known && id != "" {
		t.Errorf("the row of a known person is %q, want %q or a refusal", id, known)
	}
	if n := o.Alive("Lead") - before; n != 1 {
		t.Errorf("%d leads were made, want one", n)
	}
	if s := o.Strange(); len(s) > 0 {
		t.Errorf("requests that the documentation does not know: %v", s)
	}
	w.cycle()
}

// A create whose reply is lost and that is not found at once is not sent again at once: what the org saves within a while is still found.
func TestALostCreateIsLookedForTwice(t *testing.T) {
	t.Parallel()
	w := sendingWorld(newOtherWorld(t, otherSmall), func(w *world) {
		w.config.LostWait = 700 * time.Millisecond
		looked := false
		atStep(w, func(step string) {
			if step == "looked up" && !looked {
				looked = true
				w.other.Haunt()
			}
		})
	})
	before := w.count("Lead")
	w.other.Break(otherorg.Trouble{Where: "POST /services/data/v64.0/composite/sobjects", Times: 1, Ghost: true})
	row := w.insert(`INSERT INTO salesforce.lead (lastname, company) VALUES ('Late', 'Slow & Co')`)
	w.rushed()
	if n := w.count("Lead") - before; n != 1 || w.sfid("lead", row) == "" {
		t.Errorf("%d leads were made, and the row is %q", n, w.sfid("lead", row))
	}
	w.cycle()
	w.equalObject("Lead")
}

// A create whose reply is lost, and that the org saves only after it was looked for, is sent again: no call tells of it then. Once reading brings
// the second record a person hears of both.
func TestALostCreateThatComesToLightTooLate(t *testing.T) {
	t.Parallel()
	w := sendingWorld(newOtherWorld(t, otherSmall))
	before := w.count("Lead")
	w.other.Break(otherorg.Trouble{Where: "POST /services/data/v64.0/composite/sobjects", Times: 1, Ghost: true})
	row := w.insert(`INSERT INTO salesforce.lead (lastname, company, annualrevenue) VALUES ('Late', ' Ghost & Co ', 1.50)`)
	w.insert(`INSERT INTO salesforce.lead (lastname, company) VALUES ('Another', 'Ghost & Co')`)
	w.rushed()
	if n := scalar[int](w, `SELECT count(*) FROM mirror.doubts`); n != 2 {
		t.Errorf("%d doubts are noted, want one of each row that was sent again", n)
	}
	w.other.Haunt()
	if n := w.count("Lead") - before; n != 4 {
		t.Fatalf("%d leads were made, want each twice: this checks nothing", n)
	}
	w.cycle()
	notices, err := w.models.OpenNotices(t.Context(), "Lead", 10)
	w.must(err)
	said := map[string]string{}
	for _, n := range notices {
		if strings.Contains(n.Message, "possible_double") {
			said[n.Params["second"]] = n.Params["first"]
		}
	}
	mine := w.sfid("lead", row)
	if first := said[mine]; len(said) != 2 || first == mine || w.there("Lead", first, "LastName") != "Late" {
		t.Errorf("told is %v, want the two pairs, among them that of %s", said, mine)
	}
	if n := scalar[int](w, `SELECT count(*) FROM mirror.doubts`); n != 0 {
		t.Errorf("%d doubts are left", n)
	}
	w.cycle()
	w.equalObject("Lead")
}

// An org that takes collections, in its own order and shapes: what is made by a key whose reply is lost is there once, what it refuses is set aside with
// its words and what it tells beside them, a member that is there is taken for the row's, and what is deleted here goes.
func TestSendingToAnotherOrgByCollections(t *testing.T) {
	t.Parallel()
	w := sendingWorld(newOtherWorld(t, otherSmall), func(w *world) {
		w.exec(`UPDATE admin.objects SET external_id = 'Partner_Key__c', match_email = false WHERE name = 'Lead'`)
		w.exec(`UPDATE admin.objects SET delete_allowed = true WHERE name = 'Contact'`)
	})
	leads, contacts := w.ids("Lead"), w.ids("Contact")
	campaign := w.ids("Campaign")[0]
	before := w.count("Lead")
	w.other.Break(otherorg.Trouble{Where: "PATCH /services/data/v64.0/composite/sobjects/Lead", Times: 1, CutAfter: true})
	keyed := w.insert(`INSERT INTO salesforce.lead (lastname, company, description) VALUES ('Keyed', 'K', E'two\r\nlines')`)
	own := w.insert(`INSERT INTO salesforce.lead (lastname, company, partner_key__c) VALUES ('Own', 'K', 'ours-1')`)
	double := w.insert(`INSERT INTO salesforce.lead (lastname, company, email) VALUES ('Double', 'K', $1)`, w.there("Lead", leads[2], "Email"))
	long := w.insert(`INSERT INTO salesforce.lead (lastname, company, firstname) VALUES ('Long', 'K', $1)`, strings.Repeat("x", 50))
	nameless := w.insert(`INSERT INTO salesforce.lead (company) VALUES ('K')`)
	ruled := w.insert(`INSERT INTO salesforce.lead (lastname, company) VALUES ('REFUSE ME', 'K')`)
	w.exec(`UPDATE salesforce.lead SET title = NULL, annualrevenue = 12345678901234.56, born__c = '1999-01-31' WHERE sfid = $1`, leads[4])
	w.exec(`DELETE FROM salesforce.contact WHERE sfid = $1`, contacts[5])
	for range 2 {
		w.exec(`INSERT INTO salesforce.campaignmember (campaignid, leadid) VALUES ($1, $2)`, campaign, leads[7])
	}
	w.cycle()
	if n := w.count("Lead") - before; n != 2 || w.sfid("lead", keyed) == "" || w.there("Lead", w.sfid("lead", own), "Partner_Key__c") != "ours-1" {
		t.Errorf("%d leads were made, %q and %q, want the two", n, w.sfid("lead", keyed), w.sfid("lead", own))
	}
	for row, want := range map[int64]string{double: "DUPLICATES_DETECTED", long: "STRING_TOO_LONG", nameless: "REQUIRED_FIELD_MISSING", ruled: "FIELD_CUSTOM_VALIDATION_EXCEPTION"} {
		if code, message := w.refusal("Lead", row); code != want || message == "" {
			t.Errorf("%s: %s, want %s", code, message, want)
		}
	}
	if got := scalar[string](w, `SELECT details->'candidates'->>0 FROM mirror.refused WHERE object = 'Lead' AND row_id = $1`, double); got != leads[2] {
		t.Errorf("the candidate is %q, want %s", got, leads[2])
	}
	if w.there("Contact", contacts[5], "IsDeleted") != "true" {
		t.Error("the contact that was deleted here is alive there")
	}
	if n := scalar[int](w, `SELECT count(*) FROM salesforce.campaignmember WHERE campaignid = $1 AND leadid = $2 AND sfid IS NOT NULL`, campaign, leads[7]); n != 1 || w.backlog() != 4 {
		t.Errorf("the member that was made twice here has %d rows, and %d changes are left, want one, and what was refused", n, w.backlog())
	}
	w.cycle()
	w.equalObject("Contact", contacts[5])
	w.equalObject("CampaignMember")
	if s := w.other.Strange(); len(s) > 0 {
		t.Errorf("requests that the documentation does not know: %v", s)
	}
}
