package router

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// testEdge plays an edge process. It keeps an edge's state, and fails the test when it sees a relay
// break a rule of the link.
type testEdge struct {
	w          *world
	instance   protocol.Instance
	node       string
	generation uint64
	link       *testRelay // the relay that it is linked to; nil: none
	conn       *testLink  // the link to that relay
	deaf       bool       // frames that come on its links are lost
	old        *leaving   // the link that it moves away from; nil: none

	early   bool                   // it lacks link.FeatureSDK
	most    int                    // bound of the bytes of all keeps; 0: not checked
	clients map[uint64]link.Client // sessions that were told as a Client, by id
	keeps   map[ofMember][]byte    // keeps of memberships, none of them empty
	closes  map[uint64][]link.Close
	late    map[ofMember]protocol.Position // members that lack what the topic's others have had
	older   bool                           // the taken frame came on the link that the edge leaves
	// undrained has the long answers that are not drained yet. If it is nil, each is drained at
	// once.
	undrained *[]link.Drained
	kinds     map[string]int // number of publication and ahead frames, by their type and forms

	number   uint64
	answered map[uint64]bool              // granted numbers that were answered
	given    map[uint64]bool              // IDs of messages given ahead and not published yet
	had      map[uint64]map[ofMember]bool // clients of SDKs given a message ahead, by its ID
	recent   map[uint64]bool              // IDs of publications that advanced a topic's position
	log      []any                        // each link.Message and link.End that is not finished
	through  uint64
	sessions map[uint64]link.Session
	dead     map[uint64]bool
	topics   map[protocol.Topic]*heldTopic
	names    map[uint64]protocol.Topic // topics by number, as told on this link
	heard    uint64

	aftermath bool // a topic has changed its epoch, so messages may come again

	cutIn  int  // countdown to the frame at which the link is lost; 0: no countdown
	noAcks bool // each Ack is ignored, as if the link had lost it
	stuck  int  // result of testLink.Queued, unless testLink.queued is set
	bytes  int
	// closed has the codes with which relays closed links. The normal end of a link that the edge
	// was leaving is not in it.
	closed  []link.Code
	digests int
	digest  link.Digest // the last Digest
	// If renews is set, the edge renews its link when its tables and the relay's differ. If renews
	// is not set, such a difference fails the test.
	renews    bool
	renewed   int
	live      int // number of Live frames
	drains    int
	status    []string
	frames    map[protocol.Topic]int // number of Publication and Forms frames by topic
	aheads    int                    // number of Ahead and AheadForms frames
	costs     []link.Cost
	received  map[uint64][]string // texts for clients, by session, until a test deletes them
	confirmed map[uint64]bool
}

type ofMember struct {
	session uint64
	topic   protocol.Topic
}

type heldTopic struct {
	position protocol.Position
	members  []uint64
	unplaced bool // the position in the last TopicNumber was unplaced
}

// testLink is one link of an edge. The edge takes frames only from its present link, and from the
// link that it is leaving.
type testLink struct {
	edge   *testEdge
	queued func() int // computes Queued; nil: Queued returns testEdge.stuck
	rtt    time.Duration
}

// leaving is a link that an edge moves away from. It still brings publications, although the edge
// has told its tables on another link.
type leaving struct {
	relay *testRelay
	conn  *testLink
	names map[uint64]protocol.Topic
}

var _ Link = (*testLink)(nil)

func (l *testLink) Moves() bool { return true }
func (l *testLink) SDK() bool   { return !l.edge.early }

func (l *testLink) Queued() int {
	if l.queued != nil {
		return l.queued()
	}
	return l.edge.stuck
}

// Shorter does nothing: in the tests lookAgain goes on.
func (l *testLink) Shorter(int) {}

func (l *testLink) RTT() time.Duration { return l.rtt }

func (l *testLink) String() string { return l.edge.node }

func (l *testLink) Close(code link.Code, text string) {
	if old := l.edge.old; old != nil && old.conn == l && code == link.CodeNormal {
		l.edge.letGo()
		return
	}
	l.edge.closed = append(l.edge.closed, code)
}

// Append takes frames from the relay. It drops them if the edge is deaf or does not have this link
// any more.
func (l *testLink) Append(frames []byte) {
	e := l.edge
	if old := e.old; old != nil && old.conn == l && !e.deaf {
		e.takeOld(frames)
		return
	}
	if e.conn != l || e.deaf {
		return
	}
	e.bytes += len(frames)
	for len(frames) > 0 && e.conn == l {
		if e.cutIn > 0 {
			if e.cutIn--; e.cutIn == 0 {
				e.link, e.conn = nil, nil
				return
			}
		}
		t, body, rest, err := link.Next(frames)
		if err != nil {
			e.w.t.Fatal(err)
		}
		frames = rest
		e.take(t, body)
	}
}

func (w *world) edge(node string) *testEdge {
	e := &testEdge{
		w: w, instance: protocol.Instance{byte(len(w.edges) + 1)}, node: node,
		sessions: map[uint64]link.Session{}, dead: map[uint64]bool{},
		topics: map[protocol.Topic]*heldTopic{}, frames: map[protocol.Topic]int{},
		received: map[uint64][]string{}, confirmed: map[uint64]bool{},
		answered: map[uint64]bool{}, recent: map[uint64]bool{}, given: map[uint64]bool{}, had: map[uint64]map[ofMember]bool{},
		clients: map[uint64]link.Client{}, keeps: map[ofMember][]byte{}, closes: map[uint64][]link.Close{}, late: map[ofMember]protocol.Position{}, kinds: map[string]int{},
	}
	w.edges = append(w.edges, e)
	return e
}

