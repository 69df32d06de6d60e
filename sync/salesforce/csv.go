package salesforce

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	splitterBuffer = 256 << 10
	// recordMax bounds the memory that one record takes. Salesforce's own bound is far lower (400,000 characters).
	recordMax = 16 << 20
)

var errRecordTooLarge = errors.New("a record is larger than 16 MiB")

// csvError is CSV that is not Salesforce's dialect, or not CSV.
type csvError struct {
	record int64 // counted from 1, the header line included
	reason string
}

func (e *csvError) Error() string {
	return fmt.Sprintf("record %d of the page: %s", e.record, e.reason)
}

// span is a cell's place, counted from the record's start.
type span struct {
	from, to int32
	doubled  bool // holds doubled quotes
}

// splitter cuts CSV into records and cells, at the speed of bytes.IndexByte and exact to the byte: a line break inside
// quotes stays as it is, of whatever kind (encoding/csv would make \r\n a \n), and so does a NUL. Records end with \n or
// \r\n; cells may stand without quotes. Like encoding/csv it skips empty lines and refuses a quote out of its place.
//
// It keeps one buffer, which grows only for a record that does not fit, up to recordMax, and shrinks again after it.
type splitter struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] is read and not split yet; r is where the record at hand begins
	err  error

	spans   []span
	cells   [][]byte
	records int64
	// unfinished tells that the last record ended with the page and not with a line break.
	unfinished bool
	// size and limit are splitterBuffer and recordMax, but for tests.
	size, limit int
}

func newSplitter(src io.Reader) *splitter {
	return &splitter{src: src, size: splitterBuffer, limit: recordMax}
}

// more reads on behind what is there. It keeps buf[r:w], though it may move it.
func (s *splitter) more() error {
	if s.err != nil {
		return s.err
	}
	if s.w == len(s.buf) {
		s.room()
		if s.w == len(s.buf) {
			s.err = errRecordTooLarge
			return s.err
		}
	}
	for range 100 {
		n, err := s.src.Read(s.buf[s.w:])
		s.w += n
		if n > 0 {
			s.err = err // told when these bytes are used up
			return nil
		}
		if err != nil {
			s.err = err
			return err
		}
	}
	s.err = io.ErrNoProgress
	return s.err
}

// room makes place behind w, if the record may grow.
func (s *splitter) room() {
	held := s.w - s.r
	switch {
	case len(s.buf) > s.size && held <= s.size/2, s.buf == nil:
		next := make([]byte, s.size)
		copy(next, s.buf[s.r:s.w])
		s.buf = next
	case s.r > 0 && (held <= len(s.buf)/2 || len(s.buf) >= s.limit):
		copy(s.buf, s.buf[s.r:s.w])
	case len(s.buf) < s.limit:
		next := make([]byte, min(2*len(s.buf), s.limit))
		copy(next, s.buf[s.r:s.w])
		s.buf = next
	}
	s.r, s.w = 0, held
}

// next gives the cells of the next record; empty ones are nil. They are valid until the following call. It returns io.EOF
// after the last record, io.ErrUnexpectedEOF if the input ends inside quotes, and the source's own error.
func (s *splitter) next() ([][]byte, error) {
	if err := s.skipEmptyLines(); err != nil {
		return nil, err
	}
	s.records++
	s.spans = s.spans[:0]
	s.unfinished = false
	p := 0 // all places are counted from the record's start, because reading on may move the buffer
	for {
		if s.r+p == s.w {
			if end, err := s.atEnd(); err != nil {
				return nil, err
			} else if end { // behind a comma
				s.spans = append(s.spans, span{from: int32(p), to: int32(p)})
				return s.record(p), nil
			}
		}
		var last bool
		var err error
		if s.buf[s.r+p] == '"' {
			p, last, err = s.quoted(p)
		} else {
			p, last, err = s.bare(p)
		}
		if err != nil {
			return nil, err
		}
		if last {
			return s.record(p), nil
		}
	}
}

// atEnd reads on, and tells whether there is nothing more.
func (s *splitter) atEnd() (bool, error) {
	switch err := s.more(); {
	case err == io.EOF:
		s.unfinished = true
		return true, nil
	default:
		return false, err
	}
}

