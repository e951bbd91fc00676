package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/memnet"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestSDKsArePingedByScheduleWhateverElseIsSent checks that a client of an SDK is pinged every
// sdkPing, even while other frames come and go. The SDK for Go takes only a ping for a sign of
// life. Config.Ping has no effect on these pings.
func TestSDKsArePingedByScheduleWhateverElseIsSent(t *testing.T) {
	for _, ping := range []time.Duration{0, time.Second} {
		inBubble(t, nil, func(c *Config) { c.Ping = ping }, func(t *testing.T, b *bubbled) {
			c := b.confirmed("1")
			b.hub.Topic(link.TopicNumber{ID: 1, Topic: "all"})
			b.hub.Bound(link.Bound{Session: 1, Topic: 1}, false)
			stop := make(chan struct{})
			go func() { // about every second the client gets a publication, and sends a line
				for {
					select {
					case <-stop:
						return
					case <-time.After(900 * time.Millisecond):
						b.hub.Forms(link.Forms{Topic: 1, Texts: []link.Rendering{{Form: link.FormJSON, Text: []byte("x")}}})
						c.Write([]byte(textOf("y")))
					}
				}
			}()
			defer synctest.Wait()
			defer close(stop)
			last := time.Now()
			for n := range 10 {
				for {
					first, p, err := c.frame()
					if err != nil || first != textByte {
						t.Fatalf("frame %#x %q, error %v", first, p, err)
					}
					if p == "{}" {
						break
					}
				}
				since := time.Since(last)
				least := sdkPing - wheelTick
				if n == 0 {
					least = sdkPing / 2
				}
				if since < least || since > sdkPing+2*wheelTick {
					t.Errorf("ping %d comes %v after the one before", n, since)
				}
				last = time.Now()
				c.send(textOf("{}"))
			}
		})
	}
}

// TestFirstPingsAreSpread checks that clients which connect at the same time are first pinged at
// different times.
func TestFirstPingsAreSpread(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		early, late := 0, 0
		for range 60 {
			b.confirmed("1")
		}
		now := b.server.now()
		for _, s := range b.hub.living() {
			switch in := time.Duration(s.sdk.ping.Load()) - now; {
			case in < sdkPing/2 || in > sdkPing:
				t.Errorf("the first ping is due in %v", in)
			case in < sdkPing*3/4:
				early++
			default:
				late++
			}
		}
		if early < 10 || late < 10 {
			t.Errorf("%d early, %d late", early, late)
		}
	})
}

func TestAClientWithoutPongIsClosed(t *testing.T) {
	inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
		c := b.confirmed("1")
		c.wantFrame(textByte, "{}")
		c.send(textOf("{}"))
		c.wantFrame(textByte, "{}")
		began := time.Now()
		time.Sleep(sdkPongWait - time.Second)
		c.send(textOf("another line is no pong"))
		c.wantCode(3012)
		if took := time.Since(began); took < sdkPongWait || took > sdkPongWait+2*wheelTick {
			t.Errorf("closed after %v", took)
		}
		c.Close()
		synctest.Wait()
		if n := b.metric("sessions_ended_total", "silent"); n != 1 {
			t.Errorf("%v are counted as silent", n)
		}
	})
}

// TestAPingBehindABacklogHasItsTime gives a client many texts just before its ping. The client
// reads so slowly that it reaches the ping only after the time for a pong. If the client then
// answers, its session must go on. If the client does not answer, or stops reading before the ping,
// its session must end.
func TestAPingBehindABacklogHasItsTime(t *testing.T) {
	const rate, texts, size = 64 << 10, 900, 1000 // the client needs 14 s for all texts
	for _, sdk := range []bool{true, false} {
		for _, does := range []string{"answers", "does not answer", "stalls"} {
			t.Run(fmt.Sprintf("%s, SDK %v", does, sdk), func(t *testing.T) {
				inBubble(t, nil, func(c *Config) { c.Queue = 2 << 20 }, func(t *testing.T, b *bubbled) {
					c := b.backlogged(sdk, rate, texts, size)
					s := b.only()
					if does == "stalls" {
						c.Conn.(*memnet.Conn).Freeze()
						time.Sleep(heldMost*pongWait + sdkPing)
						if r, ended := s.Reason(); !ended || r != ReasonSilent {
							t.Errorf("ended %v: %v", ended, r)
						}
						return
					}
					took := c.comesTo(sdk, texts)
					if took <= pongWait {
						t.Fatalf("the client comes to the ping after %v", took)
					}
					if does == "answers" {
						c.send(map[bool]string{true: textOf("{}"), false: masked(pongByte, "")}[sdk])
					}
					if does == "answers" && sdk { // further pings come, and must be answered too
						c.lives(2*pongWait, time.Now())
					} else {
						time.Sleep(2*pongWait + wheelTick)
					}
					if r, ended := s.Reason(); ended != (does != "answers") || ended && r != ReasonSilent {
						t.Errorf("ended %v: %v", ended, r)
					}
				})
			})
		}
	}
}

