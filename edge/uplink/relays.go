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
	"github.com/edgerelay/edgerelay/shared/resolve"
)

// lookupWait bounds how long the edge waits for the look-up of relays' names. The look-up goes on
// afterwards, while the edge dials the relays whose addresses it has.
const lookupWait = 3 * time.Second

// relay is one element of EDGE_RELAY_URLS.
type relay struct {
	url string // the URL to dial; "" if name and port are set

	name string
	port uint16
}

// CheckURL returns an error if s is not the URL of a relay. The forms are ws://host:port,
// wss://host and dns://name:port. The error shows no password.
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

// shown returns s with … in place of the text before its last @. That text may have a user and a
// password.
func shown(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// candidates returns the URLs of the relays that have an address, each once. It looks up the names
// in parallel, within the given time. If there is no new answer for a name, candidates returns an
// error, and uses the addresses of the name's last answer if there is one.
func candidates(
	ctx context.Context, relays []*relay, names *resolve.Names, wait time.Duration,
) (urls []string, errs []error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	found, failed := make([][]string, len(relays)), make([]error, len(relays))
	var wg sync.WaitGroup
	for i, r := range relays {
		wg.Go(func() { found[i], failed[i] = r.urls(ctx, names) })
	}
	wg.Wait()
	for i := range relays {
		if failed[i] != nil {
			errs = append(errs, failed[i])
		}
		for _, u := range found[i] {
			if !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
		}
	}
	return urls, errs
}

// urls returns the URLs to dial for r. If it returns an error, the URLs are from an older answer,
// or there are none.
func (r *relay) urls(ctx context.Context, names *resolve.Names) (urls []string, err error) {
	if r.name == "" {
		return []string{r.url}, nil
	}
	addrs, err := names.Lookup(ctx, r.name)
	for _, a := range addrs {
		host := netip.AddrPortFrom(a, r.port).String()
		u := url.URL{Scheme: "ws", Host: host, Path: link.Path}
		urls = append(urls, u.String())
	}
	if err != nil {
		err = fmt.Errorf("address of relay %s: %w", r.name, err)
	}
	return urls, err
}
