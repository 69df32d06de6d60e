package command

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-sync/tandem/models"
)

// approve shows in numbers what waits for a person's yes, and asks; --yes answers for scripts. It fails if something is left
// without a yes.
func approve(p *Program, ctx context.Context, args []string) error {
	f := flags("approve")
	yes := f.Bool("yes", false, say("approve.yes_flag"))
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("command.no_arguments", "got", rest[0])
	}
	return p.with(ctx, func(db *models.DB) error {
		open, err := db.OpenApprovals(ctx)
		if err != nil {
			return err
		}
		if len(open) == 0 {
			fmt.Fprintln(p.Out, say("approve.nothing"))
			return nil
		}
		in := bufio.NewScanner(p.In)
		left := false
		for _, a := range open {
			p.tellApproval(a)
			answer := *yes
			if !*yes {
				fmt.Fprint(p.Out, say("approve.ask")+" ")
				if !in.Scan() {
					// Nobody is there to answer: the question stays open.
					fmt.Fprintln(p.Out)
					left = true
					continue
				}
				said := strings.ToLower(strings.TrimSpace(in.Text()))
				switch {
				case slices.Contains([]string{"y", "yes", "o", "oui"}, said):
					answer = true
				case !slices.Contains([]string{"n", "no", "non"}, said):
					fmt.Fprintln(p.Out, say("approve.left"))
					left = true
					continue
				}
			}
			if _, err := db.AnswerApproval(ctx, a.ID, answer, actor()); err != nil {
				return err
			}
			if answer {
				fmt.Fprintln(p.Out, say("approve.done"))
			} else {
				fmt.Fprintln(p.Out, say("approve.denied"))
				left = true
			}
		}
		if left {
			return errNotDone
		}
		return nil
	})
}

// tellApproval prints a question with its numbers.
func (p *Program) tellApproval(a models.Approval) {
	fmt.Fprintln(p.Out, say("approval."+string(a.Kind)+".title", "object", a.Object))
	names := make([]string, 0, len(a.Counts))
	for name := range a.Counts {
		names = append(names, name)
	}
	slices.Sort(names)
	l := terminal()
	for _, name := range names {
		object, what, ok := strings.Cut(name, ".")
		line := name
		switch {
		case ok:
			line = object + ", " + say("approval."+what)
		case l.Has("approval.count." + name):
			line = say("approval.count." + name)
		}
		fmt.Fprintf(p.Out, "  %s: %s\n", line, l.Number(a.Counts[name]))
	}
}
