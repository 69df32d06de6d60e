package simorg

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// notModified answers If-Modified-Since with 304 where nothing changed since; the granularity is a second.
func (c *call) notModified(changed time.Time) bool {
	c.w.Header().Set("Last-Modified", changed.Format(http.TimeFormat))
	since, err := http.ParseTime(c.r.Header.Get("If-Modified-Since"))
	if err != nil || changed.After(since) {
		return false
	}
	c.w.WriteHeader(http.StatusNotModified)
	return true
}

// describeGlobal is GET /sobjects (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_describeGlobal.htm).
func (c *call) describeGlobal() error {
	c.o.mu.RLock()
	var changed time.Time
	list := []map[string]any{}
	for _, x := range c.o.objects {
		if at := c.access.changedAt(x); at.After(changed) {
			changed = at
		}
		if c.access.seesObject(x) {
			list = append(list, c.summary(x))
		}
	}
	c.o.mu.RUnlock()
	if c.notModified(changed) {
		return nil
	}
	return c.sendJSON(http.StatusOK, map[string]any{"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": list})
}

// summary is what both describes say of an object.
func (c *call) summary(x *object) map[string]any {
	root := c.url("sobjects", x.name)
	return map[string]any{
		"activateable": false, "associateEntityType": nil, "associateParentEntity": nil, "createable": c.access.createable(x), "custom": x.custom, "customSetting": false, "deepCloneable": false, "deletable": c.access.deletable(x),
		"deprecatedAndHidden": false, "feedEnabled": x.createable, "hasSubtypes": false, "isInterface": false, "isSubtype": false, "keyPrefix": x.prefix, "label": x.label, "labelPlural": x.plural,
		"layoutable": x.createable, "mergeable": x.mergeable, "mruEnabled": x.createable, "name": x.name, "queryable": true, "replicateable": !x.noReplicate, "retrieveable": true, "searchable": x.createable,
		"triggerable": x.createable, "undeletable": x.undeletable, "updateable": c.access.updateable(x),
		"urls": map[string]string{"sobject": root, "describe": root + "/describe", "rowTemplate": root + "/{ID}"},
	}
}

// describe is GET /sobjects/X/describe (https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm).
func (c *call) describe(name string) error {
	c.o.mu.RLock()
	x := c.find(name)
	if x == nil {
		c.o.mu.RUnlock()
		return errNoResource
	}
	key := c.access.key(c.version, c.session.user)
	stamp, changed, body := x.changed, c.access.changedAt(x), x.describe[key]
	if body == nil {
		full := c.full(x)
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(full)
		body = bytes.TrimRight(b.Bytes(), "\n")
	}
	c.o.mu.RUnlock()
	c.o.mu.Lock()
	if x.changed.Equal(stamp) {
		if x.describe == nil {
			x.describe = map[string][]byte{}
		}
		x.describe[key] = body
	}
	c.o.mu.Unlock()
	if c.notModified(changed) {
		return nil
	}
	c.send(http.StatusOK, body)
	return nil
}

func (c *call) full(x *object) map[string]any {
	m := c.summary(x)
	fields := []map[string]any{}
	for _, f := range x.fields {
		if c.access.sees(f) {
			fields = append(fields, f.describe(c.access))
		}
	}
	children := []map[string]any{}
	for _, k := range x.children {
		if !c.access.seesObject(k.object) || !c.access.sees(k.field) {
			continue
		}
		var relationship any
		if k.field.ChildRelationship != "" {
			relationship = k.field.ChildRelationship
		}
		children = append(children, map[string]any{
			"cascadeDelete": k.field.OnDelete == "cascade", "childSObject": k.object.name, "deprecatedAndHidden": false, "field": k.field.Name, "junctionIdListNames": []string{}, "junctionReferenceTo": []string{},
			"relationshipName": relationship, "restrictedDelete": k.field.OnDelete == "restrict",
		})
	}
	for key, v := range map[string]any{
		"actionOverrides": []any{}, "childRelationships": children, "compactLayoutable": x.createable, "defaultImplementation": nil, "extendedBy": nil, "extendsInterfaces": nil, "fields": fields, "implementedBy": nil, "implementsInterfaces": nil,
		"listviewable": nil, "lookupLayoutable": nil, "namedLayoutInfos": []any{}, "networkScopeFieldName": nil, "searchLayoutable": x.createable, "sobjectDescribeOption": "FULL",
		"recordTypeInfos": []any{map[string]any{"active": true, "available": true, "defaultRecordTypeMapping": true, "developerName": "Master", "master": true, "name": "Master", "recordTypeId": "012000000000000AAA", "urls": map[string]string{"layout": c.url("sobjects", x.name, "describe/layouts/012000000000000AAA")}}},
		"supportedScopes": []any{map[string]any{"label": "All " + strings.ToLower(x.plural), "name": "everything"}, map[string]any{"label": "My " + strings.ToLower(x.plural), "name": "mine"}},
	} {
		m[key] = v
	}
	return m
}

