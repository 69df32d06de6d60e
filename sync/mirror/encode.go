package mirror

import (
	"bytes"
	"encoding/binary"
	"time"
	"unicode/utf8"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// kind says how a column's cells are written in PostgreSQL's binary COPY format.
type kind uint8

const (
	kindText kind = iota
	kindID        // text that is a Salesforce id of 18 characters
	kindBool
	kindInt4
	kindInt8
	kindNumeric
	kindDate
	kindTimestamptz
	kindTime
)

// flaw says why a cell cannot be held by its column; fit means that it can.
type flaw uint8

const (
	fit flaw = iota
	flawNUL
	flawUTF8
	flawID
	flawBool
	flawInteger
	flawNumber
	flawRange
	flawDate
	flawTimestamp
	flawTime
	flawPrecision
	flawWide
)

// appendCell appends a cell in the binary COPY format: its length in four bytes, then the value; an empty cell is null.
//
// Invariant 6: no value is cut or coerced. What PostgreSQL's own input functions would take in silence (infinity, NaN, now,
// spaces, rounded fractions) is refused. Numbers never pass through a floating-point type. On a flaw dst's tail is undefined.
func appendCell(dst []byte, k kind, cell []byte) ([]byte, flaw) {
	if len(cell) == 0 {
		return append(dst, 0xff, 0xff, 0xff, 0xff), fit
	}
	switch k {
	case kindText:
		if bytes.IndexByte(cell, 0) >= 0 {
			return dst, flawNUL
		}
		if !utf8.Valid(cell) {
			return dst, flawUTF8
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(cell)))
		return append(dst, cell...), fit
	case kindID:
		return appendID(dst, cell)
	case kindBool:
		switch string(cell) {
		case "true":
			return append(dst, 0, 0, 0, 1, 1), fit
		case "false":
			return append(dst, 0, 0, 0, 1, 0), fit
		}
		return dst, flawBool
	case kindInt4:
		n, f := parseInteger(cell)
		if f != fit {
			return dst, f
		}
		if n != int64(int32(n)) {
			return dst, flawRange
		}
		return binary.BigEndian.AppendUint32(append(dst, 0, 0, 0, 4), uint32(n)), fit
	case kindInt8:
		n, f := parseInteger(cell)
		if f != fit {
			return dst, f
		}
		return binary.BigEndian.AppendUint64(append(dst, 0, 0, 0, 8), uint64(n)), fit
	case kindNumeric:
		return appendNumeric(dst, cell)
	case kindDate:
		if len(cell) != 10 {
			return dst, flawDate
		}
		days, ok := parseDate(cell)
		if !ok {
			return dst, flawDate
		}
		return binary.BigEndian.AppendUint32(append(dst, 0, 0, 0, 4), uint32(days)), fit
	case kindTimestamptz:
		micros, f := parseTimestamp(cell)
		if f != fit {
			return dst, f
		}
		return binary.BigEndian.AppendUint64(append(dst, 0, 0, 0, 8), uint64(micros)), fit
	default:
		if n := len(cell); cell[n-1] == 'Z' {
			cell = cell[:n-1]
		}
		micros, rest, f := parseClock(cell, flawTime)
		if f != fit {
			return dst, f
		}
		if len(rest) != 0 {
			return dst, flawTime
		}
		return binary.BigEndian.AppendUint64(append(dst, 0, 0, 0, 8), uint64(micros)), fit
	}
}

// appendID takes ids of 18 characters as they are, for they are compared byte by byte everywhere, and completes those of 15.
func appendID(dst, cell []byte) ([]byte, flaw) {
	if len(cell) == 18 {
		for _, b := range cell {
			if (b < '0' || b > '9') && (b|0x20 < 'a' || b|0x20 > 'z') {
				return dst, flawID
			}
		}
		dst = append(dst, 0, 0, 0, 18)
		return append(dst, cell...), fit
	}
	id, err := sobject.ParseID(string(cell))
	if err != nil {
		return dst, flawID
	}
	dst = append(dst, 0, 0, 0, 18)
	return append(dst, id...), fit
}

// decimal is a number taken apart: sign, significant digits without leading zeros, and where the point is.
type decimal struct {
	negative bool
	digits   []byte // '0'..'9', the first is not '0'; empty for zero
	point    int    // digits before the decimal point; may lie outside digits
	scale    int    // digits after the decimal point, as written
}

