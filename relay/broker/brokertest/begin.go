package brokertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// begin begins the epoch of t, and returns it. It fails the test unless the answer says that
// nothing was published in that epoch, and that the server itself has begun it.
func begin(r *Relay, t protocol.Topic) uint64 {
	r.t.Helper()
	answer := r.Opened(t)
	if answer.Top.Epoch == 0 || answer.Top.Offset != 0 || !answer.Genuine {
		r.t.Fatalf("beginning %s: %+v", t, answer)
	}
	return answer.Top.Epoch
}

// testBegin begins an epoch through two relays, and publishes through a third one.
func testBegin(t *testing.T, b Backend) {
	x, y, z := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	x.Join(group)
	epoch := begin(x, group)
	for range 3 {
		if again := begin(y, group); again != epoch {
			t.Fatalf("begun as %d, then as %d", epoch, again)
		}
	}
	var want []broker.Publication
	for n := uint64(1); n <= 3; n++ {
		at := z.Say(group, n, fmt.Sprint(n))
		if at != (protocol.Position{Epoch: epoch, Offset: n}) {
			t.Fatalf("publication %d at %v, begun as %d", n, at, epoch)
		}
		// No epoch was before this one, so the first publication has no Previous.
		want = append(want, broker.Publication{
			Topic: group, Position: at, Content: protocol.Content{From: "1", Msg: fmt.Sprint(n)}, Instance: z.Instance, Number: n,
		})
		if answer := y.Opened(group); answer.Top != at || !answer.Genuine {
			t.Errorf("beginning what has the top %v: %+v", at, answer)
		}
	}
	samePublications(t, "received", x.Received(group, 0, 3), want)
	samePublications(t, "history", y.History(group, protocol.Position{Epoch: epoch}).Publications, want)
	if again := z.Say(group, 4, "m"); again != (protocol.Position{Epoch: epoch, Offset: 4}) {
		t.Errorf("begun behind publications: %v", again)
	}
}

// testBegunIsNoTop begins an epoch. No event but Began may tell a position with the offset 0.
func testBegunIsNoTop(t *testing.T, b Backend) {
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	if before := other.Join(group); before.Begun != 0 || before.Genuine {
		t.Errorf("subscribed before: %+v", before)
	}
	epoch := begin(r, group)
	Eventually(t, "the server that has begun it tells it", func() bool {
		e := other.Join(group)
		if !e.Top.IsZero() || e.Begun != epoch {
			t.Fatalf("subscribed: %+v, begun as %d", e, epoch)
		}
		return e.Genuine
	})
	page := r.History(group, protocol.Position{})
	if len(page.Publications) > 0 || page.More || !page.Top.IsZero() || !page.Through.IsZero() || page.Genuine {
		t.Errorf("history: %+v", page)
	}
	// This request raises the mark, so it is a duplicate although nothing was published.
	p := r.Message(group, 1, "m")
	p.Floor = 5
	if answer := r.Ask(p); answer.Outcome != broker.Duplicate || !answer.Position.IsZero() {
		t.Errorf("a duplicate: %+v", answer)
	}
	early := r.Message(group, 9, "m")
	early.Predecessor = 8
	if answer := r.Ask(early); answer.Outcome != broker.Refused || !answer.Position.IsZero() {
		t.Errorf("refused: %+v", answer)
	}
	if again := begin(other, group); again != epoch {
		t.Errorf("begun as %d, then as %d", epoch, again)
	}
	at := r.Say(group, 6, "m")
	if at != (protocol.Position{Epoch: epoch, Offset: 1}) {
		t.Errorf("published at %v, begun as %d", at, epoch)
	}
	Eventually(t, "the server that gave it tells it", func() bool {
		e := other.Join(group)
		if e.Top != at || e.Begun != 0 {
			t.Fatalf("subscribed: %+v, want the top %v", e, at)
		}
		return e.Genuine
	})
}

// testBegunKnown publishes to topics whose epoch is begun. A publisher that has seen no later
// position must go on in that epoch. Any other publisher must begin a later epoch. In both cases
// the publication must have no Previous.
func testBegunKnown(t *testing.T, b Backend) {
	r := Start(t, b.NewBroker(t))
	for i, c := range []struct {
		name  string
		known func(epoch uint64) protocol.Position
		stays bool
	}{
		{"earlier", func(epoch uint64) protocol.Position { return protocol.Position{Epoch: epoch - 1, Offset: 9} }, true},
		{"begun", func(epoch uint64) protocol.Position { return protocol.Position{Epoch: epoch} }, true},
		{"more in it", func(epoch uint64) protocol.Position { return protocol.Position{Epoch: epoch, Offset: 1} }, false},
		{"later", func(epoch uint64) protocol.Position { return protocol.Position{Epoch: epoch + 1, Offset: 1} }, false},
	} {
		topic := protocol.GroupTopic(c.name)
		r.Join(topic)
		epoch := begin(r, topic)
		p := r.Message(topic, uint64(i+1), "m")
		p.Known = c.known(epoch)
		at := r.Put(p)
		if at.Offset != 1 || at.Epoch < epoch || (at.Epoch == epoch) != c.stays || !p.Known.Before(at) {
			t.Errorf("%s: published at %v knowing %v, begun as %d", c.name, at, p.Known, epoch)
		}
		if got := r.Received(topic, 0, 1)[0]; got.Position != at || !got.Previous.IsZero() {
			t.Errorf("%s: received %+v", c.name, got)
		}
	}
}

