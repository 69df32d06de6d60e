package salesforce

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// Updated is what Salesforce says was created or changed in a window of time.
type Updated struct {
	IDs []sobject.ID
	// LatestDateCovered is where the next window may begin: the end asked for, or the start of the oldest transaction that
	// is still open and may yet bring records into this window.
	LatestDateCovered time.Time
}

// Updated lists the ids of an object's records that were created or changed from from to to, both included. Salesforce
// looks at whole minutes: seconds are cut off both ends, and a window that is then shorter than a minute begins one earlier.
// The window may begin 30 days back; the object must be replicateable; the user needs View All Data for a complete list.
// More than 600,000 ids are an error (CodeExceededIDLimit). Salesforce asks for no more than one call every 5 minutes.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_getupdated.htm
func (c *Client) Updated(ctx context.Context, object string, from, to time.Time) (Updated, error) {
	var answer struct {
		IDs               []sobject.ID `json:"ids"`
		LatestDateCovered stamp        `json:"latestDateCovered"`
	}
	op := "list updated " + object
	if err := c.replication(ctx, op, object, "updated", from, to, time.Minute, &answer); err != nil {
		return Updated{}, err
	}
	for i, id := range answer.IDs {
		if len(id) == 18 {
			continue
		}
		full, err := sobject.ParseID(string(id))
		if err != nil {
			return Updated{}, &APIError{Op: op, Code: CodeMalformedReply, Message: err.Error()}
		}
		answer.IDs[i] = full
	}
	return Updated{IDs: answer.IDs, LatestDateCovered: answer.LatestDateCovered.at}, nil
}

// DeletedRecord is a record that was deleted.
type DeletedRecord struct {
	ID        sobject.ID
	DeletedAt time.Time
}

// Deleted is what Salesforce's log of deletions holds for a window of time.
type Deleted struct {
	Records []DeletedRecord
	// EarliestDateAvailable is how far back the log goes. A window that began earlier may have lost deletions.
	EarliestDateAvailable time.Time
	LatestDateCovered     time.Time
}

// Deleted lists an object's records that were deleted from from to to, both included: also those of cascades and the losers
// of merges. Salesforce looks at whole minutes: seconds are cut off both ends, and a window that is then not longer than a
// minute begins earlier. The window may begin 15 days back, and the log may be shorter where much is deleted: what it no
// longer holds is CodeInvalidReplication, and the object has to be read in full.
// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_getdeleted.htm
func (c *Client) Deleted(ctx context.Context, object string, from, to time.Time) (Deleted, error) {
	var answer struct {
		Records []struct {
			ID        string `json:"id"`
			DeletedAt stamp  `json:"deletedDate"`
		} `json:"deletedRecords"`
		EarliestDateAvailable stamp `json:"earliestDateAvailable"`
		LatestDateCovered     stamp `json:"latestDateCovered"`
	}
	op := "list deleted " + object
	if err := c.replication(ctx, op, object, "deleted", from, to, 2*time.Minute, &answer); err != nil {
		return Deleted{}, err
	}
	d := Deleted{EarliestDateAvailable: answer.EarliestDateAvailable.at, LatestDateCovered: answer.LatestDateCovered.at}
	d.Records = make([]DeletedRecord, len(answer.Records))
	for i, r := range answer.Records {
		id, err := sobject.ParseID(r.ID)
		if err != nil {
			return Deleted{}, &APIError{Op: op, Code: CodeMalformedReply, Message: err.Error()}
		}
		d.Records[i] = DeletedRecord{ID: id, DeletedAt: r.DeletedAt.at}
	}
	return d, nil
}

func (c *Client) replication(ctx context.Context, op, object, kind string, from, to time.Time, shortest time.Duration, v any) error {
	path, err := c.rest(ctx)
	if err != nil {
		return err
	}
	start, end := window(from, to, shortest)
	// Escaped by hand into the address: a bare + would be read as a space.
	query := "start=" + url.QueryEscape(start.Format(windowFormat)) + "&end=" + url.QueryEscape(end.Format(windowFormat))
	r := request{
		op: op, method: http.MethodGet, path: path + "/sobjects/" + url.PathEscape(object) + "/" + kind + "/",
		query: query, accept: mediaJSON, again: true, within: queryWithin,
	}
	return c.do(ctx, r, c.into(op, v))
}

const windowFormat = "2006-01-02T15:04:05-07:00"

// window cuts a span of time to the minutes that Salesforce looks at, and makes it long enough to be answered.
func window(from, to time.Time, shortest time.Duration) (start, end time.Time) {
	start, end = from.UTC().Truncate(time.Minute), to.UTC().Truncate(time.Minute)
	if end.Sub(start) < shortest {
		start = end.Add(-shortest)
	}
	return start, end
}
