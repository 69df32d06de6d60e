package models

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// RunKind says what a run is for.
type RunKind string

// The kinds of run.
const (
	RunFirstSync RunKind = "first-sync" // all records, because none were read yet
	RunChanges   RunKind = "changes"    // what changed since the watermark
	RunResync    RunKind = "resync"     // all records again, because somebody asked
	RunCheck     RunKind = "check"      // compares with the org
	RunSend      RunKind = "send"       // sends local changes
	RunFill      RunKind = "fill"       // fills a field that is new here, for all records
	RunFormulas  RunKind = "formulas"   // reads formula fields again, which change without a stamp
	RunSweep     RunKind = "sweep"      // compares the ids, to find what was purged
)

// Looks tells whether a run of this kind only looks, or reads again what is here already: it says nothing of whether the object is in sync.
func (k RunKind) Looks() bool { return k == RunCheck || k == RunFormulas }

// RunState says where a run is in its life.
type RunState string

// The states of a run.
const (
	RunQueued      RunState = "queued"      // asked for, by the cycle or a person; a worker starts it
	RunRunning     RunState = "running"     // a worker has begun; it goes on piece by piece, also when it waits for Salesforce
	RunInterrupted RunState = "interrupted" // its worker died; the next one to look makes it running again
	RunSucceeded   RunState = "succeeded"   // done
	RunFailed      RunState = "failed"      // given up; the next cycle tries anew
	RunCanceled    RunState = "canceled"    // a person stopped it
)

// RunPhase says what a running run is at.
type RunPhase string

// The phases of a running run.
const (
	PhaseNone       RunPhase = ""
	PhaseDescribing RunPhase = "describing" // asks what the object looks like now
	PhasePreparing  RunPhase = "preparing"  // Salesforce prepares a bulk result
	PhaseReading    RunPhase = "reading"
	PhaseFinishing  RunPhase = "finishing" // statistics, indexes, the watermark
	PhaseComparing  RunPhase = "comparing" // with the org
	PhaseSending    RunPhase = "sending"
	PhaseWaiting    RunPhase = "waiting" // for a person's yes
)

// Run is one pass over one object: one row of the history.
type Run struct {
	ID          int64 `gorm:"primaryKey"`
	Cycle       *int64
	Object      string
	Kind        RunKind
	State       RunState
	Phase       RunPhase
	RequestedBy string
	RequestedAt time.Time
	StartedAt   *time.Time
	EndedAt     *time.Time
	HeartbeatAt *time.Time
	ResumesAt   *time.Time // when a run that waits is tried again
	Expected    int64      // records that Salesforce said there are; 0 if it has not
	Read        int64
	New         int64
	Changed     int64
	Deleted     int64
	Unchanged   int64
	Sent        int64
	Refused     int64
	Conflicts   int64
	APICalls    int64          `gorm:"column:api_calls"`
	Cursor      map[string]any `gorm:"serializer:json;default:'{}'"` // where the next piece goes on, where no other row tells
	ErrorCode   string
	Error       string
}

// TableName is where runs are.
func (Run) TableName() string { return "admin.runs" }

// Active tells whether the run is not over.
func (r Run) Active() bool { return r.EndedAt == nil }

// Left estimates how long a running run goes on reading, by its rate so far; 0 if nothing can be said.
func (r Run) Left(now time.Time) time.Duration {
	if r.StartedAt == nil || r.Read <= 0 || r.Expected <= r.Read || r.Phase != PhaseReading {
		return 0
	}
	return time.Duration(float64(now.Sub(*r.StartedAt)) / float64(r.Read) * float64(r.Expected-r.Read))
}

// Rate is how many records a second a run has read so far.
func (r Run) Rate(now time.Time) int64 {
	if r.StartedAt == nil || r.Read <= 0 {
		return 0
	}
	return int64(float64(r.Read) / max(now.Sub(*r.StartedAt).Seconds(), 0.001))
}

// Run gives one run; ErrNotFound if there is none.
func (db *DB) Run(ctx context.Context, id int64) (Run, error) {
	var r Run
	return r, found(db.gorm.WithContext(ctx).First(&r, "id = ?", id).Error)
}

// ActiveRuns lists the runs that are not over, oldest first.
func (db *DB) ActiveRuns(ctx context.Context) ([]Run, error) {
	var r []Run
	return r, db.gorm.WithContext(ctx).Where("ended_at IS NULL").Order("id").Find(&r).Error
}

