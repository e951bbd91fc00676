package simulation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/broker/brokertest"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

var (
	errLost = errors.New("the connection broke")
	errAway = errors.New("away")
)

// store stands for Redis. It is a brokertest.Memory that fails as Redis may fail.
type store struct {
	w       *world
	memory  *brokertest.Memory
	brokers []*relayBroker
	trouble int // percentage of requests that go wrong
	saved   []saved

	others *brokertest.Handle // handle of a relay that is not simulated
	number uint64             // last number that the unsimulated relay published
	name   protocol.Instance  // instance in whose name the unsimulated relay publishes
}

type saved struct {
	brokertest.Saved
	stored map[protocol.Topic]int // result of model.count when the state was saved
}

func newStore(w *world) *store {
	s := &store{w: w, memory: brokertest.NewMemory(brokertest.MemoryConfig{HistorySize: w.config.history, HistoryAge: w.config.age, Retention: w.raised})}
	s.others = s.memory.Broker()
	s.name = w.instance()
	return s
}

// spread takes the waiting events from all handles, and dispatches them to the relays.
func (s *store) spread() {
	for _, b := range s.brokers {
		for _, ev := range b.handle.Take() {
			b.dispatch(ev)
		}
	}
}

// publish carries out the request p of the handle h. If this adds a publication to the store,
// publish tells the model of it.
func (s *store) publish(h *brokertest.Handle, p broker.Publish) (done broker.Published) {
	s.w.model.look(p.Topic) // the history may have expired
	h.Publish(p)
	events := h.Take()
	answer := slices.IndexFunc(events, func(ev broker.Event) bool { _, ok := ev.(broker.Published); return ok })
	done = events[answer].(broker.Published)
	s.w.tracef("redis: %s %q of %s, number %d behind %d, floor %d, known %v: %s %v", p.Topic, p.Msg, short(p.Instance), p.Number, p.Predecessor, p.Floor, p.Known,
		[]string{"failed", "done", "duplicate", "refused"}[done.Outcome], done.Position)
	switch done.Outcome {
	case broker.Done:
		s.w.model.stored(p, done.Position, h)
	case broker.Duplicate:
		s.w.model.duplicate(p)
	}
	for _, b := range s.brokers {
		if done.Outcome == broker.Done && b.subs[p.Topic] != nil && b.hearsNot() {
			s.w.model.unheard(p.Topic, done.Position)
		}
		if b.handle == h {
			for _, ev := range slices.Delete(events, answer, answer+1) {
				b.dispatch(ev)
			}
		}
	}
	s.spread()
	return done
}

// elsewhere publishes a message in the name of a relay that is not simulated.
func (s *store) elsewhere(t protocol.Topic, from, msg string) {
	s.number++
	s.publish(s.others, broker.Publish{Topic: t, Content: protocol.Content{From: from, Msg: msg}, Instance: s.name, Number: s.number})
}

// bare publishes a message without a position, as an original server does.
func (s *store) bare(t protocol.Topic, from, msg string) {
	s.w.tracef("redis: bare %s %s", t, msg)
	s.w.model.bare(t, from, msg)
	s.memory.PublishBare(t, from, msg)
	s.spread()
}

// fifo keeps one direction of a connection in order: what is sent first arrives first.
type fifo struct{ last time.Time }

func (f *fifo) next(at time.Time) time.Time {
	if at.Before(f.last) {
		at = f.last
	}
	f.last = at
	return at
}

// relayBroker is one relay's broker: its connections to the store.
type relayBroker struct {
	w      *world
	store  *store
	handle *brokertest.Handle
	event  func(broker.Event)
	name   string
	dead   bool // the relay is gone

	publishes, questions, commands fifo // order of what goes to the store
	published, answered, received  fifo // order of what comes from the store

	unreachable bool
	frozen      bool // the store hangs: regain carries out the hung requests
	away        bool // giveUp was called, and regain was not called since
	hung        []request
	subs        map[protocol.Topic]*subscription
	order       []*subscription
	connects    int                  // how often the connection that brings publications broke
	heard       []broker.Publication // delivered since the relay's last step
	deafAt      time.Time
	outages     []outage      // times when the store was out of reach
	backAt      time.Time     // time by which the relay knows that Redis is back
	swallow     int           // number of coming publications to lose silently
	missed      bool          // the present connection lost a publication silently
	slow        time.Duration // what the store says without being asked comes later by this time
}

