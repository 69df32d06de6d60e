package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// people makes the describe of a two-way object: "Name:type" for a field that can be written, "-Name:type" for one that cannot,
// "+Name:type" for one that can only be set when the record is made, "Name:reference(A B)" for what points to A or B.
func people(object string, fields ...string) sobject.Schema {
	s := schema(object)
	s.Createable, s.Updateable, s.Deletable = true, true, true
	for _, spec := range append(fields, "-IsDeleted:boolean", "-SystemModstamp:datetime") {
		f := sobject.Field{Createable: true, Updateable: true}
		switch spec[0] {
		case '-':
			f.Createable, f.Updateable, spec = false, false, spec[1:]
		case '+':
			f.Updateable, spec = false, spec[1:]
		}
		f.Name, f.Type, _ = strings.Cut(spec, ":")
		if typ, to, ok := strings.Cut(f.Type, "("); ok {
			f.Type, f.ReferenceTo = typ, strings.Fields(strings.TrimSuffix(to, ")"))
		}
		f.Label = f.Name
		s.Fields = append(s.Fields, f)
	}
	return s
}

// campaigns, leads and their memberships.
func (w *world) twoWay() {
	w.t.Helper()
	for _, s := range []sobject.Schema{
		people("Lead", "FirstName:string", "LastName:string", "Company:string", "Email:email", "Score__c:double", "Members__c:int", "HasOptedOutOfEmail:boolean", "Born__c:date", "Called__c:datetime", "Wakes__c:time",
			"OwnerId:reference(Group User)", "-Name:string", "+Origin__c:string", "-IsConverted:boolean"),
		people("Campaign", "Name:string", "ParentId:reference(Campaign)"),
		people("CampaignMember", "+CampaignId:reference(Campaign)", "+LeadId:reference(Lead)", "Status:picklist", "Mentor__c:reference(Lead)"),
	} {
		if _, _, err := w.db.Ensure(w.ctx, s, TwoWay, mark); err != nil {
			w.t.Fatal(err)
		}
	}
	w.ensure(schema("User", "LastName:string"))
}

// outbox lists an object's outbox, a line a row.
func (w *world) outbox(object string) string {
	w.t.Helper()
	return ask[string](w, `SELECT coalesce(string_agg(format('%s %s %s -> %s', operation, row_id, base, changed), E'\n' ORDER BY seq), '') FROM mirror.outbox WHERE object = $1`, object)
}

const leadColumns = "Id LastName Company Score__c IsDeleted SystemModstamp"

func leadID(n int) string { return id("00Q", n) }

func lead(n int, company string, stamp int) []string {
	return []string{leadID(n), fmt.Sprintf("Lead %d", n), company, fmt.Sprint(n), "false", stampAt(stamp)}
}

func (w *world) refused(sql, sentence string, args ...any) {
	w.t.Helper()
	_, err := w.pool.Exec(w.ctx, sql, args...)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		w.t.Errorf("%s was not refused: %v", sql, err)
		return
	}
	if !strings.Contains(pg.Message, sentence) {
		w.t.Errorf("%s: %q, want %q", sql, pg.Message, sentence)
	}
}

func TestCaptureRecordsWhatChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0), lead(2, "Bolt", 0)))
	equal(t, "the engine's own writes", w.outbox("Lead"), "")
	for _, c := range []struct{ sql, want string }{
		{"UPDATE salesforce.lead SET company = company", ""},
		{"UPDATE salesforce.lead SET firstname = ''", ""},
		{"UPDATE salesforce.lead SET score__c = 1.00 WHERE id = 1", ""},
		{"UPDATE salesforce.lead SET company = 'New', score__c = 7.50 WHERE id = 1", `update 1 {"company": "Acme", "score__c": 1.00} -> {"company": "New", "score__c": 7.50}`},
		{"UPDATE salesforce.lead SET company = '' WHERE id = 2", `update 2 {"company": "Bolt"} -> {"company": null}`},
		{"UPDATE salesforce.lead SET company = 'E''\"\n\t\\é😀' WHERE id = 1", `update 1 {"company": "New"} -> {"company": "E'\"\n\t\\é😀"}`},
		{
			"INSERT INTO salesforce.lead (lastname, hasoptedoutofemail, born__c, called__c, wakes__c, company) VALUES ('Ada', true, '2026-02-03', '2026-02-03 04:05:06.789+02', '18:30', '')",
			`insert 3 {} -> {"born__c": "2026-02-03", "lastname": "Ada", "wakes__c": "18:30:00", "called__c": "2026-02-03T02:05:06.789+00:00", "hasoptedoutofemail": true}`,
		},
		{"INSERT INTO salesforce.lead DEFAULT VALUES", "insert 4 {} -> {}"},
		{"INSERT INTO salesforce.lead (id, company) VALUES (2, 'Upserted') ON CONFLICT (id) DO UPDATE SET company = excluded.company", `update 2 {"company": null} -> {"company": "Upserted"}`},
		{"INSERT INTO salesforce.lead (sfid, company) VALUES ('" + leadID(2) + "', 'By sfid') ON CONFLICT (sfid) DO UPDATE SET company = excluded.company", `update 2 {"company": "Upserted"} -> {"company": "By sfid"}`},
		{"INSERT INTO salesforce.lead (id, company) VALUES (2, 'x') ON CONFLICT DO NOTHING", ""},
		{"BEGIN; SAVEPOINT a; UPDATE salesforce.lead SET company = 'no' WHERE id = 1; ROLLBACK TO a; UPDATE salesforce.lead SET company = 'yes' WHERE id = 1; COMMIT", `update 1 {"company": "E'\"\n\t\\é😀"} -> {"company": "yes"}`},
		{"BEGIN; DELETE FROM salesforce.lead; ROLLBACK", ""},
	} {
		w.exec("TRUNCATE mirror.outbox")
		conn, err := w.pool.Acquire(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Conn().PgConn().Exec(w.ctx, "SET timezone='UTC';"+c.sql).ReadAll(); err != nil {
			t.Errorf("%s: %v", c.sql, err)
		}
		conn.Release()
		want := strings.ReplaceAll(c.want, "\n\t", `\n\t`)
		want = strings.ReplaceAll(want, `\t\é`, `\t\\é`)
		equal(t, c.sql, w.outbox("Lead"), want)
	}
	w.exec("TRUNCATE mirror.outbox")
	w.exec("DELETE FROM salesforce.lead WHERE id = 2")
	equal(t, "deletion", ask[string](w, "SELECT format('%s %s %s %s %s %s', operation, row_id, sfid, base->>'id', base->>'company', changed) FROM mirror.outbox"), "delete 2 "+leadID(2)+" 2 By sfid {}")
	equal(t, "views count a local row as not deleted", ask[bool](w, "SELECT bool_and(NOT isdeleted) FROM salesforce.lead"), true)
	// A row that is marked as deleted is captured too: what becomes of it is the sender's decision.
	w.change("Lead", mark, mark, rows("Id IsDeleted", []string{leadID(1), "true"}))
	w.exec("TRUNCATE mirror.outbox")
	w.exec("UPDATE salesforce.lead SET email = 'a@x.org' WHERE isdeleted")
	equal(t, "an edit of a deleted one", w.outbox("Lead"), `update 1 {"email": null} -> {"email": "a@x.org"}`)
}

