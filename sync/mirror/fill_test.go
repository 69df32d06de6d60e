package mirror

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/sobject"
)

func filled(w *world, fields []string, pages ...*page) Result {
	w.t.Helper()
	b, err := w.db.Partial(w.ctx, "Account", LoadFill, fields)
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Rollback()
	var sum Result
	for _, p := range pages {
		r, err := b.Apply(w.ctx, p)
		if err != nil {
			w.t.Fatal(err)
		}
		sum = sum.Plus(r)
	}
	if err := b.Commit(w.ctx, time.Time{}, time.Time{}); err != nil {
		w.t.Fatal(err)
	}
	return sum
}

// A fill changes the fields that it brings, of records that are here and no newer, and nothing else: no record is added, no stamp
// and no watermark moves, nothing that waits to be sent is overwritten, and no other field's refusal is resolved.
func TestFillChangesOnlyItsFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	mark := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	w.change("Account", time.Time{}, mark, rows("Id Name NumberOfEmployees IsDeleted SystemModstamp", acc(1, "a", 10), acc(2, "b", 20), acc(3, "c", 10), []string{id("001", 5), "e", "many", "false", stampAt(10)}))
	wider := account()
	wider.Fields = append(wider.Fields, schema("x", "Colour__c:string", "Size__c:int").Fields[1:]...)
	if _, change := w.ensure(wider); len(change.Added) != 2 {
		t.Fatalf("%+v", change)
	}
	toFill, err := w.db.ToFill(w.ctx, "Account")
	equal(t, "to fill", fmt.Sprint(toFill, err), "[Colour__c Size__c] <nil>")
	w.exec(`INSERT INTO mirror.outbox (object, row_id, operation, base, changed) SELECT 'Account', id, 'update', '{}', '{"colour__c": "mine"}' FROM salesforce.account WHERE sfid = $1`, id("001", 3))

	columns := "Id SystemModstamp Colour__c Size__c"
	fields := strings.Fields(columns)
	r := filled(w, fields,
		rows(columns, []string{id("001", 1), stampAt(11), "red", "1"}, []string{id("001", 2), stampAt(19), "stale", "2"}, []string{id("001", 3), stampAt(10), "theirs", "3"}),
		rows(columns, []string{id("001", 4), stampAt(10), "new", "4"}, []string{id("001", 5), stampAt(10), "clean", "5"}, []string{id("001", 1), stampAt(12), "green", "six"}))
	equal(t, "changed", r.Changed, 2)
	equal(t, "new", r.New, 0)
	equal(t, "refused", r.Refused, 1)
	equal(t, "records", ask[string](w, `SELECT string_agg(concat_ws(':', right(sfid, 6), colour__c, size__c, extract(second FROM systemmodstamp)::int), ' ' ORDER BY sfid) FROM salesforce.account`),
		fmt.Sprintf("%s:red:1:10 %s:20 %s:3:10", id("001", 1)[12:], id("001", 2)[12:], id("001", 3)[12:]))
	equal(t, "watermark", ask[time.Time](w, `SELECT watermark FROM mirror.watermarks`).UTC(), mark)
	equal(t, "set aside", ask[string](w, `SELECT string_agg(field, ',' ORDER BY field) FROM mirror.refused`), "NumberOfEmployees,Size__c")
	toFill, err = w.db.ToFill(w.ctx, "Account")
	equal(t, "to fill", fmt.Sprint(toFill, err), "[] <nil>")
	// What came clean of the field that was at fault resolves it.
	filled(w, fields, rows(columns, []string{id("001", 1), stampAt(12), "green", "6"}))
	equal(t, "set aside", ask[string](w, `SELECT string_agg(field, ',' ORDER BY field) FROM mirror.refused`), "NumberOfEmployees")
}

