// Package sdk runs the whole product with Centrifugo's client SDK for Go, unchanged. It is a module
// of its own, so that the product does not depend on the SDK. E2E_KIND selects how the servers run,
// as for test/e2e.
package sdk

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	chat "github.com/edgerelay/edgerelay/test/e2e/client"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

func TestMain(m *testing.M) {
	status := m.Run()
	cluster.RemoveBinaries()
	os.Exit(status)
}

// options returns the options of a cluster with Redis, of the kind that E2E_KIND names.
func options(t *testing.T) cluster.Options {
	t.Helper()
	cluster.NeedRedis(t)
	kind := cluster.Kind(os.Getenv("E2E_KIND"))
	if kind == "" {
		kind = cluster.InProcess
	}
	return cluster.Options{Kind: kind, Backend: cluster.Redis}
}

// onProcesses returns options for tests that need servers in processes of their own. It skips the
// test unless E2E_KIND is process.
func onProcesses(t *testing.T) cluster.Options {
	t.Helper()
	o := options(t)
	if o.Kind != cluster.Process {
		t.Skip("needs processes: E2E_KIND=process")
	}
	return o
}

// In TestTheSDKSubscribesPublishesAndHearsItself, two users talk through two edges and two relays.
// A publish must be answered, and both users must get its data byte for byte.
func TestTheSDKSubscribesPublishesAndHearsItself(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	a, b := c.StartEdge(nil, c.StartRelay(nil)), c.StartEdge(nil, c.StartRelay(nil))
	alice, bob := connect(t, a, "alice"), connect(t, b, "bob")
	alice.subscribe("group:g")
	bob.subscribe("group:g")
	const data = `{"text": "hello <b>&", "n": 12345678901234567890, "x": 1.50}`
	if err := alice.say("group:g", data); err != nil {
		t.Fatal(err)
	}
	for _, who := range []*client{alice, bob} {
		got := who.got("group:g", 1)[0]
		if got.Data != data || got.User != "alice" || got.ID == "" {
			t.Errorf("%s got %+v", who.user, got)
		}
	}
}

// TestEverybodyHasAChannelOfTheirOwn publishes to the channel of a user who has subscribed to
// nothing. The user must get the publication, since the server subscribes each user to the user's
// own channel at the connect.
func TestEverybodyHasAChannelOfTheirOwn(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	alice, bob := connect(t, e, "alice"), connect(t, e, "bob")
	if err := alice.say("user:bob", `"psst"`); err != nil {
		t.Fatal(err)
	}
	if got := bob.got("user:bob", 1)[0]; got.Data != `"psst"` || got.User != "alice" {
		t.Errorf("bob got %+v", got)
	}
}

// In TestOneRoom, a chat client and an SDK client talk in a group, in both directions. If the SDK
// client publishes a JSON string, the chat client must get the text of that string. If the SDK
// client publishes other JSON, the chat client must get it unchanged.
func TestOneRoom(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	room := chat.Dial(t, e.URL("/chat/channel/1"), chat.Options{})
	room.Send(`{"Method":"UserGroup","Group":"g"}`)
	room.Expect("user 【1】 add to group 【g】")
	alice := connect(t, e, "alice")
	alice.subscribe("group:g")
	room.Send(`{"Method":"Group","Group":"g","MsgBody":"hi \"all\""}`)
	if got := alice.got("group:g", 1)[0]; got.Data != `"hi \"all\""` {
		t.Errorf("alice got %+v", got)
	}
	for _, said := range []struct{ data, text string }{{`"hi"`, "hi"}, {`{"a": 1}`, `{"a": 1}`}} {
		if err := alice.say("group:g", said.data); err != nil {
			t.Fatal(err)
		}
		room.Expect("group 【g】 user 【alice】 send:" + said.text)
	}
}

