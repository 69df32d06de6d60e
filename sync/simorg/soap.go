package simorg

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The SOAP API answers the calls that REST has no resource for: convertLead, merge, undelete, emptyRecycleBin, getUserInfo,
// getServerTimestamp (https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_list.htm). login() is refused, as
// it is from API 65.0 on.

// xmlNode is an element of any name, without regard to namespaces.
type xmlNode struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Nodes   []xmlNode  `xml:",any"`
	Text    string     `xml:",chardata"`
}

func (n *xmlNode) child(name string) *xmlNode {
	if n == nil {
		return nil
	}
	for k := range n.Nodes {
		if strings.EqualFold(n.Nodes[k].XMLName.Local, name) {
			return &n.Nodes[k]
		}
	}
	return nil
}

func (n *xmlNode) all(name string) (found []*xmlNode) {
	for k := range n.Nodes {
		if strings.EqualFold(n.Nodes[k].XMLName.Local, name) {
			found = append(found, &n.Nodes[k])
		}
	}
	return found
}

func (n *xmlNode) text(name string) string {
	if c := n.child(name); c != nil {
		return strings.TrimSpace(c.Text)
	}
	return ""
}

func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func soapFault(code, text string) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com"><soapenv:Body><soapenv:Fault><faultcode>sf:%s</faultcode><faultstring>%s: %s</faultstring></soapenv:Fault></soapenv:Body></soapenv:Envelope>`, code, code, xmlText(text))
}

