package engine

import (
	"time"

	"github.com/tandem-sync/tandem/models"
)

// sides are the three values of one field: what both sides last agreed on, what it was made here, and what the org has now. All are in
// the one form of mirror.Canonical, so that equal values are equal texts; nil is null.
type sides struct{ base, local, remote *string }

// rules are the admin's choices that decide about one field.
type rules struct {
	policy          models.ConflictPolicy
	blankOverwrites bool // an empty value may overwrite a filled one
	keepFirst       bool // what Salesforce has is never overwritten once it is set
}

// verdict says what becomes of one changed field.
type verdict string

// The verdicts.
const (
	verdictSend     verdict = "send"     // the local value goes to Salesforce
	verdictAlready  verdict = "already"  // Salesforce has it already
	verdictKeep     verdict = "keep"     // Salesforce's value stays, and comes back here; no two edits met
	verdictConflict verdict = "conflict" // both sides changed it: decision.winner says whose value stands
	verdictAsk      verdict = "ask"      // both sides changed it, and a person is to say
)

// The winners of a conflict.
const (
	winnerSalesforce = "salesforce"
	winnerLocal      = "local"
)

// decision is a verdict with what led to it.
type decision struct {
	verdict verdict
	winner  string // of a conflict
	reason  string // empty where nothing has to be explained
}

// Why a decision fell as it did, for the pages and the history.
const (
	reasonUndone    = "The edit was taken back here before it was sent."
	reasonBlank     = "An empty value does not overwrite a filled one: that is set for this field."
	reasonKeepFirst = "The field keeps its first value: that is set for it."
	reasonNotSent   = "The field is not sent to Salesforce: that is set for it, or Salesforce does not let it be written."
	reasonPolicy    = "That is set for this field, or for its whole object."
	reasonNewer     = "The later edit wins: that is set for this field, or for its whole object."
	reasonMeanwhile = "Somebody changed it in Salesforce while this was being sent, after it was read; the value that was sent came over it."
	reasonDeleted   = "It is deleted in Salesforce already."
	reasonUnknown   = "The later edit wins, and Salesforce does not say when it changed the record."
)

// resolve decides about one field that was edited here. editedAt is when, by the org's clock; remoteAt is when the record was last
// changed there, zero if the org does not say.
//
// It looks at nothing else, so that the outcome is the same whenever it is called: what reading brought meanwhile changes neither the base
// nor the local value of a field that waits to be sent, and remote is always read just before.
func resolve(s sides, r rules, editedAt, remoteAt time.Time) decision {
	switch {
	case same(s.local, s.remote):
		return decision{verdict: verdictAlready}
	case same(s.local, s.base):
		return decision{verdict: verdictKeep, reason: reasonUndone}
	case r.keepFirst && s.remote != nil:
		return decision{verdict: verdictKeep, reason: reasonKeepFirst}
	case !r.blankOverwrites && s.local == nil:
		return decision{verdict: verdictKeep, reason: reasonBlank}
	case same(s.base, s.remote):
		return decision{verdict: verdictSend}
	case !r.blankOverwrites && s.remote == nil:
		// The rule holds both ways: that it was emptied there does not undo what was filled in here.
		return decision{verdict: verdictSend, reason: reasonBlank}
	}
	switch r.policy {
	case models.PolicyLocal:
		return decision{verdictConflict, winnerLocal, reasonPolicy}
	case models.PolicyAsk:
		return decision{verdict: verdictAsk}
	case models.PolicyNewest:
		// Salesforce stamps whole seconds; within one second it wins, so that the outcome does not hang on chance.
		switch {
		case remoteAt.IsZero():
			return decision{verdictConflict, winnerSalesforce, reasonUnknown}
		case editedAt.Truncate(time.Second).After(remoteAt.Truncate(time.Second)):
			return decision{verdictConflict, winnerLocal, reasonNewer}
		}
		return decision{verdictConflict, winnerSalesforce, reasonNewer}
	}
	return decision{verdictConflict, winnerSalesforce, reasonPolicy}
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
