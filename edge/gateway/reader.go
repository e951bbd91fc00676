package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"

	"github.com/coder/websocket"
)

const (
	readAhead  = 16  // bytes of the buffer under ws; the reader reads ahead itself, into a pooled buffer that it does not hold while it waits
	controlMax = 128 // bytes of the buffer that ws writes into: every control frame is one Write
)

// errBetween is what a read returns instead of waiting between two frames, so that the reader can wait with a small stack.
var errBetween = errors.New("between frames")

// reader reads the messages of one conn at a time: ws parses what it reads. Between two messages ws has no state of its own, and all of a Server's are alike, so a
// reader that has read what there was serves another conn. That saves the 1.8 KB that ws takes for every conn but those whose messages are just coming in, and its 30
// allocations for each conn that begins to speak.
//
// ws reads from the reader and writes control frames to it; it never writes data. A reader is used by one goroutine at a time.
type reader struct {
	net.Conn // nil: only there so that ws takes the reader for one
	ws       *websocket.Conn
	buffered *bufio.Reader // between ws and this

	*waiter      // of the conn it serves
	inside  bool // a message was begun and is not complete
	between bool // the next Read is the first of a frame
}

// newReader makes a reader for conns of v.
func (v *Server) newReader() *reader {
	r := new(reader)
	ws, err := websocket.Accept(taken{r}, request, &websocket.AcceptOptions{
		InsecureSkipVerify: true,
		OnPingReceived:     r.onPing,
		OnPongReceived:     r.onPong,
	})
	if err != nil {
		panic("a request without fault was refused: " + err.Error())
	}
	runtime.SetFinalizer(ws, nil) // it would close ws; there is nothing to close, and what a finalizer's object and its own refer to in a circle is never collected
	ws.SetReadLimit(int64(v.cfg.MaxMessage))
	r.ws = ws
	return r
}

// request is a handshake that ws accepts: its clients have had theirs.
var request = &http.Request{
	Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1,
	Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	},
}

// taken is the ResponseWriter of that handshake: nobody is answered.
type taken struct{ r *reader }

func (t taken) Header() http.Header         { return http.Header{} }
func (t taken) Write(p []byte) (int, error) { return len(p), nil }
func (t taken) WriteHeader(int)             {}
func (t taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	t.r.buffered = bufio.NewReaderSize(t.r, readAhead)
	return t.r, bufio.NewReadWriter(t.r.buffered, bufio.NewWriterSize(t.r, controlMax)), nil
}

// begin takes on what a waiter has read and what follows it, until the end of the last message that was begun.
func (r *reader) begin(w *waiter) { r.waiter = w }

// end lets go of it. ws must be between two messages.
func (r *reader) end() { *r = reader{ws: r.ws, buffered: r.buffered} }

// more reports whether there is something to read without waiting. Where nobody can wait between frames there always is.
func (r *reader) more() bool { return r.raw == nil || len(r.ahead) > 0 || r.buffered.Buffered() > 0 }

// Read is for ws. What it reads in small pieces is frame headers and control frames; payload that is longer it reads past its buffer.
func (r *reader) Read(p []byte) (n int, err error) {
	if len(p) > readAhead {
		return r.read(p)
	}
	if r.extras.tooMany(r.conn.server.now) {
		return 0, errFlood
	}
	n, err = r.read(p)
	r.extras.bytes += n
	return n, err
}

func (r *reader) read(p []byte) (n int, err error) {
	if r.between && len(r.ahead) == 0 {
		r.between = false
		return 0, errBetween
	}
	if r.inside && len(r.ahead) == 0 && r.conn.begun.Load() == 0 {
		r.conn.server.awaitRest(r.conn)
	}
	return r.waiter.Read(p)
}

// Write is for ws, which writes whole control frames. Pongs are queued; close frames are not ws' business.
func (r *reader) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == pongByte {
		r.conn.session.deliver(bytes.Clone(p))
	}
	return len(p), nil
}

// Close is for ws; the reader's goroutine closes the socket when the last frame was written.
func (r *reader) Close() error { return nil }

// onPing decides whether ws answers a ping.
func (r *reader) onPing(context.Context, []byte) bool {
	r.markBetween()
	if r.pongs.allow(r.conn.server.now()) {
		return true
	}
	r.conn.server.metrics.pongsWithheld.Inc()
	return false
}

func (r *reader) onPong(context.Context, []byte) { r.markBetween() }

// markBetween is called at the end of a control frame. When nothing was read beyond it and no message was begun, the next byte begins a frame.
func (r *reader) markBetween() {
	r.between = !r.inside && !r.more()
}
