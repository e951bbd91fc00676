package httpguard

import (
	"net"
	"syscall"
	"testing"
)

// TestKeepAlive checks the options of the sockets that a listener accepts. The kernel must probe
// silent peers, and must not delay small writes.
func TestKeepAlive(t *testing.T) {
	l, err := Listen("X", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		for option, want := range map[[2]int]int{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}:   1,
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE}:  15,
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}: 15,
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT}:   9,
			{syscall.IPPROTO_TCP, syscall.TCP_NODELAY}:   1,
		} {
			if got, err := syscall.GetsockoptInt(int(fd), option[0], option[1]); got != want || err != nil {
				t.Errorf("option %v is %d, want %d (%v)", option, got, want, err)
			}
		}
	})
}
