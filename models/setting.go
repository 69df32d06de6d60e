package models

import (
	"context"
	"strconv"

	"gorm.io/gorm"
)

// SyncSettings are what the admin sets for the whole installation.
type SyncSettings struct {
	BudgetPercent *int // of the org's daily calls; nil: half of what is left at the start of the day
	CheckHour     int  // of the nightly check, UTC; -1: none
	BrakePercent  int  // more deletions at once than this share ask a person
	SendAtOnce    bool // local changes are sent as they are made, not only with the cycle
}

// SyncSettings gives what is set.
func (db *DB) SyncSettings(ctx context.Context) (SyncSettings, error) {
	var s SyncSettings
	return s, db.gorm.WithContext(ctx).Raw(`SELECT budget_percent, check_hour, brake_percent, send_at_once FROM admin.state`).Scan(&s).Error
}

// SetSyncSettings keeps what the admin set. Another share of the budget holds from now on, for today too.
func (db *DB) SetSyncSettings(ctx context.Context, s SyncSettings, actor string) error {
	switch {
	case s.BudgetPercent != nil && (*s.BudgetPercent < 1 || *s.BudgetPercent > 100):
		return refuse(CodeInvalid, "settings.budget_wrong")
	case s.CheckHour < -1 || s.CheckHour > 23:
		return refuse(CodeInvalid, "settings.check_hour_wrong")
	case s.BrakePercent < 0 || s.BrakePercent > 100:
		return refuse(CodeInvalid, "settings.brake_wrong")
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		err := tx.Exec(`UPDATE admin.state SET check_hour = @hour, brake_percent = @brake, send_at_once = @send,
			budget_calls = CASE
				WHEN budget_percent IS NOT DISTINCT FROM CAST(@percent AS int) OR api_limit = 0 THEN budget_calls
				WHEN CAST(@percent AS int) IS NOT NULL THEN greatest(api_limit * CAST(@percent AS int) / 100, 1)
				ELSE greatest((api_limit - api_used + budget_used) / 2, 1) END,
			budget_percent = CAST(@percent AS int)`,
			map[string]any{"hour": s.CheckHour, "brake": s.BrakePercent, "send": s.SendAtOnce, "percent": s.BudgetPercent}).Error
		if err != nil {
			return err
		}
		detail := map[string]string{"check_hour": strconv.Itoa(s.CheckHour), "brake_percent": strconv.Itoa(s.BrakePercent), "send_at_once": strconv.FormatBool(s.SendAtOnce)}
		if s.BudgetPercent != nil {
			detail["budget_percent"] = strconv.Itoa(*s.BudgetPercent)
		}
		if err := db.audit(tx, actor, "settings.sync", "", detail); err != nil {
			return err
		}
		return wake(tx)
	})
}
