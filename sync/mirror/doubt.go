package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// Doubt is a new row that was sent again because the reply to its first sending was lost and nothing was found of it. Should the org have saved
// the first one later, the record is there twice.
type Doubt struct {
	Object string
	RowID  int64
	SFID   sobject.ID         // the record that the row became
	Since  time.Time          // by the org's clock, when the first one was sent
	Sent   map[string]*string // by API name
}

// doubtFor is how long a doubt lasts: Salesforce ends a request after ten minutes, and the record has to be read.
const doubtFor = time.Hour

// NoteDoubts keeps doubts, before the rows are sent again.
func (db *DB) NoteDoubts(ctx context.Context, doubts []Doubt) error {
	var b pgx.Batch
	for _, d := range doubts {
		b.Queue(`INSERT INTO mirror.doubts AS x (object, row_id, since, sent) VALUES ($1, $2, $3, $4)
			ON CONFLICT (object, row_id) DO UPDATE SET since = least(x.since, excluded.since), sent = excluded.sent, noted_at = now()`, d.Object, d.RowID, d.Since, d.Sent)
	}
	if err := db.pool.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("note what is sent again in doubt: %w", err)
	}
	return nil
}

// Doubts lists the doubts of rows that became records, and of each the records that may be the first one: made by that user since, live, and of no
// row that was made here, by sfid with their values by API name. Doubts that are old are forgotten; where there are none it costs one look.
func (db *DB) Doubts(ctx context.Context, user string, each func(d Doubt, made map[sobject.ID]map[string]*string) error) error {
	if _, err := db.pool.Exec(ctx, `DELETE FROM mirror.doubts WHERE noted_at < now() - $1::interval`, doubtFor); err != nil {
		return fmt.Errorf("forget old doubts: %w", err)
	}
	rows, err := db.pool.Query(ctx, `SELECT object, min(since) FROM mirror.doubts GROUP BY object`)
	if err != nil {
		return fmt.Errorf("list doubts: %w", err)
	}
	since := map[string]time.Time{}
	var object string
	var at time.Time
	if _, err := pgx.ForEachRow(rows, []any{&object, &at}, func() error { since[object] = at; return nil }); err != nil {
		return fmt.Errorf("list doubts: %w", err)
	}
	for object, at := range since {
		if err := db.doubtsOf(ctx, object, user, at, each); err != nil {
			return fmt.Errorf("look for doubles of %s: %w", object, err)
		}
	}
	return nil
}

func (db *DB) doubtsOf(ctx context.Context, object, user string, since time.Time, each func(Doubt, map[sobject.ID]map[string]*string) error) error {
	t, w, err := db.wire(ctx, db.pool, object)
	if err != nil {
		return err
	}
	if !t.has("createddate") || !t.has("createdbyid") {
		return nil // hidden from this user: nothing tells who made what
	}
	alive := "true"
	if t.HasIsDeleted() {
		alive = "NOT coalesce(t.isdeleted, false)"
	}
	rows, err := db.pool.Query(ctx, fmt.Sprintf(`SELECT t.sfid FROM %s t WHERE t.createdbyid = $1 AND t.createddate >= $2::timestamptz - interval '1 second' AND t.sfid IS NOT NULL AND %s`, t.name(), alive), user, since)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[sobject.ID])
	if err != nil {
		return err
	}
	known, err := db.CreatedHere(ctx, object, ids)
	if err != nil {
		return err
	}
	if ids = slices.DeleteFunc(ids, func(id sobject.ID) bool { return known[id] }); len(ids) == 0 {
		return nil
	}
	rows, err = db.pool.Query(ctx, fmt.Sprintf(`SELECT t.sfid, to_jsonb(t) - 'id' FROM %s t WHERE t.sfid = ANY($1::text[])`, t.name()), ids)
	if err != nil {
		return err
	}
	made := map[sobject.ID]map[string]*string{}
	var sfid sobject.ID
	var cells map[string]json.RawMessage
	if _, err := pgx.ForEachRow(rows, []any{&sfid, &cells}, func() error { made[sfid], cells = w.values(cells), nil; return nil }); err != nil {
		return err
	}
	rows, err = db.pool.Query(ctx, fmt.Sprintf(`SELECT d.object, d.row_id, t.sfid, d.since, d.sent FROM mirror.doubts d JOIN %s t ON t.id = d.row_id WHERE d.object = $1 AND t.sfid IS NOT NULL ORDER BY d.row_id`, t.name()), object)
	if err != nil {
		return err
	}
	doubts, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (d Doubt, err error) {
		return d, r.Scan(&d.Object, &d.RowID, &d.SFID, &d.Since, &d.Sent)
	})
	if err != nil {
		return err
	}
	for _, d := range doubts {
		if err := each(d, made); err != nil {
			return err
		}
	}
	return nil
}

// TellDouble lets a person know of a record that may be there twice, and ends the doubt.
func (db *DB) TellDouble(ctx context.Context, d Doubt, first sobject.ID) error {
	params, err := json.Marshal(map[string]string{"first": string(first), "second": string(d.SFID)})
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM mirror.doubts WHERE object = $1 AND row_id = $2`, d.Object, d.RowID)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO mirror.news (object, kind, params) VALUES ($1, $2, $3)`, d.Object, string(NewsDouble), params)
		return err
	})
	if err != nil {
		return fmt.Errorf("tell that %s and %s may be one: %w", first, d.SFID, err)
	}
	return nil
}
