package broker_test

import (
	"testing"
	"time"

	"github.com/edgerelay/edgerelay/relay/broker"
)

func TestRaised(t *testing.T) {
	usual := broker.Retention{Size: 256, Age: time.Minute}
	vast := broker.Retention{Size: 2 * broker.MaxHistorySize, Age: 2 * broker.MaxHistoryAge}
	for _, c := range []struct{ usual, wanted, want broker.Retention }{
		{usual, broker.Retention{}, usual},
		{usual, broker.Retention{Size: -1, Age: -1}, usual},
		{usual, broker.Retention{Size: 255, Age: time.Hour}, broker.Retention{Size: 256, Age: time.Hour}},
		{usual, broker.Retention{Size: 257, Age: time.Second}, broker.Retention{Size: 257, Age: time.Minute}},
		{usual, vast, broker.Retention{Size: broker.MaxHistorySize, Age: broker.MaxHistoryAge}},
		{vast, usual, vast},
	} {
		if got := c.usual.Raised(c.wanted); got != c.want {
			t.Errorf("%+v raised by %+v: %+v, want %+v", c.usual, c.wanted, got, c.want)
		}
	}
}
