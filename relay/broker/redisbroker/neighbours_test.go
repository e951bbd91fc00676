package redisbroker

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
)

func TestG1_WhichClustersShareChannels(t *testing.T) {
	of := func(database int, prefix string) statement {
		return statement{Database: stated(database, false), Prefix: prefix}
	}
	for _, c := range []struct {
		a, b statement
		want bool
	}{
		{of(0, ""), of(0, ""), false}, // one cluster
		{of(0, ""), of(1, ""), true},
		{of(0, "p:"), of(1, "p:"), true},
		{of(0, "p:"), of(0, "q:"), false},
		{of(0, "p:"), of(1, "q:"), false},
		{of(0, ""), of(0, "p:"), false},
		{of(0, ""), of(0, "user:"), true},
		{of(3, ""), of(0, "group:x"), true},
		{of(0, "p:"), of(0, "p:user:"), true},
		{of(0, "p:"), of(0, "p:users:"), false},
		{of(0, ""), of(0, "edgerelay:"), false},
		{of(0, ""), statement{}, true}, // the second statement is of the first layout
		{of(1, "p:"), statement{Database: 1, Prefix: "p:"}, true},
		{of(0, "p:"), statement{Prefix: "q:"}, false},
		{of(0, "p:"), statement{Database: stated(0, true), Prefix: "p:"}, true},
	} {
		if c.a.crosses(c.b) != c.want || c.b.crosses(c.a) != c.want {
			t.Errorf("%v and %v: want %v", c.a, c.b, c.want)
		}
	}
	if c, target, err := (Config{URL: "redis+sentinel://a,b/m/3", Prefix: "p:"}).withDefaults(); err != nil ||
		keys(c.Prefix).realm(target.opt.DB, false) != "2/3 p:" {
		t.Errorf("the realm of a database behind sentinels: %v", err)
	}
	if got := keys("p:").realm(0, true); got != "2s/0 p:" {
		t.Errorf("the realm with sharded channels: %s", got)
	}
	if s := (statement{Database: stated(3, true)}); s.database() != 3 || s.layout() != keyLayout || !s.sharded() {
		t.Errorf("stated database %d, layout %d, sharded %v", s.database(), s.layout(), s.sharded())
	}
}

// started is a Broker under test, whose Run may end with an error.
type started struct {
	broker.Broker
	log      safeBuffer
	registry *prometheus.Registry
	ended    chan error
	stop     func() // ends Run, and returns once it has ended
}

func startAlone(t *testing.T, c Config) *started {
	t.Helper()
	s := &started{registry: prometheus.NewRegistry(), ended: make(chan error, 1)}
	c.Metrics, c.Log = s.registry, slog.New(slog.NewTextHandler(&s.log, nil))
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Broker = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- b.Run(ctx, func(broker.Event) {})
	}()
	s.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(s.stop)
	return s
}

// goesOn fails the test if the Broker has ended.
func (s *started) goesOn(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.ended:
		t.Errorf("refused: %v", err)
	default:
	}
}

// The function named refused starts a Broker, and returns the error with which its Run ends. On a
// busy machine, the relays that serve may object only after the Broker has begun to serve. In that
// case the function stops the Broker and starts another one. If no Broker is refused within
// brokertest.Patience, the test fails.
func refused(t *testing.T, c Config) error {
	t.Helper()
	for end := time.Now().Add(brokertest.Patience); time.Now().Before(end); {
		s := startAlone(t, c)
		select {
		case err := <-s.ended:
			return err
		case <-time.After(5 * settling):
			s.stop()
		}
	}
	t.Fatal("it serves")
	return nil
}