// What cannot be sent is refused at once, with a sentence that says why.
func TestCaptureRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	if err := w.db.Recapture(w.ctx, "Lead", TwoWay, "Members__c"); err != nil {
		t.Fatal(err)
	}
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	w.exec("INSERT INTO salesforce.lead (lastname) VALUES ('local')")
	w.exec("INSERT INTO salesforce.campaign (name) VALUES ('A'), ('B')")
	w.exec("UPDATE salesforce.campaign SET parentid = 'local:1' WHERE id = 2")
	w.exec("INSERT INTO salesforce.campaignmember (campaignid) VALUES ('local:2')")
	w.exec("DELETE FROM mirror.outbox")
	w.change("Lead", mark, mark.Add(time.Minute), rows(leadColumns, lead(2, "Acme", 0)))
	w.exec("INSERT INTO mirror.out_of_scope (object, sfid) VALUES ('Lead', $1)", leadID(2))
	for _, c := range []struct{ sql, sentence string }{
		{"UPDATE salesforce.lead SET lastname = 'x' WHERE sfid = '" + leadID(2) + "'", "no longer meets the record filter"},
		{"DELETE FROM salesforce.lead WHERE sfid = '" + leadID(2) + "'", "no longer meets the record filter"},
		{"TRUNCATE salesforce.lead", "salesforce.lead cannot be truncated"},
		{"TRUNCATE salesforce.campaign, salesforce.lead", "cannot be truncated"},
		{"UPDATE salesforce.lead SET sfid = NULL", "salesforce.lead.sfid cannot be set here"},
		{"UPDATE salesforce.lead SET id = 17 WHERE id = 1", "salesforce.lead.id cannot be changed"},
		{"INSERT INTO salesforce.lead (sfid) VALUES ('" + leadID(9) + "')", "Salesforce gives it when it accepts the lead"},
		{"UPDATE salesforce.lead SET isconverted = true, name = 'x', company = 'y'", "salesforce.lead cannot be written here in isconverted (Salesforce does not let the connected user write it), name ("},
		{"UPDATE salesforce.lead SET isdeleted = true WHERE id = 1", "isdeleted"},
		{"INSERT INTO salesforce.lead (lastname, isdeleted) VALUES ('x', true)", "isdeleted"},
		{"INSERT INTO salesforce.lead (lastname, systemmodstamp) VALUES ('x', now())", "systemmodstamp"},
		{"UPDATE salesforce.lead SET origin__c = 'web'", "origin__c (Salesforce lets it be set only when the record is made)"},
		{"UPDATE salesforce.lead SET members__c = 7", "members__c (an admin lets it come from Salesforce only)"},
		{"UPDATE salesforce.lead SET ownerid = 'me'", `salesforce.lead.ownerid cannot be "me": a reference is a Salesforce id`},
		{"UPDATE salesforce.lead SET ownerid = '00Q00000000000100'", "cannot be"},
		{"UPDATE salesforce.lead SET ownerid = 'local:x'", "cannot be"},
		{"UPDATE salesforce.lead SET ownerid = 'local:1'", "there is no row 1 in salesforce.user"},
		{"INSERT INTO salesforce.campaignmember (leadid) VALUES ('local:99')", "salesforce.campaignmember.leadid cannot be local:99: there is no row 99 in salesforce.lead"},
		{"UPDATE salesforce.campaign SET parentid = 'local:1' WHERE id = 1", "row 1 would wait for itself"},
		{"UPDATE salesforce.campaign SET parentid = 'local:2' WHERE id = 1", "row 1 would wait for itself"},
		{"DELETE FROM salesforce.campaign WHERE id = 1", "salesforce.campaign row 1 cannot be deleted: salesforce.campaign row 2 refers to it in parentid and waits for it"},
	} {
		w.refused(c.sql, c.sentence)
	}
	equal(t, "what was refused leaves nothing", ask[int](w, "SELECT count(*) FROM mirror.outbox"), 0)
	equal(t, "row", ask[string](w, "SELECT format('%s %s %s', company, name, isconverted) FROM salesforce.lead WHERE id = 1"), "Acme  ")
	// What nobody waits for any more can go, also together with what waits.
	w.exec("DELETE FROM salesforce.campaignmember")
	w.exec("DELETE FROM salesforce.campaign")
	equal(t, "links", ask[int](w, "SELECT count(*) FROM mirror.links"), 0)
	// The admin's choice is taken back.
	if err := w.db.Recapture(w.ctx, "Lead", TwoWay); err != nil {
		t.Fatal(err)
	}
	w.exec("UPDATE salesforce.lead SET members__c = 7 WHERE id = 1")
	// An org that lets this user create nothing.
	s := people("Campaign", "Name:string")
	s.Createable = false
	if _, _, err := w.db.Ensure(w.ctx, s, TwoWay, mark); err != nil {
		t.Fatal(err)
	}
	w.refused("INSERT INTO salesforce.campaign (name) VALUES ('x')", "salesforce.campaign takes no new rows: Salesforce does not let the connected user create a campaign")
}

