package models

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Auth is a way of signing in to Salesforce.
type Auth string

// The ways of signing in.
const (
	AuthWebServer         Auth = "web-server"         // a person allows it in the browser
	AuthClientCredentials Auth = "client-credentials" // consumer key and secret
	AuthJWT               Auth = "jwt"                // a certificate's private key
)

// ConnectionState says whether Salesforce lets us in.
type ConnectionState string

// The states of the connection. Saving makes it connected; a refusal that trying again does not mend makes it refused, until a
// probe or a new sign-in succeeds. Without a row it is not connected.
const (
	StateNotConnected ConnectionState = "not-connected"
	StateConnected    ConnectionState = "connected"
	StateRefused      ConnectionState = "refused"
)

// Connection is the stored login to the org, and who that turned out to be. There is one a database.
type Connection struct {
	ID              uuid.UUID
	Single          bool `gorm:"default:true"`
	LoginURL        string
	Auth            Auth
	ClientID        string
	ClientSecret    Secret
	Username        string
	PrivateKey      Secret
	RefreshToken    Secret
	AccessToken     Secret
	IssuedAt        *time.Time
	InstanceURL     string
	IdentityURL     string
	OrgID           string
	OrgName         string
	Sandbox         bool
	UserID          string
	UserName        string
	UserDisplayName string
	APIVersion      string `gorm:"column:api_version"`
	State           ConnectionState
	ErrorCode       string
	Error           string
	StateAt         time.Time
	Report          ConnectionReport `gorm:"serializer:json"`
	SavedBy         string
	UpdatedAt       time.Time `gorm:"autoUpdateTime:false"`
}

// TableName is where the connection is.
func (Connection) TableName() string { return "admin.connections" }

// CheckState says how one line of a connection's check turned out.
type CheckState string

// The outcomes of a check.
const (
	CheckOK     CheckState = "ok"
	CheckLook   CheckState = "check" // works, but somebody should look
	CheckFailed CheckState = "failed"
)

// Check is one line of what a test of the credentials found. Key names its sentence in the catalogue.
type Check struct {
	Key    string            `json:"key"`
	Params map[string]string `json:"params,omitempty"`
	State  CheckState        `json:"state"`
}

// ConnectionReport is what a test of the credentials found, and the objects that they can read.
type ConnectionReport struct {
	At      time.Time `json:"at"`
	TookMS  int64     `json:"took_ms"`
	Checks  []Check   `json:"checks"`
	Visible []string  `json:"visible"`

	CustomKnown bool            `json:"custom_known,omitempty"` // Custom is all there are
	Custom      []OfferedObject `json:"custom,omitempty"`       // the custom objects that hang from a person
}

// Add notes one check; params are pairs of name and value.
func (r *ConnectionReport) Add(key string, state CheckState, params ...string) {
	c := Check{Key: key, State: state, Params: map[string]string{}}
	for i := 0; i+1 < len(params); i += 2 {
		c.Params[params[i]] = params[i+1]
	}
	r.Checks = append(r.Checks, c)
}

const connections = "admin.connections"

func (db *DB) seal(c *Connection) (err error) {
	id := c.ID.String()
	for _, s := range []struct {
		column string
		secret *Secret
	}{{"client_secret", &c.ClientSecret}, {"private_key", &c.PrivateKey}, {"refresh_token", &c.RefreshToken}, {"access_token", &c.AccessToken}} {
		if *s.secret, err = db.keys.seal(*s.secret, connections, s.column, id); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) unseal(c *Connection) (err error) {
	id := c.ID.String()
	for _, s := range []struct {
		column string
		secret *Secret
	}{{"client_secret", &c.ClientSecret}, {"private_key", &c.PrivateKey}, {"refresh_token", &c.RefreshToken}, {"access_token", &c.AccessToken}} {
		if *s.secret, err = db.keys.unseal(*s.secret, connections, s.column, id); err != nil {
			return err
		}
	}
	return nil
}

// Connection gives the stored connection, its secrets open; ErrNotFound if there is none.
func (db *DB) Connection(ctx context.Context) (Connection, error) {
	var c Connection
	if err := found(db.gorm.WithContext(ctx).First(&c).Error); err != nil {
		return Connection{}, err
	}
	return c, db.unseal(&c)
}

// SaveConnection stores a connection that was tested. A connection to another org than the stored one is refused: the tables
// belong to one org. Secrets that are empty keep their stored value where they are for the same app at the same address.
//
// A connection by another user of the same org is refused too, with CodeConflict and the message connection.other_user: what
// that user sees has to be shown first. See HoldConnection, and SaveConnectionOfAnyUser for whoever has been shown.
func (db *DB) SaveConnection(ctx context.Context, c Connection, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error { return db.saveConnection(tx, c, false, actor) })
}

