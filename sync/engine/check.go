package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// pieceSpan is how long one piece of a check or of what it mends goes on before it makes room for others.
	pieceSpan = 20 * time.Second
	// recordsAtOnce is how many records are read by their ids with one query.
	recordsAtOnce = 200
	// roundMax is how often a check looks at a record that changes in Salesforce each time.
	roundMax = 4
	// catchUpMax is how long a check waits for the object's next reading.
	catchUpMax = 30 * time.Minute
)

// check compares an object's table with the org. The org has no digest to ask for, so its records are read, all of them, with
// every synced field: by REST for few, one call for 2,000 records at most; by Bulk for many, one call for PageRows records and
// some four for the job. Of each record the id and a digest are kept, in the database: the program's memory holds one
// record. Then the table is streamed beside them, one range of ids after another.
//
// What differs at first sight is not told: both sides go on while a check runs. Each such record is read again by its id, and
// once more after a reading of changes that began later. Only what is in the org as it was the first time, and still differs
// here although the mirror has caught up, is a difference.
func (p *piece) check(ctx context.Context) (outcome, error) {
	if mend, _ := p.run.Cursor["mend"].(bool); mend {
		return p.mend(ctx)
	}
	turn, err := p.Models.FirstOfKind(ctx, p.run)
	if err != nil || !turn {
		return outcome{after: 2 * time.Second}, err
	}
	mark, err := p.Mirror.Watermark(ctx, p.run.Object)
	if err != nil {
		return outcome{}, err
	}
	if !mark.Known {
		return outcome{}, objectError("%s was not read yet, so there is nothing to compare with Salesforce; its first sync comes with the next cycle", p.run.Object)
	}
	c, begun, err := p.Mirror.CheckOf(ctx, p.run.ID)
	switch {
	case err != nil:
		return outcome{}, err
	case !begun:
		return p.beginCheck(ctx)
	case c.State == mirror.CheckReading:
		return p.readCheck(ctx, c)
	case c.State == mirror.CheckComparing:
		return p.compareCheck(ctx, c)
	case c.State == mirror.CheckVerifying:
		return p.verifyCheck(ctx, c)
	}
	return p.finishCheck(ctx)
}

func (p *piece) checkProgress(ctx context.Context, c mirror.Check) error {
	r := models.RunProgress{Phase: models.PhaseReading, Expected: c.Expected, Read: c.Read}
	if c.State == mirror.CheckReading && c.Read == 0 {
		r.Phase = models.PhasePreparing
	} else if c.State != mirror.CheckReading {
		r.Phase = models.PhaseComparing
	}
	return p.progress(ctx, r)
}

// beginCheck begins to read the org's records. The first page of a REST query tells how many there are.
func (p *piece) beginCheck(ctx context.Context) (outcome, error) {
	c := mirror.Check{Object: p.run.Object, RunID: p.run.ID, Fields: p.table.Compared()}
	condition := reading{where: p.where("")}.condition()
	soql := selectFields(c.Fields, p.run.Object) + condition
	if p.client.QueryURLLen(soql) > salesforce.MaxURL {
		n, err := p.client.CountAll(ctx, "SELECT COUNT() FROM "+p.run.Object+condition)
		if err != nil {
			return outcome{}, err
		}
		return p.beginBulkCheck(ctx, c, soql, int64(n))
	}
	var batch *mirror.CheckBatch
	defer func() {
		if batch != nil {
			batch.Rollback()
		}
	}()
	for page, err := range p.client.QueryRows(ctx, c.Fields, soql, true) {
		if err != nil {
			return outcome{}, err
		}
		if batch == nil {
			c.Expected = int64(max(page.TotalSize, 0))
			if page.TotalSize > p.BulkAbove {
				return p.beginBulkCheck(ctx, c, soql, c.Expected)
			}
			var err error
			if c, err = p.Mirror.StartCheck(ctx, c); err != nil {
				return outcome{}, err
			}
			if batch, err = p.Mirror.CheckBatch(ctx, c); err != nil {
				return outcome{}, err
			}
		}
		if err := batch.Take(ctx, page.Rows); err != nil {
			return outcome{}, err
		}
		if p.many(page) {
			// The org tells only behind the records how many there are, or not at all.
			batch.Rollback()
			if err := p.Mirror.DropCheck(ctx, c.ID); err != nil {
				return outcome{}, err
			}
			return p.beginBulkCheck(ctx, c, soql, int64(max(page.TotalSize, 0)))
		}
		if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseReading, Expected: c.Expected}); err != nil {
			return outcome{}, err
		}
	}
	if batch == nil {
		return outcome{}, errors.New("the org's answer held no page")
	}
	c, err := batch.Commit(ctx, "", true)
	if err != nil {
		return outcome{}, err
	}
	return p.compareCheck(ctx, c)
}

