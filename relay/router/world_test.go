package router

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// world is some relays on one in-memory back end, and some edges. The test steps the relays. The
// edges have no steps: they act when the test or a relay calls them.
type world struct {
	t      *testing.T
	now    time.Time
	store  *brokertest.Memory
	relays []*testRelay
	edges  []*testEdge
}

// testRelay is one Router and its broker.
type testRelay struct {
	w      *world
	router *Router
	broker *filter
	inputs []Input
}

// filter is a broker between a Router and the back end. A test can hold back or lose the events
// that the back end brings. A test can also make the filter lose publishes, or answer requests with
// errors.
type filter struct {
	*brokertest.Handle
	onPublish func(broker.Publish) bool // false: Publish does not pass the request on
	onEvent   func(broker.Event) bool   // false: the Router does not get the event
	away      bool                      // the back end is out of reach; see the method lost
	replies   bool                      // while away: answers to earlier publishes still come
	published []broker.Publish
	histories int // number of ReadHistory
	begins    int // number of Begin
	wishes    int // number of Subscribe that begin an epoch
	held      []broker.Event
	slow      bool // Received, Subscribed and Flushed wait in the field late
	late      []broker.Event
	refusing  bool // publishes fail
}

func (f *filter) Publish(p broker.Publish) {
	f.published = append(f.published, p)
	if f.away || f.refusing {
		f.held = append(f.held, broker.Published{Token: p.Token, Err: errAway})
		return
	}
	if f.onPublish == nil || f.onPublish(p) {
		f.Handle.Publish(p)
	}
}

func (f *filter) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	f.histories++
	f.Handle.ReadHistory(t, after, token)
}

func (f *filter) Subscribe(t protocol.Topic, token uint64, begin bool) {
	if begin {
		f.wishes++
	}
	f.Handle.Subscribe(t, token, begin)
}

func (f *filter) Begin(t protocol.Topic, token uint64) {
	f.begins++
	f.Handle.Begin(t, token)
}

var errAway = errors.New("away")

// lost returns the event that a relay gets in place of ev while the back end is out of reach: ev
// itself, an error, or nil for an event that is lost.
func (f *filter) lost(ev broker.Event) broker.Event {
	switch ev := ev.(type) {
	case broker.Received, broker.Subscribed:
		return nil
	case broker.Published:
		if ev.Err == nil && !f.replies {
			return broker.Published{Token: ev.Token, Err: errAway}
		}
	case broker.History:
		return broker.History{Token: ev.Token, Topic: ev.Topic, Err: errAway}
	case broker.Began:
		return broker.Began{Token: ev.Token, Topic: ev.Topic, Err: errAway}
	case broker.Counted:
		return broker.Counted{Token: ev.Token, Err: errAway}
	case broker.Flushed:
		return broker.Flushed{Token: ev.Token}
	}
	return ev
}

// leave puts the back end out of reach of rl. If it is out of reach already, leave does nothing.
// The relay is told at its next step. The argument says whether the relay still gets the answers to
// the publishes that were carried out earlier.
func (rl *testRelay) leave(replies bool) {
	if !rl.broker.away {
		rl.broker.away, rl.broker.replies = true, replies
		rl.broker.held = append(rl.broker.held, broker.Deaf{All: true}, broker.State{Away: true, Cause: errAway})
	}
}

// refuse makes publishes fail while the subscriptions stay in force. The relay is told that its
// broker is away. While the back end is out of reach, refuse does nothing.
func (rl *testRelay) refuse() {
	if !rl.broker.away && !rl.broker.refusing {
		rl.broker.refusing = true
		rl.broker.held = append(rl.broker.held, broker.State{Away: true, Cause: errAway})
	}
}

// accept undoes refuse. The relay is told that its broker is back, unless the back end is out of
// reach.
func (rl *testRelay) accept() {
	if rl.broker.refusing {
		rl.broker.refusing = false
		if !rl.broker.away {
			rl.broker.held = append(rl.broker.held, broker.State{})
		}
	}
}

// deafen loses the subscriptions, while requests are still carried out. The relay is told that its
// broker is away. While the back end is out of reach or publishes fail, deafen does nothing.
func (rl *testRelay) deafen() {
	if rl.broker.away || rl.broker.refusing {
		return
	}
	rl.broker.late = nil
	rl.broker.loseEvents()
	rl.broker.held = append(rl.broker.held, broker.Deaf{All: true}, broker.State{Away: true, Cause: errAway})
	for _, name := range sorted(rl.router.directory.topics) {
		rl.broker.Unsubscribe(name)
	}
}

