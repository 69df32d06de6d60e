package models

import (
	"context"
	"encoding/hex"
	"time"
)

// Sessions keeps the browsers' sessions, as scs asks for. Only the hash of a session's token is stored, so that whoever reads
// the table cannot sign in with what is in it. (scs's own PostgreSQL store knows neither schemas nor contexts.)
type Sessions struct{ db *DB }

// Sessions gives the store of the browsers' sessions.
func (db *DB) Sessions() *Sessions { return &Sessions{db} }

func sessionKey(token string) string { return hex.EncodeToString(hashToken(token)) }

// FindCtx gives a session's data; false if there is none, or if it ended.
func (s *Sessions) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	var data [][]byte
	err := s.db.gorm.WithContext(ctx).Raw(`SELECT data FROM admin.sessions WHERE token = ? AND expiry > ?`, sessionKey(token), s.db.Now()).Scan(&data).Error
	if err != nil || len(data) == 0 {
		return nil, false, err
	}
	return data[0], true, nil
}

// CommitCtx stores a session's data until expiry.
func (s *Sessions) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	return s.db.gorm.WithContext(ctx).Exec(`INSERT INTO admin.sessions (token, data, expiry) VALUES (?, ?, ?)
		ON CONFLICT (token) DO UPDATE SET data = excluded.data, expiry = excluded.expiry`, sessionKey(token), data, expiry).Error
}

// DeleteCtx ends a session, and forgets those that ended by themselves.
func (s *Sessions) DeleteCtx(ctx context.Context, token string) error {
	return s.db.gorm.WithContext(ctx).Exec(`DELETE FROM admin.sessions WHERE token = ? OR expiry < ?`, sessionKey(token), s.db.Now()).Error
}

// Find is FindCtx for callers without a context.
func (s *Sessions) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}

// Commit is CommitCtx for callers without a context.
func (s *Sessions) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx for callers without a context.
func (s *Sessions) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
