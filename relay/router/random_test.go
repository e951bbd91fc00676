package router

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/chat"
)

// TestP1P2P4_AnySchedule tries random schedules. Three edges with clients are linked to two
// relays. There are moves, cuts, kills of relays, stalls, deafness, failed publishes and outages.
// In the end each session that was there from the start has received every message that is for it,
// once. Each such session has received the messages of one sender to one topic in order.
func TestP1P2P4_AnySchedule(t *testing.T) {
	first, last := schedules()
	for s := first; s <= last; s++ {
		if schedule(t, s); t.Failed() {
			t.Fatalf("go test ./relay/router -run AnySchedule -seed %d", s)
		}
	}
}

// schedule runs the schedule of one seed. Sessions 1 and 2 of each edge stay and are in group g.
// Sessions from 3 on come and go.
func schedule(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	cfg := Config{Pieces: rnd.IntN(8)} // 0: Config's default
	w := newRandomWorld(t, rnd, cfg, chat.Dialect{})
	edges := w.edges
	for _, e := range edges {
		for id := uint64(1); id <= 2; id++ {
			e.channel(id, fmt.Sprintf("%s.%d", e.node, id))
		}
	}
	w.settle()
	for _, e := range edges {
		e.join(1, "g")
		e.join(2, "g")
	}
	w.settle()
	for _, e := range edges {
		clear(e.received)
	}
	sent := map[string][]string{} // texts that were sent, by sender and topic
	refused := map[string]int{}   // number of refusals that must come, by sender
	say := func(e *testEdge, id uint64) {
		user := e.sessions[id].User
		to := w.anEdge()
		stream, text := "", ""
		switch rnd.IntN(4) {
		case 3:
			refused[user]++
			if rnd.IntN(2) == 0 {
				e.say(id, "{")
			} else {
				e.group(id, "h", "not a member")
			}
			return
		case 0:
			target := fmt.Sprintf("%s.%d", to.node, 1+rnd.IntN(2))
			stream = user + ">" + target
			text = fmt.Sprintf("%s#%d", stream, len(sent[stream]))
			e.one(id, target, text)
		case 1:
			stream = user + ">g"
			text = fmt.Sprintf("%s#%d", stream, len(sent[stream]))
			e.group(id, "g", text)
		case 2:
			stream = user + ">all"
			text = fmt.Sprintf("%s#%d", stream, len(sent[stream]))
			e.say(id, `{"MsgBody":"`+text+`"}`)
		}
		sent[stream] = append(sent[stream], text)
	}
	volatile := uint64(3)
	for range 120 {
		e := w.anEdge()
		switch n := rnd.IntN(100); {
		case n < 50:
			say(e, 1+rnd.Uint64N(2))
		case n < 55:
			e.channel(volatile, fmt.Sprint(e.node, ".v", volatile))
			volatile++
		case n < 63 && volatile > 3:
			id := 3 + rnd.Uint64N(volatile-3)
			if _, ok := e.sessions[id]; ok && !e.dead[id] {
				switch rnd.IntN(4) {
				case 0:
					e.end(id)
				case 1:
					e.leave(id, "g")
				case 2:
					e.join(id, "g")
				case 3:
					e.join(id, "h")
					e.leave(id, "h")
				}
			}
		case n < 68:
			if other := w.aRelay(); e.link != nil && e.link != other && !e.deaf && rnd.IntN(2) == 0 {
				e.moveTo(other) // both links are up for a while
				break
			}
			// The edge loses its link and links anew. Up to two of the last frames are lost on
			// their way to the old relay. That relay is told of the link's end in half of the
			// cases.
			if old, conn := e.link, e.conn; old != nil {
				lost := rnd.IntN(3)
				for i := len(old.inputs) - 1; i >= 0 && lost > 0; i-- {
					if in, ok := old.inputs[i].(Received); ok && in.Link == conn && len(in.Frames) == 1 {
						old.inputs = append(old.inputs[:i:i], old.inputs[i+1:]...)
						lost--
					} else {
						break
					}
				}
				if rnd.IntN(2) == 0 {
					old.inputs = append(old.inputs, Disconnected{conn, w.now, errors.New("cut")})
				}
			}
			e.linkTo(w.aRelay())
		case n < 70:
			w.replace(w.aRelay())
		case n < 74:
			rl := w.aRelay()
			rl.broker.onPublish = func(p broker.Publish) bool {
				switch rnd.IntN(4) {
				case 0: // the publish does not reach the broker
					rl.broker.held = append(rl.broker.held, broker.Published{Token: p.Token, Err: errors.New("lost")})
					return false
				case 1: // the publish is carried out, and its answer is lost
					rl.broker.Handle.Publish(p)
					token := p.Token
					previous := rl.broker.onEvent
					rl.broker.onEvent = func(ev broker.Event) bool {
						if done, ok := ev.(broker.Published); ok && done.Token == token && done.Err == nil {
							rl.broker.held = append(rl.broker.held, broker.Published{Token: token, Err: errors.New("lost")})
							return false
						}
						return previous == nil || previous(ev)
					}
					return false
				}
				return true
			}
		case n < 76:
			w.aRelay().broker.onPublish = nil
		case n < 77:
			w.aRelay().leave(rnd.IntN(2) == 0)
		case n < 78:
			w.aRelay().comeBack()
		case n < 81:
			e.stuck = 8 << 20
		case n < 84:
			e.flow()
		case n < 86:
			rl := w.aRelay()
			rl.broker.held = append(rl.broker.held, broker.Deaf{All: true})
			for _, name := range sorted(rl.router.directory.topics) {
				topic := rl.router.directory.topics[name]
				rl.broker.Unsubscribe(name)
				rl.broker.Subscribe(name, topic.number, false)
			}
		case n < 88:
			e.deaf = true
		case n < 94:
			w.aRelay().step()
		case n < 97:
			w.wait(time.Duration(rnd.IntN(300)) * time.Millisecond)
		default:
			w.settle()
		}
		w.goOn()
	}
	w.mend()
	for range 130 {
		w.wait(100 * time.Millisecond)
	}
	check(t, edges, sent, refused)
}

