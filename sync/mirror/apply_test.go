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

	"github.com/tandem-sync/tandem/sync/sobject"
)

var errCut = errors.New("the connection was cut")

// A first load goes by the direct lane, page by page, to the watermark.
func TestLoadFromFirstPageToWatermark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	if !l.Direct {
		t.Fatal("a first load into an empty table is not direct")
	}
	all := accs(25, 0)
	all[3][3] = "true"
	r, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, all[:10]...), "second", false)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "first page", r, Result{Read: 10, New: 10})
	if _, err := w.db.FinishLoad(w.ctx, l.ID); err == nil {
		t.Error("a load with a page to read was finished")
	}
	pages, err := w.db.PagesToRead(w.ctx, l.ID)
	if err != nil || !slices.Equal(pages, []Page{{Seq: 2, Locator: "second"}}) {
		t.Fatalf("pages to read: %v, %v", pages, err)
	}
	if _, err := w.db.ApplyPage(w.ctx, l, pages[0], rows(accountColumns, all[10:]...), "", true); err != nil {
		t.Fatal(err)
	}
	got, last, done, err := w.db.LoadProgress(w.ctx, l.ID)
	if err != nil || !last || !done || got.Read != 25 {
		t.Fatalf("progress: %+v, last %v, done %v, %v", got, last, done, err)
	}
	w.sumUp("Account", got.Result())
	equal(t, "deleted", ask[int64](w, `SELECT deleted FROM mirror.objects`), 1)
	if m, err := w.db.Watermark(w.ctx, "Account"); err != nil || m.Known {
		t.Errorf("the watermark is known before the load ended: %+v, %v", m, err)
	}
	got, err = w.db.FinishLoad(w.ctx, l.ID)
	if err != nil || got.New != 25 || got.State != LoadDone {
		t.Fatalf("finish: %+v, %v", got, err)
	}
	if m, err := w.db.Watermark(w.ctx, "Account"); err != nil || !m.At.Equal(mark) {
		t.Errorf("watermark %+v, %v, want %s", m, err, mark)
	}
	if _, err := w.db.FinishLoad(w.ctx, l.ID); !errors.Is(err, ErrNoLoad) {
		t.Errorf("finishing twice: %v, want ErrNoLoad", err)
	}
	if _, open, err := w.db.OpenLoad(w.ctx, "Account", false); open || err != nil {
		t.Errorf("the load is still open: %v", err)
	}
}

// Invariant 1: a page whose stream ends early leaves nothing: no row, no refusal, no mark.
func TestPageThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, staged := range []bool{false, true} {
		t.Run(fmt.Sprintf("staged=%v", staged), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ensure(account())
			l := w.load("Account", LoadFirst)
			p := rows(accountColumns, accs(3000, 0)...)
			p.rows[5][2] = "many"
			p.fail = errCut
			if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1, Staged: staged}, p, "", true); !errors.Is(err, errCut) {
				t.Fatalf("got %v, want the stream's own error", err)
			}
			for _, table := range []string{"salesforce.account", "mirror.refusals", "mirror.load_pages WHERE done_at IS NOT NULL"} {
				equal(t, table, ask[int](w, "SELECT count(*) FROM "+table), 0)
			}
			equal(t, "records", ask[int64](w, "SELECT records FROM mirror.objects"), 0)
			p = rows(accountColumns, accs(3000, 0)...)
			r, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1, Staged: staged}, p, "", true)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "read again", r, Result{Read: 3000, New: 3000})
		})
	}
}

