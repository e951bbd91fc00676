package redisbroker

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// patient is a connection whose deadlines bound silence. A read that brings bytes sets the read
// deadline anew. A read that begins after the deadline does the same, since bytes may have come
// while nobody read. A long write is made in pieces, and each piece sets the write deadline anew.
// So a reply may take long on a slow way, if bytes keep coming. The prober must soon find out that
// Redis is away, so its connection is not patient.
type patient struct {
	net.Conn
	endless time.Duration // longest silence of reads that have no deadline; 0: unbounded
	// grace returns how long the other side may stay silent after the read deadline. It is called
	// each time that the deadline has passed. A nil grace adds nothing.
	grace func() time.Duration

	opened time.Time
	// The field named heard is the time when bytes were last read with a deadline. It is a
	// time.Duration since patient.opened.
	heard atomic.Int64

	// The field reading belongs to the read deadline, and the field writing to the write deadline.
	// Each has the time that was left until its deadline when that deadline was set. It is 0 if
	// there is no deadline, or if the deadline was set to a time in the past.
	reading, writing atomic.Int64
	// The field named until is the read deadline, as a time.Duration since patient.opened. It
	// counts only if the field reading is not 0.
	until atomic.Int64
}

// writeAtOnce bounds the bytes that are written under one deadline. A longer write is made in
// pieces.
const writeAtOnce = 32 << 10

// patientConn is the type of connection that the function patiently returns.
type patientConn interface {
	net.Conn
	quietFor() time.Duration
}

// The function named patiently wraps c. If c is a syscall.Conn, the result is one, too, so that
// go-redis can check whether the connection is still open.
func patiently(c net.Conn, endless time.Duration, grace func() time.Duration) patientConn {
	p := &patient{Conn: c, endless: endless, grace: grace, opened: time.Now()}
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
	if d := time.Duration(c.reading.Load()); d > 0 && began.Sub(c.opened) >= time.Duration(c.until.Load()) {
		c.renew(began.Add(d))
	}
	for {
		n, err := c.Conn.Read(b)
		d := time.Duration(c.reading.Load())
		switch {
		case d == 0:
			return n, err
		case n > 0:
			now := time.Now()
			c.heard.Store(int64(now.Sub(c.opened)))
			c.renew(now.Add(d))
			return n, err
		case c.grace == nil || !errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		}
		left := time.Until(began.Add(d + c.grace()))
		if left <= 0 {
			return n, err
		}
		c.renew(time.Now().Add(min(d, left)))
	}
}

// renew sets the read deadline to t. It does not change the field reading.
func (c *patient) renew(t time.Time) {
	c.until.Store(int64(t.Sub(c.opened)))
	_ = c.Conn.SetReadDeadline(t) // an error shows at the next Read
}

// quietFor returns the time since bytes were last read with a deadline, or since the connection was
// opened.
func (c *patient) quietFor() time.Duration {
	return time.Since(c.opened) - time.Duration(c.heard.Load())
}

func (c *patient) Write(b []byte) (written int, err error) {
	for {
		n, err := c.Conn.Write(b[:min(len(b), writeAtOnce)])
		written += n
		if b = b[n:]; err != nil || len(b) == 0 {
			return written, err
		}
		if d := c.writing.Load(); d > 0 {
			_ = c.Conn.SetWriteDeadline(time.Now().Add(time.Duration(d))) // an error shows in Write
		}
	}
}

func (c *patient) SetReadDeadline(t time.Time) error {
	if t.IsZero() && c.endless > 0 {
		t = time.Now().Add(c.endless)
	}
	c.until.Store(int64(t.Sub(c.opened)))
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

// patience returns the time.Duration until t. It is 0 if t is zero or has passed.
func patience(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return int64(max(time.Until(t), 0))
}
