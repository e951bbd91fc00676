package uplink

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	moves       *prometheus.CounterVec
	doubts      *prometheus.CounterVec // labelled by how the doubt ended
	wrongMoves  prometheus.Counter
	strangers   prometheus.Counter
	suspensions prometheus.Counter
	relays      *prometheus.GaugeVec
	brokers     prometheus.Gauge
	links       prometheus.Counter
	ends        *prometheus.CounterVec // labelled by reason
	linkInfo    *prometheus.GaugeVec   // labelled by relay, URL and cause
	failures    *prometheus.CounterVec // labelled by reason
	refused     prometheus.Counter
	replayed    prometheus.Counter
	repeated    prometheus.Counter
	digests     *prometheus.CounterVec // labelled by result
}

func newMetrics(r prometheus.Registerer, s *Links) *metrics {
	f := promauto.With(r)
	gauge := func(name, help string, read func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return read()
		})
	}
	gauge("edgerelay_edge_link_up", "1 while there is a link to a relay.", func() float64 {
		if s.up != nil {
			return 1
		}
		return 0
	})
	gauge("edgerelay_edge_log_bytes", "Bytes of accepted messages that the relay has not acknowledged.", func() float64 { return float64(s.log.Bytes()) })
	gauge("edgerelay_edge_log_messages", "Accepted messages that the relay has not acknowledged.", func() float64 { return float64(s.log.Messages()) })
	gauge("edgerelay_edge_log_ends", "Ends of sessions that the relay has not acknowledged.", func() float64 { return float64(s.log.Ends()) })
	gauge("edgerelay_edge_log_waiting", "Sessions that wait for room in the log.", func() float64 { return float64(s.admission.waiting()) })

	m := &metrics{
		moves: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_moves_total", Help: "Moves to another relay, by cause (drain: the relay asked to be left, doubt: it was silent, home: the other is nearer, return: the other was doubted and is well, and this one is slow) and outcome (moved, moved_early: it was let go of before the new one had caught up, old_lost, new_lost, stayed: there was no other)."}, []string{"cause", "outcome"}),
		doubts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_doubts_total", Help: "Times that the relay was silent, so that the edge looked for another, by end (cancelled: it was heard again, moved, relinked: to the same relay, lost: the link ended before)."}, []string{"end"}),
		wrongMoves: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_doubts_wrong_total", Help: "Relays that were left by doubt and were heard again afterwards."}),
		strangers: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_strange_brokers_total", Help: "Links to a relay whose broker was not that of the link before."}),
		suspensions: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_suspensions_total", Help: "Times that the process was stopped for 5 s or more, or the wall clock jumped ahead, so that the link was renewed."}),
		relays: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edgerelay_edge_relays", Help: "Relays to choose from at the last survey, by state (reachable, unreachable, refused)."}, []string{"state"}),
		brokers: f.NewGauge(prometheus.GaugeOpts{
			Name: "edgerelay_edge_brokers", Help: "Different brokers behind these relays: more than one is no cluster."}),
		links: f.NewCounter(prometheus.CounterOpts{Name: "edgerelay_edge_links_total", Help: "Links that came up."}),
		ends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_link_ends_total", Help: "Links that ended, by reason."}, []string{"reason"}),
		linkInfo: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edgerelay_edge_link_info", Help: "1 for the link in use, by relay, its URL, and why the edge linked there (loss: it had no link, drain, doubt, home, return)."}, []string{"relay", "url", "cause"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_dial_failures_total", Help: "Dials and look-ups of relays that failed, by reason (unreachable, key, version, feature: the relay does not know sessions of SDKs, lookup)."}, []string{"reason"}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_log_refused_total", Help: "Messages that the log had no room for; they may have been tried again."}),
		replayed: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_replayed_total", Help: "Numbered frames sent again on a new link."}),
		repeated: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_edge_answers_repeated_total", Help: "Answers not passed on since their frame was answered or acknowledged before."}),
		digests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_edge_digests_total", Help: "Comparisons of the tables of edge and relay, by result (equal, different, skipped)."}, []string{"result"}),
	}
	for _, reason := range []string{"unreachable", "key", "version", "feature", "lookup"} {
		m.failures.WithLabelValues(reason)
	}
	for _, end := range []string{"cancelled", "moved", "relinked", "lost"} {
		m.doubts.WithLabelValues(end)
	}
	for _, result := range []string{"equal", "different", "skipped"} {
		m.digests.WithLabelValues(result)
	}
	return m
}

// watchLack adds the gauge that says whether State.Degraded has lacksSDK. Only the Uplink knows
// that state, so Links cannot add this gauge.
func (u *Uplink) watchLack(r prometheus.Registerer) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edgerelay_edge_link_lacks_sdk",
		Help: "1 while there is no link since the relays that answer do not know sessions of SDKs, and this edge has some.",
	}, func() float64 {
		if slices.Contains(u.Degraded(), lacksSDK) {
			return 1
		}
		return 0
	})
}

// watchRTT adds the gauge of the round-trip time. Only the Uplink knows that time, so Links cannot
// add this gauge.
func (u *Uplink) watchRTT(r prometheus.Registerer) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edgerelay_edge_link_rtt_seconds", Help: "Smoothed round-trip time of the link; 0: not measured, or no link.",
	}, func() float64 {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.used == nil {
			return 0
		}
		return u.used.conn.Stats().RTT.Seconds()
	})
}
