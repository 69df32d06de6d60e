package simorg

// Who belongs to whom among the untouched rows. Each func is a function of the seed and the index alone, and they agree with each
// other: what points somewhere points to a row that exists, and what hangs from a deleted row is deleted as well.

var (
	saltAccountDeleted  = saltOf("account deleted")
	saltContactAccount  = saltOf("contact account")
	saltContactDeleted  = saltOf("contact deleted")
	saltLeadDeleted     = saltOf("lead deleted")
	saltLeadConverted   = saltOf("lead converted")
	saltOppAccount      = saltOf("opportunity account")
	saltOppDeleted      = saltOf("opportunity deleted")
	saltCampaignDeleted = saltOf("campaign deleted")
	saltMemberDeleted   = saltOf("member deleted")
	saltMemberPerson    = saltOf("member person")
	saltMemberStatus    = saltOf("member status")
	saltTaskDeleted     = saltOf("task deleted")
	saltEventDeleted    = saltOf("event deleted")
	saltWho             = saltOf("activity who")
	saltWhat            = saltOf("activity what")
	saltActivityDay     = saltOf("activity day")
	saltTaskStatus      = saltOf("task status")
	saltUserInactive    = saltOf("user inactive")
	saltCreated         = saltOf("created")
	saltModified        = saltOf("modified")
	saltStage           = saltOf("stage")
	saltSubscription    = saltOf("subscription")
	saltInterest        = saltOf("interest")
	saltLicense         = saltOf("license")
	saltCase            = saltOf("case")
)

// Untouched rows were made in these six years before the org's epoch, older ones first, as their ids are.
const (
	madeWithin = 6 * 365 * 86400
	// quietBefore is how long before the epoch the last of them was saved.
	quietBefore = 3600
)

func (v *view) createdAt(o *object, i uint32) int64 {
	n := int64(max(o.size(v.n), 1))
	step := int64(madeWithin-86400) / n
	return v.org.epoch - madeWithin + step*int64(i) + int64(v.h(saltCreated^o.salt(), i)%uint64(step+1))
}

func (v *view) modifiedAt(o *object, i uint32) int64 {
	created := v.createdAt(o, i)
	h := v.h(saltModified^o.salt(), i)
	if chance(h, 40) {
		return created
	}
	return created + int64(h>>10%uint64(v.org.epoch-quietBefore-created))
}

// stampAt is the SystemModstamp: the last modification, or later where the system touched or deleted the row.
func (v *view) stampAt(o *object, i uint32) int64 {
	modified := v.modifiedAt(o, i)
	h := v.h(saltModified^o.salt()+1, i)
	if chance(h, 90) && (o.deleted == nil || !o.deleted(v, i)) {
		return modified
	}
	return modified + int64(h>>10%uint64(v.org.epoch-modified))
}

// Users: the first is who programs sign in as, the second an administrator; of the rest one in seven has left.

func (v *view) userInactive(i uint32) bool { return i >= 4 && v.h(saltUserInactive, i)%7 == 0 }

func (v *view) activeUser(h uint64) uint32 {
	i := uint32(below(h, v.n.users))
	if v.userInactive(i) {
		return 1
	}
	return i
}

func (v *view) someUser(f *field, i uint32) value {
	return value{k: text, s: v.id("005", v.activeUser(v.h(f.salt, i)))}
}

// owner gives an active user, sometimes one who has left, and for some objects sometimes a queue.
func owner(queues bool) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		switch r := h % 100; {
		case r < 6 && queues:
			return value{k: text, s: v.id("00G", uint32(h>>20%queueCount))}
		case r < 10:
			return value{k: text, s: v.id("005", uint32(below(h, v.n.users)))}
		}
		return v.someUser(f, i)
	}
}

func (v *view) accountDeleted(i uint32) bool { return i > 0 && v.h(saltAccountDeleted, i)%200 == 0 }

// liveAccount gives an account that is not deleted: near the one drawn, else the first, which never is.
func (v *view) liveAccount(h uint64) (uint32, bool) {
	if v.n.accounts == 0 {
		return 0, false
	}
	i := uint32(below(h, v.n.accounts))
	if v.accountDeleted(i) {
		i = 0
	}
	return i, true
}

func (v *view) contactAccount(i uint32) (uint32, bool) {
	if v.n.accounts == 0 || chance(v.h(saltContactAccount, i), 6) {
		return 0, false
	}
	return i % uint32(v.n.accounts), true
}

func (v *view) contactDeleted(i uint32) bool {
	if i > 0 && chance(v.h(saltContactDeleted, i), 1) {
		return true
	}
	a, ok := v.contactAccount(i)
	return ok && v.accountDeleted(a)
}

func (v *view) liveContact(h uint64) (uint32, bool) {
	for k := range uint32(8) {
		if v.n.contacts == 0 {
			break
		}
		i := (uint32(below(h, v.n.contacts)) + k) % uint32(v.n.contacts)
		if !v.contactDeleted(i) {
			return i, true
		}
	}
	return 0, false
}