// request is a request that is not answered yet.
type request struct {
	do   func() broker.Event // carries the request out and returns the answer
	fail broker.Event        // the answer if the request fails
	gone bool                // the relay was told that the request failed
}

type subscription struct {
	topic protocol.Topic
	token uint64
	on    bool
	epoch int  // how often the subscription was lost
	begin bool // the epoch is to be begun
}

var _ broker.Broker = (*relayBroker)(nil)

func (s *store) broker(name string) *relayBroker {
	b := &relayBroker{w: s.w, store: s, handle: s.memory.Broker(), name: name, subs: map[protocol.Topic]*subscription{}}
	s.brokers = append(s.brokers, b)
	return b
}

func (b *relayBroker) Name() string                                  { return b.handle.Name() }
func (b *relayBroker) Run(context.Context, func(broker.Event)) error { panic("it is stepped") }

func (b *relayBroker) delay() time.Duration {
	if b.w.chance(5) {
		return b.w.between(0, 100*time.Millisecond)
	}
	return b.w.between(50*time.Microsecond, 2*time.Millisecond)
}

// ask sends a request to the store, and brings the answer to the relay. The two fifos are the two
// directions of the connection that carries the request.
func (b *relayBroker) ask(out, in *fifo, r request) {
	b.w.at(out.next(b.w.now.Add(b.delay())), func() {
		switch {
		case b.dead && b.w.chance(50): // the request died with the relay
		case b.away && b.unreachable:
			b.answer(in, r.fail)
		case b.unreachable:
			b.hung = append(b.hung, r)
		default:
			b.try(in, r)
		}
	})
}

// try carries out a request, and answers it. Some requests go wrong: the field store.trouble is
// their percentage. A request that goes wrong is answered with a failure. It is carried out at
// once, later or never.
func (b *relayBroker) try(in *fifo, r request) {
	if !b.w.chance(b.store.trouble) {
		if ev := r.do(); ev != nil {
			b.answer(in, ev)
		}
		return
	}
	switch b.w.rnd.IntN(3) {
	case 0:
		b.w.tracef("%s: a request is lost", b.name)
	case 1:
		b.w.tracef("%s: a request is carried out, its answer lost", b.name)
		r.do()
	case 2:
		b.w.tracef("%s: a request fails, and is carried out later", b.name)
		b.w.after(b.w.between(0, time.Second), func() { r.do() })
	}
	b.answer(in, r.fail)
}

// answer brings an event to the relay.
func (b *relayBroker) answer(in *fifo, ev broker.Event) {
	b.w.at(in.next(b.w.now.Add(b.delay())), func() { b.deliver(ev) })
}

func (b *relayBroker) deliver(ev broker.Event) {
	if !b.dead {
		b.event(ev)
	}
}

func (b *relayBroker) Publish(p broker.Publish) {
	b.ask(&b.publishes, &b.published, request{
		do:   func() broker.Event { return b.store.publish(b.handle, p) },
		fail: broker.Published{Token: p.Token, Err: errLost},
	})
}

func (b *relayBroker) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	b.ask(&b.questions, &b.answered, request{
		do: func() broker.Event {
			b.handle.ReadHistory(t, after, token)
			ev := b.handle.Take()[0]
			b.w.tracef("redis: history of %s after %v for %s: %d", t, after, b.name, len(ev.(broker.History).Publications))
			return ev
		},
		fail: broker.History{Token: token, Topic: t, Err: errLost},
	})
}

func (b *relayBroker) Begin(t protocol.Topic, token uint64) {
	b.ask(&b.questions, &b.answered, request{
		do: func() broker.Event {
			b.handle.Begin(t, token)
			ev := b.handle.Take()[0]
			b.w.tracef("redis: %s begins %s: %v", b.name, t, ev.(broker.Began).Top)
			return ev
		},
		fail: broker.Began{Token: token, Topic: t, Err: errLost},
	})
}

func (b *relayBroker) CountSubscribers(t protocol.Topic, token uint64) {
	b.ask(&b.questions, &b.answered, request{
		do: func() broker.Event {
			b.handle.CountSubscribers(t, token)
			return b.handle.Take()[0]
		},
		fail: broker.Counted{Token: token, Err: errLost},
	})
}

