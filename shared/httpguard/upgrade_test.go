package httpguard

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestA10_NoDoorUpgradesWhatIsNoUpgrade sends requests to a handler that tries to hijack each
// connection. The handler must succeed only if the request is an upgrade.
func TestA10_NoDoorUpgradesWhatIsNoUpgrade(t *testing.T) {
	hijack := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		c.Close()
	})
	head := strings.TrimSuffix(upgrade, "\r\n")
	for name, c := range map[string]struct {
		sent string
		want int
	}{
		"as it should be":  {upgrade, http.StatusSwitchingProtocols},
		"plain":            {livez, http.StatusBadRequest},
		"with a body":      {head + "Content-Length: 3\r\n\r\nabc", http.StatusBadRequest},
		"with chunks":      {head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", http.StatusBadRequest},
		"two keys":         {head + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", http.StatusBadRequest},
		"two versions":     {head + "Sec-WebSocket-Version: 13\r\n\r\n", http.StatusBadRequest},
		"a POST":           {strings.Replace(upgrade, "GET", "POST", 1), http.StatusBadRequest},
		"of HTTP/1.0":      {strings.Replace(upgrade, "HTTP/1.1", "HTTP/1.0", 1), http.StatusBadRequest},
		"another version":  {strings.Replace(upgrade, ": 13", ": 12", 1), http.StatusBadRequest},
		"a short key":      {strings.Replace(upgrade, "dGhl", "", 1), http.StatusBadRequest},
		"another protocol": {strings.Replace(upgrade, "Upgrade: websocket", "Upgrade: h2c", 1), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			onSite(t, Config{Handler: hijack}, func(s site) {
				s.wantStatus(bufio.NewReader(s.dial(c.sent)), c.want)
				refused := 1
				if c.want == http.StatusSwitchingProtocols {
					refused = 0
				}
				s.wantRefused(refusedUpgrade, refused)
			})
		})
	}
}

// TestWhatFollowsAnUpgradeIsTheHandlers sends few or many bytes together with an upgrade. None of
// these bytes may be lost or taken for a head. The handler must get the socket itself.
func TestWhatFollowsAnUpgradeIsTheHandlers(t *testing.T) {
	long := strings.Replace(upgrade, "\r\n\r\n", "\r\nCookie: "+strings.Repeat("c", 5000)+"\r\n\r\n", 1)
	for name, request := range map[string]string{"short": upgrade, "long": long} {
		for _, n := range []int{0, 1, 100, 3000, 100_000} {
			early := strings.Repeat("a\n\n\n", n)[:n]
			got := make(chan string, 1)
			hijack := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if _, guarded := c.(*visit); guarded {
					t.Error("the handler got a guarded connection")
				}
				had, _ := rw.Reader.Peek(rw.Reader.Buffered())
				text := string(had)
				rest := make([]byte, n-len(text))
				io.ReadFull(c, rest)
				got <- text + string(rest)
				rw.WriteString("well")
				rw.Flush()
			})
			onSite(t, Config{Handler: hijack}, func(s site) {
				c := s.dial("")
				go io.WriteString(c, request+early)
				if answer, err := io.ReadAll(c); err != nil || string(answer) != "well" {
					t.Errorf("%q, %v", answer, err)
				}
				if text := <-got; text != early {
					t.Errorf("%s, %d bytes: got %d", name, n, len(text))
				}
			})
		}
	}
}

var _ net.Conn = (*visit)(nil)
