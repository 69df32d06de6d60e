package engine

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-sync/tandem/models"
)

func val(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

var (
	noon    = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	early   = noon.Add(-time.Minute)
	plain   = rules{policy: models.PolicySalesforce, blankOverwrites: true}
	allSame = []models.ConflictPolicy{models.PolicySalesforce, models.PolicyLocal, models.PolicyNewest, models.PolicyAsk}
)

// Every case of the decision, by name.
func TestResolve(t *testing.T) {
	t.Parallel()
	with := func(p models.ConflictPolicy) rules { return rules{policy: p, blankOverwrites: true} }
	for _, c := range []struct {
		name                string
		base, local, remote string
		rules               rules
		editedAt, remoteAt  time.Time
		want                decision
	}{
		{"only here", "a", "b", "a", plain, noon, early, decision{verdict: verdictSend}},
		{"filled here", "", "b", "", plain, noon, early, decision{verdict: verdictSend}},
		{"emptied here", "a", "", "a", plain, noon, early, decision{verdict: verdictSend}},
		{"both to the same", "a", "b", "b", plain, noon, early, decision{verdict: verdictAlready}},
		{"both emptied", "a", "", "", plain, noon, early, decision{verdict: verdictAlready}},
		{"taken back, nothing there", "a", "a", "a", plain, noon, early, decision{verdict: verdictAlready}},
		{"taken back, changed there", "a", "a", "c", plain, noon, early, decision{verdict: verdictKeep, reason: reasonUndone}},
		{"taken back, changed there, local wins", "a", "a", "c", with(models.PolicyLocal), noon, early, decision{verdict: verdictKeep, reason: reasonUndone}},

		{"both, Salesforce wins", "a", "b", "c", with(models.PolicySalesforce), noon, early, decision{verdictConflict, winnerSalesforce, reasonPolicy}},
		{"both, local wins", "a", "b", "c", with(models.PolicyLocal), early, noon, decision{verdictConflict, winnerLocal, reasonPolicy}},
		{"both, ask", "a", "b", "c", with(models.PolicyAsk), noon, early, decision{verdict: verdictAsk}},
		{"both, here later", "a", "b", "c", with(models.PolicyNewest), noon, early, decision{verdictConflict, winnerLocal, reasonNewer}},
		{"both, there later", "a", "b", "c", with(models.PolicyNewest), early, noon, decision{verdictConflict, winnerSalesforce, reasonNewer}},
		{"both in one second", "a", "b", "c", with(models.PolicyNewest), noon.Add(900 * time.Millisecond), noon, decision{verdictConflict, winnerSalesforce, reasonNewer}},
		{"both, time not told", "a", "b", "c", with(models.PolicyNewest), noon, time.Time{}, decision{verdictConflict, winnerSalesforce, reasonUnknown}},
		{"both, no policy known", "a", "b", "c", with(""), noon, early, decision{verdictConflict, winnerSalesforce, reasonPolicy}},
		{"emptied here, changed there", "a", "", "c", with(models.PolicyLocal), noon, early, decision{verdictConflict, winnerLocal, reasonPolicy}},
		{"changed here, emptied there", "a", "b", "", with(models.PolicySalesforce), noon, early, decision{verdictConflict, winnerSalesforce, reasonPolicy}},

		{"blank may not overwrite", "a", "", "a", rules{policy: models.PolicyLocal}, noon, early, decision{verdict: verdictKeep, reason: reasonBlank}},
		{"blank may not overwrite what changed", "a", "", "c", rules{policy: models.PolicyLocal}, noon, early, decision{verdict: verdictKeep, reason: reasonBlank}},
		{"blank there may not undo", "a", "b", "", rules{policy: models.PolicySalesforce}, noon, early, decision{verdict: verdictSend, reason: reasonBlank}},
		{"filled overwrites as ever", "a", "b", "a", rules{policy: models.PolicySalesforce}, noon, early, decision{verdict: verdictSend}},

		{"first value stays", "a", "b", "a", rules{policy: models.PolicyLocal, blankOverwrites: true, keepFirst: true}, noon, early, decision{verdict: verdictKeep, reason: reasonKeepFirst}},
		{"first value stays, set there meanwhile", "", "b", "c", rules{policy: models.PolicyLocal, blankOverwrites: true, keepFirst: true}, noon, early, decision{verdict: verdictKeep, reason: reasonKeepFirst}},
		{"first value stays, not even emptied", "a", "", "a", rules{policy: models.PolicyLocal, blankOverwrites: true, keepFirst: true}, noon, early, decision{verdict: verdictKeep, reason: reasonKeepFirst}},
		{"the first value is set", "", "b", "", rules{policy: models.PolicySalesforce, blankOverwrites: true, keepFirst: true}, noon, early, decision{verdict: verdictSend}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := resolve(sides{val(c.base), val(c.local), val(c.remote)}, c.rules, c.editedAt, c.remoteAt)
			if got != c.want {
				t.Errorf("resolve(%q, %q, %q) = %+v, want %+v", c.base, c.local, c.remote, got, c.want)
			}
		})
	}
}

