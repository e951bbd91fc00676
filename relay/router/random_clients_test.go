package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP1P2P4P6_AnyScheduleOfClients tries random schedules. Three edges with clients of SDKs and
// sessions of the chat are linked to two relays. There are moves, cuts between any two frames,
// kills of relays, stalls, deafness, failed publishes and outages. In the end each session that
// stays has received every message that is for it, once. Each such session has received the
// messages of one sender to one topic in order. Every command of a client was answered once, as if
// the commands on its topic had been carried out one after another.
func TestP1P2P4P6_AnyScheduleOfClients(t *testing.T) {
	first, last := schedules()
	for s := first; s <= last; s++ {
		if clientSchedule(t, s); t.Failed() {
			t.Fatalf("go test ./relay/router -run AnyScheduleOfClients -seed %d", s)
		}
	}
}

// clientRun is one schedule. On each edge, session 1 speaks the chat, and session 2 is a client of
// an SDK. Both stay, and are in group g. The sessions from 3 on are clients of SDKs that come and
// go, and are in and out of topic v. Their memberships in topic w end by themselves.
type clientRun struct {
	*randomWorld
	sent map[string][]string   // texts that were sent, by sender and topic
	said map[ofEdge][]lineSent // commands of clients, in order
	last map[*testEdge]uint64  // ID of an edge's last session
	tag  int
}

type ofEdge struct {
	edge    *testEdge
	session uint64
}

// lineSent is a command of a client.
type lineSent struct{ verb, topic, tag string }

func clientSchedule(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	cfg := Config{Pieces: rnd.IntN(8)} // 0: Config's default
	c := &clientRun{
		randomWorld: newRandomWorld(t, rnd, cfg, speakers()...),
		sent:        map[string][]string{}, said: map[ofEdge][]lineSent{}, last: map[*testEdge]uint64{},
	}
	for _, e := range c.edges {
		e.channel(1, e.node+".1")
		e.guest(2)
		e.say(2, fmt.Sprintf("connect 0 %s.2 0 keep user:%s.2 all=of-all", e.node, e.node))
		c.last[e] = 2
	}
	c.wait(0)
	for _, e := range c.edges {
		e.join(1, "g")
		e.say(2, "bind 0 group:g of-g")
	}
	c.wait(0)
	for _, e := range c.edges {
		clear(e.received)
	}
	for range 120 {
		if e := c.anEdge(); rnd.IntN(100) < 65 {
			c.act(e)
		} else {
			c.upset(e)
		}
		c.goOn()
	}
	c.mend()
	for range 150 {
		c.wait(100 * time.Millisecond)
	}
	c.check()
}

// act does something at a session of an edge.
func (c *clientRun) act(e *testEdge) {
	rnd := c.rnd
	switch n := rnd.IntN(20); {
	case n < 4: // the chat
		user, to := e.sessions[1].User, c.anEdge()
		if rnd.IntN(2) == 0 {
			e.group(1, "g", c.text(user, "group:g"))
		} else {
			target := fmt.Sprintf("%s.%d", to.node, 1+rnd.IntN(2))
			e.one(1, target, c.text(user, "user:"+target))
		}
	case n < 9:
		user, to := e.sessions[2].User, c.anEdge()
		topic := []string{"group:g", protocolAll, fmt.Sprintf("user:%s.%d", to.node, 1+rnd.IntN(2))}[rnd.IntN(3)]
		verb := "say"
		if topic == "group:g" {
			verb = "tell"
		}
		c.line(e, 2, verb, topic, c.text(user, topic))
	case n < 10 && c.last[e] < 6:
		c.last[e]++
		e.tellClient(link.Client{ID: c.last[e], Confirmed: true, User: fmt.Sprint(e.node, ".v", c.last[e])})
	case c.last[e] > 2:
		id := 3 + rnd.Uint64N(c.last[e]-2)
		for range 1 + rnd.IntN(4) {
			if _, ok := e.sessions[id]; ok && !e.dead[id] {
				c.inAndOut(e, id)
			}
		}
	}
}

// inAndOut sends a command of a client that comes and goes.
func (c *clientRun) inAndOut(e *testEdge, id uint64) {
	switch n := c.rnd.IntN(50); {
	case n < 12:
		c.line(e, id, "bind", "v", "of-v")
	case n < 20:
		c.line(e, id, "unbind", "v", "")
	case n < 35:
		c.line(e, id, "tell", "v", c.text(e.sessions[id].User, "v"))
	case n < 39:
		c.line(e, id, "renew", "", fmt.Sprint(c.rnd.IntN(100)))
	case n < 40:
		e.end(id)
	case n < 45:
		c.line(e, id, "bind", "w", c.in(time.Duration(c.rnd.IntN(8))*time.Second))
	default:
		c.line(e, id, "extend", "w", c.in(time.Duration(c.rnd.IntN(8))*time.Second))
	}
}

const protocolAll = string(protocol.All)

