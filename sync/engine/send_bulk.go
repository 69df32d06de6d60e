package engine

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// forBulk splits changes into those that a Bulk job takes and the rest. A job pays above BulkSendAbove rows. Its results come in any order
// and carry no key but the row's own cells, so that creates go by it only with an external id; what a person will see of a row beside its
// values, a conflict, would be forgotten with this process while the job works, so that such rows go by collections.
func (s *sender) forBulk(out []*sending) (bulk, rest []*sending) {
	if len(out) <= s.BulkSendAbove {
		return nil, out
	}
	for _, snd := range out {
		plain := len(snd.done.Conflicts) == 0 && len(snd.done.Values) == 0 && len(snd.done.Apart) == 0 && snd.done.Outcome == mirror.Accepted && !snd.unseen
		if snd.change.Operation == mirror.Insert {
			plain = plain && snd.key != ""
		}
		for _, v := range snd.fields {
			plain = plain && (v == nil || salesforce.IngestSafe(*v))
		}
		if plain {
			bulk = append(bulk, snd)
		} else {
			rest = append(rest, snd)
		}
	}
	if len(bulk) <= s.BulkSendAbove {
		return nil, out
	}
	return bulk, rest
}

// startJob gives the changes, whose records were read at a time, to a Bulk job and notes it on the claim, so that whoever goes on finds it.
func (s *sender) startJob(ctx context.Context, claim mirror.Claim, out []*sending, read time.Time) (time.Duration, error) {
	operation, external := salesforce.IngestUpdate, ""
	switch claim.Operation {
	case mirror.Insert:
		operation, external = salesforce.IngestUpsert, s.object.ExternalID
	case mirror.Delete:
		operation = salesforce.IngestDelete
	}
	if err := s.noteCreating(ctx, claim, out); err != nil {
		return 0, err
	}
	job, watch, err := s.fillJob(ctx, claim, operation, external, out, read)
	switch {
	case salesforce.IsBulkUnsupported(err), isUnsupported(err), isCode(err, "INVALIDJOB"):
		return s.withoutBulk(ctx, claim, err)
	case errors.Is(err, salesforce.ErrIngestTooLarge):
		_ = s.client.AbortIngest(ctx, job)
		return s.withoutBulk(ctx, claim, err)
	case err != nil:
		return 0, err
	case job == "":
		return s.withoutBulk(ctx, claim, errMoving)
	}
	if err := s.Mirror.NoteClaim(ctx, claim.ID, job, "job"); err != nil {
		return 0, err
	}
	if err := s.Mirror.NoteWatch(ctx, claim.ID, watch); err != nil {
		return 0, err
	}
	s.step("job noted")
	if _, err := s.client.CloseIngest(ctx, job); err != nil {
		return 0, err // the next piece finds out whether it was closed
	}
	s.step("job closed")
	return pollFirst, nil
}

var errMoving = errors.New("others change the same records in Salesforce at this moment")

