package uplink

import "github.com/edgerelay/edgerelay/shared/link"

// Handler is what the Uplink feeds: the gateway's Hub implements it. All methods are called by one goroutine at a time, must not
// block, and may keep nothing of a frame's byte slices after they return.
type Handler interface {
	// Tell calls session for every session (the dead that are not yet forgotten included) and held for every topic, in several parts where it
	// has many members. It marks them as told on this link.
	Tell(session func(link.Session), held func(link.Held))

	Topic(link.TopicNumber)
	Untopic(link.Untopic)
	Opened(link.Opened)
	// Joined and Left change memberships; the text is for the client only when answer is true (it was not answered before).
	Joined(f link.Joined, answer bool)
	Left(f link.Left, answer bool)
	Answer(link.Answer)
	Publication(link.Publication)
	Gap(link.Gap)
	// Forget is called when a session's End was acknowledged: it leaves the tables.
	Forget(session uint64)
	// Digest returns the Hub's tables as link.Digest has them, Heard left zero, and whether they can be compared now (no dead session in them).
	Digest() (d link.Digest, comparable bool)
	// LinkDown tells that the link was lost: topic numbers are void.
	LinkDown()
}
