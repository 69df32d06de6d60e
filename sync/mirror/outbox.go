package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrNoClaim is the answer for a claim that does not exist, or no longer.
var ErrNoClaim = errors.New("there is no such claim")

// edit is one row of the outbox: one statement of a person, seen at one row.
type edit struct {
	seq             int64
	rowID           int64
	operation       Operation
	sfid            string
	base, changed   map[string]json.RawMessage // by column
	by, application string
	at              time.Time
	attempts        int
	claim           string
}

const editColumns = `seq, row_id, operation, coalesce(sfid, ''), base, changed, made_by, application, made_at, attempts, coalesce(claim::text, '')`

func collectEdits(rows pgx.Rows, err error) ([]edit, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (e edit, err error) {
		return e, r.Scan(&e.seq, &e.rowID, &e.operation, &e.sfid, &e.base, &e.changed, &e.by, &e.application, &e.at, &e.attempts, &e.claim)
	})
}

// coalesced is what several edits of one row come to.
type coalesced struct {
	op          Operation
	void        bool // nothing is left: the row was made and deleted before anybody outside heard of it
	edits       []edit
	sfid        string
	base, local map[string]json.RawMessage
	at          map[string]time.Time // when each of local was edited last
	whole       bool                 // the row's making is not among the edits: all of it is to be sent
}

// coalesce makes one change of a row's edits, which come in their order and of which there is at least one. First base and last
// value count. What follows a deletion is another record's life and waits until the deletion is settled. A row that has no sfid is
// to be made, whatever its edits say; made and deleted, it leaves nothing, but when its making was tried and may have happened: then it is
// made first, so that the deletion has something to delete.
func coalesce(edits []edit) coalesced {
	var c coalesced
	made, tried := false, false
	for _, e := range edits {
		if e.sfid != "" {
			c.sfid = e.sfid
		}
	}
	for i, e := range edits {
		if e.operation == Delete {
			switch {
			case c.sfid != "":
				return coalesced{op: Delete, edits: edits[:i+1], sfid: c.sfid, base: baseOfDeleted(edits[:i], e.base)}
			case !tried:
				return coalesced{op: Delete, void: true, edits: edits[:i+1]}
			}
			edits = edits[:i]
			break
		}
		made = made || e.operation == Insert
		tried = tried || e.attempts > 0
	}
	c.edits = edits
	c.base, c.local, c.at = map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]time.Time{}
	for _, e := range edits {
		for name, value := range e.base {
			if _, ok := c.base[name]; !ok {
				c.base[name] = value
			}
		}
		for name, value := range e.changed {
			c.local[name], c.at[name] = value, e.at
		}
	}
	c.op = Update
	if c.sfid == "" {
		c.op, c.base, c.whole = Insert, nil, !made
	}
	return c
}

// baseOfDeleted is what this side last knew of Salesforce when a row was deleted: the row as it was, but for what people had edited of it before
// and not sent.
func baseOfDeleted(before []edit, row map[string]json.RawMessage) map[string]json.RawMessage {
	base := maps.Clone(row)
	for _, e := range slices.Backward(before) {
		maps.Copy(base, e.base)
	}
	return base
}

// wire are an object's columns as the outbox needs them.
type wire struct {
	field map[string]column // by column name
	types map[string]string // describe type by column name
	by    map[string]column // by API name in lower case
}

func (db *DB) wire(ctx context.Context, q querier, object string) (*Table, wire, error) {
	t, _, err := loadTable(ctx, q, object)
	if err != nil {
		return nil, wire{}, err
	}
	w := wire{map[string]column{}, map[string]string{}, map[string]column{}}
	for _, c := range t.columns {
		w.field[c.name], w.by[strings.ToLower(c.field)] = c, c
		if f, ok := t.schema.Field(c.field); ok {
			w.types[c.name] = f.Type
		} else {
			w.types[c.name] = describeType(c.pgType)
		}
	}
	return t, w, nil
}

// describeType is the describe type of a column whose field is gone.
func describeType(pgType string) string {
	switch pgType {
	case "integer", "bigint", "numeric":
		return "double"
	case timestamptz:
		return "datetime"
	case clock:
		return "time"
	case "boolean", "date":
		return pgType
	}
	return "string"
}