// exponentMax bounds the exponent that is looked at; PostgreSQL's numeric ends long before.
const exponentMax = 1_000_000

// parseDecimal reads [-]digits[.digits][e[+-]digits], with a digit on at least one side of the point. The digits are collected in buf.
func parseDecimal(cell, buf []byte) (decimal, flaw) {
	var d decimal
	i, n := 0, len(cell)
	if cell[0] == '-' {
		d.negative = true
		i = 1
	}
	digits, seen := buf[:0], 0
	for ; i < n && cell[i] >= '0' && cell[i] <= '9'; i++ {
		seen++
		if cell[i] != '0' || len(digits) > 0 {
			digits = append(digits, cell[i])
		}
	}
	d.point = len(digits)
	if i < n && cell[i] == '.' {
		for i++; i < n && cell[i] >= '0' && cell[i] <= '9'; i++ {
			seen++
			d.scale++
			if cell[i] != '0' || len(digits) > 0 {
				digits = append(digits, cell[i])
			} else {
				d.point--
			}
		}
	}
	if seen == 0 {
		return d, flawNumber
	}
	if i < n && cell[i]|0x20 == 'e' {
		i++
		negative := false
		if i < n && (cell[i] == '+' || cell[i] == '-') {
			negative = cell[i] == '-'
			i++
		}
		exponent, start := 0, i
		for ; i < n && cell[i] >= '0' && cell[i] <= '9'; i++ {
			exponent = min(exponent*10+int(cell[i]-'0'), exponentMax)
		}
		if i == start {
			return d, flawNumber
		}
		if exponent == exponentMax {
			return d, flawRange
		}
		if negative {
			exponent = -exponent
		}
		d.point += exponent
		d.scale = max(0, d.scale-exponent)
	}
	if i != n {
		return d, flawNumber
	}
	d.digits = digits
	return d, fit
}

// parseInteger reads a whole number. Salesforce writes some integers as 5.0, and large ones as 1.5E7; they are whole too.
func parseInteger(cell []byte) (int64, flaw) {
	// The plain short form is nearly all there is.
	digits := cell
	if cell[0] == '-' {
		digits = cell[1:]
	}
	if n := len(digits); n > 0 && n < 19 {
		var v int64
		plain := true
		for _, b := range digits {
			if b < '0' || b > '9' {
				plain = false
				break
			}
			v = v*10 + int64(b-'0')
		}
		if plain {
			if cell[0] == '-' {
				v = -v
			}
			return v, fit
		}
	}
	var buf [64]byte
	d, f := parseDecimal(cell, buf[:])
	switch {
	case f == flawNumber:
		return 0, flawInteger
	case f != fit:
		return 0, f
	case len(d.digits) == 0:
		return 0, fit
	case d.point > 19:
		return 0, flawRange
	}
	whole := min(max(d.point, 0), len(d.digits))
	for _, b := range d.digits[whole:] {
		if b != '0' {
			return 0, flawInteger
		}
	}
	var v uint64 // 19 digits fit
	for i := range d.point {
		v *= 10
		if i < len(d.digits) {
			v += uint64(d.digits[i] - '0')
		}
	}
	switch {
	case d.negative && v <= 1<<63:
		return -int64(v), fit
	case !d.negative && v < 1<<63:
		return int64(v), fit
	}
	return 0, flawRange
}

const (
	numericDigitsMax = 131_072 // before the point
	numericScaleMax  = 16_383  // after it
)

