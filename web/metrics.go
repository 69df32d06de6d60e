package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tandem-sync/tandem/models"
)

// metricsWithin is how long the rows may take to answer a scrape.
const metricsWithin = 5 * time.Second

// metrics answers Prometheus: the process's own figures, and Tandem's, which come from the rows, so that every process tells the same.
func metrics(db *models.DB, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), figures{db, log})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// figures reads Tandem's own figures at each scrape.
type figures struct {
	models *models.DB
	log    *slog.Logger
}

// figure describes one metric; labels follow its name.
func figure(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tandem_"+name, help, labels, nil)
}

var (
	figUp          = figure("up", "1 if the database answered.")
	figConnected   = figure("connected", "1 if Salesforce accepts the connection.")
	figWorkers     = figure("workers", "Worker processes that gave a sign of life in the last minute.")
	figCycle       = figure("cycle_number", "Number of the newest cycle.")
	figCycleState  = figure("cycle_state", "1 for the state that the cycle is in.", "state")
	figRecords     = figure("object_records", "Live records here.", "object")
	figBehind      = figure("object_behind_seconds", "How far the object's watermark is behind now.", "object")
	figState       = figure("object_state", "1 for the state that the object is in.", "object", "state")
	figToSend      = figure("object_to_send", "Local changes that wait to be sent.", "object")
	figRefused     = figure("object_refused", "Records that are set aside.", "object")
	figConflicts   = figure("object_conflicts", "Conflicts that nobody has looked at.", "object")
	figDiffering   = figure("object_differing", "Records that the last check found to differ from Salesforce, less those mended since.", "object")
	figChecked     = figure("object_checked_timestamp_seconds", "When the last check against Salesforce ended.", "object")
	figAPIUsed     = figure("api_calls_today", "API calls that Tandem made since midnight UTC.")
	figAPIBudget   = figure("api_budget_today", "Tandem's share of the org's API calls of this day; 0 if the org does not tell its limit.")
	figAPIOrgUsed  = figure("api_org_calls_24h", "The org's API calls of the last 24 hours by all its applications, as it said last.")
	figAPIOrgLimit = figure("api_org_limit_24h", "The org's limit of API calls in 24 hours.")
	figRuns        = figure("runs_24h", "Runs that ended in the last 24 hours.", "kind", "result")
	cycleStates    = []models.CycleState{models.CycleSyncing, models.CycleResting, models.CyclePaused, models.CycleStopped}
)

// Describe names no metric ahead: which there are depends on the rows.
func (figures) Describe(chan<- *prometheus.Desc) {}

func (f figures) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsWithin)
	defer cancel()
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s, err := f.models.Status(ctx)
	var runs []models.RunCount
	if err == nil {
		runs, err = f.models.RunCounts(ctx)
	}
	var checks []models.CheckStatus
	if err == nil {
		checks, err = f.models.LastChecks(ctx)
	}
	if err != nil {
		f.log.Warn("the figures for a scrape could not be read", "error", err)
		tell(figUp, 0)
		return
	}
	tell(figUp, 1)
	tell(figConnected, is(s.Connection.State == models.StateConnected))
	tell(figWorkers, float64(s.Cycle.Workers))
	tell(figCycle, float64(s.Cycle.Number))
	for _, state := range cycleStates {
		tell(figCycleState, is(s.Cycle.State == state), string(state))
	}
	for _, o := range s.Objects {
		tell(figRecords, float64(o.Records), o.Name)
		tell(figState, 1, o.Name, string(o.State))
		tell(figToSend, float64(o.ToSend), o.Name)
		tell(figRefused, float64(o.Refused), o.Name)
		tell(figConflicts, float64(o.Conflicts), o.Name)
		if o.Watermark != nil {
			tell(figBehind, max(s.Now.Sub(*o.Watermark), 0).Seconds(), o.Name)
		}
	}
	for _, c := range checks {
		tell(figDiffering, float64(c.Differing+c.Unlooked), c.Object)
		tell(figChecked, float64(c.CheckedAt.Unix()), c.Object)
	}
	tell(figAPIUsed, float64(s.API.Tandem.Used))
	tell(figAPIBudget, float64(s.API.Budget))
	tell(figAPIOrgUsed, float64(s.API.Used))
	tell(figAPIOrgLimit, float64(s.API.Limit))
	for _, r := range runs {
		tell(figRuns, float64(r.Runs), string(r.Kind), string(r.State))
	}
}

func is(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
