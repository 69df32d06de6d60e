package simorg

import (
	"strings"
	"time"
	"unicode"
)

// FieldSpec says what one field is. One table of them drives describe, SOQL and validation.
type FieldSpec struct {
	Name  string
	Label string // empty: made from the name
	// Type is describe's: string, textarea, picklist, multipicklist, combobox, boolean, int, double, currency, percent, date,
	// datetime, time, email, phone, url, reference, id, address, location, base64, encryptedstring.
	Type      string
	Length    int // characters
	Precision int // decimal digits in all, of double, currency and percent
	Scale     int // decimal digits after the point
	Digits    int // decimal digits of int

	Required   bool // must be given at creation, and never null
	NotNull    bool // never null, because the org fills it
	ReadOnly   bool // neither createable nor updateable
	CreateOnly bool // createable and not updateable
	Unique     bool
	ExternalID bool
	IDLookup   bool
	// CaseSensitive text compares exactly.
	CaseSensitive bool
	AutoNumber    bool

	ReferenceTo       []string
	RelationshipName  string
	ChildRelationship string // the name on the parent's side
	OnDelete          string // what a parent's deletion does: "clear" (the default), "cascade", "restrict"

	Picklist   []string
	Restricted bool // values outside Picklist are refused
	Default    any  // at creation
	Compound   string
	Formula    string // for show: describe's calculatedFormula
	HTML       bool
	// PathFormula, of a field that is added to a running org, makes it a formula field that shows what is at the end of this path:
	// Account.Name, or the name of a field of the same object.
	PathFormula string
}

// field is a field at work.
type field struct {
	FieldSpec
	owner   *object
	pos     int // place in a version's cells
	salt    uint64
	isID    bool
	rollup  bool // derive sums up other rows: describe says calculated, and no formula
	custom  bool
	hidden  bool
	removed bool
	// gen computes the cell of a row that nobody touched. It must depend on nothing but the seed, the sizes and the index.
	gen func(v *view, f *field, i uint32) value
	// derive computes the cell of any row from its other cells, or from other rows, each time it is read.
	derive func(v *view, r row) value
	// invert finds the untouched row whose computed value is s, so that unique values need no index.
	invert func(v *view, s string) (uint32, bool)
	fill   value  // of rows older than the field
	was    *field // what the field was before it was given another type: rows saved then have their value there
}

func (f *field) visible() bool { return !f.hidden && !f.removed }

// isCompound tells whether the value is put together from its parts when it is read.
func (f *field) isCompound() bool { return f.Type == "address" || f.Type == "location" }

// longText fields can't be filtered, sorted or grouped.
func (f *field) longText() bool { return f.Type == "textarea" && f.Length > 255 }

func (f *field) createable() bool {
	return !f.ReadOnly && f.derive == nil && !f.isCompound() && f.Type != "id" && !f.AutoNumber
}
func (f *field) updateable() bool { return f.createable() && !f.CreateOnly }
func (f *field) nillable() bool {
	return !f.Required && !f.NotNull && f.Type != "boolean" && f.Type != "id"
}

// childLink is one field of another object that points here.
type childLink struct {
	object *object
	field  *field
	target int // the place in ReferenceTo
}

// object is one sObject type.
type object struct {
	name, label, plural, prefix                                            string
	custom                                                                 bool
	createable, updateable, deletable, undeletable, mergeable, noReplicate bool
	noBulk                                                                 bool
	noDelete                                                               bool // no IsDeleted: nothing is ever deleted
	noAudit                                                                bool // no CreatedById and the like: setup tables
	fields                                                                 []*field
	byName                                                                 map[string]*field
	children                                                               []childLink
	hidden                                                                 bool
	numbered                                                               string    // what the numbers of its AutoNumber field begin with
	changed                                                                time.Time // when the metadata changed last
	describe                                                               map[string][]byte

	size    func(s *sizes) int
	deleted func(v *view, i uint32) bool // of untouched rows
	// fixed cells that many rules ask for
	fID, fIsDeleted, fCreatedDate, fCreatedBy, fModifiedDate, fModifiedBy, fStamp, fMaster, fName, fOwner, fArchived, fFirst, fLast *field
	rules                                                                                                                           rules
}

// rules are what an object's saves do beyond what the table of fields says.
type rules struct {
	// check looks at a row about to be saved; old is nil at creation.
	check func(tx *Tx, r *draft) *rowError
	// after runs when the row is saved, in the same transaction.
	after func(tx *Tx, r *draft)
	// deleted runs when the row is deleted, in the same transaction, and undeleted when it comes back.
	deleted, undeleted func(tx *Tx, r row)
}

func (o *object) field(name string) *field {
	if f := o.byName[strings.ToLower(name)]; f != nil && f.visible() {
		return f
	}
	return nil
}

func (o *object) visible() bool { return !o.hidden }

