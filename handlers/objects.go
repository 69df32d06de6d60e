package handlers

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates"
)

// noticesShown is how many of the news that nobody has put away a page shows.
const noticesShown = 20

// ShowObjects shows what is synced and what could be.
func (h *Handlers) ShowObjects(w http.ResponseWriter, r *http.Request) error {
	p, err := h.page(r, "objects.title", templates.URLObjects)
	if err != nil {
		return err
	}
	p.Live = true
	objects, err := h.Models.Objects(r.Context())
	if err != nil {
		return err
	}
	for i, o := range objects {
		objects[i].Label, objects[i].LabelPlural = p.L.ObjectLabels(o.Name, o.Label, o.LabelPlural)
	}
	props := templates.ObjectsProps{Page: p, Objects: objects}
	if props.Kept, err = h.Models.Kept(r.Context()); err != nil {
		return err
	}
	if props.LookAsked, props.LookedAt, err = h.Models.Looked(r.Context()); err != nil {
		return err
	}
	return render(w, r, http.StatusOK, templates.Objects(props))
}

// differencesShown bounds the list of differences on an object's page.
const differencesShown = 200

// ShowObject shows one object: how it stands and what its last runs did.
func (h *Handlers) ShowObject(w http.ResponseWriter, r *http.Request) error {
	o, err := h.object(r)
	if err != nil {
		return err
	}
	p, err := h.page(r, "objects.title", templates.URLObjects)
	if err != nil {
		return err
	}
	p.Live, p.Title = true, o.LabelPlural
	if p.Notices, err = h.Models.OpenNotices(r.Context(), o.Name, noticesShown); err != nil {
		return err
	}
	props := templates.ObjectProps{Page: p, Object: o, Shown: differencesShown}
	if o.Check != nil && o.Check.Differs() {
		if props.Differences, err = h.Models.Differences(r.Context(), o.Name, differencesShown); err != nil {
			return err
		}
		c, err := h.Models.Connection(r.Context())
		if err != nil && !errors.Is(err, models.ErrNotFound) {
			return err
		}
		props.Instance = c.InstanceURL
	}
	return render(w, r, http.StatusOK, templates.Object(props))
}

// RequestCheck asks for one object to be compared with Salesforce.
func (h *Handlers) RequestCheck(w http.ResponseWriter, r *http.Request) error {
	return h.doObject(w, r, "flash.check", func(ctx context.Context, name, actor string) error {
		_, err := h.Models.RequestCheck(ctx, name, actor)
		return err
	})
}

// RequestMend asks for what differs of one object to be read again.
func (h *Handlers) RequestMend(w http.ResponseWriter, r *http.Request) error {
	return h.doObject(w, r, "flash.mend", func(ctx context.Context, name, actor string) error {
		_, err := h.Models.RequestMend(ctx, name, actor)
		return err
	})
}

// RequestResync asks for one object to be read again in full.
func (h *Handlers) RequestResync(w http.ResponseWriter, r *http.Request) error {
	return h.doObject(w, r, "flash.resync", func(ctx context.Context, name, actor string) error {
		_, err := h.Models.RequestResync(ctx, name, actor)
		return err
	})
}

// PauseObject holds one object up.
func (h *Handlers) PauseObject(w http.ResponseWriter, r *http.Request) error {
	return h.doObject(w, r, "flash.paused", h.Models.PauseObject)
}

// ResumeObject lets one object go on.
func (h *Handlers) ResumeObject(w http.ResponseWriter, r *http.Request) error {
	return h.doObject(w, r, "flash.resumed", h.Models.ResumeObject)
}

// EnableObject switches one object on.
func (h *Handlers) EnableObject(w http.ResponseWriter, r *http.Request) error {
	return h.doObject(w, r, "flash.object_on", func(ctx context.Context, name, actor string) error {
		return h.Models.EnableObjects(ctx, []string{name}, actor)
	})
}

// DisableObject switches one object off.
func (h *Handlers) DisableObject(w http.ResponseWriter, r *http.Request) error {
	return h.doObject(w, r, "flash.object_off", func(ctx context.Context, name, actor string) error {
		return h.Models.DisableObjects(ctx, []string{name}, actor)
	})
}

func (h *Handlers) doObject(w http.ResponseWriter, r *http.Request, flash string, do func(ctx context.Context, name, actor string) error) error {
	name := chi.URLParam(r, "name")
	if err := do(r.Context(), name, actor(r)); err != nil {
		return err
	}
	label := name
	if o, err := h.Models.Object(r.Context(), name); err == nil {
		_, label = Locale(r).ObjectLabels(o.Name, o.Label, o.LabelPlural)
	}
	h.flash(r, flash, "object", label)
	return back(w, r, templates.URLObjects)
}
