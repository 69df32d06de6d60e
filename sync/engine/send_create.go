package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/sync/mirror"
	"github.com/tandem-sync/tandem/sync/salesforce"
	"github.com/tandem-sync/tandem/sync/sobject"
)

// stepCollections is the step of a claim whose Bulk job the org could not work on.
const stepCollections = "collections"

// sendInserts makes records of new rows: those that the admin wants, unless Salesforce has the person already.
func (s *sender) sendInserts(ctx context.Context, claim mirror.Claim) (time.Duration, error) {
	known, left, wait, err := s.lookUp(ctx, claim)
	if err != nil {
		return 0, err
	}
	if wait > 0 {
		return wait, s.settle(ctx, known)
	}
	claim.Changes = left
	out, done := s.prepare(claim)
	if err := s.settle(ctx, slices.Concat(known, done)); err != nil {
		return 0, err
	}
	if out, done, err = s.checkStatuses(ctx, claim, out, nil, nil); err != nil {
		return 0, err
	}
	out, linked, refused, err := s.match(ctx, claim, out)
	if err != nil {
		return 0, err
	}
	s.step("matched")
	joined, settled, err := s.link(ctx, claim, linked)
	if err != nil {
		return 0, err
	}
	if err := s.settle(ctx, slices.Concat(done, refused, settled)); err != nil {
		return 0, err
	}
	// Records that were found are changed, and never by the job that creates.
	if wait, err := s.byCollections(ctx, claim, joined); err != nil || wait > 0 {
		return wait, err
	}
	return s.write(ctx, claim, out, time.Time{})
}

// prepare makes of new rows what Salesforce is to get, and settles those that the admin does not want there.
func (s *sender) prepare(claim mirror.Claim) (out []*sending, done []mirror.Settlement) {
	for _, c := range claim.Changes {
		if reason := s.notCreated(c); reason != "" {
			d := s.settlement(claim, c, mirror.Dropped)
			d.Reason = reason
			done = append(done, d)
			continue
		}
		snd := &sending{change: c, fields: map[string]*string{}, done: s.settlement(claim, c, mirror.Accepted)}
		for name, v := range c.Local {
			if f, writable := s.field(name); v == nil {
				continue
			} else if writable && f.Createable {
				snd.fields[f.Name] = v
			} else if s.leftOut(f) {
				snd.done.Conflicts = append(snd.done.Conflicts, notSent(name, nil, v, nil))
			} else {
				snd.notWritable(name)
			}
		}
		misfit := false
		for _, name := range slices.Sorted(maps.Keys(s.object.CreateDefaults)) {
			text := s.object.CreateDefaults[name]
			f, writable := s.field(name)
			if !writable || !f.Createable || snd.fields[f.Name] != nil || text == "" {
				continue
			}
			v, err := mirror.Canonical(f.Type, []byte(text))
			if err != nil {
				// The field got another type since. Rows that bring a value of their own are none the worse for it.
				done, misfit = append(done, s.refuse(claim, c, codeDefault, fmt.Sprintf("The default for %s in this object's settings is %q, which the field does not take: it is of the type %s now. Change the default, or give the row a value, and send it again.", f.Name, text, f.Type), f.Name, nil)), true
				break
			}
			snd.fields[f.Name] = &v
		}
		if misfit {
			continue
		}
		if owner := snd.fields["OwnerId"]; owner != nil && s.queueCannotOwn(*owner) {
			done = append(done, s.refuseQueue(claim, c))
			continue
		}
		if d, unwritable := s.refuseUnwritable(claim, c, snd.fields); unwritable {
			done = append(done, d)
			continue
		}
		for _, parent := range []string{"CampaignId", "AccountId"} {
			if v := snd.fields[parent]; v != nil {
				snd.parent += *v
			}
		}
		s.setKey(claim, snd)
		out = append(out, snd)
	}
	return out, done
}

// notCreated says why a new row does not become a record; empty for one that does.
func (s *sender) notCreated(c mirror.Change) string {
	value := func(field string) string {
		if f, ok := s.table.Schema().Field(field); ok && c.Local[f.Name] != nil {
			return *c.Local[f.Name]
		}
		return ""
	}
	switch {
	case s.object.Creates(value):
		return ""
	case s.object.CreatePolicy == models.CreateNone:
		return "New rows do not become records in Salesforce: that is set for this object."
	}
	return fmt.Sprintf("The row does not meet the condition for new records: %s %s %s.", s.object.CreateField, s.object.CreateOperator, s.object.CreateValue)
}

