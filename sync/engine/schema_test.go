package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/engine"
	"github.com/tandem-sync/tandem/sync/simorg"
)

// few is an org in which leads come by Bulk and everything else by REST.
var few = simorg.Config{Leads: 600, Contacts: 80, Accounts: 30, Opportunities: 20, Campaigns: 5, CampaignMembers: 20, Tasks: 20, Events: 20, Users: 5}

// ended waits for the newest run of a kind, and gives it.
func (w *world) newest(object string, kind models.RunKind) models.Run {
	w.t.Helper()
	var run models.Run
	w.until(fmt.Sprintf("a %s of %s ended", kind, object), func() bool {
		runs, err := w.models.Runs(w.t.Context(), models.RunFilter{Object: object, Kind: kind, Limit: 1})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(runs) == 0 || runs[0].Active() {
			return false
		}
		run = runs[0]
		return true
	})
	return run
}

// filled waits until nothing is to be filled of an object.
func (w *world) filled(object string) models.Run {
	w.t.Helper()
	run := w.newest(object, models.RunFill)
	if run.State != models.RunSucceeded {
		w.t.Fatalf("the fill of %s ended as %s %s %s", object, run.State, run.ErrorCode, run.Error)
	}
	if left, err := w.mirror.ToFill(w.t.Context(), object); err != nil || len(left) > 0 {
		w.t.Fatalf("still to be filled of %s: %q, %v", object, left, err)
	}
	return run
}

func (w *world) notices(object string) string {
	w.t.Helper()
	notices, err := w.models.OpenNotices(w.t.Context(), object, 50)
	if err != nil {
		w.t.Fatal(err)
	}
	var s []string
	for _, n := range notices {
		s = append(s, fmt.Sprint(n.Message, " ", n.Params))
	}
	return strings.Join(s, "\n")
}

