package service

import (
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin is what an admin port shows.
type Admin struct {
	Name     string
	Health   func() Health // called by any goroutine; must not block
	Metrics  *prometheus.Registry
	Settings []Setting
	Log      *slog.Logger
}

// NewRegistry returns a registry with the collectors of the Go runtime, of the process, and of the build.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "edgerelay_build_info",
		Help:        "1, labelled with the version of the binary.",
		ConstLabels: prometheus.Labels{"version": Version()},
	})
	build.Set(1)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	return r
}

// Server returns the server of an admin port: /livez, /readyz and /metrics for everyone who reaches the port; /debug/ for callers on
// loopback alone.
func (a Admin) Server() *Server {
	started := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"live": true, "name": a.Name, "version": Version(), "uptime_seconds": int64(time.Since(started).Seconds()),
		})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { a.Health().ServeDetail(w) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{}))
	s := NewServer(ServerConfig{Handler: mux, Name: a.Name, Port: "admin", MaxWaiting: adminWaiting, Metrics: a.Metrics, Log: a.Log})
	mux.Handle("/debug/", onLoopback(s.waiting.unhurried(a.debug()))) // a profile takes as long as it was asked to
	return s
}

func (a Admin) debug() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/config", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, http.StatusOK, a.Settings) })
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return mux
}
