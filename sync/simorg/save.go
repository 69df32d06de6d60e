package simorg

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

func lower(s string) string { return strings.ToLower(s) }

// draft is a row about to be saved.
type draft struct {
	t       *table
	i       uint32
	old     row // as it was; of no use at creation
	create  bool
	cells   []value
	changed map[*field]bool
	given   assignments
}

func (d *draft) row() row { return row{d.t, d.i, &version{cells: d.cells}} }

func (d *draft) cell(name string) value { return d.cells[d.t.object.byName[name].pos] }

func (d *draft) set(name string, c value) {
	f := d.t.object.byName[name]
	if !d.cells[f.pos].equal(c) {
		d.changed[f] = true
	}
	d.cells[f.pos] = c
}

func (d *draft) has(name string) bool { return d.changed[d.t.object.byName[name]] }

func (d *draft) touches(names []string) bool { return slices.ContainsFunc(names, d.has) }

// assign checks one field of a request and converts its value.
func (tx *Tx) setField(x *object, cells assignments, name string, v any) *rowError {
	f := tx.access.field(x, name)
	if f == nil {
		if parent, ok := v.(map[string]any); ok {
			return tx.assignByKey(x, cells, name, parent)
		}
		return refuse("INVALID_FIELD", fmt.Sprintf("No such column '%s' on sobject of type %s", name, x.name))
	}
	c, err := convert(f, v)
	if err != nil {
		return err
	}
	cells[f] = c
	return nil
}

// assignByKey sets a reference by an external id of its target: "Account":{"External_Key__c":"A-1"}.
func (tx *Tx) assignByKey(x *object, cells assignments, relationship string, key map[string]any) *rowError {
	for _, f := range x.fields {
		if f.Type != "reference" || !tx.access.sees(f) || !strings.EqualFold(f.RelationshipName, relationship) {
			continue
		}
		for name, raw := range key {
			if lower(name) == "attributes" {
				continue
			}
			for _, to := range f.ReferenceTo {
				target := tx.access.object(tx.org, to)
				if target == nil {
					continue
				}
				k := tx.access.field(target, name)
				if k == nil || !k.IDLookup {
					continue
				}
				rows := tx.view().byKey(k, fmt.Sprint(raw))
				if len(rows) != 1 {
					continue
				}
				cells[f] = textOf(rows[0].id())
				return nil
			}
			return refuse("INVALID_FIELD", fmt.Sprintf("Foreign key external ID: %v not found for field %s in entity %s", raw, name, f.ReferenceTo[0]))
		}
	}
	return refuse("INVALID_FIELD", fmt.Sprintf("No such column '%s' on sobject of type %s", relationship, x.name))
}

// byKey gives the live rows with this value of an external id or of another field that rows can be found by.
func (v *view) byKey(k *field, s string) (rows []row) {
	if k.Type == "id" {
		if r, ok := v.seen(s); ok && r.t.object == k.owner && !v.deleted(r) {
			rows = append(rows, r)
		}
		return rows
	}
	if k.Unique {
		for _, r := range v.having(k, s) {
			if !v.deleted(r) {
				rows = append(rows, r)
			}
		}
		return rows
	}
	v.each(v.org.tables[k.owner.name], false, func(r row) bool {
		v.reset()
		if c := v.get(r, k); c.k == text && strings.EqualFold(c.s, s) && !v.deleted(r) {
			rows = append(rows, r)
		}
		return len(rows) < 10
	})
	return rows
}

