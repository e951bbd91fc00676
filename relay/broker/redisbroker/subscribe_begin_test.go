package redisbroker

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// newConnAt returns a subscriber's connection that reads tops from server, and the events that it
// tells. The server is not known to fail.
func newConnAt(t *testing.T, server *redistest.Server) (*subscriberConn, *[]broker.Event) {
	t.Helper()
	s, told := newTestConn(t)
	s.subscriber.retention = retention{size: 100, ageMS: 120_000, markMS: 3_600_000}
	s.subscriber.state.tried(true)
	s.tops = newLine(server.Client().Options())
	t.Cleanup(s.tops.close)
	return s, told
}

// wish does what the writer and the receiver do for a Subscribe that begins the epoch of topic.
func (s *subscriberConn) wish(t *testing.T, topic protocol.Topic) {
	t.Helper()
	s.subscriber.subscribe(topic, 7, true)
	s.expect([]expectation{{topic: topic, generation: s.subscriber.want(topic).generation}})
	if err := s.confirm(pushSubscribe, []byte(topic)); err != nil {
		t.Fatal(err)
	}
}

// read reads the tops of the topics that wait. It fails the test if a top could not be read.
func (s *subscriberConn) read(t *testing.T) {
	t.Helper()
	if failed, bad, _ := s.readBatch(t.Context(), s.takeUnread()); len(failed)+len(bad) > 0 {
		t.Errorf("tops that could not be read: %q %q", failed, bad)
	}
}

// TestSubscribeKnowsItsServer changes the identity that the server of tops is believed to have, as
// if the server were replaced between two reads. An epoch that is then begun counts as the other
// server's, so it must not be told. The next one must be later.
func TestSubscribeKnowsItsServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, told := newConnAt(t, server)
	s.tops.after(s.subscriber.state.outages.Load())
	s.identity, s.identified = identity{"another", "another1"}, true
	s.wish(t, group)
	s.read(t)
	if len(*told) > 0 {
		t.Errorf("told %+v", *told)
	}
	s.read(t)
	if want := (broker.Subscribed{Topic: group, Token: 7}); len(*told) != 1 || (*told)[0] != want {
		t.Errorf("told %+v, want %+v", *told, want)
	}
	own := recordOf(t, server.Client(), "", group)
	if own.givers[0] != "another1" {
		t.Fatalf("kept as %+v", own)
	}
	s.wish(t, group)
	s.read(t)
	if e := (*told)[len(*told)-1].(broker.Subscribed); e.Begun <= own.top.Epoch || !e.Genuine {
		t.Errorf("told %+v, after %v", e, own.top)
	}
}

// TestAWishIsAnsweredOnce subscribes again without a new Subscribe, as after a loss, when Redis has
// lost the record. The epoch must not be begun again. Topics without a wish must have no record.
func TestAWishIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t)
	s, told := newConnAt(t, client)
	s.wish(t, group)
	s.pretend("group:plain", 8)
	if err := s.confirm(pushSubscribe, []byte("group:plain")); err != nil {
		t.Fatal(err)
	}
	s.read(t)
	if n := client.Client().Exists(t.Context(), keys("").record("group:plain")).Val(); n != 0 {
		t.Error("a record was made for a topic without a wish")
	}
	if e := (*told)[0].(broker.Subscribed); e.Topic != group || e.Begun == 0 {
		t.Errorf("told %+v", e)
	}
	client.Client().FlushAll(t.Context())
	s.subscriber.again(group, s.subscriber.want(group).generation)
	s.expect([]expectation{{topic: group, generation: s.subscriber.want(group).generation}})
	if err := s.confirm(pushSubscribe, []byte(group)); err != nil {
		t.Fatal(err)
	}
	s.read(t)
	if e := (*told)[len(*told)-1]; len(*told) != 3 || e != (broker.Subscribed{Topic: group, Token: 7}) {
		t.Errorf("told %+v", *told)
	}
	if n := len(s.subscriber.begins); n != 0 {
		t.Errorf("%d wishes are left", n)
	}
}

// TestAWishIsTakenBack subscribes with a wish to begin the epoch. Before the wish is fulfilled, it
// unsubscribes, or subscribes without a wish. No epoch may be begun then.
func TestAWishIsTakenBack(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t)
	s, told := newConnAt(t, client)
	s.subscriber.subscribe(group, 7, true)
	s.subscriber.unsubscribe(group)
	if n := len(s.subscriber.begins); n != 0 {
		t.Errorf("%d wishes of topics that nobody wants", n)
	}
	s.subscriber.subscribe(group, 7, true)
	s.pretend(group, 8)
	if err := s.confirm(pushSubscribe, []byte(group)); err != nil {
		t.Fatal(err)
	}
	s.read(t)
	if want := (broker.Subscribed{Topic: group, Token: 8}); len(*told) != 1 || (*told)[0] != want {
		t.Errorf("told %+v, want %+v", *told, want)
	}
	if n := client.Client().Exists(t.Context(), keys("").record(group)).Val(); n != 0 {
		t.Error("a record was made")
	}
}

