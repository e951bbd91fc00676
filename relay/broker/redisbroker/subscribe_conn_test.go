package redisbroker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/resolve"
	"github.com/redis/go-redis/v9"
)

func newTestNames(t testing.TB) *resolve.Names {
	names := resolve.New(nil)
	t.Cleanup(names.Close)
	return names
}

// probingNothing is for a subscriber without a prober.
var probingNothing = probing{topic: func() protocol.Topic { return "" }}

// testCommon returns what a subscriber needs, for classic channels without a prefix.
func testCommon(m *metrics, log *slog.Logger) common {
	return common{
		pubsub: classicChannels, realm: keys("").realm(0, false), epochs: new(broker.Epochs), metrics: m, log: log,
		foreigners: &foreigners{metrics: m, log: log},
	}
}

// newTestConn returns a subscriber's connection that is not connected, and the events that it
// tells.
func newTestConn(t testing.TB) (*subscriberConn, *[]broker.Event) {
	t.Helper()
	opt := &redis.Options{Addr: "127.0.0.1:1"}
	fixOptions(opt, newTestNames(t), nil)
	m := newMetrics(nil)
	log := slog.New(slog.DiscardHandler)
	tops := newLine(opt)
	var told []broker.Event
	s := newSubscriberConn(newSubscriber(opt, testCommon(m, log), probingNothing, &identifier{log: log}, newState(log, m, nil), log), tops, func(e broker.Event) { told = append(told, e) }, time.Now())
	t.Cleanup(func() {
		tops.close()
		s.client.Close()
	})
	return s, &told
}

// pretend does what the writer does for one Subscribe, or for an Unsubscribe if token is 0. It
// sends no command.
func (s *subscriberConn) pretend(t protocol.Topic, token uint64) (generation uint64) {
	if token == 0 {
		s.subscriber.unsubscribe(t)
	} else {
		s.subscriber.subscribe(t, token, false)
	}
	generation = s.subscriber.want(t).generation
	s.expect([]expectation{{topic: t, generation: generation}})
	return generation
}

func bring(s *subscriberConn, t protocol.Topic, offset uint64) {
	e := protocol.Envelope{Content: protocol.Content{From: "1"}, Instance: protocol.Instance{1}, Number: offset, Realm: s.subscriber.realm, Position: protocol.Position{Epoch: 7, Offset: offset}}
	s.received(push{channel: []byte(t), payload: e.Append(nil)})
}

// TestTopOvertaken brings a publication while the top is being read. The publication comes before
// Subscribed, so the Top of that Subscribed must cover the publication. That Top is genuine only if
// it is in the epoch that was read, since the record does not say who gave another epoch.
func TestTopOvertaken(t *testing.T) {
	for name, c := range map[string]struct {
		read    standing
		top     protocol.Position
		genuine bool
	}{
		"a lower offset":                {standing{top: protocol.Position{Epoch: 7, Offset: 4}, genuine: true}, protocol.Position{Epoch: 7, Offset: 5}, true},
		"a lower offset, not genuine":   {standing{top: protocol.Position{Epoch: 7, Offset: 4}}, protocol.Position{Epoch: 7, Offset: 5}, false},
		"an earlier epoch":              {standing{top: protocol.Position{Epoch: 6, Offset: 9}, genuine: true}, protocol.Position{Epoch: 7, Offset: 5}, false},
		"begun":                         {standing{begun: 7, genuine: true}, protocol.Position{Epoch: 7, Offset: 5}, true},
		"begun, and an epoch came then": {standing{begun: 6, genuine: true}, protocol.Position{Epoch: 7, Offset: 5}, false},
		"a higher offset":               {standing{top: protocol.Position{Epoch: 7, Offset: 6}, genuine: true}, protocol.Position{Epoch: 7, Offset: 6}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, told := newTestConn(t)
			g := s.pretend(group, 5)
			bring(s, group, 3) // this comes before the confirmation
			if err := s.confirm(pushSubscribe, []byte(group)); err != nil {
				t.Fatal(err)
			}
			bring(s, group, 5)
			s.subscribed(group, g, c.read)
			bring(s, group, 7)
			if len(*told) != 4 {
				t.Fatalf("told %+v", *told)
			}
			want := broker.Subscribed{Topic: group, Token: 5, Top: c.top, Genuine: c.genuine}
			if (*told)[2] != want {
				t.Errorf("told %+v, want %+v", (*told)[2], want)
			}
		})
	}
}

