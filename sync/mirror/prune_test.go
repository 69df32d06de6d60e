package mirror

import (
	"testing"
)

// What is settled goes when it is older than the history, what is open stays however old, and what a page shows last stays too.
func TestPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	const old, new = "now() - interval '400 days'", "now() - interval '30 days'"
	for _, at := range []string{old, new} {
		w.exec(`INSERT INTO mirror.refusals (object, direction, record, code, message, resolved_at) VALUES ('Account', 'in', 'r', 'c', 'm', ` + at + `)`)
		w.exec(`INSERT INTO mirror.conflicts (object, sfid, field, winner, reason, closed_at) VALUES ('Account', 's', 'f', 'local', 'r', ` + at + `)`)
		w.exec(`INSERT INTO mirror.settled (seq, object, row_id, operation, base, changed, made_by, application, made_at, outcome, settled_at)
			VALUES ((SELECT count(*) + 1 FROM mirror.settled), 'Account', 1, 'update', '{}', '{}', '', '', now(), 'accepted', ` + at + `)`)
		w.exec(`INSERT INTO mirror.differences (object, sfid, kind, check_id, mended_at) VALUES ('Account', 's', 'extra', 1, ` + at + `)`)
		w.exec(`INSERT INTO mirror.claims (id, object, run_id, operation, made_at) VALUES (gen_random_uuid(), 'Account', 1, 'update', ` + at + `)`)
		w.exec(`INSERT INTO mirror.checks (object, run_id, fields, state, started_at, ended_at) VALUES ('Account', (SELECT count(*) + 1 FROM mirror.checks), '{Id}', 'done', ` + at + `, ` + at + `)`)
	}
	w.exec(`INSERT INTO mirror.refusals (object, direction, record, code, message, first_seen_at) VALUES ('Account', 'in', 'open', 'c', 'm', ` + old + `)`)
	// Of conflicts nobody has looked at, one that was decided is history like any other; one of which a person is asked is not.
	w.exec(`INSERT INTO mirror.conflicts (object, sfid, field, winner, reason, found_at) VALUES ('Account', 's', 'unseen', 'local', 'r', ` + old + `), ('Account', 's', 'recent', 'local', 'r', ` + new + `), ('Account', 's', 'asked', '', '', ` + old + `)`)
	w.exec(`INSERT INTO mirror.differences (object, sfid, kind, check_id, found_at) VALUES ('Account', 'open', 'extra', 1, ` + old + `)`)
	// A claim of what is still on its way, a check that nobody goes on with and its scratch, and one that is under way.
	w.exec(`INSERT INTO mirror.outbox (object, row_id, operation, state, claim) SELECT 'Account', 1, 'update', 'claimed', id FROM mirror.claims ORDER BY made_at LIMIT 1`)
	w.exec(`UPDATE mirror.claims c SET seqs = ARRAY(SELECT o.seq FROM mirror.outbox o WHERE o.claim = c.id)`)
	w.exec(`INSERT INTO mirror.checks (object, run_id, fields, started_at) VALUES ('Account', 90, '{Id}', ` + old + `), ('Account', 91, '{Id}', now())`)
	w.exec(`INSERT INTO mirror.check_seen SELECT id, 'x', 1 FROM mirror.checks WHERE run_id IN (90, 91)`)
	// Where programs write all day, far more grows old between two looks than one statement removes.
	w.exec(`INSERT INTO mirror.settled (seq, object, row_id, operation, base, changed, made_by, application, made_at, outcome, settled_at)
		SELECT 100 + n, 'Account', 1, 'update', '{}', '{}', '', '', now(), 'accepted', ` + old + ` FROM generate_series(1, 12000) n`)
	if err := w.db.Prune(w.ctx); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{
		"refusals": 2, "conflicts": 3, "settled": 1, "differences": 2, "claims": 1, "checks": 2, "check_seen": 1,
	} {
		equal(t, table, ask[int](w, `SELECT count(*) FROM mirror.`+table), want)
	}
	equal(t, "conflicts that nobody closed", ask[string](w, `SELECT string_agg(field, ' ' ORDER BY field) FROM mirror.open_conflicts`), "asked recent")
	// The only check of an object stays, however old: the page rests on it.
	w.exec(`UPDATE mirror.checks SET started_at = ` + old + `, ended_at = ` + old + ` WHERE state = 'done'`)
	if err := w.db.Prune(w.ctx); err != nil {
		t.Fatal(err)
	}
	equal(t, "done checks", ask[int](w, `SELECT count(*) FROM mirror.checks WHERE state = 'done'`), 1)
}
