package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/edgerelay/edgerelay/test/bench/load"
)

// targetForm is servers that somebody else started: urls as ws://host:port[/path], comma separated, sessions are spread over them.
func (b *session) targetForm(urls, kind string, pids []int) (*form, error) {
	if len(pids) == 0 {
		return nil, fmt.Errorf("-target: say with -pid which processes' CPU time and memory count, comma separated")
	}
	var addrs []string
	path := ""
	for text := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "ws" || u.Port() == "" {
			return nil, fmt.Errorf("-target %q: say ws://host:port, without TLS", text)
		}
		addrs, path = append(addrs, u.Host), strings.TrimSuffix(u.Path, "/")
	}
	f := &form{name: "target (" + kind + ")", can: anywhere}
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
	f.start = func(context.Context, *session) (*site, error) {
		s := &site{addrs: addrs, stop: func() {}}
		for _, pid := range pids {
			s.counted = append(s.counted, process{"server", pid})
		}
		return s, nil
	}
	return f, nil
}
