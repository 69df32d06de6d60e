package mirror

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// refusedBytes is how many bytes of raw cells a page's refusals keep; beyond it only the cells at fault are kept.
	refusedBytes = 16 << 20
	// cellShown is how many characters of a cell a message shows.
	cellShown = 60
)

// refusals are the records of a page that are set aside, as columns of the insert.
type refusals struct {
	at                                           map[string]int // record -> index; a later record of the same Id replaces the earlier
	count                                        int64
	bytes                                        int
	record, sfid, field, column, code, msg, cell []string
	stamp                                        []*time.Time
}

// setAside keeps the record with the reason. at is the first cell at fault, -1 where the whole record is.
func (e *encoder) setAside(cells [][]byte, at int, f flaw) error {
	r := &e.refused
	if r.count++; r.count > refusedMax {
		return fmt.Errorf("%w: more than %d of its first %d records hold cells that their columns cannot", ErrPage, refusedMax, e.read)
	}
	var field, name string
	var bad []byte
	if at >= 0 {
		field, name, bad = e.columns[at].field, e.columns[at].name, cells[at]
	}
	// Further bad cells of the record are named too, so that one visit in Salesforce mends all.
	others := 0
	if at >= 0 {
		var scratch []byte
		for i := at + 1; i < len(cells); i++ {
			var f flaw
			if scratch, f = appendCell(scratch[:0], e.columns[i].kind, cells[i]); f != fit {
				others++
			}
		}
	}
	sfid := ""
	if id, err := sobject.ParseID(string(cells[e.idAt])); err == nil {
		sfid = string(id)
	}
	value, err := e.rawCells(cells, at)
	if err != nil {
		return err
	}
	record := sfid
	if record == "" {
		sum := md5.Sum(value)
		record = "md5:" + hex.EncodeToString(sum[:])
	}
	code, message := explain(f, field, e.kindAt(at), bad)
	if others > 0 {
		message += fmt.Sprintf(" (%d more of its fields do not fit either.)", others)
	}
	i, again := r.at[record]
	if !again {
		if r.at == nil {
			r.at = map[string]int{}
		}
		i = len(r.record)
		r.at[record] = i
		r.record, r.sfid, r.field, r.column = append(r.record, record), append(r.sfid, sfid), append(r.field, ""), append(r.column, "")
		r.code, r.msg, r.cell, r.stamp = append(r.code, ""), append(r.msg, ""), append(r.cell, ""), append(r.stamp, nil)
	}
	r.bytes += len(value) - len(r.cell[i])
	r.field[i], r.column[i], r.code[i], r.msg[i], r.cell[i], r.stamp[i] = field, name, code, message, string(value), nullTime(e.stamp(cells))
	return nil
}

func (e *encoder) kindAt(at int) kind {
	if at < 0 {
		return kindText
	}
	return e.columns[at].kind
}

