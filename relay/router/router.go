// Package router decides who receives what: the one place where the chat's rules live.
package router

import (
	"bytes"
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
)

// Config of a Router. The zero value of a field means its default.
type Config struct {
	// Outgoing is the bound of publications waiting in one link's buffer, in bytes: 4 MiB. Past it the edge's followers are behind.
	Outgoing int
	// Grace is how long an edge's sessions outlive its link's last byte: 15 s.
	Grace time.Duration
	// DigestEvery is how often an edge's tables are compared: 10 s.
	DigestEvery time.Duration
	// TailBytes bounds the recent publications kept in memory, of all topics together: 64 MiB. TailLength bounds them per topic: 64.
	TailBytes  int
	TailLength int
	// History is how many publications of a topic the broker keeps: 256. So many are published at once at most while nobody may be listening.
	History int
	// HistoryAge is how long: 120 s. In that time one user may address MaxAddressed users and groups by one edge: 4,096.
	HistoryAge   time.Duration
	MaxAddressed int
	// MaxGroups is how many groups one session may be in: 1,000.
	MaxGroups int
	// TellBytes bounds the tables that an edge tells on a new link, in bytes: 256 MiB. Memberships in groups may take half of it: joins beyond are refused, so that no
	// client keeps its edge from linking again. TellWait is how long it may take: 60 s.
	TellBytes int
	TellWait  time.Duration

	Metrics prometheus.Registerer // nil: none
	Log     *slog.Logger          // nil: discard
}

// Limits that are not configured.
const (
	maxLogSize     = 64 << 20               // bytes of unfinished frames an edge may declare
	laneWindow     = 256                    // publishes in flight per lane
	retryFirst     = 50 * time.Millisecond  // pause after a failed publish,
	retryMost      = 2 * time.Second        // doubling up to this
	askAgainAfter  = 200 * time.Millisecond // pause after history could not be read
	readsAtOnce    = 16                     // pages of history asked for at once, per edge
	lookAgainAfter = 100 * time.Millisecond // pause after a publication found no room in a link's buffer
	tailAge        = 30 * time.Second       // publications older than this leave memory
	leaveWait      = time.Second            // an edge that has moved waits for the broker so long at most
)

// Router holds the directory, the lanes and the followers of one relay, and steps them. It has no goroutine and does no I/O: Step is called by one
// caller at a time (Pump is that caller), which passes the time in. Its outputs are calls to Link and broker.Broker, which only queue.
type Router struct {
	cfg Config
	brk broker.Broker
	log *slog.Logger
	m   *metrics
	now time.Time

	began time.Time     // the first Step
	clock time.Duration // since then: what tables keep, of which there are many

	edges   map[protocol.Instance]*edge // with a link, or lost for less than Grace
	links   map[Link]*edge              // live links
	named   map[string]int              // live links by node ID
	ordered []*edge                     // inOrder's; nil: to be made
	topics  map[protocol.Topic]*topic
	active  map[*topic]struct{} // those of them that have a recent

	tokens    uint64                       // the last one given to a broker request, or topic number
	publishes map[uint64]*frame            // in flight, by token
	orphaned  map[protocol.Instance]uint64 // bytes of those of links that edges have left; of an edge whose log is smaller no more are given to the broker
	asked     map[uint64]*frame            // non-members' frames waiting for Counted
	reads     map[uint64]*follower         // waiting for History
	leaving   map[uint64]Link              // of edges that have moved, waiting for Flushed
	hearings  map[uint64]*edge             // of edges that are not whole yet, waiting for Flushed
	stalled   map[protocol.Topic][]*lane   // lanes that wait for something about their topic, see stall

	later        timers
	waking       []*lane // that are given ahead now, or next
	left         []Link  // to be closed at the end of the step
	dirty        []*edge // edges with something to append to their link at the end of the step
	tails        tails
	away         bool          // the broker does not answer
	deafened     int           // topics whose subscription was in force and is not
	unheardBytes int           // of all topics' unheard
	pace         pace          // of publishing when it is back
	window       time.Duration // in which edges are asked to move elsewhere; 0: they are not
	stopping     bool          // no new frames are taken

	text, encoded []byte   // scratch of encode,
	opened        []uint64 // and of tryOpen
}