// setKey gives a create its external id, by which sending it twice is sending it once. A value that somebody gave the row counts; else it is
// made of the claim and the row, which stay the same as long as it is not known what became of the create.
func (s *sender) setKey(claim mirror.Claim, snd *sending) {
	f, ok := s.externalID()
	if !ok {
		return
	}
	if v := snd.fields[f.Name]; v != nil {
		snd.key = *v
		return
	}
	snd.key = madeKey(claim, snd.change, f.Length)
	snd.fields[f.Name] = &snd.key
}

// madeKey is the key of a row that brings none, for a field of a length.
func madeKey(claim mirror.Claim, c mirror.Change, length int) string {
	key := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "tandem %s %s %d", claim.ID, claim.Object, c.RowID)).String()
	if length > 0 && length < len(key) {
		key = strings.ReplaceAll(key, "-", "")[:min(32, length)]
	}
	return key
}

// externalID gives the field by which creates happen once, if the admin named one and it can serve.
func (s *sender) externalID() (sobject.Field, bool) {
	if s.object.ExternalID == "" {
		return sobject.Field{}, false
	}
	f, writable := s.field(s.object.ExternalID)
	// A key shorter than twelve characters would not surely be another for every row.
	return f, writable && f.ExternalID && f.Createable && (f.Type == "string" || f.Type == "email") && (f.Length == 0 || f.Length >= 12)
}

// noteCreating notes, before creates go out, that some of this claim's may exist from then on, and by what they can be known again.
func (s *sender) noteCreating(ctx context.Context, claim mirror.Claim, batch []*sending) error {
	if claim.Operation != mirror.Insert || batch[0].done.Outcome == mirror.Linked {
		return nil
	}
	now, err := s.serverTime(ctx)
	if err != nil {
		return err
	}
	connection, err := s.Models.Connection(ctx)
	if err != nil {
		return err
	}
	if s.sent.Since.IsZero() || s.sent.By != connection.UserID {
		s.sent.Since, s.sent.By = now, connection.UserID // what another user sent was looked up before
	}
	s.sent.Last, s.sent.Key, s.sent.KeyLength = now, "", 0
	if f, ok := s.externalID(); ok && batch[0].key != "" {
		s.sent.Key, s.sent.KeyLength = f.Name, f.Length
	}
	if err := s.Mirror.NoteSent(ctx, claim.ID, s.sent); err != nil {
		return err
	}
	s.step("creating")
	return nil
}

// lostFields are by which a created record is known again, where an address cannot name all that were sent.
var lostFields = []string{"LastName", "FirstName", "Email", "Company", "Name", "CampaignId", "LeadId", "ContactId", "AccountId", "Phone", "Title"}

// findLost looks for records that were created without anybody here learning of it: made by our user since, with the values that were sent.
// others are the records that our user made since and that are no row's: what became of the left, if Salesforce made other values of theirs.
func (s *sender) findLost(ctx context.Context, out []*sending) (found []mirror.Settlement, left []*sending, others map[sobject.ID]*remote, err error) {
	since, by := s.sent.Since, s.sent.By
	filled := map[string]bool{}
	for _, snd := range out {
		for name := range snd.fields {
			filled[name] = true
		}
	}
	columns := []string{"Id"}
	for _, name := range slices.Concat(lostFields, slices.Sorted(maps.Keys(filled))) {
		if filled[name] && !slices.Contains(columns, name) && len(columns) < 60 {
			columns = append(columns, name)
		}
	}
	soql := "SELECT " + strings.Join(columns, ",") + " FROM " + s.run.Object + " WHERE CreatedDate >= " + since.Add(-time.Second).UTC().Format(time.RFC3339)
	if _, ok := s.table.Schema().Field("CreatedById"); ok && by != "" {
		soql += " AND CreatedById = " + literal(by)
	}
	made := map[sobject.ID]*remote{}
	for page, err := range s.client.QueryRows(ctx, columns, soql, false) {
		if err == nil {
			err = eachRow(page.Rows, func(cells [][]byte) error {
				id, r, err := s.remoteOf(columns, cells)
				made[id] = r
				return err
			})
		}
		if err != nil {
			return nil, nil, nil, err
		}
	}
	// Those that are known to be of other rows are not lost.
	ids := slices.Sorted(maps.Keys(made))
	known, err := s.Mirror.CreatedHere(ctx, s.run.Object, ids)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, snd := range out {
		at := slices.IndexFunc(ids, func(id sobject.ID) bool { return !known[id] && s.isOurs(snd, made[id], columns) })
		if at < 0 {
			left = append(left, snd)
			continue
		}
		known[ids[at]] = true
		d := snd.done
		d.SFID = string(ids[at])
		for name, v := range snd.fields {
			d.Values[name] = v
		}
		found = append(found, d)
	}
	var doubts []mirror.Doubt
	for _, snd := range left {
		if snd.key == "" {
			doubts = append(doubts, mirror.Doubt{Object: s.run.Object, RowID: snd.change.RowID, Since: since, Sent: snd.fields})
		}
	}
	if len(doubts) > 0 {
		if err := s.Mirror.NoteDoubts(ctx, doubts); err != nil {
			return nil, nil, nil, err
		}
	}
	if len(found) > 0 {
		s.Log.Info("creates whose reply was lost were found again", "object", s.run.Object, "records", len(found))
	}
	maps.DeleteFunc(made, func(id sobject.ID, _ *remote) bool { return known[id] })
	return found, left, made, nil
}

