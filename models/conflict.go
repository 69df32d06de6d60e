package models

import (
	"context"
	"strconv"
	"time"

	"gorm.io/gorm"
)

// Conflict is a field that both sides changed since they last agreed, with the three values, who won and why.
type Conflict struct {
	ID                  int64
	Object              string
	RowID               int64  `gorm:"column:row_id"`
	SFID                string `gorm:"column:sfid"`
	Field               string
	Base, Local, Remote *string
	Winner              string // salesforce or local; empty while a person is asked
	Reason              string
	MadeBy              string // the database role of the last edit here
	MadeAt              *time.Time
	FoundAt             time.Time
	ClosedAt            *time.Time
	ClosedBy            string
	Outcome             string

	Name, Label string `gorm:"-"`
	Application string `gorm:"-"` // the program of that edit, while its edit is kept
}

// Undecided tells whether it waits for a person.
func (c Conflict) Undecided() bool { return c.Winner == "" && c.ClosedAt == nil }

// Lost is the value that did not win; what overturning makes the record's value again.
func (c Conflict) Lost() *string {
	if c.Winner == SideLocal {
		return c.Remote
	}
	return c.Local
}

// The sides of a conflict.
const (
	SideLocal      = "local"
	SideSalesforce = "salesforce"
)

// ConflictFilter narrows the conflicts. Its zero value means all that nobody has put away.
type ConflictFilter struct {
	Object string
	Closed bool  // those that are over instead
	Before int64 // what follows this one, for the next page
	Asked  bool  // that one waits for a person
	Limit  int   // at most; 100 if 0
}

const conflictColumns = `id, object, coalesce(row_id, 0) AS row_id, coalesce(sfid, '') AS sfid, field, base, local, remote, winner, reason, made_by, made_at, found_at`

