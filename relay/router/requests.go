package router

import "github.com/edgerelay/edgerelay/shared/protocol"

// requests are the calls to the broker that are not answered yet, except calls of Subscribe.
type requests struct {
	tokens    uint64            // the last token given out
	publishes map[uint64]*frame // frames in flight, by token
	// asked has, by token, the asker that waits for an answer:
	//   - a *frame of a non-member waits for Counted;
	//   - a *follower, a *lookup, a *comeback or a *ranging waits for History;
	//   - a *topic waits for Began;
	//   - a mover or an *edge waits for Flushed.
	asked map[uint64]any
	// orphaned has, by edge, the size in bytes of the frames in flight that came on earlier links.
	// While that is more than the edge's log may hold, the edge's lanes publish nothing.
	orphaned map[protocol.Instance]uint64
}

// mover is the link of an edge that has moved away. In requests.asked it stands for a Flush that
// Router.moved sent.
type mover struct{ Link }

func newRequests() requests {
	return requests{
		publishes: make(map[uint64]*frame),
		asked:     make(map[uint64]any),
		orphaned:  make(map[protocol.Instance]uint64),
	}
}

// token returns a number that was not used before.
func (q *requests) token() uint64 {
	q.tokens++
	return q.tokens
}

// ask returns the token of a new request. The given asker gets the answer.
func (q *requests) ask(by any) uint64 {
	token := q.token()
	q.asked[token] = by
	return token
}

// asker returns the T that made a request, and forgets the request. If there is no such request, or
// its asker is not a T, asker changes nothing and returns T's zero value.
func asker[T any](q *requests, token uint64) T {
	by, ok := q.asked[token].(T)
	if ok {
		delete(q.asked, token)
	}
	return by
}

// orphan notes that a frame in flight belongs to a link that its edge has left.
func (q *requests) orphan(fr *frame) { q.orphaned[fr.session.edge.instance] += fr.size }

// unorphan undoes orphan for a frame that has been answered. The results are the orphaned bytes of
// the frame's edge before the call and after it.
func (q *requests) unorphan(fr *frame) (had, left uint64) {
	instance := fr.session.edge.instance
	had = q.orphaned[instance]
	left = had - fr.size
	if q.orphaned[instance] = left; left == 0 {
		delete(q.orphaned, instance)
	}
	return had, left
}
