package redisbroker

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/redis/go-redis/v9"
)

// The type left describes the keys of one topic, as relays of the earlier layout leave them.
type left struct {
	topic   protocol.Topic
	entries []protocol.Position // positions in the history
	last    string              // last position; servers that gave it may be named behind it
	mark    uint64              // mark of the instance in the package's variable instance
}

var instance = protocol.Instance{1, 15: 9}

// leave writes keys as relays of the earlier layout do.
func leave(t testing.TB, client redis.UniversalClient, k keys, l left) {
	t.Helper()
	for i, at := range l.entries {
		e := protocol.Envelope{Content: protocol.Content{From: "1", Msg: fmt.Sprint(i + 1)}, To: l.topic.Name(), Instance: instance, Number: uint64(i + 1), Realm: "0", Position: at}
		if i > 0 && at.Epoch != l.entries[i-1].Epoch {
			e.Previous = l.entries[i-1]
		}
		add := redis.XAddArgs{Stream: k.earlier("h", l.topic), ID: at.String(), Values: []string{"m", string(e.Append(nil))}}
		if err := client.XAdd(t.Context(), &add).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if l.last != "" {
		client.Set(t.Context(), k.earlier("t", l.topic), l.last, time.Hour)
	}
	if l.mark > 0 {
		client.Set(t.Context(), k.earlier("m", l.topic)+":"+instance.String(), l.mark, time.Hour)
	}
}

// The function dense returns the positions of an epoch from one offset to another.
func dense(epoch, from, to uint64) (list []protocol.Position) {
	for o := from; o <= to; o++ {
		list = append(list, protocol.Position{Epoch: epoch, Offset: o})
	}
	return list
}

// TestWhatTheEarlierLayoutLeftIsTakenOver plants keys as relays of the earlier layout leave them. A
// relay must go on behind the last position in these keys, and know the marks in them.
func TestWhatTheEarlierLayoutLeftIsTakenOver(t *testing.T) {
	t.Parallel()
	const epoch = 1_700_000_000_000_000
	for _, c := range []struct {
		left
		top     protocol.Position
		history []protocol.Position
	}{
		{left{"group:all there", dense(epoch, 3, 90), fmt.Sprint(epoch, "-90"), 88}, protocol.Position{Epoch: epoch, Offset: 90}, dense(epoch, 3, 90)},
		{left{"group:{braces}", dense(epoch, 1, 2), fmt.Sprint(epoch, "-2"), 2}, protocol.Position{Epoch: epoch, Offset: 2}, dense(epoch, 1, 2)},
		{left{"group:two epochs", append(dense(epoch, 1, 30), dense(epoch+5, 1, 30)...), fmt.Sprint(epoch+5, "-30"), 60},
			protocol.Position{Epoch: epoch + 5, Offset: 30}, append(dense(epoch, 1, 30), dense(epoch+5, 1, 30)...)},
		{left{"user:expired", nil, fmt.Sprint(epoch, "-7"), 4}, protocol.Position{Epoch: epoch, Offset: 7}, nil},
		{left{"user:evicted", dense(epoch, 4, 6), "", 4}, protocol.Position{Epoch: epoch, Offset: 6}, dense(epoch, 4, 6)},
		{left{"user:with a hole", append(dense(epoch, 4, 6), dense(epoch, 8, 9)...), fmt.Sprint(epoch, "-9"), 4},
			protocol.Position{Epoch: epoch, Offset: 9}, dense(epoch, 8, 9)},
		{left{"user:behind", dense(epoch, 4, 6), fmt.Sprint(epoch, "-9"), 4}, protocol.Position{Epoch: epoch, Offset: 9}, nil},
		{left{"user:mark alone", nil, "", 4}, protocol.Position{}, nil},
		{left{"user:junk", nil, "junk", 4}, protocol.Position{}, nil},
		{left{"user:beyond", nil, fmt.Sprint(uint64(protocol.MaxEpoch+1), "-9"), 4}, protocol.Position{}, nil},
	} {
		for _, prefix := range []string{"", "p:"} {
			t.Run(fmt.Sprint(c.topic, " ", prefix), func(t *testing.T) {
				t.Parallel()
				server := redistest.Start(t)
				client, k := server.Client(), keys(prefix)
				leave(t, client, k, c.left)
				client.Set(t.Context(), k.earlierCluster(), "its name", 0)
				others := map[string]string{
					prefix + "m:{x}:me": "1", prefix + "t:me": "1", "h:{y": "1", "q:{p:group:g}": "1",
					prefix + "t:{" + prefix + "news:sport}": "7-7", prefix + "t:{" + prefix + "user:}": "7-7",
				}
				for key, value := range others {
					client.Set(t.Context(), key, value, 0)
				}
				r := brokertest.Start(t, openBroker(t, Config{URL: server.URL, Prefix: prefix}))
				if top := r.Join(c.topic).Top; top != c.top {
					t.Errorf("top %v, want %v", top, c.top)
				}
				var history []protocol.Position
				for after := (protocol.Position{}); ; {
					page := r.History(c.topic, after)
					for _, pub := range page.Publications {
						history = append(history, pub.Position)
					}
					if after = page.Through; !page.More {
						break
					}
				}
				if !slices.Equal(history, c.history) {
					t.Errorf("history %v, want %v", history, c.history)
				}
				again := broker.Publish{Topic: c.topic, Content: protocol.Content{From: "1", Msg: "m"}, Instance: instance, Number: c.mark}
				if answer := r.Ask(again); answer.Outcome != broker.Duplicate {
					t.Errorf("its mark is forgotten: %+v", answer)
				}
				again.Number, again.Predecessor = c.mark+1, c.mark
				want := protocol.Position{Epoch: c.top.Epoch, Offset: c.top.Offset + 1}
				if at := r.Put(again); c.top.IsZero() && at.Offset != 1 || !c.top.IsZero() && at != want {
					t.Errorf("published at %v behind %v", at, c.top)
				}
				brokertest.Eventually(t, "its name goes on", func() bool { return r.Name() == "its name" })
				brokertest.Eventually(t, "the earlier name is gone", func() bool {
					return client.Exists(t.Context(), k.earlierCluster()).Val() == 0
				})
				for key, value := range others {
					if client.Get(t.Context(), key).Val() != value {
						t.Errorf("%s was touched", key)
					}
				}
				for _, key := range []string{k.earlier("h", c.topic), k.earlier("t", c.topic), k.earlier("m", c.topic) + ":" + instance.String()} {
					if client.Exists(t.Context(), key).Val() != 0 && client.Get(t.Context(), key).Val() != "junk" {
						t.Errorf("%s is left", key)
					}
				}
			})
		}
	}
}

// TestKeysOfOtherProgramsAreLeftAlone plants keys of other programs. Some have names like keys of
// the earlier layout, and one has the name of a key of our layout. These keys must stay. A topic
// that has such a key must not be taken over. Other topics must be taken over.
func TestKeysOfOtherProgramsAreLeftAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	client.Set(t.Context(), "edgerelay:cluster", "its name", 0)
	for _, topic := range []protocol.Topic{"group:a", "group:z"} {
		leave(t, client, "", left{topic, dense(7, 1, 3), "7-3", 3})
	}
	client.SAdd(t.Context(), "r:{group:a}", "a set")
	others := []string{
		"t:{tenant}", "h:{orders}", "t:{group:text}", "h:{group:stream}", "t:{group:set}",
		"m:{group:number}:" + instance.String(), "m:{tenant}:" + instance.String(), "h:{group:other}",
		"r:{group:a}", "h:{group:a}", "t:{group:a}", "m:{group:a}:" + instance.String(),
	}
	client.Set(t.Context(), others[0], "7-3", 0)
	client.XAdd(t.Context(), &redis.XAddArgs{Stream: others[1], Values: []string{"order", "1"}})
	client.Set(t.Context(), others[2], "a text", 0)
	client.XAdd(t.Context(), &redis.XAddArgs{Stream: others[3], Values: []string{"order", "1"}})
	client.SAdd(t.Context(), others[4], "7-3")
	client.Set(t.Context(), others[5], "a text", 0)
	client.Set(t.Context(), others[6], "7", 0)
	client.XAdd(t.Context(), &redis.XAddArgs{Stream: others[7], Values: []string{"m", "1"}})
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	if page := r.History("group:z", protocol.Position{}); len(page.Publications) != 3 {
		t.Errorf("%+v", page)
	}
	brokertest.Eventually(t, "the earlier name is gone", func() bool {
		return client.Exists(t.Context(), "edgerelay:cluster").Val() == 0 && r.Name() == "its name"
	})
	for _, key := range others {
		if client.Exists(t.Context(), key).Val() == 0 {
			t.Errorf("%s is deleted", key)
		}
	}
}

