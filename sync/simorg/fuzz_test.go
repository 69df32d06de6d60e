package simorg

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// No statement makes the parser or the binder panic, and what is refused is explained within the statement.
func FuzzSOQL(f *testing.F) {
	for _, s := range []string{
		"SELECT Id FROM Lead", "SELECT COUNT() FROM Lead WHERE Name LIKE '%a_' AND (NOT Id = null)", "SELECT Id, Owner.Name, (SELECT Id FROM Contacts) FROM Account a WHERE a.Name IN ('x','y') ORDER BY Name DESC NULLS LAST LIMIT 3 OFFSET 2",
		"SELECT Status, COUNT(Id) n FROM Lead GROUP BY Status HAVING COUNT(Id) > 1 ORDER BY COUNT(Id)", "SELECT TYPEOF What WHEN Account THEN Name ELSE Id END FROM Task", "SELECT FIELDS(ALL) FROM Lead LIMIT 200",
		"SELECT Id FROM Lead WHERE CreatedDate = LAST_N_DAYS:30 OR X__c INCLUDES ('a;b')", "SELECT Id FROM Lead WHERE CreatedDate >= 2026-11-20T00:00:00+01:00", "SELECT Id\nFROM Lead WHERE Name = 'é\\u00e9\\''", "SELECT ( ( ( (", "\xff'",
	} {
		f.Add(s)
	}
	o, err := New(Config{Leads: 20, Contacts: 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, perr := parseSOQL(s)
		if perr == nil {
			o.mu.RLock()
			v := o.view()
			b := &binder{v: v, src: s}
			var bo *bound
			if bo, perr = b.bind(q, nil); perr == nil && !bo.grouped && !q.count {
				v.run(bo)
			} else if perr == nil && bo.grouped {
				v.group(bo)
			}
			o.mu.RUnlock()
		}
		if perr != nil {
			if text := perr.explain(s); !strings.Contains(text, perr.message) || perr.code == "" {
				t.Errorf("%q is explained as %q", s, text)
			}
		}
	})
}

// What the org's own CSV reader takes, encoding/csv reads the same, but for CRLF within values, which only the own one keeps.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b\n1,\"x\"\"y\n,\"\n\n\"\",\n"))
	f.Add([]byte("a\n\"b\"c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.ContainsRune(data, '\r') {
			return
		}
		var rows [][]string
		r := &csvReader{data: data, delimiter: ','}
		for {
			row, err := r.row()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			rows = append(rows, row)
		}
		c := csv.NewReader(bytes.NewReader(data))
		c.FieldsPerRecord = -1
		want, err := c.ReadAll()
		if err != nil || !slices.EqualFunc(rows, want, slices.Equal[[]string]) {
			t.Errorf("%q was read as %q, want %q, %v", data, rows, want, err)
		}
	})
}