// A field that goes and comes back while a load fills it is to be filled again: what the load brought may be from before.
func TestAFieldWantedAnewStaysToBeFilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), rows("Id Name NumberOfEmployees IsDeleted SystemModstamp", acc(1, "a", 10)))
	wider := account()
	wider.Fields = append(wider.Fields, schema("x", "Colour__c:string", "Size__c:int").Fields[1:]...)
	w.ensure(wider)
	l, err := w.db.StartLoad(w.ctx, Load{Object: "Account", RunID: 7, Kind: LoadFill, JobID: "750", Fields: []string{"Id", "Colour__c", "Size__c"}, Watermark: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	w.ensure(wider.Without(nil)) // the same
	gone := wider
	gone.Fields = gone.Fields[:len(gone.Fields)-1]
	w.ensure(gone)
	_, change := w.ensure(wider)
	equal(t, "returned", fmt.Sprint(change.Returned), "[Size__c]")
	if err := w.db.PlanPage(w.ctx, l.ID, 1, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows("Id Colour__c Size__c", []string{id("001", 1), "red", "1"}), "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.FinishLoad(w.ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	toFill, err := w.db.ToFill(w.ctx, "Account")
	equal(t, "to fill", fmt.Sprint(toFill, err), "[Size__c] <nil>")
	equal(t, "news", ask[string](w, `SELECT string_agg(kind || ' ' || (params->>'fields'), ', ' ORDER BY id) FROM mirror.news`), "fields_new Colour__c, Size__c, fields_gone Size__c, fields_back Size__c")
}

// A field whose type changed, and all of whose values fitted, is converted and filled anew: Salesforce converts by rules of its own.
func TestAConvertedFieldIsFilledAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), rows("Id Name NumberOfEmployees IsDeleted SystemModstamp", acc(1, "a", 10)))
	retyped := account()
	retyped.Fields[2].Type = "double"
	w.ensure(retyped)
	toFill, err := w.db.ToFill(w.ctx, "Account")
	equal(t, "to fill", fmt.Sprint(toFill, err), "[NumberOfEmployees] <nil>")
	objects, err := w.db.ObjectsToFill(w.ctx)
	equal(t, "objects to fill", fmt.Sprint(objects, err), "[Account] <nil>")
	equal(t, "news", ask[string](w, `SELECT kind || ' ' || (params->>'fields') FROM mirror.news`), "fields_retyped NumberOfEmployees")
	retyped.Fields[2].Label = "Head count"
	_, change := w.ensure(retyped)
	equal(t, "a label changes", fmt.Sprintf("%+v", change), fmt.Sprintf("%+v", SchemaChange{}))
	equal(t, "its label", ask[string](w, `SELECT about->>'label' FROM mirror.field_status WHERE field = 'NumberOfEmployees'`), "Head count")
}

// Fields that were left out keep their data in the row: a reading of whole records that then would not fit sets the record aside with the
// reason, as it was, and writes the others of its page.
func TestAWholeRecordBesideLeftOutFieldsThatIsTooWide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named := func(letter string, n int) (names, typed []string) {
		for i := range n {
			name := fmt.Sprintf("%s%03d__c", letter, i)
			names, typed = append(names, name), append(typed, name+":string")
		}
		return names, typed
	}
	old, oldTyped := named("F", 370)
	_, newTyped := named("G", 100)
	newNames, _ := named("G", 100)
	record := func(n, seconds, cells int, text string) []string {
		r := []string{id("001", n), stampAt(seconds), "false"}
		for range cells {
			r = append(r, text)
		}
		return r
	}
	keys := []string{"SystemModstamp:datetime", "IsDeleted:boolean"}
	text := strings.Repeat("x", 20)
	w.ensure(schema("Account", slices.Concat(keys, oldTyped)...))
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	w.change("Account", time.Time{}, at, rows("Id SystemModstamp IsDeleted "+strings.Join(old, " "), record(1, 1, 370, text), record(2, 1, 370, null), record(3, 1, 370, null)))
	w.ensure(schema("Account", slices.Concat(keys, oldTyped, newTyped)...).Without(old[70:]))
	page := func() *page {
		return rows("Id SystemModstamp IsDeleted "+strings.Join(append(old[:70:70], newNames...), " "),
			record(1, 2, 170, text), record(2, 2, 170, text), record(3, 1, 170, null), record(4, 2, 170, text))
	}
	r := w.change("Account", at, at, page())
	equal(t, "the page", r, Result{Read: 4, New: 1, Changed: 1, Unchanged: 1, Refused: 1})
	w.sumUp("Account", r)
	equal(t, "set aside", ask[string](w, `SELECT string_agg(sfid || ' ' || code, ',') FROM mirror.refused`), id("001", 1)+" TOO_WIDE")
	equal(t, "as they are", ask[string](w, `SELECT string_agg(concat_ws(' ', f000__c = $1, g000__c = $1, f369__c = $1), ', ' ORDER BY sfid) FROM salesforce.account`, text), "t t, t t, , t t")
	// It fits once it is shorter in Salesforce.
	r = w.change("Account", at, at, rows("Id SystemModstamp IsDeleted "+strings.Join(append(old[:70:70], newNames...), " "), record(1, 3, 170, "short")))
	equal(t, "the shorter one", r, Result{Read: 1, Changed: 1})
	equal(t, "still set aside", ask[int](w, `SELECT count(*) FROM mirror.refused`), 0)
}

