package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// drop is the reason why a message or a link frame was dropped. It is a metric label.
type drop uint8

const (
	dropRepeated drop = iota // members had the message or are past it, or its topic number is muted
	dropSlow                 // the message was for a client that did not read
	dropGone                 // the message was for a session that has ended
	dropEnding               // the message was for a client that was being closed
	dropClosing              // a client that was being closed sent the message
	dropNoRoom               // the message found no room upstream
	dropCrowded              // too many of the user's sessions waited for the allowance
	dropLate                 // a line of an SDK waited too long for its user's allowance
	dropNoTopic              // the link frame named an unknown topic number
	dropOverlap              // the publication had no position, and Hub.overlap was full
	dropForm                 // an older link had no text for a newer link's member
	drops
)

var dropLabels = [drops]string{"repeated", "slow_reader", "client_gone", "ending", "closing", "no_room", "crowded", "late", "no_topic", "overlap", "form"}

// refusal is the reason why a connect was refused. It is a metric label.
type refusal uint8

const (
	refuseRequest refusal = iota
	refuseUpgrade
	refusePath
	refuseDraining
	refuseFull
	refuseUser
	refuseAuth
	refuseOrigin
	refuseUnlinked
	refuseNoSDK
	refuseUndecided
	refusals
)

var refusalLabels = [refusals]string{
	"bad_request", "upgrade_required", "bad_path", "draining", "max_sessions", "user_sessions", "auth", "origin", "never_linked",
	"no_sdk", "undecided",
}

type hubMetrics struct {
	sessions, dead, topics, bindings prometheus.Gauge
	keepBytes, late, longAnswers     prometheus.Gauge
	publications, deliveries         prometheus.Counter
	gaps, lost                       prometheus.Counter
	ahead, aheadExcess, charged      prometheus.Counter
	unconfirmed                      prometheus.Counter
	dropped                          [drops]prometheus.Counter
}

// counters returns a function that makes counters of the edge.
func counters(f promauto.Factory) func(name, help string) prometheus.Counter {
	return func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "edgerelay_edge_" + name, Help: help})
	}
}

func newHubMetrics(r prometheus.Registerer) *hubMetrics {
	f := promauto.With(r)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "edgerelay_edge_" + name, Help: help})
	}
	counter := counters(f)
	m := &hubMetrics{
		sessions:     gauge("sessions", "Sessions that have not ended."),
		dead:         gauge("sessions_dead", "Sessions that ended and are not yet forgotten by the relay."),
		topics:       gauge("topics", "Topics with members or a number here."),
		bindings:     gauge("bindings", "Memberships of sessions in topics."),
		keepBytes:    gauge("keep_bytes", "Bytes that are kept of sessions of SDKs for the relay."),
		late:         gauge("members_late", "Memberships that lack what the topic's other members have had during a move."),
		longAnswers:  gauge("long_answer_bytes", "Bytes of answers of more than 2 KiB that clients of SDKs have not taken yet."),
		publications: counter("publications_total", "Publications received from the relay."),
		deliveries:   counter("deliveries_total", "Messages queued for clients."),
		ahead:        counter("given_ahead_total", "Messages given to members before they were published."),
		aheadExcess:  counter("ahead_not_given_total", "Messages that came ahead and will be given when they are published: too many wait for that."),
		charged:      counter("deliveries_charged_total", "Deliveries that users of this edge were charged for."),
		gaps:         counter("gaps_total", "Losses told to the members of a topic."),
		lost:         counter("publications_lost_total", "Publications in these losses that no link has brought, as far as known."),
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
	opened, unanswered, messages, messageBytes, pongsWithheld, pings prometheus.Counter
	writes, framesWritten                                            prometheus.Counter
	openSeconds                                                      prometheus.Histogram
	ended                                                            [reasons]prometheus.Counter
	refused                                                          [refusals]prometheus.Counter
}

func newServerMetrics(r prometheus.Registerer) *serverMetrics {
	f := promauto.With(r)
	counter := counters(f)
	m := &serverMetrics{
		opened:        counter("sessions_opened_total", "Sessions whose upgrade was answered."),
		unanswered:    counter("openings_unanswered_total", "Upgrades answered without an answer of the relay."),
		messages:      counter("client_messages_total", "Messages read from clients."),
		messageBytes:  counter("client_message_bytes_total", "Payload bytes of messages read from clients."),
		pongsWithheld: counter("pongs_withheld_total", "Pings of clients that were too many to be answered."),
		pings:         counter("pings_total", "Pings sent to silent clients."),
		writes:        counter("client_writes_total", "Writes to client sockets."),
		framesWritten: counter("client_frames_written_total", "Frames in those writes."),
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

func measureGuests(r prometheus.Registerer, h *Hub) {
	gauge := func(name, help string, read func() float64) {
		promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{Name: "edgerelay_edge_" + name, Help: help}, func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			return read()
		})
	}
	gauge("guests", "Sessions of SDKs whose connect is not confirmed yet.", func() float64 { return float64(h.guests.crowd.Len()) })
	gauge("guest_bytes", "Bytes that these have sent, and that are kept until the connect is confirmed.", func() float64 { return float64(h.guests.bytes()) })
}

func measureUnfinished(r prometheus.Registerer, u *unfinished) {
	promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edgerelay_edge_unfinished_bytes",
		Help: "Memory of clients' messages that are begun and waited for.",
	}, u.bytes)
}
