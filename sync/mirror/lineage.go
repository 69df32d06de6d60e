package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// chainMax bounds how far a chain of merges is followed. Salesforce makes none that is longer; a ring, which it does not make
// either, must not hang the reader.
const chainMax = 50

// follow takes over what the rows of a page that was just written say of records that became others: the losers of merges and
// converted leads. from is where the rows are.
func (w *writer) follow(ctx context.Context, e *encoder, from string) error {
	var merged, converted bool
	has := map[string]bool{}
	for _, c := range e.columns {
		has[c.name] = true
	}
	merged = has["masterrecordid"]
	converted = w.table.Object() == "Lead" && has["isconverted"] && has["convertedcontactid"]
	return w.followFrom(ctx, from, merged, converted)
}

// followLoad is follow for what the pages of a load that were copied directly noted on their way. Should merges of the object be
// known already, one of them may be a record of its own again, which only the whole table tells.
func (w *writer) followLoad(ctx context.Context, load int64) error {
	t := w.table
	known, err := w.mergesKnown(ctx)
	if err != nil {
		return err
	}
	from := t.name()
	if !known {
		from = fmt.Sprintf("(SELECT * FROM mirror.load_kin WHERE load_id = %d)", load)
	}
	if err := w.followFrom(ctx, from, t.has("masterrecordid"), t.Object() == "Lead" && t.has("isconverted") && t.has("convertedcontactid")); err != nil {
		return err
	}
	_, err = w.tx.Exec(ctx, `DELETE FROM mirror.load_kin WHERE load_id = $1`, load)
	return err
}

