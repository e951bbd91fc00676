package gateway

import (
	"net"
	"testing"
	"time"
)

// deadlines is a socket for tests. It records the last deadline that was set. When a read deadline
// is set for the second time, the socket first calls a function of the test.
type deadlines struct {
	net.Conn
	set       int
	last      time.Time
	meanwhile func()
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	if d.set++; d.set == 2 {
		d.meanwhile()
	}
	d.last = at
	return nil
}

func (d *deadlines) SetDeadline(at time.Time) error {
	d.last = at
	return nil
}

// TestTheLastEndHolds checks a reader that clears its own deadline. The deadline of the session's
// end must stay in force, even if endNow moves that deadline while the reader clears its own.
func TestTheLastEndHolds(t *testing.T) {
	g := start(t, nil, nil)
	d := &deadlines{}
	c := &conn{Conn: d, server: g.server}
	g.server.poller.adopt(c)
	c.endBy(time.Now().Add(closeWait))
	d.meanwhile = c.endNow
	c.setReadDeadline(time.Time{})
	if time.Until(d.last) > 0 {
		t.Errorf("reading fails in %v, not now", time.Until(d.last))
	}
}
