package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/loopback"
	"github.com/edgerelay/edgerelay/test/race"
)

// roamer is a client of the SDK that reaches edges through a proxy of its own. The proxy can cut it
// off, and lead it to another edge.
type roamer struct {
	*client
	way *cluster.Proxy
}

// roam connects a user to an edge, through a new proxy. The query is the part of the URL that
// follows the path.
func roam(t testing.TB, e *cluster.Edge, user, query string, config centrifuge.Config) *roamer {
	t.Helper()
	config.MinReconnectDelay, config.MaxReconnectDelay = 20*time.Millisecond, 200*time.Millisecond
	way := cluster.NewProxy(t, loopback.FreeAddr(t), e.Addr())
	r := &roamer{dial(t, "ws://"+way.Addr()+"/connection/websocket"+query, user, config), way}
	r.await("is connected", func() bool { return r.connected == 1 })
	return r
}

// cut resets the client's connection, and waits until the client knows. Until the method comesTo is
// called, the client reaches no edge.
func (r *roamer) cut() {
	r.t.Helper()
	r.mu.Lock()
	before := len(r.ended)
	r.mu.Unlock()
	r.way.Refuse()
	r.await("knows that it is cut off", func() bool { return len(r.ended) > before })
}

// comesTo lets the client reach an edge again.
func (r *roamer) comesTo(e *cluster.Edge) {
	r.way.SetTarget(e.Addr())
	r.way.Allow()
}

// counter publishes successive numbers to a channel.
type counter struct {
	*client
	channel string
	next    int
}

// says publishes the next n numbers. Each publish must be answered.
func (c *counter) says(n int) {
	c.t.Helper()
	for range n {
		if err := c.say(c.channel, strconv.Itoa(c.next)); err != nil {
			c.t.Fatalf("publish %d to %s: %v", c.next, c.channel, err)
		}
		c.next++
	}
}

// whole waits until a client has got n publications of a channel. These must be the numbers from
// the given one on, each once and in order, and their offsets must follow each other.
func (c *client) whole(channel string, from, n int) {
	c.t.Helper()
	got := c.got(channel, n)
	for i, r := range got {
		if r.Data != strconv.Itoa(from+i) || i > 0 && r.Offset != got[i-1].Offset+1 {
			c.t.Fatalf("%s: publication %d of %s is %s at offset %d, want %d; all are %v", c.user, i, channel, r.Data, r.Offset, from+i, got)
		}
	}
}

// recovers waits until subscriptions of the client to a channel have begun n times. The n-th one
// must say that nothing is lost.
func (c *client) recovers(channel string, n int) {
	c.t.Helper()
	if b := c.began(channel, n); !b.Recoverable || !b.WasRecovering || !b.Recovered {
		c.t.Errorf("%s: subscription %d to %s began with %+v, want recovered", c.user, n, channel, b)
	}
}

// loses waits until subscriptions of the client to a channel have begun n times. The n-th one must
// say that publications may be lost.
func (c *client) loses(channel string, n int) {
	c.t.Helper()
	if b := c.began(channel, n); !b.Recoverable || !b.WasRecovering || b.Recovered {
		c.t.Errorf("%s: subscription %d to %s began with %+v, want not recovered", c.user, n, channel, b)
	}
}

const (
	openRules = "user:* read=self write=any; * read=any write=any"
	anybody   = "?user="
)

// twoEdges starts two edges, each with a relay of its own. So a client that goes from one edge to
// the other comes to a relay that has not followed the client's channels.
func twoEdges(t *testing.T, env cluster.Env) (*cluster.Cluster, [2]*cluster.Edge) {
	t.Helper()
	c := cluster.New(t, options(t))
	return c, [2]*cluster.Edge{c.StartEdge(nil, c.StartRelay(env)), c.StartEdge(nil, c.StartRelay(env))}
}