// contactOf gives a live contact of the account.
func (v *view) contactOf(account uint32, h uint64) (uint32, bool) {
	a := uint32(v.n.accounts)
	if int(account) >= v.n.contacts {
		return 0, false
	}
	n := (uint32(v.n.contacts)-account-1)/a + 1
	for k := range min(n, 4) {
		i := account + a*((uint32(h>>32)+k)%n)
		if _, ok := v.contactAccount(i); ok && !v.contactDeleted(i) {
			return i, true
		}
	}
	return 0, false
}

func (v *view) leadDeleted(i uint32) bool { return i > 0 && chance(v.h(saltLeadDeleted, i), 1) }

func (v *view) liveLead(h uint64) (uint32, bool) {
	if v.n.leads == 0 {
		return 0, false
	}
	i := uint32(below(h, v.n.leads))
	if v.leadDeleted(i) {
		i = 0
	}
	return i, true
}

// leadMaster tells which lead a deleted one was merged into.
func (v *view) leadMaster(i uint32) (uint32, bool) {
	if !v.leadDeleted(i) || v.h(saltLeadDeleted, i)>>20%5 != 0 {
		return 0, false
	}
	return i - 1, !v.leadDeleted(i - 1)
}

// conversion is what a converted lead became.
type conversion struct {
	account, contact, opportunity uint32
	hasOpportunity                bool
}

func (v *view) leadConversion(i uint32) (c conversion, ok bool) {
	h := v.h(saltLeadConverted, i)
	if !chance(h, 8) || v.leadDeleted(i) {
		return c, false
	}
	if c.account, ok = v.liveAccount(h); !ok {
		return c, false
	}
	if c.contact, ok = v.contactOf(c.account, h); !ok {
		return c, false
	}
	if int(c.account) < v.n.opportunities && h>>9&1 == 0 {
		if _, has := v.oppAccount(c.account); has && !v.oppDeleted(c.account) {
			c.opportunity, c.hasOpportunity = c.account, true
		}
	}
	return c, true
}

func (v *view) oppAccount(i uint32) (uint32, bool) {
	if v.n.accounts == 0 || chance(v.h(saltOppAccount, i), 4) {
		return 0, false
	}
	return i % uint32(v.n.accounts), true
}

func (v *view) oppDeleted(i uint32) bool {
	if i > 0 && chance(v.h(saltOppDeleted, i), 1) {
		return true
	}
	a, ok := v.oppAccount(i)
	return ok && v.accountDeleted(a)
}

// Contact roles hang from the first seven tenths of the opportunities: the rest have none.
func (v *view) roleOpp(i uint32) uint32 { return i % v.roleOpps() }

func (v *view) roleOpps() uint32 { return uint32(max(v.n.opportunities*7/10, 1)) }

func (v *view) roleContact(i uint32) uint32 {
	h := v.h(saltOppAccount+1, i)
	if a, ok := v.oppAccount(v.roleOpp(i)); ok {
		if c, ok := v.contactOf(a, h); ok {
			return c
		}
	}
	c, _ := v.liveContact(h)
	return c
}

func (v *view) roleDeleted(i uint32) bool {
	return v.oppDeleted(v.roleOpp(i)) || v.contactDeleted(v.roleContact(i))
}

func (v *view) campaignDeleted(i uint32) bool { return i > 1 && v.h(saltCampaignDeleted, i)%40 == 0 }

func (v *view) liveCampaign(h uint64) (uint32, bool) {
	if v.n.campaigns == 0 {
		return 0, false
	}
	i := uint32(below(h, v.n.campaigns))
	if v.campaignDeleted(i) {
		i = 0
	}
	return i, true
}

func (v *view) memberCampaign(i uint32) uint32 { return i % uint32(v.n.campaigns) }

// memberPerson gives whom a campaign member stands for. Within a campaign nobody comes twice: the k-th member is the k-th person
// after the campaign's own starting place, leads first and contacts after them.
func (v *view) memberPerson(i uint32) (person uint32, isLead bool) {
	people := uint64(v.n.leads + v.n.contacts)
	c := v.memberCampaign(i)
	p := (v.h(saltMemberPerson, c) + uint64(i/uint32(v.n.campaigns))) % people
	if p < uint64(v.n.leads) {
		return uint32(p), true
	}
	return uint32(p - uint64(v.n.leads)), false
}

func (v *view) memberDeleted(i uint32) bool {
	if chance(v.h(saltMemberDeleted, i), 1) || v.campaignDeleted(v.memberCampaign(i)) {
		return true
	}
	p, isLead := v.memberPerson(i)
	if isLead {
		return v.leadDeleted(p)
	}
	return v.contactDeleted(p)
}

// Each campaign has three statuses: Sent, Responded, and one of its own.
const statusesEach = 3

var ownStatuses = []string{"Attended", "Registered", "Unsubscribed"}

