package router

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/edgerelay/edgerelay/relay/broker"
	"github.com/edgerelay/edgerelay/relay/router/dialect"
	"github.com/edgerelay/edgerelay/shared/link"
)

type metrics struct {
	edges, sessions, bindings, topics, away prometheus.Gauge

	sessionsGone, delivered, ahead, fromHistory, holes, gaps, lost, unsubscribed, expired, paced prometheus.Counter

	drops, fell, closes *prometheus.CounterVec

	steps prometheus.Histogram // durations of the Pump's steps, in seconds

	// These counters grow often, so their labels are resolved in advance.
	commands [link.MaxForms][]prometheus.Counter // by session.form and dialect.Command.Kind
	outcomes [broker.Refused + 1]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, dialects []dialect.Dialect) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "edgerelay_relay_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "edgerelay_relay_" + name + "_total", Help: help})
	}
	vec := func(name, label, help string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "edgerelay_relay_" + name + "_total", Help: help}, []string{label})
	}
	m := &metrics{
		edges:    gauge("edges", "Edges known, those without a link for less than the grace time included."),
		sessions: gauge("sessions", "Sessions of these edges."),
		bindings: gauge("bindings", "Memberships of these sessions, their own topics included."),
		topics:   gauge("topics", "Topics subscribed."),
		away:     gauge("broker_away", "1 while the broker does not answer."),

		sessionsGone: counter("sessions_gone", "Sessions that ended because their edge did not come back."),
		delivered:    counter("publications_sent", "Publication frames sent: one per publication and edge."),
		ahead:        counter("given_ahead", "Messages given to this relay's own edges while the broker was away."),
		paced:        counter("lanes_paced", "Times that what an edge publishes to a topic waited for its rate."),
		fromHistory:  counter("publications_from_history", "Those of them that were read from history."),
		holes:        counter("holes", "Publications that did not continue their topic; history was read."),
		gaps:         counter("gaps", "Losses told to the members of a topic on an edge."),
		unsubscribed: counter("unsubscribed", "Memberships of clients of SDKs that ended because of such a loss."),
		expired:      counter("memberships_expired", "Memberships of clients of SDKs whose token was not refreshed in time."),
		lost:         counter("publications_lost", "Publications counted in these losses, as far as known; of an edge that moves, its other link may have brought some."),

		drops:  vec("dropped", "reason", "What was dropped, by reason."),
		closes: vec("closes", "code", "Sessions that the relay had closed, by the code of the close frame."),
		fell:   vec("followers_behind", "reason", "Followers that fell behind."),

		steps: f.NewHistogram(prometheus.HistogramOpts{
			Name: "edgerelay_relay_step_seconds", Buckets: []float64{.001, .005, .025, .1},
			Help: "How long the router's steps took. While a step lasts, nobody else is served.",
		}),
	}
	commands := vec("commands", "kind", "Commands of clients.")
	for form, d := range dialects {
		for _, kind := range d.Kinds() {
			m.commands[form] = append(m.commands[form], commands.WithLabelValues(kind))
		}
	}
	outcomes := vec("publishes", "outcome", "Answers of the broker to publishes.")
	for outcome, label := range []string{broker.Failed: "failed", broker.Done: "done", broker.Duplicate: "duplicate", broker.Refused: "refused"} {
		m.outcomes[outcome] = outcomes.WithLabelValues(label)
	}
	return m
}

func (m *metrics) dropped(reason string, n int) { m.drops.WithLabelValues(reason).Add(float64(n)) }
func (m *metrics) behind(reason string)         { m.fell.WithLabelValues(reason).Inc() }

func (m *metrics) close(code uint16) { m.closes.WithLabelValues(strconv.Itoa(int(code))).Inc() }

func (m *metrics) published(o broker.Outcome) { m.outcomes[o].Inc() }

func (m *metrics) command(fr *frame) { m.commands[fr.session.form][fr.command.Kind].Inc() }