// mergesKnown tells whether a loser of a merge of the object is known here.
func (w *writer) mergesKnown(ctx context.Context) (known bool, err error) {
	err = w.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM mirror.lineage WHERE object = $1 AND kind = 'merged')`, w.table.Object()).Scan(&known)
	return known, err
}

// kin collects, while a page is copied, the records in it that became others: few, as a rule.
type kin struct {
	id, gone, merged, converted, contact int // which cells; -1: the page has none
	sfid, master, became                 []string
	deleted, isConverted                 []bool
}

func newKin(e *encoder) *kin {
	k := &kin{id: e.idAt, gone: e.goneAt, merged: -1, converted: -1, contact: -1}
	for i, c := range e.columns {
		switch c.name {
		case "masterrecordid":
			k.merged = i
		case "isconverted":
			k.converted = i
		case "convertedcontactid":
			k.contact = i
		}
	}
	return k
}

func (k *kin) note(cells [][]byte) {
	cell := func(i int) string {
		if i < 0 {
			return ""
		}
		return string(cells[i])
	}
	if (k.merged < 0 || len(cells[k.merged]) == 0) && (k.contact < 0 || len(cells[k.contact]) == 0) {
		return
	}
	id, err := sobject.ParseID(cell(k.id))
	if err != nil {
		return // no row came of it
	}
	k.sfid, k.master, k.became = append(k.sfid, string(id)), append(k.master, cell(k.merged)), append(k.became, cell(k.contact))
	k.deleted, k.isConverted = append(k.deleted, cell(k.gone) == "true"), append(k.isConverted, cell(k.converted) == "true")
}

func (k *kin) store(ctx context.Context, w *writer, load int64) error {
	if len(k.sfid) == 0 {
		return nil
	}
	_, err := w.tx.Exec(ctx, `INSERT INTO mirror.load_kin (load_id, sfid, isdeleted, masterrecordid, isconverted, convertedcontactid)
		SELECT $1, u.sfid, u.deleted, nullif(u.master, ''), u.converted, nullif(u.became, '') FROM unnest($2::text[], $3::boolean[], $4::text[], $5::boolean[], $6::text[]) AS u (sfid, deleted, master, converted, became)`,
		load, k.sfid, k.deleted, k.master, k.isConverted, k.became)
	if err != nil {
		return fmt.Errorf("note which records of %s became others: %w", w.table.Object(), err)
	}
	return nil
}

func (w *writer) followFrom(ctx context.Context, from string, merged, converted bool) error {
	if merged {
		if err := w.followMerged(ctx, from); err != nil {
			return fmt.Errorf("follow merges of %s: %w", w.table.Object(), err)
		}
	}
	if converted {
		if err := w.followConverted(ctx, from); err != nil {
			return fmt.Errorf("follow conversions: %w", err)
		}
	}
	return nil
}

// followMerged notes the losers of merges and lets what points to them here point to the survivor, before the loser is marked as
// deleted. Salesforce does the same with what points to them there, and that arrives by its stamp; but nothing here must lead to
// a record that is gone, also where it does not, or not yet.
func (w *writer) followMerged(ctx context.Context, from string) error {
	object := w.table.Object()
	alive := ""
	if w.table.HasIsDeleted() {
		alive = " AND NOT coalesce(s.isdeleted, false)"
	}
	// A loser that was undeleted is a record of its own again. Where none is known, as in a first load, the table is not looked through for them.
	known, err := w.mergesKnown(ctx)
	if err != nil {
		return err
	}
	if known {
		_, err := w.tx.Exec(ctx, fmt.Sprintf(`WITH apart AS (
				DELETE FROM mirror.lineage l USING %[1]s s WHERE l.object = $1 AND l.kind = 'merged' AND s.sfid = l.sfid AND s.masterrecordid IS NULL%[2]s RETURNING l.sfid
			)
			UPDATE mirror.lineage l SET to_sfid = l.via FROM apart a WHERE l.object = $1 AND l.kind = 'merged' AND l.via = a.sfid`, from, alive), object)
		if err != nil {
			return err
		}
	}
	rows, err := w.tx.Query(ctx, fmt.Sprintf(`INSERT INTO mirror.lineage AS l (object, sfid, kind, to_object, to_sfid, via)
		SELECT DISTINCT ON (s.sfid) $1, s.sfid, 'merged', $1, s.masterrecordid, s.masterrecordid FROM %s s WHERE s.masterrecordid IS NOT NULL AND s.masterrecordid <> s.sfid
			AND NOT EXISTS (SELECT FROM mirror.lineage k WHERE k.object = $1 AND k.sfid = s.sfid AND k.via = s.masterrecordid)
		ON CONFLICT (object, sfid) DO UPDATE SET kind = 'merged', to_object = excluded.to_object, to_sfid = excluded.to_sfid, via = excluded.via, found_at = now()
		RETURNING sfid`, from), object)
	if err != nil {
		return err
	}
	losers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(losers) == 0 {
		return err
	}
	for range chainMax {
		tag, err := w.tx.Exec(ctx, `UPDATE mirror.lineage l SET to_sfid = n.to_sfid FROM mirror.lineage n
			WHERE l.to_object = $1 AND n.object = $1 AND n.kind = 'merged' AND n.sfid = l.to_sfid AND NOT (l.object = $1 AND n.to_sfid = l.sfid)`, object)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			break
		}
	}
	return w.repoint(ctx, losers)
}

// repoint lets what points to the losers point to the survivors: live records, and changes of references that wait to be sent.
func (w *writer) repoint(ctx context.Context, losers []string) error {
	object := w.table.Object()
	rows, err := w.tx.Query(ctx, `SELECT describe FROM mirror.objects ORDER BY object`)
	if err != nil {
		return err
	}
	describes, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return err
	}
	for _, raw := range describes {
		var child sobject.Schema
		if err := json.Unmarshal(raw, &child); err != nil {
			return err
		}
		_, live := child.Field("IsDeleted")
		for _, f := range child.Synced() {
			// What a loser was merged into is history, and stays.
			if f.Type != "reference" || !slices.Contains(f.ReferenceTo, object) || strings.EqualFold(f.Name, "MasterRecordId") {
				continue
			}
			column := columnName(f)
			condition := ""
			if live {
				// Salesforce leaves deleted records as they were.
				condition = " AND NOT coalesce(c.isdeleted, false)"
			}
			_, err := w.tx.Exec(ctx, fmt.Sprintf(`UPDATE %s c SET %[2]s = l.to_sfid FROM mirror.lineage l WHERE l.object = $1 AND l.sfid = ANY($2) AND c.%[2]s = l.sfid%[3]s`,
				relation(short(child.Table())), quote(column), condition), object, losers)
			if err != nil {
				return fmt.Errorf("let %s.%s point to the survivors: %w", child.Name, f.Name, err)
			}
			_, err = w.tx.Exec(ctx, `UPDATE mirror.outbox o SET changed = jsonb_set(o.changed, ARRAY[$4], to_jsonb(l.to_sfid)) FROM mirror.lineage l
				WHERE o.object = $3 AND o.state <> 'claimed' AND l.object = $1 AND l.sfid = ANY($2) AND o.changed->>$4 = l.sfid`, object, losers, child.Name, column)
			if err != nil {
				return fmt.Errorf("let unsent changes of %s.%s point to the survivors: %w", child.Name, f.Name, err)
			}
		}
	}
	return nil
}

// followConverted notes which contact a converted lead became.
func (w *writer) followConverted(ctx context.Context, from string) error {
	_, err := w.tx.Exec(ctx, fmt.Sprintf(`INSERT INTO mirror.lineage AS l (object, sfid, kind, to_object, to_sfid, via)
		SELECT DISTINCT ON (s.sfid) 'Lead', s.sfid, 'converted', 'Contact', coalesce(m.to_sfid, s.convertedcontactid), s.convertedcontactid
		FROM %s s LEFT JOIN mirror.lineage m ON m.object = 'Contact' AND m.kind = 'merged' AND m.sfid = s.convertedcontactid
		WHERE s.isconverted AND s.convertedcontactid IS NOT NULL
			AND NOT EXISTS (SELECT FROM mirror.lineage k WHERE k.object = 'Lead' AND k.sfid = s.sfid AND k.via = s.convertedcontactid)
		ON CONFLICT (object, sfid) DO UPDATE SET kind = 'converted', to_object = excluded.to_object, to_sfid = excluded.to_sfid, via = excluded.via, found_at = now()`, from))
	return err
}

// redirectMax bounds the records whose unsent changes one transaction redirects; the next goes on.
const redirectMax = 1000

// RedirectUnsent lets unsent changes of records that became others go to those. The read that brings such a record does so itself; but
// where it and the read that brings the other end at the same moment, neither sees what the other brought.
func (db *DB) RedirectUnsent(ctx context.Context) error {
	rows, err := db.pool.Query(ctx, `SELECT DISTINCT o.object FROM mirror.outbox o JOIN mirror.lineage l ON l.object = o.object AND l.sfid = o.sfid WHERE o.operation = 'update' ORDER BY 1`)
	if err != nil {
		return fmt.Errorf("look for unsent changes of records that became others: %w", err)
	}
	objects, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for unsent changes of records that became others: %w", err)
	}
	for _, object := range objects {
		err := func() error {
			w, err := db.begin(ctx, object, false)
			if err != nil {
				return err
			}
			defer w.rollback()
			if err := w.lock(ctx, ""); err != nil {
				return err
			}
			if err := w.redirect(ctx); err != nil {
				return err
			}
			return w.tx.Commit(ctx)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// unsent is what waits to be sent of one record that became another, coalesced.
type unsent struct {
	object, sfid, kind, toObject, toSFID string
	row                                  int64
	seqs                                 []int64
	base, changed                        map[string]json.RawMessage
	by, application                      string
	at                                   time.Time
}

// redirect lets the unsent changes of records that became others go to those: of this object's records, and of those that became
// records of this object, which may only now be here. What cannot go there becomes a conflict that Salesforce wins, so that
// nothing is lost in silence (Invariant 3). What a worker is sending at this moment is left to it, and comes later.
func (w *writer) redirect(ctx context.Context) error {
	object := w.table.Object()
	rows, err := w.tx.Query(ctx, `SELECT o.seq, o.object, o.row_id, l.sfid, l.kind, l.to_object, l.to_sfid, o.base, o.changed, o.made_by, o.application, o.made_at
		FROM mirror.outbox o JOIN mirror.lineage l ON l.object = o.object AND l.sfid = o.sfid
		WHERE o.operation = 'update' AND (l.object = $1 OR l.to_object = $1)
			AND NOT EXISTS (SELECT FROM mirror.outbox c WHERE c.object = o.object AND c.row_id = o.row_id AND c.state = 'claimed')
		ORDER BY o.object, o.row_id, o.seq LIMIT $2 FOR UPDATE OF o SKIP LOCKED`, object, redirectMax)
	if err != nil {
		return fmt.Errorf("look for unsent changes of records that became others: %w", err)
	}
	var all []*unsent
	err = func() error {
		defer rows.Close()
		for rows.Next() {
			var seq int64
			var u unsent
			if err := rows.Scan(&seq, &u.object, &u.row, &u.sfid, &u.kind, &u.toObject, &u.toSFID, &u.base, &u.changed, &u.by, &u.application, &u.at); err != nil {
				return err
			}
			last := len(all) - 1
			if last < 0 || all[last].object != u.object || all[last].row != u.row {
				u.seqs = []int64{seq}
				all = append(all, &u)
				continue
			}
			l := all[last]
			l.seqs = append(l.seqs, seq)
			for column, v := range u.changed {
				l.changed[column] = v
			}
			for column, v := range u.base {
				if _, known := l.base[column]; !known {
					l.base[column] = v
				}
			}
		}
		return rows.Err()
	}()
	if err != nil {
		return fmt.Errorf("look for unsent changes of records that became others: %w", err)
	}
	if len(all) == 0 {
		return w.redirectQuestions(ctx)
	}
	// Who claims and settles takes these locks before the records', so they are not waited for here: the next batch comes by again.
	objects := map[string]bool{}
	for _, u := range all {
		objects[u.object], objects[u.toObject] = true, true
	}
	for o := range objects {
		var mine bool
		if err := w.tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1, hashtext($2))`, lockOutbox, o).Scan(&mine); err != nil {
			return fmt.Errorf("take turns in the outbox of %s: %w", o, err)
		}
		if !mine {
			return nil
		}
	}
	for _, u := range all {
		if err := w.redirectOne(ctx, u); err != nil {
			return fmt.Errorf("redirect the unsent changes of %s %s: %w", u.object, u.sfid, err)
		}
	}
	return w.redirectQuestions(ctx)
}

