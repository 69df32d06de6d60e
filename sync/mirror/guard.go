package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// guard makes or renews the trigger that refuses writes by anyone but the engine, whose transactions carry the setting
// tandem.engine. WHEN is tested before the trigger is called, so that the engine's own statements cost one comparison each.
func (e *ensuring) guard(ctx context.Context, dir Direction) error {
	label := strings.ToLower(e.schema.Label)
	if label == "" {
		label = strings.ToLower(e.schema.Name)
	}
	// Making the trigger takes a lock that holds up writers; it is made only when it differs.
	var have []byte
	err := e.tx.QueryRow(ctx, `SELECT tgargs FROM pg_trigger WHERE tgrelid = $1::regclass AND tgname = 'tandem_guard'`, relation(e.table)).Scan(&have)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the write guard of salesforce.%s: %w", e.table, err)
	}
	if err == nil && string(have) == string(dir)+"\x00"+label+"\x00" {
		return nil
	}
	sql := fmt.Sprintf(`CREATE OR REPLACE TRIGGER tandem_guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT
		WHEN (current_setting('tandem.engine', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION mirror.refuse_local(%s, %s)`,
		relation(e.table), literal(string(dir)), literal(label))
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
