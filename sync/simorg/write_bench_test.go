package simorg

import (
	"io"
	"strings"
	"testing"
)

// BenchmarkWriteCSV measures the making of CSV alone: 20,000 leads with 60 fields, no HTTP.
func BenchmarkWriteCSV(b *testing.B) {
	o, err := New(Config{Seed: 1, Leads: 20_000, WideLeads: 60})
	if err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, f := range o.byName["lead"].fields {
		if !f.isCompound() {
			names = append(names, f.Name)
		}
	}
	q, perr := parseSOQL("SELECT " + strings.Join(names, ",") + " FROM Lead")
	if perr != nil {
		b.Fatal(perr)
	}
	v := o.view()
	bound, perr := (&binder{v: v, all: true, bulk: true}).bind(q, nil)
	if perr != nil {
		b.Fatal(perr)
	}
	j := &job{bound: bound, result: v.run(bound), delimiter: ','}
	c := &call{o: o}
	var n countingWriter
	for b.Loop() {
		n = 0
		c.writeCSV(&n, j, 0, j.result.total)
	}
	b.SetBytes(int64(n))
}

type countingWriter int64

func (n *countingWriter) Write(b []byte) (int, error) {
	*n += countingWriter(len(b))
	return len(b), nil
}

var _ io.Writer = (*countingWriter)(nil)
