package mirror

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// Operation says what a local change did to its row, all edits of the row taken together.
type Operation string

// The operations.
const (
	Insert Operation = "insert"
	Update Operation = "update"
	Delete Operation = "delete"
)

// Change is what people did to one row since it was last sent: all their edits of it, coalesced.
//
// Base and Local are keyed by the field's API name and hold one text form of each value (see Canonical), nil for null.
type Change struct {
	RowID     int64     // the row's id here
	SFID      string    // empty until Salesforce accepted the record
	Operation Operation // Insert for every row that has no SFID yet, also one that was inserted long ago and not sent then
	Seqs      []int64   // the outbox rows that it is made of, in their order

	// Base is what each changed field held before the first edit: what this side last knew of Salesforce. Of a deletion it is
	// the whole row, with what its unsent edits had changed as it was before them. Of an insert it is empty.
	Base map[string]*string
	// Local is what each changed field holds after the last edit. A field that came back to its base stays in it, equal to
	// Base: meanwhile a newer value of Salesforce was not written over it, so it must be read and written now.
	// Of an insert it is every field that is filled and can be written. Of a deletion it is empty.
	Local map[string]*string

	// At is when each field of Local was edited last. Another field of the row may have been edited since.
	At map[string]time.Time

	By, Application string // who made the last edit, and with which program
	FirstAt, LastAt time.Time
	Attempts        int // how often it was tried and came back with Retry
}

// Claim is a batch of changes that one worker has taken for sending. Its rows are in mirror.outbox, claimed, until Settle
// settles them; a worker that finds it open after another died gets it again by ReclaimChanges.
type Claim struct {
	ID        string // a UUID; empty if nothing was there to claim
	Object    string
	RunID     int64
	Operation Operation
	JobID     string // a Bulk ingest job, once it was made: see NoteClaim
	Step      string // the sender's own word for how far it is
	MadeAt    time.Time
	Watch     Watch    // of its Bulk job
	Sent      Sent     // of its creates: see NoteSent
	Changes   []Change // of OpenClaims: nil
}

// Sent is what is known of creates of a claim that went out: of those that are not settled, some may exist.
type Sent struct {
	Since, Last time.Time // by the org's clock, before the first and before the last batch; zero: none went out
	By          string    // the id of the user as which
	Key         string    // the external id's API name, by which sending them again does no harm; empty: by none
	KeyLength   int       // of that field
}

// Watch is what the sender has seen of other people's edits in Salesforce while a claim's Bulk job was under way: see NoteWatch.
type Watch struct {
	Since time.Time                     `json:"since,omitzero"` // by the org's clock, what was read last
	Met   map[string]map[string]*string `json:"met,omitempty"`  // by sfid and API name, what others set a field to that the job sets too
}

// Outcome says what became of a change.
type Outcome string

// The outcomes of a change that leaves the outbox; what it was stays in mirror.settled.
const (
	Accepted   Outcome = "accepted"   // Salesforce took it
	Already    Outcome = "already"    // Salesforce holds it already, or a record to delete is gone
	Conflicted Outcome = "conflict"   // nothing of it was to be sent: the other side won, or a person is asked
	Dropped    Outcome = "dropped"    // it is not to be sent: a person's decision, or the admin's choice for the object
	Superseded Outcome = "superseded" // a later edit made it void, as a deletion does for a row that was never sent
	Restored   Outcome = "restored"   // a deletion that is not allowed: the row is back, with its id
	Linked     Outcome = "linked"     // a row without record was found to be one that Salesforce has
)

// The outcomes of a change that stays in the outbox.
const (
	Refused  Outcome = "refused"  // set aside with Salesforce's own words until a person, or an edit of the row, asks again
	Retry    Outcome = "retry"    // not now: again after RetryAt, and Attempts grows
	Released Outcome = "released" // was not tried: again at once
)

// Settlement is what became of one change. Settling it a second time does nothing (Invariant 5): it counts only while its rows
// carry its claim.
type Settlement struct {
	Claim   string
	Object  string
	RowID   int64
	Seqs    []int64 // of the change
	RunID   int64
	Outcome Outcome

	// SFID is the record's id where it was not known before: an accepted or found create. Should a read have brought the
	// record as a row of its own meanwhile, the two become one: the row that people know keeps its id, and takes over what
	// points to the other.
	SFID string
	// Values are what Salesforce holds now, by API name, in its own words or in Canonical's: accepted values, those that it
	// kept, and any others that the sender has read. They are written into the row, but for fields that were edited here again
	// since the change was claimed. Of a restored row they come over what it held when it was deleted; give them all.
	Values map[string]*string
	// Stamp is the record's SystemModstamp after the change, where it is known. Without it a read that began before the change
	// can show the old values until the next cycle.
	Stamp time.Time
	// Conflicts are the fields on which both sides had changed. With Winner empty the field waits for a person: it leaves the
	// outbox, keeps its local value, and nothing else of the record waits with it.
	Conflicts []Conflict
	// Apart are fields that Salesforce does not take while it takes the rest: they stay in the outbox as an edit of their own, refused.
	// Of a change that leaves the outbox.
	Apart []Apart

	// Of a refusal.
	Code, Message string
	Field         string         // API name of the field at fault, where one is
	Details       map[string]any // what else helps: "candidates" of a match, "allowed" values. "changed" and "base" are added.

	RetryAt time.Time // of Retry; zero: at once
	By      string    // of Dropped: who decided
	Reason  string    // of Dropped, Restored, Superseded: why, in a sentence
}

