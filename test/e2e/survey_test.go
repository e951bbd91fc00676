package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/chat"
	"github.com/edgerelay/edgerelay/test/e2e/cluster"
	"github.com/edgerelay/edgerelay/test/long"
	"github.com/edgerelay/edgerelay/test/redistest"
)

// surveyPatience is longer than the time until the edge's next survey has ended. In a survey, about
// once a minute, the edge asks all relays for their brokers.
const surveyPatience = 2 * time.Minute

func TestRelaysOfDifferentBrokersAreNoticedAndSaidLoudly(t *testing.T) {
	long.Only(t, "a survey comes once a minute")
	t.Parallel()
	c := cluster.New(t, onRedis(t))
	other := redistest.Start(t)
	one, two := c.StartRelay(nil), c.StartRelay(nil)
	absent := c.StartRelay(nil)
	e := c.StartEdge(nil, one, two, absent)
	absent.Kill()
	cluster.Eventually(t, "the survey found one broker", func() bool { return e.Metrics().Sum(metricBrokers) == 1 })
	if _, body := e.Ready(); strings.Contains(body, "brokers differ") {
		t.Errorf("two relays of one Redis: %s", body)
	}
	a := channel(t, e, chat.Unique("a"))
	links := e.Metrics().Sum(metricLinks)

	// Two relays run, and the edge uses one of them. The other relay is restarted on another Redis.
	spare := one
	if inUse(e, []*cluster.Relay{one, two, absent}) == one {
		spare = two
	}
	spare.Kill()
	spare.RedisAt(other.Addr)
	spare.Restart()
	cluster.Within(t, surveyPatience, "the survey found two brokers", func() bool { return e.Metrics().Sum(metricBrokers) == 2 })
	status, body := e.Ready()
	if status != 200 || !strings.Contains(body, "brokers differ") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	cluster.Eventually(t, "an error line says so", func() bool {
		return strings.Contains(e.Log(), "level=ERROR") && strings.Contains(e.Log(), "brokers differ")
	})
	m := e.Metrics()
	if reachable, unreachable := m.Sum(metricRelays, `state="reachable"`), m.Sum(metricRelays, `state="unreachable"`); reachable != 2 || unreachable != 1 {
		t.Errorf("%v relays reachable and %v not, want 2 and 1", reachable, unreachable)
	}
	if now := m.Sum(metricLinks); now != links {
		t.Errorf("%v links came up meanwhile: a survey is to touch none", now-links)
	}
	a.Send(chat.One(a.id, "still here"))
	a.Expect(chat.Direct(a.id, "still here"))
}
