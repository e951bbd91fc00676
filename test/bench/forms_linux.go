package main

import (
	"context"
	"strings"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/local"
)

// Scenarios by what they need.
const (
	anywhere = "idle connect fanout groups broadcast payload"
	pairwise = " direct"
	ours     = " link redis restart"
)

// forms returns what is measured beside each other, and says which are absent.
func (b *session) forms(o options) (forms []*form, err error) {
	forms = []*form{
		{name: "cluster", dialect: load.Chat{}, ours: true, budgets: true, can: anywhere + pairwise + ours, start: startCluster},
		{name: "one process", dialect: load.Chat{}, ours: true, can: anywhere + pairwise, start: startOne},
		{name: "floor", dialect: load.Floor{}, can: "idle connect fanout payload", start: startFloor},
	}
	if o.target != "" {
		f, err := b.targetForm(o.target, o.kind, o.pids)
		if err != nil {
			return nil, err
		}
		forms = append(forms, f)
	}
	if o.peers {
		forms = append(forms, b.peers()...)
	}
	return forms, nil
}

// peers returns other servers that are installed.
func (b *session) peers() (forms []*form) {
	if local.HasCentrifugo() {
		dialect := load.Centrifugo{Path: centrifugoPath}
		forms = append(forms,
			&form{name: "Centrifugo, one node, in memory", dialect: dialect, can: anywhere, start: startCentrifugo},
			&form{name: "Centrifugo, two nodes, Redis", dialect: dialect, can: anywhere + pairwise, start: startCentrifugos})
	} else {
		b.note("Centrifugo is absent: there is no centrifugo on the PATH.")
	}
	if err := local.HasNchan(); err == nil {
		forms = append(forms, &form{name: "nchan, one process", dialect: load.Nchan{}, can: anywhere, start: startNchan})
	} else {
		b.note("nchan is absent: %v.", err)
	}
	return forms
}

const centrifugoPath = "/connection/websocket"

func startFloor(ctx context.Context, b *session) (*site, error) {
	return startSingle(ctx, b.dir.Floor())
}

func startCentrifugo(ctx context.Context, b *session) (*site, error) {
	s, err := b.dir.Centrifugo(nil)
	if err != nil {
		return nil, err
	}
	return startSingle(ctx, s)
}

func startNchan(ctx context.Context, b *session) (*site, error) {
	s, err := b.dir.Nchan()
	if err != nil {
		return nil, err
	}
	return startSingle(ctx, s)
}

// startSingle starts a server that is all.
func startSingle(ctx context.Context, s *local.Server) (*site, error) {
	stop, err := startAll(ctx, s)
	if err != nil {
		return nil, err
	}
	return &site{addrs: []string{s.Addr}, counted: []process{{"server", s.PID()}}, stop: stop}, nil
}

func startCentrifugos(ctx context.Context, b *session) (*site, error) {
	redis, err := b.dir.Redis()
	if err != nil {
		return nil, err
	}
	var nodes [2]*local.Server
	for i := range nodes {
		if nodes[i], err = b.dir.Centrifugo(redis); err != nil {
			return nil, err
		}
	}
	stop, err := startAll(ctx, redis, nodes[0], nodes[1])
	if err != nil {
		return nil, err
	}
	return &site{
		addrs:   []string{nodes[0].Addr, nodes[1].Addr},
		counted: []process{{"server", nodes[0].PID()}, {"server", nodes[1].PID()}},
		redis:   &process{"Redis", redis.PID()}, stop: stop,
	}, nil
}

// takesPart says whether a scenario can be run on it.
func (f *form) takesPart(scenario string) bool {
	for can := range strings.FieldsSeq(f.can) {
		if can == scenario {
			return true
		}
	}
	return false
}
