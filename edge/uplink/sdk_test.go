package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// kinds reads all frames that l has yet to send, and returns their types.
func kinds(t *testing.T, l *Link) (list []string) {
	t.Helper()
	for batch := l.Fill(nil); len(batch) > 0; batch = l.Fill(nil) {
		for len(batch) > 0 {
			typ, _, remainder, err := link.Next(batch)
			if err != nil {
				t.Fatal(err)
			}
			list, batch = append(list, typ.String()), remainder
		}
	}
	return list
}

// take gives a frame of a relay to l.
func take(l *Link, frame appender) error {
	typ, body, _, err := link.Next(frame.Append(nil))
	if err != nil {
		return err
	}
	return l.HandleFrame(typ, body)
}

// enrolled enrols a session and tells the relay about it.
func enrolled(t *testing.T, s *Links, c link.Client) {
	t.Helper()
	if again := s.Enrol(c); again != nil {
		t.Fatal("there is no relay for it")
	}
	s.OpenClient(c)
}

// TestWithSessionsOfSDKsThereIsNoLinkWithoutTheFeature checks that an edge with sessions of SDKs
// takes no link without FeatureSDK. A session counts until its End is finished, or until Forget.
func TestWithSessionsOfSDKsThereIsNoLinkWithoutTheFeature(t *testing.T) {
	s := NewLinks(LinksConfig{}, &fakeHub{})
	old := NewLink(s, link.FeatureMove, func() {})
	if again := s.Enrol(link.Client{ID: 1}); again == nil || s.KnowsSDK() || !s.takes(0) {
		t.Fatal("a session is taken on a link without the feature")
	}
	l := NewLink(s, link.FeatureSDK|link.FeatureMove, func() {})
	enrolled(t, s, link.Client{ID: 2})
	enrolled(t, s, link.Client{ID: 3})
	if s.takes(link.FeatureMove) || NewLink(s, link.FeatureMove, func() {}) != nil || !s.KnowsSDK() {
		t.Fatal("a link without the feature begins")
	}
	if !l.inUse() {
		t.Fatal("a link that does not begin takes the place of another")
	}
	s.Forget(2)
	if s.takes(0) {
		t.Error("one session is left")
	}
	kinds(t, l)
	s.Accept(3, []byte("a"))
	s.End(3)
	kinds(t, l)
	if s.takes(0) {
		t.Error("its End is not finished")
	}
	if err := take(l, link.Ack{Through: 2}); err != nil || !s.takes(0) {
		t.Errorf("its End is finished, error %v", err)
	}
	if l = NewLink(s, 0, func() {}); l == nil || s.KnowsSDK() {
		t.Error("no link begins")
	}
	old.Down()
	l.Down()
}

// TestAnEnrolmentWaitsForTheFeature checks that a link with FeatureSDK closes the channel that
// Enrol returned, and that no other link does. Without a link, Enrol must enrol no session, and
// KnowsSDK must say whether the last link had the feature.
func TestAnEnrolmentWaitsForTheFeature(t *testing.T) {
	s := NewLinks(LinksConfig{}, &fakeHub{})
	first, second := s.Enrol(link.Client{ID: 1}), s.Enrol(link.Client{ID: 2})
	is := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	NewLink(s, 0, func() {}).Down()
	if is(first) || is(second) || s.KnowsSDK() {
		t.Fatal("a link without the feature counts")
	}
	l := NewLink(s, link.FeatureSDK, func() {})
	if !is(first) || !is(second) || s.Enrol(link.Client{ID: 1}) != nil {
		t.Fatal("a link with the feature does not count")
	}
	l.Down()
	if s.Enrol(link.Client{ID: 2}) == nil || !s.KnowsSDK() {
		t.Error("a link that has ended counts")
	}
}

