package relay

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/shared/link"
)

// feed passes to the router what links bring. It exists because downlink and router do not know
// each other.
type feed struct{ pump *router.Pump }

var _ downlink.Handler = feed{}

func (f feed) Connected(l *downlink.Link, h link.Hello) error { return f.pump.Connected(l, h) }

func (f feed) Received(l *downlink.Link, frames []any, size int) error {
	return f.pump.Received(l, frames, size)
}

func (f feed) Writable(l *downlink.Link) { f.pump.Writable(l) }

func (f feed) Disconnected(l *downlink.Link, lastReceived time.Time, err error) {
	f.pump.Disconnected(l, lastReceived, err)
}
