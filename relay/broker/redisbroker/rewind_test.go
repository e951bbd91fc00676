package redisbroker

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// The function say publishes n messages with successive numbers, and returns the position of the
// last message. The parameter first is the number of the first message.
func say(r *brokertest.Relay, t protocol.Topic, first, n uint64) (last protocol.Position) {
	for i := range n {
		last = r.Say(t, first+i, fmt.Sprint("message ", first+i))
	}
	return last
}

// wantLater publishes two messages to the group through a new Broker, which has received nothing of
// the group. The argument named had is the position of an earlier message, which Redis has lost.
// The listener must receive the two messages in an epoch after the epoch of the lost message.
func wantLater(t *testing.T, url string, listener *brokertest.Relay, had protocol.Position) {
	t.Helper()
	other := relayOn(t, url)
	from := listener.Events()
	first := other.Say(group, 1, "new")
	if first.Epoch <= had.Epoch || first.Offset != 1 {
		t.Errorf("published at %v, receivers had %v", first, had)
	}
	if second := other.Say(group, 2, "newer"); second.Epoch != first.Epoch || second.Offset != 2 {
		t.Errorf("then at %v after %v", second, first)
	}
	got := listener.Received(group, from, 2)
	if got[0].Position != first || got[0].Msg != "new" || got[1].Msg != "newer" {
		t.Errorf("received %+v", got)
	}
	if page := other.History(group, had); len(page.Publications) != 2 || page.Publications[0].Position != first {
		t.Errorf("history after %v: %+v", had, page)
	}
}

func TestRestoredFromASnapshot(t *testing.T) {
	for _, c := range []struct {
		name    string
		expired bool // the topic's history has expired, its last position has not
	}{{"with a history", false}, {"with a last position alone", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			r := relayOn(t, server.URL)
			r.Join(group)
			say(r, group, 1, 3)
			server.Save()
			had := say(r, group, 4, 3)
			r.Received(group, 0, 6)
			server.Kill()
			from := r.Events()
			server.Restart()
			if c.expired {
				own := recordOf(t, server.Client(), "", group)
				own.stamp = time.Now().Add(-broker.DefaultHistoryAge)
				plant(t, server.Client(), "", group, own)
			}
			if again, _ := awaitSubscribed(r, from, group); again.Top.Epoch != had.Epoch || again.Top.Offset != 3 {
				t.Errorf("subscribed again at %v, want offset 3 of %v", again.Top, had)
			}
			wantLater(t, server.URL, r, had)
		})
	}
}

func TestFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	had := say(r, group, 1, 3)
	server.Client().FlushAll(t.Context())
	wantLater(t, server.URL, r, had)
}

// TestR1_TheClockOfRedisIsSetBack begins an epoch whose time is an hour in the future. A topic is
// in an epoch of the future if the clock of Redis was set back since the epoch began. Then the
// server loses its data. The next message must begin a still later epoch. A relay that starts later
// must also learn to begin epochs after the future epoch.
func TestR1_TheClockOfRedisIsSetBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r, publisher := relayOn(t, server.URL), relayOn(t, server.URL)
	r.Join(group)
	future := protocol.Position{Epoch: uint64(time.Now().Add(time.Hour).UnixMicro()), Offset: 1}
	first := publisher.Message(group, 1, "m")
	first.Known = future
	had := publisher.Put(first)
	r.Received(group, 0, 1)
	server.Client().FlushAll(t.Context())
	from := r.Events()
	if next := publisher.Say(group, 2, "new"); next.Epoch <= had.Epoch {
		t.Errorf("published at %v, receivers had %v", next, had)
	}
	r.Received(group, from, 1)

	brokertest.Eventually(t, "the probes tell of that epoch", func() bool {
		text := server.Client().Get(t.Context(), keys("").record(probeTopic)).Val()
		return text != "" && recordIn(t, text).top.Epoch >= had.Epoch
	})
	came, n := relayOn(t, server.URL), uint64(0)
	brokertest.Eventually(t, "a relay that came since knows it", func() bool {
		server.Client().Del(t.Context(), "r:{group:g}")
		n++
		return came.Say(group, n, "newer").Epoch > had.Epoch
	})
}

