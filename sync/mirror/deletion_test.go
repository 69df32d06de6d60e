package mirror

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tandem-sync/tandem/sync/sobject"
)

func TestBrake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		percent            int
		deletions, records int64
		stops              bool
	}{
		{10, 0, 0, false},
		{10, 10, 12, false}, // so few are believed, whatever their share
		{10, 11, 12, true},
		{10, 100, 1000, false}, // not more than the share
		{10, 101, 1000, true},
		{10, 11, 110, false},
		{10, 12, 110, true},
		{0, 10, 1_000_000, false},
		{0, 11, 1_000_000, true},
		{100, 1000, 1000, false},
		{10, 11, 0, true},
	} {
		if got := (Brake{c.percent}).Stops(c.deletions, c.records); got != c.stops {
			t.Errorf("%d deletions of %d records under a brake of %d %%: stops is %v", c.deletions, c.records, c.percent, got)
		}
	}
}

// deleted gives records of which some are deleted.
func deleted(n, from, to, stamp int) [][]string {
	all := accs(n, 0)
	for i := from; i < to; i++ {
		all[i][3], all[i][4] = "true", stampAt(stamp)
	}
	return all
}

// Too many deletions at once are held: the records live on, all else is written, and the counts are those of what is here. What a
// person says yes to is carried out.
func TestDeletionsAreHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, accs(100, 0)...))
	b, err := w.db.Changes(w.ctx, "Account")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Rollback()
	all := deleted(100, 0, 30, 5)
	all[50][1], all[50][4] = "Changed", stampAt(5)
	sum, err := b.Apply(w.ctx, rows(accountColumns, all...))
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.Tombstone(w.ctx, []DeletedID{{ID: sobjectID(60), At: mark.Add(2 * time.Hour)}, {ID: sobjectID(1), At: mark.Add(2 * time.Hour)}})
	if err != nil || n != 1 {
		t.Fatalf("the list brought %d, %v; want the one that the records did not tell", n, err)
	}
	sum.Deleted += n
	if err := b.Commit(w.ctx, mark, mark.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	equal(t, "held", b.Held(), 31)
	equal(t, "result", b.Result(sum), Result{Read: 100, Changed: 1, Unchanged: 99})
	w.sumUp("Account", b.Result(sum))
	equal(t, "marked", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE isdeleted"), 0)
	equal(t, "what else changed", ask[string](w, "SELECT name FROM salesforce.account WHERE sfid = $1", id("001", 51)), "Changed")
	held, records, err := w.db.HeldDeletions(w.ctx, "Account")
	if err != nil || held != 31 || records != 100 {
		t.Fatalf("%d of %d held, %v", held, records, err)
	}
	// Read again, they change nothing; one that was undeleted meanwhile waits no longer; a further one joins them, however few it is alone.
	again := deleted(100, 0, 30, 5)
	again[50][1], again[50][4] = "Changed", stampAt(5)
	again[0][3], again[0][4] = "false", stampAt(9)
	again[70][3], again[70][4] = "true", stampAt(9)
	r := w.change("Account", mark.Add(time.Minute), mark.Add(time.Minute), rows(accountColumns, again...))
	if r.Read != r.New+r.Changed+r.Deleted+r.Unchanged+r.Refused || r.New != 0 {
		t.Errorf("read again: %+v", r)
	}
	held, _, err = w.db.HeldDeletions(w.ctx, "Account")
	if err != nil || held != 31 {
		t.Fatalf("%d held, %v, want one less and one more", held, err)
	}
	done, more, err := w.db.AnswerDeletions(w.ctx, "Account", true, time.Now().Add(time.Minute))
	if err != nil || done != 31 || !more {
		t.Fatalf("carried out %d, more %v, %v", done, more, err)
	}
	if done, more, err = w.db.AnswerDeletions(w.ctx, "Account", true, time.Now().Add(time.Minute)); done != 0 || more || err != nil {
		t.Errorf("again: %d, %v, %v", done, more, err)
	}
	w.sumUp("Account", Result{})
	equal(t, "marked", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE isdeleted"), 31)
	equal(t, "undeleted", ask[bool](w, "SELECT isdeleted FROM salesforce.account WHERE sfid = $1", id("001", 1)), false)
}

// What a person said no to is left alone, and asked about again only with others that are too many, or with a resync.
func TestDeclinedDeletions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, accs(200, 0)...))
	held := func() int64 {
		n, _, err := w.db.HeldDeletions(w.ctx, "Account")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	w.change("Account", mark, mark, rows(accountColumns, deleted(200, 0, 30, 5)...))
	equal(t, "held", held(), 30)
	if _, _, err := w.db.AnswerDeletions(w.ctx, "Account", false, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	w.change("Account", mark, mark, rows(accountColumns, deleted(200, 0, 30, 5)...))
	equal(t, "asked again", held(), 0)
	r := w.change("Account", mark, mark, rows(accountColumns, deleted(200, 0, 31, 6)...))
	equal(t, "one more is carried out alone", r.Deleted, 1)
	equal(t, "marked", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE isdeleted"), 1)
	w.change("Account", mark, mark, rows(accountColumns, deleted(200, 0, 60, 7)...))
	equal(t, "with too many others all are asked about", held(), 59)
	if _, _, err := w.db.AnswerDeletions(w.ctx, "Account", false, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := w.db.ReconsiderDeletions(w.ctx, "Account"); err != nil {
		t.Fatal(err)
	}
	w.change("Account", mark, mark, rows(accountColumns))
	equal(t, "a resync asks again", held(), 59)
	w.sumUp("Account", Result{})
}

// The deletions of a bulk read are counted over all its pages; meanwhile an increment does not carry them out in portions.
func TestBrakeCountsOverPages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ deleted, marked, held int }{{15, 15, 0}, {40, 0, 40}} {
		t.Run(fmt.Sprint(c.deleted), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ensure(account())
			w.change("Account", time.Time{}, mark, rows(accountColumns, accs(200, 0)...))
			l := w.load("Account", LoadResync)
			all := deleted(200, 0, c.deleted, 5)
			const pages = 4
			for i := range pages {
				if i > 0 {
					w.change("Account", mark, mark, rows(accountColumns))
				}
				var page [][]string
				for n := i; n < len(all); n += pages {
					page = append(page, all[n])
				}
				if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: i + 1}, rows(accountColumns, page...), fmt.Sprint(i+2), i == pages-1); err != nil {
					t.Fatal(err)
				}
			}
			equal(t, "before the end", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE isdeleted"), 0)
			l, err := w.db.FinishLoad(w.ctx, l.ID)
			if err != nil {
				t.Fatal(err)
			}
			w.sumUp("Account", l.Result())
			equal(t, "deleted", l.Deleted, int64(c.marked))
			equal(t, "marked", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE isdeleted"), c.marked)
			held, _, err := w.db.HeldDeletions(w.ctx, "Account")
			if err != nil || held != int64(c.held) {
				t.Errorf("%d held, %v, want %d", held, err, c.held)
			}
			done, ok, err := w.db.DoneLoad(w.ctx, 1)
			if err != nil || !ok || done.Result() != l.Result() {
				t.Errorf("whoever finds the load done reads %+v, %v; it gave %+v", done.Result(), err, l.Result())
			}
		})
	}
}

