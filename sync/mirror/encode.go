package mirror

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// columnType is a PostgreSQL type that a field can have here. Numbers have no modifier: numeric(p,s) would round without a word.
type columnType string

const (
	typeText        columnType = "text"
	typeBoolean     columnType = "boolean"
	typeInteger     columnType = "integer"
	typeBigint      columnType = "bigint"
	typeNumeric     columnType = "numeric"
	typeDate        columnType = "date"
	typeTimestamptz columnType = "timestamp with time zone"
	typeTime        columnType = "time without time zone"
)

// typeOf gives the column type of a field, by the type that describe gives it.
func typeOf(fieldType string) columnType {
	switch fieldType {
	case "boolean":
		return typeBoolean
	case "int":
		return typeInteger
	case "long":
		return typeBigint
	case "double", "currency", "percent":
		return typeNumeric
	case "date":
		return typeDate
	case "datetime":
		return typeTimestamptz
	case "time":
		return typeTime
	default:
		return typeText
	}
}

// encode appends a cell to dst as PostgreSQL's binary COPY wants it, its length first. A cell that the column cannot hold
// gives a reason instead, and what was appended is of no use. It is strict: PostgreSQL's own input functions would take
// "infinity", "now" or " 7 " without a word (Invariant 6).
func encode(dst []byte, t columnType, cell []byte) (out []byte, reason string) {
	if cell == nil {
		return append(dst, 0xff, 0xff, 0xff, 0xff), ""
	}
	switch t {
	case typeText:
		if bytes.IndexByte(cell, 0) >= 0 {
			return dst, "it holds a NUL character, which PostgreSQL cannot store"
		}
		if !utf8.Valid(cell) {
			return dst, "it is not valid UTF-8"
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(cell))) //nolint:gosec // a cell is far smaller
		return append(dst, cell...), ""
	case typeBoolean:
		switch string(cell) {
		case "true":
			return append(dst, 0, 0, 0, 1, 1), ""
		case "false":
			return append(dst, 0, 0, 0, 1, 0), ""
		}
		return dst, "it is neither true nor false"
	case typeInteger, typeBigint:
		n, reason := parseInt(cell)
		if reason != "" {
			return dst, reason
		}
		if t == typeBigint {
			dst = append(dst, 0, 0, 0, 8)
			return binary.BigEndian.AppendUint64(dst, uint64(n)), "" //nolint:gosec // two's complement is what is sent
		}
		if n != int64(int32(n)) { //nolint:gosec // this is the check
			return dst, "it is outside the range of an integer"
		}
		dst = append(dst, 0, 0, 0, 4)
		return binary.BigEndian.AppendUint32(dst, uint32(int32(n))), "" //nolint:gosec // two's complement is what is sent
	case typeNumeric:
		return appendNumeric(dst, cell)
	case typeDate:
		days, rest, ok := parseDate(cell)
		if !ok || len(rest) > 0 {
			return dst, "it is not a date such as 2026-11-20"
		}
		dst = append(dst, 0, 0, 0, 4)
		return binary.BigEndian.AppendUint32(dst, uint32(int32(days))), "" //nolint:gosec // years have four digits
	case typeTimestamptz:
		micros, ok := parseTimestamp(cell)
		if !ok {
			return dst, "it is not a date and time such as 2026-11-20T17:38:59.000Z"
		}
		dst = append(dst, 0, 0, 0, 8)
		return binary.BigEndian.AppendUint64(dst, uint64(micros)), "" //nolint:gosec // two's complement is what is sent
	case typeTime:
		micros, rest, ok := parseClock(cell)
		if !ok || len(rest) > 1 || len(rest) == 1 && rest[0] != 'Z' {
			return dst, "it is not a time such as 18:30:00.000Z"
		}
		dst = append(dst, 0, 0, 0, 8)
		return binary.BigEndian.AppendUint64(dst, uint64(micros)), "" //nolint:gosec // within a day
	}
	return dst, fmt.Sprintf("its column has the type %s, which is not known", t)
}

const notNumber = "it is not a number"

