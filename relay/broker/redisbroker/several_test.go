package redisbroker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// clusterBackend is one prefix on a cluster that all tests of a suite share.
type clusterBackend struct {
	cluster *redistest.Cluster
	config  Config
}

func (b clusterBackend) NewBroker(t testing.TB) broker.Broker { return openBroker(t, b.config) }

// PublishBare publishes at the topic's owner: from another node it comes later.
func (b clusterBackend) PublishBare(t testing.TB, topic protocol.Topic, from, msg string) {
	t.Helper()
	owner := b.cluster.Owner(keys(b.config.Prefix).history(topic))
	redisBackend{server: owner, config: b.config}.PublishBare(t, topic, from, msg)
}

func TestRedisCluster(t *testing.T) {
	cluster := redistest.StartCluster(t, 3)
	n := 0
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		n++
		return clusterBackend{cluster, Config{
			URL: cluster.URL, Prefix: fmt.Sprint("test", n, ":"), HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge,
		}}
	})
}

func TestRedisSentinel(t *testing.T) {
	watched := redistest.StartWatched(t)
	n := 0
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		n++
		return redisBackend{watched.Master(), Config{
			URL: watched.URL, Prefix: fmt.Sprint("test", n, ":"), HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge,
		}}
	})
}

// onEach returns a topic for each of n masters, the first one at first.
func onEach(cluster *redistest.Cluster, n int) (topics []protocol.Topic) {
	seen := make(map[*redistest.Server]bool)
	for i := 0; len(topics) < n; i++ {
		topic := protocol.GroupTopic(fmt.Sprint(i))
		if owner := cluster.Owner(keys("").history(topic)); !seen[owner] {
			seen[owner] = true
			topics = append(topics, topic)
		}
	}
	return topics
}

// replicaOf returns the server that replicates another one's data.
func replicaOf(cluster *redistest.Cluster, master *redistest.Server) *redistest.Server {
	half := len(cluster.Servers) / 2
	for i, s := range cluster.Servers {
		if s == master {
			return cluster.Servers[(i+half)%(2*half)]
		}
	}
	return nil
}

