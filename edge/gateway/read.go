package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/edgerelay/edgerelay/shared/timing"
)

// idleAfter is the silence after which a conn becomes idle, if the poller can watch it. Until then
// its reader goroutine waits for the client. A new conn of the chat becomes idle without such a
// silence, unless bytes came with its request. A conn of an SDK becomes idle at once after its
// connect, and after a pong.
//
// To wake a reader that waits costs a goroutine switch. To wake an idle conn costs a poll, a new
// goroutine and another request to the poller. So a frame costs about 1.5 times as much if it comes
// to an idle conn.
const idleAfter = 2 * time.Second

// messageKeep is the largest message buffer, in bytes, that goes back to the pool.
const messageKeep = 64 << 10

var (
	messageBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}
	notDelivered   = textFrame(protocol.NotDelivered)
	errIdle        = errors.New("silent") // the result of reader.rest: the conn may become idle
)

// reader is the state of the goroutine that reads a conn while the conn is awake. While the
// goroutine waits between two messages, it holds no pooled buffer.
type reader struct {
	*conn
	fillFunc func(fd uintptr) bool // the method fill, as a value that is allocated once
	unparsed []byte                // bytes read from the socket and not yet parsed
	buf      *[]byte               // the pooled buffer that unparsed is a part of; nil: none
	err      error                 // the error that ended reading from the socket
	timed    bool                  // setIdleDeadline has set the socket's deadline
	pongs    pongCount
	extras   extras
	brief    bool // the last message was a guest's first one, or a pong of an SDK

	inside  bool               // a frame or a message was begun and is not complete
	message message            // valid while a message is being read
	size    int                // capacity of the message's buffer, in bytes
	counted int                // the size that is counted in Server.unfinished or in Hub.guests
	entry   *unfinishedMessage // the message's entry in Server.unfinished; nil: not counted
	small   [16]byte           // readHead reads into small, and unparsed then points into small

	// Only a session of an SDK needs the following fields.
	lag  lag
	turn bool // it is this session's turn to wait for its user's allowance
}

