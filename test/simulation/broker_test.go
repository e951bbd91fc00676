package simulation

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

var (
	errLost = errors.New("the connection broke")
	errAway = errors.New("away")
)

// store is Redis: broker.Memory, and what can happen to it.
type store struct {
	w        *world
	memory   *broker.Memory
	carriers []*carrier
	trouble  int // so many requests of 100 go wrong
	saved    []saved

	others *broker.Handle // of a relay elsewhere
	number uint64         // its last one
	name   protocol.Instance
}

type saved struct {
	broker.Saved
	stored map[protocol.Topic]int // publications until then
}

func newStore(w *world) *store {
	s := &store{w: w, memory: broker.NewMemory(broker.MemoryConfig{HistorySize: w.config.history, HistoryAge: w.config.age})}
	s.others = s.memory.Broker()
	s.name = w.instance()
	return s
}

// spread brings what the handles have been given on its way.
func (s *store) spread() {
	for _, c := range s.carriers {
		for _, ev := range c.handle.Take() {
			c.dispatch(ev)
		}
	}
}

// publish carries a publish out.
func (s *store) publish(h *broker.Handle, p broker.Publish) (done broker.Published) {
	h.Publish(p)
	events := h.Take()
	answer := slices.IndexFunc(events, func(ev broker.Event) bool { _, ok := ev.(broker.Published); return ok })
	done = events[answer].(broker.Published)
	s.w.tracef("redis: %s %q of %s, number %d behind %d, floor %d, known %v: %s %v", p.Topic, p.Msg, short(p.Instance), p.Number, p.Predecessor, p.Floor, p.Known,
		[]string{"failed", "done", "duplicate", "refused"}[done.Outcome], done.Position)
	if done.Outcome == broker.Done {
		s.w.model.stored(p, done.Position)
	}
	for _, c := range s.carriers {
		if done.Outcome == broker.Done && c.subs[p.Topic] != nil && c.hearsNot() {
			s.w.model.unheard(p.Topic, done.Position)
		}
		if c.handle == h {
			for _, ev := range slices.Delete(events, answer, answer+1) {
				c.dispatch(ev)
			}
		}
	}
	s.spread()
	return done
}

// elsewhere publishes as a relay does that is not simulated.
func (s *store) elsewhere(t protocol.Topic, from, msg string) {
	s.number++
	s.publish(s.others, broker.Publish{Topic: t, From: from, Msg: msg, Instance: s.name, Number: s.number})
}

// bare publishes as an original server does.
func (s *store) bare(t protocol.Topic, from, msg string) {
	s.w.tracef("redis: bare %s %s", t, msg)
	s.w.model.bare(t, from, msg)
	s.memory.PublishBare(t, from, msg)
	s.spread()
}

// fifo is a connection in one direction: what is put in comes out in order.
type fifo struct{ last time.Time }

func (f *fifo) next(at time.Time) time.Time {
	if at.Before(f.last) {
		at = f.last
	}
	f.last = at
	return at
}

// carrier is one relay's broker: its connections to the store.
type carrier struct {
	w      *world
	store  *store
	handle *broker.Handle
	event  func(broker.Event)
	name   string
	dead   bool // the relay is gone

	publishes, questions, commands fifo // to the store
	published, answered, received  fifo // from it

	unreachable bool
	frozen      bool // it is the store that does not go on: what was sent to it is carried out when it does
	away        bool // as the relay was told
	hung        []request
	subs        map[protocol.Topic]*subscription
	order       []*subscription
	session     int                  // of the connection that brings publications
	heard       []broker.Publication // brought to the relay, which has not been stepped since
	deafAt      time.Time
	outages     []outage  // when the store was out of reach
	backAt      time.Time // when the relay knows that it is back
	swallow     int       // so many publications get lost without a word
	missed      bool      // one was, on this connection
}

// request is what was sent and has no answer.
type request struct {
	do   func() broker.Event // carries it out; the event is its answer, nil: it comes another way
	fail broker.Event
	gone bool // failed already
}

type subscription struct {
	topic protocol.Topic
	token uint64
	on    bool
	epoch int // counts the times that it was lost
}

var _ broker.Broker = (*carrier)(nil)

func (s *store) carrier(name string) *carrier {
	c := &carrier{w: s.w, store: s, handle: s.memory.Broker(), name: name, subs: map[protocol.Topic]*subscription{}}
	s.carriers = append(s.carriers, c)
	return c
}

func (c *carrier) Name() string                                  { return c.handle.Name() }
func (c *carrier) Run(context.Context, func(broker.Event)) error { panic("it is stepped") }

func (c *carrier) delay() time.Duration {
	if c.w.chance(5) {
		return c.w.between(0, 100*time.Millisecond)
	}
	return c.w.between(50*time.Microsecond, 2*time.Millisecond)
}

