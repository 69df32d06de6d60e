package command

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem-sync/tandem/models"
)

// waitEvery is how often a command that waits looks at the rows.
const waitEvery = 250 * time.Millisecond

// heldEvery is in how many of these looks it also looks whether something holds the work up.
const heldEvery = 4

// syncNow skips the rest: the next cycle starts now. With --wait it returns when that cycle has ended.
func syncNow(p *Program, ctx context.Context, args []string) error {
	f := flags("sync")
	wait := f.Bool("wait", false, say("sync.wait"))
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("command.no_arguments", "got", rest[0])
	}
	return p.with(ctx, func(db *models.DB) error {
		cycle, err := db.RequestSync(ctx, actor())
		if err != nil {
			return err
		}
		if !*wait {
			fmt.Fprintln(p.Out, say("sync.asked"))
			return nil
		}
		return p.await(ctx, db, func() (bool, error) {
			c, err := db.Cycle(ctx, cycle)
			if err != nil || c.EndedAt == nil {
				return false, ignoreNotFound(err)
			}
			runs, err := db.CycleRuns(ctx, cycle)
			if err != nil {
				return false, err
			}
			return true, p.tellRuns(runs)
		})
	})
}

// resync asks for one object to be read again in full.
func resync(p *Program, ctx context.Context, args []string) error {
	f := flags("resync")
	wait := f.Bool("wait", false, say("sync.wait"))
	names, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return usagef("resync.usage")
	}
	return p.with(ctx, func(db *models.DB) error {
		run, err := db.RequestResync(ctx, names[0], actor())
		if err != nil {
			return err
		}
		if !*wait {
			fmt.Fprintln(p.Out, say("resync.asked", "object", run.Object))
			return nil
		}
		return p.await(ctx, db, func() (bool, error) {
			run, err := db.Run(ctx, run.ID)
			if err != nil || run.Active() {
				return false, err
			}
			return true, p.tellRuns([]models.Run{run})
		})
	})
}

// await looks at the rows until the work is over. What holds it up it tells once: that no worker is there, or that everything is
// paused, which somebody may mend meanwhile. A connection that Salesforce refuses ends the wait.
func (p *Program) await(ctx context.Context, db *models.DB, over func() (bool, error)) error {
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	told := ""
	for look := 0; ; look++ {
		if done, err := over(); done || err != nil {
			return err
		}
		if look%heldEvery == heldEvery-1 {
			s, err := db.Status(ctx)
			if err != nil {
				return err
			}
			held := ""
			switch {
			case s.Connection.State == models.StateNotConnected:
				return &models.Error{Code: models.CodeConflict, Message: "sync.not_connected"}
			case s.Connection.State == models.StateRefused:
				return &models.Error{Code: models.CodeRefused, Message: "sync.refused", Params: map[string]string{"message": s.Connection.Error}}
			case s.Cycle.Workers == 0:
				held = "sync.no_worker"
			case s.Cycle.State == models.CyclePaused:
				held = "sync.paused"
			}
			if held != told && held != "" {
				fmt.Fprintln(p.Err, say(held))
			}
			told = held
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// tellRuns prints what runs did; a run that did not succeed makes the command fail.
func (p *Program) tellRuns(runs []models.Run) error {
	failed := false
	for _, r := range runs {
		if r.State == models.RunSucceeded {
			fmt.Fprintln(p.Out, say("sync.run_done", "object", r.Object, "read", fmt.Sprint(r.Read), "new", fmt.Sprint(r.New),
				"changed", fmt.Sprint(r.Changed), "deleted", fmt.Sprint(r.Deleted), "refused", fmt.Sprint(r.Refused)))
			continue
		}
		failed = true
		fmt.Fprintln(p.Err, say("sync.run_failed", "object", r.Object, "state", say("run.state."+string(r.State)), "error", terminal().Kept(r.Error)))
	}
	if failed {
		return errNotDone
	}
	return nil
}

// pause stops everything, or one object, until resume.
func pause(p *Program, ctx context.Context, args []string) error {
	return p.hold(ctx, args, "pause", (*models.DB).Pause, (*models.DB).PauseObject)
}

// resume takes up what pause stopped.
func resume(p *Program, ctx context.Context, args []string) error {
	return p.hold(ctx, args, "resume", (*models.DB).Resume, (*models.DB).ResumeObject)
}

func (p *Program) hold(ctx context.Context, args []string, verb string,
	all func(*models.DB, context.Context, string) error, one func(*models.DB, context.Context, string, string) error,
) error {
	names, err := parse(flags(verb), args)
	if err != nil {
		return err
	}
	if len(names) > 1 {
		return usagef(verb + ".usage")
	}
	return p.with(ctx, func(db *models.DB) error {
		if len(names) == 1 {
			if err := one(db, ctx, names[0], actor()); err != nil {
				return err
			}
			fmt.Fprintln(p.Out, say(verb+".object", "object", names[0]))
			return nil
		}
		if err := all(db, ctx, actor()); err != nil {
			return err
		}
		fmt.Fprintln(p.Out, say(verb+".all"))
		return nil
	})
}
