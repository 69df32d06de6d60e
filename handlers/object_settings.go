package handlers

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

// ShowObjectSettings shows the admin's choices for one object.
func (h *Handlers) ShowObjectSettings(w http.ResponseWriter, r *http.Request) error {
	return h.objectSettings(w, r, http.StatusOK, nil, nil)
}

func (h *Handlers) objectSettings(w http.ResponseWriter, r *http.Request, status int, typed *models.ObjectSettings, problem *models.Error) error {
	name := chi.URLParam(r, "name")
	detail, err := h.object(r)
	if err != nil {
		return err
	}
	o, err := h.Models.Object(r.Context(), name)
	if err != nil {
		return err
	}
	d, err := h.Models.Described(r.Context(), name)
	if err != nil {
		return err
	}
	p, err := h.page(r, "objects.title", templates.URLObjects)
	if err != nil {
		return err
	}
	p.Title = p.L.T("object_settings.title", "object", detail.LabelPlural)
	props := templates.ObjectSettingsProps{Page: p, Object: detail, Settings: models.SettingsOf(o), Described: d}
	if typed != nil {
		props.Settings = *typed
	}
	if problem != nil {
		props.Error = p.L.Error(problem)
	}
	return render(w, r, status, templates.ObjectSettings(props))
}

// SaveObjectSettings keeps the admin's choices for one object.
func (h *Handlers) SaveObjectSettings(w http.ResponseWriter, r *http.Request) error {
	v := r.PostFormValue
	s := models.ObjectSettings{
		CreatePolicy: models.CreatePolicy(v("create_policy")), CreateField: v("create_field"), CreateOperator: v("create_operator"), CreateValue: v("create_value"), CreateDefaults: map[string]string{},
		DeleteAllowed: v("delete_allowed") == "true", Recreate: v("recreate") == "true", OnDeleted: models.OnDeleted(v("on_deleted")), Policy: models.ConflictPolicy(v("policy")),
		ExternalID: v("external_id"), MatchEmail: v("match_email") == "true",
	}
	for name := range r.PostForm {
		if field, ok := strings.CutPrefix(name, "default-"); ok {
			s.CreateDefaults[field] = v(name)
		}
	}
	if field := v("default_field"); field != "" {
		s.CreateDefaults[field] = v("default_value")
	}
	hours, err := strconv.Atoi(v("formula_hours"))
	if err != nil {
		hours = -1
	}
	s.FormulaHours = hours
	name := chi.URLParam(r, "name")
	err = h.Models.SaveObjectSettings(r.Context(), name, s, actor(r))
	if e, ok := refusal(err); ok {
		return h.objectSettings(w, r, http.StatusUnprocessableEntity, &s, e)
	}
	if err != nil {
		return err
	}
	h.flash(r, "settings.role_saved")
	return redirect(w, r, templates.URLObjectSettings(name))
}
