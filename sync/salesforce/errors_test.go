package salesforce

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The table is Salesforce's catalogue of what a sync meets, with what to do about each.
func TestErrorsTellWhatToDo(t *testing.T) {
	const (
		aside     = "set the record aside"
		transient = "transient"
		login     = "halt: login"
		budget    = "halt: budget"
		off       = "halt: api-off"
	)
	rest := func(code, message string) string {
		return fmt.Sprintf(`[{"message":%q,"errorCode":%q}]`, message, code)
	}
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		// 2.10 of the API notes.
		{400, rest("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"), aside},
		{400, rest("FIELD_CUSTOM_VALIDATION_EXCEPTION", "no"), aside},
		{400, rest("FIELD_FILTER_VALIDATION_EXCEPTION", "no"), aside},
		{400, rest("FIELD_INTEGRITY_EXCEPTION", "There's a problem with this country"), aside},
		{400, rest("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Status: bad value"), aside},
		{400, rest("STRING_TOO_LONG", "data value too large"), aside},
		{400, rest("NUMBER_OUTSIDE_VALID_RANGE", "x"), aside},
		{400, rest("INVALID_EMAIL_ADDRESS", "x"), aside},
		{400, rest("JSON_PARSER_ERROR", "x"), aside},
		{400, rest("DUPLICATE_VALUE", "x"), aside},
		{400, rest("DUPLICATES_DETECTED", "Use one of these records?"), aside},
		{400, rest("DUPLICATE_EXTERNAL_ID", "x"), aside},
		{400, rest("MALFORMED_ID", "x"), aside},
		{400, rest("INVALID_CROSS_REFERENCE_KEY", "x"), aside},
		{400, rest("INVALID_FIELD_FOR_INSERT_UPDATE", "x"), aside},
		{400, rest("INVALID_FIELD", "No such column"), aside},
		{400, rest("INVALID_TYPE", "x"), aside},
		{400, rest("MALFORMED_QUERY", "x"), aside},
		{400, rest("INVALID_QUERY_LOCATOR", "invalid query locator"), aside},
		{404, rest("ENTITY_IS_DELETED", "entity is deleted"), aside},
		{404, rest("NOT_FOUND", "The requested resource does not exist"), aside},
		{400, rest("CANNOT_UPDATE_CONVERTED_LEAD", "x"), aside},
		{400, rest("ENTITY_IS_LOCKED", "x"), aside},
		{400, rest("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "x"), aside},
		{400, rest("CANNOT_EXECUTE_FLOW_TRIGGER", "x"), aside},
		{403, rest("INSUFFICIENT_ACCESS_OR_READONLY", "x"), aside},
		{400, rest("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "x"), aside},
		{400, rest("INACTIVE_OWNER_OR_USER", "x"), aside},
		{400, rest("TRANSFER_REQUIRES_READ", "x"), aside},
		{400, rest("STORAGE_LIMIT_EXCEEDED", "x"), aside},
		{400, rest("LIMIT_EXCEEDED", "x"), transient},
		{400, rest("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access"), transient},
		{400, rest("ALL_OR_NONE_OPERATION_ROLLED_BACK", "x"), transient},
		{400, rest("PROCESSING_HALTED", "x"), transient},
		{403, rest("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), budget},
		{403, rest("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded."), transient},
		{400, rest("REQUEST_RUNNING_TOO_LONG", "x"), transient},
		{400, rest("QUERY_TIMEOUT", "Your query request was running for too long."), transient},
		{400, rest("OPERATION_TOO_LARGE", "exceeded 100000 distinct who/what's"), aside},
		{503, rest("SERVER_UNAVAILABLE", "Server too busy"), transient},
		{500, rest("UNKNOWN_EXCEPTION", "An unexpected error occurred."), transient},
		{400, rest("INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", "x"), transient},
		{503, rest("ORG_IN_MAINTENANCE", "x"), transient},
		{400, rest("DELETE_FAILED", "x"), aside},
		{400, rest("DEPENDENCY_EXISTS", "x"), aside},
		{400, rest("INVALID_REPLICATION_DATE", "x"), aside},
		{400, rest("EXCEEDED_ID_LIMIT", "x"), aside},
		{405, rest("METHOD_NOT_ALLOWED", "x"), aside},
		{415, rest("UNSUPPORTED_MEDIA_TYPE", "x"), aside},
		{409, rest("WRONG_VERSION", "x"), aside},
		// 1.9: sessions and restrictions.
		{401, rest("INVALID_SESSION_ID", "Session expired or invalid"), login},
		{401, rest("INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"), login},
		{401, rest("INVALID_SESSION_ID", "This session is not valid for use with the REST API"), login},
		{401, "", login},
		{403, "Bad_OAuth_Token", login},
		{403, rest("API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization"), off},
		{403, rest("API_CURRENTLY_DISABLED", "x"), off},
		{403, rest("FUNCTIONALITY_NOT_ENABLED", "x"), off},
		{400, rest("TXN_SECURITY_METERING_ERROR", "x"), off},
		{410, "", off},
		{500, rest("UNSUPPORTED_API_VERSION", "x"), off},
		{403, rest("ORG_LOCKED", "x"), login},
		// 2.2: statuses and pages for people.
		{406, "", transient},
		{420, "<html>", transient},
		{429, "", transient},
		{500, "", transient},
		{502, "<html>", transient},
		{503, "<html>", transient},
		{404, "<html>", transient},
		{403, "<html>", transient},
		{400, "", aside},
		{412, "", aside},
		{414, "<html>", aside},
		{431, "<html>", aside},
		{501, "", aside},
	} {
		api := &APIError{Op: "test", Status: c.status}
		api.parseErrorBody("", []byte(c.body))
		if got := classOf(api); got != c.want {
			t.Errorf("%d %s: %s, want %s", c.status, c.body, got, c.want)
		}
		// Wrapping hides nothing.
		if got := classOf(fmt.Errorf("outer: %w", api)); got != c.want {
			t.Errorf("%d %s, wrapped: %s, want %s", c.status, c.body, got, c.want)
		}
	}
	for _, c := range []struct {
		status            int
		code, description string
		want              string
	}{
		// 1.8: the token endpoint.
		{400, "invalid_grant", "authentication failure", login},
		{400, "invalid_grant", "expired access/refresh token", login},
		{400, "invalid_grant", "expired authorization code", login},
		{400, "invalid_grant", "invalid code verifier", login},
		{400, "invalid_grant", "user hasn't approved this consumer", login},
		{400, "invalid_grant", "request not supported on this domain", login},
		{400, "invalid_grant", "no client credentials user enabled", login},
		{400, "invalid_grant", "inactive user", login},
		{400, "invalid_grant", "user does not have API access enabled", login},
		{400, "invalid_grant", "ip restricted or invalid login hours", login},
		{400, "invalid_grant", "Audience validation failed", login},
		{400, "invalid_app_access", "user is not admin approved to access this app", login},
		{400, "invalid_client_id", "client identifier invalid", login},
		{401, "invalid_client", "invalid client credentials", login},
		{400, "unsupported_grant_type", "grant type not supported", login},
		{400, "redirect_uri_mismatch", "redirect_uri must match configuration", login},
		{400, "invalid_request", "must use HTTP POST", login},
		{400, "OAUTH_APPROVAL_ERROR_GENERIC", "x", login},
		{400, "invalid_grant", "login rate exceeded", transient},
		{429, "rate_limit_exceeded", "x", transient},
		{400, "unknown_error", "retry your request", transient},
		{500, "server_error", "x", transient},
		{503, "", "", transient},
		{400, "", "", login},
	} {
		api := &APIError{Op: "sign in", Status: c.status, oauth: true}
		if c.code != "" {
			api.parseErrorBody("", fmt.Appendf(nil, `{"error":%q,"error_description":%q}`, c.code, c.description))
		}
		if got := classOf(api); got != c.want || api.Code != c.code || api.Message != c.description {
			t.Errorf("%d %s %s: %s (%v), want %s", c.status, c.code, c.description, got, api, c.want)
		}
	}
	for _, err := range []error{&NetworkError{Err: io.ErrUnexpectedEOF}, fmt.Errorf("x: %w", &NetworkError{Err: io.EOF})} {
		if classOf(err) != transient {
			t.Errorf("%v is not transient", err)
		}
	}
	for _, err := range []error{nil, errors.New("of the database")} {
		if classOf(err) != aside {
			t.Errorf("%v: %s, want none", err, classOf(err))
		}
	}
}

func classOf(err error) string {
	switch {
	case IsTransient(err) && IsHalting(err):
		return "both"
	case IsTransient(err):
		return "transient"
	case IsHalting(err):
		return "halt: " + string(HaltReason(err))
	}
	return "set the record aside"
}

func TestBulkUnsupportedIsTold(t *testing.T) {
	for _, c := range []struct {
		op, code, message string
		status            int
		want              bool
	}{
		{opBulk + ": create job", "INVALIDENTITY", "Entity 'TaskStatus' is not supported by the Bulk API.", 400, true},
		{opBulk + ": create job", "InvalidEntity", "x", 400, true},
		{opBulk + ": create job", "API_ERROR", "Implementation restriction: ActivityHistory ...", 400, true},
		{opBulk + ": create job", "API_ERROR", "Selecting compound data not supported in Bulk Query", 400, true},
		{opBulk + ": create job", "API_ERROR", "something else", 400, false},
		{opBulk + ": create job", "FEATURE_NOT_ENABLED", "x", 400, true},
		{opBulk + ": create job", "FUNCTIONALITY_NOT_ENABLED", "x", 403, true},
		{opBulk + ": create job", "INVALIDJOB", "Entity X is not supported by the Bulk API", 400, true},
		{opBulk + ": create job", "LIMIT_EXCEEDED", "x", 400, false},
		{opBulk + ": create job", "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403, false},
		{opBulk + ": create job", "INVALID_FIELD", "x", 400, false},
		{opBulk + ": create job", "API_ERROR", "Implementation restriction", 500, false},
		{"query", "FUNCTIONALITY_NOT_ENABLED", "x", 403, false},
	} {
		err := fmt.Errorf("wrapped: %w", &APIError{Op: c.op, Code: c.code, Message: c.message, Status: c.status})
		if got := IsBulkUnsupported(err); got != c.want {
			t.Errorf("%v: %v, want %v", err, got, c.want)
		}
		if c.want && (IsHalting(err) || IsTransient(err)) {
			t.Errorf("%v: unsupported, and yet %s", err, classOf(err))
		}
	}
	if IsBulkUnsupported(nil) || IsBulkUnsupported(&NetworkError{}) {
		t.Error("no answer is no refusal")
	}
}

func TestErrorBodiesAreRead(t *testing.T) {
	for _, c := range []struct {
		body, code, message string
		fields              []string
	}{
		{`[{"message":"Required fields are missing: [Name]","errorCode":"REQUIRED_FIELD_MISSING","fields":["Name"]}]`, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]", []string{"Name"}},
		{`[{"message":"one","errorCode":"FIELD_CUSTOM_VALIDATION_EXCEPTION","fields":["A"]},{"message":"two","errorCode":"FIELD_CUSTOM_VALIDATION_EXCEPTION","fields":["B"]}]`, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "one; two", []string{"A", "B"}},
		{`[{"statusCode":"NOT_FOUND","message":"x"}]`, "NOT_FOUND", "x", nil},
		{`{"errorCode":"X","message":"alone"}`, "X", "alone", nil},
		{`{"error":"invalid_grant","error_description":"expired access/refresh token"}`, "invalid_grant", "expired access/refresh token", nil},
		{`<html>  <b>Down</b>` + "\n\n" + `soon</html>`, "", "the reply is not JSON: <html> <b>Down</b> soon</html>", nil},
		{`[1,2]`, "", "the reply is not JSON: [1,2]", nil},
		{``, "", "", nil},
	} {
		e := &APIError{}
		e.parseErrorBody("", []byte(c.body))
		if e.Code != c.code || e.Message != c.message || !slices.Equal(e.Fields, c.fields) {
			t.Errorf("%s: %q %q %q", c.body, e.Code, e.Message, e.Fields)
		}
	}
	long := &APIError{}
	long.parseErrorBody("", []byte("<html>"+strings.Repeat("x", 5000)))
	if len(long.Message) > 300 {
		t.Errorf("a page of %d bytes is told in full", len(long.Message))
	}
}

func TestErrorsSayWhatWasDoneAndWhere(t *testing.T) {
	for want, err := range map[string]error{
		"describe Lead: GET https://acme.my.salesforce.com/x: 404 NOT_FOUND: gone (fields: A, B)": &APIError{Op: "describe Lead", Method: "GET", URL: "https://acme.my.salesforce.com/x", Status: 404, Code: "NOT_FOUND", Message: "gone", Fields: []string{"A", "B"}},
		"query: GET https://h/x: 503 Service Unavailable":                                         &APIError{Op: "query", Method: "GET", URL: "https://h/x", Status: http.StatusServiceUnavailable},
		"query: URI_TOO_LONG: too long":                                                           &APIError{Op: "query", Code: CodeURITooLong, Message: "too long"},
		"query: GET https://h/x: unexpected EOF":                                                  &NetworkError{Op: "query", Method: "GET", URL: "https://h/x", Err: io.ErrUnexpectedEOF},
	} {
		if err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
	}
}