// CycleRuns lists the runs of a cycle in their order.
func (db *DB) CycleRuns(ctx context.Context, cycle int64) ([]Run, error) {
	var r []Run
	return r, db.gorm.WithContext(ctx).Where("cycle = ?", cycle).Order("id").Find(&r).Error
}

// RunFilter narrows the history. Its zero value means everything, newest first.
type RunFilter struct {
	Object   string
	Kind     RunKind
	State    RunState
	From, To time.Time // by start of the request, half-open
	Before   int64     // runs older than this one, for the next page
	Limit    int       // at most; 100 if 0
}

// Runs lists the history.
func (db *DB) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	q := db.gorm.WithContext(ctx).Order("id DESC")
	if f.Object != "" {
		q = q.Where("object = ?", f.Object)
	}
	if f.Kind != "" {
		q = q.Where("kind = ?", f.Kind)
	}
	if f.State != "" {
		q = q.Where("state = ?", f.State)
	}
	if !f.From.IsZero() {
		q = q.Where("requested_at >= ?", f.From)
	}
	if !f.To.IsZero() {
		q = q.Where("requested_at < ?", f.To)
	}
	if f.Before > 0 {
		q = q.Where("id < ?", f.Before)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	var r []Run
	return r, q.Limit(f.Limit).Find(&r).Error
}

// TroubledRuns lists the runs that wait for Salesforce, and those of the last week that failed where no later run of the object
// and kind has ended; of one object, or of all. What failed of the cycle is told by its object, and left out.
func (db *DB) TroubledRuns(ctx context.Context, object string) ([]Run, error) {
	var r []Run
	return r, db.gorm.WithContext(ctx).Raw(`SELECT * FROM admin.runs WHERE ended_at IS NULL AND error <> '' AND (? = '' OR object = ?)
		UNION ALL SELECT * FROM (SELECT DISTINCT ON (object, kind) * FROM admin.runs WHERE ended_at > ? AND lane <> 'cycle' AND (? = '' OR object = ?) ORDER BY object, kind, ended_at DESC) l WHERE state = 'failed'
		ORDER BY id DESC LIMIT 50`, object, object, db.Now().AddDate(0, 0, -7), object, object).Scan(&r).Error
}

// turns groups the kinds of which an object has one run at a time working: the cycle's reading and what sends take turns,
// and so does what reads all records: a check brings formulas up to date, which an older read must not take back.
var turns = [][]RunKind{{RunFirstSync, RunChanges, RunSend}, {RunResync, RunFill, RunFormulas, RunCheck}, {RunSweep}}

func turnsOf(k RunKind) []RunKind {
	for _, group := range turns {
		if slices.Contains(group, k) {
			return group
		}
	}
	return []RunKind{k}
}

// RunHeld tells whether a run may not go on now: everything or its object is paused, an older run that it takes turns with is
// under way, or the object's first sync is.
func (db *DB) RunHeld(ctx context.Context, r Run) (bool, error) {
	var held bool
	return held, db.gorm.WithContext(ctx).Raw(`SELECT EXISTS (SELECT FROM admin.state WHERE paused)
		OR EXISTS (SELECT FROM admin.objects WHERE name = ? AND paused)
		OR EXISTS (SELECT FROM admin.runs WHERE object = ? AND ended_at IS NULL AND id <> ? AND (kind = 'first-sync' AND ? <> 'first-sync' OR id < ? AND kind IN ?))`,
		r.Object, r.Object, r.ID, r.Kind, r.ID, turnsOf(r.Kind)).Scan(&held).Error
}

