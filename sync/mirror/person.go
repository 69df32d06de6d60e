package mirror

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// personTables are what the view of people is made from. Without Lead or Contact there is no view; the rest only add to it.
var personTables = []string{"lead", "contact", "account", "user", "opportunity", "opportunitycontactrole"}

// ensurePerson makes the view salesforce.person from the tables and columns that are there: leads that are not converted, and
// contacts, one row a person. A column that the sync user cannot see is null in it. The view's columns and their types are
// always the same, so that it can be replaced while views of people's own stand on it.
func ensurePerson(ctx context.Context, tx pgx.Tx) error {
	has := map[string]map[string]string{}
	rows, err := tx.Query(ctx, `SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'salesforce'::regnamespace AND c.relkind = 'r' AND c.relname = ANY($1)`, personTables)
	if err != nil {
		return err
	}
	var table, name, typ string
	if _, err := pgx.ForEachRow(rows, []any{&table, &name, &typ}, func() error {
		if has[table] == nil {
			has[table] = map[string]string{}
		}
		has[table][name] = typ
		return nil
	}); err != nil {
		return err
	}
	var parts []string
	if has["lead"] != nil {
		parts = append(parts, personPart(has, "Lead", "lead"))
	}
	if has["contact"] != nil {
		parts = append(parts, personPart(has, "Contact", "contact"))
	}
	if len(parts) == 0 {
		return nil
	}
	query := strings.Join(parts, " UNION ALL ")
	sum := md5.Sum([]byte(query))
	mark := "Leads that are not converted, and contacts, each with owner and opportunities. Made by Tandem, " + hex.EncodeToString(sum[:])
	var have *string
	if err := tx.QueryRow(ctx, `SELECT obj_description(to_regclass('salesforce.person'), 'pg_class')`).Scan(&have); err != nil {
		return err
	}
	if have != nil && *have == mark {
		return nil
	}
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `CREATE OR REPLACE VIEW salesforce.person AS `+query)
		return err
	})
	if isState(err, "42P16") {
		// An earlier version of Tandem showed other columns.
		if _, err = tx.Exec(ctx, `DROP VIEW salesforce.person`); err == nil {
			_, err = tx.Exec(ctx, `CREATE VIEW salesforce.person AS `+query)
		}
	}
	if err == nil {
		_, err = tx.Exec(ctx, `COMMENT ON VIEW salesforce.person IS `+literal(mark))
	}
	if err != nil {
		return fmt.Errorf("make the view salesforce.person: %w", err)
	}
	return nil
}

func personPart(has map[string]map[string]string, kind, table string) string {
	// col gives a column of one of the joined tables, or a null of its type where there is none that can be shown as such.
	col := func(alias, table, column, sqlType string) string {
		switch have := has[table][column]; {
		case have == "":
		case have == sqlType, sqlType == "text", sqlType == "numeric" && (have == "integer" || have == "bigint"):
			return alias + "." + quote(column) + "::" + sqlType
		}
		return "NULL::" + sqlType
	}
	// A view's column cannot change its collation either.
	const ids = ` COLLATE "C"`
	var b strings.Builder
	field := func(expression, name string) { fmt.Fprintf(&b, ", %s AS %s", expression, name) }
	fmt.Fprintf(&b, "SELECT p.id AS local_id, p.sfid COLLATE \"C\" AS sfdc_id, CASE WHEN p.sfid IS NOT NULL THEN '%s' END AS sfdc_type", kind)
	for _, c := range []string{"salutation", "firstname", "lastname", "name", "title", "email", "phone", "mobilephone"} {
		field(col("p", table, c, "text"), c)
	}
	company, ownsAccount := col("p", "lead", "company", "text"), false
	if table == "contact" {
		company, ownsAccount = "NULL::text", has["account"] != nil && has["contact"]["accountid"] == "text"
		if ownsAccount {
			company = col("a", "account", "name", "text")
		}
		field(col("p", "contact", "accountid", "text")+ids, "accountid")
	} else {
		field("NULL::text"+ids, "accountid")
	}
	field(company, "company")
	field(col("p", table, "leadsource", "text"), "leadsource")
	field(col("p", table, "ownerid", "text")+ids, "ownerid")
	owner := has["user"] != nil && has[table]["ownerid"] == "text"
	for _, c := range []string{"name", "firstname", "lastname", "title", "phone", "email"} {
		if owner {
			field(col("o", "user", c, "text"), "owner_"+c)
		} else {
			field("NULL::text", "owner_"+c)
		}
	}
	accountOwner := ownsAccount && has["user"] != nil && has["account"]["ownerid"] == "text"
	for _, c := range []string{"firstname", "lastname", "email"} {
		if accountOwner {
			field(col("ao", "user", c, "text"), "account_owner_"+c)
		} else {
			field("NULL::text", "account_owner_"+c)
		}
	}
	field("coalesce("+col("p", table, "isdeleted", "boolean")+", false)", "sfdc_is_deleted")
	field(col("p", table, "createddate", timestamptz), "createddate")
	field(col("p", table, "systemmodstamp", timestamptz), "systemmodstamp")
	roles := table == "contact" && has["opportunity"] != nil && has["opportunitycontactrole"]["contactid"] == "text" && has["opportunitycontactrole"]["opportunityid"] == "text"
	if roles {
		field("coalesce(r.opportunities, 0)", "opportunities")
		field("r.amount", "opportunity_amount")
		field("r.expectedrevenue", "opportunity_expected_revenue")
	} else {
		field("0::bigint", "opportunities")
		field("NULL::numeric", "opportunity_amount")
		field("NULL::numeric", "opportunity_expected_revenue")
	}
	fmt.Fprintf(&b, " FROM salesforce.%s p", table)
	if ownsAccount {
		b.WriteString(" LEFT JOIN salesforce.account a ON a.sfid = p.accountid")
	}
	if owner {
		// While a queue owns the person nobody of this id is a user, and the fields are empty.
		b.WriteString(` LEFT JOIN salesforce."user" o ON o.sfid = p.ownerid`)
	}
	if accountOwner {
		b.WriteString(` LEFT JOIN salesforce."user" ao ON ao.sfid = a.ownerid`)
	}
	if roles {
		alive := func(alias, table string) string {
			if has[table]["isdeleted"] == "boolean" {
				return " AND NOT coalesce(" + alias + ".isdeleted, false)"
			}
			return ""
		}
		// A contact may have several roles in one opportunity; its amount counts once.
		fmt.Fprintf(&b, ` LEFT JOIN LATERAL (SELECT count(*) AS opportunities, sum(%s) AS amount, sum(%s) AS expectedrevenue FROM salesforce.opportunity op
			WHERE op.sfid IN (SELECT c.opportunityid FROM salesforce.opportunitycontactrole c WHERE c.contactid = p.sfid%s)%s) r ON true`,
			col("op", "opportunity", "amount", "numeric"), col("op", "opportunity", "expectedrevenue", "numeric"), alive("c", "opportunitycontactrole"), alive("op", "opportunity"))
	}
	if table == "lead" && has["lead"]["isconverted"] == "boolean" {
		b.WriteString(" WHERE NOT coalesce(p.isconverted, false)")
	}
	return b.String()
}
