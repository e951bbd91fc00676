package router

import (
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// edge is one boot of an edge process, as the directory has it: its address is (node, instance). Its link may be lost; its sessions then count as
// members, and their topics stay subscribed, for Grace.
type edge struct {
	instance   protocol.Instance
	node       string
	generation uint64

	link      Link // nil while lost
	ready     bool // the tables were told on this link
	told      *told
	heard     uint64 // Session frames on this link
	awaited   int    // followers told on this link that were not live yet; none left: Live is due
	liveDue   bool   // Live is to be sent on this link
	leaving   uint64 // Moved came on this link; a token
	logSize   uint64
	digestDue bool

	// What link.Digest tells of the tables below.
	sessionHash uint64
	bindings    uint64
	bindingHash uint64

	grouped int // bytes that its memberships in groups take when they are told

	sessions  map[uint64]*session
	followers []*follower // in no order
	behind    []*follower // followers of this edge with something to catch up
	reading   int         // pages of history asked for and not answered
	unread    []*follower // behind, and wait for their turn to ask

	numbers numbers
	whole   bool    // what it has ever published is known here
	acked   uint64  // the number up to which all were finished when this link began
	hearing uint64  // token of the Flush that says so; 0: it was answered
	before  numbers // of the link before, until then

	frames map[uint64]*frame // arrived on this link, unfinished
	bytes  uint64            // of their payloads
	lanes  map[protocol.Topic]*lane
	passed map[protocol.Topic]uint64 // while the broker is away: the last item of the tail that the edge knows by its ID, see passOver

	addressed map[string]*addressed // by user

	out     []byte // frames of this step
	dirty   bool   // listed in Router.dirty
	queued  int    // Link.Queued as of this step,
	sampled bool   // once it was asked
	watched bool   // lookAgain will
}

// told collects an edge's tables until Synced: the frames as they came.
type told struct {
	sessions []any  // link.Session
	held     []any  // link.Held
	members  uint64 // in held
	bytes    int    // that all of it takes
}

// What a row of the tables takes beside its texts while it is told, in bytes.
const (
	rowCost    = 64 // a session, or a topic
	memberCost = 8
)

// connected takes a new link. It replaces an older one of the same instance at once; another instance with the same node ID is another edge.
func (r *Router) connected(l Link, h link.Hello) {
	if r.stopping {
		l.Close(link.CodeNormal, "this relay is stopping")
		return
	}
	e := r.edges[h.Instance]
	if e != nil && e.link != nil && e.generation >= h.Generation {
		l.Close(link.CodeSuperseded, "a later link of this instance is up")
		return
	}
	if h.LogSize > maxLogSize {
		l.Close(link.CodeLimit, fmt.Sprintf("EDGE_LOG is %d bytes; this relay takes %d at most", h.LogSize, uint64(maxLogSize)))
		return
	}
	if e == nil {
		e = &edge{
			instance: h.Instance,
			sessions: make(map[uint64]*session),
			frames:   make(map[uint64]*frame),
			lanes:    make(map[protocol.Topic]*lane),
		}
		r.edges[h.Instance] = e
		r.ordered = nil
		r.m.edges.Set(float64(len(r.edges)))
	} else if e.link != nil {
		old := e.link
		r.unlink(e)
		old.Close(link.CodeSuperseded, "a later link of this instance is up")
	}
	e.node, e.generation, e.logSize = h.Node, h.Generation, h.LogSize
	e.link = l
	e.told = &told{}
	e.heard, e.awaited, e.liveDue, e.leaving = 0, 0, false, 0
	r.links[l] = e
	r.named[e.node]++
	r.after(r.cfg.TellWait, func() {
		if e.link == l && e.told != nil {
			r.cut(e, link.CodeLimit, fmt.Sprintf("its tables were not told within %v", r.cfg.TellWait))
		}
	})
	r.askToMove(l)
	r.log.Info("edge linked", "node", h.Node, "instance", h.Instance.String(), "generation", h.Generation, "build", h.Build)
	if r.named[e.node] > 1 {
		r.log.Warn("two live edges have one node ID; both are served", "node", e.node)
	}
}

// disconnected is told that a link has ended. The edge is kept for Grace after its last byte.
func (r *Router) disconnected(l Link, lastReceived time.Time, err error) {
	e := r.links[l]
	if e == nil {
		return
	}
	r.unlink(e)
	r.log.Info("edge's link lost", "node", e.node, "instance", e.instance.String(), "error", err)
	wait := max(0, r.cfg.Grace-r.now.Sub(lastReceived))
	generation := e.generation
	r.after(wait, func() {
		if e.link == nil && e.generation == generation && r.edges[e.instance] == e {
			r.removeEdge(e)
		}
	})
}

// cut ends a link because of what the peer did.
func (r *Router) cut(e *edge, code link.Code, text string) {
	l := e.link
	r.log.Warn("link cut", "node", e.node, "code", code.String(), "why", text)
	r.disconnected(l, r.now, fmt.Errorf("%s: %s", code, text))
	l.Close(code, text)
}

// unlink makes e an edge without a link: nothing is sent to it, its followers stay.
func (r *Router) unlink(e *edge) {
	delete(r.links, e.link)
	if r.named[e.node]--; r.named[e.node] == 0 {
		delete(r.named, e.node)
	}
	e.link, e.ready, e.told = nil, false, nil
	e.liveDue = false
	e.sampled = false
	e.out = e.out[:0]
	e.clearBehind()
	e.unread = nil
}

// removeEdge forgets an edge that did not come back: its sessions end, and what it sent and is still unpublished is dropped (an edge that
// lives sends it again).
func (r *Router) removeEdge(e *edge) {
	r.log.Info("edge gone", "node", e.node, "instance", e.instance.String(), "sessions", len(e.sessions), "unfinished", len(e.frames))
	delete(r.edges, e.instance)
	r.ordered = nil
	r.m.edges.Set(float64(len(r.edges)))
	r.m.sessionsGone.Add(float64(len(e.sessions)))
	r.m.dropped("edge_gone", len(e.frames))
	r.void(e)
	for _, s := range e.sessions {
		r.removeSession(s)
	}
	for len(e.followers) > 0 {
		r.dropFollower(e.followers[0]) // those that only waited
	}
	e.sessions, e.followers, e.frames, e.lanes = nil, nil, nil, nil // a topic's first follower may outlive it
}

// send gives a frame to an edge, in this step's order. Before its tables are told, nothing is sent.
func (r *Router) send(e *edge, frame func([]byte) []byte) {
	if !e.ready {
		return
	}
	e.out = frame(e.out)
	r.touch(e)
}

// touch makes sure that the step's end looks at e.
func (r *Router) touch(e *edge) {
	if !e.dirty {
		e.dirty = true
		r.dirty = append(r.dirty, e)
	}
}

// room reports whether size more bytes of publications fit into e's outgoing buffer. An empty buffer always has room.
func (r *Router) room(e *edge, size int) bool {
	if !e.sampled {
		e.sampled = true
		e.queued = e.link.Queued()
		r.touch(e)
	}
	waiting := e.queued + len(e.out)
	if waiting == 0 || waiting+size <= r.cfg.Outgoing {
		return true
	}
	r.lookAgain(e)
	return false
}

// lookAgain goes on with what did not fit as soon as e's buffer is under half. Writable says so earlier, but not always: what was sampled may have been
// written before this step's end appends to it, and the buffer then never was full.
func (r *Router) lookAgain(e *edge) {
	if e.watched {
		return
	}
	e.watched = true
	r.after(lookAgainAfter, func() {
		e.watched = false
		switch {
		case e.link == nil:
		case e.link.Queued() > r.cfg.Outgoing/2:
			r.lookAgain(e)
		default:
			e.sampled = false
			r.advanceAll(e)
		}
	})
}
