package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// inbox records which numbers of its log an edge has sent, and holds the frames that are not
// finished.
type inbox struct {
	logSize uint64 // size of the edge's log in bytes, as its Hello said

	numbers numbers
	whole   bool   // messages of the edge may be given ahead, see Router.begun
	acked   uint64 // numbers up to this one were finished when the link began
	last    uint64 // last number of the edge's log when the link began; replays end there
	began   moment // moment of the link's Synced
	hearing uint64 // token of the Flush for which hearOut asked; 0: no answer is awaited
	// earlier has the numbers of the edge's previous link to this relay, if the edge was whole on
	// that link. Router.heardOut clears the field.
	earlier numbers

	frames  map[uint64]*frame // unfinished frames, by number
	bytes   uint64            // sum of the sizes of the unfinished frames
	lanes   map[protocol.Topic]*lane
	lookups map[protocol.Topic]*lookup // nil: none
}

func newInbox() inbox {
	return inbox{frames: make(map[uint64]*frame), lanes: make(map[protocol.Topic]*lane)}
}
