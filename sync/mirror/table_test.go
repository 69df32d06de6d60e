package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tandem-sync/tandem/models/localpg/pgtest"
	"github.com/tandem-sync/tandem/sync/sobject"
)

func TestMigrateTwiceAndAtOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, nil)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := Migrate(context.Background(), pool); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM mirror.object_status").Scan(&n); err != nil {
		t.Fatal(err)
	}
	for _, view := range []string{"refused", "backlog", "open_conflicts"} {
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM mirror."+view).Scan(&n); err != nil {
			t.Error(err)
		}
	}
}

func TestEnsureMakesTypedColumns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := schema("Thing__c", "Name:string", "B:boolean", "I:int", "L:long", "D:double", "C:currency", "P:percent", "Day:date", "At:datetime", "Clock:time",
		"Pick:picklist", "Ref__c:reference", "Address:address", "Blob:base64", "Select:string")
	table, change := w.ensure(s)
	if !change.Created || len(change.Added) != 0 {
		t.Errorf("change: %+v", change)
	}
	equal(t, "fields", strings.Join(table.Fields(), " "), "Id Name B I L D C P Day At Clock Pick Ref__c Select")
	want := `id bigint NOT NULL, sfid text, name text, b boolean, i integer, l bigint, d numeric, c numeric, p numeric, day date, at timestamp with time zone, clock time without time zone, pick text, ref__c text, select text`
	equal(t, "columns", ask[string](w, `SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY attnum)
		FROM pg_attribute WHERE attrelid = 'salesforce.thing__c'::regclass AND attnum > 0`), want)
	equal(t, "unique", ask[int](w, `SELECT count(*) FROM pg_index WHERE indrelid = 'salesforce.thing__c'::regclass AND indisunique`), 2)
	// A join from a reference to sfid can use the index only if both compare alike.
	equal(t, "collations", ask[int](w, `SELECT count(*) FROM pg_attribute WHERE attrelid = 'salesforce.thing__c'::regclass AND attcollation = '"C"'::regcollation`), 2)
	stored, modified, err := w.db.Table(w.ctx, "Thing__c")
	if err != nil || !modified.Equal(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)) || !slices.Equal(stored.Fields(), table.Fields()) || stored.HasIsDeleted() || len(stored.Schema().Fields) != len(s.Fields) {
		t.Errorf("stored: %+v, %s, %v", stored, modified, err)
	}
	if _, _, err := w.db.Table(w.ctx, "Other"); !errors.Is(err, ErrNoTable) {
		t.Errorf("unknown object: %v", err)
	}
	_, change = w.ensure(s)
	if change.Created || len(change.Added)+len(change.Gone)+len(change.Returned)+len(change.Retyped) > 0 {
		t.Errorf("the same describe changed something: %+v", change)
	}
}

func TestDescribeIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, s := range map[string]sobject.Schema{
		"object":  schema(`Lead"; DROP TABLE x; --`),
		"field":   schema("Lead", `Name" text; --:string`),
		"no id":   {Name: "Lead", Fields: []sobject.Field{{Name: "Name", Type: "string"}}},
		"no name": {},
		"twice":   schema("Lead", "Name:string", "NAME:string"),
	} {
		if _, _, err := w.db.Ensure(w.ctx, s, FromSalesforce, time.Time{}); err == nil {
			t.Errorf("%s: the describe was taken", name)
		}
	}
	if _, _, err := w.db.Ensure(w.ctx, account(), "sideways", time.Time{}); err == nil {
		t.Error("a direction that does not exist was taken")
	}
}

