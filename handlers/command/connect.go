package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tandem-sync/tandem/models"
)

// connect stores credentials without a browser, after Salesforce has accepted them, and enables the standard objects.
func connect(p *Program, ctx context.Context, args []string) error {
	f := flags("connect")
	login := f.String("login-url", "", say("connect.login_url"))
	auth := f.String("auth", string(models.AuthClientCredentials), say("connect.auth"))
	clientID := f.String("client-id", "", say("connect.client_id"))
	secretFile := f.String("client-secret-file", "", say("connect.client_secret_file"))
	username := f.String("username", "", say("connect.username"))
	keyFile := f.String("key-file", "", say("connect.key_file"))
	yes := f.Bool("yes", false, say("connect.yes"))
	rest, err := parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("command.no_arguments", "got", rest[0])
	}
	c := models.Connection{Auth: models.Auth(*auth), ClientID: *clientID, Username: *username}
	need := func(flag, value string) error {
		if value == "" {
			return usagef("connect.needs", "flag", flag, "auth", *auth)
		}
		return nil
	}
	switch c.Auth {
	case models.AuthClientCredentials:
		err = errors.Join(need("--login-url", *login), need("--client-id", *clientID), need("--client-secret-file", *secretFile))
	case models.AuthJWT:
		err = errors.Join(need("--login-url", *login), need("--client-id", *clientID), need("--username", *username), need("--key-file", *keyFile))
	default:
		err = usagef("connect.auth_unknown", "auth", *auth)
	}
	if err != nil {
		return usageError{strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	if c.LoginURL, err = p.CheckLoginURL(*login, p.Settings.AllowLocalOrg); err != nil {
		return err
	}
	if c.ClientSecret, err = secretFrom(*secretFile); err != nil {
		return err
	}
	if c.PrivateKey, err = secretFrom(*keyFile); err != nil {
		return err
	}
	return p.with(ctx, func(db *models.DB) error { return p.connect(ctx, db, c, *yes) })
}

// connect tests the credentials, stores them, and enables the standard objects that they can see. Those of another user of the same
// org are stored only by a yes; else what that user sees less or more is told.
func (p *Program) connect(ctx context.Context, db *models.DB, c models.Connection, yes bool) error {
	c, err := p.TestConnection(ctx, p.Settings, c)
	if err != nil {
		return err
	}
	c.State = models.StateConnected
	save := db.SaveConnection
	if yes {
		save = db.SaveConnectionOfAnyUser
	}
	err = save(ctx, c, actor())
	var refused *models.Error
	if errors.As(err, &refused) && refused.Message == "connection.other_user" {
		return p.tellUser(ctx, db, c, err)
	}
	if err != nil {
		return err
	}
	if err := db.EnableStandardObjects(ctx, c.Report.Visible); err != nil {
		return err
	}
	org := c.OrgName
	if org == "" {
		org = c.OrgID // its own name may be hidden from the user
	}
	fmt.Fprintln(p.Out, say("connect.done", "org", org, "user", c.UserName))
	for _, check := range c.Report.Checks {
		fmt.Fprintf(p.Out, "  %-6s  %s\n", say("check.state."+string(check.State)), terminal().Check(check))
	}
	return nil
}

// tellUser says what another user of the same org sees less or more, and leaves everything as it is.
func (p *Program) tellUser(ctx context.Context, db *models.DB, c models.Connection, cause error) error {
	objects, err := db.Objects(ctx)
	if err != nil {
		return err
	}
	synced, err := db.FieldNames(ctx)
	if err != nil {
		return err
	}
	change, err := p.CompareUser(ctx, p.Settings, c, objects, synced)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.Err, sentence(cause))
	line := func(sentence string, names []string) {
		if len(names) > 0 {
			fmt.Fprintf(p.Err, "  %s %s\n", sentence, strings.Join(names, ", "))
		}
	}
	if change.Same() {
		fmt.Fprintln(p.Err, "  "+say("pending.same"))
	}
	line(say("pending.objects_less"), change.ObjectsLess)
	for _, object := range slices.Sorted(maps.Keys(change.FieldsLess)) {
		line(say("pending.fields_less", "object", object), change.FieldsLess[object])
	}
	line(say("pending.objects_more"), change.ObjectsMore)
	for _, object := range slices.Sorted(maps.Keys(change.FieldsMore)) {
		line(say("pending.fields_more", "object", object), change.FieldsMore[object])
	}
	fmt.Fprintln(p.Err, say("connect.add_yes", "user", c.UserName))
	return errNotDone
}

// secretFrom reads a secret from a file, so that it shows neither in the process list nor in a shell's history.
func secretFrom(path string) (models.Secret, error) {
	if path == "" {
		return models.Secret{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return models.Secret{}, fmt.Errorf("%s: %w", say("connect.secret_unreadable"), err)
	}
	return models.NewSecret(strings.TrimSpace(string(text))), nil
}
