package gateway

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/shared/link"
)

// scripted is a socket that gives one piece of bytes, after a while.
type scripted struct {
	net.Conn
	after time.Duration
	bytes string
}

func (s *scripted) Read(p []byte) (int, error) {
	time.Sleep(s.after)
	return copy(p, s.bytes), nil
}

// deadlines notes the deadline of reading; meanwhile is called once, before the second one is set.
type deadlines struct {
	net.Conn
	set       int
	last      time.Time
	meanwhile func()
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	if d.set++; d.set == 2 {
		d.meanwhile()
	}
	d.last = at
	return nil
}

func (d *deadlines) SetDeadline(at time.Time) error {
	d.last = at
	return nil
}

// TestTheLastEndHolds: a reader that takes its own deadline away leaves that of the end, also when it is moved meanwhile.
func TestTheLastEndHolds(t *testing.T) {
	g := start(t, nil, nil)
	d := &deadlines{}
	c := &conn{Conn: d, server: g.server}
	g.server.poller.adopt(c)
	c.endBy(time.Now().Add(closeWait))
	d.meanwhile = c.endNow
	c.setReadDeadline(time.Time{})
	if time.Until(d.last) > 0 {
		t.Errorf("reading fails in %v, not now", time.Until(d.last))
	}
}

// TestAReaderThatWaitedLongIsNotGivenOn: the library closes its parser 5 s after a control frame has begun, in a goroutine of its own, which may come when the frame is complete
// and the parser is another conn's.
func TestAReaderThatWaitedLongIsNotGivenOn(t *testing.T) {
	reg := prometheus.NewRegistry()
	hub := NewHub(HubConfig{Metrics: reg})
	synctest.Test(t, func(t *testing.T) {
		v := NewServer(Config{MaxMessage: 1000, MaxSessions: 10, Metrics: reg}, hub, &fakeUpstream{})
		defer v.Close()
		v.closing.Do(v.poller.close) // it waits in the kernel, and time with it
		made := 0
		v.readers.New = func() any { made++; return v.newReader() }
		read := func(early, late string, after time.Duration) {
			t.Helper()
			socket := &scripted{after: after, bytes: late}
			c := &conn{Conn: socket, raw: struct{ syscall.RawConn }{}, server: v, session: NewSession(link.Session{}, 1<<20)}
			if err := newWaiter(c, []byte(early)).readSome(); err != nil {
				t.Fatal(err)
			}
		}
		ping := masked(0x89, "ping")
		read(ping[:8], ping[8:], 5*time.Second-time.Nanosecond)
		read(masked(0x81, "hello"), "", 0)
		if made != 2 {
			t.Errorf("%d readers for two conns, the first of which was slow", made)
		}
	})
}

// TestAReaderIsForgotten: one that the pool lets go leaves nothing, as it must, since that happens at every collection.
func TestAReaderIsForgotten(t *testing.T) {
	g := start(t, nil, nil)
	gone := make(chan struct{})
	runtime.AddCleanup(g.server.newReader(), func(gone chan struct{}) { close(gone) }, gone)
	eventually(t, "the reader is collected", func() bool {
		runtime.GC()
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
}
