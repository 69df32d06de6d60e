package models

import (
	"context"
	"errors"
	"time"
)

// workerSilence is how long no worker may have given a sign of life before the pages say that nothing is going on. Frozen must
// never look green.
const workerSilence = 60 * time.Second

// CycleState is what the screen says of the whole. It is computed, never stored.
type CycleState string

// What the screen says of the whole.
const (
	CycleSyncing CycleState = "syncing"
	CycleResting CycleState = "resting"
	CyclePaused  CycleState = "paused"
	CycleStopped CycleState = "stopped" // not connected, refused, or no worker lives: see CycleStatus.Reason
)

// ObjectState is what the screen says of an object. It is computed, never stored: see StatusOf.
type ObjectState string

// What the screen says of an object.
const (
	ObjectWaiting   ObjectState = "waiting" // its turn has not come
	ObjectReading   ObjectState = "reading"
	ObjectSending   ObjectState = "sending"
	ObjectInSync    ObjectState = "in-sync"
	ObjectAttention ObjectState = "attention" // records are set aside, in conflict, or differ from Salesforce as a check found; or it waits for Salesforce
	ObjectFailed    ObjectState = "failed"
	ObjectPaused    ObjectState = "paused"
)

// Status is the whole of what the overview page and `tandem status` tell.
type Status struct {
	Cycle      CycleStatus      `json:"cycle"`
	Objects    []ObjectStatus   `json:"objects"`
	API        APIStatus        `json:"api"`
	Connection ConnectionStatus `json:"connection"`
	Today      Totals           `json:"-"`
	Approvals  []Approval       `json:"-"` // what waits for a person's yes
	Denied     *Approval        `json:"-"` // the first sending, where somebody said no to it
	Now        time.Time        `json:"-"`
}

// CycleStatus tells of the cycle.
type CycleStatus struct {
	Number        int64         `json:"number"`
	State         CycleState    `json:"state"`
	NextAt        *time.Time    `json:"next_at"`
	Reason        string        `json:"-"` // why it is stopped: not-connected, refused, no-worker
	StartedAt     *time.Time    `json:"-"`
	EndedAt       *time.Time    `json:"-"`
	ObjectsTotal  int           `json:"-"`
	ObjectsDone   int           `json:"-"`
	CurrentObject string        `json:"-"`
	Usual         time.Duration `json:"-"` // the median of the last cycles; 0 if there were none
	Workers       int           `json:"-"`
}

// ObjectStatus tells of one object.
type ObjectStatus struct {
	Name         string      `json:"name"`
	Direction    Direction   `json:"direction"`
	State        ObjectState `json:"state"`
	Records      int64       `json:"records"`
	Watermark    *time.Time  `json:"watermark"`
	LastSyncedAt *time.Time  `json:"last_synced_at"`
	ToSend       int64       `json:"to_send"`
	Refused      int64       `json:"refused"`
	Conflicts    int64       `json:"conflicts"`
	Error        string      `json:"error"`

	Label, LabelPlural string           `json:"-"`
	Custom, Hidden     bool             `json:"-"`
	Paused             bool             `json:"-"`
	ErrorCode          string           `json:"-"`
	Deleted            int64            `json:"-"`
	Differing          int64            `json:"-"` // records that the last check found to differ from Salesforce, and that were not mended since
	OldestToSend       *time.Time       `json:"-"`
	Vanished           int64            `json:"-"` // of Deleted, those that Salesforce no longer gives: gone, or hidden from the connected user
	SetOut             int64            `json:"-"` // of Refused, the local changes that Salesforce refused
	Backlog            Backlog          `json:"-"` // see TellBacklogs
	Run                *Run             `json:"-"` // the one under way
	Hours              [24]HourActivity `json:"-"` // the last 24 hours, oldest first
}

// HourActivity is what came in and went out in one hour.
type HourActivity struct {
	In, Out int64
}

// Totals are today's sums, from midnight UTC.
type Totals struct {
	In, Out, Refused, ToSend int64
	SetAside                 int64 // local changes that Salesforce refused, open now
}

