package relay

import (
	"time"

	"github.com/edgerelay/edgerelay/relay/downlink"
	"github.com/edgerelay/edgerelay/relay/router"
	"github.com/edgerelay/edgerelay/relay/sdk"
	"github.com/edgerelay/edgerelay/shared/link"
)

// feed passes to the router what links bring. It exists because downlink and router do not know
// each other.
type feed struct {
	pump   *router.Pump
	tokens sdk.Dialect
}

var _ downlink.Handler = feed{}

func (f feed) Connected(l *downlink.Link, h link.Hello) error { return f.pump.Connected(l, h) }

// Received also verifies the signatures of tokens, on the goroutine that reads the link. Otherwise
// the router would do that, for all edges on one goroutine. So whoever sends many forged tokens
// holds up the edge that takes them, and no other one.
func (f feed) Received(l *downlink.Link, frames []any, size int) error {
	for _, one := range frames {
		if m, is := one.(link.Message); is {
			f.tokens.VerifyAhead(m.Payload)
		}
	}
	return f.pump.Received(l, frames, size)
}

func (f feed) Writable(l *downlink.Link) { f.pump.Writable(l) }

func (f feed) Disconnected(l *downlink.Link, lastReceived time.Time, err error) {
	f.pump.Disconnected(l, lastReceived, err)
}
