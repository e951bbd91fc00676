package redisbroker

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// The constant named noticed is the longest time from the loss of Redis until the Broker tells of
// the loss. The constant named back is the longest time from the return of Redis until the Broker
// tells of the return. On a busy machine, the function within extends these times.
const (
	noticed = 3 * time.Second
	back    = 3 * time.Second // a return takes about a second on an idle machine
)

// TestNoticed takes Redis away in several ways, and gives it back. The test publishes nothing
// meanwhile. The Broker must tell in time that Redis is away, and must tell it once. It must also
// tell in time that Redis is back.
func TestNoticed(t *testing.T) {
	long.Only(t, "it is about time alone")
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
			time.Sleep(2 * time.Second) // so that the pauses before new connections grow
			index := r.Events()
			if got := states(r, from); len(got) > 1 {
				t.Errorf("told %+v", got)
			}
			began = time.Now()
			c.give(t, server, p)
			awaitState(r, index, false)
			within(t, "back", began, back)
			if c.deaf {
				awaitSubscribed(r, index, group)
				within(t, "subscribed again", began, back)
			}
			r.Say(group, 2, "m")
			r.Received(group, index, 1)
			within(t, "publishes again", began, back)
		})
	}
}

// The function named within logs the time since the argument began, and what was awaited. On a busy
// machine it raises the given limit, up to four times as high. If the time is above the limit, and
// long tests are wanted (see long.Wanted), it reports an error.
func within(t *testing.T, what string, began time.Time, limit time.Duration) {
	t.Helper()
	took := time.Since(began)
	t.Logf("%s after %v", what, took.Round(time.Millisecond))
	busy := pressure()
	limit += time.Duration(3 * busy * float64(limit))
	if took > limit && long.Wanted() {
		t.Errorf("%s after %v, want %v, on a machine that was busy %.0f%% of the time",
			what, took, limit, 100*busy)
	}
}

// pressure returns for how much of the last ten seconds some task waited for a core, as a share
// from 0 to 1. It returns 0 if the system does not tell.
func pressure() float64 {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	var percent float64
	if _, err := fmt.Sscanf(string(text), "some avg10=%f", &percent); err != nil {
		return 0
	}
	return percent / 100
}

// TestHalfOpenAlone silences one connection: the publisher's, the prober's or the subscriber's. The
// silent connection stays open, and the other connections work. The Broker must tell of the
// silence, by a State or by a Deaf, and then come back.
func TestHalfOpenAlone(t *testing.T) {
	long.Only(t, "it is about time alone")
	for _, c := range []struct {
		name string
		kind kind
	}{{"publisher", publisherKind}, {"prober", proberKind}, {"subscriber", subscriberKind}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, redistest.Start(t))
			r := relayOn(t, p.url)
			r.Join(group)
			from := r.Events()
			p.mute(t, c.kind)
			began := time.Now()
			switch c.kind {
			case subscriberKind:
				// If the subscriptions are regained at once, their loss is told as Deaf, and not as
				// an absence.
				index := awaitDeaf(r, from)
				within(t, "told to be deaf", began, noticed)
				awaitSubscribed(r, index, group)
			default:
				if c.kind == publisherKind {
					r.Publish(broker.Publish{Token: r.Token(), Topic: group, Content: protocol.Content{From: "1", Msg: "m"}, Instance: r.Instance, Number: 2})
				}
				_, index := awaitState(r, from, true)
				within(t, "told", began, noticed)
				awaitState(r, index, false)
			}
			within(t, "back", began, noticed+back)
			r.Ask(r.Message(group, 2, "m"))
			r.Received(group, from, 1)
		})
	}
}

// TestHalfOpenAsker silences the connection for questions. A read on this connection must fail in
// time, and a later read must be answered. The Broker must not tell of an absence, since the probe
// is answered. At least one of three attempts must show no absence.
func TestHalfOpenAsker(t *testing.T) {
	long.Only(t, "it is about time alone")
	t.Parallel()
	atLeastOnce(t, func() error {
		p := newProxy(t, redistest.Start(t))
		r := relayOn(t, p.url)
		r.Say(group, 2, "m")
		r.Count(group)
		from, began := r.Events(), time.Now()
		p.mute(t, askerKind)
		answer := r.Read(group, protocol.Position{})
		within(t, "answered", began, commandTimeout+time.Second)
		if answer.Err == nil {
			t.Errorf("%+v from nowhere", answer)
		}
		if page := r.History(group, protocol.Position{}); len(page.Publications) != 1 {
			t.Errorf("%+v", page)
		}
		within(t, "back", began, noticed+back)
		if told := states(r, from); len(told) > 0 {
			return fmt.Errorf("told %+v", told)
		}
		return nil
	})
}

// TestDeafForLong ends the subscriptions while Redis permits no new ones. Redis must then count as
// away until subscriptions are permitted again.
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

// TestOutputBufferOverrun stops reading from Redis on a subscriber's connection, until Redis drops
// that connection. The Broker must tell of the loss, and then subscribe again. On a busy machine,
// the relay may give up the connection before Redis does. Then the test tries again.
func TestOutputBufferOverrun(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--client-output-buffer-limit", "pubsub 1mb 0 0")
	p := newProxy(t, server)
	r := relayOn(t, p.url)
	r.Join(group)
	other := relayOn(t, server.URL)
	from, said, last, began := 0, uint64(0), protocol.Position{}, time.Now()
	for gaveUp := false; !gaveUp; {
		r.Join(group)
		from = r.Events()
		goOn := p.stall(t, subscriberKind)
		// The relay receives nothing meanwhile. If it gives up the connection by itself, this loop
		// ends, too.
		for !gaveUp && !r.LostSince(group, from) {
			said++
			last = other.Say(group, said, strings.Repeat("x", 256<<10))
			gaveUp = p.gaveUp(t, server)
		}
		goOn()
		if time.Since(began) > brokertest.Patience {
			t.Fatal("Redis keeps its slow subscriber")
		}
	}
	began = time.Now()
	index := awaitDeaf(r, from)
	within(t, "told to be deaf", began, noticed)
	what := fmt.Sprint("Subscribed at ", last)
	_, index = brokertest.Await(r, index, what, func(e broker.Subscribed) bool {
		return e.Topic == group && e.Top == last
	})
	within(t, "subscribed again", began, noticed+back)
	next := r.Say(group, 2, "m")
	if got := r.Received(group, index, 1)[0]; got.Position != next {
		t.Errorf("received %v next, want %v", got.Position, next)
	}
}