// redirectQuestions ends questions to a person about a field of a record that was merged into another: the survivor's value stands, and
// the conflict is the survivor's, where it can be overturned.
func (w *writer) redirectQuestions(ctx context.Context) error {
	_, err := w.tx.Exec(ctx, fmt.Sprintf(`UPDATE mirror.conflicts c SET winner = 'salesforce', reason = $2, row_id = t.id, sfid = t.sfid, remote = to_jsonb(t)->>c.column_name
		FROM mirror.lineage l JOIN %s t ON t.sfid = l.to_sfid
		WHERE c.object = $1 AND c.winner = '' AND c.closed_at IS NULL AND l.object = c.object AND l.kind = 'merged' AND l.sfid = c.sfid`, w.table.name()), w.table.Object(), reasonMerged)
	if err != nil {
		return fmt.Errorf("end questions about records that became others: %w", err)
	}
	return nil
}

func (w *writer) redirectOne(ctx context.Context, u *unsent) error {
	from, _, err := loadTable(ctx, w.tx, u.object)
	if err != nil {
		return err
	}
	to, _, err := loadTable(ctx, w.tx, u.toObject)
	if err != nil {
		return nil //nolint:nilerr // the other object is not mirrored: its changes are left to whoever sends
	}
	var row int64
	var there map[string]json.RawMessage
	rows, err := w.tx.Query(ctx, fmt.Sprintf(`SELECT t.id, to_jsonb(t) FROM %s t WHERE t.sfid = $1 FOR UPDATE`, to.name()), u.toSFID)
	if err != nil {
		return err
	}
	found := false
	for rows.Next() {
		found = true
		if err := rows.Scan(&row, &there); err != nil {
			rows.Close()
			return err
		}
	}
	rows.Close()
	if err := rows.Err(); err != nil || !found {
		return err // it is not here yet; it brings these with it when it comes
	}
	// What Salesforce was seen to hold since the edits were made is newer than their base; and an edit of the other record's own stands.
	var seen map[string]json.RawMessage
	var waiting []string
	err = w.tx.QueryRow(ctx, `SELECT coalesce((SELECT cells FROM mirror.held WHERE object = $1 AND row_id = $2), '{}'),
		coalesce((SELECT array_agg(k) FROM mirror.outbox o CROSS JOIN LATERAL jsonb_object_keys(o.changed) k WHERE o.object = $3 AND o.row_id = $4), '{}')`,
		u.object, u.row, u.toObject, row).Scan(&seen, &waiting)
	if err != nil {
		return err
	}
	base, changed, held := map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]json.RawMessage{}
	var conflicts []redirected
	for column, value := range u.changed {
		f, known := fieldOf(from, column)
		if !known {
			f = sobject.Field{Name: column}
		}
		d := redirectField(u.kind, f, to.schema, u.base[column], value, there[column])
		if d.fate == fateMoves && slices.Contains(waiting, column) {
			d = fated{fate: fateConflict, remote: text(there[column]), reason: reasonEdited}
		}
		switch d.fate {
		case fateMoves:
			base[column], changed[column], held[column] = d.base, value, there[column]
		case fateConflict:
			conflicts = append(conflicts, redirected{f.Name, column, text(u.base[column]), text(value), d.remote, d.reason})
		}
	}
	for column := range u.base {
		if v, known := seen[column]; known {
			u.base[column] = v
		}
	}
	outcome := "superseded"
	if len(changed) > 0 {
		if err := w.edit(ctx, to, row, changed); err != nil {
			return err
		}
		_, err := w.tx.Exec(ctx, `INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, made_at, application) VALUES ($1, $2, $3, 'update', $4, $5, $6, $7, $8)`,
			u.toObject, row, u.toSFID, base, changed, u.by, u.at, u.application)
		if err != nil {
			return err
		}
		// What a dropped edit goes back to, and whom a reference to a row without record waits for.
		_, err = w.tx.Exec(ctx, `INSERT INTO mirror.held AS h (object, row_id, cells) VALUES ($1, $2, $3) ON CONFLICT (object, row_id) DO UPDATE SET cells = excluded.cells || h.cells`, u.toObject, row, held)
		if err == nil {
			_, err = w.tx.Exec(ctx, `WITH links AS (DELETE FROM mirror.links WHERE object = $1 AND row_id = $2 RETURNING column_name, parent_object, parent_id)
				INSERT INTO mirror.links (object, row_id, column_name, parent_object, parent_id) SELECT $3, $4, column_name, parent_object, parent_id FROM links WHERE $5::jsonb ? column_name ON CONFLICT DO NOTHING`,
				u.object, u.row, u.toObject, row, changed)
		}
		if err == nil {
			_, err = w.tx.Exec(ctx, `SELECT pg_notify('tandem_outbox', $1)`, u.toObject)
		}
		if err != nil {
			return err
		}
	} else if len(conflicts) > 0 {
		outcome = "conflict"
	}
	for _, c := range conflicts {
		// A merge's conflict is the survivor's, where it can be overturned; a field that the contact lacks is the lead's alone.
		object, row, sfid := u.toObject, row, u.toSFID
		if _, known := to.schema.Field(c.field); !known {
			object, row, sfid = u.object, u.row, u.sfid
		}
		_, err := w.tx.Exec(ctx, `INSERT INTO mirror.conflicts (object, row_id, sfid, field, column_name, base, local, remote, winner, reason, made_by, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'salesforce', $9, $10, $11)`,
			object, row, sfid, c.field, c.column, c.base, c.local, c.remote, c.reason, u.by, u.at)
		if err != nil {
			return err
		}
	}
	// What is here of the record that became another is what Salesforce has of it.
	if err := w.edit(ctx, from, u.row, u.base); err != nil {
		return err
	}
	reason := fmt.Sprintf("%s %s was %s into %s %s in Salesforce before this was sent", u.object, u.sfid, u.kind, u.toObject, u.toSFID)
	_, err = w.tx.Exec(ctx, `WITH settled AS (DELETE FROM mirror.outbox WHERE seq = ANY($1) RETURNING *)
		INSERT INTO mirror.settled (seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, outcome, reason)
		SELECT seq, object, row_id, sfid, operation, base, changed, made_by, application, made_at, $2, $3 FROM settled`, u.seqs, outcome, reason)
	if err == nil {
		_, err = w.tx.Exec(ctx, `UPDATE mirror.refusals SET resolved_at = now() WHERE object = $1 AND direction = 'out' AND resolved_at IS NULL AND record = 'local:' || $2::bigint`, u.object, u.row)
	}
	return err
}