func (b *relayBroker) Flush(token uint64) {
	b.w.at(b.commands.next(b.w.now.Add(b.delay())), func() {
		connects, connected := b.connects, !b.unreachable && !b.missed
		b.w.at(b.received.next(b.w.now.Add(b.delay()+b.slow)), func() {
			b.deliver(broker.Flushed{Token: token, Heard: connected && b.connects == connects && !b.unreachable && !b.missed})
		})
	})
}

func (b *relayBroker) Subscribe(t protocol.Topic, token uint64, begin bool) {
	s := &subscription{topic: t, token: token, begin: begin}
	b.subs[t] = s
	b.order = append(b.order, s)
	b.w.at(b.commands.next(b.w.now.Add(b.delay())), func() { b.establish(s) })
}

func (b *relayBroker) Unsubscribe(t protocol.Topic) {
	s := b.subs[t]
	delete(b.subs, t)
	b.order = slices.DeleteFunc(b.order, func(o *subscription) bool { return o == s })
	b.handle.Unsubscribe(t)
}

// establish confirms a subscription, if it is still wanted and the store can be reached.
func (b *relayBroker) establish(s *subscription) {
	if b.subs[s.topic] == s && !s.on && !b.unreachable && !b.dead {
		s.on = true
		b.handle.Subscribe(s.topic, s.token, s.begin && !b.w.chance(b.store.trouble))
		s.begin = false
		b.store.spread()
	}
}

// dispatch sends an event of the handle to the relay, over the connection that brings publications.
// The event is lost on the way if the connection or the subscription ends. While the field swallow
// is above 0, dispatch drops publications.
func (b *relayBroker) dispatch(ev broker.Event) {
	connects, epoch := b.connects, 0
	var s *subscription
	switch ev := ev.(type) {
	case broker.Received:
		if b.swallow > 0 {
			b.swallow--
			b.missed = true
			b.w.model.unheard(ev.Publication.Topic, ev.Publication.Position)
			b.w.tracef("%s: publication %v of %s is lost without a word", b.name, ev.Publication.Position, ev.Publication.Topic)
			return
		}
		s = b.subs[ev.Publication.Topic]
		b.w.model.flies(ev.Publication, 1)
	case broker.Subscribed:
		s = b.subs[ev.Topic]
	}
	if s != nil {
		epoch = s.epoch
	}
	b.w.at(b.received.next(b.w.now.Add(b.delay()+b.slow)), func() {
		lost := b.connects != connects || s != nil && s.epoch != epoch
		if !lost {
			b.deliver(ev)
		}
		if ev, ok := ev.(broker.Received); ok {
			switch {
			case lost:
				b.w.model.unheard(ev.Publication.Topic, ev.Publication.Position)
				b.w.model.flies(ev.Publication, -1)
			case b.dead:
				b.w.model.flies(ev.Publication, -1)
			default:
				b.w.model.broughtBare(b, ev.Publication)
				b.heard = append(b.heard, ev.Publication)
			}
		}
	})
}

// stepped tells the model that the delivered publications are no longer on their way. It is called
// when the relay's router has handled all delivered events, and when the relay dies.
func (b *relayBroker) stepped() {
	for _, p := range b.heard {
		b.w.model.flies(p, -1)
	}
	b.heard = nil
}

// hearsNot reports whether the relay may miss publications without knowing it. There are two cases.
// In the first, the store is out of reach, and the relay's broker has not noticed it yet. In the
// second, subscriptions of the relay ended less than 2 ms ago.
func (b *relayBroker) hearsNot() bool {
	return b.unreachable && !b.away || b.w.now.Sub(b.deafAt) < 2*time.Millisecond
}

// deafen ends the subscription of topic t, or all subscriptions if the parameter all is true.
// Events of an ended subscription that are still on the way are lost. The relay gets a broker.Deaf.
func (b *relayBroker) deafen(all bool, t protocol.Topic) {
	for _, s := range b.order {
		if s.on && (all || s.topic == t) {
			s.on = false
			s.epoch++
			b.handle.Unsubscribe(s.topic)
		}
	}
	if all {
		b.connects++
		b.missed = false
	}
	b.deafAt = b.w.now
	b.w.tracef("%s: deaf, all %v %s", b.name, all, t)
	b.deliver(broker.Deaf{All: all, Topic: t})
}

