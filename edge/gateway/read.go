package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// messageKeep is the size up to which the buffer of a message goes back to the pool.
const messageKeep = 64 << 10

var (
	messages     = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}
	notDelivered = textFrame(protocol.NotDelivered)
	errUTF8      = errors.New("not UTF-8")
)

// serve is the session's reader. It returns when the session has ended and its socket is closed.
func (v *Server) serve(c *conn) {
	defer v.leave()
	defer func() {
		if s := c.session; s.allowance != nil {
			v.rates.leave(s.info.User, s.allowance)
		}
	}()
	v.finish(c, c.readAll())
}

// readAll reads messages until the client's close frame or an error.
func (c *conn) readAll() error {
	for {
		if err := c.wait(); err != nil {
			return err
		}
		kind, r, err := c.ws.Reader(context.Background())
		if errors.Is(err, errBetween) {
			continue
		}
		if err == nil {
			err = c.readMessage(kind, r)
		}
		if err != nil {
			return err
		}
	}
}

// readMessage reads one message and sends it on its way. The buffer grows with what arrives, not with what a header announces.
func (c *conn) readMessage(kind websocket.MessageType, r io.Reader) error {
	buf := messages.Get().(*[]byte)
	defer messages.Put(buf)
	c.inside = true
	message, err := appendAll((*buf)[:0], r)
	c.inside = false
	if c.begun.Load() != 0 {
		c.begun.Store(0)
	}
	c.extras.message()
	if cap(message) <= messageKeep {
		*buf = message[:0]
	}
	if err != nil {
		return err
	}
	if kind == websocket.MessageBinary {
		message = bytes.TrimRight(message, "\x00")
	}
	if !utf8.Valid(message) {
		return errUTF8
	}
	return c.forward(message)
}

// appendAll is io.ReadAll into a buffer that is there.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// forward gives a message to the upstream, as fast as its user's allowance permits. Without room there the session is not read for 2 s; from then on its
// messages are answered as not delivered until there is room.
func (c *conn) forward(message []byte) error {
	s, v := c.session, c.server
	v.metrics.frames.Inc()
	v.metrics.bytes.Add(float64(len(message)))
	result := pacedOut
	if Reason(s.reason.Load()).accepts() {
		result = c.pace(len(message))
	}
	if !Reason(s.reason.Load()).accepts() || result == pacedOut {
		v.hub.metrics.dropped[dropClosing].Inc()
		return v.ctx.Err()
	}
	if result == pacedCrowded {
		v.hub.metrics.dropped[dropCrowded].Inc()
		s.deliver(notDelivered)
		return nil
	}
	if v.up.Accept(s.info.ID, message) || !s.starved && c.awaitRoom(message) {
		s.starved = false
		return nil
	}
	s.starved = true
	v.hub.metrics.dropped[dropNoRoom].Inc()
	s.deliver(notDelivered)
	return nil
}

// pace waits for the user's allowance. Where too many of the user's sessions do, this one is not read for 2 s. Meanwhile nothing is read, so the client is not judged by its silence;
// the session's end ends the wait.
func (c *conn) pace(bytes int) paced {
	s, v := c.session, c.server
	if s.allowance == nil {
		if s.allowance = v.rates.join(s.info.User); s.allowance == nil {
			return pacedOn
		}
	}
	if s.allowance.take(bytes) {
		return pacedOn
	}
	ended := make(chan struct{})
	s.pacing.Store(&ended)
	defer func() {
		c.seen.Store(int64(v.now()))
		s.pacing.Store(nil)
	}()
	if _, over := s.Reason(); over { // before there was somebody to tell
		return pacedOut
	}
	result := s.allowance.wait(v.ctx, ended, bytes)
	if result == pacedCrowded && !pause(v.ctx, ended, roomWait) {
		return pacedOut
	}
	return result
}

// awaitRoom tries for 2 s to have the message accepted.
func (c *conn) awaitRoom(message []byte) bool {
	ctx, cancel := context.WithTimeout(c.server.ctx, roomWait)
	defer cancel()
	up, id := c.server.up, c.session.info.ID
	for ctx.Err() == nil && up.WaitRoom(ctx, id, len(message)) {
		if up.Accept(id, message) {
			return true
		}
	}
	return false
}
