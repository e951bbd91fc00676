package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// edge plays an edge process: it has a link to a relay, and sessions that are numbered from 1. The
// edge's log is empty whenever the edge moves.
type edge struct {
	keys       link.Keys
	first      int // number of users at all edges with a lower index
	sessions   int
	instance   protocol.Instance
	generation uint64
	ended      chan struct{} // closed when the link has ended
	conn       *link.Conn

	mu        sync.Mutex
	out       []byte // frames to be sent
	names     link.Names
	positions map[protocol.Topic]protocol.Position
	topics    map[uint64]protocol.Topic // key: number that the relay gave the topic on this link
	number    uint64                    // number of the last message
	opened    int                       // sessions opened on this link
	received  int                       // publications received
	acked     uint64
	live      bool
	changed   chan struct{} // closed and replaced after each batch of frames
	sent      time.Time     // when chatter sent its message; zero: the message arrived
	waits     []time.Duration
}

func newEdge(keys link.Keys, first, sessions int) *edge {
	return &edge{
		keys: keys, first: first, sessions: sessions, instance: protocol.NewInstance(),
		positions: map[protocol.Topic]protocol.Position{}, changed: make(chan struct{}),
	}
}

// edge.user returns the name of a session's user: a number of eight digits.
func (e *edge) user(session int) string { return strconv.Itoa(10_000_000 + e.first + session) }

// edge.dial links the edge to the relay at addr. The edge first sends the frames in e.out.
func (e *edge) dial(ctx context.Context, addr string) error {
	e.generation++
	conn, _, err := link.Dial(ctx, link.DialConfig{URL: "ws://" + addr, Keys: e.keys, Hello: link.Hello{
		Features: link.FeatureMove, Generation: e.generation, LogSize: 4 << 20, Instance: e.instance, Node: fmt.Sprint("played-", e.first),
	}})
	if err != nil {
		return err
	}
	e.conn, e.ended = conn, make(chan struct{})
	e.topics, e.opened, e.live = map[uint64]protocol.Topic{}, 0, false
	go func() {
		defer close(e.ended)
		conn.Run(context.Background(), e, e)
	}()
	return nil
}

// edge.hang ends the link, if there is one.
func (e *edge) hang() {
	if e.conn != nil {
		e.conn.CloseNow()
		<-e.ended
	}
}

// edge.begin links an edge to its first relay, and opens its sessions.
func (e *edge) begin(ctx context.Context, addr string) error {
	e.out = link.Synced{First: 1}.Append(nil)
	for id := 1; id <= e.sessions; id++ {
		e.out = e.session(id).Append(e.out)
	}
	if err := e.dial(ctx, addr); err != nil {
		return err
	}
	return e.await(ctx, "the sessions to be opened", func() bool { return e.opened == e.sessions })
}

func (e *edge) session(id int) link.Session {
	return link.Session{ID: uint64(id), Endpoint: protocol.EndpointUser, User: e.user(id)}
}

// edge.move links the edge to another relay and tells this relay the edge's tables. It returns when
// the relay has sent the frame Live.
func (e *edge) move(ctx context.Context, addr string) error {
	<-e.ended
	e.out = nil
	for id := 1; id <= e.sessions; id++ {
		e.out = e.session(id).Append(e.out)
	}
	for id := 1; id <= e.sessions; id++ {
		t := protocol.UserTopic(e.user(id))
		e.out = link.Held{Topic: t, Position: e.positions[t], Sessions: []uint64{uint64(id)}}.Append(e.out)
	}
	e.out = link.Synced{First: e.number + 1, Last: e.number, Sessions: uint64(e.sessions), Held: uint64(e.sessions)}.Append(e.out)
	if err := e.dial(ctx, addr); err != nil {
		return err
	}
	return e.await(ctx, "the link to be live", func() bool { return e.live })
}

