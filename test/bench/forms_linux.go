package main

import (
	"context"
	"strings"

	"github.com/edgerelay/edgerelay/test/bench/load"
	"github.com/edgerelay/edgerelay/test/bench/local"
)

// These are sets of scenarios, grouped by what a server must be able to do.
const (
	anywhere = "idle connect fanout groups broadcast payload pace"
	pairwise = " direct"
	ours     = " link redis publish restart"
	back     = " resume"
)

// These are names of forms, which the report's table shows. A form is a way to run servers.
const (
	clusterName = "cluster"
	sdkName     = "cluster, SDKs"
	centrifugos = "Centrifugo, two nodes, Redis"
)

// bench.forms returns our forms, and those that the options -target and -peers add. It fails if the
// target cannot be used.
func (b *bench) forms(o options) (forms []*form, err error) {
	forms = []*form{
		{name: clusterName, dialect: load.Chat{}, ours: true, budgets: true, can: anywhere + pairwise + ours, start: startCluster},
		{name: sdkName, dialect: load.SDK{Path: centrifugoPath}, ours: true, can: anywhere + pairwise + back, start: startCluster, keeps: startKeeping},
		{name: "one process", dialect: load.Chat{}, ours: true, can: anywhere + pairwise, start: startOne},
		{name: "floor", dialect: load.Floor{}, can: "idle connect fanout payload pace", start: startFloor},
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

// bench.peers returns the forms of other servers that are installed. It adds a note for each server
// that is not installed.
func (b *bench) peers() (forms []*form) {
	if local.HasCentrifugo() {
		dialect := load.Centrifugo{Path: centrifugoPath}
		forms = append(forms,
			&form{name: "Centrifugo, one node, in memory", dialect: dialect, can: anywhere, start: startCentrifugo},
			&form{name: centrifugos, dialect: dialect, can: anywhere + pairwise + back, start: startCentrifugos, keeps: startCentrifugosKeeping})
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

// centrifugoPath is the path of Centrifugo's endpoint, and of edgerelay's endpoint for its SDKs.
const centrifugoPath = "/connection/websocket"

func startFloor(ctx context.Context, b *bench) (*site, error) {
	return startSingle(ctx, b.dir.Floor())
}

func startCentrifugo(ctx context.Context, b *bench) (*site, error) {
	s, err := b.dir.Centrifugo(nil, 0)
	if err != nil {
		return nil, err
	}
	return startSingle(ctx, s)
}

func startNchan(ctx context.Context, b *bench) (*site, error) {
	s, err := b.dir.Nchan()
	if err != nil {
		return nil, err
	}
	return startSingle(ctx, s)
}

// startSingle starts a form that consists of one server.
func startSingle(ctx context.Context, s *local.Server) (*site, error) {
	stop, err := startAll(ctx, s)
	if err != nil {
		return nil, err
	}
	return &site{addrs: []string{s.Addr}, counted: []process{{"server", s.PID()}}, stop: stop}, nil
}

func startCentrifugos(ctx context.Context, b *bench) (*site, error) { return startNodes(ctx, b, 0) }

func startCentrifugosKeeping(ctx context.Context, b *bench) (*site, error) {
	return startNodes(ctx, b, keptMessages)
}

// startNodes starts two nodes of Centrifugo with a Redis. The history has the meaning that it has
// for Dir.Centrifugo.
func startNodes(ctx context.Context, b *bench, history int) (*site, error) {
	redis, err := b.dir.Redis()
	if err != nil {
		return nil, err
	}
	var servers [2]*local.Server
	for i := range servers {
		if servers[i], err = b.dir.Centrifugo(redis, history); err != nil {
			return nil, err
		}
	}
	stop, err := startAll(ctx, redis, servers[0], servers[1])
	if err != nil {
		return nil, err
	}
	return &site{
		addrs:   []string{servers[0].Addr, servers[1].Addr},
		counted: []process{{"server", servers[0].PID()}, {"server", servers[1].PID()}},
		redis:   &process{"Redis", redis.PID()}, store: redis, stop: stop,
	}, nil
}

// takesPart reports whether the form can run a scenario.
func (f *form) takesPart(scenario string) bool {
	for can := range strings.FieldsSeq(f.can) {
		if can == scenario {
			return true
		}
	}
	return false
}
