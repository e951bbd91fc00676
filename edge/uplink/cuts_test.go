package uplink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/timing"
)

// TestCuts cuts links at random bytes while sessions come, send and go. A relay finishes the frames
// in a random order. On each link the numbers must ascend. A number may be missing on a link only
// if its frame has arrived on an earlier link. A session's messages and its end must come after its
// Session frame. Once all is finished, the log must hold no message and no end.
func TestCuts(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { cuts(t, seed) })
		})
	}
}

func cuts(t *testing.T, seed uint64) {
	const sessions, messages = 20, 30
	random := rand.New(rand.NewPCG(seed, 2))
	var n network
	r := n.start(t, "r1:1")
	finish := &finisher{random: rand.New(rand.NewPCG(seed, 3)), done: make(map[uint64]string)}
	r.handle = finish.handle
	e := n.run(t, Config{URLs: []string{"ws://r1:1"}, LogSize: 64 << 10})

	var clients sync.WaitGroup
	for id := uint64(1); id <= sessions; id++ {
		pause := time.Duration(random.IntN(40)) * time.Millisecond
		clients.Go(func() {
			time.Sleep(pause)
			e.open(id)
			for i := range messages {
				payload := fmt.Appendf(nil, "%d-%d %s", id, i, strings.Repeat("x", int(id)*50))
				for !e.Accept(id, payload) {
					if !e.WaitRoom(t.Context(), id, len(payload)) {
						t.Error("WaitRoom gave up")
						return
					}
				}
				time.Sleep(pause)
			}
			e.end(id)
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	finishing, finished := context.WithCancel(t.Context())
	var finisher sync.WaitGroup
	finisher.Go(func() { finish.run(finishing) })
	var saboteur sync.WaitGroup
	saboteur.Go(func() {
		for ctx.Err() == nil {
			for _, c := range r.net.Conns() {
				c.CutAfter(random.IntN(6000))
			}
			timing.Sleep(ctx, time.Duration(random.IntN(300))*time.Millisecond, nil)
		}
	})
	clients.Wait()
	stop()
	saboteur.Wait()
	for _, c := range r.net.Conns() {
		c.CutAfter(-1)
	}
	for { // repeated, since Flush does not wait for ends while there is no link
		same(t, "left", e.Flush(t.Context()), 0)
		e.mu.Lock()
		ends := e.log.Ends()
		e.mu.Unlock()
		if ends == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	finished()
	finisher.Wait()
	synctest.Wait()
	finish.check(t, e.log.Last(), sessions, messages)
	if links := len(r.links()); links < 3 {
		t.Errorf("only %d links: nothing was cut", links)
	}
	same(t, "sessions left in the hub", len(e.hub.sessions), 0)
}

// finisher does the bookkeeping of a relay for all of the relay's links. It finishes and
// acknowledges frames in a random order. It finishes the end of a session only after the session's
// messages.
type finisher struct {
	mu     sync.Mutex
	random *rand.Rand
	done   map[uint64]string // the frames that have arrived, by number
	errors []string

	current *fakeLink
	synced  bool
	told    map[uint64]bool
	last    uint64
	open    []uint64
}

func (f *finisher) handle(l *fakeLink, frame any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != l {
		f.current, f.told, f.open, f.synced = l, make(map[uint64]bool), nil, false
	}
	switch x := frame.(type) {
	case link.Session:
		f.told[x.ID] = true
	case link.Synced:
		f.last, f.synced = x.First-1, true
		for n := uint64(1); n < x.First; n++ {
			if f.done[n] == "" {
				f.fail("Synced says that %d is finished", n)
			}
		}
	case link.Message:
		f.arrive(x.Number, x.Session, string(x.Payload))
	case link.End:
		f.arrive(x.Number, x.Session, fmt.Sprint("end ", x.Session))
	}
	if f.synced {
		f.finish()
	}
}

// finish finishes some of the open frames, which are those that have come and are not finished.
// Then it sends an acknowledgement. The caller holds f.mu.
func (f *finisher) finish() {
	for len(f.open) > 8 || len(f.open) > 0 && f.random.IntN(3) > 0 {
		i := f.random.IntN(len(f.open))
		if session, end := strings.CutPrefix(f.done[f.open[i]], "end "); end {
			// An end must not be finished before the session's messages. If some of these messages
			// are open, the first open one is finished instead.
			i = max(0, slices.IndexFunc(f.open, func(n uint64) bool {
				return n == f.open[i] || strings.HasPrefix(f.done[n], session+"-")
			}))
		}
		f.open = slices.Delete(f.open, i, i+1)
	}
	f.current.send(f.ack())
}

// run finishes open frames every 20 ms until ctx is done.
func (f *finisher) run(ctx context.Context) {
	for ctx.Err() == nil {
		timing.Sleep(ctx, 20*time.Millisecond, nil)
		f.mu.Lock()
		if f.synced {
			f.finish()
		}
		f.mu.Unlock()
	}
}

func (f *finisher) fail(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *finisher) arrive(number, session uint64, what string) {
	if !f.told[session] {
		f.fail("%d before its session %d", number, session)
	}
	if number <= f.last {
		f.fail("%d after %d", number, f.last)
	}
	for n := f.last + 1; n < number; n++ {
		if f.done[n] == "" {
			f.fail("%d is left out", n)
		}
	}
	if prev := f.done[number]; prev != "" && prev != what {
		f.fail("%d is %q, was %q", number, what, prev)
	}
	f.last = number
	f.done[number] = what
	f.open = append(f.open, number)
}

// ack returns an acknowledgement of all numbers up to the last one that came, except the open ones.
// The acknowledged numbers include those that the edge left out on this link.
func (f *finisher) ack() link.Ack {
	var a link.Ack
	a.Through = f.last
	if len(f.open) == 0 {
		return a
	}
	a.Through = f.open[0] - 1
	for i, n := range f.open {
		last := f.last
		if i+1 < len(f.open) {
			last = f.open[i+1] - 1
		}
		if n+1 <= last {
			a.Finished = append(a.Finished, link.Range{First: n + 1, Last: last})
		}
	}
	return a
}

func (f *finisher) check(t *testing.T, last uint64, sessions, messages int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.errors {
		t.Error(e)
	}
	same(t, "last number", last, uint64(sessions*(messages+1)))
	next := make(map[string]int)
	for n := uint64(1); n <= last; n++ {
		what := f.done[n]
		session, remainder, ok := strings.Cut(what, "-")
		if !ok {
			session = strings.TrimPrefix(what, "end ")
			same(t, "messages before the end of session "+session, next[session], messages)
			continue
		}
		var i int
		fmt.Sscan(remainder, &i)
		same(t, "message of session "+session, i, next[session])
		next[session]++
	}
}
