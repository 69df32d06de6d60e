// Package templates has the pages, made from props, and knows every link.
package templates

import (
	"net/url"
	"strconv"

	"github.com/tandem-sync/tandem/models"
)

// The addresses of the pages.
const (
	URLOverview   = "/"
	URLObjects    = "/objects"
	URLHistory    = "/history"
	URLErrors     = "/errors"
	URLConnection = "/connection"
	URLCallback   = "/connection/callback"
	URLDisconnect = "/connection/disconnect"
	URLSettings   = "/settings"
	URLSignIn     = "/sign-in"
	URLSignOut    = "/sign-out"
	URLLive       = "/live"
	URLSync       = "/sync"
	URLPause      = "/pause"
	URLResume     = "/resume"
	URLLanguage   = "/settings/language"
	URLInvite     = "/settings/people"

	URLLook        = "/objects"
	URLNoticesSeen = "/notices/seen"

	URLSyncSettings  = "/settings/sync"
	URLErrorsCSV     = "/errors.csv"
	URLErrorsRetry   = "/errors/retry"
	URLErrorsDrop    = "/errors/drop"
	URLConflicts     = "/conflicts"
	URLConflictsCSV  = "/conflicts.csv"
	URLConflictsSeen = "/conflicts/seen"
	URLRecords       = "/records"
	URLApprovals     = "/approvals"
	URLApprovalAgain = "/approvals/again"
	URLAudit         = "/settings/audit"
	URLAuditCSV      = "/settings/audit.csv"
)

// URLObject is an object's page.
func URLObject(name string) string { return URLObjects + "/" + url.PathEscape(name) }

// URLObjectDo is where an object's button posts to: check, mend, resync, pause, resume, enable, disable.
func URLObjectDo(name, verb string) string { return URLObject(name) + "/" + verb }

// URLObjectFields is an object's page of fields.
func URLObjectFields(name string) string { return URLObjectDo(name, "fields") }

// URLPendingDo is where the answer about another user posts to: accept, drop.
func URLPendingDo(verb string) string { return URLConnection + "/user/" + verb }

// URLObjectSettings is an object's page of choices.
func URLObjectSettings(name string) string { return URLObjectDo(name, "settings") }

// URLStory is a record's page; key is its local id or Salesforce's.
func URLStory(object, key string) string {
	return URLRecords + "/" + url.PathEscape(object) + "/" + url.PathEscape(key)
}

// URLStoryEdit is the form in which a record is edited.
func URLStoryEdit(object, key string) string { return URLStory(object, key) + "/edit" }

// URLStoryNew is the form of a new record.
func URLStoryNew(object string) string { return URLStory(object, "new") }

// URLLookup is where a form asks what a field of an object may refer to.
func URLLookup(object, column string) string {
	return URLStory(object, "lookup") + "/" + url.PathEscape(column)
}

// URLWaiting lists the records of which edits wait to be sent, of an object or with none named of all.
func URLWaiting(object string) string {
	v := url.Values{"state": {"waiting"}}
	if object != "" {
		v.Set("object", object)
	}
	return URLRecords + "?" + v.Encode()
}

// URLConflictDo is where a conflict's buttons post to.
func URLConflictDo(id int64) string { return URLConflicts + "/" + strconv.FormatInt(id, 10) }

// URLApproval is where the answer to a question posts to.
func URLApproval(id int64) string { return URLApprovals + "/" + strconv.FormatInt(id, 10) }

// URLConflictsOf is the conflicts of one object.
func URLConflictsOf(object string) string { return ConflictsQuery{Object: object}.URL(URLConflicts) }

// URLRun is a run's page.
func URLRun(id int64) string { return "/runs/" + strconv.FormatInt(id, 10) }

// URLRunCancel is where a run's button posts to.
func URLRunCancel(id int64) string { return URLRun(id) + "/cancel" }

// URLPerson is where a person's buttons post to: role, reset, remove.
func URLPerson(id, verb string) string { return URLInvite + "/" + id + "/" + verb }

// URLHistoryOf is the history of one object.
func URLHistoryOf(object string) string {
	return URLHistory + "?" + url.Values{"object": {object}}.Encode()
}

// URLErrorsOf is what is set aside of one object.
func URLErrorsOf(object string) string {
	return URLErrors + "?" + url.Values{"object": {object}}.Encode()
}

// URLRecord opens a record in Salesforce; empty where the org's address is not known.
func URLRecord(instance, sfid string) string {
	if instance == "" || sfid == "" {
		return ""
	}
	return instance + "/" + url.PathEscape(sfid)
}

// HistoryQuery is the filter of the history as the address has it.
type HistoryQuery struct {
	Object, Kind, State, From, To string
	Before                        int64
}

// URL is the history's address with this filter; path is the page or its CSV.
func (q HistoryQuery) URL(path string) string {
	v := url.Values{}
	for name, value := range map[string]string{"object": q.Object, "kind": q.Kind, "state": q.State, "from": q.From, "to": q.To} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// kinds and results are what the history can be narrowed to.
var (
	kinds   = []models.RunKind{models.RunFirstSync, models.RunChanges, models.RunSend, models.RunResync, models.RunFill, models.RunFormulas, models.RunCheck, models.RunSweep}
	results = []models.RunState{models.RunQueued, models.RunRunning, models.RunSucceeded, models.RunFailed, models.RunCanceled}
)
