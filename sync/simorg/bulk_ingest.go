package simorg

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// upload is the data of an ingest job, and what became of its rows.
type upload struct {
	externalID        *field
	data              []byte
	header            []string
	succeeded, failed []ingested
	unprocessed       [][]string
}

// ingested is a row that was tried.
type ingested struct {
	cells   []string
	id      string
	created bool
	err     *rowError
}

// Salesforce takes 150 MB after base64, which is 100 MB before, and works on 10,000 rows at a time.
const (
	uploadMax = 100 << 20
	chunkRows = 10_000
)

// createIngest is POST /jobs/ingest (https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/create_job.htm).
func (c *call) createIngest() error {
	var q jobRequest
	if p := c.read(&q); p != nil {
		return p
	}
	j, err := c.newJob(q)
	if err != nil {
		return err
	}
	c.o.mu.RLock()
	x := c.find(q.Object)
	c.o.mu.RUnlock()
	invalid := func(text string) error { return fail(http.StatusBadRequest, "INVALIDJOB", text) }
	if x == nil {
		return fail(http.StatusBadRequest, "INVALIDENTITY", "Entity '"+q.Object+"' is not supported by the Bulk API.")
	}
	a := c.access
	can := map[string]bool{"insert": a.createable(x), "update": a.updateable(x), "upsert": a.createable(x) && a.updateable(x), "delete": a.deletable(x), "hardDelete": a.deletable(x)}
	ok, known := can[q.Operation]
	switch {
	case !known:
		return invalid("operation " + q.Operation + " is not supported")
	case !ok || x.noBulk:
		return fail(http.StatusBadRequest, "INVALIDENTITY", "Entity '"+x.name+"' does not support "+q.Operation)
	}
	j.ingest, j.object, j.state = true, x.name, jobOpen
	var rule string
	j.assign = json.Unmarshal(q.Rule, &rule) == nil && rule != ""
	j.upload = &upload{}
	if q.Operation == "upsert" {
		f := a.field(x, q.ExternalID)
		if f == nil || !f.ExternalID && f.Type != "id" {
			return fail(http.StatusBadRequest, "INVALIDJOB", "InvalidJob : External ID was blank for "+x.name+". An External ID must be specified for upsert.")
		}
		j.upload.externalID = f
	}
	c.o.jobs.add(j)
	m := c.jobJSON(j)
	m["contentUrl"] = strings.TrimPrefix(c.url("jobs/ingest", j.id(), "batches"), "/")
	if j.upload.externalID != nil {
		m["externalIdFieldName"] = j.upload.externalID.Name
	}
	j.upload = &upload{externalID: j.upload.externalID}
	return c.sendJSON(http.StatusOK, m)
}

func (c *call) uploadBatch(j *job) error {
	data, err := io.ReadAll(http.MaxBytesReader(nil, c.r.Body, uploadMax))
	if err != nil {
		return fail(http.StatusRequestEntityTooLarge, "CLIENTINPUTERROR", "the data is larger than 100 MB")
	}
	s := &c.o.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.state != jobOpen || j.upload.data != nil {
		return fail(http.StatusBadRequest, "INVALIDJOBSTATE", "data can be uploaded once, while the job is Open")
	}
	j.upload.data = data
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// ingest does the work of a job whose time has come; of one that is to break, only so many rows. The lock of the jobs is held.
func (o *Org) ingest(j *job, most int) {
	u := j.upload
	j.state = jobComplete
	failed := func(text string) { j.state, j.message = jobFailed, text }
	data := bytes.TrimPrefix(u.data, []byte("\ufeff"))
	ending := "LF"
	if j.crlf {
		ending = "CRLF"
	}
	if line := firstLine(data); strings.HasSuffix(line, "\r") != j.crlf {
		failed("ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is " + ending)
		return
	}
	r := &csvReader{data, j.delimiter, j.crlf}
	var err error
	if u.header, err = r.row(); err != nil {
		failed("InvalidBatch : The 'header row' is missing or malformed")
		return
	}
	o.mu.RLock()
	x := o.byName[lower(j.object)]
	bad := badColumn(o.accessOf(j.user), x, j, u.header)
	o.mu.RUnlock()
	if bad != "" {
		failed("InvalidBatch : Field name not found : " + bad)
		return
	}
	for {
		var chunk [][]string
		for len(chunk) < chunkRows {
			cells, err := r.row()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				// A space beside a quote, or a quote in the middle: the row fails, the others do not.
				for len(cells) < len(u.header) {
					cells = append(cells, "")
				}
				u.failed = append(u.failed, ingested{cells: cells, err: refuse("INVALID_CSV", err.Error())})
				continue
			}
			chunk = append(chunk, cells)
		}
		if len(chunk) == 0 {
			break
		}
		if most >= 0 {
			n := min(most, len(chunk))
			u.unprocessed = append(u.unprocessed, chunk[n:]...)
			chunk, most = chunk[:n], most-n
		}
		if err := o.ingestChunk(j, x, chunk); err != nil {
			failed("InternalServerError : " + err.Error())
			return
		}
	}
	u.data = nil
	// Results come in another order than the upload's: clients must not match by position.
	shuffle(u.succeeded, j.number)
	shuffle(u.failed, j.number)
}

func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return string(line)
}

func shuffle(rows []ingested, seed uint64) {
	v := view{seed: seed}
	for i := len(rows) - 1; i > 0; i-- {
		k := int(v.h(saltOf("shuffle"), uint32(i)) % uint64(i+1))
		rows[i], rows[k] = rows[k], rows[i]
	}
}

