package mirror

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

var kinds = map[kind]string{
	kindText: "text", kindBool: "boolean", kindInt4: "integer", kindInt8: "bigint", kindNumeric: "numeric",
	kindDate: "date", kindTimestamptz: "timestamptz", kindTime: "time",
}

// Cells that fit are written as PostgreSQL itself writes the same text; the casts are PostgreSQL's.
var good = map[kind][]string{
	kindText: {"a", " ", "NULL", "NA", "null", `\N`, "line\r\nnext\n", `"quoted"`, "日本語 ñ 🌲", "\u200b", strings.Repeat("x", 100_000), "\ufffd", "\x7f\x01"},
	kindBool: {"true", "false"},
	kindInt4: {"0", "-0", "7", "-7", "007", "2147483647", "-2147483648", "5.0", "-5.000", "0.0", "1.5E1", "1E3", "20e-1", "0e5", "1.50E+2"},
	kindInt8: {"0", "9223372036854775807", "-9223372036854775808", "9223372036854775807.0", "1e18", "999999999999999999", "1000000000000000000", "-1000000000000000000.00"},
	kindNumeric: {
		"0", "-0", "0.0", "-0.00", "1", "-1", "10000", "9999", "99999999", "100000000", "0.1", "0.0001", "0.00001", "0.000000001", "123456789.987654321", "-12.50", "1.5E7", "1e-7", "1E+5", "12e3", "0.00012e4",
		"1.10E-20", "0e0", "0e5", "0e-5", "0.000e2", "00012.3400", ".5", "5.", "-.5", "123456789012345678.123456789012345678", "99999999999999999999999999999999999999.99", "1e1000", "1e-1000",
		"10000000000000000", "100010001", "1e4", "1e3", "1e2", "1e8", "1.2345e4", "12345e-4", "0.0000123400", strings.Repeat("9", 200) + "." + strings.Repeat("7", 100), "1e-16383", "1e131071",
	},
	kindDate: {"2000-01-01", "1999-12-31", "2026-11-20", "1970-01-01", "0001-01-01", "9999-12-31", "2000-02-29", "1900-02-28", "2024-02-29", "1600-02-29", "0004-02-29", "2100-03-01", "1582-10-10"},
	kindTimestamptz: {
		"2026-11-20T17:38:59.000Z", "2026-11-20T17:38:59.000+0000", "2026-11-20T17:38:59.000+00:00", "2026-11-20T17:38:59Z", "2026-11-20T17:38:59.123456Z", "2026-11-20T17:38:59.1234560Z", "2026-11-20T17:38:59.5-0730",
		"2000-01-01T00:00:00.000Z", "1999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00.000+14:00", "2024-02-29T12:00:00.1-11:00",
	},
	kindTime: {"00:00:00", "18:30:00.000Z", "18:30:00", "23:59:59.999999Z", "23:59:59.999", "01:02:03.5Z"},
}