// TestTakingOverKeepsWhatIsThere stops a relay of our layout that has served, and publishes through
// a second relay. Then it plants keys as relays of the earlier layout leave them, and starts a
// third relay of our layout. If a topic's record is older than HistoryAge and MarkAge together, the
// topic must take over the earlier history and last position. A topic with a younger record must
// keep its own history, and go on behind it.
func TestTakingOverKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first := startAlone(t, Config{URL: server.URL})
	awaitServes(t, server.Client(), statement{Database: stated(0, false)})
	first.stop()
	r := relayOn(t, server.URL)
	before := say(r, group, 1, 9)
	later := before.Epoch + 1000
	leave(t, server.Client(), "", left{group, dense(later, 1, 1), fmt.Sprint(later, "-1"), 3})
	old := record{top: before, stamp: time.Now().Add(-broker.DefaultHistoryAge - broker.DefaultMarkAge)}
	plant(t, server.Client(), "", "group:old", old)
	leave(t, server.Client(), "", left{"group:old", dense(later, 1, 8), fmt.Sprint(later, "-8"), 3})
	server.Client().Set(t.Context(), "edgerelay:cluster", "another name", 0)
	other := relayOn(t, server.URL)
	page := other.History(group, protocol.Position{Epoch: before.Epoch, Offset: 5})
	if len(page.Publications) != 4 || page.Top != before {
		t.Errorf("%+v, want what was there", page)
	}
	if again := other.Say(group, 10, "m"); again.Epoch != before.Epoch || again.Offset != 10 {
		t.Errorf("published at %v behind %v", again, before)
	}
	page = other.History("group:old", protocol.Position{})
	if len(page.Publications) != 8 || page.Top != (protocol.Position{Epoch: later, Offset: 8}) {
		t.Errorf("%+v, want what the earlier relays left", page)
	}
	if other.Name() == "another name" {
		t.Error("the name is not that of the layout")
	}
	if left, _ := server.Client().Keys(t.Context(), "[htm]:{*").Result(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestARelayThatServesTakesNothingOver plants what a relay of the earlier layout leaves if it is
// started by mistake, publishes, and is refused. Meanwhile a relay of our layout is serving. This
// relay must go on serving and take nothing over, even when its prober checks Redis anew.
func TestARelayThatServesTakesNothingOver(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	r := relayOn(t, server.URL)
	before := say(r, group, 1, 9)
	later := before.Epoch + 1000
	leave(t, client, "", left{group, dense(later, 1, 1), fmt.Sprint(later, "-1"), 3})
	leave(t, client, "", left{"group:new", dense(later, 1, 1), fmt.Sprint(later, "-1"), 3})
	client.Set(t.Context(), "edgerelay:cluster", "another name", 0)
	client.Set(t.Context(), "t:{edgerelay:probe}", "7-1", 20*time.Second)
	from := r.Events()
	p := r.Broker.(*Broker).prober
	p.state.suspect()
	brokertest.Eventually(t, "the earlier name is seen", func() bool {
		p.earlier.mu.Lock()
		defer p.earlier.mu.Unlock()
		return p.earlier.name != ""
	})
	say(r, group, 10, 1)
	for _, s := range absences(r, from) {
		t.Errorf("%+v", s)
	}
	if page := r.History(group, protocol.Position{}); len(page.Publications) != 10 {
		t.Errorf("%+v", page)
	}
	if client.Exists(t.Context(), "edgerelay:cluster", "t:{group:g}", "t:{group:new}").Val() != 3 {
		t.Error("something was taken over")
	}
}

// TestTakingOverGoesOnAtAPromotedReplica ends a master while its keys are taken over, and promotes
// a replica that has the same keys. All keys that are left must be taken over at the replica.
func TestTakingOverGoesOnAtAPromotedReplica(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	client := master.Client()
	pipe := client.Pipeline()
	const topics = 5000
	for i := range topics {
		pipe.Set(t.Context(), keys("").earlier("t", protocol.Topic(fmt.Sprint("user:", i))), "7-3", time.Hour)
	}
	pipe.Set(t.Context(), "edgerelay:cluster", "its name", 0)
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := redistest.Start(t, "--replicaof", host, port)
	brokertest.Eventually(t, "the replica has them", func() bool { return replica.Client().DBSize(t.Context()).Val() == topics+1 })

	p := openBroker(t, Config{URL: master.URL}).(*Broker).prober
	step := func(client *redis.Client) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := client.Ping(ctx).Err(); err != nil {
			return err
		}
		p.keepConnection()
		return p.look(ctx, client)
	}
	open := func(s *redistest.Server) *redis.Client {
		opt := *p.opt
		opt.Addr = s.Addr
		client := redis.NewClient(p.counted(&opt))
		t.Cleanup(func() { client.Close() })
		return client
	}
	p.earlier.found("its name")
	at := open(master)
	if err := step(at); err != nil || p.taking.cursor == 0 {
		t.Fatalf("%v, cursor %d", err, p.taking.cursor)
	}
	left := func(s *redistest.Server) int {
		names, err := s.Client().Keys(t.Context(), "t:{*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	if n := left(master); n == 0 || n == topics {
		t.Fatalf("%d of %d are left at the master", n, topics)
	}
	brokertest.Eventually(t, "the replica knows", func() bool { return left(replica) == left(master) })
	master.Kill()
	replica.Client().Do(t.Context(), "replicaof", "no", "one")
	for at = open(replica); ; {
		if _, over := p.earlier.left(); over {
			break
		}
		if err := step(at); err != nil {
			t.Fatal(err)
		}
	}
	if n := left(replica); n > 0 {
		t.Errorf("%d topics of the earlier layout are left", n)
	}
}

// TestAllServersAreLookedThroughTogether plays several probers, each of which looks through one
// server. Meanwhile a prober joins, another prober leaves, and keys move between the servers. All
// keys count as taken over only after a round that finds no key. The first round does not count,
// and neither does the first round after each of these changes.
func TestAllServersAreLookedThroughTogether(t *testing.T) {
	e, a, b, c := newEarlier(), new(prober), new(prober), new(prober)
	e.enter(a)
	e.enter(b)
	e.found("its name")
	over := func() bool { _, over := e.left(); return over }
	round := func(any bool, all ...*prober) {
		t.Helper()
		for _, p := range all {
			if task, err := e.next(t.Context(), p); over() || task != toLook || err != nil {
				t.Fatalf("over %v, to do %v, %v", over(), task, err)
			}
			e.looked(p, any)
			any = false
		}
	}
	round(false, a, b)
	round(true, a, b)
	round(false, a)
	if task, _ := e.next(t.Context(), a); task != toWait {
		t.Errorf("to do %v while the other server is looked through", task)
	}
	e.restart() // a slot moved
	round(false, a, b)
	round(false, a)
	e.enter(c)
	round(false, b, c, a)
	round(false, c)
	e.leave(b)
	round(false, a, c)
	round(false, a, c)
	if task, _ := e.next(t.Context(), a); !over() || task != toServe {
		t.Errorf("over %v, to do %v", over(), task)
	}
}

// TestTheEarlierLayoutIsTakenOverOnACluster plants keys of the earlier layout on each master. The
// histories and marks must be taken over on all masters. Then the name that relays of the earlier
// layout gave must be deleted.
func TestTheEarlierLayoutIsTakenOverOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	topics := onEach(cluster, 3)
	for _, topic := range topics {
		client := cluster.Owner(keys("").record(topic)).Client()
		leave(t, client, "", left{topic, dense(7, 1, 20), "7-20", 20})
	}
	named := cluster.Owner(keys("").earlierCluster()).Client()
	named.Set(t.Context(), keys("").earlierCluster(), "its name", 0)
	r := brokertest.Start(t, openBroker(t, Config{URL: cluster.URL}))
	for _, topic := range topics {
		if page := r.History(topic, protocol.Position{Epoch: 7, Offset: 9}); len(page.Publications) != 11 {
			t.Errorf("%s: %+v", topic, page)
		}
		again := broker.Publish{Topic: topic, Content: protocol.Content{From: "1", Msg: "m"}, Instance: instance, Number: 20}
		if answer := r.Ask(again); answer.Outcome != broker.Duplicate {
			t.Errorf("%s: %+v", topic, answer)
		}
	}
	brokertest.Eventually(t, "the earlier name is gone", func() bool {
		return named.Exists(t.Context(), keys("").earlierCluster()).Val() == 0 && r.Name() == "its name"
	})
}