// beginBulkCheck begins to read many records: by a Bulk job, or by REST in pieces where Bulk does not read the object.
func (p *piece) beginBulkCheck(ctx context.Context, c mirror.Check, soql string, expected int64) (outcome, error) {
	job, err := p.job(ctx, soql)
	if err != nil {
		return outcome{}, err
	}
	c.JobID, c.Expected = job, expected
	if c, err = p.Mirror.StartCheck(ctx, c); err != nil {
		return outcome{}, err
	}
	p.Log.Info("check started", "object", p.run.Object, "run", p.run.ID, "records", expected, "job", c.JobID)
	return p.readCheck(ctx, c)
}

// readCheck reads the next pages of a check: of its Bulk job's result, or by REST the records behind the last id.
func (p *piece) readCheck(ctx context.Context, c mirror.Check) (outcome, error) {
	again := outcome{after: time.Second}
	if err := p.checkProgress(ctx, c); err != nil {
		return outcome{}, err
	}
	if c.Page == 0 && c.JobID != "" {
		job, err := p.awaitJob(ctx, mirror.Load{JobID: c.JobID, StartedAt: c.StartedAt})
		switch {
		case isCode(err, "NOT_FOUND"):
			return again, p.Mirror.DropCheck(ctx, c.ID)
		case err != nil:
			return outcome{}, err
		case jobRefused(job):
			if err := p.Mirror.DropCheck(ctx, c.ID); err != nil {
				return outcome{}, err
			}
			return outcome{}, errNotByBulk
		case job.Err() != nil:
			return outcome{}, errors.Join(objectError("Salesforce ended the bulk job %s of the check: %w", c.JobID, job.Err()), p.Mirror.DropCheck(ctx, c.ID))
		case job.State != salesforce.JobComplete:
			return outcome{after: p.pollAfter(time.Since(c.StartedAt))}, nil
		}
		c.Expected = job.RecordsProcessed
		if err := p.Mirror.SetCheckExpected(ctx, c.ID, c.Expected); err != nil {
			return outcome{}, err
		}
	}
	for began := time.Now(); c.State == mirror.CheckReading; {
		if time.Since(began) > pieceSpan {
			return outcome{after: 10 * time.Millisecond}, nil
		}
		var err error
		c, err = p.readCheckPage(ctx, c)
		if c.JobID == "" && isFieldGone(err) {
			// The object is described anew, and compared by what it has now.
			return outcome{}, errors.Join(err, p.Mirror.DropCheck(ctx, c.ID))
		}
		if c.JobID != "" && (salesforce.IsLocatorGone(err) || isCode(err, "NOT_FOUND")) {
			return again, p.Mirror.DropCheck(ctx, c.ID)
		}
		if err != nil {
			return outcome{}, err
		}
		if err := p.checkProgress(ctx, c); err != nil {
			return outcome{}, err
		}
	}
	if c.JobID == "" {
		return p.compareCheck(ctx, c)
	}
	if c.Read != c.Expected {
		reason := objectError("Salesforce's bulk job %s says %d records, but its pages held %d; the check is worth nothing", c.JobID, c.Expected, c.Read)
		return outcome{}, errors.Join(reason, p.Mirror.DropCheck(ctx, c.ID))
	}
	if err := p.client.DeleteQueryJob(ctx, c.JobID); err != nil {
		p.Log.Debug("the finished bulk job stays in the org until Salesforce removes it", "job", c.JobID, "error", err)
	}
	return p.compareCheck(ctx, c)
}

