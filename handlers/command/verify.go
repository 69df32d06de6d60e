package command

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem-sync/tandem/models"
)

// verifyShown bounds the fields that differ and are printed of one object.
const verifyShown = 20

// verify compares objects with Salesforce now, all that are switched on or those named, and prints what differs. It succeeds only if
// nothing does.
func verify(p *Program, ctx context.Context, args []string) error {
	names, err := parse(flags("verify"), args)
	if err != nil {
		return err
	}
	return p.with(ctx, func(db *models.DB) error {
		if len(names) == 0 {
			objects, err := db.Objects(ctx)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if o.Enabled && !o.Hidden {
					names = append(names, o.Name)
				}
			}
			if len(names) == 0 {
				return &models.Error{Code: models.CodeConflict, Message: "sync.not_connected"}
			}
		}
		if err := stuck(ctx, db); err != nil {
			return err
		}
		began := db.Now()
		runs := make([]models.Run, len(names))
		for i, name := range names {
			if runs[i], err = db.RequestCheck(ctx, name, actor()); err != nil {
				return err
			}
		}
		same := true
		for i := range runs {
			ok, err := p.verifyOne(ctx, db, runs[i], began)
			if err != nil {
				return err
			}
			same = same && ok
		}
		if !same {
			return errNotDone
		}
		return nil
	})
}

// verifyOne waits for one check and tells what it found. A run that was under way before is waited for, and then another asked
// for: what it had read by then says nothing of now.
func (p *Program) verifyOne(ctx context.Context, db *models.DB, run models.Run, began time.Time) (same bool, err error) {
	for {
		if run, err = p.awaitCheck(ctx, db, run); err != nil {
			return false, err
		}
		if !run.RequestedAt.Before(began) {
			break
		}
		if run, err = db.RequestCheck(ctx, run.Object, actor()); err != nil {
			return false, err
		}
	}
	l := terminal()
	if run.State != models.RunSucceeded {
		fmt.Fprintln(p.Err, say("sync.run_failed", "object", run.Object, "state", say("run.state."+string(run.State)), "error", terminal().Kept(run.Error)))
		return false, nil
	}
	c, err := db.LastCheck(ctx, run.Object)
	if err != nil {
		return false, err
	}
	if c.Same() {
		fmt.Fprintln(p.Out, say("verify.same", "object", run.Object, "n", l.Number(c.Here), "at", c.CheckedAt.UTC().Format(time.RFC3339)))
		return true, nil
	}
	if c.Kept > 0 {
		fmt.Fprintln(p.Out, run.Object+": "+l.N("verify.kept", c.Kept))
	}
	if !c.Differs() {
		if c.Moving > 0 {
			fmt.Fprintln(p.Out, run.Object+": "+l.N("verify.moving", c.Moving))
		}
		return false, nil
	}
	differences, err := db.Differences(ctx, run.Object, verifyShown+1)
	if err != nil {
		return false, err
	}
	found := l.N("object.check_differs", c.Differing)
	if c.Unlooked > 0 {
		found = l.N("object.check_at_least", c.Differing) + ". " + l.N("object.check_unlooked", c.Unlooked)
	}
	fmt.Fprintln(p.Out, run.Object+": "+found)
	for i, d := range differences {
		if i == verifyShown {
			fmt.Fprintln(p.Out, "  "+say("verify.more", "n", fmt.Sprint(verifyShown)))
			break
		}
		if d.Field == "" {
			fmt.Fprintf(p.Out, "  %s  %s\n", d.SFID, say("object.difference."+d.Kind))
			continue
		}
		fmt.Fprintf(p.Out, "  %s  %s\n", d.SFID, say("verify.differs", "field", d.Field, "here", side(d.Here), "there", side(d.There)))
	}
	return false, nil
}

func side(v *string) string {
	if v == nil {
		return say("object.difference_empty")
	}
	return fmt.Sprintf("%q", *v)
}

// awaitCheck waits for a run's end. It tells once why the run waits, and gives up where nobody works at it: a script must not hang.
func (p *Program) awaitCheck(ctx context.Context, db *models.DB, run models.Run) (models.Run, error) {
	told := ""
	looks := 0
	err := p.await(ctx, db, func() (bool, error) {
		var err error
		if run, err = db.Run(ctx, run.ID); err != nil || !run.Active() {
			return true, err
		}
		if run.Error != "" && run.Error != told {
			told = run.Error
			fmt.Fprintln(p.Err, run.Object+": "+say("object.check_waits", "error", terminal().Kept(run.Error)))
		}
		if looks++; looks%heldEvery == 0 {
			return false, stuck(ctx, db)
		}
		return false, nil
	})
	return run, err
}

// stuck tells why no check would ever end as things stand; nil if one would.
func stuck(ctx context.Context, db *models.DB) error {
	s, err := db.Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case s.Connection.State == models.StateNotConnected:
		return &models.Error{Code: models.CodeConflict, Message: "sync.not_connected"}
	case s.Connection.State == models.StateRefused:
		return &models.Error{Code: models.CodeRefused, Message: "sync.refused", Params: map[string]string{"message": s.Connection.Error}}
	case s.Cycle.Workers == 0:
		return &models.Error{Code: models.CodeUnavailable, Message: "verify.no_worker"}
	case s.Cycle.State == models.CyclePaused:
		return &models.Error{Code: models.CodeConflict, Message: "verify.paused"}
	}
	return nil
}
