package config

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Addr is an address to listen on, as host:port. An Addr without a host means every address of the
// machine. Port 0 means any free port.
type Addr string

// UnmarshalText reads an address. Its port must be a number: a name such as http is refused.
func (a *Addr) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return errors.New("not an address")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("not a port")
	}
	*a = Addr(text)
	return nil
}

// Loopback reports whether the host is localhost or a loopback IP address, which only this machine
// can reach.
func (a Addr) Loopback() bool {
	host, _, err := net.SplitHostPort(string(a))
	return err == nil && loopbackHost(host)
}

// Overlaps reports whether a listener on one of the addresses a and b may prevent a listener on the
// other. That is so if a and b have the same port, which is not 0, and their hosts are equal. It is
// also so if they have the same port and the host of a or b means every address of the machine.
func (a Addr) Overlaps(b Addr) bool {
	aHost, aPort := a.split()
	bHost, bPort := b.split()
	return aPort == bPort && aPort != 0 && (aHost == bHost || everyHost(aHost) || everyHost(bHost))
}

// split returns the host in lower case, and the port. The host localhost becomes 127.0.0.1. A port
// that is no number becomes 0. If the Addr does not have the form host:port, split returns "" and
// 0.
func (a Addr) split() (host string, port uint64) {
	host, text, err := net.SplitHostPort(string(a))
	if err != nil {
		return "", 0
	}
	port, _ = strconv.ParseUint(text, 10, 16)
	if host = strings.ToLower(host); host == "localhost" {
		host = "127.0.0.1"
	}
	return host, port
}

// everyHost reports whether a listener on this host listens on all addresses of the machine.
func everyHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// Dial returns the address that this machine must dial to reach a listener on this Addr.
func (a Addr) Dial() string {
	host, port, err := net.SplitHostPort(string(a))
	if err != nil {
		return string(a)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip.IsUnspecified() && ip.Is4():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Port is an address to listen on, and the name of the variable that sets it.
type Port struct {
	Variable string
	Addr     Addr
}

// SharedPorts returns a Problem for each Port whose address overlaps that of an earlier Port.
func SharedPorts(ports ...Port) (problems []Problem) {
	for i, p := range ports {
		for _, earlier := range ports[:i] {
			if p.Addr.Overlaps(earlier.Addr) {
				problems = append(problems, Problemf(p.Variable, "%s is the port of %s already, which is %s; each needs its own", p.Addr, earlier.Variable, earlier.Addr))
				break
			}
		}
	}
	return problems
}