// StartRun notes that a worker has begun the run.
func (db *DB) StartRun(ctx context.Context, id int64) error {
	now := db.Now()
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.runs SET state = 'running', started_at = coalesce(started_at, ?), heartbeat_at = ? WHERE id = ? AND ended_at IS NULL`, now, now, id).Error
}

// RunProgress is how far a run has come. Counts are of the whole run, not of a piece.
type RunProgress struct {
	Phase                                                                      RunPhase
	Expected, Read, New, Changed, Deleted, Unchanged, Sent, Refused, Conflicts int64
}

// ProgressRun notes how far a run has come; whatever it waited for is over. Counts never go back: pieces of one run end in any order.
func (db *DB) ProgressRun(ctx context.Context, id int64, p RunProgress) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.runs SET phase = ?, expected = CASE WHEN ? > 0 THEN ? ELSE expected END, read = greatest(read, ?), new = greatest(new, ?),
		changed = greatest(changed, ?), deleted = greatest(deleted, ?), unchanged = greatest(unchanged, ?), refused = greatest(refused, ?),
		sent = greatest(sent, ?), conflicts = greatest(conflicts, ?), heartbeat_at = ?, resumes_at = NULL, error_code = '', error = '' WHERE id = ? AND ended_at IS NULL`,
		p.Phase, p.Expected, p.Expected, p.Read, p.New, p.Changed, p.Deleted, p.Unchanged, p.Refused, p.Sent, p.Conflicts, db.Now(), id).Error
}

// AddCalls adds API calls to a run's account.
func (db *DB) AddCalls(ctx context.Context, id, calls int64) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.runs SET api_calls = api_calls + ? WHERE id = ?`, calls, id).Error
}

// NoteRunWaits notes why a run waits and for how long.
func (db *DB) NoteRunWaits(ctx context.Context, id int64, code, message string, d time.Duration) error {
	now := db.Now()
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.runs SET error_code = ?, error = ?, resumes_at = ?, heartbeat_at = ? WHERE id = ? AND ended_at IS NULL`, code, message, now.Add(d), now, id).Error
}

// RunOutcome is how a run ended and what it did.
type RunOutcome struct {
	State                                                            RunState
	Read, New, Changed, Deleted, Unchanged, Sent, Refused, Conflicts int64
	ErrorCode, Error                                                 string
	Keep                                                             bool // leave the counts as the last progress had them
}

// FinishRun ends a run, and notes on its object that it is synced or what it failed with. A run that ended already stays as it ended.
func (db *DB) FinishRun(ctx context.Context, id int64, o RunOutcome) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		var r Run
		if err := found(tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&r, "id = ?", id).Error); err != nil {
			return err
		}
		if !r.Active() {
			return nil
		}
		now := db.Now()
		set := map[string]any{"state": o.State, "phase": "", "ended_at": now, "heartbeat_at": now, "resumes_at": nil, "error_code": o.ErrorCode, "error": o.Error}
		if !o.Keep {
			set["read"], set["new"], set["changed"], set["deleted"], set["unchanged"], set["refused"] = o.Read, o.New, o.Changed, o.Deleted, o.Unchanged, o.Refused
			set["sent"], set["conflicts"] = o.Sent, o.Conflicts
		}
		if r.StartedAt == nil {
			set["started_at"] = now
		}
		if err := tx.Model(&Run{}).Where("id = ?", id).Updates(set).Error; err != nil {
			return err
		}
		if r.Kind.Looks() {
			return wake(tx)
		}
		switch {
		case o.State == RunSucceeded && r.Kind == RunSweep:
			// Its ids were compared; that its records are in step is for the reads to say.
			return wake(tx)
		case o.State == RunSucceeded:
			set = map[string]any{"last_synced_at": now, "first_synced_at": gorm.Expr("coalesce(first_synced_at, ?)", now), "error_code": "", "error": "", "error_at": nil}
		case o.State == RunFailed:
			set = map[string]any{"error_code": o.ErrorCode, "error": o.Error, "error_at": now}
		default:
			return wake(tx)
		}
		if err := tx.Model(&Object{}).Where("name = ?", r.Object).Updates(set).Error; err != nil {
			return err
		}
		return wake(tx)
	})
}

// endRuns ends whatever an object has under way.
func (db *DB) endRuns(tx *gorm.DB, object string, state RunState) error {
	now := db.Now()
	return tx.Exec(`UPDATE admin.runs SET state = ?, phase = '', ended_at = ?, started_at = coalesce(started_at, ?), resumes_at = NULL WHERE object = ? AND ended_at IS NULL`, state, now, now, object).Error
}

// CancelRun stops a run that is not over.
func (db *DB) CancelRun(ctx context.Context, id int64, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		now := db.Now()
		r := tx.Exec(`UPDATE admin.runs SET state = 'canceled', phase = '', ended_at = ?, started_at = coalesce(started_at, ?), resumes_at = NULL WHERE id = ? AND ended_at IS NULL`, now, now, id)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return refuse(CodeConflict, "run.over")
		}
		var run Run
		if err := tx.First(&run, "id = ?", id).Error; err != nil {
			return err
		}
		if err := db.audit(tx, actor, "run.cancel", run.Object, map[string]string{"kind": string(run.Kind)}); err != nil {
			return err
		}
		return wake(tx)
	})
}

