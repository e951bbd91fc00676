package gateway

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/test/race"
)

// TestABatchOfTheLinkIsOneWriteToEachClient checks that the messages of one batch for a client are
// written in one call when the batch is complete.
func TestABatchOfTheLinkIsOneWriteToEachClient(t *testing.T) {
	for _, members := range []int{1, inlineMost, inlineMost + 1, gatherFrom + 1} {
		g := start(t, nil, nil)
		clients := make([]*rawClient, members)
		for i := range clients {
			clients[i] = g.raw(fmt.Sprint("/chat/channel/", i), "")
		}
		before := g.metric("client_writes_total", "")
		for i := range 5 {
			g.hub.BeginBatch()
			g.publish("all", fmt.Sprint(i))
		}
		g.hub.EndBatch()
		for _, c := range clients {
			for i := range 5 {
				if _, text, err := c.frame(); text != fmt.Sprint(i) || err != nil {
					t.Fatalf("%d members: %q %v, want %d", members, text, err, i)
				}
			}
		}
		eventually(t, "the writes are counted", func() bool { return g.metric("client_writes_total", "")-before >= float64(members) })
		if writes := g.metric("client_writes_total", "") - before; writes != float64(members) {
			t.Errorf("%v writes to %d members", writes, members)
		}
	}
}

// TestABatchThatBreaksOffIsWritten checks that nothing stays held back if a link ends in the middle
// of a batch.
func TestABatchThatBreaksOffIsWritten(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/channel/1", "")
	g.hub.BeginBatch()
	g.publish("all", "last")
	g.hub.LinkDown()
	if _, text, err := c.frame(); text != "last" || err != nil {
		t.Fatalf("%q %v", text, err)
	}
}

// TestALongBatchIsBegunBeforeItIsWhole checks that the first messages of a long batch are written
// before the batch ends.
func TestALongBatchIsBegunBeforeItIsWhole(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Queue = 64 << 20 })
	c := g.raw("/chat/channel/1", "")
	awaitWritable(g, []*rawClient{c})
	defer g.hub.EndBatch()
	for range holdMost + 1 {
		g.hub.BeginBatch()
		g.hub.Publication(link.Publication{Topic: numberOf("all"), Payload: []byte("x")})
	}
	if _, text, err := c.frame(); text != "x" || err != nil {
		t.Fatalf("%q %v", text, err)
	}
	g.hub.EndBatch()
	for range holdMost {
		c.frame()
	}
	for i := range holdMost + 1 { // a relay sends Ahead while the broker is away
		g.hub.BeginBatch()
		g.hub.Ahead(link.Ahead{Topic: numberOf("all"), ID: uint64(i + 1), Payload: []byte("y")})
	}
	if _, text, err := c.frame(); text != "y" || err != nil {
		t.Fatalf("%q %v", text, err)
	}
	g.hub.EndBatch()
}

// awaitWritable publishes a message and returns when each client has received it. Each conn then
// has its writer. Just after the answer to its upgrade, a conn may have no writer yet. If a test
// then started the writers, they would not find this conn.
func awaitWritable(g *gateway, clients []*rawClient) {
	g.publish("all", "here")
	for _, c := range clients {
		c.wantFrame(textByte, "here")
	}
}

// TestAHoldIsBounded checks that Server.beat makes the writers write messages of a batch that does
// not end. A link that stalls leaves a batch unfinished.
func TestAHoldIsBounded(t *testing.T) {
	g := start(t, nil, nil)
	clients := make([]*rawClient, inlineMost+1)
	for i := range clients {
		clients[i] = g.raw(fmt.Sprint("/chat/channel/", i), "")
	}
	awaitWritable(g, clients)
	g.hub.BeginBatch()
	defer g.hub.EndBatch()
	g.publish("all", "x")
	g.server.beat(time.Now(), g.server.now())
	for _, c := range clients {
		if _, text, err := c.frame(); text != "x" || err != nil {
			t.Fatalf("%q %v", text, err)
		}
	}
}

// TestAClientThatStallsGetsTheRest checks a client whose socket does not take everything at once.
// The remaining messages must be written later, completely and in order. Meanwhile another client
// must get all messages.
func TestAClientThatStallsGetsTheRest(t *testing.T) {
	const messages = 2000
	g := start(t, nil, func(c *Config) { c.Queue = 64 << 20 })
	stalled := g.raw("/chat/channel/1", "")
	other := g.raw("/chat/channel/2", "")
	text := func(i int) string { return fmt.Sprintf("%d %s", i, bytes.Repeat([]byte("x"), 10*i)) }
	for i := range messages {
		g.publish("all", text(i))
	}
	for _, c := range []*rawClient{other, stalled} {
		for i := range messages {
			if _, got, err := c.frame(); got != text(i) || err != nil {
				t.Fatalf("message %d: %.20q %v", i, got, err)
			}
		}
	}
	if n := g.metric("dropped_total", dropLabels[dropSlow]); n != 0 {
		t.Errorf("%v messages were dropped", n)
	}
	eventually(t, "all frames are counted once", func() bool { return g.metric("client_frames_written_total", "") == 2*messages })
}