// The rows of deleted records go where the admin chose so, whatever brought them, and come back with an undeletion; what waits to be
// sent of one keeps its row.
func TestDeletedRowsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	all := deleted(100, 0, 3, 1)
	w.change("Account", time.Time{}, mark, rows(accountColumns, all...))
	w.exec(`INSERT INTO mirror.outbox (object, row_id, sfid, operation) SELECT 'Account', id, sfid, 'update' FROM salesforce.account WHERE sfid = $1`, id("001", 1))
	if err := w.db.SetRules(w.ctx, "Account", Rules{Remove: true, Brake: Brake{10}}); err != nil {
		t.Fatal(err)
	}
	all = deleted(100, 0, 5, 7)
	r := w.change("Account", mark, mark, rows(accountColumns, append(all, []string{id("001", 500), "Never here", "1", "true", stampAt(7)})...))
	equal(t, "result", r, Result{Read: 101, Changed: 3, Deleted: 2, Unchanged: 96})
	w.sumUp("Account", r)
	equal(t, "left", ask[int](w, "SELECT count(*) FROM salesforce.account"), 96)
	equal(t, "with an unsent change", ask[bool](w, "SELECT isdeleted FROM salesforce.account WHERE sfid = $1", id("001", 1)), true)
	r = w.change("Account", mark, mark, rows(accountColumns, deleted(100, 0, 5, 7)...))
	equal(t, "read again", r, Result{Read: 100, Unchanged: 100})
	back := deleted(100, 0, 5, 7)
	back[4][3], back[4][4] = "false", stampAt(9)
	r = w.change("Account", mark, mark, rows(accountColumns, back...))
	equal(t, "undeleted", r, Result{Read: 100, New: 1, Unchanged: 99})
	w.exec(`DELETE FROM mirror.outbox`)
	w.change("Account", mark, mark, rows(accountColumns))
	equal(t, "once nothing waits", ask[int](w, "SELECT count(*) FROM salesforce.account"), 96)
	w.sumUp("Account", Result{})

	// A first read by the direct lane.
	w.ensure(schema("Contact", "LastName:string", "IsDeleted:boolean", "SystemModstamp:datetime"))
	if err := w.db.SetRules(w.ctx, "Contact", Rules{Remove: true, Brake: Brake{10}}); err != nil {
		t.Fatal(err)
	}
	l := w.load("Contact", LoadFirst)
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows("Id LastName IsDeleted SystemModstamp", []string{id("003", 1), "A", "false", stampAt(0)}, []string{id("003", 2), "B", "true", stampAt(0)}), "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.FinishLoad(w.ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	equal(t, "contacts", ask[string](w, "SELECT string_agg(lastname, ' ') FROM salesforce.contact"), "A")
	w.sumUp("Contact", Result{})
}

