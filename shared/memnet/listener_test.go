package memnet_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/memnet"
)

func mustDial(t *testing.T, l *memnet.Listener) *memnet.Conn {
	t.Helper()
	c, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.(*memnet.Conn)
}

func mustAccept(t *testing.T, l *memnet.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddresses(t *testing.T) {
	l := memnet.Listen()
	for _, want := range []string{"memnet:1", "memnet:2"} {
		a := mustDial(t, l)
		b := mustAccept(t, l)
		for _, got := range []net.Addr{a.LocalAddr(), b.RemoteAddr()} {
			if got.String() != want || got.Network() != "memnet" {
				t.Errorf("dialled end is %s %s; want memnet %s", got.Network(), got, want)
			}
		}
		if a.RemoteAddr() != l.Addr() || b.LocalAddr() != l.Addr() {
			t.Errorf("accepted end is %s and %s; want %s", a.RemoteAddr(), b.LocalAddr(), l.Addr())
		}
	}
	if host, port, err := net.SplitHostPort(l.Addr().String()); host != "memnet" || port != "0" || err != nil {
		t.Errorf("the listener is at %q %q %v", host, port, err)
	}
}

func TestClosedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen()
		open := mustDial(t, l)
		mustAccept(t, l)
		waiting := mustDial(t, l)
		l2 := memnet.Listen()
		accepted := make(chan error)
		go func() {
			_, err := l2.Accept()
			accepted <- err
		}()
		synctest.Wait()

		if err := errors.Join(l.Close(), l2.Close()); err != nil {
			t.Fatal(err)
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("blocked Accept: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		if _, err := l.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial: %v", err)
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Read of a connection nobody accepted: %v", err)
		}
		if _, err := open.Write([]byte("x")); err != nil {
			t.Errorf("an accepted connection broke: %v", err)
		}
	})
}

func TestDialWaitsForBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen()
		n := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := l.Dial(ctx)
			cancel()
			if err != nil {
				var ne net.Error
				if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
					t.Errorf("Dial: %v; want a timeout", err)
				}
				break
			}
			if n++; n > 1000 {
				t.Fatal("the backlog has no bound")
			}
		}
		if got := len(l.Conns()); got != n {
			t.Errorf("%d connections; want %d", got, n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Dial(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial: %v", err)
		}
		mustAccept(t, l)
		mustDial(t, l)
	})
}

func TestConnsAndCutAll(t *testing.T) {
	l := memnet.Listen()
	a1, b1 := mustDial(t, l), mustAccept(t, l)
	a2, b2 := mustDial(t, l), mustAccept(t, l)
	count := func(want int) {
		t.Helper()
		if got := len(l.Conns()); got != want {
			t.Fatalf("%d connections; want %d", got, want)
		}
	}
	count(2)
	a1.Close()
	count(2)
	b1.Close()
	count(1)
	l.CutAll()
	count(0)
	for _, c := range []net.Conn{a2, b2} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Read after CutAll: %v", err)
		}
	}
	mustDial(t, l)
	count(1)
}
