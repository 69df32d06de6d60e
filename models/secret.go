package models

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// sealVersion begins every sealed value, so that a later key or cipher can be told from this one.
const sealVersion = 1

// Secret is a value that is never printed, logged, rendered or marshalled (Invariant 7). It is empty, open (as a person or
// Salesforce gave it) or sealed (as the database holds it). Only a sealed one can be written: whichever way the ORM takes,
// an open one is refused by Value, and anything else by the column's CHECK.
type Secret struct {
	open   string
	sealed []byte
}

var errOpenSecret = errors.New("a secret that is not sealed was about to be stored")

// NewSecret holds what somebody gave.
func NewSecret(text string) Secret { return Secret{open: text} }

// Reveal gives the secret itself; "" if it is empty or still sealed.
func (s Secret) Reveal() string { return s.open }

// Empty tells whether there is nothing.
func (s Secret) Empty() bool { return s.open == "" && len(s.sealed) == 0 }

func (s Secret) String() string               { return "[secret]" }
func (s Secret) GoString() string             { return "[secret]" }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte("[secret]")) }
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"[secret]"`), nil }
func (s Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue("[secret]") }

// Value gives what is stored: the sealed bytes, or null.
func (s Secret) Value() (driver.Value, error) {
	switch {
	case s.sealed != nil:
		return s.sealed, nil
	case s.open == "":
		return nil, nil
	}
	return nil, errOpenSecret
}

// Scan takes what is stored, sealed.
func (s *Secret) Scan(v any) error {
	*s = Secret{}
	switch v := v.(type) {
	case nil:
		return nil
	case []byte:
		s.sealed = append([]byte(nil), v...)
		return nil
	}
	return fmt.Errorf("a secret column holds a %T", v)
}

// Keyring seals and opens secrets with a key that lives outside the database.
type Keyring struct{ aead cipher.AEAD }

// LoadKey reads the key file, or makes it, once, readable by its owner only. Concurrent first starts agree on one key. A file
// that others may read is refused, with what to do.
func LoadKey(path string) (*Keyring, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("make the key file %s: %w", path, err)
		}
		key, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the key file %s may be read by others (mode %04o): make it its owner's alone with chmod 600", path, info.Mode().Perm())
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("the key file %s holds %d bytes, a key has 32: restore it from where you keep it; without it the stored credentials must be entered anew", path, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Keyring{aead}, nil
}

// makeKey writes a new key beside its place and links it there: the link fails if another process was first, and its key stands.
func makeKey(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if _, err := f.Write(key); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// place is where a secret is kept. It is authenticated with it, so that a sealed value moved elsewhere does not open.
func place(table, column, row string) []byte { return []byte(table + "\x00" + column + "\x00" + row) }

func (k *Keyring) seal(s Secret, table, column, row string) (Secret, error) {
	if s.open == "" {
		return Secret{}, nil
	}
	nonce := make([]byte, k.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return Secret{}, err
	}
	out := append([]byte{sealVersion}, nonce...)
	return Secret{sealed: k.aead.Seal(out, nonce, []byte(s.open), place(table, column, row))}, nil
}

func (k *Keyring) unseal(s Secret, table, column, row string) (Secret, error) {
	if len(s.sealed) == 0 {
		return Secret{}, nil
	}
	n := k.aead.NonceSize()
	if len(s.sealed) < 1+n || s.sealed[0] != sealVersion {
		return Secret{}, fmt.Errorf("%s.%s holds no sealed secret", table, column)
	}
	text, err := k.aead.Open(nil, s.sealed[1:1+n], s.sealed[1+n:], place(table, column, row))
	if err != nil {
		return Secret{}, fmt.Errorf("the secret in %s.%s does not open with this key file: use the key that it was stored with, or enter the credentials anew", table, column)
	}
	return Secret{open: string(text)}, nil
}
