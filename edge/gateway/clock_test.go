package gateway

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestTimersFireWithinATickAndNeverEarly(t *testing.T) {
	w := newWheel()
	random := rand.New(rand.NewPCG(1, 2))
	timers := map[*Session]bool{}
	set := func(now time.Duration) {
		s := new(Session)
		s.timer.session = s
		w.set(&s.timer, now+rand.N(3*wheelSlots*wheelTick))
		timers[s] = true
	}
	for now := time.Duration(0); now < 10*wheelSlots*wheelTick; now += time.Duration(random.Int64N(int64(2 * wheelTick))) {
		for _, s := range w.step(now, nil) {
			if !timers[s] || s.timer.due > now {
				t.Fatalf("at %v: fired a timer due %v, set: %v", now, s.timer.due, timers[s])
			}
			delete(timers, s)
		}
		for s := range timers {
			switch {
			case s.timer.due < now-wheelTick:
				t.Fatalf("at %v: a timer due %v has not fired", now, s.timer.due)
			case random.IntN(200) == 0:
				w.stop(&s.timer)
				delete(timers, s)
			case random.IntN(200) == 0:
				w.set(&s.timer, now+wheelTick)
			}
		}
		set(now)
	}
}

func TestAStepOverManyRevolutionsFiresEverythingOnce(t *testing.T) {
	w := newWheel()
	const n = 1000
	for i := range n {
		s := new(Session)
		s.timer.session = s
		w.set(&s.timer, time.Duration(i)*wheelTick)
	}
	if got := len(w.step(time.Hour, nil)); got != n {
		t.Errorf("fired %d, want %d", got, n)
	}
	if got := len(w.step(2*time.Hour, nil)); got != 0 {
		t.Errorf("fired %d again", got)
	}
}

func TestATimerOfThePastFiresAtTheNextStep(t *testing.T) {
	w := newWheel()
	w.step(time.Minute, nil)
	s := new(Session)
	s.timer.session = s
	w.set(&s.timer, time.Second)
	if got := len(w.step(time.Minute+wheelTick, nil)); got != 1 {
		t.Errorf("fired %d, want 1", got)
	}
}

// TestC5_ShortPingIntervalsAreKept checks that a client that answers each ping at once is pinged
// again one interval after its answer. This must hold for short intervals too. Otherwise a proxy
// with a short time-out would cut the connection.
func TestC5_ShortPingIntervalsAreKept(t *testing.T) {
	for _, ping := range []time.Duration{time.Second, 3 * time.Second, 9 * time.Second, 12 * time.Second} {
		t.Run(ping.String(), func(t *testing.T) {
			g := start(t, nil, func(c *Config) { c.Ping = ping })
			c := g.raw("/chat/user/1", masked(0x81, "the reader runs"))
			eventually(t, "the message", func() bool { return len(g.up.messages()) == 1 })
			s := g.hub.living()[0].conn.Load()
			seen := time.Hour
			s.seen.Store(int64(seen))
			now := seen
			g.server.tick(now) // this tick sets the session's timer from the value of s.seen
			for n := range 5 {
				for g.metric("pings_total", "") == float64(n) {
					if now += wheelTick; now > seen+ping+2*wheelTick {
						t.Fatalf("no ping %d until %v after the last sign of life", n+1, now-seen)
					}
					g.server.tick(now)
				}
				if now < seen+ping {
					t.Errorf("ping %d comes %v after the last sign of life", n+1, now-seen)
				}
				c.wantFrame(pingFrame[0], "")
				seen = now + 50*time.Millisecond
				s.seen.Store(int64(seen)) // as if the client's pong had come
			}
		})
	}
}

// TestC5_ASilentClientHasAllItsTime checks that a client has all of pongWait to answer a ping, and
// gets no second ping within that time.
func TestC5_ASilentClientHasAllItsTime(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Ping = time.Second })
	c := g.raw("/chat/user/1", masked(0x81, "the reader runs"))
	eventually(t, "the message", func() bool { return len(g.up.messages()) == 1 })
	asked := time.Hour
	g.server.tick(asked)
	c.wantFrame(pingFrame[0], "")
	for now := asked; now < asked+pongWait; now += wheelTick {
		g.server.tick(now)
	}
	if _, ended := g.hub.living()[0].Reason(); ended || g.metric("pings_total", "") != 1 {
		t.Fatalf("ended: %v, %v pings", ended, g.metric("pings_total", ""))
	}
	g.server.tick(asked + pongWait + 2*wheelTick)
	c.wantCloseFrame(ReasonSilent)
	c.Close()
	g.endsWith(ReasonSilent)
}

