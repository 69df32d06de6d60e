package command

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/tandem-sync/tandem/models"
)

// status tells what the overview page tells, as a table or as JSON.
func status(p *Program, ctx context.Context, args []string) error {
	f := flags("status")
	asJSON := f.Bool("json", false, say("status.json"))
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("command.no_arguments", "got", rest[0])
	}
	return p.with(ctx, func(db *models.DB) error {
		s, err := db.Status(ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(p.Out).Encode(s)
		}
		return p.printStatus(s)
	})
}

func (p *Program) printStatus(s models.Status) error {
	l := terminal()
	switch s.Connection.State {
	case models.StateConnected:
		fmt.Fprintln(p.Out, say("status.connected", "org", s.Connection.Org, "user", s.Connection.User))
	case models.StateRefused:
		fmt.Fprintln(p.Out, say("status.refused", "message", s.Connection.Error))
	default:
		fmt.Fprintln(p.Out, say("status."+string(s.Connection.State)))
	}
	fmt.Fprintln(p.Out, say("status.cycle", "number", l.Number(s.Cycle.Number), "state", say("cycle.state."+string(s.Cycle.State))))
	fmt.Fprintln(p.Out, say("status.api", "used", l.Number(int64(s.API.Used)), "limit", l.Number(int64(s.API.Limit))))
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, o := range s.Objects {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", o.Name, say("object.state."+string(o.State)), l.Number(o.Records), o.Error)
	}
	return w.Flush()
}
