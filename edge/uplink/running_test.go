package uplink

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestASuspensionRenewsTheLinkAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n network
		r := n.start(t, "r1:1")
		e := n.run(t, Config{URLs: []string{"ws://r1:1"}}, withSession)
		e.accept(1, "a")
		r.last(1)
		e.renew(time.Minute)
		synctest.Wait()
		same(t, "frames of the new link", render(r.last(2).received()), "session 1|synced 1-1 1 0|1: 1 a")
		same(t, "counted", testutil.ToFloat64(e.metrics.ends.WithLabelValues("suspended")), 1)
	})
}