func (p *piece) readCheckPage(ctx context.Context, c mirror.Check) (mirror.Check, error) {
	if c.JobID == "" {
		return p.readCheckPiece(ctx, c)
	}
	result, err := p.client.QueryResults(ctx, c.JobID, c.Locator, p.PageRows)
	if err != nil {
		return c, err
	}
	defer result.Close()
	batch, err := p.Mirror.CheckBatch(ctx, c)
	if err != nil {
		return c, err
	}
	defer batch.Rollback()
	// The last page may hold nothing, not even its header.
	if len(result.Rows.Columns()) > 0 {
		if err := batch.Take(ctx, result.Rows); err != nil {
			return c, err
		}
	}
	return batch.Commit(ctx, result.Locator, result.Locator == "")
}

func (p *piece) readCheckPiece(ctx context.Context, c mirror.Check) (mirror.Check, error) {
	rows, err := p.behind(ctx, c.Fields, p.where(""), c.Locator)
	if err != nil {
		return c, err
	}
	defer rows.close()
	batch, err := p.Mirror.CheckBatch(ctx, c)
	if err != nil {
		return c, err
	}
	defer batch.Rollback()
	if err := batch.Take(ctx, rows); err != nil {
		return c, err
	}
	next, more := rows.more()
	return batch.Commit(ctx, next, !more)
}

// compareCheck compares ranges of ids until all are compared, or the piece has gone on for long enough.
func (p *piece) compareCheck(ctx context.Context, c mirror.Check) (outcome, error) {
	for began := time.Now(); c.State == mirror.CheckComparing; {
		if time.Since(began) > pieceSpan {
			return outcome{after: 10 * time.Millisecond}, nil
		}
		next, err := p.Mirror.CompareRange(ctx, c, p.SuspectMax)
		if errors.Is(err, mirror.ErrNoLoad) {
			p.Log.Warn("what a check had read got lost; it begins anew", "object", p.run.Object, "run", p.run.ID)
			return outcome{after: time.Second}, p.Mirror.DropCheck(ctx, c.ID)
		}
		if err != nil {
			return outcome{}, err
		}
		c = next
		if err := p.checkProgress(ctx, c); err != nil {
			return outcome{}, err
		}
	}
	return p.verifyCheck(ctx, c)
}

