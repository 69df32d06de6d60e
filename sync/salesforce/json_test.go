package salesforce

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// replyOf makes the reply that a connection would give with r as its body.
func replyOf(r io.Reader) *reply {
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(r)}
	rep := &reply{status: 200, header: res.Header, body: newBody(res, idleMax, func(error) {})}
	rep.fail = func(err error) error { return &NetworkError{Op: "test", Err: err} }
	return rep
}

func readPage(r io.Reader, columns ...string) (page *pageReader, records [][]string, err error) {
	tree, err := columnTree(columns)
	if err != nil {
		return nil, nil, err
	}
	page, err = newPageReader("query", replyOf(r), columns, tree)
	if err != nil {
		return nil, nil, err
	}
	for {
		cells, err := page.Next()
		if err == io.EOF {
			return page, records, nil
		}
		if err != nil {
			return page, records, err
		}
		record := make([]string, len(cells))
		for i, cell := range cells {
			record[i] = "<null>"
			if cell != nil {
				record[i] = string(cell)
			}
		}
		records = append(records, record)
	}
}

func TestPageReaderReadsCellsAsSalesforceWroteThem(t *testing.T) {
	for name, c := range map[string]struct {
		record  string
		columns []string
		want    []string
	}{
		"order of the columns asked for": {`{"attributes":{"type":"Lead"},"Id":"00Q","Name":"Pat"}`, []string{"Name", "Id"}, []string{"Pat", "00Q"}},
		"names in any case":              {`{"ID":"00Q","name":"Pat"}`, []string{"id", "Name"}, []string{"00Q", "Pat"}},
		"numbers exact":                  {`{"A":23.0,"B":12345678901234567890.123456789,"C":1.5E7,"D":-0,"E":0}`, []string{"A", "B", "C", "D", "E"}, []string{"23.0", "12345678901234567890.123456789", "1.5E7", "-0", "0"}},
		"booleans":                       {`{"A":true,"B":false}`, []string{"A", "B"}, []string{"true", "false"}},
		"null, empty and absent":         {`{"A":null,"B":""}`, []string{"A", "B", "C"}, []string{"<null>", "<null>", "<null>"}},
		"escapes":                        {`{"A":"q\"b\\s\/n\nr\rt\tb\bf\f","B":"\u00e9\u65e5","C":"\ud83d\ude00"}`, []string{"A", "B", "C"}, []string{"q\"b\\s/n\nr\rt\tb\bf\f", "é日", "😀"}},
		"NUL and half a pair":            {`{"A":"x\u0000y","B":"\ud83d!"}`, []string{"A", "B"}, []string{"x\x00y", "\xed\xa0\xbd!"}},
		"bytes that are no UTF-8":        {"{\"A\":\"x\xffy\",\"B\":\"\\n\xff\"}", []string{"A", "B"}, []string{"x\xffy", "\n\xff"}},
		"relationships by path":          {`{"Id":"1","Owner":{"attributes":{"type":"User"},"Name":"Pat","Manager":{"Name":"Kim"}},"Account":null}`, []string{"Owner.Name", "owner.manager.name", "Account.Name", "Id"}, []string{"Pat", "Kim", "<null>", "1"}},
		"compound asked for":             {`{"Address":{"city":"Paris","latitude":48.8}}`, []string{"Address"}, []string{`{"city":"Paris","latitude":48.8}`}},
		"compound not asked for":         {`{"Address":{"city":"Paris"},"L":[1,{"a":"]"}],"Id":"1"}`, []string{"Id"}, []string{"1"}},
		"subquery asked for":             {`{"Contacts":{"totalSize":1,"records":[{"Id":"3"}]},"Id":"1"}`, []string{"Contacts", "Id"}, []string{`{"totalSize":1,"records":[{"Id":"3"}]}`, "1"}},
		"a relationship that is text":    {`{"Owner":"text","Id":"1"}`, []string{"Owner.Name", "Id"}, []string{"<null>", "1"}},
		"aggregates":                     {`{"attributes":{"type":"AggregateResult"},"expr0":7,"n":2}`, []string{"expr0", "n"}, []string{"7", "2"}},
		"an escaped name":                {`{"N\u0061me":"x"}`, []string{"Name"}, []string{"x"}},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			in := `{"totalSize":1,"done":true,"records":[` + c.record + `]}`
			_, got, err := readPage(wrap(strings.NewReader(in)), c.columns...)
			if err != nil || len(got) != 1 || !slices.Equal(got[0], c.want) {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
			}
		}
	}
}