// Conflicts lists conflicts: those that wait for a person first, then the newest.
func (db *DB) Conflicts(ctx context.Context, f ConflictFilter) ([]Conflict, error) {
	q := db.gorm.WithContext(ctx).Table("mirror.open_conflicts").Select(conflictColumns).Order("winner <> '', id DESC")
	if f.Closed {
		q = db.gorm.WithContext(ctx).Table("mirror.conflicts").Select(conflictColumns + ", closed_at, closed_by, outcome").Where("closed_at IS NOT NULL").Order("id DESC")
	}
	if f.Object != "" {
		q = q.Where("object = ?", f.Object)
	}
	switch {
	case f.Before > 0 && f.Closed:
		q = q.Where("id < ?", f.Before)
	case f.Before > 0 && f.Asked:
		q = q.Where("winner <> '' OR id < ?", f.Before)
	case f.Before > 0:
		q = q.Where("winner <> '' AND id < ?", f.Before)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	var c []Conflict
	if err := q.Limit(f.Limit).Scan(&c).Error; err != nil {
		return nil, err
	}
	return c, db.tellConflicts(ctx, c)
}

func (db *DB) tellConflicts(ctx context.Context, list []Conflict) error {
	byObject := map[string][]int{}
	for i := range list {
		byObject[list[i].Object] = append(byObject[list[i].Object], i)
	}
	for object, at := range byObject {
		table, err := db.Described(ctx, object)
		if err != nil {
			return err
		}
		var ids []int64
		var sfids []string
		for _, i := range at {
			if list[i].RowID != 0 {
				ids = append(ids, list[i].RowID)
			} else {
				sfids = append(sfids, list[i].SFID)
			}
		}
		names, err := db.recordNames(ctx, table, ids, sfids)
		if err != nil {
			return err
		}
		for _, i := range at {
			c := &list[i]
			n := names.of(c.RowID, c.SFID)
			c.Name, c.Label = n.Name, table.Label(c.Field)
			if c.RowID == 0 {
				c.RowID = n.ID
			}
		}
	}
	return db.tellApplications(ctx, list)
}

// tellApplications says with which program the edit of each conflict was made: the row of the edit itself tells, wherever it stands now.
func (db *DB) tellApplications(ctx context.Context, list []Conflict) error {
	var ids []int64
	for _, c := range list {
		if c.MadeAt != nil {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var found []struct {
		ID          int64
		Application string
	}
	err := db.gorm.WithContext(ctx).Raw(`SELECT c.id, e.application FROM mirror.conflicts c CROSS JOIN LATERAL (
			SELECT application, made_at FROM mirror.outbox o WHERE o.object = c.object AND o.row_id = c.row_id AND o.made_at <= c.made_at AND jsonb_exists(o.changed, c.column_name)
			UNION ALL SELECT application, made_at FROM mirror.settled s WHERE s.object = c.object AND s.row_id = c.row_id AND s.made_at <= c.made_at AND jsonb_exists(s.changed, c.column_name)
			ORDER BY made_at DESC LIMIT 1) e WHERE c.id = ANY(?::bigint[])`, bigints(ids)).Scan(&found).Error
	if err != nil {
		return err
	}
	for i := range list {
		for _, f := range found {
			if f.ID == list[i].ID {
				list[i].Application = f.Application
			}
		}
	}
	return nil
}

// UndecidedConflicts counts the conflicts that wait for a person's word.
func (db *DB) UndecidedConflicts(ctx context.Context) (int64, error) {
	var n int64
	return n, db.gorm.WithContext(ctx).Raw(`SELECT count(*) FROM mirror.open_conflicts WHERE winner = ''`).Scan(&n).Error
}

// OverturnConflict makes a side's value the record's: of a conflict that was decided the other way, or that waits for a person.
func (db *DB) OverturnConflict(ctx context.Context, id int64, side, actor string) error {
	if side != SideLocal && side != SideSalesforce {
		return refuse(CodeInvalid, "conflicts.side_invalid")
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		var c Conflict
		if err := tx.Raw(`SELECT `+conflictColumns+` FROM mirror.open_conflicts WHERE id = ?`, id).Scan(&c).Error; err != nil {
			return err
		}
		if c.ID == 0 || c.Winner == side {
			return refuse(CodeConflict, "conflicts.over")
		}
		var done bool
		if err := tx.Raw(`SELECT mirror.overturn_conflict(?::bigint, ?, ?)`, id, side, actor).Scan(&done).Error; err != nil {
			return told(err)
		}
		if !done {
			return refuse(CodeConflict, "conflicts.over")
		}
		record := c.SFID
		if record == "" {
			record = strconv.FormatInt(c.RowID, 10)
		}
		if err := db.audit(tx, actor, "conflict.overturn", c.Object, map[string]string{"field": c.Field, "record": record, "side": side}); err != nil {
			return err
		}
		return tell(tx)
	})
}

// SeeConflicts puts decided conflicts away: these, or with none named all of an object, or of all. Those that wait for a person
// stay. It gives how many.
func (db *DB) SeeConflicts(ctx context.Context, ids []int64, object, actor string) (int64, error) {
	var n int64
	err := db.tx(ctx, func(tx *gorm.DB) error {
		q := tx.Table("mirror.open_conflicts").Where("winner <> ''").Order("id").Limit(actedMax)
		if len(ids) > 0 {
			q = q.Where("id IN ?", ids)
		}
		if object != "" {
			q = q.Where("object = ?", object)
		}
		var chosen []int64
		if err := q.Pluck("id", &chosen).Error; err != nil {
			return err
		}
		if len(chosen) == 0 {
			return refuse(CodeConflict, "conflicts.none_chosen")
		}
		if err := tx.Raw(`SELECT mirror.see_conflicts(?::bigint[], ?)`, bigints(chosen), actor).Scan(&n).Error; err != nil {
			return err
		}
		if err := db.audit(tx, actor, "conflict.seen", object, map[string]string{"n": strconv.FormatInt(n, 10)}); err != nil {
			return err
		}
		return tell(tx)
	})
	return n, err
}
