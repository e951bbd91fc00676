package router

import (
	"fmt"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// edge is one boot of an edge process, named by its instance. After the edge has lost its link, its
// sessions count as members for Config.Grace, and their topics stay subscribed.
type edge struct {
	instance   protocol.Instance
	node       string
	generation uint64

	outbox  outbox
	tables  tables
	inbox   inbox
	catchup catchup
	answers answers

	followers []*follower // unordered
	leaving   uint64      // token of Router.moved's Flush on this link; 0: no Moved came
	// For each topic, passed has the number of the last tail item that passOver has looked at.
	// Synced empties the map, and so does the broker's return.
	passed map[protocol.Topic]uint64

	addressed map[string]*addressed // by user
}

// tables has an edge's sessions and their memberships as the edge told them, with all changes since
// then.
type tables struct {
	told      *told   // rows told so far; nil: no rows are expected
	taking    *taking // job that replaces the tables by the told rows; nil: none is under way
	strayed   bool    // the edge may have linked elsewhere since it told its tables here
	digestDue bool

	sessions map[uint64]*session
	grouped  int // bytes of all memberships, see follower.share, and of their keeps' rows
	// groupedBy has a number of bytes for each user. It is what tables.grouped would be if the user
	// were alone at the edge, and if no two of the user's sessions shared a topic.
	groupedBy map[string]int
	keeps     int     // bytes of all keeps, see tables.count
	ended     []ended // sessions whose keeps count until their End is acknowledged
	ends      endings // memberships that end by themselves
	watched   bool    // a look at the field ends is due, or a job does what is due
	since     int64   // when the told tables were entered, in Unix seconds

	// The fields from heard to bindingHash are contents of the link.Digest.
	heard       uint64 // number of Session and Client frames that came on this link
	sessionHash uint64
	bindings    uint64
	bindingHash uint64
}

// told has the frames by which an edge tells its tables on a new link. Each frame is one row. After
// Synced, a taking replaces the tables by these rows.
type told struct {
	sessions []any            // link.Session and link.Client
	held     []any            // link.Held
	keeps    []any            // link.Keep
	unplaced []protocol.Topic // topics in told.held whose position is unplaced
	members  uint64           // number of members in told.held
	bytes    int              // size of all rows
	kept     int              // bytes of all keeps, those of sessions included
}

// The size of a told row is the size of its texts and its keep, plus these costs in bytes.
const (
	rowCost    = 64 // for each Session, Client, Held and Keep
	memberCost = 8  // for each member in a Held
)

// connected takes a new link, and closes an older link of the same instance. It refuses a link that
// is not newer than the instance's present link. It also refuses a link whose edge declares too
// large a log. While the relay is stopping, it refuses every link. Another instance with the same
// node ID is another edge.
func (r *Router) connected(l Link, h link.Hello) {
	if r.stopping {
		l.Close(link.CodeNormal, "this relay is stopping")
		return
	}
	e := r.directory.edges[h.Instance]
	if e != nil && e.outbox.link != nil && e.generation >= h.Generation {
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
			tables:   tables{sessions: make(map[uint64]*session)},
			inbox:    newInbox(),
		}
		r.directory.add(e)
		r.m.edges.Set(float64(len(r.directory.edges)))
	} else if e.outbox.link != nil {
		old := e.outbox.link
		r.unlink(e)
		old.Close(link.CodeSuperseded, "a later link of this instance is up")
	}
	e.tables.strayed = e.tables.strayed || h.Generation != e.generation+1
	e.node, e.generation, e.inbox.logSize = h.Node, h.Generation, h.LogSize
	e.outbox.link = l
	e.tables.told = &told{}
	e.tables.heard, e.catchup.unlive, e.catchup.liveDue, e.leaving = 0, 0, false, 0
	named := r.directory.link(e, l)
	r.awaitTables(e, l, 0)
	r.askToMove(l)
	r.cfg.Log.Info("edge linked", "node", h.Node, "instance", h.Instance.String(), "generation", h.Generation, "build", h.Build)
	if named > 1 {
		r.cfg.Log.Warn("two live edges have one node ID; both are served", "node", e.node)
	}
}

// awaitTables looks at the edge's tables after Config.TellWait. If the tables are not complete, and
// the edge has told less than tellLeast bytes of them in that time, awaitTables cuts the link. If
// the edge has told more, but not all, awaitTables is called again. Its last argument is the size
// of the rows that the edge had told when the wait began. tellLeast is low, since a link may have
// to wait while other edges tell their tables.
func (r *Router) awaitTables(e *edge, l Link, bytes int) {
	r.after(r.cfg.TellWait, func() {
		switch told := e.tables.told; {
		case e.outbox.link != l || told == nil:
		case told.bytes-bytes < tellLeast:
			r.cut(e, link.CodeLimit, fmt.Sprintf("it told less than %d bytes of its tables within %v", tellLeast, r.cfg.TellWait))
		default:
			r.awaitTables(e, l, told.bytes)
		}
	})
}

// tellLeast is the number of bytes of its tables that an edge must tell in each Config.TellWait.
const tellLeast = 1 << 10

// disconnected handles the end of a link. If the edge does not link again, it is removed when
// Config.Grace has passed since the last byte came on the link.
func (r *Router) disconnected(l Link, lastReceived time.Time, err error) {
	e := r.directory.links[l]
	if e == nil {
		return
	}
	r.unlink(e)
	r.cfg.Log.Info("edge's link lost", "node", e.node, "instance", e.instance.String(), "err", err)
	wait := max(0, r.cfg.Grace-r.now.Sub(lastReceived))
	generation := e.generation
	r.after(wait, func() {
		if e.outbox.link == nil && e.generation == generation && r.directory.edges[e.instance] == e {
			r.removeEdge(e)
		}
	})
}

// cut ends the link of an edge that broke the protocol or a limit.
func (r *Router) cut(e *edge, code link.Code, text string) {
	l := e.outbox.link
	r.cfg.Log.Warn("link cut", "node", e.node, "code", code.String(), "why", text)
	r.disconnected(l, r.now, fmt.Errorf("%s: %s", code, text))
	l.Close(code, text)
}

// unlink takes the link from e. Until e has a new link, nothing is sent to e. The followers of e
// stay.
func (r *Router) unlink(e *edge) {
	r.directory.unlink(e, e.outbox.link)
	e.outbox.unlink()
	e.tables.drop()
	e.catchup.liveDue = false
	e.catchup.clear()
	e.catchup.unread = nil
	e.answers.forget()
}

// removeEdge forgets an edge that did not come back. Its sessions end, and its frames that are not
// yet given to the broker are dropped. An edge that is still alive sends its unfinished frames
// again on its next link.
func (r *Router) removeEdge(e *edge) {
	r.cfg.Log.Info("edge gone", "node", e.node, "instance", e.instance.String(), "sessions", len(e.tables.sessions), "unfinished", len(e.inbox.frames))
	r.directory.remove(e)
	r.m.edges.Set(float64(len(r.directory.edges)))
	r.m.sessionsGone.Add(float64(len(e.tables.sessions)))
	r.m.dropped("edge_gone", len(e.inbox.frames))
	r.m.sessions.Sub(float64(len(e.tables.sessions)))
	r.m.bindings.Sub(float64(e.tables.bindings))
	r.void(e)
	e.tables.sessions, e.tables.ends, e.inbox.frames, e.inbox.lanes = nil, nil, nil, nil
	r.jobs = append(r.jobs, &forgetting{e})
}
