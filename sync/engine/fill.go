package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
)

const (
	// fillRetry is how long a fill that failed or was canceled is not asked for again; it doubles with each, up to fillRetryMax.
	fillRetry    = 10 * time.Minute
	fillRetryMax = 6 * time.Hour
)

// requestFills asks for a fill of each object that has fields to be filled: the columns say so themselves, from the transaction
// on that made them, so no request can be lost. Objects whose table does not fit their describe wait.
func (e *Engine) requestFills(ctx context.Context, wrong map[string]error) error {
	names, err := e.Mirror.ObjectsToFill(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		o, err := e.Models.Object(ctx, name)
		if errors.Is(err, models.ErrNotFound) || err == nil && (!o.Enabled || o.Hidden || o.Paused || wrong[name] != nil) {
			continue
		}
		if err != nil {
			return err
		}
		last, err := e.Models.Runs(ctx, models.RunFilter{Object: name, Kind: models.RunFill, Limit: 6})
		if err != nil {
			return err
		}
		if wait := fillWait(last); len(last) > 0 && e.Models.Now().Sub(last[0].RequestedAt) < wait {
			continue
		}
		if _, err := e.Models.RequestRun(ctx, name, models.RunFill, "Tandem"); err != nil {
			return err
		}
	}
	return nil
}

// fillWait is how long after the newest of the last fills another may be asked for.
func fillWait(last []models.Run) time.Duration {
	var wait time.Duration
	for _, r := range last {
		if r.State != models.RunFailed && r.State != models.RunCanceled {
			break
		}
		wait = min(max(2*wait, fillRetry), fillRetryMax)
	}
	return wait
}

// fill reads the fields that are new here, and only those, for all records, beside the cycle. Records that are newer here are
// left alone: they were read with the field already.
func (p *piece) fill(ctx context.Context) (outcome, error) {
	if o, resumed, err := p.resume(ctx); resumed || err != nil {
		return o, err
	}
	fields, err := p.Mirror.ToFill(ctx, p.run.Object)
	if err != nil {
		return outcome{}, err
	}
	if len(fields) == 0 {
		return p.finish(ctx, mirror.Result{})
	}
	now, err := p.serverTime(ctx)
	if err != nil {
		return outcome{}, err
	}
	return p.readQuery(ctx, mirror.Watermark{}, reading{kind: mirror.LoadFill, fields: p.keyed(fields), where: p.where(""), now: now})
}

// keyed puts before some fields those by which a record is known and its age is told.
func (p *piece) keyed(fields []string) []string {
	keys := []string{"Id"}
	if f, ok := p.table.Schema().Field("SystemModstamp"); ok {
		keys = append(keys, f.Name)
	}
	for _, f := range fields {
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, f) }) {
			keys = append(keys, f)
		}
	}
	return keys
}