// A record that is undeleted lives here again, also when its stamp is older than the one that its deletion left, if what is here is
// from before the read; a page that was overtaken does not bring it back.
func TestUndeletedWithAnOlderStamp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, accs(5, 0)...))
	gone := acc(1, "Account 1", 50)
	gone[3] = "true"
	w.change("Account", mark, mark, rows(accountColumns, gone))
	apply := func(readAt time.Time) Result {
		b, err := w.db.Changes(w.ctx, "Account")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Rollback()
		b.ReadAt(readAt)
		r, err := b.Apply(w.ctx, rows(accountColumns, acc(1, "Account 1", 10)))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(w.ctx, mark, mark); err != nil {
			t.Fatal(err)
		}
		w.sumUp("Account", r)
		return r
	}
	at := mark.Add(time.Hour) // of the stamps
	equal(t, "overtaken", apply(at.Add(49*time.Second)), Result{Read: 1, Unchanged: 1})
	equal(t, "still marked", ask[bool](w, "SELECT isdeleted FROM salesforce.account WHERE sfid = $1", id("001", 1)), true)
	equal(t, "undeleted", apply(at.Add(51*time.Second)), Result{Read: 1, Changed: 1})
	equal(t, "lives", ask[bool](w, "SELECT isdeleted FROM salesforce.account WHERE sfid = $1", id("001", 1)), false)

	// Deleted again, listed this time, and undeleted with a newer stamp: it is not among those that the list may mark.
	w.change("Account", mark, mark, rows(accountColumns, acc(1, "Account 1", 80)))
	b, err := w.db.Changes(w.ctx, "Account")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Rollback()
	if n, err := b.Tombstone(w.ctx, []DeletedID{{ID: sobjectID(1), At: at.Add(79 * time.Second)}}); err != nil || n != 0 {
		t.Errorf("a record that was undeleted after its deletion was listed: %d, %v", n, err)
	}
}