// verifyCheck looks again at what differed: round by round, each after a reading of changes that began after the round before.
func (p *piece) verifyCheck(ctx context.Context, c mirror.Check) (outcome, error) {
	if c.Round == 0 {
		return outcome{after: time.Millisecond}, p.Mirror.NextRound(ctx, c)
	}
	for began := time.Now(); ; {
		suspects, err := p.Mirror.Suspects(ctx, c.ID, c.Round, recordsAtOnce)
		if err != nil {
			return outcome{}, err
		}
		if len(suspects) == 0 {
			break
		}
		news, err := p.look(ctx, c, suspects)
		if err != nil {
			return outcome{}, err
		}
		if err := p.Mirror.NoteCheck(ctx, c, news); err != nil {
			return outcome{}, err
		}
		if time.Since(began) > pieceSpan {
			return outcome{after: 10 * time.Millisecond}, nil
		}
	}
	left, err := p.Mirror.Suspects(ctx, c.ID, c.Round+1, 1)
	if err != nil {
		return outcome{}, err
	}
	if len(left) == 0 {
		return p.finishCheck(ctx)
	}
	if c.RoundAt.IsZero() {
		if err := p.Mirror.RoundOver(ctx, c, p.Models.Now()); err != nil {
			return outcome{}, err
		}
		return outcome{after: 100 * time.Millisecond}, p.Models.AskCycle(ctx)
	}
	caughtUp, failure, err := p.Models.ReadSince(ctx, p.run.Object, c.RoundAt)
	if err != nil {
		return outcome{}, err
	}
	if failure != "" {
		// Whoever asked for the check waits for its end; a reading that failed fails again until somebody mends what it says.
		reason := objectError("%s could not be read, so the check cannot tell a difference from a change that is still to come: %s", p.run.Object, failure)
		return outcome{}, errors.Join(reason, p.Mirror.DropCheck(ctx, c.ID))
	}
	if caughtUp {
		return outcome{after: time.Millisecond}, p.Mirror.NextRound(ctx, c)
	}
	if p.Models.Now().Sub(c.RoundAt) > catchUpMax {
		return outcome{}, objectError("%s was not read for %s, so the check cannot tell a difference from a change that is still to come", p.run.Object, catchUpMax)
	}
	return outcome{after: 500 * time.Millisecond}, nil
}

// look compares some records on both sides as they are now. Formulas may differ without anyone's fault, for they change without
// the record's stamp: such records are brought up to date on the way.
func (p *piece) look(ctx context.Context, c mirror.Check, suspects []mirror.Suspect) (mirror.CheckNews, error) {
	var news mirror.CheckNews
	ids := make([]string, len(suspects))
	for i, s := range suspects {
		ids[i] = s.SFID
	}
	there, err := p.readByID(ctx, c.Fields, ids)
	if err != nil {
		return news, err
	}
	judge, err := p.judge(ctx, c.Fields, ids)
	if err != nil {
		return news, err
	}
	var formulas []mirror.Suspect
	for _, s := range suspects {
		v, err := judge(s.SFID, there[s.SFID])
		if err != nil {
			return news, err
		}
		if v.OnlyFormulas {
			formulas = append(formulas, s)
			continue
		}
		news = settleSuspect(news, c, s, v, there[s.SFID] != nil)
	}
	if len(formulas) == 0 {
		return news, nil
	}
	stale := make([]string, len(formulas))
	for i, s := range formulas {
		stale[i] = s.SFID
	}
	if there, err = p.applyByID(ctx, stale, false); err != nil {
		return news, err
	}
	if judge, err = p.judge(ctx, p.table.Fields(), stale); err != nil {
		return news, err
	}
	for _, s := range formulas {
		v, err := judge(s.SFID, there[s.SFID])
		if err != nil {
			return news, err
		}
		if len(v.Differences) == 0 {
			news.Refreshed++
		}
		news = settleSuspect(news, c, s, v, there[s.SFID] != nil)
	}
	return news, nil
}

// settleSuspect decides what becomes of a suspect after one look: cleared, found to differ, or looked at again.
func settleSuspect(news mirror.CheckNews, c mirror.Check, s mirror.Suspect, v mirror.Verdict, inOrg bool) mirror.CheckNews {
	same := s.Round > 0 && (s.Digest == nil && !inOrg || s.Digest != nil && inOrg && *s.Digest == v.Digest)
	switch {
	case len(v.Differences) == 0:
		if v.Explained {
			news.Explained++
		}
		news.Cleared = append(news.Cleared, s.SFID)
	case same:
		// The org says what it said before the mirror caught up.
		news.Found = append(news.Found, v.Differences...)
	case c.Round >= roundMax:
		news.Moving++
		news.Cleared = append(news.Cleared, s.SFID)
	default:
		again := mirror.Suspect{SFID: s.SFID}
		if inOrg {
			again.Digest = &v.Digest
		}
		news.Again = append(news.Again, again)
	}
	return news
}

