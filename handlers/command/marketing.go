package command

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tandem-sync/tandem/models"
)

// marketingName is how the demo's marketing team calls its application; the pages show it beside each edit.
const marketingName = "marketing demo"

// marketing lets a marketing team work until ctx ends, so many edits a minute: plain SQL on the tables, as any application writes
// it. Some of what it does Salesforce refuses, some meets what salespeople do there at the same moment (sales); so each page has life. It
// also says yes to the first sending, which elsewhere an admin does.
func (p *Program) marketing(ctx context.Context, db *models.DB, s Settings, perMinute int, sales chan<- SalesEdit) error {
	if perMinute <= 0 {
		return nil
	}
	pool, letGo, err := p.Reach(ctx, s, marketingName)
	if err != nil {
		return err
	}
	defer letGo()
	if err := p.askOfOneField(ctx, db); err != nil {
		return err
	}
	t := time.NewTicker(time.Minute / time.Duration(perMinute))
	defer t.Stop()
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)) //nolint:gosec // nobody has to be surprised
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := approveFirstSend(ctx, db); err != nil && ctx.Err() == nil {
			return err
		}
		// What the tables refuse, the team leaves: so does what is not there yet in the first seconds.
		_ = marketingWork(ctx, pool, r, sales)
		if err := decideOldConflict(ctx, db, r); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// askOfOneField has a person asked about conflicts on the rating of leads, so that the page of conflicts shows what that is like;
// what somebody chose since stays.
func (p *Program) askOfOneField(ctx context.Context, db *models.DB) error {
	choices, err := db.FieldChoices(ctx, "Lead")
	if err != nil || len(choices) > 0 {
		return err
	}
	return db.SaveFieldChoice(ctx, models.FieldChoice{Object: "Lead", Field: "Rating", Policy: models.PolicyAsk, BlankOverwrites: true}, marketingName)
}

func approveFirstSend(ctx context.Context, db *models.DB) error {
	open, err := db.OpenApprovals(ctx)
	if err != nil {
		return err
	}
	for _, a := range open {
		if a.Kind == models.ApproveFirstSend {
			if _, err := db.AnswerApproval(ctx, a.ID, true, marketingName); err != nil {
				return err
			}
		}
	}
	return nil
}

// conflictsLeft is how many conflicts the team leaves for whoever looks at the page.
const conflictsLeft = 12

// decideOldConflict has somebody of the team settle the oldest conflict where there are many, as people would.
func decideOldConflict(ctx context.Context, db *models.DB, r *rand.Rand) error {
	open, err := db.Conflicts(ctx, models.ConflictFilter{})
	if err != nil || len(open) <= conflictsLeft {
		return err
	}
	oldest := open[len(open)-1]
	for _, c := range open {
		if c.ID < oldest.ID {
			oldest = c
		}
	}
	side := []string{models.SideLocal, models.SideSalesforce}[r.IntN(2)]
	if oldest.Undecided() || oldest.Winner != side {
		err = db.OverturnConflict(ctx, oldest.ID, side, marketingName)
	} else {
		_, err = db.SeeConflicts(ctx, []int64{oldest.ID}, "", marketingName)
	}
	var refused *models.Error
	if errors.As(err, &refused) { // somebody else was quicker
		return nil
	}
	return err
}

