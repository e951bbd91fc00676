// Package router decides who receives what. The router knows no text of any client: a
// dialect.Dialect reads the frames of clients and makes their texts.
package router

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Config configures a Router. The zero value of a field means its default.
type Config struct {
	// Outgoing bounds how far publications fill one link's buffer, in bytes; default 4 MiB. An
	// empty buffer takes a publication of any size. A live follower whose publication finds no room
	// falls behind.
	Outgoing int
	// Grace is how long the sessions of an edge are kept after it has lost its link; default 15 s.
	// The time counts from the last byte that came on the link, or from the moment at which this
	// relay cut the link.
	Grace time.Duration
	// DigestEvery is how often an edge is sent a Digest, by which it compares its tables with the
	// relay's; default 10 s.
	DigestEvery time.Duration
	// TailBytes bounds the tails of all topics together, in bytes; default 64 MiB. TailLength
	// bounds the number of publications in the tail of one topic; default 64. A topic may exceed
	// TailLength while it has messages that were given ahead.
	TailBytes  int
	TailLength int
	// History is how many publications of a topic the broker keeps; default 256. For a while after
	// an outage this relay publishes at most a quarter of that number to a topic, since the topic's
	// followers may not be subscribed yet.
	History int
	// HistoryAge is how long the broker keeps a topic's publications after the last one; default
	// 120 s. MaxAddressed is how many topics one user may address through one edge in one window;
	// default 4,096. A window lasts for HistoryAge. A new window begins when the user next
	// addresses a topic after the end of the old window. Leaves are never refused for this bound.
	HistoryAge   time.Duration
	MaxAddressed int
	// TopicRate bounds what all senders together publish to one topic, in bytes a second. Messages
	// beyond it wait, and are refused once too many wait. 0 means no bound.
	TopicRate int
	// MaxGroups bounds the topics of a session of the chat; default 1,000. A session in MaxGroups
	// topics or more may join no further group. The session's own topics count too. Another dialect
	// has a bound of its own.
	MaxGroups int
	// TellBytes bounds the tables that an edge tells on a new link, in bytes; default 256 MiB. Once
	// the memberships that clients of an edge have asked for take half of TellBytes, further ones
	// are refused. Without this rule a client could make its edge's tables so large that the edge
	// could not link again. TellWait is the time in which an edge must tell at least 1 KiB of its
	// tables; default 60 s.
	TellBytes int
	TellWait  time.Duration
	// KeepBytes bounds the keeps of all sessions of an edge, in bytes; default link.MaxEdgeKeeps.
	// Edges end a link that brings them more than that default.
	KeepBytes int
	// Pieces is how many pieces of jobs a step does at most; default 512. A piece is a session, a
	// membership, a follower or a frame. Each piece takes some microseconds.
	Pieces int

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: discarded
}

// Limits that are not configured.
const (
	maxLogSize     = 64 << 20               // largest log that an edge may declare, in bytes
	laneWindow     = 256                    // largest number of publishes in flight, per lane
	retryFirst     = 50 * time.Millisecond  // first pause after a failed publish
	retryMost      = 2 * time.Second        // longest pause; pauses double up to this
	askAgainAfter  = 200 * time.Millisecond // pause before a ReadHistory or a Flush is repeated
	readsAtOnce    = 16                     // pages of history requested at once, per edge
	lookAgainAfter = 100 * time.Millisecond // pause before a link's full buffer is looked at again
	tailAge        = 30 * time.Second       // longest stay in a tail, except in outages
	leaveWait      = time.Second            // longest wait for the broker after an edge moved
)

// Router holds the directory, the lanes and the followers of one relay, and steps them. It has no
// goroutine and does no I/O. One caller at a time calls Step and passes the time in. In a relay
// that caller is the Pump. The Router reaches edges and the broker through Link and broker.Broker,
// whose methods do not block it.
type Router struct {
	cfg      Config
	brk      broker.Broker
	dialects []dialect.Dialect // by the link.Form of their texts
	orders   []dialect.Order   // the orders of these dialects
	most     []int             // by form: the number of topics that a session may be in
	m        *metrics
	now      time.Time

	began time.Time     // time of the first Step
	clock time.Duration // present time since the first Step; takes less memory than a time.Time

	directory      directory
	requests       requests
	outage         outage
	tails          tails
	rates          topicRates
	stalled        map[protocol.Topic][]*lane // waiting lanes, see stall
	later          timers
	deadlines      []deadline // ascending, see setDeadline
	placeDeadlines []deadline // the same, of Confirms
	comebacks      map[*topic]*comeback
	pasts          pasts
	jobs           []job // under way, the oldest first

	paced    int           // edges with answers that wait for room in their windows
	replied  int           // bytes of publications in the answers of this step, see repliedMost
	freed    []freed       // sessions and topics whose waiting frames may go on, see order_topic.go
	dirty    []*edge       // edges that flush visits at the end of the step
	left     []Link        // links to close at the end of the step
	window   time.Duration // time that link.Drain gives edges to move; 0: none is sent
	stopping bool          // no more numbered frames are taken
	scratch  scratch
}

