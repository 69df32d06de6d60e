package command

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/tandem-sync/tandem/models"
)

// objects lists the objects and says which of them sync, or changes that.
func objects(p *Program, ctx context.Context, args []string) error {
	names, err := parse(flags("objects"), args)
	if err != nil {
		return err
	}
	verb := "list"
	if len(names) > 0 {
		verb, names = names[0], names[1:]
	}
	return p.with(ctx, func(db *models.DB) error {
		switch {
		case verb == "list" && len(names) == 0:
			return p.listObjects(ctx, db)
		case verb == "enable" && len(names) > 0:
			return db.EnableObjects(ctx, names, actor())
		case verb == "disable" && len(names) > 0:
			return db.DisableObjects(ctx, names, actor())
		}
		return usagef("objects.usage")
	})
}

func (p *Program) listObjects(ctx context.Context, db *models.DB) error {
	list, err := db.Objects(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	for _, o := range list {
		state := "objects.off"
		switch {
		case o.Custom && !o.Visible && !o.Enabled && o.DisabledAt == nil:
			continue // no longer offered
		case o.Hidden:
			state = "objects.hidden"
		case o.Enabled && o.Paused:
			state = "objects.paused"
		case o.Enabled:
			state = "objects.on"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", o.Name, o.Direction, say(state), o.Path)
	}
	return w.Flush()
}
