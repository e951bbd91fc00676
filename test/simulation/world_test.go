// Package simulation runs a whole cluster in one goroutine: the real hub, log and links of edges, the real link, and the real router over the real broker in memory, joined
// by a network and a broker's connections that do what networks do, in an order that a seed decides. docs/simulation.md says what it finds, and how to repeat it.
package simulation

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// world is one run. Its clock is that of a synctest bubble, so that product code which asks for the time is told the simulated one.
type world struct {
	rnd   *rand.Rand
	start time.Time
	now   time.Time
	queue events
	seq   uint64

	tracing bool
	lines   []string
	digest  uint64 // of all that happened
	failure string // the first; then nothing goes on

	config config
	store  *store
	relays []*relay // those that are gone too
	edges  []*edge  // likewise
	conns  []*conn  // likewise
	model  *model
	calm   bool // all that was broken has been mended

	settledOnce bool // redis was away in calm
}

// config is drawn for a run, before its schedule.
type config struct {
	lossy      bool          // Redis loses what it has acknowledged
	history    int           // publications kept per topic
	age        time.Duration // of the history
	logSize    int           // of each edge
	buffer     int           // of each link at a relay, in bytes
	tail       int           // publications in a relay's memory, per topic
	window     int           // bytes that a connection takes in without being read
	digestEach time.Duration
}

// result is what a run came to.
type result struct {
	failure string
	digest  uint64
	lines   []string
	events  uint64
}

// run carries a schedule out, in a bubble of its own.
func run(t *testing.T, s schedule, tracing bool) (r result) {
	synctest.Test(t, func(*testing.T) {
		w := &world{config: s.config, tracing: tracing, start: time.Now(), now: time.Now()}
		w.reseed(s.seed)
		func() {
			defer func() {
				if p := recover(); p != nil {
					w.fail("panic: %v\n%s", p, debug.Stack())
				}
			}()
			w.play(s)
		}()
		r = result{w.failure, w.digest, w.lines, w.seq}
	})
	return r
}

// reseed makes what follows depend on seed only, and not on what was drawn before: so that a schedule without some of its actions does with the others what it did.
func (w *world) reseed(seed uint64) { w.rnd = rand.New(rand.NewPCG(seed, 0x5eed)) }

// chance is true p times of 100.
func (w *world) chance(p int) bool { return w.rnd.IntN(100) < p }

// between draws a time.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rnd.Int64N(int64(most-least)+1))
}

// pick draws one of a list that is not empty.
func pick[T any](w *world, list []T) T { return list[w.rnd.IntN(len(list))] }

// event is something that happens at a time; of one time, in the order in which they were planned.
type event struct {
	at  time.Time
	seq uint64
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

func (w *world) at(at time.Time, do func()) {
	if at.Before(w.now) {
		at = w.now
	}
	w.seq++
	heap.Push(&w.queue, event{at, w.seq, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

// pass lets time pass, with all that happens in it.
func (w *world) pass(d time.Duration) {
	until := w.now.Add(d)
	for w.failure == "" && len(w.queue) > 0 && !w.queue[0].at.After(until) {
		ev := heap.Pop(&w.queue).(event)
		w.goTo(ev.at)
		ev.do()
	}
	w.goTo(until)
}

func (w *world) goTo(at time.Time) {
	if d := at.Sub(w.now); d > 0 {
		time.Sleep(d)
		w.now = at
	}
}

// fail notes that a promise was broken.
func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.tracef("FAILED: %s", w.failure)
	}
}

// tracef notes what happened, for the reader.
func (w *world) tracef(format string, args ...any) {
	if w.tracing {
		w.lines = append(w.lines, fmt.Sprintf("%9.3f  ", w.now.Sub(w.start).Seconds())+fmt.Sprintf(format, args...))
	}
}

// note adds bytes that went somewhere to the digest.
func (w *world) note(where string, what []byte) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s ", w.digest, w.now.Sub(w.start), where)
	h.Write(what)
	w.digest = h.Sum64()
}