// marketingWork is one thing that one person of the team does.
func marketingWork(ctx context.Context, pool *pgxpool.Pool, r *rand.Rand, sales chan<- SalesEdit) error {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	// Rows are drawn by their local id, which has few gaps; the newest are those that salespeople work on, too.
	const (
		anyLead    = `(SELECT id FROM salesforce.lead WHERE sfid IS NOT NULL AND NOT isdeleted AND NOT isconverted AND id >= (SELECT 1 + floor(random() * max(id)) FROM salesforce.lead) ORDER BY id LIMIT 1)`
		newLead    = `(SELECT id FROM (SELECT id FROM salesforce.lead WHERE sfid IS NOT NULL AND NOT isdeleted AND NOT isconverted ORDER BY id DESC LIMIT 6) l ORDER BY random() LIMIT 1)`
		anyContact = `(SELECT id FROM salesforce.contact WHERE sfid IS NOT NULL AND NOT isdeleted AND id >= (SELECT 1 + floor(random() * max(id)) FROM salesforce.contact) ORDER BY id LIMIT 1)`
	)
	do := func(sql string, args ...any) error {
		_, err := pool.Exec(ctx, sql, args...)
		return err
	}
	switch n := r.IntN(100); {
	case n < 25:
		return do(`UPDATE salesforce.lead SET title = $1, leadsource = $2 WHERE id = `+anyLead, pick("Head of Marketing", "Buyer", "Director", "Chief of Staff"), pick("Web", "Webinar", "Newsletter"))
	case n < 40:
		return do(`UPDATE salesforce.contact SET department = $1, title = $2 WHERE id = `+anyContact, pick("Marketing", "Finance", "IT"), pick("VP", "Analyst", "Manager"))
	case n < 55:
		name := fmt.Sprintf("%s%d", pick("Moreau", "Okafor", "Lindqvist", "Sato", "Novak"), r.IntN(10_000))
		return do(`INSERT INTO salesforce.lead (firstname, lastname, company, email, leadsource) VALUES ($1, $2, $3, $4, 'Web')`,
			pick("Ada", "Björn", "Chidi", "Daria", "Emi"), name, pick("Nordwind", "Acme", "Globex", "Initech"), name+"@signup.example")
	case n < 65:
		// Somebody who has just signed up joins a campaign, both before Salesforce knows either.
		return do(`INSERT INTO salesforce.campaignmember (campaignid, leadid, status)
			SELECT (SELECT sfid FROM salesforce.campaign WHERE sfid IS NOT NULL AND NOT isdeleted ORDER BY random() LIMIT 1), coalesce(sfid, 'local:' || id), $1
			FROM salesforce.lead WHERE lastname IS NOT NULL ORDER BY id DESC LIMIT 1`, pick("Sent", "Responded"))
	case n < 71:
		// A salesperson changes the same fields of the same lead, and neither knows of the other.
		var sfid string
		if err := pool.QueryRow(ctx, `SELECT sfid FROM salesforce.lead WHERE id = `+newLead).Scan(&sfid); err != nil {
			return err
		}
		select {
		case sales <- SalesEdit{"Lead", sfid, map[string]any{"Title": pick("Procurement", "Owner", "Head of Sales"), "Rating": "Warm"}}:
		case <-ctx.Done():
			return nil
		}
		return do(`UPDATE salesforce.lead SET title = $1, rating = 'Cold' WHERE sfid = $2`, pick("Head of Growth", "CMO", "Brand lead"), sfid)
	case n < 85:
		return do(`UPDATE salesforce.lead SET title = $1, rating = $2 WHERE id = `+newLead, pick("Head of Growth", "CMO", "Brand lead"), pick("Warm", "Cold"))
	case n < 88:
		return do(`UPDATE salesforce.lead SET rating = 'Hot', phone = NULL, mobilephone = NULL WHERE id = ` + anyLead)
	case n < 90:
		return do(`UPDATE salesforce.lead SET region__c = $1 WHERE id = `+anyLead, pick("Atlantis", "EMEA and APAC"))
	case n < 92:
		return do(`INSERT INTO salesforce.lead (firstname, company, email) VALUES ('Nameless', 'Form without a last name', $1)`, fmt.Sprintf("form%d@signup.example", r.IntN(100_000)))
	default:
		// Somebody of the team mends what was refused; the edit sends the whole of it again. The oldest stay a while, for whoever looks.
		return do(`UPDATE salesforce.lead SET phone = coalesce(phone, $1), lastname = coalesce(lastname, 'Of the form'), region__c = CASE WHEN region__c IN ('Atlantis', 'EMEA and APAC') THEN 'EMEA' ELSE region__c END
			WHERE id = (SELECT row_id FROM mirror.refused WHERE object = 'Lead' AND direction = 'out' ORDER BY id OFFSET 12 LIMIT 1)`, fmt.Sprintf("+1 555 %04d", r.IntN(10_000)))
	}
}
