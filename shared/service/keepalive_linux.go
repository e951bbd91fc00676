package service

import (
	"net"
	"syscall"
)

// listening has the kernel look after connections whose peer is silent, as net does by default: after 15 s, every 15 s, 9 times. A listener's options are those of what it accepts, so
// that it is not said of each, which takes four system calls.
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
