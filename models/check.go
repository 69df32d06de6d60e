package models

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
)

// CheckStatus is what the last comparison of an object with Salesforce found, as the view mirror.last_checks tells it.
type CheckStatus struct {
	Object               string
	RunID                int64
	CheckedAt            time.Time
	Here, There          int64 // records compared on each side, less those that are marked as deleted here and gone there
	Ranges, RangesDiffer int
	Suspects             int64 // records that differed at first sight
	Refreshed            int64 // of them, those of which only formulas differed; they were read again
	Explained            int64
	Moving               int64
	Differing            int64 // records that differ now: found, and not mended since
	Kept                 int64 // records that are deleted in Salesforce and alive here, until a person says yes, or because one said no
	Unlooked             int64 // records that differed at first sight beyond those that are looked at one by one, and were not mended since
}

// Same tells whether the mirror was the same as Salesforce. Of a record that changed there each time it was looked at nobody knows.
func (c CheckStatus) Same() bool { return !c.Differs() && c.Moving == 0 && c.Kept == 0 }

// Differs tells whether something differs that could be mended.
func (c CheckStatus) Differs() bool { return c.Differing > 0 || c.Unlooked > 0 }

// Difference is a field of a record that is not the same on both sides; Field is empty where one side lacks the record.
type Difference struct {
	Object  string
	SFID    string `gorm:"column:sfid"`
	Field   string
	Kind    string // missing here, extra here, or differs
	Here    *string
	There   *string
	FoundAt time.Time
}

// RequestCheck asks for an object to be compared with Salesforce. A check that is under way already is the answer to a second request.
func (db *DB) RequestCheck(ctx context.Context, object, actor string) (Run, error) {
	return db.RequestRun(ctx, object, RunCheck, actor)
}

// RequestMend asks for the records that the last check found to differ to be read again. A check that is under way stands in its way.
func (db *DB) RequestMend(ctx context.Context, object, actor string) (Run, error) {
	var run Run
	err := db.tx(ctx, func(tx *gorm.DB) error {
		var o Object
		if err := found(tx.First(&o, "name = ?", object).Error); errors.Is(err, ErrNotFound) {
			return refuse(CodeNotFound, "object.unknown", "name", object)
		} else if err != nil {
			return err
		}
		if !o.Enabled {
			return refuse(CodeConflict, "object.off", "name", object)
		}
		r := tx.Raw(`INSERT INTO admin.runs (object, kind, state, requested_by, requested_at, cursor) VALUES (?, 'check', 'queued', ?, ?, '{"mend": true}')
			ON CONFLICT (object, lane) WHERE ended_at IS NULL DO NOTHING RETURNING *`, object, actor, db.Now()).Scan(&run)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return refuse(CodeConflict, "object.check_under_way", "object", o.LabelPlural)
		}
		if err := db.audit(tx, actor, "object.mend", object, nil); err != nil {
			return err
		}
		return wake(tx)
	})
	return run, err
}

// RequestChecksDue asks for the nightly check of each object that was synced before the hour that the admin set and not checked since.
func (db *DB) RequestChecksDue(ctx context.Context) error {
	now := db.Now()
	return db.tx(ctx, func(tx *gorm.DB) error {
		r := tx.Exec(`INSERT INTO admin.runs (object, kind, state, requested_by, requested_at)
			SELECT o.name, 'check', 'queued', 'Tandem', CAST(? AS timestamptz) FROM admin.objects o, admin.state s,
				LATERAL (SELECT date_trunc('day', CAST(? AS timestamptz) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + s.check_hour * interval '1 hour' AS today) d,
				LATERAL (SELECT CASE WHEN d.today <= CAST(? AS timestamptz) THEN d.today ELSE d.today - interval '1 day' END AS due) h
			WHERE s.check_hour >= 0 AND o.enabled AND NOT o.paused AND NOT o.hidden AND o.first_synced_at < h.due
				AND NOT EXISTS (SELECT FROM admin.runs r WHERE r.object = o.name AND r.kind = 'check' AND r.requested_at >= h.due)
			ORDER BY o.position, o.name
			ON CONFLICT (object, lane) WHERE ended_at IS NULL DO NOTHING`, now, now, now)
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		return wake(tx)
	})
}

