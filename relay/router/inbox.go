package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// inbox is what an edge has sent of its log: the numbers, and the frames that are not finished.
type inbox struct {
	logSize uint64 // bytes, as the edge said

	numbers numbers
	whole   bool    // all that the edge has ever published is known here
	acked   uint64  // all up to this number were finished when the link began
	last    uint64  // last number when the link began; replays end there
	began   moment  // when the link began
	hearing uint64  // token of the Flush that makes it whole; 0: none
	earlier numbers // numbers of the previous link, until heard out

	frames map[uint64]*frame // unfinished frames that came on this link
	bytes  uint64            // sum of frame.size
	lanes  map[protocol.Topic]*lane
}

func newInbox() inbox {
	return inbox{frames: make(map[uint64]*frame), lanes: make(map[protocol.Topic]*lane)}
}