// ask sends a request on a connection.
func (c *carrier) ask(out, in *fifo, r request) {
	c.w.at(out.next(c.w.now.Add(c.delay())), func() {
		switch {
		case c.dead && c.w.chance(50): // it died with the relay
		case c.away && c.unreachable:
			c.answer(in, r.fail)
		case c.unreachable:
			c.hung = append(c.hung, r)
		default:
			c.try(in, r)
		}
	})
}

// try carries a request out, if nothing goes wrong.
func (c *carrier) try(in *fifo, r request) {
	if !c.w.chance(c.store.trouble) {
		if ev := r.do(); ev != nil {
			c.answer(in, ev)
		}
		return
	}
	switch c.w.rnd.IntN(3) {
	case 0:
		c.w.tracef("%s: a request is lost", c.name)
	case 1:
		c.w.tracef("%s: a request is carried out, its answer lost", c.name)
		r.do()
	case 2:
		c.w.tracef("%s: a request fails, and is carried out later", c.name)
		c.w.after(c.w.between(0, time.Second), func() { r.do() })
	}
	c.answer(in, r.fail)
}

// answer brings an event to the relay.
func (c *carrier) answer(in *fifo, ev broker.Event) {
	c.w.at(in.next(c.w.now.Add(c.delay())), func() { c.deliver(ev) })
}

func (c *carrier) deliver(ev broker.Event) {
	if !c.dead {
		c.event(ev)
	}
}

func (c *carrier) Publish(p broker.Publish) {
	c.ask(&c.publishes, &c.published, request{
		do:   func() broker.Event { return c.store.publish(c.handle, p) },
		fail: broker.Published{Token: p.Token, Err: errLost},
	})
}

func (c *carrier) ReadHistory(t protocol.Topic, after protocol.Position, token uint64) {
	c.ask(&c.questions, &c.answered, request{
		do: func() broker.Event {
			c.handle.ReadHistory(t, after, token)
			ev := c.handle.Take()[0]
			c.w.tracef("redis: history of %s after %v for %s: %d", t, after, c.name, len(ev.(broker.History).Publications))
			return ev
		},
		fail: broker.History{Token: token, Topic: t, Err: errLost},
	})
}

func (c *carrier) CountSubscribers(t protocol.Topic, token uint64) {
	c.ask(&c.questions, &c.answered, request{
		do: func() broker.Event {
			c.handle.CountSubscribers(t, token)
			return c.handle.Take()[0]
		},
		fail: broker.Counted{Token: token, Err: errLost},
	})
}

func (c *carrier) Flush(token uint64) {
	c.w.at(c.commands.next(c.w.now.Add(c.delay())), func() {
		session, connected := c.session, !c.unreachable && !c.missed
		c.w.at(c.received.next(c.w.now.Add(c.delay())), func() {
			c.deliver(broker.Flushed{Token: token, Heard: connected && c.session == session && !c.unreachable && !c.missed})
		})
	})
}

func (c *carrier) Subscribe(t protocol.Topic, token uint64) {
	s := &subscription{topic: t, token: token}
	c.subs[t] = s
	c.order = append(c.order, s)
	c.w.at(c.commands.next(c.w.now.Add(c.delay())), func() { c.establish(s) })
}

func (c *carrier) Unsubscribe(t protocol.Topic) {
	s := c.subs[t]
	delete(c.subs, t)
	c.order = slices.DeleteFunc(c.order, func(o *subscription) bool { return o == s })
	c.handle.Unsubscribe(t)
}

// establish confirms a subscription, if it is still wanted and can be.
func (c *carrier) establish(s *subscription) {
	if c.subs[s.topic] == s && !s.on && !c.unreachable && !c.dead {
		s.on = true
		if s.epoch > 0 {
			c.w.model.disturbed(s.topic)
		}
		c.handle.Subscribe(s.topic, s.token)
		c.store.spread()
	}
}

// dispatch brings what the handle was given on its way to the relay, on the connection that brings publications.
func (c *carrier) dispatch(ev broker.Event) {
	session, epoch := c.session, 0
	var s *subscription
	switch ev := ev.(type) {
	case broker.Received:
		if c.swallow > 0 {
			c.swallow--
			c.missed = true
			c.w.model.unheard(ev.Publication.Topic, ev.Publication.Position)
			c.w.tracef("%s: publication %v of %s is lost without a word", c.name, ev.Publication.Position, ev.Publication.Topic)
			return
		}
		s = c.subs[ev.Publication.Topic]
		c.w.model.flies(ev.Publication, 1)
	case broker.Subscribed:
		s = c.subs[ev.Topic]
	}
	if s != nil {
		epoch = s.epoch
	}
	c.w.at(c.received.next(c.w.now.Add(c.delay())), func() {
		lost := c.session != session || s != nil && s.epoch != epoch
		if !lost {
			c.deliver(ev)
		}
		if ev, ok := ev.(broker.Received); ok {
			switch {
			case lost:
				c.w.model.unheard(ev.Publication.Topic, ev.Publication.Position)
				c.w.model.flies(ev.Publication, -1)
			case c.dead:
				c.w.model.flies(ev.Publication, -1)
			default:
				c.heard = append(c.heard, ev.Publication)
			}
		}
	})
}