// badColumn gives the first column that the object does not have.
func badColumn(a *access, x *object, j *job, header []string) string {
	for _, h := range header {
		if strings.Contains(h, ".") {
			relationship, _, _ := strings.Cut(h[strings.LastIndexByte(h, ':')+1:], ".")
			if a.relationship(x, relationship) == nil {
				return h
			}
			continue
		}
		if a.field(x, h) == nil {
			return h
		}
	}
	if (j.operation == "delete" || j.operation == "hardDelete") && (len(header) != 1 || !strings.EqualFold(header[0], "Id")) {
		return header[len(header)-1]
	}
	return ""
}

// ingestChunk saves up to 10,000 rows in one transaction; rows that are refused leave the others alone.
func (o *Org) ingestChunk(j *job, x *object, chunk [][]string) error {
	u := j.upload
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.do(j.user, func(tx *Tx) error {
		tx.access = o.accessOf(j.user)
		if j.assign {
			tx.assign = o.assigner()
		}
		for _, cells := range chunk {
			n := ingested{cells: cells}
			if len(cells) != len(u.header) {
				n.err = refuse("INVALID_CSV", "the row has "+strconv.Itoa(len(cells))+" columns and the header "+strconv.Itoa(len(u.header)))
			} else {
				n.err = tx.attempt(func() (bad *rowError) {
					n.id, n.created, bad = tx.ingestRow(j, x, cells)
					return bad
				})
			}
			if n.err != nil {
				u.failed = append(u.failed, n)
			} else {
				u.succeeded = append(u.succeeded, n)
			}
		}
		return nil
	})
}

func (tx *Tx) ingestRow(j *job, x *object, cells []string) (id string, created bool, err *rowError) {
	given := assignments{}
	key := ""
	for k, h := range j.upload.header {
		s := cells[k]
		switch {
		case strings.EqualFold(h, "Id") && j.upload.externalID != nil && j.upload.externalID.Type != "id":
			continue
		case strings.EqualFold(h, "Id"):
			id = s
			continue
		case j.upload.externalID != nil && strings.EqualFold(h, j.upload.externalID.Name):
			key = s
			continue
		case s == "":
			// An empty cell leaves the field as it is.
			continue
		case strings.Contains(h, "."):
			path := h[strings.LastIndexByte(h, ':')+1:]
			relationship, name, _ := strings.Cut(path, ".")
			if err := tx.assignByKey(x, given, relationship, map[string]any{name: s}); err != nil {
				return "", false, err
			}
			continue
		}
		var v any = s
		if s == "#N/A" {
			v = nil
		}
		if err := tx.setField(x, given, h, v); err != nil {
			return "", false, err
		}
	}
	v := tx.view()
	switch j.operation {
	case "insert":
		id, err = tx.create(x, given)
		return id, err == nil, err
	case "upsert":
		f := j.upload.externalID
		if f.Type == "id" {
			break
		}
		if key == "" {
			return "", false, refuse("MISSING_ARGUMENT", f.Name+" not specified")
		}
		rows := v.byKey(f, key)
		switch len(rows) {
		case 0:
			c, bad := convert(f, key)
			if bad != nil {
				return "", false, bad
			}
			given[f] = c
			id, err = tx.create(x, given)
			return id, err == nil, err
		case 1:
			return rows[0].id(), false, tx.update(rows[0], given)
		}
		return "", false, refuse("DUPLICATE_EXTERNAL_ID", f.Name+": more than one record found for external id field: ["+rows[0].id()+", "+rows[1].id()+"]")
	}
	if id == "" && j.operation == "upsert" {
		id, err = tx.create(x, given)
		return id, err == nil, err
	}
	if !isID(id) || id[:3] != x.prefix {
		return "", false, refuse("MALFORMED_ID", x.label+" ID: id value of incorrect type: "+id, "Id")
	}
	r, ok := v.seen(id)
	if !ok {
		return "", false, refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", "Id")
	}
	id = r.id()
	switch j.operation {
	case "delete":
		return id, false, tx.delete([]row{r})
	case "hardDelete":
		if err := tx.delete([]row{r}); err != nil {
			return id, false, err
		}
		r, _ = v.at(r.t, r.i)
		return id, false, tx.store(r.t, r.i, &version{cells: v.cells(r), gone: true})
	}
	return id, false, tx.update(r, given)
}

// ingestResults sends one of the three result files, in any spelling of its name.
func (c *call) ingestResults(j *job, what string) error {
	if !j.ended() {
		return fail(http.StatusBadRequest, "INVALIDJOBSTATE", "the results of a job that is "+j.state+" cannot be read")
	}
	u := j.upload
	var b []byte
	end := "\n"
	if j.crlf {
		end = "\r\n"
	}
	put := func(cells ...string) {
		for k, s := range cells {
			if k > 0 {
				b = append(b, j.delimiter)
			}
			b = append(b, '"')
			b = appendQuoted(b, s)
			b = append(b, '"')
		}
		b = append(b, end...)
	}
	switch what {
	case "successfulresults":
		put(slices.Concat([]string{"sf__Id", "sf__Created"}, u.header)...)
		for _, r := range u.succeeded {
			put(slices.Concat([]string{r.id, strconv.FormatBool(r.created)}, r.cells)...)
		}
	case "failedresults":
		put(slices.Concat([]string{"sf__Id", "sf__Error"}, u.header)...)
		for _, r := range u.failed {
			put(slices.Concat([]string{r.id, r.err.said()}, r.cells)...)
		}
	case "unprocessedrecords":
		put(u.header...)
		for _, cells := range u.unprocessed {
			put(cells...)
		}
	default:
		return errNoResource
	}
	c.w.Header().Set("Content-Type", "text/csv; charset=UTF-8")
	c.send(http.StatusOK, b)
	return nil
}
