package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// remote is what the org has of a record at this moment.
type remote struct {
	values          map[string]*string // by API name, in the form of mirror.Canonical
	stamp, modified time.Time
	parent          string
	deleted         bool
	converted       bool
	master, contact string // what it became: the survivor of a merge, the contact of a converted lead
}

func (r *remote) becameAnother() bool {
	return r.deleted && r.master != "" || r.converted && r.contact != ""
}

// The fields that tell what became of a record, beside those that are asked for. The last ones name what Salesforce locks with it.
var lookFields = []string{"Id", "SystemModstamp", "LastModifiedDate", "IsDeleted", "MasterRecordId", "IsConverted", "ConvertedContactId", "AccountId", "CampaignId"}

// look reads records by their ids just before they are written: 2,000 a call. Those that a retrieval leaves out are asked for by a query
// that sees deleted ones; those that this leaves out too are not in the result.
func (s *sender) look(ctx context.Context, ids []sobject.ID, fields []string) (map[sobject.ID]*remote, error) {
	schema := s.table.Schema()
	var columns []string
	for _, name := range slices.Concat(lookFields, fields) {
		f, ok := schema.Field(name)
		if ok && f.Synced() && !slices.Contains(columns, f.Name) {
			columns = append(columns, f.Name)
		}
	}
	found := make(map[sobject.ID]*remote, len(ids))
	each := func(cells [][]byte) error {
		id, r, err := s.remoteOf(columns, cells)
		if err == nil {
			found[id] = r
		}
		return err
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	retrieved := true
	for batch := range slices.Chunk(ids, salesforce.RetrieveMax) {
		err := s.client.Retrieve(ctx, s.run.Object, batch, columns, each)
		if isUnsupported(err) {
			retrieved = false // an org without collections; the query below reads all of them
			break
		}
		if err != nil {
			return nil, err
		}
	}
	var missing []sobject.ID
	for _, id := range ids {
		if found[id] == nil {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 && !retrieved {
		s.Log.Debug("the org reads no collections; records are read by queries", "object", s.run.Object)
	}
	return found, s.eachByID(ctx, missing, columns, each)
}

// roomEnough is how many ids must have room beside the fields in one query; else the fields are spread over several.
const roomEnough = 100

// eachByGroups reads records that have more fields than fit an address with enough ids: by several queries for the same ids. One that goes or
// comes between two of them is left out.
func (s *sender) eachByGroups(ctx context.Context, ids []sobject.ID, columns []string, each func([][]byte) error) error {
	for batch := range slices.Chunk(ids, recordsAtOnce) {
		names := make([]string, len(batch))
		for i, id := range batch {
			names[i] = string(id)
		}
		records, err := s.readByID(ctx, columns, names)
		if err != nil {
			return err
		}
		for _, name := range names {
			if cells := records[name]; cells != nil {
				if err := each(cells); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// eachByID reads records by their ids, deleted ones too, by queries as long as an address may be.
func (s *sender) eachByID(ctx context.Context, ids []sobject.ID, columns []string, each func([][]byte) error) error {
	head := "SELECT " + strings.Join(columns, ",") + " FROM " + s.run.Object + " WHERE Id IN ("
	room := (salesforce.MaxURL - s.client.QueryURLLen(head) - 10) / (len("'',") + 18)
	if room < roomEnough {
		return s.eachByGroups(ctx, ids, columns, each)
	}
	for batch := range slices.Chunk(ids, min(room, 600)) {
		quoted := make([]string, len(batch))
		for i, id := range batch {
			quoted[i] = literal(string(id))
		}
		for page, err := range s.client.QueryRows(ctx, columns, head+strings.Join(quoted, ",")+")", true) {
			if err != nil {
				return err
			}
			if err := eachRow(page.Rows, each); err != nil {
				return err
			}
		}
	}
	return nil
}

// remoteOf reads one record's cells.
func (s *sender) remoteOf(columns []string, cells [][]byte) (sobject.ID, *remote, error) {
	r := &remote{values: make(map[string]*string, len(columns))}
	schema := s.table.Schema()
	for i, name := range columns {
		f, _ := schema.Field(name)
		// A cell that is not of its type stays as it is: it differs from whatever is here, and is decided upon as such.
		v, _ := mirror.Canonical(f.Type, cells[i])
		if v != "" {
			r.values[name] = &v
		} else {
			r.values[name] = nil
		}
	}
	text := func(name string) string {
		if v := r.values[name]; v != nil {
			return *v
		}
		return ""
	}
	at := func(name string) time.Time {
		t, _ := time.Parse("2006-01-02T15:04:05.000Z", text(name))
		return t
	}
	id, err := sobject.ParseID(text("Id"))
	if err != nil {
		return "", nil, fmt.Errorf("read %s: %w", s.run.Object, err)
	}
	r.stamp, r.modified = at("SystemModstamp"), at("LastModifiedDate")
	if r.modified.IsZero() {
		r.modified = r.stamp
	}
	r.deleted, r.converted = text("IsDeleted") == "true", text("IsConverted") == "true"
	r.master, r.contact = text("MasterRecordId"), text("ConvertedContactId")
	r.parent = text("CampaignId") + text("AccountId")
	return id, r, nil
}

// takeIn lets the mirror know of records whose fate sending found out before reading did: as reading would, and without moving the
// watermark. What they leave unsent goes to what they became.
func (s *sender) takeIn(ctx context.Context, ids []sobject.ID, redirect bool) error {
	mark, err := s.Mirror.Watermark(ctx, s.run.Object)
	if err != nil || !mark.Known {
		return err
	}
	columns := s.table.Fields()
	kept := &keptRows{columns: columns}
	if err := s.eachByID(ctx, ids, columns, kept.keep); err != nil {
		return err
	}
	batch, err := s.Mirror.ByID(ctx, s.run.Object)
	if err != nil {
		return err
	}
	defer batch.Rollback()
	if _, err := batch.Apply(ctx, kept); err != nil {
		return err
	}
	if err := batch.Commit(ctx, mark.At, mark.At); err != nil || !redirect {
		return err
	}
	return s.Mirror.RedirectUnsent(ctx)
}

// isUnsupported tells that the org does not have the resource at all.
func isUnsupported(err error) bool {
	api := new(salesforce.APIError)
	return errors.As(err, &api) && !salesforce.IsTransient(err) && !salesforce.IsHalting(err) &&
		(api.Status == http.StatusNotFound || api.Status == http.StatusMethodNotAllowed || api.Status == http.StatusNotImplemented)
}

// literal writes a text for SOQL.
func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`).Replace(s) + "'"
}

// jitter gives a time between a half and the whole of d, so that those who wait do not come back together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
