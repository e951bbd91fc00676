package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// edge is an edge's process. Its hub, log and links are real. The simulation decides when the edge
// dials which relay. In the product uplink.Uplink decides that, with goroutines.
type edge struct {
	w          *world
	name       string
	node       string
	instance   protocol.Instance
	moves      bool // the edge knows how to move: link.FeatureMove
	old        bool // the edge does not know clients of SDKs
	hub        *gateway.Hub
	metrics    *prometheus.Registry
	links      *uplink.Links
	generation uint64
	alive      bool
	number     uint64 // last number that the log gave

	used     *attachment   // the link in use; nil: none
	parting  []*attachment // the links that the edge moves away from
	feeds    []*feed       // of all links since the start
	dialling bool
	seeking  bool // the edge looks for another relay while a link is up
	stalled  bool
	failed   bool      // the edge's last handshake was lost
	unlinked time.Time // latest of: edge's start, end of a used link, end of a stall

	refused map[*relay]time.Time // relays without FeatureSDK, and when the edge may dial them again

	sessions []*session // live sessions
	closing  []*session // sessions that the relay has closed and that have not ended yet
	ended    []*session // the sessions that ended most recently
	compared int        // comparisons with a relay's tables since the start, or since world.mend
}

// attachment is a link of an edge, from the handshake on.
type attachment struct {
	relay  *relay
	end    *end
	link   *uplink.Link
	left   bool // edge.leave was called for this link
	live   bool // the relay's Live has come
	began  time.Time
	byMove bool // the link began while an older link was up

	// leaving is the time of the last call of link.Leaving. It is zero before the first call, and
	// again after a call of link.Staying.
	leaving time.Time
	// counted is the time from which the hub counts publications without a position. If the edge
	// moved to this link from another link, counted is the field leaving of the other link.
	// Otherwise it is zero.
	counted time.Time
}

func (w *world) instance() (i protocol.Instance) {
	for n := range i {
		i[n] = byte(w.rnd.IntN(256))
	}
	return i
}

func short(i protocol.Instance) string { return i.String()[:6] }

func (w *world) startEdge(node string) *edge {
	e := &edge{w: w, node: node, instance: w.instance(), alive: true, moves: !w.chance(20)}
	e.name = node + "-" + short(e.instance)
	e.metrics = prometheus.NewRegistry()
	e.hub = gateway.NewHub(gateway.HubConfig{Metrics: e.metrics})
	e.links = uplink.NewLinks(uplink.LinksConfig{LogSize: w.config.logSize}, handler{e.hub, e})
	e.old, e.refused = !w.config.sdk || w.config.skew && w.chance(20), map[*relay]time.Time{}
	w.edges = append(w.edges, e)
	w.model.edges[e.instance] = newNumbered(e)
	w.tracef("%s starts", e.name)
	e.unlinked = w.now
	e.dial(0)
	e.watchSilence()
	return e
}

// dial links the edge to a relay after the given time, and tries again until a link is up. If the
// edge is dialling already, dial does nothing.
func (e *edge) dial(after time.Duration) {
	if e.dialling {
		return
	}
	e.dialling = true
	e.w.after(after, func() {
		e.dialling = false
		if !e.alive || e.used != nil {
			return
		}
		r := e.choose(nil)
		if r == nil {
			e.dial(e.w.between(0, 300*time.Millisecond))
			return
		}
		e.dialling = true
		won := false
		try := func(r *relay) {
			e.handshake(r, func(a *attachment) {
				switch {
				case a == nil:
				case !e.alive || won || e.used != nil:
					a.end.shut()
				case e.begin(a):
					won = true
				default: // tries the next relay at once
					e.dialling = false
					e.dial(0)
				}
				if a == nil && !won {
					e.dialling = false
					e.dial(e.w.between(0, 300*time.Millisecond))
				}
				if won {
					e.dialling = false
				}
			})
		}
		try(r)
		if other := e.choose(r); other != nil && e.w.chance(10) {
			e.w.after(e.w.between(0, 10*time.Millisecond), func() {
				if e.alive && !won && e.used == nil {
					try(other) // two handshakes race
				}
			})
		}
	})
}

// choose picks a relay that takes links. It leaves out the relay that the edge is leaving, and
// relays that the edge refuses for a while because they lack FeatureSDK. If no relay is left,
// choose returns nil.
func (e *edge) choose(leaving *relay) *relay {
	w := e.w
	var free []*relay
	for _, r := range w.relays {
		if r.takes() && r != leaving && !w.now.Before(e.refused[r]) {
			free = append(free, r)
		}
	}
	if len(free) == 0 {
		return nil
	}
	return pick(w, free)
}