// values gives cells by API name in canonical text. The local id and columns that are no fields are left out.
func (w wire) values(cells map[string]json.RawMessage) map[string]*string {
	out := make(map[string]*string, len(cells))
	for name, value := range cells {
		if c, ok := w.field[name]; ok {
			out[c.field] = canonicalJSON(w.types[name], value)
		}
	}
	return out
}

// waits tells whether a reference still names a row that has no record.
func (w wire) waits(cells map[string]json.RawMessage) bool {
	for name, value := range cells {
		if strings.HasPrefix(string(value), `"local:`) && w.types[name] == "reference" {
			return true
		}
	}
	return false
}

func (w wire) change(c coalesced) Change {
	first, last := c.edits[0], c.edits[len(c.edits)-1]
	ch := Change{RowID: first.rowID, SFID: c.sfid, Operation: c.op, Base: w.values(c.base), Local: w.values(c.local), By: last.by, Application: last.application, FirstAt: first.at.UTC(), LastAt: last.at.UTC(), At: map[string]time.Time{}}
	for name := range c.local {
		if col, ok := w.field[name]; ok {
			at := last.at // of what an earlier edit wrote that left the outbox long ago
			if t, ok := c.at[name]; ok {
				at = t
			}
			ch.At[col.field] = at.UTC()
		}
	}
	for _, e := range c.edits {
		ch.Seqs = append(ch.Seqs, e.seq)
		ch.Attempts = max(ch.Attempts, e.attempts)
	}
	return ch
}

