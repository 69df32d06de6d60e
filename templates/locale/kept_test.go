package locale

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// Each sentence that the engine and the database keep in rows, or refuse an edit with, is in the catalogue, word for word: a new one,
// or one said otherwise, would be told in English to whoever reads French.
func TestEachKeptSentenceIsInTheCatalogue(t *testing.T) {
	t.Parallel()
	var sentences []string
	for _, dir := range []string{"engine", "mirror"} {
		files, err := filepath.Glob("../../sync/" + dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				sentences = append(sentences, keptIn(t, f)...)
			}
		}
	}
	sentences = append(sentences, signInErrors(t, "../../sync/salesforce/auth.go")...)
	if len(sentences) < 50 {
		t.Fatalf("found only %d sentences; has the way of keeping them changed?", len(sentences))
	}
	sql, err := filepath.Glob("../../sync/mirror/migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	refusals := 0
	for _, f := range sql {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:RAISE EXCEPTION|HINT =) '((?:[^']|'')+)'`).FindAllStringSubmatch(string(text), -1) {
			if s := strings.ReplaceAll(m[1], "''", "'"); !slices.ContainsFunc(toPrograms, func(begins string) bool { return strings.HasPrefix(s, begins) }) {
				sentences, refusals = append(sentences, strings.ReplaceAll(s, "%", "%s")), refusals+1
			}
		}
	}
	if refusals < 15 {
		t.Fatalf("found only %d refusals of the database", refusals)
	}
	used := map[string]bool{}
	for _, s := range sentences {
		n := 0
		sample := regexp.MustCompile(`%(\[\d\])?[-+0-9.]*[a-z]`).ReplaceAllStringFunc(s, func(verb string) string {
			if strings.HasPrefix(verb, "%[1]") {
				return "Name1"
			}
			n++
			return "Name" + strconv.Itoa(n)
		})
		sample = strings.ReplaceAll(sample, "%%", "%")
		key, _ := keptKey(sample)
		if key == "" {
			t.Errorf("%q is kept in rows, and no sentence of the group kept says it", s)
		}
		used[key] = true
		if told := fr.Kept(sample); told == sample {
			t.Errorf("%q is told in French as it is", s)
		}
	}
	for _, f := range keptForms {
		if !used[f.key] && !slices.Contains(within, f.key) {
			t.Errorf("%s is a sentence that nobody keeps any more", f.key)
		}
	}
}

// within are sentences that stand inside of others, or are put together from parts: no literal of the program is all of them.
var within = []string{
	"kept.any_table", "kept.bulk_ended", "kept.bulk_not_read", "kept.bulk_short", "kept.cell_no_id", "kept.cell_others", "kept.default_bad", "kept.limit_bigint", "kept.limit_integer", "kept.limit_number",
	"kept.parent_dropped", "kept.retype", "kept.unfit", "kept.why_at_first", "kept.why_gone", "kept.why_later", "kept.why_left_out", "kept.why_not", "kept.word_converted", "kept.word_merged",
}

// toPrograms begin refusals of the database that no person meets: its own guards, and one of an earlier version.
var toPrograms = []string{"the watermark of", "%.% cannot be changed here yet", "a row was edited while", "a conflict is decided for"}

// keptIn gives the sentences of a file that may end up in a row: those that end as sentences do, or begin with Salesforce, less what
// goes to the log.
func keptIn(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				if slices.Contains([]string{"Info", "Warn", "Error", "Debug"}, f.Sel.Name) {
					return false
				}
			case *ast.Ident:
				if lit, ok := first(call).(*ast.BasicLit); ok && f.Name == "objectError" {
					if s, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(s, " ") {
						list = append(list, s)
					}
				}
			}
		}
		// What a reason is made of counts however it ends.
		var reason ast.Node
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if name, ok := n.Key.(*ast.Ident); ok && name.Name == "why" {
				reason = n.Value
			}
		case *ast.AssignStmt:
			if name, ok := n.Lhs[0].(*ast.Ident); ok && name.Name == "reason" {
				reason = n.Rhs[0]
			}
		}
		if reason != nil {
			ast.Inspect(reason, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(s, " ") {
						list = append(list, s)
					}
				}
				return true
			})
		}
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		s, err := strconv.Unquote(lit.Value)
		if err != nil || strings.ContainsAny(s, "\n\t") || strings.Count(s, " ") < 3 || strings.HasPrefix(s, "DROP INDEX") {
			return true
		}
		begins := unicode.IsUpper([]rune(s)[0]) || strings.HasPrefix(s, "%s")
		if begins && (strings.HasSuffix(s, ".") || strings.HasSuffix(s, ". %s")) || strings.HasPrefix(s, "Salesforce ") || strings.HasPrefix(s, "Salesforce's ") {
			list = append(list, s)
		}
		return true
	})
	return list
}

