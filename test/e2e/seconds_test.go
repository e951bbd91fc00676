package e2e

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// longestSilence returns the longest time for which any user got nothing. It looks at the time from
// the given moment until now.
func (f *traffic) longestSilence(began time.Time) (longest time.Duration) {
	for _, u := range f.users {
		last := began
		for _, m := range u.Messages() {
			if m.At.After(last) {
				longest = max(longest, m.At.Sub(last))
				last = m.At
			}
		}
		longest = max(longest, time.Since(last))
	}
	return longest
}

// TestP12_AFaultOfARelayOrOfALinkCostsThreeSecondsAtMost breaks the relay that an edge uses, or a
// link to that relay. The other relay keeps working. The longest silence of a user may be 3 s. A
// usual run allows more time (see promised).
func TestP12_AFaultOfARelayOrOfALinkCostsThreeSecondsAtMost(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name        string
		freezes     bool
		break_, fix func(r *cluster.Relay, links []*cluster.Proxy)
	}{
		{"the relay is killed", false,
			func(r *cluster.Relay, _ []*cluster.Proxy) { r.Kill() },
			func(r *cluster.Relay, _ []*cluster.Proxy) { r.Restart() }},
		{"the relay is restarted", false,
			func(r *cluster.Relay, _ []*cluster.Proxy) { r.Terminate(); r.Exited() },
			func(r *cluster.Relay, _ []*cluster.Proxy) { r.Restart() }},
		{"the relay is frozen", true,
			func(r *cluster.Relay, _ []*cluster.Proxy) { r.Freeze() },
			func(r *cluster.Relay, _ []*cluster.Proxy) { r.Thaw() }},
		{"the relay is cut off", false,
			func(_ *cluster.Relay, links []*cluster.Proxy) { each(links, (*cluster.Proxy).Freeze) },
			func(_ *cluster.Relay, links []*cluster.Proxy) { each(links, (*cluster.Proxy).Thaw) }},
		{"the relay is half-open", false,
			func(_ *cluster.Relay, links []*cluster.Proxy) { each(links, (*cluster.Proxy).FreezeBack) },
			func(_ *cluster.Relay, links []*cluster.Proxy) { each(links, (*cluster.Proxy).Thaw) }},
		{"one link is a black hole", false,
			func(_ *cluster.Relay, links []*cluster.Proxy) { links[0].Freeze() },
			func(_ *cluster.Relay, links []*cluster.Proxy) { links[0].Thaw() }},
		{"one link is cut", false,
			func(_ *cluster.Relay, links []*cluster.Proxy) { links[0].Reset() },
			func(*cluster.Relay, []*cluster.Proxy) {}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			o := onBest(t)
			if fault.freezes {
				o = onFreezable(t)
			}
			c := cluster.New(t, o)
			relays := []*cluster.Relay{c.StartRelay(nil), c.StartRelay(nil)}
			e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
			load := startTraffic(t, pace, e, f)
			load.flowing(5)
			broken := inUse(e, relays)
			var links []*cluster.Proxy
			for i, r := range relays {
				if r == broken {
					links = append(links, e.Links()[i], f.Links()[i])
				}
			}
			began := time.Now()
			fault.break_(broken, links)
			load.flowing(20)
			silence := load.longestSilence(began)
			t.Logf("the longest silence was %v", silence.Round(10*time.Millisecond))
			if most := promised(3 * time.Second); silence > most {
				t.Errorf("%v of silence, want %v at most", silence, most)
			}
			fault.fix(broken, links)
			load.flowing(5)
			load.finish(e)
		})
	}
}

func each(links []*cluster.Proxy, do func(*cluster.Proxy)) {
	for _, l := range links {
		do(l)
	}
}

// TestP12_ALoneRelayThatWasAwayForTwoSecondsCostsThree kills the only relay, and restarts it after
// two seconds. The longest silence of a user may be one second longer than the relay was away. A
// usual run allows more time (see promised).
func TestP12_ALoneRelayThatWasAwayForTwoSecondsCostsThree(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, onBest(t))
	r := c.StartRelay(nil)
	e, f := c.StartEdge(nil, r), c.StartEdge(nil, r)
	load := startTraffic(t, pace, e, f)
	load.flowing(5)
	began := time.Now()
	r.Kill()
	<-time.After(time.Until(began.Add(2 * time.Second)))
	r.Restart()
	away := time.Since(began)
	load.flowing(5)
	silence := load.longestSilence(began)
	t.Logf("the relay was away for %v, and the longest silence was %v", away.Round(10*time.Millisecond), silence.Round(10*time.Millisecond))
	if most := away + promised(time.Second); silence > most {
		t.Errorf("%v of silence, want %v at most", silence, most)
	}
	load.finish(e)
}
