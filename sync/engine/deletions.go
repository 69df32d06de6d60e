package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

const (
	// deletedOverlap is how far back /deleted is asked again: Salesforce trims its log in steps of two hours.
	deletedOverlap = 2 * time.Hour
	// deletedReach is how far back Salesforce answers at all, less a day for the time that passes meanwhile.
	deletedReach = 14 * 24 * time.Hour
	// refusedAgain is when an object that refused a replication call is asked again.
	refusedAgain = 24 * time.Hour
	// idsAtOnce is how many records one query asks for by their ids: their address stays well below MaxURL.
	idsAtOnce = 400
	// verifyMost bounds what the list of deletions is verified against: beyond it the list is believed, as it is proof (Invariant 8).
	verifyMost = 10_000
)

// asksDeleted tells whether the org's list of deletions is asked in this read: always for objects whose records do not say that
// they are deleted, in turn for the rest, to catch what was purged at once; and not where it was refused lately.
func (p *piece) asksDeleted(mark mirror.Watermark, now time.Time) bool {
	if !p.table.Schema().Replicateable || !p.args.AskDeleted && !listsAlways(p.table) {
		return false
	}
	if refusesDeleted(mark, now) {
		return false
	}
	// The list begins at its floor, and a window has at least two minutes: see salesforce.Client.Deleted.
	return mark.DeletedFloor.IsZero() || now.Truncate(time.Minute).Sub(mark.DeletedFloor.Truncate(time.Minute)) >= 2*time.Minute
}

// listsAlways tells whether nothing but the org's list tells an object's deletions. Salesforce deactivates users, and never deletes one.
func listsAlways(t *mirror.Table) bool { return !t.HasIsDeleted() && t.Object() != "User" }

func refusesDeleted(mark mirror.Watermark, now time.Time) bool {
	return !mark.DeletedRefusedAt.IsZero() && now.Sub(mark.DeletedRefusedAt) < refusedAgain
}

// deletedFrom is where the list of deletions is asked from, and whether deletions may be lost before it.
func deletedFrom(mark mirror.Watermark, now time.Time) (from time.Time, lost bool) {
	from = mark.DeletedThrough
	if from.IsZero() {
		from = mark.At
	}
	lost = from.Before(now.Add(-deletedReach))
	from = from.Add(-deletedOverlap)
	if limit := now.Add(-deletedReach); from.Before(limit) {
		from = limit
	}
	if from.Before(mark.DeletedFloor) {
		from = mark.DeletedFloor
	}
	return from, lost
}

// deletions gives the part of the read that asks the org's list of deletions, nil when it is not asked.
func (p *piece) deletions(mark mirror.Watermark, now time.Time) extra {
	if !p.asksDeleted(mark, now) {
		return nil
	}
	return func(ctx context.Context, batch *mirror.ChangeBatch) (int64, error) {
		from, lost := deletedFrom(mark, now)
		deleted, err := p.client.Deleted(ctx, p.run.Object, from, now)
		switch {
		case err == nil:
		case salesforce.IsTransient(err) || salesforce.IsHalting(err):
			return 0, err
		case salesforce.HasCode(err, salesforce.CodeInvalidReplication, salesforce.CodeExceededIDLimit):
			// The org no longer has what was deleted since, or cannot tell it: all ids are compared instead.
			p.Log.Warn("the org's list of deletions has lost some; all ids are compared", "object", p.run.Object, "error", err)
			if err := batch.DeletionsLost(ctx, now); err != nil {
				return 0, err
			}
			return 0, batch.DeletedThrough(ctx, now, now)
		default:
			p.Log.Warn("the org does not give its list of deletions; it is asked again in a day", "object", p.run.Object, "error", err)
			return 0, batch.DeletedRefused(ctx, now)
		}
		if !mark.DeletedThrough.IsZero() && deleted.EarliestDateAvailable.After(mark.DeletedThrough) && deleted.EarliestDateAvailable.After(mark.DeletedFloor) {
			lost = true
		}
		if lost {
			p.Log.Warn("the org's list of deletions has lost some; all ids are compared", "object", p.run.Object, "earliest", deleted.EarliestDateAvailable)
			if err := batch.DeletionsLost(ctx, deleted.EarliestDateAvailable); err != nil {
				return 0, err
			}
		}
		ids := make([]mirror.DeletedID, len(deleted.Records))
		for i, r := range deleted.Records {
			ids[i] = mirror.DeletedID{ID: r.ID, At: r.DeletedAt}
		}
		if ids, err = p.verifyDeleted(ctx, batch, ids); err != nil {
			return 0, err
		}
		n, err := batch.Tombstone(ctx, ids)
		if err != nil {
			return 0, err
		}
		return n, batch.DeletedThrough(ctx, deleted.LatestDateCovered, now)
	}
}

