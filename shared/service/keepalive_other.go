//go:build !linux

package service

import "net"

var listening net.ListenConfig
