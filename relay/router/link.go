package router

import "github.com/edgerelay/edgerelay/shared/link"

// Link is a live link to an edge, as the Router uses it. relay/downlink implements it. No method blocks.
type Link interface {
	// Append queues encoded frames (whole ones) in order. The bytes are copied. After Close it does nothing.
	Append(frames []byte)
	// Queued returns the bytes appended and not yet written to the connection.
	Queued() int
	// Close sends Bye behind what is queued and ends the link. Disconnected follows.
	Close(code link.Code, text string)
	// Moves reports whether the edge knows link.Drain and link.Live.
	Moves() bool
	// String names the link for the log: node, instance, generation.
	String() string
}
