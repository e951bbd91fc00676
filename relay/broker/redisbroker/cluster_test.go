package redisbroker

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
)

// clusterBackend is the back end of one test of a suite: a prefix of its own, on a Redis Cluster
// that all tests of the suite share.
type clusterBackend struct {
	cluster *redistest.Cluster
	config  Config
}

func (b clusterBackend) NewBroker(t testing.TB) broker.Broker { return openBroker(t, b.config) }

// PublishBare publishes at the master that owns the topic's slot. A message that is published at
// another node comes over the bus between the nodes, and Flush does not cover such a message.
func (b clusterBackend) PublishBare(t testing.TB, topic protocol.Topic, from, msg string) {
	t.Helper()
	owner := b.cluster.Owner(keys(b.config.Prefix).record(topic))
	redisBackend{server: owner, config: b.config}.PublishBare(t, topic, from, msg)
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	runOnCluster(t, false)
}

func TestRedisClusterSharded(t *testing.T) {
	t.Parallel()
	runOnCluster(t, true)
}

func runOnCluster(t *testing.T, sharded bool) {
	t.Helper()
	cluster := startCluster(t, sharded)
	n := 0
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		n++
		return clusterBackend{cluster, Config{
			URL: cluster.URL, Sharded: sharded, Prefix: fmt.Sprint("test", n, ":"), HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge, Retention: c.Retention,
		}}
	})
}

// startCluster starts a Redis Cluster with three masters. If channels are to be sharded, it skips
// the test on a Redis that is too old for that.
func startCluster(t *testing.T, sharded bool) *redistest.Cluster {
	t.Helper()
	cluster := redistest.StartCluster(t, 3)
	info := cluster.Servers[0].Client().Info(t.Context(), "server").Val()
	if version := field(info, "redis_version"); sharded && before(version, 7, 0) {
		t.Skip("Redis ", version, " has no sharded channels")
	}
	return cluster
}

// onEach returns n topics, no two of which are on the same master. The Redis Cluster must have at
// least n masters.
func onEach(cluster *redistest.Cluster, n int) (topics []protocol.Topic) {
	seen := make(map[*redistest.Server]bool)
	for i := 0; len(topics) < n; i++ {
		topic := protocol.GroupTopic(fmt.Sprint(i))
		if owner := cluster.Owner(keys("").record(topic)); !seen[owner] {
			seen[owner] = true
			topics = append(topics, topic)
		}
	}
	return topics
}

// replicaOf returns the server that was started as the replica of master. If master was itself
// started as a replica, replicaOf returns the server whose replica it was at the start.
func replicaOf(cluster *redistest.Cluster, master *redistest.Server) *redistest.Server {
	half := len(cluster.Servers) / 2
	for i, s := range cluster.Servers {
		if s == master {
			return cluster.Servers[(i+half)%(2*half)]
		}
	}
	return nil
}

