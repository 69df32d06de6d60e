// Package simorg is a Salesforce org that you can run: an HTTP server with the API's ways, a million people made up from a seed, a
// clock, and faults on demand. It is written from Salesforce's documentation and never from a client of it, so that what passes
// against it was tested against the wire and not against itself. It imports no other package of this program.
//
// Rows that nobody touched are computed from (seed, object, index) whenever they are read; what was touched is kept in versions that
// never change. A million leads therefore cost almost no memory, and whoever holds a version holds a snapshot.
package simorg

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What a new org's External Client App is called.
const (
	DefaultClientID     = "3MVG9TandemSimulatedOrgConsumerKey0000000001"
	DefaultClientSecret = "SIMULATED7A5C0FFEE0DDBA11SECRET0000000000000000000000000000000001"
)

// Config says what org to make. The zero value is a small org with sensible sizes.
type Config struct {
	Seed int64
	// How many rows of each object are there at the start; 0 takes a sensible number from the others, a negative number none.
	Leads, Contacts, Accounts, Opportunities, Campaigns, CampaignMembers, Tasks, Events, Users int
	// WideLeads, if above what Lead has, adds custom fields to Lead until so many can be synced (all but compound ones).
	WideLeads int
	// Now is the org's clock: of the Date header, of stamps, of latestDateCovered. Nil means time.Now.
	Now func() time.Time
	Log *slog.Logger
	// BulkDelay is how long a bulk job is in progress; 0 means 50 ms.
	BulkDelay time.Duration
	// DailyAPILimit is the number of API calls in 24 rolling hours; 0 means 100,000.
	DailyAPILimit int
	// The External Client App; empty means DefaultClientID and DefaultClientSecret.
	ClientID, ClientSecret string
	// DeleteLogRows is how many deletions the delete log holds before those older than two hours are trimmed; 0 means 5000 for each
	// user.
	DeleteLogRows int
	// PerAppLimit, if not 0, is a quota of the app's own: Sforce-Limit-Info names it too.
	PerAppLimit int
	// MaxConcurrent, if not 0, is how many API requests may be in progress at once; more are refused.
	MaxConcurrent int
	// LastActivity lets a saved task or event with a day move LastActivityDate of its lead or contact, which moves no stamp. Without it that
	// field stays as it was made up.
	LastActivity bool
	// EmptyBody lets a bulk query without rows answer with no header line either, as orgs have been seen to do.
	EmptyBody bool
	// RefreshRotation gives a new refresh token with every refresh and kills the old one at once.
	RefreshRotation bool
	// JWTTokens gives access tokens of three base64url parts, as an administrator can have it, instead of 00D…!….
	JWTTokens bool
	// SessionTimeout is how long an access token lives without being used; 0 means 2 hours.
	SessionTimeout time.Duration
	// Plain sends bodies uncompressed whatever the client takes, as an org may: for measurements, where compressing would take
	// the cores from what is measured.
	Plain bool
	// StateFile, if not empty, is a journal of what was touched. It is read at the start, so that an org survives a restart.
	StateFile string
}

// firstEpoch is the end of the untouched rows' history: none of them is younger. Fixed, so that one seed gives one content.
var firstEpoch = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

// Org is a simulated org. All its methods may be called at the same time.
type Org struct {
	config Config
	log    *slog.Logger
	n      sizes
	seed   uint64
	epoch  int64 // seconds

	mu       sync.RWMutex // the schema, the tables and what is committed
	objects  []*object
	byName   map[string]*object // by lower-case name
	tables   map[string]*table
	prefixes map[string]*table
	locks    map[rowKey]*Tx
	open     map[*Tx]bool // transactions that Begin gave out
	assignTo string       // whom the assignment rule of leads gives them to; empty: there is none
	checks   []*validation
	doubles  []*DuplicateRule

	accesses atomic.Pointer[map[string]*access] // by user id; whoever is not in it sees everything

	lazy    sync.Mutex // what is made when first asked for
	rollup  []rollup
	journal *journal

	faults     faults
	calls      counters
	inProgress atomic.Int64
	auth       auth
	cursors    cursors
	jobs       jobs
	purgedAt   map[string]time.Time // by object: the delete log is gone, and windows that begin before it are refused
	deletions  []int64              // when rows were deleted, as long as the delete log has them
	binRun     atomic.Int64         // when the recycle bin was looked through last, in milliseconds
	trimRun    time.Time            // when the job that trims it ran last
	trimmedAt  map[string]time.Time // by object: deletions before it are no longer listed
	gone       map[string][]goneRow // by object: hard-deleted rows, which the delete log still has
	controlled controlled
}

