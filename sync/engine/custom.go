package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// persons are the objects that a custom object has to hang from, the likeliest to be meant first.
var persons = []string{"Contact", "Lead", "Account"}

// between are the standard objects that a path of two links may lead through.
var between = []string{"Opportunity", "OpportunityContactRole", "CampaignMember", "Campaign", "Case", "Task", "Event"}

// describeMost bounds how many objects one look describes.
const describeMost = 400

// findCustom finds the custom objects that hang from a person by one or two links, and by which path. objects is what describe
// global said. It costs one call for the three persons and one for every 25 objects that could lie between: describes name the
// objects that point to theirs. Where an org's describes do not, each custom object is asked where it points itself.
func findCustom(ctx context.Context, client *salesforce.Client, objects []salesforce.ObjectSummary) ([]models.OfferedObject, error) {
	custom, visible := map[string]salesforce.ObjectSummary{}, map[string]bool{}
	for _, o := range objects {
		visible[o.Name] = o.Queryable
		if strings.HasSuffix(o.Name, "__c") && o.Queryable && !o.CustomSetting && !o.DeprecatedHidden {
			custom[o.Name] = o
		}
	}
	if len(custom) == 0 {
		return nil, nil
	}
	links := links{}
	first, err := describeNamed(ctx, client, slices.DeleteFunc(slices.Clone(persons), func(name string) bool { return !visible[name] }))
	if err != nil {
		return nil, err
	}
	told := false
	for _, s := range first {
		told = told || len(s.ChildRelationships) > 0
		links.children(s)
	}
	next := slices.DeleteFunc(slices.Clone(between), func(name string) bool { return !visible[name] })
	for name := range custom {
		if !told || links.reaches(name, persons) {
			next = append(next, name)
		}
	}
	slices.Sort(next)
	second, err := describeNamed(ctx, client, next[:min(len(next), describeMost)])
	if err != nil {
		return nil, err
	}
	for _, s := range second {
		links.children(s)
		links.references(s)
	}
	var offered []models.OfferedObject
	for name, o := range custom {
		if path := links.path(name); path != nil {
			offered = append(offered, models.OfferedObject{Name: name, Label: o.Label, LabelPlural: o.LabelPlural, Path: strings.Join(path, " → ")})
		}
	}
	slices.SortFunc(offered, func(a, b models.OfferedObject) int { return strings.Compare(a.Name, b.Name) })
	return offered, nil
}

// links are which objects each object points to.
type links map[string]map[string]bool

func (l links) add(from, to string) {
	if l[from] == nil {
		l[from] = map[string]bool{}
	}
	l[from][to] = true
}

func (l links) children(s sobject.Schema) {
	for _, c := range s.ChildRelationships {
		l.add(c.ChildSObject, s.Name)
	}
}

func (l links) references(s sobject.Schema) {
	for _, f := range s.Fields {
		if f.Type == "reference" {
			for _, to := range f.ReferenceTo {
				l.add(s.Name, to)
			}
		}
	}
}

func (l links) reaches(from string, to []string) bool {
	return slices.ContainsFunc(to, func(name string) bool { return l[from][name] })
}