// A new field is filled for all records by a read of that field alone, by Bulk and by REST; what a crash left to be filled is
// filled by the next cycle.
func TestAFillReadsNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	w.work()
	w.cycle()
	for _, object := range []string{"Lead", "Campaign"} {
		if err := w.org.AddField(object, simorg.FieldSpec{Name: "Territory_Code__c", Type: "string", Length: 40}); err != nil {
			t.Fatal(err)
		}
		for _, id := range w.ids(object)[:3] {
			if err := w.org.Update(object, id, map[string]any{"Territory_Code__c": "North"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.cycle()
	for object, want := range map[string]int64{"Lead": 600, "Campaign": 5} {
		run := w.filled(object)
		if run.Read < want || run.New != 0 || run.Deleted != 0 {
			t.Errorf("the fill of %s read %d, new %d, deleted %d", object, run.Read, run.New, run.Deleted)
		}
		w.equalObject(object)
		if !strings.Contains(w.notices(object), "notice.fields_new map[fields:Territory_Code__c n:1]") {
			t.Errorf("of %s it is told %q", object, w.notices(object))
		}
	}
	if got := scalar[string](w, `SELECT soql FROM mirror.loads WHERE object = 'Lead' AND kind = 'fill'`); got != "SELECT Id,SystemModstamp,Territory_Code__c FROM Lead" {
		t.Errorf("the fill asked %q", got)
	}
	if n := scalar[int](w, `SELECT count(*) FROM admin.runs WHERE kind = 'resync'`); n != 0 {
		t.Errorf("%d resyncs", n)
	}
	// As a crash between the column and whatever would have asked for its fill leaves it; the records are not filled either.
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`SELECT set_config('tandem.engine', 'on', true)`, `UPDATE salesforce.lead SET territory_code__c = NULL`, `UPDATE mirror.fields SET filled_at = NULL WHERE object = 'Lead' AND field = 'Territory_Code__c'`} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	// So many fields at once that no address holds their names.
	for i := range 650 {
		if err := w.org.AddField("Campaign", simorg.FieldSpec{Name: fmt.Sprintf("Some_Rather_Long_Field_%03d__c", i), Type: "string", Length: 20}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.org.Update("Campaign", w.ids("Campaign")[0], map[string]any{"Some_Rather_Long_Field_649__c": "the last"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.until("the wide fill ended", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Campaign' AND kind = 'fill' AND state = 'succeeded'`) == 2
	})
	w.equalObject("Campaign")
	w.until("the second fill ended", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Lead' AND kind = 'fill' AND state = 'succeeded'`) == 2
	})
	w.equalObject("Lead")
}

// What the user no longer sees stays as it was, marked; seen again it is filled. A type that changed is converted where all
// values fit, and filled anew, for Salesforce converts by rules of its own. A changed API name is a new field. New picklist values
// are told once. A label changes nothing else.
func TestFieldsComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	if err := w.org.AddField("Contact", simorg.FieldSpec{Name: "Branch__c", Type: "string", Length: 20}); err != nil {
		t.Fatal(err)
	}
	if err := w.org.Update("Contact", w.ids("Contact")[0], map[string]any{"Branch__c": "North"}); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.cycle()
	before := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE title IS NOT NULL`)
	w.org.HideField("Lead", "Title")
	if err := w.org.RenameField("Contact", "Branch__c", "Division__c"); err != nil {
		t.Fatal(err)
	}
	w.org.AddPicklistValue("Lead", "Rating", "Lukewarm")
	w.cycle()
	if now := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE title IS NOT NULL`); now != before || before == 0 {
		t.Errorf("%d titles were here, now %d", before, now)
	}
	if scalar[int](w, `SELECT count(*) FROM mirror.field_status WHERE object = 'Lead' AND field = 'Title' AND gone_at IS NOT NULL`) != 1 {
		t.Error("the hidden field is not marked")
	}
	w.filled("Contact")
	w.equalObject("Contact")
	if scalar[int](w, `SELECT count(*) FROM mirror.field_status WHERE object = 'Contact' AND (field = 'Branch__c' AND gone_at IS NOT NULL OR field = 'Division__c' AND filled_at IS NOT NULL)`) != 2 {
		t.Error("the renamed field is not one gone and one new")
	}
	if scalar[int](w, `SELECT count(*) FROM salesforce.contact WHERE branch__c = 'North' AND division__c = 'North'`) != 1 {
		t.Error("the renamed field's old column or its new one lacks the value")
	}
	for range 2 {
		w.cycle()
	}
	told := w.notices("Lead")
	if strings.Count(told, "notice.picklist map[field:Rating n:1 values:Lukewarm]") != 1 || strings.Count(told, "notice.fields_gone map[fields:Title n:1]") != 1 {
		t.Errorf("told is\n%s", told)
	}
	lead := w.ids("Lead")[0]
	w.org.ShowField("Lead", "Title")
	if err := w.org.Update("Lead", lead, map[string]any{"Title": "Seen again"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.filled("Lead")
	w.equalObject("Lead")
	if told := w.notices("Lead"); !strings.Contains(told, "notice.fields_back map[fields:Title n:1]") {
		t.Errorf("told is\n%s", told)
	}
}

// A query that names a field gone since the last describe recovers by itself: asked for by REST, refused by Bulk at once, or
// failed by Bulk when the job has begun; the fill too. A job that fails for a field that is there does so once, in Salesforce's words.
func TestAFieldThatWentMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	w.work()
	w.cycle()
	w.org.HideField("Lead", "Title")
	if _, err := w.models.RequestResync(t.Context(), "Lead", "test"); err != nil {
		t.Fatal(err)
	}
	if r := w.newest("Lead", models.RunResync); r.State != models.RunSucceeded {
		t.Errorf("refused at once, the resync ended as %s: %s", r.State, r.Error)
	}

	// The sweep that follows a resync makes a job too, which must not take the fault.
	w.until("the sweep ended", func() bool {
		return scalar[bool](w, `SELECT NOT EXISTS (SELECT FROM admin.runs WHERE ended_at IS NULL)`)
	})
	// The job is asked after only once the field is gone.
	remove := w.org.Fault(simorg.Fault{Method: "GET", Path: `jobs/query/\w+$`, Count: 1, Delay: time.Second})
	fail := w.org.Fault(simorg.Fault{FailJob: true, Object: "Lead", Count: 1, Message: "InvalidField : No such column 'Website' on entity 'Lead'"})
	if _, err := w.models.RequestResync(t.Context(), "Lead", "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the job was made", func() bool {
		return scalar[bool](w, `SELECT EXISTS (SELECT FROM mirror.loads WHERE object = 'Lead' AND state = 'open')`)
	})
	w.org.HideField("Lead", "Website")
	w.until("the second resync ended", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Lead' AND kind = 'resync' AND ended_at IS NOT NULL`) == 2
	})
	remove()
	fail()
	if r := w.newest("Lead", models.RunResync); r.State != models.RunSucceeded {
		t.Errorf("failed later, the resync ended as %s: %s", r.State, r.Error)
	}
	if scalar[int](w, `SELECT count(*) FROM mirror.loads WHERE object = 'Lead' AND state = 'abandoned' AND reason LIKE '%Website%'`) != 1 {
		t.Error("the job did not fail for the field: this checks nothing")
	}

	defer w.org.Fault(simorg.Fault{FailJob: true, Object: "Lead", Count: 3, Message: "InvalidField : No such column 'City' on entity 'Lead'"})()
	if _, err := w.models.RequestResync(t.Context(), "Lead", "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the third resync ended", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Lead' AND kind = 'resync' AND ended_at IS NOT NULL`) == 3
	})
	if r := w.newest("Lead", models.RunResync); r.State != models.RunFailed || !strings.Contains(r.Error, "City") {
		t.Errorf("for a field that is there, the resync ended as %s: %s", r.State, r.Error)
	}
	w.org.ClearFaults()

	// A new field that goes before it could be filled leaves nothing to be filled.
	for _, name := range []string{"Here__c", "Gone__c"} {
		if err := w.org.AddField("Campaign", simorg.FieldSpec{Name: name, Type: "string", Length: 10}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.models.PauseObject(t.Context(), "Campaign", "test"); err != nil {
		t.Fatal(err)
	}
	client := scalar[int64](w, `INSERT INTO admin.runs (object, kind, state, requested_at) VALUES ('Campaign', 'fill', 'queued', now()) RETURNING id`)
	if err := w.models.ResumeObject(t.Context(), "Campaign", "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the fill without fields ended", func() bool {
		r, err := w.models.Run(t.Context(), client)
		return err == nil && r.State == models.RunSucceeded
	})
	hold := w.org.Fault(simorg.Fault{Path: "Gone__c", Count: 1, Delay: 500 * time.Millisecond, Status: 400, Code: "INVALID_FIELD", Message: "No such column 'Gone__c' on entity 'Campaign'"})
	defer hold()
	number, err := w.models.RequestSync(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	w.until("the columns are there", func() bool {
		return scalar[int](w, `SELECT count(*) FROM mirror.fields WHERE object = 'Campaign' AND field IN ('Here__c', 'Gone__c')`) == 2
	})
	w.org.HideField("Campaign", "Gone__c")
	w.until("the cycle ended", func() bool {
		c, err := w.models.Cycle(t.Context(), number)
		return err == nil && c.EndedAt != nil
	})
	w.filled("Campaign")
	w.equalObject("Campaign")
}

// A field that is left out is no longer read, and keeps its column and data; taken in again it is filled. It is no news.
func TestAFieldLeftOutAndTakenInAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	w.work()
	w.cycle()
	ctx, lead := t.Context(), w.ids("Lead")[0]
	choice := models.FieldChoice{Object: "Lead", Field: "Title", Excluded: true, BlankOverwrites: true}
	if err := w.models.SaveFieldChoice(ctx, choice, "test"); err != nil {
		t.Fatal(err)
	}
	if err := w.org.Update("Lead", lead, map[string]any{"Title": "Not to be read", "City": "Read"}); err != nil {
		t.Fatal(err)
	}
	before := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE title IS NOT NULL`)
	w.cycle()
	if got := scalar[string](w, `SELECT coalesce(title, '') || '/' || city FROM salesforce.lead WHERE sfid = $1`, lead); strings.HasPrefix(got, "Not") || !strings.HasSuffix(got, "/Read") {
		t.Errorf("the lead is %q", got)
	}
	if now := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE title IS NOT NULL`); now != before || before == 0 {
		t.Errorf("%d titles were here, now %d", before, now)
	}
	fields, err := w.models.Fields(ctx, "Lead")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if (f.Name == "Title") != (f.LeftOutAt != nil) || f.GoneAt != nil || f.Label == "" || f.Type == "" || f.Column == "" {
			t.Errorf("%+v", f)
		}
	}
	choice.Excluded = false
	if err := w.models.SaveFieldChoice(ctx, choice, "test"); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.filled("Lead")
	w.equalObject("Lead")
	if told := w.notices("Lead"); told != "" {
		t.Errorf("told is\n%s", told)
	}
}

// An object that is withdrawn is noted once, is not read, keeps its data, and goes on by itself.
func TestAnObjectWithdrawnAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	w.work()
	w.cycle()
	ctx := t.Context()
	before := scalar[int](w, `SELECT count(*) FROM salesforce.campaign`)
	w.org.HideObject("Campaign")
	sync := func() {
		t.Helper()
		number, err := w.models.RequestSync(ctx, "test")
		if err != nil {
			t.Fatal(err)
		}
		w.until("the cycle ended", func() bool {
			c, err := w.models.Cycle(ctx, number)
			return err == nil && c.EndedAt != nil
		})
	}
	sync()
	sync()
	o, err := w.models.Object(ctx, "Campaign")
	if err != nil || !o.Hidden || o.HiddenAt == nil {
		t.Errorf("hidden %v since %v, %v", o.Hidden, o.HiddenAt, err)
	}
	if told := w.notices("Campaign"); strings.Count(told, "notice.object_hidden") != 1 {
		t.Errorf("told is\n%s", told)
	}
	if now := scalar[int](w, `SELECT count(*) FROM salesforce.campaign WHERE NOT isdeleted`); now != before || before == 0 {
		t.Errorf("%d campaigns were here, now %d", before, now)
	}
	if n := scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Campaign' AND kind = 'changes'`); n > 1 {
		t.Errorf("%d runs while it could not be seen", n)
	}
	w.org.ShowObject("Campaign")
	if err := w.org.Update("Campaign", w.ids("Campaign")[0], map[string]any{"Name": "Seen again"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	w.cycle()
	w.equalObject("Campaign")
	if told := w.notices("Campaign"); !strings.Contains(told, "notice.object_back") {
		t.Errorf("told is\n%s", told)
	}
}

// Custom objects are found by their path to a person, offered, and synced like the rest once they are switched on. Looked for
// again, what is new is told.
func TestCustomObjectsAreFoundByTheirPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	ctx := t.Context()
	paths := map[string]string{}
	offered := func() {
		t.Helper()
		objects, err := w.models.Objects(ctx)
		if err != nil {
			t.Fatal(err)
		}
		clear(paths)
		for _, o := range objects {
			if o.Custom && o.Visible {
				paths[o.Name] = o.Path
				if o.Direction != models.FromSalesforce {
					t.Errorf("%s is %s", o.Name, o.Direction)
				}
			}
		}
	}
	offered()
	for name, want := range map[string]string{"Subscription__c": "Subscription__c → Contact", "Product_Interest__c": "Product_Interest__c → Lead", "License__c": "License__c → Subscription__c → Contact"} {
		if paths[name] != want {
			t.Errorf("the path of %s is %q, want %q", name, paths[name], want)
		}
	}
	if err := w.models.EnableObjects(ctx, []string{"Subscription__c", "License__c"}, "test"); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.cycle()
	w.equalObject("Subscription__c")
	w.equalObject("License__c")

	id := simorg.FieldSpec{Name: "Visitor__c", Type: "reference", Length: 18, ReferenceTo: []string{"Lead"}, RelationshipName: "Visitor__r", ChildRelationship: "Visits__r"}
	if err := w.org.AddObject(simorg.ObjectSpec{Name: "Visit__c", Label: "Visit", Plural: "Visits", Fields: []simorg.FieldSpec{id}}); err != nil {
		t.Fatal(err)
	}
	calls := w.org.Calls().Total
	if err := w.models.AskLook(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	w.until("the look was over", func() bool {
		asked, _, err := w.models.Looked(ctx)
		return err == nil && !asked
	})
	if cost := w.org.Calls().Total - calls; cost > 3 {
		t.Errorf("a look cost %d calls", cost)
	}
	if offered(); paths["Visit__c"] != "Visit__c → Lead" {
		t.Errorf("offered are %v", paths)
	}
	if told := w.notices(""); strings.Count(told, "notice.object_offered") != 1 || !strings.Contains(told, "Visit__c → Lead") {
		t.Errorf("told is\n%s", told)
	}
}

// A filter narrows what is read; a record that leaves it is marked and not deleted, one that comes back is in step again. Another
// filter reads all again.
func TestARecordFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	ctx := t.Context()
	leads := w.ids("Lead")
	for i, id := range leads {
		if err := w.org.Update("Lead", id, map[string]any{"City": map[bool]string{true: "Paris", false: "O'Fallon"}[i%3 == 0]}); err != nil {
			t.Fatal(err)
		}
	}
	asker := engine.Asker{Models: w.models, Tester: engine.Tester{AllowLocalOrg: true, Log: w.config.Log}}
	meet, all, err := asker.Count(ctx, "Lead", "City = 'Paris'")
	if err != nil || meet < len(leads)/3 || all <= meet {
		t.Errorf("%d of %d meet the filter, %v", meet, all, err)
	}
	if _, _, err := asker.Count(ctx, "Lead", "Nonsense__c = 1"); err == nil || !strings.Contains(err.Error(), "Nonsense__c") {
		t.Errorf("a filter by a field that is not there was answered with %v", err)
	}
	// Archived activities are read, so they count.
	if _, err := w.org.Archive(); err != nil {
		t.Fatal(err)
	}
	live, archived := 0, 0
	if err := w.org.Each("Task", true, func(f map[string]any) error {
		if f["IsDeleted"] != true {
			live++
			if f["IsArchived"] == true {
				archived++
			}
		}
		return nil
	}); err != nil || archived == 0 {
		t.Fatalf("%d tasks are archived, %v: this checks nothing", archived, err)
	}
	if meet, all, err := asker.Count(ctx, "Task", "Id != null"); err != nil || meet != live || all != live {
		t.Errorf("%d of %d tasks meet a filter that all meet, %v, want %d", meet, all, err, live)
	}
	save := func(filter string) {
		t.Helper()
		if err := w.models.SaveRowFilter(ctx, "Lead", filter, "test"); err != nil {
			t.Fatal(err)
		}
	}
	marked := func() string {
		return scalar[string](w, `SELECT coalesce(string_agg(sfid, ',' ORDER BY sfid), '') FROM mirror.out_of_scope WHERE object = 'Lead'`)
	}
	if _, err := w.pool.Exec(ctx, `UPDATE admin.objects SET row_filter = 'City = ''Paris''' WHERE name = 'Lead'`); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.cycle()
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE city IS DISTINCT FROM 'Paris'`); got != 0 || marked() != "" {
		t.Errorf("%d leads that do not meet the filter are here, marked are %q", got, marked())
	}
	held := scalar[int](w, `SELECT count(*) FROM salesforce.lead`)

	// One leaves, one comes, one of no interest changes.
	for id, city := range map[string]any{leads[0]: nil, leads[1]: "Paris", leads[2]: "Bordeaux"} {
		if err := w.org.Update("Lead", id, map[string]any{"City": city}); err != nil {
			t.Fatal(err)
		}
	}
	w.cycle()
	if got := marked(); got != leads[0] {
		t.Errorf("marked are %q, want %s", got, leads[0])
	}
	if got := scalar[string](w, `SELECT city || isdeleted FROM salesforce.lead WHERE sfid = $1`, leads[0]); got != "Parisfalse" {
		t.Errorf("the one that left is %q", got)
	}
	if got := scalar[int](w, `SELECT count(*) FROM salesforce.lead`); got != held+1 {
		t.Errorf("%d leads, want %d", got, held+1)
	}
	if err := w.org.Update("Lead", leads[0], map[string]any{"City": "Paris", "Title": "Back"}); err != nil {
		t.Fatal(err)
	}
	w.cycle()
	if got := scalar[string](w, `SELECT title FROM salesforce.lead WHERE sfid = $1`, leads[0]); got != "Back" || marked() != "" {
		t.Errorf("the one that came back is %q, marked are %q", got, marked())
	}

	// Many leave at once: everything that meets the filter is read, by Bulk.
	gone := 0
	for i, id := range leads[3:] {
		city := "Nowhere"
		if i%3 == 0 && i > 300 {
			city = "Paris"
		}
		if i%3 == 0 && i <= 300 {
			gone++
		}
		if err := w.org.Update("Lead", id, map[string]any{"City": city, "Title": "En masse"}); err != nil {
			t.Fatal(err)
		}
	}
	w.cycle()
	if got := scalar[int](w, `SELECT count(*) FROM mirror.out_of_scope`); got != gone {
		t.Errorf("%d are marked, want %d", got, gone)
	}

	// Another filter, by a resync; then none.
	save("City = 'Nowhere'")
	if r := w.newest("Lead", models.RunResync); r.State != models.RunSucceeded {
		t.Fatalf("the resync ended as %s %s", r.State, r.Error)
	}
	if a, b := scalar[int](w, `SELECT count(*) FROM mirror.out_of_scope`), scalar[int](w, `SELECT count(*) FROM salesforce.lead WHERE city IS DISTINCT FROM 'Nowhere'`); a != b || a == 0 {
		t.Errorf("%d are marked, %d do not meet the filter", a, b)
	}

	// A field that the filter names goes: the object stops with a clear reason, and the others go on.
	w.org.HideField("Lead", "City")
	number, err := w.models.RequestSync(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	w.until("the cycle ended", func() bool {
		c, err := w.models.Cycle(ctx, number)
		return err == nil && c.EndedAt != nil
	})
	if r := w.newest("Lead", models.RunChanges); r.State != models.RunFailed || r.ErrorCode != "FILTER_REFUSED" || !strings.Contains(r.Error, "City = 'Nowhere'") {
		t.Errorf("without the filter's field the run ended as %s %s: %s", r.State, r.ErrorCode, r.Error)
	}
	if r := w.newest("Contact", models.RunChanges); r.State != models.RunSucceeded {
		t.Errorf("Contact ended as %s", r.State)
	}
	w.org.ShowField("Lead", "City")
	save("")
	w.until("the last resync ended", func() bool {
		return scalar[int](w, `SELECT count(*) FROM admin.runs WHERE object = 'Lead' AND kind = 'resync' AND state = 'succeeded'`) == 2
	})
	w.cycle()
	w.filled("Lead")
	w.equalObject("Lead")
	if marked() != "" {
		t.Errorf("without a filter %q are marked", marked())
	}
}

// A record that left the filter stays marked whatever reads it by its id: mending, a sweep that finds it alive, and sending that finds
// it gone. None of them asks by the filter, so that none can tell that the record is back.
func TestWhatLeftTheFilterStaysMarked(t *testing.T) {
	t.Parallel()
	w := sendWorld(t, sendSmall, func(w *world) {
		w.exec(`UPDATE admin.objects SET enabled = false WHERE name <> 'Lead'`)
		w.exec(`UPDATE admin.objects SET row_filter = 'City != ''Elsewhere''' WHERE name = 'Lead'`)
	})
	leads := w.ids("Lead")[:3]
	for _, id := range leads {
		w.must(w.org.Update("Lead", id, map[string]any{"City": "Elsewhere"}))
	}
	w.cycle()
	stays := func(after string) {
		t.Helper()
		if n := scalar[int](w, `SELECT count(*) FROM mirror.out_of_scope WHERE sfid = ANY($1)`, leads); n != len(leads) {
			t.Errorf("after %s %d of %d records are marked", after, n, len(leads))
		}
	}
	stays("they left")
	w.asEngine(`INSERT INTO mirror.differences (object, sfid, field, kind, check_id) VALUES ('Lead', $1, 'City', 'differs', 0)`, leads[0])
	if r := w.runsOut(w.models.RequestMend(t.Context(), "Lead", "test")); r.State != models.RunSucceeded || r.Changed != 1 {
		t.Errorf("mending ended as %s with %d changed: %s", r.State, r.Changed, r.Error)
	}
	stays("mending")
	w.asEngine(`UPDATE salesforce.lead SET isdeleted = true WHERE sfid = $1`, leads[1])
	if r := w.request("Lead", models.RunSweep); r.Changed != 1 {
		t.Errorf("the sweep found %d alive, want the one", r.Changed)
	}
	stays("a sweep")
	w.asEngine(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed) SELECT 'Lead', id, sfid, 'update', '{"title": null}', '{"title": "Late"}' FROM salesforce.lead WHERE sfid = $1`, leads[2])
	w.must(w.org.Delete("Lead", leads[2]))
	w.cycle()
	if !w.marked("Lead", leads[2]) {
		t.Fatal("sending did not find the record gone: this checks nothing")
	}
	stays("sending")
}

