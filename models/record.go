package models

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
)

// RecordLine is a record that a search found.
type RecordLine struct {
	Object    string
	ID        int64
	SFID      string `gorm:"column:sfid"`
	Name      string
	Email     string
	Company   string
	Deleted   bool
	Converted bool
	Waiting   bool // it has changes that are on their way to Salesforce
	Refused   bool // it has changes that Salesforce refused
	Vanished  bool // it counts as deleted, and may only be hidden from the connected user
}

const (
	// searchMax bounds what a search shows of each object.
	searchMax = 20
	// unsentMax bounds how many rows that are not in Salesforce yet are looked through, one by one.
	unsentMax = 20_000
)

var (
	salesforceID = regexp.MustCompile(`^[A-Za-z0-9]{15}([A-Za-z0-9]{3})?$`)
	localID      = regexp.MustCompile(`^[0-9]{1,14}$`)
)

// searched are the objects in which people look by name and e-mail; the mirror has an index for each.
var searched = []string{"Lead", "Contact", "Account", "Opportunity", "Campaign", "User"}

// SearchRecords finds records by id, Salesforce's or the local one, in all objects or in one; by the beginning of a name or an
// e-mail in those that are searched. It reads by indexes only, but for what is not in Salesforce yet.
func (db *DB) SearchRecords(ctx context.Context, q, object string) ([]RecordLine, error) {
	q = strings.TrimSpace(q)
	if q == "" {
		return nil, nil
	}
	var objects []string
	if err := db.gorm.WithContext(ctx).Raw(`SELECT d.object FROM mirror.described d LEFT JOIN admin.objects o ON o.name = d.object WHERE ? = '' OR d.object = ?
		ORDER BY o.position NULLS LAST, d.object`, object, object).Scan(&objects).Error; err != nil {
		return nil, err
	}
	// The pages, and who refers to a row from another, write a local id so.
	if id, ok := strings.CutPrefix(q, "local:"); ok && localID.MatchString(id) {
		q = id
	}
	byID := salesforceID.MatchString(q) || localID.MatchString(q)
	var found []RecordLine
	for _, name := range objects {
		words := slices.Contains(searched, name)
		if !byID && !words {
			continue
		}
		d, err := db.Described(ctx, name)
		if err != nil {
			return nil, err
		}
		if !d.Known() {
			continue
		}
		lines, err := db.searchIn(ctx, d, q, words, "true")
		if err != nil {
			return nil, err
		}
		found = append(found, lines...)
	}
	return found, nil
}

// searchIn looks in one object; only is a condition in SQL that the rows t of its table have to meet.
func (db *DB) searchIn(ctx context.Context, d Described, q string, words bool, only string) ([]RecordLine, error) {
	// Each way of looking is one short scan of one index; what they find together is a few dozen rows.
	var ways []string
	var args []any
	way := func(sql string, a ...any) { ways, args = append(ways, sql), append(args, a...) }
	from := d.relation() + " t"
	if salesforceID.MatchString(q) {
		// An id of 15 characters is the beginning of the one of 18.
		way(`SELECT id FROM `+from+` WHERE sfid >= ? COLLATE "C" AND sfid < ? COLLATE "C" AND `+only+` LIMIT ?`, q, q+"~", searchMax)
	}
	if localID.MatchString(q) {
		id, err := strconv.ParseInt(q, 10, 64)
		if err != nil {
			return nil, err
		}
		way(`SELECT id FROM `+from+` WHERE id = ?`, id)
	}
	if words {
		begin := strings.ToLower(q)
		for _, c := range []string{"email", "name", "lastname"} {
			if !d.text(c) || strings.Contains(q, "@") && c != "email" {
				continue
			}
			// The highest code point ends the range of what begins so.
			way(`SELECT id FROM (SELECT id FROM `+from+` WHERE lower(`+c+`) ~>=~ ? AND lower(`+c+`) ~<~ ? AND `+only+` ORDER BY lower(`+c+`) USING ~<~ LIMIT ?) b`, begin, begin+"\U0010FFFF", searchMax)
		}
		// What is not in Salesforce yet has no name of its own there.
		like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(begin) + "%"
		way(`SELECT t.id FROM (SELECT DISTINCT row_id FROM mirror.outbox WHERE object = ? AND sfid IS NULL ORDER BY row_id DESC LIMIT ?) b
			CROSS JOIN LATERAL (SELECT * FROM `+from+` WHERE t.id = b.row_id LIMIT 1) t WHERE t.sfid IS NULL AND lower(`+d.nameSQL()+`) LIKE ? LIMIT ?`, d.Object, unsentMax, like, searchMax)
	}
	if len(ways) == 0 {
		return nil, nil
	}
	column := func(name string) string {
		if d.text(name) {
			return "coalesce(t." + name + ", '')"
		}
		return "''"
	}
	flag := func(name string) string {
		if f, ok := d.Field(name); ok && f.ColumnType == "boolean" {
			return "coalesce(t." + pgx.Identifier{f.Column}.Sanitize() + ", false)"
		}
		return "false"
	}
	var lines []RecordLine
	err := db.gorm.WithContext(ctx).Raw(`SELECT ? AS object, t.id, coalesce(t.sfid, '') AS sfid, `+d.nameSQL()+` AS name, `+column("email")+` AS email, `+column("company")+` AS company,
		`+flag("isdeleted")+` AS deleted, `+flag("isconverted")+` AS converted, EXISTS (SELECT FROM mirror.outbox b WHERE b.object = ? AND b.row_id = t.id AND b.state <> 'refused') AS waiting,
		EXISTS (SELECT FROM mirror.outbox b WHERE b.object = ? AND b.row_id = t.id AND b.state = 'refused') AS refused,
		EXISTS (SELECT FROM mirror.vanished v WHERE v.object = ? AND v.sfid = t.sfid) AS vanished
		FROM ((`+strings.Join(ways, ") UNION (")+`)) f CROSS JOIN LATERAL (SELECT * FROM `+from+` WHERE t.id = f.id LIMIT 1) t WHERE `+only+` ORDER BY name, t.id LIMIT ?`, append(append([]any{d.Object, d.Object, d.Object, d.Object}, args...), searchMax)...).Scan(&lines).Error
	return lines, err
}

