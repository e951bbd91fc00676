package sdk

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/loopback"
)

// TestTheFirstMessageOfTheSDKForJavaScript sends a connect and two subscribes in one message, as
// the SDK for JavaScript does. The edge must answer the three commands in their order, and both
// subscriptions must be live. The order of keys, unknown fields and a line feed at the end must
// change nothing.
func TestTheFirstMessageOfTheSDKForJavaScript(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	for name, first := range map[string][]string{
		"as it is written": {`{"connect":{"name":"js"},"id":1}`, `{"subscribe":{"channel":"a","flag":1},"id":2}`, `{"subscribe":{"channel":"b","flag":1},"id":3}`},
		"with the id first, and a line feed at the end": {`{"id":1,"connect":{"name":"js"}}`, `{"id":2,"subscribe":{"flag":1,"channel":"a"}}`,
			`{"id":3,"subscribe":{"channel":"b"}}`, ``},
		"with unknown fields": {`{"x":{"y":[1]},"connect":{"name":"js","flag":7,"z":null},"id":1}`,
			`{"subscribe":{"channel":"a","news":{"id":9}},"id":2}`, `{"subscribe":{"channel":"b"},"id":3,"x":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := dialRaw(t, e, "?user=ann")
			w.Send(strings.Join(first, "\n"))
			if got := w.line(); !strings.HasPrefix(got, `{"id":1,"connect":{"client":"`) || !strings.HasSuffix(got, `"ping":25,"pong":true}}`) {
				t.Errorf("the connect is answered with %s", got)
			}
			w.subscribed(2)
			w.subscribed(3)
			for id, channel := range map[int]string{4: "a", 5: "b"} {
				w.Send(fmt.Sprintf(`{"publish":{"channel":%q,"data":1},"id":%d}`, channel, id))
				w.hears(channel, "1", id)
			}
			w.Close()
		})
	}
}

// hears waits for the answer to a publish and for the publication. The two may come in any order.
func (w *raw) hears(channel, data string, id int) {
	w.t.Helper()
	answer, push := fmt.Sprintf(`{"id":%d,"publish":{}}`, id), fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":%s,`, channel, data)
	first, second := w.line(), w.line()
	if first != answer {
		first, second = second, first
	}
	if first != answer || !strings.HasPrefix(second, push) {
		w.t.Errorf("%s got %s and %s, want %s and %s", w.Name, first, second, answer, push)
	}
}

// TestEachSuccessHasItsResult checks the answer to each command that succeeds. The SDK for Go
// panics if an answer has no result, so even an empty result must be there.
func TestEachSuccessHasItsResult(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	w := connectRaw(t, c.StartEdge(nil, c.StartRelay(nil)), "ann")
	w.Send(`{"id":2,"subscribe":{"channel":"a"}}`)
	w.subscribed(2)
	for _, said := range [][2]string{
		{`{"id":3,"unsubscribe":{"channel":"a"}}`, `{"id":3,"unsubscribe":{}}`},
		{`{"id":4,"unsubscribe":{"channel":"a"}}`, `{"id":4,"unsubscribe":{}}`},
		{`{"id":5,"publish":{"channel":"a","data":null}}`, `{"id":5,"publish":{}}`},
		{`{"id":6,"refresh":{"token":"x"}}`, `{"id":6,"refresh":{}}`},
	} {
		w.Send(said[0])
		w.expect(said[1])
	}
}

// TestWhatIsRefusedLeavesTheConnection subscribes to a channel for the second time, to a channel
// that no rule knows, and to a channel that nobody may read. It also publishes to a channel that
// nobody may write. Each of these must be refused with the error that fits, and the connection must
// go on.
func TestWhatIsRefusedLeavesTheConnection(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(cluster.Env{"RELAY_CHANNELS": "open:* read=any write=any; shut:* read=none write=none"}))
	w := connectRaw(t, e, "ann")
	w.Send(`{"id":2,"subscribe":{"channel":"open:a"}}`)
	w.subscribed(2)
	for _, said := range [][2]string{
		{`{"id":3,"subscribe":{"channel":"open:a"}}`, `{"id":3,"error":{"code":105,"message":"already subscribed"}}`},
		{`{"id":4,"subscribe":{"channel":"other"}}`, `{"id":4,"error":{"code":102,"message":"unknown channel"}}`},
		{`{"id":5,"subscribe":{"channel":"shut:a"}}`, `{"id":5,"error":{"code":103,"message":"permission denied"}}`},
		{`{"id":6,"publish":{"channel":"shut:a","data":1}}`, `{"id":6,"error":{"code":103,"message":"permission denied"}}`},
	} {
		w.Send(said[0])
		w.expect(said[1])
	}
	w.Send(`{"id":7,"publish":{"channel":"open:a","data":1}}`)
	w.hears("open:a", "1", 7)

	ann := connect(t, e, "ann")
	for channel, why := range map[string]string{"other": "102 unknown channel", "shut:a": "103 permission denied"} {
		ann.begin(channel)
		ann.await("is told of "+channel, func() bool { return slices.Contains(ann.lost, "unsubscribed from "+channel+": "+why) })
	}
	ann.subscribe("open:b")
	if len(ann.ended) > 0 {
		t.Errorf("the SDK was told %q", ann.ended)
	}
}

