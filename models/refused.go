package models

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
)

// Refusal is a record that was set aside, as the views of the mirror tell it: one that could not be stored here (in), or a local
// change that Salesforce refused (out).
type Refusal struct {
	ID          int64
	Object      string
	RowID       int64  `gorm:"column:row_id"` // 0 where there is no row
	SFID        string `gorm:"column:sfid"`
	Direction   string
	Field       string
	Code        string
	Message     string
	Value       string
	Details     string
	Cause       string // a digest that the refusals of one cause share
	Seen        int64
	FirstSeenAt time.Time
	LastSeenAt  time.Time

	Name       string        `gorm:"-"` // what people call the record; empty where it has no name
	Changes    []FieldChange `gorm:"-"` // what was to change
	Candidates []Candidate   `gorm:"-"` // the records that it may be, where several are
	Allowed    []string      `gorm:"-"` // the values that would be taken, where Salesforce tells
	RetriedAt  *time.Time    `gorm:"-"` // when somebody sent it again last
	RetriedBy  string        `gorm:"-"`
}

// Directions of a refusal.
const (
	RefusedIn  = "in"
	RefusedOut = "out"
)

// FieldChange is one field of an edit: what it was and what it became. Nil is empty.
type FieldChange struct {
	Field, Label  string
	Before, After *string
}

// Candidate is a record in Salesforce that may be the one at hand.
type Candidate struct {
	Object, SFID, Name string
}

// RefusalFilter narrows what is set aside. Its zero value means everything.
type RefusalFilter struct {
	Object, Direction, Code, Cause string
	From, To                       time.Time // by when it was tried last, half-open
	IDs                            []int64   // these alone
	Before                         int64     // older ones than this, for the next page
	Limit                          int       // at most; 100 if 0
}

func (f RefusalFilter) narrow(q *gorm.DB) *gorm.DB {
	for _, c := range []struct{ column, value string }{{"object", f.Object}, {"direction", f.Direction}, {"code", f.Code}, {"cause", f.Cause}} {
		if c.value != "" {
			q = q.Where(c.column+" = ?", c.value)
		}
	}
	if !f.From.IsZero() {
		q = q.Where("last_seen_at >= ?", f.From)
	}
	if !f.To.IsZero() {
		q = q.Where("last_seen_at < ?", f.To)
	}
	if f.IDs != nil {
		q = q.Where("id IN ?", f.IDs)
	}
	if f.Before > 0 {
		q = q.Where("id < ?", f.Before)
	}
	return q
}

// Cause is one reason for which records are set aside, and a few of them.
type Cause struct {
	Cause, Object, Direction, Code string
	Count                          int64
	HeldUp                         int64 `gorm:"-"` // other rows whose changes wait for these
	First, Last                    time.Time
	Message                        string    // one of theirs
	Same                           bool      // all of them have that message
	Rows                           []Refusal `gorm:"-"`
}

// Causes lists the causes for which records are set aside, those of most records first, each with its newest records, at most
// so many.
func (db *DB) Causes(ctx context.Context, f RefusalFilter, causes, rows int) ([]Cause, error) {
	var list []Cause
	q := f.narrow(db.gorm.WithContext(ctx).Table("mirror.refused_by_cause"))
	err := q.Select(`cause, object, direction, code, count(*) AS count, min(first_seen_at) AS first, max(last_seen_at) AS last, max(message) AS message, min(message) = max(message) AS same`).
		Group("cause, object, direction, code").Order("count DESC, cause").Limit(causes).Scan(&list).Error
	if err != nil || len(list) == 0 {
		return list, err
	}
	wanted := make([]string, len(list))
	for i, c := range list {
		wanted[i] = c.Cause
	}
	var found []Refusal
	inner := f.narrow(db.gorm.WithContext(ctx).Table("mirror.refused_by_cause")).Where("cause IN ?", wanted).
		Select("*, row_number() OVER (PARTITION BY cause ORDER BY id DESC) AS place")
	if err := db.gorm.WithContext(ctx).Table("(?) AS r", inner).Select(refusalColumns).Where("place <= ?", rows).Order("id DESC").Scan(&found).Error; err != nil {
		return nil, err
	}
	if err := db.tellRefusals(ctx, found); err != nil {
		return nil, err
	}
	var held []struct {
		Cause string
		Rows  int64
	}
	err = f.narrow(db.gorm.WithContext(ctx).Table("mirror.refused_by_cause AS r")).Where("cause IN ? AND direction = ?", wanted, RefusedOut).
		Joins("JOIN (SELECT object AS child, row_id AS child_row, parent_object, parent_id FROM mirror.held_up) h ON h.parent_object = r.object AND h.parent_id = r.row_id").
		Select("cause, count(DISTINCT (child, child_row)) AS rows").Group("cause").Scan(&held).Error
	if err != nil {
		return nil, err
	}
	for i := range list {
		for _, h := range held {
			if h.Cause == list[i].Cause {
				list[i].HeldUp = h.Rows
			}
		}
		for _, r := range found {
			if r.Cause == list[i].Cause {
				list[i].Rows = append(list[i].Rows, r)
			}
		}
	}
	return list, nil
}

