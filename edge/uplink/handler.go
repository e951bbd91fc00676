package uplink

import "github.com/edgerelay/edgerelay/shared/link"

// Handler receives the frames that the relay sends. Package edge implements it with the gateway's
// Hub. The methods of a Handler and of its Feeds must not block. They must not keep any byte slice
// of a frame after they return.
type Handler interface {
	// Begin starts a link and returns the Feed for the link's frames. It calls the function session
	// or the function client for each session. A dead session gets a call, too: it has ended, but
	// is not forgotten yet. Then Begin calls the function held for each topic with members, and
	// more than once for a topic with many members. Then it calls the function keep for each
	// membership that has a keep. All these calls together show the tables as they are at one
	// moment.
	Begin(session func(link.Session), client func(link.Client), held func(link.Held), keep func(link.Keep)) Feed

	Answer(link.Answer)
	// Forget is called when a session's End is finished. The session must then leave the tables.
	Forget(session uint64)
	// Digest returns the digest of the Hub's tables. It leaves link.Digest.Heard at 0. The result
	// comparable is false while the tables hold a dead session, or a session whose call of
	// Links.Open or Links.OpenClient has not returned.
	Digest() (d link.Digest, comparable bool)
}

// Feed receives what the relay says about topics on one link. Topic numbers are valid on that link
// only. One goroutine at a time calls a Feed's methods, but Leaving and Staying may overlap with
// the others. While the edge moves from one relay to another, calls of two Feeds may overlap.
type Feed interface {
	// BeginBatch is called before each frame of a batch. EndBatch is called after the last frame of
	// a batch, but not after a frame that ends the link with an error. At EndBatch, the messages of
	// the batch should be written to clients.
	BeginBatch()
	EndBatch()
	Topic(link.TopicNumber)
	Untopic(link.Untopic)
	Opened(link.Opened)
	// Joined and Left change memberships. If the parameter answer is true, the client's frame has
	// not been answered yet, and the client gets the text that f has.
	Joined(f link.Joined, answer bool)
	Left(f link.Left, answer bool)
	// Confirmed, Refreshed and Bound change a session of an SDK in the tables. The parameter answer
	// means the same as for Joined. An error ends the link. If answer is false, the Feed says
	// Drained of a long answer at once. The text of a Refreshed is never a long answer.
	Confirmed(f link.Confirmed, answer bool) error
	Refreshed(f link.Refreshed, answer bool) error
	Bound(f link.Bound, answer bool) error
	Unbound(link.Unbound)
	Close(link.Close)
	Publication(link.Publication)
	Ahead(link.Ahead)
	Forms(link.Forms)
	AheadForms(link.AheadForms)
	Gap(link.Gap)
	// Cost tells to how many sessions a user's message was delivered, on all edges of the relay.
	Cost(link.Cost)
	// BrokerBack tells that the relay reports nothing as degraded. So the relay's broker can be
	// reached. The messages that the relay has given ahead until now belong to a past outage.
	// BrokerBack may be called again without an outage in between.
	BrokerBack()
	// OnDrained sets a function that says Drained on the link. If the link has link.FeatureSDK,
	// OnDrained is called before all other methods. Otherwise it is not called. The Feed calls the
	// function once for each long answer of the link: when a client has taken the answer, or when
	// the answer was dropped. The function does not block. Any goroutine may call it, even after
	// Down.
	OnDrained(say func(link.Drained))
	// Live tells that the link has brought everything that members of topics had missed.
	Live()
	// Leaving tells that the edge looks for another link while this one is still up. Staying tells
	// that the edge no longer looks for one.
	Leaving()
	Staying()
	// Down tells that the link has ended and its topic numbers are void. It is the last call.
	Down()
}