// Apart is one field that is refused alone.
type Apart struct{ Field, Code, Message string }

// Conflict is one field that both sides changed since they last agreed; values as in Change.
type Conflict struct {
	Field               string // API name
	Base, Local, Remote *string
	Winner              string // WinnerSalesforce, WinnerLocal, or empty while a person is asked
	Reason              string
}

// Who won a conflict.
const (
	WinnerSalesforce = "salesforce"
	WinnerLocal      = "local"
)

// Canonical gives the one text form of a value of a field of the describe type, so that base, local and remote can be compared
// by ==. It takes Salesforce's own forms and PostgreSQL's. Numbers are the shortest decimal without exponent, datetimes are
// UTC in milliseconds, booleans are true and false, ids have 18 characters, all else stays as it is. Nothing gives "", which
// is null: Salesforce has no empty text. A cell that is not of the type comes back as it is, with an error.
func Canonical(fieldType string, cell []byte) (string, error) {
	if len(cell) == 0 {
		return "", nil
	}
	raw := string(cell)
	bad := func() (string, error) { return raw, fmt.Errorf("%s is not a value of type %s", shown(cell), fieldType) }
	switch fieldType {
	case "int", "long", "double", "currency", "percent":
		var buf [64]byte
		d, f := parseDecimal(cell, buf[:])
		if f != fit || d.point > numericDigitsMax || d.point < -numericScaleMax {
			return bad()
		}
		return d.String(), nil
	case "boolean":
		switch raw {
		case "true", "false":
			return raw, nil
		case "t":
			return "true", nil
		case "f":
			return "false", nil
		}
		return bad()
	case "date":
		if len(cell) != 10 {
			return bad()
		}
		if _, ok := parseDate(cell); !ok {
			return bad()
		}
		return raw, nil
	case "datetime":
		micros, f := parseTimestamp(cell)
		if f == fit {
			return time.UnixMicro(epoch + micros).UTC().Format(canonicalTime), nil
		}
		// PostgreSQL writes old local times with seconds in the zone.
		t, err := time.Parse("2006-01-02T15:04:05.999999999-07:00:00", raw)
		if err != nil || t.Year() < 1 || t.Year() > 9999 {
			return bad()
		}
		return t.UTC().Format(canonicalTime), nil
	case "time":
		micros, rest, f := parseClock(cell, flawTime)
		if f != fit || len(rest) > 0 && string(rest) != "Z" {
			return bad()
		}
		return time.UnixMicro(epoch + micros).UTC().Format("15:04:05.000Z"), nil
	case "id", "reference":
		if len(cell) == 15 {
			if id, err := sobject.ParseID(raw); err == nil {
				return string(id), nil
			}
		}
	}
	return raw, nil
}

const canonicalTime = "2006-01-02T15:04:05.000Z"

// epoch is 2000-01-01, from where PostgreSQL counts, in microseconds of Unix.
const epoch = 946_684_800 * second

// String writes the number without exponent and without zeros that say nothing.
func (d decimal) String() string {
	digits := strings.TrimRight(string(d.digits), "0")
	if digits == "" {
		return "0"
	}
	var b strings.Builder
	if d.negative {
		b.WriteByte('-')
	}
	switch {
	case d.point <= 0:
		b.WriteString("0.")
		b.WriteString(strings.Repeat("0", -d.point))
		b.WriteString(digits)
	case d.point >= len(digits):
		b.WriteString(digits)
		b.WriteString(strings.Repeat("0", d.point-len(digits)))
	default:
		b.WriteString(digits[:d.point])
		b.WriteByte('.')
		b.WriteString(digits[d.point:])
	}
	return b.String()
}

// canonicalJSON gives the text form of a value as to_jsonb wrote it, nil for null. What is not of its type stays as it is:
// Salesforce says what it thinks of it.
func canonicalJSON(fieldType string, value json.RawMessage) *string {
	s := string(value)
	switch {
	case s == "" || s == "null":
		return nil
	case s[0] == '"':
		if err := json.Unmarshal(value, &s); err != nil {
			return nil
		}
	}
	c, _ := Canonical(fieldType, []byte(s))
	if c == "" {
		return nil
	}
	return &c
}