func first(call *ast.CallExpr) ast.Expr {
	if len(call.Args) == 0 {
		return nil
	}
	return call.Args[0]
}

// signInErrors gives what is said of an address or a key before Salesforce is asked: the connection page shows it.
func signInErrors(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		lit, isText := first(call).(*ast.BasicLit)
		if !ok || !isText || f.Sel.Name != "New" && f.Sel.Name != "Errorf" || lit.Kind != token.STRING {
			return true
		}
		if s, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(s, " ") && !strings.Contains(s, "%w") && !strings.Contains(s, "is not a way to sign in") {
			list = append(list, s)
		}
		return true
	})
	return list
}

// What is kept is told in French with what it names, and what stands inside of it; Salesforce's own words and a person's stay.
func TestKept(t *testing.T) {
	t.Parallel()
	for kept, want := range map[string]string{
		"That is set for this field, or for its whole object.":                                                                                                                                                   "C’est réglé ainsi pour ce champ, ou pour tout l’objet.",
		"The lead was converted in Salesforce, and the contact's field of that name has another type.":                                                                                                           "La piste a été convertie dans Salesforce, et le champ du même nom du contact a un autre type.",
		"Lead 00Q1 was merged into Lead 00Q2 in Salesforce before this was sent":                                                                                                                                 "Lead 00Q1 est devenu Lead 00Q2 dans Salesforce (fusion) avant cet envoi",
		`Score__c is "many", which is not a number. Change it in Salesforce; the record arrives with the next cycle after that.`:                                                                                 "Score__c vaut \"many\", qui n’est pas un nombre. Modifiez-la dans Salesforce ; la fiche arrive au cycle suivant.",
		`N__c is "9e99", outside -2147483648 to 2147483647, what an integer column holds. Change it in Salesforce; the record arrives with the next cycle after that. (2 more of its fields do not fit either.)`: "N__c vaut \"9e99\", en dehors de -2147483648 à 2147483647, ce que contient une colonne integer. Modifiez-la dans Salesforce ; la fiche arrive au cycle suivant. (2 autres de ses champs ne conviennent pas non plus.)",
		"salesforce.lead cannot be written here in name (Salesforce calculates it), rank__c (an admin has left it out)":                                                                                          "salesforce.lead ne peut pas être écrite ici dans name (Salesforce la calcule), rank__c (un administrateur l’a écartée)",
		`Salesforce refuses the record filter of Lead, "A = 1": No such column 'A' on entity 'Lead'`:                                                                                                             `Salesforce refuse le filtre des fiches de Lead, "A = 1" : No such column 'A' on entity 'Lead'`,
		"the values here do not fit the field's new type double: 3 of them, such as [\"a\"]":                                                                                                                     "les valeurs présentes ici ne conviennent pas au nouveau type du champ, double : 3 d’entre elles, comme [\"a\"]",
		"Salesforce ended the bulk job 750x as Failed: InvalidBatch":                                                                                                                                             "Salesforce a mis fin à la tâche Bulk 750x (Failed) : InvalidBatch",
		"Country is required when Status is Qualified.":                                                                                                                                                          "Country is required when Status is Qualified.",
		"typed twice": "typed twice",
		"":            "",
	} {
		if got := fr.Kept(kept); got != want {
			t.Errorf("%q is told as %q, want %q", kept, got, want)
		}
		if got := en.Kept(kept); got != kept {
			t.Errorf("%q is told in English as %q", kept, got)
		}
	}
}

