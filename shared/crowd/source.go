package crowd

import (
	"net"
	"net/netip"
)

// sourceBits is the number of leading bits of an IPv6 address that name its owner. Networks usually
// give each customer at least a /64.
const sourceBits = 64

// fewOf is the number by which Few divides its argument, the bound of all connections.
const fewOf = 512

// Few returns the number of connections up to which a source counts like a source that has one
// connection. The parameter most bounds the connections of all sources together.
//
// Several edges or clients may share an address, and so be one source. An attacker may have many
// sources, even as many as the bound, with one connection each. Then the shared source has more
// connections than each source of the attacker. Without Few, the shared source would lose its
// connections to the attacker.
func Few(most int) int64 { return int64(max(most/fewOf, 1)) }

// Source returns the owner of a connection: an IPv4 address, or the /64 network of an IPv6 address.
// All addresses that are not TCP addresses count together as one source.
func Source(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is4() || !ip.IsValid() {
		return ip
	}
	prefix, _ := ip.Prefix(sourceBits) // cannot fail: an IPv6 address has more bits
	return prefix.Addr()
}
