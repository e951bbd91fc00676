package uplink

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
)

func render(frames []any) string {
	var b strings.Builder
	for _, f := range frames {
		switch f := f.(type) {
		case link.Session:
			fmt.Fprintf(&b, "session %d|", f.ID)
		case link.Held:
			fmt.Fprintf(&b, "held %s %v|", f.Topic, f.Sessions)
		case link.Synced:
			fmt.Fprintf(&b, "synced %d-%d %d %d|", f.First, f.Last, f.Sessions, f.Held)
		case link.Message:
			fmt.Fprintf(&b, "%d: %d %s|", f.Number, f.Session, f.Payload)
		case link.End:
			fmt.Fprintf(&b, "%d: end %d|", f.Number, f.Session)
		}
	}
	return strings.TrimSuffix(b.String(), "|")
}

func TestTablesThenLogThenNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
		e.hub.held = []link.Held{{Topic: "user:u1", Sessions: []uint64{1}}}
		e.accept(1, "a", "b")
		if now, ever := e.Linked(); now || ever {
			t.Fatalf("Linked() = %v, %v without a relay", now, ever)
		}

		r := n.start(t, "r1:1")
		time.Sleep(backoffMax)
		l := r.last(1)
		e.open(2)
		e.accept(2, "c")
		e.end(2)
		synctest.Wait()
		want := "session 1|held user:u1 [1]|synced 1-2 1 1|1: 1 a|2: 1 b|session 2|3: 2 c|4: end 2"
		same(t, "frames", render(l.received()), want)
		same(t, "log size in Hello", l.hello.LogSize, defaultLogSize)
		if now, ever := e.Linked(); !now || !ever {
			t.Fatalf("Linked() = %v, %v with a link", now, ever)
		}
	})
}

// TestSessionAddedWhileTelling adds a session while the tables are read. The link must tell of the
// session after the tables, and before the session's message.
func TestSessionAddedWhileTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		n.run(t, Config{URLs: []string{"ws://r1:1"}}, func(e *edge) {
			e.open(1)
			e.hub.telling = func() {
				e.Open(link.Session{ID: 9})
				e.Accept(9, []byte("early"))
			}
		})
		same(t, "frames", render(r.last(1).received()), "session 1|synced 1-1 1 0|session 9|1: 9 early")
	})
}

func TestReplayLeavesOutWhatIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
		e.accept(1, "1", "2", "3", "4", "5", "6")
		l := r.last(1)
		l.send(link.Ack{Through: 2, Finished: []link.Range{{First: 4, Last: 5}}})
		synctest.Wait()
		r.cut()
		synctest.Wait()
		e.accept(1, "7")
		time.Sleep(time.Second)
		second := r.last(2)
		same(t, "frames", render(second.received()), "session 1|synced 3-7 1 0|3: 1 3|6: 1 6|7: 1 7")
		if second.hello.Generation <= l.hello.Generation {
			t.Errorf("generation %d after %d", second.hello.Generation, l.hello.Generation)
		}
		same(t, "instance", second.hello.Instance, l.hello.Instance)
		same(t, "replayed", testutil.ToFloat64(e.metrics.replayed), 2)
	})
}

// TestAnswersOnce sends each answer of a relay once on a first link, and twice on a second link.
// Each answer must be passed on to a client once.
func TestAnswersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
		e.accept(1, "bad", "join", "leave")
		answers := []appender{
			link.Answer{Number: 1, Session: 1, Text: []byte("error")},
			link.Joined{Number: 2, Session: 1},
			link.Left{Number: 3, Session: 1},
		}
		r.last(1).send(answers...)
		synctest.Wait()
		r.cut()
		time.Sleep(time.Second)
		r.last(2).send(answers...)
		r.last(2).send(link.Ack{Through: 3})
		r.last(2).send(answers...)
		synctest.Wait()
		want := []string{"answer 1 error", "joined 1 true", "left 1 true", "down",
			"joined 1 false", "left 1 false", "joined 1 false", "left 1 false"}
		if got := e.hub.took(); !slices.Equal(got, want) {
			t.Errorf("handler got %q, want %q", got, want)
		}
	})
}

func TestFramesReachTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
		e.end(1)
		r.last(1).send(
			link.TopicNumber{ID: 7, Topic: "all"}, link.Opened{Session: 1, Confirmed: true, Topics: []uint64{7}},
			link.Publication{Topic: 7, Payload: []byte("hi")}, link.Gap{Topic: 7, Lost: 3}, link.Untopic{ID: 7},
			link.Status{Degraded: []string{"broker"}}, link.Ack{Through: 1})
		synctest.Wait()
		want := []string{"topic 7 all", "opened 1 true", "publication 7 hi", "gap 7 3", "untopic 7", "forget 1"}
		if got := e.hub.took(); !slices.Equal(got, want) {
			t.Errorf("handler got %q, want %q", got, want)
		}
		if got := e.Degraded(); !slices.Equal(got, []string{"broker"}) {
			t.Errorf("Degraded() = %q, want broker", got)
		}
		r.stop()
		synctest.Wait()
		if got := e.Degraded(); !slices.Equal(got, []string{"relay"}) {
			t.Errorf("Degraded() = %q without a link, want relay", got)
		}
	})
}

