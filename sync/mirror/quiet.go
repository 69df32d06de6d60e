package mirror

import (
	"context"
	"fmt"
)

// quietly runs do without the table's triggers where all of them are ours and this role may say so. They would do nothing
// in the engine's transactions all the same (Invariant 4), but calling them costs a first load an eighth of its time and more. A table with a
// trigger or a foreign key of somebody else's is left alone. The caller's lock on the table keeps others from adding one meanwhile.
func (w *writer) quietly(ctx context.Context, do func() error) error {
	var ours bool
	err := w.tx.QueryRow(ctx, `SELECT has_parameter_privilege('session_replication_role', 'SET')
		AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::regclass AND tgname NOT LIKE 'tandem\_%')`, w.table.name()).Scan(&ours)
	if err != nil {
		return fmt.Errorf("look at the triggers of %s: %w", w.table.name(), err)
	}
	if !ours {
		return do()
	}
	if _, err := w.tx.Exec(ctx, `SET LOCAL session_replication_role = replica`); err != nil {
		return fmt.Errorf("leave out the triggers of %s: %w", w.table.name(), err)
	}
	if err := do(); err != nil {
		return err // the transaction has failed, and the setting ends with it
	}
	if _, err := w.tx.Exec(ctx, `SET LOCAL session_replication_role = DEFAULT`); err != nil {
		return fmt.Errorf("take the triggers of %s in again: %w", w.table.name(), err)
	}
	return nil
}
