// Package broker defines what carries publications between relays.
package broker

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Broker carries publications between relays, and to and from any other server that shares its
// back end.
//
// All methods but Run only queue. They never block, and an Event with the same Token answers
// them. The caller bounds what is queued, since it has a bounded number of unanswered requests.
// Requests of one kind are carried out in the order of the calls. Every request is answered
// exactly once while Run runs, with Err set when the back end is away. The caller retries, not
// the Broker, except for Subscribe.
type Broker interface {
	// Run owns the Broker's goroutines. It returns when all have ended, after ctx is cancelled.
	// It calls sink with each Event, from several goroutines. The sink may block shortly, but
	// must not call the Broker in a way that waits.
	Run(ctx context.Context, sink func(Event)) error

	// Publish does three things in one atomic step: it appends to the topic's history, sets the
	// mark (the last Number published for Topic and Instance), and publishes. Published answers
	// it. The topic's top, its last position, is kept longer than its history. What is published
	// after the history expired continues it. Once the top is forgotten too, a new epoch begins.
	Publish(Publish)

	// Subscribe asks for a topic's publications. Subscribed answers it once the back end has
	// confirmed it, and again, with the same Token, each time that it was confirmed anew after a
	// loss. The Broker retries it until Unsubscribe.
	Subscribe(t protocol.Topic, token uint64)
	// Unsubscribe ends a subscription at once. A Subscribed or Received that is already under way
	// may still arrive.
	Unsubscribe(t protocol.Topic)

	// ReadHistory asks for publications after a position: up to PageSize, or fewer where they are
	// long. History answers it.
	ReadHistory(t protocol.Topic, after protocol.Position, token uint64)
	// CountSubscribers asks how many subscribers a topic has anywhere, this Broker's own
	// subscription included. Counted answers it.
	CountSubscribers(t protocol.Topic, token uint64)

	// Flush waits for all publications that are on their way. Flushed answers it after each
	// Received of a message that anybody published before the call, on topics whose subscriptions
	// are in force. Without a connection to wait for, the answer comes soon, and its Heard is
	// false.
	Flush(token uint64)

	// Name returns the name of the back end, which is equal for Brokers that share one. It may be
	// called at any time. The name is "" while it is unknown.
	Name() string
}

// What a back end keeps unless it is told otherwise.
const (
	DefaultHistorySize = 256               // publications per topic
	DefaultHistoryAge  = 120 * time.Second // expiry after a topic's last publication
	DefaultMarkAge     = time.Hour         // expiry of a mark after it was last set
)

// PageSize is the largest number of publications in one History.
const PageSize = 64

// Publish is a request to publish one message.
type Publish struct {
	Token uint64
	Topic protocol.Topic
	From  string // the sending user
	Msg   string

	// Instance and Number name the frame that asks for this publication. A Number at or below the
	// mark of (Topic, Instance) is a Duplicate.
	Instance protocol.Instance
	Number   uint64
	// Predecessor is the last Number before this one on Topic that is not known to be finished,
	// or 0. If the mark is below it, the request is Refused.
	Predecessor uint64
	// Floor says that all numbers up to it are finished. A mark that is missing or lower is raised
	// to it first.
	Floor uint64
	// Known is the highest position that the caller has seen on Topic. If the topic's top is
	// lower, a new epoch begins, at protocol.MaxEpoch at the latest. A Known at MaxEpoch or beyond
	// begins none.
	Known protocol.Position
}

// Outcome says how a Publish ended.
type Outcome uint8

const (
	Failed    Outcome = iota // Err says why; it may have been carried out or not
	Done                     // published at Position
	Duplicate                // it was published before; Position is the topic's top
	Refused                  // the mark is below the Predecessor; nothing was done
)

// Publication is one message on a topic.
type Publication struct {
	Topic    protocol.Topic
	Position protocol.Position // zero: published by an original server, bare
	// Previous is where the topic was before, for the first publication of an epoch. It is zero
	// if that is not known.
	Previous protocol.Position
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

// Subscribed answers Subscribe. Every publication after Top arrives as Received after this event.
// Some at or before Top may arrive too, before this event or after it.
type Subscribed struct {
	Topic protocol.Topic
	Token uint64
	// Top is the topic's top, read after the back end confirmed the subscription. It is zero if
	// none is known.
	Top protocol.Position
}

// Received brings a publication of a subscribed topic. Publications with a position come in the
// order of it, unless the back end lost some.
type Received struct{ Publication Publication }

// Deaf tells that subscriptions were lost. Publications of a topic may be missed until its next
// Subscribed. If All is true, that holds for every topic, else for Topic.
type Deaf struct {
	All   bool
	Topic protocol.Topic
}

// History answers ReadHistory. Its Publications are in order, and after the position asked for.
// More says that there are others after Through, however few these are.
//
// Through is the last entry that the page covers, or zero if it covers none. Entries at or before
// Through that are not in Publications cannot be read. The caller should ask for the next page
// after Through.
//
// Top is the topic's top, or zero if none is known. It may be after the end of a history that has
// expired.
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

// Flushed answers Flush. Heard says that what was on its way has come; else nothing is known.
type Flushed struct {
	Token uint64
	Heard bool
}

// State tells whether the back end answers. It is sent at each change, and once at the start if
// the back end is away. Until the first State the back end counts as there.
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
