package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// What Bulk does not read comes by REST, in pieces in the order of the ids: each asks for so many records behind the last id of the
// piece before. That id is the whole cursor. It is kept with the records (Invariant 1), any worker goes on from it after whatever
// death, and it never expires, as a query locator does. What is made, changed or deleted behind the cursor while the pieces go on is
// stamped later than the reading's beginning, and so for the readings of changes after it.

// restRows is how many records one such piece holds: what one reply of Salesforce does.
const restRows = 2000

// job makes a Bulk job for a query; an empty id tells that the org's Bulk does not take it, and REST has to.
func (p *piece) job(ctx context.Context, soql string) (id string, err error) {
	if p.restOnly {
		return "", nil
	}
	job, err := p.client.CreateQueryJob(ctx, soql, true)
	if refusesBulk(err) {
		p.Log.Info("Bulk does not read this object; REST does, piece by piece", "object", p.run.Object, "run", p.run.ID, "error", err)
		return "", nil
	}
	return job.ID, err
}

// refusesBulk tells whether the org refused a Bulk job for good, so that REST is to be tried: in whatever words, but not because of a
// field, which REST would refuse too, nor for a reason that passes or that concerns the whole connection.
func refusesBulk(err error) bool {
	// LIMIT_EXCEEDED is the day's number of jobs, and passes only with the day.
	if salesforce.IsBulkUnsupported(err) || salesforce.HasCode(err, "LIMIT_EXCEEDED") {
		return true
	}
	var api *salesforce.APIError
	return errors.As(err, &api) && api.Status < 500 && api.Code != salesforce.CodeMalformedReply &&
		!salesforce.IsTransient(err) && !salesforce.IsHalting(err) && !isFieldGone(err)
}

// jobRefused tells the same of a job that the org took and then failed.
func jobRefused(job salesforce.Job) bool {
	return job.State == salesforce.JobFailed && refusesBulk(job.Err())
}

// many tells whether a query's page shows that more records follow than one piece by REST should hold. It is sure once the page was read.
func (p *piece) many(page *salesforce.QueryPage) bool {
	return page.TotalSize > p.BulkAbove || page.TotalSize < 0 && !page.Done
}

// behind opens the records with ids behind the given one, in their order, at most so many as one piece holds. Fields that do not fit
// one address are asked for by several queries.
func (p *piece) behind(ctx context.Context, fields []string, condition, after string) (*keyRows, error) {
	if after != "" {
		if condition != "" {
			condition += " AND "
		}
		condition += "Id > '" + after + "'"
	}
	ask := func(fields []string, n int) string {
		return selectFields(fields, p.run.Object) + reading{where: condition}.condition() + " ORDER BY Id LIMIT " + strconv.Itoa(n)
	}
	n := max(min(restRows, p.PageRows)>>min(p.tries, 4), 1)
	if soql := ask(fields, n); p.client.QueryURLLen(soql) <= salesforce.MaxURL {
		return newKeyRows(fields, n, after, p.client.QueryRows(ctx, fields, soql, true)), nil
	}
	n = min(recordsAtOnce, p.PageRows)
	keys := newKeyRows([]string{"Id"}, n, after, p.client.QueryRows(ctx, []string{"Id"}, ask([]string{"Id"}, n), true))
	defer keys.close()
	var ids []string
	for {
		if _, err := keys.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		ids = append(ids, keys.last)
	}
	there := map[string][][]byte{}
	if len(ids) > 0 {
		var err error
		if there, err = p.readByID(ctx, fields, ids); err != nil {
			return nil, err
		}
	}
	k := &keyRows{columns: fields, limit: n, read: len(ids), last: keys.last, done: true}
	for _, id := range ids {
		if cells, ok := there[id]; ok { // else it went between two queries, which a reading of changes tells
			k.kept = append(k.kept, cells)
		}
	}
	return k, nil
}

// keyRows are the records of one piece. Once they were read to their end, last is where the next piece begins.
type keyRows struct {
	columns []string
	limit   int
	after   string // where it begins
	read    int
	last    string
	done    bool
	kept    [][][]byte
	next    func() (*salesforce.QueryPage, error, bool)
	stop    func()
	page    *salesforce.QueryPage
}

func newKeyRows(columns []string, limit int, after string, pages iter.Seq2[*salesforce.QueryPage, error]) *keyRows {
	k := &keyRows{columns: columns, limit: limit, after: after}
	k.next, k.stop = iter.Pull2(pages)
	return k
}

// Columns names the cells.
func (k *keyRows) Columns() []string { return k.columns }

// Next gives the next record, of whichever page of the query.
func (k *keyRows) Next() ([][]byte, error) {
	if k.done {
		if len(k.kept) == 0 {
			return nil, io.EOF
		}
		cells := k.kept[0]
		k.kept = k.kept[1:]
		return cells, nil
	}
	for {
		if k.page == nil {
			page, err, ok := k.next()
			if !ok {
				k.done = true
				return nil, io.EOF
			}
			if err != nil {
				return nil, err
			}
			k.page = page
		}
		cells, err := k.page.Rows.Next()
		if errors.Is(err, io.EOF) {
			k.page = nil
			continue
		}
		if err != nil {
			return nil, err
		}
		id, err := sobject.ParseID(string(cells[0]))
		if err != nil {
			return nil, fmt.Errorf("the org gives a record without an id: %w", err)
		}
		if string(id) == k.after {
			// Taken on, this would go on for ever.
			return nil, objectError("the org gives the record %s again to whoever asks for the ones behind it: it does not read by the order of ids", id)
		}
		k.read++
		k.last = string(id)
		return cells, nil
	}
}

// more tells, once all were read, whether a further piece follows, and behind which id.
func (k *keyRows) more() (after string, more bool) { return k.last, k.read >= k.limit }

func (k *keyRows) close() {
	if k.stop != nil {
		k.stop()
	}
}

// readRestPage reads one piece of a load that Bulk refused, and queues the one behind it.
func (p *piece) readRestPage(ctx context.Context, load mirror.Load, page mirror.Page) error {
	rows, err := p.behind(ctx, load.Fields, load.Condition(), page.Locator)
	if err != nil {
		return err
	}
	defer rows.close()
	more := false
	_, err = p.Mirror.ApplyPageThen(ctx, load, page, rows, func() (next string, last bool) {
		next, more = rows.more()
		return next, !more
	})
	if err != nil || !more {
		return err
	}
	return p.queuePage(ctx, load, page.Seq+1)
}
