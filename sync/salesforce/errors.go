package salesforce

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Codes of Salesforce's that a caller acts upon by name. All others are told by IsTransient, IsHalting, or neither.
const (
	CodeInvalidField          = "INVALID_FIELD"            // the query names a field that this user cannot see (any more): describe anew
	CodeInvalidType           = "INVALID_TYPE"             // the same for an object
	CodeInvalidQueryLocator   = "INVALID_QUERY_LOCATOR"    // nextRecordsUrl is no longer known: begin the query anew
	CodeInvalidReplication    = "INVALID_REPLICATION_DATE" // the window of Updated or Deleted cannot be answered
	CodeExceededIDLimit       = "EXCEEDED_ID_LIMIT"        // more than 600,000 ids in the window: narrow it
	CodeQueryTimeout          = "QUERY_TIMEOUT"            // the query ran too long: narrow it
	CodeOperationTooLarge     = "OPERATION_TOO_LARGE"      // activities without View All Data: narrow it
	CodeRequestLimitExceeded  = "REQUEST_LIMIT_EXCEEDED"   // the org's API budget, or too many long requests at once
	CodeDuplicatesDetected    = "DUPLICATES_DETECTED"
	CodeUnableToLockRow       = "UNABLE_TO_LOCK_ROW"
	CodeEntityIsDeleted       = "ENTITY_IS_DELETED"
	CodeNotFound              = "NOT_FOUND"
	CodeInvalidSession        = "INVALID_SESSION_ID"
	CodePrecondition          = "PRECONDITION_FAILED" // said by the client, for Salesforce says it without a word: the record was changed since
	CodeURITooLong            = "URI_TOO_LONG"        // said by the client: the query is longer than MaxURL
	CodeMalformedReply        = "MALFORMED_REPLY"     // said by the client: the reply is complete, and not what it should be
	CodeNotJSON               = "NOT_JSON"            // said by the client: a page for people came instead of an answer
	CodeRecordsMissing        = "RECORDS_MISSING"     // said by the client: fewer or more records came than were announced
	CodeRecordTooLarge        = "RECORD_TOO_LARGE"    // said by the client: one record of a CSV page is above 16 MiB
	CodeJobFailed             = "JOB_FAILED"          // said by the client: a Bulk job ended without an answer
	CodeUnsupportedVersion    = "UNSUPPORTED_API_VERSION"
	codeAPIDisabledForOrg     = "API_DISABLED_FOR_ORG"
	codeFunctionalityDisabled = "FUNCTIONALITY_NOT_ENABLED"
)

// APIError is an answer of Salesforce's that is not the one asked for, in Salesforce's own words. It holds no secret, and
// its URL has no query.
type APIError struct {
	Op         string        // what was being done: "describe Lead"
	Method     string        // GET, POST, ...
	URL        string        // host and path
	Status     int           // HTTP status; inside a composite reply, that of the part
	Code       string        // errorCode, statusCode, or OAuth's error; may be empty
	Message    string        // what Salesforce said; several errors of one answer are joined by "; "
	Fields     []string      // the fields it concerns, where Salesforce names them
	RetryAfter time.Duration // what the reply asked for; zero where it did not

	oauth bool // the answer came from the token endpoint
	html  bool // a page for people, from an edge or a proxy
	moved bool // a redirect: the org lives elsewhere
}

// Error says what was done, where, and what Salesforce answered.
func (e *APIError) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.URL != "" {
		fmt.Fprintf(&b, ": %s %s", e.Method, e.URL)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d", e.Status)
		if e.Code == "" {
			b.WriteString(" " + http.StatusText(e.Status))
		}
	}
	if e.Code != "" {
		if e.Status == 0 {
			b.WriteByte(':')
		}
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if len(e.Fields) > 0 {
		fmt.Fprintf(&b, " (fields: %s)", strings.Join(e.Fields, ", "))
	}
	return b.String()
}

