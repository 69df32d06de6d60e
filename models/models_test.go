package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/models/localpg/pgtest"
	"github.com/tandem-sync/tandem/sync/mirror"
)

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	if err := models.Migrate(ctx, pool); err != nil {
		return err
	}
	return mirror.Migrate(ctx, pool)
}

func open(t *testing.T) (*models.DB, *pgxpool.Pool, *models.Keyring) {
	t.Helper()
	pool := pgtest.Pool(t, migrate)
	keys, err := models.LoadKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := models.Open(pool, keys)
	if err != nil {
		t.Fatal(err)
	}
	return db, pool, keys
}

func code(err error) models.ErrorCode {
	var e *models.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func connection() models.Connection {
	return models.Connection{
		LoginURL: "https://acme.my.salesforce.com", Auth: models.AuthClientCredentials, ClientID: "key",
		ClientSecret: models.NewSecret("s3cret-of-acme"), AccessToken: models.NewSecret("00Dtoken"), OrgID: "00D1", OrgName: "Acme", UserName: "sync@acme.example",
	}
}

// connected gives a control plane with a connection and its standard objects.
func connected(t *testing.T) (*models.DB, *pgxpool.Pool) {
	t.Helper()
	db, pool, _ := open(t)
	if err := db.SaveConnection(t.Context(), connection(), "test"); err != nil {
		t.Fatal(err)
	}
	var visible []string
	for _, o := range models.StandardObjects {
		visible = append(visible, o.Name)
	}
	if err := db.EnableStandardObjects(t.Context(), visible); err != nil {
		t.Fatal(err)
	}
	return db, pool
}

// A stored secret opens with its key, is nowhere in the database in the clear, never prints, and no way of writing stores it open.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	db, pool, _ := open(t)
	ctx := t.Context()
	if err := db.SaveConnection(ctx, connection(), "test"); err != nil {
		t.Fatal(err)
	}
	c, err := db.Connection(ctx)
	if err != nil || c.ClientSecret.Reveal() != "s3cret-of-acme" {
		t.Fatalf("the stored secret is %q, %v", c.ClientSecret.Reveal(), err)
	}
	var row string
	if err := pool.QueryRow(ctx, `SELECT c::text || encode(client_secret, 'escape') FROM admin.connections c`).Scan(&row); err != nil {
		t.Fatal(err)
	}
	printed, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"the row": row, "JSON": string(printed), "%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", c), "%s": fmt.Sprintf("%s", c.ClientSecret), "%q": fmt.Sprintf("%q", c.ClientSecret)} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("%s shows the secret: %s", what, text)
		}
	}
	if _, err := pool.Exec(ctx, `UPDATE admin.connections SET client_secret = 's3cret'::bytea`); err == nil {
		t.Error("the database takes a secret that is not sealed")
	}
	if v, err := models.NewSecret("open").Value(); err == nil {
		t.Errorf("an open secret gives the value %v to be stored", v)
	}
	// Moved to another column, a sealed value does not open.
	if _, err := pool.Exec(ctx, `UPDATE admin.connections SET private_key = client_secret`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Connection(ctx); err == nil {
		t.Error("a sealed value opens in a place that it was not sealed for")
	}
}

// The key file is made once, readable by its owner only; processes that start at the same moment agree on it.
func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := models.LoadKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key file: %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := models.LoadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key file that others may read: %v", err)
	}
}

// The tables belong to one org: another one's credentials are refused, the same one's replace the old ones and keep an empty secret.
func TestOneOrg(t *testing.T) {
	t.Parallel()
	db, _ := connected(t)
	other := connection()
	other.OrgID = "00D2"
	if err := db.SaveConnection(t.Context(), other, "test"); code(err) != models.CodeConflict {
		t.Errorf("another org: %v, want a conflict", err)
	}
	same := connection()
	same.ClientSecret, same.UserName = models.Secret{}, "other@acme.example"
	if err := db.SaveConnection(t.Context(), same, "test"); err != nil {
		t.Fatal(err)
	}
	c, err := db.Connection(t.Context())
	if err != nil || c.ClientSecret.Reveal() != "s3cret-of-acme" || c.UserName != "other@acme.example" {
		t.Errorf("the connection is of %s with %q, %v", c.UserName, c.ClientSecret.Reveal(), err)
	}
}

