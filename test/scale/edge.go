package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// edge is one edge as its relay sees it. It sends frames, and counts the frames that arrive. Its
// sessions are numbered from 1. Of each session, an edge stores only the groups that the session is
// in.
type edge struct {
	first      int // number of the user of session 1
	instance   protocol.Instance
	generation uint64
	link       *downlink.Link // the relay's end of the link
	features   uint64
	woken      bool

	number uint64 // number of the last message; after relay.settle it is acknowledged
	heard  uint64 // number of Session frames sent on this link
	groups map[string][]uint64

	out      []byte      // encoded frames that are to be sent
	took     [256]int    // frames received since the last call of forget, by type
	digest   link.Digest // digest last received
	up, down int         // bytes sent and received since the last call of forget
	closed   string      // why the relay ended the link
	relay    *relay
}

var _ downlink.Conn = (*edge)(nil)

func newEdge(first int) *edge {
	return &edge{first: first, instance: protocol.NewInstance(), features: link.FeatureMove, groups: map[string][]uint64{}}
}

// Wake implements downlink.Conn.
func (e *edge) Wake() {
	if !e.woken {
		e.woken = true
		e.relay.woken = append(e.relay.woken, e)
	}
}

// Bye implements downlink.Conn.
func (e *edge) Bye(code link.Code, text string) { e.closed = fmt.Sprintf("%v: %s", code, text) }

// Features implements downlink.Conn.
func (e *edge) Features() uint64        { return e.features }
func (e *edge) ShortRTT() time.Duration { return 0 }

// edge.user returns the name of a session's user.
func (e *edge) user(session uint64) string { return name(e.first + int(session) - 1) }

// name returns the name of user n: a number of eight digits.
func name(n int) string { return strconv.Itoa(10_000_000 + n) }

// edge.dial gives the edge a link to r. The caller must send the edge's tables next.
func (e *edge) dial(r *relay) {
	e.generation++
	e.relay, e.heard = r, 0
	h := link.Hello{Features: e.features, Generation: e.generation, LogSize: 4 << 20, Instance: e.instance, Node: fmt.Sprint("e", e.first)}
	e.link = downlink.NewLink(r, e, h, downlink.DefaultBuffer)
}

// edge.hang ends the link.
func (e *edge) hang() {
	e.relay.Disconnected(e.link, e.relay.now, &link.CloseError{Code: link.CodeLost})
	e.link = nil
}

// edge.tables encodes the edge's sessions, the topics that they are in, and Synced.
func (e *edge) tables(at protocol.Endpoint, sessions int, s *store) {
	held := 0
	e.connects(at, 1, sessions)
	ids := make([]uint64, sessions)
	for i := range ids {
		ids[i] = uint64(i + 1)
	}
	hold := func(t protocol.Topic, members []uint64) {
		held += len(members)
		e.out = link.Held{Topic: t, Position: s.tops[t], Sessions: members}.Append(e.out)
	}
	for _, own := range at.Topics("", "") {
		if own == protocol.All {
			hold(own, ids)
			continue
		}
		for i := range ids {
			hold(protocol.UserTopic(e.user(ids[i])), ids[i:i+1])
		}
	}
	for group, members := range e.groups {
		hold(protocol.GroupTopic(group), members)
	}
	e.out = link.Synced{First: e.number + 1, Last: e.number, Sessions: uint64(sessions), Held: uint64(held)}.Append(e.out)
}

// edge.connects encodes Session frames for sessions with consecutive numbers. The caller gives the
// first of these numbers, and how many sessions there are.
func (e *edge) connects(at protocol.Endpoint, first, sessions int) {
	for id := first; id < first+sessions; id++ {
		e.out = link.Session{ID: uint64(id), Endpoint: at, User: e.user(uint64(id))}.Append(e.out)
		e.heard++
	}
}

// edge.message encodes a message of a session. It returns the frame, and the id of the publication
// that the message becomes.
func (e *edge) message(session uint64, format string, args ...any) (id uint64, frame []byte) {
	e.number++
	return protocol.BriefID(e.instance, e.number), link.Message{Number: e.number, Session: session, Payload: fmt.Appendf(nil, format, args...)}.Append(nil)
}

// edge.send sends the encoded frames in batches. A batch is complete when it has the given number
// of frames, or at least link.BatchTarget bytes. After each batch, edge.send calls relay.settle.
func (e *edge) send(frames int) error {
	out := e.out
	e.up += len(out)
	batch, size := 0, 0
	for len(out) > 0 {
		t, body, remainder, err := link.Next(out)
		if err != nil {
			return err
		}
		size += len(out) - len(remainder)
		out = remainder
		if err := e.link.HandleFrame(t, body); err != nil {
			return err
		}
		if batch++; batch == frames || size >= link.BatchTarget || len(out) == 0 {
			if err := e.link.EndBatch(); err != nil {
				return err
			}
			e.relay.settle()
			batch, size = 0, 0
		}
	}
	e.out = nil
	if e.closed != "" {
		return fmt.Errorf("the relay ended the link of the edge with user %d: %s", e.first, e.closed)
	}
	return nil
}

// edge.take counts the frames of a batch that arrived. It checks the publications among them.
func (e *edge) take(in []byte) error {
	for len(in) > 0 {
		t, body, remainder, err := link.Next(in)
		if err != nil {
			return err
		}
		in = remainder
		e.took[t]++
		switch t {
		case link.TypePublication:
			p, err := link.ParsePublication(body)
			if err != nil {
				return err
			}
			one := delivery{e, p.ID}
			if _, due := e.relay.due[one]; !due {
				return fmt.Errorf("the edge with user %d was brought %q, which is not for it or came before", e.first, p.Payload)
			}
			delete(e.relay.due, one)
		case link.TypeDigest:
			if e.digest, err = link.ParseDigest(body); err != nil {
				return err
			}
		}
	}
	return nil
}

// edge.forget sets the counts of frames and of bytes to zero.
func (e *edge) forget() {
	e.took, e.up, e.down = [256]int{}, 0, 0
}

// edge.wants returns an error unless the last Digest from the relay matches the edge's own tables.
func (e *edge) wants(at protocol.Endpoint, sessions int) error {
	want := link.Digest{Heard: e.heard, Sessions: uint64(sessions)}
	bind := func(id uint64, t protocol.Topic) {
		want.Bindings++
		want.BindingHash ^= link.BindingHash(id, t)
	}
	for id := uint64(1); id <= uint64(sessions); id++ {
		user := e.user(id)
		want.SessionHash ^= link.SessionHash(link.Session{ID: id, Endpoint: at, User: user})
		for _, t := range at.Topics(user, "") {
			bind(id, t)
		}
	}
	for group, members := range e.groups {
		for _, id := range members {
			bind(id, protocol.GroupTopic(group))
		}
	}
	if e.digest != want {
		return fmt.Errorf("the relay's tables of the edge with user %d are %+v, its own %+v", e.first, e.digest, want)
	}
	return nil
}
