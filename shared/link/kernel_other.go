//go:build !linux

package link

import "net"

// kernelQueue returns false, since the counts are not known on this system.
func kernelQueue(net.Conn) (q queued, ok bool) { return queued{}, false }
