package templates

import (
	"slices"
	"strings"

	"github.com/tandem-sync/tandem/models"
)

// approvalTitle says what is asked.
func approvalTitle(p Page, a models.Approval) string {
	return p.L.T("approval."+string(a.Kind)+".title", "object", labelOf(p.Status, a.Object))
}

// approvalText says what a yes will do, in numbers, and what a no.
func approvalText(p Page, a models.Approval) string {
	n := func(name string) string { return p.L.Number(a.Counts[name]) }
	switch a.Kind {
	case models.ApproveFirstSend:
		sum := map[string]int64{}
		for _, c := range approvalCounts(a) {
			sum["create"] += c.create
			sum["update"] += c.update
			sum["delete"] += c.remove
		}
		return p.L.T("approval.first-send.text", "create", p.L.Number(sum["create"]), "update", p.L.Number(sum["update"]), "delete", p.L.Number(sum["delete"]))
	case models.ApproveDeletions, models.ApproveSentDeletions:
		return p.L.T("approval."+string(a.Kind)+".text", "object", labelOf(p.Status, a.Object), "deletions", n("deletions"), "records", n("records"))
	}
	return p.L.T("approval." + string(a.Kind) + ".text")
}

// approvalCount is what a first sending does with one object.
type approvalCount struct {
	object                 string
	create, update, remove int64
}

// approvalCounts reads the numbers of a question by object, in the order of the names.
func approvalCounts(a models.Approval) []approvalCount {
	var list []approvalCount
	for name, n := range a.Counts {
		object, what, ok := strings.Cut(name, ".")
		if !ok {
			continue
		}
		i := slices.IndexFunc(list, func(c approvalCount) bool { return c.object == object })
		if i < 0 {
			i = len(list)
			list = append(list, approvalCount{object: object})
		}
		switch what {
		case "create":
			list[i].create += n
		case "update":
			list[i].update += n
		case "delete":
			list[i].remove += n
		}
	}
	slices.SortFunc(list, func(a, b approvalCount) int { return strings.Compare(a.object, b.object) })
	return list
}

// otherCounts are the numbers of a question that are of no object, by name.
func otherCounts(a models.Approval) []string {
	var names []string
	for name := range a.Counts {
		if !strings.Contains(name, ".") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func countName(p Page, name string) string {
	if key := "approval.count." + name; p.L.Has(key) {
		return p.L.T(key)
	}
	return name
}
