package sdk

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/test/e2e/cluster"
)

// In TestP7_AnSDKThatFloodsCostsItself, one client publishes 400 messages at once, which is twice
// as many as its user may. The edge must close that client's connection with 3004, so that no
// command waits for longer than SDKs do. Another client in the same channel must be answered in
// time. If a publish of the flood was answered, the other client must get its message once. After
// the flood the first client must come back and be served.
func TestP7_AnSDKThatFloodsCostsItself(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, options(t))
	// A user may say 200 messages at once, and 20 a second.
	e := c.StartEdge(cluster.Env{"EDGE_RATE": "20"}, c.StartRelay(nil))
	flood, calm := connect(t, e, "flood"), connect(t, e, "calm")
	flood.subscribe("c")
	calm.subscribe("c")
	var flooding sync.WaitGroup
	var answered sync.Map
	for n := range 400 {
		flooding.Go(func() {
			if data := fmt.Sprintf("[%d]", n); flood.say("c", data) == nil {
				answered.Store(data, true)
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
	flood.await("is told to come back", func() bool { return len(flood.ended) > 0 })
	cluster.Eventually(t, "the flooding client is served again", func() bool { return flood.say("c", `"behind"`) == nil })
	got := map[string]int{}
	calm.await("gets what was said behind the flood", func() bool {
		clear(got)
		for _, p := range calm.received["c"] {
			got[p.Data]++
		}
		return got[`"behind"`] > 0
	})
	answered.Range(func(data, _ any) bool {
		if n := got[data.(string)]; n != 1 {
			t.Errorf("%s was answered, and came %d times", data, n)
		}
		return true
	})
	flood.mu.Lock()
	defer flood.mu.Unlock()
	for _, end := range flood.ended {
		if !strings.HasPrefix(end, "connecting 3004 ") {
			t.Errorf("the flooding client was told %q", end)
		}
	}
	calm.stood()
}
