package link

import (
	"slices"
	"time"
)

// Side is an end of a link.
type Side uint8

// These are the two ends of a link.
const (
	Edge Side = iota
	Relay
)

// WatchEvery is the interval at which a side judges its link.
const WatchEvery = 100 * time.Millisecond

// If more time than lateLook has passed since the last call of Watch, the process is taken to have
// stood still.
const lateLook = WatchEvery + WatchEvery/2

// Signs describe a connection, so that Watch can judge it. Times count from the link's start.
type Signs struct {
	Now      time.Duration
	Received time.Duration // when the last byte came
	Handling bool          // the Sink has a batch, so nothing is read
	Handled  time.Duration // when the Sink was done with the last batch
	Writing  bool          // a batch is on its way to the network
	Progress time.Duration // when the current batch began or last made progress
	Left     uint64        // number of written bytes that have left this machine
	Drained  time.Duration // when the kernel's queue was last seen to shrink

	leaving bool          // this side has begun to end the link; set by Watch
	left    time.Duration // when this side began to end the link; set by Watch
	written time.Duration // when the last batch was written; set by Watch
	ping    ping          // the first Ping that no byte has answered
	rtt     time.Duration // the shortest of the last round trips; 0: none was measured

	patience int64 // the factor by which the silence before a doubt is multiplied
}

const (
	silentAfter = 15 * time.Second // longest time without a byte from the peer
	stuckAfter  = 10 * time.Second // longest time for which a begun batch makes no progress
	drainFor    = time.Second      // longest time from the call of Bye to the Bye frame
	leaveFor    = 2 * time.Second  // time from the call of Bye until this side closes
)

const (
	// pingEvery is the time between two Pings of an edge.
	pingEvery = 600 * time.Millisecond
	// A relay pings when it has sent nothing for as long as beatAfter. While its reader waits for
	// the Sink, a relay answers no Pings. Its own Pings then show the edge that the relay is alive.
	beatAfter = 700 * time.Millisecond
	// measureEvery is how often a relay pings in any case, to measure the round trip.
	measureEvery = 5 * time.Second

	// An edge doubts its relay after a silence of three round trips plus doubtMore. That silence is
	// at least doubtLeast and at most doubtMost. Then it is multiplied by the patience.
	doubtMore  = 600 * time.Millisecond
	doubtLeast = time.Second
	doubtMost  = 3 * time.Second
)

type verdict uint8

const (
	alive verdict = iota
	pingDue
	silent
	stuck
	abandoned // the peer does not close after Bye
)

// liveness judges a link by bytes that come and by bytes that go. Neither a late Pong nor the age
// of a queue is a sign of death. While this side does not read, the peer does not count as silent.
type liveness struct {
	side   Side
	looked time.Duration // when step was called last
	pinged time.Duration // when a Ping was due last
	heard  time.Duration // Signs.Received at the last step
	asked  time.Duration // when the first unanswered Ping left this machine; 0: none has
	from   time.Duration // what liveness.since returned at the last step
	floor  time.Duration // silence before this time does not count; set by a late step
}

// liveness.step judges the link at s.Now. The result doubt says whether an edge should look for
// another relay.
func (l *liveness) step(s Signs) (v verdict, doubt bool) {
	late := l.look(s)
	l.from = l.since(s)
	doubt = l.side == Edge && !late && !s.leaving && !s.Handling && s.Now-l.from >= s.limit()
	switch {
	case s.leaving && s.Now-s.left >= leaveFor:
		return abandoned, doubt
	case s.Writing && s.Now-s.Progress >= stuckAfter:
		return stuck, doubt
	case !s.Handling && s.Now-max(s.Received, s.Handled) >= silentAfter:
		return silent, doubt
	case l.due(s):
		l.pinged = s.Now
		return pingDue, doubt
	}
	return alive, doubt
}

// liveness.look notes what has changed since the last step. The result late says whether this step
// is later than it should be. If it is, the process is taken to have stood still, and may have
// bytes to read that came meanwhile. So the time since the last step does not count as silence.
func (l *liveness) look(s Signs) (late bool) {
	if s.Received > l.heard {
		l.heard, l.asked = s.Received, 0
	}
	if late = s.Now-l.looked > lateLook; late {
		l.floor = s.Now - max(0, l.looked-l.from)
	}
	if l.asked == 0 && s.ping.at != 0 && s.ping.end <= s.Left {
		l.asked = s.ping.at
		if l.asked <= l.looked {
			l.asked = s.Now // the Ping had not left at the last step
		}
	}
	l.looked = s.Now
	return late
}

