// Package broker defines what carries publications between relays.
package broker

import (
	"context"
	"time"

	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Broker carries publications between relays. It also carries them to and from other servers that
// use the same back end.
//
// Only Run blocks. Publish, Subscribe, ReadHistory, Begin, CountSubscribers and Flush are requests.
// Each request has a Token. The Event that answers the request has that Token, too. A Broker does
// not bound its queues. The caller must bound the number of its unanswered requests. The Broker may
// be given several requests of one kind about one topic. Those of them that succeed are carried out
// in the order of the calls.
//
// While Run runs, each request except a Subscribe is answered exactly once. A request may fail, for
// example because the back end is away. The answer then has an Err. A Flushed has no Err. Instead,
// its Heard is false after a failure. The Broker does not try a failed request again. The caller
// may make the request again.
//
// A Subscribe may be answered several times, and the Broker itself retries it. A Subscribe may stay
// unanswered if another Subscribe or an Unsubscribe of its topic follows.
type Broker interface {
	// Run runs the Broker until ctx is cancelled. It then ends the Broker's goroutines, and returns
	// nil. Run may end earlier, with an error, if the Broker must not serve. Run passes Events to
	// sink, and may call sink from several goroutines at once. The sink may block for a short time,
	// but must not wait for anything that the Broker is to do.
	Run(ctx context.Context, sink func(Event)) error

	// Publish asks to publish one message. In one atomic step the Broker appends the message to the
	// topic's history, sets the mark (the last Number published for Topic and Instance), and
	// publishes the message. If the request is a Duplicate or is Refused, nothing is appended or
	// published. Published answers the request.
	//
	// The topic's top, which is its last position, expires later than its history. So the expiry of
	// the history alone begins no new epoch. Once the top is forgotten too, the next publication
	// begins a new epoch.
	Publish(Publish)

	// Subscribe asks for a topic's publications. Subscribed answers the request once the back end
	// has confirmed the subscription. Until Unsubscribe is called, the Broker subscribes anew if
	// the subscription fails or is lost. Another Subscribed comes once the back end has confirmed
	// the new subscription. That Subscribed has the Token of the topic's last Subscribe.
	//
	// If begin is true, the Broker also does what Begin does, before it answers with the first
	// Subscribed. If that fails, Subscribed comes all the same. The caller may then call Begin.
	Subscribe(t protocol.Topic, token uint64, begin bool)
	// Unsubscribe ends a subscription, and is not answered. After the call, a Subscribed or
	// Received of the topic may still arrive.
	Unsubscribe(t protocol.Topic)

	// ReadHistory asks for the publications after a position. History answers the request. A
	// History has at most PageSize publications. If publications are long, it may have fewer.
	ReadHistory(t protocol.Topic, after protocol.Position, token uint64)
	// Begin decides the epoch of a topic that has no top. If the topic has a top, or if its epoch
	// was decided before, Begin changes nothing. An epoch that another server has decided does not
	// count, since publications in it may be lost. Began answers the request. The topic's next
	// publication has offset 1 of the epoch in Began. There are two exceptions. The epoch may be
	// forgotten first, as a top is. The publication may have to begin a later epoch (see
	// Publish.Known).
	Begin(t protocol.Topic, token uint64)
	// CountSubscribers asks how many subscribers of a topic the back end counts. A subscription of
	// this Broker counts too. Counted answers the request.
	CountSubscribers(t protocol.Topic, token uint64)

	// Flush asks the Broker to send a Flushed after all publications that are now under way. If
	// Heard is true, Flushed comes after the Received of every message that was published before
	// the call. This holds for topics whose subscriptions are in force. The comment of
	// redisbroker.Cluster.Flush names an exception. If there is no connection to the back end, or
	// the connection is lost, Flushed still comes, but Heard may be false.
	Flush(token uint64)

	// Name returns the name of the back end. The relays of one cluster read the same name. Name may
	// be called at any time. It returns "" while the name is unknown.
	Name() string
}

// These constants say what a back end keeps unless it is told otherwise.
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
	protocol.Content

	// Instance and Number name the frame that asks for this publication. A Number at or below the
	// mark of (Topic, Instance) is a Duplicate.
	Instance protocol.Instance
	Number   uint64
	// Predecessor is the Number of the last earlier frame of Instance on Topic that may be
	// unfinished, as far as the caller knows. It is 0 if there is no such frame. If the mark is
	// below Predecessor, the request is Refused.
	Predecessor uint64
	// Floor says that all Numbers of Instance on Topic up to Floor are finished. If there is no
	// mark, or if the mark is lower than Floor, the mark is raised to Floor before anything else
	// happens.
	Floor uint64
	// Known is the highest position of Topic that the caller knows of. If the topic's top is lower,
	// the publication begins a new epoch, which is at most protocol.MaxEpoch. A Known whose epoch
	// is MaxEpoch or higher is ignored.
	Known protocol.Position
}

// Retention says how much of a topic's history is kept. A broker's configuration may have a
// function that returns the Retention of a topic. If a Size or an Age is less than what the broker
// keeps of every topic, it has no effect. All relays of one cluster must have the same Retention
// for a topic: each of them cuts the history to the size that it knows.
type Retention struct {
	Size int           // publications
	Age  time.Duration // expiry after the topic's last publication
}

