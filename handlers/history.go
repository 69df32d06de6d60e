package handlers

import (
	"encoding/csv"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

const (
	historyPage = 50
	// historyCSVMax bounds an export: a year of cycles of a dozen objects is about a million runs.
	historyCSVMax = 2_000_000
	historyBatch  = 5_000
)

func historyFilter(r *http.Request) (templates.HistoryQuery, models.RunFilter) {
	q := r.URL.Query()
	query := templates.HistoryQuery{Object: q.Get("object"), Kind: q.Get("kind"), State: q.Get("state"), From: q.Get("from"), To: q.Get("to")}
	query.Before, _ = strconv.ParseInt(q.Get("before"), 10, 64)
	f := models.RunFilter{Object: query.Object, Kind: models.RunKind(query.Kind), State: models.RunState(query.State), Before: query.Before}
	// A date that is none narrows nothing; the form shows it empty.
	var err error
	if f.From, err = time.Parse(time.DateOnly, query.From); err != nil {
		query.From = ""
	}
	if f.To, err = time.Parse(time.DateOnly, query.To); err != nil {
		query.To = ""
	} else {
		f.To = f.To.AddDate(0, 0, 1)
	}
	return query, f
}

// ShowHistory shows the runs that fit the filter.
func (h *Handlers) ShowHistory(w http.ResponseWriter, r *http.Request) error {
	query, f := historyFilter(r)
	f.Limit = historyPage + 1
	runs, err := h.Models.Runs(r.Context(), f)
	if err != nil {
		return err
	}
	p, err := h.page(r, "history.title", templates.URLHistory)
	if err != nil {
		return err
	}
	p.Live = query.Before == 0
	props := templates.HistoryProps{Page: p, Query: query, Runs: runs}
	if len(runs) > historyPage {
		props.Runs = runs[:historyPage]
		older := query
		older.Before = props.Runs[historyPage-1].ID
		props.Older = older.URL(templates.URLHistory)
	}
	return render(w, r, http.StatusOK, templates.History(props))
}

// ExportHistory writes the runs that fit the filter as CSV, newest first.
func (h *Handlers) ExportHistory(w http.ResponseWriter, r *http.Request) error {
	_, f := historyFilter(r)
	f.Limit = historyBatch
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="tandem-history.csv"`)
	out := csv.NewWriter(w)
	if err := out.Write([]string{
		"run", "cycle", "object", "kind", "result", "requested_by", "started_at", "ended_at",
		"read", "new", "changed", "deleted", "unchanged", "sent", "set_aside", "conflicts", "api_calls", "error_code", "error",
	}); err != nil {
		return err
	}
	for n := 0; n < historyCSVMax; {
		runs, err := h.Models.Runs(r.Context(), f)
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := out.Write(historyLine(run)); err != nil {
				return err
			}
		}
		if n += len(runs); len(runs) < historyBatch {
			break
		}
		f.Before = runs[len(runs)-1].ID
	}
	out.Flush()
	return out.Error()
}

func historyLine(r models.Run) []string {
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	cycle := ""
	if r.Cycle != nil {
		cycle = n(*r.Cycle)
	}
	return []string{
		n(r.ID), cycle, r.Object, string(r.Kind), string(r.State), cell(r.RequestedBy), at(r.StartedAt), at(r.EndedAt),
		n(r.Read), n(r.New), n(r.Changed), n(r.Deleted), n(r.Unchanged), n(r.Sent), n(r.Refused), n(r.Conflicts), n(r.APICalls), r.ErrorCode, cell(r.Error),
	}
}

// cell keeps a spreadsheet from taking a text that somebody else wrote for a formula.
func cell(s string) string {
	if s != "" && (s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' || s[0] == '\t' || s[0] == '\r') {
		return "'" + s
	}
	return s
}

// ShowRun shows one run.
func (h *Handlers) ShowRun(w http.ResponseWriter, r *http.Request) error {
	run, err := h.run(r)
	if err != nil {
		return err
	}
	p, err := h.page(r, "history.title", templates.URLHistory)
	if err != nil {
		return err
	}
	p.Live = run.Active()
	p.Title = templates.RunTitle(p, run)
	return render(w, r, http.StatusOK, templates.Run(templates.RunProps{Page: p, Run: run}))
}

// CancelRun stops a run that is not over.
func (h *Handlers) CancelRun(w http.ResponseWriter, r *http.Request) error {
	run, err := h.run(r)
	if err != nil {
		return err
	}
	if err := h.Models.CancelRun(r.Context(), run.ID, actor(r)); err != nil {
		return err
	}
	h.flash(r, "flash.canceled")
	return redirect(w, r, templates.URLRun(run.ID))
}

func (h *Handlers) run(r *http.Request) (models.Run, error) {
	id, err := strconv.ParseInt(chi.URLParam(r, "id"), 10, 64)
	if err != nil {
		return models.Run{}, models.ErrNotFound
	}
	return h.Models.Run(r.Context(), id)
}