// upload gives a job its rows.
func (s *sender) upload(ctx context.Context, claim mirror.Claim, job string, out []*sending) error {
	key := "Id"
	if claim.Operation == mirror.Insert {
		key = s.object.ExternalID
	}
	columns := []string{key}
	sent := map[string]bool{}
	for _, snd := range out {
		for name := range snd.fields {
			sent[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		if !strings.EqualFold(name, key) {
			columns = append(columns, name)
		}
	}
	return s.client.UploadIngest(ctx, job, columns, func(rows *salesforce.IngestRows) error {
		cells := make([]string, len(columns))
		for _, snd := range out {
			cells[0] = snd.change.SFID
			if claim.Operation == mirror.Insert {
				cells[0] = snd.key
			}
			for i, name := range columns[1:] {
				cells[i+1] = ""
				if v, ok := snd.fields[name]; ok {
					cells[i+1] = cellOf(s.table.Schema(), name, v)
				}
			}
			if err := rows.Add(cells...); err != nil {
				return err
			}
		}
		return nil
	})
}

// withoutBulk lets a claim go by collections, because the org does not take it in one.
func (s *sender) withoutBulk(ctx context.Context, claim mirror.Claim, cause error) (time.Duration, error) {
	s.Log.Warn("a Bulk job cannot send these changes; they go by smaller calls", "object", s.run.Object, "error", cause)
	if err := s.Mirror.NoteClaim(ctx, claim.ID, "", stepCollections); err != nil {
		return 0, err
	}
	return time.Millisecond, nil
}

// cellOf writes a value for an ingest job.
func cellOf(schema sobject.Schema, name string, v *string) string {
	f, _ := schema.Field(name)
	switch {
	case v != nil:
		return *v
	case f.Type == "boolean":
		return "false"
	}
	return salesforce.IngestNull
}

// Between two looks at a job.
const (
	pollFirst = 500 * time.Millisecond
	pollMax   = 30 * time.Second
)

// pollAfter says how long to wait for a job that has been under way for some time. Each look costs two calls, that at others' edits and that at
// the job, and what sending may cost grows with the rows: a smaller job is looked at less often.
func pollAfter(since time.Duration, rows int) time.Duration {
	if rows >= bulkClaim/2 {
		since /= 2
	}
	return min(max(since, pollFirst), pollMax)
}

// tendJob looks how far a claim's Bulk job is, and settles its rows once it has ended.
func (s *sender) tendJob(ctx context.Context, claim mirror.Claim) (time.Duration, error) {
	// First what others did, then how far the job is: what it came over since is known.
	if err := s.watch(ctx, &claim); err != nil {
		return 0, err
	}
	job, err := s.client.IngestJob(ctx, claim.JobID)
	if isUnsupported(err) {
		// It is older than the org keeps jobs. Its rows are looked at anew: what was saved is there already.
		return time.Millisecond, s.Mirror.NoteClaim(ctx, claim.ID, "", "")
	}
	if err != nil {
		return 0, err
	}
	switch {
	case job.State == salesforce.JobOpen:
		// The data may be in it or not: closing an empty job does no harm, and one that has them works.
		if _, err := s.client.CloseIngest(ctx, job.ID); err != nil {
			return 0, err
		}
		return pollFirst, nil
	case !job.State.Ended():
		s.step("job polled")
		return pollAfter(time.Since(claim.MadeAt), len(claim.Changes)), nil
	}
	s.step("job ended")
	changes := map[string]mirror.Change{} // by what tells the row again
	out := map[int64]*sending{}
	key := "Id"
	if claim.Operation == mirror.Insert {
		// By what they were sent with, which the settings need not say any more.
		if f, ok := s.externalID(); ok && claim.Sent.Key == "" {
			claim.Sent.Key, claim.Sent.KeyLength = f.Name, f.Length // an earlier version did not note it
		}
		key = claim.Sent.Key
		for _, snd := range s.asSent(claim) {
			changes[strings.ToLower(snd.key)] = snd.change
			out[snd.change.RowID] = snd
		}
	} else {
		for _, c := range claim.Changes {
			changes[strings.ToLower(c.SFID)] = c
			out[c.RowID] = &sending{change: c, fields: map[string]*string{}, done: s.settlement(claim, c, mirror.Accepted)}
		}
	}
	var done []mirror.Settlement
	var locked []*sending
	accepted := map[sobject.ID]*sending{}
	seen := map[int64]bool{}
	for _, results := range []iter.Seq2[salesforce.IngestResult, error]{s.client.Succeeded(ctx, job.ID), s.client.Failed(ctx, job.ID)} {
		for r, err := range results {
			if err != nil {
				return 0, err
			}
			c, ok := changes[strings.ToLower(r.Cell(key))]
			if !ok || seen[c.RowID] {
				continue // settled before this look, or by collections
			}
			seen[c.RowID] = true
			snd := out[c.RowID]
			if claim.Operation == mirror.Update && !r.Success {
				s.refill(snd, r)
			}
			d, again := s.outcome(claim, snd, r.CollectionResult)
			switch {
			case again:
				locked = append(locked, snd)
			case d.Outcome == mirror.Accepted && claim.Operation != mirror.Delete:
				id := r.ID
				if id == "" {
					id = sobject.ID(c.SFID)
				}
				snd.done = d
				accepted[id] = snd
			default:
				done = append(done, d)
			}
		}
	}
	s.step("results read")
	more, err := s.readBack(ctx, claim, accepted)
	if err != nil {
		return 0, err
	}
	if err := s.settle(ctx, append(done, more...)); err != nil {
		return 0, err
	}
	// What the job did not come to, and what it met locked, goes by smaller calls: the claim is looked at anew.
	left := len(locked)
	for _, c := range claim.Changes {
		if !seen[c.RowID] {
			left++
		}
	}
	if left > 0 {
		if err := job.Err(); err != nil {
			s.Log.Warn("a Bulk job broke down; what it left goes by smaller calls", "object", s.run.Object, "rows", left, "error", err)
		}
		return time.Millisecond, s.Mirror.NoteClaim(ctx, claim.ID, "", stepCollections)
	}
	return 0, nil
}

// refill gives a change back the fields that were uploaded for it.
func (s *sender) refill(snd *sending, r salesforce.IngestResult) {
	for name, v := range snd.change.Local {
		if r.Cell(name) != "" {
			snd.fields[name] = v
		}
	}
}

// readBack reads what a job saved, 2,000 records a call: a job's results do not tell what Salesforce made of the values, nor the stamps.
func (s *sender) readBack(ctx context.Context, claim mirror.Claim, accepted map[sobject.ID]*sending) ([]mirror.Settlement, error) {
	if len(accepted) == 0 {
		return nil, nil
	}
	fields := map[string]bool{"LastModifiedDate": true, "LastModifiedById": true}
	for _, snd := range accepted {
		for name := range snd.change.Local {
			fields[name] = true
		}
		for name := range snd.fields {
			fields[name] = true
		}
	}
	found, err := s.look(ctx, slices.Collect(maps.Keys(accepted)), slices.Sorted(maps.Keys(fields)))
	if err != nil {
		return nil, err
	}
	var done []mirror.Settlement
	for id, snd := range accepted {
		r := found[id]
		if r != nil && claim.Operation == mirror.Update {
			s.keepMet(claim.Watch, snd, r)
		}
		d := snd.done
		if r != nil {
			d.Stamp = r.stamp
			for name := range fields {
				if v, ok := r.values[name]; ok {
					d.Values[name] = v
				}
			}
		}
		done = append(done, d)
	}
	return done, nil
}