// text returns the next text of a user to a topic.
func (c *clientRun) text(user, topic string) string {
	stream := user + ">" + topic
	text := fmt.Sprintf("%s#%d", stream, len(c.sent[stream]))
	c.sent[stream] = append(c.sent[stream], text)
	return text
}

// line sends a command of a client.
func (c *clientRun) line(e *testEdge, id uint64, verb, topic, rest string) {
	c.tag++
	tag := fmt.Sprint(c.tag)
	words := []string{verb, tag, topic, rest}
	if topic == "" {
		words = []string{verb, tag, rest}
	}
	e.say(id, strings.TrimSpace(strings.Join(words, " ")))
	k := ofEdge{e, id}
	c.said[k] = append(c.said[k], lineSent{verb, topic, tag})
}

// check compares the texts that the staying sessions received with the texts that were sent. It
// also compares the clients' answers with their commands.
func (c *clientRun) check() {
	for _, e := range c.edges {
		e.quiet()
		for id := uint64(1); id <= 2; id++ {
			c.checkReceived(e, id)
		}
		if e.digests == 0 {
			c.t.Errorf("%s: tables were not compared", e.node)
		}
		if h := e.topics["w"]; h != nil { // each of these memberships should have ended by now
			for _, id := range h.members {
				if !e.dead[id] && len(e.closes[id]) == 0 {
					c.t.Errorf("%s: session %d is a member of w, with the keep %s", e.node, id, e.keeps[ofMember{id, "w"}])
				}
			}
		}
	}
	for k, lines := range c.said {
		answers := map[string][]string{}
		for _, text := range k.edge.received[k.session] {
			if tag, reason, ok := strings.Cut(text, " "); ok && !strings.Contains(text, "#") {
				answers[tag] = append(answers[tag], reason)
			}
		}
		_, lives := k.edge.sessions[k.session]
		c.checkAnswers(k, lines, answers, lives && !k.edge.dead[k.session])
	}
	for _, rl := range c.relays {
		rl.idle()
	}
}

func (c *clientRun) checkReceived(e *testEdge, id uint64) {
	user := e.sessions[id].User
	got := map[string][]string{}
	for _, line := range e.received[id] {
		if strings.HasPrefix(line, "error: ") {
			c.t.Errorf("%s got %q", user, line)
		}
		text := line[strings.LastIndexAny(line, ": ")+1:]
		if i := strings.LastIndex(line, "send:"); i >= 0 {
			text = line[i+len("send:"):]
		} else if i := strings.Index(line, ": "); i >= 0 {
			text = line[i+2:]
		}
		if stream, _, ok := strings.Cut(text, "#"); ok {
			got[stream] = append(got[stream], text)
		}
	}
	for stream, texts := range c.sent {
		from, to, _ := strings.Cut(stream, ">")
		want := texts
		if to != "user:"+user && to != "group:g" && to != protocolAll || id == 1 && from == user && to != "user:"+user {
			want = nil
		}
		if !slices.Equal(got[stream], want) {
			c.t.Errorf("%s, of %s: got\n\t%s\nwant\n\t%s", user, stream, strings.Join(got[stream], " "), strings.Join(want, " "))
		}
	}
}

// checkAnswers checks the answers to the commands of one client. The commands are in the order in
// which the client sent them.
func (c *clientRun) checkAnswers(k ofEdge, lines []lineSent, answers map[string][]string, lives bool) {
	member, maybe := map[string]bool{"group:g": true}, false // maybe: the last bind was "late"
	for i, l := range lines {
		got := answers[l.tag]
		if len(got) > 1 || len(got) == 0 && lives {
			c.t.Errorf("%s, session %d: %v is answered %q", k.edge.node, k.session, l, got)
		}
		if len(got) != 1 {
			return // the session has ended
		}
		ok := got[0] == "done"
		switch was := member[l.topic]; l.verb {
		case "extend":
			ok = ok || got[0] == "not-member"
		case "bind":
			if l.topic == "w" { // nobody knows whether an earlier membership has ended
				ok = ok || got[0] == "already" || got[0] == "late"
				break
			}
			ok = was && got[0] == "already" || !was && (ok || got[0] == "late")
			maybe = got[0] == "late"
			member[l.topic] = was || got[0] == "done"
		case "unbind":
			ok = was && ok || !was && got[0] == "not-member"
			member[l.topic], maybe = false, false
		case "tell":
			refused := got[0] == "not-member" || got[0] == "unsure" // the latter in a replay
			// A publish may be judged again in a replay. Then the client counts as a member if one
			// of its later binds was answered.
			bound := slices.ContainsFunc(lines[i:], func(l lineSent) bool {
				return l.verb == "bind" && slices.Equal(answers[l.tag], []string{"done"})
			})
			ok = ok && (was || maybe || bound) || refused && !was
		}
		if !ok {
			c.t.Errorf("%s, session %d: %v is answered %q, member %v", k.edge.node, k.session, l, got, member)
		}
	}
}
