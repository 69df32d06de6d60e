package simorg

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// journal is the state file: one line of JSON for the org's making, then one for each version that a commit stored, with the cells
// that changed. Replaying it brings back the rows to the last byte; what is not in it (sessions, open queries, bulk jobs) ends with
// the process, as it does when Salesforce restarts. A nil journal remembers nothing.
type journal struct {
	mu   sync.Mutex
	file *os.File
	w    *bufio.Writer
	enc  *json.Encoder
}

type journalHead struct {
	SimOrg int   `json:"simorg"`
	Seed   int64 `json:"seed"`
	Epoch  int64 `json:"epoch"`
	Sizes  []int `json:"sizes"`
	Wide   int   `json:"wide"`
}

// journalLine is a saved row, or the refresh tokens that live.
type journalLine struct {
	Object string            `json:"o,omitempty"`
	Row    uint32            `json:"i,omitempty"`
	Gone   bool              `json:"gone,omitempty"`
	Cells  map[string]any    `json:"c,omitempty"`
	Tokens map[string]string `json:"tokens,omitempty"` // refresh token: "user scope"
}

func (o *Org) head() journalHead {
	n := o.n
	return journalHead{1, o.config.Seed, o.epoch, []int{n.leads, n.contacts, n.accounts, n.opportunities, n.roles, n.campaigns, n.members, n.statuses, n.tasks, n.events, n.users, n.subscriptions, n.interests}, o.config.WideLeads}
}

func (o *Org) openJournal(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("simorg: the state file: %w", err)
	}
	good, err := o.replay(f)
	if err == nil && good > compactAbove {
		f, good, err = o.compact(f, path)
	}
	if err == nil {
		// A line that a crash cut short is written over.
		if err = f.Truncate(good); err == nil {
			_, err = f.Seek(good, io.SeekStart)
		}
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("simorg: the state file %s: %w", path, err)
	}
	o.journal = newJournal(f)
	if good == 0 {
		if err := o.journal.enc.Encode(o.head()); err != nil {
			return err
		}
		return o.journal.flush()
	}
	return nil
}

func newJournal(f *os.File) *journal {
	j := &journal{file: f, w: bufio.NewWriterSize(f, 64<<10)}
	j.enc = json.NewEncoder(j.w)
	j.enc.SetEscapeHTML(false)
	return j
}

// A journal that has grown beyond this many bytes is written anew at the start, one line a row.
const compactAbove = 1 << 20

// compact replaces the journal by a shorter one that says the same, and gives it open with its length.
func (o *Org) compact(old *os.File, path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return old, 0, err
	}
	j := newJournal(f)
	err = j.enc.Encode(o.head())
	v := o.view()
	for _, x := range o.objects {
		t := o.tables[x.name]
		write := func(i uint32, n *version) {
			if n != nil && err == nil {
				err = j.save(v, rowKey{t, i}, row{t: t, i: i}, i < t.base, n)
				v.reset()
			}
		}
		for _, i := range t.touchedOrder() {
			write(i, t.touched[i])
		}
		for k, n := range t.created {
			write(t.base+uint32(k), n)
		}
	}
	if len(o.auth.refreshes) > 0 && err == nil {
		err = j.enc.Encode(o.tokens())
	}
	if err == nil {
		err = j.flush()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = f.Close()
		return old, 0, err
	}
	_ = old.Close()
	n, err := f.Seek(0, io.SeekEnd)
	return f, n, err
}

// tokens is the line of the refresh tokens that live.
func (o *Org) tokens() journalLine {
	tokens := map[string]string{}
	for t, g := range o.auth.refreshes {
		tokens[t] = g.user + " " + g.scope
	}
	return journalLine{Tokens: tokens}
}

var errOtherOrg = errors.New("it is of an org with another seed or other sizes; start with those, or delete the file")

// replay reads the journal and gives how many bytes of it are good.
func (o *Org) replay(f *os.File) (good int64, err error) {
	r := bufio.NewReaderSize(f, 64<<10)
	v := o.view()
	for n := 0; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return good, nil
			}
			return 0, err
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if n == 0 {
			var h journalHead
			if err := d.Decode(&h); err != nil {
				return 0, fmt.Errorf("its first line is not one of a state file: %w", err)
			}
			want, _ := json.Marshal(o.head())
			have, _ := json.Marshal(h)
			if h.SimOrg != 1 || h.Epoch > o.now().Unix() || !bytes.Equal(want, have) {
				return 0, errOtherOrg
			}
			good += int64(len(line))
			continue
		}
		var l journalLine
		if err := d.Decode(&l); err != nil {
			return good, nil //nolint:nilerr // a line cut by a crash ends what can be trusted; what came before it stands
		}
		good += int64(len(line))
		if l.Tokens != nil {
			o.auth.refreshes = map[string]grant{}
			for t, g := range l.Tokens {
				o.auth.refreshes[t] = grant{g[:18], g[19:]}
			}
			continue
		}
		if err := o.replayRow(v, &l); err != nil {
			return 0, err
		}
	}
}

func (o *Org) replayRow(v *view, l *journalLine) error {
	t := o.tables[l.Object]
	if t == nil && strings.HasSuffix(l.Object, "__c") {
		return nil // of an object that was added to the running org: such changes end with the process
	}
	if t == nil {
		return fmt.Errorf("it has rows of %s, which this org does not know", l.Object)
	}
	old, was := v.at(t, l.Row)
	n := &version{gone: l.Gone}
	if was {
		n.cells = v.cells(old)
	} else {
		n.cells = make([]value, len(t.object.fields))
		for _, f := range t.object.fields {
			n.cells[f.pos] = f.fill
		}
	}
	v.reset()
	for name, raw := range l.Cells {
		f := t.object.byName[lower(name)]
		if f == nil {
			continue
		}
		c, err := convert(f, raw)
		if err != nil && f.custom {
			continue // it was of another type when this was saved
		}
		if err != nil {
			return fmt.Errorf("%s.%s: %w", l.Object, name, err)
		}
		n.cells[f.pos] = c
		if c.k == text && (f.Type == "reference" || f.Unique) {
			t.index.add(f, c, l.Row)
		}
	}
	wasLive := was && !v.deleted(old)
	isLive := !n.gone && !v.deleted(row{t, l.Row, n})
	if wasLive && !isLive {
		t.live--
	} else if isLive && !wasLive {
		t.live++
	}
	t.put(l.Row, n)
	t.next = max(t.next, l.Row+1)
	return nil
}

// save writes what a version changed. The lock of the org is held.
func (j *journal) save(v *view, k rowKey, old row, was bool, n *version) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	l := journalLine{Object: k.t.object.name, Row: k.i, Gone: n.gone, Cells: map[string]any{}}
	for _, f := range k.t.object.fields {
		if f.derive != nil || f.removed || f.Type == "id" || f.pos >= len(n.cells) {
			continue
		}
		before := f.fill
		if was {
			before = v.get(old, f)
		}
		if !before.equal(n.cells[f.pos]) {
			l.Cells[f.Name] = n.cells[f.pos].plainValue()
		}
	}
	return j.enc.Encode(&l)
}

// journalTokens writes down the refresh tokens; the caller holds the lock of auth.
func (o *Org) journalTokens() {
	j := o.journal
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		_ = j.enc.Encode(o.tokens())
		_ = j.w.Flush()
	}
}

func (j *journal) flush() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	return j.w.Flush()
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.w.Flush(), j.file.Close())
	j.file = nil
	return err
}