// Someone who may write the table needs no right on what capture writes, and cannot steer it by names of their own.
func TestCaptureByRolesWithFewRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	role := fmt.Sprintf("writer_%d", time.Now().UnixNano())
	w.exec("CREATE ROLE " + role + " LOGIN")
	t.Cleanup(func() {
		_, _ = w.pool.Exec(context.Background(), "DROP OWNED BY "+role)
		_, _ = w.pool.Exec(context.Background(), "DROP ROLE "+role)
	})
	w.exec("GRANT USAGE ON SCHEMA salesforce TO " + role)
	w.exec("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA salesforce TO " + role)
	w.exec("CREATE SCHEMA trap AUTHORIZATION " + role)
	c := w.pool.Config().ConnConfig.Copy()
	c.User, c.Password = role, ""
	c.RuntimeParams["application_name"] = "mailer"
	conn, err := pgx.ConnectConfig(w.ctx, c)
	if err != nil {
		// The server asks for passwords.
		w.exec("ALTER ROLE " + role + " PASSWORD 'x'")
		c.Password = "x"
		if conn, err = pgx.ConnectConfig(w.ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{
		"CREATE FUNCTION trap.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS $$ SELECT '\"trapped\"'::jsonb $$",
		"CREATE FUNCTION trap.jsonb_build_object(text, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '\"trapped\"'::jsonb $$",
		"CREATE FUNCTION trap.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'on' $$",
		"CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$",
		"CREATE FUNCTION trap.sprung(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$",
		"CREATE FUNCTION trap.sprung(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$",
		"CREATE FUNCTION trap.joined(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$",
		"CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung)",
		"CREATE OPERATOR trap.!~ (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung)",
		"CREATE OPERATOR trap.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung)",
		"CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.sprung)",
		"CREATE OPERATOR trap.<> (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = trap.sprung)",
		"CREATE OPERATOR trap.|| (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = trap.joined)",
		"CREATE TEMP TABLE outbox (LIKE salesforce.lead)",
		"CREATE DOMAIN pg_temp.jsonb AS text CHECK (value = 'trapped')",
	} {
		if _, err := conn.Exec(w.ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for i, path := range []string{"trap", "trap, pg_catalog", "trap, Pg_CATALOG, pg_temp", `pg_temp, trap, "pg_catalog"`, ""} {
		w.exec("DELETE FROM mirror.outbox")
		w.exec("DELETE FROM mirror.links")
		n := ask[int64](w, "SELECT nextval(pg_get_serial_sequence('salesforce.lead', 'id'))") + 1
		// The path with traps is in force for the edits and for what a transaction does after them, but these statements know what they want.
		for _, sql := range []string{
			"BEGIN",
			"SELECT pg_catalog.set_config('search_path', '" + path + "', false)",
			fmt.Sprintf("UPDATE salesforce.lead SET company = 'New %d', email = NULL, ownerid = '00500000000000%[1]d' WHERE id OPERATOR(pg_catalog.=) 1", i),
			"INSERT INTO salesforce.lead (lastname) VALUES ('Ada'), ('Bob')",
			fmt.Sprintf("INSERT INTO salesforce.campaignmember (leadid, mentor__c) VALUES ('local:%[1]d', 'local:%[1]d')", n),
			fmt.Sprintf("UPDATE salesforce.campaignmember SET mentor__c = NULL WHERE mentor__c OPERATOR(pg_catalog.=) 'local:%d'", n),
		} {
			if _, err := conn.Exec(w.ctx, sql); err != nil {
				t.Fatalf("with search_path %q: %s: %v", path, sql, err)
			}
		}
		var kept string
		if err := conn.QueryRow(w.ctx, "SELECT pg_catalog.current_setting('search_path')").Scan(&kept); err != nil {
			t.Fatal(err)
		}
		equal(t, "the search_path after the edits", kept, path)
		for _, sql := range []string{fmt.Sprintf("DELETE FROM salesforce.lead WHERE id OPERATOR(pg_catalog.=) %d", n+1), "COMMIT"} {
			if _, err := conn.Exec(w.ctx, sql); err != nil {
				t.Fatalf("with search_path %q: %s: %v", path, sql, err)
			}
		}
		equal(t, "what with search_path "+path, ask[string](w, "SELECT string_agg(concat_ws(' ', operation, changed), '; ' ORDER BY seq) FROM mirror.outbox"),
			fmt.Sprintf(`update {"company": "New %d", "ownerid": "00500000000000%[1]dAAA"}; insert {"lastname": "Ada"}; insert {"lastname": "Bob"}; insert {"leadid": "local:%[2]d", "mentor__c": "local:%[2]d"}; update {"mentor__c": null}; delete {}`, i, n))
	}
	w.exec("DELETE FROM mirror.outbox")
	w.exec("UPDATE salesforce.lead SET company = 'Acme' WHERE id = 1")
	w.exec("DELETE FROM mirror.outbox")
	for _, sql := range []string{
		"SET search_path = trap, pg_catalog",
		"UPDATE salesforce.lead SET company = 'New' WHERE id OPERATOR(pg_catalog.=) 1",
		"INSERT INTO salesforce.lead (lastname) VALUES ('Ada')",
		"DELETE FROM salesforce.lead WHERE id OPERATOR(pg_catalog.=) 1",
	} {
		if _, err := conn.Exec(w.ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	equal(t, "who", ask[string](w, "SELECT string_agg(DISTINCT made_by || ' ' || application, ';') FROM mirror.outbox"), role+" mailer")
	equal(t, "what", ask[string](w, "SELECT string_agg(operation || ' ' || (base->>'company'), ' ' ORDER BY seq) FROM mirror.outbox WHERE sfid IS NOT NULL"), "update Acme delete New")
	for _, sql := range []string{"SELECT FROM mirror.outbox", "DELETE FROM mirror.outbox", "SELECT mirror.put('lead', 2, '{}')"} {
		if _, err := conn.Exec(w.ctx, sql); !isState(err, "42501") {
			t.Errorf("%s: %v, want no permission", sql, err)
		}
	}
}

// Records that left the filter are looked for only where there are some, from the transaction on that marks the first; and a trigger of an
// earlier version, or one that somebody took off, is made anew.
func TestCaptureIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0), lead(2, "Bolt", 0)))
	looks := func() bool {
		return ask[bool](w, "SELECT prosrc LIKE '%out_of_scope%' FROM pg_proc WHERE oid = 'mirror.capture_lead'::regproc")
	}
	anew := func() string {
		if err := w.db.Recapture(w.ctx, "Lead", TwoWay); err != nil {
			t.Fatal(err)
		}
		return ask[string](w, "SELECT concat_ws(' ', p.xmin, t.xmin) FROM pg_proc p, pg_trigger t WHERE p.oid = 'mirror.capture_lead'::regproc AND t.tgfoid = p.oid")
	}
	equal(t, "no record has left the filter", looks(), false)
	w.exec("INSERT INTO mirror.out_of_scope (object, sfid) VALUES ('Campaign', $1)", id("701", 1))
	equal(t, "none of this object", looks(), false)
	w.exec("INSERT INTO mirror.out_of_scope (object, sfid) VALUES ('Lead', $1)", leadID(1))
	equal(t, "one has", looks(), true)
	w.refused("UPDATE salesforce.lead SET company = 'x' WHERE id = 1", "no longer meets the record filter")
	w.exec("UPDATE salesforce.lead SET company = 'x' WHERE id = 2")
	first := anew()
	w.exec("DELETE FROM mirror.out_of_scope WHERE object = 'Lead'")
	second := anew()
	equal(t, "it came back", looks(), false)
	equal(t, "the trigger is left alone, for making it holds up writers", strings.Fields(second)[1], strings.Fields(first)[1])
	equal(t, "nothing changed", anew(), second)
	w.exec("DROP TRIGGER tandem_capture ON salesforce.lead")
	third := anew()
	w.exec("UPDATE mirror.objects SET capture_mark = 'of an earlier version'")
	if fourth := anew(); fourth == third || third == second {
		t.Errorf("the trigger was not made anew: %s, %s, %s", second, third, fourth)
	}
	w.exec("UPDATE salesforce.lead SET company = 'y' WHERE id = 2")
	equal(t, "outbox", w.outbox("Lead"), `update 2 {"company": "Bolt"} -> {"company": "x"}`+"\n"+`update 2 {"company": "x"} -> {"company": "y"}`)
}

// The parts of a compound field have columns and the whole has none; names that PostgreSQL would cut to the same 63 bytes stay apart, in the
// table, in what is captured and in what is sent.
func TestLongNamesStayApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	const place = "namespace_of_15__A_name_of_forty_characters_in_all_is_long"
	lat, long := place+"__Latitude__s", place+"__Longitude__s"
	s := people("Lead", "LastName:string", place+"__c:location", lat+":double", long+":double", place+"__Longitude_of_another__c:string", "Home:address", "HomeCity:string")
	if _, _, err := w.db.Ensure(w.ctx, s, TwoWay, mark); err != nil {
		t.Fatal(err)
	}
	names := ask[string](w, `SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY f.field) FROM pg_attribute a JOIN mirror.fields f ON f.object = 'Lead' AND f.column_name = a.attname
		WHERE a.attrelid = 'salesforce.lead'::regclass AND f.field LIKE 'namespace%'`)
	cut := strings.ToLower(place)[:54]
	equal(t, "columns", names, cut+"_1418d7e1 numeric, "+cut+"_c802d082 numeric, "+cut+"_17998f00 text") // as databases have them already
	equal(t, "the compound ones have none", ask[int](w, `SELECT count(*) FROM mirror.fields WHERE object = 'Lead' AND field IN ($1, 'Home')`, place+"__c"), 0)
	w.change("Lead", time.Time{}, mark, rows("Id LastName "+lat+" "+long+" IsDeleted SystemModstamp", []string{leadID(1), "Ada", "1.5", "-2.25", "false", stampAt(0)}))
	column := func(field string) string {
		return ask[string](w, "SELECT quote_ident(column_name) FROM mirror.fields WHERE object = 'Lead' AND field = $1", field)
	}
	equal(t, "each its own", ask[string](w, "SELECT concat_ws(' ', "+column(lat)+", "+column(long)+") FROM salesforce.lead"), "1.5 -2.25")
	w.exec("UPDATE salesforce.lead SET " + column(long) + " = 3")
	ch, settled := w.one("Lead", Update)
	equal(t, "what is sent", values(ch.Base)+values(ch.Local), `{"`+long+`":"-2.25"}{"`+long+`":"3"}`)
	settled.Values = map[string]*string{long: str("3.0"), lat: str("4")}
	w.settle(settled)
	equal(t, "what was accepted", ask[string](w, "SELECT concat_ws(' ', "+column(lat)+", "+column(long)+") FROM salesforce.lead"), "4 3.0")
}