// Record is one record: what it is here now, and its whole story.
type Record struct {
	Described Described
	ID        int64
	SFID      string
	Name      string
	Values    map[string]*string // by column, as a form shows them; nil is empty
	Deleted   bool
	Converted bool
	Waiting   int64
	Refused   int64
	ReadAt    *time.Time // how far reading of its object is complete
	Story     []StoryEvent
	// VanishedAt is since when Salesforce no longer gives it, by whatever way it is asked for: it was purged there, or is hidden from the
	// connected user. It counts as deleted.
	VanishedAt *time.Time
	Links      map[string]RecordLine // what its references point to, by column, where that is here
	Merged     *Candidate            // what it became
	WaitsFor   []RecordLine          // rows that Salesforce refused, and that must be there before this one can go
}

// Record gives a record by its local id or Salesforce's; ErrNotFound if there is none.
func (db *DB) Record(ctx context.Context, object, key string) (Record, error) {
	r := Record{Links: map[string]RecordLine{}}
	var err error
	if r.Described, err = db.Described(ctx, object); err != nil {
		return r, err
	}
	if !r.Described.Known() {
		return r, ErrNotFound
	}
	if err := db.readRecord(db.gorm.WithContext(ctx), &r, key, ""); err != nil {
		return r, err
	}
	g := db.gorm.WithContext(ctx)
	var counts struct {
		Waiting, Refused int64
		Watermark        *time.Time
		VanishedAt       *time.Time
	}
	err = g.Raw(`SELECT (SELECT count(*) FROM mirror.outbox WHERE object = ? AND row_id = ? AND state <> 'refused') AS waiting,
		(SELECT count(*) FROM mirror.refused WHERE object = ? AND (row_id = ? OR sfid = ?)) AS refused,
		(SELECT watermark FROM mirror.object_status WHERE object = ?) AS watermark,
		(SELECT since FROM mirror.vanished WHERE object = ? AND sfid = ?) AS vanished_at`, object, r.ID, object, r.ID, r.SFID, object, object, r.SFID).Scan(&counts).Error
	if err != nil {
		return r, err
	}
	r.Waiting, r.Refused, r.ReadAt, r.VanishedAt = counts.Waiting, counts.Refused, counts.Watermark, counts.VanishedAt
	if err := db.links(ctx, &r); err != nil {
		return r, err
	}
	if err := db.waitsFor(ctx, &r); err != nil {
		return r, err
	}
	return r, db.story(ctx, &r)
}

