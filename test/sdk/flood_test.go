package sdk

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// TestP7_AnSDKThatFloodsCostsItself lets one client publish many times more than its user may. The
// edge reads this client more slowly, so the client's SDK gives up some publishes. Another client
// in the same channel is answered in time. After the flood the first client is served as before.
func TestP7_AnSDKThatFloodsCostsItself(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	// A user may say 200 messages at once, and 20 a second.
	e := c.StartEdge(cluster.Env{"EDGE_RATE": "20"}, c.StartRelay(nil))
	flood, calm := connect(t, e, "flood"), connect(t, e, "calm")
	flood.subscribe("c")
	calm.subscribe("c")
	var flooding sync.WaitGroup
	for n := range 400 {
		flooding.Go(func() {
			if err := flood.say("c", fmt.Sprint(n)); err != nil && !errors.Is(err, centrifuge.ErrTimeout) {
				t.Errorf("publish %d of the flood: %v", n, err)
			}
		})
	}
	for n := range 20 {
		if err := calm.say("c", fmt.Sprint(n)); err != nil {
			t.Errorf("publish %d of the calm client: %v", n, err)
		}
		time.Sleep(200 * time.Millisecond) // the pace of the calm client
	}
	flooding.Wait()
	calm.await("gets all of itself and of the flood", func() bool { return len(calm.received["c"]) == 20+400 })
	calm.stood()
	if err := flood.say("c", `"behind the flood"`); err != nil {
		t.Error(err)
	}
}