// cutReplication cuts a master's replica off from further data.
func cutReplication(t *testing.T, master *redistest.Server) {
	t.Helper()
	for _, args := range [][]any{{"acl", "setuser", "default", "-psync", "-sync", "-replconf"}, {"client", "kill", "type", "replica"}} {
		if err := master.Client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClusterFailover kills a master under traffic while its replica is behind. After that, the old
// master is made the master again by hand. The Broker must tell in time that the killed master is
// absent. Traffic must go on after each of the two changes. Some messages must be lost, which shows
// that the replica was behind.
func TestClusterFailover(t *testing.T) {
	long.Only(t, "the move of a master takes a quarter of a minute")
	t.Parallel()
	clusterFailover(t, false)
}

func TestClusterFailoverSharded(t *testing.T) {
	long.Only(t, "the move of a master takes a quarter of a minute")
	t.Parallel()
	clusterFailover(t, true)
}

func clusterFailover(t *testing.T, sharded bool) {
	t.Helper()
	cluster := startCluster(t, sharded)
	topics := onEach(cluster, 3)
	f := startTraffic(t, Config{URL: cluster.URL, Sharded: sharded}, topics...)
	f.flowing(50)
	cluster.Hasten()

	key := keys("").record(topics[0])
	master := cluster.Owner(key)
	cutReplication(t, master)
	f.flowing(20)
	from, began := f.listener.Events(), time.Now()
	master.Kill()
	state, index := awaitState(f.listener, from, true)
	within(t, "told", began, noticed)
	wantCause(t, f.listener, state, master.Addr)
	brokertest.Await(f.listener, from, "Deaf", func(d broker.Deaf) bool { return d.Topic == topics[0] && !d.All })
	awaitState(f.listener, index, false)
	t.Logf("back after %v", time.Since(began))
	// The method cluster.Owner may ask a server that does not know yet which replica took over.
	brokertest.Eventually(t, "somebody took over", func() bool { return cluster.Owner(key) != master })
	f.flowing(50)

	master.Restart()
	cluster.AwaitWell()
	if err := master.Client().ClusterFailover(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "the old master is it again", func() bool { return cluster.Owner(key) == master })
	f.flowing(50)
	if f.finish() == 0 {
		t.Error("nothing was lost with a replica that was behind")
	}
	for _, topic := range topics {
		brokertest.Eventually(t, "one subscriber", func() bool { return f.listener.Count(topic) == 1 })
	}
}

// TestClusterFrozenMaster freezes a master until its replica has taken over. When the frozen master
// goes on, it does not know yet that it was replaced. Traffic must go on all the same.
func TestClusterFrozenMaster(t *testing.T) {
	long.Only(t, "the move of a master takes a quarter of a minute")
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	topics := onEach(cluster, 3)
	f := startTraffic(t, Config{URL: cluster.URL}, topics...)
	f.flowing(50)
	cluster.Hasten()
	key := keys("").record(topics[0])
	master := cluster.Owner(key)
	from, began := f.listener.Events(), time.Now()
	master.Pause()
	_, index := awaitState(f.listener, from, true)
	within(t, "told", began, noticed)
	successor := replicaOf(cluster, master)
	brokertest.Eventually(t, "another one takes over", func() bool {
		return strings.Contains(successor.Client().Info(t.Context(), "replication").Val(), "role:master")
	})
	awaitState(f.listener, index, false)
	t.Logf("back after %v", time.Since(began))
	master.Continue()
	f.flowing(50)
	cluster.AwaitWell()
	f.flowing(50)
	f.finish()
}

// TestClusterSlotMoved moves a topic's slot to another master under traffic, key by key. No message
// may be lost, and no absence may be told.
func TestClusterSlotMoved(t *testing.T) {
	long.Only(t, "the move of a master takes a quarter of a minute")
	t.Parallel()
	clusterSlotMoved(t, false)
}

func TestClusterSlotMovedSharded(t *testing.T) {
	long.Only(t, "the move of a master takes a quarter of a minute")
	t.Parallel()
	clusterSlotMoved(t, true)
}

func clusterSlotMoved(t *testing.T, sharded bool) {
	t.Helper()
	cluster := startCluster(t, sharded)
	topics := onEach(cluster, 3)
	f := startTraffic(t, Config{URL: cluster.URL, Sharded: sharded}, topics...)
	f.flowing(50)
	ctx, at := t.Context(), keys("").slot(topics[0])
	source, target := cluster.Owner(keys("").record(topics[0])), cluster.Owner(keys("").record(topics[1]))
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
	if got := absences(f.listener, from); len(got) > 0 {
		t.Errorf("a move was told as %+v", got)
	}
	if n := testutil.ToFloat64(f.listener.Broker.(*Cluster).metrics.lost); n > 0 {
		t.Errorf("%v connections were lost", n)
	}
}

// In TestClusterCounts, a relay and one client at each node subscribe to a topic. A count of the
// topic's subscribers must include the clients at replicas. A replica that does not answer must be
// left out.
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
	// On a busy machine, a replica may answer too late and be left out. So the first counts may be
	// too low.
	brokertest.Eventually(t, "7 subscribers", func() bool { return r.Count(group) == 7 })
	paused := replicaOf(cluster, cluster.Owner(keys("").record(group)))
	paused.Pause()
	brokertest.Eventually(t, "6 subscribers with a replica away", func() bool { return r.Count(group) == 6 })
	// A message that is published at any of the running nodes arrives.
	for i, s := range cluster.Servers {
		if s == paused {
			continue
		}
		json := protocol.Envelope{Content: protocol.Content{From: "7", Msg: fmt.Sprint(i)}, To: "g"}.Append(nil)
		got := r.Bare(group, func() {
			if err := s.Client().Publish(t.Context(), string(group), json).Err(); err != nil {
				t.Fatal(err)
			}
		})
		if got.Msg != fmt.Sprint(i) {
			t.Errorf("received %+v", got)
		}
	}
}

// In TestClusterCountsSharded, a relay and one client at each server of a slot subscribe to a
// sharded channel. All of them must count as its subscribers. A client that subscribes to the
// classic channel of the same name must not count, and must hear nothing.
func TestClusterCountsSharded(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, true)
	r := brokertest.Start(t, openBroker(t, Config{URL: cluster.URL, Sharded: true}))
	r.Join(group)
	master := cluster.Owner(keys("").record(group))
	classic := master.Client().Subscribe(t.Context(), string(group))
	defer classic.Close()
	for _, s := range []*redistest.Server{master, replicaOf(cluster, master)} {
		sub := s.Client().SSubscribe(t.Context(), string(group))
		defer sub.Close()
		if _, err := sub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := classic.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	// On a busy machine, a replica may answer too late and be left out.
	brokertest.Eventually(t, "3 subscribers", func() bool { return r.Count(group) == 3 })
	r.Say(group, 1, "m")
	r.Received(group, 0, 1)
	if err := classic.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, err := classic.Receive(t.Context()); err != nil {
		t.Fatal(err)
	} else if _, isPong := m.(*redis.Pong); !isPong {
		t.Errorf("a classic subscriber received %v", m)
	}
}

// TestClusterSlotComesBack takes a topic's slot from its master and gives it back at once. A relay
// that reads the layout only before and after these two moves sees no change. But Redis ends the
// subscriptions of the topic and of the probes, which are in one slot. The relay must subscribe
// again to the topic and to the probes.
func TestClusterSlotComesBack(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, true)
	r := brokertest.Start(t, openBroker(t, Config{URL: cluster.URL, Sharded: true}))
	topic := protocol.GroupTopic("{edgerelay:cluster}")
	r.Join(topic)
	master := cluster.Owner(string(topic))
	own := r.Broker.(*Cluster)
	own.calls.RLock()
	probe := own.view.shards[master.Addr].probed.Load().topic
	probes := keys("").probeChannel(probe, own.view.shards[master.Addr].prober.instance)
	own.calls.RUnlock()
	at := slot(string(topic))
	if slot(probes) != at {
		t.Fatalf("the probes are on %s, in another slot", probes)
	}
	var other *redistest.Server
	for _, s := range cluster.Servers[:3] {
		if s != master {
			other = s
		}
	}
	from := r.Events()
	for _, s := range []*redistest.Server{other, master} {
		// A slot that has keys cannot be given away, and each probe writes keys into this slot.
		brokertest.Eventually(t, "the slot is set", func() bool {
			id := s.Client().ClusterMyID(t.Context()).Val()
			_, err := master.Client().Pipelined(t.Context(), func(p redis.Pipeliner) error {
				p.FlushAll(t.Context())
				p.Do(t.Context(), "cluster", "setslot", at, "node", id)
				return nil
			})
			return err == nil
		})
	}
	brokertest.Await(r, from, "Deaf", func(d broker.Deaf) bool { return d.Topic == topic && !d.All })
	awaitSubscribed(r, from, topic)
	if testutil.ToFloat64(own.metrics.ended) == 0 {
		t.Error("the end of a subscription is not counted")
	}
	r.Say(topic, 1, "m")
	r.Received(topic, from, 1)
	brokertest.Eventually(t, "the probes are heard again", func() bool {
		return master.Client().PubSubShardNumSub(t.Context(), probes).Val()[probes] == 1
	})
}

