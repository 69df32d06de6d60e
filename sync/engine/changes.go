package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// coveredMargin makes up for the minutes that the replication calls round to.
	coveredMargin = time.Minute
)

// readChanges reads what changed since the watermark, deletions included, and moves the watermark.
//
// A record is stamped when it is saved inside its transaction and seen when that commits, so a stamp below the watermark can
// turn up late. The read therefore begins at the start of the oldest transaction that was open before the read that set the
// watermark, as far as the org has told, and at least LookBack below it; records that are already here cost nothing but the reading.
func (p *piece) readChanges(ctx context.Context, mark mirror.Watermark) (outcome, error) {
	now, err := p.serverTime(ctx)
	if err != nil {
		return outcome{}, err
	}
	from := p.changesFrom(mark)
	if p.asksCovered(mark, now) {
		if err := p.askCovered(ctx, now); err != nil {
			return outcome{}, err
		}
	}
	r := reading{kind: mirror.LoadChanges, fields: p.table.Fields(), now: now, more: p.deletions(mark, now)}
	stamp := p.stampField()
	if stamp == "" {
		// Nothing tells what changed: everything is read again. Such objects are small, and unchanged records are not written.
		r.where, r.scoped, r.all = p.where(""), p.filter != "", p.filter != ""
		return p.readQuery(ctx, mark, r)
	}
	since := stamp + " >= " + from.UTC().Format("2006-01-02T15:04:05Z")
	r.where = p.where(since)
	if p.filter == "" {
		return p.readQuery(ctx, mark, r)
	}
	return p.readScoped(ctx, mark, r, since)
}

// changesFrom is how far below the watermark the next reading of changes begins.
func (p *piece) changesFrom(mark mirror.Watermark) time.Time {
	from := mark.At.Add(-p.LookBack)
	if covered := mark.CoveredAt.Add(-coveredMargin); !mark.CoveredAt.IsZero() && covered.Before(from) {
		from = covered
	}
	return from
}

// scopeCalls bounds how many pages of ids one read of changes asks for.
const scopeCalls = 10

// readScoped reads changes where the object has a filter. Salesforce does not say that a record left it, so the ids of all that
// changed are asked for first: those here that the reading then does not bring have left. Mostly nothing changed, and that one call
// is all. The ids come before the records: what changes between the two is judged by the later. If a great deal changed,
// everything that meets the filter is read instead, which costs a few calls of Bulk.
func (p *piece) readScoped(ctx context.Context, mark mirror.Watermark, r reading, since string) (outcome, error) {
	soql := "SELECT Id FROM " + p.run.Object + " WHERE " + since
	for page, err := range p.client.QueryRows(ctx, []string{"Id"}, soql, true) {
		if err != nil {
			return outcome{}, err
		}
		if page.TotalSize > scopeCalls*p.BulkAbove {
			r.where, r.candidates, r.all = p.where(""), nil, true
			break
		}
		for {
			cells, err := page.Rows.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return outcome{}, err
			}
			if len(cells) > 0 && len(cells[0]) > 0 {
				id, err := sobject.ParseID(string(cells[0]))
				if err != nil {
					return outcome{}, fmt.Errorf("the org names a record of %s that has no id: %w", p.run.Object, err)
				}
				r.candidates = append(r.candidates, string(id))
			}
		}
	}
	if len(r.candidates) == 0 && !r.all {
		return p.applyPages(ctx, mark, r, "")
	}
	r.scoped = true
	return p.readQuery(ctx, mark, r)
}

// stampField names the field that changes are followed by: SystemModstamp, which moves with automation too, or the next best.
func (p *piece) stampField() string {
	for _, name := range []string{"SystemModstamp", "LastModifiedDate", "CreatedDate"} {
		if f, ok := p.table.Schema().Field(name); ok && f.Filterable {
			return name
		}
	}
	return ""
}
