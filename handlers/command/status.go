package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

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
	rows := [][]string{{say("col.object"), say("col.status"), say("col.records"), say("col.to_send"), say("col.refused"), say("col.conflicts"), ""}}
	for _, o := range s.Objects {
		toSend := ""
		if o.Direction == models.TwoWay {
			toSend = l.Number(o.ToSend)
		}
		rows = append(rows, []string{o.Name, say("object.state." + string(o.State)), l.Number(o.Records), toSend, l.Number(o.Refused), l.Number(o.Conflicts), l.Kept(o.Error)})
	}
	for _, line := range aligned(rows, 2, 6) {
		fmt.Fprintln(p.Out, line)
	}
	return nil
}

// aligned lays rows out in columns: words to the left, and the columns from number up to rest, which hold numbers, to the right.
func aligned(rows [][]string, number, rest int) []string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(rows))
	for r, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i >= number && i < rest {
				b.WriteString(gap + cell + "  ")
			} else {
				b.WriteString(cell + gap + "  ")
			}
		}
		lines[r] = strings.TrimRight(b.String(), " ")
	}
	return lines
}