// define makes an object from its own fields; the system fields are added here.
func define(o *object, fields ...*field) *object {
	own := fields
	id := &field{FieldSpec: FieldSpec{Name: "Id", Label: o.label + " ID", Type: "id", Length: 18, NotNull: true, ReadOnly: true, IDLookup: true}}
	fields = []*field{id}
	if !o.noDelete {
		fields = append(fields, flag("IsDeleted").label("Deleted").ro().with(func(v *view, f *field, i uint32) value {
			return boolOf(f.owner.deleted != nil && f.owner.deleted(v, i))
		}))
	}
	if o.mergeable {
		fields = append(fields, ref("MasterRecordId", "MasterRecord", o.name).ro())
	}
	fields = append(fields, own...)
	if !o.noAudit {
		fields = append(fields,
			when("CreatedDate").ro().notNull().with(func(v *view, f *field, i uint32) value { return stampSeconds(v.createdAt(f.owner, i)) }),
			ref("CreatedById", "CreatedBy", "User").label("Created By ID").ro().notNull().with(func(v *view, f *field, i uint32) value { return v.someUser(f, i) }),
			when("LastModifiedDate").ro().notNull().with(func(v *view, f *field, i uint32) value { return stampSeconds(v.modifiedAt(f.owner, i)) }),
			ref("LastModifiedById", "LastModifiedBy", "User").label("Last Modified By ID").ro().notNull().with(func(v *view, f *field, i uint32) value { return v.someUser(f, i) }),
			when("SystemModstamp").label("System Modstamp").ro().notNull().with(func(v *view, f *field, i uint32) value { return stampSeconds(v.stampAt(f.owner, i)) }),
		)
	} else {
		fields = append(fields, when("SystemModstamp").label("System Modstamp").ro().notNull().with(func(v *view, f *field, i uint32) value { return stampSeconds(v.stampAt(f.owner, i)) }))
	}
	o.byName = map[string]*field{}
	for _, f := range fields {
		o.add(f)
	}
	o.fID = id
	o.fIsDeleted, o.fCreatedDate, o.fCreatedBy = o.byName["isdeleted"], o.byName["createddate"], o.byName["createdbyid"]
	o.fModifiedDate, o.fModifiedBy, o.fStamp = o.byName["lastmodifieddate"], o.byName["lastmodifiedbyid"], o.byName["systemmodstamp"]
	o.fMaster, o.fOwner, o.fArchived = o.byName["masterrecordid"], o.byName["ownerid"], o.byName["isarchived"]
	o.fFirst, o.fLast = o.byName["firstname"], o.byName["lastname"]
	for _, name := range []string{"name", "casenumber", "subject", "label", "masterlabel"} {
		if o.fName = o.byName[name]; o.fName != nil {
			break
		}
	}
	return o
}

func (o *object) add(f *field) {
	f.owner = o
	f.pos = len(o.fields)
	f.salt = saltOf(o.name + "." + f.Name)
	f.isID = f.Type == "id"
	f.custom = strings.HasSuffix(f.Name, "__c") || strings.HasSuffix(f.Name, "__s")
	if f.Label == "" {
		f.Label = labelOf(f.Name)
	}
	if f.Type == "boolean" {
		f.fill = boolOf(false)
		if f.Default == true {
			f.fill = boolOf(true)
		}
	}
	// A new slice each time: readers that hold the old one are not disturbed.
	o.fields = append(o.fields[:len(o.fields):len(o.fields)], f)
	o.byName[strings.ToLower(f.Name)] = f
}

// labelOf makes "Number Of Employees" of NumberOfEmployees, and "Account ID" of AccountId.
func labelOf(name string) string {
	name = strings.TrimSuffix(strings.TrimSuffix(name, "__c"), "__s")
	var b strings.Builder
	last := ' '
	for _, r := range strings.ReplaceAll(name, "_", " ") {
		if unicode.IsUpper(r) && unicode.IsLower(last) {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		last = r
	}
	s := b.String()
	if strings.HasSuffix(s, " Id") {
		s = s[:len(s)-1] + "D"
	}
	return s
}

// The builders below keep the table of fields readable: one line a field.

func str(name string, length int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "string", Length: length}}
}

func area(name string, length int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "textarea", Length: length}}
}

func pick(name string, values ...string) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "picklist", Length: 255, Picklist: values}}
}

func combo(name string, values ...string) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "combobox", Length: 255, Picklist: values}}
}

func multi(name string, values ...string) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "multipicklist", Length: 4099, Picklist: values}}
}

func flag(name string) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "boolean"}}
}

func count(name string, digits int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "int", Digits: digits}}
}

func number(name string, precision, scale int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "double", Precision: precision, Scale: scale}}
}

func money(name string, precision, scale int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "currency", Precision: precision, Scale: scale}}
}

func percent(name string, precision, scale int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "percent", Precision: precision, Scale: scale}}
}

func day(name string) *field  { return &field{FieldSpec: FieldSpec{Name: name, Type: "date"}} }
func when(name string) *field { return &field{FieldSpec: FieldSpec{Name: name, Type: "datetime"}} }

func phone(name string) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "phone", Length: 40}}
}

func email(name string, length int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "email", Length: length, IDLookup: true}}
}

func link(name string, length int) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "url", Length: length}}
}

func ref(name, relationship string, to ...string) *field {
	return &field{FieldSpec: FieldSpec{Name: name, Type: "reference", Length: 18, ReferenceTo: to, RelationshipName: relationship}}
}

func typed(name, kind string) *field { return &field{FieldSpec: FieldSpec{Name: name, Type: kind}} }

func (f *field) label(s string) *field { f.Label = s; return f }
func (f *field) req() *field           { f.Required = true; return f }
func (f *field) notNull() *field       { f.NotNull = true; return f }
func (f *field) ro() *field            { f.ReadOnly = true; return f }
func (f *field) createOnly() *field    { f.CreateOnly = true; return f }
func (f *field) restricted() *field    { f.Restricted = true; return f }
func (f *field) def(v any) *field      { f.Default = v; return f }
func (f *field) part(of string) *field { f.Compound = of; return f }
func (f *field) child(s string) *field { f.ChildRelationship = s; return f }
func (f *field) cascade() *field       { f.OnDelete = "cascade"; return f }

// external makes the field an external id: unique, and good for upsert.
func (f *field) external() *field {
	f.ExternalID, f.Unique, f.IDLookup = true, true, true
	return f
}

func (f *field) with(gen func(v *view, f *field, i uint32) value) *field { f.gen = gen; return f }

func (f *field) derived(d func(v *view, r row) value) *field {
	f.derive, f.ReadOnly = d, true
	return f
}
