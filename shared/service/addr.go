package service

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Addr is an address to listen on: host:port. Without a host it is every address of the machine; port 0 is any free one.
type Addr string

// UnmarshalText reads an address.
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

// Loopback reports whether only this machine can reach the address.
func (a Addr) Loopback() bool {
	host, _, err := net.SplitHostPort(string(a))
	return err == nil && loopbackHost(host)
}

// Overlaps reports whether a listener on one of the two keeps the other's port from being opened: it is the same, not 0, and so is the host,
// or one of them is every address of the machine.
func (a Addr) Overlaps(b Addr) bool {
	aHost, aPort := a.split()
	bHost, bPort := b.split()
	return aPort == bPort && aPort != 0 && (aHost == bHost || everyHost(aHost) || everyHost(bHost))
}

// split returns host and port, the latter 0 for what is not an address. localhost is the address that net.Listen takes for it.
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

// everyHost reports whether net.Listen takes host for all addresses of the machine.
func everyHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// Dial returns the address at which this machine reaches a listener on a.
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

// Port is an address to listen on, and the variable that says it.
type Port struct {
	Variable string
	Addr     Addr
}

// SharedPorts returns a Problem for each of ports that cannot be opened beside an earlier one.
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
