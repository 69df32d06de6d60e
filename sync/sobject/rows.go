package sobject

import "time"

// Rows streams the records of one page, one at a time, cell by cell, so that a page of any size needs the memory of one record.
type Rows interface {
	// Columns names the cells of each record, as the page does: API names ("LastName"), in the page's order.
	// It is known before the first Next.
	Columns() []string
	// Next gives the next record's cells in the order of Columns, as UTF-8 text, exact to the byte: nil is null (Salesforce
	// has no empty text, so an empty cell is nil too); numbers, dates and booleans are as Salesforce wrote them.
	// The cells are valid until the following call. It returns io.EOF after the last record.
	Next() ([][]byte, error)
}

// Watermark vouches for an object: everything that Salesforce had committed before At is in the mirror.
type Watermark struct {
	At time.Time
}
