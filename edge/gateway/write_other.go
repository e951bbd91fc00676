//go:build !unix

package gateway

import (
	"sync"
	"syscall"
)

// pen writes nothing on systems other than Unix. There conn.patiently writes to each conn, in a
// goroutine for that conn.
type pen struct{}

var pens = sync.Pool{New: func() any { return new(pen) }}

func (*pen) write(syscall.RawConn, *batch) (whole bool, err error) { return false, nil }