// judge gives a func that compares a record's cells from the org, of the fields in their order, with the record as it is here now.
func (p *piece) judge(ctx context.Context, fields, ids []string) (func(id string, there [][]byte) (mirror.Verdict, error), error) {
	object, err := p.Models.Object(ctx, p.run.Object)
	if err != nil {
		return nil, err
	}
	here, deleting, deleted, err := p.Mirror.LocalRecords(ctx, p.table, fields, ids)
	if err != nil {
		return nil, err
	}
	return func(id string, there [][]byte) (mirror.Verdict, error) {
		var local *mirror.LocalRecord
		if r, ok := here[id]; ok {
			local = &r
		}
		return p.table.Judge(fields, id, local, there, deleting[id], deleted[id] || object.OnDeleted == models.RemoveDeleted)
	}, nil
}

func (p *piece) finishCheck(ctx context.Context) (outcome, error) {
	c, _, err := p.Mirror.CheckOf(ctx, p.run.ID)
	if err != nil {
		return outcome{}, err
	}
	if err := p.Mirror.FinishCheck(ctx, c); err != nil {
		return outcome{}, err
	}
	differing := c.Differing + c.Unlooked
	return p.finish(ctx, mirror.Result{Read: c.Read, Changed: c.Refreshed, Unchanged: max(c.Read-c.Refreshed-differing, 0), Refused: differing})
}

// mend reads the records again that the last check found to differ, and makes them here what they are in the org; then, range by range,
// those that it did not look at one by one. What the org does not have is not deleted for that: it may only be hidden. A sweep of
// all ids is asked for, which is proof (Invariant 8).
func (p *piece) mend(ctx context.Context) (outcome, error) {
	for began := time.Now(); ; {
		if time.Since(began) > pieceSpan {
			return outcome{after: 10 * time.Millisecond}, nil
		}
		more, err := p.mendListed(ctx)
		if err == nil && !more {
			more, err = p.mendRange(ctx)
		}
		if err != nil {
			return outcome{}, err
		}
		read, changed, refused := p.note("read"), p.note("changed"), p.note("refused")
		if !more {
			if p.note("extra") > 0 {
				// A sweep run that waits for a person is the answer to the request: that one is wanted tells it to compare first.
				if err := p.Mirror.WantSweep(ctx, p.run.Object); err != nil {
					return outcome{}, err
				}
				if _, err := p.Models.RequestRun(ctx, p.run.Object, models.RunSweep, p.run.RequestedBy); err != nil {
					return outcome{}, err
				}
			}
			return p.finish(ctx, mirror.Result{Read: read, Changed: changed, Refused: refused, Unchanged: max(read-changed-refused, 0)})
		}
		if err := p.progress(ctx, models.RunProgress{Phase: models.PhaseComparing, Read: read, Changed: changed, Refused: refused}); err != nil {
			return outcome{}, err
		}
	}
}

// mendListed mends some of the records that differ, behind those that it was at before; false if none is left.
func (p *piece) mendListed(ctx context.Context) (more bool, err error) {
	after, _ := p.run.Cursor["after"].(string)
	ids, extra, err := p.Mirror.DifferingRecords(ctx, p.run.Object, after, recordsAtOnce)
	if err != nil || len(ids) == 0 {
		return false, err
	}
	there, err := p.applyByID(ctx, ids, true)
	if err != nil {
		return false, err
	}
	judge, err := p.judge(ctx, p.table.Fields(), ids)
	if err != nil {
		return false, err
	}
	var still []mirror.Difference
	var changed, refused int64
	for _, id := range ids {
		v, err := judge(id, there[id])
		if err != nil {
			return false, err
		}
		if len(v.Differences) > 0 {
			refused++
			still = append(still, v.Differences...)
		} else {
			changed++
		}
	}
	if err := p.Mirror.Mended(ctx, mirror.Check{Object: p.run.Object}, ids, still); err != nil {
		return false, err
	}
	notes := map[string]int64{"read": int64(len(ids)), "changed": changed, "refused": refused, "extra": int64(extra)}
	return true, p.addNotes(ctx, notes, "after", ids[len(ids)-1])
}