func (o *Org) serveSOAP(w http.ResponseWriter, r *http.Request, path []string) {
	fault := func(code, text string) {
		w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(soapFault(code, text))
	}
	c := &call{o: o, w: w, r: r}
	if err := c.unzip(); err != nil {
		fault("UNKNOWN_EXCEPTION", "the body is no gzip")
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, bodyMax))
	var envelope xmlNode
	if err == nil {
		err = xml.Unmarshal(b, &envelope)
	}
	body := envelope.child("Body")
	if err != nil || body == nil || len(body.Nodes) == 0 || r.Method != http.MethodPost {
		fault("UNKNOWN_EXCEPTION", "no SOAP request was found in the body")
		return
	}
	what := &body.Nodes[0]
	version := 0
	if len(path) > 0 {
		_, _ = fmt.Sscanf(path[0], "%d", &version)
	}
	if version < versionOldest || version > versionLast {
		fault("UNSUPPORTED_API_VERSION", "Invalid Api version specified on URL")
		return
	}
	if what.XMLName.Local == "login" {
		fault("INVALID_OPERATION", "SOAP login() is not available in this org: use OAuth")
		return
	}
	c.session = o.auth.find(o, envelope.child("Header").child("SessionHeader").text("sessionId"))
	if c.session == nil {
		fault("INVALID_SESSION_ID", "Invalid Session ID found in SessionHeader: Illegal Session")
		return
	}
	c.access = o.accessOf(c.session.user)
	o.binJob()
	if _, within := o.calls.count(o, "soap"); !within {
		fault("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
		return
	}
	var out strings.Builder
	name := what.XMLName.Local
	switch name {
	case "convertLead":
		converts := what.all("leadConverts")
		if len(converts) > 100 {
			fault("EXCEEDED_ID_LIMIT", "at most 100 leads can be converted in a call")
			return
		}
		for _, q := range converts {
			c.soapConvert(&out, q)
		}
	case "merge":
		if len(what.all("request")) > 200 {
			fault("EXCEEDED_ID_LIMIT", "at most 200 merges can be asked for in a call")
			return
		}
		for _, q := range what.all("request") {
			c.soapMerge(&out, q)
		}
	case "undelete":
		if len(what.all("ids")) > 200 {
			fault("EXCEEDED_ID_LIMIT", "at most 200 records can be undeleted in a call")
			return
		}
		for _, id := range what.all("ids") {
			id := strings.TrimSpace(id.Text)
			err := c.save(func(tx *Tx) *rowError { return tx.undelete(id) })
			soapResult(&out, err, "<id>"+xmlText(to18(id))+"</id>")
		}
	case "emptyRecycleBin":
		for _, id := range what.all("ids") {
			id := strings.TrimSpace(id.Text)
			err := c.save(func(tx *Tx) *rowError { return tx.purge(id) })
			soapResult(&out, err, "<id>"+xmlText(to18(id))+"</id>")
		}
	case "getServerTimestamp":
		out.WriteString("<result><timestamp>" + string(appendStamp(nil, o.now().UnixMilli(), "Z")) + "</timestamp></result>")
	case "getUserInfo":
		o.mu.RLock()
		v := o.view()
		u, _ := v.find(c.session.user)
		fmt.Fprintf(&out, "<result><organizationId>%s</organizationId><organizationName>Tandem Simulated Org</organizationName><userEmail>%s</userEmail><userFullName>%s</userFullName><userId>%s</userId><userName>%s</userName><userTimeZone>GMT</userTimeZone><userType>Standard</userType></result>",
			o.id(), xmlText(v.named(u, "Email").s), xmlText(v.named(u, "Name").s), c.session.user, xmlText(v.named(u, "Username").s))
		o.mu.RUnlock()
	default:
		fault("INVALID_OPERATION", "the operation "+name+" is not available in this org")
		return
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com"><soapenv:Body><%sResponse>%s</%sResponse></soapenv:Body></soapenv:Envelope>`, name, out.String(), name)
}

// save runs fn in a transaction of its own.
func (c *call) save(fn func(tx *Tx) *rowError) *rowError {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	var refused *rowError
	err := c.o.do(c.session.user, func(tx *Tx) error {
		tx.access = c.access
		if refused = fn(tx); refused != nil {
			return refused
		}
		return nil
	})
	if err != nil && refused == nil {
		refused = refuse("UNKNOWN_EXCEPTION", err.Error())
	}
	return refused
}

func soapResult(out *strings.Builder, err *rowError, inner string) {
	out.WriteString("<result>")
	if err != nil {
		for _, e := range err.all() {
			out.WriteString("<errors>")
			for _, f := range e.fields {
				out.WriteString("<fields>" + xmlText(f) + "</fields>")
			}
			fmt.Fprintf(out, "<message>%s</message><statusCode>%s</statusCode></errors>", xmlText(e.message), e.code)
		}
	}
	fmt.Fprintf(out, "%s<success>%t</success></result>", inner, err == nil)
}

func (c *call) soapConvert(out *strings.Builder, q *xmlNode) {
	request := Conversion{
		LeadID: q.text("leadId"), AccountID: q.text("accountId"), ContactID: q.text("contactId"), OpportunityID: q.text("opportunityId"), OpportunityName: q.text("opportunityName"), OwnerID: q.text("ownerId"), Status: q.text("convertedStatus"),
		NoOpportunity: q.text("doNotCreateOpportunity") == "true", OverwriteLeadSource: q.text("overwriteLeadSource") == "true",
	}
	var done Converted
	err := c.save(func(tx *Tx) (bad *rowError) {
		done, bad = tx.convertLead(request)
		return bad
	})
	inner := "<leadId>" + xmlText(to18(request.LeadID)) + "</leadId>"
	if err == nil {
		inner = fmt.Sprintf("<accountId>%s</accountId><contactId>%s</contactId><leadId>%s</leadId>", done.AccountID, done.ContactID, done.LeadID)
		if done.OpportunityID != "" {
			inner += "<opportunityId>" + done.OpportunityID + "</opportunityId>"
		}
	}
	soapResult(out, err, inner)
}

func (c *call) soapMerge(out *strings.Builder, q *xmlNode) {
	master := q.child("masterRecord")
	if master == nil {
		soapResult(out, refuse("MISSING_ARGUMENT", "masterRecord is missing"), "")
		return
	}
	kind := master.text("type")
	for _, a := range master.Attrs {
		if kind == "" && a.Name.Local == "type" {
			kind = a.Value[strings.LastIndexByte(a.Value, ':')+1:]
		}
	}
	var losers []string
	for _, l := range q.all("recordToMergeIds") {
		losers = append(losers, strings.TrimSpace(l.Text))
	}
	var moved []string
	err := c.save(func(tx *Tx) *rowError {
		x := c.find(kind)
		if x == nil {
			return refuse("INVALID_TYPE", "sObject type '"+kind+"' is not supported.")
		}
		fields := map[string]any{}
		for _, n := range master.Nodes {
			switch lower(n.XMLName.Local) {
			case "type", "id", "fieldstonull":
			default:
				fields[n.XMLName.Local] = n.Text
			}
		}
		given, bad := tx.assignments(x, fields, nil)
		if bad != nil {
			return bad
		}
		moved, bad = tx.merge(kind, master.text("Id"), losers, given)
		return bad
	})
	inner := "<id>" + xmlText(to18(master.text("Id"))) + "</id>"
	if err == nil {
		for _, l := range losers {
			inner += "<mergedRecordIds>" + xmlText(to18(l)) + "</mergedRecordIds>"
		}
		for _, m := range moved {
			inner += "<updatedRelatedIds>" + m + "</updatedRelatedIds>"
		}
	}
	soapResult(out, err, inner)
}

// purge takes a deleted row away for good.
func (tx *Tx) purge(id string) *rowError {
	v := tx.view()
	r, ok := v.find(id)
	if !ok || !v.deleted(r) {
		return refuse("INVALID_CROSS_REFERENCE_KEY", "the record is not in the recycle bin")
	}
	return tx.store(r.t, r.i, &version{cells: v.cells(r), gone: true})
}
