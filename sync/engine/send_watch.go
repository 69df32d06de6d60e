package engine

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// watchBack is how far before the last look a look at others' edits begins: a transaction's stamps are those of its beginning.
	watchBack = 20 * time.Second
	// watchMax is how many records one look takes: one page, one call. Where more change at once, no job is begun.
	watchMax = 2000
	// jobTries is how often a job is made anew because others changed some of its records while it was uploaded.
	jobTries = 3
)

// overwrote keeps what was found out after the fact: somebody had set a field since it was read, and what was sent came over it.
func (snd *sending) overwrote(field string, theirs *string) {
	for i, c := range snd.done.Conflicts {
		if c.Field == field && c.Winner == winnerLocal {
			snd.done.Conflicts[i].Remote = theirs
			return
		}
	}
	snd.done.Conflicts = append(snd.done.Conflicts, mirror.Conflict{
		Field: field, Base: snd.change.Base[field], Local: snd.change.Local[field], Remote: theirs, Winner: winnerLocal, Reason: reasonMeanwhile,
	})
}

// othersSince reads what others than our user changed of the object's records since a time, the newest first; whole is false if there is more than
// one look takes. until is what a later look goes on from.
func (s *sender) othersSince(ctx context.Context, since time.Time, fields []string) (found map[sobject.ID]*remote, until time.Time, whole bool, err error) {
	if until, err = s.serverTime(ctx); err != nil {
		return nil, until, false, err
	}
	connection, err := s.Models.Connection(ctx)
	if err != nil {
		return nil, until, false, err
	}
	schema := s.table.Schema()
	stamp, ok := schema.Field("SystemModstamp")
	if !ok {
		return nil, until, true, nil // an object without stamps keeps no account of changes
	}
	columns := []string{"Id", stamp.Name}
	for _, name := range fields {
		if f, ok := schema.Field(name); ok && f.Synced() && !slices.Contains(columns, f.Name) {
			columns = append(columns, f.Name)
		}
	}
	soql := "SELECT " + strings.Join(columns, ",") + " FROM " + s.run.Object + " WHERE " + stamp.Name + " >= " + since.Add(-watchBack).UTC().Format(time.RFC3339)
	if _, ok := schema.Field("LastModifiedById"); ok && connection.UserID != "" {
		soql += " AND LastModifiedById != " + literal(connection.UserID)
	}
	soql += " ORDER BY " + stamp.Name + " DESC LIMIT 2000"
	found = map[sobject.ID]*remote{}
	for page, err := range s.client.QueryRows(ctx, columns, soql, false) {
		if err == nil {
			err = eachRow(page.Rows, func(cells [][]byte) error {
				id, r, err := s.remoteOf(columns, cells)
				found[id] = r
				return err
			})
		}
		if isAPI(err) && !salesforce.IsTransient(err) && !salesforce.IsHalting(err) && !isCode(err, salesforce.CodeInvalidField) {
			// What cannot be watched is sent all the same.
			s.Log.Warn("the org does not tell what others change while a Bulk job is under way", "object", s.run.Object, "error", err)
			return nil, until, true, nil
		}
		if err != nil {
			return nil, until, false, err
		}
	}
	return found, until, len(found) < watchMax, nil
}

// movedSince finds those changes of a job that is about to be closed whose records others have changed since they were read, so that what was
// decided may not hold.
func (s *sender) movedSince(ctx context.Context, operation mirror.Operation, out []*sending, since time.Time) (moved map[*sending]bool, until time.Time, whole bool, err error) {
	fields := map[string]bool{}
	for _, snd := range out {
		for name := range snd.fields {
			fields[name] = true
		}
	}
	others, until, whole, err := s.othersSince(ctx, since, slices.Sorted(maps.Keys(fields)))
	if err != nil {
		return nil, until, false, err
	}
	moved = map[*sending]bool{}
	for _, snd := range out {
		r := others[sobject.ID(snd.change.SFID)]
		switch {
		case r == nil:
		case operation == mirror.Delete:
			moved[snd] = snd.remote == nil || r.stamp.After(snd.remote.stamp)
		default:
			for name := range snd.fields {
				if there, read := r.values[name]; read && !same(there, snd.remote.values[name]) {
					moved[snd] = true
				}
			}
		}
	}
	maps.DeleteFunc(moved, func(_ *sending, is bool) bool { return !is })
	return moved, until, whole, nil
}

