package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// liveGap bounds how often a page is told to ask again: a first sync changes rows many times a second.
	liveGap = 500 * time.Millisecond
	// liveKeep is how often an idle stream says that it is there, so that proxies leave it open.
	liveKeep = 20 * time.Second
	// liveBeat makes pages ask again even when no row changed, so that relative times and a silent worker show.
	liveBeat = 15 * time.Second
	liveMax  = 500
)

// live tells open pages that something changed. What changed they read themselves: the row is the truth. One database
// connection a process hears for all of its pages, so any number of processes work alike.
type live struct {
	pool *pgxpool.Pool
	log  *slog.Logger

	mu      sync.Mutex
	clients map[chan struct{}]struct{}
	closed  chan struct{}
	once    sync.Once
}

func newLive(pool *pgxpool.Pool, log *slog.Logger) *live {
	return &live{pool: pool, log: log, clients: map[chan struct{}]struct{}{}, closed: make(chan struct{})}
}

// run hears the database until ctx ends.
func (l *live) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.log.Warn("lost the connection that hears changes; pages ask again by themselves", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			l.tell()
		}
	}
}

func (l *live) listen(ctx context.Context) error {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `LISTEN tandem_changed`); err != nil {
		return err
	}
	defer func() {
		// A connection that goes back to the pool must not go on hearing.
		if _, err := conn.Exec(context.WithoutCancel(ctx), `UNLISTEN *`); err != nil {
			_ = conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	for {
		wait, cancel := context.WithTimeout(ctx, liveBeat)
		_, err := conn.Conn().WaitForNotification(wait)
		beat := wait.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && !beat {
			return err
		}
		l.tell()
	}
}

// tell marks every client as having news; one that has some already is not told twice.
func (l *live) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.clients {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// close ends all streams, so that the server can stop.
func (l *live) close() { l.once.Do(func() { close(l.closed) }) }

func (l *live) join() (chan struct{}, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.clients) >= liveMax {
		return nil, false
	}
	c := make(chan struct{}, 1)
	l.clients[c] = struct{}{}
	return c, true
}

func (l *live) leave(c chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.clients, c)
}

// ServeHTTP is a page's stream of news, as server-sent events.
func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	news, ok := l.join()
	if !ok {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many open pages", http.StatusServiceUnavailable)
		return
	}
	defer l.leave(news)
	control := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	write := func(text string) bool {
		_ = control.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprint(w, text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	if !write("retry: 2000\n\n") {
		return
	}
	keep := time.NewTicker(liveKeep)
	defer keep.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-l.closed:
			return
		case <-keep.C:
			if !write(": here\n\n") {
				return
			}
		case <-news:
			if !write("event: changed\ndata: now\n\n") {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-l.closed:
				return
			case <-time.After(liveGap):
			}
		}
	}
}
