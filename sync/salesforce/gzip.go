package salesforce

import (
	"io"

	"github.com/klauspost/compress/gzip"
)

// newGzip decodes gzip with the library that costs the least CPU on pages of this size.
func newGzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
