package models

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Direction says which way an object's changes flow.
type Direction string

// The directions.
const (
	TwoWay         Direction = "two-way"
	FromSalesforce Direction = "from-salesforce"
)

// Object is one Salesforce object and the admin's choice for it. What the screen says of it is computed: see StatusOf.
type Object struct {
	Name          string `gorm:"primaryKey"`
	Label         string
	LabelPlural   string
	Direction     Direction
	Position      int
	Custom        bool
	Enabled       bool
	Paused        bool
	Hidden        bool // these credentials cannot see it
	ErrorCode     string
	Error         string // what its last run failed with; empty once one succeeded
	ErrorAt       *time.Time
	LastSyncedAt  *time.Time
	FirstSyncedAt *time.Time

	Path           string            // how a custom object hangs from a person; empty for standard ones
	RowFilter      string            // a condition in SOQL's words that narrows what is read
	OnDeleted      OnDeleted         `gorm:"default:mark"`
	FormulaHours   int               `gorm:"default:24"` // between two readings of formula fields; 0: never
	CreatePolicy   CreatePolicy      `gorm:"default:all"`
	CreateField    string            // with CreateOperator and CreateValue: the condition that a new row must meet
	CreateOperator string            //
	CreateValue    string            //
	CreateDefaults map[string]string `gorm:"serializer:json;default:'{}'"` // field to text: what fills an empty field at the first sending
	DeleteAllowed  bool              // a local deletion deletes in Salesforce too
	Recreate       bool              // a local edit of a record that Salesforce deleted creates it again
	Policy         ConflictPolicy    `gorm:"default:salesforce"`
	ExternalID     string            `gorm:"column:external_id"` // the field by which a create happens once; empty: none
	MatchEmail     bool              `gorm:"default:true"`       // before a create, people are looked for by e-mail
	Visible        bool              `gorm:"default:true"`       // the org still has it
	HiddenAt       *time.Time        // since when the credentials cannot see it
	DisabledAt     *time.Time        // since when it is switched off; nil if it never was on
}

// OnDeleted says what becomes of the row of a record that was deleted in Salesforce.
type OnDeleted string

// What becomes of the row of a deleted record.
const (
	MarkDeleted   OnDeleted = "mark"   // it stays, isdeleted
	RemoveDeleted OnDeleted = "remove" // it goes
)

// CreatePolicy says which new rows become records in Salesforce.
type CreatePolicy string

// Which new rows become records.
const (
	CreateAll       CreatePolicy = "all"
	CreateCondition CreatePolicy = "condition"
	CreateNone      CreatePolicy = "none"
)

// ConflictPolicy says who wins where both sides changed a field since they last agreed.
type ConflictPolicy string

// Who wins.
const (
	PolicySalesforce ConflictPolicy = "salesforce"
	PolicyLocal      ConflictPolicy = "local"
	PolicyNewest     ConflictPolicy = "newest"
	PolicyAsk        ConflictPolicy = "ask"
)

// TableName is where objects are.
func (Object) TableName() string { return "admin.objects" }

// StandardObjects are the objects that are switched on with a connection, in the order in which a cycle reads and the pages show them.
var StandardObjects = []Object{
	{Name: "Lead", Label: "Lead", LabelPlural: "Leads", Direction: TwoWay},
	{Name: "Contact", Label: "Contact", LabelPlural: "Contacts", Direction: TwoWay},
	{Name: "Account", Label: "Account", LabelPlural: "Accounts", Direction: FromSalesforce},
	{Name: "User", Label: "User", LabelPlural: "Users", Direction: FromSalesforce},
	{Name: "Group", Label: "Group", LabelPlural: "Groups", Direction: FromSalesforce},
	{Name: "Opportunity", Label: "Opportunity", LabelPlural: "Opportunities", Direction: FromSalesforce},
	{Name: "OpportunityContactRole", Label: "Opportunity Contact Role", LabelPlural: "Opportunity Contact Roles", Direction: FromSalesforce},
	{Name: "Campaign", Label: "Campaign", LabelPlural: "Campaigns", Direction: TwoWay},
	{Name: "CampaignMember", Label: "Campaign Member", LabelPlural: "Campaign Members", Direction: TwoWay},
	{Name: "CampaignMemberStatus", Label: "Campaign Member Status", LabelPlural: "Campaign Member Statuses", Direction: FromSalesforce},
	{Name: "Task", Label: "Task", LabelPlural: "Tasks", Direction: FromSalesforce},
	{Name: "Event", Label: "Event", LabelPlural: "Events", Direction: FromSalesforce},
}

// Objects lists the objects in their order.
func (db *DB) Objects(ctx context.Context) ([]Object, error) {
	var o []Object
	return o, db.gorm.WithContext(ctx).Order("position, name").Find(&o).Error
}

// Object gives one object; ErrNotFound if it is not known.
func (db *DB) Object(ctx context.Context, name string) (Object, error) {
	var o Object
	return o, found(db.gorm.WithContext(ctx).First(&o, "name = ?", name).Error)
}

// EnableStandardObjects makes the standard objects known after a connection was saved: those that the user can see are
// switched on, the rest are marked as hidden. What the admin chose before stays.
func (db *DB) EnableStandardObjects(ctx context.Context, visible []string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		for i, o := range StandardObjects {
			o.Position = (i + 1) * 10
			o.Enabled = true
			if o.Hidden = !slices.Contains(visible, o.Name); o.Hidden {
				now := db.Now()
				o.HiddenAt = &now
			}
			if err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, DoUpdates: clause.Assignments(map[string]any{
				"hidden": gorm.Expr("excluded.hidden"), "hidden_at": gorm.Expr("CASE WHEN excluded.hidden THEN coalesce(objects.hidden_at, excluded.hidden_at) END"),
			})}).Create(&o).Error; err != nil {
				return err
			}
		}
		return wake(tx)
	})
}

