package templates

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sync/tandem/models"
	"github.com/tandem-sync/tandem/templates/locale"
)

// Page is what every page needs.
type Page struct {
	L         *locale.Locale
	Title     string
	Path      string // of the section that is marked in the navigation
	Here      string // the page's own address, which a live page asks for again
	Live      bool
	User      *models.User // nil on the public pages
	Status    models.Status
	Flash     string
	Notices   []models.Notice // news that nobody has put away, on the pages that show them
	SimOrgURL string
	Asset     func(name string) string // the address of a static file, with its content's hash
}

// May tells whether the person on this page may do what the role may.
func (p Page) May(role models.Role) bool { return p.User != nil && p.User.Role.May(role) }

// SetAside counts what needs a person: records set aside and objects that failed.
func (p Page) SetAside() int64 {
	var n int64
	for _, o := range p.Status.Objects {
		n += o.Refused
		if o.State == models.ObjectFailed {
			n++
		}
	}
	return n
}

// Frozen tells that nobody works, whatever the rows of objects and runs say: what stands still must look neither green nor busy.
func (p Page) Frozen() bool {
	return p.Status.Cycle.State == models.CycleStopped || p.Status.Cycle.State == models.CyclePaused
}

func itoa(n int) string { return strconv.Itoa(n) }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// chip is how a state is told: a colour, a mark and a word, never colour alone.
type chip struct{ tone, mark, text string }

func cycleChip(l *locale.Locale, c models.CycleStatus) chip {
	tone := map[models.CycleState]string{models.CycleSyncing: "blue", models.CycleResting: "green", models.CyclePaused: "grey", models.CycleStopped: "red"}[c.State]
	return chip{tone, "●", l.T("cycle.state." + string(c.State))}
}

func objectChip(p Page, o models.ObjectStatus) chip {
	l := p.L
	switch o.State {
	case models.ObjectReading, models.ObjectSending:
		if p.Frozen() {
			return chip{"grey", "■", stillText(l, *o.Run)}
		}
		return chip{"blue", "●", runText(l, *o.Run)}
	case models.ObjectInSync:
		if p.Frozen() && o.LastSyncedAt != nil {
			return chip{"grey", "■", l.T("object.was_in_sync", "ago", l.Ago(*o.LastSyncedAt, p.Status.Now))}
		}
		return chip{"green", "✓", l.T("object.state.in-sync")}
	case models.ObjectAttention:
		switch {
		case o.Hidden:
			return chip{"amber", "●", l.T("object.hidden_chip")}
		case o.Run != nil && o.Run.Error != "":
			return chip{"amber", "●", l.T("object.waits")}
		case o.Refused > 0:
			return chip{"amber", "●", l.N("object.set_aside", o.Refused)}
		case o.Conflicts > 0:
			return chip{"amber", "●", l.N("object.conflicts_n", o.Conflicts)}
		case o.Differing > 0:
			return chip{"amber", "●", l.N("object.check_differs", o.Differing)}
		}
		return chip{"amber", "●", l.T("object.state.attention")}
	case models.ObjectFailed:
		return chip{"red", "▲", l.T("object.state.failed")}
	}
	return chip{"grey", "●", l.T("object.state." + string(o.State))}
}

// runText says what a run under way is at.
func runText(l *locale.Locale, r models.Run) string {
	switch {
	case r.Phase == models.PhaseDescribing:
		return l.T("object.describing")
	case r.Phase == models.PhasePreparing && r.Expected > 0:
		return l.T("object.preparing", "expected", l.Number(r.Expected))
	case r.Phase == models.PhaseFinishing:
		return l.T("object.finishing")
	case r.Phase == models.PhaseWaiting:
		return l.T("run.waits_for_yes")
	case r.Kind == models.RunSend && r.Sent > 0:
		return l.N("run.sending_n", r.Sent)
	case r.Kind == models.RunSend:
		return l.T("object.state.sending")
	case r.Phase == models.PhaseComparing:
		return l.T("run.comparing")
	case r.Expected > 0:
		return l.T("object.reading_of", "read", l.Number(r.Read), "expected", l.Number(r.Expected))
	case r.Read > 0:
		return l.T("object.reading_n", "read", l.Number(r.Read))
	}
	return l.T("object.state.reading")
}

