package salesforce

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// node is a place in a record's JSON: a column, or a relationship with columns below it.
type node struct {
	column   int // -1: not asked for itself
	children map[string]*node
	// order is how the members came last time. Records of one page hold the same members in the same order, so that
	// comparing with the one expected next spares the look-up.
	order []member
}

type member struct {
	name []byte // raw, with its quotes
	node *node  // nil: skipped
}

// columnTree arranges columns ("Name", "Owner.Name") by their paths, without regard to case.
func columnTree(columns []string) (*node, error) {
	root := &node{column: -1, children: map[string]*node{}}
	for i, column := range columns {
		at := root
		for part := range strings.SplitSeq(column, ".") {
			part = strings.ToLower(strings.TrimSpace(part))
			if part == "" {
				return nil, fmt.Errorf("%q does not name a column", column)
			}
			if at.column >= 0 {
				return nil, fmt.Errorf("the column %q lies inside another column that is asked for too", column)
			}
			next := at.children[part]
			if next == nil {
				next = &node{column: -1, children: map[string]*node{}}
				at.children[part] = next
			}
			at = next
		}
		if at.column >= 0 || len(at.children) > 0 {
			return nil, fmt.Errorf("the column %q is asked for twice, or holds another that is asked for too", column)
		}
		at.column = i
	}
	return root, nil
}

// find gives the node of the i-th member, whose raw name is given; nil if nobody asked for it.
func (n *node) find(i int, name []byte) *node {
	if i < len(n.order) && bytes.Equal(n.order[i].name, name) {
		return n.order[i].node
	}
	key := name[1 : len(name)-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		key, _ = appendUnescaped(nil, key)
	}
	found := n.children[strings.ToLower(string(key))]
	if i < len(n.order) {
		n.order[i] = member{bytes.Clone(name), found}
	} else if i == len(n.order) {
		n.order = append(n.order, member{bytes.Clone(name), found})
	}
	return found
}

// recordReader reads the records of one page of a query, token by token, straight into cells: no map, no float.
type recordReader struct {
	dec   *jsontext.Decoder
	tree  *node
	cells [][]byte
	text  []byte   // the cells of the record at hand, one after another
	spans [][2]int // where in text; negative: null
}

func newRecordReader(tree *node, columns int) *recordReader {
	return &recordReader{tree: tree, cells: make([][]byte, columns), spans: make([][2]int, columns)}
}

// next reads one record.
func (r *recordReader) next() ([][]byte, error) {
	r.text = r.text[:0]
	for i := range r.spans {
		r.spans[i][0] = -1
	}
	if err := r.object(r.tree); err != nil {
		return nil, err
	}
	for i, span := range r.spans {
		if span[0] < 0 || span[0] == span[1] {
			r.cells[i] = nil // null, and the empty text that Salesforce does not have
			continue
		}
		r.cells[i] = r.text[span[0]:span[1]:span[1]]
	}
	return r.cells, nil
}