// Invariant 9: a field that is no longer seen keeps column and data, and goes on where it was when it returns.
func TestFieldsComeGoAndReturn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := schema("Account", "Name:string", "Colour__c:string", "IsDeleted:boolean", "SystemModstamp:datetime")
	w.ensure(full)
	w.change("Account", time.Time{}, mark, rows("Id Name Colour__c", []string{id("001", 1), "a", "green"}))
	l := w.load("Account", LoadResync)

	less := schema("Account", "Name:string", "IsDeleted:boolean", "SystemModstamp:datetime", "Shape__c:string")
	table, change := w.ensure(less)
	if !slices.Equal(change.Gone, []string{"Colour__c"}) || !slices.Equal(change.Added, []string{"Shape__c"}) {
		t.Errorf("change: %+v", change)
	}
	if slices.Contains(table.Fields(), "Colour__c") {
		t.Error("a field that is gone is selected")
	}
	equal(t, "gone since", ask[bool](w, "SELECT gone_at IS NOT NULL FROM mirror.fields WHERE field = 'Colour__c'"), true)
	w.change("Account", mark, mark, rows("Id Name Shape__c", []string{id("001", 1), "b", "round"}))
	equal(t, "data", ask[string](w, "SELECT format('%s %s %s', name, colour__c, shape__c) FROM salesforce.account"), "b green round")
	_, change = w.ensure(less)
	if len(change.Gone)+len(change.Added) > 0 {
		t.Errorf("gone twice: %+v", change)
	}

	// A load whose job was made before still brings the field; it is neither stopped by it nor loses it.
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows("Id Name Colour__c", []string{id("001", 1), "c", "blue"}), "", true); err != nil {
		t.Fatal(err)
	}
	equal(t, "data", ask[string](w, "SELECT format('%s %s %s', name, colour__c, shape__c) FROM salesforce.account"), "c blue round")

	_, change = w.ensure(full)
	if !slices.Equal(change.Returned, []string{"Colour__c"}) || !slices.Equal(change.Gone, []string{"Shape__c"}) || len(change.Added) > 0 {
		t.Errorf("change: %+v", change)
	}
	equal(t, "gone since", ask[bool](w, "SELECT gone_at IS NULL FROM mirror.fields WHERE field = 'Colour__c'"), true)
}

func TestRetype(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string // describe types
		values   []string
		want     string // the values afterwards, or "" where they do not fit
	}{
		{"string", "int", []string{"7", "-5.0", "1e3", null}, "7 -5 1000 -"},
		{"string", "int", []string{"7", "2147483648"}, ""},
		{"string", "int", []string{"7", "7.5"}, ""},
		{"string", "double", []string{"7.50", "1E-3"}, "7.50 0.001"},
		{"string", "double", []string{"NaN"}, ""},
		{"string", "date", []string{"2026-11-20"}, "2026-11-20"},
		{"string", "date", []string{"today"}, ""},
		{"string", "date", []string{"2026-02-31"}, ""},
		{"string", "datetime", []string{"2026-11-20T17:38:59.000+0000"}, "2026-11-20 17:38:59+00"},
		{"string", "datetime", []string{"now"}, ""},
		{"string", "time", []string{"18:30:00.000Z"}, "18:30:00"},
		{"string", "boolean", []string{"true", "false"}, "true false"},
		{"string", "boolean", []string{"yes"}, ""},
		{"int", "string", []string{"7"}, "7"},
		{"boolean", "picklist", []string{"true"}, "true"},
		{"double", "string", []string{"7.50"}, "7.50"},
		{"datetime", "string", []string{"2026-11-20T17:38:59.123Z"}, "2026-11-20T17:38:59.123Z"},
		{"date", "string", []string{"2026-11-20"}, "2026-11-20"},
		{"time", "string", []string{"18:30:00.5Z"}, "18:30:00.500Z"},
		{"double", "int", []string{"7.0"}, "7"},
		{"double", "int", []string{"7.1"}, ""},
		{"double", "int", []string{"1e12"}, ""},
		{"int", "long", []string{"7"}, "7"},
		{"int", "currency", []string{"7"}, "7"},
		{"long", "int", []string{"7"}, "7"},
		{"date", "datetime", []string{"2026-11-20"}, "2026-11-20 00:00:00+00"},
		{"datetime", "date", []string{"2026-11-20T00:00:00Z"}, "2026-11-20"},
		{"datetime", "date", []string{"2026-11-20T00:00:01Z"}, ""},
		{"boolean", "double", []string{null}, "-"},
		{"boolean", "double", []string{"true"}, ""},
		{"string", "reference", []string{id("001", 1)}, id("001", 1)},
	} {
		t.Run(fmt.Sprintf("%s-%s-%s", c.from, c.to, c.values[0]), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ensure(schema("Lead", "Company:"+c.from))
			p := rows("Id Company")
			for i, v := range c.values {
				p.rows = append(p.rows, []string{id("00Q", i), v})
			}
			w.change("Lead", time.Time{}, mark, p)
			_, change, err := w.db.Ensure(w.ctx, schema("Lead", "Company:"+c.to), FromSalesforce, mark)
			if c.want == "" {
				if !errors.Is(err, ErrRetype) && (err == nil || !strings.Contains(err.Error(), "out of range")) || len(change.Retyped) != 1 || change.Retyped[0].Err == nil {
					t.Fatalf("got %v, %+v, want a refusal", err, change)
				}
				// The table works on as it was, the view of people is still there.
				w.change("Lead", mark, mark, rows("Id Company", []string{id("00Q", 99), c.values[0]}))
				equal(t, "view", ask[int](w, "SELECT count(*) FROM salesforce.person"), len(c.values)+1)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := ask[string](w, "SELECT string_agg(coalesce(company::text, '-'), ' ' ORDER BY sfid) FROM salesforce.lead")
			equal(t, "values", strings.ReplaceAll(got, "+00:00", "+00"), c.want)
			equal(t, "view", ask[int](w, "SELECT count(*) FROM salesforce.person"), len(c.values))
			w.change("Lead", mark, mark, rows("Id Company", []string{id("00Q", 98), null}))
		})
	}
}