// APIStatus tells of the org's daily API calls. Budget is Tandem's share of them.
type APIStatus struct {
	Used   int `json:"used"`
	Budget int `json:"budget"`
	Limit  int `json:"limit"`

	Tandem Budget `json:"-"` // Tandem's own account of the day
}

// ConnectionStatus tells of the connection.
type ConnectionStatus struct {
	State      ConnectionState `json:"state"`
	Org        string          `json:"org"`
	User       string          `json:"user"`
	Sandbox    bool            `json:"-"`
	APIVersion string          `json:"-"`
	ErrorCode  string          `json:"-"`
	Error      string          `json:"error,omitempty"` // what Salesforce said, when it refuses
}

// StatusOf computes what the screen says of an object from what the rows say.
func StatusOf(o Object, run *Run, refused, conflicts, differing int64) ObjectState {
	switch {
	case o.Paused:
		return ObjectPaused
	case o.Hidden:
		return ObjectAttention
	case run != nil && run.State == RunRunning && (run.Error != "" || run.Phase == PhaseWaiting):
		return ObjectAttention
	case run != nil && run.State == RunRunning:
		if run.Kind == RunSend {
			return ObjectSending
		}
		return ObjectReading
	case o.Error != "":
		return ObjectFailed
	case o.FirstSyncedAt == nil:
		return ObjectWaiting
	case refused > 0 || conflicts > 0 || differing > 0:
		return ObjectAttention
	default:
		return ObjectInSync
	}
}

// Status gives what there is to tell now. It reads rows only; nothing in it waits for Salesforce, nothing counts a large table.
func (db *DB) Status(ctx context.Context) (Status, error) {
	now := db.Now()
	s := Status{Now: now, Objects: []ObjectStatus{}}
	g := db.gorm.WithContext(ctx)

	c, err := db.Connection(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
		s.Connection.State = StateNotConnected
	case err != nil:
		return s, err
	default:
		s.Connection = ConnectionStatus{State: c.State, Org: c.OrgName, User: c.UserName, Sandbox: c.Sandbox, APIVersion: c.APIVersion, ErrorCode: c.ErrorCode, Error: c.Error}
		if s.Connection.Org == "" {
			s.Connection.Org = c.OrgID
		}
	}

	var state struct {
		Paused           bool
		Workers          int
		UsualSeconds     float64
		In, Out, Refused int64
	}
	err = g.Raw(`SELECT paused,
		(SELECT count(*) FROM admin.workers WHERE seen_at > ?) AS workers,
		coalesce((SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - started_at))
			FROM (SELECT * FROM admin.cycles WHERE ended_at IS NOT NULL ORDER BY number DESC LIMIT 20) l), 0) AS usual_seconds,
		t."in", t.out, t.refused
		FROM admin.state, (SELECT coalesce(sum(new + changed + deleted), 0) AS "in", coalesce(sum(sent), 0) AS out, coalesce(sum(refused) FILTER (WHERE kind <> 'check'), 0) AS refused
			FROM admin.runs WHERE requested_at >= date_trunc('day', ?::timestamptz AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') t`,
		now.Add(-workerSilence), now).Scan(&state).Error
	if err != nil {
		return s, err
	}
	budget, err := db.Budget(ctx)
	if err != nil {
		return s, err
	}
	s.API = APIStatus{Used: budget.OrgUsed, Budget: budget.Calls, Limit: budget.OrgLimit, Tandem: budget}
	s.Today = Totals{In: state.In, Out: state.Out, Refused: state.Refused}

	if err := db.cycleStatus(ctx, &s, state.Paused, state.Workers); err != nil {
		return s, err
	}
	s.Cycle.Usual = time.Duration(state.UsualSeconds * float64(time.Second))
	if err := db.objectStatuses(ctx, &s); err != nil {
		return s, err
	}
	for _, o := range s.Objects {
		s.Today.ToSend += o.ToSend
		s.Today.SetAside += o.SetOut
	}
	if s.Approvals, err = db.OpenApprovals(ctx); err != nil {
		return s, err
	}
	first, err := db.LastApproval(ctx, ApproveFirstSend, "")
	if err == nil && first.Answer != nil && !*first.Answer {
		s.Denied = &first
	}
	return s, ignoreMissing(err)
}

