package simorg

import (
	"embed"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed pages/*.html
var pageFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// What the pages show of each object: the fields of its list and of its form.
var pageFields = map[string][]string{
	"Lead":     {"FirstName", "LastName", "Company", "Title", "Email", "Phone", "Status", "LeadSource", "Rating", "Description"},
	"Contact":  {"FirstName", "LastName", "Title", "Email", "Phone", "Department", "LeadSource", "Description"},
	"Campaign": {"Name", "Type", "Status", "StartDate", "EndDate", "IsActive", "Description"},
}

var pageObjects = []string{"Lead", "Contact", "Campaign"}

type pageRow struct {
	ID, Name, More, Modified string
	Deleted                  bool
}

type pageInput struct {
	Name, Label, Type, Value string
	Choices                  []string
}

// servePages is the org for people: search a lead, contact or campaign, edit it, and watch the change arrive elsewhere.
func (o *Org) servePages(w http.ResponseWriter, r *http.Request, path []string) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	switch {
	case len(path) == 0 && r.Method == http.MethodGet:
		o.showSearch(w, r)
	case len(path) == 3 && pageFields[path[1]] != nil:
		o.showRecord(w, r, path[1], path[2])
	case len(path) == 2 && pageFields[path[1]] != nil:
		o.showRecord(w, r, path[1], "")
	default:
		w.WriteHeader(http.StatusNotFound)
		_ = pages.ExecuteTemplate(w, "error", map[string]string{"Title": "Not found", "Text": "There is no such page in this simulated org."})
	}
}

func (o *Org) showSearch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	object, text := q.Get("object"), strings.TrimSpace(q.Get("q"))
	if pageFields[object] == nil {
		object = "Lead"
	}
	const most = 25
	var rows []pageRow
	o.mu.RLock()
	v := o.view()
	t := o.tables[object]
	x := t.object
	look := lower(text)
	add := func(r row) {
		more := []string{}
		for _, n := range []string{"Company", "Email", "Type", "Status"} {
			if f := x.field(n); f != nil {
				if c := v.get(r, f); !c.isNull() {
					more = append(more, strings.Clone(c.s))
				}
			}
		}
		rows = append(rows, pageRow{r.id(), v.get(r, x.fName).clone().s, strings.Join(more, " · "), v.get(r, x.fModifiedDate).time().Format("2006-01-02 15:04:05"), v.deleted(r)})
	}
	if text == "" {
		// The rows saved last come first, then the first of the table.
		var recent []row
		v.each(t, true, func(r row) bool { recent = append(recent, r); return true })
		slices.SortFunc(recent, func(a, b row) int { return int(v.get(b, x.fStamp).n/1000 - v.get(a, x.fStamp).n/1000) })
		for _, r := range recent[:min(most, len(recent))] {
			add(r)
		}
	}
	if r, ok := v.find(text); ok && r.t == t {
		add(r)
	} else if len(rows) < most {
		v.each(t, false, func(r row) bool {
			v.reset()
			// Without words to look for, what was touched is there already.
			if !v.deleted(r) && (text != "" || r.v == nil) && (look == "" || strings.Contains(lower(v.get(r, x.fName).s), look) || x.field("Email") != nil && strings.Contains(lower(v.named(r, "Email").s), look)) {
				add(r)
			}
			return len(rows) < most
		})
	}
	total := v.count(t)
	o.mu.RUnlock()
	_ = pages.ExecuteTemplate(w, "search", map[string]any{"Objects": pageObjects, "Object": object, "Text": text, "Rows": rows, "Total": total, "Plural": lower(x.plural), "Most": most, "Limited": len(rows) == most})
}

func (o *Org) showRecord(w http.ResponseWriter, r *http.Request, object, id string) {
	if id == "new" {
		id = ""
	}
	message := ""
	given := map[string]string{}
	if r.Method == http.MethodPost {
		if !sameOrigin(r) {
			w.WriteHeader(http.StatusForbidden)
			_ = pages.ExecuteTemplate(w, "error", map[string]string{"Title": "Refused", "Text": "This form was sent from another site."})
			return
		}
		_ = r.ParseForm()
		var err error
		if r.Form.Get("delete") != "" {
			err = o.Delete(object, id)
		} else {
			fields := map[string]any{}
			for _, n := range pageFields[object] {
				s := strings.ReplaceAll(r.Form.Get(n), "\r\n", "\n")
				given[n] = s
				fields[n] = s
				if n == "IsActive" {
					// A box that is not ticked is not sent.
					fields[n] = s != ""
				}
			}
			if id == "" {
				id, err = o.Create(object, fields)
			} else {
				err = o.Update(object, id, fields)
			}
		}
		if err == nil {
			http.Redirect(w, r, "/record/"+object+"/"+id+"?saved=1", http.StatusSeeOther)
			return
		}
		message = err.Error()
		var refused *rowError
		if errors.As(err, &refused) {
			message = refused.message
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	o.mu.RLock()
	v := o.view()
	x := o.byName[lower(object)]
	data := map[string]any{"Object": object, "ID": id, "Message": message, "Saved": r.URL.Query().Get("saved") != "", "Name": "New " + lower(x.label)}
	now, ok := v.find(id)
	if id != "" && !ok {
		o.mu.RUnlock()
		w.WriteHeader(http.StatusNotFound)
		_ = pages.ExecuteTemplate(w, "error", map[string]string{"Title": "Not found", "Text": "There is no such record."})
		return
	}
	if ok {
		data["Name"], data["Deleted"] = v.get(now, x.fName).clone().s, v.deleted(now)
		data["Modified"] = v.get(now, x.fModifiedDate).time().Format("2006-01-02 15:04:05")
	}
	var inputs []pageInput
	for _, n := range pageFields[object] {
		f := x.byName[lower(n)]
		in := pageInput{Name: n, Label: f.Label, Type: f.Type, Choices: f.Picklist}
		if ok {
			if s, isText := v.get(now, f).plainValue().(string); isText {
				in.Value = s
			} else if v.get(now, f).isTrue() {
				in.Value = "true"
			}
		}
		if s, is := given[n]; is {
			in.Value = s
		}
		// A value outside the choices stays choosable: saving the form must not lose it.
		if f.Type == "picklist" && in.Value != "" && !slices.Contains(in.Choices, in.Value) {
			in.Choices = append([]string{in.Value}, in.Choices...)
		}
		inputs = append(inputs, in)
	}
	o.mu.RUnlock()
	data["Inputs"] = inputs
	_ = pages.ExecuteTemplate(w, "record", data)
}

func sameOrigin(r *http.Request) bool {
	return http.NewCrossOriginProtection().Check(r) == nil
}
