package handlers

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
	"github.com/tandem-sync/tandem/templates/locale"
)

const auditShown = 10

// ShowSettings shows people, language, and what this installation is set to.
func (h *Handlers) ShowSettings(w http.ResponseWriter, r *http.Request) error {
	return h.settings(w, r, http.StatusOK, templates.SettingsProps{})
}

func (h *Handlers) settings(w http.ResponseWriter, r *http.Request, status int, props templates.SettingsProps) error {
	p, err := h.page(r, "settings.title", templates.URLSettings)
	if err != nil {
		return err
	}
	props.Page = p
	if rest, err := time.ParseDuration(h.Rest); err == nil {
		props.Rest = p.L.Duration(rest)
	}
	if p.May(models.RoleAdmin) {
		if props.Sync, err = h.Models.SyncSettings(r.Context()); err != nil {
			return err
		}
		if props.People, err = h.Models.Users(r.Context()); err != nil {
			return err
		}
		if props.Audit, err = h.Models.Audit(r.Context(), auditShown); err != nil {
			return err
		}
	}
	return render(w, r, status, templates.Settings(props))
}

// SetLanguage keeps the language in which the person reads.
func (h *Handlers) SetLanguage(w http.ResponseWriter, r *http.Request) error {
	lang := locale.For(r.PostFormValue("language")).Lang
	if err := h.Models.SetLanguage(r.Context(), User(r).ID, lang); err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{Name: cookieLang, Value: lang, Path: "/", MaxAge: yearSeconds, SameSite: http.SameSiteLaxMode, HttpOnly: true, Secure: h.Sessions.Cookie.Secure})
	return redirect(w, r, templates.URLSettings)
}

// SetSync keeps what holds for all objects.
func (h *Handlers) SetSync(w http.ResponseWriter, r *http.Request) error {
	var s models.SyncSettings
	var err error
	if text := strings.TrimSpace(r.PostFormValue("budget_percent")); text != "" {
		n, bad := strconv.Atoi(text)
		s.BudgetPercent, err = &n, bad
	}
	if err == nil {
		s.CheckHour, err = strconv.Atoi(r.PostFormValue("check_hour"))
	}
	if err == nil {
		s.BrakePercent, err = strconv.Atoi(strings.TrimSpace(r.PostFormValue("brake_percent")))
	}
	s.SendAtOnce = r.PostFormValue("send_at_once") == "true"
	if err != nil {
		err = &models.Error{Code: models.CodeInvalid, Message: "settings.no_number", Err: err}
	} else {
		err = h.Models.SetSyncSettings(r.Context(), s, actor(r))
	}
	if e, ok := refusal(err); ok {
		return h.settings(w, r, http.StatusUnprocessableEntity, templates.SettingsProps{Error: Locale(r).Error(e)})
	}
	if err != nil {
		return err
	}
	h.flash(r, "settings.sync_saved")
	return redirect(w, r, templates.URLSettings)
}

// Invite makes a person and shows the link by which they choose a password, once.
func (h *Handlers) Invite(w http.ResponseWriter, r *http.Request) error {
	email := r.PostFormValue("email")
	err := h.Models.InviteUser(r.Context(), email, models.Role(r.PostFormValue("role")), actor(r))
	if e, ok := refusal(err); ok {
		return h.settings(w, r, http.StatusUnprocessableEntity, templates.SettingsProps{NewEmail: email, Error: Locale(r).Error(e)})
	}
	if err != nil {
		return err
	}
	return h.showLink(w, r, email)
}

// showLink renders the page itself rather than redirecting: the link is shown this once and kept nowhere.
func (h *Handlers) showLink(w http.ResponseWriter, r *http.Request, email string) error {
	token, err := h.Models.ResetPassword(r.Context(), email, actor(r))
	if err != nil {
		return err
	}
	link := Locale(r).T("settings.invited", "email", email, "url", h.PublicURL+"/reset-password/"+token)
	return h.settings(w, r, http.StatusOK, templates.SettingsProps{Link: link})
}

// ResetPerson makes a new link for a person.
func (h *Handlers) ResetPerson(w http.ResponseWriter, r *http.Request) error {
	u, err := h.person(r)
	if err != nil {
		return err
	}
	return h.showLink(w, r, u.Email)
}

// SetRole changes what a person may do.
func (h *Handlers) SetRole(w http.ResponseWriter, r *http.Request) error {
	u, err := h.person(r)
	if err != nil {
		return err
	}
	err = h.Models.SetRole(r.Context(), u.ID, models.Role(r.PostFormValue("role")), actor(r))
	if e, ok := refusal(err); ok {
		return h.settings(w, r, http.StatusUnprocessableEntity, templates.SettingsProps{Error: Locale(r).Error(e)})
	}
	if err != nil {
		return err
	}
	h.flash(r, "settings.role_saved")
	return redirect(w, r, templates.URLSettings)
}

// RemovePerson takes a person's access away.
func (h *Handlers) RemovePerson(w http.ResponseWriter, r *http.Request) error {
	u, err := h.person(r)
	if err != nil {
		return err
	}
	err = h.Models.RemoveUser(r.Context(), u.ID, actor(r))
	if e, ok := refusal(err); ok {
		return h.settings(w, r, http.StatusUnprocessableEntity, templates.SettingsProps{Error: Locale(r).Error(e)})
	}
	if err != nil {
		return err
	}
	h.flash(r, "settings.removed", "email", u.Email)
	return redirect(w, r, templates.URLSettings)
}

func (h *Handlers) person(r *http.Request) (models.User, error) {
	id, err := uuid.Parse(chi.URLParam(r, "id"))
	if err != nil {
		return models.User{}, models.ErrNotFound
	}
	return h.Models.User(r.Context(), id)
}
