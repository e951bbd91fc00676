package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// planSDK makes a random schedule that has clients of SDKs besides those of the chat. In every
// third of these schedules, some edges and relays do not know clients of SDKs.
func planSDK(seed uint64) schedule {
	s := planOf(seed, 0x5dc, slices.Concat(kinds, sdkKinds))
	s.config.sdk, s.config.skew = true, seed%3 == 1
	// An answer with missed publications is sent whole. A link ends if 16 times its buffer is full.
	s.config.buffer = max(s.config.buffer, 8<<10)
	if seed%2 == 0 {
		s.config.rules = rulesOf(rand.New(rand.NewPCG(seed, 0x4a1e5)), s.config)
	}
	return s
}

// rulesOf draws rules. They permit what the rules by default permit. Some of them raise what is
// kept of their channels, and some narrow what clients see of it.
func rulesOf(rnd *rand.Rand, c config) string {
	words := []string{"", "", " history=0", " history=3", " history=40/10s", fmt.Sprintf(" history=%d/10m", 2*c.history)}
	var all []string
	for _, rule := range []string{
		"user:* read=self write=any", "group:g read=any write=member", "group:* read=any write=member", "all read=any write=any",
		"news:1 read=token write=token", "* read=token write=token",
	} {
		all = append(all, rule+words[rnd.IntN(len(words))])
	}
	return strings.Join(all, ";")
}

