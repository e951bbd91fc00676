// Package simulation runs a whole cluster in one goroutine. The hubs, logs and links of the edges,
// the link protocol and the routers of the relays are real. A broker in memory takes the place of
// Redis. The network and the connections to that broker are simulated. A seed decides when they
// delay, split or lose data, and when they break. docs/simulation.md says what the simulation
// finds, and how to repeat a run.
package simulation

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/rules"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// world is one run. It runs in a synctest bubble, so product code that asks for the time gets the
// simulated time.
type world struct {
	rnd   *rand.Rand
	start time.Time
	now   time.Time
	queue events
	seq   uint64

	tracing bool
	lines   []string
	digest  uint64 // digest of the batches that arrived; see world.note
	failure string // the first failure; it stops the run

	config config
	rules  rules.Rules
	store  *store
	relays []*relay // includes dead relays
	edges  []*edge  // includes dead edges
	conns  []*conn  // includes closed conns
	model  *model

	settledOnce bool           // the first outage of world.outage is over
	calm        time.Time      // when world.mend was called; zero: not yet
	counts      map[string]int // how often each event of clients of SDKs happened
	apps        []*app         // programs with SDKs
	plain       bool           // apps come back in calm: see world.comeBack
	doubts      struct{ begun, moved, cancelled int }
}

// config has the settings of a run. They follow from the seed.
type config struct {
	lossy      bool          // Redis may lose what it has acknowledged
	history    int           // publications kept per topic
	age        time.Duration // how long history is kept
	logSize    int           // bytes of each edge's log
	buffer     int           // bytes that a relay buffers for each link
	tail       int           // publications in a relay's memory, per topic
	window     int           // unread bytes at which an end of a conn stops sending
	digestEach time.Duration
	topicRate  int // bytes a second; 0: no bound
	pieces     int // largest number of pieces of jobs in one step of a relay

	sdk   bool   // there are clients of SDKs besides those of the chat
	skew  bool   // some edges and relays do not know clients of SDKs; only with sdk
	rules string // the relays' rules, as in RELAY_CHANNELS; "": the default
}

// result is the outcome of a run.
type result struct {
	failure string
	digest  uint64
	lines   []string
	events  uint64
	counts  map[string]int
}

// run carries out a schedule in a synctest bubble of its own.
func run(t *testing.T, s schedule, tracing bool) (r result) {
	synctest.Test(t, func(*testing.T) {
		w := &world{config: s.config, rules: parsed(s.config.rules), tracing: tracing, start: time.Now(), now: time.Now(), counts: map[string]int{}}
		w.reseed(s.seed)
		func() {
			defer func() {
				if p := recover(); p != nil {
					w.fail("panic: %v\n%s", p, debug.Stack())
				}
			}()
			w.play(s)
		}()
		r = result{w.failure, w.digest, w.lines, w.seq, w.counts}
	})
	return r
}

// parsed parses rules. The text "" stands for the rules by default.
func parsed(text string) (r rules.Rules) {
	if text == "" {
		return r
	}
	r, faults := rules.Parse(text)
	if len(faults) > 0 {
		panic(faults[0])
	}
	return r
}

// raised returns how much the rules keep of a topic, if that is more than of others.
func (w *world) raised(t protocol.Topic) broker.Retention {
	size, age := w.rules.Kept(string(t))
	return broker.Retention{Size: size, Age: age}
}

// kept returns how much Redis keeps of a topic.
func (w *world) kept(t protocol.Topic) broker.Retention {
	return broker.Retention{Size: w.config.history, Age: w.config.age}.Raised(w.raised(t))
}

// reseed begins a series of random numbers that depends on seed alone. So each remaining action of
// a shortened schedule begins with the same random numbers as in the whole schedule.
func (w *world) reseed(seed uint64) { w.rnd = rand.New(rand.NewPCG(seed, 0x5eed)) }

// chance is true in p of 100 cases.
func (w *world) chance(p int) bool { return w.rnd.IntN(100) < p }

// between returns a random duration. It may also return either of the two bounds.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rnd.Int64N(int64(most-least)+1))
}

// pick returns a random element of list, which must not be empty.
func pick[T any](w *world, list []T) T { return list[w.rnd.IntN(len(list))] }

// event is a function to call at a simulated time. Events of the same time are called in the order
// in which they were planned. The field seq counts the events in that order.
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

// pass lets time pass and carries out the events that come due. After a failure it carries out
// none.
func (w *world) pass(d time.Duration) {
	until := w.now.Add(d)
	for w.failure == "" && len(w.queue) > 0 && !w.queue[0].at.After(until) {
		ev := heap.Pop(&w.queue).(event)
		w.goTo(ev.at)
		ev.do()
	}
	w.goTo(until)
}

// settle lets a second pass, and up to another one until no edge has a frame that is not
// acknowledged. Apps refresh tokens by themselves, so that a frame may be under way at any time.
func (w *world) settle() {
	w.pass(time.Second)
	left := func(e *edge) bool { return e.alive && e.left() > 0 }
	for n := 0; n < 50 && slices.ContainsFunc(w.edges, left); n++ {
		w.pass(20 * time.Millisecond)
	}
}

func (w *world) goTo(at time.Time) {
	if d := at.Sub(w.now); d > 0 {
		time.Sleep(d)
		w.now = at
	}
}

// fail notes the first broken promise, which ends the run.
func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.tracef("FAILED: %s", w.failure)
	}
}

// tracef records an event for the reader of a trace.
func (w *world) tracef(format string, args ...any) {
	if w.tracing {
		w.lines = append(w.lines, fmt.Sprintf("%9.3f  ", w.now.Sub(w.start).Seconds())+fmt.Sprintf(format, args...))
	}
}

// note adds to the digest the bytes that arrived, the time, and the name of the link's end where
// they arrived.
func (w *world) note(where string, what []byte) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s ", w.digest, w.now.Sub(w.start), where)
	h.Write(what)
	w.digest = h.Sum64()
}