// Cells that PostgreSQL or a careless parser might take, and that are refused with a reason.
var bad = map[kind]map[string]flaw{
	kindText:    {"a\x00b": flawNUL, "\x00": flawNUL, "a\xff": flawUTF8, "\xc3\x28": flawUTF8, "\xed\xa0\x80": flawUTF8, "\xf4\x90\x80\x80": flawUTF8, "\xc0\x80": flawUTF8},
	kindID:      {"001": flawID, "0010000000000010": flawID, "00100000000000-AAA": flawID, "00100000000000é": flawID, " 001000000000001": flawID},
	kindBool:    {"t": flawBool, "1": flawBool, "on": flawBool, "yes": flawBool, "TRUE": flawBool, " true": flawBool, "null": flawBool},
	kindInt4:    {"2147483648": flawRange, "-2147483649": flawRange, "1e10": flawRange, "1.5": flawInteger, " 7": flawInteger, "7 ": flawInteger, "0x10": flawInteger, "1_000": flawInteger, "1,000": flawInteger, "NaN": flawInteger, "-": flawInteger, "--1": flawInteger, "1e": flawInteger, "1e99999999999": flawRange, "seven": flawInteger, "+": flawInteger, "": fit},
	kindInt8:    {"9223372036854775808": flawRange, "-9223372036854775809": flawRange, "99999999999999999999999": flawRange, "0.5": flawInteger, "1e-1": flawInteger},
	kindNumeric: {"NaN": flawNumber, "Infinity": flawNumber, "-inf": flawNumber, " 1": flawNumber, "1 ": flawNumber, "1,5": flawNumber, "1e": flawNumber, "e5": flawNumber, ".": flawNumber, "-": flawNumber, "1.2.3": flawNumber, "0x1F": flawNumber, "1_0": flawNumber, "1e200000": flawRange, "1e-20000": flawRange, "1e9999999999999999999": flawRange, "$5": flawNumber, "5%": flawNumber},
	kindDate:    {"2023-02-29": flawDate, "1900-02-29": flawDate, "2026-13-01": flawDate, "2026-00-01": flawDate, "2026-01-00": flawDate, "2026-04-31": flawDate, "0000-01-01": flawDate, "26-11-20": flawDate, "2026/11/20": flawDate, "today": flawDate, "infinity": flawDate, "2026-11-20 ": flawDate, "2026-11-20T00:00:00Z": flawDate, "20261120  ": flawDate, "+026-11-20": flawDate},
	kindTimestamptz: {
		"now": flawTimestamp, "infinity": flawTimestamp, "2026-11-20": flawTimestamp, "2026-11-20 17:38:59Z": flawTimestamp, "2026-11-20T17:38:59": flawTimestamp, "2026-11-20T24:00:00Z": flawTimestamp, "2026-11-20T17:60:00Z": flawTimestamp, "2026-11-20T17:38:60Z": flawTimestamp,
		"2026-11-20T17:38:59.Z": flawTimestamp, "2026-11-20T17:38:59.1234567Z": flawPrecision, "2026-11-20T17:38:59z": flawTimestamp, "2026-11-20T17:38:59+00": flawTimestamp, "2026-11-20T17:38:59+1600": flawTimestamp, "2026-11-20T17:38:59+0060": flawTimestamp, "2026-11-20T17:38:59ZZ": flawTimestamp, "2026-02-30T17:38:59Z": flawTimestamp, "2026-11-20T17:38:59.000 Z": flawTimestamp, "2026-11-20T17:38:59.000+0a00": flawTimestamp,
	},
	kindTime: {"24:00:00": flawTime, "18:30": flawTime, "18:30:00+01": flawTime, "allballs": flawTime, "now": flawTime, "18:30:00ZZ": flawTime, "Z": flawTime, "1:02:03": flawTime, "18:30:00.0000001": flawPrecision},
}

func TestGoodCells(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for k, cells := range good {
		for _, cell := range cells {
			checkAgainstPostgres(t, w.ctx, w, k, cell)
		}
	}
	for in, want := range map[string]string{"001D0000008pQR5": "001D0000008pQR5IAM", "001D0000008pQR5IAM": "001D0000008pQR5IAM"} {
		out, f := appendCell(nil, kindID, []byte(in))
		if f != fit || string(out[4:]) != want {
			t.Errorf("id %s: %q, %v, want %s", in, out[4:], f, want)
		}
	}
}

// checkAgainstPostgres compares the encoding of an accepted cell with what PostgreSQL's own cast sends for the same text.
func checkAgainstPostgres(t *testing.T, ctx context.Context, w *world, k kind, cell string) {
	t.Helper()
	out, f := appendCell([]byte("before"), k, []byte(cell))
	if f != fit {
		t.Errorf("%s %.60q is refused: %d", kinds[k], cell, f)
		return
	}
	out = bytes.TrimPrefix(out, []byte("before"))
	if n := int(int32(binary.BigEndian.Uint32(out))); n != len(out)-4 {
		t.Errorf("%s %.60q: the length says %d of %d bytes", kinds[k], cell, n, len(out)-4)
	}
	want, err := postgresSends(ctx, w, k, cell)
	if err != nil {
		t.Errorf("%s %.60q is taken, but PostgreSQL does not: %v", kinds[k], cell, err)
		return
	}
	if !bytes.Equal(out[4:], want) {
		t.Errorf("%s %.60q: got %x, PostgreSQL sends %x", kinds[k], cell, out[4:], want)
	}
}

