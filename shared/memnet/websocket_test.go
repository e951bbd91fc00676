package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/edgerelay/edgerelay/shared/memnet"
)

// TestWebSocketInBubble runs an HTTP server and a WebSocket over this package in one synctest
// bubble. The test freezes their connection for 5 s, and then cuts it. The WebSocket must survive
// the freeze, and both ends must notice the cut.
func TestWebSocketInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen()
		served := make(chan error, 1)
		server := &http.Server{
			ReadHeaderTimeout: 10 * time.Second,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := websocket.Accept(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.CloseNow()
				c.SetReadLimit(-1)
				for {
					typ, data, err := c.Read(context.Background())
					if err != nil {
						served <- err
						return
					}
					if err := c.Write(context.Background(), typ, data); err != nil {
						served <- err
						return
					}
				}
			}),
		}
		stopped := make(chan error, 1)
		go func() { stopped <- server.Serve(l) }()

		transport := &http.Transport{DialContext: l.DialContext}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, _, err := websocket.Dial(ctx, "ws://memnet/link", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)

		echo := func(size int) error {
			want := randomBytes(size)
			if err := c.Write(ctx, websocket.MessageBinary, want); err != nil {
				return err
			}
			_, got, err := c.Read(ctx)
			if err == nil && !bytes.Equal(got, want) {
				t.Errorf("the echo of %d bytes differs", size)
			}
			return err
		}
		for _, size := range []int{0, 1, 125, 1000, 70_000} {
			if err := echo(size); err != nil {
				t.Fatal(err)
			}
		}

		conn := l.Conns()[0]
		conn.Freeze()
		time.AfterFunc(5*time.Second, conn.Thaw)
		start := time.Now()
		if err := echo(10); err != nil || time.Since(start) != 5*time.Second {
			t.Fatalf("echo over a frozen connection: %v after %v", err, time.Since(start))
		}

		conn.CutAfter(100)
		if err := echo(1000); err == nil {
			t.Fatal("the connection outlived its cut")
		}
		if err := <-served; err == nil {
			t.Fatal("the server did not notice the cut")
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-stopped; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
}

func BenchmarkConn(b *testing.B) {
	near, far := memnet.Pipe()
	buf, back := make([]byte, 1000), make([]byte, 1000)
	b.SetBytes(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := near.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := far.Read(back); err != nil {
			b.Fatal(err)
		}
	}
}
