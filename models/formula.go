package models

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// FormulaStatus tells how fresh an object's formula fields are: they change without their record's stamp moving.
type FormulaStatus struct {
	Fields int        // how many there are
	Hours  int        // between two readings; 0: they are not read again by themselves
	ReadAt *time.Time // when the last reading of all of them began; nil if there was none
}

// formulasRead is when the last reading of all of an object's formulas began: a reading of all records brings them too.
const formulasRead = `(SELECT max(r.started_at) FROM admin.runs r WHERE r.object = o.name AND r.state = 'succeeded' AND r.kind IN ('first-sync', 'resync', 'formulas'))`

func (db *DB) formulaStatus(ctx context.Context, object string) (FormulaStatus, error) {
	var f FormulaStatus
	return f, db.gorm.WithContext(ctx).Raw(`SELECT (SELECT count(*) FROM mirror.formulas f WHERE f.object = o.name) AS fields, o.formula_hours AS hours, `+formulasRead+` AS read_at
		FROM admin.objects o WHERE o.name = ?`, object).Scan(&f).Error
}

// formulasApart is how long after one reading of formulas was asked for by the clock another is, if no cycle has begun since.
const formulasApart = 10 * time.Minute

// RequestFormulasDue asks for a reading of formula fields where the last is longer ago than the admin's hours; of several objects for the one
// that has waited longest: what costs calls beside the cycle is spread, one object a cycle, for all may be due at once. One that
// failed is asked for again after an hour.
func (db *DB) RequestFormulasDue(ctx context.Context) error {
	now := db.Now()
	return db.tx(ctx, func(tx *gorm.DB) error {
		r := tx.Exec(`INSERT INTO admin.runs (object, kind, state, requested_by, requested_at)
			SELECT o.name, 'formulas', 'queued', 'Tandem', CAST(? AS timestamptz) FROM admin.objects o
			WHERE o.formula_hours > 0 AND o.enabled AND NOT o.paused AND NOT o.hidden AND o.first_synced_at IS NOT NULL
				AND `+formulasRead+` < CAST(? AS timestamptz) - o.formula_hours * interval '1 hour'
				AND NOT EXISTS (SELECT FROM admin.runs r WHERE r.object = o.name AND r.kind = 'formulas' AND (r.ended_at IS NULL OR r.requested_at > CAST(? AS timestamptz) - interval '1 hour'))
				AND EXISTS (SELECT FROM mirror.formulas f WHERE f.object = o.name)
				AND NOT EXISTS (SELECT FROM admin.runs r WHERE r.kind = 'formulas' AND r.requested_by = 'Tandem' AND r.requested_at > CAST(? AS timestamptz)
					AND r.requested_at >= coalesce((SELECT max(started_at) FROM admin.cycles), '-infinity'))
			ORDER BY `+formulasRead+`, o.position, o.name LIMIT 1
			ON CONFLICT (object, lane) WHERE ended_at IS NULL DO NOTHING`, now, now, now, now.Add(-formulasApart))
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		return wake(tx)
	})
}