// Invariant 4: an edit that meets a row which the engine is just replacing waits, and is captured; the engine's own is not.
func TestEditWhileTheEngineHoldsTheRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	b, err := w.db.Changes(w.ctx, "Lead")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Rollback()
	if _, err := b.Apply(w.ctx, rows(leadColumns, lead(1, "Theirs", 5))); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.pool.Exec(w.ctx, "UPDATE salesforce.lead SET company = 'Mine'")
		done <- err
	}()
	w.waitForLock("salesforce.lead SET company = ")
	if err := b.Commit(w.ctx, mark, mark); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	equal(t, "outbox", w.outbox("Lead"), `update 1 {"company": "Theirs"} -> {"company": "Mine"}`)
	equal(t, "row", ask[string](w, "SELECT company FROM salesforce.lead"), "Mine")
}

// The other way round: the engine meets a row that a person is just editing. It waits, and keeps what they wrote.
func TestEngineMeetsAnEditUnderWay(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"UPDATE salesforce.lead SET company = 'Mine' WHERE id = 1", "DELETE FROM salesforce.lead WHERE id = 1"} {
		w := newWorld(t)
		w.twoWay()
		w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0), lead(2, "Bolt", 0)))
		tx, err := w.pool.Begin(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(w.ctx) }()
		if _, err := tx.Exec(w.ctx, sql); err != nil {
			t.Fatal(err)
		}
		done := make(chan Result, 1)
		go func() {
			b, err := w.db.Changes(w.ctx, "Lead")
			if err != nil {
				t.Error(err)
				done <- Result{}
				return
			}
			defer b.Rollback()
			first := lead(1, "Theirs", 5)
			first[1] = "Renamed"
			r, err := b.Apply(w.ctx, rows(leadColumns, first, lead(2, "Bolt", 5)))
			if err == nil {
				err = b.Commit(w.ctx, mark, mark)
			}
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		w.waitForLock("written AS")
		if err := tx.Commit(w.ctx); err != nil {
			t.Fatal(err)
		}
		r := <-done
		equal(t, "read", r.Read, 2)
		if strings.HasPrefix(sql, "DELETE") {
			equal(t, "rows", ask[string](w, "SELECT string_agg(sfid, ' ') FROM salesforce.lead"), leadID(2))
			equal(t, "counts", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 2)
			continue
		}
		equal(t, "row", ask[string](w, "SELECT company || ' ' || lastname FROM salesforce.lead WHERE id = 1"), "Mine Renamed")
		equal(t, "held", ask[string](w, "SELECT cells::text FROM mirror.held"), `{"company": "Theirs"}`)
	}
}