func postgresSends(ctx context.Context, w *world, k kind, cell string) (want []byte, err error) {
	cast := kinds[k]
	if k == kindInt4 || k == kindInt8 {
		cast = "numeric::" + cast // whole numbers in any spelling
	}
	sql := fmt.Sprintf("SELECT %s_send($1::text::%s)", map[kind]string{
		kindText: "text", kindBool: "bool", kindInt4: "int4", kindInt8: "int8", kindNumeric: "numeric_", kindDate: "date_", kindTimestamptz: "timestamptz_", kindTime: "time_",
	}[k], cast)
	sql = strings.Replace(sql, "__send", "_send", 1)
	sql = strings.NewReplacer("text_send", "textsend", "bool_send", "boolsend", "int4_send", "int4send", "int8_send", "int8send").Replace(sql)
	return want, w.pool.QueryRow(ctx, sql, cell).Scan(&want)
}

func TestBadCells(t *testing.T) {
	t.Parallel()
	for k, cells := range bad {
		for cell, want := range cells {
			if _, f := appendCell(nil, k, []byte(cell)); f != want {
				t.Errorf("%s %q: flaw %d, want %d", kinds[k], cell, f, want)
			}
		}
	}
	for k := kindText; k <= kindTime; k++ {
		for _, empty := range [][]byte{nil, {}} {
			if out, f := appendCell(nil, k, empty); f != fit || !bytes.Equal(out, []byte{0xff, 0xff, 0xff, 0xff}) {
				t.Errorf("%s: an empty cell gives %x, %v, want null", kinds[k], out, f)
			}
		}
	}
}

// FuzzCell holds that whatever a column takes is what PostgreSQL reads from the same text, and that nothing panics.
func FuzzCell(f *testing.F) {
	for k, cells := range good {
		for _, c := range cells {
			f.Add(uint8(k), []byte(c))
		}
	}
	for k, cells := range bad {
		for c := range cells {
			f.Add(uint8(k), []byte(c))
		}
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, k uint8, cell []byte) {
		k %= uint8(kindTime) + 1
		out, flawed := appendCell(nil, kind(k), cell)
		if flawed != fit || len(cell) == 0 || kind(k) == kindID {
			code, message := explain(flawed, "Field", kind(k), cell)
			if flawed != fit && (code == "" || !strings.HasSuffix(message, ".") || strings.ContainsRune(message, 0)) {
				t.Errorf("flaw %d: %s %q", flawed, code, message)
			}
			return
		}
		want, err := postgresSends(context.Background(), w, kind(k), string(cell))
		if err != nil || !bytes.Equal(out[4:], want) {
			t.Errorf("%s %q: got %x, PostgreSQL %x, %v", kinds[kind(k)], cell, out[4:], want, err)
		}
	})
}

