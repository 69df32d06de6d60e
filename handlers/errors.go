package handlers

import (
	"context"
	"encoding/csv"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

const (
	causesShown = 50
	causeRows   = 5   // of each cause on the page of all
	causePage   = 100 // on the page of one cause
	exportBatch = 2_000
	// exportMax bounds an export of records that are set aside, or in conflict.
	exportMax = 1_000_000
)

// errorsFilter reads the filter from the address or from a form.
func errorsFilter(r *http.Request) (templates.ErrorsQuery, models.RefusalFilter) {
	v := r.FormValue
	q := templates.ErrorsQuery{Object: v("object"), Direction: v("direction"), Code: v("code"), Cause: v("cause"), From: v("from"), To: v("to")}
	q.Before, _ = strconv.ParseInt(v("before"), 10, 64)
	f := models.RefusalFilter{Object: q.Object, Direction: q.Direction, Code: q.Code, Cause: q.Cause, Before: q.Before}
	f.From, f.To = dates(&q.From, &q.To)
	return q, f
}

// dates reads a span of days. A date that is none narrows nothing; the form shows it empty.
func dates(from, to *string) (begin, end time.Time) {
	begin, err := time.Parse(time.DateOnly, *from)
	if err != nil {
		*from = ""
	}
	end, err = time.Parse(time.DateOnly, *to)
	if err != nil {
		*to = ""
		return begin, time.Time{}
	}
	return begin, end.AddDate(0, 0, 1)
}

// ShowErrors shows the records that are set aside, by cause, and what failed as a whole.
func (h *Handlers) ShowErrors(w http.ResponseWriter, r *http.Request) error {
	return h.errors(w, r, http.StatusOK, nil)
}

func (h *Handlers) errors(w http.ResponseWriter, r *http.Request, status int, problem *models.Error) error {
	query, f := errorsFilter(r)
	p, err := h.page(r, "errors.title", templates.URLErrors)
	if err != nil {
		return err
	}
	p.Here = query.URL(templates.URLErrors)
	p.Live = query.Before == 0 && problem == nil
	props := templates.ErrorsProps{Page: p, Query: query}
	if problem != nil {
		props.Problem = p.L.Error(problem)
	}
	rows := causeRows
	if query.Cause != "" {
		rows = causePage
	}
	if props.Causes, err = h.Models.Causes(r.Context(), f, causesShown+1, rows+1); err != nil {
		return err
	}
	if props.More = len(props.Causes) > causesShown; props.More {
		props.Causes = props.Causes[:causesShown]
	}
	for i := range props.Causes {
		c := &props.Causes[i]
		if len(c.Rows) <= rows {
			continue
		}
		c.Rows = c.Rows[:rows]
		if query.Cause != "" {
			older := query
			older.Before = c.Rows[rows-1].ID
			props.Older = older.URL(templates.URLErrors)
		}
	}
	if props.Codes, err = h.Models.RefusedCodes(r.Context()); err != nil {
		return err
	}
	if props.Runs, err = h.Models.TroubledRuns(r.Context(), query.Object); err != nil {
		return err
	}
	if props.Instance, err = h.instance(r.Context()); err != nil {
		return err
	}
	return render(w, r, status, templates.Errors(props))
}

// instance gives the org's address, for links to its records; empty before connecting.
func (h *Handlers) instance(ctx context.Context) (string, error) {
	c, err := h.Models.Connection(ctx)
	if errors.Is(err, models.ErrNotFound) {
		return "", nil
	}
	return c.InstanceURL, err
}

// chosen reads which records a button means: all that fit the filter, those that are ticked, or one.
func chosen(r *http.Request, f models.RefusalFilter) models.RefusalFilter {
	switch what := r.FormValue("what"); what {
	case "all":
		return f
	case "chosen":
		f.IDs = numbers(r.Form["id"])
	default:
		f.IDs = numbers([]string{what})
	}
	return f
}

func numbers(texts []string) []int64 {
	list := []int64{}
	for _, t := range texts {
		if n, err := strconv.ParseInt(t, 10, 64); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// RetryRefused sends refused changes again: one, those ticked, all of a cause, or all.
func (h *Handlers) RetryRefused(w http.ResponseWriter, r *http.Request) error {
	_, f := errorsFilter(r)
	n, err := h.Models.RetryRefused(r.Context(), chosen(r, f), actor(r))
	return h.acted(w, r, "flash.retried", n, err)
}

// DropRefused gives refused changes up, for a reason.
func (h *Handlers) DropRefused(w http.ResponseWriter, r *http.Request) error {
	_, f := errorsFilter(r)
	n, err := h.Models.DropRefused(r.Context(), chosen(r, f), r.FormValue("reason"), actor(r))
	return h.acted(w, r, "flash.dropped", n, err)
}

func (h *Handlers) acted(w http.ResponseWriter, r *http.Request, flash string, n int64, err error) error {
	if e, ok := refusal(err); ok {
		r.Form.Del("cause")
		return h.errors(w, r, http.StatusUnprocessableEntity, e)
	}
	if err != nil {
		return err
	}
	h.flashCount(r, flash, n)
	return back(w, r, templates.URLErrors)
}

// ExportErrors writes the records that are set aside and fit the filter as CSV, newest first.
func (h *Handlers) ExportErrors(w http.ResponseWriter, r *http.Request) error {
	_, f := errorsFilter(r)
	f.Limit = exportBatch
	out, err := beginCSV(w, "tandem-errors", "refusal", "direction", "object", "record", "local_id", "salesforce_id", "code", "field", "message", "changes", "times", "first_seen_at", "last_seen_at")
	if err != nil {
		return err
	}
	for n := 0; n < exportMax; {
		rows, err := h.Models.Refused(r.Context(), f)
		if err != nil {
			return err
		}
		for _, x := range rows {
			local := ""
			if x.RowID != 0 {
				local = strconv.FormatInt(x.RowID, 10)
			}
			if err := out.Write([]string{
				strconv.FormatInt(x.ID, 10), x.Direction, x.Object, cell(x.Name), local, x.SFID, cell(x.Code), cell(x.Field), cell(x.Message), cell(changesText(x.Changes)),
				strconv.FormatInt(x.Seen, 10), x.FirstSeenAt.UTC().Format(time.RFC3339), x.LastSeenAt.UTC().Format(time.RFC3339),
			}); err != nil {
				return err
			}
		}
		if n += len(rows); len(rows) < exportBatch {
			break
		}
		f.Before = rows[len(rows)-1].ID
	}
	out.Flush()
	return out.Error()
}

func beginCSV(w http.ResponseWriter, name string, columns ...string) (*csv.Writer, error) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
	out := csv.NewWriter(w)
	return out, out.Write(columns)
}

// changesText writes what was to change in one cell.
func changesText(changes []models.FieldChange) string {
	text := func(v *string) string {
		if v == nil {
			return ""
		}
		return *v
	}
	parts := make([]string, len(changes))
	for i, c := range changes {
		parts[i] = c.Field + ": " + text(c.Before) + " → " + text(c.After)
	}
	return strings.Join(parts, "; ")
}