// mendRange mends a piece of a range that holds more suspects than were looked at: its records are read in the order of their ids, and
// those that differ are overwritten; false if no range is left. Both sides are read under the object's lock, as in applyByID.
func (p *piece) mendRange(ctx context.Context) (more bool, err error) {
	r, ok, err := p.Mirror.NextRange(ctx, p.run.Object)
	if err != nil || !ok {
		return false, err
	}
	batch, err := p.Mirror.Changes(ctx, p.run.Object)
	if err != nil {
		return false, err
	}
	defer batch.Rollback()
	if err := batch.ByFilter(ctx, p.filter); err != nil {
		return false, err
	}
	mark, err := p.Mirror.Watermark(ctx, p.run.Object)
	if err != nil {
		return false, err
	}
	within := ""
	if r.UpTo != "" {
		within = "Id <= '" + r.UpTo + "'"
	}
	fields := p.table.Fields()
	rows, err := p.behind(ctx, fields, p.where(within), r.After)
	if err != nil {
		return false, err
	}
	defer rows.close()
	kept := &keptRows{columns: fields}
	if err := eachRow(rows, kept.keep); err != nil {
		return false, err
	}
	ids := make([]string, len(kept.rows))
	for i, cells := range kept.rows {
		id, err := sobject.ParseID(string(cells[0]))
		if err != nil {
			return false, fmt.Errorf("the org names a record of %s that has no id: %w", p.run.Object, err)
		}
		ids[i] = string(id)
	}
	judge, err := p.judge(ctx, fields, ids)
	if err != nil {
		return false, err
	}
	differ := &recordRows{columns: fields}
	var wrong []string
	for i, cells := range kept.rows {
		v, err := judge(ids[i], cells)
		if err != nil {
			return false, err
		}
		if len(v.Differences) > 0 {
			differ.records = append(differ.records, cells)
			wrong = append(wrong, ids[i])
		}
	}
	if len(wrong) > 0 {
		if err := batch.Force(ctx, wrong); err != nil {
			return false, err
		}
		if _, err := batch.Apply(ctx, differ); err != nil {
			return false, err
		}
	}
	if err := batch.Commit(ctx, mark.At, mark.At); err != nil {
		return false, err
	}
	upTo, goesOn := rows.more()
	if !goesOn || upTo == r.UpTo {
		upTo = "" // behind it the next range begins
	}
	if err := p.Mirror.RangeMended(ctx, r, upTo); err != nil {
		return false, err
	}
	// Whether some of the range are here and not in the org, the sweep tells.
	return true, p.addNotes(ctx, map[string]int64{"read": int64(len(ids)), "changed": int64(len(wrong)), "extra": 1})
}

// addNotes adds to numbers of the run's cursor.
func (p *piece) addNotes(ctx context.Context, notes map[string]int64, texts ...string) error {
	for name, n := range notes {
		notes[name] = p.note(name) + n
	}
	return p.setNote(ctx, notes, texts...)
}

// applyByID reads records by their ids and applies them; it gives their cells, of the table's fields in their order. The object's
// lock is taken before the org is asked, so that what is here can only be as old or older than the answer: with force it is
// overwritten even where it claims to be newer.
func (p *piece) applyByID(ctx context.Context, ids []string, force bool) (map[string][][]byte, error) {
	batch, err := p.Mirror.ByID(ctx, p.run.Object)
	if err != nil {
		return nil, err
	}
	defer batch.Rollback()
	mark, err := p.Mirror.Watermark(ctx, p.run.Object)
	if err != nil {
		return nil, err
	}
	fields := p.table.Fields()
	there, err := p.readByID(ctx, fields, ids)
	if err != nil {
		return nil, err
	}
	rows := &recordRows{columns: fields}
	var found []string
	for _, id := range ids {
		if cells, ok := there[id]; ok {
			rows.records = append(rows.records, cells)
			found = append(found, id)
		}
	}
	if len(found) == 0 {
		return there, nil
	}
	if force {
		if err := batch.Force(ctx, found); err != nil {
			return nil, err
		}
	}
	if _, err := batch.Apply(ctx, rows); err != nil {
		return nil, err
	}
	return there, batch.Commit(ctx, mark.At, mark.At)
}

