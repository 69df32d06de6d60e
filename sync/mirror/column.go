package mirror

import (
	"fmt"
	"hash/fnv"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// column is one column of an object's table that a field has, or had.
type column struct {
	field   string // API name
	name    string
	pgType  string // as PostgreSQL's format_type says
	kind    kind
	gone    bool // the user no longer sees it
	leftOut bool // the admin left it out
}

// columnType gives the PostgreSQL type for a describe type. Numbers have no precision, so that nothing is rounded.
func columnType(describeType string) string {
	switch describeType {
	case "boolean":
		return "boolean"
	case "int":
		return "integer"
	case "long":
		return "bigint"
	case "double", "currency", "percent":
		return "numeric"
	case "date":
		return "date"
	case "datetime":
		return "timestamp with time zone"
	case "time":
		return "time without time zone"
	default:
		return "text"
	}
}

// columnKind gives the encoding of a column's type, false for a type that the mirror never makes.
func columnKind(pgType string) (kind, bool) {
	switch pgType {
	case "boolean":
		return kindBool, true
	case "integer":
		return kindInt4, true
	case "bigint":
		return kindInt8, true
	case "numeric":
		return kindNumeric, true
	case "date":
		return kindDate, true
	case "timestamp with time zone":
		return kindTimestamptz, true
	case "time without time zone":
		return kindTime, true
	case "text":
		return kindText, true
	}
	return kindText, false
}

// definition writes the column for CREATE and ALTER TABLE. Ids compare byte by byte: that is faster, right for ids, and lets a
// join from a reference to sfid use the index, which it could not if the collations differed.
func definition(f sobject.Field) string {
	d := quote(columnName(f)) + " " + columnType(f.Type)
	if f.Type == "reference" || f.Type == "id" {
		d += ` COLLATE "C"`
	}
	return d
}

const identifierMax = 63 // bytes; PostgreSQL cuts longer names in silence

// columnName is the field's column. A name that PostgreSQL would cut ends in a digest instead, so that two do not meet.
func columnName(f sobject.Field) string { return short(f.Column()) }

func short(name string) string {
	if len(name) <= identifierMax {
		return name
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	return fmt.Sprintf("%s_%08x", name[:identifierMax-9], h.Sum32())
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// relation is an object's table, quoted.
func relation(table string) string { return pgx.Identifier{"salesforce", table}.Sanitize() }

// apiName is what names of objects and fields look like. Anything else never reaches SQL, quoted though it would be.
var apiName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

func checkNames(s sobject.Schema) error {
	if !apiName.MatchString(s.Name) {
		return fmt.Errorf("%q is not an object's API name", s.Name)
	}
	seen := map[string]string{}
	id := false
	for _, f := range s.Synced() {
		if !apiName.MatchString(f.Name) {
			return fmt.Errorf("%s has a field %q, which is not an API name", s.Name, f.Name)
		}
		name := columnName(f)
		if name == "id" {
			return fmt.Errorf("%s has a field %q of type %s, whose column would be the local key id", s.Name, f.Name, f.Type)
		}
		if other, ok := seen[name]; ok {
			return fmt.Errorf("the fields %s and %s of %s would share the column %s", other, f.Name, s.Name, name)
		}
		seen[name] = f.Name
		id = id || name == "sfid"
	}
	if !id {
		return fmt.Errorf("the describe of %s has no Id, without which its records cannot be kept", s.Name)
	}
	return nil
}
