package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Cycle is one turn over all objects that are due. An open one has no end; NextAt of the last ended one says when the next begins.
type Cycle struct {
	Number        int64 `gorm:"primaryKey"`
	ObjectsTotal  int
	StartedAt     time.Time
	EndedAt       *time.Time
	NextAt        *time.Time
	Asked         bool   // by somebody, rather than being due
	Sending       bool   // reading is over, and what waits to be sent follows
	ObjectsDone   int    `gorm:"->"`
	CurrentObject string `gorm:"->"`
}

// TableName is where cycles are.
func (Cycle) TableName() string { return "admin.cycles" }

// waitsAlone is a condition on a run r that waits for something that concerns its object alone: an admin has paused it, or it reads so much that
// it waits for the next day's share of calls. The cycle of the others does not wait with it; it goes on beside the next.
const waitsAlone = `r.ended_at IS NULL AND (r.kind = 'first-sync' AND r.error_code = '` + CodeShareUsed + `'
	OR EXISTS (SELECT FROM admin.objects o WHERE o.name = r.object AND o.paused))`

// CodeShareUsed is the code of a run that waits for Tandem's own share of calls.
const CodeShareUsed = "TANDEM_BUDGET"

const cycleColumns = `c.number, c.started_at, c.ended_at, c.next_at, c.asked, c.sending,
	(SELECT count(*) FROM admin.runs r WHERE r.cycle = c.number AND r.kind <> 'send') AS objects_total,
	(SELECT count(*) FROM admin.runs r WHERE r.cycle = c.number AND r.kind <> 'send' AND (r.ended_at IS NOT NULL OR ` + waitsAlone + `)) AS objects_done,
	coalesce((SELECT r.object FROM admin.runs r WHERE r.cycle = c.number AND r.state = 'running' ORDER BY r.phase = 'reading' DESC, r.id LIMIT 1), '') AS current_object`

// CurrentCycle gives the newest cycle, open or ended; ErrNotFound before the first.
func (db *DB) CurrentCycle(ctx context.Context) (Cycle, error) {
	return db.cycle(ctx, `SELECT `+cycleColumns+` FROM admin.cycles c ORDER BY c.number DESC LIMIT 1`)
}

// Cycle gives one cycle; ErrNotFound if there is none of that number.
func (db *DB) Cycle(ctx context.Context, number int64) (Cycle, error) {
	return db.cycle(ctx, `SELECT `+cycleColumns+` FROM admin.cycles c WHERE c.number = ?`, number)
}

func (db *DB) cycle(ctx context.Context, sql string, args ...any) (Cycle, error) {
	var c Cycle
	r := db.gorm.WithContext(ctx).Raw(sql, args...).Scan(&c)
	if r.Error == nil && r.RowsAffected == 0 {
		return c, ErrNotFound
	}
	return c, r.Error
}

// CycleDue tells whether the next cycle's time has come: the rest is over, or somebody asked.
func (db *DB) CycleDue(ctx context.Context) (bool, error) {
	var due bool
	return due, db.gorm.WithContext(ctx).Raw(`SELECT NOT EXISTS (SELECT FROM admin.cycles WHERE ended_at IS NULL)
		AND ((SELECT sync_asked FROM admin.state) OR coalesce((SELECT next_at FROM admin.cycles ORDER BY number DESC LIMIT 1), '-infinity') <= ?)`, db.Now()).Scan(&due).Error
}

// OpenCycle begins a cycle over the objects, with a queued run for each.
func (db *DB) OpenCycle(ctx context.Context, objects []string) (Cycle, []Run, error) {
	var c Cycle
	var runs []Run
	err := db.tx(ctx, func(tx *gorm.DB) error {
		var last int64
		if err := tx.Raw(`SELECT coalesce(max(number), 0) FROM admin.cycles`).Scan(&last).Error; err != nil {
			return err
		}
		now := db.Now()
		c = Cycle{Number: last + 1, ObjectsTotal: len(objects), StartedAt: now}
		asked := tx.Exec(`UPDATE admin.state SET sync_asked = false WHERE sync_asked`)
		if asked.Error != nil {
			return asked.Error
		}
		c.Asked = asked.RowsAffected > 0
		if err := tx.Create(&c).Error; err != nil {
			return err
		}
		var synced []string
		if err := tx.Raw(`SELECT name FROM admin.objects WHERE first_synced_at IS NOT NULL`).Scan(&synced).Error; err != nil {
			return err
		}
		known := make(map[string]bool, len(synced))
		for _, name := range synced {
			known[name] = true
		}
		for _, name := range objects {
			r := Run{Cycle: &c.Number, Object: name, Kind: RunFirstSync, State: RunQueued, RequestedAt: now}
			if known[name] {
				r.Kind = RunChanges
			}
			runs = append(runs, r)
		}
		// A resync that was asked for at this moment does not stand in the way; a run of the cycle before, still open, would.
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&runs).Error
	})
	return c, runs, err
}

