package simorg

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// controlRequest is the body of POST /simorg/control/{verb}; each verb reads what it needs.
type controlRequest struct {
	Object     string         `json:"object"`
	ID         string         `json:"id"`
	Field      string         `json:"field"`
	Value      string         `json:"value"`
	Fields     map[string]any `json:"fields"`
	Spec       FieldSpec      `json:"spec"`
	Fault      Fault          `json:"fault"`
	FaultID    int            `json:"faultId"`
	Tx         int            `json:"tx"`
	N          int            `json:"n"`
	Log        bool           `json:"log"`
	Username   string         `json:"username"`
	PEM        string         `json:"pem"`
	Master     string         `json:"master"`
	Losers     []string       `json:"losers"`
	Status     string         `json:"status"`
	To         string         `json:"to"`
	Before     time.Time      `json:"before"`
	NewType    ObjectSpec     `json:"objectSpec"`
	Rule       ValidationRule `json:"rule"`
	RuleID     int            `json:"ruleId"`
	Sees       Sees           `json:"sees"`
	Private    bool           `json:"private"`
	Conversion Conversion     `json:"conversion"`
	Code       string         `json:"code"`
	Message    string         `json:"message"`
}

// controlled are the transactions that were begun over HTTP.
type controlled struct {
	last int
	open map[int]*Tx
	// rules takes away validation and duplicate rules that were made over HTTP.
	rules    map[int]func()
	lastRule int
}

// addRule remembers how a rule is taken away, and gives its number.
func (o *Org) addRule(remove func(), err error) (any, error) {
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.controlled.lastRule++
	o.controlled.rules[o.controlled.lastRule] = remove
	return map[string]int{"ruleId": o.controlled.lastRule}, nil
}

// serveControl lets another process drive the org: POST /simorg/control/{verb} with a JSON body, answered by JSON. It asks for no
// login: a simulated org guards nothing. The verbs are those of the README in this folder.
func (o *Org) serveControl(w http.ResponseWriter, r *http.Request, path []string) {
	if len(path) == 1 && path[0] == "calls" && r.Method == http.MethodGet {
		writeJSON(w, http.StatusOK, o.Calls())
		return
	}
	if len(path) != 2 || path[0] != "control" || r.Method != http.MethodPost {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "there is no such control; POST /simorg/control/{verb}"})
		return
	}
	// A page of another site must not drive the org through a visitor's browser.
	if !sameOrigin(r) {
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "this request was sent from another site"})
		return
	}
	var q controlRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyMax))
	d.UseNumber()
	if r.ContentLength != 0 {
		if err := d.Decode(&q); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
	}
	reply, err := o.control(path[1], &q)
	if err != nil {
		m := map[string]string{"error": err.Error()}
		var refused *rowError
		if errors.As(err, &refused) {
			m["code"] = refused.code
		}
		writeJSON(w, http.StatusBadRequest, m)
		return
	}
	if reply == nil {
		reply = map[string]any{"ok": true}
	}
	writeJSON(w, http.StatusOK, reply)
}