// twoSides is one field on both sides: the rules of capturing, reading and sending in their shortest form.
type twoSides struct {
	rules             rules
	local, remote     *string
	pending           bool
	base              *string
	editedAt, movedAt time.Time
	asked             bool // a person is asked, and the field waits for the answer
	log               []string
}

func (f *twoSides) edit(v *string, at time.Time) {
	if same(f.local, v) {
		return
	}
	if !f.pending {
		f.pending, f.base = true, f.local
	}
	f.local, f.editedAt = v, at
}

func (f *twoSides) read() {
	// A field that waits to be sent, or for an answer, keeps its local value.
	if !f.pending && !f.asked {
		f.local = f.remote
	}
}

func (f *twoSides) send() {
	if !f.pending || f.asked {
		return
	}
	d := resolve(sides{f.base, f.local, f.remote}, f.rules, f.editedAt, f.movedAt)
	f.log = append(f.log, string(d.verdict)+" "+d.winner)
	switch {
	case d.verdict == verdictAsk:
		f.asked, f.pending = true, false
		return
	case d.verdict == verdictSend, d.verdict == verdictConflict && d.winner == winnerLocal:
		f.remote = f.local
	default:
		f.local = f.remote
	}
	f.pending = false
}

// Whatever the order in which two fields are edited on both sides, read and sent: in the end both sides are equal or a person is asked; an
// edit of one side alone is never lost; and reading in between changes nothing in what is decided.
func TestResolveInEveryOrder(t *testing.T) {
	t.Parallel()
	value := rapid.SampledFrom([]string{"", "a", "b", "c", "d"})
	rapid.Check(t, func(t *rapid.T) {
		rule := rules{
			policy: rapid.SampledFrom(allSame).Draw(t, "policy"), blankOverwrites: rapid.Bool().Draw(t, "blank overwrites"),
			keepFirst: rapid.Float64Range(0, 1).Draw(t, "keep first") > 0.9,
		}
		start := val(value.Draw(t, "start"))
		// With reads, and the same without.
		with := &twoSides{rules: rule, local: start, remote: start}
		without := &twoSides{rules: rule, local: start, remote: start}
		hereAlone, thereAlone := true, true
		at := noon
		for i, step := range rapid.SliceOfN(rapid.SampledFrom([]string{"here", "there", "read"}), 1, 12).Draw(t, "steps") {
			at = at.Add(2 * time.Second)
			switch step {
			case "here":
				v := val(value.Draw(t, fmt.Sprint("here ", i)))
				with.edit(v, at)
				without.edit(v, at)
				thereAlone = false
			case "there":
				// Before the first local edit, reading has to come first: what was agreed on is what was read.
				if !with.pending {
					with.remote = val(value.Draw(t, fmt.Sprint("there ", i)))
					without.remote = with.remote
					with.read()
					without.read()
				} else {
					with.remote = val(value.Draw(t, fmt.Sprint("there ", i)))
					without.remote = with.remote
				}
				with.movedAt, without.movedAt = at, at
				hereAlone = false
			case "read":
				with.read()
			}
		}
		edited, moved := with.local, with.remote
		pending, base := with.pending, with.base
		with.send()
		without.send()
		if !same(with.local, without.local) || !same(with.remote, without.remote) || with.asked != without.asked {
			t.Fatalf("with reads in between %v, without %v", with.log, without.log)
		}
		with.read()
		if !with.asked && !same(with.local, with.remote) {
			t.Fatalf("the sides differ after sending and reading: %v", with.log)
		}
		if with.asked && (!same(with.local, edited) || !same(with.remote, moved)) {
			t.Fatal("a question changed a value")
		}
		if hereAlone && pending && !rule.keepFirst && (rule.blankOverwrites || edited != nil) && !same(with.remote, edited) {
			t.Fatalf("an edit that nobody contradicted did not arrive: %v", with.log)
		}
		if thereAlone && !same(with.local, moved) {
			t.Fatal("an edit in Salesforce that nobody contradicted did not arrive")
		}
		if pending && !same(base, moved) && !same(edited, moved) && !same(edited, base) && !rule.keepFirst && rule.blankOverwrites {
			want := moved
			if rule.policy == models.PolicyLocal || rule.policy == models.PolicyNewest && with.editedAt.After(with.movedAt) {
				want = edited
			}
			if rule.policy == models.PolicyAsk != with.asked || !with.asked && !same(with.remote, want) {
				t.Fatalf("both edited, and the policy %s gave %v: %v", rule.policy, with.remote, with.log)
			}
		}
	})
}