// decimal is a number as it was written: digits, without leading zeros, times ten to the power of exp.
type decimal struct {
	negative bool
	digits   []byte // '0'..'9'; empty is zero
	exp      int
}

// numericDigitsMax bounds what one cell may make us build: 1e999999 is a short text.
const numericDigitsMax = 1000

func parseDecimal(cell []byte, buf []byte) (d decimal, ok bool) {
	i := 0
	if i < len(cell) && (cell[i] == '-' || cell[i] == '+') {
		d.negative = cell[i] == '-'
		i++
	}
	d.digits = buf[:0]
	some, point := false, false
	for ; i < len(cell); i++ {
		switch c := cell[i]; {
		case c >= '0' && c <= '9':
			some = true
			if len(d.digits) > 0 || c != '0' {
				d.digits = append(d.digits, c)
			}
			if point {
				d.exp--
			}
		case c == '.' && !point:
			point = true
		case (c == 'e' || c == 'E') && some:
			n, reason := parsePlainInt(cell[i+1:])
			if reason != "" || n > numericDigitsMax || n < -numericDigitsMax {
				return d, false
			}
			d.exp += int(n)
			i = len(cell)
		default:
			return d, false
		}
	}
	return d, some && len(d.digits) <= numericDigitsMax && d.exp >= -2*numericDigitsMax
}

func parsePlainInt(cell []byte) (int64, string) {
	i, negative := 0, false
	if len(cell) > 0 && (cell[0] == '-' || cell[0] == '+') {
		negative, i = cell[0] == '-', 1
	}
	if i == len(cell) {
		return 0, notNumber
	}
	var n int64
	for ; i < len(cell); i++ {
		c := cell[i]
		if c < '0' || c > '9' {
			return 0, notNumber
		}
		digit := int64(c - '0')
		if n < (-1<<63+digit)/10 {
			return 0, "it is outside the range of an integer"
		}
		n = n*10 - digit
	}
	if negative {
		return n, ""
	}
	if n == -1<<63 {
		return 0, "it is outside the range of an integer"
	}
	return -n, ""
}

// parseInt takes whole numbers, also as Salesforce writes some of them: 5.0 and 1.5E7.
func parseInt(cell []byte) (int64, string) {
	n, reason := parsePlainInt(cell)
	if reason != notNumber {
		return n, reason
	}
	var buf [64]byte
	d, ok := parseDecimal(cell, buf[:0])
	if !ok {
		return 0, notNumber
	}
	for d.exp < 0 {
		if len(d.digits) == 0 {
			return 0, ""
		}
		if d.digits[len(d.digits)-1] != '0' {
			return 0, "it has decimals, and the column holds whole numbers"
		}
		d.digits, d.exp = d.digits[:len(d.digits)-1], d.exp+1
	}
	if len(d.digits) == 0 {
		return 0, ""
	}
	if len(d.digits)+d.exp > 19 {
		return 0, "it is outside the range of an integer"
	}
	text := d.digits
	for range d.exp {
		text = append(text, '0')
	}
	if d.negative {
		text = append([]byte{'-'}, text...)
	}
	return parsePlainInt(text)
}

// appendNumeric writes a number in groups of four decimal digits, never through a float, with the decimals that it was written with.
func appendNumeric(dst, cell []byte) ([]byte, string) {
	var buf [64]byte
	d, ok := parseDecimal(cell, buf[:0])
	if !ok {
		return dst, notNumber
	}
	scale := max(-d.exp, 0)
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // length, digit groups, weight, sign, scale
	groups, weight := 0, 0
	if len(d.digits) > 0 {
		point := len(d.digits) + d.exp // digits before the decimal point; may be below zero
		weight = floorDiv(point-1, 4)
		lead := (weight+1)*4 - point // zeros that fill the first group
		for at := -lead; at < len(d.digits); at += 4 {
			group := uint16(0)
			for i := at; i < at+4; i++ {
				group *= 10
				if i >= 0 && i < len(d.digits) {
					group += uint16(d.digits[i] - '0')
				}
			}
			dst = binary.BigEndian.AppendUint16(dst, group)
			groups++
		}
		for groups > 0 && dst[len(dst)-1] == 0 && dst[len(dst)-2] == 0 {
			dst, groups = dst[:len(dst)-2], groups-1
		}
	}
	head := dst[start:]
	binary.BigEndian.PutUint32(head, uint32(8+2*groups))        //nolint:gosec // bounded above
	binary.BigEndian.PutUint16(head[4:], uint16(groups))        //nolint:gosec // bounded above
	binary.BigEndian.PutUint16(head[6:], uint16(int16(weight))) //nolint:gosec // bounded above
	if d.negative && groups > 0 {
		binary.BigEndian.PutUint16(head[8:], 0x4000)
	}
	binary.BigEndian.PutUint16(head[10:], uint16(scale)) //nolint:gosec // bounded above
	return dst, ""
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && a < 0 {
		q--
	}
	return q
}