// Records of one page may differ in what they hold and in what order.
func TestPageReaderCopesWithRecordsOfDifferentShape(t *testing.T) {
	in := `{"records":[{"A":"1","B":"2"},{"B":"3","A":"4"},{"B":"5"},{"X":{"A":"no"},"A":"6"},{},{"A":"7","B":"8","C":"9"},{"A":"0","B":"1"}],"done":true,"totalSize":7}`
	_, got, err := readPage(strings.NewReader(in), "A", "B")
	want := [][]string{{"1", "2"}, {"4", "3"}, {"<null>", "5"}, {"6", "<null>"}, {"<null>", "<null>"}, {"7", "8"}, {"0", "1"}}
	if err != nil || !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestPageReaderTakesThePagesMembersInAnyOrder(t *testing.T) {
	for _, in := range []string{
		`{"totalSize":3,"done":false,"nextRecordsUrl":"\/services/q-1","records":[{"A":"1"}]}`,
		`{"records":[{"A":"1"}],"nextRecordsUrl":"/services/q-1","totalSize":3,"done":false}`,
		`{"new":{"x":[1]},"done":false,"records":[{"A":"1"}],"totalSize":3,"nextRecordsUrl":"/services/q-1","other":null}` + "\n",
	} {
		p, got, err := readPage(strings.NewReader(in), "A")
		if err != nil || len(got) != 1 || p.totalSize != 3 || p.done || p.next != "/services/q-1" {
			t.Errorf("%s: %q, %v, %+v", in, got, err, p)
		}
	}
	p, got, err := readPage(strings.NewReader(`{"totalSize":9,"done":true,"records":[]}`))
	if err != nil || len(got) != 0 || p.totalSize != 9 || !p.done {
		t.Errorf("a count: %q, %v", got, err)
	}
}

func TestPageReaderTellsWhatIsWrong(t *testing.T) {
	for in, transient := range map[string]bool{
		`{"records":[{"A":"1"},{"A":`:                                  true, // cut
		`{"records":[{"A":"1"}]`:                                       true, // cut
		`{"records":[{"A":"1"}],"done":true}[{"errorCode":"UNKNOWN"}]`: true, // an error appended to an answer
		`{"records":[{"A":"1"}],"done":true}{"x":1}`:                   true,
		`{"records":[{"A":"1"}<html>`:                                  true,
		`{"records":["A"]}`:                                            false,
		`[{"errorCode":"X"}]`:                                          false,
	} {
		_, _, err := readPage(strings.NewReader(in), "A")
		if err == nil || IsTransient(err) != transient || IsHalting(err) {
			t.Errorf("%s: %v, transient %v, want %v", in, err, IsTransient(err), transient)
		}
	}
	if _, _, err := readPage(io.MultiReader(strings.NewReader(`{"records":[`), iotest.ErrReader(errors.New("gone"))), "A"); !IsTransient(err) {
		t.Errorf("a broken connection: %v, want it transient", err)
	}
}

func TestColumnTreeRefusesColumnsThatCannotBeTold(t *testing.T) {
	for _, columns := range [][]string{{"A", "a"}, {"Owner", "Owner.Name"}, {"Owner.Name", "owner"}, {""}, {"A."}} {
		if _, err := columnTree(columns); err == nil {
			t.Errorf("%q were taken, want an error", columns)
		}
	}
}

func FuzzPageReader(f *testing.F) {
	f.Add([]byte(`{"totalSize":1,"done":true,"records":[{"A":"1\n\ud83d","B":{"C":2}}]}`))
	f.Add([]byte(`{"records":[{"A":null}],"done":false,"nextRecordsUrl":"/x"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, got, err := readPage(bytes.NewReader(in), "A", "B.C")
		if err != nil {
			return
		}
		var want struct {
			Records []map[string]any `json:"records"`
		}
		// What encoding/json reads without a loss has to agree.
		if json.Unmarshal(in, &want) != nil || len(want.Records) != len(got) {
			return
		}
		for i, record := range want.Records {
			a, plain := record["A"].(string)
			if !plain || a == "" || strings.ContainsRune(a, '\uFFFD') || len(record) != 1 || bytes.Count(in, []byte(`"`)) > 16 {
				continue
			}
			if got[i][0] != a && bytes.Count(bytes.ToLower(in), []byte(`"a"`)) == len(got) {
				t.Fatalf("%q: record %d has %q, encoding/json reads %q", in, i, got[i][0], a)
			}
		}
	})
}

// leadsJSON makes a page of a query like those of Salesforce: 38 fields and attributes.
func leadsJSON(records int) ([]byte, []string) {
	var b bytes.Buffer
	columns := []string{"Id"}
	for i := range 37 {
		columns = append(columns, fmt.Sprintf("Column%02d__c", i))
	}
	fmt.Fprintf(&b, `{"totalSize":%d,"done":true,"records":[`, records)
	values := []string{`"Acme"`, `null`, `12345.67`, `true`, `"line one\nline two"`, `"someone@example.com"`, `null`, `"2026-11-20T17:38:59.000+0000"`, `"M\u00fcller"`, `"some longer text that people write into a field for descriptions"`}
	for n := range records {
		if n > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"attributes":{"type":"Lead","url":"/services/data/v66.0/sobjects/Lead/00Q%015d"},"Id":"00Q%015d"`, n, n)
		for i := range 37 {
			fmt.Fprintf(&b, `,"%s":%s`, columns[i+1], values[(n+i)%len(values)])
		}
		b.WriteByte('}')
	}
	b.WriteString("]}")
	return b.Bytes(), columns
}

func BenchmarkJSON(b *testing.B) {
	page, columns := leadsJSON(2000)
	tree, err := columnTree(columns)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("tokens", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			p, err := newPageReader("query", replyOf(bytes.NewReader(page)), columns, tree)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for {
				if _, err := p.Next(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != 2000 {
				b.Fatal(n)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			var answer struct {
				Records []map[string]any `json:"records"`
			}
			dec := json.NewDecoder(bytes.NewReader(page))
			dec.UseNumber()
			if err := dec.Decode(&answer); err != nil || len(answer.Records) != 2000 {
				b.Fatal(err)
			}
		}
	})
}