// edge.talk makes each of the first n sessions send one message to itself. At most atOnce sessions
// do so at the same time.
func (e *edge) talk(ctx context.Context, n int) error {
	const atOnce = 500
	for from := 1; from <= n; from += atOnce {
		e.mu.Lock()
		for id := from; id < min(from+atOnce, n+1); id++ {
			e.say(id, e.user(id))
		}
		want := min(from+atOnce-1, n)
		e.mu.Unlock()
		e.conn.Wake()
		if err := e.await(ctx, "messages", func() bool { return e.received == want && e.acked == e.number }); err != nil {
			return err
		}
	}
	return nil
}

// edge.say queues a message of a session to a user. The caller holds mu, and wakes the link.
func (e *edge) say(session int, to string) {
	e.number++
	text := fmt.Appendf(nil, `{"Id":"%s","Msg":"%0100d"}`, to, e.number)
	e.out = link.Message{Number: e.number, Session: uint64(session), Payload: text}.Append(e.out)
}

// edge.reaches sends a message to the last session of another edge. Then it waits until the message
// has arrived at the other edge.
func (e *edge) reaches(ctx context.Context, other *edge) error {
	other.mu.Lock()
	want := other.received + 1
	other.mu.Unlock()
	e.mu.Lock()
	e.say(1, other.user(other.sessions))
	e.mu.Unlock()
	e.conn.Wake()
	return other.await(ctx, "a message of another edge", func() bool { return other.received == want })
}

// edge.chatter makes the edge's only session write to itself again and again. The session sends
// each message 5 ms after the previous message has arrived. The returned function ends the writing,
// and waits until the last message has arrived.
func (e *edge) chatter() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			e.mu.Lock()
			want := e.received + 1
			e.sent = time.Now()
			e.say(1, e.user(1))
			e.mu.Unlock()
			e.conn.Wake()
			if e.await(context.Background(), "its own message", func() bool { return e.received == want }) != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

// edge.latencies returns the latencies of the messages of edge.chatter that have arrived since the
// last call of edge.latencies. They are in ascending order.
func (e *edge) latencies() []time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.waits
	e.waits = nil
	slices.Sort(all)
	return all
}

// edge.await waits until the given condition holds. It checks the condition under the lock mu. It
// fails when the link has ended, or when ctx is done.
func (e *edge) await(ctx context.Context, what string, holds func() bool) error {
	for {
		e.mu.Lock()
		ok, changed := holds(), e.changed
		e.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-e.ended:
			return fmt.Errorf("the link ended while an edge waited for %s", what)
		case <-ctx.Done():
			return fmt.Errorf("an edge waited too long for %s", what)
		}
	}
}

// Fill implements link.Source.
func (e *edge) Fill(batch []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.out
	for len(out) > 0 && len(batch) < link.BatchTarget {
		_, _, remainder, err := link.Next(out)
		if err != nil {
			panic(err) // cannot happen: the edge itself encoded this frame
		}
		batch = append(batch, out[:len(out)-len(remainder)]...)
		out = remainder
	}
	e.out = out
	return batch
}

// HandleFrame implements link.Sink.
func (e *edge) HandleFrame(t link.Type, body []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch t {
	case link.TypeTopic:
		f, err := link.ParseTopicNumber(body)
		if err != nil {
			return err
		}
		e.topics[f.ID], e.positions[f.Topic] = f.Topic, f.Position
	case link.TypePublication:
		f, err := e.names.ParsePublication(body)
		if err != nil {
			return err
		}
		topic, known := e.topics[f.Topic]
		if !known {
			return fmt.Errorf("a publication with an unknown topic number")
		}
		e.positions[topic] = f.Position
		e.received++
		if !e.sent.IsZero() {
			e.waits = append(e.waits, time.Since(e.sent))
			e.sent = time.Time{}
		}
	case link.TypeAck:
		f, err := link.ParseAck(body)
		if err != nil {
			return err
		}
		e.acked = f.Through
	case link.TypeOpened:
		e.opened++
	case link.TypeLive:
		e.live = true
	case link.TypeGap:
		return fmt.Errorf("a loss was told")
	}
	return nil
}

// EndBatch implements link.Sink.
func (e *edge) EndBatch() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}
