package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
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
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
		e.open(1)
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

func TestReplayLeavesOutWhatIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
		e.open(1)
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

// Answers come again after a replay; the client gets one.
func TestAnswersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
		e.open(1)
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
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
		e.open(1)
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

// told is the digest of a relay that heard so many Session frames and agrees with the hub.
func told(heard uint64) func(*edge) link.Digest {
	return func(e *edge) link.Digest {
		d, _ := e.hub.Digest()
		d.Heard = heard
		return d
	}
}

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays := []*fakeRelay{n.start(t, "r1:1"), n.start(t, "r2:1")}
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}})
		e.open(1)
		e.accept(1, "a")
		synctest.Wait()
		linked := slices.IndexFunc(relays, func(r *fakeRelay) bool { return len(r.links()) > 0 })
		other := relays[1-linked]
		same(t, "links of the other relay", len(other.links()), 0)
		relays[linked].stop()
		time.Sleep(time.Second)
		same(t, "frames", render(other.last(1).received()), "session 1|synced 1-1 1 0|1: 1 a")
	})
}

// The second of a race starts when the first does not answer, and the first is dropped.
func TestRaceAroundASilentRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		n.relays["r2:1"] = &fakeRelay{net: memnet.Listen()} // takes connections and says nothing
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}})
		time.Sleep(stagger + time.Millisecond)
		r.last(1)
		if now, _ := e.Linked(); !now {
			t.Error("no link")
		}
	})
}

func TestKeyRefusedThenTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		r.set(testKeys(t, "k2:fedcba9876543210"), link.Versions{})
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
		e.open(1)
		e.accept(1, "a")
		time.Sleep(3 * time.Minute)
		if s := e.State(); !s.KeyRefused || s.Linked || s.EverLinked {
			t.Errorf("State() = %+v, want the key refused", s)
		}
		if dials := n.dialCount(); dials < 5 || dials > 13 {
			t.Errorf("%d dials in 3 minutes", dials)
		}
		r.set(testKeys(t, goodKey), link.Versions{})
		time.Sleep(refusedFor + backoffMax)
		same(t, "frames", render(r.last(1).received()), "session 1|synced 1-1 1 0|1: 1 a")
		if e.State().KeyRefused {
			t.Error("State() still says that the key is refused")
		}
	})
}

func TestRefusingRelayIsPassedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		refusing, good := n.start(t, "r1:1"), n.start(t, "r2:1")
		refusing.set(testKeys(t, goodKey), link.Versions{Min: 7, Max: 9})
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}})
		for i := 1; i <= 20; i++ {
			time.Sleep(settled + time.Second)
			good.last(i)
			good.cut()
		}
		if held := testutil.ToFloat64(e.metrics.failures.WithLabelValues("version")); held < 2 || held > 9 {
			t.Errorf("version refused %v times in 2 minutes", held)
		}
		if e.State().KeyRefused {
			t.Error("a refused version is called a refused key")
		}
	})
}

func TestNamesAreLookedUpAtEveryDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		four, six := n.start(t, "10.0.0.2:9000"), n.start(t, "[fd00::2]:9000")
		var names answers
		names.set(errors.New("no such name"))
		n.run(t, Config{URLs: []string{"dns://relay.internal:9000"}, Lookup: names.lookup})
		time.Sleep(time.Minute)
		same(t, "dials without an address", n.dialCount(), 0)

		names.set(nil, "10.0.0.1", "::ffff:10.0.0.2") // the first is dead
		time.Sleep(backoffMax)
		four.last(1)

		names.set(nil, "fd00::2")
		four.cut()
		time.Sleep(backoffMax)
		six.last(1)

		names.set(errors.New("resolver away")) // the last answer is good for another dial
		six.cut()
		time.Sleep(backoffMax)
		six.last(2)
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		n.run(t, Config{URLs: []string{"ws://r1:1"}})
		time.Sleep(30 * time.Minute)
		n.mu.Lock()
		defer n.mu.Unlock()
		if mean := 30 * time.Minute / time.Duration(len(n.dials)); mean < 2*time.Second || mean > 3*time.Second {
			t.Errorf("%d dials in half an hour", len(n.dials))
		}
		for i := 1; i < len(n.dials); i++ {
			if gap := n.dials[i].Sub(n.dials[i-1]); gap > backoffMax {
				t.Errorf("%v between two dials", gap)
			}
		}
	})
}