// appendNumeric writes PostgreSQL's numeric: groups of four decimal digits, exactly as written, the scale included.
func appendNumeric(dst, cell []byte) ([]byte, flaw) {
	var buf [64]byte
	d, f := parseDecimal(cell, buf[:])
	if f != fit {
		return dst, f
	}
	if d.scale > numericScaleMax {
		return dst, flawRange
	}
	if len(d.digits) == 0 {
		return append(dst, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, byte(d.scale>>8), byte(d.scale)), fit
	}
	if d.point > numericDigitsMax {
		return dst, flawRange
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	// The first group ends at a multiple of four places from the point. top is the power of ten of the first digit.
	top := d.point - 1
	weight := top >> 2
	place := top & 3
	group, groups, used := 0, 0, 0
	for i := 0; ; i++ {
		digit := 0
		if i < len(d.digits) {
			digit = int(d.digits[i] - '0')
		}
		group = group*10 + digit
		if place > 0 {
			place--
			continue
		}
		dst = append(dst, byte(group>>8), byte(group))
		groups++
		if group != 0 {
			used = groups
		}
		group, place = 0, 3
		if i >= len(d.digits)-1 {
			break
		}
	}
	dst = dst[:start+12+2*used] // Zeros at the end are not stored; the scale knows of them.
	head := dst[start:]
	binary.BigEndian.PutUint32(head, uint32(8+2*used))
	binary.BigEndian.PutUint16(head[4:], uint16(used))
	binary.BigEndian.PutUint16(head[6:], uint16(int16(weight)))
	if d.negative {
		head[8] = 0x40
	}
	binary.BigEndian.PutUint16(head[10:], uint16(d.scale))
	return dst, fit
}

// two reads two digits; a result above 99 means that they are none.
func two(b []byte) int {
	h, l := b[0]-'0', b[1]-'0'
	if h > 9 || l > 9 {
		return 1000
	}
	return int(h)*10 + int(l)
}

var monthDays = [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// parseDate reads yyyy-mm-dd from the first ten bytes, as days since 2000-01-01. Years are 0001 to 9999.
func parseDate(b []byte) (int, bool) {
	if b[4] != '-' || b[7] != '-' {
		return 0, false
	}
	century, rest, month, day := two(b), two(b[2:]), two(b[5:]), two(b[8:])
	if century > 99 || rest > 99 || month < 1 || month > 12 || day < 1 || day > monthDays[month] {
		return 0, false
	}
	year := century*100 + rest
	if year == 0 || month == 2 && day == 29 && (year%4 != 0 || year%100 == 0 && year%400 != 0) {
		return 0, false
	}
	// Days of the proleptic Gregorian calendar, with years that begin in March so that the leap day comes last.
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 730_425, true
}

const (
	second = int64(time.Second / time.Microsecond)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// parseClock reads hh:mm:ss[.f] with one to many fractional digits, as microseconds; a fraction finer than that is refused
// unless the rest is zeros. It gives what follows.
func parseClock(b []byte, bad flaw) (int64, []byte, flaw) {
	if len(b) < 8 || b[2] != ':' || b[5] != ':' {
		return 0, nil, bad
	}
	h, m, s := two(b), two(b[3:]), two(b[6:])
	if h > 23 || m > 59 || s > 59 {
		return 0, nil, bad
	}
	micros := int64(h)*hour + int64(m)*minute + int64(s)*second
	b = b[8:]
	if len(b) == 0 || b[0] != '.' {
		return micros, b, fit
	}
	unit := second
	i := 1
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		unit /= 10
		if unit == 0 && b[i] != '0' {
			return 0, nil, flawPrecision
		}
		micros += int64(b[i]-'0') * unit
	}
	if i == 1 {
		return 0, nil, bad
	}
	return micros, b[i:], fit
}

// parseTimestamp reads yyyy-mm-ddThh:mm:ss[.f] and a zone, Z, +hhmm or +hh:mm, as microseconds since 2000-01-01 UTC.
func parseTimestamp(b []byte) (int64, flaw) {
	if len(b) < 20 || b[10] != 'T' {
		return 0, flawTimestamp
	}
	days, ok := parseDate(b)
	if !ok {
		return 0, flawTimestamp
	}
	micros, zone, f := parseClock(b[11:], flawTimestamp)
	if f != fit {
		return 0, f
	}
	micros += int64(days) * day
	if len(zone) == 1 && zone[0] == 'Z' {
		return micros, fit
	}
	if len(zone) == 6 && zone[3] == ':' {
		zone = []byte{zone[0], zone[1], zone[2], zone[4], zone[5]}
	}
	if len(zone) != 5 || zone[0] != '+' && zone[0] != '-' {
		return 0, flawTimestamp
	}
	h, m := two(zone[1:]), two(zone[3:])
	if h > 15 || m > 59 {
		return 0, flawTimestamp
	}
	offset := int64(h)*hour + int64(m)*minute
	if zone[0] == '-' {
		offset = -offset
	}
	return micros - offset, fit
}
