package uplink

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
)

// surveyed is long enough for a whole survey, if there is a link.
const surveyed = surveyEvery*2 + 3*surveyDial

func TestSurveyFindsRelaysOfAnotherBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		one, two := n.start(t, "r1:1"), n.start(t, "r2:1")
		one.is("one", "redis-a")
		two.is("two", "redis-b")
		var log bytes.Buffer
		e := n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1", "ws://nobody:1"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		time.Sleep(surveyed)
		synctest.Wait()
		same(t, "brokers", testutil.ToFloat64(e.metrics.brokers), 2)
		same(t, "reachable", testutil.ToFloat64(e.metrics.relays.WithLabelValues(relayReachable)), 2)
		same(t, "unreachable", testutil.ToFloat64(e.metrics.relays.WithLabelValues(relayUnreachable)), 1)
		if degraded := e.State().Degraded; !slices.Equal(degraded, []string{"brokers differ"}) {
			t.Errorf("degraded: %q", degraded)
		}
		same(t, "times said", strings.Count(log.String(), "brokers differ"), 1)
		same(t, "times said that a relay is not there", strings.Count(log.String(), "could not take this edge"), 1)
		for _, what := range []string{"redis-a behind ws://r1:1/link", "redis-b behind ws://r2:1/link"} {
			if !strings.Contains(log.String(), what) {
				t.Errorf("the log does not say %q:\n%s", what, log.String())
			}
		}
		same(t, "links", testutil.ToFloat64(e.metrics.links), 1)

		two.is("two", "redis-a")
		time.Sleep(surveyed)
		synctest.Wait()
		same(t, "brokers", testutil.ToFloat64(e.metrics.brokers), 1)
		if degraded := e.State().Degraded; len(degraded) != 0 {
			t.Errorf("degraded: %q", degraded)
		}
	})
}

// TestSurveyAsksWithGenerationZero waits for a survey. Meanwhile the edge must have only one link.
// The survey's dials must have generation 0, and must bring the relays no frame.
func TestSurveyAsksWithGenerationZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays := []*fakeRelay{n.start(t, "r1:1"), n.start(t, "r2:1")}
		n.run(t, Config{URLs: []string{"ws://r1:1", "ws://r2:1"}})
		time.Sleep(surveyed)
		synctest.Wait()
		var linked, asked int
		for _, r := range relays {
			linked += len(r.links())
			r.mu.Lock()
			for _, l := range r.asked {
				asked++
				same(t, "frames of one who only asks", render(l.received()), "")
			}
			r.mu.Unlock()
		}
		if linked != 1 || asked < 1 {
			t.Errorf("%d links and %d questions, want 1 and some", linked, asked)
		}
	})
}

// fakeRelay.is sets the name and broker that the relay says it has.
func (r *fakeRelay) is(name, broker string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.welcome = link.Welcome{Relay: name, Broker: broker}
}
