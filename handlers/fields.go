package handlers

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

// filterCountWithin is how long somebody waits for Salesforce to count what meets a filter.
const filterCountWithin = 60 * time.Second

// ShowFields shows an object's fields, what was chosen for each, and its record filter.
func (h *Handlers) ShowFields(w http.ResponseWriter, r *http.Request) error {
	return h.fields(w, r, http.StatusOK, func(*templates.FieldsProps) {})
}

// fields renders the page; with changes what is shown beside what is stored.
func (h *Handlers) fields(w http.ResponseWriter, r *http.Request, status int, with func(*templates.FieldsProps)) error {
	ctx, name := r.Context(), chi.URLParam(r, "name")
	o, err := h.object(r)
	if err != nil {
		return err
	}
	choice, err := h.Models.Object(ctx, name)
	if err != nil {
		return err
	}
	all, err := h.Models.Fields(ctx, name)
	if err != nil {
		return err
	}
	kept, err := h.Models.Kept(ctx)
	if err != nil {
		return err
	}
	p, err := h.page(r, "objects.title", templates.URLObjects)
	if err != nil {
		return err
	}
	p.Title = o.LabelPlural
	props := templates.FieldsProps{
		Page: p, Object: o, Choice: choice, Total: len(all), Search: strings.TrimSpace(r.FormValue("q")), Filter: choice.RowFilter, Kept: kept[name],
	}
	for _, f := range all {
		if s := strings.ToLower(props.Search); strings.Contains(strings.ToLower(f.Name), s) || strings.Contains(strings.ToLower(f.Label), s) {
			props.Fields = append(props.Fields, f)
		}
	}
	with(&props)
	return render(w, r, status, templates.Fields(props))
}

// SaveFields keeps what was chosen for the fields that the form showed.
func (h *Handlers) SaveFields(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), chi.URLParam(r, "name")
	if err := r.ParseForm(); err != nil {
		return &models.Error{Code: models.CodeInvalid, Message: "field.unnamed", Err: err}
	}
	choices, err := h.choices(ctx, name, r.PostForm)
	if err != nil {
		return err
	}
	if err := h.Models.SaveFieldChoices(ctx, name, choices, actor(r)); err != nil {
		e, ok := refusal(err)
		if !ok || e.Code == models.CodeNotFound {
			return err
		}
		return h.fields(w, r, http.StatusUnprocessableEntity, func(p *templates.FieldsProps) { p.Error = p.L.Error(e) })
	}
	h.flash(r, "fields.saved")
	to := templates.URLObjectFields(name)
	if q := r.PostForm.Get("q"); q != "" {
		to += "?" + url.Values{"q": {q}}.Encode()
	}
	return redirect(w, r, to)
}

// choices reads the form. What it did not offer for a field stays as it was; a field that the object has not is passed over.
func (h *Handlers) choices(ctx context.Context, object string, form url.Values) ([]models.FieldChoice, error) {
	o, err := h.Models.Object(ctx, object)
	if err != nil {
		return nil, err
	}
	fields, err := h.Models.Fields(ctx, object)
	if err != nil {
		return nil, err
	}
	shown := map[string]bool{}
	for _, name := range form["field"] {
		shown[name] = true
	}
	var choices []models.FieldChoice
	for _, f := range fields {
		if !shown[f.Name] {
			continue
		}
		c := f.Choice
		c.Object = object
		if o.MayLeaveOut(f.Name) {
			c.Excluded = form.Get("sync-"+f.Name) == ""
		}
		if form.Get("send-"+f.Name) != "" {
			c.Direction, c.Policy = models.Direction(form.Get("direction-"+f.Name)), models.ConflictPolicy(form.Get("policy-"+f.Name))
			c.BlankOverwrites, c.KeepFirst = form.Get("blank-"+f.Name) != "", form.Get("first-"+f.Name) != ""
		}
		choices = append(choices, c)
	}
	return choices, nil
}

// SaveFilter has Salesforce count what meets a record filter, and keeps it once the admin has seen that.
func (h *Handlers) SaveFilter(w http.ResponseWriter, r *http.Request) error {
	name := chi.URLParam(r, "name")
	if _, err := h.Models.Object(r.Context(), name); err != nil {
		return err
	}
	verb, typed := r.PostFormValue("do"), r.PostFormValue("filter")
	if verb == "remove" {
		typed = ""
	}
	filter, err := models.CheckFilter(typed)
	var meet, all int
	if err == nil && filter != "" {
		ctx, cancel := context.WithTimeout(r.Context(), filterCountWithin)
		defer cancel()
		meet, all, err = h.CountFilter(ctx, name, filter)
	}
	if err == nil && (verb == "save" || verb == "remove") {
		if err = h.Models.SaveRowFilter(r.Context(), name, filter, actor(r)); err == nil {
			h.flash(r, "filter.saved")
			return redirect(w, r, templates.URLObjectFields(name))
		}
	}
	if err != nil {
		e, ok := refusal(err)
		if !ok {
			return err
		}
		return h.fields(w, r, http.StatusUnprocessableEntity, func(p *templates.FieldsProps) {
			p.Filter, p.FilterError, p.FilterCode = typed, p.L.Error(e), e.Params["code"]
			// What is wrong with a query is here what is wrong with the filter: the rest of it is Tandem's.
			if strings.HasPrefix(p.FilterCode, "INVALID_") || strings.HasPrefix(p.FilterCode, "MALFORMED_") {
				p.FilterCode = "FILTER_REFUSED"
			}
		})
	}
	return h.fields(w, r, http.StatusOK, func(p *templates.FieldsProps) {
		p.Filter, p.Counted, p.Meet, p.All = filter, filter != "", int64(meet), int64(all)
	})
}

// SeeNotices puts news away.
func (h *Handlers) SeeNotices(w http.ResponseWriter, r *http.Request) error {
	upTo, err := strconv.ParseInt(r.PostFormValue("up_to"), 10, 64)
	if err != nil {
		return models.ErrNotFound
	}
	if err := h.Models.SeeNotices(r.Context(), upTo, r.PostFormValue("object"), actor(r)); err != nil {
		return err
	}
	return back(w, r, templates.URLOverview)
}

// LookForObjects asks for the custom objects to be looked for again.
func (h *Handlers) LookForObjects(w http.ResponseWriter, r *http.Request) error {
	if err := h.Models.AskLook(r.Context(), actor(r)); err != nil {
		return err
	}
	h.flash(r, "objects.looking")
	return redirect(w, r, templates.URLObjects)
}