// A worker that is stopped in the middle of a page leaves nothing, gives its connection back, and the page can be read again.
func TestCancelInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	for _, staged := range []bool{false, true} {
		ctx, cancel := context.WithCancel(w.ctx)
		p := rows(accountColumns, accs(20_000, 0)...)
		p.before = func(row int) error {
			if row == 12_000 {
				cancel()
			}
			return nil
		}
		if _, err := w.db.ApplyPage(ctx, l, Page{Seq: 1, Staged: staged}, p, "", true); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want context.Canceled", err)
		}
		equal(t, "rows", ask[int](w, "SELECT count(*) FROM salesforce.account"), 0)
		// A connection that was cut is closed behind our back.
		for range 100 {
			if w.pool.Stat().AcquiredConns() == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := w.pool.Stat().AcquiredConns(); n != 0 {
			t.Errorf("%d connections are still held", n)
		}
	}
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, accs(20, 0)...), "", true); err != nil {
		t.Fatal(err)
	}
}

func TestPageIsAppliedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	// Two workers hold the same page at once: one of them writes it.
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = w.db.ApplyPage(w.ctx, l, Page{Seq: 1, Staged: i%2 == 0}, rows(accountColumns, accs(500, 0)...), "", true)
		})
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, ErrPageDone):
			done++
		default:
			t.Error(err)
		}
	}
	equal(t, "workers that came too late", done, 3)
	equal(t, "records", ask[int64](w, "SELECT records FROM mirror.objects"), 500)
	p, err := w.db.Page(w.ctx, l.ID, 1)
	if err != nil || !p.Done {
		t.Errorf("page %+v, %v, want it done", p, err)
	}
	if err := w.db.AbandonLoad(w.ctx, l.ID, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 2}, rows(accountColumns), "", true); !errors.Is(err, ErrPageDone) {
		t.Errorf("a page of an abandoned load: %v", err)
	}
}

