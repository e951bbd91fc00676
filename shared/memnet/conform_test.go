package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/memnet"
)

// conform runs f with the two ends of a connection of this package, and also with the two ends of a
// TCP connection. Both runs must pass.
func conform(t *testing.T, f func(t *testing.T, a, b net.Conn)) {
	listeners := map[string]func(t *testing.T) (net.Listener, func() (net.Conn, error)){
		"memnet": func(*testing.T) (net.Listener, func() (net.Conn, error)) {
			l := memnet.Listen()
			return l, func() (net.Conn, error) { return l.Dial(context.Background()) }
		},
		"tcp": func(t *testing.T) (net.Listener, func() (net.Conn, error)) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
		},
	}
	for name, listen := range listeners {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, dial := listen(t)
			defer l.Close()
			a, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			b, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			// No test takes long. A test that hangs for 20 s panics, which shows where it hangs.
			hang := time.AfterFunc(20*time.Second, func() { panic(t.Name() + " hangs") })
			defer hang.Stop()
			f(t, a, b)
		})
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) && errors.As(err, &ne) && ne.Timeout()
}

func TestBothWaysAtOnce(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		want := randomBytes(3 << 20)
		var wg sync.WaitGroup
		for _, ends := range [][2]net.Conn{{a, b}, {b, a}} {
			wg.Go(func() {
				for remainder := want; len(remainder) > 0; {
					n := min(len(remainder), 1+len(remainder)/7)
					if _, err := ends[0].Write(remainder[:n]); err != nil {
						t.Error(err)
						return
					}
					remainder = remainder[n:]
				}
			})
			wg.Go(func() {
				got := make([]byte, len(want))
				if _, err := io.ReadFull(ends[1], got); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(got, want) {
					t.Error("read something else than was written")
				}
			})
		}
		wg.Wait()
	})
}

func TestReaderDrainsWhatAClosedPeerWrote(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		want := randomBytes(10_000)
		if _, err := a.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, error %v; want %d and none", len(got), err, len(want))
		}
		if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("a Read after the end: %d, %v", n, err)
		}
	})
}

func TestWriteToClosedPeerFails(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		b.Close()
		for { // TCP notices the Close only when the first bytes are answered
			if _, err := a.Write([]byte("x")); err != nil {
				if isTimeout(err) || errors.Is(err, net.ErrClosed) {
					t.Fatalf("error %v; want one that blames the peer", err)
				}
				return
			}
		}
	})
}

func TestCloseWakesBlocked(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		errs := make(chan error, 2)
		go func() {
			_, err := a.Read(make([]byte, 1))
			errs <- err
		}()
		go func() {
			for {
				if _, err := a.Write(make([]byte, 1<<20)); err != nil {
					errs <- err
					return
				}
			}
		}()
		// Once these bytes are read, the writer has begun.
		if _, err := io.ReadFull(b, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		a.Close()
		for range 2 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				t.Errorf("error %v; want net.ErrClosed", err)
			}
		}
		if err := a.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
		if err := a.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline after Close: %v", err)
		}
	})
}

func TestReadDeadline(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		buf := make([]byte, 10)
		a.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := a.Read(buf); !isTimeout(err) {
			t.Fatalf("at the deadline: %v", err)
		}
		if _, err := b.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(buf); !isTimeout(err) {
			t.Fatalf("after the deadline, with something to read: %v", err)
		}
		a.SetReadDeadline(time.Time{})
		if n, err := a.Read(buf); n != 1 || err != nil {
			t.Fatalf("without a deadline: %d, %v", n, err)
		}

		blocked := make(chan error)
		go func() {
			_, err := a.Read(buf)
			blocked <- err
		}()
		a.SetReadDeadline(time.Now().Add(time.Hour))
		a.SetReadDeadline(time.Unix(1, 0))
		if err := <-blocked; !isTimeout(err) {
			t.Fatalf("a deadline set meanwhile: %v", err)
		}
		if _, err := a.Write([]byte("y")); err != nil {
			t.Fatalf("a read deadline reached Write: %v", err)
		}
	})
}

func TestWriteDeadline(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		a.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		sent := 0
		for {
			n, err := a.Write(make([]byte, 1<<20))
			sent += n
			if err != nil {
				if !isTimeout(err) {
					t.Fatal(err)
				}
				break
			}
		}
		if n, err := a.Write([]byte("x")); n != 0 || !isTimeout(err) {
			t.Fatalf("after the deadline: %d, %v", n, err)
		}
		a.Close()
		if n, err := io.Copy(io.Discard, b); n != int64(sent) || err != nil {
			t.Fatalf("Write said %d bytes, the peer read %d (%v)", sent, n, err)
		}
	})
}

func TestEmptyReadAndWrite(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		if n, err := a.Read(nil); n != 0 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
		if n, err := a.Write(nil); n != 0 || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
	})
}

func TestConcurrentWritesAreNotTorn(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		const size, each, writers = 300_000, 5, 4 // a Write is larger than memnet.Buffer
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for range each {
					if _, err := a.Write(bytes.Repeat([]byte{byte(w)}, size)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		chunk := make([]byte, size)
		for range each * writers {
			if _, err := io.ReadFull(b, chunk); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(chunk, chunk[:1]); n != size {
				t.Fatalf("only %d bytes of a Write together", n)
			}
		}
		wg.Wait()
	})
}

// TestConcurrentUse calls methods at the same time and checks nothing itself. It is for the race
// detector.
func TestConcurrentUse(t *testing.T) {
	conform(t, func(t *testing.T, a, b net.Conn) {
		var wg sync.WaitGroup
		for _, c := range []net.Conn{a, b} {
			for range 3 {
				wg.Go(func() {
					buf := make([]byte, 1000)
					for range 200 {
						c.SetReadDeadline(time.Now().Add(time.Millisecond))
						c.Read(buf)
						c.LocalAddr()
					}
				})
				wg.Go(func() {
					buf := make([]byte, 1000)
					for range 200 {
						c.SetWriteDeadline(time.Now().Add(time.Millisecond))
						c.Write(buf)
						c.RemoteAddr()
					}
				})
			}
		}
		wg.Wait()
		wg.Go(func() { a.Close() })
		wg.Go(func() { b.Close() })
		wg.Wait()
	})
}
