package mirror

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// conversion is how a column's values become another type: fits holds for values that lose nothing, using converts them.
// %s stands for the column.
type conversion struct{ fits, using string }

// Text is converted only where it is written as Salesforce writes the type; a cast alone would take "now" for a date.
const (
	textNumber    = `%s ~ '^-?[0-9]{1,255}(\.[0-9]{1,255})?([eE][+-]?[0-9]{1,3})?$'`
	textInteger   = `CASE WHEN ` + textNumber + ` THEN %s::numeric = trunc(%s::numeric) AND `
	textDate      = `%s ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'`
	textTimestamp = `%s ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})$'`
	textTime      = `%s ~ '^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z?$'`
	inInteger     = `%s BETWEEN -2147483648 AND 2147483647`
	inBigint      = `%s BETWEEN -9223372036854775808 AND 9223372036854775807`
)

const (
	timestamptz = "timestamp with time zone"
	clock       = "time without time zone"
)

var conversions = map[[2]string]conversion{
	{"text", "boolean"}:   {`%s IN ('true', 'false')`, `%s::boolean`},
	{"text", "integer"}:   {textInteger + `%s::numeric BETWEEN -2147483648 AND 2147483647 ELSE false END`, `%s::numeric::integer`},
	{"text", "bigint"}:    {textInteger + `%s::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 ELSE false END`, `%s::numeric::bigint`},
	{"text", "numeric"}:   {textNumber, `%s::numeric`},
	{"text", "date"}:      {textDate, `%s::date`},
	{"text", timestamptz}: {textTimestamp, `%s::timestamptz`},
	{"text", clock}:       {textTime, `rtrim(%s, 'Z')::time`},

	{"boolean", "text"}:   {`true`, `%s::text`},
	{"integer", "text"}:   {`true`, `%s::text`},
	{"bigint", "text"}:    {`true`, `%s::text`},
	{"numeric", "text"}:   {`true`, `%s::text`},
	{"date", "text"}:      {`true`, `to_char(%s, 'YYYY-MM-DD')`},
	{timestamptz, "text"}: {`date_trunc('milliseconds', %s) = %s`, `to_char(%s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`},
	{clock, "text"}:       {`date_trunc('milliseconds', %s - time '00:00') = %s - time '00:00'`, `to_char(%s, 'HH24:MI:SS.MS"Z"')`},

	{"integer", "bigint"}:  {`true`, `%s::bigint`},
	{"integer", "numeric"}: {`true`, `%s::numeric`},
	{"bigint", "integer"}:  {inInteger, `%s::integer`},
	{"bigint", "numeric"}:  {`true`, `%s::numeric`},
	{"numeric", "integer"}: {`%s = trunc(%s) AND ` + inInteger, `%s::integer`},
	{"numeric", "bigint"}:  {`%s = trunc(%s) AND ` + inBigint, `%s::bigint`},

	{"date", timestamptz}: {`true`, `%s::timestamp AT TIME ZONE 'UTC'`},
	{timestamptz, "date"}: {`(%s AT TIME ZONE 'UTC')::time = '00:00'`, `(%s AT TIME ZONE 'UTC')::date`},
}

// retype converts a column to another type where every value fits, and else leaves it as it is and says which values do
// not. Types between which there is no conversion fit only where the column is empty. It has its own savepoint.
func retype(ctx context.Context, tx pgx.Tx, table, name, from, to, describeType string) error {
	c, ok := conversions[[2]string{from, to}]
	if !ok {
		c = conversion{`false`, `NULL::` + to}
	}
	fill := func(s string) string { return strings.ReplaceAll(s, "%s", quote(name)) }
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		// The view's columns depend on the table's; it is made again at the end of the same transaction.
		if _, err := tx.Exec(ctx, `DROP VIEW IF EXISTS salesforce.person`); err != nil {
			return fmt.Errorf("%s stays %s, for views depend on salesforce.person, which shows it: %w", name, from, err)
		}
		if _, err := tx.Exec(ctx, "LOCK TABLE "+relation(table)+" IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		var misfits int64
		var samples []string
		sql := fmt.Sprintf(`SELECT count(*), coalesce((array_agg(left(%[1]s::text, 60)))[1:3], '{}') FROM %[2]s WHERE %[1]s IS NOT NULL AND (%[3]s) IS NOT TRUE`,
			quote(name), relation(table), fill(c.fits))
		if err := tx.QueryRow(ctx, sql).Scan(&misfits, &samples); err != nil {
			return fmt.Errorf("check whether the values of %s fit %s: %w", name, to, err)
		}
		if misfits > 0 {
			return fmt.Errorf("%w %s: %d of them, such as %q", ErrRetype, describeType, misfits, samples)
		}
		collate := ""
		if to == "text" && describeType == "reference" {
			collate = ` COLLATE "C"`
		}
		sql = fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT, ALTER COLUMN %[2]s TYPE %s%s USING %s", relation(table), quote(name), to, collate, fill(c.using))
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("convert %s from %s to %s: %w", name, from, to, err)
		}
		return nil
	})
}
