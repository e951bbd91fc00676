package redisbroker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/test/redistest"
	"github.com/redis/go-redis/v9"
)

// left has what relays of the earlier layout leave of one topic.
type left struct {
	topic   protocol.Topic
	entries []protocol.Position // positions in the history
	last    string              // the last position, and behind a space who gave it
	mark    uint64              // mark of the variable instance
}

var instance = protocol.Instance{1, 15: 9}

// leave writes keys as relays of the earlier layout do.
func leave(t testing.TB, client redis.UniversalClient, k keys, l left) {
	t.Helper()
	for i, at := range l.entries {
		e := protocol.Envelope{From: "1", To: l.topic.Name(), Msg: fmt.Sprint(i + 1), Instance: instance, Number: uint64(i + 1), Realm: "0", Position: at}
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

// dense returns the positions of an epoch from one offset to another.
func dense(epoch, from, to uint64) (list []protocol.Position) {
	for o := from; o <= to; o++ {
		list = append(list, protocol.Position{Epoch: epoch, Offset: o})
	}
	return list
}

// TestWhatTheEarlierLayoutLeftIsTakenOver plants keys as relays of the earlier layout leave them. A
// relay must go on behind their last position, and know their marks.
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
				others := map[string]string{prefix + "m:{x}:me": "1", prefix + "t:me": "1", "h:{y": "1", "q:{p:group:g}": "1"}
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
				again := broker.Publish{Topic: c.topic, From: "1", Msg: "m", Instance: instance, Number: c.mark}
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

// TestKeysOfOtherProgramsAreLeftAlone plants keys of other programs whose names are like those of
// the earlier layout, or are those of our own. They must stay. A topic that has one is passed over.
// Others must be taken over.
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

// TestAnEarlierLayoutIsTakenOverAgain goes back to the earlier layout, and forth again. What was
// published meanwhile must count.
func TestAnEarlierLayoutIsTakenOverAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	first := startAlone(t, Config{URL: server.URL})
	awaitServes(t, server.Client(), statement{Database: stated(0)})
	first.stop()
	r := relayOn(t, server.URL)
	before := say(r, group, 1, 9)
	later := before.Epoch + 1000
	leave(t, server.Client(), "", left{group, dense(later, 1, 8), fmt.Sprint(later, "-8"), 3})
	leave(t, server.Client(), "", left{"group:old", nil, fmt.Sprint(before.Epoch-9, "-8"), 3})
	say(r, "group:old", 1, 2)
	server.Client().Set(t.Context(), "edgerelay:cluster", "another name", 0)
	other := relayOn(t, server.URL)
	if page := other.History(group, before); len(page.Publications) != 8 || page.Top != (protocol.Position{Epoch: later, Offset: 8}) {
		t.Errorf("%+v", page)
	}
	if top := other.Join("group:old").Top; top.Offset != 2 || top.Epoch < before.Epoch {
		t.Errorf("an older position is taken over: %v", top)
	}
	if other.Name() == "another name" {
		t.Error("the name is not that of the layout")
	}
}

// TestTheEarlierLayoutIsTakenOverOnACluster has keys of the earlier layout on each master.
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
		again := broker.Publish{Topic: topic, From: "1", Msg: "m", Instance: instance, Number: 20}
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
// probes Redis must count as there.
func TestWhileTheEarlierLayoutIsInUseNothingIsPublished(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client()
	client.Set(t.Context(), "edgerelay:cluster", "its name", 0)
	leave(t, client, "", left{group, dense(7, 1, 3), "7-3", 3})
	probed := func(n int) { client.Set(t.Context(), "t:{edgerelay:probe}", fmt.Sprint("7-", n), 20*time.Second) }
	probed(1)
	r := brokertest.Start(t, openBroker(t, Config{URL: server.URL}))
	r.Subscribe(group, 1)
	state, from := awaitState(r, 0, true)
	wantCause(t, r, state, upgradeAdvice)
	for n := 2; n < 9; n++ {
		probed(n)
		time.Sleep(500 * time.Millisecond) // the pace of the earlier relay's probes
		if answer := r.Once(r.Message(group, 1, "m")); answer.Err == nil || answer.Outcome != broker.Failed {
			t.Fatalf("%+v", answer)
		}
	}
	if client.Exists(t.Context(), "r:{group:g}").Val() != 0 || client.Exists(t.Context(), "t:{group:g}").Val() != 1 {
		t.Error("it was taken over while the earlier relay was there")
	}
	began := time.Now()
	awaitState(r, from, false)
	within(t, "taken over", began, earlierSilence+2*time.Second)
	if at := r.Say(group, 1, "m"); at != (protocol.Position{Epoch: 7, Offset: 4}) {
		t.Errorf("published at %v", at)
	}
}

// TestTheLineOfARefusedRelaySaysHowToUpgrade has a relay of the first layout serve.
func TestTheLineOfARefusedRelaySaysHowToUpgrade(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	foreigner(t, server, statement{Database: 0, Serves: true, Answer: true})
	if err := refused(t, Config{URL: server.URL}); !strings.Contains(err.Error(), "docs/redis.md#upgrading") || !strings.Contains(err.Error(), "layout 1") {
		t.Errorf("%v", err)
	}
}
