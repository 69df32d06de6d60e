package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// ApprovalKind says what waits for a person's yes.
type ApprovalKind string

// What waits for a person's yes.
const (
	ApproveFirstSend ApprovalKind = "first-send" // the first sending of a connection; of no one object
	ApproveDeletions ApprovalKind = "deletions"  // more deletions at once than the brake lets through
	// ApproveSentDeletions is the same for what was deleted here and is to be deleted in Salesforce.
	ApproveSentDeletions ApprovalKind = "sent-deletions"
	ApproveConnection    ApprovalKind = "connection" // another user of the same org sees less or more
)

// Approval is a question to the admin, in numbers. It is open until somebody answers; there is one open of a kind and object.
type Approval struct {
	ID         int64 `gorm:"primaryKey"`
	Kind       ApprovalKind
	Object     string           // empty: concerns them all
	Counts     map[string]int64 `gorm:"serializer:json"` // what it is about, in numbers; the names are of the kind
	AskedAt    time.Time
	AnsweredAt *time.Time
	Answer     *bool
	AnsweredBy string
}

// TableName is where approvals are.
func (Approval) TableName() string { return "admin.approvals" }

// AskApproval asks a person, or brings the numbers of the open question up to date.
func (db *DB) AskApproval(ctx context.Context, kind ApprovalKind, object string, counts map[string]int64) (Approval, error) {
	a := Approval{Kind: kind, Object: object, Counts: counts, AskedAt: db.Now()}
	err := db.gorm.WithContext(ctx).Clauses(clause.OnConflict{
		Columns:     []clause.Column{{Name: "kind"}, {Name: "object"}},
		TargetWhere: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "answered_at IS NULL"}}},
		DoUpdates:   clause.AssignmentColumns([]string{"counts"}),
	}, clause.Returning{}).Create(&a).Error
	return a, err
}

// WithdrawApproval takes back a question that nobody has answered, for there is nothing left to decide; withdrawn tells whether there was one.
func (db *DB) WithdrawApproval(ctx context.Context, kind ApprovalKind, object string) (withdrawn bool, err error) {
	r := db.gorm.WithContext(ctx).Where("kind = ? AND object = ? AND answered_at IS NULL", kind, object).Delete(&Approval{})
	return r.RowsAffected > 0, r.Error
}

// BrakePercent is the share of an object's records of which more deletions at once wait for a person's yes.
func (db *DB) BrakePercent(ctx context.Context) (int, error) {
	var percent int
	return percent, db.gorm.WithContext(ctx).Raw(`SELECT brake_percent FROM admin.state`).Scan(&percent).Error
}

// OpenApprovals lists the questions that nobody has answered, oldest first.
func (db *DB) OpenApprovals(ctx context.Context) ([]Approval, error) {
	var a []Approval
	return a, db.gorm.WithContext(ctx).Where("answered_at IS NULL").Order("id").Find(&a).Error
}

// LastApproval gives the newest question of a kind and object, answered or not; ErrNotFound if there was none.
func (db *DB) LastApproval(ctx context.Context, kind ApprovalKind, object string) (Approval, error) {
	var a Approval
	return a, found(db.gorm.WithContext(ctx).Order("id DESC").First(&a, "kind = ? AND object = ?", kind, object).Error)
}

// AnswerApproval answers a question. One that was answered meanwhile is refused.
func (db *DB) AnswerApproval(ctx context.Context, id int64, yes bool, actor string) (Approval, error) {
	var a Approval
	err := db.tx(ctx, func(tx *gorm.DB) error {
		if err := found(tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&a, "id = ?", id).Error); err != nil {
			return err
		}
		if a.AnsweredAt != nil {
			return refuse(CodeConflict, "approval.answered", "by", a.AnsweredBy)
		}
		now := db.Now()
		a.AnsweredAt, a.Answer, a.AnsweredBy = &now, &yes, actor
		if err := tx.Save(&a).Error; err != nil {
			return err
		}
		if yes && a.Kind == ApproveFirstSend {
			// What waited for this is not left waiting for the rest to end.
			if err := tx.Exec(`UPDATE admin.state SET sync_asked = true`).Error; err != nil {
				return err
			}
		}
		action := "approval.no"
		if yes {
			action = "approval.yes"
		}
		if err := db.audit(tx, actor, action, a.Object, map[string]string{"kind": string(a.Kind)}); err != nil {
			return err
		}
		return wake(tx)
	})
	return a, err
}

// AnsweredApprovals lists the questions that were answered, newest first.
func (db *DB) AnsweredApprovals(ctx context.Context, limit int) ([]Approval, error) {
	var a []Approval
	return a, db.gorm.WithContext(ctx).Where("answered_at IS NOT NULL").Order("id DESC").Limit(limit).Find(&a).Error
}

// AskFirstSendAgain puts the question of the first sending once more after somebody said no to it.
func (db *DB) AskFirstSendAgain(ctx context.Context, actor string) error {
	last, err := db.LastApproval(ctx, ApproveFirstSend, "")
	if err != nil {
		return err
	}
	if last.Answer == nil || *last.Answer {
		return refuse(CodeConflict, "approval.not_denied")
	}
	if _, err := db.AskApproval(ctx, ApproveFirstSend, "", last.Counts); err != nil {
		return err
	}
	return db.auditAlone(ctx, actor, "approval.ask", "", map[string]string{"kind": string(ApproveFirstSend)})
}

// Notice is news that a person should see once. Message is a key of the catalogue of sentences, Params what its sentence names.
type Notice struct {
	ID      int64 `gorm:"primaryKey"`
	At      time.Time
	Object  string
	Message string
	Params  map[string]string `gorm:"serializer:json"`
	SeenAt  *time.Time
	SeenBy  string
	Origin  *string // what the news are called where they come from; nil if they are from here
}

// TableName is where notices are.
func (Notice) TableName() string { return "admin.notices" }

// AddNotice tells news of an object; params are pairs of name and value.
func (db *DB) AddNotice(ctx context.Context, object, message string, params ...string) error {
	n := Notice{At: db.Now(), Object: object, Message: message, Params: map[string]string{}}
	for i := 0; i+1 < len(params); i += 2 {
		n.Params[params[i]] = params[i+1]
	}
	return db.gorm.WithContext(ctx).Create(&n).Error
}

// AddNoticeOnce tells news that come from elsewhere; origin names them, and a second time nothing is told.
func (db *DB) AddNoticeOnce(ctx context.Context, origin, object, message string, params map[string]string) error {
	n := Notice{At: db.Now(), Object: object, Message: message, Params: params, Origin: &origin}
	return db.gorm.WithContext(ctx).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "origin"}}, DoNothing: true}).Create(&n).Error
}

// OpenNotices lists the news that nobody has put away, newest first; of one object, or of all.
func (db *DB) OpenNotices(ctx context.Context, object string, limit int) ([]Notice, error) {
	q := db.gorm.WithContext(ctx).Where("seen_at IS NULL").Order("id DESC").Limit(limit)
	if object != "" {
		q = q.Where("object = ?", object)
	}
	var n []Notice
	return n, q.Find(&n).Error
}

// SeeNotices puts news away: those up to and including id, of one object, or of all.
func (db *DB) SeeNotices(ctx context.Context, upTo int64, object, actor string) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.notices SET seen_at = ?, seen_by = ? WHERE seen_at IS NULL AND id <= ? AND (? = '' OR object = ?)`, db.Now(), actor, upTo, object, object).Error
}