// convert takes a value as JSON decodes it (numbers as json.Number), as CSV has it (text), or one of Go's own.
func convert(f *field, v any) (value, *rowError) {
	bad := func() *rowError {
		kind := "VALUE_STRING"
		switch v.(type) {
		case json.Number, int, int64, float64:
			kind = "VALUE_NUMBER_INT"
		case bool:
			kind = "VALUE_BOOLEAN"
		}
		return refuse("JSON_PARSER_ERROR", fmt.Sprintf("Cannot deserialize instance of %s from %s value %v or request may be missing a required field", f.Type, kind, v))
	}
	switch x := v.(type) {
	case nil:
		return f.fill, nil
	case int:
		v = json.Number(fmt.Sprint(x))
	case int64:
		v = json.Number(fmt.Sprint(x))
	case float64:
		v = json.Number(fmt.Sprint(x))
	case time.Time:
		v = x.UTC().Format(time.RFC3339Nano)
	case map[string]any, []any:
		return value{}, bad()
	}
	if s, ok := v.(string); ok && s == "" {
		return f.fill, nil
	}
	switch f.Type {
	case "boolean":
		switch x := v.(type) {
		case bool:
			return boolOf(x), nil
		case string:
			switch lower(x) {
			case "true", "1":
				return boolOf(true), nil
			case "false", "0":
				return boolOf(false), nil
			}
		}
		return value{}, bad()
	case "int", "double", "currency", "percent":
		var s string
		switch x := v.(type) {
		case json.Number:
			s = x.String()
		case string:
			s = strings.TrimSpace(x)
		default:
			return value{}, bad()
		}
		c, ok := parseNumber(s, false)
		if !ok {
			if _, err := json.Number(s).Float64(); err == nil {
				return value{}, outsideRange(f, s)
			}
			return value{}, bad()
		}
		if f.Type == "int" {
			c = c.rounded(0)
			if abs(c.n) >= pow10[min(max(f.Digits, 1), 10)] || c.scale != 0 {
				return value{}, outsideRange(f, s)
			}
			return intOf(c.n), nil
		}
		c = c.rounded(f.Scale)
		if whole := f.Precision - f.Scale; whole < 18 && abs(c.n)/pow10[c.scale] >= pow10[whole] {
			return value{}, outsideRange(f, s)
		}
		return c, nil
	case "date":
		if s, ok := v.(string); ok {
			if d, ok := parseDay(s); ok {
				return dateOf(d), nil
			}
			if ms, ok := parseStamp(s); ok {
				return dateOf(floorDiv(ms, 86_400_000)), nil
			}
		}
		return value{}, bad()
	case "datetime":
		if s, ok := v.(string); ok {
			if ms, ok := parseStamp(s); ok {
				return value{k: stamp, n: ms - ms%1000}, nil
			}
			if d, ok := parseDay(s); ok {
				return value{k: stamp, n: d * 86_400_000}, nil
			}
		}
		return value{}, bad()
	case "time":
		if s, ok := v.(string); ok {
			if ms, ok := parseClock(s); ok {
				return value{k: clock, n: ms}, nil
			}
		}
		return value{}, bad()
	case "reference", "id":
		s, ok := v.(string)
		if !ok {
			return value{}, bad()
		}
		if !isID(s) {
			return value{}, refuse("MALFORMED_ID", f.Label+": id value of incorrect type: "+s, f.Name)
		}
		return textOf(to18(s)), nil
	}
	switch x := v.(type) {
	case string:
		return textOf(x), nil
	case json.Number:
		return textOf(x.String()), nil
	case bool:
		return textOf(fmt.Sprint(x)), nil
	}
	return value{}, bad()
}

func outsideRange(f *field, s string) *rowError {
	return refuse("NUMBER_OUTSIDE_VALID_RANGE", f.Label+": value outside of valid range on numeric field: "+s, f.Name)
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

// units counts as Salesforce does: UTF-16 units.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// check holds one cell against what the table of fields says.
func (tx *Tx) check(f *field, c value) *rowError {
	if c.isNull() {
		return nil
	}
	switch f.Type {
	case "string", "textarea", "phone", "url", "email", "combobox", "encryptedstring", "picklist", "multipicklist":
		if f.Length > 0 && units(c.s) > f.Length {
			return refuse("STRING_TOO_LONG", fmt.Sprintf("%s: data value too large: %s (max length=%d)", f.Label, cutRunes(c.s, 255), f.Length), f.Name)
		}
	}
	switch f.Type {
	case "email":
		if !validEmail(c.s) {
			return refuse("INVALID_EMAIL_ADDRESS", f.Label+": invalid email address: "+c.s, f.Name)
		}
	case "picklist", "multipicklist":
		if !f.Restricted {
			break
		}
		for _, choice := range strings.Split(c.s, ";") {
			if !slices.Contains(f.Picklist, choice) {
				return refuse("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", f.Label+": bad value for restricted picklist field: "+choice, f.Name)
			}
		}
	case "reference":
		return tx.checkReference(f, c)
	}
	return nil
}

func (tx *Tx) checkReference(f *field, c value) *rowError {
	target := tx.org.prefixes[c.s[:3]]
	if target == nil || !slices.Contains(f.ReferenceTo, target.object.name) {
		return refuse("MALFORMED_ID", f.Label+": id value of incorrect type: "+c.s, f.Name)
	}
	v := tx.view()
	r, ok := v.find(c.s)
	if !ok {
		return refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", f.Name)
	}
	if v.deleted(r) {
		return &rowError{code: "ENTITY_IS_DELETED", message: "entity is deleted"}
	}
	if f == f.owner.fOwner {
		switch target.object.name {
		case "User":
			if !v.named(r, "IsActive").isTrue() {
				return refuse("INACTIVE_OWNER_OR_USER", "operation performed with inactive user ["+c.s+"] as owner "+lower(f.owner.name), f.Name)
			}
		case "Group":
			if v.named(r, "Type").s != "Queue" {
				return refuse("INVALID_CROSS_REFERENCE_KEY", "Owner ID: owner cannot be blank", f.Name)
			}
		}
	}
	return nil
}

func validEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || strings.ContainsAny(s, " \t\r\n\",;:<>()[]\\") {
		return false
	}
	domain := s[at+1:]
	dot := strings.LastIndexByte(domain, '.')
	return dot > 0 && dot < len(domain)-1 && !strings.Contains(domain, "..") && !strings.Contains(s[:at], "@")
}

