package downlink

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

const (
	// frameOverhead is about what a decoded frame holds beside its texts, in bytes, whatever it takes on the wire.
	frameOverhead = 128
	// portion is how much of a batch is handed on at once, in bytes of decoded frames. Most batches are smaller; a batch of small frames may decode to twenty times its
	// length.
	portion = 256 << 10
	// foreseen is for how many frames there is place before they come, as many as came before: a place takes 16 bytes, which nobody counts.
	foreseen = 32
)

// Conn is what a Node needs of its connection: *link.Conn is one. No method blocks.
type Conn interface {
	Wake()
	Bye(code link.Code, text string)
	Features() uint64
}

// Node is a live link. It satisfies the router's Link: no exported method but HandleFrame and EndBatch blocks, which wait as Handler.Received does; Fill is for the link's writer,
// HandleFrame and EndBatch for its reader, all others may be called by anyone at any time. It has no goroutine.
type Node struct {
	handler    Handler
	conn       Conn
	label      string
	instance   protocol.Instance
	generation uint64
	name       string
	out        buffer

	// Owned by the link's reader.
	frames []any
	size   int
	last   int // how many frames were handed on at once
}

// NewNode returns the Node of a link whose handshake brought h. It calls no method of conn, and of handler only Writable and Received. buffer is Config.Buffer, above 0.
func NewNode(handler Handler, conn Conn, h link.Hello, buffer int) *Node {
	name := strings.ToValidUTF8(h.Node, "?") // a metric label must be
	return &Node{
		handler:    handler,
		conn:       conn,
		label:      fmt.Sprintf("%s %s #%d", name, h.Instance, h.Generation),
		instance:   h.Instance,
		generation: h.Generation,
		name:       name,
		out:        newBuffer(buffer),
	}
}

// String names the link for logs: node ID, instance, generation.
func (n *Node) String() string { return n.label }

// Moves reports whether the edge can be asked to link elsewhere, and takes Live.
func (n *Node) Moves() bool { return n.conn.Features()&link.FeatureMove != 0 }

// Queued returns the bytes appended and not yet written to the connection.
func (n *Node) Queued() int { return n.out.queued() }

// Append queues whole frames, which it copies. After Close it does nothing. A link with more than 16 times Config.Buffer queued is closed with
// CodeLimit: publications stop long before, so its edge owes its size to control frames that it does not take.
func (n *Node) Append(frames []byte) {
	if n.out.append(frames) {
		n.conn.Wake()
	} else if n.out.overrun() {
		n.Close(link.CodeLimit, "outgoing buffer full")
	}
}

// Close sends Bye behind what is queued, as far as that goes within a second, and ends the link. Handler.Disconnected follows.
func (n *Node) Close(code link.Code, text string) {
	n.out.close()
	n.conn.Bye(code, text)
}

// Fill implements link.Source.
func (n *Node) Fill(batch []byte) []byte {
	batch, drained := n.out.fill(batch)
	if drained {
		n.handler.Writable(n)
	}
	return batch
}

// release gives the memory back after the link has ended.
func (n *Node) release() {
	n.out.close()
	n.out.drop()
}

// HandleFrame implements link.Sink. It decodes what an edge may send, and hands it on when it is enough; anything else breaks the protocol.
func (n *Node) HandleFrame(t link.Type, body []byte) error {
	f, err := decode(t, body)
	if err != nil {
		return err
	}
	if n.frames == nil {
		n.frames = make([]any, 0, max(1, min(n.last, foreseen)))
	}
	n.frames = append(n.frames, f)
	n.size += cost(f)
	if n.size < portion {
		return nil
	}
	return n.EndBatch()
}

// cost is about what a decoded frame holds, in bytes.
func cost(f any) int {
	switch f := f.(type) {
	case link.Message:
		return frameOverhead + len(f.Payload)
	case link.Session:
		return frameOverhead + len(f.User) + len(f.Group)
	case link.Held:
		return frameOverhead + len(f.Topic) + 8*len(f.Sessions)
	}
	return frameOverhead
}

// EndBatch implements link.Sink: it hands on what is left.
func (n *Node) EndBatch() error {
	if len(n.frames) == 0 {
		return nil
	}
	frames, size := n.frames, n.size
	n.frames, n.size, n.last = nil, 0, len(frames)
	return n.handler.Received(n, frames, size)
}

// decode returns a frame that shares nothing with body.
func decode(t link.Type, body []byte) (any, error) {
	switch t {
	case link.TypeMessage, link.TypeAgain:
		m, err := link.ParseMessage(body)
		m.Payload, m.Again = bytes.Clone(m.Payload), t == link.TypeAgain
		return m, err
	case link.TypeEnd:
		return link.ParseEnd(body)
	case link.TypeSession:
		return link.ParseSession(body)
	case link.TypeHeld:
		return link.ParseHeld(body)
	case link.TypeSynced:
		return link.ParseSynced(body)
	case link.TypeMoved:
		return link.ParseMoved(body)
	}
	return nil, fmt.Errorf("an edge sends no %v", t)
}
