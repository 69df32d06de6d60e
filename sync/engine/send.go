package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// sendWithin is how long a piece goes on taking batches; what is left is the next piece's.
	sendWithin = 40 * time.Second
	// bulkClaim is how many rows a claim takes that goes by a Bulk job: what Salesforce works on at once.
	bulkClaim = 10_000
	// attemptsMax is how often a row comes back with a passing refusal (a lock, an overloaded org) before a person is told.
	attemptsMax = 12
	// settleMax is how many rows are settled in one transaction.
	settleMax = 1000
)

// The codes of refusals that are Tandem's own; all others are Salesforce's.
const (
	codeNotThere     = "RECORD_NOT_VISIBLE"
	codeQueueOwner   = "QUEUE_CANNOT_OWN"
	codeMemberStatus = "MEMBER_STATUS_UNKNOWN"
	codeMatchSeveral = "MATCH_SEVERAL"
	codeMatchOther   = "MATCH_OTHER_OBJECT"
	codeMatchLocal   = "MATCH_LOCAL_ROW"
	codeNotJoined    = "ROWS_CANNOT_JOIN"
	codeNoNumber     = "VALUE_NOT_SENDABLE"
	codeDefault      = "DEFAULT_DOES_NOT_FIT"
	codeUncertain    = "CREATE_UNCERTAIN"
)

// sender sends the local changes of one object, as the admin wants it.
type sender struct {
	*piece
	object  models.Object
	choices models.FieldChoices
	until   time.Time

	sent      mirror.Sent // what is noted of the creates of the claim at hand
	described bool        // the object was described anew in this piece, because the org refused a field
	stale     bool        // Salesforce refused a field that the describe lets be written
}

// send is one piece of a run that sends: it goes on with the batch that an earlier piece, alive or dead, has left, then takes the next
// ones, each of bounded size, until nothing is left or the piece's time is over.
func (p *piece) send(ctx context.Context) (outcome, error) {
	if waits, err := p.Models.SendWaits(ctx, p.run); err != nil || waits {
		return outcome{after: 200 * time.Millisecond}, err
	}
	s := &sender{piece: p, until: time.Now().Add(sendWithin)}
	var err error
	if s.object, err = p.Models.Object(ctx, p.run.Object); err != nil {
		return outcome{}, err
	}
	if s.choices, err = p.Models.FieldChoices(ctx, p.run.Object); err != nil {
		return outcome{}, err
	}
	for {
		claim, err := s.nextClaim(ctx)
		if err != nil {
			return outcome{}, err
		}
		if claim.ID == "" {
			break
		}
		wait, err := s.sendClaim(ctx, claim)
		if isCode(err, salesforce.CodeInvalidField) {
			// A field went since the last describe. What the org says now is the truth; the claim is taken up again with it.
			if err := s.describeAnew(ctx); err != nil {
				return outcome{}, err
			}
			// What was settled before that is no longer in it.
			s.described = true
			if claim, err = s.Mirror.ReclaimChanges(ctx, claim.ID, s.run.ID); errors.Is(err, mirror.ErrNoClaim) {
				continue
			}
			if err == nil {
				wait, err = s.sendClaim(ctx, claim)
			}
			if err != nil {
				return outcome{}, err
			}
		} else if err != nil {
			return outcome{}, err
		}
		if s.stale {
			// The triggers are made anew with it: what cannot be sent is refused from now on where it is written.
			s.stale = false
			if err := s.describeAnew(ctx); err != nil {
				return outcome{}, err
			}
		}
		if wait > 0 {
			return outcome{after: wait}, nil
		}
		if s.late() {
			return outcome{after: time.Millisecond}, nil
		}
	}
	// What it cost is in the account before anybody sees that it is over.
	if err := p.Models.AddCalls(ctx, p.run.ID, p.calls.Swap(0)); err != nil {
		return outcome{}, err
	}
	if err := p.Models.EndSend(ctx, p.run.ID); err != nil {
		return outcome{}, err
	}
	return outcome{over: true}, nil
}

func (s *sender) describeAnew(ctx context.Context) (err error) {
	if err := s.describeOne(ctx, s.client, s.run.Object); err != nil {
		return err
	}
	s.table, _, err = s.Mirror.Table(ctx, s.run.Object)
	return err
}

func (s *sender) late() bool { return time.Now().After(s.until) }

// step tells a test how far sending is.
func (s *sender) step(name string) {
	if s.AtStep != nil {
		s.AtStep(name)
	}
}

