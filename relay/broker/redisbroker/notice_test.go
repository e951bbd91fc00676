package redisbroker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// Within what an absence is told, and within what its end is, subscriptions included.
const (
	noticed = 3 * time.Second
	back    = 3 * time.Second // a second on a machine that has time
)

// TestNoticed takes Redis away in each way there is, from a relay that does not publish meanwhile, and gives it back.
func TestNoticed(t *testing.T) {
	do := func(args ...any) func(*testing.T, *redistest.Server, *proxy) {
		return func(t *testing.T, s *redistest.Server, _ *proxy) {
			t.Helper()
			if err := s.Client().Do(t.Context(), args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	restart := func(_ *testing.T, s *redistest.Server, _ *proxy) { s.Restart() }
	for _, c := range []struct {
		name       string
		take, give func(*testing.T, *redistest.Server, *proxy)
		deaf       bool
	}{
		{"killed", func(_ *testing.T, s *redistest.Server, _ *proxy) { s.Kill() }, restart, true},
		{"stopped", func(_ *testing.T, s *redistest.Server, _ *proxy) { s.Stop() }, restart, true},
		{"frozen", func(_ *testing.T, s *redistest.Server, _ *proxy) { s.Pause() }, func(_ *testing.T, s *redistest.Server, _ *proxy) { s.Continue() }, true},
		{"unreachable", func(_ *testing.T, _ *redistest.Server, p *proxy) { p.swallow.Store(true) },
			func(_ *testing.T, _ *redistest.Server, p *proxy) { p.swallow.Store(false) }, true},
		{"out of memory", do("config", "set", "maxmemory", "1"), do("config", "set", "maxmemory", "0"), false},
		{"a replica", do("replicaof", "127.0.0.1", "1"), do("replicaof", "no", "one"), false},
		{"scripts not permitted", do("acl", "setuser", "default", "-evalsha"), do("acl", "setuser", "default", "+evalsha"), false},
		{"publishing not permitted", do("acl", "setuser", "default", "-publish"), do("acl", "setuser", "default", "+publish"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			p := newProxy(t, server)
			r := relayOn(t, p.url)
			r.Join(group)
			from, began := r.Events(), time.Now()
			c.take(t, server, p)
			awaitState(r, from, true)
			within(t, "told", began, noticed)
			if c.deaf {
				awaitDeaf(r, from)
				within(t, "told to be deaf", began, noticed)
			}
			time.Sleep(2 * time.Second) // so that pauses grow
			place := r.Events()
			if got := states(r, from); len(got) != 1 {
				t.Errorf("told %+v", got)
			}
			began = time.Now()
			c.give(t, server, p)
			awaitState(r, place, false)
			within(t, "back", began, back)
			if c.deaf {
				awaitSubscribed(r, place, group)
				within(t, "subscribed again", began, back)
			}
			answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 2})
			if answer.Outcome != broker.Done {
				t.Errorf("%+v", answer)
			}
			r.Received(group, place, 1)
			within(t, "publishes again", began, back)
		})
	}
}

func within(t *testing.T, what string, began time.Time, limit time.Duration) {
	t.Helper()
	took := time.Since(began)
	t.Logf("%s after %v", what, took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("%s after %v, want %v", what, took, limit)
	}
}

// TestHalfOpenAlone silences one connection, which nobody closes, while the others work.
func TestHalfOpenAlone(t *testing.T) {
	for _, c := range []struct {
		name string
		kind kind
	}{{"publisher", publisherKind}, {"asker", askerKind}, {"prober", proberKind}, {"subscriber", subscriberKind}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, redistest.Start(t))
			r := relayOn(t, p.url)
			r.Join(group)
			r.Count(group)
			from, began := r.Events(), time.Now()
			p.mute(c.kind)
			switch c.kind {
			case subscriberKind:
				// A subscription that is regained at once is told as deafness.
				place := awaitDeaf(r, from)
				within(t, "told to be deaf", began, noticed)
				awaitSubscribed(r, place, group)
			case askerKind:
				// The probe is answered: Redis is not away.
				token := r.Token()
				r.ReadHistory(group, protocol.Position{}, token)
				answer, _ := brokertest.Await(r, from, "History", func(e broker.History) bool { return e.Token == token })
				within(t, "answered", began, commandTimeout+time.Second)
				if answer.Err == nil {
					t.Errorf("%+v from nowhere", answer)
				}
				r.History(group, protocol.Position{})
				if got := states(r, from); len(got) != 0 {
					t.Errorf("told %+v", got)
				}
			default:
				if c.kind == publisherKind {
					r.Publish(broker.Publish{Token: r.Token(), Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 2})
				}
				_, place := awaitState(r, from, true)
				within(t, "told", began, noticed)
				awaitState(r, place, false)
			}
			within(t, "back", began, noticed+back)
			answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 2})
			if answer.Err != nil {
				t.Errorf("%+v", answer)
			}
			r.Received(group, from, 1)
		})
	}
}

// TestDeafForLong has Redis refuse new subscriptions after the old ones were lost: to be deaf is to be away.
func TestDeafForLong(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	from, began := r.Events(), time.Now()
	for _, args := range [][]any{{"acl", "setuser", "default", "-subscribe"}, {"client", "kill", "type", "pubsub"}} {
		if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	awaitDeaf(r, from)
	state, _ := awaitState(r, from, true)
	within(t, "told", began, noticed)
	t.Log(state.Cause)
	if err := server.Client().Do(t.Context(), "acl", "setuser", "default", "+subscribe").Err(); err != nil {
		t.Fatal(err)
	}
	awaitState(r, from, false)
	awaitSubscribed(r, from, group)
}

// TestOutputBufferOverrun has Redis give up a subscriber that reads too slowly.
func TestOutputBufferOverrun(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--client-output-buffer-limit", "pubsub 1mb 0 0")
	p := newProxy(t, server)
	r := relayOn(t, p.url)
	r.Join(group)
	other := relayOn(t, server.URL)
	from := r.Events()
	goOn := p.stall(subscriberKind)
	var last protocol.Position
	for n := uint64(1); ; n++ {
		last = other.Say(group, n, strings.Repeat("x", 1<<20-100))
		list, err := server.Client().ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(list, "cmd=subscribe") < 2 { // the other's is left
			break
		}
		if n == 50 {
			t.Fatal("Redis keeps its slow subscriber")
		}
	}
	began := time.Now()
	goOn()
	place := awaitDeaf(r, from)
	within(t, "told to be deaf", began, noticed)
	if again, _ := awaitSubscribed(r, place, group); again.Top != last {
		t.Errorf("subscribed again at %v, want %v", again.Top, last)
	}
	within(t, "subscribed again", began, noticed+back)
	r.Say(group, 2, "m")
	brokertest.Await(r, place, fmt.Sprint("the next one after ", last), func(e broker.Received) bool { return last.Before(e.Publication.Position) })
}
