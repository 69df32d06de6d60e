package handlers

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

// ShowRecords looks for records by id, name or e-mail.
func (h *Handlers) ShowRecords(w http.ResponseWriter, r *http.Request) error {
	q, object := strings.TrimSpace(r.FormValue("q")), r.FormValue("object")
	if q == "" && r.FormValue("state") == "waiting" {
		return h.waiting(w, r, object)
	}
	lines, err := h.Models.SearchRecords(r.Context(), q, object)
	if err != nil {
		return err
	}
	p, err := h.page(r, "records.title", templates.URLRecords)
	if err != nil {
		return err
	}
	props := templates.RecordsProps{Page: p, Query: q, Object: object, Lines: lines}
	if props.Instance, err = h.instance(r.Context()); err != nil {
		return err
	}
	return render(w, r, http.StatusOK, templates.Records(props))
}

// waiting lists the records of which edits wait to be sent, and why they wait.
func (h *Handlers) waiting(w http.ResponseWriter, r *http.Request, object string) error {
	list, err := h.Models.WaitingToSend(r.Context(), object)
	if err != nil {
		return err
	}
	p, err := h.page(r, "records.title", templates.URLRecords)
	if err != nil {
		return err
	}
	p.Live = true
	props := templates.RecordsProps{Page: p, Object: object, Waits: true, Waiting: list}
	if props.Instance, err = h.instance(r.Context()); err != nil {
		return err
	}
	return render(w, r, http.StatusOK, templates.Records(props))
}

// ShowRecord shows one record's whole story.
func (h *Handlers) ShowRecord(w http.ResponseWriter, r *http.Request) error {
	record, err := h.Models.Record(r.Context(), chi.URLParam(r, "name"), chi.URLParam(r, "id"))
	if err != nil {
		return err
	}
	p, err := h.page(r, "records.title", templates.URLRecords)
	if err != nil {
		return err
	}
	p.Live = true
	if record.Name != "" {
		p.Title = record.Name
	}
	props := templates.RecordProps{Page: p, Record: record}
	if props.Instance, err = h.instance(r.Context()); err != nil {
		return err
	}
	return render(w, r, http.StatusOK, templates.Record(props))
}

// ShowNewRecord shows the empty form of an object.
func (h *Handlers) ShowNewRecord(w http.ResponseWriter, r *http.Request) error {
	return h.recordForm(w, r, http.StatusOK, "", templates.RecordFormProps{})
}

// ShowEditRecord shows a record's form.
func (h *Handlers) ShowEditRecord(w http.ResponseWriter, r *http.Request) error {
	return h.recordForm(w, r, http.StatusOK, chi.URLParam(r, "id"), templates.RecordFormProps{})
}

func (h *Handlers) recordForm(w http.ResponseWriter, r *http.Request, status int, key string, props templates.RecordFormProps) error {
	object := chi.URLParam(r, "name")
	var err error
	title := "record.title_edit"
	if props.New = key == ""; props.New {
		title = "record.title_new"
		props.Record.Described, err = h.Models.Described(r.Context(), object)
	} else {
		props.Record, err = h.Models.Record(r.Context(), object, key)
	}
	if err != nil {
		return err
	}
	if !props.Record.Described.Known() {
		return models.ErrNotFound
	}
	if props.Record.Described.Direction != models.TwoWay {
		return &models.Error{Code: models.CodeConflict, Message: "record.one_way", Params: map[string]string{"object": object}}
	}
	o, err := h.Models.Object(r.Context(), object)
	if err != nil {
		return err
	}
	props.Fields = props.Record.Described.Writable(props.New)
	if props.Page, err = h.page(r, title, templates.URLRecords); err != nil {
		return err
	}
	label, _ := props.L.ObjectLabels(o.Name, o.Label, o.LabelPlural)
	props.Page.Title = props.L.T(title, "object", label)
	return render(w, r, status, templates.RecordForm(props))
}

// LookUp answers a form that asks, while somebody types, what a field may refer to.
func (h *Handlers) LookUp(w http.ResponseWriter, r *http.Request) error {
	object, column := chi.URLParam(r, "name"), chi.URLParam(r, "column")
	lines, err := h.Models.Lookup(r.Context(), object, column, r.FormValue("f-"+column))
	if err != nil {
		return err
	}
	p := h.PublicPage(r, "records.title")
	if p.Status, err = h.status(r); err != nil {
		return err
	}
	return render(w, r, http.StatusOK, templates.Lookup(p, column, strings.TrimSpace(r.FormValue("f-"+column)), lines))
}

// SaveNewRecord makes a record here; it becomes one in Salesforce when it is sent.
func (h *Handlers) SaveNewRecord(w http.ResponseWriter, r *http.Request) error {
	return h.saveRecord(w, r, "")
}

// SaveRecord changes a record here; the change is sent.
func (h *Handlers) SaveRecord(w http.ResponseWriter, r *http.Request) error {
	return h.saveRecord(w, r, chi.URLParam(r, "id"))
}

func (h *Handlers) saveRecord(w http.ResponseWriter, r *http.Request, key string) error {
	if err := r.ParseForm(); err != nil {
		return &models.Error{Code: models.CodeInvalid, Message: "record.empty"}
	}
	edit := models.RecordEdit{Was: map[string]string{}, Now: map[string]string{}}
	for name, values := range r.PostForm {
		if column, ok := strings.CutPrefix(name, "was-"); ok {
			edit.Was[column] = typed(values[0])
			// Of a list that takes several nothing comes where nothing is chosen.
			if r.PostForm.Has("many-"+column) && !r.PostForm.Has("f-"+column) {
				edit.Now[column] = ""
			}
		}
		if column, ok := strings.CutPrefix(name, "f-"); ok {
			edit.Now[column] = typed(strings.Join(values, ";"))
		}
	}
	object := chi.URLParam(r, "name")
	id, err := h.Models.EditRecord(r.Context(), object, key, edit, actor(r))
	if e, ok := refusal(err); ok {
		return h.recordForm(w, r, http.StatusUnprocessableEntity, key, templates.RecordFormProps{Was: edit.Was, Typed: edit.Now, Error: Locale(r).Error(e)})
	}
	if err != nil {
		return err
	}
	h.flash(r, "flash.record_saved")
	return redirect(w, r, templates.URLStory(object, models.LocalKey(id)))
}

// typed undoes what a browser does to line ends in a form, where Salesforce has plain ones.
func typed(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
