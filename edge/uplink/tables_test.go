package uplink

import (
	"fmt"
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
)

// upPath returns Links with a Link whose tables were told. The caller acts as the Link's writer and
// as its reader.
func upPath() (*Links, *Link) {
	u := NewLinks(LinksConfig{}, &fakeHub{})
	l := NewLink(u, link.FeatureSDK, func() {})
	l.Fill(nil)
	return u, l
}

// TestFillStopsAtTheTarget opens 3000 sessions and accepts one message of each. Fill must give each
// Session frame and each message once, in batches of about BatchTarget bytes. All Session frames
// must come before the messages.
func TestFillStopsAtTheTarget(t *testing.T) {
	u, l := upPath()
	for i := range 3000 {
		u.Open(link.Session{ID: uint64(i + 1), User: fmt.Sprint("user-with-a-long-name-", i)})
		if !u.Accept(uint64(i+1), make([]byte, 200)) {
			t.Fatal("no room")
		}
	}
	counts := make(map[link.Type]int)
	for {
		batch := l.Fill(nil)
		if len(batch) == 0 {
			break
		}
		if len(batch) > link.BatchTarget+300 {
			t.Errorf("batch of %d bytes", len(batch))
		}
		for len(batch) > 0 {
			var typ link.Type
			var err error
			if typ, _, batch, err = link.Next(batch); err != nil {
				t.Fatal(err)
			}
			if typ == link.TypeMessage && counts[link.TypeSession] < 3000 {
				t.Fatal("a message before the last Session frame")
			}
			counts[typ]++
		}
	}
	same(t, "sessions", counts[link.TypeSession], 3000)
	same(t, "messages", counts[link.TypeMessage], 3000)
}

// TestUpPathAllocatesTheCopyOnly checks that Accept, Fill and the acknowledgement allocate once for
// each message, for the copy in the log. For 64 messages together, three more allocations are
// allowed.
func TestUpPathAllocatesTheCopyOnly(t *testing.T) {
	u, l := upPath()
	payload := make([]byte, 128)
	batch := make([]byte, 0, 2*link.BatchTarget)
	ack := make([]byte, 0, 64)
	var number uint64
	allocs := testing.AllocsPerRun(500, func() {
		for range 64 {
			u.Accept(1, payload)
			number++
		}
		batch = l.Fill(batch[:0])
		ack = link.Ack{Through: number}.Append(ack[:0])
		_, body, _, _ := link.Next(ack)
		if err := l.HandleFrame(link.TypeAck, body); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 64+3 {
		t.Errorf("%v allocations for 64 messages", allocs)
	}
}

func BenchmarkUpPath(b *testing.B) {
	for _, size := range []int{32, 128, 1024} {
		b.Run(fmt.Sprint(size, " bytes"), func(b *testing.B) {
			u, l := upPath()
			payload := make([]byte, size)
			var batch, ack []byte
			var number uint64
			b.ReportAllocs()
			for b.Loop() {
				number++
				if !u.Accept(number%1000, payload) {
					b.Fatal("no room")
				}
				if number%64 > 0 {
					continue
				}
				batch = l.Fill(batch[:0])
				ack = link.Ack{Through: number}.Append(ack[:0])
				_, body, _, _ := link.Next(ack)
				if err := l.HandleFrame(link.TypeAck, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestALinkThatWasTakenOverSendsNothing(t *testing.T) {
	u, old := upPath()
	next := NewLink(u, link.FeatureSDK, func() {})
	next.Fill(nil)
	u.Open(link.Session{ID: 1, User: "u"})
	u.Accept(1, []byte("a"))
	if batch := old.Fill(nil); len(batch) > 0 {
		t.Errorf("the old link was given %d bytes", len(batch))
	}
	if batch := next.Fill(nil); len(batch) == 0 {
		t.Error("the new link was given nothing")
	}
}

// In TestGrantedIsSentAgainAsSuch, a relay grants a join and a message. A new link must send them
// again as granted if they are not finished. The answer to the join must be passed on once.
func TestGrantedIsSentAgainAsSuch(t *testing.T) {
	u, l := upPath()
	hub := u.handler.(*fakeHub)
	u.Open(link.Session{ID: 1, User: "1"})
	for _, text := range []string{"join", "message", "plain"} {
		if !u.Accept(1, []byte(text)) {
			t.Fatal("no room")
		}
	}
	l.Fill(nil)
	take := func(frame interface{ Append([]byte) []byte }) {
		t.Helper()
		typ, body, _, err := link.Next(frame.Append(nil))
		if err == nil {
			err = l.HandleFrame(typ, body)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	joined := link.Joined{Number: 1, Session: 1, Topic: 5, Granted: true, Text: []byte("in")}
	take(joined)
	take(link.Granted{First: 2, Last: 2})
	again := func() (got []string) {
		l.Down()
		l = NewLink(u, link.FeatureSDK, func() {})
		for batch := l.Fill(nil); len(batch) > 0; batch = l.Fill(nil) {
			for len(batch) > 0 {
				typ, body, remainder, err := link.Next(batch)
				if err != nil {
					t.Fatal(err)
				}
				if batch = remainder; typ == link.TypeAgain || typ == link.TypeMessage {
					m, _ := link.ParseMessage(body)
					got = append(got, fmt.Sprint(typ, " ", m.Number))
				}
			}
		}
		return got
	}
	want := []string{"again 1", "again 2", "message 3"}
	if got := again(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	// A relay grants the join once more.
	take(joined)
	take(link.Joined{Number: 1, Session: 1, Topic: 5}) // then it finishes the join
	take(link.Ack{Through: 1, Finished: []link.Range{{First: 3, Last: 3}}})
	if got := again(); !slices.Equal(got, want[1:2]) {
		t.Errorf("sent %q, want %q", got, want[1:2])
	}
	hub.mu.Lock()
	defer hub.mu.Unlock()
	answers := 0
	for _, line := range hub.calls {
		if line == "joined 1 true" {
			answers++
		}
	}
	if answers != 1 {
		t.Errorf("the answer was passed on %d times: %q", answers, hub.calls)
	}
}
