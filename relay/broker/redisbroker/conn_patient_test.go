package redisbroker

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestPatientRead reads while ten bytes come, one byte a second, and then no more bytes. In some
// cases the read deadline is 2 s. In the other cases there is none. The ten bytes must be read, and
// the next read must end as the case says.
func TestPatientRead(t *testing.T) {
	for _, c := range []struct {
		name           string
		endless, grace time.Duration
		withdrawn      time.Duration // silence after which there is no grace any more
		deadline       bool
		want           time.Duration // silence that ends the read; 0: no silence ends it
	}{
		{"a deadline", 0, 0, 0, true, 2 * time.Second},
		{"with grace", 0, 5 * time.Second, time.Hour, true, 7 * time.Second},
		{"with grace for a while", 0, time.Minute, 3 * time.Second, true, 4 * time.Second},
		{"none", 0, 0, 0, false, 0},
		{"none, and not endless", 3 * time.Second, 0, 0, false, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				defer far.Close()
				var last time.Time
				p := patiently(near, c.endless, func() time.Duration {
					if time.Since(last) > c.withdrawn {
						return 0
					}
					return c.grace
				})
				deadline := time.Time{}
				if c.deadline {
					deadline = time.Now().Add(2 * time.Second)
				}
				if err := p.SetReadDeadline(deadline); err != nil {
					t.Fatal(err)
				}
				go func() {
					for range 10 {
						time.Sleep(time.Second)
						far.Write([]byte("x"))
					}
					if c.want == 0 {
						time.Sleep(time.Hour)
						far.Close()
					}
				}()
				if _, err := io.ReadFull(p, make([]byte, 10)); err != nil {
					t.Fatal(err)
				}
				last = time.Now()
				_, err := p.Read(make([]byte, 1))
				if took := time.Since(last); c.want > 0 && (took != c.want || !errors.Is(err, os.ErrDeadlineExceeded)) || c.want == 0 && err != io.EOF {
					t.Errorf("%v after %v, want the end of patience after %v", err, took, c.want)
				}
			})
		})
	}
}

// TestPatientReadAfterAPause reads a byte, and then pauses until the deadline is over. The byte
// that has come meanwhile must still be read. After another pause, silence must end the next read.
// A deadline that is set to the past must end a read at once.
func TestPatientReadAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		p := patiently(near, 2*time.Second, nil)
		if err := p.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go far.Write([]byte("xy"))
		for range 2 {
			if _, err := p.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		began := time.Now()
		_, err := p.Read(make([]byte, 1))
		if took := time.Since(began); took != 2*time.Second || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v after %v", err, took)
		}
		if err := p.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		_, err = p.Read(make([]byte, 1))
		if took := time.Since(began); took != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestPatientWrite writes under a deadline of 2 s. The other side takes writeAtOnce bytes a second
// for ten seconds, and then nothing. The write must fail, but only after these bytes were written.
func TestPatientWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		p := patiently(near, 0, nil)
		if err := p.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		const taken = 10
		go func() {
			for range taken {
				time.Sleep(time.Second)
				io.ReadFull(far, make([]byte, writeAtOnce))
			}
		}()
		n, err := p.Write(make([]byte, (taken+1)*writeAtOnce))
		if n != taken*writeAtOnce || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes written, %v", n, err)
		}
	})
}
