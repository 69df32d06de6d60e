package handlers

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

const auditPage = 100

func auditFilter(r *http.Request) (templates.AuditQuery, models.AuditFilter) {
	q := templates.AuditQuery{Actor: r.FormValue("actor"), From: r.FormValue("from"), To: r.FormValue("to")}
	q.Before, _ = strconv.ParseInt(r.FormValue("before"), 10, 64)
	f := models.AuditFilter{Actor: q.Actor, Before: q.Before}
	f.From, f.To = dates(&q.From, &q.To)
	return q, f
}

// ShowAudit shows what people did.
func (h *Handlers) ShowAudit(w http.ResponseWriter, r *http.Request) error {
	query, f := auditFilter(r)
	f.Limit = auditPage + 1
	entries, err := h.Models.AuditLog(r.Context(), f)
	if err != nil {
		return err
	}
	p, err := h.page(r, "settings.audit", templates.URLSettings)
	if err != nil {
		return err
	}
	props := templates.AuditProps{Page: p, Query: query, Entries: entries}
	if len(entries) > auditPage {
		props.Entries = entries[:auditPage]
		older := query
		older.Before = props.Entries[auditPage-1].ID
		props.Older = older.URL(templates.URLAudit)
	}
	if props.Actors, err = h.Models.AuditActors(r.Context()); err != nil {
		return err
	}
	return render(w, r, http.StatusOK, templates.Audit(props))
}

// ExportAudit writes what people did as CSV, newest first.
func (h *Handlers) ExportAudit(w http.ResponseWriter, r *http.Request) error {
	_, f := auditFilter(r)
	f.Limit = exportBatch
	out, err := beginCSV(w, "tandem-audit", "at", "who", "action", "subject", "sentence")
	if err != nil {
		return err
	}
	l := Locale(r)
	for n := 0; n < exportMax; {
		entries, err := h.Models.AuditLog(r.Context(), f)
		if err != nil {
			return err
		}
		for _, a := range entries {
			if err := out.Write([]string{a.At.UTC().Format(time.RFC3339), cell(a.Actor), a.Action, cell(a.Subject), cell(templates.AuditSentence(l, a))}); err != nil {
				return err
			}
		}
		if n += len(entries); len(entries) < exportBatch {
			break
		}
		f.Before = entries[len(entries)-1].ID
	}
	out.Flush()
	return out.Error()
}
