package crowd

import (
	"net"
	"net/netip"
)

// sourceBits is the part of an IPv6 address that names its owner. Networks give each customer at
// least a /64.
const sourceBits = 64

// fewOf divides a bound; the quotient counts as few.
const fewOf = 512

// Few returns how many connections a source may have without being one of those that hold many.
// most is the bound of all connections. A source gets several, because edges or clients may share
// an address. Without Few, an attacker with as many sources as the bound would push out all of
// them.
func Few(most int) int64 { return int64(max(most/fewOf, 1)) }

// Source returns the owner of a connection: an IPv4 address, or the /64 network of an IPv6 address.
// All addresses of other networks than IP are one source.
func Source(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is4() || !ip.IsValid() {
		return ip
	}
	prefix, _ := ip.Prefix(sourceBits) // fails for an address that has fewer bits
	return prefix.Addr()
}