// TestLastEntryDeleted deletes the newest entry of a history. The next message must get the
// position that follows the position of that entry. A page of history must leave the deleted entry
// out.
func TestLastEntryDeleted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	had := say(r, group, 1, 9)
	if err := server.Client().RPop(t.Context(), "l:{group:g}").Err(); err != nil {
		t.Fatal(err)
	}
	next := protocol.Position{Epoch: had.Epoch, Offset: had.Offset + 1}
	if got := r.Say(group, 10, "behind"); got != next {
		t.Errorf("published at %v behind %v", got, had)
	}
	before := protocol.Position{Epoch: had.Epoch, Offset: had.Offset - 1}
	page := r.History(group, before)
	if len(page.Publications) != 1 || page.Publications[0].Position != next || page.Through != next {
		t.Errorf("history behind %v: %+v", before, page)
	}
}

// TestRecordLostAlone deletes the record of a topic, as a Redis that evicts keys does. The topic's
// history and hash are left. The next publication must tell where the previous epoch ended, and the
// marks in the hash must still be in force.
func TestRecordLostAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	for i := range byte(20) {
		p := r.Message(group, 5, "m")
		p.Instance = protocol.Instance{i + 1, 9}
		r.Put(p)
	}
	hash := keys("").marks(group)
	if n := server.Client().HLen(t.Context(), hash).Val(); n != 4 {
		t.Fatalf("%d marks in the hash", n)
	}
	last := say(r, group, 1, 5)
	server.Client().Del(t.Context(), keys("").record(group))
	other := relayOn(t, server.URL)
	next := other.Say(group, 1, "behind")
	page := other.History(group, protocol.Position{Epoch: last.Epoch, Offset: last.Offset - 3})
	if len(page.Publications) != 1 || page.Publications[0].Position != next || page.Publications[0].Previous != last {
		t.Errorf("%+v, want %v behind %v", page.Publications, next, last)
	}
	if second := other.Say(group, 2, "m"); second.Epoch != next.Epoch || second.Offset != 2 {
		t.Errorf("published at %v behind %v", second, next)
	}
	p := r.Message(group, 5, "m")
	p.Instance = protocol.Instance{1, 9}
	if answer := r.Ask(p); answer.Outcome != broker.Duplicate {
		t.Errorf("a mark in the hash is forgotten: %+v", answer)
	}
}

// TestListLostAlone deletes the history of a topic, as a Redis that evicts keys does. The topic's
// record is left, and goes on. A history has what is published then, and is not kept for ever.
func TestListLostAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	had, list := say(r, group, 1, 5), keys("").list(group)
	if n := server.Client().Del(t.Context(), list).Val(); n != 1 {
		t.Fatalf("%d histories deleted", n)
	}
	next := say(r, group, 6, 2)
	if next != (protocol.Position{Epoch: had.Epoch, Offset: had.Offset + 2}) {
		t.Errorf("published at %v behind %v", next, had)
	}
	page := r.History(group, protocol.Position{})
	if len(page.Publications) != 2 || page.Through != next {
		t.Errorf("%+v, want 2 up to %v", page, next)
	}
	if got := server.Client().PTTL(t.Context(), list).Val(); got <= broker.DefaultHistoryAge || got > broker.DefaultHistoryAge*9/8 {
		t.Errorf("the history expires in %v", got)
	}
}

// TestReplicaPromotedBehind loses the last messages with the master. The relay goes over to a
// replica that never had these messages. Further messages must begin a later epoch.
func TestReplicaPromotedBehind(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replication := newProxy(t, master)
	host, port, _ := net.SplitHostPort(replication.listener.Addr().String())
	replica := redistest.Start(t, "--replicaof", host, port)
	way := newProxy(t, master)
	r := relayOn(t, way.url)
	r.Join(group)
	same := say(r, group, 1, 3)
	brokertest.Eventually(t, "the replica has them", func() bool {
		text := replica.Client().Get(t.Context(), "r:{group:g}").Val()
		return text != "" && recordIn(t, text).top == same
	})

	replication.swallow.Store(true)
	had := say(r, group, 4, 3)
	r.Received(group, 0, 6)
	master.Kill()
	from := r.Events()
	way.target.Store(replica.Addr)
	if err := replica.Client().Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	if again, _ := awaitSubscribed(r, from, group); again.Top != same {
		t.Errorf("subscribed again at %v, want %v", again.Top, same)
	}
	wantLater(t, replica.URL, r, had)
}