// Of many processes that find the session dead at once, one renews it and the others get what it got; what it got is stored
// before anybody uses it, and a failure leaves what was stored.
func TestOneProcessRenewsTheSession(t *testing.T) {
	t.Parallel()
	db, pool, keys := open(t)
	ctx := t.Context()
	if err := db.SaveConnection(ctx, connection(), "test"); err != nil {
		t.Fatal(err)
	}
	other, err := models.Open(pool, keys) // as another process would
	if err != nil {
		t.Fatal(err)
	}
	var renewed atomic.Int64
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			use := db
			if i%2 == 1 {
				use = other
			}
			s, err := use.RenewSession(ctx, "00Dtoken", func(_ context.Context, s models.Session) (models.Session, error) {
				n := renewed.Add(1)
				return models.Session{AccessToken: fmt.Sprintf("fresh%d", n), RefreshToken: fmt.Sprintf("rotated%d", n), InstanceURL: "https://moved"}, nil
			})
			if err != nil || s.AccessToken != "fresh1" || s.InstanceURL != "https://moved" {
				t.Errorf("got %q at %q, %v", s.AccessToken, s.InstanceURL, err)
			}
		})
	}
	group.Wait()
	if renewed.Load() != 1 {
		t.Errorf("renewed %d times", renewed.Load())
	}
	if s, err := other.Session(ctx); err != nil || s.RefreshToken != "rotated1" {
		t.Errorf("the rotated refresh token is %q, %v", s.RefreshToken, err)
	}
	failed := errors.New("refused")
	if _, err := db.RenewSession(ctx, "fresh1", func(context.Context, models.Session) (models.Session, error) { return models.Session{}, failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if s, err := db.Session(ctx); err != nil || s.RefreshToken != "rotated1" {
		t.Errorf("after a failure the refresh token is %q, %v", s.RefreshToken, err)
	}
}

// The first admin's link works once, and only while there is nobody.
func TestSetUpLink(t *testing.T) {
	t.Parallel()
	db, _, _ := open(t)
	ctx := t.Context()
	old, _, err := db.SetupLink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	token, made, err := db.SetupLink(ctx)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if _, err := db.RedeemSetup(ctx, old, "ada@example.com", "long enough"); code(err) != models.CodeForbidden {
		t.Errorf("an older link: %v", err)
	}
	if _, err := db.RedeemSetup(ctx, token, "ada@example.com", "short"); code(err) != models.CodeInvalid {
		t.Errorf("a short password: %v", err)
	}
	if _, err := db.RedeemSetup(ctx, token, "ada@example.com", "long enough"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.RedeemSetup(ctx, token, "eve@example.com", "long enough"); code(err) != models.CodeForbidden {
		t.Errorf("the link again: %v", err)
	}
	if _, made, err := db.SetupLink(ctx); made || err != nil {
		t.Errorf("a link although there is an admin: %v %v", made, err)
	}
	if u, err := db.Authenticate(ctx, " ADA@example.com", "long enough"); err != nil || u.Role != models.RoleAdmin {
		t.Errorf("sign-in: %v %v", u.Role, err)
	}
	for _, wrong := range [][2]string{{"ada@example.com", "long enougH"}, {"nobody@example.com", "long enough"}, {"ada@example.com", ""}} {
		if _, err := db.Authenticate(ctx, wrong[0], wrong[1]); code(err) != models.CodeForbidden {
			t.Errorf("sign-in with %v: %v", wrong, err)
		}
	}
}

// An invited person chooses a password by a link that works once; without one they cannot sign in. The last admin stays.
func TestPeople(t *testing.T) {
	t.Parallel()
	db, _, _ := open(t)
	ctx := t.Context()
	if err := db.EnsureAdmin(ctx, "ada@example.com", "long enough"); err != nil {
		t.Fatal(err)
	}
	if err := db.EnsureAdmin(ctx, "ada@example.com", "another password"); err != nil {
		t.Errorf("the second start: %v", err)
	}
	if err := db.InviteUser(ctx, "pat@example.com", models.RoleViewer, "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	if err := db.InviteUser(ctx, "PAT@example.com", models.RoleViewer, "ada@example.com"); code(err) != models.CodeConflict {
		t.Errorf("invited twice: %v", err)
	}
	if _, err := db.Authenticate(ctx, "pat@example.com", ""); code(err) != models.CodeForbidden {
		t.Errorf("signed in without a password: %v", err)
	}
	token, err := db.ResetPassword(ctx, "pat@example.com", "ada@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.RedeemReset(ctx, token, "pat's password"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.RedeemReset(ctx, token, "eve's password"); code(err) != models.CodeForbidden {
		t.Errorf("the link again: %v", err)
	}
	ada, err := db.Authenticate(ctx, "ada@example.com", "long enough")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetRole(ctx, ada.ID, models.RoleViewer, "ada@example.com"); code(err) != models.CodeConflict {
		t.Errorf("the last admin made a viewer: %v", err)
	}
	if err := db.RemoveUser(ctx, ada.ID, "ada@example.com"); code(err) != models.CodeConflict {
		t.Errorf("the last admin removed: %v", err)
	}
}

// A double click gives the same run; beside a run of the cycle a resync is a run of its own, which waits for it.
func TestResyncAskedTwice(t *testing.T) {
	t.Parallel()
	db, _ := connected(t)
	ctx := t.Context()
	if _, _, err := db.OpenCycle(ctx, []string{"Lead"}); err != nil {
		t.Fatal(err)
	}
	ids := make([]int64, 6)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			r, err := db.RequestResync(ctx, "Lead", "test")
			if err != nil {
				t.Error(err)
			}
			ids[i] = r.ID
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] || id == 0 {
			t.Fatalf("the clicks gave the runs %v", ids)
		}
	}
	run, err := db.Run(ctx, ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if held, err := db.RunHeld(ctx, run); err != nil || !held {
		t.Errorf("the resync is held: %v, %v, want it to wait for the cycle's run", held, err)
	}
	if _, err := db.RequestResync(ctx, "Nonsense", "test"); code(err) != models.CodeNotFound {
		t.Errorf("an unknown object: %v", err)
	}
}

// A run ends once: what comes later changes nothing, and its counts never go back.
func TestARunEndsOnce(t *testing.T) {
	t.Parallel()
	db, _ := connected(t)
	ctx := t.Context()
	_, runs, err := db.OpenCycle(ctx, []string{"Lead", "Contact"})
	if err != nil {
		t.Fatal(err)
	}
	id := runs[0].ID
	steps := []error{
		db.StartRun(ctx, id),
		db.ProgressRun(ctx, id, models.RunProgress{Phase: models.PhaseReading, Expected: 10, Read: 6}),
		db.ProgressRun(ctx, id, models.RunProgress{Phase: models.PhaseReading, Expected: 10, Read: 4}),
		db.CancelRun(ctx, id, "test"),
		db.FinishRun(ctx, id, models.RunOutcome{State: models.RunSucceeded, Read: 10}),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	r, err := db.Run(ctx, id)
	if err != nil || r.State != models.RunCanceled || r.Read != 6 || r.Active() {
		t.Errorf("the run is %s with %d read, %v", r.State, r.Read, err)
	}
	if err := db.CancelRun(ctx, id, "test"); code(err) != models.CodeConflict {
		t.Errorf("canceled twice: %v", err)
	}
	if err := db.FinishRun(ctx, runs[1].ID, models.RunOutcome{State: models.RunFailed, ErrorCode: "INVALID_FIELD", Error: "No such column"}); err != nil {
		t.Fatal(err)
	}
	if o, err := db.Object(ctx, "Contact"); err != nil || o.Error != "No such column" {
		t.Errorf("the object's error is %q, %v", o.Error, err)
	}
	c, err := db.CurrentCycle(ctx)
	if err != nil || c.ObjectsDone != 2 || c.ObjectsTotal != 2 {
		t.Errorf("the cycle: %d of %d, %v", c.ObjectsDone, c.ObjectsTotal, err)
	}
}

// The rest is counted from the end; asking skips it, also when it is asked while a cycle runs.
func TestCycleDue(t *testing.T) {
	t.Parallel()
	db, _ := connected(t)
	ctx := t.Context()
	due := func(want bool, when string) {
		t.Helper()
		if got, err := db.CycleDue(ctx); err != nil || got != want {
			t.Errorf("%s a cycle is due: %v, %v, want %v", when, got, err, want)
		}
	}
	due(true, "at first")
	c, _, err := db.OpenCycle(ctx, []string{"Lead"})
	if err != nil {
		t.Fatal(err)
	}
	due(false, "while one is open")
	if number, err := db.RequestSync(ctx, "test"); err != nil || number != c.Number+1 {
		t.Errorf("asked meanwhile: cycle %d, %v", number, err)
	}
	if err := db.CloseCycle(ctx, c.Number, time.Hour); err != nil {
		t.Fatal(err)
	}
	due(true, "after somebody asked")
	c, _, err = db.OpenCycle(ctx, []string{"User"})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.CloseCycle(ctx, c.Number, time.Hour); err != nil {
		t.Fatal(err)
	}
	due(false, "while it rests")
	db.Now = func() time.Time { return time.Now().UTC().Add(61 * time.Minute) }
	due(true, "after the rest")
}

// status --json has the shape that scripts rely on.
func TestStatusShape(t *testing.T) {
	t.Parallel()
	db, _, _ := open(t)
	s, err := db.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"cycle":{"number":0,"state":"stopped","next_at":null},"objects":[],"api":{"used":0,"budget":0,"limit":0},"connection":{"state":"not-connected","org":"","user":""}}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	db, _ = connected(t)
	if s, err = db.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if text, err = json.Marshal(s.Objects[0]); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"name", "direction", "state", "records", "watermark", "last_synced_at", "to_send", "refused", "conflicts", "error"} {
		if _, ok := keys[k]; !ok {
			t.Errorf("an object lacks %s: %s", k, text)
		}
	}
	if len(keys) != 10 {
		t.Errorf("an object has other keys, too: %s", text)
	}
}