// create saves a new row and gives its id.
func (tx *Tx) create(x *object, given assignments) (string, *rowError) {
	t := tx.org.tables[x.name]
	d := &draft{t: t, i: t.next, create: true, cells: make([]value, len(x.fields)), changed: map[*field]bool{}, given: given}
	for _, f := range x.fields {
		d.cells[f.pos] = f.fill
		if f.Default != nil && f.Type != "boolean" {
			d.cells[f.pos], _ = convert(f, f.Default)
		}
	}
	if f := x.fOwner; f != nil && f.createable() {
		d.cells[f.pos] = textOf(tx.user)
	}
	if tx.assign != nil && x.name == "Lead" {
		given = tx.assign(given)
		d.given = given
	}
	if f := x.fName; f != nil && f.AutoNumber {
		d.cells[f.pos] = textOf(autoNumber(tx.view(), x.numbered, d.i)).clone()
	}
	if err := tx.fill(d, tx.access.creates); err != nil {
		return "", err
	}
	if err := tx.saveFault("create", x, row{t: t, i: d.i}.id(), given); err != nil {
		return "", err
	}
	now := stampOf(tx.org.nowSecond())
	for _, f := range []*field{x.fCreatedDate, x.fModifiedDate, x.fStamp} {
		if f != nil {
			d.cells[f.pos] = now
		}
	}
	for _, f := range []*field{x.fCreatedBy, x.fModifiedBy} {
		if f != nil {
			d.cells[f.pos] = textOf(tx.user)
		}
	}
	t.next++
	if err := tx.store(t, d.i, &version{cells: d.cells}); err != nil {
		return "", err
	}
	if x.rules.after != nil {
		tx.asSystem(func() { x.rules.after(tx, d) })
	}
	return row{t: t, i: d.i}.id(), nil
}

// update saves the assigned cells of a row. Saving what is there already still moves the stamps, as Salesforce does.
func (tx *Tx) update(r row, given assignments) *rowError {
	v := tx.view()
	if v.deleted(r) {
		return &rowError{code: "ENTITY_IS_DELETED", message: "entity is deleted", status: 404}
	}
	x := r.t.object
	if tx.assign != nil && x.name == "Lead" {
		given = tx.assign(given)
	}
	d := &draft{t: r.t, i: r.i, old: r, cells: v.cells(r), changed: map[*field]bool{}, given: given}
	if err := tx.fill(d, tx.access.updates); err != nil {
		return err
	}
	if err := tx.saveFault("update", x, r.id(), given); err != nil {
		return err
	}
	now := stampOf(tx.org.nowSecond())
	for _, f := range []*field{x.fModifiedDate, x.fStamp} {
		if f != nil {
			d.cells[f.pos] = now
		}
	}
	if f := x.fModifiedBy; f != nil {
		d.cells[f.pos] = textOf(tx.user)
	}
	if err := tx.store(r.t, r.i, &version{cells: d.cells}); err != nil {
		return err
	}
	if x.rules.after != nil {
		tx.asSystem(func() { x.rules.after(tx, d) })
	}
	return nil
}