// handshake dials a relay, and passes the new link to the callback. The relay has the link before
// the edge does. If the handshake fails, the callback gets nil.
func (e *edge) handshake(r *relay, done func(*attachment)) {
	w := e.w
	c, hello := e.connect(r)
	if e.failed = w.chance(4) && !e.failed; e.failed {
		// The edge gives up, and the relay accepts the link late. By then a newer link may be up.
		// In half of the cases, the relay is not told that the late link has ended. No edge loses
		// two handshakes in a row, since promise P12 does not cover that.
		w.tracef("%s: gives up", c.name)
		c.edge.paused, c.edge.closed = false, true
		c.cut = w.chance(50)
		w.after(w.between(0, 500*time.Millisecond), func() {
			if r.takes() {
				r.accept(c, hello)
				if !c.cut {
					w.after(w.between(0, time.Second), c.relay.lose)
				}
			}
		})
		w.after(5*time.Millisecond, func() { done(nil) })
		return
	}
	w.after(w.between(100*time.Microsecond, 5*time.Millisecond), func() {
		if !r.takes() {
			c.edge.closed, c.relay.closed = true, true
			done(nil)
			return
		}
		r.accept(c, hello)
		e.welcome(r, c, done)
	})
}

// connect makes a connection to a relay. It returns the connection and the edge's Hello.
func (e *edge) connect(r *relay) (*conn, link.Hello) {
	e.generation++
	hello := link.Hello{Generation: e.generation, LogSize: uint64(e.w.config.logSize), Instance: e.instance, Node: e.node}
	if e.moves {
		hello.Features = link.FeatureMove
	}
	if !e.old {
		hello.Features |= link.FeatureSDK
	}
	name := fmt.Sprintf("%s#%d", e.name, e.generation)
	c := e.w.newConn(name+"="+r.name, name, r.name+"<"+name, hello.Features&r.features())
	c.edge.pause()
	return c, hello
}

// welcome brings the relay's Welcome to the edge, and then passes the link to the callback. If the
// connection or the edge has ended before that, the callback gets nil.
func (e *edge) welcome(r *relay, c *conn, done func(*attachment)) {
	e.w.after(e.w.between(100*time.Microsecond, 5*time.Millisecond), func() {
		if c.cut || c.edge.lost || !e.alive {
			c.edge.paused = false
			c.edge.shut()
			done(nil)
			return
		}
		done(&attachment{relay: r, end: c.edge})
	})
}

// begin takes a link into use. It reports false, and ends the link, if the edge has clients of SDKs
// and the relay does not know them. The edge then leaves the relay out for a while.
func (e *edge) begin(a *attachment) bool {
	e.w.tracef("%s: up, to %s", a.end.name, a.relay.name)
	e.w.model.linked(e)
	was := e.used
	e.used, a.began, a.byMove = a, e.w.now, len(e.parting) > 0
	a.link = uplink.NewLink(e.links, a.end.Features(), a.end.Wake)
	if a.link == nil {
		e.w.count("a link refused for want of the feature")
		e.used, e.refused[a.relay] = was, e.w.now.Add(e.w.between(15*time.Second, 30*time.Second))
		a.end.shut()
		return false
	}
	a.end.open(a.link, sink{a, e}, func(cause *link.CloseError, _ time.Time) { e.down(a, cause) })
	a.end.doubt = func() { e.doubt(a) }
	if !e.stalled {
		a.end.resume()
	}
	e.readAll()
	return true
}

// down handles the end of a link. If the link was in use, the edge dials again.
func (e *edge) down(a *attachment, cause *link.CloseError) {
	e.w.judgeEnd(a.end.name, cause)
	a.link.Down()
	e.strand()
	if i := slices.Index(e.parting, a); i >= 0 {
		e.parting = slices.Delete(e.parting, i, i+1)
		return
	}
	if cause.Code == link.CodeSuperseded {
		e.w.fail("P12: %s ended: a link that the edge did not need took its place", a.end.name)
	}
	e.used, e.seeking, e.unlinked = nil, false, e.w.now
	for _, old := range slices.Clone(e.parting) {
		old.end.Bye(link.CodeNormal, "moved to another relay")
	}
	e.dial(e.w.between(0, 200*time.Millisecond))
}

// look acts on the signals of a link. The link signals that its relay asks the edge to move, or
// that the link is live.
func (e *edge) look(a *attachment) {
	select {
	case window := <-a.link.Drain():
		if a == e.used && !e.seeking {
			e.seeking = true
			a.leaving = e.w.now
			a.link.Leaving()
			e.w.after(e.w.between(0, window), func() { e.move(a) })
		}
	default:
	}
	select {
	case <-a.link.Live():
		if !a.live {
			a.live = true
			if a == e.used {
				for _, old := range slices.Clone(e.parting) {
					e.leave(old)
				}
			}
		}
	default:
	}
}