// TestNothingIsBegunWhileRedisRefuses notes that Redis refuses publications, though it would take
// them. A wish must be answered without an epoch, and without a record.
func TestNothingIsBegunWhileRedisRefuses(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, told := newConnAt(t, server)
	s.subscriber.state.sink = func(broker.Event) {}
	s.subscriber.state.failed(replyError("OOM command not allowed"))
	s.wish(t, group)
	s.read(t)
	if e := (*told)[0].(broker.Subscribed); len(*told) != 1 || e.Begun != 0 {
		t.Errorf("told %+v", *told)
	}
	if n := server.Client().Exists(t.Context(), keys("").record(group)).Val(); n != 0 {
		t.Error("a record was made")
	}
}

// TestSubscribingKnowsAndTellsTheLatestEpoch subscribes to topics in epochs that the clock has not
// reached. The relay must know these epochs then, and begin a later one for a topic that has none.
func TestSubscribingKnowsAndTellsTheLatestEpoch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, told := newConnAt(t, server)
	future := uint64(time.Now().Add(time.Hour).UnixMicro())
	for i, topic := range []protocol.Topic{"group:begun", "group:published"} {
		epoch := future + uint64(i)
		plant(t, server.Client(), "", topic, record{top: protocol.Position{Epoch: epoch, Offset: uint64(i)}})
		s.pretend(topic, 7)
		if err := s.confirm(pushSubscribe, []byte(topic)); err != nil {
			t.Fatal(err)
		}
		s.read(t)
		if got := s.subscriber.epochs.Latest(); got != epoch {
			t.Errorf("behind %s the latest epoch is %d, want %d", topic, got, epoch)
		}
	}
	s.wish(t, group)
	s.read(t)
	if e := (*told)[len(*told)-1].(broker.Subscribed); e.Topic != group || e.Begun != future+2 {
		t.Errorf("told %+v, want it begun as %d", e, future+2)
	}
}

// TestSubscribeBeginsWithoutAScript removes the scripts from Redis again and again. Epochs must be
// begun all the same, and no absence may be told.
func TestSubscribeBeginsWithoutAScript(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := relayOn(t, server.URL)
	r.Join(group)
	from := r.Events()
	for i := range 3 {
		if err := server.Client().ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if e := r.JoinBegun(protocol.Topic(fmt.Sprint("group:", i))); e.Begun == 0 || !e.Genuine {
			t.Errorf("subscribed: %+v", e)
		}
	}
	if got := absences(r, from); len(got) != 0 {
		t.Errorf("told %+v", got)
	}
}

// TestSubscribeBeginsBesideABadKey gives a topic's key a value of another type. Its subscription
// must not be told, since its top cannot be read. Epochs of other topics must be begun beside it.
func TestSubscribeBeginsBesideABadKey(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Client().LPush(t.Context(), keys("").record("group:bad"), "a list")
	s, told := newConnAt(t, server)
	s.wish(t, "group:bad")
	s.wish(t, group)
	s.read(t)
	if len(*told) != 1 || (*told)[0].(broker.Subscribed).Topic != group || (*told)[0].(broker.Subscribed).Begun == 0 {
		t.Errorf("told %+v", *told)
	}
	if _, bad, _ := s.readBatch(t.Context(), s.takeUnread()); len(bad) != 1 {
		t.Errorf("then tops are bad: %q", bad)
	}
}

// TestSubscribeBeginsBeforeTheLayoutIsKnown subscribes before a Redis Cluster has told its layout.
// The epoch must be begun once it has, and not again if the topic moves to another master. No epoch
// may be begun if the wish was taken back.
func TestSubscribeBeginsBeforeTheLayoutIsKnown(t *testing.T) {
	t.Parallel()
	c := openBroker(t, Config{URL: startCluster(t, false).URL}).(*Cluster)
	c.Subscribe(group, 7, true)
	c.Subscribe("group:left", 8, true)
	c.Unsubscribe("group:left")
	c.Subscribe("group:plain", 9, true)
	c.Subscribe("group:plain", 10, false)
	r := brokertest.Start(t, c)
	if e, _ := awaitSubscribed(r, 0, group); e.Begun == 0 || !e.Genuine {
		t.Errorf("subscribed: %+v", e)
	}
	if e, _ := awaitSubscribed(r, 0, "group:plain"); e.Begun != 0 {
		t.Errorf("subscribed without a wish: %+v", e)
	}
	c.calls.RLock()
	defer c.calls.RUnlock()
	if n := len(c.begins); n != 0 {
		t.Errorf("%d wishes are left", n)
	}
}