// takeTurns takes the locks of objects' outboxes for this transaction; objects come in order.
func takeTurns(ctx context.Context, tx pgx.Tx, objects ...string) error {
	for _, o := range objects {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, hashtext($2))`, lockOutbox, o); err != nil {
			return fmt.Errorf("take turns in the outbox of %s: %w", o, err)
		}
	}
	return nil
}

// claimChunk is how many rows are looked at in one go for a claim.
const claimChunk = 500

// due are the conditions on an outbox row o that stands for its row in a claim of each operation: the first that waits, or the deletion.
var due = map[Operation]string{
	Insert: `o.sfid IS NULL AND NOT EXISTS (SELECT FROM mirror.outbox x WHERE x.object = o.object AND x.row_id = o.row_id AND x.seq < o.seq AND x.state = 'waiting')`,
	Update: `o.operation = 'update' AND o.sfid IS NOT NULL AND NOT EXISTS (SELECT FROM mirror.outbox x WHERE x.object = o.object AND x.row_id = o.row_id
		AND (x.seq < o.seq AND x.state = 'waiting' OR x.operation = 'delete'))`,
	Delete: `o.operation = 'delete' AND NOT EXISTS (SELECT FROM mirror.outbox x WHERE x.object = o.object AND x.row_id = o.row_id AND x.seq < o.seq AND x.operation = 'delete')`,
}

// ClaimChanges takes up to limit changed rows of an object whose coalesced operation is op, in the order of their first edit,
// and gives them as a claim. Rows that still point to a row without record (local:<id>) wait for it; rows of which something is
// claimed already wait for that; rows with a time to be tried again wait until then. Rows that were refused and edited again since
// are among them, with all their edits. Two workers never get the same row. The claim is empty (ID "") if there is nothing.
func (db *DB) ClaimChanges(ctx context.Context, runID int64, object string, op Operation, limit int) (Claim, error) {
	tx, err := db.asEngine(ctx)
	if err != nil {
		return Claim{}, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	c, err := db.claimChanges(ctx, tx, runID, object, op, limit)
	if err != nil {
		return Claim{}, fmt.Errorf("claim changes of %s: %w", object, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return Claim{}, fmt.Errorf("claim changes of %s: %w", object, err)
	}
	return c, nil
}

func (db *DB) claimChanges(ctx context.Context, tx pgx.Tx, runID int64, object string, op Operation, limit int) (Claim, error) {
	if due[op] == "" {
		return Claim{}, fmt.Errorf("%q is not an operation", op)
	}
	if err := takeTurns(ctx, tx, object); err != nil {
		return Claim{}, err
	}
	t, w, err := db.wire(ctx, tx, object)
	if err != nil {
		return Claim{}, err
	}
	// An edit of a row that was refused asks again for all of it.
	if _, err := tx.Exec(ctx, `UPDATE mirror.outbox r SET state = 'waiting', retry_at = NULL WHERE r.object = $1 AND r.state = 'refused'
		AND r.row_id IN (SELECT f.row_id FROM mirror.refusals f WHERE f.object = $1 AND f.direction = 'out' AND f.resolved_at IS NULL)
		AND EXISTS (SELECT FROM mirror.outbox x WHERE x.object = r.object AND x.row_id = r.row_id AND x.state = 'waiting')`, object); err != nil {
		return Claim{}, err
	}
	claim := Claim{ID: uuid.NewString(), Object: object, RunID: runID, Operation: op}
	var void []edit
	for after := int64(0); len(claim.Changes) < limit; {
		rows, err := tx.Query(ctx, `SELECT o.row_id, o.seq FROM mirror.outbox o WHERE o.object = $1 AND o.state = 'waiting' AND o.seq > $2 AND `+due[op]+`
			AND NOT EXISTS (SELECT FROM mirror.outbox x WHERE x.object = o.object AND x.row_id = o.row_id AND (x.state = 'claimed' OR x.retry_at > clock_timestamp()))
			ORDER BY o.seq LIMIT $3`, object, after, claimChunk)
		if err != nil {
			return Claim{}, err
		}
		var ids []int64
		var id int64
		if _, err := pgx.ForEachRow(rows, []any{&id, &after}, func() error { ids = append(ids, id); return nil }); err != nil {
			return Claim{}, err
		}
		// Whoever holds a row at this moment decides about it; it is left to the next claim, with all edits of its row.
		edits, err := collectEdits(tx.Query(ctx, `SELECT `+editColumns+` FROM mirror.outbox o WHERE object = $1 AND row_id = ANY($2) AND state = 'waiting' ORDER BY seq FOR UPDATE SKIP LOCKED`, object, ids))
		if err != nil {
			return Claim{}, err
		}
		skipped, err := tx.Query(ctx, `SELECT DISTINCT row_id FROM mirror.outbox WHERE object = $1 AND row_id = ANY($2) AND state = 'waiting' AND seq <> ALL($3)`, object, ids, seqs(edits))
		if err != nil {
			return Claim{}, err
		}
		left, err := pgx.CollectRows(skipped, pgx.RowTo[int64])
		if err != nil {
			return Claim{}, err
		}
		byRow := map[int64][]edit{}
		for _, e := range edits {
			byRow[e.rowID] = append(byRow[e.rowID], e)
		}
		whole, err := wholeRows(ctx, tx, t, op, byRow)
		if err != nil {
			return Claim{}, err
		}
		for _, id := range ids {
			if len(claim.Changes) == limit {
				break
			}
			if len(byRow[id]) == 0 || slices.Contains(left, id) {
				continue
			}
			c := coalesce(byRow[id])
			if c.void {
				void = append(void, c.edits...)
				continue
			}
			if c.whole {
				c.local = whole[id]
			}
			if c.op == op && !w.waits(c.local) {
				claim.Changes = append(claim.Changes, w.change(c))
			}
		}
		if len(ids) < claimChunk {
			break
		}
	}
	if err := supersede(ctx, tx, object, runID, void); err != nil {
		return Claim{}, err
	}
	if len(claim.Changes) == 0 {
		return Claim{}, nil
	}
	var taken []int64
	for _, c := range claim.Changes {
		taken = append(taken, c.Seqs...)
	}
	err = tx.QueryRow(ctx, `INSERT INTO mirror.claims (id, object, run_id, operation, seqs) VALUES ($1, $2, $3, $4, $5) RETURNING made_at`, claim.ID, object, runID, string(op), taken).Scan(&claim.MadeAt)
	if err == nil {
		_, err = tx.Exec(ctx, `UPDATE mirror.outbox SET state = 'claimed', claim = $1, retry_at = NULL WHERE seq = ANY($2)`, claim.ID, taken)
	}
	return claim, err
}

func seqs(edits []edit) []int64 {
	s := make([]int64, len(edits))
	for i, e := range edits {
		s[i] = e.seq
	}
	return s
}

// wholeRows reads what can be sent of rows whose making left the outbox long ago, unsent.
func wholeRows(ctx context.Context, tx pgx.Tx, t *Table, op Operation, byRow map[int64][]edit) (map[int64]map[string]json.RawMessage, error) {
	whole := map[int64]map[string]json.RawMessage{}
	if op != Insert {
		return whole, nil
	}
	var ids []int64
	for id, edits := range byRow {
		if c := coalesce(edits); c.whole {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return whole, nil
	}
	rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT t.id, (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(jsonb_strip_nulls(to_jsonb(t))) e
			JOIN mirror.fields f ON f.object = $1 AND f.column_name = e.key AND f.can_insert WHERE e.value <> '""')
		FROM %s t WHERE t.id = ANY($2)`, t.name()), t.Object(), ids)
	if err != nil {
		return nil, err
	}
	var id int64
	var cells map[string]json.RawMessage
	_, err = pgx.ForEachRow(rows, []any{&id, &cells}, func() error { whole[id], cells = cells, nil; return nil })
	return whole, err
}

