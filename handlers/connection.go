package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

// connectionTestWithin is how long somebody waits for Salesforce on this page, the only one that does.
const connectionTestWithin = 30 * time.Second

// ShowConnection shows the stored connection, without its secrets.
func (h *Handlers) ShowConnection(w http.ResponseWriter, r *http.Request) error {
	c, err := h.Models.Connection(r.Context())
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return err
	}
	if c.Auth == "" {
		c.Auth = models.AuthClientCredentials
	}
	return h.connection(w, r, http.StatusOK, c, nil)
}

// connection renders the page: form is what the fields show, problem why it could not be saved.
func (h *Handlers) connection(w http.ResponseWriter, r *http.Request, status int, form models.Connection, problem error) error {
	title := "connection.title"
	stored, err := h.Models.Connection(r.Context())
	if errors.Is(err, models.ErrNotFound) {
		title = "connection.title_new"
	} else if err != nil {
		return err
	}
	p, err := h.page(r, title, templates.URLConnection)
	if err != nil {
		return err
	}
	props := templates.ConnectionProps{
		Page: p, Known: stored.OrgID != "", Auth: form.Auth, Sandbox: form.Sandbox || kindOfAddress(form.LoginURL) == environmentSandbox, LoginURL: form.LoginURL, ClientID: form.ClientID, Username: form.Username,
		HasSecret: !stored.ClientSecret.Empty() && stored.Auth == form.Auth, HasKey: !stored.PrivateKey.Empty() && stored.Auth == form.Auth,
		State: stored.State, Org: p.Status.Connection.Org, Who: stored.UserName,
		StoredCode: stored.ErrorCode, StoredError: stored.Error, Report: stored.Report, CallbackURL: h.callbackURL(),
	}
	switch pending, change, err := h.Models.PendingConnection(r.Context()); {
	case err == nil:
		props.Pending, props.Change = pending.UserName, change
	case !errors.Is(err, models.ErrNotFound):
		return err
	}
	if problem != nil {
		e, ok := refusal(problem)
		if !ok {
			return problem
		}
		props.Error, props.ErrorCode, props.ErrorSaid = p.L.Error(e), e.Params["code"], e.Params["message"]
	}
	return render(w, r, status, templates.Connection(props))
}

func (h *Handlers) callbackURL() string { return h.PublicURL + templates.URLCallback }

// SaveConnection tests what was typed and stores it if Salesforce accepts it. The web server flow goes on in the browser, at Salesforce.
func (h *Handlers) SaveConnection(w http.ResponseWriter, r *http.Request) error {
	form := models.Connection{
		LoginURL: strings.TrimSpace(r.PostFormValue("login_url")), Auth: models.Auth(r.PostFormValue("auth")), ClientID: strings.TrimSpace(r.PostFormValue("client_id")),
		ClientSecret: models.NewSecret(strings.TrimSpace(r.PostFormValue("client_secret"))), Username: strings.TrimSpace(r.PostFormValue("username")),
		PrivateKey: models.NewSecret(strings.TrimSpace(r.PostFormValue("private_key"))), Sandbox: r.PostFormValue("environment") == environmentSandbox,
	}
	if err := h.checkConnection(r, &form); err != nil {
		return h.connection(w, r, http.StatusUnprocessableEntity, form, err)
	}
	if form.Auth == models.AuthWebServer {
		state, verifier, err := h.Models.BeginAuthorization(r.Context(), form, User(r).ID)
		if err != nil {
			return err
		}
		to, err := h.AuthorizeURL(form, h.callbackURL(), state, verifier)
		if err != nil {
			return err
		}
		return redirect(w, r, to)
	}
	ctx, cancel := context.WithTimeout(r.Context(), connectionTestWithin)
	defer cancel()
	tested, err := h.TestConnection(ctx, form)
	if err != nil {
		return h.connection(w, r, http.StatusUnprocessableEntity, form, err)
	}
	return h.storeConnection(w, r, form, tested)
}

func (h *Handlers) storeConnection(w http.ResponseWriter, r *http.Request, form, tested models.Connection) error {
	err := h.Models.SaveConnection(r.Context(), tested, actor(r))
	if e, ok := refusal(err); ok && e.Message == "connection.other_user" {
		return h.askUser(w, r, form, tested)
	}
	if err != nil {
		return h.connection(w, r, http.StatusUnprocessableEntity, form, err)
	}
	if err := h.Models.EnableStandardObjects(r.Context(), tested.Report.Visible); err != nil {
		return err
	}
	h.flash(r, "connection.saved")
	return redirect(w, r, templates.URLConnection)
}

// askUser keeps a sign-in by another user of the same org, with what that user sees less or more, until the admin says yes.
func (h *Handlers) askUser(w http.ResponseWriter, r *http.Request, form, tested models.Connection) error {
	objects, err := h.Models.Objects(r.Context())
	if err != nil {
		return err
	}
	synced, err := h.Models.FieldNames(r.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), connectionTestWithin)
	defer cancel()
	change, err := h.CompareUser(ctx, tested, objects, synced)
	if err != nil {
		return h.connection(w, r, http.StatusUnprocessableEntity, form, err)
	}
	if err := h.Models.HoldConnection(r.Context(), tested, change, actor(r)); err != nil {
		return err
	}
	return redirect(w, r, templates.URLConnection)
}