func check(t *testing.T, edges []*testEdge, sent map[string][]string, refused map[string]int) {
	for _, e := range edges {
		e.quiet()
		for id := uint64(1); id <= 2; id++ {
			user := e.sessions[id].User
			got := map[string][]string{}
			for _, line := range e.received[id] {
				_, text, _ := strings.Cut(line, " send")
				_, text, _ = strings.Cut(text, ":")
				if strings.HasPrefix(line, "error: messages lost") {
					t.Errorf("%s got %q", user, line)
				} else if strings.HasPrefix(line, "error: ") || strings.HasPrefix(line, "group【h】 not") || line == "user 【"+user+"】 not in 【h】" {
					refused[user]--
				} else if stream, _, ok := strings.Cut(text, "#"); ok {
					got[stream] = append(got[stream], text)
				} else if !strings.Contains(text, " group 【") {
					t.Errorf("%s got %q", user, line)
				}
			}
			if refused[user] != 0 {
				t.Errorf("%s: %d answers too few", user, refused[user])
			}
			for stream, texts := range sent {
				from, to, _ := strings.Cut(stream, ">")
				want := strings.Join(texts, " ")
				if to != user && (to != "g" && to != "all" || from == user) {
					want = ""
				}
				if have := strings.Join(got[stream], " "); have != want {
					t.Errorf("%s, of %s: got\n\t%s\nwant\n\t%s", user, stream, have, want)
				}
			}
		}
		for id, lines := range e.received {
			seen := map[string]bool{}
			for _, line := range lines {
				if strings.Contains(line, "#") && seen[line] {
					t.Errorf("%s, session %d: %q twice", e.node, id, line)
				}
				seen[line] = true
			}
		}
		if e.digests == 0 {
			t.Errorf("%s: tables were not compared", e.node)
		}
	}
}
