package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// bothForms returns a frame with a text for each form.
func bothForms(topic protocol.Topic, text string) link.Forms {
	return link.Forms{Topic: numberOf(topic), Texts: []link.Rendering{{Form: link.FormChat, Text: []byte("chat " + text)}, {Form: link.FormJSON, Text: []byte("json " + text)}}}
}

// TestEachMemberGetsTheTextOfItsForm publishes to a topic whose members are clients of the chat and
// clients of SDKs. Each member must get the text of its form.
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
	h.Forms(ahead) // now the message that was given ahead is published
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

// In TestP2_BareFormsComeOnceDuringAMove, two links bring the same publication without a position.
// The Hub must recognise the repeat by the chat's text, even if one link brings Forms and the other
// link brings a Publication.
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

// In TestP10_AFormForWhichThereIsNoRoomIsCounted, more texts come during a move than the overlap
// can count. Then a publication comes with two forms. The text of one form is counted already. The
// other form finds no room and is dropped. The drop must be counted.
func TestP10_AFormForWhichThereIsNoRoomIsCounted(t *testing.T) {
	h, _, older, newer := twoLinks()
	bring(newer, 2, "a")
	for i := range overlapTexts {
		bring(older, 1, fmt.Sprint(i))
	}
	dropped := testutil.ToFloat64(h.metrics.dropped[dropOverlap])
	newer.Forms(link.Forms{Topic: 2, Texts: []link.Rendering{{Form: link.FormChat, Text: []byte("a")}, {Form: link.FormJSON, Text: []byte("json a")}}})
	if n := testutil.ToFloat64(h.metrics.dropped[dropOverlap]) - dropped; n != 1 {
		t.Errorf("%v drops are counted, want 1", n)
	}
}

// In TestP4_ALinkThatIsLeftMovesNobodyPastWhatIsToCome, the new relay binds a client of an SDK. The
// old relay does not know this client, so the old link brings a publication with the chat's text
// alone. The Hub must drop that publication, and wait until the new link brings it with both texts.
// Likewise the Hub must drop a Gap of the old link, since a Gap has only the chat's text.
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
	bring(old, 5, true) // has both texts, but is dropped: 3 and 4 are still to come
	wantTexts(t, chat)
	wantTexts(t, sdk)
	// A publication without a position is passed on, since the new link may never bring it.
	old.Publication(link.Publication{Topic: number, Payload: []byte("bare")})
	wantTexts(t, chat, "bare")
	for offset := range uint64(3) {
		bring(h.Feed, offset+2, true) // the publication at offset 2 is a repeat
	}
	bring(h.Feed, 5, true)
	bring(old, 6, true) // with both texts, a publication of the old link is passed on
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

// In TestSlowReadersOfTwoFormsCostOnlyThemselves, two clients never read: one of the chat, and one
// of an SDK. Each of them must be closed with the code of its protocol. Two further clients, which
// read, must get every message.
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

// In TestP2_BareFormsOfWhomTheOldRelayDoesNotKnow, the new relay knows a client of an SDK, and the
// old relay does not. Both links bring the same two publications without a position, but the old
// link brings only their texts for the chat. The old link brings the first publication before the
// new link does, and the second publication after it. Each member must get each publication once.
func TestP2_BareFormsOfWhomTheOldRelayDoesNotKnow(t *testing.T) {
	h := newMirror(HubConfig{})
	chat := openAll(h, &fakeUpstream{}, "1")[0]
	old := h.Feed
	old.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all"})
	old.Leaving()
	h.Feed = h.begin()
	sdk := sdkMember(t, h, "2", "all")
	f := bothForms("all", "a")
	alone := link.Publication{Topic: f.Topic, Payload: f.Texts[0].Text}
	old.Publication(alone)
	h.Forms(f)
	h.Forms(f)
	old.Publication(alone)
	wantTexts(t, chat, "chat a", "chat a")
	wantTexts(t, sdk, "json a", "json a")
}