// verifyDeleted leaves out of a list of deletions the records that live: the list keeps those that were undeleted, and its times are
// too coarse to tell which came last. Only what lives here is asked for, which is mostly nothing: the records themselves said before
// that they are deleted.
func (p *piece) verifyDeleted(ctx context.Context, batch *mirror.ChangeBatch, listed []mirror.DeletedID) ([]mirror.DeletedID, error) {
	fresh, err := batch.Unmarked(ctx, listed)
	if err != nil || len(fresh) == 0 || len(fresh) > verifyMost {
		return listed, err
	}
	ids := make([]sobject.ID, len(fresh))
	for i, d := range fresh {
		ids[i] = d.ID
	}
	alive, err := p.alive(ctx, ids)
	switch {
	case err != nil && isAPI(err) && !salesforce.IsTransient(err) && !salesforce.IsHalting(err):
		p.Log.Warn("the org does not answer for records by their ids; its list of deletions is believed", "object", p.run.Object, "error", err)
		return listed, nil
	case err != nil || len(alive) == 0:
		return listed, err
	}
	kept := listed[:0:0]
	for _, d := range listed {
		if !alive[d.ID] {
			kept = append(kept, d)
		}
	}
	return kept, nil
}

// alive asks the org for records by their ids, deleted and archived ones too and without the row filter, and gives those that live.
func (p *piece) alive(ctx context.Context, ids []sobject.ID) (map[sobject.ID]bool, error) {
	alive := map[sobject.ID]bool{}
	columns := p.idColumns()
	for len(ids) > 0 {
		n := min(len(ids), idsAtOnce)
		soql := "SELECT " + strings.Join(columns, ",") + " FROM " + p.run.Object + " WHERE Id IN (" + quoteIDs(ids[:n]) + ")"
		ids = ids[n:]
		for page, err := range p.client.QueryRows(ctx, columns, soql, true) {
			if err != nil {
				return nil, err
			}
			err := eachRow(page.Rows, func(cells [][]byte) error {
				id, err := sobject.ParseID(string(cells[0]))
				if err != nil {
					return fmt.Errorf("read back ids of %s: %w", p.run.Object, err)
				}
				if len(cells) < 2 || string(cells[1]) != "true" {
					alive[id] = true
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return alive, nil
}

// idColumns are the fields that tell of a record only that it is there.
func (p *piece) idColumns() []string {
	if _, ok := p.table.Schema().Field("IsDeleted"); ok && p.table.HasIsDeleted() {
		return []string{"Id", "IsDeleted"}
	}
	return []string{"Id"}
}

func quoteIDs(ids []sobject.ID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("'" + string(id) + "'")
	}
	return b.String()
}

// setRules tells the mirror what the admin chose for the object's deleted records, and how many deletions at once need a yes.
func (p *piece) setRules(ctx context.Context, o models.Object) error {
	percent, err := p.Models.BrakePercent(ctx)
	if err != nil {
		return err
	}
	rules := mirror.Rules{Remove: o.OnDeleted == models.RemoveDeleted, Brake: mirror.Brake{Percent: percent}, Filter: o.RowFilter}
	if err := p.Mirror.SetRules(ctx, p.run.Object, rules); err != nil {
		return err
	}
	// A filter that was saved since this piece looked has been told to the mirror by another piece, perhaps, and taken back by this one.
	now, err := p.Models.Object(ctx, p.run.Object)
	if err != nil {
		return err
	}
	if now.RowFilter != o.RowFilter {
		return fmt.Errorf("%w: the filter of %s was saved meanwhile", mirror.ErrStale, p.run.Object)
	}
	return p.Mirror.AbandonOtherFilters(ctx, p.run.Object, o.RowFilter)
}