// TestP11_AClientThatWasCutOffGetsWhatItMissed cuts a client off, by its connection or by the death
// of its edge. Others publish to the client's subscription, to the user's own channel and to a
// channel of its token. The client comes to another edge. It must get everything that was published
// meanwhile, once and in order, before what is published later.
func TestP11_AClientThatWasCutOffGetsWhatItMissed(t *testing.T) {
	t.Parallel()
	for name, die := range map[string]func(*cluster.Edge){
		"its connection is cut": func(*cluster.Edge) {},
		"its edge is killed":    (*cluster.Edge).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, options(t))
			relay := cluster.Env{"JWT_KEYS": "k1:" + secret, "RELAY_CHANNELS": "user:* read=self write=any; news read=token write=any; room read=any write=any"}
			edge := cluster.Env{"EDGE_AUTH": "jwt", "JWT_KEYS": relay["JWT_KEYS"]}
			first, second := c.StartEdge(edge, c.StartRelay(relay)), c.StartEdge(edge, c.StartRelay(relay))
			ann := roam(t, first, "ann", "", centrifuge.Config{Token: sign(t, time.Hour, jwt.MapClaims{"channels": []string{"news"}})})
			ann.subscribe("room")
			pub := dial(t, second.URL("/connection/websocket"), "pub", centrifuge.Config{Token: sign(t, time.Hour, jwt.MapClaims{"sub": "pub"})})
			var all []*counter
			for _, channel := range []string{"room", "user:ann", "news"} {
				all = append(all, &counter{client: pub, channel: channel})
			}
			say := func(n int) {
				t.Helper()
				for _, c := range all {
					c.says(n)
				}
			}
			say(3)
			for _, c := range all {
				ann.whole(c.channel, 0, 3)
			}
			ann.cut()
			die(first)
			say(5)
			ann.comesTo(second)
			for _, c := range all {
				ann.recovers(c.channel, 2)
			}
			say(3)
			for _, c := range all {
				ann.whole(c.channel, 0, 11)
				if b := ann.began(c.channel, 2); b.Had != 3 || b.At.Offset != ann.got(c.channel, 3)[2].Offset {
					t.Errorf("the second subscription to %s began with %+v, want the client's own position behind 3 publications", c.channel, b)
				}
			}
		})
	}
}

