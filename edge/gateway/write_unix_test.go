//go:build unix

package gateway

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// audience has the members of the topic "all" at one edge. It must be made in a bubble of synctest.
// The members' sockets are fakes: each write to a socket takes some fake time. All other parts are
// real.
type audience struct {
	t     *testing.T
	hub   *mirror
	pipe  [2]int      // file descriptors; has the bytes of one write at a time
	whole func(n int) // called when all members have message n

	mu     sync.Mutex // guards the fields below and pipe
	got    []int      // how many messages each member has
	lack   []int      // how many members lack a message, by its number
	writes int
	first  time.Time // when the first write ended
}

// writeTime is how long a writer takes for a write, divided by the number of writers.
const writeTime = 10 * time.Microsecond

func newAudience(t *testing.T, members int) *audience {
	a := &audience{t: t, hub: newMirror(HubConfig{}), whole: func(int) {}, got: make([]int, members)}
	if err := syscall.Pipe(a.pipe[:]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Close(a.pipe[0])
		syscall.Close(a.pipe[1])
	})
	up := &fakeUpstream{open: func(s link.Session) { bindAll(a.hub, s) }}
	server := NewServer(Config{MaxSessions: members, Queue: 256 << 10}, a.hub.Hub, up)
	t.Cleanup(server.poller.close)
	for i := range members {
		s := NewSession(link.Session{Endpoint: protocol.EndpointChannel, User: fmt.Sprint(i)}, 256<<10)
		a.hub.Open(s, up)
		c := &conn{raw: memberSocket{a, i}, server: server, session: s}
		s.queue.attach(func() { a.hub.writers.add(c) })
	}
	return a
}

// publish gives all members a message, in a batch of its own.
func (a *audience) publish() {
	a.mu.Lock()
	a.lack = append(a.lack, len(a.got))
	a.mu.Unlock()
	a.hub.BeginBatch()
	a.hub.Publication(link.Publication{Topic: numberOf("all"), Payload: []byte("x")})
	a.hub.EndBatch()
}

// memberSocket is the socket of the member with the given index.
type memberSocket struct {
	*audience
	i int
}

func (memberSocket) Control(func(fd uintptr)) error   { return nil }
func (memberSocket) Read(func(fd uintptr) bool) error { return nil }

func (m memberSocket) Write(write func(fd uintptr) bool) error {
	time.Sleep(writeTime * time.Duration(runtime.GOMAXPROCS(0)))
	m.mu.Lock()
	defer m.mu.Unlock()
	write(uintptr(m.pipe[1]))
	var b [4 << 10]byte
	n, err := syscall.Read(m.pipe[0], b[:])
	if err != nil {
		m.t.Error(err)
	}
	if m.writes++; m.writes == 1 {
		m.first = time.Now()
	}
	for range n / len(textFrame([]byte("x"))) {
		number := m.got[m.i]
		m.got[m.i]++
		if m.lack[number]--; m.lack[number] == 0 {
			m.whole(number)
		}
	}
	return nil
}

// TestMessagesThatCameApartComeTogether checks a closed loop of messages: each message comes some
// time after an earlier message has reached all members. The first messages come in two groups. The
// second group comes while the first group is being written. Later the messages of both groups must
// come together, so that one round of writes brings them all. Otherwise many members would be
// written to twice in each cycle, for ever.
func TestMessagesThatCameApartComeTogether(t *testing.T) {
	const members, window, cycles = 500, 16, 50
	for _, trip := range []time.Duration{gatherFor, gatherBehind} {
		synctest.Test(t, func(t *testing.T) {
			a := newAudience(t, members)
			due := make(chan time.Time, window) // when the next message comes
			a.whole = func(int) { due <- time.Now().Add(trip) }
			for i := range window {
				if i == window/2 {
					time.Sleep(4 * time.Millisecond)
				}
				a.publish()
			}
			for range window * (cycles - 1) {
				time.Sleep(time.Until(<-due))
				a.publish()
			}
			synctest.Wait()
			for range window {
				<-due
			}
			if perCycle := float64(a.writes) / members / cycles; perCycle > 1.1 {
				t.Errorf("round trip of %v: %.2f writes to a member in each cycle; want 1.1 at most", trip, perCycle)
			}
		})
	}
}

// TestWhenTheFirstWriteBegins checks how long a message waits for others that come after it. A
// message to fewer than gatherFrom members does not wait at all. A message to more members waits
// for gatherFor, and longer only if more messages follow.
func TestWhenTheFirstWriteBegins(t *testing.T) {
	const more = gatherFor / 2 // time between two messages
	for _, c := range []struct {
		members, messages int
		wait              time.Duration
	}{
		{inlineMost, 1, 0},
		{inlineMost + 1, 1, 0},
		{gatherFrom - 1, 1, 0},
		{gatherFrom, 1, gatherFor},
		{500, 1, gatherFor},
		{2000, 1, gatherFor},
		{500, 2, 2 * gatherFor},
		{500, 20, gatherMost},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAudience(t, c.members)
			began := time.Now()
			for range c.messages {
				a.publish()
				time.Sleep(more)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			waited := a.first.Sub(began) - writeTime*time.Duration(runtime.GOMAXPROCS(0))
			if waited != c.wait {
				t.Errorf("%d messages to %d members: the first write began after %v, want %v", c.messages, c.members, waited, c.wait)
			}
		})
	}
}