// Frozen never looks green: without a worker's sign of life the cycle is stopped, whatever the rows say of the last one.
func TestFrozenIsStopped(t *testing.T) {
	t.Parallel()
	db, _ := connected(t)
	ctx := t.Context()
	state := func() models.CycleStatus {
		t.Helper()
		s, err := db.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return s.Cycle
	}
	if c := state(); c.State != models.CycleStopped || c.Reason != "no-worker" {
		t.Errorf("without a worker: %s %s", c.State, c.Reason)
	}
	if err := db.WorkerSeen(ctx, "w"); err != nil {
		t.Fatal(err)
	}
	if c := state(); c.State != models.CycleSyncing {
		t.Errorf("with a worker: %s", c.State)
	}
	if err := db.Pause(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	if c := state(); c.State != models.CyclePaused {
		t.Errorf("paused: %s", c.State)
	}
	db.Now = func() time.Time { return time.Now().UTC().Add(2 * time.Minute) }
	if c := state(); c.State != models.CycleStopped {
		t.Errorf("two minutes after the last sign of life: %s", c.State)
	}
	if err := db.RefuseConnection(ctx, "invalid_grant", "inactive user"); err != nil {
		t.Fatal(err)
	}
	if c := state(); c.State != models.CycleStopped || c.Reason != "refused" {
		t.Errorf("refused: %s %s", c.State, c.Reason)
	}
}

// What the screen says of an object, for each thing that the rows can say.
func TestStatusOf(t *testing.T) {
	t.Parallel()
	now := time.Now()
	synced := models.Object{FirstSyncedAt: &now}
	running := &models.Run{State: models.RunRunning, Kind: models.RunChanges}
	for _, c := range []struct {
		name      string
		object    models.Object
		run       *models.Run
		refused   int64
		conflicts int64
		differing int64
		want      models.ObjectState
	}{
		{"never read", models.Object{}, nil, 0, 0, 0, models.ObjectWaiting},
		{"queued", models.Object{}, &models.Run{State: models.RunQueued}, 0, 0, 0, models.ObjectWaiting},
		{"being read", models.Object{}, running, 0, 0, 0, models.ObjectReading},
		{"waits for Salesforce", synced, &models.Run{State: models.RunRunning, Error: "503"}, 0, 0, 0, models.ObjectAttention},
		{"being sent", synced, &models.Run{State: models.RunRunning, Kind: models.RunSend}, 0, 0, 0, models.ObjectSending},
		{"read", synced, nil, 0, 0, 0, models.ObjectInSync},
		{"records set aside", synced, nil, 1, 0, 0, models.ObjectAttention},
		{"conflicts", synced, nil, 0, 1, 0, models.ObjectAttention},
		{"a check found differences", synced, nil, 0, 0, 3, models.ObjectAttention},
		{"failed", models.Object{FirstSyncedAt: &now, Error: "no"}, nil, 0, 0, 0, models.ObjectFailed},
		{"failed, tried again", models.Object{FirstSyncedAt: &now, Error: "no"}, running, 0, 0, 0, models.ObjectReading},
		{"paused", models.Object{FirstSyncedAt: &now, Paused: true}, running, 1, 0, 0, models.ObjectPaused},
		{"hidden", models.Object{FirstSyncedAt: &now, Hidden: true}, nil, 0, 0, 0, models.ObjectAttention},
	} {
		if got := models.StatusOf(c.object, c.run, c.refused, c.conflicts, c.differing); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// A web server flow's draft comes back once, to the admin who began it.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	db, _, _ := open(t)
	ctx := t.Context()
	ada, err := db.AddUser(ctx, "ada@example.com", models.RoleAdmin, "long enough")
	if err != nil {
		t.Fatal(err)
	}
	eve, err := db.AddUser(ctx, "eve@example.com", models.RoleAdmin, "long enough")
	if err != nil {
		t.Fatal(err)
	}
	draft := connection()
	draft.Auth = models.AuthWebServer
	state, verifier, err := db.BeginAuthorization(ctx, draft, ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.TakeAuthorization(ctx, state, eve.ID); code(err) != models.CodeForbidden {
		t.Errorf("another admin: %v", err)
	}
	got, v, err := db.TakeAuthorization(ctx, state, ada.ID)
	if err != nil || v != verifier || got.ClientSecret.Reveal() != "s3cret-of-acme" {
		t.Errorf("got %v, %v", got.ClientID, err)
	}
	if _, _, err := db.TakeAuthorization(ctx, state, ada.ID); code(err) != models.CodeForbidden {
		t.Errorf("taken twice: %v", err)
	}
}

// Two starts at once both end with the schema up to date.
func TestConcurrentMigrations(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, nil)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := migrate(t.Context(), pool); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// A stored secret goes only where it was stored for: neither another address nor another app is given it because the field was
// left empty.
func TestAStoredSecretStaysWithItsApp(t *testing.T) {
	t.Parallel()
	db, _ := connected(t)
	ada, err := db.AddUser(t.Context(), "ada@example.com", models.RoleAdmin, "long enough")
	if err != nil {
		t.Fatal(err)
	}
	for _, auth := range []models.Auth{models.AuthClientCredentials, models.AuthWebServer} {
		stored := connection()
		stored.Auth = auth
		if err := db.SaveConnection(t.Context(), stored, "test"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what, login, app string
			kept             bool
		}{
			{"the same", stored.LoginURL, stored.ClientID, true},
			{"another address", "https://evil.my.salesforce.com", stored.ClientID, false},
			{"another app", stored.LoginURL, "other key", false},
		} {
			draft := stored
			draft.LoginURL, draft.ClientID, draft.ClientSecret = c.login, c.app, models.Secret{}
			if auth == models.AuthWebServer {
				state, _, err := db.BeginAuthorization(t.Context(), draft, ada.ID)
				if err != nil {
					t.Fatal(err)
				}
				got, _, err := db.TakeAuthorization(t.Context(), state, ada.ID)
				if err != nil || !got.ClientSecret.Empty() != c.kept {
					t.Errorf("%s, %s: the draft has the stored secret: %t, %v", auth, c.what, !got.ClientSecret.Empty(), err)
				}
			}
			if err := db.SaveConnection(t.Context(), draft, "test"); err != nil {
				t.Fatal(err)
			}
			got, err := db.Connection(t.Context())
			if err != nil || !got.ClientSecret.Empty() != c.kept {
				t.Errorf("%s, %s: the stored secret is kept: %t, %v", auth, c.what, !got.ClientSecret.Empty(), err)
			}
			if err := db.SaveConnection(t.Context(), stored, "test"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A database that cannot hold what Salesforce sends is refused before anything is written to it.
func TestADatabaseInAnotherEncodingIsRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, nil)
	if err := models.CheckServer(t.Context(), pool); err != nil {
		t.Errorf("a database in UTF-8: %v", err)
	}
	name := pool.Config().ConnConfig.Database + "_latin"
	if _, err := pool.Exec(t.Context(), `CREATE DATABASE `+name+` ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`); err != nil {
		t.Fatal(err)
	}
	config := pool.Config()
	config.ConnConfig.Database = name
	latin, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		latin.Close()
		if _, err := pool.Exec(context.Background(), `DROP DATABASE `+name); err != nil {
			t.Error(err)
		}
	})
	if err := models.CheckServer(t.Context(), latin); err == nil || !strings.Contains(err.Error(), "UTF8") {
		t.Errorf("a database in LATIN1: %v, want a refusal that says what to do", err)
	}
}

// What is older than it is kept goes; news that nobody has seen and the audit log stay.
func TestPruneHistory(t *testing.T) {
	t.Parallel()
	db, pool := connected(t)
	ctx := t.Context()
	for _, days := range []int{500, 100, 10} {
		if _, err := pool.Exec(ctx, `INSERT INTO admin.notices (at, message, seen_at) VALUES (now() - make_interval(days => $1), 'seen', now() - make_interval(days => $1)), (now() - make_interval(days => $1), 'unseen', NULL)`, days); err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(ctx, `INSERT INTO admin.audit (at, actor, action) VALUES (now() - make_interval(days => $1), 'ann', 'old')`, days); err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(ctx, `INSERT INTO admin.runs (object, kind, state, requested_at, ended_at) VALUES ('Lead', 'changes', 'succeeded', now() - make_interval(days => $1), now() - make_interval(days => $1))`, days); err != nil {
			t.Fatal(err)
		}
	}
	n, err := db.PruneHistory(ctx)
	if err != nil || n != 3 {
		t.Errorf("%d were removed, %v; want two notices and a run", n, err)
	}
	var left string
	if err := pool.QueryRow(ctx, `SELECT format('%s %s %s %s', (SELECT count(*) FROM admin.notices WHERE message = 'seen'), (SELECT count(*) FROM admin.notices WHERE message = 'unseen'),
			(SELECT count(*) FROM admin.audit WHERE action = 'old'), (SELECT count(*) FROM admin.runs))`).Scan(&left); err != nil || left != "1 3 3 2" {
		t.Errorf("seen and unseen news, audit and runs left: %s, %v; want 1 3 3 2", left, err)
	}
}