func TestSkip(t *testing.T) {
	frames := func() *batch {
		return &batch{frames: [][]byte{textFrame("a"), pingFrame, textFrame("bc")}}
	}
	for _, c := range []struct {
		n, frames, messages int
		remainder           string
	}{
		{0, 0, 2, "\x81\x01a\x89\x00\x81\x02bc"},
		{1, 0, 2, "\x01a\x89\x00\x81\x02bc"},
		{3, 1, 1, "\x89\x00\x81\x02bc"},
		{4, 1, 1, "\x00\x81\x02bc"},
		{8, 2, 1, "c"},
		{9, 3, 0, ""},
	} {
		b := frames()
		n := b.skip(c.n)
		if remainder := bytes.Join(b.frames, nil); n != c.frames || string(remainder) != c.remainder || b.messages() != c.messages {
			t.Errorf("skip %d: %d frames, remainder %q with %d messages; want %+v", c.n, n, remainder, b.messages(), c)
		}
	}
}

// TestAllocPerDelivery checks that a publication to 100 members costs no more than ten allocations,
// the writes to the sockets included, whichever protocol the members speak.
func TestAllocPerDelivery(t *testing.T) {
	const members, most = 100, 10
	if race.Enabled {
		t.Skip("the race detector lets pools forget; CI runs this without it")
	}
	text := make([]byte, 128)
	buf := make([]byte, headerLen(len(text))+len(text))
	check := func(t *testing.T, g *gateway, clients []*rawClient, publish func()) {
		n := testing.AllocsPerRun(100, func() {
			g.hub.BeginBatch()
			publish()
			g.hub.EndBatch()
			for _, c := range clients {
				if _, err := io.ReadFull(c.r, buf); err != nil {
					t.Fatal(err)
				}
			}
		})
		if n > most {
			t.Errorf("%v allocations for %d deliveries, want %d at most, whatever their number", n, members, most)
		}
	}
	clients := make([]*rawClient, members)
	t.Run("chat", func(t *testing.T) {
		g := start(t, nil, nil)
		for i := range clients {
			clients[i] = g.raw(fmt.Sprint("/chat/channel/", i), "")
		}
		p := link.Publication{Topic: numberOf("all"), Payload: text}
		check(t, g, clients, func() { g.hub.Publication(p) })
	})
	t.Run("SDKs", func(t *testing.T) {
		g := startSDK(t, nil, nil)
		g.hub.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all"})
		for i := range clients {
			clients[i] = g.sdk(fmt.Sprint(i))
		}
		for _, s := range g.hub.living() {
			if err := g.hub.Bound(link.Bound{Session: s.info.ID, Topic: numberOf("all")}, false); err != nil {
				t.Fatal(err)
			}
		}
		p := link.Forms{Topic: numberOf("all"), Texts: []link.Rendering{{Form: link.FormJSON, Text: text}}}
		check(t, g, clients, func() { g.hub.Forms(p) })
	})
}

// TestGatheringIsBounded checks that messages for gatherFrom conns are written, although the
// writers start only after gatherFor.
func TestGatheringIsBounded(t *testing.T) {
	g := start(t, nil, nil)
	clients := make([]*rawClient, gatherFrom)
	for i := range clients {
		clients[i] = g.raw(fmt.Sprint("/chat/channel/", i), "")
	}
	for range 3 {
		g.hub.BeginBatch()
		g.publish("all", "x")
		g.hub.EndBatch()
		for _, c := range clients {
			c.SetReadDeadline(time.Now().Add(patience))
			if _, text, err := c.frame(); text != "x" || err != nil {
				t.Fatalf("%q %v", text, err)
			}
		}
	}
}

// TestP7_ABurstIsBegunBeforeItFillsAQueue checks a batch whose messages fill an eighth of a
// client's queue. These messages must be written before the batch ends.
func TestP7_ABurstIsBegunBeforeItFillsAQueue(t *testing.T) {
	g := start(t, nil, nil)
	clients := make([]*rawClient, gatherFrom)
	for i := range clients {
		clients[i] = g.raw(fmt.Sprint("/chat/channel/", i), "")
	}
	awaitWritable(g, clients)
	text := string(bytes.Repeat([]byte("x"), 1<<10))
	defer g.hub.EndBatch()
	for range (256<<10)/holdShare/len(text) + 1 {
		g.hub.BeginBatch()
		g.publish("all", text)
	}
	for _, c := range clients {
		if _, got, err := c.frame(); got != text || err != nil {
			t.Fatalf("%.20q %v", got, err)
		}
	}
}
