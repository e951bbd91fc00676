package uplink

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edgerelay/edgerelay/shared/link"
)

// startFar starts an edge that links to the far relay, since the near one takes no links yet. The
// parameters far and near are the delays of a dial to these relays.
func startFar(t *testing.T, n *network, far, near time.Duration) (e *edge, farRelay, nearRelay *fakeRelay) {
	t.Helper()
	relays, urls := n.relaysOf(t, 2)
	farRelay, nearRelay = relays[0], relays[1]
	for r, d := range map[*fakeRelay]time.Duration{farRelay: far, nearRelay: near} {
		r.mu.Lock()
		r.far = d
		r.mu.Unlock()
		r.handle = func(l *fakeLink, f any) {
			switch f.(type) {
			case link.Synced:
				l.send(link.Live{})
			case link.Moved:
				l.conn.Bye(link.CodeNormal, "all has been sent")
			}
		}
	}
	nearRelay.refuse(true)
	e = n.run(t, Config{URLs: urls}, withSession)
	time.Sleep(time.Minute)
	if used, _ := e.linkedTo(relays); used != farRelay {
		t.Fatal("not linked to the far relay")
	}
	return e, farRelay, nearRelay
}

func (e *edge) wentHome() float64 {
	return testutil.ToFloat64(e.metrics.moves.WithLabelValues("home", "moved"))
}

func TestAnEdgeGoesHomeToANearerRelayThatWasWellForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		e, far, near := startFar(t, &n, 240*time.Millisecond, 3*time.Millisecond)
		near.refuse(false)
		took := until(t, 6*time.Minute, "the edge is at home", func() bool { return e.State().Relay == near.name })
		if took < homeAfter {
			t.Errorf("it went after %v", took)
		}
		time.Sleep(10 * time.Second)
		same(t, "moves home", e.wentHome(), 1)
		if s := e.State(); s.Cause != "home" || s.URL != "ws://"+near.name+"/link" {
			t.Errorf("State() = %+v", s)
		}
		same(t, "the hub was told", e.hub.tookSides(), "1 begins, 1 leaving, 2 begins")
		old := far.links()[0]
		frames := old.received()
		if _, ok := frames[len(frames)-1].(link.Moved); !ok || old.ended().Code != link.CodeNormal {
			t.Errorf("the far relay was not left in order: %v, %v", frames, old.ended())
		}

		// The near relay fails, and is back after 30 s. The edge must not go home again before
		// homeEvery has passed since it last went home.
		near.refuse(true)
		near.cut()
		time.Sleep(30 * time.Second)
		near.refuse(false)
		time.Sleep(homeEvery - 2*time.Minute)
		same(t, "moves home", e.wentHome(), 1)
		until(t, 10*time.Minute, "the edge is at home again", func() bool { return e.State().Relay == near.name })
		time.Sleep(10 * time.Second)
		same(t, "moves home", e.wentHome(), 2)
	})
}

func TestAnEdgeStaysWhereNoRelayIsMuchNearer(t *testing.T) {
	for name, d := range map[string]struct{ far, near time.Duration }{
		"more than half as far": {240 * time.Millisecond, 130 * time.Millisecond},
		"all are near":          {9 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n network
				e, far, near := startFar(t, &n, d.far, d.near)
				near.refuse(false)
				time.Sleep(time.Hour)
				same(t, "moves home", e.wentHome(), 0)
				same(t, "relay", e.State().Relay, far.name)
			})
		})
	}
}

func TestAnEdgeDoesNotGoHomeToARelayOfAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		e, far, near := startFar(t, &n, 240*time.Millisecond, 3*time.Millisecond)
		near.mu.Lock()
		near.welcome.Broker = "another"
		near.mu.Unlock()
		near.refuse(false)
		time.Sleep(time.Hour)
		same(t, "relay", e.State().Relay, far.name)
	})
}

// The relay in use says that it is degraded, and a nearer relay takes links. The edge must stay.
func TestP5_AnEdgeDoesNotGoHomeWhileRedisIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		e, far, near := startFar(t, &n, 240*time.Millisecond, 3*time.Millisecond)
		far.last(1).send(link.Status{Degraded: []string{"broker"}})
		near.refuse(false)
		time.Sleep(time.Hour)
		same(t, "relay", e.State().Relay, far.name)
	})
}

// The edge goes home to the nearer relay, but that relay does not say Live, as if it were cut from
// Redis. The edge must go back to the far relay, and stay there.
func TestAnEdgeReturnsIfTheNearerRelayIsNoBetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		e, far, near := startFar(t, &n, 240*time.Millisecond, 3*time.Millisecond)
		near.handle = nil
		near.refuse(false)
		until(t, 10*time.Minute, "the edge is at home", func() bool { return e.State().Relay == near.name })
		until(t, slowAfter+time.Second, "the edge is back", func() bool { return e.State().Relay == far.name })
		time.Sleep(homeEvery - time.Minute)
		same(t, "relay", e.State().Relay, far.name)
	})
}

// The edge is offered a link to a relay that is better than some other relay. But the edge does not
// use that other relay any more. The edge must stay where it is, and close the offered link.
func TestAnOfferForAnotherRelayIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		relays, urls := n.relaysOf(t, 2)
		e := n.run(t, Config{URLs: urls})
		time.Sleep(5 * time.Second)
		_, other := e.linkedTo(relays)
		e.offer(t.Context(), "ws://"+other.name+"/link", "ws://before:1/link", byHome)
		time.Sleep(5 * time.Second)
		same(t, "links that were begun", testutil.ToFloat64(e.metrics.links), 1)
		if other.last(1).ended() == nil {
			t.Error("the offered link is still up")
		}
	})
}

// The nearer relay takes links for only 30 s at a time, which is less than homeAfter. The edge must
// stay at the far relay.
func TestAnEdgeDoesNotGoHomeToARelayThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		e, far, near := startFar(t, &n, 240*time.Millisecond, 3*time.Millisecond)
		for range 40 {
			near.refuse(false)
			time.Sleep(30 * time.Second)
			near.refuse(true)
			time.Sleep(60 * time.Second)
		}
		same(t, "relay", e.State().Relay, far.name)
	})
}