// Each kind of bad cell sets its record aside with column and reason, and the page goes on; a record that comes clean later is resolved.
func TestBadCellSetsItsRecordAside(t *testing.T) {
	t.Parallel()
	fields := []string{"T:string", "B:boolean", "I:int", "L:long", "N:currency", "D:date", "S:datetime", "C:time", "SystemModstamp:datetime", "IsDeleted:boolean"}
	good := []string{"", "text", "true", "1", "2", "3.5", "2026-11-20", "2026-11-20T17:38:59.000Z", "18:30:00.000Z", stampAt(0), "false"}
	cells := map[int]struct{ cell, code, field string }{
		1: {"a\x00b\\c", "NUL_CHARACTER", "T"}, 2: {"maybe", "NOT_A_BOOLEAN", "B"}, 3: {"99999999999", "OUT_OF_RANGE", "I"}, 4: {"1.5", "NOT_AN_INTEGER", "L"},
		5: {"NaN", "NOT_A_NUMBER", "N"}, 6: {"today", "NOT_A_DATE", "D"}, 7: {"now", "NOT_A_DATETIME", "S"}, 8: {"noon", "NOT_A_TIME", "C"},
	}
	for _, staged := range []bool{false, true} {
		t.Run(fmt.Sprintf("staged=%v", staged), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ensure(schema("Odd__c", fields...))
			l := w.load("Odd__c", LoadFirst)
			columns := "Id T B I L N D S C SystemModstamp IsDeleted"
			record := func(n int) []string {
				r := append([]string(nil), good...)
				r[0] = id("a00", n)
				return r
			}
			p := rows(columns)
			for n := range 20 {
				r := record(n)
				if c, ok := cells[n]; ok {
					r[n] = c.cell
				}
				p.rows = append(p.rows, r)
			}
			noID := record(20)
			noID[0] = null
			two := record(21)
			two[1], two[5] = "\xff", "12,50"
			p.rows = append(p.rows, noID, two)
			r, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1, Staged: staged}, p, "", true)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "result", r, Result{Read: 22, New: 12, Refused: 10})
			w.sumUp("Odd__c", r)
			for n, c := range cells {
				var code, field, column, message string
				if err := w.pool.QueryRow(w.ctx, "SELECT code, field, column_name, message FROM mirror.refused WHERE sfid = $1", id("a00", n)).Scan(&code, &field, &column, &message); err != nil {
					t.Fatalf("record %d: %v", n, err)
				}
				if code != c.code || field != c.field || column != strings.ToLower(c.field) || !strings.HasPrefix(message, c.field+" ") || !strings.HasSuffix(message, ".") {
					t.Errorf("%q: %s %s %s: %s", c.cell, code, field, column, message)
				}
			}
			equal(t, "NUL", ask[string](w, "SELECT value -> 'T' ->> 'escaped' FROM mirror.refused WHERE code = 'NUL_CHARACTER'"), `a\x00b\\c`)
			equal(t, "raw cell", ask[string](w, "SELECT value ->> 'S' FROM mirror.refused WHERE code = 'NOT_A_DATETIME'"), "now")
			equal(t, "page", ask[string](w, "SELECT format('%s %s', load_id = $1, page) FROM mirror.refused WHERE code = 'NOT_A_DATETIME'", l.ID), "t 1")
			if m := ask[string](w, "SELECT message FROM mirror.refused WHERE sfid = $1", id("a00", 21)); !strings.Contains(m, "1 more") {
				t.Errorf("a record with two bad cells: %s", m)
			}
			equal(t, "refused", ask[int64](w, "SELECT refused FROM mirror.object_status"), 10)
			if _, err := w.db.FinishLoad(w.ctx, l.ID); err != nil {
				t.Fatal(err)
			}

			// An older clean version does not resolve a refusal, the same or a newer one does. Refused again, it is one still.
			older, same, again := record(1), record(2), record(3)
			older[9], again[3] = stampAt(-5), "many"
			res := w.change("Odd__c", mark, mark, rows(columns, older, same, again))
			equal(t, "later", res, Result{Read: 3, New: 2, Refused: 1})
			equal(t, "refused", ask[int64](w, "SELECT refused FROM mirror.object_status"), 9)
			equal(t, "code", ask[string](w, "SELECT code || seen FROM mirror.refused WHERE sfid = $1", id("a00", 3)), "NOT_AN_INTEGER2")

			// A complete read that does not bring a record any more resolves it too: it is gone from Salesforce.
			l = w.load("Odd__c", LoadResync)
			if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(columns, again), "", true); err != nil {
				t.Fatal(err)
			}
			if _, err := w.db.FinishLoad(w.ctx, l.ID); err != nil {
				t.Fatal(err)
			}
			equal(t, "refused", ask[string](w, "SELECT string_agg(sfid, ' ') FROM mirror.refused"), id("a00", 3))
			b, err := w.db.Changes(w.ctx, "Odd__c")
			if err != nil {
				t.Fatal(err)
			}
			defer b.Rollback()
			if _, err := b.Tombstone(w.ctx, []DeletedID{{ID: "a00000000000003AAA", At: mark}}); err != nil {
				t.Fatal(err)
			}
			if err := b.Commit(w.ctx, mark, mark); err != nil {
				t.Fatal(err)
			}
			equal(t, "refused", ask[int64](w, "SELECT refused FROM mirror.object_status"), 0)
		})
	}
}