// TestPromotedInPlace makes a running server a replica, and at once a master again. The topic must
// go on in a new epoch. A publication that Redis refuses meanwhile is tried again.
func TestPromotedInPlace(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	before := r.Say(group, 1, "m")
	for _, args := range [][]any{{"replicaof", "127.0.0.1", "1"}, {"replicaof", "no", "one"}} {
		if err := server.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	n := uint64(1)
	brokertest.Eventually(t, "a new epoch", func() bool {
		n++
		return r.Say(group, n, "m").Epoch > before.Epoch
	})
	brokertest.Eventually(t, "all is well", func() bool { return r.Broker.(*Broker).state.ok() })
	if after := r.Say(group, n+1, "m"); after.Offset != 2 {
		t.Errorf("%v follows the first of the new epoch", after)
	}
}

// TestConnectionLost cuts the publisher's idle connection again and again, and publishes after each
// cut. The topic must go on in its epoch. On a busy machine, the publisher may notice the loss only
// after it has sent the publication. Then the test publishes the message again. But at least one
// message must be published at the first attempt.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	p := newProxy(t, redistest.Start(t))
	r := relayOn(t, p.url)
	before, unnoticed := r.Say(group, 1, "m"), 0
	for n := uint64(2); n < 12 || unnoticed == 0 && n < 100; n++ {
		from := r.Events()
		p.of(t, publisherKind, func(c *proxied) { c.client.Close() })
		m := r.Message(group, n, "m")
		answer := r.Once(m)
		if answer.Err != nil {
			awaitState(r, from, false)
			answer = r.Ask(m)
		} else {
			unnoticed++
			if got := absences(r, from); len(got) != 0 {
				t.Errorf("a lost connection that nobody used was told as %+v", got)
			}
		}
		if got := answer.Position; got.Epoch != before.Epoch || got.Offset != n {
			t.Errorf("published at %v", got)
		}
	}
	if unnoticed == 0 {
		t.Error("no publication went by way of a new connection at once")
	}
}

// TestInfoNotPermitted checks that a relay without the permission for INFO publishes before and
// after a restart of Redis, and that it warns once of the missing permission.
func TestInfoNotPermitted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	if err := server.Client().Do(t.Context(), "acl", "setuser", "relay", "on", ">p", "~*", "&*", "+@all", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	var log safeBuffer
	b, err := New(Config{URL: "redis://relay:p@" + server.Addr, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r := brokertest.Start(t, b)
	before := say(r, group, 1, 2)
	server.Save()
	from := r.Events()
	server.Kill()
	_, index := awaitState(r, from, true)
	server.Restart()
	server.Client().Do(t.Context(), "acl", "setuser", "relay", "on", ">p", "~*", "&*", "+@all", "-info")
	awaitState(r, index, false)
	if after := r.Say(group, 3, "m"); after.Epoch != before.Epoch || after.Offset != 3 {
		t.Errorf("published at %v after %v", after, before)
	}
	if got := recordOf(t, server.Client(), "", group); len(got.givers) > 0 {
		t.Errorf("kept as %+v", got)
	}
	if n := strings.Count(log.String(), "does not tell who it is"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}

// TestIdentityAdopted plants a last position without the identity of a server. The topic must go on
// in its epoch. After the next message, the last position must have an identity.
func TestIdentityAdopted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	before := r.Say(group, 1, "m")
	own := recordOf(t, server.Client(), "", group)
	own.givers = nil
	plant(t, server.Client(), "", group, own)
	if after := r.Say(group, 2, "m"); after.Epoch != before.Epoch || after.Offset != 2 {
		t.Errorf("%v after %v", after, before)
	}
	if got := recordOf(t, server.Client(), "", group); len(got.givers) != 1 || got.top.Offset != 2 {
		t.Errorf("kept as %+v", got)
	}
	again := broker.Publish{Topic: group, Content: protocol.Content{From: "1", Msg: "m"}, Instance: r.Instance, Number: 2}
	if answer := r.Ask(again); answer.Outcome != broker.Duplicate || answer.Position.Offset != 2 {
		t.Errorf("%+v", answer)
	}
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
