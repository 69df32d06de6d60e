package simorg

import (
	"sync"

	"github.com/klauspost/compress/gzip"
)

// zippers keeps compressors: each weighs most of a megabyte.
var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return z
}}
