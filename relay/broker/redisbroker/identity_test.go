package redisbroker

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestG3_AnIdentityThatIsNotTheServersMakesNobodyDeaf puts a proxy before Redis. The proxy tells
// another run_id on each connection, or in each reply. No absence may be told, and subscriptions
// must stay. If the run_id changes in each reply, that must be logged once.
func TestG3_AnIdentityThatIsNotTheServersMakesNobodyDeaf(t *testing.T) {
	const probes = 8
	for _, c := range []struct {
		name    string
		runs    int32
		epochs  int // largest number of epochs if no connection is lost
		givesUp bool
	}{{"of connections", runsOfConnection, 1, false}, {"of replies", runsOfReply, 2 * contradictionsMost, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, redistest.Start(t))
			p.runs.Store(c.runs)
			var log safeBuffer
			made, err := New(Config{
				URL: p.url, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			b := made.(*Broker)
			r := brokertest.Start(t, b)
			r.Join(group)
			said := func() int { return strings.Count(log.String(), "another run_id") }
			from, epochs, number := r.Events(), map[uint64]bool{}, uint64(0)
			brokertest.Eventually(t, "many probes", func() bool {
				signal(b.state.trouble) // makes probes come sooner
				number++
				epochs[r.Say(group, number, "m").Epoch] = true
				probed := testutil.ToFloat64(b.publisher.metrics.commands.WithLabelValues("probe"))
				return probed >= probes && (said() > 0 || !c.givesUp)
			})
			r.Received(group, 0, int(number))
			// Each further connection of the publisher is told another run_id. So the publisher may
			// then begin an epoch.
			failures := b.publisher.metrics.failures.WithLabelValues("publish", string(unreachable))
			if most := c.epochs + int(testutil.ToFloat64(failures)); len(epochs) > most {
				t.Errorf("%d epochs, want %d", len(epochs), most)
			}
			if got := absences(r, from); len(got) > 0 {
				t.Errorf("told as %+v", got)
			}
			// Each further connection of the prober is told another run_id, too. So subscriptions
			// may end.
			late := b.publisher.metrics.failures.WithLabelValues("probe", string(unreachable))
			if strings.Contains(log.String(), errAnother.Error()) && testutil.ToFloat64(late) == 0 {
				t.Errorf("subscriptions were lost: %s", log.String())
			}
			if n := said(); n > 1 || (n == 1) != c.givesUp {
				t.Errorf("said %d times: %s", n, log.String())
			}
		})
	}
}

// TestG3_TwoRelaysThatSeeOtherIdentitiesShareAnEpoch puts each of three relays behind a proxy of
// its own. No two proxies tell the same run_id. In the end the relays must publish in one epoch.
func TestG3_TwoRelaysThatSeeOtherIdentitiesShareAnEpoch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var relays []*brokertest.Relay
	for range 3 {
		p := newProxy(t, server)
		p.runs.Store(runsOfProxy)
		relays = append(relays, relayOn(t, p.url))
	}
	epochs := map[uint64]bool{}
	for n := range uint64(10) {
		for _, r := range relays {
			epochs[r.Say(group, n+1, "m").Epoch] = true
		}
	}
	if len(epochs) > len(relays) {
		t.Errorf("%d epochs for %d relays", len(epochs), len(relays))
	}
	last := map[uint64]bool{}
	for _, r := range relays {
		last[r.Say(group, 11, "m").Epoch] = true
	}
	if len(last) != 1 {
		t.Errorf("they do not go on in one epoch: %v", last)
	}
}

func TestG3_WhatNoServerTellsIsAContradiction(t *testing.T) {
	var log safeBuffer
	i := &identifier{log: slog.New(slog.NewTextHandler(&log, nil))}
	a, b := identity{"a", "A"}, identity{"b", "B"}
	for n, who := range []identity{a, a, b, b, {"c", "C"}, {"c", "D"}, {"e", "E"}, {"f", "F"}, {"g", "G"}, {"h", "H"}} {
		if got := i.note(who); got != who || i.contradictions > 0 {
			t.Errorf("%d: a server that was replaced counts as a contradiction: %v", n, got)
		}
	}
	for range contradictionsMost {
		i.note(a)
		i.note(b)
	}
	if got := i.note(identity{"new", "new"}); got != (identity{}) || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%v: %s", got, log.String())
	}
}

// TestG3_ARestartIsAChangeAlsoAfterContradictions checks that a few contradictions do not hide that
// Redis was restarted.
func TestG3_ARestartIsAChangeAlsoAfterContradictions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := newProxy(t, server)
	p.runs.Store(runsOfConnection)
	r := relayOn(t, p.url)
	r.Join(group)
	say(r, group, 1, 3)
	server.Save()
	had := say(r, group, 4, 3)
	r.Received(group, 0, 6)
	server.Kill()
	from := r.Events()
	server.Restart()
	awaitSubscribed(r, from, group)
	at := r.Say(group, 7, "new")
	if at.Epoch <= had.Epoch {
		t.Errorf("published at %v, receivers had %v", at, had)
	}
}
