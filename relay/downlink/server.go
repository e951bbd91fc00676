package downlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/httpguard"
	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

// maxPending bounds the handshakes under way. At the bound, each new handshake makes the server
// drop an earlier one.
const maxPending = 1024

// beginWait is how long a link may be up before its edge's first frame after the handshake. An edge
// may wait a moment after the handshake, to see whether it needs the link.
const beginWait = 10 * time.Second

// DefaultBuffer is the size in bytes that is used if Config.Buffer is 0 or less.
const DefaultBuffer = 4 << 20

// Config configures a Server.
type Config struct {
	Keys     link.Keys
	Instance protocol.Instance // this boot of the relay
	Name     string            // told to edges, for their logs
	Build    string            // told to edges, for their logs
	// Broker returns the name of the broker, which edges are told. If Broker is nil, they are told
	// no name. Broker is called in each handshake and must not block.
	Broker func() string
	// SDK offers link.FeatureSDK to edges. The Handler must then take link.Client, link.Keep and
	// link.Drained.
	SDK     bool
	Metrics prometheus.Registerer // nil: no metrics
	Log     *slog.Logger          // nil: nothing is logged
	// Buffer sets two bounds of the bytes queued for one link. At half of Buffer the link is not
	// writable any more. Frames that would exceed 16 times Buffer close the link. 0 or less means
	// DefaultBuffer.
	Buffer int
}

// Server accepts links. It is an http.Handler and does not listen itself.
type Server struct {
	cfg     Config
	handler Handler
	metrics *metrics
	log     *refusalLog
	pending *link.Pending

	ctx     context.Context // done when links must end at once
	cancel  context.CancelFunc
	running sync.WaitGroup // the links; Add is called under mu, and never after closing is set

	mu       sync.Mutex // guards the following
	refusing bool       // new links are refused
	closing  bool
	links    map[*Link]*link.Conn
	// moved is a channel. It is closed once each link that has begun and can move has ended. The
	// field is nil before AwaitMoved, and after the channel was closed.
	moved chan struct{}
}

// NewServer returns a Server that tells h of its links and of what they bring. The caller must
// close the Server in the end.
func NewServer(cfg Config, h Handler) *Server {
	if cfg.Buffer <= 0 {
		cfg.Buffer = DefaultBuffer
	}
	cfg.Log = logging.OrDiscard(cfg.Log)
	if cfg.Broker == nil {
		cfg.Broker = func() string { return "" }
	}
	s := &Server{cfg: cfg, handler: h, log: &refusalLog{log: cfg.Log}, pending: link.NewPending(maxPending), links: make(map[*Link]*link.Conn)}
	s.metrics = newMetrics(cfg.Metrics, s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// ServeHTTP answers GET /link. If the handshake makes a link, ServeHTTP returns when the link has
// ended.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != link.Path {
		http.NotFound(w, r)
		return
	}
	if s.isRefusing() {
		s.metrics.refused.WithLabelValues(refusedStopping).Inc()
		http.Error(w, "relay stops", http.StatusServiceUnavailable)
		return
	}
	if err := httpguard.CheckUpgrade(r); err != nil {
		s.metrics.refused.WithLabelValues(refusedBroken).Inc()
		s.log.refused(refusedBroken, r.RemoteAddr, err)
		http.Error(w, "this is where edges link: "+err.Error(), http.StatusBadRequest)
		return
	}
	conn, hello, err := link.Accept(w, r, link.AcceptConfig{Keys: s.cfg.Keys, Welcome: s.welcome, Pending: s.pending})
	if err != nil {
		reason := refusalReason(err)
		s.metrics.refused.WithLabelValues(reason).Inc()
		s.log.refused(reason, r.RemoteAddr, err)
		return
	}
	l := NewLink(s.handler, conn, hello, s.cfg.Buffer)
	if !s.register(l, conn) {
		s.metrics.refused.WithLabelValues(refusedStopping).Inc()
		conn.CloseNow()
		return
	}
	defer s.unregister(l, conn)
	s.serve(l, conn, hello)
}

func (s *Server) welcome(h link.Hello) (link.Welcome, error) {
	if h.Instance == (protocol.Instance{}) {
		return link.Welcome{}, &link.CloseError{Code: link.CodeProtocol, Text: "hello without instance"}
	}
	w := link.Welcome{Features: link.FeatureMove, Instance: s.cfg.Instance, Broker: s.cfg.Broker(), Relay: s.cfg.Name, Build: s.cfg.Build}
	if s.cfg.SDK {
		w.Features |= link.FeatureSDK
	}
	return w, nil
}

