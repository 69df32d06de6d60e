package command

import (
	"context"
	"fmt"

	"github.com/tandem-sync/tandem/models"
)

// user adds people and lets them choose a new password. Both print a link that works once; nobody types a password here.
func user(p *Program, ctx context.Context, args []string) error {
	f := flags("user")
	role := f.String("role", string(models.RoleViewer), say("user.role"))
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 || rest[0] != "add" && rest[0] != "reset-password" {
		return usagef("user.usage")
	}
	email := rest[1]
	return p.with(ctx, func(db *models.DB) error {
		if rest[0] == "add" {
			if err := db.InviteUser(ctx, email, models.Role(*role), actor()); err != nil {
				return err
			}
		}
		token, err := db.ResetPassword(ctx, email, actor())
		if err != nil {
			return err
		}
		fmt.Fprintln(p.Out, say("user.link", "email", email, "url", p.Settings.URL()+"/reset-password/"+token))
		return nil
	})
}