// These constants bound what a Retention may ask for. A Retention that asks for more counts as one
// that asks for the bound.
const (
	MaxHistorySize = 100_000
	MaxHistoryAge  = 30 * 24 * time.Hour
)

// Raised returns what a broker keeps of a topic. The broker keeps r of every topic. The argument
// wanted is what the function in the broker's configuration returned for this topic.
func (r Retention) Raised(wanted Retention) Retention {
	return Retention{max(r.Size, min(wanted.Size, MaxHistorySize)), max(r.Age, min(wanted.Age, MaxHistoryAge))}
}

// Outcome says how a Publish ended.
type Outcome uint8

const (
	Failed    Outcome = iota // Err says why; the request may have been carried out all the same
	Done                     // published at Position
	Duplicate                // Number is at or below the mark; Position is the top, if known
	Refused                  // the mark is below the Predecessor; nothing was published
)

// Publication is one message on a topic.
type Publication struct {
	Topic protocol.Topic
	// Position is zero if an original server published the message. Such a publication is called
	// bare.
	Position protocol.Position
	// Previous is the topic's top before this publication, if this publication is the first of its
	// epoch. Previous is zero if that top is not known. It is also zero if this publication is not
	// the first of its epoch.
	Previous protocol.Position
	// Content is that of the Publish. If the publication is bare, only From and Msg are set.
	protocol.Content
	// Instance and Number are those of the Publish. They are zero if the publication is bare.
	Instance protocol.Instance
	Number   uint64
}

// Event is one of Published, Subscribed, Received, History, Began, Counted, Flushed, State, Deaf.
type Event interface{ event() }

// Published answers Publish.
type Published struct {
	Token    uint64
	Outcome  Outcome
	Position protocol.Position
	Err      error
}

// Subscribed answers Subscribe. Until the subscription ends or is lost, publications with positions
// after Top arrive in Received events, later than this event. Some publications at or before Top
// may arrive too, earlier or later than this event.
type Subscribed struct {
	Topic protocol.Topic
	Token uint64
	// Top is the topic's top at some moment after the back end confirmed the subscription. It is
	// zero if none is known.
	Top protocol.Position
	// Genuine says of Top, or of Begun, what History.Genuine says of History.Top. It may be false
	// although it would be true in a History.
	Genuine bool
	// Begun is the epoch that was decided by Begin or Subscribe, if Top is zero. It is 0 if no
	// epoch is decided. It is also 0 if another server has decided the epoch, since the next
	// publication is then to begin a later epoch.
	Begun uint64
}

// Received brings a publication of a subscribed topic. Publications of one topic come in the order
// of their positions, unless the back end lost data. Bare publications have no position, and may
// come between them.
type Received struct{ Publication Publication }

// Deaf tells that subscriptions were lost. If All is true, the subscriptions of all topics were
// lost. Otherwise only the subscription of Topic was lost. Publications of a topic may be missed
// from the loss of its subscription until its next Subscribed.
type Deaf struct {
	All   bool
	Topic protocol.Topic
}

// History answers ReadHistory. Its Publications are in order. They begin after the position in the
// request. More says that the history has entries after Through. More may be true even if
// Publications has fewer than PageSize, or none.
//
// Through is the position of the last entry that the page covers, or zero if the page covers none.
// Publications that cannot be read are left out of Publications, although Through covers them. If
// More is true, the caller should ask for the next page after Through.
//
// Top is the topic's top, or zero if none is known. It may be after the last entry of the history,
// since a history expires before the top.
//
// Genuine says that the server that answered is known to be among the servers that gave the topic's
// last positions. A restored or promoted server is not among them until it has itself given a
// position of the topic. Until then, this server may lack publications to which another server gave
// positions after Top. Another server may also have a different publication at a position up to
// Top.
type History struct {
	Token        uint64
	Topic        protocol.Topic
	Publications []Publication
	Through      protocol.Position
	More         bool
	Top          protocol.Position
	Genuine      bool
	Err          error
}

// Began answers Begin. Top is the topic's top. If nothing was published since the topic's epoch was
// begun, Top has the offset 0. No other event has a position with that offset. Genuine says of Top
// what History.Genuine says of History.Top. If Top has the offset 0, Genuine is false only if
// servers do not tell who they are.
type Began struct {
	Token   uint64
	Topic   protocol.Topic
	Top     protocol.Position
	Genuine bool
	Err     error
}

// Counted answers CountSubscribers.
type Counted struct {
	Token uint64
	Count int64
	Err   error
}

// Flushed answers Flush. If Heard is true, all publications that Broker.Flush promises have been
// received. If Heard is false, some of these publications may be missing.
type Flushed struct {
	Token uint64
	Heard bool
}

// State tells whether the back end is away. The back end counts as away while it, or a part of it,
// does not answer, refuses publications, or does not give the Broker its subscriptions. A State is
// sent at each change, and at the start if the back end is away. Before the first State, the back
// end does not count as away.
type State struct {
	Away  bool
	Cause error
}

func (Published) event()  {}
func (Subscribed) event() {}
func (Received) event()   {}
func (Deaf) event()       {}
func (History) event()    {}
func (Began) event()      {}
func (Counted) event()    {}
func (Flushed) event()    {}
func (State) event()      {}