func (o *Org) control(verb string, q *controlRequest) (any, error) {
	tx := func() (*Tx, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		t := o.controlled.open[q.Tx]
		if t == nil {
			return nil, fmt.Errorf("there is no open transaction %d", q.Tx)
		}
		return t, nil
	}
	switch verb {
	case "create", "update", "delete":
		return o.controlSave(verb, q)
	case "get":
		fields, ok := o.Get(q.Object, q.ID)
		if !ok {
			return nil, refuse("NOT_FOUND", "there is no "+q.Object+" "+q.ID)
		}
		return fields, nil
	case "count":
		return map[string]int{"count": o.Count(q.Object)}, nil
	case "calls":
		return o.Calls(), nil
	case "use-calls":
		o.UseCalls(q.N)
		return nil, nil
	case "begin":
		t := o.Begin()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.controlled.last++
		o.controlled.open[o.controlled.last] = t
		return map[string]int{"tx": o.controlled.last}, nil
	case "commit", "rollback":
		t, err := tx()
		if err != nil {
			return nil, err
		}
		o.mu.Lock()
		delete(o.controlled.open, q.Tx)
		o.mu.Unlock()
		if verb == "commit" {
			return nil, t.Commit()
		}
		t.Rollback()
		return nil, nil
	case "fault":
		return map[string]int{"faultId": o.faults.add(q.Fault)}, nil
	case "duplicate-rule":
		return o.addRule(o.AddDuplicateRule(DuplicateRule{q.Object, q.Field, q.Value == "block"}))
	case "validation-rule":
		return o.addRule(o.AddValidationRule(q.Rule))
	case "remove-rule":
		o.mu.Lock()
		remove := o.controlled.rules[q.RuleID]
		delete(o.controlled.rules, q.RuleID)
		o.mu.Unlock()
		if remove == nil {
			return nil, fmt.Errorf("there is no rule %d", q.RuleID)
		}
		remove()
		return nil, nil
	case "user-sees":
		return nil, o.SetUserSees(q.Username, q.Object, q.Field, q.Sees)
	case "set-private":
		return nil, o.SetPrivate(q.Username, q.Object, q.Private)
	case "share":
		return nil, o.Share(q.Username, q.Object, q.ID, true)
	case "unshare":
		return nil, o.Share(q.Username, q.Object, q.ID, false)
	case "assign-leads":
		o.AssignLeads(q.ID)
		return nil, nil
	case "remove-fault":
		o.faults.remove(q.FaultID)
		return nil, nil
	case "clear-faults":
		o.ClearFaults()
		return nil, nil
	case "expire-sessions":
		o.ExpireSessions()
		return nil, nil
	case "revoke-refresh-tokens":
		o.RevokeRefreshTokens()
		return nil, nil
	case "drop-cursors":
		o.DropCursors()
		return nil, nil
	case "hide-field":
		o.HideField(q.Object, q.Field)
		return nil, nil
	case "show-field":
		o.ShowField(q.Object, q.Field)
		return nil, nil
	case "add-field":
		return nil, o.AddField(q.Object, q.Spec)
	case "remove-field":
		o.RemoveField(q.Object, q.Field)
		return nil, nil
	case "retype-field":
		return nil, o.RetypeField(q.Object, q.Field, q.Spec)
	case "rename-field":
		return nil, o.RenameField(q.Object, q.Field, q.To)
	case "add-object":
		return nil, o.AddObject(q.NewType)
	case "add-picklist-value":
		o.AddPicklistValue(q.Object, q.Field, q.Value)
		return nil, nil
	case "hide-object":
		o.HideObject(q.Object)
		return nil, nil
	case "show-object":
		o.ShowObject(q.Object)
		return nil, nil
	case "empty-recycle-bin":
		n, err := o.EmptyRecycleBin(q.Object, q.Log)
		return map[string]int{"rows": n}, err
	case "purge":
		return nil, o.Purge(q.Object, q.ID)
	case "trim-delete-log":
		return nil, o.TrimDeleteLog(q.Object, q.Before)
	case "archive":
		n, err := o.Archive()
		return map[string]int{"rows": n}, err
	case "undelete":
		return nil, o.Undelete(q.ID)
	case "merge":
		return nil, o.Merge(q.Object, q.Master, q.Losers...)
	case "convert-lead":
		if q.Conversion.LeadID != "" {
			return o.Convert(q.Conversion)
		}
		return o.ConvertLead(q.ID, q.Status)
	case "refuse-sign-in":
		return nil, o.RefuseSignIn(q.Username, q.Code, q.Message)
	case "run-as":
		return nil, o.RunAs(q.Username)
	case "register-key":
		return nil, o.RegisterKeyPEM([]byte(q.PEM))
	case "now":
		return map[string]string{"now": o.now().Format(time.RFC3339Nano)}, nil
	}
	return nil, fmt.Errorf("there is no verb %s", verb)
}

func (o *Org) controlSave(verb string, q *controlRequest) (any, error) {
	type saver interface {
		Create(object string, fields map[string]any) (string, error)
		Update(object, id string, fields map[string]any) error
		Delete(object, id string) error
	}
	var s saver = o
	if q.Tx != 0 {
		o.mu.Lock()
		t := o.controlled.open[q.Tx]
		o.mu.Unlock()
		if t == nil {
			return nil, fmt.Errorf("there is no open transaction %d", q.Tx)
		}
		s = t
	}
	switch verb {
	case "create":
		id, err := s.Create(q.Object, q.Fields)
		return map[string]string{"id": id}, err
	case "update":
		return nil, s.Update(q.Object, q.ID, q.Fields)
	}
	return nil, s.Delete(q.Object, q.ID)
}
