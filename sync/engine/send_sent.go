package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// lostPatience is how many times LostWait passes until a create of which nothing was found is sent again.
const lostPatience = 6

// lookUp finds out what became of creates of a claim that went out before a reply was lost or a worker died. It goes by what the claim was sent
// with, for the admin may have changed the settings since, or the org what it shows. left are the changes that Salesforce has nothing of. A wait is
// for what the org was still working on.
func (s *sender) lookUp(ctx context.Context, claim mirror.Claim) (done []mirror.Settlement, left []mirror.Change, wait time.Duration, err error) {
	sent := claim.Sent
	if sent.Since.IsZero() {
		return nil, claim.Changes, 0, nil
	}
	doubtful := s.asSent(claim)
	// What is sent again by the same key does no harm if the org is still working on it. For the rest it is given time to be seen.
	waits := len(doubtful)
	if f, ok := s.externalID(); ok && f.Name == sent.Key && f.Length == sent.KeyLength {
		out, _ := s.prepare(claim)
		waits -= len(out)
	}
	if wait := s.LostWait - s.orgTime(time.Now()).Sub(sent.Last); wait > 0 && waits > 0 {
		return nil, nil, max(wait, time.Millisecond), nil
	}
	if f, ok := s.table.Schema().Field(sent.Key); ok && f.Synced() && f.Filterable {
		done, err = s.findByKey(ctx, f, doubtful)
	} else {
		var lost []*sending
		var others map[sobject.ID]*remote
		if done, lost, others, err = s.findLost(ctx, doubtful); sent.Key != "" {
			done = append(done, s.uncertain(claim, lost, others)...)
		}
	}
	if err != nil {
		return nil, nil, 0, err
	}
	s.step("looked up")
	// Of what went without a key and was not found, the org may still be at work: a double cannot be taken back, and waiting costs nothing but time.
	if wait := lostPatience*s.LostWait - s.orgTime(time.Now()).Sub(sent.Last); wait > 0 && sent.Key == "" && len(done) < len(doubtful) {
		return done, nil, max(wait, time.Millisecond), nil
	}
	over := map[int64]bool{}
	for _, d := range done {
		over[d.RowID] = true
	}
	for _, c := range claim.Changes {
		if !over[c.RowID] {
			left = append(left, c)
		}
	}
	return done, left, 0, nil
}

// asSent gives a claim's creates as they went out: each of its rows, also those that the settings of today would keep back, with the key that it had
// then and not the one that it would get now.
func (s *sender) asSent(claim mirror.Claim) []*sending {
	today := map[int64]*sending{}
	out, _ := s.prepare(claim)
	for _, snd := range out {
		today[snd.change.RowID] = snd
	}
	var sent []*sending
	for _, c := range claim.Changes {
		snd := today[c.RowID]
		if snd == nil {
			snd = &sending{change: c, fields: map[string]*string{}, done: s.settlement(claim, c, mirror.Accepted)}
			for name, v := range c.Local {
				if f, ok := s.table.Schema().Field(name); ok && f.Synced() && v != nil {
					snd.fields[f.Name] = v
				}
			}
		} else if f, ok := s.externalID(); ok && c.Local[f.Name] == nil {
			delete(snd.fields, f.Name)
		}
		if snd.key = ""; claim.Sent.Key != "" {
			snd.key = madeKey(claim, c, claim.Sent.KeyLength)
			if own := c.Local[claim.Sent.Key]; own != nil {
				snd.key = *own
			}
			if f, ok := s.table.Schema().Field(claim.Sent.Key); ok && f.Synced() {
				snd.fields[f.Name] = &snd.key
			}
		}
		sent = append(sent, snd)
	}
	return sent
}

// findByKey asks for the creates by the external id that they were sent with.
func (s *sender) findByKey(ctx context.Context, f sobject.Field, out []*sending) (done []mirror.Settlement, err error) {
	byKey := map[string]*sending{}
	for _, snd := range out {
		byKey[strings.ToLower(snd.key)] = snd
	}
	columns := []string{"Id", f.Name}
	head := "SELECT Id," + f.Name + " FROM " + s.run.Object + " WHERE " + f.Name + " IN ("
	var questions []salesforce.Question
	var list []string
	size := 0
	for i, key := range slices.Sorted(maps.Keys(byKey)) {
		quoted := literal(byKey[key].key)
		list, size = append(list, quoted), size+s.client.QueryURLLen(quoted)-s.client.QueryURLLen("")+1
		if i == len(byKey)-1 || s.client.QueryURLLen(head)+size > salesforce.MaxURL-1000 {
			questions = append(questions, salesforce.Question{Columns: columns, SOQL: head + strings.Join(list, ",") + ")"})
			list, size = nil, 0
		}
	}
	for batch := range slices.Chunk(questions, salesforce.QueriesMax) {
		err := s.client.QueryTogether(ctx, batch, func(_ int, cells [][]byte) error {
			id, err := sobject.ParseID(string(cells[0]))
			if err != nil {
				return err
			}
			if snd := byKey[strings.ToLower(string(cells[1]))]; snd != nil && snd.done.SFID == "" {
				snd.done.SFID = string(id)
				maps.Copy(snd.done.Values, snd.fields)
				done = append(done, snd.done)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return done, nil
}

// uncertain sets creates aside of which nothing was found, though Salesforce has records that may be theirs: sent by a key that can no longer be
// asked, they would be made twice if they were sent again. Where nothing is left that could be one, none was made.
func (s *sender) uncertain(claim mirror.Claim, lost []*sending, others map[sobject.ID]*remote) (done []mirror.Settlement) {
	for _, snd := range lost {
		var candidates []string
		for _, id := range slices.Sorted(maps.Keys(others)) {
			if s.mayBe(snd, others[id]) {
				candidates = append(candidates, string(id))
			}
		}
		if len(candidates) == 0 {
			continue
		}
		done = append(done, s.refuse(claim, snd.change, codeUncertain, fmt.Sprintf("It is not known whether this %s was created: Salesforce's reply was lost, and %s, by which it would be known again, can no longer be asked for. %d records that were created then may be it. If one is, delete the row here, for the record came as another; if none is, send it again.",
			s.label(), claim.Sent.Key, len(candidates)), claim.Sent.Key, map[string]any{"candidates": candidates}))
	}
	return done
}

// mayBe tells whether a record has something of what was sent by which people are known, or nothing of it was sent.
func (s *sender) mayBe(snd *sending, r *remote) bool {
	told := false
	for _, name := range lostFields {
		sent := snd.fields[name]
		if sent == nil {
			continue
		}
		told = true
		if f, ok := s.table.Schema().Field(name); ok && r.values[name] != nil && alike(f, *sent, *r.values[name]) {
			return true
		}
	}
	return !told
}
