package router

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// stage is a Router whose links only count what they are sent. The stage itself is the broker. It
// answers at once, and keeps only the last offset of each topic.
type stage struct {
	router *Router
	now    time.Time
	links  []*counter
	number []uint64 // by edge, the number of its last frame
	last   uint64   // ID of the last session
	events []broker.Event
	spare  []Input
	tops   map[protocol.Topic]uint64
	in     [1]Input
}

var _ broker.Broker = (*stage)(nil)

// counter is a link that takes everything.
type counter struct {
	bytes, appends int
}

func (c *counter) Append(frames []byte)    { c.bytes += len(frames); c.appends++ }
func (c *counter) Queued() int             { return 0 }
func (c *counter) Shorter(int)             {}
func (c *counter) RTT() time.Duration      { return 0 }
func (c *counter) Close(link.Code, string) {}
func (c *counter) Moves() bool             { return true }
func (c *counter) SDK() bool               { return true }
func (c *counter) String() string          { return "" }

func newStage(edges int, dialects ...dialect.Dialect) *stage {
	if len(dialects) == 0 {
		dialects = []dialect.Dialect{chat.Dialect{}}
	}
	s := &stage{now: time.Unix(1e9, 0), tops: map[protocol.Topic]uint64{}}
	s.router = New(Config{}, s, dialects...)
	for range edges {
		c := &counter{}
		s.links = append(s.links, c)
		s.number = append(s.number, 0)
		s.step(Connected{c, link.Hello{Instance: protocol.NewInstance(), Node: fmt.Sprint("e", len(s.links)), Generation: 1, LogSize: 4 << 20}})
		s.step(Received{c, []any{link.Synced{First: 1}}})
	}
	return s
}

// step gives the Router one input. Then it gives the Router the events that the broker answers
// with, until there are no more.
func (s *stage) step(in Input) {
	s.in[0] = in
	s.router.Step(s.now, s.in[:])
	for len(s.events) > 0 || s.router.Busy() {
		inputs := s.spare[:0]
		for _, ev := range s.events {
			inputs = append(inputs, FromBroker{ev})
		}
		clear(s.events)
		s.events = s.events[:0]
		s.router.Step(s.now, inputs)
		s.spare = inputs
	}
}

// send sends one frame on a link.
func (s *stage) send(edge int, f any) {
	s.step(Received{s.links[edge], []any{f}})
}

// open opens a session and returns its ID.
func (s *stage) open(edge int, at protocol.Endpoint, user string) uint64 {
	s.last++
	s.send(edge, link.Session{ID: s.last, Endpoint: at, User: user})
	return s.last
}

func (s *stage) say(edge int, session uint64, text []byte) {
	s.number[edge]++
	s.send(edge, link.Message{Number: s.number[edge], Session: session, Payload: text})
}

func (s *stage) end(edge int, session uint64) {
	s.number[edge]++
	s.send(edge, link.End{Number: s.number[edge], Session: session})
}

func (s *stage) Run(context.Context, func(broker.Event)) error { return nil }
func (s *stage) Name() string                                  { return "" }

func (s *stage) Publish(p broker.Publish) {
	s.tops[p.Topic]++
	at := protocol.Position{Epoch: 1, Offset: s.tops[p.Topic]}
	s.events = append(s.events, broker.Received{Publication: broker.Publication{
		Topic: p.Topic, Position: at, Content: p.Content, Instance: p.Instance, Number: p.Number,
	}}, broker.Published{Token: p.Token, Outcome: broker.Done, Position: at})
}

func (s *stage) Subscribe(t protocol.Topic, token uint64, begin bool) {
	ev := broker.Subscribed{Topic: t, Token: token}
	if offset := s.tops[t]; offset > 0 {
		ev.Top = protocol.Position{Epoch: 1, Offset: offset}
	} else if begin {
		ev.Begun = 1
	}
	s.events = append(s.events, ev)
}

func (s *stage) Unsubscribe(protocol.Topic) {}

func (s *stage) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	s.events = append(s.events, broker.History{Token: token, Topic: t, Through: protocol.Position{Epoch: 1, Offset: s.tops[t]}})
}

func (s *stage) Begin(t protocol.Topic, token uint64) {
	s.events = append(s.events, broker.Began{Token: token, Topic: t, Top: protocol.Position{Epoch: 1, Offset: s.tops[t]}})
}

func (s *stage) CountSubscribers(_ protocol.Topic, token uint64) {
	s.events = append(s.events, broker.Counted{Token: token})
}

func (s *stage) Flush(token uint64) {
	s.events = append(s.events, broker.Flushed{Token: token, Heard: true})
}

// relink gives an edge another link, on which the edge has told nothing yet.
func (s *stage) relink(edge int) {
	old := s.links[edge]
	e := s.router.directory.links[old]
	h := link.Hello{Instance: e.instance, Node: e.node, Generation: e.generation + 1, LogSize: 4 << 20}
	s.step(Disconnected{Link: old, LastReceived: s.now})
	s.links[edge] = &counter{}
	s.step(Connected{s.links[edge], h})
}

// heapNow collects garbage, and returns the bytes that are then on the heap.
func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