// CloseCycle ends a cycle; the next is due after the rest, or at once if somebody asked meanwhile.
func (db *DB) CloseCycle(ctx context.Context, number int64, rest time.Duration) error {
	now := db.Now()
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.cycles SET ended_at = ?, next_at = ? WHERE number = ? AND ended_at IS NULL`, now, now.Add(rest), number).Error
}

// RequestSync skips the rest: the next cycle begins now. It gives that cycle's number. Asked while one runs, the next follows it without rest.
func (db *DB) RequestSync(ctx context.Context, actor string) (int64, error) {
	var number int64
	err := db.tx(ctx, func(tx *gorm.DB) error {
		var connected int64
		if err := tx.Model(&Connection{}).Count(&connected).Error; err != nil {
			return err
		}
		if connected == 0 {
			return refuse(CodeConflict, "sync.not_connected")
		}
		if err := tx.Exec(`UPDATE admin.state SET sync_asked = true`).Error; err != nil {
			return err
		}
		if err := tx.Raw(`SELECT coalesce(max(number), 0) + 1 FROM admin.cycles`).Scan(&number).Error; err != nil {
			return err
		}
		if err := db.audit(tx, actor, "sync.now", "", nil); err != nil {
			return err
		}
		return wake(tx)
	})
	return number, err
}

// Pause holds everything up: pieces under way end, no new one begins.
func (db *DB) Pause(ctx context.Context, actor string) error {
	return db.setPaused(ctx, true, actor, "sync.pause")
}

// Resume takes up what Pause stopped.
func (db *DB) Resume(ctx context.Context, actor string) error {
	return db.setPaused(ctx, false, actor, "sync.resume")
}

func (db *DB) setPaused(ctx context.Context, paused bool, actor, action string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`UPDATE admin.state SET paused = ?`, paused).Error; err != nil {
			return err
		}
		if err := db.audit(tx, actor, action, "", nil); err != nil {
			return err
		}
		return wake(tx)
	})
}

// Paused tells whether everything is paused.
func (db *DB) Paused(ctx context.Context) (bool, error) {
	var paused bool
	return paused, db.gorm.WithContext(ctx).Raw(`SELECT paused FROM admin.state`).Scan(&paused).Error
}

// WorkerSeen notes that a worker process lives.
func (db *DB) WorkerSeen(ctx context.Context, id string) error {
	now := db.Now()
	return db.gorm.WithContext(ctx).Exec(`INSERT INTO admin.workers (id, started_at, seen_at) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`, id, now, now).Error
}

// WorkerGone notes that a worker process ended, and forgets those that died long ago.
func (db *DB) WorkerGone(ctx context.Context, id string) error {
	return db.gorm.WithContext(ctx).Exec(`DELETE FROM admin.workers WHERE id = ? OR seen_at < ?`, id, db.Now().Add(-24*time.Hour)).Error
}

// AuditEntry is one thing that somebody did.
type AuditEntry struct {
	ID      int64 `gorm:"primaryKey"`
	At      time.Time
	Actor   string
	Action  string
	Subject string
	Detail  map[string]string `gorm:"serializer:json"`
}

// TableName is where the audit log is.
func (AuditEntry) TableName() string { return "admin.audit" }

func (db *DB) audit(tx *gorm.DB, actor, action, subject string, detail map[string]string) error {
	if detail == nil {
		detail = map[string]string{}
	}
	return tx.Create(&AuditEntry{At: db.Now(), Actor: actor, Action: action, Subject: subject, Detail: detail}).Error
}

// Audit lists the newest things that people did, newest first.
func (db *DB) Audit(ctx context.Context, limit int) ([]AuditEntry, error) {
	return db.AuditLog(ctx, AuditFilter{Limit: limit})
}

// AuditFilter narrows the audit log. Its zero value means everything, newest first.
type AuditFilter struct {
	Actor    string
	From, To time.Time // half-open
	Before   int64     // older ones than this, for the next page
	Limit    int       // at most; 100 if 0
}

// AuditLog lists what people did, newest first.
func (db *DB) AuditLog(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	q := db.gorm.WithContext(ctx).Order("id DESC")
	if f.Actor != "" {
		q = q.Where("actor = ?", f.Actor)
	}
	if !f.From.IsZero() {
		q = q.Where("at >= ?", f.From)
	}
	if !f.To.IsZero() {
		q = q.Where("at < ?", f.To)
	}
	if f.Before > 0 {
		q = q.Where("id < ?", f.Before)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	var a []AuditEntry
	return a, q.Limit(f.Limit).Find(&a).Error
}

// AuditActors lists who did something, to choose from.
func (db *DB) AuditActors(ctx context.Context) ([]string, error) {
	var a []string
	return a, db.gorm.WithContext(ctx).Raw(`SELECT DISTINCT actor FROM admin.audit WHERE actor <> '' ORDER BY actor LIMIT 500`).Scan(&a).Error
}

func (db *DB) auditAlone(ctx context.Context, actor, action, subject string, detail map[string]string) error {
	return db.audit(db.gorm.WithContext(ctx), actor, action, subject, detail)
}
