package handlers

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

// ShowSignIn shows the sign-in, or the overview to who is signed in already.
func (h *Handlers) ShowSignIn(w http.ResponseWriter, r *http.Request) error {
	if User(r) != nil {
		return redirect(w, r, templates.URLOverview)
	}
	return h.signIn(w, r, http.StatusOK, templates.SignProps{})
}

func (h *Handlers) signIn(w http.ResponseWriter, r *http.Request, status int, p templates.SignProps) error {
	people, err := h.Models.Users(r.Context())
	if err != nil {
		return err
	}
	p.Page, p.Nobody = h.PublicPage(r, "sign_in.title"), len(people) == 0
	p.Page.User = nil
	return render(w, r, status, templates.SignIn(p))
}

// SignIn begins a session. The session's name changes, so that one planted before is worth nothing.
func (h *Handlers) SignIn(w http.ResponseWriter, r *http.Request) error {
	email := r.PostFormValue("email")
	u, err := h.Models.Authenticate(r.Context(), email, r.PostFormValue("password"))
	if e, ok := refusal(err); ok {
		return h.signIn(w, r, http.StatusForbidden, templates.SignProps{Email: email, Error: Locale(r).Error(e)})
	}
	if err != nil {
		return err
	}
	return h.begin(w, r, u)
}

func (h *Handlers) begin(w http.ResponseWriter, r *http.Request, u models.User) error {
	if err := h.Sessions.RenewToken(r.Context()); err != nil {
		return err
	}
	h.Sessions.Put(r.Context(), sessionUser, u.ID.String())
	h.Sessions.Put(r.Context(), sessionMark, u.PasswordMark())
	return redirect(w, r, templates.URLOverview)
}

// SignOut ends the session.
func (h *Handlers) SignOut(w http.ResponseWriter, r *http.Request) error {
	if err := h.Sessions.Destroy(r.Context()); err != nil {
		return err
	}
	return redirect(w, r, templates.URLSignIn)
}

// ShowSetUp shows the form behind the one-time link of the first admin.
func (h *Handlers) ShowSetUp(w http.ResponseWriter, r *http.Request) error {
	works, err := h.Models.LinkWorks(r.Context(), "set-up", chi.URLParam(r, "token"))
	if err != nil {
		return err
	}
	return h.setUp(w, r, works, templates.SignProps{})
}

func (h *Handlers) setUp(w http.ResponseWriter, r *http.Request, works bool, p templates.SignProps) error {
	p.Page = h.PublicPage(r, "set_up.title")
	p.Page.User = nil
	status := http.StatusOK
	if !works {
		p.Dead, p.Error, status = true, p.L.T("link.dead"), http.StatusForbidden
	} else if p.Error != "" {
		status = http.StatusUnprocessableEntity
	}
	return render(w, r, status, templates.SetUp(p))
}

// SetUp makes the first admin and signs them in.
func (h *Handlers) SetUp(w http.ResponseWriter, r *http.Request) error {
	email := r.PostFormValue("email")
	u, err := h.Models.RedeemSetup(r.Context(), chi.URLParam(r, "token"), email, r.PostFormValue("password"))
	if e, ok := refusal(err); ok {
		return h.setUp(w, r, e.Message != "link.dead", templates.SignProps{Email: email, Error: Locale(r).Error(e)})
	}
	if err != nil {
		return err
	}
	return h.begin(w, r, u)
}

// ShowReset shows the form behind the one-time link for a new password.
func (h *Handlers) ShowReset(w http.ResponseWriter, r *http.Request) error {
	works, err := h.Models.LinkWorks(r.Context(), "password", chi.URLParam(r, "token"))
	if err != nil {
		return err
	}
	return h.reset(w, r, works, "")
}

func (h *Handlers) reset(w http.ResponseWriter, r *http.Request, works bool, problem string) error {
	p := templates.SignProps{Page: h.PublicPage(r, "reset.title"), Error: problem}
	p.Page.User = nil
	status := http.StatusOK
	if !works {
		p.Dead, p.Error, status = true, p.L.T("link.dead"), http.StatusForbidden
	} else if problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return render(w, r, status, templates.Reset(p))
}

// Reset sets the new password and signs the person in.
func (h *Handlers) Reset(w http.ResponseWriter, r *http.Request) error {
	u, err := h.Models.RedeemReset(r.Context(), chi.URLParam(r, "token"), r.PostFormValue("password"))
	if e, ok := refusal(err); ok {
		return h.reset(w, r, e.Message != "link.dead", Locale(r).Error(e))
	}
	if err != nil {
		return err
	}
	return h.begin(w, r, u)
}
