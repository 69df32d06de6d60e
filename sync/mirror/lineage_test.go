package mirror

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/sobject"
)

func TestRedirectField(t *testing.T) {
	t.Parallel()
	contact := schema("Contact", "Email:email", "Phone:phone", "Score:double", "Secret:string")
	for i, f := range contact.Fields {
		contact.Fields[i].Updateable = f.Name != "Secret"
	}
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	for name, c := range map[string]struct {
		kind               string
		field              sobject.Field
		base, local, there string
		fate               fate
		newBase            string
	}{
		"merged, the survivor's is empty":        {"merged", sobject.Field{Name: "Email", Type: "email"}, `"a@x"`, `"b@x"`, `null`, fateMoves, `null`},
		"merged, the survivor has another":       {"merged", sobject.Field{Name: "Email", Type: "email"}, `"a@x"`, `"b@x"`, `"c@x"`, fateConflict, ``},
		"merged, the survivor has the same":      {"merged", sobject.Field{Name: "Email", Type: "email"}, `"a@x"`, `"b@x"`, `"b@x"`, fateAlready, ``},
		"merged, emptied here and empty there":   {"merged", sobject.Field{Name: "Email", Type: "email"}, `"a@x"`, `null`, ``, fateAlready, ``},
		"merged, emptied here and filled there":  {"merged", sobject.Field{Name: "Email", Type: "email"}, `"a@x"`, `null`, `"a@x"`, fateConflict, ``},
		"merged, a false is a value":             {"merged", sobject.Field{Name: "Email", Type: "boolean"}, `false`, `true`, `false`, fateConflict, ``},
		"converted, the contact as the lead was": {"converted", sobject.Field{Name: "Email", Type: "email"}, `"a@x"`, `"b@x"`, `"a@x"`, fateMoves, `"a@x"`},
		"converted, the contact has another":     {"converted", sobject.Field{Name: "Email", Type: "email"}, `"a@x"`, `"b@x"`, `"c@x"`, fateMoves, `"a@x"`},
		"converted, from nothing":                {"converted", sobject.Field{Name: "Email", Type: "email"}, ``, `"b@x"`, `null`, fateMoves, `null`},
		"converted, another type":                {"converted", sobject.Field{Name: "Score", Type: "string"}, `"1"`, `"2"`, `3`, fateConflict, ``},
		"converted, no such field":               {"converted", sobject.Field{Name: "Company", Type: "string"}, `"A"`, `"B"`, ``, fateConflict, ``},
		"converted, not to be written":           {"converted", sobject.Field{Name: "Secret", Type: "string"}, `"A"`, `"B"`, `"C"`, fateConflict, ``},
	} {
		d := redirectField(c.kind, c.field, contact, raw(c.base), raw(c.local), raw(c.there))
		if d.fate != c.fate || string(d.base) != c.newBase || (d.fate == fateConflict) != (d.reason != "") {
			t.Errorf("%s: %+v, want fate %d and base %s", name, d, c.fate, c.newBase)
		}
	}
}

const personColumns = "Id LastName Company Title Phone Email IsConverted ConvertedContactId IsDeleted MasterRecordId SystemModstamp"

func personSchema() sobject.Schema {
	s := schema("Lead", "LastName:string", "Company:string", "Title:string", "Phone:phone", "Email:email", "IsConverted:boolean", "ConvertedContactId:reference", "IsDeleted:boolean", "MasterRecordId:reference", "SystemModstamp:datetime")
	for i, f := range s.Fields {
		switch f.Name {
		case "MasterRecordId":
			s.Fields[i].ReferenceTo = []string{"Lead"}
		case "ConvertedContactId":
			s.Fields[i].ReferenceTo = []string{"Contact"}
		}
	}
	return s
}