// AnswerUser puts the other user in the place of the present one, or forgets them.
func (h *Handlers) AnswerUser(w http.ResponseWriter, r *http.Request) error {
	if chi.URLParam(r, "verb") != "accept" {
		if err := h.Models.DropConnection(r.Context(), actor(r)); err != nil {
			return err
		}
		return redirect(w, r, templates.URLConnection)
	}
	c, err := h.Models.AcceptConnection(r.Context(), actor(r))
	if err != nil {
		return err
	}
	if err := h.Models.EnableStandardObjects(r.Context(), c.Report.Visible); err != nil {
		return err
	}
	h.flash(r, "connection.saved")
	return redirect(w, r, templates.URLConnection)
}

// Disconnect forgets the credentials.
func (h *Handlers) Disconnect(w http.ResponseWriter, r *http.Request) error {
	if err := h.Models.Disconnect(r.Context(), actor(r)); err != nil {
		return err
	}
	h.flash(r, "connection.disconnected")
	return redirect(w, r, templates.URLConnection)
}

// checkConnection checks what was typed; an empty secret means the stored one, where the way of signing in is the same.
func (h *Handlers) checkConnection(r *http.Request, c *models.Connection) error {
	l := Locale(r)
	missing := func(key string) error {
		return &models.Error{Code: models.CodeInvalid, Message: "connection.missing", Params: map[string]string{"field": l.T(key)}}
	}
	switch c.Auth {
	case models.AuthWebServer, models.AuthClientCredentials, models.AuthJWT:
	default:
		return missing("connection.how")
	}
	if c.LoginURL = loginAddress(*c); c.LoginURL == "" {
		return missing("connection.login_url")
	}
	if !strings.Contains(c.LoginURL, "://") {
		c.LoginURL = "https://" + c.LoginURL
	}
	address, err := h.CheckLoginURL(c.LoginURL)
	if err != nil {
		return &models.Error{Code: models.CodeInvalid, Message: "connection.login_url_invalid", Params: map[string]string{"message": err.Error()}}
	}
	c.LoginURL = address
	if chosen := r.PostFormValue("environment"); chosen != "" && kindOfAddress(address) != "" && chosen != kindOfAddress(address) {
		return &models.Error{Code: models.CodeInvalid, Message: "connection.environment_differs", Params: map[string]string{"url": address, "kind": l.T("connection." + kindOfAddress(address)), "chosen": l.T("connection." + chosen)}}
	}
	if c.ClientID == "" {
		return missing("connection.client_id")
	}
	stored, err := h.Models.Connection(r.Context())
	if err != nil && !errors.Is(err, models.ErrNotFound) {
		return err
	}
	// A stored secret goes only where it was stored for: another login address must not be able to ask for it.
	if stored.Auth == c.Auth && stored.LoginURL == c.LoginURL && stored.ClientID == c.ClientID {
		if c.ClientSecret.Empty() {
			c.ClientSecret = stored.ClientSecret
		}
		if c.PrivateKey.Empty() {
			c.PrivateKey = stored.PrivateKey
		}
	}
	switch c.Auth {
	case models.AuthClientCredentials:
		if c.ClientSecret.Empty() {
			return missing("connection.client_secret")
		}
	case models.AuthJWT:
		if c.Username == "" {
			return missing("connection.username")
		}
		if c.PrivateKey.Empty() {
			return missing("connection.private_key")
		}
	}
	return nil
}

// The two kinds of environment, as the form names them.
const (
	environmentProduction = "production"
	environmentSandbox    = "sandbox"
)

// loginAddress completes what was typed: nothing means the kind of environment's own login page, where a person or a certificate may
// sign in, and a bare name is a My Domain.
func loginAddress(c models.Connection) string {
	typed := c.LoginURL
	switch {
	case typed == "" && c.Auth == models.AuthClientCredentials:
		return "" // Salesforce takes client credentials at the org's own address only
	case typed == "" && c.Sandbox:
		return "https://test.salesforce.com"
	case typed == "":
		return "https://login.salesforce.com"
	case strings.ContainsAny(typed, ".:/[") || strings.EqualFold(typed, "localhost"):
		return typed
	case c.Sandbox:
		return "https://" + typed + ".sandbox.my.salesforce.com"
	}
	return "https://" + typed + ".my.salesforce.com"
}

// kindOfAddress tells by a login address which kind of environment it is of; empty where the address does not tell.
func kindOfAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	switch host := u.Hostname(); {
	case host == "test.salesforce.com", strings.HasSuffix(host, ".sandbox.my.salesforce.com"), strings.HasSuffix(host, ".scratch.my.salesforce.com"):
		return environmentSandbox
	case host == "login.salesforce.com", strings.HasSuffix(host, ".my.salesforce.com"):
		return environmentProduction
	}
	return ""
}

// FinishConnection is where Salesforce sends the browser back to (web server flow).
func (h *Handlers) FinishConnection(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	draft, verifier, err := h.Models.TakeAuthorization(r.Context(), q.Get("state"), User(r).ID)
	if draft.Auth == "" {
		draft.Auth = models.AuthWebServer
	}
	if err != nil {
		return h.connection(w, r, http.StatusForbidden, draft, err)
	}
	if code := q.Get("error"); code != "" {
		message := q.Get("error_description")
		if message == "" {
			message = code
		}
		denied := &models.Error{Code: models.CodeRefused, Message: "connection.denied", Params: map[string]string{"message": message, "code": code}}
		return h.connection(w, r, http.StatusUnprocessableEntity, draft, denied)
	}
	ctx, cancel := context.WithTimeout(r.Context(), connectionTestWithin)
	defer cancel()
	tested, err := h.Exchange(ctx, draft, h.callbackURL(), q.Get("code"), verifier)
	if err != nil {
		return h.connection(w, r, http.StatusUnprocessableEntity, draft, err)
	}
	return h.storeConnection(w, r, draft, tested)
}