// NetworkError is a request that got no answer, or only a part of one: no route, a refused or cut connection, silence.
// It is always transient.
type NetworkError struct {
	Op, Method, URL string
	Err             error

	// unsent tells that no byte of the request can have reached Salesforce.
	unsent bool
}

// Error says what was done and what the network did.
func (e *NetworkError) Error() string {
	return fmt.Sprintf("%s: %s %s: %v", e.Op, e.Method, e.URL, e.Err)
}

// Unwrap gives the network's own error.
func (e *NetworkError) Unwrap() error { return e.Err }

// Reason is why an error halts the connection.
type Reason string

// The reasons that HaltReason gives.
const (
	HaltLogin  Reason = "login"   // Salesforce refuses the credentials or the session
	HaltBudget Reason = "budget"  // the org's API calls of the last 24 hours are used up
	HaltAPIOff Reason = "api-off" // the org, or the user's profile, does not allow the API, or not this one
)

// IsTransient tells whether the same request may succeed later, with nothing changed by anyone: back off and ask again.
func IsTransient(err error) bool {
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.transient()
	}
	_, ok := errors.AsType[*NetworkError](err)
	return ok
}

// IsHalting tells whether every other request would fail too until a person acts or the budget is back: pause the connection.
func IsHalting(err error) bool { return HaltReason(err) != "" }

// HaltReason says why an error halts; it is empty for an error that does not.
func HaltReason(err error) Reason {
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.halt()
	}
	return ""
}

// HasCode tells whether Salesforce answered with one of the codes.
func HasCode(err error, codes ...string) bool {
	api, ok := errors.AsType[*APIError](err)
	return ok && slices.Contains(codes, api.Code)
}

// RetryAfter gives how long a reply asked to wait before the next try; zero where it did not.
func RetryAfter(err error) time.Duration {
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.RetryAfter
	}
	return 0
}

// IsLocatorGone tells that a page of a query, or of a Bulk result, can no longer be fetched: begin anew from the last
// durable watermark. Salesforce keeps query locators for two days, and few of them a user.
func IsLocatorGone(err error) bool { return HasCode(err, CodeInvalidQueryLocator) }

// IsBulkUnsupported tells that the Bulk API does not take this object or query, though REST may: read it by QueryRows.
// It is true for errors of CreateQueryJob, of CreateIngestJob and of Job.Err only.
func IsBulkUnsupported(err error) bool {
	api, ok := errors.AsType[*APIError](err)
	if !ok || !strings.HasPrefix(api.Op, opBulk) && !strings.HasPrefix(api.Op, opIngest) || api.Status >= 500 {
		return false
	}
	// An org without Bulk 2.0 has nothing at its address.
	if strings.HasSuffix(api.Op, opCreateJob) && (api.Status == http.StatusNotFound || api.Status == http.StatusMethodNotAllowed) && !api.html {
		return true
	}
	message := strings.ToLower(api.Message)
	// Bulk writes its codes with and without underscores: INVALIDENTITY, InvalidEntity, FEATURE_NOT_ENABLED, FeatureNotEnabled.
	switch strings.ToUpper(strings.ReplaceAll(api.Code, "_", "")) {
	case "INVALIDENTITY", "FEATURENOTENABLED", "FUNCTIONALITYNOTENABLED", "INVALIDTYPE":
		return true
	case "APIERROR":
		return strings.Contains(message, "implementation restriction") || strings.Contains(message, "bulk")
	}
	return strings.Contains(message, "not supported by the bulk api") || strings.Contains(message, "not supported in bulk")
}

var transientCodes = []string{
	CodeUnableToLockRow, "SERVER_UNAVAILABLE", "UNKNOWN_EXCEPTION", "REQUEST_RUNNING_TOO_LONG", CodeQueryTimeout, "LIMIT_EXCEEDED",
	"ALL_OR_NONE_OPERATION_ROLLED_BACK", "PROCESSING_HALTED", "BATCH_PROCESSING_HALTED", "ORG_IN_MAINTENANCE",
	"INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", CodeRecordsMissing,
	"InternalServerError", // of a Bulk job that failed
}