// The reasons that are told in more than one place.
const (
	reasonMerged = "The record was merged into another in Salesforce, which has a value of its own."
	reasonEdited = "The record became another in Salesforce, of which an edit waits already."
)

// redirected is an unsent value that could not go to the other record.
type redirected struct {
	field, column       string
	base, local, remote *string
	reason              string
}

// fate says what becomes of an unsent value of a record that became another.
type fate int

const (
	fateAlready  fate = iota // the other record has it already
	fateMoves                // it becomes an unsent value of the other record
	fateConflict             // it does not go there, and a person can see that
)

type fated struct {
	fate   fate
	base   json.RawMessage // of a value that moves
	remote *string
	reason string
}

// redirectField decides what becomes of the unsent value of a field of a record that became another. Merged: some value is better
// than none, so that it fills an empty field of the survivor, and no other. Converted: it goes to the contact's field of the same name
// and type if that may be written; where the contact had another value, sending finds that both sides changed it, and decides.
func redirectField(kind string, f sobject.Field, to sobject.Schema, base, local, there json.RawMessage) fated {
	if sameJSON(local, there) {
		return fated{fate: fateAlready}
	}
	target, known := to.Field(f.Name)
	known = known && target.Synced()
	switch {
	case kind == "merged" && !known:
		return fated{fate: fateConflict, reason: "The record was merged into another in Salesforce, where this field is no longer visible."}
	case kind == "merged" && !isNull(there):
		return fated{fate: fateConflict, remote: text(there), reason: reasonMerged}
	case kind == "merged":
		return fated{fate: fateMoves, base: json.RawMessage("null")}
	case !known:
		return fated{fate: fateConflict, reason: "The lead was converted in Salesforce, and a contact has no such field."}
	case target.Type != f.Type:
		return fated{fate: fateConflict, remote: text(there), reason: "The lead was converted in Salesforce, and the contact's field of that name has another type."}
	case !target.Updateable:
		return fated{fate: fateConflict, remote: text(there), reason: "The lead was converted in Salesforce, and the contact's field of that name cannot be written."}
	}
	if len(base) == 0 {
		base = json.RawMessage("null")
	}
	return fated{fate: fateMoves, base: base}
}

