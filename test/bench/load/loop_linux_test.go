package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// The function answering returns the address of a new server for two sessions. The first session to
// connect may send texts of up to 125 bytes. For each of these texts, the second session receives
// the texts that the given function returns.
func answering(t *testing.T, give func(text []byte) [][]byte) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		var conns []net.Conn
		for len(conns) < 2 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			c.Read(make([]byte, 1<<10))
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			conns = append(conns, c)
		}
		in := make([]byte, 64<<10)
		for {
			n, err := conns[0].Read(in)
			if err != nil {
				return
			}
			for frame := in[:n]; len(frame) > 0; {
				size := 2 + 4 + int(frame[1]&0x7f)
				for _, text := range give(frame[6:size]) {
					conns[1].Write(server(OpText, text))
				}
				frame = frame[size:]
			}
		}
	}()
	return l.Addr().String()
}

// The function opened returns a loop and a stream in that loop. The sender and the receiver of the
// stream are connected to a server that the function answering has started.
func opened(t *testing.T, window int, give func(text []byte) [][]byte) (*Loop, *Stream) {
	l, err := NewLoop(Floor{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	addr := answering(t, give)
	sockets, err := l.Open(t.Context(), 2, func(int) (string, Opening) { return addr, Opening{Path: "/"} })
	if err != nil {
		t.Fatal(err)
	}
	stream := l.Stream(sockets[0], Wrap{}, 32, window)
	sockets[1].Hear(stream)
	return l, stream
}

func send(t *testing.T, messages int, give func(text []byte) [][]byte) (Result, error) {
	l, stream := opened(t, 3, give)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return l.Run(ctx, Limits{Messages: messages, Time: time.Minute}, stream)
}

func TestRunCounts(t *testing.T) {
	r, err := send(t, 100, func(text []byte) [][]byte { return [][]byte{text} })
	if err != nil || r.Messages != 100 || r.Deliveries != 100 || len(r.Latencies) != 100 {
		t.Errorf("%d messages, %d deliveries, %d latencies, %v; want 100 each", r.Messages, r.Deliveries, len(r.Latencies), err)
	}
}

// TestRunFails checks that Run returns an error for a faulty server, and that the error is a Wrong.
func TestRunFails(t *testing.T) {
	fifth := func(text []byte) bool { return strings.Contains(string(text), "0000000005") }
	for name, give := range map[string]func(text []byte) [][]byte{
		"lost": func(text []byte) [][]byte {
			if fifth(text) {
				return nil
			}
			return [][]byte{text}
		},
		"twice": func(text []byte) [][]byte {
			if fifth(text) {
				return [][]byte{text, text}
			}
			return [][]byte{text}
		},
		"cut": func(text []byte) [][]byte {
			if fifth(text) {
				return [][]byte{text[:len(text)-2]}
			}
			return [][]byte{text}
		},
		"somebody else's": func(text []byte) [][]byte {
			return [][]byte{[]byte(strings.Replace(string(text), "@@000000", "@@000001", 1))}
		},
	} {
		var w *Wrong
		if _, err := send(t, 20, give); !errors.As(err, &w) {
			t.Errorf("%s: %v; want that it is wrong", name, err)
		}
	}
}

func TestOpenSaysHowItWasAnswered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Read(make([]byte, 1<<10))
			fmt.Fprint(c, "HTTP/1.1 503 Service Unavailable\r\n\r\n")
			c.Close()
		}
	}()
	loop, err := NewLoop(Chat{})
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	_, err = loop.Open(t.Context(), 1, func(int) (string, Opening) { return l.Addr().String(), Chat{}.Session("1") })
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v; want the 503", err)
	}
}

func TestRoomNamesTheLimit(t *testing.T) {
	if err := Room(1 << 40); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("got %v; want what to do", err)
	}
}