// nextClaim gives the batch to go on with: one that is open, whoever took it, else a new one. Its ID is empty if there is nothing.
func (s *sender) nextClaim(ctx context.Context) (mirror.Claim, error) {
	open, err := s.Mirror.OpenClaims(ctx, s.run.Object)
	if err != nil {
		return mirror.Claim{}, err
	}
	for _, c := range open {
		claim, err := s.Mirror.ReclaimChanges(ctx, c.ID, s.run.ID)
		if errors.Is(err, mirror.ErrNoClaim) {
			continue
		}
		return claim, err
	}
	limits, err := s.limits(ctx)
	if err != nil {
		return mirror.Claim{}, err
	}
	for _, op := range []mirror.Operation{mirror.Insert, mirror.Update, mirror.Delete} {
		if op == mirror.Delete {
			if waits, err := s.deletionsWait(ctx, s.object); err != nil || waits {
				return mirror.Claim{}, err
			}
		}
		claim, err := s.Mirror.ClaimChanges(ctx, s.run.ID, s.run.Object, op, limits[op])
		if err != nil || claim.ID != "" {
			s.step("claimed")
			return claim, err
		}
	}
	return mirror.Claim{}, nil
}

// limits says how many rows a claim takes. Those that can be read again by one call make one; where much waits, as many as a Bulk job
// works on at once.
func (s *sender) limits(ctx context.Context) (map[mirror.Operation]int, error) {
	limits := map[mirror.Operation]int{mirror.Insert: salesforce.RetrieveMax, mirror.Update: salesforce.RetrieveMax, mirror.Delete: salesforce.RetrieveMax}
	backlogs, err := s.Mirror.Backlogs(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range backlogs {
		if b.Object != s.run.Object {
			continue
		}
		for op, n := range map[mirror.Operation]int64{mirror.Insert: b.Inserts, mirror.Update: b.Updates, mirror.Delete: b.Deletes} {
			if n > int64(s.BulkSendAbove) {
				limits[op] = bulkClaim
			}
		}
	}
	return limits, nil
}

// sendClaim sends one batch and settles each of its rows, in whatever state an earlier piece has left it. A wait means that it is not done
// yet and goes on with the next piece.
func (s *sender) sendClaim(ctx context.Context, claim mirror.Claim) (time.Duration, error) {
	s.sent = claim.Sent
	if claim.JobID != "" {
		return s.tendJob(ctx, claim)
	}
	switch claim.Operation {
	case mirror.Insert:
		return s.sendInserts(ctx, claim)
	case mirror.Delete:
		return s.sendDeletes(ctx, claim)
	default:
		return s.sendUpdates(ctx, claim)
	}
}

// sending is one change on its way.
type sending struct {
	change mirror.Change
	fields map[string]*string // what is sent, by API name
	done   mirror.Settlement  // what it is settled with if Salesforce accepts it
	parent string             // the record that it hangs from: what Salesforce locks with it
	key    string             // of a create by external id
	remote *remote            // what it was decided by; nil of a create
	unseen bool               // of a deletion: Salesforce did not show the record
}

// settlement begins what a change is settled with.
func (s *sender) settlement(claim mirror.Claim, c mirror.Change, outcome mirror.Outcome) mirror.Settlement {
	return mirror.Settlement{
		Claim: claim.ID, Object: claim.Object, RowID: c.RowID, Seqs: c.Seqs, RunID: s.run.ID, Outcome: outcome, Values: map[string]*string{},
	}
}

// refuse sets a change aside.
func (s *sender) refuse(claim mirror.Claim, c mirror.Change, code, message, field string, details map[string]any) mirror.Settlement {
	r := s.settlement(claim, c, mirror.Refused)
	r.Code, r.Message, r.Field, r.Details = code, message, field, details
	return r
}

// again puts a change off that met something that passes. One that comes back again and again is told to a person.
func (s *sender) again(claim mirror.Claim, c mirror.Change, cause error, soon bool) mirror.Settlement {
	code, message := errorWords(cause)
	if code == "" {
		code = codeNotThere // what passes and is no answer of Salesforce's: the record is another's, or gone
	}
	if c.Attempts+1 >= attemptsMax {
		return s.refuse(claim, c, code, message, "", nil)
	}
	r := s.settlement(claim, c, mirror.Retry)
	r.Code, r.Message = code, message
	r.RetryAt = time.Now().Add(min(10*time.Second<<min(c.Attempts, 6), 10*time.Minute))
	if soon {
		r.RetryAt = time.Now()
	}
	return r
}

// settle keeps what became of changes, and adds it to the run's account.
func (s *sender) settle(ctx context.Context, done []mirror.Settlement) error {
	for batch := range slices.Chunk(done, settleMax) {
		_, err := s.Mirror.Settle(ctx, batch)
		if mirror.IsForbidden(err) {
			return s.settleSingly(ctx, batch, err)
		}
		if err != nil {
			return err
		}
		s.step("settled")
		var sent, refused, conflicts int64
		for _, d := range batch {
			switch d.Outcome {
			case mirror.Accepted, mirror.Linked:
				sent++
			case mirror.Refused:
				refused++
			}
			conflicts += int64(len(d.Conflicts))
		}
		if err := s.Models.AddSent(ctx, s.run.ID, sent, refused, conflicts); err != nil {
			return err
		}
	}
	return nil
}

// settleSingly settles changes one by one of which the database forbids some: a table of people's own refers to both of two rows that are
// to become one. Such a row is set aside; what was created is not, for it would be created again.
func (s *sender) settleSingly(ctx context.Context, done []mirror.Settlement, cause error) error {
	if len(done) > 1 {
		for i := range done {
			if err := s.settle(ctx, done[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	d := done[0]
	if d.Outcome != mirror.Linked && d.Outcome != mirror.Restored {
		return cause
	}
	return s.settle(ctx, []mirror.Settlement{{
		Claim: d.Claim, Object: d.Object, RowID: d.RowID, Seqs: d.Seqs, RunID: d.RunID, Outcome: mirror.Refused, Code: codeNotJoined,
		Message: fmt.Sprintf("The row and the record of Salesforce that it stands for cannot become one row here: %s.", cause), Details: map[string]any{"candidates": []string{d.SFID}},
	}})
}

// field gives a field that may be written now: visible, not left out, and not switched to come from Salesforce only.
func (s *sender) field(name string) (sobject.Field, bool) {
	f, ok := s.table.Schema().Field(name)
	if !ok || !f.Synced() {
		return f, false
	}
	c := s.choices.Of(f.Name)
	return f, !c.Excluded && c.Direction != models.FromSalesforce
}

func (s *sender) rules(field string) rules {
	c := s.choices.Of(field)
	r := rules{policy: s.object.Policy, blankOverwrites: c.BlankOverwrites, keepFirst: c.KeepFirst}
	if c.Policy != "" {
		r.policy = c.Policy
	}
	return r
}

// orgTime turns a time of this machine's clock into one of the org's, by which the org stamps its records. The org's clock is known to the
// second; a difference that is no larger is none.
func (s *sender) orgTime(t time.Time) time.Time {
	if now, ok := s.client.ServerTime(); ok {
		if skew := time.Until(now); skew > 2*time.Second || skew < -2*time.Second {
			return t.Add(skew)
		}
	}
	return t
}

// sendUpdates sends what was changed of records that Salesforce has.
func (s *sender) sendUpdates(ctx context.Context, claim mirror.Claim) (time.Duration, error) {
	var ids []sobject.ID
	fields := map[string]bool{}
	for _, c := range claim.Changes {
		if c.SFID != "" {
			ids = append(ids, sobject.ID(c.SFID))
		}
		for name := range c.Local {
			fields[name] = true
		}
	}
	read, err := s.serverTime(ctx)
	if err != nil {
		return 0, err
	}
	found, err := s.look(ctx, ids, slices.Sorted(maps.Keys(fields)))
	if err != nil {
		return 0, err
	}
	s.step("read")
	var done []mirror.Settlement
	var out []*sending
	var others []sobject.ID // records that became others, or are gone: the mirror does not know it yet
	redirect := false
	for _, c := range claim.Changes {
		r := found[sobject.ID(c.SFID)]
		switch {
		case c.SFID == "":
			// It gave up its record to be created again, and whoever was about to say so died.
			done = append(done, s.again(claim, c, errRecreated, true))
		case r == nil:
			done = append(done, s.refuse(claim, c, codeNotThere, fmt.Sprintf("Salesforce no longer shows this %s to the user that Tandem signs in with: it was removed for good, or hidden. The edit is kept here.", s.label()), "", nil))
		case r.becameAnother():
			others, redirect = append(others, sobject.ID(c.SFID)), true
			done = append(done, s.again(claim, c, errBecameAnother, false))
		case r.deleted && s.object.Recreate:
			others = append(others, sobject.ID(c.SFID))
			d, err := s.recreate(ctx, claim, c)
			if err != nil {
				return 0, err
			}
			done = append(done, d...)
		case r.deleted:
			others = append(others, sobject.ID(c.SFID))
			d := s.settlement(claim, c, mirror.Dropped)
			d.Reason = fmt.Sprintf("The %s was deleted in Salesforce before the edit was sent, and is not created again: that is set for this object.", s.label())
			for name := range c.Local {
				if v, seen := r.values[name]; seen { // a hidden field stays what it is (Invariant 9)
					d.Values[name] = v
				}
			}
			done = append(done, d)
		default:
			if snd, over := s.decide(claim, c, r); over {
				done = append(done, snd.done)
			} else {
				out = append(out, snd)
			}
		}
	}
	if out, done, err = s.checkStatuses(ctx, claim, out, done, found); err != nil {
		return 0, err
	}
	if err := s.settle(ctx, done); err != nil {
		return 0, err
	}
	if len(others) > 0 {
		if err := s.takeIn(ctx, others, redirect); err != nil {
			return 0, err
		}
	}
	return s.write(ctx, claim, out, read)
}

var errBecameAnother = errors.New("the record became another one in Salesforce; the edit goes there")

func (s *sender) label() string { return strings.ToLower(s.table.Schema().Label) }

// decide decides field by field what of a change is sent. over means that nothing is, and the change is settled as it says.
func (s *sender) decide(claim mirror.Claim, c mirror.Change, r *remote) (_ *sending, over bool) {
	snd := &sending{change: c, fields: map[string]*string{}, done: s.settlement(claim, c, mirror.Accepted), parent: r.parent, remote: r}
	reason, undone := "", true
	for _, name := range slices.Sorted(maps.Keys(c.Local)) {
		f, writable := s.field(name)
		there, seen := r.values[name]
		if !writable || !f.Updateable || !seen {
			if seen {
				snd.done.Values[name] = there
			} else {
				there = c.Base[name] // hidden: what was last seen of it stands (Invariant 9)
			}
			reason, undone = reasonNotSent, false
			switch {
			case same(c.Local[name], there), same(c.Local[name], c.Base[name]):
			case s.leftOut(f):
				// It was accepted here when it could be sent; that it no longer can is shown (Invariant 3).
				snd.done.Conflicts = append(snd.done.Conflicts, notSent(name, c.Base[name], c.Local[name], there))
			default:
				snd.notWritable(name)
			}
			continue
		}
		switch d := resolve(sides{c.Base[name], c.Local[name], there}, s.rules(name), s.orgTime(c.At[name]), r.modified); {
		case d.verdict == verdictSend:
			snd.fields[name] = c.Local[name]
		case d.verdict == verdictAlready:
			snd.done.Values[name] = there
		case d.verdict == verdictKeep:
			snd.done.Values[name] = there
			reason, undone = d.reason, undone && d.reason == reasonUndone
		case d.verdict == verdictAsk:
			snd.done.Conflicts = append(snd.done.Conflicts, mirror.Conflict{Field: name, Base: c.Base[name], Local: c.Local[name], Remote: there})
		default:
			snd.done.Conflicts = append(snd.done.Conflicts, mirror.Conflict{
				Field: name, Base: c.Base[name], Local: c.Local[name], Remote: there, Winner: d.winner, Reason: d.reason,
			})
			if d.winner == winnerLocal {
				snd.fields[name] = c.Local[name]
			} else {
				snd.done.Values[name] = there
			}
		}
	}
	if len(snd.fields) > 0 {
		if owner := snd.fields["OwnerId"]; owner != nil && s.queueCannotOwn(*owner) {
			snd.done = s.refuseQueue(claim, c)
			return snd, true
		}
		if d, unwritable := s.refuseUnwritable(claim, c, snd.fields); unwritable {
			snd.done = d
			return snd, true
		}
		return snd, false
	}
	snd.done.Stamp = r.stamp
	switch {
	case len(snd.done.Apart) > 0 && len(snd.done.Conflicts) == 0:
		snd.done = s.refuseApart(claim, snd)
	case len(snd.done.Conflicts) > 0:
		snd.done.Outcome = mirror.Conflicted
	case reason == "":
		snd.done.Outcome = mirror.Already
	case undone:
		snd.done.Outcome, snd.done.Reason = mirror.Superseded, reason
	default:
		snd.done.Outcome, snd.done.Reason = mirror.Dropped, reason
	}
	return snd, true
}

// leftOut tells whether a field is not sent because it is hidden, or by the admin's choice, as opposed to one that is seen and may not be written.
func (s *sender) leftOut(f sobject.Field) bool {
	c := s.choices.Of(f.Name)
	return f.Name == "" || !f.Synced() || c.Excluded || c.Direction == models.FromSalesforce
}

const codeNotWritable = "INVALID_FIELD_FOR_INSERT_UPDATE"

// notWritable adds a field to those that are refused alone because a describe says that this user may not write them any more. One sentence
// names them all.
func (snd *sending) notWritable(field string) {
	snd.done.Apart = append(snd.done.Apart, mirror.Apart{Field: field, Code: codeNotWritable})
	names := make([]string, len(snd.done.Apart))
	for i, a := range snd.done.Apart {
		names[i] = a.Field
	}
	for i := range snd.done.Apart {
		snd.done.Apart[i].Message = fmt.Sprintf("Salesforce no longer lets the connected user write %s; the value is kept here until it does, or until somebody drops it.", strings.Join(names, ", "))
	}
}

// refuseApart sets a change aside of which nothing but refused fields is left.
func (s *sender) refuseApart(claim mirror.Claim, snd *sending) mirror.Settlement {
	first := snd.done.Apart[0]
	return s.refuse(claim, snd.change, first.Code, first.Message, first.Field, nil)
}

// notSent is the conflict of a value that cannot be sent any more.
func notSent(field string, base, local, remote *string) mirror.Conflict {
	return mirror.Conflict{Field: field, Base: base, Local: local, Remote: remote, Winner: winnerSalesforce, Reason: reasonNotSent}
}

// refuseUnwritable sets a change aside that has a value which JSON cannot say, as NaN; false if it has none.
func (s *sender) refuseUnwritable(claim mirror.Claim, c mirror.Change, fields map[string]*string) (mirror.Settlement, bool) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f, _ := s.table.Schema().Field(name)
		if _, err := valueOf(f, fields[name]); err != nil {
			return s.refuse(claim, c, codeNoNumber, fmt.Sprintf("%s: %s, so it cannot be sent to Salesforce; give it another value.", f.Name, err), f.Name, nil), true
		}
	}
	return mirror.Settlement{}, false
}

// queueCannotOwn tells whether an owner is a queue that this object cannot have as one. Marketo makes a second lead of it in silence.
func (s *sender) queueCannotOwn(owner string) bool {
	f, ok := s.table.Schema().Field("OwnerId")
	return ok && strings.HasPrefix(owner, "00G") && !slices.Contains(f.ReferenceTo, "Group")
}

func (s *sender) refuseQueue(claim mirror.Claim, c mirror.Change) mirror.Settlement {
	return s.refuse(claim, c, codeQueueOwner, fmt.Sprintf("A queue cannot own a %s in Salesforce; give it to a user.", s.label()), "OwnerId", nil)
}

// write sends changes, whose records were read at a time: few by collections, many by a Bulk job.
func (s *sender) write(ctx context.Context, claim mirror.Claim, out []*sending, read time.Time) (time.Duration, error) {
	if len(out) == 0 {
		return 0, nil
	}
	// What hangs from one parent goes together, so that Salesforce does not wait for its own locks.
	slices.SortStableFunc(out, func(a, b *sending) int { return strings.Compare(a.parent, b.parent) })
	if claim.Step != stepCollections {
		bulk, rest := s.forBulk(out)
		if len(bulk) > 0 {
			if wait, err := s.byCollections(ctx, claim, rest); err != nil || wait > 0 {
				return wait, err
			}
			return s.startJob(ctx, claim, bulk, read)
		}
	}
	return s.byCollections(ctx, claim, out)
}

// byCollections sends changes 200 at a time and settles each batch before the next. Rows that another transaction holds are tried again, in
// smaller and smaller company.
func (s *sender) byCollections(ctx context.Context, claim mirror.Claim, out []*sending) (time.Duration, error) {
	size := salesforce.CollectionMax
	for round := 0; len(out) > 0; round++ {
		var locked []*sending
		var causes []error
		for batch := range slices.Chunk(out, size) {
			if s.late() {
				return time.Millisecond, nil // the claim stays open; the next piece looks at what is left of it
			}
			if err := s.noteCreating(ctx, claim, batch); err != nil {
				return 0, err
			}
			results, err := s.sendBatch(ctx, claim, batch)
			if err != nil {
				return 0, err
			}
			s.step("written")
			var done []mirror.Settlement
			for i, snd := range batch {
				cause := results[i].Err()
				switch d, again := s.outcome(claim, snd, results[i]); {
				case cause != nil && salesforce.IsHalting(cause):
					err = cause
				case again:
					locked, causes = append(locked, snd), append(causes, cause)
				default:
					done = append(done, d)
				}
			}
			var linked error
			if done, linked = s.joinMembers(ctx, claim, batch, done); linked != nil {
				return 0, linked
			}
			if settled := s.settle(ctx, done); settled != nil {
				return 0, settled
			}
			if err != nil {
				return 0, err
			}
		}
		if round == lockRounds {
			var done []mirror.Settlement
			for i, snd := range locked {
				done = append(done, s.again(claim, snd.change, causes[i], false))
			}
			return 0, s.settle(ctx, done)
		}
		if out = locked; len(out) > 0 {
			size = max(1, len(out)>>(2*round+2))
			pause(ctx, jitter(s.LockWait<<round))
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if claim.Operation == mirror.Update {
				var err error
				if out, err = s.decideAgain(ctx, claim, out); err != nil {
					return 0, err
				}
			}
		}
	}
	return 0, nil
}

// decideAgain reads records anew that another transaction held: it has most likely changed them. What is not there any more is looked at with the
// next claim.
func (s *sender) decideAgain(ctx context.Context, claim mirror.Claim, locked []*sending) (out []*sending, err error) {
	ids := make([]sobject.ID, len(locked))
	fields := map[string]bool{}
	for i, snd := range locked {
		ids[i] = sobject.ID(snd.change.SFID)
		for name := range snd.change.Local {
			fields[name] = true
		}
	}
	found, err := s.look(ctx, ids, slices.Sorted(maps.Keys(fields)))
	if err != nil {
		return nil, err
	}
	var done []mirror.Settlement
	for _, snd := range locked {
		r := found[sobject.ID(snd.change.SFID)]
		if r == nil || r.deleted || r.becameAnother() {
			done = append(done, s.again(claim, snd.change, errBecameAnother, true))
			continue
		}
		next, over := s.decide(claim, snd.change, r)
		for _, a := range snd.done.Apart {
			// What Salesforce refused before stays so.
			delete(next.fields, a.Field)
			delete(next.done.Values, a.Field)
			next.done.Conflicts = slices.DeleteFunc(next.done.Conflicts, func(c mirror.Conflict) bool { return c.Field == a.Field })
			if !slices.ContainsFunc(next.done.Apart, func(b mirror.Apart) bool { return b.Field == a.Field }) {
				next.done.Apart = append(next.done.Apart, a)
			}
		}
		switch {
		case over:
			done = append(done, next.done)
		case len(next.fields) == 0:
			done = append(done, s.refuseApart(claim, next))
		default:
			out = append(out, next)
		}
	}
	return out, s.settle(ctx, done)
}

// lockRounds is how often rows that another transaction holds are tried again at once.
const lockRounds = 3

// sendBatch sends one batch. A refusal of the whole batch that hangs on a record in it is narrowed down by halves, so that one bad row
// spoils no other.
func (s *sender) sendBatch(ctx context.Context, claim mirror.Claim, batch []*sending) ([]salesforce.CollectionResult, error) {
	results, err := s.callBatch(ctx, claim, batch)
	api := new(salesforce.APIError)
	if err == nil || !errors.As(err, &api) || api.Status != 400 || salesforce.IsTransient(err) || salesforce.IsHalting(err) || api.Code == salesforce.CodeInvalidType {
		return results, err
	}
	if batch[0].key != "" && api.Code == salesforce.CodeInvalidField && !s.described {
		return nil, err // most likely the key: see what is so now
	}
	if len(batch) == 1 {
		return []salesforce.CollectionResult{{Errors: []salesforce.RecordError{{Code: api.Code, Message: api.Message, Fields: api.Fields}}}}, nil
	}
	half := len(batch) / 2
	left, err := s.sendBatch(ctx, claim, batch[:half])
	if err != nil {
		return nil, err
	}
	right, err := s.sendBatch(ctx, claim, batch[half:])
	return append(left, right...), err
}

func (s *sender) callBatch(ctx context.Context, claim mirror.Claim, batch []*sending) ([]salesforce.CollectionResult, error) {
	if claim.Operation == mirror.Delete {
		ids := make([]sobject.ID, len(batch))
		for i, snd := range batch {
			ids[i] = sobject.ID(snd.change.SFID)
		}
		return s.client.DeleteRecords(ctx, s.run.Object, ids, salesforce.Sending{})
	}
	records := make([]salesforce.Record, len(batch))
	create, key := false, ""
	for i, snd := range batch {
		records[i] = salesforce.Record{Object: s.run.Object, Fields: map[string]salesforce.Value{}}
		switch {
		case snd.done.Outcome == mirror.Linked:
			records[i].ID = sobject.ID(snd.done.SFID)
		case claim.Operation == mirror.Insert:
			create = true
			if snd.key != "" {
				key = s.object.ExternalID
			}
		default:
			records[i].ID = sobject.ID(snd.change.SFID)
		}
		if snd.remote != nil {
			records[i].Unmodified = snd.remote.modified
		}
		for name, v := range snd.fields {
			f, _ := s.table.Schema().Field(name)
			value, err := valueOf(f, v)
			if err != nil {
				return nil, err
			}
			records[i].Fields[name] = value
		}
	}
	before, clocked := s.client.ServerTime()
	var results []salesforce.CollectionResult
	var err error
	switch {
	case create && key != "":
		results, err = s.client.UpsertRecords(ctx, s.run.Object, key, records, salesforce.Sending{})
	case create:
		results, err = s.client.CreateRecords(ctx, records, salesforce.Sending{})
	default:
		results, err = s.updateAndRead(ctx, batch, records)
	}
	if clocked {
		for _, snd := range batch {
			if !snd.done.Stamp.IsZero() {
				continue
			}
			// Not the record's own stamp, which the reply does not tell, but none that is later: what was read before does not come over
			// it any more, and what Salesforce made of the record does.
			snd.done.Stamp = before.UTC().Truncate(time.Second)
		}
	}
	return results, err
}

// updateAndRead writes changes and reads back what Salesforce made of them, so that they do not come back as news.
func (s *sender) updateAndRead(ctx context.Context, batch []*sending, records []salesforce.Record) ([]salesforce.CollectionResult, error) {
	columns := []string{"Id"}
	add := func(name string) {
		if f, ok := s.table.Schema().Field(name); ok && f.Synced() && !slices.Contains(columns, f.Name) {
			columns = append(columns, f.Name)
		}
	}
	for _, name := range []string{"SystemModstamp", "LastModifiedDate", "LastModifiedById"} {
		add(name)
	}
	by := map[sobject.ID]*sending{}
	for i, snd := range batch {
		by[records[i].ID] = snd
		for name := range snd.fields {
			add(name)
		}
	}
	before, back := map[sobject.ID]*remote{}, map[sobject.ID]*remote{}
	into := func(m map[sobject.ID]*remote) func([][]byte) error {
		return func(cells [][]byte) error {
			id, r, err := s.remoteOf(columns, cells)
			m[id] = r
			return err
		}
	}
	results, err := s.client.UpdateAndRead(ctx, s.run.Object, records, columns, salesforce.Sending{}, into(before), into(back))
	if err != nil {
		return nil, err
	}
	for i, result := range results {
		snd, r := by[records[i].ID], back[records[i].ID]
		if was := before[records[i].ID]; was != nil && result.Success {
			for name, v := range snd.fields {
				if there, read := was.values[name]; read && !same(there, v) && !same(there, snd.remote.values[name]) {
					snd.overwrote(name, there)
				}
			}
		}
		if r == nil || !result.Success {
			continue
		}
		snd.done.Stamp = r.stamp
		for name, v := range r.values {
			if _, sent := snd.fields[name]; sent || strings.HasPrefix(name, "LastModified") {
				snd.done.Values[name] = v
			}
		}
	}
	return results, nil
}

// valueOf turns a canonical text into what JSON needs for the field's type.
func valueOf(f sobject.Field, v *string) (salesforce.Value, error) {
	switch f.Type {
	case "boolean":
		// A checkbox has no third state.
		return salesforce.Bool(v != nil && *v == "true"), nil
	case "int", "long", "double", "currency", "percent":
		if v == nil {
			return salesforce.Null, nil
		}
		return salesforce.Number(*v)
	}
	if v == nil {
		return salesforce.Null, nil
	}
	return salesforce.Text(*v), nil
}

// outcome turns Salesforce's result for one record into what its change is settled with. again means that the row is to be tried once more.
func (s *sender) outcome(claim mirror.Claim, snd *sending, r salesforce.CollectionResult) (_ mirror.Settlement, again bool) {
	cause := r.Err()
	if cause == nil {
		d := snd.done
		for name, v := range snd.fields {
			if _, read := d.Values[name]; !read {
				d.Values[name] = v
			}
		}
		if claim.Operation == mirror.Insert && d.Outcome != mirror.Linked {
			d.SFID = string(r.ID)
		}
		return d, false
	}
	code, message := errorWords(cause)
	var fields []string
	details := map[string]any{}
	var candidates []string
	for _, e := range r.Errors {
		fields = append(fields, e.Fields...)
		for _, id := range e.Duplicates {
			candidates = append(candidates, string(id))
		}
	}
	if len(candidates) > 0 {
		details["candidates"] = candidates
	}
	field := ""
	if len(fields) > 0 {
		field = fields[0]
	}
	switch {
	case claim.Operation == mirror.Delete && code == salesforce.CodeEntityIsDeleted:
		d := snd.done
		d.Outcome, d.Reason = mirror.Already, reasonDeleted
		return d, false
	case claim.Operation == mirror.Delete && slices.Contains(unseenCodes, code):
		if !snd.unseen && snd.change.Attempts < 3 {
			// It was there a moment ago: looked at again, it tells what became of it.
			return s.again(claim, snd.change, cause, true), false
		}
		// Nothing says that it is deleted, so that it may be alive and hidden from this user: only proof lets it be taken for deleted (Invariant 8).
		return s.refuse(claim, snd.change, codeNotThere, fmt.Sprintf(
			"Salesforce does not show this %s to the user that Tandem signs in with, and does not say that it was deleted: it is hidden, or was removed for good. The deletion is kept here: retry it once the user sees the record, or drop it and the row comes back.", s.label()), "", map[string]any{"said": code + ": " + message}), false
	case code == salesforce.CodePrecondition:
		// Looked at again, what was changed meanwhile is decided upon.
		return s.again(claim, snd.change, cause, true), false
	case salesforce.IsTransient(cause):
		return mirror.Settlement{}, true
	case code == codeNotWritable:
		// The right to write a field was taken away since it was described. It alone is not sent.
		s.stale = true
		if len(fields) == 0 {
			fields = namedIn(message)
		}
		if s.strip(snd, fields, message) {
			return mirror.Settlement{}, true
		}
	case len(fields) == 0 && snd.change.Attempts < 3 && salesforce.HasCode(cause, salesforce.CodeEntityIsDeleted, codeConvertedLead):
		// It happened between reading and writing: looked at again, the record tells what became of it.
		return s.again(claim, snd.change, cause, true), false
	}
	return s.refuse(claim, snd.change, code, message, field, details), false
}

// unseenCodes are what Salesforce answers of a record that it does not find or does not show; which of both it is they do not tell.
var unseenCodes = []string{salesforce.CodeNotFound, "INVALID_CROSS_REFERENCE_KEY", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "INSUFFICIENT_ACCESS_OR_READONLY", "INVALID_ID_FIELD"}

const codeConvertedLead = "CANNOT_UPDATE_CONVERTED_LEAD"

// namedIn lists what may be names of fields in a message that comes without them: "Unable to create/update fields: A, B. Please check ...".
func namedIn(message string) []string {
	return strings.FieldsFunc(message, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// strip takes fields out of a change that Salesforce does not take, to be refused alone; false if none of them was in it, or nothing is left.
func (s *sender) strip(snd *sending, fields []string, message string) bool {
	found := false
	for _, name := range fields {
		for have := range snd.fields {
			if !strings.EqualFold(have, strings.TrimSpace(name)) {
				continue
			}
			found = true
			delete(snd.fields, have)
			snd.done.Conflicts = slices.DeleteFunc(snd.done.Conflicts, func(c mirror.Conflict) bool { return c.Field == have })
			snd.done.Apart = append(snd.done.Apart, mirror.Apart{Field: have, Code: codeNotWritable, Message: message})
		}
	}
	return found && len(snd.fields) > 0
}

// sendDeletes deletes records where the admin allows it. Where not, or where somebody changed the record since, the row comes back.
func (s *sender) sendDeletes(ctx context.Context, claim mirror.Claim) (time.Duration, error) {
	ids := make([]sobject.ID, len(claim.Changes))
	for i, c := range claim.Changes {
		ids[i] = sobject.ID(c.SFID)
	}
	read, err := s.serverTime(ctx)
	if err != nil {
		return 0, err
	}
	found, err := s.look(ctx, ids, s.table.Fields())
	if err != nil {
		return 0, err
	}
	s.step("read")
	listed, err := s.listedDeleted(ctx, claim, found)
	if err != nil {
		return 0, err
	}
	var done []mirror.Settlement
	var out []*sending
	for _, c := range claim.Changes {
		r := found[sobject.ID(c.SFID)]
		if r != nil && r.deleted || r == nil && (wasDeleted(c) || listed[sobject.ID(c.SFID)]) {
			d := s.settlement(claim, c, mirror.Already)
			d.Reason = reasonDeleted
			done = append(done, d)
			continue
		}
		reason := ""
		if !s.object.DeleteAllowed {
			reason = fmt.Sprintf("Deleting a %s here does not delete it in Salesforce: that is set for this object.", s.label())
		} else if field := s.changedSince(c, r); field != "" {
			reason = fmt.Sprintf("%s was changed in Salesforce since, and Salesforce wins: that is set for this object.", field)
		}
		if reason == "" {
			snd := &sending{change: c, done: s.settlement(claim, c, mirror.Accepted), remote: r, unseen: r == nil}
			if r != nil {
				snd.parent = r.parent
			}
			out = append(out, snd)
			continue
		}
		d := s.settlement(claim, c, mirror.Restored)
		if d.Reason = reason; r != nil {
			d.Values, d.Stamp = r.values, r.stamp
		}
		done = append(done, d)
	}
	if err := s.settle(ctx, done); err != nil {
		return 0, err
	}
	return s.write(ctx, claim, out, read)
}

// listedSince is how far back the org's list of deletions is asked: it may go back 15 days.
const listedSince = 15*24*time.Hour - time.Hour

// listedDeleted gives the records that the org's list of deletions has, if some of a claim's are in no query: what was removed for good is only there. An
// org that does not give the list says nothing of them.
func (s *sender) listedDeleted(ctx context.Context, claim mirror.Claim, found map[sobject.ID]*remote) (map[sobject.ID]bool, error) {
	if !slices.ContainsFunc(claim.Changes, func(c mirror.Change) bool { return found[sobject.ID(c.SFID)] == nil && !wasDeleted(c) }) {
		return nil, nil
	}
	now, err := s.serverTime(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.client.Deleted(ctx, s.run.Object, now.Add(-listedSince), now)
	if isAPI(err) && !salesforce.IsTransient(err) && !salesforce.IsHalting(err) {
		s.Log.Debug("the org does not give its list of deletions", "object", s.run.Object, "error", err)
		return nil, nil
	}
	listed := make(map[sobject.ID]bool, len(list.Records))
	for _, r := range list.Records {
		listed[r.ID] = true
	}
	return listed, err
}

// wasDeleted tells whether a row was marked as deleted in Salesforce when it was deleted here.
func wasDeleted(c mirror.Change) bool {
	v := c.Base["IsDeleted"]
	return v != nil && *v == "true"
}

// changedSince names a field that was changed in Salesforce since the deleted row was read, where Salesforce's edit weighs more.
func (s *sender) changedSince(c mirror.Change, r *remote) string {
	if r == nil {
		return ""
	}
	switch s.object.Policy {
	case models.PolicyLocal:
		return ""
	case models.PolicyNewest:
		if !r.modified.IsZero() && s.orgTime(c.LastAt).Truncate(time.Second).After(r.modified.Truncate(time.Second)) {
			return ""
		}
	}
	// A row that was deleted before its new record was read for the first time lacks what Salesforce filled in itself.
	stamp := c.Base["SystemModstamp"]
	if stamp != nil && same(stamp, r.values["SystemModstamp"]) {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(c.Base)) {
		f, ok := s.field(name)
		there, seen := r.values[name]
		if ok && seen && f.Updateable && !same(c.Base[name], there) && (stamp != nil || c.Base[name] != nil) {
			return name
		}
	}
	return ""
}
