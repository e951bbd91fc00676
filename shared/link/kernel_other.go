//go:build !linux

package link

import "net"

// kernelQueue returns false: what the kernel holds is not known on this system.
func kernelQueue(net.Conn) (q queued, ok bool) { return queued{}, false }