// SaveConnectionOfAnyUser is SaveConnection for somebody who knows that it may be another user.
func (db *DB) SaveConnectionOfAnyUser(ctx context.Context, c Connection, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error { return db.saveConnection(tx, c, true, actor) })
}

func (db *DB) saveConnection(tx *gorm.DB, c Connection, anyUser bool, actor string) error {
	var old Connection
	err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&old).Error
	known := err == nil
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return err
	}
	c.ID = uuid.New()
	if known {
		if old.OrgID != "" && c.OrgID != "" && old.OrgID != c.OrgID {
			return refuse(CodeConflict, "connection.other_org", "have", orgName(old), "got", orgName(c))
		}
		if !anyUser && old.UserID != "" && c.UserID != "" && old.UserID != c.UserID {
			return refuse(CodeConflict, "connection.other_user", "have", old.UserName, "got", c.UserName)
		}
		c.ID = old.ID
		if err := db.unseal(&old); err != nil {
			// The key file was changed or lost: what was stored is of no use, and what is entered now replaces it.
			old.ClientSecret, old.PrivateKey = Secret{}, Secret{}
		}
		if c.sameApp(old) {
			if c.ClientSecret.Empty() {
				c.ClientSecret = old.ClientSecret
			}
			if c.PrivateKey.Empty() {
				c.PrivateKey = old.PrivateKey
			}
		}
	}
	now := db.Now()
	c.Single, c.State, c.StateAt, c.UpdatedAt, c.SavedBy, c.ErrorCode, c.Error = true, StateConnected, now, now, actor, "", ""
	c.IssuedAt = &now
	if err := db.seal(&c); err != nil {
		return err
	}
	if err := tx.Save(&c).Error; err != nil {
		return err
	}
	if err := db.audit(tx, actor, "connection.save", c.OrgID, map[string]string{"user": c.UserName, "auth": string(c.Auth), "login_url": c.LoginURL}); err != nil {
		return err
	}
	if c.Report.CustomKnown {
		if err := db.offerObjects(tx, c.Report.Custom); err != nil {
			return err
		}
	}
	// Whoever signs in now may see other objects and fields although nothing of them changed.
	if err := tx.Exec(`UPDATE admin.state SET describe_all = ?`, now).Error; err != nil {
		return err
	}
	return wake(tx)
}

// sameApp tells whether two connections sign in as the same app at the same address, in the same way. A stored secret goes only
// where it was stored for (Invariant 7).
func (c Connection) sameApp(old Connection) bool {
	return c.Auth == old.Auth && c.LoginURL == old.LoginURL && c.ClientID == old.ClientID
}

func orgName(c Connection) string {
	if c.OrgName == "" {
		return c.OrgID
	}
	return c.OrgName + " (" + c.OrgID + ")"
}

// Disconnect forgets every secret of the connection, and stops all reading and sending. The tables and what waits to be sent stay, and go
// on belonging to the org: whoever connects again goes on where this ended, with a user of the same org.
func (db *DB) Disconnect(ctx context.Context, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		now := db.Now()
		r := tx.Exec(`UPDATE admin.connections SET state = ?, state_at = ?, updated_at = ?, error_code = '', error = '',
			client_secret = NULL, private_key = NULL, refresh_token = NULL, access_token = NULL, issued_at = NULL WHERE state <> ?`, StateNotConnected, now, now, StateNotConnected)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return refuse(CodeConflict, "connection.none")
		}
		for _, kept := range []string{"admin.pending_connections", "admin.authorizations"} {
			if err := tx.Exec(`DELETE FROM ` + kept).Error; err != nil {
				return err
			}
		}
		return db.audit(tx, actor, "connection.disconnect", "", nil)
	})
}

// RefuseConnection notes that Salesforce refuses the connection, in its own words. What somebody disconnected stays so.
func (db *DB) RefuseConnection(ctx context.Context, code, message string) error {
	return db.gorm.WithContext(ctx).Model(&Connection{}).Where("single AND state <> ?", StateNotConnected).
		Updates(map[string]any{"state": StateRefused, "error_code": code, "error": message, "state_at": db.Now()}).Error
}

// ConnectionWorks notes that Salesforce accepts the connection again.
func (db *DB) ConnectionWorks(ctx context.Context) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		err := tx.Model(&Connection{}).Where("single AND state = ?", StateRefused).
			Updates(map[string]any{"state": StateConnected, "error_code": "", "error": "", "state_at": db.Now()}).Error
		if err != nil {
			return err
		}
		return wake(tx)
	})
}

// Session is what Salesforce gave for signing in.
type Session struct {
	AccessToken, RefreshToken, InstanceURL, IdentityURL string
	IssuedAt                                            time.Time
}

func sessionOf(c Connection) Session {
	s := Session{AccessToken: c.AccessToken.Reveal(), RefreshToken: c.RefreshToken.Reveal(), InstanceURL: c.InstanceURL, IdentityURL: c.IdentityURL}
	if c.IssuedAt != nil {
		s.IssuedAt = *c.IssuedAt
	}
	return s
}