// supersede settles edits that came to nothing.
func supersede(ctx context.Context, tx pgx.Tx, object string, runID int64, edits []edit) error {
	if len(edits) == 0 {
		return nil
	}
	var ids []int64
	for _, e := range edits {
		ids = append(ids, e.rowID)
	}
	var b pgx.Batch
	b.Queue(`WITH gone AS (DELETE FROM mirror.outbox WHERE seq = ANY($1) RETURNING *)
		INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome, run_id, reason)
		SELECT seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, 'superseded', $2, 'The row was deleted before it was sent.' FROM gone`, seqs(edits), runID)
	b.Queue(`UPDATE mirror.refusals SET resolved_at = now() WHERE object = $1 AND direction = 'out' AND resolved_at IS NULL AND row_id = ANY($2)`, object, ids)
	return tx.SendBatch(ctx, &b).Close()
}

const claimColumns = `id::text, object, run_id, operation, job_id, step, made_at, watch, sent_since, sent_last, sent_by, key_field, key_length`

func scanClaim(row pgx.Row) (c Claim, err error) {
	var since, last *time.Time
	err = row.Scan(&c.ID, &c.Object, &c.RunID, &c.Operation, &c.JobID, &c.Step, &c.MadeAt, &c.Watch, &since, &last, &c.Sent.By, &c.Sent.Key, &c.Sent.KeyLength)
	c.MadeAt, c.Sent.Since, c.Sent.Last = c.MadeAt.UTC(), fromNull(since), fromNull(last)
	return c, err
}

// ReclaimChanges gives an open claim again, with what is left of it to settle, to the run that goes on with it. ErrNoClaim if it was settled.
func (db *DB) ReclaimChanges(ctx context.Context, claim string, runID int64) (Claim, error) {
	var c Claim
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) (err error) {
		c, err = scanClaim(tx.QueryRow(ctx, `UPDATE mirror.claims SET run_id = $2 WHERE id::text = $1 RETURNING `+claimColumns, claim, runID))
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNoClaim
		}
		if err != nil {
			return err
		}
		t, w, err := db.wire(ctx, tx, c.Object)
		if err != nil {
			return err
		}
		edits, err := collectEdits(tx.Query(ctx, `SELECT `+editColumns+` FROM mirror.outbox WHERE seq = ANY((SELECT seqs FROM mirror.claims WHERE id = $1)::bigint[]) AND claim = $1 AND state = 'claimed' ORDER BY seq`, c.ID))
		if err != nil {
			return err
		}
		var ids []int64
		byRow := map[int64][]edit{}
		for _, e := range edits {
			if byRow[e.rowID] == nil {
				ids = append(ids, e.rowID)
			}
			byRow[e.rowID] = append(byRow[e.rowID], e)
		}
		whole, err := wholeRows(ctx, tx, t, c.Operation, byRow)
		if err != nil {
			return err
		}
		for _, id := range ids {
			got := coalesce(byRow[id])
			if got.whole {
				got.local = whole[id]
			}
			c.Changes = append(c.Changes, w.change(got))
		}
		if len(c.Changes) == 0 {
			_, err = tx.Exec(ctx, `DELETE FROM mirror.claims WHERE id = $1`, c.ID)
		}
		return err
	})
	if err == nil && len(c.Changes) == 0 {
		err = ErrNoClaim
	}
	if err != nil {
		return Claim{}, fmt.Errorf("take up claim %s again: %w", claim, err)
	}
	return c, nil
}

// OpenClaims lists the claims of an object that are not settled, oldest first, without their changes; of all objects if object is empty.
func (db *DB) OpenClaims(ctx context.Context, object string) ([]Claim, error) {
	rows, err := db.pool.Query(ctx, `SELECT `+claimColumns+` FROM mirror.claims WHERE $1 IN ('', object) ORDER BY made_at, id`, object)
	if err != nil {
		return nil, fmt.Errorf("list the open claims of %s: %w", object, err)
	}
	claims, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (Claim, error) { return scanClaim(r) })
	if err != nil {
		return nil, fmt.Errorf("list the open claims of %s: %w", object, err)
	}
	return claims, nil
}

