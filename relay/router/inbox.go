package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// inbox has the numbers that an edge has sent from its log, and the frames that are not finished.
type inbox struct {
	logSize uint64 // size of the edge's log in bytes, as its Hello said

	numbers numbers
	whole   bool    // messages of the edge may be given ahead, see begun
	acked   uint64  // numbers up to this one were finished when the link began
	last    uint64  // last number of the edge's log when the link began; replays end there
	began   moment  // moment of the link's Synced
	hearing uint64  // token of hearOut's Flush; 0: none is awaited
	earlier numbers // numbers of the previous link here, if the edge was whole; cleared by heardOut

	frames  map[uint64]*frame // unfinished frames, by number
	bytes   uint64            // sum of the sizes of the unfinished frames
	lanes   map[protocol.Topic]*lane
	lookups map[protocol.Topic]*lookup // nil: none
}

func newInbox() inbox {
	return inbox{frames: make(map[uint64]*frame), lanes: make(map[protocol.Topic]*lane)}
}
