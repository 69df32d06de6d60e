package mirror

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// What several edits of one row come to.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	ins := func(changed string) edit { return edit{operation: Insert, changed: cells(changed)} }
	upd := func(base, changed string) edit {
		return edit{operation: Update, sfid: "S", base: cells(base), changed: cells(changed)}
	}
	// An edit of a row that has no record.
	own := func(base, changed string) edit {
		return edit{operation: Update, base: cells(base), changed: cells(changed)}
	}
	del := edit{operation: Delete, sfid: "S", base: cells(`{"id": 1, "a": 9}`)}
	ownDel := edit{operation: Delete, base: cells(`{"id": 1}`)}
	tried := ins(`{"a": 1}`)
	tried.attempts = 1
	for _, c := range []struct {
		name  string
		edits []edit
		want  string
		used  int
	}{
		{"one update", []edit{upd(`{"a": 1}`, `{"a": 2}`)}, `update S {"a":1} {"a":2}`, 1},
		{"first base, last value", []edit{upd(`{"a": 1}`, `{"a": 2}`), upd(`{"a": 2}`, `{"a": 3}`)}, `update S {"a":1} {"a":3}`, 2},
		{"other columns", []edit{upd(`{"a": 1}`, `{"a": 2}`), upd(`{"b": null}`, `{"b": "x"}`)}, `update S {"a":1,"b":null} {"a":2,"b":"x"}`, 2},
		{"there and back", []edit{upd(`{"a": 1}`, `{"a": 2}`), upd(`{"a": 2}`, `{"a": 1}`)}, `update S {"a":1} {"a":1}`, 2},
		{"emptied", []edit{upd(`{"a": 1}`, `{"a": null}`)}, `update S {"a":1} {"a":null}`, 1},
		{"insert", []edit{ins(`{"a": 1}`)}, `insert  null {"a":1}`, 1},
		{"insert and update", []edit{ins(`{"a": 1}`), own(`{"a": 1, "b": null}`, `{"a": 2, "b": 3}`)}, `insert  null {"a":2,"b":3}`, 2},
		{"an update of what was never sent", []edit{own(`{"a": 1}`, `{"a": 2}`)}, `insert  null {"a":2} whole`, 1},
		{"insert that was accepted, then update", []edit{upd(`{"a": 1}`, `{"a": 2}`)}, `update S {"a":1} {"a":2}`, 1},
		{"insert and delete", []edit{ins(`{"a": 1}`), ownDel}, `void`, 2},
		{"insert, update and delete", []edit{ins(`{"a": 1}`), own(`{"a": 1}`, `{"a": 2}`), ownDel}, `void`, 3},
		{"a local row deleted", []edit{ownDel}, `void`, 1},
		{"insert whose reply was lost, and delete", []edit{tried, ownDel}, `insert  null {"a":1}`, 1},
		{"update and delete", []edit{upd(`{"a": 1}`, `{"a": 9}`), del}, `delete S {"a":1,"id":1} null`, 2},
		{"delete", []edit{del}, `delete S {"a":9,"id":1} null`, 1},
		{"delete, and a new row of the same id", []edit{del, ins(`{"a": 5}`)}, `delete S {"a":9,"id":1} null`, 1},
		{"made, accepted meanwhile, deleted", []edit{ins(`{"a": 1}`), del}, `delete S {"a":9,"id":1} null`, 2},
	} {
		got := coalesce(c.edits)
		text := "void"
		if !got.void {
			text = fmt.Sprintf("%s %s %s %s", got.op, got.sfid, jsonText(got.base), jsonText(got.local))
			if got.whole {
				text += " whole"
			}
		}
		if text != c.want || len(got.edits) != c.used {
			t.Errorf("%s: %s of %d edits, want %s of %d", c.name, text, len(got.edits), c.want, c.used)
		}
	}
}

// Each field has the time of its own last edit.
func TestCoalesceKeepsWhenEachFieldWasEdited(t *testing.T) {
	t.Parallel()
	at := func(minute int, base, changed string) edit {
		return edit{operation: Update, sfid: "S", base: cells(base), changed: cells(changed), at: mark.Add(time.Duration(minute) * time.Minute)}
	}
	c := coalesce([]edit{at(1, `{"a": 1, "b": 1}`, `{"a": 2, "b": 2}`), at(2, `{"b": 2}`, `{"b": 3}`), at(3, `{"c": null}`, `{"c": 1}`)})
	got := ""
	for _, name := range []string{"a", "b", "c"} {
		got += fmt.Sprintf("%s %.0f ", name, c.at[name].Sub(mark).Minutes())
	}
	equal(t, "minutes", got, "a 1 b 2 c 3 ")
}

func cells(s string) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		panic(err)
	}
	return m
}