// TestP11_TheSubsOfAConnectAreRecovered connects with two channels in the field subs. SDKs do so
// with channels to which the server has subscribed them at an earlier connect. While the client was
// away, one of the channels got publications. Both channels must be recovered, and the publications
// must be in the reply.
func TestP11_TheSubsOfAConnectAreRecovered(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": openRules})
	w := connectRaw(t, edges[0], "ann")
	at := map[string]position{}
	for i, channel := range []string{"busy", "calm"} {
		w.Send(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":%q}}`, i+2, channel))
		at[channel] = w.subscribed(i + 2).position
	}
	w.Close()
	pub := counter{client: connect(t, edges[1], "pub"), channel: "busy"}
	pub.says(3)
	w = dialRaw(t, edges[1], "?user=ann")
	w.Send(fmt.Sprintf(`{"id":1,"connect":{"subs":{"busy":{"recover":true,"epoch":%q},"calm":{"recover":true,"epoch":%q}}}}`,
		at["busy"].Epoch, at["calm"].Epoch))
	var r struct {
		Connect struct{ Subs map[string]result }
	}
	if err := json.Unmarshal([]byte(w.line()), &r); err != nil {
		t.Fatal(err)
	}
	busy, calm := r.Connect.Subs["busy"], r.Connect.Subs["calm"]
	if !busy.Recovered || len(busy.Publications) != 3 || !calm.Recovered || len(calm.Publications) != 0 {
		t.Errorf("the connect is answered with %+v", r.Connect.Subs)
	}
	for channel, n := range map[string]string{"busy": "3", "calm": "0"} {
		if err := pub.say(channel, n); err != nil {
			t.Fatal(err)
		}
		if line := w.line(); !strings.Contains(line, fmt.Sprintf(`{"channel":%q,"pub":{"data":%s,`, channel, n)) {
			t.Errorf("then comes %s", line)
		}
	}
}

// TestP11_AChannelThatWasSilentIsRecovered subscribes to three channels to which nobody has
// published yet. Nobody has published to the user's own channel either. The first publication of
// one channel comes before the client is cut off. The first publications of another channel and of
// the user's own come while the client is away. The last channel gets none until the client has
// come back. The client must get everything.
func TestP11_AChannelThatWasSilentIsRecovered(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": openRules})
	ann := roam(t, edges[0], "ann", anybody+"ann", centrifuge.Config{})
	pub := connect(t, edges[1], "pub")
	never, later, early := &counter{pub, "never", 0}, &counter{pub, "later", 0}, &counter{pub, "early", 0}
	own := &counter{pub, "user:ann", 0}
	all := []*counter{never, later, early, own}
	for _, c := range all {
		if c != own {
			ann.subscribe(c.channel)
		}
		if b := ann.began(c.channel, 1); !b.Recoverable || b.At.Epoch == "" || b.At.Epoch == "0" || b.At.Offset != 0 {
			t.Errorf("the subscription to %s began with %+v, want an epoch and offset 0", c.channel, b)
		}
	}
	early.says(2)
	ann.whole("early", 0, 2)
	ann.cut()
	for _, c := range all[1:] {
		c.says(3)
	}
	ann.comesTo(edges[1])
	for _, c := range all {
		ann.recovers(c.channel, 2)
		ann.whole(c.channel, 0, c.next)
	}
	// Nothing is published while the client is away for the second time.
	ann.cut()
	ann.comesTo(edges[0])
	for _, c := range all {
		ann.recovers(c.channel, 3)
		c.says(1)
		ann.whole(c.channel, 0, c.next)
	}
}

// TestP11_ARelayIsKilledWhileClientsResume lets clients ask for what they missed, and holds back
// the relay's answers. Then the relay is killed. Another relay must answer all clients, and no
// connection may end.
func TestP11_ARelayIsKilledWhileClientsResume(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	env := cluster.Env{"RELAY_CHANNELS": openRules}
	relays := []*cluster.Relay{c.StartRelay(env), c.StartRelay(env)}
	e := c.StartEdge(nil, relays...)
	pub := counter{client: connect(t, c.StartEdge(nil, c.StartRelay(env)), "pub"), channel: "room"}
	pub.says(2)
	const clients, missed = 10, 100
	var all []*raw
	var at position
	for i := range clients {
		w := connectRaw(t, e, fmt.Sprint("u", i))
		w.Send(`{"id":2,"subscribe":{"channel":"room"}}`)
		at = w.subscribed(2).position
		w.Send(`{"id":3,"unsubscribe":{"channel":"room"}}`)
		w.expect(`{"id":3,"unsubscribe":{}}`)
		all = append(all, w)
	}
	pub.says(missed)

	relay := used(t, e, relays)
	link := e.Link()
	asked := func() float64 {
		return relay.Metrics().Sum("edgerelay_relay_commands_total", `kind="subscribe"`)
	}
	before := asked()
	link.FreezeBack()
	for _, w := range all {
		w.Send(fmt.Sprintf(`{"id":4,"subscribe":{"channel":"room","recover":true,"epoch":%q,"offset":%d}}`, at.Epoch, at.Offset))
	}
	cluster.Eventually(t, "the relay has been asked by all", func() bool { return asked() >= before+clients })
	relay.Kill()
	link.Thaw()
	for _, w := range all {
		r := w.subscribed(4)
		if !r.Recovered || len(r.Publications) != missed || string(r.Publications[missed-1].Data) != strconv.Itoa(pub.next-1) {
			t.Fatalf("%s is told %+v, want %d publications", w.Name, r, missed)
		}
	}
	pub.says(1)
	for _, w := range all {
		w.heard(w.line(), "room", pub.next-2)
	}
}

// TestP11_ClientsComeAndGoWhileOthersTalk publishes all the time. Meanwhile clients are cut off at
// random, and come back to one of two edges, and relays are killed. Each client must get each
// publication once and in order.
func TestP11_ClientsComeAndGoWhileOthersTalk(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	env := cluster.Env{"RELAY_CHANNELS": openRules}
	relays := []*cluster.Relay{c.StartRelay(env), c.StartRelay(env)}
	edges := []*cluster.Edge{c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)}
	pub := &counter{client: connect(t, edges[0], "pub"), channel: "room"}
	const clients, cuts = 12, 6
	var all []*roamer
	for i := range clients {
		r := roam(t, edges[i%2], fmt.Sprint("u", i), anybody+fmt.Sprint("u", i), centrifuge.Config{})
		r.subscribe("room")
		all = append(all, r)
	}
	ctx, stop := context.WithCancel(t.Context())
	var talking, roaming sync.WaitGroup
	defer talking.Wait()
	defer stop()
	talking.Go(func() {
		for ; ctx.Err() == nil; pub.next++ {
			if err := pub.say("room", strconv.Itoa(pub.next)); err != nil {
				t.Errorf("publish %d: %v", pub.next, err)
				return
			}
			time.Sleep(5 * time.Millisecond) // the pace of the talk
		}
	})
	for _, r := range all {
		roaming.Go(func() {
			for n := range cuts {
				// The SDK 0.12.1 has a data race of its own if a connection ends while a subscribe
				// is under way.
				if race.Enabled {
					r.began("room", n+1)
				}
				time.Sleep(rand.N(300 * time.Millisecond)) // how long a client stays
				r.way.Refuse()
				time.Sleep(rand.N(200 * time.Millisecond)) // and how long it is away
				r.comesTo(edges[rand.N(2)])
			}
		})
	}
	for _, relay := range relays {
		relay.Kill()
		relay.Restart()
		cluster.Eventually(t, relay.Name+" is live", relay.Live)
		cluster.Eventually(t, "both edges have a link", func() bool { return edges[0].Linked() && edges[1].Linked() })
	}
	roaming.Wait()
	stop()
	talking.Wait()
	pub.says(1)
	again := 0
	for _, r := range all {
		r.whole("room", 0, pub.next)
		r.mu.Lock()
		for n, b := range r.begun["room"] {
			again += min(n, 1)
			if b.WasRecovering != (n > 0) || b.Recovered != (n > 0) {
				t.Errorf("%s: subscription %d began with %+v", r.user, n+1, b)
			}
		}
		r.mu.Unlock()
	}
	if again == 0 {
		t.Error("no client was cut off")
	}
	t.Logf("%d publications, %d clients came back %d times", pub.next, clients, again)
}

