package mirror

import (
	"context"
	"fmt"
	"time"
)

const (
	// storyKept is how long is kept what a page tells of the past: as long as the history itself, 13 months.
	storyKept = 396 * 24 * time.Hour
	// scratchKept is how long is kept what only work under way needs, should nobody have tidied up behind it.
	scratchKept = 7 * 24 * time.Hour
	// pruneAtOnce bounds the rows that one statement removes, pruneRounds how many statements one look makes for a table: more than
	// comes in between two looks where people's programs write all day.
	pruneAtOnce = 5_000
	pruneRounds = 40
)

// Prune removes what is settled and older than the history: refusals that were resolved, changes that were sent, conflicts that
// were closed, or decided and never looked at, checks and what they found; and what work that ended badly left behind. What is open, as a
// conflict of which a person is asked, stays, however old.
func (db *DB) Prune(ctx context.Context) error {
	for _, old := range []struct {
		table, key, when string
		kept             time.Duration
	}{
		{"mirror.refusals", "id", "resolved_at < $1", storyKept},
		{"mirror.conflicts", "id", "coalesce(closed_at, CASE WHEN winner <> '' THEN found_at END) < $1", storyKept},
		{"mirror.settled", "seq", "settled_at < $1", storyKept},
		{"mirror.differences", "id", "mended_at < $1", storyKept},
		{"mirror.checks", "id", "state = 'done' AND ended_at < $1 AND id NOT IN (SELECT max(id) FROM mirror.checks WHERE state = 'done' GROUP BY object)", storyKept},
		{"mirror.checks", "id", "state <> 'done' AND started_at < $1", scratchKept},
		{"mirror.check_seen", "ctid", "$1::timestamptz IS NOT NULL AND check_id NOT IN (SELECT id FROM mirror.checks WHERE state <> 'done')", scratchKept},
		{"mirror.claims", "id", "made_at < $1 AND NOT EXISTS (SELECT FROM mirror.outbox o WHERE o.seq = ANY (claims.seqs) AND o.claim = claims.id)", scratchKept},
	} {
		sql := fmt.Sprintf(`DELETE FROM %[1]s WHERE %[2]s = ANY(ARRAY(SELECT %[2]s FROM %[1]s WHERE %[3]s LIMIT %[4]d))`, old.table, old.key, old.when, pruneAtOnce)
		for range pruneRounds {
			tag, err := db.pool.Exec(ctx, sql, time.Now().Add(-old.kept))
			if err != nil {
				return fmt.Errorf("remove what is old of %s: %w", old.table, err)
			}
			if tag.RowsAffected() < pruneAtOnce {
				break
			}
		}
	}
	return nil
}