const refusalColumns = `id, object, coalesce(row_id, 0) AS row_id, coalesce(sfid, '') AS sfid, direction, coalesce(field, '') AS field, code, message, coalesce(value::text, '') AS value,
	details::text AS details, cause, seen, first_seen_at, last_seen_at`

// Refused lists the records that are set aside, newest first.
func (db *DB) Refused(ctx context.Context, f RefusalFilter) ([]Refusal, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	var r []Refusal
	q := f.narrow(db.gorm.WithContext(ctx).Table("mirror.refused_by_cause")).Select(refusalColumns).Order("id DESC").Limit(f.Limit)
	if err := q.Scan(&r).Error; err != nil {
		return nil, err
	}
	return r, db.tellRefusals(ctx, r)
}

// RefusedCodes lists the codes for which records are set aside, to choose from.
func (db *DB) RefusedCodes(ctx context.Context) ([]string, error) {
	var codes []string
	return codes, db.gorm.WithContext(ctx).Raw(`SELECT DISTINCT code FROM mirror.refused ORDER BY code`).Scan(&codes).Error
}

// CauseCount is one cause of refusals and how many records it holds back.
type CauseCount struct {
	Code  string
	Count int64
}

// CausesOf counts what is set aside of an object by code, the most first.
func (db *DB) CausesOf(ctx context.Context, object string) ([]CauseCount, error) {
	var c []CauseCount
	return c, db.gorm.WithContext(ctx).Raw(`SELECT code, count(*) AS count FROM mirror.refused WHERE object = ? GROUP BY code ORDER BY 2 DESC, 1 LIMIT 5`, object).Scan(&c).Error
}

// tellRefusals adds what people read beside the view's columns: names, what was to change, candidates.
func (db *DB) tellRefusals(ctx context.Context, rows []Refusal) error {
	byObject := map[string][]int{}
	for i := range rows {
		byObject[rows[i].Object] = append(byObject[rows[i].Object], i)
	}
	for object, at := range byObject {
		table, err := db.Described(ctx, object)
		if err != nil {
			return err
		}
		ids := make([]int64, 0, len(at))
		sfids := make([]string, 0, len(at))
		for _, i := range at {
			if rows[i].RowID != 0 {
				ids = append(ids, rows[i].RowID)
			} else if rows[i].SFID != "" {
				sfids = append(sfids, rows[i].SFID)
			}
		}
		names, err := db.recordNames(ctx, table, ids, sfids)
		if err != nil {
			return err
		}
		for _, i := range at {
			r := &rows[i]
			n := names.of(r.RowID, r.SFID)
			r.Name = n.Name
			if r.RowID == 0 {
				r.RowID = n.ID
			}
			if r.SFID == "" {
				r.SFID = n.SFID
			}
			r.read(table)
		}
	}
	return db.nameCandidates(ctx, rows)
}

// nameCandidates finds the records that refusals name as candidates, where they are here.
func (db *DB) nameCandidates(ctx context.Context, rows []Refusal) error {
	var sfids []string
	objects := []string{"Lead", "Contact", "Campaign"} // those that are created, and so looked for
	for _, r := range rows {
		for _, c := range r.Candidates {
			sfids = append(sfids, c.SFID)
		}
		if len(r.Candidates) > 0 && !slices.Contains(objects, r.Object) {
			objects = append(objects, r.Object)
		}
	}
	if len(sfids) == 0 {
		return nil
	}
	for _, object := range objects {
		d, err := db.Described(ctx, object)
		if err != nil {
			return err
		}
		names, err := db.recordNames(ctx, d, nil, sfids)
		if err != nil {
			return err
		}
		for i := range rows {
			for j := range rows[i].Candidates {
				c := &rows[i].Candidates[j]
				if n := names.of(0, c.SFID); n.ID != 0 {
					c.Object, c.Name = object, n.Name
				}
			}
		}
	}
	return nil
}

