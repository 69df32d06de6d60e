package models

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"
	"gorm.io/gorm"
)

// Role says what a person may do.
type Role string

// The roles, each of which may do what the one after it may.
const (
	RoleAdmin    Role = "admin"    // connect, choose objects, invite people
	RoleOperator Role = "operator" // sync, resync, pause
	RoleViewer   Role = "viewer"   // look
)

func (r Role) rank() int {
	return map[Role]int{RoleViewer: 1, RoleOperator: 2, RoleAdmin: 3}[r]
}

// May tells whether r includes what the role need may do.
func (r Role) May(need Role) bool { return r.rank() >= need.rank() && need.rank() > 0 }

const (
	passwordMin = 10
	// setUpLife and resetLife bound how long a link that lies in a log or a mailbox can be used.
	setUpLife = 24 * time.Hour
	resetLife = 48 * time.Hour
)

// User is a person who may sign in.
type User struct {
	ID           uuid.UUID
	Email        string
	Role         Role
	PasswordHash string `json:"-"`
	Language     string
	CreatedAt    time.Time
	LastSignInAt *time.Time
}

// PasswordMark is another after each change of the password, and tells nothing of it. A session that was begun with an earlier
// one is over.
func (u User) PasswordMark() string {
	return base64.RawURLEncoding.EncodeToString(hashToken(u.PasswordHash)[:12])
}

// TableName is where users are.
func (User) TableName() string { return "admin.users" }

type link struct {
	TokenHash []byte `gorm:"primaryKey"`
	Kind      string
	UserID    *uuid.UUID
	ExpiresAt time.Time
	UsedAt    *time.Time
}

func (link) TableName() string { return "admin.links" }

// AddUser makes a person with a password.
func (db *DB) AddUser(ctx context.Context, email string, role Role, password string) (User, error) {
	if err := checkPassword(password); err != nil {
		return User{}, err
	}
	u, err := db.newUser(email, role)
	if err != nil {
		return u, err
	}
	u.PasswordHash = hashPassword(password)
	return u, db.createUser(db.gorm.WithContext(ctx), u)
}

// InviteUser makes a person without a password; ResetPassword gives the link by which they choose one.
func (db *DB) InviteUser(ctx context.Context, email string, role Role, actor string) error {
	u, err := db.newUser(email, role)
	if err != nil {
		return err
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		if err := db.createUser(tx, u); err != nil {
			return err
		}
		return db.audit(tx, actor, "user.invite", u.Email, map[string]string{"role": string(role)})
	})
}

func (db *DB) newUser(email string, role Role) (User, error) {
	address, err := mail.ParseAddress(strings.TrimSpace(email))
	if err != nil || address.Name != "" {
		return User{}, refuse(CodeInvalid, "user.email_invalid", "email", email)
	}
	if role.rank() == 0 {
		return User{}, refuse(CodeInvalid, "user.role_invalid", "role", string(role))
	}
	return User{ID: uuid.New(), Email: address.Address, Role: role, CreatedAt: db.Now()}, nil
}

func (db *DB) createUser(tx *gorm.DB, u User) error {
	err := tx.Create(&u).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return refuse(CodeConflict, "user.exists", "email", u.Email)
	}
	return err
}

// EnsureAdmin makes the admin that the settings name, unless somebody has that address already.
func (db *DB) EnsureAdmin(ctx context.Context, email, password string) error {
	_, err := db.AddUser(ctx, email, RoleAdmin, password)
	var e *Error
	if errors.As(err, &e) && e.Message == "user.exists" {
		return nil
	}
	return err
}

// Users lists the people who may sign in.
func (db *DB) Users(ctx context.Context) ([]User, error) {
	var users []User
	return users, db.gorm.WithContext(ctx).Order("lower(email)").Find(&users).Error
}

// User gives one person; ErrNotFound if there is none.
func (db *DB) User(ctx context.Context, id uuid.UUID) (User, error) {
	var u User
	return u, found(db.gorm.WithContext(ctx).First(&u, "id = ?", id).Error)
}

