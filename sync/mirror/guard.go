package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// guard makes or renews the trigger that refuses what people cannot do to the table: any write where it comes from Salesforce
// only, and TRUNCATE everywhere (Invariant 3). The engine's transactions carry the setting tandem.engine; WHEN is
// tested before the trigger is called, so that its own statements cost one comparison each.
func (e *ensuring) guard(ctx context.Context, dir Direction) error {
	label := strings.ToLower(e.schema.Label)
	if label == "" {
		label = strings.ToLower(e.schema.Name)
	}
	// Making the trigger takes a lock that holds up writers; it is made only when it differs.
	var have []byte
	var bits int16
	err := e.tx.QueryRow(ctx, `SELECT tgargs, tgtype FROM pg_trigger WHERE tgrelid = $1::regclass AND tgname = 'tandem_guard'`, relation(e.table)).Scan(&have, &bits)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the write guard of salesforce.%s: %w", e.table, err)
	}
	const onInsert = 1 << 2 // in tgtype; an earlier version refused all writes of two-way tables
	if err == nil && string(have) == string(dir)+"\x00"+label+"\x00" && (bits&onInsert != 0) == (dir != TwoWay) {
		return nil
	}
	events := "INSERT OR UPDATE OR DELETE OR TRUNCATE"
	if dir == TwoWay {
		events = "TRUNCATE"
	}
	sql := fmt.Sprintf(`CREATE OR REPLACE TRIGGER tandem_guard BEFORE %s ON %s FOR EACH STATEMENT
		WHEN (current_setting('tandem.engine', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION mirror.refuse_local(%s, %s)`,
		events, relation(e.table), literal(string(dir)), literal(label))
	if _, err := e.tx.Exec(ctx, sql); err != nil {
		return fmt.Errorf("guard salesforce.%s against local writes: %w", e.table, err)
	}
	return nil
}

// literal quotes a text for SQL that takes no parameters. NUL cannot be in SQL and is left out.
func literal(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if strings.Contains(s, `\`) {
		return " E'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", "''") + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
