package edge

import (
	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
)

// handler is the Hub as the uplink feeds it. It exists since neither of the two packages knows the other.
type handler struct{ *gateway.Hub }

var _ uplink.Handler = handler{}

func (h handler) Begin(session func(link.Session), held func(link.Held)) uplink.Feed {
	return h.Hub.Begin(session, held)
}
