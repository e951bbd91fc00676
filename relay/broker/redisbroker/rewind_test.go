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

// say publishes n messages, from number first on, and returns the position of the last.
func say(r *brokertest.Relay, t protocol.Topic, first, n uint64) (last protocol.Position) {
	for i := range n {
		last = r.Say(t, first+i, fmt.Sprint("message ", first+i))
	}
	return last
}

// wantLater has a Broker that knows nothing publish, and a subscriber that had more than Redis has get it as what comes after all.
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
		expired bool // the history is, its last position is not
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
			from := r.Events()
			server.Kill()
			server.Restart()
			if c.expired {
				server.Client().Del(t.Context(), "h:{group:g}")
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

// TestLastEntryDeleted deletes the newest entry of a history, whose id Redis does not take again: publishing goes on behind it.
func TestLastEntryDeleted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	had := say(r, group, 1, 3)
	if n, err := server.Client().XDel(t.Context(), "h:{group:g}", had.String()).Result(); n != 1 {
		t.Fatal(n, err)
	}
	if got := r.Say(group, 4, "behind"); got != (protocol.Position{Epoch: had.Epoch, Offset: had.Offset + 1}) {
		t.Errorf("published at %v behind %v", got, had)
	}
}

// TestReplicaPromotedBehind loses the last messages with the master, and the subscriber goes over to a replica that never had them.
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
	eventually(t, "the replica has them", func() bool { return replica.Client().Get(t.Context(), "m:{group:g}:"+r.Instance.String()).Val() == "3" })

	replication.swallow.Store(true)
	had := say(r, group, 4, 3)
	r.Received(group, 0, 6)
	from := r.Events()
	master.Kill()
	way.target.Store(replica.Addr)
	if err := replica.Client().Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	if again, _ := awaitSubscribed(r, from, group); again.Top != same {
		t.Errorf("subscribed again at %v, want %v", again.Top, same)
	}
	wantLater(t, replica.URL, r, had)
}

// TestPromotedInPlace promotes the server that the publisher stays connected to.
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
	eventually(t, "a new epoch", func() bool {
		n++
		return r.Say(group, n, "m").Epoch > before.Epoch
	})
	if after := r.Say(group, n+1, "m"); after.Offset != 2 {
		t.Errorf("%v follows the first of the new epoch", after)
	}
}

// TestConnectionLost cuts the publisher's idle connection: the next publication is published on a new one, in the same epoch, and nothing is
// told.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	p := newProxy(t, redistest.Start(t))
	r := relayOn(t, p.url)
	before, from := r.Say(group, 1, "m"), r.Events()
	for n := range uint64(10) {
		p.of(publisherKind, func(c *proxied) { c.client.Close() })
		if got := r.Say(group, n+2, "m"); got.Epoch != before.Epoch || got.Offset != n+2 {
			t.Errorf("published at %v", got)
		}
	}
	if got := states(r, from); len(got) != 0 {
		t.Errorf("a lost connection that nobody used was told as %+v", got)
	}
}

// TestInfoNotPermitted goes on as before, and says once what is missing.
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
	awaitState(r, from, true)
	server.Restart()
	server.Client().Do(t.Context(), "acl", "setuser", "relay", "on", ">p", "~*", "&*", "+@all", "-info")
	awaitState(r, from, false)
	if after := r.Say(group, 3, "m"); after.Epoch != before.Epoch || after.Offset != 3 {
		t.Errorf("published at %v after %v", after, before)
	}
	if got := server.Client().Get(t.Context(), "t:{group:g}").Val(); strings.Contains(got, " ") {
		t.Errorf("last position %q", got)
	}
	if n := strings.Count(log.String(), "does not tell who it is"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}

// TestIdentityAdopted continues a topic whose last position was kept without an identity.
func TestIdentityAdopted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	before := r.Say(group, 1, "m")
	server.Client().Set(t.Context(), "t:{group:g}", before.String(), 0)
	if after := r.Say(group, 2, "m"); after.Epoch != before.Epoch || after.Offset != 2 {
		t.Errorf("%v after %v", after, before)
	}
	if got := server.Client().Get(t.Context(), "t:{group:g}").Val(); !strings.HasPrefix(got, fmt.Sprintf("%d-2 ", before.Epoch)) {
		t.Errorf("kept as %q", got)
	}
	again := broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 2}
	if answer := r.Ask(again); answer.Outcome != broker.Duplicate || answer.Position.Offset != 2 {
		t.Errorf("%+v", answer)
	}
}

// eventually polls a condition of which no event tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(brokertest.Patience); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
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