func (r *recordReader) object(at *node) error {
	if err := expect(r.dec, '{'); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if r.dec.PeekKind() == '}' {
			_, err := r.dec.ReadToken()
			return err
		}
		name, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		child := at.find(i, name)
		if child == nil {
			if err := r.dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if child.column < 0 {
			// A relationship: null when it points nowhere.
			if r.dec.PeekKind() == '{' {
				err = r.object(child)
			} else {
				err = r.dec.SkipValue()
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := r.cell(child.column); err != nil {
			return err
		}
	}
}

// cell reads one value: text as it is meant, all else as Salesforce wrote it.
func (r *recordReader) cell(column int) error {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return err
	}
	from := len(r.text)
	switch raw[0] {
	case 'n':
		return nil
	case '"':
		text := raw[1 : len(raw)-1]
		if bytes.IndexByte(text, '\\') < 0 {
			r.text = append(r.text, text...)
		} else if r.text, err = appendUnescaped(r.text, text); err != nil {
			return err
		}
	default:
		r.text = append(r.text, raw...)
	}
	r.spans[column] = [2]int{from, len(r.text)}
	return nil
}

var errEscape = errors.New("an escape in the reply's JSON is broken")

// appendUnescaped decodes a JSON string's inside. Other bytes pass as they are, also those that are no UTF-8, and half of a
// surrogate pair becomes the three bytes that stand for it: whoever stores the text sees and refuses what it cannot hold.
func appendUnescaped(dst, src []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(src, '\\')
		if i < 0 {
			return append(dst, src...), nil
		}
		dst = append(dst, src[:i]...)
		src = src[i+1:]
		if len(src) == 0 {
			return dst, errEscape
		}
		c := src[0]
		src = src[1:]
		switch c {
		case '"', '\\', '/':
			dst = append(dst, c)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			u, ok := hex4(src)
			if !ok {
				return dst, errEscape
			}
			src = src[4:]
			if utf16.IsSurrogate(u) {
				if len(src) >= 6 && src[0] == '\\' && src[1] == 'u' {
					if low, ok := hex4(src[2:]); ok {
						if pair := utf16.DecodeRune(u, low); pair != utf8.RuneError {
							dst = utf8.AppendRune(dst, pair)
							src = src[6:]
							continue
						}
					}
				}
				dst = append(dst, 0xE0|byte(u>>12), 0x80|byte(u>>6)&0x3F, 0x80|byte(u)&0x3F)
				continue
			}
			dst = utf8.AppendRune(dst, u)
		default:
			return dst, errEscape
		}
	}
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil
}

// pageReader reads a page of a query: {"totalSize":..,"done":..,"nextRecordsUrl":..,"records":[...]}, whose members may
// come in any order.
type pageReader struct {
	op      string
	rep     *reply
	columns []string
	records *recordReader

	totalSize int // -1: not told yet
	done      bool
	next      string
	inside    bool // between the records
	err       error
}

func newPageReader(op string, rep *reply, columns []string, tree *node) (*pageReader, error) {
	p := &pageReader{op: op, rep: rep, columns: columns, totalSize: -1, records: newRecordReader(tree, len(columns))}
	p.records.dec = jsontext.NewDecoder(rep, jsonIn)
	if err := expect(p.records.dec, '{'); err != nil {
		return nil, rep.jsonError(op, err)
	}
	if err := p.members(); err != nil {
		return nil, rep.jsonError(op, err)
	}
	return p, nil
}

// members reads the page's members up to the first record, or after the last one to the end.
func (p *pageReader) members() error {
	dec := p.records.dec
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		kind := dec.PeekKind()
		if name == "records" && kind == '[' {
			p.inside = true
			return expect(dec, '[')
		}
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		switch {
		case name == "totalSize" && kind == '0':
			if p.totalSize, err = strconv.Atoi(string(value)); err != nil {
				return errShape{'0', kind}
			}
		case name == "done":
			p.done = kind == 't'
		case name == "nextRecordsUrl" && kind == '"':
			url, err := appendUnescaped(nil, value[1:len(value)-1])
			if err != nil {
				return err
			}
			p.next = string(url)
		}
	}
	return atEnd(dec)
}

// Columns names the cells.
func (p *pageReader) Columns() []string { return p.columns }

// Next gives a record's cells; see sobject.Rows.
func (p *pageReader) Next() ([][]byte, error) {
	if p.err != nil {
		return nil, p.err
	}
	cells, err := p.step()
	if err != nil {
		if err != io.EOF {
			err = p.rep.jsonError(p.op, err)
		}
		p.err = err
		return nil, err
	}
	return cells, nil
}

func (p *pageReader) step() ([][]byte, error) {
	for p.inside {
		if p.records.dec.PeekKind() != ']' {
			return p.records.next()
		}
		if err := expect(p.records.dec, ']'); err != nil {
			return nil, err
		}
		p.inside = false
		if err := p.members(); err != nil {
			return nil, err
		}
	}
	return nil, io.EOF
}