// TestFeaturesThatAreNotOffered asks for delta compression, filters, compaction, other types of
// channels and rpc. It also names positions that never were. Each request must be answered in a way
// that SDKs understand, and another subscription must go on. Only a send, which has no answer, must
// end the connection.
func TestFeaturesThatAreNotOffered(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	w := connectRaw(t, e, "ann")
	for i, said := range [][2]string{
		{`{"channel":"live","flag":1}`, ``},
		{`{"channel":"delta","delta":"fossil"}`, ``},
		{`{"channel":"filter","tf":{"op":"eq","key":"k","val":"v"}}`, `"error":{"code":107,"message":"bad request"}`},
		{`{"channel":"map","type":1}`, `"error":{"code":103,"message":"permission denied"}`},
		{`{"channel":"poll","type":4}`, `"error":{"code":108,"message":"not available"}`},
		{`{"channel":"again","recover":true,"epoch":"E","offset":1}`, ``},
		{`{"channel":"state","recover":true,"epoch":"E","offset":1,"flag":3}`, `"error":{"code":112,"message":"unrecoverable position"}`},
		{`{"channel":"asks","positioned":true,"recoverable":true,"join_leave":true}`, ``},
	} {
		w.Send(fmt.Sprintf(`{"id":%d,"subscribe":%s}`, i+2, said[0]))
		if said[1] != "" {
			w.expect(fmt.Sprintf(`{"id":%d,%s}`, i+2, said[1]))
		} else if r := w.subscribed(i + 2); !r.Recoverable || r.Recovered {
			t.Errorf("%s is answered with %+v", said[0], r)
		}
	}
	w.Send(`{"id":20,"rpc":{"method":"m","data":{}}}`)
	w.expect(`{"id":20,"error":{"code":108,"message":"not available"}}`)
	w.Send(`{"id":21,"publish":{"channel":"live","data":1}}`)
	w.hears("live", "1", 21)
	w.Send(`{"send":{"data":1}}`)
	w.ends(3508, "not available")

	ann := connect(t, e, "ann")
	if _, err := ann.RPC(t.Context(), "getUser", []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "108") {
		t.Errorf("rpc: %v", err)
	}
	ann.subscribe("group:g")
	ann.stood()
	if err := ann.Send(t.Context(), []byte(`1`)); err != nil {
		t.Errorf("send: %v", err)
	}
	ann.isTold("disconnected 3508 not available")
}

// isTold waits until the SDK reports an end of the connection. It fails the test if the first
// report differs from the given text.
func (c *client) isTold(what string) {
	c.t.Helper()
	c.await("is told "+what, func() bool { return len(c.ended) > 0 })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended[0] != what {
		c.t.Errorf("%s was told %q, want %s", c.user, c.ended, what)
	}
}

