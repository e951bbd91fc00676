package edge

import (
	"github.com/edgerelay/edgerelay/edge/gateway"
	"github.com/edgerelay/edgerelay/edge/uplink"
	"github.com/edgerelay/edgerelay/shared/link"
)

// handler adapts the Hub to the uplink's Handler. It exists because neither of the two packages
// knows the other.
type handler struct{ *gateway.Hub }

var _ uplink.Handler = handler{}

func (h handler) Begin(session func(link.Session), held func(link.Held)) uplink.Feed {
	return h.Hub.Begin(session, held)
}
