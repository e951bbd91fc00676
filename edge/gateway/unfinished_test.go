package gateway

import (
	"strings"
	"testing"
	"time"
)

// TestP7_AMessageThatDoesNotEndIsNotAwaitedForEver: whatever of it is missing, and though its client gives signs of life.
func TestP7_AMessageThatDoesNotEndIsNotAwaitedForEver(t *testing.T) {
	large := masked(0x81, strings.Repeat("x", 64<<10))
	for name, sent := range map[string]string{
		"a byte is missing":     large[:len(large)-1],
		"all of it is missing":  large[:14],
		"a fragment is missing": masked(0x01, "x") + masked(0x8a, ""),
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, nil, func(c *Config) { c.Ping = time.Hour })
			c := g.raw("/chat/user/1", masked(0x81, "before")+sent)
			eventually(t, "the reader runs", func() bool { return len(g.up.messages()) == 1 })
			s := g.hub.living()[0].conn.Load()
			eventually(t, "the rest is awaited", func() bool { return s.begun.Load() != 0 })
			begun := time.Duration(s.begun.Load())
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

// TestALongMessageIsAwaitedAndTheNextOneAnew: each message has all the time, silence is found when it was found before, and nobody is judged by a time
// that this process did not live through.
func TestALongMessageIsAwaitedAndTheNextOneAnew(t *testing.T) {
	g := start(t, nil, nil)
	large := masked(0x81, strings.Repeat("x", 64<<10))
	c := g.raw("/chat/user/1", masked(0x81, "before")+large[:100])
	eventually(t, "the reader runs", func() bool { return len(g.up.messages()) == 1 })
	s := g.hub.living()[0].conn.Load()
	eventually(t, "the rest is awaited", func() bool { return s.begun.Load() != 0 })
	c.send(large[100:])
	eventually(t, "the message", func() bool { return len(g.up.messages()) == 2 && s.begun.Load() == 0 })
	g.server.tick(g.server.now() + 47*time.Second)
	if got := g.metric("pings_total", ""); got != 0 {
		t.Errorf("%v pings after 47 s", got)
	}
	c.send(large[:100])
	eventually(t, "the rest is awaited", func() bool { return s.begun.Load() != 0 })
	now := g.server.now() + 47*time.Second
	g.server.resume(now)
	g.server.tick(now + time.Second)
	if r, ending := s.session.Reason(); ending {
		t.Fatalf("it ended: %v", r)
	}
	g.server.tick(now + 47*time.Second)
	c.wantCloseFrame(ReasonUnfinished)
}

// TestAnEarlierTimerStays: a message that is awaited moves the session's timer only nearer.
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
