package redisbroker

import (
	"fmt"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/redistest"
)

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t)
	n := 0
	brokertest.Run(t, func(_ *testing.T, c brokertest.Config) brokertest.Backend {
		n++
		return redisBackend{watched.Master(), Config{
			URL: watched.URL, Prefix: fmt.Sprint("test", n, ":"), HistorySize: c.HistorySize, HistoryAge: c.HistoryAge, MarkAge: c.MarkAge, Retention: c.Retention,
		}}
	})
}

// TestSentinelFailover kills a master under traffic while its replica is behind. After that, the
// sentinels are told to replace the new master, while all relays are connected to it. The relays
// must leave that master before it becomes a replica.
func TestSentinelFailover(t *testing.T) {
	long.Only(t, "the move of a master takes a quarter of a minute")
	t.Parallel()
	watched := redistest.StartWatched(t)
	f := startTraffic(t, Config{URL: watched.URL}, group, protocol.UserTopic("1"))
	f.flowing(50)
	watched.Hasten()
	cutReplication(t, watched.Master())
	f.flowing(20)
	from, began := f.listener.Events(), time.Now()
	watched.Master().Kill()
	_, index := awaitState(f.listener, from, true)
	within(t, "told", began, noticed)
	awaitState(f.listener, index, false)
	t.Logf("back after %v", time.Since(began))
	f.flowing(50)

	watched.Servers[0].Restart()
	watched.AwaitWell(watched.Servers[1])
	from = f.listener.Events()
	got := f.listener.SoFar(group)
	epoch := got[len(got)-1].Position.Epoch
	watched.Failover()
	brokertest.Eventually(t, "the old master is it again", func() bool { return watched.Master() == watched.Servers[0] })
	began = time.Now()
	awaitSubscribed(f.listener, awaitDeaf(f.listener, from), group)
	brokertest.Await(f.listener, from, "a later epoch", func(e broker.Received) bool { return e.Publication.Position.Epoch > epoch })
	// The sentinels tell the replaced master only after ten seconds that it is a replica. The
	// relays must go over before that.
	within(t, "gone over", began, 5*time.Second)
	f.flowing(50)
	// Messages that the replaced master acknowledged before it became a replica may be lost.
	watched.AwaitWell(watched.Servers[0])
	f.flowing(50)
	if f.finish() == 0 {
		t.Error("nothing was lost with a replica that was behind")
	}
	brokertest.Eventually(t, "one subscriber", func() bool {
		counts := watched.Servers[0].Client().PubSubNumSub(t.Context(), string(group)).Val()
		return counts[string(group)] == 1
	})
}

// TestSentinelAbsent runs a Broker whose sentinels do not answer, and a Broker whose sentinels
// watch a master of another name. Redis must count as away. If one of three sentinels answers,
// Redis must be there.
func TestSentinelAbsent(t *testing.T) {
	t.Parallel()
	watched := redistest.StartWatched(t)
	for _, url := range []string{"redis+sentinel://127.0.0.1:1/chat", watched.URL + "x"} {
		away(t, Config{URL: url}, "no master")
	}
	// One sentinel of three is enough: the first is frozen, and the second is dead.
	watched.Sentinels[0].Pause()
	watched.Sentinels[1].Kill()
	r := relayOn(t, watched.URL)
	r.Join(group)
}
