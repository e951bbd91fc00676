package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// ranging is a command of the verb History that is under way. It reads the topic's top, and then
// the pages of the range that the client has asked for.
type ranging struct {
	frame   *frame
	reading bool              // counted in answers.reading
	top     protocol.Position // zero until it is known
	after   protocol.Position // the next page begins after this position
	last    uint64            // offset of the last publication in the range
	pubs    []dialect.Published
	bytes   int
	again   int // number of times that the range was begun anew
}

const (
	rangeAgain   = 3         // largest number of times that a range is begun anew
	rangesAtOnce = 8         // largest number of History commands of an edge that read at once
	maxRange     = 256 << 10 // largest text of the publications in one answer, in bytes
)

// askRange begins a command of the verb History.
func (r *Router) askRange(fr *frame) {
	e := fr.session.edge
	e.answers.ranges = append(e.answers.ranges, &ranging{frame: fr})
	r.rangeOn(e)
}

// rangeLate refuses a History that is not answered within bindWait.
func (r *Router) rangeLate(fr *frame) {
	r.m.dropped("late", 1)
	r.deny(fr, dialect.Verdict{Reason: dialect.Late})
	r.rangeOn(fr.session.edge)
}

// rangeOn begins to read for those History commands of an edge that wait and may go on. The
// commands of a user who has no room for long answers are passed over. When rangeOn looks for room,
// each History command that reads counts as a long answer of maxRange bytes.
func (r *Router) rangeOn(e *edge) {
	a := &e.answers
	for i := 0; i < len(a.ranges) && a.reading < rangesAtOnce && e.outbox.ready; {
		g := a.ranges[i]
		fr := g.frame
		if fr.effect < effectFinished && !r.outage.away {
			size := (a.reading + 1) * maxRange
			if user := fr.session.user; !a.roomOf(user, size) || !a.room(user, size) {
				i++
				continue
			}
			if r.mayAnswer(e, fr.session.user, size) != nil {
				return // answerOn goes on
			}
		}
		if a.ranges = slices.Delete(a.ranges, i, i+1); len(a.ranges) == 0 {
			a.ranges = nil
		}
		switch {
		case fr.effect >= effectFinished:
		case r.outage.away:
			r.deny(fr, dialect.Verdict{Reason: dialect.Late})
		default:
			a.reading++
			g.reading = true
			r.readRange(g, protocol.Position{Epoch: protocol.MaxEpoch, Offset: protocol.MaxOffset})
		}
	}
}

func (r *Router) readRange(g *ranging, after protocol.Position) {
	g.after = after
	r.brk.ReadHistory(g.frame.topic(), after, r.requests.ask(g))
}

// endRange ends a ranging, and lets the next one read.
func (r *Router) endRange(g *ranging) {
	e := g.frame.session.edge
	e.answers.reading--
	r.rangeOn(e)
}

// ranged takes a page of history that a History command has asked for.
func (r *Router) ranged(g *ranging, ev broker.History) {
	fr := g.frame
	switch {
	case fr.effect >= effectFinished: // it was late, or its edge sends it again
		r.endRange(g)
	case ev.Err != nil:
		r.deny(fr, dialect.Verdict{Reason: dialect.Late})
		r.endRange(g)
	case g.top.IsZero():
		r.beginRange(g, ev)
	default:
		r.takePage(g, ev)
	}
}

// beginRange takes the topic's top, and begins to read the range.
func (r *Router) beginRange(g *ranging, ev broker.History) {
	asked, top := g.frame.command.Terms.Range, ev.Top
	if t := r.directory.topics[g.frame.topic()]; top.IsZero() && t != nil && t.top.IsZero() {
		top.Epoch = t.begun
	}
	g.top = top
	since := asked.Since
	if asked.Asked && !asked.AnyEpoch && since.Epoch != top.Epoch {
		r.deny(g.frame, dialect.Verdict{Reason: dialect.Unrecoverable})
		r.endRange(g)
		return
	}
	low := top.Offset - min(top.Offset, uint64(asked.Most)) // nothing up to it is shown
	g.last = top.Offset
	limit := uint64(asked.Limit)
	switch {
	case asked.Reverse:
		if asked.Asked {
			g.last = min(g.last, since.Offset-min(since.Offset, 1))
		}
		low = max(low, g.last-min(g.last, limit))
	case asked.Asked:
		low = max(low, since.Offset)
	}
	if limit == 0 || low >= g.last {
		r.answerRange(g)
		return
	}
	r.readRange(g, protocol.Position{Epoch: top.Epoch, Offset: low})
}

// takePage takes the publications of a page that are in the range.
func (r *Router) takePage(g *ranging, ev broker.History) {
	asked := g.frame.command.Terms.Range
	// If the top has moved since it was read, publications in the range may have left history. The
	// answer must be true of the moment at which its first page was read.
	switch moved := ev.Top != g.top && len(g.pubs) == 0; {
	case moved && !asked.Reverse && ev.Top.Epoch == g.top.Epoch:
		g.top, g.last = ev.Top, ev.Top.Offset
	case moved && g.again < rangeAgain:
		g.again++
		r.beginRange(g, ev)
		return
	}
	full := false
	low := g.top.Offset - min(g.top.Offset, uint64(asked.Most)) // nothing up to it is shown
	for i := range ev.Publications {
		pub := &ev.Publications[i]
		at := pub.Position
		if at.Offset <= low {
			continue
		}
		if at.Epoch != g.top.Epoch || at.Offset > g.last || len(g.pubs) == asked.Limit {
			full = true
			break
		}
		g.pubs = append(g.pubs, r.listed(at, &pub.Content))
		g.bytes += len(g.pubs[len(g.pubs)-1].Text) + 1
		for g.bytes > maxRange && len(g.pubs) > 1 {
			drop := len(g.pubs) - 1
			if asked.Reverse {
				drop = 0
			} else {
				full = true
			}
			g.bytes -= len(g.pubs[drop].Text) + 1
			g.pubs = slices.Delete(g.pubs, drop, drop+1)
		}
		if full {
			break
		}
	}
	if end := (protocol.Position{Epoch: g.top.Epoch, Offset: g.last}); full || !ev.More || !ev.Through.Before(end) ||
		len(g.pubs) == asked.Limit {
		r.answerRange(g)
		return
	}
	r.readRange(g, ev.Through)
}

// answerRange answers a History command with what was read.
func (r *Router) answerRange(g *ranging) {
	fr := g.frame
	if fr.command.Terms.Range.Reverse {
		slices.Reverse(g.pubs)
	}
	text := r.verdict(fr, dialect.Verdict{Places: []dialect.Place{{Kept: true, At: g.top, Missed: g.pubs}}})
	r.answer(fr, text)
	r.finish(fr)
	r.endRange(g)
}