// Another user of the same org is not put in place of the stored one before somebody has seen what that changes.
func TestAnotherUserOfTheSameOrg(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few)
	w.work()
	w.cycle()
	ctx := context.Background()
	user := scalar[string](w, `SELECT username FROM salesforce."user" WHERE isactive AND username <> $1 ORDER BY sfid LIMIT 1`, w.connection().UserName)
	for _, f := range []string{"Title", "Website"} {
		if err := w.org.SetUserSees(user, "Lead", f, simorg.SeesNothing); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.org.SetUserSees(user, "Campaign", "", simorg.SeesReadOnly), w.org.RunAs(user)); err != nil {
		t.Fatal(err)
	}
	tester := engine.Tester{AllowLocalOrg: true, Log: w.config.Log}
	_, err := tester.Test(ctx, models.Connection{LoginURL: w.server.URL, Auth: models.AuthJWT, ClientID: simorg.DefaultClientID, Username: user, PrivateKey: models.NewSecret("no key")})
	var unusable *models.Error
	if !errors.As(err, &unusable) || unusable.Code != models.CodeInvalid || unusable.Message != "connection.unusable" {
		t.Errorf("a key that is none is told as %v, want as what was typed wrong, for Salesforce was not asked", err)
	}
	c, err := tester.Test(ctx, models.Connection{LoginURL: w.server.URL, Auth: models.AuthClientCredentials, ClientID: simorg.DefaultClientID, ClientSecret: models.NewSecret(simorg.DefaultClientSecret)})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.Report.Checks, func(c models.Check) bool { return c.Key == "check.marketing_user" }) {
		t.Errorf("the check of a user who may not write campaigns does not say what that takes: %+v", c.Report.Checks)
	}
	if err := w.models.SaveConnection(ctx, c, "test"); err == nil || !strings.Contains(err.Error(), "connection.other_user") {
		t.Fatalf("saving answered %v", err)
	}
	objects, err := w.models.Objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	synced, err := w.models.FieldNames(ctx)
	if err != nil {
		t.Fatal(err)
	}
	change, err := tester.Compare(ctx, c, objects, synced)
	if err != nil || len(change.ObjectsLess) != 0 || fmt.Sprint(change.FieldsLess) != "map[Lead:[Title Website]]" || len(change.FieldsMore) != 0 {
		t.Errorf("the other user sees %+v, %v", change, err)
	}
	if err := w.models.HoldConnection(ctx, c, change, "test"); err != nil {
		t.Fatal(err)
	}
	if got := w.connection(); got.UserName == user {
		t.Error("the other user is in place already")
	}
	if _, err := w.models.AcceptConnection(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	if got := w.connection(); got.UserName != user || got.ClientSecret.Reveal() != simorg.DefaultClientSecret {
		t.Errorf("in place is %s", got.UserName)
	}
	w.cycle()
	if scalar[int](w, `SELECT count(*) FROM mirror.field_status WHERE object = 'Lead' AND gone_at IS NOT NULL`) != 2 {
		t.Error("what the other user does not see is not marked")
	}
}

func (w *world) connection() models.Connection {
	w.t.Helper()
	c, err := w.models.Connection(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}