var haltCodes = map[string]Reason{
	CodeInvalidSession:                        HaltLogin,
	"INVALID_AUTH_HEADER":                     HaltLogin,
	"INVALID_LOGIN":                           HaltLogin,
	"PASSWORD_LOCKOUT":                        HaltLogin,
	"ORG_LOCKED":                              HaltLogin,
	"TRIAL_EXPIRED":                           HaltLogin,
	"INACTIVE_ORGANIZATION":                   HaltLogin,
	"LOGIN_DURING_RESTRICTED_DOMAIN":          HaltLogin,
	"LOGIN_DURING_RESTRICTED_TIME":            HaltLogin,
	"LOGIN_MUST_USE_SECURITY_TOKEN":           HaltLogin,
	"LOGIN_CHALLENGE_ISSUED":                  HaltLogin,
	"LOGIN_CHALLENGE_PENDING":                 HaltLogin,
	"INVALID_OPERATION_WITH_EXPIRED_PASSWORD": HaltLogin,
	"CLIENT_NOT_ACCESSIBLE_FOR_USER":          HaltLogin,
	"OAUTH_APPROVAL_ERROR_GENERIC":            HaltLogin,
	"TXN_SECURITY_METERING_ERROR":             HaltAPIOff,
	codeAPIDisabledForOrg:                     HaltAPIOff,
	"API_CURRENTLY_DISABLED":                  HaltAPIOff,
	codeFunctionalityDisabled:                 HaltAPIOff,
	CodeUnsupportedVersion:                    HaltAPIOff,
}

func (e *APIError) halt() Reason {
	switch {
	case e.moved:
		return HaltLogin
	case e.oauth:
		// Whatever the token endpoint says in its own form is a refusal, but these.
		if e.html || e.transientOAuth() {
			return ""
		}
		return HaltLogin
	case e.Code == CodeRequestLimitExceeded:
		// ConcurrentPerOrgLongTxn and its like pass in seconds; TotalRequests is the budget of 24 hours.
		if e.concurrent() {
			return ""
		}
		return HaltBudget
	case IsBulkUnsupported(e):
		return ""
	}
	if reason, ok := haltCodes[e.Code]; ok {
		return reason
	}
	switch {
	case e.html:
		return ""
	case e.Status == http.StatusUnauthorized:
		return HaltLogin
	case e.Status == http.StatusGone:
		return HaltAPIOff
	}
	return ""
}

func (e *APIError) concurrent() bool { return strings.Contains(e.Message, "Concurrent") }

// transientOAuth: too many logins an hour, and the token endpoint's own troubles.
func (e *APIError) transientOAuth() bool {
	switch e.Code {
	case "rate_limit_exceeded", "server_error", "temporarily_unavailable", "unknown_error":
		return true
	}
	return strings.Contains(e.Message, "rate exceeded") || transientStatus(e.Status)
}

func (e *APIError) transient() bool {
	if e.halt() != "" {
		return false
	}
	if e.oauth && e.transientOAuth() || e.Code == CodeRequestLimitExceeded || slices.Contains(transientCodes, e.Code) {
		return true
	}
	switch e.Status {
	case http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType:
		return false
	}
	// A page for people comes from an edge or a proxy in trouble, whatever its status.
	return e.html || transientStatus(e.Status)
}

// statusEdge is what Salesforce's edge gives that could not route a request.
const statusEdge = 420

