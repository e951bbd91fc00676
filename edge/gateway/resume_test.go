package gateway

import (
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestTimeNotLivedThroughIsNoSilence(t *testing.T) {
	g := start(t, nil, nil)
	c := g.raw("/chat/user/1", masked(0x81, "the reader runs"))
	eventually(t, "the message", func() bool { return len(g.up.messages()) == 1 })
	asked := g.server.now() + 51*time.Second
	g.server.tick(asked)
	c.wantFrame(pingFrame[0], "")

	// The process is stopped for an hour before the answer is read.
	later := asked + time.Hour
	g.server.beat(g.server.start.Add(asked), asked)
	g.server.beat(g.server.start.Add(later), later)
	g.server.tick(later + 49*time.Second)
	if _, ended := g.hub.living()[0].Reason(); ended {
		t.Fatal("the session ended for the time that nobody lived through")
	}
	g.server.tick(later + 51*time.Second)
	c.wantFrame(pingFrame[0], "") // asked anew,
	g.server.tick(later + 62*time.Second)
	c.wantCloseFrame(ReasonSilent) // and judged by that
	c.Close()
	g.endsWith(ReasonSilent)
}

// A token ends by the wall clock or when its time is over, whichever comes first.
func TestATokenExpiresByEitherClock(t *testing.T) {
	const lifetime, tick = time.Hour, time.Second
	type moment struct{ wall, now time.Duration } // since the connect
	for _, c := range []struct {
		what        string
		before, end moment // the last moment at which the session goes on, and one at which it does not
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
			g := start(t, nil, func(cfg *Config) { cfg.Auth = Auth{Keys: testKeys} })
			began := g.server.now()
			g.server.beat(g.server.start.Add(began), began)
			token, _ := SignToken(testKeys, "1", lifetime)
			client := g.dial("/chat/user/1", &websocket.DialOptions{Subprotocols: []string{"bearer", token}})
			alive := g.hub.living()[0]
			eventually(t, "the session has begun", func() bool { return alive.conn.Load() != nil })
			at := func(m moment) {
				alive.conn.Load().seen.Store(int64(began + m.now)) // not silent
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

// A client may be what resumes a machine: its token has nothing to do with the time that nobody lived through.
func TestAConnectBeforeASuspensionIsNoticedHasAllItsTime(t *testing.T) {
	g := start(t, nil, func(c *Config) { c.Auth = Auth{Keys: testKeys} })
	now := g.server.now()
	g.server.beat(g.server.start.Round(0).Add(now-8*time.Hour), now) // the last thing known
	token, _ := SignToken(testKeys, "1", time.Hour)
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