// TestClientsAreToldAsSessionsAre checks the order in which a link sends the tables: Session,
// Client, Held, Keep, Synced. The link must count its Client frames as it counts Session frames. A
// message must never come before the Client of its session.
func TestClientsAreToldAsSessionsAre(t *testing.T) {
	hub := &fakeHub{
		comparable: true,
		sessions:   map[uint64]link.Session{1: {ID: 1, User: "1"}},
		clients:    []link.Client{{ID: 2, Confirmed: true, User: "2"}, {ID: 3}},
		held:       []link.Held{{Topic: "all", Sessions: []uint64{1, 2}}, {Topic: "user:2", Sessions: []uint64{2}}},
		keeps:      []link.Keep{{Session: 2, Topic: "all", Keep: []byte("k")}},
	}
	s := NewLinks(LinksConfig{}, hub)
	l := NewLink(s, link.FeatureSDK, func() {})
	if l.synced.Sessions != 3 || l.synced.Held != 3 {
		t.Errorf("Synced says %+v", l.synced)
	}
	enrolled(t, s, link.Client{ID: 4})
	s.Accept(4, []byte("connect"))
	want := []string{"session", "client", "client", "held", "held", "keep", "synced", "client", "message"}
	if got := kinds(t, l); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if l.allTold(3) || !l.allTold(4) {
		t.Error("a Client does not count as heard")
	}
	for id := range uint64(3000) {
		s.OpenClient(link.Client{ID: id + 5, Open: true, User: "somebody with a name that takes some room"})
	}
	if l.allTold(4) {
		t.Error("a Client that is not sent yet does not count")
	}
	sent := 4
	for batch := l.Fill(nil); len(batch) > 0; batch = l.Fill(nil) {
		for ; len(batch) > 0; sent++ {
			_, _, batch, _ = link.Next(batch)
		}
		if int(l.told) != sent {
			t.Fatalf("%d Clients are sent, %d counted", sent, l.told)
		}
	}
	old := l
	l = NewLink(s, link.FeatureSDK, func() {})
	enrolled(t, s, link.Client{ID: 4000})
	if got := kinds(t, old); len(got) != 0 {
		t.Errorf("the old link sends %q", got)
	}
	if got := kinds(t, l); got[len(got)-1] != "message" || !slices.Contains(got, "client") {
		t.Errorf("the new link sends %q", got)
	}
}

// TestFramesOfTheFeatureAreHandledInTurn sends frames of FeatureSDK, each of them twice. Each
// answer must be passed on only once. The next link must replay only the message that Answered has
// granted.
func TestFramesOfTheFeatureAreHandledInTurn(t *testing.T) {
	hub := &fakeHub{}
	s := NewLinks(LinksConfig{}, hub)
	l := NewLink(s, link.FeatureSDK, func() {})
	enrolled(t, s, link.Client{ID: 1})
	for _, text := range []string{"connect", "subscribe", "publish", "refresh"} {
		s.Accept(1, []byte(text))
	}
	kinds(t, l)
	for range 2 { // each frame comes twice; the second answer to a number is not passed on
		for _, f := range []appender{
			link.Confirmed{Number: 1, Session: 1, User: "u"},
			link.Bound{Number: 2, Session: 1, Topic: 7},
			link.Answered{Number: 3, Session: 1, Text: []byte("ok")},
			link.Refreshed{Number: 4, Session: 1},
			link.Unbound{Session: 1, Topic: 7, Text: []byte("gone")},
			link.Forms{Topic: 7, Texts: []link.Rendering{{Form: link.FormJSON, Text: []byte("j")}}},
			link.AheadForms{Topic: 7, ID: 3, Texts: []link.Rendering{{Form: link.FormJSON, Text: []byte("j")}}},
			link.Close{Session: 1, Code: 3500, Reason: "x"},
		} {
			if err := take(l, f); err != nil {
				t.Fatalf("%T: %v", f, err)
			}
		}
	}
	first := []string{"confirmed 1 u true", "bound 1 true", "answer 1 ok", "refreshed 1 true"}
	again := []string{"confirmed 1 u false", "bound 1 false", "refreshed 1 false"}
	rest := []string{"unbound 1 gone", "forms 7 j", "aheadforms 7 j", "close 1 3500"}
	want := slices.Concat(first, rest, again, rest)
	got := hub.took()
	if !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	l.Down()
	l = NewLink(s, link.FeatureSDK, func() {})
	if got := kinds(t, l); !slices.Equal(got, []string{"synced", "again"}) {
		t.Errorf("sent %q: only the publish is left, and is granted", got)
	}
}

// TestALinkThatIsLeftBringsFormsOnly sends frames of FeatureSDK on a link that the edge is leaving.
// Of these only link.Forms may have an effect. All others could contradict what the new relay has
// been told.
func TestALinkThatIsLeftBringsFormsOnly(t *testing.T) {
	hub := &fakeHub{}
	s := NewLinks(LinksConfig{}, hub)
	old := NewLink(s, link.FeatureSDK, func() {})
	enrolled(t, s, link.Client{ID: 1})
	s.Accept(1, []byte("connect"))
	kinds(t, old)
	NewLink(s, link.FeatureSDK, func() {})
	for _, f := range []appender{
		link.Confirmed{Number: 1, Session: 1, User: "u"}, link.Bound{Number: 1, Session: 1}, link.Answered{Number: 1, Session: 1},
		link.Refreshed{Number: 1, Session: 1}, link.Unbound{Session: 1}, link.Close{Session: 1},
		link.AheadForms{ID: 3, Texts: []link.Rendering{{Form: link.FormChat}}},
		link.Forms{Topic: 7, Texts: []link.Rendering{{Form: link.FormChat, Text: []byte("j")}}},
	} {
		if err := take(old, f); err != nil {
			t.Fatalf("%T: %v", f, err)
		}
	}
	if got := hub.took(); len(got) != 1 || !strings.HasPrefix(got[0], "forms") {
		t.Errorf("calls %q", got)
	}
}