// Pages of one load are applied by several workers at once, with records that are in several pages, and the counts are exact.
func TestConcurrentPages(t *testing.T) {
	t.Parallel()
	for _, staged := range []bool{false, true} {
		t.Run(fmt.Sprintf("staged=%v", staged), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ensure(account())
			l := w.load("Account", LoadFirst)
			const pages, size, shared = 8, 400, 50
			for i := 2; i <= pages; i++ {
				if err := w.db.PlanPage(w.ctx, l.ID, i, fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for i := range pages {
				wg.Go(func() {
					make := func() *page {
						var records [][]string
						for n := range size {
							records = append(records, acc(i*size+n+1, "Account", 0))
						}
						for n := range shared {
							r := acc(100_000+n, fmt.Sprintf("Shared %d", i), i)
							if i == 4 {
								r[3] = "true"
							}
							records = append(records, r)
						}
						if i%2 == 1 {
							slices.Reverse(records)
						}
						return rows(accountColumns, records...)
					}
					// Each names the page after it, which is planned already and under way beside it.
					p, next := Page{Seq: i + 1, Staged: staged}, ""
					if i < pages-1 {
						next = fmt.Sprint(i + 2)
					}
					_, err := w.db.ApplyPage(w.ctx, l, p, make(), next, i == pages-1)
					if errors.Is(err, ErrRetryStaged) {
						p.Staged = true
						_, err = w.db.ApplyPage(w.ctx, l, p, make(), next, i == pages-1)
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got, last, done, err := w.db.LoadProgress(w.ctx, l.ID)
			if err != nil || !last || !done {
				t.Fatalf("progress: %+v, %v, %v, %v", got, last, done, err)
			}
			equal(t, "read", got.Read, pages*(size+shared))
			equal(t, "new", got.New, pages*size+shared)
			w.sumUp("Account", got.Result())
			equal(t, "records of the newest stamp", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE name = 'Shared 7' AND NOT isdeleted"), shared)
		})
	}
}

func TestIncrement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	all := accs(100, 0)
	r := w.change("Account", time.Time{}, mark, rows(accountColumns, all[:60]...), rows(accountColumns, all[40:]...))
	equal(t, "first", r, Result{Read: 120, New: 100, Unchanged: 20})
	w.sumUp("Account", r)

	all = accs(100, 5)
	for i := range 10 {
		all[i][1] = "Changed"            // 10 changed
		all[50+i][3] = "true"            // 10 deleted
		all[80+i] = acc(200+i, "New", 5) // 10 new
	}
	for i := range all {
		if i >= 10 && (i < 50 || i >= 60 && i < 80 || i >= 90) {
			all[i][4] = stampAt(0) // 70 as they were
		}
	}
	r = w.change("Account", mark, mark.Add(time.Minute), rows(accountColumns, all...))
	equal(t, "second", r, Result{Read: 100, New: 10, Changed: 10, Deleted: 10, Unchanged: 70})
	w.sumUp("Account", r)

	// Undeleted: the mark goes.
	r = w.change("Account", mark.Add(time.Minute), mark.Add(time.Minute), rows(accountColumns, acc(51, "Account 51", 9), acc(52, "Account 52", 9)))
	equal(t, "undeleted", r, Result{Read: 2, Changed: 2})
	w.sumUp("Account", r)
	equal(t, "deleted now", ask[int64](w, "SELECT deleted FROM mirror.objects"), 8)
	w.exec("UPDATE mirror.objects SET records = 0, deleted = 0")
	if err := w.db.Recount(w.ctx, "Account"); err != nil {
		t.Fatal(err)
	}
	w.sumUp("Account", Result{})
}

// Of a record that a page holds twice the later stamp counts, and of equal stamps the later one in the page.
func TestDuplicatesInAPage(t *testing.T) {
	t.Parallel()
	for _, staged := range []bool{false, true} {
		w := newWorld(t)
		w.ensure(account())
		l := w.load("Account", LoadFirst)
		make := func() *page {
			return rows(accountColumns, acc(1, "newer", 9), acc(2, "a", 0), acc(1, "older", 3), acc(3, "first", 1), acc(3, "second", 1), acc(4, null, 1))
		}
		p := Page{Seq: 1, Staged: staged}
		r, err := w.db.ApplyPage(w.ctx, l, p, make(), "", true)
		if !staged {
			if !errors.Is(err, ErrRetryStaged) {
				t.Fatalf("direct: %v, want ErrRetryStaged", err)
			}
			p.Staged = true
			r, err = w.db.ApplyPage(w.ctx, l, p, make(), "", true)
		}
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "result", r, Result{Read: 6, New: 4, Unchanged: 2})
		w.sumUp("Account", r)
		equal(t, "names", ask[string](w, "SELECT string_agg(coalesce(name, '-'), ' ' ORDER BY sfid) FROM salesforce.account"), "newer a second -")
	}
}

// A page that was overtaken does not overwrite what a later one brought.
func TestOlderRecordStaysOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, acc(1, "newer", 9)))
	r := w.change("Account", mark, mark, rows(accountColumns, acc(1, "older", 8), acc(2, "other", 1)))
	equal(t, "result", r, Result{Read: 2, New: 1, Unchanged: 1})
	equal(t, "name", ask[string](w, "SELECT name FROM salesforce.account WHERE systemmodstamp = $1", mark.Add(time.Hour+9*time.Second)), "newer")
	// A formula changes without the stamp.
	r = w.change("Account", mark, mark, rows(accountColumns, acc(1, "newest", 9)))
	equal(t, "same stamp", r, Result{Read: 1, Changed: 1})
}

// Records that are as they were cost no WAL: neither are they written, nor locked.
func TestUnchangedRecordsWriteNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, accs(5000, 0)...))
	b, err := w.db.Changes(w.ctx, "Account")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Rollback()
	// Other tests write to the same server, so what is measured is this transaction's own: its records and its locks.
	r, err := b.Apply(w.ctx, rows(accountColumns, accs(5000, 0)...))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "result", r, Result{Read: 5000, Unchanged: 5000})
	equal(t, "rows written", ask[int64](w, "SELECT pg_stat_get_xact_tuples_updated('salesforce.account'::regclass)"), 0)
	if err := b.Commit(w.ctx, mark, mark); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows locked or replaced", ask[int](w, "SELECT count(*) FROM salesforce.account WHERE xmax <> 0"), 0)
}

