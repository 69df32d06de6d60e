package mirror

import (
	"context"
	"fmt"
	"time"
)

// linkColumns are the reference columns that people join and look up by, from a person to what hangs on it. Each index costs
// every later write something, so there are no others: none on ownerid (users are few, and a changed owner would no longer be
// a cheap update), and none on systemmodstamp ever, which changes with every write.
var linkColumns = map[string][]string{
	"contact":                {"accountid"},
	"opportunity":            {"accountid"},
	"opportunitycontactrole": {"contactid", "opportunityid"},
	"campaignmember":         {"campaignid", "contactid", "leadid"},
	"campaignmemberstatus":   {"campaignid"},
	"task":                   {"whoid", "whatid"},
	"event":                  {"whoid", "whatid"},
}

// ensureIndexes makes the link indexes that the table lacks. It is called when the first rows are in, because an index that is
// there from the start makes the load a third slower.
func (db *DB) ensureIndexes(ctx context.Context, t *Table) error {
	for _, name := range linkColumns[t.schema.Table()] {
		if !t.has(name) {
			continue
		}
		index := short(t.schema.Table() + "_" + name)
		var have bool
		err := db.pool.QueryRow(ctx, `SELECT to_regclass('salesforce.' || quote_ident($1)) IS NOT NULL`, index).Scan(&have)
		if err == nil && !have {
			_, err = db.pool.Exec(ctx, fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s ON %s (%s)", quote(index), t.name(), quote(name)))
			if isState(err, "23505", "42P07") {
				err = nil // Another worker makes it at this moment.
			}
		}
		if err != nil {
			return fmt.Errorf("index salesforce.%s by %s: %w", t.schema.Table(), name, err)
		}
	}
	return nil
}

// tidyTime bounds what is spent on a table after a load; autovacuum does later what is left.
const tidyTime = 20 * time.Second

// tidy gives the planner its statistics, and after a first load marks the pages as visible to all. It is a comfort: its
// failure changes nothing.
func (db *DB) tidy(ctx context.Context, t *Table, first bool) {
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	if first {
		_, _ = db.pool.Exec(ctx, "VACUUM (ANALYZE) "+t.name())
		return
	}
	_, _ = db.pool.Exec(ctx, "ANALYZE "+t.name())
}
