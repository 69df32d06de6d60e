package command

import (
	"context"
	"fmt"

	"github.com/tandem-sync/tandem/models"
)

// serve runs the web application, the worker, or both.
func serve(web, worker bool) func(*Program, context.Context, []string) error {
	return func(p *Program, ctx context.Context, args []string) error {
		if rest, err := parse(flags("serve"), args); err != nil {
			return err
		} else if len(rest) > 0 {
			return usagef("command.no_arguments", "got", rest[0])
		}
		return p.Serve(ctx, p.Settings, ServeOptions{Web: web, Worker: worker, Ready: func(url string) {
			fmt.Fprintln(p.Out, say("command.ready", "url", url))
		}})
	}
}

// migrate brings the database's schema up to date.
func migrate(p *Program, ctx context.Context, args []string) error {
	if rest, err := parse(flags("migrate"), args); err != nil {
		return err
	} else if len(rest) > 0 {
		return usagef("command.no_arguments", "got", rest[0])
	}
	return p.with(ctx, func(*models.DB) error {
		fmt.Fprintln(p.Out, say("command.migrated"))
		return nil
	})
}