// NoteClaim keeps how far a claim's sending is: its Bulk job, once the org made it, and the sender's own word for the step. ErrNoClaim
// if it was settled meanwhile.
func (db *DB) NoteClaim(ctx context.Context, claim, jobID, step string) error {
	tag, err := db.pool.Exec(ctx, `UPDATE mirror.claims SET job_id = $2, step = $3 WHERE id::text = $1`, claim, jobID, step)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNoClaim
	}
	if err != nil {
		return fmt.Errorf("note how far claim %s is: %w", claim, err)
	}
	return nil
}

// NoteSent keeps, before creates go out, what whoever goes on must know to find those whose reply got lost. ErrNoClaim if it was settled meanwhile.
func (db *DB) NoteSent(ctx context.Context, claim string, sent Sent) error {
	tag, err := db.pool.Exec(ctx, `UPDATE mirror.claims SET sent_since = $2, sent_last = $3, sent_by = $4, key_field = $5, key_length = $6 WHERE id::text = $1`,
		claim, sent.Since, sent.Last, sent.By, sent.Key, sent.KeyLength)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNoClaim
	}
	if err != nil {
		return fmt.Errorf("note that creates of claim %s go out: %w", claim, err)
	}
	return nil
}

// NoteWatch keeps what was seen of others' edits while a claim's job is under way. ErrNoClaim if it was settled meanwhile.
func (db *DB) NoteWatch(ctx context.Context, claim string, w Watch) error {
	tag, err := db.pool.Exec(ctx, `UPDATE mirror.claims SET watch = $2 WHERE id::text = $1`, claim, w)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNoClaim
	}
	if err != nil {
		return fmt.Errorf("note what others changed while claim %s is sent: %w", claim, err)
	}
	return nil
}

// Backlog counts rows of which something waits to be sent, by the operation that it comes to: what a preview shows.
type Backlog struct {
	Object                    string
	Inserts, Updates, Deletes int64
	Undone                    int64 // rows that were made and deleted here: nothing is to be sent, only to be forgotten
}

// Backlogs counts what waits, object by object, without claiming it. What was refused is not in it, nor what waits for that.
func (db *DB) Backlogs(ctx context.Context) ([]Backlog, error) {
	rows, err := db.pool.Query(ctx, `SELECT object, count(*) FILTER (WHERE new AND NOT gone), count(*) FILTER (WHERE NOT new AND NOT gone), count(*) FILTER (WHERE NOT new AND gone), count(*) FILTER (WHERE new AND gone)
		FROM (SELECT object, row_id, bool_and(sfid IS NULL) AS new, bool_or(operation = 'delete') AS gone FROM mirror.outbox WHERE state <> 'refused'
			AND (object, row_id) NOT IN (SELECT object, row_id FROM mirror.held_up) GROUP BY object, row_id) r
		GROUP BY object ORDER BY object`)
	if err != nil {
		return nil, fmt.Errorf("count what waits to be sent: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (b Backlog, err error) {
		return b, r.Scan(&b.Object, &b.Inserts, &b.Updates, &b.Deletes, &b.Undone)
	})
}

// WaitingDeletions is what an object's deletions that wait to be sent are about.
type WaitingDeletions struct {
	Deletions int64     // rows of records that Salesforce knows
	Newest    time.Time // when the last of them was deleted here; zero if there is none
	Records   int64     // of the object that live
}

// WaitingDeletions gives what an object's deletions that wait to be sent are about.
func (db *DB) WaitingDeletions(ctx context.Context, object string) (w WaitingDeletions, err error) {
	var newest *time.Time
	err = db.pool.QueryRow(ctx, `SELECT count(*), max(made_at), coalesce((SELECT records FROM mirror.objects WHERE object = $1), 0)
		FROM (SELECT max(made_at) AS made_at FROM mirror.outbox WHERE object = $1 AND state <> 'refused' GROUP BY row_id HAVING bool_or(operation = 'delete') AND NOT bool_and(sfid IS NULL)) r`,
		object).Scan(&w.Deletions, &newest, &w.Records)
	if err != nil {
		return w, fmt.Errorf("count the deletions of %s that wait to be sent: %w", object, err)
	}
	w.Newest = fromNull(newest)
	return w, nil
}