// isOurs tells whether a record holds what was sent.
func (s *sender) isOurs(snd *sending, r *remote, columns []string) bool {
	return holds(s.table.Schema(), snd.fields, r.values, columns[1:])
}

// holds tells whether a record's values are those that were sent. Salesforce trims text, rounds numbers and lowers addresses as it saves them.
func holds(schema sobject.Schema, fields, values map[string]*string, columns []string) bool {
	for _, name := range columns {
		sent := fields[name]
		if sent == nil {
			continue // what was left empty may have got a default
		}
		f, _ := schema.Field(name)
		have := values[name]
		if f.Type == "boolean" && have == nil {
			have = new(string)
		}
		if have == nil || !alike(f, *sent, *have) {
			return false
		}
	}
	return true
}

func alike(f sobject.Field, a, b string) bool {
	switch f.Type {
	case "double", "currency", "percent":
		return rounded(a, f.Scale) == rounded(b, f.Scale)
	case "datetime":
		return a[:min(19, len(a))] == b[:min(19, len(b))]
	case "email", "url", "phone", "picklist":
		return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
	}
	return strings.TrimSpace(strings.ReplaceAll(a, "\r\n", "\n")) == strings.TrimSpace(strings.ReplaceAll(b, "\r\n", "\n"))
}

// matches are the records that may be the one that a new row stands for.
type matches struct{ same, other []sobject.ID }

// match searches Salesforce for the people, or keys, of new rows before they are created: one match is linked, several are a person's to
// choose from. Of rows of one batch that stand for the same, one goes first.
func (s *sender) match(ctx context.Context, claim mirror.Claim, out []*sending) (create []*sending, linked map[*sending]sobject.ID, refused []mirror.Settlement, err error) {
	linked = map[*sending]sobject.ID{}
	found := map[*sending]*matches{}
	first := map[string]bool{}
	var searched []*sending
	for _, snd := range out {
		email := s.matchEmail(snd)
		if email != "" && first[email] {
			// By its own turn the one before it exists, and is found.
			refused = append(refused, s.again(claim, snd.change, errSamePerson, true))
			continue
		}
		first[email] = true
		searched = append(searched, snd)
	}
	if err := s.search(ctx, searched, found); err != nil {
		return nil, nil, nil, err
	}
	var ids []sobject.ID
	for _, m := range found {
		ids = append(ids, m.same...)
	}
	here, err := s.Mirror.CreatedHere(ctx, s.run.Object, ids)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, snd := range searched {
		m := found[snd]
		if m == nil {
			create = append(create, snd)
			continue
		}
		candidates := make([]string, 0, len(m.same)+len(m.other))
		for _, id := range slices.Concat(m.same, m.other) {
			candidates = append(candidates, string(id))
		}
		details := map[string]any{"candidates": candidates}
		other := "contact"
		if s.run.Object == "Contact" {
			other = "lead"
		}
		switch {
		case len(candidates) > 1:
			refused = append(refused, s.refuse(claim, snd.change, codeMatchSeveral, fmt.Sprintf("Salesforce has %d records of this person already, so no %s was created: give the row the e-mail address of one, or merge them in Salesforce.", len(candidates), s.label()), "Email", details))
		case len(m.other) == 1:
			refused = append(refused, s.refuse(claim, snd.change, codeMatchOther, fmt.Sprintf("Salesforce has this person already as a %s (%s), so no %s was created: change the %[1]s instead.", other, candidates[0], s.label()), "Email", details))
		case here[m.same[0]]:
			refused = append(refused, s.refuse(claim, snd.change, codeMatchLocal, fmt.Sprintf("Another row here is this person already, and is %s in Salesforce, so no second %s was created: change that row instead.", candidates[0], s.label()), "Email", details))
		default:
			linked[snd] = m.same[0]
		}
	}
	return create, linked, refused, nil
}