func TestWhatIsBehindACloseIsNotReplayed(t *testing.T) {
	s := NewLinks(LinksConfig{}, &fakeHub{})
	l := NewLink(s, link.FeatureSDK, func() {})
	enrolled(t, s, link.Client{ID: 1})
	enrolled(t, s, link.Client{ID: 2})
	for _, session := range []uint64{1, 1, 2, 1} {
		s.Accept(session, []byte("a"))
	}
	kinds(t, l)
	if err := take(l, link.Answered{Number: 1, Session: 1, Text: []byte("granted")}); err != nil {
		t.Fatal(err)
	}
	if err := take(l, link.Close{Session: 1, Code: 3501, Reason: "bad request"}); err != nil {
		t.Fatal(err)
	}
	s.End(1)
	l.Down()
	l = NewLink(s, link.FeatureSDK, func() {})
	if got, want := kinds(t, l), []string{"synced", "again", "message", "end"}; !slices.Equal(got, want) {
		t.Fatalf("the next link sends %q, want %q", got, want)
	}
	if s.Holds(1) != true || s.log.Messages() != 2 {
		t.Errorf("%d messages are left, want the granted one and that of the other session", s.log.Messages())
	}
	if err := take(l, link.Ack{Through: 5}); err != nil {
		t.Fatal(err)
	}
	if s.log.Messages() != 0 || s.log.Clients() != 1 {
		t.Errorf("%d messages and %d clients are left", s.log.Messages(), s.log.Clients())
	}
}

// TestWhatIsBehindALaterCloseIsReplayed brings a Close that gives the edge some time. Until the
// edge has closed the session, the relay reads the session's messages. So the next link must have
// them.
func TestWhatIsBehindALaterCloseIsReplayed(t *testing.T) {
	s := NewLinks(LinksConfig{}, &fakeHub{})
	l := NewLink(s, link.FeatureSDK, func() {})
	enrolled(t, s, link.Client{ID: 1})
	s.Accept(1, []byte("a"))
	kinds(t, l)
	if err := take(l, link.Close{Session: 1, Code: 3010, Within: 5000, Reason: "insufficient state"}); err != nil {
		t.Fatal(err)
	}
	s.Accept(1, []byte("b"))
	l.Down()
	l = NewLink(s, link.FeatureSDK, func() {})
	if got, want := kinds(t, l), []string{"synced", "message", "message"}; !slices.Equal(got, want) {
		t.Errorf("the next link sends %q, want %q", got, want)
	}
	l.Down()
}

// TestFramesOfTheFeatureNeedIt sends frames of FeatureSDK on a link without FeatureSDK. Each must
// be an error. On a link with FeatureSDK, an error of the Handler must be passed on, and a frame
// that only edges may send must be an error.
func TestFramesOfTheFeatureNeedIt(t *testing.T) {
	hub := &fakeHub{}
	s := NewLinks(LinksConfig{}, hub)
	for _, f := range []appender{
		link.Confirmed{User: "u"}, link.Refreshed{}, link.Bound{}, link.Unbound{}, link.Answered{}, link.Close{},
		link.Forms{Texts: []link.Rendering{{}}}, link.AheadForms{Texts: []link.Rendering{{}}},
	} {
		l := NewLink(s, link.FeatureMove, func() {})
		if err := take(l, f); err == nil || !strings.Contains(err.Error(), "feature") {
			t.Errorf("%T: %v", f, err)
		}
		l.Down()
	}
	l := NewLink(s, link.FeatureSDK, func() {})
	hub.fault = errors.New("too much")
	for _, f := range []appender{link.Confirmed{User: "u"}, link.Refreshed{}, link.Bound{}} {
		if err := take(l, f); err != hub.fault {
			t.Errorf("%T: %v, want the error of the hub", f, err)
		}
	}
	for _, f := range []appender{link.Client{ID: 1}, link.Keep{Keep: []byte("k")}} {
		if err := take(l, f); err == nil {
			t.Errorf("%T from a relay", f)
		}
	}
}