// SetRole changes what a person may do. The last admin stays one.
func (db *DB) SetRole(ctx context.Context, id uuid.UUID, role Role, actor string) error {
	if role.rank() == 0 {
		return refuse(CodeInvalid, "user.role_invalid", "role", string(role))
	}
	return db.tx(ctx, func(tx *gorm.DB) error {
		var u User
		if err := found(tx.First(&u, "id = ?", id).Error); err != nil {
			return err
		}
		if err := lastAdmin(tx, u, role); err != nil {
			return err
		}
		if err := tx.Model(&User{}).Where("id = ?", id).Update("role", role).Error; err != nil {
			return err
		}
		return db.audit(tx, actor, "user.role", u.Email, map[string]string{"role": string(role)})
	})
}

// RemoveUser takes a person's access away. The last admin stays.
func (db *DB) RemoveUser(ctx context.Context, id uuid.UUID, actor string) error {
	return db.tx(ctx, func(tx *gorm.DB) error {
		var u User
		if err := found(tx.First(&u, "id = ?", id).Error); err != nil {
			return err
		}
		if err := lastAdmin(tx, u, RoleViewer); err != nil {
			return err
		}
		if err := tx.Delete(&User{}, "id = ?", id).Error; err != nil {
			return err
		}
		return db.audit(tx, actor, "user.remove", u.Email, nil)
	})
}

func lastAdmin(tx *gorm.DB, u User, becomes Role) error {
	if u.Role != RoleAdmin || becomes == RoleAdmin {
		return nil
	}
	// The rows are locked, so that two admins cannot take each other's role at the same moment.
	var others int64
	err := tx.Raw(`SELECT count(*) FROM (SELECT FROM admin.users WHERE role = 'admin' AND id <> ? FOR UPDATE) o`, u.ID).Scan(&others).Error
	if err == nil && others == 0 {
		return refuse(CodeConflict, "user.last_admin")
	}
	return err
}

// SetLanguage keeps the language in which a person reads the pages.
func (db *DB) SetLanguage(ctx context.Context, id uuid.UUID, language string) error {
	return db.gorm.WithContext(ctx).Model(&User{}).Where("id = ?", id).Update("language", language).Error
}

// Authenticate gives the person whose address and password these are. A wrong address takes as long as a wrong password, and
// says the same.
func (db *DB) Authenticate(ctx context.Context, email, password string) (User, error) {
	var u User
	err := db.gorm.WithContext(ctx).First(&u, "lower(email) = lower(?)", strings.TrimSpace(email)).Error
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return User{}, err
	}
	if !passwordFits(u.PasswordHash, password) || err != nil {
		return User{}, refuse(CodeForbidden, "sign_in.wrong")
	}
	now := db.Now()
	u.LastSignInAt = &now
	return u, db.gorm.WithContext(ctx).Model(&User{}).Where("id = ?", u.ID).Update("last_sign_in_at", now).Error
}

// SetupLink gives the token of a link that makes the first admin, once. made is false when there is somebody already. A new
// link ends those before it.
func (db *DB) SetupLink(ctx context.Context) (token string, made bool, err error) {
	err = db.tx(ctx, func(tx *gorm.DB) error {
		var people int64
		if err := tx.Model(&User{}).Count(&people).Error; err != nil || people > 0 {
			return err
		}
		if err := tx.Delete(&link{}, "kind = 'set-up'").Error; err != nil {
			return err
		}
		made = true
		token, err = db.newLink(tx, "set-up", nil, setUpLife)
		return err
	})
	return token, made && err == nil, err
}

// ResetPassword gives the token of a link by which a person chooses a new password, once.
func (db *DB) ResetPassword(ctx context.Context, email, actor string) (token string, err error) {
	err = db.tx(ctx, func(tx *gorm.DB) error {
		var u User
		err := tx.First(&u, "lower(email) = lower(?)", strings.TrimSpace(email)).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return refuse(CodeNotFound, "user.unknown", "email", email)
		}
		if err != nil {
			return err
		}
		if err := tx.Delete(&link{}, "user_id = ?", u.ID).Error; err != nil {
			return err
		}
		if token, err = db.newLink(tx, "password", &u.ID, resetLife); err != nil {
			return err
		}
		return db.audit(tx, actor, "user.reset_password", u.Email, nil)
	})
	return token, err
}