// newReader makes a reader. The parameter unparsed has the bytes that were already read from c.
func newReader(c *conn, unparsed []byte) *reader {
	r := &reader{conn: c, unparsed: unparsed, extras: extras{since: c.server.now()}}
	r.fillFunc = r.fill
	return r
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (n int, err error) {
	if len(r.unparsed) > 0 {
		return r.take(p), nil
	}
	if r.inside {
		r.awaitMore()
	}
	n, err = r.Conn.Read(p)
	// The idle deadline may pass in the middle of a frame. The conn cannot become idle there, so
	// the read is repeated without a deadline.
	for n == 0 && r.timedOut(err) {
		r.timed = false
		r.setReadDeadline(time.Time{})
		n, err = r.Conn.Read(p)
	}
	if n > 0 {
		r.stamp()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // io.EOF would mean the end of a message
	}
	if err != nil {
		r.err = err
	}
	return n, err
}

// timedOut reports whether err is due to the deadline of setIdleDeadline, and not to the deadline
// of the session's end.
func (r *reader) timedOut(err error) bool {
	return r.timed && errors.Is(err, os.ErrDeadlineExceeded) && !r.ending()
}

// readHead fills p with a part of a frame's header. It may read a few bytes more than p can hold.
// These bytes stay in r.small.
func (r *reader) readHead(p []byte) error {
	for len(p) > 0 {
		if len(r.unparsed) == 0 {
			n, err := r.Read(r.small[:])
			if err != nil {
				return err
			}
			r.unparsed = r.small[:n]
		}
		p = p[r.take(p):]
	}
	return nil
}

// take copies unparsed bytes into p, and returns how many it copied.
func (r *reader) take(p []byte) (n int) {
	n = copy(p, r.unparsed)
	r.unparsed = r.unparsed[n:]
	if len(r.unparsed) == 0 {
		r.putBuffer()
	}
	return n
}

// more reports whether readSome must read another frame before readAll calls r.wait again. If r.raw
// is nil, r.wait does not wait. In that case r.more always returns true, and readFrame waits for
// bytes.
func (r *reader) more() bool { return r.raw == nil || len(r.unparsed) > 0 }

// serve reads a conn that is awake, until the conn becomes idle, or until the session has ended
// and its socket is closed. The parameter unparsed has the bytes that were already read from the
// conn.
func (v *Server) serve(c *conn, unparsed []byte) {
	r := newReader(c, unparsed)
	err := r.readAll()
	for err == errIdle {
		if c.goIdle() {
			return
		}
		err = r.readAll()
	}
	defer v.leave()
	v.end(r, err)
	if s := c.session; s.allowance != nil {
		v.rates.leave(s.info.User, s.allowance)
	}
}

// readAll reads messages until the client's close frame or an error. It returns errIdle when the
// conn may become idle.
func (r *reader) readAll() error {
	for {
		if err := r.wait(); err != nil {
			return err
		}
		if err := r.readSome(); err != nil {
			return err
		}
		if r.brief {
			r.brief = false
			return r.rest()
		}
	}
}

// rest takes the idle deadline away, and returns errIdle.
func (r *reader) rest() error {
	if r.timed {
		r.timed = false
		r.setReadDeadline(time.Time{})
	}
	return errIdle
}

// readSome reads the frames that begin in r.unparsed. It waits for the remainder of the last frame,
// and for the remainder of that frame's message. If r.raw is nil, it reads frames until an error.
func (r *reader) readSome() error {
	for r.more() {
		if err := r.readFrame(); err != nil {
			return err
		}
	}
	return nil
}

// readMessage reads one message and forwards it. The buffer grows with the bytes that arrive, not
// with the length that a header announces.
func (r *reader) readMessage(body io.Reader) error {
	buf := messageBuffers.Get().(*[]byte)
	defer messageBuffers.Put(buf)
	message, err := r.appendAll((*buf)[:0], body)
	r.complete()
	r.extras.discount()
	if cap(message) <= messageKeep {
		*buf = message[:0]
	}
	if err != nil {
		return err
	}
	if r.session.sdk != nil {
		guest := r.session.isGuest()
		err := r.forwardLines(message)
		r.brief = guest || isPong(message)
		return err
	}
	if r.message.binary {
		message = bytes.TrimRight(message, "\x00")
	}
	return r.conn.forward(message)
}

// appendAll is io.ReadAll into an existing buffer.
func (r *reader) appendAll(b []byte, body io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		r.size = cap(b)
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// forward waits for the user's allowance, and then gives a message to the upstream. If there is no
// room upstream, the session is not read for up to roomWait. If there is still no room then, the
// client's messages are answered as not delivered until there is room. A message is also answered
// as not delivered if too many sessions of its user wait for the allowance.
//
// The method forward drops the message if the session no longer accepts messages, or if the session
// ends before the message has its allowance. Only then it may return an error: see dropLate.
func (c *conn) forward(message []byte) error {
	s, v := c.session, c.server
	v.metrics.messages.Inc()
	v.metrics.messageBytes.Add(float64(len(message)))
	result := pacedOut
	if Reason(s.reason.Load()).accepts() {
		result = c.pace(s.info.Endpoint.StoredLen(message))
	}
	if !Reason(s.reason.Load()).accepts() || result == pacedOut {
		return c.dropLate(message)
	}
	if result == pacedCrowded {
		v.hub.metrics.dropped[dropCrowded].Inc()
		s.deliver(notDelivered)
		return nil
	}
	if v.up.Accept(s.info.ID, message) || !s.starved && c.awaitRoom(message, roomWait, nil) {
		s.starved = false
		return nil
	}
	s.starved = true
	v.hub.metrics.dropped[dropNoRoom].Inc()
	s.deliver(notDelivered)
	return nil
}

// dropLate drops a message, or an SDK's line, that the session no longer accepts, since its end has
// begun. It returns errFlood if the client has sent more than lingerMost bytes since the end began.
// It returns another error if the Server has ended.
func (c *conn) dropLate(message []byte) error {
	s, v := c.session, c.server
	v.hub.metrics.dropped[dropClosing].Inc()
	if s.late += int32(len(message) + frameExtra); s.late > lingerMost {
		return errFlood
	}
	return v.ctx.Err()
}

// pace waits for the user's allowance. If too many of the user's sessions wait already, pace only
// pauses for roomWait. If the session ends, pace returns at once.
func (c *conn) pace(bytes int) paced {
	if c.affords(bytes) {
		return pacedOn
	}
	return c.pause(func(ended <-chan struct{}) paced {
		v := c.server
		result := c.session.allowance.wait(v.ctx, ended, bytes)
		if result == pacedCrowded && !timing.Sleep(v.ctx, roomWait, ended) {
			return pacedOut
		}
		return result
	})
}

// affords takes a message's cost from the user's allowance. If the session has to wait for the
// allowance, affords takes nothing and returns false.
func (c *conn) affords(bytes int) bool {
	s, v := c.session, c.server
	if s.allowance == nil {
		if s.allowance = v.rates.join(s.info.User); s.allowance == nil {
			return true
		}
	}
	return s.allowance.take(bytes)
}

// pause calls the given function, and returns its result. The session is not read meanwhile, so the
// client's silence does not count. The function gets a channel that is closed when the session's
// end begins. The function must return then. If the session is ending already, pause does not call
// the function, and returns pacedOut.
func (c *conn) pause(wait func(ended <-chan struct{}) paced) paced {
	s, v := c.session, c.server
	ended := make(chan struct{})
	s.pacing.Store(&ended)
	defer func() {
		c.seen.Store(int64(v.now()))
		s.pacing.Store(nil)
	}()
	// If the session ended before s.pacing was set, its end did not close the channel.
	if _, ending := s.Reason(); ending {
		return pacedOut
	}
	return wait(ended)
}

// awaitRoom waits until the upstream accepts the message, and then returns true. It returns false
// when the given time is over, when the given channel is closed, or when the Server has ended. The
// channel may be nil.
func (c *conn) awaitRoom(message []byte, most time.Duration, ended <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(c.server.ctx, most)
	defer cancel()
	if ended != nil {
		var watch sync.WaitGroup
		defer watch.Wait()
		defer cancel()
		watch.Go(func() {
			select {
			case <-ended:
				cancel()
			case <-ctx.Done():
			}
		})
	}
	up, id := c.server.up, c.session.info.ID
	for ctx.Err() == nil && up.WaitRoom(ctx, id, len(message)) {
		if up.Accept(id, message) {
			return true
		}
	}
	return false
}

const (
	// extraPerSecond bounds the bytes that a client may send beside messages. Each frame adds its
	// bytes, frameExtra at most, to the count in extras. Each complete message lowers the count by
	// messageExtra. If the count reaches extraPerSecond within a second of the count's beginning,
	// the client is closed. Without messages the bound allows about 5,400 empty frames a second, or
	// about 2,000 frames with payloads of 10 bytes or more.
	extraPerSecond = 32 << 10
	// frameExtra is the largest number of bytes that one frame adds to the count.
	frameExtra = 16
	// messageExtra is the number of bytes by which a complete message lowers the count in extras.
	messageExtra = 3 * frameExtra
)

// errFlood ends the reading if a client has sent too much: see extras.tooMany and conn.dropLate.
var errFlood = errors.New("too many frames without a message")

// extras is the count that extraPerSecond bounds. The method tooMany reads the clock only when the
// count has reached that bound.
type extras struct {
	bytes int
	since time.Duration // Server.now when the count was begun
}

// tooMany reports whether the count has reached extraPerSecond within one second of the count's
// beginning. If the count has reached extraPerSecond, within that second or later, tooMany begins a
// new count.
func (e *extras) tooMany(now func() time.Duration) bool {
	if e.bytes < extraPerSecond {
		return false
	}
	at := now()
	within := at-e.since < time.Second
	*e = extras{since: at}
	return within
}

// discount takes messageExtra off the count, when a message is complete.
func (e *extras) discount() { e.bytes = max(e.bytes-messageExtra, 0) }

// pongsPerSecond bounds how many pings of one client are answered immediately in a second.
const pongsPerSecond = 10

// pongCount counts the pings of the present second, each of which asks for a pong.
type pongCount struct {
	second time.Duration // the beginning of the second, by Server.now
	n      int
}

// next counts a ping, and returns when its pong may be sent: now, or at the end of the present
// second.
func (p *pongCount) next(now time.Duration) time.Duration {
	if second := now.Truncate(time.Second); second != p.second {
		*p = pongCount{second: second}
	}
	p.n++
	if p.n <= pongsPerSecond {
		return now
	}
	return p.second + time.Second
}

// deferredPong is the pong for a ping beyond pongsPerSecond. It is sent at the end of the second in
// which the ping came, unless a later pong replaces it.
type deferredPong struct {
	frame []byte
	due   time.Duration // when the pong is due, by Server.now
}

// pong answers a ping with the given frame. A pong beyond pongsPerSecond waits for the end of the
// second. A newer pong replaces a pong that waits. The newer pong answers the earlier ping too (RFC
// 6455, 5.5.3).
func (r *reader) pong(frame []byte) {
	c, v := r.conn, r.server
	if c.deferred.Swap(nil) != nil {
		v.metrics.pongsWithheld.Inc()
	}
	now := v.now()
	due := r.pongs.next(now)
	if due <= now {
		c.session.deliver(frame)
		return
	}
	c.deferred.Store(&deferredPong{frame, due})
	v.clock.hasten(c.session, due)
}

// sendDeferred sends the deferred pong if it is due. Only Server.check calls it.
func (c *conn) sendDeferred(now time.Duration) {
	if p := c.deferred.Load(); p != nil && now >= p.due && c.deferred.CompareAndSwap(p, nil) {
		c.session.deliver(p.frame)
	}
}

// goIdle lets the poller watch c in place of a goroutine. If it returns true, the caller must not
// use c any more: c may already be awake again. It returns false if the poller cannot watch c, or
// if c is ending. In these two cases c needs a reader.
func (c *conn) goIdle() bool { return c.server.poller.watch(c) }

// wake starts a reader if c is idle. It does not block.
func (c *conn) wake() {
	if c.server.poller.unwatch(c) {
		go c.server.serve(c, nil)
	}
}
