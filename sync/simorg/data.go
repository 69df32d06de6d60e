package simorg

import (
	"strconv"
	"unsafe"
)

// sizes says how many untouched rows each object has.
type sizes struct {
	leads, contacts, accounts, opportunities, roles, campaigns, members, statuses, tasks, events, users, subscriptions, interests, licenses, cases int
}

// view reads rows. Every request has its own, because it holds the memory in which computed text is put together: that text lasts
// until the next reset. With tx, it sees what that transaction has not committed.
type view struct {
	org  *Org
	seed uint64
	n    *sizes
	tx   *Tx
	// access is of the user who asks; nil for the org itself, which sees everything.
	access *access
	arena  []byte
}

// reset frees the computed text of the rows read so far. Values that must outlive it are cloned.
func (v *view) reset() { v.arena = v.arena[:0] }

// take gives n bytes of the arena. What was handed out before stays where it is, even when a new arena is made.
func (v *view) room(n int) []byte {
	if len(v.arena)+n > cap(v.arena) {
		v.arena = make([]byte, 0, max(4096, 2*cap(v.arena), n))
	}
	at := len(v.arena)
	return v.arena[at:at:(at + n)]
}

func (v *view) keep(b []byte) string {
	v.arena = v.arena[:len(v.arena)+len(b)]
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (v *view) cat(parts ...string) string {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n == 0 {
		return ""
	}
	b := v.room(n)
	for _, p := range parts {
		b = append(b, p...)
	}
	return v.keep(b)
}

func (v *view) itoa(n int64) string {
	return v.keep(strconv.AppendInt(v.room(20), n, 10))
}

func (v *view) id(prefix string, i uint32) string {
	return v.keep(appendID(v.room(18), prefix, firstNumber+uint64(i)))
}

func saltOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// h is the randomness of everything computed: the same for the same seed, salt and index (the finaliser of splitmix64).
func (v *view) h(salt uint64, i uint32) uint64 {
	z := v.seed ^ salt + uint64(i)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func chance(h uint64, percent uint64) bool { return h%100 < percent }

// below maps the high half of h onto [0, n).
func below(h uint64, n int) int { return int((h >> 32) * uint64(n) >> 32) }

// The generators below are what the tables of fields are filled with; filled is the share in percent of rows that have a value.

type gen = func(v *view, f *field, i uint32) value

func oneOf(filled uint64, from []string) gen {
	values := make([]value, len(from))
	for i, s := range from {
		values[i] = textOf(s)
	}
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		return values[below(h, len(values))]
	}
}

// picked fills a picklist from its own values.
func (f *field) picked(filled uint64) *field {
	if f.Type == "multipicklist" {
		return f.with(someOf(filled, f.Picklist))
	}
	return f.with(oneOf(filled, f.Picklist))
}

// someOf joins one to three neighbours of a multipicklist, in the order of the list.
func someOf(filled uint64, from []string) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		at := below(h, len(from))
		switch h >> 20 & 3 {
		case 0:
			if at+2 < len(from) {
				return textOf(v.cat(from[at], ";", from[at+1], ";", from[at+2]))
			}
		case 1:
			if at+1 < len(from) {
				return textOf(v.cat(from[at], ";", from[at+1]))
			}
		}
		return textOf(from[at])
	}
}

func yes(percent uint64) gen {
	return func(v *view, f *field, i uint32) value { return boolOf(chance(v.h(f.salt, i), percent)) }
}

func ints(filled uint64, lo, hi int64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		return intOf(lo + int64(h>>8)%(hi-lo+1))
	}
}

// decs gives numbers of the field's scale between lo and hi; most are small, as in life, and a few are at the ends.
func decs(filled uint64, lo, hi int64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		scale := f.Scale
		span := uint64(hi-lo) * uint64(pow10[scale])
		n := h >> 8
		switch h >> 3 & 15 {
		case 0:
			return decOf(hi*pow10[scale], scale)
		case 1:
			return decOf(lo*pow10[scale], scale)
		case 2, 3, 4, 5, 6, 7:
			return decOf(lo*pow10[scale]+int64(n%(span/1000+1)), scale)
		}
		return decOf(lo*pow10[scale]+int64(n%(span+1)), scale)
	}
}

// days gives dates this far around the day that the untouched rows end on; one in a thousand is at the edge of the calendar.
func days(filled uint64, from, to int64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		switch h >> 7 % 2000 {
		case 0:
			return dateOf(minDay)
		case 1:
			return dateOf(maxDay)
		}
		return dateOf(v.org.epochDay() + from + int64(h>>20)%(to-from+1))
	}
}

// stamps gives datetimes this many seconds around the end of the untouched rows.
func stamps(filled uint64, from, to int64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		return stampSeconds(v.org.epoch + from + int64(h>>16)%(to-from+1))
	}
}

