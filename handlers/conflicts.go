package handlers

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

const conflictsPage = 50

func conflictsFilter(r *http.Request) (templates.ConflictsQuery, models.ConflictFilter) {
	q := templates.ConflictsQuery{Object: r.FormValue("object"), Closed: r.FormValue("state") == "closed"}
	q.Before, _ = strconv.ParseInt(r.FormValue("before"), 10, 64)
	q.Asked = r.FormValue("asked") != ""
	return q, models.ConflictFilter{Object: q.Object, Closed: q.Closed, Before: q.Before, Asked: q.Asked}
}

// ShowConflicts shows the fields that both sides changed: those that wait for a person first.
func (h *Handlers) ShowConflicts(w http.ResponseWriter, r *http.Request) error {
	return h.conflicts(w, r, http.StatusOK, nil)
}

func (h *Handlers) conflicts(w http.ResponseWriter, r *http.Request, status int, problem *models.Error) error {
	query, f := conflictsFilter(r)
	f.Limit = conflictsPage + 1
	list, err := h.Models.Conflicts(r.Context(), f)
	if err != nil {
		return err
	}
	p, err := h.page(r, "conflicts.title", templates.URLConflicts)
	if err != nil {
		return err
	}
	p.Here = query.URL(templates.URLConflicts)
	p.Live = query.Before == 0 && problem == nil
	props := templates.ConflictsProps{Page: p, Query: query, Conflicts: list}
	if problem != nil {
		props.Problem = p.L.Error(problem)
	}
	if len(list) > conflictsPage {
		props.Conflicts = list[:conflictsPage]
		older := query
		last := props.Conflicts[conflictsPage-1]
		older.Before, older.Asked = last.ID, last.Undecided()
		props.Older = older.URL(templates.URLConflicts)
	}
	if props.Undecided, err = h.Models.UndecidedConflicts(r.Context()); err != nil {
		return err
	}
	if props.Instance, err = h.instance(r.Context()); err != nil {
		return err
	}
	return render(w, r, status, templates.Conflicts(props))
}

// OverturnConflict makes the other side's value the record's, or answers one that asks.
func (h *Handlers) OverturnConflict(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(chi.URLParam(r, "id"), 10, 64)
	if err != nil {
		return models.ErrNotFound
	}
	err = h.Models.OverturnConflict(r.Context(), id, r.FormValue("side"), actor(r))
	if e, ok := refusal(err); ok {
		return h.conflicts(w, r, http.StatusConflict, e)
	}
	if err != nil {
		return err
	}
	h.flash(r, "flash.overturned")
	return back(w, r, templates.URLConflicts)
}

// SeeConflicts puts decided conflicts away: one, or all of an object, or all.
func (h *Handlers) SeeConflicts(w http.ResponseWriter, r *http.Request) error {
	var ids []int64
	if what := r.FormValue("what"); what != "all" {
		if ids = numbers([]string{what}); len(ids) == 0 {
			return models.ErrNotFound
		}
	}
	n, err := h.Models.SeeConflicts(r.Context(), ids, r.FormValue("object"), actor(r))
	if e, ok := refusal(err); ok {
		return h.conflicts(w, r, http.StatusConflict, e)
	}
	if err != nil {
		return err
	}
	h.flashCount(r, "flash.seen", n)
	return back(w, r, templates.URLConflicts)
}

// ExportConflicts writes the conflicts that fit the filter as CSV.
func (h *Handlers) ExportConflicts(w http.ResponseWriter, r *http.Request) error {
	_, f := conflictsFilter(r)
	f.Limit = exportBatch
	out, err := beginCSV(w, "tandem-conflicts", "conflict", "object", "record", "local_id", "salesforce_id", "field", "before", "here", "salesforce", "winner", "reason", "edited_by", "edited_with", "edited_at", "found_at", "closed_at", "closed_by", "outcome")
	if err != nil {
		return err
	}
	text := func(v *string) string {
		if v == nil {
			return ""
		}
		return cell(*v)
	}
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	for n := 0; n < exportMax; {
		list, err := h.Models.Conflicts(r.Context(), f)
		if err != nil {
			return err
		}
		for _, c := range list {
			if err := out.Write([]string{
				strconv.FormatInt(c.ID, 10), c.Object, cell(c.Name), strconv.FormatInt(c.RowID, 10), c.SFID, c.Field, text(c.Base), text(c.Local), text(c.Remote), c.Winner, cell(c.Reason),
				cell(c.MadeBy), cell(c.Application), at(c.MadeAt), at(&c.FoundAt), at(c.ClosedAt), cell(c.ClosedBy), c.Outcome,
			}); err != nil {
				return err
			}
		}
		if n += len(list); len(list) < exportBatch {
			break
		}
		last := list[len(list)-1]
		f.Before, f.Asked = last.ID, last.Undecided()
	}
	out.Flush()
	return out.Error()
}
