package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// schedule is what is done to a cluster: a list that can be shortened, and still means the same.
type schedule struct {
	seed    uint64
	config  config
	actions []action
}

// action is one thing that is done, after a wait. All that is drawn for it, and from then on until the next one, is drawn from its own seed.
type action struct {
	name string
	do   func(*world)
	seed uint64
	wait time.Duration
}

const actions = 160

// plan draws a schedule.
func plan(seed uint64) schedule {
	rnd := rand.New(rand.NewPCG(seed, 0xac7104))
	one := func(of ...int) int { return of[rnd.IntN(len(of))] }
	s := schedule{seed: seed, config: config{
		lossy:      seed%5 == 0,
		history:    one(256, 256, 256, 20, 6),
		age:        time.Duration(one(120, 120, 120, 5)) * time.Second,
		logSize:    one(4<<20, 4<<20, 64<<10, 3<<10),
		buffer:     one(1<<20, 1<<20, 16<<10, 1<<10),
		tail:       one(64, 64, 8, 2),
		window:     one(64<<10, 64<<10, 4<<10, 600),
		digestEach: time.Duration(one(10, 2)) * time.Second,
	}}
	total := 0
	for _, k := range kinds {
		if !k.lossy || s.config.lossy {
			total += k.weight
		}
	}
	for range actions {
		n := rnd.IntN(total)
		for _, k := range kinds {
			if k.lossy && !s.config.lossy {
				continue
			}
			if n -= k.weight; n < 0 {
				s.actions = append(s.actions, action{k.name, k.do, rnd.Uint64(), wait(rnd)})
				break
			}
		}
	}
	return s
}

func wait(rnd *rand.Rand) time.Duration {
	switch n := rnd.IntN(100); {
	case n < 70:
		return time.Duration(rnd.Int64N(int64(8 * time.Millisecond)))
	case n < 95:
		return time.Duration(rnd.Int64N(int64(200 * time.Millisecond)))
	}
	return time.Duration(rnd.Int64N(int64(5 * time.Second)))
}

// kind is a kind of action; of a hundred or so actions, weight.
type kind struct {
	name   string
	weight int
	lossy  bool
	do     func(*world)
}

var kinds = []kind{
	{"say", 380, false, func(w *world) { w.say() }},
	{"say much", 20, false, func(w *world) {
		if s := w.someone(); s != nil {
			for range 10 + w.rnd.IntN(30) {
				w.speak(s)
			}
		}
	}},
	{"connect", 60, false, func(w *world) { w.connect() }},
	{"disconnect", 40, false, func(w *world) {
		if s := w.someone(); s != nil {
			if w.chance(30) {
				w.speak(s) // what it said last is not lost with it
			}
			w.disconnect(s)
		}
	}},
	{"join or leave", 110, false, func(w *world) {
		if s := w.someone(); s != nil {
			w.command(s)
		}
	}},
	{"publish elsewhere", 40, false, func(w *world) {
		w.store.elsewhere(w.topic(), "elsewhere", w.text())
	}},
	{"publish bare", 40, false, func(w *world) { w.store.bare(w.topic(), "original", w.text()) }},
	{"cut", 60, false, func(w *world) {
		if e := w.edge(); e != nil && len(e.attachments()) > 0 {
			pick(w, e.attachments()).end.conn.sever(w.chance(70), w.chance(50))
		}
	}},
	{"renew", 10, false, func(w *world) {
		if e := w.edge(); e != nil && e.used != nil {
			e.used.end.shut()
		}
	}},
	{"kill a relay", 12, false, func(w *world) { w.relay().kill(w.chance(40)) }},
	{"start a relay", 25, false, func(w *world) {
		if w.serving() < 3 {
			w.startRelay()
		}
	}},
	{"drain a relay", 16, false, func(w *world) {
		w.relay().drain()
		for range w.rnd.IntN(6) { // while edges move, all comes by two links
			w.after(w.between(0, 1500*time.Millisecond), func() {
				w.store.bare(w.topic(), "original", w.text())
				w.store.elsewhere(w.topic(), "elsewhere", w.text())
				w.connect()
			})
		}
	}},
	{"a last word, and a cut", 20, false, func(w *world) {
		if s := w.someone(); s != nil && s.endpoint == protocol.EndpointChannel {
			g := pick(w, groups)
			for range 1 + w.rnd.IntN(3) {
				w.sayTo(s, g)
			}
			w.quit(s, g)
			w.after(w.between(0, 80*time.Millisecond), func() {
				if s.e.used != nil {
					s.e.used.end.conn.sever(true, w.chance(50))
				}
			})
		}
	}},
	{"freeze a relay", 16, false, func(w *world) { w.relay().freeze() }},
	{"thaw relays", 20, false, func(w *world) { w.thaw() }},
	{"stall an edge", 14, false, func(w *world) {
		if e := w.edge(); e != nil {
			e.stall()
		}
	}},
	{"unstall edges", 24, false, func(w *world) { w.unstall() }},
	{"an edge dies", 6, false, func(w *world) {
		if e := w.edge(); e != nil {
			e.die(w.chance(50))
			w.after(w.between(0, 500*time.Millisecond), func() { w.populate(w.startEdge(e.node)) })
		}
	}},
	{"requests go wrong", 20, false, func(w *world) { w.store.trouble = 10 + w.rnd.IntN(50) }},
	{"requests go right", 30, false, func(w *world) { w.store.trouble = 0 }},
	{"a relay is deaf", 16, false, func(w *world) {
		if r := w.relay(); r.alive && !r.carrier.unreachable {
			r.carrier.deafen(w.chance(50), w.topic())
			r.carrier.listen(w.between(0, 500*time.Millisecond))
		}
	}},
	{"a publication is swallowed", 16, false, func(w *world) {
		if r := w.relay(); r.alive {
			r.carrier.swallow += 1 + w.rnd.IntN(2)
		}
	}},
	{"redis is out of one's reach", 8, false, func(w *world) {
		if r := w.relay(); r.alive {
			r.carrier.lose(false)
		}
	}},
	{"redis is away", 8, false, func(w *world) {
		frozen := w.chance(50)
		for _, c := range slices.Clone(w.store.carriers) {
			c.lose(frozen)
		}
	}},
	{"redis is back", 24, false, func(w *world) { w.regain() }},
	{"redis is saved", 20, true, func(w *world) { w.store.save() }},
	{"redis goes back", 8, true, func(w *world) { w.store.load(true) }},
	{"redis is emptied", 4, true, func(w *world) { w.store.load(false) }},
}