// readByID gives the cells of the org's records with the ids, deleted ones too, of the fields in their order; what the org does not
// have is not in it. Fields that do not fit one address are asked for by several queries.
func (p *piece) readByID(ctx context.Context, fields, ids []string) (map[string][][]byte, error) {
	records := map[string][][]byte{}
	seen := map[string]int{}
	groups := p.fieldGroups(fields, ids)
	for _, group := range groups {
		at := map[string]int{}
		for i, f := range fields {
			at[f] = i
		}
		for page, err := range p.client.QueryRows(ctx, group, selectFields(group, p.run.Object)+whereID(ids), true) {
			if err != nil {
				return nil, err
			}
			for {
				cells, err := page.Rows.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return nil, err
				}
				id, err := sobject.ParseID(string(cells[0]))
				if err != nil {
					return nil, fmt.Errorf("the org names a record of %s that has no id: %w", p.run.Object, err)
				}
				record := records[string(id)]
				if record == nil {
					record = make([][]byte, len(fields))
					records[string(id)] = record
				}
				for i, cell := range cells {
					record[at[group[i]]] = bytes.Clone(cell)
				}
				seen[string(id)]++
			}
		}
	}
	for id, n := range seen {
		if n != len(groups) {
			delete(records, id) // it went or came between two queries
		}
	}
	return records, nil
}

// fieldGroups splits fields, Id first in each group, until a query for each fits an address.
func (p *piece) fieldGroups(fields, ids []string) [][]string {
	if len(fields) <= 2 || p.client.QueryURLLen(selectFields(fields, p.run.Object)+whereID(ids)) <= salesforce.MaxURL {
		return [][]string{fields}
	}
	rest := fields[1:]
	half := len(rest) / 2
	a := append([]string{fields[0]}, rest[:half]...)
	b := append([]string{fields[0]}, rest[half:]...)
	return append(p.fieldGroups(a, ids), p.fieldGroups(b, ids)...)
}

func selectFields(fields []string, object string) string {
	return "SELECT " + joined(fields, ",", "") + " FROM " + object
}

func whereID(ids []string) string { return " WHERE Id IN (" + joined(ids, ",", "'") + ")" }

func joined(list []string, between, around string) string {
	var b bytes.Buffer
	for i, s := range list {
		if i > 0 {
			b.WriteString(between)
		}
		b.WriteString(around + s + around)
	}
	return b.String()
}

// recordRows are records that were read already, as a page.
type recordRows struct {
	columns []string
	records [][][]byte
}

func (r *recordRows) Columns() []string { return r.columns }

func (r *recordRows) Next() ([][]byte, error) {
	if len(r.records) == 0 {
		return nil, io.EOF
	}
	cells := r.records[0]
	r.records = r.records[1:]
	return cells, nil
}

// requestDue asks for what is due by the clock: the nightly check of each object, and readings of formula fields.
func (e *Engine) requestDue(ctx context.Context) error {
	if now := time.Now(); now.Sub(e.dueAt) < dueEvery {
		return nil
	} else {
		e.dueAt = now
	}
	if err := e.Models.RequestChecksDue(ctx); err != nil {
		return err
	}
	return e.Models.RequestFormulasDue(ctx)
}

// dueEvery is how often it is looked whether something is due by the clock.
const dueEvery = 20 * time.Second