// path gives the shortest way from an object to a person; nil if it takes more than two links. What lies between is another custom
// object rather than a standard one.
func (l links) path(from string) []string {
	for _, person := range persons {
		if l[from][person] {
			return []string{from, person}
		}
	}
	var middles []string
	for middle := range l[from] {
		if middle != from && (strings.HasSuffix(middle, "__c") || slices.Contains(between, middle)) {
			middles = append(middles, middle)
		}
	}
	slices.SortFunc(middles, func(a, b string) int {
		if ca, cb := strings.HasSuffix(a, "__c"), strings.HasSuffix(b, "__c"); ca != cb {
			if ca {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, person := range persons {
		for _, middle := range middles {
			if l[middle][person] {
				return []string{from, middle, person}
			}
		}
	}
	return nil
}

// describeNamed describes objects; those that cannot be described are left out.
func describeNamed(ctx context.Context, client *salesforce.Client, names []string) ([]sobject.Schema, error) {
	asks := make([]salesforce.DescribeRequest, len(names))
	for i, name := range names {
		asks[i].Object = name
	}
	described, err := client.DescribeMany(ctx, asks)
	if err != nil {
		return nil, err
	}
	var schemas []sobject.Schema
	for _, d := range described {
		switch {
		case d.Err == nil:
			schemas = append(schemas, d.Schema)
		case salesforce.IsTransient(d.Err) || salesforce.IsHalting(d.Err):
			return nil, d.Err
		}
	}
	return schemas, nil
}

// lookArgs asks for the custom objects to be looked for again.
type lookArgs struct{}

func (lookArgs) Kind() string                 { return "look" }
func (lookArgs) InsertOpts() river.InsertOpts { return once() }

type lookWorker struct {
	river.WorkerDefaults[lookArgs]
	engine *Engine
}

// Work looks which custom objects hang from a person now, and offers them.
func (w *lookWorker) Work(ctx context.Context, job *river.Job[lookArgs]) error {
	e := w.engine
	if due, err := e.Models.LookDue(ctx); err != nil || !due {
		return err
	}
	client, err := e.client(ctx)
	if errors.Is(err, errNotConnected) {
		return nil
	}
	if err != nil {
		return err
	}
	defer e.settleCalls(ctx)
	var offered []models.OfferedObject
	objects, err := client.Objects(ctx)
	if err == nil {
		offered, err = findCustom(ctx, client, objects)
	}
	switch {
	case err == nil:
		return e.Models.OfferObjects(ctx, offered)
	case ctx.Err() != nil, salesforce.IsTransient(err), salesforce.IsHalting(err):
		return e.afterPiece(ctx, err, job.JobRow)
	default:
		e.Log.Warn("the custom objects could not be looked for; tomorrow they are again", "error", err)
		return e.Models.NoteLookFailed(ctx)
	}
}

// queueLook sees to it that the custom objects are looked for when somebody asks, and once a day.
func (e *Engine) queueLook(ctx context.Context) error {
	due, err := e.Models.LookDue(ctx)
	if err != nil || !due {
		return err
	}
	_, err = e.river.Insert(ctx, lookArgs{}, nil)
	return err
}

// Asker asks Salesforce with the stored connection, for the web application, which has no engine.
type Asker struct {
	Models *models.DB
	Tester Tester
}

// Count has Salesforce count the records of an object: those that meet a filter, and all. An error is Salesforce's refusal,
// in its own words.
func (a Asker) Count(ctx context.Context, object, filter string) (meet, all int, err error) {
	c, err := a.Models.Connection(ctx)
	if errors.Is(err, models.ErrNotFound) {
		return 0, 0, &models.Error{Code: models.CodeConflict, Message: "sync.not_connected"}
	}
	if err != nil {
		return 0, 0, err
	}
	client, err := salesforce.New(salesforce.Config{
		Credentials: credentials(c, ""), Tokens: sharedTokens{a.Models}, ClientName: clientName, AllowLocal: a.Tester.AllowLocalOrg, Log: a.Tester.Log,
	})
	if err != nil {
		return 0, 0, refused(err)
	}
	defer a.Tester.account(ctx, client)
	count, alive := client.Count, ""
	if object == "Task" || object == "Event" {
		// Archived activities are read too, and only queryAll sees them; of what it sees, the deleted ones do not count.
		count, alive = client.CountAll, "IsDeleted = false"
	}
	soql := func(conditions ...string) string {
		where := strings.Join(slices.DeleteFunc(conditions, func(c string) bool { return c == "" }), " AND ")
		if where != "" {
			where = " WHERE " + where
		}
		return "SELECT COUNT() FROM " + object + where
	}
	if meet, err = count(ctx, soql(alive, "("+filter+")")); err != nil {
		return 0, 0, refused(err)
	}
	if all, err = count(ctx, soql(alive)); err != nil {
		return 0, 0, refused(err)
	}
	return meet, all, nil
}

// Compare tells what the user of a tested connection sees less or more than the present one of what is synced. synced are the
// fields that are read now, by object.
func (t Tester) Compare(ctx context.Context, c models.Connection, objects []models.Object, synced map[string][]string) (models.UserChange, error) {
	var change models.UserChange
	sees := func(name string) bool { return slices.Contains(c.Report.Visible, name) }
	known := map[string]bool{}
	for _, o := range objects {
		known[o.Name] = o.Visible
		if !o.Enabled && !o.Visible {
			continue
		}
		switch was := !o.Hidden; {
		case was && !sees(o.Name):
			change.ObjectsLess = append(change.ObjectsLess, o.Name)
		case !was && sees(o.Name):
			change.ObjectsMore = append(change.ObjectsMore, o.Name)
		}
	}
	for _, o := range c.Report.Custom {
		if !known[o.Name] {
			change.ObjectsMore = append(change.ObjectsMore, o.Name)
		}
	}
	tokens := salesforce.MemoryTokens()
	if _, err := tokens.Renew(ctx, "", func(context.Context, salesforce.Token) (salesforce.Token, error) {
		return salesforce.Token{AccessToken: c.AccessToken.Reveal(), RefreshToken: c.RefreshToken.Reveal(), InstanceURL: c.InstanceURL, IdentityURL: c.IdentityURL, IssuedAt: time.Now()}, nil
	}); err != nil {
		return change, err
	}
	client, err := salesforce.New(salesforce.Config{Credentials: credentials(c, ""), Tokens: tokens, ClientName: clientName, AllowLocal: t.AllowLocalOrg, Log: t.Log})
	if err != nil {
		return change, refused(err)
	}
	defer t.account(ctx, client)
	var names []string
	for name := range synced {
		if sees(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	schemas, err := describeNamed(ctx, client, names)
	if err != nil {
		return change, refused(err)
	}
	for _, s := range schemas {
		var now []string
		for _, f := range s.Synced() {
			now = append(now, f.Name)
		}
		note := func(into *map[string][]string, a, b []string) {
			var missing []string
			for _, name := range a {
				if !slices.Contains(b, name) {
					missing = append(missing, name)
				}
			}
			if len(missing) > 0 {
				if *into == nil {
					*into = map[string][]string{}
				}
				slices.Sort(missing)
				(*into)[s.Name] = missing
			}
		}
		note(&change.FieldsLess, synced[s.Name], now)
		note(&change.FieldsMore, now, synced[s.Name])
	}
	return change, nil
}

// account counts what a test cost into the day's account.
func (t Tester) account(ctx context.Context, client *salesforce.Client) {
	if t.Count == nil {
		return
	}
	if err := t.Count(context.WithoutCancel(ctx), client.Calls()); err != nil && t.Log != nil {
		t.Log.Warn("API calls could not be noted", "calls", client.Calls(), "error", err)
	}
}