// New makes an org. It fails when the state file cannot be read or is of another org.
func New(c Config) (*Org, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.BulkDelay == 0 {
		c.BulkDelay = 50 * time.Millisecond
	}
	if c.DailyAPILimit == 0 {
		c.DailyAPILimit = 100_000
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = 2 * time.Hour
	}
	if c.ClientID == "" {
		c.ClientID = DefaultClientID
	}
	if c.ClientSecret == "" {
		c.ClientSecret = DefaultClientSecret
	}
	epoch := firstEpoch
	if now := c.Now().UTC(); now.Before(epoch.Add(24 * time.Hour)) {
		// A clock from before the fixed epoch: the history ends a day before it.
		epoch = now.Add(-24 * time.Hour).Truncate(24 * time.Hour)
	}
	o := &Org{
		config: c, log: c.Log, n: sizesOf(c), seed: uint64(c.Seed)*0x9E3779B97F4A7C15 ^ saltOf("simorg"), epoch: epoch.Unix(),
		objects: objects(c.WideLeads), byName: map[string]*object{}, tables: map[string]*table{}, prefixes: map[string]*table{},
		locks: map[rowKey]*Tx{}, open: map[*Tx]bool{}, purgedAt: map[string]time.Time{}, trimmedAt: map[string]time.Time{}, gone: map[string][]goneRow{}, controlled: controlled{open: map[int]*Tx{}, rules: map[int]func(){}},
	}
	for _, x := range o.objects {
		o.byName[lower(x.name)] = x
		t := newTable(x, x.size(&o.n))
		o.tables[x.name], o.prefixes[x.prefix] = t, t
		x.changed = epoch
	}
	o.link()
	o.auth.init(o)
	o.calls.init(o)
	o.cursors.init()
	o.jobs.init()
	if c.StateFile != "" {
		if err := o.openJournal(c.StateFile); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Close ends the journal. Requests that still come are answered, but no longer remembered.
func (o *Org) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.journal.close()
}

func sizesOf(c Config) sizes {
	pick := func(n, otherwise int) int {
		if n < 0 {
			return 0
		}
		if n == 0 {
			return otherwise
		}
		return n
	}
	var s sizes
	leads := 1000
	if c.Contacts > 0 {
		leads = 2 * c.Contacts
	}
	s.leads = pick(c.Leads, leads)
	s.contacts = pick(c.Contacts, max(s.leads/2, 10))
	s.accounts = pick(c.Accounts, max(s.contacts/3, 5))
	s.opportunities = pick(c.Opportunities, max(s.accounts, 5))
	s.campaigns = pick(c.Campaigns, min(20+s.leads/5000, 200))
	s.members = pick(c.CampaignMembers, (s.leads+s.contacts)/3)
	s.tasks = pick(c.Tasks, (s.leads+s.contacts)/2)
	s.events = pick(c.Events, s.tasks/4)
	s.users = max(pick(c.Users, 12+min(s.leads/1000, 88)), len(firstUsers)+1)
	s.statuses = s.campaigns * statusesEach
	if s.opportunities > 0 && s.contacts > 0 {
		s.roles = s.opportunities
	}
	// Nobody is in a campaign twice, so there are never more members than people in a campaign.
	s.members = min(s.members, s.campaigns*(s.leads+s.contacts))
	if s.contacts > 0 {
		s.subscriptions = max(s.contacts/5, 3)
		s.licenses = s.subscriptions * 3 / 2
		s.cases = max(s.contacts/4, 3)
	}
	if s.leads > 0 {
		s.interests = max(s.leads/10, 3)
	}
	return s
}

// link lets every object know who points to it.
func (o *Org) link() {
	for _, x := range o.objects {
		x.children = nil
	}
	for _, x := range o.objects {
		for _, f := range x.fields {
			if f.Type != "reference" || f.removed {
				continue
			}
			for k, to := range f.ReferenceTo {
				if p := o.byName[lower(to)]; p != nil {
					p.children = append(p.children, childLink{x, f, k})
				}
			}
		}
	}
}

func (o *Org) view() *view          { return &view{org: o, seed: o.seed, n: &o.n} }
func (o *Org) epochDay() int64      { return o.epoch / 86400 }
func (o *Org) now() time.Time       { return o.config.Now().UTC() }
func (o *Org) nowSecond() time.Time { return o.now().Truncate(time.Second) }

// lastUntouched is when the youngest untouched row was saved, at the latest.
func (o *Org) lastUntouched() int64 { return o.epoch * 1000 }

func (o *Org) rollups(v *view) []rollup {
	o.lazy.Lock()
	defer o.lazy.Unlock()
	if o.rollup == nil {
		o.rollup = untouchedRollups(v)
	}
	return o.rollup
}

// count gives the rows that are not deleted; archived ones count.
func (v *view) count(t *table) int {
	v.org.lazy.Lock()
	defer v.org.lazy.Unlock()
	if !t.counted {
		n := int(t.base)
		if t.object.deleted != nil {
			for i := range t.base {
				if t.object.deleted(v, i) {
					n--
				}
			}
		}
		t.live += n
		t.counted = true
	}
	return t.live
}

// Count gives the number of rows that are not deleted; archived activities count. 0 for an object that is not there.
func (o *Org) Count(object string) int {
	o.mu.RLock()
	defer o.mu.RUnlock()
	x := o.byName[lower(object)]
	if x == nil {
		return 0
	}
	return o.view().count(o.tables[x.name])
}

// Each calls fn with every row of an object, in the order of ids: the truth for tests, hidden fields included and compound ones left
// out. With all, deleted and archived rows come too. Values are string, bool, nil or json.Number; datetimes are written as REST does.
// It ends with fn's first error. The org must not be changed within fn.
func (o *Org) Each(object string, all bool, fn func(fields map[string]any) error) error {
	o.mu.RLock()
	defer o.mu.RUnlock()
	x := o.byName[lower(object)]
	if x == nil {
		return fmt.Errorf("simorg: there is no object %s", object)
	}
	v := o.view()
	var err error
	v.each(o.tables[x.name], false, func(r row) bool {
		v.reset()
		if !all && (v.deleted(r) || v.archived(r)) {
			return true
		}
		err = fn(v.fields(r))
		return err == nil
	})
	return err
}

// Get gives one row by its id, deleted or not. ok is false when there is none.
func (o *Org) Get(object, id string) (fields map[string]any, ok bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	v := o.view()
	r, ok := v.find(id)
	if !ok || lower(r.t.object.name) != lower(object) {
		return nil, false
	}
	return v.fields(r), true
}

func (v *view) fields(r row) map[string]any {
	m := make(map[string]any, len(r.t.object.fields))
	for _, f := range r.t.object.fields {
		if !f.removed && !f.isCompound() {
			m[f.Name] = v.get(r, f).plainValue()
		}
	}
	return m
}

// plainValue gives the value in JSON's types, numbers without exponent.
func (v value) plainValue() any {
	switch v.k {
	case boolean:
		return v.n != 0
	case integer, decimal:
		return json.Number(v.plain())
	case text:
		return string([]byte(v.s))
	case date:
		return string(appendDate(nil, v.n))
	case stamp:
		return string(appendStamp(nil, v.n, "+0000"))
	case clock:
		return string(appendClock(nil, v.n)) + "Z"
	}
	return nil
}

// HideField takes a field out of sight of every user, as field-level security does: out of describe, and no query may name it.
func (o *Org) HideField(object, name string) {
	o.setField(object, name, func(f *field) { f.hidden = true })
}

// ShowField undoes HideField.
func (o *Org) ShowField(object, name string) {
	o.setField(object, name, func(f *field) { f.hidden = false })
}

func (o *Org) setField(object, name string, set func(f *field)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.byName[lower(object)]; x != nil {
		if f := x.byName[lower(name)]; f != nil {
			set(f)
			o.metadataChanged(x)
		}
	}
}

// HideObject takes an object out of sight; ShowObject brings it back.
func (o *Org) HideObject(object string) { o.setObject(object, true) }

// ShowObject undoes HideObject.
func (o *Org) ShowObject(object string) { o.setObject(object, false) }

func (o *Org) setObject(object string, hidden bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.byName[lower(object)]; x != nil {
		x.hidden = hidden
		o.metadataChanged(x)
	}
}

// metadataChanged moves Last-Modified of the describe. It has whole seconds, so a second change within one moves it further.
func (o *Org) metadataChanged(x *object) {
	x.changed = laterSecond(o.nowSecond(), x.changed)
	// Other objects' describes name this one among their children.
	for _, other := range o.objects {
		other.describe = nil
	}
}

// AddPicklistValue adds a choice to a picklist.
func (o *Org) AddPicklistValue(object, name, choice string) {
	o.setField(object, name, func(f *field) { f.Picklist = append(slices.Clone(f.Picklist), choice) })
}

// Handler is the org over HTTP. URLs in its replies have the scheme and host that the request came by.
func (o *Org) Handler() http.Handler { return http.HandlerFunc(o.serve) }
