package models

import (
	"context"
	"slices"
	"time"
)

// StoryKind says what happened to a record.
type StoryKind string

// What happens to a record.
const (
	StoryCreated    StoryKind = "created"  // in Salesforce
	StoryModified   StoryKind = "modified" // in Salesforce, the last time
	StoryEdited     StoryKind = "edited"   // here
	StorySettled    StoryKind = "settled"  // an edit of here came to its end: Outcome says how
	StoryRefused    StoryKind = "refused"  // by Salesforce, or on its way in
	StoryMended     StoryKind = "mended"   // what was refused is over
	StoryConflict   StoryKind = "conflict" // both sides changed a field
	StoryConflictOK StoryKind = "conflict-closed"
	StoryMerged     StoryKind = "merged"         // into another
	StoryConverted  StoryKind = "converted"      // into another
	StoryAbsorbed   StoryKind = "absorbed"       // another was merged into it
	StoryFromLead   StoryKind = "converted-from" // it was a lead
	StoryVanished   StoryKind = "vanished"       // Salesforce no longer gives it: gone, or hidden
)

// StoryEvent is one thing that happened to a record.
type StoryEvent struct {
	Kind        StoryKind
	At          time.Time
	Who         string // a person, here or in Salesforce
	Application string
	Operation   string // insert, update or delete
	Changes     []FieldChange
	State       string // of an edit that is on its way: waiting, claimed or refused
	Attempts    int
	Outcome     string
	Reason      string
	Code        string
	Message     string
	Direction   string
	RunID       int64
	Other       Candidate
	Conflict    Conflict
}

// storyMax bounds how many edits, refusals and conflicts of a record are told.
const storyMax = 200

// story tells what happened to a record, newest first.
func (db *DB) story(ctx context.Context, r *Record) error {
	for _, tell := range []func(context.Context, *Record) error{db.storyInSalesforce, db.storyEdits, db.storyRefusals, db.storyConflicts, db.storyLineage} {
		if err := tell(ctx, r); err != nil {
			return err
		}
	}
	if r.VanishedAt != nil {
		r.Story = append(r.Story, StoryEvent{Kind: StoryVanished, At: *r.VanishedAt})
	}
	slices.SortStableFunc(r.Story, func(a, b StoryEvent) int { return b.At.Compare(a.At) })
	if len(r.Story) > storyMax {
		r.Story = r.Story[:storyMax]
	}
	return nil
}

// storyInSalesforce tells who made the record there and who changed it last.
func (db *DB) storyInSalesforce(_ context.Context, r *Record) error {
	for _, e := range []struct {
		kind    StoryKind
		at, who string
	}{{StoryCreated, "createddate", "createdbyid"}, {StoryModified, "lastmodifieddate", "lastmodifiedbyid"}} {
		v := r.Values[e.at]
		if v == nil {
			continue
		}
		at, err := time.Parse("2006-01-02T15:04:05.999999", *v)
		if err != nil || e.kind == StoryModified && r.Values["createddate"] != nil && *v == *r.Values["createddate"] {
			continue
		}
		who := ""
		if line, ok := r.Links[e.who]; ok {
			who = line.Name
		} else if id := r.Values[e.who]; id != nil {
			who = *id
		}
		r.Story = append(r.Story, StoryEvent{Kind: e.kind, At: at, Who: who})
	}
	return nil
}

func (db *DB) storyEdits(ctx context.Context, r *Record) error {
	var rows []struct {
		Operation, Base, Changed, MadeBy, Application, State, Outcome, By, Reason string
		MadeAt                                                                    time.Time
		SettledAt                                                                 *time.Time
		Attempts                                                                  int
		RunID                                                                     int64
	}
	err := db.gorm.WithContext(ctx).Raw(`(SELECT seq, operation, base::text AS base, changed::text AS changed, made_by, application, made_at, state, attempts, '' AS outcome, '' AS by, '' AS reason, NULL::timestamptz AS settled_at, 0 AS run_id
			FROM mirror.outbox WHERE object = ? AND row_id = ? ORDER BY seq DESC LIMIT ?)
		UNION ALL (SELECT seq, operation, base::text, changed::text, made_by, application, made_at, '', 0, outcome, by, reason, settled_at, coalesce(run_id, 0)
			FROM mirror.settled WHERE object = ? AND row_id = ? ORDER BY seq DESC LIMIT ?) ORDER BY seq`, r.Described.Object, r.ID, storyMax, r.Described.Object, r.ID, storyMax).Scan(&rows).Error
	if err != nil {
		return err
	}
	for _, row := range rows {
		base, err := cells(row.Base)
		if err != nil {
			return err
		}
		changed, err := cells(row.Changed)
		if err != nil {
			return err
		}
		if row.Operation == "delete" {
			base = nil // the whole row that went; what it was is told by what is here
		}
		r.Story = append(r.Story, StoryEvent{
			Kind: StoryEdited, At: row.MadeAt, Who: row.MadeBy, Application: row.Application, Operation: row.Operation,
			Changes: fieldChanges(r.Described, base, changed), State: row.State, Attempts: row.Attempts,
		})
		if row.SettledAt != nil {
			r.Story = append(r.Story, StoryEvent{Kind: StorySettled, At: *row.SettledAt, Who: row.By, Operation: row.Operation, Outcome: row.Outcome, Reason: row.Reason, RunID: row.RunID})
		}
	}
	return nil
}