// cutReplication has a master's replica get nothing more.
func cutReplication(t *testing.T, master *redistest.Server) {
	t.Helper()
	for _, args := range [][]any{{"acl", "setuser", "default", "-psync", "-sync", "-replconf"}, {"client", "kill", "type", "replica"}} {
		if err := master.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClusterFailover kills a master under traffic, whose replica is behind, then has its successor give way to it by hand.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	topics := onEach(cluster, 3)
	f := startTraffic(t, Config{URL: cluster.URL}, topics...)
	f.flowing(50)

	key := keys("").history(topics[0])
	master := cluster.Owner(key)
	cutReplication(t, master)
	f.flowing(20)
	from, began := f.listener.Events(), time.Now()
	master.Kill()
	state, place := awaitState(f.listener, from, true)
	within(t, "told", began, noticed)
	if !strings.Contains(state.Cause.Error(), master.Addr) {
		t.Errorf("cause %v, want one that says %s", state.Cause, master.Addr)
	}
	brokertest.Await(f.listener, from, "Deaf", func(d broker.Deaf) bool { return d.Topic == topics[0] && !d.All })
	awaitState(f.listener, place, false)
	t.Logf("back after %v", time.Since(began))
	eventually(t, "somebody took over", func() bool { return cluster.Owner(key) != master }) // to all that Owner may ask
	f.flowing(50)

	master.Restart()
	cluster.AwaitWell()
	if err := master.Client().ClusterFailover(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old master is it again", func() bool { return cluster.Owner(key) == master })
	f.flowing(50)
	if f.finish() == 0 {
		t.Error("nothing was lost with a replica that was behind")
	}
	for _, topic := range topics {
		eventually(t, "one subscriber", func() bool { return f.listener.Count(topic) == 1 })
	}
}

// TestClusterFrozenMaster has a master freeze for so long that it is replaced, and go on as a replica that does not know yet.
func TestClusterFrozenMaster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	topics := onEach(cluster, 3)
	f := startTraffic(t, Config{URL: cluster.URL}, topics...)
	f.flowing(50)
	key := keys("").history(topics[0])
	master := cluster.Owner(key)
	from, began := f.listener.Events(), time.Now()
	master.Pause()
	_, place := awaitState(f.listener, from, true)
	within(t, "told", began, noticed)
	successor := replicaOf(cluster, master)
	eventually(t, "another one takes over", func() bool {
		return strings.Contains(successor.Client().Info(t.Context(), "replication").Val(), "role:master")
	})
	awaitState(f.listener, place, false)
	t.Logf("back after %v", time.Since(began))
	master.Continue()
	f.flowing(50)
	cluster.AwaitWell()
	f.flowing(50)
	f.finish()
}

// TestClusterSlotMoved moves a topic's slot to another master under traffic, key by key.
func TestClusterSlotMoved(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	topics := onEach(cluster, 3)
	f := startTraffic(t, Config{URL: cluster.URL}, topics...)
	f.flowing(50)
	ctx, at := t.Context(), keys("").slot(topics[0])
	source, target := cluster.Owner(keys("").history(topics[0])), cluster.Owner(keys("").history(topics[1]))
	do := func(s *redistest.Server, args ...any) {
		t.Helper()
		if err := s.Client().Do(ctx, args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	id := func(s *redistest.Server) string { return s.Client().ClusterMyID(ctx).Val() }
	from := f.listener.Events()
	do(target, "cluster", "setslot", at, "importing", id(source))
	do(source, "cluster", "setslot", at, "migrating", id(target))
	host, port, _ := net.SplitHostPort(target.Addr)
	for {
		names, err := source.Client().ClusterGetKeysInSlot(ctx, at, 100).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 {
			break
		}
		do(source, "migrate", host, port, names[0], 0, 5000)
	}
	do(target, "cluster", "setslot", at, "node", id(target))
	do(source, "cluster", "setslot", at, "node", id(target))
	brokertest.Await(f.listener, from, "Deaf", func(d broker.Deaf) bool { return d.Topic == topics[0] })
	awaitSubscribed(f.listener, from, topics[0])
	f.flowing(50)
	if lost := f.finish(); lost > 0 {
		t.Errorf("%d lost", lost)
	}
	if got := states(f.listener, from); len(got) > 0 {
		t.Errorf("a move was told as %+v", got)
	}
}

// TestClusterCounts has others subscribe at any node, replicas too.
func TestClusterCounts(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	r := brokertest.Start(t, openBroker(t, Config{URL: cluster.URL}))
	r.Join(group)
	for _, s := range cluster.Servers {
		sub := s.Client().Subscribe(t.Context(), string(group))
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.Count(group); n != 7 {
		t.Errorf("%d subscribers, want 7", n)
	}
	// A replica that does not answer is left out.
	replicaOf(cluster, cluster.Owner(keys("").history(group))).Pause()
	if n := r.Count(group); n != 6 {
		t.Errorf("%d subscribers with a replica away, want 6", n)
	}
	// What is published at any node arrives.
	for i, s := range cluster.Servers {
		if s == replicaOf(cluster, cluster.Owner(keys("").history(group))) {
			continue
		}
		from := r.Events()
		json := protocol.Envelope{From: "7", To: "g", Msg: fmt.Sprint(i)}.Append(nil)
		if err := s.Client().Publish(t.Context(), string(group), json).Err(); err != nil {
			t.Fatal(err)
		}
		if got := r.Received(group, from, 1)[0]; got.Msg != fmt.Sprint(i) {
			t.Errorf("received %+v", got)
		}
	}
}

// TestClusterAbsent starts without a cluster.
func TestClusterAbsent(t *testing.T) {
	t.Parallel()
	r := brokertest.Start(t, openBroker(t, Config{URL: "redis+cluster://127.0.0.1:1,127.0.0.1:2"}))
	r.Subscribe(group, 7)
	answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "m", Instance: r.Instance, Number: 1})
	if answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	state, _ := awaitState(r, 0, true)
	t.Log(state.Cause)
	token := r.Token()
	r.Flush(token)
	brokertest.Await(r, 0, "Flushed", func(e broker.Flushed) bool { return e.Token == token })
}

// TestClusterByOneURL has a URL for a single Redis name a node of a cluster.
func TestClusterByOneURL(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	r := brokertest.Start(t, openBroker(t, Config{URL: cluster.Servers[0].URL}))
	state, _ := awaitState(r, 0, true)
	if !strings.Contains(state.Cause.Error(), "redis+cluster://") {
		t.Errorf("cause %v", state.Cause)
	}
	one := brokertest.Start(t, openBroker(t, Config{URL: "redis+cluster://" + redistest.Start(t).Addr}))
	state, _ = awaitState(one, 0, true)
	t.Log(state.Cause)
}

// TestSentinelFailover kills a master under traffic, whose replica is behind, and has its successor replaced by hand while all are connected to it.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t)
	f := startTraffic(t, Config{URL: watched.URL}, group, protocol.UserTopic("1"))
	f.flowing(50)
	cutReplication(t, watched.Master())
	f.flowing(20)
	from, began := f.listener.Events(), time.Now()
	watched.Master().Kill()
	_, place := awaitState(f.listener, from, true)
	within(t, "told", began, noticed)
	awaitState(f.listener, place, false)
	t.Logf("back after %v", time.Since(began))
	f.flowing(50)

	watched.Servers[0].Restart()
	watched.AwaitWell(watched.Servers[1])
	from = f.listener.Events()
	got := f.listener.SoFar(group)
	epoch := got[len(got)-1].Position.Epoch
	watched.Failover()
	eventually(t, "the old master is it again", func() bool { return watched.Master() == watched.Servers[0] })
	began = time.Now()
	awaitSubscribed(f.listener, awaitDeaf(f.listener, from), group)
	brokertest.Await(f.listener, from, "a later epoch", func(e broker.Received) bool { return e.Publication.Position.Epoch > epoch })
	within(t, "gone over", began, 5*time.Second) // before the old master is told: sentinels take ten seconds for that
	f.flowing(50)
	if f.finish() == 0 {
		t.Error("nothing was lost with a replica that was behind")
	}
	if n := watched.Servers[0].Client().PubSubNumSub(t.Context(), string(group)).Val()[string(group)]; n != 1 {
		t.Errorf("%d subscribers", n)
	}
}

// TestSentinelAbsent has sentinels that do not answer, and ones that watch another master.
func TestSentinelAbsent(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t)
	for _, url := range []string{"redis+sentinel://127.0.0.1:1/chat", watched.URL + "x"} {
		r := brokertest.Start(t, openBroker(t, Config{URL: url}))
		state, _ := awaitState(r, 0, true)
		if !strings.Contains(state.Cause.Error(), "no master") {
			t.Errorf("cause %v", state.Cause)
		}
		t.Log(state.Cause)
	}
	// One of three is enough, though the first is frozen.
	watched.Sentinels[0].Pause()
	watched.Sentinels[1].Kill()
	r := relayOn(t, watched.URL)
	r.Join(group)
}

