package uplink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// hall is an admission and its log.
type hall struct {
	t *testing.T
	l *Log
	a *admission
}

func newHall(t *testing.T, size int) *hall {
	l := NewLog(size)
	return &hall{t: t, l: l, a: newAdmission(l)}
}

func (h *hall) accept(session uint64, size int, want bool) {
	h.t.Helper()
	same(h.t, fmt.Sprint("accept of session ", session), h.a.accept(session, make([]byte, size)), want)
}

func (h *hall) wait(session uint64, size int) *waiter { return h.a.wait(session, size) }

func (h *hall) ack(through uint64) {
	h.t.Helper()
	drain(h.l)
	err := h.l.Ack(through, nil, func(session uint64, end bool) { h.a.freed(session) })
	if err != nil {
		h.t.Fatal(err)
	}
	h.a.grant()
}

func granted(waiters ...*waiter) (g []bool) {
	for _, w := range waiters {
		g = append(g, w.granted)
	}
	return g
}

// In TestRoomIsServedInTurn, a large message waits for room. Smaller messages come later, and wait
// behind it. All must get room in the order in which they came, and no message may get room that is
// not free.
func TestRoomIsServedInTurn(t *testing.T) {
	const part = 1000 - EntryCost
	h := newHall(t, 4000)
	for s := range uint64(4) {
		h.accept(s, part, true)
	}
	large, small, last := h.wait(10, 3*part), h.wait(11, 10), h.wait(12, part)
	h.ack(1)
	if g := granted(large, small, last); !slices.Equal(g, []bool{false, false, false}) {
		t.Fatalf("granted %v with room for the small one only", g)
	}
	h.accept(13, 10, false) // other sessions stand in line
	h.ack(3)
	if g := granted(large, small, last); !slices.Equal(g, []bool{true, true, false}) {
		t.Fatalf("granted %v with room for two", g)
	}
	h.accept(11, 10, true)
	h.accept(10, 3*part, true)
	h.ack(4)
	if g := granted(last); !g[0] {
		t.Fatal("the last in line was forgotten")
	}
}

func TestRoomWaitsForTheShareAside(t *testing.T) {
	h := newHall(t, 16*1000)
	h.accept(1, 900, true)
	hot := h.wait(1, 900)
	other := h.wait(2, 900)
	if hot == nil || other != nil {
		t.Fatalf("waiters: hot %v, other %v; want the hot session alone to wait", hot, other)
	}
	h.accept(2, 900, true)
	h.ack(1)
	if !hot.granted {
		t.Fatal("the hot session is not woken when its share is free")
	}
}

func TestRoomGivenUpGoesToTheNext(t *testing.T) {
	for name, giveUp := range map[string]func(h *hall, w *waiter){
		"the first in line leaves":     func(h *hall, w *waiter) { h.a.cancel(w) },
		"a promise ends unused":        func(h *hall, w *waiter) { h.ack(1); h.a.forfeit(w.session); h.a.grant() },
		"a promise is used for less":   func(h *hall, w *waiter) { h.ack(1); h.accept(w.session, 1, true) },
		"a promise is asked for again": func(h *hall, w *waiter) { h.ack(1); h.wait(w.session, 1); h.a.forfeit(w.session); h.a.grant() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t, 1000)
			h.accept(1, 400, true)
			h.accept(2, 400, true)
			first, second := h.wait(3, 400), h.wait(4, 100)
			same(t, "granted", first.granted || second.granted, false)
			giveUp(h, first)
			if !second.granted && h.l.Bytes() == 2*(400+EntryCost) {
				h.ack(1)
			}
			if !second.granted {
				t.Error("the second in line is not woken")
			}
		})
	}
}

// TestP8_RoomIsKeptAndBounded makes sessions send, wait and give up at random. A session to which
// room was promised must find that room. Used and promised bytes together must stay within the
// Log's bound. In the end no session may wait for ever.
func TestP8_RoomIsKeptAndBounded(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 4))
		h := newHall(t, 3000)
		waiting := make(map[uint64]*waiter)
		for range 400 {
			session, size := uint64(random.IntN(12)), random.IntN(900)
			switch w := waiting[session]; {
			case w != nil && w.granted:
				h.accept(session, w.size, true)
				delete(waiting, session)
			case w != nil && random.IntN(6) == 0:
				if h.a.cancel(w) {
					t.Fatal("cancel found a promise that was not there")
				}
				delete(waiting, session)
			case w == nil && random.IntN(2) == 0:
				h.a.accept(session, make([]byte, size))
			case w == nil:
				if w := h.wait(session, size); w != nil {
					waiting[session] = w
				} else {
					h.accept(session, size, true)
				}
			}
			if random.IntN(4) == 0 && h.l.First() <= h.l.Last() {
				h.ack(h.l.First())
			}
			if sum := h.l.Bytes() + h.a.promised; sum > h.l.size && h.l.Messages()+len(h.a.promises) > 1 {
				t.Fatalf("seed %d: %d bytes in use or promised", seed, sum)
			}
		}
		for len(waiting) > 0 {
			before := len(waiting)
			h.ack(h.l.Last())
			for session, w := range waiting {
				if w.granted {
					h.accept(session, w.size, true)
					delete(waiting, session)
				}
			}
			if len(waiting) == before {
				t.Fatalf("seed %d: %d wait for ever", seed, before)
			}
		}
		same(t, "still waiting", h.a.waiting(), 0)
		same(t, "still promised", h.a.promised, 0)
	}
}

func TestWaitRoomGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}, LogSize: 200})
		e.accept(1, "one whole message")
		if e.Accept(2, make([]byte, 150)) {
			t.Fatal("a full log takes a message")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if e.WaitRoom(ctx, 2, 150) {
			t.Fatal("WaitRoom found room in a full log")
		}
		same(t, "waited", time.Since(began), 2*time.Second)
		same(t, "still waiting", e.admission.waiting(), 0)
	})
}

func BenchmarkGrant(b *testing.B) {
	const sessions = 50_000
	l := NewLog(4 << 20)
	a := newAdmission(l)
	payload := make([]byte, 128)
	var number uint64
	for s := uint64(1); a.accept(s, payload); s++ {
		number++
	}
	line := make(chan *waiter, sessions+1)
	for s := range uint64(sessions) {
		line <- a.wait(1_000_000+s, len(payload))
	}
	drain(l)
	b.ReportAllocs()
	var acked uint64
	for b.Loop() {
		acked++
		if err := l.Ack(acked, nil, func(s uint64, _ bool) { a.freed(s) }); err != nil {
			b.Fatal(err)
		}
		a.grant()
		w := <-line
		if !w.granted || !a.accept(w.session, payload) {
			b.Fatal("the first in line was not served")
		}
		line <- a.wait(w.session, len(payload))
		l.Next()
	}
}

// In TestP7_AUsersSessionsShareOneShareOfTheLog, 30 sessions of one owner send and wait. Together
// they must not use more than one share. A session whose end is finished must leave nothing behind.
func TestP7_AUsersSessionsShareOneShareOfTheLog(t *testing.T) {
	h := newHall(t, 16*1000)
	for s := range uint64(30) {
		h.l.Own(s, 7000)
	}
	h.accept(0, 400, true)
	h.accept(1, 400, true) // 72 bytes are left
	for s := uint64(2); s < 30; s++ {
		h.accept(s, 10, false)
	}
	h.accept(100, 900, true)
	first, second, third := h.wait(2, 300), h.wait(3, 300), h.wait(4, 300)
	h.a.cancel(second)
	h.ack(1)
	if g := granted(first, second, third); !slices.Equal(g, []bool{true, false, false}) {
		t.Fatalf("granted %v with room for one", g)
	}
	h.accept(2, 300, true)
	h.ack(2)
	if g := granted(third); !g[0] {
		t.Fatal("the next of the same user was forgotten")
	}
	h.accept(4, 300, true)
	h.l.End(2)
	h.l.End(4)
	h.ack(h.l.Last())
	if len(h.l.used) != 0 || len(h.a.shares) != 0 || h.l.ownerOf(2) != 2 {
		t.Errorf("left: %v, %v, owner %d", h.l.used, h.a.shares, h.l.ownerOf(2))
	}
	if h.l.Disown(3); h.l.ownerOf(3) != 3 {
		t.Error("a session that was disowned has an owner")
	}
	if n := len(h.l.accounts); n != 30-3 {
		t.Errorf("%d accounts are left", n)
	}
}

// In TestP7_AnOwnerIsNotPromisedMoreThanItsShare, 29 sessions of one owner wait for room in the
// owner's share. One acknowledgement then frees the whole share. Two sessions must be promised
// room, since the share holds two of their messages. A session of another owner must find room.
func TestP7_AnOwnerIsNotPromisedMoreThanItsShare(t *testing.T) {
	const each = 900
	h := newHall(t, 16*2000)
	for s := uint64(1); s <= 30; s++ {
		h.l.Own(s, 7000)
	}
	for h.a.accept(1, []byte("x")) {
	}
	var waiters []*waiter
	for s := uint64(2); s <= 30; s++ {
		waiters = append(waiters, h.wait(s, each))
	}
	h.ack(h.l.Last())
	granted := 0
	for _, w := range waiters {
		if w.granted {
			granted++
		}
	}
	if granted != 2 || h.a.promised != 2*(each+EntryCost) || h.a.line.Len() != 0 {
		t.Errorf("%d sessions were promised %d bytes, %d stand in line; their share is 2000", granted, h.a.promised, h.a.line.Len())
	}
	h.accept(100, each, true)
	h.accept(2, each, true)
	h.accept(3, each, true)
	h.accept(4, each, false)
	if h.a.promised != 0 || len(h.a.kept) != 0 {
		t.Errorf("%d promised, %v kept", h.a.promised, h.a.kept)
	}
}

// In TestAShareWaiterThatGivesUpLetsTheNextOneIn, two sessions wait for room in one share. The
// first one gives up. The second one must then be promised room.
func TestAShareWaiterThatGivesUpLetsTheNextOneIn(t *testing.T) {
	h := newHall(t, 16*1000)
	for s := uint64(1); s <= 3; s++ {
		h.l.Own(s, 7)
	}
	for range 3 {
		h.accept(1, 250, true) // each message takes 314 bytes
	}
	large, small := h.wait(2, 800), h.wait(3, 200)
	h.ack(1)
	if g := granted(large, small); g[0] || g[1] {
		t.Fatalf("granted %v", g)
	}
	h.a.cancel(large)
	if !small.granted {
		t.Error("the next one was not told")
	}
}