// stepped tells that the relay has taken note of what it was brought.
func (c *carrier) stepped() {
	for _, p := range c.heard {
		c.w.model.flies(p, -1)
	}
	c.heard = nil
}

// hearsNot reports whether publications pass the relay by, and it does not know that.
func (c *carrier) hearsNot() bool {
	return c.unreachable && !c.away || c.w.now.Sub(c.deafAt) < 2*time.Millisecond
}

// deafen loses subscriptions, with what they had on its way: all of them, or those of one topic.
func (c *carrier) deafen(all bool, t protocol.Topic) {
	for _, s := range c.order {
		if s.on && (all || s.topic == t) {
			s.on = false
			s.epoch++
			c.w.model.disturbed(s.topic)
			c.handle.Unsubscribe(s.topic)
		}
	}
	if all {
		c.session++
		c.missed = false
	}
	c.deafAt = c.w.now
	c.w.tracef("%s: deaf, all %v %s", c.name, all, t)
	c.deliver(broker.Deaf{All: all, Topic: t})
}

// listen has all lost subscriptions confirmed anew, within a time.
func (c *carrier) listen(within time.Duration) {
	for _, s := range slices.Clone(c.order) {
		c.w.after(c.w.between(0, within), func() { c.establish(s) })
	}
}

// lose makes the store unreachable from here: because it is frozen, or not. The relay says so within three seconds.
func (c *carrier) lose(frozen bool) {
	if c.unreachable || c.dead {
		return
	}
	c.unreachable, c.frozen = true, frozen
	if last := len(c.outages) - 1; last < 0 || c.w.now.Sub(c.backAt) > time.Second {
		c.outages = append(c.outages, outage{lost: c.w.now})
	} else { // what it missed before it may not know yet
		c.outages[last].back = time.Time{}
	}
	c.w.tracef("%s: redis is out of reach, frozen %v", c.name, frozen)
	if !frozen {
		for _, s := range c.order { // what it is published meanwhile is not heard
			if s.on {
				c.handle.Unsubscribe(s.topic)
			}
		}
	}
	c.w.after(c.w.between(0, 3*time.Second), c.giveUp)
}

// outage is a time in which a relay had no Redis, by what it knows; back is zero: it lasts.
type outage struct{ lost, back time.Time }

// giveUp is the relay's broker noticing.
func (c *carrier) giveUp() {
	if !c.unreachable || c.away || c.dead {
		return
	}
	c.away = true
	c.w.tracef("%s: says that redis is away", c.name)
	c.deliver(broker.State{Away: true, Cause: errAway})
	c.deafen(true, "")
	for i := range c.hung {
		c.hung[i].gone = true
		c.deliver(c.hung[i].fail)
	}
}

// regain makes the store reachable again.
func (c *carrier) regain() {
	if !c.unreachable || c.dead {
		return
	}
	c.unreachable = false
	c.w.tracef("%s: redis can be reached again", c.name)
	hung := c.hung
	c.hung = nil
	for _, r := range hung {
		switch {
		case c.frozen && !r.gone:
			c.try(&c.published, r)
		case c.frozen:
			r.do() // its answer is nobody's any more
		case !r.gone:
			c.answer(&c.published, r.fail)
		}
	}
	c.backAt = c.w.now.Add(400 * time.Millisecond)
	c.outages[len(c.outages)-1].back = c.backAt
	if !c.away && !c.frozen {
		c.deafen(true, "")
	}
	first := c.w.chance(50)
	if first {
		c.listen(300 * time.Millisecond)
	}
	if c.away {
		c.away = false
		c.w.after(c.w.between(0, 300*time.Millisecond), func() {
			if !c.away {
				c.w.tracef("%s: says that redis is back", c.name)
				c.deliver(broker.State{})
			}
		})
	}
	if !first {
		c.listen(300 * time.Millisecond)
	}
}

// die ends the carrier with its relay. What it sent may still be carried out.
func (c *carrier) die() {
	c.dead = true
	c.stepped()
	for _, s := range c.order {
		c.handle.Unsubscribe(s.topic)
	}
	c.order, c.subs = nil, map[protocol.Topic]*subscription{}
	c.store.carriers = slices.DeleteFunc(c.store.carriers, func(o *carrier) bool { return o == c })
}