// stillText says where a run stands that nobody works at.
func stillText(l *locale.Locale, r models.Run) string {
	if r.Expected > 0 && r.Read > 0 {
		return l.T("object.still_of", "read", l.Number(r.Read), "expected", l.Number(r.Expected))
	}
	return l.T("object.still")
}

func runChip(p Page, r models.Run) chip {
	l, now := p.L, p.Status.Now
	switch r.State {
	case models.RunSucceeded:
		if r.Refused > 0 && r.Kind == models.RunCheck {
			// A check sets nothing aside: it counts what differs.
			return chip{"amber", "●", l.N("run.done_differ", r.Refused)}
		}
		if r.Refused > 0 {
			return chip{"amber", "●", l.N("run.done_refused", r.Refused)}
		}
		if r.Conflicts > 0 {
			return chip{"amber", "●", l.N("run.done_conflicts", r.Conflicts)}
		}
		return chip{"green", "✓", l.T("run.state.succeeded")}
	case models.RunFailed:
		return chip{"red", "▲", l.T("run.state.failed")}
	case models.RunRunning:
		if p.Frozen() {
			return chip{"grey", "■", stillText(l, r)}
		}
		if r.ResumesAt != nil {
			return chip{"amber", "●", l.T("run.waits_until", "in", l.Ago(*r.ResumesAt, now))}
		}
		return chip{"blue", "●", runText(l, r)}
	}
	return chip{"grey", "●", l.T("run.state." + string(r.State))}
}

func took(l *locale.Locale, r models.Run, now time.Time) string {
	switch {
	case r.StartedAt == nil:
		return "—"
	case r.EndedAt != nil:
		return l.Clock(r.EndedAt.Sub(*r.StartedAt))
	}
	return l.Clock(now.Sub(*r.StartedAt))
}

// bars are the little chart of an object's last 24 hours: in above the line, out below.
type bar struct{ x, y, height string }

const sparkHeight = 14

func spark(hours [24]models.HourActivity) (in, out []bar) {
	var most int64 = 1
	for _, h := range hours {
		most = max(most, h.In, h.Out)
	}
	for i, h := range hours {
		x := itoa(i * 5)
		if h.In > 0 {
			n := max(1, int(h.In*sparkHeight/most))
			in = append(in, bar{x, itoa(sparkHeight - n), itoa(n)})
		}
		if h.Out > 0 {
			n := max(1, int(h.Out*sparkHeight/most))
			out = append(out, bar{x, itoa(sparkHeight + 1), itoa(n)})
		}
	}
	return in, out
}

func sparkTotal(hours [24]models.HourActivity) (in, out int64) {
	for _, h := range hours {
		in, out = in+h.In, out+h.Out
	}
	return in, out
}

// chart are the bars of an object's changes per cycle, and the lines that help to read them.
type chartBar struct{ x, width, y, height, title, tone string }

type chartLine struct{ y, label string }

const (
	chartWidth, chartHeight = 920, 200
	chartLeft               = 60
)

func chart(l *locale.Locale, points []models.CyclePoint) (bars []chartBar, lines []chartLine, most int64) {
	most = 1
	for _, p := range points {
		most = max(most, p.In+p.Out)
	}
	top := niceTop(most)
	step := float64(chartWidth-chartLeft) / float64(max(len(points), 24))
	for i, p := range points {
		title := l.T("cycle.number", "n", l.Number(p.Cycle)) + ", " + l.Time(p.At) + ": " + l.Number(p.In) + " " + l.T("legend.from") + ", " + l.Number(p.Out) + " " + l.T("legend.to")
		floor := float64(chartHeight)
		// What went out stands on what came in.
		for _, part := range []struct {
			n    int64
			tone string
		}{{p.In, "pea"}, {p.Out, "carrot"}} {
			if part.n == 0 {
				continue
			}
			h := max(float64(part.n)/float64(top)*chartHeight, 1)
			floor -= h
			bars = append(bars, chartBar{
				x: fmt.Sprintf("%.1f", chartLeft+float64(i)*step), width: fmt.Sprintf("%.1f", max(step-4, 2)),
				y: fmt.Sprintf("%.1f", floor), height: fmt.Sprintf("%.1f", h), title: title, tone: part.tone,
			})
			floor--
		}
	}
	for i := int64(1); i <= 4; i++ {
		if top*i%4 == 0 {
			lines = append(lines, chartLine{fmt.Sprintf("%.1f", chartHeight-float64(i)/4*chartHeight), l.Number(top * i / 4)})
		}
	}
	return bars, lines, most
}

