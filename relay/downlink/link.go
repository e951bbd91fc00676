package downlink

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

const (
	// frameOverhead is roughly the memory of a decoded frame without its texts, its keep and its
	// list of sessions, in bytes. It does not depend on the frame's length on the wire.
	frameOverhead = 128
	// portion is the size at which a part of a batch is handed on, in bytes of decoded frames. A
	// small frame takes many more bytes of memory, once decoded, than it has on the link.
	portion = 256 << 10
	// The constant named foreseen bounds the room that a new slice of frames has from the start. A
	// slice begins with room for as many frames as the previous slice got, but at least 1 and at
	// most foreseen. Each element takes 16 bytes.
	foreseen = 32
)

// Conn is what a Link needs of its connection. Its methods must not block. *link.Conn implements
// Conn.
type Conn interface {
	Wake()
	Bye(code link.Code, text string)
	Features() uint64
	ShortRTT() time.Duration
}

// Link is the relay's end of one link. It has no goroutine. HandleFrame and EndBatch may block,
// because they call Handler.Connected and Handler.Received. The other methods do not block. The
// link's writer calls Fill, and its reader calls HandleFrame and EndBatch. Any goroutine may call
// the other methods at any time.
type Link struct {
	handler    Handler
	conn       Conn
	label      string
	instance   protocol.Instance
	generation uint64
	node       string // the edge's node ID
	hello      link.Hello
	onBegin    func()      // called once the link has begun; nil: nothing is called
	began      atomic.Bool // Handler.Connected has returned no error
	out        buffer

	// The link's reader owns the following fields.
	frames []any
	size   int
	last   int // number of frames in the last call of Received
}

// NewLink returns a Link after the handshake that brought h. It calls no method of conn. The Link
// calls Connected, Received and Writable of handler. When the link ends, the caller of NewLink must
// call handler.Disconnected, but only if the link had begun. The argument buffer is Config.Buffer,
// and must be above 0.
func NewLink(handler Handler, conn Conn, h link.Hello, buffer int) *Link {
	node := strings.ToValidUTF8(h.Node, "?") // a metric label must be valid UTF-8
	return &Link{
		handler:    handler,
		conn:       conn,
		label:      fmt.Sprintf("%s %s #%d", node, h.Instance, h.Generation),
		instance:   h.Instance,
		generation: h.Generation,
		node:       node,
		hello:      h,
		out:        newBuffer(buffer),
	}
}

// String names the link for logs by node ID, instance and generation.
func (l *Link) String() string { return l.label }

// Began reports whether Handler.Connected was called for the link and returned no error.
// HandleFrame calls Connected at the first frame after the handshake. An edge may dial a link and
// then go on with another one. The link that it does not use ends without having begun.
func (l *Link) Began() bool { return l.began.Load() }

// Moves reports whether the edge knows the frames Drain and Live. Such an edge can be asked to link
// to another relay.
func (l *Link) Moves() bool { return l.conn.Features()&link.FeatureMove != 0 }

// SDK reports whether clients of SDKs are served on this link: the relay has offered
// link.FeatureSDK, and the edge knows it too.
func (l *Link) SDK() bool { return l.conn.Features()&link.FeatureSDK != 0 }

// RTT returns the shortest of the link's last eight round trips; 0: none was measured.
func (l *Link) RTT() time.Duration { return l.conn.ShortRTT() }

// Queued returns how many bytes are appended and not known to be written to the connection.
func (l *Link) Queued() int { return l.out.queued() }

// Shorter asks for one call of Writable when fewer than n bytes are queued.
func (l *Link) Shorter(n int) { l.out.shorter(n) }

// Append copies whole frames into the queue. After Close it queues nothing. If the queue would
// exceed 16 times Config.Buffer, Append closes the link with CodeLimit.
func (l *Link) Append(frames []byte) {
	if l.out.append(frames) {
		l.conn.Wake()
	} else if l.out.overrun() {
		l.Close(link.CodeLimit, "outgoing buffer full")
	}
}

// Close begins to end the link. The link's writer sends the queued frames, for about a second at
// most, and then Bye. If the link has begun, Handler.Disconnected follows.
func (l *Link) Close(code link.Code, text string) {
	l.out.close()
	l.conn.Bye(code, text)
}

// Fill implements link.Source.
func (l *Link) Fill(batch []byte) []byte {
	batch, drained := l.out.fill(batch)
	if drained {
		l.handler.Writable(l)
	}
	return batch
}

// release gives the buffer's memory back after the link has ended.
func (l *Link) release() {
	l.out.close()
	l.out.drop()
}

// HandleFrame implements link.Sink. It decodes a frame, and hands on the frames of the batch once
// they fill a portion. A frame that an edge may not send is an error, which ends the link.
func (l *Link) HandleFrame(t link.Type, body []byte) error {
	f, err := l.decode(t, body)
	if err != nil {
		return err
	}
	if !l.began.Load() {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if l.frames == nil {
		l.frames = make([]any, 0, max(1, min(l.last, foreseen)))
	}
	l.frames = append(l.frames, f)
	l.size += cost(f)
	if l.size < portion {
		return nil
	}
	return l.EndBatch()
}

// begin tells the handler of the link. If the handler's error is or wraps a *link.CloseError, begin
// returns that *link.CloseError. For any other error of the handler, begin returns a
// *link.CloseError with CodeLimit and the error's text. The returned error ends the link.
func (l *Link) begin() error {
	err := l.handler.Connected(l, l.hello)
	if err == nil {
		l.began.Store(true)
		if l.onBegin != nil {
			l.onBegin()
		}
		return nil
	}
	bye := &link.CloseError{Code: link.CodeLimit, Text: err.Error()}
	errors.As(err, &bye)
	return bye
}

// The function cost returns roughly how much memory a decoded frame holds, in bytes.
func cost(f any) int {
	switch f := f.(type) {
	case link.Message:
		return frameOverhead + len(f.Payload)
	case link.Session:
		return frameOverhead + len(f.User) + len(f.Group)
	case link.Client:
		return frameOverhead + len(f.User) + len(f.Keep)
	case link.Held:
		return frameOverhead + len(f.Topic) + 8*len(f.Sessions)
	case link.Keep:
		return frameOverhead + len(f.Topic) + len(f.Keep)
	}
	return frameOverhead
}

// EndBatch implements link.Sink. It hands on the frames that are left.
func (l *Link) EndBatch() error {
	if len(l.frames) == 0 {
		return nil
	}
	frames, size := l.frames, l.size
	l.frames, l.size, l.last = nil, 0, len(frames)
	return l.handler.Received(l, frames, size)
}

// decode parses a frame that an edge may send. Its result shares no memory with body.
func (l *Link) decode(t link.Type, body []byte) (any, error) {
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
	case link.TypeClient:
		if l.SDK() {
			c, err := link.ParseClient(body)
			c.Keep = bytes.Clone(c.Keep)
			return c, err
		}
	case link.TypeDrained:
		if l.SDK() {
			return link.ParseDrained(body)
		}
	case link.TypeKeep:
		if l.SDK() {
			k, err := link.ParseKeep(body)
			k.Keep = bytes.Clone(k.Keep)
			return k, err
		}
	}
	return nil, fmt.Errorf("an edge sends no %v", t)
}
