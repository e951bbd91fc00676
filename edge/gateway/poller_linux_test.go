package gateway

import (
	"fmt"
	"testing"
	"time"
)

// isIdle reports whether a session's conn is idle.
func isIdle(s *Session) bool {
	c := s.conn.Load()
	if c == nil {
		return false
	}
	p := c.server.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.watched.idle
}

// TestIdle checks that a silent conn becomes idle. When the client speaks, the conn must be read
// again, even after a long silence, and even if a message comes in pieces. After that the conn must
// become idle again.
func TestIdle(t *testing.T) {
	t.Parallel()
	up := &fakeUpstream{}
	g := start(t, up, nil)
	c := g.raw("/chat/channel/7", "")
	s := g.hub.living()[0]
	for i := range 3 {
		eventually(t, "the conn is idle", func() bool { return isIdle(s) })
		// In the second round the conn seems to have been silent for 10*idleAfter. When it wakes,
		// that silence must not make it idle again at once.
		if i == 1 {
			conn := s.conn.Load()
			conn.seen.Store(int64(conn.server.now() - 10*idleAfter))
		}
		frame := masked(0x81, fmt.Sprint("message ", i))
		c.send(frame[:3])
		eventually(t, "half a message wakes it", func() bool { return !isIdle(s) })
		c.send(frame[3:] + masked(0x8a, "pong"))
		eventually(t, "the message is read", func() bool { return len(up.messages()) == i+1 })
	}
	eventually(t, "the conn is idle", func() bool { return isIdle(s) })
	c.send(masked(0x89, "ping"))
	if first, payload, err := c.frame(); first != pongByte || payload != "ping" || err != nil {
		t.Errorf("%x %q %v, want a pong", first, payload, err)
	}
}

// TestAnIdleConnEnds checks that an idle conn ends for the same reasons as any other conn: the
// client closes, is lost, is kicked or does not read, or the server ends.
func TestAnIdleConnEnds(t *testing.T) {
	for name, end := range map[string]struct {
		reason Reason
		do     func(*gateway, *rawClient, *Session)
	}{
		"closed by the client": {ReasonClient, func(_ *gateway, c *rawClient, _ *Session) { c.send(masked(0x88, "\x03\xe8")) }},
		"lost":                 {ReasonGone, func(_ *gateway, c *rawClient, _ *Session) { c.Close() }},
		"kicked":               {ReasonKicked, func(_ *gateway, _ *rawClient, s *Session) { s.close(ReasonKicked, time.Millisecond) }},
		"slow": {ReasonSlow, func(_ *gateway, _ *rawClient, s *Session) {
			for s.deliver(textFrame(make([]byte, 64<<10))) == pushOK {
			}
		}},
		"the server's end": {ReasonDraining, func(g *gateway, _ *rawClient, _ *Session) { g.server.Close() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, &fakeUpstream{}, nil)
			c := g.raw("/chat/channel/7", "")
			s := g.hub.living()[0]
			eventually(t, "the conn is idle", func() bool { return isIdle(s) })
			end.do(g, c, s)
			g.endsWith(end.reason)
		})
	}
}

// TestIdleAndEndAtOnce checks that the end of a session is not missed if the conn becomes idle at
// the same moment.
func TestIdleAndEndAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, &fakeUpstream{}, nil)
	for range 200 {
		g.raw("/chat/channel/7", masked(0x81, "early"))
		for _, s := range g.hub.living() {
			s.close(ReasonKicked, time.Millisecond)
		}
	}
	eventually(t, "all have ended", func() bool { return len(g.hub.living()) == 0 })
}
