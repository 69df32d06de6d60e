package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tandem-sync/tandem/sync/sobject"
)

// News is something that a describe changed and that a person should hear of.
type News struct {
	ID     int64
	Object string
	Kind   NewsKind
	Params map[string]string
}

// NewsKind says what changed.
type NewsKind string

// What a describe can change. Params are fields or values, and n, how many they are.
const (
	NewsFields   NewsKind = "fields_new"     // fields that became columns
	NewsGone     NewsKind = "fields_gone"    // fields that the user no longer sees
	NewsBack     NewsKind = "fields_back"    // fields that the user sees again
	NewsRetyped  NewsKind = "fields_retyped" // fields that have another type; every value fitted
	NewsPicklist NewsKind = "picklist"       // a picklist has more values: field, values

	NewsDouble NewsKind = "possible_double" // a record may be there twice, for sending found one that was lost too late: first, second
)

// namesShown is how many names one piece of news lists.
const namesShown = 12

// tell keeps what this describe changed, in the same transaction. Of a new table there is no news.
func (e *ensuring) tell(ctx context.Context) error {
	if e.change.Created {
		return nil
	}
	var describe []byte
	err := e.tx.QueryRow(ctx, `SELECT describe FROM mirror.objects WHERE object = $1`, e.schema.Name).Scan(&describe)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	var old sobject.Schema
	if err := json.Unmarshal(describe, &old); err != nil {
		return fmt.Errorf("read the stored describe of %s: %w", e.schema.Name, err)
	}
	wasGone := map[string]bool{}
	for _, c := range e.before {
		wasGone[c.field] = c.gone
	}
	for _, n := range newsOf(old, e.schema, e.change, wasGone) {
		params, err := json.Marshal(n.Params)
		if err != nil {
			return err
		}
		if _, err := e.tx.Exec(ctx, `INSERT INTO mirror.news (object, kind, params) VALUES ($1, $2, $3)`, e.schema.Name, string(n.Kind), params); err != nil {
			return err
		}
	}
	return nil
}

// newsOf tells what changed between two describes. What the admin left out or took in is no news.
func newsOf(old, now sobject.Schema, change SchemaChange, wasGone map[string]bool) []News {
	var news []News
	list := func(kind NewsKind, names []string) {
		if len(names) > 0 {
			news = append(news, News{Kind: kind, Params: map[string]string{"n": fmt.Sprint(len(names)), "fields": listed(names)}})
		}
	}
	chosen := map[string]bool{}
	for _, f := range old.LeftOut {
		chosen[f.Name] = true
	}
	list(NewsFields, slices.DeleteFunc(slices.Clone(change.Added), func(name string) bool { return chosen[name] }))
	list(NewsGone, change.Gone)
	list(NewsBack, slices.DeleteFunc(slices.Clone(change.Returned), func(name string) bool { return !wasGone[name] }))
	var retyped []string
	for _, r := range change.Retyped {
		retyped = append(retyped, r.Field)
	}
	list(NewsRetyped, retyped)
	for _, f := range now.Synced() {
		was, known := old.Field(f.Name)
		if !known || was.Type != f.Type {
			continue
		}
		var added []string
		for _, v := range f.PicklistValues {
			had := slices.ContainsFunc(was.PicklistValues, func(o sobject.PicklistValue) bool { return o.Value == v.Value && o.Active })
			if v.Active && !had {
				added = append(added, v.Value)
			}
		}
		if len(added) > 0 {
			news = append(news, News{Kind: NewsPicklist, Params: map[string]string{"n": fmt.Sprint(len(added)), "field": f.Name, "values": listed(added)}})
		}
	}
	return news
}

func listed(names []string) string {
	if len(names) > namesShown {
		return strings.Join(names[:namesShown], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// News lists what has not been told yet, oldest first.
func (db *DB) News(ctx context.Context) ([]News, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, object, kind, params FROM mirror.news ORDER BY id LIMIT 500`)
	if err != nil {
		return nil, fmt.Errorf("list what describes changed: %w", err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (n News, err error) {
		return n, r.Scan(&n.ID, &n.Object, &n.Kind, &n.Params)
	})
}

// Told forgets a piece of news.
func (db *DB) Told(ctx context.Context, id int64) error {
	if _, err := db.pool.Exec(ctx, `DELETE FROM mirror.news WHERE id = $1`, id); err != nil {
		return fmt.Errorf("note that news %d were told: %w", id, err)
	}
	return nil
}