// TestP11_ATrimmedHistoryIsNotCalledRecovered cuts a client off twice. The first time, more is
// published than the history of the channel keeps, and the client must be told that something is
// lost. The second time, as much is published as the history keeps, and the client must get
// everything.
func TestP11_ATrimmedHistoryIsNotCalledRecovered(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]cluster.Env{
		"by the channel's rule": {"RELAY_CHANNELS": "room read=any write=any history=3/1m"},
		"by the relay":          {"RELAY_CHANNELS": "room read=any write=any", "RELAY_HISTORY_SIZE": "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, edges := twoEdges(t, env)
			ann := roam(t, edges[0], "ann", anybody+"ann", centrifuge.Config{})
			ann.subscribe("room")
			pub := &counter{connect(t, edges[1], "pub"), "room", 0}
			pub.says(2)
			ann.whole("room", 0, 2)
			ann.cut()
			pub.says(8)
			ann.comesTo(edges[1])
			ann.loses("room", 2)
			pub.says(1)
			got := ann.got("room", 3)
			if len(got) != 3 || got[2].Data != "10" || got[2].Offset != got[1].Offset+9 {
				t.Fatalf("ann got %+v", got)
			}
			ann.cut()
			pub.says(3)
			ann.comesTo(edges[0])
			ann.recovers("room", 3)
			pub.says(1)
			for i, r := range ann.got("room", 7)[2:] {
				if r.Data != strconv.Itoa(10+i) {
					t.Fatalf("then ann got %s, want %d", r.Data, 10+i)
				}
			}
		})
	}
}

