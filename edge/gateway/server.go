package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgerelay/edgerelay/shared/service"
)

var _ http.Handler = (*Server)(nil)

// Server accepts client WebSockets at /chat/…, gives what they send to its Upstream, and writes what its Hub queues for them.
//
// A session has a reader goroutine while it speaks, and a writer of its own only while its client takes less than there is; the poller and the writers are for all of them. The HTTP
// server's goroutine ends with the upgrade. Run, Drain and Close end them; a Server cannot be used again.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics *serverMetrics
	hub     *Hub
	up      Upstream

	start  time.Time       // of the monotonic clock that now reads
	ctx    context.Context // done when everything must end at once
	cancel context.CancelFunc
	clock  clock
	rates  *rates
	poller *poller

	readers sync.Pool // of *reader: those whose conn has come to rest

	suspension service.Suspension // stepped by Run
	resumed    atomic.Int64       // now of the last resume
	ahead      atomic.Int64       // by how much wallSince is ahead of now

	closing  sync.Once
	draining chan struct{} // closed, with mu held, when no new clients are taken
	mu       sync.Mutex    // guards what follows
	active   int           // connects in progress and sessions
	empty    chan struct{} // closed when draining, and active is zero
}

// NewServer makes a Server; it serves as an http.Handler at once, but pings and expiries need Run.
func NewServer(cfg Config, hub *Hub, up Upstream) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	v := &Server{
		cfg:        cfg,
		log:        orDiscard(cfg.Log),
		metrics:    newServerMetrics(cfg.Metrics),
		hub:        hub,
		up:         up,
		start:      time.Now(),
		ctx:        ctx,
		cancel:     cancel,
		clock:      clock{wheel: newWheel()},
		rates:      newRates(cfg.Rate),
		poller:     newPoller(),
		suspension: service.Suspension{Every: wheelTick},
		draining:   make(chan struct{}),
		empty:      make(chan struct{}),
	}
	hub.writers.enough = cfg.Queue / holdShare
	v.readers.New = func() any { return v.newReader() }
	return v
}

// Run pings silent clients and ends those whose token expired or whose message does not end, until ctx is done; then it does what Close does, and returns.
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

// Close refuses new clients, ends all sessions at once, with 1012 for those that can take it in a quarter of a second, and returns when
// all their goroutines have ended. Their ends are logged upstream by then.
func (v *Server) Close() {
	v.refuseAll()
	v.endAll()
	v.cancel()
	v.endAll() // those that were being connected meanwhile
	<-v.empty
	v.closing.Do(v.poller.close)
	v.hub.writers.close()
}

// endAll sends 1012 to all who were not sent a close frame yet, and shortens the time of the others.
func (v *Server) endAll() {
	for _, s := range v.hub.living() {
		s.close(ReasonDraining, shutdownWait)
		s.hurry(shutdownWait)
	}
}

// now is the time since the start, by the monotonic clock.
func (v *Server) now() time.Duration { return time.Since(v.start) }

// enter counts a connect, unless no new ones are taken. Each enter that returned true needs a leave.
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

// Draining reports whether new clients are refused.
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
