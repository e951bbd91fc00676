package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

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

// forward gives a message to the upstream, as fast as the rate allows. Without room there the session is not read for 2 s; from then on its
// messages are answered as not delivered until there is room.
func (c *conn) forward(message []byte) error {
	s, v := c.session, c.server
	v.metrics.frames.Inc()
	v.metrics.bytes.Add(float64(len(message)))
	if err := s.pacer.wait(v.ctx, v.cfg.Rate); err != nil {
		return err
	}
	if !Reason(s.reason.Load()).accepts() {
		v.hub.metrics.dropped[dropClosing].Inc()
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

// pacer slows a session down to a rate. It costs nothing before the first message.
type pacer struct{ limiter *rate.Limiter }

// wait returns when the next message may be taken, or with ctx' error.
func (p *pacer) wait(ctx context.Context, perSecond float64) error {
	if perSecond <= 0 {
		return nil
	}
	if p.limiter == nil {
		p.limiter = rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond*rateBurst)))
	}
	return p.limiter.Wait(ctx)
}