func (db *DB) newLink(tx *gorm.DB, kind string, user *uuid.UUID, life time.Duration) (string, error) {
	token := randomToken()
	return token, tx.Create(&link{TokenHash: hashToken(token), Kind: kind, UserID: user, ExpiresAt: db.Now().Add(life)}).Error
}

// LinkWorks tells whether a link can still be used, for the page that it leads to.
func (db *DB) LinkWorks(ctx context.Context, kind, token string) (bool, error) {
	var n int64
	err := db.gorm.WithContext(ctx).Model(&link{}).Where("token_hash = ? AND kind = ? AND used_at IS NULL AND expires_at > ?", hashToken(token), kind, db.Now()).Count(&n).Error
	return n == 1, err
}

// RedeemSetup makes the first admin by the one-time link.
func (db *DB) RedeemSetup(ctx context.Context, token, email, password string) (User, error) {
	if err := checkPassword(password); err != nil {
		return User{}, err
	}
	u, err := db.newUser(email, RoleAdmin)
	if err != nil {
		return u, err
	}
	u.PasswordHash = hashPassword(password)
	err = db.tx(ctx, func(tx *gorm.DB) error {
		if _, err := db.useLink(tx, "set-up", token); err != nil {
			return err
		}
		var people int64
		if err := tx.Model(&User{}).Count(&people).Error; err != nil {
			return err
		}
		if people > 0 {
			return refuse(CodeConflict, "link.not_needed")
		}
		if err := db.createUser(tx, u); err != nil {
			return err
		}
		return db.audit(tx, u.Email, "user.first_admin", u.Email, nil)
	})
	return u, err
}

// RedeemReset sets a person's password by the one-time link.
func (db *DB) RedeemReset(ctx context.Context, token, password string) (User, error) {
	if err := checkPassword(password); err != nil {
		return User{}, err
	}
	var u User
	err := db.tx(ctx, func(tx *gorm.DB) error {
		l, err := db.useLink(tx, "password", token)
		if err != nil {
			return err
		}
		if err := found(tx.First(&u, "id = ?", *l.UserID).Error); err != nil {
			return err
		}
		u.PasswordHash = hashPassword(password)
		if err := tx.Model(&User{}).Where("id = ?", u.ID).Update("password_hash", u.PasswordHash).Error; err != nil {
			return err
		}
		return db.audit(tx, u.Email, "user.password", u.Email, nil)
	})
	return u, err
}

// useLink marks a link as used; of two that use it at once, one is told that it no longer works.
func (db *DB) useLink(tx *gorm.DB, kind, token string) (link, error) {
	var l link
	now := db.Now()
	r := tx.Raw(`UPDATE admin.links SET used_at = ? WHERE token_hash = ? AND kind = ? AND used_at IS NULL AND expires_at > ? RETURNING *`, now, hashToken(token), kind, now).Scan(&l)
	if r.Error == nil && r.RowsAffected != 1 {
		return l, refuse(CodeForbidden, "link.dead")
	}
	return l, r.Error
}

func randomToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func hashToken(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

func checkPassword(password string) error {
	if len([]rune(password)) < passwordMin {
		return refuse(CodeInvalid, "user.password_short", "least", fmt.Sprint(passwordMin))
	}
	if len(password) > 1024 {
		return refuse(CodeInvalid, "user.password_long")
	}
	return nil
}

const (
	argonMemory = 19 * 1024 // KiB
	argonTime   = 2
)

func hashPassword(password string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, 1, 32)
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, argonMemory, argonTime, enc(salt), enc(key))
}

// nobody is what an unknown address is compared with, so that it takes as long as a known one.
var nobody = hashPassword(randomToken())

func passwordFits(hash, password string) bool {
	known := hash != ""
	if !known {
		hash = nobody
	}
	var version, memory, times int
	parts := strings.Split(hash, "$")
	if len(parts) != 6 {
		return false
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=1", &version, &memory, &times); err != nil || version != argon2.Version {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || memory <= 0 || times <= 0 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, uint32(times), uint32(memory), 1, uint32(len(want))) //nolint:gosec // our own stored parameters
	return subtle.ConstantTimeCompare(got, want) == 1 && known
}