// A record that with its new fields would not fit one row is set aside with the reason; the others of its page are filled.
func TestFillOfARowThatIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var old, added []string
	for i := range 370 {
		old = append(old, fmt.Sprintf("F%03d__c", i))
	}
	for i := range 30 {
		added = append(added, fmt.Sprintf("G%03d__c", i))
	}
	typed := func(names []string) []string {
		var s []string
		for _, n := range names {
			s = append(s, n+":string")
		}
		return s
	}
	w.ensure(schema("Account", append([]string{"SystemModstamp:datetime"}, typed(old)...)...))
	text := strings.Repeat("x", 20)
	full, empty := []string{id("001", 1), stampAt(1)}, []string{id("001", 2), stampAt(1)}
	for range old {
		full, empty = append(full, text), append(empty, "null")
	}
	w.change("Account", time.Time{}, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), rows("Id SystemModstamp "+strings.Join(old, " "), full, empty))
	equal(t, "records", ask[int](w, `SELECT count(*) FROM salesforce.account`), 2)
	w.ensure(schema("Account", append([]string{"SystemModstamp:datetime"}, typed(append(old, added...))...)...))
	one, two := []string{id("001", 1), stampAt(1)}, []string{id("001", 2), stampAt(1)}
	for range added {
		one, two = append(one, text), append(two, text)
	}
	r := filled(w, append([]string{"Id"}, added...), rows("Id SystemModstamp "+strings.Join(added, " "), one, two))
	equal(t, "changed", r.Changed, 1)
	equal(t, "refused", r.Refused, 1)
	equal(t, "set aside", ask[string](w, `SELECT code || ' ' || sfid FROM mirror.refused`), "TOO_WIDE "+id("001", 1))
	equal(t, "filled", ask[string](w, `SELECT sfid FROM salesforce.account WHERE g029__c IS NOT NULL`), id("001", 2))
}

// What a describe changed that a person should hear of.
func TestNewsOfADescribe(t *testing.T) {
	t.Parallel()
	pick := func(values ...string) sobject.Schema {
		s := schema("Account", "Rating:picklist")
		for _, v := range values {
			value, off := strings.CutSuffix(v, "-")
			s.Fields[1].PicklistValues = append(s.Fields[1].PicklistValues, sobject.PicklistValue{Value: value, Active: !off})
		}
		return s
	}
	many := make([]string, 14)
	for i := range many {
		many[i] = fmt.Sprint("F", i)
	}
	for _, c := range []struct {
		what     string
		old, now sobject.Schema
		change   SchemaChange
		gone     map[string]bool
		want     string
	}{
		{what: "nothing", old: pick("Hot"), now: pick("Hot")},
		{what: "a value", old: pick("Hot"), now: pick("Hot", "Warm"), want: "picklist map[field:Rating n:1 values:Warm]"},
		{what: "a value that was off", old: pick("Hot", "Warm-"), now: pick("Hot", "Warm"), want: "picklist map[field:Rating n:1 values:Warm]"},
		{what: "a value that is off now", old: pick("Hot", "Warm"), now: pick("Hot", "Warm-")},
		{what: "values of a field that was a text", old: schema("Account", "Rating:string"), now: pick("Hot"), change: SchemaChange{Retyped: []Retype{{Field: "Rating"}}}, want: "fields_retyped map[fields:Rating n:1]"},
		{what: "many fields", change: SchemaChange{Added: many}, want: "fields_new map[fields:F0, F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11, … n:14]"},
		{what: "back from out of sight", change: SchemaChange{Returned: []string{"A"}}, gone: map[string]bool{"A": true}, want: "fields_back map[fields:A n:1]"},
		{what: "taken in again", change: SchemaChange{Returned: []string{"A"}}},
		{what: "taken in for the first time", old: sobject.Schema{LeftOut: schema("x", "A:string").Fields[1:]}, change: SchemaChange{Added: []string{"A"}}},
	} {
		var got []string
		for _, n := range newsOf(c.old, c.now, c.change, c.gone) {
			got = append(got, fmt.Sprint(n.Kind, " ", n.Params))
		}
		equal(t, c.what, strings.Join(got, "; "), c.want)
	}
}