// Each code that a sync meets has advice, in both languages: what it means and what to do. The codes are those of Salesforce that its
// documentation and that of Marketo's sync name, the sign-in's, and our own.
func TestEachCodeHasAdvice(t *testing.T) {
	t.Parallel()
	codes := strings.Fields(`
		REQUIRED_FIELD_MISSING FIELD_CUSTOM_VALIDATION_EXCEPTION FIELD_FILTER_VALIDATION_EXCEPTION FIELD_INTEGRITY_EXCEPTION INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST
		STRING_TOO_LONG NUMBER_OUTSIDE_VALID_RANGE INVALID_EMAIL_ADDRESS INVALID_TYPE_ON_FIELD_IN_RECORD JSON_PARSER_ERROR DUPLICATE_VALUE DUPLICATES_DETECTED
		DUPLICATE_EXTERNAL_ID MALFORMED_ID INVALID_CROSS_REFERENCE_KEY INVALID_FIELD_FOR_INSERT_UPDATE INVALID_FIELD INVALID_TYPE MALFORMED_QUERY ENTITY_IS_DELETED NOT_FOUND
		CANNOT_UPDATE_CONVERTED_LEAD ENTITY_IS_LOCKED CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY CANNOT_EXECUTE_FLOW_TRIGGER INSUFFICIENT_ACCESS_OR_READONLY
		INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY INACTIVE_OWNER_OR_USER TRANSFER_REQUIRES_READ STORAGE_LIMIT_EXCEEDED LIMIT_EXCEEDED UNABLE_TO_LOCK_ROW
		ALL_OR_NONE_OPERATION_ROLLED_BACK PROCESSING_HALTED REQUEST_LIMIT_EXCEEDED REQUEST_RUNNING_TOO_LONG QUERY_TIMEOUT SERVER_UNAVAILABLE UNKNOWN_EXCEPTION
		INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE ORG_IN_MAINTENANCE DELETE_FAILED DEPENDENCY_EXISTS INVALID_REPLICATION_DATE EXCEEDED_ID_LIMIT METHOD_NOT_ALLOWED
		UNSUPPORTED_MEDIA_TYPE API_CURRENTLY_DISABLED API_DISABLED API_DISABLED_FOR_ORG FUNCTIONALITY_NOT_ENABLED TXN_SECURITY_METERING_ERROR
		AUTHENTICATION_FAILURE EXPIRED_ACCESS INVALID_GRANT INACTIVE_USER INACTIVE_ORGANIZATION INVALID_SESSION_ID OPERATION_TOO_LARGE FAILED_WRITE
		MISSING_FIELD_READ_PERMISSION MISSING_OBJECT_READ_PERMISSION MISSING_OBJECT_WRITE_PERMISSION MISSING_ISREPLICATEABLE MISSING_CONVERTED_LEAD_PERMISSION TXN_SECURITY_NO_ACCESS
		invalid_grant invalid_app_access invalid_client invalid_client_id unsupported_grant_type redirect_uri_mismatch invalid_request access_denied rate_limit_exceeded`)
	ours := 0
	for _, where := range []string{"../../sync/engine/send*.go", "../../sync/engine/pull.go", "../../sync/mirror/refusal.go", "../../models/cycle.go", "../../sync/mirror/migrations/*.sql"} {
		files, err := filepath.Glob(where)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?:code[A-Z]\w* += |return |stopError\{|CodeShareUsed = |l\.column_name, )["']([A-Z]+(?:_[A-Z0-9]+)+)["']`).FindAllStringSubmatch(string(text), -1) {
				codes, ours = append(codes, m[1]), ours+1
			}
		}
	}
	if ours < 20 {
		t.Errorf("found only %d codes of ours", ours)
	}
	for _, code := range codes {
		for _, l := range []*Locale{en, fr} {
			if means, do := l.Advice(code, ""); means == "" || do == "" {
				t.Errorf("%s has no advice in %s: it means %q, do %q", code, l.Lang, means, do)
			}
		}
	}
	for _, g := range grants {
		for _, l := range []*Locale{en, fr} {
			general, _ := l.Advice("invalid_grant", "")
			if means, do := l.Advice("invalid_grant", "Something: "+g.says); means == "" || do == "" || means == general {
				t.Errorf("invalid_grant with %q has no advice of its own in %s", g.says, l.Lang)
			}
		}
	}
	if means, do := en.Advice("NEVER_HEARD_OF", "x"); means+do != "" {
		t.Errorf("a code that nobody knows has the advice %q %q", means, do)
	}
}
