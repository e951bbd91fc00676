package relay

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/shared/link"
)

// feed hands what links bring to the router. It exists since neither of the two packages knows the other.
type feed struct{ pump *router.Pump }

var _ downlink.Handler = feed{}

func (f feed) Connected(n *downlink.Node, h link.Hello) error { return f.pump.Connected(n, h) }

func (f feed) Received(n *downlink.Node, frames []any, size int) error {
	return f.pump.Received(n, frames, size)
}

func (f feed) Writable(n *downlink.Node) { f.pump.Writable(n) }

func (f feed) Disconnected(n *downlink.Node, lastReceived time.Time, err error) {
	f.pump.Disconnected(n, lastReceived, err)
}