// read takes what the refusal's details say. What it cannot make out it leaves: the message stands in any case.
func (r *Refusal) read(table Described) {
	if r.Direction == RefusedIn {
		if raw, err := cells(r.Value); err == nil && r.Field != "" {
			if v, ok := raw[r.Field]; ok {
				r.Changes = []FieldChange{{Field: r.Field, Label: table.Label(r.Field), After: plainText(v)}}
			}
		}
		return
	}
	d, err := cells(r.Details)
	if err != nil {
		return
	}
	base, _ := d["base"].(map[string]any)
	changed, _ := d["changed"].(map[string]any)
	r.Changes = fieldChanges(table, base, changed)
	r.RetriedBy, _ = d["retried_by"].(string)
	if at, ok := d["retried_at"].(string); ok {
		if t, err := time.Parse(time.RFC3339, at); err == nil {
			r.RetriedAt = &t
		}
	}
	candidates, _ := d["candidates"].([]any)
	for _, c := range candidates {
		switch c := c.(type) {
		case string:
			r.Candidates = append(r.Candidates, Candidate{SFID: c})
		case map[string]any:
			text := func(names ...string) string {
				for _, n := range names {
					if s, ok := c[n].(string); ok {
						return s
					}
				}
				return ""
			}
			r.Candidates = append(r.Candidates, Candidate{Object: text("object", "Object", "type"), SFID: text("sfid", "SFID", "id", "Id", "ID"), Name: text("name", "Name")})
		}
	}
	allowed, _ := d["allowed"].([]any)
	for _, v := range allowed {
		if t := plainText(v); t != nil {
			r.Allowed = append(r.Allowed, *t)
		}
	}
}

// fieldChanges pairs what an edit found with what it left, in the order of the describe.
func fieldChanges(table Described, base, changed map[string]any) []FieldChange {
	names := make([]string, 0, len(changed))
	for name := range changed {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := table.place(a) - table.place(b); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	list := make([]FieldChange, len(names))
	for i, name := range names {
		list[i] = FieldChange{Field: name, Label: table.Label(name), Before: plainText(base[name]), After: plainText(changed[name])}
	}
	return list
}

// plainText writes a value of JSON as people read it; nil is empty.
func plainText(v any) *string {
	var s string
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		s = v
	case bool:
		s = strconv.FormatBool(v)
	case json.Number:
		s = v.String()
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return nil
		}
		s = string(b)
	}
	return &s
}

// actedMax bounds how many records one press of a button retries or drops; what is left is told, and pressed again.
const actedMax = 50_000

// refusedIDs gives the local changes that fit the filter.
func (db *DB) refusedIDs(tx *gorm.DB, f RefusalFilter) ([]int64, error) {
	f.Direction, f.Before = RefusedOut, 0
	var ids []int64
	return ids, f.narrow(tx.Table("mirror.refused_by_cause")).Order("id").Limit(actedMax).Pluck("id", &ids).Error
}

// RetryRefused sends the refused changes that fit the filter again; it gives how many.
func (db *DB) RetryRefused(ctx context.Context, f RefusalFilter, actor string) (int64, error) {
	return db.actOnRefused(ctx, f, actor, "refused.retry", "", `SELECT mirror.retry_refused(?::bigint[], ?)`)
}

// DropRefused gives the refused changes that fit the filter up, for a reason; it gives how many.
func (db *DB) DropRefused(ctx context.Context, f RefusalFilter, reason, actor string) (int64, error) {
	reason = strings.TrimSpace(reason)
	if reason == "" {
		return 0, refuse(CodeInvalid, "errors.reason_missing")
	}
	return db.actOnRefused(ctx, f, actor, "refused.drop", reason, `SELECT mirror.drop_refused(?::bigint[], ?, ?)`, reason)
}

func (db *DB) actOnRefused(ctx context.Context, f RefusalFilter, actor, action, reason, sql string, args ...any) (int64, error) {
	var n int64
	err := db.tx(ctx, func(tx *gorm.DB) error {
		ids, err := db.refusedIDs(tx, f)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return refuse(CodeConflict, "errors.none_chosen")
		}
		detail, subject := map[string]string{}, f.Object
		if len(ids) == 1 {
			var one struct{ Object, Record string }
			if err := tx.Raw(`SELECT object, coalesce(sfid, 'local:' || row_id) AS record FROM mirror.refused_by_cause WHERE id = ?`, ids[0]).Scan(&one).Error; err != nil {
				return err
			}
			subject, detail["record"] = one.Object, one.Record
		}
		if err := tx.Raw(sql, append([]any{bigints(ids), actor}, args...)...).Scan(&n).Error; err != nil {
			return err
		}
		if n == 0 {
			return refuse(CodeConflict, "errors.none_chosen")
		}
		detail["n"] = strconv.FormatInt(n, 10)
		if reason != "" {
			detail["reason"] = reason
		}
		if err := db.audit(tx, actor, action, subject, detail); err != nil {
			return err
		}
		return tell(tx)
	})
	return n, err
}

// bigints writes numbers as an array for PostgreSQL.
func bigints(ids []int64) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(id, 10))
	}
	b.WriteByte('}')
	return b.String()
}

// tell makes open pages ask again, and workers look: what changed is in the mirror, whose tables tell nobody.
func tell(tx *gorm.DB) error {
	if err := tx.Exec(`SELECT pg_notify('tandem_changed', 'mirror')`).Error; err != nil {
		return err
	}
	return wake(tx)
}
