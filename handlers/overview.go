package handlers

import (
	"net/http"

	"github.com/tandem-sync/tandem/templates"
)

// ShowOverview shows the whole at a glance.
func (h *Handlers) ShowOverview(w http.ResponseWriter, r *http.Request) error {
	p, err := h.page(r, "nav.overview", templates.URLOverview)
	if err != nil {
		return err
	}
	p.Live = true
	if p.Notices, err = h.Models.OpenNotices(r.Context(), "", noticesShown); err != nil {
		return err
	}
	if err := h.Models.TellBacklogs(r.Context(), &p.Status); err != nil {
		return err
	}
	return render(w, r, http.StatusOK, templates.Overview(p))
}

// RequestSync skips the rest.
func (h *Handlers) RequestSync(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.Models.RequestSync(r.Context(), actor(r)); err != nil {
		return err
	}
	h.flash(r, "flash.sync")
	return back(w, r, templates.URLOverview)
}

// Pause holds everything up.
func (h *Handlers) Pause(w http.ResponseWriter, r *http.Request) error {
	if err := h.Models.Pause(r.Context(), actor(r)); err != nil {
		return err
	}
	h.flash(r, "flash.paused")
	return back(w, r, templates.URLOverview)
}

// Resume takes up what Pause stopped.
func (h *Handlers) Resume(w http.ResponseWriter, r *http.Request) error {
	if err := h.Models.Resume(r.Context(), actor(r)); err != nil {
		return err
	}
	h.flash(r, "flash.resumed")
	return back(w, r, templates.URLOverview)
}
