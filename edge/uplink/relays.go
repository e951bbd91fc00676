package uplink

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
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

// CheckURL reports what is wrong with a relay's URL: it is ws://host:port, wss://host or dns://name:port. The error shows no password.
func CheckURL(s string) error {
	_, err := parseRelay(s)
	return err
}

func parseRelay(s string) (*relay, error) {
	r, err := readRelay(s)
	if err != nil {
		return nil, fmt.Errorf("relay URL %q: %w", shown(s), err)
	}
	return r, nil
}

func readRelay(s string) (*relay, error) {
	const want = "want ws://host:port, wss://host or dns://name:port"
	if s == "" {
		return nil, errors.New("it is empty; " + want)
	}
	if strings.ContainsAny(s, "?#") {
		return nil, errors.New("it has no query and no fragment; " + want)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("malformed; " + want)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss" && u.Scheme != "dns":
		return nil, errors.New("the scheme is none of ws, wss, dns")
	case u.Hostname() == "":
		return nil, errors.New("no host")
	case u.User != nil:
		return nil, errors.New("it has no user; LINK_KEYS prove who is who")
	case u.Scheme == "dns" && u.Port() == "":
		return nil, errors.New("no port; want dns://name:port")
	case u.Port() != "" && (err != nil || port == 0):
		return nil, errors.New("the port is not one from 1 to 65535")
	case u.Scheme == "dns" && u.Path != "" && u.Path != "/":
		return nil, errors.New("a dns URL has no path")
	case u.Scheme == "dns":
		return &relay{name: u.Hostname(), port: uint16(port)}, nil
	case u.Path != "" && u.Path != "/" && u.Path != link.Path:
		return nil, errors.New("relays serve no path but " + link.Path + ", which is added when there is none")
	}
	u.Path = link.Path
	return &relay{url: u.String()}, nil
}

// shown returns s without what may be a user and a password.
func shown(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
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