// historyKept is how long ended runs are kept: 13 months, so that a month can be compared with the same one a year before.
const historyKept = 396 * 24 * time.Hour

// noticeKept is how long news are kept that somebody has seen: no page shows them any more.
const noticeKept = 90 * 24 * time.Hour

// PruneHistory removes what is older than the history is kept, at most a few thousand rows at once; it gives how many. News that nobody has seen
// stay, and the audit log stays whole.
func (db *DB) PruneHistory(ctx context.Context) (int64, error) {
	limit := db.Now().Add(-historyKept)
	r := db.gorm.WithContext(ctx).Exec(`DELETE FROM admin.runs WHERE id IN (SELECT id FROM admin.runs WHERE ended_at < ? ORDER BY id LIMIT 5000)`, limit)
	if r.Error != nil {
		return 0, r.Error
	}
	n := r.RowsAffected
	r = db.gorm.WithContext(ctx).Exec(`DELETE FROM admin.cycles WHERE number IN (SELECT number FROM admin.cycles WHERE ended_at < ? ORDER BY number LIMIT 5000)`, limit)
	if r.Error != nil {
		return n, r.Error
	}
	n += r.RowsAffected
	r = db.gorm.WithContext(ctx).Exec(`DELETE FROM admin.notices WHERE id IN (SELECT id FROM admin.notices WHERE seen_at < ? ORDER BY id LIMIT 5000)`, db.Now().Add(-noticeKept))
	if r.Error != nil {
		return n, r.Error
	}
	return n + r.RowsAffected, db.gorm.WithContext(ctx).Exec(`DELETE FROM admin.api_hours WHERE hour < ?`, limit).Error
}

// RunCount is how many runs of a kind ended in a state.
type RunCount struct {
	Kind  RunKind
	State RunState
	Runs  int64
}

// RunCounts counts the runs that ended in the last 24 hours.
func (db *DB) RunCounts(ctx context.Context) ([]RunCount, error) {
	var c []RunCount
	return c, db.gorm.WithContext(ctx).Raw(`SELECT kind, state, count(*) AS runs FROM admin.runs WHERE ended_at > ? GROUP BY 1, 2 ORDER BY 1, 2`, db.Now().Add(-24*time.Hour)).Scan(&c).Error
}

// RequestResync asks for an object to be read again in full. A resync that is under way already is the answer to a second request.
func (db *DB) RequestResync(ctx context.Context, object, actor string) (Run, error) {
	return db.RequestRun(ctx, object, RunResync, actor)
}

// RequestRun asks for a run beside the cycle. One of its lane that is under way already is the answer to a second request.
func (db *DB) RequestRun(ctx context.Context, object string, kind RunKind, actor string) (Run, error) {
	var run Run
	err := db.tx(ctx, func(tx *gorm.DB) error {
		var o Object
		err := tx.First(&o, "name = ?", object).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return refuse(CodeNotFound, "object.unknown", "name", object)
		}
		if err != nil {
			return err
		}
		if !o.Enabled {
			return refuse(CodeConflict, "object.off", "name", object)
		}
		r := tx.Raw(`INSERT INTO admin.runs (object, kind, state, requested_by, requested_at) VALUES (?, ?, 'queued', ?, ?)
			ON CONFLICT (object, lane) WHERE ended_at IS NULL DO NOTHING RETURNING *`, object, kind, actor, db.Now()).Scan(&run)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return found(tx.First(&run, "object = ? AND kind = ? AND ended_at IS NULL", object, kind).Error)
		}
		if err := db.audit(tx, actor, "object."+string(kind), object, nil); err != nil {
			return err
		}
		return wake(tx)
	})
	return run, err
}

// SetCursor keeps where a run's next piece goes on.
func (db *DB) SetCursor(ctx context.Context, id int64, cursor map[string]any) error {
	return db.gorm.WithContext(ctx).Model(&Run{ID: id}).Select("cursor").Updates(&Run{Cursor: cursor}).Error
}