// scratch is memory that each step uses anew. The comment of each field names the Router's methods
// that use it.
type scratch struct {
	text, encoded []byte           // used by compose; text also by Router.listed
	said          said             // used by encode
	opened        []uint64         // used by tryOpen and openAhead
	own           []protocol.Topic // used by Router.own
}

// reset frees slices that have grown large, and keeps the smaller ones for the next step.
// Router.flush calls it at the end of a step.
func (s *scratch) reset() {
	if cap(s.text)+cap(s.encoded) > maxScratch {
		s.text, s.encoded = nil, nil
	}
	if cap(s.own) > maxScratch/16 {
		s.own = nil
	}
	s.said = said{}
	clear(s.own)
	s.own = s.own[:0]
}

// New returns a Router that publishes through brk, for clients that speak the given dialects. The
// place of a dialect is the link.Form of its texts. The first dialect is the chat. An edge tells
// the chat's sessions by link.Session, and all others by link.Client.
func New(cfg Config, brk broker.Broker, dialects ...dialect.Dialect) *Router {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.Outgoing, 4<<20)
	def(&cfg.TailBytes, 64<<20)
	def(&cfg.TailLength, 64)
	def(&cfg.History, 256)
	def(&cfg.MaxGroups, 1000)
	def(&cfg.MaxAddressed, 4096)
	def(&cfg.TellBytes, 256<<20)
	def(&cfg.KeepBytes, link.MaxEdgeKeeps)
	def(&cfg.Pieces, 512)
	if cfg.TellWait == 0 {
		cfg.TellWait = time.Minute
	}
	if cfg.HistoryAge == 0 {
		cfg.HistoryAge = 120 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = 15 * time.Second
	}
	if cfg.DigestEvery == 0 {
		cfg.DigestEvery = 10 * time.Second
	}
	cfg.Log = logging.OrDiscard(cfg.Log)
	r := &Router{
		cfg:       cfg,
		dialects:  dialects,
		brk:       brk,
		m:         newMetrics(cfg.Metrics, dialects),
		directory: newDirectory(),
		requests:  newRequests(),
		rates:     newTopicRates(cfg.TopicRate),
		stalled:   make(map[protocol.Topic][]*lane),
		comebacks: make(map[*topic]*comeback),
	}
	for _, d := range dialects {
		r.orders = append(r.orders, d.Order())
		most := d.MaxTopics()
		if most == 0 {
			most = cfg.MaxGroups
		}
		r.most = append(r.most, most)
	}
	r.tails.most = cfg.TailBytes
	r.outage.pace.quarter = max(cfg.History/4, 1)
	return r
}

// Step applies the inputs in order, calls the timers that are due, does a part of the jobs, and
// appends the resulting frames to the links. It must be called at least every 100 ms, without
// inputs if there are none.
func (r *Router) Step(now time.Time, inputs []Input) {
	r.now = now
	if r.began.IsZero() {
		r.began = now
	}
	r.clock = now.Sub(r.began)
	r.replied = 0
	for _, in := range inputs {
		in.apply(r)
	}
	r.later.due(now)
	r.lateFrames()
	r.work()
	r.releaseFreed()
	r.sweepRates()
	if !r.outage.away { // in an outage the tails keep messages given ahead
		r.tails.expire(r)
	}
	r.flush()
}

// flush appends to each link the frames that this step has put into its edge's outbox. If numbers
// were finished, an Ack follows these frames, so it does not overtake the answers. A Digest that is
// due comes last. Then flush closes the links in Router.left.
func (r *Router) flush() {
	for _, e := range r.dirty {
		o := &e.outbox
		o.dirty, o.sampled = false, false
		if o.ready {
			if n := &e.inbox.numbers; n.changed {
				n.changed = false
				ack := n.ack()
				o.frames = ack.Append(o.frames)
				e.tables.acked(ack)
			}
			r.digest(e)
		}
		o.flush()
	}
	clear(r.dirty)
	r.dirty = r.dirty[:0]
	for _, l := range r.left {
		l.Close(link.CodeNormal, "all has been sent")
	}
	clear(r.left)
	r.left = r.left[:0]
	r.scratch.reset()
}

// sendStatus sends an edge the list of degraded parts of this relay's service.
func (r *Router) sendStatus(e *edge) {
	var s link.Status
	if r.outage.away {
		s.Degraded = []string{"broker"}
	}
	r.send(e, s.Append)
}

// degraded lists the degraded parts of this relay's service: "broker" while the broker is away, and
// otherwise none. Only Step's caller may call it.
func (r *Router) degraded() []string {
	if r.outage.away {
		return []string{"broker"}
	}
	return nil
}

func gauge(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