// watch looks what others changed of a job's records since the last look. What they set a field to that the job sets too is kept with the
// claim: if the job comes over it, nothing else in Salesforce tells of it afterwards.
func (s *sender) watch(ctx context.Context, claim *mirror.Claim) error {
	if claim.Operation != mirror.Update || claim.Watch.Since.IsZero() {
		return nil
	}
	fields := map[string]bool{}
	changes := map[sobject.ID]mirror.Change{}
	for _, c := range claim.Changes {
		changes[sobject.ID(c.SFID)] = c
		for name := range c.Local {
			fields[name] = true
		}
	}
	others, until, whole, err := s.othersSince(ctx, claim.Watch.Since, slices.Sorted(maps.Keys(fields)))
	if err != nil {
		return err
	}
	if !whole {
		s.Log.Warn("more records change in Salesforce than can be watched while a Bulk job is under way", "object", s.run.Object, "job", claim.JobID)
	}
	w := mirror.Watch{Since: until, Met: maps.Clone(claim.Watch.Met)}
	if w.Met == nil {
		w.Met = map[string]map[string]*string{}
	}
	for id, r := range others {
		c, ours := changes[id]
		if !ours {
			continue
		}
		for name, local := range c.Local {
			there, read := r.values[name]
			if !read || same(there, local) {
				continue
			}
			// A job takes only what was to be sent as it was read; whatever is decided otherwise now has changed since.
			if d := resolve(sides{c.Base[name], local, there}, s.rules(name), s.orgTime(c.At[name]), r.stamp); d.verdict == verdictSend {
				continue
			}
			if w.Met[c.SFID] == nil {
				w.Met[c.SFID] = map[string]*string{}
			}
			w.Met[c.SFID][name] = there
		}
	}
	claim.Watch = w
	return s.Mirror.NoteWatch(ctx, claim.ID, w)
}

// keepMet adds the edits of others that a job came over to what its change is settled with: those that were seen before, and are not there after.
func (s *sender) keepMet(w mirror.Watch, snd *sending, after *remote) {
	for _, name := range slices.Sorted(maps.Keys(w.Met[snd.change.SFID])) {
		theirs := w.Met[snd.change.SFID][name]
		there, read := after.values[name]
		f, _ := s.table.Schema().Field(name)
		local := snd.change.Local[name]
		if !read || same(theirs, there) || (local == nil) != (there == nil) || local != nil && !alike(f, *local, *there) {
			continue // theirs came later, or somebody's third value did: it comes here as any other
		}
		snd.overwrote(name, theirs)
	}
}

// fillJob uploads changes to new jobs until one can be closed whose records nobody else has changed since they were read. What was changed is left to
// the end of the job, when it is looked at anew. job is empty if too much changes for one.
func (s *sender) fillJob(ctx context.Context, claim mirror.Claim, operation salesforce.IngestOperation, external string, out []*sending, since time.Time) (job string, watch mirror.Watch, err error) {
	for range jobTries {
		if len(out) <= s.BulkSendAbove {
			return "", watch, nil
		}
		made, err := s.client.CreateIngestJob(ctx, s.run.Object, operation, external)
		if err != nil {
			return "", watch, err
		}
		s.step("job made")
		if err := s.upload(ctx, claim, made.ID, out); err != nil {
			return made.ID, watch, err
		}
		s.step("uploaded")
		if claim.Operation == mirror.Insert {
			return made.ID, watch, nil
		}
		moved, until, whole, err := s.movedSince(ctx, claim.Operation, out, since)
		if err != nil {
			return made.ID, watch, err
		}
		if whole && len(moved) == 0 {
			return made.ID, mirror.Watch{Since: until}, nil
		}
		if err := s.client.AbortIngest(ctx, made.ID); err != nil {
			return made.ID, watch, err
		}
		if !whole {
			return "", watch, nil
		}
		out = slices.DeleteFunc(out, func(snd *sending) bool { return moved[snd] })
	}
	return "", watch, nil
}