func TestTimeNotLivedThroughIsNoSilence(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", masked(0x81, "the reader runs"))
	eventually(t, "the message", func() bool { return len(g.up.messages()) == 1 })
	asked := g.server.now() + 51*time.Second
	g.server.tick(asked)
	c.wantFrame(pingFrame[0], "")
	g.awaitWritten()

	// The process is stopped for an hour before an answer can be read.
	later := asked + time.Hour
	g.server.beat(g.server.start.Add(asked), asked)
	g.server.beat(g.server.start.Add(later), later)
	g.server.tick(later + 49*time.Second)
	if _, ended := g.hub.living()[0].Reason(); ended {
		t.Fatal("the session ended for the time that nobody lived through")
	}
	g.server.tick(later + 51*time.Second)
	c.wantFrame(pingFrame[0], "") // the client is pinged again
	g.server.tick(later + 62*time.Second)
	c.wantCloseFrame(ReasonSilent) // the client did not answer
	c.Close()
	g.endsWith(ReasonSilent)
}

// TestATokenExpiresByEitherClock checks that a token ends as soon as its time is over by one of two
// clocks: the wall clock and the monotonic clock.
func TestATokenExpiresByEitherClock(t *testing.T) {
	const lifetime, tick = time.Hour, time.Second
	type moment struct{ wall, now time.Duration } // times since the connect
	for _, c := range []struct {
		what string
		// At the first of these two moments the session still goes on. At the second it has ended.
		before, end moment
		steps       []moment
	}{
		{"both go on", moment{59 * time.Minute, 59 * time.Minute}, moment{time.Hour + tick, time.Hour + tick}, nil},
		{"the process was stopped", moment{40 * time.Minute, 40 * time.Minute}, moment{2 * time.Hour, 2 * time.Hour}, nil},
		{"the machine was suspended", moment{50 * time.Minute, 10 * time.Second}, moment{61 * time.Minute, 11 * time.Second}, nil},
		{
			"suspended again and again", moment{59 * time.Minute, 30 * time.Second}, moment{time.Hour + tick, 31 * time.Second},
			[]moment{{20 * time.Minute, 10 * time.Second}, {40 * time.Minute, 20 * time.Second}},
		},
		{
			"the wall clock is set back: nobody stays longer", moment{-time.Hour, 59 * time.Minute}, moment{-time.Hour + 2*time.Minute, time.Hour + tick},
			[]moment{{-2 * time.Hour, time.Minute}},
		},
		{
			"it is set forth and back again: nobody goes earlier", moment{59 * time.Minute, 59 * time.Minute}, moment{time.Hour + tick, time.Hour + tick},
			[]moment{{30 * time.Minute, time.Second}, {2 * time.Second, 2 * time.Second}},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			g := start(t, nil, func(cfg *Config) { cfg.Auth = Auth{Tokens: testTokens} })
			began := g.server.now()
			g.server.beat(g.server.start.Add(began), began)
			token := signToken(t, "1", lifetime)
			client := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
			alive := g.hub.living()[0]
			eventually(t, "the session has begun", func() bool { return alive.conn.Load() != nil })
			at := func(m moment) {
				alive.conn.Load().seen.Store(int64(began + m.now)) // the client is not silent
				g.server.beat(g.server.start.Round(0).Add(began+m.wall), began+m.now)
			}
			for _, m := range append(c.steps, c.before) {
				at(m)
				if reason, ended := alive.Reason(); ended {
					t.Fatalf("ended at %v: %v", m, reason)
				}
			}
			at(c.end)
			wantClose(t, client, 4002)
			g.endsWith(ReasonExpired)
		})
	}
}

