//go:build !unix

package httpguard

import (
	"net"
	"syscall"
)

func bufferSends(syscall.RawConn, int) error { return nil }

// SendBuffer returns 0: the size of send buffers is unknown on this system.
func SendBuffer(net.Listener) (bytes int) { return 0 }