func digits(b []byte, n int) (v int, ok bool) {
	if len(b) < n {
		return 0, false
	}
	for _, c := range b[:n] {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}

// parseDate reads 2026-11-20 as days since 2000-01-01, which is how PostgreSQL counts them.
func parseDate(b []byte) (days int, rest []byte, ok bool) {
	if len(b) < 10 || b[4] != '-' || b[7] != '-' {
		return 0, nil, false
	}
	y, ok1 := digits(b, 4)
	m, ok2 := digits(b[5:], 2)
	d, ok3 := digits(b[8:], 2)
	if !ok1 || !ok2 || !ok3 || y < 1 || m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return 0, nil, false
	}
	// Days from civil: years are counted from March, so that a leap day ends one.
	if m <= 2 {
		y--
		m += 12
	}
	n := 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 1
	const epoch = 365*1999 + 1999/4 - 1999/100 + 1999/400 + (153*(13-3)+2)/5 // 2000-01-01
	return n - epoch, b[10:], true
}

func daysIn(y, m int) int {
	switch m {
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// parseClock reads 18:30:00 with up to six decimals as microseconds.
func parseClock(b []byte) (micros int64, rest []byte, ok bool) {
	if len(b) < 8 || b[2] != ':' || b[5] != ':' {
		return 0, nil, false
	}
	h, ok1 := digits(b, 2)
	m, ok2 := digits(b[3:], 2)
	s, ok3 := digits(b[6:], 2)
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || s > 59 {
		return 0, nil, false
	}
	micros = int64(h*3600+m*60+s) * 1_000_000
	rest = b[8:]
	if len(rest) == 0 || rest[0] != '.' {
		return micros, rest, true
	}
	rest = rest[1:]
	unit, n := int64(100_000), 0
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		if unit == 0 {
			return 0, nil, false // finer than PostgreSQL keeps: not cut in silence
		}
		micros += int64(rest[n]-'0') * unit
		unit /= 10
		n++
	}
	return micros, rest[n:], n > 0
}

// parseTimestamp reads the spellings of Salesforce's APIs as microseconds since 2000-01-01 UTC: .000Z, +0000 and +00:00.
func parseTimestamp(b []byte) (micros int64, ok bool) {
	days, rest, ok := parseDate(b)
	if !ok || len(rest) == 0 || rest[0] != 'T' {
		return 0, false
	}
	clock, rest, ok := parseClock(rest[1:])
	if !ok || len(rest) == 0 {
		return 0, false
	}
	micros = int64(days)*86_400_000_000 + clock
	switch sign := rest[0]; {
	case sign == 'Z' && len(rest) == 1:
		return micros, true
	case sign == '+' || sign == '-':
		zone := rest[1:]
		if len(zone) == 5 && zone[2] == ':' {
			zone = []byte{zone[0], zone[1], zone[3], zone[4]}
		}
		h, ok1 := digits(zone, 2)
		if len(zone) != 4 || !ok1 {
			return 0, false
		}
		m, ok2 := digits(zone[2:], 2)
		if !ok2 || h > 15 || m > 59 {
			return 0, false
		}
		offset := int64(h*3600+m*60) * 1_000_000
		if sign == '+' {
			offset = -offset
		}
		return micros + offset, true
	}
	return 0, false
}