// In the direct lane, a record that was set aside with one page and comes clean with another is resolved too.
func TestDirectLaneResolves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	bad := acc(1, "a", 0)
	bad[2] = "x"
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, bad, acc(2, "b", 0)), "n", false); err != nil {
		t.Fatal(err)
	}
	equal(t, "refused", ask[int64](w, "SELECT refused FROM mirror.object_status"), 1)
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 2, Locator: "n"}, rows(accountColumns, acc(1, "a", 0), acc(3, "c", 0)), "", true); err != nil {
		t.Fatal(err)
	}
	equal(t, "refused", ask[int64](w, "SELECT refused FROM mirror.object_status"), 0)
}

// A page of which nearly nothing fits is the wrong page: it fails instead of filling the table of refusals.
func TestTooManyRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	l := w.load("Account", LoadFirst)
	all := accs(refusedMax+1, 0)
	for _, r := range all {
		r[2] = "x"
	}
	if _, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, all...), "", true); err == nil || !strings.Contains(err.Error(), "more than 10000") {
		t.Errorf("got %v", err)
	}
	r, err := w.db.ApplyPage(w.ctx, l, Page{Seq: 1}, rows(accountColumns, all[:refusedMax]...), "", true)
	if err != nil || r.Refused != refusedMax {
		t.Errorf("as many as may be: %+v, %v", r, err)
	}
}

// A record with more filled fields than a row of PostgreSQL can have is set aside; one just below that goes in.
func TestWideRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var fields []string
	columns := "Id"
	for i := range 790 {
		fields = append(fields, fmt.Sprintf("F%d__c:string", i))
		columns += fmt.Sprintf(" F%d__c", i)
	}
	w.ensure(schema("Wide__c", append(fields, "IsDeleted:boolean")...))
	record := func(n, filled int, cell string) []string {
		r := make([]string, 791)
		r[0] = id("a01", n)
		for i := range 790 {
			if r[i+1] = null; i < filled {
				r[i+1] = cell
			}
		}
		return r
	}
	long := strings.Repeat("long ", 30)
	r := w.change("Wide__c", time.Time{}, mark, rows(columns, record(1, 790, long), record(2, 420, long), record(3, 790, "short"), record(4, 790, "some longer text"), record(5, 300, "between 19 and 24")))
	equal(t, "result", r, Result{Read: 5, New: 2, Refused: 3})
	equal(t, "code", ask[string](w, "SELECT string_agg(DISTINCT code, ',') FROM mirror.refused"), "TOO_WIDE")
	// The reckoning errs by little: rows near the limit that it lets through are taken by PostgreSQL.
	for n := 250; n < 330; n += 3 {
		w.change("Wide__c", mark, mark, rows(columns, record(1000+n, n, long)))
	}
	if got := ask[int](w, "SELECT count(*) FROM salesforce.wide__c"); got < 2+15 {
		t.Errorf("only %d records went in", got)
	}
}

func TestStagingTableFollowsTheColumns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ensure(account())
	w.change("Account", time.Time{}, mark, rows(accountColumns, accs(3, 0)...))
	wider := account()
	wider.Fields = append(wider.Fields, schema("x", "Colour__c:string").Fields[1])
	// Another process describes the object anew; this one finds out by itself.
	if _, _, err := New(w.pool).Ensure(w.ctx, wider, FromSalesforce, mark); err != nil {
		t.Fatal(err)
	}
	w.change("Account", mark, mark, rows(accountColumns+" Colour__c", append(acc(1, "a", 1), "green")))
	equal(t, "colour", ask[string](w, "SELECT colour__c FROM salesforce.account WHERE colour__c IS NOT NULL"), "green")
}