func (db *DB) storyRefusals(ctx context.Context, r *Record) error {
	var rows []struct {
		Direction, Field, Code, Message string
		RunID                           int64
		FirstSeenAt                     time.Time
		ResolvedAt                      *time.Time
	}
	err := db.gorm.WithContext(ctx).Raw(`SELECT direction, coalesce(field, '') AS field, code, message, coalesce(run_id, 0) AS run_id, first_seen_at, resolved_at
		FROM mirror.refused_ever WHERE object = ? AND (row_id = ? OR sfid = nullif(?, '')) ORDER BY id DESC LIMIT ?`, r.Described.Object, r.ID, r.SFID, storyMax).Scan(&rows).Error
	if err != nil {
		return err
	}
	for _, row := range rows {
		r.Story = append(r.Story, StoryEvent{Kind: StoryRefused, At: row.FirstSeenAt, Direction: row.Direction, Code: row.Code, Message: row.Message, RunID: row.RunID})
		if row.ResolvedAt != nil {
			r.Story = append(r.Story, StoryEvent{Kind: StoryMended, At: *row.ResolvedAt, Direction: row.Direction, Code: row.Code})
		}
	}
	return nil
}

func (db *DB) storyConflicts(ctx context.Context, r *Record) error {
	var rows []Conflict
	err := db.gorm.WithContext(ctx).Raw(`SELECT `+conflictColumns+`, closed_at, closed_by, outcome FROM mirror.conflicts
		WHERE object = ? AND (row_id = ? OR sfid = nullif(?, '')) ORDER BY id DESC LIMIT ?`, r.Described.Object, r.ID, r.SFID, storyMax).Scan(&rows).Error
	if err != nil {
		return err
	}
	if err := db.tellApplications(ctx, rows); err != nil {
		return err
	}
	for _, c := range rows {
		c.Name, c.Label = r.Name, r.Described.Label(c.Field)
		r.Story = append(r.Story, StoryEvent{Kind: StoryConflict, At: c.FoundAt, Conflict: c})
		if c.ClosedAt != nil {
			r.Story = append(r.Story, StoryEvent{Kind: StoryConflictOK, At: *c.ClosedAt, Who: c.ClosedBy, Outcome: c.Outcome, Conflict: c})
		}
	}
	return nil
}

func (db *DB) storyLineage(ctx context.Context, r *Record) error {
	if r.SFID == "" {
		return nil
	}
	var rows []struct {
		Object, Kind, ToObject string
		SFID                   string `gorm:"column:sfid"`
		ToSFID                 string `gorm:"column:to_sfid"`
		FoundAt                time.Time
	}
	err := db.gorm.WithContext(ctx).Raw(`SELECT object, sfid, kind, to_object, to_sfid, found_at FROM mirror.lineage
		WHERE object = ? AND sfid = ? OR to_object = ? AND to_sfid = ? LIMIT ?`, r.Described.Object, r.SFID, r.Described.Object, r.SFID, storyMax).Scan(&rows).Error
	if err != nil {
		return err
	}
	for _, row := range rows {
		e := StoryEvent{At: row.FoundAt}
		switch own := row.SFID == r.SFID; {
		case own && row.Kind == "merged":
			e.Kind, e.Other = StoryMerged, Candidate{Object: row.ToObject, SFID: row.ToSFID}
		case own:
			e.Kind, e.Other = StoryConverted, Candidate{Object: row.ToObject, SFID: row.ToSFID}
		case row.Kind == "merged":
			e.Kind, e.Other = StoryAbsorbed, Candidate{Object: row.Object, SFID: row.SFID}
		default:
			e.Kind, e.Other = StoryFromLead, Candidate{Object: row.Object, SFID: row.SFID}
		}
		d, err := db.Described(ctx, e.Other.Object)
		if err != nil {
			return err
		}
		names, err := db.recordNames(ctx, d, nil, []string{e.Other.SFID})
		if err != nil {
			return err
		}
		e.Other.Name = names.of(0, e.Other.SFID).Name
		if row.SFID == r.SFID {
			other := e.Other
			r.Merged = &other
		}
		r.Story = append(r.Story, e)
	}
	return nil
}
