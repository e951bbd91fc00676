//go:build !linux

package link

import "net"

// kernelQueue is not known here.
func kernelQueue(net.Conn) (q queued, ok bool) { return queued{}, false }