var errSamePerson = errors.New("another new row stands for the same person, and goes first")

// matchEmail is the e-mail address by which a row's person is searched for; empty if it is not.
func (s *sender) matchEmail(snd *sending) string {
	if s.run.Object != "Lead" && s.run.Object != "Contact" || !s.object.MatchEmail || snd.fields["Email"] == nil {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(*snd.fields["Email"]))
}

// matchQuery is one of the questions that a search is made of, and which rows it is about.
type matchQuery struct {
	salesforce.Question
	other bool
	rows  map[string][]*sending // by the value that is looked for, in lower case
}

// search asks for all of a batch in as few calls as can be: by the external id that rows bring with them, else by e-mail among leads and
// contacts.
func (s *sender) search(ctx context.Context, out []*sending, found map[*sending]*matches) error {
	var queries []*matchQuery
	f, keyed := s.externalID()
	byKey, byEmail := map[string][]*sending{}, map[string][]*sending{}
	for _, snd := range out {
		if v := snd.change.Local[f.Name]; keyed && v != nil {
			byKey[strings.ToLower(*v)] = append(byKey[strings.ToLower(*v)], snd)
		}
		if email := s.matchEmail(snd); email != "" {
			byEmail[email] = append(byEmail[email], snd)
		}
	}
	add := func(object, field, where string, other bool, rows map[string][]*sending) {
		head := "SELECT Id," + field + " FROM " + object + " WHERE " + where + field + " IN ("
		var list []string
		size := 0
		flush := func() {
			if len(list) > 0 {
				queries = append(queries, &matchQuery{salesforce.Question{Columns: []string{"Id", field}, SOQL: head + strings.Join(list, ",") + ")"}, other, rows})
			}
			list, size = nil, s.client.QueryURLLen(head)
		}
		flush()
		for _, v := range slices.Sorted(maps.Keys(rows)) {
			n := s.client.QueryURLLen(literal(v)) - s.client.QueryURLLen("") + 1
			if size+n > salesforce.MaxURL-200 {
				flush()
			}
			list, size = append(list, literal(v)), size+n
		}
		flush()
	}
	if len(byKey) > 0 {
		add(s.run.Object, f.Name, "", false, byKey)
	}
	if len(byEmail) > 0 {
		for _, object := range []string{"Lead", "Contact"} {
			t, _, err := s.Mirror.Table(ctx, object)
			if errors.Is(err, mirror.ErrNoTable) {
				continue // not visible, or not wanted
			}
			if err != nil {
				return err
			}
			where := ""
			if _, ok := t.Schema().Field("IsConverted"); ok {
				where = "IsConverted = false AND "
			}
			if email, ok := t.Schema().Field("Email"); ok && email.Filterable {
				add(object, email.Name, where, object != s.run.Object, byEmail)
			}
		}
	}
	byKeyFound := map[*sending]bool{}
	for batch := range slices.Chunk(queries, salesforce.QueriesMax) {
		questions := make([]salesforce.Question, len(batch))
		for i, q := range batch {
			questions[i] = q.Question
		}
		err := s.client.QueryTogether(ctx, questions, func(i int, cells [][]byte) error {
			id, err := sobject.ParseID(string(cells[0]))
			if err != nil {
				return err
			}
			for _, snd := range batch[i].rows[strings.ToLower(string(cells[1]))] {
				m := found[snd]
				if m == nil {
					m = &matches{}
					found[snd] = m
				}
				keyed := keyed && questions[i].Columns[1] == f.Name
				switch {
				case byKeyFound[snd] && !keyed:
					// The key says which it is; who else has the address does not matter.
				case batch[i].other:
					m.other = addID(m.other, id)
				default:
					m.same, byKeyFound[snd] = addID(m.same, id), keyed
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func addID(ids []sobject.ID, id sobject.ID) []sobject.ID {
	if slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}

// link takes rows for records that Salesforce has. What the row brings is decided like an edit whose base nobody knows: it fills what is
// empty there, and is a conflict where there is another value.
func (s *sender) link(ctx context.Context, claim mirror.Claim, linked map[*sending]sobject.ID) (out []*sending, done []mirror.Settlement, err error) {
	if len(linked) == 0 {
		return nil, nil, nil
	}
	records, err := s.look(ctx, slices.Collect(maps.Values(linked)), s.table.Fields())
	if err != nil {
		return nil, nil, err
	}
	for _, snd := range slices.SortedFunc(maps.Keys(linked), func(a, b *sending) int { return int(a.change.RowID - b.change.RowID) }) {
		id := linked[snd]
		r := records[id]
		if r == nil || r.deleted {
			done = append(done, s.again(claim, snd.change, errMatchGone, true))
			continue
		}
		c := snd.change
		c.Base, c.Local = map[string]*string{}, map[string]*string{}
		for name, v := range snd.fields {
			if name != s.object.ExternalID || snd.change.Local[name] != nil {
				c.Local[name] = v
			}
		}
		join, over := s.decide(claim, c, r)
		join.done.Conflicts = append(join.done.Conflicts, snd.done.Conflicts...)
		join.done.Apart = append(join.done.Apart, snd.done.Apart...)
		if over && join.done.Outcome == mirror.Refused {
			done = append(done, join.done)
			continue
		}
		values := maps.Clone(r.values)
		for _, conflict := range join.done.Conflicts {
			if conflict.Winner == "" {
				delete(values, conflict.Field) // a person is asked, and the local value stays meanwhile
			}
		}
		join.done.Outcome, join.done.Reason, join.done.SFID, join.done.Values = mirror.Linked, "", string(id), values
		if over {
			join.done.Stamp = r.stamp
			done = append(done, join.done)
		} else {
			join.parent = r.parent
			out = append(out, join)
		}
	}
	return out, done, nil
}

var errMatchGone = errors.New("the record that was found for this row is gone again")

// recreate sends a deleted record's row anew, as the admin's setting says: it gives up its old id and is a new row from then on.
func (s *sender) recreate(ctx context.Context, claim mirror.Claim, c mirror.Change) ([]mirror.Settlement, error) {
	if err := s.Mirror.Renew(ctx, s.run.Object, c.RowID, c.SFID); err != nil {
		return nil, err
	}
	d := s.again(claim, c, errRecreated, true)
	return []mirror.Settlement{d}, nil
}

var errRecreated = errors.New("the record was deleted in Salesforce, and is created again")

// rounded gives a canonical number with at most so many digits after the point, as Salesforce keeps it.
func rounded(v string, scale int) string {
	r, ok := new(big.Rat).SetString(v)
	if !ok {
		return v
	}
	return r.FloatString(scale)
}

// tellDoubles looks whether a create that was sent again, because its reply was lost and nothing was found of it, came to light since as a
// second record. It asks Salesforce for nothing: reading brings what our user made.
func (e *Engine) tellDoubles(ctx context.Context) error {
	connection, err := e.Models.Connection(ctx)
	if err != nil {
		return err
	}
	told := map[sobject.ID]bool{}
	err = e.Mirror.Doubts(ctx, connection.UserID, func(d mirror.Doubt, made map[sobject.ID]map[string]*string) error {
		t, _, err := e.Mirror.Table(ctx, d.Object)
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(made)) {
			if told[id] || id == d.SFID || !holds(t.Schema(), d.Sent, made[id], slices.Sorted(maps.Keys(d.Sent))) {
				continue
			}
			told[id] = true
			e.Log.Warn("a record may be in Salesforce twice: the reply to its creation was lost, and it was found too late", "object", d.Object, "first", id, "second", d.SFID)
			return e.Mirror.TellDouble(ctx, d, id)
		}
		return nil
	})
	if err == nil && len(told) > 0 {
		err = e.tellNews(ctx)
	}
	return err
}