// TestP3_ARelayThatIsKilledClosesNoSDKSession kills two relays, one after the other, while clients
// publish. No client may lose its connection, and each publish must be answered. Each client must
// get each message once, and the messages of one user in order.
func TestP3_ARelayThatIsKilledClosesNoSDKSession(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
	edges := []*cluster.Edge{c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)}
	const users, rounds = 20, 12
	var all []*client
	for i := range users {
		u := connect(t, edges[i%2], fmt.Sprint("u", i))
		u.subscribe("group:g")
		all = append(all, u)
	}
	var speaking sync.WaitGroup
	for _, u := range all {
		speaking.Go(func() {
			for n := range rounds {
				if err := u.say("group:g", fmt.Sprintf(`{"from":%q,"n":%d}`, u.user, n)); err != nil {
					t.Errorf("%s: publish %d: %v", u.user, n, err)
				}
				time.Sleep(200 * time.Millisecond) // the pace of the talk
			}
		})
	}
	for _, r := range relays {
		r.Kill()
		cluster.Eventually(t, "both edges have a link", func() bool { return edges[0].Linked() && edges[1].Linked() })
		all[0].got("group:g", len(all[0].got("group:g", 0))+users)
		r.Restart()
	}
	speaking.Wait()
	for _, u := range all {
		next := map[string]int{}
		for _, r := range u.got("group:g", users*rounds) {
			want := fmt.Sprintf(`{"from":%q,"n":%d}`, r.User, next[r.User])
			if next[r.User]++; r.Data != want {
				t.Fatalf("%s got %s, want %s", u.user, r.Data, want)
			}
		}
		u.stood()
	}
}

// TestP5_SDKsAreAnsweredWhileRedisIsAway freezes Redis. For clients of one relay, a connect, a
// subscribe and a publish must be answered before an SDK gives up. While Redis is frozen, these
// clients must get each other's messages. When Redis is back, no client may get a message again.
func TestP5_SDKsAreAnsweredWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	e := c.StartEdge(nil, c.StartRelay(nil))
	ann := connect(t, e, "ann")
	ann.subscribe("group:g")
	c.Redis().Pause()
	ann.subscribe("group:h")
	bob := connect(t, e, "bob")
	bob.subscribe("group:g")
	for n := range 3 {
		if err := bob.say("group:g", fmt.Sprint(n)); err != nil {
			t.Errorf("publish %d: %v", n, err)
		}
	}
	ann.got("group:g", 3)
	c.Redis().Continue()
	if err := bob.say("group:g", "3"); err != nil {
		t.Error(err)
	}
	cluster.Eventually(t, "Redis is back", func() bool { _, body := e.Ready(); return !strings.Contains(body, `"broker"`) })
	if err := bob.say("group:g", "4"); err != nil {
		t.Error(err)
	}
	for _, u := range []*client{ann, bob} {
		for n, r := range u.got("group:g", 5) {
			if r.Data != fmt.Sprint(n) {
				t.Errorf("%s got %s, want %d", u.user, r.Data, n)
			}
		}
		u.stood()
	}
}

// TestP5_APublishForAnotherRelayIsAnsweredWhileRedisIsAway freezes Redis. A client publishes to a
// user whose edge is linked to another relay, so nothing can reach that user. Each publish must be
// answered before the SDK gives up. When Redis is back, the user must get each message once, in
// order.
func TestP5_APublishForAnotherRelayIsAnsweredWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	ann := connect(t, c.StartEdge(nil, c.StartRelay(nil)), "ann")
	bob := connect(t, c.StartEdge(nil, c.StartRelay(nil)), "bob")
	if err := ann.say("user:bob", "0"); err != nil {
		t.Fatal(err)
	}
	bob.got("user:bob", 1)
	c.Redis().Pause()
	for n := 1; n < 4; n++ {
		if err := ann.say("user:bob", fmt.Sprint(n)); err != nil {
			t.Errorf("publish %d: %v", n, err)
		}
	}
	if got := bob.got("user:bob", 1); len(got) > 1 {
		t.Errorf("bob got %v while Redis is away", got)
	}
	c.Redis().Continue()
	bob.got("user:bob", 4)
	if err := ann.say("user:bob", "4"); err != nil {
		t.Error(err)
	}
	for n, r := range bob.got("user:bob", 5) {
		if r.Data != fmt.Sprint(n) {
			t.Errorf("bob got %s, want %d", r.Data, n)
		}
	}
	ann.stood()
	bob.stood()
}
