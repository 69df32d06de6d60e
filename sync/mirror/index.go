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

// searchColumns are the texts by whose beginning people look for a record on the records page, without regard to case.
var searchColumns = map[string][]string{
	"lead":        {"email", "name", "lastname"},
	"contact":     {"email", "name", "lastname"},
	"account":     {"name"},
	"opportunity": {"name"},
	"campaign":    {"name"},
	"user":        {"email", "name", "lastname"},
}

// ensureSearch makes the indexes of the search that the table lacks. They are no part of the first read, which they would slow
// down: the first cycle after it makes them, beside whoever writes at that moment. They are a comfort: the search works without
// them, slowly, and what fails here is tried again by the next process.
func (db *DB) ensureSearch(ctx context.Context, t *Table) {
	if _, done := db.searchable.LoadOrStore(t.schema.Name, true); done {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tidyTime)
	defer cancel()
	for _, name := range searchColumns[t.schema.Table()] {
		if !t.hasText(name) {
			continue
		}
		index := quote(short(t.schema.Table() + "_" + name + "_search"))
		var broken bool
		err := db.pool.QueryRow(ctx, `SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass('salesforce.' || $1)`, index).Scan(&broken)
		if err == nil && !broken {
			continue
		}
		if broken {
			// One that was cut off while it was made costs writers, and helps nobody.
			_, _ = db.pool.Exec(ctx, "DROP INDEX CONCURRENTLY IF EXISTS salesforce."+index)
		}
		_, _ = db.pool.Exec(ctx, fmt.Sprintf("CREATE INDEX CONCURRENTLY IF NOT EXISTS %s ON %s (lower(%s) text_pattern_ops)", index, t.name(), quote(name)))
	}
}

// hasText tells whether the table has a column of that name that holds text.
func (t *Table) hasText(name string) bool {
	for _, c := range t.columns {
		if c.name == name && c.kind == kindText {
			return true
		}
	}
	return false
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