// awaitServes asks the relays on a Redis until one of them says that it serves. It asks by
// publishing the statement in the parameter asker. A relay answers if it is of the cluster in that
// statement, or of a cluster that shares channels with that cluster.
func awaitServes(t *testing.T, client redis.UniversalClient, asker statement) {
	t.Helper()
	asker.Relay = protocol.NewInstance()
	sub := client.Subscribe(t.Context(), relaysChannel)
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(asker)
	brokertest.Eventually(t, "a relay serves", func() bool {
		if err := client.Publish(t.Context(), relaysChannel, text).Err(); err != nil {
			t.Fatal(err)
		}
		for {
			message, err := sub.ReceiveTimeout(t.Context(), 200*time.Millisecond)
			var heard statement
			if m, ok := message.(*redis.Message); !ok || json.Unmarshal([]byte(m.Payload), &heard) != nil {
				if err != nil {
					return false
				}
				continue
			}
			if heard.Serves && heard.Relay != asker.Relay {
				return true
			}
		}
	})
}

func TestG1_TheLaterClusterIsRefusedAndTheRunningOneGoesOn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	running := startAlone(t, Config{URL: server.URL + "/1"})
	awaitServes(t, server.Client(), statement{Database: stated(1, false)})
	for _, later := range []Config{{URL: server.URL}, {URL: server.URL + "/1", Prefix: "user:"}} {
		err := refused(t, later)
		if !errors.Is(err, errForeign) || !strings.Contains(err.Error(), "RELAY_PREFIX") || !strings.Contains(err.Error(), "database 1 ") {
			t.Errorf("%+v: %v", later, err)
		}
	}
	beside := startAlone(t, Config{URL: server.URL, Prefix: "p:"})
	awaitServes(t, server.Client(), statement{Database: stated(0, false), Prefix: "p:"})
	running.goesOn(t)
	beside.goesOn(t)
	if n := testutil.ToFloat64(running.Broker.(*Broker).subscriber.metrics.neighbours); n < 2 {
		t.Errorf("%v foreign relays counted", n)
	}
	if n := strings.Count(running.log.String(), foreignersAdvice); n != 1 {
		t.Errorf("said %d times: %s", n, running.log.String())
	}
}

func TestG1_OfTwoThatBeginAtOnceTheFirstDatabaseStays(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	atLeastOnce(t, func() error {
		zero := startAlone(t, Config{URL: server.URL})
		one := startAlone(t, Config{URL: server.URL + "/1"})
		defer zero.stop()
		defer one.stop()
		select {
		case err := <-one.ended:
			if !errors.Is(err, errForeign) {
				t.Error(err)
			}
		case err := <-zero.ended:
			return fmt.Errorf("the first database was refused: %w", err)
		case <-time.After(10 * settling):
			return errors.New("both serve")
		}
		awaitServes(t, server.Client(), statement{Database: stated(0, false)})
		select {
		case err := <-zero.ended:
			return fmt.Errorf("both were refused: %w", err)
		default:
			return nil
		}
	})
}

// TestG1_ARelayOfAClusterThatServesIsNotRefused starts a second relay of a cluster that serves.
// Another cluster serves too, and shares channels with the first cluster. At least one of three
// attempts to start the second relay must succeed. A relay of a third cluster must be refused.
func TestG1_ARelayOfAClusterThatServesIsNotRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startAlone(t, Config{URL: server.URL + "/1"})
	awaitServes(t, server.Client(), statement{Database: stated(1, false)})
	foreigner(t, server, statement{Database: stated(5, false), Serves: true, Answer: true})
	atLeastOnce(t, func() (failure error) {
		kin := startAlone(t, Config{URL: server.URL + "/1"})
		brokertest.Eventually(t, "it is served beside the foreigner, which is counted", func() bool {
			select {
			case err := <-kin.ended:
				failure = fmt.Errorf("refused: %w", err)
				return true
			default:
				return testutil.ToFloat64(kin.Broker.(*Broker).subscriber.metrics.neighbours) > 0
			}
		})
		return failure
	})
	if err := refused(t, Config{URL: server.URL + "/2"}); !errors.Is(err, errForeign) {
		t.Errorf("one without a cluster that serves: %v", err)
	}
}

