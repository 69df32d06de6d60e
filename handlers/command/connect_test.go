package command_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/handlers/command"
	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/models/localpg/pgtest"
	"github.com/tandem-sync/tandem/sync/mirror"
)

// Credentials of another user of the same org are taken only with --yes; without it, what that user sees less or more is told and
// nothing changes. Custom objects are listed with their path, and switched on by name.
func TestConnectAsAnotherUser(t *testing.T) {
	t.Setenv("LC_ALL", "en")
	pool := pgtest.Pool(t, func(ctx context.Context, p *pgxpool.Pool) error {
		if err := models.Migrate(ctx, p); err != nil {
			return err
		}
		return mirror.Migrate(ctx, p)
	})
	keys, err := models.LoadKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := models.Open(pool, keys)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("consumer secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	user := "first"
	run := func(args ...string) (code int, out, problem string) {
		var o, e bytes.Buffer
		p := command.Program{
			Out: &o, Err: &e,
			Open: func(context.Context, command.Settings) (*models.DB, func(), error) { return db, func() {}, nil },
			TestConnection: func(_ context.Context, _ command.Settings, c models.Connection) (models.Connection, error) {
				c.OrgID, c.OrgName, c.UserID, c.UserName = "00D1", "Acme", user, user+"@acme.example"
				c.Report.Visible = []string{"Lead"}
				c.Report.CustomKnown, c.Report.Custom = true, []models.OfferedObject{{Name: "Line__c", Label: "Line", LabelPlural: "Lines", Path: "Line__c → Order__c → Account"}}
				return c, nil
			},
			CompareUser: func(context.Context, command.Settings, models.Connection, []models.Object, map[string][]string) (models.UserChange, error) {
				return models.UserChange{ObjectsLess: []string{"Campaign"}, FieldsMore: map[string][]string{"Lead": {"Salary__c"}}}, nil
			},
			CheckLoginURL: func(raw string, _ bool) (string, error) { return raw, nil },
		}
		code = p.Run(t.Context(), args)
		return code, o.String(), e.String()
	}
	connect := []string{"connect", "--login-url", "https://acme.my.salesforce.com", "--client-id", "key", "--client-secret-file", secret}
	stored := func() string {
		c, err := db.Connection(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c.UserID
	}
	if code, _, problem := run(connect...); code != 0 || stored() != "first" {
		t.Fatalf("exit %d: %s", code, problem)
	}
	user = "second"
	code, _, problem := run(connect...)
	if code != 1 || stored() != "first" {
		t.Errorf("without --yes: exit %d, stored is %s", code, stored())
	}
	for _, want := range []string{"second@acme.example", "No longer seen: objects Campaign", "Seen in addition of Lead: Salary__c", "--yes"} {
		if !strings.Contains(problem, want) {
			t.Errorf("it does not tell %q: %s", want, problem)
		}
	}
	if code, _, problem := run(append(connect, "--yes")...); code != 0 || stored() != "second" {
		t.Errorf("with --yes: exit %d, stored is %s: %s", code, stored(), problem)
	}
	if code, out, _ := run("objects"); code != 0 || !strings.Contains(out, "Line__c → Order__c → Account") {
		t.Errorf("objects: exit %d: %s", code, out)
	}
	if code, _, problem := run("objects", "enable", "Line__c"); code != 0 {
		t.Errorf("objects enable: exit %d: %s", code, problem)
	}
	if due, err := db.ObjectsDue(t.Context()); err != nil || strings.Join(due, " ") != "Lead Line__c" {
		t.Errorf("the next cycle reads %v, %v", due, err)
	}
}
