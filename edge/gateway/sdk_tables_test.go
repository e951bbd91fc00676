package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// tables has the frames for a relay, as Hub.Begin passes them to its functions.
type tables struct {
	sessions []link.Session
	clients  []link.Client
	held     []link.Held
	keeps    []link.Keep
	order    string // kinds of the frames in order: S, H, K; several in a row count as one
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

// TestP9_TheDigestIsOfTheTables brings random frames. After each frame the Hub's digest must be the
// digest of the tables that Begin tells a relay.
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

// In TestKeepsAreBounded, a relay sends longer keeps than a session or an edge may have. The calls
// for such frames must return an error, which ends the link, and must change nothing.
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

// In TestMembershipsAreBounded, a relay binds a session of an SDK to more topics than the next
// relay would take. The first call beyond that number must return an error, which ends the link,
// and must change nothing.
func TestMembershipsAreBounded(t *testing.T) {
	h := newMirror(HubConfig{})
	id := sdkMember(t, h, "1", "user:1").info.ID
	bind := func(n uint64) error {
		h.Topic(link.TopicNumber{ID: n, Topic: protocol.Topic(fmt.Sprint("channel", n))})
		return h.Bound(link.Bound{Session: id, Topic: n}, true)
	}
	for n := range uint64(link.MaxMemberships - 1) {
		if err := bind(1000 + n); err != nil {
			t.Fatalf("membership %d: %v", n+2, err)
		}
	}
	if err := bind(1000); err != nil {
		t.Errorf("a member is bound again: %v", err)
	}
	before, _ := h.Digest()
	err := bind(2000)
	if end, ok := errors.AsType[*link.CloseError](err); !ok || end.Code != link.CodeLimit {
		t.Errorf("error %v, want that of a limit", err)
	}
	if got, _ := h.Digest(); got != before || got.Bindings != link.MaxMemberships {
		t.Errorf("%d memberships", got.Bindings)
	}
	h.Unbound(link.Unbound{Session: id, Topic: 1000})
	if err := bind(2000); err != nil {
		t.Errorf("after another one has ended: %v", err)
	}
}

// TestFramesOfTheChatDoNotBindSDKs brings Opened and Joined for a session of an SDK. Neither may
// bind the session, since the next relay might not take such a membership.
func TestFramesOfTheChatDoNotBindSDKs(t *testing.T) {
	h := newMirror(HubConfig{})
	s, waiting := sdkMember(t, h, "1"), guest(h, &fakeUpstream{})
	h.Topic(link.TopicNumber{ID: 1, Topic: "all"})
	for _, id := range []uint64{s.info.ID, waiting.info.ID} {
		h.Opened(link.Opened{Session: id, Confirmed: true, Topics: []uint64{1}})
		h.Joined(link.Joined{Number: 1, Session: id, Topic: 1, Text: []byte("x")}, true)
	}
	if got := tablesOf(h.Hub); len(got.held) != 0 {
		t.Errorf("told %+v", got.held)
	}
	wantTexts(t, s, "x")
}
