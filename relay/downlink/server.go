package downlink

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/prometheus/client_golang/prometheus"
)

// maxPending bounds the handshakes under way; of more the oldest are dropped.
const maxPending = 1024

// DefaultBuffer is Config.Buffer when it is zero, in bytes.
const DefaultBuffer = 4 << 20

// Config of a Server.
type Config struct {
	Keys     link.Keys
	Instance protocol.Instance     // this boot of the relay
	Name     string                // told to edges, for their logs
	Build    string                // likewise
	Broker   func() string         // names the broker's back end, asked for each Welcome; must not block
	Metrics  prometheus.Registerer // nil: none
	Log      *slog.Logger          // nil: discard
	Buffer   int                   // bytes queued for one link at which it counts as full; 0: DefaultBuffer
}

// Server accepts links. It does not listen: it is an http.Handler.
type Server struct {
	cfg     Config
	handler Handler
	metrics *metrics
	log     *refusalLog
	pending link.Pending

	ctx    context.Context // ends links that do not end by themselves
	cancel context.CancelFunc
	links  sync.WaitGroup // Add under mu, while not closing

	mu       sync.Mutex // guards the following
	refusing bool       // new links
	closing  bool
	nodes    map[*Node]*link.Conn
	moved    chan struct{} // closed when no link is left that moves; nil: nobody waits
}

// NewServer returns a Server that feeds h. Close it in the end.
func NewServer(cfg Config, h Handler) *Server {
	if cfg.Buffer <= 0 {
		cfg.Buffer = DefaultBuffer
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Broker == nil {
		cfg.Broker = func() string { return "" }
	}
	s := &Server{cfg: cfg, handler: h, log: &refusalLog{log: cfg.Log}, pending: link.Pending{Max: maxPending}, nodes: make(map[*Node]*link.Conn)}
	s.metrics = newMetrics(cfg.Metrics, s)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// ServeHTTP takes GET /link and returns when the link has ended.
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
	conn, hello, err := link.Accept(w, r, link.AcceptConfig{Keys: s.cfg.Keys, Welcome: s.welcome, Pending: &s.pending})
	if err != nil {
		reason := refusalReason(err)
		s.metrics.refused.WithLabelValues(reason).Inc()
		s.log.refused(reason, r.RemoteAddr, err)
		return
	}
	n := NewNode(s.handler, conn, hello, s.cfg.Buffer)
	if !s.register(n, conn) {
		s.metrics.refused.WithLabelValues(refusedStopping).Inc()
		conn.CloseNow()
		return
	}
	defer s.unregister(n, conn)
	s.serve(n, conn, hello)
}

func (s *Server) welcome(h link.Hello) (link.Welcome, error) {
	if h.Instance == (protocol.Instance{}) {
		return link.Welcome{}, &link.CloseError{Code: link.CodeProtocol, Text: "hello without instance"}
	}
	return link.Welcome{Features: link.FeatureMove, Instance: s.cfg.Instance, Broker: s.cfg.Broker(), Relay: s.cfg.Name, Build: s.cfg.Build}, nil
}

// serve runs a registered link from Connected to Disconnected.
func (s *Server) serve(n *Node, conn *link.Conn, hello link.Hello) {
	if hello.Generation == 0 {
		s.metrics.asked.Inc()
		n.Close(link.CodeNormal, "who this is was all that was asked")
		conn.Run(s.ctx, n, refusing{})
		return
	}
	log := s.cfg.Log.With("link", n.String())
	if err := s.handler.Connected(n, hello); err != nil {
		bye := &link.CloseError{Code: link.CodeLimit, Text: err.Error()}
		errors.As(err, &bye)
		n.Close(bye.Code, bye.Text)
		s.ended(log, conn, conn.Run(s.ctx, n, refusing{}))
		return
	}
	log.Info("link up", "build", hello.Build, "remote", conn.RemoteAddr(), "version", conn.Version())
	err := conn.Run(s.ctx, n, n)
	s.ended(log, conn, err)
	s.handler.Disconnected(n, conn.LastReceived(), err)
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

// Close refuses new links, says Bye to all there are and returns when they have ended: within seconds, or soon after ctx is done, in which case it
// drops them and returns ctx's error. Handshakes under way are dropped when they are through.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	var nodes []*Node
	for n := range s.nodes {
		nodes = append(nodes, n)
	}
	s.mu.Unlock()
	for _, n := range nodes {
		n.Close(link.CodeNormal, "relay stops")
	}
	defer s.cancel()
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	s.links.Wait()
	if stop() {
		return nil
	}
	return ctx.Err()
}

// Refuse answers new links 503 from now on. Those there are go on.
func (s *Server) Refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing = true
}

// AwaitMoved waits until no link is left whose edge could move elsewhere, or ctx is done, and returns how many are left. Call Refuse before, once.
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

// movingLocked returns how many links could move. s.mu must be held.
func (s *Server) movingLocked() (n int) {
	for node := range s.nodes {
		if node.Moves() {
			n++
		}
	}
	return n
}

// tellMovedLocked ends AwaitMoved when there is nothing more to wait for. s.mu must be held.
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

// register reports false when no new link is taken.
func (s *Server) register(n *Node, conn *link.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing || s.closing {
		return false
	}
	s.nodes[n] = conn
	s.links.Add(1)
	return true
}

func (s *Server) unregister(n *Node, conn *link.Conn) {
	n.release()
	s.mu.Lock()
	delete(s.nodes, n)
	s.tellMovedLocked()
	s.metrics.add(conn.Stats()) // under mu, so that no scrape counts n twice or not at all
	s.mu.Unlock()
	s.links.Done()
}

// refusing is the Sink of a link that the Handler refused: what still comes is not looked at.
type refusing struct{}

func (refusing) HandleFrame(link.Type, []byte) error { return nil }
func (refusing) EndBatch() error                     { return nil }