func TestTombstones(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	all := accs(5, 0)
	all[4][4] = stampAt(100)
	w.change("Account", time.Time{}, mark, rows(accountColumns, all...))
	b, err := w.db.Changes(w.ctx, "Account")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Rollback()
	at := mark.Add(time.Hour + 10*time.Second)
	var ids []DeletedID
	for _, n := range []int{1, 2, 2, 5, 99} { // 2 is listed twice, 5 was changed after it was deleted, 99 is unknown
		ids = append(ids, DeletedID{ID: sobjectID(n), At: at})
	}
	n, err := b.Tombstone(w.ctx, ids)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "marked", n, 2)
	if n, err = b.Tombstone(w.ctx, ids); err != nil || n != 0 {
		t.Errorf("marked again: %d, %v", n, err)
	}
	if err := b.DeletedThrough(w.ctx, at, at.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(w.ctx, mark, at); err != nil {
		t.Fatal(err)
	}
	w.sumUp("Account", Result{})
	equal(t, "deleted", ask[string](w, "SELECT string_agg(name, ', ' ORDER BY sfid) FROM salesforce.account WHERE isdeleted"), "Account 1, Account 2")
	m, err := w.db.Watermark(w.ctx, "Account")
	if err != nil || !m.At.Equal(at) || !m.DeletedThrough.Equal(at) || !m.DeletedAskedAt.Equal(at.Add(time.Second)) {
		t.Errorf("watermark %+v, %v", m, err)
	}

	// An object whose records do not say that they are deleted: the row goes.
	w.ensure(schema("Group", "Name:string", "SystemModstamp:datetime"))
	w.change("Group", time.Time{}, mark, rows("Id Name SystemModstamp", []string{id("00G", 1), "Queue", stampAt(0)}, []string{id("00G", 2), "Other", stampAt(0)}))
	b, err = w.db.Changes(w.ctx, "Group")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Rollback()
	if n, err := b.Tombstone(w.ctx, []DeletedID{{ID: sobject.ID(id("00G", 1)), At: at}}); err != nil || n != 1 {
		t.Fatalf("tombstone of a group: %d, %v", n, err)
	}
	if err := b.Commit(w.ctx, mark, at); err != nil {
		t.Fatal(err)
	}
	equal(t, "groups", ask[string](w, `SELECT string_agg(name, ', ') FROM salesforce."group"`), "Other")
	equal(t, "counted", ask[int64](w, `SELECT records FROM mirror.objects WHERE object = 'Group'`), 1)
}

func TestWatermarkIsComparedAndNeverMovesBackward(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, accs(3, 0)...))
	for name, from := range map[string]time.Time{"as if nothing was read": {}, "another time": mark.Add(time.Second)} {
		b, err := w.db.Changes(w.ctx, "Account")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Apply(w.ctx, rows(accountColumns, acc(9, "x", 0))); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(w.ctx, from, mark.Add(time.Hour)); !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v, want ErrStale", name, err)
		}
		b.Rollback()
		if _, err := b.Apply(w.ctx, rows(accountColumns)); err == nil {
			t.Error("a batch that is over takes records")
		}
	}
	equal(t, "records", ask[int](w, "SELECT count(*) FROM salesforce.account"), 3)
	w.change("Account", mark, mark.Add(-time.Hour))
	if m, _ := w.db.Watermark(w.ctx, "Account"); !m.At.Equal(mark) {
		t.Errorf("the watermark moved backward to %s", m.At)
	}
	if _, err := w.pool.Exec(w.ctx, "UPDATE mirror.watermarks SET watermark = watermark - interval '1 second'"); err == nil || !strings.Contains(err.Error(), "backward") {
		t.Errorf("SQL moved the watermark backward: %v", err)
	}
	// A reading of all records commits beside readings of changes that moved the watermark meanwhile, and does not move it back.
	w.change("Account", mark, mark.Add(time.Hour))
	b, err := w.db.Changes(w.ctx, "Account")
	if err != nil {
		t.Fatal(err)
	}
	b.Whole([]string{"Id", "Name"})
	if _, err := b.Apply(w.ctx, rows(accountColumns, accs(3, 0)...)); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(w.ctx, mark, mark.Add(time.Minute)); err != nil {
		t.Errorf("a reading of all records: %v", err)
	}
	if m, _ := w.db.Watermark(w.ctx, "Account"); !m.At.Equal(mark.Add(time.Hour)) {
		t.Errorf("a reading of all records moved the watermark to %s", m.At)
	}
	// A load that began before does not move it backward either.
	l := w.load("Account", LoadResync)
	if l.Direct {
		t.Error("a resync is direct")
	}
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, accs(3, 0)...), "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.FinishLoad(w.ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	if m, _ := w.db.Watermark(w.ctx, "Account"); !m.At.Equal(mark.Add(time.Hour)) {
		t.Errorf("a load moved the watermark to %s", m.At)
	}
}