// TestClusterMadeAnew makes another cluster of the same servers, which counts its epochs from the beginning.
func TestClusterMadeAnew(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	r := brokertest.Start(t, openBroker(t, Config{URL: cluster.URL}))
	r.Join(group)
	before := r.Say(group, 1, "before")
	r.Received(group, 0, 1)
	ctx, place := t.Context(), r.Events()
	for _, s := range cluster.Servers {
		eventually(t, "reset", func() bool {
			s.Client().FlushAll(ctx) // a master with data is not reset, and the probe writes; a replica refuses this, and does not need it
			return s.Client().ClusterResetHard(ctx).Err() == nil
		})
	}
	owner := cluster.Servers[1]
	if err := owner.Client().ClusterAddSlotsRange(ctx, 0, slots-1).Err(); err != nil {
		t.Fatal(err)
	}
	awaitState(r, place, true)
	eventually(t, "published at the new cluster", func() bool {
		answer := r.Ask(broker.Publish{Topic: group, From: "1", Msg: "after", Instance: r.Instance, Number: 2, Predecessor: 1, Floor: 1, Known: before})
		return answer.Outcome == broker.Done && before.Before(answer.Position)
	})
	awaitSubscribed(r, place, group)
	if got := r.Received(group, place, 1)[0]; got.Msg != "after" {
		t.Errorf("received %+v", got)
	}
}
