package httpguard

import (
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgerelay/edgerelay/shared/config"
	"github.com/edgerelay/edgerelay/shared/service"
)

// Admin is what an admin port shows.
type Admin struct {
	Name     string
	Health   func() Health // called by any goroutine; must not block
	Metrics  *prometheus.Registry
	Settings []config.Setting
	Log      *slog.Logger
}

// Server returns the server of an admin port. Everyone who reaches the port gets /livez, /readyz
// and /metrics. If the port listens on loopback and a request names a host, that host must be a
// loopback host. A request under /debug/ is served only if it comes from this machine, names a
// loopback host, and has no header that a proxy adds.
func (a Admin) Server() *Server {
	started := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"live": true, "name": a.Name, "version": service.Version(), "uptime_seconds": int64(time.Since(started).Seconds()),
		})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { a.Health().ServeDetail(w) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{}))
	s := NewServer(Config{
		Handler: mux, Name: a.Name, Port: "admin", MaxWaiting: adminWaiting,
		OtherHosts: func(string) bool { return false }, Metrics: a.Metrics, Log: a.Log,
	})
	// Handlers under /debug/ may take any time, since a profile takes as long as its request asks.
	mux.Handle("/debug/", onLoopback(s.waiting.unhurried(a.debug())))
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
