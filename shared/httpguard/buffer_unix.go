//go:build unix

package httpguard

import (
	"net"
	"syscall"
)

// bufferSends fixes the size of the kernel's send buffer at the given number of bytes. Linux
// doubles this number, to have room for its own bookkeeping. Accepted sockets inherit the size from
// their listener.
func bufferSends(raw syscall.RawConn, bytes int) (err error) {
	told := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, bytes)
	})
	if told != nil {
		return told
	}
	return err
}

// SendBuffer returns the size in bytes that the kernel's send buffer has when a connection of l
// begins. The buffer holds the sent bytes that the peer has not taken, and the kernel's own
// bookkeeping. If bufferSends has fixed the size, the buffer does not grow. A result of 0 means
// that the size is unknown.
func SendBuffer(l net.Listener) (bytes int) {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		bytes, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
	})
	if err != nil {
		return 0
	}
	return bytes
}
