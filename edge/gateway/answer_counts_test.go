package gateway

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
)

// TestEachAnswerIsCounted brings short and long answers to a session that takes them, to one that
// reads too slowly, to one that is being closed, and to one that has ended. Each answer must be
// counted as delivered or by the reason why it was dropped. A slow reader's session must end.
func TestEachAnswerIsCounted(t *testing.T) {
	for name, size := range map[string]int{"short": 100, "long": link.LongAnswer + 1} {
		t.Run(name, func(t *testing.T) {
			h, up := newMirror(HubConfig{}), &fakeUpstream{}
			s := sdkMember(t, h, "1", "all")
			s.queue.limit = 1000
			want := map[string]float64{}
			check := func() {
				t.Helper()
				got := map[string]float64{"delivered": testutil.ToFloat64(h.metrics.deliveries)}
				for d, label := range dropLabels {
					got[label] = testutil.ToFloat64(h.metrics.dropped[d])
				}
				for label, n := range got {
					if n != want[label] {
						t.Fatalf("%v are counted as %s, want %v", n, label, want[label])
					}
				}
			}
			answer := func() { h.Answer(link.Answer{Session: s.info.ID, Text: textOfSize(size)}) }
			for ended := false; !ended; _, ended = s.Reason() {
				check()
				answer()
				want["delivered"]++
			}
			want["delivered"]--
			want["slow_reader"]++
			check()
			if r, _ := s.Reason(); r != ReasonSlow {
				t.Errorf("the session ends: %v", r)
			}
			answer()
			want["ending"]++
			check()
			h.End(s, up)
			answer()
			want["client_gone"]++
			check()
		})
	}
}

// TestTheAnswerToAConnectThatEndsIsCounted confirms a guest whose user has too many sessions, and
// one that has ended. The answers must be counted as dropped.
func TestTheAnswerToAConnectThatEndsIsCounted(t *testing.T) {
	h, up := newMirror(HubConfig{}), &fakeUpstream{}
	h.users = &users{most: 1, sessions: map[string]int{"1": 1}}
	for dropped, end := range map[drop]func(*Session){dropEnding: func(*Session) {}, dropGone: func(s *Session) { h.End(s, up) }} {
		s := guest(h, up)
		end(s)
		if err := h.Confirmed(link.Confirmed{Session: s.info.ID, User: "1", Text: []byte("connected")}, true); err != nil {
			t.Fatal(err)
		}
		wantTexts(t, s)
		if n := testutil.ToFloat64(h.metrics.dropped[dropped]); n != 1 {
			t.Errorf("%v answers are counted as %s", n, dropLabels[dropped])
		}
	}
}

// TestAPingThatFindsNoRoomEndsTheSession pings a client whose queue is full.
func TestAPingThatFindsNoRoomEndsTheSession(t *testing.T) {
	g := startSDK(t, nil, nil)
	g.sdk("1")
	s := g.only()
	g.awaitWritten()
	s.queue.mu.Lock()
	s.queue.size, s.queue.limit = 1, 1
	s.queue.mu.Unlock()
	s.conn.Load().ping(sdkPingFrame, g.server.now())
	g.endsWith(ReasonSlow)
}
