package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// catchup holds those followers of an edge that are behind, and the state of their reading of
// history.
type catchup struct {
	behind  []*follower // followers that are behind, unordered
	reading int         // number of pages of history that were requested, and have not come
	unread  []*follower // followers that are behind and wait for their turn to read
	unlive  int         // number of followers for which link.Live waits
	liveDue bool        // a link.Live is due on this link, and not sent yet
}

// lag is the state of a follower that is behind.
type lag struct {
	index    int               // index in catchup.behind, plus 1; 0: not listed
	held     bool              // waits until the broker is back
	inTail   bool              // the follower reads the tail, from lag.seq on
	seq      uint64            // number of the next item to look at, if inTail is set
	bareFrom uint64            // bare items of the tail (see tail) are sent from this number on
	fresh    uint64            // number of the first item that came after Synced; 0: unknown
	older    uint64            // while seeking: the members came after the frame of this number
	end      protocol.Position // while seeking: the members begin at or before this position
	reading  uint64            // token of the ReadHistory under way; 0: none
	// target is the base of the tail when the page was requested, or the top if there was no tail.
	// If history ends before lag.target, a gap is told.
	target protocol.Position
	// overdue counts the memberships at the follower whose time came before their edge told them.
	// The follower waits until these have ended.
	overdue int
	echoes  []*frame // joins and leaves that wait until the follower reaches their positions
	loss    *losing  // the job that tells the members a loss; nil: none
}

func (r *Router) fallBehind(f *follower) {
	f.isBehind = true
	f.edge.catchup.add(f)
}

// add puts a follower that has fallen behind into catchup.behind, and gives it a lag.
func (c *catchup) add(f *follower) {
	w := f.rarely()
	if w.lag == nil {
		w.lag = &lag{}
	}
	if w.lag.index == 0 {
		c.behind = append(c.behind, f)
		w.lag.index = len(c.behind)
	}
}

// remove clears lag.loss. If f is listed in catchup.behind, remove takes f off the list and clears
// lag.held.
func (c *catchup) remove(f *follower) {
	g := f.lag()
	if g == nil {
		return
	}
	if g.loss = nil; g.index == 0 {
		return
	}
	end := len(c.behind) - 1
	last := c.behind[end]
	c.behind[g.index-1], last.rare.lag.index = last, g.index
	g.index, g.held = 0, false
	c.behind[end] = nil
	if c.behind = c.behind[:end]; end == 0 {
		c.behind = nil
	}
}

// clear takes all followers off catchup.behind, although they are still behind.
func (c *catchup) clear() {
	for _, f := range c.behind {
		f.rare.lag.index = 0
	}
	c.behind = nil
}

// advanceAll advances the followers of e that are behind, as long as e's buffer has room.
func (r *Router) advanceAll(e *edge) {
	if e.answers.turn = !e.answers.turn; e.answers.turn { // or followers could take all room
		r.answerOn(e)
	}
	for _, f := range slices.Clone(e.catchup.behind) {
		if !r.room(e, 0) {
			return
		}
		r.advance(f)
	}
	r.readOn(e)
	r.answerOn(e)
}

// If f is behind, advance sends f the publications that f misses. It stops when f is live, when the
// edge's buffer is full, or when f has to wait. The follower may wait for a page of history, for
// the subscription of its topic, for the broker, for a job of type losing, or for the end of
// memberships. On a new link the
// follower also waits until the edge was told the topic's number.
func (r *Router) advance(f *follower) {
	for r.advanceOn(f) {
	}
}