// What people made upon a table may stand in the way of another type. That is said with what it is, and the table works on as it was.
func TestRetypeOfWhatSomethingDependsOn(t *testing.T) {
	t.Parallel()
	for name, upon := range map[string]string{"the table": "salesforce.lead", "the view of people": "salesforce.person"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ensure(schema("Lead", "Company:double"))
			w.change("Lead", time.Time{}, mark, rows("Id Company", []string{id("00Q", 1), "7"}))
			w.exec("CREATE VIEW public.mine AS SELECT company FROM " + upon)
			_, _, err := w.db.Ensure(w.ctx, schema("Lead", "Company:string"), FromSalesforce, mark)
			if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "mine") || !strings.Contains(err.Error(), "Company") {
				t.Fatalf("got %v, want that the view mine stands in the way", err)
			}
			w.change("Lead", mark, mark, rows("Id Company", []string{id("00Q", 2), "8"}))
			w.exec("DROP VIEW public.mine")
			w.ensure(schema("Lead", "Company:string"))
			equal(t, "values", ask[string](w, "SELECT string_agg(company, ' ' ORDER BY sfid) FROM salesforce.lead"), "7 8")
		})
	}
}

// Workers that describe the same object at once, and others that write it meanwhile, neither collide nor block each other for good.
func TestEnsureBesideWriters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	const pages = 12
	for i := 2; i <= pages; i++ {
		if err := w.db.PlanPage(w.ctx, l.ID, i, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range pages {
		wg.Go(func() {
			var records [][]string
			for n := range 1000 {
				records = append(records, acc(i*1000+n, "x", 0))
			}
			if _, err := New(w.pool).ApplyPage(w.ctx, l, Page{Seq: i + 1, Staged: i%2 == 0}, rows(accountColumns, records...), "", i == pages-1); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 8 {
		wg.Go(func() {
			s := account()
			s.Fields = append(s.Fields, schema("x", fmt.Sprintf("New%d__c:string", i/2)).Fields[1])
			if _, _, err := New(w.pool).Ensure(w.ctx, s, FromSalesforce, mark); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	equal(t, "records", ask[int](w, "SELECT count(*) FROM salesforce.account"), pages*1000)
	equal(t, "new columns", ask[int](w, "SELECT count(*) FROM mirror.fields WHERE field LIKE 'New%'"), 4)
}

func TestGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := account()
	s.Label = "Client's \\ Firm"
	w.ensure(s)
	w.change("Account", time.Time{}, mark, rows(accountColumns, acc(1, "a", 0)))
	refuse := func(sql, sentence, hint string) {
		t.Helper()
		_, err := w.pool.Exec(w.ctx, sql)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) {
			t.Errorf("%s was not refused: %v", sql, err)
			return
		}
		if !strings.Contains(pg.Message, sentence) || !strings.Contains(pg.Hint, hint) {
			t.Errorf("%s: %q, hint %q", sql, pg.Message, pg.Hint)
		}
	}
	writes := []string{"INSERT INTO salesforce.account (name) VALUES ('x')", "UPDATE salesforce.account SET name = 'x'", "DELETE FROM salesforce.account", "TRUNCATE salesforce.account"}
	for _, sql := range writes {
		refuse(sql, `salesforce.account comes from Salesforce only: change the client's \ firm in Salesforce and it arrives here with the next cycle`, "table of your own")
	}
	// A two-way table takes what can be sent.
	two := people("Account", "Name:string", "NumberOfEmployees:int")
	two.Label = s.Label
	if _, _, err := w.db.Ensure(w.ctx, two, TwoWay, mark); err != nil {
		t.Fatal(err)
	}
	w.exec(writes[1])
	refuse(writes[3], "salesforce.account cannot be truncated", "DELETE the rows")
	// And comes from Salesforce only again, should somebody decide so.
	w.ensure(s)
	for _, sql := range writes {
		refuse(sql, "comes from Salesforce only", "table of your own")
	}
	equal(t, "triggers", ask[int](w, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'salesforce.account'::regclass"), 1)
	equal(t, "name", ask[string](w, "SELECT name FROM salesforce.account"), "x")
	// The engine's setting ends with its transaction.
	w.exec("DELETE FROM mirror.outbox")
	w.change("Account", mark, mark, rows(accountColumns, acc(1, "b", 1)))
	refuse(writes[1], "comes from Salesforce only", "table of your own")
	equal(t, "name", ask[string](w, "SELECT name FROM salesforce.account"), "b")
}

func TestPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := func(object, columns string, records ...[]string) {
		t.Helper()
		w.change(object, time.Time{}, mark, rows(columns, records...))
	}
	ids := func(prefix string) func(int) string { return func(n int) string { return id(prefix, n) } }
	lead, contact, acct, user, opp, role := ids("00Q"), ids("003"), ids("001"), ids("005"), ids("006"), ids("00K")
	person := func(sfid string) string {
		t.Helper()
		return ask[string](w, `SELECT format('%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s', sfdc_type, lastname, email, company, owner_firstname, owner_email, account_owner_lastname, sfdc_is_deleted,
			opportunities, opportunity_amount, opportunity_expected_revenue) FROM salesforce.person WHERE sfdc_id = $1`, sfid)
	}
	w.ensure(schema("Lead", "LastName:string", "Company:string", "Email:email", "IsConverted:boolean", "OwnerId:reference", "IsDeleted:boolean"))
	first("Lead", "Id LastName Company Email IsConverted OwnerId IsDeleted",
		[]string{lead(1), "Ada", "Engines", "ada@x.org", "false", user(1), "false"},
		[]string{lead(2), "Converted", "X", null, "true", user(1), "false"},
		[]string{lead(3), "Queued", "Y", null, null, id("00G", 1), "true"})
	equal(t, "lead before there are users", person(lead(1)), "Lead|Ada|ada@x.org|Engines||||f|0||")
	// What people build on the view stays when it learns more.
	w.exec("CREATE VIEW public.mine AS SELECT sfdc_id, ownerid, owner_email, opportunity_amount FROM salesforce.person")
	w.ensure(schema("User", "FirstName:string", "LastName:string", "Email:email", "Title:string", "Phone:phone"))
	first("User", "Id FirstName LastName Email", []string{user(1), "Grace", "Hopper", "grace@x.org"}, []string{user(2), "Alan", "Turing", "alan@x.org"})
	equal(t, "lead", person(lead(1)), "Lead|Ada|ada@x.org|Engines|Grace|grace@x.org||f|0||")
	equal(t, "a queue's lead", person(lead(3)), "Lead|Queued||Y||||t|0||")
	equal(t, "converted leads", ask[int](w, "SELECT count(*) FROM salesforce.person WHERE sfdc_id = $1", lead(2)), 0)

	w.ensure(schema("Contact", "LastName:string", "Email:email", "AccountId:reference", "OwnerId:reference", "IsDeleted:boolean"))
	w.ensure(schema("Account", "Name:string", "OwnerId:reference", "IsDeleted:boolean"))
	first("Contact", "Id LastName Email AccountId OwnerId IsDeleted", []string{contact(1), "Byron", "b@x.org", acct(1), user(1), "false"}, []string{contact(2), "Alone", null, null, user(2), "false"})
	first("Account", "Id Name OwnerId", []string{acct(1), "Acme", user(2)})
	equal(t, "contact", person(contact(1)), "Contact|Byron|b@x.org|Acme|Grace|grace@x.org|Turing|f|0||")
	equal(t, "contact without account", person(contact(2)), "Contact|Alone|||Alan|alan@x.org||f|0||")

	w.ensure(schema("Opportunity", "Name:string", "Amount:currency", "ExpectedRevenue:currency", "IsDeleted:boolean"))
	w.ensure(schema("OpportunityContactRole", "OpportunityId:reference", "ContactId:reference", "IsDeleted:boolean"))
	first("Opportunity", "Id Amount ExpectedRevenue IsDeleted", []string{opp(1), "100.50", "10", "false"}, []string{opp(2), "50", null, "false"}, []string{opp(3), "1000", "1000", "true"}, []string{opp(4), "9", "9", "false"})
	first("OpportunityContactRole", "Id OpportunityId ContactId IsDeleted",
		[]string{role(1), opp(1), contact(1), "false"}, []string{role(2), opp(1), contact(1), "false"}, []string{role(3), opp(2), contact(1), "false"}, []string{role(4), opp(3), contact(1), "false"}, []string{role(5), opp(4), contact(1), "true"})
	equal(t, "contact with opportunities", person(contact(1)), "Contact|Byron|b@x.org|Acme|Grace|grace@x.org|Turing|f|2|150.50|10")
	equal(t, "mine", ask[string](w, "SELECT opportunity_amount::text FROM mine WHERE sfdc_id = $1", contact(1)), "150.50")
	equal(t, "people", ask[int](w, "SELECT count(*) FROM salesforce.person"), 4)
	// The link indexes are there, and a look-up by id uses indexes only.
	equal(t, "indexes", ask[int](w, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'salesforce' AND indexname IN ('contact_accountid', 'opportunitycontactrole_contactid', 'opportunitycontactrole_opportunityid')"), 3)
}

// The first cycle after the first read makes the indexes by which people look for records, and makes one anew that was cut off
// while it was made.
func TestSearchIndexes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(schema("Lead", "Name:string", "LastName:string", "Email:email", "SystemModstamp:datetime"))
	from := time.Time{}
	read := func(at time.Time) {
		t.Helper()
		b, err := w.db.Changes(w.ctx, "Lead")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(w.ctx, from, at); err != nil {
			t.Fatal(err)
		}
		from = at
	}
	valid := `SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = ANY('{lead_email_search,lead_name_search,lead_lastname_search}') AND i.indisvalid`
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	read(start)
	if n := ask[int](w, valid); n != 0 {
		t.Errorf("the first read made %d indexes of the search, which would slow it down", n)
	}
	w.exec(`CREATE INDEX lead_name_search ON salesforce.lead (lower(name) text_pattern_ops)`)
	w.exec(`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'salesforce.lead_name_search'::regclass`)
	read(start.Add(time.Minute))
	if n := ask[int](w, valid); n != 3 {
		t.Errorf("%d indexes of the search can be used, want 3", n)
	}
}

// The view of the derived fields says what sobject.Field.Derived says of the last describe, of each kind of field, and of no field that is gone.
func TestDerivedFieldsAreToldByOneRule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := schema("Mixed__c", "IsDeleted:boolean", "SystemModstamp:datetime", "Sum__c:double", "Plain__c:string", "Copied:string", "Number:string")
	s.Fields = slices.Clone(s.Fields)
	for i := range s.Fields {
		switch f := &s.Fields[i]; f.Name {
		case "Sum__c":
			f.Calculated = true
		case "Plain__c":
			f.Createable, f.Updateable = true, true
		case "Number":
			f.AutoNumber = true
		}
	}
	agree := func(s sobject.Schema) {
		t.Helper()
		w.ensure(s)
		var want []string
		for _, f := range s.Fields {
			if f.Derived() {
				want = append(want, f.Name)
			}
		}
		slices.Sort(want)
		equal(t, "derived fields", ask[string](w, `SELECT coalesce(string_agg(field, ',' ORDER BY field), '') FROM mirror.formulas WHERE object = 'Mixed__c'`), strings.Join(want, ","))
	}
	agree(s)
	equal(t, "of all kinds", ask[string](w, `SELECT string_agg(field, ',' ORDER BY field) FROM mirror.formulas`), "Copied,Sum__c")
	other := s
	other.Fields = slices.Clone(s.Fields)
	for i := range other.Fields {
		if other.Fields[i].Name == "Copied" {
			other.Fields[i].Updateable = true
		}
	}
	agree(other)
	agree(schema("Mixed__c", "IsDeleted:boolean", "SystemModstamp:datetime"))
}
