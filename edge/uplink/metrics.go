package uplink

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	links    prometheus.Counter
	ends     *prometheus.CounterVec // by reason
	failures *prometheus.CounterVec // by reason
	refused  prometheus.Counter
	replayed prometheus.Counter
	repeated prometheus.Counter
	digests  *prometheus.CounterVec // by result
}

func newMetrics(r prometheus.Registerer, u *Uplink) *metrics {
	f := promauto.With(r)
	gauge := func(name, help string, read func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			u.mu.Lock()
			defer u.mu.Unlock()
			return read()
		})
	}
	gauge("edgerelay_edge_link_up", "1 while there is a link to a relay.", func() float64 {
		if u.up != nil {
			return 1
		}
		return 0
	})
	gauge("edgerelay_edge_link_rtt_seconds", "Smoothed round-trip time of the link; 0: not measured, or no link.", func() float64 {
		if u.up != nil {
			return u.up.Stats().RTT.Seconds()
		}
		return 0
	})
	gauge("edgerelay_edge_log_bytes", "Bytes of accepted messages that the relay has not acknowledged.", func() float64 { return float64(u.log.Bytes()) })
	gauge("edgerelay_edge_log_messages", "Accepted messages that the relay has not acknowledged.", func() float64 { return float64(u.log.Messages()) })
	gauge("edgerelay_edge_log_ends", "Ends of sessions that the relay has not acknowledged.", func() float64 { return float64(u.log.Ends()) })
	gauge("edgerelay_edge_log_waiting", "Sessions that wait for room in the log.", func() float64 { return float64(u.admission.waiting()) })

	m := &metrics{
		links: f.NewCounter(prometheus.CounterOpts{Name: "edgerelay_edge_links_total", Help: "Links that came up."}),
		ends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_link_ends_total", Help: "Links that ended, by reason."}, []string{"reason"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_dial_failures_total", Help: "Dials and look-ups of relays that failed, by reason (unreachable, key, version, lookup)."}, []string{"reason"}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_log_refused_total", Help: "Messages that the log had no room for; they may have been tried again."}),
		replayed: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_replayed_total", Help: "Numbered frames sent again on a new link."}),
		repeated: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_answers_repeated_total", Help: "Answers not passed on since their frame was answered or acknowledged before."}),
		digests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_digests_total", Help: "Comparisons of the tables of edge and relay, by result (equal, different, skipped)."}, []string{"result"}),
	}
	for _, reason := range []string{"unreachable", "key", "version", "lookup"} {
		m.failures.WithLabelValues(reason)
	}
	for _, result := range []string{"equal", "different", "skipped"} {
		m.digests.WithLabelValues(result)
	}
	return m
}
