package engine

import (
	"context"

	"github.com/tandem-sync/tandem/sync/mirror"
)

// formulas reads the derived fields of all records again, and only those: formulas, and what Salesforce takes from other records. They change without their record's stamp, so that
// no reading of changes brings them. By REST or beside the cycle by Bulk, whichever is fewer calls; only what differs is written.
//
// Records whose stamp lies where readings of changes still look are left to these: what those bring may be newer than this
// reading's snapshot, under the same stamp, and must not be taken back. What changes its stamp meanwhile is newer here and stays.
func (p *piece) formulas(ctx context.Context) (outcome, error) {
	if o, resumed, err := p.resume(ctx); resumed || err != nil {
		return o, err
	}
	mark, err := p.Mirror.Watermark(ctx, p.run.Object)
	if err != nil {
		return outcome{}, err
	}
	fields := p.derived()
	if len(fields) == 0 || !mark.Known {
		return p.finish(ctx, mirror.Result{})
	}
	now, err := p.serverTime(ctx)
	if err != nil {
		return outcome{}, err
	}
	settled := ""
	if stamp := p.stampField(); stamp != "" {
		settled = stamp + " < " + p.changesFrom(mark).UTC().Format("2006-01-02T15:04:05Z")
	}
	return p.readQuery(ctx, mirror.Watermark{}, reading{kind: mirror.LoadFormulas, fields: p.keyed(fields), where: p.where(settled), now: now})
}

// derived are the fields of the table whose values Salesforce works out.
func (p *piece) derived() []string {
	var names []string
	schema := p.table.Schema()
	for _, name := range p.table.Fields() {
		if f, ok := schema.Field(name); ok && f.Derived() {
			names = append(names, name)
		}
	}
	return names
}
