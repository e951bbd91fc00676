package downlink

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/edgerelay/edgerelay/shared/link"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/time/rate"
)

// Reasons for which a handshake ends without a link.
const (
	refusedKey      = "key"
	refusedVersion  = "version"
	refusedStopping = "stopping"
	refusedCrowded  = "crowded" // the handshake made room for another
	refusedBroken   = "broken"  // another reason: a protocol error, a time-out, a lost connection
)

func refusalReason(err error) string {
	switch {
	case errors.Is(err, link.ErrKeyRefused):
		return refusedKey
	case errors.Is(err, link.ErrVersion):
		return refusedVersion
	case errors.Is(err, link.ErrCrowded):
		return refusedCrowded
	}
	return refusedBroken
}

// refusalLog logs at most one refusal of each reason every ten seconds. Peers without a key can
// cause many refusals.
type refusalLog struct {
	log   *slog.Logger
	limit sync.Map // reason → *rate.Sometimes
}

func (l *refusalLog) refused(reason, remote string, err error) {
	limit, _ := l.limit.LoadOrStore(reason, &rate.Sometimes{Interval: 10 * time.Second})
	limit.(*rate.Sometimes).Do(func() {
		l.log.Warn("link refused", "reason", reason, "remote", remote, "err", err)
	})
}

type metrics struct {
	refused *prometheus.CounterVec // by reason
	asked   prometheus.Counter
	unused  prometheus.Counter
	ends    *prometheus.CounterVec // by code, and by who ended the link
	server  *Server

	mu    sync.Mutex // guards ended
	ended link.Stats // counts of the links that have ended, added up
}

var (
	linksDesc = prometheus.NewDesc("edgerelay_relay_links", "Links on which the edge has told something.", nil, nil)
	bytesDesc = prometheus.NewDesc("edgerelay_relay_link_bytes_total", "Bytes on links, below WebSocket and TLS.", []string{"direction"}, nil)
	batchDesc = prometheus.NewDesc("edgerelay_relay_link_batches_total", "WebSocket messages on links.", []string{"direction"}, nil)
	frameDesc = prometheus.NewDesc("edgerelay_relay_link_received_frames_total", "Frames received on links.", nil, nil)
	rttDesc   = prometheus.NewDesc("edgerelay_relay_link_rtt_seconds", "Smoothed round trip of a link.", []string{"node", "instance"}, nil)
	queueDesc = prometheus.NewDesc("edgerelay_relay_link_queued_bytes", "Bytes queued for a link.", []string{"node", "instance"}, nil)
)

func newMetrics(r prometheus.Registerer, s *Server) *metrics {
	f := promauto.With(r)
	m := &metrics{
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_relay_link_refusals_total",
			Help: "Handshakes that ended without a link, by reason.",
		}, []string{"reason"}),
		asked: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_relay_link_asked_total",
			Help: "Handshakes of edges that only asked who this relay is.",
		}),
		unused: f.NewCounter(prometheus.CounterOpts{
			Name: "edgerelay_relay_link_unused_total",
			Help: "Handshakes of edges that then did not need the link.",
		}),
		ends: f.NewCounterVec(prometheus.CounterOpts{
			Name: "edgerelay_relay_link_ends_total",
			Help: "Links that ended, by code and by who ended them (edge, relay, network).",
		}, []string{"code", "by"}),
		server: s,
	}
	if r != nil {
		r.MustRegister(m)
	}
	return m
}

// add adds to m.ended the counts of a link that has ended.
func (m *metrics) add(s link.Stats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = sum(m.ended, s)
}

func sum(a, b link.Stats) link.Stats {
	return link.Stats{
		ReceivedBytes:   a.ReceivedBytes + b.ReceivedBytes,
		SentBytes:       a.SentBytes + b.SentBytes,
		ReceivedBatches: a.ReceivedBatches + b.ReceivedBatches,
		SentBatches:     a.SentBatches + b.SentBatches,
		ReceivedFrames:  a.ReceivedFrames + b.ReceivedFrames,
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{linksDesc, bytesDesc, batchDesc, frameDesc, rttDesc, queueDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Only links that have begun have series of their own. If
// an instance has several such links, only the link of the highest generation has such series.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.server.mu.Lock()
	m.mu.Lock()
	total := m.ended
	m.mu.Unlock()
	links := len(m.server.links)
	latest := make(map[protocol.Instance]*Link, links)
	rtts := make(map[*Link]time.Duration, links)
	for l, conn := range m.server.links {
		total = sum(total, conn.Stats())
		if !l.Began() {
			links--
			continue
		}
		if other := latest[l.instance]; other == nil || other.generation < l.generation {
			latest[l.instance] = l
			rtts[l] = conn.Stats().RTT
		}
	}
	m.server.mu.Unlock()

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(linksDesc, float64(links))
	counter(bytesDesc, total.ReceivedBytes, "received")
	counter(bytesDesc, total.SentBytes, "sent")
	counter(batchDesc, total.ReceivedBatches, "received")
	counter(batchDesc, total.SentBatches, "sent")
	counter(frameDesc, total.ReceivedFrames)
	for _, l := range latest {
		gauge(rttDesc, rtts[l].Seconds(), l.node, l.instance.String())
		gauge(queueDesc, float64(l.Queued()), l.node, l.instance.String())
	}
}
