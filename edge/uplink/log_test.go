package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/edgerelay/edgerelay/shared/link"
)

// model does what the Log does, in a simple and slow way. It keeps all appended entries in one
// slice.
type model struct {
	size    int
	entries []modelEntry
	sent    int // the highest number sent on any link
	cursor  int // the highest number sent or left out on this link
	through uint64
}

type modelEntry struct {
	Entry
	finished bool
	answered bool
}

func (m *model) bytes(session uint64) (all, own int) {
	for _, e := range m.entries {
		if e.finished || e.End {
			continue
		}
		all += len(e.Payload) + EntryCost
		if e.Session == session {
			own += len(e.Payload) + EntryCost
		}
	}
	return all, own
}

func (m *model) room(session uint64, size int) bool {
	all, own := m.bytes(session)
	cost := size + EntryCost
	return (all == 0 || all+cost <= m.size) && (own == 0 || own+cost <= m.size/16)
}

func (m *model) add(e Entry) uint64 {
	e.Number = uint64(len(m.entries) + 1)
	m.entries = append(m.entries, modelEntry{Entry: e})
	return e.Number
}

func (m *model) next() (Entry, bool) {
	for m.cursor < len(m.entries) {
		e := m.entries[m.cursor]
		m.cursor++
		if !e.finished {
			e.Replay = m.cursor <= m.sent
			m.sent = max(m.sent, m.cursor)
			return e.Entry, true
		}
	}
	return Entry{}, false
}

func (m *model) valid(through uint64, ranges []link.Range) bool {
	if through < m.through || through > uint64(m.sent) {
		return false
	}
	prev := through
	for _, r := range ranges {
		if r.First <= prev || r.Last < r.First || r.Last > uint64(m.sent) {
			return false
		}
		prev = r.Last
	}
	return true
}

func (m *model) ack(through uint64, ranges []link.Range) (dropped []string) {
	m.through = through
	for _, r := range append([]link.Range{{First: 1, Last: through}}, ranges...) {
		for n := r.First; n <= r.Last; n++ {
			if e := &m.entries[n-1]; !e.finished {
				e.finished = true
				dropped = append(dropped, fmt.Sprint(e.Session, e.End))
			}
		}
	}
	return dropped
}

func (m *model) answer(number uint64, grants bool) bool {
	if number == 0 || number > uint64(m.sent) {
		return false
	}
	e := &m.entries[number-1]
	if e.finished || e.End {
		return false
	}
	first := !e.answered
	e.answered = true
	e.Granted = e.Granted || grants
	e.finished = !grants
	return first
}

func (m *model) grant(r link.Range) bool {
	if r.First == 0 || r.Last < r.First || r.Last > uint64(m.sent) {
		return false
	}
	for n := r.First; n <= r.Last; n++ {
		e := &m.entries[n-1]
		e.Granted = e.Granted || !e.End && !e.finished
	}
	return true
}

func (m *model) first() uint64 {
	for _, e := range m.entries {
		if !e.finished {
			return e.Number
		}
	}
	return uint64(len(m.entries) + 1)
}

// choices makes the decisions of a schedule, at random or from a fuzzer's bytes. A call with n
// returns a number from 0 to n-1.
type choices func(n int) int

// pair steps a Log and a model of it together. It fails the test at the first difference.
type pair struct {
	t testing.TB
	l *Log
	m *model
}

func newPair(t testing.TB, size int) *pair {
	return &pair{t: t, l: NewLog(size), m: &model{size: size}}
}

func (p *pair) step(choose choices) {
	switch choose(9) {
	case 8:
		first := uint64(choose(len(p.m.entries) + 2))
		r := link.Range{First: first, Last: first + uint64(choose(4))}
		if r.Last > 0 && choose(8) == 0 {
			r.Last-- // r.Last may now be below r.First
		}
		same(p.t, "Grant ok", p.l.Grant(r) == nil, p.m.grant(r))
	case 0, 1, 2:
		p.append(uint64(1+choose(5)), choose(40))
	case 3:
		session := uint64(1 + choose(5))
		same(p.t, "End", p.l.End(session), p.m.add(Entry{Session: session, End: true}))
	case 4, 5:
		p.next(1 + choose(6))
	case 6:
		p.ack(p.someAck(choose))
	case 7:
		if choose(6) == 0 {
			p.l.Rewind()
			p.m.cursor, p.m.through = 0, 0
			return
		}
		number := uint64(choose(len(p.m.entries) + 2))
		grants := choose(2) == 0
		same(p.t, "Answer", p.l.Answer(number, grants, ignore), p.m.answer(number, grants))
	}
	p.compare()
}

func (p *pair) append(session uint64, size int) {
	payload := bytes.Repeat([]byte{byte(len(p.m.entries))}, size)
	want := p.m.room(session, size)
	same(p.t, "Room", p.l.Room(session, size), want)
	number, ok := p.l.Append(session, payload)
	same(p.t, "Append", ok, want)
	if ok {
		same(p.t, "number", number, p.m.add(Entry{Session: session, Payload: bytes.Clone(payload)}))
	}
	clear(payload) // the Log must have copied it
}

func (p *pair) next(count int) {
	for range count {
		got, ok := p.l.Next()
		want, wantOK := p.m.next()
		same(p.t, "Next ok", ok, wantOK)
		same(p.t, "Next", fmt.Sprint(got), fmt.Sprint(want))
	}
}