// edit writes values into a row as the engine.
func (w *writer) edit(ctx context.Context, t *Table, row int64, values map[string]json.RawMessage) error {
	var set []string
	for _, c := range t.columns {
		if _, given := values[c.name]; given && c.name != "sfid" {
			set = append(set, fmt.Sprintf("%[1]s = v.%[1]s", quote(c.name)))
		}
	}
	if len(set) == 0 {
		return nil
	}
	_, err := w.tx.Exec(ctx, fmt.Sprintf(`UPDATE %[1]s t SET %[2]s FROM jsonb_populate_record(NULL::%[1]s, $2) v WHERE t.id = $1`, t.name(), strings.Join(set, ", ")), row, values)
	return err
}

// fieldOf gives the field of a column.
func fieldOf(t *Table, column string) (sobject.Field, bool) {
	for _, c := range t.columns {
		if c.name == column {
			return t.schema.Field(c.field)
		}
	}
	return sobject.Field{}, false
}

func isNull(v json.RawMessage) bool {
	s := string(v)
	return s == "" || s == "null" || s == `""`
}

// text is a value as people read it; nil for null.
func text(v json.RawMessage) *string {
	if isNull(v) {
		return nil
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		s = string(v)
	}
	return &s
}

func sameJSON(a, b json.RawMessage) bool {
	if isNull(a) || isNull(b) {
		return isNull(a) && isNull(b)
	}
	return *text(a) == *text(b)
}
