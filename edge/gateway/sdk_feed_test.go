package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// guest adds a guest whose first line has come, as its reader does.
func guest(h *mirror, up Upstream) *Session {
	s := newGuest("", 1<<20)
	h.enterGuest(s, 1<<20, 1<<20)
	h.introduce(s, up)
	return s
}

// sdkMember adds a confirmed session of an SDK that is a member of the topics.
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

// tables has the frames that Begin tells.
type tables struct {
	sessions []link.Session
	clients  []link.Client
	held     []link.Held
	keeps    []link.Keep
	order    string // the kinds of the frames, in the order in which they came
}

func tablesOf(h *Hub) (t tables) {
	note := func(kind string) {
		if !strings.HasSuffix(t.order, kind) {
			t.order += kind
		}
	}
	f := h.Begin(
		func(s link.Session) { note("S"); t.sessions = append(t.sessions, s) },
		func(c link.Client) { note("S"); t.clients = append(t.clients, c) },
		func(held link.Held) { note("H"); t.held = append(t.held, held) },
		func(k link.Keep) { note("K"); t.keeps = append(t.keeps, k) })
	f.Down()
	return t
}

// digest computes the digest that a relay would have after these frames.
func (t tables) digest() (d link.Digest) {
	for _, s := range t.sessions {
		d.Sessions++
		d.SessionHash ^= link.SessionHash(s)
	}
	for _, c := range t.clients {
		d.Sessions++
		d.SessionHash ^= link.ClientHash(c)
	}
	for _, held := range t.held {
		for _, id := range held.Sessions {
			d.Bindings++
			var keep []byte
			for _, k := range t.keeps {
				if k.Session == id && k.Topic == held.Topic {
					keep = k.Keep
				}
			}
			d.BindingHash ^= link.BindingHashKeep(id, held.Topic, keep)
		}
	}
	return d
}

// TestConfirmedMakesAMember checks everything that Confirmed changes.
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
	if len(h.guests) != 0 || h.keeps != len("sessionmembership") {
		t.Errorf("%d guests, keeps of %d bytes", len(h.guests), h.keeps)
	}
}

// TestAnAnswerToAnSDKIsPassedOnOnce brings Confirmed, Refreshed and Bound, with and without answer
// set. The tables must change in both cases. The client must get the texts only if answer is set.
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

// TestP9_TheDigestIsOfTheTables lets random frames come, and compares the digest with the tables
// after each.
func TestP9_TheDigestIsOfTheTables(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	keep := func() []byte { return bytes.Repeat([]byte{byte(rnd.IntN(256))}, rnd.IntN(3)*rnd.IntN(40)) }
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	const topics = 12
	for id := range uint64(topics) {
		h.Topic(link.TopicNumber{ID: id, Topic: protocol.Topic(fmt.Sprint("group:", id))})
	}
	var living, dead []*Session
	for step := range 20_000 {
		var s *Session
		if len(living) > 0 {
			s = living[rnd.IntN(len(living))]
		}
		switch n := rnd.IntN(20); {
		case n < 2 || s == nil:
			if len(living) < 8 {
				living = append(living, guest(h, up))
			}
		case n < 5 && !s.sdk.confirmed:
			n := link.Confirmed{Session: s.info.ID, User: fmt.Sprint(rnd.IntN(3)), Until: rnd.Int64N(3), Keep: keep()}
			for range rnd.IntN(4) {
				n.Channels = append(n.Channels, link.Channel{Topic: rnd.Uint64N(topics + 1), Keep: keep()})
			}
			h.Confirmed(n, true)
		case n < 7:
			h.Refreshed(link.Refreshed{Session: s.info.ID, Until: rnd.Int64N(3), Keep: keep()}, true)
		case n < 13:
			h.Bound(link.Bound{Session: s.info.ID, Topic: rnd.Uint64N(topics), Keep: keep()}, true)
		case n < 16:
			h.Unbound(link.Unbound{Session: s.info.ID, Topic: rnd.Uint64N(topics)})
		case n < 17:
			h.Left(link.Left{Session: s.info.ID, Topic: rnd.Uint64N(topics)}, true)
		case n < 18:
			h.End(s, up)
			living = slices.DeleteFunc(living, func(other *Session) bool { return other == s })
			dead = append(dead, s)
		default:
			if len(dead) > 0 {
				h.Forget(dead[0].info.ID)
				dead = dead[1:]
			}
		}
		for _, s := range living {
			s.Take()
		}
		got := tablesOf(h.Hub)
		if d, _ := h.Digest(); d != got.digest() {
			t.Fatalf("seed %d, step %d: digest %+v, tables %+v", seed, step, d, got.digest())
		}
		sum := 0
		for _, c := range got.clients {
			sum += len(c.Keep)
		}
		for _, k := range got.keeps {
			sum += len(k.Keep)
		}
		if h.keeps != sum {
			t.Fatalf("seed %d, step %d: %d bytes of keeps are counted, there are %d", seed, step, h.keeps, sum)
		}
	}
}

