//go:build !unix

package gateway

import (
	"net"
	"syscall"
)

func rawOf(net.Conn) syscall.RawConn { return nil }

// wait returns at once: the conn is read in the ordinary way, which keeps a reader and a larger stack while it waits.
func (w *waiter) wait() error { return nil }

func (w *waiter) fill(uintptr) bool { return true }

func (w *waiter) putBuffer() { w.ahead = nil }