// rawCells writes the record's cells as JSON for a jsonb column: a text each, null for empty ones. A cell with bytes that jsonb
// cannot hold becomes {"escaped": …}, in which such bytes are \xNN and a backslash is doubled.
func (e *encoder) rawCells(cells [][]byte, at int) ([]byte, error) {
	total := 0
	for _, c := range cells {
		total += len(c)
	}
	all := e.refused.bytes+total <= refusedBytes
	raw := make(map[string]any, len(cells))
	for i, c := range cells {
		switch {
		case !all && i != at && i != e.idAt && i != e.stampAt:
			continue
		case len(c) == 0:
			raw[e.columns[i].field] = nil
		case !all && len(c) > bufferSize:
			raw[e.columns[i].field] = map[string]string{"cut": escape(c[:bufferSize])}
		case bytes.IndexByte(c, 0) < 0 && utf8.Valid(c):
			raw[e.columns[i].field] = string(c)
		default:
			raw[e.columns[i].field] = map[string]string{"escaped": escape(c)}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func escape(c []byte) string {
	b := make([]byte, 0, len(c)+16)
	for len(c) > 0 {
		r, n := utf8.DecodeRune(c)
		switch {
		case r == utf8.RuneError && n == 1 || r == 0:
			b = fmt.Appendf(b, `\x%02x`, c[0])
		case r == '\\':
			b = append(b, `\\`...)
		default:
			b = append(b, c[:n]...)
		}
		c = c[n:]
	}
	return string(b)
}

// shown is a cell for a sentence: quoted, and cut if it is long.
func shown(c []byte) string {
	n, end := 0, 0
	for end < len(c) && n < cellShown {
		_, size := utf8.DecodeRune(c[end:])
		end += size
		n++
	}
	if end < len(c) {
		return `"` + escape(c[:end]) + `…"`
	}
	return `"` + escape(c) + `"`
}

// explain gives the code of a refusal and its sentence: what it is, why it cannot be kept, what to do.
func explain(f flaw, field string, k kind, cell []byte) (code, message string) {
	const mend = "Change it in Salesforce; the record arrives with the next cycle after that."
	const report = "The record is kept out until Salesforce sends it in another form; other records are not held up."
	switch f {
	case flawNUL:
		return "NUL_CHARACTER", fmt.Sprintf("%s holds a NUL character (character code 0) at byte %d, which PostgreSQL's text cannot hold. Remove it in Salesforce; the record arrives with the next cycle after that.", field, bytes.IndexByte(cell, 0)+1)
	case flawUTF8:
		at := 0
		for at < len(cell) {
			r, n := utf8.DecodeRune(cell[at:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			at += n
		}
		return "NOT_UTF8", fmt.Sprintf("%s holds bytes that are not UTF-8 text, from byte %d on. Type the text anew in Salesforce; the record arrives with the next cycle after that.", field, at+1)
	case flawID:
		if len(cell) == 0 {
			return "NOT_AN_ID", "The record has no Id, so nothing can be matched with it. " + report
		}
		return "NOT_AN_ID", fmt.Sprintf("%s is %s, which is not a Salesforce id. %s", field, shown(cell), report)
	case flawBool:
		return "NOT_A_BOOLEAN", fmt.Sprintf("%s is %s, and a checkbox is true or false. %s", field, shown(cell), report)
	case flawInteger:
		return "NOT_AN_INTEGER", fmt.Sprintf("%s is %s, which is not a whole number. %s", field, shown(cell), mend)
	case flawNumber:
		return "NOT_A_NUMBER", fmt.Sprintf("%s is %s, which is not a number. %s", field, shown(cell), mend)
	case flawRange:
		limit := "more digits than a number in PostgreSQL can have"
		switch k {
		case kindInt4:
			limit = "outside -2147483648 to 2147483647, what an integer column holds"
		case kindInt8:
			limit = "outside -9223372036854775808 to 9223372036854775807, what a bigint column holds"
		}
		return "OUT_OF_RANGE", fmt.Sprintf("%s is %s, %s. %s", field, shown(cell), limit, mend)
	case flawDate:
		return "NOT_A_DATE", fmt.Sprintf("%s is %s, which is not a date like 2026-11-20. %s", field, shown(cell), mend)
	case flawTimestamp:
		return "NOT_A_DATETIME", fmt.Sprintf("%s is %s, which is not a date and time like 2026-11-20T17:38:59.000Z. %s", field, shown(cell), mend)
	case flawTime:
		return "NOT_A_TIME", fmt.Sprintf("%s is %s, which is not a time of day like 18:30:00.000Z. %s", field, shown(cell), mend)
	case flawPrecision:
		return "TOO_PRECISE", fmt.Sprintf("%s is %s, finer than the microseconds that PostgreSQL keeps; it is not rounded. %s", field, shown(cell), mend)
	default:
		return "TOO_WIDE", "The record has more filled fields than one row of PostgreSQL holds (8 kB, of which each long text takes some 20 bytes). Hide fields that are not needed from the connected user; the record arrives with the next resync."
	}
}

// resolveRefused closes the refusals r of records that arrived clean: those among the rows s that meet the condition.
func resolveRefused(ctx context.Context, tx pgx.Tx, object, from, condition string) error {
	var open bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM mirror.refusals WHERE object = $1 AND direction = 'in' AND resolved_at IS NULL)`, object).Scan(&open)
	if err != nil {
		return fmt.Errorf("look for what was set aside of %s: %w", object, err)
	}
	if !open {
		return nil
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`UPDATE mirror.refusals r SET resolved_at = now() FROM %s
		WHERE r.object = $1 AND r.direction = 'in' AND r.resolved_at IS NULL AND r.sfid = s.sfid AND %s`, from, condition), pgx.QueryExecModeExec, object)
	if err != nil {
		return fmt.Errorf("resolve what was set aside of %s: %w", object, err)
	}
	return nil
}

// source says which page refusals came with; zero for an increment.
type source struct {
	load    int64
	page    int
	locator string
}

// store writes the refusals. One that is open already is brought up to date.
func (r *refusals) store(ctx context.Context, tx pgx.Tx, object string, from source) error {
	if len(r.record) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO mirror.refusals AS r (object, direction, record, sfid, field, column_name, code, message, value, stamp, load_id, page, locator)
		SELECT $1, 'in', record, nullif(sfid, ''), nullif(field, ''), nullif(column_name, ''), code, message, value::jsonb, stamp, nullif($2::bigint, 0), nullif($3::int, 0), nullif($4::text, '')
		FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[])
			u(record, sfid, field, column_name, code, message, value, stamp)
		ON CONFLICT (object, direction, record) WHERE resolved_at IS NULL DO UPDATE SET field = excluded.field, column_name = excluded.column_name,
			code = excluded.code, message = excluded.message, value = excluded.value, stamp = excluded.stamp, load_id = excluded.load_id,
			page = excluded.page, locator = excluded.locator, last_seen_at = now(), seen = r.seen + 1`,
		object, from.load, from.page, from.locator, r.record, r.sfid, r.field, r.column, r.code, r.msg, r.cell, r.stamp)
	if err != nil {
		return fmt.Errorf("set aside %d records of %s: %w", len(r.record), object, err)
	}
	return nil
}
