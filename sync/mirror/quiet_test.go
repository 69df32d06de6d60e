package mirror

import "testing"

// A first load leaves out the triggers that are ours, and never one of somebody else's.
func TestFirstLoadMindsTheTriggersOfOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		triggers []string
		fired    int
	}{
		{[]string{"tandem_capture"}, 0},
		{[]string{"tandem_capture", "theirs"}, 40}, // both, for each of 20 records
	} {
		w := newWorld(t)
		w.ensure(account())
		if _, err := w.pool.Exec(w.ctx, `CREATE TABLE public.fired (n int); CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (1); RETURN NULL; END $$`); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.triggers {
			if _, err := w.pool.Exec(w.ctx, `CREATE TRIGGER `+name+` AFTER INSERT ON salesforce.account FOR EACH ROW EXECUTE FUNCTION public.fire()`); err != nil {
				t.Fatal(err)
			}
		}
		l := w.load("Account", LoadFirst)
		r, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, accs(20, 0)...), "", true)
		if err != nil || r.New != 20 {
			t.Fatalf("%+v, %v", r, err)
		}
		var fired int
		var role string
		if err := w.pool.QueryRow(w.ctx, `SELECT (SELECT count(*) FROM public.fired), current_setting('session_replication_role')`).Scan(&fired, &role); err != nil || fired != c.fired || role != "origin" {
			t.Errorf("with the triggers %q: %d firings, want %d (%s, %v)", c.triggers, fired, c.fired, role, err)
		}
	}
}