func (db *DB) cycleStatus(ctx context.Context, s *Status, paused bool, workers int) error {
	c, err := db.CurrentCycle(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	s.Cycle = CycleStatus{Number: c.Number, NextAt: c.NextAt, EndedAt: c.EndedAt, ObjectsTotal: c.ObjectsTotal, ObjectsDone: c.ObjectsDone, CurrentObject: c.CurrentObject, Workers: workers}
	known := err == nil
	if known {
		s.Cycle.StartedAt = &c.StartedAt
	}
	switch {
	case s.Connection.State != StateConnected:
		s.Cycle.State, s.Cycle.Reason = CycleStopped, string(s.Connection.State)
	case workers == 0:
		s.Cycle.State, s.Cycle.Reason = CycleStopped, "no-worker"
	case paused:
		s.Cycle.State = CyclePaused
	case !known || c.EndedAt == nil:
		s.Cycle.State = CycleSyncing
	default:
		s.Cycle.State = CycleResting
	}
	return nil
}

func (db *DB) objectStatuses(ctx context.Context, s *Status) error {
	g := db.gorm.WithContext(ctx)
	// Before the objects: a run that ends in between is still shown as working. The other way round its object would be shown as
	// one whose turn has not come.
	runs, err := db.ActiveRuns(ctx)
	if err != nil {
		return err
	}
	objects, err := db.Objects(ctx)
	if err != nil {
		return err
	}
	var mirrored []struct {
		Object                               string
		Records, Deleted, Refused, Conflicts int64
		ToSend                               int64
		Watermark, OldestToSend              *time.Time
	}
	if err := g.Raw(`SELECT object, records, deleted, refused, conflicts, to_send, watermark, oldest_to_send FROM mirror.object_status`).Scan(&mirrored).Error; err != nil {
		return err
	}
	out, err := db.refusedOut(ctx)
	if err != nil {
		return err
	}
	type tally struct {
		Object  string
		Records int64
	}
	var differing, vanished []tally
	// Not by the last checks: there are many, and mostly nothing differs.
	err = g.Raw(`SELECT object, sum(records)::bigint AS records FROM (
			SELECT object, count(DISTINCT sfid) AS records FROM mirror.open_differences GROUP BY object
			UNION ALL SELECT r.object, r.suspects FROM mirror.check_ranges r JOIN mirror.checks c ON c.id = r.check_id AND c.state = 'done') d GROUP BY object`).Scan(&differing).Error
	if err != nil {
		return err
	}
	if err := g.Raw(`SELECT object, records FROM mirror.vanished_status`).Scan(&vanished).Error; err != nil {
		return err
	}
	var hours []struct {
		Object  string
		Hour    int
		In, Out int64
	}
	err = g.Raw(`SELECT object, floor(extract(epoch FROM ?::timestamptz - coalesce(ended_at, heartbeat_at, requested_at)) / 3600)::int AS hour, sum(new + changed + deleted) AS "in", sum(sent) AS out
		FROM admin.runs WHERE requested_at > ? AND new + changed + deleted + sent > 0 GROUP BY 1, 2`, s.Now, s.Now.Add(-48*time.Hour)).Scan(&hours).Error
	if err != nil {
		return err
	}
	for _, o := range objects {
		if !o.Enabled {
			continue
		}
		line := ObjectStatus{
			Name: o.Name, Direction: o.Direction, LastSyncedAt: o.LastSyncedAt, Error: o.Error, ErrorCode: o.ErrorCode,
			Label: o.Label, LabelPlural: o.LabelPlural, Custom: o.Custom, Hidden: o.Hidden, Paused: o.Paused,
		}
		for _, m := range mirrored {
			if m.Object == o.Name {
				line.Records, line.Deleted, line.Refused, line.Conflicts, line.ToSend = m.Records, m.Deleted, m.Refused, m.Conflicts, m.ToSend
				line.Watermark, line.OldestToSend = m.Watermark, m.OldestToSend
			}
		}
		line.SetOut = out[o.Name]
		for i := range runs {
			// Of a resync and a run of the cycle, the one that works is shown; one that waits for a person gives way to one that does not.
			// What only looks has a place of its own.
			if runs[i].Object == o.Name && !runs[i].Kind.Looks() && (line.Run == nil || runs[i].State == RunRunning && (runs[i].Phase != PhaseWaiting || line.Run.State != RunRunning)) {
				line.Run = &runs[i]
			}
		}
		for _, h := range hours {
			if h.Object == o.Name && h.Hour >= 0 && h.Hour < len(line.Hours) {
				line.Hours[len(line.Hours)-1-h.Hour] = HourActivity{h.In, h.Out}
			}
		}
		for _, v := range vanished {
			if v.Object == o.Name {
				line.Vanished = min(v.Records, line.Deleted)
			}
		}
		for _, d := range differing {
			if d.Object == o.Name {
				line.Differing = d.Records
			}
		}
		line.State = StatusOf(o, line.Run, line.Refused, line.Conflicts, line.Differing)
		if line.Run != nil && line.Run.Error != "" && line.Error == "" {
			line.Error = line.Run.Error
		}
		s.Objects = append(s.Objects, line)
	}
	return nil
}

// ObjectDetail is what an object's page tells beside its status.
type ObjectDetail struct {
	ObjectStatus
	Fields int           // how many fields are synced
	Behind time.Duration // how far the watermark is behind now; 0 if nothing was read yet
	Causes []CauseCount  // why records of it are set aside
	Runs   []Run         // the last ones
	Check  *CheckStatus  // what the last comparison with Salesforce found; nil if there was none
	Look   *Run          // the check that is under way or was asked for
	Failed *Run          // the last check, if it ended without a result

	Formulas FormulaStatus

	Series []CyclePoint // what came in and went out in the last cycles, oldest first
}

// CyclePoint is one bar of the chart of changes per cycle.
type CyclePoint struct {
	Cycle   int64
	At      time.Time
	In, Out int64
}

// ObjectDetail gives what an object's page tells; ErrNotFound if the object is not known or switched off.
func (db *DB) ObjectDetail(ctx context.Context, name string) (ObjectDetail, error) {
	s, err := db.Status(ctx)
	if err != nil {
		return ObjectDetail{}, err
	}
	if err := db.TellBacklogs(ctx, &s); err != nil {
		return ObjectDetail{}, err
	}
	for _, o := range s.Objects {
		if o.Name != name {
			continue
		}
		d := ObjectDetail{ObjectStatus: o}
		if o.Watermark != nil {
			d.Behind = max(s.Now.Sub(*o.Watermark), 0)
		}
		if err := db.gorm.WithContext(ctx).Raw(`SELECT count(*) FROM mirror.field_status WHERE object = ? AND gone_at IS NULL AND left_out_at IS NULL`, name).Scan(&d.Fields).Error; err != nil {
			return d, err
		}
		if d.Causes, err = db.CausesOf(ctx, name); err != nil {
			return d, err
		}
		if d.Runs, err = db.Runs(ctx, RunFilter{Object: name, Limit: 20}); err != nil {
			return d, err
		}
		if err := db.checkDetail(ctx, &d); err != nil {
			return d, err
		}
		// What is sent is of other runs than what is read; what was sent at once belongs to the cycle that it followed.
		err = db.gorm.WithContext(ctx).Raw(`WITH c AS (
				SELECT cycle, requested_at AS at, new + changed + deleted AS "in" FROM admin.runs WHERE object = ? AND kind = 'changes' AND cycle IS NOT NULL AND ended_at IS NOT NULL ORDER BY id DESC LIMIT 60
			), s AS (
				SELECT coalesce(r.cycle, (SELECT number FROM admin.cycles k WHERE k.started_at <= r.requested_at ORDER BY number DESC LIMIT 1)) AS cycle, sum(r.sent) AS out
				FROM admin.runs r WHERE r.object = ? AND r.kind = 'send' AND r.sent > 0 AND r.requested_at >= (SELECT min(at) FROM c) GROUP BY 1
			)
			SELECT c.cycle, c.at, c."in", coalesce(s.out, 0) AS out FROM c LEFT JOIN s ON s.cycle = c.cycle ORDER BY c.cycle`, name, name).Scan(&d.Series).Error
		return d, err
	}
	return ObjectDetail{}, ErrNotFound
}