// Many claimers at once: each row is claimed once, whole, and none is forgotten.
func TestClaimersShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	var all [][]string
	for n := range 300 {
		all = append(all, lead(n+1, "Acme", 0))
	}
	w.change("Lead", time.Time{}, mark, rows(leadColumns, all...))
	w.exec("UPDATE salesforce.lead SET company = 'A'")
	w.exec("UPDATE salesforce.lead SET company = 'B', email = 'x@y.z'")
	var mu sync.Mutex
	got := map[int64]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				c, err := New(w.pool).ClaimChanges(w.ctx, 1, "Lead", Update, 7)
				if err != nil {
					t.Error(err)
					return
				}
				if c.ID == "" {
					return
				}
				mu.Lock()
				for _, ch := range c.Changes {
					got[ch.RowID]++
					if len(ch.Seqs) != 2 || values(ch.Local) != `{"Company":"B","Email":"x@y.z"}` {
						t.Errorf("not whole: %+v", ch)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	equal(t, "rows", len(got), 300)
	for id, n := range got {
		if n != 1 {
			t.Errorf("row %d was claimed %d times", id, n)
		}
	}
}

// A row that somebody holds at this moment is left to the next claim; others do not wait for it.
func TestClaimPassesOverWhatIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0), lead(2, "Acme", 0)))
	w.exec("UPDATE salesforce.lead SET company = 'A'")
	w.exec("UPDATE salesforce.lead SET company = 'B'")
	tx, err := w.pool.Begin(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(w.ctx) }()
	if _, err := tx.Exec(w.ctx, "SELECT FROM mirror.outbox WHERE row_id = 1 ORDER BY seq LIMIT 1 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	c := w.claim("Lead", Update)
	if len(c.Changes) != 1 || c.Changes[0].RowID != 2 || len(c.Changes[0].Seqs) != 2 {
		t.Errorf("%+v", c.Changes)
	}
	if err := tx.Rollback(w.ctx); err != nil {
		t.Fatal(err)
	}
	if c = w.claim("Lead", Update); len(c.Changes) != 1 || c.Changes[0].RowID != 1 {
		t.Errorf("%+v", c.Changes)
	}
}

// What a person does to one row goes to the operation that it comes to, and only there.
func TestClaimByOperation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0), lead(2, "Bolt", 0), lead(3, "Cord", 0)))
	w.exec("UPDATE salesforce.lead SET company = 'A' WHERE id = 1")
	w.exec("UPDATE salesforce.lead SET company = 'B' WHERE id = 2")
	w.exec("DELETE FROM salesforce.lead WHERE id = 2")
	w.exec("INSERT INTO salesforce.lead (lastname) VALUES ('new'), ('gone')")
	w.exec("UPDATE salesforce.lead SET company = 'N' WHERE id = 4")
	w.exec("DELETE FROM salesforce.lead WHERE id = 5")
	backlog, err := w.db.Backlogs(w.ctx)
	if err != nil || !slices.Equal(backlog, []Backlog{{"Lead", 1, 1, 1, 1}}) {
		t.Errorf("%+v, %v", backlog, err)
	}
	u, i, d := w.claim("Lead", Update), w.claim("Lead", Insert), w.claim("Lead", Delete)
	if len(u.Changes) != 1 || u.Changes[0].RowID != 1 || len(i.Changes) != 1 || i.Changes[0].RowID != 4 || len(d.Changes) != 1 || d.Changes[0].RowID != 2 {
		t.Fatalf("%+v\n%+v\n%+v", u, i, d)
	}
	equal(t, "new", values(i.Changes[0].Local), `{"Company":"N","LastName":"new"}`)
	equal(t, "deleted", *d.Changes[0].Base["Company"]+" "+*d.Changes[0].Base["LastName"]+" "+d.Changes[0].SFID, "Bolt Lead 2 "+leadID(2))
	equal(t, "what came to nothing", w.history("Lead"), "insert 5 superseded, delete 5 superseded")
	if _, err := w.db.ClaimChanges(w.ctx, 1, "Lead", "sideways", 1); err == nil {
		t.Error("an operation that does not exist was taken")
	}
}

// A claim is made whole or not at all: what dies in between leaves everything as it was.
func TestClaimThatDiesLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.twoWay()
	w.change("Lead", time.Time{}, mark, rows(leadColumns, lead(1, "Acme", 0)))
	w.exec("UPDATE salesforce.lead SET company = 'A'")
	before := w.all()
	tx, err := w.db.asEngine(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := w.db.claimChanges(w.ctx, tx, 1, "Lead", Update, 10); err != nil || len(c.Changes) != 1 {
		t.Fatal(c, err)
	}
	if err := tx.Rollback(w.ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "after a death", w.all(), before)
	// The same within a settlement: one that is wrong undoes the whole batch.
	claim := w.claim("Lead", Update)
	before = w.all()
	s := settling1(claim, 0)
	s.Conflicts = []Conflict{{Field: "Nonsense__c", Winner: WinnerLocal}}
	if _, err := w.db.Settle(w.ctx, []Settlement{s}); err == nil || !strings.Contains(err.Error(), "Nonsense__c") {
		t.Errorf("got %v", err)
	}
	s = settling1(claim, 0)
	s.Outcome = "perhaps"
	if _, err := w.db.Settle(w.ctx, []Settlement{s}); err == nil {
		t.Error("an outcome that does not exist was taken")
	}
	equal(t, "after a failed settlement", w.all(), before)
}