// advanceOn does the work of advance until f reaches the place of a join or a leave that waits in
// f's lag. Then advanceOn calls takeEchoes and returns true, so that advance calls advanceOn again.
// If advanceOn stops for any other reason, it returns false.
func (r *Router) advanceOn(f *follower) (again bool) {
	g := f.lag()
	if !f.isBehind || !f.edge.outbox.ready || !f.numbered || g.reading != 0 || !f.topic.subscribed && !r.outage.away || r.outage.away && g.held {
		return false
	}
	if g.overdue > 0 {
		return false
	}
	if g.loss != nil {
		r.goOn(g.loss)
		return false
	}
	tail := &tail{base: f.topic.top}
	if f.topic.recent != nil {
		tail = &f.topic.recent.tail
	}
	if f.seeking {
		if f.topic.subscribed {
			r.read(f)
		}
		return false
	}
	if r.takeEchoes(f) {
		return true
	}
	if !g.inTail || f.topic.recent == nil || g.seq < tail.first() {
		g.inTail = false
		switch {
		// A follower cannot read the tail in two cases. The tail begins after the follower's
		// position. Or the follower has clients of SDKs, and misses items that the tail has in the
		// chat's form alone.
		case f.position.Before(tail.base), f.clients() > 0 && f.position.Before(tail.plain):
			if f.topic.subscribed {
				r.read(f)
			}
			return false
		// Under each of the four conditions below, the follower waits for the broker. The first
		// condition is that a message given ahead has left the tail. The follower may have missed
		// that message.
		case r.outage.away && tail.torn,
			// The edge has a position, but this relay has never known the topic's top. So nobody
			// knows which publications the follower misses.
			!f.topic.subscribed && !f.topic.placed && !f.position.IsUnplaced(),
			// The members may have come while the edge was linked to another relay. If so, some of
			// the tail's messages may be older than the members.
			f.position.IsUnplaced() && f.topic.placed,
			// The edge has received more of the topic than this relay has. Perhaps the edge has a
			// later message of a client already, and the tail has an earlier one that was given
			// ahead.
			!f.topic.subscribed && f.topic.top.Before(f.position):
			return false
		}
		g.inTail, g.bareFrom = true, tail.seek(f.position)
		if g.fresh != 0 { // 0 means: nobody knows which bare items the edge has received
			g.bareFrom = min(g.bareFrom, max(g.fresh, tail.first()))
		}
		g.seq = min(g.bareFrom, tail.firstAhead())
	}
	for g.seq <= tail.last() {
		item := tail.at(g.seq)
		if item.id != 0 || item.position.IsZero() && g.seq >= g.bareFrom || f.position.Before(item.position) {
			bytes := r.frameFor(f, item)
			if !r.room(f.edge, len(bytes)) {
				return false
			}
			if item.id != 0 {
				bytes = r.aheadTo(f, item)
			}
			if bytes == nil {
				g.held = true
				return false
			}
			r.sendPublication(f, item.position, bytes)
		}
		g.seq++
		if r.takeEchoes(f) {
			return true
		}
	}
	r.caughtUp(f)
	return false
}

// read asks for a page of history. If readsAtOnce pages are under way for f's edge, read lists f in
// catchup.unread instead. Without that bound, more pages could come than the link has room for. A
// publication that finds no room is thrown away, and must be read again.
func (r *Router) read(f *follower) {
	e := f.edge
	if e.catchup.reading >= readsAtOnce {
		if !f.unread {
			f.unread = true
			e.catchup.unread = append(e.catchup.unread, f)
		}
		return
	}
	e.catchup.reading++
	g := f.lag()
	g.reading, g.target = r.requests.ask(f), f.topic.top
	if f.topic.recent != nil {
		g.target = f.topic.recent.tail.base
	}
	r.brk.ReadHistory(f.topic.name, f.position, g.reading)
}

// readOn advances the followers whose turn to read has come.
func (r *Router) readOn(e *edge) {
	for e.catchup.reading < readsAtOnce && len(e.catchup.unread) > 0 {
		f := e.catchup.unread[0]
		e.catchup.unread = e.catchup.unread[1:]
		f.unread = false
		r.advance(f)
	}
}

