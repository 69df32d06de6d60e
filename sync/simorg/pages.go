package simorg

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed pages/*.html
var pageFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// What the pages let a person edit of each object.
var pageFields = map[string][]string{
	"Lead":     {"FirstName", "LastName", "Company", "Title", "Email", "Phone", "Status", "Rating", "LeadSource", "OwnerId", "HasOptedOutOfEmail", "Description"},
	"Contact":  {"FirstName", "LastName", "Title", "Department", "Email", "Phone", "LeadSource", "OwnerId", "HasOptedOutOfEmail", "Description"},
	"Campaign": {"Name", "Type", "Status", "StartDate", "EndDate", "BudgetedCost", "IsActive", "Description"},
}

var pageObjects = []string{"Lead", "Contact", "Campaign"}

type pageRow struct {
	Object, ID, Name, About, Email, Status, Modified string
	Deleted                                          bool
}

type pageChoice struct{ Value, Label string }

type pageInput struct {
	Name, Label, Type, Value string
	Required                 bool
	Choices                  []pageChoice
}

type pageTab struct {
	Label, URL string
	Current    bool
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

// mostRows is how many rows of an object a search shows.
const mostRows = 25

func (o *Org) showSearch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	object, text := q.Get("object"), strings.TrimSpace(q.Get("q"))
	asked := []string{object}
	if pageFields[object] == nil {
		object, asked = "", pageObjects
	}
	var rows []pageRow
	limited := false
	o.mu.RLock()
	for _, name := range asked {
		found := o.searched(o.tables[name], text)
		rows = append(rows, found...)
		limited = limited || len(found) == mostRows
	}
	v := o.view()
	totals := "In all there are"
	for k, name := range pageObjects {
		t := o.tables[name]
		if k > 0 {
			totals += " and"
		}
		totals += fmt.Sprintf(" %d %s", v.count(t), lower(t.object.plural))
	}
	o.mu.RUnlock()
	if object == "" && text == "" {
		// What was touched last first, whatever it is.
		slices.SortStableFunc(rows, func(a, b pageRow) int { return strings.Compare(b.Modified, a.Modified) })
		rows = rows[:min(mostRows, len(rows))]
	}
	tab := func(label, object, current string) pageTab {
		v := url.Values{}
		if object != "" {
			v.Set("object", object)
		}
		if text != "" {
			v.Set("q", text)
		}
		return pageTab{label, "/?" + v.Encode(), object == current}
	}
	tabs := []pageTab{tab("All", "", object)}
	for _, name := range pageObjects {
		tabs = append(tabs, tab(o.tables[name].object.plural, name, object))
	}
	_ = pages.ExecuteTemplate(w, "search", map[string]any{"Objects": pageObjects, "Object": object, "Text": text, "Rows": rows, "Tabs": tabs, "Totals": totals + ".", "Most": mostRows, "Limited": limited})
}

// searched gives the rows of an object whose name or e-mail address has the text in it, or whose id it is; without a text, those that
// were saved last. The org's lock is held.
func (o *Org) searched(t *table, text string) (rows []pageRow) {
	v := o.view()
	x := t.object
	name := func(r row, names ...string) string {
		for _, n := range names {
			if f := x.field(n); f != nil {
				if c := v.get(r, f); !c.isNull() {
					return strings.Clone(c.s)
				}
			}
		}
		return ""
	}
	add := func(r row) {
		rows = append(rows, pageRow{x.name, r.id(), v.get(r, x.fName).clone().s, name(r, "Company", "Department", "Type"), name(r, "Email"), name(r, "Status"), v.get(r, x.fModifiedDate).time().Format("2006-01-02 15:04:05"), v.deleted(r)})
	}
	if text == "" {
		var recent []row
		v.each(t, true, func(r row) bool { recent = append(recent, r); return true })
		slices.SortFunc(recent, func(a, b row) int { return cmp.Compare(v.get(b, x.fStamp).n, v.get(a, x.fStamp).n) })
		for _, r := range recent[:min(mostRows, len(recent))] {
			add(r)
		}
	} else if r, ok := v.find(text); ok {
		if r.t == t {
			add(r)
		}
		return rows
	}
	look := lower(text)
	mail := x.field("Email")
	if len(rows) < mostRows {
		v.each(t, false, func(r row) bool {
			v.reset()
			// Without words to look for, what was touched is there already.
			if !v.deleted(r) && (text != "" || r.v == nil) && (look == "" || strings.Contains(lower(v.get(r, x.fName).s), look) || mail != nil && strings.Contains(lower(v.get(r, mail).s), look)) {
				add(r)
			}
			return len(rows) < mostRows
		})
	}
	return rows
}

// pageInputs gives the fields of an object's form that are there.
func (o *Org) pageInputs(object string) (fields []FieldSpec) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, n := range pageFields[object] {
		if f := o.byName[lower(object)].field(n); f != nil {
			fields = append(fields, f.FieldSpec)
		}
	}
	return fields
}

// owners are whom a person can give a record to. The org's lock is held.
func (o *Org) owners(f *field) (choices []pageChoice) {
	const most = 60
	v := o.view()
	for _, name := range []string{"Group", "User"} {
		if !slices.Contains(f.ReferenceTo, name) {
			continue
		}
		v.each(o.tables[name], false, func(r row) bool {
			v.reset()
			label := v.named(r, "Name").clone().s
			switch {
			case name == "Group" && v.named(r, "Type").s != "Queue" || name == "User" && !v.named(r, "IsActive").isTrue():
				return true
			case name == "Group":
				label += " (queue)"
			}
			choices = append(choices, pageChoice{r.id(), label})
			return len(choices) < most
		})
	}
	return choices
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
		switch {
		case r.Form.Get("delete") != "":
			err = o.Delete(object, id)
		case r.Form.Get("undelete") != "":
			err = o.Undelete(id)
		case r.Form.Get("convert") != "":
			_, err = o.ConvertLead(id, "")
		default:
			fields := map[string]any{}
			for _, f := range o.pageInputs(object) {
				s := strings.ReplaceAll(r.Form.Get(f.Name), "\r\n", "\n")
				switch {
				case f.Type == "boolean":
					// A box that is not ticked is not sent.
					fields[f.Name] = s != ""
				case r.Form.Has(f.Name):
					fields[f.Name] = s
				default:
					continue
				}
				given[f.Name] = s
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
	data := map[string]any{"Object": object, "ID": id, "Message": message, "Saved": r.URL.Query().Get("saved") != "", "Name": "New " + lower(x.label), "Plural": lower(x.plural)}
	now, ok := v.find(id)
	if id != "" && (!ok || now.t.object != x) {
		o.mu.RUnlock()
		w.WriteHeader(http.StatusNotFound)
		_ = pages.ExecuteTemplate(w, "error", map[string]string{"Title": "Not found", "Text": "There is no such record."})
		return
	}
	if ok {
		data["Name"], data["Deleted"] = v.get(now, x.fName).clone().s, v.deleted(now)
		data["Modified"] = v.get(now, x.fModifiedDate).time().Format("2006-01-02 15:04:05")
		data["Master"] = v.named(now, "MasterRecordId").clone().s
		data["Contact"] = v.named(now, "ConvertedContactId").clone().s
		if by, ok := v.find(v.get(now, x.fModifiedBy).s); ok {
			data["By"] = v.named(by, "Name").clone().s
		}
	}
	var inputs []pageInput
	for _, n := range pageFields[object] {
		f := x.field(n)
		if f == nil {
			continue
		}
		in := pageInput{Name: n, Label: strings.TrimSuffix(f.Label, " ID"), Type: f.Type, Required: f.Required || f.NotNull}
		for _, c := range f.Picklist {
			in.Choices = append(in.Choices, pageChoice{c, c})
		}
		if f.Default != nil {
			in.Value = fmt.Sprint(f.Default)
		}
		if f.Type == "reference" {
			in.Choices, in.Value = o.owners(f), o.adminID()
		}
		if ok {
			in.Value = ""
			switch c := v.get(now, f).plainValue().(type) {
			case string:
				in.Value = c
			case json.Number:
				in.Value = c.String()
			case bool:
				if c {
					in.Value = "true"
				}
			}
		}
		if s, is := given[n]; is {
			in.Value = s
		}
		// A value outside the choices stays choosable: saving the form must not lose it.
		if len(in.Choices) > 0 && in.Value != "" && !slices.ContainsFunc(in.Choices, func(c pageChoice) bool { return c.Value == in.Value }) {
			label := in.Value
			if p, ok := v.find(in.Value); ok && f.Type == "reference" {
				label = v.get(p, p.t.object.fName).clone().s
			}
			in.Choices = append([]pageChoice{{in.Value, label}}, in.Choices...)
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