// testBegunLater brings a topic into an epoch that the clock has not reached, as testLaterEpoch
// does. The relay that saw this epoch must begin later epochs on other topics. An epoch that a
// Began tells must count as seen, too.
func testBegunLater(t *testing.T, b Backend) {
	future := protocol.Position{Epoch: uint64(time.Now().Add(time.Hour).UnixMicro()), Offset: 1}
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	first := r.Message(group, 1, "m")
	first.Known = future
	at := r.Put(first)
	epoch := begin(r, "group:next")
	if epoch <= at.Epoch {
		t.Errorf("another topic began as %d, which is not later than %v", epoch, at)
	}
	// The other relay learns of the epoch from its Began.
	if again := begin(other, "group:next"); again != epoch {
		t.Errorf("begun as %d, then as %d", epoch, again)
	}
	if next := other.Say("group:third", 1, "m"); next.Epoch <= epoch {
		t.Errorf("a third topic is in %v, which is not later than %d", next, epoch)
	}
}

// testBeginMany begins the epochs of many topics through two relays at once, without waiting for
// answers in between. The relays also read and count meanwhile.
func testBeginMany(t *testing.T, b Backend) {
	x, y := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	const topics = 2000
	topic := func(i int) protocol.Topic { return protocol.UserTopic(fmt.Sprint(i)) }
	told := make(map[protocol.Topic]uint64)
	for _, r := range []*Relay{x, y} {
		asked := make(map[uint64]protocol.Topic)
		r.repeat("beginning many", func() (failure error) {
			from := r.Events()
			for i := range topics {
				token := r.Token()
				asked[token] = topic(i)
				r.Begin(topic(i), token)
				if i%100 == 0 {
					r.ReadHistory(topic(i), protocol.Position{}, r.Token())
					r.CountSubscribers(topic(i), r.Token())
				}
			}
			for range topics {
				var e broker.Began
				e, from = Await(r, from, "Began", func(broker.Began) bool { return true })
				switch {
				case e.Err != nil:
					failure = e.Err
				case asked[e.Token] != e.Topic || e.Top.Epoch == 0 || e.Top.Offset != 0 || told[e.Topic] != 0 && told[e.Topic] != e.Top.Epoch:
					t.Fatalf("%+v for %s, begun as %d", e, asked[e.Token], told[e.Topic])
				default:
					told[e.Topic] = e.Top.Epoch
				}
			}
			return failure
		})
	}
	for i := 0; i < topics; i += 100 {
		if at := y.Say(topic(i), uint64(i+1), "m"); at != (protocol.Position{Epoch: told[topic(i)], Offset: 1}) {
			t.Errorf("published at %v, begun as %d", at, told[topic(i)])
		}
	}
	for _, r := range []*Relay{x, y} { // every request must be answered before the test ends
		r.History(group, protocol.Position{})
		r.Count(group)
	}
}

// testBegunExpires begins the epochs of three topics, and waits until they are forgotten. They must
// be kept for as long as a last position. Begin, Subscribe and Publish must then count no epoch as
// begun. An epoch that is begun again must be later.
func testBegunExpires(t *testing.T, b Backend) {
	t.Parallel() // this test waits for expiry
	r := Start(t, b.NewBroker(t))
	began := time.Now()
	again, joined, published := begin(r, "group:again"), begin(r, "group:joined"), begin(r, "group:published")
	// This is a little less than the sum of brief.HistoryAge and brief.MarkAge, since clocks are
	// not exact.
	const kept = 7*time.Second - 100*time.Millisecond
	Eventually(t, "forgotten by Begin", func() bool {
		now := begin(r, "group:again")
		if now != again && (now < again || time.Since(began) < kept) {
			t.Fatalf("begun as %d, and %v later as %d", again, time.Since(began), now)
		}
		return now != again
	})
	Eventually(t, "forgotten by Subscribe", func() bool {
		e := r.Join("group:joined")
		if e.Begun != 0 && e.Begun != joined || !e.Top.IsZero() {
			t.Fatalf("%+v, begun as %d", e, joined)
		}
		return e.Begun == 0
	})
	Eventually(t, "forgotten by Subscribe, and not published yet", func() bool { return r.Join("group:published").Begun == 0 })
	if at := r.Say("group:published", 1, "m"); at.Epoch <= published || at.Offset != 1 {
		t.Errorf("published at %v, begun as %d and forgotten", at, published)
	}
}

