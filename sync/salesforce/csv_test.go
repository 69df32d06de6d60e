package salesforce

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// readAll splits src to its end and copies what it gives.
func readAll(src io.Reader, size, limit int) (records [][]string, err error) {
	s := newSplitter(src)
	if size > 0 {
		s.size, s.limit = size, limit
	}
	for {
		cells, err := s.next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		record := make([]string, len(cells))
		for i, cell := range cells {
			if cell != nil && len(cell) == 0 {
				return records, errors.New("an empty cell is not nil")
			}
			record[i] = string(cell)
		}
		records = append(records, record)
	}
}

// Each case is read whole, byte by byte, in halves, and through a buffer that each record has to grow: a cut may fall anywhere.
func TestSplitterGivesCellsExactToTheByte(t *testing.T) {
	big := strings.Repeat("long text, ", 300_000)
	for name, c := range map[string]struct {
		in   string
		want [][]string
	}{
		"nothing":                    {"", nil},
		"header only":                {"\"Id\",\"Name\"\n", [][]string{{"Id", "Name"}}},
		"two records":                {"\"a\",\"b\"\n\"c\",\"d\"\n", [][]string{{"a", "b"}, {"c", "d"}}},
		"no last line break":         {"\"a\",\"b\"\n\"c\",\"d\"", [][]string{{"a", "b"}, {"c", "d"}}},
		"CRLF records":               {"\"a\",\"b\"\r\n\"c\",\"d\"\r\n", [][]string{{"a", "b"}, {"c", "d"}}},
		"CRLF, LF and CR in quotes":  {"\"x\r\ny\",\"p\nq\",\"r\rs\"\n", [][]string{{"x\r\ny", "p\nq", "r\rs"}}},
		"doubled quotes":             {`"""","a""b","""a""","a"""` + "\n", [][]string{{`"`, `a"b`, `"a"`, `a"`}}},
		"many doubled quotes":        {`"""""""","""""x"""""` + "\n", [][]string{{`"""`, `""x""`}}},
		"comma in quotes":            {"\"a,b\",\",\"\n", [][]string{{"a,b", ","}}},
		"empty cells":                {"\"\",\"\",\"\"\n", [][]string{{"", "", ""}}},
		"NUL and no UTF-8":           {"\"a\x00b\",\"\xff\xfe\"\n", [][]string{{"a\x00b", "\xff\xfe"}}},
		"without quotes":             {"a,b,\n,d,e\n", [][]string{{"a", "b", ""}, {"", "d", "e"}}},
		"without quotes, CRLF":       {"a,b\r\nc,\r\n", [][]string{{"a", "b"}, {"c", ""}}},
		"mixed":                      {"a,\"b\",c\n\"d\",e,\"f\"\n", [][]string{{"a", "b", "c"}, {"d", "e", "f"}}},
		"CR inside a bare cell":      {"a\rb,c\n", [][]string{{"a\rb", "c"}}},
		"empty lines":                {"\n\r\n\"a\"\n\n\"b\"\n\r\n", [][]string{{"a"}, {"b"}}},
		"one empty quoted cell":      {"\"\"\n\"\"\n", [][]string{{""}, {""}}},
		"ends after a comma":         {"a,", [][]string{{"a", ""}}},
		"ends in CR":                 {"\"a\",\"b\"\r", [][]string{{"a", "b"}}},
		"a single CR":                {"\r", nil},
		"larger than the buffer":     {"\"" + big + "\",\"x\"\n\"y\",\"z\"\n", [][]string{{big, "x"}, {"y", "z"}}},
		"spaces are text":            {"\" a \", b ,\n", [][]string{{" a ", " b ", ""}}},
		"non-ASCII":                  {"\"Zoë\",\"日本\"\n", [][]string{{"Zoë", "日本"}}},
		"delimiter after last quote": {"\"a\",", [][]string{{"a", ""}}},
	} {
		readers := map[string]func(io.Reader) io.Reader{
			"whole":    func(r io.Reader) io.Reader { return r },
			"halves":   iotest.HalfReader,
			"data+EOF": iotest.DataErrReader,
		}
		if len(c.in) < 1000 {
			readers["byte by byte"] = iotest.OneByteReader
		}
		for how, wrap := range readers {
			for _, size := range []int{0, 1, 7} {
				got, err := readAll(wrap(strings.NewReader(c.in)), size, recordMax)
				if err != nil || !slices.EqualFunc(got, c.want, slices.Equal[[]string]) {
					t.Errorf("%s, %s, buffer %d: got %d records %.200q, %v, want %.200q", name, how, size, len(got), got, err, c.want)
				}
			}
		}
	}
}

func TestSplitterRefusesWhatIsNoCSV(t *testing.T) {
	for in, want := range map[string]string{
		"\"a\"b\n":      "record 1 of the page: a quoted cell",
		"\"a\"\rb\n":    "record 1 of the page: a quoted cell",
		"x\na\"b\n":     "record 2 of the page: a quote stands",
		"\"a":           "unexpected EOF",
		"\"a\",\"b":     "unexpected EOF",
		"\"a\"\"":       "unexpected EOF",
		"\"a\",\"b\r\n": "unexpected EOF",
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			if got, err := readAll(wrap(strings.NewReader(in)), 0, 0); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q gave %q, %v, want an error with %q", in, got, err, want)
			}
		}
	}
}