// liveness.since returns the time from which the peer's silence counts. If all Pings are answered,
// this is s.Now. Otherwise the first unanswered Ping decides. If that Ping has left this machine,
// silence counts from about the moment when it left. If the Ping still waits here, silence counts
// from the later of two moments: ping.at, and the last moment at which bytes left. The result is
// never before Signs.Handled or liveness.floor.
func (l *liveness) since(s Signs) time.Duration {
	since := max(l.asked, s.Handled, l.floor)
	switch {
	case s.ping.at == 0:
		return s.Now // no answer is due
	case l.asked != 0:
	case s.Writing:
		since = max(since, s.ping.at, s.Drained, s.Progress)
	default:
		since = max(since, s.ping.at, s.Drained)
	}
	return since
}

// limit returns the silence that makes an edge doubt.
func (s Signs) limit() time.Duration {
	return time.Duration(s.patience) * min(max(doubtLeast, 3*s.rtt+doubtMore), doubtMost)
}

// due reports whether a Ping is due.
func (l *liveness) due(s Signs) bool {
	if l.side == Edge {
		return s.Now-l.pinged >= pingEvery
	}
	return s.Now-l.pinged >= measureEvery || s.Now-max(l.pinged, s.written) >= beatAfter
}

// ping is a Ping that no byte has answered. The zero ping means that there is no such Ping.
type ping struct {
	at  time.Duration // when the Ping was written; before that, when it became due
	end uint64        // number of bytes sent up to the end of its batch, or the constant unwritten
}

// unwritten is the value of ping.end until the Ping is written.
const unwritten = ^uint64(0)

// pings are the Pings of one side. The token of a Ping is its number.
type pings struct {
	due   bool
	first ping                     // the first Ping that no byte has answered
	token uint64                   // the last token given
	sent  [keptPings]time.Duration // when the last Pings were sent, by token modulo keptPings
	under bool                     // the batch that is being written has a Ping
	trips []time.Duration          // the last keptTrips round trips
}

// keptPings is how many Pings are kept: the latest ones. A Pong that answers an earlier Ping is not
// measured.
const keptPings = 16

// keptTrips is how many round trips are kept: the latest ones. Only the shortest of them counts. A
// single trip may be long because one of the two processes stood still.
const keptTrips = 8

// ask makes a Ping due.
func (p *pings) ask(now time.Duration) {
	p.due = true
	if p.first.at == 0 {
		p.first = ping{now, unwritten}
	}
}

// take returns the token of the Ping that is due, or 0 if none is due.
func (p *pings) take(now time.Duration) uint64 {
	if !p.due {
		return 0
	}
	p.due, p.under = false, true
	p.token++
	p.sent[p.token%keptPings] = now
	return p.token
}

// pings.wrote is called when a batch has been written. The parameter sent is the number of bytes
// that the link has sent in all.
func (p *pings) wrote(sent uint64, now time.Duration) {
	if p.under && p.first.end == unwritten {
		p.first = ping{now, sent}
	}
	p.under = false
}

// pings.unanswered returns the first Ping that no byte has answered. The parameter received is when
// the last byte came.
func (p *pings) unanswered(received time.Duration) ping {
	if p.first.at <= received {
		p.first = ping{}
	}
	return p.first
}

// pings.answered is called when a Pong with this token has come. It returns the round trip. The
// parameter stood says whether this process stood still before it read the Pong. The result ok is
// false if stood is true, if no Ping had this token, or if that Ping is too old.
func (p *pings) answered(token uint64, now time.Duration, stood bool) (trip time.Duration, ok bool) {
	if stood || token == 0 || token > p.token || p.token-token >= keptPings {
		return 0, false
	}
	trip = now - p.sent[token%keptPings]
	if len(p.trips) == keptTrips {
		p.trips = append(p.trips[:0], p.trips[1:]...)
	}
	p.trips = append(p.trips, trip)
	return trip, true
}

// quickest returns the shortest of the last round trips, or 0 if there is none.
func (p *pings) quickest() time.Duration {
	if len(p.trips) == 0 {
		return 0
	}
	return slices.Min(p.trips)
}
