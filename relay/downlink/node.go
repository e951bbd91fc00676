package downlink

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// frameOverhead is about what a decoded frame holds beside its body, in bytes.
const frameOverhead = 64

// Node is a live link. It satisfies the router's Link: no exported method blocks, and all may be called by anyone at any time.
type Node struct {
	server     *Server
	conn       *link.Conn
	label      string
	instance   protocol.Instance
	generation uint64
	name       string
	out        buffer

	// Owned by the link's reader.
	frames []any
	size   int
}

func newNode(s *Server, conn *link.Conn, h link.Hello) *Node {
	name := strings.ToValidUTF8(h.Node, "?") // a metric label must be
	return &Node{
		server:     s,
		conn:       conn,
		label:      fmt.Sprintf("%s %s #%d", name, h.Instance, h.Generation),
		instance:   h.Instance,
		generation: h.Generation,
		name:       name,
		out:        buffer{full: s.cfg.Buffer / 2, limit: hardLimit * s.cfg.Buffer},
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

// Fill is called by the link's writer.
func (n *Node) Fill(batch []byte) []byte {
	batch, drained := n.out.fill(batch)
	if drained {
		n.server.handler.Writable(n)
	}
	return batch
}

// release gives the memory back after the link has ended.
func (n *Node) release() {
	n.out.close()
	n.out.drop()
}

// HandleFrame is called by the link's reader. It decodes what an edge may send; anything else breaks the protocol.
func (n *Node) HandleFrame(t link.Type, body []byte) error {
	f, err := decode(t, body)
	if err != nil {
		return err
	}
	n.frames = append(n.frames, f)
	n.size += len(body) + frameOverhead
	return nil
}

// EndBatch is called by the link's reader.
func (n *Node) EndBatch() error {
	if len(n.frames) == 0 {
		return nil
	}
	frames, size := n.frames, n.size
	n.frames, n.size = nil, 0
	return n.server.handler.Received(n, frames, size)
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
