//go:build !linux

package link

import "net"

// unsent is not known here.
func unsent(net.Conn) (n int, ok bool) { return 0, false }
