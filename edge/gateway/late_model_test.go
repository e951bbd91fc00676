package gateway

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP4_EachLateMemberGetsAllAfterItsPlaceOnce drives a Hub at random: links begin, bring
// publications at their own pace, and end, and sessions are bound, leave and end. A session must
// get all publications after its place, in order, once each. If a session ends because it is late,
// that must hold for what the session got before its end.
func TestP4_EachLateMemberGetsAllAfterItsPlaceOnce(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		w := lateWorld{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), h: newMirror(HubConfig{})}
		w.run(2000)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		if w.caughtUp < 50 || w.stranded == 0 {
			t.Errorf("seed %d: %d members were late, %d of them for ever", seed, w.caughtUp, w.stranded)
		}
	}
}

// lateWorld is a topic with all its publications, the links that bring them, and its members.
type lateWorld struct {
	t        *testing.T
	rnd      *rand.Rand
	h        *mirror
	log      []protocol.Position // of the publications that were made
	links    []*lateLink         // the oldest first
	top      int                 // how many publications a member has had if it is not late
	members  []*lateModel
	stay     *lateModel // is a member from the beginning
	caughtUp int
	stranded int
}

type lateLink struct {
	*Feed
	brought int // index in the log of the publication that the link brings next
}

type lateModel struct {
	*Session
	link *lateLink // has bound the session; nil: the session is not late
	has  int       // how many publications of the log the session has, or does not need
}

func (w *lateWorld) run(steps int) {
	w.h.Down()
	w.begin()
	w.bind()
	w.stay = w.members[0]
	for range steps {
		l := w.links[w.rnd.IntN(len(w.links))]
		switch n := w.rnd.IntN(100); {
		case n < 25:
			w.publish()
		case n < 70:
			w.bring(l)
		case n < 85:
			w.bind()
		case n < 90:
			w.leave()
		case n < 95:
			if len(w.links) < 4 {
				w.begin()
			}
		default:
			w.end(l)
		}
		if w.check(); w.t.Failed() {
			return
		}
	}
	for _, l := range w.links {
		for l.brought < len(w.log) {
			w.bring(l)
		}
	}
	w.check()
	if len(w.h.late) > 0 != (w.stranded > 0 && slices.ContainsFunc(w.members, func(m *lateModel) bool { return m.link != nil })) {
		w.t.Error("somebody is late in the end")
	}
}

func (w *lateWorld) publish() {
	next := pos(1, 1)
	if n := len(w.log); n > 0 {
		next = pos(w.log[n-1].Epoch, w.log[n-1].Offset+1)
		if w.rnd.IntN(10) == 0 {
			next = pos(next.Epoch+1, 1)
		}
	}
	w.log = append(w.log, next)
}

// at returns the position of the last of the first n publications.
func (w *lateWorld) at(n int) protocol.Position {
	if n == 0 {
		return pos(1, 0)
	}
	return w.log[n-1]
}

func (w *lateWorld) begin() {
	l := &lateLink{w.h.begin(), w.top}
	l.Topic(link.TopicNumber{ID: 1, Topic: "all", Position: w.at(w.top)})
	w.links = append(w.links, l)
	w.h.Feed = l.Feed
}

func (w *lateWorld) bring(l *lateLink) {
	if l.brought == len(w.log) {
		return
	}
	at, text := w.log[l.brought], []byte(w.log[l.brought].String())
	l.brought++
	l.Forms(link.Forms{Topic: 1, Position: at, ID: uint64(l.brought), Texts: []link.Rendering{{Form: link.FormJSON, Text: text}}})
	w.top = max(w.top, l.brought)
}

func (w *lateWorld) bind() {
	newest := w.links[len(w.links)-1]
	s := guest(w.h, &fakeUpstream{})
	n := link.Confirmed{Session: s.info.ID, User: "u", Channels: []link.Channel{{Topic: 1, Position: w.at(newest.brought)}}}
	if err := newest.Confirmed(n, true); err != nil {
		w.t.Fatal(err)
	}
	s.Take()
	m := &lateModel{Session: s, has: newest.brought}
	if m.has < w.top {
		m.link = newest
		w.caughtUp++
	}
	w.members = append(w.members, m)
}

func (w *lateWorld) leave() {
	if len(w.members) < 2 {
		return
	}
	i := 1 + w.rnd.IntN(len(w.members)-1)
	m := w.members[i]
	w.members = slices.Delete(w.members, i, i+1)
	if w.rnd.IntN(2) == 0 {
		w.h.Left(link.Left{Session: m.info.ID, Topic: 1}, false)
	}
	w.h.End(m.Session, &fakeUpstream{})
	w.h.Forget(m.info.ID)
}

// end ends a link. The sessions of the late members that the link served must end. If the link was
// the newest, the next link begins.
func (w *lateWorld) end(l *lateLink) {
	newest := l == w.links[len(w.links)-1]
	l.Down()
	w.links = slices.DeleteFunc(w.links, func(other *lateLink) bool { return other == l })
	if newest {
		w.begin()
	}
	for _, m := range slices.Clone(w.members) {
		if m.link != l {
			continue
		}
		if r := m.leavesFor(); r != ReasonBehind {
			w.t.Errorf("session %d is late without a link, and its end is %v", m.info.ID, r)
		}
		w.stranded++
		w.members = slices.DeleteFunc(w.members, func(other *lateModel) bool { return other == m })
		if texts := m.Take(); len(texts) > 0 {
			w.t.Errorf("session %d got %q", m.info.ID, texts)
		}
		w.h.End(m.Session, &fakeUpstream{})
		w.h.Forget(m.info.ID)
	}
}

// check compares what the members have got since the last check with what they should have.
func (w *lateWorld) check() {
	for _, m := range w.members {
		should := w.top
		if m.link != nil {
			if should = min(w.top, m.link.brought); should == w.top {
				m.link = nil
			}
		}
		var want []string
		for _, at := range w.log[m.has:max(should, m.has)] {
			want = append(want, at.String())
		}
		m.has = max(should, m.has)
		wantTexts(w.t, m.Session, want...)
	}
	if at := w.h.topics["all"].position; len(w.log) > 0 && w.top > 0 && at != w.at(w.top) {
		w.t.Errorf("the topic is at %v, want %v", at, w.at(w.top))
	}
}
