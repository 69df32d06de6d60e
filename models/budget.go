package models

import (
	"context"
	"time"
)

// budgetReserve is the share of Tandem's calls, in percent, that only changes may use: first syncs, resyncs, fills and checks stop above the rest.
const budgetReserve = 20

// Budget is Tandem's share of the org's API calls for one day, by UTC, and what became of it. All processes share it.
type Budget struct {
	Day      time.Time
	Calls    int  // Tandem's share of the day; 0: the org does not tell its limit, so nothing is held back
	Used     int  // calls that Tandem made today
	Percent  *int // what the admin set, of the org's limit; nil: half of what was left at the start of the day
	OrgUsed  int  // what the org said last of its calls of the last 24 hours, by all its applications
	OrgLimit int
	PerHour  int // Tandem's calls of the last hour

	Refused      string // what the org said when it refused more calls; empty if it did not
	RefusedUntil *time.Time
}

// Known tells whether the org's limit is known, and so a share of it.
func (b Budget) Known() bool { return b.Calls > 0 }

// Left is how many calls are left of the share.
func (b Budget) Left() int { return max(b.Calls-b.Used, 0) }

// Bulk is how many calls what reads much may use of the share, before only changes go on.
func (b Budget) Bulk() int { return b.Calls - b.Calls*budgetReserve/100 }

// InReserve tells that only changes go on, and slower.
func (b Budget) InReserve() bool { return b.Known() && b.Used >= b.Bulk() }

// Ends is when the share's day ends and the next begins.
func (b Budget) Ends() time.Time { return b.Day.AddDate(0, 0, 1) }

// RunsOut forecasts when the share is used up, at the rate of the last hour; false where it lasts until the day ends.
func (b Budget) RunsOut(now time.Time) (time.Time, bool) {
	switch {
	case !b.Known():
		return time.Time{}, false
	case b.Left() == 0:
		return now, true
	case b.PerHour <= 0:
		return time.Time{}, false
	}
	at := now.Add(time.Duration(float64(b.Left()) / float64(b.PerHour) * float64(time.Hour)))
	return at, at.Before(b.Ends())
}

// dayOf is the start of the day by UTC, in which calls are counted.
func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Budget gives today's share.
func (db *DB) Budget(ctx context.Context) (Budget, error) {
	now := db.Now()
	hour := now.Truncate(time.Hour)
	b := Budget{Day: dayOf(now)}
	var day *time.Time
	var calls, used, thisHour, lastHour int
	err := db.gorm.WithContext(ctx).Raw(`SELECT budget_day, budget_calls, budget_used, budget_percent, api_used, api_limit, api_refused, api_refused_until,
		coalesce((SELECT calls FROM admin.api_hours WHERE hour = ?), 0), coalesce((SELECT calls FROM admin.api_hours WHERE hour = ?), 0)
		FROM admin.state`, hour, hour.Add(-time.Hour)).Row().
		Scan(&day, &calls, &used, &b.Percent, &b.OrgUsed, &b.OrgLimit, &b.Refused, &b.RefusedUntil, &thisHour, &lastHour)
	if err != nil {
		return Budget{}, err
	}
	if day != nil && dayOf(*day).Equal(b.Day) {
		b.Calls, b.Used = calls, used
	}
	// Of the hour before, as much as lies within the last sixty minutes.
	into := float64(now.Sub(hour)) / float64(time.Hour)
	b.PerHour = thisHour + int(float64(lastHour)*(1-into))
	return b, nil
}

// Usage is what a reply of the org's said of its calls of the last 24 hours; a Limit of zero says nothing.
type Usage struct{ Used, Limit int }

// NoteCalls counts calls that were made into today's share, and keeps what the org said last of its budget. The first that is
// known of a day fixes the day's share: what the admin set of the limit, or half of what is left.
func (db *DB) NoteCalls(ctx context.Context, calls int64, u Usage) error {
	now := db.Now()
	day := dayOf(now).Format(time.DateOnly)
	g := db.gorm.WithContext(ctx)
	err := g.Exec(`UPDATE admin.state SET
		budget_day = n.day,
		budget_used = CASE WHEN budget_day = n.day THEN budget_used ELSE 0 END + n.calls,
		budget_calls = CASE
			WHEN n.most > 0 AND budget_percent IS NOT NULL THEN greatest(n.most * budget_percent / 100, 1)
			WHEN budget_day = n.day AND budget_calls > 0 THEN budget_calls
			WHEN n.most > 0 THEN greatest((n.most - n.used + n.calls) / 2, 1)
			ELSE 0 END,
		api_used = CASE WHEN n.most > 0 THEN n.used ELSE api_used END,
		api_limit = CASE WHEN n.most > 0 THEN n.most ELSE api_limit END,
		api_at = CASE WHEN n.most > 0 THEN n.at ELSE api_at END
		FROM (SELECT CAST(? AS date) AS day, CAST(? AS int) AS calls, CAST(? AS int) AS used, CAST(? AS int) AS most, CAST(? AS timestamptz) AS at) n
		WHERE n.calls > 0 OR n.most > 0 AND (api_used, api_limit, budget_day, budget_calls > 0) IS DISTINCT FROM (n.used, n.most, n.day, true)`,
		day, calls, u.Used, u.Limit, now).Error
	if err != nil || calls == 0 {
		return err
	}
	return g.Exec(`INSERT INTO admin.api_hours AS h (hour, calls) VALUES (?, ?) ON CONFLICT (hour) DO UPDATE SET calls = h.calls + excluded.calls`, now.Truncate(time.Hour), calls).Error
}

// RefuseCalls notes that the org refuses more calls, in its own words, and until when it is not asked.
func (db *DB) RefuseCalls(ctx context.Context, message string, until time.Time) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.state SET api_refused = ?, api_refused_until = ?`, message, until).Error
}

// CallsWork notes that the org answers again. What was refused is over only when its time is: a piece that was under way meanwhile proves nothing.
func (db *DB) CallsWork(ctx context.Context) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.state SET api_refused = '', api_refused_until = NULL WHERE api_refused_until <= ?`, db.Now()).Error
}

// CycleCost is what a cycle costs in calls: the mean of the last ten, the calls for all objects together included.
func (db *DB) CycleCost(ctx context.Context) (int, error) {
	var mean float64
	err := db.gorm.WithContext(ctx).Raw(`SELECT coalesce(avg(calls), 0) FROM (SELECT sum(r.api_calls) AS calls FROM admin.runs r
		WHERE r.cycle IN (SELECT number FROM admin.cycles WHERE ended_at IS NOT NULL ORDER BY number DESC LIMIT 10) AND r.kind <> 'first-sync' GROUP BY r.cycle) c`).Scan(&mean).Error
	return int(mean) + 1, err
}
