package service

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	maxWaiting   = 4096 // ServerConfig.MaxWaiting when it is zero
	adminWaiting = 32   // the same of an admin port
	fewWaiting   = 64   // so many are borne however few open files are left
)

// SpareFiles is how many open files a process needs beside its upgraded connections: 100 for its admin port, links, the back end and logs, and 64 for
// those that ask to be upgraded.
const SpareFiles = 100 + fewWaiting

// ServerConfig is what a Server needs.
type ServerConfig struct {
	Handler http.Handler
	// Name and Port say in metrics whose server it is: edgerelay_{Name}_http_…{port="{Port}"}.
	Name, Port string
	// MaxWaiting bounds the connections without a handler; 0: 4,096. Of more the one that waited longest is dropped. Where few open files are left they are
	// fewer, but never fewer than 64 for that reason: 100 files stay free.
	MaxWaiting int
	// Upgraded returns how many connections handlers have hijacked and not yet closed; nil: few.
	Upgraded func() int

	Metrics prometheus.Registerer // nil: not registered
	Log     *slog.Logger          // nil: discarded
}

// Server serves HTTP to anybody who reaches its port. What a connection may cost that is not upgraded is bounded: 16 KiB of headers, 10 s for the first
// request, for a handler, and for its answer, 60 s until the next request, and their number. What is closed for one of these is counted.
type Server struct {
	Handler http.Handler // as the connections get it

	http    *http.Server
	waiting *waiting
}

// NewServer returns a server that does not listen yet. What net/http has to say goes to the log at debug: it is about single clients.
func NewServer(cfg ServerConfig) *Server {
	if cfg.MaxWaiting == 0 {
		cfg.MaxWaiting = maxWaiting
	}
	w := &waiting{most: cfg.most, visits: map[net.Conn]*visit{}}
	f := promauto.With(cfg.Metrics)
	port := prometheus.Labels{"port": cfg.Port}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edgerelay_" + cfg.Name + "_http_waiting", Help: "Connections that are not upgraded and have no request that is being handled.", ConstLabels: port,
	}, func() float64 { return float64(w.len()) })
	vec := f.NewCounterVec(prometheus.CounterOpts{
		Name: "edgerelay_" + cfg.Name + "_http_dropped_total", Help: "Connections that were not upgraded, and closed here, by reason.", ConstLabels: port,
	}, []string{"reason"})
	var dropped [drops]prometheus.Counter
	for d, label := range dropLabels {
		dropped[d] = vec.WithLabelValues(label)
	}
	w.count = func(d drop) { dropped[d].Inc() }
	s := &Server{Handler: w.handler(cfg.Handler), waiting: w}
	// No time-outs of net/http: their ends are not told, and a read's would end the context of a handler at work.
	s.http = &http.Server{
		Handler:        s.Handler,
		MaxHeaderBytes: 16 << 10,
		ConnContext:    w.connContext,
		ConnState:      w.connState,
		ErrorLog:       slog.NewLogLogger(Discard(cfg.Log).Handler(), slog.LevelDebug),
	}
	return s
}

// most returns how many connections without a handler are borne now.
func (cfg ServerConfig) most() int {
	limit, known := OpenFiles()
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

// Serve serves on l until ctx is done, then gives requests under way the grace to end. Connections that a handler has hijacked are the
// handler's. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(l) }()
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