// waitsFor finds the refused rows that hold the record's changes up.
func (db *DB) waitsFor(ctx context.Context, r *Record) error {
	var parents []struct {
		ParentObject string
		ParentID     int64 `gorm:"column:parent_id"`
	}
	err := db.gorm.WithContext(ctx).Raw(`SELECT parent_object, parent_id FROM mirror.held_up WHERE object = ? AND row_id = ? ORDER BY parent_object, parent_id LIMIT ?`, r.Described.Object, r.ID, linksMax).Scan(&parents).Error
	if err != nil {
		return err
	}
	for _, p := range parents {
		d, err := db.Described(ctx, p.ParentObject)
		if err != nil {
			return err
		}
		names, err := db.recordNames(ctx, d, []int64{p.ParentID}, nil)
		if err != nil {
			return err
		}
		for _, n := range names {
			r.WaitsFor = append(r.WaitsFor, RecordLine{Object: p.ParentObject, ID: n.ID, SFID: n.SFID, Name: n.Name})
		}
	}
	return nil
}

// readRecord reads the row; lock is SQL that locks it.
func (db *DB) readRecord(g *gorm.DB, r *Record, key, lock string) error {
	where, args := `t.sfid = ?`, []any{key}
	switch {
	case localID.MatchString(key):
		id, err := strconv.ParseInt(key, 10, 64)
		if err != nil {
			return ErrNotFound
		}
		where, args = `t.id = ?`, []any{id}
	case !salesforceID.MatchString(key):
		return ErrNotFound
	case len(key) == 15:
		where, args = `t.sfid >= ? COLLATE "C" AND t.sfid < ? COLLATE "C"`, []any{key, key + "~"}
	}
	var row struct {
		ID          int64
		SFID        string `gorm:"column:sfid"`
		Name, Cells string
	}
	d := r.Described
	if err := g.Raw(`SELECT t.id, coalesce(t.sfid, '') AS sfid, `+d.nameSQL()+` AS name, to_jsonb(t)::text AS cells FROM `+d.relation()+` t WHERE `+where+` LIMIT 1 `+lock, args...).Scan(&row).Error; err != nil {
		return err
	}
	if row.ID == 0 {
		return ErrNotFound
	}
	values, err := cells(row.Cells)
	if err != nil {
		return err
	}
	r.ID, r.SFID, r.Name, r.Values = row.ID, row.SFID, row.Name, map[string]*string{}
	for _, f := range d.Fields {
		r.Values[f.Column] = f.formText(plainText(values[f.Column]))
	}
	is := func(column string) bool { v := r.Values[column]; return v != nil && *v == "true" }
	r.Deleted, r.Converted = is("isdeleted"), is("isconverted")
	return nil
}

// formText is a value as a form has it: moments in UTC.
func (f RecordField) formText(v *string) *string {
	if v == nil || f.ColumnType != "timestamp with time zone" {
		return v
	}
	t, err := time.Parse("2006-01-02T15:04:05.999999999Z07:00", *v)
	if err != nil {
		return v
	}
	s := t.UTC().Format("2006-01-02T15:04:05.999999")
	return &s
}

// linksMax bounds how many references of a record are followed to show their names.
const linksMax = 40

// links finds what the record's references point to.
func (db *DB) links(ctx context.Context, r *Record) error {
	wanted := map[string][]string{}
	n := 0
	for _, f := range r.Described.Fields {
		v := r.Values[f.Column]
		if f.Type != "reference" || v == nil || !salesforceID.MatchString(*v) || n == linksMax {
			continue
		}
		n++
		for _, to := range f.ReferenceTo {
			if !slices.Contains(wanted[to], *v) {
				wanted[to] = append(wanted[to], *v)
			}
		}
	}
	found := map[string]RecordLine{}
	for object, sfids := range wanted {
		d, err := db.Described(ctx, object)
		if err != nil {
			return err
		}
		names, err := db.recordNames(ctx, d, nil, sfids)
		if err != nil {
			return err
		}
		for _, n := range names {
			found[n.SFID] = RecordLine{Object: object, ID: n.ID, SFID: n.SFID, Name: n.Name}
		}
	}
	for _, f := range r.Described.Fields {
		if v := r.Values[f.Column]; f.Type == "reference" && v != nil {
			if line, ok := found[*v]; ok {
				r.Links[f.Column] = line
			}
		}
	}
	return nil
}

// LocalKey is how a record of a local id is asked for.
func LocalKey(id int64) string { return strconv.FormatInt(id, 10) }