// someAck returns an acknowledgement, which may be invalid.
func (p *pair) someAck(choose choices) (through uint64, ranges []link.Range) {
	through = p.m.through + uint64(max(0, choose(6)-3))
	at := through + 1
	for range choose(4) {
		first := at + uint64(choose(3))
		last := first + uint64(choose(6))
		if choose(8) > 0 {
			last = min(last, uint64(p.m.sent))
		}
		if last < first && choose(8) > 0 {
			break
		}
		ranges = append(ranges, link.Range{First: first, Last: last})
		at = last + 1
	}
	if choose(20) == 0 {
		through = uint64(choose(len(p.m.entries) + 2))
	}
	return through, ranges
}

func (p *pair) ack(through uint64, ranges []link.Range) {
	var got []string
	err := p.l.Ack(through, ranges, func(session uint64, end bool) { got = append(got, fmt.Sprint(session, end)) })
	if !p.m.valid(through, ranges) {
		if !errors.Is(err, ErrAck) {
			p.t.Fatalf("Ack(%d, %v) = %v, want ErrAck", through, ranges, err)
		}
		return
	}
	if err != nil {
		p.t.Fatalf("Ack(%d, %v) = %v", through, ranges, err)
	}
	same(p.t, "dropped", fmt.Sprint(got), fmt.Sprint(p.m.ack(through, ranges)))
}

func (p *pair) compare() {
	all, _ := p.m.bytes(0)
	same(p.t, "Bytes", p.l.Bytes(), all)
	same(p.t, "First", p.l.First(), p.m.first())
	same(p.t, "Last", p.l.Last(), uint64(len(p.m.entries)))
	var messages, ends int
	for _, e := range p.m.entries {
		if !e.finished && e.End {
			ends++
		} else if !e.finished {
			messages++
		}
	}
	same(p.t, "Messages", p.l.Messages(), messages)
	same(p.t, "Ends", p.l.Ends(), ends)
}

func same[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s = %v, want %v", what, got, want)
	}
}

func TestLogAgreesWithModel(t *testing.T) {
	for seed := range uint64(120) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			p := newPair(t, []int{0, 600, 4000, 60000}[seed%4])
			for range 500 {
				p.step(random.IntN)
			}
		})
	}
}

func FuzzLog(f *testing.F) {
	f.Add([]byte("\x00\x01\x10\x04\x02\x06\x01\x01\x02\x02\x07\x00\x04\x04"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 2000)]
		p := newPair(t, 4000)
		choose := func(n int) int {
			if len(ops) == 0 {
				return 0
			}
			c := int(ops[0]) % n
			ops = ops[1:]
			return c
		}
		for len(ops) > 0 {
			p.step(choose)
		}
	})
}

func drain(l *Log) {
	for {
		if _, ok := l.Next(); !ok {
			return
		}
	}
}

func ignore(uint64, bool) {}

// TestLogForgetsBehindOneUnfinished leaves one number unfinished, and finishes 100,000 higher
// numbers. The Log's ring must stay small.
func TestLogForgetsBehindOneUnfinished(t *testing.T) {
	l := NewLog(1 << 20)
	payload := make([]byte, 100)
	l.Append(1, payload)
	l.Next()
	for i := range 100_000 {
		number, ok := l.Append(2, payload)
		if !ok {
			t.Fatalf("no room after %d", i)
		}
		l.Next()
		if err := l.Ack(0, []link.Range{{First: 2, Last: number}}, ignore); err != nil {
			t.Fatal(err)
		}
	}
	if slots := len(l.entries.slots); slots > 4*ringMin {
		t.Errorf("ring has %d slots for one live entry", slots)
	}
	same(t, "Messages", l.Messages(), 1)
	same(t, "First", l.First(), 1)
}

func TestLogGivesMemoryBack(t *testing.T) {
	l := NewLog(16 << 20)
	for s := range uint64(50_000) {
		l.Append(s, []byte("x"))
	}
	drain(l)
	for n := uint64(1); n <= l.Last(); n++ {
		if err := l.Ack(n, nil, ignore); err != nil {
			t.Fatal(err)
		}
	}
	if slots := len(l.entries.slots); slots > ringMin {
		t.Errorf("an empty Log keeps %d slots", slots)
	}
	same(t, "sessions with bytes", len(l.used), 0)
}

func TestLogTakesOneWholeMessageWhenEmpty(t *testing.T) {
	l := NewLog(1000)
	big := make([]byte, 5000)
	if _, ok := l.Append(1, big); !ok {
		t.Fatal("an empty Log refuses a message larger than itself")
	}
	if _, ok := l.Append(2, nil); ok {
		t.Fatal("a full Log takes a message")
	}
	drain(l)
	if err := l.Ack(1, nil, ignore); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Append(2, make([]byte, 200)); !ok {
		t.Fatal("an empty share refuses a message larger than the share")
	}
	if _, ok := l.Append(2, nil); ok {
		t.Fatal("a full share takes a message")
	}
	if _, ok := l.Append(3, nil); !ok {
		t.Fatal("one session's full share keeps another out")
	}
}

func TestLogAllocatesTheCopyOnly(t *testing.T) {
	l := NewLog(1 << 20)
	payload := make([]byte, 100)
	allocs := testing.AllocsPerRun(1000, func() {
		number, _ := l.Append(1, payload)
		l.Next()
		l.Answer(number, true, ignore)
		l.Answer(number, false, ignore)
		l.Ack(number, nil, ignore)
	})
	same(t, "allocations of Append, Next, Answer and Ack", allocs, 1)
}

func BenchmarkLog(b *testing.B) {
	l := NewLog(4 << 20)
	payload := make([]byte, 128)
	b.ReportAllocs()
	var session uint64
	for b.Loop() {
		session++
		number, _ := l.Append(session%1000, payload)
		l.Next()
		if number%64 == 0 {
			l.Ack(number, nil, ignore)
		}
	}
}