// TestP11_APositionIsNeverBelieved names positions that the server never gave: of the future, of
// another channel, and with epochs that never were. Nothing may be recovered, and the channel must
// go on where it was.
func TestP11_APositionIsNeverBelieved(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": openRules})
	w := connectRaw(t, edges[0], "ann")
	w.Send(`{"id":2,"subscribe":{"channel":"room"}}` + "\n" + `{"id":3,"subscribe":{"channel":"other"}}`)
	own, other := w.subscribed(2).Epoch, w.subscribed(3).Epoch
	if own == other {
		t.Fatalf("two channels have the epoch %s", own)
	}
	room, strange := &counter{connect(t, edges[1], "pub"), "room", 0}, &counter{connect(t, edges[1], "other"), "other", 0}
	room.says(5)
	strange.says(5)
	for range 10 { // five publications of each channel
		w.line()
	}
	epoch, err := strconv.ParseUint(own, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	id := 3
	unsubscribe := func(channel string) {
		t.Helper()
		id++
		w.Send(fmt.Sprintf(`{"id":%d,"unsubscribe":{"channel":%q}}`, id, channel))
		w.expect(fmt.Sprintf(`{"id":%d,"unsubscribe":{}}`, id))
	}
	unsubscribe("other")
	since := func(text string, flag int) {
		id++
		w.Send(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"room","flag":%d,"recover":true%s}}`, id, flag, text))
	}
	for _, forged := range []string{
		`,"epoch":"` + own + `","offset":6`,
		`,"epoch":"` + own + `","offset":9007199254740992`,
		`,"epoch":"` + own + `","offset":18446744073709551615`,
		`,"epoch":"` + other + `","offset":2`,
		`,"epoch":"` + fmt.Sprint(epoch+1) + `","offset":2`,
		`,"epoch":"` + fmt.Sprint(epoch-1) + `","offset":2`,
		`,"epoch":"` + fmt.Sprint(uint64(math.MaxUint64)) + `","offset":2`,
		`,"epoch":"99999999999999999999999999","offset":2`,
		`,"epoch":"-1","offset":2`, `,"epoch":"_","offset":2`, `,"epoch":"","offset":2`, `,"epoch":" ` + own + `","offset":2`, `,"epoch":"0` + own + `","offset":2`,
		`,"epoch":"0","offset":2`, `,"epoch":"0"`, `,"epoch":"0","offset":5`,
		`,"offset":2`, `,"offset":5`, ``,
	} {
		unsubscribe("room")
		since(forged, 1)
		if r := w.subscribed(id); r.Recovered || !r.WasRecovering || r.Epoch != own || r.Offset != 5 {
			t.Errorf("%s is answered with %+v, want not recovered, at offset 5 of %s", forged, r, own)
		}
		unsubscribe("room")
		since(forged, 3)
		w.expect(fmt.Sprintf(`{"id":%d,"error":{"code":112,"message":"unrecoverable position"}}`, id))

		guest := dialRaw(t, edges[1], "?user=bob") // its relay does not follow the channel
		guest.Send(`{"id":1,"connect":{"subs":{"room":{"recover":true` + forged + `}}}}`)
		var r struct {
			Connect struct{ Subs map[string]result }
		}
		line := guest.line()
		if sub := &r.Connect.Subs; json.Unmarshal([]byte(line), &r) != nil || (*sub)["room"].Recovered || (*sub)["room"].Epoch != own {
			t.Errorf("%s in a connect is answered with %s", forged, line)
		}
		guest.Drop()
	}
	unsubscribe("room")
	since(`,"epoch":"`+own+`","offset":2`, 3)
	if r := w.subscribed(id); !r.Recovered || len(r.Publications) != 3 {
		t.Errorf("the client's own position is answered with %+v", r)
	}
	room.says(1)
	if line := w.line(); !strings.Contains(line, `"data":5,`) || !strings.Contains(line, `"offset":6`) || strings.Contains(line, "epoch") {
		t.Errorf("then comes %s", line)
	}
}

// TestP11_AChannelWithoutHistoryIsNotRecoverable subscribes to a channel whose rule says history=0.
// It must be as if there were no positions at all.
func TestP11_AChannelWithoutHistoryIsNotRecoverable(t *testing.T) {
	t.Parallel()
	_, edges := twoEdges(t, cluster.Env{"RELAY_CHANNELS": "bare read=any write=any history=0; user:* read=self write=any history=0"})
	w := connectRaw(t, edges[0], "raw")
	for id, said := range map[int][2]string{
		2: {`"flag":1`, `{}`}, 4: {`"positioned":true,"recoverable":true`, `{}`},
		6: {`"recover":true,"epoch":"1","offset":1`, `{"was_recovering":true}`},
	} {
		w.Send(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":"bare",%s}}`, id, said[0]))
		w.expect(fmt.Sprintf(`{"id":%d,"subscribe":%s}`, id, said[1]))
		w.Send(fmt.Sprintf(`{"id":%d,"unsubscribe":{"channel":"bare"}}`, id+1))
		w.expect(fmt.Sprintf(`{"id":%d,"unsubscribe":{}}`, id+1))
	}
	w.Send(`{"id":8,"history":{"channel":"bare","limit":1}}`)
	w.expect(`{"id":8,"error":{"code":108,"message":"not available"}}`)

	ann := roam(t, edges[0], "ann", anybody+"ann", centrifuge.Config{})
	ann.subscribe("bare")
	pub := connect(t, edges[1], "pub")
	all := []*counter{{pub, "bare", 0}, {pub, "user:ann", 0}}
	for _, c := range all {
		c.says(2)
		ann.got(c.channel, 2)
	}
	ann.cut()
	for _, c := range all {
		c.says(1)
	}
	ann.comesTo(edges[1])
	for _, c := range all {
		if b := ann.began(c.channel, 2); b.Recoverable || b.WasRecovering || b.Recovered || b.At.Epoch != "" {
			t.Errorf("the second subscription to %s began with %+v", c.channel, b)
		}
		c.says(1)
		got := ann.got(c.channel, 3)
		if len(got) != 3 || got[2].Data != "3" {
			t.Errorf("ann got %+v of %s", got, c.channel)
		}
	}
}