func (s *store) save() {
	s.saved = append(s.saved, saved{s.memory.Save(), s.w.model.count()})
}

// load replaces what the store has by what it had before, or by nothing. The relays are deaf meanwhile.
func (s *store) load(back bool) {
	old := saved{}
	if back {
		if len(s.saved) == 0 {
			return
		}
		old = pick(s.w, s.saved)
	}
	s.w.tracef("redis: loses what it had, goes back %v", back)
	s.memory.Load(old.Saved)
	s.w.model.lose(old.stored)
	for _, c := range slices.Clone(s.carriers) {
		if !c.unreachable {
			c.deafen(true, "")
			c.listen(200 * time.Millisecond)
		}
	}
}

// play carries a schedule out, mends everything, and checks.
func (w *world) play(s schedule) {
	w.model = &model{w: w, edges: map[protocol.Instance]*numbered{}, topics: map[protocol.Topic]*stream{}, ids: map[uint64]*frame{}, unsure: map[protocol.Topic]time.Time{}}
	w.store = newStore(w)
	for range 3 {
		w.startRelay()
	}
	for i := range 3 {
		w.populate(w.startEdge(fmt.Sprint("e", i)))
	}
	w.pass(200 * time.Millisecond)
	for i, a := range s.actions {
		if w.failure != "" {
			return
		}
		w.tracef("--- %d: %s", i, a.name)
		w.reseed(a.seed)
		a.do(w)
		w.pass(a.wait)
	}
	w.reseed(^s.seed)
	w.mend()
	w.pass(30 * time.Second)
	w.model.caughtUp()
	for _, t := range sortedKeys(w.model.topics) {
		w.store.elsewhere(t, "elsewhere", w.text()) // who has missed the last one sees it now
	}
	w.pass(11 * time.Second) // tables are compared at least once
	if w.failure == "" {
		w.model.finish()
	}
	if s.seed%4 == 2 { // it takes longer than all that was before
		w.outage()
	}
	w.bareReachesAll()
	w.leaveAll()
}

// mend undoes all that was broken.
func (w *world) mend() {
	w.tracef("--- all is mended")
	w.calm = true
	w.store.trouble = 0
	w.thaw()
	w.unstall()
	w.regain()
	for _, r := range w.relays {
		r.carrier.swallow = 0
	}
	for w.serving() < 2 {
		w.startRelay()
	}
	for _, e := range w.edges {
		e.compared = 0
	}
}

