package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/usage"
)

// targetForm returns a form for servers that somebody else started. The parameter urls is a list of
// their URLs, separated by commas. Each URL has the form ws://host:port[/path]. The path of the
// last URL is used for all servers. Sessions are spread over the servers.
func (b *bench) targetForm(urls, kind string, pids []int) (*form, error) {
	var addrs []string
	path := ""
	for text := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "ws" || u.Port() == "" {
			return nil, fmt.Errorf("-target %q: say ws://host:port[/path], without TLS", text)
		}
		probe, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
		if err != nil {
			return nil, fmt.Errorf("-target %q: %w", text, err)
		}
		probe.Close()
		addrs, path = append(addrs, u.Host), strings.TrimSuffix(u.Path, "/")
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("-target: say with -pid whose CPU time and memory count, of edges and relays without Redis, as -pid $(pgrep -d, -x 'edge|relay')")
	}
	for _, pid := range pids {
		if _, err := usage.CPU(pid); err != nil {
			return nil, fmt.Errorf("-pid %d: there is no such process", pid)
		}
	}
	f := &form{name: "target (" + kind + ")", ours: true, can: anywhere}
	switch kind {
	case "chat":
		f.dialect, f.can = load.Chat{Prefix: path}, anywhere+pairwise
	case "centrifugo":
		if path == "" {
			path = centrifugoPath
		}
		f.dialect, f.can = load.Centrifugo{Path: path}, anywhere+pairwise
	case "nchan":
		f.dialect = load.Nchan{Prefix: path}
	default:
		return nil, fmt.Errorf("-kind %q: say chat, centrifugo or nchan", kind)
	}
	b.note("Target: it was not started anew for each case, so what it kept from earlier ones is not in its memory per session; for that, start it, and run idle alone.")
	f.start = func(context.Context, *bench) (*site, error) {
		s := &site{addrs: addrs, stop: func() {}}
		for _, pid := range pids {
			s.counted = append(s.counted, process{"server", pid})
		}
		return s, nil
	}
	return f, nil
}