// backlogged connects a client that reads at the given rate, in bytes per second. It waits until
// about a second before the client's ping is due. Then it publishes the given number of texts, each
// of the given size in bytes.
func (b *bubbled) backlogged(sdk bool, rate, texts, size int) *rawClient {
	var c *rawClient
	var due time.Duration
	if sdk {
		c = b.confirmed("1")
		b.hub.Topic(link.TopicNumber{ID: numberOf("all"), Topic: "all"})
		b.hub.Bound(link.Bound{Session: 1, Topic: numberOf("all")}, false)
		due = time.Duration(b.only().sdk.ping.Load())
	} else {
		c = b.request("/chat/channel/1 HTTP/1.1\r\nIgnored:")
		synctest.Wait()
		bindAll(b.hub, b.only().info)
		if _, err := http.ReadResponse(c.r, nil); err != nil {
			b.t.Fatal(err)
		}
		synctest.Wait()
		due = b.server.lastSeen(b.only().conn.Load()) + b.server.cfg.Ping
	}
	c.Conn.(*memnet.Conn).SetReadRate(rate)
	time.Sleep(due - b.server.now() - time.Second)
	for range texts {
		b.hub.Forms(link.Forms{Topic: numberOf("all"), Texts: []link.Rendering{
			{Form: link.FormChat, Text: bytes.Repeat([]byte("x"), size)},
			{Form: link.FormJSON, Text: bytes.Repeat([]byte("x"), size)},
		}})
	}
	return c
}

// comesTo reads a number of texts and then a ping. It returns how long that took.
func (c *rawClient) comesTo(sdk bool, texts int) time.Duration {
	c.t.Helper()
	began := time.Now()
	for n := 0; ; n++ {
		first, p, err := c.frame()
		switch {
		case err != nil || first == closeByte:
			c.t.Fatalf("after %v and %d texts: frame %#x %q, error %v", time.Since(began), n, first, p, err)
		case first == pingFrame[0] || p == "{}":
			if n != texts {
				c.t.Errorf("the ping comes behind %d texts", n)
			}
			return time.Since(began)
		}
	}
}

// In TestOnePingAsksForOnePong, a client sends two pongs for one ping, or a pong before the first
// ping. The session must be closed with 3501.
func TestOnePingAsksForOnePong(t *testing.T) {
	for _, asked := range []bool{false, true} {
		inBubble(t, nil, nil, func(t *testing.T, b *bubbled) {
			c := b.confirmed("1")
			if asked {
				c.wantFrame(textByte, "{}")
				c.send(textOf(" {} ", "line"))
				synctest.Wait()
				if _, ended := b.only().Reason(); ended {
					t.Fatal("the pong that was asked for ends the session")
				}
			}
			c.send(textOf("{}"))
			c.wantCode(3501)
		})
	}
}

// TestPingsOfWebSocketsAreAnsweredAndNotSent checks WebSocket pings in a session of an SDK. The
// edge answers them, but sends only the pings of the SDKs' protocol.
func TestPingsOfWebSocketsAreAnsweredAndNotSent(t *testing.T) {
	inBubble(t, nil, func(c *Config) { c.Ping = time.Second }, func(t *testing.T, b *bubbled) {
		c := b.confirmed("1")
		c.send(masked(0x89, "hello"))
		c.wantFrame(pongByte, "hello")
		c.wantFrame(textByte, "{}") // no WebSocket ping comes before it
	})
}

