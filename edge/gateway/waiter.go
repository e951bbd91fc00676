package gateway

import (
	"errors"
	"io"
	"os"
	"time"
)

// waiter reads from the socket of a conn that is awake, for the goroutine that does so, and keeps what is of that time alone. While it waits between two messages it
// holds no buffer and no reader.
type waiter struct {
	*conn
	look   func(fd uintptr) bool // fill
	ahead  []byte                // read from the socket and not yet by a reader
	buf    *[]byte               // pooled, under ahead; nil when ahead is empty or was read by the HTTP server
	err    error                 // that ended reading from the socket
	timed  bool                  // the socket has a deadline after which it comes to rest
	pongs  pongCount
	extras extras
}

// newWaiter begins with what was read of c before, if anything.
func newWaiter(c *conn, early []byte) *waiter {
	w := &waiter{conn: c, ahead: early, extras: extras{since: c.server.now()}}
	w.look = w.fill
	return w
}

// Read implements io.Reader.
func (w *waiter) Read(p []byte) (n int, err error) {
	if len(w.ahead) > 0 {
		n = copy(p, w.ahead)
		w.ahead = w.ahead[n:]
		if len(w.ahead) == 0 {
			w.putBuffer()
		}
		return n, nil
	}
	n, err = w.Conn.Read(p)
	for n == 0 && w.timedOut(err) { // in the middle of a frame: there is no rest
		w.timed = false
		w.setReadDeadline(time.Time{})
		n, err = w.Conn.Read(p)
	}
	if n > 0 {
		w.stamp()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // ws takes the other for the end of the message
	}
	if err != nil {
		w.err = err
	}
	return n, err
}

// timedOut reports whether err is of the deadline after which the conn comes to rest, and not of its end.
func (w *waiter) timedOut(err error) bool {
	return w.timed && errors.Is(err, os.ErrDeadlineExceeded) && !w.ending()
}
