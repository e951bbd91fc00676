package httpguard

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/edgerelay/edgerelay/shared/crowd"
	"github.com/edgerelay/edgerelay/shared/logging"
	"github.com/edgerelay/edgerelay/shared/service"
)

const (
	maxWaiting   = 4096 // used if Config.MaxWaiting is 0
	adminWaiting = 32   // Config.MaxWaiting of an admin port
	fewWaiting   = 64   // MaxWaiting is not lowered below this when files are scarce
	maxLong      = 512  // bound of unfinished heads that have memory of their own
)

// SpareFiles is the number of open files that a process needs in addition to its upgraded
// connections. 100 of them are for the admin port, the links, Redis and the logs. 64 are for
// connections that ask to be upgraded.
const SpareFiles = 100 + fewWaiting

// Config is what a Server needs.
type Config struct {
	Handler http.Handler
	// Name and Port distinguish the metrics of several servers:
	// edgerelay_{Name}_http_…{port="{Port}"}.
	Name, Port string
	// MaxWaiting bounds the connections for which no handler works; 0 means 4,096. At the bound,
	// the server drops an older connection for each new one. When the process comes near its limit
	// of open files, the bound is lower, so that 100 files stay free. But it is not lowered below
	// 64.
	MaxWaiting int
	// Upgraded returns the number of connections that handlers have hijacked and not yet closed. It
	// is nil where these connections are too few to matter.
	Upgraded func() int
	// OtherHosts reports which hosts a listener on loopback serves in addition to its loopback
	// names. Its argument is the Host header, with the port. If OtherHosts is nil, all hosts are
	// served.
	OtherHosts func(host string) bool
	// OtherHostsBy is the name of the variable that lists the hosts of OtherHosts. The answer to a
	// refused client mentions this variable. "" means that there is no such variable.
	OtherHostsBy string

	Metrics prometheus.Registerer // nil: not registered
	Log     *slog.Logger          // nil: nothing is logged
}

// Server serves HTTP to anybody who reaches its port. It bounds what a connection may cost until it
// is upgraded. The head of a request may have 64 header lines, and 16 KiB together with the first
// line. The head may take 10 s to come, a handler 10 s to work, and the client 10 s to take the
// answer. Only the handlers under /debug/ of an admin port may take longer. Up to 60 s may pass
// between an answer and the next request. The server checks these times once a second. The number
// of connections for which no handler works is bounded too. The Server counts the connections that
// it closes and the requests that it refuses, by reason.
type Server struct {
	Handler http.Handler // Config.Handler behind the guard

	http         *http.Server
	waiting      *waiting
	otherHosts   func(host string) bool
	otherHostsBy string
	loopback     atomic.Bool // the listener is on loopback, and otherHosts is set
}

// NewServer returns a server that does not listen yet. Messages of net/http are about single
// clients, so they go to the log at debug.
func NewServer(cfg Config) *Server {
	if cfg.MaxWaiting == 0 {
		cfg.MaxWaiting = maxWaiting
	}
	w := &waiting{most: cfg.most, mostLong: maxLong, visits: map[*visit]struct{}{}}
	w.queue.Little, w.long.Little = crowd.Few(cfg.MaxWaiting), crowd.Few(maxLong)
	w.measure(cfg)
	s := &Server{waiting: w, otherHosts: cfg.OtherHosts, otherHostsBy: cfg.OtherHostsBy}
	s.Handler = w.handler(s.guardHost(cfg.Handler))
	// The time-outs of net/http are not used. net/http does not report when they end a connection,
	// and its time-out for reads would end the context of a handler at work. The header bound of
	// net/http never applies, since the guard has a lower bound of its own.
	s.http = &http.Server{
		Handler:                      s.Handler,
		MaxHeaderBytes:               2 * maxHeadBytes,
		DisableGeneralOptionsHandler: true, // its handler would bypass the guard and read bodies
		ConnContext:                  w.connContext,
		ConnState:                    w.connState,
		ErrorLog:                     slog.NewLogLogger(logging.OrDiscard(cfg.Log).Handler(), slog.LevelDebug),
	}
	return s
}

// measure makes the metrics of a server.
func (w *waiting) measure(cfg Config) {
	f := promauto.With(cfg.Metrics)
	port := prometheus.Labels{"port": cfg.Port}
	name := "edgerelay_" + cfg.Name + "_http_"
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        name + "waiting",
		Help:        "Connections that are not upgraded and have no request that is being handled.",
		ConstLabels: port,
	}, func() float64 { return float64(w.len()) })
	dropped := f.NewCounterVec(prometheus.CounterOpts{
		Name: name + "dropped_total",
		Help: "Connections that were not upgraded, and closed here, by reason.", ConstLabels: port,
	}, []string{"reason"})
	var counters [drops]prometheus.Counter
	for d, label := range dropLabels {
		counters[d] = dropped.WithLabelValues(label)
	}
	w.count = func(d drop) { counters[d].Inc() }
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: name + "refused_total",
		Help: "Requests that were refused before any endpoint saw them, by reason.", ConstLabels: port,
	}, []string{"reason"})
	for r, label := range refusalLabels {
		w.refused[r] = refused.WithLabelValues(label)
	}
}

// most returns the present bound of the connections for which no handler works.
func (cfg Config) most() int {
	limit, known := service.OpenFiles()
	if !known {
		return cfg.MaxWaiting
	}
	used := uint64(SpareFiles - fewWaiting)
	if cfg.Upgraded != nil {
		used += uint64(cfg.Upgraded())
	}
	left := uint64(0)
	if limit > used {
		left = limit - used
	}
	return int(min(uint64(cfg.MaxWaiting), max(left, fewWaiting)))
}

// Serve serves on l until ctx is done. Then it waits until the requests under way have ended, and
// returns nil. The parameter grace bounds this wait. If serving fails while ctx is not done, Serve
// returns the error. Hijacked connections belong to their handlers. Serve closes l, and must be
// called only once.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	s.loopback.Store(s.otherHosts != nil && onlyLoopback(l))
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(guarded{l, s.waiting}) }()
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case err := <-failed:
			return err
		case now := <-ticker.C:
			s.waiting.sweep(now)
		case <-ctx.Done():
		}
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if s.http.Shutdown(within) != nil {
		s.http.Close()
	}
	<-failed
	return nil
}
