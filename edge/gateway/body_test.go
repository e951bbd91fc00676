package gateway

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestAnUpgradeWithABodyIsRefused: what belongs to the request is no frame.
func TestAnUpgradeWithABodyIsRefused(t *testing.T) {
	head := strings.TrimSuffix(strings.Replace(rawHandshake, "%s", "/chat/user/1", 1), "\r\n")
	ping := masked(0x89, "x")
	for _, body := range []string{"Content-Length: 7\r\n\r\n" + ping, "Transfer-Encoding: chunked\r\n\r\n7\r\n" + ping + "\r\n0\r\n\r\n"} {
		g := start(t, nil, nil)
		conn, err := net.Dial("tcp", g.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c := &rawClient{t, conn, bufio.NewReader(conn)}
		c.send(head + body)
		res, err := http.ReadResponse(c.r, nil)
		if err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %v, %+v", body, err, res)
		}
		if got := g.metric("refused_total", "bad_request"); got != 1 {
			t.Errorf("counted %v, want 1", got)
		}
	}
}