// linkTo links the edge to a relay. The edge tells its tables, and sends its log again.
func (e *testEdge) linkTo(rl *testRelay) {
	e.letGo()
	e.endLate()
	e.generation++
	e.deaf = false
	e.link, e.conn, e.names, e.heard = rl, &testLink{edge: e}, map[uint64]protocol.Topic{}, 0
	rl.inputs = append(rl.inputs, Connected{e.conn, link.Hello{
		Instance: e.instance, Node: e.node, Generation: e.generation, LogSize: 4 << 20,
	}})
	var frames []any
	for _, id := range sorted(e.sessions) {
		if c, ok := e.clients[id]; ok {
			frames = append(frames, c)
		} else {
			frames = append(frames, e.sessions[id])
		}
		e.heard++
	}
	held := uint64(0)
	for _, name := range sorted(e.topics) {
		t := e.topics[name]
		frames = append(frames, link.Held{Topic: name, Position: t.position, Sessions: slices.Clone(t.members)})
		held += uint64(len(t.members))
	}
	frames = append(frames, e.keepRows()...)
	frames = append(frames, link.Synced{First: e.through + 1, Last: e.number, Sessions: e.heard, Held: held})
	frames = append(frames, e.log...)
	e.send(frames...)
}

// moveTo gives the edge a new link to another relay. When Live comes on the new link, the edge
// sends Moved on the old link. The old link stays until its relay closes it after Moved, until
// letGo is called, or until its relay is killed.
func (e *testEdge) moveTo(rl *testRelay) {
	e.letGo()
	old := &leaving{e.link, e.conn, e.names}
	e.linkTo(rl)
	e.old = old
}

// letGo ends the link that the edge moves away from, if there is one.
func (e *testEdge) letGo() {
	if old := e.old; old != nil {
		e.old = nil
		old.relay.inputs = append(old.relay.inputs, Disconnected{old.conn, e.w.now, errors.New("moved")})
	}
}

// cut ends the link, if there is one. The relay is told at its next step.
func (e *testEdge) cut() {
	rl, conn := e.link, e.conn
	e.link, e.conn = nil, nil
	if rl != nil {
		rl.inputs = append(rl.inputs, Disconnected{conn, e.w.now, fmt.Errorf("cut")})
	}
}

func (e *testEdge) send(frames ...any) {
	if e.link != nil {
		e.link.inputs = append(e.link.inputs, Received{e.conn, frames})
	}
}

// open adds a session. The test chooses its id.
func (e *testEdge) open(id uint64, at protocol.Endpoint, user, group string) {
	s := link.Session{ID: id, Endpoint: at, User: user, Group: group}
	e.sessions[id] = s
	e.heard++
	e.send(s)
}

func (e *testEdge) channel(id uint64, user string) { e.open(id, protocol.EndpointChannel, user, "") }

func (e *testEdge) say(id uint64, text string) {
	e.number++
	m := link.Message{Number: e.number, Session: id, Payload: []byte(text)}
	e.log = append(e.log, m)
	e.send(m)
}

func (e *testEdge) join(id uint64, g string)  { e.say(id, `{"Method":"UserGroup","Group":"`+g+`"}`) }
func (e *testEdge) leave(id uint64, g string) { e.say(id, `{"Method":"LeaveGroup","Group":"`+g+`"}`) }
func (e *testEdge) group(id uint64, g, msg string) {
	e.say(id, `{"Method":"Group","Group":"`+g+`","MsgBody":"`+msg+`"}`)
}
func (e *testEdge) one(id uint64, to, msg string) {
	e.say(id, `{"Method":"One","MsgBody":{"Id":"`+to+`","Msg":"`+msg+`"}}`)
}

func (e *testEdge) end(id uint64) {
	e.number++
	e.dead[id] = true
	m := link.End{Number: e.number, Session: id}
	e.log = append(e.log, m)
	e.send(m)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// compare checks that the edge's tables are those of the Digest d. While a Session, a Client or an
// End is on its way, compare checks nothing. If the tables differ, the edge renews its link or the
// test fails, see testEdge.renews.
func (e *testEdge) compare(d link.Digest) {
	e.digest = d
	if d.Heard != e.heard || len(e.dead) > 0 {
		return // a Session, a Client or an End is on its way
	}
	e.digests++
	want := link.Digest{Heard: e.heard}
	for _, s := range e.sessions {
		want.Sessions++
		if c, ok := e.clients[s.ID]; ok {
			want.SessionHash ^= link.ClientHash(c)
		} else {
			want.SessionHash ^= link.SessionHash(s)
		}
	}
	for name, h := range e.topics {
		for _, id := range h.members {
			want.Bindings++
			want.BindingHash ^= link.BindingHashKeep(id, name, e.keeps[ofMember{id, name}])
		}
	}
	if d != want && e.renews {
		e.renewed++
		e.cut()
		e.linkTo(e.w.relays[0])
	} else if d != want {
		e.w.t.Errorf("%s: the relay's tables are %+v, the edge's %+v", e.node, d, want)
	}
}

// saw checks that a session's client has received exactly the given texts. It then forgets what the
// client has received.
func (e *testEdge) saw(id uint64, want ...string) {
	e.w.t.Helper()
	got := e.received[id]
	delete(e.received, id)
	if !slices.Equal(got, want) {
		e.w.t.Errorf("%s, session %d: got\n\t%s\nwant\n\t%s", e.node, id, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// quiet checks that every frame of the edge is finished.
func (e *testEdge) quiet() {
	e.w.t.Helper()
	if len(e.log) > 0 {
		e.w.t.Errorf("%s: %d frames not acknowledged, first %+v", e.node, len(e.log), e.log[0])
	}
}

// sorted returns the keys of a map in order, so that a test takes the same course each time.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
