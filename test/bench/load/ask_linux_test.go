package load

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// The function answers returns the address of a new server for one session. The session may send
// texts of up to 125 bytes. The server replies to each text with the result of the given function.
func answers(t *testing.T, answer func(text string) string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		for {
			var head [6]byte
			for i := range head {
				if head[i], err = in.ReadByte(); err != nil {
					return
				}
			}
			text := make([]byte, head[1]&0x7f)
			for i := range text {
				text[i], _ = in.ReadByte()
			}
			c.Write(server(OpText, []byte(answer(string(text)))))
		}
	}()
	return l.Addr().String()
}

func TestAsk(t *testing.T) {
	for answer, wrong := range map[string]string{"done with %s": "", "error: %s": "error: b"} {
		l, err := NewLoop(Chat{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr := answers(t, func(text string) string {
			if text == "a" {
				return "done with a"
			}
			return fmt.Sprintf(answer, text)
		})
		sockets, err := l.Open(t.Context(), 1, func(int) (string, Opening) { return addr, Opening{Path: "/"} })
		if err != nil {
			t.Fatal(err)
		}
		err = l.Ask(t.Context(), 1, &Ask{Of: sockets[0], Commands: []string{"a", "b", "c"}, Answer: "done with"})
		if wrong == "" && err != nil || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%q: got %v, want %q", answer, err, wrong)
		}
	}
}
