package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// leaves tells whether a change of this outcome leaves the outbox.
func (o Outcome) leaves() bool {
	switch o {
	case Refused, Retry, Released:
		return false
	}
	return true
}

// known tells whether the outcome is one.
func (o Outcome) known() bool {
	switch o {
	case Accepted, Already, Conflicted, Dropped, Superseded, Restored, Linked, Refused, Retry, Released:
		return true
	}
	return false
}

// Settle keeps what became of changes, all of them in one transaction. What was settled before, or does not carry its claim any more,
// is passed over (Invariant 5). It gives how many counted.
func (db *DB) Settle(ctx context.Context, settlements []Settlement) (int, error) {
	byObject := map[string][]*settling{}
	for _, s := range settlements {
		if !s.Outcome.known() {
			return 0, fmt.Errorf("settle row %d of %s: %q is not an outcome", s.RowID, s.Object, s.Outcome)
		}
		byObject[s.Object] = append(byObject[s.Object], &settling{Settlement: s})
	}
	var objects []string
	for o := range byObject {
		objects = append(objects, o)
	}
	slices.Sort(objects)
	tx, err := db.asEngine(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	// Readers that bring the same records wait, so that what they know of a row is never half settled.
	for _, o := range objects {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, hashtext($2))`, lockRows, o); err != nil {
			return 0, fmt.Errorf("take turns in changing %s: %w", o, err)
		}
	}
	if err := takeTurns(ctx, tx, objects...); err != nil {
		return 0, err
	}
	counted := 0
	for _, o := range objects {
		s := settlement{tx: tx, object: o, list: byObject[o]}
		if s.table, s.wire, err = db.wire(ctx, tx, o); err != nil {
			return 0, err
		}
		n, err := s.run(ctx)
		if err != nil {
			return 0, fmt.Errorf("settle changes of %s: %w", o, err)
		}
		counted += n
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, fmt.Errorf("settle changes: %w", err)
	}
	return counted, nil
}

// IsForbidden tells whether the database forbids what was to be written: by a constraint or a trigger of people's own, or for a value that a
// column cannot hold. Trying again does not mend it.
func IsForbidden(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23") || pg.Code == "P0001")
}

// settlement is the settling of one object's changes in one transaction.
type settlement struct {
	tx            pgx.Tx
	object        string
	table         *Table
	wire          wire
	list          []*settling
	rows          map[int64]rowNow
	pending       map[int64]map[string]bool // columns of which an edit stays, by row
	live, deleted int64                     // what the settling changes in the object's counts
}

// settling is one settlement at work.
type settling struct {
	Settlement
	edits  []edit                     // of the outbox, as claimed
	cells  map[string]json.RawMessage // of the row that was the same record
	theirs []string                   // columns that were edited in that row, and not in this one
	merged bool

	apartChanged, apartBase map[string]json.RawMessage // what is refused alone
}

// rowNow is a row of the object's table as it is, locked.
type rowNow struct {
	sfid  string
	stamp time.Time
}

func (s *settlement) run(ctx context.Context) (int, error) {
	if err := s.find(ctx); err != nil || len(s.list) == 0 {
		return 0, err
	}
	for _, step := range []func(context.Context) error{
		s.lock, s.closeRefusals, s.setApart, s.merge, s.restore, s.move, s.keepConflicts, s.findPending, s.write,
		s.refuse, s.account, s.tellChildren, s.tidy,
	} {
		if err := step(ctx); err != nil {
			return 0, err
		}
	}
	return len(s.list), nil
}

// find keeps those settlements whose edits are still theirs.
func (s *settlement) find(ctx context.Context) error {
	var all []int64
	for _, l := range s.list {
		all = append(all, l.Seqs...)
	}
	edits, err := collectEdits(s.tx.Query(ctx, `SELECT `+editColumns+` FROM mirror.outbox WHERE object = $1 AND state = 'claimed' AND seq = ANY($2) ORDER BY seq FOR UPDATE`, s.object, all))
	if err != nil {
		return err
	}
	bySeq := map[int64]edit{}
	for _, e := range edits {
		bySeq[e.seq] = e
	}
	s.list = slices.DeleteFunc(s.list, func(l *settling) bool {
		for _, seq := range l.Seqs {
			if e, ok := bySeq[seq]; ok && e.claim == l.Claim && e.rowID == l.RowID {
				l.edits = append(l.edits, e)
				delete(bySeq, seq)
			}
		}
		return len(l.edits) == 0
	})
	return nil
}

func (s *settlement) rowIDs() []int64 {
	ids := make([]int64, len(s.list))
	for i, l := range s.list {
		ids[i] = l.RowID
	}
	return ids
}

// lock takes the rows: whoever edits one at this moment ends first, and what they did is in the outbox for the steps that follow.
func (s *settlement) lock(ctx context.Context) error {
	stamp := "NULL::timestamptz"
	if s.table.has("systemmodstamp") {
		stamp = "systemmodstamp"
	}
	rows, err := s.tx.Query(ctx, fmt.Sprintf(`SELECT id, coalesce(sfid, ''), %s FROM %s WHERE id = ANY($1) ORDER BY id FOR UPDATE`, stamp, s.table.name()), s.rowIDs())
	if err != nil {
		return err
	}
	s.rows = map[int64]rowNow{}
	var id int64
	var sfid string
	var at *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &sfid, &at}, func() error { s.rows[id] = rowNow{sfid, fromNull(at)}; return nil })
	return err
}

// closeRefusals resolves what was refused of changes that now leave the outbox.
func (s *settlement) closeRefusals(ctx context.Context) error {
	var ids []int64
	for _, l := range s.list {
		if l.Outcome.leaves() {
			ids = append(ids, l.RowID)
		}
	}
	_, err := s.tx.Exec(ctx, `UPDATE mirror.refusals SET resolved_at = now() WHERE object = $1 AND direction = 'out' AND resolved_at IS NULL AND row_id = ANY($2)`, s.object, ids)
	return err
}

// merge makes one row of two where a read brought a record as a row of its own before its making was settled here. The row that
// people know keeps its id; what points to the other points to it.
func (s *settlement) merge(ctx context.Context) error {
	bySFID := map[string]*settling{}
	var sfids []string
	for _, l := range s.list {
		sfid := l.SFID
		if l.Outcome == Restored {
			sfid = l.edits[len(l.edits)-1].sfid
		} else if _, here := s.rows[l.RowID]; !here {
			continue
		}
		if sfid != "" && l.Outcome.leaves() {
			bySFID[sfid] = l
			sfids = append(sfids, sfid)
		}
	}
	if len(sfids) == 0 {
		return nil
	}
	gone := "false"
	if s.table.HasIsDeleted() {
		gone = "coalesce(isdeleted, false)"
	}
	rows, err := s.tx.Query(ctx, fmt.Sprintf(`SELECT id, sfid, %s, to_jsonb(t) - 'id' - 'sfid' FROM %s t WHERE sfid = ANY($1) ORDER BY id FOR UPDATE`, gone, s.table.name()), sfids)
	if err != nil {
		return err
	}
	type double struct {
		id    int64
		sfid  string
		gone  bool
		cells map[string]json.RawMessage
	}
	doubles, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (d double, err error) {
		return d, r.Scan(&d.id, &d.sfid, &d.gone, &d.cells)
	})
	if err != nil {
		return err
	}
	for _, d := range doubles {
		l := bySFID[d.sfid]
		if d.id == l.RowID {
			continue
		}
		err := s.tx.QueryRow(ctx, `SELECT coalesce(array_agg(DISTINCT k), '{}') FROM (
				SELECT jsonb_object_keys(changed) AS k FROM mirror.outbox WHERE object = $1 AND row_id = $2
				EXCEPT SELECT jsonb_object_keys(changed) FROM mirror.outbox WHERE object = $1 AND row_id = $3 AND seq <> ALL($4)) w`,
			s.object, d.id, l.RowID, seqs(l.edits)).Scan(&l.theirs)
		if err != nil {
			return err
		}
		if err := s.repoint(ctx, d.id, l.RowID); err != nil {
			return err
		}
		l.cells, l.merged = d.cells, true
		if l.Outcome == Restored {
			// Both count: the one that was deleted never left the count, for Salesforce has it.
			if d.gone {
				s.deleted--
			} else {
				s.live--
			}
		}
	}
	return nil
}

// repoint lets everything that knows a row know another, and removes it.
func (s *settlement) repoint(ctx context.Context, from, to int64) error {
	rows, err := s.tx.Query(ctx, `SELECT c.conrelid::regclass::text, quote_ident(a.attname) FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
		WHERE c.contype = 'f' AND c.confrelid = $1::regclass AND cardinality(c.conkey) = 1
		AND c.confkey[1] = (SELECT attnum FROM pg_attribute WHERE attrelid = c.confrelid AND attname = 'id')`, s.table.name())
	if err != nil {
		return err
	}
	var table, column string
	var own []string
	if _, err := pgx.ForEachRow(rows, []any{&table, &column}, func() error {
		own = append(own, fmt.Sprintf("UPDATE %s SET %s = $2 WHERE %[2]s = $1", table, column))
		return nil
	}); err != nil {
		return err
	}
	if _, here := s.rows[to]; here {
		// Tables of people's own that refer to the row by its id.
		for _, sql := range own {
			if _, err := s.tx.Exec(ctx, sql, from, to); err != nil {
				return fmt.Errorf("let tables that refer to row %d refer to row %d, which is the same record: %w", from, to, err)
			}
		}
	}
	var b pgx.Batch
	b.Queue(`UPDATE mirror.outbox SET row_id = $3 WHERE object = $1 AND row_id = $2`, s.object, from, to)
	b.Queue(`UPDATE mirror.settled SET row_id = $3 WHERE object = $1 AND row_id = $2`, s.object, from, to)
	b.Queue(`UPDATE mirror.conflicts c SET row_id = $3 WHERE object = $1 AND row_id = $2`, s.object, from, to)
	b.Queue(`UPDATE mirror.refusals SET row_id = $3::bigint, record = 'local:' || $3::bigint WHERE object = $1 AND row_id = $2 AND direction = 'out'`, s.object, from, to)
	b.Queue(`DELETE FROM mirror.held WHERE object = $1 AND row_id = $2`, s.object, to)
	b.Queue(`UPDATE mirror.held SET row_id = $3 WHERE object = $1 AND row_id = $2`, s.object, from, to)
	b.Queue(`UPDATE mirror.links l SET row_id = $3 WHERE object = $1 AND row_id = $2 AND NOT EXISTS (SELECT FROM mirror.links x WHERE x.object = $1 AND x.row_id = $3 AND x.column_name = l.column_name)`, s.object, from, to)
	b.Queue(fmt.Sprintf(`DELETE FROM %s WHERE id = $1`, s.table.name()), from)
	return s.tx.SendBatch(ctx, &b).Close()
}

// restore puts rows back whose deletion is not allowed. Their other edits wait again: they were made, and are still to be sent.
func (s *settlement) restore(ctx context.Context) error {
	for _, l := range s.list {
		if l.Outcome != Restored {
			continue
		}
		last := l.edits[len(l.edits)-1]
		if last.operation != Delete {
			return fmt.Errorf("row %d was not deleted and cannot be restored", l.RowID)
		}
		base := map[string]json.RawMessage{}
		for name, value := range last.base {
			base[name] = value
		}
		for name, value := range l.cells {
			base[name] = value
		}
		if last.sfid != "" {
			// A row that was deleted while its record was made had no id yet.
			id, err := json.Marshal(last.sfid)
			if err != nil {
				return err
			}
			base["sfid"] = id
		}
		stay := l.edits[:len(l.edits)-1]
		for _, e := range stay {
			for name := range e.changed {
				base[name] = last.base[name]
			}
		}
		var back bool
		if err := s.tx.QueryRow(ctx, `SELECT mirror.put_back($1, $2, $3, $4::jsonb)`, short(s.table.schema.Table()), s.object, l.RowID, base).Scan(&back); err != nil {
			return fmt.Errorf("put row %d back: %w", l.RowID, err)
		}
		l.cells, l.theirs = nil, nil
		s.rows[l.RowID] = rowNow{sfid: last.sfid}
		if len(stay) > 0 {
			// What people had changed before they deleted the row is in it again.
			if _, err := s.tx.Exec(ctx, `UPDATE mirror.outbox SET state = 'waiting', claim = NULL WHERE seq = ANY($1)`, seqs(stay)); err != nil {
				return err
			}
		}
		l.edits = l.edits[len(l.edits)-1:]
	}
	return nil
}

// move takes edits out of the outbox into the history, or sets them waiting.
func (s *settlement) move(ctx context.Context) error {
	var b pgx.Batch
	for _, l := range s.list {
		switch l.Outcome {
		case Refused:
			b.Queue(`UPDATE mirror.outbox SET state = 'refused', claim = NULL, attempts = 0, retry_at = NULL WHERE seq = ANY($1)`, seqs(l.edits))
		case Retry:
			b.Queue(`UPDATE mirror.outbox SET state = 'waiting', claim = NULL, attempts = attempts + 1, retry_at = $2 WHERE seq = ANY($1)`, seqs(l.edits), nullTime(l.RetryAt))
		case Released:
			b.Queue(`UPDATE mirror.outbox SET state = 'waiting', claim = NULL, retry_at = NULL WHERE seq = ANY($1)`, seqs(l.edits))
		default:
			b.Queue(`WITH gone AS (DELETE FROM mirror.outbox WHERE seq = ANY($1) RETURNING *)
				INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome, run_id, by, reason, made)
				SELECT seq, object, row_id, coalesce(sfid, nullif($2, '')), operation, base, changed, made_by, application, made_at, $3, $4, $5, $6,
					sfid IS NULL AND $3 IN ('accepted', 'linked') FROM gone`,
				seqs(l.edits), l.SFID, string(l.Outcome), l.RunID, l.By, l.Reason)
		}
		if l.SFID != "" && l.Outcome.leaves() {
			// Edits that were made meanwhile are now edits of that record.
			b.Queue(`UPDATE mirror.outbox SET sfid = $3 WHERE object = $1 AND row_id = $2 AND sfid IS NULL`, s.object, l.RowID, l.SFID)
		}
	}
	return s.tx.SendBatch(ctx, &b).Close()
}

// keepConflicts stores the conflicts, takes their fields out of edits that stay, and closes questions that the change has answered.
func (s *settlement) keepConflicts(ctx context.Context) error {
	var b pgx.Batch
	for _, l := range s.list {
		last := l.edits[len(l.edits)-1]
		sfid := l.SFID
		if sfid == "" {
			sfid = last.sfid
		}
		var clashed []string
		for _, c := range l.Conflicts {
			column, ok := s.wire.by[strings.ToLower(c.Field)]
			if !ok {
				return fmt.Errorf("row %d has a conflict in %q, which is no field of it", l.RowID, c.Field)
			}
			clashed = append(clashed, column.name)
			// Who edited the field, and when: the row's last edit may be of another.
			edited := last
			for _, e := range slices.Backward(l.edits) {
				if _, ok := e.changed[column.name]; ok {
					edited = e
					break
				}
			}
			b.Queue(`INSERT INTO mirror.conflicts (object, sfid, field, column_name, base, local, remote, winner, reason, row_id, run_id, made_by, made_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
				ON CONFLICT (object, row_id, column_name) WHERE winner = '' AND closed_at IS NULL DO UPDATE SET local = excluded.local, remote = excluded.remote,
					reason = excluded.reason, run_id = excluded.run_id, made_by = excluded.made_by, made_at = excluded.made_at`,
				s.object, sfid, column.field, column.name, c.Base, c.Local, c.Remote, c.Winner, c.Reason, l.RowID, l.RunID, edited.by, edited.at)
		}
		if l.Outcome.leaves() {
			var answered []string
			for _, e := range l.edits {
				for name := range e.changed {
					if !slices.Contains(clashed, name) {
						answered = append(answered, name)
					}
				}
			}
			if l.Outcome != Dropped && l.Outcome != Restored && len(answered) > 0 {
				b.Queue(`UPDATE mirror.conflicts SET closed_at = now(), closed_by = $4, outcome = 'local' WHERE object = $1 AND row_id = $2 AND column_name = ANY($3) AND winner = '' AND closed_at IS NULL`,
					s.object, l.RowID, answered, last.by)
			}
		} else if len(clashed) > 0 {
			b.Queue(`UPDATE mirror.outbox SET base = base - $2::text[], changed = changed - $2::text[] WHERE seq = ANY($1) AND operation = 'update'`, seqs(l.edits), clashed)
			b.Queue(`WITH gone AS (DELETE FROM mirror.outbox WHERE seq = ANY($1) AND operation = 'update' AND changed = '{}' RETURNING *)
				INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome, run_id)
				SELECT seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, 'conflict', $2 FROM gone`, seqs(l.edits), l.RunID)
		}
	}
	return s.tx.SendBatch(ctx, &b).Close()
}

// findPending looks up what else waits of the rows: their columns keep what people wrote.
func (s *settlement) findPending(ctx context.Context) error {
	rows, err := s.tx.Query(ctx, `SELECT o.row_id, k FROM mirror.outbox o CROSS JOIN LATERAL jsonb_object_keys(o.changed) k WHERE o.object = $1 AND o.row_id = ANY($2)
		UNION SELECT row_id, column_name FROM mirror.conflicts WHERE object = $1 AND row_id = ANY($2) AND winner = '' AND closed_at IS NULL`, s.object, s.rowIDs())
	if err != nil {
		return err
	}
	s.pending = map[int64]map[string]bool{}
	var id int64
	var name string
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		if s.pending[id] == nil {
			s.pending[id] = map[string]bool{}
		}
		s.pending[id][name] = true
		return nil
	})
	return err
}

// write brings the rows to what Salesforce holds now, but for what people edited again.
func (s *settlement) write(ctx context.Context) error {
	type target struct {
		Row   int64                      `json:"row"`
		Cells map[string]json.RawMessage `json:"cells"`
	}
	var targets []target
	columns := map[string]bool{}
	for _, l := range s.list {
		now, here := s.rows[l.RowID]
		if !here {
			continue
		}
		cells := map[string]json.RawMessage{}
		for name, value := range l.cells {
			if _, ok := s.wire.field[name]; ok {
				cells[name] = value
			}
		}
		own := map[string]bool{}
		for _, e := range l.edits {
			for name := range e.changed {
				own[name] = true
			}
		}
		set := func(field string, value *string) {
			c, ok := s.wire.by[strings.ToLower(field)]
			// A record that was read after the change is newer than what the sender knows of other fields.
			if !ok || c.name == "sfid" || now.stamp.After(l.Stamp) && !l.Stamp.IsZero() && !own[c.name] {
				return
			}
			if raw, ok := cellJSON(c.kind, value); ok {
				cells[c.name] = raw
			}
		}
		for _, c := range l.Conflicts {
			if c.Winner == WinnerSalesforce {
				set(c.Field, c.Remote)
			}
		}
		for field, value := range l.Values {
			set(field, value)
		}
		for name := range s.pending[l.RowID] {
			if slices.Contains(l.theirs, name) {
				cells[name] = l.cells[name]
			} else {
				delete(cells, name)
			}
		}
		if l.Outcome.leaves() && l.SFID != "" && now.sfid != l.SFID {
			if now.sfid != "" {
				return fmt.Errorf("row %d has the sfid %s and was settled as %s", l.RowID, now.sfid, l.SFID)
			}
			cells["sfid"] = quoted(l.SFID)
		}
		if l.Outcome.leaves() && s.table.has("systemmodstamp") && l.Stamp.After(now.stamp) {
			var read time.Time
			_ = json.Unmarshal(cells["systemmodstamp"], &read)
			if l.Stamp.After(read) {
				cells["systemmodstamp"] = quoted(l.Stamp.UTC().Format(time.RFC3339Nano))
			}
		}
		if len(cells) == 0 {
			continue
		}
		for name := range cells {
			columns[name] = true
		}
		targets = append(targets, target{l.RowID, cells})
	}
	if len(targets) == 0 {
		return nil
	}
	var set []string
	for name := range columns {
		set = append(set, fmt.Sprintf("%[1]s = CASE WHEN v.cells ? %[2]s THEN v.%[1]s ELSE t.%[1]s END", quote(name), literal(name)))
	}
	slices.Sort(set)
	names := make([]string, 0, len(columns))
	for name := range columns {
		names = append(names, "p."+quote(name))
	}
	_, err := s.tx.Exec(ctx, fmt.Sprintf(`UPDATE %[1]s t SET %[2]s FROM (
			SELECT (x ->> 'row')::bigint AS row, x -> 'cells' AS cells, %[3]s FROM jsonb_array_elements($1::jsonb) x, jsonb_populate_record(NULL::%[1]s, x -> 'cells') p
		) v WHERE t.id = v.row`, s.table.name(), strings.Join(set, ", "), strings.Join(names, ", ")), pgx.QueryExecModeExec, jsonText(targets))
	if err != nil {
		return fmt.Errorf("write what was accepted: %w", err)
	}
	return nil
}

// jsonText is a value as JSON, for a statement that is sent without being prepared.
func jsonText(v any) string {
	b, _ := json.Marshal(v) // maps and texts of our own making
	return string(b)
}

func quoted(s string) json.RawMessage { return json.RawMessage(jsonText(s)) }

// cellJSON writes a value for jsonb_populate_record, false if the column cannot hold it (Invariant 6: it stays as it was; the next
// read sets the record aside with the reason).
func cellJSON(k kind, value *string) (json.RawMessage, bool) {
	if value == nil || *value == "" {
		return json.RawMessage("null"), true
	}
	v := *value
	if _, f := appendCell(nil, k, []byte(v)); f != fit {
		return nil, false
	}
	if k == kindTime {
		v = strings.TrimSuffix(v, "Z")
	}
	return quoted(v), true
}

// refuse sets refused changes aside, with what they would have changed.
func (s *settlement) refuse(ctx context.Context) error {
	var b pgx.Batch
	for _, l := range s.list {
		if len(l.Apart) > 0 && l.Outcome.leaves() {
			s.refuseApart(&b, l)
		}
		if l.Outcome != Refused {
			continue
		}
		c := coalesce(l.edits)
		details := map[string]any{"operation": c.op, "changed": s.wire.values(c.local), "base": s.wire.values(c.base)}
		for k, v := range l.Details {
			details[k] = v
		}
		column := ""
		if f, ok := s.wire.by[strings.ToLower(l.Field)]; ok {
			column = f.name
		}
		b.Queue(`INSERT INTO mirror.refusals AS r (object, direction, record, sfid, row_id, run_id, field, column_name, code, message, details)
			VALUES ($1, 'out', 'local:' || $2::bigint, nullif($3, ''), $2, $4, nullif($5, ''), nullif($6, ''), $7, $8, $9::jsonb)
			ON CONFLICT (object, direction, record) WHERE resolved_at IS NULL DO UPDATE SET sfid = excluded.sfid, run_id = excluded.run_id, field = excluded.field,
				column_name = excluded.column_name, code = excluded.code, message = excluded.message, details = excluded.details, last_seen_at = now(), seen = r.seen + 1`,
			s.object, l.RowID, c.sfid, l.RunID, l.Field, column, l.Code, l.Message, details)
	}
	return s.tx.SendBatch(ctx, &b).Close()
}

// account keeps how many records the table holds: those that Salesforce knows.
func (s *settlement) account(ctx context.Context) error {
	var gone []string
	for _, l := range s.list {
		first, last := l.edits[0], l.edits[len(l.edits)-1]
		switch l.Outcome {
		case Accepted, Already, Linked:
		default:
			continue
		}
		switch {
		case last.operation == Delete:
			if string(last.base["isdeleted"]) == "true" {
				s.deleted--
			} else {
				s.live--
			}
			gone = append(gone, last.sfid)
		case first.sfid == "" && l.SFID != "" && !l.merged:
			s.live++
		}
	}
	if len(gone) > 0 {
		// A read that began before the deletion may have brought the record again.
		isDeleted := "false"
		if s.table.HasIsDeleted() {
			isDeleted = "coalesce(isdeleted, false)"
		}
		var live, deleted int64
		err := s.tx.QueryRow(ctx, fmt.Sprintf(`WITH gone AS (DELETE FROM %s WHERE sfid = ANY($1) RETURNING %s AS was) SELECT count(*) FILTER (WHERE NOT was), count(*) FILTER (WHERE was) FROM gone`,
			s.table.name(), isDeleted), gone).Scan(&live, &deleted)
		if err != nil {
			return err
		}
		s.live, s.deleted = s.live-live, s.deleted-deleted
	}
	if s.live == 0 && s.deleted == 0 {
		return nil
	}
	_, err := s.tx.Exec(ctx, `UPDATE mirror.objects SET records = records + $2, deleted = deleted + $3 WHERE object = $1`, s.object, s.live, s.deleted)
	return err
}

// tellChildren gives rows that waited for a row its sfid, or sets them aside where it will have none.
func (s *settlement) tellChildren(ctx context.Context) error {
	parents := map[int64]string{}
	var ids []int64
	for _, l := range s.list {
		switch {
		case l.Outcome.leaves() && l.SFID != "":
			parents[l.RowID] = l.SFID
			ids = append(ids, l.RowID)
		case l.Outcome == Dropped && s.rows[l.RowID].sfid == "":
			if _, err := s.tx.Exec(ctx, `SELECT mirror.refuse_children($1, $2)`, s.object, l.RowID); err != nil {
				return err
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := s.tx.Query(ctx, `DELETE FROM mirror.links l USING mirror.objects o WHERE l.parent_object = $1 AND l.parent_id = ANY($2) AND o.object = l.object
		RETURNING l.object, substr(o.table_name, 12), l.row_id, l.column_name, l.parent_id`, s.object, ids)
	if err != nil {
		return err
	}
	type link struct {
		object, table, column string
		row, parent           int64
	}
	links, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (l link, err error) {
		return l, r.Scan(&l.object, &l.table, &l.row, &l.column, &l.parent)
	})
	if err != nil {
		return err
	}
	slices.SortFunc(links, func(a, b link) int { return int(a.row - b.row) })
	var b pgx.Batch
	told := map[string]bool{}
	for _, l := range links {
		local, sfid := fmt.Sprintf("local:%d", l.parent), parents[l.parent]
		b.Queue(fmt.Sprintf(`UPDATE %s SET %s = $2 WHERE id = $1 AND %[2]s = $3`, relation(l.table), quote(l.column)), l.row, sfid, local)
		b.Queue(`UPDATE mirror.outbox SET changed = CASE WHEN changed ->> $3 = $4 THEN changed || jsonb_build_object($3, $5::text) ELSE changed END,
			base = CASE WHEN base ->> $3 = $4 THEN base || jsonb_build_object($3, $5::text) ELSE base END WHERE object = $1 AND row_id = $2`, l.object, l.row, l.column, local, sfid)
		b.Queue(`UPDATE mirror.outbox o SET state = 'waiting' FROM mirror.refusals r WHERE o.object = $1 AND o.row_id = $2 AND o.state = 'refused'
			AND r.object = $1 AND r.row_id = $2 AND r.direction = 'out' AND r.resolved_at IS NULL AND r.code = 'PARENT_NOT_SENT'`, l.object, l.row)
		b.Queue(`UPDATE mirror.refusals SET resolved_at = now() WHERE object = $1 AND row_id = $2 AND direction = 'out' AND resolved_at IS NULL AND code = 'PARENT_NOT_SENT'`, l.object, l.row)
		if !told[l.object] {
			told[l.object] = true
			b.Queue(`SELECT pg_notify('tandem_outbox', $1)`, l.object)
		}
	}
	return s.tx.SendBatch(ctx, &b).Close()
}

// tidy forgets what was only kept for the changes: what Salesforce held, and claims that are over.
func (s *settlement) tidy(ctx context.Context) error {
	claims := map[string]bool{}
	for _, l := range s.list {
		claims[l.Claim] = true
	}
	ids := make([]string, 0, len(claims))
	for id := range claims {
		ids = append(ids, id)
	}
	var b pgx.Batch
	b.Queue(`DELETE FROM mirror.held h WHERE h.object = $1 AND h.row_id = ANY($2) AND NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.object = $1 AND o.row_id = h.row_id)
		AND NOT EXISTS (SELECT FROM mirror.conflicts c WHERE c.object = $1 AND c.row_id = h.row_id AND c.winner = '' AND c.closed_at IS NULL)`, s.object, s.rowIDs())
	b.Queue(`DELETE FROM mirror.claims c WHERE c.id::text = ANY($1) AND NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.seq = ANY (c.seqs) AND o.claim = c.id)`, ids)
	return s.tx.SendBatch(ctx, &b).Close()
}
