package link

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelQueue returns what the kernel holds of the bytes that were written to c. The result ok is
// false if that is not known.
func kernelQueue(c net.Conn) (q queued, ok bool) {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return queued{}, false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return queued{}, false
	}
	controlErr := raw.Control(func(fd uintptr) {
		if q.unacknowledged, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			q.unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQNSD)
		}
	})
	return q, controlErr == nil && err == nil
}
