package redisbroker

import (
	"errors"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/shared/protocol"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	commands      *prometheus.CounterVec
	pipelines     *prometheus.HistogramVec
	published     [broker.Refused + 1]prometheus.Counter // one counter for each outcome
	failures      *prometheus.CounterVec
	received      prometheus.Counter
	dropped       *prometheus.CounterVec
	neighbours    prometheus.Counter
	subscriptions prometheus.Gauge
	lost          prometheus.Counter
	ended         prometheus.Counter
	deaf          prometheus.Counter
	away          prometheus.Gauge
	missing       prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	const prefix = "edgerelay_relay_redis_"
	published := f.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "published_total", Help: "Answers to publish requests.",
	}, []string{"outcome"})
	return &metrics{
		published: [...]prometheus.Counter{
			broker.Failed:    published.WithLabelValues("failed"),
			broker.Done:      published.WithLabelValues("done"),
			broker.Duplicate: published.WithLabelValues("duplicate"),
			broker.Refused:   published.WithLabelValues("refused"),
		},
		commands: f.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "commands_total", Help: "Requests sent to Redis.",
		}, []string{"kind"}),
		pipelines: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "pipeline_requests", Help: "Requests in one round trip.", Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500},
		}, []string{"client"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "failures_total", Help: "Requests that failed: Redis unreachable, refusing, the kind of command forbidden, or the request's own fault.",
		}, []string{"client", "kind"}),
		received: f.NewCounter(prometheus.CounterOpts{
			Name: prefix + "received_total", Help: "Publications received.",
		}),
		dropped: f.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "dropped_total", Help: "Publications received or read from history that are no valid envelopes, or another cluster's (foreign).",
		}, []string{"reason"}),
		neighbours: f.NewCounter(prometheus.CounterOpts{
			Name: prefix + "neighbours_total", Help: "Times that a relay of another cluster was heard that uses channels of ours.",
		}),
		subscriptions: f.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "subscriptions", Help: "Topics subscribed to.",
		}),
		lost: f.NewCounter(prometheus.CounterOpts{
			Name: prefix + "subscriber_lost_total", Help: "Times the subscriber's connection was lost.",
		}),
		ended: f.NewCounter(prometheus.CounterOpts{
			Name: prefix + "subscriptions_ended_total", Help: "Subscriptions to sharded channels that Redis ended, since their slot went to another master.",
		}),
		deaf: f.NewCounter(prometheus.CounterOpts{
			Name: prefix + "deaf_seconds_total", Help: "Time without subscriptions in force, in which bare publications are missed.",
		}),
		missing: f.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "missing_permissions", Help: "Commands that relays need and that Redis does not permit.",
		}),
		away: f.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "away", Help: "1 while Redis does not answer, refuses publications, or subscriptions cannot be had.",
		}),
	}
}

// drop counts a dropped publication. The publication was no valid envelope, or its position was
// impossible. If err is an EnvelopeError, drop counts the publication under the Reason of err.
// Otherwise, also if err is nil, it counts the publication as malformed.
func (m *metrics) drop(err error) {
	reason := "malformed"
	if bad, ok := errors.AsType[*protocol.EnvelopeError](err); ok {
		reason = bad.Reason
	}
	m.dropped.WithLabelValues(reason).Inc()
}
