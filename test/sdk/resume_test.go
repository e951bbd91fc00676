package sdk

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

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
