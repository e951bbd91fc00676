//go:build !linux

package httpguard

import "net"

var listening net.ListenConfig