// TestP6_ASubscriptionIsWholeFromItsAnswerOn subscribes and unsubscribes again and again, while
// somebody publishes to the channel. No publication may come before the answer to the subscribe, or
// behind the answer to the unsubscribe. Between the two answers no publication may be missed. A
// subscriber that publishes as soon as the subscribe is answered must get its own publication.
func TestP6_ASubscriptionIsWholeFromItsAnswerOn(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	r := c.StartRelay(nil)
	a, b := c.StartEdge(nil, r), c.StartEdge(nil, r)
	speaker := connect(t, a, "speaker")
	ctx, stop := context.WithCancel(t.Context())
	var speaking sync.WaitGroup
	defer speaking.Wait()
	defer stop()
	for k := range 4 { // at most four publishes are under way at a time
		speaking.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if err := speaker.say(fmt.Sprint("c", k), strconv.Itoa(n)); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	w := connectRaw(t, b, "raw")
	for i := range 60 {
		channel := fmt.Sprint("c", i%4)
		w.Send(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":%q}}`, 2*i+2, channel))
		w.subscribed(2*i + 2)
		last := w.hear(channel, 0)
		for range 3 {
			last = w.hear(channel, last)
		}
		w.Send(fmt.Sprintf(`{"id":%d,"unsubscribe":{"channel":%q}}`, 2*i+3, channel))
		for line := w.line(); line != fmt.Sprintf(`{"id":%d,"unsubscribe":{}}`, 2*i+3); line = w.line() {
			last = w.heard(line, channel, last)
		}
	}

	g := connect(t, b, "g")
	for i := range 40 {
		channel := fmt.Sprint("c", i%4)
		before := len(g.got(channel, 0))
		sub := g.subscribe(channel)
		said := fmt.Sprintf(`"behind subscribe %d"`, i)
		if err := g.say(channel, said); err != nil {
			t.Fatal(err)
		}
		g.await("gets what it said", func() bool {
			for _, r := range g.received[channel][before:] {
				if r.Data == said {
					return true
				}
			}
			return false
		})
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		if err := g.RemoveSubscription(sub); err != nil {
			t.Fatal(err)
		}
		last := 0
		for _, r := range g.got(channel, before)[before:] {
			n, err := strconv.Atoi(r.Data)
			if err == nil && last != 0 && n != last+1 {
				t.Fatalf("the SDK got %d behind %d", n, last)
			}
			if err == nil {
				last = n
			}
		}
	}
}

// hear waits for the next publication, and returns its number. That number must be the given number
// plus one, unless the given number is 0.
func (w *raw) hear(channel string, last int) int {
	w.t.Helper()
	return w.heard(w.line(), channel, last)
}

func (w *raw) heard(line, channel string, last int) int {
	w.t.Helper()
	text, ok := strings.CutPrefix(line, fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":`, channel))
	text, _, _ = strings.Cut(text, ",")
	n, err := strconv.Atoi(text)
	if !ok || err != nil || last != 0 && n != last+1 {
		w.t.Fatalf("%s got %s, want publication %d of %s", w.Name, line, last+1, channel)
	}
	return n
}

// In TestConnectionsLast, one client publishes and another client stays silent, for more than twice
// the time that an SDK waits for a ping. Neither client may lose its connection.
func TestConnectionsLast(t *testing.T) {
	long.Only(t, "an SDK waits 35 s for a ping")
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	busy, idle := connect(t, e, "busy"), connect(t, e, "idle")
	busy.subscribe("c")
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for range 150 {
		<-tick.C
		if err := busy.say("c", "1"); err != nil {
			t.Fatal(err)
		}
	}
	busy.got("c", 150)
	busy.stood()
	idle.stood()
}

// TestP3_AnEdgeThatStopsSendsSDKsElsewhere stops an edge behind a load balancer. The edge must
// close its clients' connections with 3001, and the clients must come back to the other edge with
// their subscriptions. No client may be told to stay away.
func TestP3_AnEdgeThatStopsSendsSDKsElsewhere(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	r := c.StartRelay(nil)
	first, second := c.StartEdge(nil, r), c.StartEdge(nil, r)
	balancer := cluster.NewProxy(t, loopback.FreeAddr(t), first.Addr())
	var all []*client
	for i := range 20 {
		user := fmt.Sprint("u", i)
		u := dial(t, "ws://"+balancer.Addr()+"/connection/websocket?user="+user, user, centrifuge.Config{})
		u.subscribe("group:g")
		all = append(all, u)
	}
	balancer.SetTarget(second.Addr())
	first.Terminate()
	first.Exited()
	for _, u := range all {
		u.await("is connected again", func() bool { return u.connected == 2 })
		u.isTold("connecting 3001 shutdown")
	}
	for _, u := range all {
		cluster.Eventually(t, u.user+" may publish", func() bool { return u.say("group:g", `"back"`) == nil })
	}
	for _, u := range all {
		u.got("group:g", len(all))
		if len(u.ended) != 1 {
			t.Errorf("%s was told %q", u.user, u.ended)
		}
	}
}
