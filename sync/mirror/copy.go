package mirror

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// bufferSize is what the encoder collects before it hands on: as much as the driver sends at once.
	bufferSize = 64 << 10
	// refusedMax bounds the records of a page that are set aside. A page with more is not a page with bad cells but the wrong page.
	refusedMax = 10_000
	// wideColumns is from how many columns on a row's size is reckoned: fewer always fit a page of PostgreSQL.
	wideColumns = 290
)

// encoder turns a page's records into PostgreSQL's binary COPY format, as COPY asks for it: a page of any size needs the memory of a
// buffer and its largest record. Records with a bad cell are left out and kept aside. It is an io.Reader.
type encoder struct {
	ctx     context.Context
	rows    sobject.Rows
	columns []column // of each cell, in the page's order
	idAt    int      // which cell is the Id
	stampAt int      // SystemModstamp, -1 if the page has none
	goneAt  int      // IsDeleted, -1 if the page has none
	wide    int      // bytes that a row may take; 0: it always fits

	mu      sync.Mutex // COPY's reader can outlive a failed COPY; after close it finds the rows no more
	buf     []byte
	off     int
	begun   bool
	ended   bool
	err     error
	read    int64 // records taken from rows
	gone    int64 // of those encoded, how many are deleted ones
	refused refusals
	kin     *kin // of a page that is copied directly: what became another record
}

// newEncoder maps the page's columns to the table's.
func newEncoder(ctx context.Context, t *Table, rows sobject.Rows) (*encoder, error) {
	byName := make(map[string]column, len(t.columns))
	for _, c := range t.columns {
		byName[strings.ToLower(c.field)] = c
	}
	e := &encoder{ctx: ctx, rows: rows, idAt: -1, stampAt: -1, goneAt: -1}
	seen := map[string]bool{}
	for i, name := range rows.Columns() {
		c, ok := byName[strings.ToLower(name)]
		if !ok {
			return nil, fmt.Errorf("%w: it has a column %q and the table of %s has none for it", ErrPage, name, t.Object())
		}
		if seen[c.name] {
			return nil, fmt.Errorf("%w: it has the column %q twice", ErrPage, name)
		}
		seen[c.name] = true
		switch {
		case c.name == "sfid":
			e.idAt = i
		case c.name == "systemmodstamp" && c.kind == kindTimestamptz:
			e.stampAt = i
		case c.name == "isdeleted" && c.kind == kindBool:
			e.goneAt = i
		}
		e.columns = append(e.columns, c)
	}
	if e.idAt < 0 {
		return nil, fmt.Errorf("%w: it has no Id", ErrPage)
	}
	if n := len(e.columns); n > wideColumns {
		e.wide = 8160 - (23+(n+2+7)/8+7)&^7 - 8
	}
	return e, nil
}

// names lists the columns, quoted, each behind a prefix.
func (e *encoder) names(prefix string) string {
	var b strings.Builder
	for i, c := range e.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(prefix)
		b.WriteString(quote(c.name))
	}
	return b.String()
}

var copyHeader = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// Read gives the next bytes of the COPY stream.
func (e *encoder) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.off == len(e.buf) {
		if e.err != nil {
			return 0, e.err
		}
		if e.ended {
			return 0, io.EOF
		}
		e.fill()
		if e.err != nil {
			return 0, e.err
		}
	}
	n := copy(p, e.buf[e.off:])
	e.off += n
	return n, nil
}

// fill encodes records until the buffer is full or the page ends.
func (e *encoder) fill() {
	e.buf, e.off = e.buf[:0], 0
	if !e.begun {
		e.begun = true
		if e.buf == nil {
			e.buf = make([]byte, 0, bufferSize+bufferSize/4)
		}
		e.buf = append(e.buf, copyHeader...)
	}
	if err := e.ctx.Err(); err != nil {
		e.err = err
		return
	}
	for len(e.buf) < bufferSize {
		cells, err := e.rows.Next()
		if errors.Is(err, io.EOF) {
			e.ended = true
			e.buf = append(e.buf, 0xff, 0xff)
			return
		}
		if err != nil {
			e.err = err
			return
		}
		e.read++
		if len(cells) != len(e.columns) {
			e.err = fmt.Errorf("%w: record %d has %d cells, the page has %d columns", ErrPage, e.read, len(cells), len(e.columns))
			return
		}
		if e.err = e.record(cells); e.err != nil {
			return
		}
	}
}

// record encodes one record, or sets it aside and leaves the buffer as it was.
//
// Invariant 6: a cell that its column cannot hold sets the record aside with the reason and does not stop the page.
func (e *encoder) record(cells [][]byte) error {
	start := len(e.buf)
	buf := binary.BigEndian.AppendUint16(e.buf, uint16(len(cells)))
	for i, cell := range cells {
		var f flaw
		if buf, f = appendCell(buf, e.columns[i].kind, cell); f != fit {
			e.buf = e.buf[:start]
			return e.setAside(cells, i, f)
		}
	}
	if len(cells[e.idAt]) == 0 {
		e.buf = e.buf[:start]
		return e.setAside(cells, e.idAt, flawID)
	}
	if e.wide > 0 && rowSize(e.columns, cells) > e.wide {
		e.buf = e.buf[:start]
		return e.setAside(cells, -1, flawWide)
	}
	e.buf = buf
	if e.kin != nil {
		e.kin.note(cells)
	}
	if e.goneAt >= 0 && len(cells[e.goneAt]) == len("true") {
		e.gone++
	}
	return nil
}

// rowSize reckons what a row takes in a table's page at least. Of a long value a pointer of 18 bytes stays, or a compressed form
// of up to 24, and before it up to 3 of alignment; which of them PostgreSQL alone knows, so this errs upward.
func rowSize(columns []column, cells [][]byte) int {
	size := 0
	for i, cell := range cells {
		n := len(cell)
		if n == 0 {
			continue
		}
		switch columns[i].kind {
		case kindBool:
			size++
		case kindInt4, kindDate:
			size += 4 + 3
		case kindInt8, kindTimestamptz, kindTime:
			size += 8 + 7
		case kindNumeric:
			size += min(5+(n+3)/4*2, 24)
		default:
			if n++; n > 24 {
				n = 24 + 3
			}
			size += n
		}
	}
	return size
}

// close lets go of the rows: a reader that is still in use elsewhere gets an error. It gives the error that ended the stream.
func (e *encoder) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.err
	if !e.ended && e.err == nil {
		e.err = io.ErrClosedPipe
	}
	return err
}

// stamp is the record's SystemModstamp, zero where it has none that can be read.
func (e *encoder) stamp(cells [][]byte) time.Time {
	if e.stampAt < 0 || len(cells[e.stampAt]) == 0 {
		return time.Time{}
	}
	micros, f := parseTimestamp(cells[e.stampAt])
	if f != fit {
		return time.Time{}
	}
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(micros) * time.Microsecond)
}