// foreigner plays a relay of another cluster until the test ends. It answers each statement that is
// no answer itself. Its answer is the parameter own, with an instance added.
func foreigner(t *testing.T, server *redistest.Server, own statement) {
	t.Helper()
	own.Relay = protocol.NewInstance()
	text, _ := json.Marshal(own)
	sub := server.Client().Subscribe(t.Context(), relaysChannel)
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := range sub.Channel() {
			if !strings.Contains(m.Payload, `"Answer":true`) {
				server.Client().Publish(context.Background(), relaysChannel, text)
			}
		}
	}()
	t.Cleanup(func() {
		sub.Close()
		<-done
	})
}

// TestG1_AStatementThatIsNotAnsweredHoldsUpNoEnd checks that the publication of a statement ends
// when the context is cancelled, though Redis never answers.
func TestG1_AStatementThatIsNotAnsweredHoldsUpNoEnd(t *testing.T) {
	t.Parallel()
	frozen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	opt := &redis.Options{Addr: frozen.Addr().String()}
	fixOptions(opt, newTestNames(t), Config{}.secure)
	nameless := common{name: new(backEndName)}
	n := newNeighbours(func() *redis.Options { return opt }, 0, nameless)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := make(chan error, 1)
	go func() { said <- n.say(ctx, false) }()
	conn, err := frozen.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-said; err == nil || tooLate(err) {
		t.Errorf("%v, want the end of the context to interrupt it", err)
	}
}