// testSubscribeBegins begins an epoch as it subscribes, in several ways. The epoch must be that of
// the first publication, and must be begun once. A topic with a top must have none begun.
func testSubscribeBegins(t *testing.T, b Backend) {
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	first := r.JoinBegun(group)
	if first.Begun == 0 || !first.Genuine || !first.Top.IsZero() {
		t.Fatalf("subscribed: %+v", first)
	}
	if again := r.JoinBegun(group); again.Begun != first.Begun || !again.Genuine {
		t.Errorf("subscribed again: %+v, begun as %d", again, first.Begun)
	}
	if epoch := begin(other, group); epoch != first.Begun {
		t.Errorf("begun as %d, and by another relay as %d", first.Begun, epoch)
	}
	for _, joined := range []broker.Subscribed{other.Join(group), other.JoinBegun(group)} {
		if joined.Begun != first.Begun {
			t.Errorf("another relay subscribed: %+v, begun as %d", joined, first.Begun)
		}
	}
	at := other.Say(group, 1, "m")
	if at != (protocol.Position{Epoch: first.Begun, Offset: 1}) {
		t.Errorf("published at %v, begun as %d", at, first.Begun)
	}
	for _, r := range []*Relay{r, other} {
		if got := r.Received(group, 0, 1)[0]; got.Position != at || !got.Previous.IsZero() {
			t.Errorf("received %+v, published at %v", got, at)
		}
		if e := r.JoinBegun(group); e.Top != at || e.Begun != 0 || !e.Genuine {
			t.Errorf("subscribed: %+v, want the top %v", e, at)
		}
	}
	// The wish ends with its subscription.
	r.Subscribe("group:unwanted", unanswered, true)
	r.Unsubscribe("group:unwanted")
	r.Join("group:unwanted")
	r.Subscribe("group:later", unanswered, false)
	if e := r.JoinBegun("group:later"); e.Begun == 0 {
		t.Errorf("subscribed: %+v", e)
	}
}

// The constant named unanswered is the token of requests whose answers do not matter.
const unanswered = 1 << 40

// testSubscribeBeginsMany subscribes to many topics without waiting for answers, and begins the
// epochs of two in three. Meanwhile another relay publishes to each topic. What the Subscribed of a
// topic tells must be followed by the topic's next publication.
func testSubscribeBeginsMany(t *testing.T, b Backend) {
	speaker, listener := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	const topics, atOnce = 300, 60
	topic := func(i int) protocol.Topic { return protocol.UserTopic(fmt.Sprint(i)) }
	from := listener.Events()
	for i := range topics {
		if i%atOnce == 0 {
			for j := i; j < i+atOnce; j++ {
				listener.Subscribe(topic(j), uint64(j+1), j%3 > 0)
			}
		}
		speaker.Say(topic(i), 1, "first")
	}
	told := make(map[protocol.Topic]broker.Subscribed)
	for len(told) < topics {
		var e broker.Subscribed
		e, from = Await(listener, from, "Subscribed", func(broker.Subscribed) bool { return true })
		told[e.Topic] = e
	}
	begun := 0
	for i := range topics {
		e, at := told[topic(i)], speaker.Say(topic(i), 2, "second")
		switch {
		case e.Begun == 0 && e.Top.IsZero() && i%3 > 0, e.Begun > 0 && (!e.Top.IsZero() || !e.Genuine), e.Top.Offset > 1:
			t.Errorf("subscribed: %+v", e)
		case max(e.Begun, e.Top.Epoch) > 0 && at != (protocol.Position{Epoch: max(e.Begun, e.Top.Epoch), Offset: 2}):
			t.Errorf("the second publication is at %v, behind %+v", at, e)
		case e.Begun > 0:
			begun++
		}
	}
	t.Logf("%d epochs were begun before the first publication", begun)
}

// testSubscribedGenuine checks that Subscribed says Genuine of a topic with publications, and not
// of another topic.
func testSubscribedGenuine(t *testing.T, b Backend) {
	r, other := Start(t, b.NewBroker(t)), Start(t, b.NewBroker(t))
	r.Say(group, 1, "m")
	Eventually(t, "the server that gave it tells it", func() bool { return other.Join(group).Genuine })
	if e := other.Join("group:silent"); e.Genuine || e.Begun != 0 {
		t.Errorf("nothing was published or begun: %+v", e)
	}
}