// caughtUp makes a follower live. It resumes the joins, the leaves, the connects and the other
// frames that had to wait until the follower was live.
func (r *Router) caughtUp(f *follower) {
	f.isBehind = false
	r.stopSeeking(f) // has an effect only if f's members left during the search
	f.edge.catchup.remove(f)
	var echoes []*frame
	if g := f.lag(); g != nil {
		echoes, g.echoes, g.inTail = g.echoes, nil, false
	}
	f.compact()
	for _, fr := range echoes {
		if fr.notice() { // if not, fr took effect earlier
			r.takeNotice(f, fr)
		}
	}
	r.tryOpeners(f)
	if r.outage.away {
		for _, s := range f.inOrder() {
			r.openAhead(s, r.own(s)) // while f was behind, openAhead did not bind s
		}
	}
	r.arrived(f)
	if l := f.edge.inbox.lanes[f.topic.name]; l != nil {
		r.giveAhead(l) // joins and leaves in l may be waiting until f is live
	}
}

// historyFor passes a page of history to the lookup, the comeback or the ranging that has asked for
// it.
func (r *Router) historyFor(ev broker.History) {
	if l := asker[*lookup](&r.requests, ev.Token); l != nil {
		r.lookedUp(l, ev)
	} else if c := asker[*comeback](&r.requests, ev.Token); c != nil {
		r.recalled(c, ev)
	} else if g := asker[*ranging](&r.requests, ev.Token); g != nil {
		r.ranged(g, ev)
	}
}

// history handles a page of history. If a follower asked for the page, history sends the page's
// publications to the edge of that follower. A hole in the page is told as a gap. Otherwise
// historyFor passes the page on.
func (r *Router) history(ev broker.History) {
	f := asker[*follower](&r.requests, ev.Token)
	if f == nil {
		r.historyFor(ev)
		return
	}
	f.edge.catchup.reading--
	g := f.lag()
	// The answer is not wanted if f was dropped meanwhile, or if its edge has a new link.
	asked := g != nil && g.reading == ev.Token
	if asked {
		g.reading = 0
		f.compact()
	}
	if !asked || !f.isBehind || !f.edge.outbox.ready || g.loss != nil {
		r.readOn(f.edge)
		return
	}
	if ev.Err != nil {
		r.after(askAgainAfter, func() {
			r.advance(f)
			r.readOn(f.edge)
		})
		return
	}
	if f.seeking && !r.seekPlace(f, ev) {
		return
	}
	for _, p := range ev.Publications {
		if !f.position.Before(p.Position) {
			continue
		}
		bytes := r.encode(f.topic, p, f.need())
		if !r.room(f.edge, len(bytes)) {
			return // Writable or lookAgain resumes f
		}
		if lost, hole := missed(f.position, p); hole {
			before := p.Position
			before.Offset--
			if !r.gap(f, before, lost) {
				r.readOn(f.edge)
				return
			}
		}
		r.m.fromHistory.Inc()
		r.sendPublication(f, p.Position, bytes)
		// If p lies beyond the top and is the echo of a notice, the notice takes effect later:
		// other followers must first be sent the publications before p.
		if !f.topic.top.Before(p.Position) {
			r.completeEcho(f.topic, p)
		}
		if r.takeEchoes(f); f.lag() != g {
			break
		}
	}
	// If g is not f's lag any more, f's members have left. New members may have come meanwhile, at
	// another position.
	if f.lag() != g {
		r.advance(f)
		r.readOn(f.edge)
		return
	}
	if f.position.Before(ev.Through) {
		// The publications at the end of the page could not be read. They are lost.
		lost, _ := missing(f.position, ev.Through)
		if !r.gap(f, ev.Through, lost+1) {
			r.readOn(f.edge)
			return
		}
	}
	if target := g.target; !ev.More && f.position.Before(target) {
		// History ends before a position that is known to be published. The publications in between
		// are lost.
		lost, _ := missing(f.position, target)
		if !r.gap(f, target, lost+1) {
			r.readOn(f.edge)
			return
		}
	}
	r.advance(f)
	r.readOn(f.edge)
}
