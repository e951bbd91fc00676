// Package broker says what carries publications between relays, and has the one that works in memory.
package broker

import (
	"context"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Broker carries publications between relays, and to and from any other server that shares its back end.
//
// All methods but Run only queue: they never block and are answered by an Event with the same Token. What is queued is bounded by the
// caller, which has a bounded number of unanswered requests. Requests of one kind are carried out in the order of the calls. Every
// request is answered exactly once while Run runs, with Err set when the back end is away: the Broker does not retry (Subscribe
// excepted), its caller does.
type Broker interface {
	// Run owns the Broker's goroutines and returns when all have ended: after ctx is cancelled. It calls sink, from several goroutines, with
	// each Event; sink may block shortly but must not call the Broker in a way that waits.
	Run(ctx context.Context, sink func(Event)) error

	// Publish appends to the topic's history, sets the mark (the last Number published for Topic and Instance) and publishes, in one atomic
	// step. Answered by Published. The topic's top, its last position, is kept longer than its history: what is published after the
	// history expired continues it. Once the top is forgotten too, a new epoch begins.
	Publish(Publish)

	// Subscribe asks for a topic's publications. Answered by Subscribed once the back end confirmed it, and again, with the same
	// Token, each time it was confirmed anew after it was lost. It is retried until Unsubscribe.
	Subscribe(t protocol.Topic, token uint64)
	// Unsubscribe ends it at once. A Subscribed or Received already under way may still arrive.
	Unsubscribe(t protocol.Topic)

	// ReadHistory asks for publications after a position: up to PageSize, or fewer where they are long. Answered by History.
	ReadHistory(t protocol.Topic, after protocol.Position, token uint64)
	// CountSubscribers asks how many subscribers a topic has anywhere, this Broker's own subscription included. Answered by Counted.
	CountSubscribers(t protocol.Topic, token uint64)

	// Flush asks for everything that is on its way: answered by Flushed behind each Received of what anybody published, before the call, to topics whose
	// subscriptions are in force; without a connection to wait for, soon, and then Heard is false.
	Flush(token uint64)

	// Name names the back end: equal for Brokers that share one. It may be asked at any time; "" while unknown.
	Name() string
}

// PageSize is the number of publications in one History at most.
const PageSize = 64

// Publish is a request to publish one message.
type Publish struct {
	Token uint64
	Topic protocol.Topic
	From  string // the sending user
	Msg   string

	// Instance and Number name the frame that asks for it. A Number at or below the mark of (Topic, Instance) is a Duplicate.
	Instance protocol.Instance
	Number   uint64
	// Predecessor is the last Number before this one on Topic that is not known to be finished; 0: none. With the mark below it the request is
	// Refused.
	Predecessor uint64
	// Floor: all numbers up to it are finished. A mark that is missing or lower is raised to it first.
	Floor uint64
	// Known is the highest position the caller has seen on Topic. If the topic's top is lower, a new epoch begins: at
	// protocol.MaxEpoch at the latest, and for the sake of a position that is there or beyond none does.
	Known protocol.Position
}

// Outcome of a Publish.
type Outcome uint8

const (
	Failed    Outcome = iota // Err says why; it may have been carried out or not
	Done                     // published at Position
	Duplicate                // the mark says it was published before; Position is the topic's top
	Refused                  // the mark is below the Predecessor; nothing was done
)

// Publication is one message on a topic.
type Publication struct {
	Topic    protocol.Topic
	Position protocol.Position // zero: published by an original server, bare
	Previous protocol.Position // of the first one of an epoch: where the topic was before; zero: not known
	From     string
	Msg      string
	// Instance and Number are those of the Publish; zero when bare.
	Instance protocol.Instance
	Number   uint64
}

// Event is one of Published, Subscribed, Received, History, Counted, Flushed, State, Deaf.
type Event interface{ event() }

// Published answers Publish.
type Published struct {
	Token    uint64
	Outcome  Outcome
	Position protocol.Position
	Err      error
}

// Subscribed answers Subscribe: every publication after Top arrives as Received behind this event. Some at or before Top may arrive too,
// before this event or behind it.
type Subscribed struct {
	Topic protocol.Topic
	Token uint64
	Top   protocol.Position // the topic's top, read after the back end confirmed the subscription; zero: none is known
}

// Received brings a publication of a subscribed topic. Those with a position come in order of it, unless the back end lost some.
type Received struct{ Publication Publication }

// Deaf tells that subscriptions were lost: until its next Subscribed, publications of a topic may be missed. All true: of every topic; else of Topic.
type Deaf struct {
	All   bool
	Topic protocol.Topic
}

// History answers ReadHistory: Publications in order after the position asked for. More: there are others behind Through, however few these are.
// Through is the last entry that the page covers, zero if it covers none. Entries at or before it that are not in Publications cannot be
// had: they are not to be read, and the next page is to be asked for after Through.
// Top is the topic's top, which may be behind the end of a history that has expired; zero: none is known.
type History struct {
	Token        uint64
	Topic        protocol.Topic
	Publications []Publication
	Through      protocol.Position
	More         bool
	Top          protocol.Position
	Err          error
}

// Counted answers CountSubscribers.
type Counted struct {
	Token uint64
	Count int64
	Err   error
}

// Flushed answers Flush. Heard: what was on its way has come; else nothing is known.
type Flushed struct {
	Token uint64
	Heard bool
}

// State tells whether the back end answers. Sent at each change, and once at the start when it is away; until the first State the back end is
// taken to be there.
type State struct {
	Away  bool
	Cause error
}

func (Published) event()  {}
func (Subscribed) event() {}
func (Received) event()   {}
func (Deaf) event()       {}
func (History) event()    {}
func (Counted) event()    {}
func (Flushed) event()    {}
func (State) event()      {}
