package gateway

import (
	"net"
	"testing"
	"time"
)

// TestAMessageThatIsCutOffIsNotAccepted: neither a connection that ends between two fragments nor one that ends in the middle of one makes a message of what has come.
func TestAMessageThatIsCutOffIsNotAccepted(t *testing.T) {
	for name, sent := range map[string]string{
		"between fragments":        masked(0x01, "beginning"),
		"behind a header":          masked(0x81, "beginning")[:6],
		"in the middle":            masked(0x81, "beginning")[:10],
		"behind a second header":   masked(0x01, "begin") + masked(0x80, "ning")[:6],
		"behind control frames":    masked(0x01, "begin") + masked(0x89, "x"),
		"in the middle of a ping":  masked(0x01, "begin") + masked(0x89, "xyz")[:8],
		"in the middle of a close": masked(0x01, "begin") + masked(0x88, "\x03\xe8")[:6],
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, nil, nil)
			c := g.raw("/chat/user/1", "")
			c.send(sent)
			time.Sleep(20 * time.Millisecond)
			c.Conn.(*net.TCPConn).CloseWrite()
			eventually(t, "the end", func() bool { return g.server.Active() == 0 })
			if got := g.up.messages(); len(got) != 0 {
				t.Errorf("accepted %q", got)
			}
		})
	}
}

// TestWhoIsCutOffCostsNobodyElse: the parser of a connection that ended in the middle of a message serves nobody else.
func TestWhoIsCutOffCostsNobodyElse(t *testing.T) {
	g := start(t, nil, nil)
	for _, sent := range []string{masked(0x01, "beginning"), masked(0x81, "beginning")[:6], masked(0x81, "beginning")[:8]} {
		for range 20 {
			c := g.raw("/chat/user/1", "")
			c.send(sent)
			time.Sleep(time.Millisecond)
			c.Conn.(*net.TCPConn).CloseWrite()
			eventually(t, "the end", func() bool { return g.server.Active() == 0 })
			other := g.raw("/chat/user/2", masked(0x89, "ping"))
			other.wantFrame(pongByte, "ping")
			other.send(masked(0x81, "message") + masked(0x89, "2"))
			other.wantFrame(pongByte, "2")
			other.Close()
			eventually(t, "the end", func() bool { return g.server.Active() == 0 })
		}
	}
	for _, m := range g.up.messages() {
		if m != "message" {
			t.Errorf("accepted %q", m)
		}
	}
}