func TestProtocolErrorsEndTheLink(t *testing.T) {
	for name, frame := range map[string]appender{
		"ack of what was never sent": link.Ack{Through: 9},
		"finished, never sent":       link.Ack{Finished: []link.Range{{First: 5, Last: 6}}},
		"a frame of edges":           link.End{Number: 1, Session: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				r := n.start(t, "r1:1")
				n.run(t, Config{URLs: []string{"ws://r1:1"}})
				first := r.last(1)
				first.send(frame)
				time.Sleep(3 * time.Second)
				r.last(2)
				if end := first.ended(); end == nil || end.Code != link.CodeProtocol || !end.Remote {
					t.Errorf("link ended with %v, want a Bye with protocol", end)
				}
			})
		})
	}
}

func TestDigest(t *testing.T) {
	for _, c := range []struct {
		name   string
		digest func(*edge) link.Digest
		before func(*edge)
		renews bool
	}{
		{name: "equal", digest: told(1)},
		{name: "one session too few at the relay", digest: func(*edge) link.Digest { return link.Digest{Heard: 1} }, renews: true},
		{name: "another session at the relay", digest: func(e *edge) link.Digest {
			d := told(1)(e)
			d.SessionHash++
			return d
		}, renews: true},
		{name: "made before the last Session frame came", digest: func(*edge) link.Digest { return link.Digest{} }},
		{name: "tables cannot be compared", digest: func(*edge) link.Digest { return link.Digest{Heard: 1} },
			before: func(e *edge) { e.hub.comparable = false }},
		{name: "an end is not acknowledged", digest: func(*edge) link.Digest { return link.Digest{Heard: 1} },
			before: func(e *edge) { e.End(1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				r := n.start(t, "r1:1")
				e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
				synctest.Wait()
				e.open(1)
				if c.before != nil {
					c.before(e)
				}
				first := r.last(1)
				first.send(c.digest(e))
				time.Sleep(3 * time.Second)
				if !c.renews {
					r.last(1)
					return
				}
				same(t, "frames of the new link", render(r.last(2).received()), "session 1|synced 1-0 1 0")
				same(t, "code", first.ended().Code, link.CodeTables)
			})
		})
	}
}

// told returns a function that makes the digest of a relay. That relay's tables agree with those of
// the hub. The parameter heard is how many Session frames the relay has heard.
func told(heard uint64) func(*edge) link.Digest {
	return func(e *edge) link.Digest {
		d, _ := e.hub.Digest()
		d.Heard = heard
		return d
	}
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
		e.accept(1, "a", "b", "c")
		e.end(1)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		same(t, "left without an ack", e.Flush(ctx), 3)

		flushed := make(chan int, 1)
		go func() { flushed <- e.Flush(t.Context()) }()
		for through := range uint64(4) {
			synctest.Wait()
			same(t, "returned early", len(flushed), 0)
			r.last(1).send(link.Ack{Through: through + 1})
		}
		same(t, "left", <-flushed, 0)

		e.open(2)
		e.end(2)
		r.stop()
		synctest.Wait()
		same(t, "left of ends without a link", e.Flush(t.Context()), 0)
	})
}

// TestStop ends Run. The link must end with the edge's Bye.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		u, err := New(Config{URLs: []string{"ws://r1:1"}, Keys: testKeys(t, goodKey), NetDial: n.dial}, &fakeHub{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { u.Run(ctx) })
		l := r.last(1)
		cancel()
		running.Wait()
		synctest.Wait()
		if end := l.ended(); end == nil || end.Code != link.CodeNormal || !end.Remote {
			t.Errorf("link ended with %v, want a normal Bye", end)
		}
	})
}

func TestMetricsAndLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		var log lockedBuilder
		registry := prometheus.NewRegistry()
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}, Metrics: registry, Log: slog.New(slog.NewTextHandler(&log, nil))}, withSession)
		e.accept(1, "secret text")
		r.last(1)
		r.cut()
		time.Sleep(time.Second)
		r.last(2)
		err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP edgerelay_edge_log_messages Accepted messages that the relay has not acknowledged.
# TYPE edgerelay_edge_log_messages gauge
edgerelay_edge_log_messages 1
# HELP edgerelay_edge_link_up 1 while there is a link to a relay.
# TYPE edgerelay_edge_link_up gauge
edgerelay_edge_link_up 1
# HELP edgerelay_edge_link_ends_total Links that ended, by reason.
# TYPE edgerelay_edge_link_ends_total counter
edgerelay_edge_link_ends_total{reason="lost"} 1
`), "edgerelay_edge_log_messages", "edgerelay_edge_link_up", "edgerelay_edge_link_ends_total")
		if err != nil {
			t.Error(err)
		}
		text := log.String()
		if strings.Count(text, "link up") != 2 || strings.Count(text, "link lost") != 1 {
			t.Errorf("log:\n%s", text)
		}
		if strings.Contains(text, "secret") {
			t.Errorf("payload in the log:\n%s", text)
		}
	})
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
