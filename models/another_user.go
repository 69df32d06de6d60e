package models

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// UserChange is what another user of the same org sees less or more of what is synced.
type UserChange struct {
	From        string              `json:"from"` // the present user
	ObjectsLess []string            `json:"objects_less,omitempty"`
	ObjectsMore []string            `json:"objects_more,omitempty"`
	FieldsLess  map[string][]string `json:"fields_less,omitempty"` // by object
	FieldsMore  map[string][]string `json:"fields_more,omitempty"`
}

// Same tells that the other user sees the same.
func (c UserChange) Same() bool {
	return len(c.ObjectsLess)+len(c.ObjectsMore)+len(c.FieldsLess)+len(c.FieldsMore) == 0
}

// pendingLife is how long a sign-in by another user waits for a yes.
const pendingLife = 24 * time.Hour

// pendingConnection is a sign-in by another user of the same org that waits for a yes.
type pendingConnection struct {
	Connection `gorm:"embedded"`
	Change     UserChange `gorm:"serializer:json"`
}

func (pendingConnection) TableName() string { return "admin.pending_connections" }

// HoldConnection keeps a tested sign-in by another user of the same org until somebody says yes or no. The stored connection
// goes on meanwhile. A later one replaces it.
func (db *DB) HoldConnection(ctx context.Context, c Connection, change UserChange, actor string) error {
	old, err := db.Connection(ctx)
	if err != nil {
		return err
	}
	if c.sameApp(old) {
		if c.ClientSecret.Empty() {
			c.ClientSecret = old.ClientSecret
		}
		if c.PrivateKey.Empty() {
			c.PrivateKey = old.PrivateKey
		}
	}
	now := db.Now()
	change.From = old.UserName
	c.ID, c.Single, c.State, c.StateAt, c.UpdatedAt, c.SavedBy, c.IssuedAt = old.ID, true, StateConnected, now, now, actor, &now
	// Sealed for the row that it becomes.
	if err := db.seal(&c); err != nil {
		return err
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`DELETE FROM admin.pending_connections`).Error; err != nil {
			return err
		}
		if err := tx.Create(&pendingConnection{c, change}).Error; err != nil {
			return err
		}
		return db.audit(tx, actor, "connection.hold", c.OrgID, map[string]string{"user": c.UserName})
	})
}

// PendingConnection gives the sign-in that waits for a yes, and what it would change; ErrNotFound if none does.
func (db *DB) PendingConnection(ctx context.Context) (Connection, UserChange, error) {
	var p pendingConnection
	err := found(db.gorm.WithContext(ctx).First(&p, "updated_at > ?", db.Now().Add(-pendingLife)).Error)
	if err == nil {
		err = db.unseal(&p.Connection)
	}
	if err != nil {
		return Connection{}, UserChange{}, err
	}
	return p.Connection, p.Change, nil
}

// AcceptConnection puts the sign-in that waits in the place of the stored one.
func (db *DB) AcceptConnection(ctx context.Context, actor string) (Connection, error) {
	c, _, err := db.PendingConnection(ctx)
	if err != nil {
		return c, err
	}
	return c, db.tx(ctx, func(tx *gorm.DB) error {
		r := tx.Exec(`DELETE FROM admin.pending_connections WHERE id = ? AND user_id = ?`, c.ID, c.UserID)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return ErrNotFound
		}
		return db.saveConnection(tx, c, true, actor)
	})
}

// DropConnection forgets the sign-in that waits; the stored one stays.
func (db *DB) DropConnection(ctx context.Context, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		r := tx.Exec(`DELETE FROM admin.pending_connections`)
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		return db.audit(tx, actor, "connection.drop", "", nil)
	})
}