// TestAConnectBeforeASuspensionIsNoticedHasAllItsTime checks a client that connects after a
// suspension of the machine, but before the next beat. Its session must last as long as its token:
// the time of the suspension must not count.
func TestAConnectBeforeASuspensionIsNoticedHasAllItsTime(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Tokens: testTokens} })
	now := g.server.now()
	// This is the last beat before the suspension.
	g.server.beat(g.server.start.Round(0).Add(now-8*time.Hour), now)
	token := signToken(t, "1", time.Hour)
	client := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
	g.server.beat(g.server.start.Round(0).Add(now+time.Second), now+time.Second)
	g.server.beat(g.server.start.Round(0).Add(now+59*time.Minute), now+59*time.Minute)
	g.publish("user:1", "still here")
	if got := receive(t, client); got != "still here" {
		t.Errorf("got %q", got)
	}
	g.server.beat(g.server.start.Round(0).Add(now+61*time.Minute), now+61*time.Minute)
	wantClose(t, client, 4002)
	g.endsWith(ReasonExpired)
}

// TestP7_AMessageThatDoesNotEndIsNotAwaitedForEver checks that a session ends if its client does
// not finish a message in time. It does not matter which part of the message is missing, or whether
// the client gives signs of life. A control frame that is not finished ends the session too.
func TestP7_AMessageThatDoesNotEndIsNotAwaitedForEver(t *testing.T) {
	large := masked(0x81, strings.Repeat("x", 64<<10))
	for name, sent := range map[string]string{
		"a byte is missing":     large[:len(large)-1],
		"all of it is missing":  large[:14],
		"a fragment is missing": masked(0x01, "x") + masked(0x8a, ""),
		"a ping is not whole":   masked(0x89, "ping")[:8],
		"a close is not whole":  masked(0x01, "x") + masked(0x88, "\x03\xe8")[:7],
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, nil, func(c *Config) { c.Ping = time.Hour })
			c := g.raw("/chat/user/1", masked(0x81, "before")+sent)
			eventually(t, "the reader runs", func() bool { return len(g.up.messages()) == 1 })
			s := g.hub.living()[0].conn.Load()
			eventually(t, "the remainder is awaited", func() bool { return s.awaitedSince.Load() != 0 })
			begun := time.Duration(s.awaitedSince.Load())
			g.server.tick(begun + 46*time.Second - wheelTick)
			if _, ending := s.session.Reason(); ending {
				t.Fatal("it ends too early")
			}
			g.server.tick(begun + 46*time.Second + 2*wheelTick)
			c.wantCloseFrame(ReasonUnfinished)
			c.Close()
			g.endsWith(ReasonUnfinished)
		})
	}
}

// TestALongMessageIsAwaitedAndTheNextOneAnew checks that each message has all of its time, even if
// an earlier message has taken some time, or if this process does not run for a while. When the
// timer of a message fires, a ping that is not due must not be sent.
func TestALongMessageIsAwaitedAndTheNextOneAnew(t *testing.T) {
	g := start(t, nil, nil)
	large := masked(0x81, strings.Repeat("x", 64<<10))
	c := g.raw("/chat/user/1", masked(0x81, "before")+large[:100])
	eventually(t, "the reader runs", func() bool { return len(g.up.messages()) == 1 })
	s := g.hub.living()[0].conn.Load()
	eventually(t, "the remainder is awaited", func() bool { return s.awaitedSince.Load() != 0 })
	c.send(large[100:])
	eventually(t, "the message", func() bool { return len(g.up.messages()) == 2 && s.awaitedSince.Load() == 0 })
	g.server.tick(g.server.now() + 47*time.Second)
	if got := g.metric("pings_total", ""); got != 0 {
		t.Errorf("%v pings after 47 s", got)
	}
	c.send(large[:100])
	eventually(t, "the remainder is awaited", func() bool { return s.awaitedSince.Load() != 0 })
	now := g.server.now() + 47*time.Second
	g.server.resume(now)
	g.server.tick(now + time.Second)
	if r, ending := s.session.Reason(); ending {
		t.Fatalf("it ended: %v", r)
	}
	g.server.tick(now + 47*time.Second)
	c.wantCloseFrame(ReasonUnfinished)
}

// TestAnEarlierTimerStays checks that hasten moves a timer only to an earlier time.
func TestAnEarlierTimerStays(t *testing.T) {
	k := clock{wheel: newWheel()}
	s := &Session{}
	s.timer.session = s
	k.set(s, time.Second)
	k.hasten(s, time.Minute)
	if len(k.step(2*time.Second)) != 1 {
		t.Error("it did not fire at its time")
	}
	k.hasten(s, 10*time.Second)
	k.hasten(s, 5*time.Second)
	if len(k.step(6*time.Second)) != 1 {
		t.Error("it was not moved nearer")
	}
}
