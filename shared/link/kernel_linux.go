package link

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelQueue counts the bytes that were written to c and that the kernel still holds. The result
// ok is false if the counts are not known.
func kernelQueue(c net.Conn) (_ queued, ok bool) {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return queued{}, false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return queued{}, false
	}
	var q queued // declared here, so that it costs an allocation only if the kernel is asked
	controlErr := raw.Control(func(fd uintptr) {
		if q.unacknowledged, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			q.unsent, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQNSD)
		}
	})
	return q, controlErr == nil && err == nil
}
