package models

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

// RecordEdit is what somebody typed into a record's form: by column, what it showed and what it holds now. An empty text is empty.
type RecordEdit struct {
	Was, Now map[string]string
}

// changed gives the columns that were changed, in the describe's order.
func (e RecordEdit) changed(fields []RecordField) []RecordField {
	return slices.DeleteFunc(slices.Clone(fields), func(f RecordField) bool {
		now, shown := e.Now[f.Column]
		return !shown || now == e.Was[f.Column]
	})
}

// EditRecord changes a record as any application does: with SQL on its table, where the edit is captured and sent. Only what
// was changed in the form is written; what somebody else changed meanwhile is not written over. It gives the record's local id.
// key is empty for a new record.
func (db *DB) EditRecord(ctx context.Context, object, key string, e RecordEdit, actor string) (int64, error) {
	d, err := db.Described(ctx, object)
	if err != nil {
		return 0, err
	}
	if !d.Known() {
		return 0, ErrNotFound
	}
	if d.Direction != TwoWay {
		return 0, refuse(CodeConflict, "record.one_way", "object", object)
	}
	fields := e.changed(d.Writable(key == ""))
	for _, f := range fields {
		if f.Type == "reference" {
			if e.Now[f.Column], err = db.resolve(ctx, f, e.Now[f.Column]); err != nil {
				return 0, err
			}
		}
		if err := f.check(e.Now[f.Column]); err != nil {
			return 0, err
		}
	}
	if key == "" && len(fields) == 0 {
		return 0, refuse(CodeInvalid, "record.empty")
	}
	var id int64
	err = db.tx(ctx, func(tx *gorm.DB) error {
		// Whoever reads the history sees which application edited, and for whom.
		if err := tx.Exec(`SELECT set_config('application_name', ?, true)`, editor(actor)).Error; err != nil {
			return err
		}
		if key == "" {
			names, values := make([]string, len(fields)), make([]string, len(fields))
			args := make([]any, len(fields))
			for i, f := range fields {
				names[i], values[i], args[i] = pgx.Identifier{f.Column}.Sanitize(), f.cast(), f.value(e.Now[f.Column])
			}
			return tx.Raw(fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s) RETURNING id`, d.relation(), strings.Join(names, ", "), strings.Join(values, ", ")), args...).Scan(&id).Error
		}
		r := Record{Described: d}
		if err := db.readRecord(tx, &r, key, "FOR UPDATE"); err != nil {
			return err
		}
		id = r.ID
		sets := make([]string, len(fields))
		args := make([]any, len(fields), len(fields)+1)
		for i, f := range fields {
			have := ""
			if v := r.Values[f.Column]; v != nil {
				have = *v
			}
			if have != e.Was[f.Column] && have != e.Now[f.Column] {
				return refuse(CodeConflict, "record.changed_meanwhile", "field", f.Label, "value", have)
			}
			sets[i], args[i] = pgx.Identifier{f.Column}.Sanitize()+" = "+f.cast(), f.value(e.Now[f.Column])
		}
		if len(fields) == 0 {
			return nil
		}
		return tx.Exec(fmt.Sprintf(`UPDATE %s SET %s WHERE id = ?`, d.relation(), strings.Join(sets, ", ")), append(args, id)...).Error
	})
	return id, told(err)
}

// editor is the name under which the pages write; PostgreSQL cuts names at 63 bytes.
func editor(actor string) string {
	name := "Tandem: " + actor
	if len(name) > 63 {
		name = name[:63]
	}
	return strings.ToValidUTF8(name, "")
}

func (f RecordField) cast() string { return "CAST(CAST(? AS text) AS " + f.ColumnType + ")" }

// value is a form's text for the column; moments are in UTC.
func (f RecordField) value(text string) any {
	if text == "" {
		return nil
	}
	if f.ColumnType == "timestamp with time zone" {
		return text + "Z"
	}
	return text
}

var (
	decimal   = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	timeOfDay = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$`)
	reference = regexp.MustCompile(`^([A-Za-z0-9]{15}([A-Za-z0-9]{3})?|local:[0-9]+)$`)
)

// check tells whether the field takes a text. What only Salesforce can tell is left to it: it refuses with its own words.
func (f RecordField) check(text string) error {
	if text == "" {
		if f.ColumnType == "boolean" || f.Required() {
			return refuse(CodeInvalid, "record.required", "field", f.Label)
		}
		return nil
	}
	if f.Length > 0 && f.ColumnType == "text" && len(utf16.Encode([]rune(text))) > f.Length {
		return refuse(CodeInvalid, "record.too_long", "field", f.Label, "max", strconv.Itoa(f.Length))
	}
	bad := false
	switch f.ColumnType {
	case "integer":
		_, err := strconv.ParseInt(text, 10, 32)
		bad = err != nil
	case "bigint":
		_, err := strconv.ParseInt(text, 10, 64)
		bad = err != nil
	case "numeric":
		bad = !decimal.MatchString(text)
	case "boolean":
		bad = text != "true" && text != "false"
	case "date":
		_, err := time.Parse(time.DateOnly, text)
		bad = err != nil
	case "timestamp with time zone":
		_, err := time.Parse("2006-01-02T15:04:05.999999", text)
		_, short := time.Parse("2006-01-02T15:04", text)
		bad = err != nil && short != nil
	case "time without time zone":
		bad = !timeOfDay.MatchString(text)
	}
	switch f.Type {
	case "email":
		a, err := mail.ParseAddress(text)
		bad = err != nil || a.Address != text
	case "url":
		_, err := url.Parse(text)
		bad = err != nil
	case "reference":
		bad = !reference.MatchString(text)
	case "picklist":
		if f.Restricted && !slices.ContainsFunc(f.Choices, func(c Choice) bool { return c.Active && c.Value == text }) {
			return refuse(CodeInvalid, "record.not_a_choice", "field", f.Label, "value", text)
		}
	}
	if bad {
		return refuse(CodeInvalid, "record.invalid", "field", f.Label, "value", text)
	}
	return nil
}

// told turns what the database says of a row into a refusal that people read: the triggers' sentences are made for them.
func told(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch class := pg.Code[:2]; {
	case pg.Code == "42501", class == "P0", class == "22", class == "23", class == "0A":
		return refuse(CodeInvalid, "record.refused", "message", pg.Message, "hint", pg.Hint)
	case class == "55", class == "40":
		return refuse(CodeUnavailable, "record.busy")
	}
	return err
}