// TestG1_NoMessageCrossesAndNoneIsLost publishes in two clusters at once, on one Redis. The Redis
// user of the second cluster has no permission for the channel on which relays make statements. So
// the second cluster does not learn of the first, and is not refused. Each cluster must receive all
// of its own messages, and no message of the other cluster.
func TestG1_NoMessageCrossesAndNoneIsLost(t *testing.T) {
	t.Parallel()
	const messages = 300
	server := redistest.Start(t)
	permit := []any{"acl", "setuser", "narrow", "on", ">p", "~*", "resetchannels", "&user:*", "&group:*", "&edgerelay:probe:*", "+@all"}
	if err := server.Client().Do(t.Context(), permit...).Err(); err != nil {
		t.Fatal(err)
	}
	topic := protocol.UserTopic("b")
	registry := prometheus.NewRegistry()
	b, err := New(Config{URL: server.URL, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	clusters := []*brokertest.Relay{
		brokertest.Start(t, b),
		brokertest.Start(t, openBroker(t, Config{URL: "redis://narrow:p@" + server.Addr + "/1"})),
	}
	for _, r := range clusters {
		r.Join(topic)
	}
	from := clusters[0].Events()
	var talking sync.WaitGroup
	for i, r := range clusters {
		var list []broker.Publish
		for n := range uint64(messages) {
			list = append(list, broker.Publish{
				Topic: topic, Content: protocol.Content{From: "a", Msg: fmt.Sprint("of ", i)}, Instance: r.Instance, Number: n + 1,
			})
		}
		talking.Go(func() { r.Pipeline(list) })
	}
	talking.Wait()
	for i, r := range clusters {
		got := r.Received(topic, 0, messages)
		for n, p := range got {
			if p.Msg != fmt.Sprint("of ", i) || p.Number != uint64(n+1) || p.Position.Offset != uint64(n+1) {
				t.Fatalf("cluster %d received %+v as message %d", i, p, n+1)
			}
		}
	}
	brokertest.Eventually(t, "the other cluster's are counted", func() bool {
		n := testutil.ToFloat64(b.(*Broker).subscriber.metrics.dropped.WithLabelValues("foreign"))
		return n == messages || n > 0 && clusters[0].LostSince(topic, from)
	})
}

// TestG1_NoMessageCrossesBetweenPrefixesThatBeginOneAnother runs two clusters with the prefixes
// "a:" and "a:b:". Topics may have any name, so a topic of the first cluster can have the channel
// of a topic of the second. Both clusters must serve. Each must receive only its own messages, and
// have a history of its own.
func TestG1_NoMessageCrossesBetweenPrefixesThatBeginOneAnother(t *testing.T) {
	t.Parallel()
	const messages = 50
	server := redistest.Start(t)
	topics := []protocol.Topic{"b:x", "x"}
	var clusters []*brokertest.Relay
	var foreign []func() float64
	for i, prefix := range []string{"a:", "a:b:"} {
		b, err := New(Config{URL: server.URL, Prefix: prefix, Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		clusters = append(clusters, brokertest.Start(t, b))
		clusters[i].Join(topics[i])
		foreign = append(foreign, func() float64 {
			return testutil.ToFloat64(b.(*Broker).subscriber.metrics.dropped.WithLabelValues("foreign"))
		})
	}
	for i, r := range clusters {
		var list []broker.Publish
		for n := range uint64(messages) {
			list = append(list, broker.Publish{
				Topic: topics[i], Content: protocol.Content{From: "a", Msg: fmt.Sprint("of ", i)}, Instance: r.Instance, Number: n + 1,
			})
		}
		r.Pipeline(list)
	}
	for i, r := range clusters {
		for n, p := range r.Received(topics[i], 0, messages) {
			if p.Msg != fmt.Sprint("of ", i) || p.Number != uint64(n+1) || p.Position.Offset != uint64(n+1) {
				t.Fatalf("cluster %d received %+v as message %d", i, p, n+1)
			}
		}
		brokertest.Eventually(t, "the other cluster's are counted", func() bool { return foreign[i]() == messages })
	}
}

// TestG1_AnEnvelopeOfAnotherRealmIsForeign checks that an envelope is not taken as ours if it names
// another realm, or no realm. Relays of the first layout name realms without a layout. Still older
// relays name no realm.
func TestG1_AnEnvelopeOfAnotherRealmIsForeign(t *testing.T) {
	s, told := newTestConn(t)
	e := protocol.Envelope{Content: protocol.Content{From: "1"}, Instance: protocol.Instance{1}, Number: 7, Position: protocol.Position{Epoch: 7, Offset: 1}}
	for _, realm := range []string{"", "0", "1", "0 user:", "2/1", keys("").realm(0, false)} {
		e.Realm = realm
		s.received(push{channel: []byte(group), payload: e.Append(nil)})
	}
	if len(*told) != 1 {
		t.Errorf("%d were told: %+v", len(*told), *told)
	}
	s.received(push{channel: []byte(group), payload: protocol.Envelope{Content: protocol.Content{From: "1", Msg: "bare"}}.Append(nil)})
	if len(*told) != 2 {
		t.Errorf("a bare one was not told: %+v", *told)
	}
}

// TestG1_WhatAClientPublishesIsNoStatement passes a client's publication to neighbours.heard. The
// publication is on the topic "relays" under the prefix "edgerelay:". The channel of that topic is
// relaysChannel. The publication must not be taken for a statement of a relay.
func TestG1_WhatAClientPublishesIsNoStatement(t *testing.T) {
	topic := protocol.Topic("relays")
	if channel := keys("edgerelay:").channel(topic); channel != relaysChannel || !topic.Valid() {
		t.Fatalf("its channel is %s", channel)
	}
	p := broker.Publish{Topic: topic, Content: protocol.Content{From: "1", Tags: `{"Relay":"1","Serves":"true"}`}, Instance: protocol.Instance{1}, Number: 7}
	if err := p.SetData([]byte(`{"Prefix":"","Serves":true}`)); err != nil {
		t.Fatal(err)
	}
	n := newNeighbours(nil, 0, common{})
	// If heard took this for a statement, it would answer, and the answer would panic: n has no
	// options.
	if err := n.heard(t.Context(), string(appendOpen(nil, &p, "0"))+`7-1"}`); err != nil || n.objector != nil {
		t.Errorf("taken for a statement: %+v, %v", n.objector, err)
	}
}