func phones(filled uint64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		b := v.room(24)
		switch h >> 8 & 3 {
		case 0:
			b = append(b, '(')
			b = strconv.AppendUint(b, 200+h>>16%800, 10)
			b = append(b, ") 555-"...)
			b = append4(b, int(h>>32%10000))
		case 1:
			b = append(b, "+33 1 "...)
			b = append4(b, int(h>>16%10000))
			b = append(b, ' ')
			b = append4(b, int(h>>32%10000))
		case 2:
			b = append(b, "0049-89-"...)
			b = append4(b, int(h>>16%10000))
		default:
			b = append(b, "555."...)
			b = append4(b, int(h>>32%10000))
			b = append(b, " x"...)
			b = strconv.AppendUint(b, h>>16%100, 10)
		}
		return value{k: text, s: v.keep(b)}
	}
}

func urls(filled uint64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		return textOf(v.cat("https://", webHosts[below(h, len(webHosts))], "/", v.itoa(int64(h>>40%9000))))
	}
}

// texts gives descriptions of every kind; one in two thousand is as long as the field allows.
func texts(filled uint64) gen {
	values := make([]value, len(descriptions))
	for i, s := range descriptions {
		values[i] = textOf(s)
	}
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		if h>>9%2000 == 0 {
			return textOf(cutRunes(longText, f.Length))
		}
		d := values[below(h, len(values))]
		if len(d.s) > f.Length {
			return textOf(cutRunes(d.s, f.Length))
		}
		return d
	}
}

// cutRunes gives the first n characters, counted as Salesforce counts them: UTF-16 units.
func cutRunes(s string, n int) string {
	units := 0
	for i, r := range s {
		units++
		if r > 0xffff {
			units++
		}
		if units > n {
			return s[:i]
		}
	}
	return s
}

func coordinates(filled uint64, limit int64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		const million = 1_000_000
		return decOf(int64(h>>8%uint64(2*limit*million))-limit*million, 6)
	}
}

// codes gives texts like "AC-0012345", unique by the row's index.
func codes(filled uint64, lead string) (gen, func(v *view, s string) (uint32, bool)) {
	make := func(v *view, f *field, i uint32) value {
		if !chance(v.h(f.salt, i), filled) {
			return value{}
		}
		b := v.room(len(lead) + 16)
		b = append(b, lead...)
		for p := uint32(1_000_000); p > max(i, 1); p /= 10 {
			b = append(b, '0')
		}
		b = strconv.AppendUint(b, uint64(i), 10)
		return value{k: text, s: v.keep(b)}
	}
	invert := func(_ *view, s string) (uint32, bool) {
		if len(s) <= len(lead) || s[:len(lead)] != lead {
			return 0, false
		}
		n, err := strconv.ParseUint(s[len(lead):], 10, 32)
		return uint32(n), err == nil
	}
	return make, invert
}

// coded makes the field's computed values unique, and found without an index.
func (f *field) coded(filled uint64, lead string) *field {
	f.gen, f.invert = codes(filled, lead)
	return f
}

// persons: the same culture gives a row's first name, last name, address and e-mail.

func (v *view) culture(salt uint64, i uint32) *culture {
	h := v.h(salt, i)
	if h%100 < 62 {
		return &cultures[h>>8%4]
	}
	return &cultures[below(h, len(cultures))]
}

func firstNames(filled uint64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		c := v.culture(f.owner.salt(), i)
		return value{k: text, s: c.first[below(h, len(c.first))]}
	}
}

func lastNames(v *view, f *field, i uint32) value {
	c := v.culture(f.owner.salt(), i)
	return value{k: text, s: c.last[below(v.h(f.salt, i), len(c.last))]}
}

func emails(filled uint64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		c := v.culture(f.owner.salt(), i)
		first, last := f.salt, f.salt
		if f.owner.fFirst != nil {
			first, last = f.owner.fFirst.salt, f.owner.fLast.salt
		}
		n := int64(i)
		if h>>10%50 == 0 {
			// A few people share an address.
			i /= 10
			n, first, last, c = int64(i), f.salt, f.salt, v.culture(f.salt, i)
		}
		return textOf(v.cat(c.plainFirst[below(v.h(first, i), len(c.plainFirst))], ".", c.plainLast[below(v.h(last, i), len(c.plainLast))], v.itoa(n), "@mail", v.itoa(n%40), ".example.", c.domain))
	}
}

func companies(filled uint64) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		return textOf(v.cat(companyHeads[below(h, len(companyHeads))], " ", companyTails[h>>8%uint64(len(companyTails))]))
	}
}

func address(kind int) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.owner.salt()+77, i)
		if h%100 < 25 {
			return value{}
		}
		c := v.culture(f.owner.salt(), i)
		p := &c.cities[below(h, len(c.cities))]
		switch kind {
		case 0:
			return textOf(streets[h>>8%uint64(len(streets))])
		case 1:
			return textOf(p.city)
		case 2:
			return textOf(p.state)
		case 3:
			return textOf(p.postal)
		}
		return textOf(p.country)
	}
}

// personName puts a person's name together from its parts, as the org does for Lead, Contact and User.
func personName(v *view, r row) value {
	o := r.t.object
	first, last := v.get(r, o.byName["firstname"]), v.get(r, o.byName["lastname"])
	if first.isNull() {
		return last
	}
	if last.isNull() {
		return first
	}
	return value{k: text, s: v.cat(first.s, " ", last.s)}
}

func (o *object) salt() uint64 { return o.fields[0].salt }
