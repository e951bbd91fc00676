//go:build !linux

package link

import "net"

// unsent reports that the number is not known on this system.
func unsent(net.Conn) (n int, ok bool) { return 0, false }
