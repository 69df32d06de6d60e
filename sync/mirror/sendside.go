package mirror

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// CreatedHere tells which of the records are known to be of rows that were made here: sent and accepted, or linked, with their insert or with
// a later edit.
func (db *DB) CreatedHere(ctx context.Context, object string, ids []sobject.ID) (map[sobject.ID]bool, error) {
	here := map[sobject.ID]bool{}
	if len(ids) == 0 {
		return here, nil
	}
	t, _, err := db.Table(ctx, object)
	if err != nil {
		return nil, err
	}
	rows, err := db.pool.Query(ctx, fmt.Sprintf(`SELECT t.id, t.sfid FROM %s t WHERE t.sfid = ANY($1::text[])`, t.name()), ids)
	if err != nil {
		return nil, fmt.Errorf("look for records of %s that were made here: %w", object, err)
	}
	byRow := map[int64]sobject.ID{}
	var row int64
	var id sobject.ID
	if _, err := pgx.ForEachRow(rows, []any{&row, &id}, func() error { byRow[row] = id; return nil }); err != nil {
		return nil, fmt.Errorf("look for records of %s that were made here: %w", object, err)
	}
	// One look for all of them: where the history has just grown, PostgreSQL would read it from its beginning for each.
	rows, err = db.pool.Query(ctx, `SELECT DISTINCT row_id FROM mirror.settled WHERE object = $1 AND row_id = ANY($2) AND (made OR operation = 'insert' AND outcome IN ('accepted', 'linked'))`,
		object, slices.Collect(maps.Keys(byRow)))
	if err != nil {
		return nil, fmt.Errorf("look for records of %s that were made here: %w", object, err)
	}
	if _, err := pgx.ForEachRow(rows, []any{&row}, func() error { here[byRow[row]] = true; return nil }); err != nil {
		return nil, fmt.Errorf("look for records of %s that were made here: %w", object, err)
	}
	return here, nil
}

// MemberStatuses gives the statuses that campaigns have for their members, in the campaigns' own order; none for a campaign of which nothing is
// known here.
func (db *DB) MemberStatuses(ctx context.Context, campaigns []string) (map[string][]string, error) {
	known := map[string][]string{}
	t, _, err := db.Table(ctx, "CampaignMemberStatus")
	if err != nil || !t.has("campaignid") || !t.has("label") {
		return known, nil //nolint:nilerr // not visible to this user, or not wanted: then Salesforce is asked, or nothing is known
	}
	alive, order := "", ""
	if t.HasIsDeleted() {
		alive = " AND NOT coalesce(isdeleted, false)"
	}
	if t.has("sortorder") {
		order = "sortorder, "
	}
	rows, err := db.pool.Query(ctx, fmt.Sprintf(`SELECT campaignid, label FROM %s WHERE campaignid = ANY($1) AND label IS NOT NULL%s ORDER BY campaignid, %slabel`, t.name(), alive, order), campaigns)
	if err != nil {
		return nil, fmt.Errorf("read the statuses of campaign members: %w", err)
	}
	var campaign, label string
	if _, err := pgx.ForEachRow(rows, []any{&campaign, &label}, func() error { known[campaign] = append(known[campaign], label); return nil }); err != nil {
		return nil, fmt.Errorf("read the statuses of campaign members: %w", err)
	}
	return known, nil
}

// Renew makes the row of a deleted record a row without record, which is created again when it is sent. What waits of it stays, and goes
// with that.
func (db *DB) Renew(ctx context.Context, object string, rowID int64, sfid string) error {
	w, err := db.begin(ctx, object, false)
	if err != nil {
		return err
	}
	defer w.rollback()
	if err := w.lock(ctx, ""); err != nil {
		return err
	}
	gone, mark := "false", ""
	if w.table.HasIsDeleted() {
		gone, mark = "coalesce(o.isdeleted, false)", ", isdeleted = false"
	}
	var was bool
	err = w.tx.QueryRow(ctx, fmt.Sprintf(`WITH o AS (SELECT * FROM %[1]s WHERE id = $1 AND sfid = $2 FOR UPDATE)
		UPDATE %[1]s t SET sfid = NULL%[3]s FROM o WHERE t.id = o.id RETURNING %[2]s`, w.table.name(), gone, mark), rowID, sfid).Scan(&was)
	if err == pgx.ErrNoRows {
		return nil // done before
	}
	if err == nil {
		_, err = w.tx.Exec(ctx, `UPDATE mirror.outbox SET sfid = NULL WHERE object = $1 AND row_id = $2`, object, rowID)
	}
	if err == nil {
		if was {
			err = w.keepAccount(ctx, 0, -1)
		} else {
			err = w.keepAccount(ctx, -1, 0)
		}
	}
	if err == nil {
		err = w.tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("make the row %d of %s a new one: %w", rowID, object, err)
	}
	return nil
}
