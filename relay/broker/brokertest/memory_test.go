package brokertest

import (
	"slices"
	"testing"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestSaveAndLoad checks that later publications do not change a Saved, and that Load brings back
// the history, top and marks of the Saved. An empty Saved must bring back nothing.
func TestSaveAndLoad(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	h := m.Broker()
	instance := protocol.NewInstance()
	publish := func(number uint64, msg string) broker.Published {
		h.Publish(broker.Publish{Topic: "all", Content: protocol.Content{Msg: msg}, Instance: instance, Number: number})
		return h.Take()[0].(broker.Published)
	}
	history := func() (msgs []string) {
		h.ReadHistory("all", protocol.Position{}, 1)
		for _, p := range h.Take()[0].(broker.History).Publications {
			msgs = append(msgs, p.Msg)
		}
		return msgs
	}
	first := publish(1, "a")
	saved := m.Save()
	publish(2, "b")
	for range 2 { // the second Load must give the same result as the first
		m.Load(saved)
		if got := history(); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("history %v", got)
		}
		if got := publish(1, "again"); got.Outcome != broker.Duplicate || got.Position != first.Position {
			t.Errorf("the number that was saved: %+v", got)
		}
		if got := publish(2, "c"); got.Outcome != broker.Done || got.Position.Epoch <= first.Position.Epoch || got.Position.Offset != 1 {
			t.Errorf("the number that was not, which begins an epoch: %+v, first %+v", got, first)
		}
		if got := publish(3, "d"); got.Outcome != broker.Done || got.Position.Offset != 2 {
			t.Errorf("the number behind it: %+v", got)
		}
	}
	lastEpoch := protocol.Position{Epoch: protocol.MaxEpoch, Offset: 1}
	h.Publish(broker.Publish{Topic: "all", Content: protocol.Content{Msg: "e"}, Instance: instance, Number: 4, Known: protocol.Position{Epoch: protocol.MaxEpoch - 1}})
	if got := h.Take()[0].(broker.Published); got.Position != lastEpoch {
		t.Errorf("the first of the last epoch: %+v", got)
	}
	m.Load(m.Save())
	if got := publish(5, "f"); got.Position != (protocol.Position{Epoch: protocol.MaxEpoch, Offset: 2}) {
		t.Errorf("behind the last epoch, to which none follows: %+v", got)
	}
	m.Load(Saved{})
	if got := history(); len(got) > 0 {
		t.Errorf("history of an empty one: %v", got)
	}
	if got := publish(1, "anew"); got.Outcome != broker.Done || got.Position.Offset != 1 {
		t.Errorf("the first number of an empty one: %+v", got)
	}
}

// TestWhatIsBegunIsSavedAndLoaded begins an epoch, saves it, and publishes in it. Then comes a
// Load, which stands for a restart of Redis. After that, the epoch must not count as begun, since
// the publication in it is lost. The next publication must be in a later epoch. In one of two
// cases, the test begins this later epoch before it publishes.
func TestWhatIsBegunIsSavedAndLoaded(t *testing.T) {
	for _, again := range []bool{false, true} {
		m := NewMemory(MemoryConfig{})
		h := m.Broker()
		publish := func(number uint64) protocol.Position {
			h.Publish(broker.Publish{Topic: "all", Instance: protocol.Instance{1}, Number: number})
			events := h.Take()
			if received, ok := events[0].(broker.Received); ok && !received.Publication.Previous.IsZero() {
				t.Errorf("received %+v, which nothing was before", received)
			}
			return events[len(events)-1].(broker.Published).Position
		}
		subscribed := func() broker.Subscribed {
			h.Subscribe("all", 1, false)
			return h.Take()[0].(broker.Subscribed)
		}
		begun := func() broker.Began {
			h.Begin("all", 2)
			return h.Take()[0].(broker.Began)
		}
		first := begun()
		if !first.Genuine || first.Top.Epoch == 0 || first.Top.Offset != 0 {
			t.Fatalf("%+v", first)
		}
		saved := m.Save()
		if at := publish(1); at != (protocol.Position{Epoch: first.Top.Epoch, Offset: 1}) {
			t.Errorf("published at %v, begun as %v", at, first.Top)
		}
		m.Load(saved)
		if e := subscribed(); e.Begun != 0 || e.Genuine || !e.Top.IsZero() {
			t.Errorf("%+v, begun by another server", e)
		}
		second := first
		if again {
			if second = begun(); !second.Genuine || second.Top.Epoch <= first.Top.Epoch || second.Top.Offset != 0 {
				t.Errorf("%+v, after %+v", second, first)
			}
			if e := subscribed(); e.Begun != second.Top.Epoch || !e.Genuine {
				t.Errorf("%+v, begun as %v", e, second.Top)
			}
		}
		at := publish(2)
		if at.Epoch <= first.Top.Epoch || at.Offset != 1 || again && at.Epoch != second.Top.Epoch {
			t.Errorf("published at %v, begun as %v and %v", at, first.Top, second.Top)
		}
		saved = m.Save()
		m.Load(saved)
		if e := subscribed(); e.Top != at || e.Genuine {
			t.Errorf("%+v, given by another server", e)
		}
		if e := begun(); e.Top != at || e.Genuine {
			t.Errorf("%+v, given by another server", e)
		}
		h.ReadHistory("all", protocol.Position{}, 3)
		if page := h.Take()[0].(broker.History); page.Top != at || page.Genuine {
			t.Errorf("a page of what another server gave: %+v", page)
		}
	}
}
