package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// drop says why a message did not reach whom it was for. It is a metric label.
type drop uint8

const (
	dropRepeated drop = iota // a publication at or before the topic's position
	dropSlow                 // queued for a client that did not read
	dropGone                 // queued for a client that went away
	dropEnding               // came for a client whose close frame was sent
	dropClosing              // came from a client whose close frame was sent
	dropNoRoom               // came from a client and found no room upstream; it was told
	dropCrowded              // came from one of too many sessions of a user that wait for its allowance; it was told
	dropNoTopic              // named a topic number that was not given
	dropOverlap              // one of too many that came without a position while two links were up
	drops
)

var dropLabels = [drops]string{"repeated", "slow_reader", "client_gone", "ending", "closing", "no_room", "crowded", "no_topic", "overlap"}

// refusal says why a connect was refused. It is a metric label.
type refusal uint8

const (
	refuseRequest refusal = iota
	refusePath
	refuseDraining
	refuseFull
	refuseAuth
	refuseOrigin
	refuseUnlinked
	refusals
)

var refusalLabels = [refusals]string{"bad_request", "bad_path", "draining", "max_sessions", "auth", "origin", "never_linked"}

type hubMetrics struct {
	sessions, dead, topics, bindings prometheus.Gauge
	publications, deliveries, gaps   prometheus.Counter
	ahead, late                      prometheus.Counter
	unconfirmed                      prometheus.Counter
	dropped                          [drops]prometheus.Counter
}

func newHubMetrics(r prometheus.Registerer) *hubMetrics {
	f := promauto.With(r)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "edgerelay_edge_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "edgerelay_edge_" + name, Help: help})
	}
	m := &hubMetrics{
		sessions:     gauge("sessions", "Sessions that have not ended."),
		dead:         gauge("sessions_dead", "Sessions that ended and are not yet forgotten by the relay."),
		topics:       gauge("topics", "Topics with members or a number here."),
		bindings:     gauge("bindings", "Memberships of sessions in topics."),
		publications: counter("publications_total", "Publications received from the relay."),
		deliveries:   counter("deliveries_total", "Messages queued for clients."),
		ahead:        counter("given_ahead_total", "Messages given to members before they were published."),
		late:         counter("ahead_not_given_total", "Messages that came ahead and will be given when they are published: too many wait for that."),
		gaps:         counter("gaps_total", "Losses told to the members of a topic."),
		unconfirmed:  counter("openings_unconfirmed_total", "Openings that the relay could not confirm when it was asked."),
	}
	dropped := f.NewCounterVec(prometheus.CounterOpts{
		Name: "edgerelay_edge_dropped_total", Help: "Messages that did not reach whom they were for, by reason.",
	}, []string{"reason"})
	for d, label := range dropLabels {
		m.dropped[d] = dropped.WithLabelValues(label)
	}
	return m
}

type serverMetrics struct {
	opened, unanswered, frames, bytes, pongsWithheld, pings prometheus.Counter
	writes, written                                         prometheus.Counter
	openSeconds                                             prometheus.Histogram
	ended                                                   [reasons]prometheus.Counter
	refused                                                 [refusals]prometheus.Counter
}

func newServerMetrics(r prometheus.Registerer) *serverMetrics {
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "edgerelay_edge_" + name, Help: help})
	}
	m := &serverMetrics{
		opened:        counter("sessions_opened_total", "Sessions whose upgrade was answered."),
		unanswered:    counter("openings_unanswered_total", "Upgrades answered without an answer of the relay."),
		frames:        counter("client_messages_total", "Messages read from clients."),
		bytes:         counter("client_message_bytes_total", "Payload bytes of messages read from clients."),
		pongsWithheld: counter("pongs_withheld_total", "Pings of clients that were too many to be answered."),
		pings:         counter("pings_total", "Pings sent to silent clients."),
		writes:        counter("client_writes_total", "Writes to client sockets."),
		written:       counter("client_frames_written_total", "Frames in those writes."),
		openSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "edgerelay_edge_open_seconds", Help: "Time from the session's opening to the upgrade's answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 2.5},
		}),
	}
	ended := f.NewCounterVec(prometheus.CounterOpts{
		Name: "edgerelay_edge_sessions_ended_total", Help: "Ends of sessions, by reason.",
	}, []string{"reason"})
	for r := reasonNone + 1; r < reasons; r++ {
		m.ended[r] = ended.WithLabelValues(r.String())
	}
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "edgerelay_edge_refused_total", Help: "Connects refused before the upgrade, by reason.",
	}, []string{"reason"})
	for r, label := range refusalLabels {
		m.refused[r] = refused.WithLabelValues(label)
	}
	return m
}