// listen tries to establish the lost subscriptions anew, each at a random moment within the given
// time.
func (b *relayBroker) listen(within time.Duration) {
	for _, s := range slices.Clone(b.order) {
		b.w.after(b.w.between(0, within), func() { b.establish(s) })
	}
}

// slowDown makes the relay hear publications later than others for a while.
func (b *relayBroker) slowDown(by, within time.Duration) {
	b.slow = by
	b.w.tracef("%s: hears publications later by %v", b.name, by)
	b.w.after(within, func() { b.slow = 0 })
}

// lose makes the store unreachable from this relay. If the parameter frozen is true, hung requests
// are carried out when the store can be reached again, and the subscriptions stay until the loss is
// reported. The relay's broker reports the loss within three seconds, unless the store is reachable
// again before that.
func (b *relayBroker) lose(frozen bool) {
	if b.unreachable || b.dead {
		return
	}
	b.unreachable, b.frozen = true, frozen
	if last := len(b.outages) - 1; last < 0 || b.w.now.Sub(b.backAt) > time.Second {
		b.outages = append(b.outages, outage{lost: b.w.now})
	} else { // the last outage counts as going on, since the relay may not know what it missed
		b.outages[last].back = time.Time{}
	}
	b.w.tracef("%s: redis is out of reach, frozen %v", b.name, frozen)
	if !frozen {
		for _, s := range b.order { // the relay misses the publications from now on
			if s.on {
				b.handle.Unsubscribe(s.topic)
			}
		}
	}
	b.w.after(b.w.between(0, 3*time.Second), b.giveUp)
}

// outage is a time in which a relay had no Redis. It begins with the loss of Redis. The field back
// is zero while Redis is out of reach. Afterwards it is the time by which the relay has learnt that
// Redis is back.
type outage struct{ lost, back time.Time }

// giveUp makes the relay's broker notice that the store is unreachable.
func (b *relayBroker) giveUp() {
	if !b.unreachable || b.away || b.dead {
		return
	}
	b.away = true
	b.w.tracef("%s: says that redis is away", b.name)
	b.deliver(broker.State{Away: true, Cause: errAway})
	b.deafen(true, "")
	for i := range b.hung {
		b.hung[i].gone = true
		b.deliver(b.hung[i].fail)
	}
}

// regain makes the store reachable again.
func (b *relayBroker) regain() {
	if !b.unreachable || b.dead {
		return
	}
	b.unreachable = false
	b.w.tracef("%s: redis can be reached again", b.name)
	hung := b.hung
	b.hung = nil
	for _, r := range hung {
		switch {
		case b.frozen && !r.gone:
			b.try(&b.published, r)
		case b.frozen:
			r.do() // the relay was told of a failure, and gets no answer
		case !r.gone:
			b.answer(&b.published, r.fail)
		}
	}
	b.backAt = b.w.now.Add(400 * time.Millisecond)
	b.outages[len(b.outages)-1].back = b.backAt
	if !b.away && !b.frozen {
		b.deafen(true, "")
	}
	first := b.w.chance(50)
	if first {
		b.listen(300 * time.Millisecond)
	}
	if b.away {
		b.away = false
		b.w.after(b.w.between(0, 300*time.Millisecond), func() {
			if !b.away {
				b.w.tracef("%s: says that redis is back", b.name)
				b.deliver(broker.State{})
			}
		})
	}
	if !first {
		b.listen(300 * time.Millisecond)
	}
}

// lately reports whether the relay may have answered as it does while Redis is away, a moment ago.
func (b *relayBroker) lately() bool {
	return b.away || b.w.now.Before(b.backAt.Add(2*time.Second))
}

// die ends the broker when its relay dies. The store may still carry out requests that the broker
// has sent.
func (b *relayBroker) die() {
	b.dead = true
	b.stepped()
	for _, s := range b.order {
		b.handle.Unsubscribe(s.topic)
	}
	b.order, b.subs = nil, map[protocol.Topic]*subscription{}
	b.store.brokers = slices.DeleteFunc(b.store.brokers, func(o *relayBroker) bool { return o == b })
}
