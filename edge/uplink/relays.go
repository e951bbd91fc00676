package uplink

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
)

// lookupTimeout bounds the look-up of one name: a resolver that does not answer must not keep the edge from relays that need no look-up.
const lookupTimeout = 3 * time.Second

// Lookup returns the addresses of a name. The default asks the system's resolver.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

// relay is one element of EDGE_RELAY_URLS.
type relay struct {
	url string // to dial; "" for a name whose every address is a candidate

	name  string
	port  uint16
	known []string // the URLs of the last look-up that succeeded; owned by Run
}

// CheckURL reports what is wrong with a relay's URL: it is ws://host:port, wss://host or dns://name:port.
func CheckURL(s string) error {
	_, err := parseRelay(s)
	return err
}

func parseRelay(s string) (*relay, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("relay URL %q: %w", s, err)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("relay URL %q: no host", s)
	}
	if u.User != nil {
		return nil, fmt.Errorf("relay URL %q: it has no user; LINK_KEYS prove who is who", u.Redacted())
	}
	switch u.Scheme {
	case "ws", "wss":
		if u.Path == "" || u.Path == "/" {
			u.Path = link.Path
		}
		return &relay{url: u.String()}, nil
	case "dns":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("relay URL %q: want dns://name:port", s)
		}
		if u.Path != "" && u.Path != "/" {
			return nil, fmt.Errorf("relay URL %q: a dns URL has no path", s)
		}
		return &relay{name: u.Hostname(), port: uint16(port)}, nil
	}
	return nil, fmt.Errorf("relay URL %q: the scheme is none of ws, wss, dns", s)
}

// candidates returns the URLs of all relays, each once. Names are looked up at the same time; one that cannot be looked up gives what it gave last.
func candidates(ctx context.Context, relays []*relay, lookup Lookup) (urls []string, errs []error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	failed := make([]error, len(relays))
	var wg sync.WaitGroup
	for i, r := range relays {
		if r.name != "" {
			wg.Go(func() { failed[i] = r.resolve(ctx, lookup) })
		}
	}
	wg.Wait()
	for i, r := range relays {
		if failed[i] != nil {
			errs = append(errs, failed[i])
		}
		for _, u := range r.urls() {
			if !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
		}
	}
	return urls, errs
}

func (r *relay) urls() []string {
	if r.name != "" {
		return r.known
	}
	return []string{r.url}
}

func (r *relay) resolve(ctx context.Context, lookup Lookup) error {
	addrs, err := lookup(ctx, r.name)
	if err != nil {
		return fmt.Errorf("look up relay %s: %w", r.name, err)
	}
	known := make([]string, 0, len(addrs))
	for _, a := range addrs {
		u := url.URL{Scheme: "ws", Host: netip.AddrPortFrom(a.Unmap(), r.port).String(), Path: link.Path}
		known = append(known, u.String())
	}
	r.known = known
	return nil
}