// niceTop is the round number at or above n that the axis ends at.
func niceTop(n int64) int64 {
	for scale := int64(1); ; scale *= 10 {
		for _, m := range []int64{4, 8, 20} {
			if n <= m*scale {
				return m * scale
			}
		}
	}
}

// ring is the heartbeat: how much of its circle is drawn.
const ringLength = 264 // of a circle with the radius 42

func ring(s models.Status) (dash string, centre, rest time.Duration) {
	c := s.Cycle
	switch {
	case c.State == models.CycleSyncing && c.StartedAt != nil && c.EndedAt == nil:
		share := 0
		if c.ObjectsTotal > 0 {
			share = ringLength * c.ObjectsDone / c.ObjectsTotal
		}
		return dashOf(share), s.Now.Sub(*c.StartedAt), 0
	case c.State == models.CycleResting && c.NextAt != nil && c.EndedAt != nil:
		left := max(c.NextAt.Sub(s.Now), 0)
		rest = c.NextAt.Sub(*c.EndedAt)
		share := 0
		if rest > 0 {
			share = int(ringLength * left / rest)
		}
		return dashOf(share), left, rest
	}
	return "", -1, 0
}

// dashOf draws a part of the ring; nothing at all where the part is empty, for round ends would leave a dot.
func dashOf(share int) string {
	if share <= 0 {
		return ""
	}
	return fmt.Sprintf("%d %d", share, ringLength)
}

func percent(r models.Run) string {
	if r.Expected <= 0 {
		return "0"
	}
	return strconv.FormatInt(min(r.Read*100/r.Expected, 100), 10)
}

// callsFor estimates what reading everything costs: the job's own calls and one a page of 50,000.
func callsFor(records int64) int64 {
	if records <= 2000 {
		return 2
	}
	return 6 + records/50_000
}

func join(parts ...string) string { return strings.Join(parts, " ") }

// labelOf is what people call an object.
func labelOf(s models.Status, name string) string {
	for _, o := range s.Objects {
		if o.Name == name {
			return o.LabelPlural
		}
	}
	return name
}

// RunTitle says what a run was for.
func RunTitle(p Page, r models.Run) string {
	return p.L.T("run.title", "kind", p.L.T("run.kind."+string(r.Kind)), "object", labelOf(p.Status, r.Object))
}

func tableOf(object string) string { return strings.ToLower(object) }

func runAt(r models.Run) time.Time {
	if r.StartedAt != nil {
		return *r.StartedAt
	}
	return r.RequestedAt
}

// splitNames parts a sentence at the names that it sets in their own type: {api} and {table}.
func splitNames(s string) []string {
	var parts []string
	for s != "" {
		at := -1
		name := ""
		for _, n := range []string{"{api}", "{table}"} {
			if i := strings.Index(s, n); i >= 0 && (at < 0 || i < at) {
				at, name = i, n
			}
		}
		if at < 0 {
			return append(parts, s)
		}
		parts = append(parts, s[:at], name)
		s = s[at+len(name):]
	}
	return parts
}

func failedObjects(s models.Status) []models.ObjectStatus {
	var failed []models.ObjectStatus
	for _, o := range s.Objects {
		if o.State == models.ObjectFailed {
			failed = append(failed, o)
		}
	}
	return failed
}

// objectTab is one of an object's pages.
type objectTab struct{ name, label, url, count string }

// objectTabs are an object's pages in their order.
func objectTabs(p Page, o models.ObjectDetail) []objectTab {
	tabs := []objectTab{
		{"status", p.L.T("object.tab.status"), URLObject(o.Name), ""},
		{"fields", p.L.T("object.tab.fields"), URLObjectFields(o.Name), ""},
		{"history", p.L.T("object.tab.history"), URLHistoryOf(o.Name), ""},
	}
	if o.Fields > 0 {
		tabs[1].count = p.L.Number(int64(o.Fields))
	}
	errors := objectTab{"errors", p.L.T("object.tab.errors"), URLErrorsOf(o.Name), ""}
	if o.Refused > 0 {
		errors.count = p.L.Number(o.Refused)
	}
	tabs = append(tabs, errors)
	if p.May(models.RoleAdmin) {
		tabs = append(tabs, objectTab{"settings", p.L.T("object.tab.settings"), URLObjectSettings(o.Name), ""})
	}
	return tabs
}

