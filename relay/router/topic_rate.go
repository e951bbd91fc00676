package router

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

const (
	// topicBurst is how far a topic may be ahead of its rate. At the relay's default rate that is
	// 128 KiB.
	topicBurst = 125 * time.Millisecond
	// topicTurn bounds, roughly, the bytes that a lane publishes before the other lanes of its
	// topic have their turns.
	topicTurn = 16 << 10
	// topicHold is a divisor. An edge's messages that wait at the relay for the rates of topics may
	// fill 1/topicHold of the edge's log. Beyond that, further messages to such topics are refused.
	// So a topic with too many senders leaves room in the log for messages to other topics.
	topicHold = 4
	// topicSweep is the least time between two sweeps. A sweep forgets the topics that are not
	// ahead of their rate.
	topicSweep = time.Second
	// topicCost is the number of bytes that a message counts in addition to its text. An edge's
	// queue for a client adds the same number to each frame.
	topicCost = 24
)

// topicRates bounds the bytes that all senders together publish to one topic. So the queue of a
// client that reads the topic can take a burst of one relay. Messages beyond the rate wait in their
// lanes, and the lanes take turns.
//
// The algorithm is the generic cell rate algorithm (ITU-T I.371, virtual scheduling). Each
// publication to a topic takes up a time: its size divided by the rate. These times follow one
// after the other. The map topicRates.paid has, for each topic, the moment at which the last of
// them ends. While that moment is less than topicBurst in the future, more may be published. A
// publication of another relay counts when it is heard. So two relays that publish to a topic at
// the same time may publish one burst each. Once each has heard the burst of the other, it counts
// both.
type topicRates struct {
	rate    int                              // bytes a second; 0: there is no bound
	paid    map[protocol.Topic]time.Duration // by topic: the moment, as a time of Router.clock
	waiting map[protocol.Topic]*turns        // the topics whose lanes wait
	swept   time.Duration                    // Router.clock at the last sweep
}

func newTopicRates(rate int) topicRates {
	return topicRates{
		rate:    rate,
		paid:    make(map[protocol.Topic]time.Duration),
		waiting: make(map[protocol.Topic]*turns),
	}
}

// turns are the lanes of one topic that wait for its rate, first come, first served.
type turns struct {
	lanes []*lane
	now   *lane // lane whose turn it is; nil outside of takeTurns
	left  int   // bytes left of that lane's turn
}

// mayPublish reports whether the rate of l's topic permits l to publish now. If not, l gets a turn
// later.
func (r *Router) mayPublish(l *lane) bool {
	rates := &r.rates
	if rates.rate == 0 {
		return true
	}
	w := rates.waiting[l.topic]
	ahead := rates.paid[l.topic] - r.clock
	if ahead < topicBurst && (w == nil || w.now == l && w.left > 0) {
		return true
	}
	if w == nil {
		w = &turns{}
		rates.waiting[l.topic] = w
		r.takeTurnsLater(l.topic)
	}
	if !l.paced {
		l.paced = true
		r.m.paced.Inc()
		w.lanes = append(w.lanes, l)
	}
	return false
}

// spend notes that a number of bytes is published to a topic.
func (r *Router) spend(topic protocol.Topic, bytes int) {
	rates := &r.rates
	if rates.rate == 0 {
		return
	}
	cost := time.Duration(bytes+topicCost) * time.Second / time.Duration(rates.rate)
	rates.paid[topic] = max(rates.paid[topic], r.clock) + cost
	if w := rates.waiting[topic]; w != nil {
		w.left -= bytes + topicCost
	}
}

// takeTurnsLater makes Step call takeTurns at the time when the topic will be only half a burst
// ahead of its rate. That time is computed as if nothing more were published. If it has come
// already, Step calls takeTurns in this step or in the next one.
func (r *Router) takeTurnsLater(topic protocol.Topic) {
	r.after(r.rates.paid[topic]-r.clock-topicBurst/2, func() { r.takeTurns(topic) })
}

// takeTurns lets the waiting lanes of a topic go on, in turn, as far as its rate permits.
func (r *Router) takeTurns(topic protocol.Topic) {
	rates := &r.rates
	w := rates.waiting[topic]
	for len(w.lanes) > 0 && rates.paid[topic]-r.clock < topicBurst {
		l := w.lanes[0]
		w.lanes = w.lanes[1:]
		l.paced = false
		w.now, w.left = l, topicTurn
		if r.outage.away {
			r.giveAhead(l)
		} else {
			r.runLane(l)
		}
		w.now = nil
	}
	if len(w.lanes) == 0 {
		delete(rates.waiting, topic)
		return
	}
	r.takeTurnsLater(topic)
}

// mayWait reports whether a message may be published, or may wait for the rate of its topic. A
// message that may do neither is refused.
func (r *Router) mayWait(fr *frame) bool {
	e := fr.session.edge
	if r.rates.waiting[fr.topic()] == nil || r.waitingBytes(e) < e.inbox.logSize/topicHold {
		return true
	}
	r.deny(fr, dialect.Verdict{Reason: dialect.TooMuch})
	r.m.dropped("topic_rate", 1)
	return false
}

// waitingBytes returns how many bytes an edge has in its lanes to the topics in topicRates.waiting.
func (r *Router) waitingBytes(e *edge) (n uint64) {
	for topic := range r.rates.waiting {
		if l := e.inbox.lanes[topic]; l != nil {
			n += l.bytes
		}
	}
	return n
}

// sweepRates forgets the topics that are not ahead of their rate.
func (r *Router) sweepRates() {
	rates := &r.rates
	if r.clock-rates.swept < topicSweep {
		return
	}
	rates.swept = r.clock
	for topic, paid := range rates.paid {
		if paid <= r.clock {
			delete(rates.paid, topic)
		}
	}
	if len(rates.paid) == 0 {
		rates.paid = make(map[protocol.Topic]time.Duration) // a map does not shrink
	}
}