// In TestP7_GuestsShareOneShareOfTheLog, several guests send. The guests whose users are not known
// must together take no more of the log than one user may. Once its connect is answered, a session
// must use the share of its user.
func TestP7_GuestsShareOneShareOfTheLog(t *testing.T) {
	const size, line = 16 * 1000, 400
	s := NewLinks(LinksConfig{LogSize: size}, &fakeHub{})
	l := NewLink(s, link.FeatureSDK, func() {})
	accepted := func(id uint64) bool { return s.Accept(id, make([]byte, line)) }
	for id := range uint64(3) {
		enrolled(t, s, link.Client{ID: id + 1})
	}
	if !accepted(1) || !accepted(2) || accepted(3) {
		t.Error("three guests' lines do not share 1,000 bytes")
	}
	enrolled(t, s, link.Client{ID: 4, Open: true, User: "named"})
	s.Open(link.Session{ID: 5, User: "u"})
	if !accepted(4) || !accepted(5) || !accepted(5) || accepted(5) {
		t.Error("users do not have shares of their own")
	}
	kinds(t, l)
	if err := take(l, link.Confirmed{Number: 1, Session: 1, User: "u"}); err != nil {
		t.Fatal(err)
	}
	if accepted(1) {
		t.Error("a session does not use the share of its user")
	}
	if !accepted(3) || accepted(3) {
		t.Error("what is answered does not leave the guests' share")
	}
	if err := take(l, link.Ack{Through: 5}); err != nil || !accepted(1) || !accepted(5) || accepted(1) {
		t.Errorf("two sessions of a user do not share, error %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for _, used := range s.log.used {
		sum += used
	}
	if sum != s.log.Bytes() {
		t.Errorf("%d bytes are in shares, %d in the log", sum, s.log.Bytes())
	}
}

// TestMoveLeavesASessionWithMessagesAlone checks that Log.Move gives no new owner to a session with
// messages. Otherwise the bytes of each owner would be counted wrongly.
func TestMoveLeavesASessionWithMessagesAlone(t *testing.T) {
	l := NewLog(1 << 20)
	l.Move(9, 1)
	if len(l.accounts) != 0 {
		t.Error("a session that nobody knows has an account")
	}
	l.OwnClient(1, 5)
	l.Append(1, []byte("a"))
	l.Move(1, 6)
	if l.ownerOf(1) != 5 {
		t.Error("the owner changed")
	}
}

// TestARelayWithoutTheFeatureIsLeftAlone takes the relay away from an edge with a session of an
// SDK. The edge must not link to a relay without FeatureSDK, even if no other relay is there. It
// may dial such a relay only now and then. When a relay with the feature is there again, the edge
// must link to it.
func TestARelayWithoutTheFeatureIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		first, old := n.start(t, "10.0.0.1:9000"), n.start(t, "10.0.0.2:9000")
		first.welcome.Features = link.FeatureSDK
		old.refuse(true)
		reg := prometheus.NewRegistry()
		var log bytes.Buffer
		e := n.run(t, Config{
			URLs: []string{"ws://10.0.0.1:9000", "ws://10.0.0.2:9000"}, Metrics: reg, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		told := func(want float64) {
			t.Helper()
			synctest.Wait()
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := -1.0
			for _, f := range families {
				if f.GetName() == "edgerelay_edge_link_lacks_sdk" {
					got = f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			if got != want || slices.Contains(e.Degraded(), lacksSDK) != (want == 1) {
				t.Errorf("the gauge is %v, want %v; degraded: %q", got, want, e.Degraded())
			}
		}
		l := first.last(1)
		told(0)
		if l.hello.Features&link.FeatureSDK == 0 {
			t.Error("the edge does not offer the feature")
		}
		enrolled(t, e.Links, link.Client{ID: 1})
		old.refuse(false)
		first.refuse(true)
		first.cut()
		time.Sleep(14 * time.Second)
		if got := len(old.heard()); got != 1 {
			t.Errorf("the relay without the feature is asked %d times within 14 s, want once", got)
		}
		if now, _ := e.Linked(); now || frames(old) != 0 {
			t.Errorf("linked %v, %d frames are sent to it", now, frames(old))
		}
		if got := testutil.ToFloat64(e.metrics.failures.WithLabelValues("feature")); got != 1 {
			t.Errorf("%v dials are counted", got)
		}
		time.Sleep(time.Minute)
		if got := len(old.heard()); got < 2 || got > 5 {
			t.Errorf("it is asked %d times in 74 s", got)
		}
		told(1)
		if got := strings.Count(log.String(), "level=ERROR"); got != 1 || !strings.Contains(log.String(), "sessions=1") {
			t.Errorf("%d errors in the log, want 1:\n%s", got, log.String())
		}
		first.refuse(false)
		time.Sleep(10 * time.Second)
		told(0)
		if now, _ := e.Linked(); !now || len(first.links()) != 2 {
			t.Errorf("linked %v, the relay with the feature had %d links", now, len(first.links()))
		}
	})
}

// frames counts the frames that came on links of a relay.
func frames(r *fakeRelay) (n int) {
	for _, l := range r.links() {
		n += len(l.received())
	}
	return n
}

// TestWithoutSessionsOfSDKsAnyRelayWillDo checks that an edge without sessions of SDKs links to a
// relay without FeatureSDK.
func TestWithoutSessionsOfSDKsAnyRelayWillDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		old := n.start(t, "10.0.0.2:9000")
		e := n.run(t, Config{URLs: []string{"ws://10.0.0.2:9000"}})
		l := old.last(1)
		if e.KnowsSDK() || l.conn.Features()&link.FeatureSDK != 0 {
			t.Error("the feature is in force")
		}
		if again := e.Enrol(link.Client{ID: 1}); again == nil {
			t.Error("a session of an SDK is taken")
		}
	})
}

