package simorg

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// kind says what a value holds. A field's describe type decides which kinds it can have.
type kind uint8

const (
	null    kind = iota // nothing; Salesforce has no empty text, so empty text is null too
	boolean             // n is 0 or 1
	integer             // n
	decimal             // n / 10^scale
	text                // s: strings, picklists, ids
	date                // n days since 1970-01-01
	stamp               // n milliseconds since 1970-01-01T00:00:00Z
	clock               // n milliseconds since midnight
)

// value is one cell. Numbers, dates and times stay numbers, so that a million computed rows cost no text until they are written.
type value struct {
	s     string
	n     int64
	k     kind
	scale uint8
}

func textOf(s string) value {
	if s == "" {
		return value{}
	}
	return value{k: text, s: s}
}

func boolOf(b bool) value {
	if b {
		return value{k: boolean, n: 1}
	}
	return value{k: boolean}
}

func intOf(n int64) value            { return value{k: integer, n: n} }
func decOf(n int64, scale int) value { return value{k: decimal, n: n, scale: uint8(scale)} }
func dateOf(days int64) value        { return value{k: date, n: days} }
func stampOf(t time.Time) value      { return value{k: stamp, n: t.UnixMilli()} }
func stampSeconds(s int64) value     { return value{k: stamp, n: s * 1000} }
func (v value) isNull() bool         { return v.k == null }
func (v value) isTrue() bool         { return v.k == boolean && v.n != 0 }
func (v value) time() time.Time      { return time.UnixMilli(v.n).UTC() }
func (v value) clone() value         { v.s = strings.Clone(v.s); return v }
func dayOf(t time.Time) int64        { return floorDiv(t.Unix(), 86400) }
func dayNumber(y, m, d int) int64    { return dayOf(time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// Salesforce keeps dates between these two.
var minDay, maxDay = dayNumber(1700, 1, 1), dayNumber(4000, 12, 31)

// equal tells whether two values are the same to the last character; case matters.
func (v value) equal(w value) bool {
	if v.k == w.k && v.k != decimal {
		return v.n == w.n && v.s == w.s
	}
	return v.k == w.k && compareNumbers(v, w) == 0
}

var pow10 = func() (p [19]int64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

func (v value) rat() *big.Rat {
	if v.k == decimal {
		return new(big.Rat).SetFrac64(v.n, pow10[v.scale])
	}
	return new(big.Rat).SetInt64(v.n)
}

func (v value) float() float64 {
	if v.k == decimal {
		return float64(v.n) / float64(pow10[v.scale])
	}
	return float64(v.n)
}

func compareNumbers(a, b value) int {
	as, bs := uint8(0), uint8(0)
	if a.k == decimal {
		as = a.scale
	}
	if b.k == decimal {
		bs = b.scale
	}
	if as == bs {
		switch {
		case a.n < b.n:
			return -1
		case a.n > b.n:
			return 1
		}
		return 0
	}
	return a.rat().Cmp(b.rat())
}

// parseNumber reads a JSON or CSV number exactly. ok is false when it is no number or has more than 18 digits.
func parseNumber(s string, asInt bool) (v value, ok bool) {
	r, ok := new(big.Rat).SetString(s)
	if !ok || strings.ContainsAny(s, "/_xXpP") {
		return value{}, false
	}
	if r.IsInt() {
		if !r.Num().IsInt64() {
			return value{}, false
		}
		n := r.Num().Int64()
		if n > 999_999_999_999_999_999 || n < -999_999_999_999_999_999 {
			return value{}, false
		}
		if asInt {
			return intOf(n), true
		}
		return decOf(n, 0), true
	}
	if asInt {
		return value{}, false
	}
	for scale := 1; scale < len(pow10); scale++ {
		t := new(big.Rat).Mul(r, new(big.Rat).SetInt64(pow10[scale]))
		if t.IsInt() {
			if !t.Num().IsInt64() {
				return value{}, false
			}
			return decOf(t.Num().Int64(), scale), true
		}
	}
	// More decimals than Salesforce keeps: they are rounded to the field's scale by the caller, from the nearest that fits.
	f, _ := r.Float64()
	if math.Abs(f) > 1e8 {
		return value{}, false
	}
	return decOf(int64(math.Round(f*1e9)), 9), true
}

// rounded gives the number with at most so many decimals, rounded half up as Salesforce does.
func (v value) rounded(scale int) value {
	if v.k != decimal || int(v.scale) <= scale {
		return v
	}
	p := pow10[int(v.scale)-scale]
	n, rest := v.n/p, v.n%p
	if rest >= (p+1)/2 {
		n++
	} else if -rest >= (p+1)/2 {
		n--
	}
	return decOf(n, scale)
}

func append2(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

func append4(b []byte, n int) []byte {
	return append(b, byte('0'+n/1000), byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10))
}

// civil turns a day number into a calendar date (Howard Hinnant's algorithm: no loops, no time.Time).
func civil(z int64) (y, m, d int) {
	z += 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = int(doy - (153*mp+2)/5 + 1)
	m = int(mp + 3)
	if mp >= 10 {
		m = int(mp - 9)
	}
	y = int(yoe + era*400)
	if m <= 2 {
		y++
	}
	return y, m, d
}

func appendDate(b []byte, days int64) []byte {
	y, m, d := civil(days)
	b = append4(b, y)
	b = append(b, '-')
	b = append2(b, m)
	b = append(b, '-')
	return append2(b, d)
}

func appendClock(b []byte, ms int64) []byte {
	s := int(ms / 1000)
	b = append2(b, s/3600)
	b = append(b, ':')
	b = append2(b, s/60%60)
	b = append(b, ':')
	b = append2(b, s%60)
	b = append(b, '.')
	f := int(ms % 1000)
	return append(b, byte('0'+f/100), byte('0'+f/10%10), byte('0'+f%10))
}

// appendStamp writes a datetime; zone is "+0000" in JSON and "Z" in CSV, as Salesforce has it.
func appendStamp(b []byte, ms int64, zone string) []byte {
	days := floorDiv(ms, 86_400_000)
	b = appendDate(b, days)
	b = append(b, 'T')
	b = appendClock(b, ms-days*86_400_000)
	return append(b, zone...)
}

// appendDecimal writes a number as Java's Double.toString does, which is what Salesforce sends: at least one decimal, and
// scientific notation from ten million up and below a thousandth.
func appendDecimal(b []byte, n int64, scale int) []byte {
	if n == 0 {
		return append(b, "0.0"...)
	}
	if n < 0 {
		b = append(b, '-')
		n = -n
	}
	var buf [20]byte
	digits := strconv.AppendInt(buf[:0], n, 10)
	for scale > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
		scale--
	}
	whole := len(digits) - scale // digits before the decimal point; negative when zeros follow the point first
	if whole > 7 || whole < -2 {
		for len(digits) > 1 && digits[len(digits)-1] == '0' {
			digits = digits[:len(digits)-1]
		}
		b = append(b, digits[0], '.')
		if len(digits) == 1 {
			b = append(b, '0')
		}
		b = append(b, digits[1:]...)
		b = append(b, 'E')
		return strconv.AppendInt(b, int64(whole-1), 10)
	}
	if whole <= 0 {
		b = append(b, "0."...)
		for range -whole {
			b = append(b, '0')
		}
		return append(b, digits...)
	}
	b = append(b, digits[:whole]...)
	b = append(b, '.')
	if scale <= 0 {
		return append(b, '0')
	}
	return append(b, digits[whole:]...)
}

// plain writes a number without exponent and without needless zeros.
func (v value) plain() string {
	if v.k != decimal {
		return strconv.FormatInt(v.n, 10)
	}
	s := v.rat().FloatString(int(v.scale))
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// appendJSON writes the value as REST rows have it.
func (v value) appendJSON(b []byte) []byte {
	switch v.k {
	case boolean:
		if v.n != 0 {
			return append(b, "true"...)
		}
		return append(b, "false"...)
	case integer:
		return strconv.AppendInt(b, v.n, 10)
	case decimal:
		return appendDecimal(b, v.n, int(v.scale))
	case text:
		return appendJSONText(b, v.s)
	case date:
		b = append(b, '"')
		b = appendDate(b, v.n)
		return append(b, '"')
	case stamp:
		b = append(b, '"')
		b = appendStamp(b, v.n, "+0000")
		return append(b, '"')
	case clock:
		b = append(b, '"')
		b = appendClock(b, v.n)
		return append(b, 'Z', '"')
	}
	return append(b, "null"...)
}

// appendCSV writes the value between quotes as Bulk results have it; null is empty text.
func (v value) appendCSV(b []byte) []byte {
	if v.k == null {
		return append(b, '"', '"')
	}
	b = append(b, '"')
	switch v.k {
	case boolean:
		if v.n != 0 {
			b = append(b, "true"...)
		} else {
			b = append(b, "false"...)
		}
	case integer:
		b = strconv.AppendInt(b, v.n, 10)
	case decimal:
		b = appendDecimal(b, v.n, int(v.scale))
	case text:
		b = appendQuoted(b, v.s)
	case date:
		b = appendDate(b, v.n)
	case stamp:
		b = appendStamp(b, v.n, "Z")
	case clock:
		b = appendClock(b, v.n)
		b = append(b, 'Z')
	}
	return append(b, '"')
}

func appendQuoted(b []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i+1]...)
		b = append(b, '"')
		s = s[i+1:]
	}
}

const hexDigits = "0123456789abcdef"

func appendJSONText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\ufffd"...)
				i++
				start = i
				continue
			}
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// parseDay reads "2026-11-20".
func parseDay(s string) (int64, bool) {
	t, err := time.Parse("2006-01-02", s)
	if err != nil {
		return 0, false
	}
	d := dayOf(t)
	return d, d >= minDay && d <= maxDay
}

var stampLayouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700",
}

// parseStamp reads a datetime with or without fraction and offset; without an offset it is UTC.
func parseStamp(s string) (int64, bool) {
	for _, l := range stampLayouts {
		if t, err := time.Parse(l, s); err == nil {
			d := dayOf(t.UTC())
			return t.UnixMilli(), d >= minDay && d <= maxDay
		}
	}
	return 0, false
}

// parseClock reads "18:30:00.000Z".
func parseClock(s string) (int64, bool) {
	for _, l := range []string{"15:04:05.999Z", "15:04:05.999", "15:04Z", "15:04"} {
		if t, err := time.Parse(l, s); err == nil {
			return int64(t.Hour())*3_600_000 + int64(t.Minute())*60_000 + int64(t.Second())*1000 + int64(t.Nanosecond())/1_000_000, true
		}
	}
	return 0, false
}