// EnableObjects switches objects on.
func (db *DB) EnableObjects(ctx context.Context, names []string, actor string) error {
	return db.setObjects(ctx, names, actor, "object.enable", "enabled", true)
}

// DisableObjects switches objects off. Their tables stay as they are.
func (db *DB) DisableObjects(ctx context.Context, names []string, actor string) error {
	return db.setObjects(ctx, names, actor, "object.disable", "enabled", false)
}

// PauseObject holds one object up; the run under way goes on when it is resumed.
func (db *DB) PauseObject(ctx context.Context, name, actor string) error {
	return db.setObjects(ctx, []string{name}, actor, "object.pause", "paused", true)
}

// ResumeObject lets a paused object go on.
func (db *DB) ResumeObject(ctx context.Context, name, actor string) error {
	return db.setObjects(ctx, []string{name}, actor, "object.resume", "paused", false)
}

func (db *DB) setObjects(ctx context.Context, names []string, actor, action, column string, value bool) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		for _, name := range names {
			set := map[string]any{column: value}
			if column == "enabled" {
				set["disabled_at"] = gorm.Expr("CASE WHEN NOT ? AND enabled THEN ?::timestamptz WHEN NOT ? THEN disabled_at END", value, db.Now(), value)
			}
			r := tx.Model(&Object{}).Where("name = ?", name).Updates(set)
			if r.Error != nil {
				return r.Error
			}
			if r.RowsAffected == 0 {
				return refuse(CodeNotFound, "object.unknown", "name", name)
			}
			if column == "enabled" && !value {
				// An object that is switched off must not hold up its cycle.
				if err := db.endRuns(tx, name, RunCanceled); err != nil {
					return err
				}
			}
			if err := db.audit(tx, actor, action, name, nil); err != nil {
				return err
			}
		}
		return wake(tx)
	})
}

// NoteObjectVisible takes over what the org calls the object; an empty label leaves what is known. One that was out of sight
// goes on by itself, and a notice says so.
func (db *DB) NoteObjectVisible(ctx context.Context, name, label, labelPlural string) error {
	var o Object
	err := db.gorm.WithContext(ctx).First(&o, "name = ?", name).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	named := label != "" && labelPlural != "" && (o.Label != label || o.LabelPlural != labelPlural)
	if !o.Hidden && !named {
		return nil
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		if named {
			if err := tx.Model(&Object{}).Where("name = ?", name).Updates(map[string]any{"label": label, "label_plural": labelPlural}).Error; err != nil {
				return err
			}
		}
		// What was wrong with it was that it could not be seen.
		r := tx.Model(&Object{}).Where("name = ? AND hidden", name).Updates(map[string]any{"hidden": false, "hidden_at": nil, "error_code": "", "error": "", "error_at": nil})
		if r.Error != nil || r.RowsAffected == 0 || !o.Enabled || o.FirstSyncedAt == nil {
			return r.Error
		}
		return tx.Create(&Notice{At: db.Now(), Object: name, Message: "notice.object_back", Params: map[string]string{}}).Error
	})
}

// NoteObjectHidden notes that the credentials cannot see the object. Its data stay; the first time, a notice says so.
func (db *DB) NoteObjectHidden(ctx context.Context, name, code, message string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		now := db.Now()
		r := tx.Model(&Object{}).Where("name = ? AND NOT hidden", name).Updates(map[string]any{"hidden": true, "hidden_at": now})
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected > 0 {
			if err := tx.Create(&Notice{At: now, Object: name, Message: "notice.object_hidden", Params: map[string]string{}}).Error; err != nil {
				return err
			}
		}
		return tx.Model(&Object{}).Where("name = ?", name).Updates(map[string]any{"error_code": code, "error": message, "error_at": now}).Error
	})
}

// ObjectsDue lists the objects that the next cycle reads: switched on, not paused, not hidden at the last look, and with no
// run of an earlier cycle still under way. What runs beside the cycle does not hold it up.
func (db *DB) ObjectsDue(ctx context.Context) ([]string, error) {
	var names []string
	return names, db.gorm.WithContext(ctx).Raw(`SELECT name FROM admin.objects o WHERE enabled AND NOT paused AND NOT hidden
		AND NOT EXISTS (SELECT FROM admin.runs r WHERE r.object = o.name AND r.lane = 'cycle' AND r.ended_at IS NULL) ORDER BY position, name`).Scan(&names).Error
}

// HiddenObjects lists the objects that are switched on and that the credentials could not see at the last look.
func (db *DB) HiddenObjects(ctx context.Context) ([]string, error) {
	var names []string
	return names, db.gorm.WithContext(ctx).Raw(`SELECT name FROM admin.objects WHERE enabled AND hidden ORDER BY position, name`).Scan(&names).Error
}

// DescribeAll tells whether every object is to be described, changed or not, and since when; zero if not.
func (db *DB) DescribeAll(ctx context.Context) (time.Time, error) {
	var state struct{ DescribeAll *time.Time }
	err := db.gorm.WithContext(ctx).Raw(`SELECT describe_all FROM admin.state`).Scan(&state).Error
	if state.DescribeAll == nil {
		return time.Time{}, err
	}
	return *state.DescribeAll, err
}

// DescribedAll notes that every object was described; a later request stands.
func (db *DB) DescribedAll(ctx context.Context, asked time.Time) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.state SET describe_all = NULL WHERE describe_all <= ?`, asked).Error
}