// fill puts the given cells into the draft after every check.
func (tx *Tx) fill(d *draft, writable func(f *field) bool) *rowError {
	x := d.t.object
	var refused []string
	for _, f := range x.fields {
		if _, ok := d.given[f]; ok && !writable(f) {
			refused = append(refused, f.Name)
		}
	}
	if len(refused) > 0 {
		return refuse("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: "+strings.Join(refused, ", ")+". Please check the security settings of this field and verify that it is read/write for your profile or permission set.", refused...)
	}
	for _, f := range x.fields {
		c, ok := d.given[f]
		if !ok {
			continue
		}
		if !d.create && d.cells[f.pos].equal(c) {
			continue
		}
		if err := tx.check(f, c); err != nil {
			return err
		}
		d.cells[f.pos] = c
		d.changed[f] = true
	}
	var missing []string
	for _, f := range x.fields {
		if _, given := d.given[f]; f.visible() && f.derive == nil && f.Type != "id" && d.cells[f.pos].isNull() && (f.Required && (d.create || given) || f.NotNull && given) {
			missing = append(missing, f.Name)
		}
	}
	if len(missing) > 0 {
		return refuse("REQUIRED_FIELD_MISSING", "Required fields are missing: ["+strings.Join(missing, ", ")+"]", missing...)
	}
	v := tx.view()
	for _, f := range x.fields {
		if !f.Unique || !d.changed[f] || d.cells[f.pos].isNull() {
			continue
		}
		for _, other := range v.having(f, d.cells[f.pos].s) {
			if other.i != d.i && !v.deleted(other) {
				return refuse("DUPLICATE_VALUE", "duplicate value found: "+f.Name+" duplicates value on record with id: "+other.id()[:15], f.Name)
			}
		}
	}
	if x.rules.check != nil {
		if err := x.rules.check(tx, d); err != nil {
			return err
		}
	}
	if err := tx.validate(d); err != nil {
		return err
	}
	return tx.duplicate(d)
}

// touch changes cells that the system keeps, and moves SystemModstamp alone: no person modified the row.
func (tx *Tx) touch(r row, set func(v *view, cells []value)) {
	v := tx.view()
	cells := v.cells(r)
	if set != nil {
		set(v, cells)
	}
	cells[r.t.object.fStamp.pos] = stampOf(tx.org.nowSecond())
	// A row that another transaction holds is left as it is: the system's own touches do not fail a save.
	_ = tx.store(r.t, r.i, &version{cells: cells})
}

// delete puts rows into the recycle bin, and what hangs from them.
func (tx *Tx) delete(rows []row) *rowError {
	v := tx.view()
	for _, r := range rows {
		if v.deleted(r) {
			return &rowError{code: "ENTITY_IS_DELETED", message: "entity is deleted", status: 404}
		}
		if !tx.access.deletable(r.t.object) {
			return refuse("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
		}
		if err := tx.saveFault("delete", r.t.object, r.id(), nil); err != nil {
			return err
		}
		// Restricted children stop the deletion before anything is changed.
		for _, link := range r.t.object.children {
			if link.field.OnDelete != "restrict" {
				continue
			}
			for _, kid := range v.having(link.field, r.id()) {
				if !v.deleted(kid) {
					return refuse("DELETE_FAILED", "Your attempt to delete "+r.id()+" could not be completed because it is associated with the following "+lower(link.object.plural))
				}
			}
		}
	}
	for _, r := range rows {
		if err := tx.deleteOne(r); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) deleteOne(r row) *rowError {
	v := tx.view()
	if r, ok := v.at(r.t, r.i); !ok || v.deleted(r) {
		return nil
	}
	x := r.t.object
	id := r.id()
	if err := tx.lock(rowKey{r.t, r.i}); err != nil {
		return err
	}
	for _, link := range x.children {
		if link.field.derive != nil {
			continue
		}
		for _, kid := range v.having(link.field, id) {
			if v.deleted(kid) {
				continue
			}
			switch {
			case link.field.OnDelete == "cascade":
				if err := tx.deleteOne(kid); err != nil {
					return err
				}
			case link.field.ReadOnly || link.field.Required:
				// Links that only the system sets (AccountId of a task, ConvertedContactId) stay, as do required ones.
			default:
				tx.touch(kid, func(_ *view, cells []value) { cells[link.field.pos] = value{} })
			}
		}
	}
	r, _ = v.at(r.t, r.i)
	if x.rules.deleted != nil {
		x.rules.deleted(tx, r)
	}
	r, _ = v.at(r.t, r.i)
	cells := v.cells(r)
	now := stampOf(tx.org.nowSecond())
	cells[x.fIsDeleted.pos] = boolOf(true)
	cells[x.fStamp.pos] = now
	if x.fModifiedDate != nil {
		cells[x.fModifiedDate.pos], cells[x.fModifiedBy.pos] = now, textOf(tx.user)
	}
	return tx.store(r.t, r.i, &version{cells: cells})
}
