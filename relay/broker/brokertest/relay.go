package brokertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Patience is how long an event is waited for before the test fails.
const Patience = 15 * time.Second

// Relay runs a Broker as a relay would, and keeps its events. Its methods that wait end the test after Patience.
type Relay struct {
	broker.Broker
	Instance protocol.Instance // of the edge that it publishes for

	t testing.TB

	mu      sync.Mutex // guards the following
	events  []broker.Event
	changed chan struct{} // closed and replaced at each event
	token   uint64
	asked   map[uint64]int // by token: answers so far
}

// Start runs b until the test ends. Then every request must have been answered once.
func Start(t testing.TB, b broker.Broker) *Relay {
	t.Helper()
	r := &Relay{Broker: b, Instance: protocol.NewInstance(), t: t, changed: make(chan struct{}), asked: make(map[uint64]int)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, r.sink) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		for token, n := range r.asked {
			if n != 1 {
				t.Errorf("request %d was answered %d times", token, n)
			}
		}
	})
	return r
}

func (r *Relay) sink(e broker.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case broker.Published:
		r.asked[e.Token]++
	case broker.History:
		r.asked[e.Token]++
	case broker.Flushed:
		r.asked[e.Token]++
	case broker.Counted:
		r.asked[e.Token]++
	}
	r.events = append(r.events, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Token returns a new token, for a request that must be answered once.
func (r *Relay) Token() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token++
	r.asked[r.token] = 0
	return r.token
}

// Events returns the number of events so far: a place to await later ones from.
func (r *Relay) Events() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// Await returns the first event of type E from place from on that matches, and the place behind it.
func Await[E broker.Event](r *Relay, from int, what string, match func(E) bool) (E, int) {
	r.t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		events, changed := r.events[min(from, len(r.events)):], r.changed
		r.mu.Unlock()
		for _, e := range events {
			from++
			if e, ok := e.(E); ok && match(e) {
				return e, from
			}
		}
		select {
		case <-changed:
		case <-timeout.C:
			r.t.Fatalf("no %s", what)
		}
	}
}

// Ask publishes and returns the answer.
func (r *Relay) Ask(p broker.Publish) broker.Published {
	r.t.Helper()
	from := r.Events()
	p.Token = r.Token()
	r.Publish(p)
	answer, _ := Await(r, from, "Published", func(e broker.Published) bool { return e.Token == p.Token })
	return answer
}

// Say publishes msg on t as number n of r.Instance and returns its position; it must be Done.
func (r *Relay) Say(t protocol.Topic, n uint64, msg string) protocol.Position {
	r.t.Helper()
	answer := r.Ask(broker.Publish{Topic: t, From: "1", Msg: msg, Instance: r.Instance, Number: n})
	if answer.Outcome != broker.Done || answer.Err != nil {
		r.t.Fatalf("publishing %q: %+v", msg, answer)
	}
	return answer.Position
}

// Join subscribes and returns the answer.
func (r *Relay) Join(t protocol.Topic) broker.Subscribed {
	r.t.Helper()
	from := r.Events()
	r.mu.Lock()
	r.token++
	token := r.token
	r.mu.Unlock()
	r.Subscribe(t, token)
	answer, _ := Await(r, from, "Subscribed", func(e broker.Subscribed) bool { return e.Topic == t && e.Token == token })
	return answer
}

// History reads a page and returns it; it must not fail.
func (r *Relay) History(t protocol.Topic, after protocol.Position) broker.History {
	r.t.Helper()
	from, token := r.Events(), r.Token()
	r.ReadHistory(t, after, token)
	answer, _ := Await(r, from, "History", func(e broker.History) bool { return e.Token == token })
	if answer.Err != nil || answer.Topic != t {
		r.t.Fatalf("history of %s: %+v", t, answer)
	}
	return answer
}

// Count counts subscribers; it must not fail.
func (r *Relay) Count(t protocol.Topic) int64 {
	r.t.Helper()
	from, token := r.Events(), r.Token()
	r.CountSubscribers(t, token)
	answer, _ := Await(r, from, "Counted", func(e broker.Counted) bool { return e.Token == token })
	if answer.Err != nil {
		r.t.Fatalf("subscribers of %s: %v", t, answer.Err)
	}
	return answer.Count
}

// Received returns the first n publications received on t from place from on, once they are there.
func (r *Relay) Received(t protocol.Topic, from, n int) []broker.Publication {
	r.t.Helper()
	var list []broker.Publication
	for len(list) < n {
		var e broker.Received
		e, from = Await(r, from, "publication on "+string(t), func(e broker.Received) bool { return e.Publication.Topic == t })
		list = append(list, e.Publication)
	}
	return list
}

// SoFar returns all publications received on t until now.
func (r *Relay) SoFar(t protocol.Topic) []broker.Publication {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []broker.Publication
	for _, e := range r.events {
		if e, ok := e.(broker.Received); ok && e.Publication.Topic == t {
			list = append(list, e.Publication)
		}
	}
	return list
}

// Told returns the highest position told of t until now: of a publication received, or the top of a confirmed subscription, behind which the caller reads history.
func (r *Relay) Told(t protocol.Topic) (top protocol.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		var at protocol.Position
		switch e := e.(type) {
		case broker.Received:
			if e.Publication.Topic == t {
				at = e.Publication.Position
			}
		case broker.Subscribed:
			if e.Topic == t {
				at = e.Top
			}
		}
		if top.Before(at) {
			top = at
		}
	}
	return top
}
