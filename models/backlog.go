package models

import (
	"context"
	"errors"
)

// Backlog is how what waits to be sent has moved in the last 24 hours.
type Backlog struct {
	Hours   [24]int64 // what was not settled at the end of each hour, set aside or not, oldest first
	Entered int64     // in the last hour
	Gone    int64
}

// Trend says where a backlog goes.
type Trend string

// Where a backlog goes.
const (
	TrendSteady    Trend = "steady"
	TrendGrowing   Trend = "growing"
	TrendShrinking Trend = "shrinking"
)

// Trend compares what came in the last hour with what was settled in it.
func (b Backlog) Trend() Trend {
	switch {
	case b.Entered > b.Gone:
		return TrendGrowing
	case b.Entered < b.Gone:
		return TrendShrinking
	}
	return TrendSteady
}

// moves are what came into an object's outbox and left it settled, in each of the last 24 hours; the first is the present one.
type moves struct{ entered, gone [24]int64 }

// of tells how the backlog came to what is not settled now, going back hour by hour.
func (m moves) of(now int64) Backlog {
	b := Backlog{Entered: m.entered[0], Gone: m.gone[0]}
	for h := range len(b.Hours) {
		b.Hours[len(b.Hours)-1-h] = max(now, 0)
		now += m.gone[h] - m.entered[h]
	}
	return b
}

// TellBacklogs adds to a status how each object's backlog has moved. It looks at a day of settled edits, so only pages that show
// it ask.
func (db *DB) TellBacklogs(ctx context.Context, s *Status) error {
	all, err := db.backlogs(ctx)
	if err != nil {
		return err
	}
	for i := range s.Objects {
		o := &s.Objects[i]
		o.Backlog = all[o.Name].of(o.ToSend + o.SetOut)
	}
	return nil
}

func (db *DB) backlogs(ctx context.Context) (map[string]moves, error) {
	var rows []struct {
		Object        string
		Hour          int
		Entered, Gone int64
	}
	if err := db.gorm.WithContext(ctx).Raw(`SELECT object, hour, entered, gone FROM mirror.backlog_hours`).Scan(&rows).Error; err != nil {
		return nil, err
	}
	all := map[string]moves{}
	for _, r := range rows {
		if r.Hour < 0 || r.Hour > 23 {
			continue
		}
		m := all[r.Object]
		m.entered[r.Hour], m.gone[r.Hour] = r.Entered, r.Gone
		all[r.Object] = m
	}
	return all, nil
}

// refusedOut counts the local changes of each object that Salesforce refused.
func (db *DB) refusedOut(ctx context.Context) (map[string]int64, error) {
	var rows []struct {
		Object string
		N      int64
	}
	if err := db.gorm.WithContext(ctx).Raw(`SELECT object, count(*) AS n FROM mirror.refused WHERE direction = 'out' GROUP BY object`).Scan(&rows).Error; err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(rows))
	for _, r := range rows {
		counts[r.Object] = r.N
	}
	return counts, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
