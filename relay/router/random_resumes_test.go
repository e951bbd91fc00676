package router

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// TestP11_AnyScheduleOfResumes tries random schedules. Apps come and go at three edges, which are
// linked to two relays, and resume topics p and q where they left them. There are moves, cuts
// between any two frames, kills of relays, stalls, deafness, failed publishes, outages, and
// restores of Redis from a snapshot. An app must never be told that it has recovered while it
// misses something. What an app is given must come in order, and once. In a calm schedule every
// resume must be recovered.
func TestP11_AnyScheduleOfResumes(t *testing.T) {
	first, last := schedules()
	recovered, asked := 0, 0
	for s := first; s <= last; s++ {
		r, a := resumeSchedule(t, s)
		if t.Failed() {
			t.Fatalf("go test ./relay/router -run AnyScheduleOfResumes -seed %d", s)
		}
		recovered, asked = recovered+r, asked+a
	}
	t.Logf("%d of %d resumes were recovered", recovered, asked)
	if last > first && recovered*3 < asked {
		t.Errorf("%d of %d resumes were recovered", recovered, asked)
	}
}

// resumeRun is one schedule of resumes.
type resumeRun struct {
	*randomWorld
	witness          *brokertest.Handle // hears all publications
	truth            map[protocol.Topic][]broker.Publication
	number           uint64               // of the last publication of another relay
	said             map[string]int       // when each text was said, see resumeRun.moment
	last             map[*testEdge]uint64 // ID of an edge's last session
	apps             []*app
	moment           int  // counts what happens
	calm             bool // nothing goes wrong
	asked, recovered int
}

// app is a client that comes back again and again.
type app struct {
	name    string
	edge    *testEdge
	session uint64 // 0: it is away
	read    int    // number of texts that it has read in this session
	tag     int
	asked   map[string]asked // by tag
	topics  map[protocol.Topic]*appTopic
}

// asked is a command of an app that is not answered.
type asked struct {
	topics []protocol.Topic
	since  []protocol.Position // zero: none was named
}

// appTopic is what an app knows of a topic.
type appTopic struct {
	at        protocol.Position
	known     bool // at is known
	bound     bool
	recovered bool // the last resume was recovered
	since     int  // when it was bound
	ahead     map[string]bool
}

func resumeSchedule(t *testing.T, seed uint64) (recovered, asked int) {
	rnd := rand.New(rand.NewPCG(seed, 11))
	cfg := Config{Pieces: rnd.IntN(8), TailLength: 1 + rnd.IntN(40)}
	c := &resumeRun{
		randomWorld: newRandomWorld(t, rnd, cfg, showing()...), truth: map[protocol.Topic][]broker.Publication{},
		said: map[string]int{}, last: map[*testEdge]uint64{}, calm: seed%4 == 0,
	}
	c.witness = c.store.Broker()
	for _, name := range []protocol.Topic{"p", "q"} {
		c.witness.Subscribe(name, 1, false)
	}
	for i := range 5 {
		a := &app{name: fmt.Sprint("a", i), topics: map[protocol.Topic]*appTopic{}}
		for _, name := range []protocol.Topic{"p", "q"} {
			a.topics[name] = &appTopic{ahead: map[string]bool{}}
		}
		c.apps = append(c.apps, a)
	}
	c.wait(0)
	for range 150 {
		c.act()
		c.listen()
		if t.Failed() {
			return c.recovered, c.asked
		}
	}
	c.mend()
	for range 150 {
		c.wait(100 * time.Millisecond)
		c.listen()
	}
	if !t.Failed() {
		c.end()
	}
	return c.recovered, c.asked
}

// act does something, drawn at random.
func (c *resumeRun) act() {
	rnd := c.rnd
	c.moment++
	a := c.apps[rnd.IntN(len(c.apps))]
	switch n := rnd.IntN(20); {
	case n < 7:
		for range 1 + rnd.IntN(3)*rnd.IntN(8) {
			c.publish([]protocol.Topic{"p", "q"}[rnd.IntN(2)])
		}
	case n < 9 && a.session != 0:
		c.say(a, []protocol.Topic{"p", "q"}[rnd.IntN(2)])
	case n < 13 && a.session == 0:
		c.come(a)
	case n < 15 && a.session != 0:
		a.edge.end(a.session)
		a.leave()
	case n < 16 && !c.calm && rnd.IntN(3) == 0:
		c.store.Load(c.store.Save())
	case n < 18 && !c.calm:
		c.upset(c.anEdge())
	case n < 19:
		c.wait(time.Duration(rnd.IntN(600)) * time.Millisecond)
	default:
		c.settle()
	}
	if !c.calm {
		c.goOn()
	}
}