func statusLabel(s uint32) string {
	switch s % statusesEach {
	case 0:
		return "Sent"
	case 1:
		return "Responded"
	}
	return ownStatuses[s/statusesEach%uint32(len(ownStatuses))]
}

func statusResponded(s uint32) bool {
	return s%statusesEach == 1 || s%statusesEach == 2 && s/statusesEach%uint32(len(ownStatuses)) != 2
}

func (v *view) memberStatus(i uint32) uint32 {
	c := v.memberCampaign(i)
	switch h := v.h(saltMemberStatus, i) % 10; {
	case h < 5:
		return c * statusesEach
	case h < 8:
		return c*statusesEach + 1
	}
	return c*statusesEach + 2
}

// who is the person of an activity: prefix "00Q" or "003", or "" for none.
func (v *view) who(activity uint64, i uint32) (prefix string, person uint32) {
	h := v.h(saltWho^activity, i)
	switch r := h % 100; {
	case r < 50 && v.n.leads > 0:
		return "00Q", uint32(below(h, v.n.leads))
	case r < 85 && v.n.contacts > 0:
		return "003", uint32(below(h, v.n.contacts))
	}
	return "", 0
}

func (v *view) whoDeleted(activity uint64, i uint32) bool {
	switch prefix, p := v.who(activity, i); prefix {
	case "00Q":
		return v.leadDeleted(p)
	case "003":
		return v.contactDeleted(p)
	}
	return false
}

// what is the thing an activity is about, always a live one; a lead's activity has none, as Salesforce demands.
func (v *view) what(activity uint64, i uint32) (prefix string, thing uint32) {
	who, person := v.who(activity, i)
	if who == "00Q" {
		return "", 0
	}
	h := v.h(saltWhat^activity, i)
	switch r := h % 10; {
	case r < 4:
		if who == "003" {
			if a, ok := v.contactAccount(person); ok && !v.accountDeleted(a) {
				return "001", a
			}
		} else if a, ok := v.liveAccount(h); ok {
			return "001", a
		}
	case r < 7 && v.n.opportunities > 0:
		if o := uint32(below(h, v.n.opportunities)); !v.oppDeleted(o) {
			return "006", o
		}
	case r < 8:
		if c, ok := v.liveCampaign(h); ok {
			return "701", c
		}
	}
	return "", 0
}

// activityAccount is the account that an activity counts for: of what it is about, else of the person.
func (v *view) activityAccount(activity uint64, i uint32) value {
	what, thing := v.what(activity, i)
	switch what {
	case "001":
		return value{k: text, s: v.id("001", thing)}
	case "006":
		if a, ok := v.oppAccount(thing); ok {
			return value{k: text, s: v.id("001", a)}
		}
	}
	if who, p := v.who(activity, i); who == "003" {
		if a, ok := v.contactAccount(p); ok {
			return value{k: text, s: v.id("001", a)}
		}
	}
	return value{}
}

func whoGen(v *view, f *field, i uint32) value {
	if prefix, p := v.who(f.owner.salt(), i); prefix != "" {
		return value{k: text, s: v.id(prefix, p)}
	}
	return value{}
}

func whatGen(v *view, f *field, i uint32) value {
	if prefix, p := v.what(f.owner.salt(), i); prefix != "" {
		return value{k: text, s: v.id(prefix, p)}
	}
	return value{}
}

func activityAccountGen(v *view, f *field, i uint32) value {
	return v.activityAccount(f.owner.salt(), i)
}

// activityDay is up to two and a half years back, so that a good part is old enough to be archived.
func (v *view) activityDay(activity uint64, i uint32) int64 {
	return v.org.epochDay() - 850 + int64(v.h(saltActivityDay^activity, i)%900)
}

func (v *view) taskClosed(i uint32) bool { return chance(v.h(saltTaskStatus, i), 55) }

// archiveAfter is the age in days at which closed tasks and past events leave plain queries.
const archiveAfter = 365

func (v *view) taskArchived(i uint32) bool {
	return v.taskClosed(i) && v.activityDay(saltTaskDeleted, i) < v.org.epochDay()-archiveAfter
}

func (v *view) eventArchived(i uint32) bool {
	return v.activityDay(saltEventDeleted, i) < v.org.epochDay()-archiveAfter
}

// link gives a generator that points to the row that pick names.
func points(prefix string, pick func(v *view, i uint32) (uint32, bool)) gen {
	return func(v *view, _ *field, i uint32) value {
		if to, ok := pick(v, i); ok {
			return value{k: text, s: v.id(prefix, to)}
		}
		return value{}
	}
}

// seldom points to a drawn row, for a share of the rows.
func seldom(filled uint64, prefix string, draw func(v *view, h uint64) (uint32, bool)) gen {
	return func(v *view, f *field, i uint32) value {
		h := v.h(f.salt, i)
		if !chance(h, filled) {
			return value{}
		}
		if to, ok := draw(v, h); ok && (to != i || f.owner.prefix != prefix) {
			return value{k: text, s: v.id(prefix, to)}
		}
		return value{}
	}
}