// waitForLock returns once a statement waits for a lock.
func (w *world) waitForLock(statement string) {
	w.t.Helper()
	for range 1000 {
		if ask[bool](w, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid())`, statement) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("nobody waits in %q", statement)
}

// People edit, the engine reads, the sender claims and settles, all at once. No edit is lost, none overwritten, none sent from a wrong base.
func TestEditsReadsAndSendingAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	const n = 12
	// The org: company is changed by what is sent, lastname by people there.
	var mu sync.Mutex
	company, lastname, stamp := map[string]string{}, map[string]string{}, 0
	record := func(sfid string) []string {
		return []string{sfid, lastname[sfid], company[sfid], "1", "false", stampAt(stamp)}
	}
	var all [][]string
	for i := range n {
		company[leadID(i)], lastname[leadID(i)] = "Start", "Start"
		all = append(all, record(leadID(i)))
	}
	w.change("Lead", time.Time{}, mark, rows(leadColumns, all...))
	apply := func() error {
		b, err := w.db.Changes(w.ctx, "Lead")
		if err != nil {
			return err
		}
		defer b.Rollback()
		mu.Lock()
		stamp++
		var page [][]string
		for i := range n {
			lastname[leadID(i)] = fmt.Sprint("There ", stamp)
			page = append(page, record(leadID(i)))
		}
		mu.Unlock()
		if _, err := b.Apply(w.ctx, rows(leadColumns, page...)); err != nil {
			return err
		}
		return b.Commit(w.ctx, mark, mark)
	}
	send := func() (int, error) {
		c, err := w.db.ClaimChanges(w.ctx, 1, "Lead", Update, 5)
		if err != nil || c.ID == "" {
			return 0, err
		}
		mu.Lock()
		stamp++
		var done []Settlement
		for i, ch := range c.Changes {
			if base := ch.Base["Company"]; base != nil && *base != company[ch.SFID] {
				t.Errorf("an edit from %q to %q, and the org holds %q", *base, *ch.Local["Company"], company[ch.SFID])
			}
			company[ch.SFID] = *ch.Local["Company"]
			s := settling1(c, i)
			s.Values = map[string]*string{"Company": ch.Local["Company"]}
			s.Stamp, _ = time.Parse(time.RFC3339, stampAt(stamp))
			done = append(done, s)
		}
		mu.Unlock()
		_, err = w.db.Settle(w.ctx, done)
		return len(c.Changes), err
	}
	var people, engine sync.WaitGroup
	over := make(chan struct{})
	for p := range 3 {
		people.Go(func() {
			for i := range 80 {
				if _, err := w.pool.Exec(w.ctx, "UPDATE salesforce.lead SET company = $2 WHERE sfid = $1", leadID((i*7+p)%n), fmt.Sprintf("%d-%d", p, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, work := range []func() error{apply, func() error { _, err := send(); return err }} {
		engine.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := work(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	people.Wait()
	close(over)
	engine.Wait()
	for {
		k, err := send()
		if err != nil {
			t.Fatal(err)
		}
		if k == 0 {
			break
		}
	}
	if err := apply(); err != nil {
		t.Fatal(err)
	}
	equal(t, "outbox", w.outbox("Lead"), "")
	for i := range n {
		last := ask[string](w, "SELECT changed->>'company' FROM mirror.settled WHERE sfid = $1 ORDER BY seq DESC LIMIT 1", leadID(i))
		equal(t, "here", ask[string](w, "SELECT company || ', ' || lastname FROM salesforce.lead WHERE sfid = $1", leadID(i)), last+", "+lastname[leadID(i)])
		equal(t, "there", company[leadID(i)], last)
	}
	equal(t, "edits", ask[int](w, "SELECT count(*) FROM mirror.settled WHERE outcome = 'accepted'"), 3*80)
}

// The triggers follow the describe: new fields are captured, gone ones refused, retyped ones captured as what they are now.
func TestCaptureFollowsTheDescribe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ensure := func(fields ...string) SchemaChange {
		t.Helper()
		_, change, err := w.db.Ensure(w.ctx, people("Lead", fields...), TwoWay, mark)
		if err != nil {
			t.Fatal(err)
		}
		return change
	}
	made := func() string {
		return ask[string](w, "SELECT string_agg(xmin::text, ' ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'salesforce.lead'::regclass")
	}
	ensure("A__c:string", "B__c:string")
	w.change("Lead", time.Time{}, mark, rows("Id A__c B__c", []string{leadID(1), "1", "2"}))
	before := made()
	ensure("A__c:string", "B__c:string")
	if err := w.db.Recapture(w.ctx, "Lead", TwoWay); err != nil {
		t.Fatal(err)
	}
	equal(t, "made again without need", made(), before)
	edit := func(sql, want string) {
		t.Helper()
		w.exec("DELETE FROM mirror.outbox")
		w.exec(sql)
		equal(t, sql, w.outbox("Lead"), want)
	}
	edit("UPDATE salesforce.lead SET a__c = '3'", `update 1 {"a__c": "1"} -> {"a__c": "3"}`)
	ensure("A__c:double", "C__c:string")
	edit("UPDATE salesforce.lead SET a__c = 4, c__c = 'x'", `update 1 {"a__c": 3, "c__c": null} -> {"a__c": 4, "c__c": "x"}`)
	w.refused("UPDATE salesforce.lead SET b__c = 'x'", "b__c (Salesforce no longer shows it to the connected user)")
	ensure("-A__c:double", "B__c:string", "C__c:string")
	w.refused("UPDATE salesforce.lead SET a__c = 5", "a__c (Salesforce does not let the connected user write it)")
	edit("UPDATE salesforce.lead SET b__c = 'back'", `update 1 {"b__c": "2"} -> {"b__c": "back"}`)
	if err := w.db.Recapture(w.ctx, "Lead", TwoWay, "b__C"); err != nil {
		t.Fatal(err)
	}
	w.refused("UPDATE salesforce.lead SET b__c = 'x'", "an admin lets it come from Salesforce only")
	if err := w.db.Recapture(w.ctx, "Nothing", TwoWay); !errors.Is(err, ErrNoTable) {
		t.Errorf("got %v, want ErrNoTable", err)
	}
}

// Tables as wide as Salesforce allows, with names longer than PostgreSQL's.
func TestCaptureOfWideTables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("VeryLong", 10)
	fields := []string{long + "A__c:string", long + "B__c:reference(" + long + "__c)"}
	for i := range 500 {
		fields = append(fields, fmt.Sprintf("F%d__c:string", i))
	}
	s := people(long+"__c", fields...)
	if _, _, err := w.db.Ensure(w.ctx, s, TwoWay, mark); err != nil {
		t.Fatal(err)
	}
	table, a, b := relation(short(s.Table())), quote(short(strings.ToLower(long+"a__c"))), quote(short(strings.ToLower(long+"b__c")))
	w.exec(fmt.Sprintf("INSERT INTO %s (%s, f0__c, f499__c) VALUES ('parent', 'x', 'y')", table, a))
	w.exec(fmt.Sprintf("INSERT INTO %s (%s) VALUES ('local:1')", table, b))
	w.exec(fmt.Sprintf("UPDATE %s SET f250__c = 'z', %s = 'q' WHERE id = 1", table, a))
	c := w.claim(s.Name, Insert)
	if len(c.Changes) != 1 || values(c.Changes[0].Local) != `{"F0__c":"x","F250__c":"z","F499__c":"y","`+long+`A__c":"q"}` {
		t.Fatalf("%+v", c)
	}
	st := settling1(c, 0)
	st.SFID, st.Values = id("a01", 1), map[string]*string{long + "A__c": str("Q")}
	if n, err := w.db.Settle(w.ctx, []Settlement{st}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	ch, _ := w.one(s.Name, Insert)
	equal(t, "child", values(ch.Local), `{"`+long+`B__c":"`+id("a01", 1)+`"}`)
	equal(t, "parent", ask[string](w, fmt.Sprintf("SELECT %s FROM %s WHERE id = 1", a, table)), "Q")
}

// Statements over many rows, and COPY.
func TestCaptureOfMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	conn, err := w.pool.Acquire(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(w.ctx, "LISTEN tandem_outbox"); err != nil {
		t.Fatal(err)
	}
	n, err := w.pool.CopyFrom(w.ctx, pgx.Identifier{"salesforce", "lead"}, []string{"lastname", "company"}, pgx.CopyFromSlice(10_000, func(i int) ([]any, error) {
		return []any{fmt.Sprint("L", i), "Acme"}, nil
	}))
	if err != nil || n != 10_000 {
		t.Fatal(n, err)
	}
	w.exec("UPDATE salesforce.lead SET company = 'B' || id")
	equal(t, "outbox", ask[string](w, "SELECT string_agg(operation || ' ' || n, ', ' ORDER BY operation) FROM (SELECT operation, count(*) n FROM mirror.outbox GROUP BY 1) o"), "insert 10000, update 10000")
	for range 2 {
		got, err := conn.Conn().WaitForNotification(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "told", got.Channel+" "+got.Payload, "tandem_outbox Lead")
	}
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
	defer cancel()
	if got, err := conn.Conn().WaitForNotification(ctx); err == nil {
		t.Errorf("told more than once a statement: %+v", got)
	}
	c, err := w.db.ClaimChanges(w.ctx, 1, "Lead", Insert, 10_000)
	if err != nil || len(c.Changes) != 10_000 || *c.Changes[9_999].Local["Company"] != "B10000" || *c.Changes[9_999].Local["LastName"] != "L9999" {
		t.Fatalf("%d changes, %v", len(c.Changes), err)
	}
	var done []Settlement
	for i := range c.Changes {
		s := settling1(c, i)
		s.SFID, s.Stamp = leadID(i), mark
		done = append(done, s)
	}
	if n, err := w.db.Settle(w.ctx, done); err != nil || n != 10_000 {
		t.Fatal(n, err)
	}
	equal(t, "records", ask[int](w, "SELECT records FROM mirror.objects WHERE object = 'Lead'"), 10_000)
	equal(t, "left", ask[int](w, "SELECT count(*) FROM mirror.outbox"), 0)
}
