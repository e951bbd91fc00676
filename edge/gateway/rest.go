package gateway

import "time"

// restAfter is the silence after which a conn comes to rest. Until then its reader waits for it. A client that speaks again within the time costs a goroutine switch, and once in it a
// look at whether it still speaks; one that speaks later a poll, a new goroutine and the poller's being asked again: half as much again as waiting readers, which are woken too.
const restAfter = 2 * time.Second

// rest lets the poller watch c instead of a goroutine, and returns true: the caller has nothing to do with c any more, which may be awake again. False: it goes on reading, since
// the poller cannot, or c ends.
func (c *conn) rest() bool { return c.server.poller.rest(c) }

// wake starts a reader if c is at rest. It does not block.
func (c *conn) wake() {
	if c.server.poller.rouse(c) {
		go c.server.serve(c, nil)
	}
}
