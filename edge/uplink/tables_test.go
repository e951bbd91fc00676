package uplink

import (
	"fmt"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
)

// upPath is Links with a Link that was told: the caller is its writer and its reader.
func upPath() (*Links, *Link) {
	u := NewLinks(LinksConfig{}, &fakeHub{})
	l := NewLink(u, func() {})
	l.Fill(nil)
	return u, l
}

// What is sent between two Fills goes in batches of about BatchTarget, none of it twice.
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

// The way up costs one allocation a message: the copy in the log.
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
	next := NewLink(u, func() {})
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