// A sweep takes ids in page by page, each once; what is here and not there is a candidate, and counts as deleted only once it was asked for.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, deleted(100, 90, 91, 1)...))
	s := Sweep{RunID: 7, Object: "Account", JobID: "750xx", OrgTime: mark, StartedAt: time.Now()}
	if err := w.db.StartSweep(w.ctx, s); err != nil {
		t.Fatal(err)
	}
	// A row that comes later is none of its business.
	w.change("Account", mark, mark, rows(accountColumns, acc(300, "Later", 5)))
	var ids [][]string
	for n := 4; n <= 100; n++ { // 1 to 3 are not there; 4 is deleted there, 91 is undeleted there
		ids = append(ids, []string{id("001", n), fmt.Sprint(n == 4)})
	}
	one := func(next string, last bool, p *page) func(func(sobject.Rows) error) (string, bool, error) {
		return func(add func(sobject.Rows) error) (string, bool, error) { return next, last, add(p) }
	}
	bad := rows("Id IsDeleted", ids[:30]...)
	bad.fail = errCut
	if _, err := w.db.AddSwept(w.ctx, s, one("second", false, bad)); !errors.Is(err, errCut) {
		t.Fatalf("a page that was cut: %v", err)
	}
	next, err := w.db.AddSwept(w.ctx, s, one("second", false, rows("Id IsDeleted", ids[:40]...)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.AddSwept(w.ctx, s, one("second", false, rows("Id IsDeleted", ids[:40]...))); !errors.Is(err, ErrPageDone) {
		t.Errorf("the same page again: %v, want ErrPageDone", err)
	}
	if s, err = w.db.AddSwept(w.ctx, next, one("", true, rows("Id IsDeleted", ids[40:]...))); err != nil {
		t.Fatal(err)
	}
	equal(t, "read", s.Read, 97)
	stored, ok, err := w.db.Sweep(w.ctx, 7)
	if err != nil || !ok || stored.State != SweepComparing || stored.Read != 97 || stored.Page != 2 {
		t.Fatalf("stored: %+v, %v", stored, err)
	}
	n, err := w.db.CompareSwept(w.ctx, s)
	if err != nil || n != 4 {
		t.Fatalf("%d candidates, %v, want 4", n, err)
	}
	w.change("Account", mark, mark, rows(accountColumns))
	equal(t, "a candidate is no deletion", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE isdeleted"), 1)
	candidates, err := w.db.Candidates(w.ctx, "Account", 10)
	if err != nil || len(candidates) != 4 {
		t.Fatalf("candidates %v, %v", candidates, err)
	}
	if err := w.db.Prove(w.ctx, "Account", candidates, []sobject.ID{sobjectID(2)}); err != nil {
		t.Fatal(err)
	}
	returned, err := w.db.Returned(w.ctx, s, "", 10)
	if err != nil || len(returned) != 1 || returned[0] != sobjectID(91) {
		t.Errorf("undeleted there: %v, %v", returned, err)
	}
	done, held, err := w.db.SettleSweep(w.ctx, s)
	if err != nil || done != 3 || held != 0 {
		t.Fatalf("settled %d, held %d, %v", done, held, err)
	}
	w.sumUp("Account", Result{})
	equal(t, "deleted", ask[string](w, "SELECT string_agg(name, ', ' ORDER BY sfid) FROM salesforce.account WHERE isdeleted"), "Account 1, Account 3, Account 4, Account 91")
	equal(t, "tables of sweeps", ask[int](w, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'swept_%'"), 0)
	if m, err := w.db.Watermark(w.ctx, "Account"); err != nil || time.Since(m.SweptAt) > time.Minute {
		t.Errorf("swept at %s, %v", m.SweptAt, err)
	}
}