// forecast says how far Tandem's share of the calls reaches.
func forecast(p Page) string {
	b, now := p.Status.API.Tandem, p.Status.Now
	at, runsOut := b.RunsOut(now)
	switch {
	case b.RefusedUntil != nil:
		return p.L.T("overview.api_refused", "in", p.L.Ago(*b.RefusedUntil, now))
	case b.Left() == 0:
		return p.L.T("overview.api_out")
	case b.InReserve():
		return p.L.T("overview.api_reserve")
	case runsOut:
		return p.L.T("overview.api_runs_out", "hour", at.UTC().Format("15:04"))
	}
	return p.L.T("overview.api_lasts")
}

func percentOf(n *int) string {
	if n == nil {
		return ""
	}
	return itoa(*n)
}

func hourOf(h int) string { return fmt.Sprintf("%02d:00 UTC", h) }

// checkWords says what the last check compared, and what it passed over with a reason.
func checkWords(p Page, c models.CheckStatus) string {
	words := []string{p.L.T("object.check_compared", "here", p.L.Number(c.Here), "there", p.L.Number(c.There), "ranges", p.L.Number(int64(c.Ranges)))}
	if c.Refreshed > 0 {
		words = append(words, p.L.N("object.check_refreshed", c.Refreshed))
	}
	// What is kept is explained too, and told below in words of its own.
	if n := c.Explained - c.Kept; n > 0 {
		words = append(words, p.L.N("object.check_explained", n))
	}
	if c.Unlooked > 0 {
		words = append(words, p.L.N("object.check_unlooked", c.Unlooked))
	}
	if c.Moving > 0 {
		words = append(words, p.L.N("object.check_moving", c.Moving))
	}
	if c.Kept > 0 {
		words = append(words, p.L.N("object.check_kept", c.Kept))
	}
	return strings.Join(words, " ")
}

// deletedChip says that a record is deleted, or that nothing tells whether it is gone or hidden.
func deletedChip(p Page, vanished bool) chip {
	if vanished {
		return chip{"grey", "■", p.L.T("record.vanished")}
	}
	return chip{"grey", "■", p.L.T("record.deleted")}
}

// checkChip says in a few words what the last check found.
func checkChip(p Page, c models.CheckStatus) chip {
	switch {
	case c.Unlooked > 0:
		return chip{"red", "▲", p.L.N("object.check_at_least", c.Differing)}
	case c.Differing > 0:
		return chip{"red", "▲", p.L.N("object.check_differs", c.Differing)}
	case c.Moving > 0:
		return chip{"amber", "●", p.L.N("object.check_unsure", c.Moving)}
	case c.Kept > 0:
		return chip{"amber", "●", p.L.N("object.check_same_but", c.Kept)}
	}
	return chip{"green", "✓", p.L.T("object.check_same")}
}

// lookText says what a check that is not over is at.
func lookText(p Page, r models.Run) string {
	switch {
	case r.Error != "":
		return p.L.T("object.check_waits", "error", p.L.Kept(r.Error))
	case r.State == models.RunQueued, r.Phase == models.PhaseNone:
		return p.L.T("object.check_asked")
	case r.Phase == models.PhaseComparing:
		return p.L.T("object.check_comparing", "read", p.L.Number(r.Read))
	}
	return p.L.T("object.check_reading", "read", p.L.Number(r.Read), "expected", p.L.Number(r.Expected))
}

// formulaWords says how fresh the object's formula fields are.
func formulaWords(p Page, f models.FormulaStatus) string {
	words := []string{p.L.N("object.formulas", int64(f.Fields))}
	switch {
	case f.Hours == 0:
		words = append(words, p.L.T("object.formulas_never"))
	default:
		words = append(words, p.L.N("object.formulas_every", int64(f.Hours)))
	}
	if f.ReadAt != nil {
		words = append(words, p.L.T("object.formulas_at", "ago", p.L.Ago(*f.ReadAt, p.Status.Now)))
	}
	return strings.Join(words, " ")
}