// bareReachesAll checks that in calm a publication without a position reaches everybody.
func (w *world) bareReachesAll() {
	if w.failure != "" {
		return
	}
	text := w.text()
	w.store.bare(protocol.All, "original", text)
	w.pass(time.Second)
	e := w.model.stream(protocol.All).bares["user 【original】 send all:"+text]
	for _, edge := range w.edges {
		for _, s := range edge.sessions {
			if s.interests[protocol.All] != nil && s.bares[e] != 1 {
				w.fail("P4: %s/%d did not get what was published without a position", edge.name, s.id)
			}
		}
	}
}

// leaveAll ends all sessions, and checks that nothing is left of them.
func (w *world) leaveAll() {
	if w.failure != "" {
		return
	}
	alive := 0
	for _, e := range w.edges {
		for len(e.sessions) > 0 {
			w.disconnect(e.sessions[0])
		}
		if e.alive {
			alive++
		}
	}
	w.pass(20 * time.Second)
	edges := 0.0
	for _, r := range w.relays {
		if !r.alive {
			continue
		}
		edges += r.gauge("edgerelay_relay_edges")
		for _, left := range []string{"sessions", "bindings", "topics"} {
			if n := r.gauge("edgerelay_relay_" + left); n != 0 {
				w.fail("P9: %s: %v %s are left", r.name, n, left)
			}
		}
		if n := len(r.carrier.order); n > 0 {
			w.fail("P9: %s: %d topics are still subscribed", r.name, n)
		}
	}
	if int(edges) != alive && w.failure == "" {
		w.fail("P9: %d edges are known, %d live", int(edges), alive)
	}
	for _, e := range w.edges {
		if all, _ := e.hub.Len(); e.alive && all > 0 {
			w.fail("P9: %s: %d sessions are left", e.name, all)
		}
	}
}

func (w *world) serving() (n int) {
	for _, r := range w.relays {
		if r.alive && !r.refusing {
			n++
		}
	}
	return n
}

func (w *world) thaw() {
	for _, r := range w.relays {
		r.thaw()
	}
}

func (w *world) unstall() {
	for _, e := range w.edges {
		if e.stalled && e.alive {
			e.unstall()
		}
	}
}

func (w *world) regain() {
	for _, c := range slices.Clone(w.store.carriers) {
		c.regain()
	}
}

// relay picks a relay of the last few, dead or alive.
func (w *world) relay() *relay { return pick(w, w.relays[max(0, len(w.relays)-4):]) }

// edge picks a living edge; nil: there is none.
func (w *world) edge() *edge {
	alive := slices.DeleteFunc(slices.Clone(w.edges), func(e *edge) bool { return !e.alive })
	if len(alive) == 0 {
		return nil
	}
	return pick(w, alive)
}

