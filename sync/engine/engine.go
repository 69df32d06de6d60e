// Package engine decides when and what to read from Salesforce, and keeps the account of it. Its loop is thin: Step looks at
// the rows that the control plane holds and makes sure that the work they ask for is queued; River carries the work to any
// worker process, in pieces of bounded size, each of which goes on from what committed last.
//
// It must never decide from memory what a row could tell: any number of workers run on one database, and each may die anywhere.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
)

// Config is what an engine needs. The zero value of each duration and count means its default.
type Config struct {
	Pool   *pgxpool.Pool
	Models *models.DB
	Mirror *mirror.DB
	Log    *slog.Logger

	AllowLocalOrg bool          // also accept loopback addresses over http as login URLs
	Rest          time.Duration // between the end of a cycle and the start of the next; 5 min
	Workers       int           // pieces at once in this process; 4
	PagesAtOnce   int           // pages of bulk results at once in this process; half of the cores, for PostgreSQL works as hard
	PageRows      int           // records a page of a bulk result; 50,000
	BulkAbove     int           // records above which Bulk is used instead of REST; 2,000
	LookBack      time.Duration // overlap of each read of changes with the one before; 10 min
	Tick          time.Duration // between two looks at the rows when nothing wakes the loop; 1 s
	ProbeEvery    time.Duration // between two tries of a connection that Salesforce refuses; 2 min
	Pace          time.Duration // what waiting for Salesforce is counted in: first looks at a bulk job, back-offs, looks whether a refused connection is mended; 1 s
	BudgetWait    time.Duration // after the org refused more calls, until it is asked again; 15 min
	AnswerPoll    time.Duration // between two looks of a run that waits for a person whether they answered; 5 s
	BulkSendAbove int           // changed records above which Bulk is used to send them; 2,000
	LockWait      time.Duration // before rows that another transaction in the org holds are tried again; it doubles; 500 ms
	LostWait      time.Duration // after a create whose reply was lost, before it is looked for; 10 s
	StopWithin    time.Duration // how long pieces may go on after the engine was told to stop; 8 s

	SuspectMax int // records that a check looks at one by one, of those that differ at first sight; 20,000

	AtStep func(step string) // told of each step of sending before the next begins; tests stop a worker there
}

const (
	schema = "queue"
	// pageQueue holds the pages of bulk results. They have a queue of their own because each keeps a core of the database
	// busy: more of them at once than cores is slower, and they must not stand in the way of what is quick.
	pageQueue    = "pages"
	pieceTimeout = 90 * time.Second
	rescueAfter  = 2 * time.Minute
	// attemptMax bounds the tries of one piece that fails in a way nobody foresaw; what Salesforce or the network cause is snoozed and burns none.
	attemptMax = 5
)

// Engine is one worker process's share of the work.
type Engine struct {
	Config
	id      string
	river   *river.Client[pgx.Tx]
	wake    chan struct{}
	edited  atomic.Bool // somebody changed something here since it was last looked; only a hint, the rows tell
	clients clientCache
	spent   atomic.Int64    // calls of this process that are not in the day's account yet
	dueAt   time.Time       // when it was last looked what is due by the clock; only Step touches it, one at a time
	stopCtx context.Context // ends when this process is told to stop
}

// Migrate brings River's tables up to date. The caller holds the migration lock, for River has none of its own.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, migrateLock); err != nil {
		return fmt.Errorf("wait for the queue's migration lock: %w", err)
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, migrateLock) }()
	if _, err := conn.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+schema); err != nil {
		return fmt.Errorf("make schema %s: %w", schema, err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("migrate the queue: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate the queue: %w", err)
	}
	return nil
}