// TestOldConfirmations subscribes and unsubscribes while earlier commands are not confirmed yet,
// and while the tops of the topic for earlier commands are not read yet. Only the last Subscribe
// may be answered.
func TestOldConfirmations(t *testing.T) {
	s, told := newTestConn(t)
	first := s.pretend(group, 1)
	s.confirm(pushSubscribe, []byte(group))
	s.pretend(group, 0)
	s.subscribed(group, first, standing{}) // the top for the first Subscribe comes late
	second := s.pretend(group, 2)
	third := s.pretend(group, 3)
	for _, kind := range []pushKind{pushUnsubscribe, pushSubscribe} {
		if err := s.confirm(kind, []byte(group)); err != nil {
			t.Fatal(err)
		}
	}
	s.subscribed(group, second, standing{})
	if len(*told) != 0 {
		t.Fatalf("told %+v before the last was confirmed", *told)
	}
	s.confirm(pushSubscribe, []byte(group))
	s.subscribed(group, second, standing{})
	s.subscribed(group, third, standing{})
	s.subscribed(group, third, standing{})
	if len(*told) != 1 || (*told)[0] != (broker.Subscribed{Topic: group, Token: 3}) {
		t.Errorf("told %+v", *told)
	}
}

func TestOutOfStep(t *testing.T) {
	s, _ := newTestConn(t)
	if err := s.confirm(pushSubscribe, []byte(group)); !errors.Is(err, errOutOfStep) {
		t.Errorf("unasked: %v", err)
	}
	s.pretend(group, 1)
	if err := s.confirm(pushUnsubscribe, []byte(group)); !errors.Is(err, errOutOfStep) {
		t.Errorf("another kind: %v", err)
	}
	s.pretend(group, 1)
	if err := s.confirm(pushSubscribe, []byte(protocol.All)); !errors.Is(err, errOutOfStep) {
		t.Errorf("another topic: %v", err)
	}
}

// TestHush ends a connection while a top is still being read. Nothing may be told after Deaf.
func TestHush(t *testing.T) {
	s, told := newTestConn(t)
	g := s.pretend(group, 1)
	s.confirm(pushSubscribe, []byte(group))
	bring(s, group, 1)
	s.hush(errRedial)
	s.subscribed(group, g, standing{})
	bring(s, group, 2)
	if len(*told) != 2 || (*told)[1] != (broker.Deaf{All: true}) {
		t.Errorf("told %+v", *told)
	}
}

// TestBackIsNoFailure checks that no absence is told because of errBack. The subscriber ends a
// connection with errBack when Redis answers again on other connections.
func TestBackIsNoFailure(t *testing.T) {
	frozen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := frozen.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	opt := &redis.Options{Addr: frozen.Addr().String()}
	fixOptions(opt, newTestNames(t), nil)
	m, log := newMetrics(nil), slog.New(slog.DiscardHandler)
	st := newState(log, m, nil)
	told := make(chan broker.Event, 100)
	st.sink = func(e broker.Event) { told <- e }
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		newSubscriber(opt, testCommon(m, log), probingNothing, &identifier{log: log}, st, log).run(ctx, st.sink)
	})
	defer running.Wait()
	defer cancel()
	defer (<-accepted).Close()
	st.failed(errRedial)
	st.answered(st.failuresSoFar())
	defer (<-accepted).Close()
	for len(told) > 0 {
		if e, ok := (<-told).(broker.State); ok && errors.Is(e.Cause, errBack) {
			t.Errorf("told %+v", e)
		}
	}
}
