package engine

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// The numbers of Tandem's advisory locks. PostgreSQL has one space of them a database.
const (
	migrateLock int64 = 0x7a6e_6465_6d01
	stepLock    int64 = 0x7a6e_6465_6d02
	// aliveLock is the first key of the lock that each worker process holds while it lives; the second is its id's hash.
	aliveLock int32 = 0x7a6e_0003
)

// life is a worker's sign of being alive: a session lock that PostgreSQL drops the moment the process is gone, and a row for people.
type life struct {
	engine *Engine
	conn   *pgxpool.Conn
}

func aliveKey(id string) int32 {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int32(h.Sum32()) //nolint:gosec // the lock's key is the hash's bits, whatever their sign
}

// announce takes this worker's lock.
func (e *Engine) announce(ctx context.Context) (*life, error) {
	l := &life{engine: e}
	if err := l.take(ctx); err != nil {
		return nil, fmt.Errorf("announce this worker: %w", err)
	}
	return l, nil
}

func (l *life) take(ctx context.Context) error {
	conn, err := l.engine.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, aliveLock, aliveKey(l.engine.id)); err != nil {
		conn.Release()
		return err
	}
	l.conn = conn
	return l.engine.Models.WorkerSeen(ctx, l.engine.id)
}

// keep renews the row and, should the connection be lost, the lock, until ctx ends.
func (l *life) keep(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if l.conn != nil && l.conn.Ping(ctx) != nil && ctx.Err() == nil {
			l.drop(ctx)
		}
		if l.conn == nil {
			if err := l.take(ctx); err != nil && ctx.Err() == nil {
				l.engine.Log.Warn("this worker's sign of life could not be renewed", "error", err)
			}
			continue
		}
		if err := l.engine.Models.WorkerSeen(ctx, l.engine.id); err != nil && ctx.Err() == nil {
			l.engine.Log.Warn("this worker's sign of life could not be written", "error", err)
		}
	}
}

// drop closes the lock's connection; a pooled connection must not keep a session lock.
func (l *life) drop(ctx context.Context) {
	_ = l.conn.Conn().Close(ctx)
	l.conn.Release()
	l.conn = nil
}

func (l *life) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = l.engine.Models.WorkerGone(ctx, l.engine.id)
	if l.conn != nil {
		l.drop(ctx)
	}
}

// rescue hands on the pieces of workers that died: those whose lock nobody holds. River's own rescue is a timer of minutes;
// a lock tells within one tick. This is the one place that writes River's table, and it does what River's rescuer would do.
func (e *Engine) rescue(ctx context.Context) error {
	rows, err := e.Pool.Query(ctx, `SELECT DISTINCT attempted_by[array_length(attempted_by, 1)] FROM `+schema+`.river_job WHERE state = 'running'`)
	if err != nil {
		return fmt.Errorf("look for pieces of dead workers: %w", err)
	}
	var dead []string
	for rows.Next() {
		var id *string
		if err := rows.Scan(&id); err != nil {
			rows.Close()
			return err
		}
		if id != nil && *id != e.id {
			dead = append(dead, *id)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, id := range dead {
		var alive bool
		err := e.Pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.objsubid = 2 AND l.granted)`,
			int64(uint32(aliveLock)), int64(uint32(aliveKey(id)))).Scan(&alive)
		if err != nil {
			return fmt.Errorf("ask whether worker %s lives: %w", id, err)
		}
		if alive {
			continue
		}
		tag, err := e.Pool.Exec(ctx, `UPDATE `+schema+`.river_job SET state = 'available', scheduled_at = now(), max_attempts = GREATEST(max_attempts, attempt + 1)
			WHERE state = 'running' AND attempted_by[array_length(attempted_by, 1)] = $1`, id)
		if err != nil {
			return fmt.Errorf("hand on the pieces of worker %s: %w", id, err)
		}
		if tag.RowsAffected() > 0 {
			e.Log.Warn("a worker died; its pieces go on here", "worker", id, "pieces", tag.RowsAffected())
		}
	}
	return nil
}