// A merge is followed in the transaction that brings it: unsent changes of the loser go to the survivor where it has nothing, else they
// become conflicts; what is being sent at this moment is left alone, and comes with the next batch.
func TestMergeTakesUnsentChangesAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(personSchema())
	lead := func(n int, title, phone string, stamp int) []string {
		return []string{id("00Q", n), "Name", "Company", title, phone, null, "false", null, "false", null, stampAt(stamp)}
	}
	w.change("Lead", time.Time{}, mark, rows(personColumns, lead(1, "Old", "1", 0), lead(2, null, "2", 0), lead(3, null, null, 0)))
	edit := func(n int, state, changed, base string) {
		w.exec(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application, state) SELECT 'Lead', id, sfid, 'update', $3, $4, 'ann', 'crm', $2 FROM salesforce.lead WHERE sfid = $1`,
			id("00Q", n), state, base, changed)
	}
	// As capture leaves it: the row holds what the person wrote.
	edit(1, "waiting", `{"title": "Newer", "phone": "7"}`, `{"title": "Old", "phone": "1"}`)
	edit(1, "refused", `{"title": "Newest"}`, `{"title": "Newer"}`)
	b, err := w.db.asEngine(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Exec(w.ctx, `UPDATE salesforce.lead SET title = 'Newest', phone = '7' WHERE sfid = $1`, id("00Q", 1)); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.exec(`INSERT INTO mirror.refusals (object, direction, record, code, message) SELECT 'Lead', 'out', 'local:' || id, 'X', 'refused' FROM salesforce.lead WHERE sfid = $1`, id("00Q", 1))
	w.exec(`INSERT INTO mirror.conflicts (object, sfid, row_id, field, column_name, base, local, remote, winner, reason) SELECT 'Lead', sfid, id, 'Company', 'company', 'A', 'B', 'C', '', '' FROM salesforce.lead WHERE sfid = $1`, id("00Q", 1))

	loser := lead(1, "Old", "1", 5)
	loser[8], loser[9] = "true", id("00Q", 2)
	w.exec(`UPDATE mirror.outbox SET state = 'claimed' WHERE state = 'waiting'`)
	w.change("Lead", mark, mark, rows(personColumns, loser))
	equal(t, "lineage", ask[string](w, `SELECT sfid || ' ' || kind || ' ' || to_sfid FROM mirror.lineage`), id("00Q", 1)+" merged "+id("00Q", 2))
	equal(t, "left to the sender", ask[int](w, `SELECT count(*) FROM mirror.settled`), 0)
	w.exec(`UPDATE mirror.outbox SET state = 'waiting' WHERE state = 'claimed'`)
	w.change("Lead", mark, mark, rows(personColumns))

	equal(t, "survivor", ask[string](w, `SELECT title || ' ' || phone FROM salesforce.lead WHERE sfid = $1`, id("00Q", 2)), "Newest 2")
	equal(t, "waits for the survivor", ask[string](w, `SELECT sfid || ' ' || operation || ' ' || base || ' ' || changed || ' ' || made_by || ' ' || application || ' ' || state FROM mirror.outbox`),
		id("00Q", 2)+` update {"title": null} {"title": "Newest"} ann crm waiting`)
	equal(t, "conflict", ask[string](w, `SELECT sfid || ' ' || column_name || ' ' || base || ' ' || local || ' ' || remote || ' ' || winner FROM mirror.conflicts WHERE field = 'Phone' AND closed_at IS NULL`),
		id("00Q", 2)+" phone 1 7 2 salesforce")
	equal(t, "question", ask[string](w, `SELECT sfid || ' ' || local || ' ' || remote || ' ' || winner FROM mirror.conflicts WHERE field = 'Company'`), id("00Q", 2)+" B Company salesforce")
	equal(t, "settled", ask[string](w, `SELECT string_agg(outcome, ' ') FROM mirror.settled`), "superseded superseded")
	equal(t, "refusals", ask[int](w, `SELECT count(*) FROM mirror.refused`), 0)
	equal(t, "loser", ask[string](w, `SELECT title || ' ' || phone || ' ' || isdeleted || ' ' || masterrecordid FROM salesforce.lead WHERE sfid = $1`, id("00Q", 1)), "Old 1 true "+id("00Q", 2))
	w.sumUp("Lead", Result{})

	// The survivor is merged too: what waits goes on to the last.
	loser = lead(2, null, "2", 9)
	loser[8], loser[9] = "true", id("00Q", 3)
	w.change("Lead", mark, mark, rows(personColumns, loser))
	equal(t, "lineage of the first", ask[string](w, `SELECT to_sfid FROM mirror.lineage WHERE sfid = $1`, id("00Q", 1)), id("00Q", 3))
	equal(t, "waits for the last", ask[string](w, `SELECT sfid || ' ' || changed FROM mirror.outbox`), id("00Q", 3)+` {"title": "Newest"}`)
	equal(t, "last", ask[string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, id("00Q", 3)), "Newest")
}

// Unsent changes of a lead that was converted go to its contact, once that is here, where it has the field; a contact that has another
// value there is for sending to decide, by the lead's base.
func TestConversionTakesUnsentChangesAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(personSchema())
	contact := schema("Contact", "LastName:string", "Title:string", "Email:email", "Phone:string", "IsDeleted:boolean", "SystemModstamp:datetime")
	for i := range contact.Fields {
		contact.Fields[i].Updateable = true
	}
	w.ensure(contact)
	w.change("Contact", time.Time{}, mark)
	lead := []string{id("00Q", 1), "Name", "Company", "Old", "1", "a@x", "false", null, "false", null, stampAt(0)}
	w.change("Lead", time.Time{}, mark, rows(personColumns, lead))
	w.exec(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by) SELECT 'Lead', id, sfid, 'update', '{"title": "Old", "company": "Company", "phone": "1"}', '{"title": "New", "company": "Other", "phone": "7"}', 'ann' FROM salesforce.lead`)
	lead[6], lead[7], lead[10] = "true", id("003", 1), stampAt(5)
	w.change("Lead", mark, mark, rows(personColumns, lead))
	equal(t, "lineage", ask[string](w, `SELECT kind || ' ' || to_object || ' ' || to_sfid FROM mirror.lineage`), "converted Contact "+id("003", 1))
	equal(t, "waits for the contact to come", ask[string](w, `SELECT object FROM mirror.outbox`), "Lead")
	w.change("Contact", mark, mark, rows("Id LastName Title Email Phone IsDeleted SystemModstamp", []string{id("003", 1), "Name", "Old", "a@x", "1", "false", stampAt(5)}))
	equal(t, "waits", ask[string](w, `SELECT object || ' ' || sfid || ' ' || base || ' ' || changed FROM mirror.outbox`), "Contact "+id("003", 1)+` {"title": "Old"} {"title": "New"}`)
	equal(t, "contact", ask[string](w, `SELECT title FROM salesforce.contact`), "New")
	equal(t, "conflicts", ask[string](w, `SELECT string_agg(object || ' ' || field || ' ' || local, ', ' ORDER BY field) FROM mirror.open_conflicts`), "Lead Company Other, Contact Phone 7")
	equal(t, "lead", ask[string](w, `SELECT title || ' ' || company FROM salesforce.lead`), "Old Company")
}