// loseEvents drops each Received and Subscribed that waits at the back end. Answers to requests
// still come, but each Flushed has Heard false.
func (f *filter) loseEvents() {
	for _, ev := range f.Handle.Take() {
		switch ev := ev.(type) {
		case broker.Received, broker.Subscribed:
		case broker.Flushed:
			f.held = append(f.held, broker.Flushed{Token: ev.Token}) // Heard is false
		default:
			f.held = append(f.held, ev)
		}
	}
}

// undeafen undoes deafen: the relay is told that its broker is back, and its topics are subscribed
// anew. While the back end is out of reach or publishes fail, undeafen does nothing.
func (rl *testRelay) undeafen() {
	if rl.broker.away || rl.broker.refusing {
		return
	}
	rl.broker.held = append(rl.broker.held, broker.State{})
	for _, name := range sorted(rl.router.directory.topics) {
		topic := rl.router.directory.topics[name]
		rl.broker.Unsubscribe(name)
		rl.broker.Subscribe(name, topic.number, false)
	}
}

// comeBack undoes leave: the back end is in reach, the relay is told so, and its topics are
// subscribed anew.
func (rl *testRelay) comeBack() {
	if rl.broker.away {
		rl.step()
		rl.broker.away = false
		rl.broker.held = append(rl.broker.held, broker.State{})
		for _, name := range sorted(rl.router.directory.topics) {
			topic := rl.router.directory.topics[name]
			rl.broker.Unsubscribe(name)
			rl.broker.Subscribe(name, topic.number, false)
		}
	}
}

func newWorld(t *testing.T, relays int) *world {
	w := &world{t: t, now: time.Now(), store: brokertest.NewMemory(brokertest.MemoryConfig{})}
	for range relays {
		w.addRelay(Config{})
	}
	return w
}

func (w *world) addRelay(cfg Config) *testRelay { return w.addSpeaking(cfg, chat.Dialect{}) }

func (w *world) addSpeaking(cfg Config, d ...dialect.Dialect) *testRelay {
	f := &filter{Handle: w.store.Broker()}
	rl := &testRelay{w: w, broker: f, router: New(cfg, f, d...)}
	w.relays = append(w.relays, rl)
	return rl
}

// kill ends a relay: its links are lost, and its subscriptions end.
func (w *world) kill(rl *testRelay) {
	w.relays = without(w.relays, rl)
	for _, e := range w.edges {
		if e.link == rl {
			e.link, e.conn = nil, nil
		}
		if e.old != nil && e.old.relay == rl {
			e.old = nil
		}
	}
	for _, name := range sorted(rl.router.directory.topics) {
		rl.broker.Unsubscribe(name)
	}
}

// settle steps all relays until none of them has an input or a job left. While answers wait for
// room in a window, it lets time pass.
func (w *world) settle() {
	for busy, paced := true, false; busy || paced; {
		busy, paced = false, false
		for _, rl := range w.relays {
			if rl.step() {
				busy = true
			}
		}
		for _, rl := range w.relays {
			if !busy && rl.router.Paced() {
				w.now, paced = w.now.Add(windowAge), true
				rl.step() // what it asks of the broker is answered in the next round
			}
		}
	}
}

func (w *world) wait(d time.Duration) {
	w.now = w.now.Add(d)
	w.settle() // fires the timers that have come due
	w.settle() // takes the events that the timers caused
}

func (rl *testRelay) step() bool {
	taken := rl.broker.Take()
	if rl.broker.away {
		for i, ev := range taken {
			taken[i] = rl.broker.lost(ev)
		}
		taken = slices.DeleteFunc(taken, func(ev broker.Event) bool { return ev == nil })
	}
	fl := rl.broker
	mine := taken
	taken = nil
	late := fl.late
	fl.late = nil
	if fl.away {
		kept := late[:0]
		for _, ev := range late {
			if ev = fl.lost(ev); ev != nil {
				kept = append(kept, ev)
			}
		}
		late = kept
	}
	if fl.slow {
		fl.late = late
		for _, ev := range mine {
			switch ev.(type) {
			case broker.Received, broker.Subscribed, broker.Flushed:
				fl.late = append(fl.late, ev)
			default:
				taken = append(taken, ev)
			}
		}
	} else {
		taken = append(late, mine...)
	}
	events := append(rl.broker.held, taken...)
	rl.broker.held = nil
	for _, ev := range events {
		if rl.broker.onEvent == nil || rl.broker.onEvent(ev) {
			rl.inputs = append(rl.inputs, FromBroker{ev})
		}
	}
	inputs := rl.inputs
	rl.inputs = nil
	rl.router.Step(rl.w.now, inputs)
	return len(inputs) > 0 || rl.router.Busy()
}

// exceptEchoes is for filter.onEvent. It loses the publications that the broker brings, and no
// other event.
func exceptEchoes(ev broker.Event) bool {
	_, echo := ev.(broker.Received)
	return !echo
}

// without removes the first x from list in place, and returns the remaining list.
func without[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}
