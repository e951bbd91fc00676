//go:build !unix

package gateway

import (
	"net"
	"syscall"
)

func rawOf(net.Conn) syscall.RawConn { return nil }

// wait returns at once. The method Read then waits for bytes. So each conn keeps its reader while
// the client is silent. The reader's stack is then larger than that of a waiting reader on Unix.
func (r *reader) wait() error { return nil }

func (r *reader) fill(uintptr) bool { return true }

func (r *reader) unread() bool { return len(r.unparsed) > 0 }

func (r *reader) arrived() int { return len(r.unparsed) }

func (r *reader) putBuffer() { r.unparsed = nil }