// quoted takes the cell that begins with the quote at p. It gives the place behind the cell's comma or line break.
func (s *splitter) quoted(p int) (next int, last bool, err error) {
	cell := span{from: int32(p + 1)}
	at := p + 1
	for {
		i := bytes.IndexByte(s.buf[s.r+at:s.w], '"')
		if i < 0 {
			at = s.w - s.r
			if err := s.more(); err == io.EOF {
				return 0, false, io.ErrUnexpectedEOF
			} else if err != nil {
				return 0, false, err
			}
			continue
		}
		at += i + 1 // behind the quote
		if s.r+at == s.w {
			end, err := s.atEnd()
			if err != nil {
				return 0, false, err
			}
			if end {
				cell.to = int32(at - 1)
				s.spans = append(s.spans, cell)
				return at, true, nil
			}
		}
		switch s.buf[s.r+at] {
		case '"':
			cell.doubled = true
			at++
			continue
		case ',':
			cell.to = int32(at - 1)
			s.spans = append(s.spans, cell)
			return at + 1, false, nil
		case '\n':
			cell.to = int32(at - 1)
			s.spans = append(s.spans, cell)
			return at + 1, true, nil
		case '\r':
			cell.to = int32(at - 1)
			if s.r+at+1 == s.w {
				end, err := s.atEnd()
				if err != nil {
					return 0, false, err
				}
				if end {
					s.spans = append(s.spans, cell)
					return at + 1, true, nil
				}
			}
			if s.buf[s.r+at+1] == '\n' {
				s.spans = append(s.spans, cell)
				return at + 2, true, nil
			}
		}
		return 0, false, &csvError{s.records, "a quoted cell is followed by neither a comma nor a line break"}
	}
}

// bare takes the cell without quotes that begins at p.
func (s *splitter) bare(p int) (next int, last bool, err error) {
	at := p
	for {
		for _, b := range s.buf[s.r+at : s.w] {
			switch b {
			case ',':
				s.spans = append(s.spans, span{from: int32(p), to: int32(at)})
				return at + 1, false, nil
			case '\n':
				s.spans = append(s.spans, span{from: int32(p), to: int32(s.beforeCR(p, at))})
				return at + 1, true, nil
			case '"':
				return 0, false, &csvError{s.records, "a quote stands inside a cell that does not begin with one"}
			}
			at++
		}
		end, err := s.atEnd()
		if err != nil {
			return 0, false, err
		}
		if end {
			s.spans = append(s.spans, span{from: int32(p), to: int32(s.beforeCR(p, at))})
			return at, true, nil
		}
	}
}

// beforeCR leaves out a \r that belongs to the line break at at.
func (s *splitter) beforeCR(p, at int) int {
	if at > p && s.buf[s.r+at-1] == '\r' {
		return at - 1
	}
	return at
}

// skipEmptyLines goes to the start of the next record; io.EOF if there is none.
func (s *splitter) skipEmptyLines() error {
	for {
		if s.r == s.w {
			s.r, s.w = 0, 0
			if err := s.more(); err != nil {
				return err
			}
		}
		switch s.buf[s.r] {
		case '\n':
			s.r++
		case '\r':
			if s.r+1 == s.w {
				if err := s.more(); err == io.EOF {
					s.r = s.w
					return io.EOF
				} else if err != nil {
					return err
				}
			}
			if s.buf[s.r+1] != '\n' {
				return nil
			}
			s.r += 2
		default:
			return nil
		}
	}
}

// record makes cells of the spans, and moves on behind the record, which is size bytes long. Doubled quotes are made
// single where they stand: these bytes are not looked at again.
func (s *splitter) record(size int) [][]byte {
	rec := s.buf[s.r : s.r+size]
	s.cells = s.cells[:0]
	for _, sp := range s.spans {
		if sp.from == sp.to {
			s.cells = append(s.cells, nil)
			continue
		}
		cell := rec[sp.from:sp.to:sp.to]
		if sp.doubled {
			cell = single(cell)
		}
		s.cells = append(s.cells, cell)
	}
	s.r += size
	return s.cells
}

func single(cell []byte) []byte {
	to := bytes.IndexByte(cell, '"') + 1
	for from := to + 1; ; {
		i := bytes.IndexByte(cell[from:], '"')
		if i < 0 {
			to += copy(cell[to:], cell[from:])
			return cell[:to]
		}
		to += copy(cell[to:], cell[from:from+i+1])
		from += i + 2
	}
}
