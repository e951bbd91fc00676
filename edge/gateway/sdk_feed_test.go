package gateway

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// guest adds a guest to the tables, as the guest's reader does when the first line has come.
func guest(h *mirror, up Upstream) *Session {
	s := newGuest("", 1<<20)
	h.enterGuest(s, netip.Addr{}, 1<<20)
	h.introduce(s, up)
	return s
}

// sdkMember adds a confirmed session of an SDK, and makes the session a member of the topics.
func sdkMember(t testing.TB, h *mirror, user string, topics ...protocol.Topic) *Session {
	t.Helper()
	s := guest(h, &fakeUpstream{})
	n := link.Confirmed{Session: s.info.ID, User: user}
	for _, topic := range topics {
		h.Topic(link.TopicNumber{ID: numberOf(topic), Topic: topic})
		n.Channels = append(n.Channels, link.Channel{Topic: numberOf(topic)})
	}
	if err := h.Confirmed(n, false); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConfirmedMakesAMember checks what Confirmed changes in the Hub: the session, its memberships
// and keeps, the digest, and the guests. The client must get the answer, and the session's reader
// must go on.
func TestConfirmedMakesAMember(t *testing.T) {
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	s := guest(h, up)
	ready := s.sdk.ready
	if got := tablesOf(h.Hub); len(got.clients) != 1 || got.clients[0].Confirmed || len(got.sessions) != 0 {
		t.Errorf("of a guest is told %+v", got)
	}
	h.Feed = h.begin()
	for id, topic := range []protocol.Topic{"user:1", "group:g"} {
		h.Topic(link.TopicNumber{ID: uint64(id + 1), Topic: topic, Position: pos(1, 5)})
	}
	frame := link.Confirmed{
		Session: s.info.ID, User: "1", Until: 1234, Keep: []byte("session"), Text: []byte("connected"),
		Channels: []link.Channel{{Topic: 1}, {Topic: 2, Keep: []byte("membership")}},
	}
	if err := h.Confirmed(frame, true); err != nil {
		t.Fatal(err)
	}
	clear(frame.Keep) // the Hub must have copied these bytes
	clear(frame.Channels[1].Keep)
	wantTexts(t, s, "connected")
	got := tablesOf(h.Hub)
	want := link.Client{ID: s.info.ID, Confirmed: true, User: "1", Until: 1234, Keep: []byte("session")}
	if len(got.clients) != 1 || fmt.Sprint(got.clients[0]) != fmt.Sprint(want) || got.order != "SHK" {
		t.Errorf("told %+v in the order %s, want %+v", got.clients, got.order, want)
	}
	if len(got.keeps) != 1 || got.keeps[0].Topic != "group:g" || string(got.keeps[0].Keep) != "membership" || len(got.held) != 2 {
		t.Errorf("told %+v %+v", got.held, got.keeps)
	}
	if d, comparable := h.Digest(); d != got.digest() || !comparable {
		t.Errorf("digest %+v %v, want %+v", d, comparable, got.digest())
	}
	select {
	case <-ready:
	default:
		t.Error("its reader still waits")
	}
	if len(h.guests.places) != 0 || h.keeps != len("sessionmembership") {
		t.Errorf("%d guests, keeps of %d bytes", len(h.guests.places), h.keeps)
	}
}

// TestAnAnswerToAnSDKIsPassedOnOnce calls Confirmed, Refreshed and Bound for two sessions: with the
// parameter answer false for the first session, and true for the second. The tables must change in
// both cases. The client must get the texts only if answer is true.
func TestAnAnswerToAnSDKIsPassedOnOnce(t *testing.T) {
	for _, answer := range []bool{false, true} {
		h := newMirror(HubConfig{})
		s := guest(h, &fakeUpstream{})
		h.Topic(link.TopicNumber{ID: 1, Topic: "all"})
		id := s.info.ID
		h.Confirmed(link.Confirmed{Session: id, User: "1", Text: []byte("a")}, answer)
		h.Refreshed(link.Refreshed{Session: id, Until: 9, Keep: []byte("k"), Text: []byte("b")}, answer)
		h.Bound(link.Bound{Session: id, Topic: 1, Keep: []byte("m"), Text: []byte("c")}, answer)
		want := []string{"a", "b", "c"}
		if !answer {
			want = nil
		}
		wantTexts(t, s, want...)
		got := tablesOf(h.Hub)
		if c := got.clients[0]; c.User != "1" || c.Until != 9 || string(c.Keep) != "k" || len(got.held) != 1 || len(got.keeps) != 1 {
			t.Errorf("told %+v", got)
		}
	}
}

// In TestARelayThatIsWrongAboutASessionIsTold, a relay confirms, refreshes or binds a session whose
// state does not permit it. Each call must return an error, which ends the link, and must change
// nothing. A frame about a forgotten session must cause no error.
func TestARelayThatIsWrongAboutASessionIsTold(t *testing.T) {
	h := newMirror(HubConfig{})
	chat := openAll(h, &fakeUpstream{}, "chat")[0].info.ID
	confirmed := sdkMember(t, h, "1").info.ID
	waiting := guest(h, &fakeUpstream{}).info.ID
	before := tablesOf(h.Hub).digest()
	for name, err := range map[string]error{
		"confirmed twice":            h.Confirmed(link.Confirmed{Session: confirmed, User: "2"}, true),
		"a guest is refreshed":       h.Refreshed(link.Refreshed{Session: waiting}, true),
		"a guest is bound":           h.Bound(link.Bound{Session: waiting, Topic: numberOf("all")}, true),
		"the chat's is confirmed":    h.Confirmed(link.Confirmed{Session: chat, User: "2"}, true),
		"the chat's is refreshed":    h.Refreshed(link.Refreshed{Session: chat}, true),
		"the chat's has a keep":      h.Bound(link.Bound{Session: chat, Topic: numberOf("all"), Keep: []byte("k")}, true),
		"the chat's is bound with 0": h.Bound(link.Bound{Session: chat, Topic: numberOf("all")}, true),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, err := range map[string]error{
		"confirmed": h.Confirmed(link.Confirmed{Session: 99, User: "2"}, true),
		"refreshed": h.Refreshed(link.Refreshed{Session: 99}, true),
		"bound":     h.Bound(link.Bound{Session: 99, Topic: numberOf("all")}, true),
	} {
		if err != nil {
			t.Errorf("a session that is gone is %s: %v", name, err)
		}
	}
	h.Close(link.Close{Session: 99, Code: 3500, Reason: "x"})
	h.Unbound(link.Unbound{Session: 99, Topic: numberOf("all")})
	if got := tablesOf(h.Hub).digest(); got != before {
		t.Error("a wrong frame has an effect")
	}
}

// TestUnknownTopicsOfASessionArePassedOver brings frames for a session. The frames name one topic
// number that is known, and three that are not. The session must be bound to the known topic, and
// the client must get every text.
func TestUnknownTopicsOfASessionArePassedOver(t *testing.T) {
	g := startSDK(t, nil, nil)
	h := g.hub
	s := guest(h, g.up)
	h.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	err := h.Confirmed(link.Confirmed{Session: s.info.ID, User: "1", Channels: []link.Channel{{Topic: 7, Keep: []byte("k")}, {Topic: 1}}, Text: []byte("a")}, true)
	if err == nil {
		err = h.Bound(link.Bound{Session: s.info.ID, Topic: 8, Keep: []byte("k"), Text: []byte("b")}, true)
	}
	h.Unbound(link.Unbound{Session: s.info.ID, Topic: 9, Text: []byte("c")})
	if err != nil {
		t.Fatal(err)
	}
	wantTexts(t, s, "a", "b", "c")
	if got := tablesOf(h.Hub); len(got.held) != 1 || len(got.keeps) != 0 || g.metric("dropped_total", "no_topic") != 3 {
		t.Errorf("told %+v, %v dropped", got, g.metric("dropped_total", "no_topic"))
	}
}

// In TestADeadSessionIsChangedAndNotAnswered, a relay confirms and refreshes a session that has
// ended at the edge. Both sides have the session in their tables until its End is finished, so the
// tables must change alike. The client must get nothing, and the session must not count for its
// user.
func TestADeadSessionIsChangedAndNotAnswered(t *testing.T) {
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	u := users{most: 1, sessions: map[string]int{}}
	h.users = &u
	s := guest(h, up)
	h.End(s, up)
	h.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	if err := h.Confirmed(link.Confirmed{Session: s.info.ID, User: "1", Channels: []link.Channel{{Topic: 1, Keep: []byte("k")}}, Text: []byte("a")}, true); err != nil {
		t.Fatal(err)
	}
	if err := h.Refreshed(link.Refreshed{Session: s.info.ID, Until: 7, Text: []byte("b")}, true); err != nil {
		t.Fatal(err)
	}
	wantTexts(t, s)
	got := tablesOf(h.Hub)
	if c := got.clients[0]; !c.Confirmed || c.User != "1" || c.Until != 7 || len(got.held) != 1 || len(got.keeps) != 1 {
		t.Errorf("told %+v", got)
	}
	if len(u.sessions) != 0 {
		t.Errorf("counted %v", u.sessions)
	}
	h.Forget(s.info.ID)
	if d, _ := h.Digest(); d != (link.Digest{}) || h.keeps != 0 || len(h.topics) != 1 {
		t.Errorf("left is %+v, keeps of %d bytes, %d topics", d, h.keeps, len(h.topics))
	}
}

// TestConfirmationsRaceWithEverything is for the race detector. It confirms connects while clients
// speak and leave, while links begin, and while the clock runs.
func TestConfirmationsRaceWithEverything(t *testing.T) {
	g := startSDK(t, nil, func(c *Config) { c.PerUser, c.Rate = 1000, 1e6 })
	g.hub.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	stop := make(chan struct{})
	var around, clients sync.WaitGroup
	around.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			now := g.server.now() + time.Duration(i)*time.Millisecond
			g.server.beat(time.Now(), now)
			for _, s := range g.hub.living() {
				g.hub.Refreshed(link.Refreshed{Session: s.info.ID, Until: time.Now().Unix() + 100 + i%50, Keep: []byte("k")}, i%2 == 0)
			}
			g.hub.Digest()
			tablesOf(g.hub.Hub)
		}
	})
	for n := range 8 {
		clients.Go(func() {
			for i := range 25 {
				c := g.raw(protocol.SDKPath, textOf(fmt.Sprint("connect ", n%3), "a", "b"))
				if i%3 > 0 {
					c.frame()
					c.send(textOf("c"))
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	close(stop)
	around.Wait()
	eventually(t, "all have ended", func() bool { return g.server.Active() == 0 })
	if len(g.hub.guests.places) != 0 || g.hub.strangers != 0 {
		t.Errorf("%d guests, %d strangers", len(g.hub.guests.places), g.hub.strangers)
	}
}