// New returns a Router that publishes through brk.
func New(cfg Config, brk broker.Broker) *Router {
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
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Router{
		cfg:       cfg,
		brk:       brk,
		log:       cfg.Log,
		m:         newMetrics(cfg.Metrics),
		edges:     make(map[protocol.Instance]*edge),
		links:     make(map[Link]*edge),
		topics:    make(map[protocol.Topic]*topic),
		publishes: make(map[uint64]*frame),
		orphaned:  make(map[protocol.Instance]uint64),
		asked:     make(map[uint64]*frame),
		reads:     make(map[uint64]*follower),
		leaving:   make(map[uint64]Link),
		hearings:  make(map[uint64]*edge),
		active:    make(map[*topic]struct{}),
		stalled:   make(map[protocol.Topic][]*lane),
		named:     make(map[string]int),
	}
	r.tails.most = cfg.TailBytes
	r.pace.quarter = max(cfg.History/4, 1)
	return r
}

// Step applies inputs in order, does what has come due by now, and appends what follows to the links. Inputs may be empty: Step is to be
// called at least every 100 ms.
func (r *Router) Step(now time.Time, inputs []Input) {
	r.now = now
	if r.began.IsZero() {
		r.began = now
	}
	r.clock = now.Sub(r.began)
	for _, in := range inputs {
		in.apply(r)
	}
	r.later.due(now)
	if !r.away { // else they hold what was given ahead
		r.tails.expire(r)
	}
	r.flush()
}

// flush appends what each edge has been sent in this step, its acknowledgement last: an Ack never overtakes an answer.
func (r *Router) flush() {
	for _, e := range r.dirty {
		e.dirty = false
		e.sampled = false
		if !e.ready {
			e.out = e.out[:0]
			continue
		}
		if e.numbers.changed {
			e.numbers.changed = false
			e.out = e.numbers.ack().Append(e.out)
		}
		r.digest(e)
		if len(e.out) > 0 {
			e.link.Append(e.out)
		}
		if cap(e.out) > maxScratch {
			e.out = nil
		} else {
			e.out = e.out[:0]
		}
	}
	clear(r.dirty)
	r.dirty = r.dirty[:0]
	for _, l := range r.left {
		l.Close(link.CodeNormal, "all has been sent")
	}
	clear(r.left)
	r.left = r.left[:0]
	if cap(r.text)+cap(r.encoded) > maxScratch {
		r.text, r.encoded = nil, nil
	}
}

// maxScratch is the size up to which a scratch buffer is kept for the next step.
const maxScratch = 256 << 10

// token returns a number not used before.
func (r *Router) token() uint64 {
	r.tokens++
	return r.tokens
}

// state is told whether the broker answers.
func (r *Router) state(ev broker.State) {
	if r.away == ev.Away {
		return
	}
	r.away = ev.Away
	r.m.away.Set(gauge(ev.Away))
	for _, e := range r.inOrder() {
		r.sendStatus(e)
	}
	if r.away {
		for _, e := range r.inOrder() {
			r.openUnconfirmed(e)
		}
		r.goAhead()
		for _, e := range r.inOrder() {
			if e.ready {
				r.advanceAll(e)
			}
		}
		return
	}
	r.comeBack()
	r.pace.begin(r)
	for _, e := range r.inOrder() {
		r.tellLive(e)
		for _, l := range e.inOrder() {
			l.backoff = 0
			r.runLane(l)
		}
	}
}

// inOrder returns the edges in the order of their instances: so that the same inputs have the same outputs.
func (r *Router) inOrder() []*edge {
	if r.ordered == nil {
		r.ordered = slices.SortedFunc(maps.Values(r.edges), func(a, b *edge) int { return bytes.Compare(a.instance[:], b.instance[:]) })
	}
	return r.ordered
}

// activeInOrder returns the topics of whose recent want holds, in the order of their names.
func (r *Router) activeInOrder(want func(*recent) bool) (some []*topic) {
	for t := range r.active {
		if want(t.recent) {
			some = append(some, t)
		}
	}
	slices.SortFunc(some, func(a, b *topic) int { return cmp.Compare(a.name, b.name) })
	return some
}

// inOrder returns the lanes of an edge in the order of their topics.
func (e *edge) inOrder() []*lane {
	lanes := make([]*lane, 0, len(e.lanes))
	for _, name := range slices.Sorted(maps.Keys(e.lanes)) {
		lanes = append(lanes, e.lanes[name])
	}
	return lanes
}

// sendStatus tells an edge what is degraded here.
func (r *Router) sendStatus(e *edge) {
	var s link.Status
	if r.away {
		s.Degraded = []string{"broker"}
	}
	r.send(e, s.Append)
}

// degraded lists shared causes why service is not whole. Only Step's caller may call it.
func (r *Router) degraded() []string {
	if r.away {
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
