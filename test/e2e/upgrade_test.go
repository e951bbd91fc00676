package e2e

import (
	"strings"
	"testing"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// startEarlier starts n relays of the earlier layout of keys on Redis.
func startEarlier(t *testing.T, c *cluster.Cluster, n int) (relays []*cluster.Relay) {
	t.Helper()
	for range n {
		r := c.NewRelay(nil)
		r.Earlier(true)
		r.Restart()
		cluster.Eventually(t, r.Name+" is live", r.Live)
		relays = append(relays, r)
	}
	return relays
}

// TestP2_AnUpgradeOverALayoutLosesAndDoublesNothing stops or kills all relays of the earlier
// layout, and then starts relays of this tree in their place. Users talk all the time. No message
// may be lost, doubled or out of order.
func TestP2_AnUpgradeOverALayoutLosesAndDoublesNothing(t *testing.T) {
	for name, end := range map[string]func(*cluster.Relay){
		"stopped": func(r *cluster.Relay) {
			r.Terminate()
			r.Exited()
		},
		"killed": (*cluster.Relay).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cluster.New(t, onProcesses(t))
			relays := startEarlier(t, c, 2)
			e, f := c.StartEdge(nil, relays...), c.StartEdge(nil, relays...)
			load := startTraffic(t, pace, e, f)
			load.flowing(20)
			for _, r := range relays {
				end(r)
			}
			load.sendOn(10)
			for _, r := range relays {
				r.Earlier(false)
				r.Restart()
			}
			load.flowing(20)
			load.finish(e)
		})
	}
}

// TestRelaysOfTwoLayoutsDoNotServeSideBySide starts a relay while a relay of another layout serves.
// In one case the first relay is of the earlier layout, and in the other case the second is. The
// second relay must end with status 1, and the first must go on serving.
func TestRelaysOfTwoLayoutsDoNotServeSideBySide(t *testing.T) {
	for name, c := range map[string]struct {
		earlier bool // the first relay is of the earlier layout
		says    string
	}{
		"the earlier first": {true, "docs/redis.md#upgrading"},
		"the later first":   {false, "another cluster of relays serves on this Redis"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := cluster.New(t, onProcesses(t))
			first, second := cl.NewRelay(nil), cl.NewRelay(nil)
			first.Earlier(c.earlier)
			second.Earlier(!c.earlier)
			first.Restart()
			cluster.Eventually(t, "the first is live", first.Live)
			e := cl.StartEdge(nil, first)
			load := startTraffic(t, pace, e)
			load.flowing(20) // a relay needs about a second to decide that it serves
			second.Restart()
			if status := second.Exited(); status != 1 || !strings.Contains(second.Log(), c.says) {
				t.Errorf("the second ended with %d", status)
			}
			load.flowing(5)
			load.finish(e)
			if first.HasExited() {
				t.Error("the first has ended")
			}
		})
	}
}