// TestKeepsAreBounded has a relay send longer keeps than a session or an edge may have. The frames
// must return an error, which ends the link, and must change nothing.
func TestKeepsAreBounded(t *testing.T) {
	h := newMirror(HubConfig{})
	s := sdkMember(t, h, "1", "all")
	id, number := s.info.ID, numberOf("all")
	keep := func(n int) []byte { return make([]byte, n) }
	wantLimit := func(err error) {
		t.Helper()
		end, ok := errors.AsType[*link.CloseError](err)
		if !ok || end.Code != link.CodeLimit {
			t.Errorf("error %v, want that of a limit", err)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	ok(h.Refreshed(link.Refreshed{Session: id, Keep: keep(1000)}, true))
	ok(h.Bound(link.Bound{Session: id, Topic: number, Keep: keep(link.MaxKeeps - 1000)}, true))
	before := tablesOf(h.Hub).digest()
	wantLimit(h.Refreshed(link.Refreshed{Session: id, Until: 7, Keep: keep(1001)}, true))
	wantLimit(h.Bound(link.Bound{Session: id, Topic: number, Keep: keep(link.MaxKeeps - 999)}, true))
	if got := tablesOf(h.Hub).digest(); got != before {
		t.Error("what is beyond a bound has an effect")
	}
	ok(h.Bound(link.Bound{Session: id, Topic: number, Keep: keep(1)}, true)) // shorter than before
	ok(h.Refreshed(link.Refreshed{Session: id, Keep: keep(link.MaxKeeps - 1)}, true))
	h.Unbound(link.Unbound{Session: id, Topic: number})
	ok(h.Refreshed(link.Refreshed{Session: id, Keep: keep(link.MaxKeeps)}, true))

	h.keeps = link.MaxEdgeKeeps - 10
	other := guest(h, &fakeUpstream{})
	wantLimit(h.Confirmed(link.Confirmed{Session: other.info.ID, User: "2", Keep: keep(11)}, true))
	if other.sdk.confirmed || other.info.User != "" {
		t.Error("what is beyond a bound has an effect")
	}
	ok(h.Confirmed(link.Confirmed{Session: other.info.ID, User: "2", Keep: keep(10)}, true))
	h.End(other, &fakeUpstream{})
	h.Forget(other.info.ID)
	if h.keeps != link.MaxEdgeKeeps-10 {
		t.Errorf("%d bytes are counted after the end", h.keeps)
	}
}

// TestARelayThatIsWrongAboutASessionIsTold has a relay confirm, refresh or bind a session that is
// not in the state for it. Each frame must return an error, which ends the link, and must change
// nothing. A frame about a forgotten session is no error.
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

// TestUnknownTopicsOfASessionArePassedOver has a relay name topic numbers that are unknown, and one
// that is known. The session must be bound to the known topic, and the client must get every text.
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

// TestADeadSessionIsChangedAndNotAnswered has a relay confirm and refresh a session that has ended
// at the edge. Both sides have the session in their tables until its End is finished, so the tables
// must change alike. The client gets nothing, and the session does not count for its user.
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

// bothForms returns a frame with a text for each form.
func bothForms(topic protocol.Topic, text string) link.Forms {
	return link.Forms{Topic: numberOf(topic), Texts: []link.Rendering{{Form: link.FormChat, Text: []byte("chat " + text)}, {Form: link.FormJSON, Text: []byte("json " + text)}}}
}

// TestEachMemberGetsTheTextOfItsForm publishes to a topic with members that speak the chat and
// members that are clients of SDKs.
func TestEachMemberGetsTheTextOfItsForm(t *testing.T) {
	h := newMirror(HubConfig{})
	chat := openAll(h, &fakeUpstream{}, "1", "2")
	first, second := sdkMember(t, h, "1", "all"), sdkMember(t, h, "2", "all")
	forms := bothForms("all", "a")
	forms.Except = "1"
	h.Forms(forms)
	wantTexts(t, chat[0])
	wantTexts(t, chat[1], "chat a")
	wantTexts(t, first, "json a") // an SDK's client receives what it published itself
	wantTexts(t, second, "json a")
	for _, only := range []int{0, 1} {
		forms := bothForms("all", "b")
		forms.Texts = forms.Texts[only : only+1]
		h.Forms(forms)
	}
	for _, s := range chat {
		wantTexts(t, s, "chat b")
	}
	wantTexts(t, first, "json b")
	wantTexts(t, second, "json b")
}

// TestFramesOfOldRelaysAreForTheChat brings the frames that have only the chat's text. A client of
// an SDK could not read that text, and must get nothing.
func TestFramesOfOldRelaysAreForTheChat(t *testing.T) {
	h := newMirror(HubConfig{})
	chat, sdk := openAll(h, &fakeUpstream{}, "1")[0], sdkMember(t, h, "2", "all")
	h.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all", Position: pos(1, 1)})
	h.Publication(link.Publication{Topic: numberOf("all"), Position: pos(1, 2), Payload: []byte("a")})
	h.Publication(link.Publication{Topic: numberOf("all"), Payload: []byte("b")})
	h.Ahead(link.Ahead{Topic: numberOf("all"), ID: 7, Payload: []byte("c")})
	h.Gap(link.Gap{Topic: numberOf("all"), Position: pos(1, 9), Lost: 3, Text: []byte("lost")})
	wantTexts(t, chat, "a", "b", "c", "lost")
	wantTexts(t, sdk)
}

// TestFormsAreDeliveredOnceAndInOrder brings Forms whose positions or ids came before. The Hub must
// drop them, as it does a repeated Publication.
func TestFormsAreDeliveredOnceAndInOrder(t *testing.T) {
	h := newMirror(HubConfig{})
	chat, sdk := openAll(h, &fakeUpstream{}, "1")[0], sdkMember(t, h, "2", "all")
	h.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all", Position: pos(5, 10)})
	for _, p := range []struct {
		position protocol.Position
		text     string
	}{{pos(5, 10), "repeated"}, {pos(5, 11), "a"}, {pos(5, 11), "repeated"}, {pos(5, 12), "b"}, {pos(4, 20), "repeated"}} {
		f := bothForms("all", p.text)
		f.Position = p.position
		h.Forms(f)
	}
	ahead := bothForms("all", "ahead")
	for range 2 {
		h.AheadForms(link.AheadForms{Topic: ahead.Topic, ID: 9, Texts: ahead.Texts})
	}
	ahead.ID, ahead.Position = 9, pos(5, 13)
	h.Forms(ahead) // published at last
	want := []string{"a", "b", "ahead"}
	for i := range want {
		want[i] = "chat " + want[i]
	}
	wantTexts(t, chat, want...)
	for i := range want {
		want[i] = "json" + strings.TrimPrefix(want[i], "chat")
	}
	wantTexts(t, sdk, want...)
}

// TestP2_BareFormsComeOnceDuringAMove has two links bring the same publication without a position.
// The Hub recognises the repeat by the chat's text, even if one link brings Forms and the other a
// Publication.
func TestP2_BareFormsComeOnceDuringAMove(t *testing.T) {
	h := newMirror(HubConfig{})
	chat, sdk := openAll(h, &fakeUpstream{}, "1")[0], sdkMember(t, h, "2", "all")
	old := h.Feed
	old.Leaving()
	next := h.begin()
	next.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all"})
	f := bothForms("all", "a")
	old.Forms(f)
	next.Forms(f)
	next.Forms(f)
	old.Publication(link.Publication{Topic: f.Topic, Payload: f.Texts[0].Text})
	wantTexts(t, chat, "chat a", "chat a")
	wantTexts(t, sdk, "json a", "json a")
}

// TestP4_ALinkThatIsLeftMovesNobodyPastWhatIsToCome has the new relay bind a client of an SDK, of
// which the old relay does not know. The old link brings a publication with the chat's text alone.
// The Hub must drop it and wait for the new link's publication, which has both texts. The same
// holds for a gap.
func TestP4_ALinkThatIsLeftMovesNobodyPastWhatIsToCome(t *testing.T) {
	h := newMirror(HubConfig{})
	chat := openAll(h, &fakeUpstream{}, "1")[0]
	number := numberOf("all")
	h.Topic(link.TopicNumber{ID: number, Topic: "all", Position: pos(1, 1)})
	old := h.Feed
	old.Leaving()
	h.Feed = h.begin()
	bring := func(f *Feed, offset uint64, forms bool) {
		frame := bothForms("all", fmt.Sprint(offset))
		if frame.Position = pos(1, offset); forms {
			f.Forms(frame)
			return
		}
		f.Publication(link.Publication{Topic: number, Position: frame.Position, Payload: frame.Texts[0].Text})
	}
	bring(old, 2, false)
	wantTexts(t, chat, "chat 2")
	sdk := sdkMember(t, h, "2", "all")
	bring(old, 3, false)
	old.Gap(link.Gap{Topic: number, Position: pos(1, 4), Lost: 1, Text: []byte("lost")})
	bring(old, 5, true) // the old relay knows of one by now, and the topic has yet to get 3 and 4
	wantTexts(t, chat)
	wantTexts(t, sdk)
	// A publication without a position is passed on, since the new link may never bring it.
	old.Publication(link.Publication{Topic: number, Payload: []byte("bare")})
	wantTexts(t, chat, "bare")
	for offset := range uint64(3) {
		bring(h.Feed, offset+2, true) // the publication at offset 2 is a repeat
	}
	bring(h.Feed, 5, true)
	bring(old, 6, true)
	bring(h.Feed, 6, true)
	wantTexts(t, chat, "chat 3", "chat 4", "chat 5", "chat 6")
	wantTexts(t, sdk, "json 3", "json 4", "json 5", "json 6")
	h.End(sdk, &fakeUpstream{}) // now no living member lacks the text
	bring(old, 7, false)
	wantTexts(t, chat, "chat 7")
}

func TestFanOutOfTwoFormsAllocatesNothingPerDelivery(t *testing.T) {
	h := newMirror(HubConfig{})
	sessions := openAll(h, &fakeUpstream{}, slices.Repeat([]string{"1"}, 50)...)
	for range 50 {
		sessions = append(sessions, sdkMember(t, h, "2", "all"))
	}
	roomy(sessions)
	f := bothForms("all", strings.Repeat("x", 128))
	if n := testing.AllocsPerRun(100, func() { h.Forms(f) }); n > 2 {
		t.Errorf("%v allocations for 100 deliveries, want 2: a frame for each form", n)
	}
	roomy(sessions)
	f.Texts = f.Texts[1:]
	if n := testing.AllocsPerRun(100, func() { h.Forms(f) }); n > 1 {
		t.Errorf("%v allocations for 50 deliveries, want 1: the frame", n)
	}
}

func BenchmarkFanOutOfTwoForms(b *testing.B) {
	h := newMirror(HubConfig{})
	const members = 1000
	sessions := openAll(h, &fakeUpstream{}, slices.Repeat([]string{"1"}, members/2)...)
	for range members / 2 {
		sessions = append(sessions, sdkMember(b, h, "2", "all"))
	}
	f := bothForms("all", strings.Repeat("x", 128))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i%512 == 0 {
			b.StopTimer()
			for _, s := range sessions {
				s.queue.size = 0
			}
			roomy(sessions)
			b.StartTimer()
		}
		h.Forms(f)
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/delivery")
}

// TestAUserHasOnlySoManySessions checks Config.PerUser. Chat sessions and sessions of SDKs count
// together. A session of an SDK counts from its confirmation on.
func TestAUserHasOnlySoManySessions(t *testing.T) {
	g := startSDK(t, nil, func(c *Config) { c.PerUser = 2 })
	g.raw("/chat/user/1", "")
	first := g.sdk("1")
	second := g.raw(protocol.SDKPath+"?user=1", "") // a guest does not count
	second.send(textOf("connect 1"))
	second.wantCode(3504)
	second.Close()
	g.endsWith(ReasonUserLimit)
	g.sdk("2")
	id := g.hub.sessions[2].info.ID
	first.Close()
	eventually(t, "its End", func() bool { return slices.Contains(g.up.ends(), id) })
	g.hub.Forget(id)
	eventually(t, "there is room for the user", func() bool {
		g.server.users.mu.Lock()
		defer g.server.users.mu.Unlock()
		return g.server.users.sessions["1"] == 1
	})
	g.sdk("1")
}

// TestARelayClosesWithACodeOfItsOwn has a relay close a session. The client must first get what was
// queued before the Close. Messages that the client still sends must not be accepted.
func TestARelayClosesWithACodeOfItsOwn(t *testing.T) {
	for _, path := range []string{protocol.SDKPath, "/chat/user/1"} {
		g := startSDK(t, nil, nil)
		c := g.raw(path, "")
		if path == protocol.SDKPath {
			c.send(textOf("connect 1"))
			c.wantFrame(textByte, "connected")
		}
		before := len(g.up.messages())
		g.hub.Answer(link.Answer{Session: 1, Text: []byte("before")})
		g.hub.Close(link.Close{Session: 1, Code: 3500, Reason: "invalid token"})
		g.hub.Answer(link.Answer{Session: 1, Text: []byte("behind")})
		c.wantFrame(textByte, "before")
		c.wantFrame(closeByte, "\x0d\xacinvalid token")
		c.send(textOf("late") + masked(0x88, "\x0d\xac"))
		g.endsWith(ReasonRelay)
		if got := g.up.messages(); len(got) != before {
			t.Errorf("%s: accepted %q", path, got)
		}
		if !slices.Equal(g.up.ends(), []uint64{1}) {
			t.Errorf("%s: ended %v", path, g.up.ends())
		}
	}
}

// TestSlowReadersOfTwoFormsCostOnlyThemselves has one client of each protocol that never reads.
// Each of the two is closed with the code of its protocol, and the other clients get every message.
func TestSlowReadersOfTwoFormsCostOnlyThemselves(t *testing.T) {
	g := startSDK(t, nil, func(c *Config) { c.Queue = 64 << 10 })
	g.hub.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all"})
	bind := func(c *rawClient) *rawClient {
		for _, s := range g.hub.living() {
			if s.sdk != nil {
				g.hub.Bound(link.Bound{Session: s.info.ID, Topic: numberOf("all")}, false)
			}
		}
		return c
	}
	slowSDK, slowChat := bind(g.sdk("slow")), g.raw("/chat/all/slow", "")
	goodSDK, goodChat := bind(g.sdk("good")), g.raw("/chat/all/good", "")
	text := strings.Repeat("x", 16<<10)
	living := g.hub.living()
	shed := func() (n int) {
		for _, s := range living {
			if r, _ := s.Reason(); r == ReasonSlow {
				n++
			}
		}
		return n
	}
	for n := 0; shed() < 2; n++ {
		if n > 10_000 {
			t.Fatal("the slow readers are never shed")
		}
		g.hub.Forms(bothForms("all", text))
		goodSDK.wantFrame(textByte, "json "+text)
		goodChat.wantFrame(textByte, "chat "+text)
	}
	for c, code := range map[*rawClient]int{slowSDK: 3008, slowChat: 4000} {
		for {
			first, p, err := c.frame()
			if err == nil && first == textByte {
				continue
			}
			if err != nil || first != closeByte || int(p[0])<<8|int(p[1]) != code {
				t.Errorf("got %#x %q, error %v; want close %d", first, p, err, code)
			}
			break
		}
	}
}

// TestConfirmationsRaceWithEverything is for the race detector: connects are confirmed while their
// clients speak, while they go, while links begin, and while the clock runs.
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
	if len(g.hub.guests) != 0 || g.hub.strangers != 0 {
		t.Errorf("%d guests, %d strangers", len(g.hub.guests), g.hub.strangers)
	}
}

// TestAClientThatTheRelayLetsGoHasFiveSeconds has a relay close a session with the code 0. The
// client must get no close frame, and its socket must be closed after leaveWait.
func TestAClientThatTheRelayLetsGoHasFiveSeconds(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		c := b.confirmed("1")
		b.hub.Answer(link.Answer{Session: 1, Text: []byte("before")})
		b.hub.Close(link.Close{Session: 1})
		b.hub.Answer(link.Answer{Session: 1, Text: []byte("behind")})
		b.hub.Close(link.Close{Session: 1, Code: 3500, Reason: "too late"})
		c.wantFrame(textByte, "before")
		began := time.Now()
		if first, p, err := c.frame(); err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Errorf("got frame %#x %q, error %v", first, p, err)
		}
		if took := time.Since(began); took != leaveWait {
			t.Errorf("the socket closes after %v", took)
		}
		synctest.Wait()
		if n := b.metric("sessions_ended_total", "closed_by_relay"); n != 1 || !slices.Equal(b.up.ends(), []uint64{1}) {
			t.Errorf("%v are counted, ended %v", n, b.up.ends())
		}
	})
}