// publish publishes through another relay.
func (c *resumeRun) publish(name protocol.Topic) {
	c.number++
	text := fmt.Sprint("m", c.number)
	c.said[text] = c.moment
	c.witness.Publish(broker.Publish{
		Topic: name, Content: protocol.Content{From: "9", Msg: text}, Instance: protocol.Instance{99}, Number: c.number,
	})
}

func (c *resumeRun) say(a *app, name protocol.Topic) {
	c.number++
	text := fmt.Sprint("c", c.number)
	c.said[text] = c.moment
	a.tag++
	a.edge.say(a.session, fmt.Sprint("say ", a.tag, " ", name, " ", text))
}

// come begins a session of an app, which resumes both topics.
func (c *resumeRun) come(a *app) {
	rnd := c.rnd
	e := c.anEdge()
	c.last[e]++
	a.edge, a.session, a.read, a.asked = e, c.last[e], 0, map[string]asked{}
	part := func(name protocol.Topic, between string) (string, protocol.Position) {
		if st := a.topics[name]; st.known {
			return fmt.Sprint("most=1000", between, "since=", st.at), st.at
		}
		return "most=1000", protocol.Position{}
	}
	a.tag++
	if rnd.IntN(2) == 0 {
		e.guest(a.session)
		p, sinceP := part("p", ";")
		q, sinceQ := part("q", ";")
		e.say(a.session, fmt.Sprintf("connect %d %s 0 keep p;%s q;%s", a.tag, a.name, p, q))
		a.asked[fmt.Sprint(a.tag)] = asked{[]protocol.Topic{"p", "q"}, []protocol.Position{sinceP, sinceQ}}
		return
	}
	e.tellClient(link.Client{ID: a.session, Confirmed: true, User: a.name})
	for _, name := range []protocol.Topic{"p", "q"} {
		a.tag++
		text, since := part(name, " ")
		e.say(a.session, fmt.Sprintf("bind %d %s k %s", a.tag, name, text))
		a.asked[fmt.Sprint(a.tag)] = asked{[]protocol.Topic{name}, []protocol.Position{since}}
	}
}

// leave forgets an app's session.
func (a *app) leave() {
	a.session = 0
	for _, st := range a.topics {
		st.bound = false
	}
}

// listen takes what the witness and the apps have received.
func (c *resumeRun) listen() {
	for _, ev := range c.witness.Take() {
		if p, ok := ev.(broker.Received); ok {
			c.truth[p.Publication.Topic] = append(c.truth[p.Publication.Topic], p.Publication)
		}
	}
	for _, a := range c.apps {
		if a.session == 0 {
			continue
		}
		texts := a.edge.received[a.session]
		for ; a.read < len(texts); a.read++ {
			if c.take(a, texts[a.read]); c.t.Failed() {
				c.t.Errorf("%s, session %d at %s: %q", a.name, a.session, a.edge.node, texts[max(0, a.read-8):a.read+1])
				return
			}
		}
		if a.edge.dead[a.session] || len(a.edge.closes[a.session]) > 0 {
			if !a.edge.dead[a.session] {
				a.edge.end(a.session)
			}
			a.leave()
		}
	}
}

var aPush = regexp.MustCompile(`^([pq]) (\S+): (\S+?)(?: at (\d+-\d+))?$`)

