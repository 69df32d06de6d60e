package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// setApart makes edits of their own of fields that Salesforce refused while it took the rest of the change: they stay in the outbox, set
// aside, until a person or a later edit of the row asks again (Invariant 3).
func (s *settlement) setApart(ctx context.Context) error {
	var b pgx.Batch
	for _, l := range s.list {
		if len(l.Apart) == 0 || !l.Outcome.leaves() {
			continue
		}
		var columns []string
		for _, a := range l.Apart {
			c, ok := s.wire.by[strings.ToLower(a.Field)]
			if !ok {
				return fmt.Errorf("row %d has %q refused, which is no field of it", l.RowID, a.Field)
			}
			columns = append(columns, c.name)
		}
		whole := coalesce(l.edits)
		l.apartChanged, l.apartBase = map[string]json.RawMessage{}, map[string]json.RawMessage{}
		for _, name := range columns {
			value, ok := whole.local[name]
			if !ok {
				continue
			}
			l.apartChanged[name], l.apartBase[name] = value, json.RawMessage("null")
			if base, ok := whole.base[name]; ok {
				l.apartBase[name] = base
			}
		}
		for i := range l.edits {
			e := &l.edits[i]
			e.changed, e.base = without(e.changed, columns), without(e.base, columns)
		}
		b.Queue(`UPDATE mirror.outbox SET base = base - $2::text[], changed = changed - $2::text[] WHERE seq = ANY($1)`, seqs(l.edits), columns)
		if err := s.leaveToLater(ctx, l); err != nil {
			return err
		}
		if len(l.apartChanged) == 0 {
			continue
		}
		last := l.edits[len(l.edits)-1]
		b.Queue(`INSERT INTO mirror.outbox (object, row_id, sfid, operation, base, changed, made_by, application, made_at, state)
			VALUES ($1, $2, nullif($3, ''), 'update', $4, $5, $6, $7, $8, 'refused')`,
			s.object, l.RowID, last.sfid, l.apartBase, l.apartChanged, last.by, last.application, last.at)
	}
	return s.tx.SendBatch(ctx, &b).Close()
}

// leaveToLater takes out of what is set apart the fields that people edited again meanwhile: their newer value is what is to be tried. Its base is
// what Salesforce was last known to hold.
func (s *settlement) leaveToLater(ctx context.Context, l *settling) error {
	rows, err := s.tx.Query(ctx, `SELECT min(o.seq), k FROM mirror.outbox o CROSS JOIN LATERAL jsonb_object_keys(o.changed) k
		WHERE o.object = $1 AND o.row_id = $2 AND o.seq <> ALL($3) GROUP BY k`, s.object, l.RowID, seqs(l.edits))
	if err != nil {
		return err
	}
	later := map[string]int64{}
	var seq int64
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&seq, &name}, func() error { later[name] = seq; return nil }); err != nil {
		return err
	}
	for name, base := range l.apartBase {
		seq, ok := later[name]
		if !ok {
			continue
		}
		if _, err := s.tx.Exec(ctx, `UPDATE mirror.outbox SET base = base || jsonb_build_object($2::text, $3::jsonb) WHERE seq = $1`, seq, name, base); err != nil {
			return err
		}
		delete(l.apartChanged, name)
		delete(l.apartBase, name)
	}
	return nil
}

func without(cells map[string]json.RawMessage, names []string) map[string]json.RawMessage {
	left := make(map[string]json.RawMessage, len(cells))
	for name, value := range cells {
		if !slices.Contains(names, name) {
			left[name] = value
		}
	}
	return left
}

// refuseApart tells of fields that are refused alone, as refuse does of whole changes.
func (s *settlement) refuseApart(b *pgx.Batch, l *settling) {
	if len(l.apartChanged) == 0 {
		return
	}
	first := l.Apart[0]
	messages := []string{}
	for _, a := range l.Apart {
		if !slices.Contains(messages, a.Message) {
			messages = append(messages, a.Message)
		}
	}
	sfid := l.SFID
	if sfid == "" {
		sfid = l.edits[len(l.edits)-1].sfid
	}
	details := map[string]any{"operation": Update, "changed": s.wire.values(l.apartChanged), "base": s.wire.values(l.apartBase)}
	b.Queue(`INSERT INTO mirror.refusals AS r (object, direction, record, sfid, row_id, run_id, field, column_name, code, message, details)
		VALUES ($1, 'out', 'local:' || $2::bigint, nullif($3, ''), $2, $4, $5, $6, $7, $8, $9::jsonb)
		ON CONFLICT (object, direction, record) WHERE resolved_at IS NULL DO UPDATE SET sfid = excluded.sfid, run_id = excluded.run_id, field = excluded.field,
			column_name = excluded.column_name, code = excluded.code, message = excluded.message, details = excluded.details, last_seen_at = now(), seen = r.seen + 1`,
		s.object, l.RowID, sfid, l.RunID, first.Field, s.wire.by[strings.ToLower(first.Field)].name, first.Code, strings.Join(messages, " "), details)
}