// serve runs a registered link until it has ended. The handler is told of the link at the first
// frame after the handshake. If the edge only asks who the relay is, the handler is not told of the
// link.
func (s *Server) serve(l *Link, conn *link.Conn, hello link.Hello) {
	if hello.Generation == 0 {
		s.metrics.asked.Inc()
		l.Close(link.CodeNormal, "who this is was all that was asked")
		s.run(l, conn, refusing{})
		return
	}
	log := s.cfg.Log.With("link", l.String())
	late := time.AfterFunc(beginWait, func() {
		if !l.Began() {
			l.Close(link.CodeLimit, fmt.Sprintf("nothing was told within %v", beginWait))
		}
	})
	defer late.Stop()
	l.onBegin = func() {
		log.Info("link up", "build", hello.Build, "remote", conn.RemoteAddr(), "version", conn.Version())
	}
	err := s.run(l, conn, l)
	if !l.Began() {
		s.metrics.unused.Inc()
		log.Debug("link was not needed", "err", err)
		return
	}
	s.ended(log, conn, err)
	s.handler.Disconnected(l, conn.LastReceived(), err)
}

// run carries a link's frames until the link has ended. From then on the link queues nothing.
func (s *Server) run(l *Link, conn *link.Conn, sink link.Sink) error {
	defer l.release()
	return conn.Run(s.ctx, l, sink)
}

func (s *Server) ended(log *slog.Logger, conn *link.Conn, err error) {
	code, by := link.CodeLost, "relay"
	var end *link.CloseError
	if errors.As(err, &end) {
		code = end.Code
		if end.Remote {
			by = "edge"
		}
	}
	if code == link.CodeLost {
		by = "network"
	}
	s.metrics.ends.WithLabelValues(code.String(), by).Inc()
	log.Info("link down", "code", code.String(), "by", by, "err", err, "rtt", conn.Stats().RTT)
}

// Close refuses new links, says Bye on the present links and returns when they have ended. If ctx
// is done while a link still lives, Close cuts all links, waits for their end, and returns ctx's
// error. A handshake that is under way makes no link.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	var links []*Link
	for l := range s.links {
		links = append(links, l)
	}
	s.mu.Unlock()
	for _, l := range links {
		l.Close(link.CodeNormal, "relay stops")
	}
	defer s.cancel()
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	s.running.Wait()
	if stop() {
		return nil
	}
	return ctx.Err()
}

// Refuse makes the server answer new requests for a link with 503 from now on. A handshake that is
// under way makes no link. Present links go on.
func (s *Server) Refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing = true
}

// AwaitMoved waits until each link that has begun and can move has ended, or until ctx is done. It
// returns how many of these links have not ended. It must be called after Refuse. Calls must not
// overlap.
func (s *Server) AwaitMoved(ctx context.Context) (left int) {
	s.mu.Lock()
	moved := make(chan struct{})
	s.moved = moved
	s.tellMovedLocked()
	s.mu.Unlock()
	select {
	case <-moved:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.movingLocked()
}

// movingLocked counts the links that have begun and can move, see Link.Moves. The caller holds
// s.mu.
func (s *Server) movingLocked() (n int) {
	for l := range s.links {
		if l.Began() && l.Moves() {
			n++
		}
	}
	return n
}

// tellMovedLocked ends the wait of AwaitMoved if each link that has begun and can move has ended.
// The caller holds s.mu.
func (s *Server) tellMovedLocked() {
	if s.moved != nil && s.movingLocked() == 0 {
		close(s.moved)
		s.moved = nil
	}
}

func (s *Server) isRefusing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusing || s.closing
}

// register adds a link and returns true. It returns false if the server refuses new links.
func (s *Server) register(l *Link, conn *link.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing || s.closing {
		return false
	}
	s.links[l] = conn
	s.running.Add(1)
	return true
}

func (s *Server) unregister(l *Link, conn *link.Conn) {
	s.mu.Lock()
	delete(s.links, l)
	s.tellMovedLocked()
	s.metrics.add(conn.Stats()) // under mu, so that a scrape counts l once
	s.mu.Unlock()
	s.running.Done()
}

// refusing is the Sink of a link whose edge only asked who the relay is. It ignores frames.
type refusing struct{}

func (refusing) HandleFrame(link.Type, []byte) error { return nil }
func (refusing) EndBatch() error                     { return nil }