var soapTypes = map[string]string{
	"id": "tns:ID", "reference": "tns:ID", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double", "currency": "xsd:double", "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime",
	"time": "xsd:time", "address": "urn:address", "location": "urn:location", "base64": "xsd:base64Binary",
}

// describe gives every attribute of a field.
func (f *field) describe(a *access) map[string]any {
	soap := soapTypes[f.Type]
	if soap == "" {
		soap = "xsd:string"
	}
	choices := []map[string]any{}
	for _, v := range f.Picklist {
		choices = append(choices, map[string]any{"active": true, "defaultValue": v == f.Default, "label": v, "validFor": nil, "value": v})
	}
	orNil := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	extra := any(nil)
	switch {
	case f.HTML:
		extra = "richtextarea"
	case f.Type == "textarea":
		extra = "plaintextarea"
	}
	var def any
	if f.Type == "boolean" {
		def = f.Default == true
	} else if f.Default != nil {
		def = fmt.Sprint(f.Default)
	}
	compound := any(nil)
	if f.Compound != "" {
		compound = f.Compound
	}
	precision := f.Precision
	references := f.ReferenceTo
	if references == nil {
		references = []string{}
	}
	personName := f.Name == "Name" && f.owner.byName["lastname"] != nil
	return map[string]any{
		"aggregatable": filterable(f) && f.Type != "boolean", "aiPredictionField": false, "autoNumber": f.AutoNumber, "byteLength": f.Length * 3, "calculated": f.derive != nil && (f.Formula != "" || f.rollup), "calculatedFormula": orNil(f.Formula),
		"cascadeDelete": f.OnDelete == "cascade" && f.custom, "caseSensitive": f.CaseSensitive, "compoundFieldName": compound, "controllerName": nil, "createable": a.creates(f), "custom": f.custom, "defaultValue": def,
		"defaultValueFormula": nil, "defaultedOnCreate": f.Default != nil || f.Type == "boolean" || f.NotNull || f.Type == "id", "dependentPicklist": false, "deprecatedAndHidden": false, "digits": f.Digits,
		"displayLocationInDecimal": f.Type == "location" || strings.HasSuffix(f.Name, "tude__s"), "encrypted": f.Type == "encryptedstring", "externalId": f.ExternalID, "extraTypeInfo": extra, "filterable": filterable(f), "filteredLookupInfo": nil,
		"formulaTreatNullNumberAsZero": false, "groupable": groupable(f) && filterable(f), "highScaleNumber": false, "htmlFormatted": f.HTML, "idLookup": f.IDLookup || f.Name == "Name" && !personName, "inlineHelpText": nil, "label": f.Label, "length": f.Length, "mask": nil,
		"maskType": nil, "name": f.Name, "nameField": f == f.owner.fName, "namePointing": len(f.ReferenceTo) > 1, "nillable": f.nillable(), "permissionable": f.nillable() && (f.createable() || f.custom), "picklistValues": choices,
		"polymorphicForeignKey": len(f.ReferenceTo) > 1, "precision": precision, "queryByDistance": f.Type == "location", "referenceTargetField": nil, "referenceTo": references, "relationshipName": orNil(f.RelationshipName),
		"relationshipOrder": nil, "restrictedDelete": f.OnDelete == "restrict", "restrictedPicklist": f.Restricted, "scale": f.Scale, "searchPrefilterable": f.Type == "reference", "soapType": soap, "sortable": sortable(f), "type": f.Type,
		"unique": f.Unique, "updateable": a.updates(f), "writeRequiresMasterRead": false,
	}
}

// etag is what Account rows carry.
func etag(r row, stamp int64) string {
	return `"` + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s%d", r.id(), stamp)) + `"`
}
