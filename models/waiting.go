package models

import (
	"context"
	"slices"
	"time"
)

// Waiting is a record of which edits wait to be sent.
type Waiting struct {
	Object        string
	RowID         int64  `gorm:"column:row_id"`
	SFID          string `gorm:"column:sfid"`
	Edits         int64
	Since         time.Time // when the oldest was made
	MadeBy        string    // who made the last one, and with which program
	Application   string
	Sending       bool       // it is on its way at this moment
	RetryAt       *time.Time // Salesforce could not take it; it is tried again then
	ParentID      int64      // the row that it refers to and that Salesforce does not have yet; 0 if there is none
	ParentRefused bool       // which Salesforce refused

	ParentObject string
	Name         string     `gorm:"-"`
	Parent       RecordLine `gorm:"-"`
}

// WaitingMax bounds how many records that wait a page shows.
const WaitingMax = 200

// WaitingToSend lists the records of which edits wait to be sent, of an object or of all, those that have waited longest first.
func (db *DB) WaitingToSend(ctx context.Context, object string) ([]Waiting, error) {
	var list []Waiting
	// The oldest edits are read by their number; what else waits of the same rows is looked up for those that are shown.
	err := db.gorm.WithContext(ctx).Raw(`WITH rows AS (
			SELECT object, row_id, min(seq) AS first FROM (
				SELECT object, row_id, seq FROM mirror.outbox WHERE state <> 'refused' AND (? = '' OR object = ?) ORDER BY seq LIMIT ?
			) o GROUP BY 1, 2 ORDER BY 3 LIMIT ?
		)
		SELECT r.object, r.row_id, e.*, coalesce(l.parent_object, '') AS parent_object, coalesce(l.parent_id, 0) AS parent_id,
			EXISTS (SELECT FROM mirror.outbox p WHERE p.object = l.parent_object AND p.row_id = l.parent_id AND p.state = 'refused') AS parent_refused
		FROM rows r
		CROSS JOIN LATERAL (
			SELECT coalesce(max(sfid), '') AS sfid, count(*) AS edits, min(made_at) AS since, bool_or(state = 'claimed') AS sending, max(retry_at) AS retry_at,
				(array_agg(made_by ORDER BY seq DESC))[1] AS made_by, (array_agg(application ORDER BY seq DESC))[1] AS application
			FROM mirror.outbox o WHERE o.object = r.object AND o.row_id = r.row_id AND o.state <> 'refused') e
		LEFT JOIN LATERAL (SELECT parent_object, parent_id FROM mirror.links k WHERE k.object = r.object AND k.row_id = r.row_id ORDER BY column_name LIMIT 1) l ON true
		WHERE e.edits > 0 ORDER BY r.first`, object, object, 10*WaitingMax, WaitingMax).Scan(&list).Error
	if err != nil {
		return nil, err
	}
	ids := map[string][]int64{}
	for _, w := range list {
		ids[w.Object] = append(ids[w.Object], w.RowID)
		if w.ParentID != 0 && !slices.Contains(ids[w.ParentObject], w.ParentID) {
			ids[w.ParentObject] = append(ids[w.ParentObject], w.ParentID)
		}
	}
	names := map[string]recordNames{}
	for object, rows := range ids {
		d, err := db.Described(ctx, object)
		if err != nil {
			return nil, err
		}
		if names[object], err = db.recordNames(ctx, d, rows, nil); err != nil {
			return nil, err
		}
	}
	for i := range list {
		w := &list[i]
		w.Name = names[w.Object].of(w.RowID, "").Name
		if w.ParentID != 0 {
			w.Parent = RecordLine{Object: w.ParentObject, ID: w.ParentID, Name: names[w.ParentObject].of(w.ParentID, "").Name}
		}
	}
	return list, nil
}