// A link that ends at once is no reason to begin the back-off anew; one that lasted is.
func TestBackoffAfterALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		var lasted atomic.Int64
		r.handle = func(l *fakeLink, f any) {
			if _, ok := f.(link.Synced); ok && lasted.Load() == 0 {
				l.conn.CloseNow()
			}
		}
		n.run(t, Config{URLs: []string{"ws://r1:1"}})
		time.Sleep(10 * time.Minute)
		if dials := n.dialCount(); dials > 600/2 {
			t.Errorf("%d dials in 10 minutes of a relay that closes every link", dials)
		}
		lasted.Store(1)
		time.Sleep(time.Minute)
		before := n.dialCount()
		for range 20 {
			r.cut()
			time.Sleep(settled + backoffFirst)
		}
		same(t, "dials for 20 cuts", n.dialCount()-before, 20)
	})
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}})
		e.open(1)
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

// Run says Bye when it is stopped.
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

// TestCuts cuts links at random bytes while sessions come, send and go, and an honest relay finishes frames in a random order. Every number arrives,
// in order on each link, behind its session, and nothing that the edge knew to be finished is sent again.
func TestCuts(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { cuts(t, seed) })
		})
	}
}

func cuts(t *testing.T, seed uint64) {
	const sessions, messages = 20, 30
	random := rand.New(rand.NewPCG(seed, 2))
	var n network
	r := n.start(t, "r1:1")
	finish := &finisher{random: rand.New(rand.NewPCG(seed, 3)), done: make(map[uint64]string)}
	r.handle = finish.handle
	e := n.run(t, Config{URLs: []string{"ws://r1:1"}, LogSize: 64 << 10})

	var clients sync.WaitGroup
	for id := uint64(1); id <= sessions; id++ {
		pause := time.Duration(random.IntN(40)) * time.Millisecond
		clients.Go(func() {
			time.Sleep(pause)
			e.open(id)
			for i := range messages {
				payload := fmt.Appendf(nil, "%d-%d %s", id, i, strings.Repeat("x", int(id)*50))
				for !e.Accept(id, payload) {
					if !e.WaitRoom(t.Context(), id, len(payload)) {
						t.Error("WaitRoom gave up")
						return
					}
				}
				time.Sleep(pause)
			}
			e.end(id)
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	finishing, finished := context.WithCancel(t.Context())
	var finisher sync.WaitGroup
	finisher.Go(func() { finish.run(finishing) })
	var saboteur sync.WaitGroup
	saboteur.Go(func() {
		for ctx.Err() == nil {
			for _, c := range r.net.Conns() {
				c.CutAfter(random.IntN(6000))
			}
			sleep(ctx, time.Duration(random.IntN(300))*time.Millisecond)
		}
	})
	clients.Wait()
	stop()
	saboteur.Wait()
	for _, c := range r.net.Conns() {
		c.CutAfter(-1)
	}
	same(t, "left", e.Flush(t.Context()), 0)
	finished()
	finisher.Wait()
	synctest.Wait()
	finish.check(t, e.log.Last(), sessions, messages)
	if links := len(r.links()); links < 3 {
		t.Errorf("only %d links: nothing was cut", links)
	}
	same(t, "sessions left in the hub", len(e.hub.sessions), 0)
}

// finisher is an honest relay's bookkeeping over all links: it finishes frames in any order and acknowledges what is finished.
type finisher struct {
	mu     sync.Mutex
	random *rand.Rand
	done   map[uint64]string // what was finished
	errors []string

	current *fakeLink
	synced  bool
	told    map[uint64]bool
	last    uint64
	open    []uint64
}

func (f *finisher) handle(l *fakeLink, frame any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != l {
		f.current, f.told, f.open, f.synced = l, make(map[uint64]bool), nil, false
	}
	switch x := frame.(type) {
	case link.Session:
		f.told[x.ID] = true
	case link.Synced:
		f.last, f.synced = x.First-1, true
		for n := uint64(1); n < x.First; n++ {
			if f.done[n] == "" {
				f.fail("Synced says that %d is finished", n)
			}
		}
	case link.Message:
		f.arrive(x.Number, x.Session, string(x.Payload))
	case link.End:
		f.arrive(x.Number, x.Session, fmt.Sprint("end ", x.Session))
	}
	if f.synced {
		f.finish()
	}
}

// finish finishes some of what is open. f.mu must be held.
func (f *finisher) finish() {
	for len(f.open) > 8 || len(f.open) > 0 && f.random.IntN(3) > 0 {
		i := f.random.IntN(len(f.open))
		f.open = slices.Delete(f.open, i, i+1)
	}
	f.current.send(f.ack())
}

// run finishes frames when none comes, until ctx is done.
func (f *finisher) run(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, 20*time.Millisecond)
		f.mu.Lock()
		if f.synced {
			f.finish()
		}
		f.mu.Unlock()
	}
}

func (f *finisher) fail(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *finisher) arrive(number, session uint64, what string) {
	if !f.told[session] {
		f.fail("%d before its session %d", number, session)
	}
	if number <= f.last {
		f.fail("%d after %d", number, f.last)
	}
	for n := f.last + 1; n < number; n++ {
		if f.done[n] == "" {
			f.fail("%d is left out", n)
		}
	}
	if before := f.done[number]; before != "" && before != what {
		f.fail("%d is %q, was %q", number, what, before)
	}
	f.last = number
	f.done[number] = what
	f.open = append(f.open, number)
}

// ack acknowledges all that came on this link and is not open, the frames left out included.
func (f *finisher) ack() link.Ack {
	var a link.Ack
	a.Through = f.last
	if len(f.open) == 0 {
		return a
	}
	a.Through = f.open[0] - 1
	for i, n := range f.open {
		last := f.last
		if i+1 < len(f.open) {
			last = f.open[i+1] - 1
		}
		if n+1 <= last {
			a.Finished = append(a.Finished, link.Range{First: n + 1, Last: last})
		}
	}
	return a
}

func (f *finisher) check(t *testing.T, last uint64, sessions, messages int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.errors {
		t.Error(e)
	}
	same(t, "last number", last, uint64(sessions*(messages+1)))
	next := make(map[string]int)
	for n := uint64(1); n <= last; n++ {
		what := f.done[n]
		session, rest, ok := strings.Cut(what, "-")
		if !ok {
			session = strings.TrimPrefix(what, "end ")
			same(t, "messages before the end of session "+session, next[session], messages)
			continue
		}
		var i int
		fmt.Sscan(rest, &i)
		same(t, "message of session "+session, i, next[session])
		next[session]++
	}
}

func TestNewRefuses(t *testing.T) {
	keys := testKeys(t, goodKey)
	for name, config := range map[string]Config{
		"no URL":           {Keys: keys},
		"no key":           {URLs: []string{"ws://r:1"}},
		"another scheme":   {Keys: keys, URLs: []string{"http://r:1"}},
		"no host":          {Keys: keys, URLs: []string{"ws://:1"}},
		"no port for dns":  {Keys: keys, URLs: []string{"dns://relay"}},
		"port 0":           {Keys: keys, URLs: []string{"dns://relay:0"}},
		"a path under dns": {Keys: keys, URLs: []string{"dns://relay:1/x"}},
		"a user":           {Keys: keys, URLs: []string{"ws://a:b@r:1"}},
	} {
		if _, err := New(config, &fakeHub{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMetricsAndLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		var log lockedBuilder
		registry := prometheus.NewRegistry()
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}, Metrics: registry, Log: slog.New(slog.NewTextHandler(&log, nil))})
		e.open(1)
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
