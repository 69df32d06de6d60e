package simorg

import (
	"bytes"
	"errors"
	"io"
)

// csvReader cuts uploaded CSV into rows, exact to the byte: encoding/csv would turn CRLF within a value into LF.
type csvReader struct {
	data      []byte
	delimiter byte
	crlf      bool // how rows end
}

var errCSV = errors.New("the CSV is malformed: a quote is out of place")

// row gives the next row, or io.EOF. Empty lines are skipped. A row with a quote out of place comes as errCSV with the cells before
// it, and the next call gives the line after it.
func (r *csvReader) row() ([]string, error) {
	cells, err := r.cut()
	if errors.Is(err, errCSV) {
		for len(r.data) > 0 && r.lineEnd(r.data) == 0 {
			r.data = r.data[1:]
		}
	}
	return cells, err
}

func (r *csvReader) cut() ([]string, error) {
	for {
		if n := r.lineEnd(r.data); n > 0 {
			r.data = r.data[n:]
			continue
		}
		break
	}
	if len(r.data) == 0 {
		return nil, io.EOF
	}
	var cells []string
	for {
		cell, err := r.cell()
		if err != nil {
			return cells, err
		}
		cells = append(cells, cell)
		switch n := r.lineEnd(r.data); {
		case len(r.data) == 0:
			return cells, nil
		case r.data[0] == r.delimiter:
			r.data = r.data[1:]
		case n > 0:
			r.data = r.data[n:]
			return cells, nil
		default:
			return cells, errCSV
		}
	}
}

// lineEnd gives the length of the line end that the data starts with, or 0.
func (r *csvReader) lineEnd(data []byte) int {
	switch {
	case !r.crlf && bytes.HasPrefix(data, []byte("\n")):
		return 1
	case r.crlf && bytes.HasPrefix(data, []byte("\r\n")):
		return 2
	}
	return 0
}

func (r *csvReader) cell() (string, error) {
	if len(r.data) == 0 || r.data[0] != '"' {
		for k, c := range r.data {
			if c == r.delimiter || r.lineEnd(r.data[k:]) > 0 {
				cell := string(r.data[:k])
				r.data = r.data[k:]
				return cell, nil
			}
			if c == '"' {
				return "", errCSV
			}
		}
		cell := string(r.data)
		r.data = nil
		return cell, nil
	}
	var b []byte
	rest := r.data[1:]
	for {
		k := bytes.IndexByte(rest, '"')
		if k < 0 {
			return "", errCSV
		}
		b = append(b, rest[:k]...)
		rest = rest[k+1:]
		if len(rest) == 0 || rest[0] != '"' {
			r.data = rest
			return string(b), nil
		}
		b = append(b, '"')
		rest = rest[1:]
	}
}
