// Package gateway serves the clients of an edge. It accepts their WebSockets, and passes their
// messages on to an Upstream. Its Hub knows the sessions and the members of each topic, and queues
// the messages of the link for the sessions.
package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/timing"
)

var _ http.Handler = (*Server)(nil)

// Server accepts client WebSockets at /chat/… and at protocol.SDKPath. It passes clients' messages
// on to its Upstream, and writes the frames that its Hub queues for the clients.
//
// A session has a reader goroutine while its client speaks, and for idleAfter at most after that. A
// session that the poller cannot watch keeps its reader. All sessions share the poller and the
// writers. If a socket does not take everything at once, a goroutine for that session alone writes
// the remainder. The HTTP server's goroutine ends with the upgrade.
//
// Close ends all of these goroutines. Run calls Close when its context is done. Drain ends only the
// goroutines of the sessions. After Close or Drain the Server cannot be used again.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics *serverMetrics
	hub     *Hub
	up      Upstream

	start      time.Time       // the moment at which Server.now is 0
	ctx        context.Context // done from Close on
	cancel     context.CancelFunc
	clock      clock
	rates      *rates
	users      users
	unfinished unfinished
	poller     *poller

	suspension timing.Suspension // stepped by Run
	resumed    atomic.Int64      // Server.now of the last resume
	wallGain   atomic.Int64      // Server.wallSince minus Server.now, at the last beat

	closing  sync.Once
	draining chan struct{} // closed with mu held; from then on new clients are refused
	mu       sync.Mutex    // guards the fields below
	active   int           // connects in progress, and sessions whose socket is open
	empty    chan struct{} // closed once draining is closed and active is 0
}

// NewServer makes a Server, which can serve requests at once. Pings, deferred pongs, expiries and
// time-outs need the method Run.
func NewServer(cfg Config, hub *Hub, up Upstream) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	v := &Server{
		cfg:        cfg,
		log:        logging.OrDiscard(cfg.Log),
		metrics:    newServerMetrics(cfg.Metrics),
		hub:        hub,
		up:         up,
		start:      time.Now(),
		ctx:        ctx,
		cancel:     cancel,
		clock:      clock{wheel: newWheel()},
		rates:      newRates(cfg.Rate, cfg.Queue, cfg.FanOut),
		users:      users{most: cfg.PerUser, sessions: map[string]int{}},
		poller:     newPoller(),
		suspension: timing.Suspension{Every: wheelTick},
		draining:   make(chan struct{}),
		empty:      make(chan struct{}),
	}
	v.unfinished.bound(int64(cfg.Unfinished), cfg.MaxMessage)
	hub.guests.bound(&cfg)
	measureUnfinished(cfg.Metrics, &v.unfinished)
	hub.writers.holdBytes = cfg.Queue / holdShare
	hub.rates, hub.users = v.rates, &v.users
	return v
}

// Run pings silent clients and sends deferred pongs. It ends sessions whose token expired, whose
// message or control frame was not finished in time, or whose client gave no sign of life after a
// ping. It also ends guests that send no line in time, or whose connect is not confirmed in time.
// It starts the writers even while an unfinished batch of the link holds messages back. When ctx is
// done, Run calls Close and returns.
func (v *Server) Run(ctx context.Context) {
	ticker := time.NewTicker(wheelTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			v.Close()
			return
		case <-ticker.C:
			wall := time.Now()
			v.beat(wall, wall.Sub(v.start))
		}
	}
}

// Close refuses new clients and ends all sessions. It sends the close frame of ReasonDraining to
// each client that was not sent a close frame yet. Each client then has shutdownWait to answer.
// Close returns when the goroutines of the sessions, the poller and the writers have ended. By then
// Upstream.End was called for each session that a relay may know of. The socket of a session that
// is dead already may stay open until the deadline of that session's end. This takes closeWait at
// most, or leaveWait if the relay closed the session without a code. Close waits for such a socket
// too.
func (v *Server) Close() {
	v.refuseAll()
	v.endAll()
	v.cancel()
	v.endAll() // this ends the clients that were upgraded meanwhile
	<-v.empty
	v.closing.Do(v.poller.close)
	v.hub.writers.close()
}

// endAll begins the end of each session that is not dead. It sends the close frame of
// ReasonDraining to each client that was not sent a close frame yet. Each client then has
// shutdownWait to answer.
func (v *Server) endAll() {
	for _, s := range v.hub.living() {
		s.close(ReasonDraining, shutdownWait)
		s.hurry(shutdownWait)
	}
}

// now returns the time since v.start by the monotonic clock.
func (v *Server) now() time.Duration { return time.Since(v.start) }

// enter counts a connect and returns true. The method leave must be called when the connect has
// failed, or when its session has ended. If the server drains, enter counts nothing and returns
// false.
func (v *Server) enter() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Draining() {
		return false
	}
	v.active++
	return true
}

func (v *Server) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.active--
	if v.Draining() && v.active == 0 {
		close(v.empty)
	}
}

// refuseAll refuses new clients from here on.
func (v *Server) refuseAll() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Draining() {
		return
	}
	close(v.draining)
	if v.active == 0 {
		close(v.empty)
	}
}

// Draining reports whether Drain or Close was called. From that call on new clients are refused.
func (v *Server) Draining() bool {
	select {
	case <-v.draining:
		return true
	default:
		return false
	}
}

// Active returns the number of connects in progress and of sessions whose socket is still open.
func (v *Server) Active() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.active
}

// Upstream carries the clients' messages towards the relay. edge/uplink implements it. Only
// WaitRoom blocks.
type Upstream interface {
	// Open announces a session of the Hub to the relay. It returns false if there is no link.
	Open(link.Session) (told bool)
	// Accept numbers a client's message and puts a copy of it into the log. It returns false if
	// there is no room. It also returns false if other sessions wait for room, unless WaitRoom has
	// kept room for this session.
	Accept(id uint64, payload []byte) bool
	// WaitRoom waits until Accept may succeed for a message of the given size, in bytes. Then
	// WaitRoom returns true. If ctx is done first, WaitRoom returns false.
	WaitRoom(ctx context.Context, id uint64, size int) bool
	// Holds reports whether the log has a message of the session.
	Holds(id uint64) bool
	// End appends the session's end to the log. The Hub keeps the session until Hub.Forget.
	End(id uint64)
	// Forget says that the Hub has forgotten a session for which End was not called. No relay was
	// told of the session, and the log has no message of it.
	Forget(id uint64)
	// Linked reports whether there is a link now, and whether there ever was one.
	Linked() (now, ever bool)
	// KnowsSDK reports whether the relay of the link knows sessions of SDKs. Without a link it
	// reports whether the relay of the last link knew them.
	KnowsSDK() bool
	// Enrol is called for a guest before Hub.introduce. If the relay of the link knows sessions of
	// SDKs, Enrol returns nil, and the session is enrolled. Until the session's end is finished, or
	// until Forget, the edge takes no link to a relay that does not know such sessions.
	//
	// If there is no link, or if its relay does not know sessions of SDKs, Enrol enrols nothing and
	// returns a channel. The channel is closed when a link comes with which Enrol can succeed.
	Enrol(link.Client) (again <-chan struct{})
	// OpenClient announces a session of an SDK to the relay, as Open does for a chat session.
	OpenClient(link.Client) (told bool)
}

var closedChan = closed[struct{}]()

// closed returns a channel that is closed.
func closed[T any]() chan T {
	c := make(chan T)
	close(c)
	return c
}