func TestSplitterPassesTheSourcesErrorOn(t *testing.T) {
	broken := errors.New("the network is gone")
	got, err := readAll(io.MultiReader(strings.NewReader("\"a\"\n\"b"), iotest.ErrReader(broken)), 0, 0)
	if !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("got %q, %v, want one record, then the source's error", got, err)
	}
	if _, err := readAll(idleSource{}, 0, 0); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing for ever: %v, want %v", err, io.ErrNoProgress)
	}
}

type idleSource struct{}

func (idleSource) Read([]byte) (int, error) { return 0, nil }

// One record may grow the buffer up to a limit; after it the buffer is small again.
func TestSplitterBoundsItsMemory(t *testing.T) {
	const size, limit = 64, 1024
	fits := "\"" + strings.Repeat("x", limit-4) + "\"\n"
	if got, err := readAll(strings.NewReader(fits), size, limit); err != nil || len(got) != 1 {
		t.Errorf("a record just below the limit: %d records, %v", len(got), err)
	}
	if _, err := readAll(strings.NewReader("\"a\"\n\""+strings.Repeat("x", limit)+"\"\n"), size, limit); !errors.Is(err, errRecordTooLarge) {
		t.Errorf("a record above the limit: %v, want %v", err, errRecordTooLarge)
	}
	s := newSplitter(strings.NewReader(fits + strings.Repeat("\"small\",\"record\"\n", 200)))
	s.size, s.limit = size, limit
	for {
		if _, err := s.next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if len(s.buf) != size {
		t.Errorf("the buffer ends with %d bytes, want %d again", len(s.buf), size)
	}
}

// The splitter agrees with encoding/csv in what it accepts and what it reads, but for line breaks inside quotes, which
// encoding/csv changes.
func FuzzSplitterAgainstEncodingCSV(f *testing.F) {
	for _, seed := range []string{
		"", "a,b\n", "\"a\"\"b\",c\r\n", "\"a\r\nb\"", "a\rb\r\n", "\r\r\n", ",\n,", "\"\"\n", "\"a\"\r\r\n", "\"a\"\r", "x\"y", "\"x\"y", "a,\r", "\n\n\"\x00\"",
		"\"a\",\"b\"\n\n\r\n\"c\",\"\"\n", "\"\r\n\r\n\"\"\r\n\"\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, chunk uint8) {
		r := csv.NewReader(bytes.NewReader(in))
		r.FieldsPerRecord = -1
		want, wantErr := r.ReadAll()
		got, err := readAll(&chunks{in, int(chunk) + 1}, 1+int(chunk)%13, recordMax)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, encoding/csv says %v", in, err, wantErr)
		}
		if err != nil {
			return
		}
		for _, record := range got {
			for i := range record {
				record[i] = strings.ReplaceAll(record[i], "\r\n", "\n")
			}
		}
		if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
			t.Fatalf("%q: %q, encoding/csv reads %q", in, got, want)
		}
	})
}

// chunks gives its bytes in pieces of one size.
type chunks struct {
	rest []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// FuzzSplitterRoundTrip writes any cells in Salesforce's dialect and reads them back.
func FuzzSplitterRoundTrip(f *testing.F) {
	f.Add("a", "b\"c", "d\r\ne", uint8(1))
	f.Add("", "\"", "\x00", uint8(200))
	f.Fuzz(func(t *testing.T, a, b, c string, chunk uint8) {
		var in bytes.Buffer
		want := [][]string{{a, b, c}, {c, a, b}, {b, c, a}}
		for _, record := range want {
			for i, cell := range record {
				if i > 0 {
					in.WriteByte(',')
				}
				fmt.Fprintf(&in, `"%s"`, strings.ReplaceAll(cell, `"`, `""`))
			}
			in.WriteByte('\n')
		}
		got, err := readAll(&chunks{in.Bytes(), int(chunk) + 1}, 16, recordMax)
		if err != nil || !slices.EqualFunc(got, want, slices.Equal[[]string]) {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	})
}

// leadsCSV makes a page like those of Salesforce: 38 columns, every value quoted, about 755 bytes a record.
func leadsCSV(records int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	words := []string{"Acme", "Müller & Söhne", "Global \"\"Media\"\" Ltd", "Smith", "line one\nline two", "2026-11-20T17:38:59.000Z", "true", "false", "", "12345.67", "+1 (555) 010-9999", "someone@example.com", "00Q5f00002JUX1JAAX"}
	for i := range 38 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"Column%02d__c"`, i)
	}
	b.WriteByte('\n')
	for range records {
		for i := range 38 {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('"')
			b.WriteString(words[rnd.IntN(len(words))])
			if i%9 == 0 {
				b.WriteString(" and some more text that makes it longer")
			}
			b.WriteByte('"')
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func BenchmarkCSV(b *testing.B) {
	page := leadsCSV(20_000)
	b.Run("splitter", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			s := newSplitter(bytes.NewReader(page))
			n := 0
			for {
				if _, err := s.next(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != 20_001 {
				b.Fatal(n)
			}
		}
	})
	b.Run("encoding-csv", func(b *testing.B) {
		b.SetBytes(int64(len(page)))
		b.ReportAllocs()
		for b.Loop() {
			r := csv.NewReader(bytes.NewReader(page))
			r.ReuseRecord = true
			for {
				if _, err := r.Read(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
