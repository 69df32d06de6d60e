package models

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
)

// sendPlace is an object's place in the order in which objects send: parents before children, so that what a child points to is known by its
// turn.
const sendPlace = `array_position(ARRAY['Campaign', 'Lead', 'Contact', 'CampaignMember'], `

// BeginSending ends a cycle's reading: what waits to be sent of the objects follows, with a queued run for each. An object that
// sends already, beside the cycle, gets none; that run sends it all. It gives how many runs there are; the first call decides.
func (db *DB) BeginSending(ctx context.Context, cycle int64, objects []string) (int, error) {
	n := 0
	err := db.tx(ctx, func(tx *gorm.DB) error {
		r := tx.Exec(`UPDATE admin.cycles SET sending = true WHERE number = ? AND ended_at IS NULL AND NOT sending`, cycle)
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		var err error
		n, err = db.queueSends(tx, &cycle, objects, "")
		return err
	})
	return n, err
}

// RequestSends asks for runs that send what waits of the objects, outside the cycle; it gives how many are new.
func (db *DB) RequestSends(ctx context.Context, objects []string, actor string) (int, error) {
	n := 0
	err := db.tx(ctx, func(tx *gorm.DB) error {
		var err error
		n, err = db.queueSends(tx, nil, objects, actor)
		return err
	})
	return n, err
}

func (db *DB) queueSends(tx *gorm.DB, cycle *int64, objects []string, actor string) (int, error) {
	if len(objects) == 0 {
		return 0, nil
	}
	r := tx.Exec(`INSERT INTO admin.runs (cycle, object, kind, state, requested_by, requested_at)
		SELECT ?, name, 'send', 'queued', ?, ? FROM admin.objects WHERE name IN ? ORDER BY `+sendPlace+`name), name
		ON CONFLICT (object, lane) WHERE ended_at IS NULL DO NOTHING`, cycle, actor, db.Now(), objects)
	if r.Error != nil || r.RowsAffected == 0 {
		return 0, r.Error
	}
	return int(r.RowsAffected), wake(tx)
}

// SendsLeft counts the runs of a cycle's sending that are not over, less those of objects that are paused.
func (db *DB) SendsLeft(ctx context.Context, cycle int64) (int, error) {
	var n int
	return n, db.gorm.WithContext(ctx).Raw(`SELECT count(*) FROM admin.runs r WHERE cycle = ? AND kind = 'send' AND ended_at IS NULL AND NOT (`+waitsAlone+`)`, cycle).Scan(&n).Error
}

// SendWaits tells whether a run that sends an object has to let others go first: those of the objects that it points to.
func (db *DB) SendWaits(ctx context.Context, r Run) (bool, error) {
	var waits bool
	return waits, db.gorm.WithContext(ctx).Raw(`SELECT EXISTS (SELECT FROM admin.runs r WHERE kind = 'send' AND ended_at IS NULL AND `+sendPlace+`object) < `+sendPlace+`?)
		AND NOT EXISTS (SELECT FROM admin.objects o WHERE o.name = r.object AND o.paused))`, r.Object).Scan(&waits).Error
}

// SendableObjects lists the objects whose local changes may be sent now, parents first: two-way, switched on, not paused, not hidden,
// and read once.
func (db *DB) SendableObjects(ctx context.Context) ([]Object, error) {
	var o []Object
	return o, db.gorm.WithContext(ctx).Where("direction = 'two-way' AND enabled AND NOT paused AND NOT hidden AND first_synced_at IS NOT NULL").
		Order(sendPlace + `name), name`).Find(&o).Error
}

// SendAtOnce tells whether local changes are sent as they are made, and not only with the cycle.
func (db *DB) SendAtOnce(ctx context.Context) (bool, error) {
	var on bool
	return on, db.gorm.WithContext(ctx).Raw(`SELECT send_at_once FROM admin.state`).Scan(&on).Error
}

// LastSendEnded gives when a run that sent ended last; long ago if none did.
func (db *DB) LastSendEnded(ctx context.Context) (time.Time, error) {
	var at *time.Time
	err := db.gorm.WithContext(ctx).Raw(`SELECT ended_at FROM admin.runs WHERE kind = 'send' AND ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1`).Scan(&at).Error
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return *at, nil
}

// SendingAllowed tells whether a person has said yes to the first sending. Where nobody was asked yet, or the question is open, it brings the
// question's numbers up to date, if there is something to send. A no stays one until somebody asks again.
func (db *DB) SendingAllowed(ctx context.Context, counts map[string]int64) (bool, error) {
	last, err := db.LastApproval(ctx, ApproveFirstSend, "")
	switch {
	case errors.Is(err, ErrNotFound):
		if len(counts) == 0 {
			return false, nil
		}
	case err != nil:
		return false, err
	case last.Answer != nil:
		return *last.Answer, nil
	case len(counts) == 0:
		return false, nil
	}
	_, err = db.AskApproval(ctx, ApproveFirstSend, "", counts)
	return false, err
}

// EndSend ends a run that sent. Unlike FinishRun it does not say that the object was read.
func (db *DB) EndSend(ctx context.Context, id int64) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		now := db.Now()
		err := tx.Exec(`UPDATE admin.runs SET state = 'succeeded', phase = '', ended_at = ?, heartbeat_at = ?, resumes_at = NULL, error_code = '', error = '',
			started_at = coalesce(started_at, ?) WHERE id = ? AND ended_at IS NULL`, now, now, now, id).Error
		if err != nil {
			return err
		}
		return wake(tx)
	})
}

// AddSent adds to a run's account what a batch did.
func (db *DB) AddSent(ctx context.Context, id, sent, refused, conflicts int64) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.runs SET phase = 'sending', sent = sent + ?, refused = refused + ?, conflicts = conflicts + ?, heartbeat_at = ?,
		resumes_at = NULL, error_code = '', error = '' WHERE id = ? AND ended_at IS NULL`, sent, refused, conflicts, db.Now(), id).Error
}