// TestWhileTheEarlierLayoutIsInUseNothingIsPublished plays the probes of a relay of the earlier
// layout. Redis must count as away, and the cause must say what to do. Soon after the last of these
// probes, Redis must no longer count as away.
func TestWhileTheEarlierLayoutIsInUseNothingIsPublished(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	client.Set(t.Context(), "edgerelay:cluster", "its name", 0)
	leave(t, client, "", left{group, dense(7, 1, 3), "7-3", 3})
	stop := playProbes(t, server)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	r.Subscribe(group, 1, false)
	state, from := awaitState(r, 0, true)
	wantCause(t, r, state, upgradeAdvice)
	for began := time.Now(); time.Since(began) < earlierSilence+time.Second; {
		if answer := r.Once(r.Message(group, 1, "m")); answer.Err == nil || answer.Outcome != broker.Failed {
			t.Fatalf("%+v", answer)
		}
		time.Sleep(50 * time.Millisecond) // the pause between two messages
	}
	if client.Exists(t.Context(), "r:{group:g}").Val() != 0 || client.Exists(t.Context(), "t:{group:g}").Val() != 1 {
		t.Error("it was taken over while the earlier relay was there")
	}
	stop()
	began := time.Now()
	awaitState(r, from, false)
	within(t, "taken over", began, earlierSilence+2*time.Second)
	if at := r.Say(group, 1, "m"); at != (protocol.Position{Epoch: 7, Offset: 4}) {
		t.Errorf("published at %v", at)
	}
}

// playProbes makes the probes of a relay of the earlier layout, until the returned function is
// called or the test ends. The first probe is made at once. A goroutine makes the others, since a
// test that waits for something else could be late with them.
func playProbes(t *testing.T, server *redistest.Server) (stop func()) {
	t.Helper()
	n := 0
	probe := func() {
		n++
		server.Client().Set(t.Context(), "t:{edgerelay:probe}", fmt.Sprint("7-", n), 20*time.Second)
	}
	probe()
	done := make(chan struct{})
	var probing sync.WaitGroup
	probing.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(500 * time.Millisecond): // half the pause of earlier relays
				probe()
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(done)
		probing.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// TestTheLineOfARefusedRelaySaysHowToUpgrade plays a serving relay of the first layout. A relay of
// our layout must be refused, and its error must name that layout and say how to upgrade.
func TestTheLineOfARefusedRelaySaysHowToUpgrade(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	foreigner(t, server, statement{Database: 0, Serves: true, Answer: true})
	if err := refused(t, Config{URL: server.URL}); !strings.Contains(err.Error(), "docs/redis.md#upgrading") || !strings.Contains(err.Error(), "layout 1") {
		t.Errorf("%v", err)
	}
}