// move links the edge to another relay while the given link stays up. It tries again until it
// succeeds, or until the edge does not use the given link any more.
func (e *edge) move(a *attachment) {
	if !e.alive || e.used != a {
		return
	}
	again := func() { e.w.after(e.w.between(0, 300*time.Millisecond), func() { e.move(a) }) }
	r := e.choose(a.relay)
	if r == nil {
		again()
		return
	}
	if e.w.chance(30) { // both links may bring this publication
		e.w.store.bare(e.w.topic(), "original", e.w.text())
	}
	e.handshake(r, func(next *attachment) {
		switch {
		case next == nil:
			again()
		case !e.alive || e.used != a:
			next.end.shut()
		case !e.takeOver(a, next):
			e.move(a) // tries the next relay at once
		}
	})
}

// takeOver takes a new link into use in place of the old link. The edge leaves the old link when
// edge.look finds the new link live, but after 5 s at the latest. If the edge cannot use the new
// link, it stays on the old link, and takeOver returns false.
func (e *edge) takeOver(a, next *attachment) bool {
	e.w.tracef("%s: moves from %s to %s", e.name, a.relay.name, next.relay.name)
	e.parting, next.counted = append(e.parting, a), a.leaving
	if !e.begin(next) {
		e.parting = slices.DeleteFunc(e.parting, func(o *attachment) bool { return o == a })
		return false
	}
	e.seeking = false
	e.w.after(5*time.Second, func() {
		if slices.Contains(e.parting, a) {
			e.leave(a)
		}
	})
	return true
}

// leave ends a link that another link has replaced. An edge that knows how to move sends Moved. If
// the relay has not closed the link 2 s later, the edge closes it. An edge that does not know how
// to move closes the link at once.
func (e *edge) leave(a *attachment) {
	if a.left {
		return
	}
	a.left = true
	if !e.moves {
		a.end.Bye(link.CodeNormal, "moved to another relay")
		return
	}
	a.link.Leave()
	e.w.after(2*time.Second, func() {
		if !a.end.closed && e.alive {
			a.end.Bye(link.CodeNormal, "moved to another relay")
		}
	})
}

// attachments returns the links that are up.
func (e *edge) attachments() (all []*attachment) {
	if e.used != nil {
		all = append(all, e.used)
	}
	return append(all, e.parting...)
}

// stall stops reading and writing on the edge's links, as on an overloaded machine. The method
// unstall ends the stall.
func (e *edge) stall() {
	e.stalled = true
	e.w.tracef("%s stalls", e.name)
	for _, a := range e.attachments() {
		a.end.pause()
	}
}

func (e *edge) unstall() {
	e.stalled, e.unlinked = false, e.w.now
	e.w.tracef("%s goes on", e.name)
	for _, a := range e.attachments() {
		a.end.resume()
	}
}

// die ends the process. If the parameter silent is true, the relays do not see that their
// connections end.
func (e *edge) die(silent bool) {
	if !e.alive {
		return
	}
	e.w.tracef("%s dies, without a word %v", e.name, silent)
	e.alive = false
	for _, a := range e.attachments() {
		a.end.conn.sever(false, !silent)
		a.end.closed = true
	}
	for _, s := range slices.Concat(e.sessions, e.closing) {
		s.gone = true
		e.w.left(s)
	}
	e.sessions = nil
}

// The method left returns how many messages in the log are not acknowledged.
func (e *edge) left() int {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	return e.links.Flush(now)
}

// cause describes a frame that came from the relay and brought texts to sessions. The frame answers
// a client's numbered frame, or concerns a topic.
type cause struct {
	number   uint64
	session  uint64
	topic    protocol.Topic
	position protocol.Position
	id       uint64 // ID of the publication; 0: none
	ahead    bool   // the message came ahead of its publication
	gap      bool
	// unsubscribed is the code with which the session is told that its membership has ended.
	unsubscribed int
}

// collect takes the texts that one frame brought to sessions, and lets the model check these texts.
// The run fails if the frame brought a text to a session that has ended.
func (e *edge) collect(c cause) {
	for _, s := range e.sessions {
		for _, text := range s.Take() {
			e.w.tracef("%s/%d %s got %q", e.name, s.id, s.user, text)
			e.w.model.delivered(s, c, text)
		}
	}
	e.strand()
	for _, s := range e.ended {
		if texts := s.Take(); len(texts) > 0 {
			e.w.fail("P9: %s/%d (%s) has ended, and got %q", e.name, s.id, s.user, texts)
		}
	}
}