// take takes a text that an app has received.
func (c *resumeRun) take(a *app, text string) {
	if m := aPush.FindStringSubmatch(text); m != nil {
		c.push(a, protocol.Topic(m[1]), m[3], m[4])
		return
	}
	if name, ok := strings.CutSuffix(text, " lost"); ok {
		a.topics[protocol.Topic(name)].bound = false
		return
	}
	tag, answer, _ := strings.Cut(text, " ")
	q, ok := a.asked[tag]
	if !ok { // the answer to a say
		return
	}
	delete(a.asked, tag)
	places, done := strings.CutPrefix(answer, "done")
	if !done {
		if answer != "late" {
			c.t.Errorf("answered %q", text)
		}
		return
	}
	for i, place := range strings.Split(places, ";") {
		c.bound(a, q.topics[i], q.since[i], strings.Fields(place))
	}
}

// push takes a publication of an app's topic.
func (c *resumeRun) push(a *app, name protocol.Topic, text, position string) {
	st := a.topics[name]
	if !st.bound {
		c.t.Errorf("a push to who is no member: %s", text)
	}
	if position == "" {
		st.ahead[text] = true
		return
	}
	at := must(protocol.ParsePosition(position))
	c.advance(name, st, at, text)
	st.at, st.known = at, true
}

// advance checks that an app may be given a publication next.
func (c *resumeRun) advance(name protocol.Topic, st *appTopic, at protocol.Position, text string) {
	if st.known && !st.at.Before(at) {
		c.t.Errorf("%s at %v came after %v", text, at, st.at)
	}
	found := false
	for _, p := range c.truth[name] {
		switch {
		case p.Position == at:
			found = p.Msg == text
		case st.known && st.at.Before(p.Position) && p.Position.Before(at) && !st.ahead[p.Msg]:
			if !st.recovered && c.said[p.Msg] <= st.since {
				continue // it was said before the app came
			}
			c.t.Errorf("%s at %v came after %v, without %s at %v, said at %d; bound at %d, recovered %v", text, at, st.at, p.Msg, p.Position, c.said[p.Msg], st.since, st.recovered)
		}
	}
	if !found {
		c.t.Errorf("%s was never published at %v", text, at)
	}
}

// bound takes the place of an app in a topic.
func (c *resumeRun) bound(a *app, name protocol.Topic, since protocol.Position, place []string) {
	st := a.topics[name]
	at := must(protocol.ParsePosition(place[0]))
	recovered := slices.Contains(place, "recovered")
	if since != (protocol.Position{}) {
		c.asked++
		if recovered {
			c.recovered++
		} else if c.calm {
			c.t.Errorf("%s since %v is not recovered, at %v", name, since, at)
		}
	}
	st.bound, st.recovered, st.since = true, recovered, c.moment
	if !recovered {
		if len(place) > 1 {
			c.t.Errorf("publications although nothing is recovered")
		}
		st.at, st.known = at, at.Epoch != 0
		return
	}
	if since.Epoch == 0 || since.Epoch != at.Epoch || len(place)-2 != int(at.Offset-since.Offset) {
		c.t.Errorf("%s since %v: recovered, with %d publications up to %v", name, since, len(place)-2, at)
		return
	}
	st.at, st.known = since, true
	for _, m := range place[2:] {
		var offset uint64
		var text string
		fmt.Sscanf(m, "%d:%s", &offset, &text)
		next := protocol.Position{Epoch: at.Epoch, Offset: offset}
		c.advance(name, st, next, text)
		st.at = next
	}
	if st.at != at {
		c.t.Errorf("%s since %v: recovered up to %v, and the place is %v", name, since, st.at, at)
	}
}

// end checks that each app has all that was published since it came.
func (c *resumeRun) end() {
	for _, name := range []protocol.Topic{"p", "q"} {
		c.publish(name)
	}
	for _, a := range c.apps {
		if a.session == 0 {
			c.come(a)
		}
	}
	for range 3 {
		c.wait(time.Second)
	}
	c.listen()
	for _, a := range c.apps {
		for name, st := range a.topics {
			all := c.truth[name]
			if top := all[len(all)-1].Position; a.session != 0 && st.bound && st.at != top {
				c.t.Errorf("%s: %s is at %v, the top is %v", a.name, name, st.at, top)
			}
		}
		if len(a.asked) > 0 && a.session != 0 {
			c.t.Errorf("%s: not answered: %v", a.name, a.asked)
		}
	}
	for _, e := range c.edges {
		e.quiet()
	}
	for _, rl := range c.relays {
		rl.idle()
	}
}
