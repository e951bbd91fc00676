package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// messageKeep is the size up to which the buffer of a message goes back to the pool.
const messageKeep = 64 << 10

// readerKeep is how long a reader may have served a conn at a time that is given to another one. ws closes itself 5 s after a control frame has begun, in a goroutine of its own: when
// the rest of the frame comes at that moment, that may be after ws went on to other things. It does not happen to one that has served for less.
const readerKeep = 4 * time.Second

var (
	messages     = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}
	notDelivered = textFrame(protocol.NotDelivered)
	errUTF8      = errors.New("not UTF-8")
	errRest      = errors.New("silent") // a wait's: the conn may come to rest
)

// serve reads a conn that is awake, until it comes to rest or the session has ended and its socket is closed. early was read of it before.
func (v *Server) serve(c *conn, early []byte) {
	w := newWaiter(c, early)
	err := w.readAll()
	for err == errRest {
		if c.rest() {
			return
		}
		err = w.readAll()
	}
	defer v.leave()
	v.finish(w, err)
	if s := c.session; s.allowance != nil {
		v.rates.leave(s.info.User, s.allowance)
	}
}

// readAll reads messages until the client's close frame or an error; errRest: until the conn may come to rest.
func (w *waiter) readAll() error {
	for {
		if err := w.wait(); err != nil {
			return err
		}
		if err := w.readSome(); err != nil {
			return err
		}
	}
}

// readSome reads what is there, to the end of the last message that was begun.
func (w *waiter) readSome() error {
	readers := &w.conn.server.readers
	began := w.server.now()
	r := readers.Get().(*reader)
	r.begin(w)
	err := r.readFrames()
	if err != nil || w.server.now()-began > readerKeep {
		r.ws.CloseNow() // it may be in the middle of a message, or about to be closed: nobody else can use it
		return err
	}
	r.end()
	readers.Put(r)
	return nil
}

func (r *reader) readFrames() error {
	for r.more() {
		kind, body, err := r.ws.Reader(context.Background())
		if errors.Is(err, errBetween) {
			continue
		}
		if err == nil {
			err = r.readMessage(kind, body)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readMessage reads one message and sends it on its way. The buffer grows with what arrives, not with what a header announces.
func (r *reader) readMessage(kind websocket.MessageType, body io.Reader) error {
	buf := messages.Get().(*[]byte)
	defer messages.Put(buf)
	r.inside = true
	message, err := appendAll((*buf)[:0], body)
	r.inside = false
	if r.conn.begun.Load() != 0 {
		r.conn.begun.Store(0)
	}
	r.extras.message()
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
	return r.conn.forward(message)
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
