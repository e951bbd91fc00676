package httpguard

import (
	"net"
	"syscall"
)

// listening makes the kernel probe connections whose peer is silent. The first of up to 9 probes
// comes after 15 s, and each further probe 15 s later. These values are the defaults of package
// net. Accepted sockets inherit the options from the listener, which saves four system calls for
// each socket.
var listening = net.ListenConfig{
	KeepAlive: -1,
	Control: func(_, _ string, raw syscall.RawConn) (err error) {
		told := raw.Control(func(fd uintptr) {
			for _, option := range [...]struct{ level, name, value int }{
				{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
				{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
			} {
				if err == nil {
					err = syscall.SetsockoptInt(int(fd), option.level, option.name, option.value)
				}
			}
		})
		if told != nil {
			return told
		}
		return err
	},
}
