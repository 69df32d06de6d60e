package mirror

import (
	"context"
	"errors"
)

var errNotYet = errors.New("sending is not built yet")

// ClaimChanges takes up to limit changed rows of an object whose coalesced operation is op, in the order of their first edit,
// and gives them as a claim. Rows that still point to a row without record (local:<id>) wait for it; rows of which something is
// claimed already wait for that; rows with a time to be tried again wait until then. Two workers never get the same row. The
// claim is empty (ID "") if there is nothing.
func (db *DB) ClaimChanges(ctx context.Context, runID int64, object string, op Operation, limit int) (Claim, error) {
	return Claim{}, errNotYet
}

// ReclaimChanges gives an open claim again, with what is left of it to settle, to the run that goes on with it. ErrNoClaim if it was settled.
func (db *DB) ReclaimChanges(ctx context.Context, claim string, runID int64) (Claim, error) {
	return Claim{}, errNotYet
}

// ErrNoClaim is the answer for a claim that does not exist, or no longer.
var ErrNoClaim = errors.New("there is no such claim")

// OpenClaims lists the claims of an object that are not settled, oldest first, without their changes; of all objects if object is empty.
func (db *DB) OpenClaims(ctx context.Context, object string) ([]Claim, error) {
	return nil, errNotYet
}

// NoteClaim keeps how far a claim's sending is: its Bulk job, once the org made it, and the sender's own word for the step.
func (db *DB) NoteClaim(ctx context.Context, claim, jobID, step string) error {
	return errNotYet
}

// Settle keeps what became of changes, all of them in one transaction. What was settled before, or does not carry its claim any more,
// is passed over (Invariant 5). It gives how many counted.
func (db *DB) Settle(ctx context.Context, settlements []Settlement) (int, error) {
	return 0, errNotYet
}

// Backlog is what waits of an object to be sent, by the operation as Change has it: what a preview counts.
type Backlog struct {
	Object                    string
	Inserts, Updates, Deletes int64
	Waiting, Claimed, Refused int64 // rows of people, not edits
}

// Backlogs counts what waits, object by object, without claiming it.
func (db *DB) Backlogs(ctx context.Context) ([]Backlog, error) {
	return nil, errNotYet
}
