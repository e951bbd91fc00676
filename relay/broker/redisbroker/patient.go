package redisbroker

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// patient is a connection whose deadlines are of silence: what passes puts them off to as long after it as they were when they were set. So a
// slow way takes its time, and nothing is given up while it comes; whether Redis is there, the probe asks on a connection without patience.
type patient struct {
	net.Conn
	endless time.Duration        // the patience without a deadline, 0: without end
	grace   func() time.Duration // how much longer silence of the other side may be than its deadline says, asked when it was so long; nil: no longer

	reading, writing atomic.Int64 // of time.Duration; 0: no deadline, or one that has passed
}

// writeAtOnce is the part of a write that its deadline is for.
const writeAtOnce = 32 << 10

// patiently wraps c. go-redis can look whether what it gets is still open, if it could with c.
func patiently(c net.Conn, endless time.Duration, grace func() time.Duration) net.Conn {
	p := &patient{Conn: c, endless: endless, grace: grace}
	if raw, ok := c.(syscall.Conn); ok {
		return struct {
			*patient
			syscall.Conn
		}{p, raw}
	}
	return p
}

func (c *patient) Read(b []byte) (int, error) {
	began := time.Now()
	for {
		n, err := c.Conn.Read(b)
		d := time.Duration(c.reading.Load())
		switch {
		case d == 0:
			return n, err
		case n > 0:
			_ = c.Conn.SetReadDeadline(time.Now().Add(d)) // the next Read says so
			return n, err
		case c.grace == nil || !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		}
		left := time.Until(began.Add(d + c.grace()))
		if left <= 0 {
			return n, err
		}
		_ = c.Conn.SetReadDeadline(time.Now().Add(min(d, left))) // the next Read says so
	}
}

func (c *patient) Write(b []byte) (written int, err error) {
	for {
		n, err := c.Conn.Write(b[:min(len(b), writeAtOnce)])
		written += n
		if b = b[n:]; err != nil || len(b) == 0 {
			return written, err
		}
		if d := c.writing.Load(); d > 0 {
			_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Duration(d))) // the next Write says so
		}
	}
}

func (c *patient) SetReadDeadline(t time.Time) error {
	if t.IsZero() && c.endless > 0 {
		t = time.Now().Add(c.endless)
	}
	c.reading.Store(patience(t))
	return c.Conn.SetReadDeadline(t)
}

func (c *patient) SetWriteDeadline(t time.Time) error {
	c.writing.Store(patience(t))
	return c.Conn.SetWriteDeadline(t)
}

func (c *patient) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

// patience is how long it is until t.
func patience(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return int64(max(time.Until(t), 0))
}