func transientStatus(status int) bool {
	switch status {
	case http.StatusNotAcceptable, http.StatusRequestTimeout, statusEdge, http.StatusTooManyRequests:
		return true // 406 was seen to pass
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}

// refusedUnread tells that Salesforce surely did nothing of what was asked, so that even a create may be sent again.
func refusedUnread(err error) bool {
	if network, ok := errors.AsType[*NetworkError](err); ok {
		return network.unsent
	}
	api, ok := errors.AsType[*APIError](err)
	if !ok {
		return false
	}
	switch api.Status {
	case statusEdge, http.StatusTooManyRequests:
		return true
	case http.StatusForbidden:
		return api.Code == CodeRequestLimitExceeded && api.concurrent()
	}
	return api.Code == "SERVER_UNAVAILABLE"
}

// retryable tells whether one request should be tried again at once. Errors that are transient by their code alone (locks,
// query timeouts, daily limits) are not: they cost much or need other work first, and the caller decides.
func retryable(err error) bool {
	api, ok := errors.AsType[*APIError](err)
	if !ok {
		return IsTransient(err)
	}
	if !api.transient() || api.Code == CodeRecordsMissing || api.Code == CodeQueryTimeout {
		return false
	}
	return api.html || transientStatus(api.Status) || api.Code == CodeRequestLimitExceeded || api.Code == "SERVER_UNAVAILABLE" ||
		api.oauth && api.Code != "rate_limit_exceeded" && !strings.Contains(api.Message, "rate exceeded")
}

// errorBodyMax bounds what is read of an error's body.
const errorBodyMax = 64 << 10

type errorElement struct {
	Message    string   `json:"message"`
	ErrorCode  string   `json:"errorCode"`
	StatusCode string   `json:"statusCode"` // the key inside composite and collection replies
	Fields     []string `json:"fields"`
}

// parseErrorBody fills e from the body of an error: Salesforce's array, OAuth's object, or anything else.
func (e *APIError) parseErrorBody(contentType string, body []byte) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return
	}
	var elements []errorElement
	switch body[0] {
	case '[':
		if json.Unmarshal(body, &elements, jsonIn) == nil && e.fill(elements) {
			return
		}
	case '{':
		var oauth struct {
			Error            string   `json:"error"`
			ErrorDescription string   `json:"error_description"`
			Message          string   `json:"message"`
			ErrorCode        string   `json:"errorCode"`
			StatusCode       string   `json:"statusCode"`
			Fields           []string `json:"fields"`
		}
		if json.Unmarshal(body, &oauth, jsonIn) == nil {
			if oauth.Error != "" {
				e.Code, e.Message = oauth.Error, oauth.ErrorDescription
				return
			}
			if e.fill([]errorElement{{oauth.Message, oauth.ErrorCode, oauth.StatusCode, oauth.Fields}}) {
				return
			}
		}
	}
	if bytes.HasPrefix(body, []byte("Bad_OAuth_Token")) || bytes.HasPrefix(body, []byte("Missing_OAuth_Token")) {
		// The identity services say in plain text what the REST API says by INVALID_SESSION_ID.
		e.Code, e.Message = CodeInvalidSession, string(firstBytes(body))
		return
	}
	e.html = body[0] != '[' && body[0] != '{' || strings.Contains(contentType, "html")
	e.Message = "the reply is not JSON: " + string(firstBytes(body))
}

func (e *APIError) fill(elements []errorElement) bool {
	var messages []string
	for _, el := range elements {
		code := el.ErrorCode
		if code == "" {
			code = el.StatusCode
		}
		if code == "" && el.Message == "" {
			continue
		}
		if e.Code == "" {
			e.Code = code
		}
		messages = append(messages, el.Message)
		e.Fields = append(e.Fields, el.Fields...)
	}
	e.Message = strings.Join(messages, "; ")
	return len(messages) > 0
}

// firstBytes gives enough of a body to recognise it, on one line.
func firstBytes(body []byte) []byte {
	body = bytes.Join(bytes.Fields(body), []byte(" "))
	if len(body) > 200 {
		body = append(body[:200:200], "..."...)
	}
	return bytes.ToValidUTF8(body, []byte("?"))
}

// parseRetryAfter reads a Retry-After header: seconds, or an HTTP date against the reply's own Date.
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(max(0, min(n, 24*60*60))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(0, min(at.Sub(now), 24*time.Hour))
}