// Session gives the session that all processes share; a zero one if there is none.
func (db *DB) Session(ctx context.Context) (Session, error) {
	c, err := db.Connection(ctx)
	if errors.Is(err, ErrNotFound) {
		return Session{}, nil
	}
	return sessionOf(c), err
}

// RenewSession replaces a session that Salesforce no longer takes. One process at a time does it, under the row's lock: one
// that comes later is given what the first got. What renew gives is durable before it is returned, so that a rotated refresh
// token is never lost; a failed renew leaves what was stored.
func (db *DB) RenewSession(ctx context.Context, stale string, renew func(context.Context, Session) (Session, error)) (Session, error) {
	var s Session
	err := db.tx(ctx, func(tx *gorm.DB) error {
		var c Connection
		if err := found(tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&c).Error); err != nil {
			return err
		}
		if err := db.unseal(&c); err != nil {
			return err
		}
		s = sessionOf(c)
		if s.AccessToken != "" && s.AccessToken != stale {
			return nil
		}
		fresh, err := renew(ctx, s)
		if err != nil {
			return err
		}
		s = fresh
		id := c.ID.String()
		access, err := db.keys.seal(NewSecret(fresh.AccessToken), connections, "access_token", id)
		if err != nil {
			return err
		}
		set := map[string]any{"access_token": access, "instance_url": fresh.InstanceURL, "identity_url": fresh.IdentityURL, "issued_at": fresh.IssuedAt}
		if fresh.RefreshToken != "" {
			refresh, err := db.keys.seal(NewSecret(fresh.RefreshToken), connections, "refresh_token", id)
			if err != nil {
				return err
			}
			set["refresh_token"] = refresh
		}
		return tx.Model(&Connection{}).Where("id = ?", c.ID).Updates(set).Error
	})
	return s, err
}

const authorizationLife = 15 * time.Minute

type authorization struct {
	StateHash    []byte `gorm:"primaryKey"`
	ID           uuid.UUID
	LoginURL     string
	ClientID     string
	ClientSecret Secret
	Verifier     Secret
	UserID       uuid.UUID
	ExpiresAt    time.Time
}

func (authorization) TableName() string { return "admin.authorizations" }

// BeginAuthorization keeps what the admin typed while Salesforce asks them in the browser. state goes with the browser and
// comes back; verifier is the secret half of PKCE. They live 15 minutes and work once, for that admin.
func (db *DB) BeginAuthorization(ctx context.Context, draft Connection, admin uuid.UUID) (state, verifier string, err error) {
	state, verifier = randomToken(), randomToken()
	a := authorization{StateHash: hashToken(state), ID: uuid.New(), LoginURL: draft.LoginURL, ClientID: draft.ClientID, UserID: admin, ExpiresAt: db.Now().Add(authorizationLife)}
	if draft.ClientSecret.Empty() {
		if old, err := db.Connection(ctx); err == nil && old.sameApp(Connection{Auth: AuthWebServer, LoginURL: draft.LoginURL, ClientID: draft.ClientID}) {
			draft.ClientSecret = old.ClientSecret
		}
	}
	if a.ClientSecret, err = db.keys.seal(draft.ClientSecret, "admin.authorizations", "client_secret", a.ID.String()); err != nil {
		return "", "", err
	}
	if a.Verifier, err = db.keys.seal(NewSecret(verifier), "admin.authorizations", "verifier", a.ID.String()); err != nil {
		return "", "", err
	}
	err = db.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Delete(&authorization{}, "expires_at < ?", db.Now()).Error; err != nil {
			return err
		}
		return tx.Create(&a).Error
	})
	return state, verifier, err
}

// TakeAuthorization gives back what BeginAuthorization kept, once; an unknown, used or old state is refused.
func (db *DB) TakeAuthorization(ctx context.Context, state string, admin uuid.UUID) (draft Connection, verifier string, err error) {
	var a authorization
	r := db.gorm.WithContext(ctx).Raw(`DELETE FROM admin.authorizations WHERE state_hash = ? AND user_id = ? AND expires_at > ? RETURNING *`, hashToken(state), admin, db.Now()).Scan(&a)
	if r.Error != nil {
		return draft, "", r.Error
	}
	if r.RowsAffected != 1 {
		return draft, "", refuse(CodeForbidden, "connection.authorization_dead")
	}
	secret, err := db.keys.unseal(a.ClientSecret, "admin.authorizations", "client_secret", a.ID.String())
	if err != nil {
		return draft, "", err
	}
	v, err := db.keys.unseal(a.Verifier, "admin.authorizations", "verifier", a.ID.String())
	if err != nil {
		return draft, "", err
	}
	return Connection{LoginURL: a.LoginURL, Auth: AuthWebServer, ClientID: a.ClientID, ClientSecret: secret}, v.Reveal(), nil
}
