package simorg

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// The limits of a composite graph request (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_graph.htm).
const (
	graphMax      = 75
	graphNodesMax = 500
	graphKindsMax = 15
	graphDepthMax = 15
	graphFailures = 14
)

type graphReply struct {
	ID         string         `json:"graphId"`
	Response   map[string]any `json:"graphResponse"`
	Successful bool           `json:"isSuccessful"`
}

// graph is POST /composite/graph: each graph is a composite of its own, all or nothing. After so many failed graphs the rest is not
// tried.
func (c *call) graph() error {
	if c.r.Method != http.MethodPost {
		return notAllowed(c.r.Method, "POST")
	}
	var q struct {
		Graphs []struct {
			ID       string       `json:"graphId"`
			Requests []subRequest `json:"compositeRequest"`
		} `json:"graphs"`
	}
	if p := c.read(&q); p != nil {
		return p
	}
	invalid := func(text string) error { return fail(http.StatusBadRequest, "INVALID_INPUT", text) }
	nodes := 0
	ids := map[string]bool{}
	for _, g := range q.Graphs {
		nodes += len(g.Requests)
		if g.ID == "" || ids[g.ID] || len(g.Requests) == 0 {
			return invalid("every graph needs a graphId of its own and requests")
		}
		ids[g.ID] = true
		kinds, depth := map[string]bool{}, map[string]int{}
		for _, r := range g.Requests {
			if r.ReferenceID == "" || depth[r.ReferenceID] > 0 {
				return invalid("every request needs a referenceId of its own")
			}
			kinds[strings.ToUpper(r.Method)+" "+kindOfNode(r.URL)] = true
			depth[r.ReferenceID] = 1
			for _, m := range reference.FindAllStringSubmatch(r.URL+string(r.Body), -1) {
				depth[r.ReferenceID] = max(depth[r.ReferenceID], depth[m[1]]+1)
			}
			if depth[r.ReferenceID] > graphDepthMax {
				return invalid(fmt.Sprintf("a graph may be at most %d nodes deep", graphDepthMax))
			}
		}
		if len(kinds) > graphKindsMax {
			return invalid(fmt.Sprintf("a graph may have at most %d kinds of node", graphKindsMax))
		}
	}
	if len(q.Graphs) == 0 || len(q.Graphs) > graphMax || nodes > graphNodesMax {
		return invalid(fmt.Sprintf("a request may hold 1 to %d graphs with %d nodes in all", graphMax, graphNodesMax))
	}
	replies := []graphReply{}
	failures := 0
	for _, g := range q.Graphs {
		if failures >= graphFailures {
			halted := []subReply{}
			for _, r := range g.Requests {
				halted = append(halted, subReply{json.RawMessage(fail(0, "PROCESSING_HALTED", "Too many graphs of this request failed; this one was not tried.").json()), map[string]string{}, http.StatusBadRequest, r.ReferenceID})
			}
			replies = append(replies, graphReply{g.ID, map[string]any{"compositeResponse": halted}, false})
			continue
		}
		inner := *c
		list, ok, err := inner.compose(g.Requests, true)
		if err != nil {
			return err
		}
		if !ok {
			failures++
		}
		replies = append(replies, graphReply{g.ID, map[string]any{"compositeResponse": list}, ok})
	}
	return c.sendJSON(http.StatusOK, map[string]any{"graphs": replies})
}

// kindOfNode is what counts as one kind: version and object, whatever record.
func kindOfNode(url string) string {
	path, _, _ := strings.Cut(url, "?")
	parts := strings.Split(strings.Trim(lower(path), "/"), "/")
	for k, p := range parts {
		if p == "sobjects" && k+1 < len(parts) {
			return strings.Join(parts[:k+2], "/")
		}
	}
	return strings.Join(parts, "/")
}
