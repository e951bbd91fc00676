package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// schedule is a list of actions on a cluster. If some actions are left out, each remaining one
// still begins with the same random numbers.
type schedule struct {
	seed    uint64
	config  config
	actions []action
}

// action is one step of a schedule, followed by a wait. Each action has a random generator of its
// own, with its own seed. The run draws from this generator until the next action starts.
type action struct {
	name string
	do   func(*world)
	seed uint64
	wait time.Duration
}

const actions = 160

// plan makes a random schedule, which depends on the seed alone.
func plan(seed uint64) schedule { return planOf(seed, 0xac7104, kinds) }

// planOf makes a random schedule from the given kinds of actions. Its random numbers follow from
// the parameters seed and more. Each caller of planOf passes another value of more, so that the
// same seed gives a different schedule to each caller.
func planOf(seed, more uint64, kinds []kind) schedule {
	rnd := rand.New(rand.NewPCG(seed, more))
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
		pieces:     one(512, 16, 3, 1),
	}}
	// The messages that wait for a topic's rate may take at most a quarter of an edge's log. Beyond
	// that, messages are refused, which the model does not expect. In a log of 4 MiB the waiting
	// messages always take less than a quarter. So only runs with such a log get a topic rate.
	if seed%3 == 0 && s.config.logSize == 4<<20 {
		s.config.topicRate = 20_000
	}
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

// kind is a kind of action. The higher its weight, the more often it is drawn. A lossy kind is
// drawn only if config.lossy is set.
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
				w.speak(s) // this message must not be lost although the session ends
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
		if w.serving(false) < 3 {
			w.startRelay()
		}
	}},
	{"drain a relay", 16, false, func(w *world) {
		w.relay().drain()
		for range w.rnd.IntN(6) { // publications may come by both links of an edge that moves
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
	{"a relay stalls", 20, false, func(w *world) {
		r := w.relay()
		r.freeze()
		stall := w.between(300*time.Millisecond, 2500*time.Millisecond)
		w.after(stall, r.thaw)
		for range w.rnd.IntN(4) { // publications may come by both links of an edge that doubts
			w.after(w.between(0, stall+time.Second), func() { w.store.bare(w.topic(), "original", w.text()) })
		}
	}},
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
		if r := w.relay(); r.alive && !r.broker.unreachable {
			r.broker.deafen(w.chance(50), w.topic())
			r.broker.listen(w.between(0, 500*time.Millisecond))
		}
	}},
	{"a publication is swallowed", 16, false, func(w *world) {
		if r := w.relay(); r.alive {
			r.broker.swallow += 1 + w.rnd.IntN(2)
		}
	}},
	{"redis is out of one's reach", 8, false, func(w *world) {
		if r := w.relay(); r.alive {
			r.broker.lose(false)
		}
	}},
	{"redis is away", 8, false, func(w *world) {
		frozen := w.chance(50)
		for _, c := range slices.Clone(w.store.brokers) {
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

// load empties the store if the parameter back is false. If back is true, load replaces the
// contents of the store with a random saved state, or does nothing if no state was saved. After a
// change, the relays that can reach the store lose their subscriptions, and get them back at random
// moments in the next 200 ms.
func (s *store) load(back bool) {
	old := saved{}
	if back {
		if len(s.saved) == 0 {
			return
		}
		old = pick(s.w, s.saved)
	}
	s.w.tracef("redis: loses what it had, goes back %v", back)
	s.restart(old)
}

// restart replaces the contents of the store, which counts as another server from then on.
func (s *store) restart(old saved) {
	s.memory.Load(old.Saved)
	s.w.model.lose(old.stored)
	for _, t := range sortedKeys(s.w.model.topics) {
		s.w.model.look(t)
	}
	for _, c := range slices.Clone(s.brokers) {
		switch {
		case !c.unreachable:
			c.deafen(true, "")
			c.listen(200 * time.Millisecond)
		case s.w.config.sdk:
			// Redis with other contents counts as another server. The relay's old connections do
			// not lead to that server. So the hung requests are not carried out later. Schedules of
			// the chat alone do without this step, since it would make their seeds stand for other
			// runs.
			c.frozen = false
		}
	}
}

// play carries out a schedule, mends everything, and checks the promises. The first failure ends
// the schedule.
func (w *world) play(s schedule) {
	w.model = &model{w: w, edges: map[protocol.Instance]*numbered{}, topics: map[protocol.Topic]*stream{}, ids: map[uint64]*frame{}}
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
		// A relay that missed the topic's last publication notices that by the next publication.
		w.store.elsewhere(t, "elsewhere", w.text())
	}
	w.pass(10 * time.Second) // with settle, enough for edges and relays to compare their tables
	w.settle()
	if w.failure == "" {
		w.model.finish()
	}
	if s.seed%4 == 2 { // only some runs have outages, since outages take long
		w.outage()
	}
	w.bareReachesAll()
	w.comeBack()
	w.leaveAll()
}

// mend ends the faults that can be ended. Then it starts relays until two serve that are not of an
// old version.
func (w *world) mend() {
	w.tracef("--- all is mended")
	w.calm = w.now
	w.store.trouble = 0
	w.thaw()
	w.unstall()
	w.regain()
	for _, r := range w.relays {
		r.broker.swallow = 0
	}
	w.config.skew = false // edges and relays that start from now on know clients of SDKs
	for w.serving(true) < 2 {
		w.startRelay()
	}
	for _, e := range w.edges {
		e.compared = 0
	}
}

// bareReachesAll checks that, when everything is mended, a publication without a position reaches
// every member of the topic "all" once.
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
			if i := s.interests[protocol.All]; i != nil && (s.sdk == nil || i.in) && s.bares[e] != 1 {
				w.fail("P4: %s/%d did not get what was published without a position", edge.name, s.id)
			}
		}
	}
}

// serving returns how many living relays do not refuse links. Frozen relays are among them. If the
// parameter modern is true, serving leaves out the relays that do not know clients of SDKs.
func (w *world) serving(modern bool) (n int) {
	for _, r := range w.relays {
		if r.alive && !r.refusing && !(modern && r.old) {
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
	for _, c := range slices.Clone(w.store.brokers) {
		c.regain()
	}
}

// relay picks one of the four relays that were started last. The relay may be dead.
func (w *world) relay() *relay { return pick(w, w.relays[max(0, len(w.relays)-4):]) }

// edge picks a living edge, or returns nil if there is none.
func (w *world) edge() *edge {
	alive := slices.DeleteFunc(slices.Clone(w.edges), func(e *edge) bool { return !e.alive })
	if len(alive) == 0 {
		return nil
	}
	return pick(w, alive)
}

var (
	users  = []string{"u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"}
	groups = []string{"g", "h"}
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