// TestASessionEndsAfterItsUntil checks that a session ends sdkGrace after its expiry (until). If
// the session is refreshed, its new expiry counts. A session with the expiry 0 does not end.
func TestASessionEndsAfterItsUntil(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name           string
		until, refresh time.Duration // from now on; 0: for ever; -1: no refresh
		ends           time.Duration // time until the session ends; 0: it does not end; 1: at once
	}{
		{"as confirmed", 100 * time.Second, -1, 100*time.Second + sdkGrace},
		{"refreshed", 100 * time.Second, 200 * time.Second, 200*time.Second + sdkGrace},
		{"refreshed to less", 300 * time.Second, 10 * time.Second, 10*time.Second + sdkGrace},
		{"refreshed for ever", 100 * time.Second, 0, 0},
		{"for ever", 0, -1, 0},
		{"for ever, then not", 0, 50 * time.Second, 50*time.Second + sdkGrace},
		{"long over", -day, -1, 1},
		{"for centuries", 290 * 365 * day, -1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			up := silentRelay()
			inBubble(t, up, nil, func(t *testing.T, b *bubbled) {
				unix := func(in time.Duration) int64 {
					if in == 0 {
						return 0
					}
					return time.Now().Unix() + int64(in/time.Second)
				}
				c := b.connect()
				c.send(textOf("connect 1"))
				synctest.Wait()
				began := time.Now()
				b.hub.Confirmed(link.Confirmed{Session: 1, User: "1", Until: unix(test.until), Text: []byte("ok")}, true)
				c.wantFrame(textByte, "ok")
				if test.refresh >= 0 {
					b.hub.Refreshed(link.Refreshed{Session: 1, Until: unix(test.refresh), Text: []byte("refreshed")}, true)
					c.wantFrame(textByte, "refreshed")
				}
				lived, code := c.lives(10*time.Minute, began)
				switch {
				case test.ends == 0 && code == 0: // it has not ended, as wanted
				case code != 3005 || lived < test.ends-time.Second || lived > max(test.ends, time.Second)+2*wheelTick:
					t.Errorf("it ends with %d after %v, want %v", code, lived, test.ends)
				}
			})
		})
	}
}

// lives answers pings until the session ends, for the given time at most. It returns the time since
// began, and the code of the close frame, or 0 if the session has not ended.
func (c *rawClient) lives(most time.Duration, began time.Time) (lived time.Duration, code int) {
	c.t.Helper()
	for time.Since(began) < most {
		first, p, err := c.frame()
		switch {
		case err != nil:
			c.t.Fatal(err)
		case first == closeByte:
			return time.Since(began), int(p[0])<<8 | int(p[1])
		case p == "{}":
			c.send(textOf("{}"))
		}
	}
	return time.Since(began), 0
}

// In TestTimeNotLivedThroughIsNoLackOfAPong, the process seems to have stopped for an hour, by its
// clocks. That hour must not count as time in which a client did not answer a ping. Nor may it
// count as a guest's silence.
func TestTimeNotLivedThroughIsNoLackOfAPong(t *testing.T) {
	g := startSDK(t, nil, nil)
	c := g.sdk("1")
	guest := g.raw(protocol.SDKPath, "")
	eventually(t, "the timers of both sessions", func() bool {
		living := g.hub.living()
		g.server.clock.mu.Lock()
		defer g.server.clock.mu.Unlock()
		return len(living) == 2 && living[0].timer.next != nil && living[1].timer.next != nil
	})
	g.awaitWritten()
	asked := g.server.now() + sdkPing
	wall := time.Now()
	g.server.suspension.Step(wall, asked)
	g.server.checkSDK(g.hub.sessions[1].conn.Load(), asked)
	c.wantFrame(textByte, "{}")
	g.awaitWritten()
	later := asked + time.Hour
	g.server.beat(wall.Add(time.Hour), later)
	g.server.tick(later + sdkPongWait - wheelTick)
	for _, s := range g.hub.living() {
		if r, ended := s.Reason(); ended {
			t.Errorf("session %d ends: %v", s.info.ID, r)
		}
	}
	g.server.tick(later + guestWait + 2*wheelTick)
	c.wantFrame(textByte, "{}") // the next ping, which was due in that hour
	c.wantCode(3012)
	guest.wantCode(3502)
}
