package gateway

import (
	"net/http"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestAPingWakesNobody checks that a ping does not wake an idle session. Only the client's pong
// wakes the session.
func TestAPingWakesNobody(t *testing.T) {
	g := startSDK(t, nil, nil)
	c := g.sdk("1")
	s := g.only()
	eventually(t, "the session rests", func() bool { return isIdle(s) })
	g.server.checkSDK(s.conn.Load(), time.Duration(s.sdk.ping.Load()))
	c.wantFrame(textByte, "{}")
	if !isIdle(s) {
		t.Error("the ping wakes a reader")
	}
	c.send(textOf("{}"))
	eventually(t, "the pong is taken", func() bool { return s.sdk.owed.Load() == 0 })
	eventually(t, "the session rests again", func() bool { return isIdle(s) })
}

// TestNobodyWaitsBehindAConnectOrAPong checks that a session becomes idle at once after a connect
// and after a pong. The test sets the last sign of life an hour into the future. So the session
// cannot become idle because of a silence of idleAfter.
func TestNobodyWaitsBehindAConnectOrAPong(t *testing.T) {
	g := startSDK(t, nil, nil)
	c := g.sdk("1")
	s := g.only()
	conn := s.conn.Load()
	putOff := func() { conn.seen.Store(int64(conn.server.now() + time.Hour)) }
	putOff()
	eventually(t, "the session rests behind its connect", func() bool { return isIdle(s) })
	g.server.checkSDK(conn, time.Duration(s.sdk.ping.Load()))
	c.wantFrame(textByte, "{}")
	c.send(textOf("{}"))
	eventually(t, "the pong is taken", func() bool { return s.sdk.owed.Load() == 0 })
	putOff()
	eventually(t, "the session rests behind its pong", func() bool { return isIdle(s) })
	c.send(textOf("a line"))
	eventually(t, "the line wakes the session", func() bool { return !isIdle(s) })
}

// TestAGuestRests checks that a silent guest becomes idle, so that it has no goroutine.
func TestAGuestRests(t *testing.T) {
	g := startSDK(t, nil, nil)
	c := g.rawRequest(protocol.SDKPath, "")
	if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(err)
	}
	eventually(t, "the guest", func() bool { return len(g.hub.living()) == 1 })
	s := g.only()
	eventually(t, "its conn", func() bool { return s.conn.Load() != nil })
	eventually(t, "the guest rests", func() bool { return isIdle(s) })
}
