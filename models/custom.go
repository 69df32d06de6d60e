package models

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
)

// OfferedObject is a custom object that hangs from a person, and by which path.
type OfferedObject struct {
	Name        string `json:"name"`
	Label       string `json:"label"`
	LabelPlural string `json:"label_plural"`
	Path        string `json:"path"` // "Line__c → Subscription__c → Account"
}

const (
	// lookEvery is how often the custom objects are looked for by themselves.
	lookEvery = 24 * time.Hour
	// customPosition is where custom objects stand: after the standard ones, by name.
	customPosition = 1000
)

// OfferObjects takes over which custom objects hang from a person. New ones are offered, switched off; those that no longer do are
// no longer offered, but stay if they are switched on or have a table. A notice tells of what is new since the last look.
func (db *DB) OfferObjects(ctx context.Context, offered []OfferedObject) error {
	return db.tx(ctx, func(tx *gorm.DB) error { return db.offerObjects(tx, offered) })
}

func (db *DB) offerObjects(tx *gorm.DB, offered []OfferedObject) error {
	now := db.Now()
	var looked struct{ LookedAt *time.Time }
	if err := tx.Raw(`SELECT looked_at FROM admin.state`).Scan(&looked).Error; err != nil {
		return err
	}
	names := []string{""}
	for _, f := range offered {
		names = append(names, f.Name)
		err := tx.Exec(`INSERT INTO admin.objects AS o (name, label, label_plural, direction, position, custom, enabled, path) VALUES (?, ?, ?, ?, ?, true, false, ?)
			ON CONFLICT (name) DO UPDATE SET label = excluded.label, label_plural = excluded.label_plural, path = excluded.path, visible = true
			WHERE o.custom AND (o.label, o.label_plural, o.path, o.visible) IS DISTINCT FROM (excluded.label, excluded.label_plural, excluded.path, true)`,
			f.Name, f.Label, f.LabelPlural, FromSalesforce, customPosition, f.Path).Error
		if err != nil {
			return err
		}
	}
	// Which of them are new: those that no notice could have told of, for they were not here or not offered before.
	var fresh []Object
	if err := tx.Raw(`UPDATE admin.objects SET offered_at = ? WHERE custom AND visible AND offered_at IS NULL RETURNING *`, now).Scan(&fresh).Error; err != nil {
		return err
	}
	if looked.LookedAt != nil {
		for _, o := range fresh {
			if o.Enabled {
				continue
			}
			if err := tx.Create(&Notice{At: now, Object: o.Name, Message: "notice.object_offered", Params: map[string]string{"object": o.LabelPlural, "path": o.Path}}).Error; err != nil {
				return err
			}
		}
	}
	if err := tx.Exec(`UPDATE admin.objects SET visible = false, offered_at = NULL WHERE custom AND visible AND name NOT IN ?`, names).Error; err != nil {
		return err
	}
	return tx.Exec(`UPDATE admin.state SET looked_at = ?, look_asked = false`, now).Error
}

// AskLook asks for the custom objects to be looked for again.
func (db *DB) AskLook(ctx context.Context, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		var connected int64
		if err := tx.Model(&Connection{}).Count(&connected).Error; err != nil {
			return err
		}
		if connected == 0 {
			return refuse(CodeConflict, "sync.not_connected")
		}
		if err := tx.Exec(`UPDATE admin.state SET look_asked = true`).Error; err != nil {
			return err
		}
		if err := db.audit(tx, actor, "objects.look", "", nil); err != nil {
			return err
		}
		return wake(tx)
	})
}

// LookDue tells whether the custom objects are to be looked for now: somebody asked, or a day has passed.
func (db *DB) LookDue(ctx context.Context) (bool, error) {
	var due bool
	return due, db.gorm.WithContext(ctx).Raw(`SELECT look_asked OR coalesce(looked_at < ?, true) FROM admin.state`, db.Now().Add(-lookEvery)).Scan(&due).Error
}

// Looked tells whether a look is under way, and when the last one was; nil if there was none.
func (db *DB) Looked(ctx context.Context) (asked bool, at *time.Time, err error) {
	var s struct {
		LookAsked bool
		LookedAt  *time.Time
	}
	err = db.gorm.WithContext(ctx).Raw(`SELECT look_asked, looked_at FROM admin.state`).Scan(&s).Error
	return s.LookAsked, s.LookedAt, err
}

// NoteLookFailed ends a look that found nothing out; the next comes in its turn.
func (db *DB) NoteLookFailed(ctx context.Context) error {
	return db.gorm.WithContext(ctx).Exec(`UPDATE admin.state SET looked_at = ?, look_asked = false`, db.Now()).Error
}

