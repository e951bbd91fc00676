package uplink

import "github.com/edgerelay/edgerelay/shared/link"

// Handler is what the Uplink feeds: the gateway's Hub implements it. Its methods and those of its Feeds must not block, and may keep nothing of a
// frame's byte slices after they return.
type Handler interface {
	// Begin starts a link: it calls session for every session (the dead that are not yet forgotten included) and held for every topic, in several parts
	// where it has many members, all as of one moment, and returns what the link's frames are given to.
	Begin(session func(link.Session), held func(link.Held)) Feed

	Answer(link.Answer)
	// Forget is called when a session's End was acknowledged: it leaves the tables.
	Forget(session uint64)
	// Digest returns the Hub's tables as link.Digest has them, Heard left zero, and whether they can be compared now (no dead session in them).
	Digest() (d link.Digest, comparable bool)
}

// Feed takes what one link brings about topics, whose numbers are the link's own. Its methods are called by one goroutine at a time; those of two Feeds at
// once while the edge moves from one relay to another.
type Feed interface {
	// BeginBatch is called before each frame of a batch, and EndBatch behind the last, unless the link breaks off before: what the frames bring for clients may be written then.
	BeginBatch()
	EndBatch()
	Topic(link.TopicNumber)
	Untopic(link.Untopic)
	Opened(link.Opened)
	// Joined and Left change memberships; the text is for the client only when answer is true (it was not answered before).
	Joined(f link.Joined, answer bool)
	Left(f link.Left, answer bool)
	Publication(link.Publication)
	Ahead(link.Ahead)
	Gap(link.Gap)
	// BrokerBack tells that the relay's broker is there: what it may give ahead later begins anew. It is told at the beginning of a link too.
	BrokerBack()
	// Leaving tells that the edge looks for another link, while this one is up.
	Leaving()
	// Down tells that the link has ended: its topic numbers are void. It is the last call.
	Down()
}
