package router

import (
	"slices"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// client is the additional state of a session whose client is an SDK. The edge tells of such a
// session by a link.Client.
type client struct {
	open      bool   // the edge vouches for the user
	confirmed bool   // its connect is confirmed
	closing   bool   // the session is being closed; later messages are not parsed
	leaving   bool   // the edge was told to close the session within lossWithin
	bytes     int32  // bytes of all its keeps, see tables.count
	until     int64  // end of its permission, in Unix seconds; 0: none
	keep      []byte // the session's keep
	keeps     []kept // those keeps of its memberships that are not empty, unordered

	// State for the order of the client's frames, see order_topic.go.
	ways       map[protocol.Topic]*way
	last       []*frame // its Close and its End, if they wait
	confirming *frame   // its Confirm, while it waits to be bound; otherwise nil
	held       int32    // number of its frames that have frame.held set
	coming     int32    // number of topics of its Binds and its Confirm that wait to be bound
}

// client returns the state of s as a client of an SDK. For a session of the chat the result is nil.
func (s *session) client() *client { return s.peek().client }

// kept is the keep of a membership.
type kept struct {
	follower *follower
	keep     []byte
	ending   *ending // nil: the membership does not end by itself, or its end was told
}

// row returns the link.Client that would tell of the session s as it is now.
func (c *client) row(s *session) link.Client {
	return link.Client{ID: s.id, Confirmed: c.confirmed, Open: c.open, Until: c.until, User: s.user, Keep: c.keep}
}

// keepAt returns the keep of the membership at f, or nil.
func (c *client) keepAt(f *follower) []byte {
	for _, k := range c.keeps {
		if k.follower == f {
			return k.keep
		}
	}
	return nil
}

// setKeep replaces the keep of the membership of s at f. An empty keep removes the membership's
// keep: Router.part calls setKeep so when the membership ends. If s is a session of the chat,
// setKeep does nothing.
func (r *Router) setKeep(s *session, f *follower, keep []byte) {
	c, t, name := s.client(), &s.edge.tables, f.topic.name
	if c == nil {
		return
	}
	was, row := c.keepAt(f), rowCost+len(name)
	if len(was) > 0 {
		r.unschedule(c, f)
		c.keeps = slices.DeleteFunc(c.keeps, func(k kept) bool { return k.follower == f })
		t.group(s.user, -row, -row)
	}
	if len(keep) > 0 {
		c.keeps = append(c.keeps, kept{follower: f, keep: keep})
		t.group(s.user, row, row)
		r.schedule(s, &c.keeps[len(c.keeps)-1])
	}
	if len(c.keeps) == 0 {
		c.keeps = nil
	}
	t.count(c, len(keep)-len(was))
	t.bindingHash ^= link.BindingHashKeep(s.id, name, was) ^ link.BindingHashKeep(s.id, name, keep)
}

// count adds a number of bytes to the count of the keeps of c, and to that of all keeps of the
// edge. The number is negative if the keeps have shrunk.
//
// The edge counts its keeps too, and ends the link if they exceed the edge's bound. So the count
// here must never be below what the edge will count when it has taken all frames that were sent.
// Here a keep counts from the judgement of the frame that brings it. It counts until the edge is
// sent the frame that makes the edge drop it. When a session ends, that frame is the Ack of the
// End.
func (t *tables) count(c *client, more int) {
	c.bytes += int32(more)
	t.keeps += more
}

// ended is a session whose End is judged, and is not acknowledged yet.
type ended struct {
	number uint64 // number of its End
	keeps  int    // bytes of its keeps
}

// acked is called when an Ack is sent. If the Ack acknowledges the End of a session, acked takes
// the keeps of that session off the count.
func (t *tables) acked(a link.Ack) {
	t.ended = slices.DeleteFunc(t.ended, func(s ended) bool {
		told := s.number <= a.Through || slices.ContainsFunc(a.Finished, func(r link.Range) bool {
			return r.First <= s.number && s.number <= r.Last
		})
		if told {
			t.keeps -= s.keeps
		}
		return told
	})
	if len(t.ended) == 0 {
		t.ended = nil
	}
}