// CheckFilter gives the normal form of a record filter, or refuses it. It goes into queries in parentheses of its own, so it
// must not be able to close them: parentheses pair and texts end. Whether it means anything Salesforce says.
func CheckFilter(filter string) (string, error) {
	filter = strings.TrimSpace(strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ", "\t", " ").Replace(filter))
	if len(filter) >= 6 && strings.EqualFold(filter[:6], "where ") {
		filter = strings.TrimSpace(filter[6:])
	}
	if len(filter) > filterMax {
		return "", refuse(CodeInvalid, "filter.long")
	}
	depth, quoted := 0, false
	for i := 0; i < len(filter); i++ {
		switch c := filter[i]; {
		case quoted && c == '\\':
			i++
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return "", refuse(CodeInvalid, "filter.unbalanced")
			}
		}
	}
	if quoted || depth != 0 {
		return "", refuse(CodeInvalid, "filter.unbalanced")
	}
	return filter, nil
}

// filterMax is how long a filter may be: it is part of addresses.
const filterMax = 4000

// SaveRowFilter keeps an object's record filter and asks for what that needs: all records again, beside the cycle, by the new
// one. A resync by the old filter is not the answer, and ends. The caller has had Salesforce count the records that meet it.
func (db *DB) SaveRowFilter(ctx context.Context, object, filter, actor string) error {
	filter, err := CheckFilter(filter)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		var o Object
		err := tx.First(&o, "name = ?", object).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return refuse(CodeNotFound, "object.unknown", "name", object)
		}
		if err != nil || o.RowFilter == filter {
			return err
		}
		if err := tx.Model(&Object{}).Where("name = ?", object).Update("row_filter", filter).Error; err != nil {
			return err
		}
		if err := db.audit(tx, actor, "object.filter", object, map[string]string{"filter": filter, "before": o.RowFilter}); err != nil {
			return err
		}
		now := db.Now()
		for _, kind := range []RunKind{RunResync, RunFill, RunFormulas, RunCheck} {
			if err := tx.Exec(`UPDATE admin.runs SET state = 'canceled', phase = '', ended_at = ?, started_at = coalesce(started_at, ?), resumes_at = NULL WHERE object = ? AND kind = ? AND ended_at IS NULL`, now, now, object, kind).Error; err != nil {
				return err
			}
		}
		if o.Enabled {
			if err := tx.Create(&Run{Object: object, Kind: RunResync, State: RunQueued, RequestedBy: actor, RequestedAt: now}).Error; err != nil {
				return err
			}
		}
		return wake(tx)
	})
}

// Field is one field of an object as the pages show it.
type Field struct {
	Name, Label, Type, Column       string
	Formula, Createable, Updateable bool
	AddedAt                         time.Time
	GoneAt, LeftOutAt, FilledAt     *time.Time
	Choice                          FieldChoice `gorm:"-"`
}

// Writable tells whether a change of the field here could be sent.
func (f Field) Writable() bool { return f.Createable || f.Updateable }

// Fields lists an object's fields, by name; none before the object was described for the first time.
func (db *DB) Fields(ctx context.Context, object string) ([]Field, error) {
	choices, err := db.FieldChoices(ctx, object)
	if err != nil {
		return nil, err
	}
	var fields []Field
	err = db.gorm.WithContext(ctx).Raw(`SELECT field AS name, coalesce(nullif(about->>'label', ''), field) AS label, coalesce(field_type, '') AS type, column_name AS "column",
		coalesce((about->>'calculated')::boolean, false) OR EXISTS (SELECT FROM mirror.formulas d WHERE d.object = s.object AND d.field = s.field) AS formula, coalesce((about->>'createable')::boolean, false) AS createable, coalesce((about->>'updateable')::boolean, false) AS updateable,
		added_at, gone_at, left_out_at, filled_at FROM mirror.field_status s WHERE object = ?`, object).Scan(&fields).Error
	if err != nil {
		return nil, err
	}
	for i := range fields {
		fields[i].Choice = choices.Of(fields[i].Name)
	}
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return fields, nil
}

// FieldNames lists, of each object that is switched on and was described, the fields that are read now.
func (db *DB) FieldNames(ctx context.Context) (map[string][]string, error) {
	var rows []struct{ Object, Field string }
	err := db.gorm.WithContext(ctx).Raw(`SELECT f.object, f.field FROM mirror.field_status f JOIN admin.objects o ON o.name = f.object AND o.enabled WHERE f.gone_at IS NULL ORDER BY 1, 2`).Scan(&rows).Error
	names := map[string][]string{}
	for _, r := range rows {
		names[r.Object] = append(names[r.Object], r.Field)
	}
	return names, err
}

// Kept is what remains here of an object: its table's records, and those that no longer meet its filter.
type Kept struct {
	Object     string
	Records    int64 // those that are marked as deleted included
	Deleted    int64
	OutOfScope int64
	OutSince   *time.Time
}

// Kept tells for each object that has a table what is in it.
func (db *DB) Kept(ctx context.Context) (map[string]Kept, error) {
	var rows []Kept
	err := db.gorm.WithContext(ctx).Raw(`SELECT s.object, s.records + s.deleted AS records, s.deleted, coalesce(c.records, 0) AS out_of_scope, c.since AS out_since
		FROM mirror.object_status s LEFT JOIN mirror.scope_status c ON c.object = s.object`).Scan(&rows).Error
	kept := make(map[string]Kept, len(rows))
	for _, k := range rows {
		kept[k.Object] = k
	}
	return kept, err
}