// TestADrainDoesNotMoveToARelayWithoutTheFeature makes a relay ask its edge to move. The edge has a
// session of an SDK. It must stay until there is another relay with FeatureSDK.
func TestADrainDoesNotMoveToARelayWithoutTheFeature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		first, old := n.start(t, "10.0.0.1:9000"), n.start(t, "10.0.0.2:9000")
		first.welcome = link.Welcome{Features: link.FeatureSDK | link.FeatureMove, Instance: protocol.Instance{1}}
		old.welcome = link.Welcome{Features: link.FeatureMove, Instance: protocol.Instance{2}}
		old.refuse(true)
		e := n.run(t, Config{URLs: []string{"ws://10.0.0.1:9000", "ws://10.0.0.2:9000"}})
		l := first.last(1)
		enrolled(t, e.Links, link.Client{ID: 1})
		old.refuse(false)
		l.send(link.Drain{Window: 10})
		time.Sleep(10 * time.Second)
		if frames(old) != 0 || l.ended() != nil {
			t.Errorf("%d frames are sent to the relay without the feature, the link's end: %v", frames(old), l.ended())
		}
		// The relay at 10.0.0.2 is replaced by a newer build, which has the feature.
		third := n.startWith(t, "10.0.0.2:9000", link.Welcome{Features: link.FeatureSDK | link.FeatureMove, Instance: protocol.Instance{3}})
		time.Sleep(time.Minute)
		if got := third.links(); len(got) != 1 || frames(third) == 0 {
			t.Errorf("the updated relay has %d links and %d frames", len(got), frames(third))
		}
	})
}

// TestALinkIsNotBegunIfASessionCameMeanwhile dials a relay without FeatureSDK. Before the link
// begins, a guest comes. The edge must close the link before its first frame, and must not dial
// that relay again for a while.
func TestALinkIsNotBegunIfASessionCameMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		first, old := n.start(t, "10.0.0.1:9000"), n.start(t, "10.0.0.2:9000")
		first.welcome.Features = link.FeatureSDK
		e := n.run(t, Config{URLs: []string{"ws://10.0.0.1:9000"}})
		first.last(1)
		d, err := e.dial(context.Background(), "ws://10.0.0.2:9000/link", 9, nil)
		if err != nil || !e.takes(d.conn.Features()) {
			t.Fatal(err)
		}
		enrolled(t, e.Links, link.Client{ID: 1})
		e.mu.Lock()
		used := e.used
		e.mu.Unlock()
		if r := e.move(context.Background(), used, d, byDrain); r != used {
			t.Fatal("the link begins")
		}
		synctest.Wait()
		if frames(old) != 0 || fmt.Sprint(e.refusals["ws://10.0.0.2:9000/link"].err) != errNoSDK.Error() {
			t.Errorf("%d frames, refusals %v", frames(old), e.refusals)
		}
		if now, _ := e.Linked(); !now {
			t.Error("the link in use is lost")
		}
		if e.offer(context.Background(), "ws://10.0.0.2:9000/link", "", byHome) || frames(old) != 0 {
			t.Error("the edge goes home to a relay without the feature")
		}
	})
}
