package simorg

import "strings"

// metadata is the reply to a query with columns=true, which Salesforce's own tools ask before they print a table: what the columns
// are, and no rows. It is not documented; this is its shape as those tools read it.
func (b *bound) metadata() map[string]any {
	columns := []map[string]any{}
	selected := false
	if b.grouped {
		for _, a := range b.cells[:b.shown] {
			display := a.name
			if a.fn != "" {
				display = a.fn + "()"
				if a.column != nil {
					display = a.fn + "(" + a.column.name + ")"
				}
			}
			m := columnOf(a.name, display, a.kind)
			m["aggregate"] = a.fn != ""
			columns = append(columns, m)
		}
	} else {
		for _, n := range b.out {
			selected = selected || n.name == "Id"
			columns = append(columns, n.metadata())
		}
	}
	return map[string]any{"columnMetadata": columns, "entityName": b.object.name, "groupBy": len(b.groups) > 0, "idSelected": selected, "keyPrefix": b.object.prefix}
}

func (n *node) metadata() map[string]any {
	switch {
	case n.parent != nil:
		m := columnOf(n.name, n.name, "reference")
		joined := []map[string]any{}
		for _, k := range n.kids {
			joined = append(joined, k.metadata())
		}
		m["joinColumns"], m["foreignKeyName"] = joined, n.parent.Name
		return m
	case n.children != nil:
		m := columnOf(n.name, n.name, "")
		joined := []map[string]any{}
		for _, k := range n.children.out {
			joined = append(joined, k.metadata())
		}
		m["aggregate"], m["joinColumns"] = true, joined
		return m
	}
	m := columnOf(n.name, n.name, n.column.kind)
	if f := n.column.f; f != nil {
		m["displayName"], m["custom"], m["insertable"], m["updatable"] = f.Label, f.custom, f.createable(), f.updateable()
	}
	return m
}

var apexTypes = map[string]string{"id": "Id", "reference": "Id", "boolean": "Boolean", "int": "Integer", "double": "Double", "currency": "Double", "percent": "Double", "date": "Date", "datetime": "Datetime", "time": "Time"}

func columnOf(name, display, kind string) map[string]any {
	apex := apexTypes[kind]
	if apex == "" {
		apex = "String"
	}
	number := strings.Contains("Integer Double", apex)
	return map[string]any{
		"aggregate": false, "apexType": apex, "booleanType": apex == "Boolean", "columnName": name, "custom": false, "displayName": display, "foreignKeyName": nil, "insertable": false, "joinColumns": []any{}, "numberType": number,
		"textType": !number && apex != "Boolean", "updatable": false,
	}
}