// TestClusterAbsent runs a Broker while no node of its Redis Cluster can be reached. Requests must
// be answered all the same, and Redis must count as away.
func TestClusterAbsent(t *testing.T) {
	t.Parallel()
	r := brokertest.Start(t, openBroker(t, Config{URL: "redis+cluster://127.0.0.1:1,127.0.0.1:2"}))
	r.Subscribe(group, 7, false)
	answer := r.Once(r.Message(group, 1, "m"))
	if answer.Err == nil {
		t.Errorf("%+v", answer)
	}
	state, _ := awaitState(r, 0, true)
	t.Log(state.Cause)
	token := r.Token()
	r.Flush(token)
	brokertest.Await(r, 0, "Flushed", func(e broker.Flushed) bool { return e.Token == token })
}

// TestClusterByOneURL opens a node of a Redis Cluster with a redis:// URL, and a single Redis with
// a redis+cluster:// URL. In both cases Redis must count as away. In the subtest, two clusters of
// relays use one Redis Cluster, and the later cluster must be refused.
func TestClusterByOneURL(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	away(t, Config{URL: cluster.Servers[0].URL}, "redis+cluster://")
	one := brokertest.Start(t, openBroker(t, Config{URL: "redis+cluster://" + redistest.Start(t).Addr}))
	state, _ := awaitState(one, 0, true)
	t.Log(state.Cause)
	t.Run("TestG1_PrefixesOnARedisCluster", func(t *testing.T) {
		startAlone(t, Config{URL: cluster.URL})
		awaitServes(t, cluster.Servers[0].Client(), statement{Database: stated(0, false)})
		if err := refused(t, Config{URL: cluster.URL, Prefix: "group:"}); !errors.Is(err, errForeign) {
			t.Error(err)
		}
	})
}