// New builds an engine; Run starts it.
func New(c Config) (*Engine, error) {
	def(&c.Rest, 5*time.Minute)
	def(&c.Workers, 4)
	def(&c.PagesAtOnce, max(1, runtime.NumCPU()/2))
	def(&c.PageRows, 50_000)
	def(&c.BulkAbove, 2_000)
	def(&c.LookBack, 10*time.Minute)
	def(&c.Tick, time.Second)
	def(&c.ProbeEvery, 2*time.Minute)
	def(&c.BudgetWait, 15*time.Minute)
	def(&c.BulkSendAbove, 2_000)
	def(&c.LockWait, 500*time.Millisecond)
	def(&c.LostWait, 10*time.Second)
	def(&c.Pace, time.Second)
	def(&c.StopWithin, 8*time.Second)
	def(&c.SuspectMax, 20_000)
	def(&c.AnswerPoll, 5*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	e := &Engine{Config: c, id: host + "-" + uuid.NewString(), wake: make(chan struct{}, 1)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &describeWorker{engine: e})
	river.AddWorker(workers, &pullWorker{engine: e})
	river.AddWorker(workers, &pageWorker{engine: e})
	river.AddWorker(workers, &lookWorker{engine: e})
	e.river, err = river.NewClient(riverpgxv5.New(c.Pool), &river.Config{
		ID:                   e.id,
		Schema:               schema,
		Queues:               map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: c.Workers}, pageQueue: {MaxWorkers: c.PagesAtOnce}},
		Workers:              workers,
		JobTimeout:           pieceTimeout,
		RescueStuckJobsAfter: rescueAfter,
		MaxAttempts:          attemptMax,
		FetchPollInterval:    250 * time.Millisecond,
		FetchCooldown:        5 * time.Millisecond,
		// What a finished piece did is in admin.runs; the queue keeps only enough to look at a recent failure.
		CompletedJobRetentionPeriod: 10 * time.Minute,
		CancelledJobRetentionPeriod: time.Hour,
		DiscardedJobRetentionPeriod: 24 * time.Hour,
		ErrorHandler:                &errorHandler{engine: e},
		Logger:                      slog.New(quiet{c.Log.Handler()}),
	})
	if err != nil {
		return nil, fmt.Errorf("make the work queue: %w", err)
	}
	return e, nil
}

// Run works until ctx ends, then stops taking work, gives the pieces under way StopWithin, and hands the rest back.
func (e *Engine) Run(ctx context.Context) error {
	life, err := e.announce(ctx)
	if err != nil {
		return err
	}
	pieces, cancelPieces := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelPieces()
	e.stopCtx = ctx
	if err := e.river.Start(pieces); err != nil {
		return fmt.Errorf("start the work queue: %w", err)
	}
	e.Log.Info("worker started", "worker", e.id, "pieces_at_once", e.Workers, "rest", e.Rest)

	var loops sync.WaitGroup
	loops.Go(func() { life.keep(ctx) })
	loops.Go(func() { e.listen(ctx) })
	loops.Go(func() { e.loop(ctx) })
	<-ctx.Done()

	soft, cancelSoft := context.WithTimeout(context.WithoutCancel(ctx), e.StopWithin)
	defer cancelSoft()
	if err := e.river.Stop(soft); err != nil && errors.Is(err, context.DeadlineExceeded) {
		hard, cancelHard := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancelHard()
		_ = e.river.StopAndCancel(hard)
	}
	loops.Wait()
	life.end(context.WithoutCancel(ctx))
	e.Log.Info("worker stopped", "worker", e.id)
	return nil
}

// loop ticks; each turn is one Step.
func (e *Engine) loop(ctx context.Context) {
	tick := time.NewTicker(e.Tick)
	defer tick.Stop()
	failures := 0
	for {
		if err := e.Step(ctx); err != nil && ctx.Err() == nil {
			failures++
			if failures == 1 || failures%60 == 0 {
				e.Log.Error("a look at what is to be done failed; it is tried again", "error", err, "failures", failures)
			}
		} else {
			failures = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-e.wake:
		}
	}
}

// nudge asks for a Step soon, without waiting; one nudge is remembered.
func (e *Engine) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// listen turns the control plane's notifications into nudges.
func (e *Engine) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := func() error {
			conn, err := e.Pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
			if _, err := conn.Exec(ctx, `LISTEN tandem_wake; LISTEN tandem_outbox`); err != nil {
				return err
			}
			e.edited.Store(true) // what was said while nobody listened
			defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), `UNLISTEN *`) }()
			for {
				n, err := conn.Conn().WaitForNotification(ctx)
				if err != nil {
					return err
				}
				if n.Channel == "tandem_outbox" {
					// The next tick is soon enough: an application may commit a hundred times a second.
					e.edited.Store(true)
					continue
				}
				e.nudge()
			}
		}()
		if ctx.Err() == nil {
			e.Log.Warn("lost the connection that hears requests; the next tick sees them", "error", err)
			pause(ctx, time.Second)
		}
	}
}

// errorHandler makes a failure that nobody foresaw visible on its run.
type errorHandler struct{ engine *Engine }

func (h *errorHandler) HandleError(_ context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	h.engine.Log.Error("a piece of work failed", "kind", job.Kind, "job", job.ID, "attempt", job.Attempt, "error", err)
	return nil
}

func (h *errorHandler) HandlePanic(_ context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	h.engine.Log.Error("a piece of work panicked", "kind", job.Kind, "job", job.ID, "panic", value, "trace", trace)
	return nil
}

// quiet keeps River's own chatter below warnings out of the program's log.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(name string) slog.Handler   { return quiet{q.Handler.WithGroup(name)} }

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// pause waits for d or for ctx to end.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