// sdkKinds are actions in which only clients of SDKs take part. These clients also take part in the
// actions of the list kinds.
var sdkKinds = []kind{
	{"an SDK comes", 70, false, func(w *world) {
		if e := w.edge(); e != nil {
			w.connectSDK(e, false)
		}
	}},
	{"an SDK comes and goes", 15, false, func(w *world) {
		if e := w.edge(); e != nil {
			if s := w.connectSDK(e, false); s != nil {
				w.after(w.between(0, 20*time.Millisecond), func() {
					if !s.gone {
						w.disconnect(s)
					}
				})
			}
		}
	}},
	{"an SDK comes while its edge changes its relay", 15, false, func(w *world) {
		e := w.edge()
		if e == nil || e.used == nil {
			return
		}
		if s := w.connectSDK(e, true); s != nil {
			e.used.end.shut()
		}
	}},
	{"an app comes back", 60, false, func(w *world) {
		if s := w.someSDK(); s != nil {
			if w.chance(30) {
				w.speak(s)
			}
			w.disconnect(s)
			if !s.sdk.app.due {
				w.returns(s.sdk.app, w.between(0, 300*time.Millisecond))
			}
		}
	}},
	{"much is published, and an app comes back", 10, false, func(w *world) {
		if s := w.someSDK(); s != nil && len(s.interests) > 0 {
			t := pick(w, sortedKeys(s.interests))
			w.disconnect(s)
			for range w.rnd.IntN(150) {
				w.store.elsewhere(t, "elsewhere", w.text())
			}
		}
	}},
	{"apps come back while an edge moves", 24, false, func(w *world) {
		e := w.edge()
		if e == nil || e.used == nil {
			return
		}
		e.used.relay.drain()
		if w.chance(75) { // the link that is left brings publications before the next link does
			for _, r := range w.relays {
				if r.alive && r != e.used.relay {
					r.broker.slowDown(w.between(100*time.Millisecond, time.Second), 2*time.Second)
				}
			}
		}
		busy := pick(w, []protocol.Topic{protocol.All, protocol.GroupTopic("g"), protocol.GroupTopic("h")})
		for range 4 + w.rnd.IntN(16) {
			w.after(w.between(0, 2*time.Second), func() { w.store.elsewhere(busy, "elsewhere", w.text()) })
		}
		for range 2 + w.rnd.IntN(7) {
			w.after(w.between(0, 2*time.Second), func() {
				w.store.elsewhere(w.topic(), "elsewhere", w.text())
				w.connectSDK(e, false)
				if len(e.sessions) > 0 {
					if s := pick(w, e.sessions); s.sdk != nil && s.sdk.confirmed {
						w.sends(s, []line{w.subscribeLine(s, string(busy), w.chance(70))})
					}
				}
			})
		}
	}},
	{"another redis has the same", 8, true, func(w *world) {
		w.tracef("redis: another server has all that it had")
		w.store.restart(saved{w.store.memory.Save(), w.model.count()})
	}},
	{"an SDK says", 120, false, func(w *world) {
		if s := w.someSDK(); s != nil {
			w.sends(s, []line{w.randomLine(s)})
		}
	}},
	{"an SDK says many things at once", 50, false, func(w *world) {
		if s := w.someSDK(); s != nil {
			var lines []line
			channel := w.channel(s)
			for range 2 + w.rnd.IntN(6) {
				switch w.rnd.IntN(4) {
				case 0:
					lines = append(lines, w.publishLine(s, channel))
				case 1:
					lines = append(lines, w.subscribeLine(s, channel, w.chance(60)))
				default:
					lines = append(lines, w.randomLine(s))
				}
			}
			w.sends(s, lines)
		}
	}},
	{"an SDK subscribes and goes", 15, false, func(w *world) {
		if s := w.someSDK(); s != nil {
			channel := w.channel(s)
			w.sends(s, []line{w.subscribeLine(s, channel, true), w.publishLine(s, channel)})
			w.after(w.between(0, 20*time.Millisecond), func() {
				if !s.gone {
					w.disconnect(s)
				}
			})
		}
	}},
	{"an SDK's last word, and a cut", 20, false, func(w *world) {
		if s := w.someSDK(); s != nil {
			channel := string(protocol.GroupTopic(pick(w, groups)))
			var lines []line
			for range 1 + w.rnd.IntN(3) {
				lines = append(lines, w.publishLine(s, channel))
			}
			w.sends(s, append(lines, w.subscribeLine(s, channel, false)))
			w.after(w.between(0, 80*time.Millisecond), func() {
				if s.e.used != nil {
					s.e.used.end.conn.sever(true, w.chance(50))
				}
			})
		}
	}},
	{"the end of a membership is near", 40, false, func(w *world) { w.nearEnd() }},
	{"an SDK refreshes a subscription", 50, false, func(w *world) {
		if s, t := w.entitled(); s != nil {
			w.sends(s, []line{w.extendLine(s, t)})
		}
	}},
	{"an SDK refreshes a subscription, and something breaks", 40, false, func(w *world) {
		s, t := w.entitled()
		if s == nil {
			return
		}
		w.sends(s, []line{w.extendLine(s, t)})
		w.after(w.between(0, 25*time.Millisecond), func() {
			a := s.e.used
			if a == nil || !w.calm.IsZero() {
				return
			}
			switch w.rnd.IntN(5) {
			case 0:
				a.relay.kill(w.chance(50))
			case 1:
				a.relay.drain()
			case 2:
				a.relay.broker.lose(w.chance(50))
			default:
				a.end.conn.sever(w.chance(70), w.chance(50))
			}
		})
	}},
	{"an SDK subscribes with a token", 100, false, func(w *world) {
		if s := w.someSDK(); s != nil {
			t := protocol.Topic(w.channel(s))
			if s.opens(string(t)) {
				s.sdk.app.trail(t).ticket, s.sdk.app.trail(t).habit = w.newTicket(s, t), w.newHabit()
			}
			w.sends(s, []line{w.subscription(s, string(t), w.asksFor(s.sdk.app, t, false))})
		}
	}},
	{"an SDK ends its session", 15, false, func(w *world) {
		if s := w.someSDK(); s != nil {
			lines := []line{w.randomLine(s), w.lastLine(s), w.publishLine(s, "all"), w.randomLine(s)}
			w.sends(s, lines[w.rnd.IntN(2):])
		}
	}},
}
