package handlers

import (
	"errors"
	"net/http"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

const errorsShown = 500

// ShowErrors shows the records that are set aside and the objects that failed, by cause.
func (h *Handlers) ShowErrors(w http.ResponseWriter, r *http.Request) error {
	p, err := h.page(r, "errors.title", templates.URLErrors)
	if err != nil {
		return err
	}
	p.Live = true
	refused, err := h.Models.Refused(r.Context(), "", errorsShown)
	if err != nil {
		return err
	}
	c, err := h.Models.Connection(r.Context())
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return err
	}
	return render(w, r, http.StatusOK, templates.Errors(templates.ErrorsProps{Page: p, Refused: refused, Limit: errorsShown, Instance: c.InstanceURL}))
}