// someone picks a client that is connected; nil: there is none.
func (w *world) someone() *session {
	var ready []*session
	for _, e := range w.edges {
		for _, s := range e.sessions {
			if s.ready {
				ready = append(ready, s)
			}
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return pick(w, ready)
}

var (
	users  = []string{"u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"}
	groups = []string{"g", "h"}
)

// topic picks one that somebody may follow.
func (w *world) topic() protocol.Topic {
	switch w.rnd.IntN(3) {
	case 0:
		return protocol.UserTopic(pick(w, users))
	case 1:
		return protocol.GroupTopic(pick(w, groups))
	}
	return protocol.All
}

// text returns one that was not used before.
func (w *world) text() string {
	w.model.texts++
	return fmt.Sprint("#", w.model.texts)
}

// populate gives an edge its first clients, once it has a relay.
func (w *world) populate(e *edge) {
	w.after(50*time.Millisecond, func() {
		if _, ever := e.links.Linked(); !ever && e.alive {
			w.populate(e)
			return
		}
		for range 3 {
			s := w.connectTo(e, protocol.EndpointChannel)
			if s != nil && w.chance(70) {
				w.after(20*time.Millisecond, func() { w.join(s, "g") })
			}
		}
	})
}

// connect brings a client.
func (w *world) connect() {
	if e := w.edge(); e != nil && len(e.sessions) < 12 {
		w.connectTo(e, pick(w, []protocol.Endpoint{
			protocol.EndpointChannel, protocol.EndpointChannel, protocol.EndpointChannel, protocol.EndpointUser, protocol.EndpointGroup, protocol.EndpointAll,
		}))
	}
}

func (w *world) connectTo(e *edge, at protocol.Endpoint) *session {
	now, ever := e.links.Linked()
	if !ever || !e.alive {
		return nil // it is answered 503
	}
	s := &session{e: e, user: pick(w, users), endpoint: at, ready: !now}
	if at == protocol.EndpointGroup {
		s.group = pick(w, groups)
	}
	s.Session = gateway.NewSession(link.Session{Endpoint: at, User: s.user, Group: s.group}, 1<<20)
	w.model.connected(s)
	e.hub.Open(s.Session, e.links)
	s.id = s.Info().ID
	e.sessions = append(e.sessions, s)
	w.tracef("%s/%d: %s connects, endpoint %d %s", e.name, s.id, s.user, at, s.group)
	w.after(2*time.Second, func() { s.ready = true })
	return s
}

func (w *world) disconnect(s *session) {
	e := s.e
	w.tracef("%s/%d: %s goes", e.name, s.id, s.user)
	s.gone = true
	e.ended = append(e.ended[max(0, len(e.ended)-20):], s)
	e.sessions = slices.DeleteFunc(e.sessions, func(o *session) bool { return o == s })
	_, before := e.hub.Len()
	e.hub.End(s.Session, e.links)
	if _, dead := e.hub.Len(); dead > before { // else no relay had heard of it, and its end has no number
		e.number++
	}
}

// say lets somebody say something.
func (w *world) say() {
	if s := w.someone(); s != nil {
		w.speak(s)
	}
}

func (w *world) speak(s *session) {
	text := w.text()
	if w.chance(5) {
		text += fmt.Sprintf("%0*d", w.rnd.IntN(900), 0)
	}
	one := func() *frame {
		to := pick(w, users)
		return &frame{kind: protocol.KindOne, topic: protocol.UserTopic(to), msg: text}
	}
	switch s.endpoint {
	case protocol.EndpointUser:
		f := one()
		w.send(s, f, `{"Id":"`+f.topic.Name()+`","Msg":"`+text+`"}`)
		return
	case protocol.EndpointGroup:
		w.send(s, &frame{kind: protocol.KindGroup, topic: protocol.GroupTopic(s.group), msg: text}, text)
		return
	case protocol.EndpointAll:
		w.send(s, &frame{kind: protocol.KindAll, topic: protocol.All, msg: text}, text)
		return
	}
	switch n := w.rnd.IntN(100); {
	case n < 35:
		f := one()
		w.send(s, f, `{"Method":"One","MsgBody":{"Id":"`+f.topic.Name()+`","Msg":"`+text+`"}}`)
	case n < 75:
		w.sayTo(s, pick(w, groups))
	case n < 95:
		w.send(s, &frame{kind: protocol.KindAll, topic: protocol.All, msg: text}, `{"MsgBody":"`+text+`"}`)
	default:
		w.send(s, &frame{}, "{")
	}
}

// command lets a client join or leave a group.
func (w *world) command(s *session) {
	if s.endpoint != protocol.EndpointChannel {
		return
	}
	g := pick(w, groups)
	if w.chance(60) {
		w.join(s, g)
		return
	}
	w.quit(s, g)
}

func (w *world) sayTo(s *session, g string) {
	text := w.text()
	w.send(s, &frame{kind: protocol.KindGroup, topic: protocol.GroupTopic(g), msg: text}, `{"Method":"Group","Group":"`+g+`","MsgBody":"`+text+`"}`)
}

func (w *world) quit(s *session, g string) {
	w.send(s, &frame{kind: protocol.KindLeave, topic: protocol.GroupTopic(g), msg: protocol.LeaveText(s.user, g)}, `{"Method":"LeaveGroup","Group":"`+g+`"}`)
}

func (w *world) join(s *session, g string) {
	w.send(s, &frame{kind: protocol.KindJoin, topic: protocol.GroupTopic(g), msg: protocol.JoinText(s.user, g)}, `{"Method":"UserGroup","Group":"`+g+`"}`)
}

// send gives a client's frame to its edge's log, which may have no room.
func (w *world) send(s *session, f *frame, payload string) {
	if s.gone || !s.e.links.Accept(s.id, []byte(payload)) {
		return
	}
	w.model.accepted(s, f)
	w.tracef("%s/%d: %s says, as number %d: %.80s", s.e.name, s.id, s.user, f.number, payload)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
