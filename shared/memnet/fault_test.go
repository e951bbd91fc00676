package memnet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/memnet"
)

// outcome is the result of a Read or Write.
type outcome struct {
	n   int
	err error
}

func goRead(c *memnet.Conn, size int) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		n, err := c.Read(make([]byte, size))
		done <- outcome{n, err}
	}()
	return done
}

func goWrite(c *memnet.Conn, size int) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		n, err := c.Write(make([]byte, size))
		done <- outcome{n, err}
	}()
	return done
}

func mustBlock(t *testing.T, what string, done <-chan outcome) {
	t.Helper()
	synctest.Wait()
	select {
	case o := <-done:
		t.Fatalf("%s returned %d, %v; want it to block", what, o.n, o.err)
	default:
	}
}

func mustReturn(t *testing.T, what string, done <-chan outcome, n int, err error) {
	t.Helper()
	synctest.Wait()
	select {
	case o := <-done:
		if o.n != n || !errors.Is(o.err, err) {
			t.Fatalf("%s returned %d, %v; want %d, %v", what, o.n, o.err, n, err)
		}
	default:
		t.Fatalf("%s blocks; want %d, %v", what, n, err)
	}
}

func TestWriteBlocksWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		mustReturn(t, "Write", goWrite(a, memnet.Buffer), memnet.Buffer, nil)
		w := goWrite(a, 10)
		mustBlock(t, "Write into a full buffer", w)
		mustReturn(t, "Read", goRead(b, 9), 9, nil)
		mustBlock(t, "Write with room for 9 of 10", w)
		mustReturn(t, "Read", goRead(b, 1), 1, nil)
		mustReturn(t, "Write", w, 10, nil)
		w = goWrite(a, 10)
		b.Close()
		mustReturn(t, "Write when the peer closes", w, 0, syscall.EPIPE)
	})
}

func TestDeadlineWakesBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := memnet.Pipe()
		r, w := goRead(a, 10), goWrite(a, memnet.Buffer+1)
		mustBlock(t, "Read", r)
		mustBlock(t, "Write", w)
		a.SetDeadline(time.Now().Add(time.Second))
		mustBlock(t, "Read", r)
		mustBlock(t, "Write", w)
		a.SetDeadline(time.Now())
		mustReturn(t, "Read", r, 0, os.ErrDeadlineExceeded)
		mustReturn(t, "Write", w, memnet.Buffer, os.ErrDeadlineExceeded)
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		mustReturn(t, "Write", goWrite(a, memnet.Buffer), memnet.Buffer, nil)
		w, r := goWrite(a, 10), goRead(a, 10)
		mustBlock(t, "Write", w)
		mustBlock(t, "Read", r)
		a.Cut()
		mustReturn(t, "blocked Write", w, 0, syscall.ECONNRESET)
		mustReturn(t, "blocked Read", r, 0, syscall.ECONNRESET)
		mustReturn(t, "the peer's Read of what was in flight", goRead(b, 10), 0, syscall.ECONNRESET)
		mustReturn(t, "the peer's Write", goWrite(b, 10), 0, syscall.ECONNRESET)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); !errors.Is(err, net.ErrClosed) {
			t.Error("second Close succeeded")
		}
	})
}

func TestCutAfter(t *testing.T) {
	for _, n := range []int{0, 1, 99, 100, 101, 250} {
		for _, piece := range []int{1, 7, 1000} {
			synctest.Test(t, func(t *testing.T) {
				a, b := memnet.Pipe()
				mustReturn(t, "Write", goWrite(a, 100), 100, nil) // buffered bytes count too
				a.CutAfter(n)
				w := goWrite(a, 200)
				synctest.Wait()
				got := 0
				for {
					m, err := b.Read(make([]byte, piece))
					got += m
					if err != nil {
						if !errors.Is(err, syscall.ECONNRESET) {
							t.Fatal(err)
						}
						break
					}
				}
				if got != n {
					t.Fatalf("read %d bytes; want %d", got, n)
				}
				if n > 0 {
					mustReturn(t, "Write", w, 200, nil)
				}
				mustReturn(t, "Write after the cut", goWrite(a, 1), 0, syscall.ECONNRESET)
				mustReturn(t, "Read after the cut", goRead(a, 1), 0, syscall.ECONNRESET)
			})
		}
	}
}

func TestCutAfterTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		a.CutAfter(5)
		a.CutAfter(-1)
		mustReturn(t, "Write", goWrite(a, 10), 10, nil)
		mustReturn(t, "Read", goRead(b, 10), 10, nil)
		mustReturn(t, "Write", goWrite(a, 10), 10, nil)
	})
}

func TestFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		mustReturn(t, "Write", goWrite(a, 10), 10, nil)
		b.Freeze()
		r := goRead(b, 100)
		mustBlock(t, "Read of a frozen connection", r)
		mustReturn(t, "Write into the buffer", goWrite(a, memnet.Buffer-10), memnet.Buffer-10, nil)
		w := goWrite(a, 10)
		mustBlock(t, "Write into a full frozen connection", w)

		b.SetReadDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Second)
		mustReturn(t, "Read at its deadline", r, 0, os.ErrDeadlineExceeded)
		b.SetReadDeadline(time.Time{})

		a.Thaw()
		mustReturn(t, "Read after Thaw", goRead(b, 100), 100, nil)
		mustReturn(t, "Write after Thaw", w, 10, nil)
	})
}

func TestFreezeHidesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		mustReturn(t, "Write", goWrite(a, memnet.Buffer), memnet.Buffer, nil)
		a.Freeze()
		r, w := goRead(b, 10), goWrite(b, memnet.Buffer+1)
		mustBlock(t, "Read before the Close", r)
		mustBlock(t, "Write before the Close", w)
		a.Close()
		mustBlock(t, "Read", r)
		mustBlock(t, "Write", w)
		a.Thaw()
		mustReturn(t, "Read", r, 10, nil)
		mustReturn(t, "Write", w, memnet.Buffer, syscall.EPIPE)
		if n, err := io.Copy(io.Discard, b); n != memnet.Buffer-10 || err != nil {
			t.Fatalf("drained %d, %v", n, err)
		}
	})
}

func TestFreezeThenCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		a.Freeze()
		r := goRead(b, 1)
		mustBlock(t, "Read", r)
		b.Cut()
		mustReturn(t, "Read", r, 0, syscall.ECONNRESET)
	})
}

func TestRate(t *testing.T) {
	for name, limit := range map[string]func(a, b *memnet.Conn){
		"SetRate":     func(a, _ *memnet.Conn) { a.SetRate(1000) },
		"SetReadRate": func(_, b *memnet.Conn) { b.SetReadRate(1000) },
	} {
		t.Run(name, func(t *testing.T) { testRate(t, limit) })
	}
}

func testRate(t *testing.T, limit func(a, b *memnet.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		limit(a, b)
		want := bytes.Repeat([]byte("0123456789"), 300)
		go func() {
			a.Write(want)
			a.Close()
		}()
		start := time.Now()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
		if took := time.Since(start).Round(100 * time.Millisecond); took != 3*time.Second {
			t.Errorf("3000 bytes took %v at 1000 a second", took)
		}
		start = time.Now()
		go b.Close()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Error("Read after Close succeeded")
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the other way took %v", took)
		}
	})
}
