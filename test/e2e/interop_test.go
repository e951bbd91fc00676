package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/e2e/seedpeer"
)

// TestOriginalServersOnTheSameRedis runs a relay with two edges beside an original server, which a
// Peer plays. Clients of the edges must get what the Peer publishes, and the Peer must get what the
// clients say.
func TestOriginalServersOnTheSameRedis(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	relay := c.StartRelay(nil)
	e, f := c.StartEdge(nil, relay), c.StartEdge(nil, relay)
	peer := seedpeer.New(t, c.RedisURL())

	t.Run("hears our direct messages", func(t *testing.T) {
		a, to := channel(t, e, chat.Unique("a")), chat.Unique("theirs")
		theirs := peer.Subscribe("user:" + to)
		a.Send(chat.One(to, `Hello "you" 【】`))
		theirs.Expect(seedpeer.Envelope{FromId: a.id, ToId: to, Msg: `Hello "you" 【】`})
	})
	t.Run("hears our broadcasts", func(t *testing.T) {
		a, theirs := channel(t, e, chat.Unique("a")), peer.Subscribe("all")
		a.Send(chat.All("Hello All"))
		theirs.Expect(seedpeer.Envelope{FromId: a.id, Msg: "Hello All"})
	})
	t.Run("hears joins, messages and leaves of a group it shares with us", func(t *testing.T) {
		a, g := channel(t, e, chat.Unique("a")), chat.Unique("g")
		theirs := peer.Subscribe("group:" + g)
		a.join(t, g)
		a.Send(chat.Group(g, "Hi"))
		a.leave(t, g)
		theirs.Expect(
			seedpeer.Envelope{FromId: a.id, ToId: g, Msg: chat.Joined(a.id, g)},
			seedpeer.Envelope{FromId: a.id, ToId: g, Msg: "Hi"},
			seedpeer.Envelope{FromId: a.id, ToId: g, Msg: chat.Left(a.id, g)})
	})
	t.Run("sends direct messages to all our connections of a user", func(t *testing.T) {
		b := chat.Unique("b")
		near, far := channel(t, e, b), onlyUser(t, f, b)
		peer.Publish("user:"+b, seedpeer.Envelope{FromId: "9", ToId: b, Msg: "Hello"})
		near.Expect(chat.Direct("9", "Hello"))
		far.Expect(chat.Direct("9", "Hello"))
		quiet(t, e, near, far)
	})
	t.Run("sends to our groups, its own join notice as it is", func(t *testing.T) {
		a, g := channel(t, e, chat.Unique("a")), chat.Unique("g")
		a.join(t, g)
		b := onlyGroup(t, f, g, chat.Unique("b"))
		notice := "user 【9】 add  to group 【" + g + "】" // two spaces, unlike our own notice
		peer.Publish("group:"+g, seedpeer.Envelope{FromId: "9", ToId: g, Msg: notice})
		peer.Publish("group:"+g, seedpeer.Envelope{FromId: "9", ToId: g, Msg: "Hi"})
		for _, u := range []*user{a, b} {
			u.Expect(chat.InGroup(g, "9", notice), chat.InGroup(g, "9", "Hi"))
		}
		quiet(t, f, a, b)
	})
	t.Run("sends broadcasts whose ToId is absent, null or empty", func(t *testing.T) {
		a, b := channel(t, e, chat.Unique("a")), onlyAll(t, f, chat.Unique("b"))
		for _, raw := range []string{`{"FromId":"9","Msg":"x"}`, `{"FromId":"9","ToId":null,"Msg":"x"}`, `{"FromId":"9","ToId":"","Msg":"x"}`} {
			peer.PublishRaw("all", raw)
			a.Expect(chat.ToAll("9", "x"))
			b.Expect(chat.ToAll("9", "x"))
		}
		quiet(t, e, a, b)
	})
	t.Run("the sender's user is skipped by what a peer sends too, but on user topics", func(t *testing.T) {
		a, b, g := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b")), chat.Unique("g")
		a.join(t, g)
		b.join(t, g)
		a.Expect(chat.InGroup(g, b.id, chat.Joined(b.id, g)))
		peer.Publish("group:"+g, seedpeer.Envelope{FromId: a.id, ToId: g, Msg: "from a"})
		peer.Publish("all", seedpeer.Envelope{FromId: a.id, Msg: "all from a"})
		peer.Publish("user:"+a.id, seedpeer.Envelope{FromId: a.id, ToId: a.id, Msg: "to a"})
		b.ExpectAnyOrder(chat.InGroup(g, a.id, "from a"), chat.ToAll(a.id, "all from a"))
		a.Expect(chat.Direct(a.id, "to a"))
		quiet(t, e, a, b)
	})
	t.Run("the channel decides the target, not ToId", func(t *testing.T) {
		a, b := channel(t, e, chat.Unique("a")), channel(t, f, chat.Unique("b"))
		peer.Publish("user:"+a.id, seedpeer.Envelope{FromId: "9", ToId: b.id, Msg: "whose"})
		a.Expect(chat.Direct("9", "whose"))
		peer.PublishRaw("user:"+a.id, `{"FromId":"9","ToId":7,"Msg":"number"}`)
		a.Expect(chat.Direct("9", "number"))
		quiet(t, e, a, b)
	})
	t.Run("P10: what breaks the rules is dropped and counted", func(t *testing.T) {
		a := channel(t, e, chat.Unique("a"))
		before := dropped(relay.Metrics())
		bad := []string{"", "x", "[]", "null", `{"FromId":"9"}`, `{"Msg":"x"}`, `{"FromId":9,"Msg":"x"}`, `{"FromId":"9","Msg":7}`, `{"FromId":"9","Msg":null}`,
			`{"FromId":"","Msg":"x"}`, `{"FromId":"` + strings.Repeat("x", 129) + `","Msg":"x"}`, `{"FromId":"a\u0000b","Msg":"x"}`,
			`{"FromId":"9","Msg":"` + strings.Repeat("x", 1<<20+1) + `"}`}
		for _, raw := range bad {
			peer.PublishRaw("user:"+a.id, raw)
		}
		peer.Publish("user:"+a.id, seedpeer.Envelope{FromId: "9", Msg: "good"})
		a.Expect(chat.Direct("9", "good"))
		quiet(t, e, a)
		if got := dropped(relay.Metrics()) - before; got != float64(len(bad)) {
			t.Errorf("%v dropped publications counted, want %d", got, len(bad))
		}
	})
	t.Run("a group that only a peer has exists", func(t *testing.T) {
		a, g := channel(t, e, chat.Unique("a")), chat.Unique("g")
		theirs := peer.Subscribe("group:" + g)
		a.Send(chat.Group(g, "Hi"))
		a.Expect(chat.NotIn(a.id, g))
		theirs.Close()
		untilNotExists(t, a, g)
	})
	t.Run("our group channels are unsubscribed with the last member", func(t *testing.T) {
		a, b, g := channel(t, e, chat.Unique("a")), onlyGroup(t, f, "x", chat.Unique("b")), chat.Unique("g")
		a.join(t, g)
		if n := peer.Subscribers("group:" + g); n != 1 {
			t.Fatalf("%d subscribers of a group with a member, want 1 of the relay", n)
		}
		a.leave(t, g)
		cluster.Eventually(t, "unsubscribed", func() bool { return peer.Subscribers("group:"+g) == 0 })
		a.Close()
		cluster.Eventually(t, "user channel unsubscribed", func() bool { return peer.Subscribers("user:"+a.id) == 0 })
		quiet(t, e, b)
	})
	t.Run("keeps its order beside ours", func(t *testing.T) {
		a, b, g := onlyGroup(t, e, "order", "a"), onlyGroup(t, f, "order", "b"), "order"
		const n = 200
		for i := range n {
			a.Send(fmt.Sprint("ours ", i))
			peer.Publish("group:"+g, seedpeer.Envelope{FromId: "9", ToId: g, Msg: fmt.Sprint("theirs ", i)})
		}
		ours, theirs := 0, 0
		for range 2 * n {
			frame, err := b.Next()
			if err != nil {
				t.Fatal(err)
			}
			switch frame.Text {
			case chat.InGroup(g, "a", fmt.Sprint("ours ", ours)):
				ours++
			case chat.InGroup(g, "9", fmt.Sprint("theirs ", theirs)):
				theirs++
			default:
				t.Fatalf("got %q after ours %d, theirs %d", frame.Text, ours, theirs)
			}
		}
		for i := range n {
			a.Expect(chat.InGroup(g, "9", fmt.Sprint("theirs ", i)))
		}
		quiet(t, e, a, b)
	})
}

// The function dropped returns the number of publications that a relay has dropped, whatever the
// reason.
func dropped(m cluster.Metrics) float64 { return m.Sum(metricDropped) }
