package resolve

import (
	"context"
	"fmt"
	"net"
)

// DialContext connects to addr. If the network is "tcp" and addr has a host, Lookup finds the
// addresses of the host. Several addresses are raced in the order of Lookup, in which IPv6 and IPv4
// addresses alternate. In all other cases DialContext does what net.Dialer does.
func (n *Names) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	host, port, err := net.SplitHostPort(addr)
	if network != "tcp" || err != nil || host == "" {
		return dialer.DialContext(ctx, network, addr)
	}
	addrs, stale := n.Lookup(ctx, host)
	if len(addrs) == 0 {
		return nil, &net.OpError{Op: "dial", Net: network, Err: stale}
	}
	targets := make([]string, len(addrs))
	for i, a := range addrs {
		targets[i] = net.JoinHostPort(a.String(), port)
	}
	dial := func(ctx context.Context, target string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, target)
	}
	won, failed := Race(ctx, Stagger, targets, dial, func(late net.Conn) { late.Close() })
	switch {
	case won != nil:
		return won.Conn, nil
	case stale != nil:
		return nil, fmt.Errorf("%w (the address may be old: %w)", failed[0].Err, stale)
	}
	return nil, failed[0].Err
}