// FirstOfKind tells whether no older run of the run's kind is under way, of whatever object: what reads everything goes one after another.
func (db *DB) FirstOfKind(ctx context.Context, r Run) (bool, error) {
	var first bool
	return first, db.gorm.WithContext(ctx).Raw(`SELECT NOT EXISTS (SELECT FROM admin.runs r JOIN admin.objects o ON o.name = r.object
		WHERE r.kind = ? AND r.id < ? AND r.ended_at IS NULL AND NOT o.paused)`, r.Kind, r.ID).Scan(&first).Error
}

// AskCycle lets the next cycle begin without rest, as a check needs it to tell a difference from a change that is still to come.
func (db *DB) AskCycle(ctx context.Context) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`UPDATE admin.state SET sync_asked = true WHERE NOT sync_asked`).Error; err != nil {
			return err
		}
		return wake(tx)
	})
}

// ReadSince tells whether a reading of the object that began after a time has ended well. failure is the reason of one that ended
// otherwise since then, while none has ended well.
func (db *DB) ReadSince(ctx context.Context, object string, since time.Time) (read bool, failure string, err error) {
	var r struct {
		Read    bool
		Failure string
	}
	err = db.gorm.WithContext(ctx).Raw(`SELECT coalesce(bool_or(state = 'succeeded'), false) AS read,
			coalesce((array_agg(error ORDER BY id DESC) FILTER (WHERE state = 'failed'))[1], '') AS failure
		FROM admin.runs WHERE object = ? AND kind IN ('first-sync', 'changes') AND started_at > ?`, object, since).Scan(&r).Error
	if r.Read {
		r.Failure = ""
	}
	return r.Read, r.Failure, err
}

const lastChecks = `SELECT object, run_id, checked_at, here, there, ranges, ranges_differ, suspects, refreshed, explained, moving, differing, unlooked, kept FROM mirror.last_checks`

// LastChecks gives what the last comparison of each object found, of those that were compared.
func (db *DB) LastChecks(ctx context.Context) ([]CheckStatus, error) {
	var c []CheckStatus
	return c, db.gorm.WithContext(ctx).Raw(lastChecks + ` ORDER BY object`).Scan(&c).Error
}

// LastCheck gives what the last comparison of an object found; ErrNotFound if there was none.
func (db *DB) LastCheck(ctx context.Context, object string) (CheckStatus, error) {
	var c CheckStatus
	r := db.gorm.WithContext(ctx).Raw(lastChecks+` WHERE object = ?`, object).Scan(&c)
	if r.Error == nil && r.RowsAffected == 0 {
		return c, ErrNotFound
	}
	return c, r.Error
}

// Differences lists what differs of an object, by record, at most limit fields.
func (db *DB) Differences(ctx context.Context, object string, limit int) ([]Difference, error) {
	var d []Difference
	return d, db.gorm.WithContext(ctx).Raw(`SELECT object, sfid, field, kind, here, there, found_at FROM mirror.open_differences WHERE object = ? ORDER BY sfid, field LIMIT ?`, object, limit).Scan(&d).Error
}

func (db *DB) checkDetail(ctx context.Context, d *ObjectDetail) error {
	c, err := db.LastCheck(ctx, d.Name)
	switch {
	case err == nil:
		d.Check = &c
	case !errors.Is(err, ErrNotFound):
		return err
	}
	if d.Formulas, err = db.formulaStatus(ctx, d.Name); err != nil {
		return err
	}
	runs, err := db.Runs(ctx, RunFilter{Object: d.Name, Kind: RunCheck, Limit: 1})
	if err != nil || len(runs) == 0 {
		return err
	}
	switch {
	case runs[0].Active():
		d.Look = &runs[0]
	case runs[0].State != RunSucceeded:
		d.Failed = &runs[0]
	}
	return nil
}