// What the org said of its open transactions counts with the read that it was asked for: not before, not without it, and a load
// that ends late does not take back what a later read was told.
func TestCoveredCommitsWithItsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	covered := func(want time.Time) {
		t.Helper()
		if m, err := w.db.Watermark(w.ctx, "Account"); err != nil || !m.CoveredAt.Equal(want) {
			t.Errorf("covered through %s, %v, want %s", m.CoveredAt, err, want)
		}
	}
	read := func(from, to time.Time, c Covered, commit bool) {
		t.Helper()
		b, err := w.db.Changes(w.ctx, "Account")
		if err != nil {
			t.Fatal(err)
		}
		defer b.Rollback()
		if err := b.Covered(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		if commit {
			if err := b.Commit(w.ctx, from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	read(time.Time{}, mark, Covered{Through: mark.Add(-time.Hour), AskedAt: mark}, true)
	covered(mark.Add(-time.Hour))
	read(mark, mark, Covered{Through: mark, AskedAt: mark.Add(time.Minute)}, false)
	covered(mark.Add(-time.Hour))
	read(mark, mark, Covered{}, true) // the org was not asked
	covered(mark.Add(-time.Hour))

	l, err := w.db.StartLoad(w.ctx, Load{Object: "Account", RunID: 1, Kind: LoadResync, JobID: "750xx", SOQL: "SELECT", Fields: []string{"Id"}, Watermark: mark, Covered: Covered{Through: mark.Add(time.Minute), AskedAt: mark.Add(2 * time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	covered(mark.Add(-time.Hour))
	if err := w.db.PlanPage(w.ctx, l.ID, 1, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, accs(3, 0)...), "", true); err != nil {
		t.Fatal(err)
	}
	later := Covered{Through: mark.Add(3 * time.Minute), AskedAt: mark.Add(4 * time.Minute)}
	read(mark, mark.Add(time.Hour), later, true)
	if _, err := w.db.FinishLoad(w.ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	covered(later.Through)
}

// The account of loads is not kept for ever, and that of an open one is never removed.
func TestOldLoadsAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	for _, kind := range []LoadKind{LoadResync, LoadFirst} {
		l, err := w.db.StartLoad(w.ctx, Load{Object: "Account", RunID: 1, Kind: kind, JobID: "750xx", SOQL: "SELECT", Fields: []string{"Id"}, Watermark: mark})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.db.PlanPage(w.ctx, l.ID, 1, ""); err != nil {
			t.Fatal(err)
		}
		if kind == LoadResync {
			if err := w.db.AbandonLoad(w.ctx, l.ID, "enough"); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func(want int) {
		t.Helper()
		if err := w.db.PruneLoads(w.ctx); err != nil {
			t.Fatal(err)
		}
		var loads, pages int
		if err := w.pool.QueryRow(w.ctx, `SELECT (SELECT count(*) FROM mirror.loads), (SELECT count(*) FROM mirror.load_pages)`).Scan(&loads, &pages); err != nil || loads != want || pages != want {
			t.Errorf("%d loads with %d pages are left, %v, want %d", loads, pages, err, want)
		}
	}
	left(2)
	if _, err := w.pool.Exec(w.ctx, `UPDATE mirror.loads SET started_at = started_at - interval '40 days', ended_at = ended_at - interval '40 days'`); err != nil {
		t.Fatal(err)
	}
	left(1)
	if n, err := w.db.AbandonedLoads(w.ctx, 1); err != nil || n != 0 {
		t.Errorf("%d abandoned loads, %v, want none", n, err)
	}
}

func TestLoadsAndPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.db.StartLoad(w.ctx, Load{Object: "Account", Kind: LoadFirst, Watermark: mark}); !errors.Is(err, ErrNoTable) {
		t.Errorf("a load without a table: %v, want ErrNoTable", err)
	}
	if _, err := w.db.Changes(w.ctx, "Account"); !errors.Is(err, ErrNoTable) {
		t.Errorf("changes without a table: %v, want ErrNoTable", err)
	}
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	again := w.load("Account", LoadChanges)
	equal(t, "the open load is the answer", again.ID, l.ID)
	if err := w.db.PlanPage(w.ctx, l.ID, 2, "b"); err != nil {
		t.Fatal(err)
	}
	if err := w.db.PlanPage(w.ctx, l.ID, 2, "c"); err != nil {
		t.Fatal(err)
	}
	if p, err := w.db.Page(w.ctx, l.ID, 2); err != nil || p.Locator != "c" {
		t.Errorf("page 2 is %+v, %v; want the later locator", p, err)
	}
	if _, err := w.db.Page(w.ctx, l.ID, 3); !errors.Is(err, ErrNoLoad) {
		t.Errorf("a page that was not planned: %v", err)
	}
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 2, Locator: "c"}, rows(accountColumns, accs(2, 0)...), "", true); err != nil {
		t.Fatal(err)
	}
	if err := w.db.PlanPage(w.ctx, l.ID, 2, "d"); err == nil {
		t.Error("a page that is done was planned elsewhere")
	}
	if err := w.db.SetLoadExpected(w.ctx, l.ID, 7); err != nil {
		t.Fatal(err)
	}
	equal(t, "status", ask[string](w, "SELECT format('%s %s %s', load_kind, load_expected, load_read) FROM mirror.object_status"), "first 7 2")
	if _, _, _, err := w.db.LoadProgress(w.ctx, 99); !errors.Is(err, ErrNoLoad) {
		t.Errorf("an unknown load: %v", err)
	}
}

// A page that cannot be of the object is an error, and no panic.
func TestPageThatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	for name, p := range map[string]*page{
		"no id":          rows("Name", []string{"x"}),
		"unknown column": rows("Id Colour", []string{id("001", 1), "x"}),
		"column twice":   rows("Id Name name", []string{id("001", 1), "x", "y"}),
		"short record":   rows("Id Name", []string{id("001", 1)}),
		"long record":    rows("Id Name", []string{id("001", 1), "x", "y"}),
	} {
		if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, p, "", true); !errors.Is(err, ErrPage) {
			t.Errorf("%s: %v, want ErrPage", name, err)
		}
	}
	// Fewer columns are fine: what the page does not bring stays.
	w.change("Account", time.Time{}, mark, rows(accountColumns, acc(1, "kept", 1)))
	w.change("Account", mark, mark, rows("Id NumberOfEmployees", []string{id("001", 1), "77"}), rows("Id", []string{id("001", 1)}))
	equal(t, "row", ask[string](w, "SELECT format('%s %s', name, numberofemployees) FROM salesforce.account"), "kept 77")
}