// TestG1_ShardedChannelsBesideClassicOnes starts a relay with sharded channels where a relay with
// classic channels serves. It also starts them in the other order. The later relay must be refused.
// Its error must say which RELAY_REDIS_SHARDED each of the two relays has. The earlier relay must
// go on, and must warn.
func TestG1_ShardedChannelsBesideClassicOnes(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t, true)
	for _, sharded := range []bool{false, true} {
		first := startAlone(t, Config{URL: cluster.URL, Sharded: sharded})
		awaitServes(t, cluster.Servers[0].Client(), statement{Database: stated(0, sharded)})
		err := refused(t, Config{URL: cluster.URL, Sharded: !sharded})
		want := fmt.Sprintf("with RELAY_REDIS_SHARDED=%t, and this relay is to use it with RELAY_REDIS_SHARDED=%t", sharded, !sharded)
		if !errors.Is(err, errForeign) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		first.goesOn(t)
		if !strings.Contains(first.log.String(), shardedAdvice) {
			t.Errorf("the relay that serves says %s", first.log.String())
		}
		first.stop()
	}
}

// TestClusterMadeAnew resets all servers of a Redis Cluster, and gives all slots to one of them.
// That server is a new Redis Cluster, which counts its changes of owners (cluster_current_epoch)
// from the beginning. The Broker must go over to the new Redis Cluster.
func TestClusterMadeAnew(t *testing.T) {
	long.Only(t, "the move of a master takes a quarter of a minute")
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	r := brokertest.Start(t, openBroker(t, Config{URL: cluster.URL}))
	r.Join(group)
	before := r.Say(group, 1, "before")
	r.Received(group, 0, 1)
	ctx, index := t.Context(), r.Events()
	for _, s := range cluster.Servers {
		brokertest.Eventually(t, "reset", func() bool {
			// A master with data cannot be reset, and probes write data meanwhile. On a replica
			// FlushAll fails, and is not needed.
			s.Client().FlushAll(ctx)
			return s.Client().ClusterResetHard(ctx).Err() == nil
		})
	}
	owner := cluster.Servers[1]
	if err := owner.Client().ClusterAddSlotsRange(ctx, 0, slots-1).Err(); err != nil {
		t.Fatal(err)
	}
	awaitState(r, index, true)
	brokertest.Eventually(t, "published at the new cluster", func() bool {
		after := r.Message(group, 2, "after")
		after.Predecessor, after.Floor, after.Known = 1, 1, before
		answer := r.Once(after)
		return answer.Outcome == broker.Done && before.Before(answer.Position)
	})
	awaitSubscribed(r, index, group)
	if got := r.Received(group, index, 1)[0]; got.Msg != "after" {
		t.Errorf("received %+v", got)
	}
}
